/*
 * options.c - every option of rbd-csid, and what is made of the command line
 * by that table. To add one: a row here, a member of struct options, and the
 * output of `rbd-csid --help-markdown` in docs/OPTIONS.md.
 *
 * The syntax is that of Go's flag package, because existing manifests are
 * written for it: -x and --x are the same, a value follows after "=" or as the
 * next argument, and a bool takes its value after "=" only.
 */
#include "daemon/options.h"

#include "base/exit.h"
#include "base/units.h"
#include "csi/params.h"
#include "obs/http.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <strings.h>

#ifndef LIBEXECDIR
#error "LIBEXECDIR names the directory of ceph-worker and its like"
#endif

enum option_kind {
	OPTION_GROUP = 0, /* no option: `help` is the title of those below */
	OPTION_STRING,    /* const char * */
	OPTION_BOOL,      /* bool */
	OPTION_INT,       /* int64_t or unsigned */
	OPTION_DURATION,  /* int64_t milliseconds */
	OPTION_BYTES,     /* int64_t or size_t bytes */
	OPTION_ANY,       /* klog: a value that nobody looks at */
};

enum option_use {
	OPTION_USED = 0, /* does what its help says */
	OPTION_CHECKED,  /* accepted and checked, without effect */
	OPTION_IGNORED,  /* accepted, without effect */
	OPTION_SILENT,   /* the same, and nobody wonders about it */
	OPTION_HIDDEN,   /* used, and shown to nobody */
};

struct option_def {
	const char *name;
	size_t field;        /* 1 + offset in struct options; 0 is no field */
	size_t size;         /* of the field */
	const char *value;   /* default, as one would type it */
	int64_t min, max;    /* of numbers, durations and bytes */
	const char *help;    /* in Markdown; may be NULL */
	const char *choices; /* of a string: "a, b"; NULL: anything */
	const char *shown;   /* in docs/OPTIONS.md instead of value */
	enum option_kind kind;
	enum option_use use;
};

#define MINUTE_MS ((int64_t)60 * 1000)
#define HOUR_MS (60 * MINUTE_MS)
#define KIB ((int64_t)1 << 10)
#define MIB ((int64_t)1 << 20)
#define KMS_CONFIG "/etc/ceph-csi-encryption-kms-config/config.json"
#define LEVELS "error, warn, info, debug" /* in the order of enum log_level */

#define GROUP(title)                                                           \
	{                                                                      \
		.kind = OPTION_GROUP, .name = "", .help = title                \
	}
#define OPTION(kind_, name_, member, value, ...)                               \
	{                                                                      \
		.kind = kind_, .name = name_,                                  \
		1 + offsetof(struct options, member),                          \
		sizeof(((struct options *)0)->member), value, __VA_ARGS__      \
	}
#define TEXT(name, member, value, ...)                                         \
	OPTION(OPTION_STRING, name, member, value, 0, 0, __VA_ARGS__)
#define BOOL(name, member, ...)                                                \
	OPTION(OPTION_BOOL, name, member, "false", 0, 0, __VA_ARGS__)
#define NUMBER(name, member, value, ...)                                       \
	OPTION(OPTION_INT, name, member, value, __VA_ARGS__)
#define DURATION(name, member, value, ...)                                     \
	OPTION(OPTION_DURATION, name, member, value, __VA_ARGS__)
#define BYTES(name, member, value, ...)                                        \
	OPTION(OPTION_BYTES, name, member, value, __VA_ARGS__)
#define CHECKED .use = OPTION_CHECKED
#define IGNORED(name_, kind_, value, help)                                     \
	{                                                                      \
		.kind = kind_, .name = name_, 0, 0, value, INT64_MIN,          \
		INT64_MAX, help, .use = OPTION_IGNORED                         \
	}
#define SILENT(name_, kind_, value, help)                                      \
	{                                                                      \
		.kind = kind_, .name = name_, 0, 0, value, INT64_MIN,          \
		INT64_MAX, help, .use = OPTION_SILENT                          \
	}

