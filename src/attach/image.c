/*
 * image.c - see image.h.
 */
#include "attach/image.h"
#include "attach/image_resize.h"

#include "base/log.h"
#include "ceph/image.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* How long a takeover waits before it tries an image again. */
#define ADOPT_RETRY_MS 2000

/* How long an attach waits for the cluster. */
#define ATTACH_MS 30000

/*
 * Images of which a predecessor may have died are opened last, one at a time:
 * the first of them after so long at the latest, the next one when the one
 * before has done I/O and lived on for a while, or does not come to it.
 */
#define SUSPECT_AFTER_MS 2000
#define SUSPECT_LIVES_MS 300
#define SUSPECT_STUCK_MS 10000
#define PROBE_BYTES 512

static struct {
	struct image image[TABLE_SLOTS];
	struct table *table;
	struct ceph_connection *conn;
	char *fenced;
	const struct image_events *events;
	unsigned open;            /* librbd has them open */
	unsigned adopting;        /* those without suspicion, at the start */
	struct image *trial;      /* the suspect that is tried; NULL: none */
	struct timer trial_timer; /* its end, or that of the wait before */
	unsigned looked;          /* index of the one that was looked at last */
} im;

/* ---- look-up ----------------------------------------------------------- */

void
image_note_refusal(struct image *image, int rc)
{
	if (image_io_is_refusal(rc) && !image->io.dead)
		im.events->refused(image, rc);
}

static void
on_io_refused(struct image_io *io, int rc)
{
	image_note_refusal(container_of(io, struct image, io), rc);
}

void
image_init(struct table *table, struct ceph_connection *conn,
    const char *fenced, const struct image_events *events)
{
	im.table = table;
	im.conn = conn;
	im.fenced = str_dup(fenced);
	im.events = events;
	image_io_on_refusal(on_io_refused);
	for (unsigned i = 0; i < TABLE_SLOTS && i < table->slots; i++) {
		im.image[i].slot = table_slot_at(table, i);
		image_io_init(&im.image[i].io);
	}
}

struct image *
image_at(unsigned index)
{
	return index < TABLE_SLOTS && index < im.table->slots ? &im.image[index]
							      : NULL;
}

struct image *
image_by_ino(uint64_t ino)
{
	struct image *image = image_at(table_slot_index(ino));

	if (image == NULL || image->slot->ino != ino ||
	    image->state == IMAGE_NONE || image->state == IMAGE_OPENING)
		return NULL;
	return image;
}

struct image *
image_by_file(const char *name)
{
	char file[TABLE_FILE_MAX];
	struct image *image;

	for (unsigned i = 0; (image = image_at(i)) != NULL; i++) {
		if (image_by_ino(image->slot->ino) != image)
			continue;
		table_slot_name(im.table, image->slot, file);
		if (str_eq(file, name))
			return image;
	}
	return NULL;
}

struct image *
image_find(const char *pool, const char *rados_namespace, const char *name)
{
	struct image *image;

	if (rados_namespace == NULL)
		rados_namespace = "";
	for (unsigned i = 0; (image = image_at(i)) != NULL; i++)
		if (image->state != IMAGE_NONE &&
		    str_eq(image->slot->image, name) &&
		    str_eq(image->slot->pool, pool) &&
		    str_eq(image->slot->rados_namespace, rados_namespace))
			return image;
	return NULL;
}

static void
drop(struct image *image)
{
	image->state = IMAGE_NONE;
	table_slot_set_state(image->slot, TABLE_SLOT_FREE);
}

/* ---- open: attach and adopt -------------------------------------------- */

enum open_state {
	OPEN_START = 0,
	OPEN_ROOM_KNOWN,      /* the pool is not full */
	OPEN_HEADER_READ,     /* its header and lock are known */
	OPEN_WATCHERS_KNOWN,  /* and whether anybody has the image open */
	OPEN_OPENED,          /* librbd has opened it */
	OPEN_DATA_ROOM_KNOWN, /* nor is the pool of its data full */
	OPEN_LOCKED,          /* librbd has taken the lock */
	/* undo */
	OPEN_CLOSE,
	OPEN_CLOSED,
	OPEN_END,
};

