/*
 * controller.c - the table of Controller RPCs and what they share.
 */
#include "controller/controller.h"

#include "ceph/journal.h"
#include "controller/flatten.h"
#include "controller/purge.h"

static const struct csi_impl *const impls[CSI_COUNT] = {
	[CSI_CREATE_VOLUME] = &create_volume_impl,
	[CSI_DELETE_VOLUME] = &delete_volume_impl,
	[CSI_CONTROLLER_PUBLISH_VOLUME] = &publish_volume_impl,
	[CSI_CONTROLLER_EXPAND_VOLUME] = &expand_volume_impl,
	[CSI_CONTROLLER_UNPUBLISH_VOLUME] = &unpublish_volume_impl,
	[CSI_VALIDATE_VOLUME_CAPABILITIES] = &validate_capabilities_impl,
	[CSI_GET_CAPACITY] = &get_capacity_impl,
	[CSI_LIST_VOLUMES] = &list_volumes_impl,
	[CSI_CONTROLLER_LIST_VOLUME_HEALTH] = &list_health_impl,
	[CSI_CONTROLLER_GET_VOLUME_HEALTH] = &get_health_impl,
	[CSI_LIST_SNAPSHOTS] = &list_snapshots_impl,
	[CSI_GET_SNAPSHOT] = &get_snapshot_impl,
	[CSI_CONTROLLER_GET_VOLUME] = &get_volume_impl,
	[CSI_CONTROLLER_MODIFY_VOLUME] = &modify_volume_impl,
	[CSI_CREATE_SNAPSHOT] = &create_snapshot_impl,
	[CSI_DELETE_SNAPSHOT] = &delete_snapshot_impl,
	[CSI_ADMIN_AUDIT] = &audit_impl,
	[CSI_FORMAT] = &format_image_impl,
};

struct controller controller;

void
controller_init(struct ceph_connection *conn)
{
	controller.conn = conn;
	controller.names = keylock_new();
	csi_impls_check(
	    impls, CSI_WORKER, &(const struct csi_serving){ true, true, true });
}

void
controller_fini(void)
{
	purge_fini();
	journal_forget();
	get_capacity_forget();
	flatten_fini();
	keylock_free(controller.names);
	controller.names = NULL;
	controller.conn = NULL;
}

const struct csi_impl *
controller_find(const char *path, const struct csi_definition **def)
{
	*def = csi_definition_find(path);
	if (*def == NULL && str_eq(path, csi_definitions[CSI_FORMAT].path))
		*def = &csi_definitions[CSI_FORMAT];
	return *def != NULL ? impls[csi_definition_id(*def)] : NULL;
}

void
controller_name_take_start(struct keylock_claim *claim,
    const struct csi_rpc *rpc, const struct journal *journal, const char *name,
    struct wake *waiter)
{
	const struct ceph_pool *pool = journal->pool;

	claim->what = rpc->in->def->name;
	keylock_take_start(controller.names, claim,
	    arena_fmt(rpc->arena, "%lld/%s/%s%s", (long long)pool->id,
		pool->rados_namespace, journal->kind->key, name),
	    waiter);
}

void
controller_resume(struct ceph_pool *pool, const char *instance_id)
{
	purge_resume(pool, instance_id);
	flatten_resume(pool, instance_id);
}
