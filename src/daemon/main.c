/*
 * main.c - rbd-csid: puts the pieces together and runs the loop. One thread,
 * always.
 */
#include <config.h>

#include "base/exit.h"
#include "base/log.h"
#include "core/loop.h"
#include "core/offload.h"
#include "core/signal.h"
#include "core/systemd.h"
#include "daemon/admin.h"
#include "daemon/config.h"
#include "daemon/credentials.h"
#include "daemon/descriptors.h"
#include "daemon/dispatch.h"
#include "daemon/drain.h"
#include "daemon/format.h"
#include "daemon/kube.h"
#include "daemon/labels.h"
#include "daemon/liveness.h"
#include "daemon/metrics.h"
#include "daemon/options.h"
#include "daemon/sessions.h"
#include "node/node.h"
#include "obs/dump.h"
#include "rpc/health.h"
#include "rpc/reflection.h"
#include "rpc/server.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define FILES_WANTED 65536
#define FILES_KEPT 256 /* not for clients' connections */
#define FILES_LEAST 64 /* librados needs most of them */

static struct {
	struct options options;
	struct config *config;
	struct server *server;
	struct credentials own; /* those that a Node RPC was lent last */
	struct labels *labels;  /* of this node */
} d;

/* What runs in this process. */
static const struct csi_impl *const impls[CSI_COUNT] = {
	[CSI_NODE_STAGE_VOLUME] = &node_stage_impl,
	[CSI_NODE_UNSTAGE_VOLUME] = &node_unstage_impl,
	[CSI_NODE_PUBLISH_VOLUME] = &node_publish_impl,
	[CSI_NODE_UNPUBLISH_VOLUME] = &node_unpublish_impl,
	[CSI_NODE_GET_VOLUME_STATS] = &node_stats_impl,
	[CSI_NODE_GET_VOLUME_HEALTH] = &node_health_impl,
	[CSI_NODE_GET_STORAGE_HEALTH] = &node_storage_impl,
	[CSI_NODE_EXPAND_VOLUME] = &node_expand_impl,
	[CSI_ADMIN_ABORT] = &node_abort_impl,
	[CSI_ADMIN_LIST_NODE_VOLUMES] = &node_volumes_impl,
	[CSI_ADMIN_LIST_SESSIONS] = &list_sessions_impl,
	[CSI_ADMIN_TRACE] = &trace_impl,
	[CSI_ADMIN_METRICS] = &metrics_impl,
	[CSI_ADMIN_SET_LOG_LEVEL] = &set_log_level_impl,
};

static const struct rpc_service *const own_services[] = {
	&health_service,
	&reflection_v1,
	&reflection_v1alpha,
};

static const struct router router = {
	.services = own_services,
	.service_count = countof(own_services),
	.fallback = { .start = dispatch_call },
	.ended = metrics_call_ended,
};

static void
on_stop(int signo)
{
	(void)signo;
	systemd_stopping();
	health_shutdown();
	drain_begin(d.server, d.options.drain_timeout_ms);
}

static void
on_reload(int signo)
{
	(void)signo;
	config_reload(d.config);
}

/* Another rbd-attachd in place of each that runs, under load if need be. */
static void
on_replace(int signo)
{
	const struct mapper *mapper;

	(void)signo;
	log_info("userspace.replace", "reason=signal");
	for (size_t i = 0; (mapper = mapper_at(i)) != NULL; i++)
		if (mapper->restart != NULL)
			mapper->restart();
}

/*
 * Descriptors 0 to 2 are open, so that no socket becomes one of them, and
 * there may be as many as the hard limit allows, within reason.
 */
static int
prepare_process(struct err *err)
{
	struct rlimit files;
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO && fcntl(fd, F_SETFD, 0) == 0);
	if (fd < 0)
		return err_set_rc(err, -errno, "open /dev/null");
	(void)close(fd);
	(void)umask(022);
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return err_set_rc(err, -errno, "read the limit of open files");
	if (files.rlim_cur < files.rlim_max && files.rlim_cur < FILES_WANTED) {
		files.rlim_cur = files.rlim_max < FILES_WANTED ? files.rlim_max
							       : FILES_WANTED;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	if (files.rlim_cur < FILES_LEAST)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
		    "the limit of open files (ulimit -Hn, LimitNOFILE=) is %llu, and rbd-csid needs %d at least",
		    (unsigned long long)files.rlim_cur, FILES_LEAST);
	return 0;
}

