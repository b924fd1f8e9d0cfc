/*
 * ceph_support.c - see ceph_support.h.
 */
#include "tests/integration/ceph_support.h"

#include "tests/hex.h"
#include "tests/waited.h"

#include <errno.h>
#include <rados/librados.h>
#include <stdlib.h>

#define DATA_MAX (64 * 1024)

static void
bail(const char *what)
{
	printf("Bail out! %s\n", what);
	exit(1);
}

static const char *
env_need(const char *name)
{
	const char *value = getenv(name);

	if (value == NULL)
		bail("run it with the output of scripts/dev-cluster env");
	return value;
}

void
support_key(struct secret *key)
{
	char text[256] = "";
	FILE *f = fopen(env_need("RBD_CSI_KEYFILE"), "re");

	if (f == NULL || fgets(text, sizeof(text), f) == NULL)
		bail("cannot read the key");
	(void)fclose(f);
	secret_set(key, text, strcspn(text, "\n"));
}

struct ceph_connection *
support_connect(void)
{
	struct ceph_settings settings = {
		.monitors = env_need("RBD_CSI_MONITORS"),
		.user = env_need("RBD_CSI_USER"),
	};
	struct ceph_connection *conn = NULL;
	struct secret key = SECRET_INIT;
	struct err err = ERR_INIT;

	support_key(&key);
	settings.key = &key;
	if (loop_init() < 0)
		bail("no loop");
	if (ceph_connection_open(&settings, &conn, NULL, &err) < 0)
		bail(err.text);
	secret_fini(&key);
	return conn;
}

struct ceph_pool *
support_pool(struct ceph_connection *conn, const char *name, const char *ns)
{
	struct ceph_pool *pool = NULL;
	struct err err = ERR_INIT;

	if (ceph_pool_open(conn, name, ns, &pool, &err) < 0)
		bail(err.text);
	return pool;
}

/* ---- one call ---- */

void
must(int rc, const char *what)
{
	if (rc >= 0)
		return;
	printf("Bail out! %s: %s\n", what, strerror(-rc));
	exit(1);
}

rbd_image_t
image_open(struct ceph_pool *pool, const char *name)
{
	rbd_image_t image;

	must(rbd_open(pool->io, name, &image, NULL), name);
	return image;
}

int
support_run(void (*start)(void *arg, struct wake *waiter), void *arg)
{
	struct waited end = WAITED_INIT;

	start(arg, &end.wake);
	return waited_for(&end);
}

static void
create_start(void *arg, struct wake *waiter)
{
	struct create_call *call = arg;

	image_create_start(&call->create, call->pool, &call->spec, waiter);
}

static void
move_start(void *arg, struct wake *waiter)
{
	struct move_call *call = arg;

	trash_move_start(
	    &call->move, call->pool, call->name, call->id, &call->plan, waiter);
}

static void
purge_start(void *arg, struct wake *waiter)
{
	struct purge_call *call = arg;

	call->purge = (struct trash_purge){
		.pool = call->pool,
		.id = call->id,
		.name = call->name,
		.info = call->info,
		.instance_id = call->instance_id,
		.slice_ms = call->slice_ms != 0 ? call->slice_ms : INT32_MAX,
		.at = call->at,
	};
	trash_purge_start(&call->purge, waiter);
}

static void
lookup_start(void *arg, struct wake *waiter)
{
	struct lookup_call *call = arg;

	image_lookup_start(
	    &call->lookup, call->pool, call->name, call->id, true, waiter);
}

int
run_create(struct create_call *call)
{
	return support_run(create_start, call);
}

int
run_move(struct move_call *call)
{
	return support_run(move_start, call);
}

int
run_purge(struct purge_call *call)
{
	return support_run(purge_start, call);
}

int
run_lookup(struct lookup_call *call)
{
	return support_run(lookup_start, call);
}

/* ---- the shell ---- */

