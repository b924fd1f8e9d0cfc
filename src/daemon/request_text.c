/*
 * request_text.c - what people read about a request: why it takes so long,
 * and what it did.
 */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/request.h"

#include <stdio.h>

#define WHERE_MAX 400

static const char *
noun_of(const struct csi_method *method)
{
	if (str_eq(method->lock, "path") || str_eq(method->lock, "stats"))
		return "path";
	return "volume";
}

static void
put_where(const struct request *r, char *buf, size_t size)
{
	const struct op *op = r->rpc != NULL ? &r->rpc->op : NULL;

	if (op == NULL && r->method->run == CSI_RUN_CONTROLLER) {
		sessions_call_where(&r->call, buf, size);
		return;
	}
	if (op == NULL || op->nsteps == 0) {
		(void)snprintf(buf, size, "starting");
		return;
	}
	(void)snprintf(buf, size, "in state %s for %lld s", op_state(op),
	    (long long)(clock_now_us() -
		op->trail[(op->nsteps - 1) % OP_TRAIL].at_us) /
		1000000);
}

void
request_note_states(struct request *r, const struct op *op)
{
	unsigned i = op->nsteps > OP_TRAIL ? op->nsteps - OP_TRAIL : 0;
	char *buf = r->states;
	size_t size = sizeof(r->states), at = 0;

	*buf = '\0';
	for (; i < op->nsteps; i++) {
		const struct op_mark *mark = &op->trail[i % OP_TRAIL];
		int64_t until_us = i + 1 < op->nsteps
		    ? op->trail[(i + 1) % OP_TRAIL].at_us
		    : clock_now_us();
		int n = snprintf(buf + at, size - at, "%s%s:%.1f",
		    at > 0 ? "," : "", mark->state,
		    (double)(until_us - mark->at_us) / 1000);

		if (n < 0 || (size_t)n >= size - at) {
			buf[at] = '\0';
			return;
		}
		at += (size_t)n;
	}
}

const char *
request_note(const struct request *r, char *buf, size_t size)
{
	char key[200];

	(void)snprintf(buf, size, "key=%s op=%llu joined=%u%s%s",
	    log_quote(key, sizeof(key), r->key), (unsigned long long)r->op.id,
	    r->joined, *r->states != '\0' ? " states=" : "", r->states);
	return buf;
}

void
request_why_late(const struct request *r, struct err *err)
{
	const struct request *owner;
	char where[WHERE_MAX];

	if (r->claim.queue != NULL && !keylock_owns(&r->claim)) {
		owner = container_of(
		    keylock_owner(r->locks, r->key), struct request, claim);
		put_where(owner, where, sizeof(where));
		(void)err_set(err, ERR_ABORTED,
		    "operation %s on %s %s running for %lld s (%s)",
		    owner->method->name, noun_of(owner->method), owner->key,
		    (long long)(clock_now_ms() - owner->claim.since_ms) / 1000,
		    where);
	} else {
		put_where(r, where, sizeof(where));
		(void)err_set(err, ERR_DEADLINE_EXCEEDED,
		    "operation %s on %s %s running for %lld s: %s; it goes on, "
		    "ask again",
		    r->method->name, noun_of(r->method), r->key,
		    (long long)op_age_ms(&r->op) / 1000, where);
	}
}

void
request_log_end(const struct request *r)
{
	char note[REQUEST_NOTE_MAX], quoted[ERR_TEXT_MAX + 8];

	log_info("op.end", "method=%s %s code=%s ms=%lld callers=0 text=%s",
	    r->method->name, request_note(r, note, sizeof(note)),
	    err_code_name(r->err.code), (long long)op_age_ms(&r->op),
	    log_quote(quoted, sizeof(quoted), r->err.text));
}

void
request_log_slow(const struct request *r)
{
	char where[WHERE_MAX], key[200];

	put_where(r, where, sizeof(where));
	log_warn("op.slow", "method=%s key=%s op=%llu ms=%lld state=%s %s",
	    r->method->name, log_quote(key, sizeof(key), r->key),
	    (unsigned long long)r->op.id, (long long)op_age_ms(&r->op),
	    op_state(&r->op), where);
}
