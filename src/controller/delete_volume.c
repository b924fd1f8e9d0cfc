/*
 * delete_volume.c - DeleteVolume and DeleteSnapshot, which are one: an entry of
 * the journal goes, and the image that it leads to.
 *
 * The rule that holds it together: first the image leaves its name, then a
 * note says that it is to be purged, then the journal lets go of the volume.
 * The caller is answered there; the purge goes on in the background. Until
 * the answer the caller repeats the call by volume ID, which finds the journal
 * entry: so the entry is what goes last. Where the entry's image name and
 * image id do not belong together any more, nothing is destroyed and nothing
 * is forgotten.
 */
#include "controller/clone_helper.h"
#include "controller/controller.h"
#include "controller/lane.h"
#include "controller/purge.h"
#include "controller/volume_user.h"

#include "base/clock.h"
#include "base/log.h"
#include "csi.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TRIES_MAX 5 /* that an image is in use and nobody has it open */

/* ---- an image goes into the trash, natively or by a lane ---- */

enum discard_state {
	DISCARD_START = 0,
	DISCARD_MOVED,        /* the image is in the trash */
	DISCARD_IN_USE,       /* refused: a lane was asked by whom */
	DISCARD_LANE_CHECKED, /* a lane has listed the watchers */
	DISCARD_LANE_NOTED,   /* it is to be kept: the note is there first */
	DISCARD_LANE_MOVED,   /* a lane has moved it to the trash */
	DISCARD_END,
};

struct discard {
	struct op op;
	enum discard_state state;
	const char *noun, *volume; /* for people */
	struct ceph_pool *pool;
	const char *name, *wanted_id;
	struct trash_plan *plan;
	struct trash_move move; /* move.place, move.lookup: what was found */
	struct lane_job lane;
	unsigned tries;

	/* the answer */
	const char *id; /* in `move`; "": there is none */
	bool moved;     /* it is in the trash, to be noted and purged */
};

static void
discard_lane_start(struct discard *d, enum lane_kind kind)
{
	d->lane = (struct lane_job){
		.kind = kind,
		.pool = d->pool,
		.image = d->name,
		.image_id = d->id,
		.keep_s = d->plan->keep_s,
	};
	lane_job_start(&d->lane, &d->op.wake);
}

static enum op_verdict
discard_step(struct op *op)
{
	struct discard *d = (struct discard *)op;

	switch (d->state) {
	case DISCARD_START:
		if (d->move.looked)
			trash_move_looked_start(&d->move, d->plan, &op->wake);
		else
			trash_move_start(&d->move, d->pool, d->name,
			    d->wanted_id, d->plan, &op->wake);
		return op_await(d, DISCARD_MOVED);

	case DISCARD_MOVED:
		d->moved = op->rc == 0 && d->move.had_header;
		if (op->rc == 0)
			return op_goto(d, DISCARD_END);
		if (d->move.obstacle == IMAGE_PLAIN && !d->move.watched)
			return op_fail_as(d, DISCARD_END, move.op);
		discard_lane_start(d, LANE_LIST_WATCHERS);
		return d->move.obstacle != IMAGE_PLAIN
		    ? op_await(d, DISCARD_LANE_CHECKED)
		    : op_await(d, DISCARD_IN_USE);

	case DISCARD_LANE_CHECKED:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_as(d, DISCARD_END, lane);
		if (op->rc == 0 && d->lane.nwatchers > 0)
			return op_goto(d, DISCARD_IN_USE);
		if (d->plan->keep_s == 0)
			return op_goto(d, DISCARD_LANE_NOTED);
		/* A retry knows by it that it is this driver's to be kept. */
		d->move.kept_until_s = (uint64_t)(clock_wall_ms() / 1000 +
		    d->plan->keep_s);
		journal_purge_note_start(d->pool, d->plan->instance_id, d->id,
		    &(struct journal_purge){
			.image = d->name, .until_s = d->move.kept_until_s },
		    &op->wake);
		return op_await(d, DISCARD_LANE_NOTED);

	case DISCARD_LANE_NOTED:
		d->move.noted = d->plan->keep_s > 0;
		if (d->move.noted && op->rc < 0)
			return op_fail_rc(d, DISCARD_END, op->rc,
			    "note that image %s is to be purged", d->name);
		discard_lane_start(d, LANE_TRASH_MOVE);
		return op_await(d, DISCARD_LANE_MOVED);

	case DISCARD_LANE_MOVED:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_as(d, DISCARD_END, lane);
		d->moved = true;
		return op_goto(d, DISCARD_END);

	case DISCARD_IN_USE:
		/* Gone meanwhile: a purge, say, that had a clone's parent open. */
		if (op->rc == 0 && d->lane.nwatchers == 0 &&
		    d->tries++ < TRIES_MAX) {
			d->move.looked = false;
			return op_goto(d, DISCARD_START);
		}
		/* Without an answer of the lane the refusal stands. */
		return op_fail(d, DISCARD_END, ERR_FAILED_PRECONDITION,
		    "image %s is in use, open at %s%s", d->name,
		    d->lane.nwatchers > 0
			? d->lane.watcher[0]
			: "an address that could not be found out",
		    d->lane.nwatchers > 1 ? " and others" : "");

	case DISCARD_END:
		if (err_is_set(&op->err))
			err_prefix(&op->err, "%s %s", d->noun, d->volume);
		return OP_DONE;
	}
	abort();
}

