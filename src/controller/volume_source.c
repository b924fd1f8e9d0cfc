/*
 * volume_source.c - looking up what a new volume is to be a copy of.
 */
#include "controller/volume_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * librbd gives a clone all metadata of its parent, and ceph-csi takes away
 * what names the source: those of a volume, or of a snapshot. Here, neither
 * who has the source attached goes along, which librbd copies.
 */
static bool
is_inherited(const char *key)
{
	static const char *const own[] = {
		VOLUME_META_PVC_NAME,
		VOLUME_META_PVC_NAMESPACE,
		VOLUME_META_PV_NAME,
		VOLUME_META_CLUSTER,
		VOLUME_META_MOUNTER,
		VOLUME_META_FILESYSTEM,
	};
	static const char *const own_prefix[] = {
		VOLUME_META_SNAPSHOT,
		VOLUME_META_USER,
		VOLUME_META_ADDRESS,
		VOLUME_META_PUBLISHED,
		VOLUME_META_CLIENT,
	};

	for (size_t i = 0; i < countof(own); i++)
		if (str_eq(key, own[i]))
			return false;
	for (size_t i = 0; i < countof(own_prefix); i++)
		if (str_starts(key, own_prefix[i]))
			return false;
	return true;
}

static void
take_meta(struct volume_source *s)
{
	s->meta = arena_new_bytes(
	    s->rpc->arena, (s->list.n + 1) * sizeof(*s->meta));
	for (size_t i = 0; i < s->list.n; i++)
		if (is_inherited(s->list.meta[i].key))
			s->meta[s->nmeta++] = s->list.meta[i];
}

static bool
is_encrypted(const struct volume_source *s)
{
	const struct journal_item *item = &s->found.entry.item;

	return !str_is_empty(item->attr[JOURNAL_KMS]) ||
	    !str_is_empty(item->attr[JOURNAL_ENCRYPTION]) ||
	    volume_is_encrypted(&s->list);
}

void
volume_parent_of(struct cls_parent *parent, const struct ceph_pool *pool,
    const char *image_id, uint64_t snap)
{
	parent->pool = pool->id;
	parent->snap = snap;
	(void)snprintf(parent->rados_namespace, sizeof(parent->rados_namespace),
	    "%s", pool->rados_namespace);
	(void)snprintf(parent->id, sizeof(parent->id), "%s", image_id);
}

bool
volume_source_is_of(
    const struct volume_source *s, const struct cls_parent *parent)
{
	const struct ceph_pool *pool = s->found.pool;

	return parent->pool == pool->id &&
	    str_eq(parent->rados_namespace, pool->rados_namespace) &&
	    str_eq(parent->id, s->found.info->id);
}

static void
take_snapshot(struct volume_source *s, const struct cls_snapshot *snap)
{
	s->size_bytes = snap->size_bytes;
	volume_parent_of(
	    &s->parent, s->found.pool, s->found.info->id, snap->id);
	s->is_origin = s->copy != NULL &&
	    volume_source_is_of(s, &s->copy->parent);
}

static enum op_verdict
source_step(struct op *op)
{
	struct volume_source *s = (struct volume_source *)op;
	const struct cls_snapshot *snap;

	switch (s->state) {
	case SOURCE_START:
		source_lookup_start(&s->found, s->rpc, s->is_snapshot,
		    s->is_snapshot ? NULL : &s->list, &op->wake);
		return op_await(s, SOURCE_FOUND);

	case SOURCE_FOUND:
		if (op->rc < 0)
			return op_fail_as(s, SOURCE_END, found.op);
		s->size_bytes = s->found.info->size_bytes;
		if (!s->is_snapshot)
			return op_goto(s, SOURCE_META_READ);
		/* The last snapshot of a snapshot's image is its own. */
		image_meta_list_start(&s->list, s->found.pool,
		    s->found.info->id, s->found.info->snap_seq, &op->wake);
		return op_await(s, SOURCE_META_READ);

	case SOURCE_META_READ:
		if (op->rc < 0)
			return op_fail_as(s, SOURCE_END, list);
		/* A snapshot is encrypted if its volume is. */
		if (s->rpc->in->def == &csi_definitions[CSI_CREATE_VOLUME] &&
		    is_encrypted(s) != s->rpc->in->class.encrypted)
			return op_fail(s, SOURCE_END, ERR_INVALID_ARGUMENT,
			    is_encrypted(s)
				? "it is encrypted, and the new volume is not"
				: "it is not encrypted, and the new volume is to be");
		take_meta(s);
		snap = &s->list.snapshot;
		/* Is it the one by which a CSI snapshot's image is cloned? */
		if (s->is_snapshot && snap->id != 0 &&
		    snap->kind == SNAP_USER &&
		    str_eq(snap->name, s->found.image)) {
			take_snapshot(s, snap);
			return op_goto(s, SOURCE_END);
		}
		if (s->is_snapshot) {
			snapshot_list_start(&s->snaps, s->found.pool,
			    s->found.info->id, &op->wake);
			return op_await(s, SOURCE_LISTED);
		}
		if (s->copy == NULL || s->copy->parent.pool < 0)
			return op_goto(s, SOURCE_END);
		image_lookup_start(&s->helper, s->copy_pool,
		    arena_fmt(
			s->rpc->arena, "%s" IMAGE_HELPER_SUFFIX, s->copy_image),
		    NULL, false, &op->wake);
		return op_await(s, SOURCE_HELPER_READ);

	case SOURCE_LISTED:
		if (op->rc < 0)
			return op_fail_as(s, SOURCE_END, snaps.op);
		snap = snapshot_named(&s->snaps, s->found.image);
		if (snap == NULL)
			return op_fail(s, SOURCE_END, ERR_NOT_FOUND,
			    "image %s in %s: has no snapshot of this name",
			    s->found.image, ceph_pool_label(s->found.pool));
		take_snapshot(s, snap);
		return op_goto(s, SOURCE_END);

	case SOURCE_HELPER_READ:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_as(s, SOURCE_END, helper.op);
		/* One that was flattened does not tell any more. */
		s->is_origin = op->rc == 0 &&
		    str_eq(s->helper.info.id, s->copy->parent.id) &&
		    (s->helper.info.parent.pool < 0 ||
			volume_source_is_of(s, &s->helper.info.parent));
		return op_goto(s, SOURCE_END);

	case SOURCE_END:
		if (err_is_set(&op->err))
			err_prefix(&op->err, "%s",
			    s->rpc->in->def->session.field != NULL
				? s->rpc->in->def->session.field
				: "volume_content_source");
		return OP_DONE;
	}
	abort();
}

static const struct op_class source_class = {
	.name = "volume.source",
	.step = source_step,
};

void
volume_source_start(struct volume_source *s, struct csi_rpc *rpc,
    struct ceph_pool *pool, const char *image, const struct image_info *copy,
    struct wake *waiter)
{
	bool create = rpc->in->def == &csi_definitions[CSI_CREATE_VOLUME];
	const Csi__V1__CreateVolumeRequest *req = create ? rpc->request : NULL;

	volume_source_fini(s); /* of an earlier look-up */
	*s = (struct volume_source){
		.rpc = rpc,
		.copy_pool = pool,
		.copy_image = image,
		.copy = copy,
		.is_snapshot = req != NULL &&
		    req->volume_content_source->type_case ==
			CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT,
	};
	op_start(&s->op, &source_class, waiter);
}

void
volume_source_fini(struct volume_source *s)
{
	image_meta_list_fini(&s->list);
	snapshot_list_fini(&s->snaps);
}
