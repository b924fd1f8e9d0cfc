/*
 * requests.c - one struct for each request that runs.
 */
#include "worker/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "controller/controller.h"
#include "controller/flatten.h"
#include "controller/purge.h"
#include "core/pace.h"
#include "core/timer.h"

#include <string.h>

#define PROGRESS_MS 1000

struct worker_request {
	struct peer_from from;
	struct csi_request in;
	const struct csi_impl *impl;
	const struct csi_env *env;
	struct csi_rpc *rpc;
	struct wake done;
	unsigned renamed; /* ceph_connection_renamed() at its start */
	bool repeated;    /* for a pool that has another one's name */
	int64_t late_ms;  /* when its caller has given up; 0: unknown */
	LIST_ENTRY(worker_request) link;
};

static struct {
	const Worker__Hello *hello;
	bool orphaned; /* the daemon is gone */
	LIST_HEAD(, worker_request) running;
	size_t nrunning;
	bool had_work; /* in the background, when progress was told last */
	struct flatten_counts flattens; /* the same */
	struct purge_counts purges;
	uint64_t lanes_starts;
	struct timer progress;
} rq;

/* ---- progress ---- */

#define BACKGROUND_MAX 16 /* operations that are told at once */

/* Purges and flattens: no request waits for them. */
static void
add_background(Worker__Progress *progress, Worker__Background *background)
{
	for (const struct op *op = op_next(NULL);
	     op != NULL && progress->n_background < BACKGROUND_MAX;
	     op = op_next(op)) {
		Worker__Background *b = &background[progress->n_background];

		if (op->waiter != NULL)
			continue;
		worker__background__init(b);
		b->id = op->id;
		b->name = peer_text(op->cls->name);
		b->subject = peer_text(op->subject != NULL ? op->subject : "");
		b->state = peer_text(op->state_name);
		b->state_ms = (uint64_t)(clock_now_us() - op->since_us) / 1000;
		b->age_ms = (uint64_t)op_age_ms(op);
		progress->background[progress->n_background++] = b;
	}
}

/* What is told of the background; 0: nothing is. */
static unsigned
add_counts(Worker__Progress *progress)
{
	struct flatten_counts flattens;
	struct purge_counts purges;

	purge_count(&purges);
	progress->purges = purges.running;
	progress->purges_waiting = purges.waiting;
	progress->purges_blocked = purges.blocked;
	progress->purges_done = (uint32_t)(purges.done - rq.purges.done);
	progress->purges_failed = (uint32_t)(purges.failed - rq.purges.failed);
	rq.purges = purges;
	progress->lanes = lanes_count();
	progress->lanes_started = (uint32_t)(lanes_starts() - rq.lanes_starts);
	rq.lanes_starts = lanes_starts();
	flatten_count(&flattens);
	progress->flattens = flattens.running;
	progress->flattens_waiting = flattens.waiting;
	progress->flattens_done = (uint32_t)(flattens.done - rq.flattens.done);
	progress->flattens_failed = (uint32_t)(flattens.failed -
	    rq.flattens.failed);
	rq.flattens = flattens;
	return progress->purges + progress->purges_waiting +
	    progress->purges_blocked + progress->purges_done +
	    progress->purges_failed + progress->lanes +
	    progress->lanes_started + flattens.running + flattens.waiting +
	    progress->flattens_done + progress->flattens_failed;
}

static void
on_progress(struct timer *timer)
{
	Worker__Progress progress = WORKER__PROGRESS__INIT;
	auto_free Worker__Running *running = mem_new(
	    (rq.nrunning + 1) * sizeof(*running));
	auto_free Worker__Running **list = mem_new(
	    (rq.nrunning + 1) * sizeof(void *));
	Worker__Background background[BACKGROUND_MAX],
	    *backgrounds[BACKGROUND_MAX];
	struct worker_request *r;
	unsigned work = add_counts(&progress);

	progress.running = list;
	progress.background = backgrounds;
	add_background(&progress, background);
	LIST_FOREACH (r, &rq.running, link) {
		const struct op *op = &r->rpc->op;
		Worker__Running *slow = &running[progress.n_running];

		if (op_age_ms(op) < PROGRESS_MS)
			continue;
		worker__running__init(slow);
		slow->id = r->from.id;
		slow->state = peer_text(op->state_name);
		slow->state_ms = (uint64_t)(clock_now_us() - op->since_us) /
		    1000;
		list[progress.n_running++] = slow;
		if (r->late_ms != 0 && clock_now_ms() > r->late_ms) {
			r->late_ms = 0;
			log_warn("request.late",
			    "id=%llu method=%s volume=%s state=%s ms=%lld",
			    (unsigned long long)r->from.id, op->cls->name,
			    csi_definition_key(r->in.def, r->in.message),
			    op->state_name, (long long)op_age_ms(op));
		}
	}
	if (progress.n_running > 0 || work > 0 || rq.had_work)
		peer_answer(NULL,
		    &(struct peer_frame){
			.kind = PEER_EVENT, .message = &progress.base });
	rq.had_work = work > 0;
	if (rq.nrunning > 0 || work > 0)
		timer_arm(timer, PROGRESS_MS);
}

static void
watch_progress(void)
{
	if (!timer_is_running(&rq.progress) && !rq.orphaned)
		timer_arm(&rq.progress, PROGRESS_MS);
}

/* ---- replies ---- */

