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
#include "core/timer.h"

struct attach_session;

enum image_state {
	IMAGE_NONE = 0,		/* the slot is free */
	IMAGE_OPENING,		/* an open is under way, nothing to see yet */
	IMAGE_ADOPTING,		/* a predecessor's; requests wait */
	IMAGE_SERVED,		/* requests go to librbd */
	IMAGE_CLOSING,		/* refuses requests; not free until closed */
};

struct image_op;

struct image {
	struct image_io io;
	struct table_slot *slot;
	enum image_state state;
	struct image_op *op;	/* open, adopt, close or resize in progress */
	bool resize_again;	/* the header changed while one ran */
};

/* `resized` is called when an image's size has changed. */
void image_init(struct table *table, struct attach_session *session,
    void (*resized)(const struct image *image));

struct image *image_at(unsigned index);			/* NULL: no slot */
struct image *image_by_ino(uint64_t ino);		/* visible ones only */
struct image *image_by_file(const char *name);		/* the same */
struct image *image_find(const char *pool, const char *rados_namespace,
    const char *name);

/*
 * Opens an image and takes its lock. On success (waiter woken with 0)
 * *image is served. Failures are in *err: NOT_FOUND, FAILED_PRECONDITION
 * (somebody else has the lock; the text has their address), ... *image and
 * *err must stay valid until the wake.
 */
void image_attach_start(const struct table_image *spec, struct image **image,
    struct err *err, struct op *waiter);

/*
 * Closes it. -EBUSY when a file of it is open or requests are under way. The
 * waiter is woken when librbd has closed the image: with a stuck cluster that
 * may be never. A second caller is told -EALREADY.
 */
void image_detach_start(struct image *image, struct err *err,
    struct op *waiter);

/* Answers all requests with EIO, now and for ever. Returns how many. */
unsigned image_abort(struct image *image);

/*
 * Takes over the images that the table names; each serves its requests as
 * soon as it is open. An image that cannot be opened is tried again until it
 * is aborted; one that is gone or somebody else's is aborted.
 */
void image_adopt_all(void);

/* Closes all images for a planned end; wakes `waiter` when that is done. */
void image_close_all_start(struct op *waiter);

#endif
