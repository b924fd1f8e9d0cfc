/*
 * format_image.c - what a node asks of an image. BEGIN: may it be formatted,
 * and if so, mark it; END: it has a file system now; POOL: what its pool is
 * called; USAGE: how many bytes of it are used; LIMITS: how fast it may be; KEY:
 * what opens it; ENCRYPTED: it is a LUKS device now; ALONE: has nobody else it
 * open for writing.
 *
 * The rule that holds it together: an image without a mark is formatted only
 * if it is proven to hold nothing, its parents included; the mark "unfinished"
 * with the image's own id, which is written before mkfs starts, is the only
 * thing that lets an image with data be formatted, and it is replaced, for
 * ever, before anybody mounts the file system; see docs/JOURNAL.md.
 */
#include "controller/controller.h"
#include "controller/kms.h"
#include "controller/qos.h"
#include "controller/volume.h"

#include "worker.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum format_image_state {
	FORMAT_START = 0,
	FORMAT_FOUND,     /* the image's header has been read */
	FORMAT_META_READ, /* its marks are known */
	FORMAT_SEARCHED,  /* whether it holds anything */
	FORMAT_ALLOWED,   /* nothing in it is in the way */
	FORMAT_WATCHED,   /* who has it open */
	FORMAT_MARKED,    /* the mark has been written */
	FORMAT_MAP_READ,  /* USAGE: its object map */
	FORMAT_KEY_READ,  /* KEY: what its metadata say of it */
	FORMAT_KEY_GOT,   /* KEY: it is known */
	FORMAT_ANSWER,
	FORMAT_END,
};

struct format_image {
	struct csi_rpc rpc;
	enum format_image_state state;
	const Worker__FormatRequest *req;
	struct ceph_pool *pool;
	struct image_lookup lookup;
	struct image_meta_list list;
	struct image_empty empty;
	struct rados_notified notified;
	const char *was;   /* its mark */
	const char *begun; /* the mark of an mkfs of this image */
	bool again;        /* it has that: mkfs was begun before */
	struct rados_read *map_read;
	bool used_known;
	uint64_t used_bytes;
	struct kms_job key;
};

/* With the image's id, as f->begun has it. */
#define CURE                                                                   \
	"to lose what is in it set image-meta " VOLUME_META_FILESYSTEM         \
	" to \"%s\""

/* The pool of the image, or the one whose name of now is asked for. */
static int
open_asked(struct format_image *f, struct err *err)
{
	const Worker__FormatRequest *req = f->req;
	int rc;

	if (req->step != WORKER__FORMAT_REQUEST__STEP__POOL)
		return ceph_pool_open(controller.conn, req->pool,
		    req->rados_namespace, &f->pool, err);
	rc = ceph_connection_refresh(controller.conn, err);
	return rc < 0 ? rc
		      : ceph_pool_open_id(controller.conn, req->pool_id,
			    req->rados_namespace, &f->pool, err);
}

/* By its marks: may the image be formatted if it proves to be empty? */
static int
judge_marks(struct format_image *f, struct err *err)
{
	const char *mark = volume_meta_get(&f->list, VOLUME_META_FILESYSTEM);
	bool encrypted = volume_is_encrypted(&f->list);

	f->was = mark != NULL ? mark : "";
	f->begun = arena_fmt(
	    f->rpc.arena, VOLUME_UNFINISHED "%s", f->lookup.info.id);
	f->again = str_eq(f->was, f->begun);
	if (encrypted != (bool)f->req->luks)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "image %s is not formatted: it is %sencrypted",
		    f->req->image, encrypted ? "" : "not ");
	/*
	 * A clone that librbd has made has its source's mark: whether mkfs was
	 * at it when the snapshot was made nobody knows.
	 */
	if (!str_is_empty(f->was) && !str_starts(f->was, VOLUME_UNFINISHED))
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "image %s is not formatted: it has had %s, which is damaged or lost; " CURE,
		    f->req->image, f->was, f->begun);
	return 0;
}

