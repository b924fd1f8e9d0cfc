/*
 * audit.c - whether a pool's journal, images, trash and purge notes say the
 * same.
 *
 * The rule that holds it together: one call looks at one page of one walk, and
 * keeps nothing: whatever is found is read again by the call that
 * mends it, and mended by an operation that the cluster refuses when it has
 * changed. An image is never touched; see docs/JOURNAL.md.
 */
#include "controller/audit_image.h"
#include "controller/audit_stray.h"
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
/* Keys of rbd_directory and of rbd_trash, as the OSD's class rbd has them. */
#define NAME_PREFIX "name_"
#define ID_PREFIX "id_"

enum audit_list {
	LIST_KEYS = 0, /* the directory of a kind */
	LIST_IMAGES,   /* rbd_directory, as far as names are of a kind */
	LIST_TRASH,
	LIST_NOTES,
	LIST_ENTRIES, /* of all kinds; audit_stray.h */
	LIST_USERS,   /* the same */
};

/* What is walked, in this order; the first digit of a token is its number. */
static const struct audit_walk {
	enum audit_list list;
	const struct journal_kind *kind;
} walks[] = {
	{ LIST_KEYS, &journal_volumes },
	{ LIST_KEYS, &journal_snapshots },
	{ LIST_IMAGES, &journal_volumes },
	{ LIST_IMAGES, &journal_snapshots },
	{ LIST_TRASH, NULL },
	{ LIST_NOTES, NULL },
	{ LIST_ENTRIES, NULL },
	{ LIST_USERS, NULL },
};
#define WALKS (sizeof(walks) / sizeof(walks[0]))

/* What is to be done next about the entry that is looked at. */
enum audit_next {
	NEXT_NOTHING = 0, /* it is well, or what is wrong was told */
	NEXT_KEY,         /* a reservation: has the volume been made? */
	NEXT_NOTE,        /* a deleted image: is it ours to purge? */
	NEXT_ENTRY,       /* read the journal's entry */
	NEXT_IMAGE,       /* it is in use: what is left on it? */
	NEXT_STRAY,       /* nothing may lead to it */
	NEXT_SEARCH,      /* no entry: is any image with its UUID left? */
	NEXT_PLACE,       /* where are name and id? */
	NEXT_CHILD,       /* what hangs on the image in the trash? */
	NEXT_MEND,
	NEXT_FAIL, /* the operation's error tells */
};

enum audit_state {
	AUDIT_START = 0,
	AUDIT_PAGE_READ,     /* what is to be looked at */
	AUDIT_STRAYS_LISTED, /* the same, of what nothing leads to */
	AUDIT_RESERVED_READ, /* images: those that are being made */
	AUDIT_NEXT,          /* the next entry of the page */
	AUDIT_JUDGED,        /* what is to be done about it is known */
	AUDIT_KEY_READ,      /* NEXT_KEY */
	AUDIT_NOTE_READ,     /* NEXT_NOTE */
	AUDIT_ENTRY_READ,    /* NEXT_ENTRY */
	AUDIT_IMAGE_CHECKED, /* NEXT_IMAGE */
	AUDIT_STRAY_CHECKED, /* NEXT_STRAY */
	AUDIT_SEARCHED,      /* NEXT_SEARCH: a page of images has come */
	AUDIT_PLACED,        /* NEXT_PLACE */
	AUDIT_CHILD_FOUND,   /* NEXT_CHILD */
	AUDIT_MENDED,        /* NEXT_MEND */
	AUDIT_ENTRY_GONE,    /* so is the entry of a reservation */
	AUDIT_END,
};

struct audit {
	struct csi_rpc rpc;
	enum audit_state state;
	const Rbdcsi__Admin__V1__AuditRequest *req;
	Rbdcsi__Admin__V1__AuditResponse *reply;
	struct ceph_pool *pool;
	const struct audit_walk *walk;
	struct rados_read *read;   /* the page */
	struct rados_read *second; /* whatever else is read */
	size_t at, left;           /* the next one of the page, and how many */
	struct map reserved;       /* images that are being made */
	const char *last;          /* the last key of what is listed */

