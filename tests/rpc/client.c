/*
 * client.c - calls of one message each way, to our own server and to none.
 */
#include "base/clock.h"
#include "config.h"
#include "tests/rpc/caller.h"
#include "tests/rpc/peer.h"
#include "tests/rpc/rawserver.h"
#include "tests/rpc/service.h"
#include "tests/tap.h"

#include <nghttp2/nghttp2.h>

#define NOW_MS 1000000
#define MANY 500

static struct server *
serve(void)
{
	return caller_serve(&service_router, NULL);
}

static void
answers_come_back(bool per_call)
{
	struct server *server = serve();
	struct client *client = client_new(caller_endpoint);
	struct one o[3];
	const char *how = per_call ? "own connections" : "one connection";

	if (per_call)
		client_connect_per_call(client);
	one_start(&o[0], client, "/test.T/Echo", "hello", 10000);
	one_start(&o[1], client, "/test.T/Fail", "v\xc3\xb6lume 100%", 0);
	one_start(&o[2], client, "/test.T/Nope", "", 10000);
	finish_all();
	ok(reply_is(&o[0].call, "hello"), "an answer comes back (%s)", how);
	ok(o[1].rc == err_rc_of(ERR_NOT_FOUND) &&
		o[1].call.code == ERR_NOT_FOUND &&
		str_eq(o[1].call.text, "v\xc3\xb6lume 100%"),
	    "a failure has code and text (%s)", how);
	is_int(o[2].call.code, ERR_UNIMPLEMENTED,
	    "an unknown method is UNIMPLEMENTED (%s)", how);
	ok(o[0].call.connected, "somebody listened (%s)", how);
	turn(5);
	is_int(server_counters(server)->connections, per_call ? 0 : 1,
	    "connections left (%s)", how);
	for (int i = 0; i < 3; i++)
		client_call_fini(&o[i].call);
	client_free(client);
	turn(3);
	is_int(server_counters(server)->connections, 0,
	    "no connection after the client (%s)", how);
	server_free(server);
}

static void
many_calls_share_a_connection(void)
{
	static struct one o[MANY];
	struct server *server = serve();
	struct client *client = client_new(caller_endpoint);
	unsigned good = 0;

	for (int i = 0; i < MANY; i++)
		one_start(&o[i], client, "/test.T/Echo", "hello", 60000);
	finish_all();
	for (int i = 0; i < MANY; i++) {
		good += reply_is(&o[i].call, "hello");
		client_call_fini(&o[i].call);
	}
	is_int(good, MANY, "%d calls at once, fewer streams allowed", MANY);
	is_int(
	    server_counters(server)->connections, 1, "... on one connection");
	client_free(client);
	server_free(server);
}

