/*
 * connection.c - opening a session with a cluster, and its pools.
 *
 * The rule: every step of opening has its own errors. A failure of librados is
 * put down to the user, the key or the monitors only where nothing else can be
 * meant.
 */
#include "ceph/connection.h"

#include "base/cephx_key.h"
#include "base/clock.h"
#include "base/features.h"
#include "base/log.h"
#include "ceph/monitors.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <rados/librados.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define POOL_NAME_SIZE 256
/* A cluster that answers at all does so in a fraction of this. */
#define FIRST_TRY_S 1
#define ASK_TRIES 3 /* monitors */

struct connecting {
	const struct ceph_settings *settings;
	int key_type;
	unsigned timeout_s;
	int64_t until_ms;
	char *monitors; /* a list, or words */
	rados_t cluster;
	bool used; /* it has tried to connect */
	enum ceph_step *step;
	struct err *err;
};

/* ---- settings ------------------------------------------------------------ */

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
	char mount_s[16], op_s[16];
	const struct ceph_option own[] = {
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
		{ "mon_client_ping_timeout", "1" },
		{ "client_mount_timeout", mount_s },
		{ "rados_osd_op_timeout", op_s },
	};
	int rc = 0;

	(void)snprintf(mount_s, sizeof(mount_s), "%u", timeout_s);
	(void)snprintf(op_s, sizeof(op_s), "%u", settings->op_timeout_s);
	for (size_t i = 0; i < countof(own) && rc == 0; i++)
		rc = option_set(cluster, own[i].name, own[i].value, err);
	for (size_t i = 0; i < settings->noptions && rc == 0; i++)
		rc = option_set(cluster, settings->options[i].name,
		    settings->options[i].value, err);
	return rc;
}

/*
 * Copies the file to memory in a form that librados' parser bears: with a
 * newline behind the last line, without which it calls the whole file invalid,
 * and without a byte order mark and other bytes beyond ASCII, at which the one
 * of Debian 12 aborts the process. 0 or a negative errno.
 */
static int
conf_copy(const char *path, int to)
{
	auto_close int from = open(path, O_RDONLY | O_CLOEXEC);
	char bytes[4096], *start;
	bool first = true;
	ssize_t n;

	if (from < 0)
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
	return n < 0 || write(to, "\n", 1) != 1 ? -errno : 0;
}

static int
conf_read(rados_t cluster, const char *path, struct err *err)
{
	auto_close int fd = memfd_create("ceph.conf", MFD_CLOEXEC);
	char copy[32];
	int rc = fd < 0 ? -errno : conf_copy(path, fd);

	(void)snprintf(copy, sizeof(copy), "/proc/self/fd/%d", fd);
	if (rc == 0)
		rc = rados_conf_read_file(cluster, copy);
	if (rc == -EINVAL)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "read %s: it is not as librados wants it: sections in brackets, and lines of the form key = value",
		    path);
	if (rc < 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "read %s: %s", path,
		    strerror(-rc));
	return 0;
}

/* A librados that is told everything but the monitors. */
static int
configure(struct connecting *c, unsigned timeout_s)
{
	const struct ceph_settings *settings = c->settings;
	auto_free char *entity = str_fmt("client.%s", settings->user);
	int rc;

	*c->step = CEPH_STEP_SETTINGS;
	rc = rados_create2(&c->cluster, "ceph", entity, 0);
	if (rc < 0)
		return err_set_rc(c->err, rc, "create a session of %s", entity);
	if (settings->conf_file != NULL) {
		rc = conf_read(c->cluster, settings->conf_file, c->err);
		if (rc < 0)
			return rc;
	}
	rc = options_set(c->cluster, settings, timeout_s, c->err);
	if (rc < 0)
		return rc;

	*c->step = CEPH_STEP_KEY;
	rc = cephx_key_type(settings->user, settings->key, c->err);
	if (rc < 0)
		return rc;
	c->key_type = rc;
	if (rados_conf_set(c->cluster, "key", settings->key->text) < 0)
		return err_set(c->err, ERR_INVALID_ARGUMENT,
		    "key of client.%s: librados does not take it",
		    settings->user);
	return 0;
}

