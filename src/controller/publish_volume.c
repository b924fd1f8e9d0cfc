/*
 * publish_volume.c - ControllerPublishVolume: is the volume there, may this
 * node have it, who has it, and how does the node find it.
 *
 * The rule that holds it together: a node has a volume from the moment its
 * record is in the image's metadata. Two records are written at once: ours
 * (VOLUME_META_PUBLISHED), by which we decide, and ceph-csi's userid, so that
 * ceph-csi finds what it expects (docs/JOURNAL.md). With cephxPerVolume the
 * node gets a user of its own after that, each time that it is published to.
 */
#include "controller/controller.h"
#include "controller/qos.h"
#include "controller/volume_user.h"

#include "csi.pb-c.h"
#include "csi/caps.h"
#include "csi/encryption.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum publish_volume_state {
	PUBLISHVOL_START = 0,
	PUBLISHVOL_FOUND,         /* the volume and its image are there */
	PUBLISHVOL_META_READ,     /* the nodes that have it are known */
	PUBLISHVOL_WATCH_CHECKED, /* whether anybody has the image open */
	PUBLISHVOL_ALLOWED,       /* this node may have it */
	PUBLISHVOL_RECORDED,      /* and is recorded */
	PUBLISHVOL_HELD,          /* this node has it */
	PUBLISHVOL_GRANTED,       /* and a user of its own for it */
	PUBLISHVOL_ANSWER,
	PUBLISHVOL_END,
};

struct publish_volume {
	struct csi_rpc rpc;
	enum publish_volume_state state;
	const Csi__V1__ControllerPublishVolumeRequest *req;
	struct csi_map context;
	const struct csi_access *access;
	bool writes;
	bool own_user;      /* cephxPerVolume */
	const char *record; /* of this node, as it is to be */
	struct volume_lookup volume;
	struct image_meta_list list;
	struct rados_notified notified;
	struct user_grant grant;

	/* what was found; strings are in the list */
	const char *image_id;
	const char *own;          /* this node's record, or NULL */
	const char *account;      /* service accounts that may use it */
	const char *holder;       /* another node that has it, in the way */
	const char *maybe_holder; /* another node that staged it once */
};

#define EXCLUDED "volume %s is published to node %s, which excludes %s as %s"

#define MODE(name) CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__##name

static void
fill_publish_reply(struct publish_volume *p)
{
	void *reply = csi_rpc_reply(&p->rpc);
	const struct {
		const char *key, *value;
	} context[] = {
		{ "monitors", p->rpc.env->monitors },
		{ "pool", ceph_pool_name(p->volume.pool) },
		{ "radosNamespace", p->volume.pool->rados_namespace },
		{ "image", p->volume.image },
		{ "imageId", p->image_id },
		{ "userID",
		    p->own_user ? p->grant.user : controller.conn->user },
		{ CSI_USER_KEY, p->grant.key.text },
		{ "clusterFsid", controller.conn->fsid },
		/* only where it is not what the handle says */
		{ "clusterID",
		    p->rpc.env->is_mapped ? p->rpc.env->cluster_id : NULL },
		{ "serviceAccount", p->account },
		{ "ioMax", qos_io_max(&p->list, p->rpc.arena) },
		/* held to by the node: others may have it for writing */
		{ "readOnly",
		    p->access->mode == MODE(MULTI_NODE_SINGLE_WRITER) &&
			    !p->writes
			? "true"
			: NULL },
	};

	for (size_t i = 0; i < countof(context); i++)
		if (!str_is_empty(context[i].value))
			volume_map_put(p->rpc.arena, reply, "publish_context",
			    context[i].key,
			    arena_strdup(p->rpc.arena, context[i].value));
}

static int
read_publish_request(struct publish_volume *p, struct err *err)
{
	const char *node = p->rpc.env->node_id;

	p->req = p->rpc.request;
	p->context = csi_map_of(p->req, volume_context);
	p->access = &p->rpc.in->access;
	if (csi_access_supported(p->access, "volume_capability", err) < 0)
		return err->rc;
	/* A driver that serves one node itself knows that node only. */
	if (!str_is_empty(node) && !str_eq(node, p->req->node_id))
		return err_set(err, ERR_NOT_FOUND,
		    "node %s: this driver serves node %s only", p->req->node_id,
		    node);
	if (csi_map_bool(&p->context, "volume_context", CSI_CEPHX_PER_VOLUME,
		&p->own_user, err) < 0)
		return err->rc;
	p->writes = !p->req->readonly && !p->access->read_only;
	/*
	 * "rw" or "ro", and behind a blank the mode if it lets several nodes
	 * have the volume: whoever comes next is judged by it.
	 */
	p->record = arena_fmt(p->rpc.arena, "%s%s%s", p->writes ? "rw" : "ro",
	    p->access->multi_node ? " " : "",
	    p->access->multi_node ? csi_access_mode_name(p->access->mode) : "");
	return 0;
}

