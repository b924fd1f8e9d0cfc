/*
 * userspace_session.c - see userspace_session.h.
 */
#include "node/userspace_session.h"

#include "attach/address.h"
#include "base/clock.h"
#include "base/log.h"
#include "config.h"
#include "core/channel.h"
#include "core/child.h"
#include "core/timer.h"
#include "node/userspace_mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define IDLE_MS 60000 /* without an image a session ends */
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
#define PROVEN_MS                                                              \
	10000        /* served for so long: the next start is the
				   first one again */
#define CALL_TRIES 3 /* servers that die over one command */

TAILQ_HEAD(call_list, session_call);

struct session {
	enum session_state state;
	char dir[SESSION_DIR_MAX];
	int fuse_fd, table_fd;
	struct table *table;
	struct channel *channel;
	struct helper helper; /* of a process that we started */
	struct io pidfd;      /* of one that we found */
	pid_t pid;
	struct call_list calls; /* sent or not, in order */
	uint64_t last_id;
	struct timer timer; /* DOWN: next start; READY: idle end */
	unsigned failures;  /* starts in a row */
	int64_t ready_ms;
	struct err err; /* why the last start failed */
	bool ends;      /* DRAINING: for good */
	LIST_ENTRY(session)
	link;
};

static struct {
	char *root; /* STATEDIR/attach */
	char *program;
	const struct session_ops *ops;
	LIST_HEAD(, session) sessions;
	struct op **waiting;
	size_t nwaiting, waiting_room;
} us = { .sessions = LIST_HEAD_INITIALIZER(us.sessions) };

static void start_process(struct session *s);
static void begin_end(struct session *s);

/* ---- small things ------------------------------------------------------ */

static void
set_state(struct session *s, enum session_state state)
{
	log_debug("userspace.state", "session=%s from=%s to=%s", s->dir,
	    session_state_name(s->state), session_state_name(state));
	s->state = state;
	while (us.nwaiting > 0)
		op_wake(us.waiting[--us.nwaiting], 0);
}

const char *
session_state_name(enum session_state state)
{
	switch (state) {
	case SESSION_MOUNTING:
		return "mounting";
	case SESSION_STARTING:
		return "starting";
	case SESSION_JOINING:
		return "joining";
	case SESSION_READY:
		return "ready";
	case SESSION_DOWN:
		return "down";
	case SESSION_DRAINING:
		return "draining";
	case SESSION_ENDING:
		return "ending";
	}
	return "?";
}

enum session_state
session_state(const struct session *s)
{
	return s->state;
}

const char *
session_dir(const struct session *s)
{
	return s->dir;
}

struct table *
session_table(const struct session *s)
{
	return s->table;
}

pid_t
session_pid(const struct session *s)
{
	return s->pid;
}

bool
session_has_file(const struct session *s, const char *path)
{
	size_t len = strlen(s->dir);

	return strncmp(path, s->dir, len) == 0 &&
	    str_starts(path + len, "/mnt/");
}

struct session *
session_next(struct session *s)
{
	return s == NULL ? LIST_FIRST(&us.sessions) : LIST_NEXT(s, link);
}

void
session_wait_start(struct op *waiter)
{
	if (us.nwaiting == us.waiting_room) {
		us.waiting_room = us.waiting_room * 2 + 8;
		us.waiting = mem_grow(
		    us.waiting, us.waiting_room * sizeof(*us.waiting));
	}
	us.waiting[us.nwaiting++] = waiter;
}

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static unsigned
used(const struct session *s)
{
	return s->table != NULL ? table_slots_used(s->table) : 0;
}

/* ---- commands ---------------------------------------------------------- */

static void
end_call(struct session_call *call, const struct err *err)
{
	TAILQ_REMOVE(&call->session->calls, call, link);
	call->err = *err;
	op_wake(call->waiter, err->rc);
}

static void
fail_calls(struct session *s, const struct err *err)
{
	struct session_call *call;

	while ((call = TAILQ_FIRST(&s->calls)) != NULL)
		end_call(call, err);
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
    struct session *s, struct session_call *call, struct op *waiter)
{
	call->session = s;
	call->waiter = waiter;
	call->sent = false;
	call->tries = 0;
	call->request.id = ++s->last_id;
	TAILQ_INSERT_TAIL(&s->calls, call, link);
	if (s->state == SESSION_READY)
		send_call(s, call);
}

