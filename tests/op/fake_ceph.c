/*
 * fake_ceph.c - see fake_ceph.h. Omaps are kept as lists of entries; an image
 * is one record, made and moved as a whole: how it is made of objects is
 * tested elsewhere.
 */
#include "tests/op/fake_ceph.h"

#include "base/json.h"
#include "ceph/image.h"
#include "ceph/image_summary.h"
#include "ceph/journal.h"
#include "ceph/part.h"
#include "ceph/pools.h"
#include "ceph/trash.h"
#include "controller/image_jobs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define ENTRIES 64
#define IMAGES 16
#define TEXT 128
#define METAS 8
#define SNAPS 8
#define USERS "users"

struct entry {
	char object[TEXT], key[TEXT], value[TEXT]; /* key "": the object */
};

struct image {
	char name[TEXT], id[TEXT];           /* name "": in the trash */
	char trash_name[TEXT], parent[TEXT]; /* parent: an id, or "" */
	uint64_t parent_snap;
	char kept[TEXT]; /* parted from, which knows it still */
	uint64_t kept_snap;
	struct {
		uint64_t id; /* 0: none */
		char name[TEXT];
		bool in_trash;
	} snap[SNAPS];
	uint64_t size_bytes;
	bool in_trash;
	int obstacle;
	char watcher[TEXT];
	char why[TEXT]; /* it is not empty */
	bool has_parent;
	struct {
		char key[TEXT * 2], value[TEXT];
	} meta[METAS];
};

static struct store {
	struct entry entry[ENTRIES];
	struct image image[IMAGES];
	unsigned ids;
} * st;

static struct {
	enum fake_fault fault;
	unsigned n, calls, kill_at, before_at;
	void (*before)(void);
	int rc;
	struct op *victim;
	char log[4096];
} sc;

static struct ceph_connection the_connection = {
	.user = (char[]){ "csi" },
	.fsid = "fsid",
};
static struct pool_name the_name = { .name = (char[]){ "rbd" } };
static struct ceph_pool the_pool = {
	.conn = &the_connection,
	.id = 1,
	.rados_namespace = (char[]){ "" },
	.name = &the_name,
};

struct ceph_connection *
fake_connection(void)
{
	return &the_connection;
}

