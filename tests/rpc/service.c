/*
 * service.c - handlers for tests.
 */
#include "tests/rpc/service.h"

#include <string.h>
#include <sys/queue.h>

unsigned service_waiting;
unsigned service_gone[3];
int64_t service_deadline_ms;
const char *service_last_words;

struct waiter {
	struct call *call;
	LIST_ENTRY(waiter) link;
};

static LIST_HEAD(, waiter) waiters = LIST_HEAD_INITIALIZER(waiters);

static void
waiter_free(struct waiter *w)
{
	LIST_REMOVE(w, link);
	service_waiting--;
	free(w);
}

static void
echo(struct call *call)
{
	call_reply(call, call->request, call->request_len);
}

static void
big(struct call *call)
{
	char *number = arena_new_bytes(call_arena(call), call->request_len + 1);
	auto_free char *bytes = NULL;
	size_t n;

	memcpy(number, call->request, call->request_len);
	n = strtoul(number, NULL, 10);
	bytes = mem_new(n);
	memset(bytes, 'x', n);
	call_reply(call, bytes, n);
}

static void
fail(struct call *call)
{
	call_fail(call, ERR_NOT_FOUND,
	    arena_fmt(call_arena(call), "%.*s", (int)call->request_len,
		(const char *)call->request));
}

static void
on_gone(struct call *call, enum call_gone why)
{
	service_gone[why]++;
	if (why == CALL_DEADLINE && service_last_words != NULL)
		call_fail(call, ERR_ABORTED, service_last_words);
	waiter_free(call->data);
}

static void
wait_for_answer(struct call *call)
{
	struct waiter *w = mem_new(sizeof(*w));

	w->call = call;
	LIST_INSERT_HEAD(&waiters, w, link);
	service_waiting++;
	service_deadline_ms = call->deadline_ms;
	call->data = w;
	call->gone = on_gone;
}

void
service_answer(void)
{
	struct waiter *w;

	while ((w = LIST_FIRST(&waiters)) != NULL) {
		call_reply(w->call, "done", strlen("done"));
		waiter_free(w);
	}
}

static const struct rpc_method methods[] = {
	{ .name = "Echo", .start = echo },
	{ .name = "Big", .start = big },
	{ .name = "Fail", .start = fail },
	{ .name = "Wait", .start = wait_for_answer },
};
static const struct rpc_service service = {
	.name = "test.T",
	.methods = methods,
	.method_count = countof(methods),
};
static const struct rpc_service *const services[] = { &service };

const struct router service_router = {
	.services = services,
	.service_count = countof(services),
};