static const struct option_def table[] = {
	GROUP("The driver"),
	TEXT("type", type_text, "",
	    "what to run: `rbd`, the driver; `liveness` or `controller`, its helpers in ceph-csi's manifests (see below). Must be given"),
	TEXT("endpoint", endpoint, "unix:///tmp/csi.sock",
	    "where to serve CSI, or for `--type=liveness` where it is served: `unix://` and a path. A stale socket file is replaced, a live one is not"),
	TEXT("drivername", drivername, "rbd.csi.ceph.com",
	    "name of the driver: at most 63 characters, a DNS name"),
	TEXT("nodeid", nodeid, "", "name of this node. Must be given"),
	TEXT("instanceid", instanceid, "default",
	    "tells drivers apart that share a pool: ends the name of the journal's directory objects"),
	TEXT("clustername", clustername, "",
	    "name of this Kubernetes cluster, written to the metadata of each image"),
	BOOL("controllerserver", controllerserver,
	    "serve the Controller service. With neither this nor `--nodeserver` both are served"),
	BOOL("nodeserver", nodeserver, "serve the Node service"),

	GROUP("The daemon"),
	TEXT("config", config, "/etc/ceph-csi-config/config.json",
	    "the clusters and their monitors. Read again when it changes; a broken file leaves the last good one"),
	TEXT("credentials-dir", credentials_dir, "",
	    "directory with `CLUSTERID/userID` and `CLUSTERID/userKey` for each cluster: credentials for requests that have none. Without it what CSI gives no secrets to is not served"),
	TEXT("kms-config", kms_config, KMS_CONFIG,
	    "file of the key services that `encryptionKMSID` names; read each time"),
	TEXT("ceph-conf", ceph_conf, "/etc/ceph/ceph.conf",
	    "Ceph's configuration, read by each Ceph session when the file exists"),
	TEXT("statedir", statedir, "/run/rbd-csi",
	    "directory for what has to outlive a restart of the daemon, not a reboot"),
	TEXT("socket-mode", socket_mode_text, "0600",
	    "permissions of the socket file, in octal"),
	TEXT("socket-owner", socket_owner_text, "",
	    "user or uid who is to own the socket file; set before anybody can connect"),
	TEXT("socket-group", socket_group_text, "",
	    "group or gid of the socket file, with `--socket-mode=0660` for example"),
	TEXT("metrics-address", metrics_address, "",
	    "where to serve `/metrics` and `/healthz` by HTTP: `127.0.0.1:9809`, `:9809` for all addresses, port 0 for any free one, or `unix://` and a path, with the mode and owner of the socket. Empty: nowhere"),
	TEXT("metrics-tls-dir", metrics_tls_dir, "",
	    "directory with `tls.crt` and `tls.key`, as a TLS Secret is mounted: metrics by HTTPS only, docs/METRICS.md"),
	BOOL("status-page", status_page,
	    "a page for people at `/` of `--metrics-address`, with names of volumes and users"),
	DURATION("drain-timeout", drain_timeout_ms, "25s", 0, 24 * HOUR_MS,
	    "how long SIGTERM waits for running operations and purges"),
	DURATION("logslowopinterval", slow_op_ms, "30s", 0, 24 * HOUR_MS,
	    "log operations that run longer than this, and again after each such time. 0: never"),
	TEXT("log-format", log_format, "text", "`text` (key=value) or `json`",
	    .choices = "text, json"),
	TEXT("log-level", log_level, "info",
	    "`error`, `warn`, `info` or `debug`", .choices = LEVELS),

	GROUP("The node"),
	TEXT("node-labels-file", node_labels_file, "",
	    "the labels of this node, which the next options choose from: `KEY=VALUE` or `KEY=\"VALUE\"` a line, as a downward API volume has them. Read once, at the start"),
	TEXT("domainlabels", domain_labels, "",
	    "labels that are topology domains, separated by commas. One that the node does not have ends the program"),
	BOOL("enable-read-affinity", read_affinity,
	    "use `--crush-location-labels` for clusters that have `readAffinity.enabled` and no labels of their own in config.json"),
	TEXT("crush-location-labels", crush_labels, "",
	    "labels that tell where the node is in the CRUSH hierarchy, separated by commas: krbd reads from the nearest OSD"),
	NUMBER("max-volumes-per-node", max_volumes, "0", 0, 1000000,
	    "how many volumes a node may have, as the scheduler is told. 0: nothing is told with krbd, and 511 for the userspace mapper"),

	GROUP("Processes and limits"),
	TEXT("mounter-fallback", mounter_fallback, "none",
	    "mapper to take when the kernel lacks the one that the volume asks for: `none`, `krbd` or `userspace`",
	    .choices = "none, krbd, userspace"),
	BOOL("enable-fencing", fencing,
	    "nodes record under which address they use a volume, and the controller shuts a node that is out of service out of the cluster before the volume is released: docs/ACCESS.md"),
	TEXT("worker-path", worker_path, LIBEXECDIR "/ceph-worker",
	    "program that runs a Ceph session",
	    .shown = "LIBEXECDIR/ceph-worker"),
	TEXT("kube-path", kube_path, LIBEXECDIR "/rbd-csi-kube",
	    "program that asks Kubernetes", .shown = "LIBEXECDIR/rbd-csi-kube"),
	TEXT("serviceaccount-dir", serviceaccount_dir,
	    "/var/run/secrets/kubernetes.io/serviceaccount",
	    "token and ca.crt of the pod's service account"),
	TEXT("attachd-path", attachd_path, LIBEXECDIR "/rbd-attachd",
	    "program that serves images of the userspace mapper",
	    .shown = "LIBEXECDIR/rbd-attachd"),
	NUMBER("worker-lanes", worker_lanes, "4", 1, 64,
	    "processes a Ceph session may start for calls that have no asynchronous form"),
	DURATION("session-idle", session_idle_ms, "10m", 1000, 24 * HOUR_MS,
	    "end a Ceph session that nobody used for so long"),
	DURATION("purge-delay", purge_delay_ms, "0s", 0, 366 * 24 * HOUR_MS,
	    "how long the trash keeps deleted images: until then `rbd trash restore` gives one back, without its volume"),
	NUMBER("offload-max", offload_max, "64", 1, 4096,
	    "children for blocking system calls at one time"),
	NUMBER("max-requests", requests_max, "4096", 1, 1000000,
	    "Node and Controller requests that run or wait for a lock at one time, also those whose caller has gone. More are answered UNAVAILABLE; a retry that joins a running one is not counted"),

	GROUP("Snapshots and clones"),
	NUMBER("rbdhardmaxclonedepth", clone_depth_hard, "8", 1, 14,
	    "longest chain of clones: what would make it longer waits until one of them is flattened"),
	NUMBER("rbdsoftmaxclonedepth", clone_depth_soft, "4", 0, 14,
	    "chain of clones from which on one of them is flattened in the background; not above `--rbdhardmaxclonedepth`"),
	NUMBER("maxsnapshotsonimage", snapshots_max, "450", 1, 500,
	    "most snapshots of an image, those in its trash included: another one waits until a clone is flattened"),
	NUMBER("minsnapshotsonimage", snapshots_min, "250", 0, 500,
	    "snapshots of an image from which on its clones are flattened in the background; not above `--maxsnapshotsonimage`"),

	GROUP("Limits of the gRPC server"),
	NUMBER("grpc-max-connections", grpc.connections, "512", 1, 60000,
	    "connections at one time. For another one, one without calls has to go; fewer if there are not as many descriptors (`ulimit -n`)"),
	NUMBER("grpc-max-streams", grpc.streams, "256", 1, 65536,
	    "calls open at one time on one connection. More are refused, and clients try them again"),
	NUMBER("grpc-max-calls", grpc.calls, "4096", 1, 1000000,
	    "calls open at one time in all. More are answered UNAVAILABLE, unless their connection has no other"),
	BYTES("grpc-max-header-bytes", grpc.header_bytes, "16KiB", 1 * KIB,
	    1 * MIB, "header list of a call, as HTTP/2 counts it"),
	BYTES("grpc-max-request-bytes", grpc.request_bytes, "4MiB", 1 * KIB,
	    4 * MIB, "one request"),
	BYTES("grpc-max-reply-bytes", grpc.reply_bytes, "16MiB", 1 * KIB,
	    64 * MIB, "one answer. Go clients take 4 MiB"),
	BYTES("grpc-max-buffered-bytes",
	    grpc.buffered_bytes, "64MiB", 1 * MIB, 4096 * MIB, "requests and answers that are held at one time in all. Beyond it requests that still arrive are answered UNAVAILABLE. Not below `--grpc-max-request-bytes`"),
	DURATION("grpc-handshake-timeout", grpc.handshake_ms, "10s", 100,
	    HOUR_MS, "how long a new connection may take to speak HTTP/2"),
	DURATION("grpc-first-call-timeout", grpc.first_call_ms, "5m", 1000,
	    24 * HOUR_MS, "end a connection that has made no call for so long"),
	DURATION("grpc-idle-timeout", grpc.idle_ms, "0", 0, 24 * HOUR_MS,
	    "end a connection whose last call is so long ago. 0: never; sidecars end themselves when theirs is lost"),
	DURATION("grpc-request-timeout", grpc.request_ms, "30s", 100, HOUR_MS,
	    "how long the request of a call may take to arrive"),
	DURATION("grpc-write-timeout", grpc.write_ms, "60s", 100, HOUR_MS,
	    "how long a client may take to accept an answer"),

	GROUP("For --type=liveness"),
	NUMBER("metricsport", metrics_port, "8080", 0, 65535,
	    "port to serve metrics on, at `$POD_IP`. The driver has `--metrics-address`"),
	TEXT("metricspath", metrics_path, "/metrics",
	    "path to serve metrics at"),
	DURATION("polltime", probe_poll_ms, "60s", 1, 24 * HOUR_MS,
	    "time from the answer of one probe to the next probe"),
	DURATION("timeout", probe_timeout_ms, "3s", 1, HOUR_MS,
	    "how long a probe may take"),

	GROUP("Tell and exit"),
	BOOL("help", help, "print this and exit"),
	BOOL("h", help, "the same", .use = OPTION_HIDDEN),
	BOOL("help-markdown", help_markdown,
	    "print the tables of docs/OPTIONS.md and exit",
	    .use = OPTION_HIDDEN),
	BOOL("version", version, "print the version and exit"),

	GROUP("Accepted for ceph-csi's manifests, without effect"),
	TEXT("feature-gates", feature_gates, "",
	    "`SlowGRPCRestart=BOOL`: the daemon never needs to be restarted for a slow call",
	    CHECKED),
	IGNORED("skipforceflatten", OPTION_BOOL, "false",
	    "no image is flattened for a node: kernels before 5.1 are not supported"),
	IGNORED("setmetadata", OPTION_BOOL, "true", "metadata are always set"),
	IGNORED("csi-addons-endpoint", OPTION_STRING,
	    "unix:///tmp/csi-addons.sock", "CSI-Addons is not served"),
	IGNORED("drivernamespace", OPTION_STRING, "default",
	    "for `--type=controller`"),
	IGNORED("pluginpath", OPTION_STRING, "/var/lib/kubelet/plugins",
	    "historic"),
	IGNORED("stagingpath", OPTION_STRING,
	    "/var/lib/kubelet/plugins/kubernetes.io/csi/",
	    "for the healer of rbd-nbd, which is not needed"),
	IGNORED("pidlimit", OPTION_INT, "0",
	    "the number of processes is bounded (`--offload-max`, `--worker-lanes`)"),
	IGNORED("automaxprocs", OPTION_BOOL, "false", "there is one thread"),
	IGNORED("enableprofiling", OPTION_BOOL, "false", "of Go"),
	IGNORED("forcecephkernelclient", OPTION_BOOL, "false", "of CephFS"),
	IGNORED("kernelmountoptions", OPTION_STRING, "", "of CephFS"),
	IGNORED("fusemountoptions", OPTION_STRING, "", "of CephFS"),
	IGNORED("radosnamespacecephfs", OPTION_STRING, "", "of CephFS"),

	GROUP("Accepted for klog, without effect"),
	SILENT("v", OPTION_INT, "0", "verbosity: see `--log-level`"),
	SILENT("vmodule", OPTION_ANY, "", NULL),
	SILENT("logtostderr", OPTION_BOOL, "true", "it always does"),
	SILENT("alsologtostderr", OPTION_BOOL, "false", NULL),
	SILENT("stderrthreshold", OPTION_ANY, "2", NULL),
	SILENT("legacy_stderr_threshold_behavior", OPTION_BOOL, "true", NULL),
	SILENT("log_dir", OPTION_ANY, "", NULL),
	SILENT("log_file", OPTION_ANY, "", NULL),
	SILENT("log_file_max_size", OPTION_ANY, "1800", NULL),
	SILENT("log_backtrace_at", OPTION_ANY, ":0", NULL),
	SILENT("add_dir_header", OPTION_BOOL, "false", NULL),
	SILENT("skip_headers", OPTION_BOOL, "false", NULL),
	SILENT("skip_log_headers", OPTION_BOOL, "false", NULL),
	SILENT("one_output", OPTION_BOOL, "false", NULL),
};

