/*
 * operations.c - Admin/ListOperations: the live operations as they are, of
 * those that are requests what request.h and sessions.h know beside that, and
 * what workers do in the background.
 */
#include "daemon/operations.h"

#include "admin.pb-c.h"
#include "base/clock.h"
#include "daemon/request.h"
#include "daemon/sessions.h"
#include "rpc/watch.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* How often is looked, while somebody watches: no caller sees more. */
#define LOOK_MS 500

static int operations_tell(struct watcher *w, struct err *err);

static struct watched watch = { .tell = operations_tell };
static struct timer look;

static Rbdcsi__Admin__V1__Operation *
operation_of(const struct op *op, struct arena *arena)
{
	Rbdcsi__Admin__V1__Operation *out = csi_new(
	    &rbdcsi__admin__v1__operation__descriptor, arena);
	const struct request *r = request_of(op);
	const struct caller *caller;

	out->id = op->id;
	out->name = arena_strdup(arena, op->cls->name);
	out->subject = arena_strdup(
	    arena, op->subject != NULL ? op->subject : "");
	out->age_ms = (uint64_t)op_age_ms(op);
	out->state = arena_strdup(arena, op->state_name);
	out->state_ms = (uint64_t)(clock_now_us() - op->since_us) / 1000;
	out->detached = op->detached;
	out->failing = err_is_set(&op->err);
	if (r == NULL)
		return out;
	out->name = arena_strdup(arena, r->in.def->name);
	out->subject = arena_strdup(arena, r->key);
	out->detached = TAILQ_EMPTY(&r->callers);
	TAILQ_FOREACH (caller, &r->callers, link)
		out->callers++;
	if (r->call.session != NULL)
		out->worker_state = arena_strdup(
		    arena, sessions_call_state(&r->call));
	return out;
}

struct listing {
	struct arena *arena;
	Rbdcsi__Admin__V1__ListOperationsResponse *reply;
};

static void
count_background(const struct session_background *background, void *arg)
{
	size_t *count = arg;

	(void)background;
	++*count;
}

static void
add_background(const struct session_background *b, void *arg)
{
	struct listing *list = arg;
	Rbdcsi__Admin__V1__Operation *out = csi_new(
	    &rbdcsi__admin__v1__operation__descriptor, list->arena);
	uint64_t since_ms = (uint64_t)(clock_now_ms() - b->told_ms);

	out->id = b->id;
	out->name = arena_strdup(list->arena, b->name);
	out->subject = arena_strdup(list->arena, b->subject);
	out->age_ms = b->age_ms + since_ms;
	out->state = arena_strdup(list->arena, b->state);
	out->state_ms = b->state_ms + since_ms;
	out->detached = true;
	list->reply->operations[list->reply->n_operations++] = out;
}

static Rbdcsi__Admin__V1__ListOperationsResponse *
list(struct arena *arena)
{
	Rbdcsi__Admin__V1__ListOperationsResponse *reply = csi_new(
	    &rbdcsi__admin__v1__list_operations_response__descriptor, arena);
	struct listing all = { .arena = arena, .reply = reply };
	size_t count = op_count();

	sessions_each_background(count_background, &count);
	reply->operations = arena_new_bytes(
	    arena, (count + 1) * sizeof(*reply->operations));
	for (const struct op *o = op_next(NULL); o != NULL; o = op_next(o))
		reply->operations[reply->n_operations++] = operation_of(
		    o, arena);
	sessions_each_background(add_background, &all);
	return reply;
}

/* Another one when an operation has begun, changed its state, or ended. */
static uint64_t
print_of(const Rbdcsi__Admin__V1__ListOperationsResponse *reply)
{
	uint64_t print = STR_HASH_SEED;

	for (size_t i = 0; i < reply->n_operations; i++) {
		const Rbdcsi__Admin__V1__Operation *op = reply->operations[i];
		char numbers[80];

		(void)!str_put(numbers, sizeof(numbers), "%" PRIu64 " %u %d%d",
		    op->id, op->callers, op->detached, op->failing);
		print = str_hash(print, numbers);
		print = str_hash(print, op->state);
		print = str_hash(print, op->worker_state);
	}
	return print != 0 ? print : 1;
}

/* Shown is a list by its print. */
static int
operations_tell(struct watcher *w, struct err *err)
{
	struct arena *arena = csi_arena_new();
	const Rbdcsi__Admin__V1__ListOperationsResponse *reply = list(arena);
	uint64_t print = print_of(reply);
	const void *bytes = NULL;
	size_t len;
	int rc = 0;

	if (print != w->shown) {
		bytes = csi_pack(reply, arena, &len, err);
		rc = bytes != NULL ? stream_send(w->call, bytes, len) : -ENOMEM;
	}
	arena_free(arena);
	if (rc == 0)
		w->shown = print;
	else if (bytes != NULL)
		(void)err_set_rc(err, rc, "the list cannot be sent");
	return rc;
}

/* Looks on as long as somebody watches. */
static void
on_look(struct timer *timer)
{
	if (watch_tell(&watch))
		timer_arm(timer, LOOK_MS);
}

void
operations_list(struct call *call)
{
	struct arena *arena = call_arena(call);
	struct err err = ERR_INIT;
	const Rbdcsi__Admin__V1__ListOperationsRequest *request = csi_unpack(
	    &rbdcsi__admin__v1__list_operations_request__descriptor, arena,
	    call->request, call->request_len, &err);
	const void *bytes = NULL;
	size_t len;

	if (request != NULL && !request->watch)
		bytes = csi_pack(list(arena), arena, &len, &err);
	if (bytes != NULL) {
		call_reply(call, bytes, len);
		return;
	}
	if (err_is_set(&err)) {
		call_fail_err(call, &err);
		return;
	}
	if (!timer_is_running(&look)) {
		look.fire = on_look;
		timer_arm(&look, LOOK_MS);
	}
	watch_add(&watch, call, 0);
}
