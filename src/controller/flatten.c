/*
 * flatten.c - the queue of flattens, and their notes.
 *
 * The rule that holds it together: a note says that an image is to be
 * flattened, from before the first object is copied until its parent knows it
 * no more. How far it has got is in the image itself: what has been copied is
 * not copied again. When all is copied the note says of which parent, for the
 * image forgets that first. So nothing is lost with a worker.
 */
#include "controller/flatten.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "ceph/journal.h"
#include "ceph/part.h"
#include "controller/image_jobs.h"
#include "controller/meta.h"
#include "controller/purge.h"
#include "core/timer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * One object for each instance: image id -> the image's name and, when all is
 * copied, after a tab POOLID/SNAPID/IMAGEID/NAMESPACE of its parent.
 */
#define NOTES "csi.flatten."
#define NOTES_PAGE 256

#define RETRY_MIN_MS (INT64_C(10) * 1000)
#define RETRY_MAX_MS (INT64_C(10) * 60 * 1000)
#define HELD_MS (INT64_C(30) * 1000)
#define SLICE_MS 2000 /* then it is the next one's turn */

enum flatten_state {
	FLATTENING_START = 0,
	FLATTENING_NOTED,   /* a note says that it is to be flattened */
	FLATTENING_DONE,    /* a slice of time, or all of it */
	FLATTENING_COPIED,  /* the note says from which parent it is to part */
	FLATTENING_PARTING, /* nothing of the parent is needed any more */
	FLATTENING_PARTED,  /* it has, or somebody may still read that */
	FLATTENING_HELD,    /* that was so; time has passed */
	FLATTENING_OVER,    /* it has no parent any more, or is gone */
	FLATTENING_NOTE_GONE,
	FLATTENING_END,
};

struct flatten {
	struct op op;
	enum flatten_state state;
	struct ceph_pool *pool;
	char *notes; /* the object with the notes */
	char *image_id, *image;
	char *subject; /* the image, and how far it has got */
	char *key;     /* in the map of all flattens */
	bool noted, paused;
	bool held;   /* all is done but to let the parent go */
	uint64_t at; /* the next object */
	struct flatten_doubt doubt;
	struct cls_parent parent; /* all is copied; pool -1: not yet */
	int64_t wait_ms, since_ms;
	int64_t due_ms;     /* in the queue: not before that, 0: at once */
	struct timer again; /* while it is held */
	struct image_job job;
	struct image_part part;
	LIST_HEAD(, flatten_wait) waits;
	STAILQ_ENTRY(flatten) link;
};

static struct {
	struct map known; /* key -> struct flatten */
	struct map pools; /* pool and notes that were read */
	STAILQ_HEAD(, flatten) queue;
	unsigned running, held, resuming;
	uint64_t done, failed;
	struct timer retry;
} fq = { .queue = STAILQ_HEAD_INITIALIZER(fq.queue) };

static void
flatten_free(struct flatten *f)
{
	free(f->notes);
	free(f->image_id);
	free(f->image);
	free(f->subject);
	free(f->key);
	free(f);
}

/* ---- its note ---- */

static char *
note_fmt(const struct flatten *f)
{
	const struct cls_parent *p = &f->parent;

	if (p->pool < 0)
		return str_dup(f->image);
	return str_fmt("%s\t%" PRId64 "/%" PRIu64 "/%s/%s", f->image, p->pool,
	    p->snap, p->id, p->rados_namespace);
}

/* Splits it; false: it makes no sense. */
static bool
note_parse(char *note, struct cls_parent *p)
{
	char *at = strrchr(note, '\t'), *slash;

	p->pool = -1;
	if (at == NULL)
		return true;
	*at++ = '\0';
	p->pool = strtoll(at, &at, 10);
	if (p->pool < 0 || *at++ != '/')
		return false;
	p->snap = strtoull(at, &at, 10);
	if (*at++ != '/' || (slash = strchr(at, '/')) == NULL)
		return false;
	*slash++ = '\0';
	return *at != '\0' && str_put(p->id, sizeof(p->id), "%s", at) == 0 &&
	    str_put(p->rados_namespace, sizeof(p->rados_namespace), "%s",
		slash) == 0;
}

static void
note_change_start(struct flatten *f, const char *was, const char *now)
{
	journal_change_start(f->pool, f->notes, now != NULL,
	    &(struct journal_change){ f->image_id, was, now }, 1, &f->op.wake);
}

/* ---- one of them ---- */

static void hold_start(struct flatten *f);

