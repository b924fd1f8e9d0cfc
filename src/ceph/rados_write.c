/*
 * rados_write.c - compound writes, notifications and snapshot ids.
 */
#include "ceph/rados_wait.h"

#include "ceph/rados_aio.h"
#include "core/timer.h"

#include <errno.h>
#include <string.h>

/* The class of errors by which the OSD tells where a comparison failed. */
#define COMPARE_FAILED (-4095)

struct rados_write {
	struct rados_wait wait;
	rados_write_op_t op;
	int flags;
	int failed;  /* a step that could not be added */
	int ignored; /* where librados puts the result of a step */
};

struct rados_write *
rados_write_new(void)
{
	struct rados_write *w = mem_new(sizeof(*w));

	w->op = rados_create_write_op();
	w->flags = LIBRADOS_OPERATION_FULL_TRY;
	return w;
}

void
rados_write_free(struct rados_write *w)
{
	if (w == NULL)
		return;
	rados_release_write_op(w->op);
	free(w);
}

void
rados_write_create(struct rados_write *w, bool exclusive)
{
	rados_write_op_create(w->op,
	    exclusive ? LIBRADOS_CREATE_EXCLUSIVE : LIBRADOS_CREATE_IDEMPOTENT,
	    NULL);
}

void
rados_write_assert_exists(struct rados_write *w)
{
	rados_write_op_assert_exists(w->op);
}

void
rados_write_call(struct rados_write *w, struct cls_call call)
{
	if (call.in.failed)
		w->failed = -EMSGSIZE;
	else
		rados_write_op_exec(w->op, call.cls, call.method,
		    (const char *)call.in.buf.data, call.in.buf.len, NULL);
	cls_call_fini(&call);
}

void
rados_write_data(
    struct rados_write *w, uint64_t offset, const void *bytes, size_t len)
{
	rados_write_op_write(w->op, bytes, len, offset);
}

void
rados_write_remove(struct rados_write *w)
{
	rados_write_op_remove(w->op);
}

void
rados_write_omap_set(
    struct rados_write *w, const struct rados_omap_entry *entries, size_t n)
{
	auto_free const char **keys = mem_new(n * sizeof(*keys));
	auto_free const char **values = mem_new(n * sizeof(*values));
	auto_free size_t *key_lens = mem_new(n * sizeof(*key_lens));
	auto_free size_t *value_lens = mem_new(n * sizeof(*value_lens));

	for (size_t i = 0; i < n; i++) {
		keys[i] = entries[i].key;
		values[i] = entries[i].value;
		key_lens[i] = strlen(entries[i].key);
		value_lens[i] = entries[i].len;
	}
	rados_write_op_omap_set2(w->op, keys, values, key_lens, value_lens, n);
}

void
rados_write_omap_remove(
    struct rados_write *w, const char *const *keys, size_t n)
{
	auto_free size_t *lens = mem_new(n * sizeof(*lens));

	for (size_t i = 0; i < n; i++)
		lens[i] = strlen(keys[i]);
	rados_write_op_omap_rm_keys2(w->op, keys, lens, n);
}

/* The OSD compares an absent key as one without bytes. */
void
rados_write_omap_expect(
    struct rados_write *w, const char *key, const void *value, size_t len)
{
	rados_write_op_omap_cmp2(w->op, key, LIBRADOS_CMPXATTR_OP_EQ,
	    len > 0 ? value : "", strlen(key), len, &w->ignored);
}

void
rados_write_data_expect(
    struct rados_write *w, uint64_t offset, const void *bytes, size_t len)
{
	rados_write_op_cmpext(w->op, bytes, len, offset, &w->ignored);
}

void
rados_write_although_full(struct rados_write *w)
{
	w->flags |= LIBRADOS_OPERATION_FULL_FORCE;
}

static void
on_written(struct rados_wait *wait)
{
	struct rados_write *w = container_of(wait, struct rados_write, wait);

	wait->rc = wait->rc <= COMPARE_FAILED ? -ECANCELED
					      : rados_answer(wait->rc);
	rados_wait_wake(wait);
	rados_write_free(w);
}

void
rados_write_start(struct rados_write *w, struct ceph_pool *pool,
    const char *object, struct wake *waiter)
{
	rados_completion_t completion;
	int rc = w->failed;

	w->wait.waiter = waiter;
	w->wait.finish = on_written;
	completion = rados_wait_arm(&w->wait);
	if (rc == 0)
		rc = rados_aio_write_op_operate(w->op, ceph_pool_ioctx(pool),
		    completion, object, NULL, w->flags);
	rados_wait_submitted(&w->wait, completion, rc);
}

void
rados_remove_start(
    struct ceph_pool *pool, const char *object, struct wake *waiter)
{
	struct rados_write *w = rados_write_new();

	rados_write_remove(w);
	rados_write_start(w, pool, object, waiter);
}

/* ---- is there room? ---- */

/* Never made. */
#define NO_OBJECT "rbd_csi.no_such_object"

struct room {
	struct rados_wait waits;    /* for room, where there is none */
	struct rados_wait tries;    /* with FULL_TRY */
	rados_completion_t waiting; /* of the first; NULL: not sent */
	struct ceph_pool *pool;
	unsigned under_way;
};

