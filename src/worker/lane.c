/*
 * lane.c - the jobs of a lane: librbd's synchronous calls.
 */
#include "worker/worker.h"

#include "base/log.h"
#include "base/secret.h"
#include "ceph/rados.h"
#include "controller/dek.h"
#include "controller/lane.h"

#include <rbd/librbd.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WATCHERS_MAX 64
#define ID_SIZE 64
#define META_ROOM ((size_t)1 << 20) /* keys, and values, of one image */
#define LIST_PAGE 512
#define LIST_MAX 100000 /* objects in one answer */

/* One job while it is done; what is allocated in `done` is freed with it. */
struct lane_work {
	struct ceph_connection *conn;
	rados_ioctx_t io;
	const Worker__Job *job;
	const char *call; /* that fails, if one does */
	char said[160];   /* by the monitors */
	struct err err;   /* of what says more than a number */
	Worker__Done *done;
};

static int
open_image(struct lane_work *w, bool write, rbd_image_t *image)
{
	const char *name = w->job->image, *id = w->job->image_id;

	w->call = "open the image";
	if (*id == '\0')
		return write ? rbd_open(w->io, name, image, NULL)
			     : rbd_open_read_only(w->io, name, image, NULL);
	return write ? rbd_open_by_id(w->io, id, image, NULL)
		     : rbd_open_by_id_read_only(w->io, id, image, NULL);
}

static int
list_watchers(struct lane_work *w)
{
	rbd_image_watcher_t list[WATCHERS_MAX];
	size_t n = countof(list);
	rbd_image_t image;
	int rc = open_image(w, false, &image);

	if (rc < 0)
		return rc;
	w->call = "list the watchers";
	rc = rbd_watchers_list(image, list, &n);
	if (rc == 0) {
		w->done->watchers = mem_new((n + 1) * sizeof(char *));
		for (size_t i = 0; i < n; i++)
			if (!str_eq(list[i].addr, w->conn->address))
				w->done->watchers[w->done->n_watchers++] =
				    str_dup(list[i].addr);
		rbd_watchers_list_cleanup(list, n);
	}
	(void)rbd_close(image);
	return rc;
}

/* librbd gives a clone all metadata of its parent: they are not its own. */
static int
drop_foreign_metadata(struct lane_work *w, rbd_image_t image)
{
	const Worker__Job *job = w->job;
	size_t room = META_ROOM, values_room = META_ROOM, at, i;
	auto_free char *keys = mem_new(room), *values = mem_new(values_room);
	int rc;

	w->call = "list the clone's metadata";
	rc = rbd_metadata_list(image, "", 0, keys, &room, values, &values_room);
	for (at = 0; rc == 0 && at < room; at += strlen(keys + at) + 1) {
		for (i = 0; i < job->n_metadata &&
		     !str_eq(job->metadata[i]->name, keys + at);
		     i++)
			;
		w->call = "remove the parent's metadata";
		if (i == job->n_metadata)
			rc = rbd_metadata_remove(image, keys + at);
	}
	return rc;
}

/* Of the image just made, or made by an earlier try of the same job. */
static int
finish_image(struct lane_work *w, rbd_image_t image)
{
	const Worker__Job *job = w->job;
	uint64_t size = 0;
	int rc;

	w->call = "read the image";
	rc = rbd_get_size(image, &size);
	if (rc == 0 && *job->parent_id != '\0') {
		/* A clone is as large as its snapshot at first. */
		rc = drop_foreign_metadata(w, image);
		if (rc == 0)
			w->call = "grow the clone";
		if (rc == 0 && size < job->size_bytes)
			rc = rbd_resize2(
			    image, job->size_bytes, false, NULL, NULL);
		if (rc == 0)
			rc = rbd_get_size(image, &size);
	}
	w->done->image_id = mem_new(ID_SIZE);
	if (rc == 0)
		rc = rbd_get_id(image, w->done->image_id, ID_SIZE);
	if (rc < 0)
		return rc;
	if (size != job->size_bytes) {
		w->call = "the image exists with another size";
		return -EEXIST;
	}
	w->call = "set the image's metadata";
	for (size_t i = 0; i < job->n_metadata && rc == 0; i++) {
		const Worker__Setting *meta = job->metadata[i];
		size_t none = 0;

		/* A clone has its parent's. */
		if (meta->once && *job->parent_id == '\0' &&
		    rbd_metadata_get(image, meta->name, NULL, &none) != -ENOENT)
			continue;
		rc = rbd_metadata_set(image, meta->name, meta->value);
	}
	return rc;
}

