/*
 * checks.c - one function for each request that this driver serves.
 */
#include "csi/checks.h"

#include "admin.pb-c.h"
#include "base/log.h"
#include "base/rules.h"
#include "csi/encryption.h"
#include "csi/rpc.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* Size limits of the CSI specification. */
#define NAME_MAX_BYTES 128
#define NODE_ID_MAX_BYTES 256
#define MOUNT_FLAGS_MAX_BYTES 4096

/* Indexed names for err texts: "volume_capabilities[3]". */
#define FIELD_MAX 48

static int
check_length(const char *text, size_t max, const char *field, struct err *err)
{
	if (strlen(text) > max)
		return csi_invalid(
		    err, "%s: longer than %zu bytes", field, max);
	return 0;
}

static int
check_filled(const char *text, size_t max, const char *field, struct err *err)
{
	if (*text == '\0')
		return csi_invalid(err, "%s: missing", field);
	return check_length(text, max, field, err);
}

/*
 * Only what no identifier may have in it: one that is merely unknown is
 * NOT_FOUND or success, and whoever resolves it says so.
 */
static int
check_id(const char *id, const char *field, struct err *err)
{
	int rc = check_filled(id, CSI_VOLUME_ID_MAX, field, err);

	if (rc < 0)
		return rc;
	if (strpbrk(id, "/\\") != NULL || strstr(id, "..") != NULL)
		return csi_invalid(err,
		    "%s: has a slash, a backslash or two dots in it", field);
	return 0;
}

static int
check_volume_id(const char *id, struct err *err)
{
	return check_id(id, "volume_id", err);
}

/*
 * On a node it is the name of a mount point too, beside the stash: it must be
 * neither the directory itself nor a file of ours.
 */
static int
check_mounted_id(const char *id, struct err *err)
{
	static const char *const taken[] = { ".", "image-meta.json",
		"image-meta.json.tmp" };
	int rc = check_volume_id(id, err);

	for (size_t i = 0; rc == 0 && i < countof(taken); i++)
		if (strcmp(id, taken[i]) == 0)
			rc = csi_invalid(err,
			    "volume_id: %s is no name for a mount point", id);
	return rc;
}

/* On a node: a static volume is named by its image, others by our ID. */
static int
check_node_volume_id(
    const char *id, const struct csi_map *context, struct err *err)
{
	static const char hex[] = "0123456789abcdefABCDEF";
	static const char word[] =
	    "0123456789_-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	struct csi_volume_id unused;
	int rc = check_mounted_id(id, err);

	if (rc < 0 || csi_is_static(context))
		return rc;
	if (csi_volume_id_parse(id, &unused, err) == -EPROTONOSUPPORT)
		return -EPROTONOSUPPORT;
	if (strspn(id, hex) != 4 || id[4] != '-' || strspn(id + 5, hex) != 4 ||
	    id[9] != '-' || id[10] == '\0' ||
	    id[10 + strspn(id + 10, word)] != '\0')
		return csi_invalid(
		    err, "volume_id: is no identifier of this driver");
	return 0;
}

static bool
has_two_dots(const char *path)
{
	return strstr(path, "/../") != NULL || str_ends(path, "/..");
}

static int
check_path(const char *path, const char *field, struct err *err)
{
	int rc = check_filled(path, PATH_MAX - 1, field, err);

	if (rc < 0)
		return rc;
	if (path[0] != '/')
		return csi_invalid(err, "%s: is no absolute path", field);
	if (has_two_dots(path))
		return csi_invalid(err, "%s: has .. as a component", field);
	return 0;
}

static int
check_access(const Csi__V1__VolumeCapability *cap, const char *field,
    struct csi_access *access, struct err *err)
{
	char flags[FIELD_MAX + 24];
	size_t bytes = 0;
	int rc = csi_access_of(cap, field, access, err);