int
support_sh(bool show, const char *fmt, ...)
{
	auto_free char *command = NULL, *line = NULL;
	char out[512], rest[512];
	va_list ap;
	FILE *f;
	int status;

	va_start(ap, fmt);
	if (vasprintf(&command, fmt, ap) < 0)
		bail("memory");
	va_end(ap);
	line = str_fmt("exec 2>&1; timeout 60 sh -c '%s'", command);
	f = popen(line, "re");
	if (f == NULL)
		bail("popen");
	out[fread(out, 1, sizeof(out) - 1, f)] = '\0';
	/* All of it: a program whose reader is gone would fail. */
	while (fread(rest, 1, sizeof(rest), f) > 0)
		;
	status = pclose(f);
	if (show && status != 0)
		diag("%s -> %d: %.400s", command, status, out);
	return status;
}

char *
support_sh_line(const char *fmt, ...)
{
	auto_free char *command = NULL;
	char out[4096] = "";
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	if (vasprintf(&command, fmt, ap) < 0)
		bail("memory");
	va_end(ap);
	f = popen(command, "re");
	if (f == NULL)
		bail("popen");
	if (fgets(out, sizeof(out), f) == NULL)
		out[0] = '\0';
	(void)pclose(f);
	out[strcspn(out, "\n")] = '\0';
	return str_dup(out);
}

void
support_make_pool(const char *name)
{
	if (support_sh(true, "ceph osd pool create %s 8", name) != 0 ||
	    support_sh(true, "rbd pool init %s", name) != 0)
		bail("cannot make a pool");
	(void)support_sh(false, "rbd namespace create %s/ns1", name);
}

bool
support_make_ec_pool(const char *name)
{
	if (support_sh(false, "test $(ceph osd ls | wc -l) -ge 3") != 0)
		return false;
	if (support_sh(true,
		"ceph osd erasure-code-profile set ec21 "
		"k=2 m=1 crush-failure-domain=osd") != 0 ||
	    support_sh(
		true, "ceph osd pool create %s 8 8 erasure ec21", name) != 0 ||
	    support_sh(true, "ceph osd pool set %s allow_ec_overwrites true",
		name) != 0 ||
	    support_sh(true, "ceph osd pool application enable %s rbd", name) !=
		0)
		bail("cannot make an erasure coded pool");
	return true;
}

/* ---- dumps ---- */

static void
line_add(struct dump *dump, char *line)
{
	dump->line = mem_grow(dump->line, (dump->n + 1) * sizeof(char *));
	dump->line[dump->n++] = line;
}

static char *
hex_new(const char *bytes, size_t len)
{
	char *hex = mem_new(2 * len + 1);

	hex_fmt(hex, bytes, len);
	return hex;
}

static int
line_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
dump_sort(struct dump *dump)
{
	if (dump->n > 0)
		qsort(dump->line, dump->n, sizeof(char *), line_cmp);
}

static void
dump_xattrs(
    rados_ioctx_t io, const char *label, const char *object, struct dump *dump)
{
	rados_xattrs_iter_t iter;
	const char *name, *value;
	size_t len;

	if (rados_getxattrs(io, object, &iter) < 0)
		return;
	while (rados_getxattrs_next(iter, &name, &value, &len) == 0 &&
	    name != NULL) {
		auto_free char *hex = hex_new(value, len);

		line_add(dump, str_fmt("%s xattr %s = %s", label, name, hex));
	}
	rados_getxattrs_end(iter);
}

static void
dump_omap(
    rados_ioctx_t io, const char *label, const char *object, struct dump *dump)
{
	rados_read_op_t op = rados_create_read_op();
	rados_omap_iter_t iter;
	unsigned char more;
	char *key, *value;
	size_t key_len, len;
	int rc;

	rados_read_op_omap_get_vals2(op, "", "", 10000, &iter, &more, &rc);
	(void)rados_read_op_operate(op, io, object, 0);
	while (rados_omap_get_next2(iter, &key, &value, &key_len, &len) == 0 &&
	    key != NULL) {
		auto_free char *hex = hex_new(value, len);
		bool time = str_ends(key, "_timestamp") && len == 8;

		line_add(dump,
		    str_fmt(
			"%s omap %s = %s", label, key, time ? "(time)" : hex));
	}
	rados_omap_get_end(iter);
	rados_release_read_op(op);
}