struct image_open {
	struct op op;
	enum open_state state;
	struct image *image;
	struct ceph_pool *pool, *data_pool;
	struct timer late; /* attach */
	bool adopt;
	bool exclusive_lock;
	struct image_lookup lookup;
	struct rados_notified notified;
	struct image **result; /* attach: where the caller wants them */
	struct err *err;
	struct wake *waiter;
};

static bool
is_read_only(const struct image_open *o)
{
	return (o->image->slot->flags & TABLE_SLOT_READ_ONLY) != 0;
}

static enum op_verdict
open_librbd(struct image_open *o)
{
	struct table_slot *slot = o->image->slot;

	image_io_open_start(&o->image->io, slot->image, slot->image_id,
	    is_read_only(o), &o->op.wake);
	return op_await(o, OPEN_OPENED);
}

static enum op_verdict
open_find(struct image_open *o)
{
	struct table_slot *slot = o->image->slot;

	image_lookup_start(&o->lookup, o->pool, slot->image,
	    str_is_empty(slot->image_id) ? NULL : slot->image_id, false,
	    &o->op.wake);
	return op_await(o, OPEN_HEADER_READ);
}

/*
 * In a full pool librbd's open, its lock and all that mkfs and mount write
 * would wait for room with a stage on hold. So a new attach is refused there;
 * what is attached already waits, as with krbd.
 */
static bool
needs_room(const struct image_open *o)
{
	return !o->adopt && !is_read_only(o);
}

int
image_pool_open(struct ceph_connection *conn, struct table_slot *slot,
    struct ceph_pool **pool, struct err *err)
{
	int64_t id = atomic_load(&slot->pool_id);
	int rc = id > 0
	    ? ceph_pool_open_id(conn, id, slot->rados_namespace, pool, err)
	    : ceph_pool_open(
		  conn, slot->pool, slot->rados_namespace, pool, err);

	if (rc == 0)
		atomic_store(&slot->pool_id, (*pool)->id);
	return rc;
}

static enum op_verdict
open_begin(struct image_open *o)
{
	struct err err = ERR_INIT;

	if (image_pool_open(im.conn, o->image->slot, &o->pool, &err) < 0)
		return op_fail_err(o, OPEN_END, &err);
	o->image->io.ioctx = o->pool->io;
	if (!needs_room(o))
		return open_find(o);
	rados_room_start(o->pool, &o->op.wake);
	return op_await(o, OPEN_ROOM_KNOWN);
}

static enum op_verdict
open_header_read(struct image_open *o)
{
	const struct cls_lock_info *lock = &o->lookup.info.lock;
	struct table_slot *slot = o->image->slot;
	struct err err = ERR_INIT;

	if (o->op.rc < 0) {
		err_prefix(&o->lookup.op.err, "image %s", slot->image);
		return op_fail_err(o, OPEN_END, &o->lookup.op.err);
	}
	if (image_header_check(&o->lookup.info, &err) < 0) {
		err_prefix(&err, "image %s in %s", slot->image,
		    ceph_pool_label(o->pool));
		return op_fail_err(o, OPEN_END, &err);
	}
	table_slot_set_id(slot, o->lookup.info.id);
	if (is_read_only(o) || lock->lockers == 0 ||
	    (im.fenced != NULL && str_eq(lock->address, im.fenced)))
		return open_librbd(o);
	/*
	 * Somebody holds the lock. librbd would simply ask for it, and a
	 * friendly owner would give it up in the middle of its work: so find
	 * out first whether anybody has the image open. A dead owner's lock
	 * is broken by librbd, which blocklists the owner.
	 */
	watch_header_update_start(
	    o->pool, slot->image_id, &o->notified, &o->op.wake);
	return op_await(o, OPEN_WATCHERS_KNOWN);
}

static enum op_verdict
open_watchers_known(struct image_open *o)
{
	const struct cls_lock_info *lock = &o->lookup.info.lock;
	struct table_slot *slot = o->image->slot;
	enum watch_verdict verdict;
	int rc = watch_judge(o->op.rc, &o->notified, &verdict);

	if (rc < 0)
		return op_fail_rc(o, OPEN_END, rc, "watchers of image %s/%s",
		    ceph_pool_label(o->pool), slot->image);
	switch (verdict) {
	case WATCH_NONE:
		return open_librbd(o);
	case WATCH_ALIVE:
		return op_fail(o, OPEN_END, ERR_FAILED_PRECONDITION,
		    "image %s/%s is locked by client.%" PRIu64 " at %s",
		    ceph_pool_label(o->pool), slot->image, lock->client,
		    lock->address);
	case WATCH_SILENT:
		break;
	}
	return op_fail(o, OPEN_END, ERR_ABORTED,
	    "image %s/%s is locked by client.%" PRIu64 " at %s, and who has it "
	    "open does not answer",
	    ceph_pool_label(o->pool), slot->image, lock->client, lock->address);
}

