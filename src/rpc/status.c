/*
 * status.c - response headers and trailers.
 */
#include "rpc/status.h"

#include "rpc/grpc.h"

#include <string.h>

/*
 * nghttp2 takes names and values without const but does not write to them.
 * Names are constants, so they need no copy; values may be queued for longer
 * than their stream lives.
 */
static nghttp2_nv
field(const char *name, const char *value, uint8_t flags)
{
	return (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name,
		.namelen = strlen(name),
		.value = (uint8_t *)(uintptr_t)value,
		.valuelen = strlen(value),
		.flags = (uint8_t)(flags | NGHTTP2_NV_FLAG_NO_COPY_NAME),
	};
}

/* The longest prefix of `text` that fits and ends between characters. */
static size_t
cut_len(const char *text)
{
	size_t len = strnlen(text, STATUS_TEXT_MAX + 1);

	if (len <= STATUS_TEXT_MAX)
		return len;
	len = STATUS_TEXT_MAX;
	while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
		len--;
	return len;
}

void
status_set(struct status *status, enum err_code code, const char *text)
{
	size_t len = text != NULL ? cut_len(text) : 0;

	status_fini(status);
	status->code = code <= ERR_UNAUTHENTICATED ? code : ERR_UNKNOWN;
	if (len == 0)
		return;
	status->message = mem_new(GRPC_PERCENT_ROOM(len));
	(void)grpc_percent_encode(status->message, text, len);
}

void
status_fini(struct status *status)
{
	free(status->message);
	status->message = NULL;
}

size_t
status_headers(nghttp2_nv *nv)
{
	nv[0] = field(":status", "200", 0);
	nv[1] = field("content-type", "application/grpc", 0);
	return 2;
}

size_t
status_trailers(const struct status *status, nghttp2_nv *nv)
{
	static const char *const number[] = { "0", "1", "2", "3", "4", "5", "6",
		"7", "8", "9", "10", "11", "12", "13", "14", "15", "16" };
	size_t n = 0;

	nv[n++] = field("grpc-status", number[status->code], 0);
	if (status->message != NULL) /* too diverse for the HPACK table */
		nv[n++] = field(
		    "grpc-message", status->message, NGHTTP2_NV_FLAG_NO_INDEX);
	if (status->code == ERR_UNIMPLEMENTED)
		nv[n++] = field("grpc-accept-encoding", "identity", 0);
	return n;
}

size_t
status_trailers_only(
    const struct status *status, int http_status, nghttp2_nv *nv)
{
	static const struct {
		int number;
		const char *text;
	} http[] = { { 400, "400" }, { 405, "405" }, { 415, "415" },
		{ 431, "431" } };
	size_t n = status_headers(nv);

	for (size_t i = 0; i < countof(http); i++)
		if (http[i].number == http_status)
			nv[0] = field(":status", http[i].text, 0);
	return n + status_trailers(status, nv + n);
}