static enum op_verdict
flatten_step(struct op *op)
{
	struct flatten *f = (struct flatten *)op;
	const char *label = ceph_pool_label(f->pool);
	auto_free char *note = NULL;

	switch (f->state) {
	case FLATTENING_START:
		if (f->parent.pool >= 0)
			return op_goto(f, FLATTENING_PARTING);
		if (f->noted)
			return op_goto(f, FLATTENING_NOTED);
		note_change_start(f, NULL, f->image);
		return op_await(f, FLATTENING_NOTED);

	case FLATTENING_NOTED:
		/* -ECANCELED: another worker has noted it. */
		if (op->rc < 0 && op->rc != -ECANCELED)
			return op_fail_rc(f, FLATTENING_END, op->rc,
			    "note that image %s in %s is to be flattened",
			    f->image, label);
		f->noted = true;
		f->job = (struct image_job){
			.kind = IMAGE_JOB_FLATTEN,
			.pool = f->pool,
			.image_id = f->image_id,
			.at = f->at,
			.slice_ms = SLICE_MS,
			.doubt = f->doubt,
		};
		image_job_start(&f->job, &op->wake);
		return op_await(f, FLATTENING_DONE);

	case FLATTENING_DONE:
		f->doubt = f->job.doubt;
		/* One that was deleted meanwhile needs no flattening. */
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_as(f, FLATTENING_END, job.op);
		f->at = f->job.at;
		f->paused = op->rc == 0 && f->job.more;
		if (f->paused)
			return op_goto(f, FLATTENING_END);
		if (op->rc < 0 || f->job.parent.pool < 0)
			return op_goto(f, FLATTENING_OVER);
		f->parent = f->job.parent;
		note = note_fmt(f);
		note_change_start(f, f->image, note);
		return op_await(f, FLATTENING_COPIED);

	case FLATTENING_COPIED:
		if (op->rc < 0) {
			/* another worker's, or nobody's: it is noted anew */
			f->parent.pool = -1;
			f->noted = false;
			return op_fail_rc(f, FLATTENING_END, op->rc,
			    "note from which parent image %s in %s is to part",
			    f->image, label);
		}
		return op_goto(f, FLATTENING_PARTING);

	case FLATTENING_PARTING:
		f->part = (struct image_part){
			.pool = f->pool,
			.image_id = f->image_id,
			.parent = &f->parent,
			.record = VOLUME_META_PUBLISHED,
		};
		image_part_start(&f->part, &op->wake);
		return op_await(f, FLATTENING_PARTED);

	case FLATTENING_PARTED:
		if (op->rc < 0 && f->part.readers.reader[0] != '\0') {
			hold_start(f);
			return op_await(f, FLATTENING_HELD);
		}
		if (op->rc < 0)
			return op_fail_as(f, FLATTENING_END, part.op);
		return op_goto(f, FLATTENING_OVER);

	case FLATTENING_HELD:
		return op_goto(f, FLATTENING_PARTING);

	case FLATTENING_OVER:
		note = note_fmt(f);
		note_change_start(f, note, NULL);
		return op_await(f, FLATTENING_NOTE_GONE);

	case FLATTENING_NOTE_GONE:
		if (op->rc < 0 && op->rc != -ENOENT && op->rc != -ECANCELED)
			return op_fail_rc(f, FLATTENING_END, op->rc,
			    "remove the note that image %s in %s is to be flattened",
			    f->image, label);
		return op_goto(f, FLATTENING_END);

	case FLATTENING_END:
		return OP_DONE;
	}
	abort();
}

/* ---- the queue ---- */

static void flatten_ended(struct op *op);
static void on_flatten_due(struct timer *timer);

static const struct op_class flatten_class = {
	.name = "flatten",
	.step = flatten_step,
	.end = flatten_ended,
};

/* Starts those that are due, and sees to it that the others will be. */
static void
run_queue(void)
{
	int64_t now = clock_now_ms(), first = INT64_MAX;
	struct flatten *f, *next;

	if (fq.resuming > 0)
		return; /* there may be notes about them */
	for (f = STAILQ_FIRST(&fq.queue);
	     f != NULL && fq.running < FLATTENS_MAX; f = next) {
		next = STAILQ_NEXT(f, link);
		if (f->due_ms > now) {
			first = f->due_ms < first ? f->due_ms : first;
			continue;
		}
		STAILQ_REMOVE(&fq.queue, f, flatten, link);
		fq.running++;
		memset(&f->op, 0, sizeof(f->op));
		f->state = FLATTENING_START;
		f->paused = false;
		free(f->subject);
		f->subject = str_fmt("%s, %llu of %llu objects", f->image,
		    (unsigned long long)f->at,
		    (unsigned long long)f->job.count);
		f->op.subject = f->at > 0 ? f->subject : f->image;
		op_start(&f->op, &flatten_class, NULL);
	}
	fq.retry.fire = on_flatten_due;
	if (first < INT64_MAX)
		timer_arm(&fq.retry, first - now);
}

