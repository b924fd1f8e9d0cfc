/*
 * ceph_native.c - snapshots, clones and growth that are done natively leave
 * what librbd leaves, object by object, in the same story told by both.
 */
#include "tests/integration/ceph_support.h"

#include "ceph/flatten.h"
#include "ceph/part.h"
#include "ceph/resize.h"
#include "tests/hex.h"
#include "tests/waited.h"

#include <errno.h>
#include <rados/librados.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ORDER 16 /* small objects: a dump has all of their data */
#define OBJECT ((uint64_t)1 << ORDER)
#define OBJECTS 10
#define UNIT 8192 /* where it is striped, over so many objects */
#define COUNT 2

static struct ceph_connection *conn;
static struct ceph_pool *images, *ns1, *second;

struct place {
	const char *name;
	uint64_t features;
	struct ceph_pool **pool; /* of the clones; the source is in `images` */
	struct ceph_pool **clone_data; /* NULL: with the clone */
	struct ceph_pool **source_data;
	bool is_striped;
};

static const struct place places[] = {
	{ "layering", 1, &images, NULL, NULL },
	{ "exclusive-lock", 5, &images, NULL, NULL },
	{ "fast-diff without deep-flatten", 29, &images, NULL, NULL },
	{ "striping", 61, &images, NULL, NULL, true },
	{ "all features", 61, &images, NULL, NULL },
	{ "another pool", 61, &second, NULL, NULL },
	{ "another data pool", 1, &images, &second, NULL },
	{ "a namespace, data elsewhere", 61, &ns1, &second, &second },
};

/* One way of the story: by librbd, or natively. */
struct story {
	const struct place *place;
	bool native;
	char id[3][RBD_ID_SIZE]; /* of src, c1, c2; as long in both */
	uint64_t snap[4];        /* s1, s2 of src, own, new of c1 */
};

/* ---- what is told ---- */

/* Fills objects from..to of an image with a byte. */
static void
image_fill(struct ceph_pool *pool, const char *name, int from, int to, int byte)
{
	rbd_image_t image = image_open(pool, name);
	auto_free char *data = mem_new(OBJECT);

	memset(data, byte, OBJECT);
	for (int i = from; i <= to; i++)
		/* the last one in part */
		if (rbd_write(image, (uint64_t)i * OBJECT,
			i == to ? OBJECT / 2 : OBJECT, data) < 0)
			diag("write %s", name);
	(void)rbd_close(image);
}

/* What an image, or its snapshot, holds: the first byte of each object. */
static char *
image_read(struct ceph_pool *pool, const char *name, const char *snap)
{
	rbd_image_t image = NULL;
	uint64_t size = 0;
	char *text;
	size_t n = 0;
	char byte;

	if (rbd_open_read_only(pool->io, name, &image, snap) < 0)
		return str_fmt("cannot open %s@%s", name, snap);
	(void)rbd_get_size(image, &size);
	text = mem_new(size / OBJECT + 2);
	for (uint64_t at = 0; at < size; at += OBJECT)
		text[n++] = (char)(rbd_read(image, at, 1, &byte) != 1 ? '?'
			: byte == 0                                   ? '.'
								      : byte);
	(void)rbd_close(image);
	return text;
}

static const char *
id_of(struct ceph_pool *pool, const char *name)
{
	static struct lookup_call call;

	call = (struct lookup_call){ .pool = pool, .name = name };
	return run_lookup(&call) < 0 ? "" : call.lookup.info.id;
}

static int told; /* rc of the last step */

static void
tell(const struct op *op)
{
	told = op->err.rc;
	if (told < 0)
		diag("%s", op->err.text);
}

static void
add_start(void *arg, struct wake *waiter)
{
	snapshot_add_start(arg, waiter);
}

static void
remove_start(void *arg, struct wake *waiter)
{
	snapshot_remove_start(arg, waiter);
}

static void
resize_start(void *arg, struct wake *waiter)
{
	image_grow_start(arg, waiter);
}

static void
reaped(void)
{
	while (snapshot_reaping() > 0)
		loop_turn(true);
}

static struct snapshot_add add;

static void
snap_add(struct story *s, struct ceph_pool *pool, const char *name,
    const char *snap, uint64_t *id)
{
	rbd_image_t image;

	if (s->native) {
		add = (struct snapshot_add){ .pool = pool,
			.image_id = id_of(pool, name),
			.name = snap };
		(void)support_run(add_start, &add);
		tell(&add.op);
		*id = add.id;
		return;
	}
	image = image_open(pool, name);
	told = rbd_snap_create(image, snap);
	(void)rbd_snap_get_id(image, snap, id);
	(void)rbd_close(image);
}

