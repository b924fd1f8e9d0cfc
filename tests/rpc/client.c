/*
 * client.c - the client against our own server, and against none.
 */
#include "rpc/client.h"

#include "base/clock.h"
#include "base/log.h"
#include "tests/rpc/service.h"
#include "tests/tap.h"

#include <nghttp2/nghttp2.h>
#include <sys/socket.h>
#include <sys/un.h>

#define NOW_MS 1000000
#define MANY 500

static char dir[] = "/tmp/rpc-client-XXXXXX";
static char path[64], endpoint[80];
static unsigned running;

/* One call as an operation, which is how all users have it. */
enum one_state {
	ONE_START = 0,
	ONE_ANSWERED,
};

struct one {
	struct op op;
	enum one_state state;
	struct client_call call;
	const char *method;
	const char *body;
	int64_t timeout_ms;
	int rc;
};

static enum op_verdict
one_step(struct op *op)
{
	struct one *o = (struct one *)op;

	switch (o->state) {
	case ONE_START:
		client_call_start(&o->call, o->method, o->body, strlen(o->body),
		    o->timeout_ms, op);
		return op_await(o, ONE_ANSWERED);
	case ONE_ANSWERED:
		o->rc = op->rc;
		running--;
		return OP_DONE;
	}
	abort();
}

static const struct op_class one_class = { .name = "one", .step = one_step };

static void
one_start(struct one *o, struct client *client, const char *method,
    const char *body, int64_t timeout_ms)
{
	*o = (struct one){
		.method = method,
		.body = body,
		.timeout_ms = timeout_ms,
	};
	client_call_init(&o->call, client);
	running++;
	op_start(&o->op, &one_class, NULL, NULL);
}

static void
turn(int n)
{
	while (n-- > 0)
		loop_turn(false);
}

static void
finish_all(void)
{
	for (int i = 0; i < 100000 && running > 0; i++)
		loop_turn(false);
}

static bool
reply_is(const struct one *o, const char *want)
{
	return o->rc == 0 && o->call.code == ERR_OK &&
	    o->call.reply.len == strlen(want) &&
	    memcmp(o->call.reply.data, want, strlen(want)) == 0;
}

static struct server *
serve(void)
{
	struct server *server = server_new(&service_router, NULL);
	struct err err = ERR_INIT;

	if (server_listen(server, endpoint, UNIX_SOCKET_FILE(0600), &err) < 0)
		abort();
	return server;
}

static void
answers_come_back(bool per_call)
{
	struct server *server = serve();
	struct client *client = client_new(endpoint);
	struct one o[3];
	const char *how = per_call ? "own connections" : "one connection";

	if (per_call)
		client_connect_per_call(client);
	one_start(&o[0], client, "/test.T/Echo", "hello", 10000);
	one_start(&o[1], client, "/test.T/Fail", "v\xc3\xb6lume 100%", 0);
	one_start(&o[2], client, "/test.T/Nope", "", 10000);
	finish_all();
	ok(reply_is(&o[0], "hello"), "an answer comes back (%s)", how);
	ok(o[1].rc == err_rc_of(ERR_NOT_FOUND) &&
		o[1].call.code == ERR_NOT_FOUND &&
		str_eq(o[1].call.text, "v\xc3\xb6lume 100%"),
	    "a failure has code and text (%s)", how);
	is_int(o[2].call.code, ERR_UNIMPLEMENTED,
	    "an unknown method is UNIMPLEMENTED (%s)", how);
	ok(o[0].call.connected, "somebody listened (%s)", how);
	turn(5);
	is_int(server_connection_count(server), per_call ? 0 : 1,
	    "connections left (%s)", how);
	for (int i = 0; i < 3; i++)
		client_call_fini(&o[i].call);
	client_free(client);
	turn(3);
	is_int(server_connection_count(server), 0,
	    "no connection after the client (%s)", how);
	server_free(server);
}