	/* the entry that is looked at */
	enum audit_next next;
	const struct rados_omap_entry *entry;
	const struct journal_kind *kind;
	const char *volume, *image, *id;
	const char *place_image, *place_id; /* NEXT_PLACE */
	char uuid[JOURNAL_UUID_LEN + 1];
	bool reservation, has_entry;
	const char *key_value; /* of a reservation's name, or NULL */
	enum audit_list searched;
	struct ceph_pool *item_pool;
	struct journal_read item;
	struct image_place place;
	struct image_check in_use;
	struct stray_list strays;
	struct stray_check stray;
	struct lane_job lane;
	Rbdcsi__Admin__V1__Finding *finding;
};

static const char *
object_of(const struct audit *a, enum audit_list list)
{
	if (list == LIST_IMAGES)
		return RBD_DIRECTORY;
	if (list == LIST_TRASH || list == LIST_NOTES)
		return RBD_TRASH;
	return arena_fmt(
	    a->rpc.arena, "%s%s", a->kind->directory, a->rpc.env->instance_id);
}

static const char *
prefix_of(const struct audit *a, enum audit_list list)
{
	if (list == LIST_IMAGES)
		return arena_fmt(
		    a->rpc.arena, NAME_PREFIX "%s", a->kind->image);
	return list == LIST_TRASH ? ID_PREFIX
	    : list == LIST_NOTES  ? JOURNAL_PURGES
				  : "";
}

/* ---- findings ---- */

/* A copy: the reply outlives what was read. */
static char *
copy_of(const struct audit *a, const char *text)
{
	return arena_strdup(a->rpc.arena, text != NULL ? text : "");
}

static enum audit_next
tell_of(struct audit *a, const char *object, const char *kind, const char *text)
{
	Rbdcsi__Admin__V1__Finding *f = csi_new(
	    &rbdcsi__admin__v1__finding__descriptor, a->rpc.arena);

	f->kind = copy_of(a, kind);
	f->object = copy_of(a, object);
	f->volume = copy_of(a, a->volume);
	f->image = copy_of(a, a->image);
	f->text = copy_of(a, text);
	a->reply->findings[a->reply->n_findings++] = f;
	a->finding = f;
	return NEXT_NOTHING;
}

static enum audit_next
tell(struct audit *a, const char *kind, const char *text)
{
	return tell_of(a,
	    arena_fmt(a->rpc.arena, "%s %s", object_of(a, a->walk->list),
		a->entry->key),
	    kind, text);
}

static void
note_repair(struct audit *a)
{
	a->finding->repaired = true;
	log_info("audit.repair", "pool=%s kind=%s object=\"%s\" image=%s",
	    ceph_pool_name(a->pool), a->finding->kind, a->finding->object,
	    a->finding->image);
}

/* The same, and mends it if that is wanted. */
static enum audit_next
mend(struct audit *a, const char *kind, const char *text)
{
	(void)tell(a, kind, text);
	return a->req->repair ? NEXT_MEND : NEXT_NOTHING;
}

static enum audit_next
place(struct audit *a, const char *image, const char *id)
{
	a->place_image = image;
	a->place_id = str_is_empty(id) ? NULL : id;
	return NEXT_PLACE;
}

/* One operation, which the cluster refuses if anything has changed. */
static void
mend_start(struct audit *a)
{
	struct journal_change change[2] = {
		{
		    .key = a->entry->key,
		    .was = arena_fmt(a->rpc.arena, "%.*s", (int)a->entry->len,
			(const char *)a->entry->value),
		},
		{ .was = a->key_value, .now = a->key_value },
	};

	if (a->walk->list == LIST_TRASH) {
		trash_state_start(a->pool, a->place.id, TRASH_MOVING,
		    TRASH_NORMAL, &a->rpc.op.wake);
		return;
	}
	change[1].key = arena_fmt(a->rpc.arena, "%s%s",
	    a->reservation ? a->kind->key : "",
	    a->reservation ? a->volume : "");
	journal_change_start(a->pool, object_of(a, a->walk->list), false,
	    change, a->reservation ? 2 : 1, &a->rpc.op.wake);
}

/* ---- pages ---- */

