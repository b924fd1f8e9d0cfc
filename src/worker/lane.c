/*
 * lane.c - the jobs of a lane: librbd's synchronous calls.
 */
#include "worker/lane.h"

#include "base/log.h"
#include "ceph/rados.h"
#include "worker/requests.h"

#include <rbd/librbd.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WATCHERS_MAX 64
#define ID_SIZE 64
#define LIST_PAGE 512
#define LIST_MAX 100000 /* objects in one answer */

/* The answer while it is made. */
struct answer {
	const char *call; /* which call failed */
	char id[ID_SIZE];
	char *watcher[WATCHERS_MAX];
	size_t nwatchers;
	char *child;
	uint64_t pool_objects;
	uint64_t *object;
	size_t nobjects;
	bool more;
};

static int
open_image(rados_ioctx_t io, const Worker__Job *job, bool write,
    rbd_image_t *image, struct answer *a)
{
	a->call = "open the image";
	if (*job->image_id == '\0')
		return write ? rbd_open(io, job->image, image, NULL)
			     : rbd_open_read_only(io, job->image, image, NULL);
	return write ? rbd_open_by_id(io, job->image_id, image, NULL)
		     : rbd_open_by_id_read_only(io, job->image_id, image, NULL);
}

static int
list_watchers(
    rados_ioctx_t io, const Worker__Job *job, const char *own, struct answer *a)
{
	rbd_image_watcher_t list[WATCHERS_MAX];
	size_t n = countof(list);
	rbd_image_t image;
	int rc = open_image(io, job, false, &image, a);

	if (rc < 0)
		return rc;
	a->call = "list the watchers";
	rc = rbd_watchers_list(image, list, &n);
	if (rc == 0) {
		for (size_t i = 0; i < n; i++)
			if (!str_eq(list[i].addr, own))
				a->watcher[a->nwatchers++] = str_dup(
				    list[i].addr);
		rbd_watchers_list_cleanup(list, n);
	}
	(void)rbd_close(image);
	return rc;
}

static int
set_options(rbd_image_options_t options, const Worker__Job *job)
{
	int rc = rbd_image_options_set_uint64(
	    options, RBD_IMAGE_OPTION_FEATURES, job->features);

	if (rc == 0 && job->order != 0)
		rc = rbd_image_options_set_uint64(
		    options, RBD_IMAGE_OPTION_ORDER, job->order);
	if (rc == 0 && job->stripe_count != 0)
		rc = rbd_image_options_set_uint64(
		    options, RBD_IMAGE_OPTION_STRIPE_UNIT, job->stripe_unit);
	if (rc == 0 && job->stripe_count != 0)
		rc = rbd_image_options_set_uint64(
		    options, RBD_IMAGE_OPTION_STRIPE_COUNT, job->stripe_count);
	if (rc == 0 && *job->data_pool != '\0')
		rc = rbd_image_options_set_string(
		    options, RBD_IMAGE_OPTION_DATA_POOL, job->data_pool);
	return rc;
}

static int
create_image(rados_ioctx_t io, const Worker__Job *job, struct answer *a)
{
	rbd_image_options_t options;
	int rc;

	rbd_image_options_create(&options);
	a->call = "set the image's options";
	rc = set_options(options, job);
	if (rc == 0) {
		a->call = "create the image";
		rc = rbd_create4(io, job->image, job->size_bytes, options);
	}
	rbd_image_options_destroy(options);
	return rc;
}

/* Of the image just made, or made by an earlier try of the same job. */
static int
finish_image(rbd_image_t image, const Worker__Job *job, struct answer *a)
{
	uint64_t size = 0;
	int rc;

	a->call = "read the image";
	rc = rbd_get_size(image, &size);
	if (rc == 0)
		rc = rbd_get_id(image, a->id, sizeof(a->id));
	if (rc < 0)
		return rc;
	if (size != job->size_bytes) {
		a->call = "the image exists with another size";
		return -EEXIST;
	}
	a->call = "set the image's metadata";
	for (size_t i = 0; i < job->n_metadata && rc == 0; i++)
		rc = rbd_metadata_set(
		    image, job->metadata[i]->name, job->metadata[i]->value);
	return rc;
}

static int
create(rados_ioctx_t io, const Worker__Job *job, struct answer *a)
{
	rbd_image_t image;
	int rc = create_image(io, job, a);

	if (rc < 0 && rc != -EEXIST)
		return rc;
	rc = open_image(io, job, true, &image, a);
	if (rc < 0)
		return rc;
	rc = finish_image(image, job, a);
	(void)rbd_close(image);
	return rc;
}

/*
 * The trash of a pool that is full already when its first image goes there;
 * the entry adds nothing that counts. A failure shows in what comes next.
 */
