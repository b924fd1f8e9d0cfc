/*
 * lane.c - the jobs of a lane: librbd's synchronous calls.
 */
#include "worker/lane.h"

#include "base/log.h"
#include "worker/requests.h"

#include <rbd/librbd.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WATCHERS_MAX 64
#define ID_SIZE 64

/* The answer while it is made. */
struct answer {
	const char *call; /* which call failed */
	char id[ID_SIZE];
	char *watcher[WATCHERS_MAX];
	size_t nwatchers;
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

static int
trash_remove(rados_ioctx_t io, const Worker__Job *job, struct answer *a)
{
	int rc;

	a->call = "remove the image from the trash";
	rc = rbd_trash_remove(io, job->image_id, true);
	return rc == -ENOENT ? 0 : rc;
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
	io = ceph_pool_ioctx(pool);
	switch ((int)job->kind) {
	case WORKER__JOB__KIND__LIST_WATCHERS:
		return list_watchers(io, job, ceph_connection_address(conn), a);
	case WORKER__JOB__KIND__CREATE:
		return create(io, job, a);
	case WORKER__JOB__KIND__TRASH_MOVE:
		a->call = "move the image to the trash";
		return rbd_trash_move(io, job->image, 0);
	case WORKER__JOB__KIND__TRASH_REMOVE:
		return trash_remove(io, job, a);
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
	done.rc = run(conn, job, &a, &err);
	(void)snprintf(text, sizeof(text), "%s/%s: %s", job->pool,
	    *job->image != '\0' ? job->image : job->image_id, a.call);
	done.text = text;
	done.image_id = a.id;
	done.watchers = a.watcher;
	done.n_watchers = a.nwatchers;
	frame.body_case = WORKER__FRAME__BODY_DONE;
	frame.done = &done;
	worker_send(channel, &frame);
	for (size_t i = 0; i < a.nwatchers; i++)
		free(a.watcher[i]);
}