static void
snap_remove(
    struct story *s, struct ceph_pool *pool, const char *name, const char *snap)
{
	static struct snapshot_remove rem;
	rbd_image_t image;

	if (s->native) {
		rem = (struct snapshot_remove){ .pool = pool,
			.image_id = id_of(pool, name),
			.name = snap };
		(void)support_run(remove_start, &rem);
		tell(&rem.op);
		reaped();
		return;
	}
	image = image_open(pool, name);
	told = rbd_snap_remove(image, snap);
	(void)rbd_close(image);
}

static void
grow(struct story *s, struct ceph_pool *pool, const char *name, uint64_t size)
{
	static struct image_grow resize;
	rbd_image_t image;

	if (s->native) {
		resize = (struct image_grow){ .pool = pool,
			.image_id = id_of(pool, name),
			.size_bytes = size };
		(void)support_run(resize_start, &resize);
		tell(&resize.op);
		return;
	}
	image = image_open(pool, name);
	told = rbd_resize2(image, size, false, NULL, NULL);
	(void)rbd_close(image);
}

static void
flatten_start(void *arg, struct wake *waiter)
{
	image_flatten_start(arg, waiter);
}

static void
part_start(void *arg, struct wake *waiter)
{
	image_part_start(arg, waiter);
}

/* After a flatten that has copied all. */
static int
part(const struct image_flatten *f)
{
	static struct image_part p;

	p = (struct image_part){ .pool = f->pool,
		.image_id = f->image_id,
		.parent = &f->parent,
		.record = "none/" };
	return support_run(part_start, &p);
}

/* In slices of no time: each call copies the least that it can. */
static void
flatten(struct story *s, struct ceph_pool *pool, const char *name)
{
	static struct image_flatten f;
	unsigned slices = 0;
	uint64_t at = 0;
	rbd_image_t image;

	if (s->native) {
		do {
			f = (struct image_flatten){ .pool = pool,
				.image_id = id_of(pool, name),
				.in_flight = 3,
				.at = at };
			(void)support_run(flatten_start, &f);
			at = f.at;
		} while (f.more && ++slices < OBJECTS);
		tell(&f.op);
		if (told == 0)
			told = part(&f);
		if (!s->place->is_striped)
			return;
		is_int(f.obstacle, IMAGE_UNLIKE, "%s: %s is for librbd: %s",
		    s->place->name, name, f.op.err.text);
	}
	image = image_open(pool, name);
	told = rbd_flatten(image);
	(void)rbd_close(image);
}

static struct create_call create;

/* An image of the story, by the id that it is to have. */
static void
make(struct story *s, int which, struct ceph_pool *pool, const char *name,
    struct ceph_pool *data_pool, uint64_t size, const struct cls_parent *parent)
{
	create = (struct create_call){
		.pool = pool,
		.spec = {
			.name = name,
			.id = s->id[which],
			.size_bytes = size,
			.features = s->place->features,
			.layout = { .order = ORDER,
			    .stripe_unit = s->place->is_striped ? UNIT : 0,
			    .stripe_count = s->place->is_striped ? COUNT : 0 },
			.data_pool = data_pool,
			.parent = parent,
			.overlap = OBJECTS * OBJECT,
		},
	};
	(void)run_create(&create);
	tell(&create.create.op);
}

static void
clone(struct story *s, int which, struct ceph_pool *from, const char *parent,
    const char *snap, uint64_t snap_id, struct ceph_pool *pool,
    const char *name, struct ceph_pool *data_pool, uint64_t size)
{
	struct cls_parent spec = { .pool = from->id, .snap = snap_id };
	rbd_image_options_t options;

	if (s->native) {
		(void)snprintf(
		    spec.id, sizeof(spec.id), "%s", id_of(from, parent));
		(void)snprintf(spec.rados_namespace,
		    sizeof(spec.rados_namespace), "%s", from->rados_namespace);
		make(s, which, pool, name, data_pool, size, &spec);
		return;
	}
	rbd_image_options_create(&options);
	rbd_image_options_set_uint64(
	    options, RBD_IMAGE_OPTION_FEATURES, s->place->features);
	rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_ORDER, ORDER);
	if (s->place->is_striped) {
		rbd_image_options_set_uint64(
		    options, RBD_IMAGE_OPTION_STRIPE_UNIT, UNIT);
		rbd_image_options_set_uint64(
		    options, RBD_IMAGE_OPTION_STRIPE_COUNT, COUNT);
	}
	rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_CLONE_FORMAT, 2);
	if (data_pool != NULL)
		rbd_image_options_set_string(options,
		    RBD_IMAGE_OPTION_DATA_POOL, ceph_pool_name(data_pool));
	told = rbd_clone3(from->io, parent, snap, pool->io, name, options);
	rbd_image_options_destroy(options);
	if (told == 0 && size > OBJECTS * OBJECT)
		grow(s, pool, name, size);
	(void)snprintf(s->id[which], RBD_ID_SIZE, "%s", id_of(pool, name));
}

