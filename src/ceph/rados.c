/*
 * rados.c - compound reads, notifications, snapshot ids, and the one
 * callback that runs on librados' threads.
 */
#include "ceph/rados.h"
#include "ceph/rados_wait.h"

#include "base/arena.h"
#include "core/timer.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Entries of all omap steps of one read; the OSD sends 1 GiB at most. */
#define OMAP_BYTES_MAX ((size_t)64 << 20)

/* loop's thread only */
static size_t in_flight;
static void (*when_lost)(void);

size_t
rados_in_flight(void)
{
	return in_flight;
}

void
rados_when_lost(void (*lost)(void))
{
	when_lost = lost;
}

int
rados_answer(int rc)
{
	switch (rc) {
	case -ENOSPC:
		return -EDQUOT;
	case -ETIMEDOUT:
		return -ETIME;
	default:
		return rc;
	}
}

static void
on_loop(struct job *job)
{
	struct rados_wait *wait = container_of(job, struct rados_wait, job);
	void (*lost)(void) = when_lost;

	in_flight--;
	if (wait->rc == -ESHUTDOWN && lost != NULL) {
		when_lost = NULL;
		lost();
	}
	wait->finish(wait);
}

/* A thread of librados: what it has answered and the door, nothing else. */
static void
on_complete(rados_completion_t completion, void *arg)
{
	struct rados_wait *wait = arg;

	wait->rc = rados_aio_get_return_value(completion);
	wait->version = rados_aio_get_version(completion);
	loop_post_remote(&wait->job);
}

rados_completion_t
rados_wait_arm(struct rados_wait *wait, void (*finish)(struct rados_wait *wait))
{
	rados_completion_t completion = NULL;

	wait->finish = finish;
	wait->job.run = on_loop;
	wait->rc = 0;
	in_flight++;
	if (rados_aio_create_completion2(wait, on_complete, &completion) < 0)
		abort(); /* only without memory */
	return completion;
}

void
rados_wait_submitted(
    struct rados_wait *wait, rados_completion_t completion, int rc)
{
	/* librados keeps its own reference until the callback has returned */
	if (completion != NULL)
		rados_aio_release(completion);
	if (rc < 0) {
		wait->rc = rc;
		loop_post(&wait->job);
	}
}

/* ---- reading ---- */

enum step_kind {
	STEP_CALL = 0, /* a class method: `out` */
	STEP_DATA,     /* object data: `data` */
	STEP_OMAP,     /* omap entries: `iter`, later in the read's omap */
};

struct read_step {
	enum step_kind kind;
	int rc;
	char *out; /* librados' */
	size_t out_len;
	char *data; /* ours, before it starts */
	rados_omap_iter_t iter;
	unsigned char more;
};

struct rados_read {
	struct rados_wait wait;
	rados_read_op_t op;
	int failed; /* a step that could not be added */
	bool running;
	bool abandoned; /* freed while running */
	unsigned nsteps;
	struct read_step step[RADOS_READ_STEPS];
	struct rados_omap omap;
	struct arena *arena; /* its entries, or NULL */
};

struct rados_read *
rados_read_new(void)
{
	struct rados_read *r = mem_new(sizeof(*r));

	r->op = rados_create_read_op();
	return r;
}

void
rados_read_free(struct rados_read *r)
{
	if (r != NULL && r->running) {
		r->wait.waiter = NULL;
		r->abandoned = true;
		return;
	}
	if (r == NULL)
		return;
	for (unsigned i = 0; i < r->nsteps; i++) {
		struct read_step *s = &r->step[i];

		rados_buffer_free(s->out);
		free(s->data);
		if (s->iter != NULL)
			rados_omap_get_end(s->iter);
	}
	arena_free(r->arena);
	rados_release_read_op(r->op);
	free(r);
}

void
rados_read_drop(struct rados_read **r)
{
	rados_read_free(*r);
	*r = NULL;
}

void
rados_read_assert_exists(struct rados_read *r)
{
	rados_read_op_assert_exists(r->op);
}

static struct read_step *
step_new(struct rados_read *r, enum step_kind kind)
{
	assert(r->nsteps < RADOS_READ_STEPS && !r->running);
	r->step[r->nsteps].kind = kind;
	return &r->step[r->nsteps++];
}

unsigned
rados_read_call(struct rados_read *r, struct cls_call call)
{
	struct read_step *s = step_new(r, STEP_CALL);

	if (call.in.failed)
		r->failed = -EMSGSIZE;
	else
		rados_read_op_exec(r->op, call.cls, call.method,
		    (const char *)call.in.buf.data, call.in.buf.len, &s->out,
		    &s->out_len, &s->rc);
	enc_fini(&call.in);
	return r->nsteps - 1;
}

unsigned
rados_read_data(struct rados_read *r, uint64_t offset, size_t len)
{
	struct read_step *s = step_new(r, STEP_DATA);

	s->data = mem_new(len);
	rados_read_op_read(r->op, offset, len, s->data, &s->out_len, &s->rc);
	return r->nsteps - 1;
}

