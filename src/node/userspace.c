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

enum access_state {
	ACCESS_START = 0,
	/* open */
	ACCESS_BURIED,   /* it was dead: closed there */
	ACCESS_ATTACHED, /* rbd-attachd has answered */
	ACCESS_FREED,    /* was read-only: its loop device is free */
	ACCESS_DETACHED, /* and the image closed */
	/* close and abort */
	ACCESS_ABORTED, /* its requests are answered */
	ACCESS_UNMAP,
	ACCESS_UNMAPPED, /* no loop device uses the file */
	ACCESS_CLOSE,
	ACCESS_CLOSED, /* librbd has closed the image, or not yet */
	/* look */
	ACCESS_LOOKED, /* rbd-attachd knows the image's size of now */
	ACCESS_END,
};

struct access {
	struct op op;
	enum access_state state;
	struct device_open *open;
	bool abort;
	bool again; /* open: the first session was lost meanwhile */
	struct attach_session *session; /* open: where */
	uint64_t ino;
	struct attach_call call;
	struct offload off;
	struct userspace_entry known; /* as it was when it was last looked at */
	struct timer retry, fence;
};

/* Frees the loop device of an image, if it has one. */
static int
unmap_child(const void *args, void *result, struct err *err)
{
	const struct userspace_entry *entry = args;
	int id = entry->loop;

	(void)result;
	if (id == LOOP_UNKNOWN)
		id = loopdev_find(entry->file);
	return id < 0 ? 0 : loopdev_clear(id, entry->file, UNMAP_MS, err);
}

static void
access_unmap_start(
    struct access *a, const struct userspace_entry *entry, struct wake *waiter)
{
	a->known = *entry;
	offload_start(&a->off, "free a loop device", unmap_child, &a->known,
	    NULL, 0, OFFLOAD_MS, waiter);
}

static void
access_call_start(struct access *a, struct attach_session *s, Attach__Call what,
    struct wake *waiter)
{
	attach__target__init(&a->call.target);
	a->call.target.ino = a->ino;
	attach_call_start(s, &a->call, what, waiter);
}

static void
access_attach_start(struct access *a, struct wake *waiter)
{
	const struct device_spec *spec = a->open->spec;
	Attach__Target *target = &a->call.target;

	attach__target__init(target);
	target->pool = peer_text(spec->pool);
	target->rados_namespace = peer_text(spec->rados_namespace);
	target->image = peer_text(spec->image);
	target->image_id = peer_text(spec->image_id);
	target->read_only = spec->read_only;
	target->shared = spec->shared;
	target->cluster_fsid = peer_text(spec->fsid);
	attach_call_start(a->session, &a->call, ATTACH__CALL__ATTACH, waiter);
}

static void
access_end(struct op *op)
{
	struct access *a = (struct access *)op;
	struct wake *waiter = a->open->state;

	timer_disarm(&a->fence);
	attach_call_fini(&a->call);
	a->open->state = NULL;
	a->open->err = op->err;
	/* Somebody else has the image: the interface has a number for it. */
	wake_up(waiter,
	    op->err.code == ERR_FAILED_PRECONDITION ? -EBUSY : op->err.rc);
	free(a);
}

/* Runs `cls` for `open`, and wakes `waiter` at its end. */
static void
access_start(struct device_open *open, const struct op_class *cls,
    bool abort_first, struct wake *waiter)
{
	struct access *a = mem_new(sizeof(*a));

	a->open = open;
	a->abort = abort_first;
	open->state = waiter;
	a->op.subject = open->spec->image;
	op_start(&a->op, cls, NULL);
}

/* ---- open -------------------------------------------------------------- */

