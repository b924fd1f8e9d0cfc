/*
 * purge.c - the queue of purges, and reading the notes.
 *
 * The rule that holds it together: a purge runs for a slice of time, then its
 * note says how far it has got and it goes to the end of the queue, so that no
 * image, however large, keeps others waiting. Nothing is known that a note
 * does not say: the next worker goes on.
 */
#include "controller/purge.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "ceph/journal.h"
#include "ceph/trash.h"
#include "controller/lane.h"
#include "core/timer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MIN_MS (INT64_C(30) * 1000) /* a dead watcher is gone by then */
#define RETRY_MAX_MS (INT64_C(10) * 60 * 1000)
#define SLICE_MS 2000

enum purge_state {
	PURGING_START = 0,
	PURGING_TRASH_GONE, /* the native purge has ended */
	PURGING_LANE_DONE,  /* librbd has done what we could not */
	PURGING_NOTED,      /* its time is over: how far it has got */
	PURGING_NOTE_GONE,
	PURGING_END,
};

struct purge {
	struct op op;
	enum purge_state state;
	struct ceph_pool *pool;
	char *instance_id, *image_id, *image;
	char *key; /* in the map of all purges */
	int64_t wait_ms, due_ms, since_ms;
	bool fresh;    /* the image has just gone to the trash */
	bool paused;   /* not done, not failed */
	bool blocked;  /* by clones of it */
	unsigned gone; /* how many clones had gone when it started */
	struct trash_progress at;
	struct trash_list list;
	struct trash_purge trash;
	struct lane_job lane;
	STAILQ_ENTRY(purge)
	link;
};

STAILQ_HEAD(purge_list, purge);

static struct {
	struct map known; /* key -> struct purge */
	struct map pools; /* pool and instance whose notes were read */
	struct purge_list ready, later;
	unsigned running, resuming;
	unsigned gone; /* clones that have been purged */
	struct timer retry;
	bool up;
} pq;

static void
init(void)
{
	if (pq.up)
		return;
	STAILQ_INIT(&pq.ready);
	STAILQ_INIT(&pq.later);
	pq.up = true;
}

static void
purge_free(struct purge *p)
{
	free(p->instance_id);
	free(p->image_id);
	free(p->image);
	free(p->key);
	free(p);
}

/* ---- one purge ---- */

static void
on_list(struct trash_list *list, struct wake *waiter)
{
	struct purge *p = container_of(list, struct purge, list);

	p->lane = (struct lane_job){
		.kind = LANE_LIST_OBJECTS,
		.pool = list->pool,
		.list = list,
	};
	lane_job_start(&p->lane, waiter);
}

static enum op_verdict
start_slice(struct purge *p)
{
	struct trash_purge_spec spec = {
		.pool = p->pool,
		.id = p->image_id,
		.name = p->fresh ? NULL : p->image,
		.in_flight = TRASH_PURGE_IN_FLIGHT,
		.slice_ms = SLICE_MS,
		.at = p->at,
		.list = &p->list,
	};

	p->fresh = false;
	p->blocked = false;
	p->list.start = on_list;
	trash_purge_start(&p->trash, &spec, &p->op.wake);
	return op_await(p, PURGING_TRASH_GONE);
}

static enum op_verdict
drop_note(struct purge *p)
{
	journal_purge_done_start(
	    p->pool, p->instance_id, p->image_id, &p->op.wake);
	return op_await(p, PURGING_NOTE_GONE);
}

