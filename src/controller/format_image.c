/*
 * format_image.c - what a node asks before and after mkfs. BEGIN: may this
 * image be formatted, and if so, mark it; END: it has a file system now.
 *
 * The rule that holds it together: an image without a mark is formatted only
 * if it is proven to hold nothing; the mark "unfinished", which is written
 * before mkfs starts, is the only thing that lets an image with data be
 * formatted, and it is replaced, for ever, before anybody mounts the file
 * system; see docs/JOURNAL.md.
 */
#include "controller/controller.h"
#include "controller/volume.h"

#include "ceph/image.h"
#include "worker.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum format_image_state {
	FORMAT_START = 0,
	FORMAT_FOUND,     /* the image's header has been read */
	FORMAT_META_READ, /* its marks are known */
	FORMAT_SEARCHED,  /* whether it holds anything */
	FORMAT_WATCHED,   /* who has it open */
	FORMAT_MARKED,    /* the mark has been written */
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
	bool again; /* mkfs was begun before */
};

#define CURE                                                                   \
	"to lose what is in it set image-meta " VOLUME_META_FILESYSTEM         \
	" to " VOLUME_UNFINISHED

static enum op_verdict
answer(struct format_image *f)
{
	Worker__FormatReply *reply = csi_new(
	    &worker__format_reply__descriptor, f->rpc.arena);

	reply->image_id = f->lookup.info.id;
	reply->again = f->again;
	reply->pool = arena_strdup(f->rpc.arena, ceph_pool_name(f->pool));
	f->rpc.reply = reply;
	return op_goto(f, FORMAT_END);
}

static enum op_verdict
start(struct format_image *f)
{
	struct err err = ERR_INIT;
	int rc;

	f->req = f->rpc.request;
	if (f->req->step == WORKER__FORMAT_REQUEST__STEP__POOL) {
		rc = ceph_connection_refresh(controller_connection(), &err);
		if (rc == 0)
			rc = ceph_pool_open_id(controller_connection(),
			    f->req->pool_id, f->req->rados_namespace, &f->pool,
			    &err);
	} else {
		rc = ceph_pool_open(controller_connection(), f->req->pool,
		    f->req->rados_namespace, &f->pool, &err);
	}
	if (rc < 0)
		return op_fail_err(f, FORMAT_END, &err);
	if (f->req->step == WORKER__FORMAT_REQUEST__STEP__POOL)
		return answer(f);
	image_lookup_start(&f->lookup, f->pool, f->req->image,
	    str_is_empty(f->req->image_id) ? NULL : f->req->image_id, false,
	    &f->rpc.op.wake);
	return op_await(f, FORMAT_FOUND);
}

static enum op_verdict
found(struct format_image *f)
{
	struct cls_meta mark = { .key = VOLUME_META_FILESYSTEM };
	struct err err = ERR_INIT;

	if (f->rpc.op.rc < 0)
		return op_fail_err(f, FORMAT_END, &f->lookup.op.err);
	if (image_header_check(&f->lookup.info, &err) < 0)
		return op_fail_err(f, FORMAT_END, &err);
	if (f->req->step == WORKER__FORMAT_REQUEST__STEP__BEGIN) {
		image_meta_list_start(
		    &f->list, f->pool, f->lookup.info.id, &f->rpc.op.wake);
		return op_await(f, FORMAT_META_READ);
	}
	mark.value = f->req->fstype;
	mark.len = strlen(f->req->fstype);
	image_meta_set_start(
	    f->pool, f->lookup.info.id, &mark, 1, &f->rpc.op.wake);
	return op_await(f, FORMAT_MARKED);
}

static enum op_verdict
refuse(struct format_image *f, const char *why)
{
	return op_fail(f, FORMAT_END, ERR_FAILED_PRECONDITION,
	    "image %s is not formatted: %s; " CURE, f->req->image, why);
}

static enum op_verdict
watch(struct format_image *f)
{
	watch_header_update_start(
	    f->pool, f->lookup.info.id, &f->notified, &f->rpc.op.wake);
	return op_await(f, FORMAT_WATCHED);
}

