/*
 * arena.h - memory that dies together: everything that belongs to one request
 * or one operation comes from its arena and is freed with it.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/str.h"

struct arena;

/*
 * `max` bounds the bytes an arena hands out in all; arena_alloc gives NULL
 * beyond it, or when memory cannot be had; the other functions end the process
 * (they are for our own pieces, whose sizes no peer chooses).
 */
struct arena *arena_new(size_t max);
void arena_free(struct arena *arena); /* NULL is fine */

void *arena_alloc(struct arena *arena, size_t size); /* zeroed or NULL */
void *arena_new_bytes(
    struct arena *arena, size_t size); /* zeroed, never NULL */
void *arena_copy(struct arena *arena, const void *bytes, size_t len);
char *arena_strdup(struct arena *arena, const char *s); /* NULL gives NULL */
char *arena_fmt(struct arena *arena, const char *fmt, ...) printf_like(2, 3);
size_t arena_used(const struct arena *arena);

#endif
