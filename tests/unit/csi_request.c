/*
 * csi_request.c - what happens to a request before anybody works on it:
 * unpacking, the checks of each method, the fingerprint, the lock key.
 * Requests are written as JSON.
 */
#include "csi.pb-c.h"
#include "csi/rpc.h"
#include "ctl/json_pb.h"
#include "tests/definition.h"
#include "tests/tap.h"
#include "tests/waited.h"

#include <errno.h>

#define CAP "{\"mount\":{},\"accessMode\":{\"mode\":\"SINGLE_NODE_WRITER\"}}"
#define CAP_OF(type, mode)                                                     \
	"{\"" type "\":{},\"accessMode\":{\"mode\":\"" mode "\"}}"
#define KEYS "\"secrets\":{\"userID\":\"u\",\"userKey\":\"k\"}"
#define PARAMS "\"parameters\":{\"clusterID\":\"c\",\"pool\":\"p\"}"
#define CAPS "\"volumeCapabilities\":[" CAP "]"
#define ID "0001-0001-c-0000000000000001-9a5d6f1c-3e0b-4a52-8a43-0f6d8b2f7c11"
#define VOLUME "\"volumeId\":\"" ID "\""
#define X32 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X128 X32 X32 X32 X32
#define X1024 X128 X128 X128 X128 X128 X128 X128 X128
#define X4096 X1024 X1024 X1024 X1024

#define INVALID ERR_INVALID_ARGUMENT

