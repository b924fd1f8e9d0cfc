/*
 * userspace_process.c - the rbd-attachd of a session: its start and end, its
 * successors, what it says and what it is told. See userspace_session.h.
 */
#include "base/clock.h"
#include "base/log.h"
#include "config.h"
#include "node/userspace_found.h"
#include "node/userspace_mount.h"
#include "node/userspace_session_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#define IDLE_MS 60000 /* without an image a session ends */
#define DRAIN_MS 10000
#define RECONNECT_MS 200
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
#define PROVEN_MS                                                              \
	10000        /* served for so long: the next start is the
				   first one again */
#define CALL_TRIES 2 /* servers that die over one command */

/* ---- commands ---------------------------------------------------------- */

static void
end_call(struct session_call *call, const struct err *err)
{
	TAILQ_REMOVE(&call->session->calls, call, link);
	call->err = *err;
	wake_up(call->waiter, err->rc);
}

void
session_fail_calls(struct session *s, const struct err *err)
{
	struct session_call *call;

	while ((call = TAILQ_FIRST(&s->calls)) != NULL) {
		call->lost = s->lost;
		end_call(call, err);
	}
}

static void
send_call(struct session *s, struct session_call *call)
{
	char buf[WIRE_FRAME_MAX];
	int len = wire_request_pack(&call->request, buf);

	call->sent = true;
	call->tries++;
	/* A channel that breaks here is reported to on_closed. */
	if (len > 0)
		(void)channel_send(s->channel, buf, (size_t)len);
}

void
session_call_start(
    struct session *s, struct session_call *call, struct wake *waiter)
{
	call->session = s;
	call->waiter = waiter;
	call->sent = call->lost = false;
	call->tries = 0;
	call->request.id = ++s->last_id;
	TAILQ_INSERT_TAIL(&s->calls, call, link);
	if (s->state == SESSION_READY)
		send_call(s, call);
}

/* ---- the process and its end ------------------------------------------- */

/* The process is gone for certain: nobody reads /dev/fuse now. */
static void
process_gone(struct session *s)
{
	struct session_call *call, *next;
	struct err err = ERR_INIT;

	channel_free(s->channel);
	s->channel = NULL;
	s->pid = 0;
	timer_disarm(&s->timer);
	if (session_used(s) > 0)
		session_lose_if_aborted(s);
	for (call = TAILQ_FIRST(&s->calls); call != NULL; call = next) {
		next = TAILQ_NEXT(call, link);
		call->sent = false;
		if (call->tries >= CALL_TRIES) {
			(void)err_set(&err, ERR_UNAVAILABLE,
			    "rbd-attachd died %u times over it", call->tries);
			end_call(call, &err);
		}
	}
	if (s->err.rc < 0)
		session_fail_calls(s, &s->err);
	if (s->lost || s->table == NULL || s->fuse_fd < 0 ||
	    (session_used(s) == 0 && TAILQ_EMPTY(&s->calls))) {
		session_begin_end(s);
		return;
	}
	if (s->ready_ms != 0 && clock_now_ms() - s->ready_ms >= PROVEN_MS)
		s->failures = 0;
	s->ready_ms = 0;
	session_set_state(s, SESSION_DOWN);
	/* The first successor at once: I/O is waiting. */
	timer_arm(&s->timer,
	    s->failures == 0      ? 0
		: s->failures > 6 ? BACKOFF_MAX_MS
				  : BACKOFF_MIN_MS << (s->failures - 1));
	s->failures++;
}

static void
on_exited(struct helper *helper, int status)
{
	struct session *s = container_of(helper, struct session, helper);

	log_line(s->state == SESSION_DRAINING ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
	    "userspace.exited", "session=%s status=%d state=%s images=%u",
	    s->dir, status, session_state_name(s->state), session_used(s));
	process_gone(s);
}

void
process_found_gone(struct io *io, int what)
{
	struct session *s = container_of(io, struct session, pidfd);
	int fd = io->fd;

	(void)what;
	io_unwatch(io);
	(void)close(fd);
	log_line(s->state == SESSION_DRAINING ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
	    "userspace.exited", "session=%s state=%s images=%u", s->dir,
	    session_state_name(s->state), session_used(s));
	process_gone(s);
}

void
process_kill(struct session *s)
{
	if (s->helper.pid > 0)
		helper_kill(&s->helper, SIGKILL);
	else if (s->pidfd.ev != NULL)
		(void)syscall(
		    SYS_pidfd_send_signal, s->pidfd.fd, SIGKILL, NULL, 0);
}

static void
on_closed(struct channel *channel, int rc, void *arg)
{
	struct session *s = arg;

	(void)rc;
	if (s->fuse_fd < 0) {
		/* It may hold the only descriptors: ask again, if it lives. */
		channel_free(channel);
		s->channel = NULL;
		timer_arm(&s->timer, RECONNECT_MS);
		return;
	}
	/*
	 * It is dead, or can take no command any more: make sure. What comes
	 * next follows from its end.
	 */
	process_kill(s);
}

