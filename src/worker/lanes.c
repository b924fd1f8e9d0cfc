/*
 * lanes.c - queue of jobs, lanes, and what becomes of a job when its lane
 * dies.
 */
#include "worker/lanes.h"

#include "base/log.h"
#include "controller/lane.h"
#include "core/channel.h"
#include "core/child.h"
#include "core/timer.h"
#include "worker/requests.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define LANES_DEFAULT 4
#define LANE_IDLE_DEFAULT_MS 60000

struct lane {
	struct helper helper;
	struct channel *channel; /* NULL: it ends */
	bool ready;
	struct lane_job *job; /* what it works on */
	struct timer idle;
	LIST_ENTRY(lane)
	link;
};

static struct {
	const struct session *session;
	LIST_HEAD(, lane) lanes;
	unsigned nlanes;
	STAILQ_HEAD(, lane_job) queue;
	uint64_t last_id;
} ln;

static void dispatch(void);

static void
end_job(struct lane_job *job)
{
	timer_disarm(&job->late);
	wake_up(job->waiter, job->err.rc);
}

static void
fail_first(enum err_code code, const char *text)
{
	struct lane_job *job = STAILQ_FIRST(&ln.queue);

	if (job == NULL)
		return;
	STAILQ_REMOVE_HEAD(&ln.queue, link);
	(void)err_set(&job->err, code, "librbd: %s", text);
	end_job(job);
}

static void
lane_free(struct lane *lane)
{
	timer_disarm(&lane->idle);
	LIST_REMOVE(lane, link);
	ln.nlanes--;
	free(lane);
	dispatch();
}

/* It works on nothing any more, and ends at the end of its channel. */
static void
let_go(struct lane *lane)
{
	struct lane_job *job = lane->job;

	timer_disarm(&lane->idle);
	channel_free(lane->channel);
	lane->channel = NULL;
	if (job != NULL) {
		lane->job = NULL;
		if (!err_is_set(&job->err)) {
			(void)err_set(&job->err, ERR_UNAVAILABLE,
			    "librbd: the lane died over this");
			job->err.rc = -EPIPE;
		}
		end_job(job);
	}
	if (lane->helper.pid == 0)
		lane_free(lane);
}

static void
on_exited(struct helper *helper, int status)
{
	struct lane *lane = container_of(helper, struct lane, helper);

	log_debug("lane.exit", "status=%d", status);
	if (lane->channel == NULL)
		lane_free(lane); /* else its end of file comes next */
}

/* A lane that is late waits in librbd, and only a signal ends that. */
static void
on_late(struct timer *timer)
{
	struct lane_job *job = container_of(timer, struct lane_job, late);
	struct lane *lane = job->lane;

	(void)err_set_rc(&job->err, -ETIME, "librbd: %s/%s: %s after %d s",
	    ceph_pool_name(job->pool),
	    !str_is_empty(job->image) ? job->image : job->image_id,
	    lane != NULL ? "not done" : "no lane was free", LANE_JOB_MS / 1000);
	if (lane == NULL) {
		STAILQ_REMOVE(&ln.queue, job, lane_job, link);
		end_job(job);
		return;
	}
	log_warn("lane.late", "text=\"%s\"", job->err.text);
	helper_kill(&lane->helper, SIGKILL);
	let_go(lane);
}

static void
on_idle(struct timer *timer)
{
	let_go(container_of(timer, struct lane, idle));
}

static void
take_list(struct trash_list *list, const Worker__Done *done)
{
	list->pool_objects = done->pool_objects;
	list->more = done->more;
	list->n = done->n_objects;
	list->object = mem_new((list->n + 1) * sizeof(*list->object));
	for (size_t i = 0; i < list->n; i++)
		list->object[i] = done->objects[i];
}

