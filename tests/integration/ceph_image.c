/*
 * ceph_image.c - images that are made natively are what librbd makes, byte
 * for byte, and `rbd` works on them.
 */
#include "tests/integration/ceph_support.h"
#include "tests/waited.h"

#include <errno.h>
#include <rados/librados.h>
#include <rbd/librbd.h>
#include <stdlib.h>
#include <string.h>

static struct ceph_connection *conn;
static struct ceph_pool *rbd, *ns1, *second;
static struct ceph_pool *ec; /* NULL: too few OSDs */

struct parameters {
	const char *name;
	uint64_t features;
	uint8_t order;
	uint64_t unit, count, size_bytes;
	struct ceph_pool **pool, **data_pool;
	bool commands; /* also try what `rbd` does with it */
};

#define MIB (1024ull * 1024)

static const struct parameters table[] = {
	{ "layering", 1, 22, 0, 0, 1024 * MIB, &rbd, NULL, true },
	{ "no feature", 0, 22, 0, 0, 64 * MIB, &rbd, NULL },
	{ "exclusive-lock", 5, 22, 0, 0, 64 * MIB, &rbd, NULL },
	{ "object-map", 13, 22, 0, 0, 64 * MIB, &rbd, NULL },
	{ "fast-diff", 29, 22, 0, 0, 64 * MIB, &rbd, NULL },
	{ "deep-flatten", 61, 22, 0, 0, 1024 * MIB, &rbd, NULL, true },
	{ "small objects", 61, 12, 0, 0, 64 * MIB, &rbd, NULL, true },
	{ "large objects", 61, 25, 0, 0, 65 * MIB, &rbd, NULL },
	{ "an odd size", 61, 22, 0, 0, 9 * MIB + 12345, &rbd, NULL },
	{ "no size", 61, 22, 0, 0, 0, &rbd, NULL },
	{ "striping", 1, 23, 65536, 4, 64 * MIB, &rbd, NULL },
	{ "striping with an object map", 61, 22, 1 * MIB, 5, 50 * MIB, &rbd,
	    NULL, true },
	{ "striping that ends in the first units", 61, 22, 1 * MIB, 5,
	    20 * MIB + 1, &rbd, NULL },
	{ "the default striping given", 61, 22, 4 * MIB, 1, 64 * MIB, &rbd,
	    NULL },
	{ "a small unit without count", 61, 22, 1 * MIB, 1, 64 * MIB, &rbd,
	    NULL },
	{ "a replicated data pool", 1, 22, 0, 0, 64 * MIB, &rbd, &second },
	{ "an erasure coded data pool", 61, 22, 0, 0, 64 * MIB, &rbd, &ec,
	    true },
	{ "its own pool as data pool", 61, 22, 0, 0, 64 * MIB, &rbd, &rbd },
	{ "a namespace", 1, 22, 0, 0, 64 * MIB, &ns1, NULL },
	{ "a namespace with an object map", 61, 22, 0, 0, 64 * MIB, &ns1, NULL,
	    true },
};

static const struct cls_meta meta[] = {
	{ "csi.storage.k8s.io/pvc/name", "data-db-0", 9 },
	{ "csi.ceph.com/cluster/name", "east", 4 },
};

/* All that the pools hold. */
static void
dump_all(struct dump *dump)
{
	dump_pool(rbd, dump);
	dump_add_pool(second, dump);
	if (ec != NULL)
		dump_add_pool(ec, dump);
}

/*
 * To set metadata librbd opens the image, and with exclusive-lock leaves an
 * xattr of the lock that it took: those images are compared without.
 */
static bool
has_meta(const struct parameters *p)
{
	return !(p->features & RBD_EXCLUSIVE_LOCK);
}

static int
librbd_set_meta(rados_ioctx_t io, const char *name)
{
	rbd_image_t image;
	int rc = rbd_open(io, name, &image, NULL);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < countof(meta) && rc == 0; i++)
		rc = rbd_metadata_set(image, meta[i].key, meta[i].value);
	(void)rbd_close(image);
	return rc;
}