static enum op_verdict
trash_gone(struct purge *p)
{
	struct journal_purge note = { .image = p->image };

	p->at = p->trash.at;
	if (p->op.rc < 0 && p->trash.obstacle != IMAGE_PLAIN) {
		p->lane = (struct lane_job){
			.kind = LANE_TRASH_REMOVE,
			.pool = p->pool,
			.image_id = p->image_id,
		};
		lane_job_start(&p->lane, &p->op.wake);
		return op_await(p, PURGING_LANE_DONE);
	}
	if (p->op.rc < 0)
		return op_fail_err(p, PURGING_END, &p->trash.op.err);
	if (p->trash.foreign)
		log_warn("purge.foreign", "pool=%s image=%s id=%s",
		    ceph_pool_name(p->pool), p->image, p->image_id);
	if (!p->trash.more)
		return drop_note(p);
	note.done = p->at.done;
	note.slices = p->at.slices;
	p->paused = true;
	journal_purge_note_start(
	    p->pool, p->instance_id, p->image_id, &note, &p->op.wake);
	return op_await(p, PURGING_NOTED);
}

static enum op_verdict
lane_done(struct purge *p)
{
	if (p->op.rc >= 0)
		return drop_note(p);
	p->blocked = p->lane.child[0] != '\0';
	if (p->blocked)
		return op_fail(p, PURGING_END, ERR_FAILED_PRECONDITION,
		    "image %s in %s: its clone %s has to go before it",
		    p->image, ceph_pool_label(p->pool), p->lane.child);
	return op_fail_err(p, PURGING_END, &p->lane.err);
}

static enum op_verdict
purge_step(struct op *op)
{
	struct purge *p = container_of(op, struct purge, op);

	switch (p->state) {
	case PURGING_START:
		return start_slice(p);

	case PURGING_TRASH_GONE:
		return trash_gone(p);

	case PURGING_LANE_DONE:
		return lane_done(p);

	case PURGING_NOTED:
		if (op->rc < 0)
			return op_fail_rc(p, PURGING_END, op->rc,
			    "note how far the purge of image id %s in %s is",
			    p->image_id, ceph_pool_label(p->pool));
		return op_goto(p, PURGING_END);

	case PURGING_NOTE_GONE:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(p, PURGING_END, op->rc,
			    "remove the purge note of image id %s in %s",
			    p->image_id, ceph_pool_label(p->pool));
		return op_goto(p, PURGING_END);

	case PURGING_END:
		return OP_DONE;
	}
	abort();
}

static void run_queue(void);
static void on_retry(struct timer *timer);

static void
arm_retry(void)
{
	const struct purge *p;
	int64_t first = INT64_MAX;

	STAILQ_FOREACH (p, &pq.later, link)
		if (p->due_ms < first)
			first = p->due_ms;
	if (first == INT64_MAX)
		return;
	pq.retry.fire = on_retry;
	timer_arm(&pq.retry, first - clock_now_ms());
}

/* It may have been clones a moment ago, without being seen. */
static bool
waits_for_clones(const struct purge *p)
{
	return p->blocked || p->trash.obstacle == IMAGE_HAS_SNAPSHOTS;
}

/*
 * A clone has gone: its parent may go now, if that is what was in the way. A
 * parent that is being tried just now looks at the count when it has failed.
 */
static void
release_blocked(void)
{
	struct purge *p;

	pq.gone++;
	STAILQ_FOREACH (p, &pq.later, link)
		if (waits_for_clones(p))
			p->due_ms = clock_now_ms();
	arm_retry();
}

static void
on_retry(struct timer *timer)
{
	struct purge_list wait = STAILQ_HEAD_INITIALIZER(wait);
	int64_t now = clock_now_ms();
	struct purge *p;

	(void)timer;
	STAILQ_CONCAT(&wait, &pq.later);
	while ((p = STAILQ_FIRST(&wait)) != NULL) {
		STAILQ_REMOVE_HEAD(&wait, link);
		if (p->due_ms <= now)
			STAILQ_INSERT_TAIL(&pq.ready, p, link);
		else
			STAILQ_INSERT_TAIL(&pq.later, p, link);
	}
	arm_retry();
	run_queue();
}

