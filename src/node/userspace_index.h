/*
 * userspace_index.h - which image has which file and loop device, so that no
 * call has to look through loop devices or image tables.
 *
 * It is filled from the loop devices that are there at the start (the name of
 * a backing file says which image it is), from the tables of the sessions, and
 * from what map and unmap report. Belongs to userspace.c.
 */
#ifndef NODE_USERSPACE_INDEX_H
#define NODE_USERSPACE_INDEX_H

#include "attach/table.h"
#include "node/device.h"
#include "node/userspace_session.h"

#define LOOP_NONE (-1)
#define LOOP_UNKNOWN (-2) /* there may be one: look for it */

struct userspace_entry {
	char tag[TABLE_TAG_MAX];
	char image[TABLE_NAME_MAX]; /* or what the file's name has of it */
	char file[DEVICE_FILE_MAX];
	char session[SESSION_DIR_MAX];
	uint64_t ino; /* 0: not known yet */
	int loop;     /* its number, or one of the above */
	bool fresh;   /* LOOP_UNKNOWN, and no map was tried since it is open */
};

/* `state_dir` and `program` stay where they are. */
int userspace_index_init(
    const char *state_dir, const char *program, struct err *err) must_check;

/*
 * In a child: whether a loop device's file is one of this image and of this
 * driver's, but not the one that a living session serves. It may be a dead
 * session's.
 */
bool userspace_index_is_leftover(
    const struct device_spec *spec, const char *file);

/*
 * Whether loop devices of this image may be there whose sessions are no more:
 * only then all loop devices have to be looked through for them.
 */
bool userspace_index_has_leftovers(const struct device_spec *spec);

struct userspace_entry *userspace_index_find(const struct device_spec *spec);

/*
 * rbd-attachd has the image open as `ino` in the file `name`. -ENAMETOOLONG
 * when the path does not fit.
 */
struct userspace_entry *userspace_index_add(const struct device_spec *spec,
    const struct attach_session *s, uint64_t ino, const char *name,
    struct err *err);
void userspace_index_drop(struct userspace_entry *entry);

/*
 * 0, or -ESTALE: rbd-attachd answers all I/O of the image with EIO, and `err`
 * tells why. It must be detached before it can be attached anew.
 */
int userspace_index_verdict(
    const struct userspace_entry *entry, struct err *err) must_check;

/*
 * Whether others may write to the image at the same time. Nothing else has a
 * lock that keeps a server of later from writing. True, too, if not known.
 */
bool userspace_index_shared(const struct userspace_entry *entry);

/*
 * The image is detached, but its loop device, which is dead, may still be
 * bound: it is a leftover from now on.
 */
void userspace_index_leave(struct userspace_entry *entry);

/* NULL: the session is no more. */
struct attach_session *userspace_index_session(
    const struct userspace_entry *entry);

#endif