/* ---- answers ----------------------------------------------------------- */

static void
serve(struct session *s, const struct wire_answer *answer)
{
	struct session_call *call;

	log_info("userspace.ready",
	    "session=%s pid=%u version=%s generation=%u images=%u", s->dir,
	    answer->ready.pid, answer->ready.version, answer->ready.generation,
	    session_used(s));
	s->ready_ms = clock_now_ms();
	s->err = (struct err)ERR_INIT;
	session_set_state(s, SESSION_READY);
	timer_arm(&s->timer, IDLE_MS);
	session_shared.ops->ready(s);
	if (!str_eq(answer->ready.version, PACKAGE_VERSION)) {
		session_replace(s, true);
		return;
	}
	TAILQ_FOREACH (call, &s->calls, link)
		send_call(s, call);
}

/* A rbd-attachd that we found gives the descriptors. */
static int
take_descriptors(
    struct session *s, const int *fds, size_t nfds, struct err *err)
{
	if (nfds != 2)
		return err_set(
		    err, ERR_INTERNAL, "%zu descriptors, not 2", nfds);
	s->fuse_fd = fds[0];
	s->table_fd = fds[1];
	s->table = table_map(s->table_fd, err);
	return s->table != NULL ? 0 : err->rc;
}

/*
 * Takes them without its help, while it may wait for the cluster: from now on
 * it is not the last one that holds them.
 */
int
process_seize(struct session *s, int pidfd, struct err *err)
{
	int fds[2], rc = found_descriptors(pidfd, fds);

	if (rc < 0)
		return err_set_rc(err, rc, "pidfd_getfd");
	rc = take_descriptors(s, fds, 2, err);
	if (rc < 0) {
		close_fd(&s->fuse_fd);
		close_fd(&s->table_fd);
	}
	return rc;
}

/* It serves, but we cannot manage it: another version's. It is left alone. */
static void
forget(struct session *s, const struct err *err)
{
	int fd = s->pidfd.fd;

	log_error("userspace.join", "session=%s pid=%d text=\"%s\"", s->dir,
	    (int)s->pid, err->text);
	io_unwatch(&s->pidfd);
	(void)close(fd);
	session_shared.ops->gone(s);
	session_fail_calls(s, err);
	session_free(s);
}

static void
on_answer(struct session *s, const struct wire_answer *answer)
{
	struct session_call *call;

	TAILQ_FOREACH (call, &s->calls, link)
		if (call->request.id == answer->id && call->sent)
			break;
	if (call == NULL)
		return; /* its waiter was told something else */
	call->answer = *answer;
	end_call(call, &answer->err);
}

static void
on_failed(struct session *s, const struct wire_answer *answer)
{
	switch (answer->failed.scope) {
	case WIRE_SCOPE_START:
		log_warn("userspace.failed",
		    "session=%s step=\"%s\" text=\"%s\"", s->dir,
		    answer->failed.step, answer->err.text);
		/* With images it tries again, but nobody waits so long. */
		s->err = answer->err;
		if (s->state == SESSION_STARTING)
			session_fail_calls(s, &s->err);
		break;
	case WIRE_SCOPE_RETIRED:
		session_retire(s, answer->err.text);
		break;
	case WIRE_SCOPE_LOST:
		session_lose(s, &answer->err);
		break;
	}
}

static void
on_frame(struct channel *channel, const void *bytes, size_t len, const int *fds,
    size_t nfds, void *arg)
{
	struct session *s = arg;
	struct wire_answer answer;
	struct err err = ERR_INIT;
	bool want = s->state == SESSION_JOINING;

	if (wire_answer_unpack(&answer, bytes, len) < 0) {
		log_error(
		    "userspace.answer", "session=%s bytes=%zu", s->dir, len);
		on_closed(channel, -EBADMSG, s);
		return;
	}
	want = want && answer.body == WIRE_READY && nfds == 2 && !s->lost;
	for (size_t i = 0; i < nfds && !want; i++)
		(void)close(fds[i]);
	switch (answer.body) {
	case WIRE_READY:
		if (s->lost)
			return;
		if (s->state == SESSION_JOINING &&
		    take_descriptors(s, fds, want ? nfds : 0, &err) < 0) {
			forget(s, &err);
			return;
		}
		if (s->state == SESSION_JOINING) {
			session_set_state(s, SESSION_STARTING);
			session_shared.ops->found(s);
		}
		if (!answer.ready.starting)
			serve(s, &answer);
		return;
	case WIRE_FAILED:
		on_failed(s, &answer);
		return;
	case WIRE_ATTACHED:
		if (answer.id == 0) {
			session_shared.ops->resized(
			    s, answer.attached.ino, answer.attached.size_bytes);
			return;
		}
		break;
	case WIRE_NOTHING:
	case WIRE_COUNTERS:
		break;
	}
	on_answer(s, &answer);
}

