/*
 * rados_read.c - compound reads.
 */
#include "ceph/rados_wait.h"

#include "base/arena.h"
#include "ceph/rados_aio.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Entries of all omap steps of one read; the OSD sends 1 GiB at most. */
#define OMAP_BYTES_MAX ((size_t)64 << 20)

enum step_kind {
	STEP_CALL = 0, /* a class method: `out` */
	STEP_DATA,     /* object data: `data` */
	STEP_OMAP,     /* omap entries: `iter`, later `entry` */
};

struct step {
	enum step_kind kind;
	int rc;
	char *out; /* librados' */
	size_t out_len;
	char *data; /* ours, before it starts */
	rados_omap_iter_t iter;
	unsigned char more;
	struct rados_omap_entry *entry; /* in the arena */
	size_t nentries;
};

struct rados_read {
	struct rados_wait wait;
	rados_read_op_t op;
	int failed; /* a step that could not be added */
	bool running;
	bool abandoned; /* freed while running */
	unsigned nsteps;
	struct step step[RADOS_READ_STEPS];
	struct arena *arena; /* omap entries, or NULL */
};

struct rados_read *
rados_read_new(void)
{
	struct rados_read *r = mem_new(sizeof(*r));

	r->op = rados_create_read_op();
	return r;
}

static void
read_destroy(struct rados_read *r)
{
	for (unsigned i = 0; i < r->nsteps; i++) {
		struct step *s = &r->step[i];

		rados_buffer_free(s->out);
		free(s->data);
		if (s->iter != NULL)
			rados_omap_get_end(s->iter);
	}
	arena_free(r->arena);
	rados_release_read_op(r->op);
	free(r);
}

void
rados_read_free(struct rados_read *r)
{
	if (r == NULL)
		return;
	if (r->running) {
		r->wait.waiter = NULL;
		r->abandoned = true;
	} else {
		read_destroy(r);
	}
}

void
rados_read_assert_exists(struct rados_read *r)
{
	rados_read_op_assert_exists(r->op);
}

static struct step *
step_new(struct rados_read *r, enum step_kind kind)
{
	assert(r->nsteps < RADOS_READ_STEPS && !r->running);
	r->step[r->nsteps].kind = kind;
	return &r->step[r->nsteps++];
}

unsigned
rados_read_call(struct rados_read *r, struct cls_call call)
{
	struct step *s = step_new(r, STEP_CALL);

	if (call.in.failed)
		r->failed = -EMSGSIZE;
	else
		rados_read_op_exec(r->op, call.cls, call.method,
		    (const char *)call.in.buf.data, call.in.buf.len, &s->out,
		    &s->out_len, &s->rc);
	cls_call_fini(&call);
	return r->nsteps - 1;
}

unsigned
rados_read_data(struct rados_read *r, uint64_t offset, size_t len)
{
	struct step *s = step_new(r, STEP_DATA);

	s->data = mem_new(len);
	rados_read_op_read(r->op, offset, len, s->data, &s->out_len, &s->rc);
	return r->nsteps - 1;
}

unsigned
rados_read_omap_keys(struct rados_read *r, const char *const *keys, size_t n)
{
	struct step *s = step_new(r, STEP_OMAP);
	auto_free size_t *lens = mem_new(n * sizeof(*lens));

	for (size_t i = 0; i < n; i++)
		lens[i] = strlen(keys[i]);
	rados_read_op_omap_get_vals_by_keys2(
	    r->op, keys, n, lens, &s->iter, &s->rc);
	return r->nsteps - 1;
}

unsigned
rados_read_omap_page(
    struct rados_read *r, const char *after, const char *prefix, unsigned max)
{
	struct step *s = step_new(r, STEP_OMAP);

	rados_read_op_omap_get_vals2(
	    r->op, after, prefix, max, &s->iter, &s->more, &s->rc);
	return r->nsteps - 1;
}

void
rados_read_may_fail(struct rados_read *r)
{
	rados_read_op_set_flags(r->op, LIBRADOS_OP_FLAG_FAILOK);
}

/* Copies what the iterator has, with a NUL behind each value. */
static int
omap_collect(struct rados_read *r, struct step *s)
{
	unsigned n = rados_omap_iter_size(s->iter);
	char *key, *value;
	size_t key_len, len;

	if (r->arena == NULL)
		r->arena = arena_new(OMAP_BYTES_MAX);
	s->entry = arena_alloc(r->arena, (n + 1) * sizeof(*s->entry));
	if (s->entry == NULL)
		return -EMSGSIZE;
	while (s->nentries < n &&
	    rados_omap_get_next2(s->iter, &key, &value, &key_len, &len) == 0 &&
	    key != NULL) {
		char *copy = arena_alloc(r->arena, key_len + 1 + len + 1);

		if (copy == NULL)
			return -EMSGSIZE;
		memcpy(copy, key, key_len);
		if (len > 0)
			memcpy(copy + key_len + 1, value, len);
		s->entry[s->nentries++] = (struct rados_omap_entry){
			.key = copy,
			.value = copy + key_len + 1,
			.len = len,
		};
	}
	return 0;
}

static void
on_read(struct rados_wait *wait)
{
	struct rados_read *r = container_of(wait, struct rados_read, wait);

	r->running = false;
	for (unsigned i = 0; i < r->nsteps && wait->rc >= 0; i++) {
		struct step *s = &r->step[i];

		if (s->kind == STEP_OMAP && s->rc >= 0) {
			int rc = omap_collect(r, s);

			if (rc < 0)
				wait->rc = rc;
		}
	}
	wait->rc = wait->rc > 0 ? 0 : rados_answer(wait->rc);
	rados_wait_wake(wait);
	if (r->abandoned)
		read_destroy(r);
}

void
rados_read_start(struct rados_read *r, struct ceph_pool *pool,
    const char *object, struct wake *waiter)
{
	rados_completion_t completion;
	int rc = r->failed;

	r->running = true;
	r->wait.waiter = waiter;
	r->wait.finish = on_read;
	completion = rados_wait_arm(&r->wait);
	if (rc == 0)
		rc = rados_aio_read_op_operate(
		    r->op, ceph_pool_ioctx(pool), completion, object, 0);
	rados_wait_submitted(&r->wait, completion, rc);
}

int
rados_read_result(const struct rados_read *r, unsigned step, struct dec *out)
{
	const struct step *s = &r->step[step];
	int rc = r->wait.rc < 0 ? r->wait.rc : s->rc;

	dec_init(out, NULL, 0);
	if (rc < 0)
		return rc;
	dec_init(out, s->kind == STEP_DATA ? s->data : s->out, s->out_len);
	return 0;
}

size_t
rados_read_omap_count(const struct rados_read *r, unsigned step)
{
	return r->step[step].nentries;
}

const struct rados_omap_entry *
rados_read_omap_entry(const struct rados_read *r, unsigned step, size_t i)
{
	return &r->step[step].entry[i];
}

bool
rados_read_omap_more(const struct rados_read *r, unsigned step)
{
	return r->step[step].more != 0;
}
