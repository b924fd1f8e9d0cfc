/*
 * service.c - handlers that check what they are promised.
 */
#include "tests/fuzz/service.h"

#include "base/buf.h"
#include "daemon/descriptors.h"
#include "rpc/call.h"
#include "rpc/health.h"
#include "rpc/reflection.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/queue.h>

#define FILLER_BYTES 70000 /* more than a window and the queue */

/* A call that was not answered at once. */
struct held {
	struct call *call;
	bool inside;        /* a function of call.h */
	bool by_itself;     /* no business of service_poke() */
	bool reading;       /* a message is owed */
	bool refused;       /* writable() is owed */
	unsigned left;      /* Many: messages to send */
	unsigned size;      /* ... and how long they are */
	uint32_t sum;       /* Sum */
	struct buf message; /* Chat: to be sent */
	LIST_ENTRY(held) link;
};

static LIST_HEAD(, held) calls = LIST_HEAD_INITIALIZER(calls);
static unsigned char filler[FILLER_BYTES];

static void
held_free(struct held *h)
{
	fuzz_check(!h->inside);
	LIST_REMOVE(h, link);
	buf_fini(&h->message);
	free(h);
}

/* ---- what a handler may do ---- */

static void
reply(struct held *h, const void *bytes, size_t len)
{
	h->inside = true;
	call_reply(h->call, bytes, len);
	h->inside = false;
	held_free(h);
}

static void
fail(struct held *h, enum err_code code, const char *text)
{
	h->inside = true;
	call_fail(h->call, code, text);
	h->inside = false;
	held_free(h);
}

static void
end(struct held *h)
{
	h->inside = true;
	stream_end(h->call);
	h->inside = false;
	held_free(h);
}

static void
ask(struct held *h)
{
	h->inside = true;
	stream_read(h->call);
	h->inside = false;
	h->reading = true;
}

/* False: it has to wait. What cannot be sent at all is left out. */
static bool
send(struct held *h, const void *bytes, size_t len)
{
	int rc;

	h->inside = true;
	rc = stream_send(h->call, bytes, len);
	h->inside = false;
	fuzz_check(
	    rc == 0 || rc == -EAGAIN || rc == -EMSGSIZE || rc == -ENOMEM);
	h->refused = h->refused || rc == -EAGAIN;
	return rc != -EAGAIN;
}

/* ---- what it is told ---- */

static void
send_many(struct held *h)
{
	while (h->left > 0) {
		if (!send(h, filler, h->size))
			return;
		h->left--;
	}
	end(h);
}

static void
on_writable(struct call *call)
{
	struct held *h = call->data;

	fuzz_check(h->refused && !h->inside && call->open);
	h->refused = false;
	if (h->left > 0)
		send_many(h);
	else if (h->message.len > 0 && send(h, h->message.data, h->message.len))
		ask(h);
}

static void
on_message(struct call *call, const void *bytes, size_t len)
{
	struct held *h = call->data;

	fuzz_check(h->reading && !h->inside && call->open);
	fuzz_check(bytes != NULL || len == 0);
	h->reading = false;
	if (!h->by_itself)
		return;
	h->sum += (uint32_t)len;
	if (bytes == NULL && h->message.max == 0) {
		reply(h, &h->sum, sizeof(h->sum));
	} else if (bytes == NULL) {
		end(h);
	} else if (h->message.max == 0) {
		ask(h);
	} else {
		buf_clear(&h->message);
		if (buf_append(&h->message, bytes, len) < 0)
			fail(h, ERR_RESOURCE_EXHAUSTED, "too long");
		else if (send(h, bytes, len))
			ask(h);
	}
}

static void
on_gone(struct call *call, enum call_gone why)
{
	struct held *h = call->data;

	fuzz_check(!h->inside && call->open);
	/* On a deadline it may say more. */
	if (why == CALL_DEADLINE && (h->sum & 1) != 0)
		fail(h, ERR_ABORTED, "too late");
	else
		held_free(h);
}

static void
on_leaving(struct call *call)
{
	struct held *h = call->data;

	fuzz_check(!h->inside && call->open);
	if (h->by_itself)
		fail(h, ERR_UNAVAILABLE, "leaving");
}

/* ---- the methods ---- */

static struct held *
hold(struct call *call, bool by_itself)
{
	struct held *h = mem_new(sizeof(*h));

	fuzz_check(call->open);
	fuzz_check(call->request != NULL || call->request_len == 0);
	h->call = call;
	h->by_itself = by_itself;
	LIST_INSERT_HEAD(&calls, h, link);
	call->data = h;
	call->gone = on_gone;
	call->writable = on_writable;
	call->leaving = on_leaving;
	return h;
}

