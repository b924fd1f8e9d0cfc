/*
 * stash.c - reading and writing image-meta.json.
 */
#include "node/stash.h"

#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define STASH_FILE "image-meta.json"
#define STASH_VERSION 3
#define STASH_BYTES_MAX 65536
#define OURS "rbd-csi"

#define MEMBER(is_ours, name, field)                                           \
	.key = name, .ours = is_ours, .at = offsetof(struct stash, field),     \
	.size = sizeof(((struct stash *)NULL)->field)
/* A member that a device_spec has by the same name. */
#define SPEC_MEMBER(is_ours, name, field)                                      \
	MEMBER(is_ours, name, field),                                          \
	    .of_spec = true, .spec = offsetof(struct device_spec, field)

/* In the order in which ceph-csi writes them, then ours. */
static const struct member {
	const char *key;
	size_t at, size, spec;
	bool ours, flag, of_spec;
} members[] = {
	{ SPEC_MEMBER(false, "pool", pool) },
	{ SPEC_MEMBER(false, "radosNamespace", rados_namespace) },
	{ SPEC_MEMBER(false, "image", image) },
	{ SPEC_MEMBER(false, "unmapOptions", unmap_options) },
	{ MEMBER(false, "accessType", nbd), .flag = true },
	{ MEMBER(false, "encrypted", encrypted), .flag = true },
	{ MEMBER(false, "device", device) },
	{ MEMBER(false, "logDir", log_dir) },
	{ MEMBER(false, "logFileStrategy", log_strategy) },
	{ MEMBER(true, "volumeId", volume_id) },
	{ MEMBER(true, "mapper", mapper) },
	{ SPEC_MEMBER(true, "fsid", fsid) },
	{ SPEC_MEMBER(true, "clusterID", cluster_id) },
	{ SPEC_MEMBER(true, "imageId", image_id) },
	{ MEMBER(true, "singleTarget", single_target) },
	{ MEMBER(true, "plain", plain), .flag = true },
	{ MEMBER(true, "recorded", recorded), .flag = true },
};

int
stash_read(const char *staging, struct stash *stash, struct err *err)
{
	auto_free char *path = str_fmt("%s/" STASH_FILE, staging);
	auto_json json_t *json = NULL;
	const json_t *ours;
	struct err why = ERR_INIT;

	memset(stash, 0, sizeof(*stash));
	json = json_read_file(path, STASH_BYTES_MAX, false, &why);
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
	ours = json_object_get(json, OURS);
	for (size_t i = 0; i < countof(members); i++) {
		const struct member *m = &members[i];
		const json_t *object = m->ours ? ours : json;
		const char *text = json_get_string(object, m->key);
		char *to = (char *)stash + m->at;

		if (m->flag)
			*(bool *)to = json_is_true(
			    json_object_get(object, m->key));
		else if (text != NULL && str_put(to, m->size, "%s", text) < 0)
			return err_refuse(
			    err, "%s: %s is too long", path, m->key);
	}
	return 0;
}

int
stash_write(const char *staging, const struct stash *stash, struct err *err)
{
	auto_free char *path = str_fmt("%s/" STASH_FILE, staging);
	auto_json json_t *json = json_pack("{s:i}", "Version", STASH_VERSION);
	json_t *ours = json_object();
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < countof(members); i++) {
		const struct member *m = &members[i];
		const char *from = (const char *)stash + m->at;

		rc = json_object_set_new(m->ours ? ours : json, m->key,
		    m->flag ? json_boolean(*(const bool *)from)
			    : json_string(from));
	}
	if (json_object_set_new(json, OURS, ours) < 0 || rc < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "write %s: a name is not UTF-8", path);
	return json_write_file(path, json, 0600, err);
}

int
stash_remove(const char *staging, struct err *err)
{
	auto_free char *path = str_fmt("%s/" STASH_FILE, staging);
	auto_free char *cut_off = str_fmt("%s" JSON_TMP, path);

	/* Whoever was killed while it wrote has left that. */
	(void)unlink(cut_off);
	if (unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR)
		return err_set_rc(err, -errno, "remove %s", path);
	return 0;
}

int
stash_fill(struct stash *stash, const struct device_spec *spec,
    const char *mapper, struct err *err)
{
	memset(stash, 0, sizeof(*stash));
	if (str_put(stash->volume_id, sizeof(stash->volume_id), "%s",
		spec->volume_id) < 0 ||
	    str_put(stash->mapper, sizeof(stash->mapper), "%s", mapper) < 0)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "volume_id is too long");
	for (size_t i = 0; i < countof(members); i++) {
		const struct member *m = &members[i];
		const char *text = *(
		    const char *const *)(const void *)((const char *)spec +
		    m->spec);

		if (m->of_spec && text != NULL &&
		    str_put((char *)stash + m->at, m->size, "%s", text) < 0)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "%s is too long", m->key);
	}
	return 0;
}

bool
stash_is_of(const struct stash *stash, const char *volume_id)
{
	return stash->volume_id[0] != '\0'
	    ? str_eq(stash->volume_id, volume_id)
	    : device_is_named(volume_id, stash->image);
}

const char *
stash_mapper(const struct stash *stash)
{
	return stash->mapper[0] != '\0' ? stash->mapper
	    : stash->nbd                ? "nbd"
					: MAPPER_DEFAULT;
}

int
stash_claim(
    const struct stash *stash, struct device_claim *claim, struct err *err)
{
	for (size_t i = 0; i < countof(members); i++) {
		const struct member *m = &members[i];
		const char *text = (const char *)stash + m->at;

		if (m->of_spec && (!m->ours || *text != '\0'))
			*(const char **)(void *)((char *)&claim->spec +
			    m->spec) = text;
	}
	claim->mapper = mapper_child_by_name(stash_mapper(stash));
	if (claim->mapper != NULL)
		return 0;
	return err_refuse_as(err, -EBUSY,
	    "image %s is staged through mapper %s, which this driver does not have",
	    stash->image, stash_mapper(stash));
}
