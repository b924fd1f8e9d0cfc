/*
 * session.h - what the Hello says, kept for the life of the process, and the
 * connection made from it.
 */
#ifndef WORKER_SESSION_H
#define WORKER_SESSION_H

#include "base/err.h"
#include "base/secret.h"
#include "ceph/connection.h"
#include "worker.pb-c.h"

struct session {
	char *cluster_id, *monitors, *user;
	char *instance_id, *cluster_name, *driver_name, *node_id;
	char *conf_file, *net_namespace;
	struct secret key;
	struct ceph_option *options;
	size_t noptions;
	uint32_t connect_timeout_ms, max_lanes, lane_idle_ms;
	uint32_t log_level;
	bool log_json;
};

void worker_session_init(struct session *session, const Worker__Hello *hello);
void session_fini(struct session *session); /* wipes the key */

/*
 * Enters the network namespace and connects; blocks. On failure *step is the
 * step in words.
 */
int session_connect(const struct session *session,
    struct ceph_connection **conn, const char **step,
    struct err *err) must_check;

/*
 * Packs a Hello for a lane of this session. The caller wipes and frees *len
 * bytes.
 */
unsigned char *session_lane_hello(const struct session *session, size_t *len);

#endif