/* By librbd; *id is the caller's to free. */
static int
librbd_create(const struct parameters *p, const char *name, char **id)
{
	rados_ioctx_t io = (*p->pool)->io;
	rbd_image_options_t options;
	struct lookup_call lookup = { .pool = *p->pool, .name = name };
	int rc;

	rbd_image_options_create(&options);
	rbd_image_options_set_uint64(
	    options, RBD_IMAGE_OPTION_FEATURES, p->features);
	rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_ORDER, p->order);
	if (p->count != 0) {
		rbd_image_options_set_uint64(
		    options, RBD_IMAGE_OPTION_STRIPE_UNIT, p->unit);
		rbd_image_options_set_uint64(
		    options, RBD_IMAGE_OPTION_STRIPE_COUNT, p->count);
	}
	if (p->data_pool != NULL)
		rbd_image_options_set_string(options,
		    RBD_IMAGE_OPTION_DATA_POOL, ceph_pool_name(*p->data_pool));
	rc = rbd_create4(io, name, p->size_bytes, options);
	rbd_image_options_destroy(options);
	if (rc == 0 && has_meta(p))
		rc = librbd_set_meta(io, name);
	if (rc == 0)
		rc = run_lookup(&lookup);
	*id = str_dup(lookup.lookup.info.id);
	return rc;
}

static int
native_create(const struct parameters *p, const char *name, const char *id,
    struct create_call *call)
{
	*call = (struct create_call){
		.pool = *p->pool,
		.spec = {
			.name = name,
			.id = id,
			.size_bytes = p->size_bytes,
			.features = p->features,
			.layout = { p->order, p->unit, p->count },
			.data_pool = p->data_pool != NULL ?
			    *p->data_pool : NULL,
			.meta = meta,
			.nmeta = has_meta(p) ? countof(meta) : 0,
		},
	};
	return run_create(call);
}

/* The name of the pool and namespace as `rbd` takes it. */
static const char *
place(const struct parameters *p)
{
	return p->pool == &ns1 ? "t-images/ns1" : "t-images";
}

static void
remove_natively(const struct parameters *p, const char *name, const char *id)
{
	struct move_call move = { .pool = *p->pool, .name = name, .id = id };
	struct purge_call purge = { .pool = *p->pool, .id = id };

	is_int(run_move(&move), 0, "%s: it goes to the trash", p->name);
	if (err_is_set(&move.move.op.err))
		diag("%s", move.move.op.err.text);
	is_int(run_purge(&purge), 0, "%s: it is purged", p->name);
	if (err_is_set(&purge.purge.op.err))
		diag("%s", purge.purge.op.err.text);
}