static const struct {
	const char *name, *help;
} environment[] = {
	{ "CSI_ENDPOINT",
	    "where to serve when `--endpoint` is not given, as the CSI specification has it" },
	{ "POD_IP",
	    "where `--type=liveness` serves metrics; all addresses if it is not set" },
};

/* ---- one option ---------------------------------------------------------- */

/* The row of the option of this name, or NULL. */
static const struct option_def *
option_find(const char *name, size_t len)
{
	for (size_t i = 0; i < countof(table); i++)
		if (len > 0 && strlen(table[i].name) == len &&
		    memcmp(table[i].name, name, len) == 0)
			return &table[i];
	return NULL;
}

bool
options_is_known(const char *name)
{
	return option_find(name, strlen(name)) != NULL;
}

/* The place of a word in a list "a, b, c"; negative: it is not in there. */
static int
choice_of(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (int i = 0;; i++) {
		size_t n = strcspn(list, ",");

		if (n == len && memcmp(list, word, n) == 0)
			return i;
		if (list[n] == '\0')
			return -1;
		list += n + 2;
	}
}

static int
parse_int(const char *text, int64_t *value)
{
	bool negative = *text == '-';
	uint64_t n;
	int rc = str_to_u64(text + negative, &n);

	if (rc < 0)
		return rc;
	if (n > (uint64_t)INT64_MAX)
		return -ERANGE;
	*value = negative ? -(int64_t)n : (int64_t)n;
	return 0;
}

