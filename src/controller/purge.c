/*
 * purge.c - the queue of purges, and reading the notes.
 *
 * The rule that holds it together: a purge runs for a slice of time, then its
 * note says how far it has got and it goes to the end of the queue, so that no
 * image, however large, keeps others waiting. Nothing is known that a note
 * does not say: the next worker goes on. What waits for a time has a timer of
 * its own, so nothing is looked through, however much waits.
 */
#include "controller/purge.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "ceph/journal.h"
#include "controller/lane.h"
#include "core/timer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MIN_MS (INT64_C(30) * 1000) /* a dead watcher is gone by then */
#define RETRY_MAX_MS (INT64_C(10) * 60 * 1000)
/* Whoever restores an image may set another time: so often it is looked at. */
#define KEPT_MAX_MS (INT64_C(24) * 3600 * 1000)
#define SLICE_MS 2000
/* What was read of an image is not read again for so long. */
#define INFO_MS 2000
/* Images that go to the trash while so many wait are read again anyway. */
#define INFOS_MAX 256

enum purge_state {
	PURGING_START = 0,
	PURGING_TRASH_GONE, /* the native purge has ended */
	PURGING_LANE_DONE,  /* librbd has done what we could not */
	PURGING_GONE,       /* nothing is left of the image */
	PURGING_NOTED,      /* its time is over: how far it has got */
	PURGING_NOTE_GONE,
	PURGING_END,
};

/* An image to be purged. */
struct purge {
	struct ceph_pool *pool;
	char *instance_id, *image_id, *image;
	char *key; /* in the map of all purges */
	int64_t wait_ms, since_ms;
	struct image_info *info; /* of an image that has just gone to the trash,
				    until info_ms; else NULL */
	int64_t info_ms;
	struct trash_progress at;
	bool blocked;             /* by clones of it */
	bool again;               /* one of them has gone since it started */
	struct timer due;         /* runs: it waits for this */
	STAILQ_ENTRY(purge) link; /* of those that may start */
	LIST_ENTRY(purge) waiting_link; /* of those that wait */
};

/* One that runs. */
struct purging {
	struct op op;
	enum purge_state state;
	struct purge *purge;
	bool paused; /* not done, not failed */
	struct trash_list list;
	struct trash_purge trash;
	struct lane_job lane;
};

static struct {
	struct map known; /* key -> struct purge */
	struct map pools; /* pool and instance whose notes were read */
	STAILQ_HEAD(, purge) ready;
	LIST_HEAD(, purge) waiting;
	unsigned nready, nwaiting, nblocked; /* of those waiting, in all */
	unsigned running, resuming;
	uint64_t done, failed;
	char *instance_id; /* of this process */
} pq = { .ready = STAILQ_HEAD_INITIALIZER(pq.ready) };

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
	struct purging *r = container_of(list, struct purging, list);

	r->lane = (struct lane_job){
		.kind = LANE_LIST_OBJECTS,
		.pool = list->pool,
		.list = list,
	};
	lane_job_start(&r->lane, waiter);
}

