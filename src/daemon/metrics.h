/*
 * metrics.h - what rbd-csid tells on --metrics-address: every metric by name
 * (docs/METRICS.md has the same list), /metrics and /healthz.
 */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include "csi/definitions.h"
#include "obs/http.h"
#include "rpc/server.h"

struct config;
struct request;

struct metrics_setup {
	const char *address; /* "": off, nothing is counted or served */
	struct unix_socket_file file; /* if it is a unix socket */
	const char *tls_dir; /* of http_use_tls(); NULL or "": without */
	const char *version, *commit, *librados; /* of the build */
	struct csi_serving serving;
	bool status_page;
	const char *node;
	int64_t slow_ms; /* as the page marks requests */
	/* These live until metrics_stop(). */
	struct server *server;
	const struct router *router;
	const struct config *config; /* may be NULL */
};

/* Starts to count and to serve. 0, or the errors of http_serve(). */
int metrics_begin(
    const struct metrics_setup *setup, struct err *err) must_check;
void metrics_stop(void);

/*
 * One call has ended, `us` after its start (router.ended); `def` is its
 * definition, or NULL: what the path leads to. Methods that nobody serves are
 * counted as "other".
 */
void metrics_call_ended(
    const char *path, const void *def, enum err_code code, int64_t us);

/* As struct requests_setup has them. */
void metrics_lock_waited(int64_t ms);
void metrics_request_ended(const struct request *r);

/* ---- metrics_now.c, for metrics.c ------------------------------------------ */

/* Adds what is not counted but read when somebody asks. */
void metrics_now_add(const struct metrics_setup *setup);

#endif