static void
many_calls_share_a_connection(void)
{
	static struct one o[MANY];
	struct server *server = serve();
	struct client *client = client_new(endpoint);
	unsigned good = 0;

	for (int i = 0; i < MANY; i++)
		one_start(&o[i], client, "/test.T/Echo", "hello", 60000);
	finish_all();
	for (int i = 0; i < MANY; i++) {
		good += reply_is(&o[i], "hello");
		client_call_fini(&o[i].call);
	}
	is_int(good, MANY, "%d calls at once, fewer streams allowed", MANY);
	is_int(server_connection_count(server), 1, "... on one connection");
	client_free(client);
	server_free(server);
}

static void
large_messages_pass(void)
{
	struct server *server = serve();
	struct client *client = client_new(endpoint);
	struct one o;

	one_start(&o, client, "/test.T/Big", "5000000", 60000);
	finish_all();
	is_int(o.call.reply.len, 5000000, "an answer of 5 MB is taken");
	client_call_fini(&o.call);
	client_free(client);
	server_free(server);
}

static void
deadlines_are_sent_along(void)
{
	struct server *server = serve();
	struct client *client = client_new(endpoint);
	struct one o;

	clock_fake(NOW_MS);
	service_last_words = "busy with X";
	one_start(&o, client, "/test.T/Wait", "", 10000);
	turn(5);
	is_int(service_deadline_ms, NOW_MS + 9900,
	    "the server knows the deadline");
	clock_fake(NOW_MS + 9900);
	finish_all();
	ok(o.call.code == ERR_ABORTED && str_eq(o.call.text, "busy with X"),
	    "its answer is there before we give up");
	clock_fake(-1);
	client_call_fini(&o.call);
	client_free(client);
	server_free(server);
}

static void
on_drained(void *arg)
{
	*(bool *)arg = true;
}

/* A socket that listens and never accepts. */
static int
listen_deaf(int queue)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (str_put(address.sun_path, sizeof(address.sun_path), "%s", path) <
		0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, queue) < 0)
		abort();
	return fd;
}

static void
the_deaf_are_given_up(void)
{
	int fd = listen_deaf(0);
	struct client *client = client_new(endpoint);
	struct one o[3];

	clock_fake(NOW_MS);
	client_connect_per_call(client);
	for (int i = 0; i < 3; i++)
		one_start(&o[i], client, "/test.T/Echo", "", 1000);
	turn(5);
	is_int(running, 3, "a server that is deaf is waited for");
	clock_fake(NOW_MS + 1000);
	finish_all();
	for (int i = 0; i < 3; i++) {
		is_int(o[i].call.code, ERR_DEADLINE_EXCEEDED,
		    "... until the deadline, connected or not (%d)",
		    o[i].call.connected);
		client_call_fini(&o[i].call);
	}
	clock_fake(-1);
	client_free(client);
	(void)close(fd);
	(void)unlink(path);
}

/*
 * A server that answers in a wrong way: an nghttp2 session of its own.
 */
struct odd_case {
	const char *name;
	enum err_code code;
	struct field {
		const char *name, *value;
	} trailer; /* none if NULL */
	const char *body;
	size_t body_len;
	uint32_t reset; /* instead of all this */
};

static const struct odd_case odd_cases[] = {
	{ .name = "no grpc-status",
	    .code = ERR_INTERNAL,
	    .body = "\0\0\0\0\1x",
	    .body_len = 6 },
	{ .name = "OK without a message",
	    .code = ERR_UNIMPLEMENTED,
	    .trailer = { "grpc-status", "0" } },
	{ .name = "a status of 99",
	    .code = ERR_UNKNOWN,
	    .trailer = { "grpc-status", "99" } },
	{ .name = "a status that is no number",
	    .code = ERR_UNKNOWN,
	    .trailer = { "grpc-status", "x" } },
	{ .name = "a compressed message",
	    .code = ERR_INTERNAL,
	    .trailer = { "grpc-status", "0" },
	    .body = "\1\0\0\0\1x",
	    .body_len = 6 },
	{ .name = "RST_STREAM CANCEL",
	    .code = ERR_CANCELLED,
	    .reset = NGHTTP2_CANCEL },
	{ .name = "RST_STREAM REFUSED_STREAM",
	    .code = ERR_UNAVAILABLE,
	    .reset = NGHTTP2_REFUSED_STREAM },
	{ .name = "RST_STREAM ENHANCE_YOUR_CALM",
	    .code = ERR_RESOURCE_EXHAUSTED,
	    .reset = NGHTTP2_ENHANCE_YOUR_CALM },
	{ .name = "RST_STREAM INTERNAL_ERROR",
	    .code = ERR_INTERNAL,
	    .reset = NGHTTP2_INTERNAL_ERROR },
};

