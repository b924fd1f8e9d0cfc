/*
 * client_streams.c - calls of many messages to our own server: in both
 * directions, with a reader or a sender that is slow, with metadata, and
 * every way in which they end.
 */
#include "base/clock.h"
#include "rpc/call.h"
#include "rpc/client_impl.h"
#include "tests/rpc/caller.h"
#include "tests/rpc/manyservice.h"
#include "tests/tap.h"

#include <errno.h>

#define NOW_MS 1000000
#define LARGE 300000 /* of a message: more than all windows */

static struct server *server;
static struct client *client;

/* ---- helpers ---- */

static void
begin(struct client_call *call, const char *method, int64_t timeout_ms)
{
	memset(&many, 0, sizeof(many));
	client_call_init(call, client);
	client_call_open(call, method, timeout_ms);
}

/* Lets everything happen that can. */
static void
settle(void)
{
	turn(200);
}

static void
end(struct client_call *call, const char *what)
{
	client_call_fini(call);
	settle();
	ok(many.open == NULL && op_count() == 0 &&
		server_counters(server)->calls == 0 &&
		server_counters(server)->buffered_bytes == 0,
	    "... and nothing is left of it (%s)", what);
}

static bool
is_message(struct client_call *call, const char *want)
{
	return read_one(call) == 0 && reply_is(call, want);
}

static bool
is_end(struct client_call *call, enum err_code code)
{
	int rc = read_one(call);

	return rc == (code == ERR_OK ? 0 : err_rc_of(code)) &&
	    !call->has_message && call->code == code;
}

/* ---- the four kinds ---- */

static void
servers_stream(void)
{
	struct client_call call;
	unsigned good = 0;

	begin(&call, "/t.S/Count", 10000);
	many.to_send = 1000;
	many.size = 10;
	ok(send_text(&call, "") == 0, "a request is sent");
	client_call_send_end(&call);
	while (is_message(&call, "xxxxxxxxxx"))
		good++;
	is_int(good, 1000, "... and answered by many messages");
	ok(!call.has_message && call.code == ERR_OK &&
		call.state == CLIENT_CALL_ENDED,
	    "... then the call has ended with OK");
	ok(is_end(&call, ERR_OK), "... which it tells again when it is asked");
	end(&call, "server streams");

	begin(&call, "/t.S/Count", 10000);
	ok(send_text(&call, "") == 0, "a request for nothing");
	client_call_send_end(&call);
	ok(is_end(&call, ERR_OK), "... is answered by no message");
	end(&call, "empty stream");
}

static void
clients_stream(void)
{
	struct client_call call;
	unsigned good = 0;

	begin(&call, "/t.S/Sum", 10000);
	while (good < 1000 && send_text(&call, "0123456789") == 0)
		good++;
	client_call_send_end(&call);
	is_int(good, 1000, "many messages are sent");
	ok(read_answer(&call) == 0 && reply_is(&call, "1000 10000"),
	    "... and answered by one");
	end(&call, "client streams");

	begin(&call, "/t.S/Sum", 10000);
	client_call_send_end(&call);
	ok(read_answer(&call) == 0 && reply_is(&call, "0 0"),
	    "no message at all is answered, too");
	end(&call, "empty client stream");
}

static void
both_stream(void)
{
	struct client_call call;
	unsigned good = 0;

	begin(&call, "/t.S/Echo", 10000);
	for (int i = 0; i < 100; i++)
		good += send_text(&call, "ping") == 0 &&
		    is_message(&call, "ping");
	is_int(good, 100, "messages go there and back");
	client_call_send_end(&call);
	ok(is_end(&call, ERR_OK), "... until we have no more");
	end(&call, "both stream");

	begin(&call, "/t.S/Echo", 10000);
	client_call_send_end(&call);
	ok(is_end(&call, ERR_OK), "a stream of nothing ends with OK");
	end(&call, "empty streams");
}

static void
large_messages(void)
{
	auto_free char *bytes = mem_new(LARGE);
	struct client_call call;
	struct act reader, sender;

	memset(bytes, 'y', LARGE);
	begin(&call, "/t.S/Echo", 10000);
	act_start(&sender, ACT_SEND, &call, bytes, LARGE);
	act_start(&reader, ACT_READ, &call, NULL, 0);
	ok(act_wait(&reader) && reader.rc == 0 && call.reply.len == LARGE &&
		memcmp(call.reply.data, bytes, LARGE) == 0,
	    "a message larger than all windows comes back");
	ok(act_wait(&sender) && sender.rc == 0, "... and its sender is told");
	end(&call, "large messages");
}

