/*
 * client_request.c - the header list of a request, in the order that
 * grpc/grpc doc/PROTOCOL-HTTP2.md asks for.
 */
#include "config.h"

#include "base/clock.h"
#include "rpc/client_conn.h"

#include <assert.h>
#include <string.h>

/* The values are literals, which nghttp2 need not copy. */
#define CONSTANT(header, text)                                                 \
	{                                                                      \
		.name = (uint8_t *)(header), .namelen = sizeof(header) - 1,    \
		.value = (uint8_t *)(text), .valuelen = sizeof(text) - 1,      \
		.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME |                        \
		    NGHTTP2_NV_FLAG_NO_COPY_VALUE                              \
	}

static const nghttp2_nv request_head[] = {
	CONSTANT(":method", "POST"),
	CONSTANT(":scheme", "http"),
	CONSTANT(":path", ""), /* filled in */
	CONSTANT(":authority", "localhost"),
};
static const nghttp2_nv request_timeout = CONSTANT("grpc-timeout", "");
static const nghttp2_nv request_tail[] = {
	CONSTANT("te", "trailers"),
	CONSTANT("content-type", "application/grpc"),
	CONSTANT("user-agent", "grpc-c-rbd-csi/" PACKAGE_VERSION),
};

static size_t
add_metadata(nghttp2_nv *nv, const struct metadata *md)
{
	const char *name, *value;
	size_t n = 0, at = 0;

	while (metadata_next(md, &at, &name, &value))
		nv[n++] = (nghttp2_nv){
			.name = (uint8_t *)(uintptr_t)name,
			.namelen = strlen(name),
			.value = (uint8_t *)(uintptr_t)value,
			.valuelen = strlen(value),
		};
	return n;
}

static void
set_value(nghttp2_nv *nv, const char *value, uint8_t flags)
{
	nv->value = (uint8_t *)(uintptr_t)value;
	nv->valuelen = strlen(value);
	nv->flags = flags | NGHTTP2_NV_FLAG_NO_COPY_NAME;
}

size_t
client_request_fields(const struct client_call *call, nghttp2_nv *nv,
    char timeout[GRPC_TIMEOUT_MAX])
{
	int64_t left_ms;
	size_t n = countof(request_head);

	memcpy(nv, request_head, sizeof(request_head));
	set_value(&nv[2], call->path, 0);
	if (call->timeout_ms > 0) {
		left_ms = call->deadline.due_ms - clock_now_ms();
		grpc_timeout_fmt(timeout, left_ms > 0 ? left_ms : 1);
		nv[n] = request_timeout;
		/* Of no use to later requests in the table of HPACK. */
		set_value(&nv[n++], timeout, NGHTTP2_NV_FLAG_NO_INDEX);
	}
	memcpy(nv + n, request_tail, sizeof(request_tail));
	n += countof(request_tail);
	n += add_metadata(nv + n, &call->headers);
	assert(n <= CLIENT_REQUEST_NV_MAX);
	return n;
}
