/*
 * router.c - look-up of methods. A few short tables: a linear search costs
 * less than what surrounds it.
 */
#include "rpc/router.h"

#include <string.h>

static bool
is(const char *name, const char *bytes, size_t len)
{
	return strncmp(name, bytes, len) == 0 && name[len] == '\0';
}

const struct rpc_method *
router_find(const struct router *router, const char *path, struct err *err)
{
	const char *service = path + 1;
	const char *slash = path[0] == '/' ? strchr(service, '/') : NULL;
	const char *method;

	if (slash == NULL || slash == service || slash[1] == '\0') {
		(void)err_set(err, ERR_UNIMPLEMENTED, "malformed method name");
		return NULL;
	}
	method = slash + 1;
	for (size_t i = 0; i < router->service_count; i++) {
		const struct rpc_service *sv = router->services[i];

		if (!is(sv->name, service, (size_t)(slash - service)))
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
	(void)err_set(err, ERR_UNIMPLEMENTED, "unknown service %.*s",
	    (int)(slash - service), service);
	return NULL;
}
