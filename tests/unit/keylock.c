/*
 * keylock.c - queueing, joining, cancelling.
 */
#include "core/keylock.h"
#include "tests/tap.h"

#include <errno.h>

enum taker_state { TAKER_BEGIN = 0, TAKER_TAKEN, TAKER_HELD };

struct taker {
	struct op op;
	enum taker_state state;
	struct keylock_claim claim;
	const char *key;
	int got; /* what the wait for the lock ended with */
};

static struct keylock *locks;
static char order[64];

static enum op_verdict
taker_step(struct op *op)
{
	struct taker *t = (struct taker *)op;

	switch (t->state) {
	case TAKER_BEGIN:
		keylock_take_start(locks, &t->claim, t->key, &op->wake);
		return op_await(t, TAKER_TAKEN);
	case TAKER_TAKEN:
		t->got = op->rc;
		(void)strncat(order, t->claim.what, sizeof(order) - 1);
		if (op->rc < 0)
			return OP_DONE;
		return op_await(t, TAKER_HELD); /* until the test wakes it */
	case TAKER_HELD:
		keylock_release(locks, &t->claim);
		return OP_DONE;
	}
	abort();
}

static const struct op_class taker_class = {
	.name = "taker",
	.step = taker_step,
};

static void
begin(struct taker *t, const char *what, const char *key, const char *print)
{
	*t = (struct taker){ .key = key, .got = 1 };
	t->claim.what = what;
	/* Those named by small letters are exclusive. */
	t->claim.shared = *what < 'a';
	t->claim.print = print;
	t->claim.print_len = print != NULL ? strlen(print) : 0;
	op_start(&t->op, &taker_class, NULL);
}

static void
turns(void)
{
	for (int i = 0; i < 5; i++)
		loop_turn(false);
}

/* Shared claims: capital letters. */
static void
test_shared(void)
{
	struct taker a, b, c, d, e, f, many[200];

	*order = '\0';
	begin(&a, "A", "snap", "restore 1");
	begin(&b, "B", "snap", NULL);
	begin(&c, "c", "snap", NULL);
	begin(&d, "D", "snap", NULL);
	begin(&e, "E", "snap", NULL);
	begin(&f, "f", "snap", NULL);
	turns();
	is_str(order, "AB", "shared claims own a key together");
	ok(keylock_owns(&b.claim) && !keylock_owns(&d.claim),
	    "a shared one does not overtake an exclusive one that waits");
	ok(keylock_find(locks, "snap", "restore 1", 9) == &a.claim,
	    "an identical request finds a shared owner");
	wake_up(&a.op.wake, 0);
	turns();
	is_str(order, "AB", "the exclusive one waits for all owners");
	wake_up(&b.op.wake, 0);
	turns();
	is_str(order, "ABc", "then it owns the key alone");
	wake_up(&c.op.wake, 0);
	turns();
	is_str(order, "ABcDE", "and all shared ones behind it follow at once");
	begin(&a, "A", "snap", NULL);
	turns();
	keylock_cancel(locks, &f.claim);
	turns();
	is_str(order, "ABcDEAf",
	    "when an exclusive one gives up, those behind it own the key");
	wake_up(&d.op.wake, 0);
	wake_up(&e.op.wake, 0);
	wake_up(&a.op.wake, 0);
	turns();
	is_int(keylock_count(locks), 0, "nothing is held any more");

	*order = '\0';
	for (size_t i = 0; i < countof(many); i++)
		begin(&many[i], "", "snap", NULL);
	turns();
	for (size_t i = 0; i < countof(many); i++)
		if (!keylock_owns(&many[i].claim))
			ok(false, "claim %zu owns it", i);
	ok(keylock_owns(&many[199].claim), "200 own one key at once");
	for (size_t i = 0; i < countof(many); i++)
		wake_up(&many[i].op.wake, 0);
	turns();
	is_int(keylock_count(locks) + op_count(), 0, "and give it back");
}

int
main(void)
{
	struct taker a, b, c, d, other;

	if (loop_init() < 0)
		return 99;
	locks = keylock_new();
	begin(&a, "a", "vol-1", "create 1G");
	begin(&b, "b", "vol-1", "delete");
	begin(&c, "c", "vol-1", NULL);
	begin(&d, "d", "vol-1", "delete 2");
	begin(&other, "o", "vol-2", NULL);
	turns();
	is_str(order, "ao", "one owner a key; other keys are not in the way");
	is_int(keylock_count(locks), 2, "two keys are in use");
	ok(keylock_owns(&a.claim) && !keylock_owns(&b.claim), "owner known");
	is_str(keylock_owner(locks, "vol-1")->what, "a", "by key too");
	ok(keylock_find(locks, "vol-1", "create 1G", 9) == &a.claim,
	    "an identical request finds the running one");
	ok(keylock_find(locks, "vol-1", "delete", 6) == &b.claim,
	    "or the queued one");
	ok(keylock_find(locks, "vol-1", "create 2G", 9) == NULL &&
		keylock_find(locks, "vol-2", "delete", 6) == NULL &&
		keylock_find(locks, "vol-1", NULL, 0) == NULL,
	    "a different one does not join, nor on another key");

	keylock_cancel(locks, &c.claim);
	turns();
	is_int(c.got, -ECANCELED, "a waiter can leave the queue");
	keylock_cancel(locks, &a.claim);
	ok(keylock_owns(&a.claim), "an owner cannot be cancelled");
	wake_up(&a.op.wake, 0);
	turns();
	is_str(order, "aocb", "the next in the queue owns it");
	wake_up(&b.op.wake, 0);
	wake_up(&other.op.wake, 0);
	turns();
	is_str(order, "aocbd", "first come, first served");
	wake_up(&d.op.wake, 0);
	turns();
	is_int(keylock_count(locks), 0, "an empty key is forgotten");
	is_int(op_count(), 0, "no op is left");
	test_shared();
	keylock_free(locks);
	loop_fini();
	return tap_end();
}
