/*
 * grpc.c - gRPC's encodings.
 */
#include "rpc/grpc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SECOND_MS INT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)

/* PROTOCOL-HTTP2 suggests that peers take 8 KiB of metadata. */
#define SENT_MAX ((size_t)8 << 10)
#define NOTED_MAX ((size_t)1 << 20) /* bounded before, by the header list */

void
grpc_reader_init(struct grpc_reader *reader, size_t max)
{
	*reader = (struct grpc_reader){ .prefix_len = 0 };
	buf_init(&reader->message, max);
}

void
grpc_reader_next(struct grpc_reader *reader)
{
	buf_clear(&reader->message);
	reader->prefix_len = 0;
	reader->want = 0;
}

enum grpc_read
grpc_reader_feed(
    struct grpc_reader *reader, const unsigned char **bytes, size_t *len)
{
	const unsigned char *p = reader->prefix;
	size_t n;

	while (reader->prefix_len < GRPC_PREFIX_BYTES) {
		if (*len == 0)
			return GRPC_READ_MORE;
		reader->prefix[reader->prefix_len++] = *(*bytes)++;
		(*len)--;
		if (reader->prefix_len < GRPC_PREFIX_BYTES)
			continue;
		if (p[0] == 1)
			return GRPC_READ_COMPRESSED;
		if (p[0] != 0)
			return GRPC_READ_BAD_FLAG;
		reader->want = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 |
		    (uint32_t)p[3] << 8 | p[4];
		if (reader->want > reader->message.max)
			return GRPC_READ_TOO_LARGE;
	}

	/* Memory follows the bytes that came, not the length announced. */
	n = reader->want - reader->message.len;
	if (n > *len)
		n = *len;
	if (buf_append(&reader->message, *bytes, n) < 0)
		return GRPC_READ_NO_MEMORY;
	*bytes += n;
	*len -= n;
	return reader->message.len == reader->want ? GRPC_READ_MESSAGE
						   : GRPC_READ_MORE;
}

void
grpc_prefix_put(unsigned char prefix[GRPC_PREFIX_BYTES], uint32_t len)
{
	prefix[0] = 0;
	prefix[1] = (unsigned char)(len >> 24);
	prefix[2] = (unsigned char)(len >> 16);
	prefix[3] = (unsigned char)(len >> 8);
	prefix[4] = (unsigned char)len;
}

int
grpc_message_put(struct buf *out, const void *bytes, size_t len)
{
	unsigned char *to = buf_reserve(out, GRPC_PREFIX_BYTES + len);

	if (to == NULL)
		return -ENOMEM;
	grpc_prefix_put(to, (uint32_t)len);
	if (len > 0)
		memcpy(to + GRPC_PREFIX_BYTES, bytes, len);
	out->len += GRPC_PREFIX_BYTES + len;
	return 0;
}

int
grpc_timeout_parse(const char *value, size_t len, int64_t *ms)
{
	int64_t n = 0;

	if (len < 2 || len > 9)
		return -EINVAL;
	for (size_t i = 0; i < len - 1; i++) {
		if (value[i] < '0' || value[i] > '9')
			return -EINVAL;
		n = n * 10 + (value[i] - '0');
	}
	switch (value[len - 1]) {
	case 'H':
		n *= HOUR_MS;
		break;
	case 'M':
		n *= MINUTE_MS;
		break;
	case 'S':
		n *= SECOND_MS;
		break;
	case 'm':
		break;
	case 'u':
		n /= 1000;
		break;
	case 'n':
		n /= INT64_C(1000000);
		break;
	default:
		return -EINVAL;
	}
	*ms = n;
	return 0;
}

void
grpc_timeout_fmt(char out[GRPC_TIMEOUT_MAX], int64_t ms)
{
	static const struct {
		int64_t ms;
		char unit;
	} units[] = { { 1, 'm' }, { SECOND_MS, 'S' }, { MINUTE_MS, 'M' },
		{ HOUR_MS, 'H' } };
	const int64_t most = 99999999;
	int64_t n = most;
	size_t i;

	if (ms < 0)
		ms = 0;
	for (i = 0; i < countof(units) - 1 && ms / units[i].ms >= most; i++)
		;
	if (ms / units[i].ms < most)
		n = (ms + units[i].ms - 1) / units[i].ms;
	(void)snprintf(
	    out, GRPC_TIMEOUT_MAX, "%u%c", (unsigned)n, units[i].unit);
}

size_t
grpc_percent_encode(char *out, const char *text, size_t len)
{
	static const char hex[] = "0123456789ABCDEF";
	char *to = out;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		bool is_edge = i == 0 || i == len - 1;

		if (c >= 0x20 && c <= 0x7e && c != '%' &&
		    !(c == ' ' && is_edge)) {
			*to++ = (char)c;
			continue;
		}
		*to++ = '%';
		*to++ = hex[c >> 4];
		*to++ = hex[c & 15];
	}
	*to = '\0';
	return (size_t)(to - out);
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