/* clang-format off */
static const struct {
	const char *method;
	const char *json;
	enum err_code code;
	const char *in_text;	/* part of the error text */
} checks[] = {
	/* Lists */
	{ "ListVolumes", "{}", ERR_OK, NULL },
	{ "ListVolumes", "{\"maxEntries\":-1}", INVALID, "max_entries: -1" },
	{ "ListVolumes", "{\"startingToken\":\"x\"}", ERR_ABORTED,
	  "starting_token: none of this list" },
	{ "ListVolumes", "{\"startingToken\":\"s1.1.1.c.x\"}", ERR_ABORTED,
	  "starting_token" },
	{ "ListVolumes", "{\"startingToken\":\"v1.1.1.c.x\"}", ERR_OK, NULL },
	{ "ControllerListVolumeHealth", "{\"maxEntries\":-1}", INVALID,
	  "max_entries: -1" },
	{ "ListSnapshots", "{\"startingToken\":\"s1.1.1.c.x\"}", ERR_OK, NULL },
	{ "ListSnapshots", "{\"startingToken\":\"v1.1.1.c.x\"}", ERR_ABORTED,
	  "starting_token" },
	{ "ListSnapshots", "{\"snapshotId\":\"..\"}", ERR_OK, NULL },
	{ "ControllerGetVolume", "{}", INVALID, "volume_id: missing" },
	{ "ControllerGetVolume", "{" VOLUME "}", ERR_OK, NULL },
	{ "ControllerGetVolumeHealth", "{}", INVALID, "volume_id: missing" },
	{ "GetSnapshot", "{}", INVALID, "snapshot_id: missing" },

	/* CreateVolume */
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS "}",
	  ERR_OK, NULL },
	{ "CreateVolume", "{" CAPS "," PARAMS "," KEYS "}", INVALID,
	  "name: missing" },
	{ "CreateVolume", "{\"name\":\"" X128 "\"," CAPS "," PARAMS "," KEYS
	  "}", ERR_OK, NULL },
	{ "CreateVolume", "{\"name\":\"" X128 "x\"," CAPS "," PARAMS "," KEYS
	  "}", INVALID, "name: longer than 128 bytes" },
	{ "CreateVolume", "{\"name\":\"v\"," PARAMS "," KEYS "}", INVALID,
	  "volume_capabilities: missing" },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," KEYS "}", INVALID,
	  "parameters.clusterID: missing" },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," PARAMS "}", INVALID,
	  "secrets: missing" },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," PARAMS ","
	  "\"secrets\":{\"userID\":\"u\"}}", INVALID,
	  "secrets.userKey: missing" },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeCapabilities\":[" CAP ",{}],"
	  PARAMS "," KEYS "}", INVALID, "volume_capabilities[1].access_type" },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeCapabilities\":[{\"mount\":"
	  "{}}]," PARAMS "," KEYS "}", INVALID,
	  "volume_capabilities[0].access_mode: missing" },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeCapabilities\":["
	  CAP_OF("mount", "UNKNOWN") "]," PARAMS "," KEYS "}", INVALID,
	  "volume_capabilities[0].access_mode.mode: unknown" },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeCapabilities\":[{\"mount\":"
	  "{},\"accessMode\":{\"mode\":99}}]," PARAMS "," KEYS "}", INVALID,
	  "access_mode.mode: unknown (99)" },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeCapabilities\":["
	  CAP_OF("mount", "MULTI_NODE_MULTI_WRITER") "]," PARAMS "," KEYS "}",
	  INVALID, "MULTI_NODE_MULTI_WRITER needs a block volume" },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeCapabilities\":["
	  CAP_OF("block", "MULTI_NODE_MULTI_WRITER") "]," PARAMS "," KEYS "}",
	  ERR_OK, NULL },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeCapabilities\":["
	  CAP_OF("mount", "SINGLE_NODE_MULTI_WRITER") "]," PARAMS "," KEYS "}",
	  ERR_OK, NULL },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeCapabilities\":["
	  CAP_OF("block", "MULTI_NODE_READER_ONLY") "]," PARAMS "," KEYS "}",
	  INVALID, "MULTI_NODE_READER_ONLY is nothing for a new, empty" },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS
	  ",\"volumeContentSource\":{\"snapshot\":{\"snapshotId\":\"s\"}}}",
	  ERR_OK, NULL }, /* whether there is one already decides */
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS
	  ",\"volumeContentSource\":{\"volume\":{\"volumeId\":\"" ID
	  "\"}}}", ERR_OK, NULL },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS
	  ",\"volumeContentSource\":{}}", INVALID,
	  "volume_content_source.type: neither" },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS
	  ",\"volumeContentSource\":{\"snapshot\":{}}}", INVALID,
	  "volume_content_source.snapshot.snapshot_id: missing" },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS
	  ",\"volumeContentSource\":{\"volume\":{\"volumeId\":\"" X128
	  "x\"}}}", INVALID,
	  "volume_content_source.volume.volume_id: longer" },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeCapabilities\":["
	  CAP_OF("mount", "MULTI_NODE_READER_ONLY") "]," PARAMS "," KEYS
	  ",\"volumeContentSource\":{\"snapshot\":{\"snapshotId\":\"" ID
	  "\"}}}", ERR_OK, NULL },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS
	  ",\"mutableParameters\":{\"baseIops\":\"5\"}}", ERR_OK, NULL },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS
	  ",\"mutableParameters\":{\"baseIops\":\"many\"}}", INVALID,
	  "mutable_parameters.baseIops: \"many\" is not possible" },

	{ "ControllerModifyVolume", "{\"volumeId\":\"v\"," KEYS
	  ",\"mutableParameters\":{\"maxBps\":\"5\",\"baseBps\":\"\"}}",
	  ERR_OK, NULL },
	{ "ControllerModifyVolume", "{\"volumeId\":\"a/b\"," KEYS
	  ",\"mutableParameters\":{\"maxBps\":\"5\"}}", INVALID,
	  "volume_id: has a slash" },
	{ "ControllerModifyVolume", "{\"volumeId\":\"v\"," KEYS "}", INVALID,
	  "mutable_parameters: missing" },
	{ "ControllerModifyVolume", "{\"volumeId\":\"v\","
	  "\"mutableParameters\":{\"maxBps\":\"5\"}}", INVALID,
	  "secrets: missing" },
	{ "ControllerModifyVolume", "{\"volumeId\":\"v\"," KEYS
	  ",\"mutableParameters\":{\"colour\":\"red\"}}", INVALID,
	  "mutable_parameters.colour: is unknown; accepted: baseX" },
	{ "ControllerModifyVolume", "{\"volumeId\":\"v\"," KEYS
	  ",\"mutableParameters\":{\"maxbps\":\"5\"}}", INVALID,
	  "mutable_parameters.maxbps: is unknown; maxBps may be meant" },

	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS
	  ",\"capacityRange\":{\"requiredBytes\":2,\"limitBytes\":1}}",
	  INVALID, "limit_bytes is below required_bytes" },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS
	  ",\"capacityRange\":{\"requiredBytes\":1,\"limitBytes\":1}}",
	  ERR_OUT_OF_RANGE, "capacity_range.limit_bytes" },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," KEYS
	  ",\"parameters\":{\"clusterID\":\"" X32 X32 "x\",\"pool\":\"p\"}}",
	  INVALID, "parameters.clusterID: longer than 64 bytes" },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," KEYS
	  ",\"parameters\":{\"clusterID\":\"c\",\"pool\":\"p\",\"x\":\"" X4096
	  "\"}}", INVALID, "parameters: more than 4096 bytes" },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," KEYS
	  ",\"parameters\":{\"clusterID\":\"c\",\"pool\":\"p\","
	  "\"topologyConstrainedPools\":\"" X4096 "\"}}", ERR_OK, NULL },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," KEYS
	  ",\"accessibilityRequirements\":{},\"parameters\":{\"clusterID\":"
	  "\"c\",\"pool\":\"p\",\"topologyConstrainedPools\":\"[]\"}}",
	  ERR_RESOURCE_EXHAUSTED, "accessibility_requirements: name no topology" },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," KEYS
	  ",\"parameters\":{\"clusterID\":\"c\","
	  "\"topologyConstrainedPools\":\"[]\"}}", INVALID,
	  "parameters.pool: missing, and without accessibility_requirements" },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," KEYS
	  ",\"accessibilityRequirements\":{\"requisite\":[{}]},\"parameters\":"
	  "{\"clusterID\":\"c\",\"topologyConstrainedPools\":\"[{]\"}}",
	  INVALID, "topologyConstrainedPools: is no JSON" },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," KEYS
	  ",\"accessibilityRequirements\":{\"requisite\":[{}]},\"parameters\":"
	  "{\"clusterID\":\"c\",\"topologyConstrainedPools\":"
	  "\"[{\\\"poolName\\\":\\\"a b\\\"}]\"}}",
	  INVALID, "topologyConstrainedPools: \"a b\" has a blank" },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," KEYS
	  ",\"accessibilityRequirements\":{\"requisite\":[{}]},\"parameters\":"
	  "{\"clusterID\":\"c\",\"topologyConstrainedPools\":"
	  "\"[{\\\"poolName\\\":\\\"a\\\"}]\"}}", ERR_OK, NULL },
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS
	  ",\"accessibilityRequirements\":{}}", ERR_OK, NULL },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeCapabilities\":[{\"mount\":"
	  "{\"fsType\":\"" X128 "x\"},\"accessMode\":{\"mode\":1}}]," PARAMS
	  "," KEYS "}", INVALID, "mount.fs_type: longer" },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeCapabilities\":[{\"mount\":"
	  "{\"fsType\":\"EXT4\"},\"accessMode\":{\"mode\":1}}]," PARAMS
	  "," KEYS "}", INVALID, "[0].mount.fs_type: \"EXT4\" is not" },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeCapabilities\":[{\"mount\":"
	  "{\"fsType\":\"xfs\"},\"accessMode\":{\"mode\":1}}]," PARAMS
	  "," KEYS "}", ERR_OK, NULL },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeCapabilities\":[{\"mount\":"
	  "{\"mountFlags\":[\"noatime\",\"nosuid,bind\"]},\"accessMode\":"
	  "{\"mode\":1}}]," PARAMS "," KEYS "}", INVALID,
	  "[0].mount.mount_flags: bind is not possible" },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeCapabilities\":[{\"mount\":"
	  "{\"mountFlags\":[\"" X4096 "\",\"x\"]},\"accessMode\":{\"mode\":1}}"
	  "]," PARAMS "," KEYS "}", INVALID, "mount.mount_flags: more" },

	{ "Audit", "{\"clusterId\":\"c\",\"pool\":\"p\"," KEYS "}", ERR_OK, NULL },
	{ "Audit", "{\"pool\":\"p\"," KEYS "}", INVALID, "cluster_id: missing" },
	{ "Audit", "{\"clusterId\":\"c\"," KEYS "}", INVALID, "pool: missing" },
	{ "Audit", "{\"clusterId\":\"c\",\"pool\":\"p\"}", INVALID,
	    "secrets: missing" },

	/* Snapshots: unknown IDs are no errors here, either. */
	{ "CreateSnapshot", "{\"name\":\"s\",\"sourceVolumeId\":\"v\"," KEYS
	  "}", ERR_OK, NULL },
	{ "CreateSnapshot", "{\"name\":\"s\",\"sourceVolumeId\":\"" ID "\","
	  KEYS ",\"parameters\":{\"clusterID\":\"c\",\"pool\":\"other\","
	  "\"snapshotNamePrefix\":\"mine-\",\"x\":\"y\"}}", ERR_OK, NULL },
	{ "CreateSnapshot", "{\"sourceVolumeId\":\"v\"," KEYS "}", INVALID,
	  "name: missing" },
	{ "CreateSnapshot", "{\"name\":\"" X128 "x\",\"sourceVolumeId\":"
	  "\"v\"," KEYS "}", INVALID, "name: longer than 128 bytes" },
	{ "CreateSnapshot", "{\"name\":\"s\"," KEYS "}", INVALID,
	  "source_volume_id: missing" },
	{ "CreateSnapshot", "{\"name\":\"s\",\"sourceVolumeId\":\"a/b\","
	  KEYS "}", INVALID, "source_volume_id: has a slash" },
	{ "CreateSnapshot", "{\"name\":\"s\",\"sourceVolumeId\":\"v\"}",
	  INVALID, "secrets: missing" },
	{ "CreateSnapshot", "{\"name\":\"s\",\"sourceVolumeId\":\"" ID "\","
	  KEYS ",\"parameters\":{\"clusterID\":\"d\"}}", INVALID,
	  "parameters.clusterID: is d, but source_volume_id is a volume of c" },
	{ "CreateSnapshot", "{\"name\":\"s\",\"sourceVolumeId\":\"v\"," KEYS
	  ",\"parameters\":{\"pool\":\"\"}}", INVALID,
	  "parameters.pool: is empty" },
	{ "CreateSnapshot", "{\"name\":\"s\",\"sourceVolumeId\":\"v\"," KEYS
	  ",\"parameters\":{\"snapshotNamePrefix\":\"\"}}", INVALID,
	  "parameters.snapshotNamePrefix: is empty" },
	{ "CreateSnapshot", "{\"name\":\"s\",\"sourceVolumeId\":\"v\"," KEYS
	  ",\"parameters\":{\"snapshotNamePrefix\":\"a/b\"}}", INVALID,
	  "parameters.snapshotNamePrefix" },
	{ "DeleteSnapshot", "{\"snapshotId\":\"s\"," KEYS "}", ERR_OK, NULL },
	{ "DeleteSnapshot", "{" KEYS "}", INVALID, "snapshot_id: missing" },
	{ "DeleteSnapshot", "{\"snapshotId\":\"a..b\"," KEYS "}", INVALID,
	  "snapshot_id: has a slash" },
	{ "DeleteSnapshot", "{\"snapshotId\":\"s\"}", INVALID,
	  "secrets: missing" },

	/* DeleteVolume: an unknown ID is no error here. */
	{ "DeleteVolume", "{" VOLUME "," KEYS "}", ERR_OK, NULL },
	{ "DeleteVolume", "{\"volumeId\":\"fake-vol-id\"," KEYS "}", ERR_OK,
	  NULL },
	{ "DeleteVolume", "{" KEYS "}", INVALID, "volume_id: missing" },
	{ "DeleteVolume", "{\"volumeId\":\"a/b\"," KEYS "}", INVALID,
	  "volume_id: has a slash" },
	{ "DeleteVolume", "{\"volumeId\":\"a\\\\b\"," KEYS "}", INVALID,
	  "volume_id: has a slash" },
	{ "DeleteVolume", "{\"volumeId\":\"a..b\"," KEYS "}", INVALID,
	  "volume_id: has a slash" },
	{ "DeleteVolume", "{\"volumeId\":\"" X128 "x\"," KEYS "}", INVALID,
	  "volume_id: longer" },
	{ "DeleteVolume", "{" VOLUME "}", INVALID, "secrets: missing" },

	/* ControllerPublishVolume, ControllerUnpublishVolume */
	{ "ControllerPublishVolume", "{" VOLUME ",\"nodeId\":\"n\","
	  "\"volumeCapability\":" CAP "," KEYS "}", ERR_OK, NULL },
	{ "ControllerPublishVolume", "{" VOLUME ",\"nodeId\":\"n\","
	  "\"volumeCapability\":" CAP "}", ERR_OK, NULL },
	{ "ControllerPublishVolume", "{" VOLUME ",\"nodeId\":\"n\","
	  "\"volumeCapability\":" CAP ",\"secrets\":{\"userID\":\"u\"}}",
	  INVALID, "secrets.userKey: missing" },
	{ "ControllerPublishVolume", "{" VOLUME ",\"nodeId\":\"n\","
	  "\"volumeCapability\":" CAP
	  ",\"volumeContext\":{\"encrypted\":\"true\"}}",
	  ERR_OK, NULL },
	{ "ControllerPublishVolume", "{" VOLUME ",\"nodeId\":\"n\","
	  "\"volumeCapability\":" CAP
	  ",\"volumeContext\":{\"encrypted\":\"true\",\"encryptionType\":\"file\"}}",
	  ERR_UNIMPLEMENTED, "volume_context.encryptionType: " },
	{ "ControllerPublishVolume", "{" VOLUME ",\"nodeId\":\"n\","
	  "\"volumeCapability\":" CAP
	  ",\"volumeContext\":{\"encrypted\":\"true\",\"encryptionCipher\":\"rot13\"}}",
	  INVALID, "volume_context.encryptionCipher: " },
	{ "ControllerPublishVolume", "{" VOLUME ",\"nodeId\":\"n\","
	  "\"volumeCapability\":" CAP
	  ",\"volumeContext\":{\"encrypted\":\"true\","
	  "\"encryptionCipher\":\"aes-xts-random\",\"integrityMode\":\"aead\"}}",
	  ERR_OK, NULL },
	{ "ControllerPublishVolume", "{" VOLUME ",\"nodeId\":\"n\","
	  "\"volumeCapability\":" CAP
	  ",\"volumeContext\":{\"encrypted\":\"true\","
	  "\"encryptionCipher\":\"aes-xts-random\",\"integrityMode\":\"crc\"}}",
	  INVALID, "volume_context.integrityMode: " },
	{ "ControllerPublishVolume", "{" VOLUME ",\"nodeId\":\"n\","
	  "\"volumeCapability\":" CAP
	  ",\"volumeContext\":{\"encrypted\":\"false\"}}",
	  ERR_OK, NULL },
	{ "ControllerPublishVolume", "{" VOLUME ",\"nodeId\":\"n\","
	  "\"volumeCapability\":" CAP
	  ",\"volumeContext\":{\"encrypted\":\"yes\"}}",
	  INVALID, "volume_context.encrypted: " },
	{ "ControllerPublishVolume", "{\"nodeId\":\"n\","
	  "\"volumeCapability\":" CAP "," KEYS "}", INVALID,
	  "volume_id: missing" },
	{ "ControllerPublishVolume", "{" VOLUME ",\"volumeCapability\":" CAP
	  "," KEYS "}", INVALID, "node_id: missing" },
	{ "ControllerPublishVolume", "{" VOLUME ",\"nodeId\":\"" X128 X128
	  "x\",\"volumeCapability\":" CAP "," KEYS "}", INVALID,
	  "node_id: longer than 256 bytes" },
	{ "ControllerPublishVolume", "{" VOLUME ",\"nodeId\":\"n\"," KEYS "}",
	  INVALID, "volume_capability: missing" },
	{ "ControllerUnpublishVolume", "{" VOLUME "," KEYS "}", ERR_OK, NULL },
	{ "ControllerUnpublishVolume", "{" VOLUME ",\"nodeId\":\"n\"}", ERR_OK,
	  NULL },
	{ "ControllerUnpublishVolume", "{" KEYS "}", INVALID,
	  "volume_id: missing" },

	/* ValidateVolumeCapabilities */
	{ "ValidateVolumeCapabilities", "{" VOLUME "," CAPS "," KEYS "}",
	  ERR_OK, NULL },
	{ "ValidateVolumeCapabilities", "{" VOLUME "," CAPS "}", ERR_OK, NULL },
	{ "ValidateVolumeCapabilities", "{" VOLUME "," CAPS
	  ",\"secrets\":{\"userID\":\"u\"}}", INVALID,
	  "secrets.userKey: missing" },
	{ "ValidateVolumeCapabilities", "{" VOLUME "," KEYS "}", INVALID,
	  "volume_capabilities: missing" },
	{ "ValidateVolumeCapabilities", "{" CAPS "," KEYS "}", INVALID,
	  "volume_id: missing" },
	{ "ValidateVolumeCapabilities", "{" VOLUME ",\"volumeCapabilities\":["
	  CAP_OF("mount", "MULTI_NODE_MULTI_WRITER") "]," KEYS "}", ERR_OK,
	  NULL },

	/* NodeStageVolume, NodeUnstageVolume */
	{ "NodeStageVolume", "{" VOLUME ",\"stagingTargetPath\":\"/s\","
	  "\"volumeCapability\":" CAP "," KEYS "}", ERR_OK, NULL },
	{ "NodeStageVolume", "{\"stagingTargetPath\":\"/s\","
	  "\"volumeCapability\":" CAP "," KEYS "}", INVALID,
	  "volume_id: missing" },
	{ "NodeStageVolume", "{\"volumeId\":\"my-image\","
	  "\"stagingTargetPath\":\"/s\",\"volumeCapability\":" CAP "," KEYS
	  "}", INVALID, "volume_id: is no identifier" },
	{ "NodeStageVolume", "{\"volumeId\":\"my-image\",\"volumeContext\":"
	  "{\"staticVolume\":\"true\"},\"stagingTargetPath\":\"/s\","
	  "\"volumeCapability\":" CAP "," KEYS "}", ERR_OK, NULL },
	{ "NodeStageVolume", "{\"volumeId\":\"my-image\",\"volumeContext\":"
	  "{\"staticVolume\":\"no\"},\"stagingTargetPath\":\"/s\","
	  "\"volumeCapability\":" CAP "," KEYS "}", INVALID,
	  "volume_id: is no identifier" },
	{ "NodeStageVolume", "{" VOLUME ",\"volumeCapability\":" CAP "," KEYS
	  "}", INVALID, "staging_target_path: missing" },
	{ "NodeStageVolume", "{" VOLUME ",\"stagingTargetPath\":\"s\","
	  "\"volumeCapability\":" CAP "," KEYS "}", INVALID,
	  "staging_target_path: is no absolute path" },
	{ "NodeStageVolume", "{" VOLUME ",\"stagingTargetPath\":\"/" X4096
	  "\",\"volumeCapability\":" CAP "," KEYS "}", INVALID,
	  "staging_target_path: longer" },
	{ "NodeStageVolume", "{" VOLUME ",\"stagingTargetPath\":\"/s\"," KEYS
	  "}", INVALID, "volume_capability: missing" },
	{ "NodeStageVolume", "{" VOLUME ",\"stagingTargetPath\":\"/s\","
	  "\"volumeCapability\":" CAP_OF("mount", "MULTI_NODE_MULTI_WRITER")
	  "," KEYS "}", INVALID, "needs a block volume" },
	{ "NodeStageVolume", "{" VOLUME ",\"stagingTargetPath\":\"/s\","
	  "\"volumeCapability\":" CAP_OF("block", "MULTI_NODE_MULTI_WRITER")
	  "," KEYS "}", ERR_OK, NULL },
	{ "NodeStageVolume", "{" VOLUME ",\"stagingTargetPath\":\"/s\","
	  "\"volumeCapability\":" CAP "}", INVALID, "secrets: missing" },
	{ "NodeStageVolume", "{" VOLUME ",\"stagingTargetPath\":\"/s\","
	  "\"volumeCapability\":" CAP ",\"publishContext\":{\"userID\":\"v\","
	  "\"userKey\":\"k\"}}", ERR_OK, NULL },
	{ "NodeStageVolume", "{" VOLUME ",\"stagingTargetPath\":\"/s\","
	  "\"volumeCapability\":" CAP "," KEYS ",\"publishContext\":{"
	  "\"userKey\":\"k\"}}", INVALID, "userID: missing" },
	{ "NodeStageVolume", "{" VOLUME ",\"stagingTargetPath\":\"/s\","
	  "\"volumeCapability\":" CAP "," KEYS ",\"publishContext\":{\"x\":\""
	  X4096 "\"}}", INVALID, "publish_context: more than 4096 bytes" },
	{ "NodeUnstageVolume", "{\"volumeId\":\"any\","
	  "\"stagingTargetPath\":\"/s\"}", ERR_OK, NULL },
	{ "NodeUnstageVolume", "{\"stagingTargetPath\":\"/s\"}", INVALID,
	  "volume_id: missing" },
	{ "NodeUnstageVolume", "{\"volumeId\":\"any\"}", INVALID,
	  "staging_target_path: missing" },
	{ "NodeUnstageVolume", "{\"volumeId\":\".\","
	  "\"stagingTargetPath\":\"/s\"}", INVALID, "volume_id: . is no name" },
	{ "NodeUnstageVolume", "{\"volumeId\":\"image-meta.json\","
	  "\"stagingTargetPath\":\"/s\"}", INVALID,
	  "volume_id: image-meta.json is no name" },
	{ "NodeUnstageVolume", "{\"volumeId\":\"image-meta\","
	  "\"stagingTargetPath\":\"/s\"}", ERR_OK, NULL },
	{ "NodeUnstageVolume", "{\"volumeId\":\"any\","
	  "\"stagingTargetPath\":\"/s/../x\"}", INVALID,
	  "staging_target_path: has .. as a component" },
	{ "NodeUnstageVolume", "{\"volumeId\":\"any\","
	  "\"stagingTargetPath\":\"/s/..x/..\"}", INVALID,
	  "staging_target_path: has .. as a component" },
	{ "NodeUnstageVolume", "{\"volumeId\":\"any\","
	  "\"stagingTargetPath\":\"/s/..x\"}", ERR_OK, NULL },

	/* NodePublishVolume, NodeUnpublishVolume */
	{ "NodePublishVolume", "{" VOLUME ",\"stagingTargetPath\":\"/s\","
	  "\"targetPath\":\"/t\",\"volumeCapability\":" CAP "}", ERR_OK,
	  NULL },
	{ "NodePublishVolume", "{" VOLUME ",\"stagingTargetPath\":\"/s\","
	  "\"targetPath\":\"/t\",\"volumeCapability\":" CAP
	  ",\"volumeContext\":{\"csi.storage.k8s.io/serviceAccount.tokens\":\""
	  X4096 "\"}}", ERR_OK, NULL },
	{ "NodePublishVolume", "{" VOLUME ",\"stagingTargetPath\":\"/s\","
	  "\"volumeCapability\":" CAP "}", INVALID, "target_path: missing" },
	{ "NodePublishVolume", "{" VOLUME ",\"targetPath\":\"/t\","
	  "\"volumeCapability\":" CAP "}", INVALID,
	  "staging_target_path: missing" },
	{ "NodePublishVolume", "{" VOLUME ",\"stagingTargetPath\":\"/s\","
	  "\"targetPath\":\"/t\"}", INVALID, "volume_capability: missing" },
	{ "NodePublishVolume", "{\"stagingTargetPath\":\"/s\","
	  "\"targetPath\":\"/t\",\"volumeCapability\":" CAP "}", INVALID,
	  "volume_id: missing" },
	{ "NodeUnpublishVolume", "{\"volumeId\":\"any\",\"targetPath\":\"/t\"}",
	  ERR_OK, NULL },
	{ "NodeUnpublishVolume", "{\"volumeId\":\"any\"}", INVALID,
	  "target_path: missing" },
	{ "NodeUnpublishVolume", "{\"targetPath\":\"/t\"}", INVALID,
	  "volume_id: missing" },

	/* NodeGetVolumeStats, and those that take anything */
	{ "NodeGetVolumeStats", "{\"volumeId\":\"any\",\"volumePath\":\"/t\"}",
	  ERR_OK, NULL },
	{ "NodeGetVolumeStats", "{\"volumeId\":\"any\",\"volumePath\":"
	  "\"some/path\"}", ERR_NOT_FOUND, "volume_path: some/path" },
	{ "NodeGetVolumeStats", "{\"volumeId\":\"any\",\"volumePath\":"
	  "\"/t/../x\"}", ERR_NOT_FOUND, "volume_path: /t/../x" },
	{ "NodeGetVolumeStats", "{\"volumeId\":\"any\"}", INVALID,
	  "volume_path: missing" },
	{ "NodeGetVolumeStats", "{\"volumePath\":\"/t\"}", INVALID,
	  "volume_id: missing" },

	/* NodeGetVolumeHealth */
	{ "NodeGetVolumeHealth", "{\"volumeId\":\"any\",\"volumePublishPath\":\"/t\","
	  "\"stagingTargetPath\":\"/s\"}", ERR_OK, NULL },
	{ "NodeGetVolumeHealth", "{\"volumeId\":\"any\",\"stagingTargetPath\":\"/s\"}",
	  ERR_OK, NULL },
	{ "NodeGetVolumeHealth", "{\"volumeId\":\"any\"}", ERR_OK, NULL },
	{ "NodeGetVolumeHealth", "{\"volumePublishPath\":\"/t\"}", INVALID,
	  "volume_id: missing" },
	{ "NodeGetVolumeHealth", "{\"volumeId\":\"any\",\"volumePublishPath\":\"t\"}",
	  ERR_NOT_FOUND, "volume_publish_path: t" },
	{ "NodeGetStorageHealth", "{}", ERR_OK, NULL },

	/* NodeExpandVolume */
	{ "NodeExpandVolume", "{\"volumeId\":\"any\",\"volumePath\":\"/t\"}",
	  ERR_OK, NULL },
	{ "NodeExpandVolume", "{\"volumeId\":\"any\",\"volumePath\":\"/t\","
	  "\"stagingTargetPath\":\"/s\",\"capacityRange\":{\"requiredBytes\":\"5\","
	  "\"limitBytes\":\"5\"}}", ERR_OK, NULL },
	{ "NodeExpandVolume", "{\"volumePath\":\"/t\"}", INVALID,
	  "volume_id: missing" },
	{ "NodeExpandVolume", "{\"volumeId\":\"any\"}", INVALID,
	  "volume_path: missing" },
	{ "NodeExpandVolume", "{\"volumeId\":\"any\",\"volumePath\":"
	  "\"some/path\"}", ERR_NOT_FOUND, "volume_path: some/path" },
	{ "NodeExpandVolume", "{\"volumeId\":\"any\",\"volumePath\":\"/t\","
	  "\"stagingTargetPath\":\"s\"}", INVALID, "staging_target_path: is no" },
	{ "NodeExpandVolume", "{\"volumeId\":\"any\",\"volumePath\":\"/t\","
	  "\"capacityRange\":{\"requiredBytes\":\"-5\"}}", INVALID,
	  "capacity_range: a size is negative" },
	{ "NodeExpandVolume", "{\"volumeId\":\"any\",\"volumePath\":\"/t\","
	  "\"capacityRange\":{\"requiredBytes\":\"5\",\"limitBytes\":\"4\"}}",
	  INVALID, "capacity_range: limit_bytes is below" },
	{ "NodeExpandVolume", "{\"volumeId\":\"any\",\"volumePath\":\"/t\","
	  "\"volumeCapability\":{\"mount\":{}}}", INVALID,
	  "volume_capability" },

	{ "NodeGetInfo", "{}", ERR_OK, NULL },
	{ "Probe", "{}", ERR_OK, NULL },
};
/* clang-format on */

