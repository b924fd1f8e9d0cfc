/*
 * volume.c - looking a volume or a snapshot up.
 */
#include "controller/volume.h"

#include "controller/controller.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int
volume_pool_open(const struct csi_rpc *rpc, const struct journal_kind *kind,
    const char *id, struct ceph_pool **pool, struct err *err)
{
	int rc;

	if (rpc->in->id_kind != CSI_ID_OURS)
		return err_set(err, ERR_NOT_FOUND,
		    "%s %s: is no identifier of this driver", kind->noun, id);
	rc = ceph_pool_open_id(controller.conn, rpc->in->id.pool_id,
	    rpc->env->rados_namespace, pool, err);
	if (rc < 0) {
		err_prefix(err, "%s %s", kind->noun, id);
		return rc;
	}
	controller_resume(*pool, rpc->env->instance_id);
	return 0;
}

const char *
volume_image_name(const struct journal_kind *kind,
    const struct journal_item *item, const char *uuid, struct arena *arena)
{
	if (!str_is_empty(item->attr[JOURNAL_IMAGENAME]))
		return item->attr[JOURNAL_IMAGENAME];
	return arena_fmt(arena, "%s%s", kind->image, uuid);
}

const char *
volume_meta_published(
    struct arena *arena, const char *image_id, const char *node)
{
	return arena_fmt(arena, VOLUME_META_PUBLISHED "%s/%s", image_id, node);
}

const char *
volume_meta_get(const struct image_meta_list *list, const char *key)
{
	for (size_t i = 0; i < list->n; i++)
		if (str_eq(list->meta[i].key, key))
			return list->meta[i].value;
	return NULL;
}

const char *
volume_ip_of(struct arena *arena, const char *address)
{
	char *ip = arena_strdup(arena, address + (*address == '['));
	char *end = strchr(ip, ']');

	if (end == NULL)
		end = strchr(ip, ':');
	if (end != NULL)
		*end = '\0';
	return ip;
}

const char *
volume_encryption(const struct image_meta_list *list)
{
	const char *state = volume_meta_get(list, VOLUME_META_ENCRYPTED);

	if (str_is_empty(state))
		state = volume_meta_get(list, VOLUME_META_ENCRYPTED_OLD);
	return state != NULL ? state : "";
}

const char *
volume_dek(const struct image_meta_list *list)
{
	const char *text = volume_meta_get(list, VOLUME_META_DEK);

	return !str_is_empty(text) ? text
				   : volume_meta_get(list, VOLUME_META_DEK_OLD);
}

bool
volume_is_encrypted(const struct image_meta_list *list)
{
	return *volume_encryption(list) != '\0';
}

struct cls_meta *
volume_meta_join(struct arena *arena, const struct cls_meta *a, size_t na,
    const struct cls_meta *b, size_t nb, size_t *n)
{
	struct cls_meta *all = arena_new_bytes(
	    arena, (na + nb + 1) * sizeof(*all));

	*n = 0;
	for (size_t i = 0; i < na; i++) {
		bool replaced = false;

		for (size_t j = 0; j < nb && !replaced; j++)
			replaced = str_eq(a[i].key, b[j].key);
		if (!replaced)
			all[(*n)++] = a[i];
	}
	for (size_t j = 0; j < nb; j++)
		all[(*n)++] = b[j];
	return all;
}

/*
 * Pool and image of a static volume stand in its context and its ID, those of
 * an in-tree volume in its handle: neither has a journal entry.
 */
static int
open_named(struct volume_lookup *v, struct err *err)
{
	const struct csi_migrated_id *id = &v->rpc->in->migrated;
	const char *pool = v->is_static ? csi_map_get(v->context, "pool")
					: id->pool;
	int rc;

	if (str_is_empty(pool))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "volume_context.pool: missing");
	rc = ceph_pool_open(controller.conn, pool,
	    v->is_static ? v->rpc->env->rados_namespace : "", &v->pool, err);
	if (rc < 0)
		err_prefix(err, "volume %s", v->id);
	v->image = v->is_static ? v->id : id->image;
	return rc;
}