static void
on_flatten_due(struct timer *timer)
{
	(void)timer;
	run_queue();
}

/* Whoever waits for the chain only may go on once the image is no clone. */
static void
wake_waiters(struct flatten *f, const struct err *err)
{
	struct flatten_wait *wait;

	while ((wait = LIST_FIRST(&f->waits)) != NULL) {
		LIST_REMOVE(wait, link);
		if (wait->freed || !f->part.left)
			wait->err = *err;
		wake_up(wait->waiter, wait->err.rc);
	}
}

static void
on_held(struct timer *timer)
{
	wake_up(&container_of(timer, struct flatten, again)->op.wake, 0);
}

/*
 * Somebody may still read the parent by way of the image. The operation lives
 * on, so that it is seen, but is in no other one's way.
 */
static void
hold_start(struct flatten *f)
{
	char text[ERR_TEXT_MAX + 16];

	wake_waiters(f, &f->part.op.err);
	free(f->subject);
	f->subject = str_fmt(
	    "%s, until %s is closed", f->image, f->part.readers.reader);
	f->op.subject = f->subject;
	if (!f->held) {
		f->held = true;
		fq.held++;
		fq.running--;
		log_info("flatten.held", "pool=%s image=%s id=%s why=%s",
		    ceph_pool_name(f->pool), f->image, f->image_id,
		    log_quote(text, sizeof(text), f->part.op.err.text));
		run_queue();
	}
	f->again.fire = on_held;
	timer_arm(&f->again, HELD_MS);
}

static void
flatten_ended(struct op *op)
{
	struct flatten *f = (struct flatten *)op;
	bool failed = err_is_set(&op->err);
	char text[ERR_TEXT_MAX + 16];

	(*(f->held ? &fq.held : &fq.running))--;
	f->held = false;
	f->due_ms = 0;
	if (!f->paused)
		wake_waiters(f, &op->err);
	if (failed) {
		fq.failed++;
		f->wait_ms = f->wait_ms == 0 ? RETRY_MIN_MS : f->wait_ms * 2;
		if (f->wait_ms > RETRY_MAX_MS)
			f->wait_ms = RETRY_MAX_MS;
		f->due_ms = clock_now_ms() + f->wait_ms;
		log_warn("flatten.later",
		    "pool=%s image=%s id=%s retry_ms=%lld why=%s",
		    ceph_pool_name(f->pool), f->image, f->image_id,
		    (long long)f->wait_ms,
		    log_quote(text, sizeof(text), op->err.text));
	}
	if (failed || f->paused) {
		STAILQ_INSERT_TAIL(&fq.queue, f, link);
	} else {
		fq.done++;
		log_info("flatten.end", "pool=%s image=%s id=%s ms=%lld",
		    ceph_pool_name(f->pool), f->image, f->image_id,
		    (long long)(clock_now_ms() - f->since_ms));
		(void)map_remove(&fq.known, f->key);
		/* librbd has let it part from the one that it had */
		purge_parent(f->pool->conn,
		    f->parent.pool >= 0 ? &f->parent : &f->job.was);
		flatten_free(f);
	}
	run_queue();
}

static struct flatten *
submit(const struct flatten_target *target)
{
	auto_free char *key = ceph_pool_key(target->pool, target->image_id);
	struct flatten *f = map_get(&fq.known, key);

	flatten_resume(target->pool, target->instance_id);
	if (f == NULL) {
		f = mem_new(sizeof(*f));
		f->pool = target->pool;
		f->notes = str_fmt(NOTES "%s", target->instance_id);
		f->image_id = str_dup(target->image_id);
		f->image = str_dup(target->image);
		f->parent.pool = -1;
		f->since_ms = clock_now_ms();
		f->key = take_ptr(&key);
		LIST_INIT(&f->waits);
		(void)map_set(&fq.known, f->key, f);
		STAILQ_INSERT_TAIL(&fq.queue, f, link);
	}
	return f;
}

void
flatten_submit(const struct flatten_target *target)
{
	(void)submit(target);
	run_queue();
}

