/*
 * validate_capabilities.c - ValidateVolumeCapabilities: is the volume there,
 * and can it be used in these ways.
 */
#include "controller/controller.h"
#include "controller/volume.h"

#include "csi.pb-c.h"
#include "csi/caps.h"

#include <stdlib.h>

enum validate_capabilities_state {
	VALIDATECAP_START = 0,
	VALIDATECAP_FOUND, /* the volume and its image are there */
	VALIDATECAP_END,
};

struct validate_capabilities {
	struct csi_rpc rpc;
	enum validate_capabilities_state state;
	const Csi__V1__ValidateVolumeCapabilitiesRequest *req;
	struct volume_lookup volume;
};

/* Confirmed means: every one of them; else the message tells which is not. */
static enum op_verdict
answer(struct validate_capabilities *v)
{
	Csi__V1__ValidateVolumeCapabilitiesResponse__Confirmed *confirmed;
	Csi__V1__ValidateVolumeCapabilitiesResponse *reply = csi_new(
	    &csi__v1__validate_volume_capabilities_response__descriptor,
	    v->rpc.arena);
	struct csi_access access;
	struct err err = ERR_INIT;

	v->rpc.reply = reply;
	for (size_t i = 0; i < v->req->n_volume_capabilities; i++) {
		char *field = arena_fmt(
		    v->rpc.arena, "volume_capabilities[%zu]", i);

		if (csi_access_of(v->req->volume_capabilities[i], field,
			&access, &err) < 0 ||
		    csi_access_supported(&access, field, &err) < 0) {
			reply->message = arena_strdup(v->rpc.arena, err.text);
			return op_goto(v, VALIDATECAP_END);
		}
	}
	confirmed = csi_new(
	    &csi__v1__validate_volume_capabilities_response__confirmed__descriptor,
	    v->rpc.arena);
	/* Same entry type in all three maps on the wire. */
	confirmed->n_volume_capabilities = v->req->n_volume_capabilities;
	confirmed->volume_capabilities = v->req->volume_capabilities;
	for (size_t i = 0; i < v->req->n_volume_context; i++)
		volume_map_put(v->rpc.arena,
		    &csi__v1__validate_volume_capabilities_response__confirmed__volume_context_entry__descriptor,
		    &confirmed->volume_context, &confirmed->n_volume_context,
		    v->req->volume_context[i]->key,
		    v->req->volume_context[i]->value);
	for (size_t i = 0; i < v->req->n_parameters; i++)
		volume_map_put(v->rpc.arena,
		    &csi__v1__validate_volume_capabilities_response__confirmed__parameters_entry__descriptor,
		    &confirmed->parameters, &confirmed->n_parameters,
		    v->req->parameters[i]->key, v->req->parameters[i]->value);
	reply->confirmed = confirmed;
	return op_goto(v, VALIDATECAP_END);
}

static enum op_verdict
validate_capabilities_step(struct op *op)
{
	struct validate_capabilities *v = (struct validate_capabilities *)op;

	switch (v->state) {
	case VALIDATECAP_START:
		v->req = v->rpc.request;
		volume_lookup_start(&v->volume, &v->rpc, v->req->volume_id);
		return op_await(v, VALIDATECAP_FOUND);

	case VALIDATECAP_FOUND:
		if (op->rc < 0)
			return op_fail_err(
			    v, VALIDATECAP_END, &v->volume.op.err);
		return answer(v);

	case VALIDATECAP_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class validate_capabilities_class = {
	.name = "ValidateVolumeCapabilities",
	.step = validate_capabilities_step,
	.free = csi_rpc_free,
};

const struct csi_impl validate_capabilities_impl = {
	.method = "ValidateVolumeCapabilities",
	.cls = &validate_capabilities_class,
	.size = sizeof(struct validate_capabilities),
};
