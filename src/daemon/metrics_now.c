/*
 * metrics_now.c - the metrics that are read when somebody asks: what others
 * know already, and what /proc tells of our processes. Nothing here blocks.
 */
#include "daemon/metrics.h"

#include "core/child.h"
#include "core/offload.h"
#include "core/peer.h"
#include "daemon/config.h"
#include "daemon/drain.h"
#include "daemon/request.h"
#include "daemon/sessions.h"
#include "node/mapper.h"
#include "node/userspace_session.h"
#include "obs/metrics.h"
#include "obs/process.h"

#include <string.h>
#include <sys/resource.h>

#define CLUSTERS_MAX 64 /* with a name of their own; the rest is "other" */
#define PROGRAMS 4

static struct metrics_setup su;

static void
tell_of(struct metric_reading *reading, const char *label, double value)
{
	const char *const values[] = { label };

	metric_tell(reading, value, values);
}

/* Kind, id, name, value, help: what is but one number. */
#define NUMBERS(X)                                                             \
	X(GAUGE, alive, "csi_liveness", !drain_is_started(),                   \
	    "1, or 0 while the daemon drains; as ceph-csi names it.")          \
	X(GAUGE, calls, "rbd_csi_grpc_calls_running",                          \
	    server_counters(su.server)->calls,                                 \
	    "Calls that a handler owes an answer.")                            \
	X(GAUGE, connections, "rbd_csi_grpc_connections",                      \
	    server_counters(su.server)->connections, "Open connections.")      \
	X(COUNTER, accepted, "rbd_csi_grpc_connections_accepted_total",        \
	    server_counters(su.server)->connections_accepted,                  \
	    "Connections since the start.")                                    \
	X(COUNTER, streams_refused, "rbd_csi_grpc_streams_refused_total",      \
	    server_counters(su.server)->streams_refused,                       \
	    "Streams that were one too many.")                                 \
	X(COUNTER, received, "rbd_csi_grpc_received_bytes_total",              \
	    server_counters(su.server)->bytes_in, "Bytes that came.")          \
	X(COUNTER, sent, "rbd_csi_grpc_sent_bytes_total",                      \
	    server_counters(su.server)->bytes_out, "Bytes that were sent.")    \
	X(GAUGE, buffered, "rbd_csi_grpc_buffered_bytes",                      \
	    server_counters(su.server)->buffered_bytes,                        \
	    "Requests and answers that are held now.")                         \
	X(GAUGE, requests_waiting, "rbd_csi_requests_waiting",                 \
	    requests_stats().waiting, "Requests that wait for their lock.")    \
	X(GAUGE, requests_orphaned, "rbd_csi_requests_orphaned",               \
	    requests_stats().orphaned,                                         \
	    "Requests that go on without a caller.")                           \
	X(COUNTER, requests_started, "rbd_csi_requests_started_total",         \
	    requests_stats().started, "Requests that were started.")           \
	X(COUNTER, requests_joined, "rbd_csi_requests_joined_total",           \
	    requests_stats().joined,                                           \
	    "Calls that joined a request which was the same.")                 \
	X(COUNTER, requests_refused, "rbd_csi_requests_refused_total",         \
	    requests_stats().refused,                                          \
	    "Calls that were refused because of --max-requests.")              \
	X(COUNTER, worker_failures, "rbd_csi_worker_failures_total",           \
	    sessions_stats().failures,                                         \
	    "Workers that died, hung, were shut out or could not connect.")    \
	X(GAUGE, offload_running, "rbd_csi_offload_children_running",          \
	    offload_stats().running, "Children for blocking system calls.")    \
	X(GAUGE, offload_stuck, "rbd_csi_offload_children_stuck",              \
	    offload_stats().stuck,                                             \
	    "Children that are past their time and cannot be killed.")         \
	X(COUNTER, offload_forks, "rbd_csi_offload_forks_total",               \
	    offload_stats().forks, "Children that were started.")              \
	X(COUNTER, execs, "rbd_csi_tool_execs_total", tool_execs(),            \
	    "Programs that were started, such as mkfs.")                       \
	X(GAUGE, config_current, "rbd_csi_config_last_reload_successful",      \
	    su.config != NULL && config_state(su.config).is_current,           \
	    "1 if the newest config.json is in use.")                          \
	X(GAUGE, config_read,                                                  \
	    "rbd_csi_config_last_reload_success_timestamp_seconds",            \
	    su.config != NULL ? (double)config_state(su.config).read_ms / 1000 \
			      : 0,                                             \
	    "When a good config.json was read last, since 1970.")              \
	X(GAUGE, config_clusters, "rbd_csi_config_clusters",                   \
	    su.config != NULL ? config_state(su.config).count : 0,             \
	    "Clusters of config.json that can be used.")                       \
	X(GAUGE, io_in_flight, "rbd_csi_userspace_requests_in_flight",         \
	    attach_session_io().in_flight,                                     \
	    "Requests of the kernel that rbd-attachd has.")                    \
	X(COUNTER, takeovers, "rbd_csi_userspace_takeovers_total",             \
	    attach_session_io().takeovers,                                     \
	    "Times that an rbd-attachd took the place of another.")            \
	X(COUNTER, fences, "rbd_csi_userspace_fences_total",                   \
	    attach_session_io().fences,                                        \
	    "Predecessors that were shut out of their cluster.")

