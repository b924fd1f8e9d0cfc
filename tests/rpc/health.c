/*
 * health.c - grpc.health.v1, and the codec it is written with.
 */
#include "rpc/health.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "rpc/call.h"
#include "rpc/grpc.h"
#include "tests/rpc/pb_put.h"
#include "tests/rpc/peer.h"
#include "tests/tap.h"

#include <errno.h>

#define NOW_MS 1000000
#define CHECK "/grpc.health.v1.Health/Check"
#define LIST "/grpc.health.v1.Health/List"
#define WATCH "/grpc.health.v1.Health/Watch"

static struct server *server;
static struct h2peer peer;

static const char *const names[] = { "a.A", "b.B" };
static const struct rpc_service *const services[] = { &health_service };
static const struct router router = {
	.services = services,
	.service_count = countof(services),
};

/* ---- the codec ---- */

static void
fields_are_read(void)
{
	static const struct {
		const char *bytes;
		size_t len;
		int rc;
		unsigned number;
		uint64_t value;
	} rows[] = {
		{ "", 0, 0, 0, 0 },
		{ "\x08\x96\x01", 3, 1, 1, 150 },
		{ "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, 1, 1,
		    UINT64_MAX },
		{ "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12,
		    -EBADMSG, 0, 0 },
		{ "\x08\x96", 2, -EBADMSG, 0, 0 },
		{ "\x08", 1, -EBADMSG, 0, 0 },
		{ "\x80", 1, -EBADMSG, 0, 0 },
		{ "\x15\x01\x02\x00\x00", 5, 1, 2, 513 },
		{ "\x15\x01\x02\x00", 4, -EBADMSG, 0, 0 },
		{ "\x11\x01\x00\x00\x00\x00\x00\x00\x00", 9, 1, 2, 1 },
		{ "\x11\x01\x00\x00\x00\x00\x00\x00", 8, -EBADMSG, 0, 0 },
		{ "\x12\x02hi", 4, 1, 2, 0 },
		{ "\x12\x00", 2, 1, 2, 0 },
		{ "\x12\x03hi", 4, -EBADMSG, 0, 0 },
		{ "\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10, -EBADMSG, 0,
		    0 },
		{ "\x00\x01", 2, -EBADMSG, 0, 0 },
		{ "\x0b\x0c", 2, -EBADMSG, 0, 0 },
		{ "\x0e", 1, -EBADMSG, 0, 0 },
	};

	for (size_t i = 0; i < countof(rows); i++) {
		struct pb pb = { (const unsigned char *)rows[i].bytes,
			rows[i].len };
		struct pb_field field = { 0 };
		int rc = pb_next(&pb, &field);

		ok(rc == rows[i].rc &&
			(rc <= 0 ||
			    (field.number == rows[i].number &&
				field.value == rows[i].value && pb.len == 0)),
		    "field %zu is %s", i, rc < 0 ? "refused" : "read");
	}
}

static void
fields_are_written(void)
{
	static const uint64_t values[] = { 0, 1, 127, 128, 300, UINT32_MAX,
		UINT64_MAX };
	struct buf out;
	bool all = true;

	buf_init(&out, 100);
	for (size_t i = 0; i < countof(values); i++) {
		buf_clear(&out);
		all &= pb_put_varint(&out, 5, values[i]) == 0 &&
		    pb_get_varint((struct pb){ out.data, out.len }, 5) ==
			values[i];
	}
	ok(all, "numbers of any size are read as they were written");
	buf_clear(&out);
	ok(pb_put(&out, 1, "ab", 2) == 0 && pb_put(&out, 200, "c", 1) == 0 &&
		pb_put(&out, 1, "de", 2) == 0,
	    "fields are put one behind the other");
	ok(pb_is(pb_get((struct pb){ out.data, out.len }, 1), "de") &&
		pb_is(pb_get((struct pb){ out.data, out.len }, 200), "c"),
	    "... and of two with one number the last counts");
	is_int(pb_put(&out, 1, names, 101), -EMSGSIZE,
	    "a field over the cap is refused");
	buf_fini(&out);
}

/* ---- the service ---- */

static void
start(void)
{
	clock_fake(NOW_MS);
	health_init(names, countof(names));
	server = server_new(&router, NULL);
	peer_open(&peer, server);
	peer_run(&peer);
}

static void
end(void)
{
	peer_close(&peer);
	server_free(server);
}