/* Checks `text` and stores it where the table says. */
static int
option_set(struct options *o, const struct option_def *def, const char *text,
    struct err *err)
{
	void *at = def->field != 0 ? (char *)o + def->field - 1 : NULL;
	const char *want = NULL;
	int64_t number = 0;
	bool flag = false;

	switch (def->kind) {
	case OPTION_GROUP:
	case OPTION_ANY:
		return 0;
	case OPTION_STRING:
		if (def->choices != NULL && choice_of(def->choices, text) < 0)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "--%s=%s: must be one of %s", def->name, text,
			    def->choices);
		if (at != NULL)
			*(const char **)at = text;
		return 0;
	case OPTION_BOOL:
		if (csi_parse_bool(text, &flag) < 0)
			want = "true or false";
		else if (at != NULL)
			*(bool *)at = flag;
		break;
	case OPTION_INT:
		if (parse_int(text, &number) < 0)
			want = "a whole number";
		break;
	case OPTION_DURATION:
		if (units_parse_duration(text, &number) < 0)
			want = "a duration such as 90s, 1m30s or 500ms";
		break;
	case OPTION_BYTES:
		if (units_parse_bytes(text, &number) < 0)
			want = "a number of bytes such as 65536, 64KiB or 4MiB";
		break;
	}
	if (want != NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "--%s=%s: must be %s",
		    def->name, text, want);
	if (def->kind == OPTION_BOOL)
		return 0;
	if (number < def->min || number > def->max) {
		const char *unit = def->kind == OPTION_DURATION ? "ms" : "";

		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--%s=%s: must be from %lld%s to %lld%s%s", def->name, text,
		    (long long)def->min, unit, (long long)def->max, unit,
		    def->kind == OPTION_BYTES ? " bytes" : "");
	}
	if (at != NULL && def->size == sizeof(unsigned))
		*(unsigned *)at = (unsigned)number;
	else if (at != NULL)
		*(int64_t *)at = number;
	return 0;
}

