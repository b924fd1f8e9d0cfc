/*
 * csi_params.c - sizes, features, booleans, map options, StorageClass
 * parameters and credentials, as tables.
 */
#include "base/features.h"
#include "csi/params.h"
#include "csi/topology.h"
#include "tests/tap.h"

#include <errno.h>

#define MIB ((int64_t)CSI_MIB)
#define GIB ((int64_t)CSI_GIB)

static const struct {
	int64_t required, limit;
	enum err_code code;
	int64_t size;
} sizes[] = {
	{ 1, 0, ERR_OK, MIB },
	{ MIB, 0, ERR_OK, MIB },
	{ MIB + 1, 0, ERR_OK, 2 * MIB },
	{ GIB - MIB, 0, ERR_OK, GIB - MIB },
	{ GIB - 1, 0, ERR_OK, GIB },
	{ GIB, 0, ERR_OK, GIB },
	{ GIB + 1, 0, ERR_OK, 2 * GIB },
	{ 1000000000, 0, ERR_OK, 954 * MIB },
	{ 5000000000, 0, ERR_OK, 5 * GIB },
	{ 10 * GIB, 10 * GIB, ERR_OK, 10 * GIB },
	{ GIB + 1, 2 * GIB, ERR_OK, 2 * GIB },
	{ GIB + 1, 2 * GIB - 1, ERR_OK, GIB + MIB },
	{ 10000000000, 10000000000, ERR_OK, 10000000000 },
	{ 10000000000, 11000000000, ERR_OK, 10 * GIB },
	{ 10000000000, 10737418239, ERR_OK, 9537 * MIB },
	{ 3 * GIB / 2, 3 * GIB / 2, ERR_OK, 3 * GIB / 2 },
	{ 1500000000, 1500000255, ERR_OUT_OF_RANGE, 0 },
	{ 1500000000, 1500000256, ERR_OK, 1500000256 },
	{ MIB + 1, MIB + 2, ERR_OUT_OF_RANGE, 0 },
	{ MIB + 1, MIB + 512, ERR_OK, MIB + 512 },
	{ GIB - 1, GIB - 1, ERR_OUT_OF_RANGE, 0 },
	{ GIB - 512, GIB - 512, ERR_OK, GIB - 512 },
	{ INT64_MAX, INT64_MAX, ERR_OUT_OF_RANGE, 0 },
	{ INT64_MAX - 511, INT64_MAX, ERR_OK, INT64_MAX - 511 },
	{ 0, 10 * GIB, ERR_OK, GIB },
	{ 0, GIB, ERR_OK, GIB },
	{ 0, 100 * MIB + 5, ERR_OK, 100 * MIB },
	{ 0, MIB, ERR_OK, MIB },
	{ 0, MIB - 1, ERR_OUT_OF_RANGE, 0 },
	{ 2 * GIB, GIB, ERR_INVALID_ARGUMENT, 0 },
	{ 0, 0, ERR_INVALID_ARGUMENT, 0 },
	{ -1, 0, ERR_INVALID_ARGUMENT, 0 },
	{ 1, -1, ERR_INVALID_ARGUMENT, 0 },
	{ INT64_MAX, 0, ERR_OUT_OF_RANGE, 0 },
	{ INT64_MAX - GIB + 1, 0, ERR_OK, INT64_MAX - GIB + 1 },
	{ INT64_MAX - GIB + 2, 0, ERR_OUT_OF_RANGE, 0 },
};

static void
test_sizes(void)
{
	uint64_t bytes = 0;

	ok(csi_volume_size(NULL, &bytes, NULL) == 0 && bytes == CSI_GIB,
	    "without a range a volume has 1 GiB");
	for (size_t i = 0; i < countof(sizes); i++) {
		Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
		struct err err = ERR_INIT;

		range.required_bytes = sizes[i].required;
		range.limit_bytes = sizes[i].limit;
		bytes = 0;
		is_int(csi_volume_size(&range, &bytes, &err), err.rc,
		    "the code's errno is returned");
		is_int(err.code, sizes[i].code, "size %jd limit %jd: code",
		    (intmax_t)sizes[i].required, (intmax_t)sizes[i].limit);
		is_int(bytes, sizes[i].size, "the size");
	}
}

static const struct {
	const char *text;
	const char *names; /* NULL: refused */
	const char *in_error;
} feature_lists[] = {
	{ "layering", "layering", NULL },
	{ "layering,exclusive-lock,object-map,fast-diff,deep-flatten",
	    "layering,exclusive-lock,object-map,fast-diff,deep-flatten", NULL },
	{ "deep-flatten,layering", "layering,deep-flatten", NULL },
	{ "layering,layering", "layering", NULL },
	{ "exclusive-lock,journaling", "exclusive-lock,journaling", NULL },
	{ "object-map", NULL, "object-map needs exclusive-lock" },
	{ "exclusive-lock,fast-diff", NULL, "fast-diff needs object-map" },
	{ "journaling", NULL, "journaling needs exclusive-lock" },
	{ "layering, exclusive-lock", NULL, "\" exclusive-lock\"" },
	{ "layering,", NULL, "\"\"" },
	{ "", NULL, "\"\"" },
	{ "striping", NULL, "\"striping\"" },
	{ "data-pool", NULL, "\"data-pool\"" },
	{ "Layering", NULL, "\"Layering\"" },
	{ "layer", NULL, "\"layer\"" },
};

static void
test_features(void)
{
	char names[128];
	uint64_t bits;

	for (size_t i = 0; i < countof(feature_lists); i++) {
		struct err err = ERR_INIT;
		int rc;

		bits = 0;
		rc = csi_features_parse(feature_lists[i].text, &bits, &err);
		features_fmt(bits, names, sizeof(names));
		if (feature_lists[i].names != NULL) {
			is_str(names, feature_lists[i].names, "features \"%s\"",
			    feature_lists[i].text);
			continue;
		}
		ok(rc == -EINVAL && err.code == ERR_INVALID_ARGUMENT &&
			strstr(err.text, feature_lists[i].in_error) != NULL,
		    "features \"%s\" are refused: %s", feature_lists[i].text,
		    err.text);
	}
	ok(csi_features_parse("layering,deep-flatten", &bits, NULL) == 0 &&
		bits == 33,
	    "the bits are librbd's");
	features_fmt(UINT64_MAX, names, sizeof(names));
	is_str(names,
	    "layering,striping,exclusive-lock,object-map,fast-diff,"
	    "deep-flatten,journaling,data-pool",
	    "all known bits have names");
	features_fmt(UINT64_MAX, names, 12);
	ok(strlen(names) < 12, "a short buffer is not overrun");
}

