/*
 * ceph_readers.c - a client that has a clone open reads what the clone shows of
 * all above it, whatever is flattened there meanwhile and whatever becomes of
 * the images further up. The client is librbd, which, as krbd, watches only what
 * it has opened, and goes by the object maps of all above that it loaded then.
 */
#include "tests/integration/ceph_support.h"

#include "ceph/flatten.h"
#include "ceph/part.h"
#include "core/loop.h"
#include "tests/waited.h"

#include <errno.h>
#include <rados/librados.h>
#include <stdlib.h>
#include <string.h>

#define ORDER 16
#define OBJECT ((size_t)1 << ORDER)
#define OBJECTS 6
#define RECORD "test/has/"

static struct ceph_connection *conn;
static struct ceph_pool *images, *second;

static void
image_make(const char *name, uint64_t features)
{
	int order = ORDER;

	must(rbd_create2(images->io, name, OBJECTS * OBJECT, features, &order),
	    name);
}

static void
snapshot(struct ceph_pool *pool, const char *name)
{
	rbd_image_t image = image_open(pool, name);

	must(rbd_snap_create(image, "s"), "snapshot");
	must(rbd_close(image), "close");
}

/* Into the trash of its image, as it has a clone; or away. */
static void
unsnapshot(struct ceph_pool *pool, const char *name)
{
	rbd_image_t image = image_open(pool, name);

	must(rbd_snap_remove(image, "s"), "remove the snapshot");
	must(rbd_close(image), "close");
}

static void
clone_make(struct ceph_pool *from, const char *name, struct ceph_pool *to,
    const char *clone, uint64_t features)
{
	rbd_image_options_t options;

	rbd_image_options_create(&options);
	must(rbd_image_options_set_uint64(
		 options, RBD_IMAGE_OPTION_CLONE_FORMAT, 2),
	    "option");
	must(rbd_image_options_set_uint64(
		 options, RBD_IMAGE_OPTION_FEATURES, features),
	    "option");
	must(rbd_clone3(from->io, name, "s", to->io, clone, options), clone);
	rbd_image_options_destroy(options);
}

static void
fill(rbd_image_t image, unsigned from, unsigned to, int byte)
{
	auto_free char *data = mem_new(OBJECT);

	memset(data, byte, OBJECT);
	for (unsigned i = from; i < to; i++)
		must((int)rbd_write(image, i * OBJECT, OBJECT, data), "write");
	must(rbd_flush(image), "flush");
}

static void
fill_named(const char *name, unsigned from, unsigned to, int byte)
{
	rbd_image_t image = image_open(images, name);

	fill(image, from, to, byte);
	must(rbd_close(image), "close");
}

/* A letter for each object: what is in all of it, '.': zeros, '!': a mixture. */
static const char *
shows(rbd_image_t image)
{
	static char text[OBJECTS + 1];
	auto_free char *data = mem_new(OBJECT);

	for (unsigned i = 0; i < OBJECTS; i++) {
		if (rbd_read(image, i * OBJECT, OBJECT, data) !=
		    (ssize_t)OBJECT)
			text[i] = '?';
		else if (memcmp(data, data + 1, OBJECT - 1) != 0)
			text[i] = '!';
		else
			text[i] = (char)(data[0] == 0 ? '.' : data[0]);
	}
	return text;
}

static bool
named_shows(struct ceph_pool *pool, const char *name, const char *want)
{
	rbd_image_t image = image_open(pool, name);
	bool good = str_eq(shows(image), want);

	if (!good)
		diag("%s: %s", name, shows(image));
	must(rbd_close(image), "close");
	return good;
}

static void
id_get(struct ceph_pool *pool, const char *name, char id[RBD_ID_SIZE])
{
	rbd_image_t image = image_open(pool, name);

	must(rbd_get_id(image, id, RBD_ID_SIZE), "id");
	must(rbd_close(image), "close");
}

static bool
has_parent(const char *name)
{
	rbd_image_t image = image_open(images, name);
	rbd_linked_image_spec_t parent;
	rbd_snap_spec_t snap;
	bool has = rbd_get_parent(image, &parent, &snap) == 0;

	if (has) {
		rbd_linked_image_spec_cleanup(&parent);
		rbd_snap_spec_cleanup(&snap);
	}
	must(rbd_close(image), "close");
	return has;
}