/* Is what the image's metadata say of its encryption something to go by? */
static int
judge_state(const struct format_image *f, struct err *err)
{
	const char *state = volume_encryption(&f->list);

	if (str_eq(state, VOLUME_ENCRYPTED) ||
	    str_eq(state, VOLUME_ENCRYPTION_PREPARED))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
	    "image %s is to be an encrypted volume, and its image-meta " VOLUME_META_ENCRYPTED
	    " is %s%.40s: nothing tells what is in it",
	    f->req->image, *state == '\0' ? "missing" : "", state);
}

/* ENCRYPTED: what goes together, in one write. */
static void
set_encrypted_start(struct format_image *f)
{
	const struct cls_meta meta[] = {
		cls_meta_text(VOLUME_META_ENCRYPTED, VOLUME_ENCRYPTED),
		cls_meta_text(VOLUME_META_FILESYSTEM, f->req->fstype),
	};

	image_meta_set_start(f->pool, f->lookup.info.id, meta,
	    str_is_empty(f->req->fstype) ? 1 : 2, NULL, &f->rpc.op.wake);
}

/* As ceph-csi's, whole objects count: those that exist. */
static void
count_used(struct format_image *f)
{
	const struct image_info *info = &f->lookup.info;
	struct cls_object_map map;
	uint64_t objects = 0;

	f->used_known = image_map_take(f->map_read, info, &map);
	if (!f->used_known)
		return;
	for (uint64_t i = 0; (i = cls_object_map_next(&map, i)) < map.objects;
	     i++)
		objects++;
	f->used_bytes = objects << info->layout.order;
	if (f->used_bytes > info->size_bytes) /* the last one in part */
		f->used_bytes = info->size_bytes;
}

/*
 * By which address the node has it open; and ceph-csi's record of the user. A
 * successor of rbd-attachd has another address. Where it keeps an exclusive
 * lock, that one writes by the lock only, which whoever comes next breaks; else
 * the whole IP address has to be shut out.
 */
static void
record_begin(struct format_image *f)
{
	const Worker__FormatRequest *req = f->req;
	struct arena *arena = f->rpc.arena;
	bool exact = req->lasting ||
	    ((f->lookup.info.features & RBD_EXCLUSIVE_LOCK) != 0 &&
		!req->shared);
	const struct cls_meta meta[] = {
		cls_meta_text(arena_fmt(arena, VOLUME_META_ADDRESS "%s/%s",
				  req->volume_id, req->node_id),
		    volume_ip_of(arena, req->address)),
		cls_meta_text(arena_fmt(arena, VOLUME_META_CLIENT "%s/%s",
				  f->lookup.info.id, req->node_id),
		    exact ? req->address : ""),
		cls_meta_text(arena_fmt(arena, VOLUME_META_USER "%s/%s",
				  req->volume_id, req->node_id),
		    controller.conn->user),
	};

	image_meta_set_start(f->pool, f->lookup.info.id, meta,
	    countof(meta) - req->address_only, NULL, &f->rpc.op.wake);
}

/*
 * The node that asks has it open, so it is the one that answers. Two that open
 * it and then ask see each other, so at most one is told that it is alone. One
 * that is silent may be at work again at any moment.
 */
static int
judge_alone(const struct format_image *f, struct err *err)
{
	if (f->notified.acks == 1 && f->notified.timeouts == 0)
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
	    "image %s is open for writing by %u clients, of which %u do not answer",
	    f->req->image, f->notified.acks + f->notified.timeouts,
	    f->notified.timeouts);
}