static void
test_bools(void)
{
	static const char *const yes[] = { "1", "t", "T", "true", "TRUE",
		"True" };
	static const char *const no[] = { "0", "f", "F", "false", "FALSE",
		"False" };
	static const char *const neither[] = { "", "yes", "on", "tRUE", " 1",
		"2", "-1" };
	bool value;

	for (size_t i = 0; i < countof(yes); i++) {
		value = false;
		ok(csi_parse_bool(yes[i], &value) == 0 && value, "%s is true",
		    yes[i]);
		value = true;
		ok(csi_parse_bool(no[i], &value) == 0 && !value, "%s is false",
		    no[i]);
	}
	for (size_t i = 0; i < countof(neither); i++)
		is_int(csi_parse_bool(neither[i], &value), -EINVAL,
		    "\"%s\" is neither", neither[i]);
}

static const struct {
	const char *text;
	const char *krbd, *nbd, *userspace; /* krbd NULL: refused */
} map_options[] = {
	{ "", "", "", "" },
	{ "lock_on_read,queue_depth=1024", "lock_on_read,queue_depth=1024", "",
	    "" },
	{ "krbd:a,b;nbd:c", "a,b", "c", "" },
	{ "nbd:c;krbd:a,b", "a,b", "c", "" },
	{ "nbd:try-netlink", "", "try-netlink", "" },
	{ "userspace:x;krbd:crush_location=zone:a", "crush_location=zone:a", "",
	    "x" },
	{ "a;nbd:b;", "a", "b", "" },
	{ "crush_location=zone:a", NULL, NULL, NULL },
	{ "fuse:x", NULL, NULL, NULL },
};

static void
test_map_options(void)
{
	for (size_t i = 0; i < countof(map_options); i++) {
		static const enum csi_mounter kinds[] = { CSI_MOUNTER_KRBD,
			CSI_MOUNTER_NBD, CSI_MOUNTER_USERSPACE };
		const char *want[] = { map_options[i].krbd, map_options[i].nbd,
			map_options[i].userspace };

		for (size_t k = 0; k < countof(kinds); k++) {
			auto_free char *out = NULL;
			int rc = csi_map_options(
			    map_options[i].text, kinds[k], &out, NULL);

			if (want[k] == NULL)
				is_int(rc, -EINVAL, "\"%s\" is refused",
				    map_options[i].text);
			else
				is_str(out, want[k], "\"%s\" for mounter %zu",
				    map_options[i].text, k);
		}
	}
}

/* --- maps of a request --- */

typedef Csi__V1__CreateVolumeRequest__ParametersEntry entry;

#define PAIRS 16

struct fixture {
	entry pair[PAIRS];
	ProtobufCMessage *list[PAIRS];
	struct csi_map map;
};

/* "a=1 b=2" as a map. The values have no blanks. */
static void
fill(struct fixture *f, char *text)
{
	char *save = NULL, *word;

	f->map = (struct csi_map){ .entry = f->list };
	for (word = strtok_r(text, " ", &save); word != NULL;
	     word = strtok_r(NULL, " ", &save)) {
		entry *e = &f->pair[f->map.count];
		char *eq = strchr(word, '=');

		csi__v1__create_volume_request__parameters_entry__init(e);
		*eq = '\0';
		e->key = word;
		e->value = eq + 1;
		f->list[f->map.count++] = &e->base;
	}
}

#define X22 "xxxxxxxxxxxxxxxxxxxxxx"
#define X220 X22 X22 X22 X22 X22 X22 X22 X22 X22 X22
#define B64 B16 B16 B16 B16
#define B16 "x x x x x x x x x x x x x x x x "

/*
 * A row for each parameter: values that are accepted, and one that is not with
 * what the error says of it beside what the table accepts. What the row does
 * not have is absent in most of the others.
 */
