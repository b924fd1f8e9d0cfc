/*
 * rados_write.c - writes that go together in one operation: a librados that
 * notes what it is sent, and answers when and what the test says.
 */
#include "ceph/rados.h"
#include "ceph/rados_wait.h"
#include "tests/tap.h"

#include <errno.h>
#include <stdlib.h>

#define SENT_MAX 64

static struct ceph_pool pool = { .rados_namespace = (char[]){ "" } };

/* An operation, in words, and how to answer it. */
struct fake_op {
	char text[1024];
};

static struct sent {
	char text[1152];
	rados_callback_t done;
	void *arg;
	int rc;
} sent[SENT_MAX];
static unsigned nsent, answered;
static int sync_rc; /* of rados_aio_write_op_operate() */

static void __attribute__((format(printf, 2, 3)))
note(rados_write_op_t op, const char *fmt, ...)
{
	struct fake_op *o = op;
	size_t used = strlen(o->text);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(o->text + used, sizeof(o->text) - used, fmt, ap);
	va_end(ap);
}

rados_write_op_t
rados_create_write_op(void)
{
	return mem_new(sizeof(struct fake_op));
}

void
rados_release_write_op(rados_write_op_t op)
{
	free(op);
}

void
rados_write_op_assert_exists(rados_write_op_t op)
{
	note(op, " exists");
}

void
rados_write_op_create(rados_write_op_t op, int exclusive, const char *category)
{
	(void)category;
	note(op, exclusive ? " create-new" : " create");
}

void
rados_write_op_exec(rados_write_op_t op, const char *cls, const char *method,
    const char *in, size_t len, int *rc)
{
	(void)in, (void)len, (void)rc;
	note(op, " %s.%s", cls, method);
}

void
rados_write_op_omap_set2(rados_write_op_t op, char const *const *keys,
    char const *const *vals, const size_t *key_lens, const size_t *val_lens,
    size_t num)
{
	(void)key_lens, (void)num;
	note(op, " %s=%.*s", keys[0], (int)val_lens[0], vals[0]);
}

void
rados_write_op_omap_rm_keys2(rados_write_op_t op, char const *const *keys,
    const size_t *key_lens, size_t num)
{
	(void)key_lens, (void)num;
	note(op, " -%s", keys[0]);
}

void
rados_write_op_omap_cmp2(rados_write_op_t op, const char *key, uint8_t how,
    const char *val, size_t key_len, size_t val_len, int *rc)
{
	(void)how, (void)key_len, (void)rc;
	note(op, " %s?%.*s", key, (int)val_len, val);
}

int
rados_aio_create_completion2(
    void *arg, rados_callback_t done, rados_completion_t *completion)
{
	sent[nsent].done = done;
	sent[nsent].arg = arg;
	*completion = &sent[nsent];
	return 0;
}

void
rados_aio_release(rados_completion_t completion)
{
	(void)completion;
}

int
rados_aio_get_return_value(rados_completion_t completion)
{
	return ((struct sent *)completion)->rc;
}

uint64_t
rados_aio_get_version(rados_completion_t completion)
{
	(void)completion;
	return 1;
}

int
rados_aio_write_op_operate(rados_write_op_t op, rados_ioctx_t io,
    rados_completion_t completion, const char *oid, time_t *mtime, int flags)
{
	const struct fake_op *o = op;

	(void)io, (void)completion, (void)mtime;
	(void)snprintf(sent[nsent].text, sizeof(sent[nsent].text), "%s%s%s",
	    oid, flags & LIBRADOS_OPERATION_FULL_FORCE ? "!" : "", o->text);
	nsent++;
	return sync_rc;
}

static void
settle(void)
{
	for (int i = 0; i < 8; i++)
		loop_turn(false);
}

/* Answers the oldest operation that has no answer yet. */
static void
answer(int rc)
{
	struct sent *s = &sent[answered++];

	s->rc = rc;
	s->done(s, s->arg);
	settle();
}

/* ---- who waits ---- */

static struct waiter {
	struct wake wake;
	unsigned woken;
	int rc;
} waiters[SENT_MAX];

static void
on_wake(struct wake *wake, int rc)
{
	struct waiter *w = container_of(wake, struct waiter, wake);

	w->woken++;
	w->rc = rc;
}

static void
begin(void)
{
	memset(sent, 0, sizeof(sent));
	memset(waiters, 0, sizeof(waiters));
	nsent = answered = 0;
	for (size_t i = 0; i < SENT_MAX; i++)
		waiters[i].wake.fn = on_wake;
}

/* Write `i` is about `key`, which it sets to `now` if it was `was`. */
static void
set(unsigned i, const char *key, const char *was, const char *now)
{
	struct rados_write *w = rados_write_new(
	    was == NULL ? RADOS_CREATE : RADOS_EXISTS);
	struct rados_omap_entry entry = { key, now, strlen(now) };

	rados_write_omap_expect(w, key, was, was != NULL ? strlen(was) : 0);
	rados_write_omap_set(w, &entry, 1);
	rados_write_about(w, key);
	rados_write_together_start(w, &pool, "dir", &waiters[i].wake);
}

static bool
all_woken(unsigned from, unsigned to, int rc)
{
	for (unsigned i = from; i <= to; i++)
		if (waiters[i].woken != 1 || waiters[i].rc != rc)
			return false;
	return true;
}

