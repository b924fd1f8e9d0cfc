/*
 * node_unpublish.c - NodeUnpublishVolume: unmount the target path and remove
 * it. Nothing there is success. One child.
 */
#include "node/node.h"
#include "node/publishing.h"

#include "core/offload.h"

#include <stdlib.h>

enum unpublish_state {
	UNPUBLISH_START = 0, /* nothing is done */
	UNPUBLISH_REMOVED,   /* the child has ended */
	UNPUBLISH_END,
};

struct unpublish {
	struct csi_rpc rpc;
	enum unpublish_state state;
	struct unpublishing_args args;
	struct offload offload;
};

static enum op_verdict
unpublish_start(struct unpublish *u)
{
	const Csi__V1__NodeUnpublishVolumeRequest *r = u->rpc.request;

	u->rpc.op.subject = r->target_path;
	if (u->rpc.op.detached)
		return op_fail(u, UNPUBLISH_END, ERR_CANCELLED,
		    "unpublish %s: the caller is gone", r->target_path);
	u->args = (struct unpublishing_args){ .volume_id = r->volume_id,
		.target = r->target_path };
	offload_start(&u->offload, r->target_path, publishing_unpublish,
	    &u->args, NULL, 0, NODE_CHILD_MS, &u->rpc.op.wake);
	return op_await(u, UNPUBLISH_REMOVED);
}

static enum op_verdict
unpublish_step(struct op *op)
{
	struct unpublish *u = (struct unpublish *)op;

	switch (u->state) {
	case UNPUBLISH_START:
		return unpublish_start(u);

	case UNPUBLISH_REMOVED:
		if (op->rc < 0)
			return op_fail_err(u, UNPUBLISH_END, &u->offload.err);
		(void)csi_rpc_reply(&u->rpc);
		return op_goto(u, UNPUBLISH_END);

	case UNPUBLISH_END:
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