static const struct op_class discard_class = {
	.name = "discard",
	.step = discard_step,
};

/* ---- the volume ---- */

enum delete_volume_state {
	DELETEVOL_START = 0,
	DELETEVOL_ITEM_READ,    /* the journal entry has been read */
	DELETEVOL_HELPER_LOOK,  /* of a copy: the directory was read, too */
	DELETEVOL_LEFT_READ,    /* there is none: is an image left? */
	DELETEVOL_LOCKED,       /* the request name is ours in this process */
	DELETEVOL_PLACED,       /* a snapshot's image: where it is is known */
	DELETEVOL_FREED,        /* no clone can be made of that any more */
	DELETEVOL_DISCARDED,    /* the image is in the trash */
	DELETEVOL_HELPER_FOUND, /* the clone's parent was looked for */
	DELETEVOL_HELPER_FREED, /* the helper's snapshot is gone */
	DELETEVOL_HELPER_MOVED, /* the helper is in the trash */
	DELETEVOL_HELPER_NOTED, /* a note says that it is to be purged */
	DELETEVOL_HELPER_DONE,  /* it is, or there is none */
	DELETEVOL_NOTED,        /* the same for the image, and so later */
	DELETEVOL_REVOKED,      /* no user has been left */
	DELETEVOL_RELEASED,     /* directory key and entry are gone */
	DELETEVOL_UNLOCK,
	DELETEVOL_UNKNOWN, /* what cannot be there (any more) is deleted */
	DELETEVOL_END,
};

struct delete_volume {
	struct csi_rpc rpc;
	enum delete_volume_state state;
	const struct journal_kind *kind;
	const char *volume_id;      /* or a snapshot's */
	struct ceph_pool *pool;     /* of entry and image */
	struct ceph_pool *dir_pool; /* of the directory */
	struct keylock_claim claim;
	const char *name; /* request name; NULL: not known */
	const char *image, *uuid;
	char own_id[RBD_ID_SIZE]; /* that the image has if we have made it */
	struct wakes asked;       /* entry and image */
	bool migrated;            /* an in-tree volume: no journal */
	struct err why;           /* of what is unknown */
	struct journal_read entry;
	struct user_revoke revoke;
	struct journal_release release;
	struct image_lookup left;
	struct image_job own; /* the snapshot of a CSI snapshot's image */
	struct trash_plan plan, helper_plan;
	struct discard discard;
	/* the helper between a source and the clone made of it */
	const char *helper, *helper_id;
	struct image_place place;
	struct helper_free helper_free;
	struct discard helper_discard;
};

/*
 * Gone already is success. `id` NULL: what the name leads to.
 * FAILED_PRECONDITION: in use, naming the address, or name and id do not
 * belong together (trash_move_start()).
 */
