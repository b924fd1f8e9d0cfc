/*
 * rados_write.c - compound writes, and those that go together in one operation.
 *
 * The rule that holds it together: a write is a list of steps until it is
 * sent. So the same steps can go in an operation with those of others, and
 * once more on their own if that operation was refused.
 */
#include "ceph/rados.h"
#include "ceph/rados_wait.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/queue.h>

/* The class of errors by which the OSD tells where a comparison failed. */
#define COMPARE_FAILED (-4095)
#define TOGETHER_MAX 64 /* in one operation */
#define ABOUT_MAX 4

enum write_kind {
	WRITE_CALL = 0,
	WRITE_DATA,
	WRITE_DATA_WHOLE,
	WRITE_DATA_EXPECT,
	WRITE_OBJECT_REMOVE,
	WRITE_OMAP_SET,
	WRITE_OMAP_REMOVE,
	WRITE_OMAP_EXPECT,
	WRITE_VERSION_EXPECT,
};

struct write_step {
	STAILQ_ENTRY(write_step) link;
	enum write_kind kind;
	struct cls_call call;
	uint64_t number; /* an offset or a version */
	const char *key; /* in `bytes`, with a NUL */
	size_t key_len;
	const char *value; /* behind it */
	size_t len;
	char bytes[];
};

/* Writes to one object that go together: one operation at a time. */
struct gather {
	LIST_ENTRY(gather) link;
	struct ceph_pool *pool;
	char *object;
	unsigned busy; /* operations under way */
	STAILQ_HEAD(, rados_write) queue;
};

struct rados_write {
	STAILQ_HEAD(, write_step) steps;
	enum rados_object first;
	int flags;
	int failed;                /* a step that could not be added */
	bool versioned;            /* only of a certain version */
	uint64_t *version;         /* where the new one goes, or NULL */
	uint64_t about[ABOUT_MAX]; /* hashes of what it is about */
	unsigned nabout;
	struct wake *waiter;
	STAILQ_ENTRY(rados_write) link; /* in a queue, then in `parts` */

	/* of the first one of an operation */
	struct rados_wait wait;
	rados_write_op_t op;
	int ignored; /* where librados puts the result of a step */
	STAILQ_HEAD(, rados_write) parts; /* with itself */
	struct gather *gather;            /* NULL: goes alone */
};

static LIST_HEAD(, gather) gathers = LIST_HEAD_INITIALIZER(gathers);

struct rados_write *
rados_write_new(enum rados_object object)
{
	struct rados_write *w = mem_new(sizeof(*w));

	STAILQ_INIT(&w->steps);
	w->first = object;
	w->flags = LIBRADOS_OPERATION_FULL_TRY;
	return w;
}

static void
write_free(struct rados_write *w)
{
	struct write_step *s;

	while ((s = STAILQ_FIRST(&w->steps)) != NULL) {
		STAILQ_REMOVE_HEAD(&w->steps, link);
		if (s->kind == WRITE_CALL)
			enc_fini(&s->call.in);
		free(s);
	}
	if (w->op != NULL)
		rados_release_write_op(w->op);
	free(w);
}

/* ---- steps ---- */

static struct write_step *
write_step_new(struct rados_write *w, enum write_kind kind, const char *key,
    const void *value, size_t len)
{
	size_t key_len = key != NULL ? strlen(key) : 0;
	struct write_step *s = mem_new(sizeof(*s) + key_len + 1 + len);

	s->kind = kind;
	s->key = s->bytes;
	s->key_len = key_len;
	s->value = s->bytes + key_len + 1;
	s->len = len;
	if (key != NULL)
		memcpy(s->bytes, key, key_len);
	if (len > 0)
		memcpy(s->bytes + key_len + 1, value, len);
	STAILQ_INSERT_TAIL(&w->steps, s, link);
	return s;
}

void
rados_write_call(struct rados_write *w, struct cls_call call)
{
	if (call.in.failed)
		w->failed = -EMSGSIZE;
	write_step_new(w, WRITE_CALL, NULL, NULL, 0)->call = call;
}

void
rados_write_data(
    struct rados_write *w, uint64_t offset, const void *bytes, size_t len)
{
	write_step_new(w, WRITE_DATA, NULL, bytes, len)->number = offset;
}

void
rados_write_data_whole(struct rados_write *w, const void *bytes, size_t len)
{
	(void)write_step_new(w, WRITE_DATA_WHOLE, NULL, bytes, len);
}

void
rados_write_data_expect(
    struct rados_write *w, uint64_t offset, const void *bytes, size_t len)
{
	write_step_new(w, WRITE_DATA_EXPECT, NULL, bytes, len)->number = offset;
}

void
rados_write_remove(struct rados_write *w)
{
	(void)write_step_new(w, WRITE_OBJECT_REMOVE, NULL, NULL, 0);
}

void
rados_write_omap_set(
    struct rados_write *w, const struct rados_omap_entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)write_step_new(w, WRITE_OMAP_SET, entries[i].key,
		    entries[i].value, entries[i].len);
}