/* ---- what a failure means ------------------------------------------------ */

/*
 * The release of the librados that is loaded ("16.2.15"), or NULL: its API
 * tells only its own version, which is the same since years.
 */
static const char *
ceph_release(void)
{
	const char *(*release)(void);

	*(void **)&release = dlsym(RTLD_DEFAULT, "_Z19ceph_version_to_strv");
	return release != NULL ? release() : NULL;
}

/* Ceph has the new type since 19.2.6 and 20.2.4. */
static bool
release_has_aes256k(const char *release)
{
	unsigned major, minor, patch;

	if (release == NULL ||
	    sscanf(release, "%u.%u.%u", &major, &minor, &patch) != 3)
		return false;
	if (major == 19)
		return minor > 2 || (minor == 2 && patch >= 6);
	if (major == 20)
		return minor > 2 || (minor == 2 && patch >= 4);
	return major > 20;
}

/*
 * What it cannot use, librados calls invalid, damaged or missing, all before
 * it has spoken to anybody.
 */
static bool
is_unknown_key(const struct connecting *c, int rc)
{
	if (rc != -EINVAL && rc != -EIO && rc != -ENOENT && rc != -EBADMSG &&
	    rc != -EOPNOTSUPP)
		return false;
	return c->key_type > CEPHX_KEY_AES256K ||
	    (c->key_type == CEPHX_KEY_AES256K &&
		!release_has_aes256k(ceph_release()));
}

static int
explain(struct connecting *c, int rc)
{
	const char *user = c->settings->user, *release = ceph_release();
	char who[64];

	if (is_unknown_key(c, rc)) {
		*c->step = CEPH_STEP_KEY;
		(void)snprintf(who, sizeof(who), "librados of Ceph %.40s",
		    release != NULL ? release : "of an unknown release");
		cephx_key_refuse(user, c->key_type, who,
		    c->key_type == CEPHX_KEY_AES256K
			? "an image with Ceph 20.2.4 or later"
			: "a newer image",
		    c->err);
		return err_rc_of(ERR_FAILED_PRECONDITION);
	}
	*c->step = CEPH_STEP_CONNECT;
	switch (rc) {
	case -ETIMEDOUT:
		return err_set(c->err, ERR_UNAVAILABLE,
		    "connect to monitors %s: timed out after %u s", c->monitors,
		    c->timeout_s);
	case -EPERM:
	case -EACCES:
	case -EKEYREJECTED:
		*c->step = CEPH_STEP_AUTHENTICATE;
		return err_set(c->err, ERR_UNAUTHENTICATED,
		    "authenticate client.%s: refused, no such user or a wrong key",
		    user);
	case -EOPNOTSUPP:
		*c->step = CEPH_STEP_AUTHENTICATE;
		return err_set(c->err, ERR_UNAUTHENTICATED,
		    "authenticate client.%s: the cluster and this librados have no method or key type in common",
		    user);
	case -EINVAL:
		*c->step = CEPH_STEP_SETTINGS;
		return err_set(c->err, ERR_INVALID_ARGUMENT,
		    "monitors %s: not a list of addresses", c->monitors);
	default:
		return err_set(c->err, ERR_UNAVAILABLE,
		    "connect to monitors %s: %s", c->monitors, strerror(-rc));
	}
}

/* ---- connecting ---------------------------------------------------------- */

/* What is left of the time, but at least a second. */
static unsigned
left_s(const struct connecting *c)
{
	int64_t left_ms = c->until_ms - clock_now_ms();

	return left_ms > 1000 ? (unsigned)((left_ms + 999) / 1000) : 1;
}

/*
 * One try, with a librados of its own: one that has failed is of no use any
 * more. *rc is librados' result; returns less than 0 when err is set.
 */
static int
try_monitors(
    struct connecting *c, const char *monitors, unsigned timeout_s, int *rc)
{
	int bad = 0;

	if (c->used) {
		rados_shutdown(c->cluster);
		c->cluster = NULL;
		bad = configure(c, timeout_s);
	}
	c->used = true;
	if (bad == 0 && monitors != NULL)
		bad = option_set(c->cluster, "mon_host", monitors, c->err);
	if (bad < 0)
		return bad;
	*rc = rados_connect(c->cluster);
	return 0;
}

