/*
 * journal_fmt.c - the journal's names, keys and values against the bytes that
 * ceph-csi writes.
 */
#include "ceph/journal_fmt.h"
#include "tests/tap.h"

#include <errno.h>

#define UUID "5e0a1a7c-1f8b-4e2d-9a43-0c1d2e3f4a5b"

static struct arena *arena;

/* The keys of each kind, and values that its items have. */
static const struct kind {
	const struct journal_kind *kind;
	const char *directory, *key, *item, *image;
	struct {
		enum journal_attr attr;
		const char *key, *value;
	} attrs[JOURNAL_ATTR_COUNT];
	const char *no_attr; /* of another kind, or a member */
} kinds[] = {
	{ &journal_volumes, "csi.volumes.", "csi.volume.", "csi.volume.",
	    "csi-vol-",
	    { { JOURNAL_NAME, "csi.volname", "pvc-1" },
		{ JOURNAL_IMAGENAME, "csi.imagename", "csi-vol-" UUID },
		{ JOURNAL_IMAGEID, "csi.imageid", "102cd3098bad" },
		{ JOURNAL_SOURCE, "csi.source", "0001-s" },
		{ JOURNAL_OWNER, "csi.volume.owner", "team-a" },
		{ JOURNAL_POOL, "csi.journalpool", "0000000000000002" },
		{ JOURNAL_KMS, "csi.volume.encryptKMS", "default" },
		{ JOURNAL_ENCRYPTION, "csi.volume.encryptionType", "block" },
		{ JOURNAL_GROUP, "csi.groupid", "0001-g" },
		{ JOURNAL_USERS, "csi.users", "0123456789abcdef" } },
	    "csi.snapname" },
	{ &journal_snapshots, "csi.snaps.", "csi.snap.", "csi.snap.",
	    "csi-snap-",
	    { { JOURNAL_NAME, "csi.snapname", "snapshot-1" },
		{ JOURNAL_IMAGENAME, "csi.imagename", "csi-snap-" UUID },
		{ JOURNAL_IMAGEID, "csi.imageid", "102cd3098bad" },
		{ JOURNAL_SOURCE, "csi.source", "csi-vol-" UUID },
		{ JOURNAL_OWNER, "csi.volume.owner", "team-a" },
		{ JOURNAL_POOL, "csi.journalpool", "0000000000000002" },
		{ JOURNAL_KMS, "csi.volume.encryptKMS", "default" },
		{ JOURNAL_ENCRYPTION, "csi.volume.encryptionType", "block" },
		{ JOURNAL_GROUP, "csi.groupid", "0001-g" } },
	    "csi.volname" },
	{ &journal_groups, "csi.groups.", "csi.volume.group.",
	    "csi.volume.group.", "csi-vol-group-",
	    { { JOURNAL_NAME, "csi.volname", "group-1" },
		{ JOURNAL_IMAGENAME, "csi.groupname", "csi-vol-group-" UUID },
		{ JOURNAL_CREATED, "csi.creationtime",
		    "2026-01-02T03:04:05.000000006+01:00" } },
	    "0001-0009-rook-ceph-0000000000000002-" UUID },
};

