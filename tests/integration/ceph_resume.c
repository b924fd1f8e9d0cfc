/*
 * ceph_resume.c - a process that is killed after any of its writes leaves
 * what the next identical call completes, and what a deletion removes.
 *
 * The program runs itself as the process to be killed: --wrap puts a counter
 * in front of librados' write, which ends the process at the n-th one, when
 * the OSD has answered.
 */
#include "tests/integration/ceph_support.h"

#include <rados/librados.h>
#include <stdlib.h>
#include <sys/wait.h>

#define POOL "t-resume"
#define DATA_POOL "t-resume-data"
#define KILLED 42
#define INSTANCE "t" /* of the purge notes */
#define MIB (1024ull * 1024)

static const char *self;
static struct ceph_connection *conn;
static struct ceph_pool *pool, *ns1, *data_pool;

static const struct kind {
	const char *name;
	uint64_t features;
	struct layout layout;
	bool in_namespace, elsewhere;
} kinds[] = {
	{ "layering", 1, { 22, 0, 0 }, false, false },
	{ "deep-flatten", 61, { 22, 0, 0 }, false, false },
	{ "striping", 61, { 22, MIB, 4 }, false, false },
	{ "a data pool", 61, { 22, 0, 0 }, false, true },
	{ "a namespace", 61, { 22, 0, 0 }, true, false },
};

static const struct cls_meta meta[] = { { "key", "value", 5 } };

/* ---- the killer ---- */

static unsigned kill_at, writes;

int __real_rados_aio_write_op_operate(rados_write_op_t op, rados_ioctx_t io,
    rados_completion_t completion, const char *object, time_t *mtime,
    int flags);
int __wrap_rados_aio_write_op_operate(rados_write_op_t op, rados_ioctx_t io,
    rados_completion_t completion, const char *object, time_t *mtime,
    int flags);

int
__wrap_rados_aio_write_op_operate(rados_write_op_t op, rados_ioctx_t io,
    rados_completion_t completion, const char *object, time_t *mtime, int flags)
{
	rados_completion_t own;

	if (++writes != kill_at)
		return __real_rados_aio_write_op_operate(
		    op, io, completion, object, mtime, flags);
	rados_aio_create_completion2(NULL, NULL, &own);
	(void)__real_rados_aio_write_op_operate(
	    op, io, own, object, mtime, flags);
	rados_aio_wait_for_complete(own);
	_exit(KILLED);
}

/* ---- what is done ---- */

static struct ceph_pool *
place(const struct kind *kind)
{
	return kind->in_namespace ? ns1 : pool;
}

static int
create_as(const struct kind *kind, const char *id, bool fresh)
{
	struct create_call call = {
		.pool = place(kind),
		.spec = {
			.name = "victim",
			.id = id,
			.size_bytes = 256 * MIB,
			.features = kind->features,
			.layout = kind->layout,
			.data_pool = kind->elsewhere ? data_pool : NULL,
			.meta = meta,
			.nmeta = 1,
			.fresh = fresh,
		},
	};
	int rc = run_create(&call);

	if (rc < 0)
		diag("create: %s", call.create.op.err.text);
	return rc;
}

static int
create(const struct kind *kind, const char *id)
{
	return create_as(kind, id, false);
}

static int
move(const struct kind *kind, const char *id)
{
	struct move_call call = {
		.pool = place(kind),
		.name = "victim",
		.id = id,
		.plan = { .instance_id = INSTANCE },
	};
	int rc = run_move(&call);

	if (rc < 0)
		diag("move: %s", call.move.op.err.text);
	return rc;
}

static int
purge(const struct kind *kind, const char *id)
{
	struct purge_call call = {
		.pool = place(kind),
		.id = id,
		.instance_id = INSTANCE,
	};
	int rc = run_purge(&call);

	if (rc < 0)
		diag("purge: %s", call.purge.op.err.text);
	return rc;
}

/* The process to be killed: WHAT KIND ID N. */
static int
victim(char **argv)
{
	const struct kind *kind = &kinds[atoi(argv[1])];
	int rc = -1;

	kill_at = (unsigned)atoi(argv[3]);
	if (strcmp(argv[0], "create") == 0)
		rc = create(kind, argv[2]);
	else if (strcmp(argv[0], "fresh") == 0)
		rc = create_as(kind, argv[2], true);
	else if (strcmp(argv[0], "move") == 0)
		rc = move(kind, argv[2]);
	else if (strcmp(argv[0], "purge") == 0)
		rc = purge(kind, argv[2]);
	return rc == 0 ? 0 : 1;
}

