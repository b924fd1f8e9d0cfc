/*
 * method.c - methods by name.
 */
#include "ctl/method.h"

#include "csi/definitions.h"
#include "grpc/health/v1/health.pb-c.h"

#include <string.h>

#define HEALTH "/grpc.health.v1."

static const struct ctl_method health[] = {
	{ HEALTH "Health/Check",
	    &grpc__health__v1__health_check_request__descriptor,
	    &grpc__health__v1__health_check_response__descriptor, false },
	{ HEALTH "Health/List",
	    &grpc__health__v1__health_list_request__descriptor,
	    &grpc__health__v1__health_list_response__descriptor, false },
	{ HEALTH "Health/Watch",
	    &grpc__health__v1__health_check_request__descriptor,
	    &grpc__health__v1__health_check_response__descriptor, true },
};

/* Whether `text` is `path`, or its end behind the package. */
static bool
is_path(const char *text, const char *path)
{
	if (*text == '/')
		text++;
	return str_eq(text, path + 1) || str_eq(text, strrchr(path, '.') + 1);
}

bool
ctl_method_find(struct ctl_method *method, const char *text)
{
	const struct csi_definition *csi = csi_definitions;

	for (size_t i = 0; i < countof(health); i++) {
		if (is_path(text, health[i].path)) {
			*method = health[i];
			return true;
		}
	}
	for (size_t i = 0; i < CSI_CLIENT_COUNT; i++) {
		if (is_path(text, csi[i].path)) {
			*method = (struct ctl_method){
				.path = csi[i].path,
				.request = csi[i].request,
				.reply = csi[i].reply,
				.stream = csi[i].stream,
			};
			return true;
		}
	}
	return false;
}

void
ctl_method_list(FILE *out)
{
	const struct csi_definition *csi = csi_definitions;

	for (size_t i = 0; i < CSI_CLIENT_COUNT; i++)
		(void)fprintf(out, "  %s/%s%s\n", csi[i].service, csi[i].name,
		    csi[i].stream ? " (stream)" : "");
	for (size_t i = 0; i < countof(health); i++)
		(void)fprintf(out, "  %s%s\n", health[i].path + strlen(HEALTH),
		    health[i].stream ? " (stream)" : "");
}
