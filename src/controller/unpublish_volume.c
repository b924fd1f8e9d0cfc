/*
 * unpublish_volume.c - ControllerUnpublishVolume: removes the records that
 * publishing made. A volume, image or pool that is gone has none.
 *
 * The rule that holds it together: the records are in the image that has the
 * id of the journal's entry, whatever its name is by now: an image that was
 * renamed behind the journal's back can still be taken from its node.
 */
#include "controller/controller.h"
#include "controller/volume.h"

#include "csi.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum unpublish_volume_state {
	UNPUBLISH_START = 0,
	UNPUBLISH_ITEM_READ, /* the journal entry has been read */
	UNPUBLISH_FOUND,     /* it has no id: the image was looked up */
	UNPUBLISH_META_READ, /* all its records are known */
	UNPUBLISH_FORGOTTEN, /* the records are gone */
	UNPUBLISH_END,
};

struct unpublish_volume {
	struct csi_rpc rpc;
	enum unpublish_volume_state state;
	const Csi__V1__ControllerUnpublishVolumeRequest *req;
	struct csi_volume_id id;
	struct ceph_pool *pool;
	struct journal_read entry;
	struct image_lookup lookup;
	const char *image_id;
	struct image_meta_list list;
};

static enum op_verdict
answer(struct unpublish_volume *u)
{
	u->rpc.reply = csi_new(
	    &csi__v1__controller_unpublish_volume_response__descriptor,
	    u->rpc.arena);
	return op_goto(u, UNPUBLISH_END);
}

static enum op_verdict
forget(struct unpublish_volume *u, const char *const *keys, size_t n)
{
	image_meta_remove_start(u->pool, u->image_id, keys, n, &u->rpc.op.wake);
	return op_await(u, UNPUBLISH_FORGOTTEN);
}

/* One node: its two records are known by name. */
static enum op_verdict
forget_node(struct unpublish_volume *u)
{
	const char *keys[2];

	keys[0] = arena_fmt(
	    u->rpc.arena, VOLUME_META_PUBLISHED "%s", u->req->node_id);
	keys[1] = arena_fmt(u->rpc.arena, VOLUME_META_USER "%s/%s",
	    u->req->volume_id, u->req->node_id);
	return forget(u, keys, countof(keys));
}

/* No node named: the volume is taken from all of them. */
static enum op_verdict
forget_all(struct unpublish_volume *u)
{
	const char *user = arena_fmt(
	    u->rpc.arena, VOLUME_META_USER "%s/", u->req->volume_id);
	const char **keys;
	size_t n = 0;

	if (u->rpc.op.rc == -ENOENT)
		return answer(u);
	if (u->rpc.op.rc < 0)
		return op_fail_err(u, UNPUBLISH_END, &u->list.err);
	keys = arena_new_bytes(u->rpc.arena, (u->list.n + 1) * sizeof(*keys));
	for (size_t i = 0; i < u->list.n; i++)
		if (str_starts(u->list.meta[i].key, VOLUME_META_PUBLISHED) ||
		    str_starts(u->list.meta[i].key, user))
			keys[n++] = u->list.meta[i].key;
	return n == 0 ? answer(u) : forget(u, keys, n);
}

static enum op_verdict
start(struct unpublish_volume *u)
{
	struct err err = ERR_INIT;
	int rc;

	u->req = u->rpc.request;
	rc = volume_pool_open(
	    &u->rpc, u->req->volume_id, &u->id, &u->pool, &err);
	if (rc == -ENOENT)
		return answer(u);
	if (rc < 0)
		return op_fail_err(u, UNPUBLISH_END, &err);
	journal_read_start(&u->entry, &journal_volumes, u->pool, u->id.uuid, 0,
	    u->rpc.arena, &u->rpc.op.wake);
	return op_await(u, UNPUBLISH_ITEM_READ);
}

static enum op_verdict
take_from(struct unpublish_volume *u, const char *image_id)
{
	u->image_id = image_id;
	if (*u->req->node_id != '\0')
		return forget_node(u);
	image_meta_list_start(&u->list, u->pool, image_id, &u->rpc.op.wake);
	return op_await(u, UNPUBLISH_META_READ);
}

static enum op_verdict
judge_item(struct unpublish_volume *u)
{
	const struct journal_item *item = &u->entry.item;

	if (u->rpc.op.rc == -ENOENT)
		return answer(u);
	if (u->rpc.op.rc < 0) {
		err_prefix(&u->entry.err, "volume %s", u->req->volume_id);
		return op_fail_err(u, UNPUBLISH_END, &u->entry.err);
	}
	if (!str_is_empty(item->attr[JOURNAL_IMAGEID]))
		return take_from(u, item->attr[JOURNAL_IMAGEID]);
	image_lookup_start(&u->lookup, u->pool,
	    volume_image_name(item, u->id.uuid, u->rpc.arena), NULL, false,
	    &u->rpc.op.wake);
	return op_await(u, UNPUBLISH_FOUND);
}

static enum op_verdict
unpublish_volume_step(struct op *op)
{
	struct unpublish_volume *u = (struct unpublish_volume *)op;

	switch (u->state) {
	case UNPUBLISH_START:
		return start(u);

	case UNPUBLISH_ITEM_READ:
		return judge_item(u);

	case UNPUBLISH_FOUND:
		if (op->rc == -ENOENT)
			return answer(u);
		if (op->rc < 0)
			return op_fail_err(u, UNPUBLISH_END, &u->lookup.op.err);
		return take_from(u, u->lookup.info.id);

	case UNPUBLISH_META_READ:
		return forget_all(u);

	case UNPUBLISH_FORGOTTEN:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(u, UNPUBLISH_END, op->rc,
			    "volume %s: remove node %s from image id %s in %s",
			    u->req->volume_id, u->req->node_id, u->image_id,
			    ceph_pool_label(u->pool));
		return answer(u);

	case UNPUBLISH_END:
		return OP_DONE;
	}
	abort();
}

static void
unpublish_volume_free(struct op *op)
{
	struct unpublish_volume *u = (struct unpublish_volume *)op;

	image_meta_list_fini(&u->list);
}

static const struct op_class unpublish_volume_class = {
	.name = "ControllerUnpublishVolume",
	.step = unpublish_volume_step,
	.end = unpublish_volume_free,
};

const struct csi_impl unpublish_volume_impl = {
	.cls = &unpublish_volume_class,
	.size = sizeof(struct unpublish_volume),
};
