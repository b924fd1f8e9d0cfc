/*
 * delete_volume.c - DeleteVolume.
 *
 * The rule that holds it together: first the image leaves its name, then a
 * note says that it is to be purged, then the journal lets go of the volume.
 * The caller is answered there; the purge goes on in the background. Until
 * the answer the caller repeats the call by volume ID, which finds the journal
 * entry: so the entry is what goes last. Where the entry's image name and
 * image id do not belong together any more, nothing is destroyed and nothing
 * is forgotten.
 */
#include "controller/controller.h"
#include "controller/discard.h"
#include "controller/purge.h"
#include "controller/volume.h"

#include "base/log.h"
#include "csi.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum delete_volume_state {
	DELETEVOL_START = 0,
	DELETEVOL_ITEM_READ,    /* the journal entry has been read */
	DELETEVOL_LEFT_READ,    /* there is none: is an image left? */
	DELETEVOL_LOCKED,       /* the request name is ours in this process */
	DELETEVOL_DISCARDED,    /* the image is in the trash */
	DELETEVOL_HELPER_FOUND, /* the clone's parent was looked for */
	DELETEVOL_HELPER_FREED, /* the helper's snapshot is gone */
	DELETEVOL_HELPER_MOVED, /* the helper is in the trash */
	DELETEVOL_HELPER_NOTED, /* a note says that it is to be purged */
	DELETEVOL_NOTED,        /* the same for the image, and so later */
	DELETEVOL_RELEASED,     /* directory key and entry are gone */
	DELETEVOL_UNLOCK,
	DELETEVOL_END,
};

struct delete_volume {
	struct csi_rpc rpc;
	enum delete_volume_state state;
	const Csi__V1__DeleteVolumeRequest *req;
	struct csi_volume_id id;
	struct ceph_pool *pool;     /* of entry and image */
	struct ceph_pool *dir_pool; /* of the directory */
	struct keylock_claim claim;
	const char *name; /* request name; NULL: not known */
	const char *image;
	bool migrated; /* an in-tree volume: no journal */
	struct journal_read entry;
	struct journal_release release;
	struct image_lookup left;
	struct discard discard;
	/* ceph-csi's helper between a source and the clone made of it */
	const char *helper;
	struct image_place place;
	struct lane_job lane;
	struct discard helper_discard;
};

/* A volume that cannot be there (any more) is deleted. */
static enum op_verdict
nothing_there(struct delete_volume *d, const struct err *why)
{
	char text[ERR_TEXT_MAX + 16];

	log_info("volume.unknown", "volume=%s why=%s", d->req->volume_id,
	    log_quote(text, sizeof(text), why->text));
	d->rpc.reply = csi_new(
	    &csi__v1__delete_volume_response__descriptor, d->rpc.arena);
	return op_goto(d, DELETEVOL_END);
}

static enum op_verdict
answer(struct delete_volume *d)
{
	d->rpc.reply = csi_new(
	    &csi__v1__delete_volume_response__descriptor, d->rpc.arena);
	return op_goto(d, DELETEVOL_UNLOCK);
}

/* What the in-tree driver made is named by the handle, and by nothing else. */
static enum op_verdict
start_migrated(struct delete_volume *d)
{
	const struct csi_migrated_id *id = &d->rpc.in->migrated;
	struct err err = ERR_INIT;
	int rc;

	d->migrated = true;
	d->image = id->image;
	rc = ceph_pool_open(
	    controller_connection(), id->pool, "", &d->pool, &err);
	if (rc == -ENOENT)
		return nothing_there(d, &err);
	if (rc < 0)
		return op_fail_err(d, DELETEVOL_END, &err);
	purge_resume(d->pool, d->rpc.env->instance_id);
	return op_goto(d, DELETEVOL_LOCKED);
}

static enum op_verdict
start(struct delete_volume *d)
{
	struct err err = ERR_INIT;
	int rc;

	d->req = d->rpc.request;
	if (d->rpc.in->id_kind == CSI_ID_MIGRATED)
		return start_migrated(d);
	rc = volume_pool_open(
	    &d->rpc, d->req->volume_id, &d->id, &d->pool, &err);
	if (rc == -ENOENT)
		return nothing_there(d, &err);
	if (rc < 0)
		return op_fail_err(d, DELETEVOL_END, &err);
	journal_read_start(&d->entry, &journal_volumes, d->pool, d->id.uuid,
	    JOURNAL_IDENTITY | JOURNAL_BIT(JOURNAL_POOL), d->rpc.arena,
	    &d->rpc.op.wake);
	return op_await(d, DELETEVOL_ITEM_READ);
}

