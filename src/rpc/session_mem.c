/*
 * session_mem.c - regions, the blocks in them, and their parking.
 *
 * A region begins with its book-keeping, then blocks follow each other. One
 * that is freed waits in a list for the next of its size. What does not fit,
 * and what is large without being a part of the session from its birth, comes
 * from malloc().
 */
#include "rpc/session_mem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define REGION_BYTES ((size_t)32 << 10)
#define SLAB_REGIONS 64 /* got from the kernel at a time */
#define HOT_MAX 16      /* free regions that keep their pages */

#define GRAIN ((size_t)16) /* blocks begin at multiples of it */
#define SMALL_BYTES ((size_t)512)
#define CLASSES (SMALL_BYTES / GRAIN + 1)

/* In front of each block. */
struct block {
	size_t size;        /* of what follows */
	struct block *next; /* while it is free */
};

/* In front of that, if it is not in a region. */
struct elsewhere {
	LIST_ENTRY(elsewhere)
	link;
	struct block block;
};

struct region {
	size_t used; /* bytes from its start */
	bool born;   /* the session is made */
	struct block *free[CLASSES];
};

#define FIRST_BLOCK ((sizeof(struct region) + GRAIN - 1) / GRAIN * GRAIN)

_Static_assert(sizeof(struct block) % GRAIN == 0, "stay aligned");
_Static_assert(sizeof(struct elsewhere) % GRAIN == 0, "stay aligned");

/* Regions that nobody uses. */
static struct region *hot[HOT_MAX]; /* these have pages */
static size_t hot_count;
static struct region **cold;
static size_t cold_count, cold_room;

/* ---- regions ---- */

static struct region *
region_at(unsigned char *slab, size_t i)
{
	return (struct region *)(void *)(slab + i * REGION_BYTES);
}

static bool
add_slab(void)
{
	const size_t bytes = SLAB_REGIONS * REGION_BYTES;
	struct region **grown;
	unsigned char *slab;

	/* Room for all regions that there are: none is ever given up. */
	grown = realloc(cold, (cold_room + SLAB_REGIONS) * sizeof(*cold));
	if (grown == NULL)
		return false;
	cold = grown;
	slab = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (slab == MAP_FAILED)
		return false;
	(void)madvise(slab, bytes, MADV_NOHUGEPAGE);
	cold_room += SLAB_REGIONS;
	for (size_t i = SLAB_REGIONS; i > 0; i--)
		cold[cold_count++] = region_at(slab, i - 1);
	return true;
}

static struct region *
region_get(void)
{
	struct region *region;

	if (hot_count > 0)
		region = hot[--hot_count];
	else if (cold_count > 0 || add_slab())
		region = cold[--cold_count];
	else
		return NULL;
	*region = (struct region){ .used = FIRST_BLOCK };
	return region;
}

static void
region_give_back(struct region *region, bool has_pages)
{
	if (has_pages && hot_count < HOT_MAX) {
		hot[hot_count++] = region;
		return;
	}
	if (has_pages)
		(void)madvise(region, REGION_BYTES, MADV_DONTNEED);
	cold[cold_count++] = region;
}

/* ---- blocks, for nghttp2 ---- */

static bool
is_inside(const struct session_mem *mem, const void *p)
{
	const char *start = (const char *)mem->region;

	return (const char *)p >= start &&
	    (const char *)p < start + REGION_BYTES;
}

static void *
get_elsewhere(struct session_mem *mem, size_t size)
{
	struct elsewhere *e = malloc(sizeof(*e) + size);

	if (e == NULL)
		return NULL;
	e->block = (struct block){ .size = size };
	LIST_INSERT_HEAD(&mem->elsewhere, e, link);
	return &e->block + 1;
}

static void *
get(size_t size, void *arg)
{
	struct session_mem *mem = arg;
	struct region *r = mem->region;
	struct block *block;

	size = (size + GRAIN - 1) / GRAIN * GRAIN;
	if (size <= SMALL_BYTES && r->free[size / GRAIN] != NULL) {
		block = r->free[size / GRAIN];
		r->free[size / GRAIN] = block->next;
		return block + 1;
	}
	if ((r->born && size > SMALL_BYTES) ||
	    r->used + sizeof(*block) + size > REGION_BYTES)
		return get_elsewhere(mem, size);
	block = (void *)((char *)r + r->used);
	r->used += sizeof(*block) + size;
	block->size = size;
	return block + 1;
}

static void
put(void *p, void *arg)
{
	struct session_mem *mem = arg;
	struct block *block = p;
	struct elsewhere *e;

	if (p == NULL)
		return;
	block--;
	if (!is_inside(mem, p)) {
		e = container_of(block, struct elsewhere, block);
		LIST_REMOVE(e, link);
		free(e);
	} else if (block->size <= SMALL_BYTES) {
		block->next = mem->region->free[block->size / GRAIN];
		mem->region->free[block->size / GRAIN] = block;
	}
	/* A large one goes with its region, that is with the session. */
}