/* One monitor after the other, each for a second, until one answers. */
static bool
ask_monitors(
    struct connecting *c, const char *monitors, struct mon_answer *answer)
{
	rados_t failed = c->cluster;
	char name[2] = "a";
	int rc = -ETIMEDOUT;

	for (int i = 0; i < ASK_TRIES && rc < 0 && rc != -ENOENT;
	     i++, name[0]++) {
		c->cluster = NULL;
		rc = configure(c, FIRST_TRY_S);
		if (rc == 0 && monitors != NULL)
			rc = option_set(
			    c->cluster, "mon_host", monitors, c->err);
		if (rc == 0)
			rc = monitors_ask(c->cluster, name, answer);
		if (c->cluster != NULL)
			rados_shutdown(c->cluster);
	}
	c->cluster = failed;
	return rc == 0;
}

/*
 * No answer in a second. With version 1 of the protocol that need not mean
 * that nobody is there: a monitor of Ceph 20 closes the connection of a user
 * whom it does not accept, at times before its refusal is read, and librados
 * then waits for seconds to ask again, and again. What a monitor tells
 * everybody decides: with version 2, where it speaks it, the refusal arrives;
 * and if the time is over in the end, it was not for want of a monitor.
 */
static int
try_again(struct connecting *c, const char *monitors, int *rc)
{
	struct mon_answer answer = { .in_quorum = false };
	int bad = 0;

	if (ask_monitors(c, monitors, &answer) && answer.v2 != NULL)
		bad = try_monitors(c, answer.v2, left_s(c), rc);
	free(answer.v2);
	if (bad == 0 && *rc == -ETIMEDOUT && clock_now_ms() < c->until_ms)
		bad = try_monitors(c, monitors, left_s(c), rc);
	if (bad < 0 || *rc != -ETIMEDOUT || !answer.in_quorum)
		return bad;
	*c->step = CEPH_STEP_AUTHENTICATE;
	return err_set(c->err, ERR_UNAUTHENTICATED,
	    "authenticate client.%s: monitor %s answers, but ended the connection for %u s: no such user or a wrong key",
	    c->settings->user, answer.name, c->timeout_s);
}

static int
connect_monitors(struct connecting *c)
{
	const char *monitors = NULL;
	int bad, rc = 0;

	/* Settings and key are judged before the monitors. */
	bad = configure(c, FIRST_TRY_S);
	if (bad < 0)
		return bad;
	*c->step = CEPH_STEP_RESOLVE;
	if (c->settings->monitors == NULL) {
		c->monitors = str_fmt("of %s",
		    c->settings->conf_file != NULL ? c->settings->conf_file
						   : "DNS");
	} else {
		bad = monitors_resolve(
		    c->settings->monitors, &c->monitors, c->err);
		if (bad < 0)
			return bad;
		monitors = c->monitors;
	}
	c->until_ms = clock_now_ms() + c->timeout_s * 1000;
	bad = try_monitors(c, monitors, FIRST_TRY_S, &rc);
	if (bad == 0 && rc == -ETIMEDOUT)
		bad = try_again(c, monitors, &rc);
	if (bad < 0)
		return bad;
	return rc < 0 ? explain(c, rc) : 0;
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
	conn->instance = rados_get_instance_id(conn->cluster);
	rados_buffer_free(address);
	rc = rados_wait_for_latest_osdmap(conn->cluster);
	if (rc < 0)
		return err_set(err, ERR_UNAVAILABLE, "read the cluster map: %s",
		    strerror(-rc));
	return 0;
}

const char *
ceph_step_name(enum ceph_step step)
{
	static const char *const names[] = {
		[CEPH_STEP_SETTINGS] = "settings",
		[CEPH_STEP_KEY] = "key",
		[CEPH_STEP_RESOLVE] = "resolve",
		[CEPH_STEP_CONNECT] = "connect",
		[CEPH_STEP_AUTHENTICATE] = "authenticate",
		[CEPH_STEP_DONE] = "done",
	};

	return names[step];
}

