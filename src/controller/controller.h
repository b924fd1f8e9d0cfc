/*
 * controller.h - the Controller RPCs of a Ceph session, and what they share.
 *
 * The rule that holds it together: an RPC is one operation (csi/rpc.h) in one
 * file; everything that outlives it is here: the connection, the locks on
 * request names, the purges and the flattens.
 */
#ifndef CONTROLLER_CONTROLLER_H
#define CONTROLLER_CONTROLLER_H

#include "ceph/journal.h"
#include "core/keylock.h"
#include "csi/rpc.h"

extern struct controller {
	struct ceph_connection *conn; /* the caller's of controller_init() */
	/* On request names, shared by what creates and what deletes. */
	struct keylock *names;
	const char *kms_config; /* path of a file that may be missing */
} controller;

/* Once, before the first RPC; the connection is the caller's. */
void controller_init(struct ceph_connection *conn);

/*
 * Gives up what is queued and waits for nothing: purges that are cut off are
 * taken up by the next worker. Every RPC must have ended.
 */
void controller_fini(void);

/*
 * What implements an RPC (full path), also what nodes ask (CSI_FORMAT), and
 * its definition. NULL: nothing here does.
 */
const struct csi_impl *controller_find(
    const char *path, const struct csi_definition **def);

/*
 * Locks a request name in its directory, so that a request for another pool, or
 * for another kind of thing, does not wait. keylock_release() gives it back.
 */
void controller_name_take_start(struct keylock_claim *claim,
    const struct csi_rpc *rpc, const struct journal *journal, const char *name,
    struct wake *waiter);

/* Frees what the monitors have said; part of controller_fini(). */
void get_capacity_forget(void);

/*
 * To be called when an RPC uses a pool: what an earlier worker has left to be
 * done there in the background goes on.
 */
void controller_resume(struct ceph_pool *pool, const char *instance_id);

extern const struct csi_impl audit_impl;
extern const struct csi_impl create_snapshot_impl;
extern const struct csi_impl create_volume_impl;
extern const struct csi_impl delete_snapshot_impl;
extern const struct csi_impl delete_volume_impl;
extern const struct csi_impl expand_volume_impl;
extern const struct csi_impl format_image_impl;
extern const struct csi_impl get_volume_impl;
extern const struct csi_impl get_capacity_impl;
extern const struct csi_impl get_health_impl;
extern const struct csi_impl get_snapshot_impl;
extern const struct csi_impl list_health_impl;
extern const struct csi_impl list_snapshots_impl;
extern const struct csi_impl list_volumes_impl;
extern const struct csi_impl modify_volume_impl;
extern const struct csi_impl publish_volume_impl;
extern const struct csi_impl unpublish_volume_impl;
extern const struct csi_impl validate_capabilities_impl;

#endif