static enum op_verdict
volume_step(struct op *op)
{
	struct volume_lookup *v = (struct volume_lookup *)op;
	const char *id = v->entry.item.attr[JOURNAL_IMAGEID];
	bool by_id = v->kind == &journal_snapshots && !str_is_empty(id);
	struct err err = ERR_INIT;

	switch (v->state) {
	case VOLUME_START:
		if (v->is_static || v->rpc->in->id_kind == CSI_ID_MIGRATED)
			return open_named(v, &err) < 0
			    ? op_fail_err(v, VOLUME_END, &err)
			    : op_goto(v, VOLUME_NAMED);
		if (volume_pool_open(v->rpc, v->kind, v->id, &v->pool, &err) <
		    0)
			return op_fail_err(v, VOLUME_END, &err);
		journal_read_start(&v->entry, v->kind, v->pool,
		    v->rpc->in->id.uuid,
		    JOURNAL_BIT(JOURNAL_IMAGENAME) |
			JOURNAL_BIT(JOURNAL_IMAGEID),
		    v->rpc->arena, &op->wake);
		return op_await(v, VOLUME_ITEM_READ);

	case VOLUME_ITEM_READ:
		if (op->rc < 0)
			return op_fail_as(v, VOLUME_END, entry);
		v->image = volume_image_name(v->kind, &v->entry.item,
		    v->rpc->in->id.uuid, v->rpc->arena);
		return op_goto(v, VOLUME_NAMED);

	case VOLUME_NAMED:
		image_lookup_with_start(&v->lookup, v->pool, v->image,
		    by_id ? id : NULL, v->is_source && !by_id, v->list,
		    &op->wake);
		return op_await(v, VOLUME_IMAGE_READ);

	case VOLUME_IMAGE_READ:
		if (op->rc == -ENOENT && !str_is_empty(id)) {
			image_place_start(
			    &v->place, v->pool, v->image, id, &op->wake);
			return op_await(v, VOLUME_PLACED);
		}
		if (op->rc < 0)
			return op_fail_as(v, VOLUME_END, lookup.op);
		v->info = &v->lookup.info;
		/* Whoever renamed it has to say what it is now. */
		if (!str_is_empty(id) && !str_eq(v->info->id, id))
			return op_fail(v, VOLUME_END, ERR_FAILED_PRECONDITION,
			    "image %s in %s: has id %s, not %s", v->image,
			    ceph_pool_label(v->pool), v->info->id, id);
		return op_goto(v, VOLUME_END);

	case VOLUME_PLACED:
		if (op->rc < 0)
			return op_fail_as(v, VOLUME_END, place.op);
		if (v->place.standing == IMAGE_ELSEWHERE)
			return op_fail(v, VOLUME_END, ERR_FAILED_PRECONDITION,
			    "image %s in %s: %s", v->image,
			    ceph_pool_label(v->pool), v->place.why);
		if (v->place.standing == IMAGE_IN_TRASH)
			return image_fail(v, VOLUME_END,
			    ERR_FAILED_PRECONDITION, v->image,
			    "is in the trash");
		return op_fail_as(v, VOLUME_END, lookup.op); /* not found */

	case VOLUME_END:
		if (err_is_set(&op->err) && v->pool != NULL)
			err_prefix(&op->err, "%s %s", v->kind->noun, v->id);
		return OP_DONE;
	}
	abort();
}

static const struct op_class volume_class = {
	.name = "volume.lookup",
	.step = volume_step,
};

static void
lookup_start(struct volume_lookup *v, const struct journal_kind *kind,
    struct csi_rpc *rpc, const char *id, const struct csi_map *context,
    struct wake *waiter)
{
	memset(v, 0, sizeof(*v));
	v->rpc = rpc;
	v->kind = kind;
	v->id = id;
	v->context = context;
	v->is_static = context != NULL && csi_is_static(context);
	op_start(&v->op, &volume_class, waiter);
}

void
volume_lookup_start(struct volume_lookup *volume, struct csi_rpc *rpc,
    const char *volume_id, const struct csi_map *context, struct wake *waiter)
{
	lookup_start(volume, &journal_volumes, rpc, volume_id, context, waiter);
}

void
source_lookup_start(struct volume_lookup *source, struct csi_rpc *rpc,
    bool is_snapshot, struct image_meta_list *list, struct wake *waiter)
{
	lookup_start(source,
	    is_snapshot ? &journal_snapshots : &journal_volumes, rpc,
	    rpc->in->id_text, NULL, waiter);
	source->is_source = true;
	source->list = list;
}

char *
volume_id_make(const struct csi_rpc *rpc, const struct ceph_pool *pool,
    const char *uuid, struct err *err)
{
	char *text = arena_new_bytes(rpc->arena, CSI_VOLUME_ID_MAX + 1);
	struct csi_volume_id id = { .pool_id = pool->id };
	struct err ignored = ERR_INIT;

	if (str_put(id.cluster_id, sizeof(id.cluster_id), "%s",
		rpc->env->cluster_id) == 0 &&
	    str_put(id.uuid, sizeof(id.uuid), "%s", uuid) == 0 &&
	    csi_volume_id_fmt(text, &id, &ignored) == 0)
		return text;
	(void)err_set(err, ERR_INVALID_ARGUMENT,
	    "parameters.clusterID: %s makes no volume ID",
	    rpc->env->cluster_id);
	return NULL;
}

void
volume_map_put(struct arena *arena, void *message, const char *field,
    const char *key, const char *value)
{
	ProtobufCMessage *m = message;
	const ProtobufCFieldDescriptor *map =
	    protobuf_c_message_descriptor_get_field_by_name(
		m->descriptor, field);
	size_t *count = (void *)((char *)message + map->quantifier_offset);
	void ***entries = (void *)((char *)message + map->offset);
	void **list = arena_new_bytes(arena, (*count + 1) * sizeof(void *));
	/* Every map entry is a message with key and value, in this order. */
	struct map_entry {
		ProtobufCMessage base;
		const char *key, *value;
	} *e = csi_new(map->descriptor, arena);

	if (*count > 0)
		memcpy(list, *entries, *count * sizeof(void *));
	e->key = key;
	e->value = value;
	list[(*count)++] = e;
	*entries = list;
}
