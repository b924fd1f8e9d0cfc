/*
 * allocation.c - the server when memory runs out. Each run plays one scene in
 * a process of its own, in which the n-th allocation that the server makes
 * fails, alone or with all that follow; for each n until there is none left.
 *
 * Whatever fails: the process lives, nothing leaks, who was not concerned goes
 * on, and the next client is served.
 */
#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "rpc/call.h"
#include "rpc/health.h"
#include "rpc/reflection.h"
#include "tests/rpc/peer.h"
#include "tests/tap.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define NOW_MS 1000000
#define LARGE_BYTES 200000 /* three windows */

/* ---- allocations: --wrap gives us those of src/, libevent's are set ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
void *__real_mmap(
    void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
void __wrap_free(void *p);
void *__wrap_mmap(
    void *at, size_t len, int prot, int flags, int fd, off_t offset);

#define LIVE_SLOTS ((size_t)1 << 12)

static struct {
	bool scene;       /* the scene is on ... */
	bool at_work;     /* ... and the server, not its client */
	unsigned count;   /* allocations so far */
	unsigned fail_at; /* 0: none fails */
	bool for_good;    /* all from there on */
	unsigned failed;
	void *live[LIVE_SLOTS]; /* not freed yet */
} mem;

static bool
fails(void)
{
	if (!mem.scene || !mem.at_work)
		return false;
	mem.count++;
	if (mem.fail_at == 0 || mem.count < mem.fail_at ||
	    (mem.count > mem.fail_at && !mem.for_good))
		return false;
	mem.failed++;
	errno = ENOMEM;
	return true;
}

/* Puts `to` where `from` was; NULL: in a free place, or nowhere. */
static void
note(void *from, void *to)
{
	if (from == to)
		return;
	for (size_t i = 0; i < LIVE_SLOTS; i++)
		if (mem.live[i] == from) {
			mem.live[i] = to;
			return;
		}
}

static size_t
live_count(void)
{
	size_t n = 0;

	for (size_t i = 0; i < LIVE_SLOTS; i++)
		n += mem.live[i] != NULL;
	return n;
}

void *
__wrap_malloc(size_t size)
{
	void *p = fails() ? NULL : __real_malloc(size);

	note(NULL, p);
	return p;
}

void *
__wrap_calloc(size_t count, size_t size)
{
	void *p = fails() ? NULL : __real_calloc(count, size);

	note(NULL, p);
	return p;
}

void *
__wrap_realloc(void *p, size_t size)
{
	void *q = fails() ? NULL : __real_realloc(p, size);

	if (q != NULL)
		note(p, q);
	return q;
}

void
__wrap_free(void *p)
{
	if (p != NULL)
		note(p, NULL);
	__real_free(p);
}

void *
__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	return fails() ? MAP_FAILED
		       : __real_mmap(at, len, prot, flags, fd, offset);
}

/* The server is at work in these; the client, on the same loop, is not. */
void __real_loop_turn(bool block);
void __wrap_loop_turn(bool block);
void __real_server_serve(struct server *server, int fd);
void __wrap_server_serve(struct server *server, int fd);

void
__wrap_loop_turn(bool block)
{
	mem.at_work = true;
	__real_loop_turn(block);
	mem.at_work = false;
}

void
__wrap_server_serve(struct server *server, int fd)
{
	mem.at_work = true;
	__real_server_serve(server, fd);
	mem.at_work = false;
}

/* ---- the service; its handlers take no memory of their own ---- */

#define KEPT 200

static struct kept {
	struct call *call;
	const void *bytes; /* a message that waits to be sent */
	size_t len;
} kept[KEPT];
static unsigned char large[LARGE_BYTES];

static struct kept *
keep(struct call *call)
{
	struct kept *k = kept;

	while (k->call != NULL)
		k++;
	*k = (struct kept){ .call = call };
	call->data = k;
	return k;
}

static void
on_gone(struct call *call, enum call_gone why)
{
	(void)why;
	((struct kept *)call->data)->call = NULL;
}

static void
chat_send(struct call *call)
{
	struct kept *k = call->data;
	int rc = stream_send(call, k->bytes, k->len);

	if (rc == 0) {
		stream_read(call);
	} else if (rc != -EAGAIN) {
		k->call = NULL;
		call_fail(call, ERR_UNAVAILABLE, "no memory");
	}
}

static void
on_message(struct call *call, const void *bytes, size_t len)
{
	struct kept *k = call->data;

	k->bytes = bytes;
	k->len = len;
	if (bytes != NULL) {
		chat_send(call);
		return;
	}
	k->call = NULL;
	stream_end(call);
}

static void
chat(struct call *call)
{
	(void)keep(call);
	call->gone = on_gone;
	call->message = on_message;
	call->writable = chat_send;
	stream_read(call);
}

static void
echo(struct call *call)
{
	const char *trace = call_header(call, "x-trace");

	if (trace != NULL) {
		(void)call_add_header(call, "x-trace", trace, strlen(trace));
		(void)call_add_trailer(call, "x-t-bin", trace, strlen(trace));
	}
	call_reply(call, call->request, call->request_len);
}