/* ---- the command line ---------------------------------------------------- */

/*
 * Takes the option at argv[*at] apart and moves *at to its last argument.
 * *text is the value as typed, or what it means to leave it out.
 */
static int
option_next(int argc, char *const argv[], int *at,
    const struct option_def **def, const char **text, struct err *err)
{
	const char *arg = argv[*at], *name = arg, *equals;
	size_t len;

	if (name[0] != '-' || name[1] == '\0')
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "unexpected argument \"%s\": options start with a dash",
		    arg);
	name += name[1] == '-' ? 2 : 1;
	equals = strchr(name, '=');
	len = equals != NULL ? (size_t)(equals - name) : strlen(name);
	*def = option_find(name, len);
	if (*def == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "unknown option \"%s\" (--help lists them)", arg);
	if (equals != NULL)
		*text = equals + 1;
	else if ((*def)->kind == OPTION_BOOL)
		*text = "true";
	else if (*at + 1 < argc)
		*text = argv[++*at];
	else
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "option \"%s\" needs a value", arg);
	return 0;
}

int
options_parse(struct options *o, int argc, char *const argv[], struct err *err)
{
	const char *endpoint = getenv("CSI_ENDPOINT");

	*o = (struct options){ .type_text = "" };
	for (size_t i = 0; i < countof(table); i++)
		if (table[i].field != 0 &&
		    option_set(o, &table[i], table[i].value, err) < 0)
			abort(); /* a default that its own check refuses */
	if (!str_is_empty(endpoint))
		o->endpoint = endpoint;

	for (int i = 1; i < argc; i++) {
		const struct option_def *def;
		const char *text;
		int rc = option_next(argc, argv, &i, &def, &text, err);

		if (rc == 0)
			rc = option_set(o, def, text, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void
options_each_ignored(int argc, char *const argv[],
    void (*tell)(const char *name, const char *help))
{
	for (int i = 1; i < argc; i++) {
		const struct option_def *def = NULL;
		const char *text = "";

		if (option_next(argc, argv, &i, &def, &text, NULL) < 0 ||
		    def == NULL)
			return;
		if ((def->use == OPTION_IGNORED ||
			def->use == OPTION_CHECKED) &&
		    !str_eq(text, def->value))
			tell(def->name, def->help);
	}
}

/* ---- what one option alone cannot tell ----------------------------------- */

/* A name as Kubernetes takes it for a driver. */
static bool
drivername_is_good(const char *name)
{
	size_t len = strlen(name);
	bool edge = true; /* at the start of a label */

	if (len == 0 || len > 63)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool last = i + 1 == len || name[i + 1] == '.';

		if (name[i] == '.') {
			if (edge)
				return false;
			edge = true;
			continue;
		}
		if (!isalnum((unsigned char)name[i]) &&
		    (name[i] != '-' || edge || last))
			return false;
		edge = false;
	}
	return !edge;
}

static int
check_type(struct options *o, struct err *err)
{
	int type = choice_of("rbd, liveness, controller", o->type_text);

	if (*o->type_text == '\0')
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "--type must be given: rbd");
	if (choice_of("cephfs, nfs, nvmeof", o->type_text) >= 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--type=%s is one of ceph-csi's that rbd-csid does not serve; it serves rbd, liveness and controller",
		    o->type_text);
	if (type < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--type=%s is unknown; rbd-csid serves rbd, liveness and controller",
		    o->type_text);
	o->type = (enum options_type)type;
	return 0;
}

/* "unix:///a/b.sock" in any case; one slash in front of the path or more. */
static int
check_endpoint(struct options *o, struct err *err)
{
	const char *path;

	if (strncasecmp(o->endpoint, "unix://", 7) != 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--endpoint=%s: must be unix:// and a path", o->endpoint);
	path = o->endpoint + 7;
	while (path[0] == '/' && path[1] == '/')
		path++;
	if (*path == '\0' || str_eq(path, "/"))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--endpoint=%s: has no path", o->endpoint);
	if (str_put(o->socket_path, sizeof(o->socket_path), "%s%s",
		*path == '/' ? "" : "/", path) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--endpoint=%s: the path is longer than the %zu bytes of a socket's name",
		    o->endpoint, sizeof(o->socket_path) - 1);
	return 0;
}

/* A uid or gid as a number. */
static bool
parse_id(const char *text, unsigned *id)
{
	uint64_t n;

	if (str_to_u64(text, &n) < 0 || n >= UNIX_SOCKET_KEEP)
		return false;
	*id = (unsigned)n;
	return true;
}

/* Permissions, and owner and group; names are looked up once, here. */
static int
check_socket_file(struct options *o, struct err *err)
{
	const char *owner = o->socket_owner_text, *group = o->socket_group_text;
	const char *mode = o->socket_mode_text;
	struct unix_socket_file *file = &o->socket_file;
	char *end;

	file->mode = (unsigned)strtoul(mode, &end, 8);
	if (!isdigit((unsigned char)*mode) || *end != '\0' || file->mode > 0777)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--socket-mode=%s: must be octal, 0600 for example", mode);
	file->owner = file->group = UNIX_SOCKET_KEEP;
	if (*owner != '\0' && !parse_id(owner, &file->owner)) {
		const struct passwd *pw = getpwnam(owner);

		if (pw == NULL)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "--socket-owner=%s: there is no user of that name, and it is no uid",
			    owner);
		file->owner = pw->pw_uid;
	}
	if (*group != '\0' && !parse_id(group, &file->group)) {
		const struct group *gr = getgrnam(group);

		if (gr == NULL)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "--socket-group=%s: there is no group of that name, and it is no gid",
			    group);
		file->group = gr->gr_gid;
	}
	return 0;
}

