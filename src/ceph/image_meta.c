/*
 * image_meta.c - metadata of images: set, get, remove, list.
 */
#include "ceph/image.h"

#include "base/arena.h"

#include <errno.h>
#include <string.h>

/* Of all keys and values of one image. */
#define META_BYTES_MAX ((size_t)32 << 20)

void
image_meta_set_start(struct ceph_pool *pool, const char *id,
    const struct cls_meta *meta, size_t n, struct wake *waiter)
{
	struct rados_write *w = rados_write_new();
	char object[RBD_OBJECT_SIZE];

	image_header_object(object, id);
	/* without it the method would make a header of nothing but this */
	rados_write_assert_exists(w);
	rados_write_call(w, cls_metadata_set(meta, n));
	rados_write_start(w, pool, object, waiter);
}

void
image_meta_add_start(struct ceph_pool *pool, const char *id,
    const struct cls_meta *meta, struct wake *waiter)
{
	struct rados_write *w = rados_write_new();
	auto_free char *key = str_fmt("metadata_%s", meta->key);
	char object[RBD_OBJECT_SIZE];

	image_header_object(object, id);
	rados_write_assert_exists(w);
	/* where the method keeps it; seen before the method runs */
	rados_write_omap_expect(w, key, NULL, 0);
	rados_write_call(w, cls_metadata_set(meta, 1));
	rados_write_start(w, pool, object, waiter);
}

void
image_meta_remove_start(struct ceph_pool *pool, const char *id,
    const char *const *keys, size_t n, struct wake *waiter)
{
	struct rados_write *w = rados_write_new();
	char object[RBD_OBJECT_SIZE];

	image_header_object(object, id);
	rados_write_assert_exists(w);
	for (size_t i = 0; i < n; i++)
		rados_write_call(w, cls_metadata_remove(keys[i]));
	rados_write_start(w, pool, object, waiter);
}

struct rados_read *
image_meta_get_start(struct ceph_pool *pool, const char *id,
    const char *const *keys, size_t n, struct wake *waiter)
{
	struct rados_read *r = rados_read_new();
	char object[RBD_OBJECT_SIZE];

	image_header_object(object, id);
	rados_read_assert_exists(r);
	for (size_t i = 0; i < n; i++) {
		(void)rados_read_call(r, cls_metadata_get(keys[i]));
		rados_read_may_fail(r);
	}
	rados_read_start(r, pool, object, waiter);
	return r;
}

int
image_meta_value(
    const struct rados_read *read, unsigned i, struct dec_bytes *value)
{
	struct dec d;
	int rc = rados_read_result(read, i, &d);

	return rc < 0 ? rc : cls_parse_bytes(d, value);
}

/* ---- listing ---- */

static void
page_start(struct image_meta_list *l)
{
	char object[RBD_OBJECT_SIZE];
	const char *after = l->n > 0 ? l->meta[l->n - 1].key : "";

	image_header_object(object, l->id);
	l->read = rados_read_new();
	rados_read_assert_exists(l->read);
	(void)rados_read_call(
	    l->read, cls_metadata_list(after, CLS_METADATA_PAGE));
	rados_read_start(l->read, l->pool, object, &l->op.wake);
}

static const char *
keep(struct arena *arena, struct dec_bytes bytes)
{
	char *copy = arena_alloc(arena, bytes.len + 1);

	if (copy != NULL)
		memcpy(copy, bytes.at, bytes.len);
	return copy;
}

/* Adds a page; *count is the number of its keys. */
static int
page_add(struct image_meta_list *l, uint32_t *count)
{
	struct dec_bytes key, value;
	struct dec d;
	int rc = rados_read_result(l->read, 0, &d);

	if (rc == 0)
		rc = cls_parse_meta_page(&d, count);
	if (rc == 0 && l->n + *count > l->room) {
		l->room = 2 * (l->n + *count);
		l->meta = mem_grow(l->meta, l->room * sizeof(*l->meta));
	}
	for (uint32_t i = 0; rc == 0 && i < *count; i++) {
		struct cls_meta *meta = &l->meta[l->n];

		rc = cls_parse_meta_next(&d, &key, &value);
		if (rc < 0)
			return rc;
		meta->key = keep(l->arena, key);
		meta->value = keep(l->arena, value);
		meta->len = value.len;
		if (meta->key == NULL || meta->value == NULL ||
		    ++l->n > IMAGE_META_MAX)
			return -EMSGSIZE;
	}
	return rc;
}

static enum op_verdict
page_read(struct image_meta_list *l)
{
	uint32_t count = 0;
	int rc = l->op.rc;

	if (rc == 0)
		rc = page_add(l, &count);
	rados_read_free(l->read);
	l->read = NULL;
	if (rc == -ENOENT)
		return op_fail(l, META_LIST_END, ERR_NOT_FOUND,
		    "image %s in %s: it has no header", l->id,
		    ceph_pool_label(l->pool));
	if (rc == -EMSGSIZE)
		return op_fail(l, META_LIST_END, ERR_RESOURCE_EXHAUSTED,
		    "image %s in %s: too much metadata", l->id,
		    ceph_pool_label(l->pool));
	if (rc < 0)
		return op_fail_rc(l, META_LIST_END, rc,
		    "image %s in %s: list its metadata", l->id,
		    ceph_pool_label(l->pool));
	if (count < CLS_METADATA_PAGE)
		return op_goto(l, META_LIST_END);
	page_start(l);
	return op_await(l, META_LIST_READ);
}

static enum op_verdict
image_meta_list_step(struct op *op)
{
	struct image_meta_list *l = (struct image_meta_list *)op;

	switch (l->state) {
	case META_LIST_START:
		page_start(l);
		return op_await(l, META_LIST_READ);

	case META_LIST_READ:
		return page_read(l);

	case META_LIST_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class image_meta_list_class = {
	.name = "image.meta_list",
	.step = image_meta_list_step,
};

void
image_meta_list_start(struct image_meta_list *l, struct ceph_pool *pool,
    const char *id, struct wake *waiter)
{
	memset(l, 0, sizeof(*l));
	l->pool = pool;
	l->id = id;
	l->arena = arena_new(META_BYTES_MAX);
	op_start(&l->op, &image_meta_list_class, waiter);
}

void
image_meta_list_fini(struct image_meta_list *l)
{
	free(l->meta);
	arena_free(l->arena);
	l->meta = NULL;
	l->arena = NULL;
	l->n = l->room = 0;
}
