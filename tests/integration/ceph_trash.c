/*
 * ceph_trash.c - what may not be deleted is refused and stays as it was, and
 * what may be goes whole.
 */
#include "base/clock.h"
#include "tests/integration/ceph_support.h"

#include <errno.h>
#include <rados/librados.h>
#include <rbd/librbd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#define POOL "t-trash"
#define MIB (1024ull * 1024)

static struct ceph_connection *conn;
static struct ceph_pool *pool;
static char id[RBD_ID_SIZE];

static void
make(const char *name, uint64_t features)
{
	struct create_call call = {
		.pool = pool,
		.spec = {
			.name = name,
			.id = id,
			.size_bytes = 256 * MIB,
			.features = features,
		},
	};

	image_id_generate(conn, id);
	if (run_create(&call) < 0)
		diag("create: %s", call.create.op.err.text);
}

static struct move_call move;

static int
do_move(const char *name)
{
	move = (struct move_call){ .pool = pool, .name = name, .id = id };
	return run_move(&move);
}

static struct purge_call purge;

static int
do_purge(void)
{
	purge = (struct purge_call){ .pool = pool, .id = id };
	return run_purge(&purge);
}

/* ---- watchers ---- */

static void
test_watched(void)
{
	struct dump before, after;
	rbd_image_t holder;

	make("held", 1);
	is_int(rbd_open(pool->io, "held", &holder, NULL), 0,
	    "librbd has an image open");
	dump_pool(pool, &before);
	ok(do_move("held") < 0 && move.move.watched &&
		move.move.op.err.code == ERR_FAILED_PRECONDITION,
	    "it does not go to the trash: %s", move.move.op.err.text);
	dump_pool(pool, &after);
	ok(dump_same(&after, &before), "and stays as it was");
	dump_free(&after);
	dump_free(&before);
	(void)rbd_close(holder);
	is_int(do_move("held"), 0, "closed it does");

	is_int(rbd_open_by_id(pool->io, id, &holder, NULL), 0,
	    "librbd opens it in the trash");
	dump_pool(pool, &before);
	ok(do_purge() < 0 && purge.purge.watched &&
		purge.purge.op.err.code == ERR_FAILED_PRECONDITION,
	    "it is not purged: %s", purge.purge.op.err.text);
	dump_pool(pool, &after);
	ok(dump_same(&after, &before), "and stays as it was");
	dump_free(&after);
	dump_free(&before);
	(void)rbd_close(holder);
	is_int(do_purge(), 0, "closed it is");
}

