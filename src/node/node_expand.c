/*
 * node_expand.c - NodeExpandVolume: what is staged on this node takes over the
 * size that its image has in the cluster: device, layers, file system. One
 * child does it, by ioctl; before it, a server in user space (rbd-attachd)
 * reads the size of now.
 *
 * The volume is found at the staging path, at the published path, or, as
 * kubelet asks before the first publish, at a published path that is the
 * staging path; what is there is proven to be the image, as everywhere.
 */
#include "node/node.h"
#include "node/staging.h"

#include "base/log.h"
#include "core/offload.h"
#include "node/path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- the child ------------------------------------------------------------ */

/* At a staging path. -ENOENT: nothing is mounted there. */
static int
expand_find_staged(struct staged *s, const char *staging,
    const struct device_spec *spec, struct err *err)
{
	int rc = staged_open(s, staging, spec, false, err);

	if (rc < 0 || !s->point.mounted || s->is_others)
		return rc < 0 ? rc : -ENOENT;
	return s->had_stash ? stash_claim(&s->stash, &s->claim, err) : 0;
}

static int
expand_find(struct staged *s, const Csi__V1__NodeExpandVolumeRequest *r,
    const struct device_spec *spec, struct err *err)
{
	struct err why = ERR_INIT;
	int rc = -ENOENT;

	if (!str_is_empty(r->staging_target_path)) {
		rc = expand_find_staged(s, r->staging_target_path, spec, err);
		if (rc != -ENOENT)
			return rc;
		staged_close(s);
	}
	memset(s, 0, sizeof(*s));
	s->lock = s->fd = -1;
	s->claim.spec = *spec;
	if (path_resolve(r->volume_path, s->path, &why) == 0)
		rc = mount_look(s->path, &s->point, NULL, err);
	if (s->point.mounted || err_is_set(err))
		return rc;
	if (S_ISDIR(s->point.mode)) {
		rc = expand_find_staged(s, r->volume_path, spec, err);
		if (rc != -ENOENT)
			return rc;
	}
	return err_set(err, ERR_NOT_FOUND, "volume %s is not at %s%s%s",
	    r->volume_id, r->volume_path, err_is_set(&why) ? ": " : "",
	    why.text);
}

static int
expand_filesystem(const struct staged *s, struct err *err)
{
	const char *volume_id = s->claim.spec.volume_id, *path = s->path;
	struct filesystem_probe probe;
	char writable[PATH_MAX];
	struct device dev;
	int rc;

	if (mount_is_turned(s->path, &s->point))
		return staging_refuse_turned(volume_id, err);
	if (s->point.read_only) {
		/* A target for readers: it may be writable where it is staged. */
		rc = mount_find_writable(s->point.source, writable, err);
		if (rc < 0)
			return rc;
		if (rc == 0) { /* it grows when it is staged for writing */
			log_info("expand.read_only", "volume=%s path=%s",
			    volume_id, s->path);
			return 0;
		}
		path = writable;
	}
	rc = attachment_top(&s->at, &dev, err);
	if (rc == 0)
		rc = probe_device(dev.path, &probe, err);
	return rc < 0 ? rc
		      : staging_grow(volume_id, probe.fstype, path, &dev, err);
}

static int
expand_child(const void *p, void *result, struct err *err)
{
	const Csi__V1__NodeExpandVolumeRequest *r = p;
	const Csi__V1__CapacityRange *range = r->capacity_range;
	const struct device_spec spec = { .volume_id = r->volume_id };
	uint64_t *bytes = result;
	struct err why = ERR_INIT;
	struct staged s;
	bool block;
	int rc = expand_find(&s, r, &spec, err);

	if (rc == 0)
		rc = attachment_find(&s.claim, &s.point, &s.at, &why);
	if (rc == -ESTALE)
		rc = err_refuse(err, "volume %s at %s is dead%s%s",
		    r->volume_id, s.path, err_is_set(&why) ? ": " : "",
		    why.text);
	else if (err_is_set(&why))
		rc = err_set(err, ERR_NOT_FOUND, "volume %s is not at %s: %s",
		    r->volume_id, s.path, why.text);
	block = S_ISBLK(s.point.mode);
	if (rc == 0)
		rc = attachment_grow(&s.claim, &s.at, block, err);
	*bytes = s.at.device.size_bytes;
	if (rc == 0 && range != NULL &&
	    (*bytes < (uint64_t)range->required_bytes ||
		(range->limit_bytes > 0 &&
		    *bytes > (uint64_t)range->limit_bytes)))
		rc = err_set(err, ERR_OUT_OF_RANGE,
		    "capacity_range: image %s of volume %s has %llu bytes: ControllerExpandVolume makes it larger",
		    s.claim.spec.image != NULL ? s.claim.spec.image : "",
		    r->volume_id, (unsigned long long)*bytes);
	if (rc == 0 && !block)
		rc = expand_filesystem(&s, err);
	staged_close(&s);
	return rc;
}

/* ---- the operation -------------------------------------------------------- */

enum expand_state {
	EXPAND_START = 0, /* nothing is done */
	EXPAND_LOOK,      /* mapper number `at` is to look at the image */
	EXPAND_LOOKED,    /* it has */
	EXPAND_GROWN,     /* the child has ended */
	EXPAND_END,
};

struct expand {
	struct csi_rpc rpc;
	enum expand_state state;
	struct device_spec spec;
	struct device_open open;
	size_t at;
	uint64_t bytes;
	struct offload offload;
};

static enum op_verdict
expand_step(struct op *op)
{
	struct expand *e = (struct expand *)op;
	const Csi__V1__NodeExpandVolumeRequest *r = e->rpc.request;
	Csi__V1__NodeExpandVolumeResponse *reply;
	const struct mapper *mapper;

	switch (e->state) {
	case EXPAND_START:
		op->subject = r->volume_id;
		if (op->detached)
			return op_fail(e, EXPAND_END, ERR_CANCELLED,
			    "expand volume %s: the caller is gone",
			    r->volume_id);
		e->spec.volume_id = r->volume_id;
		return op_goto(e, EXPAND_LOOK);

	case EXPAND_LOOK:
		mapper = mapper_at(e->at);
		if (mapper == NULL) {
			offload_start(&e->offload, r->volume_id, expand_child,
			    r, &e->bytes, sizeof(e->bytes), NODE_CHILD_MS,
			    &op->wake);
			return op_await(e, EXPAND_GROWN);
		}
		if (mapper->look_start == NULL || !mapper->knows(&e->spec)) {
			e->at++;
			return op_goto(e, EXPAND_LOOK);
		}
		e->open = (struct device_open){ .spec = &e->spec };
		mapper->look_start(&e->open, &op->wake);
		return op_await(e, EXPAND_LOOKED);

	case EXPAND_LOOKED:
		if (op->rc < 0)
			return op_fail_err(e, EXPAND_END, &e->open.err);
		e->at++;
		return op_goto(e, EXPAND_LOOK);

	case EXPAND_GROWN:
		if (op->rc < 0)
			return op_fail_err(e, EXPAND_END, &e->offload.err);
		reply = csi_rpc_reply(&e->rpc);
		reply->capacity_bytes = (int64_t)e->bytes;
		return op_goto(e, EXPAND_END);

	case EXPAND_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class expand_class = {
	.name = "NodeExpandVolume",
	.step = expand_step,
};

const struct csi_impl node_expand_impl = {
	.cls = &expand_class,
	.size = sizeof(struct expand),
};
