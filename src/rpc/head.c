/*
 * head.c - checks of request headers.
 */
#include "rpc/head.h"

#include "rpc/grpc.h"

#include <string.h>
#include <strings.h>

#define FIELD_OVERHEAD 32 /* RFC 9113 6.5.2: each field counts 32 more */

enum {
	SEEN_METHOD = 1 << 0,
	SEEN_SCHEME = 1 << 1,
	SEEN_PATH = 1 << 2,
	SEEN_AUTHORITY = 1 << 3,
	SEEN_HOST = 1 << 4,
	SEEN_CONTENT_TYPE = 1 << 5,
	SEEN_CONTENT_LENGTH = 1 << 6,
	SEEN_TIMEOUT = 1 << 7,
};

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

/* Notes a field that may come once; true if it had come already. */
static bool
seen_before(struct head *head, unsigned field)
{
	bool before = (head->seen & field) != 0;

	head->seen |= field;
	return before;
}

/* What a byte may be part of. */
enum {
	IN_NAME = 1, /* RFC 9110 5.6.2 token, no capitals (RFC 9113 8.2.1) */
	IN_VALUE = 2,
};

static unsigned char
class_of(unsigned c)
{
	unsigned char class = 0;

	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	    (c != '\0' && strchr("!#$%&'*+-.^_`|~", (int)c) != NULL))
		class |= IN_NAME;
	if (c != '\0' && c != '\r' && c != '\n')
		class |= IN_VALUE;
	return class;
}

/* A table of that, since each byte of each request is looked at. */
static const unsigned char *
classes(void)
{
	static unsigned char table[256];

	if (table['a'] == 0)
		for (unsigned c = 0; c < countof(table); c++)
			table[c] = class_of(c);
	return table;
}

static bool
all_are(const char *bytes, size_t len, unsigned char class)
{
	const unsigned char *table = classes();
	unsigned char all = class;

	for (size_t i = 0; i < len; i++)
		all &= table[(unsigned char)bytes[i]];
	return all == class;
}

static bool
name_is_valid(const char *name, size_t len)
{
	return len > 0 && all_are(name, len, IN_NAME);
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
value_is_valid(const char *value, size_t len)
{
	return len == 0 ||
	    (!is_blank(value[0]) && !is_blank(value[len - 1]) &&
		all_are(value, len, IN_VALUE));
}

static bool
is(const char *bytes, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(bytes, word, len) == 0;
}

/* Good for a log line without quotes. */
static bool
is_visible(const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] <= ' ' || bytes[i] > '~' || bytes[i] == '"')
			return false;
	return true;
}

static void
path_field(struct head *head, const char *value, size_t len)
{
	if (len == 0) {
		head_malformed(head, "empty :path");
		return;
	}
	if (len >= sizeof(head->path) || value[0] != '/' ||
	    !is_visible(value, len)) {
		head_refuse(
		    head, 200, ERR_UNIMPLEMENTED, "malformed method name");
		return;
	}
	memcpy(head->path, value, len);
}

static void
pseudo_field(struct head *head, const char *name, size_t name_len,
    const char *value, size_t value_len)
{
	unsigned field = 0;

	if (head->regular) {
		head_malformed(head, "pseudo-header after a regular one");
		return;
	}
	if (is(name, name_len, ":method"))
		field = SEEN_METHOD;
	else if (is(name, name_len, ":scheme"))
		field = SEEN_SCHEME;
	else if (is(name, name_len, ":path"))
		field = SEEN_PATH;
	else if (is(name, name_len, ":authority"))
		field = SEEN_AUTHORITY;
	if (field == 0) {
		head_malformed(head, "unknown pseudo-header");
		return;
	}
	if (seen_before(head, field)) {
		if (field == SEEN_AUTHORITY) /* as grpc-go answers it */
			head_refuse(head, 400, ERR_INTERNAL, "two :authority");
		else
			head_malformed(head, "duplicate pseudo-header");
		return;
	}
	if (field == SEEN_PATH)
		path_field(head, value, value_len);
	if (field == SEEN_METHOD && !is(value, value_len, "POST"))
		head_refuse(head, 405, ERR_INTERNAL, "method is not POST");
}

