/*
 * rados_many.c - removing many objects, and looking for data in many, with a
 * bound on those in flight.
 */
#include "ceph/rados.h"
#include "ceph/rados_wait.h"

#include "base/clock.h"
#include "core/pace.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)1 << 20)

/* ---- removing ---- */

struct removal;

/* One of the objects on their way. */
struct removing {
	struct rados_wait wait;
	struct removal *removal;
	struct pace_turn turn;
	LIST_ENTRY(removing) link; /* while it is not in use */
};

struct removal {
	struct wake *waiter;
	struct rados_remove_many spec;
	struct removing *asks; /* the one that waits for its turn */
	bool over;             /* none is to be started any more */
	unsigned busy;
	int rc; /* first failure */
	LIST_HEAD(, removing) spare;
};

static void on_turn(struct pace_turn *turn);

static void
ask_for_turn(struct removal *r)
{
	struct removing *one = LIST_FIRST(&r->spare);

	if (one != NULL)
		LIST_REMOVE(one, link);
	else
		one = mem_new(sizeof(*one));
	*one = (struct removing){ .removal = r, .turn.go = on_turn };
	r->asks = one;
	pace_ask(&one->turn);
}

static void
removal_go_on(struct removal *r)
{
	struct removing *one;

	if (r->rc == 0 && !r->over && r->asks == NULL)
		ask_for_turn(r);
	if (r->busy > 0 || r->asks != NULL)
		return;
	while ((one = LIST_FIRST(&r->spare)) != NULL) {
		LIST_REMOVE(one, link);
		free(one);
	}
	wake_up(r->waiter, r->rc);
	free(r);
}

static void
on_removed(struct rados_wait *wait)
{
	struct removing *one = container_of(wait, struct removing, wait);
	struct removal *r = one->removal;

	pace_done(&one->turn, 1);
	LIST_INSERT_HEAD(&r->spare, one, link);
	r->busy--;
	if (wait->rc < 0 && wait->rc != -ENOENT && r->rc == 0)
		r->rc = rados_answer(wait->rc);
	removal_go_on(r);
}

static void
on_turn(struct pace_turn *turn)
{
	struct removing *one = container_of(turn, struct removing, turn);
	struct removal *r = one->removal;
	const struct rados_remove_many *spec = &r->spec;
	char object[RBD_OBJECT_SIZE];
	rados_completion_t completion;
	rados_write_op_t op;

	r->asks = NULL;
	if (r->rc < 0 || clock_now_ms() >= spec->until_ms ||
	    !spec->next(spec->arg, object, sizeof(object))) {
		r->over = true;
		pace_pass(turn);
		LIST_INSERT_HEAD(&r->spare, one, link);
		removal_go_on(r);
		return;
	}
	r->busy++;
	op = rados_create_write_op();
	rados_write_op_remove(op);
	completion = rados_wait_arm(&one->wait, on_removed);
	rados_wait_submitted(&one->wait, completion,
	    rados_aio_write_op_operate(op, spec->pool->io, completion, object,
		NULL, LIBRADOS_OPERATION_FULL_TRY));
	rados_release_write_op(op);
	removal_go_on(r); /* the next one may go beside it */
}

void
rados_remove_many_start(
    const struct rados_remove_many *spec, struct wake *waiter)
{
	struct removal *r = mem_new(sizeof(*r));

	r->spec = *spec;
	r->waiter = waiter;
	ask_for_turn(r);
}

/* ---- looking for data ---- */

struct many;

/* One of the objects on their way. */
struct slot {
	struct rados_wait wait;
	struct many *many;
	uint64_t object;
	char name[RBD_OBJECT_SIZE];
	uint64_t size, at; /* bytes it has, and how many are known as zeros */
	time_t mtime;
	bool reads;
	char *chunk; /* once there is something to read */
};