static const void *
request_of(
    const struct csi_definition *method, const char *json, struct arena *arena)
{
	auto_json json_t *in = json_loads(json, 0, NULL);
	struct err err = ERR_INIT;
	const void *request = json_pb_read(method->request, in, arena, &err);

	if (request == NULL)
		diag("%s: %s", json, err.text);
	return request;
}

static void
test_checks(void)
{
	for (size_t i = 0; i < countof(checks); i++) {
		const struct csi_definition *method = definition_of(
		    checks[i].method);
		struct arena *arena = csi_arena_new();
		const void *request = request_of(method, checks[i].json, arena);
		struct csi_request in;
		struct err err = ERR_INIT;
		size_t len;
		const void *bytes = csi_pack(request, arena, &len, &err);
		int rc = csi_request_read(&in, method, bytes, len, &err);

		csi_request_fini(&in);
		ok(request != NULL && err.code == checks[i].code &&
			(rc == 0) == (checks[i].code == ERR_OK) &&
			(checks[i].in_text == NULL ||
			    strstr(err.text, checks[i].in_text) != NULL),
		    "%s %.100s: %s %s", checks[i].method, checks[i].json,
		    err_code_name(err.code), err.text);
		arena_free(arena);
	}
}

/* --- fingerprints --- */

#define BASE "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS "}"

