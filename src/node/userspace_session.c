/*
 * userspace_session.c - see userspace_session.h.
 */
#include "attach/address.h"
#include "base/log.h"
#include "node/userspace_found.h"
#include "node/userspace_mount.h"
#include "node/userspace_session_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct session_shared session_shared = { .sessions = LIST_HEAD_INITIALIZER(
					     session_shared.sessions) };

/* ---- small things ------------------------------------------------------ */

void
session_set_state(struct session *s, enum session_state state)
{
	log_debug("userspace.state", "session=%s from=%s to=%s", s->dir,
	    session_state_name(s->state), session_state_name(state));
	s->state = state;
	while (session_shared.nwaiting > 0)
		wake_up(session_shared.waiting[--session_shared.nwaiting], 0);
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

bool
session_is_lost(const struct session *s)
{
	return s->lost;
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
	return s == NULL ? LIST_FIRST(&session_shared.sessions)
			 : LIST_NEXT(s, link);
}

void
session_wait_start(struct wake *waiter)
{
	if (session_shared.nwaiting == session_shared.waiting_room) {
		session_shared.waiting_room = session_shared.waiting_room * 2 +
		    8;
		session_shared.waiting = mem_grow(session_shared.waiting,
		    session_shared.waiting_room *
			sizeof(*session_shared.waiting));
	}
	session_shared.waiting[session_shared.nwaiting++] = waiter;
}

unsigned
session_used(const struct session *s)
{
	return s->table != NULL ? table_slots_used(s->table) : 0;
}

/* ---- lost, retired ------------------------------------------------------ */

void
session_lose(struct session *s, const struct err *why)
{
	if (s->lost)
		return;
	s->lost = s->ends = true;
	s->err = *why;
	log_error("userspace.lost",
	    "session=%s pid=%d images=%u text=\"%s: its volumes must be staged "
	    "anew\"",
	    s->dir, (int)s->pid, session_used(s), why->text);
	session_shared.ops->gone(s);
	session_fail_calls(s, why);
	if (s->pid != 0)
		process_drain(s);
	else
		timer_arm(&s->timer, 0);
}

void
session_lose_if_aborted(struct session *s)
{
	struct err err = ERR_INIT;

	if (s->fuse_fd < 0 || s->state == SESSION_MOUNTING ||
	    !userspace_fuse_has_ended(s->fuse_fd))
		return;
	(void)err_set(&err, ERR_UNAVAILABLE,
	    "the FUSE connection of %s/mnt was aborted", s->dir);
	session_lose(s, &err);
}

void
session_retire(struct session *s, const char *why)
{
	if (!s->retired)
		log_warn("userspace.retired",
		    "session=%s images=%u text=\"%s\"", s->dir, session_used(s),
		    why);
	s->retired = true;
}

/* ---- the end ----------------------------------------------------------- */

void
session_free(struct session *s)
{
	session_set_state(s, SESSION_ENDING); /* wakes who waits for a change */
	LIST_REMOVE(s, link);
	timer_disarm(&s->timer);
	timer_disarm(&s->watch_timer);
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
	session_fail_calls(s, s->err.rc < 0 ? &s->err : &err);
	session_free(s);
}

/*
 * No process serves and none will: gives everything back. What still waits
 * in the kernel ends with an error as the last descriptor is closed. The loop
 * devices of images that were in use stay, dead, until their volumes are
 * staged or unstaged: a device node that somebody still has must not become
 * another image's.
 */
void
session_begin_end(struct session *s)
{
	session_set_state(s, SESSION_ENDING);
	timer_disarm(&s->timer);
	session_shared.ops->gone(s);
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
		session_begin_end(s);
		return;
	}
	process_spawn(s);
}

static struct session *
session_new(const char *dir, enum session_state state)
{
	struct session *s = mem_new(sizeof(*s));

	s->state = state;
	s->fuse_fd = s->table_fd = -1;
	s->timer.fire = process_timer;
	s->watch_timer.fire = process_watch;
	timer_arm(&s->watch_timer, WATCH_LOOK_MS);
	TAILQ_INIT(&s->calls);
	(void)snprintf(s->dir, sizeof(s->dir), "%s", dir);
	LIST_INSERT_HEAD(&session_shared.sessions, s, link);
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
	return str_starts(s->dir + strlen(session_shared.root) + 1, hash);
}