static void
discard_start(struct delete_volume *d, struct discard *discard,
    struct trash_plan *plan, const char *name, const char *id)
{
	plan->instance_id = d->rpc.env->instance_id;
	plan->keep_s = d->rpc.env->purge_delay_s;
	discard->noun = d->kind->noun;
	discard->volume = d->volume_id;
	discard->pool = d->pool;
	discard->plan = plan;
	discard->name = name;
	discard->id = discard->move.place.id;
	discard->wanted_id = id;
	discard->move.looked = discard->move.looked &&
	    str_eq(discard->move.name, name) && str_eq(discard->move.id, id);
	op_start(&discard->op, &discard_class, &d->rpc.op.wake);
}

static int
open_volume(struct delete_volume *d, struct err *err)
{
	const struct csi_migrated_id *migrated = &d->rpc.in->migrated;
	int rc;

	d->kind = d->rpc.in->def == &csi_definitions[CSI_DELETE_SNAPSHOT]
	    ? &journal_snapshots
	    : &journal_volumes;
	d->volume_id = d->rpc.in->id_text;
	d->migrated = d->rpc.in->id_kind == CSI_ID_MIGRATED;
	d->uuid = d->rpc.in->id.uuid;
	if (!d->migrated)
		return volume_pool_open(
		    &d->rpc, d->kind, d->volume_id, &d->pool, err);
	/* The in-tree driver's is named by the handle, and by nothing else. */
	d->image = migrated->image;
	rc = ceph_pool_open(controller.conn, migrated->pool, "", &d->pool, err);
	if (rc == 0)
		controller_resume(d->pool, d->rpc.env->instance_id);
	return rc;
}

/* Request name and pool of the directory, which is not always the image's. */
static int
read_entry(struct delete_volume *d, struct err *err)
{
	const struct journal_item *item = &d->entry.item;
	const char *pool = item->attr[JOURNAL_POOL];
	char *end;
	int64_t id;
	int rc = 0;

	d->dir_pool = d->pool;
	d->name = item->attr[JOURNAL_NAME];
	if (!str_is_empty(pool)) { /* nobody writes it now */
		id = (int64_t)strtoull(pool, &end, 16);
		if (*end != '\0')
			return err_set(err, ERR_DATA_LOSS,
			    "journal entry %s: %s is no pool id", d->uuid,
			    pool);
		rc = ceph_pool_open_id(controller.conn, id,
		    d->rpc.env->rados_namespace, &d->dir_pool, err);
	}
	/* Without the pool no key is left to remove. */
	if (rc == -ENOENT || str_is_empty(d->name))
		d->name = NULL;
	return rc == -ENOENT ? 0 : rc;
}

/*
 * Is it one of our copies? Only these may have a helper beside them, for which
 * the directory is asked, and waited for behind all writes to it.
 */
static bool
is_copy(const struct delete_volume *d)
{
	const struct journal_item *item = &d->entry.item;

	return d->discard.move.looked &&
	    str_eq(item->attr[JOURNAL_IMAGEID], d->own_id) &&
	    (item->attr[JOURNAL_SOURCE] != NULL ||
		(item->damaged & JOURNAL_BIT(JOURNAL_SOURCE)) != 0 ||
		d->discard.move.lookup.info.parent.pool >= 0);
}

/* The directory key goes while the image's name does. */
static void
on_unname(struct trash_plan *plan, struct wake *waiter)
{
	struct delete_volume *d = container_of(
	    plan, struct delete_volume, plan);

	journal_release_key_start(&d->release, waiter);
}

/* There is an image to be purged that has no note yet. */
static bool
wants_note(const struct discard *discard)
{
	return discard->moved && !discard->move.noted;
}

static void
purge_start(const struct delete_volume *d, const struct discard *discard)
{
	if (discard->moved)
		purge_submit(d->pool, d->rpc.env->instance_id, discard->id,
		    discard->name, &discard->move);
}

static void
purge_note_start(struct delete_volume *d, const struct discard *discard)
{
	journal_purge_note_start(d->pool, d->rpc.env->instance_id, discard->id,
	    &(struct journal_purge){ .image = discard->name }, &d->rpc.op.wake);
}

/*
 * A clone of a volume hangs on a helper, IMAGE-temp (clone_helper.h), which goes
 * with it. The directory was asked for the helper when
 * the image was looked for; when it does not have it, then the helper may be in
 * the trash already, and is the clone's parent. So the clone is noted after
 * the helper: once it is purged nothing leads to the helper any more.
 */
