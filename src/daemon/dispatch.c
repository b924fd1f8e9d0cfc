/*
 * dispatch.c - the way of every call through rbd-csid.
 *
 *	unpack, validate -> fingerprint -> the same runs or waits: join it
 *	 -> else a new request: lock -> run (Node: here, Controller: in the
 *	    session's worker) -> answer all callers -> unlock
 *
 * The rule that holds it together: a lock belongs to the request, never to a
 * caller. Callers come and go; the request ends only when its execution has
 * reached a safe end, and whoever asks again meanwhile joins it.
 */
#include "daemon/dispatch.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/secret.h"
#include "core/keylock.h"
#include "csi/canonical.h"
#include "daemon/forward.h"
#include "daemon/sessions.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/*
 * How long an execution goes on unasked before it is told that nobody wants
 * it any more. Sidecars give up a call after 10 s and ask again within
 * seconds: stopping at once would let a slow operation start again and again.
 */
#define LINGER_MS 30000

#define PRINT_MAX ((size_t)2 * CSI_MESSAGE_MAX)
#define WHERE_MAX 400

enum request_state {
	REQUEST_NEW = 0, /* nothing is held */
	REQUEST_LOCKED,  /* the lock is ours, or was given up */
	REQUEST_RAN,     /* the execution has ended */
	REQUEST_END,     /* all is given back */
};

struct request {
	struct op op;
	enum request_state state;
	const struct csi_method *method;
	char *key;     /* what it locks, "" without a lock; on the heap */
	char *subject; /* for people */
	unsigned char *body;
	size_t len;
	struct buf print; /* fingerprint */
	struct keylock *locks;
	struct keylock_claim claim;
	TAILQ_HEAD(, caller) callers;
	unsigned joined; /* callers that came after the first one */
	struct timer linger;

	/* Node: the operation, until it is done. */
	struct csi_rpc *rpc;

	/* Controller */
	struct arena *arena;
	const void *message;
	struct forward forward;
	struct session_call call;

	/* the result */
	struct err err;
	unsigned char *reply;
	size_t reply_len;
	char states[SESSION_STATES_MAX];
	LIST_ENTRY(request)
	link;
};

/* One call that waits for a request; lives in the call's arena. */
struct caller {
	struct call *call;
	struct request *request;
	TAILQ_ENTRY(caller)
	link;
};

static struct {
	struct dispatch_setup setup;
	struct {
		const char *name;
		struct keylock *locks;
	} sets[8];
	LIST_HEAD(, request) live;
	size_t count;
	struct timer slow;
	void (*idle)(void);
	struct job idle_job;
} dp;

static enum op_verdict request_step(struct op *op);
static void request_free(struct op *op);
static void on_slow(struct timer *timer);

static const struct op_class request_class = {
	.name = "call",
	.step = request_step,
	.free = request_free,
};

/* ---- words --------------------------------------------------------------- */

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
		session_call_where(&r->call, buf, size);
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