static void
test_parity(const struct parameters *p)
{
	struct dump clean, before, after, want, got;
	auto_free char *id = NULL, *own = NULL;
	struct lookup_call lookup;
	struct create_call call;

	dump_all(&clean);
	if (!ok(librbd_create(p, "by-librbd", &id) == 0, "%s: librbd makes one",
		p->name))
		exit(1);
	dump_all(&before);
	dump_diff(&clean, &before, &want);

	/* an id of the same length, so that lengths in front of it agree */
	own = str_dup(id);
	own[strlen(own) - 1] = own[strlen(own) - 1] == '0' ? '1' : '0';
	is_int(native_create(p, "by-native", own, &call), 0, "%s: we make one",
	    p->name);
	if (err_is_set(&call.create.op.err))
		diag("%s", call.create.op.err.text);
	dump_all(&after);
	dump_diff(&before, &after, &got);
	dump_replace(&want, id, "ID");
	dump_replace(&want, "by-librbd", "NAME");
	dump_replace(&got, own, "ID");
	dump_replace(&got, "by-native", "NAME");
	ok(dump_same(&got, &want), "%s: both have left the same", p->name);

	lookup = (struct lookup_call){ .pool = *p->pool, .name = "by-native" };
	is_int(run_lookup(&lookup), 0, "%s: it is found by name", p->name);
	ok(strcmp(lookup.lookup.info.id, own) == 0 &&
		lookup.lookup.info.size_bytes == p->size_bytes &&
		lookup.lookup.info.layout.order == p->order &&
		lookup.lookup.info.snaps == 0 &&
		lookup.lookup.info.parent.pool == -1 &&
		lookup.lookup.info.group.pool == -1 &&
		lookup.lookup.info.lock.lockers == 0 &&
		!lookup.lookup.info.mirrored &&
		image_obstacle(&lookup.lookup.info) == IMAGE_PLAIN,
	    "%s: the look-up tells what it is", p->name);

	is_int(native_create(p, "by-native", "00000000000000", &call), 0,
	    "%s: making it again is success", p->name);
	ok(call.create.adopted && strcmp(call.create.id, own) == 0,
	    "%s: and gives the id that it has", p->name);
	dump_free(&got);
	dump_all(&got);
	ok(dump_same(&got, &after), "%s: and changes nothing", p->name);

	is_int(rbd_remove((*p->pool)->io, "by-librbd"), 0,
	    "%s: librbd removes its own", p->name);
	remove_natively(p, "by-native", own);
	dump_free(&after);
	dump_all(&after);
	ok(dump_same(&after, &clean), "%s: nothing is left of either", p->name);

	dump_free(&clean);
	dump_free(&before);
	dump_free(&after);
	dump_free(&want);
	dump_free(&got);
}

/* What people do with images, on native ones. */
static void
test_rbd_commands(const struct parameters *p)
{
	static const char *const commands[] = {
		"info %s/n1",
		"bench --io-type write --io-size 64K --io-total 2M %s/n1",
		"resize --no-progress --size 2G %s/n1",
		"snap create %s/n1@s1",
		"clone --rbd-default-clone-format 2 %1$s/n1@s1 %1$s/c1",
		"children %s/n1",
		"export %s/c1 - | cmp - /dev/null 2>&1 | grep -q EOF",
		"flatten --no-progress %s/c1",
		"rm --no-progress %s/c1",
		"snap rm --no-progress %s/n1@s1",
		"resize --no-progress --allow-shrink --size 32M %s/n1",
		"image-meta list %s/n1",
		"du %s/n1",
		"rename %1$s/n1 %1$s/n2",
		"rename %1$s/n2 %1$s/n1",
		"object-map check %s/n1",
		"trash mv %s/n1",
		"trash restore %1$s/%2$s",
		"rm --no-progress %s/n1",
	};
	char id[RBD_ID_SIZE];
	struct create_call call;

	image_id_generate(conn, id);
	is_int(native_create(p, "n1", id, &call), 0, "%s: n1 is made", p->name);
	for (size_t i = 0; i < countof(commands); i++) {
		auto_free char *command = NULL;

		if (!(p->features & RBD_OBJECT_MAP) &&
		    str_starts(commands[i], "object-map"))
			continue;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		command = str_fmt(commands[i], place(p), id);
#pragma GCC diagnostic pop
		ok(support_sh(true, "rbd %s", command) == 0, "%s: rbd %s",
		    p->name, command);
	}
}

/* ---- is there nothing in it? ---- */

struct empty_call {
	struct image_empty empty;
	struct ceph_pool *pool;
	struct image_info info;
	struct cls_meta meta;
	const char *was;
};

static void
empty_start(void *arg, struct wake *waiter)
{
	struct empty_call *call = arg;

	image_empty_start(&call->empty, call->pool, &call->info, waiter);
}

static void
meta_add_start(void *arg, struct wake *waiter)
{
	struct empty_call *call = arg;

	image_meta_set_start(
	    call->pool, call->info.id, &call->meta, 1, call->was, waiter);
}

/* Why it is not empty, "" when it is, "?" when that could not be told. */
static const char *
why_not_empty(struct ceph_pool *pool, const char *name)
{
	static struct empty_call call;
	struct lookup_call look = { .pool = pool, .name = name };

	call.pool = pool;
	if (run_lookup(&look) < 0)
		return "?";
	call.info = look.lookup.info;
	return support_run(empty_start, &call) < 0 ? "?" : call.empty.why;
}

