/*
 * audit.c - whether a pool's journal, images, trash and purge notes say the
 * same.
 *
 * The rule that holds it together: one call looks at one page of one of the
 * four, and keeps nothing: whatever is found is read again by the call that
 * mends it, and mended by an operation that the cluster refuses when it has
 * changed. An image is never touched; see docs/JOURNAL.md.
 */
#include "controller/controller.h"
#include "controller/lane.h"
#include "controller/volume.h"

#include "admin.pb-c.h"
#include "base/log.h"
#include "base/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 256 /* entries a call */
#define VOLUME_PREFIX "csi.volume."
#define NAME_PREFIX "name_" /* keys of rbd_directory */
#define ID_PREFIX "id_"     /* keys of rbd_trash */
#define IMAGE_PREFIX "csi-vol-"

/* What is walked, in this order; the first digit of a token. */
enum audit_phase {
	PHASE_KEYS = 0, /* the journal's directory */
	PHASE_IMAGES,   /* rbd_directory */
	PHASE_TRASH,
	PHASE_NOTES,
	PHASE_COUNT,
};

enum audit_state {
	AUDIT_START = 0,
	AUDIT_PAGE_READ,     /* what is to be looked at */
	AUDIT_RESERVED_READ, /* images: those that are being made */
	AUDIT_NEXT,          /* the next entry of the page */
	AUDIT_KEY_READ,      /* a reservation's: has the volume been made? */
	AUDIT_ENTRY_READ,    /* the journal's entry */
	AUDIT_PLACED,        /* where name and id are */
	AUDIT_SEARCHED,      /* a page of images: any with this UUID? */
	AUDIT_CHILD_FOUND,   /* what hangs on an image in the trash */
	AUDIT_MENDED,
	AUDIT_ENTRY_GONE, /* so is the reservation that led to it */
	AUDIT_END,
};

struct audit {
	struct csi_rpc rpc;
	enum audit_state state;
	const Rbdcsi__Admin__V1__AuditRequest *req;
	Rbdcsi__Admin__V1__AuditResponse *reply;
	struct ceph_pool *pool;
	enum audit_phase phase;
	struct rados_read *read;   /* the page */
	struct rados_read *second; /* whatever else is read */
	size_t at;                 /* the next entry of the page */
	struct map reserved;       /* images that are being made */
	const char *last;          /* the last key of what is listed */

	/* the entry that is looked at */
	const struct rados_omap_entry *entry;
	const char *volume, *image;
	char uuid[JOURNAL_UUID_LEN + 1];
	bool reservation, has_entry;
	const char *key_value; /* of a reservation's name, or NULL */
	enum audit_phase searched;
	struct ceph_pool *item_pool;
	struct journal_read item;
	struct image_place place;
	struct lane_job lane;
	Rbdcsi__Admin__V1__Finding *finding;
};

/* ---- findings ---- */

static const char *
object_of(const struct audit *a, enum audit_phase phase)
{
	switch (phase) {
	case PHASE_KEYS:
		return arena_fmt(a->rpc.arena, "%s%s",
		    journal_volumes.directory, a->rpc.env->instance_id);
	case PHASE_IMAGES:
		return RBD_DIRECTORY;
	case PHASE_TRASH:
		return RBD_TRASH;
	case PHASE_NOTES:
	case PHASE_COUNT:
		break;
	}
	return arena_fmt(
	    a->rpc.arena, JOURNAL_PURGES "%s", a->rpc.env->instance_id);
}

/* A copy: the reply outlives what was read. */
static char *
text_of(const struct audit *a, const char *text)
{
	return arena_strdup(a->rpc.arena, text != NULL ? text : "");
}

