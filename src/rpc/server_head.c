/*
 * server_head.c - what a request's header list must be, and how an answer is
 * put into header lists.
 */
#include "rpc/server_head.h"

#include "grpc/status.pb-c.h"

#include <string.h>
#include <strings.h>

/* ---- of a request ---- */

#define FIELD_OVERHEAD 32 /* RFC 9113 6.5.2: each field counts 32 more */

enum {
	FIELD_METHOD = 1 << 0,
	FIELD_SCHEME = 1 << 1,
	FIELD_PATH = 1 << 2,
	FIELD_AUTHORITY = 1 << 3,
	FIELD_HOST = 1 << 4,
	FIELD_CONTENT_TYPE = 1 << 5,
	FIELD_CONTENT_LENGTH = 1 << 6,
	FIELD_TIMEOUT = 1 << 7,
	FIELD_TE = 1 << 8,
	FIELD_ENCODING = 1 << 9,
	FIELD_HTTP1 = 1 << 10, /* of HTTP/1 connections: RFC 9113 8.2.2 */
};

static bool
is_word(const char *bytes, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(bytes, word, len) == 0;
}

#define KNOWN(name, field)                                                     \
	{                                                                      \
		name, sizeof(name) - 1, field                                  \
	}

/* The bit of a field that is told apart, or 0. */
static unsigned
field_of(const char *name, size_t len)
{
	static const struct {
		const char *name;
		size_t len;
		unsigned field;
	} known[] = {
		KNOWN(":method", FIELD_METHOD),
		KNOWN(":scheme", FIELD_SCHEME),
		KNOWN(":path", FIELD_PATH),
		KNOWN(":authority", FIELD_AUTHORITY),
		KNOWN("host", FIELD_HOST),
		KNOWN("content-type", FIELD_CONTENT_TYPE),
		KNOWN("content-length", FIELD_CONTENT_LENGTH),
		KNOWN("grpc-timeout", FIELD_TIMEOUT),
		KNOWN("te", FIELD_TE),
		KNOWN("grpc-encoding", FIELD_ENCODING),
		KNOWN("connection", FIELD_HTTP1),
		KNOWN("keep-alive", FIELD_HTTP1),
		KNOWN("proxy-connection", FIELD_HTTP1),
		KNOWN("transfer-encoding", FIELD_HTTP1),
		KNOWN("upgrade", FIELD_HTTP1),
	};

	for (size_t i = 0; i < countof(known); i++)
		if (len == known[i].len &&
		    memcmp(name, known[i].name, len) == 0)
			return known[i].field;
	return 0;
}

void
head_init(struct head *head)
{
	*head = (struct head){ .timeout_ms = -1, .content_length = -1 };
}

void
head_malformed(struct head *head, const char *text)
{
	if (head->fault == HEAD_MALFORMED)
		return;
	head->fault = HEAD_MALFORMED;
	head->code = ERR_INTERNAL;
	head->text = text;
}

void
head_refuse(
    struct head *head, int http_status, enum err_code code, const char *text)
{
	if (head->fault != HEAD_FINE)
		return;
	head->fault = HEAD_REFUSED;
	head->http_status = http_status;
	head->code = code;
	head->text = text;
}

/* What a byte may be part of. */
enum {
	IN_NAME = 1, /* RFC 9110 5.6.2 token, no capitals (RFC 9113 8.2.1) */
	IN_VALUE = 2,
};

static bool
all_are(const char *bytes, size_t len, unsigned char class)
{
	/* Each byte of each request is looked at: hence a table. */
	static unsigned char table[256];
	unsigned char all = class;

	if (table['a'] == 0) {
		for (int c = 1; c < 256; c++) {
			if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			    strchr("!#$%&'*+-.^_`|~", c) != NULL)
				table[c] |= IN_NAME;
			if (c != '\r' && c != '\n')
				table[c] |= IN_VALUE;
		}
	}
	for (size_t i = 0; i < len; i++)
		all &= table[(unsigned char)bytes[i]];
	return all == class;
}