/* Reads a page of a list; an object that is not there is empty. */
static void
page_start(struct audit *a, struct rados_read **read, enum audit_list list,
    const char *after, const char *prefix)
{
	rados_read_free(*read);
	*read = rados_read_new();
	(void)rados_read_omap_page(*read, after, prefix, PAGE);
	rados_read_start(*read, a->pool, object_of(a, list), &a->rpc.op.wake);
}

/* True: what `second` has listed goes on after `last`. */
static bool
second_goes_on(struct audit *a)
{
	const struct rados_omap *omap = rados_read_omap(a->second);

	if (omap->n == 0 || !omap->more)
		return false;
	a->last = arena_strdup(a->rpc.arena, omap->entry[omap->n - 1].key);
	return true;
}

static int
read_audit_request(struct audit *a, const char **after, struct err *err)
{
	const char *token;

	a->req = a->rpc.request;
	a->reply = csi_rpc_reply(&a->rpc);
	a->walk = walks;
	token = a->req->token;
	if (*token != '\0') {
		if (*token < '0' || (size_t)(*token - '0') >= WALKS)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "token: none of Audit's");
		a->walk += *token++ - '0';
	}
	a->kind = a->walk->kind;
	*after = token;
	return ceph_pool_open(controller.conn, a->req->pool,
	    a->rpc.env->rados_namespace, &a->pool, err);
}

/* Makes room for findings and tells where the next call goes on. */
static size_t
take_page(struct audit *a)
{
	const struct rados_omap *omap = a->read != NULL
	    ? rados_read_omap(a->read)
	    : NULL;
	size_t n = omap != NULL ? omap->n : a->strays.n;
	const char *last = omap == NULL ? a->strays.next
	    : n > 0 && omap->more       ? omap->entry[n - 1].key
					: NULL;
	int walk = (int)(a->walk - walks);

	/* An image has three at most. */
	a->reply->findings = arena_new_bytes(
	    a->rpc.arena, (3 * n + 1) * sizeof(*a->reply->findings));
	if (last != NULL)
		a->reply->next_token = arena_fmt(
		    a->rpc.arena, "%d%s", walk, last);
	else if (walk + 1 < (int)WALKS)
		a->reply->next_token = arena_fmt(a->rpc.arena, "%d", walk + 1);
	if (a->strays.refused)
		a->reply->unseen = arena_fmt(a->rpc.arena,
		    "users of cephxPerVolume: client.%s may not list users (`auth ls`)",
		    controller.conn->user);
	return n;
}

/* The images of a page of reservations; true: there are more pages. */
static bool
take_reserved(struct audit *a)
{
	const struct rados_omap *omap = rados_read_omap(a->second);

	for (size_t i = 0; i < omap->n; i++) {
		const struct rados_omap_entry *e = &omap->entry[i];
		struct journal_reservation r;

		if (journal_reservation_parse(
			&r, a->rpc.arena, e->value, e->len) == 0)
			(void)map_set(&a->reserved, r.image, a);
	}
	return second_goes_on(a);
}

/* ---- an entry of a page ---- */

static enum audit_next
look_at_key(struct audit *a)
{
	const struct rados_omap_entry *e = a->entry;
	struct journal_reservation r;
	struct journal_ref ref;
	struct err err = ERR_INIT;
	int rc;

	if (str_starts(e->key, JOURNAL_RESERVE)) {
		a->reservation = true;
		a->volume = e->key + strlen(JOURNAL_RESERVE);
		if (journal_reservation_parse(
			&r, a->rpc.arena, e->value, e->len) < 0)
			return tell(a, "damaged-key",
			    "its value names no image; creating by this name fails");
		a->image = r.image;
		memcpy(a->uuid, r.uuid, sizeof(a->uuid));
		return NEXT_KEY;
	}
	if (!str_starts(e->key, a->kind->key))
		return NEXT_NOTHING;
	a->volume = e->key + strlen(a->kind->key);
	if (journal_ref_parse(e->value, e->len, &ref) < 0)
		return tell(a, "damaged-key",
		    "its value is no UUID; creating by this name fails");
	memcpy(a->uuid, ref.uuid, sizeof(a->uuid));
	if (!ref.has_pool)
		return NEXT_ENTRY;
	rc = ceph_pool_open_id(controller.conn, ref.pool_id,
	    a->pool->rados_namespace, &a->item_pool, &err);
	if (rc == -ENOENT)
		return mend(a, "key-without-entry",
		    "the pool that it names is gone, and all in it; repair removes the key");
	if (rc < 0)
		op_set_err(&a->rpc.op, &err);
	return rc < 0 ? NEXT_FAIL : NEXT_ENTRY;
}

