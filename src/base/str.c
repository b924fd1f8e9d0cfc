/*
 * str.c - strings, numbers, hex and base64.
 */
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static void
out_of_memory(size_t size)
{
	(void)fprintf(stderr, "out of memory: %zu bytes wanted\n", size);
	abort();
}

void *
mem_new(size_t size)
{
	void *p = calloc(1, size > 0 ? size : 1);

	if (p == NULL)
		out_of_memory(size);
	return p;
}

void *
mem_grow(void *p, size_t size)
{
	void *q = realloc(p, size > 0 ? size : 1);

	if (q == NULL)
		out_of_memory(size);
	return q;
}

char *
str_dup(const char *s)
{
	size_t len;
	char *copy;

	if (s == NULL)
		return NULL;
	len = strlen(s) + 1;
	copy = mem_new(len);
	memcpy(copy, s, len);
	return copy;
}

char *
str_fmt(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		out_of_memory(strlen(fmt));
	va_end(ap);
	return s;
}

int
str_put(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

bool
str_eq(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

bool
str_is_empty(const char *s)
{
	return s == NULL || *s == '\0';
}

bool
str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool
str_ends(const char *s, const char *suffix)
{
	size_t ls = strlen(s), lx = strlen(suffix);

	return ls >= lx && strcmp(s + ls - lx, suffix) == 0;
}

bool
str_of_file(const char *path, char *text, size_t size)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

int
str_to_u64(const char *s, uint64_t *value)
{
	uint64_t v = 0;

	if (str_is_empty(s))
		return -EINVAL;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return -ERANGE;
	}
	*value = v;
	return 0;
}

size_t
str_utf8(const char *s, size_t len, uint32_t *point)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = (const unsigned char *)s;
	size_t n = p[0] < 0x80 ? 1
	    : p[0] < 0xc0      ? 0
	    : p[0] < 0xe0      ? 2
	    : p[0] < 0xf0      ? 3
	    : p[0] < 0xf8      ? 4
			       : 0;
	uint32_t c = n < 2 ? p[0] : p[0] & (0x7fu >> n);

	if (n == 0 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*point = c;
	return n;
}

bool
str_is_control(uint32_t point)
{
	return point < 0x20 || (point >= 0x7f && point < 0xa0);
}

static const char base64_digit[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t
str_base64_len(size_t len)
{
	return (len + 2) / 3 * 4 + 1;
}

void
str_base64(char *out, const void *bytes, size_t len)
{
	const unsigned char *b = bytes;

	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t v = (uint32_t)b[i] << 16;

		if (left > 1)
			v |= (uint32_t)b[i + 1] << 8;
		if (left > 2)
			v |= b[i + 2];
		*out++ = base64_digit[v >> 18];
		*out++ = base64_digit[v >> 12 & 63];
		*out++ = left > 1 ? base64_digit[v >> 6 & 63] : '=';
		*out++ = left > 2 ? base64_digit[v & 63] : '=';
	}
	*out = '\0';
}

long
str_unbase64(void *out, size_t max, const char *text, size_t len)
{
	unsigned char *o = out;
	size_t n = 0;
	uint32_t v = 0;
	unsigned bits = 0;

	if (len % 4 == 0)
		for (int pads = 0; pads < 2 && len > 0; pads++)
			if (text[len - 1] == '=')
				len--;
	if (len % 4 == 1)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		const char *d = memchr(base64_digit, text[i], 64);

		if (d == NULL)
			return -EINVAL;
		v = v << 6 | (uint32_t)(d - base64_digit);
		bits += 6;
		if (bits < 8)
			continue;
		bits -= 8;
		if (n >= max)
			return -EINVAL;
		o[n++] = (unsigned char)(v >> bits & 255);
	}
	return (long)n;
}

static bool
has_item(const char *list, const char *item, size_t len)
{
	for (;; list++) {
		if (strncmp(list, item, len) == 0 &&
		    (list[len] == ',' || list[len] == '\0'))
			return true;
		list = strchr(list, ',');
		if (list == NULL)
			return false;
	}
}

bool
str_list_has(const char *list, const char *items)
{
	for (size_t len;; items += len + 1) {
		len = strcspn(items, ",");
		if (!has_item(list, items, len))
			return false;
		if (items[len] == '\0')
			return true;
	}
}

uint64_t
str_hash(uint64_t hash, const char *s)
{
	do {
		hash ^= (unsigned char)*s;
		hash *= 0x100000001b3ULL;
	} while (*s++ != '\0');
	return hash;
}