/* Makes the directory and its parents; what is there may stay as it is. */
static int
make_dirs(const char *path, struct err *err)
{
	auto_free char *copy = str_dup(path);

	for (char *slash = copy; slash != NULL;) {
		slash = strchr(slash + 1, '/');
		if (slash != NULL)
			*slash = '\0';
		if (mkdir(copy, slash != NULL ? 0755 : 0700) < 0 &&
		    errno != EEXIST)
			return err_set_rc(
			    err, -errno, "make directory %s", copy);
		if (slash != NULL)
			*slash = '/';
	}
	return 0;
}

static void
dump_counts(struct buf *out)
{
	(void)buf_printf(out,
	    "server connections=%zu calls=%zu buffered_bytes=%zu requests=%zu\n",
	    server_counters(d.server)->connections,
	    server_counters(d.server)->calls,
	    server_counters(d.server)->buffered_bytes, requests_running());
}

/* For the Node service: what config.json says of a cluster. */
static int
find_cluster(const char *cluster_id, int64_t pool_id, struct arena *arena,
    struct node_cluster *cluster, struct err *err)
{
	struct config_cluster found;
	struct err why = ERR_INIT;
	int rc = config_find(d.config, cluster_id, arena, &found, &why);
	int64_t mapped = 0;
	size_t n = 0;

	if (rc < 0 &&
	    config_find_mapped(
		d.config, cluster_id, pool_id, &n, arena, &found, &mapped))
		rc = 0;
	else if (rc < 0 && err != NULL)
		*err = why;
	if (rc == 0)
		*cluster = (struct node_cluster){
			.mapped_id = n > 0 ? found.cluster_id : NULL,
			.mapped_pool = mapped,
			.monitors = found.monitors,
			.rados_namespace = found.rados_namespace,
			.net_namespace = found.netns,
			.crush_location = found.read_affinity
			    ? labels_crush_location(d.labels,
				  *found.crush_labels != '\0'
				      ? found.crush_labels
				      : d.options.read_affinity
				      ? d.options.crush_labels
				      : "",
				  arena)
			    : "",
		};
	return rc;
}

static bool
credentials(const struct device_spec *spec, const char **user, const char **key)
{
	const struct session_key like = {
		.monitors = spec->monitors != NULL ? spec->monitors : "",
		.netns = spec->net_namespace != NULL ? spec->net_namespace : "",
		.user = spec->user,
	};
	const struct secret *secret;

	if (sessions_credentials(&like, user, &secret)) {
		*key = secret->text;
		return true;
	}
	credentials_fini(&d.own);
	if (str_is_empty(d.options.credentials_dir) ||
	    credentials_read(d.options.credentials_dir, spec->cluster_id,
		&d.own, NULL) < 0 ||
	    (!str_is_empty(spec->user) && !str_eq(spec->user, d.own.user)))
		return false;
	*user = d.own.user;
	*key = d.own.key.text;
	return true;
}

static void
log_segment(void *arg, const char *key, const char *value)
{
	(void)arg;
	log_info("node.topology", "label=%s value=%s", key, value);
}

/* The node's labels; those that are topology domains must be there. */
static int
read_labels(const struct options *o, struct err *err)
{
	struct arena *arena = csi_arena_new();
	int rc = -EINVAL;

	d.labels = labels_read(o->node_labels_file, err);
	if (d.labels != NULL)
		rc = labels_topology(d.labels, o->domain_labels, o->drivername,
		    arena, log_segment, NULL, err);
	arena_free(arena);
	return rc;
}

static int
start_node(const struct options *o, struct err *err)
{
	static struct node_config setup;
	static const struct mapper *const mappers[] = { &krbd_mapper,
		&userspace_mapper, NULL };
	const struct mapper_setup mapper_setup = {
		.state_dir = o->statedir,
		.attachd_path = o->attachd_path,
	};

	setup = (struct node_config){
		.state_dir = o->statedir,
		.mounter_fallback = o->mounter_fallback,
		.node_id = o->nodeid,
		.records = o->fencing && access(o->worker_path, X_OK) == 0,
		.find_cluster = find_cluster,
		.format_start = format_start,
		.credentials = credentials,
	};
	if (o->fencing && !setup.records)
		log_warn("fencing.no_worker",
		    "text=\"%s is not there: this node records no addresses and cannot be fenced\"",
		    o->worker_path);
	node_config = &setup;
	return mapper_init(mappers, &mapper_setup, err);
}