static void
fill_format_reply(struct format_image *f)
{
	Worker__FormatReply *reply = csi_rpc_reply(&f->rpc);
	struct arena *arena = f->rpc.arena;

	reply->encrypted = str_eq(
	    volume_encryption(&f->list), VOLUME_ENCRYPTED);
	if (!secret_is_empty(&f->key.key))
		reply->key = arena_strdup(arena, f->key.key.text);
	reply->used_known = f->used_known;
	reply->used_bytes = f->used_bytes;
	reply->image_id = f->lookup.info.id;
	reply->again = f->again;
	reply->io_max = arena_strdup(arena, qos_io_max(&f->list, arena));
	reply->pool = arena_strdup(arena, ceph_pool_name(f->pool));
}

static enum op_verdict
format_key_step(struct format_image *f)
{
	struct op *op = &f->rpc.op;
	struct err err = ERR_INIT;

	if (f->state == FORMAT_KEY_GOT)
		return op->rc < 0 ? op_fail_as(f, FORMAT_END, key)
				  : op_goto(f, FORMAT_ANSWER);
	if (judge_state(f, &err) < 0)
		return op_fail_err(f, FORMAT_END, &err);
	f->key = (struct kms_job){
		.rpc = &f->rpc,
		.kms_id = f->req->kms_id,
		.volume_id = f->req->volume_id,
		.text = volume_dek(&f->list),
	};
	kms_job_start(&f->key, false, &op->wake);
	return op_await(f, FORMAT_KEY_GOT);
}

