/*
 * metrics.c - the metrics of rbd-csid. What others count already is read when
 * somebody asks; only calls and the loop's lag are counted here.
 */
#include "daemon/metrics.h"

#include "base/clock.h"
#include "base/map.h"
#include "core/child.h"
#include "core/offload.h"
#include "core/timer.h"
#include "csi/definitions.h"
#include "daemon/drain.h"
#include "daemon/request.h"
#include "daemon/sessions.h"
#include "obs/metrics.h"

#include <assert.h>
#include <string.h>

#define CODES (ERR_UNAUTHENTICATED + 1)
#define METHODS_MAX 64 /* all that are served, and "other" */
#define LAG_EVERY_MS 1000

/* From an answer out of memory to an operation on a sick cluster. */
static const double call_bounds[] = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
	0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600 };
static const double lag_bounds[] = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
	0.1, 0.25, 0.5, 1, 5 };

/* The series of one method, made when it first ends with that code. */
struct method_series {
	char *path;
	struct metric_series *calls[CODES], *seconds[CODES];
};

static struct {
	struct server *server;
	struct http *http;
	struct map methods; /* path -> struct method_series */
	struct method_series method[METHODS_MAX];
	unsigned method_count;
	struct timer lag_timer;
	struct metric_series *lag;
} mt;

/* ---- read when somebody asks --------------------------------------------- */

static void
tell_of(struct metric_reading *reading, const char *label, double value)
{
	const char *const values[] = { label };

	metric_tell(reading, value, values);
}

static struct requests_stats
requests(void)
{
	struct requests_stats stats;

	requests_stats(&stats);
	return stats;
}

static struct sessions_stats
sessions(void)
{
	struct sessions_stats stats;

	sessions_stats(&stats);
	return stats;
}

/* Kind, id, name, value, help: what is but one number. */
#define NUMBERS(X)                                                             \
	X(GAUGE, alive, "csi_liveness", !drain_is_started(),                   \
	    "1, or 0 while the daemon drains; as ceph-csi names it.")          \
	X(GAUGE, calls, "rbd_csi_grpc_calls_running",                          \
	    server_counters(mt.server)->calls,                                 \
	    "Calls that a handler owes an answer.")                            \
	X(GAUGE, connections, "rbd_csi_grpc_connections",                      \
	    server_counters(mt.server)->connections, "Open connections.")      \
	X(COUNTER, accepted, "rbd_csi_grpc_connections_accepted_total",        \
	    server_counters(mt.server)->connections_accepted,                  \
	    "Connections since the start.")                                    \
	X(COUNTER, streams_refused, "rbd_csi_grpc_streams_refused_total",      \
	    server_counters(mt.server)->streams_refused,                       \
	    "Streams that were one too many.")                                 \
	X(COUNTER, received, "rbd_csi_grpc_received_bytes_total",              \
	    server_counters(mt.server)->bytes_in, "Bytes that came.")          \
	X(COUNTER, sent, "rbd_csi_grpc_sent_bytes_total",                      \
	    server_counters(mt.server)->bytes_out, "Bytes that were sent.")    \
	X(GAUGE, buffered, "rbd_csi_grpc_buffered_bytes",                      \
	    server_counters(mt.server)->buffered_bytes,                        \
	    "Requests and answers that are held now.")                         \
	X(GAUGE, requests_running, "rbd_csi_requests_running",                 \
	    requests().running,                                                \
	    "Node and Controller requests that run or wait for a lock.")       \
	X(GAUGE, requests_waiting, "rbd_csi_requests_waiting",                 \
	    requests().waiting, "Requests that wait for their lock.")          \
	X(GAUGE, requests_orphaned, "rbd_csi_requests_orphaned",               \
	    requests().orphaned, "Requests that go on without a caller.")      \
	X(GAUGE, requests_oldest, "rbd_csi_requests_oldest_seconds",           \
	    (double)requests().oldest_ms / 1000,                               \
	    "Age of the oldest request, 0 without any.")                       \
	X(COUNTER, requests_started, "rbd_csi_requests_started_total",         \
	    requests().started, "Requests that were started.")                 \
	X(COUNTER, requests_joined, "rbd_csi_requests_joined_total",           \
	    requests().joined,                                                 \
	    "Calls that joined a request which was the same.")                 \
	X(COUNTER, requests_refused, "rbd_csi_requests_refused_total",         \
	    requests().refused,                                                \
	    "Calls that were refused because of --max-requests.")              \
	X(COUNTER, lock_waits, "rbd_csi_lock_waits_total", requests().waits,   \
	    "Requests that found their lock taken.")                           \
	X(COUNTER, lock_waited, "rbd_csi_lock_wait_seconds_total",             \
	    (double)requests().waited_ms / 1000,                               \
	    "How long they waited for it.")                                    \
	X(COUNTER, worker_starts, "rbd_csi_worker_starts_total",               \
	    sessions().worker_starts,                                          \
	    "Processes ceph-worker that were started.")                        \
	X(COUNTER, worker_failures, "rbd_csi_worker_failures_total",           \
	    sessions().failures,                                               \
	    "Those that died, hung, were shut out or could not connect.")      \
	X(GAUGE, offload_running, "rbd_csi_offload_children_running",          \
	    offload_running(), "Children for blocking system calls.")          \
	X(GAUGE, offload_stuck, "rbd_csi_offload_children_stuck",              \
	    offload_stuck(),                                                   \
	    "Children that are past their time and cannot be killed.")         \
	X(COUNTER, offload_forks, "rbd_csi_offload_forks_total",               \
	    offload_forks(), "Children that were started.")                    \
	X(COUNTER, execs, "rbd_csi_tool_execs_total", tool_execs(),            \
	    "Programs that were started, such as mkfs.")