/* clang-format off */
static const struct {
	const char *json;
	bool same;		/* as BASE */
	const char *what;
} prints[] = {
	{ BASE, true, "the same request" },
	{ "{\"name\":\"v\"," CAPS ",\"parameters\":{\"pool\":\"p\","
	  "\"clusterID\":\"c\"}," KEYS "}", true, "map in another order" },
	{ "{\"name\":\"v\"," CAPS "," PARAMS ",\"secrets\":{\"userID\":\"z\","
	  "\"userKey\":\"zz\"}}", true, "other secrets" },
	{ "{\"name\":\"v\"," CAPS "," PARAMS "}", true, "no secrets" },
	{ "{\"name\":\"w\"," CAPS "," PARAMS "," KEYS "}", false,
	  "another name" },
	{ "{\"name\":\"v\"," CAPS ",\"parameters\":{\"clusterID\":\"c\","
	  "\"pool\":\"q\"}," KEYS "}", false, "another value in a map" },
	{ "{\"name\":\"v\"," CAPS ",\"parameters\":{\"clusterID\":\"c\","
	  "\"poo\":\"lp\"}," KEYS "}", false,
	  "key and value with another border" },
	{ "{\"name\":\"v\"," CAPS ",\"parameters\":{\"clusterID\":\"c\","
	  "\"pool\":\"p\",\"x\":\"\"}," KEYS "}", false,
	  "one more entry, empty" },
	{ "{\"name\":\"v\"," CAPS "," PARAMS ",\"mutableParameters\":"
	  "{\"pool\":\"p\"}," KEYS "}", false, "the same entry elsewhere" },
	{ "{\"name\":\"v\",\"volumeCapabilities\":[" CAP "," CAP "]," PARAMS
	  "," KEYS "}", false, "one more capability" },
	{ "{\"name\":\"v\",\"volumeCapabilities\":["
	  CAP_OF("block", "SINGLE_NODE_WRITER") "]," PARAMS "," KEYS "}",
	  false, "block instead of mount" },
	{ "{\"name\":\"v\",\"volumeCapabilities\":["
	  CAP_OF("mount", "SINGLE_NODE_SINGLE_WRITER") "]," PARAMS "," KEYS
	  "}", false, "another mode" },
	{ "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS
	  ",\"capacityRange\":{}}", false, "an empty range is not none" },
	{ "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS
	  ",\"capacityRange\":{\"requiredBytes\":1}}", false, "a size" },
	{ "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS
	  ",\"accessibilityRequirements\":{\"preferred\":[{\"segments\":"
	  "{\"z\":\"1\"}}]}}", false, "topology" },
};
/* clang-format on */

