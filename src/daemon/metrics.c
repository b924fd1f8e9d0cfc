/*
 * metrics.c - the metrics of rbd-csid that are counted here: calls, the states
 * and lock waits of requests, the loop's lag; and what is served beside them.
 */
#include "daemon/metrics.h"

#include "base/clock.h"
#include "base/map.h"
#include "core/offload.h"
#include "core/timer.h"
#include "daemon/drain.h"
#include "daemon/request.h"
#include "daemon/sessions.h"
#include "daemon/status_page.h"
#include "obs/metrics.h"
#include "obs/process.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define CODES (ERR_UNAUTHENTICATED + 1)
#define METHODS_MAX 64 /* all that are served, and "other" */
#define STATES_MAX 1024
#define LAG_EVERY_MS 1000

/* From an answer out of memory to an operation on a sick cluster. */
static const double call_bounds[] = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
	0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600 };
static const double wait_bounds[] = { 0.01, 0.1, 0.5, 1, 5, 15, 60, 300 };
static const double lag_bounds[] = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
	0.1, 0.25, 0.5, 1, 5 };

/* What a call usually ends with: counted from 0 on, so that nothing is new. */
static const enum err_code usual[] = { ERR_OK, ERR_CANCELLED,
	ERR_INVALID_ARGUMENT, ERR_DEADLINE_EXCEEDED, ERR_NOT_FOUND,
	ERR_RESOURCE_EXHAUSTED, ERR_FAILED_PRECONDITION, ERR_ABORTED,
	ERR_INTERNAL, ERR_UNAVAILABLE, ERR_UNAUTHENTICATED };

struct method_series {
	char *path;
	bool streams; /* how long it takes is up to its client */
	struct metric_series *calls[CODES], *seconds;
	struct map states; /* name -> struct metric_series */
};

static struct {
	struct http *http;
	struct map methods; /* path -> struct method_series */
	struct method_series method[METHODS_MAX]; /* by csi_id, then others */
	unsigned method_count;
	struct status_page page;
	struct timer lag_timer;
	struct metric_series *lag, *waits;
} mt;

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
	.label = { "method" },
	.max = METHODS_MAX,
	.bound = call_bounds,
	.bound_count = countof(call_bounds),
};

static struct metric state_seconds = {
	.name = "rbd_csi_request_state_seconds",
	.help = "How long requests were in each of their states.",
	.kind = METRIC_SUMMARY,
	.label = { "method", "state" },
	.max = STATES_MAX,
};

static struct metric lock_waits = {
	.name = "rbd_csi_lock_wait_seconds",
	.help = "How long requests waited that found their lock taken.",
	.kind = METRIC_HISTOGRAM,
	.bound = wait_bounds,
	.bound_count = countof(wait_bounds),
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
	.label = { "version", "commit", "librados" },
	.max = 2,
};

/* ---- counted here -------------------------------------------------------- */

static void
count_call(struct method_series *method, enum err_code code, double n)
{
	struct metric_series **series = &method->calls[code];

	if (*series == NULL)
		*series = metric_series(&calls_total,
		    (const char *const[]){ method->path, err_code_name(code) });
	metric_add(*series, n);
}

/* Takes `path` over; `codes` of the usual ones are told from now on. */
static void
add_method(char *path, bool streams, size_t codes)
{
	struct method_series *method = &mt.method[mt.method_count++];

	assert(mt.method_count < METHODS_MAX); /* the last is "other" */
	method->path = path;
	method->streams = streams;
	(void)map_set(&mt.methods, path, method);
	for (size_t i = 0; i < codes; i++)
		count_call(method, usual[i], 0);
}

/* Those of CSI, and those of the router's own services. */
static void
add_methods(const struct router *router, const struct csi_serving *serving)
{
	for (size_t i = 0; i < CSI_CLIENT_COUNT; i++) {
		const struct csi_definition *def = &csi_definitions[i];

		add_method(str_dup(def->path), def->stream,
		    !csi_is_served_with(def, serving) ? 0
			: def->place == CSI_INSTANT   ? 1
						      : countof(usual));
	}
	for (size_t i = 0; i < router->service_count; i++) {
		const struct rpc_service *sv = router->services[i];

		for (size_t j = 0; j < sv->method_count; j++)
			add_method(
			    str_fmt("/%s/%s", sv->name, sv->methods[j].name),
			    sv->methods[j].client_streams ||
				sv->methods[j].server_streams,
			    1);
	}
	mt.method[METHODS_MAX - 1].path = str_dup("other");
}

void
metrics_call_ended(
    const char *path, const void *def, enum err_code code, int64_t us)
{
	struct method_series *method;

	if (mt.http == NULL)
		return;
	method = def != NULL ? &mt.method[csi_definition_id(def)]
			     : map_get(&mt.methods, path);
	if (method == NULL)
		method = &mt.method[METHODS_MAX - 1];
	count_call(method, (unsigned)code < CODES ? code : ERR_UNKNOWN, 1);
	if (method->streams)
		return;
	if (method->seconds == NULL)
		method->seconds = metric_series(
		    &call_seconds, (const char *const[]){ method->path });
	metric_observe(method->seconds, (double)us / 1e6);
}

void
metrics_lock_waited(int64_t ms)
{
	if (mt.http != NULL)
		metric_observe(mt.waits, (double)ms / 1000);
}

static struct metric_series *
state_series(struct method_series *method, const char *state)
{
	struct metric_series *series = map_get(&method->states, state);

	if (series == NULL) {
		series = metric_series(&state_seconds,
		    (const char *const[]){ method->path, state });
		if (method->states.used < STATES_MAX)
			(void)map_set(&method->states, state, series);
	}
	return series;
}