/* ---- who is slow ---- */

static void
slow_readers_hold_the_server(void)
{
	struct client_call slow, fast;
	unsigned sent, good = 0;

	begin(&slow, "/t.S/Count", 0);
	many.to_send = 1000;
	many.size = 10000;
	ok(send_text(&slow, "") == 0, "a stream that nobody reads");
	client_call_send_end(&slow);
	settle();
	sent = many.sent;
	ok(sent > 0 && sent < 100 && slow.inbox.len <= 65535,
	    "... makes the server wait (%u sent, %zu held)", sent,
	    slow.inbox.len);
	client_call_init(&fast, client);
	client_call_open(&fast, "/t.S/Meta", 10000);
	ok(send_text(&fast, "") == 0 &&
		is_end(&fast, ERR_INVALID_ARGUMENT) == false,
	    "... and no other call");
	client_call_fini(&fast);
	for (int i = 0; i < 3; i++)
		good += read_one(&slow) == 0 && slow.reply.len == 10000;
	settle();
	ok(good == 3 && many.sent - sent < 20, "what is read is followed by %u",
	    many.sent - sent);
	while (read_one(&slow) == 0 && slow.has_message)
		good++;
	is_int(good, 1000, "... and in the end all has come");
	is_int(slow.code, ERR_OK, "... with OK");
	end(&slow, "slow reader");
}

static void
slow_servers_hold_the_sender(void)
{
	static char bytes[10000];
	struct client_call call;
	struct act sender;
	unsigned n = 0;

	begin(&call, "/t.S/Sum", 0);
	many.held = true;
	for (; n < 1000; n++) {
		act_start(&sender, ACT_SEND, &call, bytes, sizeof(bytes));
		settle();
		if (!sender.done)
			break;
	}
	ok(n > 5 && n < 30 && call.out.len - call.out_at < 100000,
	    "a server that does not read holds the sender (%u sent)", n);
	stream_read(many.open);
	ok(act_wait(&sender) && sender.rc == 0, "... until it reads");
	client_call_send_end(&call);
	ok(read_answer(&call) == 0 && call.has_message, "... to the end");
	is_int(many.messages, n + 1, "... and all has arrived");
	end(&call, "slow server");
}

/* ---- ends ---- */

static void
failures_come_behind_messages(void)
{
	struct client_call call;
	const char *details;
	size_t len;

	begin(&call, "/t.S/Fail", 10000);
	ok(send_text(&call, "go") == 0 && is_message(&call, "one") &&
		is_message(&call, "two") && is_end(&call, ERR_ABORTED),
	    "messages come, and then the failure");
	ok(str_eq(call.text, "that is enough"), "... with its text");
	details = call.head.details;
	len = call.head.details_len;
	ok(details != NULL &&
		memmem(details, len, "google.rpc.ErrorInfo", 20) &&
		memmem(details, len, "\12\3WHY", 5),
	    "... and its details");
	is_int(send_text(&call, "more"), -EPIPE, "nothing can be sent then");
	client_call_send_end(&call);
	end(&call, "failure");
}

static void
senders_are_told_of_the_end(void)
{
	static char bytes[200000];
	struct client_call call;
	struct act sender;

	begin(&call, "/t.S/Fail", 10000);
	many.held = true;
	act_start(&sender, ACT_SEND, &call, bytes, sizeof(bytes));
	settle();
	ok(!sender.done, "a sender that waits");
	many_fail();
	ok(act_wait(&sender) && sender.rc == -EPIPE,
	    "... is woken when the server has enough");
	ok(is_message(&call, "one") && is_message(&call, "two") &&
		is_end(&call, ERR_ABORTED),
	    "... and reading tells why");
	end(&call, "sender told");
}

