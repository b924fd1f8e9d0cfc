/*
 * entry.h - whether there is a volume, or a snapshot, of a request's name: what
 * the journal says, and whether the image is there that it says.
 *
 * The rule that holds it together: an entry is dropped only if neither its
 * image's name nor its id is anywhere, or in the trash with a note of ours.
 */
#ifndef CONTROLLER_ENTRY_H
#define CONTROLLER_ENTRY_H

#include "controller/volume.h"

enum entry_state {
	ENTRY_START = 0,
	ENTRY_FOUND,      /* the journal has been asked for the name */
	ENTRY_IMAGE_READ, /* it is there: its image was looked up */
	ENTRY_PLACED,     /* no such image: where name and id are */
	ENTRY_NOTE_READ,  /* in the trash: is it ours to purge? */
	ENTRY_STALE,      /* its image is gone: the entry is worthless */
	ENTRY_STALE_GONE, /* and so is the entry */
	ENTRY_END,
};

struct entry_find {
	struct op op;
	enum entry_state state;
	const struct csi_rpc *rpc;
	struct journal journal;
	const char *name;
	const struct csi_class_params *cls;
	struct journal_release release;
	struct image_place place;
	struct rados_read *note;

	/* the answer */
	bool stands;              /* it is whole, and its image is there */
	struct journal_find find; /* else: nothing, a reservation, or half */
	struct image_lookup lookup;
};

/*
 * Looks `name` up; what is stale is dropped. FAILED_PRECONDITION: the entry's
 * image was renamed, made anew, or put into the trash by somebody;
 * ALREADY_EXISTS: it is encrypted in another way than `cls` wants (NULL: in
 * any). Nothing is changed then.
 */
void entry_find_start(struct entry_find *entry, const struct csi_rpc *rpc,
    const struct journal *journal, const char *name,
    const struct csi_class_params *cls, struct wake *waiter);

/* The result of a look-up that has found nothing, without any. */
void entry_find_none(struct entry_find *entry, const struct csi_rpc *rpc,
    const struct journal *journal, const char *name);

/*
 * ---- What volumes and snapshots have in common when they are made ----
 *
 * The commit was refused, and the name was looked up again. True: it was
 * committed, or is shared, or its key is another one's: go on as with what a
 * first look-up has found. False: nobody makes it, or half of a volume of
 * ceph-csi's has this UUID and another one the name; what this call has made is
 * for it to undo, as far as it may.
 */
bool entry_overtaken(
    const struct journal_find *find, struct journal_reserve *reserve);

/*
 * Before anything is undone after a failure (or none): journal_mark_start().
 * -EBUSY: it stays as it is, for the reservation leads there. What librbd makes
 * it may have made all the same, and so may a cluster that does not answer.
 */
void entry_undo_start(struct journal_reserve *reserve,
    const struct image_spec *spec, const struct err *failure,
    struct wake *waiter);

/* When all else is undone: entry and reservation go. */
void entry_release_start(struct journal_release *release,
    const struct journal_reserve *reserve, const char *name,
    struct wake *waiter);

#endif
