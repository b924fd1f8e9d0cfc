/*
 * definitions.c - the definitions, in the order of csi.proto.
 */
#include "csi/definitions.h"

#include "admin.pb-c.h"
#include "csi.pb-c.h"
#include "csi/checks.h"
#include "worker.pb-c.h"

#include <string.h>

#define SECOND_MS INT64_C(1000)

#define RPC(svc, rpc, type)                                                    \
	.path = "/csi.v1." #svc "/" #rpc, .service = #svc, .name = #rpc,       \
	.request = &csi__v1__##type##_request__descriptor,                     \
	.reply = &csi__v1__##type##_response__descriptor

#define ADMIN(rpc, type)                                                       \
	.path = "/rbdcsi.admin.v1.Admin/" #rpc, .service = "Admin",            \
	.name = #rpc,                                                          \
	.request = &rbdcsi__admin__v1__##type##_request__descriptor,           \
	.reply = &rbdcsi__admin__v1__##type##_response__descriptor

#define INSTANT .place = CSI_INSTANT, .timeout_ms = 10 * SECOND_MS

#define IN_WORKER .place = CSI_WORKER, .with = CSI_WITH_CONTROLLER
#define ON_DAEMON                                                              \
	.place = CSI_DAEMON, .timeout_ms = 10 * SECOND_MS, .noun = "daemon"
#define ON_NODE .place = CSI_DAEMON, .with = CSI_WITH_NODE

#define CONTROLLER_CAN(name)                                                   \
	CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__##name
#define NODE_CAN(name) CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__##name

/* One function for each field that a lock goes by. */
#define KEY(function, request, field)                                          \
	static const char *function(const void *req)                           \
	{                                                                      \
		return ((const request *)req)->field;                          \
	}

KEY(create_volume_name, Csi__V1__CreateVolumeRequest, name)
KEY(delete_volume_id, Csi__V1__DeleteVolumeRequest, volume_id)
KEY(controller_publish_id, Csi__V1__ControllerPublishVolumeRequest, volume_id)
KEY(controller_unpublish_id, Csi__V1__ControllerUnpublishVolumeRequest,
    volume_id)
KEY(list_volumes_token, Csi__V1__ListVolumesRequest, starting_token)
KEY(list_health_token, Csi__V1__ControllerListVolumeHealthRequest,
    starting_token)
KEY(get_health_id, Csi__V1__ControllerGetVolumeHealthRequest, volume_id)
KEY(get_volume_id, Csi__V1__ControllerGetVolumeRequest, volume_id)
KEY(get_snapshot_id, Csi__V1__GetSnapshotRequest, snapshot_id)
KEY(validate_id, Csi__V1__ValidateVolumeCapabilitiesRequest, volume_id)
KEY(create_snapshot_name, Csi__V1__CreateSnapshotRequest, name)
KEY(create_snapshot_source, Csi__V1__CreateSnapshotRequest, source_volume_id)
KEY(delete_snapshot_id, Csi__V1__DeleteSnapshotRequest, snapshot_id)
KEY(expand_volume_id, Csi__V1__ControllerExpandVolumeRequest, volume_id)
KEY(modify_volume_id, Csi__V1__ControllerModifyVolumeRequest, volume_id)
KEY(audit_pool, Rbdcsi__Admin__V1__AuditRequest, pool)
KEY(admin_abort_id, Rbdcsi__Admin__V1__AbortRequest, volume_id)
KEY(node_stage_id, Csi__V1__NodeStageVolumeRequest, volume_id)
KEY(node_unstage_id, Csi__V1__NodeUnstageVolumeRequest, volume_id)
KEY(node_publish_path, Csi__V1__NodePublishVolumeRequest, target_path)
KEY(node_publish_id, Csi__V1__NodePublishVolumeRequest, volume_id)
KEY(node_unpublish_path, Csi__V1__NodeUnpublishVolumeRequest, target_path)
KEY(format_id, Worker__FormatRequest, volume_id)
KEY(node_stats_path, Csi__V1__NodeGetVolumeStatsRequest, volume_path)
KEY(node_expand_id, Csi__V1__NodeExpandVolumeRequest, volume_id)

