/*
 * userspace_session.c - which sessions there are, how they begin and end, the
 * successors of their rbd-attachd, and the commands to it.
 */
#include "node/userspace_session.h"

#include "attach/address.h"
#include "base/clock.h"
#include "base/log.h"
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define IDLE_MS 60000 /* without an image a session ends */
#define DRAIN_MS 10000
#define RECONNECT_MS 200
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
#define PROVEN_MS 10000 /* served for so long: the next start is the first */
#define CALL_TRIES 2    /* servers that die over one command */

static const struct peer_kind attachd_kind;

static struct {
	char *root; /* STATEDIR/attach */
	char *program;
	const struct attach_session_ops *ops;
	LIST_HEAD(, attach_session) sessions;
	struct wake **waiting;
	size_t nwaiting, waiting_room;
	uint64_t starts;
	struct userspace_io past; /* of those that have ended */
} as = { .sessions = LIST_HEAD_INITIALIZER(as.sessions) };

/* ---- small things ------------------------------------------------------ */

static struct attach_session *
session_of(struct peer *peer)
{
	return container_of(peer, struct attach_session, peer);
}

/* Its state is another one: wakes who waits for that. */
static void
session_changed(const struct attach_session *s)
{
	log_debug("userspace.state", "session=%s state=%s", s->dir,
	    attach_session_state(s));
	while (as.nwaiting > 0)
		wake_up(as.waiting[--as.nwaiting], 0);
}

const char *
attach_session_state(const struct attach_session *s)
{
	static const char *const of_session[] = {
		[ATTACH_MOUNTING] = "mounting",
		[ATTACH_JOINING] = "joining",
		[ATTACH_ENDING] = "ending",
	};
	static const char *const of_peer[] = {
		[PEER_IDLE] = "down",
		[PEER_STARTING] = "starting",
		[PEER_UP] = "ready",
		[PEER_BACKOFF] = "down",
		[PEER_DRAINING] = "draining",
	};

	return s->state != ATTACH_SERVED ? of_session[s->state]
					 : of_peer[s->peer.state];
}

struct userspace_io
attach_session_io(void)
{
	struct userspace_io sum = as.past;
	struct attach_session *s;

	sum.starts = as.starts;
	LIST_FOREACH (s, &as.sessions, link)
		if (s->table != NULL)
			userspace_io_add(&sum, s->table);
	return sum;
}

struct attach_session *
attach_session_next(struct attach_session *s)
{
	return s == NULL ? LIST_FIRST(&as.sessions) : LIST_NEXT(s, link);
}

void
attach_session_wait_start(struct wake *waiter)
{
	if (as.nwaiting == as.waiting_room) {
		as.waiting_room = as.waiting_room * 2 + 8;
		as.waiting = mem_grow(
		    as.waiting, as.waiting_room * sizeof(*as.waiting));
	}
	as.waiting[as.nwaiting++] = waiter;
}

static unsigned
session_used(const struct attach_session *s)
{
	return s->table != NULL ? table_slots_used(s->table) : 0;
}

static bool
has_calls(const struct attach_session *s)
{
	return !TAILQ_EMPTY(&s->waiting) || !TAILQ_EMPTY(&s->peer.calls);
}

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/* ---- commands ---------------------------------------------------------- */

/* Its waiter is told, and it is in no list any more. */
static void
attach_call_end(struct attach_call *call, const struct err *err)
{
	if (call->waits)
		TAILQ_REMOVE(&call->session->waiting, call, link);
	else if (call->peer_call.peer != NULL)
		peer_call_take(&call->peer_call);
	call->waits = false;
	call->err = *err;
	call->lost = err->rc < 0 && call->session->lost;
	wake_up(call->waiter, err->rc);
}