static void *
get_zeroed(size_t count, size_t size, void *arg)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(count, size, &bytes))
		return NULL;
	p = get(bytes, arg);
	if (p != NULL)
		memset(p, 0, bytes);
	return p;
}

static void *
get_again(void *p, size_t size, void *arg)
{
	const struct block *block;
	void *grown;

	if (p == NULL)
		return get(size, arg);
	block = (struct block *)p - 1;
	if (size <= block->size)
		return p;
	grown = get(size, arg);
	if (grown == NULL)
		return NULL;
	memcpy(grown, p, block->size);
	put(p, arg);
	return grown;
}

/* ---- parking ---- */

/*
 * The copy is a row of (gap, mask, bytes): so many words are zeros, then comes
 * one of which `mask` tells the bytes that are not. A gap of GAP_MAX has no
 * word behind it.
 */
#define GAP_MAX 255
#define WORD_BYTES 8
#define COPY_MAX (REGION_BYTES / WORD_BYTES * (WORD_BYTES + 2))

/* Freed blocks shall not be kept. */
static void
clear_free(struct region *region)
{
	for (size_t i = 1; i < CLASSES; i++)
		for (struct block *b = region->free[i]; b != NULL; b = b->next)
			memset(b + 1, 0, b->size);
}

static unsigned char *
pack_word(unsigned char *to, const unsigned char *word)
{
	unsigned char *mask = to++;

	*mask = 0;
	for (int i = 0; i < WORD_BYTES; i++)
		if (word[i] != 0) {
			*mask |= (unsigned char)(1 << i);
			*to++ = word[i];
		}
	return to;
}

static size_t
pack(const unsigned char *from, size_t len, unsigned char *to)
{
	const unsigned char *begin = to;
	unsigned gap = 0;
	uint64_t word;

	for (size_t at = 0; at < len; at += WORD_BYTES) {
		memcpy(&word, from + at, WORD_BYTES);
		if (word == 0) {
			if (++gap == GAP_MAX) {
				*to++ = GAP_MAX;
				gap = 0;
			}
			continue;
		}
		*to++ = (unsigned char)gap;
		to = pack_word(to, from + at);
		gap = 0;
	}
	return (size_t)(to - begin);
}

/* `to` is all zeros. */
static void
unpack(const unsigned char *from, size_t len, unsigned char *to)
{
	const unsigned char *end = from + len;

	while (from < end) {
		unsigned gap = *from++, mask;

		to += gap * WORD_BYTES;
		if (gap == GAP_MAX)
			continue;
		mask = *from++;
		for (int i = 0; i < WORD_BYTES; i++)
			if (mask & 1U << i)
				to[i] = *from++;
		to += WORD_BYTES;
	}
}

bool
session_mem_park(struct session_mem *mem)
{
	static unsigned char copy[COPY_MAX];
	unsigned char *region = (unsigned char *)mem->region;
	size_t len;

	clear_free(mem->region);
	len = pack(region, mem->region->used, copy);
	mem->parked = malloc(len + 1);
	if (mem->parked == NULL)
		return false;
	memcpy(mem->parked, copy, len);
	mem->parked_len = len;
	(void)madvise(region, REGION_BYTES, MADV_DONTNEED);
	return true;
}

void
session_mem_wake(struct session_mem *mem)
{
	if (mem->parked == NULL)
		return;
	unpack(mem->parked, mem->parked_len, (unsigned char *)mem->region);
	free(mem->parked);
	mem->parked = NULL;
}

/* ---- coming and going ---- */

int
session_mem_new(struct session_mem *mem, nghttp2_session **session,
    session_maker *make, const nghttp2_session_callbacks *callbacks, void *arg,
    const nghttp2_option *option)
{
	nghttp2_mem allocator = { mem, get, put, get_zeroed, get_again };

	*mem = (struct session_mem){ .region = region_get() };
	LIST_INIT(&mem->elsewhere);
	if (mem->region == NULL)
		return -ENOMEM;
	if (make(session, callbacks, arg, option, &allocator) < 0) {
		session_mem_fini(mem);
		return -ENOMEM;
	}
	mem->region->born = true;
	return 0;
}

void
session_mem_fini(struct session_mem *mem)
{
	struct elsewhere *e;

	if (mem->region == NULL)
		return;
	while ((e = LIST_FIRST(&mem->elsewhere)) != NULL) {
		LIST_REMOVE(e, link);
		free(e);
	}
	region_give_back(mem->region, mem->parked == NULL);
	free(mem->parked);
	*mem = (struct session_mem){ .region = NULL };
}
