/*
 * params.c - the meaning of parameters, secrets and sizes.
 */
#include "csi/params.h"

#include "base/features.h"
#include "base/rules.h"
#include "csi/reflect.h"
#include "csi/volume_id.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

/* --- maps --- */

/*
 * Every map entry is a message of its own C type with the key as first field
 * and the value as second one: read them through the descriptor.
 */
static const char *
entry_string(const ProtobufCMessage *entry, unsigned field)
{
	return *(char *const *)reflect_at(
	    entry, &entry->descriptor->fields[field], 0);
}

const char *
csi_map_key(const struct csi_map *map, size_t i)
{
	return entry_string(map->entry[i], 0);
}

const char *
csi_map_value(const struct csi_map *map, size_t i)
{
	return entry_string(map->entry[i], 1);
}

const char *
csi_map_get(const struct csi_map *map, const char *key)
{
	for (size_t i = map->count; i-- > 0;)
		if (strcmp(csi_map_key(map, i), key) == 0)
			return csi_map_value(map, i);
	return NULL;
}

struct csi_map
csi_map_field(const void *message, const char *name)
{
	const ProtobufCMessage *m = message;
	const ProtobufCFieldDescriptor *field =
	    protobuf_c_message_descriptor_get_field_by_name(
		m->descriptor, name);
	struct csi_map map = { .count = 0 };

	if (field != NULL && reflect_is_map(field)) {
		map.count = reflect_count(m, field);
		map.entry = reflect_at(m, field, 0);
	}
	return map;
}

/* --- single values --- */

int
csi_parse_bool(const char *text, bool *value)
{
	static const char *const yes[] = { "1", "t", "T", "TRUE", "true",
		"True" };
	static const char *const no[] = { "0", "f", "F", "FALSE", "false",
		"False" };

	for (size_t i = 0; i < countof(yes); i++) {
		if (strcmp(text, yes[i]) == 0) {
			*value = true;
			return 0;
		}
		if (strcmp(text, no[i]) == 0) {
			*value = false;
			return 0;
		}
	}
	return -EINVAL;
}

bool
csi_is_static(const struct csi_map *context)
{
	const char *text = csi_map_get(context, "staticVolume");
	bool yes = false;

	return text != NULL && csi_parse_bool(text, &yes) == 0 && yes;
}

static const struct {
	const char *name;
	enum csi_mounter mounter;
} mounters[] = {
	{ "rbd", CSI_MOUNTER_KRBD },
	{ "krbd", CSI_MOUNTER_KRBD },
	{ "rbd-nbd", CSI_MOUNTER_NBD },
	{ "userspace", CSI_MOUNTER_USERSPACE },
};

enum csi_mounter
csi_mounter_of(const char *text)
{
	for (size_t i = 0; i < countof(mounters); i++)
		if (str_eq(text, mounters[i].name))
			return mounters[i].mounter;
	return CSI_MOUNTER_KRBD;
}

static int
check_mounter(const char *text, struct err *err)
{
	for (size_t i = 0; i < countof(mounters); i++)
		if (str_eq(text, mounters[i].name))
			return 0;
	return csi_invalid(err,
	    "parameters.mounter: \"%.32s\" is unknown; rbd, rbd-nbd and userspace are known",
	    text);
}

/* --- image features --- */

int
csi_features_parse(const char *text, uint64_t *bits, struct err *err)
{
	const char *p = text, *name;
	uint64_t all = 0, missing;
	char needs[128];

	for (;; p++) {
		size_t len = strcspn(p, ",");

		if (features_add(p, len, FEATURE_ASKED, &all) < 0)
			return csi_invalid(err,
			    "parameters.imageFeatures: unknown feature \"%.*s\"",
			    (int)(len > 64 ? 64 : len), p);
		p += len;
		if (*p == '\0')
			break;
	}
	name = features_unmet(all, &missing);
	if (name != NULL) {
		features_fmt(missing, needs, sizeof(needs));
		return csi_invalid(
		    err, "parameters.imageFeatures: %s needs %s", name, needs);
	}
	*bits = all;
	return 0;
}

/* --- keys of StorageClass parameters --- */

/*
 * What ceph-csi or we read, or ceph-csi once read, and what users put there:
 * such a key is right as it is written.
 */
