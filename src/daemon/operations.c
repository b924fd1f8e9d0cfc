/*
 * operations.c - Admin/ListOperations: the live operations as they are, of
 * those that are requests what request.h and sessions.h know beside that, and
 * what workers do in the background.
 *
 * The rule that holds it together: who watches is sent how it is when it can
 * be sent, never a queue of what has passed.
 */
#include "daemon/operations.h"

#include "admin.pb-c.h"
#include "base/clock.h"
#include "daemon/request.h"
#include "daemon/sessions.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/queue.h>

/* How often is looked, while somebody watches: no caller sees more. */
#define LOOK_MS 500

/* A call that wants to be told of changes. */
struct ops_watcher {
	struct call *call;
	uint64_t shown; /* the print of what it was sent last; 0: nothing */
	LIST_ENTRY(ops_watcher) link;
};

static struct {
	LIST_HEAD(, ops_watcher) watchers;
	struct timer timer;
} ops = { .watchers = LIST_HEAD_INITIALIZER(ops.watchers) };

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

static void
watcher_free(struct ops_watcher *w)
{
	LIST_REMOVE(w, link);
	free(w);
	if (LIST_EMPTY(&ops.watchers))
		timer_disarm(&ops.timer);
}

static void
watcher_tell(struct call *call)
{
	struct ops_watcher *w = call->data;
	struct arena *arena = csi_arena_new();
	const Rbdcsi__Admin__V1__ListOperationsResponse *reply = list(arena);
	uint64_t print = print_of(reply);
	struct err err = ERR_INIT;
	const void *bytes = NULL;
	size_t len;
	int rc = 0;

	if (print != w->shown) {
		bytes = csi_pack(reply, arena, &len, &err);
		rc = bytes != NULL ? stream_send(call, bytes, len) : -ENOMEM;
	}
	arena_free(arena);
	if (rc == 0)
		w->shown = print;
	if (rc == 0 || rc == -EAGAIN)
		return;
	if (!err_is_set(&err))
		(void)err_set_rc(&err, rc, "the list cannot be sent");
	call_fail_err(call, &err);
	watcher_free(w);
}

static void
on_look(struct timer *timer)
{
	struct ops_watcher *w, *next;

	for (w = LIST_FIRST(&ops.watchers); w != NULL; w = next) {
		next = LIST_NEXT(w, link);
		watcher_tell(w->call);
	}
	if (!LIST_EMPTY(&ops.watchers))
		timer_arm(timer, LOOK_MS);
}

static void
watcher_gone(struct call *call, enum call_gone why)
{
	(void)why;
	watcher_free(call->data);
}

static void
watcher_leave(struct call *call)
{
	watcher_free(call->data);
	call_fail(call, ERR_UNAVAILABLE, "server is shutting down");
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
	struct ops_watcher *w;
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
	w = mem_new(sizeof(*w));
	w->call = call;
	if (LIST_EMPTY(&ops.watchers)) {
		ops.timer.fire = on_look;
		timer_arm(&ops.timer, LOOK_MS);
	}
	LIST_INSERT_HEAD(&ops.watchers, w, link);
	call->data = w;
	call->gone = watcher_gone;
	call->writable = watcher_tell;
	call->leaving = watcher_leave;
	watcher_tell(call);
}
