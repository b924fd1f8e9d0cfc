/*
 * device_userspace.c - see device.h and device_userspace.h.
 *
 * Order, each way: the image is open before a loop device uses its file, and
 * the loop device is free before the image is closed.
 */
#include "node/device_userspace.h"

#include "base/log.h"
#include "core/offload.h"
#include "core/timer.h"
#include "node/loopdev.h"
#include "node/userspace_index.h"
#include "node/userspace_session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#define UNMAP_MS 5000
#define OFFLOAD_MS 30000
#define RETRY_MS 200

/*
 * A close that takes longer is helped by fencing the rbd-attachd: earlier
 * after an abort, when the user has said that the cluster does not answer.
 */
#define CLOSE_FENCE_MS 30000
#define ABORT_FENCE_MS 3000

static const char *program = "rbd-attachd";

/* ---- what open, close and abort share ---------------------------------- */

struct unmap_args {
	int loop;
	char file[DEVICE_FILE_MAX];
};

struct unmapping {
	struct offload off;
	struct unmap_args args;
	char none;
};

static int
unmap_child(const void *args, void *result, struct err *err)
{
	const struct unmap_args *unmap = args;
	int id = unmap->loop;

	(void)result;
	if (id == LOOP_UNKNOWN)
		id = loopdev_find(unmap->file);
	return id < 0 ? 0 : loopdev_clear(id, unmap->file, UNMAP_MS, err);
}

static void
unmap_start(struct unmapping *u, const struct userspace_entry *entry,
    struct wake *waiter)
{
	u->args.loop = entry->loop;
	(void)snprintf(u->args.file, sizeof(u->args.file), "%s", entry->file);
	offload_start(&u->off, "free a loop device", unmap_child, &u->args,
	    &u->none, sizeof(u->none), OFFLOAD_MS, waiter);
}

static void
access_end(struct op *op, struct device_open *open)
{
	struct wake *waiter = open->state;

	open->state = NULL;
	open->err = op->err;
	/* Somebody else has the image: the interface has a number for it. */
	wake_up(waiter,
	    op->err.code == ERR_FAILED_PRECONDITION ? -EBUSY : op->err.rc);
	free(op);
}

/* ---- open -------------------------------------------------------------- */

enum open_state {
	OPEN_START = 0,
	OPEN_BURIED,   /* it was dead: closed there */
	OPEN_ATTACHED, /* rbd-attachd has answered */
	OPEN_UNMAPPED, /* was read-only: its loop device is free */
	OPEN_CLOSED,   /* and the image closed */
	OPEN_END,
};

struct opening {
	struct op op;
	enum open_state state;
	struct device_open *open;
	struct session *session;
	struct session_call call;
	struct unmapping unmap;
	bool again; /* the first session was lost meanwhile */
};

/* A command has failed; where that was the session's end, in a new one. */
static enum op_verdict
open_refused(struct opening *o)
{
	if (!o->call.lost || o->again)
		return op_fail_err(o, OPEN_END, &o->call.err);
	o->again = true;
	return op_goto(o, OPEN_START);
}

static enum op_verdict
open_attach(struct opening *o)
{
	const struct device_spec *spec = o->open->spec;

	o->call.request = (struct wire_request){ .kind = WIRE_ATTACH,
		.image = { .pool = spec->pool,
		    .rados_namespace = spec->rados_namespace,
		    .image = spec->image,
		    .image_id = spec->image_id,
		    .read_only = spec->read_only } };
	session_call_start(o->session, &o->call, &o->op.wake);
	return op_await(o, OPEN_ATTACHED);
}

