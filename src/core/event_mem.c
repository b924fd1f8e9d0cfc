/*
 * event_mem.c - small blocks are cut from chunks and used again by size; large
 * ones are malloc()'s.
 */
#include "core/event_mem.h"

#include "base/str.h"

#include <event2/event.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)64 << 10)
#define GRAIN ((size_t)16)
#define SMALL_BYTES ((size_t)256)

/* In front of each block. */
struct block {
	size_t size;        /* of what follows */
	struct block *next; /* while it is free */
};

_Static_assert(sizeof(struct block) % GRAIN == 0, "blocks stay aligned");

static struct {
	unsigned char *chunk;
	size_t left; /* of the chunk */
	struct block *free[SMALL_BYTES / GRAIN + 1];
} em;

static struct block *
cut(size_t size)
{
	struct block *block;

	if (em.left < sizeof(*block) + size) {
		em.chunk = malloc(CHUNK_BYTES);
		em.left = em.chunk != NULL ? CHUNK_BYTES : 0;
		if (em.chunk == NULL)
			return NULL;
	}
	block = (struct block *)(void *)(em.chunk + CHUNK_BYTES - em.left);
	em.left -= sizeof(*block) + size;
	return block;
}

static void *
get(size_t size)
{
	struct block *block;

	size = (size + GRAIN - 1) / GRAIN * GRAIN;
	if (size > SMALL_BYTES) {
		block = malloc(sizeof(*block) + size);
	} else if (em.free[size / GRAIN] != NULL) {
		block = em.free[size / GRAIN];
		em.free[size / GRAIN] = block->next;
	} else {
		block = cut(size);
	}
	if (block == NULL)
		return NULL;
	block->size = size;
	return block + 1;
}

static void
put(void *p)
{
	struct block *block = p;

	if (p == NULL)
		return;
	block--;
	if (block->size > SMALL_BYTES) {
		free(block);
		return;
	}
	block->next = em.free[block->size / GRAIN];
	em.free[block->size / GRAIN] = block;
}

static void *
get_again(void *p, size_t size)
{
	size_t had = p != NULL ? ((struct block *)p - 1)->size : 0;
	void *grown;

	if (p != NULL && size <= had)
		return p;
	grown = get(size);
	if (grown == NULL)
		return NULL;
	if (p != NULL)
		memcpy(grown, p, had);
	put(p);
	return grown;
}

void
event_mem_init(void)
{
	static bool done;

	if (!done)
		event_set_mem_functions(get, get_again, put);
	done = true;
}
