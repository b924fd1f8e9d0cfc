/*
 * topology.c - see topology.h.
 */
#include "csi/topology.h"

#include "base/json.h"
#include "csi/volume_id.h"

#include <errno.h>
#include <string.h>

#define PARAMETER "parameters.topologyConstrainedPools"

static int
malformed(size_t i, const char *what, struct err *err)
{
	return csi_invalid(err, PARAMETER ": entry %zu: %s", i + 1, what);
}

/* Is it a list of pools with their segments? */
static int
check_list(const json_t *list, struct err *err)
{
	const json_t *pool, *segment;
	size_t i, j;

	if (!json_is_array(list))
		return csi_invalid(err, PARAMETER ": is not a list");
	json_array_foreach (list, i, pool) {
		const json_t *segments = json_member(pool, "domainSegments");
		const json_t *data_pool = json_member(pool, "dataPool");

		if (str_is_empty(
			json_string_value(json_member(pool, "poolName"))))
			return malformed(i, "no poolName", err);
		if (data_pool != NULL && !json_is_string(data_pool))
			return malformed(i, "dataPool is not a string", err);
		if (segments != NULL && !json_is_array(segments))
			return malformed(
			    i, "domainSegments is not a list", err);
		json_array_foreach (segments, j, segment)
			if (!json_is_string(
				json_member(segment, "domainLabel")) ||
			    !json_is_string(json_member(segment, "value")))
				return malformed(i,
				    "a segment without domainLabel or value",
				    err);
	}
	return 0;
}

/* The value of a label in a topology, or NULL. */
static const char *
segment_of(const Csi__V1__Topology *topology, const char *label)
{
	for (size_t i = 0; i < topology->n_segments; i++) {
		const char *key = topology->segments[i]->key;
		const char *slash = strchr(key, '/');

		if (str_eq(slash != NULL ? slash + 1 : key, label))
			return topology->segments[i]->value;
	}
	return NULL;
}

static bool
fits(const json_t *pool, const Csi__V1__Topology *topology)
{
	const json_t *segment;
	size_t i;

	json_array_foreach (json_member(pool, "domainSegments"), i, segment)
		if (!str_eq(segment_of(topology,
				json_string_value(
				    json_member(segment, "domainLabel"))),
			json_string_value(json_member(segment, "value"))))
			return false;
	return true;
}

/* Adds the pool if it is not among the choices. */
static void
add_pool(struct csi_topology *t, const json_t *pool,
    Csi__V1__Topology *topology, struct arena *arena)
{
	const char *name = json_string_value(json_member(pool, "poolName"));
	const char *data_pool = json_string_value(
	    json_member(pool, "dataPool"));

	for (size_t j = 0; j < t->n; j++)
		if (str_eq(t->choice[j].pool, name))
			return;
	t->choice[t->n++] = (struct csi_topology_choice){
		.pool = arena_strdup(arena, name),
		.data_pool = str_is_empty(data_pool)
		    ? NULL
		    : arena_strdup(arena, data_pool),
		.topology = topology,
	};
}

/* The first pool of the list that fits. */
static void
add_choice(struct csi_topology *t, const json_t *list,
    Csi__V1__Topology *topology, struct arena *arena)
{
	const json_t *pool;
	size_t i;

	json_array_foreach (list, i, pool)
		if (fits(pool, topology)) {
			add_pool(t, pool, topology, arena);
			return;
		}
}

/* "zone=a region=b", as far as there is room. */
static const char *
describe(const Csi__V1__Topology *topology, struct arena *arena)
{
	const char *text = "";

	for (size_t i = 0; i < topology->n_segments && strlen(text) < 60; i++)
		text = arena_fmt(arena, "%s%s%.40s=%.40s", text,
		    i > 0 ? " " : "", topology->segments[i]->key,
		    topology->segments[i]->value);
	return text;
}

static int
none_fits(const Csi__V1__TopologyRequirement *wanted, struct arena *arena,
    struct err *err)
{
	size_t n = wanted->n_preferred + wanted->n_requisite;
	Csi__V1__Topology *const *first = wanted->n_preferred > 0
	    ? wanted->preferred
	    : wanted->requisite;

	if (n == 0)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
		    "accessibility_requirements: name no topology, which " PARAMETER
		    " needs");
	return err_set(err, ERR_RESOURCE_EXHAUSTED,
	    "accessibility_requirements: no pool of " PARAMETER
	    " fits any of %zu topologies, the first of which is %s",
	    n, describe(first[0], arena));
}

int
csi_topology_choose(const char *pools,
    const Csi__V1__TopologyRequirement *wanted, struct arena *arena,
    struct csi_topology *out, struct err *err)
{
	char *text = arena_strdup(arena, pools);
	json_error_t why;
	auto_json json_t *list = NULL;
	const json_t *pool;
	size_t i, n;

	/* As in ceph-csi: lines of a manifest, also within strings. */
	for (char *p = text; *p != '\0'; p++)
		if (*p == '\n')
			*p = ' ';
	list = json_loads(text, 0, &why);

	if (list == NULL)
		return csi_invalid(
		    err, PARAMETER ": is no JSON: %.100s", why.text);
	if (check_list(list, err) < 0)
		return -EINVAL;
	n = wanted == NULL ? json_array_size(list)
			   : wanted->n_preferred + wanted->n_requisite;
	*out = (struct csi_topology){
		.choice = arena_new_bytes(
		    arena, (n + 1) * sizeof(*out->choice)),
	};
	if (wanted == NULL) {
		json_array_foreach (list, i, pool)
			add_pool(out, pool, NULL, arena);
		return 0;
	}
	for (i = 0; i < wanted->n_preferred; i++)
		add_choice(out, list, wanted->preferred[i], arena);
	for (i = 0; i < wanted->n_requisite; i++)
		add_choice(out, list, wanted->requisite[i], arena);
	return out->n > 0 ? 0 : none_fits(wanted, arena, err);
}