static enum audit_next
look_at_image(struct audit *a)
{
	const char *image = a->entry->key + strlen(NAME_PREFIX);
	const char *rest = audit_image_rest(a->kind, image, a->uuid);

	a->image = image;
	if (rest == NULL)
		return NEXT_NOTHING;
	if (a->kind == &journal_volumes && str_eq(rest, IMAGE_HELPER_SUFFIX))
		return place(a,
		    arena_fmt(a->rpc.arena, "%s%s", a->kind->image, a->uuid),
		    NULL);
	if (*rest != '\0' || map_get(&a->reserved, image) != NULL)
		return NEXT_NOTHING;
	return NEXT_ENTRY;
}

static enum audit_next
look_at_trash(struct audit *a)
{
	struct cls_trash_entry trash;
	const char *rest;
	struct dec d;

	dec_init(&d, a->entry->value, a->entry->len);
	if (cls_parse_trash(d, &trash) < 0 || trash.source != TRASH_SOURCE_USER)
		return NEXT_NOTHING;
	a->image = arena_strdup(a->rpc.arena, trash.name);
	a->id = a->entry->key + strlen(ID_PREFIX);
	if (trash.state == TRASH_MOVING)
		return place(a, a->image, a->id);
	if (trash.state != TRASH_NORMAL ||
	    trash.deferred_until.tv_sec > time(NULL))
		return NEXT_NOTHING;
	a->kind = &journal_volumes;
	if ((rest = audit_image_rest(a->kind, a->image, a->uuid)) == NULL) {
		a->kind = &journal_snapshots;
		rest = audit_image_rest(a->kind, a->image, a->uuid);
	}
	return rest != NULL ? NEXT_NOTE : NEXT_NOTHING;
}

static enum audit_next
look_at_note(struct audit *a)
{
	const char *id = journal_purge_id(
	    a->rpc.env->instance_id, a->entry->key);
	struct journal_purge purge;

	if (id == NULL) /* of an instance whose name goes on with '/' */
		return NEXT_NOTHING;
	journal_purge_parse(
	    &purge, a->rpc.arena, a->entry->value, a->entry->len);
	a->image = purge.image;
	return str_is_empty(a->image)
	    ? tell(a, "void-note", "it names no image")
	    : place(a, a->image, id);
}

static enum audit_next
look_at_entry(struct audit *a)
{
	if (a->read == NULL)
		return NEXT_STRAY;
	a->entry = &rados_read_omap(a->read)->entry[a->at++];
	a->kind = a->walk->kind;
	a->volume = a->image = a->key_value = NULL;
	a->reservation = a->has_entry = false;
	a->item_pool = a->pool;
	return a->walk->list == LIST_KEYS  ? look_at_key(a)
	    : a->walk->list == LIST_IMAGES ? look_at_image(a)
	    : a->walk->list == LIST_TRASH  ? look_at_trash(a)
					   : look_at_note(a);
}

/* ---- judging what was found ---- */

static enum audit_next
judge_key(struct audit *a)
{
	const struct rados_omap *omap = rados_read_omap(a->second);
	const struct rados_omap_entry *e = omap->entry;
	struct journal_ref ref;

	if (omap->n == 0)
		return NEXT_ENTRY;
	a->key_value = arena_fmt(
	    a->rpc.arena, "%.*s", (int)e->len, (const char *)e->value);
	if (journal_ref_parse(e->value, e->len, &ref) < 0 ||
	    str_eq(ref.uuid, a->uuid))
		return tell(a, "reservation",
		    "it has been made, or its key is damaged; nothing is removed");
	return NEXT_ENTRY;
}

/*
 * An image of ours in the trash, for whose purge nobody has a note: ceph-csi
 * leaves that to the manager.
 */
