/*
 * node_storage.c - NodeGetStorageHealth: what keeps this node from its
 * storage, by what the mappers know now. Nobody is asked, so nothing waits.
 */
#include "node/node.h"

#include <stdlib.h>

#define STATUS(name) CSI__V1__STORAGE_HEALTH_ERROR_TYPE__STORAGE_##name
#define ENTRIES_MAX 64

struct storage {
	struct csi_rpc rpc;
	Csi__V1__NodeGetStorageHealthResponse *reply;
};

static void
storage_tell(void *arg, const char *reason, const char *message)
{
	struct storage *s = arg;
	Csi__V1__NodeGetStorageHealthResponse *reply = s->reply;
	Csi__V1__NodeGetStorageHealthResponse__StorageBackendHealth *entry;

	if (reply->n_backend_health == ENTRIES_MAX)
		return;
	entry = csi_new(
	    &csi__v1__node_get_storage_health_response__storage_backend_health__descriptor,
	    s->rpc.arena);
	entry->status = STATUS(UNREACHABLE);
	entry->reason = arena_strdup(s->rpc.arena, reason);
	entry->message = arena_strdup(s->rpc.arena, message);
	reply->backend_health[reply->n_backend_health++] = entry;
}

/* A node that is well has no entry. */
static enum op_verdict
storage_step(struct op *op)
{
	struct storage *s = (struct storage *)op;
	const struct mapper *mapper;
	struct err err = ERR_INIT;

	s->reply = csi_rpc_reply(&s->rpc);
	s->reply->backend_health = arena_new_bytes(
	    s->rpc.arena, ENTRIES_MAX * sizeof(*s->reply->backend_health));
	if (mapper_choose(NULL, node_config->mounter_fallback, &err) == NULL)
		storage_tell(s, "NoMapper", err.text);
	for (size_t i = 0; (mapper = mapper_at(i)) != NULL; i++)
		if (mapper->complain != NULL)
			mapper->complain(storage_tell, s);
	return OP_DONE;
}

static const struct op_class storage_class = {
	.name = "NodeGetStorageHealth",
	.step = storage_step,
};

const struct csi_impl node_storage_impl = {
	.cls = &storage_class,
	.size = sizeof(struct storage),
};