static const void *
print_of(const char *name, const char *json, struct arena *arena, size_t *len)
{
	const struct csi_definition *def = definition_of(name);
	struct csi_request in = { .def = def,
		.arena = arena,
		.message = request_of(def, json, arena) };

	return csi_request_print(&in, len);
}

static void
test_prints(void)
{
	struct arena *arena = csi_arena_new();
	size_t len, other_len;
	const void *base = print_of("CreateVolume", BASE, arena, &len);
	const void *other;

	ok(memmem(base, len, "userKey", 7) == NULL,
	    "a fingerprint has no trace of the secrets");
	for (size_t i = 0; i < countof(prints); i++) {
		other = print_of(
		    "CreateVolume", prints[i].json, arena, &other_len);
		ok((len == other_len && memcmp(base, other, len) == 0) ==
			prints[i].same,
		    "%s: %s", prints[i].what,
		    prints[i].same ? "the same" : "another one");
	}

	/* Two methods with requests that look alike. */
	base = print_of("DeleteVolume", "{" VOLUME "}", arena, &len);
	other = print_of(
	    "ControllerUnpublishVolume", "{" VOLUME "}", arena, &other_len);
	ok(len != other_len || memcmp(base, other, len) != 0,
	    "another method is another call");
	arena_free(arena);
}