/* How many snapshots it has, those in its trash included. */
static unsigned
snapshots(const char *name)
{
	auto_free char *n = support_sh_line(
	    "rbd snap ls --all --format json %s/%s | jq length",
	    ceph_pool_name(images), name);

	return (unsigned)strtoul(n, NULL, 10);
}

/* ---- what is tested ---- */

static struct image_flatten flatten;
static struct image_part part;

static void
on_flatten(void *arg, struct wake *waiter)
{
	image_flatten_start(arg, waiter);
}

static void
on_part(void *arg, struct wake *waiter)
{
	image_part_start(arg, waiter);
}

static int
flatten_run(const char *id)
{
	flatten = (struct image_flatten){ .pool = images,
		.image_id = id,
		.in_flight = 3,
		.slice_ms = 60000 };
	return support_run(on_flatten, &flatten);
}

static int
part_run(void)
{
	part = (struct image_part){ .pool = images,
		.image_id = flatten.image_id,
		.parent = &flatten.parent,
		.record = RECORD };
	return support_run(on_part, &part);
}

/*
 * top -> source -> middle -> leaf, the last in another pool. Of top all but the
 * last object is written, of source the first, and the second is discarded.
 */
static void
chain_make(uint64_t features)
{
	rbd_image_t image;

	image_make("top", features);
	fill_named("top", 0, OBJECTS - 1, 't');
	snapshot(images, "top");
	clone_make(images, "top", images, "source", features);
	unsnapshot(images, "top");
	image = image_open(images, "source");
	fill(image, 0, 1, 's');
	must((int)rbd_discard(image, OBJECT, OBJECT), "discard");
	must(rbd_close(image), "close");
	snapshot(images, "source");
	clone_make(images, "source", images, "middle", features);
	unsnapshot(images, "source");
	snapshot(images, "middle");
	clone_make(images, "middle", second, "leaf", features);
}

#define CHAIN_SHOWS "s.ttt."

static void
chain_end(void)
{
	must(rbd_remove(second->io, "leaf"), "remove leaf");
	unsnapshot(images, "middle");
	must(rbd_remove(images->io, "middle"), "remove middle");
}

/* What becomes of everything above the middle one. */
static void
above_changes(void)
{
	fill_named("source", 0, OBJECTS, 'x');
	fill_named("top", 0, OBJECTS, 'y');
}

static void
test_reader(const char *what, uint64_t features)
{
	char id[RBD_ID_SIZE], leaf_id[RBD_ID_SIZE];
	auto_free char *key = NULL, *other = NULL;
	rbd_image_t leaf, again;

	chain_make(features);
	id_get(images, "middle", id);
	id_get(second, "leaf", leaf_id);
	leaf = image_open(second, "leaf");
	ok(flatten_run(id) == 0 && flatten.parent.pool == images->id,
	    "%s: an image is flattened while a clone of it is open: %s", what,
	    flatten.op.err.text);
	ok(part_run() < 0 && part.left &&
		part.op.err.code == ERR_FAILED_PRECONDITION &&
		str_ends(part.readers.reader, "/leaf"),
	    "%s: its parent is kept: %s", what, part.op.err.text);
	ok(!has_parent("middle"), "%s: whoever opens it now has no parent",
	    what);
	is_int(snapshots("source"), 1,
	    "%s: the parent's snapshot is there still", what);
	ok(rbd_remove(images->io, "source") < 0,
	    "%s: nor can the parent be removed", what);
	above_changes();
	is_str(shows(leaf), CHAIN_SHOWS,
	    "%s: who has the clone open reads what it showed", what);
	ok(named_shows(second, "leaf", CHAIN_SHOWS),
	    "%s: so does who opens it now", what);
	fill(leaf, 2, 3, 'l');
	ok(part_run() < 0, "%s: it is kept while the clone is written to",
	    what);
	must(rbd_close(leaf), "close");

	key = str_fmt(RECORD "%s/node-1", leaf_id);
	other = str_fmt(RECORD "%s/node-1", id);
	again = image_open(second, "leaf");
	must(rbd_metadata_set(again, key, "ro"), "metadata");
	must(rbd_metadata_set(again, other, "ro"), "metadata");
	must(rbd_close(again), "close");
	must(rbd_open_read_only(second->io, "leaf", &again, NULL), "leaf");
	ok(part_run() < 0 && str_ends(part.readers.reader, "/leaf"),
	    "%s: a reader whom nobody sees is known by a record", what);
	is_str(shows(again), "s.ltt.", "%s: and reads the same", what);
	must(rbd_close(again), "close");
	again = image_open(second, "leaf");
	must(rbd_metadata_remove(again, key), "metadata");
	must(rbd_close(again), "close");

	is_int(part_run(), 0,
	    "%s: when all are gone they part, in spite of another one's record: %s",
	    what, part.op.err.text);
	is_int(
	    snapshots("source"), 0, "%s: the parent's snapshot is free", what);
	must(rbd_remove(images->io, "source"), "remove source");
	must(rbd_remove(images->io, "top"), "remove top");
	ok(named_shows(second, "leaf", "s.ltt."),
	    "%s: when all above is gone the clone shows the same", what);
	is_int(part_run(), 0, "%s: parting again is no failure: %s", what,
	    part.op.err.text);
	chain_end();
	is_int(part_run(), 0, "%s: nor is it when the image is gone: %s", what,
	    part.op.err.text);
}

