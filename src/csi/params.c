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

int
csi_map_bool(const struct csi_map *map, const char *field, const char *key,
    bool *value, struct err *err)
{
	const char *text = csi_map_get(map, key);

	*value = false;
	if (!str_is_empty(text) && csi_parse_bool(text, value) < 0)
		return csi_invalid(err,
		    "%s.%s: \"%.32s\" is neither true nor false", field, key,
		    text);
	return 0;
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
			return csi_invalid(err, "unknown feature \"%.*s\"",
			    (int)(len > 64 ? 64 : len), p);
		p += len;
		if (*p == '\0')
			break;
	}
	name = features_unmet(all, &missing);
	if (name != NULL) {
		features_fmt(missing, needs, sizeof(needs));
		return csi_invalid(err, "%s needs %s", name, needs);
	}
	*bits = all;
	return 0;
}

/* --- the table of parameters --- */

/*
 * Readers: each takes a value that is not empty, into the field if it keeps
 * it. Negative: the value is not accepted; `why` may say more than the table.
 */

static int
read_text(const struct csi_param *param, const char *text, void *field,
    struct err *why)
{
	(void)param;
	(void)why;
	*(const char **)field = text;
	return 0;
}

/* One of the words that the table has. */
static int
check_word(const struct csi_param *param, const char *text, void *field,
    struct err *why)
{
	const char *p = param->accepts;
	size_t len;

	(void)field;
	(void)why;
	for (; *p != '\0'; p += len + strspn(p + len, ", ")) {
		len = strcspn(p, ", ");
		if (strlen(text) == len && memcmp(text, p, len) == 0)
			return 0;
	}
	return -EINVAL;
}

static int
read_word(const struct csi_param *param, const char *text, void *field,
    struct err *why)
{
	int rc = check_word(param, text, field, why);

	return rc < 0 ? rc : read_text(param, text, field, why);
}

static int
read_bool(const struct csi_param *param, const char *text, void *field,
    struct err *why)
{
	bool unused;

	(void)param;
	(void)field;
	(void)why;
	return csi_parse_bool(text, &unused);
}

static int
keep_bool(const struct csi_param *param, const char *text, void *field,
    struct err *why)
{
	(void)param;
	(void)why;
	return csi_parse_bool(text, field);
}

/* Numbers, and those that only later steps use. */
static int
read_number(const struct csi_param *param, const char *text, void *field,
    struct err *why)
{
	(void)param;
	(void)why;
	return str_to_u64(text, field);
}

static int
check_number(const struct csi_param *param, const char *text, void *field,
    struct err *why)
{
	uint64_t unused;

	(void)field;
	return read_number(param, text, &unused, why);
}

/* A limit, which is kept as it is written. */
static int
read_limit(const struct csi_param *param, const char *text, void *field,
    struct err *why)
{
	uint64_t n;

	return read_number(param, text, &n, why) < 0 || n > INT64_MAX
	    ? -EINVAL
	    : read_text(param, text, field, why);
}

static int
read_cluster_id(const struct csi_param *param, const char *text, void *field,
    struct err *why)
{
	int rc = csi_cluster_id_check(text, why);

	return rc < 0 ? rc : read_text(param, text, field, why);
}

/* In front of a UUID it has to be the name of an image. */
static int
read_prefix(const struct csi_param *param, const char *text, void *field,
    struct err *why)
{
	auto_free char *image = str_fmt("%s%0*d", text, CSI_UUID_LEN, 0);
	int rc = rules_name("", image, RULES_IMAGE, NULL);

	return rc < 0 ? rc : read_text(param, text, field, why);
}

static int
read_features(const struct csi_param *param, const char *text, void *field,
    struct err *why)
{
	(void)param;
	return csi_features_parse(text, field, why);
}

/* librbd's limits: objects of 4 KiB to 32 MiB. */
static int
read_object_size(const struct csi_param *param, const char *text, void *field,
    struct err *why)
{
	uint64_t *size = field;

	return read_number(param, text, field, why) == 0 &&
		*size >= UINT64_C(1) << 12 && *size <= UINT64_C(1) << 25 &&
		(*size & (*size - 1)) == 0
	    ? 0
	    : -EINVAL;
}

/* What NodeStageVolume will find in the volume_context. */
static int
read_map_options(const struct csi_param *param, const char *text, void *field,
    struct err *why)
{
	auto_free char *mine = NULL;
	int rc = csi_map_options(text, CSI_MOUNTER_KRBD, &mine, why);

