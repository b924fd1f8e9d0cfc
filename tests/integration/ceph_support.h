/*
 * ceph_support.h - what the tests of src/ceph on a real cluster share. The
 * cluster is the one that `scripts/dev-cluster env` describes.
 */
#ifndef TESTS_CEPH_SUPPORT_H
#define TESTS_CEPH_SUPPORT_H

#include "ceph/image.h"
#include "ceph/trash.h"
#include "tests/tap.h"

#include <rbd/librbd.h>

/* Connects as the cluster's restricted user; ends the test if it cannot. */
struct ceph_connection *support_connect(void);
void support_key(struct secret *key); /* that user's; the caller wipes it */
struct ceph_pool *support_pool(
    struct ceph_connection *conn, const char *name, const char *ns);

/* Makes a pool for images (with namespace ns1) unless it is there. */
void support_make_pool(const char *name);

/* Whether there are OSDs enough for an erasure coded pool; makes `name`. */
bool support_make_ec_pool(const char *name);

/* Ends the test if a call of librados or librbd has failed. */
void must(int rc, const char *what);

/* Opens an image by librbd; ends the test if it cannot. */
rbd_image_t image_open(struct ceph_pool *pool, const char *name);

/* Runs one asynchronous call to its end and returns what it woke with. */
int support_run(void (*start)(void *arg, struct wake *waiter), void *arg);

/*
 * Runs a shell command, quietly unless it fails and `show` is set; returns
 * its exit status.
 */
int support_sh(bool show, const char *fmt, ...) printf_like(2, 3);

/* First line of a command's output; the caller frees. */
char *support_sh_line(const char *fmt, ...) printf_like(1, 2);

/*
 * Everything that a pool holds, as sorted lines: objects, their data, xattrs
 * and omap entries, in all RADOS namespaces. Time stamps are left out.
 */
struct dump {
	char **line;
	size_t n;
};

void dump_pool(struct ceph_pool *pool, struct dump *dump);
void dump_add_pool(struct ceph_pool *pool, struct dump *dump);
void dump_free(struct dump *dump);

/* Lines of `after` that `before` lacks, marked +, and the reverse, marked -. */
void dump_diff(
    const struct dump *before, const struct dump *after, struct dump *diff);

/* Replaces text (also where it is data, in hex) in all lines, and sorts. */
void dump_replace(struct dump *dump, const char *from, const char *to);

/* Whether both are the same; shows where they are not. */
bool dump_same(const struct dump *got, const struct dump *want);

/* ---- calls under test, as support_run() wants them ---- */

struct create_call {
	struct image_create create;
	struct ceph_pool *pool;
	struct image_spec spec;
};

struct move_call {
	struct trash_move move;
	struct ceph_pool *pool;
	const char *name, *id;
	struct trash_plan plan;
};

struct purge_call {
	struct trash_purge purge;
	struct ceph_pool *pool;
	const char *id, *name; /* name NULL: it has just gone to the trash */
	const struct image_info *info; /* of a fresh move */
	const char *instance_id;       /* whose note goes along */
	int64_t slice_ms;              /* 0: as long as it takes */
	struct trash_progress at;
};

struct lookup_call {
	struct image_lookup lookup;
	struct ceph_pool *pool;
	const char *name, *id;
};

int run_create(struct create_call *call);
int run_move(struct move_call *call);
int run_purge(struct purge_call *call);
int run_lookup(struct lookup_call *call);

#endif
