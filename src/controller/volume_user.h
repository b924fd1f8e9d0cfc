/*
 * volume_user.h - the CephX users of cephxPerVolume: one for a volume on a
 * node, from ControllerPublishVolume to ControllerUnpublishVolume.
 *
 * The rule that holds it together: the volume's journal entry says which nodes
 * have a user before the monitors make it, and until they have removed it. So
 * no user is left where an entry is, and volumes without cost nothing.
 */
#ifndef CONTROLLER_VOLUME_USER_H
#define CONTROLLER_VOLUME_USER_H

#include "controller/lane.h"
#include "controller/volume.h"

#include "ceph/auth.h"

enum user_grant_state {
	GRANT_START = 0,
	GRANT_NOTED,       /* the entry has the node */
	GRANT_PARENT_READ, /* one more of the image's parents is known */
	GRANT_MADE,        /* the monitors have answered */
	GRANT_CAPS_SET,    /* it had other caps, of parents of then */
	GRANT_END,
};

struct user_grant {
	struct op op;
	enum user_grant_state state;
	const struct volume_lookup *volume; /* the caller's, until the end */
	const char *uuid, *node_id, *users;
	struct arena *arena;
	struct image_lookup parent;
	unsigned parents;
	struct buf osd; /* caps */
	char *command;
	bool corrected; /* its caps have been set */
	struct lane_job lane;

	/* the answer */
	char user[AUTH_USER_SIZE];
	struct secret key;
};

/*
 * Makes the user, or finds it: then its key stays, and its caps become those
 * of now. PERMISSION_DENIED: the session's user may not make users.
 */
void user_grant_start(struct user_grant *grant,
    const struct volume_lookup *volume, const char *uuid, const char *node_id,
    struct arena *arena, struct wake *waiter);
void user_grant_fini(struct user_grant *grant);

enum user_revoke_state {
	REVOKE_START = 0,
	REVOKE_NEXT,      /* another one is to be removed, or none is left */
	REVOKE_REMOVED,   /* the monitors have answered */
	REVOKE_FORGOTTEN, /* the entry does not have them any more */
	REVOKE_END,
};

struct user_revoke {
	struct op op;
	enum user_revoke_state state;
	struct ceph_pool *pool;
	const char *uuid, *users;
	const char *left; /* nodes still to come */
	const char *kept; /* and those whose users stay */
	bool guessed;
	struct arena *arena;
	char *command;
	struct lane_job lane;
};

/*
 * Removes the users of a volume whose entry has `users` (NULL: none): that of
 * node_id, or with "" all of them. One that is gone is success. Without an entry
 * (pool NULL) the node's user is removed if the session's user may.
 */
void user_revoke_start(struct user_revoke *revoke, struct ceph_pool *pool,
    const char *uuid, const char *users, const char *node_id,
    struct arena *arena, struct wake *waiter);

#endif
