/*
 * delete_volume.c - DeleteVolume.
 *
 * The rule that holds it together: first the image leaves its name, then a
 * note says that it is to be purged, then the journal lets go of the volume.
 * The caller is answered there; the purge goes on in the background. Until
 * the answer the caller repeats the call by volume ID, which finds the journal
 * entry: so the entry is what goes last.
 */
#include "controller/controller.h"
#include "controller/lane.h"
#include "controller/purge.h"
#include "controller/volume.h"

#include "base/log.h"
#include "ceph/trash.h"
#include "csi.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum delete_volume_state {
	DELETEVOL_START = 0,
	DELETEVOL_ITEM_READ,    /* the journal entry has been read */
	DELETEVOL_LOCKED,       /* the request name is ours in this process */
	DELETEVOL_IMAGE_FOUND,  /* the image's id was looked up by its name */
	DELETEVOL_MOVED,        /* the image is in the trash */
	DELETEVOL_IN_USE,       /* refused: a lane was asked by whom */
	DELETEVOL_LANE_CHECKED, /* a lane has listed the watchers */
	DELETEVOL_LANE_MOVED,   /* a lane has moved it to the trash */
	DELETEVOL_NOTED,        /* the note is written */
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
	char image_id[RBD_ID_SIZE];
	bool noted; /* there is something to purge */
	struct journal_read entry;
	struct journal_release release;
	union {
		struct image_lookup lookup;
		struct trash_move move;
	};
	struct lane_job lane;
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
start(struct delete_volume *d)
{
	struct err err = ERR_INIT;
	int rc;

	d->req = d->rpc.request;
	rc = volume_pool_open(
	    &d->rpc, d->req->volume_id, &d->id, &d->pool, &err);
	if (rc == -ENOENT)
		return nothing_there(d, &err);
	if (rc < 0)
		return op_fail_err(d, DELETEVOL_END, &err);
	journal_read_start(&d->entry, d->pool, d->id.uuid,
	    JOURNAL_IDENTITY | JOURNAL_BIT(JOURNAL_POOL), d->rpc.arena,
	    &d->rpc.op);
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

	if (d->rpc.op.rc == -ENOENT)
		return nothing_there(d, &d->entry.op.err);
	if (d->rpc.op.rc < 0)
		return op_fail_err(d, DELETEVOL_END, &d->entry.op.err);
	d->image = volume_image_name(item, d->id.uuid, d->rpc.arena);
	d->name = item->attr[JOURNAL_VOLNAME];
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
	    &d->rpc.op);
	return op_await(d, DELETEVOL_LOCKED);
}

static enum op_verdict
start_release(struct delete_volume *d)
{
	d->release = (struct journal_release){
		.order = JOURNAL_KEY_FIRST,
		.pool = d->dir_pool,
		.item_pool = d->pool,
		.instance_id = d->rpc.env->instance_id,
		.uuid = d->id.uuid,
		.name = d->name,
	};
	journal_release_start(&d->release, &d->rpc.op);
	return op_await(d, DELETEVOL_RELEASED);
}

static enum op_verdict
start_note(struct delete_volume *d)
{
	journal_purge_note_start(d->pool, d->rpc.env->instance_id, d->image_id,
	    d->image, &d->rpc.op);
	return op_await(d, DELETEVOL_NOTED);
}

static void
start_lane(struct delete_volume *d, enum lane_kind kind)
{
	d->lane = (struct lane_job){
		.kind = kind,
		.pool = d->pool,
		.image = d->image,
		.image_id = d->image_id,
	};
	lane_job_start(&d->lane, &d->rpc.op);
}

