/*
 * buf.c - the growing byte buffer.
 */
#include "base/buf.h"
#include "base/secret.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void
buf_init(struct buf *buf, size_t max)
{
	*buf = (struct buf){ .max = max };
}

void
buf_fini(struct buf *buf)
{
	secret_wipe(buf->data, buf->len);
	free(buf->data);
	buf_init(buf, buf->max);
}

void *
buf_reserve(struct buf *buf, size_t len)
{
	size_t need, room = buf->room > 0 ? buf->room : 256;
	unsigned char *data;

	if (__builtin_add_overflow(buf->len, len, &need) || need > buf->max)
		return NULL;
	if (need > buf->room) {
		while (room < need)
			room *= 2;
		data = malloc(room);
		if (data == NULL)
			return NULL;
		if (buf->len > 0)
			memcpy(data, buf->data, buf->len);
		secret_wipe(buf->data, buf->len);
		free(buf->data);
		buf->data = data;
		buf->room = room;
	}
	return buf->data != NULL ? buf->data + buf->len : (void *)"";
}

int
buf_append(struct buf *buf, const void *bytes, size_t len)
{
	void *to = buf_reserve(buf, len);

	if (to == NULL)
		return -EMSGSIZE;
	if (len > 0)
		memcpy(to, bytes, len);
	buf->len += len;
	return 0;
}

int
buf_printf(struct buf *buf, const char *fmt, ...)
{
	va_list ap;
	char *to;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	to = n < 0 ? NULL : buf_reserve(buf, (size_t)n + 1);
	if (to == NULL)
		return -EMSGSIZE;
	va_start(ap, fmt);
	(void)vsnprintf(to, (size_t)n + 1, fmt, ap);
	va_end(ap);
	buf->len += (size_t)n;
	return 0;
}

void
buf_consume(struct buf *buf, size_t len)
{
	if (len > buf->len)
		len = buf->len;
	buf->len -= len;
	if (buf->len > 0)
		memmove(buf->data, buf->data + len, buf->len);
	if (len > 0)
		secret_wipe(buf->data + buf->len, len);
}

void
buf_clear(struct buf *buf)
{
	buf_consume(buf, buf->len);
}