void
fake_init(void)
{
	st = mmap(NULL, sizeof(*st), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (st == MAP_FAILED)
		abort();
}

void
fake_clear(void)
{
	memset(st, 0, sizeof(*st));
}

void
fake_script(enum fake_fault fault, unsigned n, int rc)
{
	sc.fault = fault;
	sc.n = n;
	sc.rc = rc;
	sc.calls = 0;
	sc.kill_at = sc.before_at = 0;
	sc.victim = NULL;
	sc.log[0] = '\0';
}

void
fake_kill_at(unsigned n)
{
	sc.kill_at = n;
}

void
fake_before(unsigned n, void (*fn)(void))
{
	sc.before_at = n;
	sc.before = fn;
}

void
fake_set_victim(struct op *op)
{
	sc.victim = op;
}

unsigned
fake_calls(void)
{
	return sc.calls;
}

const char *
fake_log(void)
{
	return sc.log;
}

/*
 * One call has been made: notes it and tells whether to carry it out. *rc is
 * the failure that it is to have, 0 for none.
 */
static bool
enter(const char *name, int *rc)
{
	size_t used = strlen(sc.log);
	bool now = ++sc.calls == sc.n;

	if (sc.calls == sc.kill_at)
		_exit(FAKE_KILLED);
	if (sc.calls == sc.before_at)
		sc.before();
	(void)snprintf(sc.log + used, sizeof(sc.log) - used, "%s%s",
	    used > 0 ? " " : "", name);
	*rc = 0;
	if (!now)
		return true;
	switch (sc.fault) {
	case FAKE_NONE:
		return true;
	case FAKE_FAIL:
		*rc = sc.rc;
		return false;
	case FAKE_FAIL_DONE:
		*rc = sc.rc;
		return true;
	case FAKE_DROP:
		if (sc.victim != NULL)
			op_detach(sc.victim);
		return true;
	case FAKE_KILL:
		_exit(FAKE_KILLED);
	case FAKE_KILL_DONE:
		return true;
	}
	abort();
}

/* The call has been carried out, or not. */
static void
leave(struct wake *waiter, int rc)
{
	if (sc.fault == FAKE_KILL_DONE && sc.calls == sc.n)
		_exit(FAKE_KILLED);
	wake_up(waiter, rc);
}

/* The same for a child that has its error in its op. */
static void
leave_child(struct op *child, struct wake *waiter, int rc, const char *what)
{
	if (rc < 0)
		(void)err_set_rc(&child->err, rc, "%s", what);
	leave(waiter, child->err.rc);
}

/* ---- the store ---- */

static struct entry *
find(const char *object, const char *key)
{
	for (size_t i = 0; i < ENTRIES; i++)
		if (str_eq(st->entry[i].object, object) &&
		    str_eq(st->entry[i].key, key) && *object != '\0')
			return &st->entry[i];
	return NULL;
}

static void
put(const char *object, const char *key, const char *value)
{
	struct entry *e = find(object, key);

	for (size_t i = 0; e == NULL && i < ENTRIES; i++)
		if (st->entry[i].object[0] == '\0')
			e = &st->entry[i];
	if (e == NULL)
		abort();
	(void)snprintf(e->object, TEXT, "%s", object);
	(void)snprintf(e->key, TEXT, "%s", key);
	(void)snprintf(e->value, TEXT, "%s", value);
}

void
fake_put_key(const char *object, const char *key, const char *value)
{
	put(object, "", "");
	put(object, key, value);
}

bool
fake_has_key(const char *object, const char *key, const char *value)
{
	const struct entry *e = find(object, key);

	return e != NULL && str_eq(e->value, value);
}

void
fake_put_object(const char *object)
{
	put(object, "", "");
}

static struct image *
image_named(const char *name)
{
	for (size_t i = 0; i < IMAGES; i++)
		if (*name != '\0' && str_eq(st->image[i].name, name))
			return &st->image[i];
	return NULL;
}

static struct image *
image_with_id(const char *id)
{
	for (size_t i = 0; i < IMAGES; i++)
		if (*id != '\0' && str_eq(st->image[i].id, id))
			return &st->image[i];
	return NULL;
}

bool
fake_has_image(const char *name, uint64_t *size_bytes)
{
	struct image *image = image_named(name);

	if (image != NULL && size_bytes != NULL)
		*size_bytes = image->size_bytes;
	return image != NULL;
}

/* One that the test has made. */
static struct image *
image_there(const char *name)
{
	struct image *image = image_named(name);

	if (image == NULL)
		abort();
	return image;
}

void
fake_watch(const char *name, const char *address)
{
	(void)snprintf(image_there(name)->watcher, TEXT, "%s",
	    address != NULL ? address : "");
}

const char *
fake_meta(const char *name, const char *key)
{
	struct image *image = image_named(name);

	for (size_t i = 0; image != NULL && i < METAS; i++)
		if (str_eq(image->meta[i].key, key))
			return image->meta[i].value;
	return NULL;
}

void
fake_fill(const char *name, const char *why)
{
	(void)snprintf(image_there(name)->why, TEXT, "%s", why);
}

void
fake_set_parent(const char *name, bool has)
{
	image_there(name)->has_parent = has;
	if (!has)
		image_there(name)->parent[0] = '\0';
}

void
fake_set_parent_of(const char *name, const char *parent)
{
	struct image *image = image_named(name), *of = image_named(parent);

	if (image == NULL || of == NULL)
		abort();
	(void)snprintf(image->parent, TEXT, "%s", of->id);
}

void
fake_rename(const char *name, const char *to)
{
	struct image *image = image_named(name);

	if (image == NULL)
		abort();
	(void)snprintf(image->name, TEXT, "%s", to);
}

void
fake_put_image(const char *name)
{
	for (size_t i = 0; i < IMAGES; i++) {
		struct image *image = &st->image[i];

		if (image->id[0] != '\0')
			continue;
		(void)snprintf(image->name, TEXT, "%s", name);
		(void)snprintf(image->id, TEXT, "id%u", ++st->ids);
		image->size_bytes = 1 << 20;
		return;
	}
	abort();
}

static void
to_trash(struct image *image)
{
	if (!image->in_trash)
		(void)snprintf(image->trash_name, TEXT, "%s", image->name);
	image->in_trash = true;
	image->name[0] = '\0';
}

void
fake_trash(const char *name)
{
	struct image *image = image_named(name);

	if (image == NULL)
		abort();
	to_trash(image);
}

void
fake_set_obstacle(const char *name, int obstacle)
{
	image_there(name)->obstacle = obstacle;
}

/* ---- snapshots ---- */

static bool
is_child(const struct image *image, const char *of, uint64_t snap)
{
	return (str_eq(image->parent, of) && image->parent_snap == snap) ||
	    (str_eq(image->kept, of) && image->kept_snap == snap);
}

static unsigned
count_children(const struct image *of, size_t at)
{
	unsigned n = 0;

	for (size_t i = 0; i < IMAGES; i++)
		n += st->image[i].id[0] != '\0' &&
		    is_child(&st->image[i], of->id, of->snap[at].id);
	return n;
}

static uint64_t
add_snapshot(struct image *image, const char *name)
{
	size_t at = 0;

	for (size_t i = 0; i < SNAPS; i++)
		if (image->snap[i].id != 0 && !image->snap[i].in_trash &&
		    str_eq(image->snap[i].name, name))
			return image->snap[i].id;
	while (image->snap[at].id != 0)
		if (++at == SNAPS)
			abort();
	(void)snprintf(image->snap[at].name, TEXT, "%s", name);
	image->snap[at].in_trash = false;
	image->snap[at].id = ++st->ids;
	return image->snap[at].id;
}

/* What is in the trash and has no clones is freed in the background. */
static void
reap(void)
{
	for (size_t i = 0; i < IMAGES; i++)
		for (size_t j = 0; j < SNAPS; j++)
			if (st->image[i].snap[j].in_trash &&
			    count_children(&st->image[i], j) == 0)
				memset(&st->image[i].snap[j], 0,
				    sizeof(st->image[i].snap[j]));
}

static void
remove_snapshot(struct image *image, const char *name)
{
	for (size_t i = 0; i < SNAPS; i++)
		if (image->snap[i].id != 0 && str_eq(image->snap[i].name, name))
			image->snap[i].in_trash = true;
	reap();
}

void
fake_set_clone_of(const char *name, const char *parent, uint64_t snap)
{
	fake_set_parent_of(name, parent);
	image_there(name)->parent_snap = snap;
}

void
fake_resize(const char *name, uint64_t size_bytes)
{
	image_there(name)->size_bytes = size_bytes;
}

const char *
fake_image_id(const char *name)
{
	const struct image *image = image_named(name);

	return image != NULL ? image->id : "";
}

uint64_t
fake_snapshot(const char *name, const char *snapshot)
{
	return add_snapshot(image_there(name), snapshot);
}

void
fake_unsnapshot(const char *name, const char *snapshot)
{
	remove_snapshot(image_there(name), snapshot);
}

static struct cls_snapshot
snapshot_at(const struct image *image, size_t at)
{
	struct cls_snapshot snap = {
		.id = image->snap[at].id,
		.kind = image->snap[at].in_trash ? SNAP_TRASH : SNAP_USER,
		.size_bytes = image->size_bytes,
		.children = count_children(image, at),
	};

	(void)snprintf(snap.name, sizeof(snap.name), "%s",
	    image->snap[at].in_trash ? "random" : image->snap[at].name);
	(void)snprintf(
	    snap.original, sizeof(snap.original), "%s", image->snap[at].name);
	return snap;
}

void
snapshot_list_start(struct snapshot_list *list, struct ceph_pool *pool,
    const char *image_id, struct wake *waiter)
{
	const struct image *image = image_with_id(image_id);
	int rc;

	memset(list, 0, sizeof(*list));
	list->pool = pool;
	if (enter("snaps", &rc) && rc == 0) {
		rc = image == NULL ? -ENOENT : 0;
		list->snap = mem_new(SNAPS * sizeof(*list->snap));
		for (size_t i = 0; image != NULL && i < SNAPS; i++) {
			if (image->snap[i].id != 0)
				list->snap[list->n++] = snapshot_at(image, i);
		}
	}
	leave_child(&list->op, waiter, rc, "list snapshots");
}

void
snapshot_list_fini(struct snapshot_list *list)
{
	free(list->snap);
	list->snap = NULL;
	list->n = 0;
}

const struct cls_snapshot *
snapshot_named(const struct snapshot_list *list, const char *name)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->snap[i].kind == SNAP_USER &&
		    str_eq(list->snap[i].name, name))
			return &list->snap[i];
	return NULL;
}

static unsigned flatten_slices; /* before one is done */

void
fake_flatten_slowly(unsigned slices)
{
	flatten_slices = slices;
}

static void
flatten(struct image *image, struct image_job *job)
{
	job->count = 100;
	job->at += 10;
	job->more = flatten_slices > 0;
	if (job->more) {
		flatten_slices--;
		return;
	}
	job->parent.pool = image->parent[0] != '\0' ? the_pool.id : -1;
	job->parent.snap = image->parent_snap;
	(void)snprintf(
	    job->parent.id, sizeof(job->parent.id), "%.60s", image->parent);
}

static unsigned reads; /* so often a clone of what is flattened is open */

void
fake_read(unsigned times)
{
	reads = times;
}

unsigned
fake_trashed(const char *name)
{
	const struct image *image = image_there(name);
	unsigned n = 0;

	for (size_t i = 0; i < SNAPS; i++)
		n += image->snap[i].id != 0 && image->snap[i].in_trash;
	return n;
}