static void
large_messages_pass(void)
{
	struct server *server = serve();
	struct client *client = client_new(caller_endpoint);
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
	struct client *client = client_new(caller_endpoint);
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

/* HEADERS as lines "name: value". */
static void
unpack(const struct frame *frame, char *out, size_t size)
{
	const uint8_t *at = frame->payload, *end = at + frame->len;
	nghttp2_hd_inflater *inflater;
	nghttp2_nv nv;
	ssize_t n = 0;
	int flags = 0;
	size_t len = 0;

	if (nghttp2_hd_inflate_new(&inflater) < 0)
		abort();
	for (; n >= 0 && (flags & NGHTTP2_HD_INFLATE_FINAL) == 0; at += n) {
		n = nghttp2_hd_inflate_hd2(
		    inflater, &nv, &flags, at, (size_t)(end - at), 1);
		if (n >= 0 && (flags & NGHTTP2_HD_INFLATE_EMIT) != 0)
			len += (size_t)snprintf(out + len, size - len,
			    "%s: %s\n", nv.name, nv.value);
	}
	nghttp2_hd_inflate_del(inflater);
}

/* In the order that PROTOCOL-HTTP2 asks for. */
static void
requests_are_as_specified(void)
{
	struct client *client = client_new(caller_endpoint);
	char lines[1024] = "";
	struct frame frame;
	struct wire raw;
	struct one o;

	raw_listen();
	one_init(&o, client, "/test.T/Echo", "hello", 10000);
	ok(metadata_add(&o.call.headers, "x-text", "a b", 3) == 0 &&
		metadata_add(&o.call.headers, "x-data-bin", "\0\1", 2) == 0,
	    "a call with metadata");
	clock_fake(NOW_MS);
	one_begin(&o);
	raw_greet(&raw, 0, 0);
	if (raw_wait(&raw, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, &frame))
		unpack(&frame, lines, sizeof(lines));
	is_str(lines,
	    ":method: POST\n"
	    ":scheme: http\n"
	    ":path: /test.T/Echo\n"
	    ":authority: localhost\n"
	    "grpc-timeout: 10000m\n"
	    "te: trailers\n"
	    "content-type: application/grpc\n"
	    "user-agent: grpc-c-rbd-csi/" PACKAGE_VERSION "\n"
	    "x-text: a b\n"
	    "x-data-bin: AAE\n",
	    "... sends these headers");
	ok(raw_wait(&raw, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, &frame) &&
		frame.len == 10 &&
		memcmp(frame.payload, "\0\0\0\0\5hello", 10) == 0,
	    "... and this body");
	raw_answer(&raw, frame.id);
	finish_all();
	ok(reply_is(&o.call, "x"), "... and takes the answer");
	clock_fake(-1);
	client_call_fini(&o.call);
	client_free(client);
	wire_fini(&raw);
	raw_unlisten();
}

/* What a call has waited for its stream is time that the server has not. */
static void
waiting_takes_from_the_deadline(void)
{
	const struct server_limits limits = { .streams = 1 };
	struct server *server = caller_serve(&service_router, &limits);
	struct client *client = client_new(caller_endpoint);
	struct one o[3];

	clock_fake(NOW_MS);
	service_last_words = NULL;
	one_start(&o[0], client, "/test.T/Echo", "", 0);
	finish_all(); /* now the client knows the limit */
	one_start(&o[1], client, "/test.T/Wait", "", 0);
	one_start(&o[2], client, "/test.T/Wait", "", 10000);
	turn(10);
	is_int(service_waiting, 1, "one call runs, one waits for a stream");
	clock_fake(NOW_MS + 4000);
	service_answer();
	turn(10);
	is_int(service_deadline_ms, NOW_MS + 9900,
	    "... and has what is left of its time");
	service_answer();
	finish_all();
	ok(reply_is(&o[2].call, "done"), "... and its answer");
	clock_fake(-1);
	for (int i = 0; i < 3; i++)
		client_call_fini(&o[i].call);
	client_free(client);
	server_free(server);
}

static void
the_deaf_are_given_up(void)
{
	int fd = caller_listen(0);
	struct client *client = client_new(caller_endpoint);
	struct one o[3];

	clock_fake(NOW_MS);
	client_connect_per_call(client);
	for (int i = 0; i < 3; i++)
		one_start(&o[i], client, "/test.T/Echo", "", 1000);
	turn(5);
	is_int(one_running, 3, "a server that is deaf is waited for");
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
	(void)unlink(caller_path);
}

static void
waiting_calls_move_to_the_successor(bool has_successor)
{
	const struct server_limits limits = { .streams = 2 };
	struct server *server = caller_serve(&service_router, &limits);
	struct server *young = NULL;
	struct client *client = client_new(caller_endpoint);
	bool drained = false;
	struct one o[5];
	unsigned done = 0, unavailable = 0;

	one_start(&o[0], client, "/test.T/Echo", "", 0);
	finish_all(); /* now the client knows the limit */
	client_call_fini(&o[0].call);
	for (int i = 0; i < 5; i++)
		one_start(&o[i], client, "/test.T/Wait", "", 10000);
	turn(10);
	is_int(service_waiting, 2, "calls over the limit of streams wait");
	drain_server(server, &drained);
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
		done += reply_is(&o[i].call, "done");
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
	struct client *client = client_new(caller_endpoint);
	struct client *odd = client_new("tcp://127.0.0.1:1");
	struct one o, p;

	one_start(&o, client, "/test.T/Echo", "", 1000);
	one_start(&p, odd, "/test.T/Echo", "", 1000);
	finish_all();
	ok(o.call.code == ERR_UNAVAILABLE && !o.call.connected &&
		strstr(o.call.text, caller_path) != NULL,
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
	struct client *client = client_new(caller_endpoint);
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
	ok(reply_is(&p.call, "again"), "the next one connects again");
	client_call_fini(&o.call);
	client_call_fini(&p.call);
	client_free(client);
	server_free(server);
}

static void
draining_servers_are_left(void)
{
	struct server *old = serve(), *young;
	struct client *client = client_new(caller_endpoint);
	bool drained = false;
	struct one o, p;

	one_start(&o, client, "/test.T/Wait", "", 10000);
	turn(5);
	drain_server(old, &drained);
	turn(5);
	young = serve();
	one_start(&p, client, "/test.T/Echo", "young", 10000);
	turn(10);
	ok(reply_is(&p.call, "young"), "after GOAWAY calls go elsewhere");
	ok(one_running == 1 && !drained, "... the one under way goes on");
	service_answer();
	finish_all();
	turn(5);
	ok(reply_is(&o.call, "done") && drained, "... and is answered");
	client_call_fini(&o.call);
	client_call_fini(&p.call);
	client_free(client);
	server_free(old);
	server_free(young);
}

int
main(void)
{
	caller_init("client");
	answers_come_back(false);
	answers_come_back(true);
	many_calls_share_a_connection();
	large_messages_pass();
	deadlines_are_sent_along();
	requests_are_as_specified();
	waiting_takes_from_the_deadline();
	the_deaf_are_given_up();
	waiting_calls_move_to_the_successor(false);
	waiting_calls_move_to_the_successor(true);
	nobody_is_unavailable();
	lost_connections_are_made_anew();
	draining_servers_are_left();
	is_int(op_count(), 0, "no operation is left");
	caller_fini();
	return tap_end();
}