static void
note(struct audit *a, const char *kind, const char *text)
{
	Rbdcsi__Admin__V1__Finding *f = csi_new(
	    &rbdcsi__admin__v1__finding__descriptor, a->rpc.arena);

	f->kind = text_of(a, kind);
	f->object = arena_fmt(
	    a->rpc.arena, "%s %s", object_of(a, a->phase), a->entry->key);
	f->volume = text_of(a, a->volume);
	f->image = text_of(a, a->image);
	f->text = text_of(a, text);
	a->reply->findings[a->reply->n_findings++] = f;
	a->finding = f;
}

static enum op_verdict
tell(struct audit *a, const char *kind, const char *text)
{
	note(a, kind, text);
	return op_goto(a, AUDIT_NEXT);
}

/* Mends it if that is wanted; `start` sends the operation. */
static enum op_verdict
mend(struct audit *a, const char *kind, const char *text,
    void (*start)(struct audit *a))
{
	note(a, kind, text);
	if (!a->req->repair)
		return op_goto(a, AUDIT_NEXT);
	start(a);
	return op_await(a, AUDIT_MENDED);
}

static const char *
value_of(const struct audit *a)
{
	return arena_fmt(a->rpc.arena, "%.*s", (int)a->entry->len,
	    (const char *)a->entry->value);
}

static void
remove_key(struct audit *a)
{
	const struct journal_change change[] = {
		{ a->entry->key, value_of(a), NULL },
		{ arena_fmt(
		      a->rpc.arena, "%s%s", journal_volumes.key, a->volume),
		    a->key_value, a->key_value },
	};

	journal_change_start(a->pool, object_of(a, PHASE_KEYS), false, change,
	    a->reservation ? 2 : 1, &a->rpc.op.wake);
}

static void
remove_note(struct audit *a)
{
	const struct journal_change change = { a->entry->key, value_of(a),
		NULL };

	journal_change_start(a->pool, object_of(a, PHASE_NOTES), false, &change,
	    1, &a->rpc.op.wake);
}

static void
settle_trash(struct audit *a)
{
	trash_settle_start(a->pool, a->place.id, &a->rpc.op.wake);
}

static enum op_verdict
mended(struct audit *a)
{
	int rc = a->rpc.op.rc;

	if (rc == -ECANCELED || rc == -ENOENT || rc == -ESTALE) {
		a->finding->text = arena_fmt(a->rpc.arena,
		    "%s (it was changed meanwhile: look again)",
		    a->finding->text);
		return op_goto(a, AUDIT_NEXT);
	}
	if (rc < 0)
		return op_fail_rc(a, AUDIT_END, rc, "mend %s in %s",
		    a->finding->object, ceph_pool_label(a->pool));
	/*
	 * The entry goes last: without its reservation no process can commit
	 * it any more. A crash here leaves an entry that nothing leads to.
	 */
	if (a->phase == PHASE_KEYS && a->reservation && a->has_entry) {
		a->has_entry = false;
		rados_remove_start(a->pool,
		    arena_fmt(
			a->rpc.arena, "%s%s", journal_volumes.item, a->uuid),
		    &a->rpc.op.wake);
		return op_await(a, AUDIT_ENTRY_GONE);
	}
	a->finding->repaired = true;
	log_info("audit.repair", "pool=%s kind=%s object=\"%s\" image=%s",
	    ceph_pool_name(a->pool), a->finding->kind, a->finding->object,
	    a->finding->image);
	return op_goto(a, AUDIT_NEXT);
}

/* ---- pages ---- */

/* Reads a page of one of the four; an object that is not there is empty. */
static void
list_start(struct audit *a, struct rados_read **read, enum audit_phase phase,
    const char *after, const char *prefix)
{
	rados_read_free(*read);
	*read = rados_read_new();
	(void)rados_read_omap_page(*read, after, prefix, PAGE);
	rados_read_start(*read, a->pool, object_of(a, phase), &a->rpc.op.wake);
}

/* The last key of what `second` has listed. */
static const char *
last_key(struct audit *a)
{
	size_t n = rados_read_omap_count(a->second, 0);

	return arena_strdup(
	    a->rpc.arena, rados_read_omap_entry(a->second, 0, n - 1)->key);
}