void
image_part_start(struct image_part *part, struct wake *waiter)
{
	struct image *image = image_with_id(part->image_id);
	int rc;

	if (enter("part", &rc)) {
		part->left = true;
		if (image != NULL && image->parent[0] != '\0') {
			memcpy(image->kept, image->parent, TEXT);
			image->kept_snap = image->parent_snap;
			image->parent[0] = '\0';
			image->has_parent = false;
			image->parent_snap = 0;
		}
		if (reads > 0) {
			reads--;
			(void)snprintf(part->readers.reader,
			    sizeof(part->readers.reader), "rbd/reader");
			rc = err_set(&part->op.err, ERR_FAILED_PRECONDITION,
			    "rbd/reader is in use");
		} else if (image != NULL) {
			image->kept[0] = '\0';
		}
		reap();
	}
	leave_child(&part->op, waiter, rc, "part");
}

/* Parents are in the one pool. */
int
parent_pool_open(struct ceph_connection *conn, const struct cls_parent *parent,
    struct ceph_pool **pool, struct err *err)
{
	return ceph_pool_open_id(conn, parent->pool, "", pool, err);
}

int
image_data_pool_open(struct ceph_pool *pool, const struct image_info *info,
    struct ceph_pool **data_pool, struct err *err)
{
	(void)info;
	(void)err;
	*data_pool = pool;
	return 0;
}

void
parent_depth_start(struct parent_depth *depth, struct ceph_pool *pool,
    const char *image_id, struct wake *waiter)
{
	const struct image *image = image_with_id(image_id);
	int rc;

	(void)pool;
	memset(depth, 0, sizeof(*depth));
	if (enter("depth", &rc) && rc == 0) {
		if (image == NULL)
			rc = -ENOENT;
		while (image != NULL &&
		    (image = image_with_id(image->parent)) != NULL)
			depth->depth++;
	}
	leave_child(&depth->op, waiter, rc, "find the depth");
}

/* What image_create of ceph/image.h does, and a lane. */
static int
make_image(struct image_job *job)
{
	const struct image_spec *spec = job->spec;
	const struct cls_parent none = { .snap = 0 };
	const struct cls_parent *of = spec->parent != NULL ? spec->parent
							   : &none;
	struct image *image = image_named(spec->name);
	struct image *parent = image_with_id(of->id);
	bool there = spec->parent == NULL;

	for (size_t i = 0; parent != NULL && i < SNAPS; i++)
		there = there ||
		    (parent->snap[i].id == of->snap &&
			!parent->snap[i].in_trash);
	if (!there)
		return -ENOENT;
	job->adopted = image != NULL;
	if (job->adopted &&
	    (image->size_bytes != spec->size_bytes ||
		(image->parent[0] != '\0' &&
		    (!str_eq(image->parent, of->id) ||
			image->parent_snap != of->snap))))
		return -EEXIST;
	if (!job->adopted) {
		fake_put_image(spec->name);
		(void)snprintf(
		    image_there(spec->name)->id, TEXT, "%s", spec->id);
	}
	image = image_there(spec->name);
	image->size_bytes = spec->size_bytes;
	(void)snprintf(image->parent, TEXT, "%s", of->id);
	image->parent_snap = of->snap;
	for (size_t i = 0; i < spec->nmeta; i++)
		if (!job->adopted || !spec->meta[i].once)
			fake_set_meta(
			    spec->name, spec->meta[i].key, spec->meta[i].value);
	(void)snprintf(job->made_id, RBD_ID_SIZE, "%.60s", image->id);
	return 0;
}

/* A creation that has failed asks before it undoes itself. */
static struct {
	struct wake wake;
	struct wake *waiter;
	int rc;
} undoing;

static void
on_undo_allowed(struct wake *wake, int rc)
{
	(void)wake;
	(void)rc;
	wake_up(undoing.waiter, undoing.rc);
}

void
image_job_start(struct image_job *job, struct wake *waiter)
{
	static const char *const names[] = { "", "snap", "unsnap", "clone",
		"grow", "flatten" };
	bool make = job->kind == IMAGE_JOB_CLONE;
	const char *name = make && job->spec->parent == NULL ? "create"
							     : names[job->kind];
	struct image *image = make ? NULL : image_with_id(job->image_id);
	int rc;

	/* One that fails undoes itself: so FAIL_DONE is the same as FAIL. */
	if (enter(name, &rc) && (rc == 0 || !make)) {
		if (make)
			rc = make_image(job);
		else if (image == NULL)
			rc = job->kind == IMAGE_JOB_UNSNAPSHOT ? rc : -ENOENT;
		else if (job->kind == IMAGE_JOB_SNAPSHOT)
			job->snap = add_snapshot(image, job->snapshot);
		else if (job->kind == IMAGE_JOB_UNSNAPSHOT)
			remove_snapshot(image, job->snapshot);
		else if (job->kind == IMAGE_JOB_FLATTEN)
			flatten(image, job);
		else if (job->kind == IMAGE_JOB_GROW)
			image->size_bytes = job->size_bytes =
			    image->size_bytes > job->size_bytes
			    ? image->size_bytes
			    : job->size_bytes;
	}
	if (make && rc < 0 && job->spec->reserve != NULL) {
		undoing.wake.fn = on_undo_allowed;
		undoing.waiter = waiter;
		undoing.rc = err_set_rc(&job->op.err, rc, "image job");
		journal_mark_start(job->spec->reserve, &undoing.wake);
		return;
	}
	leave_child(&job->op, waiter, rc, "image job");
}

static int
compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "image:NAME@SNAPSHOT": those in its trash do not show. */
static char *
image_line(const struct image *image)
{
	char *line = str_fmt(
	    "image:%s%s", image->in_trash ? "(trash)" : "", image->name);

	for (size_t i = 0; i < SNAPS; i++) {
		auto_free char *shorter = line;

		if (image->snap[i].id == 0 || image->snap[i].in_trash)
			line = str_dup(shorter);
		else
			line = str_fmt("%s@%s", shorter, image->snap[i].name);
	}
	return line;
}

const char *
fake_store(void)
{
	static char text[8192];
	char *line[ENTRIES + IMAGES];
	size_t n = 0, used = 0;

	for (size_t i = 0; i < ENTRIES; i++) {
		const struct entry *e = &st->entry[i];

		if (e->object[0] != '\0' && e->key[0] != '\0')
			line[n++] = str_fmt(
			    "%s:%s=%s", e->object, e->key, e->value);
		else if (e->object[0] != '\0' && !str_eq(e->object, RBD_TRASH))
			line[n++] = str_dup(e->object);
	}
	for (size_t i = 0; i < IMAGES; i++)
		if (st->image[i].id[0] != '\0')
			line[n++] = image_line(&st->image[i]);
	qsort(line, n, sizeof(line[0]), compare);
	text[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		used += (size_t)snprintf(text + used, sizeof(text) - used,
		    "%s%s", i > 0 ? " " : "", line[i]);
		free(line[i]);
	}
	return text;
}

