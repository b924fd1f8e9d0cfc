/*
 * image.h - the images that this process serves: attach, detach, abort,
 * resize, and taking over what a predecessor had. One struct image for each
 * slot of the table.
 *
 * The rule that holds it together: a slot becomes SERVED only when its image
 * is open, ours by its lock, and its size known; it becomes FREE only when
 * librbd has closed the image. Whoever reads the table after a kill -9 sees
 * one of the two sides of such a step.
 */
#ifndef ATTACH_IMAGE_H
#define ATTACH_IMAGE_H

#include "attach/image_io.h"
#include "attach/table.h"
#include "ceph/connection.h"
#include "core/timer.h"

enum image_state {
	IMAGE_NONE = 0, /* the slot is free */
	IMAGE_OPENING,  /* an open is under way, nothing to see yet */
	IMAGE_ADOPTING, /* a predecessor's; requests wait */
	IMAGE_SERVED,   /* requests go to librbd */
	IMAGE_CLOSING,  /* refuses requests; not free until closed */
};

struct image {
	struct image_io io;
	struct table_slot *slot;
	enum image_state state;
	bool opening;             /* an open is under way */
	bool tried;               /* a suspect whose turn has come */
	bool resizing;            /* a look at the header is under way */
	bool resize_again;        /* the header changed meanwhile */
	struct timer adopt_again; /* after a failure that may pass */
};

struct image_events {
	void (*resized)(const struct image *image);
	/*
	 * The cluster does not take I/O of an attached image: -ESHUTDOWN (our
	 * client is blocklisted), -EPERM or -EACCES (the user may not).
	 */
	void (*refused)(struct image *image, int rc);
	/*
	 * An image is open, could not be opened, or is closed: who waits for
	 * that may look again, but only after this has returned.
	 */
	void (*settled)(void);
};

/*
 * `fenced` is the address of a predecessor that can do no harm any more
 * (NULL: none; copied). `events` lives on.
 */
void image_init(struct table *table, struct ceph_connection *conn,
    const char *fenced, const struct image_events *events);

struct image *image_at(unsigned index);        /* NULL: no slot */
struct image *image_by_ino(uint64_t ino);      /* visible ones only */
struct image *image_by_file(const char *name); /* the same */
struct image *image_find(
    const char *pool, const char *rados_namespace, const char *name);

/*
 * Opens an image and takes its lock. On success (waiter woken with 0)
 * *image is served. Failures are in *err: NOT_FOUND, FAILED_PRECONDITION
 * (somebody else has the lock; the text has their address), ... *image and
 * *err must stay valid until the wake.
 */
void image_attach_start(const Attach__Target *spec, struct image **image,
    struct err *err, struct wake *waiter);

/*
 * Closes it. The caller has seen to it that no loop device uses its file:
 * what still comes is answered with EIO. The waiter is woken when librbd has
 * closed the image, until when the slot is not free: with a stuck cluster
 * that takes as long as the cluster does. -EALREADY: a close is under way.
 */
void image_detach_start(
    struct image *image, struct err *err, struct wake *waiter);

/* Answers all requests with EIO, now and for ever. */
void image_abort(struct image *image, enum table_aborted why);

/* The same for all, without a word in the table: the session is lost. */
void image_abort_all(void);

/*
 * Reads how large a served image is now. Wakes when its file has that size,
 * and RESIZED has been told if it is another one.
 */
void image_look_start(
    struct image *image, struct err *err, struct wake *waiter);

/*
 * Reads the header of one image, of another one each time: the cluster's
 * refusal is noticed also where there is no I/O, and a change of size whose
 * notification was lost.
 */
void image_look_again(void);

/*
 * Takes over the images that the table names; each serves its requests as
 * soon as it is open. An image that cannot be opened is tried again until it
 * is aborted; one that is gone, damaged or somebody else's is aborted. Images
 * of which a predecessor may have died come last and one at a time, and are
 * aborted when that has ended two of them.
 */
void image_adopt_all(void);

/*
 * For a signal handler of any thread: this process dies of itself, perhaps of
 * what an image makes librbd do. Notes in the table which ones it may be.
 */
void image_note_crash(void);

/*
 * For a planned end: closes the images that are open, without a change in
 * the table. image_open_count() tells how many are still to be closed.
 */
void image_close_all(void);
unsigned image_open_count(void);

#endif
