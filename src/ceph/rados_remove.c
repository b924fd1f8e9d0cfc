/*
 * rados_remove.c - removing many objects with a bound on those in flight.
 */
#include "ceph/rados_wait.h"

#include "base/clock.h"
#include "ceph/rados_aio.h"

#include <assert.h>
#include <errno.h>

struct removal;

/* One of the objects on their way. */
struct slot {
	struct rados_wait wait;
	struct removal *removal;
};

struct removal {
	struct rados_remove_many spec;
	struct wake *waiter;
	struct job job; /* the start, and the end */
	unsigned busy;  /* slots in use */
	int rc;         /* first failure */
	struct slot slot[RADOS_REMOVE_IN_FLIGHT_MAX];
};

/* False when there is nothing left to start. */
static bool
slot_start(struct slot *slot)
{
	struct removal *rm = slot->removal;
	char object[RBD_OBJECT_SIZE];
	rados_completion_t completion;
	rados_write_op_t op;

	if (clock_now_ms() >= rm->spec.until_ms ||
	    !rm->spec.next(rm->spec.arg, object, sizeof(object)))
		return false;
	op = rados_create_write_op();
	rados_write_op_remove(op);
	completion = rados_wait_arm(&slot->wait);
	rados_wait_submitted(&slot->wait, completion,
	    rados_aio_write_op_operate(op, ceph_pool_ioctx(rm->spec.pool),
		completion, object, NULL, LIBRADOS_OPERATION_FULL_TRY));
	rados_release_write_op(op);
	return true;
}

static void
finish(struct removal *rm)
{
	wake_up(rm->waiter, rm->rc);
	free(rm);
}

static void
on_removed(struct rados_wait *wait)
{
	struct slot *slot = container_of(wait, struct slot, wait);
	struct removal *rm = slot->removal;

	if (wait->rc < 0 && wait->rc != -ENOENT && rm->rc == 0)
		rm->rc = rados_answer(wait->rc);
	if (rm->rc == 0 && slot_start(slot))
		return;
	if (--rm->busy == 0)
		finish(rm);
}

static void
on_start(struct job *job)
{
	struct removal *rm = container_of(job, struct removal, job);

	while (rm->busy < rm->spec.in_flight) {
		struct slot *slot = &rm->slot[rm->busy];

		slot->removal = rm;
		slot->wait.finish = on_removed;
		if (!slot_start(slot))
			break;
		rm->busy++;
	}
	if (rm->busy == 0)
		finish(rm);
}

void
rados_remove_many_start(
    const struct rados_remove_many *many, struct wake *waiter)
{
	struct removal *rm = mem_new(sizeof(*rm));

	assert(many->in_flight >= 1 &&
	    many->in_flight <= RADOS_REMOVE_IN_FLIGHT_MAX);
	rm->spec = *many;
	rm->waiter = waiter;
	rm->job.run = on_start;
	loop_post(&rm->job);
}