static const struct channel_ops channel_ops = {
	.frame = on_frame,
	.closed = on_closed,
};

void
process_hello(struct session *s, int fd, bool want_descriptors)
{
	struct wire_request hello = { .id = ++s->last_id,
		.kind = WIRE_HELLO,
		.want_descriptors = want_descriptors };
	char buf[WIRE_FRAME_MAX];
	int len = wire_request_pack(&hello, buf);

	s->channel = channel_new(
	    fd, WIRE_FRAME_MAX, WIRE_QUEUE_MAX, &channel_ops, s);
	if (len > 0)
		(void)channel_send(s->channel, buf, (size_t)len);
}

/* ---- start ------------------------------------------------------------- */

void
process_spawn(struct session *s)
{
	char level[2] = { (char)('0' +
			      (log_enabled(LOG_LEVEL_DEBUG) ? LOG_LEVEL_DEBUG
							    : LOG_LEVEL_INFO)),
		'\0' };
	const char *const argv[] = { session_shared.program, s->dir, level,
		NULL };
	int pair[2], fds[3], rc;

	rc = channel_pair(pair);
	if (rc == 0) {
		fds[0] = pair[1];
		fds[1] = s->fuse_fd;
		fds[2] = s->table_fd;
		rc = helper_spawn(&s->helper, argv, fds, 3, true, on_exited);
		(void)close(pair[1]);
		if (rc < 0)
			(void)close(pair[0]);
	}
	if (rc < 0) {
		s->err = (struct err)ERR_INIT;
		(void)err_set_rc(
		    &s->err, rc, "start %s", session_shared.program);
		log_error("userspace.start", "session=%s text=\"%s\"", s->dir,
		    s->err.text);
		process_gone(s);
		return;
	}
	s->err = (struct err)ERR_INIT;
	s->ends = false;
	s->pid = s->helper.pid;
	session_set_state(s, SESSION_STARTING);
	process_hello(s, pair[0], false);
}

void
session_replace(struct session *s, bool clean)
{
	if (!clean) {
		process_kill(s);
	} else if (s->state == SESSION_READY) {
		s->failures = 0;
		process_drain(s);
	}
}

/* ---- time ---------------------------------------------------------------- */

void
process_connect(struct session *s)
{
	int fd = found_connect(s->dir);

	if (fd >= 0)
		process_hello(s, fd, s->state == SESSION_JOINING);
	else
		timer_arm(&s->timer, RECONNECT_MS);
}

void
process_drain(struct session *s)
{
	struct wire_request drain = { .id = ++s->last_id, .kind = WIRE_DRAIN };
	char buf[WIRE_FRAME_MAX];
	int len = wire_request_pack(&drain, buf);

	session_set_state(s, SESSION_DRAINING);
	timer_arm(&s->timer, DRAIN_MS);
	if (len > 0 && s->channel != NULL)
		(void)channel_send(s->channel, buf, (size_t)len);
}

void
process_timer(struct timer *timer)
{
	struct session *s = container_of(timer, struct session, timer);

	if (s->state == SESSION_DOWN && s->lost) {
		session_begin_end(s);
	} else if (s->state == SESSION_DOWN) {
		process_spawn(s);
	} else if (s->state == SESSION_STARTING ||
	    s->state == SESSION_JOINING) {
		process_connect(s);
	} else if (s->state == SESSION_READY) {
		if (session_used(s) == 0 && TAILQ_EMPTY(&s->calls)) {
			s->ends = true;
			session_replace(s, true);
		} else {
			timer_arm(&s->timer, IDLE_MS);
		}
	} else if (s->state == SESSION_DRAINING) {
		log_warn("userspace.drain_late", "session=%s pid=%d", s->dir,
		    (int)s->pid);
		session_replace(s, false);
	}
}

void
process_watch(struct timer *timer)
{
	struct session *s = container_of(timer, struct session, watch_timer);

	timer_arm(timer, WATCH_LOOK_MS);
	if (s->pid == 0)
		return;
	switch (watch_look(&s->watch, "", s->pid)) {
	case WATCH_FINE:
		return;
	case WATCH_KILL:
		log_error("userspace.stuck",
		    "session=%s pid=%d thread=%d text=\"its reclaim of "
		    "memory hangs, as if it waited for its own volumes: "
		    "killing it\"",
		    s->dir, (int)s->pid, (int)s->watch.thread);
		process_kill(s);
		return;
	case WATCH_ABORT:
		log_error("userspace.stuck",
		    "session=%s pid=%d text=\"and cannot die: aborting its FUSE "
		    "connection\"",
		    s->dir, (int)s->pid);
		userspace_abort(s->dir);
		session_lose_if_aborted(s);
		return;
	}
}
