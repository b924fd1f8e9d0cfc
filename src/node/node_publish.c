/*
 * node_publish.c - NodePublishVolume: bind the staged volume at a pod's
 * target path, after proof that it is the image; NodeUnpublishVolume: take it
 * away again. One child each.
 *
 * The rule that holds it together: nothing is bind mounted before it is
 * proven to be the image: the staging path is a mount, its device is a
 * mapping of this image, and exactly what was looked at is what is bound. A
 * staging path that a reboot left behind is an empty directory on the node's
 * own disk; no pod may ever get that.
 *
 * A volume that was staged and is no more (both processes of the userspace
 * mapper died, or the node has booted) is staged anew: kubelet does not do
 * that, it goes on asking for this call. It runs NodeStageVolume with what
 * this request has, under the lock that stage and unstage take.
 */
#include "node/attachment.h"
#include "node/limits.h"
#include "node/loopdev.h"
#include "node/node.h"
#include "node/path.h"
#include "node/staging.h"

#include "base/log.h"
#include "core/offload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* ---- publish: the child --------------------------------------------------- */

enum publish_state {
	PUBLISH_START = 0, /* nothing is done */
	PUBLISH_BIND,      /* a child is to bind it */
	PUBLISH_BOUND,     /* the child has ended */
	PUBLISH_RESTAGED,  /* the volume is staged anew */
	PUBLISH_END,
};

struct publish {
	struct csi_rpc rpc;
	enum publish_state state;
	const Csi__V1__NodePublishVolumeRequest *request;

	/* what is asked for */
	struct device_spec spec; /* the stash rules */
	bool block;
	bool read_only;
	bool single_writer;  /* at no other target of this node */
	bool has_key;        /* publish_context has a user's key */
	const char *options; /* mount flags, comma list */
	const char *io_max;  /* the image's limits, or NULL */

	struct offload offload;
	bool lost; /* it was staged, and its device or its mount is gone */
	struct csi_request restage_request; /* a NodeStageVolume */
	struct csi_rpc *restage;            /* NULL: not tried yet */
};

/* A child's work. */
struct publishing {
	const struct publish *asked;
	char target[PATH_MAX];
	/*
	 * What the volume is staged as. Its claim is by the stash, and by the
	 * request too, but for the pool's name, which may have changed since
	 * the volume was attached.
	 */
	struct staged from;
};

static bool
differs(const char *asked, const char *found)
{
	return !str_is_empty(asked) && !str_eq(asked, found);
}

/*
 * Is the volume staged there, so that it can be published as asked? *lost: it
 * was, and its device or its mount is gone.
 */
static int
publish_check_source(struct publishing *w, bool *lost, struct err *err)
{
	const struct publish *asked = w->asked;
	const char *volume_id = asked->spec.volume_id;
	struct staged *from = &w->from;
	const struct mount_point *point = &from->point;
	const struct stash *stash = &from->stash;
	int rc = 0;

	if (from->lock < 0)
		return err_refuse(err,
		    "volume %s is not staged: there is no %s", volume_id,
		    from->dir);
	if (!point->mounted) {
		*lost = from->had_stash;
		return err_refuse(err,
		    "volume %s is not staged: nothing is mounted at %s",
		    volume_id, from->path);
	}
	if (from->had_stash &&
	    (from->is_others ||
		(asked->spec.pool_id <= 0 &&
		    differs(asked->spec.pool, stash->pool)) ||
		differs(asked->spec.image, stash->image)))
		rc = err_refuse(err,
		    "image %s/%s is staged at %s, not volume %s", stash->pool,
		    stash->image, from->dir, volume_id);
	else if (from->had_stash)
		rc = stash_claim(stash, &from->claim, err);
	if (rc == 0)
		rc = attachment_find(&from->claim, point, &from->at, err);
	if (rc == -ESTALE) {
		*lost = true;
		return err_refuse(err,
		    "the device below the staging path is gone, stage it again: volume %s at %s",
		    volume_id, w->from.path);
	}
	if (S_ISBLK(point->mode) != asked->block)
		return err_refuse(err, "volume %s is staged as a %s", volume_id,
		    asked->block ? "file system" : "block device");
	if (rc < 0) {
		err_prefix(err, "what is staged is not volume %s", volume_id);
		return rc;
	}
	if (asked->read_only)
		return 0;
	if (!asked->block && mount_is_turned(w->from.path, point))
		return staging_refuse_turned(volume_id, err);
	if (asked->block ? from->at.device.read_only : point->read_only)
		return err_refuse(
		    err, "volume %s is staged read-only", volume_id);
	return 0;
}

