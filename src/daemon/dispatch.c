/*
 * dispatch.c - who serves a call: the daemon at once, a request, or nobody.
 * Capabilities are told only when they are true: sidecars rely on them.
 */
#include "daemon/dispatch.h"

#include "csi.pb-c.h"
#include "daemon/operations.h"
#include <config.h>

#include <string.h>

static struct {
	struct dispatch_setup setup;
	struct csi_serving serving;
	struct arena *arena; /* has the answers */
	/* What an instant RPC answers never changes: it is packed once. */
	struct {
		const void *bytes;
		size_t len;
	} answers[CSI_COUNT];
} dp;

/* ---- what the daemon knows ----------------------------------------------- */

static void
get_plugin_info(void *message)
{
	Csi__V1__GetPluginInfoResponse *reply = message;

	reply->name = arena_strdup(dp.arena, dp.setup.driver_name);
	reply->vendor_version = arena_strdup(dp.arena, PACKAGE_VERSION);
}

static Csi__V1__PluginCapability *
plugin_can(Csi__V1__GetPluginCapabilitiesResponse *reply)
{
	Csi__V1__PluginCapability *can = csi_new(
	    &csi__v1__plugin_capability__descriptor, dp.arena);

	reply->capabilities[reply->n_capabilities++] = can;
	return can;
}

static void
get_plugin_capabilities(void *message)
{
	static const Csi__V1__PluginCapability__Service__Type services[] = {
		CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__CONTROLLER_SERVICE,
		CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__VOLUME_ACCESSIBILITY_CONSTRAINTS,
	};
	Csi__V1__GetPluginCapabilitiesResponse *reply = message;
	Csi__V1__PluginCapability *can;

	if (!dp.setup.controller)
		return;
	reply->capabilities = arena_new_bytes(
	    dp.arena, (countof(services) + 1) * sizeof(void *));
	for (size_t i = 0; i < countof(services); i++) {
		can = plugin_can(reply);
		can->type_case = CSI__V1__PLUGIN_CAPABILITY__TYPE_SERVICE;
		can->service = csi_new(
		    &csi__v1__plugin_capability__service__descriptor, dp.arena);
		can->service->type = services[i];
	}
	can = plugin_can(reply);
	can->type_case = CSI__V1__PLUGIN_CAPABILITY__TYPE_VOLUME_EXPANSION;
	can->volume_expansion = csi_new(
	    &csi__v1__plugin_capability__volume_expansion__descriptor,
	    dp.arena);
	can->volume_expansion->type =
	    CSI__V1__PLUGIN_CAPABILITY__VOLUME_EXPANSION__TYPE__ONLINE;
}

static void
controller_get_capabilities(void *message)
{
	const ProtobufCEnumDescriptor *types =
	    &csi__v1__controller_service_capability__rpc__type__descriptor;
	Csi__V1__ControllerGetCapabilitiesResponse *reply = message;

	reply->capabilities = arena_new_bytes(
	    dp.arena, types->n_values * sizeof(void *));
	for (unsigned i = 0; i < types->n_values; i++) {
		Csi__V1__ControllerServiceCapability *can;

		if (!csi_capability_is_served("Controller",
			types->values[i].value, dp.serving.credentials))
			continue;
		can = csi_new(
		    &csi__v1__controller_service_capability__descriptor,
		    dp.arena);
		can->type_case =
		    CSI__V1__CONTROLLER_SERVICE_CAPABILITY__TYPE_RPC;
		can->rpc = csi_new(
		    &csi__v1__controller_service_capability__rpc__descriptor,
		    dp.arena);
		can->rpc->type =
		    (Csi__V1__ControllerServiceCapability__RPC__Type)types
			->values[i]
			.value;
		reply->capabilities[reply->n_capabilities++] = can;
	}
}

static void
node_get_capabilities(void *message)
{
	const ProtobufCEnumDescriptor *types =
	    &csi__v1__node_service_capability__rpc__type__descriptor;
	Csi__V1__NodeGetCapabilitiesResponse *reply = message;

	reply->capabilities = arena_new_bytes(
	    dp.arena, types->n_values * sizeof(void *));
	for (unsigned i = 0; i < types->n_values; i++) {
		Csi__V1__NodeServiceCapability *can;

		if (!csi_capability_is_served(
			"Node", types->values[i].value, dp.serving.credentials))
			continue;
		can = csi_new(
		    &csi__v1__node_service_capability__descriptor, dp.arena);
		can->type_case = CSI__V1__NODE_SERVICE_CAPABILITY__TYPE_RPC;
		can->rpc = csi_new(
		    &csi__v1__node_service_capability__rpc__descriptor,
		    dp.arena);
		can->rpc->type = (Csi__V1__NodeServiceCapability__RPC__Type)
				     types->values[i]
					 .value;
		reply->capabilities[reply->n_capabilities++] = can;
	}
}

static void
add_segment(void *arg, const char *key, const char *value)
{
	Csi__V1__Topology *topology = arg;
	Csi__V1__Topology__SegmentsEntry *entry = csi_new(
	    &csi__v1__topology__segments_entry__descriptor, dp.arena);

	entry->key = (char *)(uintptr_t)key;
	entry->value = (char *)(uintptr_t)value;
	topology->segments[topology->n_segments++] = entry;
}