/* "NAME:ms,NAME:ms": how long it was in each state it has passed. */
static void
put_states(const struct op *op, char *buf, size_t size)
{
	unsigned i = op->nsteps > OP_TRAIL ? op->nsteps - OP_TRAIL : 0;
	size_t at = 0;

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

static const char *
put_note(const struct request *r, char *buf, size_t size)
{
	char key[200];

	(void)snprintf(buf, size, "key=%s op=%llu joined=%u%s%s",
	    log_quote(key, sizeof(key), r->key), (unsigned long long)r->op.id,
	    r->joined, *r->states != '\0' ? " states=" : "", r->states);
	return buf;
}

/* ---- callers ------------------------------------------------------------- */

static void
caller_note(const struct caller *caller)
{
	char note[SESSION_STATES_MAX + 300];

	caller->call->note = arena_strdup(call_arena(caller->call),
	    put_note(caller->request, note, sizeof(note)));
}

/* The call's time is up: what is it waiting for? */
static void
caller_too_late(const struct caller *caller)
{
	const struct request *r = caller->request, *owner;
	char where[WHERE_MAX];
	struct err err = ERR_INIT;

	if (r->claim.queue != NULL && !keylock_owns(&r->claim)) {
		owner = container_of(
		    keylock_owner(r->locks, r->key), struct request, claim);
		put_where(owner, where, sizeof(where));
		(void)err_set(&err, ERR_ABORTED,
		    "operation %s on %s %s running for %lld s (%s)",
		    owner->method->name, noun_of(owner->method), owner->key,
		    (long long)(clock_now_ms() - owner->claim.since_ms) / 1000,
		    where);
	} else {
		put_where(r, where, sizeof(where));
		(void)err_set(&err, ERR_DEADLINE_EXCEEDED,
		    "operation %s on %s %s running for %lld s: %s; it goes on, "
		    "ask again",
		    r->method->name, noun_of(r->method), r->key,
		    (long long)op_age_ms(&r->op) / 1000, where);
	}
	call_fail_err(caller->call, &err);
}

/* Nobody waits for the request any more. */
static void
request_abandon(struct request *r)
{
	if (r->claim.queue != NULL && !keylock_owns(&r->claim)) {
		r->op.detached = true;
		keylock_cancel(r->locks, &r->claim);
	} else if (r->call.session != NULL && !r->call.sent) {
		r->op.detached = true;
		session_call_cancel(&r->call);
	} else {
		timer_start(&r->linger, LINGER_MS);
	}
}

static void
on_linger(struct timer *timer)
{
	struct request *r = container_of(timer, struct request, linger);

	r->op.detached = true;
	if (r->rpc != NULL)
		op_detach(&r->rpc->op);
	else if (r->call.session != NULL)
		session_call_cancel(&r->call);
}

static void
on_gone(struct call *call, enum call_gone why)
{
	struct caller *caller = call->data;
	struct request *r = caller->request;

	TAILQ_REMOVE(&r->callers, caller, link);
	caller_note(caller);
	if (why == CALL_DEADLINE)
		caller_too_late(caller); /* the caller is gone after this */
	if (TAILQ_EMPTY(&r->callers))
		request_abandon(r);
}

static void
request_add_caller(struct request *r, struct call *call)
{
	struct caller *caller = arena_new_bytes(
	    call_arena(call), sizeof(*caller));

	timer_stop(&r->linger);
	caller->call = call;
	caller->request = r;
	TAILQ_INSERT_TAIL(&r->callers, caller, link);
	call->data = caller;
	call->gone = on_gone;
	call_default_timeout(call, r->method->timeout_ms);
}

/* ---- running ------------------------------------------------------------- */

static const struct csi_impl *
node_impl(const struct csi_method *method)
{
	for (size_t i = 0; i < dp.setup.node_count; i++)
		if (str_eq(dp.setup.node[i].method, method->name))
			return &dp.setup.node[i];
	return NULL;
}

/* The operation is freed after this: what is needed is copied. */
static void
on_rpc_done(struct op *op, void *arg)
{
	struct csi_rpc *rpc = (struct csi_rpc *)op;
	struct request *r = arg;
	const void *bytes;
	size_t len;

	put_states(op, r->states, sizeof(r->states));
	r->err = op->err;
	r->rpc = NULL;
	if (!err_is_set(&r->err)) {
		bytes = csi_pack(rpc->reply, rpc->arena, &len, &r->err);
		if (bytes != NULL) {
			r->reply = mem_new(len + 1);
			memcpy(r->reply, bytes, len);
			r->reply_len = len;
		}
	}
	op_wake(&r->op, 0);
}

static enum op_verdict
run_node(struct request *r)
{
	if (r->rpc == NULL)
		r->rpc = csi_rpc_new(
		    node_impl(r->method), r->method, r->body, r->len, &r->err);
	if (r->rpc == NULL)
		return op_goto(r, REQUEST_RAN);
	csi_rpc_start(r->rpc, on_rpc_done, r);
	return op_await(r, REQUEST_RAN);
}

static enum op_verdict
run_controller(struct request *r)
{
	const struct caller *first = TAILQ_FIRST(&r->callers);
	struct forward *forward = &r->forward;

	switch (forward_resolve(dp.setup.config, r->method, r->message,
	    r->arena, forward, &r->err)) {
	case FORWARD_FAIL:
	case FORWARD_EMPTY: /* r->reply_len is 0: an empty message */
		return op_goto(r, REQUEST_RAN);
	case FORWARD_CALL:
		break;
	}
	r->call = (struct session_call){
		.method = r->method->path,
		.cluster_id = forward->cluster.cluster_id,
		.monitors = forward->cluster.monitors,
		.rados_namespace = forward->cluster.rados_namespace,
		.body = r->body,
		.len = r->len,
		.deadline_ms = first->call->deadline_ms,
	};
	session_call_start(&r->call, &forward->session, &r->op);
	return op_await(r, REQUEST_RAN);
}

static enum op_verdict
request_run(struct request *r)
{
	if (TAILQ_EMPTY(&r->callers))
		return op_goto(r, REQUEST_END);
	r->op.detached = false;
	r->err = (struct err)ERR_INIT;
	return r->method->run == CSI_RUN_NODE ? run_node(r) : run_controller(r);
}

static void
request_log_end(const struct request *r)
{
	char note[SESSION_STATES_MAX + 300], quoted[ERR_TEXT_MAX + 8];

	log_info("op.end", "method=%s %s code=%s ms=%lld callers=0 text=%s",
	    r->method->name, put_note(r, note, sizeof(note)),
	    err_code_name(r->err.code), (long long)op_age_ms(&r->op),
	    log_quote(quoted, sizeof(quoted), r->err.text));
}

static void
request_answer(struct request *r)
{
	struct caller *caller;

	if (TAILQ_EMPTY(&r->callers))
		request_log_end(r);
	while ((caller = TAILQ_FIRST(&r->callers)) != NULL) {
		TAILQ_REMOVE(&r->callers, caller, link);
		caller_note(caller);
		if (err_is_set(&r->err))
			call_fail_err(caller->call, &r->err);
		else
			call_reply(caller->call, r->reply, r->reply_len);
	}
}

static enum op_verdict
request_ran(struct request *r)
{
	timer_stop(&r->linger);
	if (r->method->run == CSI_RUN_CONTROLLER && r->call.waiter != NULL) {
		r->err = r->call.err;
		r->reply = take_ptr(&r->call.reply);
		r->reply_len = r->call.reply_len;
		memcpy(r->states, r->call.states, sizeof(r->states));
		r->call = (struct session_call){ .id = 0 };
	}
	/* Stopped because nobody wanted it, and then somebody did. */
	if (r->op.detached && r->err.code == ERR_CANCELLED &&
	    !TAILQ_EMPTY(&r->callers)) {
		r->op.rc = 0;
		return op_goto(r, REQUEST_LOCKED);
	}
	request_answer(r);
	return op_goto(r, REQUEST_END);
}

static enum op_verdict
request_step(struct op *op)
{
	struct request *r = (struct request *)op;

	switch (r->state) {
	case REQUEST_NEW:
		if (r->locks == NULL)
			return op_goto(r, REQUEST_LOCKED);
		keylock_take_start(r->locks, &r->claim, r->key, op);
		return op_await(r, REQUEST_LOCKED);

	case REQUEST_LOCKED:
		if (op->rc < 0) /* given up while it waited for the lock */
			return op_goto(r, REQUEST_END);
		return request_run(r);

	case REQUEST_RAN:
		return request_ran(r);

	case REQUEST_END:
		if (keylock_owns(&r->claim))
			keylock_release(r->locks, &r->claim);
		return OP_DONE;
	}
	abort();
}

static void
request_free(struct op *op)
{
	struct request *r = (struct request *)op;

	assert(TAILQ_EMPTY(&r->callers));
	timer_stop(&r->linger);
	LIST_REMOVE(r, link);
	if (r->rpc != NULL) /* never started */
		csi_rpc_free(&r->rpc->op);
	if (r->message != NULL)
		csi_wipe_secrets(r->message);
	arena_free(r->arena);
	secret_wipe(r->body, r->len);
	free(r->body);
	free(r->reply);
	free(r->key);
	free(r->subject);
	buf_fini(&r->print);
	free(r);
	if (--dp.count == 0) {
		timer_stop(&dp.slow);
		if (dp.idle != NULL)
			loop_post(&dp.idle_job);
	}
}

/* ---- arrival ------------------------------------------------------------- */

static struct keylock *
locks_of(const struct csi_method *method)
{
	size_t i = 0;

	if (method->lock == NULL)
		return NULL;
	for (; dp.sets[i].name != NULL; i++)
		if (str_eq(dp.sets[i].name, method->lock))
			return dp.sets[i].locks;
	assert(i + 1 < countof(dp.sets));
	dp.sets[i].name = method->lock;
	dp.sets[i].locks = keylock_new();
	return dp.sets[i].locks;
}

/* Unpacks and validates as the method's place needs it. */
static int
request_parse(struct request *r, const struct call *call, struct err *err)
{
	const void *message;

	if (r->method->run == CSI_RUN_NODE) {
		r->rpc = csi_rpc_new(node_impl(r->method), r->method,
		    call->request, call->request_len, err);
		if (r->rpc == NULL)
			return err->rc;
		message = r->rpc->request;
	} else {
		r->arena = csi_arena_new();
		r->message = csi_unpack(r->method->request, r->arena,
		    call->request, call->request_len, err);
		if (r->message == NULL ||
		    r->method->validate(r->message, err) < 0)
			return err->rc;
		message = r->message;
	}
	r->key = str_dup(r->method->key != NULL ? r->method->key(message) : "");
	r->subject = str_fmt("%s %s", r->method->name, r->key);
	r->op.subject = r->subject;
	if (csi_canonical(r->method, message, &r->print) < 0)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
		    "the request has more fields than fit");
	return 0;
}

