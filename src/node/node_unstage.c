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
	struct unstaging_args args;
	struct unstaging_result result;
	struct device_claim claim; /* what is to be given up */
	struct device_open open;
	size_t at;
	struct offload offload;
	char what[96];
};

/* It is not mapped any more, or still needed. */
static enum op_verdict
unstage_answer(struct unstage *u)
{
	if (err_is_set(&u->result.left))
		return op_fail_err(u, UNSTAGE_END, &u->result.left);
	(void)csi_rpc_reply(&u->rpc);
	return op_goto(u, UNSTAGE_END);
}

static enum op_verdict
unstage_step(struct op *op)
{
	struct unstage *u = (struct unstage *)op;
	const Csi__V1__NodeUnstageVolumeRequest *r = u->rpc.request;
	const struct mapper *mapper;
	bool served;

	switch (u->state) {
	case UNSTAGE_START:
		op->subject = r->volume_id;
		if (op->detached) /* nothing undone yet */
			return op_fail(u, UNSTAGE_END, ERR_CANCELLED,
			    "unstage volume %s: the caller is gone",
			    r->volume_id);
		u->claim.spec.volume_id = r->volume_id;
		u->args.staging = r->staging_target_path;
		u->args.spec = &u->claim.spec;
		(void)!str_put(
		    u->what, sizeof(u->what), "unstage %s", r->volume_id);
		offload_start(&u->offload, u->what, staging_unstage, &u->args,
		    &u->result, sizeof(u->result), NODE_CHILD_MS, &op->wake);
		return op_await(u, UNSTAGE_UNSTAGED);

	case UNSTAGE_UNSTAGED:
		if (op->rc < 0)
			return op_fail_err(u, UNSTAGE_END, &u->offload.err);
		if (u->result.kept)
			return unstage_answer(u);
		if (u->result.had_stash)
			(void)stash_claim(&u->result.stash, &u->claim, NULL);
		return op_goto(u, UNSTAGE_CLOSING);

	case UNSTAGE_CLOSING:
		mapper = mapper_at(u->at);
		if (mapper == NULL)
			return unstage_answer(u);
		/* By the stash, or by what it remembers itself. */
		served = (u->result.had_stash &&
			     u->claim.mapper == mapper->child) ||
		    (mapper->knows != NULL && mapper->knows(&u->claim.spec));
		if (mapper->close_start != NULL && served) {
			u->open = (struct device_open){
				.spec = &u->claim.spec
			};
			mapper->close_start(&u->open, &op->wake);
			return op_await(u, UNSTAGE_CLOSED);
		}
		mapper_note(mapper, &u->claim.spec, -1);
		u->at++;
		return op_goto(u, UNSTAGE_CLOSING);

	case UNSTAGE_CLOSED:
		if (op->rc < 0)
			return op_fail_err(u, UNSTAGE_END, &u->open.err);
		mapper_note(mapper_at(u->at++), &u->claim.spec, -1);
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