/* --- the definitions --- */

static void
test_definitions(void)
{
	const struct csi_definition *def = csi_definitions;
	unsigned served = 0;

	is_int(CSI_CLIENT_COUNT, 44,
	    "all of CSI 1.13's RPCs are defined, and Admin's");
	for (size_t i = 0; i < CSI_CLIENT_COUNT; i++, def++) {
		ok(csi_definition_find(def->path) == def &&
			definition_of(def->name) == def,
		    "%s is found by its path, and has a name of its own",
		    def->path);
		if (def->place == CSI_UNSERVED)
			continue;
		served++;
		ok(def->place == CSI_STREAM ||
			(def->timeout_ms > 0 &&
			    (def->place == CSI_INSTANT || def->noun != NULL)),
		    "%s: the definition is complete", def->name);
		for (size_t j = 0; j < CSI_LOCKS_MAX; j++)
			ok(def->lock[j].set == CSI_LOCK_NONE ||
				(def->lock[j].key != NULL &&
				    (j == 0 ||
					def->lock[j - 1].set <
					    def->lock[j].set)),
			    "%s: lock %zu has a key and is in its place",
			    def->name, j);
	}
	ok(served >= 20, "%u are served", served);
	ok(csi_definition_find("/csi.v1.Node/Nothing") == NULL &&
		csi_definition_find("") == NULL,
	    "others are not found");
	ok(csi_definition_find(csi_definitions[CSI_FORMAT].path) == NULL,
	    "what nodes ask of ceph-worker is no client's");
}

/* What GetCapabilities says: everything that makes it is served. */
static void
test_capabilities(void)
{
	static const int controller[] = {
		1,  /* CREATE_DELETE_VOLUME */
		2,  /* PUBLISH_UNPUBLISH_VOLUME */
		5,  /* CREATE_DELETE_SNAPSHOT */
		7,  /* CLONE_VOLUME */
		9,  /* EXPAND_VOLUME */
		14, /* MODIFY_VOLUME */
	};
	static const int node[] = { 1, 2, 3, 4, 5, 7, 8 };
	/* What needs --credentials-dir. */
	static const int more[] = { 3, 4, 6, 10, 12, 15, 16, 17 };
	size_t c = 0, n = 0, m = 0;

	for (int i = 0; i < 32; i++) {
		if (csi_capability_is_served("Controller", i, false)) {
			is_int(i, c < countof(controller) ? controller[c] : -1,
			    "Controller capability %zu", c);
			c++;
		} else if (csi_capability_is_served("Controller", i, true)) {
			is_int(i, m < countof(more) ? more[m] : -1,
			    "Controller capability %zu with credentials", m);
			m++;
		}
		if (csi_capability_is_served("Node", i, false)) {
			is_int(i, n < countof(node) ? node[n] : -1,
			    "Node capability %zu", n);
			n++;
		}
	}
	is_int(c, countof(controller), "the Controller has no more, no less");
	is_int(m, countof(more), "nor with credentials of its own");
	is_int(n, countof(node), "nor has the Node service");
}

