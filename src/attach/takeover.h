/*
 * takeover.h - going on where a predecessor stopped.
 *
 * The rule that holds it together: nothing of a predecessor may reach the
 * cluster after something of ours has. A server that did not end cleanly is
 * blocklisted, and the map which says so is waited for, before any image is
 * opened and before the kernel is asked to send again what was not answered.
 */
#ifndef ATTACH_TAKEOVER_H
#define ATTACH_TAKEOVER_H

#include "attach/table.h"

struct ceph_connection;

/*
 * Blocks; called before anything is served. Fences the predecessor that the
 * table names; if any image is attached, until it succeeds: a cluster that
 * does not let us fence must not see our writes either. Then our own address
 * is in the table. *fenced (may hold NULL) is the predecessor's address, to
 * be freed by the caller.
 */
int takeover_begin(struct table *table, struct ceph_connection *conn,
    char **fenced, struct err *err) must_check;

#endif