/* Sends back what came under two names. */
static void
echo_metadata(struct call *call)
{
	const char *trace = call_header(call, "x-trace");
	unsigned char bytes[64];
	long n = call_header_bytes(call, "x-trace-bin", bytes, sizeof(bytes));
	int rc = 0;

	fuzz_check(n <= (long)sizeof(bytes));
	fuzz_check(n >= 0 || n == -ENOENT || n == -EINVAL);
	if (trace != NULL)
		rc = call_add_header(call, "x-trace", trace, strlen(trace));
	fuzz_check(rc == 0 || rc == -EINVAL || rc == -EMSGSIZE);
	if (n >= 0)
		fuzz_check(call_add_trailer(
			       call, "x-trace-bin", bytes, (size_t)n) == 0);
}

static void
start_echo(struct call *call)
{
	echo_metadata(call);
	call_reply(call, call->request, call->request_len);
}

static void
start_fail(struct call *call)
{
	const struct call_details details = { "google.rpc.ErrorInfo",
		call->request, call->request_len };
	struct fuzz_input in = { call->request, call->request_len };
	struct err err = { .code = (enum err_code)fuzz_byte(&in) };

	in = fuzz_take(&in, sizeof(err.text) - 1);
	if (in.len > 0)
		memcpy(err.text, in.at, in.len);
	call_fail_details(call, &err, &details);
}

static void
start_many(struct call *call)
{
	struct fuzz_input in = { call->request, call->request_len };
	struct held *h = hold(call, true);

	h->left = fuzz_byte(&in) % 32;
	h->size = 64 * fuzz_byte(&in);
	send_many(h);
}

static void
start_stream(struct call *call, bool by_itself, size_t message_max)
{
	struct held *h = hold(call, by_itself);

	call->message = on_message;
	buf_init(&h->message, message_max);
	if (by_itself)
		ask(h);
}

static void
start_sum(struct call *call)
{
	start_stream(call, true, 0);
}

static void
start_chat(struct call *call)
{
	start_stream(call, true, FILLER_BYTES);
}

static void
start_hold(struct call *call)
{
	(void)hold(call, false);
}

static void
start_hold_stream(struct call *call)
{
	start_stream(call, false, 0);
}

static const struct rpc_method methods[] = {
	{ .name = "Echo", .start = start_echo },
	{ .name = "Fail", .start = start_fail },
	{ .name = "Many", .start = start_many },
	{ .name = "Sum", .start = start_sum, .client_streams = true },
	{ .name = "Chat", .start = start_chat, .client_streams = true },
	{ .name = "Hold", .start = start_hold },
	{ .name = "HoldStream",
	    .start = start_hold_stream,
	    .client_streams = true },
};
static const struct rpc_service service = {
	.name = "f.S",
	.methods = methods,
	.method_count = countof(methods),
};
const struct rpc_service *const service_table[] = { &service, &health_service,
	&reflection_v1, &reflection_v1alpha };
const size_t service_count = countof(service_table);
const char *const service_paths[] = { "/f.S/Echo", "/f.S/Fail", "/f.S/Many",
	"/f.S/Sum", "/f.S/Chat", "/f.S/Hold", "/f.S/HoldStream",
	"/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/Check",
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	"/f.S/None", "f.S/Echo" };
const size_t service_path_count = countof(service_paths);

void
service_init(void)
{
	static const char *const names[] = { "f.S" };

	health_init(names, countof(names));
	if (reflection_init(descriptors_set, descriptors_set_bytes, names,
		countof(names)) < 0)
		abort();
}

size_t
service_open(void)
{
	struct held *h;
	size_t n = 0;

	LIST_FOREACH (h, &calls, link)
		n++;
	return n;
}

void
service_poke(unsigned which, unsigned what, unsigned size)
{
	struct held *h;

	LIST_FOREACH (h, &calls, link)
		if (!h->by_itself && which-- == 0)
			break;
	if (h == NULL)
		return;
	size %= FILLER_BYTES;
	switch (what % 9) {
	case 0:
		reply(h, filler, size);
		break;
	case 1:
		fail(h, (enum err_code)size, "as the input says");
		break;
	case 2:
		end(h);
		break;
	case 3:
		if (h->call->message != NULL)
			ask(h);
		break;
	case 4:
		call_default_timeout(h->call, size);
		break;
	case 5:
		h->sum |= 1; /* last words */
		(void)arena_alloc(call_arena(h->call), size);
		break;
	case 6:
		(void)call_add_header(h->call, "x-a-bin", filler, size);
		(void)call_add_trailer(h->call, "x-b-bin", filler, size % 99);
		break;
	default:
		(void)send(h, filler, size);
		break;
	}
}