/* ---- connection.h ---- */

int
ceph_pool_open(struct ceph_connection *conn, const char *name, const char *ns,
    struct ceph_pool **pool, struct err *err)
{
	(void)conn;
	(void)ns;
	if (!str_eq(name, the_name.name))
		return err_set(err, ERR_NOT_FOUND, "no pool %s", name);
	*pool = &the_pool;
	return 0;
}

int
ceph_connection_refresh(struct ceph_connection *conn, struct err *err)
{
	(void)conn;
	(void)err;
	return 0;
}

int
ceph_pool_open_id(struct ceph_connection *conn, int64_t id, const char *ns,
    struct ceph_pool **pool, struct err *err)
{
	(void)conn;
	(void)ns;
	if (id != the_pool.id)
		return err_set(err, ERR_NOT_FOUND, "no pool %d", (int)id);
	*pool = &the_pool;
	return 0;
}

const char *
ceph_pool_name(const struct ceph_pool *pool)
{
	return pool->name->name;
}

const char *
ceph_pool_label(const struct ceph_pool *pool)
{
	return pool->name->name;
}

int
ceph_pools_next(struct ceph_connection *conn, int64_t after, const char *ns,
    struct ceph_pool **pool, struct err *err)
{
	(void)conn;
	(void)ns;
	(void)err;
	*pool = after < the_pool.id ? &the_pool : NULL;
	return 0;
}

uint64_t
ceph_connection_features(const struct ceph_connection *conn)
{
	(void)conn;
	return features_created();
}

/* ---- rados.h: omaps ---- */

struct rados_read {
	char key[16][TEXT];
	unsigned nkeys, max; /* max: of a page */
	char after[TEXT], prefix[TEXT];
	struct rados_omap_entry got[ENTRIES];
	struct entry copy[ENTRIES];
	struct rados_omap omap;
	uint64_t snap[RADOS_READ_STEPS]; /* whose clones are asked for */
	struct enc answer[RADOS_READ_STEPS];
	unsigned ncalls;
};

struct rados_write {
	bool create, exclusive, exists, remove;
	struct entry expect[2];
	unsigned nexpect;
	struct entry set[16];
	unsigned nset;
	char drop[16][TEXT];
	unsigned ndrop;
};

struct rados_read *
rados_read_new(void)
{
	return mem_new(sizeof(struct rados_read));
}

void
rados_read_free(struct rados_read *r)
{
	for (unsigned i = 0; r != NULL && i < r->ncalls; i++)
		enc_fini(&r->answer[i]);
	free(r);
}

void
rados_read_drop(struct rados_read **r)
{
	rados_read_free(*r);
	*r = NULL;
}

/* Of an image, which clones its snapshots have; and no other call. */
unsigned
rados_read_call(struct rados_read *r, struct cls_call call)
{
	struct dec d;

	if (!str_eq(call.method, "children_list") ||
	    r->ncalls == RADOS_READ_STEPS)
		abort();
	dec_init(&d, call.in.buf.data, call.in.buf.len);
	r->snap[r->ncalls] = dec_u64(&d);
	enc_fini(&call.in);
	enc_init(&r->answer[r->ncalls]);
	return r->ncalls++;
}

void
rados_read_may_fail(struct rados_read *r)
{
	(void)r;
}

static void
answer_children(struct rados_read *r, const char *object)
{
	for (unsigned i = 0; i < r->ncalls; i++) {
		struct enc *e = &r->answer[i];
		uint32_t n = 0;

		for (size_t pass = 0; pass < 2; pass++) {
			if (pass > 0)
				enc_u32(e, n);
			for (size_t j = 0; j < IMAGES; j++) {
				const struct image *child = &st->image[j];
				size_t begin;

				if (child->id[0] == '\0' ||
				    !is_child(child,
					object + strlen(RBD_HEADER_PREFIX),
					r->snap[i]))
					continue;
				n += pass == 0;
				if (pass == 0)
					continue;
				begin = enc_begin(e, 2, 1);
				enc_u64(e, (uint64_t)the_pool.id);
				enc_str(e, child->id);
				enc_str(e, "");
				enc_end(e, begin);
			}
		}
	}
}

/* What an image is called: -ENOENT if it is in the trash. */
struct rados_read *
rados_ask_start(struct ceph_pool *pool, const char *object,
    struct cls_call call, struct wake *waiter)
{
	struct rados_read *r = rados_read_new();
	struct dec d;
	char id[TEXT];
	int rc;

	(void)pool;
	if (!str_eq(object, RBD_DIRECTORY) ||
	    !str_eq(call.method, "dir_get_name"))
		abort();
	dec_init(&d, call.in.buf.data, call.in.buf.len);
	dec_str(&d, id, sizeof(id));
	enc_fini(&call.in);
	enc_init(&r->answer[r->ncalls++]);
	if (enter("name", &rc) && rc == 0) {
		const struct image *image = image_with_id(id);

		if (image == NULL || image->in_trash)
			rc = -ENOENT;
		else
			enc_str(&r->answer[0], image->name);
	}
	leave(waiter, rc);
	return r;
}

int
rados_read_result(const struct rados_read *r, unsigned step, struct dec *out)
{
	dec_init(out, r->answer[step].buf.data, r->answer[step].buf.len);
	return 0;
}

int
rados_read_str(
    const struct rados_read *r, unsigned step, char *buf, size_t size)
{
	struct dec d;

	(void)rados_read_result(r, step, &d);
	return cls_parse_str(d, buf, size);
}

unsigned
rados_read_omap_keys(struct rados_read *r, const char *const *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)snprintf(r->key[r->nkeys++], TEXT, "%s", keys[i]);
	return 0;
}

unsigned
rados_read_omap_page(
    struct rados_read *r, const char *after, const char *prefix, unsigned max)
{
	(void)snprintf(r->after, TEXT, "%s", after);
	(void)snprintf(r->prefix, TEXT, "%s", prefix);
	r->max = max;
	return 0;
}

static bool
wanted(const struct rados_read *r, const char *key)
{
	for (unsigned i = 0; i < r->nkeys; i++)
		if (str_eq(r->key[i], key))
			return true;
	return r->max > 0 && strcmp(key, r->after) > 0 &&
	    str_starts(key, r->prefix);
}

static int
by_key(const void *a, const void *b)
{
	const struct rados_omap_entry *x = a, *y = b;

	return strcmp(x->key, y->key);
}

/* "csi.volumes.default" is "dir", "csi.volume.UUID" is "item". */
static const char *
short_name(const char *verb, const char *object)
{
	static char text[64];

	(void)snprintf(text, sizeof(text), "%s-%s", verb,
	    str_starts(object, "csi.volumes.") ||
		    str_starts(object, "csi.snaps.")
		? "dir"
		: str_eq(object, RBD_TRASH)          ? "notes"
		: str_starts(object, "csi.flatten.") ? "flattens"
						     : "item");
	return text;
}