static void
fail_calls(struct attach_session *s, const struct err *err)
{
	struct peer_call *sent;
	struct attach_call *call;

	while ((sent = TAILQ_FIRST(&s->peer.calls)) != NULL)
		attach_call_end(
		    container_of(sent, struct attach_call, peer_call), err);
	while ((call = TAILQ_FIRST(&s->waiting)) != NULL)
		attach_call_end(call, err);
}

static void
on_reply(struct peer_call *sent, const struct peer_frame *frame)
{
	struct attach_call *call = container_of(
	    sent, struct attach_call, peer_call);
	struct err err = frame->err;

	if (call->what == ATTACH__CALL__ATTACH && !err_is_set(&err)) {
		call->attached = peer_unpack(
		    frame, &attach__attached__descriptor);
		if (call->attached == NULL || *call->attached->file == '\0')
			(void)err_set(&err, ERR_INTERNAL,
			    "rbd-attachd: strange answer to an attach");
	}
	attach_call_end(call, &err);
}

static void
send_calls(struct attach_session *s)
{
	struct attach_call *call;
	struct err err = ERR_INIT;
	int rc;

	while ((call = TAILQ_FIRST(&s->waiting)) != NULL) {
		call->peer_call.reply = on_reply;
		rc = peer_call_send(
		    &s->peer, &call->peer_call, call->what, &call->target.base);
		if (rc < 0 && rc != -EMSGSIZE)
			return; /* it is dead: the successor gets them */
		if (rc < 0) {
			(void)err_set_rc(
			    &err, rc, "send a command to rbd-attachd");
			attach_call_end(call, &err);
			continue;
		}
		TAILQ_REMOVE(&s->waiting, call, link);
		call->waits = false;
		call->tries++;
	}
}

void
attach_call_start(struct attach_session *s, struct attach_call *call,
    Attach__Call what, struct wake *waiter)
{
	attach_call_fini(call);
	call->session = s;
	call->what = what;
	call->waiter = waiter;
	call->waits = true;
	call->lost = false;
	call->tries = 0;
	TAILQ_INSERT_TAIL(&s->waiting, call, link);
	if (s->peer.state == PEER_UP)
		send_calls(s);
}

void
attach_call_fini(struct attach_call *call)
{
	attach__attached__free_unpacked(take_ptr(&call->attached), NULL);
}

/* ---- the end ----------------------------------------------------------- */

static void
session_free(struct attach_session *s)
{
	s->state = ATTACH_ENDING;
	session_changed(s);
	LIST_REMOVE(s, link);
	timer_disarm(&s->timer);
	timer_disarm(&s->watch_timer);
	peer_fini(&s->peer);
	close_fd(&s->fuse_fd);
	close_fd(&s->table_fd);
	if (s->table != NULL)
		userspace_io_add_past(&as.past, s->table);
	table_unmap(s->table);
	free(s);
}

static void
on_unmounted(struct wake *wake, int rc)
{
	struct attach_session *s = container_of(
	    wake, struct attach_session, mounted);
	struct err err = ERR_INIT;

	(void)rc;
	log_info("userspace.ended", "session=%s text=\"%s\"", s->dir,
	    s->mount.off.err.text);
	(void)err_set(&err, ERR_UNAVAILABLE, "session has ended, try again");
	fail_calls(s, s->err.rc < 0 ? &s->err : &err);
	session_free(s);
}

/*
 * No process serves and none will: gives everything back. What still waits
 * in the kernel ends with an error as the last descriptor is closed. The loop
 * devices of images that were in use stay, dead, until their volumes are
 * staged or unstaged: a device node that somebody still has must not become
 * another image's.
 */
static void
session_end(struct attach_session *s)
{
	if (s->state == ATTACH_ENDING)
		return;
	peer_fini(&s->peer);
	s->state = ATTACH_ENDING;
	session_changed(s);
	timer_disarm(&s->timer);
	as.ops->gone(s);
	address_bury(s->dir);
	close_fd(&s->fuse_fd);
	s->mounted.fn = on_unmounted;
	userspace_unmount_start(&s->mount, s->dir, &s->mounted);
}