struct many {
	struct wake *waiter;
	struct job job;              /* the start */
	unsigned busy;               /* slots in use */
	int rc;                      /* first failure */
	struct rados_search *search; /* the caller's */
	uint64_t searched;           /* objects that were asked for */
	uint64_t read_bytes;         /* asked for until now */
	struct slot slot[RADOS_IN_FLIGHT_MAX];
};

static void
many_end(struct many *m)
{
	for (size_t i = 0; i < countof(m->slot); i++)
		free(m->slot[i].chunk);
	wake_up(m->waiter, m->rc);
	free(m);
}

static bool glance_next(struct slot *slot);
static void on_glance(struct rados_wait *wait);

static void
on_many(struct job *job)
{
	struct many *m = container_of(job, struct many, job);

	assert(m->search->in_flight >= 1 &&
	    m->search->in_flight <= RADOS_IN_FLIGHT_MAX);
	while (m->busy < m->search->in_flight) {
		m->slot[m->busy].many = m;
		if (!glance_next(&m->slot[m->busy]))
			break;
		m->busy++;
	}
	if (m->busy == 0)
		many_end(m);
}

/* Asks for the size of the next object: most are not there. */
static bool
glance_next(struct slot *slot)
{
	struct many *m = slot->many;
	rados_completion_t completion;

	do {
		if (m->searched == m->search->count)
			return false;
		slot->object = m->searched++;
	} while (!m->search->name(
	    m->search->arg, slot->object, slot->name, sizeof(slot->name)));
	slot->size = slot->at = 0;
	slot->reads = false;
	completion = rados_wait_arm(&slot->wait, on_glance);
	rados_wait_submitted(&slot->wait, completion,
	    rados_aio_stat(m->search->pool->io, slot->name, completion,
		&slot->size, &slot->mtime));
	return true;
}

static void
glance_read(struct slot *slot)
{
	struct many *m = slot->many;
	rados_completion_t completion = rados_wait_arm(&slot->wait, on_glance);

	if (slot->chunk == NULL)
		slot->chunk = mem_new(CHUNK_BYTES);
	slot->reads = true;
	m->read_bytes += CHUNK_BYTES;
	rados_wait_submitted(&slot->wait, completion,
	    rados_aio_read(m->search->pool->io, slot->name, completion,
		slot->chunk, CHUNK_BYTES, slot->at));
}

/* The answer to a stat or a read: what does it say of the object? */
static void
on_glance(struct rados_wait *wait)
{
	struct slot *slot = container_of(wait, struct slot, wait);
	struct many *m = slot->many;
	struct rados_search *search = m->search;
	int rc = wait->rc;
	/* all bytes are as the first one, which is 0 */
	bool has_data = rc > 0 &&
	    (slot->chunk[0] != 0 ||
		memcmp(slot->chunk, slot->chunk + 1, (size_t)rc - 1) != 0);

	if (m->rc == 0 && !search->found) {
		if (rc == -ENOENT) /* not there, or removed meanwhile */
			slot->size = slot->at = 0;
		else if (rc < 0)
			m->rc = rc;
		else if (rc > 0)
			slot->at += (uint64_t)rc;
		else if (slot->reads) /* it has become shorter */
			slot->size = slot->at;
		if (has_data ||
		    (slot->at < slot->size &&
			m->read_bytes >= search->read_max)) {
			search->found = true;
			search->unread = !has_data;
			search->object = slot->object;
		}
	}
	if (m->rc == 0 && !search->found) {
		if (slot->at < slot->size) {
			glance_read(slot);
			return;
		}
		if (glance_next(slot))
			return;
	}
	if (--m->busy == 0)
		many_end(m);
}

void
rados_search_start(struct rados_search *search, struct wake *waiter)
{
	struct many *m = mem_new(sizeof(*m));

	search->found = search->unread = false;
	m->search = search;
	m->waiter = waiter;
	m->job.run = on_many;
	loop_post(&m->job);
}