static enum op_verdict
list_failed(struct audit *a, enum audit_phase phase)
{
	return op_fail_rc(a, AUDIT_END, a->rpc.op.rc, "list %s of %s",
	    object_of(a, phase), ceph_pool_label(a->pool));
}

static const char *const phase_prefix[PHASE_COUNT] = {
	[PHASE_KEYS] = "",
	[PHASE_IMAGES] = NAME_PREFIX IMAGE_PREFIX,
	[PHASE_TRASH] = ID_PREFIX,
	[PHASE_NOTES] = "",
};

static enum op_verdict
start(struct audit *a)
{
	struct err err = ERR_INIT;
	const char *token;

	a->req = a->rpc.request;
	a->reply = csi_new(
	    &rbdcsi__admin__v1__audit_response__descriptor, a->rpc.arena);
	a->rpc.reply = a->reply;
	token = a->req->token;
	if (*token != '\0') {
		if (*token < '0' || *token >= '0' + PHASE_COUNT)
			return op_fail(a, AUDIT_END, ERR_INVALID_ARGUMENT,
			    "token: none of Audit's");
		a->phase = (enum audit_phase)(*token++ - '0');
	}
	if (ceph_pool_open(controller_connection(), a->req->pool,
		a->rpc.env->rados_namespace, &a->pool, &err) < 0)
		return op_fail_err(a, AUDIT_END, &err);
	list_start(a, &a->read, a->phase, token, phase_prefix[a->phase]);
	return op_await(a, AUDIT_PAGE_READ);
}

static enum op_verdict
list_reserved(struct audit *a)
{
	list_start(a, &a->second, PHASE_KEYS, a->last, JOURNAL_RESERVE);
	return op_await(a, AUDIT_RESERVED_READ);
}

static enum op_verdict
page_read(struct audit *a)
{
	size_t n = 0;

	if (a->rpc.op.rc < 0 && a->rpc.op.rc != -ENOENT)
		return list_failed(a, a->phase);
	if (a->rpc.op.rc == 0)
		n = rados_read_omap_count(a->read, 0);
	a->reply->findings = arena_new_bytes(
	    a->rpc.arena, (n + 1) * sizeof(*a->reply->findings));
	if (n > 0 && rados_read_omap_more(a->read, 0))
		a->reply->next_token = arena_fmt(a->rpc.arena, "%d%s", a->phase,
		    rados_read_omap_entry(a->read, 0, n - 1)->key);
	else if (a->phase + 1 < PHASE_COUNT)
		a->reply->next_token = arena_fmt(
		    a->rpc.arena, "%d", a->phase + 1);
	if (n == 0)
		return op_goto(a, AUDIT_END);
	a->last = "";
	/*
	 * After the images, before their entries: an image whose reservation
	 * has gone by now has its entry.
	 */
	return a->phase == PHASE_IMAGES ? list_reserved(a)
					: op_goto(a, AUDIT_NEXT);
}

static enum op_verdict
reserved_read(struct audit *a)
{
	size_t n = 0;

	if (a->rpc.op.rc < 0 && a->rpc.op.rc != -ENOENT)
		return list_failed(a, PHASE_KEYS);
	if (a->rpc.op.rc == 0)
		n = rados_read_omap_count(a->second, 0);
	for (size_t i = 0; i < n; i++) {
		const struct rados_omap_entry *e = rados_read_omap_entry(
		    a->second, 0, i);
		const char *image = journal_reserve_parse(
		    a->rpc.arena, e->value, e->len, a->uuid);

		if (image != NULL)
			(void)map_set(&a->reserved, image, a);
	}
	if (n > 0 && rados_read_omap_more(a->second, 0)) {
		a->last = last_key(a);
		return list_reserved(a);
	}
	return op_goto(a, AUDIT_NEXT);
}

/* ---- one entry of a page ---- */