/* True if it was killed, false if it came to its end. */
static bool
run_victim(
    const char *what, const struct kind *kind, const char *id, unsigned n)
{
	int status = support_sh(
	    false, "%s %s %d %s %u", self, what, (int)(kind - kinds), id, n);

	if (status != 0 && WEXITSTATUS(status) != KILLED)
		diag("%s %u ended with %d", what, n, status);
	return WEXITSTATUS(status) == KILLED;
}

static void
dump_all(struct dump *dump)
{
	dump_pool(pool, dump);
	dump_add_pool(data_pool, dump);
}

/* Marks the first `n` objects in the object map, as a writer does. */
static void
mark(const struct kind *kind, const char *id, unsigned n)
{
	char object[RBD_OBJECT_SIZE];
	struct enc in;

	if (!(kind->features & RBD_OBJECT_MAP))
		return;
	enc_init(&in);
	enc_u64(&in, 0);
	enc_u64(&in, n);
	enc_u8(&in, 1); /* exists */
	enc_u8(&in, 0); /* whatever it was */
	image_object(object, RBD_OBJECT_MAP_PREFIX, id);
	if (rados_exec(place(kind)->io, object, "rbd", "object_map_update",
		(char *)in.buf.data, in.buf.len, NULL, 0) < 0)
		diag("the object map is not updated");
	enc_fini(&in);
}

/* Writes to `n` of the image's objects. */
static void
fill(const struct kind *kind, const char *id, unsigned n)
{
	struct lookup_call lookup = { .pool = place(kind), .id = id };
	rados_ioctx_t io = kind->elsewhere ? data_pool : place(kind)->io;

	(void)run_lookup(&lookup);
	mark(kind, id, n);
	for (unsigned i = 0; i < n; i++) {
		auto_free char *object = str_fmt(
		    "%s.%016x", lookup.lookup.info.prefix, i);

		(void)rados_write(io, object, "data", 4, 0);
	}
}

/* ---- tests ---- */

static void
remove_all(const struct kind *kind, const char *id)
{
	(void)move(kind, id);
	(void)purge(kind, id);
}

static void
test_create(const struct kind *kind, const char *how)
{
	static const char id[] = "0000000000aaaa";
	/* Side by side it is always the same id (image_id_of()). */
	const char *other = strcmp(how, "fresh") == 0 ? id : "0000000000bbbb";
	struct dump clean, whole, got;
	unsigned n;

	dump_all(&clean);
	(void)create(kind, id);
	dump_all(&whole);
	remove_all(kind, id);
	for (n = 1; run_victim(how, kind, id, n); n++) {
		is_int(create(kind, n % 2 ? id : other), 0,
		    "%s: creation (%s) killed after write %u is completed",
		    kind->name, how, n);
		dump_all(&got);
		ok(dump_same(&got, &whole), "%s: to the same image",
		    kind->name);
		dump_free(&got);
		remove_all(kind, id);
		dump_all(&got);
		ok(dump_same(&got, &clean), "%s: which goes without a trace",
		    kind->name);
		dump_free(&got);

		(void)run_victim(how, kind, id, n);
		(void)create(kind, id);
		is_int(move(kind, id), 0,
		    "%s: once it is completed it is deleted", kind->name);
		is_int(purge(kind, id), 0, "%s: and purged", kind->name);
		dump_all(&got);
		ok(dump_same(&got, &clean), "%s: without a trace", kind->name);
		dump_free(&got);
		if (other == id)
			continue;
		(void)run_victim("create", kind, id, n);
		is_int(move(kind, id), 0,
		    "%s: creation killed after write %u is deleted", kind->name,
		    n);
		is_int(purge(kind, id), 0, "%s: and purged", kind->name);
		dump_all(&got);
		ok(dump_same(&got, &clean), "%s: without a trace", kind->name);
		dump_free(&got);
	}
	ok(n > 3, "%s: %u writes make an image", kind->name, n - 1);
	remove_all(kind, id);
	dump_free(&clean);
	dump_free(&whole);
}

static void
test_move(const struct kind *kind)
{
	static const char id[] = "0000000000aaaa";
	struct dump clean, got;
	unsigned n;

	dump_all(&clean);
	for (n = 1;; n++) {
		bool killed;

		(void)create(kind, id);
		killed = run_victim("move", kind, id, n);
		is_int(move(kind, id), 0,
		    "%s: moving killed after write %u is completed", kind->name,
		    n);
		is_int(purge(kind, id), 0, "%s: and purged", kind->name);
		dump_all(&got);
		ok(dump_same(&got, &clean), "%s: without a trace", kind->name);
		dump_free(&got);
		if (!killed)
			break;
	}
	is_int(n - 1, 3, "%s: three writes move an image", kind->name);

	dump_free(&clean);
}