/* The parent by its name, as librbd wants it. */
static int
clone_image(struct lane_work *w, rbd_image_options_t options)
{
	const Worker__Job *job = w->job;
	struct ceph_pool *pool;
	struct err err = ERR_INIT;
	char name[RBD_NAME_SIZE], snapshot[RBD_NAME_SIZE];
	size_t room = sizeof(name), snapshot_room = sizeof(snapshot);
	rbd_image_t parent = NULL;
	int rc = ceph_pool_open_id(
	    w->conn, job->parent_pool, job->parent_namespace, &pool, &err);

	w->call = "open the parent";
	if (rc == 0)
		rc = rbd_open_by_id_read_only(
		    pool->io, job->parent_id, &parent, NULL);
	if (rc < 0)
		return rc;
	rc = rbd_get_name(parent, name, &room);
	if (rc == 0)
		rc = rbd_snap_get_name(
		    parent, job->parent_snap, snapshot, &snapshot_room);
	(void)rbd_close(parent);
	w->call = "clone the image";
	return rc < 0
	    ? rc
	    : rbd_clone3(pool->io, name, snapshot, w->io, job->image, options);
}

static int
create(struct lane_work *w)
{
	const Worker__Job *job = w->job;
	const struct {
		uint64_t value;
		int option;
		bool set;
	} numbers[] = {
		{ job->features, RBD_IMAGE_OPTION_FEATURES, true },
		{ job->order, RBD_IMAGE_OPTION_ORDER, job->order != 0 },
		{ job->stripe_unit, RBD_IMAGE_OPTION_STRIPE_UNIT,
		    job->stripe_count != 0 },
		{ job->stripe_count, RBD_IMAGE_OPTION_STRIPE_COUNT,
		    job->stripe_count != 0 },
		{ 2, RBD_IMAGE_OPTION_CLONE_FORMAT, *job->parent_id != '\0' },
	};
	rbd_image_options_t options;
	rbd_image_t image;
	int rc = 0;

	/* librbd takes its name, of which this process may know an old pool. */
	w->call = "look up the data pool";
	if (*job->data_pool != '\0' &&
	    rados_pool_lookup(w->conn->cluster, job->data_pool) !=
		job->data_pool_id)
		rc = rados_wait_for_latest_osdmap(w->conn->cluster);
	if (rc < 0)
		return rc;
	rbd_image_options_create(&options);
	w->call = "set the image's options";
	for (size_t i = 0; i < countof(numbers) && rc == 0; i++)
		if (numbers[i].set)
			rc = rbd_image_options_set_uint64(
			    options, numbers[i].option, numbers[i].value);
	if (rc == 0 && *job->data_pool != '\0')
		rc = rbd_image_options_set_string(
		    options, RBD_IMAGE_OPTION_DATA_POOL, job->data_pool);
	if (rc == 0 && *job->parent_id != '\0') {
		rc = clone_image(w, options);
	} else if (rc == 0) {
		w->call = "create the image";
		rc = rbd_create4(w->io, job->image, job->size_bytes, options);
	}
	rbd_image_options_destroy(options);
	if (rc < 0 && rc != -EEXIST)
		return rc;
	rc = open_image(w, true, &image);
	if (rc < 0)
		return rc;
	rc = finish_image(w, image);
	(void)rbd_close(image);
	return rc;
}

/* By name, as librbd wants it, if that name has the id that is meant. */
static int
trash_move(struct lane_work *w)
{
	const char *name = w->job->image;
	char id[ID_SIZE] = "";
	rados_write_op_t op;
	rbd_image_t image;
	int rc;

	w->call = "open the image";
	rc = rbd_open_read_only(w->io, name, &image, NULL);
	if (rc < 0)
		return rc;
	rc = rbd_get_id(image, id, sizeof(id));
	(void)rbd_close(image);
	if (rc == 0 && !str_eq(id, w->job->image_id)) {
		w->call = "the name has another id";
		rc = -ESTALE;
	}
	if (rc < 0)
		return rc;
	/*
	 * The trash of a pool that is full already when its first image goes
	 * there; the entry adds nothing that counts. A failure shows in what
	 * comes next.
	 */
	op = rados_create_write_op();
	rados_write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
	(void)rados_write_op_operate2(op, w->io, RBD_TRASH, NULL,
	    LIBRADOS_OPERATION_FULL_TRY | LIBRADOS_OPERATION_FULL_FORCE);
	rados_release_write_op(op);
	w->call = "move the image to the trash";
	return rbd_trash_move(w->io, name, w->job->keep_s);
}