/*
 * Its images are dead from now on, whatever becomes of the process. That is
 * given the time to close them, which frees their locks.
 */
static void
session_lose(struct attach_session *s, const struct err *why)
{
	if (s->lost)
		return;
	s->lost = s->ends = true;
	s->err = *why;
	log_error("userspace.lost",
	    "session=%s pid=%d images=%u text=\"%s: its volumes must be staged anew\"",
	    s->dir, (int)peer_pid(&s->peer), session_used(s), why->text);
	as.ops->gone(s);
	fail_calls(s, why);
	if (peer_pid(&s->peer) != 0) {
		peer_drain(&s->peer);
		session_changed(s);
	} else {
		session_end(s);
	}
}

static void
lose_if_aborted(struct attach_session *s)
{
	struct err err = ERR_INIT;

	if (s->fuse_fd < 0 || s->state == ATTACH_MOUNTING ||
	    !userspace_fuse_has_ended(s->fuse_fd))
		return;
	(void)err_set(&err, ERR_UNAVAILABLE,
	    "the FUSE connection of %s/mnt was aborted", s->dir);
	session_lose(s, &err);
}

/* It serves what it has; the next image goes to another session. */
static void
session_retire(struct attach_session *s, const char *why)
{
	if (!s->retired)
		log_warn("userspace.retired",
		    "session=%s images=%u text=\"%s\"", s->dir, session_used(s),
		    why);
	s->retired = true;
}

/* It serves, but we cannot manage it, nor replace it: it is left alone. */
static void
session_forget(struct attach_session *s, const struct err *err)
{
	log_error("userspace.join", "session=%s pid=%d text=\"%s\"", s->dir,
	    (int)peer_pid(&s->peer), err->text);
	peer_forget(&s->peer);
	as.ops->gone(s);
	fail_calls(s, err);
	session_free(s);
}

/* ---- start and end of the process ---------------------------------------- */

static void
session_down(struct attach_session *s)
{
	struct peer_call *sent;
	struct err err = ERR_INIT;

	timer_disarm(&s->timer);
	if (session_used(s) > 0)
		lose_if_aborted(s);
	if (s->state == ATTACH_ENDING)
		return;
	/* The process died over them: back to the others, for the next one. */
	while ((sent = TAILQ_LAST(&s->peer.calls, peer_calls)) != NULL) {
		struct attach_call *call = container_of(
		    sent, struct attach_call, peer_call);

		if (call->tries >= CALL_TRIES) {
			(void)err_set(&err, ERR_UNAVAILABLE,
			    "rbd-attachd died %u times over it", call->tries);
			attach_call_end(call, &err);
			continue;
		}
		peer_call_take(sent);
		call->waits = true;
		TAILQ_INSERT_HEAD(&s->waiting, call, link);
	}
	if (s->err.rc < 0)
		fail_calls(s, &s->err);
	if (s->lost || s->table == NULL || s->fuse_fd < 0 ||
	    (session_used(s) == 0 && !has_calls(s))) {
		session_end(s);
		return;
	}
	if (s->ready_ms != 0 && clock_now_ms() - s->ready_ms >= PROVEN_MS)
		s->peer.failures = 0;
	s->ready_ms = 0;
	/* The first successor at once: I/O is waiting. */
	peer_end(&s->peer);
	session_changed(s);
}

static void
session_start(struct attach_session *s)
{
	const char level[] = { log_enabled(LOG_LEVEL_DEBUG)
		    ? '0' + LOG_LEVEL_DEBUG
		    : '0' + LOG_LEVEL_INFO,
		'\0' };
	const char *const argv[] = { as.program, s->dir, level, NULL };
	const int fds[] = { s->fuse_fd, s->table_fd };
	Attach__Hello hello = ATTACH__HELLO__INIT;

	s->err = (struct err)ERR_INIT;
	s->ends = false;
	if (peer_spawn(
		&s->peer, argv, fds, countof(fds), &hello.base, &s->err) < 0) {
		log_error("userspace.start", "session=%s text=\"%s\"", s->dir,
		    s->err.text);
		session_down(s);
		return;
	}
	s->spawned = true;
	s->state = ATTACH_SERVED;
	session_changed(s);
}

