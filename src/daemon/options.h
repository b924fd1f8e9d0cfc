/*
 * options.h - the command line of rbd-csid.
 *
 * One table (options.c) gives the parser, --help, the defaults, the checks and
 * the body of docs/OPTIONS.md. Strings in `struct options` point into argv,
 * the environment or the table and live as long as the process.
 */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "core/unix_socket.h"
#include "rpc/server.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum options_type {
	OPTIONS_RBD = 0,    /* the driver */
	OPTIONS_LIVENESS,   /* asks a driver whether it is there */
	OPTIONS_CONTROLLER, /* runs, and does nothing yet */
};

struct options {
	/* what to be */
	const char *type_text;
	const char *endpoint;
	const char *drivername;
	const char *nodeid;
	const char *instanceid;
	const char *clustername;
	bool controllerserver; /* after options_check: serve it */
	bool nodeserver;       /* after options_check: serve it */

	/* how to run */
	const char *config;
	const char *credentials_dir;
	const char *ceph_conf;
	const char *kms_config;
	const char *statedir;
	const char *socket_mode_text;
	const char *socket_owner_text;
	const char *socket_group_text;
	const char *metrics_address;
	const char *metrics_tls_dir;
	bool status_page;
	const char *log_format;
	const char *log_level;
	int64_t drain_timeout_ms;
	int64_t slow_op_ms;

	/* the node */
	const char *node_labels_file;
	const char *domain_labels;
	const char *crush_labels;
	bool read_affinity;
	int64_t max_volumes;

	/* other processes */
	const char *worker_path;
	bool fencing;
	const char *kube_path, *serviceaccount_dir;
	const char *attachd_path;
	const char *mounter_fallback;
	int64_t worker_lanes;
	int64_t session_idle_ms;
	int64_t purge_delay_ms;
	int64_t offload_max;
	int64_t requests_max;

	struct server_limits grpc;

	/* --type=liveness */
	int64_t metrics_port;
	const char *metrics_path;
	int64_t probe_poll_ms, probe_timeout_ms;

	/* copies */
	int64_t clone_depth_hard, clone_depth_soft;
	int64_t snapshots_max, snapshots_min;

	/* only checked */
	const char *feature_gates;

	/* tell and exit */
	bool help;
	bool help_markdown;
	bool version;

	/* by options_check: from type, endpoint, and the socket's options */
	enum options_type type;
	enum log_level level;
	char socket_path[108];
	struct unix_socket_file socket_file;
};

/*
 * Fills `o` from the defaults, the environment and argv. Returns 0, or
 * -EINVAL with a text for the person who typed it.
 */
int options_parse(struct options *o, int argc, char *const argv[],
    struct err *err) must_check;

/*
 * Judges what one option alone cannot tell (not needed for help and version),
 * sets socket_path, socket_file and which services to serve. 0 or -EINVAL.
 */
int options_check(struct options *o, struct err *err) must_check;

/*
 * Tells each option in argv that has no effect here and is not at its default.
 * argv has passed options_parse.
 */
void options_each_ignored(int argc, char *const argv[],
    void (*tell)(const char *name, const char *help));

void options_print_help(FILE *out);
void options_print_markdown(FILE *out);

/* Is there an option of this name (without dashes)? */
bool options_is_known(const char *name);

#endif
