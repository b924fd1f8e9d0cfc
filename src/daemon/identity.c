/*
 * identity.c - one function for each instant RPC. Capabilities are told only
 * when they are true: sidecars rely on them.
 */
#include "daemon/identity.h"

#include "csi.pb-c.h"
#include "csi/rpc.h"
#include <config.h>

/* A repeated message field of `n` entries, in the arena. */
static void *
list_of(struct arena *arena, size_t n)
{
	return arena_new_bytes(arena, n * sizeof(void *));
}

static char *
copy(struct arena *arena, const char *s)
{
	return arena_strdup(arena, s);
}

static void *
get_plugin_info(const struct identity *who, struct arena *arena)
{
	Csi__V1__GetPluginInfoResponse *reply = csi_new(
	    &csi__v1__get_plugin_info_response__descriptor, arena);

	reply->name = copy(arena, who->driver_name);
	reply->vendor_version = copy(arena, PACKAGE_VERSION);
	return reply;
}

static void *
get_plugin_capabilities(const struct identity *who, struct arena *arena)
{
	Csi__V1__GetPluginCapabilitiesResponse *reply = csi_new(
	    &csi__v1__get_plugin_capabilities_response__descriptor, arena);
	Csi__V1__PluginCapability *capability;

	if (!who->controller)
		return reply;
	reply->capabilities = list_of(arena, 1);
	capability = csi_new(&csi__v1__plugin_capability__descriptor, arena);
	capability->type_case = CSI__V1__PLUGIN_CAPABILITY__TYPE_SERVICE;
	capability->service = csi_new(
	    &csi__v1__plugin_capability__service__descriptor, arena);
	capability->service->type =
	    CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__CONTROLLER_SERVICE;
	reply->capabilities[reply->n_capabilities++] = capability;
	return reply;
}

/* An absent `ready` means ready; the daemon listens only once it is. */
static void *
probe(const struct identity *who, struct arena *arena)
{
	(void)who;
	return csi_new(&csi__v1__probe_response__descriptor, arena);
}

static void *
controller_get_capabilities(const struct identity *who, struct arena *arena)
{
	static const Csi__V1__ControllerServiceCapability__RPC__Type served[] = {
		CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__CREATE_DELETE_VOLUME,
		CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__PUBLISH_UNPUBLISH_VOLUME,
	};
	Csi__V1__ControllerGetCapabilitiesResponse *reply = csi_new(
	    &csi__v1__controller_get_capabilities_response__descriptor, arena);

	(void)who;
	reply->capabilities = list_of(arena, countof(served));
	for (size_t i = 0; i < countof(served); i++) {
		Csi__V1__ControllerServiceCapability *capability = csi_new(
		    &csi__v1__controller_service_capability__descriptor, arena);

		capability->type_case =
		    CSI__V1__CONTROLLER_SERVICE_CAPABILITY__TYPE_RPC;
		capability->rpc = csi_new(
		    &csi__v1__controller_service_capability__rpc__descriptor,
		    arena);
		capability->rpc->type = served[i];
		reply->capabilities[reply->n_capabilities++] = capability;
	}
	return reply;
}

static void *
node_get_capabilities(const struct identity *who, struct arena *arena)
{
	static const Csi__V1__NodeServiceCapability__RPC__Type served[] = {
		CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__STAGE_UNSTAGE_VOLUME,
		CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__GET_VOLUME_STATS,
		CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__VOLUME_CONDITION,
		CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__SINGLE_NODE_MULTI_WRITER,
	};
	Csi__V1__NodeGetCapabilitiesResponse *reply = csi_new(
	    &csi__v1__node_get_capabilities_response__descriptor, arena);

	(void)who;
	reply->capabilities = list_of(arena, countof(served));
	for (size_t i = 0; i < countof(served); i++) {
		Csi__V1__NodeServiceCapability *capability = csi_new(
		    &csi__v1__node_service_capability__descriptor, arena);

		capability->type_case =
		    CSI__V1__NODE_SERVICE_CAPABILITY__TYPE_RPC;
		capability->rpc = csi_new(
		    &csi__v1__node_service_capability__rpc__descriptor, arena);
		capability->rpc->type = served[i];
		reply->capabilities[reply->n_capabilities++] = capability;
	}
	return reply;
}

static void *
node_get_info(const struct identity *who, struct arena *arena)
{
	Csi__V1__NodeGetInfoResponse *reply = csi_new(
	    &csi__v1__node_get_info_response__descriptor, arena);

	reply->node_id = copy(arena, who->node_id);
	return reply;
}

static const struct {
	const char *method;
	void *(*make)(const struct identity *who, struct arena *arena);
} instants[] = {
	{ "GetPluginInfo", get_plugin_info },
	{ "GetPluginCapabilities", get_plugin_capabilities },
	{ "Probe", probe },
	{ "ControllerGetCapabilities", controller_get_capabilities },
	{ "NodeGetCapabilities", node_get_capabilities },
	{ "NodeGetInfo", node_get_info },
};

const void *
identity_reply(const struct identity *who, const struct csi_method *method,
    struct arena *arena)
{
	for (size_t i = 0; i < countof(instants); i++)
		if (str_eq(method->name, instants[i].method))
			return instants[i].make(who, arena);
	return NULL;
}