/* clang-format off */
static const struct {
	const char *method, *json;
	enum csi_lock_set set[CSI_LOCKS_MAX];
	const char *key[CSI_LOCKS_MAX];
	bool shared; /* the last one */
} keys[] = {
	{ "CreateVolume", "{\"name\":\"v\"}", { CSI_LOCK_NAME, CSI_LOCK_SOURCE },
	  { "v", NULL }, true },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeContentSource\":{\"snapshot\":"
	  "{\"snapshotId\":\"s\"}}}", { CSI_LOCK_NAME, CSI_LOCK_SOURCE },
	  { "v", "s" }, true },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeContentSource\":{\"volume\":"
	  "{\"volumeId\":\"i\"}}}", { CSI_LOCK_NAME, CSI_LOCK_SOURCE },
	  { "v", "i" }, true },
	{ "CreateVolume", "{\"name\":\"v\",\"volumeContentSource\":{}}",
	  { CSI_LOCK_NAME, CSI_LOCK_SOURCE }, { "v", NULL }, true },
	{ "DeleteVolume", "{\"volumeId\":\"i\"}",
	  { CSI_LOCK_VOLUME, CSI_LOCK_SOURCE }, { "i", "i" } },
	{ "ControllerExpandVolume", "{\"volumeId\":\"i\"}",
	  { CSI_LOCK_VOLUME, CSI_LOCK_SOURCE }, { "i", "i" } },
	{ "ControllerModifyVolume", "{\"volumeId\":\"i\"}",
	  { CSI_LOCK_VOLUME, CSI_LOCK_SOURCE }, { "i", "i" } },
	{ "CreateSnapshot", "{\"name\":\"s\",\"sourceVolumeId\":\"i\"}",
	  { CSI_LOCK_SNAPSHOT_NAME, CSI_LOCK_SOURCE }, { "s", "i" }, true },
	{ "DeleteSnapshot", "{\"snapshotId\":\"s\"}", { CSI_LOCK_SOURCE }, { "s" } },
	{ "ControllerPublishVolume", "{\"volumeId\":\"i\"}", { CSI_LOCK_VOLUME }, { "i" } },
	{ "ControllerUnpublishVolume", "{\"volumeId\":\"i\"}", { CSI_LOCK_VOLUME }, { "i" } },
	{ "NodeStageVolume", "{\"volumeId\":\"i\"}", { CSI_LOCK_STAGE }, { "i" } },
	{ "NodeUnstageVolume", "{\"volumeId\":\"i\"}", { CSI_LOCK_STAGE }, { "i" } },
	{ "NodePublishVolume", "{\"targetPath\":\"/t\",\"volumeId\":\"i\"}",
	  { CSI_LOCK_PATH, CSI_LOCK_STAGE }, { "/t", "i" } },
	{ "NodeUnpublishVolume", "{\"targetPath\":\"/t\"}", { CSI_LOCK_PATH }, { "/t" } },
	{ "NodeGetVolumeStats", "{\"volumePath\":\"/t\"}", { CSI_LOCK_STATS }, { "/t" } },
	{ "NodeExpandVolume", "{\"volumeId\":\"i\",\"volumePath\":\"/t\"}",
	  { CSI_LOCK_STAGE }, { "i" } },
	{ "NodeGetVolumeHealth", "{\"volumePublishPath\":\"/t\"}",
	  { CSI_LOCK_STATS }, { "/t" } },
	{ "NodeGetVolumeHealth", "{\"stagingTargetPath\":\"/s\"}",
	  { CSI_LOCK_STATS }, { "/s" } },
	{ "NodeGetVolumeHealth", "{\"volumeId\":\"i\"}", { CSI_LOCK_STATS }, { "i" } },
};
/* clang-format on */

static void
test_keys(void)
{
	for (size_t i = 0; i < countof(keys); i++) {
		const struct csi_definition *method = definition_of(
		    keys[i].method);
		struct arena *arena = csi_arena_new();

		for (size_t j = 0; j < CSI_LOCKS_MAX; j++) {
			const char *(*key)(const void *) = method->lock[j].key;

			is_int(method->lock[j].set, keys[i].set[j],
			    "%s: set %zu", method->name, j);
			is_str(key == NULL
				? NULL
				: key(request_of(method, keys[i].json, arena)),
			    keys[i].key[j], "and its key");
		}
		ok(!method->lock[0].shared &&
			method->lock[1].shared == keys[i].shared,
		    "%s: what is shared", method->name);
		arena_free(arena);
	}
}

/* --- which session a request goes to --- */

#define OURS                                                                   \
	"0001-0002-c1-0000000000000003-11111111-2222-3333-4444-555555555555"
#define MIGRATED "mig_mons-c2_image-11111111-2222-3333-4444-555555555555_70"

/* clang-format off */
static const struct {
	const char *method, *json;
	enum csi_id_kind kind;
	const char *cluster_id, *user;
} sessions[] = {
	{ "CreateVolume", "{\"name\":\"v\"," CAPS "," PARAMS "," KEYS "}",
	  CSI_ID_NONE, "c", "u" },
	{ "DeleteVolume", "{\"volumeId\":\"" OURS "\"," KEYS "}",
	  CSI_ID_OURS, "c1", "u" },
	{ "DeleteVolume", "{\"volumeId\":\"" MIGRATED "\"," KEYS "}",
	  CSI_ID_MIGRATED, "c2", "u" },
	{ "ControllerUnpublishVolume", "{\"volumeId\":\"" MIGRATED "\"}",
	  CSI_ID_UNKNOWN, NULL, NULL },
	{ "ControllerUnpublishVolume", "{\"volumeId\":\"" OURS "\"}",
	  CSI_ID_OURS, "c1", NULL },
	{ "ControllerPublishVolume", "{\"volumeId\":\"image\",\"nodeId\":\"n\","
	  "\"volumeCapability\":" CAP ",\"volumeContext\":{\"staticVolume\":"
	  "\"true\",\"clusterID\":\"c3\",\"pool\":\"p\"}}",
	  CSI_ID_STATIC, "c3", NULL },
	{ "CreateSnapshot", "{\"name\":\"s\",\"sourceVolumeId\":\"" OURS "\"," KEYS "}",
	  CSI_ID_OURS, "c1", "u" },
	{ "CreateSnapshot", "{\"name\":\"s\",\"sourceVolumeId\":\"" MIGRATED "\"," KEYS "}",
	  CSI_ID_UNKNOWN, NULL, "u" },
	{ "DeleteSnapshot", "{\"snapshotId\":\"" OURS "\"," KEYS "}",
	  CSI_ID_OURS, "c1", "u" },
	{ "Audit", "{\"clusterId\":\"c4\",\"pool\":\"p\"," KEYS "}",
	  CSI_ID_NONE, "c4", "u" },
	{ "Abort", "{\"volumeId\":\"" OURS "\"}", CSI_ID_NONE, NULL, NULL },
};
/* clang-format on */

static void
test_sessions(void)
{
	for (size_t i = 0; i < countof(sessions); i++) {
		const struct csi_definition *def = definition_of(
		    sessions[i].method);
		struct arena *arena = csi_arena_new();
		struct csi_request in;
		struct err err = ERR_INIT;
		size_t len;
		const void *bytes = csi_pack(
		    request_of(def, sessions[i].json, arena), arena, &len,
		    &err);

		ok(csi_request_read(&in, def, bytes, len, &err) == 0,
		    "%s is read: %s", sessions[i].method, err.text);
		is_int(in.id_kind, sessions[i].kind, "whose its identifier is");
		is_str(in.cluster_id, sessions[i].cluster_id, "its cluster");
		is_str(in.credentials.user, sessions[i].user, "its user");
		csi_request_fini(&in);
		arena_free(arena);
	}
}

/* --- from bytes to an operation --- */

