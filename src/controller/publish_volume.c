/*
 * publish_volume.c - ControllerPublishVolume: is the volume there, may this
 * node have it, who has it, and how does the node find it.
 *
 * The rule that holds it together: a node has a volume from the moment its
 * record is in the image's metadata. Two records are written at once: ours
 * (VOLUME_META_PUBLISHED), by which we decide, and ceph-csi's userid, so that
 * ceph-csi finds what it expects (docs/JOURNAL.md).
 */
#include "controller/controller.h"
#include "controller/volume.h"

#include "ceph/image.h"
#include "csi.pb-c.h"
#include "csi/caps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum publish_volume_state {
	PUBLISHVOL_START = 0,
	PUBLISHVOL_FOUND,         /* the volume and its image are there */
	PUBLISHVOL_META_READ,     /* the nodes that have it are known */
	PUBLISHVOL_WATCH_CHECKED, /* whether anybody has the image open */
	PUBLISHVOL_RECORDED,      /* this node is recorded */
	PUBLISHVOL_END,
};

struct publish_volume {
	struct csi_rpc rpc;
	enum publish_volume_state state;
	const Csi__V1__ControllerPublishVolumeRequest *req;
	struct csi_map context;
	struct csi_access access;
	struct volume_lookup volume;
	struct image_meta_list list;
	struct rados_notified notified;

	/* what was found */
	struct ceph_pool *pool;
	const char *image, *image_id;
	const char *account;      /* service accounts that may use it */
	const char *holder;       /* another node that has it, in the way */
	const char *maybe_holder; /* another node that staged it once */
};

#define MODE(name) CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__##name

static bool
writes(const struct publish_volume *p)
{
	return !p->req->readonly && !p->access.read_only;
}

static void
put(struct publish_volume *p, Csi__V1__ControllerPublishVolumeResponse *reply,
    const char *key, const char *value)
{
	if (!str_is_empty(value))
		volume_map_put(p->rpc.arena,
		    &csi__v1__controller_publish_volume_response__publish_context_entry__descriptor,
		    &reply->publish_context, &reply->n_publish_context, key,
		    value);
}

static enum op_verdict
answer(struct publish_volume *p)
{
	struct ceph_connection *conn = controller_connection();
	Csi__V1__ControllerPublishVolumeResponse *reply = csi_new(
	    &csi__v1__controller_publish_volume_response__descriptor,
	    p->rpc.arena);

	put(p, reply, "monitors", p->rpc.env->monitors);
	put(p, reply, "pool", ceph_pool_name(p->pool));
	put(p, reply, "radosNamespace", p->pool->rados_namespace);
	put(p, reply, "image", p->image);
	put(p, reply, "imageId", p->image_id);
	put(p, reply, "userID", conn->user);
	put(p, reply, "clusterFsid", conn->fsid);
	put(p, reply, "serviceAccount", p->account);
	/* The node is held to it: others may have the volume for writing. */
	if (p->access.mode == MODE(MULTI_NODE_SINGLE_WRITER) && !writes(p))
		put(p, reply, "readOnly", "true");
	p->rpc.reply = reply;
	return op_goto(p, PUBLISHVOL_END);
}

static enum op_verdict
start(struct publish_volume *p)
{
	const char *node = p->rpc.env->node_id;
	struct err err = ERR_INIT;

	p->req = p->rpc.request;
	p->context = csi_map_of(p->req, volume_context);
	p->access = p->rpc.in->access;
	if (csi_access_supported(&p->access, "volume_capability", &err) < 0)
		return op_fail_err(p, PUBLISHVOL_END, &err);
	/* A driver that serves one node itself knows that node only. */
	if (!str_is_empty(node) && !str_eq(node, p->req->node_id))
		return op_fail(p, PUBLISHVOL_END, ERR_NOT_FOUND,
		    "node %s: this driver serves node %s only", p->req->node_id,
		    node);
	volume_lookup_start(
	    &p->volume, &p->rpc, p->req->volume_id, &p->context);
	return op_await(p, PUBLISHVOL_FOUND);
}