static struct request *
request_new(const struct csi_method *method)
{
	struct request *r = mem_new(sizeof(*r));

	r->method = method;
	r->linger.fire = on_linger;
	TAILQ_INIT(&r->callers);
	buf_init(&r->print, PRINT_MAX);
	LIST_INSERT_HEAD(&dp.live, r, link);
	if (dp.count++ == 0 && dp.setup.slow_ms > 0)
		timer_start(&dp.slow, dp.setup.slow_ms);
	return r;
}

/* The request that runs or waits and is the same, or NULL. */
static struct request *
request_same(const struct request *r)
{
	struct keylock_claim *claim;

	if (r->locks == NULL)
		return NULL;
	claim = keylock_find(r->locks, r->key, r->print.data, r->print.len);
	return claim != NULL ? container_of(claim, struct request, claim)
			     : NULL;
}

static void
dispatch_request(struct call *call, const struct csi_method *method)
{
	struct request *r = request_new(method), *same;
	struct err err = ERR_INIT;

	if (request_parse(r, call, &err) < 0) {
		call_fail_err(call, &err);
		request_free(&r->op);
		return;
	}
	r->locks = locks_of(method);
	same = request_same(r);
	if (same != NULL) {
		same->joined++;
		request_add_caller(same, call);
		request_free(&r->op);
		return;
	}
	r->body = mem_new(call->request_len + 1);
	memcpy(r->body, call->request, call->request_len);
	r->len = call->request_len;
	r->claim.what = method->name;
	r->claim.print = r->print.data;
	r->claim.print_len = r->print.len;
	request_add_caller(r, call);
	op_start(&r->op, &request_class, NULL, NULL);
}