/* The pool of the directory, if it is not the image's (never written now). */
static int
open_directory(struct delete_volume *d, struct err *err)
{
	const char *text = d->entry.item.attr[JOURNAL_POOL];
	char *end;
	uint64_t id;

	d->dir_pool = d->pool;
	if (str_is_empty(text))
		return 0;
	id = strtoull(text, &end, 16);
	if (*end != '\0')
		return err_set(err, ERR_DATA_LOSS,
		    "journal entry %s: %s is no pool id", d->id.uuid, text);
	return ceph_pool_open_id(controller_connection(), (int64_t)id,
	    d->rpc.env->rados_namespace, &d->dir_pool, err);
}

static enum op_verdict
judge_item(struct delete_volume *d)
{
	const struct journal_item *item = &d->entry.item;
	struct err err = ERR_INIT;
	int rc;

	if (d->rpc.op.rc == -ENOENT) {
		d->image = volume_image_name(item, d->id.uuid, d->rpc.arena);
		image_lookup_start(
		    &d->left, d->pool, d->image, NULL, true, &d->rpc.op.wake);
		return op_await(d, DELETEVOL_LEFT_READ);
	}
	if (d->rpc.op.rc < 0)
		return op_fail_err(d, DELETEVOL_END, &d->entry.err);
	d->image = volume_image_name(item, d->id.uuid, d->rpc.arena);
	d->name = item->attr[JOURNAL_NAME];
	rc = open_directory(d, &err);
	if (rc == -ENOENT) /* then no key is left to remove */
		d->name = NULL;
	else if (rc < 0)
		return op_fail_err(d, DELETEVOL_END, &err);
	if (str_is_empty(d->name)) {
		d->name = NULL;
		return op_goto(d, DELETEVOL_LOCKED);
	}
	d->claim.what = "DeleteVolume";
	keylock_take_start(controller_names(), &d->claim,
	    controller_name_key(d->rpc.arena, d->dir_pool, d->name),
	    &d->rpc.op.wake);
	return op_await(d, DELETEVOL_LOCKED);
}

/*
 * No entry, so the volume is deleted, unless its image says otherwise: the
 * journal was lost, or config.json names another RADOS namespace. The image
 * of a mirror's other side is not for this side to delete.
 */
static enum op_verdict
judge_left(struct delete_volume *d)
{
	const struct image_info *info = &d->left.info;

	if (d->rpc.op.rc == -ENOENT ||
	    (d->rpc.op.rc == 0 &&
		(info->mirrored || (info->features & RBD_NON_PRIMARY))))
		return nothing_there(d, &d->entry.err);
	if (d->rpc.op.rc < 0)
		return op_fail_err(d, DELETEVOL_END, &d->left.op.err);
	return op_fail(d, DELETEVOL_END, ERR_FAILED_PRECONDITION,
	    "volume %s: image %s exists, id %s, but %s; nothing is deleted",
	    d->req->volume_id, d->image, info->id, d->entry.err.text);
}

static enum op_verdict
discard_image(struct delete_volume *d)
{
	const char *id = d->entry.item.attr[JOURNAL_IMAGEID];

	if (d->rpc.op.detached) /* nothing is changed: stop here */
		return op_fail(
		    d, DELETEVOL_UNLOCK, ERR_CANCELLED, "the caller is gone");
	if (!str_is_empty(id) && strlen(id) >= RBD_ID_SIZE)
		return op_fail(d, DELETEVOL_UNLOCK, ERR_DATA_LOSS,
		    "journal entry %s has an image id that is too long",
		    d->id.uuid);
	/* No id: ceph-csi was killed before it had stored it. */
	discard_start(&d->discard, d->pool, d->image,
	    str_is_empty(id) ? NULL : id, &d->rpc.op.wake);
	return op_await(d, DELETEVOL_DISCARDED);
}

static enum op_verdict
discard_failed(struct delete_volume *d, struct discard *discard)
{
	err_prefix(&discard->op.err, "volume %s", d->req->volume_id);
	return op_fail_err(d, DELETEVOL_UNLOCK, &discard->op.err);
}

static enum op_verdict
release(struct delete_volume *d)
{
	if (d->migrated)
		return op_goto(d, DELETEVOL_RELEASED);
	d->release = (struct journal_release){
		.journal = { &journal_volumes, d->dir_pool,
		    d->rpc.env->instance_id },
		.item_pool = d->pool,
		.uuid = d->id.uuid,
		.name = d->name,
	};
	journal_release_start(&d->release, &d->rpc.op.wake);
	return op_await(d, DELETEVOL_RELEASED);
}

static enum op_verdict
note(struct delete_volume *d, const struct discard *discard,
    enum delete_volume_state next)
{
	if (!discard->moved)
		return op_goto(d, next);
	journal_purge_note_start(d->pool, d->rpc.env->instance_id, discard->id,
	    &(struct journal_purge){ .image = discard->name }, &d->rpc.op.wake);
	return op_await(d, next);
}