static const char *const class_keys[] = { "clusterID", "pool", "dataPool",
	"journalPool", "radosNamespace", "volumeNamePrefix", "imageFeatures",
	"imageFormat", "mounter", "mapOptions", "unmapOptions", "mountOptions",
	"tryOtherMounters", "mkfsOptions", "cephLogDir", "cephLogStrategy",
	"encrypted", "encryptionKMSID", "encryptionType", "encryptionCipher",
	"encryptionKeySize", "encryptionSectorSize", "integrityMode",
	"stripeUnit", "stripeCount", "objectSize", "topologyConstrainedPools",
	"thickProvision", "multiNodeWritable", "monitors", "monValueFromSecret",
	"adminId", "adminid", "adminID", "userId", "userid", "userID",
	"adminSecretName", "userSecretName", "fsType", "fstype" };

/* What the volume_context says itself: nobody but the driver knows it. */
static const char *const context_keys[] = { "imageName", "staticVolume",
	"migration" };

#define KEY_MAX 32 /* longer keys are like none of ours */

/* Levenshtein's distance, letters of either case being the same. */
static unsigned
distance(const char *a, const char *b)
{
	unsigned row[KEY_MAX + 1];
	size_t n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		row[j] = (unsigned)j;
	for (; *a != '\0'; a++) {
		unsigned diagonal = row[0]++;

		for (size_t j = 1; j <= n; j++) {
			unsigned least = diagonal +
			    (tolower((unsigned char)*a) !=
				tolower((unsigned char)b[j - 1]));

			if (least > row[j] + 1)
				least = row[j] + 1;
			if (least > row[j - 1] + 1)
				least = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = least;
		}
	}
	return row[n];
}

/* A key that counts, or that Kubernetes adds. */
static bool
is_known(const char *key)
{
	for (size_t i = 0; i < countof(class_keys); i++)
		if (strcmp(class_keys[i], key) == 0)
			return true;
	return str_starts(key, "csi.storage.k8s.io/");
}

/* The key that may have been meant: one slip in a short one, two in others. */
static const char *
meant(const char *key)
{
	/* However it is written: nobody must get plain data for it. */
	if (strncasecmp(key, "encrypt", 7) == 0)
		return "encrypted";
	if (strlen(key) > KEY_MAX)
		return NULL;
	for (size_t i = 0; i < countof(class_keys); i++)
		if (distance(key, class_keys[i]) <=
		    (strlen(class_keys[i]) < 8 ? 1 : 2))
			return class_keys[i];
	return NULL;
}

static int
check_keys(const struct csi_map *map, struct err *err)
{
	for (size_t i = 0; i < map->count; i++) {
		const char *key = csi_map_key(map, i);
		const char *other;

		if (is_known(key))
			continue;
		for (size_t j = 0; j < countof(context_keys); j++)
			if (strcmp(context_keys[j], key) == 0)
				return csi_invalid(err,
				    "parameters.%s: is nothing for a new volume",
				    key);
		other = meant(key);
		if (other != NULL)
			return csi_invalid(err,
			    "parameters.%s: is unknown; %s may be meant", key,
			    other);
	}
	return 0;
}

const char *
csi_class_params_unknown(const struct csi_map *parameters, size_t *at)
{
	while (*at < parameters->count) {
		const char *key = csi_map_key(parameters, (*at)++);

		if (!is_known(key))
			return key;
	}
	return NULL;
}

/* --- StorageClass parameters --- */

/* A parameter that has to have a value if it is there at all. */
static int
get_filled(const struct csi_map *map, const char *key, const char **value,
    struct err *err)
{
	*value = csi_map_get(map, key);
	if (*value != NULL && **value == '\0')
		return csi_invalid(err, "parameters.%s: is empty", key);
	return 0;
}

static int
get_number(const struct csi_map *map, const char *key, uint64_t *value,
    struct err *err)
{
	const char *text = csi_map_get(map, key);

	*value = 0;
	if (text != NULL && str_to_u64(text, value) < 0)
		return csi_invalid(
		    err, "parameters.%s: \"%.32s\" is no number", key, text);
	return 0;
}

