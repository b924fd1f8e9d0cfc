/*
 * manyservice.c - handlers of calls of many messages, for tests.
 */
#include "tests/rpc/manyservice.h"

#include "rpc/call.h"

#include <stdio.h>
#include <string.h>

struct many many;

static void
on_gone(struct call *call, enum call_gone why)
{
	(void)call;
	many.gone[why]++;
	many.open = NULL;
}

static void
count_on(struct call *call)
{
	auto_free char *bytes = mem_new(many.size + 1);

	memset(bytes, 'x', many.size);
	for (; many.sent < many.to_send; many.sent++)
		if (stream_send(call, bytes, many.size) < 0)
			return;
	many.open = NULL;
	stream_end(call);
}

/* Sends as many messages as t says. */
static void
count(struct call *call)
{
	many.open = call;
	call->gone = on_gone;
	call->writable = count_on;
	count_on(call);
}

static void
sum_message(struct call *call, const void *bytes, size_t len)
{
	char text[48];

	if (bytes != NULL) {
		many.messages++;
		many.bytes += len;
		stream_read(call);
		return;
	}
	(void)snprintf(text, sizeof(text), "%u %zu", many.messages, many.bytes);
	many.open = NULL;
	call_reply(call, text, strlen(text));
}

static void
start_reading(
    struct call *call, void (*message)(struct call *, const void *, size_t))
{
	many.open = call;
	call->gone = on_gone;
	call->message = message;
	if (!many.held)
		stream_read(call);
}

/* Answers with the number of messages and of bytes. */
static void
sum(struct call *call)
{
	start_reading(call, sum_message);
}

static void
echo_message(struct call *call, const void *bytes, size_t len)
{
	if (bytes == NULL) {
		many.open = NULL;
		stream_end(call);
	} else if (stream_send(call, bytes, len) == 0) {
		stream_read(call);
	}
}

static void
echo(struct call *call)
{
	start_reading(call, echo_message);
}

/* Two messages, then an error with details, whatever the client sends. */
static void
fail_message(struct call *call, const void *bytes, size_t len)
{
	const struct call_details details = { "google.rpc.ErrorInfo",
		"\12\3WHY", 5 };
	struct err err = ERR_INIT;

	(void)bytes;
	(void)len;
	many.open = NULL;
	(void)err_set(&err, ERR_ABORTED, "that is enough");
	if (stream_send(call, "one", 3) == 0 &&
	    stream_send(call, "two", 3) == 0)
		call_fail_details(call, &err, &details);
}

void
many_fail(void)
{
	fail_message(many.open, NULL, 0);
}

static void
fail(struct call *call)
{
	start_reading(call, fail_message);
}

/* Sends the metadata back, in front of the answer and behind it. */
static void
meta(struct call *call)
{
	const char *text = call_header(call, "x-text");
	unsigned char bytes[64];
	long n = call_header_bytes(call, "x-data-bin", bytes, sizeof(bytes));

	if (text == NULL || n < 0 ||
	    call_add_header(call, "x-text", text, strlen(text)) < 0 ||
	    call_add_trailer(call, "x-data-bin", bytes, (size_t)n) < 0)
		call_fail(call, ERR_INVALID_ARGUMENT, "metadata is missing");
	else
		call_reply(call, "ok", 2);
}

/* The same of a call that fails at once: nothing but trailers. */
static void
meta_fail(struct call *call)
{
	(void)!call_add_trailer(call, "x-text", "trailer", 7);
	call_fail(call, ERR_ABORTED, "so");
}

static const struct rpc_method methods[] = {
	{ .name = "Count", .start = count },
	{ .name = "Sum", .start = sum, .client_streams = true },
	{ .name = "Echo", .start = echo, .client_streams = true },
	{ .name = "Fail", .start = fail, .client_streams = true },
	{ .name = "Meta", .start = meta },
	{ .name = "MetaFail", .start = meta_fail },
};
static const struct rpc_service service = { "t.S", methods, countof(methods) };
static const struct rpc_service *const services[] = { &service };
const struct router many_router = {
	.services = services,
	.service_count = countof(services),
};