/* A client that is stopped, and one that is dead, until the OSD forgets it. */
static void
test_silent(void)
{
	pid_t child;
	int64_t status;
	int input[2]; /* it ends when its input does */

	make("silent", 1);
	(void)!pipe(input);
	child = fork();
	if (child == 0) {
		(void)dup2(input[0], STDIN_FILENO);
		(void)!freopen("/dev/null", "w", stdout);
		(void)execlp("rbd", "rbd", "watch", POOL "/silent", NULL);
		_exit(127);
	}
	for (unsigned i = 0; i < 200 &&
	     support_sh(
		 false, "rbd status " POOL "/silent | grep -q watcher=") != 0;
	     i++)
		;
	(void)kill(child, SIGSTOP);
	(void)waitpid(child, NULL, WUNTRACED); /* all of its threads stand */
	ok(do_move("silent") < 0 && move.move.watched,
	    "a client that does not answer holds its image: %s",
	    move.move.op.err.text);
	is_int(move.move.notified.timeouts, 1, "which the time-out tells");
	(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
	ok(do_move("silent") < 0 && move.move.watched,
	    "so does one that has just died");
	status = support_sh(true,
	    "ceph osd blocklist add $(rbd status " POOL
	    "/silent | sed -n \"s/.*watcher=\\([^ ]*\\).*/\\1/p\")");
	is_int(status, 0, "the dead client is fenced");
	for (unsigned i = 0; i < 50 && do_move("silent") < 0; i++)
		;
	is_int(move.move.op.err.code, ERR_OK, "then the image may go");
	is_int(do_purge(), 0, "and be purged");
	(void)close(input[0]);
	(void)close(input[1]);
}

/* ---- what a lane has to do ---- */

static void
test_obstacle(const char *name, enum image_obstacle obstacle)
{
	struct dump before, after;

	dump_pool(pool, &before);
	ok(do_move(name) < 0 && move.move.obstacle == obstacle &&
		move.move.op.err.code == ERR_UNIMPLEMENTED,
	    "%s: not moved: %s", name, move.move.op.err.text);
	dump_pool(pool, &after);
	ok(dump_same(&after, &before), "%s: it stays as it was", name);
	dump_free(&after);
	dump_free(&before);
}

static void
test_obstacles(void)
{
	make("journaled", 61);
	(void)support_sh(true,
	    "rbd feature enable " POOL "/journaled "
	    "journaling");
	test_obstacle("journaled", IMAGE_JOURNALED);
	(void)support_sh(true, "rbd rm --no-progress " POOL "/journaled");

	make("grouped", 1);
	(void)support_sh(true,
	    "rbd group create " POOL "/g && "
	    "rbd group image add " POOL "/g " POOL "/grouped");
	test_obstacle("grouped", IMAGE_GROUPED);
	(void)support_sh(true,
	    "rbd group rm " POOL "/g && "
	    "rbd rm --no-progress " POOL "/grouped");

	make("mirrored", 61);
	(void)support_sh(true,
	    "rbd mirror pool enable " POOL " image && "
	    "rbd mirror image enable " POOL "/mirrored snapshot");
	test_obstacle("mirrored", IMAGE_MIRRORED);
	(void)support_sh(true,
	    "rbd mirror image disable " POOL "/mirrored && "
	    "rbd mirror pool disable " POOL " && "
	    "rbd rm --no-progress " POOL "/mirrored");
}

/* ---- snapshots and clones ---- */

static void
id_take(const char *name)
{
	struct lookup_call lookup = { .pool = pool, .name = name };

	(void)run_lookup(&lookup);
	memcpy(id, lookup.lookup.info.id, sizeof(id));
}

/* Held by something, it stays as it was. */
static void
test_held(const char *by)
{
	struct dump before, after;

	dump_pool(pool, &before);
	ok(do_purge() < 0 &&
		purge.purge.op.err.code == ERR_FAILED_PRECONDITION &&
		str_eq(purge.purge.ties.held_by, by),
	    "held by %s: %s", by, purge.purge.op.err.text);
	dump_pool(pool, &after);
	ok(dump_same(&after, &before), "held by %s: it stays as it was", by);
	dump_free(&after);
	dump_free(&before);
}

static void
test_ties(void)
{
	char origin[RBD_ID_SIZE], clone[RBD_ID_SIZE];

	make("origin", 61);
	memcpy(origin, id, sizeof(origin));
	(void)support_sh(true,
	    "rbd snap create " POOL "/origin@s && "
	    "rbd clone --rbd-default-clone-format 2 " POOL "/origin@s " POOL
	    "/clone && rbd snap create " POOL "/origin@origin");
	is_int(do_move("origin"), 0, "an image with snapshots is moved");
	test_held("its snapshot origin");
	purge = (struct purge_call){ .pool = pool, .id = id, .name = "origin" };
	ok(run_purge(&purge) < 0 &&
		str_eq(purge.purge.ties.held_by, "its clone " POOL "/clone"),
	    "a clone holds it: %s", purge.purge.op.err.text);
	id_take("clone");
	memcpy(clone, id, sizeof(clone));
	is_int(do_move("clone"), 0, "the clone is moved");
	memcpy(id, origin, sizeof(id));
	(void)support_sh(true,
	    "rbd snap rm --no-progress -p " POOL " --image-id %s --snap origin",
	    origin);
	test_held("its clone " POOL "/clone (in the trash)");
	memcpy(id, clone, sizeof(id));
	is_int(do_purge(), 0, "the clone is purged");
	memcpy(id, origin, sizeof(id));
	test_held("its snapshot s");
	(void)support_sh(true,
	    "rbd snap rm --no-progress -p " POOL " --image-id %s --snap s",
	    origin);
	is_int(do_purge(), 0, "without snapshots so is the image");

	make("own", 61);
	(void)support_sh(true, "rbd snap create " POOL "/own@own");
	is_int(do_move("own"), 0, "an image with a snapshot of its name goes");
	purge = (struct purge_call){ .pool = pool, .id = id, .name = "own" };
	is_int(run_purge(&purge), 0, "and takes it along");
	make("it-temp", 61);
	(void)support_sh(true, "rbd snap create " POOL "/it-temp@it");
	is_int(do_move("it-temp"), 0, "so does a helper");
	purge = (struct purge_call){
		.pool = pool, .id = id, .name = "it-temp"
	};
	is_int(run_purge(&purge), 0, "with that of its clone's name");
}

/* ---- states of the trash, names that changed hands ---- */

static void
test_states(void)
{
	static const char *const states[] = { "normal", "moving", "removing",
		"restoring" };
	struct lookup_call lookup;

	make("odd", 1);
	is_int(do_purge(), 0, "an image that is not in the trash");
	lookup = (struct lookup_call){ .pool = pool, .name = "odd" };
	is_int(run_lookup(&lookup), 0, "is not purged");
	is_int(do_move("odd"), 0, "it is moved");
	for (unsigned s = TRASH_MOVING; s <= TRASH_RESTORING; s += 2) {
		struct cls_call call = cls_trash_state_set(id,
		    (enum trash_state)s,
		    s == TRASH_MOVING ? TRASH_NORMAL : TRASH_MOVING);

		(void)rados_exec(pool->io, RBD_TRASH, call.cls, call.method,
		    (char *)call.in.buf.data, call.in.buf.len, NULL, 0);
		enc_fini(&call.in);
		ok(do_purge() < 0 &&
			purge.purge.op.err.code == ERR_FAILED_PRECONDITION,
		    "%s: %s", states[s], purge.purge.op.err.text);
	}
	ok(do_move("odd") < 0 &&
		move.move.op.err.code == ERR_FAILED_PRECONDITION,
	    "one that is being restored is not moved: %s",
	    move.move.op.err.text);
	(void)support_sh(true, "rbd trash restore " POOL "/%s", id);
	{
		char was[RBD_ID_SIZE];

		memcpy(was, id, sizeof(was));
		memcpy(id, "0000000000ffff", sizeof("0000000000ffff"));
		ok(do_move("odd") < 0 &&
			move.move.op.err.code == ERR_FAILED_PRECONDITION,
		    "an id that is nowhere is not that of the name");
		memcpy(id, was, sizeof(was));
	}
	lookup = (struct lookup_call){ .pool = pool, .name = "odd" };
	is_int(run_lookup(&lookup), 0,
	    "and the name that belongs to another id stays");
	is_int(do_move("odd"), 0, "its own id takes it along");
	is_int(do_purge(), 0, "and it is purged");
}

/* Refused with a text that has `part`, and all is as it was. */
static void
test_refused(const char *name, const char *part, const char *what)
{
	struct dump before, after;

	dump_pool(pool, &before);
	ok(do_move(name) < 0 &&
		move.move.op.err.code == ERR_FAILED_PRECONDITION &&
		strstr(move.move.op.err.text, part) != NULL &&
		strstr(move.move.op.err.text, id) != NULL,
	    "%s: %s", what, move.move.op.err.text);
	dump_pool(pool, &after);
	ok(dump_same(&after, &before), "%s: it stays as it was", what);
	dump_free(&after);
	dump_free(&before);
}

/* What an administrator does behind the journal's back. */
static void
test_elsewhere(void)
{
	auto_free char *other = NULL;

	make("mine", 1);
	(void)support_sh(true, "rbd rename " POOL "/mine " POOL "/kept");
	test_refused("mine", "kept", "renamed");
	(void)support_sh(true, "rados -p " POOL " cp rbd_id.kept rbd_id.mine");
	test_refused("mine", "kept", "half renamed");
	(void)support_sh(true, "rados -p " POOL " rm rbd_id.mine");
	(void)support_sh(true,
	    "rbd create --size 1M " POOL "/mine --image-feature layering");
	test_refused("mine", "kept", "renamed, and the name used anew");
	(void)support_sh(true, "rbd rm --no-progress " POOL "/mine");
	(void)support_sh(true, "rbd trash mv " POOL "/kept");
	test_refused("mine", "kept", "renamed and put into the trash");
	(void)support_sh(true,
	    "rbd trash restore --image mine " POOL "/%s && "
	    "rbd trash mv --expires-at \"tomorrow\" " POOL "/mine",
	    id);
	test_refused("mine", "until", "in the trash until tomorrow");
	(void)support_sh(true,
	    "rbd trash restore " POOL "/%s && rbd rm --no-progress " POOL
	    "/mine && rbd create --size 1M " POOL
	    "/mine --image-feature layering",
	    id);
	other = support_sh_line(
	    "rbd info --format json " POOL
	    "/mine | sed \"s/.*\\\"id\\\":\\\"\\([^\\\"]*\\).*/\\1/\"");
	test_refused("mine", other, "removed and made anew");
	(void)support_sh(true, "rbd rm --no-progress " POOL "/mine");
	is_int(do_move("mine"), 0, "what is nowhere is gone");
	ok(!move.move.had_header, "and there is nothing to purge");

	make("mine", 1);
	(void)support_sh(true, "rbd trash mv " POOL "/mine");
	ok(do_move("mine") == 0 && move.move.had_header,
	    "in the trash under its own name and id it is moved already");
	is_int(do_purge(), 0, "and is purged");
}

/* ---- creating what is there already ---- */

static int
try_create(const char *name, const char *with_id, uint64_t size,
    uint64_t features, struct ceph_pool *where, struct create_call *call)
{
	*call = (struct create_call){
		.pool = where,
		.spec = {
			.name = name,
			.id = with_id,
			.size_bytes = size,
			.features = features,
		},
	};
	return run_create(call);
}

static void
test_clashes(void)
{
	struct dump before, after;
	struct create_call call;
	struct ceph_pool *nowhere = support_pool(conn, POOL, "nowhere");

	make("there", 1);
	dump_pool(pool, &before);
	ok(try_create("there", id, 512 * MIB, 1, pool, &call) < 0 &&
		call.create.op.err.code == ERR_ALREADY_EXISTS,
	    "another size: %s", call.create.op.err.text);
	ok(try_create("there", id, 256 * MIB, 61, pool, &call) < 0 &&
		call.create.op.err.code == ERR_ALREADY_EXISTS,
	    "other features: %s", call.create.op.err.text);
	ok(try_create("here", id, 256 * MIB, 1, pool, &call) < 0 &&
		call.create.op.err.code == ERR_ABORTED,
	    "an id that has another name: %s", call.create.op.err.text);
	dump_pool(pool, &after);
	ok(dump_same(&after, &before), "nothing has changed");
	dump_free(&after);

	(void)do_move("there");
	dump_free(&before);
	dump_pool(pool, &before);
	ok(try_create("here", id, 256 * MIB, 1, pool, &call) < 0 &&
		call.create.op.err.code == ERR_ABORTED,
	    "the id of an image in the trash: %s", call.create.op.err.text);
	dump_pool(pool, &after);
	ok(dump_same(&after, &before), "and what was begun is undone");
	dump_free(&after);
	(void)do_purge();

	dump_free(&before);
	dump_pool(pool, &before);
	ok(try_create("x", "0000000000eeee", MIB, 1, nowhere, &call) < 0 &&
		call.create.op.err.code == ERR_NOT_FOUND,
	    "a namespace that is not there: %s", call.create.op.err.text);
	ok(try_create("x", "0000000000eeee", MIB, 9, pool, &call) < 0 &&
		call.create.op.err.code == ERR_INVALID_ARGUMENT,
	    "features that do not go together: %s", call.create.op.err.text);
	ok(try_create("x", "not an id", MIB, 1, pool, &call) < 0,
	    "an id that the class does not take: %s", call.create.op.err.text);
	dump_pool(pool, &after);
	ok(dump_same(&after, &before), "nothing has changed");
	dump_free(&after);
	dump_free(&before);
}

/* ---- metadata ---- */

struct meta_call {
	const char *id;
	const struct cls_meta *meta;
	const char *const *keys;
	size_t n;
	struct rados_read *read;
	struct image_meta_list list;
	struct image_lookup lookup;
};

static void
meta_set_start(void *arg, struct wake *waiter)
{
	struct meta_call *m = arg;

	image_meta_set_start(pool, m->id, m->meta, m->n, NULL, waiter);
}

static void
meta_remove_start(void *arg, struct wake *waiter)
{
	struct meta_call *m = arg;

	image_meta_remove_start(pool, m->id, m->keys, m->n, waiter);
}

static void
meta_list_start(void *arg, struct wake *waiter)
{
	struct meta_call *m = arg;

	image_meta_list_start(&m->list, pool, m->id, 0, waiter);
}

static void
meta_lookup_start(void *arg, struct wake *waiter)
{
	struct meta_call *m = arg;

	image_lookup_with_start(
	    &m->lookup, pool, NULL, m->id, false, &m->list, waiter);
}

static void
test_meta(void)
{
	static const char *const keys[] = { "k000", "absent", "k199" };
	struct cls_meta meta[200];
	char text[200][8];
	struct meta_call m = { .id = id, .meta = meta, .n = 200 };
	struct meta_call missing = {
		.id = "0000000000ffff", .meta = meta, .keys = keys, .n = 1
	};
	struct dump before, after;
	bool in_order = true;

	make("described", 1);
	for (unsigned i = 0; i < 200; i++) {
		(void)snprintf(text[i], sizeof(text[i]), "k%03u", i);
		meta[i] = (struct cls_meta){ text[i], text[i], 4 };
	}
	is_int(support_run(meta_set_start, &m), 0, "200 keys are set at once");
	is_int(support_run(meta_list_start, &m), 0, "and listed in pages");
	for (size_t i = 0; i < m.list.n && i < 200; i++)
		in_order = in_order &&
		    strcmp(m.list.meta[i].key, text[i]) == 0 &&
		    m.list.meta[i].len == 4 &&
		    memcmp(m.list.meta[i].value, text[i], 4) == 0;
	ok(m.list.n == 200 && in_order,
	    "all of them, in their order, with what was set");
	image_meta_list_fini(&m.list);
	is_int(support_run(meta_lookup_start, &m), 0,
	    "the first page comes with the header, if one wants");
	ok(m.list.n == 200 && str_eq(m.list.meta[199].key, "k199") &&
		m.lookup.info.size_bytes > 0,
	    "and the others after it");
	image_meta_list_fini(&m.list);
	m.keys = keys;
	m.n = 3;
	is_int(support_run(meta_remove_start, &m), 0,
	    "keys are removed, also absent ones");
	is_int(support_run(meta_list_start, &m), 0, "they are listed anew");
	is_int(m.list.n, 198, "without those removed");
	image_meta_list_fini(&m.list);

	dump_pool(pool, &before);
	is_int(support_run(meta_set_start, &missing), -ENOENT,
	    "metadata of a missing image are not set");
	is_int(
	    support_run(meta_remove_start, &missing), -ENOENT, "nor removed");
	is_int(support_run(meta_list_start, &missing), -ENOENT, "nor listed");
	image_meta_list_fini(&missing.list);
	rados_read_free(missing.read);
	is_int(support_run(meta_lookup_start, &missing), -ENOENT, "nor listed");
	image_meta_list_fini(&missing.list);
	dump_pool(pool, &after);
	ok(dump_same(&after, &before), "and no header comes of it");
	dump_free(&after);
	dump_free(&before);
	(void)do_move("described");
	(void)do_purge();
}

/* ---- what a purge removes ---- */

static void
test_object_map(void)
{
	struct dump before, after;

	dump_pool(pool, &before);
	make("mapped", 61);
	(void)support_sh(true,
	    "rbd bench --io-type write --io-size 4M "
	    "--io-total 20M --io-pattern seq " POOL "/mapped");
	(void)do_move("mapped");
	is_int(do_purge(), 0, "an image with an object map is purged");
	is_int(purge.purge.objects, 5,
	    "only the objects that the map has are removed");

	make("mapless", 61);
	(void)support_sh(true,
	    "rbd bench --io-type write --io-size 4M "
	    "--io-total 20M --io-pattern seq " POOL "/mapless");
	(void)support_sh(true, "rados -p " POOL " rm rbd_object_map.%s", id);
	(void)do_move("mapless");
	is_int(do_purge(), 0, "one that has lost its map is purged");
	is_int(purge.purge.objects, 64, "of every object there can be");
	dump_pool(pool, &after);
	ok(dump_same(&after, &before), "nothing is left of them");
	dump_free(&after);
	dump_free(&before);
}

static bool
has_note(void)
{
	return support_sh(false,
		   "rados -p " POOL
		   " listomapkeys rbd_trash | grep -qx csi.purge.t/%s",
		   id) == 0;
}

/* As a deletion does it: entry and note together, and the purge at once. */
static void
test_fresh(void)
{
	struct dump before, after;

	dump_pool(pool, &before);
	for (unsigned written = 0; written < 2; written++) {
		make("fresh", 61);
		if (written)
			(void)support_sh(true,
			    "rbd bench --io-type write --io-size 4M "
			    "--io-total 8M --io-pattern seq " POOL "/fresh");
		move = (struct move_call){ .pool = pool,
			.name = "fresh",
			.id = id,
			.plan.instance_id = "t" };
		ok(run_move(&move) == 0 && move.move.fresh && move.move.noted &&
			has_note(),
		    "a note comes with the trash entry");
		purge = (struct purge_call){ .pool = pool,
			.id = id,
			.name = "fresh",
			.info = &move.move.lookup.info,
			.instance_id = "t" };
		ok(run_purge(&purge) == 0 && purge.purge.unnoted,
		    "and goes with it");
		is_int(purge.purge.objects, written ? 2 : 0,
		    written ? "an object map that has objects is read"
			    : "one that has none is taken at its word");
		dump_pool(pool, &after);
		ok(dump_same(&after, &before), "nothing is left");
		dump_free(&after);
	}
	dump_free(&before);
}

#define CROWD 5000

/* Puts many entries into the trash in one operation, or takes them away. */
static void
crowd(bool there)
{
	rados_write_op_t op = rados_create_write_op();
	auto_free const char **keys = mem_new(CROWD * sizeof(*keys));
	auto_free const char **values = mem_new(CROWD * sizeof(*values));
	auto_free size_t *lens = mem_new(CROWD * sizeof(*lens));
	auto_free char *text = mem_new(CROWD * 24);
	struct cls_trash_entry entry = { .name = "other" };
	struct cls_call call = cls_trash_add("", &entry);

	for (unsigned i = 0; i < CROWD; i++) {
		(void)snprintf(text + i * 24, 24, "id_00%012x", i);
		keys[i] = text + i * 24;
		/* behind the id, which is empty */
		values[i] = (const char *)call.in.buf.data + 4;
		lens[i] = call.in.buf.len - 4;
	}
	if (there)
		rados_write_op_omap_set(op, keys, values, lens, CROWD);
	else
		rados_write_op_omap_rm_keys(op, keys, CROWD);
	is_int(rados_write_op_operate(op, pool->io, RBD_TRASH, NULL, 0), 0,
	    "%d entries %s the trash", CROWD, there ? "go to" : "leave");
	rados_release_write_op(op);
	enc_fini(&call.in);
}

/* Nothing lists the trash, and nothing needs the manager. */
static void
test_crowded(void)
{
	auto_free char *listed = NULL;
	struct dump before, after;
	int64_t begun_ms;

	dump_pool(pool, &before);
	crowd(true);
	listed = support_sh_line("rbd trash ls --all " POOL " | wc -l");
	is_str(listed, "5000", "which rbd lists");
	make("crowded", 61);
	/* It goes on when this process ends, however. */
	(void)support_sh(true,
	    "mgr=$(cat \"$RBD_CSI_CLUSTER_DIR\"/run/mgr.x.pid) && "
	    "kill -STOP $mgr && { { tail -f --pid=%d /dev/null; "
	    "kill -CONT $mgr; } </dev/null >/dev/null 2>&1 & }",
	    (int)getpid());
	begun_ms = clock_now_ms();
	move = (struct move_call){ .pool = pool,
		.name = "crowded",
		.id = id,
		.plan.instance_id = "t" };
	ok(run_move(&move) == 0 && move.move.fresh,
	    "an image goes there without a manager");
	purge = (struct purge_call){ .pool = pool,
		.id = id,
		.name = "crowded",
		.info = &move.move.lookup.info,
		.instance_id = "t" };
	ok(run_purge(&purge) == 0 && purge.purge.unnoted, "and is purged");
	diag("in %d ms", (int)(clock_now_ms() - begun_ms));
	(void)support_sh(
	    true, "kill -CONT $(cat \"$RBD_CSI_CLUSTER_DIR\"/run/mgr.x.pid)");
	crowd(false);
	dump_pool(pool, &after);
	ok(dump_same(&after, &before), "nothing is left");
	dump_free(&after);
	dump_free(&before);
}

/* The trash keeps it for a while, and who asked for that is told apart. */
static void
test_kept(void)
{
	struct dump before, after;

	dump_pool(pool, &before);
	make("kept", 1);
	move = (struct move_call){ .pool = pool,
		.name = "kept",
		.id = id,
		.plan = { .instance_id = "t", .keep_s = 3600 } };
	ok(run_move(&move) == 0 && move.move.noted && !move.move.fresh,
	    "an image goes to the trash for an hour");
	ok(run_move(&move) == 0 && move.move.noted,
	    "the same call again finds it there");
	purge = (struct purge_call){
		.pool = pool, .id = id, .name = "kept", .instance_id = "t"
	};
	ok(run_purge(&purge) < 0 && purge.purge.kept_until_s > 0,
	    "it is not purged meanwhile: %s", purge.purge.op.err.text);
	ok(support_sh(true, "rbd trash restore " POOL "/%s", id) == 0,
	    "rbd trash restore gives it back");
	is_int(run_purge(&purge), 0, "a purge does not touch it then");
	ok(support_sh(false, "rbd info " POOL "/kept") == 0, "it is there");
	move.plan.keep_s = 0;
	is_int(run_move(&move), 0, "it is deleted once more");
	is_int(do_purge(), 0, "and purged");
	(void)support_sh(
	    true, "rados -p " POOL " rmomapkey rbd_trash csi.purge.t/%s", id);
	dump_pool(pool, &after);
	ok(dump_same(&after, &before), "nothing is left");
	dump_free(&after);
	dump_free(&before);
}

/* A purge whose time is over goes on where it stopped. */
static void
test_slices(void)
{
	struct dump before, after;
	struct trash_progress at = { 0 };
	unsigned turns = 0;
	auto_free char *left = NULL;

	dump_pool(pool, &before);
	make("sliced", 1); /* without a map: 64 objects there can be */
	(void)do_move("sliced");
	do {
		purge = (struct purge_call){
			.pool = pool,
			.id = id,
			.name = "sliced",
			.slice_ms = 1,
			.at = at,
		};
		if (run_purge(&purge) < 0)
			break;
		at = purge.purge.at;
		turns++;
	} while (purge.purge.more && turns < 1000);
	ok(purge.purge.op.err.code == ERR_OK && turns > 1 && at.done == 64,
	    "a purge in slices of 1 ms takes %u of them", turns);
	dump_pool(pool, &after);
	ok(dump_same(&after, &before), "and leaves nothing");
	dump_free(&after);
	dump_free(&before);

	make("sliced", 1);
	(void)do_move("sliced");
	purge = (struct purge_call){
		.pool = pool,
		.id = id,
		.name = "sliced",
		.at = { 0, 60 },
	};
	is_int(run_purge(&purge), 0, "an image that could have been restored");
	is_int(purge.purge.objects, 64, "is purged from the start");

	make("sliced", 1);
	(void)do_move("sliced");
	purge = (struct purge_call){
		.pool = pool, .id = id, .name = "another"
	};
	ok(run_purge(&purge) == 0 && purge.purge.foreign,
	    "an image that is in the trash under another name is not ours");
	(void)support_sh(true, "rbd trash restore " POOL "/%s", id);
	is_int(do_move("sliced"), 0, "it is whole");

	/* As if a rename and then a move of the old name had been cut off. */
	(void)support_sh(true,
	    "string() { printf \"\\\\$(printf %%03o ${#1})\\\\0\\\\0\\\\0%%s\" $1; }; "
	    "string renamed | rados -p " POOL
	    " setomapval rbd_directory id_%s && "
	    "string %s | rados -p " POOL
	    " setomapval rbd_directory name_renamed && "
	    "string %s | rados -p " POOL " put rbd_id.renamed -",
	    id, id, id);
	purge = (struct purge_call){
		.pool = pool, .id = id, .name = "sliced", .instance_id = "t"
	};
	ok(run_purge(&purge) == 0 && purge.purge.foreign &&
		purge.purge.objects == 0,
	    "an image that has another name by now is not purged");
	left = support_sh_line(
	    "rbd trash ls --all " POOL " | grep -c %s || true", id);
	is_str(left, "0", "nor is it in the trash any more");
	ok(support_sh(true, "rbd rm --no-progress " POOL "/renamed") == 0,
	    "but whole, for librbd");

	make("sliced", 1);
	(void)do_move("sliced");
	(void)support_sh(true,
	    "rbd trash restore " POOL "/%s && "
	    "rbd trash mv --expires-at tomorrow " POOL "/sliced",
	    id);
	purge = (struct purge_call){ .pool = pool, .id = id, .name = "sliced" };
	ok(run_purge(&purge) < 0 &&
		purge.purge.op.err.code == ERR_FAILED_PRECONDITION,
	    "nor is one to be kept until tomorrow: %s",
	    purge.purge.op.err.text);
	is_int(do_purge(), 0, "without the name it is not asked again");
}

/* A read that nobody waits for any more, as when its owner gives up. */
static void
test_abandoned(void)
{
	struct rados_read *read = rados_read_new();

	(void)rados_read_data(read, 0, 4096);
	rados_read_start(read, pool, RBD_DIRECTORY, NULL);
	rados_read_free(read);
	while (rados_in_flight() > 0)
		loop_turn(true);
	ok(true, "a read that is freed on its way ends by itself");
}

int
main(void)
{
	struct dump clean, after;
	int rc;

	support_make_pool(POOL);
	conn = support_connect();
	pool = support_pool(conn, POOL, NULL);
	make("first", 1);
	(void)do_move("first");
	(void)do_purge();
	test_obstacles(); /* leaves the pool's objects for groups etc. */
	dump_pool(pool, &clean);
	test_ties();
	test_watched();
	test_silent();
	test_states();
	test_elsewhere();
	test_clashes();
	test_meta();
	test_object_map();
	test_fresh();
	test_kept();
	test_crowded();
	test_slices();
	test_abandoned();
	dump_pool(pool, &after);
	ok(dump_same(&after, &clean), "in the end nothing is left");
	dump_free(&clean);
	dump_free(&after);
	rc = tap_end();
	ceph_connection_close(conn);
	loop_fini();
	return rc;
}