static enum op_verdict
purging_step(struct op *op)
{
	struct purging *r = (struct purging *)op;
	struct purge *p = r->purge;
	const char *label = ceph_pool_label(p->pool);
	struct journal_purge note;

	switch (r->state) {
	case PURGING_START:
		r->list.start = on_list;
		r->trash = (struct trash_purge){
			.pool = p->pool,
			.id = p->image_id,
			.name = p->image,
			.info = p->info,
			.instance_id = p->instance_id,
			.slice_ms = SLICE_MS,
			.at = p->at,
			.list = &r->list,
		};
		trash_purge_start(&r->trash, &op->wake);
		return op_await(r, PURGING_TRASH_GONE);

	case PURGING_TRASH_GONE:
		free(take_ptr(&p->info));
		p->at = r->trash.at;
		if (op->rc < 0 && r->trash.obstacle != IMAGE_PLAIN) {
			r->lane = (struct lane_job){
				.kind = LANE_TRASH_REMOVE,
				.pool = p->pool,
				.image_id = p->image_id,
			};
			lane_job_start(&r->lane, &op->wake);
			return op_await(r, PURGING_LANE_DONE);
		}
		p->blocked = r->trash.ties.held_by[0] != '\0';
		if (p->blocked)
			return op_fail(r, PURGING_END, ERR_FAILED_PRECONDITION,
			    "image %s in %s: %s has to go before it", p->image,
			    label, r->trash.ties.held_by);
		if (op->rc < 0)
			return op_fail_as(r, PURGING_END, trash.op);
		if (r->trash.foreign)
			log_warn("purge.foreign", "pool=%s image=%s id=%s",
			    ceph_pool_name(p->pool), p->image, p->image_id);
		if (!r->trash.more)
			return r->trash.unnoted ? op_goto(r, PURGING_END)
						: op_goto(r, PURGING_GONE);
		r->paused = true;
		note = (struct journal_purge){ .image = p->image,
			.done = p->at.done,
			.slices = p->at.slices };
		journal_purge_note_start(
		    p->pool, p->instance_id, p->image_id, &note, &op->wake);
		return op_await(r, PURGING_NOTED);

	case PURGING_LANE_DONE:
		if (op->rc >= 0)
			return op_goto(r, PURGING_GONE);
		p->blocked = r->lane.child[0] != '\0';
		if (p->blocked)
			return op_fail(r, PURGING_END, ERR_FAILED_PRECONDITION,
			    "image %s in %s: its clone %s has to go before it",
			    p->image, label, r->lane.child);
		return op_fail_as(r, PURGING_END, lane);

	case PURGING_GONE:
		journal_purge_note_start(
		    p->pool, p->instance_id, p->image_id, NULL, &op->wake);
		return op_await(r, PURGING_NOTE_GONE);

	case PURGING_NOTED:
		if (op->rc < 0)
			return op_fail_rc(r, PURGING_END, op->rc,
			    "note how far the purge of image id %s in %s is",
			    p->image_id, label);
		return op_goto(r, PURGING_END);

	case PURGING_NOTE_GONE:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(r, PURGING_END, op->rc,
			    "remove the purge note of image id %s in %s",
			    p->image_id, label);
		return op_goto(r, PURGING_END);

	case PURGING_END:
		return OP_DONE;
	}
	abort();
}

/* ---- the queue ---- */

static void purging_ended(struct op *op);

static const struct op_class purging_class = {
	.name = "purge",
	.step = purging_step,
	.end = purging_ended,
};

static void
run_queue(void)
{
	struct purging *r;
	struct purge *p;

	while (
	    pq.running < PURGES_MAX && (p = STAILQ_FIRST(&pq.ready)) != NULL) {
		STAILQ_REMOVE_HEAD(&pq.ready, link);
		pq.nready--;
		pq.running++;
		p->blocked = p->again = false;
		if (p->info != NULL && clock_now_ms() > p->info_ms)
			free(take_ptr(&p->info));
		r = mem_new(sizeof(*r));
		r->purge = p;
		r->op.subject = p->image;
		op_start(&r->op, &purging_class, NULL);
	}
}

static void
make_ready(struct purge *p)
{
	STAILQ_INSERT_TAIL(&pq.ready, p, link);
	pq.nready++;
}

static void
stop_waiting(struct purge *p)
{
	timer_disarm(&p->due);
	LIST_REMOVE(p, waiting_link);
	pq.nwaiting--;
	pq.nblocked -= p->blocked;
	make_ready(p);
}

static void
on_purge_due(struct timer *timer)
{
	stop_waiting(container_of(timer, struct purge, due));
	run_queue();
}

static void
make_wait(struct purge *p, int64_t wait_ms)
{
	p->due.fire = on_purge_due;
	timer_arm(&p->due, wait_ms);
	LIST_INSERT_HEAD(&pq.waiting, p, waiting_link);
	pq.nwaiting++;
	pq.nblocked += p->blocked;
}