static const struct {
	const char *key;
	enum csi_param_in in;
	const char *good[3]; /* each is accepted */
	const char *bad[3];  /* each is refused */
	const char *why;     /* of the first bad one */
} rows[] = {
	{ "clusterID", CSI_IN_CLASS, { "c", "a_b-C9" },
	    { "prod.ceph", "a..b", "a/b" },
	    "\"prod.ceph\" has other characters" },
	{ "pool", CSI_IN_CLASS, { "p", "a.b-c/d" }, { "p\tq" },
	    "\"p\tq\" has a blank" },
	{ "dataPool", CSI_IN_CLASS, { "d" }, { NULL }, NULL },
	{ "topologyConstrainedPools", CSI_IN_CLASS, { "[]", "x" }, { NULL },
	    NULL },
	{ "radosNamespace", CSI_IN_CLASS, { "n" }, { NULL }, NULL },
	{ "volumeNamePrefix", CSI_IN_CLASS, { "v-", "x" },
	    { "a/b-", "a@b-", X220 }, "\"a/b-\" is not possible" },
	{ "imageFeatures", CSI_IN_CLASS,
	    { "layering", "layering,exclusive-lock,object-map" },
	    { "magic", "object-map", "layering, exclusive-lock" },
	    "unknown feature \"magic\"" },
	{ "mounter", CSI_IN_CLASS, { "userspace", "krbd", "rbd-nbd" },
	    { "userspce", "Rbd", "rbd, krbd" }, "\"userspce\"" },
	{ "mapOptions", CSI_IN_CLASS,
	    { "lock_on_read,queue_depth=8", "krbd:a,b;nbd:secret=c", "nbd:x" },
	    { "krbd:secret=x", "fuse:x", "name=x" },
	    "secret is set by the driver" },
	{ "unmapOptions", CSI_IN_CLASS, { "force", "krbd:force" },
	    { "crush_location=a:b", "key=x" }, "unknown mounter" },
	{ "tryOtherMounters", CSI_IN_CLASS, { "true", "F", "0" },
	    { "yes", "tRUE" }, "\"yes\"" },
	{ "cephxPerVolume", CSI_IN_CLASS, { "true", "false" }, { "yes", "2" },
	    "\"yes\"" },
	{ "mkfsOptions", CSI_IN_CLASS, { "-m0 -K" }, { B64 "x" },
	    "more than 64 options" },
	{ "cephLogDir", CSI_IN_CLASS, { "/var/log/ceph" }, { NULL }, NULL },
	{ "cephLogStrategy", CSI_IN_CLASS, { "remove", "compress", "preserve" },
	    { "keep", "Remove" }, "\"keep\"" },
	{ "stripeUnit", CSI_IN_CLASS, { "4096" }, { "x", "-1", "4k" },
	    "\"x\"" },
	{ "stripeCount", CSI_IN_CLASS, { "4" }, { "x", "1.5" }, "\"x\"" },
	{ "objectSize", CSI_IN_CLASS, { "4096", "1048576", "33554432" },
	    { "4194305", "2048", "67108864" }, "\"4194305\"" },
	{ "encrypted", CSI_IN_CLASS, { "false", "true", "T" }, { "maybe", "2" },
	    "true or false" },
	{ "encryptionKMSID", CSI_IN_CLASS, { "vault" }, { NULL }, NULL },
	{ "encryptionType", CSI_IN_CLASS, { "block", "file" },
	    { "disk", "Block" }, "\"disk\"" },
	{ "encryptionCipher", CSI_IN_CLASS,
	    { "aes-xts-plain64", "serpent-xts-random" }, { "rot13", "aes" },
	    "\"rot13\"" },
	{ "encryptionKeySize", CSI_IN_CLASS, { "512" }, { "big", "-1" },
	    "\"big\"" },
	{ "encryptionSectorSize", CSI_IN_CLASS, { "4096" }, { "4k" },
	    "\"4k\"" },
	{ "integrityMode", CSI_IN_CLASS, { "hmac-sha256", "aead" }, { "crc" },
	    "\"crc\"" },
	{ "csi.storage.k8s.io/pvc/name", CSI_IN_CLASS, { "x" }, { NULL },
	    NULL },
	{ "csi.storage.k8s.io/pvc/namespace", CSI_IN_CLASS, { "x" }, { NULL },
	    NULL },
	{ "csi.storage.k8s.io/pv/name", CSI_IN_CLASS, { "x" }, { NULL }, NULL },
	{ "csi.storage.k8s.io/volumesnapshot/name", CSI_IN_SNAPSHOT, { "x" },
	    { NULL }, NULL },
	{ "csi.storage.k8s.io/volumesnapshot/namespace", CSI_IN_SNAPSHOT,
	    { "x" }, { NULL }, NULL },
	{ "csi.storage.k8s.io/volumesnapshotcontent/name", CSI_IN_SNAPSHOT,
	    { "x" }, { NULL }, NULL },
	{ "snapshotNamePrefix", CSI_IN_SNAPSHOT, { "s-", "x" },
	    { "a/b-", "a@b", X220 }, "\"a/b-\" is not possible" },
	{ "pool", CSI_IN_SNAPSHOT, { "p" }, { NULL }, NULL },
	{ "clusterID", CSI_IN_SNAPSHOT, { "c" }, { "a.b" },
	    "\"a.b\" has other" },
};

/* Limits are all alike: one row each for key and metadata key. */
static const struct {
	const char *key, *stored;
} limits[] = {
	{ "baseIops", "rbd_base_qos_iops_limit" },
	{ "iopsPerGiB", "rbd_iops_per_gib_limit" },
	{ "maxIops", "rbd_max_qos_iops_limit" },
	{ "baseReadIops", "rbd_base_qos_read_iops_limit" },
	{ "readIopsPerGiB", "rbd_read_iops_per_gib_limit" },
	{ "maxReadIops", "rbd_max_qos_read_iops_limit" },
	{ "baseWriteIops", "rbd_base_qos_write_iops_limit" },
	{ "writeIopsPerGiB", "rbd_write_iops_per_gib_limit" },
	{ "maxWriteIops", "rbd_max_qos_write_iops_limit" },
	{ "baseBps", "rbd_base_qos_bps_limit" },
	{ "bpsPerGiB", "rbd_bps_per_gib_limit" },
	{ "maxBps", "rbd_max_qos_bps_limit" },
	{ "baseReadBps", "rbd_base_qos_read_bps_limit" },
	{ "readBpsPerGiB", "rbd_read_bps_per_gib_limit" },
	{ "maxReadBps", "rbd_max_qos_read_bps_limit" },
	{ "baseWriteBps", "rbd_base_qos_write_bps_limit" },
	{ "writeBpsPerGiB", "rbd_write_bps_per_gib_limit" },
	{ "maxWriteBps", "rbd_max_qos_write_bps_limit" },
	{ "baseVolSizeBytes", "rbd_base_qos_vol_size" },
};

/* What a row needs beside its own key. */
static const char *
beside(const char *key, const char *value)
{
	if (strcmp(key, "clusterID") == 0)
		return "pool=p";
	if (strcmp(key, "pool") == 0)
		return "clusterID=c";
	if (strcmp(key, "stripeUnit") == 0 && *value != '\0')
		return "clusterID=c pool=p stripeCount=4";
	if (strcmp(key, "stripeCount") == 0 && *value != '\0')
		return "clusterID=c pool=p stripeUnit=4096";
	return "clusterID=c pool=p";
}

/* Reads BESIDE and KEY=VALUE as the maps of one kind are read. */
static int
read_one(
    enum csi_param_in in, const char *key, const char *value, struct err *err)
{
	struct csi_class_params p;
	const char *prefix;
	struct fixture f;
	char text[512];
	entry *e;

