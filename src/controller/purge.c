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
/* What was read of an image is not read again for so long. */
#define INFO_MS 2000

enum purge_state {
	PURGING_START = 0,
	PURGING_TRASH_GONE, /* the native purge has ended */
	PURGING_LANE_DONE,  /* librbd has done what we could not */
	PURGING_GONE,       /* nothing is left of the image */
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
	int64_t wait_ms, since_ms;
	int64_t due_ms;          /* in the queue: not before that, 0: at once */
	struct image_info *info; /* of an image that has just gone to the trash,
				    until info_ms; else NULL */
	int64_t info_ms;
	bool paused;   /* not done, not failed */
	bool blocked;  /* by clones of it */
	unsigned gone; /* how many clones had gone when it started */
	struct trash_progress at;
	struct trash_list list;
	struct trash_purge trash;
	struct lane_job lane;
	STAILQ_ENTRY(purge) link;
};

static struct {
	struct map known; /* key -> struct purge */
	struct map pools; /* pool and instance whose notes were read */
	STAILQ_HEAD(, purge) queue;
	unsigned running, resuming;
	unsigned gone; /* clones that have been purged */
	struct timer retry;
} pq = { .queue = STAILQ_HEAD_INITIALIZER(pq.queue) };

static char *
key_fmt(const struct ceph_pool *pool, const char *id)
{
	return str_fmt(
	    "%lld/%s/%s", (long long)pool->id, pool->rados_namespace, id);
}