static void
on_header_change(struct image_io *io)
{
	struct image *image = container_of(io, struct image, io);

	if (image->state == IMAGE_SERVED)
		image_resize_begin(image, im.conn, im.events->resized);
}

static enum op_verdict
open_serve(struct image_open *o)
{
	struct image *image = o->image;
	int rc = image_io_watch(&image->io, on_header_change);

	if (rc < 0)
		return op_fail_rc(o, OPEN_CLOSE, rc, "watch of image %s/%s",
		    ceph_pool_label(o->pool), image->slot->image);
	image->state = IMAGE_SERVED;
	table_slot_set_state(image->slot, TABLE_SLOT_SERVED);
	image_io_resume(&image->io);
	return op_goto(o, OPEN_END);
}

static enum op_verdict
open_lock(struct image_open *o)
{
	if (!o->exclusive_lock || is_read_only(o))
		return open_serve(o);
	/* A flush changes nothing, but librbd takes the lock for it. */
	image_io_flush_start(&o->image->io, &o->op.wake);
	return op_await(o, OPEN_LOCKED);
}

static enum op_verdict
open_data_pool(struct image_open *o)
{
	int64_t id = image_io_data_pool(&o->image->io);
	struct err err = ERR_INIT;

	if (id == o->pool->id)
		return open_lock(o);
	if (ceph_pool_open_id(
		im.conn, id, o->pool->rados_namespace, &o->data_pool, &err) < 0)
		return op_fail_err(o, OPEN_CLOSE, &err);
	rados_room_start(o->data_pool, &o->op.wake);
	return op_await(o, OPEN_DATA_ROOM_KNOWN);
}

static enum op_verdict
open_opened(struct image_open *o)
{
	struct image *image = o->image;
	struct table_slot *slot = image->slot;
	char id[RBD_ID_SIZE] = "";
	uint64_t size;
	int rc = o->op.rc;

	if (rc < 0)
		return op_fail_rc(o, OPEN_END, rc, "open of image %s/%s",
		    ceph_pool_label(o->pool), slot->image);
	im.open++;
	rc = image_io_info(
	    &image->io, id, sizeof(id), &size, &o->exclusive_lock);
	if (rc < 0)
		return op_fail_rc(o, OPEN_CLOSE, rc, "header of image %s/%s",
		    ceph_pool_label(o->pool), slot->image);
	table_slot_set_id(slot, id);
	if (o->adopt && atomic_load(&slot->size_bytes) != size) {
		atomic_store(&slot->size_bytes, size);
		im.events->resized(image);
	}
	atomic_store(&slot->size_bytes, size);
	return needs_room(o) ? open_data_pool(o) : open_lock(o);
}

static enum op_verdict
open_locked(struct image_open *o)
{
	int rc = o->op.rc;

	if (rc == 0)
		rc = image_io_keep_lock(&o->image->io);
	if (rc == -EROFS)
		return op_fail(o, OPEN_CLOSE, ERR_FAILED_PRECONDITION,
		    "image %s/%s was locked by another client meanwhile",
		    ceph_pool_label(o->pool), o->image->slot->image);
	if (rc < 0)
		return op_fail_rc(o, OPEN_CLOSE, rc, "lock of image %s/%s",
		    ceph_pool_label(o->pool), o->image->slot->image);
	return open_serve(o);
}

