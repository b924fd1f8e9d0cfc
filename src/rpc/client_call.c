/*
 * client_call.c - a call of a client, from its beginning to its end in
 * end_call(), which is the only place where a status is set.
 *
 * What comes is noted inside nghttp2; client_call_settle() acts on it. A call
 * leaves its connection as soon as the server has ended the stream: what
 * nobody has read yet stays in `inbox`.
 */
#include "base/clock.h"
#include "rpc/client_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OUT_MAX ((size_t)64 << 20)   /* the largest message sent */
#define QUEUE_MAX ((size_t)64 << 10) /* less is queued: send more */
#define KEPT_MAX ((size_t)64 << 10)  /* of what is sent, for a second try */
#define INBOX_MAX ((size_t)64 << 10) /* HTTP/2's first window, 65,535 */
#define RETRY_MS 5                   /* when the listen queue is full */
#define REFUSED_MAX 3                /* tries more, then the call fails */

static void try_submit(struct client_call *call);

/* ---- the end ---- */

/* `text` may be NULL. */
static void
end_call(struct client_call *call, enum err_code code, const char *text)
{
	/* The server's clock may be a little faster than ours. */
	if (code == ERR_CANCELLED && timer_is_running(&call->deadline) &&
	    call->deadline.due_ms <= clock_now_ms()) {
		code = ERR_DEADLINE_EXCEEDED;
		text = "no answer in time";
	}
	client_conn_leave(call, NGHTTP2_CANCEL);
	timer_disarm(&call->deadline);
	timer_disarm(&call->retry);
	call->state = CLIENT_CALL_ENDED;
	call->code = code;
	call->text = code != ERR_OK ? str_dup(text != NULL ? text : "") : NULL;
	if (call->want == CLIENT_WANT_ANSWER && code != ERR_OK) {
		call->has_message = false;
		buf_clear(&call->reply);
	}
	wake_up(take_ptr(&call->reader), code == ERR_OK ? 0 : err_rc_of(code));
	wake_up(take_ptr(&call->sender), -EPIPE);
}

/* All that came is read: what was the answer? */
static void
end_for_answer(struct client_call *call)
{
	char text[CLIENT_TEXT_MAX];
	const char *why;
	enum err_code code = client_head_verdict(&call->head, text, &why);

	if (code == ERR_OK && call->input.prefix_len > 0) {
		code = ERR_INTERNAL;
		why = "answer ends inside a message";
	} else if (code == ERR_OK && call->want == CLIENT_WANT_ANSWER &&
	    !call->has_message) {
		code = ERR_UNIMPLEMENTED;
		why = "no message in the answer";
	}
	end_call(call, code, why);
}

/*
 * The server has not looked at the call, for instance because it is about to
 * leave: it is safe to try again, maybe with its successor (gRFC A6).
 */
static bool
try_again(struct client_call *call)
{
	if (call->committed || call->head.http_status != 0 ||
	    call->refused == REFUSED_MAX)
		return false;
	client_conn_leave(call, NGHTTP2_CANCEL);
	call->refused++;
	call->out_at = 0;
	call->sent = call->closed = call->deferred = false;
	try_submit(call);
	return true;
}

void
client_call_lost(struct client_call *call, enum err_code code, const char *text)
{
	if (call->over || call->closed || call->fault != CLIENT_FAULT_NONE)
		client_call_settle(call); /* came just before */
	else if (call->sent || !try_again(call))
		end_call(call, code, text);
}

static size_t
queued(const struct client_call *call)
{
	return call->out.len - call->out_at;
}

