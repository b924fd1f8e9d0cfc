/*
 * image.c - names and ids of images, what a header says, whether a name and
 * an id still belong together, metadata, and who has an image open.
 */
#include "ceph/image.h"

#include "base/arena.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Of all keys and values of one image. */
#define META_BYTES_MAX ((size_t)32 << 20)

/*
 * librbd writes the instance id and the random part in hex without padding
 * and keeps the last 14 digits, which is all that the class's object prefix
 * has room for. With padding the two are as unique and the length is fixed.
 */
void
image_id_generate(const struct ceph_connection *conn, char id[RBD_ID_SIZE])
{
	uint32_t extra;

	if (getrandom(&extra, sizeof(extra), 0) != sizeof(extra))
		abort(); /* cannot fail for so few bytes */
	(void)snprintf(id, RBD_ID_SIZE, "%06llx%08x",
	    (unsigned long long)(conn->instance & 0xffffff), extra);
}

void
image_id_of(const char *uuid, char id[RBD_ID_SIZE])
{
	/* The last group, and two digits of the first: none has a meaning. */
	(void)snprintf(
	    id, RBD_ID_SIZE, "%s%.2s", uuid + strlen(uuid) - 12, uuid);
}

void
image_object(char buf[RBD_OBJECT_SIZE], const char *prefix, const char *rest)
{
	(void)snprintf(buf, RBD_OBJECT_SIZE, "%s%s", prefix, rest);
}

void
image_map_object(char buf[RBD_OBJECT_SIZE], const char *id, uint64_t snap)
{
	(void)snprintf(buf, RBD_OBJECT_SIZE,
	    RBD_OBJECT_MAP_PREFIX "%s.%016" PRIx64, id, snap);
}

void
image_id_remove_start(struct ceph_pool *pool, const char *name, const char *id,
    struct wake *waiter)
{
	struct rados_write *w = rados_write_new(RADOS_EXISTS);
	char object[RBD_OBJECT_SIZE];
	struct enc content;

	image_object(object, RBD_ID_PREFIX, name);
	enc_init(&content);
	enc_str(&content, id);
	rados_write_data_expect(w, 0, content.buf.data, content.buf.len);
	rados_write_remove(w);
	rados_write_start(w, pool, object, waiter);
	enc_fini(&content);
}

static void
directory_tell_start(struct rados_write *w, struct ceph_pool *pool,
    const char *method, const char *name, const char *id, struct wake *waiter)
{
	rados_write_call(w, cls_call_str2(method, name, id));
	rados_write_about(w, name);
	rados_write_about(w, id);
	rados_write_together_start(w, pool, RBD_DIRECTORY, waiter);
}

void
image_list_start(struct ceph_pool *pool, const char *name, const char *id,
    struct wake *waiter)
{
	struct rados_write *w = rados_write_new(RADOS_ANY);

	if (pool->rados_namespace[0] != '\0')
		rados_write_call(w, cls_dir_state_assert_ready());
	directory_tell_start(w, pool, "dir_add_image", name, id, waiter);
}

void
image_unlist_start(struct ceph_pool *pool, const char *name, const char *id,
    struct wake *waiter)
{
	directory_tell_start(rados_write_new(RADOS_ANY), pool,
	    "dir_remove_image", name, id, waiter);
}

struct rados_read *
image_map_read_start(struct ceph_pool *pool, const struct image_info *info,
    uint64_t snap, struct wake *waiter)
{
	char object[RBD_OBJECT_SIZE];

	if (!image_has_valid_map(info))
		return NULL;
	if (snap == RBD_NOSNAP)
		image_object(object, RBD_OBJECT_MAP_PREFIX, info->id);
	else
		image_map_object(object, info->id, snap);
	return rados_ask_start(
	    pool, object, cls_call("object_map_load"), waiter);
}

/* Of maps up to this size (512 GiB in objects of 4 MiB) it is compared. */
#define MAP_DROP_OBJECTS 131072

bool
image_map_drop_start(
    struct ceph_pool *pool, const struct image_info *info, struct wake *waiter)
{
	uint64_t objects = layout_objects(&info->layout, info->size_bytes);
	char object[RBD_OBJECT_SIZE];
	struct rados_write *w;
	struct enc content;