static enum op_verdict
open_step(struct op *op)
{
	struct image_open *o = (struct image_open *)op;

	switch (o->state) {
	case OPEN_START:
		return open_begin(o);
	case OPEN_ROOM_KNOWN:
		if (op->rc < 0)
			return op_fail_rc(o, OPEN_END, op->rc, "image %s: %s",
			    o->image->slot->image, ceph_pool_label(o->pool));
		return open_find(o);
	case OPEN_HEADER_READ:
		return open_header_read(o);
	case OPEN_WATCHERS_KNOWN:
		return open_watchers_known(o);
	case OPEN_OPENED:
		return open_opened(o);
	case OPEN_DATA_ROOM_KNOWN:
		if (op->rc < 0)
			return op_fail_rc(o, OPEN_CLOSE, op->rc,
			    "image %s: its data are in %s",
			    o->image->slot->image,
			    ceph_pool_label(o->data_pool));
		return open_lock(o);
	case OPEN_LOCKED:
		return open_locked(o);
	case OPEN_CLOSE:
		image_io_close_start(&o->image->io, &op->wake);
		return op_await(o, OPEN_CLOSED);
	case OPEN_CLOSED:
		im.open--;
		return op_goto(o, OPEN_END);
	case OPEN_END:
		return OP_DONE;
	}
	abort();
}

static void open_end(struct op *op);

static const struct op_class open_class = {
	.name = "attach.open",
	.step = open_step,
	.end = open_end,
};

static void close_begin(struct image *image, struct wake *waiter, bool drops);

/* librbd cannot be told to give up: whatever it opens is closed again. */
static void
on_attach_late(struct timer *timer)
{
	struct image_open *o = container_of(timer, struct image_open, late);
	struct wake *waiter = take_ptr(&o->waiter);

	wake_up(waiter,
	    err_set_rc(o->err, -ETIME, "image %s/%s: not open after %d s",
		o->image->slot->pool, o->image->slot->image, ATTACH_MS / 1000));
}

static void
attached(struct image_open *o)
{
	const struct op *op = &o->op;
	struct image *image = o->image;

	timer_disarm(&o->late);
	image->opening = false;
	if (op->err.rc == -ESHUTDOWN)
		image_note_refusal(image, op->err.rc);
	if (op->err.rc < 0)
		drop(image);
	if (o->waiter == NULL) {
		log_warn("image.late", "image=%s ms=%" PRId64 " text=\"%s\"",
		    image->slot->image, op_age_ms(op), op->err.text);
		if (op->err.rc < 0)
			return;
		table_slot_set_state(image->slot, TABLE_SLOT_CLOSING);
		close_begin(image, NULL, true);
		return;
	}
	if (op->err.rc == 0)
		*o->result = image;
	else
		*o->err = op->err;
	wake_up(o->waiter, op->err.rc);
}

void
image_attach_start(const Attach__Target *spec, struct image **result,
    struct err *err, struct wake *waiter)
{
	struct image_open *o;
	struct image *image;
	unsigned i = 0;
	int rc;

	while ((image = image_at(i)) != NULL &&
	    (image->state != IMAGE_NONE ||
		table_slot_state(image->slot) != TABLE_SLOT_FREE))
		i++;
	if (image == NULL) {
		wake_up(waiter,
		    err_set(err, ERR_RESOURCE_EXHAUSTED,
			"all %u places for images are taken", i));
		return;
	}
	if ((rc = table_slot_fill(im.table, i, spec, err)) < 0) {
		wake_up(waiter, rc);
		return;
	}
	image_io_init(&image->io);
	image->state = IMAGE_OPENING;
	image->opening = true;
	o = mem_new(sizeof(*o));
	o->image = image;
	o->result = result;
	o->err = err;
	o->waiter = waiter;
	o->late.fire = on_attach_late;
	timer_arm(&o->late, ATTACH_MS);
	o->op.subject = image->slot->image;
	op_start(&o->op, &open_class, NULL);
}

/* ---- suspects ---------------------------------------------------------- */

static void adopt(struct image *image);

struct probe {
	struct image_req req;
	struct image *image;
	char data[PROBE_BYTES];
};

static void
try_next(struct timer *timer)
{
	struct image *image;

	(void)timer;
	im.trial = NULL;
	for (unsigned i = 0; (image = image_at(i)) != NULL; i++) {
		if (image->state != IMAGE_ADOPTING || image->io.dead ||
		    image->opening || image->tried ||
		    atomic_load(&image->slot->crashes) == 0)
			continue;
		log_warn("image.trial", "image=%s/%s", image->slot->pool,
		    image->slot->image);
		image->tried = true;
		im.trial = image;
		timer_arm(&im.trial_timer, SUSPECT_STUCK_MS);
		adopt(image);
		return;
	}
}

/* The image on trial comes to nothing: the next one's turn. */
static void
trial_is_over(const struct image *image)
{
	if (image == im.trial)
		timer_arm(&im.trial_timer, 0);
}