	(void)field;
	return rc < 0 ? rc : rules_krbd_options(param->key, mine, why);
}

static int
read_mkfs_options(const struct csi_param *param, const char *text, void *field,
    struct err *why)
{
	(void)field;
	return rules_mkfs_options(param->key, text, why);
}

#define CLASS CSI_IN_CLASS
#define SNAPSHOT CSI_IN_SNAPSHOT
#define STATIC CSI_IN_STATIC
#define SECRET CSI_IN_SECRET
#define MUTABLE CSI_IN_MUTABLE

#define FIELD(name) .at = offsetof(struct csi_class_params, name)

#define POOL_NAME "the name of a pool; krbd takes none with blanks"
#define PREFIX "1 to 219 bytes without blanks, / and @"
#define BOOLEAN "true or false"
#define NUMBER "a whole number"
#define LIMIT "a whole number up to 9223372036854775807"
#define ANYTHING "anything"
#define MAP_OPTIONS                                                            \
	"krbd:A,B;nbd:C;userspace:D, for krbd without blanks, name, key, secret and _pool_ns"

/* A limit's base, what is added for each GiB, and the maximum. */
#define QOS(input, name)                                                       \
	{                                                                      \
		name, MUTABLE, .accepts = LIMIT, .read = read_limit,           \
			       .at = offsetof(struct csi_qos, given[input])    \
	}
#define QOS_LIMIT(limit, base, per_gib, max)                                   \
	QOS(3 * (limit), base), QOS(3 * (limit) + 1, per_gib),                 \
	    QOS(3 * (limit) + 2, max)

/* Removed from ceph-csi long ago, or of the in-tree driver. */
#define IGNORED(name)                                                          \
	{                                                                      \
		name, CLASS, .accepts = ANYTHING, .is_ignored = true           \
	}