/* The rules for every field; false: a fault is noted. */
static bool
field_is_sane(struct head *head, const char *name, size_t name_len,
    const char *value, size_t value_len, size_t max)
{
	size_t colon = name_len > 0 && name[0] == ':' ? 1 : 0;
	char first = value_len > 0 ? value[0] : 'x';
	char last = value_len > 0 ? value[value_len - 1] : 'x';

	head->list_bytes += name_len + value_len + FIELD_OVERHEAD;
	if (head->list_bytes > max)
		head_refuse(head, 431, ERR_RESOURCE_EXHAUSTED,
		    "header list is too large");
	else if (name_len == colon ||
	    !all_are(name + colon, name_len - colon, IN_NAME))
		head_malformed(head, "bad header name");
	else if (first == ' ' || first == '\t' || last == ' ' || last == '\t' ||
	    !all_are(value, value_len, IN_VALUE))
		head_malformed(head, "bad header value");
	else
		return true;
	return false;
}

static void
path_field(struct head *head, const char *value, size_t len)
{
	bool good = len < sizeof(head->path) && len > 0 && value[0] == '/';

	/* Visible bytes only: it stands in a log line without quotes. */
	for (size_t i = 0; i < len && good; i++)
		good = value[i] > ' ' && value[i] <= '~' && value[i] != '"';
	if (len == 0)
		head_malformed(head, "empty :path");
	else if (!good)
		head_refuse(
		    head, 200, ERR_UNIMPLEMENTED, "malformed method name");
	else
		memcpy(head->path, value, len);
}

static void
content_length_field(
    struct head *head, const char *value, size_t len, bool again)
{
	bool good = len > 0 && len <= 18;
	int64_t n = 0;

	for (size_t i = 0; i < len && good; i++) {
		good = value[i] >= '0' && value[i] <= '9';
		n = n * 10 + (value[i] - '0');
	}
	if (good && (!again || n == head->content_length))
		head->content_length = n;
	else
		head_malformed(head, "bad content-length");
}

bool
head_field(struct head *head, const char *name, size_t name_len,
    const char *value, size_t value_len, size_t max)
{
	unsigned field;
	bool again;

	if (!field_is_sane(head, name, name_len, value, value_len, max))
		return false;
	field = field_of(name, name_len);
	again = (head->seen & field) != 0;
	head->seen |= field;
	if (name[0] != ':') {
		head->regular = true;
	} else if (head->regular) {
		head_malformed(head, "pseudo-header after a regular one");
		return false;
	}
	switch (field) {
	case FIELD_METHOD:
	case FIELD_SCHEME:
	case FIELD_PATH:
		if (again)
			head_malformed(head, "duplicate pseudo-header");
		else if (field == FIELD_PATH)
			path_field(head, value, value_len);
		else if (field == FIELD_METHOD &&
		    !is_word(value, value_len, "POST"))
			head_refuse(
			    head, 405, ERR_INTERNAL, "method is not POST");
		return false;
	case FIELD_AUTHORITY:
		if (again) /* as grpc-go answers it */
			head_refuse(head, 400, ERR_INTERNAL, "two :authority");
		return false;
	case FIELD_HOST:
		if (again)
			head_refuse(
			    head, 400, ERR_INTERNAL, "two host headers");
		return false;
	case FIELD_CONTENT_TYPE:
		if (again || !grpc_content_type_is(value, value_len))
			head_refuse(head, 415, ERR_INVALID_ARGUMENT,
			    "content-type is not application/grpc");
		return false;
	case FIELD_CONTENT_LENGTH:
		content_length_field(head, value, value_len, again);
		return false;
	case FIELD_TIMEOUT:
		if (again ||
		    grpc_timeout_parse(value, value_len, &head->timeout_ms) < 0)
			head_refuse(
			    head, 400, ERR_INTERNAL, "malformed grpc-timeout");
		return false;
	case FIELD_TE:
		if (value_len != strlen("trailers") ||
		    strncasecmp(value, "trailers", value_len) != 0)
			head_malformed(head, "te other than trailers");
		return false;
	case FIELD_ENCODING:
		if (!is_word(value, value_len, "identity"))
			head_refuse(head, 200, ERR_UNIMPLEMENTED,
			    "compressed messages are not supported");
		return false;
	case FIELD_HTTP1:
		head_malformed(head, "connection-specific header");
		return false;
	default:
		if (name[0] == ':')
			head_malformed(head, "unknown pseudo-header");
		return name[0] != ':';
	}
}

