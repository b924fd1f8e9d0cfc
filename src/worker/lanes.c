/*
 * lanes.c - queue of jobs, lanes, and what becomes of a job when its lane
 * dies.
 */
#include "worker/worker.h"

#include "base/log.h"
#include "controller/lane.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define LANES_DEFAULT 4
#define LANE_IDLE_DEFAULT_MS 60000
#define LANE_START_MS 45000 /* it gives up by itself before that */
#define LANE_END_MS 10000   /* librados may hang in its end */

struct lane {
	struct peer peer;
	struct peer_call call;
	struct lane_job *job; /* what it works on */
	struct timer idle;
	LIST_ENTRY(lane) link;
};

static struct {
	const Worker__Hello *hello;
	LIST_HEAD(, lane) lanes;
	STAILQ_HEAD(, lane_job) queue;
	uint64_t starts;
} ln;

static void dispatch(void);

static void
end_job(struct lane_job *job)
{
	timer_disarm(&job->late);
	wake_up(job->waiter, job->err.rc);
}

static void
fail_first(enum err_code code, const char *step, const char *text)
{
	struct lane_job *job = STAILQ_FIRST(&ln.queue);

	if (job == NULL)
		return;
	STAILQ_REMOVE_HEAD(&ln.queue, link);
	(void)err_set(&job->err, code, "librbd: %s%s%s", step,
	    *step != '\0' ? ": " : "", text);
	end_job(job);
}

/* It gets no more work, and what it works on has failed. */
static void
lane_end(struct lane *lane)
{
	struct lane_job *job = lane->job;

	if (job != NULL && !err_is_set(&job->err)) {
		(void)err_set(&job->err, ERR_UNAVAILABLE,
		    "librbd: the lane died over this");
		job->err.rc = -EPIPE;
	}
	if (job != NULL)
		end_job(job);
	timer_disarm(&lane->idle);
	peer_fini(&lane->peer);
	LIST_REMOVE(lane, link);
	free(lane);
	dispatch();
}

/* A lane that is late waits in librbd, and only a signal ends that. */
static void
on_late(struct timer *timer)
{
	struct lane_job *job = container_of(timer, struct lane_job, late);
	struct lane *lane = job->lane;

	(void)err_set_rc(&job->err, -ETIME, "librbd: %s/%s: %s after %d s",
	    job->pool != NULL     ? ceph_pool_name(job->pool)
		: job->of != NULL ? "key of the volume"
				  : "monitors",
	    !str_is_empty(job->image)          ? job->image
		: !str_is_empty(job->image_id) ? job->image_id
					       : "a command",
	    lane != NULL ? "not done" : "no lane was free", LANE_JOB_MS / 1000);
	if (lane == NULL) {
		STAILQ_REMOVE(&ln.queue, job, lane_job, link);
		end_job(job);
		return;
	}
	log_warn("lane.late", "text=\"%s\"", job->err.text);
	peer_kill(&lane->peer, SIGKILL);
	lane_end(lane);
}

static void
on_idle(struct timer *timer)
{
	lane_end(container_of(timer, struct lane, idle));
}

static void
on_lane_done(struct peer_call *call, const struct peer_frame *frame)
{
	struct lane *lane = container_of(call, struct lane, call);
	struct lane_job *job = take_ptr(&lane->job);
	struct trash_list *list = job->list;
	Worker__Done *done = peer_unpack(frame, &worker__done__descriptor);

	job->err = frame->err;
	if (done == NULL) {
		(void)err_set(&job->err, ERR_INTERNAL,
		    "librbd: the lane's answer is none");
	} else if (str_put(job->made_id, sizeof(job->made_id), "%s",
		       done->image_id) < 0) {
		(void)err_set(&job->err, ERR_INTERNAL,
		    "librbd: an image id of %zu bytes", strlen(done->image_id));
	}
	for (size_t i = 0;
	     done != NULL && i < done->n_watchers && i < LANE_WATCHERS; i++)
		(void)snprintf(job->watcher[job->nwatchers++],
		    sizeof(job->watcher[0]), "%s", done->watchers[i]);
	if (done != NULL) {
		(void)snprintf(
		    job->child, sizeof(job->child), "%s", done->child);
		job->snap = done->snap;
		job->size_bytes = done->size_bytes;
	}
	if (done != NULL && done->reply.len > 0) {
		secret_set(&job->reply, (const char *)done->reply.data,
		    done->reply.len);
		secret_wipe(done->reply.data, done->reply.len);
	}
	if (done != NULL && list != NULL) {
		list->pool_objects = done->pool_objects;
		list->more = done->more;
		list->n = done->n_objects;
		list->object = take_ptr(&done->objects);
		if (done->n_names > 0) {
			list->n = done->n_names;
			list->name = take_ptr(&done->names);
			done->n_names = 0;
		}
	}
	worker__done__free_unpacked(done, NULL);
	end_job(job);
	if (frame->err.rc == -ESHUTDOWN) { /* blocklisted; the next is not */
		lane_end(lane);
		return;
	}
	dispatch();
}