/* The device that a mount shows, below a read-only layer. */
static dev_t
below_layer(dev_t shown)
{
	(void)loopdev_below(shown, &shown);
	return shown;
}

/*
 * What is at the target already. *done: it is published as asked. A mount
 * whose device is gone is taken away.
 */
static int
publish_check_target(const struct publishing *w, bool *done, struct err *err)
{
	const struct publish *asked = w->asked;
	struct attachment shown;
	struct mount_point at;
	int rc = mount_look(w->target, &at, NULL, err);

	*done = false;
	if (rc == 0 && S_ISLNK(at.mode))
		rc = err_refuse(
		    err, "target_path: %s is a symbolic link", w->target);
	if (rc < 0 || !at.mounted)
		return rc;
	if (at.dead || below_layer(at.source) != w->from.point.source) {
		if (attachment_find(&w->from.claim, &at, &shown, NULL) ==
		    -ESTALE)
			return attachment_unmount(
			    w->target, &w->from.claim, err);
		return err_refuse(err,
		    "%s is a mount of something else than volume %s", w->target,
		    w->asked->spec.volume_id);
	}
	if (S_ISBLK(at.mode) != asked->block)
		return err_refuse(err, "volume %s is published at %s as a %s",
		    w->asked->spec.volume_id, w->target,
		    asked->block ? "file system" : "block device");
	if (at.read_only != asked->read_only)
		return err_set(err, ERR_ALREADY_EXISTS,
		    "volume %s is published at %s %s", w->asked->spec.volume_id,
		    w->target, at.read_only ? "read-only" : "writable");
	*done = true;
	return 0;
}

/*
 * SINGLE_NODE_SINGLE_WRITER: the stash names the one target. It counts as
 * long as the volume is mounted there.
 */
static int
publish_claim_single(struct publishing *w, struct err *err)
{
	char *noted = w->from.stash.single_target;
	struct mount_point other;
	int rc;

	if (!w->asked->single_writer || !w->from.had_stash ||
	    str_eq(noted, w->target))
		return 0;
	if (noted[0] != '\0') {
		rc = mount_look(noted, &other, NULL, err);
		if (rc < 0)
			return rc;
		if (other.mounted &&
		    below_layer(other.source) == w->from.point.source)
			return err_refuse(err,
			    "volume %s has a single writer and is published at %s",
			    w->asked->spec.volume_id, noted);
	}
	if (str_put(noted, sizeof(w->from.stash.single_target), "%s",
		w->target) < 0)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "target_path: too long");
	return stash_write(w->from.dir, &w->from.stash, err);
}

/*
 * A bind mount that is read-only does not keep anybody from writing to the
 * device whose node it shows. So a target that must not write gets a node of
 * its own, of a read-only loop device upon the volume's. Gives its number and
 * an O_PATH descriptor of its node.
 */
static int
publish_make_layer(const char *below, int *fd, struct err *err)
{
	struct mount_point point;
	char path[DEVICE_PATH_MAX];
	int id = loopdev_attach(below, true, err), rc;

	if (id < 0)
		return id;
	loopdev_path(id, path);
	rc = mount_look(path, &point, fd, err);
	if (rc == 0 && point.source != makedev(LOOP_MAJOR, (unsigned)id))
		rc = err_set(
		    err, ERR_INTERNAL, "%s is not loop device %d", path, id);
	if (rc == 0)
		return id;
	(void)!loopdev_clear(id, below, 0, NULL);
	return rc;
}