void
attach_session_replace(struct attach_session *s, bool clean)
{
	if (!clean) {
		peer_kill(&s->peer, SIGKILL);
	} else if (s->peer.state == PEER_UP) {
		s->peer.failures = 0;
		peer_drain(&s->peer);
		session_changed(s);
	}
}

/* To a process that we have found, when it listens. */
static void
session_connect(struct attach_session *s, int fd)
{
	Attach__Hello hello = ATTACH__HELLO__INIT;

	s->spawned = false;
	hello.want_descriptors = s->state == ATTACH_JOINING;
	if (fd >= 0)
		peer_greet(&s->peer, fd, &hello.base);
	else
		timer_arm(&s->timer, RECONNECT_MS);
}

static int
connect_to(const char *dir)
{
	auto_free char *path = str_fmt("%s/sock", dir);

	return peer_socket(path);
}

static void
on_session_timer(struct timer *timer)
{
	struct attach_session *s = container_of(
	    timer, struct attach_session, timer);

	if (s->peer.state == PEER_STARTING && !peer_is_connected(&s->peer)) {
		session_connect(s, connect_to(s->dir));
	} else if (s->peer.state == PEER_UP) {
		s->ends = session_used(s) == 0 && !has_calls(s);
		if (s->ends)
			attach_session_replace(s, true);
		else
			timer_arm(timer, IDLE_MS);
	}
}

static void
on_watch_timer(struct timer *timer)
{
	struct attach_session *s = container_of(
	    timer, struct attach_session, watch_timer);
	pid_t pid = peer_pid(&s->peer);

	timer_arm(timer, WATCH_LOOK_MS);
	if (pid == 0)
		return;
	switch (watch_look(&s->watch, "", pid)) {
	case WATCH_FINE:
		return;
	case WATCH_KILL:
		log_error("userspace.stuck",
		    "session=%s pid=%d thread=%d text=\"its reclaim of memory hangs, as if it waited for its own volumes: killing it\"",
		    s->dir, (int)pid, (int)s->watch.thread);
		peer_kill(&s->peer, SIGKILL);
		return;
	case WATCH_ABORT:
		log_error("userspace.stuck",
		    "session=%s pid=%d text=\"and cannot die: aborting its FUSE connection\"",
		    s->dir, (int)pid);
		userspace_abort(s->dir);
		lose_if_aborted(s);
		return;
	}
}

/* ---- what rbd-attachd says ----------------------------------------------- */

static void
on_attachd_ready(struct peer *peer, const struct peer_frame *frame)
{
	struct attach_session *s = session_of(peer);
	Attach__Ready *ready = peer_unpack(frame, &attach__ready__descriptor);
	struct err err = ERR_INIT;
	bool same;

	if (ready == NULL) {
		peer_broken(peer, "a greeting that is none");
		return;
	}
	same = str_eq(ready->version, PACKAGE_VERSION);
	log_info("userspace.ready",
	    "session=%s pid=%d version=%s generation=%u images=%u", s->dir,
	    (int)peer_pid(peer), ready->version, ready->generation,
	    session_used(s));
	attach__ready__free_unpacked(ready, NULL);
	if (s->state == ATTACH_JOINING) {
		(void)err_set(&err, ERR_INTERNAL, "it gives no descriptors");
		session_forget(s, &err);
		return;
	}
	s->ready_ms = clock_now_ms();
	s->err = (struct err)ERR_INIT;
	session_changed(s);
	timer_arm(&s->timer, IDLE_MS);
	as.ops->ready(s);
	if (same)
		send_calls(s);
	else
		attach_session_replace(s, true);
}

