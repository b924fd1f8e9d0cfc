/*
 * worker.c - starting, framing, and the end of a ceph-worker.
 *
 * Two events tell the end: the channel's end of file (all it has said is read
 * then) and the exit of the process. The first one counts for the session,
 * the second one frees the memory.
 */
#include "daemon/worker.h"

#include "base/clock.h"
#include "core/channel.h"
#include "core/child.h"
#include "core/timer.h"
#include "csi/rpc.h"
#include "worker.pb-c.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define FRAME_MAX (CSI_MESSAGE_MAX + 65536)
#define QUEUED_MAX ((size_t)64 << 20)
#define END_MS 60000   /* from end of file to SIGKILL */
#define CLOSED_MS 1000 /* from exit to the channel's end of file */

struct worker {
	struct helper helper;
	pid_t pid;
	struct channel *channel; /* NULL: let go */
	const struct worker_ops *ops;
	void *arg;
	bool exited;
	struct timer timer;
	LIST_ENTRY(worker)
	link;
	struct sessions_purges purges; /* as told last */
};

static struct sessions_purges purges; /* of all workers */

static void
set_purges(
    struct worker *w, uint32_t running, uint32_t waiting, uint32_t blocked)
{
	purges.running += running - w->purges.running;
	purges.waiting += waiting - w->purges.waiting;
	purges.blocked += blocked - w->purges.blocked;
	w->purges = (struct sessions_purges){ running, waiting, blocked };
}

static LIST_HEAD(, worker) workers = LIST_HEAD_INITIALIZER(workers);

static void
worker_free(struct worker *w)
{
	timer_disarm(&w->timer);
	channel_free(w->channel);
	LIST_REMOVE(w, link);
	free(w);
}

void
worker_let_go(struct worker *w)
{
	set_purges(w, 0, 0, 0);
	channel_free(w->channel);
	w->channel = NULL;
	if (w->exited)
		worker_free(w);
	else
		timer_arm(&w->timer, END_MS);
}

void
worker_kill(struct worker *w)
{
	helper_kill(&w->helper, SIGKILL);
}

bool
worker_has_purges(const struct worker *w)
{
	return w->purges.running + w->purges.waiting + w->purges.blocked > 0;
}

struct sessions_purges
worker_purges(void)
{
	return purges;
}

pid_t
worker_pid(const struct worker *w)
{
	return w->pid;
}

void
worker_forget_all(void)
{
	while (!LIST_EMPTY(&workers)) {
		struct worker *w = LIST_FIRST(&workers);

		helper_forget(&w->helper);
		worker_free(w);
	}
}

static void
on_timer(struct timer *timer)
{
	struct worker *w = container_of(timer, struct worker, timer);

	if (!w->exited) {
		log_warn("worker.kill", "worker=%d did not end in %d s",
		    (int)worker_pid(w), END_MS / 1000);
		worker_kill(w);
	} else if (w->channel != NULL) {
		w->ops->gone(w->arg);
	}
}

