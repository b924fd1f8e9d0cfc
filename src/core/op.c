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
op_woken(struct wake *wake, int rc)
{
	struct op *op = container_of(wake, struct op, wake);
	enum op_verdict verdict;
	struct wake *waiter = op->waiter;

	assert(op->waiting);
	op->waiting = false;
	op->rc = rc;
	while ((verdict = op->cls->step(op)) == OP_AGAIN)
		;
	if (verdict == OP_WAIT) {
		op->waiting = true;
		return;
	}
	rc = op->err.rc;
	LIST_REMOVE(op, link);
	nlive--;
	if (op->cls->end != NULL)
		op->cls->end(op);
	wake_up(waiter, rc);
}

void
op_start(struct op *op, const struct op_class *cls, struct wake *waiter)
{
	op->wake.fn = op_woken;
	op->cls = cls;
	op->id = ++last_id;
	op->waiting = true;
	op->detached = false;
	op->waiter = waiter;
	if (op->subject == NULL && waiter != NULL && waiter->fn == op_woken)
		op->subject = container_of(waiter, struct op, wake)->subject;
	op->state_name = "START";
	op->started_us = op->since_us = clock_now_us();
	if (op->trail != NULL)
		op->trail->count = 0;
	op->err = (struct err)ERR_INIT;
	LIST_INSERT_HEAD(&live, op, link);
	nlive++;
	wake_up(&op->wake, 0);
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
op_mark(struct op *op, const char *state)
{
	op->state_name = state;
	op->since_us = clock_now_us();
	if (op->trail != NULL)
		op->trail->mark[op->trail->count++ % OP_TRAIL] =
		    (struct op_mark){ state, op->since_us };
	log_debug("op.state", "op=%llu name=%s subject=%s state=%s",
	    (unsigned long long)op->id, op->cls->name,
	    op->subject != NULL ? op->subject : "-", state);
	if (hook != NULL)
		hook(op, state);
}

const char *
op_trail_at(const struct op_trail *trail, unsigned i, int64_t *us)
{
	const struct op_mark *mark, *next;

	if (trail == NULL)
		return NULL;
	if (trail->count > OP_TRAIL)
		i += trail->count - OP_TRAIL;
	if (i >= trail->count)
		return NULL;
	mark = &trail->mark[i % OP_TRAIL];
	next = &trail->mark[(i + 1) % OP_TRAIL];
	*us = (i + 1 < trail->count ? next->at_us : clock_now_us()) -
	    mark->at_us;
	return mark->state;
}

size_t
op_trail_put(char *buf, size_t size, size_t at, const char *state, int64_t us)
{
	uint64_t tenths = ((uint64_t)us + 50) / 100;
	size_t len = strlen(state), from = 24;
	char ms[24];

	if (at >= size)
		return size;
	/* No snprintf(): this runs often. */
	ms[--from] = (char)('0' + tenths % 10);
	ms[--from] = '.';
	do {
		tenths /= 10;
		ms[--from] = (char)('0' + tenths % 10);
	} while (tenths >= 10);
	if (at + len + sizeof(",:") + sizeof(ms) - from > size) {
		buf[at] = '\0';
		return size;
	}
	if (at > 0)
		buf[at++] = ',';
	memcpy(buf + at, state, len);
	at += len;
	buf[at++] = ':';
	memcpy(buf + at, ms + from, sizeof(ms) - from);
	at += sizeof(ms) - from;
	buf[at] = '\0';
	return at;
}

void
op_set_hook(void (*new_hook)(struct op *op, const char *state))
{
	hook = new_hook;
}

int64_t
op_age_ms(const struct op *op)
{
	return (clock_now_us() - op->started_us) / 1000;
}

struct op *
op_next(const struct op *op)
{
	return op == NULL ? LIST_FIRST(&live) : LIST_NEXT(op, link);
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
	char quoted[400];
	const char *state;
	int64_t us;

	LIST_FOREACH (op, &live, link) {
		(void)buf_printf(out,
		    "op=%llu name=%s subject=%s age_ms=%lld state=%s%s%s",
		    (unsigned long long)op->id, op->cls->name,
		    log_quote(quoted, sizeof(quoted), op->subject),
		    (long long)op_age_ms(op), op->state_name,
		    err_is_set(&op->err) ? " failing" : "",
		    op->detached ? " detached" : "");
		for (unsigned i = 0;
		     (state = op_trail_at(op->trail, i, &us)) != NULL; i++)
			(void)buf_printf(out, "%s%s:%.1f",
			    i == 0 ? " trail=" : ",", state, (double)us / 1000);
		(void)buf_printf(out, "\n");
	}
}