static void
on_attachd_failed(struct peer *peer, const struct peer_frame *frame)
{
	struct attach_session *s = session_of(peer);

	switch ((enum peer_scope)frame->what) {
	case PEER_SCOPE_START:
		log_warn("userspace.failed",
		    "session=%s step=\"%s\" text=\"%s\"", s->dir, frame->step,
		    frame->err.text);
		/* With images it tries again, but nobody waits so long. */
		s->err = frame->err;
		if (peer->state == PEER_STARTING)
			fail_calls(s, &s->err);
		return;
	case PEER_SCOPE_RETIRED:
		session_retire(s, frame->err.text);
		return;
	case PEER_SCOPE_LOST:
		session_lose(s, &frame->err);
		return;
	case PEER_SCOPE_VERSION:
		break;
	}
	if (s->state == ATTACH_JOINING) {
		session_forget(s, &frame->err);
		return;
	}
	/* Of whatever version, it drains at SIGTERM while we are connected. */
	log_error("userspace.version",
	    "session=%s pid=%d text=\"%s: replacing it\"", s->dir,
	    (int)peer_pid(peer), frame->err.text);
	peer_drain(peer);
	peer_kill(peer, SIGTERM);
	/* Of a predecessor's. Ours will not have another one next time. */
	if (s->spawned) {
		(void)err_set(&s->err, ERR_UNAVAILABLE,
		    "%s is another build's: %s", as.program, frame->err.text);
		fail_calls(s, &s->err);
	}
	session_changed(s);
}

/* Both descriptors are here: it is not the last one that holds them. */
static int
take_descriptors(struct attach_session *s, int *fds, struct err *err)
{
	s->table = table_map(fds[1], err);
	if (s->table == NULL)
		return err->rc;
	s->fuse_fd = take_fd(&fds[0]);
	s->table_fd = take_fd(&fds[1]);
	s->state = ATTACH_SERVED;
	session_changed(s);
	as.ops->found(s);
	return 0;
}

static void
on_attachd_event(struct peer *peer, const struct peer_frame *frame)
{
	struct attach_session *s = session_of(peer);
	struct err err = ERR_INIT;
	Attach__Attached *attached;

	if (frame->what == ATTACH__EVENT__DESCRIPTORS) {
		if (s->state == ATTACH_JOINING && frame->nfds == 2 &&
		    take_descriptors(s, frame->fds, &err) < 0)
			session_forget(s, &err);
		return;
	}
	attached = peer_unpack(frame, &attach__attached__descriptor);
	if (frame->what == ATTACH__EVENT__RESIZED && attached != NULL)
		as.ops->resized(s, attached->ino, attached->size_bytes);
	attach__attached__free_unpacked(attached, NULL);
}

static void
on_attachd_closed(struct peer *peer)
{
	/*
	 * While it may hold the only descriptors it is asked again. Else it is
	 * dead, or can take no command any more: make sure. What comes next
	 * follows from its end.
	 */
	if (session_of(peer)->fuse_fd < 0)
		timer_arm(&session_of(peer)->timer, RECONNECT_MS);
	else
		peer_kill(peer, SIGKILL);
}

static void
on_attachd_gone(struct peer *peer)
{
	struct attach_session *s = session_of(peer);

	log_line(peer->state == PEER_DRAINING ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
	    "userspace.exited", "session=%s status=%d state=%s images=%u",
	    s->dir, peer->status, attach_session_state(s), session_used(s));
	session_down(s);
}

static void
on_attachd_rested(struct peer *peer)
{
	session_start(session_of(peer));
}