static struct session *
create(const struct table_identity *who, const char *hash, struct err *err)
{
	auto_free char *dir = NULL;
	struct session *s;
	struct stat st;

	for (unsigned n = 0;; n++) {
		free(dir);
		dir = str_fmt("%s/%s-%u", session_shared.root, hash, n);
		if (lstat(dir, &st) < 0 && errno == ENOENT)
			break;
	}
	if (strlen(dir) >= SESSION_DIR_MAX) {
		err_set(err, ERR_INVALID_ARGUMENT,
		    "state directory's path is too long: %s",
		    session_shared.root);
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
		session_free(s);
		return NULL;
	}
	log_info("userspace.new", "session=%s", s->dir);
	userspace_mount_begin(s->dir, s->fuse_fd, on_mounted, s);
	return s;
}

struct session *
session_get(
    const struct table_identity *who, struct wake *waiter, struct err *err)
{
	char hash[TABLE_TAG_MAX];
	struct session *s;

	hash_of(who, hash);
	LIST_FOREACH (s, &session_shared.sessions, link) {
		if (s->state == SESSION_ENDING || !dir_is_of(s, hash))
			continue;
		session_lose_if_aborted(s);
		/* What a lost one has under way is over when it has ended. */
		if (s->state == SESSION_JOINING || s->lost) {
			session_wait_start(waiter);
			return NULL;
		}
		if (s->ends || !table_is_of(s->table, who))
			continue;
		if (s->state != SESSION_MOUNTING &&
		    !userspace_is_mounted(s->dir))
			session_retire(
			    s, "its directory is not mounted any more");
		if (!s->retired)
			return s;
	}
	s = create(who, hash, err);
	if (s == NULL)
		wake_up(waiter, err->rc);
	return s;
}

/* ---- what an earlier rbd-csid has left --------------------------------- */

static void
join(const char *dir)
{
	struct session *s = session_new(dir, SESSION_JOINING);
	int fd = found_connect(dir), pidfd;
	struct err err = ERR_INIT;

	s->pid = found_pid(dir, fd);
	pidfd = s->pid > 0 ? (int)syscall(SYS_pidfd_open, s->pid, 0u) : -1;
	if (pidfd < 0) {
		log_warn("userspace.stale",
		    "session=%s text=\"its rbd-attachd "
		    "died together with rbd-csid: unmounting it\"",
		    dir);
		s->pid = 0;
		close_fd(&fd);
		session_begin_end(s);
		return;
	}
	io_watch(&s->pidfd, pidfd, IO_READ, process_found_gone);
	if (process_seize(s, pidfd, &err) == 0) {
		session_set_state(s, SESSION_STARTING);
		session_shared.ops->found(s);
	}
	log_info("userspace.join", "session=%s pid=%d images=%u text=\"%s\"",
	    dir, (int)s->pid, session_used(s), err.text);
	if (fd >= 0)
		process_hello(s, fd, s->state == SESSION_JOINING);
	else
		process_connect(s);
}

int
session_init(const char *state_dir, const char *program,
    const struct session_ops *ops, struct err *err)
{
	struct dirent *entry;
	DIR *root;

	session_shared.ops = ops;
	session_shared.program = str_dup(program);
	session_shared.root = str_fmt("%s/attach", state_dir);
	if (mkdir(session_shared.root, 0700) < 0 && errno != EEXIST)
		return err_set_rc(err, -errno, "mkdir %s", session_shared.root);
	root = opendir(session_shared.root);
	if (root == NULL)
		return err_set_rc(
		    err, -errno, "opendir %s", session_shared.root);
	while ((entry = readdir(root)) != NULL) {
		auto_free char *dir = str_fmt(
		    "%s/%s", session_shared.root, entry->d_name);

		if (entry->d_name[0] != '.' && strlen(dir) < SESSION_DIR_MAX)
			join(dir);
	}
	(void)closedir(root);
	return 0;
}