void
client_call_settle(struct client_call *call)
{
	static const struct {
		enum err_code code;
		const char *text;
	} of[] = {
		[CLIENT_FAULT_TOO_LARGE] = { ERR_RESOURCE_EXHAUSTED,
		    "answer is too large" },
		[CLIENT_FAULT_GARBLED] = { ERR_INTERNAL,
		    "answer is compressed or garbled" },
		[CLIENT_FAULT_SECOND] = { ERR_UNIMPLEMENTED,
		    "answer is two messages" },
		[CLIENT_FAULT_HEADERS] = { ERR_RESOURCE_EXHAUSTED,
		    "answer has too much metadata" },
	};
	char text[80];

	if (call->fault != CLIENT_FAULT_NONE) {
		end_call(call, of[call->fault].code, of[call->fault].text);
		return;
	}
	if (call->closed && !call->over) {
		/* The stream is gone, and the server has not ended it. */
		if ((call->reset_code == NGHTTP2_REFUSED_STREAM ||
			!call->sent) &&
		    try_again(call))
			return;
		(void)snprintf(text, sizeof(text),
		    call->broken ? "the server breaks HTTP/2's rules: %s"
				 : "stream ended without a status: %s",
		    nghttp2_http2_strerror(call->reset_code));
		end_call(
		    call, client_head_code_of_reset(call->reset_code), text);
		return;
	}
	if (call->over && call->conn != NULL) {
		/* If we were still sending: that is of no use any more. */
		client_conn_leave(call, NGHTTP2_NO_ERROR);
		timer_disarm(&call->deadline);
		call->state = CLIENT_CALL_ANSWERED;
		wake_up(take_ptr(&call->sender), -EPIPE);
	}
	if (call->want == CLIENT_WANT_NOTHING && call->has_message)
		wake_up(take_ptr(&call->reader), 0);
	if (call->over && call->inbox.len == 0 && call->reader != NULL)
		end_for_answer(call);
	else if (queued(call) <= QUEUE_MAX)
		wake_up(take_ptr(&call->sender), 0);
}

/* ---- messages in: DATA becomes messages as the reader asks for them ---- */

/* Reads what the reader has asked for: returns how many bytes that were. */
static size_t
read_messages(struct client_call *call, const unsigned char *bytes, size_t len)
{
	struct buf older;
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
			older = call->reply;
			call->reply = call->input.message;
			call->input.message = older;
			grpc_reader_next(&call->input);
			call->has_message = true;
			if (call->want == CLIENT_WANT_MESSAGE)
				call->want = CLIENT_WANT_NOTHING;
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

void
client_call_on_data(struct client_call *call, const uint8_t *bytes, size_t len)
{
	size_t used = len;

	if (call->fault == CLIENT_FAULT_NONE &&
	    client_head_takes_data(&call->head)) {
		used = call->inbox.len == 0 ? read_messages(call, bytes, len)
					    : 0;
		/* The window sees to it that there is room for the rest. */
		if (used < len && call->fault == CLIENT_FAULT_NONE) {
			buf_consume(&call->inbox, call->inbox_at);
			call->inbox_at = 0;
			if (buf_append(&call->inbox, bytes + used, len - used) <
			    0)
				call->fault = CLIENT_FAULT_TOO_LARGE;
		}
	}
	client_conn_consume(call, used);
	client_conn_touch(call);
}

static void
read_next(struct client_call *call, enum client_want want, struct wake *waiter)
{
	size_t used;

	assert(call->state != CLIENT_CALL_IDLE && call->reader == NULL);
	call->reader = waiter;
	call->has_message = false;
	buf_clear(&call->reply);
	if (call->state == CLIENT_CALL_ENDED) {
		wake_up(take_ptr(&call->reader),
		    call->code == ERR_OK ? 0 : err_rc_of(call->code));
		return;
	}
	call->want = want;
	if (call->inbox.len > 0) { /* it came before */
		used = read_messages(call, call->inbox.data + call->inbox_at,
		    call->inbox.len - call->inbox_at);
		call->inbox_at += used;
		client_conn_consume(call, used);
		if (call->inbox_at == call->inbox.len) {
			buf_fini(&call->inbox);
			call->inbox_at = 0;
		}
	}
	client_call_settle(call);
}

void
client_call_read_start(struct client_call *call, struct wake *waiter)
{
	read_next(call, CLIENT_WANT_MESSAGE, waiter);
}

void
client_call_finish_start(struct client_call *call, struct wake *waiter)
{
	read_next(call, CLIENT_WANT_ANSWER, waiter);
}

/* ---- messages out: they become DATA as the server takes them ---- */

ssize_t
client_call_on_read(
    struct client_call *call, uint8_t *out, size_t room, uint32_t *flags)
{
	size_t n = queued(call);

	if (n > room)
		n = room;
	if (n > 0)
		memcpy(out, call->out.data + call->out_at, n);
	call->out_at += n;
	if (call->sender != NULL && queued(call) <= QUEUE_MAX)
		client_conn_touch(call);
	if (queued(call) == 0 && call->no_more) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	} else if (n == 0) {
		call->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	return (ssize_t)n;
}

/* Adds a message to `out`; false: the call has ended over it. */
static bool
enqueue(struct client_call *call, const void *bytes, size_t len)
{
	if (call->out_at > 0 &&
	    call->out.len + GRPC_PREFIX_BYTES + len > KEPT_MAX) {
		buf_consume(&call->out, call->out_at);
		call->out_at = 0;
		call->committed = true;
	}
	if (len > OUT_MAX || grpc_message_put(&call->out, bytes, len) < 0) {
		end_call(call, ERR_RESOURCE_EXHAUSTED, "request is too large");
		return false;
	}
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
		wake_up(take_ptr(&call->sender), -EPIPE);
		return;
	}
	if (!enqueue(call, bytes, len))
		return;
	client_conn_resume(call);
	if (queued(call) <= QUEUE_MAX)
		wake_up(take_ptr(&call->sender), 0);
}