static const char *
node_health_path(const void *req)
{
	const Csi__V1__NodeGetVolumeHealthRequest *r = req;

	return r->volume_publish_path[0] != '\0' ? r->volume_publish_path
	    : r->staging_target_path[0] != '\0'  ? r->staging_target_path
						 : r->volume_id;
}

/* The snapshot or the volume that a new one is filled with, if any. */
static const char *
create_volume_source(const void *req)
{
	const Csi__V1__CreateVolumeRequest *r = req;
	const Csi__V1__VolumeContentSource *source = r->volume_content_source;

	if (source == NULL)
		return NULL;
	if (source->type_case == CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT)
		return source->snapshot->snapshot_id;
	return source->type_case == CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME
	    ? source->volume->volume_id
	    : NULL;
}

/* The sidecar asks for many snapshots, one by one, at the same time. */
static const char *
list_snapshots_key(const void *req)
{
	const Csi__V1__ListSnapshotsRequest *r = req;

	if (*r->snapshot_id != '\0')
		return r->snapshot_id;
	return *r->source_volume_id != '\0' ? r->source_volume_id
					    : r->starting_token;
}

/*
 * Locks: a source is shared by all that copy it, which may wait long for a
 * flatten, so it is a lock of its own beside the volume's; whoever removes or
 * changes it has it for himself. Other Controller RPCs of a volume exclude
 * each other, so do stage, unstage and expand, publish and unpublish of one
 * path, and a publish, which may have to
 * stage anew, is one of the former, too. A stuck attach must not hold up the
 * controller, and stuck statistics must not hold up an unpublish, so these are
 * sets of their own; statistics have a lock so that kubelet's polls of a dead
 * file system join the one that hangs.
 */
