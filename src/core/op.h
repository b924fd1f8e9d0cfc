/*
 * op.h - an asynchronous operation: one struct, one step function, one wait
 * at a time.
 *
 * A step function judges op->rc, does the work of its state and returns
 *	OP_AGAIN  the state changed, call me again
 *	OP_WAIT   something was started that will op_wake() me exactly once
 *	OP_DONE   finished; op->err tells how
 * by op_goto(), op_await() or op_fail(), which also leave a trail.
 *
 * Rules (asserted):
 *   - a wake never runs the step inside the call that started the wait;
 *   - at most one wait is open per op; fan out with child ops;
 *   - done() is called exactly once, also when the caller was detached;
 *     the op is freed in one place, after done(), with no wait open.
 */
#ifndef CORE_OP_H
#define CORE_OP_H

#include "base/buf.h"
#include "base/err.h"
#include "core/loop.h"

enum op_verdict {
	OP_AGAIN = 0,
	OP_WAIT,
	OP_DONE,
};

#define OP_TRAIL 24 /* state changes that are remembered */

struct op;

struct op_class {
	const char *name; /* for people: "CreateVolume", "journal.read" */
	enum op_verdict (*step)(struct op *op);
	void (*free)(struct op *op); /* NULL: embedded in something else */
};

struct op_mark {
	const char *state; /* string constant */
	int line;
	int64_t at_us; /* clock_now_us() when it was entered */
};

struct op {
	const struct op_class *cls;
	uint64_t id;
	int rc;         /* result of the wait that just ended */
	struct err err; /* first failure, ERR_OK while all is well */
	bool waiting;   /* a wait is open */
	bool detached;  /* nobody waits for the answer any more */
	int64_t started_us;
	const char *subject; /* what it works on, for people; may be NULL */
	struct op *parent;   /* woken at the end, or NULL */
	void (*done)(struct op *op, void *arg);
	void *done_arg;
	struct job wake_job;
	LIST_ENTRY(op)
	link;
	unsigned nsteps;
	struct op_mark trail[OP_TRAIL]; /* ring, newest at nsteps - 1 */
};

/*
 * Starts an op; its struct is zeroed, or (embedded children) finished before
 * and its typed state set back to the first one. The first step runs from
 * the loop.
 * `done` (may be NULL) is called when it has finished, before it is freed.
 */
void op_start(struct op *op, const struct op_class *cls,
    void (*done)(struct op *op, void *arg), void *arg);

/*
 * The same for a child: when it has finished the parent is woken with the
 * child's err.rc (0 or negative). The child must stay in memory until then:
 * embedded in the parent's struct it does.
 */
void op_start_child(
    struct op *child, const struct op_class *cls, struct op *parent);

/* Ends a wait; op->rc = rc. The step runs from the loop, never inside. */
void op_wake(struct op *op, int rc);        /* on the loop's thread */
void op_wake_remote(struct op *op, int rc); /* from any other thread */

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

/* Name of the newest state, "START" before the first change. */
const char *op_state(const struct op *op);
int64_t op_age_ms(const struct op *op);

/* One line per live op: id, class, subject, age, state, trail. */
void op_dump(struct buf *out);
size_t op_count(void); /* live ops */

/*
 * Called at each state change of every op: debug log, tests that fail or
 * kill at a given state. NULL switches it off.
 */
void op_set_hook(void (*hook)(struct op *op, const char *state));

void op_mark(struct op *op, const char *state, int line);

/*
 * `o` points to a struct with `struct op op` (or `struct csi_rpc rpc`, whose
 * first member is an op) first and a typed `state`: gdb prints its name.
 */
#define op_set(o, s) ((o)->state = (s), op_mark((struct op *)(o), #s, __LINE__))
#define op_goto(o, s) (op_set(o, s), OP_AGAIN)
#define op_await(o, s) (op_set(o, s), OP_WAIT)
#define op_fail(o, s, ...)                                                     \
	(op_set_error((struct op *)(o), __VA_ARGS__), op_goto(o, s))
#define op_fail_rc(o, s, ...)                                                  \
	(op_set_error_rc((struct op *)(o), __VA_ARGS__), op_goto(o, s))
#define op_fail_err(o, s, e) (op_set_err((struct op *)(o), (e)), op_goto(o, s))

#endif
