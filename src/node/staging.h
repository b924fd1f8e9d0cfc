/*
 * staging.h - what one offload child does for stage and unstage.
 *
 * The rule that holds it together: a child looks at what is there and goes as
 * far towards the goal as it can, from wherever an earlier call, a child that
 * was killed, or a reboot left things; what it cannot do itself (talk to
 * rbd-attachd, run mkfs or fsck) it asks for, and is run again afterwards. So
 * retry, crash repair and the normal path are the same code. Children lock
 * the staging directory, because a child may outlive the daemon that forked
 * it.
 *
 * Layout as ceph-csi's: <staging>/image-meta.json is the stash,
 * <staging>/<volume_id> the mounted file system or the bind mounted device.
 */
#ifndef NODE_STAGING_H
#define NODE_STAGING_H

#include "node/device.h"
#include "node/probe.h"
#include "node/stash.h"

/* What the child needs before it can go on. */
enum staging_need {
	STAGING_NEEDS_NOTHING = 0, /* it is staged */
	STAGING_NEEDS_MAPPER, /* an earlier call used result->stash.mapper */
	STAGING_NEEDS_OPEN,   /* the mapper's open_start */
	STAGING_NEEDS_MKFS,   /* there is no file system that is known */
	STAGING_NEEDS_MARK,   /* nobody may have mounted this one yet */
	STAGING_NEEDS_FSCK,   /* the superblock reports errors */
};

struct staging_args {
	const char *staging; /* staging_target_path */
	struct device_spec spec;
	const struct mapper *mapper;
	bool block;
	bool read_only; /* node_is_read_only(); the device may be writable */
	const char *fstype;  /* "" : whatever is there */
	const char *options; /* mount flags, comma list */

	/* what has been done for it meanwhile */
	struct device_ref ref; /* from find or open_start */
	bool opened, formatted, marked, checked;
	bool settled; /* do not ask for an other mapper again */
};

struct staging_result {
	enum staging_need need;
	struct stash stash;   /* as written, or as found */
	struct device device; /* once it is mapped */
	struct probe probe;
	bool touched; /* something is there now that was not before */
	bool mapped;  /* device is valid */
	bool already; /* it was staged when the child came */
	bool grown;   /* the file system was made larger */
	bool busy;    /* some program has the device for itself */
};

/* An offload_fn: struct staging_args, struct staging_result. */
int staging_stage(const void *args, void *result, struct err *err);

struct unstaging_args {
	const char *staging;
	const char *volume_id;
	/* What is known without a stash; image NULL: by volume_id only. */
	const struct device_spec *spec;
	bool undo; /* of a stage that failed: what others use stays, silently */
};

struct unstaging_result {
	bool had_stash;
	bool kept; /* still mapped: another mount needs it */
	struct stash stash;
};

/*
 * An offload_fn: unmounts, removes <staging>/<volume_id>, unmaps, removes the
 * stash. Nothing there is success. close_start is left to the caller, unless
 * `kept`. FAILED_PRECONDITION, and nothing is undone, while a target shows the
 * image, when the stash or the mount is another volume's, and when the volume
 * is not staged here but elsewhere. With a second staging path the mapping
 * stays for that one.
 */
int staging_unstage(const void *args, void *result, struct err *err);

/*
 * Sets the image of `spec` from a stash (borrowed); what the stash does not
 * know keeps its value.
 */
void staging_spec_of(const struct stash *stash, struct device_spec *spec);

/* The mapper that a stash names; NULL: one that this driver has not. */
const struct mapper *staging_mapper_of(
    const struct stash *stash, struct err *err);

/*
 * A request's staging path as path_resolve has it, links at its end included:
 * it is the parent of what is mounted.
 */
int staging_resolve(const char *staging, const char *volume_id,
    char out[PATH_MAX], struct err *err) must_check;

/*
 * Locks a staging directory for itself until the descriptor is closed; waits some
 * seconds for a child of a predecessor. *fd is -1 when there is no such
 * directory (0 is returned). ABORTED when it stays locked.
 */
int staging_lock(const char *staging, int *fd, struct err *err) must_check;

/* The error for what mount_is_turned() tells. */
int staging_refuse_turned(const char *volume_id, struct err *err) must_check;

#endif