static void
dispatch_instant(struct call *call, const struct csi_method *method)
{
	struct arena *arena = csi_arena_new();
	struct err err = ERR_INIT;
	const void *reply = NULL, *bytes = NULL;
	size_t len;

	if (csi_unpack(method->request, arena, call->request, call->request_len,
		&err) != NULL)
		reply = identity_reply(&dp.setup.identity, method, arena);
	if (reply != NULL)
		bytes = csi_pack(reply, arena, &len, &err);
	if (bytes != NULL)
		call_reply(call, bytes, len);
	else
		call_fail_err(call, &err);
	arena_free(arena);
}

/*
 * NodeGetCapabilities is answered by a controller, too: external-resizer asks
 * for it on the controller's socket and ends when it gets an error.
 */
static bool
is_served_here(const struct csi_method *method)
{
	const struct identity *who = &dp.setup.identity;

	if (str_eq(method->service, "Controller"))
		return who->controller;
	if (str_eq(method->service, "Node"))
		return who->node || str_eq(method->name, "NodeGetCapabilities");
	return true;
}

void
dispatch_call(struct call *call)
{
	const struct csi_method *method = csi_method_find(call->path);
	struct err err = ERR_INIT;

	if (method == NULL)
		(void)err_set(
		    &err, ERR_UNIMPLEMENTED, "unknown method %s", call->path);
	else if (!method->served)
		(void)err_set(&err, ERR_UNIMPLEMENTED,
		    "%s is not served by this driver", method->name);
	else if (!is_served_here(method))
		(void)err_set(&err, ERR_UNIMPLEMENTED,
		    "%s: this process does not serve the %s service",
		    method->name, method->service);
	else if (method->run == CSI_RUN_NODE && node_impl(method) == NULL)
		(void)err_set(&err, ERR_UNIMPLEMENTED,
		    "%s is not served on this node", method->name);
	if (err_is_set(&err))
		call_fail_err(call, &err);
	else if (method->run == CSI_RUN_INSTANT)
		dispatch_instant(call, method);
	else
		dispatch_request(call, method);
}