static void
one_answer_is_not_two(void)
{
	struct client_call call;

	begin(&call, "/t.S/Count", 10000);
	many.to_send = 2;
	many.size = 1;
	ok(send_text(&call, "") == 0, "a request");
	client_call_send_end(&call);
	is_int(read_answer(&call), err_rc_of(ERR_UNIMPLEMENTED),
	    "one answer was asked for, and two came");
	end(&call, "two answers");

	begin(&call, "/t.S/Count", 10000);
	many.to_send = 2;
	many.size = 1;
	(void)send_text(&call, "");
	client_call_send_end(&call);
	ok(is_message(&call, "x"), "but when one of two is read");
	ok(read_answer(&call) == 0 && reply_is(&call, "x"),
	    "... the other is the answer");
	end(&call, "second answer");
}

static void
messages_have_a_limit(void)
{
	struct client_call call;

	client->reply_bytes = 1000;
	begin(&call, "/t.S/Count", 10000);
	client->reply_bytes = (size_t)64 << 20;
	many.to_send = 2;
	many.size = 1001;
	ok(send_text(&call, "") == 0, "a request");
	client_call_send_end(&call);
	ok(is_end(&call, ERR_RESOURCE_EXHAUSTED),
	    "a message over the limit ends the call");
	settle();
	ok(many.gone[CALL_CANCELLED] + many.sent > 0, "... also at the server");
	end(&call, "too large");
}

/* ---- cancel and deadline, while both ends wait for each other ---- */

static void
waits_can_be_cancelled(void)
{
	struct client_call call;
	struct act reader;

	begin(&call, "/t.S/Echo", 10000);
	act_start(&reader, ACT_READ, &call, NULL, 0);
	settle();
	ok(!reader.done && many.open != NULL, "a reader that waits");
	client_call_cancel(&call);
	ok(!reader.done, "... is not woken inside");
	ok(act_wait(&reader) && reader.rc == err_rc_of(ERR_CANCELLED),
	    "... but afterwards, when the call is cancelled");
	settle();
	is_int(many.gone[CALL_CANCELLED], 1, "... and the server knows");
	ok(is_end(&call, ERR_CANCELLED), "what is read then says so, too");
	end(&call, "cancel");

	begin(&call, "/t.S/Echo", 0);
	ok(send_text(&call, "hello") == 0, "a call that is forgotten");
	settle();
	end(&call, "forgotten");
	is_int(many.gone[CALL_CANCELLED], 1, "... is cancelled, too");
}

static void
deadlines_end_streams(void)
{
	static char bytes[200000];
	struct client_call call;
	struct act reader, sender;

	clock_fake(NOW_MS);
	begin(&call, "/t.S/Sum", 1000);
	many.held = true;
	act_start(&reader, ACT_READ, &call, NULL, 0);
	act_start(&sender, ACT_SEND, &call, bytes, sizeof(bytes));
	settle();
	ok(!reader.done && !sender.done, "a reader and a sender wait");
	clock_fake(NOW_MS + 1000);
	ok(act_wait(&reader) && reader.rc == err_rc_of(ERR_DEADLINE_EXCEEDED) &&
		act_wait(&sender) && sender.rc == -EPIPE,
	    "... until the deadline: %s", call.text);
	end(&call, "deadline");
	clock_fake(-1);
}

/* The deadline is for the server: what it has sent in time can be read. */
static void
deadlines_spare_what_has_come(void)
{
	struct client_call call;

	clock_fake(NOW_MS);
	begin(&call, "/t.S/Count", 1000);
	many.to_send = 3;
	many.size = 1;
	ok(send_text(&call, "") == 0, "a stream that ends in time");
	client_call_send_end(&call);
	settle();
	clock_fake(NOW_MS + 5000);
	settle();
	ok(is_message(&call, "x") && is_message(&call, "x") &&
		is_message(&call, "x") && is_end(&call, ERR_OK),
	    "... is read later");
	end(&call, "read late");
	clock_fake(-1);
}

static void
lost_servers_end_streams(void)
{
	struct client_call call;
	struct act reader;

	begin(&call, "/t.S/Echo", 10000);
	act_start(&reader, ACT_READ, &call, NULL, 0);
	settle();
	server_free(server);
	(void)act_wait(&reader);
	ok(reader.done && reader.rc == err_rc_of(ERR_UNAVAILABLE),
	    "a stream ends with its server: %s", call.text);
	is_int(send_text(&call, "more"), -EPIPE, "... in both directions");
	client_call_fini(&call);
	begin(&call, "/t.S/Echo", 10000);
	ok(is_end(&call, ERR_UNAVAILABLE) && !call.connected,
	    "without a server there is none: %s", call.text);
	client_call_fini(&call);
	server = caller_serve(&many_router, NULL);
}