/* "Name=bool,Name=bool": the one gate that ceph-csi knows is accepted. */
static int
check_feature_gates(const struct options *o, struct err *err)
{
	auto_free char *copy = str_dup(o->feature_gates);
	char *save = NULL, *gate;

	for (gate = strtok_r(copy, ",", &save); gate != NULL;
	     gate = strtok_r(NULL, ",", &save)) {
		char *equals = strchr(gate, '=');
		bool value;

		if (equals == NULL || csi_parse_bool(equals + 1, &value) < 0)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "--feature-gates: \"%s\" is not NAME=BOOL", gate);
		*equals = '\0';
		if (!str_eq(gate, "SlowGRPCRestart"))
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "--feature-gates: unknown gate \"%s\"", gate);
	}
	return 0;
}

/* What a driver needs, and its helpers do without. */
static int
check_driver(struct options *o, struct err *err)
{
	const struct {
		const char *name, *value;
	} filled[] = { { "nodeid", o->nodeid }, { "instanceid", o->instanceid },
		{ "config", o->config } };
	int rc;

	for (size_t i = 0; i < countof(filled); i++)
		if (*filled[i].value == '\0')
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "--%s must not be empty", filled[i].name);
	if (*o->statedir != '/')
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--statedir=%s: must be an absolute path", o->statedir);
	if ((rc = check_socket_file(o, err)) < 0)
		return rc;
	if (*o->metrics_address != '\0' &&
	    (rc = http_address_check(o->metrics_address, err)) < 0) {
		err_prefix(err, "--metrics-address");
		return rc;
	}
	if (!o->controllerserver && !o->nodeserver)
		o->controllerserver = o->nodeserver = true;
	return 0;
}