const struct csi_definition csi_definitions[CSI_COUNT] = {
	[CSI_GET_PLUGIN_INFO] = { RPC(Identity, GetPluginInfo, get_plugin_info),
	    INSTANT },
	[CSI_GET_PLUGIN_CAPABILITIES] = { RPC(Identity, GetPluginCapabilities,
					      get_plugin_capabilities),
	    INSTANT },
	[CSI_PROBE] = { RPC(Identity, Probe, probe), INSTANT },

	[CSI_CREATE_VOLUME] = {
	    RPC(Controller, CreateVolume, create_volume),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(CREATE_DELETE_VOLUME),
		CONTROLLER_CAN(CLONE_VOLUME) },
	    .check = csi_check_create_volume,
	    .lock = { { CSI_LOCK_NAME, create_volume_name },
		{ CSI_LOCK_SOURCE, create_volume_source, .shared = true } },
	    .noun = "volume",
	    .session = { CSI_SESSION_OF_PARAMETERS },
	    .credentials = CSI_CREDENTIALS_REQUEST,
	},
	[CSI_DELETE_VOLUME] = {
	    RPC(Controller, DeleteVolume, delete_volume),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(CREATE_DELETE_VOLUME) },
	    .check = csi_check_volume,
	    .lock = { { CSI_LOCK_VOLUME, delete_volume_id },
		{ CSI_LOCK_SOURCE, delete_volume_id } },
	    .noun = "volume",
	    .session = { CSI_SESSION_OF_ID, "volume_id" },
	    .migrated = true,
	    .removes = true,
	    .credentials = CSI_CREDENTIALS_REQUEST,
	},
	[CSI_CONTROLLER_PUBLISH_VOLUME] = {
	    RPC(Controller, ControllerPublishVolume, controller_publish_volume),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(PUBLISH_UNPUBLISH_VOLUME) },
	    .check = csi_check_controller_publish,
	    .lock = { { CSI_LOCK_VOLUME, controller_publish_id } },
	    .noun = "volume",
	    .session = { CSI_SESSION_OF_ID, "volume_id" },
	    .credentials = CSI_CREDENTIALS_OPTIONAL,
	},
	[CSI_CONTROLLER_UNPUBLISH_VOLUME] = {
	    RPC(Controller, ControllerUnpublishVolume,
		controller_unpublish_volume),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(PUBLISH_UNPUBLISH_VOLUME) },
	    .check = csi_check_controller_unpublish,
	    .lock = { { CSI_LOCK_VOLUME, controller_unpublish_id } },
	    .noun = "volume",
	    .session = { CSI_SESSION_OF_ID, "volume_id" },
	    .removes = true,
	    .credentials = CSI_CREDENTIALS_BORROWED,
	},
	[CSI_VALIDATE_VOLUME_CAPABILITIES] = {
	    RPC(Controller, ValidateVolumeCapabilities,
		validate_volume_capabilities),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .check = csi_check_capabilities,
	    .lock = { { CSI_LOCK_NONE, validate_id } },
	    .noun = "volume",
	    .session = { CSI_SESSION_OF_ID, "volume_id" },
	    .credentials = CSI_CREDENTIALS_OPTIONAL,
	    .unasked = csi_capabilities_unasked,
	},
	[CSI_LIST_VOLUMES] = {
	    RPC(Controller, ListVolumes, list_volumes),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(LIST_VOLUMES),
		CONTROLLER_CAN(LIST_VOLUMES_PUBLISHED_NODES) },
	    .check = csi_check_list_volumes,
	    .lock = { { CSI_LOCK_LIST, list_volumes_token } },
	    .noun = "cluster",
	    .session = { CSI_SESSION_OF_ALL },
	    .credentials = CSI_CREDENTIALS_OF_CLUSTER,
	},
	[CSI_CONTROLLER_LIST_VOLUME_HEALTH] = {
	    RPC(Controller, ControllerListVolumeHealth,
		controller_list_volume_health),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(LIST_VOLUME_HEALTH) },
	    .check = csi_check_list_health,
	    .lock = { { CSI_LOCK_LIST, list_health_token } },
	    .noun = "cluster",
	    .session = { CSI_SESSION_OF_ALL },
	    .credentials = CSI_CREDENTIALS_OF_CLUSTER,
	},
	[CSI_CONTROLLER_GET_VOLUME_HEALTH] = {
	    RPC(Controller, ControllerGetVolumeHealth,
		controller_get_volume_health),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(GET_VOLUME_HEALTH) },
	    .check = csi_check_volume,
	    .lock = { { CSI_LOCK_NONE, get_health_id } },
	    .noun = "volume",
	    .session = { CSI_SESSION_OF_ID, "volume_id" },
	    .credentials = CSI_CREDENTIALS_OF_CLUSTER,
	},
	[CSI_GET_CAPACITY] = {
	    RPC(Controller, GetCapacity, get_capacity),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(GET_CAPACITY) },
	    .check = csi_check_get_capacity,
	    .noun = "cluster",
	    .session = { CSI_SESSION_OF_ALL },
	    .credentials = CSI_CREDENTIALS_OF_CLUSTER,
	},
	[CSI_CONTROLLER_GET_CAPABILITIES] = { RPC(Controller,
						  ControllerGetCapabilities,
						  controller_get_capabilities),
	    INSTANT, .with = CSI_WITH_CONTROLLER },
	[CSI_CREATE_SNAPSHOT] = {
	    RPC(Controller, CreateSnapshot, create_snapshot),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(CREATE_DELETE_SNAPSHOT) },
	    .check = csi_check_create_snapshot,
	    .lock = { { CSI_LOCK_SNAPSHOT_NAME, create_snapshot_name },
		{ CSI_LOCK_SOURCE, create_snapshot_source, .shared = true } },
	    .noun = "snapshot",
	    .session = { CSI_SESSION_OF_ID, "source_volume_id" },
	    .credentials = CSI_CREDENTIALS_REQUEST,
	},
	[CSI_DELETE_SNAPSHOT] = {
	    RPC(Controller, DeleteSnapshot, delete_snapshot),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(CREATE_DELETE_SNAPSHOT) },
	    .check = csi_check_snapshot,
	    .lock = { { CSI_LOCK_SOURCE, delete_snapshot_id } },
	    .noun = "snapshot",
	    .session = { CSI_SESSION_OF_ID, "snapshot_id" },
	    .removes = true,
	    .credentials = CSI_CREDENTIALS_REQUEST,
	},
	[CSI_LIST_SNAPSHOTS] = {
	    RPC(Controller, ListSnapshots, list_snapshots),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(LIST_SNAPSHOTS) },
	    .check = csi_check_list_snapshots,
	    .lock = { { CSI_LOCK_LIST, list_snapshots_key } },
	    .noun = "snapshot",
	    .session = { CSI_SESSION_OF_ALL },
	    .credentials = CSI_CREDENTIALS_OF_CLUSTER,
	},
	[CSI_GET_SNAPSHOT] = {
	    RPC(Controller, GetSnapshot, get_snapshot),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(GET_SNAPSHOT) },
	    .check = csi_check_snapshot,
	    .lock = { { CSI_LOCK_NONE, get_snapshot_id } },
	    .noun = "snapshot",
	    .session = { CSI_SESSION_OF_ID, "snapshot_id" },
	    .credentials = CSI_CREDENTIALS_OF_CLUSTER,
	},
	[CSI_CONTROLLER_EXPAND_VOLUME] = {
	    RPC(Controller, ControllerExpandVolume, controller_expand_volume),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(EXPAND_VOLUME) },
	    .check = csi_check_controller_expand,
	    .lock = { { CSI_LOCK_VOLUME, expand_volume_id },
		{ CSI_LOCK_SOURCE, expand_volume_id } },
	    .noun = "volume",
	    .session = { CSI_SESSION_OF_ID, "volume_id" },
	    .migrated = true,
	    .credentials = CSI_CREDENTIALS_REQUEST,
	},
	[CSI_CONTROLLER_GET_VOLUME] = {
	    RPC(Controller, ControllerGetVolume, controller_get_volume),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(GET_VOLUME) },
	    .check = csi_check_volume,
	    .lock = { { CSI_LOCK_NONE, get_volume_id } },
	    .noun = "volume",
	    .session = { CSI_SESSION_OF_ID, "volume_id" },
	    .credentials = CSI_CREDENTIALS_OF_CLUSTER,
	},
	[CSI_CONTROLLER_MODIFY_VOLUME] = {
	    RPC(Controller, ControllerModifyVolume, controller_modify_volume),
	    IN_WORKER,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { CONTROLLER_CAN(MODIFY_VOLUME) },
	    .check = csi_check_modify_volume,
	    .lock = { { CSI_LOCK_VOLUME, modify_volume_id },
		{ CSI_LOCK_SOURCE, modify_volume_id } },
	    .noun = "volume",
	    .session = { CSI_SESSION_OF_ID, "volume_id" },
	    .credentials = CSI_CREDENTIALS_REQUEST,
	},

	[CSI_GROUP_CONTROLLER_GET_CAPABILITIES] = { RPC(GroupController,
	    GroupControllerGetCapabilities,
	    group_controller_get_capabilities) },
	[CSI_CREATE_VOLUME_GROUP_SNAPSHOT] = { RPC(GroupController,
	    CreateVolumeGroupSnapshot, create_volume_group_snapshot) },
	[CSI_DELETE_VOLUME_GROUP_SNAPSHOT] = { RPC(GroupController,
	    DeleteVolumeGroupSnapshot, delete_volume_group_snapshot) },
	[CSI_GET_VOLUME_GROUP_SNAPSHOT] = { RPC(GroupController,
	    GetVolumeGroupSnapshot, get_volume_group_snapshot) },

	[CSI_GET_METADATA_ALLOCATED] = { RPC(SnapshotMetadata,
					     GetMetadataAllocated,
					     get_metadata_allocated),
	    .stream = true },
	[CSI_GET_METADATA_DELTA] = { RPC(SnapshotMetadata, GetMetadataDelta,
					 get_metadata_delta),
	    .stream = true },

	[CSI_NODE_STAGE_VOLUME] = {
	    RPC(Node, NodeStageVolume, node_stage_volume),
	    ON_NODE,
	    .timeout_ms = 120 * SECOND_MS,
	    .capability = { NODE_CAN(STAGE_UNSTAGE_VOLUME) },
	    .check = csi_check_node_stage,
	    .lock = { { CSI_LOCK_STAGE, node_stage_id } },
	    .noun = "volume",
	    .credentials = CSI_CREDENTIALS_REQUEST,
	},
	[CSI_NODE_UNSTAGE_VOLUME] = {
	    RPC(Node, NodeUnstageVolume, node_unstage_volume),
	    ON_NODE,
	    .timeout_ms = 120 * SECOND_MS,
	    .capability = { NODE_CAN(STAGE_UNSTAGE_VOLUME) },
	    .check = csi_check_node_unstage,
	    .lock = { { CSI_LOCK_STAGE, node_unstage_id } },
	    .noun = "volume",
	},
	[CSI_NODE_PUBLISH_VOLUME] = {
	    RPC(Node, NodePublishVolume, node_publish_volume),
	    ON_NODE,
	    .timeout_ms = 60 * SECOND_MS,
	    .capability = { NODE_CAN(SINGLE_NODE_MULTI_WRITER) },
	    .check = csi_check_node_publish,
	    .lock = { { CSI_LOCK_PATH, node_publish_path },
		{ CSI_LOCK_STAGE, node_publish_id } },
	    .noun = "path",
	},
	[CSI_NODE_UNPUBLISH_VOLUME] = {
	    RPC(Node, NodeUnpublishVolume, node_unpublish_volume),
	    ON_NODE,
	    .timeout_ms = 60 * SECOND_MS,
	    .check = csi_check_node_unpublish,
	    .lock = { { CSI_LOCK_PATH, node_unpublish_path } },
	    .noun = "path",
	},
	[CSI_NODE_GET_VOLUME_STATS] = {
	    RPC(Node, NodeGetVolumeStats, node_get_volume_stats),
	    ON_NODE,
	    .timeout_ms = 30 * SECOND_MS,
	    .capability = { NODE_CAN(GET_VOLUME_STATS),
		NODE_CAN(VOLUME_CONDITION) },
	    .check = csi_check_node_stats,
	    .lock = { { CSI_LOCK_STATS, node_stats_path } },
	    .noun = "path",
	},
	[CSI_NODE_GET_VOLUME_HEALTH] = {
	    RPC(Node, NodeGetVolumeHealth, node_get_volume_health),
	    ON_NODE,
	    .timeout_ms = 30 * SECOND_MS,
	    .capability = { NODE_CAN(GET_VOLUME_HEALTH) },
	    .check = csi_check_node_health,
	    .lock = { { CSI_LOCK_STATS, node_health_path } },
	    .noun = "path",
	},
	[CSI_NODE_GET_STORAGE_HEALTH] = {
	    RPC(Node, NodeGetStorageHealth, node_get_storage_health),
	    ON_NODE,
	    .timeout_ms = 10 * SECOND_MS,
	    .capability = { NODE_CAN(GET_STORAGE_HEALTH) },
	    .noun = "node",
	},
	[CSI_NODE_EXPAND_VOLUME] = {
	    RPC(Node, NodeExpandVolume, node_expand_volume),
	    ON_NODE,
	    .timeout_ms = 120 * SECOND_MS,
	    .capability = { NODE_CAN(EXPAND_VOLUME) },
	    .check = csi_check_node_expand,
	    .lock = { { CSI_LOCK_STAGE, node_expand_id } },
	    .noun = "volume",
	},
	/*
	 * A controller answers it, too: external-resizer asks for it on the
	 * controller's socket and ends when it gets an error.
	 */
	[CSI_NODE_GET_CAPABILITIES] = { RPC(Node, NodeGetCapabilities,
					    node_get_capabilities),
	    INSTANT },
	[CSI_NODE_GET_INFO] = { RPC(Node, NodeGetInfo, node_get_info), INSTANT,
	    .with = CSI_WITH_NODE },

	[CSI_ADMIN_AUDIT] = {
	    ADMIN(Audit, audit),
	    IN_WORKER,
	    .timeout_ms = 120 * SECOND_MS,
	    .check = csi_check_audit,
	    .lock = { { CSI_LOCK_NONE, audit_pool } },
	    .noun = "pool",
	    .session = { CSI_SESSION_OF_FIELD, "cluster_id" },
	    .credentials = CSI_CREDENTIALS_REQUEST,
	},
	[CSI_ADMIN_LIST_OPERATIONS] = {
	    ADMIN(ListOperations, list_operations),
	    .place = CSI_STREAM,
	    .stream = true,
	},
	[CSI_ADMIN_ABORT] = {
	    ADMIN(Abort, abort),
	    ON_NODE,
	    .timeout_ms = 120 * SECOND_MS,
	    .check = csi_check_abort,
	    .lock = { { CSI_LOCK_ABORT, admin_abort_id } },
	    .noun = "volume",
	},

	[CSI_ADMIN_LIST_SESSIONS] = {
	    ADMIN(ListSessions, list_sessions),
	    ON_DAEMON,
	},
	[CSI_ADMIN_TRACE] = {
	    ADMIN(Trace, trace),
	    ON_DAEMON,
	},
	[CSI_ADMIN_METRICS] = {
	    ADMIN(Metrics, metrics),
	    ON_DAEMON,
	},
	[CSI_ADMIN_SET_LOG_LEVEL] = {
	    ADMIN(SetLogLevel, set_log_level),
	    ON_DAEMON,
	    .check = csi_check_log_level,
	},
	[CSI_ADMIN_LIST_NODE_VOLUMES] = {
	    ADMIN(ListNodeVolumes, list_node_volumes),
	    ON_NODE,
	    .timeout_ms = 60 * SECOND_MS,
	    .noun = "node",
	},

	/* What a Node RPC asks about formatting: proto/worker.proto. */
	[CSI_FORMAT] = {
	    .path = "/worker/Format",
	    .service = "worker",
	    .name = "Format",
	    .request = &worker__format_request__descriptor,
	    .reply = &worker__format_reply__descriptor,
	    .place = CSI_WORKER,
	    .lock = { { CSI_LOCK_VOLUME, format_id } },
	    .noun = "volume",
	},
};

const char *
csi_definition_key(const struct csi_definition *def, const void *request)
{
	return def->lock[0].key != NULL ? def->lock[0].key(request) : "";
}

const struct csi_definition *
csi_definition_find(const char *path)
{
	for (size_t i = 0; i < CSI_CLIENT_COUNT; i++)
		if (strcmp(csi_definitions[i].path, path) == 0)
			return &csi_definitions[i];
	return NULL;
}

bool
csi_capability_is_served(const char *service, int capability, bool credentials)
{
	const struct csi_serving with = { true, true, credentials };
	bool found = false;

	/* 0 is CSI's UNKNOWN, and what the rows have that have none. */
	for (size_t i = 0; capability != 0 && i < CSI_CLIENT_COUNT; i++) {
		const struct csi_definition *def = &csi_definitions[i];

		if (!str_eq(def->service, service) ||
		    (def->capability[0] != capability &&
			def->capability[1] != capability))
			continue;
		if (!csi_is_served_with(def, &with))
			return false;
		found = true;
	}
	return found;
}