static void
discard(struct story *s, struct ceph_pool *pool, const char *name)
{
	struct move_call move = { .pool = pool, .name = name };
	struct purge_call purge = { .pool = pool };

	if (!s->native) {
		told = rbd_remove(pool->io, name);
		return;
	}
	(void)run_move(&move);
	tell(&move.move.op);
	purge.id = move.move.place.id;
	if (told == 0) {
		(void)run_purge(&purge);
		tell(&purge.purge.op);
	}
	reaped();
}

/* ---- what is left ---- */

static void
replace_number(struct dump *dump, uint64_t from, const char *to)
{
	auto_free char *text = str_fmt("%016llx", (unsigned long long)from);
	char hex[17];
	uint64_t le = htole64(from);

	hex_fmt(hex, (const char *)&le, sizeof(le));
	for (size_t i = 0; i < dump->n; i++) {
		char *key = strstr(dump->line[i], " omap "), *at;

		if (key != NULL &&
		    (str_starts(key, " omap snap") ||
			str_starts(key, " omap parent")))
			while ((at = strstr(key, hex)) != NULL)
				memcpy(at, to, strlen(to));
	}
	for (size_t i = 0; i < dump->n; i++)
		for (char *at; (at = strstr(dump->line[i], text)) != NULL;)
			memcpy(at, to, strlen(to));
}

/* Sixteen digits that are a time of now, seconds and nanoseconds. */
static void
replace_times(char *hex)
{
	time_t now = time(NULL);

	for (; strlen(hex) >= 16; hex += 2) {
		unsigned b[4];
		uint32_t sec;

		if (sscanf(hex, "%2x%2x%2x%2x", &b[0], &b[1], &b[2], &b[3]) !=
		    4)
			return;
		sec = b[0] | b[1] << 8 | b[2] << 16 | (uint32_t)b[3] << 24;
		if (sec > now - 7200 && sec < now + 60)
			memset(hex, 'T', 16);
	}
}

/* A snapshot in the trash has a random name: a uuid, which nothing else is. */
static void
replace_uuid(char *hex)
{
	for (; strlen(hex) >= 72; hex += 2) {
		int digits = 0;

		while (digits < 72 &&
		    (digits == 16 || digits == 26 || digits == 36 ||
				digits == 46
			    ? strncmp(hex + digits, "2d", 2) == 0
			    : hex[digits] == '3' || hex[digits] == '6'))
			digits += 2;
		if (digits == 72)
			memset(hex, 'U', 72);
	}
}

/*
 * All that the pools hold, without what no two ways have the same: times,
 * numbers of snapshots, names in the trash, locks that librbd has taken and
 * given back, and that directory and trash were used once.
 */
static void
dump_story(const struct story *s, struct dump *dump)
{
	static const char *const snaps[] = { "[[[[[[[[[[[[[[s1",
		"[[[[[[[[[[[[[[s2", "[[[[[[[[[[[[[own", "[[[[[[[[[[[[[new" };
	size_t n = 0;

	dump_pool(images, dump);
	dump_add_pool(second, dump);
	for (size_t i = 0; i < dump->n; i++) {
		char *value = strstr(dump->line[i], " = ");

		if (strstr(dump->line[i], " xattr lock.rbd_lock") != NULL ||
		    strstr(dump->line[i], "/rbd_trash data = ") != NULL ||
		    strstr(dump->line[i], "/rbd_directory data = ") != NULL) {
			free(dump->line[i]);
			continue;
		}
		if (strstr(dump->line[i], " omap snapshot_") != NULL) {
			replace_times(value + 3);
			replace_uuid(value + 3);
		}
		dump->line[n++] = dump->line[i];
	}
	dump->n = n;
	for (size_t i = 0; i < countof(snaps); i++)
		if (s->snap[i] != 0)
			replace_number(dump, s->snap[i], snaps[i]);
	for (size_t i = 0; i < countof(s->id); i++) {
		auto_free char *image = str_fmt("IMAGE%zu", i);

		if (s->id[i][0] != '\0')
			dump_replace(dump, s->id[i], image);
	}
}

#define STEPS 16

