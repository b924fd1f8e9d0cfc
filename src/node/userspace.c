/*
 * userspace.c - the userspace mapper: images served by rbd-attachd as files,
 * with a loop device on each.
 *
 * Order, each way: the image is open before a loop device uses its file, and
 * the loop device is free before the image is closed.
 */
#include "base/log.h"
#include "core/offload.h"
#include "core/timer.h"
#include "node/loopdev.h"
#include "node/mapper.h"
#include "node/sysfs.h"
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

/* ---- what open, close and abort share ---------------------------------- */

struct unmap_args {
	int loop;
	char file[DEVICE_FILE_MAX];
};

struct unmapping {
	struct offload off;
	struct unmap_args args;
};

/* Frees the image's loop device, if it has one. */
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
unmap_args_of(const struct userspace_entry *entry, struct unmap_args *args)
{
	args->loop = entry->loop;
	(void)snprintf(args->file, sizeof(args->file), "%s", entry->file);
}

static void
unmap_start(struct unmapping *u, const struct userspace_entry *entry,
    struct wake *waiter)
{
	unmap_args_of(entry, &u->args);
	offload_start(&u->off, "free a loop device", unmap_child, &u->args,
	    NULL, 0, OFFLOAD_MS, waiter);
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

enum opening_state {
	OPENING_START = 0,
	OPENING_BURIED,   /* it was dead: closed there */
	OPENING_ATTACHED, /* rbd-attachd has answered */
	OPENING_UNMAPPED, /* was read-only: its loop device is free */
	OPENING_CLOSED,   /* and the image closed */
	OPENING_END,
};

struct opening {
	struct op op;
	enum opening_state state;
	struct device_open *open;
	struct session *session;
	struct session_call call;
	struct unmapping unmap;
	bool again; /* the first session was lost meanwhile */
};

static void
open_attach_start(struct opening *o, struct wake *waiter)
{
	const struct device_spec *spec = o->open->spec;

	o->call.request = (struct wire_request){ .kind = WIRE_ATTACH,
		.image = { .pool = spec->pool,
		    .rados_namespace = spec->rados_namespace,
		    .image = spec->image,
		    .image_id = spec->image_id,
		    .read_only = spec->read_only } };
	session_call_start(o->session, &o->call, waiter);
}

/* Has the image a session, in which it is dead? */
static bool
open_is_dead(struct opening *o, struct userspace_entry *entry)
{
	struct err why = ERR_INIT;

	o->session = entry != NULL ? userspace_index_session(entry) : NULL;
	if (o->session == NULL || userspace_index_verdict(entry, &why) == 0)
		return false;
	log_info("userspace.bury", "session=%s text=\"%s\"",
	    session_dir(o->session), why.text);
	return true;
}

static int
open_check(const struct device_spec *spec, struct err *err)
{
	if (str_is_empty(spec->image) || str_is_empty(spec->pool))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "userspace mapper: image and pool must be known");
	if (!str_is_empty(spec->map_options))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "userspace mapper: unknown map options \"%s\"",
		    spec->map_options);
	return 0;
}

