/*
 * main.c - ceph-worker: one Ceph session, or one lane of it.
 *
 * Everything it needs comes in the first frame on descriptor 3, the channel
 * to its parent; the end of that channel is its order to end. It then brings
 * what runs to a safe end, within DRAIN_MS: operations that are cut off after
 * that are completed by their next call.
 */
#include "config.h"

#include "base/clock.h"
#include "base/exit.h"
#include "base/log.h"
#include "base/secret.h"
#include "controller/controller.h"
#include "controller/purge.h"
#include "core/signal.h"
#include "obs/dump.h"
#include "worker/worker.h"

#include "ceph/rados.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define CHANNEL_FD 3
#define DRAIN_MS 30000
#define DRAIN_POLL_MS 50

static struct {
	Worker__Hello *hello;
	struct ceph_connection *conn; /* NULL: no Hello yet */
	bool lane;
	bool failed;
	int64_t drain_until_ms;
	struct timer drain;
} wk;

/* Before the reply to the request that found it out. */
static void
on_lost(void)
{
	struct peer_frame lost = { .kind = PEER_FAILED,
		.what = PEER_SCOPE_RETIRED,
		.step = "use the session" };

	(void)err_set(&lost.err, ERR_UNAVAILABLE,
	    "the cluster has blocklisted this client, %s", wk.conn->address);
	log_warn("session.lost", "cluster=%s text=\"%s\"", wk.hello->cluster_id,
	    lost.err.text);
	peer_answer(NULL, &lost);
}

/* Blocks. On failure *step is the step in words. */
static int
connect_ceph(const Worker__Hello *hello, const char **step, struct err *err)
{
	struct ceph_option *options = mem_new(
	    (hello->n_settings + 1) * sizeof(*options));
	struct secret key = SECRET_INIT;
	struct ceph_settings settings = {
		.monitors = *hello->monitors != '\0' ? hello->monitors : NULL,
		.user = hello->user,
		.key = &key,
		.conf_file = *hello->conf_file != '\0' ? hello->conf_file
						       : NULL,
		.options = options,
		.noptions = hello->n_settings,
		.connect_timeout_s = (hello->connect_timeout_ms + 999) / 1000,
		.op_timeout_s = CEPH_OP_TIMEOUT_S,
	};
	enum ceph_step at = CEPH_STEP_SETTINGS;
	int rc;

	for (size_t i = 0; i < hello->n_settings; i++)
		options[i] = (struct ceph_option){ hello->settings[i]->name,
			hello->settings[i]->value };
	secret_set(&key, (const char *)hello->key.data, hello->key.len);
	*step = "enter the network namespace";
	rc = process_enter_netns(hello->net_namespace, err);
	if (rc == 0) {
		rc = ceph_connection_open(&settings, &wk.conn, &at, err);
		*step = ceph_step_name(at);
	}
	secret_fini(&key);
	free(options);
	return rc;
}