static enum op_verdict
read_entry(struct audit *a)
{
	journal_read_start(&a->item, &journal_volumes, a->item_pool, a->uuid,
	    JOURNAL_IDENTITY, a->rpc.arena, &a->rpc.op.wake);
	return op_await(a, AUDIT_ENTRY_READ);
}

static enum op_verdict
place(struct audit *a, const char *image, const char *id)
{
	image_place_start(&a->place, a->item_pool, image,
	    str_is_empty(id) ? NULL : id, &a->rpc.op.wake);
	return op_await(a, AUDIT_PLACED);
}

static enum op_verdict
look_at_key(struct audit *a)
{
	const struct rados_omap_entry *e = a->entry;
	struct journal_ref ref;
	struct err err = ERR_INIT;
	const char *key;
	int rc;

	if (str_starts(e->key, JOURNAL_RESERVE)) {
		a->reservation = true;
		a->volume = e->key + strlen(JOURNAL_RESERVE);
		a->image = journal_reserve_parse(
		    a->rpc.arena, e->value, e->len, a->uuid);
		if (a->image == NULL)
			return tell(a, "damaged-key",
			    "its value names no image; CreateVolume of this name fails");
		rados_read_free(a->second);
		a->second = rados_read_new();
		key = arena_fmt(
		    a->rpc.arena, "%s%s", journal_volumes.key, a->volume);
		(void)rados_read_omap_keys(a->second, &key, 1);
		rados_read_start(a->second, a->pool, object_of(a, PHASE_KEYS),
		    &a->rpc.op.wake);
		return op_await(a, AUDIT_KEY_READ);
	}
	if (!str_starts(e->key, VOLUME_PREFIX))
		return op_goto(a, AUDIT_NEXT);
	a->volume = e->key + strlen(VOLUME_PREFIX);
	if (journal_ref_parse(e->value, e->len, &ref) < 0)
		return tell(a, "damaged-key",
		    "its value is no UUID; CreateVolume of this name fails");
	memcpy(a->uuid, ref.uuid, sizeof(a->uuid));
	if (ref.has_pool) {
		rc = ceph_pool_open_id(controller_connection(), ref.pool_id,
		    a->pool->rados_namespace, &a->item_pool, &err);
		if (rc == -ENOENT)
			return mend(a, "key-without-entry",
			    "the pool that it names is gone, and all in it; repair removes the key",
			    remove_key);
		if (rc < 0)
			return op_fail_err(a, AUDIT_END, &err);
	}
	return read_entry(a);
}

static enum op_verdict
key_read(struct audit *a)
{
	const struct rados_omap_entry *e;
	struct journal_ref ref;

	if (a->rpc.op.rc < 0)
		return list_failed(a, PHASE_KEYS);
	if (rados_read_omap_count(a->second, 0) > 0) {
		e = rados_read_omap_entry(a->second, 0, 0);
		a->key_value = arena_fmt(
		    a->rpc.arena, "%.*s", (int)e->len, (const char *)e->value);
		if (journal_ref_parse(e->value, e->len, &ref) < 0 ||
		    str_eq(ref.uuid, a->uuid))
			return tell(a, "reservation",
			    "the volume has been made, or its key is damaged; nothing is removed");
	}
	return read_entry(a);
}

/* csi-vol-UUID, and behind that nothing or the helper's suffix. */
static enum op_verdict
look_at_image(struct audit *a)
{
	const char *image = a->entry->key + strlen(NAME_PREFIX);
	const char *uuid = image + strlen(IMAGE_PREFIX);
	struct journal_ref ref;

	if (strlen(uuid) < JOURNAL_UUID_LEN ||
	    journal_ref_parse(uuid, JOURNAL_UUID_LEN, &ref) < 0)
		return op_goto(a, AUDIT_NEXT);
	a->image = image;
	uuid += JOURNAL_UUID_LEN;
	memcpy(a->uuid, ref.uuid, sizeof(a->uuid));
	if (str_eq(uuid, IMAGE_HELPER_SUFFIX))
		return place(a,
		    arena_fmt(a->rpc.arena, IMAGE_PREFIX "%s", a->uuid), NULL);
	if (*uuid != '\0' || map_get(&a->reserved, image) != NULL)
		return op_goto(a, AUDIT_NEXT);
	return read_entry(a);
}