/* What this driver cannot do must not be left out in silence. */
static int
refuse_unsupported(const struct csi_map *map, const char *pool, struct err *err)
{
	const char *text = csi_map_get(map, "encrypted");
	bool encrypted = false;

	if (text != NULL && csi_parse_bool(text, &encrypted) < 0)
		return csi_invalid(err,
		    "parameters.encrypted: \"%.32s\" is neither true nor false",
		    text);
	if (encrypted)
		return csi_invalid(err,
		    "parameters.encrypted: encrypted volumes are not supported");
	if (pool == NULL &&
	    !str_is_empty(csi_map_get(map, "topologyConstrainedPools")))
		return csi_invalid(err,
		    "parameters.topologyConstrainedPools: pools by topology are not supported, give parameters.pool");
	return 0;
}

int
csi_check_plain(const struct csi_map *context, struct err *err)
{
	const char *text = csi_map_get(context, "encrypted");
	bool encrypted = false;

	if (!str_is_empty(text) && csi_parse_bool(text, &encrypted) < 0)
		return csi_invalid(err,
		    "volume_context.encrypted: \"%.32s\" is neither true nor false",
		    text);
	if (encrypted)
		return err_set(err, ERR_UNIMPLEMENTED,
		    "volume_context.encrypted: this driver cannot stage encrypted volumes");
	return 0;
}

/* librbd's limits: objects of 4 KiB to 32 MiB. */
#define OBJECT_SIZE_MIN (UINT64_C(1) << 12)
#define OBJECT_SIZE_MAX (UINT64_C(1) << 25)

static int
get_layout(
    const struct csi_map *map, struct csi_class_params *p, struct err *err)
{
	int rc;

	if ((rc = get_number(map, "stripeUnit", &p->stripe_unit, err)) < 0 ||
	    (rc = get_number(map, "stripeCount", &p->stripe_count, err)) < 0 ||
	    (rc = get_number(map, "objectSize", &p->object_size, err)) < 0)
		return rc;
	if ((p->stripe_unit == 0) != (p->stripe_count == 0))
		return csi_invalid(err,
		    "parameters.%s: has to be given together with %s",
		    p->stripe_unit != 0 ? "stripeCount" : "stripeUnit",
		    p->stripe_unit != 0 ? "stripeUnit" : "stripeCount");
	if (csi_map_get(map, "objectSize") == NULL)
		return 0;
	if (p->object_size < OBJECT_SIZE_MIN ||
	    p->object_size > OBJECT_SIZE_MAX ||
	    (p->object_size & (p->object_size - 1)) != 0)
		return csi_invalid(err,
		    "parameters.objectSize: needs a power of two from 4096 to 33554432");
	if (p->stripe_unit != 0 && p->object_size % p->stripe_unit != 0)
		return csi_invalid(
		    err, "parameters.stripeUnit: does not divide objectSize");
	return 0;
}

static int
get_features(
    const struct csi_map *map, struct csi_class_params *p, struct err *err)
{
	const char *text;
	char names[128];
	int rc;

	if ((rc = get_filled(map, "imageFeatures", &text, err)) < 0)
		return rc;
	if (text == NULL)
		return 0;
	if ((rc = csi_features_parse(text, &p->features, err)) < 0)
		return rc;
	p->has_features = true;
	features_fmt(
	    p->features & ~features_for(FEATURE_KRBD), names, sizeof(names));
	if (names[0] != '\0' && csi_mounter_of(p->mounter) == CSI_MOUNTER_KRBD)
		return csi_invalid(err,
		    "parameters.imageFeatures: %s is nothing for mounter %.32s",
		    names, p->mounter);
	return 0;
}

/* What NodeStageVolume will find in the volume_context. */
static int
check_options(const struct csi_map *map, struct err *err)
{
	static const enum csi_mounter kinds[] = { CSI_MOUNTER_KRBD,
		CSI_MOUNTER_NBD, CSI_MOUNTER_USERSPACE };
	static const char *const keys[] = { "mapOptions", "unmapOptions" };

	for (size_t i = 0; i < countof(keys) * countof(kinds); i++) {
		const char *key = keys[i / countof(kinds)];
		enum csi_mounter kind = kinds[i % countof(kinds)];
		auto_free char *field = str_fmt("parameters.%s", key);
		auto_free char *mine = NULL;
		const char *text = csi_map_get(map, key);
		int rc;

		if (text == NULL)
			continue;
		rc = csi_map_options(text, kind, &mine, err);
		if (rc < 0)
			err_prefix(err, "parameters.%s", key);
		else if (kind == CSI_MOUNTER_KRBD)
			rc = rules_krbd_options(field, mine, err);
		if (rc < 0)
			return rc;
	}
	return rules_mkfs_options(
	    "parameters.mkfsOptions", csi_map_get(map, "mkfsOptions"), err);
}