static int
publish_bind(struct publishing *w, struct err *err)
{
	const struct publish *asked = w->asked;
	struct device top;
	auto_close int fd = -1;
	int layer = -1, rc = attachment_top(&w->from.at, &top, err);
	const char *device = top.path;

	if (rc == 0)
		rc = path_make_parents(w->target, err);
	if (rc == 0)
		rc = path_make_point(w->target, asked->block, 0750, err);
	if (rc == 0 && asked->block && asked->read_only && !top.read_only) {
		/* The stash says first that there may be a layer. */
		if (w->from.had_stash && w->from.stash.plain) {
			w->from.stash.plain = false;
			rc = stash_write(w->from.dir, &w->from.stash, err);
		}
		if (rc == 0)
			rc = layer = publish_make_layer(device, &fd, err);
	}
	if (rc >= 0)
		rc = mount_bind(layer >= 0 ? fd : w->from.fd,
		    asked->block ? NULL : device, w->target, asked->options,
		    asked->read_only, err);
	if (rc == 0)
		return 0;
	if (layer >= 0)
		(void)!loopdev_clear(layer, device, 0, NULL);
	(void)!path_remove_point(w->target, NULL);
	return rc;
}

static int
publish_child(const void *asked, void *lost, struct err *err)
{
	struct publishing w = { .asked = asked };
	const Csi__V1__NodePublishVolumeRequest *r = w.asked->request;
	struct err why = ERR_INIT;
	struct limits limits;
	bool done = false;
	int rc = staged_open(
	    &w.from, r->staging_target_path, &w.asked->spec, true, err);

	if (rc == 0)
		rc = path_resolve(r->target_path, w.target, err);
	if (rc == 0)
		rc = publish_check_source(&w, lost, err);
	if (rc == 0)
		rc = publish_check_target(&w, &done, err);
	if (rc == 0 && !done)
		rc = publish_claim_single(&w, err);
	if (rc == 0 && !done)
		rc = publish_bind(&w, err);
	if (rc == 0)
		limits_look(w.target, &w.from.at, &limits);
	/*
	 * What is published already may have newer limits than publish_context
	 * tells. A pod that goes without its limits is better than none.
	 */
	if (rc == 0 && (!done || str_eq(limits.now, LIMITS_NONE)) &&
	    limits_set(&limits, w.asked->io_max, &why) < 0)
		log_warn("volume.limits", "volume=%s text=\"%s\"",
		    w.asked->spec.volume_id, why.text);
	staged_close(&w.from);
	return rc;
}

/* ---- publish: the operation ----------------------------------------------- */

static int
publish_read_request(struct publish *p, struct err *err)
{
	const Csi__V1__NodePublishVolumeRequest *r = p->request;
	struct csi_map publish = csi_map_of(r, publish_context);
	struct csi_map context = csi_map_of(r, volume_context);
	const struct csi_access *access = &p->rpc.in->access;
	int rc;

	if ((rc = node_spec_fill(&p->spec, r->volume_id, &publish, &context,
		 false, p->rpc.arena, err)) < 0 ||
	    (rc = node_mount_flags(
		 r->volume_capability, p->rpc.arena, &p->options, err)) < 0)
		return rc;
	p->io_max = csi_map_get(&publish, "ioMax");
	p->spec.user = csi_map_get(&publish, "userID");
	p->has_key = csi_map_get(&publish, CSI_USER_KEY) != NULL;
	p->block = access->block;
	p->read_only = node_is_read_only(access, p->options, r->readonly);
	p->single_writer = access->mode ==
	    CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_SINGLE_WRITER;
	return 0;
}

/*
 * An image may name the service accounts whose pods may have it (ceph-csi:
 * docs/rbd/deploy.md). kubelet tells the pod's, if the CSIDriver object asks
 * for it; where nobody tells, all may.
 */
