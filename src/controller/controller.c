/*
 * controller.c - the table of Controller RPCs and what they share.
 */
#include "controller/controller.h"

#include "controller/purge.h"

static const struct csi_impl *const impls[] = {
	&audit_impl,
	&create_volume_impl,
	&delete_volume_impl,
	&publish_volume_impl,
	&unpublish_volume_impl,
	&validate_capabilities_impl,
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
controller_find(const char *path, const struct csi_method **method)
{
	if (str_eq(path, csi_method_format.path)) {
		*method = &csi_method_format;
		return &format_image_impl;
	}
	*method = csi_method_find(path);
	if (*method == NULL || (*method)->run != CSI_RUN_CONTROLLER)
		return NULL;
	for (size_t i = 0; i < countof(impls); i++)
		if (str_eq(impls[i]->method, (*method)->name))
			return impls[i];
	return NULL;
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
	return arena_fmt(arena, "%lld/%s/%s", (long long)ceph_pool_id(pool),
	    ceph_pool_namespace(pool), request_name);
}
