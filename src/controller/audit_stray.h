/*
 * audit_stray.h - what an audit has to look for because nothing leads to it:
 * entries of the journal without a key, and CephX users without a volume.
 *
 * The rule that holds it together: a page is listed, then each of it is looked
 * at by itself, anew; what is removed is proven to be of no use to anybody,
 * and an entry not before it has been left alone for STRAY_GRACE_S.
 */
#ifndef CONTROLLER_AUDIT_STRAY_H
#define CONTROLLER_AUDIT_STRAY_H

#include "ceph/auth.h"
#include "controller/lane.h"
#include "controller/volume.h"
#include "csi/rpc.h"

/* No call takes so long: what was written before then is nobody's by now. */
#define STRAY_GRACE_S 3600

/* One that may be stray; strings are in the arena. */
struct stray {
	const struct journal_kind *kind; /* of an entry; NULL: it is a user */
	const char *uuid;
	struct auth_user user;
};

enum stray_list_state {
	STRAYLIST_START = 0,
	STRAYLIST_COUNTED, /* how many objects the pool has */
	STRAYLIST_LISTED,  /* a slice of them, or all users */
	STRAYLIST_END,
};

struct stray_list {
	struct op op;
	enum stray_list_state state;
	struct ceph_pool *pool;
	const struct csi_rpc *rpc;
	const char *token;
	bool users;
	struct lane_job lane;
	struct trash_list names;
	char *command;
	bool judges; /* else directories are looked for */
	uint32_t slice, slices;

	/* the answer */
	struct stray *stray;
	size_t n;
	const char *next;    /* the next page's token; NULL: there is none */
	const char **others; /* instances that have directories, too */
	size_t nothers;
	bool refused; /* the user may not list users */
};

/*
 * A page of entries, or of users, by a token ("": the first page). Listing a
 * pool blocks, and so do the monitors: a lane does it.
 */
void stray_list_start(struct stray_list *list, const struct csi_rpc *rpc,
    struct ceph_pool *pool, bool users, const char *token, struct wake *waiter);
void stray_list_fini(struct stray_list *list);

enum stray_check_state {
	STRAYCHECK_START = 0,
	STRAYCHECK_ENTRY_READ, /* its entry, or that of the user's volume */
	STRAYCHECK_LOOK,       /* the next directory is to be asked */
	STRAYCHECK_KEY_READ,   /* it has answered */
	STRAYCHECK_DATED,      /* nothing leads to it: when it was written */
	STRAYCHECK_PLACED,     /* where its image is */
	STRAYCHECK_MENDED,
	STRAYCHECK_END,
};

struct stray_check {
	struct op op;
	enum stray_check_state state;
	const struct csi_rpc *rpc;
	struct ceph_pool *pool;
	const struct stray_list *list;
	const struct stray *stray;
	bool repair;
	struct journal_read entry;
	struct rados_read *read;
	size_t looked; /* at directories */
	uint64_t version;
	time_t written;
	struct image_place place;
	struct lane_job lane;
	char *command;

	/* the answer; NULL kind: it is well */
	const char *kind, *object, *volume, *image, *text;
	bool repaired;
};

void stray_check_start(struct stray_check *check, const struct stray_list *list,
    size_t which, bool repair, struct wake *waiter);

#endif
