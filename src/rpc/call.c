/*
 * call.c - a call's messages, the one way out of it, its deadline, and its line in
 * the log.
 */
#include "rpc/call.h"

#include "base/clock.h"
#include "base/log.h"
#include "rpc/h2stream.h"
#include "rpc/stream.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define ARENA_MAX ((size_t)16 << 20)
#define MARGIN_MAX_MS 100

/* Logs the end; `text` is NULL when all is well. */
static void
log_end(
    const struct call *call, enum err_code code, const char *text, int64_t us)
{
	char quoted[2 * ERR_TEXT_MAX];
	const char *note = call->note != NULL ? call->note : "";

	if (!log_enabled(LOG_LEVEL_INFO))
		return;
	log_info("rpc.end", "method=%s code=%s ms=%.1f%s%s%s%s",
	    call->path[0] != '\0' ? call->path : "-", err_code_name(code),
	    (double)us / 1000.0, note[0] != '\0' ? " " : "", note,
	    text != NULL ? " text=" : "",
	    text != NULL ? log_quote(quoted, sizeof(quoted), text) : "");
}

/* Logs and counts the end. */
static void
tell_end(struct call *call, enum err_code code, const char *text)
{
	int64_t us = clock_now_us() - call->started_us;

	log_end(call, code, text, us);
	h2stream_call_ended(call, code, us);
}

void
call_refused(struct call *call, enum err_code code, const char *text)
{
	tell_end(call, code, text);
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

void
call_reply(struct call *call, const void *bytes, size_t len)
{
	assert(call->open);
	switch (h2stream_reply(call, bytes, len)) {
	case 0:
		close_call(call, ERR_OK, NULL);
		return;
	case -ENOBUFS:
		call_fail(call, ERR_UNAVAILABLE,
		    "too many answers wait for their clients to read them");
		return;
	case -ENOMEM:
		call_fail(call, ERR_UNAVAILABLE,
		    "server has no memory for the answer");
		return;
	default:
		call_fail(call, ERR_RESOURCE_EXHAUSTED,
		    "answer is larger than the server may send");
	}
}

void
stream_read(struct call *call)
{
	assert(call->open && call->message != NULL);
	h2stream_read(call);
}

int
stream_send(struct call *call, const void *bytes, size_t len)
{
	assert(call->open);
	return h2stream_send(call, bytes, len);
}

void
stream_end(struct call *call)
{
	assert(call->open);
	h2stream_end(call);
	close_call(call, ERR_OK, NULL);
}

static void
fail(struct call *call, enum err_code code, const char *text,
    const struct call_details *details)
{
	assert(call->open);
	/* Log and metrics have to say what the client is told. */
	if (code == ERR_OK || code > ERR_UNAUTHENTICATED)
		code = ERR_UNKNOWN;
	h2stream_fail(call, code, text, details);
	close_call(call, code, text);
}

void
call_fail(struct call *call, enum err_code code, const char *text)
{
	fail(call, code, text, NULL);
}

void
call_fail_err(struct call *call, const struct err *err)
{
	fail(call, err->code, err->text, NULL);
}

void
call_fail_details(struct call *call, const struct err *err,
    const struct call_details *details)
{
	fail(call, err->code, err->text, details);
}

/* ---- metadata ---- */

/* Joins `len` bytes of values, in one piece: a client says how many. */
static char *
join_headers(struct call *call, const char *name, size_t len)
{
	const struct metadata *md = h2stream_metadata(call);
	char *joined = arena_new_bytes(call_arena(call), len), *to = joined;
	const char *key, *value;
	size_t at = 0;

	while (metadata_next(md, &at, &key, &value)) {
		if (!str_eq(key, name))
			continue;
		memcpy(to, value, strlen(value));
		to += strlen(value);
		*to++ = ',';
	}
	to[-1] = '\0';
	return joined;
}

const char *
call_header(struct call *call, const char *name)
{
	const struct metadata *md = h2stream_metadata(call);
	const char *found = NULL, *key, *value;
	size_t at = 0, count = 0, len = 0;

	while (metadata_next(md, &at, &key, &value)) {
		if (!str_eq(key, name))
			continue;
		found = value;
		count++;
		len += strlen(value) + 1;
	}
	return count > 1 ? join_headers(call, name, len) : found;
}

long
call_header_bytes(struct call *call, const char *name, void *out, size_t max)
{
	const char *value = call_header(call, name);

	if (value == NULL)
		return -ENOENT;
	return metadata_decode(out, max, value, strcspn(value, ","));
}

int
call_add_header(
    struct call *call, const char *name, const void *bytes, size_t len)
{
	struct metadata *md = h2stream_headers(call);

	return md != NULL ? metadata_add(md, name, bytes, len) : -EALREADY;
}

int
call_add_trailer(
    struct call *call, const char *name, const void *bytes, size_t len)
{
	return metadata_add(h2stream_trailers(call), name, bytes, len);
}

struct arena *
call_arena(struct call *call)
{
	if (call->arena == NULL)
		call->arena = arena_new(ARENA_MAX);
	return call->arena;
}

void
call_lost(struct call *call, enum call_gone why)
{
	void (*gone)(struct call *, enum call_gone) = call->gone;

	call->gone = NULL;
	if (gone != NULL)
		gone(call, why);
	if (!call->open)
		return;
	if (why == CALL_DEADLINE)
		call_fail(call, ERR_DEADLINE_EXCEEDED, "deadline exceeded");
	else
		close_call(call, ERR_CANCELLED,
		    why == CALL_CANCELLED ? "cancelled by the client"
					  : "connection lost");
}

void
call_broken(struct call *call, enum err_code code, const char *text)
{
	void (*gone)(struct call *, enum call_gone) = call->gone;

	call->gone = NULL;
	if (gone != NULL)
		gone(call, CALL_CANCELLED);
	if (call->open)
		call_fail(call, code, text);
}

static void
on_deadline(struct timer *timer)
{
	call_lost(container_of(timer, struct call, timer), CALL_DEADLINE);
}

/*
 * A little less than what the client gave us, so that our answer, which tells
 * more than its own time-out, is there before it gives up.
 */
static void
set_timeout(struct call *call, int64_t timeout_ms)
{
	int64_t margin = timeout_ms / 20;

	if (margin > MARGIN_MAX_MS)
		margin = MARGIN_MAX_MS;
	call->deadline_ms = call->started_us / 1000 + timeout_ms - margin;
	call->timer.fire = on_deadline;
	timer_arm(&call->timer, call->deadline_ms - clock_now_ms());
}

void
call_default_timeout(struct call *call, int64_t ms)
{
	if (call->deadline_ms == 0)
		set_timeout(call, ms);
}

void
call_open(
    struct call *call, int64_t timeout_ms, void (*handler)(struct call *call))
{
	call->open = true;
	h2stream_call_opened(call);
	if (timeout_ms >= 0)
		set_timeout(call, timeout_ms);
	if (timeout_ms >= 0 && call->deadline_ms <= clock_now_ms())
		call_lost(call, CALL_DEADLINE);
	else
		handler(call);
}