static enum op_verdict
delete_helper_step(struct delete_volume *d)
{
	const struct trash_move *move = &d->discard.move;
	const struct cls_parent *parent = &move->lookup.info.parent;
	struct op *op = &d->rpc.op;

	switch ((int)d->state) {
	case DELETEVOL_DISCARDED:
		if (op->rc < 0)
			return op_fail_as(d, DELETEVOL_UNLOCK, discard.op);
		if (d->migrated || d->kind == &journal_snapshots)
			return op_goto(d, DELETEVOL_HELPER_DONE);
		d->helper = arena_fmt(
		    d->rpc.arena, "%s" IMAGE_HELPER_SUFFIX, d->image);
		d->helper_id = move->place.helper_id;
		if (d->helper_id[0] != '\0') {
			helper_free_start(&d->helper_free, d->pool,
			    d->helper_id, d->image, &op->wake);
			return op_await(d, DELETEVOL_HELPER_FREED);
		}
		if (!d->discard.moved || parent->pool != d->pool->id ||
		    !str_eq(parent->rados_namespace, d->pool->rados_namespace))
			return op_goto(d, DELETEVOL_HELPER_DONE);
		image_place_start(
		    &d->place, d->pool, d->helper, parent->id, &op->wake);
		return op_await(d, DELETEVOL_HELPER_FOUND);

	case DELETEVOL_HELPER_FOUND:
		if (op->rc < 0)
			return op_fail_as(d, DELETEVOL_UNLOCK, place.op);
		/* Not in the directory any more, but rbd_id may be left. */
		if (d->place.standing != IMAGE_IN_TRASH &&
		    d->place.standing != IMAGE_STANDS) /* another parent */
			return op_goto(d, DELETEVOL_HELPER_DONE);
		discard_start(d, &d->helper_discard, &d->helper_plan, d->helper,
		    d->place.id);
		return op_await(d, DELETEVOL_HELPER_MOVED);

	case DELETEVOL_HELPER_FREED:
		if (op->rc == -ENOLINK) { /* somebody's copy, it seems */
			log_warn("volume.not_helper", "volume=%s image=%s",
			    d->volume_id, d->helper);
			return op_goto(d, DELETEVOL_HELPER_DONE);
		}
		if (op->rc < 0)
			return op_fail_as(d, DELETEVOL_UNLOCK, helper_free.op);
		discard_start(d, &d->helper_discard, &d->helper_plan, d->helper,
		    d->helper_id);
		return op_await(d, DELETEVOL_HELPER_MOVED);

	case DELETEVOL_HELPER_MOVED:
		if (op->rc < 0)
			return op_fail_as(
			    d, DELETEVOL_UNLOCK, helper_discard.op);
		if (!wants_note(&d->helper_discard))
			return op_goto(d, DELETEVOL_HELPER_DONE);
		purge_note_start(d, &d->helper_discard);
		return op_await(d, DELETEVOL_HELPER_NOTED);

	case DELETEVOL_HELPER_NOTED:
		if (op->rc < 0)
			return op_fail_rc(d, DELETEVOL_UNLOCK, op->rc,
			    "note that image %s is to be purged", d->helper);
		return op_goto(d, DELETEVOL_HELPER_DONE);

	default:
		return OP_DONE;
	}
}

