/*
 * ledger.c - handlers that keep books.
 */
#include "tests/rpc/ledger.h"

#include "base/buf.h"
#include "core/loop.h"
#include "rpc/call.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#define SIZE_MAX_BYTES 4096

enum ending {
	ENDING_REPLY = 0,
	ENDING_OK,
	ENDING_FAIL,
	ENDING_DETAILS,
};

/* One call. It outlives the call, so that what comes late is noticed. */
struct entry {
	struct call *call; /* not to be touched unless open */
	bool open;
	bool answered;
	unsigned gone;
	bool ready; /* what it waits for is there; it owes the answer */
	enum ending ending;
	bool has_text;
	char text[64]; /* of the answer; else the request */
	struct job job;
	unsigned messages, sent, to_send;
	size_t bytes, size;
	struct buf pending; /* Echo: a message that was refused */
	LIST_ENTRY(entry) link;
};

static struct {
	enum ledger_mode mode;
	enum ledger_gone gone;
	LIST_HEAD(, entry) all;
	unsigned started;
	const char *wrong;
} books;

static void
is_wrong(const char *what)
{
	if (books.wrong == NULL)
		books.wrong = what;
}

/* ---- endings ---- */

static void
fail_with_details(struct call *call)
{
	const struct call_details details = { "s.Why", "because", 7 };
	struct err err = ERR_INIT;

	(void)err_set(&err, ERR_ABORTED, "see the details");
	call_fail_details(call, &err, &details);
}

static void
answer(struct entry *e)
{
	struct call *call = e->call;

	loop_unpost(&e->job);
	e->open = false;
	e->answered = true;
	switch (e->ending) {
	case ENDING_REPLY:
		if (e->has_text)
			call_reply(call, e->text, strlen(e->text));
		else
			call_reply(call, call->request, call->request_len);
		return;
	case ENDING_OK:
		stream_end(call);
		return;
	case ENDING_FAIL:
		call_fail(call, ERR_ABORTED, e->text);
		return;
	case ENDING_DETAILS:
		fail_with_details(call);
		return;
	}
}

static void
on_job(struct job *job)
{
	answer(container_of(job, struct entry, job));
}

static void
finish(struct entry *e, enum ending ending)
{
	e->ready = true;
	e->ending = ending;
	if (books.mode == LEDGER_NOW)
		answer(e);
	else if (books.mode == LEDGER_LATER)
		loop_post(&e->job);
}

static void
on_gone(struct call *call, enum call_gone why)
{
	struct entry *e = call->data;

	if (e->answered)
		is_wrong("gone() after the answer");
	if (e->gone++ > 0)
		is_wrong("gone() twice");
	loop_unpost(&e->job);
	e->open = false;
	if (why == CALL_DEADLINE && books.gone == LEDGER_LAST_WORDS)
		call_fail(call, ERR_DEADLINE_EXCEEDED, "last words");
	if (books.gone == LEDGER_HANDS_OVER)
		ledger_end_all();
}

static struct entry *
enter(struct call *call)
{
	struct entry *e = mem_new(sizeof(*e));

	e->call = call;
	e->open = true;
	e->job.run = on_job;
	buf_init(&e->pending, (size_t)1 << 20);
	LIST_INSERT_HEAD(&books.all, e, link);
	books.started++;
	call->data = e;
	call->gone = on_gone;
	return e;
}

static struct entry *
entry_of(struct call *call)
{
	struct entry *e = call->data;

	if (!e->open)
		is_wrong("a callback after the end");
	return e;
}

/* ---- handlers ---- */

static void
unary(struct call *call)
{
	finish(enter(call), ENDING_REPLY);
}

static void
fail(struct call *call)
{
	struct entry *e = enter(call);

	(void)snprintf(e->text, sizeof(e->text), "%.*s", (int)call->request_len,
	    (const char *)call->request);
	finish(e, ENDING_FAIL);
}

static void
count_on(struct call *call)
{
	static const char bytes[SIZE_MAX_BYTES];
	struct entry *e = entry_of(call);
	unsigned stop = e->to_send;

	if (books.mode == LEDGER_HELD)
		stop /= 2;
	while (e->sent < stop) {
		if (stream_send(call, bytes, e->size) < 0)
			return; /* writable() comes */
		e->sent++;
	}
	if (!e->ready)
		finish(e, ENDING_OK);
}

static void
count(struct call *call)
{
	struct entry *e = enter(call);
	char text[32];

	(void)snprintf(text, sizeof(text), "%.*s", (int)call->request_len,
	    (const char *)call->request);
	(void)sscanf(text, "%u %zu", &e->to_send, &e->size);
	call->writable = count_on;
	count_on(call);
}