#define READER(kind, id, name, value, help)                                    \
	static void read_##id(struct metric_reading *reading)                  \
	{                                                                      \
		metric_tell(reading, (double)(value), NULL);                   \
	}
NUMBERS(READER)

static void
read_faults(struct metric_reading *reading)
{
	const struct server_counters *counters = server_counters(mt.server);

	for (int i = 0; i < SERVER_FAULT_COUNT; i++)
		tell_of(
		    reading, server_fault_name[i], (double)counters->faults[i]);
}

static void
read_refusals(struct metric_reading *reading)
{
	const struct server_counters *counters = server_counters(mt.server);

	for (int i = 0; i < SERVER_REFUSED_COUNT; i++)
		tell_of(reading, server_refusal_name[i],
		    (double)counters->refusals[i]);
}

static void
read_sessions(struct metric_reading *reading)
{
	struct sessions_stats stats = sessions();

	for (int i = 0; i < SESSION_STATE_COUNT; i++)
		tell_of(reading, sessions_state_name((enum peer_state)i),
		    (double)stats.in_state[i]);
}

static void
read_purges(struct metric_reading *reading)
{
	struct sessions_stats stats = sessions();

	tell_of(reading, "running", (double)stats.purges.running);
	tell_of(reading, "waiting", (double)stats.purges.waiting);
	tell_of(reading, "blocked", (double)stats.purges.blocked);
}

static void
read_flattens(struct metric_reading *reading)
{
	struct sessions_stats stats = sessions();

	tell_of(reading, "running", (double)stats.flattens.running);
	tell_of(reading, "waiting", (double)stats.flattens.waiting);
}

static void
read_flattens_ended(struct metric_reading *reading)
{
	struct sessions_stats stats = sessions();

	tell_of(reading, "done", (double)stats.flattens.done);
	tell_of(reading, "failed", (double)stats.flattens.failed);
}

/* ---- the list ------------------------------------------------------------ */

static struct metric calls_total = {
	.name = "rbd_csi_grpc_calls_total",
	.help = "Calls that have ended.",
	.kind = METRIC_COUNTER,
	.label = { "method", "code" },
	.max = METHODS_MAX * CODES,
};

static struct metric call_seconds = {
	.name = "rbd_csi_grpc_call_duration_seconds",
	.help = "From the headers of a call to its status.",
	.kind = METRIC_HISTOGRAM,
	.label = { "method", "code" },
	.max = METHODS_MAX * CODES,
	.bound = call_bounds,
	.bound_count = countof(call_bounds),
};

static struct metric loop_lag = {
	.name = "rbd_csi_loop_lag_seconds",
	.help = "How late a timer of the event loop was, once a second.",
	.kind = METRIC_HISTOGRAM,
	.bound = lag_bounds,
	.bound_count = countof(lag_bounds),
};

static struct metric build_info = {
	.name = "rbd_csi_build_info",
	.help = "Always 1.",
	.kind = METRIC_GAUGE,
	.label = { "version" },
	.max = 2,
};