/* The image leaves its name; of a CSI snapshot's its own snapshot goes first. */
static enum op_verdict
delete_discard_step(struct delete_volume *d)
{
	const char *id = d->entry.item.attr[JOURNAL_IMAGEID];
	struct op *op = &d->rpc.op;

	/* No id: ceph-csi was killed before it had stored it. */
	if (str_is_empty(id))
		id = NULL;
	switch ((int)d->state) {
	case DELETEVOL_LOCKED:
		if (op->detached) /* nothing is changed: stop here */
			return op_fail(d, DELETEVOL_UNLOCK, ERR_CANCELLED,
			    "the caller is gone");
		if (id != NULL && strlen(id) >= RBD_ID_SIZE)
			return op_fail(d, DELETEVOL_UNLOCK, ERR_DATA_LOSS,
			    "journal entry %s has an image id that is too long",
			    d->uuid);
		if (d->kind == &journal_snapshots) {
			image_place_start(
			    &d->place, d->pool, d->image, id, &op->wake);
			return op_await(d, DELETEVOL_PLACED);
		}
		return op_goto(d, DELETEVOL_FREED);

	case DELETEVOL_PLACED:
		if (op->rc < 0)
			return op_fail_as(d, DELETEVOL_UNLOCK, place.op);
		if (d->place.standing != IMAGE_STANDS &&
		    d->place.standing != IMAGE_IN_TRASH)
			return op_goto(d, DELETEVOL_FREED);
		/*
		 * It stays in that image's trash while it has clones; the
		 * purge, which waits for them, frees it.
		 */
		d->own = (struct image_job){
			.kind = IMAGE_JOB_UNSNAPSHOT,
			.pool = d->pool,
			.image_id = d->place.id,
			.snapshot = d->image,
			.cloned = true,
		};
		image_job_start(&d->own, &op->wake);
		return op_await(d, DELETEVOL_FREED);

	case DELETEVOL_FREED:
		if (d->own.kind != 0 && op->rc < 0)
			return op_fail_as(d, DELETEVOL_UNLOCK, own.op);
		d->release = (struct journal_release){
			.journal = { d->kind, d->dir_pool,
			    d->rpc.env->instance_id },
			.item_pool = d->pool,
			.uuid = d->uuid,
			.name = d->name,
		};
		d->plan.beside = d->migrated ? NULL : on_unname;
		discard_start(d, &d->discard, &d->plan, d->image, id);
		return op_await(d, DELETEVOL_DISCARDED);

	default:
		return OP_DONE;
	}
}