	(void)snprintf(text, sizeof(text), "%s",
	    in == CSI_IN_CLASS ? beside(key, value) : "");
	fill(&f, text);
	e = &f.pair[f.map.count];
	csi__v1__create_volume_request__parameters_entry__init(e);
	e->key = (char *)(uintptr_t)key;
	e->value = (char *)(uintptr_t)value;
	f.list[f.map.count++] = &e->base;
	return in == CSI_IN_CLASS
	    ? csi_class_params_parse(&f.map, &p, err)
	    : csi_snapshot_params_parse(&f.map, "x", &prefix, err);
}

static const struct csi_param *
param_of(const char *key, unsigned in)
{
	for (size_t i = 0; i < csi_params_count; i++)
		if (str_eq(csi_params[i].key, key) &&
		    (csi_params[i].in & in) != 0)
			return &csi_params[i];
	return NULL;
}

static void
test_rows(void)
{
	for (size_t i = 0; i < countof(rows); i++) {
		const char *key = rows[i].key;
		const struct csi_param *p = param_of(key, rows[i].in);
		struct err err = ERR_INIT;
		int rc;

		for (size_t j = 0; j < 3 && rows[i].good[j] != NULL; j++)
			ok(read_one(rows[i].in, key, rows[i].good[j], &err) ==
				0,
			    "%s: \"%s\" is accepted %s", key, rows[i].good[j],
			    err.text);
		for (size_t j = 0; j < 3 && rows[i].bad[j] != NULL; j++) {
			err = (struct err)ERR_INIT;
			rc = read_one(rows[i].in, key, rows[i].bad[j], &err);
			ok(rc == -EINVAL && err.code == ERR_INVALID_ARGUMENT &&
				str_starts(err.text, "parameters.") &&
				strstr(err.text, key) != NULL &&
				(j > 0 ||
				    strstr(err.text, rows[i].why) != NULL),
			    "%s: \"%s\" is refused (%s)", key, rows[i].bad[j],
			    err.text);
			if (strstr(err.text, "accepted: ") != NULL)
				ok(str_ends(err.text, p->accepts),
				    "and it says in full what is accepted");
		}
		err = (struct err)ERR_INIT;
		rc = read_one(rows[i].in, key, "", &err);
		if (p->is_filled)
			ok(rc == -EINVAL &&
				strstr(err.text, "is empty") != NULL,
			    "%s: empty is refused (%s)", key, err.text);
		else
			ok(rc == 0, "%s: empty is as good as absent %s", key,
			    err.text);
	}
	for (size_t i = 0; i < csi_params_count; i++) {
		unsigned in = csi_params[i].in &
		    (CSI_IN_CLASS | CSI_IN_SNAPSHOT);
		bool found = in == 0 || csi_params[i].is_ignored;

		for (size_t j = 0; j < countof(rows) && !found; j++)
			found = str_eq(rows[j].key, csi_params[i].key) &&
			    (rows[j].in & in) != 0;
		ok(found, "%s has a row", csi_params[i].key);
	}
}

/* Parses "a=1 b=2" as mutable_parameters; the strings stay in *f. */
static int
limits_of(struct fixture *f, char *text, struct csi_qos *out, struct err *err)
{
	fill(f, text);
	return csi_qos_parse(&f->map, out, err);
}

static void
test_limits(void)
{
	static const char *const bad[] = { "x", "-1", "1.5", " 1", "1k",
		"9223372036854775808", "+1" };

	is_int(countof(limits), CSI_QOS_INPUTS, "every limit has a row");
	for (size_t i = 0; i < countof(limits); i++) {
		struct csi_qos asked, stored = { .given = { NULL } };
		struct csi_qos_meta out[CSI_QOS_KEYS];
		struct arena *arena = arena_new(4096);
		const char *key = limits[i].key;
		struct err err = ERR_INIT;
		struct fixture f;
		char text[128];
		bool found = false;
		size_t n;

		(void)snprintf(text, sizeof(text), "%s=7", key);
		ok(limits_of(&f, text, &asked, NULL) == 0, "%s is accepted",
		    key);
		is_str(csi_qos_lacks(&stored, &asked), key,
		    "an image without it is told apart");
		n = csi_qos_diff(&stored, &asked, CSI_GIB, arena, out);
		for (size_t j = 0; j < n; j++)
			found = found ||
			    (str_eq(out[j].key, limits[i].stored) &&
				str_eq(out[j].value, "7"));
		ok(found, "and is kept as %s", limits[i].stored);
		csi_qos_take(&stored, limits[i].stored, "7");
		ok(csi_qos_lacks(&stored, &asked) == NULL,
		    "by which it is found again");
		(void)snprintf(text, sizeof(text), "%s=", key);
		ok(limits_of(&f, text, &asked, NULL) == 0 &&
			csi_qos_diff(&stored, &asked, CSI_GIB, arena, out) ==
			    (str_starts(key, "base") &&
					!str_eq(key, "baseVolSizeBytes")
				    ? 1
				    : 0),
		    "an empty value is as good as none");
		for (size_t j = 0; j < countof(bad); j++) {
			(void)snprintf(
			    text, sizeof(text), "%s=%s", key, bad[j]);
			/* fill() cuts at blanks */
			if (strchr(bad[j], ' ') != NULL)
				continue;
			err = (struct err)ERR_INIT;
			ok(limits_of(&f, text, &asked, &err) == -EINVAL &&
				str_starts(err.text, "mutable_parameters.") &&
				str_ends(err.text,
				    "accepted: a whole number up to 9223372036854775807"),
			    "\"%s\" is refused (%s)", bad[j], err.text);
		}
		arena_free(arena);
	}
}