static const struct peer_kind attachd_kind = {
	.name = "rbd-attachd",
	.starts = &as.starts,
	.version = ATTACH__PROTOCOL__VERSION,
	.max_frame = ATTACH_FRAME_MAX,
	.max_queued = ATTACH_QUEUED_MAX,
	.end_ms = DRAIN_MS,
	.backoff_ms = BACKOFF_MIN_MS,
	.backoff_max_ms = BACKOFF_MAX_MS,
	.exclusive = true,
	.ready = on_attachd_ready,
	.failed = on_attachd_failed,
	.event = on_attachd_event,
	.closed = on_attachd_closed,
	.gone = on_attachd_gone,
	.rested = on_attachd_rested,
};

/* ---- new ones ------------------------------------------------------------ */

static struct attach_session *
session_new(const char *dir, enum attach_state state)
{
	struct attach_session *s = mem_new(sizeof(*s));

	s->state = state;
	peer_init(&s->peer, &attachd_kind);
	s->fuse_fd = s->table_fd = -1;
	s->timer.fire = on_session_timer;
	s->watch_timer.fire = on_watch_timer;
	timer_arm(&s->watch_timer, WATCH_LOOK_MS);
	TAILQ_INIT(&s->waiting);
	(void)snprintf(s->dir, sizeof(s->dir), "%s", dir);
	LIST_INSERT_HEAD(&as.sessions, s, link);
	return s;
}

static void
on_mounted(struct wake *wake, int rc)
{
	struct attach_session *s = container_of(
	    wake, struct attach_session, mounted);

	if (rc < 0) {
		s->err = s->mount.off.err;
		session_end(s);
	} else {
		session_start(s);
	}
}

static struct attach_session *
session_create(
    const struct table_identity *who, const char *hash, struct err *err)
{
	auto_free char *dir = NULL;
	struct attach_session *s;
	struct stat st;

	for (unsigned n = 0;; n++) {
		free(dir);
		dir = str_fmt("%s/%s-%u", as.root, hash, n);
		if (lstat(dir, &st) < 0 && errno == ENOENT)
			break;
	}
	if (strlen(dir) >= SESSION_DIR_MAX) {
		err_set(err, ERR_INVALID_ARGUMENT,
		    "state directory's path is too long: %s", as.root);
		return NULL;
	}
	/* Made here, so that the next caller takes the next number. */
	if (mkdir(dir, 0700) < 0) {
		err_set_rc(err, -errno, "mkdir %s", dir);
		return NULL;
	}
	s = session_new(dir, ATTACH_MOUNTING);
	s->table_fd = table_create(who, err);
	if (s->table_fd >= 0)
		s->table = table_map(s->table_fd, err);
	s->fuse_fd = userspace_fuse_open();
	if (s->table == NULL || s->fuse_fd < 0) {
		if (s->table != NULL)
			err_set_rc(err, s->fuse_fd, "/dev/fuse");
		(void)rmdir(dir);
		session_free(s);
		return NULL;
	}
	log_info("userspace.new", "session=%s", s->dir);
	s->mounted.fn = on_mounted;
	userspace_mount_start(&s->mount, s->dir, s->fuse_fd, &s->mounted);
	return s;
}

struct attach_session *
attach_session_get(
    const struct table_identity *who, struct wake *waiter, struct err *err)
{
	char hash[TABLE_TAG_MAX];
	struct attach_session *s;

	/* Any four strings: not the key. */
	table_tag(hash, who->cluster_id, who->net_namespace, who->monitors,
	    who->user);
	LIST_FOREACH (s, &as.sessions, link) {
		if (s->state == ATTACH_ENDING ||
		    !str_starts(s->dir + strlen(as.root) + 1, hash))
			continue;
		lose_if_aborted(s);
		/* What a lost one has under way is over when it has ended. */
		if (s->state == ATTACH_JOINING || s->lost) {
			attach_session_wait_start(waiter);
			return NULL;
		}
		if (s->ends || !table_is_of(s->table, who))
			continue;
		if (s->state != ATTACH_MOUNTING &&
		    !userspace_is_mounted(s->dir))
			session_retire(
			    s, "its directory is not mounted any more");
		if (!s->retired)
			return s;
	}
	s = session_create(who, hash, err);
	if (s == NULL)
		wake_up(waiter, err->rc);
	return s;
}

