/*
 * health.c - who is served, and who watches it.
 *
 * The rule that holds it together: a watcher is sent the state as it is when
 * it can be sent, never a queue of states that have passed.
 */
#include "rpc/health.h"

#include "base/pb.h"
#include "rpc/call.h"

#include <errno.h>
#include <string.h>
#include <sys/queue.h>

#define REPLY_MAX ((size_t)64 << 10)

/* Field numbers. */
enum {
	REQUEST_SERVICE = 1,
	RESPONSE_STATUS = 1,
	LIST_STATUSES = 1,
	ENTRY_KEY = 1,
	ENTRY_VALUE = 2,
};

enum status {
	STATUS_NONE = 0, /* UNKNOWN in the protocol; never sent */
	STATUS_SERVING,
	STATUS_NOT_SERVING,
	STATUS_SERVICE_UNKNOWN,
};

/* One Watch call. */
struct watcher {
	struct call *call;
	bool known;       /* the service is */
	enum status sent; /* last */
	LIST_ENTRY(watcher)
	link;
};

static struct {
	const char *const *services;
	size_t count;
	bool shut_down;
	LIST_HEAD(, watcher) watchers;
} h = { .watchers = LIST_HEAD_INITIALIZER(h.watchers) };

static enum status
status_of(bool known)
{
	if (!known)
		return STATUS_SERVICE_UNKNOWN;
	return h.shut_down ? STATUS_NOT_SERVING : STATUS_SERVING;
}

static bool
is_known(struct pb service)
{
	if (service.len == 0)
		return true;
	for (size_t i = 0; i < h.count; i++)
		if (pb_is(service, h.services[i]))
			return true;
	return false;
}

/* The name asked for; fails the call if the request is no message. */
static int
request_service(struct call *call, struct pb *service)
{
	struct pb request = { call->request, call->request_len };
	struct pb_field field;
	int rc;

	*service = (struct pb){ call->request, 0 };
	while ((rc = pb_next(&request, &field)) > 0)
		if (field.number == REQUEST_SERVICE && field.has_bytes)
			*service = field.bytes;
	if (rc < 0)
		call_fail(call, ERR_INVALID_ARGUMENT,
		    "request is no HealthCheckRequest");
	return rc;
}

static int
response_put(struct buf *out, enum status status)
{
	return pb_put_varint(out, RESPONSE_STATUS, status);
}

static void
check(struct call *call)
{
	struct err err = ERR_INIT;
	struct pb service;
	struct buf out;

	if (request_service(call, &service) < 0)
		return;
	if (!is_known(service)) {
		(void)err_set(&err, ERR_NOT_FOUND, "unknown service %.*s",
		    (int)(service.len < 200 ? service.len : 200),
		    (const char *)service.at);
		call_fail_err(call, &err);
		return;
	}
	buf_init(&out, REPLY_MAX);
	if (response_put(&out, status_of(true)) == 0)
		call_reply(call, out.data, out.len);
	else
		call_fail(call, ERR_INTERNAL, "answer is too long");
	buf_fini(&out);
}

static int
entry_put(struct buf *out, const char *service)
{
	struct buf entry, response;
	int rc;

	buf_init(&entry, REPLY_MAX);
	buf_init(&response, REPLY_MAX);
	rc = response_put(&response, status_of(true));
	if (rc == 0)
		rc = pb_put(&entry, ENTRY_KEY, service, strlen(service));
	if (rc == 0)
		rc = pb_put(&entry, ENTRY_VALUE, response.data, response.len);
	if (rc == 0)
		rc = pb_put(out, LIST_STATUSES, entry.data, entry.len);
	buf_fini(&entry);
	buf_fini(&response);
	return rc;
}

static void
list(struct call *call)
{
	struct buf out;
	int rc;

	buf_init(&out, REPLY_MAX);
	rc = entry_put(&out, "");
	for (size_t i = 0; i < h.count && rc == 0; i++)
		rc = entry_put(&out, h.services[i]);
	if (rc == 0)
		call_reply(call, out.data, out.len);
	else
		call_fail(call, ERR_RESOURCE_EXHAUSTED, "too many services");
	buf_fini(&out);
}

/* ---- Watch ---- */

static void
watcher_free(struct watcher *w)
{
	LIST_REMOVE(w, link);
	free(w);
}

/* Sends the state if the client has not got it; ends the call if it cannot. */
static void
watcher_tell(struct watcher *w)
{
	enum status status = status_of(w->known);
	struct buf out;
	int rc;

	if (w->sent == status)
		return;
	buf_init(&out, REPLY_MAX);
	rc = response_put(&out, status);
	if (rc == 0)
		rc = stream_send(w->call, out.data, out.len);
	buf_fini(&out);
	if (rc == 0)
		w->sent = status;
	if (rc == 0 || rc == -EAGAIN)
		return;
	call_fail(w->call, ERR_INTERNAL, "state cannot be sent");
	watcher_free(w);
}

static void
on_writable(struct call *call)
{
	watcher_tell(call->data);
}

static void
on_gone(struct call *call, enum call_gone why)
{
	(void)why;
	watcher_free(call->data);
}

static void
on_leaving(struct call *call)
{
	watcher_free(call->data);
	call_fail(call, ERR_UNAVAILABLE, "server is shutting down");
}

static void
watch(struct call *call)
{
	struct watcher *w;
	struct pb service;

	if (request_service(call, &service) < 0)
		return;
	w = calloc(1, sizeof(*w));
	if (w == NULL) {
		call_fail(call, ERR_UNAVAILABLE, "server has no memory for it");
		return;
	}
	w->call = call;
	w->known = is_known(service);
	LIST_INSERT_HEAD(&h.watchers, w, link);
	call->data = w;
	call->gone = on_gone;
	call->writable = on_writable;
	call->leaving = on_leaving;
	watcher_tell(w);
}

static const struct rpc_method methods[] = {
	{ .name = "Check", .start = check },
	{ .name = "List", .start = list },
	{ .name = "Watch", .start = watch },
};

const struct rpc_service health_service = {
	.name = "grpc.health.v1.Health",
	.methods = methods,
	.method_count = countof(methods),
};

void
health_init(const char *const *services, size_t count)
{
	h.services = services;
	h.count = count;
	h.shut_down = false;
}

void
health_shutdown(void)
{
	struct watcher *w, *next;

	h.shut_down = true;
	for (w = LIST_FIRST(&h.watchers); w != NULL; w = next) {
		next = LIST_NEXT(w, link);
		watcher_tell(w);
	}
}