void
rados_write_omap_remove(struct rados_write *w, const char *key)
{
	(void)write_step_new(w, WRITE_OMAP_REMOVE, key, NULL, 0);
}

/* The OSD compares an absent key as one without bytes. */
void
rados_write_omap_expect(
    struct rados_write *w, const char *key, const void *value, size_t len)
{
	(void)write_step_new(w, WRITE_OMAP_EXPECT, key, value, len);
}

void
rados_write_version_expect(struct rados_write *w, uint64_t version)
{
	write_step_new(w, WRITE_VERSION_EXPECT, NULL, NULL, 0)->number =
	    version;
	w->versioned = true;
}

void
rados_write_version_tell(struct rados_write *w, uint64_t *version)
{
	w->version = version;
}

void
rados_write_although_full(struct rados_write *w)
{
	w->flags |= LIBRADOS_OPERATION_FULL_FORCE;
}

void
rados_write_about(struct rados_write *w, const char *what)
{
	assert(w->nabout < ABOUT_MAX);
	w->about[w->nabout++] = str_hash(STR_HASH_SEED, what);
}

static void
step_add(rados_write_op_t op, const struct write_step *s, int *ignored)
{
	switch (s->kind) {
	case WRITE_CALL:
		rados_write_op_exec(op, s->call.cls, s->call.method,
		    (const char *)s->call.in.buf.data, s->call.in.buf.len,
		    NULL);
		break;
	case WRITE_DATA:
		rados_write_op_write(op, s->value, s->len, s->number);
		break;
	case WRITE_DATA_WHOLE:
		rados_write_op_write_full(op, s->value, s->len);
		break;
	case WRITE_DATA_EXPECT:
		rados_write_op_cmpext(op, s->value, s->len, s->number, ignored);
		break;
	case WRITE_OBJECT_REMOVE:
		rados_write_op_remove(op);
		break;
	case WRITE_OMAP_SET:
		rados_write_op_omap_set2(
		    op, &s->key, &s->value, &s->key_len, &s->len, 1);
		break;
	case WRITE_OMAP_REMOVE:
		rados_write_op_omap_rm_keys2(op, &s->key, &s->key_len, 1);
		break;
	case WRITE_OMAP_EXPECT:
		rados_write_op_omap_cmp2(op, s->key, LIBRADOS_CMPXATTR_OP_EQ,
		    s->value, s->key_len, s->len, ignored);
		break;
	case WRITE_VERSION_EXPECT:
		rados_write_op_assert_version(op, s->number);
		break;
	}
}

/* ---- sending ---- */

static void gather_go_on(struct gather *g);
static void on_written(struct rados_wait *wait);

/* Sends `w` with its parts. */
static void
write_send(struct rados_write *w, struct ceph_pool *pool, const char *object)
{
	rados_completion_t completion = rados_wait_arm(&w->wait, on_written);
	enum rados_object first = RADOS_ANY;
	int rc = w->failed, flags = 0;
	struct rados_write *part;
	struct write_step *s;

	w->op = rados_create_write_op();
	/* Where it is there for one of them there is nothing to be made. */
	STAILQ_FOREACH (part, &w->parts, link)
		if (part->first == RADOS_EXISTS || first == RADOS_ANY)
			first = part->first;
	if (first == RADOS_EXISTS)
		rados_write_op_assert_exists(w->op);
	else if (first != RADOS_ANY)
		rados_write_op_create(w->op,
		    first == RADOS_CREATE_NEW ? LIBRADOS_CREATE_EXCLUSIVE
					      : LIBRADOS_CREATE_IDEMPOTENT,
		    NULL);
	STAILQ_FOREACH (part, &w->parts, link) {
		flags |= part->flags;
		STAILQ_FOREACH (s, &part->steps, link)
			step_add(w->op, s, &w->ignored);
	}
	if (rc == 0)
		rc = rados_aio_write_op_operate(
		    w->op, pool->io, completion, object, NULL, flags);
	rados_wait_submitted(&w->wait, completion, rc);
}

static void
write_send_alone(
    struct rados_write *w, struct ceph_pool *pool, const char *object)
{
	STAILQ_INIT(&w->parts);
	STAILQ_INSERT_TAIL(&w->parts, w, link);
	write_send(w, pool, object);
}

void
rados_write_start(struct rados_write *w, struct ceph_pool *pool,
    const char *object, struct wake *waiter)
{
	w->waiter = waiter;
	write_send_alone(w, pool, object);
}

/* The answer to an operation is that of each of its parts. */
static void
write_end(struct rados_write *w, int rc, uint64_t version)
{
	bool differs = rc <= COMPARE_FAILED ||
	    (w->versioned && (rc == -ERANGE || rc == -EOVERFLOW));

	if (w->version != NULL && rc == 0)
		*w->version = version;
	wake_up(w->waiter, differs ? -ECANCELED : rados_answer(rc));
	write_free(w);
}

