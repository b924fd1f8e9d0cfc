/*
 * caller.c - our client against a grpc.testing.TestService: the cases of
 * grpc/grpc doc/interop-test-descriptions.md, by their names.
 *
 *	caller ENDPOINT [PID]	TAP on standard output. With the server's
 *				PID it is ended by SIGTERM, under a call
 *
 * Every call has a deadline, which is what bounds each wait.
 */
#include "base/clock.h"
#include "base/log.h"
#include "core/op.h"
#include "rpc/client.h"
#include "tests/rpc/pb_put.h"
#include "tests/tap.h"

#include <errno.h>
#include <signal.h>

#define SERVICE "/grpc.testing.TestService/"
#define TIMEOUT_MS 120000
#define MESSAGE_MAX ((size_t)1 << 20)
#define LARGE_REQUEST 271828
#define LARGE_RESPONSE 314159
#define MANY 100

static struct client *client;

/* ---- a call: its messages, and its waits as operations ---- */

struct talk {
	struct client_call call;
	struct buf message; /* to be sent */
};

enum act_kind { ACT_SEND = 0, ACT_READ, ACT_FINISH, ACT_CALL };

struct act {
	struct op op;
	enum { ACT_START = 0, ACT_WOKEN } state;
	enum act_kind kind;
	const char *path; /* of ACT_CALL */
	int64_t timeout_ms;
	struct talk *talk;
	bool done;
	int rc;
};

static enum op_verdict
act_step(struct op *op)
{
	struct act *act = (struct act *)op;
	struct talk *t = act->talk;

	if (act->state == ACT_WOKEN) {
		act->rc = op->rc;
		act->done = true;
		return OP_DONE;
	}
	switch (act->kind) {
	case ACT_SEND:
		client_call_send_start(
		    &t->call, t->message.data, t->message.len, &op->wake);
		break;
	case ACT_READ:
		client_call_read_start(&t->call, &op->wake);
		break;
	case ACT_FINISH:
		client_call_finish_start(&t->call, &op->wake);
		break;
	case ACT_CALL:
		client_call_start(&t->call, act->path, t->message.data,
		    t->message.len, act->timeout_ms, &op->wake);
		break;
	}
	return op_await(act, ACT_WOKEN);
}

static const struct op_class act_class = { .name = "act", .step = act_step };

static void
act_start(struct act *act, struct talk *t, enum act_kind kind, const char *path)
{
	*act = (struct act){
		.talk = t,
		.kind = kind,
		.path = path,
		.timeout_ms = TIMEOUT_MS,
	};
	op_start(&act->op, &act_class, NULL);
}

static int
act_wait(struct act *act)
{
	while (!act->done)
		loop_turn(true);
	return act->rc;
}

static int
act_run(struct talk *t, enum act_kind kind, const char *path)
{
	struct act act;

	act_start(&act, t, kind, path);
	return act_wait(&act);
}

static void
talk_init(struct talk *t)
{
	client_call_init(&t->call, client);
	buf_init(&t->message, MESSAGE_MAX);
}

static void
talk_open(struct talk *t, const char *path, int64_t timeout_ms)
{
	talk_init(t);
	client_call_open(&t->call, path, timeout_ms);
}

static void
talk_fini(struct talk *t)
{
	client_call_fini(&t->call);
	buf_fini(&t->message);
}

/* ---- messages, by the numbers of their fields (messages.proto) ---- */

static void
put(struct buf *out, unsigned number, const struct buf *message)
{
	if (pb_put(out, number, message->data, message->len) < 0)
		abort();
}

static void
put_number(struct buf *out, unsigned number, uint64_t value)
{
	if (pb_put_varint(out, number, value) < 0)
		abort();
}

/* Payload: so many zeros. */
static void
put_payload(struct buf *out, unsigned number, size_t bytes)
{
	auto_free char *zeros = mem_new(bytes + 1);
	struct buf payload;

	buf_init(&payload, MESSAGE_MAX);
	if (pb_put(&payload, 2, zeros, bytes) < 0)
		abort();
	put(out, number, &payload);
	buf_fini(&payload);
}

