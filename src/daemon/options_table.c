/*
 * options_table.c - every option of rbd-csid: to add one, add a row here, a
 * member to struct options, and run `rbd-csid --help-markdown`.
 */
#include "daemon/options_table.h"

#ifndef LIBEXECDIR
#error "LIBEXECDIR names the directory of ceph-worker and rbd-attachd"
#endif

/* The first member of struct options needs an offset that is not 0. */
#define FIELD(member) .field = 1 + offsetof(struct options, member)

#define INT_RANGE(low, high) .min = (low), .max = (high)
#define ANY_INT INT_RANGE(INT64_MIN, INT64_MAX)
#define MINUTE_MS ((int64_t)60 * 1000)
#define HOUR_MS (60 * MINUTE_MS)
#define KIB ((int64_t)1 << 10)
#define MIB ((int64_t)1 << 20)

const struct option_def option_table[] = {
	/* the driver */
	{ "type", OPTION_STRING, OPTION_USED, GROUP_DRIVER, FIELD(type_text),
	    .value = "",
	    .help = "what to run: `rbd`, the driver; `liveness` or "
		    "`controller`, its helpers in ceph-csi's manifests (see "
		    "below). Must be given" },
	{ "endpoint", OPTION_STRING, OPTION_USED, GROUP_DRIVER, FIELD(endpoint),
	    .value = "unix:///tmp/csi.sock",
	    .help = "where to serve CSI, or for `--type=liveness` where it is "
		    "served: `unix://` and a path. A stale socket file is "
		    "replaced, a live one is not" },
	{ "drivername", OPTION_STRING, OPTION_USED, GROUP_DRIVER,
	    FIELD(drivername), .value = "rbd.csi.ceph.com",
	    .help = "name of the driver: at most 63 characters, a DNS name" },
	{ "nodeid", OPTION_STRING, OPTION_USED, GROUP_DRIVER, FIELD(nodeid),
	    .value = "", .help = "name of this node. Must be given" },
	{ "instanceid", OPTION_STRING, OPTION_USED, GROUP_DRIVER,
	    FIELD(instanceid), .value = "default",
	    .help = "tells drivers apart that share a pool: ends the name of "
		    "the journal's directory objects" },
	{ "clustername", OPTION_STRING, OPTION_USED, GROUP_DRIVER,
	    FIELD(clustername), .value = "",
	    .help = "name of this Kubernetes cluster, written to the "
		    "metadata of each image" },
	{ "controllerserver", OPTION_BOOL, OPTION_USED, GROUP_DRIVER,
	    FIELD(controllerserver), .value = "false",
	    .help = "serve the Controller service. With neither this nor "
		    "`--nodeserver` both are served" },
	{ "nodeserver", OPTION_BOOL, OPTION_USED, GROUP_DRIVER,
	    FIELD(nodeserver), .value = "false",
	    .help = "serve the Node service" },

	/* the daemon */
	{ "config", OPTION_STRING, OPTION_USED, GROUP_DAEMON, FIELD(config),
	    .value = "/etc/ceph-csi-config/config.json",
	    .help = "the clusters and their monitors. Read again when it "
		    "changes; a broken file leaves the last good one" },
	{ "ceph-conf", OPTION_STRING, OPTION_USED, GROUP_DAEMON,
	    FIELD(ceph_conf), .value = "/etc/ceph/ceph.conf",
	    .help = "Ceph's configuration, read by each Ceph session when the "
		    "file exists" },
	{ "statedir", OPTION_STRING, OPTION_USED, GROUP_DAEMON, FIELD(statedir),
	    .value = "/run/rbd-csi",
	    .help = "directory for what has to outlive a restart of the "
		    "daemon, not a reboot" },
	{ "socket-mode", OPTION_STRING, OPTION_USED, GROUP_DAEMON,
	    FIELD(socket_mode_text), .value = "0600",
	    .help = "permissions of the socket file, in octal" },
	{ "socket-owner", OPTION_STRING, OPTION_USED, GROUP_DAEMON,
	    FIELD(socket_owner_text), .value = "",
	    .help = "user or uid who is to own the socket file; set before "
		    "anybody can connect" },
	{ "socket-group", OPTION_STRING, OPTION_USED, GROUP_DAEMON,
	    FIELD(socket_group_text), .value = "",
	    .help = "group or gid of the socket file, with "
		    "`--socket-mode=0660` for example" },
	{ "metrics-address", OPTION_STRING, OPTION_USED, GROUP_DAEMON,
	    FIELD(metrics_address), .value = "",
	    .help = "where to serve `/metrics` and `/healthz` by HTTP: "
		    "`127.0.0.1:9809`, `:9809` for all addresses, port 0 for "
		    "any free one, or `unix://` and a path, with the mode and "
		    "owner of the socket. Empty: nowhere" },
	{ "drain-timeout", OPTION_DURATION, OPTION_USED, GROUP_DAEMON,
	    FIELD(drain_timeout_ms), .value = "25s", INT_RANGE(0, 24 * HOUR_MS),
	    .help = "how long SIGTERM waits for running operations" },
	{ "logslowopinterval", OPTION_DURATION, OPTION_USED, GROUP_DAEMON,
	    FIELD(slow_op_ms), .value = "30s", INT_RANGE(0, 24 * HOUR_MS),
	    .help = "log operations that run longer than this, and again "
		    "after each such time. 0: never" },
	{ "log-format", OPTION_STRING, OPTION_USED, GROUP_DAEMON,
	    FIELD(log_format), .value = "text",
	    .help = "`text` (key=value) or `json`" },
	{ "log-level", OPTION_STRING, OPTION_USED, GROUP_DAEMON,
	    FIELD(log_level), .value = "info",
	    .help = "`error`, `warn`, `info` or `debug`" },

	/* processes and limits */
	{ "mounter-fallback", OPTION_STRING, OPTION_USED, GROUP_PROCESSES,
	    FIELD(mounter_fallback), .value = "none",
	    .help = "mapper to take when the kernel lacks the one that the "
		    "volume asks for: `none`, `krbd` or `userspace`" },
	{ "worker-path", OPTION_STRING, OPTION_USED, GROUP_PROCESSES,
	    FIELD(worker_path), .value = LIBEXECDIR "/ceph-worker",
	    .shown = "LIBEXECDIR/ceph-worker",
	    .help = "program that runs a Ceph session" },
	{ "attachd-path", OPTION_STRING, OPTION_USED, GROUP_PROCESSES,
	    FIELD(attachd_path), .value = LIBEXECDIR "/rbd-attachd",
	    .shown = "LIBEXECDIR/rbd-attachd",
	    .help = "program that serves images of the userspace mapper" },
	{ "worker-lanes", OPTION_INT, OPTION_USED, GROUP_PROCESSES,
	    FIELD(worker_lanes), .value = "4", INT_RANGE(1, 64),
	    .help = "processes a Ceph session may start for calls that have "
		    "no asynchronous form" },
	{ "session-idle", OPTION_DURATION, OPTION_USED, GROUP_PROCESSES,
	    FIELD(session_idle_ms), .value = "10m",
	    INT_RANGE(1000, 24 * HOUR_MS),
	    .help = "end a Ceph session that nobody used for so long" },
	{ "offload-max", OPTION_INT, OPTION_USED, GROUP_PROCESSES,
	    FIELD(offload_max), .value = "64", INT_RANGE(1, 4096),
	    .help = "children for blocking system calls at one time" },
	{ "max-requests", OPTION_INT, OPTION_USED, GROUP_PROCESSES,
	    FIELD(requests_max), .value = "4096", INT_RANGE(1, 1000000),
	    .help = "Node and Controller requests that run or wait for a lock "
		    "at one time, also those whose caller has gone. More are "
		    "answered UNAVAILABLE; a retry that joins a running one is "
		    "not counted" },

	/* the gRPC server */
	{ "grpc-max-connections", OPTION_INT, OPTION_USED, GROUP_GRPC,
	    FIELD(grpc_connections), .value = "512", INT_RANGE(1, 60000),
	    .help = "connections at one time. For another one, one without "
		    "calls has to go; fewer if there are not as many "
		    "descriptors (`ulimit -n`)" },
	{ "grpc-max-streams", OPTION_INT, OPTION_USED, GROUP_GRPC,
	    FIELD(grpc_streams), .value = "256", INT_RANGE(1, 65536),
	    .help = "calls open at one time on one connection. More are "
		    "refused, and clients try them again" },
	{ "grpc-max-calls", OPTION_INT, OPTION_USED, GROUP_GRPC,
	    FIELD(grpc_calls), .value = "4096", INT_RANGE(1, 1000000),
	    .help = "calls open at one time in all. More are answered "
		    "UNAVAILABLE, unless their connection has no other" },
	{ "grpc-max-header-bytes", OPTION_BYTES, OPTION_USED, GROUP_GRPC,
	    FIELD(grpc_header_bytes), .value = "16KiB",
	    INT_RANGE(1 * KIB, 1 * MIB),
	    .help = "header list of a call, as HTTP/2 counts it" },
	{ "grpc-max-request-bytes", OPTION_BYTES, OPTION_USED, GROUP_GRPC,
	    FIELD(grpc_request_bytes), .value = "4MiB",
	    INT_RANGE(1 * KIB, 4 * MIB), .help = "one request" },
	{ "grpc-max-reply-bytes", OPTION_BYTES, OPTION_USED, GROUP_GRPC,
	    FIELD(grpc_reply_bytes), .value = "16MiB",
	    INT_RANGE(1 * KIB, 64 * MIB),
	    .help = "one answer. Go clients take 4 MiB" },
	{ "grpc-max-buffered-bytes", OPTION_BYTES, OPTION_USED, GROUP_GRPC,
	    FIELD(grpc_buffered_bytes), .value = "64MiB",
	    INT_RANGE(1 * MIB, 4096 * MIB),
	    .help = "requests and answers that are held at one time in all. "
		    "Beyond it requests that still arrive are answered "
		    "UNAVAILABLE. Not below `--grpc-max-request-bytes`" },
	{ "grpc-handshake-timeout", OPTION_DURATION, OPTION_USED, GROUP_GRPC,
	    FIELD(grpc_handshake_ms), .value = "10s", INT_RANGE(100, HOUR_MS),
	    .help = "how long a new connection may take to speak HTTP/2" },
	{ "grpc-first-call-timeout", OPTION_DURATION, OPTION_USED, GROUP_GRPC,
	    FIELD(grpc_first_call_ms), .value = "5m",
	    INT_RANGE(1000, 24 * HOUR_MS),
	    .help = "end a connection that has made no call for so long" },
	{ "grpc-idle-timeout", OPTION_DURATION, OPTION_USED, GROUP_GRPC,
	    FIELD(grpc_idle_ms), .value = "0", INT_RANGE(0, 24 * HOUR_MS),
	    .help = "end a connection whose last call is so long ago. 0: "
		    "never; sidecars end themselves when theirs is lost" },
	{ "grpc-request-timeout", OPTION_DURATION, OPTION_USED, GROUP_GRPC,
	    FIELD(grpc_request_ms), .value = "30s", INT_RANGE(100, HOUR_MS),
	    .help = "how long the request of a call may take to arrive" },
	{ "grpc-write-timeout", OPTION_DURATION, OPTION_USED, GROUP_GRPC,
	    FIELD(grpc_write_ms), .value = "60s", INT_RANGE(100, HOUR_MS),
	    .help = "how long a client may take to accept an answer" },

	/* --type=liveness */
	{ "metricsport", OPTION_INT, OPTION_USED, GROUP_LIVENESS,
	    FIELD(metrics_port), .value = "8080", INT_RANGE(0, 65535),
	    .help = "port to serve metrics on, at `$POD_IP`. The driver has "
		    "`--metrics-address`" },
	{ "metricspath", OPTION_STRING, OPTION_USED, GROUP_LIVENESS,
	    FIELD(metrics_path), .value = "/metrics",
	    .help = "path to serve metrics at" },
	{ "polltime", OPTION_DURATION, OPTION_USED, GROUP_LIVENESS,
	    FIELD(probe_poll_ms), .value = "60s", INT_RANGE(1, 24 * HOUR_MS),
	    .help = "time from the answer of one probe to the next probe" },
	{ "timeout", OPTION_DURATION, OPTION_USED, GROUP_LIVENESS,
	    FIELD(probe_timeout_ms), .value = "3s", INT_RANGE(1, HOUR_MS),
	    .help = "how long a probe may take" },

	/* tell and exit */
	{ "help", OPTION_BOOL, OPTION_USED, GROUP_TELL, FIELD(help),
	    .value = "false", .help = "print this and exit" },
	{ "h", OPTION_BOOL, OPTION_HIDDEN, GROUP_TELL, FIELD(help),
	    .value = "false", .help = "the same" },
	{ "help-markdown", OPTION_BOOL, OPTION_HIDDEN, GROUP_TELL,
	    FIELD(help_markdown), .value = "false",
	    .help = "print the tables of docs/OPTIONS.md and exit" },
	{ "version", OPTION_BOOL, OPTION_USED, GROUP_TELL, FIELD(version),
	    .value = "false", .help = "print the version and exit" },

	/* ceph-csi */
	{ "rbdhardmaxclonedepth", OPTION_INT, OPTION_CHECKED, GROUP_CEPH_CSI,
	    FIELD(clone_depth_hard), .value = "8", INT_RANGE(1, 14),
	    .help = "longest chain of clones" },
	{ "rbdsoftmaxclonedepth", OPTION_INT, OPTION_CHECKED, GROUP_CEPH_CSI,
	    FIELD(clone_depth_soft), .value = "4", INT_RANGE(0, 14),
	    .help = "chain of clones from which on to flatten; not above "
		    "`--rbdhardmaxclonedepth`" },
	{ "maxsnapshotsonimage", OPTION_INT, OPTION_CHECKED, GROUP_CEPH_CSI,
	    FIELD(snapshots_max), .value = "450", INT_RANGE(1, 500),
	    .help = "most snapshots on an image" },
	{ "minsnapshotsonimage", OPTION_INT, OPTION_CHECKED, GROUP_CEPH_CSI,
	    FIELD(snapshots_min), .value = "250", INT_RANGE(0, 500),
	    .help = "snapshots from which on to flatten; not above "
		    "`--maxsnapshotsonimage`" },
	{ "feature-gates", OPTION_STRING, OPTION_CHECKED, GROUP_CEPH_CSI,
	    FIELD(feature_gates), .value = "",
	    .help = "`SlowGRPCRestart=BOOL`: the daemon never needs to be "
		    "restarted for a slow call" },
	{ "skipforceflatten", OPTION_BOOL, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "false", .help = "for kernels before 5.1" },
	{ "setmetadata", OPTION_BOOL, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "true", .help = "metadata are always set" },
	{ "enable-fencing", OPTION_BOOL, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "false", .help = "blocklisting of lost nodes" },
	{ "domainlabels", OPTION_STRING, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "", .help = "node labels for topology" },
	{ "enable-read-affinity", OPTION_BOOL, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "false", .help = "reads from the nearest OSD" },
	{ "crush-location-labels", OPTION_STRING, OPTION_IGNORED,
	    GROUP_CEPH_CSI, .value = "", .help = "node labels for the same" },
	{ "csi-addons-endpoint", OPTION_STRING, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "unix:///tmp/csi-addons.sock",
	    .help = "CSI-Addons is not served" },
	{ "drivernamespace", OPTION_STRING, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "default", .help = "for `--type=controller`" },
	{ "pluginpath", OPTION_STRING, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "/var/lib/kubelet/plugins", .help = "historic" },
	{ "stagingpath", OPTION_STRING, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "/var/lib/kubelet/plugins/kubernetes.io/csi/",
	    .help = "for the healer of rbd-nbd, which is not needed" },
	{ "pidlimit", OPTION_INT, OPTION_IGNORED, GROUP_CEPH_CSI, .value = "0",
	    ANY_INT,
	    .help = "the number of processes is bounded (`--offload-max`, "
		    "`--worker-lanes`)" },
	{ "automaxprocs", OPTION_BOOL, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "false", .help = "there is one thread" },
	{ "enableprofiling", OPTION_BOOL, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "false", .help = "of Go" },
	{ "forcecephkernelclient", OPTION_BOOL, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "false", .help = "of CephFS" },
	{ "kernelmountoptions", OPTION_STRING, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "", .help = "of CephFS" },
	{ "fusemountoptions", OPTION_STRING, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "", .help = "of CephFS" },
	{ "radosnamespacecephfs", OPTION_STRING, OPTION_IGNORED, GROUP_CEPH_CSI,
	    .value = "", .help = "of CephFS" },

	/* klog */
	{ "v", OPTION_INT, OPTION_IGNORED, GROUP_KLOG, .value = "0", ANY_INT,
	    .help = "verbosity: see `--log-level`" },
	{ "vmodule", OPTION_ANY, OPTION_IGNORED, GROUP_KLOG, .value = "" },
	{ "logtostderr", OPTION_BOOL, OPTION_IGNORED, GROUP_KLOG,
	    .value = "true", .help = "it always does" },
	{ "alsologtostderr", OPTION_BOOL, OPTION_IGNORED, GROUP_KLOG,
	    .value = "false" },
	{ "stderrthreshold", OPTION_ANY, OPTION_IGNORED, GROUP_KLOG,
	    .value = "2" },
	{ "legacy_stderr_threshold_behavior", OPTION_BOOL, OPTION_IGNORED,
	    GROUP_KLOG, .value = "true" },
	{ "log_dir", OPTION_ANY, OPTION_IGNORED, GROUP_KLOG, .value = "" },
	{ "log_file", OPTION_ANY, OPTION_IGNORED, GROUP_KLOG, .value = "" },
	{ "log_file_max_size", OPTION_ANY, OPTION_IGNORED, GROUP_KLOG,
	    .value = "1800" },
	{ "log_backtrace_at", OPTION_ANY, OPTION_IGNORED, GROUP_KLOG,
	    .value = ":0" },
	{ "add_dir_header", OPTION_BOOL, OPTION_IGNORED, GROUP_KLOG,
	    .value = "false" },
	{ "skip_headers", OPTION_BOOL, OPTION_IGNORED, GROUP_KLOG,
	    .value = "false" },
	{ "skip_log_headers", OPTION_BOOL, OPTION_IGNORED, GROUP_KLOG,
	    .value = "false" },
	{ "one_output", OPTION_BOOL, OPTION_IGNORED, GROUP_KLOG,
	    .value = "false" },
};

const size_t option_count = countof(option_table);