int
options_check(struct options *o, struct err *err)
{
	int rc;

	if ((rc = check_type(o, err)) < 0 ||
	    (rc = check_endpoint(o, err)) < 0 ||
	    (rc = check_feature_gates(o, err)) < 0)
		return rc;
	o->level = (enum log_level)choice_of(LEVELS, o->log_level);
	if (o->clone_depth_soft > o->clone_depth_hard)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--rbdsoftmaxclonedepth is above --rbdhardmaxclonedepth");
	if (o->snapshots_min > o->snapshots_max)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--minsnapshotsonimage is above --maxsnapshotsonimage");
	if (o->grpc.buffered_bytes < o->grpc.request_bytes)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--grpc-max-buffered-bytes is below --grpc-max-request-bytes");
	if (!drivername_is_good(o->drivername))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--drivername=%s: must be a DNS name of at most 63 characters",
		    o->drivername);
	if (o->type == OPTIONS_RBD && *o->metrics_tls_dir != '\0' &&
	    *o->metrics_address == '\0')
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--metrics-tls-dir: there is no --metrics-address");
	if (o->type == OPTIONS_LIVENESS && *o->metrics_path != '/')
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--metricspath=%s: must be an absolute path",
		    o->metrics_path);
	return o->type == OPTIONS_RBD ? check_driver(o, err) : 0;
}

