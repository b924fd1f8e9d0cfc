/*
 * connection.c - opening a session with a cluster, and its pools.
 */
#include "ceph/connection.h"

#include "base/map.h"
#include "ceph/encode.h"
#include "ceph/mon_hosts.h"

#include <errno.h>
#include <fcntl.h>
#include <rados/librados.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define POOL_NAME_SIZE 256

struct ceph_connection {
	rados_t cluster;
	char *user, *monitors, *address;
	char fsid[CEPH_FSID_SIZE];
	struct map pools; /* "id/namespace" -> struct ceph_pool */
};

struct ceph_pool {
	struct ceph_connection *conn;
	rados_ioctx_t io;
	int64_t id;
	char *name, *rados_namespace, *label;
	bool validated;
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

/*
 * A key is base64 of u16 type, u32 + u32 time of creation, u16 length and as
 * many bytes. Says what is wrong with one before librados says "-22".
 */
static int
key_check(const char *user, const struct secret *key, struct err *err)
{
	unsigned char raw[256];
	struct dec d;
	long len;
	uint16_t secret_len;
	int rc = 0;

	if (key == NULL || secret_is_empty(key))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "key of client.%s: empty", user);
	len = str_unbase64(raw, sizeof(raw), key->text, key->len);
	if (len < 0) {
		rc = err_set(err, ERR_INVALID_ARGUMENT,
		    "key of client.%s: not base64", user);
	} else {
		dec_init(&d, raw, (size_t)len);
		(void)dec_u16(&d);
		(void)dec_u64(&d);
		secret_len = dec_u16(&d);
		if (dec_end(&d) < 0 || secret_len == 0 ||
		    secret_len != dec_left(&d))
			rc = err_set(err, ERR_INVALID_ARGUMENT,
			    "key of client.%s: base64, but not of a Ceph key",
			    user);
	}
	secret_wipe(raw, sizeof(raw));
	return rc;
}

static int
option_set(
    rados_t cluster, const char *name, const char *value, struct err *err)
{
	int rc = rados_conf_set(cluster, name, value);

	if (rc < 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "ceph option %s: %s",
		    name,
		    rc == -ENOENT ? "no such option" : "not a valid value");
	return 0;
}

/*
 * What differs from librados' own defaults: it writes no logs and collects
 * none, opens no socket, looks for no keyring; questions to the monitors end
 * some time; and the bound on operations under way, beyond which a submission
 * would block our loop, is out of reach.
 */
static int
options_set(rados_t cluster, const struct ceph_settings *settings,
    unsigned timeout_s, struct err *err)
{
	static const struct ceph_option own[] = {
		{ "keyring", "" },
		{ "log_file", "" },
		{ "log_to_stderr", "false" },
		{ "err_to_stderr", "false" },
		{ "log_to_syslog", "false" },
		{ "admin_socket", "" },
		{ "debug_ms", "0/0" },
		{ "debug_monc", "0/0" },
		{ "debug_auth", "0/0" },
		{ "debug_objecter", "0/0" },
		{ "debug_rados", "0/0" },
		{ "debug_rbd", "0/0" },
		{ "objecter_inflight_ops", "65536" },
		{ "objecter_inflight_op_bytes", "1073741824" },
		{ "rados_mon_op_timeout", "60" },
	};
	char timeout[16];
	int rc = 0;

	for (size_t i = 0; i < countof(own) && rc == 0; i++)
		rc = option_set(cluster, own[i].name, own[i].value, err);
	if (rc == 0)
		rc = str_put(timeout, sizeof(timeout), "%u", timeout_s);
	if (rc == 0)
		rc = option_set(cluster, "client_mount_timeout", timeout, err);
	for (size_t i = 0; i < settings->noptions && rc == 0; i++)
		rc = option_set(cluster, settings->options[i].name,
		    settings->options[i].value, err);
	return rc;
}

/*
 * Copies the file to memory in a form that librados' parser bears: with a
 * newline behind the last line, without which it calls the whole file invalid,
 * and without a byte order mark and other bytes beyond ASCII, at which the one
 * of Debian 12 aborts the process. A descriptor or a negative errno.
 */
static int
conf_copy(const char *path)
{
	auto_close int from = open(path, O_RDONLY | O_CLOEXEC);
	auto_close int to = memfd_create("ceph.conf", MFD_CLOEXEC);
	char bytes[4096], *start;
	bool first = true;
	ssize_t n;

	if (from < 0 || to < 0)
		return -errno;
	for (; (n = read(from, bytes, sizeof(bytes))) > 0; first = false) {
		start = bytes;
		if (first && n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
			start += 3;
			n -= 3;
		}
		for (ssize_t i = 0; i < n; i++)
			if ((start[i] & 0x80) != 0)
				start[i] = '?';
		if (write(to, start, (size_t)n) != n)
			return -EIO;
	}
	if (n < 0 || write(to, "\n", 1) != 1)
		return -errno;
	return take_fd(&to);
}