static nghttp2_nv
nv_of(const char *name, const char *value)
{
	return (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name,
		.namelen = strlen(name),
		.value = (uint8_t *)(uintptr_t)value,
		.valuelen = strlen(value),
	};
}

static ssize_t
on_odd_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t room,
    uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	const struct odd_case *odd = source->ptr;
	nghttp2_nv nv;

	(void)arg;
	(void)room;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (odd->trailer.name != NULL) {
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		nv = nv_of(odd->trailer.name, odd->trailer.value);
		(void)nghttp2_submit_trailer(session, id, &nv, 1);
	}
	if (odd->body_len > 0)
		memcpy(out, odd->body, odd->body_len);
	return (ssize_t)odd->body_len;
}

static int
on_odd_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	const nghttp2_nv nv[] = {
		nv_of(":status", "200"),
		nv_of("content-type", "application/grpc"),
	};
	nghttp2_data_provider data = {
		.source.ptr = arg,
		.read_callback = on_odd_read,
	};
	const struct odd_case *odd = arg;

	if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0 ||
	    (frame->hd.type != NGHTTP2_DATA &&
		frame->hd.type != NGHTTP2_HEADERS))
		return 0;
	if (odd->reset != 0)
		return nghttp2_submit_rst_stream(
		    session, 0, frame->hd.stream_id, odd->reset);
	return nghttp2_submit_response(
	    session, frame->hd.stream_id, nv, countof(nv), &data);
}

/* Serves one connection until the call has ended. */
static void
odd_serve(int listening, const struct odd_case *odd)
{
	unsigned char bytes[4096];
	auto_close int fd = -1;
	nghttp2_session_callbacks *cb;
	nghttp2_session *session;
	const uint8_t *out;
	ssize_t n;

	turn(2);
	fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	(void)nghttp2_session_callbacks_new(&cb);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_odd_frame);
	(void)nghttp2_session_server_new(&session, cb, (void *)(uintptr_t)odd);
	(void)nghttp2_submit_settings(session, 0, NULL, 0);
	for (int i = 0; i < 1000 && running > 0; i++) {
		while ((n = nghttp2_session_mem_send(session, &out)) > 0)
			(void)!send(fd, out, (size_t)n, MSG_NOSIGNAL);
		turn(1);
		while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
			(void)nghttp2_session_mem_recv(
			    session, bytes, (size_t)n);
	}
	nghttp2_session_del(session);
	nghttp2_session_callbacks_del(cb);
}

static void
odd_answers_are_judged(void)
{
	int fd = listen_deaf(10);

	for (size_t i = 0; i < countof(odd_cases); i++) {
		struct client *client = client_new(endpoint);
		struct one o;

		one_start(&o, client, "/test.T/Echo", "", 10000);
		odd_serve(fd, &odd_cases[i]);
		ok(running == 0 && o.call.code == odd_cases[i].code,
		    "%s is %s: %s", odd_cases[i].name,
		    err_code_name(o.call.code),
		    o.call.text != NULL ? o.call.text : "");
		client_call_fini(&o.call);
		client_free(client);
	}
	(void)close(fd);
	(void)unlink(path);
}