#define READER(kind, id, name, value, help)                                    \
	static void read_##id(struct metric_reading *reading)                  \
	{                                                                      \
		metric_tell(reading, (double)(value), NULL);                   \
	}
NUMBERS(READER)

static void
read_faults(struct metric_reading *reading)
{
	const struct server_counters *counters = server_counters(su.server);

	for (int i = 0; i < SERVER_FAULT_COUNT; i++)
		tell_of(
		    reading, server_fault_name[i], (double)counters->faults[i]);
}

static void
read_refusals(struct metric_reading *reading)
{
	const struct server_counters *counters = server_counters(su.server);

	for (int i = 0; i < SERVER_REFUSED_COUNT; i++)
		tell_of(reading, server_refusal_name[i],
		    (double)counters->refusals[i]);
}

/* ---- requests, by method ---------------------------------------------------- */

struct by_method {
	unsigned running;
	int64_t oldest_ms;
};

static void
count_by_method(struct by_method of[CSI_CLIENT_COUNT])
{
	memset(of, 0, CSI_CLIENT_COUNT * sizeof(*of));
	for (const struct op *op = op_next(NULL); op != NULL;
	     op = op_next(op)) {
		const struct request *r = request_of(op);
		struct by_method *m;

		if (r == NULL)
			continue;
		m = &of[csi_definition_id(r->in.def)];
		m->running++;
		if (m->oldest_ms < op_age_ms(op))
			m->oldest_ms = op_age_ms(op);
	}
}

/* Those that run as requests here. */
static bool
is_request(const struct csi_definition *def)
{
	return def->place != CSI_INSTANT &&
	    csi_is_served_with(def, &su.serving);
}

static void
read_running(struct metric_reading *reading)
{
	struct by_method of[CSI_CLIENT_COUNT];

	count_by_method(of);
	for (size_t i = 0; i < CSI_CLIENT_COUNT; i++)
		if (is_request(&csi_definitions[i]))
			tell_of(
			    reading, csi_definitions[i].path, of[i].running);
}

static void
read_oldest(struct metric_reading *reading)
{
	struct by_method of[CSI_CLIENT_COUNT];

	count_by_method(of);
	for (size_t i = 0; i < CSI_CLIENT_COUNT; i++)
		if (is_request(&csi_definitions[i]))
			tell_of(reading, csi_definitions[i].path,
			    (double)of[i].oldest_ms / 1000);
}