int
ceph_connection_open(const struct ceph_settings *settings,
    struct ceph_connection **out, enum ceph_step *step, struct err *err)
{
	enum ceph_step ignored;
	struct connecting c = {
		.settings = settings,
		.timeout_s = settings->connect_timeout_s > 0
		    ? settings->connect_timeout_s
		    : CEPH_CONNECT_TIMEOUT_S,
		.step = step != NULL ? step : &ignored,
		.err = err,
	};
	struct ceph_connection *conn;
	int rc;

	*c.step = CEPH_STEP_SETTINGS;
	if (str_is_empty(settings->user))
		return err_set(err, ERR_INVALID_ARGUMENT, "no user is given");
	rc = connect_monitors(&c);
	free(c.monitors);
	if (rc < 0 && c.cluster != NULL)
		rados_shutdown(c.cluster);
	if (rc < 0)
		return rc;
	conn = mem_new(sizeof(*conn));
	conn->user = str_dup(settings->user);
	conn->cluster = c.cluster;
	rc = learn(conn, err);
	if (rc < 0) {
		ceph_connection_close(conn);
		return rc;
	}
	*c.step = CEPH_STEP_DONE;
	*out = conn;
	return 0;
}

void
ceph_connection_close(struct ceph_connection *conn)
{
	struct ceph_pool *pool;
	struct pool_name *name;
	const char *key;
	void *value;
	size_t at = 0;

	if (conn == NULL)
		return;
	while (map_next(&conn->pools, &at, &key, &value)) {
		pool = value;
		while ((name = pool->name) != NULL) {
			pool->name = name->older;
			free(name->name);
			free(name->label);
			free(name);
		}
		rados_ioctx_destroy(pool->io);
		free(pool->snap_ids);
		free(pool->rados_namespace);
		free(pool);
	}
	map_fini(&conn->pools);
	map_fini(&conn->named);
	if (conn->cluster != NULL)
		rados_shutdown(conn->cluster);
	free(conn->user);
	free(conn->address);
	free(conn);
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
	(void)map_set(&conn->named, name, (void *)(uintptr_t)id);
	return ceph_pool_open_id(conn, id, rados_namespace, pool, err);
}

unsigned
ceph_connection_renamed(struct ceph_connection *conn)
{
	const char *name;
	void *value;
	size_t at = 0;

	while (map_next(&conn->named, &at, &name, &value)) {
		int64_t id = rados_pool_lookup(conn->cluster, name);

		if (id == (int64_t)(uintptr_t)value)
			continue;
		conn->renamed++;
		(void)map_remove(&conn->named, name);
	}
	return conn->renamed;
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

int
ceph_pool_open_snapshot(struct ceph_pool *pool, uint64_t snap,
    struct ceph_pool **at, struct err *err)
{
	rados_ioctx_t io;
	int rc = rados_ioctx_create2(pool->conn->cluster, pool->id, &io);

	if (rc < 0)
		return err_set_rc(
		    err, rc, "open %s at a snapshot", ceph_pool_label(pool));
	rados_ioctx_set_namespace(io, pool->rados_namespace);
	rados_ioctx_snap_set_read(io, snap);
	*at = mem_new(sizeof(**at));
	**at = *pool;
	(*at)->io = io;
	return 0;
}

void
ceph_pool_close_snapshot(struct ceph_pool *at)
{
	if (at == NULL)
		return;
	rados_ioctx_destroy(at->io);
	free(at);
}

const char *
ceph_pool_name(const struct ceph_pool *pool)
{
	char name[POOL_NAME_SIZE];

	/*
	 * It may have been renamed; librados' copy of the cluster map tells.
	 * Who asks for it twice may be told two names, and keeps both.
	 */
	if (rados_ioctx_get_pool_name(pool->io, name, sizeof(name)) >= 0 &&
	    !str_eq(name, pool->name->name))
		pool_put_name((struct ceph_pool *)(uintptr_t)pool, name);
	return pool->name->name;
}

const char *
ceph_pool_label(const struct ceph_pool *pool)
{
	return pool->name->label;
}