static enum op_verdict
open_begin(struct opening *o)
{
	const struct device_spec *spec = o->open->spec;
	struct userspace_entry *entry;
	struct table_identity who = { .cluster_id = spec->cluster_id,
		.net_namespace = spec->net_namespace,
		.monitors = spec->monitors,
		.user = spec->user,
		.key = spec->key != NULL ? spec->key->text : NULL };
	struct err err = ERR_INIT;

	if (str_is_empty(spec->image) || str_is_empty(spec->pool))
		return op_fail(o, OPEN_END, ERR_INVALID_ARGUMENT,
		    "userspace mapper: image and pool must be known");
	if (!str_is_empty(spec->map_options))
		return op_fail(o, OPEN_END, ERR_INVALID_ARGUMENT,
		    "userspace mapper: unknown map options \"%s\"",
		    spec->map_options);
	entry = userspace_index_find(spec);
	o->session = entry != NULL ? userspace_index_session(entry) : NULL;
	if (o->session != NULL && userspace_index_verdict(entry, &err) < 0) {
		/*
		 * Its loop device may be kept by an open file: no reason to
		 * wait, for it reads and writes nothing.
		 */
		log_info("userspace.bury", "session=%s text=\"%s\"",
		    session_dir(o->session), err.text);
		o->call.request = (struct wire_request){ .kind = WIRE_DETACH,
			.ino = entry->ino };
		session_call_start(o->session, &o->call, &o->op.wake);
		return op_await(o, OPEN_BURIED);
	}
	if (o->session == NULL)
		o->session = session_get(&who, &o->op.wake, &err);
	if (o->session != NULL)
		return open_attach(o);
	if (err.rc < 0) {
		op_set_err(&o->op, &err);
		return op_await(o, OPEN_END);
	}
	return op_await(o, OPEN_START);
}

static enum op_verdict
open_attached(struct opening *o)
{
	const struct wire_answer *answer = &o->call.answer;
	struct device_ref *ref = &o->open->ref;
	struct userspace_entry *entry;
	struct err err = ERR_INIT;

	if (o->op.rc < 0)
		return open_refused(o);
	if (answer->body != WIRE_ATTACHED)
		return op_fail(o, OPEN_END, ERR_INTERNAL,
		    "rbd-attachd: strange answer to an attach");
	entry = userspace_index_add(o->open->spec, o->session,
	    answer->attached.ino, answer->attached.file, &err);
	if (entry == NULL)
		return op_fail_err(o, OPEN_END, &err);
	if (answer->attached.read_only && !o->open->spec->read_only) {
		unmap_start(&o->unmap, entry, &o->op.wake);
		return op_await(o, OPEN_UNMAPPED);
	}
	ref->id = entry->loop >= 0 || !answer->attached.existed ? entry->loop
								: LOOP_UNKNOWN;
	(void)snprintf(ref->file, sizeof(ref->file), "%s", entry->file);
	/* Until the map has reported, nobody knows. */
	if (entry->loop == LOOP_NONE)
		entry->loop = LOOP_UNKNOWN;
	return op_goto(o, OPEN_END);
}

static enum op_verdict
open_step(struct op *op)
{
	struct opening *o = (struct opening *)op;
	struct userspace_entry *entry;

	switch (o->state) {
	case OPEN_START:
		return open_begin(o);
	case OPEN_BURIED:
		if (op->rc < 0)
			return open_refused(o);
		userspace_index_leave(userspace_index_find(o->open->spec));
		return op_goto(o, OPEN_START);
	case OPEN_ATTACHED:
		return open_attached(o);
	case OPEN_UNMAPPED:
		if (op->rc < 0)
			return op_fail_err(o, OPEN_END, &o->unmap.off.err);
		if ((entry = userspace_index_find(o->open->spec)) != NULL)
			entry->loop = LOOP_NONE;
		o->call.request = (struct wire_request){ .kind = WIRE_DETACH,
			.ino = o->call.answer.attached.ino };
		session_call_start(o->session, &o->call, &op->wake);
		return op_await(o, OPEN_CLOSED);
	case OPEN_CLOSED:
		return op->rc < 0 ? open_refused(o) : open_attach(o);
	case OPEN_END:
		return OP_DONE;
	}
	abort();
}

static void
open_end(struct op *op)
{
	access_end(op, ((struct opening *)op)->open);
}

static const struct op_class open_class = {
	.name = "userspace.open",
	.step = open_step,
	.end = open_end,
};

static void
userspace_open_start(struct device_open *open, struct wake *waiter)
{
	struct opening *o = mem_new(sizeof(*o));

	o->open = open;
	open->state = waiter;
	o->op.subject = open->spec->image;
	op_start(&o->op, &open_class, NULL);
}

/* ---- close and abort --------------------------------------------------- */