static void
purge_free(struct purge *p)
{
	free(p->instance_id);
	free(p->image_id);
	free(p->image);
	free(p->key);
	free(p->info);
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
purge_step(struct op *op)
{
	struct purge *p = (struct purge *)op;
	const char *label = ceph_pool_label(p->pool);
	struct journal_purge note;

	switch (p->state) {
	case PURGING_START:
		if (p->info != NULL && clock_now_ms() > p->info_ms)
			free(take_ptr(&p->info));
		p->list.start = on_list;
		p->trash = (struct trash_purge){
			.pool = p->pool,
			.id = p->image_id,
			.name = p->image,
			.info = p->info,
			.instance_id = p->instance_id,
			.in_flight = TRASH_PURGE_IN_FLIGHT,
			.slice_ms = SLICE_MS,
			.at = p->at,
			.list = &p->list,
		};
		trash_purge_start(&p->trash, &op->wake);
		p->blocked = false;
		return op_await(p, PURGING_TRASH_GONE);

	case PURGING_TRASH_GONE:
		free(take_ptr(&p->info));
		p->at = p->trash.at;
		if (op->rc < 0 && p->trash.obstacle != IMAGE_PLAIN) {
			p->lane = (struct lane_job){
				.kind = LANE_TRASH_REMOVE,
				.pool = p->pool,
				.image_id = p->image_id,
			};
			lane_job_start(&p->lane, &op->wake);
			return op_await(p, PURGING_LANE_DONE);
		}
		if (op->rc < 0)
			return op_fail_as(p, PURGING_END, trash.op);
		if (p->trash.foreign)
			log_warn("purge.foreign", "pool=%s image=%s id=%s",
			    ceph_pool_name(p->pool), p->image, p->image_id);
		if (!p->trash.more)
			return p->trash.unnoted ? op_goto(p, PURGING_END)
						: op_goto(p, PURGING_GONE);
		p->paused = true;
		note = (struct journal_purge){ .image = p->image,
			.done = p->at.done,
			.slices = p->at.slices };
		journal_purge_note_start(
		    p->pool, p->instance_id, p->image_id, &note, &op->wake);
		return op_await(p, PURGING_NOTED);

	case PURGING_LANE_DONE:
		if (op->rc >= 0)
			return op_goto(p, PURGING_GONE);
		p->blocked = p->lane.child[0] != '\0';
		if (p->blocked)
			return op_fail(p, PURGING_END, ERR_FAILED_PRECONDITION,
			    "image %s in %s: its clone %s has to go before it",
			    p->image, label, p->lane.child);
		return op_fail_as(p, PURGING_END, lane);

	case PURGING_GONE:
		journal_purge_note_start(
		    p->pool, p->instance_id, p->image_id, NULL, &op->wake);
		return op_await(p, PURGING_NOTE_GONE);

	case PURGING_NOTED:
		if (op->rc < 0)
			return op_fail_rc(p, PURGING_END, op->rc,
			    "note how far the purge of image id %s in %s is",
			    p->image_id, label);
		return op_goto(p, PURGING_END);

	case PURGING_NOTE_GONE:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(p, PURGING_END, op->rc,
			    "remove the purge note of image id %s in %s",
			    p->image_id, label);
		return op_goto(p, PURGING_END);

	case PURGING_END:
		return OP_DONE;
	}
	abort();
}

/* ---- the queue ---- */

/* It may have been clones a moment ago, without being seen. */
static bool
waits_for_clones(const struct purge *p)
{
	return p->blocked || p->trash.obstacle == IMAGE_HAS_SNAPSHOTS;
}

static void purge_ended(struct op *op);
static void on_purge_due(struct timer *timer);

static const struct op_class purge_class = {
	.name = "purge",
	.step = purge_step,
	.end = purge_ended,
};

/* Starts those that are due, and sees to it that the others will be. */
static void
run_queue(void)
{
	int64_t now = clock_now_ms(), first = INT64_MAX;
	struct purge *p, *next;

	for (p = STAILQ_FIRST(&pq.queue); p != NULL && pq.running < PURGES_MAX;
	     p = next) {
		next = STAILQ_NEXT(p, link);
		if (p->due_ms > now) {
			first = p->due_ms < first ? p->due_ms : first;
			continue;
		}
		STAILQ_REMOVE(&pq.queue, p, purge, link);
		pq.running++;
		memset(&p->op, 0, sizeof(p->op));
		p->state = PURGING_START;
		p->paused = false;
		p->gone = pq.gone;
		p->op.subject = p->image;
		op_start(&p->op, &purge_class, NULL);
	}
	pq.retry.fire = on_purge_due;
	if (first < INT64_MAX)
		timer_arm(&pq.retry, first - now);
}

static void
on_purge_due(struct timer *timer)
{
	(void)timer;
	run_queue();
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
	STAILQ_FOREACH (p, &pq.queue, link)
		if (waits_for_clones(p))
			p->due_ms = 0;
}

static void
purge_ended(struct op *op)
{
	struct purge *p = (struct purge *)op;
	char text[ERR_TEXT_MAX + 16];

	pq.running--;
	p->due_ms = 0;
	if (err_is_set(&op->err)) {
		p->wait_ms = p->wait_ms == 0 ? RETRY_MIN_MS : p->wait_ms * 2;
		if (p->wait_ms > RETRY_MAX_MS)
			p->wait_ms = RETRY_MAX_MS;
		log_warn("purge.later",
		    "pool=%s image=%s id=%s retry_ms=%lld why=%s",
		    ceph_pool_name(p->pool), p->image, p->image_id,
		    (long long)p->wait_ms,
		    log_quote(text, sizeof(text), op->err.text));
		if (!waits_for_clones(p) || p->gone == pq.gone)
			p->due_ms = clock_now_ms() + p->wait_ms;
	}
	if (err_is_set(&op->err) || p->paused) {
		STAILQ_INSERT_TAIL(&pq.queue, p, link);
	} else {
		log_info("purge.end", "pool=%s image=%s id=%s ms=%lld",
		    ceph_pool_name(p->pool), p->image, p->image_id,
		    (long long)(clock_now_ms() - p->since_ms));
		/* What has snapshots, as ceph-csi's helper, may be a clone. */
		if (p->trash.obstacle != IMAGE_PLAIN)
			release_blocked();
		(void)map_remove(&pq.known, p->key);
		purge_free(p);
	}
	run_queue();
}

/* Of an image that has just gone to the trash (`info`), or of a note. */
static void
submit(struct ceph_pool *pool, const char *instance_id, const char *image_id,
    const struct journal_purge *note, const struct image_info *info)
{
	auto_free char *key = key_fmt(pool, image_id);
	struct purge *p;

	if (map_get(&pq.known, key) != NULL)
		return;
	p = mem_new(sizeof(*p));
	p->pool = pool;
	p->instance_id = str_dup(instance_id);
	p->image_id = str_dup(image_id);
	p->image = str_dup(note->image != NULL ? note->image : "");
	p->at = (struct trash_progress){ note->slices, note->done };
	if (info != NULL) {
		p->info = mem_new(sizeof(*info));
		*p->info = *info;
		p->info_ms = clock_now_ms() + INFO_MS;
	}
	p->since_ms = clock_now_ms();
	p->key = take_ptr(&key);
	(void)map_set(&pq.known, p->key, p);
	STAILQ_INSERT_TAIL(&pq.queue, p, link);
	run_queue();
}

void
purge_submit(struct ceph_pool *pool, const char *instance_id,
    const char *image_id, const char *image, const struct image_info *info)
{
	submit(pool, instance_id, image_id,
	    &(struct journal_purge){ .image = image }, info);
}

unsigned
purge_running(void)
{
	const struct purge *p;
	unsigned n = pq.running + pq.resuming;

	STAILQ_FOREACH (p, &pq.queue, link)
		n += p->due_ms <= clock_now_ms();
	return n;
}

void
purge_waits(unsigned *waiting, unsigned *blocked)
{
	const struct purge *p;

	*waiting = *blocked = 0;
	STAILQ_FOREACH (p, &pq.queue, link)
		if (p->due_ms > clock_now_ms())
			(*(p->blocked ? blocked : waiting))++;
}

void
purge_fini(void)
{
	struct purge *p;

	timer_disarm(&pq.retry);
	while ((p = STAILQ_FIRST(&pq.queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&pq.queue, link);
		purge_free(p);
	}
	map_fini(&pq.known);
	map_fini(&pq.pools);
	memset(&pq, 0, sizeof(pq));
	STAILQ_INIT(&pq.queue);
}

/* ---- the notes of a pool ---- */

struct resume {
	struct wake wake;
	struct ceph_pool *pool;
	struct arena *arena;
	char *instance_id;
	char *key;   /* in the map of pools */
	char *after; /* the last note's key; the arena's */
	struct rados_read *read;
	unsigned found;
};

static void
resume_read_start(struct resume *r)
{
	rados_read_free(r->read);
	r->read = journal_purge_read_start(
	    r->pool, r->instance_id, NULL, r->after, &r->wake);
}

/* Takes the notes of a page; true: there are more. */
static bool
take_notes(struct resume *r, struct err *err)
{
	const struct rados_omap *omap = rados_read_omap(r->read);

	for (size_t i = 0; i < omap->n; i++) {
		const struct rados_omap_entry *e = &omap->entry[i];
		const char *id = journal_purge_id(r->instance_id, e->key);
		struct journal_purge note;

		r->after = arena_strdup(r->arena, e->key);
		if (id == NULL) /* of an instance whose name goes on with '/' */
			continue;
		if (strlen(id) >= RBD_ID_SIZE) {
			(void)err_set(err, ERR_DATA_LOSS,
			    "a purge note in %s has no image id",
			    ceph_pool_label(r->pool));
			return false;
		}
		journal_purge_parse(&note, r->arena, e->value, e->len);
		submit(r->pool, r->instance_id, id, &note, NULL);
		r->found++;
	}
	return omap->n > 0 && omap->more;
}

static void
on_notes_read(struct wake *wake, int rc)
{
	struct resume *r = container_of(wake, struct resume, wake);
	struct err err = ERR_INIT;
	char text[ERR_TEXT_MAX + 16];

	if (rc == 0 && take_notes(r, &err)) {
		resume_read_start(r);
		return;
	}
	if (rc < 0 && rc != -ENOENT)
		(void)err_set_rc(&err, rc, "read the purge notes of %s",
		    ceph_pool_label(r->pool));
	if (err_is_set(&err)) {
		log_warn("purge.resume", "pool=%s why=%s",
		    ceph_pool_name(r->pool),
		    log_quote(text, sizeof(text), err.text));
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

void
purge_resume(struct ceph_pool *pool, const char *instance_id)
{
	auto_free char *key = key_fmt(pool, instance_id);
	struct resume *r;

	if (map_get(&pq.pools, key) != NULL)
		return;
	r = mem_new(sizeof(*r));
	(void)map_set(&pq.pools, key, pool);
	r->wake.fn = on_notes_read;
	r->pool = pool;
	r->arena = arena_new(1u << 30);
	r->after = arena_strdup(r->arena, "");
	r->instance_id = str_dup(instance_id);
	r->key = take_ptr(&key);
	pq.resuming++;
	resume_read_start(r);
}
