/*
 * image.c - see image.h.
 */
#include "attach/image.h"
#include "attach/image_size.h"

#include "base/log.h"
#include "ceph/image.h"
#include "ceph/rados.h"

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

/* `rc` is what librbd or the cluster says about an image that is attached. */
static void
note_refusal(struct image *image, int rc)
{
	if (image_io_is_refusal(rc) && !image->io.dead)
		im.events->refused(image, rc);
}

/* Its user sees no more than EIO. */
static void
on_io_failed(struct image_io *io, const struct image_req *req, int rc)
{
	struct image *image = container_of(io, struct image, io);

	if (!io->dead)
		log_warn("image.io",
		    "image=%s what=%s offset=%" PRIu64 " bytes=%" PRIu64
		    " errno=%d",
		    image->slot->image,
		    table_io_name((enum table_io_kind)req->kind), req->offset,
		    req->len, -rc);
	note_refusal(image, rc);
}

void
image_init(struct table *table, struct ceph_connection *conn,
    const char *fenced, const struct image_events *events)
{
	im.table = table;
	im.conn = conn;
	im.fenced = str_dup(fenced);
	im.events = events;
	image_io_setup(table, on_io_failed);
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
	im.events->settled();
}

/* ---- its size ---------------------------------------------------------- */

/* Reads the size of a served image, of whose header somebody has told. */
struct image_resize {
	struct image_size size;
	struct wake wake;
	struct image *image;
	/* of a look that somebody waits for; NULL: by a header's change */
	struct wake *waiter;
	struct err *err;
};

static int open_pool(
    struct table_slot *slot, struct ceph_pool **pool, struct err *err);
static void resize_begin(struct image *image);

static void
on_size_known(struct wake *wake, int rc)
{
	struct image_resize *r = container_of(wake, struct image_resize, wake);
	struct image *image = r->image;
	struct table_slot *slot = image->slot;
	uint64_t size = r->size.size_bytes;
	uint64_t old = atomic_load(&slot->size_bytes);
	bool served = image->state == IMAGE_SERVED && slot->ino == r->size.ino;

	if (r->waiter == NULL)
		image->resizing = false;
	if (rc < 0) {
		log_warn("image.resize", "image=%s text=\"%s\"", slot->image,
		    r->size.op.err.text);
	} else if (served && size != old) {
		atomic_store(&slot->size_bytes, size);
		log_info("image.resized",
		    "image=%s from=%" PRIu64 " to=%" PRIu64, slot->image, old,
		    size);
		im.events->resized(image);
	}
	if (served)
		note_refusal(image, rc);
	if (r->waiter != NULL) {
		*r->err = r->size.op.err;
		wake_up(r->waiter, rc);
	} else if (image->resize_again && image->state == IMAGE_SERVED) {
		resize_begin(image);
	}
	free(r);
}

static int
size_ask(struct image *image, struct err *err, struct wake *waiter)
{
	struct image_resize *r;
	struct ceph_pool *pool;
	int rc = open_pool(image->slot, &pool, err); /* it is: no wait */

	if (rc < 0)
		return rc;
	r = mem_new(sizeof(*r));
	r->wake.fn = on_size_known;
	r->image = image;
	r->waiter = waiter;
	r->err = err;
	image_size_start(&r->size, &image->io, image->slot, pool, &r->wake);
	return 0;
}

/* One that is running reads once more. */
static void
resize_begin(struct image *image)
{
	image->resize_again = image->resizing;
	if (!image->resizing)
		image->resizing = size_ask(image, NULL, NULL) == 0;
}

void
image_look_start(struct image *image, struct err *err, struct wake *waiter)
{
	int rc = size_ask(image, err, waiter);

	if (rc < 0)
		wake_up(waiter, rc);
}

static void
on_header_change(struct image_io *io)
{
	struct image *image = container_of(io, struct image, io);

	if (image->state == IMAGE_SERVED)
		resize_begin(image);
}

/* ---- open: attach and adopt -------------------------------------------- */