/* ---- Ceph sessions ----------------------------------------------------------- */

/* By the cluster that made them; the last row is that of "other". */
static void
read_sessions(struct metric_reading *reading)
{
	struct {
		const char *name;
		unsigned n[SESSION_STATE_COUNT];
	} of[CLUSTERS_MAX + 1] = { { .name = NULL } };
	struct session_info s;
	size_t count = 0;

	for (size_t i = 0; sessions_at(i, &s); i++) {
		size_t at = 0;

		while (at < count && !str_eq(of[at].name, s.cluster_id))
			at++;
		if (at == count && count < CLUSTERS_MAX)
			of[count++].name = s.cluster_id;
		of[at].n[s.state_is]++;
	}
	of[CLUSTERS_MAX].name = "other";
	for (size_t i = 0; i <= count && i <= CLUSTERS_MAX; i++)
		for (int j = 0; of[i].name != NULL && j < SESSION_STATE_COUNT;
		     j++) {
			const char *const values[] = { of[i].name,
				sessions_state_name((enum peer_state)j) };

			metric_tell(reading, of[i].n[j], values);
		}
}

static void
read_purges(struct metric_reading *reading)
{
	struct sessions_purges purges = sessions_stats().purges;

	tell_of(reading, "running", purges.running);
	tell_of(reading, "waiting", purges.waiting);
	tell_of(reading, "blocked", purges.blocked);
}

static void
read_purges_ended(struct metric_reading *reading)
{
	struct sessions_purges purges = sessions_stats().purges;

	tell_of(reading, "done", (double)purges.done);
	tell_of(reading, "failed", (double)purges.failed);
}

static void
read_flattens(struct metric_reading *reading)
{
	struct sessions_flattens flattens = sessions_stats().flattens;

	tell_of(reading, "running", flattens.running);
	tell_of(reading, "waiting", flattens.waiting);
}

static void
read_flattens_ended(struct metric_reading *reading)
{
	struct sessions_flattens flattens = sessions_stats().flattens;

	tell_of(reading, "done", (double)flattens.done);
	tell_of(reading, "failed", (double)flattens.failed);
}

/* ---- volumes and their I/O ----------------------------------------------------- */

static void
read_attached(struct metric_reading *reading)
{
	const struct mapper *mapper;

	for (size_t i = 0; (mapper = mapper_at(i)) != NULL; i++)
		if (mapper->attached != NULL)
			tell_of(reading, mapper->name, mapper->attached());
}

static void
read_io_seconds(struct metric_reading *reading)
{
	struct userspace_io sum = attach_session_io();

	for (int i = 0; i < TABLE_IO_KINDS; i++) {
		const char *const values[] = { table_io_name(
		    (enum table_io_kind)i) };

		metric_tell_histogram(reading, sum.kind[i].in_bucket,
		    (double)sum.kind[i].us / 1e6, values);
	}
}

static void
read_io_bytes(struct metric_reading *reading)
{
	struct userspace_io sum = attach_session_io();

	for (int i = 0; i < TABLE_IO_KINDS; i++)
		tell_of(reading, table_io_name((enum table_io_kind)i),
		    (double)sum.kind[i].bytes);
}

static void
read_io_failures(struct metric_reading *reading)
{
	struct userspace_io sum = attach_session_io();

	for (int i = 0; i < TABLE_IO_KINDS; i++)
		tell_of(reading, table_io_name((enum table_io_kind)i),
		    (double)sum.kind[i].failures);
}

/* ---- what is bounded, how much of it is used, and how much there may be -------- */

static double
descriptors(bool max)
{
	struct process_use use = { .processes = 0 };
	struct rlimit files = { .rlim_cur = 0 };

	if (max)
		(void)getrlimit(RLIMIT_NOFILE, &files);
	else
		process_use_add(&use, getpid());
	return max ? (double)files.rlim_cur : (double)use.descriptors;
}