	if (rc < 0 || access->block)
		return rc;
	if (cap->mount->volume_mount_group[0] != '\0')
		return csi_invalid(err,
		    "%s.mount.volume_mount_group: this driver does not have VOLUME_MOUNT_GROUP: fsGroupPolicy File lets kubelet do it",
		    field);
	if (strlen(cap->mount->fs_type) > NAME_MAX_BYTES)
		return csi_invalid(err,
		    "%s.mount.fs_type: longer than %d bytes", field,
		    NAME_MAX_BYTES);
	rc = str_put(flags, sizeof(flags), "%s.mount.mount_flags", field);
	for (size_t i = 0; i < cap->mount->n_mount_flags && rc == 0; i++) {
		bytes += strlen(cap->mount->mount_flags[i]);
		rc = rules_mount_flags(flags, cap->mount->mount_flags[i], err);
	}
	if (rc < 0)
		return rc;
	if (bytes > MOUNT_FLAGS_MAX_BYTES)
		return csi_invalid(err,
		    "%s.mount.mount_flags: more than %d bytes", field,
		    MOUNT_FLAGS_MAX_BYTES);
	return 0;
}

static int
check_supported_access(const Csi__V1__VolumeCapability *cap, const char *field,
    struct csi_access *access, struct err *err)
{
	int rc = check_access(cap, field, access, err);

	return rc < 0 ? rc : csi_access_supported(access, field, err);
}

/* --- Controller --- */

/* All of volume_capabilities; `empty`: of a volume that is new and empty. */
static int
check_accesses(Csi__V1__VolumeCapability *const *caps, size_t count,
    bool supported, bool empty, struct err *err)
{
	if (count == 0)
		return csi_invalid(err, "volume_capabilities: missing");
	for (size_t i = 0; i < count; i++) {
		char field[FIELD_MAX];
		struct csi_access access = { .read_only = false };
		int rc = str_put(
		    field, sizeof(field), "volume_capabilities[%zu]", i);

		if (rc == 0)
			rc = check_access(caps[i], field, &access, err);
		if (rc == 0 && supported)
			rc = csi_access_supported(&access, field, err);
		if (rc < 0)
			return rc;
		if (access.read_only && empty)
			return csi_invalid(err,
			    "%s.access_mode.mode: %s is nothing for a new, empty volume",
			    field, csi_access_mode_name(access.mode));
	}
	return 0;
}

/*
 * Of what a new volume is to be a copy. Whether there is such is known in the
 * cluster only: an unknown identifier is NOT_FOUND there.
 */
static int
check_source(struct csi_request *in, const Csi__V1__VolumeContentSource *source,
    struct err *err)
{
	bool snapshot = source->type_case ==
	    CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT;
	const char *field = snapshot
	    ? "volume_content_source.snapshot.snapshot_id"
	    : "volume_content_source.volume.volume_id";
	struct err why = ERR_INIT;
	const char *id;
	int rc;

	if (!snapshot &&
	    source->type_case != CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME)
		return csi_invalid(err,
		    "volume_content_source.type: neither snapshot nor volume");
	id = snapshot ? source->snapshot->snapshot_id
		      : source->volume->volume_id;
	if ((rc = check_filled(id, CSI_VOLUME_ID_MAX, field, err)) < 0)
		return rc;
	in->id_kind = CSI_ID_UNKNOWN;
	in->id_text = id;
	rc = csi_volume_id_parse(id, &in->id, &why);
	if (rc == -EPROTONOSUPPORT) {
		*err = why;
		return rc;
	}
	if (rc < 0)
		return 0;
	in->id_kind = CSI_ID_OURS;
	return 0;
}

/* As in ceph-csi, without requirements parameters.pool counts. */
static int
check_pools(struct csi_request *in, const Csi__V1__TopologyRequirement *wanted,
    struct err *err)
{
	bool krbd = csi_mounter_of(in->class.mounter) == CSI_MOUNTER_KRBD;
	int rc = 0;

	if (wanted != NULL && in->class.pools_by_topology != NULL)
		rc = csi_topology_choose(in->class.pools_by_topology, wanted,
		    in->arena, &in->topology, err);
	else if (in->class.pool == NULL)
		rc = csi_invalid(err,
		    "parameters.pool: missing, and without accessibility_requirements topologyConstrainedPools do not count");
	for (size_t i = 0; i < in->topology.n && krbd && rc == 0; i++)
		rc = rules_name("parameters.topologyConstrainedPools",
		    in->topology.choice[i].pool, RULES_POOL, err);
	return rc;
}

