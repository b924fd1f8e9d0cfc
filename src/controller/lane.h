/*
 * lane.h - what a lane does: one blocking call of librbd, in a process of its
 * own, for images that we do not handle natively.
 *
 * Operations only know this header; src/worker/lanes.c implements it.
 */
#ifndef CONTROLLER_LANE_H
#define CONTROLLER_LANE_H

#include "ceph/trash.h"
#include "core/timer.h"

/* What a lane can do: lane_job_kinds[] of src/worker/lane.c. */
enum lane_kind {
	LANE_LIST_WATCHERS = 1, /* of `image` or `image_id` */
	LANE_CREATE = 2,        /* `image`, of a clone the parent's `snapshot`;
				   one that is there with this size is success,
				   with another is -EEXIST */
	LANE_TRASH_MOVE = 3,    /* `image`, if it has `image_id`, else -ESTALE;
				   -ENOENT: no such image */
	LANE_TRASH_REMOVE = 4,  /* `image_id`; not in the trash: success;
				   `child` is set if it has children */
	LANE_LIST_OBJECTS = 6,  /* of `pool`, for `list` */
	LANE_FIND_CHILD = 7, /* of `image_id`, in the trash or not: `child` */
	/* `snapshot` of `image_id`; there, or not there, already is success */
	LANE_SNAPSHOT_ADD = 8, /* `snap` */
	LANE_SNAPSHOT_REMOVE = 9,
	LANE_RESIZE = 10,  /* `image_id` to `size_bytes`, if it is smaller */
	LANE_FLATTEN = 11, /* `image_id`; no clone (any more) is success */
	LANE_MON_COMMAND = 12, /* `command` for the monitors: `reply` */
	LANE_LIST_NAMES = 13,  /* of `pool`, for `list`: all with the prefix */
	/* dek.h, for `of` */
	LANE_KEY_WRAP = 14,   /* `reply`: the text */
	LANE_KEY_UNWRAP = 15, /* `reply`: the key */
};

#define LANE_WATCHERS 8

/* A job for which a request waits ends after this time. */
#define LANE_JOB_MS 60000

/* A key of an encrypted volume: what dek.h takes. */
struct lane_key {
	const struct secret *passphrase, *key;
	const char *volume_id, *text;
};

/* Embed it; zeroed is valid. Pointers live until the wake. */
struct lane_job {
	enum lane_kind kind;
	struct ceph_pool *pool;    /* NULL: the job is of no pool */
	const struct lane_key *of; /* LANE_KEY_WRAP, LANE_KEY_UNWRAP */
	const char *image, *image_id, *snapshot;
	const char *command;           /* LANE_MON_COMMAND: JSON */
	const struct image_spec *spec; /* LANE_CREATE */
	uint64_t size_bytes;           /* LANE_RESIZE: and the answer */
	int64_t keep_s;                /* LANE_TRASH_MOVE: the trash keeps it */
	struct trash_list *list;       /* LANE_LIST_*: and the answer */

	/* the answer */
	struct err err;            /* which call failed, and why */
	char made_id[RBD_ID_SIZE]; /* LANE_CREATE */
	char child[RBD_NAME_SIZE]; /* POOL/IMAGE, or "" */
	uint64_t snap;             /* LANE_SNAPSHOT_ADD */
	struct secret reply;       /* the caller ends it */
	unsigned nwatchers;        /* LANE_LIST_WATCHERS */
	char watcher[LANE_WATCHERS][RBD_ADDR_SIZE];

	/* private */
	struct wake *waiter;
	struct timer late;
	void *lane; /* that works on it; NULL: it is queued */
	STAILQ_ENTRY(lane_job) link;
};

/*
 * Queues the job for the next free lane and wakes `waiter` with 0 or a
 * negative errno; `err` is set then. -EPIPE, -ETIME: the lane died over it, or
 * was killed when it was late; it may or may not have been done.
 */
void lane_job_start(struct lane_job *job, struct wake *waiter);

#endif