static void
test_together(void)
{
	begin();
	set(0, "a", NULL, "1");
	is_int(nsent, 1, "the first write goes at once");
	is_str(sent[0].text, "dir create a? a=1", "as it is");
	set(1, "b", NULL, "2");
	set(2, "c", "x", "3");
	set(3, "d", NULL, "4");
	settle();
	is_int(nsent, 1, "others wait while it is under way");
	ok(waiters[0].woken == 0 && waiters[1].woken == 0, "nobody is woken");
	answer(0);
	ok(all_woken(0, 0, 0) && waiters[1].woken == 0, "its waiter is woken");
	is_int(nsent, 2, "then the others go, in one operation");
	is_str(sent[1].text, "dir exists b? b=2 c?x c=3 d? d=4",
	    "with all their steps, on an object that has to be there");
	set(4, "e", NULL, "5");
	answer(0);
	ok(all_woken(1, 3, 0), "all of them are woken by its answer");
	is_str(sent[2].text, "dir create e? e=5", "and the next one goes");
	answer(0);
	ok(all_woken(4, 4, 0), "which ends, too");
	is_int(rados_in_flight(), 0, "nothing is left under way");
}

static void
test_apart(void)
{
	begin();
	set(0, "a", NULL, "1");
	set(1, "b", NULL, "2");
	set(2, "c", "x", "3");
	set(3, "d", NULL, "4");
	answer(0);
	set(4, "e", NULL, "5");
	answer(-4095); /* a comparison failed */
	ok(waiters[1].woken + waiters[2].woken + waiters[3].woken == 0,
	    "a refusal that may be another's is nobody's answer");
	is_int(nsent, 5, "each of them goes on its own");
	is_str(sent[2].text, "dir create b? b=2", "the first");
	is_str(sent[3].text, "dir exists c?x c=3", "the second");
	is_str(sent[4].text, "dir create d? d=4", "the third");
	answer(0);
	answer(-4095);
	is_int(nsent, 5, "what came meanwhile waits for all of them");
	answer(-EEXIST);
	ok(all_woken(1, 1, 0) && all_woken(2, 2, -ECANCELED) &&
		all_woken(3, 3, -EEXIST),
	    "each has its own answer");
	is_str(sent[5].text, "dir create e? e=5", "then goes what waited");
	answer(-ENOENT);
	ok(all_woken(4, 4, -ENOENT), "a refusal of one alone is its answer");
	is_int(nsent, 6, "and it is not sent again");
}

static void
test_same(void)
{
	begin();
	set(0, "a", NULL, "1");
	set(1, "b", NULL, "2");
	set(2, "b", "2", "3");
	set(3, "c", NULL, "4");
	set(4, "a", "1", "5");
	set(5, "b", "3", "6");
	answer(0);
	is_str(sent[1].text, "dir exists b? b=2 c? c=4 a?1 a=5",
	    "no two about the same thing go together");
	answer(0);
	is_str(sent[2].text, "dir exists b?2 b=3", "the next one follows");
	answer(0);
	is_str(sent[3].text, "dir exists b?3 b=6", "and they keep their order");
	answer(0);
	ok(all_woken(0, 5, 0), "all are done");
}

static void
test_no_answer(void)
{
	begin();
	set(0, "a", NULL, "1");
	set(1, "b", NULL, "2");
	set(2, "c", NULL, "3");
	answer(0);
	set(3, "d", NULL, "4");
	answer(-ETIMEDOUT);
	ok(all_woken(1, 2, -ETIME), "who gets no answer is not sent again");
	ok(all_woken(3, 3, -ETIME), "and who waited for that waits no longer");
	is_int(nsent, 2, "nothing else was sent");
	set(4, "e", NULL, "5");
	is_int(nsent, 3, "the next write goes at once");
	answer(-ESHUTDOWN);
	ok(all_woken(4, 4, -ESHUTDOWN), "a blocklisted client is no refusal");
}

static void
test_forced(void)
{
	struct rados_write *w;

	begin();
	set(0, "a", NULL, "1");
	w = rados_write_new(RADOS_CREATE);
	rados_write_call(w, cls_call_str("trash_remove", "id"));
	rados_write_about(w, "id");
	rados_write_although_full(w);
	rados_write_together_start(w, &pool, "dir", &waiters[1].wake);
	w = rados_write_new(RADOS_ANY);
	rados_write_omap_remove(w, "b");
	rados_write_about(w, "b");
	rados_write_together_start(w, &pool, "other", &waiters[2].wake);
	is_str(sent[1].text, "other -b", "another object waits for nobody");
	answer(0);
	is_str(sent[2].text, "dir! create rbd.trash_remove",
	    "what may pass in a full pool passes");
	answer(0);
	answer(0);
	ok(all_woken(0, 2, 0), "all are done");
}

static void
test_many(void)
{
	char key[8];

	begin();
	for (unsigned i = 0; i < 60; i++) {
		(void)snprintf(key, sizeof(key), "k%u", i);
		set(i, key, NULL, "v");
	}
	sync_rc = -EINVAL;
	answer(0);
	settle();
	sync_rc = 0;
	ok(all_woken(1, 59, -EINVAL),
	    "an operation that librados refuses ends");
	is_int(nsent, 61, "having been tried one by one");
	begin();
	set(0, "a", NULL, "1");
	answer(0);
	ok(all_woken(0, 0, 0), "and the object is written to again");
	is_int(rados_in_flight(), 0, "nothing is left under way");
}

int
main(void)
{
	if (loop_init() < 0)
		return 1;
	test_together();
	test_apart();
	test_same();
	test_no_answer();
	test_forced();
	test_many();
	loop_fini();
	return tap_end();
}