static bool
is_empty(struct ceph_pool *pool, const char *name)
{
	return why_not_empty(pool, name)[0] == '\0';
}

static bool
has_object(struct ceph_pool *pool, const char *name)
{
	return strstr(why_not_empty(pool, name), "data in it (object ") != NULL;
}

/* Writes `len` bytes of `byte` through librbd; false: it could not. */
static bool
fill(struct ceph_pool *pool, const char *name, uint64_t at, size_t len,
    char byte)
{
	auto_free char *bytes = mem_new(len);
	rbd_image_t image;
	bool good;

	if (rbd_open(pool->io, name, &image, NULL) < 0)
		return false;
	memset(bytes, byte, len);
	good = rbd_write(image, at, len, bytes) == (ssize_t)len;
	return rbd_close(image) == 0 && good;
}

static bool
discard(struct ceph_pool *pool, const char *name, uint64_t at, uint64_t len)
{
	rbd_image_t image;
	bool good;

	if (rbd_open(pool->io, name, &image, NULL) < 0)
		return false;
	good = rbd_discard(image, at, len) >= 0;
	return rbd_close(image) == 0 && good;
}

/* One byte anywhere is data; zeros that were written are not. */
static void
test_empty(const struct parameters *p)
{
	struct ceph_pool *pool = *p->pool;
	struct create_call call;
	char id[RBD_ID_SIZE];

	image_id_generate(conn, id);
	is_int(native_create(p, "e1", id, &call), 0, "%s: e1 is made", p->name);
	ok(is_empty(pool, "e1"), "%s: a new image is empty", p->name);
	if (p->size_bytes > 0) {
		ok(fill(pool, "e1", 0, 65536, 0) && is_empty(pool, "e1"),
		    "%s: with zeros that were written, too", p->name);
		ok(fill(pool, "e1", p->size_bytes - 1, 1, 'x') &&
			has_object(pool, "e1"),
		    "%s: its last byte is data", p->name);
		ok(fill(pool, "e1", p->size_bytes - 1, 1, 0) &&
			is_empty(pool, "e1") &&
			discard(pool, "e1", 0, p->size_bytes) &&
			is_empty(pool, "e1"),
		    "%s: overwritten and discarded it is empty", p->name);
		ok(fill(pool, "e1", p->size_bytes / 2, 1, 'x') &&
			has_object(pool, "e1"),
		    "%s: a byte in its middle is data", p->name);
	}
	is_int(rbd_remove(pool->io, "e1"), 0, "%s: removed", p->name);
}

static bool
snap(struct ceph_pool *pool, const char *name, const char *snapshot, bool is_to)
{
	rbd_image_t image;
	int rc = rbd_open(pool->io, name, &image, NULL);

	if (rc < 0)
		return false;
	rc = is_to ? rbd_snap_create(image, snapshot)
		   : rbd_snap_remove(image, snapshot);
	return rbd_close(image) == 0 && rc == 0;
}

static bool
copy(const struct parameters *p, const char *from, const char *snapshot,
    const char *to)
{
	rbd_image_options_t options;
	int rc;

	rbd_image_options_create(&options);
	rbd_image_options_set_uint64(
	    options, RBD_IMAGE_OPTION_FEATURES, p->features);
	rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_CLONE_FORMAT, 2);
	rc = rbd_clone3(
	    (*p->pool)->io, from, snapshot, (*p->pool)->io, to, options);
	rbd_image_options_destroy(options);
	return rc == 0 && snap(*p->pool, to, "own", true);
}