/* ---- the process and its end ------------------------------------------- */

static void
on_timer(struct timer *timer)
{
	struct session *s = container_of(timer, struct session, timer);

	if (s->state == SESSION_DOWN) {
		start_process(s);
	} else if (s->state == SESSION_READY) {
		if (used(s) == 0 && TAILQ_EMPTY(&s->calls)) {
			s->ends = true;
			session_replace(s, true);
		} else {
			timer_start(&s->timer, IDLE_MS);
		}
	} else if (s->state == SESSION_DRAINING) {
		log_warn("userspace.drain_late", "session=%s pid=%d", s->dir,
		    (int)s->pid);
		session_replace(s, false);
	}
}

/* The process is gone for certain: nobody reads /dev/fuse now. */
static void
process_gone(struct session *s)
{
	struct session_call *call, *next;
	struct err err = ERR_INIT;

	channel_free(s->channel);
	s->channel = NULL;
	s->pid = 0;
	timer_stop(&s->timer);
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
		fail_calls(s, &s->err);
	if (s->table == NULL || s->fuse_fd < 0 ||
	    (used(s) == 0 && TAILQ_EMPTY(&s->calls))) {
		begin_end(s);
		return;
	}
	if (s->ready_ms != 0 && clock_now_ms() - s->ready_ms >= PROVEN_MS)
		s->failures = 0;
	s->ready_ms = 0;
	set_state(s, SESSION_DOWN);
	/* The first successor at once: I/O is waiting. */
	timer_start(&s->timer,
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
	    s->dir, status, session_state_name(s->state), used(s));
	process_gone(s);
}

static void
on_found_gone(struct io *io, int what)
{
	struct session *s = container_of(io, struct session, pidfd);
	int fd = io->fd;

	(void)what;
	io_stop(io);
	(void)close(fd);
	log_line(s->state == SESSION_DRAINING ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
	    "userspace.exited", "session=%s state=%s images=%u", s->dir,
	    session_state_name(s->state), used(s));
	process_gone(s);
}

static void
kill_process(struct session *s)
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

	(void)channel;
	(void)rc;
	/*
	 * It is dead, or can take no command any more: make sure. What comes
	 * next follows from its end.
	 */
	kill_process(s);
}

/* ---- answers ----------------------------------------------------------- */