static void
big(struct call *call)
{
	call_reply(call, large, sizeof(large));
}

static void
fail(struct call *call)
{
	const struct call_details details = { "google.rpc.ErrorInfo",
		call->request, call->request_len };
	struct err err = ERR_INIT;

	(void)err_set(&err, ERR_NOT_FOUND, "no such thing");
	call_fail_details(call, &err, &details);
}

static void
wait_for_end(struct call *call)
{
	(void)keep(call);
	call->gone = on_gone;
}

static const struct rpc_method methods[] = {
	{ .name = "Echo", .start = echo },
	{ .name = "Big", .start = big },
	{ .name = "Fail", .start = fail },
	{ .name = "Wait", .start = wait_for_end },
	{ .name = "Chat", .start = chat, .client_streams = true },
};
static const struct rpc_service service = {
	.name = "test.A",
	.methods = methods,
	.method_count = countof(methods),
};
static const struct rpc_service *const services[] = { &service, &health_service,
	&reflection_v1 };
static const struct router router = { services, countof(services) };
static const char *const names[] = { "test.A" };

/* ---- the scenes ---- */

struct scene {
	struct server *server;
	struct h2peer idle; /* is there before, and not concerned */
	struct h2peer busy;
	unsigned good_calls; /* of busy, when nothing fails */
	bool drained;
	const char *wrong; /* what went wrong first, or NULL */
};

static void
expect(struct scene *sc, bool good, const char *what)
{
	if (!good && sc->wrong == NULL)
		sc->wrong = what;
}

static bool
is_answered(struct h2peer *peer)
{
	struct exchange *x = peer_call(peer, "/test.A/Echo", "hi", 2, NULL);
	const unsigned char *bytes;

	peer_run(peer);
	return x->code == ERR_OK && exchange_message(x, &bytes) == 2;
}

static struct exchange *
send_with(struct h2peer *peer, const char *path, const char *name,
    const char *value, const void *body, size_t len)
{
	const struct field fields[] = { { ":method", "POST" },
		{ ":scheme", "http" }, { ":path", path },
		{ "content-type", "application/grpc" }, { name, value } };

	return peer_send(peer, fields, countof(fields), body, len);
}

/* Calls of all kinds. */
static void
play_calls(struct scene *sc)
{
	static const char two[] = "\0\0\0\0\1a\0\0\0\0\2bc";
	struct h2peer *peer = &sc->busy;
	struct exchange *watch;

	sc->good_calls = 12;
	(void)peer_call(peer, "/test.A/Echo", "hello", 5, "1S");
	(void)peer_call(peer, "/test.A/Big", "", 0, NULL);
	(void)peer_call(peer, "/test.A/Echo", large, sizeof(large) / 2, NULL);
	(void)peer_call(peer, "/test.A/Fail", "why", 3, NULL);
	(void)peer_call(peer, "/test.A/None", "", 0, NULL);
	peer_run(peer);
	(void)send_with(peer, "/test.A/Echo", "x-trace", "123456", two, 6);
	(void)send_with(
	    peer, "/test.A/Chat", "x-a-bin", "AAEC", two, sizeof(two) - 1);
	(void)send_with(peer, "/test.A/Echo", "connection", "close", two, 6);
	(void)send_with(peer, "/test.A/Echo", "te", "trailers", two, 3);
	peer_run(peer);
	(void)peer_call(peer, "/test.A/Chat", large, sizeof(large), NULL);
	peer_run(peer);
	(void)peer_call(peer, "/grpc.health.v1.Health/Check", "\n\1x", 3, NULL);
	(void)peer_call(peer, "/grpc.health.v1.Health/List", "", 0, NULL);
	watch = peer_call(peer, "/grpc.health.v1.Health/Watch", "", 0, NULL);
	(void)peer_call(peer,
	    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	    "\x3a\0", 2, NULL);
	peer_run(peer);
	peer_cancel(peer, watch);
	/* More than the socket takes while nobody reads. */
	peer_open_windows(peer);
	for (int i = 0; i < 3; i++)
		(void)peer_call(peer, "/test.A/Big", "", 0, NULL);
	peer_run_deaf(peer);
	peer_run(peer);
	peer_cancel(peer, peer_call(peer, "/test.A/Wait", "", 0, NULL));
	peer_run(peer);
	for (int i = 0; i < 70; i++)
		(void)peer_call(peer, "/test.A/Wait", "", 0, "1S");
	peer_run(peer);
	clock_fake(NOW_MS + 1000);
	peer_run(peer);
	clock_fake(NOW_MS + 10000);
	peer_run(peer);
	(void)peer_call(peer, "/test.A/Echo", "hello", 5, NULL);
	peer_run(peer);
}