#define ROW(kind_, id, name_, value, help_)                                    \
	{ .name = name_,                                                       \
		.help = help_,                                                 \
		.kind = METRIC_##kind_,                                        \
		.read = read_##id },
static struct metric others[] = {
	NUMBERS(ROW){
	    .name = "rbd_csi_grpc_peer_faults_total",
	    .help = "Connections that were ended for what their peer did.",
	    .kind = METRIC_COUNTER,
	    .label = { "reason" },
	    .max = SERVER_FAULT_COUNT,
	    .read = read_faults,
	},
	{
	    .name = "rbd_csi_grpc_refusals_total",
	    .help = "Calls that were refused before a handler saw them.",
	    .kind = METRIC_COUNTER,
	    .label = { "reason" },
	    .max = SERVER_REFUSED_COUNT,
	    .read = read_refusals,
	},
	{
	    .name = "rbd_csi_worker_sessions",
	    .help = "Ceph sessions by state.",
	    .kind = METRIC_GAUGE,
	    .label = { "state" },
	    .max = SESSION_STATE_COUNT,
	    .read = read_sessions,
	},
	{
	    .name = "rbd_csi_purges",
	    .help = "Images of deleted volumes that are to be purged.",
	    .kind = METRIC_GAUGE,
	    .label = { "state" },
	    .max = 3,
	    .read = read_purges,
	},
	{
	    .name = "rbd_csi_flattens",
	    .help = "Clones that are to be flattened.",
	    .kind = METRIC_GAUGE,
	    .label = { "state" },
	    .max = 2,
	    .read = read_flattens,
	},
	{
	    .name = "rbd_csi_flattens_ended_total",
	    .help = "Clones that were flattened, and tries that have failed.",
	    .kind = METRIC_COUNTER,
	    .label = { "result" },
	    .max = 2,
	    .read = read_flattens_ended,
	},
};

/* ---- counted here -------------------------------------------------------- */

/* Takes `path` over. */
static void
add_method(char *path)
{
	struct method_series *method = &mt.method[mt.method_count++];

	assert(mt.method_count < METHODS_MAX); /* the last is "other" */
	method->path = path;
	(void)map_set(&mt.methods, path, method);
}

/* Those of CSI, and those of the router's own services. */
static void
add_methods(const struct router *router)
{
	for (size_t i = 0; i < CSI_CLIENT_COUNT; i++)
		add_method(str_dup(csi_definitions[i].path));
	for (size_t i = 0; i < router->service_count; i++) {
		const struct rpc_service *sv = router->services[i];

		for (size_t j = 0; j < sv->method_count; j++)
			add_method(
			    str_fmt("/%s/%s", sv->name, sv->methods[j].name));
	}
	mt.method[METHODS_MAX - 1].path = str_dup("other");
}

void
metrics_call_ended(const char *path, enum err_code code, int64_t us)
{
	struct method_series *method;
	unsigned i = (unsigned)code < CODES ? code : ERR_UNKNOWN;

	if (mt.http == NULL)
		return;
	method = map_get(&mt.methods, path);
	if (method == NULL)
		method = &mt.method[METHODS_MAX - 1];
	if (method->calls[i] == NULL) {
		const char *const values[] = { method->path,
			err_code_name((enum err_code)i) };

		method->calls[i] = metric_series(&calls_total, values);
		method->seconds[i] = metric_series(&call_seconds, values);
	}
	metric_add(method->calls[i], 1);
	metric_observe(method->seconds[i], (double)us / 1e6);
}

static void
on_lag_timer(struct timer *timer)
{
	metric_observe(mt.lag, (double)(clock_now_ms() - timer->due_ms) / 1000);
	timer_arm(timer, LAG_EVERY_MS);
}

/* ---- serving ------------------------------------------------------------- */

static int
get_healthz(struct buf *body)
{
	bool draining = drain_is_started();

	if (buf_printf(body, "%s\n", draining ? "draining" : "ok") < 0)
		return 500;
	return draining ? 503 : 200;
}

static const struct http_route routes[] = {
	{ "/metrics", METRICS_TYPE, metrics_get },
	{ "/healthz", "text/plain; charset=utf-8", get_healthz },
};

int
metrics_begin(const struct metrics_setup *setup, struct err *err)
{
	const char *const version[] = { setup->version };

	memset(&mt, 0, sizeof(mt));
	if (*setup->address == '\0')
		return 0;
	mt.http = http_serve(
	    setup->address, &setup->file, routes, countof(routes), err);
	if (mt.http == NULL) {
		err_prefix(err, "--metrics-address=%s", setup->address);
		return err->rc;
	}
	mt.server = setup->server;
	add_methods(setup->router);
	metrics_add(&build_info);
	metric_set(metric_series(&build_info, version), 1);
	metrics_add(&calls_total);
	metrics_add(&call_seconds);
	metrics_add(&loop_lag);
	mt.lag = metric_series(&loop_lag, NULL);
	for (size_t i = 0; i < countof(others); i++)
		metrics_add(&others[i]);
	process_metrics_add();
	mt.lag_timer.fire = on_lag_timer;
	timer_arm(&mt.lag_timer, LAG_EVERY_MS);
	return 0;
}

void
metrics_stop(void)
{
	if (mt.http == NULL)
		return;
	timer_disarm(&mt.lag_timer);
	http_free(mt.http);
	mt.http = NULL;
	metrics_fini();
	map_fini(&mt.methods);
	for (size_t i = 0; i < METHODS_MAX; i++)
		free(mt.method[i].path);
}
