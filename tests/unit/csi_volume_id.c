/*
 * csi_volume_id.c - identifiers are ceph-csi's, byte for byte.
 */
#include "csi/volume_id.h"
#include "tests/tap.h"

#include <errno.h>
#include <string.h>

#define UUID "9a5d6f1c-3e0b-4a52-8a43-0f6d8b2f7c11"
#define C16 "0123456789abcdef"
#define C64 C16 C16 C16 C16

static const struct {
	const char *cluster;
	int64_t pool;
	const char *text;
} exact[] = {
	{ "rook-ceph", 2, "0001-0009-rook-ceph-0000000000000002-" UUID },
	{ "a", 0, "0001-0001-a-0000000000000000-" UUID },
	{ "b9127830-b0cc-4e34-aa47-9d1a2e9949a8", 255,
	    "0001-0024-b9127830-b0cc-4e34-aa47-9d1a2e9949a8-"
	    "00000000000000ff-" UUID },
	{ "--", -1, "0001-0002----ffffffffffffffff-" UUID },
	{ C64, INT64_MAX, "0001-0040-" C64 "-7fffffffffffffff-" UUID },
};

static const struct {
	const char *text;
	const char *what;
} bad[] = {
	{ "", "nothing" },
	{ "fake-vol-id", "csi-sanity's invalid ID" },
	{ "0001-0009-rook-ceph-0000000000000002-", "no UUID" },
	{ "0001-0009-rook-ceph-0000000000000002-" UUID "0",
	    "37 bytes of UUID" },
	{ "0001-0008-rook-ceph-0000000000000002-" UUID, "length too small" },
	{ "0001-000a-rook-ceph-0000000000000002-" UUID, "length too large" },
	{ "0001-ffff-rook-ceph-0000000000000002-" UUID,
	    "length far too large" },
	{ "000g-0009-rook-ceph-0000000000000002-" UUID, "version is no hex" },
	{ "0001-00-9-rook-ceph-0000000000000002-" UUID, "length is no hex" },
	{ "0001-0009-rook-ceph-00000000000000 2-" UUID, "pool is no hex" },
	{ "0001-0041-" C64 "x-0000000000000002-" UUID, "129 bytes" },
	{ "0001-0000--0000000000000001-" UUID, "an empty cluster ID" },
	{ "0001-0009-rook-ceph-000000000000000A-" UUID, "capital hex" },
	{ "0001x0001-a-0000000000000001-" UUID, "another 1st separator" },
	{ "0001-0001xa-0000000000000001-" UUID, "another 2nd separator" },
	{ "0001-0001-ax0000000000000001-" UUID, "another 3rd separator" },
	{ "0001-0001-a-0000000000000001x" UUID, "another 4th separator" },
};

static const char *const versions[] = { "0000", "0002", "0010", "9999",
	"ffff" };

/* ---- volumes of the in-tree driver ---- */

#define MIG "mig_mons-b7f67366bb43f32e07d8a261a7840da9_image-" UUID

static const struct {
	const char *text;
	const char *what;
} bad_migrated[] = {
	{ "mig_mons-b7f6_image-" UUID, "no pool" },
	{ MIG "_", "an empty pool" },
	{ MIG "_7", "half a byte of pool" },
	{ MIG "_7zz0", "a pool that is no hex" },
	{ MIG "_7200", "a NUL in the pool" },
	{ "mig_mons-_image-" UUID "_726264", "no cluster" },
	{ "mig_mons-b7f6_image-_726264", "no image" },
	{ "mig_image-" UUID "_mons-b7f6_726264", "parts in another order" },
	{ "mig_mons-b7f6_other_image-" UUID "_726264", "a part too many" },
	{ "mig_mons-b7f6_image-" UUID "_more_726264", "another one" },
	{ "x-mig_mons-b7f6_image-" UUID "_726264", "something in front" },
	{ "mig_mons-" C64 "0_image-a_726264", "a cluster that is too long" },
};

static void
test_migrated(void)
{
	struct csi_migrated_id id;
	struct err err = ERR_INIT;

	ok(csi_migrated_id_is(MIG "_7265706c696361706f6f6c"),
	    "a handle of the in-tree driver is known");
	is_int(csi_migrated_id_parse(MIG "_7265706c696361706f6f6c", &id, &err),
	    0, "and read");
	is_str(
	    id.cluster_id, "b7f67366bb43f32e07d8a261a7840da9", "its cluster");
	is_str(id.image, "kubernetes-dynamic-pvc-" UUID, "its image");
	is_str(id.pool, "replicapool", "its pool");
	ok(!csi_migrated_id_is("0001-0009-rook-ceph-0000000000000002-" UUID),
	    "one of ours is none");
	for (size_t i = 0; i < countof(bad_migrated); i++)
		ok(csi_migrated_id_is(bad_migrated[i].text) &&
			csi_migrated_id_parse(
			    bad_migrated[i].text, &id, &err) == -EINVAL,
		    "refused: %s", bad_migrated[i].what);
}

int
main(void)
{
	struct csi_volume_id id, back;
	char text[CSI_VOLUME_ID_MAX + 1];
	struct err err = ERR_INIT;

	for (size_t i = 0; i < countof(exact); i++) {
		id = (struct csi_volume_id){ .pool_id = exact[i].pool };
		(void)snprintf(id.cluster_id, sizeof(id.cluster_id), "%s",
		    exact[i].cluster);
		(void)snprintf(id.uuid, sizeof(id.uuid), "%s", UUID);
		is_int(csi_volume_id_fmt(text, &id, &err), 0,
		    "cluster %s is written", exact[i].cluster);
		is_str(text, exact[i].text, "as ceph-csi writes it");
		is_int(csi_volume_id_parse(exact[i].text, &back, &err), 0,
		    "and read back");
		ok(strcmp(back.cluster_id, id.cluster_id) == 0 &&
			back.pool_id == id.pool_id &&
			strcmp(back.uuid, id.uuid) == 0,
		    "the same");
	}
	is_int(strlen(text), CSI_VOLUME_ID_MAX,
	    "the longest cluster ID gives the longest identifier");

	is_int(csi_volume_id_parse("0001-0001-a-0000000000000001-"
				   "this is no uuid but has 36 letters k",
		   &id, &err),
	    0, "the UUID is 36 bytes of anything");

	for (size_t i = 0; i < countof(versions); i++) {
		(void)snprintf(text, sizeof(text),
		    "%s-0009-rook-ceph-0000000000000002-" UUID, versions[i]);
		err = (struct err)ERR_INIT;
		ok(csi_volume_id_parse(text, &id, &err) == -EPROTONOSUPPORT &&
			err.code == ERR_INVALID_ARGUMENT &&
			strstr(err.text, text) != NULL,
		    "version %s is no volume of ours, nor an unknown one: %s",
		    versions[i], err.text);
	}

	for (size_t i = 0; i < countof(bad); i++) {
		err = (struct err)ERR_INIT;
		ok(csi_volume_id_parse(bad[i].text, &id, &err) == -EINVAL &&
			err.code == ERR_INVALID_ARGUMENT,
		    "refused: %s", bad[i].what);
	}

	id = (struct csi_volume_id){ .pool_id = 1 };
	(void)snprintf(id.uuid, sizeof(id.uuid), "%s", UUID);
	is_int(csi_volume_id_fmt(text, &id, &err), -EINVAL,
	    "an empty cluster ID is not written");
	id.cluster_id[0] = 'a';
	id.uuid[35] = '\0';
	is_int(
	    csi_volume_id_fmt(text, &id, &err), -EINVAL, "nor is a short UUID");
	test_migrated();
	return tap_end();
}