/* The end of a server that has something to do. */
static void
play_drain(struct scene *sc)
{
	struct exchange *x;

	sc->good_calls = 1;
	(void)peer_call(&sc->busy, "/test.A/Wait", "", 0, "1S");
	peer_run(&sc->busy);
	mem.at_work = true;
	drain_server(sc->server, &sc->drained);
	mem.at_work = false;
	x = peer_call(&sc->busy, "/test.A/Echo", "x", 1, NULL);
	x->stay_open = true;
	peer_run(&sc->busy);
	peer_finish(&sc->busy, x);
	peer_run(&sc->busy);
	clock_fake(NOW_MS + 5000);
	peer_run(&sc->busy);
}

/* Each request has an end that its client knows of. */
static void
check_busy(struct scene *sc)
{
	const struct exchange *x;
	unsigned good = 0;

	LIST_FOREACH (x, &sc->busy.exchanges, link) {
		expect(
		    sc, x->closed || sc->busy.wire.eof, "a request has no end");
		good += x->code == ERR_OK;
	}
	expect(sc, mem.fail_at != 0 || good == sc->good_calls,
	    "calls fail without reason");
	peer_close(&sc->busy);
	peer_run(&sc->idle);
	expect(sc, server_counters(sc->server)->calls == 0, "a call is left");
	expect(sc, server_counters(sc->server)->buffered_bytes == 0,
	    "bytes are left");
	for (size_t i = 0; i < KEPT; i++)
		expect(sc, kept[i].call == NULL, "a handler was forgotten");
}

static void
check_others(struct scene *sc)
{
	struct h2peer next;

	expect(sc, is_answered(&sc->idle), "another client is not served");
	peer_open(&next, sc->server);
	expect(sc, is_answered(&next), "the next client is not served");
	peer_close(&next);
	peer_run(&sc->idle);
	expect(sc, server_counters(sc->server)->connections == 1,
	    "a connection is left");
}

static void
play(struct scene *sc, void (*scene)(struct scene *sc))
{
	clock_fake(NOW_MS);
	sc->server = server_new(&router, NULL);
	peer_open(&sc->idle, sc->server);
	expect(sc, is_answered(&sc->idle), "the scene has no beginning");
	mem.scene = true;
	peer_open(&sc->busy, sc->server);
	scene(sc);
	mem.scene = false;
	check_busy(sc);
	if (scene == play_drain)
		expect(sc, sc->drained, "the server does not end");
	else
		check_others(sc);
	peer_close(&sc->idle);
	server_free(sc->server);
}

/* ---- the sweep ---- */

/* What a run has to tell; shared with its process. */
struct result {
	bool ended;
	unsigned count, failed;
	size_t live;
	char wrong[80];
};

static void
run(void (*scene)(struct scene *sc), struct result *result)
{
	struct scene sc = { .wrong = NULL };

	event_set_mem_functions(__wrap_malloc, __wrap_realloc, __wrap_free);
	health_init(names, countof(names));
	if (loop_init() < 0 ||
	    reflection_init("", 0, names, countof(names)) < 0)
		abort();
	play(&sc, scene);
	loop_fini();
	result->count = mem.count;
	result->failed = mem.failed;
	result->live = live_count();
	if (sc.wrong != NULL)
		strncpy(result->wrong, sc.wrong, sizeof(result->wrong) - 1);
	result->ended = true;
}

/* One run in a process of its own. */
static struct result
run_apart(void (*scene)(struct scene *sc), unsigned fail_at, bool for_good)
{
	static struct result *shared;
	int status = -1;
	pid_t pid;

	if (shared == NULL)
		shared = __real_mmap(NULL, sizeof(*shared),
		    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		abort();
	*shared = (struct result){ .ended = false };
	pid = fork();
	if (pid < 0)
		abort();
	if (pid == 0) {
		mem.fail_at = fail_at;
		mem.for_good = for_good;
		run(scene, shared);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) < 0 || status != 0)
		shared->ended = false;
	return *shared;
}

/* Whether the n-th may fail. */
static bool
survives(void (*scene)(struct scene *sc), const struct result *normal,
    unsigned n, bool for_good)
{
	struct result r = run_apart(scene, n, for_good);

	if (r.ended && r.wrong[0] == '\0' && r.live <= normal->live &&
	    r.failed > 0)
		return true;
	if (!r.ended)
		diag("allocation %u: the process ended", n);
	else
		diag("allocation %u: %s; %u failed, %zu not freed", n, r.wrong,
		    r.failed, r.live);
	return false;
}

static void
sweep(const char *name, void (*scene)(struct scene *sc))
{
	const struct result normal = run_apart(scene, 0, false);
	unsigned alone = 0, for_good = 0;

	ok(normal.ended && normal.wrong[0] == '\0' && normal.count > 0,
	    "%s: all is well while there is memory", name);
	diag("%u allocations, %zu not freed: %s", normal.count, normal.live,
	    normal.wrong);
	for (unsigned n = 1; n <= normal.count; n++) {
		alone += survives(scene, &normal, n, false);
		for_good += survives(scene, &normal, n, true);
	}
	is_int(alone, normal.count, "%s: any allocation may fail", name);
	is_int(for_good, normal.count, "%s: ... and all that follow", name);
}

int
main(void)
{
	log_init("allocation", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	sweep("calls", play_calls);
	sweep("drain", play_drain);
	return tap_end();
}
