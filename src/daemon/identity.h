/*
 * identity.h - the RPCs that the daemon answers from what it knows: who it is,
 * what it serves, which node this is.
 */
#ifndef DAEMON_IDENTITY_H
#define DAEMON_IDENTITY_H

#include "base/arena.h"
#include "csi/methods.h"

struct identity {
	const char *driver_name;
	const char *node_id;
	bool controller; /* the Controller service is served */
	bool node;       /* the Node service is served */
};

/*
 * The reply message of an instant method, in the arena; NULL when it is none
 * of ours.
 */
const void *identity_reply(const struct identity *who,
    const struct csi_method *method, struct arena *arena);

#endif
