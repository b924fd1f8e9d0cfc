/*
 * status.c - response headers and trailers.
 */
#include "rpc/status.h"

#include "base/pb.h"
#include "rpc/grpc.h"

#include <string.h>

/* Field numbers of google.rpc.Status and google.protobuf.Any. */
enum {
	DETAILS_CODE = 1,
	DETAILS_MESSAGE = 2,
	DETAILS_DETAIL = 3,
	ANY_TYPE_URL = 1,
	ANY_VALUE = 2,
};

/*
 * nghttp2 takes names and values without const but does not write to them.
 */
static nghttp2_nv
field(const char *name, const char *value, unsigned flags)
{
	return (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name,
		.namelen = strlen(name),
		.value = (uint8_t *)(uintptr_t)value,
		.valuelen = strlen(value),
		.flags = (uint8_t)flags,
	};
}

/* Constants need no copy; other values may outlive their stream in a queue. */
#define FIXED_NAME NGHTTP2_NV_FLAG_NO_COPY_NAME
#define FIXED (NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE)
/* Too diverse for HPACK's table. */
#define DIVERSE NGHTTP2_NV_FLAG_NO_INDEX

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
	status->message = malloc(GRPC_PERCENT_ROOM(len));
	if (status->message != NULL)
		(void)grpc_percent_encode(status->message, text, len);
}

/* 0, or -EMSGSIZE, or -ENAMETOOLONG. */
static int
details_put(struct buf *out, const struct status *status, const char *text,
    const char *type, struct pb detail)
{
	char url[128];
	struct buf any;
	int rc = str_put(url, sizeof(url), "type.googleapis.com/%s", type);

	buf_init(&any, STATUS_DETAILS_MAX);
	if (rc == 0)
		rc = pb_put(&any, ANY_TYPE_URL, url, strlen(url));
	if (rc == 0)
		rc = pb_put(&any, ANY_VALUE, detail.at, detail.len);
	if (rc == 0)
		rc = pb_put_varint(out, DETAILS_CODE, status->code);
	if (rc == 0)
		rc = pb_put(out, DETAILS_MESSAGE, text, cut_len(text));
	if (rc == 0)
		rc = pb_put(out, DETAILS_DETAIL, any.data, any.len);
	buf_fini(&any);
	return rc;
}

void
status_set_details(struct status *status, const char *text, const char *type,
    const void *bytes, size_t len)
{
	const struct pb detail = { bytes, len };
	struct buf out;

	free(status->details);
	status->details = NULL;
	buf_init(&out, STATUS_DETAILS_MAX);
	if (details_put(&out, status, text, type, detail) == 0)
		status->details = malloc(str_base64_len(out.len));
	if (status->details != NULL) {
		str_base64(status->details, out.data, out.len);
		/* PROTOCOL-HTTP2 wants it without padding. */
		status->details[strcspn(status->details, "=")] = '\0';
	}
	buf_fini(&out);
}

void
status_fini(struct status *status)
{
	free(status->message);
	free(status->details);
	status->message = NULL;
	status->details = NULL;
}

static size_t
put_metadata(const struct metadata *md, nghttp2_nv *nv)
{
	const char *name, *value;
	size_t at = 0, n = 0;

	while (metadata_next(md, &at, &name, &value))
		nv[n++] = field(name, value, 0);
	return n;
}

size_t
status_headers(const struct metadata *headers, nghttp2_nv *nv)
{
	nv[0] = field(":status", "200", FIXED);
	nv[1] = field("content-type", "application/grpc", FIXED);
	return 2 + put_metadata(headers, nv + 2);
}

size_t
status_trailers(const struct status *status, const struct metadata *trailers,
    nghttp2_nv *nv)
{
	static const char *const number[] = { "0", "1", "2", "3", "4", "5", "6",
		"7", "8", "9", "10", "11", "12", "13", "14", "15", "16" };
	size_t n = 0;

	nv[n++] = field("grpc-status", number[status->code], FIXED);
	if (status->message != NULL)
		nv[n++] = field(
		    "grpc-message", status->message, FIXED_NAME | DIVERSE);
	if (status->details != NULL)
		nv[n++] = field("grpc-status-details-bin", status->details,
		    FIXED_NAME | DIVERSE);
	if (status->code == ERR_UNIMPLEMENTED)
		nv[n++] = field("grpc-accept-encoding", "identity", FIXED);
	return n + put_metadata(trailers, nv + n);
}

size_t
status_trailers_only(const struct status *status, int http_status,
    const struct metadata *headers, const struct metadata *trailers,
    nghttp2_nv *nv)
{
	static const struct {
		int number;
		const char *text;
	} http[] = { { 400, "400" }, { 405, "405" }, { 415, "415" },
		{ 431, "431" } };
	size_t n = status_headers(headers, nv);

	for (size_t i = 0; i < countof(http); i++)
		if (http[i].number == http_status)
			nv[0] = field(":status", http[i].text, FIXED);
	return n + status_trailers(status, trailers, nv + n);
}