void
head_trailer_field(struct head *head, const char *name, size_t name_len,
    const char *value, size_t value_len, size_t max)
{
	if (field_is_sane(head, name, name_len, value, value_len, max) &&
	    (name[0] == ':' || field_of(name, name_len) == FIELD_HTTP1))
		head_malformed(head, "header not allowed in trailers");
}

void
head_end(struct head *head)
{
	const unsigned must = FIELD_METHOD | FIELD_SCHEME | FIELD_PATH;

	/* A list that was cut off at the limit says nothing about the rest. */
	if (head->fault == HEAD_REFUSED && head->http_status == 431)
		return;
	if ((head->seen & must) != must)
		head_malformed(head, "missing pseudo-header");
	if ((head->seen & FIELD_CONTENT_TYPE) == 0)
		head_refuse(
		    head, 415, ERR_INVALID_ARGUMENT, "content-type is missing");
}

/* ---- of an answer ---- */

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

void
status_set_details(struct status *status, const char *text, const char *type,
    const void *bytes, size_t len)
{
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT, *detail = &any;
	Google__Rpc__Status message = GOOGLE__RPC__STATUS__INIT;
	char url[128], shown[STATUS_TEXT_MAX + 1];
	uint8_t out[STATUS_DETAILS_MAX];
	size_t size;

	free(take_ptr(&status->details));
	if (str_put(url, sizeof(url), "type.googleapis.com/%s", type) < 0 ||
	    str_put(shown, sizeof(shown), "%.*s", (int)cut_len(text), text) < 0)
		return;
	any.type_url = url;
	any.value.data = (uint8_t *)(uintptr_t)bytes;
	any.value.len = len;
	message.code = (int32_t)status->code;
	message.message = shown;
	message.n_details = 1;
	message.details = &detail;
	size = google__rpc__status__get_packed_size(&message);
	if (size > sizeof(out))
		return;
	status->details = malloc(str_base64_len(size));
	if (status->details == NULL)
		return;
	str_base64(
	    status->details, out, google__rpc__status__pack(&message, out));
	/* PROTOCOL-HTTP2 wants it without padding. */
	status->details[strcspn(status->details, "=")] = '\0';
}

void
status_fini(struct status *status)
{
	free(take_ptr(&status->message));
	free(take_ptr(&status->details));
}

size_t
status_headers(int http_status, const struct metadata *headers, nghttp2_nv *nv)
{
	static const struct {
		int number;
		const char *text;
	} known[] = { { 400, "400" }, { 405, "405" }, { 415, "415" },
		{ 431, "431" } };
	const char *text = "200";

	for (size_t i = 0; i < countof(known); i++)
		if (known[i].number == http_status)
			text = known[i].text;
	nv[0] = grpc_field(":status", text, GRPC_FIXED);
	nv[1] = grpc_field("content-type", "application/grpc", GRPC_FIXED);
	return 2 + metadata_fields(headers, nv + 2);
}

size_t
status_trailers(const struct status *status, const struct metadata *trailers,
    nghttp2_nv *nv)
{
	static const char *const number[] = { "0", "1", "2", "3", "4", "5", "6",
		"7", "8", "9", "10", "11", "12", "13", "14", "15", "16" };
	size_t n = 0;

	nv[n++] = grpc_field("grpc-status", number[status->code], GRPC_FIXED);
	if (status->message != NULL)
		nv[n++] = grpc_field(
		    "grpc-message", status->message, GRPC_DIVERSE);
	if (status->details != NULL)
		nv[n++] = grpc_field(
		    "grpc-status-details-bin", status->details, GRPC_DIVERSE);
	if (status->code == ERR_UNIMPLEMENTED)
		nv[n++] = grpc_field(
		    "grpc-accept-encoding", "identity", GRPC_FIXED);
	return n + metadata_fields(trailers, nv + n);
}