	if (!image_has_valid_map(info) || objects > MAP_DROP_OBJECTS)
		return false;
	enc_init(&content);
	cls_object_map_none(&content, objects);
	if (content.failed) { /* never compare with a part */
		enc_fini(&content);
		return false;
	}
	image_object(object, RBD_OBJECT_MAP_PREFIX, info->id);
	w = rados_write_new(RADOS_EXISTS);
	rados_write_data_expect(w, 0, content.buf.data, content.buf.len);
	rados_write_remove(w);
	rados_write_start(w, pool, object, waiter);
	enc_fini(&content);
	return true;
}

/* A map that is too short is not valid, whatever the flags say. */
bool
image_map_take(const struct rados_read *read, const struct image_info *info,
    struct cls_object_map *map)
{
	struct dec d;

	return rados_read_result(read, 0, &d) == 0 &&
	    cls_parse_object_map(d, map) == 0 &&
	    map->objects >= layout_objects(&info->layout, info->size_bytes);
}

/* ---- look-up ---- */

/* Steps of the read of the header, in the order in which they are added. */
enum header_step {
	HEADER_SIZE = 0,
	HEADER_FEATURES,
	HEADER_PREFIX,
	HEADER_DATA_POOL,
	HEADER_FLAGS,
	HEADER_SNAPCONTEXT,
	HEADER_OP_FEATURES,
	HEADER_PARENT,
	HEADER_GROUP,
	HEADER_LOCK,
	HEADER_CREATED,
	HEADER_STRIPE,
	HEADER_STEPS,
	HEADER_META = HEADER_STEPS, /* only if metadata are wanted */
};

static void meta_list_begin(struct image_meta_list *l, struct ceph_pool *pool,
    const char *id, uint64_t snap, struct wake *waiter);
static bool meta_list_take(
    struct image_meta_list *l, const struct rados_read *read, unsigned step);

static void
header_read_start(struct image_lookup *l)
{
	char object[RBD_OBJECT_SIZE];
	struct rados_read *r = l->read = rados_read_new();
	unsigned last;

	(void)rados_read_call(r, cls_call_u64("get_size", RBD_NOSNAP));
	(void)rados_read_call(r, cls_get_features());
	(void)rados_read_call(r, cls_call("get_object_prefix"));
	(void)rados_read_call(r, cls_call("get_data_pool"));
	(void)rados_read_call(r, cls_call_u64("get_flags", RBD_NOSNAP));
	(void)rados_read_call(r, cls_call("get_snapcontext"));
	(void)rados_read_call(r, cls_call("op_features_get"));
	(void)rados_read_call(r, cls_call("parent_get"));
	(void)rados_read_call(r, cls_call("image_group_get"));
	(void)rados_read_call(r, cls_lock_get_info());
	(void)rados_read_call(r, cls_call("get_create_timestamp"));
	/* refused by the class unless the image has the feature */
	last = rados_read_call(r, cls_call("get_stripe_unit_count"));
	rados_read_may_fail(r);
	assert(last == HEADER_STRIPE);
	if (l->list != NULL)
		(void)rados_read_call(
		    r, cls_metadata_list("", CLS_METADATA_PAGE));
	image_object(object, RBD_HEADER_PREFIX, l->info.id);
	rados_read_start(r, l->pool, object, &l->op.wake);
}

static int
take_header(const struct rados_read *read, struct image_info *info)
{
	struct cls_snapcontext snapc = { .seq = 0 };
	struct layout *layout = &info->layout;
	struct dec d[HEADER_STEPS];
	uint64_t features[2], pool = 0, stripe[2];
	int rc = 0;

	for (unsigned i = 0; i < HEADER_STEPS; i++) {
		rc = rados_read_result(read, i, &d[i]);
		if (rc < 0 && i != HEADER_STRIPE)
			return rc;
	}
	if (cls_parse_size(d[HEADER_SIZE], &layout->order, &info->size_bytes) <
		0 ||
	    cls_parse_u64(d[HEADER_FEATURES], features, 2) < 0 ||
	    cls_parse_str(
		d[HEADER_PREFIX], info->prefix, sizeof(info->prefix)) < 0 ||
	    cls_parse_u64(d[HEADER_DATA_POOL], &pool, 1) < 0 ||
	    cls_parse_u64(d[HEADER_FLAGS], &info->flags, 1) < 0 ||
	    cls_parse_snapcontext(d[HEADER_SNAPCONTEXT], &snapc) < 0 ||
	    cls_parse_u64(d[HEADER_OP_FEATURES], &info->op_features, 1) < 0 ||
	    cls_parse_parent(d[HEADER_PARENT], &info->parent) < 0 ||
	    cls_parse_group(d[HEADER_GROUP], &info->group) < 0 ||
	    cls_parse_lock_info(d[HEADER_LOCK], &info->lock) < 0 ||
	    cls_parse_time(d[HEADER_CREATED], &info->created) < 0)
		return -EBADMSG;
	info->version = rados_read_version(read);
	info->features = features[0];
	info->data_pool = (int64_t)pool;
	info->snap_seq = snapc.seq;
	info->snaps = snapc.count;
	/* Until a striped image's striping is stored it has the default one. */
	layout->stripe_unit = 1ull << layout->order;
	layout->stripe_count = 1;
	if (!(info->features & RBD_STRIPINGV2))
		return 0;
	if (rc < 0)
		return rc;
	if (cls_parse_u64(d[HEADER_STRIPE], stripe, 2) < 0 || stripe[0] == 0 ||
	    stripe[0] > layout->stripe_unit || stripe[1] == 0 ||
	    stripe[1] > UINT32_MAX)
		return -EBADMSG;
	layout->stripe_unit = stripe[0];
	layout->stripe_count = stripe[1];
	return 0;
}