static enum op_verdict
look_at_trash(struct audit *a)
{
	struct cls_trash_entry trash;
	struct dec d;

	dec_init(&d, a->entry->value, a->entry->len);
	if (cls_parse_trash(d, &trash) < 0 || trash.state != TRASH_MOVING ||
	    trash.source != TRASH_SOURCE_USER)
		return op_goto(a, AUDIT_NEXT);
	a->image = arena_strdup(a->rpc.arena, trash.name);
	return place(a, a->image, a->entry->key + strlen(ID_PREFIX));
}

static enum op_verdict
look_at_note(struct audit *a)
{
	struct journal_purge purge;

	journal_purge_parse(
	    &purge, a->rpc.arena, a->entry->value, a->entry->len);
	a->image = purge.image;
	if (str_is_empty(a->image))
		return tell(a, "void-note", "it names no image");
	return place(a, a->image, a->entry->key);
}

static enum op_verdict
next(struct audit *a)
{
	if (a->rpc.op.detached)
		return op_fail(
		    a, AUDIT_END, ERR_CANCELLED, "the caller is gone");
	if (a->at == rados_read_omap_count(a->read, 0))
		return op_goto(a, AUDIT_END);
	a->entry = rados_read_omap_entry(a->read, 0, a->at++);
	a->volume = a->image = a->key_value = NULL;
	a->reservation = a->has_entry = false;
	a->item_pool = a->pool;
	switch (a->phase) {
	case PHASE_KEYS:
		return look_at_key(a);
	case PHASE_IMAGES:
		return look_at_image(a);
	case PHASE_TRASH:
		return look_at_trash(a);
	case PHASE_NOTES:
	case PHASE_COUNT:
		break;
	}
	return look_at_note(a);
}

/* ---- a key without an entry: is any image of it left? ---- */

static enum op_verdict
search(struct audit *a, enum audit_phase phase)
{
	a->searched = phase;
	list_start(a, &a->second, phase, a->last,
	    phase == PHASE_IMAGES ? NAME_PREFIX : ID_PREFIX);
	return op_await(a, AUDIT_SEARCHED);
}

/* The name of an image in the directory, or that of one in the trash. */
static const char *
image_of(const struct audit *a, const struct rados_omap_entry *e,
    struct cls_trash_entry *trash)
{
	struct dec d;

	if (a->searched == PHASE_IMAGES)
		return e->key + strlen(NAME_PREFIX);
	dec_init(&d, e->value, e->len);
	/* An entry that cannot be read may be of that image. */
	return cls_parse_trash(d, trash) < 0 ? a->uuid : trash->name;
}

static enum op_verdict
searched(struct audit *a)
{
	struct cls_trash_entry trash;
	const char *image;
	size_t n = 0;

	if (a->rpc.op.rc < 0 && a->rpc.op.rc != -ENOENT)
		return list_failed(a, a->searched);
	if (a->rpc.op.rc == 0)
		n = rados_read_omap_count(a->second, 0);
	for (size_t i = 0; i < n; i++) {
		image = image_of(
		    a, rados_read_omap_entry(a->second, 0, i), &trash);
		if (strstr(image, a->uuid) == NULL)
			continue;
		a->image = arena_strdup(a->rpc.arena, image);
		return tell(a, "key-without-entry",
		    a->searched == PHASE_TRASH
			? "its entry is gone, but the trash has its image; once that is purged, repair removes the key"
			: "its entry is gone, but its image is there; CreateVolume of this name completes the volume");
	}
	if (n > 0 && rados_read_omap_more(a->second, 0)) {
		a->last = last_key(a);
		return search(a, a->searched);
	}
	a->last = "";
	if (a->searched == PHASE_IMAGES)
		return search(a, PHASE_TRASH);
	/* What has no place in the directory may have its rbd_id. */
	return place(
	    a, arena_fmt(a->rpc.arena, IMAGE_PREFIX "%s", a->uuid), NULL);
}

