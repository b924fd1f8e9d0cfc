/*
 * attachment.h - an image that is attached to this node: its mapper's device
 * with the layers that lie above it, found from a mount. Blocking, for offload
 * children only.
 *
 * The rule that holds it together: whoever has to prove "this mount is this
 * image" asks attachment_find(). A mount is taken away after that proof, or
 * after one that its device is gone; a device is let go after a look at all
 * mounts, since a bind mount of its node does not keep it.
 */
#ifndef NODE_ATTACHMENT_H
#define NODE_ATTACHMENT_H

#include "node/mapper.h"
#include "node/mount.h"

/* What can lie above an image's device, the topmost first. */
enum layer_kind {
	LAYER_READ_ONLY =
	    0,       /* a loop device for a target that must not write */
	LAYER_CRYPT, /* dm-crypt; in one of ceph-csi's dm-integrity below it */
	LAYER_KINDS,
};

struct attachment {
	const struct mapper_child *mapper; /* whose device it is */
	struct device device;
	dev_t layer[LAYER_KINDS]; /* by kind; 0: there is none */
};

/*
 * Whether what a mount shows is the image of the claim. 0; -ESTALE: it is
 * dead, and this image's, or its device is gone, whosever it was; -ENODEV: it
 * is something else. *out has the layers in each case, the rest after 0. Only
 * `source` and `dead` of the mount are looked at.
 */
int attachment_find(const struct device_claim *claim,
    const struct mount_point *point, struct attachment *out,
    struct err *err) must_check;

/*
 * Whether a mounted staging path of the volume shows the device: for devices
 * that attachment_find() does not know (-ENODEV). 0, -ENODEV, or the list of
 * mounts cannot be read.
 */
int attachment_find_staged(
    const char *volume_id, dev_t devno, struct err *err) must_check;

/*
 * Unmounts all that is mounted at `path`, the topmost first, each after proof
 * as above, or by a staging path of volume spec->volume_id that shows the same
 * device. What is dead goes lazily. After success nothing is mounted there; a
 * mount of something else is FAILED_PRECONDITION and stays. A read-only layer
 * that was shown there is freed.
 */
int attachment_unmount(const char *path, const struct device_claim *claim,
    struct err *err) must_check;

/* Where else an image is shown; "" where not. */
struct attachment_places {
	char staging[PATH_MAX]; /* a staging path of the volume, mounted */
	char target[PATH_MAX];  /* any other mount */
};

/*
 * Looks for mounts of the image other than at `except`, its staged path, or of
 * the device of `at` (NULL: not known). With `alive` those that are dead do not
 * count. `plain`: the image is known to be that device, with no layer above it
 * but dm-crypt's of `at`; then no other device costs a look.
 */
int attachment_find_places(const struct device_claim *claim,
    const struct attachment *at, bool plain, const char *except, bool alive,
    struct attachment_places *out, struct err *err) must_check;

/*
 * What lies upon the device without being mounted, and is no layer that goes
 * with the volume: LVM, multipath. FAILED_PRECONDITION.
 */
int attachment_check_holders(const struct device *dev, const char *volume_id,
    struct err *err) must_check;

/*
 * The device that has been found, and the layers above it (read-only ones only
 * of a block volume), take over the size that the image has now.
 */
int attachment_grow(const struct device_claim *claim, struct attachment *at,
    bool block, struct err *err) must_check;

/*
 * What a file system is made in and a block volume shows: the device, or
 * dm-crypt's above it.
 */
int attachment_top(const struct attachment *at, struct device *top,
    struct err *err) must_check;

/* Frees the read-only layers over the image's device that nobody shows. */
void attachment_free_layers(const struct device_claim *claim);

/* Finds the volume's dm-crypt mapping. -ENOENT: there is none. Proves it. */
int attachment_find_crypt(const struct device_claim *claim,
    struct attachment *at, struct err *err) must_check;

/*
 * Closes the mapping upon the device, if it lies on this image, also one by
 * which it was written for the first time; none is success.
 */
int attachment_close_crypt(
    const struct device_claim *claim, struct err *err) must_check;

#endif