/* EchoStatus. */
static void
put_status(struct buf *out, unsigned code, const char *text)
{
	struct buf status;

	buf_init(&status, MESSAGE_MAX);
	put_number(&status, 1, code);
	if (pb_put(&status, 2, text, strlen(text)) < 0)
		abort();
	put(out, 7, &status);
	buf_fini(&status);
}

/* SimpleRequest. */
static void
simple(struct talk *t, size_t response_size, size_t payload)
{
	buf_clear(&t->message);
	put_number(&t->message, 2, response_size);
	put_payload(&t->message, 3, payload);
}

/* Adds a response of that size to a StreamingOutputCallRequest. */
static void
ask_for(struct talk *t, size_t size)
{
	struct buf parameters;

	buf_init(&parameters, 64);
	put_number(&parameters, 1, size);
	put(&t->message, 2, &parameters);
	buf_fini(&parameters);
}

/* The bytes of the payload of what was read. */
static size_t
payload_len(const struct client_call *call)
{
	struct pb message = { call->reply.data, call->reply.len };

	return pb_get(pb_get(message, 1), 2).len;
}

/* ---- the cases ---- */

static bool
empty_unary(void)
{
	struct talk t;
	bool good;

	talk_init(&t);
	good = act_run(&t, ACT_CALL, SERVICE "EmptyCall") == 0 &&
	    t.call.reply.len == 0;
	talk_fini(&t);
	return good;
}

static bool
large_unary(void)
{
	struct talk t;
	bool good;

	talk_init(&t);
	simple(&t, LARGE_RESPONSE, LARGE_REQUEST);
	good = act_run(&t, ACT_CALL, SERVICE "UnaryCall") == 0 &&
	    payload_len(&t.call) == LARGE_RESPONSE;
	talk_fini(&t);
	return good;
}

static bool
concurrent_large_unary(void)
{
	static struct talk t[MANY];
	static struct act act[MANY];
	unsigned good = 0;

	for (int i = 0; i < MANY; i++) {
		talk_init(&t[i]);
		simple(&t[i], LARGE_RESPONSE, LARGE_REQUEST);
		act_start(&act[i], &t[i], ACT_CALL, SERVICE "UnaryCall");
	}
	for (int i = 0; i < MANY; i++) {
		good += act_wait(&act[i]) == 0 &&
		    payload_len(&t[i].call) == LARGE_RESPONSE;
		talk_fini(&t[i]);
	}
	return good == MANY;
}

static const size_t requests[] = { 27182, 8, 1828, 45904 };
static const size_t responses[] = { 31415, 9, 2653, 58979 };

static bool
client_streaming(void)
{
	struct pb reply;
	struct talk t;
	bool good = true;

	talk_open(&t, SERVICE "StreamingInputCall", TIMEOUT_MS);
	for (size_t i = 0; i < countof(requests); i++) {
		buf_clear(&t.message);
		put_payload(&t.message, 1, requests[i]);
		good = act_run(&t, ACT_SEND, NULL) == 0 && good;
	}
	client_call_send_end(&t.call);
	good = act_run(&t, ACT_FINISH, NULL) == 0 && good;
	reply = (struct pb){ t.call.reply.data, t.call.reply.len };
	good = good && pb_get_varint(reply, 1) == 74922;
	talk_fini(&t);
	return good;
}

static bool
ends_with(struct talk *t, enum err_code code)
{
	(void)act_run(t, ACT_READ, NULL);
	return t->call.state == CLIENT_CALL_ENDED && !t->call.has_message &&
	    t->call.code == code;
}

static bool
gets(struct talk *t, size_t size)
{
	return act_run(t, ACT_READ, NULL) == 0 && t->call.has_message &&
	    payload_len(&t->call) == size;
}

static bool
server_streaming(void)
{
	struct talk t;
	bool good = true;

	talk_open(&t, SERVICE "StreamingOutputCall", TIMEOUT_MS);
	for (size_t i = 0; i < countof(responses); i++)
		ask_for(&t, responses[i]);
	good = act_run(&t, ACT_SEND, NULL) == 0;
	client_call_send_end(&t.call);
	for (size_t i = 0; i < countof(responses); i++)
		good = gets(&t, responses[i]) && good;
	good = ends_with(&t, ERR_OK) && good;
	talk_fini(&t);
	return good;
}

