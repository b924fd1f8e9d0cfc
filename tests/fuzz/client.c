/*
 * client.c - fuzz target: bytes of a server into the client. The first byte
 * says how they are cut and which calls wait for them. Each call must end,
 * once, whatever comes.
 */
#include "rpc/client.h"

#include "base/clock.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#define CALLS 3
#define CONNS 4 /* then nobody listens any more */
#define TURNS 3 /* of the loop: at rest */
#define TIMEOUT_MS 1000

struct one {
	struct op op;
	struct client_call call;
	int64_t timeout_ms;
	bool started, ended;
};

static int servers[CONNS]; /* the other ends of the client's connections */
static unsigned server_count;

/* In place of connect(), by the linker: a socketpair. */
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len);

int
__wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
	int fds[2];

	(void)address;
	(void)len;
	if (server_count == CONNS) {
		errno = ECONNREFUSED;
		return -1;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		fds) < 0 ||
	    dup3(fds[0], fd, O_CLOEXEC) < 0)
		abort();
	(void)close(fds[0]);
	servers[server_count++] = fds[1];
	return 0;
}

static enum op_verdict
one_step(struct op *op)
{
	struct one *o = (struct one *)op;

	if (!o->started) {
		o->started = true;
		client_call_start(
		    &o->call, "/f.S/Echo", "hello", 5, o->timeout_ms, op);
		return OP_WAIT;
	}
	fuzz_check(!o->ended);
	fuzz_check((op->rc == 0) == (o->call.code == ERR_OK));
	o->ended = true;
	return OP_DONE;
}

static const struct op_class one_class = { .name = "one", .step = one_step };

static void
run(void)
{
	static unsigned char bytes[65536];

	for (int i = 0; i < TURNS; i++) {
		loop_turn(false);
		for (unsigned s = 0; s < server_count; s++)
			while (recv(servers[s], bytes, sizeof(bytes), 0) > 0)
				;
	}
}

/* What a server sends first: SETTINGS, and an acknowledgement of ours. */
static const char hello[] = "\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0";

/* To the newest connection. */
static void
say(const void *bytes, size_t len)
{
	if (server_count > 0)
		(void)!send(
		    servers[server_count - 1], bytes, len, MSG_NOSIGNAL);
}

static void
listen_to(struct fuzz_input in, size_t piece)
{
	while (in.len > 0) {
		struct fuzz_input part = fuzz_take(
		    &in, piece > 0 ? piece : in.len);

		say(part.at, part.len);
		run();
	}
}

/* All calls end: the time is over, or the connections are. */
static void
end(bool by_time)
{
	if (by_time)
		clock_fake(TIMEOUT_MS);
	run();
	for (unsigned s = 0; s < server_count; s++)
		(void)close(servers[s]);
	server_count = 0;
	run();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	unsigned how = fuzz_byte(&in), count = how % CALLS + 1;
	struct one calls[CALLS] = { 0 };
	static bool ready;
	struct client *client;

	if (!ready && loop_init() < 0)
		abort();
	ready = true;
	server_count = 0;
	clock_fake(0);
	client = client_new("unix:///fuzz");
	if (how & 4)
		client_connect_per_call(client);
	for (unsigned i = 0; i < count; i++) {
		client_call_init(&calls[i].call, client);
		calls[i].timeout_ms = how & 8 ? TIMEOUT_MS : 0;
		op_start(&calls[i].op, &one_class, NULL, NULL);
	}
	run();
	if ((how & 0x80) == 0)
		say(hello, sizeof(hello) - 1);
	run();
	listen_to(in, (how >> 4 & 7) * 16);
	end((how & 8) != 0);
	for (unsigned i = 0; i < count; i++) {
		fuzz_check(calls[i].ended);
		client_call_fini(&calls[i].call);
	}
	client_free(client);
	fuzz_check(op_count() == 0);
	return 0;
}
