/*
 * op.h - an asynchronous operation: one struct, one step function, one wait
 * at a time. What waits only once is no operation: see wake.h.
 *
 * A step function judges op->rc, does the work of its state and returns
 *	OP_AGAIN  the state changed, call me again
 *	OP_WAIT   something was started that will wake op->wake exactly once
 *	OP_DONE   finished; op->err tells how
 * by op_goto(), op_await() or op_fail(), which also note the state.
 *
 * Rules (asserted):
 *   - a wake never runs the step inside the call that started the wait;
 *   - at most one wait is open per op; fan out with child ops;
 *   - an op ends once, also when its caller is gone: it leaves the list of
 *     live ops, its class's `end` is called, and its waiter is woken.
 */
#ifndef CORE_OP_H
#define CORE_OP_H

#include "base/buf.h"
#include "base/err.h"
#include "core/wake.h"

enum op_verdict {
	OP_AGAIN = 0,
	OP_WAIT,
	OP_DONE,
};

struct op;

struct op_class {
	const char *name; /* for people: "CreateVolume", "journal.read" */
	enum op_verdict (*step)(struct op *op);
	/*
	 * Called once, when the op has finished and is not live any more. May
	 * free it. NULL: the op is embedded in something else.
	 */
	void (*end)(struct op *op);
};

#define OP_TRAIL 24 /* state changes that are remembered */

/* Where an op has been; for ops whose way is told to people. */
struct op_trail {
	unsigned count; /* of all state changes */
	struct op_mark {
		const char *state; /* string constant */
		int64_t at_us;     /* clock_now_us() when it was entered */
	} mark[OP_TRAIL];          /* ring, newest at count - 1 */
};

struct op {
	struct wake wake; /* ends the wait; first, see op_woken() */
	const struct op_class *cls;
	uint64_t id;
	int rc;                 /* result of the wait that just ended */
	bool waiting;           /* a wait is open */
	bool detached;          /* nobody waits for the answer any more */
	struct wake *waiter;    /* woken at the end with err.rc, or NULL */
	const char *subject;    /* what it works on, for people; may be NULL */
	const char *state_name; /* newest state, "START" before the first */
	int64_t started_us, since_us; /* the op, and the newest state */
	struct op_trail *trail;       /* set before the start, or NULL */
	struct err err; /* first failure, ERR_OK while all is well */
	LIST_ENTRY(op) link;
};

/*
 * Starts an op; its struct is zeroed, or (embedded ones) finished before and
 * its typed state set back to the first one. The first step runs from the
 * loop. `waiter` (may be NULL) is woken with err.rc when it has finished; an
 * op that another one waits for takes over that one's subject if it has none.
 */
void op_start(struct op *op, const struct op_class *cls, struct wake *waiter);

/*
 * The caller is gone. The op goes on to a safe end; steps look at
 * op->detached where stopping early is safe.
 */
void op_detach(struct op *op);

/* Notes a failure; the first one wins, later ones are logged at debug. */
void op_set_err(struct op *op, const struct err *err);
void op_set_error(struct op *op, enum err_code code, const char *fmt, ...)
    printf_like(3, 4);
void op_set_error_rc(struct op *op, int rc, const char *fmt, ...)
    printf_like(3, 4);

int64_t op_age_ms(const struct op *op);

/* The live ops, newest first: op_next(NULL) is the first one. */
struct op *op_next(const struct op *op);
size_t op_count(void);

/* One line per live op: id, class, subject, age, state, trail. */
void op_dump(struct buf *out);

/*
 * The i-th of the states that a trail still has, with how long the op was in
 * it; NULL: there is none (`trail` may be NULL).
 */
const char *op_trail_at(const struct op_trail *trail, unsigned i, int64_t *us);

/*
 * Appends "STATE:ms" to the `at` bytes of text in buf[size], with a comma
 * before all but the first; returns the new length, or `size` when it does not
 * fit: then nothing is appended from there on.
 */
size_t op_trail_put(
    char *buf, size_t size, size_t at, const char *state, int64_t us);

/*
 * Called at each state change of every op: for tests that fail or kill at a
 * given state. NULL switches it off.
 */
void op_set_hook(void (*hook)(struct op *op, const char *state));

void op_mark(struct op *op, const char *state);

/*
 * `o` points to a struct with `struct op op` (or `struct csi_rpc rpc`, whose
 * first member is an op) first and a typed `state`: gdb prints its name.
 */
#define op_set(o, s) ((o)->state = (s), op_mark((struct op *)(o), #s))
#define op_goto(o, s) (op_set(o, s), OP_AGAIN)
#define op_await(o, s) (op_set(o, s), OP_WAIT)
#define op_fail(o, s, ...)                                                     \
	(op_set_error((struct op *)(o), __VA_ARGS__), op_goto(o, s))
#define op_fail_rc(o, s, ...)                                                  \
	(op_set_error_rc((struct op *)(o), __VA_ARGS__), op_goto(o, s))
#define op_fail_err(o, s, e) (op_set_err((struct op *)(o), (e)), op_goto(o, s))
/* As a part of it has failed, which has a struct err: op_fail_as(o, S, child.op) */
#define op_fail_as(o, s, part) op_fail_err(o, s, &(o)->part.err)

#endif