static void
on_lived(struct timer *timer)
{
	log_info("image.acquitted", "image=%s", im.trial->slot->image);
	atomic_store(&im.trial->slot->crashes, 0);
	im.trial_timer.fire = try_next;
	try_next(timer);
}

static void
on_probe_answer(struct image_req *req)
{
	(void)req;
}

/* It has done I/O, after what had waited for it, and we are still here. */
static void
on_probe_done(struct image_req *req)
{
	struct probe *probe = container_of(req, struct probe, req);

	if (probe->image == im.trial) {
		im.trial_timer.fire = on_lived;
		timer_arm(&im.trial_timer, SUSPECT_LIVES_MS);
	}
	free(probe);
}

static void
probe(struct image *image)
{
	struct probe *probe;

	if (image != im.trial)
		return;
	probe = mem_new(sizeof(*probe));
	probe->image = image;
	probe->req = (struct image_req){ .kind = IMAGE_READ,
		.len = PROBE_BYTES,
		.data = probe->data,
		.answer = on_probe_answer,
		.done = on_probe_done };
	image_io_submit(&image->io, &probe->req);
}

void
image_note_crash(void)
{
	struct image *image;

	if (im.table == NULL)
		return;
	if (im.trial != NULL) {
		atomic_fetch_add(&im.trial->slot->crashes, 1);
		return;
	}
	for (unsigned i = 0; (image = image_at(i)) != NULL; i++)
		if (image->state != IMAGE_NONE &&
		    (image->opening || image->io.ops > 0))
			atomic_store(&image->slot->crashes, 1);
}

/* ---- adopt ------------------------------------------------------------- */

struct adopt_retry {
	struct timer timer;
	struct image *image;
};

static void
on_adopt_retry(struct timer *timer)
{
	struct adopt_retry *retry = container_of(
	    timer, struct adopt_retry, timer);

	if (retry->image->state == IMAGE_ADOPTING && !retry->image->io.dead)
		adopt(retry->image);
	free(retry);
}

static void
adopted(struct image_open *o)
{
	const struct op *op = &o->op;
	struct image *image = o->image;
	struct adopt_retry *retry;
	bool hopeless;

	image->opening = false;
	if (im.adopting > 0 && --im.adopting == 0 && im.trial == NULL)
		timer_arm(&im.trial_timer, 0);
	if (op->err.rc == 0) {
		log_info("image.adopted", "image=%s ms=%" PRId64 " waiting=%u",
		    image->slot->image, op_age_ms(op), image->io.waiting);
		probe(image);
		return;
	}
	trial_is_over(image);
	if (op->err.rc == -ESHUTDOWN)
		image_note_refusal(image, op->err.rc);
	hopeless = op->err.code == ERR_NOT_FOUND ||
	    op->err.code == ERR_DATA_LOSS ||
	    op->err.code == ERR_FAILED_PRECONDITION || image->io.dead;
	log_error("image.adopt_failed", "image=%s hopeless=%d text=\"%s\"",
	    image->slot->image, hopeless, op->err.text);
	if (hopeless) {
		if (!image->io.dead)
			image_abort(image,
			    op->err.code == ERR_DATA_LOSS
				? TABLE_ABORTED_DAMAGED
				: TABLE_ABORTED_GONE);
		return;
	}
	retry = mem_new(sizeof(*retry));
	retry->image = image;
	retry->timer.fire = on_adopt_retry;
	timer_arm(&retry->timer, ADOPT_RETRY_MS);
}

static void
open_end(struct op *op)
{
	struct image_open *o = (struct image_open *)op;

	if (o->adopt)
		adopted(o);
	else
		attached(o);
	free(o);
}

static void
adopt(struct image *image)
{
	struct image_open *o = mem_new(sizeof(*o));

	image->opening = true;
	o->image = image;
	o->adopt = true;
	o->op.subject = image->slot->image;
	op_start(&o->op, &open_class, NULL);
}

static void
adopt_slot(struct image *image)
{
	unsigned crashes = atomic_load(&image->slot->crashes);

	image->state = IMAGE_ADOPTING;
	image->io.dead = atomic_load(&image->slot->aborted) !=
	    TABLE_ABORTED_NOT;
	if (image->io.dead)
		return;
	if (crashes > 1) {
		image_abort(image, TABLE_ABORTED_CRASHED);
	} else if (crashes == 0) {
		im.adopting++;
		adopt(image);
	}
}