struct telling {
	struct dump left[STEPS];
	char *shown[STEPS]; /* what is read there */
	int told[STEPS];
	const char *what[STEPS];
	int n;
};

static void
note(const struct story *s, struct telling *t, const char *what, char *shown)
{
	t->told[t->n] = told;
	t->what[t->n] = what;
	t->shown[t->n] = shown;
	dump_story(s, &t->left[t->n++]);
}

static void
story_tell(struct story *s, struct telling *t)
{
	const struct place *p = s->place;
	struct ceph_pool *to = *p->pool;
	struct ceph_pool *data = p->clone_data != NULL ? *p->clone_data : NULL;
	struct ceph_pool *source = p->source_data != NULL ? *p->source_data
							  : NULL;

	make(s, 0, images, "src", source, OBJECTS * OBJECT, NULL);
	image_fill(images, "src", 0, 5, 'a');
	snap_add(s, images, "src", "s1", &s->snap[0]);
	note(s, t, "a snapshot", image_read(images, "src", "s1"));
	image_fill(images, "src", 2, 7, 'b');
	snap_add(s, images, "src", "s2", &s->snap[1]);
	note(s, t, "another snapshot", image_read(images, "src", "s2"));
	clone(s, 1, images, "src", "s2", s->snap[1], to, "c1", data,
	    OBJECTS * OBJECT);
	note(s, t, "a clone", image_read(to, "c1", NULL));
	snap_remove(s, images, "src", "s2");
	image_fill(images, "src", 0, 9, 'c');
	note(
	    s, t, "its snapshot goes to the trash", image_read(to, "c1", NULL));
	snap_add(s, to, "c1", "own", &s->snap[2]);
	note(s, t, "the clone's own snapshot", image_read(to, "c1", "own"));
	clone(s, 2, to, "c1", "own", s->snap[2], to, "c2", data,
	    (OBJECTS + 3) * OBJECT);
	note(s, t, "a larger clone of the clone", image_read(to, "c2", NULL));
	grow(s, images, "src", (OBJECTS + 5) * OBJECT);
	note(s, t, "the source grows", image_read(images, "src", NULL));
	snap_remove(s, images, "src", "s1");
	note(s, t, "a snapshot without clones goes",
	    image_read(images, "src", NULL));
	image_fill(to, "c2", 5, 8, 'd');
	note(s, t, "the clone of the clone is written to",
	    image_read(to, "c2", NULL));
	snap_add(s, to, "c1", "new", &s->snap[3]);
	flatten(s, to, "c2");
	note(s, t, "it is flattened", image_read(to, "c2", NULL));
	if (p->features & RBD_DEEP_FLATTEN)
		flatten(s, to, "c1");
	note(s, t, "so is the clone with its snapshot, if that goes along",
	    image_read(to, "c1", "own"));
	discard(s, to, "c2");
	note(s, t, "the clone of the clone is removed",
	    image_read(to, "c1", "own"));
	snap_remove(s, to, "c1", "new");
	snap_remove(s, to, "c1", "own");
	note(s, t, "and the snapshot that it was made of",
	    image_read(to, "c1", NULL));
	discard(s, to, "c1");
	note(s, t, "the clone, and the trashed snapshot that it held, go",
	    image_read(images, "src", NULL));
	discard(s, images, "src");
	note(s, t, "and the source", NULL);
}

static void
test_place(const struct place *place)
{
	struct story by_librbd = { .place = place }, natively;
	static struct telling want, got;

	memset(&want, 0, sizeof(want));
	memset(&got, 0, sizeof(got));
	image_id_generate(conn, by_librbd.id[0]);
	story_tell(&by_librbd, &want);
	natively = by_librbd;
	for (size_t i = 0; i < countof(natively.id); i++) {
		char *last = strchr(natively.id[i], '\0') - 1;

		*last = *last == '0' ? '1' : '0';
	}
	memset(natively.snap, 0, sizeof(natively.snap));
	natively.native = true;
	story_tell(&natively, &got);
	for (int i = 0; i < want.n; i++) {
		is_int(got.told[i], want.told[i], "%s: %s", place->name,
		    want.what[i]);
		ok(dump_same(&got.left[i], &want.left[i]),
		    "%s: %s: both leave the same", place->name, want.what[i]);
		ok(want.shown[i] == NULL || str_eq(got.shown[i], want.shown[i]),
		    "%s: %s: and show %s (%s)", place->name, want.what[i],
		    want.shown[i] != NULL ? want.shown[i] : "nothing",
		    got.shown[i] != NULL ? got.shown[i] : "nothing");
		free(want.shown[i]);
		free(got.shown[i]);
		dump_free(&want.left[i]);
		dump_free(&got.left[i]);
	}
}

