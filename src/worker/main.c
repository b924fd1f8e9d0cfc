/*
 * main.c - ceph-worker: one Ceph session, or one lane of it.
 *
 * Everything it needs comes in the first frame on descriptor 3, the channel
 * to its parent; the end of that channel is its order to end. It then brings
 * what runs to a safe end, within DRAIN_MS: operations that are cut off after
 * that are completed by their next call.
 */
#include "base/clock.h"
#include "base/log.h"
#include "controller/controller.h"
#include "controller/purge.h"
#include "core/signal.h"
#include "core/timer.h"
#include "obs/dump.h"
#include "worker/lane.h"
#include "worker/lanes.h"
#include "worker/requests.h"
#include "worker/session.h"

#include "ceph/rados.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define CHANNEL_FD 3
#define DRAIN_MS 30000
#define DRAIN_POLL_MS 50

static struct {
	struct channel *channel;
	struct session session;
	struct ceph_connection *conn; /* NULL: no Hello yet */
	bool lane;
	bool failed;
	int64_t drain_until_ms;
	struct timer drain;
} wk;

static void
send_ready(void)
{
	Worker__Frame frame = WORKER__FRAME__INIT;
	Worker__Ready ready = WORKER__READY__INIT;

	ready.fsid = (char *)(uintptr_t)wk.conn->fsid;
	ready.address = (char *)(uintptr_t)wk.conn->address;
	frame.body_case = WORKER__FRAME__BODY_READY;
	frame.ready = &ready;
	worker_send(wk.channel, &frame);
}

static void
send_failed(const char *step, const struct err *err)
{
	Worker__Frame frame = WORKER__FRAME__INIT;
	Worker__Failed failed = WORKER__FAILED__INIT;

	failed.code = err->code;
	failed.step = (char *)(uintptr_t)step;
	failed.text = (char *)(uintptr_t)err->text;
	frame.body_case = WORKER__FRAME__BODY_FAILED;
	frame.failed = &failed;
	worker_send(wk.channel, &frame);
}

/* Before the reply to the request that found it out. */
static void
on_lost(void)
{
	struct err err = ERR_INIT;

	(void)err_set(&err, ERR_UNAVAILABLE,
	    "the cluster has blocklisted this client, %s", wk.conn->address);
	log_warn("session.lost", "cluster=%s text=\"%s\"",
	    wk.session.cluster_id, err.text);
	send_failed("use the session", &err);
}

