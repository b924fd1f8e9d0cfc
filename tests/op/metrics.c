/*
 * What rbd-csid tells: that docs/METRICS.md has every metric, that calls are
 * counted by method and code, and that no peer adds to the list.
 */
#include "daemon/metrics.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "csi/definitions.h"
#include "daemon/request.h"
#include "daemon/trace.h"
#include "rpc/health.h"
#include "tests/tap.h"

#include <errno.h>
#include <sys/socket.h>

static char dir[] = "/tmp/metrics-XXXXXX";
static char path[64], address[80];
static char body[HTTP_BODY_MAX];

/* One GET; the status, with the body in `body`. */
static int
get(const char *what)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	auto_free char *request = str_fmt("GET %s HTTP/1.0\r\n\r\n", what);
	size_t len = 0;
	int status = 0;
	char *at;

	if (str_put(un.sun_path, sizeof(un.sun_path), "%s", path) < 0 ||
	    connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0 ||
	    write(fd, request, strlen(request)) < 0)
		return 0;
	for (int i = 0; i < 10000; i++) {
		ssize_t n = read(fd, body + len, sizeof(body) - 1 - len);

		if (n == 0)
			break;
		if (n > 0)
			len += (size_t)n;
		loop_turn(false);
	}
	body[len] = '\0';
	at = strstr(body, "\r\n\r\n");
	if (at == NULL || sscanf(body, "HTTP/1.1 %d ", &status) != 1)
		return 0;
	memmove(body, at + 4, strlen(at + 4) + 1);
	return status;
}

/* The value of a sample in the last answer, or -1. */
static double
value_of(const char *sample)
{
	size_t len = strlen(sample);

	for (const char *at = body; *at != '\0'; at = strchr(at, '\n') + 1)
		if (strncmp(at, sample, len) == 0 && at[len] == ' ')
			return strtod(at + len, NULL);
	return -1;
}

static unsigned
count_lines(const char *text)
{
	unsigned n = 0;

	for (; *text != '\0'; text++)
		n += *text == '\n';
	return n;
}

/* ---- tests --------------------------------------------------------------- */

/* `make check` sets srcdir; by hand it is the directory one is in. */
static char *
read_document(void)
{
	const char *srcdir = getenv("srcdir");
	auto_free char *name = str_fmt(
	    "%s/docs/METRICS.md", srcdir != NULL ? srcdir : ".");
	FILE *in = fopen(name, "r");
	char *text = mem_new(1 << 16);

	if (in != NULL) {
		text[fread(text, 1, (1 << 16) - 1, in)] = '\0';
		(void)fclose(in);
	}
	return text;
}

/* Each "# TYPE name kind" has its row "| `name` | kind |", and the reverse. */
static void
documented(void)
{
	auto_free char *text = read_document();
	unsigned told = 0, rows = 0;
	char name[100], kind[20];

	is_int(get("/metrics"), 200, "/metrics is served");
	for (const char *at = body; (at = strstr(at, "# TYPE ")) != NULL;
	     at++) {
		auto_free char *row = NULL;

		if (sscanf(at, "# TYPE %99s %19s", name, kind) != 2)
			abort();
		row = str_fmt("\n| `%s` | %s |", name, kind);
		ok(strstr(text, row) != NULL, "docs/METRICS.md has the %s %s",
		    kind, name);
		told++;
	}
	for (const char *at = text; (at = strstr(at, "\n| `")) != NULL; at++)
		rows++;
	is_int(rows, told, "and none that is not told");
}

#define STAGE "method=\"/csi.v1.Node/NodeStageVolume\""