/* No answer of the OSD: what it stands for may have landed. */
static bool
is_answer(int rc)
{
	return rados_answer(rc) != -ETIME && rc != -ESHUTDOWN;
}

static void
on_written(struct rados_wait *wait)
{
	struct rados_write *first = container_of(
	    wait, struct rados_write, wait);
	STAILQ_HEAD(, rados_write) parts = STAILQ_HEAD_INITIALIZER(parts);
	struct gather *g = first->gather;
	uint64_t version = wait->version;
	struct rados_write *w;
	int rc = wait->rc;
	bool apart;

	STAILQ_CONCAT(&parts, &first->parts);
	/* One was refused, and so none of them was done. */
	apart = rc < 0 && is_answer(rc) &&
	    STAILQ_NEXT(STAILQ_FIRST(&parts), link) != NULL;
	if (apart) {
		rados_release_write_op(first->op);
		first->op = NULL;
	}
	while ((w = STAILQ_FIRST(&parts)) != NULL) {
		STAILQ_REMOVE_HEAD(&parts, link);
		if (!apart) {
			write_end(w, rc, version);
			continue;
		}
		g->busy++;
		w->gather = g;
		write_send_alone(w, g->pool, g->object);
	}
	if (g == NULL)
		return;
	g->busy--;
	/* Who waits has waited as long: nobody waits for two time-outs. */
	while (!is_answer(rc) && (w = STAILQ_FIRST(&g->queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&g->queue, link);
		write_end(w, rc, 0);
	}
	gather_go_on(g);
}

/* ---- together ---- */

static bool
is_about_same(const struct rados_write *a, const struct rados_write *b)
{
	for (unsigned i = 0; i < a->nabout; i++)
		for (unsigned j = 0; j < b->nabout; j++)
			if (a->about[i] == b->about[j])
				return true;
	return false;
}

/* May `w` go with these, and before those that stay? */
static bool
fits(const struct rados_write *first, const struct rados_write *w,
    const struct rados_write *stays)
{
	const struct rados_write *other;

	STAILQ_FOREACH (other, &first->parts, link)
		if (is_about_same(other, w))
			return false;
	for (other = stays; other != w; other = STAILQ_NEXT(other, link))
		if (is_about_same(other, w))
			return false;
	return true;
}

static void
gather_go_on(struct gather *g)
{
	struct rados_write *first, *w, *next;
	unsigned n = 1;

	if (g->busy > 0)
		return;
	first = STAILQ_FIRST(&g->queue);
	if (first == NULL) {
		LIST_REMOVE(g, link);
		free(g->object);
		free(g);
		return;
	}
	STAILQ_REMOVE_HEAD(&g->queue, link);
	first->gather = g;
	STAILQ_INIT(&first->parts);
	STAILQ_INSERT_TAIL(&first->parts, first, link);
	for (w = STAILQ_FIRST(&g->queue); w != NULL && n < TOGETHER_MAX;
	     w = next) {
		next = STAILQ_NEXT(w, link);
		if (!fits(first, w, STAILQ_FIRST(&g->queue)))
			continue;
		STAILQ_REMOVE(&g->queue, w, rados_write, link);
		STAILQ_INSERT_TAIL(&first->parts, w, link);
		n++;
	}
	g->busy = 1;
	write_send(first, g->pool, g->object);
}

static struct gather *
gather_of(struct ceph_pool *pool, const char *object)
{
	struct gather *g;

	LIST_FOREACH (g, &gathers, link)
		if (g->pool == pool && strcmp(g->object, object) == 0)
			return g;
	g = mem_new(sizeof(*g));
	g->pool = pool;
	g->object = str_dup(object);
	STAILQ_INIT(&g->queue);
	LIST_INSERT_HEAD(&gathers, g, link);
	return g;
}

void
rados_write_together_start(struct rados_write *w, struct ceph_pool *pool,
    const char *object, struct wake *waiter)
{
	struct gather *g;

	if (w->failed != 0) {
		rados_write_start(w, pool, object, waiter);
		return;
	}
	assert(w->nabout > 0 && !w->versioned && w->version == NULL &&
	    w->first != RADOS_CREATE_NEW);
	g = gather_of(pool, object);
	w->waiter = waiter;
	STAILQ_INSERT_TAIL(&g->queue, w, link);
	gather_go_on(g);
}

/* ---- writes of one step ---- */

void
rados_tell_start(struct ceph_pool *pool, const char *object,
    enum rados_object first, struct cls_call call, struct wake *waiter)
{
	struct rados_write *w = rados_write_new(first);

	rados_write_call(w, call);
	rados_write_start(w, pool, object, waiter);
}

void
rados_remove_start(
    struct ceph_pool *pool, const char *object, struct wake *waiter)
{
	struct rados_write *w = rados_write_new(RADOS_ANY);

	rados_write_remove(w);
	rados_write_start(w, pool, object, waiter);
}
