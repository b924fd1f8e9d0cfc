/*
 * request_text.c - what people read about a request: why it takes so long,
 * and what it did.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/pb.h"
#include "csi/reflect.h"
#include "daemon/request.h"
#include "grpc/status.pb-c.h"

#include <stdio.h>
#include <string.h>

#define VALUE_MAX 200 /* of a field, in quotes */
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

const char *
request_state_name(const struct request *r)
{
	if (r->rpc != NULL)
		return r->rpc->op.state_name;
	return request_waits(r) == NULL && r->in.def->place == CSI_WORKER
	    ? sessions_call_state(&r->call)
	    : r->op.state_name;
}

void
request_note_states(struct request *r, const struct op *op)
{
	const char *state;
	size_t at = 0;
	int64_t us;

	*r->states = '\0';
	for (unsigned i = 0; (state = op_trail_at(op->trail, i, &us)) != NULL;
	     i++)
		at = op_trail_put(r->states, sizeof(r->states), at, state, us);
}

/* One more key="value"; no snprintf(), as each call has some. */
static void
put_field(char *buf, size_t size, const char *key, const char *value)
{
	size_t at = strlen(buf), len = strlen(key);
	size_t room = size - at;

	if (*value == '\0' || room < len + sizeof(" =\"\""))
		return;
	if (at > 0)
		buf[at++] = ' ';
	memcpy(buf + at, key, len);
	at += len;
	buf[at++] = '=';
	room = size - at;
	(void)log_quote(buf + at, room < VALUE_MAX ? room : VALUE_MAX, value);
}

static void
put_bytes(char *buf, size_t size, const char *key, struct pb value)
{
	char text[VALUE_MAX];
	size_t len = value.len < sizeof(text) ? value.len : sizeof(text) - 1;

	if (len > 0)
		memcpy(text, value.at, len);
	text[len] = '\0';
	put_field(buf, size, key, text);
}

/*
 * What a volume or snapshot that was made is called from now on, read from the
 * reply's bytes, as all else in there is of no interest. Field 1 is the volume
 * or the snapshot, of which 2 is the identifier, and 3 a volume's context.
 */
static void
put_made(const struct request *r, char *buf, size_t size)
{
	struct pb made = pb_get(
	    (struct pb){ .at = r->reply, .len = r->reply_len }, 1);
	struct pb_field field;

	if (r->in.def == &csi_definitions[CSI_CREATE_SNAPSHOT])
		put_bytes(buf, size, "snapshot", pb_get(made, 2));
	if (r->in.def != &csi_definitions[CSI_CREATE_VOLUME])
		return;
	put_bytes(buf, size, "volume", pb_get(made, 2));
	while (pb_next(&made, &field) > 0)
		if (field.number == 3 && field.has_bytes &&
		    pb_is(pb_get(field.bytes, 1), "imageName"))
			put_bytes(buf, size, "image", pb_get(field.bytes, 2));
}

/* The fields by which a request names what it is about, and their keys. */
static const struct {
	const char *field, *key;
} named[] = { { "name", "name" }, { "volume_id", "volume" },
	{ "source_volume_id", "volume" }, { "snapshot_id", "snapshot" },
	{ "node_id", "node" }, { "target_path", "path" },
	{ "volume_path", "path" } };

/* It was not unpacked, or is no more: nothing but these is looked at. */
void
request_note_refused(struct call *call, const struct csi_definition *def)
{
	const struct pb bytes = { .at = call->request,
		.len = call->request_len };
	char note[REQUEST_NOTE_MAX] = "";

	for (size_t i = 0; i < countof(named); i++) {
		const ProtobufCFieldDescriptor *field =
		    protobuf_c_message_descriptor_get_field_by_name(
			def->request, named[i].field);
		struct pb value = { .len = 0 };

		if (field != NULL && field->type == PROTOBUF_C_TYPE_STRING)
			value = pb_get(bytes, field->id);
		put_bytes(note, sizeof(note), named[i].key, value);
	}
	call->note = arena_strdup(call_arena(call), note);
}

/* Which volume, and what else a request names, as key=value pairs. */
static const char *
put_subject(const struct request *r, char *buf, size_t size)
{
	*buf = '\0';
	for (size_t i = 0; i < countof(named); i++)
		put_field(buf, size, named[i].key,
		    reflect_text(r->in.message, named[i].field));
	if (r->reply != NULL && !err_is_set(&r->err))
		put_made(r, buf, size);
	return buf;
}

const char *
request_note(const struct request *r, char *buf, size_t size)
{
	size_t at;

	(void)put_subject(r, buf, size);
	at = strlen(buf);
	(void)snprintf(buf + at, size - at, "%sop=%llu joined=%u%s%s",
	    at > 0 ? " " : "", (unsigned long long)r->op.id, r->joined,
	    *r->states != '\0' ? " states=" : "", r->states);
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
		{ "state", request_state_name(owner) },
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

	log_line(err_is_callers(r->err.code) ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
	    "op.end", "method=%s %s code=%s ms=%lld callers=0 text=%s",
	    r->in.def->name, request_note(r, note, sizeof(note)),
	    err_code_name(r->err.code), (long long)op_age_ms(&r->op),
	    log_quote(quoted, sizeof(quoted), r->err.text));
}

void
request_log_slow(const struct request *r)
{
	char where[WHERE_MAX], subject[REQUEST_NOTE_MAX];

	put_where(r, where, sizeof(where));
	log_warn("op.slow", "method=%s %s op=%llu ms=%lld state=%s text=%s",
	    r->in.def->name, put_subject(r, subject, sizeof(subject)),
	    (unsigned long long)r->op.id, (long long)op_age_ms(&r->op),
	    request_state_name(r), where);
}