int
csi_check_create_volume(struct csi_request *in, struct err *err)
{
	const Csi__V1__CreateVolumeRequest *r = in->message;
	struct csi_map parameters = csi_map_of(r, parameters);
	struct csi_map mutable = csi_map_of(r, mutable_parameters);
	int rc;

	if ((rc = check_filled(r->name, NAME_MAX_BYTES, "name", err)) < 0)
		return rc;
	if ((rc = check_accesses(r->volume_capabilities,
		 r->n_volume_capabilities, true,
		 r->volume_content_source == NULL, err)) < 0 ||
	    (rc = csi_class_params_parse(&parameters, &in->class, err)) < 0 ||
	    (rc = csi_qos_parse(&mutable, &in->qos, err)) < 0)
		return rc;
	if ((rc = check_pools(in, r->accessibility_requirements, err)) < 0)
		return rc;
	if (r->volume_content_source != NULL &&
	    (rc = check_source(in, r->volume_content_source, err)) < 0)
		return rc;
	return csi_volume_size(r->capacity_range, &in->size_bytes, err);
}

/* What has nothing but an ID, by which it is locked and logged. */
int
csi_check_volume(struct csi_request *in, struct err *err)
{
	return check_volume_id(csi_definition_key(in->def, in->message), err);
}

int
csi_check_snapshot(struct csi_request *in, struct err *err)
{
	return check_id(
	    csi_definition_key(in->def, in->message), "snapshot_id", err);
}

int
csi_check_create_snapshot(struct csi_request *in, struct err *err)
{
	const Csi__V1__CreateSnapshotRequest *r = in->message;
	struct csi_map parameters = csi_map_of(r, parameters);
	int rc;

	if ((rc = check_filled(r->name, NAME_MAX_BYTES, "name", err)) < 0 ||
	    (rc = check_id(r->source_volume_id, "source_volume_id", err)) < 0)
		return rc;
	return csi_snapshot_params_parse(
	    &parameters, r->source_volume_id, &in->snapshot_prefix, err);
}

int
csi_check_list_volumes(struct csi_request *in, struct err *err)
{
	const Csi__V1__ListVolumesRequest *r = in->message;

	return csi_page_read(&in->page, in->arena, CSI_PAGE_VOLUMES,
	    r->max_entries, r->starting_token, err);
}

/*
 * Without a StorageClass it is about all clusters. Pools by topology are those
 * of CreateVolume: in->topology.choice is there, also if none fits.
 */
int
csi_check_get_capacity(struct csi_request *in, struct err *err)
{
	const Csi__V1__GetCapacityRequest *r = in->message;
	struct csi_map parameters = csi_map_of(r, parameters);
	const char *pools = csi_map_get(
	    &parameters, "topologyConstrainedPools");
	Csi__V1__Topology *topology = r->accessible_topology;
	const Csi__V1__TopologyRequirement wanted = {
		PROTOBUF_C_MESSAGE_INIT(
		    &csi__v1__topology_requirement__descriptor),
		.n_requisite = 1,
		.requisite = &topology,
	};
	struct err why = ERR_INIT;

	in->cluster_id = csi_map_get(&parameters, "clusterID");
	in->page.max = 1; /* one sum */
	if (str_is_empty(pools) ||
	    (topology == NULL &&
		!str_is_empty(csi_map_get(&parameters, "pool"))))
		return 0;
	if (csi_topology_choose(pools, topology != NULL ? &wanted : NULL,
		in->arena, &in->topology, &why) < 0 &&
	    why.code != ERR_RESOURCE_EXHAUSTED) {
		*err = why;
		return why.rc;
	}
	return 0;
}

int
csi_check_list_health(struct csi_request *in, struct err *err)
{
	const Csi__V1__ControllerListVolumeHealthRequest *r = in->message;

	return csi_page_read(&in->page, in->arena, CSI_PAGE_VOLUMES,
	    r->max_entries, r->starting_token, err);
}

/* An identifier that is nobody's is none of any list. */
int
csi_check_list_snapshots(struct csi_request *in, struct err *err)
{
	const Csi__V1__ListSnapshotsRequest *r = in->message;
	const char *id = *r->snapshot_id != '\0' ? r->snapshot_id
						 : r->source_volume_id;
	struct err why = ERR_INIT;

	if (*id != '\0') {
		in->id_kind = CSI_ID_UNKNOWN;
		if (csi_volume_id_parse(id, &in->id, &why) == 0) {
			in->id_kind = CSI_ID_OURS;
			in->cluster_id = in->id.cluster_id;
		}
	}
	return csi_page_read(&in->page, in->arena, CSI_PAGE_SNAPSHOTS,
	    r->max_entries, r->starting_token, err);
}