/*
 * One who was not seen at all: without object maps he looks at each object anew
 * and finds there what has been copied, zeros included. Of what was nowhere he
 * would see what is written to the parent later.
 */
static void
test_unseen(void)
{
	char id[RBD_ID_SIZE];
	rbd_image_t leaf;

	chain_make(RBD_FEATURE_LAYERING | RBD_FEATURE_DEEP_FLATTEN);
	id_get(images, "middle", id);
	must(rbd_open_read_only(second->io, "leaf", &leaf, NULL), "leaf");
	ok(flatten_run(id) == 0 && part_run() == 0,
	    "a reader is not seen, and the parent goes");
	is_int(snapshots("source"), 0, "with its snapshot");
	fill_named("source", 0, OBJECTS - 1, 'x');
	is_str(shows(leaf), CHAIN_SHOWS,
	    "zeros that hid something further up still do");
	must(rbd_close(leaf), "close");
	chain_end();
	must(rbd_remove(images->io, "source"), "remove source");
	must(rbd_remove(images->io, "top"), "remove top");
}

/* ---- an image that is purged while it is flattened ---- */

static struct waited flattened;

/* The first objects that it copies are 1 and 2. */
static void
flatten_begin(const char *id, const struct flatten_doubt *doubt)
{
	flatten = (struct image_flatten){ .pool = images,
		.image_id = id,
		.in_flight = 3,
		.slice_ms = 60000 };
	if (doubt != NULL)
		flatten.doubt = *doubt;
	flattened = WAITED_INIT;
	image_flatten_start(&flatten, &flattened.wake);
}

static void
flatten_until(enum image_flatten_state state)
{
	while (flatten.state != state && !flattened.done)
		loop_turn(true);
	is_int(flatten.state, state, "a flatten stands where it is to be met");
}

static struct {
	const char *id;
	enum trash_state from, to;
} mark;

static void
on_mark(void *arg, struct wake *waiter)
{
	(void)arg;
	trash_state_start(images, mark.id, mark.from, mark.to, waiter);
}

static void
trash_mark(const char *id, enum trash_state from, enum trash_state to)
{
	mark.id = id;
	mark.from = from;
	mark.to = to;
	must(support_run(on_mark, NULL), "trash entry");
}

static unsigned
objects_of(const char *id)
{
	auto_free char *n = support_sh_line(
	    "rados -p %s ls | grep -c '^rbd_data\\.%s\\.'",
	    ceph_pool_name(images), id);

	return (unsigned)strtoul(n, NULL, 10);
}

/*
 * A clone that has its first object, and shows all the others of its parent,
 * goes to the trash when its flatten has got to a state.
 */
static void
clone_begin(
    char id[RBD_ID_SIZE], uint64_t features, enum image_flatten_state state)
{
	clone_make(images, "top", images, "middle", features);
	fill_named("middle", 0, 1, 'm');
	id_get(images, "middle", id);
	flatten_begin(id, NULL);
	flatten_until(state);
	must(rbd_trash_move(images->io, "middle", 0), "trash");
}