/* Which may be in the trash; its first child, if it has one. */
static int
find_child(struct lane_work *w)
{
	rbd_linked_image_spec_t *list = NULL;
	size_t n = 0;
	rbd_image_t image;
	int rc = open_image(w, false, &image);

	if (rc < 0)
		return rc;
	w->call = "list the image's children";
	rc = rbd_list_children3(image, NULL, &n);
	if (rc == -ERANGE && n > 0) {
		list = mem_new(n * sizeof(*list));
		rc = rbd_list_children3(image, list, &n);
		if (rc == 0 && n > 0) {
			w->done->child = str_fmt("%s%s%s/%s%s",
			    list[0].pool_name,
			    *list[0].pool_namespace != '\0' ? "/" : "",
			    list[0].pool_namespace, list[0].image_name,
			    list[0].trash ? " (in the trash)" : "");
			rbd_linked_image_spec_list_cleanup(list, n);
		}
		free(list);
	}
	(void)rbd_close(image);
	return rc;
}

static int
trash_remove(struct lane_work *w)
{
	int rc = rbd_trash_remove(w->io, w->job->image_id, true);

	if (rc < 0 && rc != -ENOENT)
		(void)find_child(w); /* why */
	w->call = "remove the image from the trash";
	return rc == -ENOENT ? 0 : rc;
}

/* Takes the number of a data object with this prefix. */
static void
take_object(Worker__Done *done, const char *prefix, size_t len,
    const rados_object_list_item *item)
{
	char hex[17] = "", *end;

	if (item->oid_length != len + 17 ||
	    memcmp(item->oid, prefix, len) != 0 || item->oid[len] != '.')
		return;
	memcpy(hex, item->oid + len + 1, 16);
	done->objects[done->n_objects] = strtoull(hex, &end, 16);
	if (*end == '\0')
		done->n_objects++;
}

static void
take_name(Worker__Done *done, const char *prefix, size_t len,
    const rados_object_list_item *item)
{
	if (item->oid_length >= len && memcmp(item->oid, prefix, len) == 0)
		done->names[done->n_names++] = str_fmt(
		    "%.*s", (int)item->oid_length, item->oid);
}

/* `take` has room for LIST_MAX and a page. */
static int
list_slice(rados_ioctx_t io, const Worker__Job *job, Worker__Done *done,
    void (*take)(Worker__Done *done, const char *prefix, size_t len,
	const rados_object_list_item *item))
{
	rados_object_list_cursor begin = rados_object_list_begin(io);
	rados_object_list_cursor end = rados_object_list_end(io);
	rados_object_list_cursor from = rados_object_list_begin(io);
	rados_object_list_cursor to = rados_object_list_begin(io);
	rados_object_list_item item[LIST_PAGE];
	size_t len = strlen(job->prefix);
	int n = 0;

	rados_object_list_slice(
	    io, begin, end, job->slice, job->slices, &from, &to);
	while (rados_object_list_cursor_cmp(io, from, to) < 0) {
		done->more = done->n_objects + done->n_names >= LIST_MAX;
		if (done->more)
			break;
		n = rados_object_list(
		    io, from, to, LIST_PAGE, NULL, 0, item, &from);
		if (n < 0)
			break;
		for (int i = 0; i < n; i++)
			take(done, job->prefix, len, &item[i]);
		rados_object_list_free((size_t)n, item);
	}
	rados_object_list_cursor_free(io, begin);
	rados_object_list_cursor_free(io, end);
	rados_object_list_cursor_free(io, from);
	rados_object_list_cursor_free(io, to);
	return n < 0 ? n : 0;
}

static int
list_objects(struct lane_work *w)
{
	struct rados_pool_stat_t stat;
	int rc;

	w->call = "list the pool's objects";
	if (w->job->slices > 0) {
		w->done->objects = mem_new(
		    (LIST_MAX + LIST_PAGE) * sizeof(*w->done->objects));
		return list_slice(w->io, w->job, w->done, take_object);
	}
	rc = rados_ioctx_pool_stat(w->io, &stat);
	w->done->pool_objects = stat.num_objects;
	return rc;
}