static enum op_verdict
format_image_step(struct op *op)
{
	struct format_image *f = (struct format_image *)op;
	const struct image_info *info = &f->lookup.info;
	struct cls_meta mark;
	enum watch_verdict verdict;
	struct err err = ERR_INIT;
	int rc;

	switch (f->state) {
	case FORMAT_START:
		f->req = f->rpc.request;
		if (open_asked(f, &err) < 0)
			return op_fail_err(f, FORMAT_END, &err);
		if (f->req->step == WORKER__FORMAT_REQUEST__STEP__POOL)
			return op_goto(f, FORMAT_ANSWER);
		image_lookup_start(&f->lookup, f->pool, f->req->image,
		    str_is_empty(f->req->image_id) ? NULL : f->req->image_id,
		    false, &op->wake);
		return op_await(f, FORMAT_FOUND);

	case FORMAT_FOUND:
		if (op->rc < 0)
			return op_fail_as(f, FORMAT_END, lookup.op);
		if (image_header_check(info, &err) < 0)
			return op_fail_err(f, FORMAT_END, &err);
		if (f->req->step == WORKER__FORMAT_REQUEST__STEP__USAGE) {
			f->map_read = info->parent.pool >= 0
			    ? NULL
			    : image_map_read_start(
				  f->pool, info, RBD_NOSNAP, &op->wake);
			return f->map_read != NULL
			    ? op_await(f, FORMAT_MAP_READ)
			    : op_goto(f, FORMAT_ANSWER);
		}
		if (f->req->step == WORKER__FORMAT_REQUEST__STEP__ENCRYPTED) {
			set_encrypted_start(f);
			return op_await(f, FORMAT_MARKED);
		}
		if (f->req->step == WORKER__FORMAT_REQUEST__STEP__BEGIN ||
		    f->req->step == WORKER__FORMAT_REQUEST__STEP__KEY ||
		    f->req->step == WORKER__FORMAT_REQUEST__STEP__LIMITS) {
			image_meta_list_start(
			    &f->list, f->pool, info->id, 0, &op->wake);
			return op_await(f, FORMAT_META_READ);
		}
		if (f->req->step == WORKER__FORMAT_REQUEST__STEP__RECORD) {
			record_begin(f);
			return op_await(f, FORMAT_MARKED);
		}
		if (f->req->step == WORKER__FORMAT_REQUEST__STEP__ALONE)
			return op_goto(f, FORMAT_ALLOWED);
		mark = cls_meta_text(VOLUME_META_FILESYSTEM, f->req->fstype);
		image_meta_set_start(
		    f->pool, info->id, &mark, 1, NULL, &op->wake);
		return op_await(f, FORMAT_MARKED);

	case FORMAT_META_READ:
		if (op->rc < 0)
			return op_fail_as(f, FORMAT_END, list);
		if (f->req->step == WORKER__FORMAT_REQUEST__STEP__LIMITS)
			return op_goto(f, FORMAT_ANSWER);
		if (f->req->step == WORKER__FORMAT_REQUEST__STEP__KEY)
			return op_goto(f, FORMAT_KEY_READ);
		if (judge_marks(f, &err) < 0)
			return op_fail_err(f, FORMAT_END, &err);
		if (f->again)
			return op_goto(f, FORMAT_ALLOWED);
		image_empty_start(&f->empty, f->pool, info, &op->wake);
		return op_await(f, FORMAT_SEARCHED);

	case FORMAT_SEARCHED:
		if (op->rc < 0)
			return op_fail_as(f, FORMAT_END, empty.op);
		if (f->empty.why[0] != '\0')
			return op_fail(f, FORMAT_END, ERR_FAILED_PRECONDITION,
			    "image %s is not formatted: %s; " CURE,
			    f->req->image, f->empty.why, f->begun);
		return op_goto(f, FORMAT_ALLOWED);

	case FORMAT_ALLOWED:
		watch_header_update_start(
		    f->pool, info->id, &f->notified, &op->wake);
		return op_await(f, FORMAT_WATCHED);

	case FORMAT_WATCHED:
		rc = watch_judge(op->rc, &f->notified, &verdict);
		if (rc < 0)
			return op_fail_rc(f, FORMAT_END, rc,
			    "find out whether image %s is in use",
			    f->req->image);
		if (f->req->step == WORKER__FORMAT_REQUEST__STEP__ALONE)
			return judge_alone(f, &err) < 0
			    ? op_fail_err(f, FORMAT_END, &err)
			    : op_goto(f, FORMAT_ANSWER);
		/*
		 * The node that asks has it open itself. A second client may
		 * have mounted, or be about to format it as well. One that
		 * does not answer has died; a node that is cut off and comes
		 * back is what ControllerPublishVolume is for.
		 */
		if (f->notified.acks > 1)
			return op_fail(f, FORMAT_END, ERR_FAILED_PRECONDITION,
			    "image %s is not formatted: %u clients have it open",
			    f->req->image, f->notified.acks);
		if (op->detached)
			return op_fail(
			    f, FORMAT_END, ERR_CANCELLED, "the caller is gone");
		if (f->again)
			return op_goto(f, FORMAT_ANSWER);
		mark = cls_meta_text(VOLUME_META_FILESYSTEM, f->begun);
		image_meta_set_start(
		    f->pool, info->id, &mark, 1, f->was, &op->wake);
		return op_await(f, FORMAT_MARKED);

	case FORMAT_MARKED:
		if (op->rc == -ECANCELED)
			return op_fail(f, FORMAT_END, ERR_ABORTED,
			    "image %s is being formatted by somebody else",
			    f->req->image);
		if (op->rc < 0)
			return op_fail_rc(f, FORMAT_END, op->rc,
			    "set metadata of image %s", f->req->image);
		return op_goto(f, FORMAT_ANSWER);

	case FORMAT_MAP_READ:
		count_used(f);
		rados_read_drop(&f->map_read);
		return op_goto(f, FORMAT_ANSWER);

	case FORMAT_KEY_READ:
	case FORMAT_KEY_GOT:
		return format_key_step(f);

	case FORMAT_ANSWER:
		fill_format_reply(f);
		return op_goto(f, FORMAT_END);

	case FORMAT_END:
		kms_job_fini(&f->key);
		image_meta_list_fini(&f->list);
		return OP_DONE;
	}
	abort();
}

static const struct op_class format_image_class = {
	.name = "Format",
	.step = format_image_step,
};

const struct csi_impl format_image_impl = {
	.cls = &format_image_class,
	.size = sizeof(struct format_image),
};
