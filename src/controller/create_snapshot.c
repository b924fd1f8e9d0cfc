/*
 * create_snapshot.c - CreateSnapshot.
 *
 * A snapshot is an image of its own, as with ceph-csi (internal/rbd/snapshot.go):
 *
 *	volume @NAME -> NAME @NAME
 *
 * a clone of a snapshot of the volume that goes to the trash at once, with a
 * snapshot of its own, of which volumes are made. So the volume can be deleted.
 *
 * The rule that holds it together: as in create_volume.c the name is reserved
 * first, and the key that leads to the snapshot is set last, when it is whole.
 * A retry that finds the reservation goes on with what an earlier try has left,
 * so that all of them are of the same moment (docs/JOURNAL.md).
 */
#include "controller/clone_helper.h"
#include "controller/controller.h"
#include "controller/depth.h"
#include "controller/entry.h"
#include "controller/volume_key.h"

#include "base/log.h"
#include "csi.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define META_MAX 4
#define LOOKUPS_MAX 5 /* races with other processes before we give up */

enum create_snapshot_state {
	CREATESNAP_START = 0,
	CREATESNAP_SOURCE_READ, /* what is known of the volume */
	CREATESNAP_LOCKED,      /* the request name is ours in this process */
	CREATESNAP_LOOK_UP,     /* nothing is known of the name (any more) */
	CREATESNAP_FOUND,       /* what the journal has of it */
	/* it is there */
	CREATESNAP_LISTED,    /* which snapshots its image has */
	CREATESNAP_COMPLETED, /* it has its own */
	/* making it */
	CREATESNAP_ROOM,      /* chains and numbers are within the limits */
	CREATESNAP_RESERVED,  /* name, UUID and image name are ours */
	CREATESNAP_KEYED,     /* its key is kept, or it has none */
	CREATESNAP_MADE,      /* the image is there, with its snapshot */
	CREATESNAP_COMMITTED, /* entry and key are there: complete */
	CREATESNAP_OVERTAKEN, /* by another process: what it has made */
	CREATESNAP_ANSWER,    /* the snapshot is there */
	/* undo ladder: what was made, newest first */
	CREATESNAP_UNDO,
	CREATESNAP_UNDO_IMAGE, /* nobody commits it any more */
	CREATESNAP_UNDO_ENTRY,
	CREATESNAP_UNDONE,
	CREATESNAP_UNLOCK,
	CREATESNAP_END,
};

struct create_snapshot {
	struct csi_rpc rpc;
	enum create_snapshot_state state;
	const Csi__V1__CreateSnapshotRequest *req;
	struct csi_map params;
	struct volume_source source;
	struct keylock_claim claim;
	unsigned lookups;

	struct cls_meta *meta;
	struct image_spec spec;
	struct journal journal;
	struct entry_find entry;
	struct depth_check depth;
	struct journal_reserve reserve;
	struct volume_key key;
	struct helper_make make;
	struct journal_commit commit;
	struct helper_undo undo;
	struct journal_release release;
	struct snapshot_list own;
	struct image_job job;

	/* what is answered */
	const struct image_info *info;
	struct ceph_pool *at;
	const char *uuid;
};

/* ---- what it is to be made of ---- */

/* The clone: where its volume is, and as that is. */
static int
read_source(struct create_snapshot *c, struct err *err)
{
	static const char *const names[] = { VOLUME_META_SNAPSHOT "/name",
		VOLUME_META_SNAPSHOT "/namespace",
		VOLUME_META_SNAPSHOT "content/name" };
	const struct image_info *info = c->source.found.info;
	struct ceph_pool *pool = c->source.found.pool, *data_pool;
	struct image_spec *spec = &c->spec;
	const char *value;

	if (!(info->features & RBD_LAYERING))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "source_volume_id: image %s lacks the feature layering, without which there are no snapshots",
		    c->source.found.image);
	if (image_data_pool_open(pool, info, &data_pool, err) < 0)
		return err->rc;
	*spec = (struct image_spec){
		.features = (info->features & features_for(FEATURE_ASKED)) |
		    HELPER_FEATURES,
		.layout = layout_is_striped(&info->layout)
		    ? info->layout
		    : (struct layout){ .order = info->layout.order },
		.data_pool = data_pool != pool ? data_pool : NULL,
		.reserve = &c->reserve,
	};
	c->meta = arena_new_bytes(
	    c->rpc.arena, (c->source.nmeta + META_MAX) * sizeof(*c->meta));
	for (size_t i = 0; i < c->source.nmeta; i++)
		c->meta[spec->nmeta++] = c->source.meta[i];
	for (size_t i = 0; i < countof(names); i++) {
		value = csi_map_get(&c->params, names[i]);
		if (!str_is_empty(value))
			c->meta[spec->nmeta++] = cls_meta_text(names[i], value);
	}
	if (!str_is_empty(c->rpc.env->cluster_name))
		c->meta[spec->nmeta++] = cls_meta_text(
		    VOLUME_META_CLUSTER, c->rpc.env->cluster_name);
	spec->meta = c->meta;
	c->journal = (struct journal){ &journal_snapshots, pool,
		c->rpc.env->instance_id };
	return 0;
}

