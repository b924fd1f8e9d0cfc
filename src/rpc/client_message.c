/*
 * client_message.c - the messages of a call: DATA becomes messages as the
 * reader asks for them, and messages become DATA as the server takes them.
 */
#include "rpc/client_conn.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define KEPT_MAX ((size_t)64 << 10) /* of what is sent, for a second try */

/* ---- in ---- */

static void
keep_message(struct client_call *call)
{
	struct buf older = call->reply;

	call->reply = call->input.message;
	call->input.message = older;
	grpc_reader_next(&call->input);
	call->has_message = true;
	if (call->want == CLIENT_WANT_MESSAGE)
		call->want = CLIENT_WANT_NOTHING;
}

/* Reads what the reader has asked for: returns how many bytes that were. */
static size_t
read_messages(struct client_call *call, const unsigned char *bytes, size_t len)
{
	size_t left = len;

	while (left > 0 && call->want != CLIENT_WANT_NOTHING &&
	    call->fault == CLIENT_FAULT_NONE) {
		if (call->want == CLIENT_WANT_ANSWER && call->has_message) {
			call->fault = CLIENT_FAULT_SECOND;
			break;
		}
		switch (grpc_reader_feed(&call->input, &bytes, &left)) {
		case GRPC_READ_MORE:
			break;
		case GRPC_READ_MESSAGE:
			keep_message(call);
			break;
		case GRPC_READ_TOO_LARGE:
		case GRPC_READ_NO_MEMORY:
			call->fault = CLIENT_FAULT_TOO_LARGE;
			break;
		case GRPC_READ_COMPRESSED:
		case GRPC_READ_BAD_FLAG:
			call->fault = CLIENT_FAULT_GARBLED;
			break;
		}
	}
	return len - left;
}

/* The window sees to it that there is room. */
static bool
keep_for_later(struct client_call *call, const uint8_t *bytes, size_t len)
{
	buf_consume(&call->inbox, call->inbox_at);
	call->inbox_at = 0;
	return buf_append(&call->inbox, bytes, len) == 0;
}

void
client_call_on_data(struct client_call *call, const uint8_t *bytes, size_t len)
{
	size_t used = len;

	if (call->fault == CLIENT_FAULT_NONE &&
	    client_head_takes_data(&call->head)) {
		used = call->inbox.len == 0 ? read_messages(call, bytes, len)
					    : 0;
		if (used < len && call->fault == CLIENT_FAULT_NONE &&
		    !keep_for_later(call, bytes + used, len - used))
			call->fault = CLIENT_FAULT_TOO_LARGE;
	}
	client_conn_consume(call, used);
	client_conn_touch(call);
}

/* The reader has asked: what came before that is looked at. */
static void
read_inbox(struct client_call *call)
{
	size_t used = read_messages(call, call->inbox.data + call->inbox_at,
	    call->inbox.len - call->inbox_at);

	call->inbox_at += used;
	client_conn_consume(call, used);
	client_conn_flush(call);
	if (call->inbox_at == call->inbox.len) {
		buf_fini(&call->inbox);
		call->inbox_at = 0;
	}
}

static void
start_reading(
    struct client_call *call, enum client_want want, struct wake *waiter)
{
	assert(call->state != CLIENT_CALL_IDLE && call->reader == NULL);
	call->reader = waiter;
	call->has_message = false;
	buf_clear(&call->reply);
	if (call->state == CLIENT_CALL_ENDED) {
		client_call_wake_reader(
		    call, call->code == ERR_OK ? 0 : err_rc_of(call->code));
		return;
	}
	call->want = want;
	if (call->inbox.len > 0)
		read_inbox(call);
	client_call_settle(call);
}

void
client_call_read_start(struct client_call *call, struct wake *waiter)
{
	start_reading(call, CLIENT_WANT_MESSAGE, waiter);
}

void
client_call_finish_start(struct client_call *call, struct wake *waiter)
{
	start_reading(call, CLIENT_WANT_ANSWER, waiter);
}

/* ---- out ---- */

size_t
client_call_queued(const struct client_call *call)
{
	return call->out.len - call->out_at;
}

ssize_t
client_call_on_read(
    struct client_call *call, uint8_t *out, size_t room, uint32_t *flags)
{
	size_t n = client_call_queued(call);

	if (n > room)
		n = room;
	if (n > 0)
		memcpy(out, call->out.data + call->out_at, n);
	call->out_at += n;
	if (call->sender != NULL &&
	    client_call_queued(call) <= CLIENT_QUEUE_MAX)
		client_conn_touch(call);
	if (client_call_queued(call) == 0 && call->no_more) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	} else if (n == 0) {
		call->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	return (ssize_t)n;
}

bool
client_call_enqueue(struct client_call *call, const void *bytes, size_t len)
{
	unsigned char *to;

	if (call->out_at > 0 &&
	    call->out.len + GRPC_PREFIX_BYTES + len > KEPT_MAX) {
		buf_consume(&call->out, call->out_at);
		call->out_at = 0;
		call->committed = true;
	}
	to = len > CLIENT_OUT_MAX
	    ? NULL
	    : buf_reserve(&call->out, GRPC_PREFIX_BYTES + len);
	if (to == NULL) {
		client_call_end(
		    call, ERR_RESOURCE_EXHAUSTED, "request is too large");
		return false;
	}
	grpc_prefix_put(to, (uint32_t)len);
	if (len > 0)
		memcpy(to + GRPC_PREFIX_BYTES, bytes, len);
	call->out.len += GRPC_PREFIX_BYTES + len;
	return true;
}

void
client_call_send_start(struct client_call *call, const void *bytes, size_t len,
    struct wake *waiter)
{
	assert(call->state != CLIENT_CALL_IDLE && !call->no_more);
	assert(call->sender == NULL);
	call->sender = waiter;
	if (call->state == CLIENT_CALL_ENDED || call->over) {
		client_call_wake_sender(call, -EPIPE);
		return;
	}
	if (!client_call_enqueue(call, bytes, len))
		return;
	client_conn_resume(call);
	if (client_call_queued(call) <= CLIENT_QUEUE_MAX)
		client_call_wake_sender(call, 0);
}

void
client_call_send_end(struct client_call *call)
{
	call->no_more = true;
	client_conn_resume(call);
}