static enum op_verdict
find_image(struct delete_volume *d)
{
	const char *id = d->entry.item.attr[JOURNAL_IMAGEID];

	if (d->rpc.op.detached) /* nothing is changed: stop here */
		return op_fail(
		    d, DELETEVOL_UNLOCK, ERR_CANCELLED, "the caller is gone");
	if (str_is_empty(id)) {
		/* Killed in its creation, or made by ceph-csi before it
		 * stored the id. */
		image_lookup_start(
		    &d->lookup, d->pool, d->image, NULL, false, &d->rpc.op);
		return op_await(d, DELETEVOL_IMAGE_FOUND);
	}
	if (str_put(d->image_id, sizeof(d->image_id), "%s", id) < 0)
		return op_fail(d, DELETEVOL_UNLOCK, ERR_DATA_LOSS,
		    "journal entry %s has an image id that is too long",
		    d->id.uuid);
	trash_move_start(&d->move, d->pool, d->image, d->image_id, &d->rpc.op);
	return op_await(d, DELETEVOL_MOVED);
}

static enum op_verdict
judge_lookup(struct delete_volume *d)
{
	if (d->rpc.op.rc < 0 && d->rpc.op.rc != -ENOENT)
		return op_fail_err(d, DELETEVOL_UNLOCK, &d->lookup.op.err);
	if (d->lookup.info.id[0] == '\0') /* there is none */
		return start_release(d);
	memcpy(d->image_id, d->lookup.info.id, sizeof(d->image_id));
	trash_move_start(&d->move, d->pool, d->image, d->image_id, &d->rpc.op);
	return op_await(d, DELETEVOL_MOVED);
}

static enum op_verdict
judge_move(struct delete_volume *d)
{
	if (d->rpc.op.rc >= 0)
		return d->move.had_header ? start_note(d) : start_release(d);
	if (d->move.obstacle != IMAGE_PLAIN) {
		start_lane(d, LANE_LIST_WATCHERS);
		return op_await(d, DELETEVOL_LANE_CHECKED);
	}
	if (d->move.watched) {
		start_lane(d, LANE_LIST_WATCHERS);
		return op_await(d, DELETEVOL_IN_USE);
	}
	return op_fail_err(d, DELETEVOL_UNLOCK, &d->move.op.err);
}

/* The lane is asked for the address; without it the refusal stands. */
static enum op_verdict
refuse(struct delete_volume *d)
{
	return op_fail(d, DELETEVOL_UNLOCK, ERR_FAILED_PRECONDITION,
	    "volume %s is in use: image %s is open at %s%s", d->req->volume_id,
	    d->image,
	    d->lane.nwatchers > 0 ? d->lane.watcher[0]
				  : "an address that could not be found out",
	    d->lane.nwatchers > 1 ? " and others" : "");
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

	case DELETEVOL_LOCKED:
		return find_image(d);

	case DELETEVOL_IMAGE_FOUND:
		return judge_lookup(d);

	case DELETEVOL_MOVED:
		return judge_move(d);

	case DELETEVOL_IN_USE:
		return refuse(d);

	case DELETEVOL_LANE_CHECKED:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_err(d, DELETEVOL_UNLOCK, &d->lane.err);
		if (op->rc == 0 && d->lane.nwatchers > 0)
			return refuse(d);
		start_lane(d, LANE_TRASH_MOVE);
		return op_await(d, DELETEVOL_LANE_MOVED);

	case DELETEVOL_LANE_MOVED:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_err(d, DELETEVOL_UNLOCK, &d->lane.err);
		return start_note(d);

	case DELETEVOL_NOTED:
		if (op->rc < 0)
			return op_fail_rc(d, DELETEVOL_UNLOCK, op->rc,
			    "note that image %s is to be purged", d->image);
		d->noted = true;
		return start_release(d);

	case DELETEVOL_RELEASED:
		if (op->rc < 0)
			return op_fail_err(
			    d, DELETEVOL_UNLOCK, &d->release.op.err);
		if (d->noted)
			purge_submit(d->pool, d->rpc.env->instance_id,
			    d->image_id, d->image);
		d->rpc.reply = csi_new(
		    &csi__v1__delete_volume_response__descriptor, d->rpc.arena);
		return op_goto(d, DELETEVOL_UNLOCK);

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
	.free = csi_rpc_free,
};

const struct csi_impl delete_volume_impl = {
	.method = "DeleteVolume",
	.cls = &delete_volume_class,
	.size = sizeof(struct delete_volume),
};
