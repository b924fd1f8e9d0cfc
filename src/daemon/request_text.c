/*
 * request_text.c - what people read about a request: why it takes so long,
 * and what it did.
 */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/request.h"
#include "grpc/status.pb-c.h"

#include <stdio.h>

#define WHERE_MAX 400
#define INFO_MAX 4096 /* more than a target path can have */

static void
put_where(const struct request *r, char *buf, size_t size)
{
	const struct op *op = r->rpc != NULL ? &r->rpc->op : NULL;

	if (op == NULL && r->in.def->place == CSI_WORKER) {
		sessions_call_where(&r->call, buf, size);
		return;
	}
	if (op == NULL || op->trail->count == 0) {
		(void)snprintf(buf, size, "starting");
		return;
	}
	(void)snprintf(buf, size, "in state %s for %lld s", op->state_name,
	    (long long)(clock_now_us() - op->since_us) / 1000000);
}

void
request_note_states(struct request *r, const struct op *op)
{
	char *buf = r->states;
	size_t size = sizeof(r->states), at = 0;
	const char *state;
	int64_t us;

	*buf = '\0';
	for (unsigned i = 0; (state = op_trail_at(op->trail, i, &us)) != NULL;
	     i++) {
		int n = snprintf(buf + at, size - at, "%s%s:%.1f",
		    at > 0 ? "," : "", state, (double)us / 1000);

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

/*
 * What is in the way: who has the lock that `r` waits for, or its own
 * execution. Says it to people, and to programs, as docs/GRPC.md has it, by a
 * google.rpc.ErrorInfo.
 */
void
request_fail_late(
    const struct request *r, const char *domain, struct call *call)
{
	const struct request_lock *lock = request_waits(r);
	const struct request *owner = lock == NULL
	    ? r
	    : container_of(keylock_owner(lock->locks, lock->key),
		  struct request_lock, claim)
		  ->request;
	const char *name = owner->in.def->name, *noun = owner->in.def->noun;
	long long ms = owner == r
	    ? op_age_ms(&r->op)
	    : clock_now_ms() - owner->lock[0].claim.since_ms;
	char where[WHERE_MAX], age_ms[24];
	const struct {
		const char *name, *value;
	} metadata[] = {
		{ "operation", name },
		{ "subject", owner->key },
		{ "state",
		    owner->rpc != NULL ? owner->rpc->op.state_name
			: owner->in.def->place == CSI_WORKER
			? sessions_call_state(&owner->call)
			: owner->op.state_name },
		{ "age_ms", age_ms },
	};
	Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
	Google__Rpc__ErrorInfo__MetadataEntry entries[countof(metadata)];
	Google__Rpc__ErrorInfo__MetadataEntry *pointers[countof(metadata)];
	struct err err = ERR_INIT;
	uint8_t out[INFO_MAX];

	put_where(owner, where, sizeof(where));
	if (owner != r)
		(void)err_set(&err, ERR_ABORTED,
		    "operation %s on %s %s running for %lld s (%s)", name, noun,
		    owner->key, ms / 1000, where);
	else
		(void)err_set(&err, ERR_DEADLINE_EXCEEDED,
		    "operation %s on %s %s running for %lld s: %s; it goes on, ask again",
		    name, noun, r->key, ms / 1000, where);
	(void)snprintf(age_ms, sizeof(age_ms), "%lld", ms);
	info.reason = (char *)(uintptr_t)(owner != r ? "VOLUME_LOCKED"
						     : "OPERATION_RUNNING");
	info.domain = (char *)(uintptr_t)domain;
	info.metadata = pointers;
	for (size_t i = 0; i < countof(metadata); i++) {
		google__rpc__error_info__metadata_entry__init(&entries[i]);
		entries[i].key = (char *)(uintptr_t)metadata[i].name;
		entries[i].value = (char *)(uintptr_t)metadata[i].value;
		pointers[info.n_metadata++] = &entries[i];
	}
	if (google__rpc__error_info__get_packed_size(&info) > sizeof(out))
		call_fail_err(call, &err);
	else
		call_fail_details(call, &err,
		    &(const struct call_details){
			.type = "google.rpc.ErrorInfo",
			.bytes = out,
			.len = google__rpc__error_info__pack(&info, out) });
}

void
request_log_end(const struct request *r)
{
	char note[REQUEST_NOTE_MAX], quoted[ERR_TEXT_MAX + 8];

	log_info("op.end", "method=%s %s code=%s ms=%lld callers=0 text=%s",
	    r->in.def->name, request_note(r, note, sizeof(note)),
	    err_code_name(r->err.code), (long long)op_age_ms(&r->op),
	    log_quote(quoted, sizeof(quoted), r->err.text));
}

void
request_log_slow(const struct request *r)
{
	char where[WHERE_MAX], key[200];

	put_where(r, where, sizeof(where));
	log_warn("op.slow", "method=%s key=%s op=%llu ms=%lld state=%s %s",
	    r->in.def->name, log_quote(key, sizeof(key), r->key),
	    (unsigned long long)r->op.id, (long long)op_age_ms(&r->op),
	    r->op.state_name, where);
}