/* Is what the journal has under this name a snapshot of this volume? */
static int
check_same(const struct create_snapshot *c, struct err *err)
{
	const struct journal_find *find = &c->entry.find;
	const char *source = find->item.attr[JOURNAL_SOURCE];

	if (!str_is_empty(source) && !str_eq(source, c->source.found.image))
		return err_set(err, ERR_ALREADY_EXISTS,
		    "snapshot %s exists and is one of image %s, not of %s",
		    c->req->name, source, c->source.found.image);
	if (find->is_reserved && find->reserved.source != NULL &&
	    !str_eq(find->reserved.source, c->source.found.info->id))
		return err_set(err, ERR_ALREADY_EXISTS,
		    "snapshot %s is being made of the image with id %s, not of %s",
		    c->req->name, find->reserved.source, c->source.found.image);
	return 0;
}

/* ---- the answer ---- */

static int
fill_snapshot_reply(struct create_snapshot *c, struct err *err)
{
	Csi__V1__CreateSnapshotResponse *reply = csi_rpc_reply(&c->rpc);
	Csi__V1__Snapshot *s = csi_new(
	    &csi__v1__snapshot__descriptor, c->rpc.arena);

	s->snapshot_id = volume_id_make(&c->rpc, c->at, c->uuid, err);
	if (s->snapshot_id == NULL)
		return err->rc;
	s->source_volume_id = c->req->source_volume_id;
	s->size_bytes = (int64_t)c->info->size_bytes;
	s->creation_time = csi_new(
	    &google__protobuf__timestamp__descriptor, c->rpc.arena);
	s->creation_time->seconds = c->info->created.tv_sec;
	s->creation_time->nanos = (int32_t)c->info->created.tv_nsec;
	s->ready_to_use = true;
	reply->snapshot = s;
	return 0;
}

/* ---- the steps ---- */

static enum op_verdict
create_snapshot_undo_step(struct create_snapshot *c)
{
	struct op *op = &c->rpc.op;

	switch ((int)c->state) {
	case CREATESNAP_UNDO:
		entry_undo_start(&c->reserve, &c->spec, &op->err, &op->wake);
		return op_await(c, CREATESNAP_UNDO_IMAGE);

	case CREATESNAP_UNDO_IMAGE:
		/* A key may lead to it, or others go on with it: it stays. */
		if (op->rc < 0)
			return err_is_set(&op->err)
			    ? op_goto(c, CREATESNAP_UNLOCK)
			    : op_goto(c, CREATESNAP_LOOK_UP);
		if (c->make.source == NULL) /* its key was not to be had */
			return op_goto(c, CREATESNAP_UNDO_ENTRY);
		helper_undo_start(&c->undo, &c->make, NULL,
		    c->rpc.env->instance_id, &op->wake);
		return op_await(c, CREATESNAP_UNDO_ENTRY);

	case CREATESNAP_UNDO_ENTRY:
		if (op->rc < 0) /* the reservation leads to what is left */
			return op_fail_as(c, CREATESNAP_UNLOCK, undo.op);
		entry_release_start(
		    &c->release, &c->reserve, c->req->name, &op->wake);
		return op_await(c, CREATESNAP_UNDONE);

	case CREATESNAP_UNDONE:
		if (op->rc < 0)
			log_warn("snapshot.undo", "name=%s code=%s",
			    c->req->name,
			    err_code_name(c->release.op.err.code));
		if (op->rc < 0)
			return op_fail_as(c, CREATESNAP_UNLOCK, release.op);
		/* What was in the way is gone: from the begin. */
		return err_is_set(&op->err) ? op_goto(c, CREATESNAP_UNLOCK)
					    : op_goto(c, CREATESNAP_LOOK_UP);

	case CREATESNAP_UNLOCK:
		keylock_release(controller.names, &c->claim);
		return op_goto(c, CREATESNAP_END);

	default:
		snapshot_list_fini(&c->own);
		volume_source_fini(&c->source);
		return OP_DONE;
	}
}

