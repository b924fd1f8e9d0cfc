/*
 * err.h - what went wrong, as a value: a code for programs and a text for people.
 *
 * The rule that holds it together: a function that can fail returns 0 or a
 * negative errno; where a person will read the reason it also takes a
 * `struct err *` as its last parameter, which it leaves alone on success and
 * which may be NULL.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

/* Same numbers as gRPC's status codes, so that no table is needed twice. */
enum err_code {
	ERR_OK = 0,                 /* no failure */
	ERR_CANCELLED = 1,          /* the caller went away */
	ERR_UNKNOWN = 2,            /* failure of an unknown kind */
	ERR_INVALID_ARGUMENT = 3,   /* the request is wrong, retry is useless */
	ERR_DEADLINE_EXCEEDED = 4,  /* not finished in the time given */
	ERR_NOT_FOUND = 5,          /* the object does not exist */
	ERR_ALREADY_EXISTS = 6,     /* exists, and is not what was asked for */
	ERR_PERMISSION_DENIED = 7,  /* known caller, forbidden action */
	ERR_RESOURCE_EXHAUSTED = 8, /* a limit or a full cluster */
	ERR_FAILED_PRECONDITION = 9, /* the system's state forbids it for now */
	ERR_ABORTED = 10,            /* an other operation is in the way */
	ERR_OUT_OF_RANGE = 11,       /* a size or offset that cannot be */
	ERR_UNIMPLEMENTED = 12,      /* no such method or feature */
	ERR_INTERNAL = 13,           /* an invariant is broken */
	ERR_UNAVAILABLE = 14,        /* try again later */
	ERR_DATA_LOSS = 15,          /* data are damaged */
	ERR_UNAUTHENTICATED = 16,    /* credentials are wrong */
};

/* A volume's identifier, a path of kubelet, and what went wrong with them. */
#define ERR_TEXT_MAX 512

struct err {
	enum err_code code;
	int rc;                  /* negative errno, 0 while all is well */
	char text[ERR_TEXT_MAX]; /* lower case, object and step, no secret */
};

#define ERR_INIT                                                               \
	{                                                                      \
		.code = ERR_OK                                                 \
	}

/*
 * Sets `err` (may be NULL) to a formatted text and returns the negative errno
 * that stands for `code`. A text that does not fit loses its middle: its front
 * names the object, its end is the cause.
 */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* For what must not be done now: FAILED_PRECONDITION; the second gives `rc`. */
#define err_refuse(err, ...) err_set(err, ERR_FAILED_PRECONDITION, __VA_ARGS__)
#define err_refuse_as(err, rc, ...) (err_refuse(err, __VA_ARGS__), (rc))

/*
 * The same for a failed call: `rc` is its negative errno, which chooses the
 * code (err_code_of) and whose meaning is appended to the text. Returns rc.
 * Two have a meaning of our own: -EDQUOT is a full Ceph pool, for whatever
 * reason, and -ETIME a cluster that does not answer.
 */
int err_set_rc(struct err *err, int rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Both for who has the arguments as a list already. */
int err_vset(struct err *err, enum err_code code, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
int err_vset_rc(struct err *err, int rc, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

/* Puts "prefix: " before the text of a set error. */
void err_prefix(struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Puts more behind the text of a set error. */
void err_suffix(struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The one table from errno (negative) to code, and back. */
enum err_code err_code_of(int rc);
int err_rc_of(enum err_code code);

/*
 * Is it what the caller did wrong, or wanted, and nothing that whoever runs
 * us has to look at?
 */
bool err_is_callers(enum err_code code);

/* "NOT_FOUND" and so on; "UNKNOWN" for a number that is none. */
const char *err_code_name(enum err_code code);

static inline bool
err_is_set(const struct err *err)
{
	return err->code != ERR_OK;
}

#endif
