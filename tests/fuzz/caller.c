/*
 * caller.c - a client under fuzz targets, over socketpairs.
 */
#include "tests/fuzz/caller.h"

#include "base/clock.h"
#include "core/op.h"
#include "rpc/client_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#define CALLS 6
#define CONNS 6 /* then nobody listens any more */
#define TURNS 3 /* of the loop: at rest */
#define END_TURNS 500
#define TIMEOUT_MS 1000
#define SENDS 3
#define MESSAGE_BYTES 40000 /* two and the window is full */
#define REPLY_MAX 20000

/* An empty SETTINGS, and the answer to the client's. */
const unsigned char caller_hello[18] = { [3] = 4, [12] = 4, [13] = 1 };

enum one_state {
	ONE_START = 0,
	ONE_SENT,  /* one of several messages */
	ONE_READ,  /* one of several, or the end */
	ONE_ENDED, /* with a result */
};

struct one {
	struct op op;
	enum one_state state;
	struct client_call call;
	bool many; /* messages */
	unsigned sends;
};

static struct {
	struct client *client;
	struct one calls[CALLS];
	unsigned call_count;
	int servers[CONNS]; /* the other ends of the client's connections */
	unsigned server_count;
	bool closed; /* nobody listens any more */
} cl;

/* In place of connect(), by the linker: a socketpair. */
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len);

int
__wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
	int fds[2];

	(void)address;
	(void)len;
	if (cl.server_count == CONNS || cl.closed) {
		errno = ECONNREFUSED;
		return -1;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		fds) < 0 ||
	    dup3(fds[0], fd, O_CLOEXEC) < 0)
		abort();
	(void)close(fds[0]);
	cl.servers[cl.server_count++] = fds[1];
	return 0;
}

/* ---- the calls ---- */

static enum op_verdict
one_send(struct one *o)
{
	static const unsigned char message[MESSAGE_BYTES];

	o->sends++;
	client_call_send_start(&o->call, message, sizeof(message), &o->op.wake);
	return op_await(o, ONE_SENT);
}

static enum op_verdict
one_read(struct one *o)
{
	client_call_read_start(&o->call, &o->op.wake);
	return op_await(o, ONE_READ);
}

static enum op_verdict
one_start(struct one *o)
{
	fuzz_check(metadata_add(&o->call.headers, "x-a-bin", "\0\1", 2) == 0);
	if (o->many) {
		client_call_open(&o->call, "/f.S/Chat", TIMEOUT_MS);
		return one_send(o);
	}
	client_call_start(
	    &o->call, "/f.S/Echo", "hello", 5, TIMEOUT_MS, &o->op.wake);
	return op_await(o, ONE_ENDED);
}

/* What there is to know of a call that has ended. */
static enum op_verdict
one_judge(struct one *o)
{
	const struct client_call *call = &o->call;

	fuzz_check((o->op.rc == 0) == (call->code == ERR_OK));
	fuzz_check(call->code <= ERR_UNAUTHENTICATED);
	fuzz_check(call->code != ERR_OK || o->many || call->has_message);
	fuzz_check(call->reply.len <= REPLY_MAX);
	(void)metadata_find(&call->head.headers, "x-a-bin");
	(void)metadata_find(&call->head.trailers, "x-a-bin");
	fuzz_check(call->head.details != NULL || call->head.details_len == 0);
	o->state = ONE_ENDED;
	return OP_DONE;
}

static enum op_verdict
one_step(struct op *op)
{
	struct one *o = (struct one *)op;

	switch (o->state) {
	case ONE_START:
		return one_start(o);
	case ONE_SENT:
		fuzz_check(op->rc == 0 || op->rc == -EPIPE);
		if (op->rc == 0 && o->sends < SENDS)
			return o->sends == 1 ? one_read(o) : one_send(o);
		o->sends = SENDS;
		client_call_send_end(&o->call);
		return one_read(o);
	case ONE_READ:
		if (op->rc < 0 || !o->call.has_message)
			return one_judge(o);
		return o->sends < SENDS ? one_send(o) : one_read(o);
	case ONE_ENDED:
		return one_judge(o);
	}
	abort();
}

static const struct op_class one_class = { .name = "one", .step = one_step };

/* ---- the connections ---- */

void
caller_add(bool many)
{
	struct one *o = &cl.calls[cl.call_count];

	if (cl.call_count == CALLS)
		return;
	cl.call_count++;
	o->many = many;
	client_call_init(&o->call, cl.client);
	op_start(&o->op, &one_class, NULL);
}

void
caller_start(unsigned count, unsigned kinds, bool connect_per_call)
{
	static bool ready;

	if (!ready && loop_init() < 0)
		abort();
	ready = true;
	clock_fake(0);
	memset(&cl, 0, sizeof(cl));
	cl.client = client_new("unix:///fuzz");
	cl.client->reply_bytes = REPLY_MAX;
	if (connect_per_call)
		client_connect_per_call(cl.client);
	for (unsigned i = 0; i < count; i++)
		caller_add((kinds >> i & 1) != 0);
	caller_run();
}

static int
server_fd(unsigned back)
{
	return cl.server_count == 0
	    ? -1
	    : cl.servers[cl.server_count - 1 - back % cl.server_count];
}

void
caller_say(unsigned back, const void *bytes, size_t len)
{
	int fd = server_fd(back);

	if (fd >= 0)
		(void)!send(fd, bytes, len, MSG_NOSIGNAL);
}

void
caller_hang_up(unsigned back)
{
	int fd = server_fd(back);

	if (fd >= 0)
		(void)shutdown(fd, SHUT_RDWR);
}

void
caller_run(void)
{
	static unsigned char bytes[65536];

	for (int idle = 0; idle < TURNS; idle++) {
		loop_turn(false);
		for (unsigned s = 0; s < cl.server_count; s++)
			while (recv(cl.servers[s], bytes, sizeof(bytes), 0) > 0)
				idle = -1;
	}
}

void
caller_end(enum caller_end how)
{
	caller_run();
	cl.closed = how == CALLER_CLOSE;
	if (how == CALLER_TIME)
		clock_fake(TIMEOUT_MS);
	for (unsigned i = 0; i < cl.call_count && how == CALLER_CANCEL; i++)
		client_call_cancel(&cl.calls[i].call);
	caller_run();
	for (unsigned s = 0; s < cl.server_count && how == CALLER_CLOSE; s++)
		(void)shutdown(cl.servers[s], SHUT_RDWR);
	/* What a call does yet moves no bytes any more. */
	for (int i = 0; i < END_TURNS && op_count() > 0; i++)
		caller_run();
	fuzz_check(op_count() == 0);
	for (unsigned i = 0; i < cl.call_count; i++) {
		fuzz_check(cl.calls[i].state == ONE_ENDED);
		client_call_fini(&cl.calls[i].call);
	}
	client_free(cl.client);
	for (unsigned s = 0; s < cl.server_count; s++)
		(void)close(cl.servers[s]);
	clock_fake(-1);
}