static enum op_verdict
open_step(struct op *op)
{
	struct opening *o = (struct opening *)op;
	const struct device_spec *spec = o->open->spec;
	struct userspace_entry *entry = userspace_index_find(spec);
	const struct wire_answer *answer = &o->call.answer;
	const struct table_identity who = { .cluster_id = spec->cluster_id,
		.net_namespace = spec->net_namespace,
		.monitors = spec->monitors,
		.user = spec->user,
		.key = spec->key != NULL ? spec->key->text : NULL };
	struct err err = ERR_INIT;

	/* A command was refused because its session was lost: in a new one. */
	if (op->rc < 0 && o->call.lost && !o->again) {
		o->again = true;
		return op_goto(o, OPENING_START);
	}
	switch (o->state) {
	case OPENING_START:
		if (open_check(spec, &err) < 0)
			return op_fail_err(o, OPENING_END, &err);
		if (open_is_dead(o, entry)) {
			/*
			 * Its loop device may be kept by an open file: no
			 * reason to wait, for it reads and writes nothing.
			 */
			o->call.request = (struct wire_request){
				.kind = WIRE_DETACH, .ino = entry->ino
			};
			session_call_start(o->session, &o->call, &op->wake);
			return op_await(o, OPENING_BURIED);
		}
		if (o->session == NULL)
			o->session = session_get(&who, &op->wake, &err);
		if (o->session != NULL) {
			open_attach_start(o, &op->wake);
			return op_await(o, OPENING_ATTACHED);
		}
		if (err.rc < 0) {
			op_set_err(op, &err);
			return op_await(o, OPENING_END);
		}
		return op_await(o, OPENING_START);

	case OPENING_BURIED:
		if (op->rc < 0)
			return op_fail_err(o, OPENING_END, &o->call.err);
		userspace_index_leave(entry);
		return op_goto(o, OPENING_START);

	case OPENING_ATTACHED:
		if (op->rc < 0)
			return op_fail_err(o, OPENING_END, &o->call.err);
		if (answer->body != WIRE_ATTACHED)
			return op_fail(o, OPENING_END, ERR_INTERNAL,
			    "rbd-attachd: strange answer to an attach");
		entry = userspace_index_add(spec, o->session,
		    answer->attached.ino, answer->attached.file, &err);
		if (entry == NULL)
			return op_fail_err(o, OPENING_END, &err);
		if (answer->attached.read_only && !spec->read_only) {
			unmap_start(&o->unmap, entry, &op->wake);
			return op_await(o, OPENING_UNMAPPED);
		}
		/* Until the map has reported, nobody knows. */
		entry->fresh = entry->loop == LOOP_NONE &&
		    !answer->attached.existed;
		if (entry->loop == LOOP_NONE)
			entry->loop = LOOP_UNKNOWN;
		return op_goto(o, OPENING_END);

	case OPENING_UNMAPPED:
		if (op->rc < 0)
			return op_fail_err(o, OPENING_END, &o->unmap.off.err);
		if (entry != NULL)
			entry->loop = LOOP_NONE;
		o->call.request = (struct wire_request){ .kind = WIRE_DETACH,
			.ino = answer->attached.ino };
		session_call_start(o->session, &o->call, &op->wake);
		return op_await(o, OPENING_CLOSED);

	case OPENING_CLOSED:
		if (op->rc < 0)
			return op_fail_err(o, OPENING_END, &o->call.err);
		open_attach_start(o, &op->wake);
		return op_await(o, OPENING_ATTACHED);

	case OPENING_END:
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

enum closing_state {
	CLOSING_START = 0,
	CLOSING_ABORTED, /* its requests are answered */
	CLOSING_UNMAP,
	CLOSING_UNMAPPED, /* no loop device uses the file */
	CLOSING_SEND,
	CLOSING_CLOSED, /* librbd has closed the image, or not yet */
	CLOSING_END,
};

struct closing {
	struct op op;
	enum closing_state state;
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

static void
on_fence(struct timer *timer)
{
	struct closing *c = container_of(timer, struct closing, fence);
	struct session *s = NULL;

	while ((s = session_next(s)) != NULL)
		if (str_eq(session_dir(s), c->session)) {
			log_warn("userspace.fence",
			    "session=%s image=%s text=\"not closed in time: replacing rbd-attachd\"",
			    c->session, c->open->spec->image);
			session_replace(s, false);
		}
}

static void
on_close_retry(struct timer *timer)
{
	wake_up(&container_of(timer, struct closing, retry)->op.wake, 0);
}

static enum op_verdict
close_step(struct op *op)
{
	struct closing *c = (struct closing *)op;
	struct userspace_entry *entry = userspace_index_find(c->open->spec);
	struct session *s = entry != NULL ? userspace_index_session(entry)
					  : NULL;

	switch (c->state) {
	case CLOSING_START:
		/*
		 * A loop device may be known before its image table is; and a
		 * process whose session is lost may still have writes under
		 * way.
		 */
		if ((entry == NULL || entry->ino == 0) &&
		    is_unsettled_image(entry)) {
			session_wait_start(&op->wake);
			return op_await(c, CLOSING_START);
		}
		if (entry == NULL)
			return op_goto(c, CLOSING_END);
		c->ino = entry->ino;
		(void)snprintf(
		    c->session, sizeof(c->session), "%s", entry->session);
		if (!c->abort || s == NULL)
			return op_goto(c, CLOSING_UNMAP);
		c->call.request = (struct wire_request){ .kind = WIRE_ABORT,
			.ino = c->ino };
		session_call_start(s, &c->call, &op->wake);
		return op_await(c, CLOSING_ABORTED);

	case CLOSING_ABORTED:
		if (op->rc < 0 && c->call.lost)
			return op_goto(c, CLOSING_START);
		if (op->rc < 0)
			return op_fail_err(c, CLOSING_END, &c->call.err);
		return op_goto(c, CLOSING_UNMAP);

	case CLOSING_UNMAP:
		if (entry == NULL || entry->loop == LOOP_NONE)
			return op_goto(c, CLOSING_SEND);
		unmap_start(&c->unmap, entry, &op->wake);
		return op_await(c, CLOSING_UNMAPPED);

	case CLOSING_UNMAPPED:
		if (op->rc < 0)
			return op_fail_err(c, CLOSING_END, &c->unmap.off.err);
		if (entry != NULL)
			entry->loop = LOOP_NONE;
		return op_goto(c, CLOSING_SEND);

	case CLOSING_SEND:
		if (s == NULL)
			return op_goto(c, CLOSING_END);
		if (c->fence.fire == NULL) {
			c->fence.fire = on_fence;
			timer_arm(&c->fence,
			    c->abort ? ABORT_FENCE_MS : CLOSE_FENCE_MS);
		}
		c->call.request = (struct wire_request){ .kind = WIRE_DETACH,
			.ino = c->ino };
		session_call_start(s, &c->call, &op->wake);
		return op_await(c, CLOSING_CLOSED);

	case CLOSING_CLOSED:
		/* Being opened or closed just now: until it is, or fenced. */
		if (op->rc < 0 && c->call.lost)
			return op_goto(c, CLOSING_START);
		if (op->rc < 0 && c->call.err.code == ERR_ABORTED) {
			c->retry.fire = on_close_retry;
			timer_arm(&c->retry, RETRY_MS);
			return op_await(c, CLOSING_SEND);
		}
		if (op->rc < 0)
			return op_fail_err(c, CLOSING_END, &c->call.err);
		userspace_index_drop(entry);
		return op_goto(c, CLOSING_END);

	case CLOSING_END:
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

static void
userspace_abort_start(struct device_open *open, struct wake *waiter)
{
	close_or_abort(open, true, waiter);
}

/* ---- the rest of the daemon's half --------------------------------------- */

static const char *program;

static int
userspace_init(const struct mapper_setup *setup, struct err *err)
{
	program = setup->attachd;
	return userspace_index_init(setup->state_dir, program, err);
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

static bool
userspace_knows(const struct device_spec *spec)
{
	return userspace_index_find(spec) != NULL;
}

static void
userspace_note(const struct device_spec *spec, int id)
{
	struct userspace_entry *entry = userspace_index_find(spec);

	if (entry != NULL)
		entry->loop = id >= 0 ? id : LOOP_NONE;
}

static void
userspace_restart(void)
{
	struct session *s = NULL;

	while ((s = session_next(s)) != NULL)
		session_replace(s, true);
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

/* ---- the child's half: the index is as it was at the fork ---------------- */

static int
userspace_describe(int id, struct device *dev, struct err *err)
{
	int rc;

	*dev = (struct device){ .id = id,
		.devno = makedev(LOOP_MAJOR, (unsigned)id) };
	(void)snprintf(
	    dev->path, sizeof(dev->path), "%s/loop%d", node_paths.dev, id);
	rc = sysfs_size(dev->devno, &dev->size_bytes, &dev->read_only);
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
userspace_map(
    const struct device_spec *spec, struct device *dev, struct err *err)
{
	const struct userspace_entry *entry = userspace_index_find(spec);
	int id, rc;

	if (entry == NULL)
		return err_set(
		    err, ERR_INTERNAL, "image %s is not open", spec->image);
	clear_leftovers(spec);
	id = entry->loop;
	if (id == LOOP_UNKNOWN && !entry->fresh)
		id = loopdev_find(entry->file);
	if (id >= 0 && !loopdev_is(id, entry->file))
		id = LOOP_NONE;
	if (id >= 0 && loopdev_is_read_only(id) != spec->read_only) {
		rc = loopdev_clear(id, entry->file, UNMAP_MS, err);
		if (rc < 0)
			return rc;
		id = LOOP_NONE;
	}
	if (id < 0)
		id = loopdev_attach(entry->file, spec->read_only, err);
	return id < 0 ? id : userspace_describe(id, dev, err);
}

static int
userspace_unmap(
    const struct device_spec *spec, const struct device *shown, struct err *err)
{
	const struct userspace_entry *entry = userspace_index_find(spec);
	struct unmap_args args;

	clear_leftovers(spec);
	if (entry == NULL)
		return 0;
	unmap_args_of(entry, &args);
	if (shown != NULL)
		args.loop = shown->id;
	return unmap_child(&args, NULL, err);
}

static int
userspace_verify(const struct device_spec *spec, dev_t devno,
    struct device *dev, struct err *err)
{
	const struct userspace_entry *entry = userspace_index_find(spec);
	char file[LOOPDEV_FILE_MAX] = "";
	int id = (int)minor(devno);

	if (major(devno) != LOOP_MAJOR) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "device %u:%u is no loop device", major(devno),
		    minor(devno));
		return -ENODEV;
	}
	if (loopdev_file(id, file) < 0) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "/dev/loop%d is bound to nothing", id);
		return -ENODEV;
	}
	if (entry != NULL && loopdev_shows(file, entry->file))
		return userspace_index_verdict(entry, err) < 0
		    ? -ESTALE
		    : userspace_describe(id, dev, err);
	if (userspace_index_is_leftover(spec, file) && loopdev_is_dead(id)) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "/dev/loop%d is dead: nobody serves %.120s any more", id,
		    file);
		return -ESTALE;
	}
	(void)err_set(err, ERR_FAILED_PRECONDITION,
	    "/dev/loop%d is bound to %.120s", id, file);
	return -ENODEV;
}

static const struct mapper_child userspace_child = {
	.name = "userspace",
	.opens = true,
	.map = userspace_map,
	.unmap = userspace_unmap,
	.verify = userspace_verify,
};

const struct mapper userspace_mapper = {
	.name = "userspace",
	.mounter = "userspace",
	.child = &userspace_child,
	.init = userspace_init,
	.usable = userspace_usable,
	.knows = userspace_knows,
	.note = userspace_note,
	.open_start = userspace_open_start,
	.close_start = userspace_close_start,
	.abort_start = userspace_abort_start,
	.restart = userspace_restart,
	.credentials = userspace_credentials,
};