/* The names of what is served: CSI's first, these are told by health, too. */
static int
start_own_services(const struct options *o, struct err *err)
{
	static const char *names[4 + countof(own_services)];
	size_t csi = 0, all;

	names[csi++] = "csi.v1.Identity";
	if (o->controllerserver)
		names[csi++] = "csi.v1.Controller";
	if (o->nodeserver)
		names[csi++] = "csi.v1.Node";
	all = csi;
	names[all++] = "rbdcsi.admin.v1.Admin";
	for (size_t i = 0; i < countof(own_services); i++)
		names[all++] = own_services[i]->name;
	health_init(names, csi);
	if (reflection_init(
		descriptors_set, descriptors_set_bytes, names, all) < 0)
		return err_set(err, ERR_INTERNAL, "descriptors are broken");
	return 0;
}

/*
 * As many connections as there are descriptors for, so that those which a
 * client has opened leave some for workers, children and their pipes.
 */
static unsigned
connections_of(const struct options *o)
{
	unsigned wanted = o->grpc.connections, most;
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 ||
	    files.rlim_cur >= (rlim_t)wanted + FILES_KEPT)
		return wanted;
	most = (unsigned)files.rlim_cur;
	most = most > 2 * FILES_KEPT ? most - FILES_KEPT : most / 2;
	log_warn("daemon.files",
	    "limit=%llu connections=%u wanted=%u text=\"fewer than --grpc-max-connections, for want of descriptors\"",
	    (unsigned long long)files.rlim_cur, most, wanted);
	return most;
}

static int
start_server(const struct options *o, struct err *err)
{
	struct server_limits limits = o->grpc;
	struct metrics_setup metrics = {
		.address = o->metrics_address,
		.file = o->socket_file,
		.tls_dir = o->metrics_tls_dir,
		.version = PACKAGE_VERSION,
		.commit = BUILT_COMMIT,
		.librados = BUILT_LIBRADOS,
		.status_page = o->status_page,
		.node = o->nodeid,
		.slow_ms = o->slow_op_ms,
		.serving = { .controller = o->controllerserver,
		    .node = o->nodeserver,
		    .credentials = !str_is_empty(o->credentials_dir) },
		.router = &router,
		.config = d.config,
	};
	int rc;

	limits.connections = connections_of(o);
	metrics.server = d.server = server_new(&router, &limits);
	dump_add_source(dump_counts);
	rc = metrics_begin(&metrics, err);
	if (rc < 0)
		return rc;
	return server_listen(d.server, o->socket_path, &o->socket_file, err);
}

static int
start_driver(const struct options *o, struct err *err)
{
	const struct sessions_setup sessions = {
		.worker_path = o->worker_path,
		.driver_name = o->drivername,
		.instance_id = o->instanceid,
		.cluster_name = o->clustername,
		.node_id = o->nodeserver ? o->nodeid : "",
		.ceph_conf = o->ceph_conf,
		.kms_config = o->kms_config,
		.idle_ms = o->session_idle_ms,
		.max_lanes = (unsigned)o->worker_lanes,
		.purge_delay_ms = o->purge_delay_ms,
		.clone_depth_hard = (unsigned)o->clone_depth_hard,
		.clone_depth_soft = (unsigned)o->clone_depth_soft,
		.snapshots_max = (unsigned)o->snapshots_max,
		.snapshots_min = (unsigned)o->snapshots_min,
		.log_json = str_eq(o->log_format, "json"),
	};
	struct dispatch_setup dispatch = {
		.driver_name = o->drivername,
		.node_id = o->nodeid,
		.domain_labels = o->domain_labels,
		.max_volumes = o->max_volumes,
		.controller = o->controllerserver,
		.node = o->nodeserver,
		.requests = { .impls = impls,
		    .credentials_dir = o->credentials_dir,
		    .fencing = o->fencing,
		    .waited = metrics_lock_waited,
		    .ended = metrics_request_ended,
		    .slow_ms = o->slow_op_ms,
		    .max = (size_t)o->requests_max },
	};
	int rc = make_dirs(o->statedir, err);

	if (rc < 0)
		return rc;
	offload_set_max((unsigned)o->offload_max);
	kube_init(o->kube_path, o->serviceaccount_dir);
	if (o->fencing && o->controllerserver && !kube_is_there())
		log_warn("fencing.blind",
		    "text=\"there is no Kubernetes to tell which nodes are out of service: none is fenced\"");
	dispatch.requests.config = d.config = config_new(o->config);
	sessions_init(&sessions);
	dump_add_source(sessions_dump);
	if (o->nodeserver && (rc = read_labels(o, err)) < 0)
		return rc;
	dispatch.labels = d.labels;
	if (o->nodeserver && (rc = start_node(o, err)) < 0)
		return rc;
	if (o->nodeserver && o->max_volumes == 0)
		dispatch.max_volumes = node_images_most();
	dispatch_init(&dispatch);
	rc = start_own_services(o, err);
	if (rc < 0)
		return rc;
	rc = start_server(o, err);
	if (rc < 0)
		return rc;
	signal_watch(SIGTERM, on_stop);
	signal_watch(SIGINT, on_stop);
	signal_watch(SIGHUP, on_reload);
	signal_watch(SIGUSR1, dump_log);
	signal_watch(SIGUSR2, on_replace);
	log_info("daemon.start",
	    "version=%s driver=%s node=%s endpoint=%s services=Identity%s%s",
	    PACKAGE_VERSION, o->drivername, o->nodeid, o->socket_path,
	    o->controllerserver ? ",Controller" : "",
	    o->nodeserver ? ",Node" : "");
	return 0;
}

