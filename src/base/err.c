/*
 * err.c - error values: setting, prefixing, and the errno table.
 */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PIECE_MAX 2048 /* what is put together before it is cut */
#define WHOLE_MAX (PIECE_MAX + ERR_TEXT_MAX + 2)

static const struct {
	int rc;
	enum err_code code;
	const char *text; /* NULL: strerror's */
} table[] = {
	{ 0, ERR_OK, NULL },
	{ -ECANCELED, ERR_CANCELLED, NULL },
	{ -EINVAL, ERR_INVALID_ARGUMENT, NULL },
	{ -ENAMETOOLONG, ERR_INVALID_ARGUMENT, NULL },
	{ -ETIMEDOUT, ERR_DEADLINE_EXCEEDED, NULL },
	{ -ENOENT, ERR_NOT_FOUND, NULL },
	{ -EEXIST, ERR_ALREADY_EXISTS, NULL },
	{ -EPERM, ERR_PERMISSION_DENIED, NULL },
	{ -EACCES, ERR_PERMISSION_DENIED, NULL },
	{ -ENOSPC, ERR_RESOURCE_EXHAUSTED, NULL },
	{ -EDQUOT, ERR_RESOURCE_EXHAUSTED, "the pool is full" },
	{ -ENOMEM, ERR_RESOURCE_EXHAUSTED, NULL },
	{ -EMFILE, ERR_RESOURCE_EXHAUSTED, NULL },
	{ -ENFILE, ERR_RESOURCE_EXHAUSTED, NULL },
	{ -EBUSY, ERR_FAILED_PRECONDITION, NULL },
	{ -ENOTEMPTY, ERR_FAILED_PRECONDITION, NULL },
	{ -EROFS, ERR_FAILED_PRECONDITION, NULL },
	{ -EAGAIN, ERR_ABORTED, NULL },
	{ -ERANGE, ERR_OUT_OF_RANGE, NULL },
	{ -ENOSYS, ERR_UNIMPLEMENTED, NULL },
	{ -EOPNOTSUPP, ERR_UNIMPLEMENTED, NULL },
	{ -EIO, ERR_INTERNAL, NULL },
	{ -ENOTCONN, ERR_UNAVAILABLE, NULL },
	{ -ECONNREFUSED, ERR_UNAVAILABLE, NULL },
	{ -ECONNRESET, ERR_UNAVAILABLE, NULL },
	{ -EPIPE, ERR_UNAVAILABLE, NULL },
	{ -ESHUTDOWN, ERR_UNAVAILABLE, NULL }, /* a blocklisted Ceph client */
	{ -ETIME, ERR_UNAVAILABLE, "the cluster does not answer" },
	{ -EBADMSG, ERR_DATA_LOSS, NULL },
	{ -EKEYREJECTED, ERR_UNAUTHENTICATED, NULL },
	{ -EPROTO, ERR_UNKNOWN, NULL },
};

static const char *const names[] = {
	"OK",
	"CANCELLED",
	"UNKNOWN",
	"INVALID_ARGUMENT",
	"DEADLINE_EXCEEDED",
	"NOT_FOUND",
	"ALREADY_EXISTS",
	"PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION",
	"ABORTED",
	"OUT_OF_RANGE",
	"UNIMPLEMENTED",
	"INTERNAL",
	"UNAVAILABLE",
	"DATA_LOSS",
	"UNAUTHENTICATED",
};

enum err_code
err_code_of(int rc)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].rc == rc)
			return table[i].code;
	return ERR_INTERNAL;
}

int
err_rc_of(enum err_code code)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].code == code)
			return table[i].rc;
	return -EIO;
}

const char *
err_code_name(enum err_code code)
{
	if ((unsigned)code >= sizeof(names) / sizeof(names[0]))
		return "UNKNOWN";
	return names[code];
}

bool
err_is_callers(enum err_code code)
{
	switch (code) {
	case ERR_OK:
	case ERR_CANCELLED:
	case ERR_INVALID_ARGUMENT:
	case ERR_NOT_FOUND:
	case ERR_ALREADY_EXISTS:
	case ERR_OUT_OF_RANGE:
	case ERR_UNIMPLEMENTED:
		return true;
	case ERR_UNKNOWN:
	case ERR_DEADLINE_EXCEEDED:
	case ERR_PERMISSION_DENIED:
	case ERR_RESOURCE_EXHAUSTED:
	case ERR_FAILED_PRECONDITION:
	case ERR_ABORTED:
	case ERR_INTERNAL:
	case ERR_UNAVAILABLE:
	case ERR_DATA_LOSS:
	case ERR_UNAUTHENTICATED:
		break;
	}
	return false;
}

static bool
is_continuation(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80; /* of UTF-8 */
}

/*
 * Makes the text of `head` and `tail`. What does not fit goes from the middle,
 * at whole characters: the front names the object, the end is the cause.
 */
static void
put_text(struct err *err, const char *head, const char *tail)
{
	static const char gap[] = " ... ";
	char whole[WHOLE_MAX];
	size_t len, front = ERR_TEXT_MAX / 3, end;

	(void)snprintf(whole, sizeof(whole), "%s%s", head, tail);
	len = strlen(whole);
	if (len < ERR_TEXT_MAX) {
		memcpy(err->text, whole, len + 1);
		return;
	}
	while (front > 0 && is_continuation(whole[front]))
		front--;
	end = len - (ERR_TEXT_MAX - sizeof(gap) - front);
	while (is_continuation(whole[end]))
		end++;
	memcpy(err->text, whole, front);
	memcpy(err->text + front, gap, sizeof(gap) - 1);
	memcpy(err->text + front + sizeof(gap) - 1, whole + end, len - end + 1);
}

int
err_vset(struct err *err, enum err_code code, const char *fmt, va_list ap)
{
	char text[PIECE_MAX];
	int rc = err_rc_of(code);

	if (err == NULL)
		return rc;
	err->code = code;
	err->rc = rc;
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	put_text(err, text, "");
	return rc;
}

int
err_vset_rc(struct err *err, int rc, const char *fmt, va_list ap)
{
	char text[PIECE_MAX], cause[100];
	const char *why = NULL;

	if (err == NULL)
		return rc;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]) && why == NULL;
	     i++)
		if (table[i].rc == rc)
			why = table[i].text;
	err->code = err_code_of(rc);
	err->rc = rc;
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	(void)snprintf(
	    cause, sizeof(cause), ": %s", why != NULL ? why : strerror(-rc));
	put_text(err, text, cause);
	return rc;
}

int
err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = err_vset(err, code, fmt, ap);
	va_end(ap);
	return rc;
}

int
err_set_rc(struct err *err, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)err_vset_rc(err, rc, fmt, ap);
	va_end(ap);
	return rc;
}

void
err_prefix(struct err *err, const char *fmt, ...)
{
	char text[PIECE_MAX], was[ERR_TEXT_MAX + 2];
	va_list ap;

	if (err == NULL || !err_is_set(err))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)snprintf(was, sizeof(was), ": %s", err->text);
	put_text(err, text, was);
}

void
err_suffix(struct err *err, const char *fmt, ...)
{
	char text[PIECE_MAX], was[ERR_TEXT_MAX];
	va_list ap;

	if (err == NULL || !err_is_set(err))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(was, err->text, sizeof(was));
	put_text(err, was, text);
}