/* A first failure is an increase only if there was a 0 before. */
static void
counters_begin_at_zero(void)
{
	is_int(value_of(
		   "rbd_csi_grpc_calls_total{" STAGE ",code=\"UNAVAILABLE\"}"),
	    0, "the usual codes of a method are there before any call");
	is_int(value_of("rbd_csi_grpc_calls_total{" STAGE ",code=\"UNKNOWN\"}"),
	    -1, "the others are not,");
	is_int(value_of("rbd_csi_grpc_calls_total{method="
			"\"/csi.v1.Controller/CreateVolume\",code=\"OK\"}"),
	    -1, "nor are those of a method that is not served");
	is_int(value_of("rbd_csi_requests_running{" STAGE "}"), 0,
	    "requests, too");
}

static void
states_are_counted(void)
{
	struct request r = { .states = "MAPPED:1500.0,MOUNTED:500.0" };

	r.in.def = &csi_definitions[CSI_NODE_STAGE_VOLUME];
	metrics_request_ended(&r);
	metrics_request_ended(&r);
	metrics_lock_waited(2000);
	(void)get("/metrics");
#define MAPPED "{" STAGE ",state=\"MAPPED\"}"
	is_int(value_of("rbd_csi_request_state_seconds_count" MAPPED), 2,
	    "states are counted by method");
	is_int(value_of("rbd_csi_request_state_seconds_sum" MAPPED), 3,
	    "with their time");
	is_int(value_of("rbd_csi_lock_wait_seconds_bucket{le=\"5\"}") -
		value_of("rbd_csi_lock_wait_seconds_bucket{le=\"1\"}"),
	    1, "and so are waits for locks");
}

static void
calls_are_counted(void)
{
	metrics_call_ended("/csi.v1.Identity/Probe", NULL, ERR_OK, 500);
	metrics_call_ended("/csi.v1.Identity/Probe", NULL, ERR_OK, 2000000);
	metrics_call_ended(
	    "/csi.v1.Identity/Probe", NULL, ERR_ABORTED, 700 * 1000000);
	metrics_call_ended("/grpc.health.v1.Health/Check", NULL, ERR_OK, 1000);
	metrics_call_ended("/grpc.health.v1.Health/Watch", NULL, ERR_OK, 1000);
	metrics_call_ended("/csi.v1.Identity/GetPluginInfo",
	    &csi_definitions[CSI_GET_PLUGIN_INFO], ERR_OK, 1);
	(void)get("/metrics");
	is_int(value_of("rbd_csi_grpc_calls_total{method="
			"\"/csi.v1.Identity/GetPluginInfo\",code=\"OK\"}"),
	    1, "a call is counted by its definition");
#define PROBE "method=\"/csi.v1.Identity/Probe\",code="
	is_int(value_of("rbd_csi_grpc_calls_total{" PROBE "\"OK\"}"), 2,
	    "calls are counted by method and code");
	is_int(value_of("rbd_csi_grpc_calls_total{" PROBE "\"ABORTED\"}"), 1,
	    "failures, too");
	is_int(value_of("rbd_csi_grpc_calls_total{method="
			"\"/grpc.health.v1.Health/Check\",code=\"OK\"}"),
	    1, "and those of gRPC's own services");
#define METHOD "method=\"/csi.v1.Identity/Probe\""
#define BUCKET "rbd_csi_grpc_call_duration_seconds_bucket{" METHOD
	is_int(value_of(BUCKET ",le=\"0.001\"}"), 1,
	    "half a millisecond is in the first bucket");
	is_int(value_of(BUCKET ",le=\"2.5\"}"), 2, "two seconds below");
	is_int(value_of(BUCKET ",le=\"600\"}"), 2,
	    "of more than ten minutes none,");
	is_int(value_of(BUCKET ",le=\"+Inf\"}"), 3,
	    "they are in the last one, whatever their code");
	ok(value_of("rbd_csi_grpc_call_duration_seconds_sum{" METHOD "}") ==
		702.0005,
	    "and seconds add up");
	is_int(value_of("rbd_csi_grpc_calls_total{method="
			"\"/grpc.health.v1.Health/Watch\",code=\"OK\"}"),
	    1, "a stream is counted");
	ok(strstr(body, "seconds_sum{method=\"/grpc.health.v1.Health/Watch") ==
		    NULL &&
		strstr(body,
		    "seconds_sum{method=\"/grpc.health.v1.Health/Check") !=
		    NULL,
	    "but has no time");
}