/* ---- what is in use, or was done already ---- */

static void
rule_make(const char *name, uint64_t features, char id[RBD_ID_SIZE])
{
	create = (struct create_call){
		.pool = images,
		.spec = {
			.name = name,
			.id = id,
			.size_bytes = OBJECTS * OBJECT,
			.features = features,
			.layout = { .order = ORDER },
		},
	};
	image_id_generate(conn, id);
	(void)run_create(&create);
	tell(&create.create.op);
	image_fill(images, name, 0, 3, 'a');
}

static int
rule_add(const char *id, const char *name)
{
	add = (struct snapshot_add){
		.pool = images, .image_id = id, .name = name
	};
	return support_run(add_start, &add);
}

static void
rule_end(const char *id, const char *name)
{
	rbd_image_t image;
	rbd_snap_info_t snap[8];
	int max = countof(snap), n;

	(void)id;
	image = image_open(images, name);
	n = rbd_snap_list(image, snap, &max);
	for (int i = 0; i < n; i++)
		(void)rbd_snap_remove(image, snap[i].name);
	if (n >= 0)
		rbd_snap_list_end(snap);
	(void)rbd_close(image);
	is_int(rbd_remove(images->io, name), 0, "%s: librbd removes it", name);
}

/* Everybody who has it open knows of a snapshot before that is ready. */
static void
test_watched_snapshot(void)
{
	char id[RBD_ID_SIZE];
	auto_free char *shown = NULL;
	struct dump before, after;
	rbd_image_t open;
	uint64_t first;

	rule_make("watched", 1, id);
	open = image_open(images, "watched");
	is_int(rule_add(id, "s"), 0, "a snapshot while somebody writes: %s",
	    add.op.err.text);
	is_int(add.notified.acks, 1, "he is told, and has answered");
	ok(!add.existed && add.id > 0, "it is new");
	first = add.id;
	(void)rbd_write(open, 0, 1, "z");
	shown = image_read(images, "watched", "s");
	is_str(shown, "aaaa......", "what he writes then is not in it");
	dump_pool(images, &before);
	is_int(rule_add(id, "s"), 0, "the same again is success");
	ok(add.existed && add.id == first, "with the same id");
	dump_pool(images, &after);
	ok(dump_same(&after, &before), "and nothing is changed");
	(void)rbd_close(open);
	dump_free(&before);
	dump_free(&after);
	rule_end(id, "watched");
}

static void
on_update(void *arg)
{
	(*(unsigned *)arg)++;
}

/* Whoever has it open learns of its growth at once, and can write there. */
static void
test_watched_growth(uint64_t features)
{
	static struct image_grow growth;
	uint64_t size = 0, handle = 0, want = (OBJECTS + 7) * OBJECT;
	unsigned updates = 0;
	char id[RBD_ID_SIZE];
	rbd_image_t open;

	rule_make("growing", features, id);
	open = image_open(images, "growing");
	(void)rbd_update_watch(open, &handle, on_update, &updates);
	growth = (struct image_grow){
		.pool = images, .image_id = id, .size_bytes = want
	};
	is_int(support_run(resize_start, &growth), 0,
	    "growth while it is open, features %d: %s", (int)features,
	    growth.op.err.text);
	ok(growth.notified.acks == 1 && growth.notified.timeouts == 0,
	    "librbd has answered");
	ok(rbd_get_size(open, &size) == 0 && size == want && updates > 0,
	    "its watcher was called, and it has the size");
	ok(rbd_write(open, want - 1, 1, "z") == 1, "it writes at the end");
	(void)rbd_update_unwatch(open, handle);
	(void)rbd_close(open);
	is_int(features & RBD_OBJECT_MAP
		? support_sh(true,
		      "rbd object-map check --no-progress t-native/growing && "
		      "rbd info --format json t-native/growing | "
		      "jq -e '.flags == []'")
		: 0,
	    0, "its object map is right");
	rule_end(id, "growing");
}