enum close_state {
	CLOSE_START = 0,
	CLOSE_ABORTED, /* its requests are answered */
	CLOSE_UNMAP,
	CLOSE_UNMAPPED, /* no loop device uses the file */
	CLOSE_SEND,
	CLOSE_CLOSED, /* librbd has closed the image, or not yet */
	CLOSE_END,
};

struct closing {
	struct op op;
	enum close_state state;
	struct device_open *open;
	bool abort;
	char session[SESSION_DIR_MAX];
	uint64_t ino;
	struct session_call call;
	struct unmapping unmap;
	struct timer retry, fence;
};

static bool
is_unsettled(const struct session *s)
{
	return session_state(s) == SESSION_JOINING || session_is_lost(s);
}

/*
 * Is there a session that may have the image, and about which more is known
 * soon? Its own one if that is known: another cluster's is not waited for.
 */
static bool
is_unsettled_image(const struct userspace_entry *entry)
{
	struct session *s = entry != NULL ? userspace_index_session(entry)
					  : NULL;

	if (s != NULL)
		return is_unsettled(s);
	while ((s = session_next(s)) != NULL)
		if (is_unsettled(s))
			return true;
	return false;
}

static enum op_verdict
close_begin(struct closing *c)
{
	struct userspace_entry *entry = userspace_index_find(c->open->spec);

	/*
	 * A loop device may be known before its image table is; and a process
	 * whose session is lost may still have writes under way.
	 */
	if ((entry == NULL || entry->ino == 0) && is_unsettled_image(entry)) {
		session_wait_start(&c->op.wake);
		return op_await(c, CLOSE_START);
	}
	if (entry == NULL)
		return op_goto(c, CLOSE_END);
	c->ino = entry->ino;
	(void)snprintf(c->session, sizeof(c->session), "%s", entry->session);
	if (!c->abort || userspace_index_session(entry) == NULL)
		return op_goto(c, CLOSE_UNMAP);
	c->call.request = (struct wire_request){ .kind = WIRE_ABORT,
		.ino = c->ino };
	session_call_start(
	    userspace_index_session(entry), &c->call, &c->op.wake);
	return op_await(c, CLOSE_ABORTED);
}

static enum op_verdict
close_unmap(struct closing *c)
{
	struct userspace_entry *entry = userspace_index_find(c->open->spec);

	if (entry == NULL || entry->loop == LOOP_NONE)
		return op_goto(c, CLOSE_SEND);
	unmap_start(&c->unmap, entry, &c->op.wake);
	return op_await(c, CLOSE_UNMAPPED);
}

static void
on_fence(struct timer *timer)
{
	struct closing *c = container_of(timer, struct closing, fence);
	struct session *s = NULL;

	while ((s = session_next(s)) != NULL)
		if (str_eq(session_dir(s), c->session)) {
			log_warn("userspace.fence",
			    "session=%s image=%s "
			    "text=\"not closed in time: replacing rbd-attachd\"",
			    c->session, c->open->spec->image);
			session_replace(s, false);
		}
}

static void
on_retry(struct timer *timer)
{
	wake_up(&container_of(timer, struct closing, retry)->op.wake, 0);
}

static enum op_verdict
close_send(struct closing *c)
{
	struct userspace_entry *entry = userspace_index_find(c->open->spec);
	struct session *s = entry != NULL ? userspace_index_session(entry)
					  : NULL;

	if (s == NULL)
		return op_goto(c, CLOSE_END);
	if (c->fence.fire == NULL) {
		c->fence.fire = on_fence;
		timer_arm(
		    &c->fence, c->abort ? ABORT_FENCE_MS : CLOSE_FENCE_MS);
	}
	c->call.request = (struct wire_request){ .kind = WIRE_DETACH,
		.ino = c->ino };
	session_call_start(s, &c->call, &c->op.wake);
	return op_await(c, CLOSE_CLOSED);
}