static int
list_names(struct lane_work *w)
{
	if (w->job->slices == 0)
		return list_objects(w);
	w->call = "list the pool's objects";
	w->done->names = mem_new(
	    (LIST_MAX + LIST_PAGE) * sizeof(*w->done->names));
	return list_slice(w->io, w->job, w->done, take_name);
}

static int
snapshot_add(struct lane_work *w)
{
	const char *name = w->job->snapshot;
	rbd_image_t image;
	int rc = open_image(w, true, &image);

	if (rc < 0)
		return rc;
	w->call = "make the snapshot";
	rc = rbd_snap_create(image, name);
	if (rc == 0 || rc == -EEXIST) {
		w->call = "find the snapshot";
		rc = rbd_snap_get_id(image, name, &w->done->snap);
	}
	(void)rbd_close(image);
	return rc;
}

static int
snapshot_remove(struct lane_work *w)
{
	rbd_image_t image;
	int rc = open_image(w, true, &image);

	if (rc == 0) {
		w->call = "remove the snapshot";
		rc = rbd_snap_remove(image, w->job->snapshot);
		(void)rbd_close(image);
	}
	return rc == -ENOENT ? 0 : rc;
}

static int
resize(struct lane_work *w)
{
	uint64_t size = w->job->size_bytes, *now = &w->done->size_bytes;
	rbd_image_t image;
	int rc = open_image(w, true, &image);

	if (rc < 0)
		return rc;
	w->call = "read the image's size";
	rc = rbd_get_size(image, now);
	if (rc == 0 && *now < size) {
		w->call = "resize the image";
		rc = rbd_resize2(image, size, false, NULL, NULL);
		*now = size;
	}
	(void)rbd_close(image);
	return rc;
}

static int
flatten(struct lane_work *w)
{
	rbd_image_t image;
	rbd_linked_image_spec_t parent;
	rbd_snap_spec_t snap;
	int rc = open_image(w, true, &image);

	if (rc < 0)
		return rc;
	w->call = "flatten the image";
	rc = rbd_get_parent(image, &parent, &snap);
	if (rc == 0) {
		rbd_linked_image_spec_cleanup(&parent);
		rbd_snap_spec_cleanup(&snap);
		rc = rbd_flatten(image);
	}
	(void)rbd_close(image);
	return rc == -ENOENT ? 0 : rc;
}

/* The monitors' own words are in the error: what they say has no key in it. */
static int
mon_command(struct lane_work *w)
{
	const char *command = w->job->command;
	char *out = NULL, *text = NULL;
	size_t out_len = 0, text_len = 0;
	int rc = rados_mon_command(w->conn->cluster, &command, 1, NULL, 0, &out,
	    &out_len, &text, &text_len);

	(void)snprintf(w->said, sizeof(w->said), "%.*s", (int)text_len, text);
	w->call = w->said;
	if (rc == 0 && out_len > 0) {
		w->done->reply.data = mem_new(out_len + 1);
		memcpy(w->done->reply.data, out, out_len);
		w->done->reply.len = out_len;
		secret_wipe(out, out_len);
	}
	rados_buffer_free(out);
	rados_buffer_free(text);
	return rc;
}

static int
key_wrap(struct lane_work *w)
{
	const Worker__Job *job = w->job;
	struct secret passphrase = SECRET_INIT, key = SECRET_INIT;
	char *text;

	secret_set(&passphrase, (const char *)job->passphrase.data,
	    job->passphrase.len);
	secret_set(&key, (const char *)job->secret.data, job->secret.len);
	text = dek_wrap(&passphrase, job->volume_id, &key, &w->err);
	secret_fini(&passphrase);
	secret_fini(&key);
	if (text == NULL)
		return w->err.rc;
	w->done->reply.data = (uint8_t *)text;
	w->done->reply.len = strlen(text);
	return 0;
}

