/*
 * str.h - small tools for strings, ownership in synchronous scopes, and
 * descriptors. Running out of memory here ends the process: the pieces are
 * our own and small.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define must_check __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))

#define countof(array) (sizeof(array) / sizeof((array)[0]))
#define container_of(ptr, type, member)                                        \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/*
 * auto_free char *p = NULL;	freed when the scope ends
 * auto_close int fd = -1;	closed when the scope ends
 * return take_ptr(&p);		hands the pointer over instead
 * Never let such a variable cross a wait.
 */
static inline void
str_auto_free(void *p)
{
	free(*(void **)p);
}

static inline void
str_auto_close(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

#define auto_free __attribute__((cleanup(str_auto_free)))
#define auto_close __attribute__((cleanup(str_auto_close)))

static inline void *
take_ptr_(void *pp)
{
	void *p = *(void **)pp;

	*(void **)pp = NULL;
	return p;
}

#define take_ptr(pp) ((__typeof__(*(pp)))take_ptr_(pp))

static inline int
take_fd(int *fd)
{
	int was = *fd;

	*fd = -1;
	return was;
}

/* Allocation that cannot fail: zeroed, or the process ends with a message. */
void *mem_new(size_t size);
void *mem_grow(void *p, size_t size);

/* Copies on the heap; NULL gives NULL. The caller frees. */
char *str_dup(const char *s);
char *str_fmt(const char *fmt, ...) printf_like(1, 2);

/*
 * Formats into buf[size]. Returns 0, or -ENAMETOOLONG when it does not fit
 * (buf then holds the part that does).
 */
int str_put(char *buf, size_t size, const char *fmt, ...)
    printf_like(3, 4) must_check;

bool str_eq(const char *a, const char *b); /* NULL equals NULL only */
bool str_is_empty(const char *s);          /* NULL or "" */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);

/*
 * FNV-1a of a string with its closing NUL, which keeps "a","bc" and "ab","c"
 * apart; of several, one after the other. The same in every process, for ever.
 */
#define STR_HASH_SEED UINT64_C(0xcbf29ce484222325)
uint64_t str_hash(uint64_t hash, const char *s);

/*
 * A whole decimal number without sign or blanks. Returns 0, -EINVAL or
 * -ERANGE; *value is set on success only.
 */
int str_to_u64(const char *s, uint64_t *value) must_check;

/*
 * The text of a file of /proc or /sys, cut off where `size` ends. False, and
 * "", if it is empty or cannot be read.
 */
bool str_of_file(const char *path, char *text, size_t size);

/*
 * The number of bytes, 1 to 4, of the code point at `s`, which is put into
 * *point; 0 if the `len` > 0 bytes there do not begin with well-formed UTF-8
 * (overlong forms and surrogates are not; RFC 3629).
 */
size_t str_utf8(const char *s, size_t len, uint32_t *point);

/* C0, DEL and C1: what a terminal may obey. */
bool str_is_control(uint32_t point);

/*
 * Base64 of RFC 4648, padded. Decoding accepts what the encoder gives and a
 * missing padding; returns the number of bytes or -EINVAL, never writes more
 * than `max`.
 */
size_t str_base64_len(size_t len); /* with the closing NUL */
void str_base64(char *out, const void *bytes, size_t len);
long str_unbase64(void *out, size_t max, const char *text, size_t len);

/* Whether the comma separated list has each of the comma separated items. */
bool str_list_has(const char *list, const char *items);

#endif