/* Sizes in GiB; what an image has and what is asked for, and the result. */
static const struct {
	const char *stored; /* as parameters */
	const char *asked;
	uint64_t gib;
	const char *now; /* of baseIops */
} sums[] = {
	{ "", "baseIops=100", 1, "100" },
	{ "", "baseIops=100", 5000, "100" },
	{ "", "baseIops=007", 1, "007" }, /* as it is written */
	{ "", "baseIops=100 iopsPerGiB=10", 50, "100" },
	{ "", "baseIops=100 baseVolSizeBytes=10737418240", 50, "100" },
	{ "", "baseIops=100 iopsPerGiB=10 baseVolSizeBytes=10737418240", 10,
	    "100" },
	{ "", "baseIops=100 iopsPerGiB=10 baseVolSizeBytes=10737418240", 11,
	    "110" },
	{ "", "baseIops=100 iopsPerGiB=10 baseVolSizeBytes=10737418241", 11,
	    "100" },
	{ "", "baseIops=100 iopsPerGiB=10 baseVolSizeBytes=0", 3, "130" },
	{ "",
	    "baseIops=100 iopsPerGiB=10 baseVolSizeBytes=10737418240 maxIops=105",
	    20, "105" },
	{ "",
	    "baseIops=100 iopsPerGiB=10 baseVolSizeBytes=10737418240 maxIops=0",
	    20, "200" },
	{ "",
	    "baseIops=100 iopsPerGiB=10 baseVolSizeBytes=10737418240 maxIops=50",
	    10, "100" }, /* the maximum is for the sum */
	{ "", "iopsPerGiB=10 baseVolSizeBytes=0", 5, NULL },
	{ "", "maxIops=10", 5, NULL },
	{ "", "baseReadIops=10", 5, NULL },
	{ "", "baseIops=0", 5, "0" },
	{ "", "baseIops=1 iopsPerGiB=9223372036854775807 baseVolSizeBytes=0",
	    5000, "9223372036854775807" },
	{ "", "baseIops=9223372036854775807 iopsPerGiB=1 baseVolSizeBytes=0", 5,
	    "9223372036854775807" },
	/* what was asked for earlier goes on to count */
	{ "baseIops=100 iopsPerGiB=10 baseVolSizeBytes=0", "", 4, "140" },
	{ "baseIops=100 iopsPerGiB=10 baseVolSizeBytes=0", "baseIops=1", 4,
	    "41" },
	{ "baseIops=100 iopsPerGiB=10 baseVolSizeBytes=0",
	    "baseIops=0 iopsPerGiB=0", 4, "0" },
};

static void
test_sums(void)
{
	for (size_t i = 0; i < countof(sums); i++) {
		struct csi_qos asked, stored;
		struct csi_qos_meta out[CSI_QOS_KEYS];
		struct arena *arena = arena_new(4096);
		struct fixture f, g;
		char was[160], text[160];
		const char *now = NULL;
		size_t n;

		(void)snprintf(was, sizeof(was), "%s", sums[i].stored);
		(void)snprintf(text, sizeof(text), "%s", sums[i].asked);
		ok(limits_of(&f, was, &stored, NULL) == 0 &&
			limits_of(&g, text, &asked, NULL) == 0,
		    "limits are read");
		n = csi_qos_diff(
		    &stored, &asked, sums[i].gib * CSI_GIB, arena, out);
		for (size_t j = 0; j < n; j++)
			if (str_eq(out[j].key, "conf_rbd_qos_iops_limit"))
				now = out[j].value;
		is_str(now, sums[i].now, "\"%s\" after \"%s\" at %ju GiB",
		    sums[i].asked, sums[i].stored, (uintmax_t)sums[i].gib);
		/* When all that is stored there is nothing left to do. */
		for (size_t j = 0; j < n; j++)
			csi_qos_take(&stored, out[j].key, out[j].value);
		is_int(csi_qos_diff(
			   &stored, &asked, sums[i].gib * CSI_GIB, arena, out),
		    0, "once is enough");
		arena_free(arena);
	}
}

/* Stored values in the order of csi_qos.now, "-" for none; then io.max. */
static const struct {
	const char *now[CSI_QOS_LIMITS], *cgroup[CSI_QOS_CGROUP], *io_max;
} throttles[] = {
	{ { NULL }, { NULL }, "" },
	{ { "0", "0" }, { NULL }, "" },
	{ { "x" }, { "-1" }, "" },
	{ { "100" }, { NULL }, "rbps=max wbps=max riops=100 wiops=100" },
	{ { NULL, "5", "6", NULL, "7", "8" }, { NULL },
	    "rbps=7 wbps=8 riops=5 wiops=6" },
	{ { "5", "100", NULL, "9", "8" }, { NULL },
	    "rbps=8 wbps=9 riops=5 wiops=5" },
	{ { "5", NULL, NULL, "9" }, { "1", NULL, "20" },
	    "rbps=1 wbps=9 riops=20 wiops=5" },
};

static void
test_throttles(void)
{
	struct arena *arena = arena_new(4096);

	for (size_t i = 0; i < countof(throttles); i++) {
		struct csi_qos stored = { .given = { NULL } };

		memcpy(stored.now, throttles[i].now, sizeof(stored.now));
		memcpy(
		    stored.cgroup, throttles[i].cgroup, sizeof(stored.cgroup));
		is_str(csi_qos_io_max(&stored, arena), throttles[i].io_max,
		    "a cgroup's limits are \"%s\"", throttles[i].io_max);
	}
	arena_free(arena);
}