static enum op_verdict
delete_volume_step(struct op *op)
{
	struct delete_volume *d = (struct delete_volume *)op;
	const char *instance_id = d->rpc.env->instance_id;
	const struct image_info *left = &d->left.info;
	char text[ERR_TEXT_MAX + 16];
	struct err err = ERR_INIT;
	int rc;

	switch (d->state) {
	case DELETEVOL_START:
		rc = open_volume(d, &d->why);
		if (rc == -ENOENT)
			return op_goto(d, DELETEVOL_UNKNOWN);
		if (rc < 0)
			return op_fail_err(d, DELETEVOL_END, &d->why);
		if (d->migrated)
			return op_goto(d, DELETEVOL_LOCKED);
		wakes_init(&d->asked, &op->wake);
		journal_read_start(&d->entry, d->kind, d->pool, d->uuid,
		    JOURNAL_IDENTITY | JOURNAL_BIT(JOURNAL_POOL), d->rpc.arena,
		    wakes_add(&d->asked));
		if (d->kind != &journal_volumes)
			return op_await(d, DELETEVOL_ITEM_READ);
		/*
		 * Name and id of the images that we make follow from the volume
		 * ID: such an image is looked at while the entry is read, which
		 * then tells if it is that, and if it is a copy.
		 */
		d->image = arena_fmt(
		    d->rpc.arena, "%s%s", d->kind->image, d->uuid);
		image_id_of(d->uuid, d->own_id);
		trash_look_start(&d->discard.move, d->pool, d->image, d->own_id,
		    wakes_add(&d->asked));
		return op_await(d, DELETEVOL_ITEM_READ);

	case DELETEVOL_ITEM_READ:
		rc = d->asked.part[0].rc;
		if (rc < 0 && rc != -ENOENT)
			return op_fail_as(d, DELETEVOL_END, entry);
		d->image = volume_image_name(
		    d->kind, &d->entry.item, d->uuid, d->rpc.arena);
		if (rc == -ENOENT) {
			image_lookup_start(
			    &d->left, d->pool, d->image, NULL, true, &op->wake);
			return op_await(d, DELETEVOL_LEFT_READ);
		}
		if (read_entry(d, &err) < 0)
			return op_fail_err(d, DELETEVOL_END, &err);
		if (!is_copy(d))
			return op_goto(d, DELETEVOL_HELPER_LOOK);
		image_place_start(&d->discard.move.place, d->pool, d->image,
		    d->own_id, &op->wake);
		return op_await(d, DELETEVOL_HELPER_LOOK);

	case DELETEVOL_HELPER_LOOK:
		if (d->name == NULL)
			return op_goto(d, DELETEVOL_LOCKED);
		controller_name_take_start(&d->claim, &d->rpc,
		    &(struct journal){ d->kind, d->dir_pool, instance_id },
		    d->name, &op->wake);
		/* What was seen may not hold for who has to wait. */
		if (!keylock_owns(&d->claim))
			d->discard.move.looked = false;
		return op_await(d, DELETEVOL_LOCKED);

	case DELETEVOL_LEFT_READ:
		/*
		 * No entry, so the volume is deleted, unless its image says
		 * otherwise: the journal was lost, or config.json names
		 * another RADOS namespace. The image of a mirror's other side
		 * is not for this side to delete.
		 */
		d->why = d->entry.err;
		if (op->rc == -ENOENT ||
		    (op->rc == 0 &&
			(left->mirrored || (left->features & RBD_NON_PRIMARY))))
			return op_goto(d, DELETEVOL_UNKNOWN);
		if (op->rc < 0)
			return op_fail_as(d, DELETEVOL_END, left.op);
		return op_fail(d, DELETEVOL_END, ERR_FAILED_PRECONDITION,
		    "%s %s: image %s exists, id %s, but %s; nothing is deleted",
		    d->kind->noun, d->volume_id, d->image, left->id,
		    d->why.text);

	case DELETEVOL_LOCKED:
	case DELETEVOL_PLACED:
	case DELETEVOL_FREED:
		return delete_discard_step(d);

	case DELETEVOL_DISCARDED:
	case DELETEVOL_HELPER_FOUND:
	case DELETEVOL_HELPER_FREED:
	case DELETEVOL_HELPER_MOVED:
	case DELETEVOL_HELPER_NOTED:
		return delete_helper_step(d);

	case DELETEVOL_HELPER_DONE:
		if (!wants_note(&d->discard))
			return op_goto(d, DELETEVOL_NOTED);
		purge_note_start(d, &d->discard);
		return op_await(d, DELETEVOL_NOTED);

	case DELETEVOL_NOTED:
		if (wants_note(&d->discard) && op->rc < 0)
			return op_fail_rc(d, DELETEVOL_UNLOCK, op->rc,
			    "note that image %s is to be purged", d->image);
		if (d->migrated)
			return op_goto(d, DELETEVOL_RELEASED);
		user_revoke_start(&d->revoke, d->pool, d->uuid,
		    d->entry.item.attr[JOURNAL_USERS], "", d->rpc.arena,
		    &op->wake);
		return op_await(d, DELETEVOL_REVOKED);

	case DELETEVOL_REVOKED:
		if (op->rc < 0)
			return op_fail_as(d, DELETEVOL_UNLOCK, revoke.op);
		journal_release_start(&d->release, &op->wake);
		return op_await(d, DELETEVOL_RELEASED);

	case DELETEVOL_RELEASED:
		if (!d->migrated && op->rc < 0)
			return op_fail_as(d, DELETEVOL_UNLOCK, release.op);
		/* The clone first: it holds its helper. */
		purge_start(d, &d->discard);
		purge_start(d, &d->helper_discard);
		(void)csi_rpc_reply(&d->rpc);
		return op_goto(d, DELETEVOL_UNLOCK);

	case DELETEVOL_UNLOCK:
		if (d->name != NULL)
			keylock_release(controller.names, &d->claim);
		return op_goto(d, DELETEVOL_END);

	case DELETEVOL_UNKNOWN:
		if (d->rpc.env->elsewhere)
			return op_fail_err(d, DELETEVOL_END, &d->why);
		log_info("volume.unknown", "%s=%s why=%s", d->kind->noun,
		    d->volume_id, log_quote(text, sizeof(text), d->why.text));
		(void)csi_rpc_reply(&d->rpc);
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

static const struct op_class delete_snapshot_class = {
	.name = "DeleteSnapshot",
	.step = delete_volume_step,
};

const struct csi_impl delete_snapshot_impl = {
	.cls = &delete_snapshot_class,
	.size = sizeof(struct delete_volume),
};
