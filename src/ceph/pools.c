/*
 * pools.c - walking the pools of a cluster.
 */
#include "ceph/pools.h"

#include <errno.h>
#include <rados/librados.h>
#include <string.h>

#define APPLICATIONS_SIZE 4096

/* The lowest id above `after`, or -1. */
static int64_t
next_id(rados_t cluster, int64_t after)
{
	int size = rados_pool_list(cluster, NULL, 0);
	auto_free char *names = mem_new((size_t)(size > 0 ? size : 0) + 2);
	int64_t best = -1;

	/* Names, each with its NUL; what does not fit any more is not there. */
	if (size > 0 && rados_pool_list(cluster, names, (size_t)size) > size)
		return next_id(cluster, after);
	for (const char *name = names; *name != '\0';
	     name += strlen(name) + 1) {
		int64_t id = rados_pool_lookup(cluster, name);

		if (id > after && (best < 0 || id < best))
			best = id;
	}
	return best;
}

/* Pools of before Luminous may have none. */
static bool
is_for_images(rados_ioctx_t io)
{
	char names[APPLICATIONS_SIZE];
	size_t len = sizeof(names);

	if (rados_application_list(io, names, &len) < 0 || len == 0)
		return true;
	for (size_t at = 0; at < len && names[at] != '\0';
	     at += strlen(names + at) + 1)
		if (str_eq(names + at, "rbd"))
			return true;
	return false;
}

int
ceph_pools_next(struct ceph_connection *conn, int64_t after,
    const char *rados_namespace, struct ceph_pool **pool, struct err *err)
{
	int rc;

	*pool = NULL;
	while ((after = next_id(conn->cluster, after)) >= 0) {
		rc = ceph_pool_open_id(conn, after, rados_namespace, pool, err);
		if (rc == -ENOENT) /* removed just now */
			continue;
		if (rc < 0)
			return rc;
		if (is_for_images((*pool)->io))
			return 0;
		*pool = NULL;
	}
	return 0;
}
