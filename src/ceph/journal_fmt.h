/*
 * journal_fmt.h - the names, keys and values of the volume journal, byte for
 * byte as ceph-csi 3.17 has them (docs/JOURNAL.md). Pure functions: no I/O, no
 * state; strings come from the arena given.
 *
 *	csi.volumes.<instance>	directory: csi.volume.<request name> -> <uuid>
 *				ours: csi.reserve.<request name> -> <image name>
 *	csi.volume.<uuid>	item: attributes csi.volname, csi.imagename, ...
 *	csi.purge.<instance>	ours: <image id> -> name of the image being purged
 */
#ifndef CEPH_JOURNAL_FMT_H
#define CEPH_JOURNAL_FMT_H

#include "base/arena.h"

#define JOURNAL_UUID_LEN 36

/* Names of objects. */
char *journal_directory_fmt(struct arena *arena, const char *instance_id);
char *journal_item_fmt(struct arena *arena, const char *uuid);
char *journal_purges_fmt(struct arena *arena, const char *instance_id);

/* The key of a request name in the directory. */
char *journal_key_fmt(struct arena *arena, const char *request_name);

/*
 * Ours: the key under which a name is reserved while its volume is made, and
 * its value, the image's name, which ends with the UUID. No key of ceph-csi's
 * starts like this, and it reads no key that it does not know.
 */
#define JOURNAL_RESERVE_PREFIX "csi.reserve."
char *journal_reserve_fmt(struct arena *arena, const char *request_name);
/* The image's name, or NULL: it is no text or ends with no UUID. */
const char *journal_reserve_parse(struct arena *arena, const void *value,
    size_t len, char uuid[JOURNAL_UUID_LEN + 1]);

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

/* UUID v4 of 16 random bytes. */
void journal_uuid_fmt(
    char out[JOURNAL_UUID_LEN + 1], const unsigned char random[16]);

/* Keys of an item, in the order of journal_item's members. */
enum journal_attr {
	JOURNAL_VOLNAME = 0, /* request name */
	JOURNAL_IMAGENAME,
	JOURNAL_IMAGEID,
	JOURNAL_OWNER,      /* namespace of the claim */
	JOURNAL_POOL,       /* pool of the directory if it is not the image's */
	JOURNAL_KMS,        /* encryption: key service */
	JOURNAL_ENCRYPTION, /* encryption: "block" or "file" */
	JOURNAL_GROUP,      /* CSI ID of the group it belongs to */
	JOURNAL_ATTR_COUNT,
};

/* NULL: the attribute is absent (never written as an empty value). */
struct journal_item {
	const char *attr[JOURNAL_ATTR_COUNT];
	unsigned damaged; /* JOURNAL_BIT()s: there, but no text; attr is NULL */
};

#define JOURNAL_BIT(attr) (1u << (attr))

/* What tells one volume from another one; the rest only describes it. */
#define JOURNAL_IDENTITY                                                       \
	(JOURNAL_BIT(JOURNAL_VOLNAME) | JOURNAL_BIT(JOURNAL_IMAGENAME) |       \
	    JOURNAL_BIT(JOURNAL_IMAGEID))

const char *journal_attr_key(enum journal_attr attr);

/*
 * Takes one key and value of an item object into `item`. Keys that we do not
 * know are left alone: others may add some. A value with a NUL byte inside or
 * of more than 4 KiB is noted as damaged.
 */
void journal_item_take(struct journal_item *item, struct arena *arena,
    const char *key, const void *value, size_t len);

/* The key of the first attribute of `needs` that is damaged, or NULL. */
const char *journal_item_damage(
    const struct journal_item *item, unsigned needs);

/* A reservation is complete when the item names its request and its image. */
bool journal_item_is_complete(const struct journal_item *item);

/*
 * The value of a purge note: the name that the image had when it went to the
 * trash, and behind a tab how far the purge has got: "DONE" data objects, or
 * "DONE/SLICES" slices of the pool's listing. Reading gives a NULL image for a
 * value that is no text; what stands behind the tab and is not in this form
 * is as if it was not there.
 */
struct journal_purge {
	const char *image;
	uint64_t done;
	uint32_t slices; /* 0: objects */
};

char *journal_purge_fmt(struct arena *arena, const struct journal_purge *purge);
void journal_purge_parse(struct journal_purge *purge, struct arena *arena,
    const void *value, size_t len);

#endif
