/*
 * client_ends.c - a call is cancelled, late or left alone at every moment of
 * its life: it ends so, and nothing of it is left, at neither end.
 */
#include "base/clock.h"
#include "rpc/call.h"
#include "tests/rpc/caller.h"
#include "tests/rpc/rawserver.h"
#include "tests/tap.h"

#include <errno.h>

#define NOW_MS 1000000
#define TIMEOUT_MS 10000

static struct client *client;

enum way { BY_CANCEL = 0, BY_DEADLINE, BY_SERVER };

static const struct {
	const char *name;
	enum err_code code;
} ways[] = {
	[BY_CANCEL] = { "cancelled", ERR_CANCELLED },
	[BY_DEADLINE] = { "late", ERR_DEADLINE_EXCEEDED },
	[BY_SERVER] = { "left alone", ERR_UNAVAILABLE },
};

/* What the server does before the n-th turn. */
static void
answer_slowly(struct wire *raw, unsigned n)
{
	switch (n) {
	case 3:
		raw_greet(raw, 0, 0);
		return;
	case 5:
		raw_headers(raw, 0, 1, RAW_OK_HEAD "a: b\n");
		return;
	case 7:
		raw_frame(raw, NGHTTP2_DATA, 0, 1, "\0\0", 2);
		return;
	case 9:
		raw_frame(raw, NGHTTP2_DATA, 0, 1, "\0\0\1x", 4);
		return;
	case 11:
		raw_headers(raw, NGHTTP2_FLAG_END_STREAM, 1, RAW_OK_TAIL);
		return;
	default:
		return;
	}
}

static void
end(struct one *o, struct wire *raw, enum way way)
{
	switch (way) {
	case BY_CANCEL:
		client_call_cancel(&o->call);
		return;
	case BY_DEADLINE:
		clock_fake(NOW_MS + TIMEOUT_MS);
		return;
	case BY_SERVER:
		if (raw->fd < 0)
			raw_greet(raw, 0, 0);
		wire_fini(raw);
		return;
	}
}

/* ---- one message each way, and a server that answers bit by bit ---- */

/* After each number of turns between the start of a call and its answer. */
static void
end_unary_calls(enum way way)
{
	unsigned n = 1, good = 0;
	bool answered = false;

	for (; n < 100 && !answered; n++) {
		struct wire raw = { .fd = -1 };
		struct one o;

		clock_fake(NOW_MS);
		one_start(&o, client, "/test.T/Echo", "hello", TIMEOUT_MS);
		for (unsigned i = 1; i <= n; i++) {
			answer_slowly(&raw, i);
			turn(1);
		}
		answered = o.done;
		end(&o, &raw, way);
		finish_all();
		good += o.call.code == ways[way].code;
		client_call_fini(&o.call);
		wire_fini(&raw);
		while (raw_has_caller() && raw_accept(&raw))
			wire_fini(&raw);
		turn(5);
	}
	ok(n > 8 && answered && good == n - 2,
	    "%s after any of %u turns, a call is %s", ways[way].name, good,
	    err_code_name(ways[way].code));
	is_int(caller_connections(client), 0, "... and leaves nothing behind");
	clock_fake(-1);
}

/* ---- many messages, and our own server ---- */

static struct server *server;
static struct call *echoed; /* NULL: none is open */

static void
on_gone(struct call *call, enum call_gone why)
{
	(void)call;
	(void)why;
	echoed = NULL;
}

static void
on_message(struct call *call, const void *bytes, size_t len)
{
	if (bytes != NULL && stream_send(call, bytes, len) == 0) {
		stream_read(call);
		return;
	}
	echoed = NULL;
	stream_end(call);
}

static void
echo(struct call *call)
{
	echoed = call;
	call->gone = on_gone;
	call->message = on_message;
	stream_read(call);
}

static const struct rpc_method methods[] = {
	{ .name = "Echo", .start = echo, .client_streams = true },
};
static const struct rpc_service service = { "t.S", methods, countof(methods) };
static const struct rpc_service *const services[] = { &service };
static const struct router router = {
	.services = services,
	.service_count = countof(services),
};

/* Sends and reads two messages and the end, as an operation. */
struct talk {
	struct op op;
	enum { TALK_START = 0, TALK_SENT, TALK_READ, TALK_ENDED } state;
	struct client_call call;
	unsigned rounds;
	int rc;
	bool done;
};

static enum op_verdict
talk_send(struct talk *t)
{
	if (t->rounds++ == 2) {
		client_call_send_end(&t->call);
		client_call_read_start(&t->call, &t->op.wake);
		return op_await(t, TALK_ENDED);
	}
	client_call_send_start(&t->call, "hello", 5, &t->op.wake);
	return op_await(t, TALK_SENT);
}

static enum op_verdict
talk_step(struct op *op)
{
	struct talk *t = (struct talk *)op;

	switch (t->state) {
	case TALK_START:
		client_call_open(&t->call, "/t.S/Echo", TIMEOUT_MS);
		return talk_send(t);
	case TALK_SENT: /* if that failed, reading tells why */
		client_call_read_start(&t->call, &op->wake);
		return op_await(t, TALK_READ);
	case TALK_READ:
		if (op->rc == 0 && t->call.has_message)
			return talk_send(t);
		/* fallthrough */
	case TALK_ENDED:
		t->rc = op->rc;
		t->done = true;
		return OP_DONE;
	}
	abort();
}

static const struct op_class talk_class = { .name = "talk", .step = talk_step };

static void
end_talk(struct talk *t, enum way way)
{
	switch (way) {
	case BY_CANCEL:
		client_call_cancel(&t->call);
		return;
	case BY_DEADLINE:
		clock_fake(NOW_MS + TIMEOUT_MS);
		return;
	case BY_SERVER:
		server_free(server);
		server = caller_serve(&router, NULL);
		return;
	}
}

/*
 * After each number of turns. At the first ones another server can do it all,
 * and at the last ones all is on the way: such a call may end well.
 */
static void
end_streams(enum way way)
{
	unsigned n = 1, ended = 0, well = 0, left = 0;
	bool whole = false;

	for (; n < 200 && !whole; n++) {
		struct talk t = { .rounds = 0 };

		clock_fake(NOW_MS);
		client_call_init(&t.call, client);
		op_start(&t.op, &talk_class, NULL);
		turn((int)n);
		whole = t.done;
		end_talk(&t, way);
		for (int i = 0; i < 1000 && !t.done; i++)
			turn(1);
		ended += t.rc == err_rc_of(ways[way].code);
		well += t.rc == 0;
		client_call_fini(&t.call);
		turn(20);
		left += echoed != NULL || server_counters(server)->calls != 0 ||
		    server_counters(server)->buffered_bytes != 0 ||
		    op_count() != 0;
	}
	ok(whole && ended >= 4 && ended + well == n - 1,
	    "%s after any of %u turns, a stream is %s, or ends well",
	    ways[way].name, n - 1, err_code_name(ways[way].code));
	is_int(left, 0, "... and leaves nothing behind");
	clock_fake(-1);
}

int
main(void)
{
	caller_init("client_ends");
	client = client_new(caller_endpoint);
	raw_listen();
	end_unary_calls(BY_CANCEL);
	end_unary_calls(BY_DEADLINE);
	end_unary_calls(BY_SERVER);
	raw_unlisten();
	server = caller_serve(&router, NULL);
	end_streams(BY_CANCEL);
	end_streams(BY_DEADLINE);
	end_streams(BY_SERVER);
	client_free(client);
	server_free(server);
	is_int(op_count(), 0, "no operation is left");
	caller_fini();
	return tap_end();
}