static enum op_verdict
open_step(struct op *op)
{
	struct access *a = (struct access *)op;
	const struct device_spec *spec = a->open->spec;
	struct userspace_entry *entry = userspace_index_find(spec);
	const Attach__Attached *attached = a->call.attached;
	const struct table_identity who = { .cluster_id = spec->cluster_id,
		.net_namespace = spec->net_namespace,
		.monitors = spec->monitors,
		.user = spec->user,
		.key = spec->key != NULL ? spec->key->text : NULL };
	struct err err = ERR_INIT;

	/* A command was refused because its session was lost: in a new one. */
	if (op->rc < 0 && a->call.lost && !a->again) {
		a->again = true;
		return op_goto(a, ACCESS_START);
	}
	switch (a->state) {
	case ACCESS_START:
		if (str_is_empty(spec->image) || str_is_empty(spec->pool))
			return op_fail(a, ACCESS_END, ERR_INVALID_ARGUMENT,
			    "userspace mapper: image and pool must be known");
		if (!str_is_empty(spec->map_options))
			return op_fail(a, ACCESS_END, ERR_INVALID_ARGUMENT,
			    "userspace mapper: unknown map options \"%s\"",
			    spec->map_options);
		a->session = entry != NULL ? userspace_index_session(entry)
					   : NULL;
		if (a->session != NULL &&
		    userspace_index_verdict(entry, &err) < 0) {
			/*
			 * It is dead there. Its loop device may be kept by an
			 * open file: no reason to wait, for it reads and writes
			 * nothing.
			 */
			log_info("userspace.bury", "session=%s text=\"%s\"",
			    a->session->dir, err.text);
			a->ino = entry->ino;
			access_call_start(
			    a, a->session, ATTACH__CALL__DETACH, &op->wake);
			return op_await(a, ACCESS_BURIED);
		}
		if (a->session == NULL)
			a->session = attach_session_get(&who, &op->wake, &err);
		if (a->session != NULL) {
			access_attach_start(a, &op->wake);
			return op_await(a, ACCESS_ATTACHED);
		}
		if (err.rc < 0) {
			op_set_err(op, &err);
			return op_await(a, ACCESS_END);
		}
		return op_await(a, ACCESS_START);

	case ACCESS_BURIED:
		if (op->rc < 0)
			return op_fail_err(a, ACCESS_END, &a->call.err);
		userspace_index_leave(entry);
		return op_goto(a, ACCESS_START);

	case ACCESS_ATTACHED:
		if (op->rc < 0)
			return op_fail_err(a, ACCESS_END, &a->call.err);
		entry = userspace_index_add(
		    spec, a->session, attached->ino, attached->file, &err);
		if (entry == NULL)
			return op_fail_err(a, ACCESS_END, &err);
		if ((attached->read_only && !spec->read_only) ||
		    attached->shared != spec->shared) {
			access_unmap_start(a, entry, &op->wake);
			return op_await(a, ACCESS_FREED);
		}
		/* Until the map has reported, nobody knows. */
		entry->fresh = entry->loop == LOOP_NONE && !attached->existed;
		if (entry->loop == LOOP_NONE)
			entry->loop = LOOP_UNKNOWN;
		return op_goto(a, ACCESS_END);

	case ACCESS_FREED:
		if (op->rc < 0)
			return op_fail_err(a, ACCESS_END, &a->off.err);
		if (entry != NULL)
			entry->loop = LOOP_NONE;
		a->ino = attached->ino;
		access_call_start(
		    a, a->session, ATTACH__CALL__DETACH, &op->wake);
		return op_await(a, ACCESS_DETACHED);

	case ACCESS_DETACHED:
		if (op->rc < 0)
			return op_fail_err(a, ACCESS_END, &a->call.err);
		access_attach_start(a, &op->wake);
		return op_await(a, ACCESS_ATTACHED);

	case ACCESS_ABORTED: /* close's */
	case ACCESS_UNMAP:
	case ACCESS_UNMAPPED:
	case ACCESS_CLOSE:
	case ACCESS_CLOSED:
	case ACCESS_LOOKED: /* look's */
		break;
	case ACCESS_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class open_class = {
	.name = "userspace.open",
	.step = open_step,
	.end = access_end,
};

static void
userspace_open_start(struct device_open *open, struct wake *waiter)
{
	access_start(open, &open_class, false, waiter);
}

/* ---- close and abort --------------------------------------------------- */

static bool
is_unsettled(const struct attach_session *s)
{
	return s->state == ATTACH_JOINING || s->lost;
}

/*
 * Is there a session that may have the image, and about which more is known
 * soon? Its own one if that is known: another cluster's is not waited for.
 */
static bool
is_unsettled_image(const struct userspace_entry *entry)
{
	struct attach_session *s = entry != NULL
	    ? userspace_index_session(entry)
	    : NULL;

	if (s != NULL)
		return is_unsettled(s);
	while ((s = attach_session_next(s)) != NULL)
		if (is_unsettled(s))
			return true;
	return false;
}

static void
on_fence(struct timer *timer)
{
	struct access *a = container_of(timer, struct access, fence);
	struct attach_session *s = NULL;

	while ((s = attach_session_next(s)) != NULL)
		if (str_eq(s->dir, a->known.session)) {
			log_warn("userspace.fence",
			    "session=%s image=%s text=\"not closed in time: replacing rbd-attachd\"",
			    a->known.session, a->known.image);
			attach_session_replace(s, false);
		}
}

static void
on_close_retry(struct timer *timer)
{
	wake_up(&container_of(timer, struct access, retry)->op.wake, 0);
}

static enum op_verdict
close_step(struct op *op)
{
	struct access *a = (struct access *)op;
	struct userspace_entry *entry = userspace_index_find(a->open->spec);
	struct attach_session *s = entry != NULL
	    ? userspace_index_session(entry)
	    : NULL;

	switch (a->state) {
	case ACCESS_START:
		/*
		 * A loop device may be known before its image table is; and a
		 * process whose session is lost may still have writes under
		 * way.
		 */
		if ((entry == NULL || entry->ino == 0) &&
		    is_unsettled_image(entry)) {
			attach_session_wait_start(&op->wake);
			return op_await(a, ACCESS_START);
		}
		if (entry == NULL)
			return op_goto(a, ACCESS_END);
		a->ino = entry->ino;
		a->known = *entry;
		if (!a->abort || s == NULL)
			return op_goto(a, ACCESS_UNMAP);
		access_call_start(a, s, ATTACH__CALL__ABORT, &op->wake);
		return op_await(a, ACCESS_ABORTED);

	case ACCESS_ABORTED:
		if (op->rc < 0 && a->call.lost)
			return op_goto(a, ACCESS_START);
		if (op->rc < 0)
			return op_fail_err(a, ACCESS_END, &a->call.err);
		return op_goto(a, ACCESS_UNMAP);

	case ACCESS_UNMAP:
		if (entry == NULL || entry->loop == LOOP_NONE)
			return op_goto(a, ACCESS_CLOSE);
		access_unmap_start(a, entry, &op->wake);
		return op_await(a, ACCESS_UNMAPPED);

	case ACCESS_UNMAPPED:
		if (op->rc < 0)
			return op_fail_err(a, ACCESS_END, &a->off.err);
		if (entry != NULL)
			entry->loop = LOOP_NONE;
		return op_goto(a, ACCESS_CLOSE);

	case ACCESS_CLOSE:
		if (s == NULL)
			return op_goto(a, ACCESS_END);
		if (a->fence.fire == NULL) {
			a->fence.fire = on_fence;
			timer_arm(&a->fence,
			    a->abort ? ABORT_FENCE_MS : CLOSE_FENCE_MS);
		}
		access_call_start(a, s, ATTACH__CALL__DETACH, &op->wake);
		return op_await(a, ACCESS_CLOSED);

	case ACCESS_CLOSED:
		/* Being opened or closed just now: until it is, or fenced. */
		if (op->rc < 0 && a->call.lost)
			return op_goto(a, ACCESS_START);
		if (op->rc < 0 && a->call.err.code == ERR_ABORTED) {
			a->retry.fire = on_close_retry;
			timer_arm(&a->retry, RETRY_MS);
			return op_await(a, ACCESS_CLOSE);
		}
		if (op->rc < 0)
			return op_fail_err(a, ACCESS_END, &a->call.err);
		userspace_index_drop(entry);
		return op_goto(a, ACCESS_END);

	case ACCESS_BURIED: /* open's */
	case ACCESS_ATTACHED:
	case ACCESS_FREED:
	case ACCESS_DETACHED:
	case ACCESS_LOOKED: /* look's */
		break;
	case ACCESS_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class close_class = {
	.name = "userspace.close",
	.step = close_step,
	.end = access_end,
};

static void
userspace_close_start(struct device_open *open, struct wake *waiter)
{
	access_start(open, &close_class, false, waiter);
}

static void
userspace_abort_start(struct device_open *open, struct wake *waiter)
{
	access_start(open, &close_class, true, waiter);
}

/* ---- look ------------------------------------------------------------------ */

static enum op_verdict
look_step(struct op *op)
{
	struct access *a = (struct access *)op;
	const struct userspace_entry *entry = userspace_index_find(
	    a->open->spec);
	struct attach_session *s = entry != NULL
	    ? userspace_index_session(entry)
	    : NULL;

	switch (a->state) {
	case ACCESS_START:
		if (is_unsettled_image(entry)) {
			attach_session_wait_start(&op->wake);
			return op_await(a, ACCESS_START);
		}
		if (s == NULL) /* what is dead is told by the child */
			return op_goto(a, ACCESS_END);
		a->ino = entry->ino;
		access_call_start(a, s, ATTACH__CALL__LOOK, &op->wake);
		return op_await(a, ACCESS_LOOKED);

	case ACCESS_LOOKED:
		if (op->rc < 0 && a->call.lost)
			return op_goto(a, ACCESS_START);
		return op->rc < 0 ? op_fail_err(a, ACCESS_END, &a->call.err)
				  : op_goto(a, ACCESS_END);

	case ACCESS_BURIED: /* open's */
	case ACCESS_ATTACHED:
	case ACCESS_FREED:
	case ACCESS_DETACHED:
	case ACCESS_ABORTED: /* close's */
	case ACCESS_UNMAP:
	case ACCESS_UNMAPPED:
	case ACCESS_CLOSE:
	case ACCESS_CLOSED:
		break;
	case ACCESS_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class look_class = {
	.name = "userspace.look",
	.step = look_step,
	.end = access_end,
};

static void
userspace_look_start(struct device_open *open, struct wake *waiter)
{
	access_start(open, &look_class, false, waiter);
}

/* ---- the rest of the daemon's half --------------------------------------- */

static const char *program;

static int
userspace_init(const struct mapper_setup *setup, struct err *err)
{
	program = setup->attachd_path;
	return userspace_index_init(setup->state_dir, program, err);
}

static bool
userspace_usable(struct err *why)
{
	const char *const need[] = { program, "/dev/fuse",
		"/dev/loop-control" };

	for (size_t i = 0; i < countof(need); i++)
		if (access(need[i], i == 0 ? X_OK : R_OK | W_OK) < 0) {
			(void)err_refuse(why,
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
	struct attach_session *s = NULL;

	while ((s = attach_session_next(s)) != NULL)
		attach_session_replace(s, true);
}

static void
userspace_complain(
    void (*tell)(void *arg, const char *reason, const char *message), void *arg)
{
	struct attach_session *s = NULL;

	while ((s = attach_session_next(s)) != NULL) {
		auto_free char *text = NULL;

		if (s->state != ATTACH_SERVED || s->peer.state == PEER_UP ||
		    s->peer.state == PEER_DRAINING || !err_is_set(&s->err))
			continue;
		text = str_fmt("cluster %s as client.%s: rbd-attachd is %s: %s",
		    s->table->cluster_id, s->table->user,
		    attach_session_state(s), s->err.text);
		tell(arg, "SessionDown", text);
	}
}

static bool
userspace_credentials(
    const struct device_spec *spec, const char **user, const char **key)
{
	const struct userspace_entry *entry = userspace_index_find(spec);
	struct attach_session *s = NULL, *found = NULL,
			      *its = entry != NULL
	    ? userspace_index_session(entry)
	    : NULL;

	while ((s = attach_session_next(s)) != NULL) {
		struct table *table = s->table;

		if (s->peer.state != PEER_UP || table == NULL ||
		    !str_eq(table->cluster_id, spec->cluster_id) ||
		    (!str_is_empty(spec->user) &&
			!str_eq(table->user, spec->user)))
			continue;
		if (found == NULL || s == its)
			found = s;
	}
	if (found == NULL)
		return false;
	*user = found->table->user;
	*key = found->table->key;
	return true;
}

static const char *
userspace_client(const struct device_spec *spec, bool *shared)
{
	const struct userspace_entry *entry = userspace_index_find(spec);
	const struct attach_session *session = entry != NULL
	    ? userspace_index_session(entry)
	    : NULL;

	if (session == NULL || session->table == NULL)
		return NULL;
	*shared = userspace_index_shared(entry);
	return table_address(session->table);
}

/* ---- the child's half: the index is as it was at the fork ---------------- */

static int
userspace_describe(
    int id, const char *file, struct device *dev, struct err *err)
{
	int rc;

	*dev = (struct device){ .id = id,
		.devno = makedev(LOOP_MAJOR, (unsigned)id) };
	loopdev_path(id, dev->path);
	rc = sysfs_size(dev->devno, &dev->size_bytes, &dev->read_only);
	/*
	 * Who is killed while the kernel asks rbd-attachd for the size, when
	 * the device is bound or grows, leaves none.
	 */
	if (rc == 0 && dev->size_bytes == 0 &&
	    loopdev_grow(id, file, NULL) == 0)
		rc = sysfs_size(dev->devno, &dev->size_bytes, &dev->read_only);
	return rc < 0 ? err_set_rc(err, rc, "size of %s", dev->path) : 0;
}

/* Dead loop devices of the image are freed, now or by their last user. */
static void
clear_leftovers(const struct device_spec *spec)
{
	auto_dir DIR *dir = userspace_index_has_leftovers(spec)
	    ? sysfs_dir("block")
	    : NULL;
	char file[LOOPDEV_FILE_MAX];
	int id;

	while ((id = loopdev_next(dir, "/", file)) >= 0)
		if (userspace_index_is_leftover(spec, file) &&
		    loopdev_is_dead(id))
			log_info("userspace.cleared",
			    "loop=%d file=%s users=%d", id, file,
			    loopdev_clear(id, file, 0, NULL) < 0);
}

static int
userspace_map(
    const struct device_spec *spec, struct device *dev, struct err *err)
{
	const struct userspace_entry *entry = userspace_index_find(spec);
	uint64_t flag;
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
	if (id >= 0 &&
	    (sysfs_u64(&flag, "block/loop%d/ro", id) == 0 && flag == 1) !=
		spec->read_only) {
		rc = loopdev_clear(id, entry->file, UNMAP_MS, err);
		if (rc < 0)
			return rc;
		id = LOOP_NONE;
	}
	if (id >= 0)
		loopdev_limit(id);
	else if ((id = loopdev_attach(entry->file, spec->read_only, err)) < 0)
		return id;
	rc = userspace_describe(id, entry->file, dev, err);
	if (rc == 0 && dev->size_bytes == 0)
		return err_set(err, ERR_UNAVAILABLE,
		    "rbd-attachd does not tell the size of %s", dev->path);
	return rc;
}

static int
userspace_unmap(
    const struct device_spec *spec, const struct device *shown, struct err *err)
{
	const struct userspace_entry *entry = userspace_index_find(spec);
	struct userspace_entry copy;

	clear_leftovers(spec);
	if (entry == NULL)
		return 0;
	copy = *entry;
	if (shown != NULL)
		copy.loop = shown->id;
	return unmap_child(&copy, NULL, err);
}

static int
userspace_verify(const struct device_spec *spec, dev_t devno,
    struct device *dev, struct err *err)
{
	const struct userspace_entry *entry = userspace_index_find(spec);
	const struct attach_session *s;
	char file[LOOPDEV_FILE_MAX] = "";
	int id = (int)minor(devno);

	if (major(devno) != LOOP_MAJOR)
		return err_refuse_as(err, -ENODEV,
		    "device %u:%u is no loop device", major(devno),
		    minor(devno));
	if (loopdev_file(id, file) < 0) {
		return err_refuse_as(
		    err, -ENODEV, "/dev/loop%d is bound to nothing", id);
	}
	/* A cluster ID may have become another cluster's. */
	s = entry != NULL ? userspace_index_session(entry) : NULL;
	if (entry != NULL && loopdev_shows(file, entry->file) &&
	    (str_is_empty(spec->fsid) || s == NULL || s->table == NULL ||
		s->table->fsid[0] == '\0' ||
		str_eq(s->table->fsid, spec->fsid)))
		return userspace_index_verdict(entry, err) < 0
		    ? -ESTALE
		    : userspace_describe(id, entry->file, dev, err);
	if (userspace_index_is_leftover(spec, file) && loopdev_is_dead(id))
		return err_refuse_as(err, -ESTALE,
		    "/dev/loop%d is dead: nobody serves %.120s any more", id,
		    file);
	return err_refuse_as(
	    err, -ENODEV, "/dev/loop%d is bound to %.120s", id, file);
}

static int
userspace_grow(
    const struct device_spec *spec, struct device *dev, struct err *err)
{
	const struct userspace_entry *entry = userspace_index_find(spec);
	const char *file = entry == NULL ? "" : entry->file;
	int rc = entry == NULL ? 0 : loopdev_grow(dev->id, file, err);

	return rc < 0 ? rc : userspace_describe(dev->id, file, dev, err);
}

static unsigned
userspace_attached(void)
{
	return attach_session_io().images;
}

static const struct mapper_child userspace_child = {
	.name = "userspace",
	.opens = true,
	.obeys_limits = true,
	.map = userspace_map,
	.unmap = userspace_unmap,
	.verify = userspace_verify,
	.grow = userspace_grow,
};

const struct mapper userspace_mapper = {
	.name = "userspace",
	.mounter = "userspace",
	.child = &userspace_child,
	.init = userspace_init,
	.images_most = TABLE_SLOTS, /* of one rbd-attachd */
	.usable = userspace_usable,
	.knows = userspace_knows,
	.note = userspace_note,
	.open_start = userspace_open_start,
	.close_start = userspace_close_start,
	.abort_start = userspace_abort_start,
	.look_start = userspace_look_start,
	.attached = userspace_attached,
	.restart = userspace_restart,
	.complain = userspace_complain,
	.credentials = userspace_credentials,
	.client = userspace_client,
};
