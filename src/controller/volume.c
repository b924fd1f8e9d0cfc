/*
 * volume.c - looking a volume up.
 */
#include "controller/volume.h"

#include "controller/controller.h"
#include "controller/purge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int
volume_pool_open(const struct csi_rpc *rpc, const char *volume_id,
    struct csi_volume_id *id, struct ceph_pool **pool, struct err *err)
{
	int rc;

	if (rpc->in->id_kind != CSI_ID_OURS)
		return err_set(err, ERR_NOT_FOUND,
		    "volume %s: is no identifier of this driver", volume_id);
	*id = rpc->in->id;
	rc = ceph_pool_open_id(controller_connection(), id->pool_id,
	    rpc->env->rados_namespace, pool, err);
	if (rc < 0) {
		err_prefix(err, "volume %s", volume_id);
		return rc;
	}
	purge_resume(*pool, rpc->env->instance_id);
	return 0;
}

const char *
volume_image_name(
    const struct journal_item *item, const char *uuid, struct arena *arena)
{
	if (!str_is_empty(item->attr[JOURNAL_IMAGENAME]))
		return item->attr[JOURNAL_IMAGENAME];
	return arena_fmt(arena, "%s%s", journal_volumes.image, uuid);
}

const char *
volume_meta_get(const struct image_meta_list *list, const char *key)
{
	for (size_t i = 0; i < list->n; i++)
		if (str_eq(list->meta[i].key, key))
			return list->meta[i].value;
	return NULL;
}

bool
volume_is_encrypted(const struct image_meta_list *list)
{
	return !str_is_empty(volume_meta_get(list, VOLUME_META_ENCRYPTED)) ||
	    !str_is_empty(volume_meta_get(list, VOLUME_META_ENCRYPTED_OLD));
}

/* Whoever changed it behind the journal's back has to say what it is now. */
static enum op_verdict
refuse(struct volume_lookup *v, const char *why)
{
	return op_fail(v, VOLUME_END, ERR_FAILED_PRECONDITION,
	    "volume %s: image %s in %s: %s", v->volume_id, v->image,
	    ceph_pool_label(v->pool), why);
}

static enum op_verdict
image_read(struct volume_lookup *v)
{
	const char *id = v->entry.item.attr[JOURNAL_IMAGEID];

	if (v->op.rc == -ENOENT && !str_is_empty(id)) {
		image_place_start(
		    &v->place, v->pool, v->image, id, &v->op.wake);
		return op_await(v, VOLUME_PLACED);
	}
	if (v->op.rc < 0) {
		err_prefix(&v->lookup.op.err, "volume %s", v->volume_id);
		return op_fail_err(v, VOLUME_END, &v->lookup.op.err);
	}
	v->info = &v->lookup.info;
	if (!str_is_empty(id) && !str_eq(v->info->id, id))
		return refuse(v,
		    arena_fmt(
			v->rpc->arena, "has id %s, not %s", v->info->id, id));
	return op_goto(v, VOLUME_END);
}

static enum op_verdict
placed(struct volume_lookup *v)
{
	if (v->op.rc < 0) {
		err_prefix(&v->place.op.err, "volume %s", v->volume_id);
		return op_fail_err(v, VOLUME_END, &v->place.op.err);
	}
	if (v->place.standing == IMAGE_ELSEWHERE)
		return refuse(v, v->place.why);
	if (v->place.standing == IMAGE_IN_TRASH)
		return refuse(v, "is in the trash");
	return op_fail(v, VOLUME_END, ERR_NOT_FOUND, "volume %s: %s",
	    v->volume_id, v->lookup.op.err.text);
}

/* Pool and image of a static volume stand in its context and its ID. */
static int
open_static(struct volume_lookup *v, struct err *err)
{
	const char *pool = csi_map_get(v->context, "pool");
	int rc;

	if (str_is_empty(pool))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "volume_context.pool: missing");
	rc = ceph_pool_open(controller_connection(), pool,
	    v->rpc->env->rados_namespace, &v->pool, err);
	if (rc < 0)
		err_prefix(err, "volume %s", v->volume_id);
	v->image = v->volume_id;
	return rc;
}

static enum op_verdict
volume_image(struct volume_lookup *v)
{
	image_lookup_start(
	    &v->lookup, v->pool, v->image, NULL, false, &v->op.wake);
	return op_await(v, VOLUME_IMAGE_READ);
}

static enum op_verdict
volume_step(struct op *op)
{
	struct volume_lookup *v = container_of(op, struct volume_lookup, op);
	struct csi_volume_id id;
	struct err err = ERR_INIT;

	switch (v->state) {
	case VOLUME_START:
		if (v->is_static)
			return open_static(v, &err) < 0
			    ? op_fail_err(v, VOLUME_END, &err)
			    : volume_image(v);
		if (volume_pool_open(
			v->rpc, v->volume_id, &id, &v->pool, &err) < 0)
			return op_fail_err(v, VOLUME_END, &err);
		v->uuid = arena_strdup(v->rpc->arena, id.uuid);
		journal_read_start(&v->entry, &journal_volumes, v->pool,
		    v->uuid,
		    JOURNAL_BIT(JOURNAL_IMAGENAME) |
			JOURNAL_BIT(JOURNAL_IMAGEID),
		    v->rpc->arena, &op->wake);
		return op_await(v, VOLUME_ITEM_READ);

	case VOLUME_ITEM_READ:
		if (op->rc < 0) {
			err_prefix(&v->entry.err, "volume %s", v->volume_id);
			return op_fail_err(v, VOLUME_END, &v->entry.err);
		}
		v->image = volume_image_name(
		    &v->entry.item, v->uuid, v->rpc->arena);
		return volume_image(v);

	case VOLUME_IMAGE_READ:
		return image_read(v);

	case VOLUME_PLACED:
		return placed(v);

	case VOLUME_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class volume_class = {
	.name = "volume.lookup",
	.step = volume_step,
};

void
volume_lookup_start(struct volume_lookup *volume, struct csi_rpc *rpc,
    const char *volume_id, const struct csi_map *context)
{
	memset(volume, 0, sizeof(*volume));
	volume->rpc = rpc;
	volume->volume_id = volume_id;
	volume->context = context;
	volume->is_static = context != NULL && csi_is_static(context);
	op_start(&volume->op, &volume_class, &rpc->op.wake);
}

void
volume_map_put(struct arena *arena, const ProtobufCMessageDescriptor *type,
    void *entries, size_t *count, const char *key, const char *value)
{
	/* Every map entry is a message with key and value, in this order. */
	struct map_entry {
		ProtobufCMessage base;
		const char *key, *value;
	} *e = csi_new(type, arena);
	void **old = *(void ***)entries;
	void **list = arena_new_bytes(arena, (*count + 1) * sizeof(void *));

	if (*count > 0)
		memcpy(list, old, *count * sizeof(void *));
	e->key = key;
	e->value = value;
	list[(*count)++] = e;
	*(void ***)entries = list;
}