/* ---- who has it ---- */

/*
 * What is recorded of a node: "rw" or "ro", and behind a blank the mode if it
 * lets several nodes have the volume: whoever comes next is judged by it.
 */
static const char *
record_text(const struct publish_volume *p)
{
	return arena_fmt(p->rpc.arena, "%s%s%s", writes(p) ? "rw" : "ro",
	    p->access.multi_node ? " " : "",
	    p->access.multi_node ? csi_access_mode_name(p->access.mode) : "");
}

/* Is a record of this node what is asked for? Older ones have no mode. */
static bool
is_same(const struct publish_volume *p, const char *text)
{
	return strchr(text, ' ') != NULL
	    ? str_eq(text, record_text(p))
	    : str_eq(text, writes(p) ? "rw" : "ro");
}

/* May this node not have the volume while another one has it like that? */
static bool
excludes(const struct publish_volume *p, const char *text)
{
	const char *blank = strchr(text, ' ');
	Csi__V1__VolumeCapability__AccessMode__Mode theirs = MODE(UNKNOWN);
	bool they_write = str_starts(text, "rw");

	if (blank != NULL)
		theirs = csi_access_mode_of(blank + 1);
	if (!p->access.multi_node)
		return true;
	if (they_write && p->access.mode == MODE(MULTI_NODE_READER_ONLY))
		return true;
	if (!writes(p))
		return false;
	return theirs == MODE(MULTI_NODE_READER_ONLY) ||
	    (they_write &&
		(theirs == MODE(MULTI_NODE_SINGLE_WRITER) ||
		    p->access.mode == MODE(MULTI_NODE_SINGLE_WRITER)));
}

/*
 * Goes through the records. Sets holder and maybe_holder, and returns this
 * node's own record or NULL.
 */
static const char *
judge_records(struct publish_volume *p)
{
	const char *node = p->req->node_id, *own = NULL;
	const char *user = arena_fmt(
	    p->rpc.arena, VOLUME_META_USER "%s/", p->req->volume_id);

	for (size_t i = 0; i < p->list.n; i++) {
		const struct cls_meta *meta = &p->list.meta[i];
		const char *of;

		if (str_eq(meta->key, VOLUME_META_ACCOUNT)) {
			p->account = arena_strdup(p->rpc.arena, meta->value);
		} else if (str_starts(meta->key, VOLUME_META_PUBLISHED)) {
			of = meta->key + strlen(VOLUME_META_PUBLISHED);
			if (str_eq(of, node))
				own = arena_strdup(p->rpc.arena, meta->value);
			else if (excludes(p, meta->value))
				p->holder = arena_fmt(p->rpc.arena, "%s as %s",
				    of, (const char *)meta->value);
		} else if (str_starts(meta->key, user)) {
			of = meta->key + strlen(user);
			if (!str_eq(of, node))
				p->maybe_holder = arena_strdup(
				    p->rpc.arena, of);
		}
	}
	image_meta_list_fini(&p->list);
	return own;
}

static enum op_verdict
record(struct publish_volume *p)
{
	const char *user = controller_connection()->user;
	const char *mode = record_text(p);
	struct cls_meta meta[2] = {
		{
		    .key = arena_fmt(p->rpc.arena, VOLUME_META_PUBLISHED "%s",
			p->req->node_id),
		    .value = mode,
		    .len = strlen(mode),
		},
		{
		    .key = arena_fmt(p->rpc.arena, VOLUME_META_USER "%s/%s",
			p->req->volume_id, p->req->node_id),
		    .value = user,
		    .len = strlen(user),
		},
	};

	if (p->rpc.op.detached)
		return op_fail(
		    p, PUBLISHVOL_END, ERR_CANCELLED, "the caller is gone");
	image_meta_set_start(
	    p->pool, p->image_id, meta, countof(meta), &p->rpc.op.wake);
	return op_await(p, PUBLISHVOL_RECORDED);
}

static enum op_verdict
refuse(struct publish_volume *p, const char *node)
{
	return op_fail(p, PUBLISHVOL_END, ERR_FAILED_PRECONDITION,
	    "volume %s is published to node %s, which excludes %s as %s",
	    p->req->volume_id, node, p->req->node_id, record_text(p));
}

