/*
 * call.c - a call from its beginning to the one way out of it: its deadline,
 * its metadata, the messages and the status that answer it, its line in the
 * log. The answer is not sent to a stream that is closed already.
 */
#include "rpc/call.h"

#include "base/clock.h"
#include "base/log.h"
#include "rpc/server_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define ARENA_MAX ((size_t)16 << 20)
#define MARGIN_MAX_MS 100

/*
 * A smaller answer is sent even when the server holds too many bytes: a refusal
 * would hold as many.
 */
#define SMALL_REPLY_BYTES 4096

/* A few short tables: a linear search costs less than what surrounds it. */
const struct rpc_method *
router_find(const struct router *router, const char *path, struct err *err)
{
	const char *service = path + 1;
	const char *slash = path[0] == '/' ? strchr(service, '/') : NULL;
	const char *method;
	size_t len;

	if (slash == NULL || slash == service || slash[1] == '\0') {
		(void)err_set(err, ERR_UNIMPLEMENTED, "malformed method name");
		return NULL;
	}
	method = slash + 1;
	len = (size_t)(slash - service);
	for (size_t i = 0; i < router->service_count; i++) {
		const struct rpc_service *sv = router->services[i];

		if (strncmp(sv->name, service, len) != 0 ||
		    sv->name[len] != '\0')
			continue;
		for (size_t j = 0; j < sv->method_count; j++)
			if (str_eq(sv->methods[j].name, method))
				return &sv->methods[j];
		(void)err_set(err, ERR_UNIMPLEMENTED,
		    "unknown method %s of service %s", method, sv->name);
		return NULL;
	}
	if (router->fallback.start != NULL)
		return &router->fallback;
	(void)err_set(
	    err, ERR_UNIMPLEMENTED, "unknown service %.*s", (int)len, service);
	return NULL;
}

/* ---- the end ---- */

/* Logs and counts the end; `text` is NULL when all is well. */
static void
tell_end(struct call *call, enum err_code code, const char *text)
{
	struct server_conn *conn = server_stream_of(call)->conn;
	const struct router *router = conn->server->router;
	int64_t us = clock_now_us() - call->started_us;
	const char *note = call->note != NULL ? call->note : "";
	char quoted[2 * ERR_TEXT_MAX];
	enum log_level level = !err_is_callers(code) ? LOG_LEVEL_WARN
	    : code == ERR_OK && call->quiet          ? LOG_LEVEL_DEBUG
						     : LOG_LEVEL_INFO;

	if (log_enabled(level))
		log_line(level, "rpc.end", "method=%s code=%s ms=%.1f%s%s%s%s",
		    call->path[0] != '\0' ? call->path : "-",
		    err_code_name(code), (double)us / 1000.0,
		    note[0] != '\0' ? " " : "", note,
		    text != NULL ? " text=" : "",
		    text != NULL ? log_quote(quoted, sizeof(quoted), text)
				 : "");
	if (call->open) {
		conn->call_count--;
		conn->server->counters.calls--;
		conn->server->counters.calls_ended++;
	}
	if (router->ended != NULL)
		router->ended(call->path, call->method, code, us);
}

/* After this the handler's pointers into the call are void. */
static void
close_call(struct call *call, enum err_code code, const char *text)
{
	assert(call->open);
	timer_disarm(&call->timer);
	tell_end(call, code, text);
	call->open = false;
	arena_free(call->arena);
	call->arena = NULL;
	call->note = NULL;
}

/* ---- messages out ---- */

/* nghttp2 asks for the next piece; trailers come behind the last one. */
static ssize_t
on_reply_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t room,
    uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
	struct server_stream *s = source->ptr;
	size_t n = s->reply.len - s->reply_at;
	nghttp2_nv nv[STATUS_NV_MAX];

	(void)user_data;
	if (n > room)
		n = room;
	if (n > 0)
		memcpy(out, s->reply.data + s->reply_at, n);
	s->reply_at += n;
	if (s->reply_at < s->reply.len)
		return (ssize_t)n;
	if (s->state == STREAM_ANSWERED) {
		*flags |= NGHTTP2_DATA_FLAG_EOF |
		    NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (nghttp2_submit_trailer(session, id, nv,
			status_trailers(&s->status, &s->trailers, nv)) < 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		return (ssize_t)n;
	}
	server_stream_advance(&s->reply, &s->reply_at);
	server_stream_recount(s);
	if (s->refused_send)
		server_stream_touch(s);
	return n > 0 ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
}