/* One message each way. */
static bool
ping(struct talk *t, size_t size, size_t payload)
{
	buf_clear(&t->message);
	ask_for(t, size);
	put_payload(&t->message, 3, payload);
	return act_run(t, ACT_SEND, NULL) == 0 && gets(t, size);
}

static bool
ping_pong(void)
{
	struct talk t;
	bool good = true;

	talk_open(&t, SERVICE "FullDuplexCall", TIMEOUT_MS);
	for (size_t i = 0; i < countof(responses); i++)
		good = ping(&t, responses[i], requests[i]) && good;
	client_call_send_end(&t.call);
	good = ends_with(&t, ERR_OK) && good;
	talk_fini(&t);
	return good;
}

static bool
empty_stream(void)
{
	struct talk t;
	bool good;

	talk_open(&t, SERVICE "FullDuplexCall", TIMEOUT_MS);
	client_call_send_end(&t.call);
	good = ends_with(&t, ERR_OK);
	talk_fini(&t);
	return good;
}

static bool
metadata_is_back(const struct client_call *call)
{
	const char *value = metadata_find(
	    &call->head.trailers, "x-grpc-test-echo-trailing-bin");
	unsigned char bytes[4];

	return str_eq(metadata_find(
			  &call->head.headers, "x-grpc-test-echo-initial"),
		   "test_initial_metadata_value") &&
	    value != NULL &&
	    str_unbase64(bytes, sizeof(bytes), value, strlen(value)) == 3 &&
	    memcmp(bytes, "\xab\xab\xab", 3) == 0;
}

static void
add_metadata(struct client_call *call)
{
	const char text[] = "test_initial_metadata_value";

	if (metadata_add(&call->headers, "x-grpc-test-echo-initial", text,
		sizeof(text) - 1) < 0 ||
	    metadata_add(&call->headers, "x-grpc-test-echo-trailing-bin",
		"\xab\xab\xab", 3) < 0)
		abort();
}

static bool
custom_metadata(void)
{
	struct talk t;
	bool good;

	talk_init(&t);
	add_metadata(&t.call);
	simple(&t, LARGE_RESPONSE, LARGE_REQUEST);
	good = act_run(&t, ACT_CALL, SERVICE "UnaryCall") == 0 &&
	    metadata_is_back(&t.call);
	talk_fini(&t);

	talk_init(&t);
	add_metadata(&t.call);
	client_call_open(&t.call, SERVICE "FullDuplexCall", TIMEOUT_MS);
	good = ping(&t, LARGE_RESPONSE, LARGE_REQUEST) && good;
	client_call_send_end(&t.call);
	good = ends_with(&t, ERR_OK) && metadata_is_back(&t.call) && good;
	talk_fini(&t);
	return good;
}

static bool
fails_as_told(const char *text, bool stream)
{
	struct talk t;
	bool good;

	talk_init(&t);
	put_status(&t.message, ERR_UNKNOWN, text);
	if (stream) {
		client_call_open(&t.call, SERVICE "FullDuplexCall", TIMEOUT_MS);
		(void)act_run(&t, ACT_SEND, NULL);
		client_call_send_end(&t.call);
		(void)act_run(&t, ACT_READ, NULL);
	} else {
		(void)act_run(&t, ACT_CALL, SERVICE "UnaryCall");
	}
	good = t.call.code == ERR_UNKNOWN && str_eq(t.call.text, text);
	talk_fini(&t);
	return good;
}

static bool
status_code_and_message(void)
{
	return fails_as_told("test status message", false) &&
	    fails_as_told("test status message", true);
}

static bool
special_status_message(void)
{
	return fails_as_told("\t\ntest with whitespace\r\nand Unicode BMP ☺ "
			     "and non-BMP 😈\t\n",
	    false);
}

static bool
is_unimplemented(const char *path)
{
	struct talk t;
	bool good;

	talk_init(&t);
	(void)act_run(&t, ACT_CALL, path);
	good = t.call.code == ERR_UNIMPLEMENTED;
	talk_fini(&t);
	return good;
}

static bool
unimplemented_method(void)
{
	return is_unimplemented(SERVICE "UnimplementedCall");
}

static bool
unimplemented_service(void)
{
	return is_unimplemented(
	    "/grpc.testing.UnimplementedService/UnimplementedCall");
}