/* No such snapshot: makes it. */
static enum op_verdict
create_snapshot_make_step(struct create_snapshot *c)
{
	const struct journal_item *volume = &c->source.found.entry.item;
	const struct journal_find *find = &c->entry.find;
	struct op *op = &c->rpc.op;
	struct err err = ERR_INIT;

	switch ((int)c->state) {
	case CREATESNAP_ROOM:
		if (op->rc < 0)
			return op_fail_as(c, CREATESNAP_UNLOCK, depth.op);
		if (op->detached)
			return op_fail(c, CREATESNAP_UNLOCK, ERR_CANCELLED,
			    "the caller is gone");
		journal_reserve_start(&c->reserve, &c->entry.find,
		    c->rpc.in->snapshot_prefix, volume->attr[JOURNAL_OWNER],
		    c->source.found.info->id, &op->wake);
		return op_await(c, CREATESNAP_RESERVED);

	case CREATESNAP_RESERVED:
		if (op->rc == -EAGAIN)
			return op_goto(c, CREATESNAP_LOOK_UP);
		if (op->rc < 0)
			return op_fail_as(c, CREATESNAP_UNLOCK, reserve);
		c->reserve.item.attr[JOURNAL_SOURCE] = c->source.found.image;
		c->spec.name = c->reserve.item.attr[JOURNAL_IMAGENAME];
		volume_key_start(&c->key, &c->rpc, volume->attr[JOURNAL_KMS],
		    &c->source, &c->spec, &c->reserve, &op->wake);
		return op_await(c, CREATESNAP_KEYED);

	case CREATESNAP_KEYED:
		if (op->rc < 0)
			return op_fail_as(c, CREATESNAP_UNDO, key.op);
		c->make = (struct helper_make){
			.source = &c->source,
			.pool = c->reserve.item_pool,
			.like = &c->spec,
			.snapshot = c->spec.name,
			.is_resumed = c->entry.find.found ||
			    c->entry.find.is_reserved,
		};
		if (c->reserve.marked)
			return op_goto(c, CREATESNAP_UNDO);
		helper_make_start(&c->make, &op->wake);
		return op_await(c, CREATESNAP_MADE);

	case CREATESNAP_MADE:
		if (op->rc < 0)
			return op_fail_as(c, CREATESNAP_UNDO, make.op);
		c->reserve.item.attr[JOURNAL_IMAGEID] = c->make.id;
		journal_commit_start(&c->commit, &c->reserve, &op->wake);
		return op_await(c, CREATESNAP_COMMITTED);

	case CREATESNAP_COMMITTED:
		if (op->rc == -EAGAIN) {
			entry_find_start(&c->entry, &c->rpc, &c->journal,
			    c->req->name, NULL, &op->wake);
			return op_await(c, CREATESNAP_OVERTAKEN);
		}
		if (op->rc < 0)
			return op_fail_as(c, CREATESNAP_UNDO, commit.op);
		c->info = &c->make.lookup.info;
		return op_goto(c, CREATESNAP_ANSWER);

	case CREATESNAP_OVERTAKEN:
		if (op->rc < 0)
			return op_fail_as(c, CREATESNAP_UNLOCK, entry.op);
		return entry_overtaken(find, &c->reserve)
		    ? op_goto(c, CREATESNAP_FOUND)
		    : op_goto(c, CREATESNAP_UNDO);

	case CREATESNAP_ANSWER:
		if (c->at == NULL) { /* it is new */
			c->at = c->reserve.item_pool;
			c->uuid = c->reserve.uuid;
		}
		if (fill_snapshot_reply(c, &err) < 0)
			return op_fail_err(c, CREATESNAP_UNLOCK, &err);
		return op_goto(c, CREATESNAP_UNLOCK);

	default:
		return OP_DONE;
	}
}