static int
key_unwrap(struct lane_work *w)
{
	const Worker__Job *job = w->job;
	struct secret passphrase = SECRET_INIT, key = SECRET_INIT;
	int rc;

	secret_set(&passphrase, (const char *)job->passphrase.data,
	    job->passphrase.len);
	rc = dek_unwrap(
	    &passphrase, job->volume_id, job->wrapped, &key, &w->err);
	secret_fini(&passphrase);
	if (rc < 0)
		return rc;
	w->done->reply.data = mem_new(key.len + 1);
	memcpy(w->done->reply.data, key.text, key.len);
	w->done->reply.len = key.len;
	secret_fini(&key);
	return 0;
}

/* What a request waits for ends after a minute; a purge may take days. */
const struct lane_job_kind lane_job_kinds[] = {
	[LANE_LIST_WATCHERS] = { .run = list_watchers,
	    .bound_ms = LANE_JOB_MS },
	[LANE_CREATE] = { .run = create,
	    .bound_ms = LANE_JOB_MS,
	    .needs_name = true,
	    .needs_spec = true },
	[LANE_TRASH_MOVE] = { .run = trash_move,
	    .bound_ms = LANE_JOB_MS,
	    .needs_name = true,
	    .needs_id = true },
	[LANE_TRASH_REMOVE] = { .run = trash_remove, .needs_id = true },
	[LANE_LIST_OBJECTS] = { .run = list_objects, .needs_list = true },
	[LANE_FIND_CHILD] = { .run = find_child,
	    .bound_ms = LANE_JOB_MS,
	    .needs_id = true },
	[LANE_SNAPSHOT_ADD] = { .run = snapshot_add,
	    .bound_ms = LANE_JOB_MS,
	    .needs_id = true,
	    .needs_snapshot = true },
	[LANE_SNAPSHOT_REMOVE] = { .run = snapshot_remove,
	    .bound_ms = LANE_JOB_MS,
	    .needs_id = true,
	    .needs_snapshot = true },
	[LANE_RESIZE] = { .run = resize,
	    .bound_ms = LANE_JOB_MS,
	    .needs_id = true },
	[LANE_FLATTEN] = { .run = flatten, .needs_id = true },
	[LANE_MON_COMMAND] = { .run = mon_command,
	    .bound_ms = LANE_JOB_MS,
	    .needs_command = true },
	[LANE_LIST_NAMES] = { .run = list_names,
	    .bound_ms = LANE_JOB_MS,
	    .needs_list = true },
	[LANE_KEY_WRAP] = { .run = key_wrap,
	    .bound_ms = LANE_JOB_MS,
	    .needs_key = true },
	[LANE_KEY_UNWRAP] = { .run = key_unwrap,
	    .bound_ms = LANE_JOB_MS,
	    .needs_key = true },
};
const size_t lane_job_kinds_count = countof(lane_job_kinds);

void
lane_run(const struct peer_from *from, struct ceph_connection *conn,
    unsigned kind, const Worker__Job *job)
{
	struct lane_work w = {
		.job = job, .conn = conn, .done = mem_new(sizeof(*w.done))
	};
	struct err why = ERR_INIT, err = ERR_INIT;
	struct ceph_pool *pool = NULL;
	bool known = kind < lane_job_kinds_count &&
	    lane_job_kinds[kind].run != NULL;
	bool of_pool = known && !lane_job_kinds[kind].needs_command &&
	    !lane_job_kinds[kind].needs_key;
	int rc = of_pool ? ceph_pool_open_id(conn, job->pool_id,
			       job->rados_namespace, &pool, &why)
			 : 0;

	worker__done__init(w.done);
	if (rc < 0) {
		w.call = why.text;
	} else if (!known) {
		w.call = "no such job";
		rc = -EOPNOTSUPP;
	} else {
		w.io = of_pool ? pool->io : NULL;
		/* No lane writes users' data: none waits for room. */
		if (of_pool)
			rados_set_pool_full_try(w.io);
		rc = lane_job_kinds[kind].run(&w);
	}
	rc = rados_answer(rc);
	if (rc < 0 && err_is_set(&w.err))
		err = w.err;
	else if (rc < 0 && !of_pool)
		(void)err_set_rc(&err, rc, "monitors: %s", w.call);
	else if (rc < 0)
		(void)err_set_rc(&err, rc, "librbd: %s/%s: %s", job->pool,
		    *job->image != '\0' ? job->image : job->image_id, w.call);
	peer_reply(from, &err, &w.done->base);
	if (w.done->reply.len > 0)
		secret_wipe(w.done->reply.data, w.done->reply.len);
	worker__done__free_unpacked(w.done, NULL);
}