static void
room_end(struct room *room)
{
	int rc = rados_answer(room->tries.rc);

	if (--room->under_way > 0)
		return;
	if (rc == -ENOENT)
		rc = room->waits.rc == -ECANCELED ? -EDQUOT : 0;
	room->tries.rc = rc;
	rados_wait_wake(&room->tries);
	rados_aio_release(room->waiting);
	free(room);
}

static void
on_waited(struct rados_wait *wait)
{
	room_end(container_of(wait, struct room, waits));
}

/* Has no effect on the other one if that is answered, too. */
static void
on_tried(struct rados_wait *wait)
{
	struct room *room = container_of(wait, struct room, tries);

	(void)rados_aio_cancel(ceph_pool_ioctx(room->pool), room->waiting);
	room_end(room);
}

static int
remove_nothing(struct ceph_pool *pool, rados_completion_t completion, int flags)
{
	rados_write_op_t op = rados_create_write_op();
	int rc;

	rados_write_op_assert_exists(op);
	rados_write_op_remove(op);
	rc = rados_aio_write_op_operate(
	    op, ceph_pool_ioctx(pool), completion, NO_OBJECT, NULL, flags);
	rados_release_write_op(op);
	return rc;
}

void
rados_room_start(struct ceph_pool *pool, struct wake *waiter)
{
	struct room *room = mem_new(sizeof(*room));
	rados_completion_t trying;

	room->pool = pool;
	room->under_way = 2;
	room->waits.finish = on_waited;
	room->tries.finish = on_tried;
	room->tries.waiter = waiter;
	room->waiting = rados_wait_arm(&room->waits);
	rados_wait_sent(&room->waits, remove_nothing(pool, room->waiting, 0));
	trying = rados_wait_arm(&room->tries);
	rados_wait_submitted(&room->tries, trying,
	    remove_nothing(pool, trying, LIBRADOS_OPERATION_FULL_TRY));
}

/* ---- notifications ---- */

/* Operations on watches have no time-out in librados: this one is ours. */
struct notify {
	struct rados_wait wait;
	struct timer late;
	struct rados_notified *result;
	char *reply;
	size_t reply_len;
};

static void
on_notified(struct rados_wait *wait)
{
	struct notify *n = container_of(wait, struct notify, wait);
	struct notify_ack_t *acks = NULL;
	struct notify_timeout_t *timeouts = NULL;
	size_t nacks = 0, ntimeouts = 0;

	/* librados gives the answers also when some did not come in time */
	if (n->reply != NULL &&
	    rados_decode_notify_response(n->reply, n->reply_len, &acks, &nacks,
		&timeouts, &ntimeouts) == 0)
		rados_free_notify_response(acks, nacks, timeouts);
	rados_buffer_free(n->reply);
	if (wait->waiter != NULL) {
		n->result->acks = (uint32_t)nacks;
		n->result->timeouts = (uint32_t)ntimeouts;
	}
	timer_disarm(&n->late);
	rados_wait_wake(wait);
	free(n);
}

/* What it was to tell is told some day, which does no harm. */
static void
on_late(struct timer *timer)
{
	struct notify *n = container_of(timer, struct notify, late);
	struct wake *waiter = take_ptr(&n->wait.waiter);

	wake_up(waiter, -ETIME);
}

void
rados_notify_start(struct ceph_pool *pool, const char *object,
    const void *payload, size_t len, unsigned timeout_ms,
    struct rados_notified *result, struct wake *waiter)
{
	struct notify *n = mem_new(sizeof(*n));
	rados_completion_t completion;

	n->result = result;
	n->wait.waiter = waiter;
	n->wait.finish = on_notified;
	n->late.fire = on_late;
	timer_arm(&n->late, timeout_ms + RADOS_NOTIFY_GRACE_MS);
	completion = rados_wait_arm(&n->wait);
	rados_wait_submitted(&n->wait, completion,
	    rados_aio_notify(ceph_pool_ioctx(pool), object, completion, payload,
		(int)len, timeout_ms, &n->reply, &n->reply_len));
}

/* ---- snapshot ids ---- */

struct snap_id {
	struct rados_wait wait;
	uint64_t *id; /* NULL: a removal */
	rados_snap_t answer;
};

static void
on_snap_id(struct rados_wait *wait)
{
	struct snap_id *s = container_of(wait, struct snap_id, wait);

	if (s->id != NULL && wait->rc == 0)
		*s->id = s->answer;
	rados_wait_wake(wait);
	free(s);
}

void
rados_snap_id_create_start(
    struct ceph_pool *pool, uint64_t *id, struct wake *waiter)
{
	struct snap_id *s = mem_new(sizeof(*s));
	rados_completion_t completion;

	s->id = id;
	s->wait.waiter = waiter;
	s->wait.finish = on_snap_id;
	completion = rados_wait_arm(&s->wait);
	rados_aio_ioctx_selfmanaged_snap_create(
	    ceph_pool_ioctx(pool), &s->answer, completion);
	rados_wait_submitted(&s->wait, completion, 0);
}

void
rados_snap_id_remove_start(
    struct ceph_pool *pool, uint64_t id, struct wake *waiter)
{
	struct snap_id *s = mem_new(sizeof(*s));
	rados_completion_t completion;

	s->wait.waiter = waiter;
	s->wait.finish = on_snap_id;
	completion = rados_wait_arm(&s->wait);
	rados_aio_ioctx_selfmanaged_snap_remove(
	    ceph_pool_ioctx(pool), id, completion);
	rados_wait_submitted(&s->wait, completion, 0);
}