static void
on_hello(const struct peer_from *from, const struct peer_frame *frame)
{
	Worker__Hello *hello = peer_unpack(frame, &worker__hello__descriptor);
	struct peer_frame answer = { .kind = PEER_READY };
	Worker__Ready ready = WORKER__READY__INIT;

	if (hello == NULL || wk.hello != NULL) {
		wk.failed = true;
		loop_stop();
		return;
	}
	wk.hello = hello;
	wk.lane = hello->role == WORKER__HELLO__ROLE__LANE;
	log_init(wk.lane ? "ceph-lane" : "ceph-worker",
	    hello->log_level <= LOG_LEVEL_DEBUG
		? (enum log_level)hello->log_level
		: LOG_LEVEL_INFO,
	    hello->log_json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
	(void)prctl(PR_SET_NAME, wk.lane ? "ceph-lane" : "ceph-worker");
	if (connect_ceph(hello, &answer.step, &answer.err) < 0) {
		log_warn("session.failed", "cluster=%s step=\"%s\" text=\"%s\"",
		    hello->cluster_id, answer.step, answer.err.text);
		answer.kind = PEER_FAILED;
		peer_answer(from, &answer);
		wk.failed = true;
		loop_stop();
		return;
	}
	if (!wk.lane) {
		controller_init(wk.conn);
		controller.kms_config = hello->kms_config;
		lanes_init(hello);
		worker_requests_init(hello);
		rados_when_lost(on_lost);
	}
	ready.fsid = (char *)(uintptr_t)wk.conn->fsid;
	ready.address = (char *)(uintptr_t)wk.conn->address;
	log_info("session.up", "cluster=%s user=%s fsid=%s address=%s",
	    hello->cluster_id, hello->user, ready.fsid, ready.address);
	answer.message = &ready.base;
	peer_answer(from, &answer);
}

static void
on_call(const struct peer_from *from, const struct peer_frame *frame)
{
	Worker__Request *request;
	Worker__Job *job;

	if (wk.lane) {
		job = peer_unpack(frame, &worker__job__descriptor);
		if (job != NULL) {
			lane_run(from, wk.conn, frame->what, job);
			secret_wipe(job->passphrase.data, job->passphrase.len);
			secret_wipe(job->secret.data, job->secret.len);
		}
		worker__job__free_unpacked(job, NULL);
		return;
	}
	request = peer_unpack(frame, &worker__request__descriptor);
	if (request != NULL) {
		worker_requests_take(from, request);
		secret_wipe(request->body.data, request->body.len);
	}
	worker__request__free_unpacked(request, NULL);
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
on_daemon_gone(int rc)
{
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

static const struct peer_service service = {
	.name = "ceph-worker",
	.version = WORKER__PROTOCOL__VERSION,
	.max_frame = WORKER_FRAME_MAX,
	.max_queued = WORKER_QUEUED_MAX,
	.hello = on_hello,
	.call = on_call,
	.cancel = worker_requests_cancel,
	.closed = on_daemon_gone,
};

/*
 * Orderly if nothing runs any more. Otherwise memory is still in use by
 * librados, and closing it could wait for a cluster that does not answer. A
 * lane has closed its image already, and librbd's threads may keep
 * rados_shutdown waiting.
 */
static void
worker_end(void)
{
	bool idle = op_count() == 0 && rados_in_flight() == 0;

	if (wk.hello != NULL && !wk.failed)
		log_info("session.down", "cluster=%s", wk.hello->cluster_id);
	if (wk.hello != NULL)
		secret_wipe(wk.hello->key.data, wk.hello->key.len);
	if (wk.lane || !idle)
		_exit(wk.failed ? EXIT_FAILED : EXIT_DONE);
	if (wk.conn != NULL) {
		lanes_fini();
		controller_fini();
	}
	peer_serve_end();
	ceph_connection_close(wk.conn);
	worker__hello__free_unpacked(wk.hello, NULL);
	timer_disarm(&wk.drain);
	signal_fini();
	loop_fini();
}

int
main(int argc, char **argv)
{
	int type;
	socklen_t len = sizeof(type);

	process_begin();
	if (argc == 2 && str_eq(argv[1], "--version")) {
		puts("ceph-worker " BUILT_VERSION);
		return EXIT_DONE;
	}
	/* The parent ends us by the channel, not a terminal by a signal. */
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	log_init("ceph-worker", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	if (getsockopt(CHANNEL_FD, SOL_SOCKET, SO_TYPE, &type, &len) < 0) {
		fprintf(stderr,
		    "ceph-worker: is started by rbd-csid, which talks to it on descriptor %d\n",
		    CHANNEL_FD);
		return EXIT_USAGE;
	}
	if (loop_init() < 0) {
		fprintf(stderr, "ceph-worker: out of memory\n");
		return EXIT_FAILED;
	}
	signal_watch(SIGUSR1, dump_log);
	peer_serve(CHANNEL_FD, &service);
	loop_run();
	worker_end();
	return wk.failed ? EXIT_FAILED : EXIT_DONE;
}