enum open_state {
	OPEN_START = 0,
	OPEN_HEADER_READ, /* its header and lock are known */
	OPEN_ROOM_KNOWN,  /* its pool, and then that of its data, is not full */
	OPEN_FIT,
	OPEN_WATCHERS_KNOWN, /* and whether anybody has the image open */
	OPEN_OPEN,
	OPEN_OPENED, /* librbd has opened it */
	OPEN_LOCKED, /* librbd has taken the lock */
	OPEN_SERVE,
	/* undo */
	OPEN_CLOSE,
	OPEN_CLOSED,
	OPEN_END,
};

struct image_open {
	struct op op;
	enum open_state state;
	struct image *image;
	struct ceph_pool *pool;
	struct ceph_pool *asked; /* whether there is room */
	struct timer late;       /* attach */
	bool adopt;
	bool exclusive_lock;
	bool by_name; /* librbd was told the name, not the id */
	struct image_lookup lookup;
	struct rados_notified notified;
	struct image **result; /* attach: where the caller wants them */
	struct err *err;
	struct wake *waiter;
};

/* The pool of the slot's image, by its id if that is known. */
static int
open_pool(struct table_slot *slot, struct ceph_pool **pool, struct err *err)
{
	int64_t id = atomic_load(&slot->pool_id);
	int rc = id > 0
	    ? ceph_pool_open_id(im.conn, id, slot->rados_namespace, pool, err)
	    : ceph_pool_open(
		  im.conn, slot->pool, slot->rados_namespace, pool, err);

	if (rc == 0)
		atomic_store(&slot->pool_id, (*pool)->id);
	return rc;
}

/* Somebody holds the lock: has he the image open? */
static int
check_watchers(struct image_open *o, struct err *err)
{
	const struct cls_lock_info *lock = &o->lookup.info.lock;
	const char *name = o->image->slot->image;
	enum watch_verdict verdict;
	int rc = watch_judge(o->op.rc, &o->notified, &verdict);

	if (rc < 0)
		return err_set_rc(err, rc, "watchers of image %s/%s",
		    ceph_pool_label(o->pool), name);
	if (verdict == WATCH_ALIVE)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "image %s/%s is locked by client.%" PRIu64 " at %s",
		    ceph_pool_label(o->pool), name, lock->client,
		    lock->address);
	if (verdict == WATCH_SILENT)
		return err_set(err, ERR_ABORTED,
		    "image %s/%s is locked by client.%" PRIu64
		    " at %s, and who has it open does not answer",
		    ceph_pool_label(o->pool), name, lock->client,
		    lock->address);
	return 0;
}

/* librbd has it open: what its header says now. */
static int
take_info(struct image_open *o)
{
	struct image *image = o->image;
	char id[RBD_ID_SIZE] = "";
	uint64_t size, was = atomic_load(&image->slot->size_bytes);
	int rc = image_io_info(
	    &image->io, id, sizeof(id), &size, &o->exclusive_lock);

	if (rc < 0)
		return rc;
	if (!str_eq(image->slot->image_id, id)) /* the name is another's */
		return -ESTALE;
	atomic_store(&image->slot->size_bytes, size);
	if (o->adopt && was != size)
		im.events->resized(image);
	return 0;
}