/* Of "12.3", as op_trail_put() writes it, in seconds; strtod() takes longer. */
static double
seconds_of(const char *ms)
{
	int64_t tenths = 0;

	for (; *ms != '\0'; ms++)
		if (*ms != '.')
			tenths = tenths * 10 + (*ms - '0');
	return (double)tenths / 1e4;
}

/* Its states are "STATE:ms,STATE:ms", as the log has them. */
void
metrics_request_ended(const struct request *r)
{
	char states[SESSION_STATES_MAX], *rest = states, *state, *ms;

	if (mt.http == NULL)
		return;
	memcpy(states, r->states, sizeof(states));
	while ((state = strsep(&rest, ",")) != NULL &&
	    (ms = strchr(state, ':')) != NULL) {
		*ms++ = '\0';
		metric_observe(
		    state_series(
			&mt.method[csi_definition_id(r->in.def)], state),
		    seconds_of(ms));
	}
}

static void
on_lag_timer(struct timer *timer)
{
	metric_observe(mt.lag, (double)(clock_now_ms() - timer->due_ms) / 1000);
	timer_arm(timer, LAG_EVERY_MS);
}

/* ---- serving ------------------------------------------------------------- */

/*
 * Who gets an answer here knows that the daemon does not hang, whatever its
 * clusters do: what hangs is told, and no reason to restart it.
 */
static int
get_healthz(struct buf *body)
{
	bool draining = drain_is_started();
	struct requests_stats requests;
	struct session_info s;
	int rc = buf_printf(body, "%s\n", draining ? "draining" : "ok");

	for (size_t i = 0; rc == 0 && sessions_at(i, &s); i++)
		if (s.state_is != PEER_UP && (s.waiting > 0 || s.failures > 0))
			rc = buf_printf(body,
			    "cluster %s: %s for %lld s, %zu requests wait\n",
			    s.cluster_id, s.state, (long long)s.state_ms / 1000,
			    s.waiting);
	requests = requests_stats();
	if (rc == 0 && mt.page.slow_ms > 0 &&
	    requests.oldest_ms >= mt.page.slow_ms)
		rc = buf_printf(body,
		    "requests: %zu run, the oldest for %lld s\n",
		    requests.running, (long long)requests.oldest_ms / 1000);
	if (rc == 0 && offload_stats().stuck > 0)
		rc = buf_printf(body, "kernel: %u system calls hang\n",
		    offload_stats().stuck);
	return rc < 0 ? 500 : draining ? 503 : 200;
}

static void
put_latency(struct buf *out)
{
	bool is_empty = true;

	status_page_table(out, "Calls", "RPC|#calls|#half within|#99 % within");
	for (unsigned i = 0; i < METHODS_MAX; i++) {
		const struct method_series *m = &mt.method[i];
		double half = 0, most = 0;
		uint64_t count;

		if (m->seconds == NULL)
			continue;
		is_empty = false;
		count = metric_quantile(m->seconds, 0.5, &half);
		(void)metric_quantile(m->seconds, 0.99, &most);
		(void)buf_printf(out, "<tr>");
		status_page_cell(out, m->path);
		status_page_number(out, count);
		status_page_duration(
		    out, isinf(half) ? -1 : (int64_t)(half * 1000));
		status_page_duration(
		    out, isinf(most) ? -1 : (int64_t)(most * 1000));
		(void)buf_printf(out, "</tr>\n");
	}
	status_page_end(out, is_empty);
}

static int
get_page(struct buf *body)
{
	return status_page_get(&mt.page, body);
}

/* The last one only with --status-page. */
static const struct http_route routes[] = {
	{ "/metrics", METRICS_TYPE, metrics_get },
	{ "/healthz", "text/plain; charset=utf-8", get_healthz },
	{ "/", "text/html; charset=utf-8", get_page },
};

int
metrics_begin(const struct metrics_setup *setup, struct err *err)
{
	const char *const build[] = { setup->version, setup->commit,
		setup->librados };

	memset(&mt, 0, sizeof(mt));
	if (*setup->address == '\0')
		return 0;
	mt.page = (struct status_page){ .node = setup->node,
		.version = setup->version,
		.commit = setup->commit,
		.slow_ms = setup->slow_ms,
		.has_volumes = setup->serving.node,
		.latency = put_latency };
	mt.http = http_serve(setup->address, &setup->file, routes,
	    countof(routes) - (setup->status_page ? 0 : 1), err);
	if (mt.http == NULL) {
		err_prefix(err, "--metrics-address=%s", setup->address);
		return err->rc;
	}
	if (!str_is_empty(setup->tls_dir) &&
	    http_use_tls(mt.http, setup->tls_dir, err) < 0) {
		err_prefix(err, "--metrics-tls-dir");
		http_free(mt.http);
		mt.http = NULL;
		return err->rc;
	}
	metrics_add(&build_info);
	metric_set(metric_series(&build_info, build), 1);
	metrics_add(&calls_total);
	metrics_add(&call_seconds);
	metrics_add(&state_seconds);
	metrics_add(&lock_waits);
	metrics_add(&loop_lag);
	add_methods(setup->router, &setup->serving);
	mt.lag = metric_series(&loop_lag, NULL);
	mt.waits = metric_series(&lock_waits, NULL);
	metrics_now_add(setup);
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
	status_page_stop();
	http_free(mt.http);
	mt.http = NULL;
	metrics_fini();
	map_fini(&mt.methods);
	for (size_t i = 0; i < METHODS_MAX; i++) {
		map_fini(&mt.method[i].states);
		free(mt.method[i].path);
	}
}