void
rados_read_start(struct rados_read *r, struct ceph_pool *pool,
    const char *object, struct wake *waiter)
{
	int rc;

	(void)pool;
	r->omap.entry = r->got;
	if (r->ncalls > 0) {
		if (enter("children", &rc) && rc == 0)
			answer_children(r, object);
		leave(waiter, rc);
		return;
	}
	if (enter(short_name("read", object), &rc) && rc == 0) {
		if (find(object, "") == NULL)
			rc = -ENOENT;
		for (size_t i = 0; i < ENTRIES; i++) {
			struct entry *e = &st->entry[i];

			if (!str_eq(e->object, object) || e->key[0] == '\0' ||
			    !wanted(r, e->key))
				continue;
			r->copy[r->omap.n] = *e;
			r->got[r->omap.n] = (struct rados_omap_entry){
				.key = r->copy[r->omap.n].key,
				.value = r->copy[r->omap.n].value,
				.len = strlen(e->value),
			};
			r->omap.n++;
		}
		qsort(r->got, r->omap.n, sizeof(r->got[0]), by_key);
		r->omap.more = r->max > 0 && r->omap.n > r->max;
		if (r->omap.more)
			r->omap.n = r->max;
	}
	leave(waiter, rc);
}

void
rados_read_assert_exists(struct rados_read *r)
{
	(void)r; /* as all reads do here */
}

/* Long ago. */
void
rados_read_time(struct rados_read *r, time_t *written)
{
	(void)r;
	*written = 0;
}

uint64_t
rados_read_version(const struct rados_read *r)
{
	(void)r;
	return 1;
}

const struct rados_omap *
rados_read_omap(const struct rados_read *r)
{
	return &r->omap;
}

struct rados_write *
rados_write_new(enum rados_object object)
{
	struct rados_write *w = mem_new(sizeof(struct rados_write));

	w->create = object == RADOS_CREATE || object == RADOS_CREATE_NEW;
	w->exclusive = object == RADOS_CREATE_NEW;
	w->exists = object == RADOS_EXISTS;
	return w;
}

void
rados_write_although_full(struct rados_write *w)
{
	(void)w;
}

void
rados_room_start(
    struct ceph_pool *pool, const char *prefix, struct wake *waiter)
{
	int rc;

	(void)pool;
	(void)prefix;
	(void)enter("room", &rc);
	leave(waiter, rc);
}

void
rados_write_omap_expect(
    struct rados_write *w, const char *key, const void *value, size_t len)
{
	struct entry *e = &w->expect[w->nexpect++];

	(void)snprintf(e->key, TEXT, "%s", key);
	(void)snprintf(e->value, TEXT, "%.*s", (int)len,
	    len > 0 ? (const char *)value : "");
}

void
rados_write_omap_set(
    struct rados_write *w, const struct rados_omap_entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++, w->nset++) {
		(void)snprintf(w->set[w->nset].key, TEXT, "%s", entries[i].key);
		(void)snprintf(w->set[w->nset].value, TEXT, "%.*s",
		    (int)entries[i].len, (const char *)entries[i].value);
	}
}

void
rados_write_version_expect(struct rados_write *w, uint64_t version)
{
	(void)w;
	(void)version;
}

void
rados_write_remove(struct rados_write *w)
{
	w->remove = true;
}

void
rados_write_omap_remove(struct rados_write *w, const char *key)
{
	(void)snprintf(w->drop[w->ndrop++], TEXT, "%s", key);
}

static int
carry_out(const struct rados_write *w, const char *object)
{
	bool there = find(object, "") != NULL;
	struct entry *e;

	if (there && w->exclusive)
		return -EEXIST;
	if (!there && !w->create)
		return -ENOENT;
	for (unsigned i = 0; i < w->nexpect; i++) {
		e = find(object, w->expect[i].key);
		if (!str_eq(e != NULL ? e->value : "", w->expect[i].value))
			return -ECANCELED;
	}
	for (size_t i = 0; w->remove && i < ENTRIES; i++)
		if (str_eq(st->entry[i].object, object))
			memset(&st->entry[i], 0, sizeof(st->entry[i]));
	if (w->remove)
		return 0;
	put(object, "", "");
	for (unsigned i = 0; i < w->nset; i++)
		put(object, w->set[i].key, w->set[i].value);
	for (unsigned i = 0; i < w->ndrop; i++) {
		e = find(object, w->drop[i]);
		if (e != NULL)
			memset(e, 0, sizeof(*e));
	}
	return 0;
}

void
rados_write_start(struct rados_write *w, struct ceph_pool *pool,
    const char *object, struct wake *waiter)
{
	int rc, done = 0;

	(void)pool;
	if (enter(short_name(w->remove    ? "remove"
			  : w->ndrop == 0 ? "write"
			  : w->nset == 0  ? "drop"
					  : "swap",
		      object),
		&rc))
		done = carry_out(w, object);
	free(w);
	leave(waiter, rc < 0 ? rc : done);
}

/* What goes together is as if it went alone. */
void
rados_write_about(struct rados_write *w, const char *what)
{
	(void)w;
	(void)what;
}

void
rados_write_together_start(struct rados_write *w, struct ceph_pool *pool,
    const char *object, struct wake *waiter)
{
	rados_write_start(w, pool, object, waiter);
}

void
rados_remove_start(
    struct ceph_pool *pool, const char *object, struct wake *waiter)
{
	int rc;

	(void)pool;
	if (enter(short_name("remove", object), &rc)) {
		if (rc == 0 && find(object, "") == NULL)
			rc = -ENOENT;
		for (size_t i = 0; i < ENTRIES; i++)
			if (str_eq(st->entry[i].object, object))
				memset(&st->entry[i], 0, sizeof(st->entry[i]));
	}
	leave(waiter, rc);
}

/* ---- image.h ---- */

void
image_id_generate(const struct ceph_connection *conn, char id[RBD_ID_SIZE])
{
	(void)conn;
	(void)snprintf(id, RBD_ID_SIZE, "id%u", ++st->ids);
}

void
image_id_of(const char *uuid, char id[RBD_ID_SIZE])
{
	(void)snprintf(
	    id, RBD_ID_SIZE, "%s%.2s", uuid + strlen(uuid) - 12, uuid);
}

void
image_object(char buf[RBD_OBJECT_SIZE], const char *prefix, const char *rest)
{
	(void)snprintf(buf, RBD_OBJECT_SIZE, "%s%s", prefix, rest);
}

static void
put_meta(struct image_meta_list *list, const struct image *image)
{
	list->meta = mem_new(METAS * sizeof(*list->meta));
	for (size_t i = 0; i < METAS && image != NULL; i++)
		if (image->meta[i].key[0] != '\0')
			list->meta[list->n++] = (struct cls_meta){
				.key = image->meta[i].key,
				.value = image->meta[i].value,
				.len = strlen(image->meta[i].value),
			};
}

void
image_lookup_start(struct image_lookup *lookup, struct ceph_pool *pool,
    const char *name, const char *id, bool check_mirror, struct wake *waiter)
{
	image_lookup_with_start(
	    lookup, pool, name, id, check_mirror, NULL, waiter);
}