static void
test_purged(void)
{
	struct flatten_doubt doubt;
	char id[RBD_ID_SIZE];

	image_make("top", 61);
	fill_named("top", 0, OBJECTS, 't');
	snapshot(images, "top");

	clone_begin(id, 61, FLATTEN_MARKED);
	must(rbd_trash_remove(images->io, id, false), "purge");
	is_int(waited_for(&flattened), -ENOENT,
	    "an image is purged while it is flattened: %s",
	    flatten.op.err.text);
	is_int(objects_of(id), 0, "nothing stays that was copied after that");

	clone_begin(id, 61, FLATTEN_MARKED);
	trash_mark(id, TRASH_NORMAL, TRASH_REMOVING);
	ok(waited_for(&flattened) < 0 && flatten.op.err.code == ERR_ABORTED &&
		flatten.doubt.n == 2,
	    "one whose purge runs is not flattened: %s", flatten.op.err.text);
	is_int(
	    objects_of(id), 3, "what was copied stays, as it may be refused");
	doubt = flatten.doubt;
	flatten_begin(id, &doubt);
	ok(waited_for(&flattened) < 0 && flatten.doubt.n == 2,
	    "nor when it is tried again: %s", flatten.op.err.text);
	is_int(objects_of(id), 3, "which copies nothing");
	must(rbd_trash_remove(images->io, id, true), "purge");
	is_int(objects_of(id), 0, "it is purged");
	for (unsigned i = 0; i < doubt.n; i++) /* as if written only now */
		must(support_sh(true,
			 "echo late | rados -p %s put rbd_data.%s.%016x -",
			 ceph_pool_name(images), id,
			 (unsigned)doubt.object[i]) == 0
			? 0
			: -EIO,
		    "put");
	is_int(objects_of(id), 2, "copies come after that");
	flatten_begin(id, &doubt);
	is_int(waited_for(&flattened), -ENOENT,
	    "the next try finds no image: %s", flatten.op.err.text);
	is_int(objects_of(id), 0, "and takes them back");

	/* Without an object map: librbd would leave its mark in that. */
	clone_begin(id, RBD_FEATURE_LAYERING, FLATTEN_COPIED);
	trash_mark(id, TRASH_NORMAL, TRASH_REMOVING);
	flatten_until(FLATTEN_TRASH_ASK);
	trash_mark(id, TRASH_REMOVING, TRASH_NORMAL);
	is_int(waited_for(&flattened), 0,
	    "one whose purge is refused is flattened: %s", flatten.op.err.text);
	is_int(
	    part_run(), 0, "and parts from its parent: %s", part.op.err.text);
	must(rbd_trash_restore(images->io, id, "middle"), "restore");
	ok(named_shows(images, "middle", "mttttt"), "it has all its data");
	must(rbd_remove(images->io, "middle"), "remove middle");
	unsnapshot(images, "top");
	must(rbd_remove(images->io, "top"), "remove top");
}

/* librbd frees the parent at once: it may not have what has clones. */
static void
test_open_with_clones(void)
{
	char id[RBD_ID_SIZE];
	rbd_image_t middle;

	chain_make(RBD_FEATURE_LAYERING | RBD_FEATURE_DEEP_FLATTEN);
	id_get(images, "middle", id);
	middle = image_open(images, "middle");
	ok(flatten_run(id) < 0 &&
		flatten.op.err.code == ERR_FAILED_PRECONDITION,
	    "an image that is open and has clones is not flattened: %s",
	    flatten.op.err.text);
	must(rbd_close(middle), "close");
	must(rbd_remove(second->io, "leaf"), "remove leaf");
	middle = image_open(images, "middle");
	ok(flatten_run(id) < 0 && flatten.obstacle == IMAGE_WATCHED,
	    "without clones it is for librbd: %s", flatten.op.err.text);
	must(rbd_close(middle), "close");
	unsnapshot(images, "middle");
	must(rbd_remove(images->io, "middle"), "remove middle");
	must(rbd_remove(images->io, "source"), "remove source");
	must(rbd_remove(images->io, "top"), "remove top");
}

int
main(void)
{
	conn = support_connect();
	support_make_pool("t-readers");
	support_make_pool("t-readers-2");
	images = support_pool(conn, "t-readers", "");
	second = support_pool(conn, "t-readers-2", "");
	test_reader(
	    "no object maps", RBD_FEATURE_LAYERING | RBD_FEATURE_DEEP_FLATTEN);
	test_reader("object maps", 61);
	test_unseen();
	test_open_with_clones();
	test_purged();
	(void)support_sh(false,
	    "for p in t-readers t-readers-2; do ceph osd pool rm $p $p "
	    "--yes-i-really-really-mean-it; done");
	ceph_connection_close(conn);
	loop_fini();
	return tap_end();
}