static struct exchange *
ask(const char *path, const char *service)
{
	struct exchange *x;
	struct buf out;

	buf_init(&out, 1000);
	if (service != NULL && pb_put(&out, 1, service, strlen(service)) < 0)
		abort();
	x = peer_call(&peer, path, out.data, out.len, NULL);
	buf_fini(&out);
	peer_run(&peer);
	return x;
}

/* The states that came, one digit each. */
static const char *
states(const struct exchange *x)
{
	static char text[16];
	const unsigned char *at = x->reply.data;
	size_t left = x->reply.len, n = 0;
	struct grpc_reader reader;

	grpc_reader_init(&reader, 1000);
	while (left > 0 && n < sizeof(text) - 1 &&
	    grpc_reader_feed(&reader, &at, &left) == GRPC_READ_MESSAGE) {
		const struct pb message = { reader.message.data,
			reader.message.len };

		text[n++] = (char)('0' + pb_get_varint(message, 1));
		grpc_reader_next(&reader);
	}
	text[n] = '\0';
	buf_fini(&reader.message);
	return text;
}

static void
services_are_checked(void)
{
	struct exchange *x;

	start();
	is_str(states(ask(CHECK, NULL)), "1", "the server is SERVING");
	is_str(states(ask(CHECK, "")), "1", "... by its empty name, too");
	is_str(states(ask(CHECK, "b.B")), "1", "a service is SERVING");
	x = ask(CHECK, "b.C");
	is_int(x->code, ERR_NOT_FOUND, "an unknown one is NOT_FOUND");
	is_str(x->text, "unknown service b.C", "... by name");
	x = peer_call(&peer, CHECK, "\x0a\x05x", 3, NULL);
	peer_run(&peer);
	is_int(x->code, ERR_INVALID_ARGUMENT, "what is no request is told so");
	x = peer_call(&peer, WATCH, "\x0a\x05x", 3, NULL);
	peer_run(&peer);
	is_int(x->code, ERR_INVALID_ARGUMENT, "... by Watch, too");
	health_shutdown();
	is_str(states(ask(CHECK, NULL)), "2",
	    "after the shutdown the server is NOT_SERVING");
	is_str(states(ask(CHECK, "a.A")), "2", "... and so are its services");
	end();
}

static void
services_are_listed(void)
{
	const unsigned char *bytes = NULL;
	struct pb_field field;
	struct pb message;
	struct exchange *x;
	unsigned n = 0;
	bool all = true;

	start();
	x = ask(LIST, NULL);
	message = (struct pb){ NULL, 0 };
	if (x->code == 0)
		message.len = (size_t)exchange_message(x, &bytes);
	message.at = bytes;
	while (pb_next(&message, &field) > 0) {
		all &= field.number == 1 &&
		    pb_is(pb_get(field.bytes, 1), n > 0 ? names[n - 1] : "") &&
		    pb_get_varint(pb_get(field.bytes, 2), 1) == 1;
		n++;
	}
	ok(all && n == 3, "the server and its services are listed");
	end();
}

static bool drained;

static void
changes_are_watched(void)
{
	struct exchange *x, *y, *z, *late;

	start();
	drained = false;
	x = ask(WATCH, "a.A");
	y = ask(WATCH, "c.C");
	z = ask(WATCH, NULL);
	is_str(states(x), "1", "who watches is told the state at once");
	is_str(states(y), "3", "... SERVICE_UNKNOWN, too");
	ok(!x->closed && !y->closed, "... and waits for a change");
	peer_cancel(&peer, z);
	peer_run(&peer);
	is_int(server_counters(server)->calls, 2, "who leaves is forgotten");
	health_shutdown();
	peer_run(&peer);
	is_str(states(x), "12", "a change is told");
	is_str(states(y), "3", "... to whom it concerns");
	ok(!x->closed, "... and the watch goes on");
	drain_server(server, &drained);
	loop_turn(false);
	late = ask(WATCH, "b.B");
	ok(x->closed && x->code == ERR_UNAVAILABLE && y->closed,
	    "the drain ends it");
	ok(late->closed && late->code == ERR_UNAVAILABLE,
	    "... also one that comes late");
	is_str(states(late), "2", "... which is told why");
	ok(drained, "... and the server ends");
	end();
}

int
main(void)
{
	log_init("health", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (loop_init() < 0)
		return 1;
	fields_are_read();
	fields_are_written();
	services_are_checked();
	services_are_listed();
	changes_are_watched();
	loop_fini();
	return tap_end();
}
