/*
 * dispatch.c - who serves a call: the daemon at once, a request, or nobody.
 */
#include "daemon/dispatch.h"

static struct dispatch_setup dp;

static void
dispatch_instant(struct call *call, const struct csi_method *method)
{
	struct arena *arena = csi_arena_new();
	struct err err = ERR_INIT;
	const void *reply = NULL, *bytes = NULL;
	size_t len;

	if (csi_unpack(method->request, arena, call->request, call->request_len,
		&err) != NULL)
		reply = identity_reply(&dp.identity, method, arena);
	if (reply != NULL)
		bytes = csi_pack(reply, arena, &len, &err);
	if (bytes != NULL)
		call_reply(call, bytes, len);
	else
		call_fail_err(call, &err);
	arena_free(arena);
}

/*
 * NodeGetCapabilities is answered by a controller, too: external-resizer asks
 * for it on the controller's socket and ends when it gets an error.
 */
static bool
is_served_here(const struct csi_method *method)
{
	const struct identity *who = &dp.identity;

	if (str_eq(method->service, "Controller"))
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
	dp = *setup;
	requests_init(&dp.requests);
}

void
dispatch_fini(void)
{
	requests_fini();
}