/* ---- metadata ---- */

static void
metadata_goes_both_ways(void)
{
	static const char data[] = "\0\1\2\xff";
	struct client_call call;
	unsigned char back[8];
	const char *value;

	client_call_init(&call, client);
	ok(metadata_add(&call.headers, "x-text", "one", 3) == 0 &&
		metadata_add(&call.headers, "x-text", "two", 3) == 0 &&
		metadata_add(&call.headers, "x-data-bin", data, 4) == 0,
	    "metadata is taken");
	ok(metadata_add(&call.headers, "X-Text", "", 0) == -EINVAL &&
		metadata_add(&call.headers, "grpc-status", "0", 1) == -EINVAL &&
		metadata_add(&call.headers, ":path", "/", 1) == -EINVAL &&
		metadata_add(&call.headers, "x", "\n", 1) == -EINVAL,
	    "... but not what would be something else");
	client_call_open(&call, "/t.S/Meta", 10000);
	ok(send_text(&call, "") == 0, "... and sent");
	client_call_send_end(&call);
	ok(read_answer(&call) == 0 && reply_is(&call, "ok"), "... and arrives");
	ok(str_eq(metadata_find(&call.head.headers, "x-text"), "one,two"),
	    "what the server sends before messages is a header");
	ok(metadata_find(&call.head.trailers, "x-text") == NULL &&
		metadata_find(&call.head.headers, "content-type") == NULL,
	    "... and nothing else is");
	value = metadata_find(&call.head.trailers, "x-data-bin");
	ok(value != NULL &&
		str_unbase64(back, sizeof(back), value, strlen(value)) == 4 &&
		memcmp(back, data, 4) == 0,
	    "what comes behind them is a trailer, and bytes stay bytes");
	end(&call, "metadata");

	begin(&call, "/t.S/MetaFail", 10000);
	ok(send_text(&call, "") == 0, "a call that fails at once");
	client_call_send_end(&call);
	ok(is_end(&call, ERR_ABORTED) &&
		str_eq(
		    metadata_find(&call.head.trailers, "x-text"), "trailer") &&
		metadata_find(&call.head.headers, "x-text") == NULL,
	    "... has all its metadata in the trailers");
	end(&call, "trailers only");
}

static void
connections_of_their_own(void)
{
	struct client *shared = client;
	struct client_call one, two;

	client = client_new(caller_endpoint);
	client_connect_per_call(client);
	begin(&one, "/t.S/Echo", 10000);
	begin(&two, "/t.S/Sum", 10000);
	ok(send_text(&one, "hello") == 0 && is_message(&one, "hello") &&
		send_text(&two, "12345") == 0,
	    "two streams, a connection for each");
	is_int(server_counters(server)->connections, 3,
	    "... beside the shared one");
	client_call_send_end(&two);
	ok(read_answer(&two) == 0 && reply_is(&two, "1 5"),
	    "... one is answered");
	client_call_send_end(&one);
	ok(is_end(&one, ERR_OK), "... the other ends");
	settle();
	is_int(server_counters(server)->connections, 1,
	    "... and their connections with them");
	client_call_fini(&one);
	client_call_fini(&two);
	client_free(client);
	client = shared;
}

int
main(void)
{
	caller_init("client_streams");
	server = caller_serve(&many_router, NULL);
	client = client_new(caller_endpoint);
	servers_stream();
	clients_stream();
	both_stream();
	large_messages();
	slow_readers_hold_the_server();
	slow_servers_hold_the_sender();
	failures_come_behind_messages();
	senders_are_told_of_the_end();
	one_answer_is_not_two();
	messages_have_a_limit();
	waits_can_be_cancelled();
	deadlines_end_streams();
	deadlines_spare_what_has_come();
	metadata_goes_both_ways();
	connections_of_their_own();
	lost_servers_end_streams();
	client_free(client);
	server_free(server);
	caller_fini();
	return tap_end();
}