static void
peers_add_nothing(void)
{
	unsigned lines;
	char method[64];

	metrics_call_ended("/x", NULL, ERR_UNIMPLEMENTED, 1);
	(void)get("/metrics");
	lines = count_lines(body);
	for (int i = 0; i < 10000; i++) {
		(void)snprintf(method, sizeof(method), "/csi.v1.Node/%d", i);
		metrics_call_ended(method, NULL, ERR_UNIMPLEMENTED, 1);
	}
	metrics_call_ended("", NULL, ERR_UNIMPLEMENTED, 1);
	(void)get("/metrics");
	is_int(value_of("rbd_csi_grpc_calls_total{method=\"other\","
			"code=\"UNIMPLEMENTED\"}"),
	    10002, "methods that nobody serves are counted together");
	is_int(count_lines(body), lines, "and add no line");
}

/* Every method of the table with every code: the most there can be. */
static void
the_largest_text_fits(void)
{
	const struct csi_definition *method = csi_definitions;

	for (size_t i = 0; i < CSI_CLIENT_COUNT; i++)
		for (int code = ERR_OK; code <= ERR_UNAUTHENTICATED; code++)
			metrics_call_ended(
			    method[i].path, NULL, (enum err_code)code, 1);
	is_int(get("/metrics"), 200, "all methods with all codes fit");
	diag("%zu bytes", strlen(body));
	is_int(value_of("rbd_csi_grpc_calls_total{method=\"/csi.v1.Node/"
			"NodeUnpublishVolume\",code=\"UNAUTHENTICATED\"}"),
	    1, "and none of them is \"other\"");
}

/* However many there are, and whatever they work on. */
static void
requests_add_no_more_than_states(void)
{
	struct request r = { .key = "pvc" };
	unsigned lines;

	r.in.def = &csi_definitions[CSI_NODE_STAGE_VOLUME];
	for (int i = 0; i < 5000; i++) {
		(void)snprintf(r.states, sizeof(r.states), "S%d:1.0", i);
		metrics_request_ended(&r);
	}
	is_int(get("/metrics"), 200, "thousands of states fit");
	ok(value_of("rbd_csi_request_state_seconds_count{method=\"other\","
		    "state=\"other\"}") > 3000,
	    "as most of them are counted together");
	lines = count_lines(body);
	for (int i = 0; i < 5000; i++) {
		struct trace_entry ended = { .method = "NodeStageVolume",
			.key = "pvc",
			.states = r.states,
			.text = "" };

		ended.id = (uint64_t)i;
		trace_add(&ended);
		metrics_request_ended(&r);
	}
	(void)get("/metrics");
	is_int(count_lines(body), lines, "requests add no series");
	ok(trace_at(TRACE_MAX) == NULL, "and are forgotten, but for the last");
	is_int((long)trace_at(0)->id, 4999, "of which the newest");
	is_int((long)trace_at(TRACE_MAX - 1)->id, 5000 - TRACE_MAX,
	    "and the oldest are what they were");
	trace_fini();
}

static void
process_is_told(void)
{
	double now = (double)clock_wall_ms() / 1000;

	is_int(value_of("csi_liveness"), 1, "it is alive");
	is_int(value_of("rbd_csi_build_info{version=\"1.2.3\",commit=\"abc\","
			"librados=\"3.0.0\"}"),
	    1, "it tells its version");
	ok(value_of("process_resident_memory_bytes") > 1 << 20,
	    "and its memory");
	ok(value_of("process_start_time_seconds") <= now &&
		value_of("process_start_time_seconds") > now - 60,
	    "when it was started");
	ok(value_of("process_cpu_seconds_total") > 0, "and its time");
	is_int(value_of("process_open_fds"),
	    value_of("rbd_csi_used{resource=\"descriptors\"}"),
	    "and its descriptors");
	is_int(value_of("rbd_csi_processes{program=\"rbd-csid\"}"), 1,
	    "it is one of our processes");
	is_int(get("/healthz"), 200, "/healthz is served");
	is_str(body, "ok\n", "and says so");
}

