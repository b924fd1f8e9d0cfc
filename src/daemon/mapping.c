/*
 * mapping.c - the file as jansson has it; it is small, and asked rarely.
 */
#include "daemon/mapping.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CLUSTERS "clusterIDMapping"
#define POOLS "RBDPoolIDMapping"

static int
check_pairs(const json_t *pairs, const char *what, struct err *err)
{
	const json_t *value;
	const char *key;

	if (!json_is_object(pairs))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "%s: not an object", what);
	json_object_foreach ((json_t *)(uintptr_t)pairs, key, value)
		if (!json_is_string(value))
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "%s: what \"%s\" is mapped to is not a string",
			    what, key);
	return 0;
}

static int
check_entry(const json_t *entry, struct err *err)
{
	const json_t *clusters = json_member(entry, CLUSTERS), *pairs;
	const json_t *pools = json_member(entry, POOLS);
	int rc = 0;
	size_t i;

	if (!json_is_object(entry))
		return err_set(err, ERR_INVALID_ARGUMENT, "not an object");
	if (clusters != NULL)
		rc = check_pairs(clusters, CLUSTERS, err);
	if (rc == 0 && pools != NULL && !json_is_array(pools))
		rc = err_set(err, ERR_INVALID_ARGUMENT, POOLS ": not a list");
	json_array_foreach (pools, i, pairs)
		if (rc == 0)
			rc = check_pairs(pairs, POOLS, err);
	return rc;
}

int
mapping_check(const json_t *file, struct err *err)
{
	const json_t *entry;
	int rc = 0;
	size_t i;

	if (!json_is_array(file))
		return err_set(err, ERR_INVALID_ARGUMENT, "not a list");
	json_array_foreach (file, i, entry) {
		rc = check_entry(entry, err);
		if (rc < 0) {
			err_prefix(err, "entry %zu", i + 1);
			return rc;
		}
	}
	return 0;
}

/* The other one of a pair that `id` is in, or NULL. */
static const char *
other_of(const char *key, const json_t *value, const char *id)
{
	const char *text = json_string_value(value);

	return str_eq(key, id) ? text : str_eq(text, id) ? key : NULL;
}

/* Takes one off *n for each pool that is mapped; true: the n-th was found. */
static bool
find_pool(const json_t *entry, int64_t id, size_t *n, int64_t *mapped)
{
	const json_t *pairs, *value;
	const char *key, *other;
	char text[24], *end;
	size_t i;

	(void)snprintf(text, sizeof(text), "%" PRId64, id);
	json_array_foreach (json_member(entry, POOLS), i, pairs)
		json_object_foreach ((json_t *)(uintptr_t)pairs, key, value) {
			other = other_of(key, value, text);
			if (str_is_empty(other))
				continue;
			*mapped = strtoll(other, &end, 10);
			if (*end == '\0' && *mapped > 0 && (*n)-- == 0)
				return true;
		}
	return false;
}

bool
mapping_find(const json_t *file, const char *cluster_id, int64_t pool_id,
    size_t n, struct mapped *mapped)
{
	const json_t *entry, *value;
	const char *key;
	size_t i;

	json_array_foreach (file, i, entry)
		json_object_foreach (
		    (json_t *)(uintptr_t)json_member(entry, CLUSTERS), key,
		    value) {
			mapped->cluster_id = other_of(key, value, cluster_id);
			mapped->pool_id = 0;
			if (str_is_empty(mapped->cluster_id))
				continue;
			if (pool_id == 0 ? n-- == 0
					 : find_pool(entry, pool_id, &n,
					       &mapped->pool_id))
				return true;
		}
	return false;
}
