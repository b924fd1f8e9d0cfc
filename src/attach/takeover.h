/*
 * takeover.h - going on where a predecessor stopped.
 *
 * The rule that holds it together: nothing of a predecessor may reach the
 * cluster after something of ours has. A server that did not end cleanly is
 * blocklisted, and the map which says so is waited for, before any image is
 * opened and before the kernel is asked to send again what was not answered. The
 * predecessor is the one that the image table names, or one of a session that
 * has died as a whole, table and all, and left only its address.
 */
#ifndef ATTACH_TAKEOVER_H
#define ATTACH_TAKEOVER_H

#include "attach/table.h"

struct ceph_connection;

/*
 * Blocks; called before anything is served. Fences the clients of earlier
 * sessions like the one in `directory` that nobody serves any more. A failure
 * means that no image may be opened.
 */
int takeover_fence_dead(const char *directory, struct ceph_connection *conn,
    struct err *err) must_check;

/*
 * Blocks; called before anything is served. Fences the predecessor that the
 * table names. If any image is attached, a failure means that it must be tried
 * again: a cluster that does not let us fence must not see our writes either.
 * Then our own address is in the table and in `directory`. *fenced (may hold
 * NULL) is the predecessor's address, to be freed by the caller.
 */
int takeover_begin(struct table *table, const char *directory,
    struct ceph_connection *conn, char **fenced, struct err *err) must_check;

#endif