static void
serve(struct session *s, const struct wire_answer *answer)
{
	struct session_call *call;

	log_info("userspace.ready",
	    "session=%s pid=%u version=%s generation=%u images=%u", s->dir,
	    answer->ready.pid, answer->ready.version, answer->ready.generation,
	    used(s));
	s->ready_ms = clock_now_ms();
	s->err = (struct err)ERR_INIT;
	set_state(s, SESSION_READY);
	timer_start(&s->timer, IDLE_MS);
	us.ops->ready(s);
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

static void free_session(struct session *s);

/* It serves, but we cannot manage it: another version's. It is left alone. */
static void
forget(struct session *s, const struct err *err)
{
	int fd = s->pidfd.fd;

	log_error("userspace.join", "session=%s pid=%d text=\"%s\"", s->dir,
	    (int)s->pid, err->text);
	io_stop(&s->pidfd);
	(void)close(fd);
	us.ops->gone(s);
	fail_calls(s, err);
	free_session(s);
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
on_frame(struct channel *channel, const void *bytes, size_t len, const int *fds,
    size_t nfds, void *arg)
{
	struct session *s = arg;
	struct wire_answer answer;
	struct err err = ERR_INIT;
	bool want = s->state == SESSION_JOINING;

	(void)channel;
	if (wire_answer_unpack(&answer, bytes, len) < 0) {
		log_error(
		    "userspace.answer", "session=%s bytes=%zu", s->dir, len);
		kill_process(s);
		return;
	}
	for (size_t i = 0; i < nfds && !(want && nfds == 2); i++)
		(void)close(fds[i]);
	switch (answer.body) {
	case WIRE_READY:
		if (want && take_descriptors(s, fds, nfds, &err) < 0) {
			forget(s, &err);
			return;
		}
		serve(s, &answer);
		return;
	case WIRE_FAILED:
		log_warn("userspace.failed",
		    "session=%s step=\"%s\" text=\"%s\"", s->dir,
		    answer.failed.step, answer.err.text);
		s->err = answer.err;
		return;
	case WIRE_ATTACHED:
		if (answer.id == 0) {
			us.ops->resized(
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

static void
say_hello(struct session *s, int fd, bool want_descriptors)
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

static void
start_process(struct session *s)
{
	char level[2] = { (char)('0' +
			      (log_enabled(LOG_LEVEL_DEBUG) ? LOG_LEVEL_DEBUG
							    : LOG_LEVEL_INFO)),
		'\0' };
	const char *const argv[] = { us.program, s->dir, level, NULL };
	int pair[2], fds[3], rc;

	rc = channel_pair(pair);
	if (rc == 0) {
		fds[0] = pair[1];
		fds[1] = s->fuse_fd;
		fds[2] = s->table_fd;
		rc = helper_start(&s->helper, argv, fds, 3, true, on_exited);
		(void)close(pair[1]);
		if (rc < 0)
			(void)close(pair[0]);
	}
	if (rc < 0) {
		s->err = (struct err)ERR_INIT;
		(void)err_set_rc(&s->err, rc, "start %s", us.program);
		log_error("userspace.start", "session=%s text=\"%s\"", s->dir,
		    s->err.text);
		process_gone(s);
		return;
	}
	s->err = (struct err)ERR_INIT;
	s->ends = false;
	s->pid = s->helper.pid;
	set_state(s, SESSION_STARTING);
	say_hello(s, pair[0], false);
}

void
session_replace(struct session *s, bool clean)
{
	struct wire_request drain = { .id = ++s->last_id, .kind = WIRE_DRAIN };
	char buf[WIRE_FRAME_MAX];
	int len;

	if (!clean) {
		kill_process(s);
		return;
	}
	if (s->state != SESSION_READY)
		return;
	len = wire_request_pack(&drain, buf);
	set_state(s, SESSION_DRAINING);
	timer_start(&s->timer, 10 * 1000);
	s->failures = 0;
	if (len > 0)
		(void)channel_send(s->channel, buf, (size_t)len);
}

/* ---- the end ----------------------------------------------------------- */

static void
free_session(struct session *s)
{
	set_state(s, SESSION_ENDING); /* wakes who waits for a change */
	LIST_REMOVE(s, link);
	timer_stop(&s->timer);
	channel_free(s->channel);
	close_fd(&s->fuse_fd);
	close_fd(&s->table_fd);
	table_unmap(s->table);
	free(s);
}

static void
on_ended(struct op *op, void *arg)
{
	struct session *s = arg;
	struct err err = ERR_INIT;

	log_info(
	    "userspace.ended", "session=%s text=\"%s\"", s->dir, op->err.text);
	(void)err_set(&err, ERR_UNAVAILABLE, "session has ended, try again");
	fail_calls(s, s->err.rc < 0 ? &s->err : &err);
	free_session(s);
}

/*
 * No process serves and none will: gives everything back. What still waits
 * in the kernel ends with an error as the last descriptor is closed. The loop
 * devices of images that were in use stay, dead, until their volumes are
 * staged or unstaged: a device node that somebody still has must not become
 * another image's.
 */
static void
begin_end(struct session *s)
{
	set_state(s, SESSION_ENDING);
	timer_stop(&s->timer);
	us.ops->gone(s);
	address_bury(s->dir);
	close_fd(&s->fuse_fd);
	userspace_unmount_begin(s->dir, on_ended, s);
}

static void
on_mounted(struct op *op, void *arg)
{
	struct session *s = arg;

	if (op->err.rc < 0) {
		s->err = op->err;
		begin_end(s);
		return;
	}
	start_process(s);
}

static struct session *
session_new(const char *dir, enum session_state state)
{
	struct session *s = mem_new(sizeof(*s));

	s->state = state;
	s->fuse_fd = s->table_fd = -1;
	s->timer.fire = on_timer;
	TAILQ_INIT(&s->calls);
	(void)snprintf(s->dir, sizeof(s->dir), "%s", dir);
	LIST_INSERT_HEAD(&us.sessions, s, link);
	return s;
}

static void
hash_of(const struct table_identity *who, char hash[TABLE_TAG_MAX])
{
	/* Any four strings: not the key. */
	table_tag(hash, who->cluster_id, who->net_namespace, who->monitors,
	    who->user);
}

static bool
dir_is_of(const struct session *s, const char *hash)
{
	return str_starts(s->dir + strlen(us.root) + 1, hash);
}

static struct session *
create(const struct table_identity *who, const char *hash, struct err *err)
{
	auto_free char *dir = NULL;
	struct session *s;
	struct stat st;

	for (unsigned n = 0;; n++) {
		free(dir);
		dir = str_fmt("%s/%s-%u", us.root, hash, n);
		if (lstat(dir, &st) < 0 && errno == ENOENT)
			break;
	}
	if (strlen(dir) >= SESSION_DIR_MAX) {
		err_set(err, ERR_INVALID_ARGUMENT,
		    "state directory's path is too long: %s", us.root);
		return NULL;
	}
	/* Made here, so that the next caller takes the next number. */
	if (mkdir(dir, 0700) < 0) {
		err_set_rc(err, -errno, "mkdir %s", dir);
		return NULL;
	}
	s = session_new(dir, SESSION_MOUNTING);
	s->table_fd = table_create(who, err);
	if (s->table_fd >= 0)
		s->table = table_map(s->table_fd, err);
	s->fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (s->table == NULL || s->fuse_fd < 0) {
		if (s->table != NULL)
			err_set_rc(err, -errno, "/dev/fuse");
		(void)rmdir(dir);
		free_session(s);
		return NULL;
	}
	log_info("userspace.new", "session=%s", s->dir);
	userspace_mount_begin(s->dir, s->fuse_fd, on_mounted, s);
	return s;
}

struct session *
session_get(
    const struct table_identity *who, struct op *waiter, struct err *err)
{
	char hash[TABLE_TAG_MAX];
	struct session *s;

	hash_of(who, hash);
	LIST_FOREACH (s, &us.sessions, link) {
		if (s->state == SESSION_ENDING || s->ends ||
		    !dir_is_of(s, hash))
			continue;
		if (s->state == SESSION_JOINING) {
			session_wait_start(waiter);
			return NULL;
		}
		if (table_is_of(s->table, who))
			return s;
	}
	s = create(who, hash, err);
	if (s == NULL)
		op_wake(waiter, err->rc);
	return s;
}

/* ---- what an earlier rbd-csid has left --------------------------------- */

static int
connect_to(const char *dir)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, rc;

	if (str_put(addr.sun_path, sizeof(addr.sun_path), "%s/sock", dir) < 0)
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	rc = -errno;
	(void)close(fd);
	return rc;
}

static int
pidfd_of_peer(int fd, pid_t *pid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	*pid = peer.pid;
	return (int)syscall(SYS_pidfd_open, peer.pid, 0u);
}

static void
join(const char *dir)
{
	struct session *s = session_new(dir, SESSION_JOINING);
	int fd = connect_to(dir), pidfd;

	pidfd = fd >= 0 ? pidfd_of_peer(fd, &s->pid) : -1;
	if (pidfd < 0) {
		log_warn("userspace.stale",
		    "session=%s text=\"its rbd-attachd "
		    "died together with rbd-csid: unmounting it\"",
		    dir);
		if (fd >= 0)
			(void)close(fd);
		begin_end(s);
		return;
	}
	log_info("userspace.join", "session=%s pid=%d", dir, (int)s->pid);
	io_start(&s->pidfd, pidfd, IO_READ, on_found_gone);
	say_hello(s, fd, true);
}

int
session_init(const char *state_dir, const char *program,
    const struct session_ops *ops, struct err *err)
{
	struct dirent *entry;
	DIR *root;

	us.ops = ops;
	us.program = str_dup(program);
	us.root = str_fmt("%s/attach", state_dir);
	if (mkdir(us.root, 0700) < 0 && errno != EEXIST)
		return err_set_rc(err, -errno, "mkdir %s", us.root);
	root = opendir(us.root);
	if (root == NULL)
		return err_set_rc(err, -errno, "opendir %s", us.root);
	while ((entry = readdir(root)) != NULL) {
		auto_free char *dir = str_fmt("%s/%s", us.root, entry->d_name);

		if (entry->d_name[0] != '.' && strlen(dir) < SESSION_DIR_MAX)
			join(dir);
	}
	(void)closedir(root);
	return 0;
}