/* Sends the response headers once; later tells nghttp2 of more bytes. */
static void
respond(struct server_stream *s)
{
	nghttp2_session *session = s->conn->h2.session;
	nghttp2_data_provider data = {
		.source.ptr = s,
		.read_callback = on_reply_read,
	};
	nghttp2_nv nv[STATUS_NV_MAX];

	if (s->responding) {
		/* An error: nghttp2 is not waiting, and will ask by itself. */
		(void)nghttp2_session_resume_data(session, s->id);
	} else if (nghttp2_submit_response(session, s->id, nv,
		       status_headers(200, &s->headers, nv), &data) < 0) {
		server_stream_reset(s, NGHTTP2_INTERNAL_ERROR);
	}
	s->responding = true;
	h2io_flush_soon(&s->conn->h2);
}

/* Queues a message; it fits. 0, or -ENOMEM. */
static int
queue_message(struct server_stream *s, const void *bytes, size_t len)
{
	server_stream_advance(&s->reply, &s->reply_at);
	if (grpc_message_put(&s->reply, bytes, len) < 0)
		return -ENOMEM;
	server_stream_recount(s);
	return 0;
}

int
stream_send(struct call *call, const void *bytes, size_t len)
{
	struct server_stream *s = server_stream_of(call);
	struct server *server = s->conn->server;
	size_t queued = s->reply.len - s->reply_at;

	assert(call->open);
	if (len > server->limits.reply_bytes)
		return -EMSGSIZE;
	if (s->state != STREAM_CALLED)
		return 0;
	if (queued > 0 &&
	    (queued + GRPC_PREFIX_BYTES + len > SERVER_STREAM_QUEUE_BYTES ||
		!server_has_room(server, s->conn))) {
		s->refused_send = true;
		return -EAGAIN;
	}
	/* Nothing is queued whose sending the handler could wait for. */
	if (queued == 0 && len > SMALL_REPLY_BYTES &&
	    !server_has_room(server, s->conn))
		return -ENOMEM;
	if (queue_message(s, bytes, len) < 0)
		return -ENOMEM;
	respond(s);
	return 0;
}

/* The answer is complete: the client has so long to take the rest of it. */
static void
set_answered(struct server_stream *s)
{
	s->state = STREAM_ANSWERED;
	timeout_arm(&s->wait, &s->conn->server->unread);
}

void
stream_end(struct call *call)
{
	struct server_stream *s = server_stream_of(call);

	assert(call->open);
	if (s->state != STREAM_CLOSED) {
		set_answered(s);
		respond(s);
	}
	close_call(call, ERR_OK, NULL);
}

void
call_reply(struct call *call, const void *bytes, size_t len)
{
	struct server_stream *s = server_stream_of(call);
	struct server *server = s->conn->server;

	assert(call->open);
	if (len > server->limits.reply_bytes)
		call_fail(call, ERR_RESOURCE_EXHAUSTED,
		    "answer is larger than the server may send");
	else if (s->state != STREAM_CLOSED && len > SMALL_REPLY_BYTES &&
	    !server_has_room(server, s->conn))
		call_fail(call, ERR_UNAVAILABLE,
		    "too many answers wait for their clients to read them");
	else if (s->state != STREAM_CLOSED && queue_message(s, bytes, len) < 0)
		call_fail(call, ERR_UNAVAILABLE,
		    "server has no memory for the answer");
	else
		stream_end(call);
}

/* ---- errors ---- */

/* The status, which is set, goes behind what was sent; or alone. */
static void
send_status(struct server_stream *s, int http_status)
{
	nghttp2_nv nv[STATUS_NV_MAX];
	size_t n;

	set_answered(s);
	if (s->responding) {
		respond(s);
		return;
	}
	n = status_headers(http_status, &s->headers, nv);
	n += status_trailers(&s->status, &s->trailers, nv + n);
	if (nghttp2_submit_response(s->conn->h2.session, s->id, nv, n, NULL) <
	    0)
		server_stream_reset(s, NGHTTP2_INTERNAL_ERROR);
	h2io_flush_soon(&s->conn->h2);
}

static void
fail_call(struct call *call, enum err_code code, const char *text,
    const struct call_details *details)
{
	struct server_stream *s = server_stream_of(call);

	assert(call->open);
	/* Log and metrics have to say what the client is told. */
	if (code == ERR_OK || code > ERR_UNAUTHENTICATED)
		code = ERR_UNKNOWN;
	if (s->state != STREAM_CLOSED) {
		status_set(&s->status, code, text);
		if (details != NULL)
			status_set_details(&s->status, text, details->type,
			    details->bytes, details->len);
		send_status(s, 200);
	}
	close_call(call, code, text);
}