static void
on_purge_freed(struct op *op)
{
	struct purge *p = container_of(op, struct purge, op);
	char text[ERR_TEXT_MAX + 16];

	pq.running--;
	if (p->paused && !err_is_set(&op->err)) {
		STAILQ_INSERT_TAIL(&pq.ready, p, link);
	} else if (!err_is_set(&op->err)) {
		log_info("purge.end", "pool=%s image=%s id=%s ms=%lld",
		    ceph_pool_name(p->pool), p->image, p->image_id,
		    (long long)(clock_now_ms() - p->since_ms));
		/* What has snapshots, as ceph-csi's helper, may be a clone. */
		if (p->trash.obstacle != IMAGE_PLAIN)
			release_blocked();
		(void)map_remove(&pq.known, p->key);
		purge_free(p);
	} else {
		p->wait_ms = p->wait_ms == 0 ? RETRY_MIN_MS : p->wait_ms * 2;
		if (p->wait_ms > RETRY_MAX_MS)
			p->wait_ms = RETRY_MAX_MS;
		log_warn("purge.later",
		    "pool=%s image=%s id=%s retry_ms=%lld "
		    "why=%s",
		    ceph_pool_name(p->pool), p->image, p->image_id,
		    (long long)p->wait_ms,
		    log_quote(text, sizeof(text), op->err.text));
		p->due_ms = clock_now_ms();
		if (!waits_for_clones(p) || p->gone == pq.gone)
			p->due_ms += p->wait_ms;
		STAILQ_INSERT_TAIL(&pq.later, p, link);
		arm_retry();
	}
	run_queue();
}

static const struct op_class purge_class = {
	.name = "purge",
	.step = purge_step,
	.end = on_purge_freed,
};

static void
run_queue(void)
{
	struct purge *p;

	while (
	    pq.running < PURGES_MAX && (p = STAILQ_FIRST(&pq.ready)) != NULL) {
		STAILQ_REMOVE_HEAD(&pq.ready, link);
		pq.running++;
		memset(&p->op, 0, sizeof(p->op));
		p->state = PURGING_START;
		p->paused = false;
		p->gone = pq.gone;
		p->op.subject = p->image;
		op_start(&p->op, &purge_class, NULL);
	}
}

/* Of an image that has just gone to the trash (`fresh`), or of a note. */
static void
submit(struct ceph_pool *pool, const char *instance_id, const char *image_id,
    const struct journal_purge *note, bool fresh)
{
	auto_free char *key = str_fmt(
	    "%lld/%s/%s", (long long)pool->id, pool->rados_namespace, image_id);
	struct purge *p;

	init();
	if (map_get(&pq.known, key) != NULL)
		return;
	p = mem_new(sizeof(*p));
	p->pool = pool;
	p->instance_id = str_dup(instance_id);
	p->image_id = str_dup(image_id);
	p->image = str_dup(note->image != NULL ? note->image : "");
	p->at = (struct trash_progress){ note->slices, note->done };
	p->fresh = fresh;
	p->since_ms = clock_now_ms();
	p->key = take_ptr(&key);
	(void)map_set(&pq.known, p->key, p);
	STAILQ_INSERT_TAIL(&pq.ready, p, link);
	run_queue();
}

void
purge_submit(struct ceph_pool *pool, const char *instance_id,
    const char *image_id, const char *image)
{
	submit(pool, instance_id, image_id,
	    &(struct journal_purge){ .image = image }, true);
}

/* ---- the notes of a pool ---- */

enum resume_state {
	RESUME_START = 0,
	RESUME_PAGE_READ,
	RESUME_END,
};

struct resume {
	struct op op;
	enum resume_state state;
	struct ceph_pool *pool;
	struct arena *arena;
	char *instance_id;
	char *key; /* in the map of pools */
	char after[RBD_ID_SIZE];
	struct rados_read *read;
	unsigned found;
};

static enum op_verdict
resume_next_page(struct resume *r)
{
	rados_read_free(r->read);
	r->read = journal_purge_read_start(
	    r->pool, r->instance_id, NULL, r->after, &r->op.wake);
	return op_await(r, RESUME_PAGE_READ);
}