static enum op_verdict
open_step(struct op *op)
{
	struct image_open *o = (struct image_open *)op;
	const struct image_info *info = &o->lookup.info;
	const struct cls_lock_info *lock = &info->lock;
	struct image *image = o->image;
	struct table_slot *slot = image->slot;
	char object[RBD_OBJECT_SIZE];
	const char *label = o->pool != NULL ? ceph_pool_label(o->pool) : "";
	bool read_only = (slot->flags & TABLE_SLOT_READ_ONLY) != 0;
	/* Who only reads needs no lock; who shares leaves it to librbd. */
	bool locks = !read_only && !(slot->flags & TABLE_SLOT_SHARED);
	/*
	 * In a full pool librbd's open, its lock and all that mkfs and mount
	 * write would wait for room with a stage on hold. So a new attach is
	 * refused there; what is attached already waits, as with krbd.
	 */
	bool needs_room = !o->adopt && !read_only;
	struct err err = ERR_INIT;
	int rc;

	switch (o->state) {
	case OPEN_START:
		if (open_pool(slot, &o->pool, &err) < 0)
			return op_fail_err(o, OPEN_END, &err);
		image->io.ioctx = o->pool->io;
		image_lookup_start(&o->lookup, o->pool, slot->image,
		    str_is_empty(slot->image_id) ? NULL : slot->image_id, false,
		    &op->wake);
		return op_await(o, OPEN_HEADER_READ);

	case OPEN_HEADER_READ:
		rc = op->rc;
		if (rc < 0) {
			err = o->lookup.op.err;
			err_prefix(&err, "image %s", slot->image);
		} else if ((rc = image_header_check(info, &err)) < 0) {
			err_prefix(&err, "image %s in %s", slot->image, label);
		}
		if (rc < 0)
			return op_fail_err(o, OPEN_END, &err);
		(void)snprintf(
		    slot->image_id, sizeof(slot->image_id), "%s", info->id);
		if (!needs_room)
			return op_goto(o, OPEN_FIT);
		/* In objects of the image: its user may write to no others. */
		image_object(object, RBD_HEADER_PREFIX, slot->image_id);
		o->asked = o->pool;
		rados_room_start(o->pool, object, &op->wake);
		return op_await(o, OPEN_ROOM_KNOWN);

	case OPEN_ROOM_KNOWN:
		if (op->rc < 0)
			return op_fail_rc(o, OPEN_END, op->rc, "image %s: %s",
			    slot->image, ceph_pool_label(o->asked));
		if (info->data_pool < 0 || info->data_pool == o->asked->id)
			return op_goto(o, OPEN_FIT);
		if (ceph_pool_open_id(im.conn, info->data_pool,
			o->asked->rados_namespace, &o->asked, &err) < 0)
			return op_fail_err(o, OPEN_END, &err);
		rados_room_start(o->asked, info->prefix, &op->wake);
		return op_await(o, OPEN_ROOM_KNOWN);

	case OPEN_FIT:
		if (!locks || lock->lockers == 0 ||
		    (im.fenced != NULL && str_eq(lock->address, im.fenced)))
			return op_goto(o, OPEN_OPEN);
		/*
		 * Somebody holds the lock. librbd would simply ask for it, and
		 * a friendly owner would give it up in the middle of its work:
		 * so find out first whether anybody has the image open. A dead
		 * owner's lock is broken by librbd, which blocklists the owner.
		 */
		watch_header_update_start(
		    o->pool, slot->image_id, &o->notified, &op->wake);
		return op_await(o, OPEN_WATCHERS_KNOWN);

	case OPEN_WATCHERS_KNOWN:
		if (check_watchers(o, &err) < 0)
			return op_fail_err(o, OPEN_END, &err);
		return op_goto(o, OPEN_OPEN);

	case OPEN_OPEN:
		image_io_open_start(&image->io, slot->image, slot->image_id,
		    read_only, &op->wake);
		return op_await(o, OPEN_OPENED);

	case OPEN_OPENED:
		/* By id librbd reads names in the directory, if it may. */
		if (op->rc == -EPERM && !o->by_name) {
			o->by_name = true;
			image_io_open_start(&image->io, slot->image, NULL,
			    read_only, &op->wake);
			return op_await(o, OPEN_OPENED);
		}
		if (op->rc < 0)
			return op_fail_rc(o, OPEN_END, op->rc,
			    "open of image %s/%s", label, slot->image);
		im.open++;
		if ((rc = take_info(o)) < 0)
			return op_fail_rc(o, OPEN_CLOSE, rc,
			    "header of image %s/%s", label, slot->image);
		if (!o->exclusive_lock || !locks)
			return op_goto(o, OPEN_SERVE);
		/* A flush changes nothing, but librbd takes the lock for it. */
		image_io_flush_start(&image->io, &op->wake);
		return op_await(o, OPEN_LOCKED);

	case OPEN_LOCKED:
		rc = op->rc == 0 ? image_io_keep_lock(&image->io) : op->rc;
		if (rc == -EROFS)
			return op_fail(o, OPEN_CLOSE, ERR_FAILED_PRECONDITION,
			    "image %s/%s was locked by another client meanwhile",
			    label, slot->image);
		if (rc < 0)
			return op_fail_rc(o, OPEN_CLOSE, rc,
			    "lock of image %s/%s", label, slot->image);
		return op_goto(o, OPEN_SERVE);

	case OPEN_SERVE:
		if ((rc = image_io_watch(&image->io, on_header_change)) < 0)
			return op_fail_rc(o, OPEN_CLOSE, rc,
			    "watch of image %s/%s", label, slot->image);
		image->state = IMAGE_SERVED;
		table_slot_set_state(slot, TABLE_SLOT_SERVED);
		image_io_resume(&image->io);
		return op_goto(o, OPEN_END);

	case OPEN_CLOSE:
		image_io_close_start(&image->io, &op->wake);
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
		note_refusal(image, op->err.rc);
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
	*o->result = image;
	*o->err = op->err;
	wake_up(o->waiter, op->err.rc);
	im.events->settled();
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
			"rbd-attachd has %u images of this cluster and user, which is its limit",
			i));
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
		log_warn("image.trial", "pool=%s image=%s", image->slot->pool,
		    image->slot->image);
		image->tried = true;
		im.trial = image;
		timer_arm(&im.trial_timer, SUSPECT_STUCK_MS);
		adopt(image);
		return;
	}
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
on_probe_answer(struct image_req *req, int rc)
{
	(void)req, (void)rc;
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

static void
on_adopt_again(struct timer *timer)
{
	struct image *image = container_of(timer, struct image, adopt_again);

	if (image->state == IMAGE_ADOPTING && !image->io.dead)
		adopt(image);
}

static void
adopted(struct image_open *o)
{
	const struct op *op = &o->op;
	struct image *image = o->image;
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
	if (image == im.trial) /* it comes to nothing: the next one's turn */
		timer_arm(&im.trial_timer, 0);
	if (op->err.rc == -ESHUTDOWN)
		note_refusal(image, op->err.rc);
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
	image->adopt_again.fire = on_adopt_again;
	timer_arm(&image->adopt_again, ADOPT_RETRY_MS);
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

void
image_adopt_all(void)
{
	struct image *image;
	unsigned crashes;

	for (unsigned i = 0; (image = image_at(i)) != NULL; i++) {
		switch (table_slot_state(image->slot)) {
		case TABLE_SLOT_FREE:
			break;
		case TABLE_SLOT_CLOSING:
			/* Its server is dead and fenced: that closed it. */
			drop(image);
			break;
		case TABLE_SLOT_SERVED:
			image->state = IMAGE_ADOPTING;
			image->io.dead = atomic_load(&image->slot->aborted) !=
			    TABLE_ABORTED_NOT;
			crashes = atomic_load(&image->slot->crashes);
			if (image->io.dead)
				break;
			if (crashes > 1) {
				image_abort(image, TABLE_ABORTED_CRASHED);
			} else if (crashes == 0) {
				im.adopting++;
				adopt(image);
			}
			break;
		}
	}
	im.trial_timer.fire = try_next;
	timer_arm(&im.trial_timer, im.adopting > 0 ? SUSPECT_AFTER_MS : 0);
}

/* ---- close ------------------------------------------------------------- */

struct image_close {
	struct wake wake;
	struct image *image;
	bool drops;          /* its slot; not at a planned end */
	struct wake *waiter; /* or NULL */
};

static void
on_image_closed(struct wake *wake, int rc)
{
	struct image_close *c = container_of(wake, struct image_close, wake);

	im.open--;
	/* However it ended, librbd has let go of the image. */
	if (rc < 0)
		log_warn(
		    "image.close", "image=%s rc=%d", c->image->slot->image, rc);
	if (c->drops)
		drop(c->image);
	wake_up(c->waiter, 0);
	free(c);
}

static void
close_begin(struct image *image, struct wake *waiter, bool drops)
{
	struct image_close *c;

	image->state = IMAGE_CLOSING;
	if (image->io.rbd == NULL) {
		if (drops)
			drop(image);
		wake_up(waiter, 0);
		return;
	}
	c = mem_new(sizeof(*c));
	*c = (struct image_close){ .wake.fn = on_image_closed,
		.image = image,
		.drops = drops,
		.waiter = waiter };
	image_io_close_start(&image->io, &c->wake);
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
	log_error("image.aborted", "pool=%s image=%s answered=%u text=\"%s\"",
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
			resize_begin(image);
		return;
	}
}