unsigned
rados_read_omap_keys(struct rados_read *r, const char *const *keys, size_t n)
{
	struct read_step *s = step_new(r, STEP_OMAP);
	auto_free size_t *lens = mem_new(n * sizeof(*lens));

	for (size_t i = 0; i < n; i++)
		lens[i] = strlen(keys[i]);
	rados_read_op_omap_get_vals_by_keys2(
	    r->op, keys, n, lens, &s->iter, &s->rc);
	return r->nsteps - 1;
}

unsigned
rados_read_omap_page(
    struct rados_read *r, const char *after, const char *prefix, unsigned max)
{
	struct read_step *s = step_new(r, STEP_OMAP);

	rados_read_op_omap_get_vals2(
	    r->op, after, prefix, max, &s->iter, &s->more, &s->rc);
	return r->nsteps - 1;
}

void
rados_read_time(struct rados_read *r, time_t *written)
{
	rados_read_op_stat(r->op, NULL, written, NULL);
}

void
rados_read_may_fail(struct rados_read *r)
{
	rados_read_op_set_flags(r->op, LIBRADOS_OP_FLAG_FAILOK);
}

/* Copies what the iterator has, with a NUL behind each value. */
static int
omap_collect(struct rados_read *r, struct read_step *s)
{
	unsigned n = rados_omap_iter_size(s->iter);
	struct rados_omap *omap = &r->omap;
	char *key, *value, *copy;
	size_t key_len, len;

	assert(r->arena == NULL); /* one omap step */
	r->arena = arena_new(OMAP_BYTES_MAX);
	omap->more = s->more != 0;
	omap->entry = arena_alloc(r->arena, (n + 1) * sizeof(*omap->entry));
	if (omap->entry == NULL)
		return -EMSGSIZE;
	while (omap->n < n &&
	    rados_omap_get_next2(s->iter, &key, &value, &key_len, &len) == 0 &&
	    key != NULL) {
		copy = arena_alloc(r->arena, key_len + 1 + len + 1);
		if (copy == NULL)
			return -EMSGSIZE;
		memcpy(copy, key, key_len);
		if (len > 0)
			memcpy(copy + key_len + 1, value, len);
		omap->entry[omap->n++] = (struct rados_omap_entry){
			.key = copy,
			.value = copy + key_len + 1,
			.len = len,
		};
	}
	return 0;
}

static void
on_read(struct rados_wait *wait)
{
	struct rados_read *r = container_of(wait, struct rados_read, wait);

	r->running = false;
	for (unsigned i = 0; i < r->nsteps && wait->rc >= 0; i++)
		if (r->step[i].kind == STEP_OMAP && r->step[i].rc >= 0) {
			int rc = omap_collect(r, &r->step[i]);

			if (rc < 0)
				wait->rc = rc;
		}
	wait->rc = wait->rc > 0 ? 0 : rados_answer(wait->rc);
	wake_up(wait->waiter, wait->rc);
	if (r->abandoned)
		rados_read_free(r);
}

void
rados_read_start(struct rados_read *r, struct ceph_pool *pool,
    const char *object, struct wake *waiter)
{
	rados_completion_t completion = rados_wait_arm(&r->wait, on_read);
	int rc = r->failed;

	r->running = true;
	r->wait.waiter = waiter;
	if (rc == 0)
		rc = rados_aio_read_op_operate(
		    r->op, pool->io, completion, object, 0);
	rados_wait_submitted(&r->wait, completion, rc);
}

struct rados_read *
rados_ask_start(struct ceph_pool *pool, const char *object,
    struct cls_call call, struct wake *waiter)
{
	struct rados_read *r = rados_read_new();

	(void)rados_read_call(r, call);
	rados_read_start(r, pool, object, waiter);
	return r;
}

int
rados_read_result(const struct rados_read *r, unsigned step, struct dec *out)
{
	const struct read_step *s = &r->step[step];
	int rc = r->wait.rc < 0 ? r->wait.rc : s->rc;

	dec_init(out, NULL, 0);
	if (rc < 0)
		return rc;
	dec_init(out, s->kind == STEP_DATA ? s->data : s->out, s->out_len);
	return 0;
}

int
rados_read_str(
    const struct rados_read *r, unsigned step, char *buf, size_t size)
{
	struct dec d;
	int rc = rados_read_result(r, step, &d);

	buf[0] = '\0';
	return rc < 0 ? rc : cls_parse_str(d, buf, size);
}

uint64_t
rados_read_version(const struct rados_read *r)
{
	return r->wait.version;
}

const struct rados_omap *
rados_read_omap(const struct rados_read *r)
{
	return &r->omap;
}

/* ---- is there room? ---- */

struct room {
	struct rados_wait waits;    /* for room, where there is none */
	struct rados_wait tries;    /* with FULL_TRY */
	rados_completion_t waiting; /* of the first */
	struct ceph_pool *pool;
	unsigned under_way;
};

