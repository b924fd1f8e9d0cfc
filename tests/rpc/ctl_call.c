/*
 * ctl_call.c - rbd-csictl call against a server of the test's own: streams,
 * Ctrl-C, metadata, details of failures. RBD_CSICTL is the program's path.
 */
#include "core/child.h"
#include "rpc/call.h"
#include "rpc/health.h"
#include "tests/hex.h"
#include "tests/rpc/caller.h"
#include "tests/rpc/pb_put.h"
#include "tests/tap.h"

#include <signal.h>

#define TIMEOUT_MS 20000

/* ---- the service: methods of CSI that do something else ---- */

static struct call *stream; /* GetMetadataDelta's, while it is open */
static unsigned streams_gone;

static void
send_number(struct call *call, uint64_t number)
{
	struct buf out;

	buf_init(&out, 64);
	if (pb_put_varint(&out, 2, number) < 0 ||
	    stream_send(call, out.data, out.len) < 0)
		abort();
	buf_fini(&out);
}

/* Three messages. */
static void
allocated(struct call *call)
{
	for (uint64_t i = 1; i <= 3; i++)
		send_number(call, i);
	stream_end(call);
}

static void
on_gone(struct call *call, enum call_gone why)
{
	(void)call;
	(void)why;
	stream = NULL;
	streams_gone++;
}

/* One message, and then nothing. */
static void
delta(struct call *call)
{
	stream = call;
	call->gone = on_gone;
	send_number(call, 4);
}

/* A message, then a failure with details. */
static void
fail(struct call *call)
{
	static const char info[] = "\12\4BUSY"
				   "\22\7example"
				   "\32\10\12\3age\22\0019"
				   "\32\6\12\1\33\22\1x";
	const struct call_details details = { "google.rpc.ErrorInfo", info,
		sizeof(info) - 1 };
	struct err err = ERR_INIT;

	(void)err_set(&err, ERR_ABORTED, "in the way");
	call_fail_details(call, &err, &details);
}

static void
fail_oddly(struct call *call)
{
	const struct call_details details = { "google.rpc.RetryInfo", "\12\0",
		2 };
	struct err err = ERR_INIT;

	(void)err_set(&err, ERR_UNAVAILABLE, "later");
	call_fail_details(call, &err, &details);
}

/* Tells the headers that came as the plugin's name and version. */
static void
info(struct call *call)
{
	const char *text = call_header(call, "x-text");
	unsigned char bytes[16];
	char hex[2 * sizeof(bytes) + 1] = "";
	long n = call_header_bytes(call, "x-data-bin", bytes, sizeof(bytes));
	struct buf out;

	buf_init(&out, 256);
	if (n > 0)
		hex_fmt(hex, bytes, (size_t)n);
	if (text == NULL)
		text = "";
	if (pb_put(&out, 1, text, strlen(text)) < 0 ||
	    pb_put(&out, 2, hex, strlen(hex)) < 0)
		abort();
	call_reply(call, out.data, out.len);
	buf_fini(&out);
}

static const struct rpc_method snapshot_methods[] = {
	{ .name = "GetMetadataAllocated", .start = allocated },
	{ .name = "GetMetadataDelta", .start = delta },
};
static const struct rpc_method identity_methods[] = {
	{ .name = "Probe", .start = fail },
	{ .name = "GetPluginCapabilities", .start = fail_oddly },
	{ .name = "GetPluginInfo", .start = info },
};
static const struct rpc_service snapshot = { "csi.v1.SnapshotMetadata",
	snapshot_methods, countof(snapshot_methods) };
static const struct rpc_service identity = { "csi.v1.Identity",
	identity_methods, countof(identity_methods) };
static const struct rpc_service *const services[] = { &snapshot, &identity,
	&health_service };
static const struct router router = {
	.services = services,
	.service_count = countof(services),
};

/* ---- rbd-csictl as an operation ---- */

#define ARGS_MAX 8

static struct run {
	struct op op;
	enum { RUN_START = 0, RUN_ENDED } state;
	struct tool tool;
	const char *argv[ARGS_MAX + 4];
	int rc;
	bool done;
} run;

static enum op_verdict
run_step(struct op *op)
{
	switch (run.state) {
	case RUN_START:
		tool_start(&run.tool, run.argv, TIMEOUT_MS, &op->wake);
		return op_await(&run, RUN_ENDED);
	case RUN_ENDED:
		run.rc = op->rc;
		run.done = true;
		return OP_DONE;
	}
	abort();
}

static const struct op_class run_class = { .name = "run", .step = run_step };

/* Starts it with these arguments, which end with NULL. */
static void
start(const char *const *args)
{
	size_t n = 0;

	memset(&run, 0, sizeof(run));
	run.argv[n++] = RBD_CSICTL;
	run.argv[n++] = "--endpoint";
	run.argv[n++] = caller_endpoint;
	for (size_t i = 0; i < ARGS_MAX && args[i] != NULL; i++)
		run.argv[n++] = args[i];
	op_start(&run.op, &run_class, NULL);
}