/* All that is not for us to do, by what is in the way. */
static void
test_obstacle(enum image_obstacle obstacle, const char *name, const char *id)
{
	static struct image_grow growth;
	static struct snapshot_remove rem;
	static struct image_flatten f;
	struct dump before, after;

	dump_pool(images, &before);
	ok(rule_add(id, "new") < 0 && add.obstacle == obstacle &&
		add.op.err.code == ERR_UNIMPLEMENTED,
	    "%s: no snapshot: %s", name, add.op.err.text);
	growth = (struct image_grow){ .pool = images,
		.image_id = id,
		.size_bytes = 2 * OBJECTS * OBJECT };
	ok(support_run(resize_start, &growth) < 0 &&
		growth.obstacle == obstacle,
	    "%s: no growth: %s", name, growth.op.err.text);
	f = (struct image_flatten){
		.pool = images, .image_id = id, .in_flight = 4
	};
	ok(support_run(flatten_start, &f) < 0 && f.obstacle == obstacle,
	    "%s: no flattening: %s", name, f.op.err.text);
	rem = (struct snapshot_remove){
		.pool = images, .image_id = id, .name = "s"
	};
	ok(support_run(remove_start, &rem) < 0 && rem.obstacle == obstacle,
	    "%s: no removal: %s", name, rem.op.err.text);
	dump_pool(images, &after);
	ok(dump_same(&after, &before), "%s: it stays as it was", name);
	dump_free(&before);
	dump_free(&after);
}

/* A clone with a snapshot "s", which `command` does something to. */
static void
obstacle_after(
    enum image_obstacle obstacle, const char *command, const char *undo)
{
	struct story s = { .native = true };
	char id[RBD_ID_SIZE];

	is_int(support_sh(true,
		   "rbd clone --rbd-default-clone-format 2 t-native/above@s "
		   "t-native/odd && rbd snap create --no-progress "
		   "t-native/odd@s && %s",
		   command),
	    0, "%s", command);
	(void)snprintf(id, sizeof(id), "%s", id_of(images, "odd"));
	test_obstacle(obstacle, command, id);
	is_int(support_sh(true, "%s", undo), 0, "%s", undo);
	snap_remove(&s, images, "odd", "s");
	is_int(told, 0, "then the snapshot is removed");
	discard(&s, images, "odd");
	is_int(told, 0, "and the clone");
}

static void
test_obstacles(void)
{
	char id[RBD_ID_SIZE];

	rule_make("above", 61, id);
	is_int(rule_add(id, "s"), 0, "a snapshot: %s", add.op.err.text);
	obstacle_after(IMAGE_JOURNALED,
	    "rbd feature enable t-native/odd journaling",
	    "rbd feature disable t-native/odd journaling");
	obstacle_after(IMAGE_GROUPED,
	    "rbd group create t-native/g && "
	    "rbd group image add t-native/g t-native/odd",
	    "rbd group rm t-native/g");
	obstacle_after(IMAGE_MIRRORED,
	    "rbd mirror pool enable t-native image && "
	    "rbd mirror image enable t-native/above snapshot && "
	    "rbd mirror image enable t-native/odd snapshot",
	    "rbd mirror image disable t-native/odd && "
	    "rbd mirror image disable t-native/above && "
	    "rbd mirror pool disable t-native");
	obstacle_after(IMAGE_MIGRATING,
	    "rbd migration prepare --rbd-default-clone-format 2 t-native/odd "
	    "t-native/odd",
	    "rbd migration abort --no-progress "
	    "--rbd-default-clone-format 2 t-native/odd");
	rule_end(id, "above");
}

/* Who holds the lock has to be asked: that is for librbd. */
static void
test_locked(void)
{
	static struct image_grow growth;
	static struct snapshot_remove rem;
	static struct image_flatten f;
	struct cls_parent parent = { .pool = images->id };
	char id[RBD_ID_SIZE], clone_id[RBD_ID_SIZE];
	struct dump before, after;
	rbd_image_t open;

	rule_make("locked", 61, id);
	is_int(rule_add(id, "s"), 0, "%s", add.op.err.text);
	memcpy(parent.id, id, sizeof(parent.id));
	parent.snap = add.id;
	image_id_generate(conn, clone_id);
	create = (struct create_call){ .pool = images,
		.spec = { .name = "locked-clone",
		    .id = clone_id,
		    .size_bytes = OBJECTS * OBJECT,
		    .features = 61,
		    .layout = { .order = ORDER },
		    .parent = &parent,
		    .overlap = OBJECTS * OBJECT } };
	is_int(
	    run_create(&create), 0, "a clone: %s", create.create.op.err.text);
	open = image_open(images, "locked-clone");
	(void)rbd_write(open, 0, 1, "z"); /* takes the lock */
	dump_pool(images, &before);
	ok(rule_add(clone_id, "t") < 0 && add.obstacle == IMAGE_LOCKED &&
		add.op.err.code == ERR_UNIMPLEMENTED,
	    "no snapshot: %s", add.op.err.text);
	growth = (struct image_grow){ .pool = images,
		.image_id = clone_id,
		.size_bytes = 2 * OBJECTS * OBJECT };
	ok(support_run(resize_start, &growth) < 0 &&
		growth.obstacle == IMAGE_LOCKED,
	    "no growth: %s", growth.op.err.text);
	f = (struct image_flatten){
		.pool = images, .image_id = clone_id, .in_flight = 4
	};
	ok(support_run(flatten_start, &f) < 0 && f.obstacle == IMAGE_LOCKED,
	    "no flattening: %s", f.op.err.text);
	rem = (struct snapshot_remove){
		.pool = images, .image_id = clone_id, .name = "t"
	};
	ok(support_run(remove_start, &rem) < 0 && rem.obstacle == IMAGE_LOCKED,
	    "nor a removal: %s", rem.op.err.text);
	dump_pool(images, &after);
	ok(dump_same(&after, &before), "it stays as it was");
	(void)rbd_close(open);
	dump_free(&before);
	dump_free(&after);
	f = (struct image_flatten){ .pool = images,
		.image_id = clone_id,
		.in_flight = 4,
		.slice_ms = 60000 };
	is_int(support_run(flatten_start, &f), 0, "closed it is flattened: %s",
	    f.op.err.text);
	is_int(part(&f), 0, "and parts from its parent");
	rule_end(clone_id, "locked-clone");
	rule_end(id, "locked");
}

