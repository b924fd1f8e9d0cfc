/*
 * forward.h - which Ceph session a Controller RPC belongs to, from the request
 * and config.json: cluster, user and key.
 */
#ifndef DAEMON_FORWARD_H
#define DAEMON_FORWARD_H

#include "base/arena.h"
#include "csi/methods.h"
#include "daemon/config.h"
#include "daemon/sessions.h"

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
 * Decides for an unpacked, validated request. A volume ID that is none of
 * ours is success for what removes, NOT_FOUND for the rest, unless the
 * volume_context says that it is a static volume; one of another version is
 * INVALID_ARGUMENT for all of them. A clusterID that
 * config.json does not have is the fault of the StorageClass for CreateVolume
 * (INVALID_ARGUMENT), of the configuration for the rest
 * (FAILED_PRECONDITION); missing credentials are INVALID_ARGUMENT unless the
 * method does without. What removes then takes those of a session with this
 * cluster that works now.
 */
enum forward_verdict forward_resolve(const struct config *config,
    const struct csi_method *method, const void *request, struct arena *arena,
    struct forward *out, struct err *err);

#endif
