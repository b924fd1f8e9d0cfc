/*
 * readers.c - the way down from an image, as far as the first one in use.
 */
#include "ceph/readers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void
add(struct readers_find *f, struct ceph_pool *pool, const char *id)
{
	struct readers_image *image;

	f->left = mem_grow(f->left, (f->nleft + 1) * sizeof(*f->left));
	image = &f->left[f->nleft++];
	image->pool = pool;
	if (str_put(image->id, sizeof(image->id), "%s", id) < 0)
		image->id[0] = '\0';
}

static int
records_take(const struct readers_find *f, bool *in_use)
{
	auto_free char *prefix = str_fmt("%s%s/", f->record, f->at.id);
	struct dec_bytes key, value;
	uint32_t count = 0;
	struct dec d;
	int rc = rados_read_result(f->read, 0, &d);

	if (rc == 0)
		rc = cls_parse_meta_page(&d, &count);
	if (rc < 0 || count == 0)
		return rc;
	rc = cls_parse_meta_next(&d, &key, &value);
	*in_use = rc == 0 && key.len >= strlen(prefix) &&
	    memcmp(key.at, prefix, strlen(prefix)) == 0;
	return rc;
}

/* Asks the next snapshots that have clones; false: there are no more. */
static bool
clones_ask(struct readers_find *f)
{
	char object[RBD_OBJECT_SIZE];

	f->answers = 0;
	for (; f->asked < f->snaps.n && f->answers < RADOS_READ_STEPS;
	     f->asked++) {
		const struct cls_snapshot *snap = &f->snaps.snap[f->asked];

		if (snap->children == 0)
			continue;
		if (f->answers++ == 0)
			f->read = rados_read_new();
		(void)rados_read_call(
		    f->read, cls_call_u64("children_list", snap->id));
		rados_read_may_fail(f->read); /* they have gone meanwhile */
	}
	if (f->answers == 0)
		return false;
	image_object(object, RBD_HEADER_PREFIX, f->at.id);
	rados_read_start(f->read, f->at.pool, object, &f->op.wake);
	return true;
}

static int
clones_take(struct readers_find *f, struct err *err)
{
	struct err why = ERR_INIT;
	struct cls_child_id clone;
	struct ceph_pool *pool;
	uint32_t count = 0;
	struct dec d;
	int rc;

	for (unsigned i = 0; i < f->answers; i++) {
		rc = rados_read_result(f->read, i, &d);
		if (rc == -ENOENT)
			continue;
		if (rc == 0)
			rc = cls_parse_children(&d, &count);
		for (uint32_t j = 0; rc == 0 && j < count; j++) {
			rc = cls_parse_child(&d, &clone);
			if (rc < 0)
				break;
			rc = ceph_pool_open_id(f->pool->conn, clone.pool,
			    clone.rados_namespace, &pool, &why);
			if (rc == 0)
				add(f, pool, clone.id);
			else if (rc == -ENOENT) /* with all that was in it */
				rc = 0;
			else
				*err = why;
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

static enum op_verdict
readers_find_step(struct op *op)
{
	struct readers_find *f = (struct readers_find *)op;
	char name[RBD_NAME_SIZE], object[RBD_OBJECT_SIZE];
	auto_free char *after = NULL;
	enum watch_verdict verdict;
	struct err err = ERR_INIT;
	bool in_use = false;
	int rc = op->rc;

	switch (f->state) {
	case READERS_START:
		if (f->left == NULL)
			add(f, f->pool, f->image_id);
		if (f->nleft == 0)
			return op_goto(f, READERS_END);
		f->at = f->left[--f->nleft];
		watch_header_update_start(
		    f->at.pool, f->at.id, &f->notified, &op->wake);
		return op_await(f, READERS_NOTIFIED);

	case READERS_NOTIFIED:
		rc = watch_judge(rc, &f->notified, &verdict);
		if (rc == -ENOENT)
			return op_goto(f, READERS_START);
		if (rc < 0)
			return image_fail_rc(f, READERS_END, rc, f->at.id,
			    "ask who has it open");
		if (verdict != WATCH_NONE)
			return op_goto(f, READERS_FOUND);
		/* The first key behind what its records begin with. */
		after = str_fmt("%s%s/", f->record, f->at.id);
		image_object(object, RBD_HEADER_PREFIX, f->at.id);
		f->read = rados_ask_start(
		    f->at.pool, object, cls_metadata_list(after, 1), &op->wake);
		return op_await(f, READERS_RECORDS_READ);

	case READERS_RECORDS_READ:
		if (rc == 0)
			rc = records_take(f, &in_use);
		rados_read_drop(&f->read);
		if (rc < 0 && rc != -ENOENT)
			return image_fail_rc(
			    f, READERS_END, rc, f->at.id, "read who has it");
		if (in_use)
			return op_goto(f, READERS_FOUND);
		snapshot_list_fini(&f->snaps);
		snapshot_list_start(&f->snaps, f->at.pool, f->at.id, &op->wake);
		return op_await(f, READERS_LISTED);

	case READERS_LISTED:
		if (rc == -ENOENT)
			return op_goto(f, READERS_START);
		if (rc < 0)
			return op_fail_as(f, READERS_END, snaps.op);
		f->asked = 0;
		return op_goto(f, READERS_CLONES_ASK);

	case READERS_CLONES_ASK:
		return clones_ask(f) ? op_await(f, READERS_CLONES_READ)
				     : op_goto(f, READERS_START);

	case READERS_CLONES_READ:
		if (rc == 0)
			rc = clones_take(f, &err);
		rados_read_drop(&f->read);
		if (err_is_set(&err))
			return op_fail_err(f, READERS_END, &err);
		if (rc < 0 && rc != -ENOENT)
			return image_fail_rc(
			    f, READERS_END, rc, f->at.id, "list its clones");
		return op_goto(f, READERS_CLONES_ASK);

	case READERS_FOUND: /* what it is called is for people */
		rados_read_drop(&f->read);
		f->read = rados_ask_start(f->at.pool, RBD_DIRECTORY,
		    cls_call_str("dir_get_name", f->at.id), &op->wake);
		return op_await(f, READERS_NAMED);

	case READERS_NAMED:
		if (rc == 0)
			rc = rados_read_str(f->read, 0, name, sizeof(name));
		if (rc < 0) /* in the trash, or not to be read */
			(void)snprintf(name, sizeof(name), "(id %s)", f->at.id);
		(void)snprintf(f->reader, sizeof(f->reader), "%s/%s",
		    ceph_pool_name(f->at.pool), name);
		return op_goto(f, READERS_END);

	case READERS_END:
		rados_read_drop(&f->read);
		snapshot_list_fini(&f->snaps);
		free(take_ptr(&f->left));
		return OP_DONE;
	}
	abort();
}

static const struct op_class readers_find_class = {
	.name = "readers.find",
	.step = readers_find_step,
};

void
readers_find_start(struct readers_find *find, struct wake *waiter)
{
	op_start(&find->op, &readers_find_class, waiter);
}