/*
 * What ceph-csi does with an image on its way to the trash: as long as it can
 * open it by its name it moves it once more, and then has the manager remove
 * it, which fails for ever at an entry that is MOVING.
 */
static void
test_move_of_ceph_csi(const struct kind *kind)
{
	struct dump clean, got;

	/* Python forbids rbd_support in the manager of Debian 13's 18.2. */
	if (support_sh(false,
		"ceph rbd task list 2>&1 | grep -q 'no valid command'") == 0) {
		diag("this cluster's manager has no tasks of rbd");
		return;
	}
	(void)support_sh(true, "rados -p " POOL " create rbd_task");
	dump_all(&clean);
	for (unsigned n = 1; n <= 3; n++) {
		/* the manager knows the ids that it has removed */
		auto_free char *id = str_fmt(
		    "%06x00bb%02x%02x", (unsigned)getpid() & 0xffffff, n, n);

		(void)create(kind, id);
		(void)run_victim("move", kind, id, n);
		/* It takes the name away, and then says that the entry is not
		 * MOVING: the next call finds the image in the trash. */
		if (n == 1)
			(void)support_sh(false, "rbd trash mv " POOL "/victim");
		ok(support_sh(true,
		       "ceph rbd task add trash remove " POOL "/%s && "
		       "for i in $(seq 300); do rbd trash ls --all " POOL
		       " | grep -q %s || exit 0; sleep 0.1; done; exit 1",
		       id, id) == 0,
		    "after write %u the manager's task removes it", n);
		is_int(
		    move(kind, id), 0, "and our next call has no more to do");
		(void)support_sh(true,
		    "rados -p " POOL " rmomapkey rbd_trash csi.purge." INSTANCE
		    "/%s",
		    id);
		dump_all(&got);
		ok(dump_same(&got, &clean), "nothing is left after write %u",
		    n);
		dump_free(&got);
	}
	dump_free(&clean);
}

/* Mark, 64 objects, header, map if it has one, entry. */
static void
test_purge(const struct kind *kind)
{
	static const char id[] = "0000000000aaaa";
	static const unsigned at[] = { 1, 2, 3, 17, 40, 64, 65, 66, 67, 68 };
	unsigned all = kind->features & RBD_OBJECT_MAP ? 68 : 67;
	struct dump clean, got;

	dump_all(&clean);
	for (size_t i = 0; i < countof(at); i++) {
		(void)create(kind, id);
		fill(kind, id, 64);
		(void)move(kind, id);
		ok(run_victim("purge", kind, id, at[i]) == (at[i] <= all),
		    "%s: a purge is killed after write %u of %u", kind->name,
		    at[i], all);
		is_int(purge(kind, id), 0, "%s: and completed", kind->name);
		dump_all(&got);
		ok(dump_same(&got, &clean), "%s: without a trace", kind->name);
		dump_free(&got);
	}
	is_int(purge(kind, id), 0, "%s: a purge of nothing is success",
	    kind->name);
	is_int(move(kind, id), 0, "%s: moving nothing is success", kind->name);
	dump_all(&got);
	ok(dump_same(&got, &clean), "%s: and leaves nothing", kind->name);
	dump_free(&got);
	dump_free(&clean);
}

int
main(int argc, char **argv)
{
	int rc;

	self = argv[0];
	if (argc == 1) {
		support_make_pool(POOL);
		support_make_pool(DATA_POOL);
	}
	conn = support_connect();
	pool = support_pool(conn, POOL, NULL);
	ns1 = support_pool(conn, POOL, "ns1");
	data_pool = support_pool(conn, DATA_POOL, NULL);
	if (argc > 1)
		return victim(argv + 1);

	/* what the first image leaves in a pool for ever */
	for (size_t i = 0; i < countof(kinds); i++) {
		(void)create(&kinds[i], "0000000000cccc");
		remove_all(&kinds[i], "0000000000cccc");
	}
	for (size_t i = 0; i < countof(kinds); i++) {
		test_create(&kinds[i], "create");
		test_create(&kinds[i], "fresh");
		test_move(&kinds[i]);
		test_purge(&kinds[i]);
	}
	test_move_of_ceph_csi(&kinds[0]);
	rc = tap_end();
	ceph_connection_close(conn);
	loop_fini();
	return rc;
}
