/*
 * methods.c - one entry for each RPC of CSI 1.13, in the order of csi.proto,
 * and for those of rbd-csid's own service.
 */
#include "csi/methods.h"

#include "admin.pb-c.h"
#include "csi.pb-c.h"
#include "csi/validate.h"
#include "worker.pb-c.h"

#include <string.h>

#define SECOND_MS INT64_C(1000)

#define METHOD(svc, rpc, type)                                                 \
	.path = "/csi.v1." #svc "/" #rpc,                                      \
	.path_len = sizeof("/csi.v1." #svc "/" #rpc) - 1, .service = #svc,     \
	.name = #rpc, .request = &csi__v1__##type##_request__descriptor,       \
	.reply = &csi__v1__##type##_response__descriptor

#define INSTANT                                                                \
	.served = true, .run = CSI_RUN_INSTANT, .timeout_ms = 10 * SECOND_MS,  \
	.validate = csi_validate_none

/* One function for each field that a lock goes by. */
#define KEY(function, request, field)                                          \
	static const char *function(const void *req)                           \
	{                                                                      \
		return ((const Csi__V1__##request *)req)->field;               \
	}

KEY(create_volume_key, CreateVolumeRequest, name)
KEY(delete_volume_key, DeleteVolumeRequest, volume_id)
KEY(controller_publish_key, ControllerPublishVolumeRequest, volume_id)
KEY(controller_unpublish_key, ControllerUnpublishVolumeRequest, volume_id)
KEY(node_stage_key, NodeStageVolumeRequest, volume_id)
KEY(node_unstage_key, NodeUnstageVolumeRequest, volume_id)
KEY(node_publish_key, NodePublishVolumeRequest, target_path)
KEY(node_publish_volume, NodePublishVolumeRequest, volume_id)
KEY(node_unpublish_key, NodeUnpublishVolumeRequest, target_path)
KEY(node_stats_key, NodeGetVolumeStatsRequest, volume_path)

static const char *
format_key(const void *request)
{
	return ((const Worker__FormatRequest *)request)->volume_id;
}

const struct csi_method csi_method_format = {
	.path = "/worker/Format",
	.path_len = sizeof("/worker/Format") - 1,
	.service = "worker",
	.name = "Format",
	.request = &worker__format_request__descriptor,
	.reply = &worker__format_reply__descriptor,
	.served = true,
	.run = CSI_RUN_CONTROLLER,
	.validate = csi_validate_none,
	.key = format_key,
};

/*
 * Locks: Controller RPCs of a volume exclude each other ("volume"), so do
 * stage and unstage ("stage"), publish and unpublish of one path ("path"), and
 * a publish, which may have to stage anew, is one of the former, too. A stuck
 * attach must not hold up the controller, and stuck statistics must not
 * hold up an unpublish, so these are sets of their own; statistics have a lock
 * so that kubelet's polls of a dead file system join the one that hangs.
 */
static const struct csi_method methods[] = {
	{ METHOD(Identity, GetPluginInfo, get_plugin_info), INSTANT },
	{ METHOD(Identity, GetPluginCapabilities, get_plugin_capabilities),
	    INSTANT },
	{ METHOD(Identity, Probe, probe), INSTANT },

	{
	    METHOD(Controller, CreateVolume, create_volume),
	    .served = true,
	    .run = CSI_RUN_CONTROLLER,
	    .secrets = CSI_SECRETS_REQUIRED,
	    .timeout_ms = 60 * SECOND_MS,
	    .validate = csi_validate_create_volume,
	    .lock = "name",
	    .key = create_volume_key,
	},
	{
	    METHOD(Controller, DeleteVolume, delete_volume),
	    .served = true,
	    .run = CSI_RUN_CONTROLLER,
	    .secrets = CSI_SECRETS_REQUIRED,
	    .timeout_ms = 60 * SECOND_MS,
	    .validate = csi_validate_delete_volume,
	    .lock = "volume",
	    .key = delete_volume_key,
	},
	{
	    METHOD(
		Controller, ControllerPublishVolume, controller_publish_volume),
	    .served = true,
	    .run = CSI_RUN_CONTROLLER,
	    .secrets = CSI_SECRETS_OPTIONAL,
	    .timeout_ms = 60 * SECOND_MS,
	    .validate = csi_validate_controller_publish,
	    .lock = "volume",
	    .key = controller_publish_key,
	},
	{
	    METHOD(Controller, ControllerUnpublishVolume,
		controller_unpublish_volume),
	    .served = true,
	    .run = CSI_RUN_CONTROLLER,
	    .secrets = CSI_SECRETS_OPTIONAL,
	    .timeout_ms = 60 * SECOND_MS,
	    .validate = csi_validate_controller_unpublish,
	    .lock = "volume",
	    .key = controller_unpublish_key,
	},
	{
	    METHOD(Controller, ValidateVolumeCapabilities,
		validate_volume_capabilities),
	    .served = true,
	    .run = CSI_RUN_CONTROLLER,
	    .secrets = CSI_SECRETS_OPTIONAL,
	    .timeout_ms = 60 * SECOND_MS,
	    .validate = csi_validate_capabilities,
	},
	{ METHOD(Controller, ListVolumes, list_volumes) },
	{ METHOD(Controller, ControllerListVolumeHealth,
	    controller_list_volume_health) },
	{ METHOD(Controller, ControllerGetVolumeHealth,
	    controller_get_volume_health) },
	{ METHOD(Controller, GetCapacity, get_capacity) },
	{ METHOD(Controller, ControllerGetCapabilities,
	      controller_get_capabilities),
	    INSTANT },
	{ METHOD(Controller, CreateSnapshot, create_snapshot) },
	{ METHOD(Controller, DeleteSnapshot, delete_snapshot) },
	{ METHOD(Controller, ListSnapshots, list_snapshots) },
	{ METHOD(Controller, GetSnapshot, get_snapshot) },
	{ METHOD(
	    Controller, ControllerExpandVolume, controller_expand_volume) },
	{ METHOD(Controller, ControllerGetVolume, controller_get_volume) },
	{ METHOD(
	    Controller, ControllerModifyVolume, controller_modify_volume) },

	{ METHOD(GroupController, GroupControllerGetCapabilities,
	    group_controller_get_capabilities) },
	{ METHOD(GroupController, CreateVolumeGroupSnapshot,
	    create_volume_group_snapshot) },
	{ METHOD(GroupController, DeleteVolumeGroupSnapshot,
	    delete_volume_group_snapshot) },
	{ METHOD(GroupController, GetVolumeGroupSnapshot,
	    get_volume_group_snapshot) },

	{ METHOD(
	      SnapshotMetadata, GetMetadataAllocated, get_metadata_allocated),
	    .stream = true },
	{ METHOD(SnapshotMetadata, GetMetadataDelta, get_metadata_delta),
	    .stream = true },

	{
	    METHOD(Node, NodeStageVolume, node_stage_volume),
	    .served = true,
	    .run = CSI_RUN_NODE,
	    .secrets = CSI_SECRETS_REQUIRED,
	    .timeout_ms = 120 * SECOND_MS,
	    .validate = csi_validate_node_stage,
	    .lock = "stage",
	    .key = node_stage_key,
	},
	{
	    METHOD(Node, NodeUnstageVolume, node_unstage_volume),
	    .served = true,
	    .run = CSI_RUN_NODE,
	    .timeout_ms = 120 * SECOND_MS,
	    .validate = csi_validate_node_unstage,
	    .lock = "stage",
	    .key = node_unstage_key,
	},
	{
	    METHOD(Node, NodePublishVolume, node_publish_volume),
	    .served = true,
	    .run = CSI_RUN_NODE,
	    .timeout_ms = 60 * SECOND_MS,
	    .validate = csi_validate_node_publish,
	    .lock = "path",
	    .key = node_publish_key,
	    .then_lock = "stage",
	    .then_key = node_publish_volume,
	},
	{
	    METHOD(Node, NodeUnpublishVolume, node_unpublish_volume),
	    .served = true,
	    .run = CSI_RUN_NODE,
	    .timeout_ms = 60 * SECOND_MS,
	    .validate = csi_validate_node_unpublish,
	    .lock = "path",
	    .key = node_unpublish_key,
	},
	{
	    METHOD(Node, NodeGetVolumeStats, node_get_volume_stats),
	    .served = true,
	    .run = CSI_RUN_NODE,
	    .timeout_ms = 30 * SECOND_MS,
	    .validate = csi_validate_node_stats,
	    .lock = "stats",
	    .key = node_stats_key,
	},
	{ METHOD(Node, NodeGetVolumeHealth, node_get_volume_health) },
	{ METHOD(Node, NodeGetStorageHealth, node_get_storage_health) },
	{ METHOD(Node, NodeExpandVolume, node_expand_volume) },
	{ METHOD(Node, NodeGetCapabilities, node_get_capabilities), INSTANT },
	{ METHOD(Node, NodeGetInfo, node_get_info), INSTANT },

	{
	    .path = "/rbdcsi.admin.v1.Admin/Audit",
	    .path_len = sizeof("/rbdcsi.admin.v1.Admin/Audit") - 1,
	    .service = "Admin",
	    .name = "Audit",
	    .request = &rbdcsi__admin__v1__audit_request__descriptor,
	    .reply = &rbdcsi__admin__v1__audit_response__descriptor,
	    .served = true,
	    .run = CSI_RUN_CONTROLLER,
	    .secrets = CSI_SECRETS_REQUIRED,
	    .timeout_ms = 120 * SECOND_MS,
	    .validate = csi_validate_audit,
	},
};

const struct csi_method *
csi_methods(size_t *count)
{
	*count = countof(methods);
	return methods;
}

const struct csi_method *
csi_method_find(const char *path)
{
	size_t len = strlen(path);

	/* Most paths differ in length already. */
	for (size_t i = 0; i < countof(methods); i++)
		if (methods[i].path_len == len &&
		    memcmp(methods[i].path, path, len) == 0)
			return &methods[i];
	return NULL;
}

const struct csi_method *
csi_method_by_name(const char *name)
{
	for (size_t i = 0; i < countof(methods); i++)
		if (strcmp(methods[i].name, name) == 0)
			return &methods[i];
	return NULL;
}