void
flatten_wait_start(struct flatten_wait *wait,
    const struct flatten_target *target, bool freed, struct wake *waiter)
{
	struct flatten *f = submit(target);

	*wait = (struct flatten_wait){ .freed = freed, .waiter = waiter };
	LIST_INSERT_HEAD(&f->waits, wait, link);
	f->due_ms = 0; /* somebody needs it now */
	if (timer_is_running(&f->again))
		timer_arm(&f->again, 0);
	run_queue();
}

bool
flatten_is_held(const struct ceph_pool *pool, const char *image_id)
{
	auto_free char *key = ceph_pool_key(pool, image_id);
	const struct flatten *f = map_get(&fq.known, key);

	return f != NULL && f->held;
}

void
flatten_count(struct flatten_counts *counts)
{
	const struct flatten *f;

	*counts = (struct flatten_counts){ .running = fq.running + fq.resuming,
		.waiting = fq.held,
		.done = fq.done,
		.failed = fq.failed };
	STAILQ_FOREACH (f, &fq.queue, link)
		(*(f->due_ms <= clock_now_ms() ? &counts->running
					       : &counts->waiting))++;
}

void
flatten_fini(void)
{
	struct flatten *f;

	timer_disarm(&fq.retry);
	while ((f = STAILQ_FIRST(&fq.queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&fq.queue, link);
		flatten_free(f);
	}
	map_fini(&fq.known);
	map_fini(&fq.pools);
	memset(&fq, 0, sizeof(fq));
	STAILQ_INIT(&fq.queue);
}

/* ---- the notes of a pool ---- */

struct notes_read {
	struct wake wake;
	struct ceph_pool *pool;
	char *instance_id, *notes;
	char *key; /* in the map of pools */
	char after[RBD_ID_SIZE];
	struct rados_read *read;
};

static void
notes_read_start(struct notes_read *r)
{
	rados_read_free(r->read);
	r->read = rados_read_new();
	(void)rados_read_omap_page(r->read, r->after, "", NOTES_PAGE);
	rados_read_start(r->read, r->pool, r->notes, &r->wake);
}

/* What is no image's id is nobody's note. */
static void
take_notes(struct notes_read *r)
{
	const struct rados_omap *omap = rados_read_omap(r->read);

	for (size_t i = 0; i < omap->n; i++) {
		const struct rados_omap_entry *e = &omap->entry[i];
		auto_free char *image = str_fmt(
		    "%.*s", (int)e->len, (const char *)e->value);
		struct cls_parent parent = { .pool = -1 };
		struct flatten *f;

		if (str_put(r->after, sizeof(r->after), "%s", e->key) < 0)
			continue;
		if (!note_parse(image, &parent)) {
			log_warn("flatten.resume",
			    "pool=%s id=%s why=\"the note makes no sense\"",
			    ceph_pool_name(r->pool), r->after);
			continue;
		}
		f = submit(&(struct flatten_target){ .pool = r->pool,
		    .instance_id = r->instance_id,
		    .image_id = e->key,
		    .image = image });
		if (f->state == FLATTENING_START && !f->noted) {
			f->noted = true;
			f->parent = parent;
		}
	}
}

static void
on_notes(struct wake *wake, int rc)
{
	struct notes_read *r = container_of(wake, struct notes_read, wake);
	const struct rados_omap *omap = rados_read_omap(r->read);

	if (rc == 0) {
		take_notes(r);
		if (omap->n > 0 && omap->more) {
			notes_read_start(r);
			return;
		}
		if (omap->n > 0)
			log_info("flatten.resume", "pool=%s",
			    ceph_pool_name(r->pool));
	} else if (rc != -ENOENT) {
		log_warn("flatten.resume", "pool=%s why=\"%s\"",
		    ceph_pool_name(r->pool), strerror(-rc));
		/* The next request that uses the pool tries again. */
		(void)map_remove(&fq.pools, r->key);
	}
	fq.resuming--;
	rados_read_free(r->read);
	free(r->instance_id);
	free(r->notes);
	free(r->key);
	free(r);
	run_queue();
}

void
flatten_resume(struct ceph_pool *pool, const char *instance_id)
{
	auto_free char *key = ceph_pool_key(pool, instance_id);
	struct notes_read *r;

	if (map_get(&fq.pools, key) != NULL)
		return;
	r = mem_new(sizeof(*r));
	(void)map_set(&fq.pools, key, pool);
	r->wake.fn = on_notes;
	r->pool = pool;
	r->instance_id = str_dup(instance_id);
	r->notes = str_fmt(NOTES "%s", instance_id);
	r->key = take_ptr(&key);
	fq.resuming++;
	notes_read_start(r);
}