static void
on_stop_helper(int signo)
{
	(void)signo;
	loop_stop();
}

static int
start_helper(const struct options *o, struct err *err)
{
	signal_watch(SIGTERM, on_stop_helper);
	signal_watch(SIGINT, on_stop_helper);
	signal_watch(SIGUSR1, dump_log);
	log_info("daemon.start", "version=%s type=%s endpoint=%s",
	    PACKAGE_VERSION, o->type_text, o->socket_path);
	if (o->type == OPTIONS_LIVENESS)
		return liveness_begin(o, err);
	/* So that ceph-csi's Deployment stays up with this image in it. */
	log_warn("controller.idle",
	    "text=\"--type=controller does nothing yet: the journal of volumes that were mirrored to this cluster is not written; the container may be left out\"");
	return 0;
}

static int
start(const struct options *o, struct err *err)
{
	int rc = prepare_process(err);

	if (rc == 0 && (rc = loop_init()) < 0)
		return err_set_rc(err, rc, "start the event loop");
	if (rc < 0)
		return rc;
	return o->type == OPTIONS_RBD ? start_driver(o, err)
				      : start_helper(o, err);
}

/* Frees everything, so that a leak checker has nothing to say. */
static void
daemon_finish(const struct options *o)
{
	if (o->type == OPTIONS_RBD) {
		log_info("daemon.stop", "complete=%d", drain_is_complete());
		if (!drain_is_complete())
			return;
		metrics_stop();
		server_free(d.server);
		dispatch_fini();
		sessions_fini();
		config_free(d.config);
	} else {
		if (o->type == OPTIONS_LIVENESS)
			liveness_stop();
		log_info("daemon.stop", "type=%s", o->type_text);
	}
	signal_fini();
	loop_fini();
}

static void
tell_ignored(const char *name, const char *help)
{
	char quoted[200];

	log_warn("option.ignored", "option=--%s text=%s", name,
	    log_quote(quoted, sizeof(quoted), help));
}

int
main(int argc, char *argv[])
{
	struct options *o = &d.options;
	struct err err = ERR_INIT;

	process_begin();
	if (options_parse(o, argc, argv, &err) < 0)
		goto bad_usage;
	if (o->help || o->help_markdown || o->version) {
		if (o->version)
			(void)puts("rbd-csid " BUILT_VERSION);
		else if (o->help)
			options_print_help(stdout);
		else
			options_print_markdown(stdout);
		return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
	}
	if (options_check(o, &err) < 0)
		goto bad_usage;
	log_init("rbd-csid", o->level,
	    str_eq(o->log_format, "json") ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
	systemd_begin();
	options_each_ignored(argc, argv, tell_ignored);
	if (start(o, &err) < 0) {
		log_error("daemon.start", "text=%s", err.text);
		return EXIT_FAILED;
	}
	systemd_ready();
	loop_run();
	daemon_finish(o);
	return EXIT_DONE;

bad_usage:
	(void)fprintf(stderr, "rbd-csid: %s\n", err.text);
	return EXIT_USAGE;
}
