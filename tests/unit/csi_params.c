/*
 * csi_params.c - sizes, features, booleans, map options, StorageClass
 * parameters and credentials, as tables.
 */
#include "base/features.h"
#include "csi/params.h"
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

static const struct {
	const char *parameters;
	const char *in_error; /* NULL: accepted */
} classes[] = {
	{ "clusterID=c pool=p", NULL },
	{ "pool=p", "parameters.clusterID: missing" },
	{ "clusterID= pool=p", "parameters.clusterID: missing" },
	{ "clusterID=c", "parameters.pool: missing" },
	{ "clusterID=c pool=", "parameters.pool: is empty" },
	{ "clusterID=c topologyConstrainedPools=[]",
	    "parameters.topologyConstrainedPools" },
	{ "clusterID=c pool=p topologyConstrainedPools=[]", NULL },
	{ "clusterID=c pool=p dataPool=", "parameters.dataPool: is empty" },
	{ "clusterID=c pool=p radosNamespace=",
	    "parameters.radosNamespace: is empty" },
	{ "clusterID=c pool=p volumeNamePrefix=",
	    "parameters.volumeNamePrefix: is empty" },
	{ "clusterID=c pool=p imageFeatures=",
	    "parameters.imageFeatures: is empty" },
	{ "clusterID=c pool=p imageFeatures=magic", "\"magic\"" },
	{ "clusterID=c pool=p imageFeatures=exclusive-lock,journaling",
	    "journaling is nothing for mounter rbd" },
	{ "clusterID=c pool=p mounter=rbd-nbd "
	  "imageFeatures=exclusive-lock,journaling",
	    NULL },
	{ "clusterID=c pool=p encrypted=true", "parameters.encrypted" },
	{ "clusterID=c pool=p encrypted=maybe", "parameters.encrypted" },
	{ "clusterID=c pool=p encrypted=false", NULL },
	{ "clusterID=c pool=p stripeUnit=4096", "parameters.stripeCount" },
	{ "clusterID=c pool=p stripeCount=4", "parameters.stripeUnit" },
	{ "clusterID=c pool=p stripeCount=4 stripeUnit=4096", NULL },
	{ "clusterID=c pool=p stripeCount=x stripeUnit=4096",
	    "parameters.stripeCount" },
	{ "clusterID=c pool=p objectSize=0", "parameters.objectSize" },
	{ "clusterID=c pool=p objectSize=4194305", "parameters.objectSize" },
	{ "clusterID=c pool=p objectSize=2048", "parameters.objectSize" },
	{ "clusterID=c pool=p objectSize=67108864", "parameters.objectSize" },
	{ "clusterID=c pool=p objectSize=-1", "parameters.objectSize" },
	{ "clusterID=c pool=p objectSize=1048576", NULL },
	{ "clusterID=c pool=p objectSize=8192 stripeCount=2 stripeUnit=3000",
	    "parameters.stripeUnit" },
	{ "clusterID=c pool=p thickProvision=true adminId=x", NULL },

	/* what later calls could not use */
	{ "clusterID=prod.ceph pool=p", "parameters.clusterID: \"prod.ceph\"" },
	{ "clusterID=a..b pool=p", "parameters.clusterID: \"a..b\"" },
	{ "clusterID=a/b pool=p", "parameters.clusterID: \"a/b\"" },
	{ "clusterID=a_b-C9 pool=p", NULL },
	{ "clusterID=c pool=p volumeNamePrefix=a/b-",
	    "parameters.volumeNamePrefix: \"a/b-" },
	{ "clusterID=c pool=p volumeNamePrefix=a@b-",
	    "parameters.volumeNamePrefix: \"a@b-" },
	{ "clusterID=c pool=p volumeNamePrefix=a\tb-",
	    "parameters.volumeNamePrefix: \"a\tb-" },
	{ "clusterID=c pool=p volumeNamePrefix=" X220,
	    "parameters.volumeNamePrefix: longer than 255" },
	{ "clusterID=c pool=p\tq", "parameters.pool: \"p\tq\"" },
	{ "clusterID=c pool=p\tq mounter=userspace", NULL },
	{ "clusterID=c pool=p mounter=userspce",
	    "parameters.mounter: \"userspce\" is unknown" },
	{ "clusterID=c pool=p mounter=Rbd", "parameters.mounter: \"Rbd\"" },
	{ "clusterID=c pool=p mounter=krbd", NULL },
	{ "clusterID=c pool=p mounter=", NULL },
	{ "clusterID=c pool=p mapOptions=fuse:x",
	    "parameters.mapOptions: map options: unknown mounter \"fuse\"" },
	{ "clusterID=c pool=p unmapOptions=crush_location=a:b",
	    "parameters.unmapOptions" },
	{ "clusterID=c pool=p mapOptions=krbd:secret=x",
	    "parameters.mapOptions: secret is set by the driver" },
	{ "clusterID=c pool=p mapOptions=name=x",
	    "parameters.mapOptions: name is set by the driver" },
	{ "clusterID=c pool=p mapOptions=lock_on_read,queue_depth=8", NULL },
	{ "clusterID=c pool=p mapOptions=krbd:a,b;nbd:secret=c", NULL },
	{ "clusterID=c pool=p imageName=x",
	    "parameters.imageName: is nothing" },
	{ "clusterID=c pool=p staticVolume=true",
	    "parameters.staticVolume: is nothing" },
	{ "clusterID=c pool=p migration=true", "parameters.migration" },

	/* keys that are nearly right */
	{ "clusterID=c Pool=p", "parameters.Pool: is unknown; pool may" },
	{ "clusterId=c pool=p", "parameters.clusterID: missing" },
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

int
main(void)
{
	test_sizes();
	test_features();
	test_bools();
	test_map_options();
	test_class_params();
	test_credentials();
	return tap_end();
}