static enum op_verdict
close_step(struct op *op)
{
	struct closing *c = (struct closing *)op;
	struct userspace_entry *entry;

	switch (c->state) {
	case CLOSE_START:
		return close_begin(c);
	case CLOSE_ABORTED:
		if (op->rc < 0 && c->call.lost)
			return op_goto(c, CLOSE_START);
		if (op->rc < 0)
			return op_fail_err(c, CLOSE_END, &c->call.err);
		return op_goto(c, CLOSE_UNMAP);
	case CLOSE_UNMAP:
		return close_unmap(c);
	case CLOSE_UNMAPPED:
		if (op->rc < 0)
			return op_fail_err(c, CLOSE_END, &c->unmap.off.err);
		if ((entry = userspace_index_find(c->open->spec)) != NULL)
			entry->loop = LOOP_NONE;
		return op_goto(c, CLOSE_SEND);
	case CLOSE_SEND:
		return close_send(c);
	case CLOSE_CLOSED:
		/* Being opened or closed just now: until it is, or fenced. */
		if (op->rc < 0 && c->call.lost)
			return op_goto(c, CLOSE_START);
		if (op->rc < 0 && c->call.err.code == ERR_ABORTED) {
			c->retry.fire = on_retry;
			timer_arm(&c->retry, RETRY_MS);
			return op_await(c, CLOSE_SEND);
		}
		if (op->rc < 0)
			return op_fail_err(c, CLOSE_END, &c->call.err);
		userspace_index_drop(userspace_index_find(c->open->spec));
		return op_goto(c, CLOSE_END);
	case CLOSE_END:
		timer_disarm(&c->fence);
		return OP_DONE;
	}
	abort();
}

static void
close_end(struct op *op)
{
	access_end(op, ((struct closing *)op)->open);
}

static const struct op_class close_class = {
	.name = "userspace.close",
	.step = close_step,
	.end = close_end,
};

static void
close_or_abort(struct device_open *open, bool abort_first, struct wake *waiter)
{
	struct closing *c = mem_new(sizeof(*c));

	c->open = open;
	c->abort = abort_first;
	open->state = waiter;
	c->op.subject = open->spec->image;
	op_start(&c->op, &close_class, NULL);
}

static void
userspace_close_start(struct device_open *open, struct wake *waiter)
{
	close_or_abort(open, false, waiter);
}

void
device_userspace_abort_start(struct device_open *open, struct wake *waiter)
{
	close_or_abort(open, true, waiter);
}

void
device_userspace_restart_all(void)
{
	struct session *s = NULL;

	while ((s = session_next(s)) != NULL)
		session_replace(s, true);
}

/* ---- the mapper -------------------------------------------------------- */

void
device_userspace_set_program(const char *path)
{
	program = path;
}

static int
userspace_init(const char *state_dir, struct err *err)
{
	return userspace_index_init(state_dir, program, err);
}

static bool
userspace_usable(struct err *why)
{
	const char *const need[] = { program, "/dev/fuse",
		"/dev/loop-control" };

	for (size_t i = 0; i < countof(need); i++)
		if (access(need[i], i == 0 ? X_OK : R_OK | W_OK) < 0) {
			(void)err_set(why, ERR_FAILED_PRECONDITION,
			    "userspace mapper: no %s on this node", need[i]);
			return false;
		}
	return true;
}

static void
userspace_find(const struct device_spec *spec, struct device_ref *ref)
{
	const struct userspace_entry *entry = userspace_index_find(spec);

	*ref = (struct device_ref)DEVICE_REF_INIT;
	if (entry == NULL)
		return;
	ref->id = entry->loop;
	(void)snprintf(ref->file, sizeof(ref->file), "%s", entry->file);
}

static void
userspace_note(const struct device_spec *spec, const struct device_ref *ref)
{
	struct userspace_entry *entry = userspace_index_find(spec);

	if (entry != NULL)
		entry->loop = ref != NULL && ref->id >= 0 ? ref->id : LOOP_NONE;
}

static int
fill_device(int id, const char *file, struct device *dev, struct err *err)
{
	int rc;

	*dev = (struct device){ .ref = DEVICE_REF_INIT };
	dev->ref.id = id;
	(void)snprintf(dev->ref.file, sizeof(dev->ref.file), "%s", file);
	(void)snprintf(dev->path, sizeof(dev->path), "/dev/loop%d", id);
	dev->devno = makedev(LOOP_MAJOR, (unsigned)id);
	rc = device_sysfs_size(dev->devno, &dev->size_bytes, &dev->read_only);
	return rc < 0 ? err_set_rc(err, rc, "size of %s", dev->path) : 0;
}