/* As long as the trash keeps an image, at most a day. */
static int64_t
kept_ms(int64_t until_s)
{
	int64_t ms = until_s * 1000 - clock_wall_ms() + 1000;

	return ms < KEPT_MAX_MS ? ms : KEPT_MAX_MS;
}

static void note_take_up(struct ceph_pool *pool, const char *image_id);

static void
purge_failed(struct purge *p, const struct purging *r)
{
	const struct image_unlink *ties = &r->trash.ties;
	char text[ERR_TEXT_MAX + 16];

	if (r->trash.kept_until_s > 0) {
		make_wait(p, kept_ms(r->trash.kept_until_s));
		return;
	}
	pq.failed++;
	p->wait_ms = p->wait_ms == 0 ? RETRY_MIN_MS : p->wait_ms * 2;
	if (p->wait_ms > RETRY_MAX_MS)
		p->wait_ms = RETRY_MAX_MS;
	log_warn("purge.later", "pool=%s image=%s id=%s retry_ms=%lld why=%s",
	    ceph_pool_name(p->pool), p->image, p->image_id,
	    (long long)p->wait_ms,
	    log_quote(text, sizeof(text), r->op.err.text));
	/* The clone's own purge may have died with its worker. */
	if (p->blocked && ties->clone_pool != NULL)
		note_take_up(ties->clone_pool, ties->clone_id);
	if (p->blocked && p->again)
		make_ready(p);
	else
		make_wait(p, p->wait_ms);
}

static void
purging_ended(struct op *op)
{
	struct purging *r = (struct purging *)op;
	struct purge *p = r->purge;

	pq.running--;
	if (err_is_set(&op->err)) {
		purge_failed(p, r);
	} else if (r->paused) {
		make_ready(p);
	} else {
		pq.done++;
		log_info("purge.end", "pool=%s image=%s id=%s ms=%lld",
		    ceph_pool_name(p->pool), p->image, p->image_id,
		    (long long)(clock_now_ms() - p->since_ms));
		(void)map_remove(&pq.known, p->key);
		purge_parent(p->pool->conn, &r->trash.lookup.info.parent);
		purge_free(p);
	}
	free(r);
	run_queue();
}

/* Of an image that has just gone to the trash (`info`), or of a note. */
static void
submit(struct ceph_pool *pool, const char *instance_id, const char *image_id,
    const struct journal_purge *note, const struct image_info *info)
{
	auto_free char *key = ceph_pool_key(pool, image_id);
	struct purge *p;

	if (map_get(&pq.known, key) != NULL)
		return;
	p = mem_new(sizeof(*p));
	p->pool = pool;
	p->instance_id = str_dup(instance_id);
	p->image_id = str_dup(image_id);
	p->image = str_dup(note->image != NULL ? note->image : "");
	p->at = (struct trash_progress){ note->slices, note->done };
	if (info != NULL && pq.nready < INFOS_MAX) {
		p->info = mem_new(sizeof(*info));
		*p->info = *info;
		p->info_ms = clock_now_ms() + INFO_MS;
	}
	p->since_ms = clock_now_ms();
	p->key = take_ptr(&key);
	(void)map_set(&pq.known, p->key, p);
	if (note->until_s > 0 && kept_ms((int64_t)note->until_s) > 0)
		make_wait(p, kept_ms((int64_t)note->until_s));
	else
		make_ready(p);
	run_queue();
}

void
purge_submit(struct ceph_pool *pool, const char *instance_id,
    const char *image_id, const char *image, const struct trash_move *move)
{
	struct journal_purge note = { .image = image,
		.until_s = move->kept_until_s };

	submit(pool, instance_id, image_id, &note,
	    move->fresh ? &move->lookup.info : NULL);
}

unsigned
purge_running(void)
{
	return pq.running + pq.resuming + pq.nready + snapshot_reaping();
}