static void
start_log(const struct session *s, bool lane)
{
	enum log_level level = s->log_level <= LOG_LEVEL_DEBUG
	    ? (enum log_level)s->log_level
	    : LOG_LEVEL_INFO;

	log_init(lane ? "ceph-lane" : "ceph-worker", level,
	    s->log_json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
}

static void
on_hello(const Worker__Hello *hello)
{
	struct err err = ERR_INIT;
	const char *step;

	wk.lane = hello->role == WORKER__HELLO__ROLE__LANE;
	worker_session_init(&wk.session, hello);
	start_log(&wk.session, wk.lane);
	(void)prctl(PR_SET_NAME, wk.lane ? "ceph-lane" : "ceph-worker");
	if (session_connect(&wk.session, &wk.conn, &step, &err) < 0) {
		log_warn("session.failed", "cluster=%s step=\"%s\" text=\"%s\"",
		    wk.session.cluster_id, step, err.text);
		send_failed(step, &err);
		wk.failed = true;
		loop_stop();
		return;
	}
	if (!wk.lane) {
		controller_init(wk.conn);
		lanes_init(&wk.session);
		worker_requests_init(wk.channel, &wk.session);
		rados_when_lost(on_lost);
	}
	log_info("session.up", "cluster=%s user=%s fsid=%s address=%s",
	    wk.session.cluster_id, wk.session.user, wk.conn->fsid,
	    wk.conn->address);
	send_ready();
}

/* What the other side must not send: our peer is our own program. */
static void
broken(const char *what)
{
	log_error("channel.broken", "%s", what);
	wk.failed = true;
	loop_stop();
}

static void
on_frame(struct channel *channel, const void *bytes, size_t len, const int *fds,
    size_t nfds, void *arg)
{
	Worker__Frame *frame = worker__frame__unpack(NULL, len, bytes);

	(void)channel;
	(void)arg;
	/* Keys and passphrases; the channel does not need the bytes again. */
	secret_wipe((void *)(uintptr_t)bytes, len);
	for (size_t i = 0; i < nfds; i++)
		(void)close(fds[i]);
	if (frame == NULL) {
		broken("a frame that is none");
		return;
	}
	if ((wk.conn != NULL) ==
	    (frame->body_case == WORKER__FRAME__BODY_HELLO)) {
		broken("Hello is not the first frame, or not the only one");
	} else if (frame->body_case == WORKER__FRAME__BODY_HELLO) {
		on_hello(frame->hello);
		secret_wipe(frame->hello->key.data, frame->hello->key.len);
	} else if (frame->body_case == WORKER__FRAME__BODY_REQUEST &&
	    !wk.lane) {
		worker_requests_take(frame->request);
		secret_wipe(
		    frame->request->body.data, frame->request->body.len);
	} else if (frame->body_case == WORKER__FRAME__BODY_CANCEL && !wk.lane) {
		worker_requests_cancel(frame->cancel->id);
	} else if (frame->body_case == WORKER__FRAME__BODY_JOB && wk.lane) {
		lane_run(wk.channel, wk.conn, frame->job);
	} else {
		broken("a frame that is not for us");
	}
	worker__frame__free_unpacked(frame, NULL);
}

static void
on_drain(struct timer *timer)
{
	if (worker_requests_running() == 0 && purge_running() == 0) {
		loop_stop();
	} else if (clock_now_ms() >= wk.drain_until_ms) {
		log_warn("worker.cut", "requests=%zu purges=%u",
		    worker_requests_running(), purge_running());
		loop_stop();
	} else {
		timer_arm(timer, DRAIN_POLL_MS);
	}
}

static void
on_closed(struct channel *channel, int rc, void *arg)
{
	(void)channel;
	(void)arg;
	if (rc < 0)
		log_warn("channel.closed", "text=\"%s\"", strerror(-rc));
	if (wk.lane || wk.conn == NULL) {
		loop_stop();
		return;
	}
	worker_requests_orphan();
	wk.drain_until_ms = clock_now_ms() + DRAIN_MS;
	wk.drain.fire = on_drain;
	timer_arm(&wk.drain, 0);
}

static void
on_dump(int signo)
{
	(void)signo;
	dump_log();
}

static const struct channel_ops channel_ops = {
	.frame = on_frame,
	.closed = on_closed,
};

/*
 * Orderly if nothing runs any more. Otherwise memory is still in use by
 * librados, and closing it could wait for a cluster that does not answer. A
 * lane has closed its image already, and librbd's threads may keep
 * rados_shutdown waiting.
 */
static void
finish(void)
{
	bool idle = op_count() == 0 && rados_in_flight() == 0;

	if (!wk.failed && wk.conn != NULL)
		log_info("session.down", "cluster=%s", wk.session.cluster_id);
	if (wk.lane || !idle)
		_exit(wk.failed ? EXIT_FAILURE : EXIT_SUCCESS);
	if (wk.conn != NULL) {
		worker_requests_fini();
		lanes_fini();
		controller_fini();
	}
	channel_free(wk.channel);
	ceph_connection_close(wk.conn);
	session_fini(&wk.session);
	timer_disarm(&wk.drain);
	signal_fini();
	loop_fini();
}

int
main(void)
{
	int type;
	socklen_t len = sizeof(type);

	process_begin();
	/* The parent ends us by the channel, not a terminal by a signal. */
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	log_init("ceph-worker", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	if (getsockopt(CHANNEL_FD, SOL_SOCKET, SO_TYPE, &type, &len) < 0) {
		fprintf(stderr,
		    "ceph-worker: is started by rbd-csid, which "
		    "talks to it on descriptor %d\n",
		    CHANNEL_FD);
		return EXIT_FAILURE;
	}
	if (loop_init() < 0) {
		fprintf(stderr, "ceph-worker: out of memory\n");
		return EXIT_FAILURE;
	}
	signal_watch(SIGUSR1, on_dump);
	wk.channel = channel_new(CHANNEL_FD, WORKER_FRAME_MAX,
	    WORKER_QUEUED_MAX, &channel_ops, NULL);
	loop_run();
	finish();
	return wk.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