/* A dead loop device of the image is freed, now or by its last user. */
static bool
on_leftover(int id, const char *file, void *arg)
{
	struct err err = ERR_INIT;

	if (userspace_index_is_leftover(arg, file) && loopdev_is_dead(id))
		log_info("userspace.cleared", "loop=%d file=%s users=%d", id,
		    file, loopdev_clear(id, file, 0, &err) < 0);
	return true;
}

static void
clear_leftovers(const struct device_spec *spec)
{
	struct device_spec image = *spec;

	if (userspace_index_has_leftovers())
		loopdev_each("/", on_leftover, &image);
}

static int
userspace_map(const struct device_spec *spec, const struct device_ref *ref,
    struct device *dev, struct err *err)
{
	int id = ref->id, rc;

	if (ref->file[0] == '\0')
		return err_set(
		    err, ERR_INTERNAL, "image %s is not open", spec->image);
	clear_leftovers(spec);
	if (id == LOOP_UNKNOWN)
		id = loopdev_find(ref->file);
	if (id >= 0 && !loopdev_is(id, ref->file))
		id = LOOP_NONE;
	if (id >= 0 && loopdev_is_read_only(id) != spec->read_only) {
		if ((rc = loopdev_clear(id, ref->file, UNMAP_MS, err)) < 0)
			return rc;
		id = LOOP_NONE;
	}
	if (id < 0)
		id = loopdev_attach(ref->file, spec->read_only, err);
	return id < 0 ? id : fill_device(id, ref->file, dev, err);
}

static int
userspace_unmap(const struct device_spec *spec, const struct device_ref *ref,
    struct err *err)
{
	struct unmap_args args = { .loop = ref->id };

	clear_leftovers(spec);
	if (ref->file[0] == '\0')
		return 0;
	(void)snprintf(args.file, sizeof(args.file), "%s", ref->file);
	return unmap_child(&args, NULL, err);
}

static int
userspace_verify(const struct device_spec *spec, dev_t devno,
    struct device *dev, struct err *err)
{
	/* The child has the index as it was when it was forked. */
	const struct userspace_entry *entry = userspace_index_find(spec);
	char file[LOOPDEV_FILE_MAX] = "";

	if (major(devno) != LOOP_MAJOR) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "device %u:%u is no loop device", major(devno),
		    minor(devno));
		return -ENODEV;
	}
	if (loopdev_file((int)minor(devno), file) < 0) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "/dev/loop%u is bound to nothing", minor(devno));
		return -ENODEV;
	}
	if (entry != NULL && loopdev_shows(file, entry->file) &&
	    userspace_index_verdict(entry, err) < 0)
		return -ESTALE;
	if (entry != NULL && loopdev_shows(file, entry->file))
		return fill_device((int)minor(devno), entry->file, dev, err);
	if (userspace_index_is_leftover(spec, file) &&
	    loopdev_is_dead((int)minor(devno))) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "/dev/loop%u is dead: nobody serves %.120s any more",
		    minor(devno), file);
		return -ESTALE;
	}
	(void)err_set(err, ERR_FAILED_PRECONDITION,
	    "/dev/loop%u is bound to %.120s", minor(devno), file);
	return -ENODEV;
}

static bool
userspace_credentials(
    const struct device_spec *spec, const char **user, const char **key)
{
	struct session *s = NULL;

	while ((s = session_next(s)) != NULL) {
		struct table *table = session_table(s);

		if (session_state(s) != SESSION_READY || table == NULL ||
		    !str_eq(table->cluster_id, spec->cluster_id) ||
		    (!str_is_empty(spec->user) &&
			!str_eq(table->user, spec->user)))
			continue;
		*user = table->user;
		*key = table->key;
		return true;
	}
	return false;
}

const struct mapper device_userspace = {
	.name = "userspace",
	.init = userspace_init,
	.usable = userspace_usable,
	.credentials = userspace_credentials,
	.find = userspace_find,
	.note = userspace_note,
	.open_start = userspace_open_start,
	.close_start = userspace_close_start,
	.map = userspace_map,
	.unmap = userspace_unmap,
	.verify = userspace_verify,
};
