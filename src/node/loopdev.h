/*
 * loopdev.h - loop devices: over files that another process serves, and, for
 * a target that must not write, as a read-only layer over a mapper's device.
 * Blocking, for offload children only: an open of such a file waits for its
 * server.
 *
 * The rule that holds it together: a loop device is known by its number AND
 * the path of its backing file; nothing is done to one that has another
 * backing file by now. A number that some mount still shows the node of
 * (mount_find_node) is neither freed nor taken: whoever has that mount would
 * read and write the next image of the number.
 */
#ifndef NODE_LOOPDEV_H
#define NODE_LOOPDEV_H

#include "node/device.h"

#include <dirent.h>
#include <sys/types.h>

#define LOOP_MAJOR 7
#define LOOPDEV_FILE_MAX 4096 /* a path, as sysfs shows it */

/* "/dev/loop0" */
void loopdev_path(int id, char path[DEVICE_PATH_MAX]);

/*
 * Puts a free loop device over `file`: direct I/O, blocks of 512 bytes, never
 * cleared by itself, discards of 64 MiB at most. Returns its number or a
 * negative errno.
 */
int loopdev_attach(const char *file, bool read_only, struct err *err);

/*
 * Its limits, which loopdev_attach() sets: of a device that is bound already,
 * maybe by a child that was killed before it came to them.
 */
void loopdev_limit(int id);

/*
 * Whether the backing file that sysfs shows is `file`. Of a file in a
 * directory that was unmounted lazily the kernel shows the last component
 * only; rbd-attachd gives no name twice.
 */
bool loopdev_shows(const char *shown, const char *file);

/*
 * Whether `devno` is a loop device over a device node of /dev, a read-only
 * layer: true, and *below is that device. Else false, and nothing is set.
 */
bool loopdev_below(dev_t devno, dev_t *below);

/* Whether loop device `id` is bound to `file`. */
bool loopdev_is(int id, const char *file);

/* Path of the backing file into file[LOOPDEV_FILE_MAX]. 0 or -ENXIO. */
int loopdev_file(int id, char *file) must_check;
bool loopdev_is_read_only(int id);

/* Whether it was made read-only, whatever BLKROSET has made of it since. */
bool loopdev_was_read_only(int id);

/*
 * Whether what serves its file is gone: a read past all caches fails, or there
 * is nothing to be read and nobody tells a size. Waits for a server that lives
 * and does not answer.
 */
bool loopdev_is_dead(int id);

/* The loop device bound to `file`, or -ENOENT: looks at all of them. */
int loopdev_find(const char *file);

/*
 * The next loop device whose backing file, file[LOOPDEV_FILE_MAX], begins with
 * `prefix`, or -ENOENT; `dir` is sysfs_dir("block").
 */
int loopdev_next(DIR *dir, const char *prefix, char *file);

/*
 * Frees the loop device and waits up to timeout_ms until it is. Success when
 * it is not bound to `file`; -EBUSY: a mount shows its node (nothing is done),
 * or somebody has it open, then it will be freed when they close it.
 */
int loopdev_clear(
    int id, const char *file, int64_t timeout_ms, struct err *err) must_check;

/* The file has another size: the loop device takes it over. */
int loopdev_grow(int id, const char *file, struct err *err) must_check;

#endif