static void
a_page_for_people(void)
{
	static const struct trace_entry failed = { .method = "CreateVolume",
		.code = ERR_UNAVAILABLE,
		.key = "<b>\"&",
		.states = "",
		.text = "no cluster" };

	trace_add(&failed);
	is_int(get("/"), 200, "a page is served");
	ok(strstr(body, "<h1>rbd-csi n&lt;1&gt;</h1>") != NULL, "of this node");
	ok(strstr(body, "<code>&lt;b&gt;&quot;&amp;</code>") != NULL &&
		strstr(body, "no cluster") != NULL,
	    "with failures, whatever is in them");
	ok(strstr(body,
	       "<code>/csi.v1.Identity/Probe</code></td>"
	       "<td class=\"n\">20</td>") != NULL,
	    "and calls");
	ok(strstr(body, "src=") == NULL && strstr(body, "href=") == NULL &&
		strstr(body, "<script") == NULL &&
		strstr(body, "<form") == NULL,
	    "it fetches nothing and changes nothing");
	ok(str_starts(body + strlen(body) - 8, "</html>"), "and is whole");
}

static void
lag_is_measured(void)
{
	clock_fake(1000000);
	loop_turn(false);
	clock_fake(1000000 + 1300);
	loop_turn(false);
	(void)get("/metrics");
	ok(value_of("rbd_csi_loop_lag_seconds_count") >= 1,
	    "the lag of the loop is measured");
	is_int(value_of("rbd_csi_loop_lag_seconds_bucket{le=\"5\"}") -
		value_of("rbd_csi_loop_lag_seconds_bucket{le=\"0.25\"}"),
	    1, "and a turn that came late is seen");
	clock_fake(-1);
}

static void
start(const char *at, struct server *server, const struct router *router)
{
	const struct metrics_setup setup = {
		.address = at,
		.file = { .mode = 0600,
		    .owner = UNIX_SOCKET_KEEP,
		    .group = UNIX_SOCKET_KEEP },
		.version = "1.2.3",
		.commit = "abc",
		.librados = "3.0.0",
		.serving = { .node = true },
		.status_page = true,
		.node = "n<1>",
		.server = server,
		.router = router,
	};
	struct err err = ERR_INIT;

	is_int(metrics_begin(&setup, &err), 0, "metrics start%s",
	    *at == '\0' ? ", switched off" : "");
}

int
main(void)
{
	static const struct rpc_service *const services[] = { &health_service };
	static const struct router router = { .services = services,
		.service_count = countof(services) };
	static const struct requests_setup requests = { .config = NULL };
	struct server *server;

	log_init("metrics", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	clock_fake(1000000);
	if (loop_init() < 0 || mkdtemp(dir) == NULL)
		return 1;
	(void)snprintf(path, sizeof(path), "%s/metrics.sock", dir);
	(void)snprintf(address, sizeof(address), "unix://%s", path);
	server = server_new(&router, NULL);
	requests_init(&requests);

	start("", server, &router);
	metrics_call_ended("/csi.v1.Identity/Probe", NULL, ERR_OK, 1);
	is_int(get("/metrics"), 0, "and nothing is served");
	metrics_stop();

	start(address, server, &router);
	lag_is_measured();
	documented();
	counters_begin_at_zero();
	states_are_counted();
	calls_are_counted();
	peers_add_nothing();
	the_largest_text_fits();
	process_is_told();
	a_page_for_people();
	requests_add_no_more_than_states();
	metrics_stop();
	is_int(get("/metrics"), 0, "when they are stopped nothing is served");

	requests_fini();
	server_free(server);
	(void)rmdir(dir);
	loop_fini();
	return tap_end();
}
