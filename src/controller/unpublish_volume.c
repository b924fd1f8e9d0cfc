/*
 * unpublish_volume.c - ControllerUnpublishVolume: removes the records that
 * publishing made, and the node's user for the volume. A volume, image or pool
 * that is gone has no records; users may be left.
 *
 * The rule that holds it together: the records are in the image that has the
 * id of the journal's entry, whatever its name is by now: an image that was
 * renamed behind the journal's back can still be taken from its node.
 */
#include "controller/controller.h"
#include "controller/volume_user.h"

#include "csi.pb-c.h"

#include <errno.h>
#include <stdlib.h>

enum unpublish_volume_state {
	UNPUBLISHVOL_START = 0,
	UNPUBLISHVOL_ITEM_READ, /* the journal entry has been read */
	UNPUBLISHVOL_REVOKED,   /* the node's user is gone */
	UNPUBLISHVOL_LOOKED_UP, /* it has no id: the image was looked up */
	UNPUBLISHVOL_FOUND,     /* the image's id is known */
	UNPUBLISHVOL_META_READ, /* all its records are known */
	UNPUBLISHVOL_FORGOTTEN, /* the records are gone */
	UNPUBLISHVOL_GONE,      /* there is no such volume any more */
	UNPUBLISHVOL_ANSWER,
	UNPUBLISHVOL_END,
};

struct unpublish_volume {
	struct csi_rpc rpc;
	enum unpublish_volume_state state;
	const Csi__V1__ControllerUnpublishVolumeRequest *req;
	struct ceph_pool *pool;
	struct journal_read entry;
	struct image_lookup lookup;
	const char *image_id;
	struct image_meta_list list;
	struct user_revoke revoke;
};

static enum op_verdict
unpublish_volume_step(struct op *op)
{
	struct unpublish_volume *u = (struct unpublish_volume *)op;
	struct arena *arena = u->rpc.arena;
	const char *user, *published, *node[2], **keys;
	struct err err = ERR_INIT;
	size_t n = 0;
	int rc;

	switch (u->state) {
	case UNPUBLISHVOL_START:
		u->req = u->rpc.request;
		rc = volume_pool_open(&u->rpc, &journal_volumes,
		    u->req->volume_id, &u->pool, &err);
		if (rc == -ENOENT)
			return op_goto(u, UNPUBLISHVOL_GONE);
		if (rc < 0)
			return op_fail_err(u, UNPUBLISHVOL_END, &err);
		journal_read_start(&u->entry, &journal_volumes, u->pool,
		    u->rpc.in->id.uuid, 0, arena, &op->wake);
		return op_await(u, UNPUBLISHVOL_ITEM_READ);

	case UNPUBLISHVOL_ITEM_READ:
		if (op->rc == -ENOENT)
			return op_goto(u, UNPUBLISHVOL_GONE);
		if (op->rc < 0) {
			err_prefix(
			    &u->entry.err, "volume %s", u->req->volume_id);
			return op_fail_as(u, UNPUBLISHVOL_END, entry);
		}
		user_revoke_start(&u->revoke, u->pool, u->rpc.in->id.uuid,
		    u->entry.item.attr[JOURNAL_USERS], u->req->node_id, arena,
		    &op->wake);
		return op_await(u, UNPUBLISHVOL_REVOKED);

	case UNPUBLISHVOL_REVOKED:
		if (op->rc < 0)
			return op_fail_as(u, UNPUBLISHVOL_END, revoke.op);
		if (str_is_empty(u->entry.uuid)) /* there was none */
			return op_goto(u, UNPUBLISHVOL_ANSWER);
		u->image_id = u->entry.item.attr[JOURNAL_IMAGEID];
		if (!str_is_empty(u->image_id))
			return op_goto(u, UNPUBLISHVOL_FOUND);
		image_lookup_start(&u->lookup, u->pool,
		    volume_image_name(&journal_volumes, &u->entry.item,
			u->rpc.in->id.uuid, arena),
		    NULL, false, &op->wake);
		return op_await(u, UNPUBLISHVOL_LOOKED_UP);

	case UNPUBLISHVOL_LOOKED_UP:
		if (op->rc == -ENOENT)
			return op_goto(u, UNPUBLISHVOL_ANSWER);
		if (op->rc < 0)
			return op_fail_as(u, UNPUBLISHVOL_END, lookup.op);
		u->image_id = u->lookup.info.id;
		return op_goto(u, UNPUBLISHVOL_FOUND);

	case UNPUBLISHVOL_FOUND:
		if (*u->req->node_id == '\0') { /* it is taken from all */
			image_meta_list_start(
			    &u->list, u->pool, u->image_id, &op->wake);
			return op_await(u, UNPUBLISHVOL_META_READ);
		}
		node[0] = volume_meta_published(
		    arena, u->image_id, u->req->node_id);
		node[1] = arena_fmt(arena, VOLUME_META_USER "%s/%s",
		    u->req->volume_id, u->req->node_id);
		image_meta_remove_start(
		    u->pool, u->image_id, node, countof(node), &op->wake);
		return op_await(u, UNPUBLISHVOL_FORGOTTEN);

	case UNPUBLISHVOL_META_READ:
		if (op->rc == -ENOENT)
			return op_goto(u, UNPUBLISHVOL_ANSWER);
		if (op->rc < 0)
			return op_fail_as(u, UNPUBLISHVOL_END, list);
		user = arena_fmt(
		    arena, VOLUME_META_USER "%s/", u->req->volume_id);
		published = volume_meta_published(arena, u->image_id, "");
		keys = arena_new_bytes(arena, (u->list.n + 1) * sizeof(*keys));
		for (size_t i = 0; i < u->list.n; i++)
			if (str_starts(u->list.meta[i].key, published) ||
			    str_starts(u->list.meta[i].key, user))
				keys[n++] = u->list.meta[i].key;
		if (n == 0)
			return op_goto(u, UNPUBLISHVOL_ANSWER);
		image_meta_remove_start(
		    u->pool, u->image_id, keys, n, &op->wake);
		return op_await(u, UNPUBLISHVOL_FORGOTTEN);

	case UNPUBLISHVOL_FORGOTTEN:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(u, UNPUBLISHVOL_END, op->rc,
			    "volume %s: remove node %s from image id %s in %s",
			    u->req->volume_id, u->req->node_id, u->image_id,
			    ceph_pool_label(u->pool));
		return op_goto(u, UNPUBLISHVOL_ANSWER);

	case UNPUBLISHVOL_GONE:
		/* Nor may who deleted it have known of users. */
		u->entry.uuid = NULL;
		if (*u->req->node_id == '\0' || *u->rpc.in->id.uuid == '\0')
			return op_goto(u, UNPUBLISHVOL_ANSWER);
		user_revoke_start(&u->revoke, NULL, u->rpc.in->id.uuid, NULL,
		    u->req->node_id, arena, &op->wake);
		return op_await(u, UNPUBLISHVOL_REVOKED);

	case UNPUBLISHVOL_ANSWER:
		(void)csi_rpc_reply(&u->rpc);
		return op_goto(u, UNPUBLISHVOL_END);

	case UNPUBLISHVOL_END:
		image_meta_list_fini(&u->list);
		return OP_DONE;
	}
	abort();
}

static const struct op_class unpublish_volume_class = {
	.name = "ControllerUnpublishVolume",
	.step = unpublish_volume_step,
};

const struct csi_impl unpublish_volume_impl = {
	.cls = &unpublish_volume_class,
	.size = sizeof(struct unpublish_volume),
};