static void
room_end(struct room *room)
{
	char name[256];
	int rc;

	if (--room->under_way > 0) /* the other one's answer is on its way */
		return;
	rc = rados_answer(room->tries.rc);
	/* Where there is no pool, there is no such object, either. */
	if (rc == -ENOENT &&
	    rados_ioctx_get_pool_name(room->pool->io, name, sizeof(name)) >= 0)
		rc = room->waits.rc == -ECANCELED ? -EDQUOT : 0;
	wake_up(room->tries.waiter, rc);
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

	(void)rados_aio_cancel(room->pool->io, room->waiting);
	room_end(room);
}

static int
remove_nothing(struct ceph_pool *pool, const char *object,
    rados_completion_t completion, int flags)
{
	rados_write_op_t op = rados_create_write_op();
	int rc;

	rados_write_op_assert_exists(op);
	rados_write_op_remove(op);
	rc = rados_aio_write_op_operate(
	    op, pool->io, completion, object, NULL, flags);
	rados_release_write_op(op);
	return rc;
}

void
rados_room_start(
    struct ceph_pool *pool, const char *prefix, struct wake *waiter)
{
	auto_free char *object = str_fmt("%s.no_such_object", prefix);
	struct room *room = mem_new(sizeof(*room));
	rados_completion_t trying;

	room->pool = pool;
	room->under_way = 2;
	room->tries.waiter = waiter;
	room->waiting = rados_wait_arm(&room->waits, on_waited);
	rados_wait_submitted(
	    &room->waits, NULL, remove_nothing(pool, object, room->waiting, 0));
	trying = rados_wait_arm(&room->tries, on_tried);
	rados_wait_submitted(&room->tries, trying,
	    remove_nothing(pool, object, trying, LIBRADOS_OPERATION_FULL_TRY));
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
	wake_up(wait->waiter, wait->rc);
	free(n);
}

/* What it was to tell is told some day, which does no harm. */
static void
on_late(struct timer *timer)
{
	struct notify *n = container_of(timer, struct notify, late);

	wake_up(take_ptr(&n->wait.waiter), -ETIME);
}

void
rados_notify_start(struct ceph_pool *pool, const char *object,
    const void *payload, size_t len, unsigned timeout_ms,
    struct rados_notified *result, struct wake *waiter)
{
	struct notify *n = mem_new(sizeof(*n));
	rados_completion_t completion = rados_wait_arm(&n->wait, on_notified);

	n->result = result;
	n->wait.waiter = waiter;
	n->late.fire = on_late;
	timer_arm(&n->late, timeout_ms + RADOS_NOTIFY_GRACE_MS);
	rados_wait_submitted(&n->wait, completion,
	    rados_aio_notify(pool->io, object, completion, payload, (int)len,
		timeout_ms, &n->reply, &n->reply_len));
}

/* ---- snapshot ids ---- */

struct snap_id {
	struct rados_wait wait;
	uint64_t *id;
	rados_snap_t answer;
	bool give_back;
};

static void
on_snap_id(struct rados_wait *wait)
{
	struct snap_id *s = container_of(wait, struct snap_id, wait);

	if (!s->give_back && wait->rc == 0)
		*s->id = s->answer;
	wake_up(wait->waiter, wait->rc);
	free(s);
}

void
rados_snap_id_start(
    struct ceph_pool *pool, uint64_t *id, bool give_back, struct wake *waiter)
{
	struct snap_id *s = mem_new(sizeof(*s));
	rados_completion_t completion = rados_wait_arm(&s->wait, on_snap_id);

	s->id = id;
	s->give_back = give_back;
	s->wait.waiter = waiter;
	if (give_back)
		rados_aio_ioctx_selfmanaged_snap_remove(
		    pool->io, *id, completion);
	else
		rados_aio_ioctx_selfmanaged_snap_create(
		    pool->io, &s->answer, completion);
	rados_wait_submitted(&s->wait, completion, 0);
}

/* Many of them, as one wait. */
struct snap_ids_return {
	struct wake *waiter;
	size_t left;
	int rc; /* the first failure */
	struct snap_id_return {
		struct wake wake;
		struct snap_ids_return *all;
		uint64_t id;
	} one[];
};

static void
on_returned(struct wake *wake, int rc)
{
	struct snap_id_return *one = container_of(
	    wake, struct snap_id_return, wake);
	struct snap_ids_return *all = one->all;

	if (rc < 0 && rc != -ENOENT && all->rc == 0)
		all->rc = rc;
	if (--all->left > 0)
		return;
	wake_up(all->waiter, all->rc);
	free(all);
}

void
rados_snap_ids_return_start(
    struct ceph_pool *pool, const uint64_t *id, size_t n, struct wake *waiter)
{
	struct snap_ids_return *all;

	if (n == 0) {
		wake_up(waiter, 0);
		return;
	}
	all = mem_new(sizeof(*all) + n * sizeof(all->one[0]));
	all->waiter = waiter;
	all->left = n;
	for (size_t i = 0; i < n; i++) {
		all->one[i].all = all;
		all->one[i].id = id[i];
		all->one[i].wake.fn = on_returned;
		rados_snap_id_start(
		    pool, &all->one[i].id, true, &all->one[i].wake);
	}
}