static enum audit_next
judge_deleted(struct audit *a)
{
	const char *id = a->item.item.attr[JOURNAL_IMAGEID];

	if (!a->has_entry)
		return tell(a, "trash-left",
		    arena_fmt(a->rpc.arena,
			"it is deleted, and nobody purges it unless the manager has a task for that: `ceph rbd task add trash remove` of its id %s",
			a->id));
	if (str_is_empty(id) || str_eq(id, a->id))
		return NEXT_NOTHING; /* told when its key was looked at */
	return tell(a, "trash-old",
	    arena_fmt(a->rpc.arena,
		"an old image of a name that has been made anew, with id %s: nothing leads to it; remove it by hand when its data are not wanted",
		id));
}

static enum audit_next
judge_entry(struct audit *a)
{
	const struct journal_item *item = &a->item.item;
	const char *name = item->attr[JOURNAL_NAME];
	int rc = a->rpc.op.rc;

	a->has_entry = rc != -ENOENT;
	if (rc < 0 && a->item.err.code == ERR_DATA_LOSS)
		return tell(a, "damaged-entry",
		    arena_strdup(a->rpc.arena, a->item.err.text));
	if (rc < 0 && a->has_entry) {
		op_set_err(&a->rpc.op, &a->item.err);
		return NEXT_FAIL;
	}
	if (a->walk->list == LIST_IMAGES)
		return a->has_entry
		    ? NEXT_IMAGE
		    : tell(a, "image-without-entry",
			  "no volume or snapshot leads to it; it may have data, so rename or remove it by hand");
	if (a->walk->list == LIST_TRASH)
		return judge_deleted(a);
	if (a->reservation)
		return place(a, a->image, item->attr[JOURNAL_IMAGEID]);
	if (!a->has_entry) {
		a->last = "";
		a->searched = LIST_IMAGES;
		return a->item_pool == a->pool
		    ? NEXT_SEARCH
		    : tell(a, "key-without-entry",
			  "its entry, in another pool, is gone");
	}
	a->image = volume_image_name(a->kind, item, a->uuid, a->rpc.arena);
	if (!str_is_empty(name) && !str_eq(name, a->volume))
		return tell(a, "entry-of-another",
		    arena_fmt(a->rpc.arena,
			"the entry %s belongs to %s; creating by this name fails",
			a->uuid, name));
	return place(a, a->image, item->attr[JOURNAL_IMAGEID]);
}

/* A page of images, or of the trash: is one of this UUID in it? */
static enum audit_next
judge_searched(struct audit *a)
{
	const struct rados_omap *omap = rados_read_omap(a->second);

	for (size_t i = 0; i < omap->n; i++) {
		const struct rados_omap_entry *e = &omap->entry[i];
		struct cls_trash_entry trash;
		const char *image;
		struct dec d;

		dec_init(&d, e->value, e->len);
		if (a->searched == LIST_IMAGES)
			image = e->key + strlen(NAME_PREFIX);
		else /* one that cannot be read may be of that image */
			image = cls_parse_trash(d, &trash) < 0 ? a->uuid
							       : trash.name;
		if (strstr(image, a->uuid) == NULL)
			continue;
		a->image = image;
		return tell(a, "key-without-entry",
		    a->searched == LIST_TRASH
			? "its entry is gone, but the trash has its image; once that is purged, repair removes the key"
			: "its entry is gone, but its image is there; creating it by this name again completes it");
	}
	if (second_goes_on(a))
		return NEXT_SEARCH;
	a->last = "";
	if (a->searched == LIST_IMAGES) {
		a->searched = LIST_TRASH;
		return NEXT_SEARCH;
	}
	/* What has no place in the directory may have its rbd_id. */
	return place(
	    a, arena_fmt(a->rpc.arena, "%s%s", a->kind->image, a->uuid), NULL);
}

/* A key and its entry, by where the image is. */
static enum audit_next
judge_volume(struct audit *a)
{
	if (!journal_item_is_complete(&a->item.item))
		return tell(a, "entry-incomplete",
		    "ceph-csi was killed while it made it; rbd-csi completes it when it is created by this name again");
	switch (a->place.standing) {
	case IMAGE_STANDS:
		break;
	case IMAGE_GONE:
		return tell(a, "image-gone",
		    "its image is nowhere; a deletion forgets the entry");
	case IMAGE_IN_TRASH:
		return tell(a, "image-in-trash",
		    arena_fmt(a->rpc.arena,
			"its image is in the trash, id %s; restore it there, or delete what it belongs to",
			a->place.id));
	case IMAGE_ELSEWHERE:
		return tell(a, "image-elsewhere",
		    arena_fmt(a->rpc.arena,
			"%s; rename the image back, or set csi.imageid in %s%s",
			a->place.why, a->kind->item, a->uuid));
	}
	return NEXT_NOTHING;
}