void
client_call_send_end(struct client_call *call)
{
	call->no_more = true;
	client_conn_resume(call);
}

/* ---- the beginning ---- */

static void
try_submit(struct client_call *call)
{
	struct client_conn *conn;
	struct err err = ERR_INIT;
	int rc = client_conn_get(call->client, &conn);

	call->state = CLIENT_CALL_CONNECTING;
	if (rc == 0) {
		call->connected = true;
		client_conn_join(conn, call);
	} else if (rc == -EAGAIN) {
		timer_arm(&call->retry, RETRY_MS);
	} else {
		(void)err_set_rc(
		    &err, rc, "connect %s", call->client->address.sun_path);
		end_call(call, ERR_UNAVAILABLE, err.text);
	}
}

static void
on_retry_submit(struct timer *timer)
{
	try_submit(container_of(timer, struct client_call, retry));
}

static void
on_answer_late(struct timer *timer)
{
	end_call(container_of(timer, struct client_call, deadline),
	    ERR_DEADLINE_EXCEEDED, "no answer in time");
}

void
client_call_init(struct client_call *call, struct client *client)
{
	*call = (struct client_call){ .client = client };
	call->deadline.fire = on_answer_late;
	call->retry.fire = on_retry_submit;
	buf_init(&call->reply, client->reply_bytes);
	buf_init(&call->out, OUT_MAX + GRPC_PREFIX_BYTES);
	buf_init(&call->inbox, INBOX_MAX);
	grpc_reader_init(&call->input, client->reply_bytes);
}

void
client_call_fini(struct client_call *call)
{
	assert(call->reader == NULL && call->sender == NULL);
	client_call_cancel(call);
	free(call->text);
	buf_fini(&call->reply);
	buf_fini(&call->out);
	buf_fini(&call->inbox);
	buf_fini(&call->input.message);
	client_head_fini(&call->head);
	metadata_fini(&call->headers);
}

void
client_call_open(struct client_call *call, const char *path, int64_t timeout_ms)
{
	const struct client *client = call->client;

	assert(call->state == CLIENT_CALL_IDLE);
	call->path = path;
	call->timeout_ms = timeout_ms;
	if (client->endpoint_rc < 0) {
		end_call(
		    call, client->endpoint_err.code, client->endpoint_err.text);
		return;
	}
	if (timeout_ms > 0)
		timer_arm(&call->deadline, timeout_ms);
	try_submit(call);
}

void
client_call_start(struct client_call *call, const char *path, const void *body,
    size_t len, int64_t timeout_ms, struct wake *waiter)
{
	call->reader = waiter;
	call->want = CLIENT_WANT_ANSWER;
	call->no_more = true;
	if (enqueue(call, body, len))
		client_call_open(call, path, timeout_ms);
}

void
client_call_cancel(struct client_call *call)
{
	if (call->state != CLIENT_CALL_IDLE && call->state != CLIENT_CALL_ENDED)
		end_call(call, ERR_CANCELLED, "cancelled by the caller");
}