static enum op_verdict
judge_meta(struct publish_volume *p)
{
	const char *own;

	if (p->rpc.op.rc < 0)
		return op_fail_err(p, PUBLISHVOL_END, &p->list.err);
	if (volume_is_encrypted(&p->list))
		return op_fail(p, PUBLISHVOL_END, ERR_UNIMPLEMENTED,
		    "volume %s: image %s is encrypted, which this driver "
		    "cannot stage",
		    p->req->volume_id, p->image);
	own = judge_records(p);
	if (p->holder != NULL)
		return refuse(p, p->holder);
	if (own != NULL && !is_same(p, own))
		return op_fail(p, PUBLISHVOL_END, ERR_ALREADY_EXISTS,
		    "volume %s is published to node %s as %s, not as %s",
		    p->req->volume_id, p->req->node_id, own, record_text(p));
	if (own != NULL)
		return answer(p);
	if (p->maybe_holder != NULL &&
	    (!p->access.multi_node || (writes(p) && !p->access.multi_writer))) {
		/* Left behind by ceph-csi, or does that node still use it? */
		watch_header_update_start(
		    p->pool, p->image_id, &p->notified, &p->rpc.op.wake);
		return op_await(p, PUBLISHVOL_WATCH_CHECKED);
	}
	return record(p);
}

static enum op_verdict
judge_watch(struct publish_volume *p)
{
	enum watch_verdict verdict;
	int rc = watch_judge(p->rpc.op.rc, &p->notified, &verdict);

	if (rc < 0)
		return op_fail_rc(p, PUBLISHVOL_END, rc,
		    "find out whether image %s is in use", p->image);
	return verdict == WATCH_NONE ? record(p) : refuse(p, p->maybe_holder);
}

static enum op_verdict
publish_volume_step(struct op *op)
{
	struct publish_volume *p = (struct publish_volume *)op;
	struct err err = ERR_INIT;

	switch (p->state) {
	case PUBLISHVOL_START:
		return start(p);

	case PUBLISHVOL_FOUND:
		if (op->rc < 0)
			return op_fail_err(
			    p, PUBLISHVOL_END, &p->volume.op.err);
		p->pool = p->volume.pool;
		p->image = p->volume.image;
		p->image_id = p->volume.info->id;
		if (image_header_check(p->volume.info, &err) < 0)
			return op_fail_err(p, PUBLISHVOL_END, &err);
		/*
		 * Of a static volume nothing is recorded: unpublishing could
		 * not find the record, since it is not told the pool.
		 */
		if (p->volume.is_static)
			return answer(p);
		image_meta_list_start(
		    &p->list, p->pool, p->image_id, &op->wake);
		return op_await(p, PUBLISHVOL_META_READ);

	case PUBLISHVOL_META_READ:
		return judge_meta(p);

	case PUBLISHVOL_WATCH_CHECKED:
		return judge_watch(p);

	case PUBLISHVOL_RECORDED:
		if (op->rc == -ENOENT)
			return op_fail(p, PUBLISHVOL_END, ERR_NOT_FOUND,
			    "volume %s: its image has just been removed",
			    p->req->volume_id);
		if (op->rc < 0)
			return op_fail_rc(p, PUBLISHVOL_END, op->rc,
			    "record node %s on image %s in %s", p->req->node_id,
			    p->image, ceph_pool_label(p->pool));
		return answer(p);

	case PUBLISHVOL_END:
		return OP_DONE;
	}
	abort();
}

static void
publish_volume_free(struct op *op)
{
	struct publish_volume *p = (struct publish_volume *)op;

	image_meta_list_fini(&p->list);
}

static const struct op_class publish_volume_class = {
	.name = "ControllerPublishVolume",
	.step = publish_volume_step,
	.end = publish_volume_free,
};

const struct csi_impl publish_volume_impl = {
	.cls = &publish_volume_class,
	.size = sizeof(struct publish_volume),
};