static void
make_trash(rados_ioctx_t io)
{
	rados_write_op_t op = rados_create_write_op();

	rados_write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
	(void)rados_write_op_operate2(op, io, RBD_TRASH, NULL,
	    LIBRADOS_OPERATION_FULL_TRY | LIBRADOS_OPERATION_FULL_FORCE);
	rados_release_write_op(op);
}

/* By name, as librbd wants it, if that name has the id that is meant. */
static int
trash_move(rados_ioctx_t io, const Worker__Job *job, struct answer *a)
{
	char id[ID_SIZE] = "";
	rbd_image_t image;
	int rc;

	a->call = "open the image";
	rc = rbd_open_read_only(io, job->image, &image, NULL);
	if (rc < 0)
		return rc;
	rc = rbd_get_id(image, id, sizeof(id));
	(void)rbd_close(image);
	if (rc == 0 && !str_eq(id, job->image_id)) {
		a->call = "the name has another id";
		rc = -ESTALE;
	}
	if (rc < 0)
		return rc;
	make_trash(io);
	a->call = "move the image to the trash";
	return rbd_trash_move(io, job->image, 0);
}

/* Which may be in the trash; its first child, if it has one. */
static int
find_child(rados_ioctx_t io, const Worker__Job *job, struct answer *a)
{
	rbd_linked_image_spec_t *list = NULL;
	size_t n = 0;
	rbd_image_t image;
	int rc = open_image(io, job, false, &image, a);

	if (rc < 0)
		return rc;
	a->call = "list the image's children";
	rc = rbd_list_children3(image, NULL, &n);
	if (rc == -ERANGE && n > 0) {
		list = mem_new(n * sizeof(*list));
		rc = rbd_list_children3(image, list, &n);
		if (rc == 0 && n > 0) {
			a->child = str_fmt("%s%s%s/%s%s", list[0].pool_name,
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
trash_remove(rados_ioctx_t io, const Worker__Job *job, struct answer *a)
{
	int rc = rbd_trash_remove(io, job->image_id, true);

	if (rc < 0 && rc != -ENOENT)
		(void)find_child(io, job, a); /* why */
	a->call = "remove the image from the trash";
	return rc == -ENOENT ? 0 : rc;
}

/* What a snapshot is called, or was before it went to the trash. */
static bool
snapshot_is(rbd_image_t image, const rbd_snap_info_t *snap, const char *name,
    bool *user)
{
	rbd_snap_namespace_type_t type;
	char original[256] = "";

	*user = false;
	if (rbd_snap_get_namespace_type(image, snap->id, &type) < 0)
		return false;
	if (type == RBD_SNAP_NAMESPACE_TYPE_USER) {
		*user = true;
		return str_eq(snap->name, name);
	}
	return type == RBD_SNAP_NAMESPACE_TYPE_TRASH &&
	    rbd_snap_get_trash_namespace(
		image, snap->id, original, sizeof(original)) == 0 &&
	    str_eq(original, name);
}

/*
 * A helper that ceph-csi has made for the clone `job->image` has a snapshot of
 * that name, or is a clone without a snapshot when ceph-csi was killed. All
 * others, such as a copy that somebody has made under this name, are none.
 */
static int
free_helper(rbd_image_t image, const Worker__Job *job, struct answer *a)
{
	rbd_linked_image_spec_t parent;
	rbd_snap_spec_t at;
	rbd_snap_info_t snap[WATCHERS_MAX];
	int max = countof(snap), n, rc = 0;
	bool is = false, others = false, has = false, user;

	a->call = "list the helper's snapshots";
	n = rbd_snap_list(image, snap, &max);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		if (snapshot_is(image, &snap[i], job->image, &user)) {
			is = true;
			has = has || user;
		} else {
			others = others || user;
		}
	}
	rbd_snap_list_end(snap);
	if (!is && !others && rbd_get_parent(image, &parent, &at) == 0) {
		is = true;
		rbd_linked_image_spec_cleanup(&parent);
		rbd_snap_spec_cleanup(&at);
	}
	if (!is)
		return -ENOLINK;
	a->call = "remove the helper's snapshot";
	if (has)
		rc = rbd_snap_remove(image, job->image);
	return rc == -ENOENT ? 0 : rc;
}

static int
helper_free(rados_ioctx_t io, const Worker__Job *job, struct answer *a)
{
	rbd_image_t image;
	int rc;

	a->call = "open the helper";
	rc = rbd_open_by_id(io, job->image_id, &image, NULL);
	if (rc < 0)
		return rc;
	rc = free_helper(image, job, a);
	(void)rbd_close(image);
	return rc;
}

/* Takes the number of a data object with this prefix. */
static void
take_object(struct answer *a, const char *prefix, size_t len,
    const rados_object_list_item *item)
{
	char hex[17] = "", *end;

	if (item->oid_length != len + 17 ||
	    memcmp(item->oid, prefix, len) != 0 || item->oid[len] != '.')
		return;
	memcpy(hex, item->oid + len + 1, 16);
	a->object[a->nobjects] = strtoull(hex, &end, 16);
	if (*end == '\0')
		a->nobjects++;
}

static int
list_slice(rados_ioctx_t io, const Worker__Job *job, struct answer *a)
{
	rados_object_list_cursor begin = rados_object_list_begin(io);
	rados_object_list_cursor end = rados_object_list_end(io);
	rados_object_list_cursor from = rados_object_list_begin(io);
	rados_object_list_cursor to = rados_object_list_begin(io);
	rados_object_list_item item[LIST_PAGE];
	size_t len = strlen(job->prefix);
	int n = 0;

	a->object = mem_new((LIST_MAX + LIST_PAGE) * sizeof(*a->object));
	rados_object_list_slice(
	    io, begin, end, job->slice, job->slices, &from, &to);
	while (rados_object_list_cursor_cmp(io, from, to) < 0) {
		a->more = a->nobjects >= LIST_MAX;
		if (a->more)
			break;
		n = rados_object_list(
		    io, from, to, LIST_PAGE, NULL, 0, item, &from);
		if (n < 0)
			break;
		for (int i = 0; i < n; i++)
			take_object(a, job->prefix, len, &item[i]);
		rados_object_list_free((size_t)n, item);
	}
	rados_object_list_cursor_free(io, begin);
	rados_object_list_cursor_free(io, end);
	rados_object_list_cursor_free(io, from);
	rados_object_list_cursor_free(io, to);
	return n < 0 ? n : 0;
}

static int
list_objects(rados_ioctx_t io, const Worker__Job *job, struct answer *a)
{
	struct rados_pool_stat_t stat;
	int rc;

	a->call = "list the pool's objects";
	if (job->slices > 0)
		return list_slice(io, job, a);
	rc = rados_ioctx_pool_stat(io, &stat);
	a->pool_objects = stat.num_objects;
	return rc;
}

static int
run(struct ceph_connection *conn, const Worker__Job *job, struct answer *a,
    struct err *err)
{
	struct ceph_pool *pool;
	rados_ioctx_t io;
	int rc = ceph_pool_open(
	    conn, job->pool, job->rados_namespace, &pool, err);

	if (rc < 0) {
		a->call = err->text;
		return rc;
	}
	io = pool->io;
	/* No lane writes users' data: none waits for room. */
	rados_set_pool_full_try(io);
	switch ((int)job->kind) {
	case WORKER__JOB__KIND__LIST_WATCHERS:
		return list_watchers(io, job, conn->address, a);
	case WORKER__JOB__KIND__CREATE:
		return create(io, job, a);
	case WORKER__JOB__KIND__TRASH_MOVE:
		return trash_move(io, job, a);
	case WORKER__JOB__KIND__TRASH_REMOVE:
		return trash_remove(io, job, a);
	case WORKER__JOB__KIND__HELPER_FREE:
		return helper_free(io, job, a);
	case WORKER__JOB__KIND__LIST_OBJECTS:
		return list_objects(io, job, a);
	case WORKER__JOB__KIND__FIND_CHILD:
		return find_child(io, job, a);
	default:
		a->call = "no such job";
		return -EOPNOTSUPP;
	}
}

void
lane_run(struct channel *channel, struct ceph_connection *conn,
    const Worker__Job *job)
{
	Worker__Frame frame = WORKER__FRAME__INIT;
	Worker__Done done = WORKER__DONE__INIT;
	struct answer a = { .call = "" };
	struct err err = ERR_INIT;
	char text[1024];

	done.id = job->id;
	done.rc = rados_answer(run(conn, job, &a, &err));
	(void)snprintf(text, sizeof(text), "%s/%s: %s", job->pool,
	    *job->image != '\0' ? job->image : job->image_id, a.call);
	done.text = text;
	done.image_id = a.id;
	done.watchers = a.watcher;
	done.n_watchers = a.nwatchers;
	if (a.child != NULL)
		done.child = a.child;
	done.pool_objects = a.pool_objects;
	done.objects = a.object;
	done.n_objects = a.nobjects;
	done.more = a.more;
	frame.body_case = WORKER__FRAME__BODY_DONE;
	frame.done = &done;
	worker_send(channel, &frame);
	for (size_t i = 0; i < a.nwatchers; i++)
		free(a.watcher[i]);
	free(a.child);
	free(a.object);
}