static void
sum_message(struct call *call, const void *bytes, size_t len)
{
	struct entry *e = entry_of(call);

	if (bytes != NULL) {
		e->messages++;
		e->bytes += len;
		stream_read(call);
		return;
	}
	e->has_text = true;
	(void)snprintf(
	    e->text, sizeof(e->text), "%u %zu", e->messages, e->bytes);
	finish(e, ENDING_REPLY);
}

static void
sum(struct call *call)
{
	(void)enter(call);
	call->message = sum_message;
	stream_read(call);
}

static void
echo_writable(struct call *call)
{
	struct entry *e = entry_of(call);

	if (stream_send(call, e->pending.data, e->pending.len) < 0) {
		is_wrong("writable(), and it is not");
		return;
	}
	buf_clear(&e->pending);
	stream_read(call);
}

static void
echo_message(struct call *call, const void *bytes, size_t len)
{
	struct entry *e = entry_of(call);
	int rc = bytes != NULL ? stream_send(call, bytes, len) : 0;

	if (bytes == NULL)
		finish(e, ENDING_OK);
	else if (rc == 0)
		stream_read(call);
	else if (rc != -EAGAIN)
		finish(e, ENDING_FAIL);
	else if (buf_append(&e->pending, bytes, len) < 0)
		abort();
}

static void
echo(struct call *call)
{
	(void)enter(call);
	call->message = echo_message;
	call->writable = echo_writable;
	stream_read(call);
}

static void
early(struct call *call)
{
	finish(enter(call), ENDING_FAIL);
}

static void
eager(struct call *call)
{
	(void)enter(call);
	call->message = sum_message;
	if (stream_send(call, "first", 5) < 0)
		is_wrong("the first message is refused");
	stream_read(call);
}

static void
meta(struct call *call)
{
	struct entry *e = enter(call);
	const char *id = call_header(call, "x-request-id");
	char bytes[16];
	long len = call_header_bytes(call, "x-trace-bin", bytes, sizeof(bytes));

	if (id == NULL || len < 0 ||
	    call_add_header(call, "x-request-id", id, strlen(id)) < 0 ||
	    call_add_trailer(call, "x-trace-bin", bytes, (size_t)len) < 0)
		is_wrong("metadata is missing");
	finish(e, ENDING_REPLY);
}

static void
details(struct call *call)
{
	finish(enter(call), ENDING_DETAILS);
}

static const struct rpc_method methods[] = {
	{ .name = "Unary", .start = unary },
	{ .name = "Fail", .start = fail },
	{ .name = "Count", .start = count },
	{ .name = "Sum", .start = sum, .client_streams = true },
	{ .name = "Echo", .start = echo, .client_streams = true },
	{ .name = "Early", .start = early, .client_streams = true },
	{ .name = "Eager", .start = eager, .client_streams = true },
	{ .name = "Meta", .start = meta },
	{ .name = "Details", .start = details },
};
const struct rpc_service ledger_service = { "s.S", methods, countof(methods) };

static const struct rpc_service *const services[] = { &ledger_service };

const struct router ledger_router = {
	.services = services,
	.service_count = countof(services),
};

/* ---- the books ---- */

void
ledger_start(enum ledger_mode mode, enum ledger_gone gone)
{
	LIST_INIT(&books.all);
	books.mode = mode;
	books.gone = gone;
	books.started = 0;
	books.wrong = NULL;
}

void
ledger_release(void)
{
	struct entry *e;

	books.mode = LEDGER_NOW;
	LIST_FOREACH (e, &books.all, link) {
		if (!e->open || !e->ready)
			continue;
		loop_unpost(&e->job);
		e->ready = false;
		if (e->sent < e->to_send)
			count_on(e->call);
		else
			finish(e, e->ending);
	}
}

void
ledger_end_all(void)
{
	struct entry *e;
	unsigned i = 0;

	LIST_FOREACH (e, &books.all, link) {
		if (!e->open)
			continue;
		e->has_text = true;
		e->ending = i++ % (ENDING_DETAILS + 1);
		answer(e);
	}
}

size_t
ledger_open(void)
{
	const struct entry *e;
	size_t n = 0;

	LIST_FOREACH (e, &books.all, link)
		n += e->open;
	return n;
}

unsigned
ledger_started(void)
{
	return books.started;
}

const char *
ledger_close(void)
{
	struct entry *e;

	while ((e = LIST_FIRST(&books.all)) != NULL) {
		if (e->open)
			is_wrong("a call that nobody ended");
		LIST_REMOVE(e, link);
		loop_unpost(&e->job);
		buf_fini(&e->pending);
		free(e);
	}
	return books.wrong;
}
