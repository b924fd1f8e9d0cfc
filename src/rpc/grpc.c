/*
 * grpc.c - gRPC's encodings.
 */
#include "rpc/grpc.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define SECOND_MS INT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)

void
grpc_reader_init(struct grpc_reader *reader, size_t max)
{
	*reader = (struct grpc_reader){ .prefix_len = 0 };
	buf_init(&reader->message, max);
}

void
grpc_reader_fini(struct grpc_reader *reader)
{
	buf_fini(&reader->message);
}

void
grpc_reader_next(struct grpc_reader *reader)
{
	buf_clear(&reader->message);
	reader->prefix_len = 0;
	reader->want = 0;
}

bool
grpc_reader_in_message(const struct grpc_reader *reader)
{
	return reader->prefix_len > 0;
}

static enum grpc_read
prefix_read(struct grpc_reader *reader)
{
	const unsigned char *p = reader->prefix;

	if (p[0] == 1)
		return GRPC_READ_COMPRESSED;
	if (p[0] != 0)
		return GRPC_READ_BAD_FLAG;
	reader->want = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 |
	    (uint32_t)p[3] << 8 | p[4];
	return reader->want <= reader->message.max ? GRPC_READ_MORE
						   : GRPC_READ_TOO_LARGE;
}

enum grpc_read
grpc_reader_feed(
    struct grpc_reader *reader, const unsigned char **bytes, size_t *len)
{
	enum grpc_read verdict;
	size_t n;

	while (reader->prefix_len < GRPC_PREFIX_BYTES) {
		if (*len == 0)
			return GRPC_READ_MORE;
		reader->prefix[reader->prefix_len++] = *(*bytes)++;
		(*len)--;
		if (reader->prefix_len < GRPC_PREFIX_BYTES)
			continue;
		verdict = prefix_read(reader);
		if (verdict != GRPC_READ_MORE)
			return verdict;
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

/* Each call of a client has a time-out, so this is no snprintf(). */
static void
digits_put(char **out, int64_t n)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	memcpy(*out, digits + at, sizeof(digits) - at);
	*out += sizeof(digits) - at;
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
	digits_put(&out, n);
	*out++ = units[i].unit;
	*out = '\0';
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
