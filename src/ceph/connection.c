/*
 * connection.c - a session with a cluster, and its pools.
 */
#include "ceph/connection.h"

#include "base/features.h"
#include "base/log.h"
#include "base/map.h"
#include "ceph/connect.h"

#include <errno.h>
#include <rados/librados.h>
#include <string.h>

#define POOL_NAME_SIZE 256

struct ceph_connection {
	rados_t cluster;
	char *user, *address;
	char fsid[CEPH_FSID_SIZE];
	struct map pools; /* "id/namespace" -> struct ceph_pool */
};

struct ceph_pool {
	struct ceph_connection *conn;
	rados_ioctx_t io;
	int64_t id;
	struct pool_name *name; /* of now; those before it stay in use */
	char *rados_namespace;
	bool validated;
};

/* A pool's names, the newest first: who has got one keeps it over a rename. */
struct pool_name {
	char *name, *label;
	struct pool_name *older;
};

const char *
ceph_step_name(enum ceph_step step)
{
	switch (step) {
	case CEPH_STEP_SETTINGS:
		return "settings";
	case CEPH_STEP_KEY:
		return "key";
	case CEPH_STEP_RESOLVE:
		return "resolve";
	case CEPH_STEP_CONNECT:
		return "connect";
	case CEPH_STEP_AUTHENTICATE:
		return "authenticate";
	case CEPH_STEP_DONE:
		return "done";
	}
	return "?";
}

/* What is asked for later must not wait for the cluster then. */
static int
learn(struct ceph_connection *conn, struct err *err)
{
	char *address = NULL;
	int rc;

	rc = rados_cluster_fsid(conn->cluster, conn->fsid, sizeof(conn->fsid));
	if (rc < 0)
		return err_set_rc(err, rc, "read the cluster's fsid");
	rc = rados_getaddrs(conn->cluster, &address);
	if (rc < 0)
		return err_set_rc(err, rc, "read our own address");
	conn->address = str_dup(address);
	rados_buffer_free(address);
	rc = rados_wait_for_latest_osdmap(conn->cluster);
	if (rc < 0)
		return err_set(err, ERR_UNAVAILABLE, "read the cluster map: %s",
		    strerror(-rc));
	return 0;
}

int
ceph_connection_open(const struct ceph_settings *settings,
    struct ceph_connection **out, enum ceph_step *step, struct err *err)
{
	struct ceph_connection *conn;
	enum ceph_step ignored;
	int rc;

	if (step == NULL)
		step = &ignored;
	conn = mem_new(sizeof(*conn));
	conn->user = str_dup(settings->user);
	rc = ceph_connect(settings, &conn->cluster, step, err);
	if (rc == 0)
		rc = learn(conn, err);
	if (rc < 0) {
		ceph_connection_close(conn);
		return rc;
	}
	*step = CEPH_STEP_DONE;
	*out = conn;
	return 0;
}

static void
pool_free(struct ceph_pool *pool)
{
	struct pool_name *name;

	while ((name = pool->name) != NULL) {
		pool->name = name->older;
		free(name->name);
		free(name->label);
		free(name);
	}
	rados_ioctx_destroy(pool->io);
	free(pool->rados_namespace);
	free(pool);
}

void
ceph_connection_close(struct ceph_connection *conn)
{
	const char *key;
	void *pool;
	size_t at = 0;

	if (conn == NULL)
		return;
	while (map_next(&conn->pools, &at, &key, &pool))
		pool_free(pool);
	map_fini(&conn->pools);
	if (conn->cluster != NULL)
		rados_shutdown(conn->cluster);
	free(conn->user);
	free(conn->address);
	free(conn);
}

const char *
ceph_connection_fsid(const struct ceph_connection *conn)
{
	return conn->fsid;
}

int
ceph_connection_fsid_now(
    const struct ceph_connection *conn, char fsid[CEPH_FSID_SIZE])
{
	int rc = rados_cluster_fsid(conn->cluster, fsid, CEPH_FSID_SIZE);

	return rc < 0 ? rc : 0;
}

const char *
ceph_connection_address(const struct ceph_connection *conn)
{
	return conn->address;
}

const char *
ceph_connection_user(const struct ceph_connection *conn)
{
	return conn->user;
}

uint64_t
ceph_connection_instance(const struct ceph_connection *conn)
{
	return rados_get_instance_id(conn->cluster);
}

