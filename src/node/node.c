/*
 * node.c - what the Node RPCs share: their table, and which image a request
 * is about.
 */
#include "node/node.h"

#include "base/rules.h"
#include "node/mount.h"

#include "csi/volume_id.h"

#include <errno.h>
#include <string.h>

const struct node_config *node_config;

static const char *
first_of(const char *a, const char *b)
{
	return !str_is_empty(a) ? a : b;
}

/*
 * The image's name where no publish_context tells it: a static volume's is
 * the handle itself, a dynamic one's is in the volume_context, and older
 * volumes have prefix and UUID.
 */
static int
image_name(struct device_spec *spec, const struct csi_map *context,
    const struct csi_volume_id *id, bool dynamic, struct arena *arena,
    struct err *err)
{
	const char *name = csi_map_get(context, "imageName");
	bool is_static, migrated;
	int rc;

	if ((rc = csi_map_bool(context, "volume_context", "staticVolume",
		 &is_static, err)) < 0 ||
	    (rc = csi_map_bool(
		 context, "volume_context", "migration", &migrated, err)) < 0)
		return rc;
	if (is_static && !(migrated && !str_is_empty(name)))
		name = spec->volume_id;
	else if (str_is_empty(name) && dynamic)
		name = arena_fmt(arena, "%s%s",
		    first_of(
			csi_map_get(context, "volumeNamePrefix"), "csi-vol-"),
		    id->uuid);
	if (str_is_empty(name))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "volume_context.imageName: missing");
	spec->image = name;
	return 0;
}

int
node_spec_fill(struct device_spec *spec, const char *volume_id,
    const struct csi_map *publish, const struct csi_map *context, bool reach,
    struct arena *arena, struct err *err)
{
	struct csi_volume_id id = { 0 };
	bool dynamic = csi_volume_id_parse(volume_id, &id, NULL) == 0;
	struct node_cluster cluster = { 0 };
	struct err why = ERR_INIT;
	int rc = 0;

	memset(spec, 0, sizeof(*spec));
	spec->volume_id = volume_id;
	spec->cluster_id = first_of(csi_map_get(context, "clusterID"),
	    dynamic ? arena_strdup(arena, id.cluster_id) : NULL);
	spec->pool_id = dynamic ? id.pool_id : 0;
	/* The controller has found it in a cluster that its own is mapped to. */
	if (!str_is_empty(csi_map_get(publish, "clusterID"))) {
		spec->cluster_id = csi_map_get(publish, "clusterID");
		spec->pool_id = 0;
	}
	if (!str_is_empty(spec->cluster_id))
		(void)node_config->find_cluster(
		    spec->cluster_id, spec->pool_id, arena, &cluster, &why);
	if (cluster.mapped_id != NULL) {
		spec->cluster_id = cluster.mapped_id;
		spec->pool_id = cluster.mapped_pool;
	}
	/*
	 * A VolumeAttachment keeps what was true when it was made: config.json
	 * is asked first, and publish_context for what it does not know.
	 */
	spec->monitors = first_of(
	    cluster.monitors, csi_map_get(publish, "monitors"));
	spec->net_namespace = cluster.net_namespace;
	spec->crush_location = cluster.crush_location;
	spec->fsid = csi_map_get(publish, "clusterFsid");
	spec->pool = first_of(
	    csi_map_get(publish, "pool"), csi_map_get(context, "pool"));
	spec->rados_namespace = dynamic && cluster.monitors != NULL
	    ? cluster.rados_namespace
	    : csi_map_get(publish, "radosNamespace");
	if (spec->rados_namespace == NULL)
		spec->rados_namespace = first_of(cluster.rados_namespace,
		    csi_map_get(context, "radosNamespace"));
	spec->image = csi_map_get(publish, "image");
	spec->image_id = csi_map_get(publish, "imageId");
	if (str_is_empty(spec->image))
		rc = image_name(spec, context, &id, dynamic, arena, err);
	if (rc == 0 && str_is_empty(spec->pool))
		rc = err_set(
		    err, ERR_INVALID_ARGUMENT, "volume_context.pool: missing");
	if (rc == 0 && reach && str_is_empty(spec->monitors))
		rc = err_refuse(err, "no monitors for volume %s: %s", volume_id,
		    err_is_set(&why) ? why.text
				     : "volume_context.clusterID: missing");
	return rc;
}

bool
node_is_read_only(
    const struct csi_access *access, const char *options, bool readonly)
{
	return access->read_only || readonly ||
	    (!access->block && mount_options_read_only(options));
}

int
node_mount_flags(const Csi__V1__VolumeCapability *capability,
    struct arena *arena, const char **options, struct err *err)
{
	const Csi__V1__VolumeCapability__MountVolume *mount;
	const char *all = "";

	*options = "";
	if (capability->access_type_case !=
	    CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT)
		return 0;
	mount = capability->mount;
	for (size_t i = 0; i < mount->n_mount_flags; i++)
		if (mount->mount_flags[i][0] != '\0')
			all = all[0] == '\0' ? mount->mount_flags[i]
					     : arena_fmt(arena, "%s,%s", all,
						   mount->mount_flags[i]);
	*options = all;
	return rules_mount_flags(
	    "volume_capability.mount.mount_flags", all, err);
}

bool
node_find_credentials(
    const struct device_spec *spec, const char **user, const char **key)
{
	const struct mapper *mapper;

	for (size_t i = 0; (mapper = mapper_at(i)) != NULL; i++)
		if (mapper->credentials != NULL &&
		    mapper->credentials(spec, user, key))
			return true;
	return node_config->credentials(spec, user, key);
}

bool
node_record_fill(struct node_format *ask, const struct device_spec *spec,
    const struct mapper *mapper, const char *device_client, struct arena *arena)
{
	bool lasting = mapper->client == NULL, shared = false;
	const char *address = lasting ? device_client
				      : mapper->client(spec, &shared);

	if (str_is_empty(address))
		return false;
	*ask = (struct node_format){
		.step = NODE_FORMAT_RECORD,
		.spec = spec,
		.node_id = node_config->node_id,
		.address = arena_strdup(arena, address),
		.lasting = lasting,
		.shared = shared,
	};
	return true;
}

unsigned
node_images_most(void)
{
	const struct mapper *mapper = mapper_choose(
	    NULL, node_config->mounter_fallback, NULL);

	return mapper != NULL ? mapper->images_most : 0;
}