/* ---- what an earlier rbd-csid has left --------------------------------- */

/*
 * The process that serves the session in `dir`: the peer of `fd`; without one
 * (negative) it is looked for among all processes, as it may not listen yet:
 * who was started as "PROGRAM DIR ..."? 0 or less: there is none.
 */
static pid_t
process_of(const char *dir, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	struct dirent *entry;
	pid_t pid = -1;
	uint64_t n;
	DIR *proc;

	if (fd >= 0)
		return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0
		    ? -1
		    : peer.pid;
	proc = opendir("/proc");
	while (proc != NULL && pid < 0 && (entry = readdir(proc)) != NULL) {
		auto_free char *path = str_fmt(
		    "/proc/%s/cmdline", entry->d_name);
		char args[2 * PATH_MAX] = "";
		auto_close int file = -1;
		const char *second;
		ssize_t got;

		if (str_to_u64(entry->d_name, &n) < 0)
			continue;
		file = open(path, O_RDONLY | O_CLOEXEC);
		got = file < 0 ? -1 : read(file, args, sizeof(args) - 1);
		second = args + strlen(args) + 1;
		if (second < args + got && str_eq(second, dir) &&
		    str_ends(args, "rbd-attachd"))
			pid = (pid_t)n;
	}
	if (proc != NULL)
		(void)closedir(proc);
	return pid;
}

static void
session_join(const char *dir)
{
	struct attach_session *s = session_new(dir, ATTACH_JOINING);
	int fd = connect_to(dir), pidfd = -1, rc = 0;
	int fds[2] = { -1, -1 };
	pid_t pid = process_of(dir, fd);
	struct err err = ERR_INIT;

	if (pid > 0)
		pidfd = (int)syscall(SYS_pidfd_open, pid, 0u);
	if (pidfd < 0) {
		log_warn("userspace.stale",
		    "session=%s text=\"its rbd-attachd died together with rbd-csid: unmounting it\"",
		    dir);
		if (fd >= 0)
			(void)close(fd);
		session_end(s);
		return;
	}
	peer_adopt(&s->peer, pid, pidfd);
	/*
	 * Takes the descriptors without the process' help, while it may wait
	 * for the cluster. Needs Linux 5.6 and CAP_SYS_PTRACE.
	 */
	for (int i = 0; i < 2 && rc == 0; i++) {
		fds[i] = (int)syscall(
		    SYS_pidfd_getfd, pidfd, ATTACH_FD_FUSE + i, 0u);
		if (fds[i] < 0)
			rc = err_set_rc(&err, -errno, "pidfd_getfd");
	}
	if (rc == 0)
		(void)take_descriptors(s, fds, &err);
	close_fd(&fds[0]);
	close_fd(&fds[1]);
	log_info("userspace.join", "session=%s pid=%d images=%u text=\"%s\"",
	    dir, (int)pid, session_used(s), err.text);
	session_connect(s, fd);
}

int
attach_session_init(const char *state_dir, const char *program,
    const struct attach_session_ops *ops, struct err *err)
{
	struct dirent *entry;
	DIR *root;

	as.ops = ops;
	free(as.program);
	free(as.root);
	as.program = str_dup(program);
	as.root = str_fmt("%s/attach", state_dir);
	if (mkdir(as.root, 0700) < 0 && errno != EEXIST)
		return err_set_rc(err, -errno, "mkdir %s", as.root);
	root = opendir(as.root);
	if (root == NULL)
		return err_set_rc(err, -errno, "opendir %s", as.root);
	while ((entry = readdir(root)) != NULL) {
		auto_free char *dir = str_fmt("%s/%s", as.root, entry->d_name);

		if (entry->d_name[0] != '.' && strlen(dir) < SESSION_DIR_MAX)
			session_join(dir);
	}
	(void)closedir(root);
	return 0;
}
