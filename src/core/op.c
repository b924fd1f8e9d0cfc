/*
 * op.c - running operations, waking them, and listing the live ones.
 */
#include "core/op.h"

#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static LIST_HEAD(, op) live = LIST_HEAD_INITIALIZER(live);
static size_t nlive;
static uint64_t last_id;
static void (*hook)(struct op *op, const char *state);

static void
finish(struct op *op)
{
	struct op *parent = op->parent;
	int rc = op->err.rc;

	LIST_REMOVE(op, link);
	nlive--;
	if (op->done != NULL)
		op->done(op, op->done_arg);
	if (op->cls->free != NULL)
		op->cls->free(op);
	if (parent != NULL)
		op_wake(parent, rc);
}

static void
on_wake(struct job *job)
{
	struct op *op = container_of(job, struct op, wake_job);
	enum op_verdict verdict;

	assert(op->waiting);
	op->waiting = false;
	while ((verdict = op->cls->step(op)) == OP_AGAIN)
		;
	if (verdict == OP_WAIT)
		op->waiting = true;
	else
		finish(op);
}

static void
start(struct op *op, const struct op_class *cls)
{
	op->cls = cls;
	op->id = ++last_id;
	op->rc = 0;
	op->err = (struct err)ERR_INIT;
	op->detached = false;
	op->nsteps = 0;
	op->started_us = clock_now_us();
	op->wake_job.run = on_wake;
	op->waiting = true;
	LIST_INSERT_HEAD(&live, op, link);
	nlive++;
	loop_post(&op->wake_job);
}

void
op_start(struct op *op, const struct op_class *cls,
    void (*done)(struct op *op, void *arg), void *arg)
{
	op->parent = NULL;
	op->done = done;
	op->done_arg = arg;
	start(op, cls);
}

void
op_start_child(struct op *child, const struct op_class *cls, struct op *parent)
{
	child->parent = parent;
	child->done = NULL;
	child->subject = child->subject != NULL ? child->subject
						: parent->subject;
	start(child, cls);
}

void
op_wake(struct op *op, int rc)
{
	op->rc = rc;
	loop_post(&op->wake_job);
}

void
op_wake_remote(struct op *op, int rc)
{
	op->rc = rc;
	loop_post_remote(&op->wake_job);
}

void
op_detach(struct op *op)
{
	op->detached = true;
}

void
op_set_err(struct op *op, const struct err *err)
{
	char quoted[ERR_TEXT_MAX];

	if (!err_is_set(&op->err)) {
		op->err = *err;
		return;
	}
	log_debug("op.error", "op=%llu name=%s later=%s text=%s",
	    (unsigned long long)op->id, op->cls->name, err_code_name(err->code),
	    log_quote(quoted, sizeof(quoted), err->text));
}

void
op_set_error(struct op *op, enum err_code code, const char *fmt, ...)
{
	struct err err = ERR_INIT;
	va_list ap;

	va_start(ap, fmt);
	(void)err_vset(&err, code, fmt, ap);
	va_end(ap);
	op_set_err(op, &err);
}

void
op_set_error_rc(struct op *op, int rc, const char *fmt, ...)
{
	struct err err = ERR_INIT;
	va_list ap;

	va_start(ap, fmt);
	(void)err_vset_rc(&err, rc, fmt, ap);
	va_end(ap);
	op_set_err(op, &err);
}

void
op_mark(struct op *op, const char *state, int line)
{
	op->trail[op->nsteps++ % OP_TRAIL] = (struct op_mark){
		.state = state,
		.line = line,
		.at_us = clock_now_us(),
	};
	if (hook != NULL)
		hook(op, state);
}

void
op_set_hook(void (*new_hook)(struct op *op, const char *state))
{
	hook = new_hook;
}

const char *
op_state(const struct op *op)
{
	if (op->nsteps == 0)
		return "START";
	return op->trail[(op->nsteps - 1) % OP_TRAIL].state;
}

int64_t
op_age_ms(const struct op *op)
{
	return (clock_now_us() - op->started_us) / 1000;
}

size_t
op_count(void)
{
	return nlive;
}

void
op_dump(struct buf *out)
{
	const struct op *op;

	LIST_FOREACH (op, &live, link) {
		unsigned i = op->nsteps > OP_TRAIL ? op->nsteps - OP_TRAIL : 0;

		(void)buf_printf(out,
		    "op=%llu name=%s subject=%s age_ms=%lld "
		    "state=%s%s%s trail=",
		    (unsigned long long)op->id, op->cls->name,
		    op->subject != NULL ? op->subject : "-",
		    (long long)op_age_ms(op), op_state(op),
		    err_is_set(&op->err) ? " failing" : "",
		    op->detached ? " detached" : "");
		for (; i < op->nsteps; i++) {
			const struct op_mark *mark = &op->trail[i % OP_TRAIL];

			(void)buf_printf(out, "%s(%d,+%lldms)", mark->state,
			    mark->line,
			    (long long)((mark->at_us - op->started_us) / 1000));
		}
		(void)buf_printf(out, "\n");
	}
}