/* Several parameters together, and keys. */
static const struct {
	const char *parameters;
	const char *in_error; /* NULL: accepted */
} classes[] = {
	{ "clusterID=c pool=p", NULL },
	{ "pool=p", "parameters.clusterID: missing" },
	{ "clusterID=c", "parameters.pool: missing" },
	{ "clusterID=c topologyConstrainedPools=[]", NULL },
	{ "clusterID=c topologyConstrainedPools=", "parameters.pool: missing" },
	{ "clusterID=c pool=p topologyConstrainedPools=[]", NULL },
	{ "clusterID=c pool=p imageFeatures=exclusive-lock,journaling",
	    "journaling is nothing for mounter rbd" },
	{ "clusterID=c pool=p mounter=rbd-nbd "
	  "imageFeatures=exclusive-lock,journaling",
	    NULL },
	{ "clusterID=c pool=p stripeUnit=4096", "parameters.stripeCount" },
	{ "clusterID=c pool=p stripeCount=4", "parameters.stripeUnit" },
	{ "clusterID=c pool=p stripeCount=4 stripeUnit=4096", NULL },
	{ "clusterID=c pool=p objectSize=8192 stripeCount=2 stripeUnit=3000",
	    "parameters.stripeUnit" },
	{ "clusterID=c pool=p thickProvision=true adminId=x", NULL },
	{ "clusterID=c pool=p\tq mounter=userspace", NULL },
	{ "clusterID=c pool=p imageName=x",
	    "parameters.imageName: is nothing" },
	{ "clusterID=c pool=p staticVolume=true",
	    "parameters.staticVolume: is nothing" },
	{ "clusterID=c pool=p migration=true", "parameters.migration" },

	/* keys that are nearly right */
	{ "clusterID=c Pool=p", "parameters.Pool: is unknown; pool may" },
	{ "clusterId=c pool=p",
	    "parameters.clusterId: is unknown; clusterID may" },
	{ "clusterID=c pool=p clusterId=d",
	    "parameters.clusterId: is unknown; clusterID may" },
	{ "clusterID=c pool=p imageFeature=layering",
	    "parameters.imageFeature: is unknown; imageFeatures may" },
	{ "clusterID=c pool=p imageFaetures=layering",
	    "parameters.imageFaetures: is unknown; imageFeatures may" },
	{ "clusterID=c pool=p mountOption=ro",
	    "parameters.mountOption: is unknown; mountOptions may" },
	{ "clusterID=c pool=p datapool=q", "dataPool may be meant" },
	{ "clusterID=c pool=p pol=q", "pool may be meant" },
	{ "clusterID=c pool=p encryption=true", "encrypted may be meant" },
	{ "clusterID=c pool=p Encrypted=true", "encrypted may be meant" },
	{ "clusterID=c pool=p stripe-unit=4096", "stripeUnit may be meant" },
	{ "clusterID=c pool=p team=blue tier=3 description=x po=l", NULL },
	{ "clusterID=c pool=p csi.storage.k8s.io/pool=x", NULL },
	{ "clusterID=c pool=p fstype=ext4 fsType=ext4 userid=x", NULL },
};

static void
test_class_params(void)
{
	struct csi_class_params p;
	struct fixture f;
	char text[512];
	size_t at = 0;

	for (size_t i = 0; i < countof(classes); i++) {
		struct err err = ERR_INIT;
		int rc;

		(void)snprintf(text, sizeof(text), "%s", classes[i].parameters);
		fill(&f, text);
		rc = csi_class_params_parse(&f.map, &p, &err);
		if (classes[i].in_error == NULL)
			ok(rc == 0, "accepted: %s %s", classes[i].parameters,
			    err.text);
		else
			ok(rc == -EINVAL && err.code == ERR_INVALID_ARGUMENT &&
				strstr(err.text, classes[i].in_error) != NULL,
			    "refused: %s (%s)", classes[i].parameters,
			    err.text);
	}

	(void)snprintf(text, sizeof(text), "clusterID=c pool=p");
	fill(&f, text);
	ok(csi_class_params_parse(&f.map, &p, NULL) == 0, "with defaults");
	is_str(p.name_prefix, "csi-vol-", "the prefix is ceph-csi's");
	is_str(p.mounter, "rbd", "the mounter is krbd");
	ok(!p.has_features && p.data_pool == NULL && p.object_size == 0,
	    "the rest is left to the cluster");

	(void)snprintf(text, sizeof(text),
	    "clusterID=c pool=p dataPool=d "
	    "imageFeatures=layering volumeNamePrefix=v- mounter=userspace "
	    "objectSize=8388608 stripeUnit=65536 stripeCount=16");
	fill(&f, text);
	ok(csi_class_params_parse(&f.map, &p, NULL) == 0 &&
		str_eq(p.data_pool, "d") && p.has_features && p.features == 1 &&
		str_eq(p.name_prefix, "v-") && str_eq(p.mounter, "userspace") &&
		p.object_size == 8388608 && p.stripe_unit == 65536 &&
		p.stripe_count == 16,
	    "all parameters are read");
	is_str(
	    csi_map_get(&f.map, "nothing"), NULL, "an absent key has no value");

	(void)snprintf(text, sizeof(text),
	    "clusterID=c team=blue csi.storage.k8s.io/pv/name=x tier=3");
	fill(&f, text);
	is_str(csi_class_params_unknown(&f.map, &at), "team",
	    "what nobody reads is told");
	is_str(csi_class_params_unknown(&f.map, &at), "tier", "one by one");
	is_str(csi_class_params_unknown(&f.map, &at), NULL, "to the last one");

	(void)snprintf(text, sizeof(text), "a=1 b=2 a=3");
	fill(&f, text);
	is_str(csi_map_get(&f.map, "a"), "3", "of equal keys the last counts");
	is_int(csi_mounter_of("rbd-nbd"), CSI_MOUNTER_NBD, "rbd-nbd");
	is_int(csi_mounter_of("userspace"), CSI_MOUNTER_USERSPACE, "userspace");
	is_int(csi_mounter_of("whatever"), CSI_MOUNTER_KRBD,
	    "any other mounter is krbd");
	is_int(csi_mounter_of(NULL), CSI_MOUNTER_KRBD, "so is none");
}

/* --- pools by topology --- */

#define POOLS                                                                  \
	"[{\"poolName\":\"a\",\"domainSegments\":["                            \
	"{\"domainLabel\":\"region\",\"value\":\"r\"},"                        \
	"{\"domainLabel\":\"zone\",\"value\":\"z1\"}]},\n"                     \
	" {\"poolname\":\"b\",\"dataPool\":\"bd\",\"domainSegments\":["        \
	"{\"domainLabel\":\"zone\",\"value\":\"z2\"}]},"                       \
	" {\"poolName\":\"c\",\"dataPool\":\"\"}]"