void
image_lookup_with_start(struct image_lookup *lookup, struct ceph_pool *pool,
    const char *name, const char *id, bool check_mirror,
    struct image_meta_list *list, struct wake *waiter)
{
	const struct image *image;
	int rc;

	(void)check_mirror;
	memset(lookup, 0, sizeof(*lookup));
	lookup->pool = pool;
	if (enter("lookup", &rc) && rc == 0) {
		image = id != NULL ? image_with_id(id) : image_named(name);
		if (image == NULL)
			rc = -ENOENT;
		else {
			if (list != NULL)
				put_meta(list, image);
			(void)snprintf(
			    lookup->info.id, RBD_ID_SIZE, "%.60s", image->id);
			lookup->info.size_bytes = image->size_bytes;
			lookup->info.layout = (struct layout){ .order = 22,
				.stripe_unit = 1 << 22,
				.stripe_count = 1 };
			(void)snprintf(lookup->info.prefix, RBD_PREFIX_SIZE,
			    "rbd_data.%.60s", image->id);
			lookup->info.features = features_created();
			for (size_t i = 0; i < SNAPS; i++)
				if (image->snap[i].id > lookup->info.snap_seq)
					lookup->info.snap_seq =
					    image->snap[i].id;
			lookup->info.parent.pool = image->has_parent ||
				image->parent[0] != '\0'
			    ? the_pool.id
			    : -1;
			(void)snprintf(lookup->info.parent.id, RBD_ID_SIZE,
			    "%.60s", image->parent);
			lookup->info.parent.snap = image->parent_snap;
			lookup->info.data_pool = -1;
			for (size_t i = 0; i < SNAPS; i++)
				lookup->info.snaps += image->snap[i].id != 0;
		}
	}
	leave_child(&lookup->op, waiter, rc, "look up");
}

void
image_summary_start(struct image_summary *s, struct ceph_pool *pool,
    const char *id, const char *prefix, struct arena *arena,
    struct wake *waiter)
{
	const struct image *image = image_with_id(id);
	int rc;

	*s = (struct image_summary){ .pool = pool, .data_pool = -1 };
	if (enter("summary", &rc) && rc == 0) {
		for (size_t i = 0; i < METAS && image != NULL; i++)
			if (prefix != NULL &&
			    str_starts(image->meta[i].key, prefix))
				s->key[s->nkeys++] = arena_strdup(
				    arena, image->meta[i].key);
		s->size_bytes = image != NULL ? image->size_bytes : 0;
		s->snaps = 1;
		if (image == NULL)
			rc = -ENOENT;
	}
	if (rc < 0)
		(void)err_set_rc(&s->err, rc, "read its header");
	leave(waiter, s->err.rc);
}

void
image_meta_list_start(struct image_meta_list *list, struct ceph_pool *pool,
    const char *id, uint64_t snap, struct wake *waiter)
{
	const struct image *image = image_with_id(id);
	int rc;

	memset(list, 0, sizeof(*list));
	list->pool = pool;
	if (enter("meta-list", &rc) && rc == 0) {
		put_meta(list, image);
		for (size_t i = 0; snap != 0 && i < SNAPS && image != NULL; i++)
			if (image->snap[i].id == snap)
				list->snapshot = snapshot_at(image, i);
		if (image == NULL)
			rc = -ENOENT;
	}
	if (rc < 0)
		(void)err_set_rc(&list->err, rc, "list metadata");
	leave(waiter, list->err.rc);
}

void
image_meta_list_fini(struct image_meta_list *list)
{
	free(list->meta);
	list->meta = NULL;
	list->n = 0;
}

static void
drop_meta(struct image *image, const char *key)
{
	for (size_t i = 0; i < METAS; i++)
		if (str_eq(image->meta[i].key, key))
			image->meta[i].key[0] = '\0';
}

static void
set_meta(struct image *image, const char *key, const char *value)
{
	size_t at = 0;

	drop_meta(image, key);
	while (image->meta[at].key[0] != '\0')
		at++;
	(void)snprintf(image->meta[at].key, TEXT * 2, "%s", key);
	(void)snprintf(image->meta[at].value, TEXT, "%s", value);
}

void
image_meta_set_start(struct ceph_pool *pool, const char *id,
    const struct cls_meta *meta, size_t n, const char *was, struct wake *waiter)
{
	struct image *image = image_with_id(id);
	const char *is;
	int rc;

	(void)pool;
	if (enter(was != NULL ? "meta-add" : "meta-set", &rc) &&
	    image != NULL) {
		is = fake_meta(image->name, meta->key);
		if (was != NULL && !str_eq(is != NULL ? is : "", was))
			rc = rc == 0 ? -ECANCELED : rc;
		else
			for (size_t i = 0; i < n; i++)
				set_meta(image, meta[i].key, meta[i].value);
	}
	leave(waiter, rc == 0 && image == NULL ? -ENOENT : rc);
}

/* No image here has an object map. */
struct rados_read *
image_map_read_start(struct ceph_pool *pool, const struct image_info *info,
    uint64_t snap, struct wake *waiter)
{
	(void)pool;
	(void)info;
	(void)snap;
	(void)waiter;
	return NULL;
}

bool
image_map_take(const struct rados_read *read, const struct image_info *info,
    struct cls_object_map *map)
{
	(void)read;
	(void)info;
	(void)map;
	return false;
}

void
image_empty_start(struct image_empty *e, struct ceph_pool *pool,
    const struct image_info *info, struct wake *waiter)
{
	int rc;

	memset(e, 0, sizeof(*e));
	e->pool = pool;
	if (enter("empty", &rc) && rc == 0)
		(void)snprintf(e->why, sizeof(e->why), "%.60s",
		    image_with_id(info->id)->why);
	leave_child(&e->op, waiter, rc, "look for data");
}

void
fake_set_meta(const char *name, const char *key, const char *value)
{
	if (value != NULL)
		set_meta(image_there(name), key, value);
	else
		drop_meta(image_there(name), key);
}

void
image_meta_remove_start(struct ceph_pool *pool, const char *id,
    const char *const *keys, size_t n, struct wake *waiter)
{
	struct image *image = image_with_id(id);
	int rc;

	(void)pool;
	if (enter("meta-remove", &rc) && image != NULL)
		for (size_t i = 0; i < n; i++)
			drop_meta(image, keys[i]);
	leave(waiter, rc == 0 && image == NULL ? -ENOENT : rc);
}

/* ---- watch.h ---- */

void
watch_header_update_start(struct ceph_pool *pool, const char *id,
    struct rados_notified *result, struct wake *waiter)
{
	const struct image *image = image_with_id(id);
	int rc;

	(void)pool;
	memset(result, 0, sizeof(*result));
	if (enter("notify", &rc) && image != NULL &&
	    image->watcher[0] != '\0') {
		result->acks = 1;
		for (const char *p = image->watcher; *p != '\0'; p++)
			result->acks += *p == ',';
	}
	leave(waiter, rc);
}