static void
on_lane_ready(struct peer *peer, const struct peer_frame *frame)
{
	(void)peer;
	(void)frame;
	dispatch();
}

static void
on_lane_failed(struct peer *peer, const struct peer_frame *frame)
{
	fail_first(frame->err.code, frame->step, frame->err.text);
	lane_end(container_of(peer, struct lane, peer));
}

static void
on_lane_gone(struct peer *peer)
{
	struct lane *lane = container_of(peer, struct lane, peer);

	if (peer->state == PEER_STARTING)
		fail_first(
		    ERR_UNAVAILABLE, "", "a lane died while it connected");
	else
		log_warn("lane.gone", "busy=%d", lane->job != NULL);
	lane_end(lane);
}

static const struct peer_kind lane_peer = {
	.name = "ceph-lane",
	.starts = &ln.starts,
	.version = WORKER__PROTOCOL__VERSION,
	.max_frame = WORKER_FRAME_MAX,
	.max_queued = WORKER_QUEUED_MAX,
	.start_ms = LANE_START_MS,
	.end_ms = LANE_END_MS,
	.ready = on_lane_ready,
	.failed = on_lane_failed,
	.gone = on_lane_gone,
};

static int
start_lane(struct err *err)
{
	/* Our own program, also when its file was replaced meanwhile. */
	static const char *const argv[] = { "/proc/self/exe", NULL };
	struct lane *lane = mem_new(sizeof(*lane));
	Worker__Hello hello = *ln.hello;
	int rc;

	hello.role = WORKER__HELLO__ROLE__LANE;
	peer_init(&lane->peer, &lane_peer);
	lane->call.reply = on_lane_done;
	lane->idle.fire = on_idle;
	rc = peer_spawn(&lane->peer, argv, NULL, 0, &hello.base, err);
	if (rc < 0) {
		peer_fini(&lane->peer);
		free(lane);
		return rc;
	}
	LIST_INSERT_HEAD(&ln.lanes, lane, link);
	return 0;
}

/* ---- jobs ---- */

static void
send_job(struct lane *lane, struct lane_job *job)
{
	const struct image_spec *spec = job->spec;
	size_t nmeta = spec != NULL ? spec->nmeta : 0;
	auto_free Worker__Setting *settings = mem_new(
	    (nmeta + 1) * sizeof(*settings));
	auto_free Worker__Setting **list = mem_new(
	    (nmeta + 1) * sizeof(void *));
	Worker__Job m = WORKER__JOB__INIT;

	timer_disarm(&lane->idle);
	if (job->pool != NULL) {
		m.pool = peer_text(ceph_pool_name(job->pool));
		m.pool_id = job->pool->id;
		m.rados_namespace = peer_text(job->pool->rados_namespace);
	}
	m.command = peer_text(job->command);
	m.image = peer_text(job->image);
	m.image_id = peer_text(job->image_id);
	m.snapshot = peer_text(job->snapshot);
	m.size_bytes = job->size_bytes;
	m.keep_s = (uint64_t)job->keep_s;
	if (job->of != NULL) {
		m.passphrase.data = (uint8_t *)job->of->passphrase->text;
		m.passphrase.len = job->of->passphrase->len;
		m.volume_id = peer_text(job->of->volume_id);
		m.wrapped = peer_text(job->of->text);
	}
	if (job->of != NULL && job->of->key != NULL) {
		m.secret.data = (uint8_t *)job->of->key->text;
		m.secret.len = job->of->key->len;
	}
	if (job->list != NULL) {
		m.prefix = peer_text(job->list->prefix);
		m.slice = job->list->slice;
		m.slices = job->list->slices;
	}
	if (spec != NULL) {
		m.size_bytes = spec->size_bytes;
		m.features = spec->features;
		m.order = spec->layout.order;
		m.stripe_unit = spec->layout.stripe_unit;
		m.stripe_count = spec->layout.stripe_count;
		if (spec->parent != NULL) {
			m.parent_pool = spec->parent->pool;
			m.parent_namespace = peer_text(
			    spec->parent->rados_namespace);
			m.parent_id = peer_text(spec->parent->id);
			m.parent_snap = spec->parent->snap;
		}
		if (spec->data_pool != NULL) {
			m.data_pool = peer_text(
			    ceph_pool_name(spec->data_pool));
			m.data_pool_id = spec->data_pool->id;
		}
	}
	m.metadata = list;
	for (; m.n_metadata < nmeta; m.n_metadata++) {
		Worker__Setting *one = &settings[m.n_metadata];

		worker__setting__init(one);
		one->name = peer_text(spec->meta[m.n_metadata].key);
		one->value = peer_text(spec->meta[m.n_metadata].value);
		one->once = spec->meta[m.n_metadata].once;
		list[m.n_metadata] = one;
	}
	lane->job = job;
	job->lane = lane;
	/* When it fails the lane is as good as dead. */
	if (peer_call_send(&lane->peer, &lane->call, job->kind, &m.base) < 0)
		peer_kill(&lane->peer, SIGKILL);
}

