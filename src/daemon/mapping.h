/*
 * mapping.h - ceph-csi's cluster-mapping.json: which cluster and pool has the
 * volumes of another one since a fail-over. It lies beside config.json, which
 * reads it (config.h); without it nothing is mapped.
 *
 *	[{"clusterIDMapping": {"site1": "site2"},
 *	  "RBDPoolIDMapping": [{"2": "7"}]}]
 */
#ifndef DAEMON_MAPPING_H
#define DAEMON_MAPPING_H

#include "base/json.h"

#define MAPPING_FILE "cluster-mapping.json"

struct mapped {
	const char *cluster_id; /* as long as the file is in use */
	int64_t pool_id;
};

/* 0, or INVALID_ARGUMENT: it has not that form. */
int mapping_check(const json_t *file, struct err *err) must_check;

/*
 * The n-th (0, 1, ...) to which the pool of a cluster is mapped, in the order
 * of the file, in both directions; false: there are no more. Without a
 * pool_id (0) only the clusters count.
 */
bool mapping_find(const json_t *file, const char *cluster_id, int64_t pool_id,
    size_t n, struct mapped *mapped) must_check;

#endif