void
image_adopt_all(void)
{
	struct image *image;

	for (unsigned i = 0; (image = image_at(i)) != NULL; i++) {
		switch (table_slot_state(image->slot)) {
		case TABLE_SLOT_FREE:
			break;
		case TABLE_SLOT_CLOSING:
			/* Its server is dead and fenced: that closed it. */
			drop(image);
			break;
		case TABLE_SLOT_SERVED:
			adopt_slot(image);
			break;
		}
	}
	im.trial_timer.fire = try_next;
	timer_arm(&im.trial_timer, im.adopting > 0 ? SUSPECT_AFTER_MS : 0);
}

/* ---- close ------------------------------------------------------------- */

enum close_state {
	CLOSE_START = 0,
	CLOSE_CLOSED,
};

struct image_close {
	struct op op;
	enum close_state state;
	struct image *image;
	bool drops;          /* its slot; not at a planned end */
	struct wake *waiter; /* or NULL */
};

static enum op_verdict
close_step(struct op *op)
{
	struct image_close *c = (struct image_close *)op;

	switch (c->state) {
	case CLOSE_START:
		if (c->image->io.rbd == NULL)
			return OP_DONE;
		image_io_close_start(&c->image->io, &op->wake);
		return op_await(c, CLOSE_CLOSED);
	case CLOSE_CLOSED:
		im.open--;
		/* However it ended, librbd has let go of the image. */
		if (op->rc < 0)
			log_warn("image.close", "image=%s rc=%d",
			    c->image->slot->image, op->rc);
		return OP_DONE;
	}
	abort();
}

static void
close_end(struct op *op)
{
	struct image_close *c = (struct image_close *)op;

	if (c->drops)
		drop(c->image);
	wake_up(c->waiter, 0);
	free(c);
}

static const struct op_class close_class = {
	.name = "attach.close",
	.step = close_step,
	.end = close_end,
};

static void
close_begin(struct image *image, struct wake *waiter, bool drops)
{
	struct image_close *c = mem_new(sizeof(*c));

	c->image = image;
	c->drops = drops;
	c->waiter = waiter;
	c->op.subject = image->slot->image;
	image->state = IMAGE_CLOSING;
	op_start(&c->op, &close_class, NULL);
}

void
image_detach_start(struct image *image, struct err *err, struct wake *waiter)
{
	if (image->opening || image->state == IMAGE_CLOSING) {
		wake_up(waiter,
		    err_set(err, ERR_ABORTED, "image %s is being %s",
			image->slot->image,
			image->state == IMAGE_CLOSING ? "closed" : "opened"));
		return;
	}
	table_slot_set_state(image->slot, TABLE_SLOT_CLOSING);
	(void)image_io_abort(&image->io);
	close_begin(image, waiter, true);
}

void
image_abort(struct image *image, enum table_aborted why)
{
	unsigned answered;

	atomic_store(&image->slot->aborted, (uint32_t)why);
	answered = image_io_abort(&image->io);
	log_error("image.aborted", "image=%s/%s answered=%u text=\"%s\"",
	    image->slot->pool, image->slot->image, answered,
	    table_aborted_text(why));
}

void
image_abort_all(void)
{
	struct image *image;

	for (unsigned i = 0; (image = image_at(i)) != NULL; i++)
		if (image->state != IMAGE_NONE)
			(void)image_io_abort(&image->io);
}

void
image_close_all(void)
{
	struct image *image;

	for (unsigned i = 0; (image = image_at(i)) != NULL; i++)
		if (image->state == IMAGE_SERVED)
			close_begin(image, NULL, false);
}

unsigned
image_open_count(void)
{
	return im.open;
}

/* ---- resize ------------------------------------------------------------ */

void
image_look_again(void)
{
	struct image *image;

	for (unsigned i = 0; i < TABLE_SLOTS; i++) {
		im.looked = (im.looked + 1) % TABLE_SLOTS;
		image = image_at(im.looked);
		if (image == NULL || image->state != IMAGE_SERVED ||
		    image->io.dead)
			continue;
		if (!image->resizing)
			image_resize_begin(image, im.conn, im.events->resized);
		return;
	}
}