/* ---- who has it ---- */

/* May this node not have the volume while another one has it like that? */
static bool
excludes(const struct publish_volume *p, const char *text)
{
	const char *blank = strchr(text, ' ');
	Csi__V1__VolumeCapability__AccessMode__Mode theirs = MODE(UNKNOWN);
	bool they_write = str_starts(text, "rw");

	if (blank != NULL)
		theirs = csi_access_mode_of(blank + 1);
	if (!p->access->multi_node)
		return true;
	if (they_write && p->access->mode == MODE(MULTI_NODE_READER_ONLY))
		return true;
	if (!p->writes)
		return false;
	return theirs == MODE(MULTI_NODE_READER_ONLY) ||
	    (they_write &&
		(theirs == MODE(MULTI_NODE_SINGLE_WRITER) ||
		    p->access->mode == MODE(MULTI_NODE_SINGLE_WRITER)));
}

/* Takes account, own, holder and maybe_holder from the metadata. */
static void
take_records(struct publish_volume *p)
{
	const char *node = p->req->node_id;
	const char *user = arena_fmt(
	    p->rpc.arena, VOLUME_META_USER "%s/", p->req->volume_id);
	const char *published = volume_meta_published(
	    p->rpc.arena, p->image_id, "");

	for (size_t i = 0; i < p->list.n; i++) {
		const char *key = p->list.meta[i].key;
		const char *value = p->list.meta[i].value;
		const char *of;

		if (str_eq(key, VOLUME_META_ACCOUNT)) {
			p->account = value;
		} else if (str_starts(key, published)) {
			of = key + strlen(published);
			if (str_eq(of, node))
				p->own = value;
			else if (excludes(p, value))
				p->holder = arena_fmt(
				    p->rpc.arena, "%s as %s", of, value);
		} else if (str_starts(key, user)) {
			of = key + strlen(user);
			if (!str_eq(of, node))
				p->maybe_holder = of;
		}
	}
}

/* By the records: may this node have it, as far as they tell? */
static int
judge_records(const struct publish_volume *p, struct err *err)
{
	const char *volume_id = p->req->volume_id;
	bool same;

	if (p->holder != NULL)
		return err_set(err, ERR_FAILED_PRECONDITION, EXCLUDED,
		    volume_id, p->holder, p->req->node_id, p->record);
	if (p->own == NULL)
		return 0;
	/* Older records have no mode. */
	same = strchr(p->own, ' ') != NULL
	    ? str_eq(p->own, p->record)
	    : str_eq(p->own, p->writes ? "rw" : "ro");
	if (!same)
		return err_set(err, ERR_ALREADY_EXISTS,
		    "volume %s is published to node %s as %s, not as %s",
		    volume_id, p->req->node_id, p->own, p->record);
	return 0;
}

static void
record_start(struct publish_volume *p)
{
	const char *node = p->req->node_id;
	const char *user = controller.conn->user;
	char hash[AUTH_NODE_SIZE], own[AUTH_USER_SIZE];
	struct cls_meta meta[2];

	if (p->own_user) {
		auth_node_fmt(hash, node);
		auth_user_fmt(own, p->rpc.in->id.uuid, hash);
		user = arena_strdup(p->rpc.arena, own);
	}
	meta[0] = cls_meta_text(
	    volume_meta_published(p->rpc.arena, p->image_id, node), p->record);
	meta[1] = cls_meta_text(
	    arena_fmt(p->rpc.arena, VOLUME_META_USER "%s/%s", p->req->volume_id,
		node),
	    user);
	image_meta_set_start(p->volume.pool, p->image_id, meta, countof(meta),
	    NULL, &p->rpc.op.wake);
}

