/*
 * staging.h - what one offload child does for stage and unstage.
 *
 * The rule that holds it together: a child looks at what is there and goes as
 * far towards the goal as it can, from wherever an earlier call, a child that
 * was killed, or a reboot left things; it tells how far it came, the daemon
 * does what a child cannot (talk to rbd-attachd, run mkfs or fsck), and it is
 * run again. So retry, crash repair and the normal path are the same code.
 * Children lock the staging directory, because a child may outlive the daemon
 * that forked it.
 *
 * Layout as ceph-csi's: <staging>/image-meta.json is the stash,
 * <staging>/<volume_id> the mounted file system or the bind mounted device.
 */
#ifndef NODE_STAGING_H
#define NODE_STAGING_H

#include "node/attachment.h"
#include "node/filesystem.h"
#include "node/luks.h"
#include "node/stash.h"

/*
 * How far a child came, whether it failed then or not: from STAGING_NOTED on
 * something is there that was not before, from STAGING_MAPPED on a device too.
 */
enum staging_progress {
	STAGING_UNTOUCHED = 0, /* nothing was changed */
	STAGING_OTHER,  /* nothing, for an earlier call used result->mapper */
	STAGING_FOUND,  /* nothing, for it was staged before */
	STAGING_NOTED,  /* the stash is written: the mapper must open now */
	STAGING_MAPPED, /* the image has a device, on which the child failed */
	STAGING_UNRECORDED, /* it has one: by which address is to be recorded */
	STAGING_LOCKED,     /* it is encrypted, or is to be: key and state? */
	STAGING_BLANK,      /* it is to be, and is no LUKS device: may it be? */
	STAGING_ENCRYPTED,  /* it is a LUKS device now: note that */
	STAGING_EMPTY,      /* there is no file system that is known: mkfs? */
	STAGING_YOUNG,    /* there is one that nobody may have mounted: mark */
	STAGING_UNCLEAN,  /* it has a journal to replay: map it writable */
	STAGING_WRITABLE, /* it is, for that: has nobody else it open? */
	STAGING_REPLAYED, /* it has none any more: map it read-only again */
	STAGING_DAMAGED, /* there is one whose superblock reports errors: fsck */
	STAGING_STAGED,  /* it is mounted, or the device bound */
};

/*
 * A file system on a read-only device, whose journal has to be replayed before
 * it can be mounted: the device is writable for that (docs/NODE.md).
 */
enum staging_replay {
	STAGING_REPLAY_NEVER = 0, /* it cannot be mounted */
	STAGING_REPLAY_ASK,       /* tell if one has it */
	STAGING_REPLAY_MAP,       /* the device is to be writable */
	STAGING_REPLAY_DO,        /* and no other client has the image open */
};

struct staging_args {
	const char *staging; /* staging_target_path */
	struct device_spec spec;
	const struct mapper_child *mapper;
	bool block;
	bool read_only; /* node_is_read_only(); the device may be writable */
	const char *fstype;  /* "" : whatever is there */
	const char *options; /* mount flags, comma list */
	bool luks;           /* the volume is encrypted */
	struct luks_options luks_options;

	/* what has been done for it meanwhile */
	bool opened, formatted, marked, checked;
	enum staging_replay replay;
	const struct secret *luks_key; /* NULL: not asked for yet */
	bool is_luks;    /* what the image's metadata say of it, with the key */
	bool encrypts;   /* the image is proven to hold nothing */
	bool begun;      /* the stash is of this stage, not of an earlier one */
	bool unrecorded; /* it has to be recorded first who has it open */
	bool recorded;   /* it is */
	bool settled;    /* do not ask for an other mapper again */
};

struct staging_result {
	enum staging_progress progress;
	bool had_stash;       /* of this volume, before this child */
	bool recorded;        /* STAGING_FOUND: who has it open is */
	char mapper[16];      /* of STAGING_OTHER and STAGING_FOUND */
	struct device device; /* the mapper's */
	struct device top;    /* what is mounted: that, or dm-crypt's upon it */
	char fstype[PROBE_FSTYPE_MAX]; /* as found */
};

/* An offload_fn: struct staging_args, struct staging_result. */
int staging_stage(const void *args, void *result, struct err *err);

struct unstaging_args {
	const char *staging;
	/* What is known without a stash; image NULL: by volume_id only. */
	const struct device_spec *spec;
	bool undo; /* of a stage that failed: what others use stays, silently */
	bool keep_stash; /* of an earlier stage: the volume is to come back */
};

struct unstaging_result {
	bool had_stash;
	bool kept;       /* still mapped: another mount needs it */
	struct err left; /* why the mount point could not be removed */
	struct stash stash;
};

/*
 * An offload_fn: unmounts, removes <staging>/<volume_id>, unmaps, removes the
 * stash. Nothing there is success. close_start is left to the caller, unless
 * `kept`, and so is the failure if something is in the way of the removal
 * (`left`): the image goes all the same. FAILED_PRECONDITION, and nothing is undone, while a target shows the
 * image, when the stash or the mount is another volume's, and when the volume
 * is not staged here but elsewhere. With a second staging path the mapping
 * stays for that one.
 */
int staging_unstage(const void *args, void *result, struct err *err);

/*
 * A volume's staging path as a child finds it, and has for itself until
 * staged_close(): a child of a predecessor is waited for some seconds, then
 * ABORTED. Changes nothing. A descriptor (`to_bind`) keeps the mount busy.
 */
struct staged {
	char dir[PATH_MAX];  /* the staging path, without links */
	char path[PATH_MAX]; /* DIR/VOLUME_ID */
	int lock;            /* -1: there is no such directory */
	int fd; /* O_PATH of what was looked at, if to_bind; or -1 */
	struct mount_point point;  /* what is at `path` */
	struct stash stash;        /* zeroed where there is none */
	bool had_stash, is_others; /* another volume's */
	struct device_claim claim; /* `spec`, by any mapper */
	struct attachment at;      /* for the caller: what was proven */
};

int staged_open(struct staged *s, const char *staging,
    const struct device_spec *spec, bool to_bind, struct err *err) must_check;
void staged_close(struct staged *s);

/*
 * The file system that is mounted at `path` from the whole device grows to its
 * size; one that has it already is success.
 */
int staging_grow(const char *volume_id, const char *fstype, const char *path,
    const struct device *dev, struct err *err) must_check;

/* The error for what mount_is_turned() tells. */
int staging_refuse_turned(const char *volume_id, struct err *err) must_check;

#endif