/* Names that every later step has to use. */
static int
check_names(const struct csi_class_params *p, struct err *err)
{
	auto_free char *image = str_fmt("%s%0*d", p->name_prefix, 36, 0);
	int rc = csi_cluster_id_check(p->cluster_id, err);

	if (rc < 0)
		err_prefix(err, "parameters.clusterID");
	if (rc == 0)
		rc = check_mounter(p->mounter, err);
	if (rc == 0 && csi_mounter_of(p->mounter) == CSI_MOUNTER_KRBD)
		rc = rules_pool("parameters.pool", p->pool, err);
	if (rc == 0)
		rc = rules_image("parameters.volumeNamePrefix", image, err);
	return rc;
}

int
csi_class_params_parse(const struct csi_map *parameters,
    struct csi_class_params *out, struct err *err)
{
	struct csi_class_params p = { .mounter = "rbd" };
	const char *ns;
	int rc;

	p.cluster_id = csi_map_get(parameters, "clusterID");
	if (str_is_empty(p.cluster_id))
		return csi_invalid(err, "parameters.clusterID: missing");
	if ((rc = check_keys(parameters, err)) < 0 ||
	    (rc = get_filled(parameters, "pool", &p.pool, err)) < 0 ||
	    (rc = refuse_unsupported(parameters, p.pool, err)) < 0)
		return rc;
	if (p.pool == NULL)
		return csi_invalid(err, "parameters.pool: missing");
	if ((rc = get_filled(parameters, "dataPool", &p.data_pool, err)) < 0 ||
	    (rc = get_filled(parameters, "radosNamespace", &ns, err)) < 0 ||
	    (rc = get_filled(
		 parameters, "volumeNamePrefix", &p.name_prefix, err)) < 0)
		return rc;
	if (p.name_prefix == NULL)
		p.name_prefix = "csi-vol-";
	if (!str_is_empty(csi_map_get(parameters, "mounter")))
		p.mounter = csi_map_get(parameters, "mounter");
	if ((rc = check_names(&p, err)) < 0 ||
	    (rc = check_options(parameters, err)) < 0 ||
	    (rc = get_features(parameters, &p, err)) < 0 ||
	    (rc = get_layout(parameters, &p, err)) < 0)
		return rc;
	*out = p;
	return 0;
}

/* --- VolumeSnapshotClass parameters --- */

int
csi_snapshot_params_parse(const struct csi_map *parameters,
    const char *source_id, const char **prefix, struct err *err)
{
	static const char *const keys[] = { "clusterID", "pool",
		"snapshotNamePrefix" };
	const char *value[countof(keys)];
	auto_free char *image = NULL;
	struct csi_volume_id id;
	struct err ignored = ERR_INIT;
	int rc;

	for (size_t i = 0; i < countof(keys); i++)
		if ((rc = get_filled(parameters, keys[i], &value[i], err)) < 0)
			return rc;
	if (value[0] != NULL &&
	    csi_volume_id_parse(source_id, &id, &ignored) == 0 &&
	    !str_eq(value[0], id.cluster_id))
		return csi_invalid(err,
		    "parameters.clusterID: is %.64s, but source_volume_id is a volume of %s",
		    value[0], id.cluster_id);
	*prefix = value[2] != NULL ? value[2] : "csi-snap-";
	image = str_fmt("%s%0*d", *prefix, CSI_UUID_LEN, 0);
	return rules_image("parameters.snapshotNamePrefix", image, err);
}

/* --- credentials --- */

