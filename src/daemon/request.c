/*
 * request.c - the states of a request, its callers, and all requests.
 */
#include "daemon/request.h"

#include "base/clock.h"
#include "base/secret.h"
#include "daemon/kube.h"
#include "daemon/trace.h"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <string.h>

/*
 * How long an execution goes on unasked before it is told that nobody wants
 * it any more. Sidecars give up a call after 10 s and ask again within
 * seconds: stopping at once would let a slow operation start again and again.
 * While the daemon drains nobody can ask again, so there it is told at once.
 */
#define LINGER_MS 30000

#define DEFAULT_MAX 4096

/*
 * A request and what is unpacked from it stay as long as its execution. Those
 * of the usual size are bounded by their number, larger ones by their bytes.
 */
#define USUAL_BYTES ((size_t)4 << 10)
#define LARGE_BYTES_MAX ((size_t)16 << 20)

/* When so much of them has gone, memory goes back to the kernel. */
#define TRIM_BYTES ((size_t)1 << 20)
#define TRIM_REQUESTS 256

static struct {
	struct requests_setup setup;
	struct keylock *locks[CSI_LOCK_COUNT];
	LIST_HEAD(, request) live;
	size_t count;
	size_t large_bytes; /* of the requests that are larger than usual */
	size_t count_peak, large_peak; /* the most since there were none */
	struct requests_stats stats;   /* what is counted since the start */
	struct timer slow;
	void (*idle)(void);
	struct job idle_job;
} rq;

static enum op_verdict request_step(struct op *op);
static void request_free(struct op *op);

static const struct op_class request_class = {
	.name = "call",
	.step = request_step,
	.end = request_free,
};

/* ---- callers ------------------------------------------------------------- */

static void
caller_note(const struct caller *caller)
{
	char note[REQUEST_NOTE_MAX];

	caller->call->note = arena_strdup(call_arena(caller->call),
	    request_note(caller->request, note, sizeof(note)));
}

const struct request_lock *
request_waits(const struct request *r)
{
	for (size_t i = 0; i < CSI_LOCKS_MAX; i++)
		if (r->lock[i].claim.queue != NULL &&
		    !keylock_owns(&r->lock[i].claim))
			return &r->lock[i];
	return NULL;
}