/* ---- what was found ---- */

static enum op_verdict
entry_read(struct audit *a)
{
	const struct journal_item *item = &a->item.item;
	const char *name;

	a->has_entry = a->rpc.op.rc != -ENOENT;
	if (a->rpc.op.rc < 0 && a->item.err.code == ERR_DATA_LOSS)
		return tell(a, "damaged-entry",
		    arena_strdup(a->rpc.arena, a->item.err.text));
	if (a->rpc.op.rc < 0 && a->has_entry)
		return op_fail_err(a, AUDIT_END, &a->item.err);
	if (a->phase == PHASE_IMAGES)
		return a->has_entry
		    ? op_goto(a, AUDIT_NEXT)
		    : tell(a, "image-without-entry",
			  "no volume leads to it; it may have data, so rename or remove it by hand");
	if (a->reservation)
		return place(a, a->image, item->attr[JOURNAL_IMAGEID]);
	if (!a->has_entry) {
		a->last = "";
		if (a->item_pool == a->pool)
			return search(a, PHASE_IMAGES);
		return tell(a, "key-without-entry",
		    "its entry, in another pool, is gone");
	}
	name = item->attr[JOURNAL_NAME];
	a->image = volume_image_name(item, a->uuid, a->rpc.arena);
	if (!str_is_empty(name) && !str_eq(name, a->volume))
		return tell(a, "entry-of-another",
		    arena_fmt(a->rpc.arena,
			"the entry %s belongs to %s; CreateVolume of this name fails",
			a->uuid, name));
	return place(a, a->image, item->attr[JOURNAL_IMAGEID]);
}

/* A whole volume's key, by where its image is. */
static enum op_verdict
judge_volume(struct audit *a)
{
	if (!journal_item_is_complete(&a->item.item))
		return tell(a, "entry-incomplete",
		    "ceph-csi was killed while it made the volume; rbd-csi's CreateVolume of this name completes it");
	switch (a->place.standing) {
	case IMAGE_STANDS:
		break;
	case IMAGE_GONE:
		return tell(a, "image-gone",
		    "its image is nowhere; deleting the volume forgets the entry");
	case IMAGE_IN_TRASH:
		return tell(a, "image-in-trash",
		    arena_fmt(a->rpc.arena,
			"its image is in the trash, id %s; restore it there, or delete the volume",
			a->place.id));
	case IMAGE_ELSEWHERE:
		return tell(a, "image-elsewhere",
		    arena_fmt(a->rpc.arena,
			"%s; rename the image back, or set csi.imageid in csi.volume.%s",
			a->place.why, a->uuid));
	}
	return op_goto(a, AUDIT_NEXT);
}

static enum op_verdict
judge_lone_key(struct audit *a)
{
	if (a->place.standing != IMAGE_GONE)
		return tell(a, "key-without-entry",
		    "its entry is gone, but its image is there in part; CreateVolume of this name completes the volume");
	return mend(a, "key-without-entry",
	    "its entry is gone, and there is no image with its UUID; repair removes the key",
	    remove_key);
}

static enum op_verdict
judge_reservation(struct audit *a)
{
	const char *name = a->item.item.attr[JOURNAL_NAME];

	if (a->place.standing != IMAGE_GONE)
		return tell(a, "reservation",
		    "the volume is being made, or that was cut off: then CreateVolume completes it; if nobody wants it, remove the image by hand, then repair removes the rest");
	if (!str_is_empty(name) && !str_eq(name, a->volume))
		return tell(a, "entry-of-another",
		    arena_fmt(a->rpc.arena, "the entry %s belongs to %s",
			a->uuid, name));
	return mend(a, "reservation",
	    "a creation was cut off, and its image is nowhere; repair removes what is left",
	    remove_key);
}