/*
 * Gives jobs to free lanes, and starts lanes for those that wait. A lane may
 * find nothing to do when it is ready: another one was faster.
 */
static void
dispatch(void)
{
	unsigned max = ln.hello->max_lanes != 0 ? ln.hello->max_lanes
						: LANES_DEFAULT;
	unsigned idle_ms = ln.hello->lane_idle_ms != 0 ? ln.hello->lane_idle_ms
						       : LANE_IDLE_DEFAULT_MS;
	unsigned lanes = lanes_count(), starting = 0, waiting = 0;
	struct lane_job *job;
	struct lane *lane;
	struct err err = ERR_INIT;

	LIST_FOREACH (lane, &ln.lanes, link) {
		starting += lane->peer.state == PEER_STARTING;
		if (lane->peer.state != PEER_UP || lane->job != NULL)
			continue;
		job = STAILQ_FIRST(&ln.queue);
		if (job != NULL) {
			STAILQ_REMOVE_HEAD(&ln.queue, link);
			send_job(lane, job);
		} else if (!timer_is_running(&lane->idle)) {
			timer_arm(&lane->idle, idle_ms);
		}
	}
	STAILQ_FOREACH (job, &ln.queue, link)
		waiting++;
	while (waiting > starting && lanes < max) {
		if (start_lane(&err) == 0) {
			starting++;
			lanes++;
		} else {
			fail_first(ERR_UNAVAILABLE, "", err.text);
			waiting--;
		}
	}
}

void
lane_job_start(struct lane_job *job, struct wake *waiter)
{
	const struct lane_job_kind *kind = &lane_job_kinds[job->kind];

	job->waiter = waiter;
	memset(&job->err, 0, sizeof(job->err));
	job->nwatchers = 0;
	job->made_id[0] = '\0';
	job->child[0] = '\0';
	job->lane = NULL;
	job->late = (struct timer){ .fire = on_late };
	if ((kind->needs_name && str_is_empty(job->image)) ||
	    (kind->needs_id && str_is_empty(job->image_id)) ||
	    (kind->needs_snapshot && str_is_empty(job->snapshot)) ||
	    (kind->needs_spec && job->spec == NULL) ||
	    (kind->needs_list && job->list == NULL) ||
	    (kind->needs_command && str_is_empty(job->command)) ||
	    (kind->needs_key && job->of == NULL)) {
		(void)err_set(&job->err, ERR_INTERNAL,
		    "librbd: a job %d that does not say of what",
		    (int)job->kind);
		end_job(job);
		return;
	}
	if (kind->bound_ms > 0)
		timer_arm(&job->late, kind->bound_ms);
	STAILQ_INSERT_TAIL(&ln.queue, job, link);
	dispatch();
}

void
lanes_init(const Worker__Hello *hello)
{
	ln.hello = hello;
	LIST_INIT(&ln.lanes);
	STAILQ_INIT(&ln.queue);
}

uint64_t
lanes_starts(void)
{
	return ln.starts;
}

unsigned
lanes_count(void)
{
	const struct lane *lane;
	unsigned n = 0;

	LIST_FOREACH (lane, &ln.lanes, link)
		n++;
	return n;
}

void
lanes_fini(void)
{
	struct lane *lane;

	while ((lane = LIST_FIRST(&ln.lanes)) != NULL) {
		timer_disarm(&lane->idle);
		peer_fini(&lane->peer);
		LIST_REMOVE(lane, link);
		free(lane);
	}
	peer_forget_all();
}
