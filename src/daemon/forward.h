/*
 * forward.h - which Ceph session a Controller RPC belongs to, from the request
 * and config.json: cluster, user and key.
 */
#ifndef DAEMON_FORWARD_H
#define DAEMON_FORWARD_H

#include "daemon/config.h"
#include "daemon/sessions.h"

struct csi_request;

enum forward_verdict {
	FORWARD_CALL = 0, /* ask the session */
	FORWARD_ANSWER,   /* answer OK with `reply`, ask nobody */
	FORWARD_FAIL,     /* err says why */
};

/* All strings live as long as the request and its arena. */
struct forward {
	struct session_key session;
	struct config_cluster cluster;
	struct secret key;
	const void *reply; /* NULL: an empty message */
	bool borrowed;     /* the credentials, of a session that works */
};

/*
 * Decides by the request's definition. An identifier that is nobody's is
 * success for what removes, NOT_FOUND for the rest. A clusterID that
 * config.json does not have is the fault of the StorageClass where that names
 * it (INVALID_ARGUMENT), of the configuration for the rest
 * (FAILED_PRECONDITION).
 */
enum forward_verdict forward_resolve(const struct config *config,
    const struct csi_request *in, struct forward *out, struct err *err);

#endif