/* Nobody waits for the request any more. */
static void
request_abandon(struct request *r)
{
	const struct request_lock *lock = request_waits(r);

	if (lock != NULL) {
		r->op.detached = true;
		keylock_cancel(lock->locks, &r->lock[lock - r->lock].claim);
	} else if (r->call.waits) {
		r->op.detached = true;
		sessions_call_cancel(&r->call);
	} else {
		timer_arm(&r->linger, rq.idle == NULL ? LINGER_MS : 0);
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
		sessions_call_cancel(&r->call);
}

static void
on_gone(struct call *call, enum call_gone why)
{
	struct caller *caller = call->data;
	struct request *r = caller->request;

	TAILQ_REMOVE(&r->callers, caller, link);
	caller_note(caller);
	if (why == CALL_DEADLINE) /* frees the caller */
		request_fail_late(r, rq.setup.driver_name, call);
	if (TAILQ_EMPTY(&r->callers))
		request_abandon(r);
}

static void
request_add_caller(struct request *r, struct call *call)
{
	struct caller *caller = arena_new_bytes(
	    call_arena(call), sizeof(*caller));

	timer_disarm(&r->linger);
	caller->call = call;
	caller->request = r;
	TAILQ_INSERT_TAIL(&r->callers, caller, link);
	call->data = caller;
	call->gone = on_gone;
	call_default_timeout(call, r->in.def->timeout_ms);
}

/* ---- running ------------------------------------------------------------- */

/* The request that runs or waits and is the same, or NULL. */
static struct request *
request_same(const struct request *r)
{
	const struct request_lock *lock = &r->lock[0];
	struct keylock_claim *claim;

	if (lock->locks == NULL)
		return NULL;
	claim = keylock_find(
	    lock->locks, lock->key, lock->claim.print, lock->claim.print_len);
	return claim != NULL
	    ? container_of(claim, struct request_lock, claim)->request
	    : NULL;
}

/* What was asked twice in one turn: the callers of `r` are those of `same`. */
static void
request_merge(struct request *r, struct request *same)
{
	struct caller *caller;

	timer_disarm(&same->linger);
	TAILQ_FOREACH (caller, &r->callers, link) {
		caller->request = same;
		same->joined++;
		rq.stats.joined++;
	}
	TAILQ_CONCAT(&same->callers, &r->callers, link);
}

/* The first lock that it still has to take, or NULL. */
static struct request_lock *
request_lacks(struct request *r)
{
	for (size_t i = 0; i < CSI_LOCKS_MAX; i++)
		if (r->lock[i].locks != NULL &&
		    !keylock_owns(&r->lock[i].claim))
			return &r->lock[i];
	return NULL;
}

static void
request_answer(struct request *r)
{
	struct caller *caller;

	/* Old monitors or an old key's cluster may be what it is due to. */
	if (r->err.code == ERR_UNAVAILABLE ||
	    r->err.code == ERR_UNAUTHENTICATED)
		config_blame(rq.setup.config, &r->err);
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

static void
request_waited(struct request *r)
{
	int64_t ms = clock_now_ms() - r->waits_since_ms;

	r->waits_since_ms = 0;
	rq.stats.waited_ms += ms;
	if (rq.setup.waited != NULL)
		rq.setup.waited(ms);
}

static enum op_verdict
request_step(struct op *op)
{
	struct request *r = (struct request *)op;
	struct request_lock *lock;
	struct request *same;
	const char *node;

	switch (r->state) {
	case REQUEST_NEW:
		same = request_same(r);
		if (TAILQ_EMPTY(&r->callers)) /* gone in the turn they came */
			return op_goto(r, REQUEST_END);
		if (same != NULL) {
			request_merge(r, same);
			return op_goto(r, REQUEST_END);
		}
		rq.stats.started++;
		return op_goto(r, REQUEST_LOCKED);

	case REQUEST_LOCKED:
		if (r->waits_since_ms != 0)
			request_waited(r);
		if (op->rc < 0) /* given up while it waited for a lock */
			return op_goto(r, REQUEST_END);
		lock = request_lacks(r);
		if (lock != NULL) {
			keylock_take_start(
			    lock->locks, &lock->claim, lock->key, &op->wake);
			if (request_waits(r) != NULL) {
				rq.stats.waits++;
				r->waits_since_ms = clock_now_ms();
			}
			return op_await(r, REQUEST_LOCKED);
		}
		if (TAILQ_EMPTY(&r->callers))
			return op_goto(r, REQUEST_END);
		op->detached = false;
		r->err = (struct err)ERR_INIT;
		if (r->in.def->place == CSI_DAEMON) {
			r->rpc = csi_rpc_new(
			    rq.setup.impls[csi_definition_id(r->in.def)],
			    &r->in, NULL);
			csi_rpc_start(r->rpc, &op->wake);
			return op_await(r, REQUEST_RAN);
		}
		if (r->cluster_id == NULL)
			request_first_place(r);
		if (request_needs_secret(r)) {
			kube_ask_start(request_kube(r),
			    r->cluster.secret_namespace, r->cluster.secret,
			    &op->wake);
			return op_await(r, REQUEST_SECRET_KNOWN);
		}
		return op_goto(r, REQUEST_SECRET_KNOWN);

	case REQUEST_SECRET_KNOWN:
		node = request_fences(r);
		if (op->rc == 0 && node != NULL) {
			kube_ask_start(request_kube(r), NULL, node, &op->wake);
			return op_await(r, REQUEST_NODE_KNOWN);
		}
		return op_goto(r, REQUEST_NODE_KNOWN);

	case REQUEST_NODE_KNOWN:
		if (op->rc < 0) {
			r->err = r->kube->err;
			return op_goto(r, REQUEST_DONE);
		}
		return op_goto(r, REQUEST_ENTITLED);

	case REQUEST_ENTITLED:
		if (TAILQ_EMPTY(&r->callers))
			return op_goto(r, REQUEST_END);
		if (!request_find_session(r))
			return op_goto(r, REQUEST_DONE);
		request_ask_start(r, &op->wake);
		return op_await(r, REQUEST_ANSWERED);

	case REQUEST_RAN:
		request_note_states(r, &r->rpc->op);
		r->err = r->rpc->op.err;
		if (!err_is_set(&r->err))
			r->reply = csi_pack(
			    r->rpc->reply, r->in.arena, &r->reply_len, &r->err);
		r->rpc = NULL;
		return op_goto(r, REQUEST_DONE);

	case REQUEST_ANSWERED:
		r->err = r->call.err;
		if (r->in.everywhere && !err_is_set(&r->err) &&
		    csi_join_add(&r->join, r->call.reply, r->call.reply_len,
			&r->err) == 0) {
			r->answered = r->cluster.cluster_id;
			return op_goto(r, REQUEST_LOCKED);
		}
		if (r->err.code == ERR_NOT_FOUND) {
			if (!err_is_set(&r->missed))
				r->missed = r->err;
			if (request_next_place(r)) {
				op->rc = 0;
				return op_goto(r, REQUEST_LOCKED);
			}
			r->err = r->missed;
		}
		if (r->in.everywhere)
			err_prefix(
			    &r->err, "cluster \"%s\"", r->cluster.cluster_id);
		r->reply = r->call.reply;
		r->reply_len = r->call.reply_len;
		memcpy(r->states, r->call.states, sizeof(r->states));
		/* Not this user's volume: as if there had been no session. */
		if (r->borrowed && r->err.code == ERR_PERMISSION_DENIED)
			r->err = (struct err)ERR_INIT;
		return op_goto(r, REQUEST_DONE);

	case REQUEST_DONE:
		timer_disarm(&r->linger);
		/* Stopped because nobody wanted it, and then somebody did. */
		if (op->detached && r->err.code == ERR_CANCELLED &&
		    !TAILQ_EMPTY(&r->callers)) {
			op->rc = 0;
			return op_goto(r, REQUEST_LOCKED);
		}
		request_answer(r);
		if (rq.setup.ended != NULL)
			rq.setup.ended(r);
		if (*r->key != '\0') /* else it is about the daemon itself */
			trace_add(&(struct trace_entry){
			    .ended_ms = clock_wall_ms(),
			    .ms = op_age_ms(&r->op),
			    .id = r->op.id,
			    .method = r->in.def->name,
			    .code = r->err.code,
			    .key = r->key,
			    .states = r->states,
			    .text = r->err.text,
			});
		return op_goto(r, REQUEST_END);

	case REQUEST_END:
		for (size_t i = CSI_LOCKS_MAX; i-- > 0;)
			if (keylock_owns(&r->lock[i].claim))
				keylock_release(
				    r->lock[i].locks, &r->lock[i].claim);
		return OP_DONE;
	}
	abort();
}

static void
more(size_t *sum, size_t *peak, size_t n)
{
	*sum += n;
	if (*sum > *peak)
		*peak = *sum;
}

static void
less(size_t *sum, size_t *peak, size_t n, size_t worth_it)
{
	*sum -= n;
	if (*sum > 0)
		return;
	if (*peak >= worth_it)
		(void)malloc_trim(0);
	*peak = 0;
}

static void
request_free(struct op *op)
{
	struct request *r = (struct request *)op;
	size_t large = 0;

	assert(TAILQ_EMPTY(&r->callers));
	timer_disarm(&r->linger);
	LIST_REMOVE(r, link);
	csi_request_fini(&r->in);
	if (r->len > USUAL_BYTES)
		large = r->len;
	if (r->body != NULL)
		secret_wipe(r->body, r->len);
	free(r->body);
	free(r->call.reply);
	if (r->kube != NULL)
		credentials_fini(&r->kube->credentials);
	free(r->kube);
	credentials_fini(&r->own);
	csi_join_fini(&r->join);
	free(r);
	less(&rq.large_bytes, &rq.large_peak, large, TRIM_BYTES);
	less(&rq.count, &rq.count_peak, 1, TRIM_REQUESTS);
	if (rq.count == 0) {
		timer_disarm(&rq.slow);
		if (rq.idle != NULL && !rq.idle_job.queued)
			loop_post(&rq.idle_job);
	}
}

/* ---- arrival ------------------------------------------------------------- */

/* Is there room for one more, which is counted already? */
static int
check_room(size_t len, struct err *err)
{
	if (rq.count > rq.setup.max)
		return err_set(err, ERR_UNAVAILABLE,
		    "%zu requests are running, which is the limit",
		    rq.setup.max);
	if (len > USUAL_BYTES && rq.large_bytes + len > LARGE_BYTES_MAX)
		return err_set(err, ERR_UNAVAILABLE,
		    "the requests that are running hold %zu bytes already",
		    rq.large_bytes);
	return 0;
}

static int
request_read(struct request *r, const struct csi_definition *def,
    const struct call *call, struct err *err)
{
	if (csi_request_read(
		&r->in, def, call->request, call->request_len, err) < 0)
		return err->rc;
	for (size_t i = 0; i < CSI_LOCKS_MAX; i++) {
		struct request_lock *lock = &r->lock[i];

		lock->request = r;
		lock->claim.what = def->name;
		lock->claim.shared = def->lock[i].shared;
		if (def->lock[i].set == CSI_LOCK_NONE)
			continue;
		lock->key = def->lock[i].key(r->in.message);
		if (lock->key != NULL)
			lock->locks = rq.locks[def->lock[i].set];
	}
	r->key = csi_definition_key(def, r->in.message);
	r->lock[0].claim.print = csi_request_print(
	    &r->in, &r->lock[0].claim.print_len);
	r->op.subject = arena_fmt(r->in.arena, "%s %s", def->name, r->key);
	csi_join_init(&r->join, def->reply);
	return 0;
}

void
request_take(struct call *call, const struct csi_definition *def)
{
	struct request *r = mem_new(sizeof(*r)), *same;
	struct err err = ERR_INIT;

	r->setup = &rq.setup;
	r->linger.fire = on_linger;
	TAILQ_INIT(&r->callers);
	LIST_INSERT_HEAD(&rq.live, r, link);
	more(&rq.count, &rq.count_peak, 1);
	if (rq.count == 1 && rq.setup.slow_ms > 0)
		timer_arm(&rq.slow, rq.setup.slow_ms);
	if (request_read(r, def, call, &err) < 0) {
		request_note_refused(call, def);
		call_fail_err(call, &err);
	} else if ((same = request_same(r)) != NULL) {
		same->joined++;
		rq.stats.joined++;
		request_add_caller(same, call);
	} else if (check_room(call->request_len, &err) < 0) {
		rq.stats.refused++;
		request_note_refused(call, def);
		call_fail_err(call, &err);
	} else {
		r->len = call->request_len;
		if (r->len > USUAL_BYTES)
			more(&rq.large_bytes, &rq.large_peak, r->len);
		if (def->place == CSI_WORKER) {
			r->body = mem_new(r->len + 1);
			if (r->len > 0)
				memcpy(r->body, call->request, r->len);
		}
		request_add_caller(r, call);
		op_start(&r->op, &request_class, NULL);
		return;
	}
	request_free(&r->op);
}

/* ---- all of them --------------------------------------------------------- */

static void
on_slow(struct timer *timer)
{
	const struct request *r;

	LIST_FOREACH (r, &rq.live, link)
		if (op_age_ms(&r->op) >= rq.setup.slow_ms)
			request_log_slow(r);
	timer_arm(timer, rq.setup.slow_ms);
}

static void
on_idle(struct job *job)
{
	(void)job;
	if (rq.count == 0)
		rq.idle();
}

void
requests_init(const struct requests_setup *setup)
{
	memset(&rq, 0, sizeof(rq));
	rq.setup = *setup;
	if (rq.setup.max == 0)
		rq.setup.max = DEFAULT_MAX;
	rq.slow.fire = on_slow;
	rq.idle_job.run = on_idle;
	for (size_t i = 0; i < countof(rq.locks); i++)
		rq.locks[i] = keylock_new();
	LIST_INIT(&rq.live);
}

void
requests_fini(void)
{
	assert(rq.count == 0);
	trace_fini();
	loop_unpost(&rq.idle_job);
	for (size_t i = 0; i < countof(rq.locks); i++)
		keylock_free(rq.locks[i]);
}

const struct request *
request_of(const struct op *op)
{
	return op->cls == &request_class ? (const struct request *)op : NULL;
}

size_t
requests_running(void)
{
	return rq.count;
}

struct requests_stats
requests_stats(void)
{
	struct requests_stats stats = rq.stats;
	const struct request *r;

	stats.running = rq.count;
	stats.max = rq.setup.max;
	stats.large_bytes = rq.large_bytes;
	stats.large_bytes_max = LARGE_BYTES_MAX;
	LIST_FOREACH (r, &rq.live, link) {
		int64_t age_ms = op_age_ms(&r->op);

		stats.waiting += r->waits_since_ms != 0;
		stats.orphaned += TAILQ_EMPTY(&r->callers);
		if (stats.oldest_ms < age_ms)
			stats.oldest_ms = age_ms;
	}
	return stats;
}

void
requests_when_idle(void (*idle)(void))
{
	struct request *r;

	rq.idle = idle;
	LIST_FOREACH (r, &rq.live, link)
		if (timer_is_running(&r->linger))
			timer_arm(&r->linger, 0);
	if (rq.count == 0 && !rq.idle_job.queued)
		loop_post(&rq.idle_job);
}
