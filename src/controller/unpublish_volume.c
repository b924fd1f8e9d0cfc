/*
 * unpublish_volume.c - ControllerUnpublishVolume: removes the records that
 * publishing made. A volume, image or pool that is gone has none.
 */
#include "controller/controller.h"
#include "controller/volume.h"

#include "csi.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum unpublish_volume_state {
	UNPUBLISH_START = 0,
	UNPUBLISH_FOUND,     /* the volume's image is known */
	UNPUBLISH_META_READ, /* all its records are known */
	UNPUBLISH_FORGOTTEN, /* the records are gone */
	UNPUBLISH_END,
};

struct unpublish_volume {
	struct csi_rpc rpc;
	enum unpublish_volume_state state;
	const Csi__V1__ControllerUnpublishVolumeRequest *req;
	struct volume_lookup volume;
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
	image_meta_remove_start(
	    u->volume.pool, u->volume.info->id, keys, n, &u->rpc.op);
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
		return op_fail_err(u, UNPUBLISH_END, &u->list.op.err);
	keys = arena_new_bytes(u->rpc.arena, (u->list.n + 1) * sizeof(*keys));
	for (size_t i = 0; i < u->list.n; i++)
		if (str_starts(u->list.meta[i].key, VOLUME_META_PUBLISHED) ||
		    str_starts(u->list.meta[i].key, user))
			keys[n++] = u->list.meta[i].key;
	return n == 0 ? answer(u) : forget(u, keys, n);
}

static enum op_verdict
unpublish_volume_step(struct op *op)
{
	struct unpublish_volume *u = (struct unpublish_volume *)op;

	switch (u->state) {
	case UNPUBLISH_START:
		u->req = u->rpc.request;
		volume_lookup_start(&u->volume, &u->rpc, u->req->volume_id);
		return op_await(u, UNPUBLISH_FOUND);

	case UNPUBLISH_FOUND:
		if (op->rc == -ENOENT)
			return answer(u);
		if (op->rc < 0)
			return op_fail_err(u, UNPUBLISH_END, &u->volume.op.err);
		if (*u->req->node_id != '\0')
			return forget_node(u);
		image_meta_list_start(
		    &u->list, u->volume.pool, u->volume.info->id, op);
		return op_await(u, UNPUBLISH_META_READ);

	case UNPUBLISH_META_READ:
		return forget_all(u);

	case UNPUBLISH_FORGOTTEN:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(u, UNPUBLISH_END, op->rc,
			    "remove node %s from image %s", u->req->node_id,
			    u->volume.image);
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
	csi_rpc_free(op);
}

static const struct op_class unpublish_volume_class = {
	.name = "ControllerUnpublishVolume",
	.step = unpublish_volume_step,
	.free = unpublish_volume_free,
};

const struct csi_impl unpublish_volume_impl = {
	.method = "ControllerUnpublishVolume",
	.cls = &unpublish_volume_class,
	.size = sizeof(struct unpublish_volume),
};