static enum op_verdict
nop_step(struct op *op)
{
	struct csi_rpc *rpc = (struct csi_rpc *)op;

	(void)csi_rpc_reply(rpc);
	return OP_DONE;
}

static const struct op_class nop_class = {
	.name = "DeleteVolume",
	.step = nop_step,
};

static const struct csi_impl nop_impl = {
	.cls = &nop_class,
	.size = sizeof(struct csi_rpc),
};

/* clang-format off */
static const struct {
	const char *bytes;
	size_t len;
	enum err_code code;
	const char *text;
} bodies[] = {
	{ "\x0a\x01", 2, INVALID, "the body is no DeleteVolumeRequest" },
	{ "\x0b", 1, INVALID, "the body is no DeleteVolumeRequest" },
	{ "\x0a\x01\xff", 3, INVALID, "volume_id: is not UTF-8" },
	{ "\x0a\x02\xc0\x80", 4, INVALID, "volume_id: is not UTF-8" },
	{ "\x0a\x03\xed\xa0\x80", 5, INVALID, "volume_id: is not UTF-8" },
	{ "\x0a\x04\xf4\x90\x80\x80", 6, INVALID, "volume_id: is not UTF-8" },
	{ "\x0a\x02\xe2\x82", 4, INVALID, "volume_id: is not UTF-8" },
	{ "\x0a\x01i\x12\x05\x0a\x01k\x12\x01", 9, INVALID,
	  "the body is no DeleteVolumeRequest" },
	{ "\x0a\x01i\x12\x06\x0a\x01k\x12\x01\xff", 11, INVALID,
	  "secrets: value: is not UTF-8" },
	/* NUL, and what CSI bans, in any string but a secret. */
	{ "\x0a\x03" "a\0b", 5, INVALID,
	  "volume_id: has the control character U+0000 in it" },
	{ "\x0a\x01\0", 3, INVALID,
	  "volume_id: has the control character U+0000 in it" },
	{ "\x0a\x02" "a\x1b", 4, INVALID,
	  "volume_id: has the control character U+001B in it" },
	{ "\x0a\x02" "a\x7f", 4, INVALID,
	  "volume_id: has the control character U+007F in it" },
	{ "\x0a\x03" "a\xc2\x80", 5, INVALID,
	  "volume_id: has the control character U+0080 in it" },
	{ "\x0a\x01\x08\x0a\x01i", 6, INVALID, /* the last one counts */
	  "volume_id: has the control character U+0008 in it" },
	{ "\x0a\x01i\x12\x08\x0a\x01k\x12\x03" "a\0b", 13, INVALID,
	  "secrets: value: has the control character U+0000 in it" },
	{ "\x0a\x01i\x12\x06\x0a\x01\0\x12\x01v", 11, INVALID,
	  "secrets: key: has the control character U+0000 in it" },
	/* These pass, to fail later. */
	{ "\x0a\x05" "a\t\r\n/", 7, INVALID,
	  "volume_id: has a slash, a backslash or two dots in it" },
	{ "\x0a\x01i\x12\x06\x0a\x01k\x12\x01\x1b", 11, INVALID,
	  "secrets.userID: missing" },
	{ "", 0, INVALID, "volume_id: missing" },
};
/* clang-format on */

static void
test_unpacking(void)
{
	const struct csi_definition *method = definition_of("DeleteVolume");
	auto_free char *huge = NULL;
	const size_t huge_len = 3 * 1024 * 1024;
	struct csi_request in;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < countof(bodies); i++) {
		err = (struct err)ERR_INIT;
		ok(csi_request_read(
		       &in, method, bodies[i].bytes, bodies[i].len, &err) < 0 &&
			in.arena == NULL && err.code == bodies[i].code,
		    "body %zu is refused", i);
		is_str(err.text, bodies[i].text, "and says why");
	}

	/* Empty map entries: 2 bytes on the wire, a message each in memory. */
	huge = mem_new(huge_len);
	for (size_t i = 0; i < huge_len; i += 2)
		huge[i] = 0x12;
	err = (struct err)ERR_INIT;
	ok(csi_request_read(&in, method, huge, huge_len, &err) < 0 &&
		err.code == ERR_RESOURCE_EXHAUSTED,
	    "what unpacks to too much is refused");
}

static void
test_paths(void)
{
	static const char *const spellings[] = { "/a/b", "//a/b", "/a//./b",
		"/a/b/", "/./a/b/.//" };
	struct arena *arena = csi_arena_new();
	struct err err = ERR_INIT;

	for (size_t i = 0; i < countof(spellings); i++) {
		const struct csi_definition *method = definition_of(
		    "NodeUnpublishVolume");
		auto_free char *json = str_fmt(
		    "{\"volumeId\":\"any\",\"targetPath\":\"%s\"}",
		    spellings[i]);
		size_t len;
		const void *bytes = csi_pack(
		    request_of(method, json, arena), arena, &len, &err);
		struct csi_request in;

		is_str(csi_request_read(&in, method, bytes, len, &err) == 0
			? method->lock[0].key(in.message)
			: err.text,
		    "/a/b", "%s is locked as /a/b", spellings[i]);
		csi_request_fini(&in);
	}
	arena_free(arena);
}

static void
test_running(void)
{
	const struct csi_definition *method = definition_of("DeleteVolume");
	struct arena *arena = csi_arena_new();
	struct err err = ERR_INIT;
	const void *request, *bytes;
	struct csi_request in;
	struct csi_rpc *rpc;
	struct waited done = WAITED_INIT;
	size_t len;

	request = request_of(method,
	    "{\"volumeId\":\"i\xe2\x82\xac\xf0\x9f"
	    "\x98\x80\"," KEYS "}",
	    arena);
	bytes = csi_pack(request, arena, &len, &err);
	ok(csi_request_read(&in, method, bytes, len, &err) == 0 &&
		in.message != NULL,
	    "a good body is unpacked");
	is_str(in.credentials.user, "u", "its credentials are read");
	is_int(in.id_kind, CSI_ID_UNKNOWN, "its identifier is nobody's");

	ok(loop_init() == 0, "a loop");
	rpc = csi_rpc_new(&nop_impl, &in, NULL);
	csi_rpc_start(rpc, &done.wake);
	is_str(rpc->op.subject, "i\xe2\x82\xac\xf0\x9f\x98\x80",
	    "the lock's key is the subject, whatever UTF-8 it is");

	ok(rpc->reply == NULL && !done.done, "nothing happens inside of it");
	ok(waited_for(&done) == 0 && rpc->reply != NULL,
	    "it runs to its end, with a reply");
	is_int(op_count(), 0, "and is not live any more");
	loop_fini();
	csi_request_fini(&in);
	ok(in.arena == NULL && in.message == NULL, "nothing is left of it");
	arena_free(arena);
}

int
main(void)
{
	test_checks();
	test_prints();
	test_definitions();
	test_capabilities();
	test_keys();
	test_sessions();
	test_unpacking();
	test_paths();
	test_running();
	return tap_end();
}