int
watch_judge(
    int rc, const struct rados_notified *result, enum watch_verdict *verdict)
{
	*verdict = result->acks > 0 ? WATCH_ALIVE : WATCH_NONE;
	return rc;
}

/* ---- trash.h ---- */

static void
place(struct image_place *p, const char *name, const char *id)
{
	struct image *named = image_named(name);
	struct image *image = id != NULL ? image_with_id(id) : named;
	auto_free char *helper = str_fmt("%s" IMAGE_HELPER_SUFFIX, name);
	struct image *beside = image_named(helper);

	memset(p, 0, sizeof(*p));
	if (beside != NULL)
		(void)snprintf(p->helper_id, RBD_ID_SIZE, "%.60s", beside->id);
	(void)snprintf(p->id, RBD_ID_SIZE, "%.60s",
	    id != NULL          ? id
		: image != NULL ? image->id
				: "");
	if (image != NULL && image == named)
		p->standing = IMAGE_STANDS;
	else if (image != NULL && named == NULL && image->in_trash &&
	    str_eq(image->trash_name, name))
		p->standing = IMAGE_IN_TRASH;
	else if (image == NULL && named == NULL)
		p->standing = IMAGE_GONE;
	else
		p->standing = IMAGE_ELSEWHERE;
	if (p->standing == IMAGE_ELSEWHERE)
		(void)snprintf(p->why, sizeof(p->why), "id %s is image %s",
		    p->id, image != NULL ? image->name : "?");
}

void
image_place_start(struct image_place *p, struct ceph_pool *pool,
    const char *name, const char *id, struct wake *waiter)
{
	int rc;

	(void)pool;
	if (enter("place", &rc) && rc == 0)
		place(p, name, id);
	leave_child(&p->op, waiter, rc, "look for the image");
}

static void
put_note(const char *instance_id, const char *id, const char *name)
{
	auto_free char *key = str_fmt("csi.purge.%s/%s", instance_id, id);
	struct entry *e = find(RBD_TRASH, key);

	if (name != NULL)
		fake_put_key(RBD_TRASH, key, name);
	else if (e != NULL)
		memset(e, 0, sizeof(*e));
}

/* What goes on beside it has a wait of its own in a move that succeeds. */
static struct moving {
	struct trash_move *move;
	struct wake *waiter;
	struct wake wake;
} moving;

static void
on_beside(struct wake *wake, int rc)
{
	(void)wake;
	(void)rc;
	wake_up(moving.waiter, moving.move->op.err.rc);
}

void
trash_move_start(struct trash_move *m, struct ceph_pool *pool, const char *name,
    const char *id, struct trash_plan *plan, struct wake *waiter)
{
	static struct trash_plan none;
	struct image *image;
	int rc;

	if (plan == NULL)
		plan = &none;
	memset(m, 0, sizeof(*m));
	m->pool = pool;
	place(&m->place, name, id);
	image = image_with_id(m->place.id);
	if (!enter("move", &rc)) {
		leave_child(&m->op, waiter, rc, "move");
		return;
	}
	if (m->place.standing == IMAGE_ELSEWHERE) {
		(void)err_set(
		    &m->op.err, ERR_FAILED_PRECONDITION, "%s", m->place.why);
	} else if (image != NULL) {
		m->had_header = true;
		m->obstacle = (enum image_obstacle)image->obstacle;
		m->watched = image->watcher[0] != '\0';
		m->lookup.info.parent.pool = *image->parent != '\0'
		    ? the_pool.id
		    : -1;
		(void)snprintf(m->lookup.info.parent.id, RBD_ID_SIZE, "%.60s",
		    image->parent);
		if (m->obstacle != IMAGE_PLAIN)
			rc = -EOPNOTSUPP;
		else if (m->watched)
			rc = -EBUSY;
		m->noted = m->obstacle == IMAGE_PLAIN && !m->watched &&
		    plan->instance_id != NULL && *image->parent == '\0' &&
		    !image->in_trash;
		if (m->obstacle == IMAGE_PLAIN && !m->watched)
			to_trash(image);
		if (m->noted)
			put_note(
			    plan->instance_id, image->id, image->trash_name);
	}
	if (rc < 0 || plan->beside == NULL ||
	    m->place.standing != IMAGE_STANDS) {
		leave_child(&m->op, waiter, rc, "move");
		return;
	}
	if (sc.fault == FAKE_KILL_DONE && sc.calls == sc.n)
		_exit(FAKE_KILLED);
	moving = (struct moving){ m, waiter, { .fn = on_beside } };
	plan->beside(plan, &moving.wake);
}

/* What it finds is found again: a failure is the move's. */
void
trash_look_start(struct trash_move *m, struct ceph_pool *pool, const char *name,
    const char *id, struct wake *waiter)
{
	*m = (struct trash_move){
		.pool = pool, .name = name, .id = id, .looked = true
	};
	m->lookup.info.parent.pool = -1;
	wake_up(waiter, 0);
}

void
trash_move_looked_start(
    struct trash_move *m, struct trash_plan *plan, struct wake *waiter)
{
	trash_move_start(m, m->pool, m->name, m->id, plan, waiter);
}

void
trash_purge_start(struct trash_purge *p, struct wake *waiter)
{
	struct image *image = image_with_id(p->id);
	int rc;

	if (enter("purge", &rc) && image != NULL && image->in_trash) {
		p->obstacle = (enum image_obstacle)image->obstacle;
		if (p->obstacle != IMAGE_PLAIN)
			rc = -EOPNOTSUPP;
		else
			memset(image, 0, sizeof(*image));
		p->unnoted = p->obstacle == IMAGE_PLAIN && rc == 0;
		if (p->unnoted)
			put_note(p->instance_id, p->id, NULL);
		reap();
	}
	leave_child(&p->op, waiter, rc, "purge");
}

/* Images are whole or not there: what is left of one has its name. */
void
image_list_start(struct ceph_pool *pool, const char *name, const char *id,
    struct wake *waiter)
{
	int rc;

	(void)pool;
	(void)name;
	(void)id;
	(void)enter("list", &rc);
	leave(waiter, rc);
}

/* And so are clones: none is known to its parent before it is there. */
void
parent_detach_start(struct ceph_pool *parent_pool,
    const struct cls_parent *parent, struct ceph_pool *pool,
    const char *image_id, struct wake *waiter)
{
	int rc;

	(void)parent_pool;
	(void)parent;
	(void)pool;
	(void)image_id;
	(void)enter("detach", &rc);
	leave(waiter, rc);
}

void
trash_state_start(struct ceph_pool *pool, const char *id, enum trash_state from,
    enum trash_state to, struct wake *waiter)
{
	(void)from;
	(void)to;
	(void)pool;
	(void)id;
	leave(waiter, -EOPNOTSUPP);
}

void
snapshot_reap_start(
    struct ceph_pool *pool, const char *image_id, struct wake *waiter)
{
	int rc;