static void
take_done(struct lane *lane, const Worker__Done *done)
{
	struct lane_job *job = lane->job;

	if (job == NULL || done->id != job->id) {
		log_error("lane.answer", "id=%llu is not what it was asked",
		    (unsigned long long)done->id);
		let_go(lane);
		return;
	}
	lane->job = NULL;
	if (done->rc < 0) {
		(void)err_set_rc(&job->err, done->rc, "librbd: %s", done->text);
	} else if (str_put(job->made_id, sizeof(job->made_id), "%s",
		       done->image_id) < 0) {
		(void)err_set(&job->err, ERR_INTERNAL,
		    "librbd: an image id of %zu bytes", strlen(done->image_id));
	}
	for (size_t i = 0; i < done->n_watchers && i < LANE_WATCHERS; i++)
		(void)snprintf(job->watcher[job->nwatchers++],
		    sizeof(job->watcher[0]), "%s", done->watchers[i]);
	(void)snprintf(job->child, sizeof(job->child), "%s", done->child);
	if (job->list != NULL)
		take_list(job->list, done);
	end_job(job);
	if (done->rc == -ESHUTDOWN) { /* blocklisted: the next one is not */
		let_go(lane);
		return;
	}
	timer_arm(&lane->idle,
	    ln.session->lane_idle_ms != 0 ? ln.session->lane_idle_ms
					  : LANE_IDLE_DEFAULT_MS);
	dispatch();
}

static void
on_frame(struct channel *channel, const void *bytes, size_t len, const int *fds,
    size_t nfds, void *arg)
{
	Worker__Frame *frame = worker__frame__unpack(NULL, len, bytes);
	struct lane *lane = arg;
	char text[ERR_TEXT_MAX];

	(void)channel;
	for (size_t i = 0; i < nfds; i++)
		(void)close(fds[i]);
	switch (frame != NULL ? (int)frame->body_case : -1) {
	case WORKER__FRAME__BODY_READY:
		lane->ready = true;
		dispatch();
		break;
	case WORKER__FRAME__BODY_FAILED:
		(void)snprintf(text, sizeof(text), "%s: %s",
		    frame->failed->step, frame->failed->text);
		fail_first(frame->failed->code <= ERR_UNAUTHENTICATED
			? (enum err_code)frame->failed->code
			: ERR_UNKNOWN,
		    text);
		let_go(lane);
		break;
	case WORKER__FRAME__BODY_DONE:
		take_done(lane, frame->done);
		break;
	default:
		log_error("lane.frame", "a lane speaks nonsense");
		let_go(lane);
		break;
	}
	if (frame != NULL)
		worker__frame__free_unpacked(frame, NULL);
}

static void
on_closed(struct channel *channel, int rc, void *arg)
{
	struct lane *lane = arg;

	(void)channel;
	if (!lane->ready)
		fail_first(ERR_UNAVAILABLE, "a lane died while it connected");
	else
		log_warn("lane.gone", "busy=%d rc=%d", lane->job != NULL, rc);
	let_go(lane);
}

static const struct channel_ops channel_ops = {
	.frame = on_frame,
	.closed = on_closed,
};

static int
start_lane(void)
{
	/* Our own program, also when its file was replaced meanwhile. */
	static const char *const argv[] = { "/proc/self/exe", NULL };
	struct lane *lane;
	auto_free unsigned char *hello = NULL;
	size_t len = 0;
	int fd[2], rc;

	rc = channel_pair(fd);
	if (rc < 0)
		return rc;
	lane = mem_new(sizeof(*lane));
	rc = helper_spawn(&lane->helper, argv, &fd[1], 1, true, on_exited);
	(void)close(fd[1]);
	if (rc < 0) {
		(void)close(fd[0]);
		free(lane);
		return rc;
	}
	lane->channel = channel_new(
	    fd[0], WORKER_FRAME_MAX, WORKER_QUEUED_MAX, &channel_ops, lane);
	lane->idle.fire = on_idle;
	LIST_INSERT_HEAD(&ln.lanes, lane, link);
	ln.nlanes++;
	hello = session_lane_hello(ln.session, &len);
	(void)channel_send(lane->channel, hello, len);
	secret_wipe(hello, len);
	return 0;
}

/* ---- jobs ---- */

static char *
text(const char *s)
{
	return (char *)(uintptr_t)(s != NULL ? s : "");
}