static int
conf_read(rados_t cluster, const char *path, struct err *err)
{
	auto_close int fd = conf_copy(path);
	char copy[32];
	int rc = fd;

	if (fd >= 0) {
		(void)snprintf(copy, sizeof(copy), "/proc/self/fd/%d", fd);
		rc = rados_conf_read_file(cluster, copy);
	}
	if (rc == -EINVAL)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "read %s: it is not as librados wants it: sections in "
		    "brackets, and lines of the form key = value",
		    path);
	if (rc < 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "read %s: %s", path,
		    strerror(-rc));
	return 0;
}

static int
configure(struct ceph_connection *conn, const struct ceph_settings *settings,
    unsigned timeout_s, enum ceph_step *step, struct err *err)
{
	auto_free char *entity = str_fmt("client.%s", settings->user);
	int rc;

	*step = CEPH_STEP_SETTINGS;
	rc = rados_create2(&conn->cluster, "ceph", entity, 0);
	if (rc < 0)
		return err_set_rc(err, rc, "create a session of %s", entity);
	if (settings->conf_file != NULL) {
		rc = conf_read(conn->cluster, settings->conf_file, err);
		if (rc < 0)
			return rc;
	}
	rc = options_set(conn->cluster, settings, timeout_s, err);
	if (rc < 0)
		return rc;

	*step = CEPH_STEP_KEY;
	rc = key_check(settings->user, settings->key, err);
	if (rc < 0)
		return rc;
	if (rados_conf_set(conn->cluster, "key", settings->key->text) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "key of client.%s: librados does not take it",
		    settings->user);

	*step = CEPH_STEP_RESOLVE;
	if (settings->monitors == NULL) {
		conn->monitors = str_fmt("of %s",
		    settings->conf_file != NULL ? settings->conf_file : "DNS");
		return 0;
	}
	rc = mon_hosts_resolve(settings->monitors, &conn->monitors, err);
	if (rc < 0)
		return rc;
	return option_set(conn->cluster, "mon_host", conn->monitors, err);
}

static int
connect_monitors(struct ceph_connection *conn, unsigned timeout_s,
    enum ceph_step *step, struct err *err)
{
	int rc = rados_connect(conn->cluster);

	*step = CEPH_STEP_CONNECT;
	switch (rc) {
	case 0:
		return 0;
	case -ETIMEDOUT:
		return err_set(err, ERR_UNAVAILABLE,
		    "connect to monitors %s: timed out after %u s",
		    conn->monitors, timeout_s);
	case -EPERM:
	case -EACCES:
	case -EKEYREJECTED:
		*step = CEPH_STEP_AUTHENTICATE;
		return err_set(err, ERR_UNAUTHENTICATED,
		    "authenticate "
		    "client.%s: refused, no such user or a wrong key",
		    conn->user);
	case -EOPNOTSUPP:
		*step = CEPH_STEP_AUTHENTICATE;
		return err_set(err, ERR_UNAUTHENTICATED,
		    "authenticate "
		    "client.%s: the cluster and this librados have no "
		    "method or key type in common",
		    conn->user);
	case -EINVAL:
		*step = CEPH_STEP_SETTINGS;
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "monitors %s: not a list of addresses", conn->monitors);
	default:
		return err_set(err, ERR_UNAVAILABLE,
		    "connect to monitors %s: %s", conn->monitors,
		    strerror(-rc));
	}
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
	unsigned timeout_s = settings->connect_timeout_s > 0
	    ? settings->connect_timeout_s
	    : CEPH_CONNECT_TIMEOUT_S;
	int rc;

	if (step == NULL)
		step = &ignored;
	*step = CEPH_STEP_SETTINGS;
	if (str_is_empty(settings->user))
		return err_set(err, ERR_INVALID_ARGUMENT, "no user is given");
	conn = mem_new(sizeof(*conn));
	conn->user = str_dup(settings->user);
	rc = configure(conn, settings, timeout_s, step, err);
	if (rc == 0)
		rc = connect_monitors(conn, timeout_s, step, err);
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
	rados_ioctx_destroy(pool->io);
	free(pool->name);
	free(pool->rados_namespace);
	free(pool->label);
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
	free(conn->monitors);
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

void *
ceph_connection_handle(const struct ceph_connection *conn)
{
	return conn->cluster;
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
	pool->name = str_dup(name);
	pool->rados_namespace = str_dup(ns);
	pool->label = ns[0] != '\0' ? str_fmt("pool %s/%s", name, ns)
				    : str_fmt("pool %s", name);
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
	return pool->name;
}

const char *
ceph_pool_namespace(const struct ceph_pool *pool)
{
	return pool->rados_namespace;
}

const char *
ceph_pool_label(const struct ceph_pool *pool)
{
	return pool->label;
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