static void
on_exited(struct helper *helper, int status)
{
	struct worker *w = container_of(helper, struct worker, helper);
	bool died = WIFSIGNALED(status) || WEXITSTATUS(status) != 0;

	log_line(died ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "worker.exit",
	    WIFSIGNALED(status) ? "worker=%d signal=%d" : "worker=%d status=%d",
	    (int)w->pid,
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	w->exited = true;
	if (w->channel == NULL)
		worker_free(w);
	else
		timer_arm(&w->timer, CLOSED_MS);
}

static void
on_closed(struct channel *channel, int rc, void *arg)
{
	struct worker *w = arg;

	(void)channel;
	if (rc < 0)
		log_warn("worker.channel", "worker=%d text=\"%s\"",
		    (int)worker_pid(w), strerror(-rc));
	w->ops->gone(w->arg);
}

/* ---- frames in ----------------------------------------------------------- */

static void
put_states(struct session_call *call, const Worker__Reply *reply)
{
	size_t at = 0;

	for (size_t i = 0; i < reply->n_states; i++) {
		const Worker__State *state = reply->states[i];
		int n = snprintf(call->states + at, sizeof(call->states) - at,
		    "%s%s:%.1f", i > 0 ? "," : "", state->name,
		    (double)state->us / 1000);

		if (n < 0 || (size_t)n >= sizeof(call->states) - at) {
			call->states[at] = '\0';
			return;
		}
		at += (size_t)n;
	}
}

static void
on_reply(struct worker *w, const Worker__Reply *reply)
{
	struct session_call *call = w->ops->call_of(w->arg, reply->id);

	if (call == NULL) {
		log_warn("worker.reply", "worker=%d id=%llu is unknown",
		    (int)worker_pid(w), (unsigned long long)reply->id);
		return;
	}
	put_states(call, reply);
	if (reply->code != ERR_OK) {
		(void)err_set(&call->err,
		    reply->code <= ERR_UNAUTHENTICATED
			? (enum err_code)reply->code
			: ERR_UNKNOWN,
		    "%s", reply->text);
	} else {
		call->reply = mem_new(reply->body.len + 1);
		if (reply->body.len > 0)
			memcpy(call->reply, reply->body.data, reply->body.len);
		call->reply_len = reply->body.len;
	}
	w->ops->replied(w->arg, call);
}

static void
on_progress(struct worker *w, const Worker__Progress *progress)
{
	set_purges(w, progress->purges, progress->purges_waiting,
	    progress->purges_blocked);
	for (size_t i = 0; i < progress->n_running; i++) {
		const Worker__Running *running = progress->running[i];
		struct session_call *call = w->ops->call_of(
		    w->arg, running->id);

		if (call == NULL)
			continue;
		(void)snprintf(
		    call->state, sizeof(call->state), "%s", running->state);
		call->state_ms = (int64_t)running->state_ms;
	}
}

static void
on_failed(struct worker *w, const Worker__Failed *failed)
{
	enum err_code code = ERR_UNAVAILABLE;

	if (failed->code != ERR_OK && failed->code <= ERR_UNAUTHENTICATED)
		code = (enum err_code)failed->code;
	w->ops->failed(w->arg, code, failed->step, failed->text);
}

static void
on_frame(struct channel *channel, const void *bytes, size_t len, const int *fds,
    size_t nfds, void *arg)
{
	struct worker *w = arg;
	Worker__Frame *frame = worker__frame__unpack(NULL, len, bytes);

	(void)channel;
	for (size_t i = 0; i < nfds; i++)
		(void)close(fds[i]);
	switch (frame != NULL ? (int)frame->body_case : -1) {
	case WORKER__FRAME__BODY_READY:
		w->ops->ready(
		    w->arg, frame->ready->fsid, frame->ready->address);
		break;
	case WORKER__FRAME__BODY_FAILED:
		on_failed(w, frame->failed);
		break;
	case WORKER__FRAME__BODY_REPLY:
		on_reply(w, frame->reply);
		break;
	case WORKER__FRAME__BODY_PROGRESS:
		on_progress(w, frame->progress);
		break;
	default:
		log_error("worker.frame", "worker=%d speaks nonsense",
		    (int)worker_pid(w));
		worker_kill(w);
		w->ops->gone(w->arg);
		break;
	}
	if (frame != NULL)
		worker__frame__free_unpacked(frame, NULL);
}

static const struct channel_ops channel_ops = {
	.frame = on_frame,
	.closed = on_closed,
};

/* ---- frames out ---------------------------------------------------------- */

/* Frames may hold keys: the packed bytes are wiped. */
static int
send_frame(struct worker *w, const Worker__Frame *frame)
{
	size_t len = worker__frame__get_packed_size(frame);
	auto_free unsigned char *bytes = mem_new(len + 1);
	int rc;

	(void)worker__frame__pack(frame, bytes);
	rc = channel_send(w->channel, bytes, len);
	secret_wipe(bytes, len);
	return rc;
}

/* protobuf-c's strings are not const, but nobody writes to them. */
static char *
text(const char *s)
{
	return (char *)(uintptr_t)(s != NULL ? s : "");
}

static int
send_hello(struct worker *w, const struct worker_hello *h)
{
	const struct sessions_setup *setup = h->setup;
	Worker__Frame frame = WORKER__FRAME__INIT;
	Worker__Hello hello = WORKER__HELLO__INIT;

	hello.role = WORKER__HELLO__ROLE__WORKER;
	hello.cluster_id = text(h->cluster_id);
	hello.monitors = text(h->monitors);
	hello.user = text(h->user);
	hello.key.data = (uint8_t *)h->key->text;
	hello.key.len = h->key->len;
	hello.instance_id = text(setup->instance_id);
	hello.cluster_name = text(setup->cluster_name);
	hello.driver_name = text(setup->driver_name);
	hello.node_id = text(setup->node_id);
	hello.conf_file = text(
	    access(setup->ceph_conf, R_OK) == 0 ? setup->ceph_conf : "");
	hello.max_lanes = setup->max_lanes;
	hello.lane_idle_ms = (uint32_t)setup->idle_ms;
	hello.net_namespace = text(h->netns);
	hello.log_level = setup->log_level;
	hello.log_json = setup->log_json;
	frame.body_case = WORKER__FRAME__BODY_HELLO;
	frame.hello = &hello;
	return send_frame(w, &frame);
}

struct worker *
worker_new(const struct worker_hello *hello, const struct worker_ops *ops,
    void *arg, struct err *err)
{
	const char *path = hello->setup->worker_path;
	const char *const argv[] = { path, NULL };
	struct worker *w = mem_new(sizeof(*w));
	int fd[2], rc;

	LIST_INSERT_HEAD(&workers, w, link);
	w->ops = ops;
	w->arg = arg;
	w->timer.fire = on_timer;
	rc = channel_pair(fd);
	if (rc == 0) {
		w->channel = channel_new(
		    fd[0], FRAME_MAX, QUEUED_MAX, &channel_ops, w);
		rc = helper_spawn(&w->helper, argv, &fd[1], 1, true, on_exited);
		(void)close(fd[1]);
	}
	if (rc < 0) {
		(void)err_set(
		    err, ERR_UNAVAILABLE, "start %s: %s", path, strerror(-rc));
		worker_free(w);
		return NULL;
	}
	w->pid = w->helper.pid;
	(void)send_hello(w, hello); /* if it fails, `gone` follows */
	return w;
}

int
worker_send_request(
    struct worker *w, const struct session_call *call, struct err *err)
{
	Worker__Frame frame = WORKER__FRAME__INIT;
	Worker__Request request = WORKER__REQUEST__INIT;
	Worker__Cluster cluster = WORKER__CLUSTER__INIT;
	int rc;

	cluster.cluster_id = text(call->cluster_id);
	cluster.rados_namespace = text(call->rados_namespace);
	cluster.monitors = text(call->monitors);
	request.id = call->id;
	request.method = text(call->method);
	if (call->deadline_ms != 0) {
		int64_t left_ms = call->deadline_ms - clock_now_ms();

		request.timeout_ms = left_ms > 1 ? (uint32_t)left_ms : 1;
	}
	request.cluster = &cluster;
	request.body.data = (uint8_t *)(uintptr_t)call->body;
	request.body.len = call->len;
	frame.body_case = WORKER__FRAME__BODY_REQUEST;
	frame.request = &request;
	rc = send_frame(w, &frame);
	if (rc < 0)
		return err_set(err, ERR_UNAVAILABLE,
		    "send to the ceph-worker of cluster \"%s\": %s",
		    call->cluster_id, strerror(-rc));
	return 0;
}

void
worker_send_cancel(struct worker *w, uint64_t id)
{
	Worker__Frame frame = WORKER__FRAME__INIT;
	Worker__Cancel cancel = WORKER__CANCEL__INIT;

	cancel.id = id;
	frame.body_case = WORKER__FRAME__BODY_CANCEL;
	frame.cancel = &cancel;
	(void)send_frame(w, &frame); /* if it fails, `gone` follows */
}