/* What is to be created; `settings` and `list` hold the metadata. */
static void
pack_spec(Worker__Job *m, const struct image_spec *spec,
    Worker__Setting *settings, Worker__Setting **list)
{
	m->size_bytes = spec->size_bytes;
	m->features = spec->features;
	m->order = spec->layout.order;
	m->stripe_unit = spec->layout.stripe_unit;
	m->stripe_count = spec->layout.stripe_count;
	if (spec->data_pool != NULL)
		m->data_pool = text(ceph_pool_name(spec->data_pool));
	for (size_t i = 0; i < spec->nmeta; i++) {
		worker__setting__init(&settings[i]);
		settings[i].name = text(spec->meta[i].key);
		settings[i].value = text(spec->meta[i].value);
		list[i] = &settings[i];
	}
	m->metadata = list;
	m->n_metadata = spec->nmeta;
}

static void
send_job(struct lane *lane, struct lane_job *job)
{
	size_t nmeta = job->spec != NULL ? job->spec->nmeta : 0;
	auto_free Worker__Setting *settings = mem_new(
	    (nmeta + 1) * sizeof(*settings));
	auto_free Worker__Setting **list = mem_new(
	    (nmeta + 1) * sizeof(void *));
	Worker__Frame frame = WORKER__FRAME__INIT;
	Worker__Job m = WORKER__JOB__INIT;

	timer_disarm(&lane->idle);
	lane->job = job;
	job->lane = lane;
	m.id = job->id;
	m.kind = (Worker__Job__Kind)job->kind;
	m.pool = text(ceph_pool_name(job->pool));
	m.rados_namespace = text(job->pool->rados_namespace);
	m.image = text(job->image);
	m.image_id = text(job->image_id);
	if (job->list != NULL) {
		m.prefix = text(job->list->prefix);
		m.slice = job->list->slice;
		m.slices = job->list->slices;
	}
	if (job->spec != NULL)
		pack_spec(&m, job->spec, settings, list);
	frame.body_case = WORKER__FRAME__BODY_JOB;
	frame.job = &m;
	worker_send(lane->channel, &frame);
}

static struct lane *
free_lane(unsigned *starting)
{
	struct lane *lane, *found = NULL;

	*starting = 0;
	LIST_FOREACH (lane, &ln.lanes, link) {
		if (lane->channel == NULL)
			continue;
		if (!lane->ready)
			(*starting)++;
		else if (lane->job == NULL && found == NULL)
			found = lane;
	}
	return found;
}

/* Gives jobs to free lanes, and starts lanes for those that wait. */
static void
dispatch(void)
{
	unsigned max = ln.session->max_lanes != 0 ? ln.session->max_lanes
						  : LANES_DEFAULT;
	struct lane_job *job;
	struct lane *lane;
	unsigned starting, waiting = 0;
	int rc;

	while ((job = STAILQ_FIRST(&ln.queue)) != NULL &&
	    (lane = free_lane(&starting)) != NULL) {
		STAILQ_REMOVE_HEAD(&ln.queue, link);
		send_job(lane, job);
	}
	STAILQ_FOREACH (job, &ln.queue, link)
		waiting++;
	(void)free_lane(&starting);
	while (waiting > starting && ln.nlanes < max) {
		rc = start_lane();
		if (rc < 0) {
			fail_first(ERR_UNAVAILABLE, strerror(-rc));
			waiting--;
		} else {
			starting++;
		}
	}
}

void
lane_job_start(struct lane_job *job, struct wake *waiter)
{
	job->waiter = waiter;
	job->id = ++ln.last_id;
	memset(&job->err, 0, sizeof(job->err));
	job->nwatchers = 0;
	job->made_id[0] = '\0';
	job->child[0] = '\0';
	job->lane = NULL;
	job->late = (struct timer){ .fire = on_late };
	if (job->kind != LANE_TRASH_REMOVE && job->kind != LANE_LIST_OBJECTS)
		timer_arm(&job->late, LANE_JOB_MS);
	STAILQ_INSERT_TAIL(&ln.queue, job, link);
	dispatch();
}

void
lanes_init(const struct session *session)
{
	ln.session = session;
	LIST_INIT(&ln.lanes);
	STAILQ_INIT(&ln.queue);
}

void
lanes_fini(void)
{
	struct lane *lane;

	while ((lane = LIST_FIRST(&ln.lanes)) != NULL) {
		helper_forget(&lane->helper);
		timer_disarm(&lane->idle);
		channel_free(lane->channel);
		LIST_REMOVE(lane, link);
		free(lane);
	}
	ln.nlanes = 0;
}
