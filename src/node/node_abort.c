/*
 * node_abort.c - Admin/Abort: ends the I/O of a volume whose cluster does not
 * answer. It takes no lock of the volume's: who holds that may be what hangs.
 */
#include "node/mapper.h"
#include "node/node.h"

#include "admin.pb-c.h"
#include "base/log.h"

#include <errno.h>

enum node_abort_state {
	NODEABORT_START = 0, /* nothing is done */
	NODEABORT_ABORTED,   /* the mapper has ended its I/O, or cannot */
	NODEABORT_END,
};

struct node_abort {
	struct csi_rpc rpc;
	enum node_abort_state state;
	const struct mapper *mapper;
	struct device_spec spec;
	struct device_open open;
};

/* The mapper that has it open by what the daemon remembers, or one that looks. */
static const struct mapper *
find_mapper(const struct device_spec *spec)
{
	const struct mapper *mapper, *looks = NULL;

	for (size_t i = 0; (mapper = mapper_at(i)) != NULL; i++) {
		if (mapper->abort_start == NULL)
			continue;
		if (mapper->knows == NULL)
			looks = mapper;
		else if (mapper->knows(spec))
			return mapper;
	}
	return looks;
}

static enum op_verdict
node_abort_step(struct op *op)
{
	struct node_abort *a = (struct node_abort *)op;
	const Rbdcsi__Admin__V1__AbortRequest *r = a->rpc.request;
	Rbdcsi__Admin__V1__AbortResponse *reply;

	switch (a->state) {
	case NODEABORT_START:
		a->spec.volume_id = r->volume_id;
		a->open.spec = &a->spec;
		a->mapper = find_mapper(&a->spec);
		if (a->mapper == NULL)
			return op_fail(a, NODEABORT_END, ERR_NOT_FOUND,
			    "volume %s has no device on this node whose I/O can be ended",
			    r->volume_id);
		log_warn("volume.abort", "volume=%s mapper=%s", r->volume_id,
		    a->mapper->name);
		a->mapper->abort_start(&a->open, &op->wake);
		return op_await(a, NODEABORT_ABORTED);

	case NODEABORT_ABORTED:
		if (op->rc < 0 && op->rc != -EBUSY) {
			if (a->open.err.code != ERR_NOT_FOUND)
				err_prefix(&a->open.err,
				    "end the I/O of volume %s", r->volume_id);
			return op_fail_err(a, NODEABORT_END, &a->open.err);
		}
		if (op->rc == 0)
			mapper_note(a->mapper, &a->spec, -1);
		reply = csi_rpc_reply(&a->rpc);
		reply->released = op->rc == 0;
		return op_goto(a, NODEABORT_END);

	case NODEABORT_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class node_abort_class = {
	.name = "Abort",
	.step = node_abort_step,
};

const struct csi_impl node_abort_impl = {
	.cls = &node_abort_class,
	.size = sizeof(struct node_abort),
};
