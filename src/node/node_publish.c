/*
 * node_publish.c - NodePublishVolume: bind the staged volume at a pod's
 * target path, after proof that it is the image. One child.
 */
#include "node/node.h"
#include "node/publishing.h"

#include "core/offload.h"

#include <stdlib.h>

enum publish_state {
	PUBLISH_START = 0, /* nothing is done */
	PUBLISH_BOUND,     /* the child has ended */
	PUBLISH_END,
};

struct publish {
	struct csi_rpc rpc;
	enum publish_state state;
	struct publishing_args args;
	struct offload offload;
};

static int
read_request(struct publish *p, const Csi__V1__NodePublishVolumeRequest *r,
    struct err *err)
{
	struct csi_map publish = csi_map_of(r, publish_context);
	struct csi_map context = csi_map_of(r, volume_context);
	struct csi_access access;
	int rc;

	if ((rc = csi_access_of(r->volume_capability, "volume_capability",
		 &access, err)) < 0 ||
	    (rc = node_spec_fill(&p->args.spec, r->volume_id, &publish,
		 &context, false, p->rpc.arena, err)) < 0 ||
	    (rc = node_mount_flags(r->volume_capability, p->rpc.arena,
		 &p->args.options, err)) < 0)
		return rc;
	p->args.staging = r->staging_target_path;
	p->args.target = r->target_path;
	p->args.block = access.block;
	p->args.read_only = node_is_read_only(
	    &access, p->args.options, r->readonly);
	p->args.single_writer = access.mode ==
	    CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_SINGLE_WRITER;
	return 0;
}

static enum op_verdict
publish_start(struct publish *p)
{
	const Csi__V1__NodePublishVolumeRequest *r = p->rpc.request;
	struct err err = ERR_INIT;

	p->rpc.op.subject = r->target_path;
	if (p->rpc.op.detached)
		return op_fail(p, PUBLISH_END, ERR_CANCELLED,
		    "publish at %s: the caller is gone", r->target_path);
	if (read_request(p, r, &err) < 0)
		return op_fail_err(p, PUBLISH_END, &err);
	offload_start(&p->offload, r->target_path, publishing_publish, &p->args,
	    NULL, 0, NODE_CHILD_MS, &p->rpc.op);
	return op_await(p, PUBLISH_BOUND);
}

static enum op_verdict
publish_step(struct op *op)
{
	struct publish *p = (struct publish *)op;

	switch (p->state) {
	case PUBLISH_START:
		return publish_start(p);

	case PUBLISH_BOUND:
		if (op->rc < 0)
			return op_fail_err(p, PUBLISH_END, &p->offload.err);
		p->rpc.reply = csi_new(p->rpc.method->reply, p->rpc.arena);
		return op_goto(p, PUBLISH_END);

	case PUBLISH_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class publish_class = {
	.name = "NodePublishVolume",
	.step = publish_step,
	.free = csi_rpc_free,
};

const struct csi_impl node_publish_impl = {
	.method = "NodePublishVolume",
	.cls = &publish_class,
	.size = sizeof(struct publish),
};