/* A clone shows what its parent's snapshot has, whatever that has now. */
static void
test_empty_clone(const struct parameters *p)
{
	static const char above[] = ", what it is a clone of";
	struct ceph_pool *pool = *p->pool;
	uint64_t last = p->size_bytes - 1;
	struct create_call call;
	char id[RBD_ID_SIZE];
	const char *why;

	image_id_generate(conn, id);
	ok(native_create(p, "e1", id, &call) == 0 &&
		snap(pool, "e1", "before", true) &&
		fill(pool, "e1", last, 1, 'x') &&
		snap(pool, "e1", "after", true),
	    "%s: e1 is made, and written to between two snapshots", p->name);
	ok(copy(p, "e1", "before", "e2") && is_empty(pool, "e2"),
	    "%s: a clone of the first one is empty", p->name);
	ok(copy(p, "e2", "own", "e3") && is_empty(pool, "e3"),
	    "%s: so is a clone of the clone", p->name);
	ok(copy(p, "e1", "after", "e4") && has_object(pool, "e4"),
	    "%s: one of the second is not", p->name);
	ok(fill(pool, "e1", last, 1, 0) &&
		discard(pool, "e1", 0, p->size_bytes) && is_empty(pool, "e1") &&
		has_object(pool, "e4"),
	    "%s: nor is it when its parent is empty again", p->name);
	ok(copy(p, "e4", "own", "e5") && has_object(pool, "e5"),
	    "%s: nor a clone of that", p->name);
	why = why_not_empty(pool, "e5");
	ok(strlen(why) > strlen(above) &&
		str_eq(why + strlen(why) - strlen(above), above),
	    "%s: it tells where: %s", p->name, why);
	ok(fill(pool, "e3", 0, 1, 'y') && has_object(pool, "e3") &&
		is_empty(pool, "e2"),
	    "%s: a clone's own data are data", p->name);
	for (char name[] = "e5"; name[1] >= '2'; name[1]--)
		ok(snap(pool, name, "own", false) &&
			rbd_remove(pool->io, name) == 0,
		    "%s: %s goes", p->name, name);
	ok(snap(pool, "e1", "before", false) &&
		snap(pool, "e1", "after", false) &&
		rbd_remove(pool->io, "e1") == 0,
	    "%s: so does e1", p->name);
}

/* Data that is not in the image's objects, and what librbd makes. */
static void
test_empty_elsewhere(void)
{
	struct empty_call call = { .pool = rbd };
	struct lookup_call look = { .pool = rbd, .name = "e1" };

	ok(support_sh(true,
	       "rbd create --size 64M --image-feature "
	       "layering,exclusive-lock,journaling t-images/e1") == 0,
	    "an image with a journal");
	ok(is_empty(rbd, "e1"), "is empty while its journal is");
	ok(fill(rbd, "e1", 4096, 1, 'x'), "a byte is written");
	is_str(why_not_empty(rbd, "e1"), "its journal has entries",
	    "then the journal has entries");
	ok(support_sh(true,
	       "rbd rm --no-progress t-images/e1 && "
	       "rbd create --size 64M t-images/e1") == 0,
	    "an image of rbd create");
	ok(is_empty(rbd, "e1"), "is empty");
	ok(support_sh(true, "rbd snap create --no-progress t-images/e1@s") ==
		    0 &&
		is_empty(rbd, "e1"),
	    "with a snapshot, too");
	ok(fill(rbd, "e1", 9 * MIB, 1, 'x') && has_object(rbd, "e1"),
	    "with data it is not");
	ok(support_sh(true,
	       "rbd snap create --no-progress t-images/e1@t && "
	       "rbd clone --rbd-default-clone-format 2 t-images/e1@t "
	       "t-images/e2") == 0,
	    "its clone");
	ok(has_object(rbd, "e2"), "is not empty");
	ok(support_sh(true, "rbd flatten --no-progress t-images/e2") == 0 &&
		has_object(rbd, "e2"),
	    "also when it is flattened");
	ok(support_sh(true,
	       "rbd rm --no-progress t-images/e2 && "
	       "rbd snap purge --no-progress t-images/e1") == 0,
	    "both go");

	ok(run_lookup(&look) == 0, "the image is looked up");
	call.info = look.lookup.info;
	call.meta = (struct cls_meta){
		.key = ".t/mark", .value = "a", .len = 1
	};
	call.was = "";
	is_int(support_run(meta_add_start, &call), 0, "a mark is added");
	call.meta.value = "b";
	is_int(support_run(meta_add_start, &call), -ECANCELED,
	    "but not over another");
	call.was = "x";
	is_int(support_run(meta_add_start, &call), -ECANCELED,
	    "nor instead of one that is not there");
	ok(support_sh(true,
	       "test \"$(rbd image-meta get t-images/e1 .t/mark)\" = a") == 0,
	    "which `rbd` reads");
	ok(support_sh(true, "rbd image-meta remove t-images/e1 .t/mark") == 0,
	    "and removes");
	call.was = "";
	is_int(support_run(meta_add_start, &call), 0, "then it is added");
	call.was = call.meta.value;
	is_int(support_run(meta_add_start, &call), 0,
	    "and another one instead of that");
	is_int(rbd_remove(rbd->io, "e1"), 0, "removed");
}

