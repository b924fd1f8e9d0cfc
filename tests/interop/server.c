/*
 * server.c - a gRPC server for tests with foreign clients. Messages are plain
 * bytes, so that no client needs generated code:
 *
 *	/interop.Test/Echo	answers with the request
 *	/interop.Test/Size	a decimal number: answers with so many bytes
 *	/interop.Test/Status	"CODE TEXT": fails with that code and text
 *	/interop.Test/Details	fails with the request, a google.rpc.ErrorInfo,
 *				as a detail of the status
 *	/interop.Test/Sleep	a decimal number: answers after so many ms
 *	/interop.Test/Never	answers when nobody waits any more
 *	/interop.Test/Hold	the same, and its client streams
 *	/interop.Test/Running	how many calls are open beside this one
 *	/interop.Test/Gone	how many calls of Never, Hold and Sleep were given up
 *	/interop.Test/BytesIn	how many bytes all clients have sent
 *
 * and grpc.testing.TestService, see testservice.h.
 *
 * usage: server ENDPOINT; SIGTERM drains.
 */
#include "rpc/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "core/signal.h"
#include "tests/interop/testservice.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static struct server *server;
static unsigned gone_count;

/* The request as a number, and what stands behind it. */
static unsigned long
request_number(struct call *call, const char **rest)
{
	struct arena *arena = call_arena(call);
	char *text = arena_new_bytes(arena, call->request_len + 1);
	char *end;
	unsigned long n;

	if (call->request_len > 0)
		memcpy(text, call->request, call->request_len);
	n = strtoul(text, &end, 10);
	*rest = *end == ' ' ? end + 1 : end;
	return n;
}

static void
echo(struct call *call)
{
	call_reply(call, call->request, call->request_len);
}

static void
size(struct call *call)
{
	const char *rest;
	size_t n = request_number(call, &rest);
	auto_free char *bytes = mem_new(n + 1);

	memset(bytes, 'x', n);
	call_reply(call, bytes, n);
}

static void
status(struct call *call)
{
	const char *text;
	unsigned long code = request_number(call, &text);

	call_fail(call, (enum err_code)code, text);
}

static void
details(struct call *call)
{
	const struct call_details error_info = {
		.type = "google.rpc.ErrorInfo",
		.bytes = call->request,
		.len = call->request_len,
	};
	struct err err = ERR_INIT;

	(void)err_set(
	    &err, ERR_FAILED_PRECONDITION, "with details \xe2\x98\xba");
	call_fail_details(call, &err, &error_info);
}

struct nap {
	struct timer timer;
	struct call *call;
};

static void
on_gone(struct call *call, enum call_gone why)
{
	struct nap *nap = call->data;

	gone_count++;
	if (why == CALL_DEADLINE)
		call_fail(call, ERR_DEADLINE_EXCEEDED, "was asleep");
	if (nap != NULL)
		timer_disarm(&nap->timer);
	free(nap);
}

static void
on_awake(struct timer *timer)
{
	struct nap *nap = container_of(timer, struct nap, timer);

	call_reply(nap->call, "awake", strlen("awake"));
	free(nap);
}

static void
nap(struct call *call)
{
	struct nap *n = mem_new(sizeof(*n));
	const char *rest;

	n->call = call;
	n->timer.fire = on_awake;
	timer_arm(&n->timer, (int64_t)request_number(call, &rest));
	call->data = n;
	call->gone = on_gone;
}

static void
never(struct call *call)
{
	call->gone = on_gone;
}

static void
reply_number(struct call *call, size_t n)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%zu", n);
	call_reply(call, text, strlen(text));
}

static void
running(struct call *call)
{
	reply_number(call, server_counters(server)->calls - 1);
}

static void
gone(struct call *call)
{
	reply_number(call, gone_count);
}

static void
bytes_in(struct call *call)
{
	reply_number(call, (size_t)server_counters(server)->bytes_in);
}

static const struct rpc_method methods[] = {
	{ .name = "Echo", .start = echo },
	{ .name = "Size", .start = size },
	{ .name = "Status", .start = status },
	{ .name = "Details", .start = details },
	{ .name = "Sleep", .start = nap },
	{ .name = "Never", .start = never },
	{ .name = "Hold", .start = never, .client_streams = true },
	{ .name = "Running", .start = running },
	{ .name = "Gone", .start = gone },
	{ .name = "BytesIn", .start = bytes_in },
};
static const struct rpc_service service = {
	.name = "interop.Test",
	.methods = methods,
	.method_count = countof(methods),
};
static const struct rpc_service *const services[] = { &service, &testservice };
static const struct router router = {
	.services = services,
	.service_count = countof(services),
};

static void
on_drained(struct wake *wake, int rc)
{
	(void)wake;
	(void)rc;
	loop_stop();
}

static void
on_term(int signo)
{
	(void)signo;
	static struct wake drained = { .fn = on_drained };

	server_drain_start(server, &drained);
}

/* concurrent_large_unary: 256 streams at once with a request of 272 KB each. */
static const struct server_limits limits = {
	.buffered_bytes = (size_t)128 << 20,
};

int
main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	bool quiet = argc > 2 && str_eq(argv[2], "--quiet");

	if (argc < 2) {
		(void)fprintf(stderr, "usage: server ENDPOINT [--quiet]\n");
		return 2;
	}
	log_init("interop-server", quiet ? LOG_LEVEL_WARN : LOG_LEVEL_INFO,
	    LOG_FORMAT_TEXT);
	if (loop_init() < 0)
		return 1;
	server = server_new(&router, &limits);
	if (server_listen(server, argv[1], UNIX_SOCKET_FILE(0600), &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	(void)printf("ready\n");
	(void)fflush(stdout);
	signal_watch(SIGTERM, on_term);
	loop_run();
	server_free(server);
	signal_fini();
	loop_fini();
	return 0;
}