/* ---- all of them --------------------------------------------------------- */

static void
on_slow(struct timer *timer)
{
	const struct request *r;
	char where[WHERE_MAX], key[200];

	LIST_FOREACH (r, &dp.live, link) {
		if (op_age_ms(&r->op) < dp.setup.slow_ms)
			continue;
		put_where(r, where, sizeof(where));
		log_warn("op.slow",
		    "method=%s key=%s op=%llu ms=%lld state=%s "
		    "%s",
		    r->method->name, log_quote(key, sizeof(key), r->key),
		    (unsigned long long)r->op.id, (long long)op_age_ms(&r->op),
		    op_state(&r->op), where);
	}
	timer_start(timer, dp.setup.slow_ms);
}

static void
on_idle(struct job *job)
{
	void (*idle)(void) = dp.idle;

	(void)job;
	if (idle == NULL || dp.count > 0)
		return;
	dp.idle = NULL;
	idle();
}

void
dispatch_init(const struct dispatch_setup *setup)
{
	memset(&dp, 0, sizeof(dp));
	dp.setup = *setup;
	dp.slow.fire = on_slow;
	dp.idle_job.run = on_idle;
	LIST_INIT(&dp.live);
}

void
dispatch_fini(void)
{
	assert(dp.count == 0);
	loop_unpost(&dp.idle_job);
	for (size_t i = 0; dp.sets[i].name != NULL; i++)
		keylock_free(dp.sets[i].locks);
}

size_t
dispatch_running(void)
{
	return dp.count;
}

void
dispatch_when_idle(void (*idle)(void))
{
	dp.idle = idle;
	if (dp.count == 0 && !dp.idle_job.queued)
		loop_post(&dp.idle_job);
}
