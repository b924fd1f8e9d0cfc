/*
 * stash.c - reading and writing image-meta.json.
 */
#include "node/stash.h"
#include "node/device.h"

#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define STASH_FILE "image-meta.json"
#define STASH_VERSION 3
#define STASH_BYTES_MAX 65536
#define OURS "rbd-csi"

/* A member that does not fit makes the file unusable. */
static int
get(const json_t *object, const char *key, char *out, size_t size,
    const char *path, struct err *err)
{
	const char *value = json_get_string(object, key);

	if (value != NULL && str_put(out, size, "%s", value) < 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%s: %s is too long", path, key);
	return 0;
}

static int
from_json(
    const json_t *json, struct stash *stash, const char *path, struct err *err)
{
	const json_t *ours = json_object_get(json, OURS);
	const struct {
		const json_t *object;
		const char *key;
		char *out;
		size_t size;
	} member[] = {
		{ json, "pool", stash->pool, sizeof(stash->pool) },
		{ json, "radosNamespace", stash->rados_namespace,
		    sizeof(stash->rados_namespace) },
		{ json, "image", stash->image, sizeof(stash->image) },
		{ json, "unmapOptions", stash->unmap_options,
		    sizeof(stash->unmap_options) },
		{ json, "device", stash->device, sizeof(stash->device) },
		{ json, "logDir", stash->log_dir, sizeof(stash->log_dir) },
		{ json, "logFileStrategy", stash->log_strategy,
		    sizeof(stash->log_strategy) },
		{ ours, "volumeId", stash->volume_id,
		    sizeof(stash->volume_id) },
		{ ours, "mapper", stash->mapper, sizeof(stash->mapper) },
		{ ours, "fsid", stash->fsid, sizeof(stash->fsid) },
		{ ours, "clusterID", stash->cluster_id,
		    sizeof(stash->cluster_id) },
		{ ours, "imageId", stash->image_id, sizeof(stash->image_id) },
		{ ours, "singleTarget", stash->single_target,
		    sizeof(stash->single_target) },
	};

	for (size_t i = 0; i < countof(member); i++) {
		int rc = get(member[i].object, member[i].key, member[i].out,
		    member[i].size, path, err);

		if (rc < 0)
			return rc;
	}
	stash->nbd = json_is_true(json_object_get(json, "accessType"));
	stash->encrypted = json_is_true(json_object_get(json, "encrypted"));
	return 0;
}

int
stash_read(const char *staging, struct stash *stash, struct err *err)
{
	auto_free char *path = str_fmt("%s/" STASH_FILE, staging);
	auto_json json_t *json = NULL;
	struct err why = ERR_INIT;

	memset(stash, 0, sizeof(*stash));
	json = json_read_file(path, STASH_BYTES_MAX, &why);
	if (json == NULL &&
	    (why.rc == -ENOENT || why.rc == -ENOTDIR ||
		why.code == ERR_INVALID_ARGUMENT))
		return -ENOENT;
	if (json == NULL) {
		if (err != NULL)
			*err = why;
		return why.rc;
	}
	if (str_is_empty(json_get_string(json, "image")))
		return -ENOENT;
	return from_json(json, stash, path, err);
}

/* Field order as ceph-csi writes it. */
static json_t *
to_json(const struct stash *stash)
{
	return json_pack("{s:i, s:s, s:s, s:s, s:s, s:b, s:b, s:s, s:s, s:s, "
			 "s:{s:s, s:s, s:s, s:s, s:s, s:s}}",
	    "Version", STASH_VERSION, "pool", stash->pool, "radosNamespace",
	    stash->rados_namespace, "image", stash->image, "unmapOptions",
	    stash->unmap_options, "accessType", stash->nbd, "encrypted",
	    stash->encrypted, "device", stash->device, "logDir", stash->log_dir,
	    "logFileStrategy", stash->log_strategy, OURS, "volumeId",
	    stash->volume_id, "mapper", stash->mapper, "fsid", stash->fsid,
	    "clusterID", stash->cluster_id, "imageId", stash->image_id,
	    "singleTarget", stash->single_target);
}

int
stash_write(const char *staging, const struct stash *stash, struct err *err)
{
	auto_free char *path = str_fmt("%s/" STASH_FILE, staging);
	auto_json json_t *json = to_json(stash);

	if (json == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "write %s: a name is not UTF-8", path);
	return json_write_file(path, json, 0600, err);
}

int
stash_remove(const char *staging, struct err *err)
{
	auto_free char *path = str_fmt("%s/" STASH_FILE, staging);

	if (unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR)
		return err_set_rc(err, -errno, "remove %s", path);
	return 0;
}

bool
stash_is_of(const struct stash *stash, const char *volume_id)
{
	return stash->volume_id[0] != '\0'
	    ? str_eq(stash->volume_id, volume_id)
	    : device_is_named(volume_id, stash->image);
}