uint64_t
ceph_connection_features(const struct ceph_connection *conn)
{
	uint64_t features = features_created();
	char text[256], quoted[300];

	if (rados_conf_get(conn->cluster, "rbd_default_features", text,
		sizeof(text)) < 0 ||
	    features_parse(text, &features))
		return features;
	log_warn("ceph.defaults", "rbd_default_features=%s used=%llu",
	    log_quote(quoted, sizeof(quoted), text),
	    (unsigned long long)features_created());
	return features_created();
}

void *
ceph_connection_handle(const struct ceph_connection *conn)
{
	return conn->cluster;
}

int
ceph_connection_refresh(struct ceph_connection *conn, struct err *err)
{
	int rc = rados_wait_for_latest_osdmap(conn->cluster);

	return rc < 0 ? err_set_rc(err, rc, "ask for the cluster's map") : 0;
}

int
ceph_pool_open(struct ceph_connection *conn, const char *name,
    const char *rados_namespace, struct ceph_pool **pool, struct err *err)
{
	int64_t id = rados_pool_lookup(conn->cluster, name);

	if (id == -ENOENT)
		return err_set(
		    err, ERR_NOT_FOUND, "pool %s: no such pool", name);
	if (id < 0)
		return err_set(err, ERR_UNAVAILABLE, "look up pool %s: %s",
		    name, strerror((int)-id));
	return ceph_pool_open_id(conn, id, rados_namespace, pool, err);
}

static void
pool_put_name(struct ceph_pool *pool, const char *name)
{
	struct pool_name *new = mem_new(sizeof(*new));
	const char *ns = pool->rados_namespace;

	new->name = str_dup(name);
	new->label = ns[0] != '\0' ? str_fmt("pool %s/%s", name, ns)
				   : str_fmt("pool %s", name);
	new->older = pool->name;
	pool->name = new;
}

/* It may have been renamed; librados' copy of the cluster map tells. */
static void
pool_read_name(struct ceph_pool *pool)
{
	char name[POOL_NAME_SIZE];

	if (rados_ioctx_get_pool_name(pool->io, name, sizeof(name)) >= 0 &&
	    !str_eq(name, pool->name->name))
		pool_put_name(pool, name);
}

int
ceph_pool_open_id(struct ceph_connection *conn, int64_t id,
    const char *rados_namespace, struct ceph_pool **out, struct err *err)
{
	const char *ns = rados_namespace != NULL ? rados_namespace : "";
	auto_free char *key = str_fmt("%lld/%s", (long long)id, ns);
	char name[POOL_NAME_SIZE];
	struct ceph_pool *pool = map_get(&conn->pools, key);
	rados_ioctx_t io;
	int rc;

	if (pool != NULL) {
		*out = pool;
		return 0;
	}
	rc = rados_ioctx_create2(conn->cluster, id, &io);
	if (rc == -ENOENT)
		return err_set(err, ERR_NOT_FOUND, "pool %lld: no such pool",
		    (long long)id);
	if (rc < 0)
		return err_set(err, ERR_UNAVAILABLE, "open pool %lld: %s",
		    (long long)id, strerror(-rc));
	rc = rados_ioctx_get_pool_name(io, name, sizeof(name));
	if (rc < 0) {
		rados_ioctx_destroy(io);
		return err_set_rc(err, rc, "name of pool %lld", (long long)id);
	}
	rados_ioctx_set_namespace(io, ns);
	pool = mem_new(sizeof(*pool));
	pool->conn = conn;
	pool->io = io;
	pool->id = id;
	pool->rados_namespace = str_dup(ns);
	pool_put_name(pool, name);
	(void)map_set(&conn->pools, key, pool);
	*out = pool;
	return 0;
}

struct ceph_connection *
ceph_pool_connection(const struct ceph_pool *pool)
{
	return pool->conn;
}

int64_t
ceph_pool_id(const struct ceph_pool *pool)
{
	return pool->id;
}

const char *
ceph_pool_name(const struct ceph_pool *pool)
{
	/* Who asks for it twice may be told two names, and keeps both. */
	pool_read_name((struct ceph_pool *)(uintptr_t)pool);
	return pool->name->name;
}

const char *
ceph_pool_namespace(const struct ceph_pool *pool)
{
	return pool->rados_namespace;
}

const char *
ceph_pool_label(const struct ceph_pool *pool)
{
	return pool->name->label;
}

void *
ceph_pool_ioctx(const struct ceph_pool *pool)
{
	return pool->io;
}

bool
ceph_pool_is_validated(const struct ceph_pool *pool)
{
	return pool->validated;
}

void
ceph_pool_set_validated(struct ceph_pool *pool)
{
	pool->validated = true;
}