static enum audit_next
judge_place(struct audit *a)
{
	bool gone = a->place.standing == IMAGE_GONE;
	bool in_trash = a->place.standing == IMAGE_IN_TRASH;
	const char *name = a->item.item.attr[JOURNAL_NAME];

	if (a->walk->list == LIST_IMAGES)
		return gone
		    ? tell(a, "helper-left",
			  "ceph-csi's helper of a clone that is gone; remove its snapshots and the image by hand")
		    : NEXT_NOTHING;
	if (a->walk->list == LIST_TRASH)
		return in_trash
		    ? mend(a, "trash-moving",
			  "a move to the trash was cut off at its end, and ceph-csi fails at the entry for ever; repair makes it normal")
		    : tell(a, "trash-moving",
			  "the image is being moved to the trash, or that was cut off: then the deletion, or `rbd trash mv`, completes it");
	if (a->walk->list == LIST_NOTES)
		return gone
		    ? mend(a, "void-note",
			  "its image is purged; repair removes the note")
		    : in_trash
		    ? NEXT_CHILD
		    : tell(a, "void-note",
			  "its image is not in the trash under that name; the next ceph-worker removes the note");
	if (!a->reservation && a->has_entry)
		return judge_volume(a);
	if (!a->reservation)
		return gone
		    ? mend(a, "key-without-entry",
			  "its entry is gone, and there is no image with its UUID; repair removes the key")
		    : tell(a, "key-without-entry",
			  "its entry is gone, but its image is there in part; creating it by this name again completes it");
	if (!gone)
		return tell(a, "reservation",
		    "it is being made, or that was cut off: then creating it by this name again completes it; if nobody wants it, remove the image by hand, then repair removes the rest");
	if (!str_is_empty(name) && !str_eq(name, a->volume))
		return tell(a, "entry-of-another",
		    arena_fmt(a->rpc.arena, "the entry %s belongs to %s",
			a->uuid, name));
	return mend(a, "reservation",
	    "a creation was cut off, and its image is nowhere; repair removes what is left");
}

/* ---- the steps ---- */

static enum op_verdict
audit_next_step(struct audit *a)
{
	struct op *op = &a->rpc.op;
	char id[RBD_ID_SIZE];
	const char *key;
	struct dec d;

	switch (a->next) {
	case NEXT_NOTHING:
		return op_goto(a, AUDIT_NEXT);

	case NEXT_KEY:
		rados_read_free(a->second);
		a->second = rados_read_new();
		key = arena_fmt(a->rpc.arena, "%s%s", a->kind->key, a->volume);
		(void)rados_read_omap_keys(a->second, &key, 1);
		rados_read_start(
		    a->second, a->pool, object_of(a, LIST_KEYS), &op->wake);
		return op_await(a, AUDIT_KEY_READ);

	case NEXT_NOTE:
		rados_read_free(a->second);
		a->second = journal_purge_read_start(
		    a->pool, a->rpc.env->instance_id, a->id, NULL, &op->wake);
		return op_await(a, AUDIT_NOTE_READ);

	case NEXT_ENTRY:
		journal_read_start(&a->item, a->kind, a->item_pool, a->uuid,
		    JOURNAL_IDENTITY, a->rpc.arena, &op->wake);
		return op_await(a, AUDIT_ENTRY_READ);

	case NEXT_IMAGE:
		dec_init(&d, a->entry->value, a->entry->len);
		dec_str(&d, id, sizeof(id));
		if (dec_end(&d) < 0)
			id[0] = '\0';
		a->in_use = (struct image_check){
			.arena = a->rpc.arena,
			.pool = a->pool,
			.image = a->image,
			.uuid = a->uuid,
			.id = arena_strdup(a->rpc.arena, id),
			.repair = a->req->repair,
		};
		image_check_start(&a->in_use, &op->wake);
		return op_await(a, AUDIT_IMAGE_CHECKED);

	case NEXT_STRAY:
		stray_check_start(
		    &a->stray, &a->strays, a->at++, a->req->repair, &op->wake);
		return op_await(a, AUDIT_STRAY_CHECKED);

	case NEXT_SEARCH:
		page_start(a, &a->second, a->searched, a->last,
		    a->searched == LIST_IMAGES ? NAME_PREFIX : ID_PREFIX);
		return op_await(a, AUDIT_SEARCHED);

	case NEXT_PLACE:
		image_place_start(&a->place, a->item_pool, a->place_image,
		    a->place_id, &op->wake);
		return op_await(a, AUDIT_PLACED);

	case NEXT_CHILD:
		a->lane = (struct lane_job){
			.kind = LANE_FIND_CHILD,
			.pool = a->pool,
			.image_id = a->place.id,
		};
		lane_job_start(&a->lane, &op->wake);
		return op_await(a, AUDIT_CHILD_FOUND);

	case NEXT_MEND:
		mend_start(a);
		return op_await(a, AUDIT_MENDED);

	case NEXT_FAIL:
		return op_goto(a, AUDIT_END);
	}
	abort();
}