static enum op_verdict
resume_take_page(struct resume *r)
{
	size_t n = rados_read_omap_count(r->read, 0);

	for (size_t i = 0; i < n; i++) {
		const struct rados_omap_entry *e = rados_read_omap_entry(
		    r->read, 0, i);
		struct journal_purge note;

		journal_purge_parse(&note, r->arena, e->value, e->len);
		if (str_put(r->after, sizeof(r->after), "%s", e->key) < 0)
			return op_fail(r, RESUME_END, ERR_DATA_LOSS,
			    "a purge note in %s has no image id",
			    ceph_pool_label(r->pool));
		submit(r->pool, r->instance_id, e->key, &note, false);
		r->found++;
	}
	if (n > 0 && rados_read_omap_more(r->read, 0))
		return resume_next_page(r);
	return op_goto(r, RESUME_END);
}

static enum op_verdict
resume_step(struct op *op)
{
	struct resume *r = container_of(op, struct resume, op);

	switch (r->state) {
	case RESUME_START:
		return resume_next_page(r);

	case RESUME_PAGE_READ:
		if (op->rc == -ENOENT)
			return op_goto(r, RESUME_END);
		if (op->rc < 0)
			return op_fail_rc(r, RESUME_END, op->rc,
			    "read the purge notes of %s",
			    ceph_pool_label(r->pool));
		return resume_take_page(r);

	case RESUME_END:
		return OP_DONE;
	}
	abort();
}

static void
resume_free(struct op *op)
{
	struct resume *r = container_of(op, struct resume, op);
	char text[ERR_TEXT_MAX + 16];

	if (err_is_set(&op->err)) {
		log_warn("purge.resume", "pool=%s why=%s",
		    ceph_pool_name(r->pool),
		    log_quote(text, sizeof(text), op->err.text));
		/* The next request that uses the pool tries again. */
		(void)map_remove(&pq.pools, r->key);
	} else if (r->found > 0) {
		log_info("purge.resume", "pool=%s images=%u",
		    ceph_pool_name(r->pool), r->found);
	}
	pq.resuming--;
	rados_read_free(r->read);
	arena_free(r->arena);
	free(r->instance_id);
	free(r->key);
	free(r);
}

static const struct op_class resume_class = {
	.name = "purge.resume",
	.step = resume_step,
	.end = resume_free,
};

void
purge_resume(struct ceph_pool *pool, const char *instance_id)
{
	auto_free char *key = str_fmt("%lld/%s/%s", (long long)pool->id,
	    pool->rados_namespace, instance_id);
	struct resume *r;

	init();
	if (map_get(&pq.pools, key) != NULL)
		return;
	r = mem_new(sizeof(*r));
	(void)map_set(&pq.pools, key, pool);
	r->pool = pool;
	r->arena = arena_new(1u << 30);
	r->instance_id = str_dup(instance_id);
	r->key = take_ptr(&key);
	r->op.subject = ceph_pool_name(pool);
	pq.resuming++;
	op_start(&r->op, &resume_class, NULL);
}

unsigned
purge_running(void)
{
	const struct purge *p;
	unsigned n = pq.running + pq.resuming;

	if (pq.up)
		STAILQ_FOREACH (p, &pq.ready, link)
			n++;
	return n;
}

void
purge_waits(unsigned *waiting, unsigned *blocked)
{
	const struct purge *p;

	*waiting = *blocked = 0;
	if (!pq.up)
		return;
	STAILQ_FOREACH (p, &pq.later, link)
		(*(p->blocked ? blocked : waiting))++;
}

void
purge_fini(void)
{
	struct purge *p;

	timer_disarm(&pq.retry);
	init();
	STAILQ_CONCAT(&pq.ready, &pq.later);
	while ((p = STAILQ_FIRST(&pq.ready)) != NULL) {
		STAILQ_REMOVE_HEAD(&pq.ready, link);
		purge_free(p);
	}
	map_fini(&pq.known);
	map_fini(&pq.pools);
	memset(&pq, 0, sizeof(pq));
}