	(void)pool;
	(void)image_id;
	(void)enter("reap", &rc);
	leave(waiter, 0);
}

unsigned
snapshot_reaping(void)
{
	return 0;
}

void
snapshot_when_orphaned(void (*orphaned)(
    struct ceph_pool *pool, const char *image_id, const char *image))
{
	(void)orphaned;
}

/* ---- lanes ---- */

/* Each has the caps of an image that is called as its volume is. */
static void
list_users(struct secret *reply)
{
	auto_json json_t *list = json_array();
	auto_json json_t *dump = json_pack("{s:O}", "auth_dump", list);
	auto_free char *text = NULL;

	for (size_t i = 0; i < ENTRIES; i++) {
		const struct entry *e = &st->entry[i];
		auto_free char *caps = NULL, *name = NULL;
		const struct image *image;

		if (!str_eq(e->object, USERS) ||
		    !str_starts(e->key, "client.rbd-csi."))
			continue;
		name = str_fmt(
		    "csi-vol-%.36s", e->key + strlen("client.rbd-csi."));
		image = image_named(name);
		caps = str_fmt(
		    "allow r class-read pool=\"rbd\" namespace=\"\" object_prefix \"rbd_id.%s\", allow rwx pool=\"rbd\" namespace=\"\" object_prefix \"rbd_header.%s\"",
		    name, image != NULL ? image->id : "gone");
		(void)json_array_append_new(list,
		    json_pack("{s:s,s:{s:s}}", "entity", e->key, "caps", "osd",
			caps));
	}
	text = json_dumps(dump, 0);
	secret_set(reply, text, strlen(text));
}

/* The monitors: users are keys of one object, whose values stand for caps. */
static int
run_mon(struct lane_job *job)
{
	auto_json json_t *json = json_loads(job->command, 0, NULL);
	const char *what = json_get_string(json, "prefix");
	const char *user = json_get_string(json, "entity");
	json_t *caps = json_object_get(json, "caps");
	const struct entry *e = user != NULL ? find(USERS, user) : NULL;
	char text[TEXT];

	if (str_eq(what, "osd blocklist")) {
		put("blocklist", json_get_string(json, "addr"),
		    json_object_get(json, "range") != NULL ? "range"
							   : "client");
		return 0;
	}
	if (str_eq(what, "auth ls")) {
		list_users(&job->reply);
		return 0;
	}
	if (what == NULL || user == NULL)
		return -EINVAL;
	if (str_eq(what, "auth rm")) {
		if (e != NULL)
			memset(find(USERS, user), 0, sizeof(*e));
		return 0;
	}
	(void)snprintf(text, sizeof(text), "%016llx",
	    (unsigned long long)str_hash(
		STR_HASH_SEED, json_string_value(json_array_get(caps, 3))));
	if (str_eq(what, "auth caps") ? e == NULL
				      : e != NULL && !str_eq(e->value, text))
		return -EINVAL;
	put(USERS, user, text);
	(void)snprintf(text, sizeof(text), "[{\"key\":\"key of it\"}]");
	secret_set(&job->reply, text, strlen(text));
	return 0;
}

const char *
fake_user(const char *name)
{
	const struct entry *e = find(USERS, name);

	return e != NULL ? e->value : NULL;
}

const char *
fake_fenced(const char *address)
{
	const struct entry *e = find("blocklist", address);

	return e != NULL ? e->value : NULL;
}

/* One slice has all. */
static void
list_names(struct trash_list *list)
{
	if (list->slices == 0)
		return;
	list->name = mem_new(ENTRIES * sizeof(*list->name));
	for (size_t i = 0; i < ENTRIES; i++) {
		const struct entry *e = &st->entry[i];

		if (e->key[0] == '\0' && str_starts(e->object, list->prefix))
			list->name[list->n++] = str_dup(e->object);
	}
}

/* Without scrypt, which takes its time: "KEY VOLUME PASSPHRASE". */
static int
run_key(struct lane_job *job)
{
	const struct lane_key *of = job->of;
	auto_free char *tail = str_fmt(
	    " %s %s", of->volume_id, of->passphrase->text);
	auto_free char *text = NULL;

	if (job->kind == LANE_KEY_WRAP) {
		text = str_fmt("%s%s", of->key->text, tail);
		secret_set(&job->reply, text, strlen(text));
		return 0;
	}
	if (!str_ends(of->text, tail))
		return -EBUSY;
	secret_set(&job->reply, of->text, strlen(of->text) - strlen(tail));
	return 0;
}

static int
run_lane(struct lane_job *job)
{
	struct image *image = job->image_id != NULL
	    ? image_with_id(job->image_id)
	    : job->image != NULL ? image_named(job->image)
				 : NULL;

	switch (job->kind) {
	case LANE_LIST_WATCHERS:
		if (image == NULL)
			return -ENOENT;
		if (str_eq(image->watcher, "leaving"))
			image->watcher[0] = '\0';
		if (image->watcher[0] != '\0')
			(void)snprintf(job->watcher[job->nwatchers++],
			    RBD_ADDR_SIZE, "%.70s", image->watcher);
		return 0;
	case LANE_CREATE:
	case LANE_FIND_CHILD:
		return -EOPNOTSUPP;
	case LANE_TRASH_MOVE:
		if (image == NULL || image->in_trash)
			return -ENOENT;
		to_trash(image);
		return 0;
	case LANE_TRASH_REMOVE:
		if (image != NULL)
			memset(image, 0, sizeof(*image));
		return 0;
	case LANE_MON_COMMAND:
		return run_mon(job);
	case LANE_LIST_NAMES:
		list_names(job->list);
		return 0;
	case LANE_KEY_WRAP:
	case LANE_KEY_UNWRAP:
		return run_key(job);
	case LANE_LIST_OBJECTS:
	case LANE_SNAPSHOT_ADD:
	case LANE_SNAPSHOT_REMOVE:
	case LANE_RESIZE:
	case LANE_FLATTEN:
		break; /* of image jobs, and those are fakes themselves */
	}
	abort();
}

void
lane_job_start(struct lane_job *job, struct wake *waiter)
{
	static const char *const names[] = {
		[LANE_LIST_WATCHERS] = "lane-watchers",
		[LANE_CREATE] = "lane-create",
		[LANE_TRASH_MOVE] = "lane-move",
		[LANE_TRASH_REMOVE] = "lane-remove",
		[LANE_MON_COMMAND] = "mon",
		[LANE_LIST_NAMES] = "lane-names",
		[LANE_KEY_WRAP] = "lane-wrap",
		[LANE_KEY_UNWRAP] = "lane-unwrap",
	};
	int rc, done = 0;

	memset(&job->err, 0, sizeof(job->err));
	if (enter(names[job->kind], &rc))
		done = run_lane(job);
	rc = rc < 0 ? rc : done;
	if (rc < 0)
		(void)err_set_rc(&job->err, rc, "lane");
	leave(waiter, rc);
}