const struct csi_param csi_params[] = {
	/* StorageClass, and what has the same keys */
	{ "clusterID", CLASS | SNAPSHOT | STATIC, .is_filled = true,
	    .accepts = "1 to 64 letters, digits, - and _",
	    .read = read_cluster_id, FIELD(cluster_id) },
	{ "pool", CLASS | SNAPSHOT | STATIC, .is_filled = true,
	    .accepts = POOL_NAME, .read = read_text, FIELD(pool) },
	{ "dataPool", CLASS, .is_filled = true, .accepts = POOL_NAME,
	    .read = read_text, FIELD(data_pool) },
	{ "topologyConstrainedPools", CLASS, .stays = true,
	    .accepts =
		"a JSON list of {\"poolName\":P,\"dataPool\":D,\"domainSegments\":[{\"domainLabel\":L,\"value\":V}]}",
	    .read = read_text, FIELD(pools_by_topology) },
	{ "radosNamespace", CLASS, .is_filled = true, .accepts = ANYTHING },
	{ "volumeNamePrefix", CLASS, .is_filled = true, .standard = "csi-vol-",
	    .accepts = PREFIX, .read = read_prefix, FIELD(name_prefix) },
	{ "imageFeatures", CLASS | STATIC, .is_filled = true,
	    .accepts =
		"layering, exclusive-lock, object-map, fast-diff, deep-flatten, journaling, with commas only",
	    .read = read_features, FIELD(features) },
	{ "mounter", CLASS | STATIC, .standard = "rbd",
	    .accepts = "rbd, krbd, rbd-nbd, userspace", .read = read_word,
	    FIELD(mounter) },
	{ "mapOptions", CLASS | STATIC, .accepts = MAP_OPTIONS,
	    .read = read_map_options },
	{ "unmapOptions", CLASS | STATIC, .accepts = MAP_OPTIONS,
	    .read = read_map_options },
	{ "tryOtherMounters", CLASS | STATIC, .accepts = BOOLEAN,
	    .read = read_bool },
	{ CSI_CEPHX_PER_VOLUME, CLASS, .accepts = BOOLEAN, .read = read_bool },
	{ "mkfsOptions", CLASS | STATIC,
	    .accepts = "up to 64 words with blanks between them",
	    .read = read_mkfs_options },
	{ "cephLogDir", CLASS | STATIC, .accepts = "a path" },
	{ "cephLogStrategy", CLASS | STATIC,
	    .accepts = "remove, compress, preserve", .read = check_word },
	{ "stripeUnit", CLASS, .accepts = NUMBER " of bytes",
	    .read = read_number, FIELD(stripe_unit) },
	{ "stripeCount", CLASS, .accepts = NUMBER, .read = read_number,
	    FIELD(stripe_count) },
	{ "objectSize", CLASS,
	    .accepts = "a power of two from 4096 to 33554432",
	    .read = read_object_size, FIELD(object_size) },
	{ "encrypted", CLASS | STATIC, .is_filled = true, .accepts = BOOLEAN,
	    .read = keep_bool, FIELD(encrypted) },
	{ "encryptionKMSID", CLASS | STATIC, .standard = "default",
	    .accepts = "the name of a section of --kms-config, or default",
	    .read = read_text, FIELD(kms_id) },
	{ "encryptionType", CLASS | STATIC, .standard = CSI_ENCRYPTION_BLOCK,
	    .accepts = "block, file", .read = read_word,
	    FIELD(encryption_type) },
	{ "encryptionCipher", CLASS | STATIC,
	    .accepts =
		"aes-xts-plain64, serpent-xts-plain64, aes-xts-random, serpent-xts-random",
	    .read = check_word },
	{ "encryptionKeySize", CLASS | STATIC, .accepts = NUMBER " of bits",
	    .read = check_number },
	{ "encryptionSectorSize", CLASS | STATIC, .accepts = NUMBER " of bytes",
	    .read = check_number },
	{ "integrityMode", CLASS | STATIC,
	    .accepts = "hmac-sha256, hmac-sha512, aead", .read = check_word },

	/* what the sidecars add with --extra-create-metadata */
	{ "csi.storage.k8s.io/pvc/name", CLASS, .accepts = ANYTHING },
	{ "csi.storage.k8s.io/pvc/namespace", CLASS, .accepts = ANYTHING },
	{ "csi.storage.k8s.io/pv/name", CLASS, .accepts = ANYTHING },
	{ "csi.storage.k8s.io/volumesnapshot/name", SNAPSHOT,
	    .accepts = ANYTHING },
	{ "csi.storage.k8s.io/volumesnapshot/namespace", SNAPSHOT,
	    .accepts = ANYTHING },
	{ "csi.storage.k8s.io/volumesnapshotcontent/name", SNAPSHOT,
	    .accepts = ANYTHING },

	/* of older ceph-csi, and of the in-tree driver: nobody reads them */
	IGNORED("journalPool"),
	IGNORED("imageFormat"),
	IGNORED("mountOptions"),
	IGNORED("thickProvision"),
	IGNORED("multiNodeWritable"),
	IGNORED("monitors"),
	IGNORED("monValueFromSecret"),
	IGNORED("adminId"),
	IGNORED("adminid"),
	IGNORED("adminID"),
	IGNORED("adminSecretName"),
	IGNORED("userId"),
	IGNORED("userid"),
	IGNORED("userID"),
	IGNORED("userSecretName"),
	IGNORED("fsType"),
	IGNORED("fstype"),

	/* VolumeSnapshotClass */
	{ "snapshotNamePrefix", SNAPSHOT, .is_filled = true,
	    .standard = "csi-snap-", .accepts = PREFIX, .read = read_prefix,
	    FIELD(name_prefix) },

	/* VolumeAttributesClass */
	QOS_LIMIT(0, "baseIops", "iopsPerGiB", "maxIops"),
	QOS_LIMIT(1, "baseReadIops", "readIopsPerGiB", "maxReadIops"),
	QOS_LIMIT(2, "baseWriteIops", "writeIopsPerGiB", "maxWriteIops"),
	QOS_LIMIT(3, "baseBps", "bpsPerGiB", "maxBps"),
	QOS_LIMIT(4, "baseReadBps", "readBpsPerGiB", "maxReadBps"),
	QOS_LIMIT(5, "baseWriteBps", "writeBpsPerGiB", "maxWriteBps"),
	QOS(CSI_QOS_BASE_SIZE, "baseVolSizeBytes"),

	/* PersistentVolumes that somebody has written by hand */
	{ "staticVolume", STATIC, .accepts = BOOLEAN },
	{ "migration", STATIC, .accepts = BOOLEAN },
	{ "imageName", STATIC, .accepts = "the name of an image" },

	/* secrets */
	{ "userID", SECRET, .accepts = "a Ceph user without client." },
	{ "userKey", SECRET, .accepts = "the user's key" },
	{ "adminID", SECRET, .accepts = "as userID, which counts first" },
	{ "adminKey", SECRET, .accepts = "as userKey" },
	{ "adminId", SECRET, .standard = "admin",
	    .accepts = "the user of key" },
	{ CSI_PASSPHRASE, SECRET, .accepts = "a passphrase" },
	{ "key", SECRET, .accepts = "the key of an in-tree volume's user" },
};
const size_t csi_params_count = countof(csi_params);

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