/* Topologies are "key=value,key=value", with blanks between them. */
static const struct {
	const char *pools, *preferred, *requisite;
	enum err_code code;
	const char *choices; /* "pool:data pool:number of the topology", or
				what the error says */
} topologies[] = {
	{ POOLS, "t.x/region=r,t.x/zone=z1", "", ERR_OK, "a::0 " },
	{ POOLS, "region=r,zone=z1", "", ERR_OK, "a::0 " },
	{ POOLS, "t.x/zone=z2", "", ERR_OK, "b:bd:0 " },
	{ POOLS, "t.x/zone=z1", "", ERR_OK, "c::0 " }, /* no region */
	{ POOLS, "t.x/zone=z2 t.x/region=r,t.x/zone=z1", "t.x/zone=z2", ERR_OK,
	    "b:bd:0 a::1 " },
	{ POOLS, "", "t.x/region=r,t.x/zone=z1 t.x/zone=z2", ERR_OK,
	    "a::0 b:bd:1 " },
	{ POOLS, "t.x/zone=z2", "t.x/region=r,t.x/zone=z1", ERR_OK,
	    "b:bd:0 a::1 " },
	{ POOLS, "t.x/zone=z2 t.x/zone=z2", "", ERR_OK, "b:bd:0 " },
	{ "[{\"poolName\":\"a\",\"domainSegments\":[{\"domainLabel\":\"zone\","
	  "\"value\":\"z1\"}]}]",
	    "t.x/zone=z2 t.x/zone=z3", "", ERR_RESOURCE_EXHAUSTED,
	    "fits any of 2 topologies, the first of which is t.x/zone=z2" },
	{ "[]", "t.x/zone=z2", "", ERR_RESOURCE_EXHAUSTED, "t.x/zone=z2" },
	{ POOLS, "", "", ERR_RESOURCE_EXHAUSTED, "name no topology" },
	{ "[{\"poolName\":\"a\\nb\",\"domainSegments\":null}]", "zone=1", "",
	    ERR_OK, "a\nb::0 " },
	{ "[{\"poolName\":\"a\nb\"}]", "zone=1", "", ERR_OK, "a b::0 " },
	{ "", "zone=1", "", ERR_INVALID_ARGUMENT, "is no JSON" },
	{ "[", "zone=1", "", ERR_INVALID_ARGUMENT, "is no JSON" },
	{ "{}", "zone=1", "", ERR_INVALID_ARGUMENT, "is not a list" },
	{ "[{}]", "zone=1", "", ERR_INVALID_ARGUMENT, "entry 1: no poolName" },
	{ "[{\"poolName\":\"a\"},7]", "zone=1", "", ERR_INVALID_ARGUMENT,
	    "entry 2: no poolName" },
	{ "[{\"poolName\":\"a\",\"dataPool\":1}]", "zone=1", "",
	    ERR_INVALID_ARGUMENT, "dataPool is not a string" },
	{ "[{\"poolName\":\"a\",\"domainSegments\":{}}]", "zone=1", "",
	    ERR_INVALID_ARGUMENT, "domainSegments is not a list" },
	{ "[{\"poolName\":\"a\",\"domainSegments\":[{\"value\":\"v\"}]}]",
	    "zone=1", "", ERR_INVALID_ARGUMENT, "without domainLabel" },
	{ "[{\"poolName\":\"a\",\"domainSegments\":[{\"domainLabel\":\"v\"}]}]",
	    "zone=1", "", ERR_INVALID_ARGUMENT, "or value" },
};

#define TOPOLOGIES_MAX 4

struct topologies {
	Csi__V1__Topology topology[TOPOLOGIES_MAX], *list[TOPOLOGIES_MAX];
	Csi__V1__Topology__SegmentsEntry segment[8], *segments[8];
	char text[128];
	size_t n, nsegments;
};

static void
fill_topologies(struct topologies *t, const char *text)
{
	char *outer = NULL, *inner = NULL, *word, *pair;

	t->n = t->nsegments = 0;
	(void)snprintf(t->text, sizeof(t->text), "%s", text);
	for (word = strtok_r(t->text, " ", &outer); word != NULL;
	     word = strtok_r(NULL, " ", &outer)) {
		Csi__V1__Topology *one = &t->topology[t->n];

		csi__v1__topology__init(one);
		one->segments = &t->segments[t->nsegments];
		for (pair = strtok_r(word, ",", &inner); pair != NULL;
		     pair = strtok_r(NULL, ",", &inner)) {
			Csi__V1__Topology__SegmentsEntry *e =
			    &t->segment[t->nsegments];

			csi__v1__topology__segments_entry__init(e);
			e->key = pair;
			e->value = strchr(pair, '=') + 1;
			e->value[-1] = '\0';
			t->segments[t->nsegments++] = e;
			one->n_segments++;
		}
		t->list[t->n++] = one;
	}
}

static void
test_topologies(void)
{
	for (size_t i = 0; i < countof(topologies); i++) {
		struct arena *arena = arena_new(65536);
		Csi__V1__TopologyRequirement wanted =
		    CSI__V1__TOPOLOGY_REQUIREMENT__INIT;
		struct topologies preferred, requisite;
		struct csi_topology t = { .n = 0 };
		struct err err = ERR_INIT;
		char got[128] = "";
		int rc;

		fill_topologies(&preferred, topologies[i].preferred);
		fill_topologies(&requisite, topologies[i].requisite);
		wanted.preferred = preferred.list;
		wanted.n_preferred = preferred.n;
		wanted.requisite = requisite.list;
		wanted.n_requisite = requisite.n;
		rc = csi_topology_choose(
		    topologies[i].pools, &wanted, arena, &t, &err);
		is_int(err.code, topologies[i].code, "topology %zu: %s", i,
		    err.text);
		for (size_t j = 0; rc == 0 && j < t.n; j++) {
			size_t at = 0;

			while (at < preferred.n + requisite.n &&
			    t.choice[j].topology !=
				(at < preferred.n
					? preferred.list[at]
					: requisite.list[at - preferred.n]))
				at++;
			(void)snprintf(got + strlen(got),
			    sizeof(got) - strlen(got), "%s:%s:%zu ",
			    t.choice[j].pool,
			    t.choice[j].data_pool != NULL
				? t.choice[j].data_pool
				: "",
			    at);
		}
		if (rc == 0)
			is_str(got, topologies[i].choices, "the choices");
		else
			ok(strstr(err.text, topologies[i].choices) != NULL,
			    "the text");
		arena_free(arena);
	}
}

