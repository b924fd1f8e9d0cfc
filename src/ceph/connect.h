/*
 * connect.h - from settings to a connected librados. Belongs to connection.c.
 */
#ifndef CEPH_CONNECT_H
#define CEPH_CONNECT_H

#include "ceph/connection.h"

#include <rados/librados.h>

/*
 * Connects within the time that the settings give, or a little more. Steps and
 * errors are those of ceph_connection_open(); *cluster is NULL then.
 */
int ceph_connect(const struct ceph_settings *settings, rados_t *cluster,
    enum ceph_step *step, struct err *err) must_check;

#endif