static int
publish_check_account(const struct publish *p, struct err *err)
{
	struct csi_map publish = csi_map_of(p->request, publish_context);
	struct csi_map context = csi_map_of(p->request, volume_context);
	const char *allowed = csi_map_get(&publish, "serviceAccount");
	const char *name = csi_map_get(
	    &context, "csi.storage.k8s.io/serviceAccount.name");
	size_t len;

	if (str_is_empty(allowed))
		return 0;
	if (str_is_empty(name)) {
		log_warn("publish.account",
		    "volume=%s text=\"restricted to service accounts, and nobody tells the pod's: set podInfoOnMount in the CSIDriver object\"",
		    p->request->volume_id);
		return 0;
	}
	for (const char *one = allowed; *one != '\0'; one += len) {
		one += strspn(one, ", ");
		len = strcspn(one, ", ");
		if (len == strlen(name) && memcmp(one, name, len) == 0)
			return 0;
	}
	return err_set(err, ERR_PERMISSION_DENIED,
	    "volume %s is for the service accounts %s, not for %s",
	    p->request->volume_id, allowed, name);
}

/*
 * NodeStageVolume with what this request has, and a session's user and key
 * (NULL: the request's own). Entries of the two messages' maps are alike on
 * the wire.
 */
static int
restage_read(
    struct publish *p, const char *user, const char *key, struct err *err)
{
	const Csi__V1__NodePublishVolumeRequest *r = p->request;
	Csi__V1__NodeStageVolumeRequest stage =
	    CSI__V1__NODE_STAGE_VOLUME_REQUEST__INIT;
	Csi__V1__NodeStageVolumeRequest__SecretsEntry entry
	    [2] = { CSI__V1__NODE_STAGE_VOLUME_REQUEST__SECRETS_ENTRY__INIT,
		    CSI__V1__NODE_STAGE_VOLUME_REQUEST__SECRETS_ENTRY__INIT },
       *secrets[2] = { &entry[0], &entry[1] };
	auto_free unsigned char *bytes = NULL;
	size_t len;
	int rc;

	stage.volume_id = r->volume_id;
	stage.staging_target_path = r->staging_target_path;
	stage.volume_capability = r->volume_capability;
	stage.publish_context = (void *)r->publish_context;
	stage.n_publish_context = r->n_publish_context;
	stage.volume_context = (void *)r->volume_context;
	stage.n_volume_context = r->n_volume_context;
	if (user != NULL) {
		entry[0].key = (char *)(uintptr_t) "userID";
		entry[0].value = (char *)(uintptr_t)user;
		entry[1].key = (char *)(uintptr_t) "userKey";
		entry[1].value = (char *)(uintptr_t)key;
		stage.secrets = secrets;
		stage.n_secrets = 2;
	} else {
		stage.secrets = (void *)r->secrets;
		stage.n_secrets = r->n_secrets;
	}
	len = csi__v1__node_stage_volume_request__get_packed_size(&stage);
	bytes = mem_new(len + 1);
	(void)csi__v1__node_stage_volume_request__pack(&stage, bytes);
	rc = csi_request_read(&p->restage_request,
	    &csi_definitions[CSI_NODE_STAGE_VOLUME], bytes, len, err);
	secret_wipe(bytes, len);
	if (rc < 0)
		err_prefix(err, "stage it again");
	else
		log_warn("publish.restage", "volume=%s key=%s", r->volume_id,
		    user != NULL ? "of a session" : "of the request");
	return rc;
}