static enum op_verdict
image_lookup_step(struct op *op)
{
	struct image_lookup *l = (struct image_lookup *)op;
	char object[RBD_OBJECT_SIZE];
	bool more = false;
	int rc = op->rc;

	switch (l->state) {
	case LOOKUP_START:
		if (l->info.id[0] != '\0') {
			header_read_start(l);
			return op_await(l, LOOKUP_HEADER_READ);
		}
		image_object(object, RBD_ID_PREFIX, l->name);
		l->read = rados_ask_start(
		    l->pool, object, cls_call("get_id"), &op->wake);
		return op_await(l, LOOKUP_ID_READ);

	case LOOKUP_ID_READ:
		if (rc == 0)
			rc = rados_read_str(
			    l->read, 0, l->info.id, sizeof(l->info.id));
		rados_read_drop(&l->read);
		if (rc == -ENOENT)
			return image_fail(l, LOOKUP_END, ERR_NOT_FOUND, l->name,
			    "no such image");
		if (rc < 0)
			return image_fail_rc(
			    l, LOOKUP_END, rc, l->name, "read its id");
		header_read_start(l);
		return op_await(l, LOOKUP_HEADER_READ);

	case LOOKUP_HEADER_READ:
		if (rc == 0)
			rc = take_header(l->read, &l->info);
		if (rc == 0 && l->list != NULL) {
			meta_list_begin(
			    l->list, l->pool, l->info.id, 0, &op->wake);
			more = meta_list_take(l->list, l->read, HEADER_META);
		}
		rados_read_drop(&l->read);
		if (rc == -ENOENT)
			return image_fail(l, LOOKUP_END, ERR_NOT_FOUND,
			    l->info.id, "it has no header");
		if (rc < 0)
			return image_fail_rc(
			    l, LOOKUP_END, rc, l->info.id, "read its header");
		return more ? op_await(l, LOOKUP_META_READ)
			    : op_goto(l, LOOKUP_META_READ);

	case LOOKUP_META_READ:
		if (l->list != NULL && err_is_set(&l->list->err))
			return op_fail_err(l, LOOKUP_END, &l->list->err);
		if (!l->check_mirror || l->info.snaps == 0)
			return op_goto(l, LOOKUP_END);
		l->read = rados_ask_start(l->pool, RBD_MIRRORING,
		    cls_call_str("mirror_image_get", l->info.id), &op->wake);
		return op_await(l, LOOKUP_MIRROR_READ);

	case LOOKUP_MIRROR_READ:
		rados_read_drop(&l->read);
		if (rc < 0 && rc != -ENOENT)
			return image_fail_rc(l, LOOKUP_END, rc, l->info.id,
			    "ask whether it is mirrored");
		l->info.mirrored = rc == 0;
		return op_goto(l, LOOKUP_END);

	case LOOKUP_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class image_lookup_class = {
	.name = "image.lookup",
	.step = image_lookup_step,
};

void
image_lookup_start(struct image_lookup *l, struct ceph_pool *pool,
    const char *name, const char *id, bool check_mirror, struct wake *waiter)
{
	image_lookup_with_start(l, pool, name, id, check_mirror, NULL, waiter);
}

void
image_lookup_with_start(struct image_lookup *l, struct ceph_pool *pool,
    const char *name, const char *id, bool check_mirror,
    struct image_meta_list *list, struct wake *waiter)
{
	memset(l, 0, sizeof(*l));
	l->list = list;
	l->pool = pool;
	l->name = name;
	l->check_mirror = check_mirror;
	if (id != NULL && str_put(l->info.id, sizeof(l->info.id), "%s", id) < 0)
		l->info.id[0] = '\0';
	op_start(&l->op, &image_lookup_class, waiter);
}

/*
 * ---- place ----
 *
 * The directory knows both directions and is asked for both in one operation;
 * or rbd_id.NAME, by which librbd opens an image, is asked first.
 * If it does not say that the two belong together, then rbd_id.NAME, the trash
 * and the header are asked, in this order: an image is gone only when none of
 * them knows of it.
 */

/*
 * One read of a directory is on its way, and those who ask meanwhile share the
 * next one: it would wait for the same writes as theirs.
 */
struct directory {
	struct wake wake;
	struct ceph_pool *pool;
	struct rados_read *read;
	STAILQ_HEAD(, image_place) asked, queue;
	LIST_ENTRY(directory) link;
};

static LIST_HEAD(, directory) directories = LIST_HEAD_INITIALIZER(directories);

/* Steps of each one's part of the read. */
enum dir_step {
	DIR_ID_OF_NAME = 0,
	DIR_ID_OF_HELPER,
	DIR_NAME_OF_ID,
	DIR_STEPS,
};

static void
directory_read_add(
    struct rados_read *read, const char *method, const char *name)
{
	(void)rados_read_call(read, cls_call_str(method, name));
	rados_read_may_fail(read);
}

static void
directory_read(struct directory *d)
{
	char helper[RBD_NAME_SIZE + sizeof(IMAGE_HELPER_SUFFIX)];
	struct image_place *p;
	unsigned step = 0;

	d->read = rados_read_new();
	while ((p = STAILQ_FIRST(&d->queue)) != NULL &&
	    step + DIR_STEPS <= RADOS_READ_STEPS) {
		STAILQ_REMOVE_HEAD(&d->queue, link);
		STAILQ_INSERT_TAIL(&d->asked, p, link);
		(void)snprintf(
		    helper, sizeof(helper), "%s" IMAGE_HELPER_SUFFIX, p->name);
		p->step = step;
		directory_read_add(d->read, "dir_get_id", p->name);
		directory_read_add(d->read, "dir_get_id", helper);
		directory_read_add(d->read, "dir_get_name", p->id);
		step += DIR_STEPS;
	}
	rados_read_start(d->read, d->pool, RBD_DIRECTORY, &d->wake);
}

/* The string that a step has read; "" if there is no such thing. */
static int
take_if_any(const struct rados_read *r, unsigned step, char *buf, size_t size)
{
	int rc = rados_read_str(r, step, buf, size);

	return rc == -ENOENT ? 0 : rc;
}

static int
take_directory(struct image_place *p, const struct rados_read *r)
{
	int rc = take_if_any(
	    r, p->step + DIR_ID_OF_NAME, p->dir_id, sizeof(p->dir_id));

	if (rc == 0)
		rc = take_if_any(r, p->step + DIR_ID_OF_HELPER, p->helper_id,
		    sizeof(p->helper_id));
	p->dir_name[0] = '\0';
	if (rc == 0 && p->id[0] != '\0')
		rc = take_if_any(r, p->step + DIR_NAME_OF_ID, p->dir_name,
		    sizeof(p->dir_name));
	return rc;
}

static void
on_directory_read(struct wake *wake, int rc)
{
	struct directory *d = container_of(wake, struct directory, wake);
	struct image_place *p;

	(void)rc; /* each step has it */
	while ((p = STAILQ_FIRST(&d->asked)) != NULL) {
		STAILQ_REMOVE_HEAD(&d->asked, link);
		wake_up(&p->op.wake, take_directory(p, d->read));
	}
	rados_read_drop(&d->read);
	if (!STAILQ_EMPTY(&d->queue)) {
		directory_read(d);
		return;
	}
	LIST_REMOVE(d, link);
	free(d);
}

static void
directory_read_start(struct image_place *p)
{
	struct directory *d;

	LIST_FOREACH (d, &directories, link)
		if (d->pool == p->pool) {
			STAILQ_INSERT_TAIL(&d->queue, p, link);
			return;
		}
	d = mem_new(sizeof(*d));
	d->wake.fn = on_directory_read;
	d->pool = p->pool;
	STAILQ_INIT(&d->asked);
	STAILQ_INIT(&d->queue);
	STAILQ_INSERT_TAIL(&d->queue, p, link);
	LIST_INSERT_HEAD(&directories, d, link);
	directory_read(d);
}

static void
put_elsewhere(struct image_place *p, const char *what, const char *other)
{
	p->standing = IMAGE_ELSEWHERE;
	(void)snprintf(
	    p->why, sizeof(p->why), "id %s %s %s", p->id, what, other);
}

/*
 * What directory and rbd_id.NAME, which has `id`, say of a known id. False:
 * neither knows of name and id.
 */
static bool
judge_names(struct image_place *p, const char *id)
{
	if (p->dir_name[0] != '\0' && !str_eq(p->dir_name, p->name))
		put_elsewhere(p, "is image", p->dir_name);
	else if (p->dir_id[0] != '\0' && !str_eq(p->dir_id, p->id))
		put_elsewhere(p, "is not its id any more, which is", p->dir_id);
	else if (id[0] != '\0' && !str_eq(id, p->id))
		put_elsewhere(p, "is not its id any more, which is", id);
	else if (p->dir_id[0] != '\0' || id[0] != '\0' || p->guessed)
		p->standing = IMAGE_STANDS;
	else
		return false;
	return true;
}

static enum op_verdict
image_place_step(struct op *op)
{
	struct image_place *p = (struct image_place *)op;
	char object[RBD_OBJECT_SIZE], id[RBD_ID_SIZE];
	int rc = op->rc;
	struct dec d;

	switch (p->state) {
	case PLACE_START:
		if (!p->by_name) {
			directory_read_start(p);
			return op_await(p, PLACE_DIR_READ);
		}
		image_object(object, RBD_ID_PREFIX, p->name);
		p->read = rados_ask_start(
		    p->pool, object, cls_call("get_id"), &op->wake);
		return op_await(p, PLACE_ID_READ);

	case PLACE_ID_READ:
		rc = take_if_any(p->read, 0, id, sizeof(id));
		rados_read_drop(&p->read);
		if (rc < 0)
			return image_fail_rc(
			    p, PLACE_END, rc, p->name, "read its id");
		p->standing = IMAGE_STANDS;
		if (str_eq(id, p->id))
			return op_goto(p, PLACE_END);
		directory_read_start(p);
		return op_await(p, PLACE_DIR_READ);

	case PLACE_DIR_READ:
		if (rc < 0)
			return image_fail_rc(p, PLACE_END, rc, p->name,
			    "look it up in the directory");
		p->standing = IMAGE_STANDS;
		if (p->id[0] != '\0' && str_eq(p->dir_id, p->id) &&
		    str_eq(p->dir_name, p->name))
			return op_goto(p, PLACE_END);
		image_object(object, RBD_ID_PREFIX, p->name);
		p->read = rados_ask_start(
		    p->pool, object, cls_call("get_id"), &op->wake);
		return op_await(p, PLACE_NAME_READ);

	case PLACE_NAME_READ:
		rc = take_if_any(p->read, 0, id, sizeof(id));
		rados_read_drop(&p->read);
		if (rc < 0)
			return image_fail_rc(
			    p, PLACE_END, rc, p->name, "read its id");
		if (p->id[0] == '\0') {
			p->guessed = true;
			memcpy(p->id, id[0] != '\0' ? id : p->dir_id,
			    sizeof(p->id));
			p->standing = IMAGE_GONE;
			if (p->id[0] == '\0')
				return op_goto(p, PLACE_END);
			/* once more, now in both directions */
			directory_read_start(p);
			return op_await(p, PLACE_DIR_READ);
		}
		if (judge_names(p, id))
			return op_goto(p, PLACE_END);
		p->read = rados_ask_start(p->pool, RBD_TRASH,
		    cls_call_str("trash_get", p->id), &op->wake);
		return op_await(p, PLACE_TRASH_READ);

	case PLACE_TRASH_READ:
		if (rc == 0)
			rc = rados_read_result(p->read, 0, &d);
		if (rc == 0)
			rc = cls_parse_trash(d, &p->trash);
		rados_read_drop(&p->read);
		if (rc < 0 && rc != -ENOENT)
			return image_fail_rc(p, PLACE_END, rc, p->name,
			    "look for its id in the trash");
		p->standing = IMAGE_IN_TRASH;
		if (rc == 0 && !str_eq(p->trash.name, p->name))
			put_elsewhere(p, "is in the trash as", p->trash.name);
		if (rc == 0)
			return op_goto(p, PLACE_END);
		image_object(object, RBD_HEADER_PREFIX, p->id);
		p->read = rados_read_new();
		rados_read_assert_exists(p->read);
		rados_read_start(p->read, p->pool, object, &op->wake);
		return op_await(p, PLACE_HEADER_READ);

	case PLACE_HEADER_READ:
		rados_read_drop(&p->read);
		if (rc < 0 && rc != -ENOENT)
			return image_fail_rc(
			    p, PLACE_END, rc, p->name, "look for its header");
		p->standing = IMAGE_GONE;
		if (rc == 0)
			put_elsewhere(p, "has a header but",
			    "neither name nor trash entry");
		return op_goto(p, PLACE_END);

	case PLACE_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class image_place_class = {
	.name = "image.place",
	.step = image_place_step,
};

static void
place_start(struct image_place *p, struct ceph_pool *pool, const char *name,
    const char *id, bool by_name, struct wake *waiter)
{
	memset(p, 0, sizeof(*p));
	p->pool = pool;
	p->name = name;
	p->by_name = by_name;
	if (id != NULL && str_put(p->id, sizeof(p->id), "%s", id) < 0)
		p->id[0] = '\0';
	op_start(&p->op, &image_place_class, waiter);
}

void
image_place_start(struct image_place *p, struct ceph_pool *pool,
    const char *name, const char *id, struct wake *waiter)
{
	place_start(p, pool, name, id, false, waiter);
}

void
image_place_named_start(struct image_place *p, struct ceph_pool *pool,
    const char *name, const char *id, struct wake *waiter)
{
	place_start(p, pool, name, id, true, waiter);
}

int
image_data_pool_open(struct ceph_pool *pool, const struct image_info *info,
    struct ceph_pool **data_pool, struct err *err)
{
	*data_pool = pool;
	return info->data_pool < 0
	    ? 0
	    : ceph_pool_open_id(pool->conn, info->data_pool,
		  pool->rados_namespace, data_pool, err);
}

/* ---- who has it open ---- */

void
watch_header_update_start(struct ceph_pool *pool, const char *id,
    struct rados_notified *result, struct wake *waiter)
{
	char object[RBD_OBJECT_SIZE];
	struct enc payload;

	image_object(object, RBD_HEADER_PREFIX, id);
	enc_init(&payload);
	cls_notify_header_update(&payload);
	rados_notify_start(pool, object, payload.buf.data, payload.buf.len,
	    WATCH_NOTIFY_TIMEOUT_MS, result, waiter);
	enc_fini(&payload);
}

int
watch_judge(
    int rc, const struct rados_notified *result, enum watch_verdict *verdict)
{
	if (rc < 0 && rc != -ETIMEDOUT)
		return rc;
	if (rc == -ETIMEDOUT || result->timeouts > 0)
		*verdict = WATCH_SILENT;
	else
		*verdict = result->acks > 0 ? WATCH_ALIVE : WATCH_NONE;
	return 0;
}

/* ---- metadata ---- */

void
image_meta_set_start(struct ceph_pool *pool, const char *id,
    const struct cls_meta *meta, size_t n, const char *was, struct wake *waiter)
{
	/* the method would make a header of nothing but this */
	struct rados_write *w = rados_write_new(RADOS_EXISTS);
	char object[RBD_OBJECT_SIZE];

	if (was != NULL) {
		/* where the method keeps it; seen before the method runs */
		auto_free char *key = str_fmt("metadata_%s", meta->key);

		rados_write_omap_expect(w, key, was, strlen(was));
	}
	image_object(object, RBD_HEADER_PREFIX, id);
	rados_write_call(w, cls_metadata_set(meta, n));
	rados_write_start(w, pool, object, waiter);
}

void
image_meta_remove_start(struct ceph_pool *pool, const char *id,
    const char *const *keys, size_t n, struct wake *waiter)
{
	struct rados_write *w = rados_write_new(RADOS_EXISTS);
	char object[RBD_OBJECT_SIZE];

	image_object(object, RBD_HEADER_PREFIX, id);
	for (size_t i = 0; i < n; i++)
		rados_write_call(w, cls_call_str("metadata_remove", keys[i]));
	rados_write_start(w, pool, object, waiter);
}

static void
page_read_start(struct image_meta_list *l)
{
	char object[RBD_OBJECT_SIZE];
	const char *after = l->n > 0 ? l->meta[l->n - 1].key : "";

	image_object(object, RBD_HEADER_PREFIX, l->id);
	l->read = rados_read_new();
	rados_read_assert_exists(l->read);
	(void)rados_read_call(
	    l->read, cls_metadata_list(after, CLS_METADATA_PAGE));
	if (l->snap != 0) {
		(void)rados_read_call(
		    l->read, cls_call_u64("snapshot_get", l->snap));
		rados_read_may_fail(l->read);
	}
	rados_read_start(l->read, l->pool, object, &l->wake);
}

/* Adds a page, which is a step of a read; *count is the number of its keys. */
static int
page_take(struct image_meta_list *l, const struct rados_read *read,
    unsigned step, uint32_t *count)
{
	struct dec_bytes key, value;
	struct dec d;
	int rc = rados_read_result(read, step, &d);

	if (rc == 0)
		rc = cls_parse_meta_page(&d, count);
	if (rc == 0 && l->n + *count > l->room) {
		l->room = 2 * (l->n + *count);
		l->meta = mem_grow(l->meta, l->room * sizeof(*l->meta));
	}
	for (uint32_t i = 0; rc == 0 && i < *count; i++) {
		char *copy;

		rc = cls_parse_meta_next(&d, &key, &value);
		if (rc < 0)
			return rc;
		copy = arena_alloc(l->arena, key.len + 1 + value.len + 1);
		if (copy == NULL || l->n == IMAGE_META_MAX)
			return -EMSGSIZE;
		memcpy(copy, key.at, key.len);
		memcpy(copy + key.len + 1, value.at, value.len);
		l->meta[l->n++] = (struct cls_meta){
			.key = copy,
			.value = copy + key.len + 1,
			.len = value.len,
		};
	}
	if (rc < 0 || l->snap == 0)
		return rc;
	rc = rados_read_result(read, step + 1, &d);
	return rc == 0 ? cls_parse_snapshot(d, &l->snapshot)
		       : (rc == -ENOENT ? 0 : rc);
}

static void
meta_list_fail(struct image_meta_list *l, int rc)
{
	const char *label = ceph_pool_label(l->pool);

	if (rc == -ENOENT)
		(void)err_set(&l->err, ERR_NOT_FOUND,
		    "image %s in %s: it has no header", l->id, label);
	else if (rc == -EMSGSIZE)
		(void)err_set(&l->err, ERR_RESOURCE_EXHAUSTED,
		    "image %s in %s: too much metadata", l->id, label);
	else if (rc < 0)
		(void)err_set_rc(&l->err, rc,
		    "image %s in %s: list its metadata", l->id, label);
}

/* True: there are more, which are asked for. */
static bool
meta_list_take(
    struct image_meta_list *l, const struct rados_read *read, unsigned step)
{
	uint32_t count = 0;
	int rc = page_take(l, read, step, &count);

	rados_read_drop(&l->read);
	if (rc == 0 && count == CLS_METADATA_PAGE) {
		page_read_start(l);
		return true;
	}
	meta_list_fail(l, rc);
	return false;
}

static void
on_page_read(struct wake *wake, int rc)
{
	struct image_meta_list *l = container_of(
	    wake, struct image_meta_list, wake);

	if (rc < 0)
		meta_list_fail(l, rc);
	else if (meta_list_take(l, l->read, 0))
		return;
	rados_read_drop(&l->read);
	wake_up(l->waiter, l->err.rc);
}

static void
meta_list_begin(struct image_meta_list *l, struct ceph_pool *pool,
    const char *id, uint64_t snap, struct wake *waiter)
{
	*l = (struct image_meta_list){
		.pool = pool,
		.id = id,
		.snap = snap,
		.arena = arena_new(META_BYTES_MAX),
		.wake.fn = on_page_read,
		.waiter = waiter,
	};
}

void
image_meta_list_start(struct image_meta_list *l, struct ceph_pool *pool,
    const char *id, uint64_t snap, struct wake *waiter)
{
	meta_list_begin(l, pool, id, snap, waiter);
	page_read_start(l);
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