#define BOUNDED(X)                                                             \
	X("grpc-connections", server_counters(su.server)->connections,         \
	    server_limits(su.server)->connections)                             \
	X("grpc-calls", server_counters(su.server)->calls,                     \
	    server_limits(su.server)->calls)                                   \
	X("grpc-buffered-bytes", server_counters(su.server)->buffered_bytes,   \
	    server_limits(su.server)->buffered_bytes)                          \
	X("requests", requests_stats().running, requests_stats().max)          \
	X("request-bytes", requests_stats().large_bytes,                       \
	    requests_stats().large_bytes_max)                                  \
	X("workers", sessions_stats().workers, SESSIONS_WORKERS_MAX)           \
	X("lanes", sessions_stats().lanes_most, sessions_stats().lanes_max)    \
	X("offload-children", offload_stats().running - offload_stats().slow,  \
	    offload_stats().max)                                               \
	X("userspace-images", attach_session_io().images_most, TABLE_SLOTS)    \
	X("descriptors", descriptors(false), descriptors(true))

static void
read_used(struct metric_reading *reading)
{
#define USED(name, used, limit) tell_of(reading, name, (double)(used));
	BOUNDED(USED)
}

static void
read_limits(struct metric_reading *reading)
{
#define LIMIT(name, used, limit) tell_of(reading, name, (double)(limit));
	BOUNDED(LIMIT)
}

/* ---- processes ------------------------------------------------------------------ */

static const char *const program[PROGRAMS] = { "rbd-csid", "ceph-worker",
	"ceph-lane", "rbd-attachd" };

static void
add_lane(pid_t pid, void *arg)
{
	process_use_add(arg, pid);
}

/* Lanes are children of their workers. */
static void
add_process(const char *name, pid_t pid, void *arg)
{
	struct process_use *use = arg;

	for (int i = 0; i < PROGRAMS; i++)
		if (str_eq(name, program[i]))
			process_use_add(&use[i], pid);
	if (str_eq(name, program[1]))
		process_each_child(pid, add_lane, &use[2]);
}

static void
use_processes(struct process_use use[PROGRAMS])
{
	memset(use, 0, PROGRAMS * sizeof(*use));
	process_use_add(&use[0], getpid());
	peer_each_process(add_process, use);
}

static void
read_processes(struct metric_reading *reading)
{
	struct process_use use[PROGRAMS];

	use_processes(use);
	for (int i = 0; i < PROGRAMS; i++)
		tell_of(reading, program[i], use[i].processes);
}

static void
read_memory(struct metric_reading *reading)
{
	struct process_use use[PROGRAMS];

	use_processes(use);
	for (int i = 0; i < PROGRAMS; i++)
		tell_of(reading, program[i], (double)use[i].resident_bytes);
}

static void
read_descriptors(struct metric_reading *reading)
{
	struct process_use use[PROGRAMS];

	use_processes(use);
	for (int i = 0; i < PROGRAMS; i++)
		tell_of(reading, program[i], (double)use[i].descriptors);
}

static void
read_starts(struct metric_reading *reading)
{
	struct sessions_stats stats = sessions_stats();

	tell_of(reading, program[0], 1);
	tell_of(reading, program[1], (double)stats.worker_starts);
	tell_of(reading, program[2], (double)stats.lane_starts);
	tell_of(reading, program[3], (double)attach_session_io().starts);
}

/* ---- the list -------------------------------------------------------------------- */