static void
send_reply(const struct worker_request *r)
{
	struct csi_rpc *rpc = r->rpc;
	Worker__Reply reply = WORKER__REPLY__INIT;
	Worker__State state[OP_TRAIL], *list[OP_TRAIL];
	struct err err = rpc->op.err;
	const char *name;
	size_t len = 0;
	int64_t us;

	if (!err_is_set(&err)) {
		reply.body.data = (uint8_t *)(uintptr_t)csi_pack(
		    rpc->reply, rpc->arena, &len, &err);
		reply.body.len = len;
	}
	/* How long each of the last states lasted; the newest one ends now. */
	reply.states = list;
	while ((name = op_trail_at(
		    rpc->op.trail, (unsigned)reply.n_states, &us)) != NULL) {
		Worker__State *one = &state[reply.n_states];

		worker__state__init(one);
		one->name = peer_text(name);
		one->us = (uint64_t)us;
		list[reply.n_states++] = one;
	}
	peer_reply(&r->from, &err, &reply.base);
}

static void
run_request(struct worker_request *r)
{
	r->renamed = controller.conn->renamed;
	r->rpc = csi_rpc_new(r->impl, &r->in, r->env);
	csi_rpc_start(r->rpc, &r->done);
}

static void
on_request_done(struct wake *wake, int rc)
{
	struct worker_request *r = container_of(
	    wake, struct worker_request, done);

	(void)rc;
	/* Was it told of a pool that another one has replaced under its name? */
	if (!r->repeated && !r->rpc->op.detached &&
	    r->rpc->op.err.code == ERR_NOT_FOUND &&
	    ceph_connection_renamed(controller.conn) != r->renamed) {
		log_info("request.again", "method=%s subject=%s",
		    r->rpc->op.cls->name,
		    r->rpc->op.subject != NULL ? r->rpc->op.subject : "-");
		r->repeated = true;
		run_request(r);
		return;
	}
	send_reply(r);
	LIST_REMOVE(r, link);
	rq.nrunning--;
	pace_call_ended();
	csi_request_fini(&r->in);
	free(r);
	watch_progress(); /* a deletion leaves a purge behind */
}

/* ---- requests ---- */

static const struct csi_env *
env_of(struct arena *arena, const Worker__Request *request)
{
	const Worker__Cluster *cluster = request->cluster;
	const Worker__Hello *s = rq.hello;
	struct csi_env *env = arena_new_bytes(arena, sizeof(*env));

	*env = (struct csi_env){
		.cluster_id = s->cluster_id,
		.rados_namespace = "",
		.monitors = s->monitors,
		.driver_name = s->driver_name,
		.instance_id = s->instance_id,
		.cluster_name = s->cluster_name,
		.node_id = s->node_id,
		.purge_delay_s = (int64_t)s->purge_delay_s,
		.depth_hard = s->clone_depth_hard,
		.depth_soft = s->clone_depth_soft,
		.snapshots_max = s->snapshots_max,
		.snapshots_min = s->snapshots_min,
		.out_of_service = request->out_of_service,
	};
	if (cluster == NULL)
		return env;
	env->rados_namespace = arena_strdup(arena, cluster->rados_namespace);
	if (*cluster->cluster_id != '\0')
		env->cluster_id = arena_strdup(arena, cluster->cluster_id);
	env->is_mapped = cluster->pool_id != 0;
	env->elsewhere = cluster->elsewhere;
	if (*cluster->monitors != '\0')
		env->monitors = arena_strdup(arena, cluster->monitors);
	return env;
}

void
worker_requests_take(
    const struct peer_from *from, const Worker__Request *request)
{
	const struct csi_definition *def;
	const struct csi_impl *impl = controller_find(request->method, &def);
	struct err err = ERR_INIT;
	struct worker_request *r;

	if (impl == NULL) {
		(void)err_set(&err, ERR_UNIMPLEMENTED,
		    "ceph-worker has no method %s", request->method);
		peer_reply(from, &err, NULL);
		return;
	}
	r = mem_new(sizeof(*r));
	if (csi_request_read(
		&r->in, def, request->body.data, request->body.len, &err) < 0) {
		peer_reply(from, &err, NULL);
		free(r);
		return;
	}
	if (request->cluster != NULL && request->cluster->pool_id > 0)
		r->in.id.pool_id = request->cluster->pool_id;
	r->from = *from;
	if (request->timeout_ms != 0)
		r->late_ms = clock_now_ms() + request->timeout_ms;
	LIST_INSERT_HEAD(&rq.running, r, link);
	rq.nrunning++;
	pace_call_began();
	r->impl = impl;
	r->env = env_of(r->in.arena, request);
	r->done.fn = on_request_done;
	run_request(r);
	watch_progress();
}

void
worker_requests_cancel(const struct peer_from *from)
{
	struct worker_request *r;

	LIST_FOREACH (r, &rq.running, link)
		if (r->from.id == from->id)
			op_detach(&r->rpc->op);
}

void
worker_requests_orphan(void)
{
	struct worker_request *r;

	rq.orphaned = true;
	timer_disarm(&rq.progress);
	LIST_FOREACH (r, &rq.running, link)
		op_detach(&r->rpc->op);
}

size_t
worker_requests_running(void)
{
	return rq.nrunning;
}

void
worker_requests_init(const Worker__Hello *hello)
{
	rq.hello = hello;
	rq.progress.fire = on_progress;
	LIST_INIT(&rq.running);
}