/* Snapshots of others, with higher numbers than the stock has. */
static void
test_numbers(void)
{
	char id[RBD_ID_SIZE];
	uint64_t theirs = 0;
	rbd_image_t image;

	rule_make("numbers", 1, id);
	is_int(rule_add(id, "s1"), 0, "a snapshot: %s", add.op.err.text);
	ok(snap_ids_in_stock(images) > 0, "%u numbers are in stock",
	    snap_ids_in_stock(images));
	image = image_open(images, "numbers");
	(void)rbd_snap_create(image, "s2");
	(void)rbd_snap_get_id(image, "s2", &theirs);
	(void)rbd_close(image);
	is_int(rule_add(id, "s3"), 0, "another one after librbd's: %s",
	    add.op.err.text);
	ok(add.id > theirs, "has a higher number");
	is_int(snap_ids_in_stock(support_pool(conn, "rbd", NULL)), 0,
	    "a pool without snapshots has no stock");
	rule_end(id, "numbers");
}

static struct parent_depth depth;

static void
depth_start(void *arg, struct wake *waiter)
{
	parent_depth_start(&depth, images, arg, waiter);
}

/* Of a snapshot that is on its way out nobody makes a clone. */
static void
test_clone_rules(void)
{
	struct cls_parent parent = { .pool = images->id };
	char id[RBD_ID_SIZE], clone_id[RBD_ID_SIZE], other[RBD_ID_SIZE];
	struct dump before, after;
	struct story s = { .native = true };

	rule_make("parent", 61, id);
	is_int(rule_add(id, "s"), 0, "%s", add.op.err.text);
	memcpy(parent.id, id, sizeof(parent.id));
	parent.snap = add.id;
	image_id_generate(conn, clone_id);
	create = (struct create_call){ .pool = images,
		.spec = { .name = "clone",
		    .id = clone_id,
		    .size_bytes = OBJECTS * OBJECT,
		    .features = 61,
		    .layout = { .order = ORDER },
		    .parent = &parent,
		    .overlap = OBJECTS * OBJECT } };
	is_int(
	    run_create(&create), 0, "a clone: %s", create.create.op.err.text);
	dump_pool(images, &before);
	is_int(run_create(&create), 0, "made again it is success");
	ok(create.create.adopted, "it was there");
	dump_pool(images, &after);
	ok(dump_same(&after, &before), "and nothing is changed");
	dump_free(&after);
	parent.snap++;
	ok(run_create(&create) < 0, "of another snapshot it is refused: %s",
	    create.create.op.err.text);
	parent.snap--;
	is_int(support_run(depth_start, clone_id), 0, "its depth");
	is_int(depth.depth, 1, "is 1");
	snap_remove(&s, images, "parent", "s");
	dump_free(&before);
	dump_pool(images, &before);
	image_id_generate(conn, other);
	create.spec.name = "late";
	create.spec.id = other;
	ok(run_create(&create) < 0 &&
		create.create.op.err.code == ERR_NOT_FOUND,
	    "of a snapshot in the trash there is no clone: %s",
	    create.create.op.err.text);
	dump_pool(images, &after);
	ok(dump_same(&after, &before), "and nothing is left of it");
	dump_free(&before);
	dump_free(&after);
	(void)rbd_trash_move(images->io, "parent", 0);
	is_int(
	    support_run(depth_start, clone_id), 0, "the parent in the trash");
	is_int(depth.depth, 1, "counts");
	discard(&s, images, "clone");
	is_int(told, 0, "the clone goes, and holds the snapshot no more");
	is_int(rbd_trash_remove(images->io, id, true), 0, "librbd agrees");
}