static enum op_verdict
publish_step(struct op *op)
{
	struct publish *p = (struct publish *)op;
	const char *user = NULL, *key = NULL;
	struct err err = ERR_INIT;

	switch (p->state) {
	case PUBLISH_START:
		p->request = p->rpc.request;
		op->subject = p->request->target_path;
		if (op->detached)
			return op_fail(p, PUBLISH_END, ERR_CANCELLED,
			    "publish at %s: the caller is gone", op->subject);
		if (publish_read_request(p, &err) < 0 ||
		    publish_check_account(p, &err) < 0)
			return op_fail_err(p, PUBLISH_END, &err);
		return op_goto(p, PUBLISH_BIND);

	case PUBLISH_BIND:
		p->lost = false;
		offload_start(&p->offload, op->subject, publish_child, p,
		    &p->lost, sizeof(p->lost), NODE_CHILD_MS, &op->wake);
		return op_await(p, PUBLISH_BOUND);

	case PUBLISH_BOUND:
		if (op->rc == 0) {
			(void)csi_rpc_reply(&p->rpc);
			return op_goto(p, PUBLISH_END);
		}
		if (!p->lost || p->restage != NULL)
			return op_fail_err(p, PUBLISH_END, &p->offload.err);
		if (p->request->n_secrets == 0 && !p->has_key &&
		    !node_find_credentials(&p->spec, &user, &key))
			return op_fail(p, PUBLISH_END, ERR_FAILED_PRECONDITION,
			    "no key to stage it again (StorageClass: csi.storage.k8s.io/node-publish-secret-name): %s",
			    p->offload.err.text);
		if (restage_read(p, user, key, &err) < 0)
			return op_fail_err(p, PUBLISH_END, &err);
		p->restage = csi_rpc_new(
		    &node_stage_impl, &p->restage_request, NULL);
		csi_rpc_start(p->restage, &op->wake);
		return op_await(p, PUBLISH_RESTAGED);

	case PUBLISH_RESTAGED:
		err = p->restage->op.err;
		csi_request_fini(&p->restage_request);
		if (op->rc == 0)
			return op_goto(p, PUBLISH_BIND);
		err_prefix(
		    &err, "stage volume %s again", p->request->volume_id);
		return op_fail_err(p, PUBLISH_END, &err);

	case PUBLISH_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class publish_class = {
	.name = "NodePublishVolume",
	.step = publish_step,
};

const struct csi_impl node_publish_impl = {
	.cls = &publish_class,
	.size = sizeof(struct publish),
};

/* ---- unpublish ------------------------------------------------------------ */

/*
 * Takes away mounts of this volume only, and an empty file or directory.
 * Success means that there is neither a mount nor anything else.
 */
static int
unpublish_child(const void *p, void *none, struct err *err)
{
	const Csi__V1__NodeUnpublishVolumeRequest *r = p;
	const struct device_claim claim = { .spec.volume_id = r->volume_id };
	struct mount_point point = { .exists = false };
	char target[PATH_MAX];
	int rc = path_resolve(r->target_path, target, err);

	(void)none;
	if (rc == 0)
		rc = attachment_unmount(target, &claim, err);
	if (rc == 0)
		rc = path_remove_point(target, err);
	if (rc == 0)
		rc = mount_look(target, &point, NULL, err);
	if (rc == 0 && point.exists)
		rc = err_set(
		    err, ERR_ABORTED, "target_path: %s is there again", target);
	if (rc == 0)
		rc = mount_find_at(target, &point.source, err);
	return rc > 0
	    ? err_refuse(err,
		  "target_path: %s is mounted, but not to be reached", target)
	    : rc;
}

enum unbind_state {
	UNBIND_START = 0, /* nothing is done */
	UNBIND_REMOVED,   /* the child has ended */
	UNBIND_END,
};

struct unpublish {
	struct csi_rpc rpc;
	enum unbind_state state;
	struct offload offload;
};

static enum op_verdict
unpublish_step(struct op *op)
{
	struct unpublish *u = (struct unpublish *)op;
	const Csi__V1__NodeUnpublishVolumeRequest *r = u->rpc.request;

	switch (u->state) {
	case UNBIND_START:
		op->subject = r->target_path;
		if (op->detached)
			return op_fail(u, UNBIND_END, ERR_CANCELLED,
			    "unpublish %s: the caller is gone", r->target_path);
		offload_start(&u->offload, r->target_path, unpublish_child, r,
		    NULL, 0, NODE_CHILD_MS, &op->wake);
		return op_await(u, UNBIND_REMOVED);

	case UNBIND_REMOVED:
		if (op->rc < 0)
			return op_fail_err(u, UNBIND_END, &u->offload.err);
		(void)csi_rpc_reply(&u->rpc);
		return op_goto(u, UNBIND_END);

	case UNBIND_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class unpublish_class = {
	.name = "NodeUnpublishVolume",
	.step = unpublish_step,
};

const struct csi_impl node_unpublish_impl = {
	.cls = &unpublish_class,
	.size = sizeof(struct unpublish),
};
