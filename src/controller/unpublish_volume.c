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

#include "base/log.h"
#include "csi.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum unpublish_volume_state {
	UNPUBLISHVOL_START = 0,
	UNPUBLISHVOL_ITEM_READ, /* the journal entry has been read */
	UNPUBLISHVOL_REVOKED,   /* the node's user is gone */
	UNPUBLISHVOL_LOOKED_UP, /* it has no id: the image was looked up */
	UNPUBLISHVOL_FOUND,     /* the image's id is known */
	UNPUBLISHVOL_META_READ, /* all its records are known */
	UNPUBLISHVOL_FENCED,    /* who was to be shut out is */
	UNPUBLISHVOL_RELEASE,   /* nobody has to be shut out (any more) */
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
	struct lane_job lane;
	char *command; /* for the monitors */
};

/* As long as ceph-csi has it: three years. */
#define FENCE_S 94670856.0

enum { RECORD_PUBLISHED, RECORD_CLIENT, RECORD_USER, RECORD_ADDRESS, RECORDS };

/*
 * The records that publishing and staging make: the key of this node, and with
 * "" what all nodes' keys begin with.
 */
static const char *
record_key(const struct unpublish_volume *u, size_t kind, const char *node)
{
	static const char *const prefix[RECORDS] = { VOLUME_META_PUBLISHED,
		VOLUME_META_CLIENT, VOLUME_META_USER, VOLUME_META_ADDRESS };
	bool is_ours = kind < 2;

	return arena_fmt(u->rpc.arena, "%s%s/%s", prefix[kind],
	    is_ours ? u->image_id : u->req->volume_id, node);
}

/* The records of all nodes among the metadata that were read. */
static const char **
all_records(const struct unpublish_volume *u, size_t *n)
{
	const char **keys = arena_new_bytes(
	    u->rpc.arena, (u->list.n + 1) * sizeof(*keys));

	*n = 0;
	for (size_t kind = 0; kind < RECORDS; kind++) {
		const char *start = record_key(u, kind, "");

		for (size_t i = 0; i < u->list.n; i++)
			if (str_starts(u->list.meta[i].key, start))
				keys[(*n)++] = u->list.meta[i].key;
	}
	return keys;
}

/*
 * The command that shuts the node's client out, for the caller to free; NULL:
 * it has recorded none. By our record the very client, by ceph-csi's alone the
 * IP address.
 */
static char *
fence_command(const struct unpublish_volume *u)
{
	const char *node = u->req->node_id;
	const char *client = volume_meta_get(
	    &u->list, record_key(u, RECORD_CLIENT, node));
	const char *ip = volume_meta_get(
	    &u->list, record_key(u, RECORD_ADDRESS, node));

	if (!str_is_empty(client))
		return auth_fence_fmt(client, false, FENCE_S);
	if (str_is_empty(ip))
		return NULL;
	return auth_fence_fmt(arena_fmt(u->rpc.arena, "%s/%d", ip,
				  strchr(ip, ':') != NULL ? 128 : 32),
	    true, FENCE_S);
}

static enum op_verdict
unpublish_volume_step(struct op *op)
{
	struct unpublish_volume *u = (struct unpublish_volume *)op;
	struct arena *arena = u->rpc.arena;
	const char *node[RECORDS], **keys;
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
		if (str_is_empty(u->entry.uuid) && u->rpc.env->elsewhere)
			return op_fail(u, UNPUBLISHVOL_END, ERR_NOT_FOUND,
			    "volume %s: no such volume", u->req->volume_id);
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
		/* It is taken from all, or the node may have to be fenced. */
		if (*u->req->node_id != '\0' && !u->rpc.env->out_of_service)
			return op_goto(u, UNPUBLISHVOL_RELEASE);
		image_meta_list_start(
		    &u->list, u->pool, u->image_id, 0, &op->wake);
		return op_await(u, UNPUBLISHVOL_META_READ);

	case UNPUBLISHVOL_META_READ:
		if (op->rc == -ENOENT)
			return op_goto(u, UNPUBLISHVOL_ANSWER);
		if (op->rc < 0)
			return op_fail_as(u, UNPUBLISHVOL_END, list);
		if (*u->req->node_id == '\0') {
			keys = all_records(u, &n);
			if (n == 0)
				return op_goto(u, UNPUBLISHVOL_ANSWER);
			image_meta_remove_start(
			    u->pool, u->image_id, keys, n, &op->wake);
			return op_await(u, UNPUBLISHVOL_FORGOTTEN);
		}
		u->command = fence_command(u);
		log_warn("volume.fence", "volume=%s node=%s command=%s",
		    u->req->volume_id, u->req->node_id,
		    u->command != NULL ? u->command : "none");
		if (u->command == NULL)
			return op_goto(u, UNPUBLISHVOL_RELEASE);
		u->lane = (struct lane_job){ .kind = LANE_MON_COMMAND,
			.command = u->command };
		lane_job_start(&u->lane, &op->wake);
		return op_await(u, UNPUBLISHVOL_FENCED);

	case UNPUBLISHVOL_FENCED:
		if (op->rc < 0) {
			err_prefix(&u->lane.err, "volume %s: fence node %s",
			    u->req->volume_id, u->req->node_id);
			return op_fail_as(u, UNPUBLISHVOL_END, lane);
		}
		return op_goto(u, UNPUBLISHVOL_RELEASE);

	case UNPUBLISHVOL_RELEASE:
		for (size_t i = 0; i < RECORDS; i++)
			node[i] = record_key(u, i, u->req->node_id);
		image_meta_remove_start(
		    u->pool, u->image_id, node, RECORDS, &op->wake);
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
		secret_fini(&u->lane.reply);
		free(take_ptr(&u->command));
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
