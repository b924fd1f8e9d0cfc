/*
 * arena.c - a chain of chunks; the newest one is filled from the front.
 */
#include "base/arena.h"
#include "base/secret.h"

#include <stdio.h>
#include <string.h>

#define CHUNK_BYTES 2000 /* one chunk serves most requests */
#define ALIGN 16

struct chunk {
	struct chunk *older;
	size_t room, used;
	_Alignas(ALIGN) unsigned char data[];
};

struct arena {
	struct chunk *chunk;
	size_t used, max;
	struct arena *next_spare;
};

/*
 * Arenas for reuse, with an empty chunk of the usual size each. A sanitizer
 * shall rather see who uses one that has been freed.
 */
#ifdef __SANITIZE_ADDRESS__
#define SPARE_MAX 0
#else
#define SPARE_MAX 64
#endif

static struct arena *spares;
static unsigned spare_count;

struct arena *
arena_new(size_t max)
{
	struct arena *arena = spares;

	if (arena != NULL) {
		spares = arena->next_spare;
		spare_count--;
	} else {
		arena = mem_new(sizeof(*arena));
	}
	arena->max = max;
	return arena;
}

void
arena_free(struct arena *arena)
{
	struct chunk *chunk, *last;

	if (arena == NULL)
		return;
	/* There may be keys in it: those of a reply, for one. */
	for (chunk = arena->chunk; chunk != NULL; chunk = chunk->older)
		secret_wipe(chunk->data, chunk->used);
	while ((chunk = arena->chunk) != NULL && chunk->older != NULL) {
		arena->chunk = chunk->older;
		free(chunk);
	}
	last = arena->chunk;
	if (spare_count + 1 > SPARE_MAX || last == NULL ||
	    last->room != CHUNK_BYTES) {
		free(last);
		free(arena);
		return;
	}
	last->used = 0;
	*arena = (struct arena){ .chunk = last, .next_spare = spares };
	spares = arena;
	spare_count++;
}

void *
arena_alloc(struct arena *arena, size_t size)
{
	struct chunk *chunk = arena->chunk;
	void *p;

	if (size > arena->max)
		return NULL;
	size = (size + ALIGN - 1) / ALIGN * ALIGN;
	if (size > arena->max - arena->used)
		return NULL;
	if (chunk == NULL || chunk->room - chunk->used < size) {
		size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;

		chunk = calloc(1, sizeof(*chunk) + room);
		if (chunk == NULL)
			return NULL;
		chunk->room = room;
		chunk->older = arena->chunk;
		arena->chunk = chunk;
	}
	p = chunk->data + chunk->used;
	chunk->used += size;
	arena->used += size;
	return p;
}

void *
arena_new_bytes(struct arena *arena, size_t size)
{
	void *p = arena_alloc(arena, size);

	if (p == NULL) {
		(void)fprintf(stderr,
		    "arena has no room: %zu of %zu bytes used, %zu wanted\n",
		    arena->used, arena->max, size);
		abort();
	}
	return p;
}

void *
arena_copy(struct arena *arena, const void *bytes, size_t len)
{
	void *p = arena_new_bytes(arena, len);

	if (len > 0)
		memcpy(p, bytes, len);
	return p;
}

char *
arena_strdup(struct arena *arena, const char *s)
{
	return s != NULL ? arena_copy(arena, s, strlen(s) + 1) : NULL;
}

char *
arena_fmt(struct arena *arena, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	s = arena_new_bytes(arena, (size_t)(n < 0 ? 0 : n) + 1);
	va_start(ap, fmt);
	(void)vsnprintf(s, (size_t)(n < 0 ? 0 : n) + 1, fmt, ap);
	va_end(ap);
	return s;
}

size_t
arena_used(const struct arena *arena)
{
	return arena->used;
}