static enum op_verdict
discard_helper(struct delete_volume *d, const char *id)
{
	discard_start(
	    &d->helper_discard, d->pool, d->helper, id, &d->rpc.op.wake);
	return op_await(d, DELETEVOL_HELPER_MOVED);
}

/*
 * A clone that ceph-csi made of a volume hangs on a helper, IMAGE-temp, which
 * goes with it, as with ceph-csi. The directory was asked for the helper when
 * the image was looked for; when it does not have it, then the helper may be in
 * the trash already, and is the clone's parent. So the clone is noted after
 * the helper: once it is purged nothing leads to the helper any more.
 */
static enum op_verdict
look_for_helper(struct delete_volume *d)
{
	const struct trash_move *move = &d->discard.move;
	const struct cls_parent *parent = &move->lookup.info.parent;

	if (d->migrated)
		return note(d, &d->discard, DELETEVOL_NOTED);
	d->helper = arena_fmt(d->rpc.arena, "%s" IMAGE_HELPER_SUFFIX, d->image);
	if (move->place.helper_id[0] != '\0') {
		d->lane = (struct lane_job){
			.kind = LANE_HELPER_FREE,
			.pool = d->pool,
			.image = d->image, /* the name of the snapshot */
			.image_id = move->place.helper_id,
		};
		lane_job_start(&d->lane, &d->rpc.op.wake);
		return op_await(d, DELETEVOL_HELPER_FREED);
	}
	if (!d->discard.moved || parent->pool != d->pool->id ||
	    !str_eq(parent->rados_namespace, d->pool->rados_namespace))
		return note(d, &d->discard, DELETEVOL_NOTED);
	image_place_start(
	    &d->place, d->pool, d->helper, parent->id, &d->rpc.op.wake);
	return op_await(d, DELETEVOL_HELPER_FOUND);
}

static enum op_verdict
delete_volume_step(struct op *op)
{
	struct delete_volume *d = (struct delete_volume *)op;

	switch (d->state) {
	case DELETEVOL_START:
		return start(d);

	case DELETEVOL_ITEM_READ:
		return judge_item(d);

	case DELETEVOL_LEFT_READ:
		return judge_left(d);

	case DELETEVOL_LOCKED:
		return discard_image(d);

	case DELETEVOL_DISCARDED:
		if (op->rc < 0)
			return discard_failed(d, &d->discard);
		return look_for_helper(d);

	case DELETEVOL_HELPER_FOUND:
		if (op->rc < 0)
			return op_fail_err(
			    d, DELETEVOL_UNLOCK, &d->place.op.err);
		if (d->place.standing == IMAGE_IN_TRASH)
			return discard_helper(d, d->place.id);
		/* else a parent of another kind */
		return note(d, &d->discard, DELETEVOL_NOTED);

	case DELETEVOL_HELPER_FREED:
		if (op->rc == -ENOLINK) { /* somebody's copy, it seems */
			log_warn("volume.not_helper", "volume=%s image=%s",
			    d->req->volume_id, d->helper);
			return note(d, &d->discard, DELETEVOL_NOTED);
		}
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_err(d, DELETEVOL_UNLOCK, &d->lane.err);
		return discard_helper(d, d->discard.move.place.helper_id);

	case DELETEVOL_HELPER_MOVED:
		if (op->rc < 0)
			return discard_failed(d, &d->helper_discard);
		return note(d, &d->helper_discard, DELETEVOL_HELPER_NOTED);

	case DELETEVOL_HELPER_NOTED:
		if (d->helper_discard.moved && op->rc < 0)
			return op_fail_rc(d, DELETEVOL_UNLOCK, op->rc,
			    "note that image %s is to be purged", d->helper);
		return note(d, &d->discard, DELETEVOL_NOTED);

	case DELETEVOL_NOTED:
		if (d->discard.moved && op->rc < 0)
			return op_fail_rc(d, DELETEVOL_UNLOCK, op->rc,
			    "note that image %s is to be purged", d->image);
		return release(d);

	case DELETEVOL_RELEASED:
		if (!d->migrated && op->rc < 0)
			return op_fail_err(
			    d, DELETEVOL_UNLOCK, &d->release.op.err);
		/* The clone first: it holds its helper. */
		if (d->discard.moved)
			purge_submit(d->pool, d->rpc.env->instance_id,
			    d->discard.id, d->image);
		if (d->helper_discard.moved)
			purge_submit(d->pool, d->rpc.env->instance_id,
			    d->helper_discard.id, d->helper);
		return answer(d);

	case DELETEVOL_UNLOCK:
		if (d->name != NULL)
			keylock_release(controller_names(), &d->claim);
		return op_goto(d, DELETEVOL_END);

	case DELETEVOL_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class delete_volume_class = {
	.name = "DeleteVolume",
	.step = delete_volume_step,
};

const struct csi_impl delete_volume_impl = {
	.cls = &delete_volume_class,
	.size = sizeof(struct delete_volume),
};