size_t
grpc_percent_decode(char *out, const char *text, size_t len)
{
	char *to = out;

	for (size_t i = 0; i < len; i++) {
		int high = -1, low = -1;

		if (text[i] == '%' && len - i > 2) {
			high = hex_digit(text[i + 1]);
			low = hex_digit(text[i + 2]);
		}
		if (high < 0 || low < 0) {
			*to++ = text[i];
			continue;
		}
		*to++ = (char)(high << 4 | low);
		i += 2;
	}
	return (size_t)(to - out);
}

bool
grpc_content_type_is(const char *value, size_t len)
{
	static const char type[] = "application/grpc";
	const size_t n = sizeof(type) - 1;

	if (len < n || strncasecmp(value, type, n) != 0)
		return false;
	return len == n || value[n] == '+' || value[n] == ';';
}

/* ---- fields ---- */

nghttp2_nv
grpc_field(const char *name, const char *value, unsigned flags)
{
	return (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name,
		.namelen = strlen(name),
		.value = (uint8_t *)(uintptr_t)value,
		.valuelen = strlen(value),
		.flags = (uint8_t)flags,
	};
}

static bool
is_reserved(const char *name, size_t len)
{
	static const char *const reserved[] = { "te", "host", "user-agent",
		"content-type", "content-length", "connection", "trailer" };

	if (len == 0 || name[0] == ':' ||
	    (len >= 5 && memcmp(name, "grpc-", 5) == 0))
		return true;
	for (size_t i = 0; i < countof(reserved); i++)
		if (strlen(reserved[i]) == len &&
		    memcmp(reserved[i], name, len) == 0)
			return true;
	return false;
}

void
metadata_fini(struct metadata *md)
{
	buf_fini(&md->bytes);
	md->count = 0;
}

static int
metadata_append(struct metadata *md, const char *name, size_t name_len,
    const char *value, size_t value_len)
{
	char *to = buf_reserve(&md->bytes, name_len + value_len + 2);

	if (to == NULL)
		return -EMSGSIZE;
	memcpy(to, name, name_len);
	to[name_len] = '\0';
	to += name_len + 1;
	if (value_len > 0)
		memcpy(to, value, value_len);
	to[value_len] = '\0';
	md->bytes.len += name_len + value_len + 2;
	md->count++;
	return 0;
}

int
metadata_note(struct metadata *md, const char *name, size_t name_len,
    const char *value, size_t value_len)
{
	if (is_reserved(name, name_len))
		return 0;
	md->bytes.max = NOTED_MAX;
	return metadata_append(md, name, name_len, value, value_len);
}

int
metadata_add(
    struct metadata *md, const char *name, const void *bytes, size_t len)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyz0123456789-_.";
	size_t name_len = strlen(name);
	const char *text = bytes;
	char base64[SENT_MAX];

	if (name[strspn(name, good)] != '\0' || is_reserved(name, name_len))
		return -EINVAL;
	md->bytes.max = SENT_MAX;
	if (str_ends(name, "-bin")) {
		if (str_base64_len(len) > sizeof(base64) ||
		    md->count >= METADATA_FIELDS_MAX)
			return -EMSGSIZE;
		str_base64(base64, bytes, len);
		/* The specification wants it sent without padding. */
		return metadata_append(
		    md, name, name_len, base64, strcspn(base64, "="));
	}
	for (size_t i = 0; i < len; i++)
		if (text[i] < ' ' || text[i] > '~')
			return -EINVAL;
	if (len > 0 && (text[0] == ' ' || text[len - 1] == ' '))
		return -EINVAL;
	if (md->count >= METADATA_FIELDS_MAX)
		return -EMSGSIZE;
	return metadata_append(md, name, name_len, text, len);
}

bool
metadata_next(const struct metadata *md, size_t *at, const char **name,
    const char **value)
{
	if (*at >= md->bytes.len)
		return false;
	*name = (const char *)md->bytes.data + *at;
	*value = *name + strlen(*name) + 1;
	*at += strlen(*name) + strlen(*value) + 2;
	return true;
}

const char *
metadata_find(const struct metadata *md, const char *name)
{
	const char *other, *value;
	size_t at = 0;

	while (metadata_next(md, &at, &other, &value))
		if (str_eq(name, other))
			return value;
	return NULL;
}

size_t
metadata_fields(const struct metadata *md, nghttp2_nv *nv)
{
	const char *name, *value;
	size_t at = 0, n = 0;

	while (metadata_next(md, &at, &name, &value))
		nv[n++] = grpc_field(name, value, 0);
	return n;
}