static const struct {
	const char *secrets;
	int rc;
	const char *user, *key;
	const char *in_error;
} secrets[] = {
	{ "", -ENOENT, NULL, NULL, "secrets: missing" },
	{ "userID=u userKey=k", 0, "u", "k", NULL },
	{ "userID=u userKey=k adminID=a adminKey=b", 0, "u", "k", NULL },
	{ "userID=u", -EINVAL, NULL, NULL, "secrets.userKey: missing" },
	{ "userKey=k", -EINVAL, NULL, NULL, "secrets.userID: missing" },
	{ "userID= userKey=k", -EINVAL, NULL, NULL,
	    "secrets.userID: is empty" },
	{ "userID=u userKey=", -EINVAL, NULL, NULL,
	    "secrets.userKey: is empty" },
	{ "encryptionPassphrase=x", -EINVAL, NULL, NULL,
	    "secrets.userID: missing" },
	{ "userID=u userKey=k\n", 0, "u", "k", NULL },
	{ "userID=u userKey=k\r\n", 0, "u", "k", NULL },
	{ "userID=u userKey=\tk==\n\n", 0, "u", "k==", NULL },
	{ "userID=u userKey=\r\n", -EINVAL, NULL, NULL,
	    "secrets.userKey: is empty" },
	{ "adminID=a adminKey=\nb\n", 0, "a", "b", NULL },
	{ "key=k\n", 0, "admin", "k", NULL },
	{ "key=k", 0, "admin", "k", NULL },
	{ "key=k adminId=joe", 0, "joe", "k", NULL },
	{ "adminID=a adminKey=b", 0, "a", "b", NULL },
	{ "adminID=a", -EINVAL, NULL, NULL, "secrets.adminKey: missing" },
};

static void
test_credentials(void)
{
	for (size_t i = 0; i < countof(secrets); i++) {
		struct csi_credentials c = { .user = NULL };
		struct err err = ERR_INIT;
		struct fixture f;
		char text[128];

		(void)snprintf(text, sizeof(text), "%s", secrets[i].secrets);
		fill(&f, text);
		is_int(csi_credentials_get(&f.map, &c, &err), secrets[i].rc,
		    "secrets \"%s\"", secrets[i].secrets);
		is_str(c.user, secrets[i].user, "the user");
		(void)snprintf(
		    text, sizeof(text), "%.*s", (int)c.key_len, c.key);
		is_str(c.key != NULL ? text : NULL, secrets[i].key, "the key");
		if (secrets[i].in_error != NULL)
			is_str(err.text, secrets[i].in_error, "the text");
	}
}

/* "volume, snapshot": the maps in which docs/PARAMETERS.md has a parameter. */
static char *
maps_of(const struct csi_param *p)
{
	static const struct {
		enum csi_param_in in;
		const char *name;
	} names[] = {
		{ CSI_IN_CLASS, "StorageClass" },
		{ CSI_IN_SNAPSHOT, "VolumeSnapshotClass" },
		{ CSI_IN_STATIC, "static" },
		{ CSI_IN_SECRET, "secret" },
		{ CSI_IN_MUTABLE, "VolumeAttributesClass" },
	};
	char *text = str_dup("");

	for (size_t i = 0; i < countof(names); i++) {
		char *longer;

		if ((p->in & names[i].in) == 0)
			continue;
		longer = str_fmt(
		    "%s%s%s", text, *text != '\0' ? ", " : "", names[i].name);
		free(text);
		text = longer;
	}
	return text;
}

/*
 * docs/PARAMETERS.md has one line for each parameter:
 * | `key` | maps | meaning | default | accepted | `example` |
 */
static void
test_document(void)
{
	const char *srcdir = getenv("srcdir");
	auto_free char *path = str_fmt(
	    "%s/docs/PARAMETERS.md", srcdir != NULL ? srcdir : ".");
	FILE *in = fopen(path, "r");
	char line[2048];
	size_t found = 0, lines = 0;

	while (in != NULL && fgets(line, sizeof(line), in) != NULL) {
		if (!str_starts(line, "| `"))
			continue;
		lines++;
		for (size_t i = 0; i < csi_params_count; i++) {
			const struct csi_param *p = &csi_params[i];
			auto_free char *maps = maps_of(p);
			auto_free char *head = str_fmt(
			    "| `%s` | %s | ", p->key, maps);
			auto_free char *tail = str_fmt(" | %s%s%s | %s | ",
			    p->standard != NULL ? "`" : "",
			    p->standard != NULL ? p->standard : "–",
			    p->standard != NULL ? "`" : "", p->accepts);
			const char *at = strstr(line, tail);
			struct err err = ERR_INIT;
			char example[256];

			if (!str_starts(line, head))
				continue;
			found++;
			if (!ok(at != NULL,
				"PARAMETERS.md: %s: default and accepted values",
				p->key) ||
			    sscanf(at + strlen(tail), "`%255[^`]`", example) !=
				1)
				continue;
			if ((p->in & CSI_IN_CLASS) != 0)
				ok(read_one(CSI_IN_CLASS, p->key, example,
				       &err) == 0,
				    "the example %s is accepted %s", example,
				    err.text);
		}
	}
	is_int(found, csi_params_count, "PARAMETERS.md has every parameter");
	is_int(lines, csi_params_count, "and no other one");
	if (in != NULL)
		(void)fclose(in);
}

int
main(void)
{
	test_sizes();
	test_features();
	test_bools();
	test_map_options();
	test_rows();
	test_limits();
	test_sums();
	test_throttles();
	test_class_params();
	test_topologies();
	test_document();
	test_credentials();
	return tap_end();
}