/* The row of a key that counts in these maps, or NULL. */
static const struct csi_param *
param_find(const char *key, unsigned in)
{
	for (size_t i = 0; i < countof(csi_params); i++)
		if ((csi_params[i].in & in) != 0 &&
		    strcmp(csi_params[i].key, key) == 0)
			return &csi_params[i];
	return NULL;
}

#define KUBERNETES "csi.storage.k8s.io/"

bool
csi_param_travels(const char *key)
{
	const struct csi_param *param = param_find(key, CLASS);

	return !str_starts(key, KUBERNETES) && (param == NULL || !param->stays);
}

/* The key that may have been meant: one slip in a short one, two in others. */
static const char *
meant(const char *key, unsigned in)
{
	/* However it is written: nobody must get plain data for it. */
	if (in == CLASS && strncasecmp(key, "encrypt", 7) == 0)
		return "encrypted";
	if (strlen(key) > KEY_MAX)
		return NULL;
	for (size_t i = 0; i < countof(csi_params); i++) {
		const char *known = csi_params[i].key;

		if ((csi_params[i].in & in) != 0 && strlen(known) <= KEY_MAX &&
		    distance(key, known) <= (strlen(known) < 8 ? 1 : 2))
			return known;
	}
	return NULL;
}

/*
 * A key without a row: in a class it is fine, unless somebody meant another
 * one; of mutable_parameters all must be understood (CSI).
 */
static int
check_unknown(const char *field, const char *key, unsigned in, struct err *err)
{
	const char *other = meant(key, in);

	if (str_starts(key, KUBERNETES) && in != MUTABLE)
		return 0;
	/* Nobody but the driver knows what the volume_context says itself. */
	if (param_find(key, STATIC) != NULL && in != MUTABLE)
		return csi_invalid(
		    err, "%s.%s: is nothing for what is new", field, key);
	if (other != NULL)
		return csi_invalid(err, "%s.%.64s: is unknown; %s may be meant",
		    field, key, other);
	if (in == MUTABLE)
		return csi_invalid(err,
		    "%s.%.64s: is unknown; accepted: baseX, xPerGiB and maxX of Iops, ReadIops, WriteIops, Bps, ReadBps and WriteBps, and baseVolSizeBytes",
		    field, key);
	return 0;
}

/* "FIELD.KEY: WHAT; accepted: WHAT THE TABLE SAYS", whole or shorter. */
static int
refuse(const char *field, const struct csi_param *param, const char *text,
    const struct err *why, struct err *err)
{
	char all[ERR_TEXT_MAX];

	if (*text == '\0')
		return csi_invalid(err, "%s.%s: is empty; accepted: %s", field,
		    param->key, param->accepts);
	if (!err_is_set(why) ||
	    str_put(all, sizeof(all), "%s.%s: %s; accepted: %s", field,
		param->key, why->text, param->accepts) < 0)
		return csi_invalid(err,
		    "%s.%s: \"%.40s\" is not possible; accepted: %s", field,
		    param->key, text, param->accepts);
	return csi_invalid(err, "%s", all);
}

/*
 * Reads a map of the request into the fields of `out`, which the rows for
 * `in` know, with the defaults of the table.
 */
static int
read_map(const char *field, const struct csi_map *map, unsigned in, void *out,
    struct err *err)
{
	struct err why = ERR_INIT;

