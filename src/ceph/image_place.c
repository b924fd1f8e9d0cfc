/*
 * image_place.c - whether a name and an id still belong to one image.
 *
 * The rule that holds it together: the directory knows both directions and is
 * asked for both in one operation. If it does not say that the two belong
 * together, then rbd_id.NAME, the trash and the header are asked, in this
 * order: an image is gone only when none of them knows of it.
 */
#include "ceph/image.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Steps of the read of the directory. */
enum dir_step {
	DIR_ID_OF_NAME = 0,
	DIR_ID_OF_HELPER,
	DIR_NAME_OF_ID, /* only if the id is known */
};

static void
read_directory_start(struct image_place *p)
{
	char helper[RBD_NAME_SIZE + sizeof(IMAGE_HELPER_SUFFIX)];

	(void)snprintf(
	    helper, sizeof(helper), "%s" IMAGE_HELPER_SUFFIX, p->name);
	p->read = rados_read_new();
	(void)rados_read_call(p->read, cls_dir_get_id(p->name));
	rados_read_may_fail(p->read);
	(void)rados_read_call(p->read, cls_dir_get_id(helper));
	rados_read_may_fail(p->read);
	if (p->id[0] != '\0') {
		(void)rados_read_call(p->read, cls_dir_get_name(p->id));
		rados_read_may_fail(p->read);
	}
	rados_read_start(p->read, p->pool, RBD_DIRECTORY, &p->op.wake);
}

/* The string that a step has read; "" if there is no such thing. */
static int
take_str(struct image_place *p, unsigned step, char *buf, size_t size)
{
	struct dec d;
	int rc = p->op.rc < 0 ? p->op.rc : rados_read_result(p->read, step, &d);

	buf[0] = '\0';
	if (rc == 0)
		rc = cls_parse_str(d, buf, size);
	return rc == -ENOENT ? 0 : rc;
}

static void
drop_read(struct image_place *p)
{
	rados_read_free(p->read);
	p->read = NULL;
}

static enum op_verdict
failed(struct image_place *p, int rc, const char *what)
{
	drop_read(p);
	return op_fail_rc(p, PLACE_END, rc, "image %s in %s: %s", p->name,
	    ceph_pool_label(p->pool), what);
}

static enum op_verdict
stands(struct image_place *p, enum image_standing standing)
{
	p->standing = standing;
	return op_goto(p, PLACE_END);
}

static enum op_verdict
elsewhere(struct image_place *p, const char *what, const char *other)
{
	(void)snprintf(
	    p->why, sizeof(p->why), "id %s %s %s", p->id, what, other);
	return stands(p, IMAGE_ELSEWHERE);
}

static enum op_verdict
directory_read(struct image_place *p)
{
	char object[RBD_OBJECT_SIZE];
	int rc;

	p->dir_name[0] = '\0';
	if ((rc = take_str(p, DIR_ID_OF_NAME, p->dir_id, sizeof(p->dir_id))) <
		0 ||
	    (rc = take_str(p, DIR_ID_OF_HELPER, p->helper_id,
		 sizeof(p->helper_id))) < 0 ||
	    (p->id[0] != '\0' &&
		(rc = take_str(
		     p, DIR_NAME_OF_ID, p->dir_name, sizeof(p->dir_name))) < 0))
		return failed(p, rc, "look it up in the directory");
	drop_read(p);
	if (p->id[0] != '\0' && str_eq(p->dir_id, p->id) &&
	    str_eq(p->dir_name, p->name))
		return stands(p, IMAGE_STANDS);
	image_id_object(object, p->name);
	p->read = rados_read_new();
	(void)rados_read_call(p->read, cls_get_id());
	rados_read_start(p->read, p->pool, object, &p->op.wake);
	return op_await(p, PLACE_NAME_READ);
}

static enum op_verdict
read_trash(struct image_place *p)
{
	p->read = rados_read_new();
	(void)rados_read_call(p->read, cls_trash_get(p->id));
	rados_read_start(p->read, p->pool, RBD_TRASH, &p->op.wake);
	return op_await(p, PLACE_TRASH_READ);
}

static enum op_verdict
name_read(struct image_place *p)
{
	char id[RBD_ID_SIZE];
	int rc = take_str(p, 0, id, sizeof(id));

	if (rc < 0)
		return failed(p, rc, "read its id");
	drop_read(p);
	if (p->id[0] == '\0') {
		/* The directory is asked once more, now in both directions. */
		memcpy(p->id, id[0] != '\0' ? id : p->dir_id, sizeof(p->id));
		if (p->id[0] == '\0')
			return stands(p, IMAGE_GONE);
		p->guessed = true;
		read_directory_start(p);
		return op_await(p, PLACE_DIR_READ);
	}
	if (p->dir_name[0] != '\0' && !str_eq(p->dir_name, p->name))
		return elsewhere(p, "is image", p->dir_name);
	if (p->dir_id[0] != '\0' && !str_eq(p->dir_id, p->id))
		return elsewhere(
		    p, "is not its id any more, which is", p->dir_id);
	if (id[0] != '\0' && !str_eq(id, p->id))
		return elsewhere(p, "is not its id any more, which is", id);
	if (p->dir_id[0] != '\0' || id[0] != '\0' || p->guessed)
		return stands(p, IMAGE_STANDS);
	return read_trash(p);
}

static enum op_verdict
trash_read(struct image_place *p)
{
	char object[RBD_OBJECT_SIZE];
	struct dec d;
	int rc = p->op.rc < 0 ? p->op.rc : rados_read_result(p->read, 0, &d);

	if (rc == 0)
		rc = cls_parse_trash(d, &p->trash);
	if (rc < 0 && rc != -ENOENT)
		return failed(p, rc, "look for its id in the trash");
	drop_read(p);
	if (rc == 0 && !str_eq(p->trash.name, p->name))
		return elsewhere(p, "is in the trash as", p->trash.name);
	if (rc == 0)
		return stands(p, IMAGE_IN_TRASH);
	image_header_object(object, p->id);
	p->read = rados_read_new();
	rados_read_assert_exists(p->read);
	rados_read_start(p->read, p->pool, object, &p->op.wake);
	return op_await(p, PLACE_HEADER_READ);
}

static enum op_verdict
image_place_step(struct op *op)
{
	struct image_place *p = (struct image_place *)op;

	switch (p->state) {
	case PLACE_START:
		read_directory_start(p);
		return op_await(p, PLACE_DIR_READ);

	case PLACE_DIR_READ:
		return directory_read(p);
	case PLACE_NAME_READ:
		return name_read(p);
	case PLACE_TRASH_READ:
		return trash_read(p);

	case PLACE_HEADER_READ:
		if (op->rc < 0 && op->rc != -ENOENT)
			return failed(p, op->rc, "look for its header");
		drop_read(p);
		if (op->rc == 0)
			return elsewhere(p, "has a header but",
			    "neither name nor trash entry");
		return stands(p, IMAGE_GONE);

	case PLACE_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class image_place_class = {
	.name = "image.place",
	.step = image_place_step,
};

void
image_place_start(struct image_place *p, struct ceph_pool *pool,
    const char *name, const char *id, struct wake *waiter)
{
	memset(p, 0, sizeof(*p));
	p->pool = pool;
	p->name = name;
	if (id != NULL && str_put(p->id, sizeof(p->id), "%s", id) < 0)
		p->id[0] = '\0';
	op_start(&p->op, &image_place_class, waiter);
}