static bool
has_ended(int status)
{
	while (!run.done) /* the tool's own time is the bound */
		loop_turn(true);
	if (run.rc != 0 || run.tool.status != status)
		diag("rc %d, status %d: %s", run.rc, run.tool.status,
		    run.tool.output);
	return run.rc == 0 && run.tool.status == status;
}

/* Until that is printed. */
static bool
prints(const char *text)
{
	while (!run.done && strstr(run.tool.output, text) == NULL)
		loop_turn(true);
	return strstr(run.tool.output, text) != NULL;
}

#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void
streams_are_printed(void)
{
	start(ARGS("call", "SnapshotMetadata/GetMetadataAllocated"));
	ok(has_ended(0), "a stream ends well");
	is_str(run.tool.output,
	    "{\n  \"volumeCapacityBytes\": \"1\"\n}\n"
	    "{\n  \"volumeCapacityBytes\": \"2\"\n}\n"
	    "{\n  \"volumeCapacityBytes\": \"3\"\n}\n",
	    "... and its messages are printed");
}

static void
streams_can_be_cancelled(int signo)
{
	streams_gone = 0;
	start(ARGS("call", "SnapshotMetadata/GetMetadataDelta"));
	ok(prints("\"4\"") && stream != NULL,
	    "a message is printed when it comes");
	(void)kill(run.tool.pid, signo);
	ok(has_ended(1), "signal %d ends the call", signo);
	ok(strstr(run.tool.output, "CANCELLED: cancelled") != NULL,
	    "... as CANCELLED");
	turn(20);
	is_int(streams_gone, 1, "... which the server knows");
}

static void
streams_may_be_late(void)
{
	start(ARGS(
	    "--timeout", "1", "call", "SnapshotMetadata/GetMetadataDelta"));
	ok(has_ended(1) && strstr(run.tool.output, "\"4\"") != NULL &&
		strstr(run.tool.output, "DEADLINE_EXCEEDED: ") != NULL,
	    "a stream may have a time-out");
	turn(20);
}

static void
details_are_printed(void)
{
	start(ARGS("call", "Identity/Probe"));
	ok(has_ended(1), "a failure with details");
	is_str(run.tool.output,
	    "ABORTED: in the way\n"
	    "  google.rpc.ErrorInfo: reason BUSY, domain example\n"
	    "    age: 9\n"
	    "    ?: x\n",
	    "... is printed with them, without control characters");
	start(ARGS("call", "Identity/GetPluginCapabilities"));
	ok(has_ended(1), "a failure with other details");
	is_str(run.tool.output,
	    "UNAVAILABLE: later\n"
	    "  google.rpc.RetryInfo: 2 bytes\n",
	    "... tells their name");
}

static void
headers_are_sent(void)
{
	start(ARGS("--header", "x-text:a:b", "--header", "x-data-bin:AAH/",
	    "call", "Identity/GetPluginInfo"));
	ok(has_ended(0), "metadata can be sent");
	is_str(run.tool.output,
	    "{\n  \"name\": \"a:b\",\n  \"vendorVersion\": \"0001ff\"\n}\n",
	    "... text and bytes");
	start(ARGS("--header", "x-text", "call", "Identity/GetPluginInfo"));
	ok(has_ended(2) && prints("has no colon"), "not without a value");
	start(ARGS("--header", "X:y", "call", "Identity/GetPluginInfo"));
	ok(has_ended(2) && prints("--header X:y"), "... not in capitals");
	start(ARGS("--header", "x-bin:?", "call", "Identity/GetPluginInfo"));
	ok(has_ended(2) && prints("--header x-bin:?"), "... not as no base64");
}

static void
health_is_told(void)
{
	start(ARGS("call", "Health/Check"));
	ok(has_ended(0), "health is checked");
	is_str(run.tool.output, "{\n  \"status\": \"SERVING\"\n}\n",
	    "... and printed");
	start(ARGS("call", "/grpc.health.v1.Health/Check",
	    "{\"service\": \"nobody\"}"));
	ok(has_ended(1) && prints("NOT_FOUND: "), "... of a service by name");
	start(ARGS("call", "grpc.health.v1.Health/List"));
	ok(has_ended(0) && prints("\"one\"") && prints("SERVING"),
	    "all services are listed");
	start(ARGS("call", "Health/Watch", "{\"service\": \"one\"}"));
	ok(prints("\"SERVING\""), "health is watched");
	health_shutdown();
	ok(prints("\"NOT_SERVING\""), "... and its change is printed");
	(void)kill(run.tool.pid, SIGINT);
	ok(has_ended(1) && prints("CANCELLED"), "... until Ctrl-C");
}

int
main(void)
{
	static const char *const names[] = { "one" };
	struct server *server;

	caller_init("ctl_call");
	health_init(names, countof(names));
	server = caller_serve(&router, NULL);
	streams_are_printed();
	streams_can_be_cancelled(SIGINT);
	streams_can_be_cancelled(SIGTERM);
	streams_may_be_late();
	details_are_printed();
	headers_are_sent();
	health_is_told();
	server_free(server);
	is_int(op_count(), 0, "no operation is left");
	caller_fini();
	return tap_end();
}