	for (size_t i = 0; i < countof(csi_params); i++) {
		const struct csi_param *p = &csi_params[i];

		if ((p->in & in) != 0 && p->standard != NULL)
			(void)read_text(
			    p, p->standard, (char *)out + p->at, NULL);
	}
	for (size_t i = 0; i < map->count; i++) {
		const char *key = csi_map_key(map, i);
		const struct csi_param *p = param_find(key, in);
		const char *text = csi_map_get(map, key);
		int rc = 0;

		if (p == NULL)
			rc = check_unknown(field, key, in, err);
		else if (*text == '\0' ? p->is_filled
				       : p->read != NULL &&
			    p->read(p, text, (char *)out + p->at, &why) < 0)
			rc = refuse(field, p, text, &why, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

const char *
csi_class_params_unknown(const struct csi_map *parameters, size_t *at)
{
	while (*at < parameters->count) {
		const char *key = csi_map_key(parameters, (*at)++);

		if (param_find(key, CLASS) == NULL &&
		    !str_starts(key, KUBERNETES))
			return key;
	}
	return NULL;
}

/* --- classes --- */

/* What one parameter allows another one. */
static int
check_together(const struct csi_class_params *p, struct err *err)
{
	bool krbd = csi_mounter_of(p->mounter) == CSI_MOUNTER_KRBD;
	bool has_unit = p->stripe_unit != 0;
	uint64_t strange = p->features & ~features_for(FEATURE_KRBD);
	char names[128];

	if (krbd && p->pool != NULL &&
	    rules_name("parameters.pool", p->pool, RULES_POOL, err) < 0)
		return -EINVAL;
	if (krbd && strange != 0) {
		features_fmt(strange, names, sizeof(names));
		return csi_invalid(err,
		    "parameters.imageFeatures: %s is nothing for mounter %.32s",
		    names, p->mounter);
	}
	if (has_unit != (p->stripe_count != 0))
		return csi_invalid(err,
		    "parameters.%s: has to be given together with %s",
		    has_unit ? "stripeCount" : "stripeUnit",
		    has_unit ? "stripeUnit" : "stripeCount");
	if (p->encrypted && !str_eq(p->encryption_type, CSI_ENCRYPTION_BLOCK))
		return err_set(err, ERR_UNIMPLEMENTED,
		    "parameters.encryptionType: %s is not served, only " CSI_ENCRYPTION_BLOCK
		    ", which encrypts the device below any file system",
		    p->encryption_type);
	if (has_unit && p->object_size % p->stripe_unit != 0)
		return csi_invalid(
		    err, "parameters.stripeUnit: does not divide objectSize");
	return 0;
}

int
csi_class_params_parse(const struct csi_map *parameters,
    struct csi_class_params *out, struct err *err)
{
	struct csi_class_params p = { .pool = NULL };
	int rc = read_map("parameters", parameters, CLASS, &p, err);

	if (rc < 0)
		return rc;
	if (p.cluster_id == NULL)
		return csi_invalid(err, "parameters.clusterID: missing");
	if (p.pool == NULL && p.pools_by_topology == NULL)
		return csi_invalid(err, "parameters.pool: missing");
	p.has_features = p.features != 0;
	if ((rc = check_together(&p, err)) < 0)
		return rc;
	*out = p;
	return 0;
}

int
csi_snapshot_params_parse(const struct csi_map *parameters,
    const char *source_id, const char **prefix, struct err *err)
{
	struct csi_class_params p = { .pool = NULL };
	struct csi_volume_id id;
	struct err ignored = ERR_INIT;
	int rc = read_map("parameters", parameters, SNAPSHOT, &p, err);

	if (rc < 0)
		return rc;
	if (p.cluster_id != NULL &&
	    csi_volume_id_parse(source_id, &id, &ignored) == 0 &&
	    !str_eq(p.cluster_id, id.cluster_id))
		return csi_invalid(err,
		    "parameters.clusterID: is %.64s, but source_volume_id is a volume of %s",
		    p.cluster_id, id.cluster_id);
	*prefix = p.name_prefix;
	return 0;
}

int
csi_qos_parse(const struct csi_map *mutable_parameters, struct csi_qos *asked,
    struct err *err)
{
	*asked = (struct csi_qos){ .given = { NULL } };
	return read_map(
	    "mutable_parameters", mutable_parameters, MUTABLE, asked, err);
}

const char *
csi_qos_lacks(const struct csi_qos *stored, const struct csi_qos *asked)
{
	for (size_t i = 0; i < countof(csi_params); i++) {
		size_t at = csi_params[i].at;
		const char *const *a = (const void *)((const char *)asked + at);
		const char *const *s = (const void *)((const char *)stored +
		    at);

		if (csi_params[i].in == MUTABLE && *a != NULL &&
		    !str_eq(*a, *s))
			return csi_params[i].key;
	}
	return NULL;
}

/* --- credentials --- */

int
csi_credentials_get(
    const struct csi_map *secrets, struct csi_credentials *out, struct err *err)
{
	static const char blank[] = " \t\r\n";
	static const struct {
		const char *user, *key;
	} names[] = { { "userID", CSI_USER_KEY }, { "adminId", "key" },
		{ "adminID", "adminKey" } };
	const char *user, *key;
	size_t len, by = 0;

	if (secrets->count == 0) {
		(void)csi_invalid(err, "secrets: missing");
		return -ENOENT;
	}
	if (csi_map_get(secrets, "userID") == NULL &&
	    csi_map_get(secrets, CSI_USER_KEY) == NULL) {
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