static enum op_verdict
publish_volume_step(struct op *op)
{
	struct publish_volume *p = (struct publish_volume *)op;
	const struct volume_lookup *v = &p->volume;
	const Csi__V1__ControllerPublishVolumeRequest *req = p->rpc.request;
	struct csi_encryption encryption = { .luks = false };
	enum watch_verdict verdict;
	struct err err = ERR_INIT;
	int rc;

	switch (p->state) {
	case PUBLISHVOL_START:
		if (read_publish_request(p, &err) < 0)
			return op_fail_err(p, PUBLISHVOL_END, &err);
		volume_lookup_start(&p->volume, &p->rpc, req->volume_id,
		    &p->context, &op->wake);
		return op_await(p, PUBLISHVOL_FOUND);

	case PUBLISHVOL_FOUND:
		if (op->rc < 0)
			return op_fail_err(p, PUBLISHVOL_END, &v->op.err);
		p->image_id = v->info->id;
		if (image_header_check(v->info, &err) < 0)
			return op_fail_err(p, PUBLISHVOL_END, &err);
		/*
		 * Of a static volume nothing is recorded: unpublishing could
		 * not find the record, since it is not told the pool.
		 */
		if (v->is_static && p->own_user)
			return op_fail(p, PUBLISHVOL_END, ERR_INVALID_ARGUMENT,
			    "volume_context." CSI_CEPHX_PER_VOLUME
			    ": volume %s is static, and would keep its users for ever",
			    req->volume_id);
		if (v->is_static)
			return op_goto(p, PUBLISHVOL_ANSWER);
		image_meta_list_start(
		    &p->list, v->pool, p->image_id, 0, &op->wake);
		return op_await(p, PUBLISHVOL_META_READ);

	case PUBLISHVOL_META_READ:
		if (op->rc < 0)
			return op_fail_as(p, PUBLISHVOL_END, list);
		/* The definition's check has read it, too. */
		(void)!csi_encryption_get(&p->context, &encryption, &err);
		if (volume_is_encrypted(&p->list) != encryption.luks)
			return op_fail(p, PUBLISHVOL_END,
			    ERR_FAILED_PRECONDITION,
			    "volume %s: image %s is %sencrypted, and volume_context.encrypted says otherwise",
			    req->volume_id, v->image,
			    volume_is_encrypted(&p->list) ? "" : "not ");
		take_records(p);
		if (judge_records(p, &err) < 0)
			return op_fail_err(p, PUBLISHVOL_END, &err);
		if (p->own != NULL)
			return op_goto(p, PUBLISHVOL_HELD);
		if (p->maybe_holder == NULL ||
		    (p->access->multi_node &&
			(!p->writes || p->access->multi_writer)))
			return op_goto(p, PUBLISHVOL_ALLOWED);
		/* Left behind by ceph-csi, or does that node still use it? */
		watch_header_update_start(
		    v->pool, p->image_id, &p->notified, &op->wake);
		return op_await(p, PUBLISHVOL_WATCH_CHECKED);

	case PUBLISHVOL_WATCH_CHECKED:
		rc = watch_judge(op->rc, &p->notified, &verdict);
		if (rc < 0)
			return op_fail_rc(p, PUBLISHVOL_END, rc,
			    "find out whether image %s is in use", v->image);
		if (verdict != WATCH_NONE)
			return op_fail(p, PUBLISHVOL_END,
			    ERR_FAILED_PRECONDITION, EXCLUDED, req->volume_id,
			    p->maybe_holder, req->node_id, p->record);
		return op_goto(p, PUBLISHVOL_ALLOWED);

	case PUBLISHVOL_ALLOWED:
		if (op->detached)
			return op_fail(p, PUBLISHVOL_END, ERR_CANCELLED,
			    "the caller is gone");
		record_start(p);
		return op_await(p, PUBLISHVOL_RECORDED);

	case PUBLISHVOL_RECORDED:
		if (op->rc == -ENOENT)
			return op_fail(p, PUBLISHVOL_END, ERR_NOT_FOUND,
			    "volume %s: its image has just been removed",
			    req->volume_id);
		if (op->rc < 0)
			return op_fail_rc(p, PUBLISHVOL_END, op->rc,
			    "record node %s on image %s in %s", req->node_id,
			    v->image, ceph_pool_label(v->pool));
		return op_goto(p, PUBLISHVOL_HELD);

	case PUBLISHVOL_HELD:
		if (!p->own_user)
			return op_goto(p, PUBLISHVOL_ANSWER);
		user_grant_start(&p->grant, v, p->rpc.in->id.uuid, req->node_id,
		    p->rpc.arena, &op->wake);
		return op_await(p, PUBLISHVOL_GRANTED);

	case PUBLISHVOL_GRANTED:
		if (op->rc < 0)
			return op_fail_as(p, PUBLISHVOL_END, grant.op);
		return op_goto(p, PUBLISHVOL_ANSWER);

	case PUBLISHVOL_ANSWER:
		fill_publish_reply(p);
		return op_goto(p, PUBLISHVOL_END);

	case PUBLISHVOL_END:
		user_grant_fini(&p->grant);
		image_meta_list_fini(&p->list);
		return OP_DONE;
	}
	abort();
}

static const struct op_class publish_volume_class = {
	.name = "ControllerPublishVolume",
	.step = publish_volume_step,
};

const struct csi_impl publish_volume_impl = {
	.cls = &publish_volume_class,
	.size = sizeof(struct publish_volume),
};