static enum op_verdict
create_snapshot_step(struct op *op)
{
	struct create_snapshot *c = (struct create_snapshot *)op;
	const struct journal_find *find = &c->entry.find;
	struct err err = ERR_INIT;

	switch (c->state) {
	case CREATESNAP_START:
		c->req = c->rpc.request;
		c->params = csi_map_of(c->req, parameters);
		volume_source_start(
		    &c->source, &c->rpc, NULL, NULL, NULL, &op->wake);
		return op_await(c, CREATESNAP_SOURCE_READ);

	case CREATESNAP_SOURCE_READ:
		if (op->rc < 0)
			return op_fail_as(c, CREATESNAP_END, source.op);
		if (read_source(c, &err) < 0)
			return op_fail_err(c, CREATESNAP_END, &err);
		controller_name_take_start(
		    &c->claim, &c->rpc, &c->journal, c->req->name, &op->wake);
		return op_await(c, CREATESNAP_LOCKED);

	case CREATESNAP_LOCKED:
	case CREATESNAP_LOOK_UP:
		if (op->detached) /* nothing of it is made: stop here */
			return op_fail(c, CREATESNAP_UNLOCK, ERR_CANCELLED,
			    "the caller is gone");
		if (c->lookups++ == LOOKUPS_MAX)
			return op_fail(c, CREATESNAP_UNLOCK, ERR_ABORTED,
			    "snapshot %s is being made by several processes",
			    c->req->name);
		entry_find_start(&c->entry, &c->rpc, &c->journal, c->req->name,
		    NULL, &op->wake);
		return op_await(c, CREATESNAP_FOUND);

	case CREATESNAP_FOUND:
		if (op->rc < 0)
			return op_fail_as(c, CREATESNAP_UNLOCK, entry.op);
		if (check_same(c, &err) < 0)
			return op_fail_err(c, CREATESNAP_UNLOCK, &err);
		if (c->entry.stands) {
			c->info = &c->entry.lookup.info;
			c->at = find->item_pool;
			c->uuid = find->ref.uuid;
			snapshot_list_start(
			    &c->own, c->at, c->info->id, &op->wake);
			return op_await(c, CREATESNAP_LISTED);
		}
		if (find->found || find->is_reserved) /* as it was begun */
			return op_goto(c, CREATESNAP_ROOM);
		c->depth = (struct depth_check){
			.env = c->rpc.env,
			.arena = c->rpc.arena,
			.pool = c->source.found.pool,
			.image = c->source.found.image,
			.info = c->source.found.info,
		};
		depth_check_start(&c->depth, &op->wake);
		return op_await(c, CREATESNAP_ROOM);

	case CREATESNAP_LISTED:
		if (op->rc < 0)
			return op_fail_as(c, CREATESNAP_UNLOCK, own.op);
		if (snapshot_named(&c->own, find->item.attr[JOURNAL_IMAGENAME]))
			return op_goto(c, CREATESNAP_ANSWER);
		/* ceph-csi was killed before it had made that. */
		c->job = (struct image_job){
			.kind = IMAGE_JOB_SNAPSHOT,
			.pool = c->at,
			.image_id = c->info->id,
			.snapshot = find->item.attr[JOURNAL_IMAGENAME],
		};
		image_job_start(&c->job, &op->wake);
		return op_await(c, CREATESNAP_COMPLETED);

	case CREATESNAP_COMPLETED:
		if (op->rc < 0)
			return op_fail_as(c, CREATESNAP_UNLOCK, job.op);
		return op_goto(c, CREATESNAP_ANSWER);

	case CREATESNAP_ROOM:
	case CREATESNAP_RESERVED:
	case CREATESNAP_KEYED:
	case CREATESNAP_MADE:
	case CREATESNAP_COMMITTED:
	case CREATESNAP_OVERTAKEN:
	case CREATESNAP_ANSWER:
		return create_snapshot_make_step(c);

	case CREATESNAP_UNDO:
	case CREATESNAP_UNDO_IMAGE:
	case CREATESNAP_UNDO_ENTRY:
	case CREATESNAP_UNDONE:
	case CREATESNAP_UNLOCK:
	case CREATESNAP_END:
		return create_snapshot_undo_step(c);
	}
	abort();
}

static const struct op_class create_snapshot_class = {
	.name = "CreateSnapshot",
	.step = create_snapshot_step,
};

const struct csi_impl create_snapshot_impl = {
	.cls = &create_snapshot_class,
	.size = sizeof(struct create_snapshot),
};