static enum op_verdict
meta_read(struct format_image *f)
{
	const char *mark;
	bool encrypted;

	if (f->rpc.op.rc < 0)
		return op_fail_err(f, FORMAT_END, &f->list.err);
	mark = volume_meta_get(&f->list, VOLUME_META_FILESYSTEM);
	if (mark != NULL)
		mark = arena_strdup(f->rpc.arena, mark);
	encrypted = volume_is_encrypted(&f->list);
	image_meta_list_fini(&f->list);
	/* A clone has its source's mark, and perhaps an older snapshot's data. */
	if (encrypted || f->lookup.info.parent.pool >= 0)
		return op_fail(f, FORMAT_END, ERR_FAILED_PRECONDITION,
		    "image %s is not formatted: it is %s", f->req->image,
		    encrypted ? "encrypted" : "a clone");
	f->again = str_eq(mark, VOLUME_UNFINISHED);
	if (!f->again && !str_is_empty(mark))
		return refuse(f,
		    arena_fmt(f->rpc.arena,
			"it has had %s, which is damaged or lost", mark));
	if (f->again)
		return watch(f);
	image_empty_start(&f->empty, f->pool, &f->lookup.info, &f->rpc.op.wake);
	return op_await(f, FORMAT_SEARCHED);
}

/*
 * The node that asks has it open itself. A second client may have mounted, or
 * be about to format it as well. One that does not answer has died; a node
 * that is cut off and comes back is what ControllerPublishVolume is for.
 */
static enum op_verdict
watched(struct format_image *f)
{
	static const struct cls_meta mark = {
		.key = VOLUME_META_FILESYSTEM,
		.value = VOLUME_UNFINISHED,
		.len = sizeof(VOLUME_UNFINISHED) - 1,
	};
	enum watch_verdict verdict;
	int rc = watch_judge(f->rpc.op.rc, &f->notified, &verdict);

	if (rc < 0)
		return op_fail_rc(f, FORMAT_END, rc,
		    "find out whether image %s is in use", f->req->image);
	if (f->notified.acks > 1)
		return op_fail(f, FORMAT_END, ERR_FAILED_PRECONDITION,
		    "image %s is not formatted: %u clients have it open",
		    f->req->image, f->notified.acks);
	if (f->rpc.op.detached)
		return op_fail(
		    f, FORMAT_END, ERR_CANCELLED, "the caller is gone");
	if (f->again)
		return answer(f);
	image_meta_add_start(
	    f->pool, f->lookup.info.id, &mark, &f->rpc.op.wake);
	return op_await(f, FORMAT_MARKED);
}

static enum op_verdict
marked(struct format_image *f)
{
	if (f->rpc.op.rc == -ECANCELED)
		return op_fail(f, FORMAT_END, ERR_ABORTED,
		    "image %s is being formatted by somebody else",
		    f->req->image);
	if (f->rpc.op.rc < 0)
		return op_fail_rc(f, FORMAT_END, f->rpc.op.rc,
		    "set image-meta " VOLUME_META_FILESYSTEM " of image %s",
		    f->req->image);
	return answer(f);
}

static enum op_verdict
format_image_step(struct op *op)
{
	struct format_image *f = (struct format_image *)op;

	switch (f->state) {
	case FORMAT_START:
		return start(f);
	case FORMAT_FOUND:
		return found(f);
	case FORMAT_META_READ:
		return meta_read(f);
	case FORMAT_SEARCHED:
		if (op->rc < 0)
			return op_fail_err(f, FORMAT_END, &f->empty.op.err);
		return f->empty.why[0] != '\0' ? refuse(f, f->empty.why)
					       : watch(f);
	case FORMAT_WATCHED:
		return watched(f);
	case FORMAT_MARKED:
		return marked(f);
	case FORMAT_END:
		return OP_DONE;
	}
	abort();
}

static void
format_image_free(struct op *op)
{
	struct format_image *f = (struct format_image *)op;

	image_meta_list_fini(&f->list);
}

static const struct op_class format_image_class = {
	.name = "Format",
	.step = format_image_step,
	.end = format_image_free,
};

const struct csi_impl format_image_impl = {
	.cls = &format_image_class,
	.size = sizeof(struct format_image),
};