/* ---- for people ---------------------------------------------------------- */

/* Copies help to `out` without the backticks of Markdown. */
static void
print_plain(FILE *out, const char *text)
{
	for (; *text != '\0'; text++)
		if (*text != '`')
			(void)fputc(*text, out);
}

void
options_print_help(FILE *out)
{
	static const char *const kinds[] = {
		[OPTION_STRING] = "=TEXT",
		[OPTION_BOOL] = "",
		[OPTION_INT] = "=NUMBER",
		[OPTION_DURATION] = "=DURATION",
		[OPTION_BYTES] = "=BYTES",
		[OPTION_ANY] = "=TEXT",
	};

	(void)fputs(
	    "usage: rbd-csid --type=rbd --nodeid=NAME [OPTION]...\n"
	    "A CSI driver for Ceph RBD. -x and --x are the same; a value follows after \"=\" or a blank.\n",
	    out);
	for (size_t i = 0; i < countof(table); i++) {
		const struct option_def *def = &table[i];

		if (def->use == OPTION_HIDDEN)
			continue;
		if (def->kind == OPTION_GROUP) {
			(void)fprintf(out, "\n%s:\n", def->help);
			continue;
		}
		(void)fprintf(out, "  --%s%s", def->name, kinds[def->kind]);
		if (*def->value != '\0' && !str_eq(def->value, "false"))
			(void)fprintf(out, " (%s)", def->value);
		if (def->help != NULL) {
			(void)fputs("\n      ", out);
			print_plain(out, def->help);
		}
		(void)fputc('\n', out);
	}
	(void)fputs("\nEnvironment:\n", out);
	for (size_t i = 0; i < countof(environment); i++) {
		(void)fprintf(out, "  %s\n      ", environment[i].name);
		print_plain(out, environment[i].help);
		(void)fputc('\n', out);
	}
#define LINE(name, number, text) "  " #number "\n      " text "\n"
	(void)fputs("\nExit status:\n" EXIT_STATUSES(LINE), out);
}

void
options_print_markdown(FILE *out)
{
	for (size_t i = 0; i < countof(table); i++) {
		const struct option_def *def = &table[i];
		const char *value = def->shown != NULL ? def->shown
						       : def->value;

		if (def->kind == OPTION_GROUP)
			(void)fprintf(out,
			    "%s## %s\n\n| option | default | meaning |\n|---|---|---|\n",
			    i > 0 ? "\n" : "", def->help);
		else if (def->use != OPTION_HIDDEN)
			(void)fprintf(out, "| `--%s` | %s%s%s| %s |\n",
			    def->name, *value != '\0' ? "`" : "", value,
			    *value != '\0' ? "` " : "",
			    def->help != NULL ? def->help : "");
	}
	(void)fputs(
	    "\n## Environment\n\n| variable | meaning |\n|---|---|\n", out);
	for (size_t i = 0; i < countof(environment); i++)
		(void)fprintf(out, "| `%s` | %s |\n", environment[i].name,
		    environment[i].help);
#define ROW(name, number, text) "| " #number " | " text " |\n"
	(void)fputs(
	    "\n## Exit status\n\n| of all programs | meaning |\n|---|---|\n" EXIT_STATUSES(
		ROW),
	    out);
}