void
purge_count(struct purge_counts *counts)
{
	*counts = (struct purge_counts){ .running = purge_running(),
		.waiting = pq.nwaiting - pq.nblocked,
		.blocked = pq.nblocked,
		.done = pq.done,
		.failed = pq.failed };
}

void
purge_fini(void)
{
	struct purge *p;

	while ((p = LIST_FIRST(&pq.waiting)) != NULL)
		stop_waiting(p);
	while ((p = STAILQ_FIRST(&pq.ready)) != NULL) {
		STAILQ_REMOVE_HEAD(&pq.ready, link);
		purge_free(p);
	}
	map_fini(&pq.known);
	map_fini(&pq.pools);
	free(pq.instance_id);
	snapshot_when_orphaned(NULL);
	memset(&pq, 0, sizeof(pq));
	STAILQ_INIT(&pq.ready);
}

/* ---- the notes of a pool ---- */

struct resume {
	struct wake wake;
	struct ceph_pool *pool;
	struct arena *arena;
	char *instance_id;
	char *key;      /* in the map of pools; NULL: only one note is read */
	char *image_id; /* of that one; the arena's */
	char *after;    /* the last note's key; the arena's */
	struct rados_read *read;
	unsigned found;
};

static void
resume_read_start(struct resume *r)
{
	rados_read_free(r->read);
	r->read = journal_purge_read_start(
	    r->pool, r->instance_id, r->image_id, r->after, &r->wake);
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
		if (r->key != NULL)
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

/* librbd's option rbd_move_parent_to_trash_on_remove has left it until now. */
static void
on_orphaned(struct ceph_pool *pool, const char *image_id, const char *image)
{
	submit(pool, pq.instance_id, image_id,
	    &(struct journal_purge){ .image = image }, NULL);
}

/* Of all images, or of one; takes over the key. */
static void
resume_begin(struct ceph_pool *pool, const char *instance_id,
    const char *image_id, char *key)
{
	struct resume *r = mem_new(sizeof(*r));

	r->wake.fn = on_notes_read;
	r->pool = pool;
	r->arena = arena_new(1u << 30);
	r->after = arena_strdup(r->arena, "");
	r->instance_id = str_dup(instance_id);
	if (image_id != NULL)
		r->image_id = arena_strdup(r->arena, image_id);
	r->key = key;
	pq.resuming++;
	resume_read_start(r);
}

void
purge_resume(struct ceph_pool *pool, const char *instance_id)
{
	auto_free char *key = ceph_pool_key(pool, instance_id);

	if (map_get(&pq.pools, key) != NULL)
		return;
	if (pq.instance_id == NULL) {
		pq.instance_id = str_dup(instance_id);
		snapshot_when_orphaned(on_orphaned);
	}
	(void)map_set(&pq.pools, key, pool);
	resume_begin(pool, instance_id, NULL, take_ptr(&key));
}

/* Of an image that this worker knows nothing of; that it has one is not sure. */
static void
note_take_up(struct ceph_pool *pool, const char *image_id)
{
	auto_free char *key = ceph_pool_key(pool, image_id);

	if (pq.instance_id != NULL && map_get(&pq.known, key) == NULL)
		resume_begin(pool, pq.instance_id, image_id, NULL);
}

void
purge_parent(struct ceph_connection *conn, const struct cls_parent *parent)
{
	auto_free char *key = NULL;
	struct err err = ERR_INIT;
	struct ceph_pool *pool;
	struct purge *p;

	if (parent->id[0] == '\0' ||
	    parent_pool_open(conn, parent, &pool, &err) < 0)
		return;
	key = ceph_pool_key(pool, parent->id);
	p = map_get(&pq.known, key);
	if (p == NULL) {
		note_take_up(pool, parent->id);
		return;
	}
	p->again = true;
	if (p->blocked && timer_is_running(&p->due)) {
		stop_waiting(p);
		run_queue();
	}
}
