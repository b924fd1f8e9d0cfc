/*
 * map.c - open addressing with linear probing, kept under three quarters
 * full. The hash has a seed of this process, as keys may come from a peer.
 */
#include "base/map.h"

#include <string.h>
#include <sys/random.h>

struct map_slot {
	char *key; /* NULL: free or tombstone */
	void *value;
	bool tombstone;
};

static uint64_t
hash(const char *key)
{
	static uint64_t seed;
	uint64_t h;

	while (seed == 0)
		if (getrandom(&seed, sizeof(seed), 0) < 0)
			seed = (uintptr_t)&seed;
	h = str_hash(STR_HASH_SEED ^ seed, key);
	return h ^ h >> 29;
}

/* The slot that holds the key, or NULL. */
static struct map_slot *
find(const struct map *map, const char *key)
{
	if (map->room == 0)
		return NULL;
	for (size_t i = hash(key) % map->room;; i = (i + 1) % map->room) {
		struct map_slot *slot = &map->slot[i];

		if (slot->key != NULL && strcmp(slot->key, key) == 0)
			return slot;
		if (slot->key == NULL && !slot->tombstone)
			return NULL;
	}
}

static void
put(struct map *map, char *key, void *value)
{
	size_t i = hash(key) % map->room;

	while (map->slot[i].key != NULL)
		i = (i + 1) % map->room;
	if (!map->slot[i].tombstone)
		map->filled++;
	map->slot[i] = (struct map_slot){ .key = key, .value = value };
	map->used++;
}

void
map_fini(struct map *map)
{
	for (size_t i = 0; i < map->room; i++)
		free(map->slot[i].key);
	free(map->slot);
	*map = (struct map)MAP_INIT;
}

void *
map_get(const struct map *map, const char *key)
{
	struct map_slot *slot = find(map, key);

	return slot != NULL ? slot->value : NULL;
}

void *
map_set(struct map *map, const char *key, void *value)
{
	struct map_slot *slot = find(map, key);
	struct map old = *map;
	void *was;

	if (slot != NULL) {
		was = slot->value;
		slot->value = value;
		return was;
	}
	if ((old.filled + 1) * 4 > old.room * 3) { /* grow */
		map->room = old.used < 8 ? 16 : old.used * 3;
		map->slot = mem_new(map->room * sizeof(*map->slot));
		map->used = map->filled = 0;
		for (size_t i = 0; i < old.room; i++)
			if (old.slot[i].key != NULL)
				put(map, old.slot[i].key, old.slot[i].value);
		free(old.slot);
	}
	put(map, str_dup(key), value);
	return NULL;
}

void *
map_remove(struct map *map, const char *key)
{
	struct map_slot *slot = find(map, key);
	void *value;

	if (slot == NULL)
		return NULL;
	value = slot->value;
	free(slot->key);
	*slot = (struct map_slot){ .tombstone = true };
	map->used--;
	return value;
}

size_t
map_count(const struct map *map)
{
	return map->used;
}

bool
map_next(const struct map *map, size_t *at, const char **key, void **value)
{
	for (; *at < map->room; (*at)++)
		if (map->slot[*at].key != NULL) {
			*key = map->slot[*at].key;
			*value = map->slot[*at].value;
			(*at)++;
			return true;
		}
	return false;
}
