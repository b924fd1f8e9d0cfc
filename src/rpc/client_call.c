/*
 * client_call.c - a call of a client, from its beginning to its end in
 * client_call_end(), which is the only place where a status is set.
 *
 * What comes is noted by the functions client_call_on_x(), inside nghttp2;
 * client_call_settle() acts on it. A call leaves its connection as soon as the
 * server has ended the stream: what nobody has read yet stays in `inbox`.
 */
#include "base/clock.h"
#include "rpc/client_conn.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define INBOX_MAX ((size_t)64 << 10) /* HTTP/2's first window, 65,535 */
#define RETRY_MS 5                   /* when the listen queue is full */
#define REFUSED_MAX 3                /* tries more, then the call fails */

static void try_submit(struct client_call *call);

/* ---- the end ---- */

void
client_call_wake_reader(struct client_call *call, int rc)
{
	struct wake *reader = take_ptr(&call->reader);

	wake_up(reader, rc);
}

void
client_call_wake_sender(struct client_call *call, int rc)
{
	struct wake *sender = take_ptr(&call->sender);

	wake_up(sender, rc);
}

static bool
is_late(const struct client_call *call)
{
	return timer_is_running(&call->deadline) &&
	    call->deadline.due_ms <= clock_now_ms();
}

void
client_call_end(struct client_call *call, enum err_code code, const char *text)
{
	/* The server's clock may be a little faster than ours. */
	if (code == ERR_CANCELLED && is_late(call)) {
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
	client_call_wake_reader(call, code == ERR_OK ? 0 : err_rc_of(code));
	client_call_wake_sender(call, -EPIPE);
}

static void
end_for_fault(struct client_call *call)
{
	switch (call->fault) {
	case CLIENT_FAULT_TOO_LARGE:
		client_call_end(
		    call, ERR_RESOURCE_EXHAUSTED, "answer is too large");
		return;
	case CLIENT_FAULT_HEADERS:
		client_call_end(call, ERR_RESOURCE_EXHAUSTED,
		    "answer has too much metadata");
		return;
	case CLIENT_FAULT_SECOND:
		client_call_end(
		    call, ERR_UNIMPLEMENTED, "answer is two messages");
		return;
	case CLIENT_FAULT_GARBLED:
		client_call_end(
		    call, ERR_INTERNAL, "answer is compressed or garbled");
		return;
	case CLIENT_FAULT_NONE:
		break;
	}
	abort();
}

/* All that came is read: what was the answer? */
static void
judge(struct client_call *call)
{
	char text[CLIENT_TEXT_MAX];
	const char *why;
	enum err_code code = client_head_verdict(&call->head, text, &why);

	if (code == ERR_OK && grpc_reader_in_message(&call->input))
		client_call_end(
		    call, ERR_INTERNAL, "answer ends inside a message");
	else if (code == ERR_OK && call->want == CLIENT_WANT_ANSWER &&
	    !call->has_message)
		client_call_end(
		    call, ERR_UNIMPLEMENTED, "no message in the answer");
	else
		client_call_end(call, code, why);
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

/* The stream is gone, and the server has not ended it. */
static void
end_for_reset(struct client_call *call)
{
	char text[80];

	if ((call->reset_code == NGHTTP2_REFUSED_STREAM || !call->sent) &&
	    try_again(call))
		return;
	(void)snprintf(text, sizeof(text),
	    call->broken ? "the server breaks HTTP/2's rules: %s"
			 : "stream ended without a status: %s",
	    nghttp2_http2_strerror(call->reset_code));
	client_call_end(
	    call, client_head_code_of_reset(call->reset_code), text);
}

void
client_call_move(struct client_call *call)
{
	if (!try_again(call))
		client_call_end(
		    call, ERR_UNAVAILABLE, "no server takes the call");
}

void
client_call_lost(struct client_call *call, enum err_code code, const char *text)
{
	if (call->over || call->closed || call->fault != CLIENT_FAULT_NONE)
		client_call_settle(call); /* came just before */
	else if (call->sent || !try_again(call))
		client_call_end(call, code, text);
}

/* ---- what comes ---- */

void
client_call_on_headers(struct client_call *call, bool ends_stream)
{
	client_head_end(&call->head, ends_stream);
	if (call->fault != CLIENT_FAULT_NONE)
		client_conn_touch(call);
}

void
client_call_on_end(struct client_call *call)
{
	call->over = true;
	client_conn_touch(call);
}

void
client_call_on_close(struct client_call *call, uint32_t reset_code)
{
	call->closed = true;
	call->reset_code = reset_code;
	client_conn_touch(call);
}

void
client_call_settle(struct client_call *call)
{
	if (call->fault != CLIENT_FAULT_NONE) {
		end_for_fault(call);
		return;
	}
	if (call->closed && !call->over) {
		end_for_reset(call);
		return;
	}
	if (call->over && call->conn != NULL) {
		/* If we were still sending: that is of no use any more. */
		client_conn_leave(call, NGHTTP2_NO_ERROR);
		timer_disarm(&call->deadline);
		call->state = CLIENT_CALL_ANSWERED;
		client_call_wake_sender(call, -EPIPE);
	}
	if (call->want == CLIENT_WANT_NOTHING && call->has_message)
		client_call_wake_reader(call, 0);
	if (call->over && call->inbox.len == 0 && call->reader != NULL)
		judge(call);
	else if (client_call_queued(call) <= CLIENT_QUEUE_MAX)
		client_call_wake_sender(call, 0);
}

/* ---- connecting ---- */

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
		client_call_end(call, ERR_UNAVAILABLE, err.text);
	}
}

