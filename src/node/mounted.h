/*
 * mounted.h - which mounts of this node show an image: what the mounts are
 * (mount.h) put together with what the devices are (device.h). Blocking, for
 * offload children only.
 *
 * The rule that holds it together: a mount is taken away after proof that it
 * is this volume's, or that its device is gone; a device is let go after a
 * look at all mounts, since a bind mount of its node does not keep it.
 */
#ifndef NODE_MOUNTED_H
#define NODE_MOUNTED_H

#include "node/device.h"
#include "node/mount.h"

/*
 * Whether what is mounted at a path is the image of `spec`, by `mapper` or
 * (NULL) any: 0 and *dev; -ESTALE: it is dead, and this image's, or its device
 * is gone; -ENODEV: it is something else. *owner may be NULL.
 */
int mounted_identify(const struct device_spec *spec,
    const struct mapper *mapper, const struct mount_point *point,
    struct device *dev, const struct mapper **owner,
    struct err *err) must_check;

/*
 * Unmounts all that is mounted at `path`, the topmost first, each after proof
 * as above, or by a staging path of volume spec->volume_id that shows the same
 * device. What is dead goes lazily. After success nothing is mounted there; a
 * mount of something else is FAILED_PRECONDITION and stays. A read-only layer
 * that was shown there is freed.
 */
int mounted_take_away(const char *path, const struct device_spec *spec,
    const struct mapper *mapper, struct err *err) must_check;

/* Where else an image is shown; "" where not. */
struct mounted_elsewhere {
	char staging[PATH_MAX]; /* a staging path of the volume, mounted */
	char target[PATH_MAX];  /* any other mount */
};

/*
 * Looks for mounts of the image other than at `except`, its staged path, or of
 * block device `devno` (0: none). With `alive` those that are dead do not
 * count.
 */
int mounted_find(const struct device_spec *spec, const struct mapper *mapper,
    dev_t devno, const char *except, bool alive, struct mounted_elsewhere *out,
    struct err *err) must_check;

/* Frees the read-only layers over the image's device that nobody shows. */
void mounted_free_layers(
    const struct device_spec *spec, const struct mapper *mapper);

#endif