static void
test_kind(const struct kind *k)
{
	const struct journal_kind *kind = k->kind;
	struct journal_item item = { 0 };
	unsigned attrs = 0;

	ok(str_eq(kind->directory, k->directory) && str_eq(kind->key, k->key) &&
		str_eq(kind->item, k->item) && str_eq(kind->image, k->image),
	    "%s: objects, keys and images are named as ceph-csi does",
	    kind->noun);
	ok(strcmp(JOURNAL_RESERVE, kind->key) < 0,
	    "%s: a reservation comes before the name itself", kind->noun);
	for (size_t i = 0; k->attrs[i].key != NULL; i++) {
		enum journal_attr attr = k->attrs[i].attr;
		const char *key = k->attrs[i].key, *value = k->attrs[i].value;

		attrs |= JOURNAL_BIT(attr);
		ok(journal_item_take(
		       kind, &item, arena, key, value, strlen(value)) &&
			str_eq(item.attr[attr], value),
		    "%s: attribute %s is taken", kind->noun, key);
		is_str(kind->attr[attr], key, "%s: and written as %s",
		    kind->noun, key);
	}
	for (int i = 0; i < JOURNAL_ATTR_COUNT; i++)
		if ((attrs & JOURNAL_BIT(i)) == 0)
			ok(kind->attr[i] == NULL && item.attr[i] == NULL,
			    "%s: there is no attribute %d", kind->noun, i);
	ok(!journal_item_take(kind, &item, arena, k->no_attr, "x", 1),
	    "%s: %s is none of its attributes", kind->noun, k->no_attr);
	is_int(kind->has_members, kind == &journal_groups,
	    "%s: what other keys are is known", kind->noun);
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

	(void)journal_item_take(
	    &journal_volumes, &item, arena, "csi.volname", "pvc-1", 5);
	is_str(item.attr[JOURNAL_NAME], "pvc-1", "a known key is taken");
	ok(!journal_item_is_complete(&item),
	    "an item without image name is half-written");
	(void)journal_item_take(
	    &journal_volumes, &item, arena, "csi.imagename", "csi-vol-x", 9);
	ok(journal_item_is_complete(&item), "with an image name it is not");
	ok(!journal_item_take(
	       &journal_volumes, &item, arena, "csi.future", "\0", 1) &&
		journal_item_damage(&journal_volumes, &item, ~0u) == NULL,
	    "an unknown key is left alone");
	(void)journal_item_take(
	    &journal_volumes, &item, arena, "csi.volume.owner", "a\0b", 3);
	ok(item.attr[JOURNAL_OWNER] == NULL &&
		journal_item_damage(
		    &journal_volumes, &item, JOURNAL_IDENTITY) == NULL,
	    "a NUL inside a value hurts nobody who does not need it");
	is_str(journal_item_damage(&journal_volumes, &item, ~0u),
	    "csi.volume.owner", "who does is told");
	(void)journal_item_take(
	    &journal_volumes, &item, arena, "csi.imageid", "", 0);
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
#define RESERVED "11111111-2222-4333-8444-555555555555"
	static const struct {
		const char *value, *source, *image;
		enum journal_stage stage;
	} rows[] = {
		{ "k8s-" RESERVED, NULL, "k8s-" RESERVED, JOURNAL_BEGUN },
		{ "10f2c5e8a1b3d4/csi-snap-" RESERVED, "10f2c5e8a1b3d4",
		    "csi-snap-" RESERVED, JOURNAL_BEGUN },
		{ "shared/" RESERVED, NULL, RESERVED, JOURNAL_SHARED },
		{ "shared/10f2/csi-vol-" RESERVED, "10f2", "csi-vol-" RESERVED,
		    JOURNAL_SHARED },
		{ "undone/csi-vol-" RESERVED, NULL, "csi-vol-" RESERVED,
		    JOURNAL_UNDONE },
		{ "undone/10f2/csi-vol-" RESERVED, "10f2", "csi-vol-" RESERVED,
		    JOURNAL_UNDONE },
	};
	static const char *const bad[] = { "", "short", "undone/",
		"shared/10f2/", "k8s-11111111-2222-4333-8444-55555555555",
		"1111/111-2222-4333-8444-55555555555/",
		"undone/10f2/1111111-2222-4333-8444-555555555555" };
	struct journal_reservation r;

	is_str(JOURNAL_RESERVE, "csi.reserve.",
	    "a reservation has a key of its own");
	for (size_t i = 0; i < countof(rows); i++) {
		const char *value = rows[i].value;

		ok(journal_reservation_parse(&r, arena, value, strlen(value)) ==
			    0 &&
			str_eq(r.image, rows[i].image) &&
			str_eq(r.source, rows[i].source) &&
			str_eq(r.uuid, RESERVED) && r.stage == rows[i].stage,
		    "%s is read", value);
		is_str(
		    journal_reservation_fmt(&r, arena), value, "and written");
	}
	for (size_t i = 0; i < countof(bad); i++)
		ok(journal_reservation_parse(
		       &r, arena, bad[i], strlen(bad[i])) == -EBADMSG,
		    "'%s' is refused", bad[i]);
	ok(journal_reservation_parse(
	       &r, arena, rows[0].value, strlen(rows[0].value) - 1) == -EBADMSG,
	    "so is one that is cut off");
}

int
main(void)
{
	arena = arena_new(1 << 20);
	is_str(journal_purge_key(arena, "a/b", "10"), "csi.purge.a/b/10",
	    "the key of a purge note has instance and image id");
	is_str(journal_purge_id("a/b", "csi.purge.a/b/10"), "10",
	    "and tells the id");
	ok(journal_purge_id("a", "csi.purge.a/b/10") == NULL &&
		journal_purge_id("a", "csi.purge.ab/10") == NULL &&
		journal_purge_id("a", "csi.purge.a/") == NULL &&
		journal_purge_id("a", "id_10") == NULL,
	    "but not to another instance");
	for (size_t i = 0; i < countof(kinds); i++)
		test_kind(&kinds[i]);
	test_refs();
	test_uuids();
	test_items();
	test_purges();
	test_reservations();
	arena_free(arena);
	return tap_end();
}
