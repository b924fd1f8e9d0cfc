/*
 * topology.h - which pools a new volume may be in: the StorageClass'
 * topologyConstrainedPools against the request's accessibility_requirements.
 * Pure.
 */
#ifndef CSI_TOPOLOGY_H
#define CSI_TOPOLOGY_H

#include "base/arena.h"
#include "base/err.h"
#include "csi.pb-c.h"

/* A pool that fits, and the topology that it was found to fit. */
struct csi_topology_choice {
	const char *pool;
	const char *data_pool; /* NULL: the pool itself */
	Csi__V1__Topology *topology;
};

struct csi_topology {
	/* Each pool once, the best first; empty: pools do not go by topology */
	struct csi_topology_choice *choice;
	size_t n;
};

/*
 * Reads `pools`, which is JSON:
 *
 *	[{"poolName": P, "dataPool": D,
 *	  "domainSegments": [{"domainLabel": L, "value": V}]}]
 *
 * A pool fits a topology that has each of its labels with this value; what
 * stands before the slash in a topology's keys does not count. The preferred
 * topologies come first, then the requisite ones, in their order, and of the
 * pools that fit one the first of the list, as in ceph-csi (its internal/util/
 * topology.go). All in the arena. INVALID_ARGUMENT: not such a list.
 * RESOURCE_EXHAUSTED, as CSI has it: no pool fits; the text names both.
 * `wanted` NULL: all pools of the list are choices, of no topology.
 */
int csi_topology_choose(const char *pools,
    const Csi__V1__TopologyRequirement *wanted, struct arena *arena,
    struct csi_topology *out, struct err *err) must_check;

#endif