/* Many ask at the same time where images stand; each has his own answer. */
#define ASKED 12

static void
test_places(void)
{
	static struct image_place place[ASKED];
	static struct waited end[ASKED];
	auto_free char *why = NULL;
	char id[RBD_ID_SIZE];
	rbd_image_t image;
	unsigned good = 0;

	must(support_sh(true, "rbd create --size 1M t-images/here") != 0 ? -EIO
									 : 0,
	    "create");
	image = image_open(rbd, "here");
	must(rbd_get_id(image, id, sizeof(id)), "id");
	must(rbd_close(image), "close");
	for (unsigned i = 0; i < ASKED; i++) {
		end[i] = WAITED_INIT;
		image_place_start(&place[i], i % 4 == 3 ? ns1 : rbd,
		    i % 4 == 1 ? "there" : "here",
		    i % 4 == 2 ? "0123456789abcd" : id, &end[i].wake);
	}
	while (rados_in_flight() == 0)
		loop_turn(true);
	is_int((intmax_t)rados_in_flight(), 2,
	    "who asks two directories at the same time shares a read of each");
	for (unsigned i = 0; i < ASKED; i++)
		good += waited_for(&end[i]) == 0 &&
		    place[i].standing ==
			(i % 4 == 0          ? IMAGE_STANDS
				: i % 4 == 3 ? IMAGE_GONE
					     : IMAGE_ELSEWHERE);
	is_int(good, ASKED, "and each has the answer to his own question");
	why = str_fmt("id %s is image here", id);
	is_str(place[1].why, why, "such as that it is called otherwise");
	must(rbd_remove(rbd->io, "here"), "remove");
}

/* What the first image in a pool leaves there for ever. */
static void
warm_up(void)
{
	const char *data_pool = ec != NULL ? "t-ec" : "t-second";

	(void)support_sh(true,
	    "rbd create --size 1M --data-pool %s t-images/w && "
	    "rbd trash mv t-images/w && rbd trash purge t-images",
	    data_pool);
	(void)support_sh(true,
	    "rbd create --size 1M t-images/ns1/w && "
	    "rbd trash mv t-images/ns1/w && rbd trash purge t-images/ns1");
}

int
main(void)
{
	conn = support_connect();
	support_make_pool("t-images");
	support_make_pool("t-second");
	rbd = support_pool(conn, "t-images", NULL);
	ns1 = support_pool(conn, "t-images", "ns1");
	second = support_pool(conn, "t-second", NULL);
	if (support_make_ec_pool("t-ec"))
		ec = support_pool(conn, "t-ec", NULL);
	warm_up();
	for (size_t i = 0; i < countof(table); i++) {
		const struct parameters *p = &table[i];

		if (p->data_pool != NULL && *p->data_pool == NULL) {
			ok(true, "%s # SKIP it takes three OSDs", p->name);
			continue;
		}
		test_parity(p);
		test_empty(p);
		if (p->commands) {
			test_empty_clone(p);
			test_rbd_commands(p);
		}
	}
	test_empty_elsewhere();
	test_places();
	ceph_connection_close(conn);
	loop_fini();
	return tap_end();
}