int
csi_credentials_get(
    const struct csi_map *secrets, struct csi_credentials *out, struct err *err)
{
	static const char blank[] = " \t\r\n";
	static const struct {
		const char *user, *key;
	} names[] = { { "userID", "userKey" }, { "adminId", "key" },
		{ "adminID", "adminKey" } };
	const char *user, *key;
	size_t len, by = 0;

	if (secrets->count == 0) {
		(void)csi_invalid(err, "secrets: missing");
		return -ENOENT;
	}
	if (csi_map_get(secrets, "userID") == NULL &&
	    csi_map_get(secrets, "userKey") == NULL) {
		if (!str_is_empty(csi_map_get(secrets, "key")))
			by = 1;
		else if (csi_map_get(secrets, "adminID") != NULL)
			by = 2;
	}
	user = csi_map_get(secrets, names[by].user);
	if (by == 1 && str_is_empty(user))
		user = "admin";
	key = csi_map_get(secrets, names[by].key);
	if (str_is_empty(user))
		return csi_invalid(err, "secrets.%s: %s", names[by].user,
		    user == NULL ? "missing" : "is empty");
	if (key == NULL)
		return csi_invalid(err, "secrets.%s: missing", names[by].key);
	key += strspn(key, blank);
	for (len = strlen(key); len > 0; len--)
		if (strchr(blank, key[len - 1]) == NULL)
			break;
	if (len == 0)
		return csi_invalid(err, "secrets.%s: is empty", names[by].key);
	*out = (struct csi_credentials){
		.user = user,
		.key = key,
		.key_len = len,
	};
	return 0;
}

/* --- sizes --- */

int
csi_volume_size(
    const Csi__V1__CapacityRange *range, uint64_t *bytes, struct err *err)
{
	static const uint64_t units[] = { CSI_GIB, CSI_MIB, CSI_SECTOR };
	uint64_t required, limit, size = 0;
	size_t i;

	if (range == NULL) {
		*bytes = CSI_GIB;
		return 0;
	}
	if (range->required_bytes < 0 || range->limit_bytes < 0)
		return csi_invalid(err, "capacity_range: a size is negative");
	required = (uint64_t)range->required_bytes;
	limit = (uint64_t)range->limit_bytes;
	if (required == 0 && limit == 0)
		return csi_invalid(err,
		    "capacity_range: neither required_bytes nor limit_bytes");
	if (limit != 0 && limit < required)
		return csi_invalid(
		    err, "capacity_range: limit_bytes is below required_bytes");
	if (required == 0)
		required = limit < CSI_GIB ? limit / CSI_MIB * CSI_MIB
					   : CSI_GIB;
	if (required == 0)
		return err_set(err, ERR_OUT_OF_RANGE,
		    "capacity_range.limit_bytes: the smallest volume has 1 MiB");

	/* The coarsest unit that fits; a narrow range gets a finer one. */
	i = required < CSI_GIB ? 1 : 0;
	do {
		size = (required + units[i] - 1) / units[i] * units[i];
		if (size <= (limit != 0 ? limit : INT64_MAX)) {
			*bytes = size;
			return 0;
		}
	} while (limit != 0 && ++i < countof(units));
	if (limit == 0)
		return err_set(err, ERR_OUT_OF_RANGE,
		    "capacity_range.required_bytes: too large");
	return err_set(err, ERR_OUT_OF_RANGE,
	    "capacity_range.limit_bytes: sizes are whole sectors, which makes %llu bytes",
	    (unsigned long long)size);
}

/* --- map options --- */

int
csi_map_options(
    const char *text, enum csi_mounter mounter, char **out, struct err *err)
{
	auto_free char *mine = str_dup("");
	const char *p = text;

	while (*p != '\0') {
		size_t len = strcspn(p, ";");
		const char *colon = memchr(p, ':', len);
		enum csi_mounter part = CSI_MOUNTER_KRBD;
		const char *options = p;

		if (colon != NULL) {
			size_t n = (size_t)(colon - p);

			if (n == 3 && memcmp(p, "nbd", 3) == 0)
				part = CSI_MOUNTER_NBD;
			else if (n == 9 && memcmp(p, "userspace", 9) == 0)
				part = CSI_MOUNTER_USERSPACE;
			else if (n != 4 || memcmp(p, "krbd", 4) != 0)
				return csi_invalid(err,
				    "map options: unknown mounter \"%.*s\"",
				    (int)(n > 32 ? 32 : n), p);
			options = colon + 1;
		}
		if (part == mounter) {
			free(mine);
			mine = str_fmt(
			    "%.*s", (int)(p + len - options), options);
		}
		p += len;
		p += *p == ';' ? 1 : 0;
	}
	*out = take_ptr(&mine);
	return 0;
}
