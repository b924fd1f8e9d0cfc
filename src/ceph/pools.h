/*
 * pools.h - the pools that a cluster has, as librados' copy of its map tells:
 * no round trip. The copy is renewed by whatever an OSD answers, so that a
 * walk which reads in the pools that it finds learns of the newest ones, too:
 * they have the highest ids.
 */
#ifndef CEPH_POOLS_H
#define CEPH_POOLS_H

#include "ceph/connection.h"

/*
 * The pool with the lowest id above `after` that images may be in, opened in
 * the namespace: it has the application rbd, or none. *pool NULL: there is
 * none.
 */
int ceph_pools_next(struct ceph_connection *conn, int64_t after,
    const char *rados_namespace, struct ceph_pool **pool,
    struct err *err) must_check;

#endif
