/*
 * dispatch.c - who serves a call: the daemon at once, a request, or nobody.
 */
#include "daemon/dispatch.h"

/* What an instant method answers never changes: it is packed once. */
struct answer {
	const void *bytes;
	size_t len;
};

static struct {
	struct identity identity;
	struct arena *arena;    /* has the answers */
	struct answer *answers; /* in the order of csi_methods() */
} dp;

static size_t
index_of(const struct csi_method *method)
{
	size_t count;

	return (size_t)(method - csi_methods(&count));
}

static void
pack_answers(void)
{
	struct err err = ERR_INIT;
	size_t count;
	const struct csi_method *methods = csi_methods(&count);

	dp.arena = csi_arena_new();
	dp.answers = arena_new_bytes(dp.arena, count * sizeof(*dp.answers));
	for (size_t i = 0; i < count; i++) {
		const struct csi_method *method = &methods[i];
		struct answer *answer = &dp.answers[i];
		const void *reply;

		if (!method->served || method->run != CSI_RUN_INSTANT)
			continue;
		reply = identity_reply(&dp.identity, method, dp.arena);
		if (reply != NULL)
			answer->bytes = csi_pack(
			    reply, dp.arena, &answer->len, &err);
		if (answer->bytes == NULL)
			abort(); /* a method without its function */
	}
}

static void
dispatch_instant(struct call *call, const struct csi_method *method)
{
	const struct answer *answer = &dp.answers[index_of(method)];
	struct err err = ERR_INIT;

	/* No bytes are a message, too: the usual one. */
	if (call->request_len == 0 ||
	    csi_unpack(method->request, call_arena(call), call->request,
		call->request_len, &err) != NULL)
		call_reply(call, answer->bytes, answer->len);
	else
		call_fail_err(call, &err);
}

/*
 * NodeGetCapabilities is answered by a controller, too: external-resizer asks
 * for it on the controller's socket and ends when it gets an error.
 */
static bool
is_served_here(const struct csi_method *method)
{
	const struct identity *who = &dp.identity;

	if (str_eq(method->service, "Controller") ||
	    str_eq(method->service, "Admin"))
		return who->controller;
	if (str_eq(method->service, "Node"))
		return who->node || str_eq(method->name, "NodeGetCapabilities");
	return true;
}

/* Why nobody here serves the method; 0 if somebody does. */
static int
refuse(const struct csi_method *method, struct err *err)
{
	if (!method->served)
		return err_set(err, ERR_UNIMPLEMENTED,
		    "%s is not served by this driver", method->name);
	if (!is_served_here(method))
		return err_set(err, ERR_UNIMPLEMENTED,
		    "%s: this process does not serve the %s service",
		    method->name, method->service);
	if (method->run == CSI_RUN_NODE && request_impl(method) == NULL)
		return err_set(err, ERR_UNIMPLEMENTED,
		    "%s is not served on this node", method->name);
	return 0;
}

void
dispatch_call(struct call *call)
{
	const struct csi_method *method = csi_method_find(call->path);
	struct err err = ERR_INIT;

	if (method == NULL) {
		(void)err_set(
		    &err, ERR_UNIMPLEMENTED, "unknown method %s", call->path);
		call_fail_err(call, &err);
	} else if (refuse(method, &err) < 0) {
		call_fail_err(call, &err);
	} else if (method->run == CSI_RUN_INSTANT) {
		dispatch_instant(call, method);
	} else {
		request_take(call, method);
	}
}

void
dispatch_init(const struct dispatch_setup *setup)
{
	struct requests_setup requests = setup->requests;

	dp.identity = setup->identity;
	pack_answers();
	requests.driver_name = dp.identity.driver_name;
	requests_init(&requests);
}

void
dispatch_fini(void)
{
	requests_fini();
	arena_free(dp.arena);
	dp.arena = NULL;
}
