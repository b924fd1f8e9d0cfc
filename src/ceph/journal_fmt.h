/*
 * journal_fmt.h - the names, keys and values of the journal, byte for byte as
 * ceph-csi 3.17 has them (its internal/journal; docs/JOURNAL.md). Pure: no
 * I/O, no state; strings come from the arena given.
 *
 *	DIRECTORY<instance>	directory: KEY<request name> -> <uuid>
 *				ours: csi.reserve.<request name> -> <image name>
 *				or <source's image id>/<image name>
 *	ITEM<uuid>		item: attributes csi.volname, csi.imagename, ...
 *	rbd_trash		ours: csi.purge.<instance>/<image id> -> name of the
 *				image being purged
 *
 * What stands there in capitals differs by kind.
 */
#ifndef CEPH_JOURNAL_FMT_H
#define CEPH_JOURNAL_FMT_H

#include "base/arena.h"

#define JOURNAL_UUID_LEN 36

/*
 * Ours, in front of instance, '/' and image id: the notes of all kinds. They
 * are in librbd's object of the trash, so that note and entry come and go in
 * one operation; librbd reads no key there that does not start with "id_".
 */
#define JOURNAL_PURGES "csi.purge."
/*
 * Ours: in front of a request name, the key under which it is reserved while
 * its volume is made. Its value is struct journal_reservation.
 * No key of ceph-csi's starts like this, it reads no key that it does not
 * know, and in the order of keys it stands before each kind's own.
 */
#define JOURNAL_RESERVE "csi.reserve."

/* What an item says. Not every kind has every attribute. */
enum journal_attr {
	JOURNAL_NAME = 0,   /* request name */
	JOURNAL_IMAGENAME,  /* of the image; of the RBD group for a group */
	JOURNAL_IMAGEID,    /* of the image */
	JOURNAL_SOURCE,     /* name of the image that a snapshot is of; ours:
			       CSI ID of what a volume was made from */
	JOURNAL_OWNER,      /* namespace of the claim */
	JOURNAL_POOL,       /* pool of the directory if it is not the image's */
	JOURNAL_KMS,        /* encryption: key service */
	JOURNAL_ENCRYPTION, /* encryption: "block" or "file" */
	JOURNAL_GROUP,      /* CSI ID of the group it belongs to */
	JOURNAL_CREATED,    /* RFC 3339 text with nanoseconds and offset */
	JOURNAL_USERS,      /* ours: nodes that have a user of their own for
			       it, a comma list as auth_node_fmt() has them */
	JOURNAL_ATTR_COUNT,
};

/* What the journal keeps, and by which names. */
struct journal_kind {
	const char *noun;      /* for people */
	const char *directory; /* object: in front of the instance */
	const char *key;       /* in the directory: before the request name */
	const char *item;      /* object: in front of the UUID */
	const char *image;     /* in front of the UUID if nobody says else */
	const char *attr[JOURNAL_ATTR_COUNT]; /* keys; NULL: has no such */
	bool has_members; /* all other keys of an item are CSI IDs of its
			     members; else they are left alone */
};

extern const struct journal_kind journal_volumes;
extern const struct journal_kind journal_snapshots;
extern const struct journal_kind journal_groups; /* and group snapshots */

/* What a directory key points to. */
struct journal_ref {
	bool has_pool;   /* the image is in an other pool */
	int64_t pool_id; /* set if has_pool */
	char uuid[JOURNAL_UUID_LEN + 1];
};

/*
 * Reads a directory value: 36 bytes of UUID, or "<16 hex pool id>/<uuid>".
 * Returns 0 or -EBADMSG.
 */
int journal_ref_parse(
    const void *value, size_t len, struct journal_ref *ref) must_check;

/* Who may do what under a reservation (docs/JOURNAL.md has the proof). */
enum journal_stage {
	JOURNAL_BEGUN = 0, /* one call makes it, and may undo it */
	JOURNAL_SHARED,    /* others go on with it, and nobody undoes it */
	JOURNAL_UNDONE, /* nobody makes it; who finds it removes what is left */
	JOURNAL_STAGES,
};

/* "IMAGE", before it a stage that is not the first, and a source: "WORD/ID/". */
struct journal_reservation {
	enum journal_stage stage;
	const char *source; /* of a copy: id of the image that it is made from,
			       so that what was left there is found again */
	const char *image;  /* its name, which ends with the UUID */
	char uuid[JOURNAL_UUID_LEN + 1];
};

/* Strings come from the arena. -EBADMSG: the value ends with no UUID. */
int journal_reservation_parse(struct journal_reservation *reservation,
    struct arena *arena, const void *value, size_t len) must_check;
const char *journal_reservation_fmt(
    const struct journal_reservation *reservation, struct arena *arena);

/* UUID v4 of 16 random bytes. */
void journal_uuid_fmt(
    char out[JOURNAL_UUID_LEN + 1], const unsigned char random[16]);

/* NULL: the attribute is absent (never written as an empty value). */
struct journal_item {
	const char *attr[JOURNAL_ATTR_COUNT];
	unsigned damaged; /* JOURNAL_BIT()s: there, but no text; attr is NULL */
};

#define JOURNAL_BIT(attr) (1u << (attr))

/* What tells one volume from another one; the rest only describes it. */
#define JOURNAL_IDENTITY                                                       \
	(JOURNAL_BIT(JOURNAL_NAME) | JOURNAL_BIT(JOURNAL_IMAGENAME) |          \
	    JOURNAL_BIT(JOURNAL_IMAGEID))

/*
 * Takes one key and value of an item object into `item`. A value with a NUL
 * byte inside or of more than 4 KiB is noted as damaged. False: the key is no
 * attribute of this kind.
 */
bool journal_item_take(const struct journal_kind *kind,
    struct journal_item *item, struct arena *arena, const char *key,
    const void *value, size_t len);

/* The key of the first attribute of `needs` that is damaged, or NULL. */
const char *journal_item_damage(const struct journal_kind *kind,
    const struct journal_item *item, unsigned needs);

/* A reservation is complete when the item names its request and its image. */
bool journal_item_is_complete(const struct journal_item *item);

/*
 * The value of a purge note: the name that the image had when it went to the
 * trash, and behind a tab how far the purge has got: "DONE" data objects, or
 * "DONE/SLICES" slices of the pool's listing; "@UNTIL" follows if it is kept
 * until then. Reading gives a NULL image for a value that is no text; what
 * stands behind the tab and is not in this form is as if it was not there.
 */
struct journal_purge {
	const char *image;
	uint64_t done;
	uint32_t slices;  /* 0: objects */
	uint64_t until_s; /* since 1970; 0: to be purged at once */
};

/*
 * The key of a note, and the image id of one; NULL: no note of this instance.
 * Image ids have no '/', instances may.
 */
char *journal_purge_key(
    struct arena *arena, const char *instance_id, const char *image_id);
const char *journal_purge_id(const char *instance_id, const char *key);

char *journal_purge_fmt(struct arena *arena, const struct journal_purge *purge);
void journal_purge_parse(struct journal_purge *purge, struct arena *arena,
    const void *value, size_t len);

#endif