static void
dump_object(struct ceph_pool *pool, rados_ioctx_t io, const char *object,
    const char *ns, struct dump *dump)
{
	auto_free char *label = str_fmt(
	    "%s/%s/%s", ceph_pool_name(pool), ns, object);
	auto_free char *data = mem_new(DATA_MAX);
	auto_free char *hex = NULL;
	int len;

	rados_ioctx_set_namespace(io, ns);
	len = rados_read(io, object, data, DATA_MAX, 0);
	if (len < 0)
		return; /* removed since it was listed */
	hex = hex_new(data, (size_t)len);
	line_add(dump, str_fmt("%s data = %s", label, hex));
	dump_xattrs(io, label, object, dump);
	dump_omap(io, label, object, dump);
}

void
dump_add_pool(struct ceph_pool *pool, struct dump *dump)
{
	rados_ioctx_t list_io, io;
	rados_list_ctx_t list;
	const char *object, *key, *ns;
	rados_t cluster = pool->conn->cluster;

	if (rados_ioctx_create2(cluster, pool->id, &list_io) < 0 ||
	    rados_ioctx_create2(cluster, pool->id, &io) < 0)
		bail("ioctx");
	rados_ioctx_set_namespace(list_io, LIBRADOS_ALL_NSPACES);
	if (rados_nobjects_list_open(list_io, &list) < 0)
		bail("list");
	while (rados_nobjects_list_next(list, &object, &key, &ns) == 0)
		dump_object(pool, io, object, ns, dump);
	rados_nobjects_list_close(list);
	rados_ioctx_destroy(io);
	rados_ioctx_destroy(list_io);
	dump_sort(dump);
}

void
dump_pool(struct ceph_pool *pool, struct dump *dump)
{
	memset(dump, 0, sizeof(*dump));
	dump_add_pool(pool, dump);
}

void
dump_free(struct dump *dump)
{
	for (size_t i = 0; i < dump->n; i++)
		free(dump->line[i]);
	free(dump->line);
	memset(dump, 0, sizeof(*dump));
}

void
dump_diff(
    const struct dump *before, const struct dump *after, struct dump *diff)
{
	size_t b = 0, a = 0;

	memset(diff, 0, sizeof(*diff));
	while (b < before->n || a < after->n) {
		int cmp = b == before->n ? 1
		    : a == after->n      ? -1
				    : strcmp(before->line[b], after->line[a]);

		if (cmp < 0)
			line_add(diff, str_fmt("- %s", before->line[b]));
		else if (cmp > 0)
			line_add(diff, str_fmt("+ %s", after->line[a]));
		b += cmp <= 0;
		a += cmp >= 0;
	}
	dump_sort(diff);
}

static char *
replace(const char *s, const char *from, const char *to)
{
	char *out = str_dup("");

	for (const char *at; (at = strstr(s, from)) != NULL;
	     s = at + strlen(from)) {
		char *longer = str_fmt("%s%.*s%s", out, (int)(at - s), s, to);

		free(out);
		out = longer;
	}
	{
		char *longer = str_fmt("%s%s", out, s);

		free(out);
		return longer;
	}
}

void
dump_replace(struct dump *dump, const char *from, const char *to)
{
	auto_free char *from_hex = hex_new(from, strlen(from));
	auto_free char *to_hex = hex_new(to, strlen(to));

	for (size_t i = 0; i < dump->n; i++) {
		auto_free char *was = dump->line[i];
		auto_free char *half = replace(was, from_hex, to_hex);

		dump->line[i] = replace(half, from, to);
	}
	dump_sort(dump);
}

bool
dump_same(const struct dump *got, const struct dump *want)
{
	struct dump diff;
	bool same;

	dump_diff(want, got, &diff);
	same = diff.n == 0;
	for (size_t i = 0; i < diff.n && i < 20; i++)
		diag("%.300s", diff.line[i]);
	dump_free(&diff);
	return same;
}