/* ---- what it costs ---- */

static uint64_t
osd_ops(void)
{
	auto_free char *line = support_sh_line("%s",
	    "ceph tell 'osd.*' perf dump osd op 2>/dev/null | "
	    "awk '$1 == \"\\\"op\\\":\" { n += $2 } END { print n }'");
	uint64_t n = 0;

	return str_to_u64(line, &n) < 0 ? 0 : n;
}

static void
cost(const char *what, int rc, uint64_t before, uint64_t most)
{
	uint64_t ops = osd_ops() - before;

	ok(rc == 0 && before > 0 && ops > 0 && ops <= most,
	    "%s takes %d operations", what, (int)ops);
}

static void
test_costs(void)
{
	static struct image_grow growth;
	static struct snapshot_remove rem;
	struct cls_parent parent = { .pool = images->id };
	char id[2][RBD_ID_SIZE], clone_id[RBD_ID_SIZE];
	uint64_t at;
	int rc;

	rule_make("cost-1", 1, id[0]);
	rule_make("cost-61", 61, id[1]);
	(void)rule_add(id[0], "first"); /* there is a stock */
	for (int i = 0; i < 2; i++) {
		at = osd_ops();
		rc = rule_add(id[i], "s");
		cost(i == 0 ? "a snapshot, layering"
			    : "a snapshot, all features",
		    rc, at, i == 0 ? 4 : 8);
		memcpy(parent.id, id[i], sizeof(parent.id));
		parent.snap = add.id;
		image_id_generate(conn, clone_id);
		create = (struct create_call){ .pool = images,
			.spec = { .name = i == 0 ? "copy-1" : "copy-61",
			    .id = clone_id,
			    .size_bytes = OBJECTS * OBJECT,
			    .features = i == 0 ? 1 : 61,
			    .layout = { .order = ORDER },
			    .parent = &parent,
			    .overlap = OBJECTS * OBJECT } };
		at = osd_ops();
		rc = run_create(&create);
		cost(i == 0 ? "a clone, layering" : "a clone, all features", rc,
		    at, i == 0 ? 5 : 6);
		growth = (struct image_grow){ .pool = images,
			.image_id = id[i],
			.size_bytes = 2 * OBJECTS * OBJECT };
		at = osd_ops();
		rc = support_run(resize_start, &growth);
		cost(i == 0 ? "growth, layering" : "growth, all features", rc,
		    at, i == 0 ? 4 : 5);
		rem = (struct snapshot_remove){ .pool = images,
			.image_id = id[i],
			.snap = add.id,
			.cloned = true };
		at = osd_ops();
		rc = support_run(remove_start, &rem);
		cost("the snapshot, which has a clone, goes to the trash", rc,
		    at, 3);
		(void)rbd_remove(images->io, create.spec.name);
	}
	rule_end(id[0], "cost-1");
	rule_end(id[1], "cost-61");
}

/* Numbers that are no other number of the story, such as a count of objects. */
static void
numbers_burn(struct ceph_pool *pool)
{
	rados_completion_t done[500];
	rados_snap_t id = 0;

	while (id < 2000) {
		for (size_t i = 0; i < countof(done); i++) {
			(void)rados_aio_create_completion2(
			    NULL, NULL, &done[i]);
			rados_aio_ioctx_selfmanaged_snap_create(
			    pool->io, &id, done[i]);
		}
		for (size_t i = 0; i < countof(done); i++) {
			(void)rados_aio_wait_for_complete(done[i]);
			rados_aio_release(done[i]);
		}
	}
}

int
main(void)
{
	int rc;

	conn = support_connect();
	support_make_pool("t-native");
	support_make_pool("t-native2");
	images = support_pool(conn, "t-native", NULL);
	ns1 = support_pool(conn, "t-native", "ns1");
	second = support_pool(conn, "t-native2", NULL);
	numbers_burn(images);
	numbers_burn(second);
	for (size_t i = 0; i < countof(places); i++)
		test_place(&places[i]);
	test_watched_snapshot();
	test_watched_growth(1);
	test_watched_growth(61);
	test_obstacles();
	test_locked();
	test_numbers();
	test_clone_rules();
	test_costs();
	rc = tap_end();
	ceph_connection_close(conn);
	loop_fini();
	return rc;
}
