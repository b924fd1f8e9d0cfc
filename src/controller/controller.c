/*
 * controller.c - the table of Controller RPCs and what they share.
 */
#include "controller/controller.h"

#include "controller/purge.h"

static const struct csi_impl *const impls[CSI_COUNT] = {
	[CSI_CREATE_VOLUME] = &create_volume_impl,
	[CSI_DELETE_VOLUME] = &delete_volume_impl,
	[CSI_CONTROLLER_PUBLISH_VOLUME] = &publish_volume_impl,
	[CSI_CONTROLLER_UNPUBLISH_VOLUME] = &unpublish_volume_impl,
	[CSI_VALIDATE_VOLUME_CAPABILITIES] = &validate_capabilities_impl,
	[CSI_ADMIN_AUDIT] = &audit_impl,
	[CSI_FORMAT] = &format_image_impl,
};

static struct {
	struct ceph_connection *conn;
	struct keylock *names;
} ctl;

void
controller_init(struct ceph_connection *conn)
{
	ctl.conn = conn;
	ctl.names = keylock_new();
	csi_impls_check(impls, CSI_WORKER, true, true);
}

void
controller_fini(void)
{
	purge_fini();
	keylock_free(ctl.names);
	ctl.names = NULL;
	ctl.conn = NULL;
}

const struct csi_impl *
controller_find(const char *path, const struct csi_definition **def)
{
	*def = csi_definition_find(path);
	if (*def == NULL && str_eq(path, csi_definitions[CSI_FORMAT].path))
		*def = &csi_definitions[CSI_FORMAT];
	return *def != NULL ? impls[csi_definition_id(*def)] : NULL;
}

struct ceph_connection *
controller_connection(void)
{
	return ctl.conn;
}

struct keylock *
controller_names(void)
{
	return ctl.names;
}

char *
controller_name_key(
    struct arena *arena, const struct ceph_pool *pool, const char *request_name)
{
	return arena_fmt(arena, "%lld/%s/%s", (long long)pool->id,
	    pool->rados_namespace, request_name);
}