#define ROW(kind_, id, name_, value, help_)                                    \
	{ .name = name_,                                                       \
		.help = help_,                                                 \
		.kind = METRIC_##kind_,                                        \
		.read = read_##id },
/* The same with one label. */
#define LABELLED(kind_, id, name_, label_, max_, help_)                        \
	{                                                                      \
		.name = name_, .help = help_, .kind = METRIC_##kind_,          \
		.label = { label_ }, .max = max_, .read = read_##id            \
	}

static double io_bounds[TABLE_IO_BOUNDS];

static struct metric now[] = {
	NUMBERS(ROW) LABELLED(COUNTER, faults, "rbd_csi_grpc_peer_faults_total",
	    "reason", SERVER_FAULT_COUNT,
	    "Connections that were ended for what their peer did."),
	LABELLED(COUNTER, refusals, "rbd_csi_grpc_refusals_total", "reason",
	    SERVER_REFUSED_COUNT,
	    "Calls that were refused before a handler saw them."),
	LABELLED(GAUGE, running, "rbd_csi_requests_running", "method",
	    CSI_CLIENT_COUNT, "Requests that run or wait for a lock."),
	LABELLED(GAUGE, oldest, "rbd_csi_requests_oldest_seconds", "method",
	    CSI_CLIENT_COUNT, "Age of the oldest request, 0 without any."),
	{
	    .name = "rbd_csi_worker_sessions",
	    .help = "Ceph sessions by cluster and state.",
	    .kind = METRIC_GAUGE,
	    .label = { "cluster", "state" },
	    .max = (CLUSTERS_MAX + 1) * SESSION_STATE_COUNT,
	    .read = read_sessions,
	},
	LABELLED(GAUGE, purges, "rbd_csi_purges", "state", 3,
	    "Images of deleted volumes that are to be purged."),
	LABELLED(COUNTER, purges_ended, "rbd_csi_purges_ended_total", "result",
	    2, "Images that were purged, and tries that have failed."),
	LABELLED(GAUGE, flattens, "rbd_csi_flattens", "state", 2,
	    "Clones that are to be flattened."),
	LABELLED(COUNTER, flattens_ended, "rbd_csi_flattens_ended_total",
	    "result", 2,
	    "Clones that were flattened, and tries that have failed."),
	LABELLED(GAUGE, attached, "rbd_csi_images_attached", "mapper", 8,
	    "Images that are attached to this node."),
	{
	    .name = "rbd_csi_userspace_request_duration_seconds",
	    .help = "Requests of the kernel, from arrival to answer.",
	    .kind = METRIC_HISTOGRAM,
	    .label = { "operation" },
	    .max = TABLE_IO_KINDS,
	    .bound = io_bounds,
	    .bound_count = TABLE_IO_BOUNDS,
	    .read = read_io_seconds,
	},
	LABELLED(COUNTER, io_bytes, "rbd_csi_userspace_bytes_total",
	    "operation", TABLE_IO_KINDS, "Bytes of these requests."),
	LABELLED(COUNTER, io_failures,
	    "rbd_csi_userspace_request_failures_total", "operation",
	    TABLE_IO_KINDS, "Requests that were answered with an error."),
	LABELLED(GAUGE, used, "rbd_csi_used", "resource", 16,
	    "How much is used of what is bounded."),
	LABELLED(GAUGE, limits, "rbd_csi_limit", "resource", 16,
	    "How much there may be of it."),
	LABELLED(GAUGE, processes, "rbd_csi_processes", "program", PROGRAMS,
	    "Processes that run."),
	LABELLED(GAUGE, memory, "rbd_csi_processes_resident_memory_bytes",
	    "program", PROGRAMS, "Memory that is resident, of all of them."),
	LABELLED(GAUGE, descriptors, "rbd_csi_processes_open_fds", "program",
	    PROGRAMS, "Descriptors that are open in all of them."),
	LABELLED(COUNTER, starts, "rbd_csi_process_starts_total", "program",
	    PROGRAMS, "Processes that were started."),
};

void
metrics_now_add(const struct metrics_setup *setup)
{
	su = *setup;
	for (int i = 0; i < TABLE_IO_BOUNDS; i++)
		io_bounds[i] = (double)table_io_bounds_us[i] / 1e6;
	for (size_t i = 0; i < countof(now); i++)
		metrics_add(&now[i]);
}
