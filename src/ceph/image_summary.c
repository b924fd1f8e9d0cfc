/*
 * image_summary.c - what lists tell of an image.
 */
#include "ceph/image_summary.h"

#include <errno.h>
#include <string.h>

/* Steps of the read, in the order in which they are added. */
enum summary_step {
	SUMMARY_SIZE = 0,
	/* of a volume */
	SUMMARY_DATA_POOL,
	SUMMARY_META,
	/* of a snapshot */
	SUMMARY_CREATED = 1,
	SUMMARY_SNAPCONTEXT,
};

/* They are in the order of keys, and begin above the prefix. */
static int
take_keys(struct image_summary *s, struct dec d)
{
	size_t len = strlen(s->prefix);
	uint32_t count;
	int rc = cls_parse_meta_page(&d, &count);

	for (uint32_t i = 0; rc == 0 && i < count && i < countof(s->key); i++) {
		struct dec_bytes key, value;

		rc = cls_parse_meta_next(&d, &key, &value);
		if (rc < 0 || key.len <= len ||
		    memcmp(key.at, s->prefix, len) != 0)
			break;
		s->key[s->nkeys++] = arena_fmt(
		    s->arena, "%.*s", (int)key.len, key.at);
	}
	s->more = s->nkeys == countof(s->key);
	return rc;
}

static int
take_volume(struct image_summary *s)
{
	uint64_t pool = 0;
	struct dec d;
	int rc = rados_read_result(s->read, SUMMARY_DATA_POOL, &d);

	if (rc == 0)
		rc = cls_parse_u64(d, &pool, 1);
	if (rc == 0)
		rc = rados_read_result(s->read, SUMMARY_META, &d);
	if (rc < 0)
		return rc;
	s->data_pool = (int64_t)pool;
	return take_keys(s, d);
}

static int
take_snapshot(struct image_summary *s)
{
	struct cls_snapcontext snapc = { .seq = 0 };
	struct dec d;
	int rc = rados_read_result(s->read, SUMMARY_SNAPCONTEXT, &d);

	if (rc == 0)
		rc = cls_parse_snapcontext(d, &snapc);
	if (rc < 0)
		return rc;
	s->snaps = snapc.count;
	/* Headers of before Mimic have none. */
	if (rados_read_result(s->read, SUMMARY_CREATED, &d) == 0) {
		s->created.tv_sec = (time_t)dec_u32(&d);
		s->created.tv_nsec = (long)dec_u32(&d);
	}
	return 0;
}

static int
take_summary(struct image_summary *s)
{
	struct dec d;
	uint8_t order;
	int rc = rados_read_result(s->read, SUMMARY_SIZE, &d);

	if (rc == 0)
		rc = cls_parse_size(d, &order, &s->size_bytes);
	if (rc < 0)
		return rc;
	return s->prefix != NULL ? take_volume(s) : take_snapshot(s);
}

static void
on_summary(struct wake *wake, int rc)
{
	struct image_summary *s = container_of(
	    wake, struct image_summary, wake);

	if (rc == 0)
		rc = take_summary(s);
	rados_read_drop(&s->read);
	if (rc == -ENOENT)
		rc = err_set(&s->err, ERR_NOT_FOUND,
		    "image id %s in %s: it has no header", s->id,
		    ceph_pool_label(s->pool));
	else if (rc < 0)
		rc = err_set_rc(&s->err, rc,
		    "image id %s in %s: read its header", s->id,
		    ceph_pool_label(s->pool));
	wake_up(s->waiter, rc);
}

void
image_summary_start(struct image_summary *s, struct ceph_pool *pool,
    const char *id, const char *prefix, struct arena *arena,
    struct wake *waiter)
{
	char object[RBD_OBJECT_SIZE];

	*s = (struct image_summary){
		.data_pool = -1,
		.pool = pool,
		.id = id,
		.prefix = prefix,
		.arena = arena,
		.read = rados_read_new(),
		.wake = { .fn = on_summary },
		.waiter = waiter,
	};
	(void)rados_read_call(s->read, cls_call_u64("get_size", RBD_NOSNAP));
	if (prefix != NULL) {
		(void)rados_read_call(s->read, cls_call("get_data_pool"));
		(void)rados_read_call(
		    s->read, cls_metadata_list(prefix, CLS_METADATA_PAGE));
	} else {
		(void)rados_read_call(
		    s->read, cls_call("get_create_timestamp"));
		rados_read_may_fail(s->read);
		(void)rados_read_call(s->read, cls_call("get_snapcontext"));
	}
	image_object(object, RBD_HEADER_PREFIX, id);
	rados_read_start(s->read, pool, object, &s->wake);
}