static bool
cancel_after_begin(void)
{
	struct talk t;
	bool good;

	talk_open(&t, SERVICE "StreamingInputCall", TIMEOUT_MS);
	client_call_cancel(&t.call);
	good = ends_with(&t, ERR_CANCELLED);
	talk_fini(&t);
	return good;
}

static bool
cancel_after_first_response(void)
{
	struct talk t;
	bool good;

	talk_open(&t, SERVICE "FullDuplexCall", TIMEOUT_MS);
	good = ping(&t, responses[0], requests[0]);
	client_call_cancel(&t.call);
	good = ends_with(&t, ERR_CANCELLED) && good;
	talk_fini(&t);
	return good;
}

static bool
timeout_on_sleeping_server(void)
{
	struct talk t;
	bool good;

	talk_open(&t, SERVICE "FullDuplexCall", 1);
	put_payload(&t.message, 3, requests[0]);
	(void)act_run(&t, ACT_SEND, NULL);
	good = ends_with(&t, ERR_DEADLINE_EXCEEDED);
	talk_fini(&t);
	return good;
}

static const struct {
	const char *name;
	bool (*run)(void);
} cases[] = {
#define CASE(name)                                                             \
	{                                                                      \
#name, name                                                    \
	}
	CASE(empty_unary),
	CASE(large_unary),
	CASE(concurrent_large_unary),
	CASE(client_streaming),
	CASE(server_streaming),
	CASE(ping_pong),
	CASE(empty_stream),
	CASE(custom_metadata),
	CASE(status_code_and_message),
	CASE(special_status_message),
	CASE(unimplemented_method),
	CASE(unimplemented_service),
	CASE(cancel_after_begin),
	CASE(cancel_after_first_response),
	CASE(timeout_on_sleeping_server),
};

/*
 * One more call to a server that was told to leave. grpcio may take a call
 * and neither begin nor cancel it: such a call ends at its deadline.
 */
static enum err_code
knock(char text[ERR_TEXT_MAX])
{
	struct talk t;
	struct act act = {
		.talk = &t,
		.kind = ACT_CALL,
		.path = SERVICE "EmptyCall",
		.timeout_ms = 1000,
	};
	enum err_code code;

	talk_init(&t);
	op_start(&act.op, &act_class, NULL);
	(void)act_wait(&act);
	code = t.call.code;
	(void)snprintf(text, ERR_TEXT_MAX, "%s", t.call.text);
	talk_fini(&t);
	return code;
}

/* The server ends gracefully while a stream is open. */
static void
server_leaves(pid_t pid)
{
	char text[ERR_TEXT_MAX];
	int64_t end = clock_now_ms() + TIMEOUT_MS;
	enum err_code code;
	struct talk t;
	bool good;

	talk_open(&t, SERVICE "FullDuplexCall", 2 * TIMEOUT_MS);
	good = ping(&t, responses[0], requests[0]);
	(void)kill(pid, SIGTERM);
	do /* until it takes no more: some may still be in time */
		code = knock(text);
	while ((code == ERR_OK || code == ERR_DEADLINE_EXCEEDED) &&
	    clock_now_ms() < end);
	/* grpcio cancels a call that came in but was not begun. */
	if (!ok(code == ERR_UNAVAILABLE || code == ERR_CANCELLED,
		"a server that leaves takes no new call"))
		diag("got %d, %s", (int)code, text);
	good = ping(&t, responses[1], requests[1]) && good;
	client_call_send_end(&t.call);
	good = ends_with(&t, ERR_OK) && good;
	ok(good, "... and the stream under way ends well");
	talk_fini(&t);
}

int
main(int argc, char **argv)
{
	if (argc < 2 || argc > 3)
		return 2;
	log_init("caller", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (loop_init() < 0)
		return 1;
	client = client_new(argv[1]);
	for (size_t i = 0; i < countof(cases); i++)
		ok(cases[i].run(), "%s", cases[i].name);
	client_connect_per_call(client);
	ok(empty_unary() && large_unary() && client_streaming(),
	    "a connection for each call");
	client_free(client);
	client = client_new(argv[1]);
	if (argc == 3)
		server_leaves((pid_t)atoi(argv[2]));
	client_free(client);
	is_int(op_count(), 0, "no operation is left");
	loop_fini();
	return tap_end();
}
