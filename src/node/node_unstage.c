/*
 * node_unstage.c - NodeUnstageVolume: unmount, unmap, forget. Nothing there
 * is success; a volume whose stash is lost is found by its ID.
 */
#include "node/node.h"
#include "node/staging.h"

#include "core/offload.h"

#include <stdlib.h>
#include <string.h>

enum unstage_state {
	UNSTAGE_START = 0, /* nothing is done */
	UNSTAGE_UNSTAGED,  /* the child has ended */
	UNSTAGE_CLOSING,   /* mapper number `at` is to give it up */
	UNSTAGE_CLOSED,    /* it has */
	UNSTAGE_END,
};

struct unstage {
	struct csi_rpc rpc;
	enum unstage_state state;
	const Csi__V1__NodeUnstageVolumeRequest *request;
	struct unstaging_args args;
	struct unstaging_result result;
	struct device_spec spec;
	struct device_open open;
	size_t at;
	struct offload offload;
	char what[96];
};

static enum op_verdict
unstage_start(struct unstage *u)
{
	const Csi__V1__NodeUnstageVolumeRequest *r = u->rpc.request;

	u->request = r;
	u->rpc.op.subject = r->volume_id;
	if (u->rpc.op.detached) /* nothing undone yet */
		return op_fail(u, UNSTAGE_END, ERR_CANCELLED,
		    "unstage volume %s: the caller is gone", r->volume_id);
	u->spec.volume_id = r->volume_id;
	u->args = (struct unstaging_args){ .staging = r->staging_target_path,
		.volume_id = r->volume_id,
		.spec = &u->spec };
	if (str_put(u->what, sizeof(u->what), "unstage %s", r->volume_id) < 0)
		u->what[sizeof(u->what) - 1] = '\0';
	offload_start(&u->offload, u->what, staging_unstage, &u->args,
	    &u->result, sizeof(u->result), NODE_CHILD_MS, &u->rpc.op.wake);
	return op_await(u, UNSTAGE_UNSTAGED);
}

/*
 * The daemon's memory: no mapper has it mapped any more. A mapper that served
 * it, by the stash or by what it remembers itself, is to let go of the image.
 */
static enum op_verdict
unstage_closing(struct unstage *u)
{
	const struct mapper *mapper;
	struct device_ref ref;
	bool mine;

	for (; (mapper = device_mapper_at(u->at)) != NULL; u->at++) {
		mapper->find(&u->spec, &ref);
		mine = ref.id >= 0 || ref.file[0] != '\0' ||
		    (u->result.had_stash &&
			mapper == staging_mapper_of(&u->result.stash, NULL));
		if (!mine)
			continue;
		if (mapper->close_start != NULL) {
			memset(&u->open, 0, sizeof(u->open));
			u->open.spec = &u->spec;
			u->open.ref = ref;
			mapper->close_start(&u->open, &u->rpc.op.wake);
			return op_await(u, UNSTAGE_CLOSED);
		}
		mapper->note(&u->spec, NULL);
	}
	(void)csi_rpc_reply(&u->rpc);
	return op_goto(u, UNSTAGE_END);
}

static enum op_verdict
unstage_step(struct op *op)
{
	struct unstage *u = (struct unstage *)op;

	switch (u->state) {
	case UNSTAGE_START:
		return unstage_start(u);

	case UNSTAGE_UNSTAGED:
		if (op->rc < 0)
			return op_fail_err(u, UNSTAGE_END, &u->offload.err);
		if (u->result.kept) {
			(void)csi_rpc_reply(&u->rpc);
			return op_goto(u, UNSTAGE_END);
		}
		if (u->result.had_stash)
			staging_spec_of(&u->result.stash, &u->spec);
		return op_goto(u, UNSTAGE_CLOSING);

	case UNSTAGE_CLOSING:
		return unstage_closing(u);

	case UNSTAGE_CLOSED:
		if (op->rc < 0)
			return op_fail_err(u, UNSTAGE_END, &u->open.err);
		device_mapper_at(u->at++)->note(&u->spec, NULL);
		return op_goto(u, UNSTAGE_CLOSING);

	case UNSTAGE_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class unstage_class = {
	.name = "NodeUnstageVolume",
	.step = unstage_step,
};

const struct csi_impl node_unstage_impl = {
	.cls = &unstage_class,
	.size = sizeof(struct unstage),
};