static void
node_get_info(void *message)
{
	Csi__V1__NodeGetInfoResponse *reply = message;
	Csi__V1__Topology *topology;

	reply->node_id = arena_strdup(dp.arena, dp.setup.node_id);
	reply->max_volumes_per_node = dp.setup.max_volumes;
	/* As with ceph-csi it is there also without any segment. */
	topology = csi_new(&csi__v1__topology__descriptor, dp.arena);
	reply->accessible_topology = topology;
	if (dp.setup.labels == NULL || str_is_empty(dp.setup.domain_labels))
		return;
	topology->segments = arena_new_bytes(dp.arena,
	    strlen(dp.setup.domain_labels) * sizeof(*topology->segments));
	/* It has been seen that the node has them. */
	(void)!labels_topology(dp.setup.labels, dp.setup.domain_labels,
	    dp.setup.driver_name, dp.arena, add_segment, topology, NULL);
}

/* Fills an empty reply. An empty Probe means ready: the daemon listens. */
static void (*const instant_fill[CSI_COUNT])(void *message) = {
	[CSI_GET_PLUGIN_INFO] = get_plugin_info,
	[CSI_GET_PLUGIN_CAPABILITIES] = get_plugin_capabilities,
	[CSI_CONTROLLER_GET_CAPABILITIES] = controller_get_capabilities,
	[CSI_NODE_GET_CAPABILITIES] = node_get_capabilities,
	[CSI_NODE_GET_INFO] = node_get_info,
};

static void
dispatch_instant(struct call *call, const struct csi_definition *def)
{
	enum csi_id id = csi_definition_id(def);
	struct err err = ERR_INIT;

	call->quiet = true;
	/* No bytes are a message, too: the usual one. */
	if (call->request_len == 0 ||
	    csi_unpack(def->request, call_arena(call), call->request,
		call->request_len, &err) != NULL)
		call_reply(call, dp.answers[id].bytes, dp.answers[id].len);
	else
		call_fail_err(call, &err);
}

/* RPCs whose answer is a stream. */
static call_handler *const stream_start[CSI_COUNT] = {
	[CSI_ADMIN_LIST_OPERATIONS] = operations_list,
};

/* ---- calls --------------------------------------------------------------- */

void
dispatch_call(struct call *call)
{
	const struct csi_definition *def = csi_definition_find(call->path);
	struct err err = ERR_INIT;

	call->method = def;
	if (def == NULL)
		(void)err_set(
		    &err, ERR_UNIMPLEMENTED, "unknown method %s", call->path);
	else if (def->place == CSI_UNSERVED)
		(void)err_set(&err, ERR_UNIMPLEMENTED,
		    "%s is not served by this driver", def->name);
	else if (def->credentials == CSI_CREDENTIALS_OF_CLUSTER &&
	    !dp.serving.credentials)
		(void)err_set(&err, ERR_UNIMPLEMENTED,
		    "%s needs --credentials-dir, which this process does not have",
		    def->name);
	else if (!csi_is_served_with(def, &dp.serving))
		(void)err_set(&err, ERR_UNIMPLEMENTED,
		    "%s: this process does not serve the %s service", def->name,
		    def->with == CSI_WITH_NODE ? "Node" : "Controller");
	if (def == NULL || err_is_set(&err))
		call_fail_err(call, &err);
	else if (def->place == CSI_INSTANT)
		dispatch_instant(call, def);
	else if (def->place == CSI_STREAM)
		stream_start[csi_definition_id(def)](call);
	else
		request_take(call, def);
}

/* Why the capabilities of some RPCs are not told. */
static void
tell_unserved(void)
{
	struct buf names;

	buf_init(&names, CSI_CLIENT_COUNT * 64);
	for (size_t i = 0; i < CSI_CLIENT_COUNT; i++)
		if (csi_definitions[i].credentials ==
		    CSI_CREDENTIALS_OF_CLUSTER)
			(void)buf_printf(&names, "%s%s",
			    names.len > 0 ? "," : "", csi_definitions[i].name);
	log_info("controller.unserved",
	    "methods=%.*s text=\"CSI gives them no secrets, and --credentials-dir is not set\"",
	    (int)names.len, (const char *)names.data);
	buf_fini(&names);
}

void
dispatch_init(const struct dispatch_setup *setup)
{
	struct requests_setup requests = setup->requests;
	struct err err = ERR_INIT;

	dp.setup = *setup;
	dp.serving = (struct csi_serving){
		.controller = setup->controller,
		.node = setup->node,
		.credentials = !str_is_empty(requests.credentials_dir),
	};
	if (setup->controller && !dp.serving.credentials)
		tell_unserved();
	dp.arena = csi_arena_new();
	for (size_t i = 0; i < CSI_COUNT; i++) {
		void *reply;

		if (csi_definitions[i].place != CSI_INSTANT)
			continue;
		reply = csi_new(csi_definitions[i].reply, dp.arena);
		if (instant_fill[i] != NULL)
			instant_fill[i](reply);
		dp.answers[i].bytes = csi_pack(
		    reply, dp.arena, &dp.answers[i].len, &err);
	}
	csi_impls_check(requests.impls, CSI_DAEMON, &dp.serving);
	requests.driver_name = setup->driver_name;
	requests_init(&requests);
}

void
dispatch_fini(void)
{
	requests_fini();
	arena_free(dp.arena);
	dp.arena = NULL;
}