int
csi_check_controller_expand(struct csi_request *in, struct err *err)
{
	const Csi__V1__ControllerExpandVolumeRequest *r = in->message;
	int rc = check_volume_id(r->volume_id, err);

	if (rc == 0 && r->capacity_range == NULL)
		rc = csi_invalid(err, "capacity_range: missing");
	if (rc == 0 && r->volume_capability != NULL)
		rc = check_access(r->volume_capability, "volume_capability",
		    &in->access, err);
	return rc < 0
	    ? rc
	    : csi_volume_size(r->capacity_range, &in->size_bytes, err);
}

int
csi_check_modify_volume(struct csi_request *in, struct err *err)
{
	const Csi__V1__ControllerModifyVolumeRequest *r = in->message;
	struct csi_map mutable = csi_map_of(r, mutable_parameters);
	int rc = check_volume_id(r->volume_id, err);

	if (rc == 0 && mutable.count == 0)
		rc = csi_invalid(err, "mutable_parameters: missing");
	return rc < 0 ? rc : csi_qos_parse(&mutable, &in->qos, err);
}

int
csi_check_audit(struct csi_request *in, struct err *err)
{
	const Rbdcsi__Admin__V1__AuditRequest *r = in->message;
	int rc = check_filled(r->cluster_id, NAME_MAX_BYTES, "cluster_id", err);

	return rc < 0 ? rc : check_filled(r->pool, NAME_MAX_BYTES, "pool", err);
}

int
csi_check_controller_publish(struct csi_request *in, struct err *err)
{
	const Csi__V1__ControllerPublishVolumeRequest *r = in->message;
	struct csi_map context = csi_map_of(r, volume_context);
	struct csi_encryption encryption = { .luks = false };
	int rc;

	if ((rc = check_volume_id(r->volume_id, err)) < 0 ||
	    (rc = check_filled(r->node_id, NODE_ID_MAX_BYTES, "node_id", err)) <
		0 ||
	    (rc = check_access(r->volume_capability, "volume_capability",
		 &in->access, err)) < 0)
		return rc;
	return csi_encryption_get(&context, &encryption, err);
}

int
csi_check_controller_unpublish(struct csi_request *in, struct err *err)
{
	const Csi__V1__ControllerUnpublishVolumeRequest *r = in->message;
	int rc = check_volume_id(r->volume_id, err);

	return rc < 0
	    ? rc
	    : check_length(r->node_id, NODE_ID_MAX_BYTES, "node_id", err);
}

int
csi_check_capabilities(struct csi_request *in, struct err *err)
{
	const Csi__V1__ValidateVolumeCapabilitiesRequest *r = in->message;
	int rc = check_volume_id(r->volume_id, err);

	return rc < 0 ? rc
		      : check_accesses(r->volume_capabilities,
			    r->n_volume_capabilities, false, false, err);
}

/* --- Node --- */

int
csi_check_node_stage(struct csi_request *in, struct err *err)
{
	const Csi__V1__NodeStageVolumeRequest *r = in->message;
	struct csi_map context = csi_map_of(r, volume_context);
	int rc;

	if ((rc = check_supported_access(r->volume_capability,
		 "volume_capability", &in->access, err)) < 0 ||
	    (rc = check_node_volume_id(r->volume_id, &context, err)) < 0)
		return rc;
	return check_path(r->staging_target_path, "staging_target_path", err);
}

int
csi_check_node_unstage(struct csi_request *in, struct err *err)
{
	const Csi__V1__NodeUnstageVolumeRequest *r = in->message;
	int rc = check_mounted_id(r->volume_id, err);

	return rc < 0
	    ? rc
	    : check_path(r->staging_target_path, "staging_target_path", err);
}

