/*
 * health.c - who is served, and who watches it.
 */
#include "rpc/health.h"

#include "grpc/health/v1/health.pb-c.h"
#include "rpc/watch.h"

#include <assert.h>

#define SERVICES_MAX 16
#define STATE_MAX 16   /* bytes of a state, packed */
#define LIST_MAX 2048  /* bytes of a list, packed */
#define NAME_SHOWN 200 /* characters of an unknown name */

static int health_tell(struct watcher *w, struct err *err);

static struct {
	const char *const *services;
	size_t count;
	bool shut_down;
	struct watched watch; /* about 1: a service that is known, 0: is not */
} h = { .watch = { .tell = health_tell } };

/* The state of a service that is known, or of one that is not. */
static Grpc__Health__V1__HealthCheckResponse
state_of(bool known)
{
	Grpc__Health__V1__HealthCheckResponse state =
	    GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	if (!known)
		state.status =
		    GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
	else if (h.shut_down)
		state.status =
		    GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
	else
		state.status =
		    GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	return state;
}

/*
 * 1: the service that is asked for is known; 0: it is not, as `err` says; -1:
 * the request is no message, and the call has failed.
 */
static int
find_service(struct call *call, struct err *err)
{
	Grpc__Health__V1__HealthCheckRequest *request =
	    grpc__health__v1__health_check_request__unpack(
		NULL, call->request_len, call->request);
	int known;

	if (request == NULL) {
		call_fail(call, ERR_INVALID_ARGUMENT,
		    "request is no HealthCheckRequest");
		return -1;
	}
	known = request->service[0] == '\0';
	for (size_t i = 0; i < h.count && !known; i++)
		known = str_eq(request->service, h.services[i]);
	if (!known)
		(void)err_set(err, ERR_NOT_FOUND, "unknown service %.*s",
		    NAME_SHOWN, request->service);
	grpc__health__v1__health_check_request__free_unpacked(request, NULL);
	return known;
}

static void
health_check(struct call *call)
{
	Grpc__Health__V1__HealthCheckResponse state = state_of(true);
	struct err err = ERR_INIT;
	uint8_t out[STATE_MAX];
	int known = find_service(call, &err);

	call->quiet = true;
	if (known > 0)
		call_reply(call, out,
		    grpc__health__v1__health_check_response__pack(&state, out));
	else if (known == 0)
		call_fail_err(call, &err);
}

static void
health_list(struct call *call)
{
	Grpc__Health__V1__HealthListResponse list =
	    GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
	Grpc__Health__V1__HealthListResponse__StatusesEntry
	    entries[SERVICES_MAX + 1],
	    *pointers[SERVICES_MAX + 1];
	Grpc__Health__V1__HealthCheckResponse state = state_of(true);
	uint8_t out[LIST_MAX];

	list.statuses = pointers;
	for (size_t i = 0; i <= h.count; i++) {
		grpc__health__v1__health_list_response__statuses_entry__init(
		    &entries[i]);
		if (i > 0) /* the first is the server, without a name */
			entries[i].key = (char *)(uintptr_t)h.services[i - 1];
		entries[i].value = &state;
		pointers[list.n_statuses++] = &entries[i];
	}
	if (grpc__health__v1__health_list_response__get_packed_size(&list) <=
	    sizeof(out))
		call_reply(call, out,
		    grpc__health__v1__health_list_response__pack(&list, out));
	else
		call_fail(call, ERR_RESOURCE_EXHAUSTED, "too many services");
}

/* ---- Watch ---- */

/* A state is its number, which is not 0. */
static int
health_tell(struct watcher *w, struct err *err)
{
	Grpc__Health__V1__HealthCheckResponse state = state_of(w->about);
	uint8_t out[STATE_MAX];
	int rc;

	if (w->shown == state.status)
		return 0;
	rc = stream_send(w->call, out,
	    grpc__health__v1__health_check_response__pack(&state, out));
	if (rc == 0)
		w->shown = state.status;
	else
		(void)err_set(err, ERR_INTERNAL, "state cannot be sent");
	return rc;
}

static void
health_watch(struct call *call)
{
	struct err unknown = ERR_INIT;
	int known = find_service(call, &unknown);

	if (known >= 0)
		watch_add(&h.watch, call, known);
}

static const struct rpc_method methods[] = {
	{ .name = "Check", .start = health_check },
	{ .name = "List", .start = health_list },
	{ .name = "Watch", .start = health_watch, .server_streams = true },
};

const struct rpc_service health_service = {
	.name = "grpc.health.v1.Health",
	.methods = methods,
	.method_count = countof(methods),
};

void
health_init(const char *const *services, size_t count)
{
	assert(count <= SERVICES_MAX);
	h.services = services;
	h.count = count;
	h.shut_down = false;
}

void
health_shutdown(void)
{
	h.shut_down = true;
	(void)watch_tell(&h.watch);
}