static enum op_verdict
audit_mended_step(struct audit *a)
{
	struct op *op = &a->rpc.op;

	if (a->state == AUDIT_MENDED &&
	    (op->rc == -ECANCELED || op->rc == -ENOENT || op->rc == -ESTALE)) {
		a->finding->text = arena_fmt(a->rpc.arena,
		    "%s (it was changed meanwhile: look again)",
		    a->finding->text);
		return op_goto(a, AUDIT_NEXT);
	}
	if (op->rc < 0 && op->rc != -ENOENT)
		return op_fail_rc(a, AUDIT_END, op->rc, "mend %s in %s",
		    a->finding->object, ceph_pool_label(a->pool));
	/*
	 * The entry goes last: without its reservation no process can
	 * commit it any more. A crash here leaves an entry that
	 * nothing leads to.
	 */
	if (a->state == AUDIT_MENDED && a->reservation && a->has_entry) {
		rados_remove_start(a->pool,
		    arena_fmt(a->rpc.arena, "%s%s", a->kind->item, a->uuid),
		    &op->wake);
		return op_await(a, AUDIT_ENTRY_GONE);
	}
	note_repair(a);
	return op_goto(a, AUDIT_NEXT);
}

static enum op_verdict
audit_step(struct op *op)
{
	struct audit *a = (struct audit *)op;
	bool failed = op->rc < 0 && op->rc != -ENOENT;
	struct err err = ERR_INIT;
	const char *after = "";

	switch (a->state) {
	case AUDIT_START:
		if (read_audit_request(a, &after, &err) < 0)
			return op_fail_err(a, AUDIT_END, &err);
		if (a->walk->list >= LIST_ENTRIES) {
			stray_list_start(&a->strays, &a->rpc, a->pool,
			    a->walk->list == LIST_USERS, after, &op->wake);
			return op_await(a, AUDIT_STRAYS_LISTED);
		}
		page_start(a, &a->read, a->walk->list, after,
		    prefix_of(a, a->walk->list));
		return op_await(a, AUDIT_PAGE_READ);

	case AUDIT_PAGE_READ:
		if (failed)
			return op_fail_rc(a, AUDIT_END, op->rc, "list %s of %s",
			    object_of(a, a->walk->list),
			    ceph_pool_label(a->pool));
		a->left = take_page(a);
		if (a->left == 0)
			return op_goto(a, AUDIT_END);
		if (a->walk->list != LIST_IMAGES)
			return op_goto(a, AUDIT_NEXT);
		/*
		 * After the images, before their entries: an image whose
		 * reservation has gone by now has its entry.
		 */
		page_start(a, &a->second, LIST_KEYS, "", JOURNAL_RESERVE);
		return op_await(a, AUDIT_RESERVED_READ);

	case AUDIT_STRAYS_LISTED:
		if (op->rc < 0)
			return op_fail_as(a, AUDIT_END, strays.op);
		a->left = take_page(a);
		return op_goto(a, AUDIT_NEXT);

	case AUDIT_RESERVED_READ:
		if (failed)
			return op_fail_rc(a, AUDIT_END, op->rc, "list %s of %s",
			    object_of(a, LIST_KEYS), ceph_pool_label(a->pool));
		if (!take_reserved(a))
			return op_goto(a, AUDIT_NEXT);
		page_start(a, &a->second, LIST_KEYS, a->last, JOURNAL_RESERVE);
		return op_await(a, AUDIT_RESERVED_READ);

	case AUDIT_NEXT:
		if (op->detached)
			return op_fail(
			    a, AUDIT_END, ERR_CANCELLED, "the caller is gone");
		if (a->left-- == 0)
			return op_goto(a, AUDIT_END);
		a->next = look_at_entry(a);
		return op_goto(a, AUDIT_JUDGED);

	case AUDIT_JUDGED:
		return audit_next_step(a);

	case AUDIT_KEY_READ:
		if (op->rc < 0)
			return op_fail_rc(a, AUDIT_END, op->rc, "list %s of %s",
			    object_of(a, LIST_KEYS), ceph_pool_label(a->pool));
		a->next = judge_key(a);
		return op_goto(a, AUDIT_JUDGED);

	case AUDIT_NOTE_READ:
		/* With one it is for a purge, which gives it its time. */
		if (failed)
			return op_fail_rc(a, AUDIT_END, op->rc, "list %s of %s",
			    object_of(a, LIST_NOTES), ceph_pool_label(a->pool));
		a->next = rados_read_omap(a->second)->n > 0 ? NEXT_NOTHING
							    : NEXT_ENTRY;
		return op_goto(a, AUDIT_JUDGED);

	case AUDIT_ENTRY_READ:
		a->next = judge_entry(a);
		return op_goto(a, AUDIT_JUDGED);

	case AUDIT_IMAGE_CHECKED:
		if (op->rc < 0)
			return op_fail_as(a, AUDIT_END, in_use.op);
		for (size_t i = 0; i < a->in_use.n; i++) {
			(void)tell(a, a->in_use.found[i].kind,
			    a->in_use.found[i].text);
			if (a->in_use.found[i].repaired)
				note_repair(a);
		}
		return op_goto(a, AUDIT_NEXT);

	case AUDIT_STRAY_CHECKED:
		if (op->rc < 0)
			return op_fail_as(a, AUDIT_END, stray.op);
		if (a->stray.kind == NULL)
			return op_goto(a, AUDIT_NEXT);
		a->volume = a->stray.volume;
		a->image = a->stray.image;
		(void)tell_of(a, a->stray.object, a->stray.kind, a->stray.text);
		if (a->stray.repaired)
			note_repair(a);
		return op_goto(a, AUDIT_NEXT);

	case AUDIT_SEARCHED:
		if (failed)
			return op_fail_rc(a, AUDIT_END, op->rc, "list %s of %s",
			    object_of(a, a->searched),
			    ceph_pool_label(a->pool));
		a->next = judge_searched(a);
		return op_goto(a, AUDIT_JUDGED);

	case AUDIT_PLACED:
		if (op->rc < 0)
			return op_fail_as(a, AUDIT_END, place.op);
		a->next = judge_place(a);
		return op_goto(a, AUDIT_JUDGED);

	case AUDIT_CHILD_FOUND:
		if (failed)
			return op_fail_as(a, AUDIT_END, lane);
		if (a->lane.child[0] != '\0')
			(void)tell(a, "purge-blocked",
			    arena_fmt(a->rpc.arena,
				"the deleted image stays in the trash until its clone %s is gone",
				a->lane.child));
		return op_goto(a, AUDIT_NEXT);

	case AUDIT_MENDED:
	case AUDIT_ENTRY_GONE:
		return audit_mended_step(a);

	case AUDIT_END:
		stray_list_fini(&a->strays);
		rados_read_free(a->read);
		rados_read_free(a->second);
		map_fini(&a->reserved);
		return OP_DONE;
	}
	abort();
}

static const struct op_class audit_class = {
	.name = "Audit",
	.step = audit_step,
};

const struct csi_impl audit_impl = {
	.cls = &audit_class,
	.size = sizeof(struct audit),
};