static void
content_length_field(struct head *head, const char *value, size_t len)
{
	int64_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (value[i] < '0' || value[i] > '9' || i > 17) {
			head_malformed(head, "bad content-length");
			return;
		}
		n = n * 10 + (value[i] - '0');
	}
	if (len == 0 ||
	    (seen_before(head, SEEN_CONTENT_LENGTH) &&
		n != head->content_length)) {
		head_malformed(head, "bad content-length");
		return;
	}
	head->content_length = n;
}

/* Fields of HTTP/1 connections have no place here: RFC 9113 8.2.2. */
static bool
is_connection_field(const char *name, size_t len)
{
	return is(name, len, "connection") || is(name, len, "keep-alive") ||
	    is(name, len, "proxy-connection") ||
	    is(name, len, "transfer-encoding") || is(name, len, "upgrade");
}

/* False: nothing that is told apart. */
static bool
regular_field(struct head *head, const char *name, size_t name_len,
    const char *value, size_t value_len)
{
	head->regular = true;
	if (is_connection_field(name, name_len)) {
		head_malformed(head, "connection-specific header");
	} else if (is(name, name_len, "te")) {
		if (value_len != strlen("trailers") ||
		    strncasecmp(value, "trailers", value_len) != 0)
			head_malformed(head, "te other than trailers");
	} else if (is(name, name_len, "host")) {
		if (seen_before(head, SEEN_HOST))
			head_refuse(
			    head, 400, ERR_INTERNAL, "two host headers");
	} else if (is(name, name_len, "content-length")) {
		content_length_field(head, value, value_len);
	} else if (is(name, name_len, "content-type")) {
		if (seen_before(head, SEEN_CONTENT_TYPE) ||
		    !grpc_content_type_is(value, value_len))
			head_refuse(head, 415, ERR_INVALID_ARGUMENT,
			    "content-type is not application/grpc");
	} else if (is(name, name_len, "grpc-timeout")) {
		if (seen_before(head, SEEN_TIMEOUT) ||
		    grpc_timeout_parse(value, value_len, &head->timeout_ms) < 0)
			head_refuse(
			    head, 400, ERR_INTERNAL, "malformed grpc-timeout");
	} else if (is(name, name_len, "grpc-encoding")) {
		if (!is(value, value_len, "identity"))
			head_refuse(head, 200, ERR_UNIMPLEMENTED,
			    "compressed messages are not supported");
	} else {
		return false;
	}
	return true;
}

static bool
field_is_sane(struct head *head, const char *name, size_t name_len,
    const char *value, size_t value_len, size_t max)
{
	size_t colon = name_len > 0 && name[0] == ':' ? 1 : 0;

	head->list_bytes += name_len + value_len + FIELD_OVERHEAD;
	if (head->list_bytes > max) {
		head_refuse(head, 431, ERR_RESOURCE_EXHAUSTED,
		    "header list is too large");
		return false;
	}
	if (!name_is_valid(name + colon, name_len - colon)) {
		head_malformed(head, "bad header name");
		return false;
	}
	if (!value_is_valid(value, value_len)) {
		head_malformed(head, "bad header value");
		return false;
	}
	return true;
}

bool
head_field(struct head *head, const char *name, size_t name_len,
    const char *value, size_t value_len, size_t max)
{
	if (!field_is_sane(head, name, name_len, value, value_len, max))
		return false;
	if (name[0] == ':') {
		pseudo_field(head, name, name_len, value, value_len);
		return false;
	}
	return !regular_field(head, name, name_len, value, value_len);
}

void
head_trailer_field(struct head *head, const char *name, size_t name_len,
    const char *value, size_t value_len, size_t max)
{
	if (!field_is_sane(head, name, name_len, value, value_len, max))
		return;
	if (name[0] == ':' || is_connection_field(name, name_len))
		head_malformed(head, "header not allowed in trailers");
}

void
head_end(struct head *head)
{
	const unsigned must = SEEN_METHOD | SEEN_SCHEME | SEEN_PATH;

	/* A list that was cut off at the limit says nothing about the rest. */
	if (head->fault == HEAD_REFUSED && head->http_status == 431)
		return;
	if ((head->seen & must) != must)
		head_malformed(head, "missing pseudo-header");
	if ((head->seen & SEEN_CONTENT_TYPE) == 0)
		head_refuse(
		    head, 415, ERR_INVALID_ARGUMENT, "content-type is missing");
}
