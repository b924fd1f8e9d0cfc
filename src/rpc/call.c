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

#define ARENA_MAX ((size_t)16 << 20)
#define MARGIN_MAX_MS 100

/* Logs the end; `text` is NULL when all is well. */
static void
log_end(const struct call *call, enum err_code code, const char *text)
{
	char quoted[2 * ERR_TEXT_MAX];
	const char *note = call->note != NULL ? call->note : "";

	if (!log_enabled(LOG_LEVEL_INFO))
		return;
	log_info("rpc.end", "method=%s code=%s ms=%.1f%s%s%s%s",
	    call->path[0] != '\0' ? call->path : "-", err_code_name(code),
	    (double)(clock_now_us() - call->started_us) / 1000.0,
	    note[0] != '\0' ? " " : "", note, text != NULL ? " text=" : "",
	    text != NULL ? log_quote(quoted, sizeof(quoted), text) : "");
}

void
call_refused(struct call *call, enum err_code code, const char *text)
{
	log_end(call, code, text);
}

/* After this the handler's pointers into the call are void. */
static void
close_call(struct call *call, enum err_code code, const char *text)
{
	assert(call->open);
	call->open = false;
	timer_stop(&call->timer);
	h2stream_count_call(call, -1);
	log_end(call, code, text);
	arena_free(call->arena);
	call->arena = NULL;
	call->note = NULL;
}

void
call_reply(struct call *call, const void *bytes, size_t len)
{
	assert(call->open);
	if (h2stream_reply(call, bytes, len) < 0) {
		call_fail(call, ERR_RESOURCE_EXHAUSTED,
		    "answer is larger than the server may send");
		return;
	}
	close_call(call, ERR_OK, NULL);
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

void
call_fail(struct call *call, enum err_code code, const char *text)
{
	assert(call->open);
	if (code == ERR_OK)
		code = ERR_UNKNOWN;
	h2stream_fail(call, code, text);
	close_call(call, code, text);
}

void
call_fail_err(struct call *call, const struct err *err)
{
	call_fail(call, err->code, err->text);
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
	timer_start(&call->timer, call->deadline_ms - clock_now_ms());
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
	h2stream_count_call(call, 1);
	if (timeout_ms >= 0)
		set_timeout(call, timeout_ms);
	if (timeout_ms >= 0 && call->deadline_ms <= clock_now_ms())
		call_lost(call, CALL_DEADLINE);
	else
		handler(call);
}