static enum op_verdict
judge_note(struct audit *a)
{
	if (a->place.standing == IMAGE_GONE)
		return mend(a, "void-note",
		    "its image is purged; repair removes the note",
		    remove_note);
	if (a->place.standing != IMAGE_IN_TRASH)
		return tell(a, "void-note",
		    "its image is not in the trash under that name; the next ceph-worker removes the note");
	a->lane = (struct lane_job){
		.kind = LANE_FIND_CHILD,
		.pool = a->pool,
		.image_id = a->place.id,
	};
	lane_job_start(&a->lane, &a->rpc.op.wake);
	return op_await(a, AUDIT_CHILD_FOUND);
}

static enum op_verdict
placed(struct audit *a)
{
	bool gone = a->place.standing == IMAGE_GONE;

	if (a->rpc.op.rc < 0)
		return op_fail_err(a, AUDIT_END, &a->place.op.err);
	switch (a->phase) {
	case PHASE_KEYS:
		return a->reservation ? judge_reservation(a)
		    : a->has_entry    ? judge_volume(a)
				      : judge_lone_key(a);
	case PHASE_IMAGES:
		if (gone)
			return tell(a, "helper-left",
			    "ceph-csi's helper of a clone that is gone; remove its snapshots and the image by hand");
		return op_goto(a, AUDIT_NEXT);
	case PHASE_TRASH:
		if (a->place.standing == IMAGE_IN_TRASH)
			return mend(a, "trash-moving",
			    "a move to the trash was cut off at its end, and ceph-csi fails at the entry for ever; repair makes it normal",
			    settle_trash);
		return tell(a, "trash-moving",
		    "the image is being moved to the trash, or that was cut off: then deleting the volume, or `rbd trash mv`, completes it");
	case PHASE_NOTES:
	case PHASE_COUNT:
		break;
	}
	return judge_note(a);
}

static enum op_verdict
child_found(struct audit *a)
{
	if (a->rpc.op.rc < 0 && a->rpc.op.rc != -ENOENT)
		return op_fail_err(a, AUDIT_END, &a->lane.err);
	if (a->lane.child[0] == '\0')
		return op_goto(a, AUDIT_NEXT);
	return tell(a, "purge-blocked",
	    arena_fmt(a->rpc.arena,
		"the deleted image stays in the trash until its clone %s is gone",
		a->lane.child));
}

static enum op_verdict
audit_step(struct op *op)
{
	struct audit *a = (struct audit *)op;

	switch (a->state) {
	case AUDIT_START:
		return start(a);
	case AUDIT_PAGE_READ:
		return page_read(a);
	case AUDIT_RESERVED_READ:
		return reserved_read(a);
	case AUDIT_NEXT:
		return next(a);
	case AUDIT_KEY_READ:
		return key_read(a);
	case AUDIT_ENTRY_READ:
		return entry_read(a);
	case AUDIT_PLACED:
		return placed(a);
	case AUDIT_SEARCHED:
		return searched(a);
	case AUDIT_CHILD_FOUND:
		return child_found(a);
	case AUDIT_ENTRY_GONE:
		if (op->rc == -ENOENT)
			op->rc = 0;
		return mended(a);
	case AUDIT_MENDED:
		return mended(a);
	case AUDIT_END:
		return OP_DONE;
	}
	abort();
}

static void
audit_free(struct op *op)
{
	struct audit *a = (struct audit *)op;

	rados_read_free(a->read);
	rados_read_free(a->second);
	map_fini(&a->reserved);
}

static const struct op_class audit_class = {
	.name = "Audit",
	.step = audit_step,
	.end = audit_free,
};

const struct csi_impl audit_impl = {
	.cls = &audit_class,
	.size = sizeof(struct audit),
};