void
call_fail(struct call *call, enum err_code code, const char *text)
{
	fail_call(call, code, text, NULL);
}

void
call_fail_err(struct call *call, const struct err *err)
{
	fail_call(call, err->code, err->text, NULL);
}

void
call_fail_details(struct call *call, const struct err *err,
    const struct call_details *details)
{
	fail_call(call, err->code, err->text, details);
}

void
call_refuse(struct call *call, enum server_refusal why, int http_status,
    enum err_code code, const char *text)
{
	struct server_stream *s = server_stream_of(call);

	s->conn->server->counters.refusals[why]++;
	tell_end(call, code, text);
	if (http_status == 0)
		return;
	status_set(&s->status, code, text);
	send_status(s, http_status);
}

/* ---- metadata and memory ---- */

const char *
call_header(struct call *call, const char *name)
{
	const struct metadata *md = &server_stream_of(call)->metadata;
	const char *found = NULL, *key, *value;
	size_t count = 0, len = 0;
	char *joined, *to;

	for (size_t at = 0; metadata_next(md, &at, &key, &value);)
		if (str_eq(key, name)) {
			found = value;
			count++;
			len += strlen(value) + 1;
		}
	if (count < 2)
		return found;
	/* In one piece: a client says how many there are. */
	joined = to = arena_new_bytes(call_arena(call), len);
	for (size_t at = 0; metadata_next(md, &at, &key, &value);)
		if (str_eq(key, name)) {
			to = stpcpy(to, value);
			*to++ = ',';
		}
	to[-1] = '\0';
	return joined;
}

long
call_header_bytes(struct call *call, const char *name, void *out, size_t max)
{
	const char *value = call_header(call, name);

	if (value == NULL)
		return -ENOENT;
	return str_unbase64(out, max, value, strcspn(value, ","));
}

int
call_add_header(
    struct call *call, const char *name, const void *bytes, size_t len)
{
	struct server_stream *s = server_stream_of(call);

	return s->responding ? -EALREADY
			     : metadata_add(&s->headers, name, bytes, len);
}

int
call_add_trailer(
    struct call *call, const char *name, const void *bytes, size_t len)
{
	return metadata_add(
	    &server_stream_of(call)->trailers, name, bytes, len);
}

struct arena *
call_arena(struct call *call)
{
	if (call->arena == NULL)
		call->arena = arena_new(ARENA_MAX);
	return call->arena;
}

/* ---- the beginning, and an end from outside ---- */

void
call_abort(
    struct call *call, enum call_gone why, enum err_code code, const char *text)
{
	void (*gone)(struct call *, enum call_gone) = call->gone;

	call->gone = NULL;
	if (gone != NULL)
		gone(call, why);
	if (call->open && code == ERR_CANCELLED)
		close_call(call, code, text);
	else if (call->open)
		call_fail(call, code, text);
}

static void
on_call_late(struct timer *timer)
{
	call_abort(container_of(timer, struct call, timer), CALL_DEADLINE,
	    ERR_DEADLINE_EXCEEDED, "deadline exceeded");
}

void
call_default_timeout(struct call *call, int64_t ms)
{
	int64_t margin = ms / 20;

	if (call->deadline_ms != 0)
		return;
	/*
	 * The deadline is a little earlier than the client's, so that our
	 * answer, which says more than a time-out, arrives before it gives up.
	 */
	if (margin > MARGIN_MAX_MS)
		margin = MARGIN_MAX_MS;
	call->deadline_ms = call->started_us / 1000 + ms - margin;
	call->timer.fire = on_call_late;
	timer_arm(&call->timer, call->deadline_ms - clock_now_ms());
}

void
call_open(
    struct call *call, int64_t timeout_ms, void (*handler)(struct call *call))
{
	struct server_conn *conn = server_stream_of(call)->conn;

	call->open = true;
	conn->call_count++;
	conn->server->counters.calls++;
	conn->server->counters.calls_started++;
	if (timeout_ms >= 0)
		call_default_timeout(call, timeout_ms);
	if (timeout_ms >= 0 && call->deadline_ms <= clock_now_ms())
		on_call_late(&call->timer);
	else
		handler(call);
}