static void
waiting_calls_move_to_the_successor(bool has_successor)
{
	const struct server_limits limits = { .streams = 2 };
	struct server *server = server_new(&service_router, &limits);
	struct server *young = NULL;
	struct client *client = client_new(endpoint);
	struct err err = ERR_INIT;
	bool drained = false;
	struct one o[5];
	unsigned done = 0, unavailable = 0;

	if (server_listen(server, endpoint, UNIX_SOCKET_FILE(0600), &err) < 0)
		abort();
	one_start(&o[0], client, "/test.T/Echo", "", 0);
	finish_all(); /* now the client knows the limit */
	client_call_fini(&o[0].call);
	for (int i = 0; i < 5; i++)
		one_start(&o[i], client, "/test.T/Wait", "", 10000);
	turn(10);
	is_int(service_waiting, 2, "calls over the limit of streams wait");
	server_drain(server, on_drained, &drained);
	if (has_successor)
		young = serve();
	turn(20);
	is_int(service_waiting, has_successor ? 5 : 2,
	    "when the server leaves, they %s",
	    has_successor ? "go to its successor" : "fail");
	service_answer();
	finish_all();
	turn(5);
	ok(drained, "... and it has left");
	for (int i = 0; i < 5; i++) {
		done += reply_is(&o[i], "done");
		unavailable += o[i].call.code == ERR_UNAVAILABLE;
		client_call_fini(&o[i].call);
	}
	is_int(done, has_successor ? 5 : 2, "... calls answered");
	is_int(unavailable, has_successor ? 0 : 3, "... calls UNAVAILABLE");
	client_free(client);
	server_free(server);
	if (young != NULL)
		server_free(young);
}

static void
nobody_is_unavailable(void)
{
	struct client *client = client_new(endpoint);
	struct client *odd = client_new("tcp://127.0.0.1:1");
	struct one o, p;

	one_start(&o, client, "/test.T/Echo", "", 1000);
	one_start(&p, odd, "/test.T/Echo", "", 1000);
	finish_all();
	ok(o.call.code == ERR_UNAVAILABLE && !o.call.connected &&
		strstr(o.call.text, path) != NULL,
	    "no server is UNAVAILABLE: %s", o.call.text);
	is_int(p.call.code, ERR_INVALID_ARGUMENT,
	    "an endpoint that is none: %s", p.call.text);
	client_call_fini(&o.call);
	client_call_fini(&p.call);
	client_free(client);
	client_free(odd);
}

static void
lost_connections_are_made_anew(void)
{
	struct server *server = serve();
	struct client *client = client_new(endpoint);
	struct one o, p;

	one_start(&o, client, "/test.T/Wait", "", 10000);
	turn(5);
	server_free(server);
	finish_all();
	ok(o.call.code == ERR_UNAVAILABLE && o.call.connected,
	    "a call whose connection is lost: %s", o.call.text);
	server = serve();
	one_start(&p, client, "/test.T/Echo", "again", 10000);
	finish_all();
	ok(reply_is(&p, "again"), "the next one connects again");
	client_call_fini(&o.call);
	client_call_fini(&p.call);
	client_free(client);
	server_free(server);
}

static void
draining_servers_are_left(void)
{
	struct server *old = serve(), *young;
	struct client *client = client_new(endpoint);
	bool drained = false;
	struct one o, p;

	one_start(&o, client, "/test.T/Wait", "", 10000);
	turn(5);
	server_drain(old, on_drained, &drained);
	turn(5);
	young = serve();
	one_start(&p, client, "/test.T/Echo", "young", 10000);
	turn(10);
	ok(reply_is(&p, "young"), "after GOAWAY calls go elsewhere");
	ok(running == 1 && !drained, "... the one under way goes on");
	service_answer();
	finish_all();
	turn(5);
	ok(reply_is(&o, "done") && drained, "... and is answered");
	client_call_fini(&o.call);
	client_call_fini(&p.call);
	client_free(client);
	server_free(old);
	server_free(young);
}

int
main(void)
{
	log_init("client", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (loop_init() < 0 || mkdtemp(dir) == NULL)
		return 1;
	(void)snprintf(path, sizeof(path), "%s/csi.sock", dir);
	(void)snprintf(endpoint, sizeof(endpoint), "unix://%s", path);
	answers_come_back(false);
	answers_come_back(true);
	many_calls_share_a_connection();
	large_messages_pass();
	deadlines_are_sent_along();
	the_deaf_are_given_up();
	odd_answers_are_judged();
	waiting_calls_move_to_the_successor(false);
	waiting_calls_move_to_the_successor(true);
	nobody_is_unavailable();
	lost_connections_are_made_anew();
	draining_servers_are_left();
	is_int(op_count(), 0, "no operation is left");
	(void)rmdir(dir);
	loop_fini();
	return tap_end();
}
