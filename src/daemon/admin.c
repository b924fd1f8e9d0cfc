/*
 * admin.c - ListOperations: the live operations as they are, and of those that
 * are requests what request.h and sessions.h know beside that.
 */
#include "daemon/admin.h"

#include "admin.pb-c.h"
#include "base/clock.h"
#include "daemon/request.h"

static Rbdcsi__Admin__V1__Operation *
operation_of(const struct op *op, struct arena *arena)
{
	Rbdcsi__Admin__V1__Operation *out = csi_new(
	    &rbdcsi__admin__v1__operation__descriptor, arena);
	const struct request *r = request_of(op);
	const struct caller *caller;

	out->id = op->id;
	out->name = arena_strdup(arena, op->cls->name);
	out->subject = arena_strdup(
	    arena, op->subject != NULL ? op->subject : "");
	out->age_ms = (uint64_t)op_age_ms(op);
	out->state = arena_strdup(arena, op->state_name);
	out->state_ms = (uint64_t)(clock_now_us() - op->since_us) / 1000;
	out->detached = op->detached;
	out->failing = err_is_set(&op->err);
	if (r == NULL)
		return out;
	out->name = arena_strdup(arena, r->in.def->name);
	out->subject = arena_strdup(arena, r->key);
	out->detached = TAILQ_EMPTY(&r->callers);
	TAILQ_FOREACH (caller, &r->callers, link)
		out->callers++;
	if (r->call.session != NULL)
		out->worker_state = arena_strdup(
		    arena, sessions_call_state(&r->call));
	return out;
}

/* It runs to its end at once; what asks for the list is not in it. */
static enum op_verdict
list_operations_step(struct op *op)
{
	struct csi_rpc *rpc = (struct csi_rpc *)op;
	Rbdcsi__Admin__V1__ListOperationsResponse *reply = csi_rpc_reply(rpc);

	reply->operations = arena_new_bytes(
	    rpc->arena, op_count() * sizeof(*reply->operations));
	for (const struct op *o = op_next(NULL); o != NULL; o = op_next(o)) {
		const struct request *r = request_of(o);

		if (o != op && (r == NULL || r->rpc != rpc))
			reply->operations[reply->n_operations++] = operation_of(
			    o, rpc->arena);
	}
	return OP_DONE;
}

static const struct op_class list_operations_class = {
	.name = "ListOperations",
	.step = list_operations_step,
};

const struct csi_impl list_operations_impl = {
	.cls = &list_operations_class,
	.size = sizeof(struct csi_rpc),
};
