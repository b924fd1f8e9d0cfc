/*
 * journal_fmt.c - the journal's names, keys and values against the bytes that
 * ceph-csi writes.
 */
#include "ceph/journal_fmt.h"
#include "tests/tap.h"

#include <errno.h>

#define UUID "5e0a1a7c-1f8b-4e2d-9a43-0c1d2e3f4a5b"

static struct arena *arena;

static void
test_names(void)
{
	is_str(journal_directory_fmt(arena, "default"), "csi.volumes.default",
	    "the directory is csi.volumes and the instance");
	is_str(journal_item_fmt(arena, UUID), "csi.volume." UUID,
	    "an item is csi.volume and its UUID");
	is_str(journal_key_fmt(arena, "pvc-1"), "csi.volume.pvc-1",
	    "a directory key is csi.volume and the request's name");
	is_str(journal_purges_fmt(arena, "default"), "csi.purge.default",
	    "purge notes have an object of their own per instance");
}

static void
test_attr_keys(void)
{
	static const char *const want[JOURNAL_ATTR_COUNT] = {
		"csi.volname",
		"csi.imagename",
		"csi.imageid",
		"csi.volume.owner",
		"csi.journalpool",
		"csi.volume.encryptKMS",
		"csi.volume.encryptionType",
		"csi.groupid",
	};

	for (int i = 0; i < JOURNAL_ATTR_COUNT; i++)
		is_str(
		    journal_attr_key(i), want[i], "attribute key %s", want[i]);
}

static void
test_refs(void)
{
	static const struct {
		const char *value;
		int rc;
		bool has_pool;
		int64_t pool;
		const char *what;
	} t[] = {
		{ UUID, 0, false, 0, "a plain UUID is read" },
		{ "0000000000000002/" UUID, 0, true, 2,
		    "a pool before the UUID is read" },
		{ "00000000000000AF/" UUID, 0, true, 0xaf,
		    "upper-case hex is read" },
		{ "ffffffffffffffff/" UUID, 0, true, -1,
		    "a pool is a signed number" },
		{ "000000000000000g/" UUID, -EBADMSG, false, 0,
		    "a pool that is not hex is refused" },
		{ "0000000000000002-" UUID, -EBADMSG, false, 0,
		    "an other separator is refused" },
		{ "2/" UUID, -EBADMSG, false, 0, "a short pool is refused" },
		{ "", -EBADMSG, false, 0, "an empty value is refused" },
		{ UUID "0", -EBADMSG, false, 0, "a longer value is refused" },
		{ "0001-0009-rook-ceph-0000000000000002-" UUID, -EBADMSG, false,
		    0, "a volume handle (old to new) is no reference" },
	};

	for (size_t i = 0; i < countof(t); i++) {
		struct journal_ref ref;
		int rc = journal_ref_parse(
		    t[i].value, strlen(t[i].value), &ref);

		ok(rc == t[i].rc &&
			(rc < 0 ||
			    (strcmp(ref.uuid, UUID) == 0 &&
				ref.has_pool == t[i].has_pool &&
				ref.pool_id == t[i].pool)),
		    "%s", t[i].what);
	}
}

static void
test_uuids(void)
{
	static const unsigned char zero[16],
	    ones[16] = {
		    255,
		    255,
		    255,
		    255,
		    255,
		    255,
		    255,
		    255,
		    255,
		    255,
		    255,
		    255,
		    255,
		    255,
		    255,
		    255,
	    };
	char out[JOURNAL_UUID_LEN + 1];

	journal_uuid_fmt(out, zero);
	is_str(out, "00000000-0000-4000-8000-000000000000",
	    "zeros make a valid UUID v4");
	journal_uuid_fmt(out, ones);
	is_str(out, "ffffffff-ffff-4fff-bfff-ffffffffffff",
	    "ones make a valid UUID v4");
}

static void
test_items(void)
{
	struct journal_item item = { 0 };

	journal_item_take(&item, arena, "csi.volname", "pvc-1", 5);
	is_str(item.attr[JOURNAL_VOLNAME], "pvc-1", "a known key is taken");
	ok(!journal_item_is_complete(&item),
	    "an item without image name is half-written");
	journal_item_take(&item, arena, "csi.imagename", "csi-vol-x", 9);
	ok(journal_item_is_complete(&item), "with an image name it is not");
	journal_item_take(&item, arena, "csi.future", "\0", 1);
	ok(journal_item_damage(&item, ~0u) == NULL,
	    "an unknown key is left alone");
	journal_item_take(&item, arena, "csi.volume.owner", "a\0b", 3);
	ok(item.attr[JOURNAL_OWNER] == NULL &&
		journal_item_damage(&item, JOURNAL_IDENTITY) == NULL,
	    "a NUL inside a value hurts nobody who does not need it");
	is_str(journal_item_damage(&item, ~0u), "csi.volume.owner",
	    "who does is told");
	journal_item_take(&item, arena, "csi.imageid", "", 0);
	is_str(item.attr[JOURNAL_IMAGEID], "", "an empty value is a text");
}

/* A note is written and read back, or is what `value` says. */
static void
is_purge(const char *value, const char *image, uint64_t done, uint32_t slices,
    const char *what)
{
	struct journal_purge purge;

	journal_purge_parse(&purge, arena, value, strlen(value));
	ok(str_eq(purge.image, image) && purge.done == done &&
		purge.slices == slices,
	    "%s", what);
}

static void
test_purges(void)
{
	struct journal_purge purge = { .image = "csi-vol-1" };

	is_str(journal_purge_fmt(arena, &purge), "csi-vol-1",
	    "a purge note names its image");
	purge.done = 7;
	is_str(journal_purge_fmt(arena, &purge), "csi-vol-1\t7",
	    "and tells how many objects are gone");
	purge.slices = 9;
	is_str(journal_purge_fmt(arena, &purge), "csi-vol-1\t7/9",
	    "or how many slices");
	is_purge("csi-vol-1", "csi-vol-1", 0, 0, "a name is read");
	is_purge("csi-vol-1\t7", "csi-vol-1", 7, 0, "objects are read");
	is_purge("csi-vol-1\t7/9", "csi-vol-1", 7, 9, "slices are read");
	is_purge("csi-vol-1\t9/7", "csi-vol-1", 0, 0,
	    "more than there are is no progress");
	is_purge("csi-vol-1\tx", "csi-vol-1", 0, 0, "nor is nonsense");
	is_purge("csi-vol-1\t7/0", "csi-vol-1", 0, 0, "nor no slices");
	journal_purge_parse(&purge, arena, "a\0b", 3);
	ok(purge.image == NULL, "a note that is no text is refused");
}

static void
test_reservations(void)
{
	static const char image[] = "k8s-11111111-2222-4333-8444-555555555555";
	char uuid[JOURNAL_UUID_LEN + 1];

	is_str(journal_reserve_fmt(arena, "pvc-1"), "csi.reserve.pvc-1",
	    "a reservation has a key of its own");
	is_str(journal_reserve_parse(arena, image, strlen(image), uuid), image,
	    "and the image's name");
	is_str(uuid, "11111111-2222-4333-8444-555555555555",
	    "which ends with the UUID");
	ok(journal_reserve_parse(arena, image, strlen(image) - 1, uuid) == NULL,
	    "or is refused");
	ok(journal_reserve_parse(arena, "short", 5, uuid) == NULL,
	    "so is a short one");
}

int
main(void)
{
	arena = arena_new(1 << 20);
	test_names();
	test_attr_keys();
	test_refs();
	test_uuids();
	test_items();
	test_purges();
	test_reservations();
	arena_free(arena);
	return tap_end();
}