int
csi_check_node_publish(struct csi_request *in, struct err *err)
{
	const Csi__V1__NodePublishVolumeRequest *r = in->message;
	struct csi_map context = csi_map_of(r, volume_context);
	int rc;

	if ((rc = check_supported_access(r->volume_capability,
		 "volume_capability", &in->access, err)) < 0 ||
	    (rc = check_node_volume_id(r->volume_id, &context, err)) < 0 ||
	    (rc = check_path(r->target_path, "target_path", err)) < 0)
		return rc;
	return check_path(r->staging_target_path, "staging_target_path", err);
}

int
csi_check_abort(struct csi_request *in, struct err *err)
{
	const Rbdcsi__Admin__V1__AbortRequest *r = in->message;

	return check_mounted_id(r->volume_id, err);
}

int
csi_check_log_level(struct csi_request *in, struct err *err)
{
	const Rbdcsi__Admin__V1__SetLogLevelRequest *r = in->message;
	enum log_level level;

	return log_level_parse(r->level, &level) == 0
	    ? 0
	    : csi_invalid(err, "level: has to be error, warn, info or debug");
}

int
csi_check_node_unpublish(struct csi_request *in, struct err *err)
{
	const Csi__V1__NodeUnpublishVolumeRequest *r = in->message;
	int rc = check_mounted_id(r->volume_id, err);

	return rc < 0 ? rc : check_path(r->target_path, "target_path", err);
}

/* Where a volume is looked for: a path without one is NOT_FOUND, whatever it looks like. */
static int
check_sought(
    const char *volume_id, const char *path, const char *field, struct err *err)
{
	int rc;

	if ((rc = check_mounted_id(volume_id, err)) < 0 ||
	    (rc = check_filled(path, PATH_MAX - 1, field, err)) < 0)
		return rc;
	if (path[0] != '/' || has_two_dots(path))
		return err_set(err, ERR_NOT_FOUND,
		    "%s: %.128s: is no absolute path without ..", field, path);
	return 0;
}

int
csi_check_node_stats(struct csi_request *in, struct err *err)
{
	const Csi__V1__NodeGetVolumeStatsRequest *r = in->message;

	return check_sought(r->volume_id, r->volume_path, "volume_path", err);
}

int
csi_check_node_health(struct csi_request *in, struct err *err)
{
	const Csi__V1__NodeGetVolumeHealthRequest *r = in->message;
	int rc;

	/* Without paths the volume is looked for. */
	rc = r->volume_publish_path[0] == '\0'
	    ? check_mounted_id(r->volume_id, err)
	    : check_sought(r->volume_id, r->volume_publish_path,
		  "volume_publish_path", err);
	return rc < 0 || r->staging_target_path[0] == '\0'
	    ? rc
	    : check_path(r->staging_target_path, "staging_target_path", err);
}

int
csi_check_node_expand(struct csi_request *in, struct err *err)
{
	const Csi__V1__NodeExpandVolumeRequest *r = in->message;
	const Csi__V1__CapacityRange *range = r->capacity_range;
	int rc;

	if ((rc = check_sought(
		 r->volume_id, r->volume_path, "volume_path", err)) < 0)
		return rc;
	if (r->staging_target_path[0] != '\0' &&
	    (rc = check_path(
		 r->staging_target_path, "staging_target_path", err)) < 0)
		return rc;
	if (range != NULL &&
	    (range->required_bytes < 0 || range->limit_bytes < 0))
		return csi_invalid(err, "capacity_range: a size is negative");
	if (range != NULL && range->limit_bytes != 0 &&
	    range->limit_bytes < range->required_bytes)
		return csi_invalid(
		    err, "capacity_range: limit_bytes is below required_bytes");
	return r->volume_capability == NULL
	    ? 0
	    : check_access(
		  r->volume_capability, "volume_capability", &in->access, err);
}

const void *
csi_capabilities_unasked(const void *request, struct arena *arena)
{
	const Csi__V1__ValidateVolumeCapabilitiesRequest *r = request;
	Csi__V1__ValidateVolumeCapabilitiesResponse *reply = csi_new(
	    &csi__v1__validate_volume_capabilities_response__descriptor, arena);
	struct err err = ERR_INIT;

	if (csi_capabilities_supported(
		r->volume_capabilities, r->n_volume_capabilities, &err) < 0)
		reply->message = arena_strdup(arena, err.text);
	else
		reply->message = arena_fmt(arena,
		    "volume %s was not looked at: the request has no secrets",
		    r->volume_id);
	return reply;
}