static void
on_retry(struct timer *timer)
{
	try_submit(container_of(timer, struct client_call, retry));
}

static void
on_deadline(struct timer *timer)
{
	client_call_end(container_of(timer, struct client_call, deadline),
	    ERR_DEADLINE_EXCEEDED, "no answer in time");
}

static void
start(struct client_call *call, const char *path, int64_t timeout_ms)
{
	assert(call->state == CLIENT_CALL_IDLE);
	call->path = path;
	call->timeout_ms = timeout_ms;
	if (call->client->endpoint_rc < 0) {
		client_call_end(call, call->client->endpoint_err.code,
		    call->client->endpoint_err.text);
		return;
	}
	if (timeout_ms > 0)
		timer_arm(&call->deadline, timeout_ms);
	try_submit(call);
}

/* ---- what callers see ---- */

void
client_call_init(struct client_call *call, struct client *client)
{
	*call = (struct client_call){ .client = client };
	call->deadline.fire = on_deadline;
	call->retry.fire = on_retry;
	buf_init(&call->reply, client->reply_bytes);
	buf_init(&call->out, CLIENT_OUT_MAX + GRPC_PREFIX_BYTES);
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
	grpc_reader_fini(&call->input);
	client_head_fini(&call->head);
	metadata_fini(&call->headers);
}

int
client_call_add_header(
    struct client_call *call, const char *name, const void *bytes, size_t len)
{
	return metadata_add(&call->headers, name, bytes, len);
}

void
client_call_start(struct client_call *call, const char *path, const void *body,
    size_t len, int64_t timeout_ms, struct wake *waiter)
{
	call->reader = waiter;
	call->want = CLIENT_WANT_ANSWER;
	call->no_more = true;
	if (client_call_enqueue(call, body, len))
		start(call, path, timeout_ms);
}

void
client_call_open(struct client_call *call, const char *path, int64_t timeout_ms)
{
	start(call, path, timeout_ms);
}

void
client_call_cancel(struct client_call *call)
{
	if (call->state != CLIENT_CALL_IDLE && call->state != CLIENT_CALL_ENDED)
		client_call_end(call, ERR_CANCELLED, "cancelled by the caller");
}

static const char *
first_value(const struct metadata *md, const char *name)
{
	const char *other, *value;
	size_t at = 0;

	while (metadata_next(md, &at, &other, &value))
		if (str_eq(name, other))
			return value;
	return NULL;
}

const char *
client_call_header(const struct client_call *call, const char *name)
{
	return first_value(&call->head.headers, name);
}

const char *
client_call_trailer(const struct client_call *call, const char *name)
{
	return first_value(&call->head.trailers, name);
}

const void *
client_call_details(const struct client_call *call, size_t *len)
{
	*len = call->head.details_len;
	return call->head.details;
}
