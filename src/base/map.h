/*
 * map.h - from strings to pointers: an open hash table for look-ups by name.
 * Keys are copied; values belong to the caller.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/str.h"

struct map {
	struct map_slot *slot;
	size_t room, used; /* used counts live entries */
	size_t filled;     /* live entries and tombstones */
};

#define MAP_INIT                                                               \
	{                                                                      \
		.slot = NULL                                                   \
	}

void map_fini(struct map *map); /* keys only; values are the caller's */

void *map_get(const struct map *map, const char *key); /* NULL: not there */

/* Sets or replaces; `value` is not NULL. Returns the old value or NULL. */
void *map_set(struct map *map, const char *key, void *value);

/* Returns the value that was removed, or NULL. */
void *map_remove(struct map *map, const char *key);

size_t map_count(const struct map *map);

/*
 * Visits the entries in no order: start with *at = 0, stops by returning
 * false. Nothing but the entry just visited may be removed meanwhile.
 */
bool map_next(
    const struct map *map, size_t *at, const char **key, void **value);

#endif
