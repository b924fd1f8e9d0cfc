/*
 * child.c - posix_spawn and pidfds.
 */
#include "core/child.h"

#include "base/log.h"
#include "core/signal.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The first descriptor that is given: of a tool its standard output. */
#define TOOL_FD 1
#define HELPER_FD 3

extern char **environ;

static uint64_t execs;

/*
 * Spawns with `fds` dup'ed to `first`, first + 1, …; descriptors after them
 * are closed. Descriptors are moved out of the way first, so that none is
 * overwritten before it was copied. Returns a pidfd or a negative errno.
 */
static int
spawn(pid_t *pid, const char *const argv[], const int *fds, size_t nfds,
    int first)
{
	bool helper = first == HELPER_FD;
	posix_spawn_file_actions_t act;
	posix_spawnattr_t attr;
	sigset_t blocked, all;
	int high[8] = { 0 }, rc = nfds > countof(high) ? -E2BIG : 0, pidfd;
	size_t n = 0;

	(void)posix_spawn_file_actions_init(&act);
	(void)posix_spawnattr_init(&attr);
	signal_requests(&blocked);
	(void)sigfillset(&all);
	(void)posix_spawnattr_setsigmask(&attr, &blocked);
	(void)posix_spawnattr_setsigdefault(&attr, &all);
	(void)posix_spawnattr_setflags(&attr,
	    (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
		(helper ? POSIX_SPAWN_SETSID : 0)));
	(void)posix_spawn_file_actions_addopen(&act, 0, "/dev/null", O_RDWR, 0);
	if (helper)
		(void)posix_spawn_file_actions_adddup2(&act, 0, 1);
	for (; rc == 0 && n < nfds; n++) {
		high[n] = fcntl(
		    fds[n], F_DUPFD_CLOEXEC, first + (int)countof(high));
		if (high[n] < 0) {
			rc = -errno;
			break;
		}
		(void)posix_spawn_file_actions_adddup2(
		    &act, high[n], first + (int)n);
	}
	(void)posix_spawn_file_actions_addclosefrom_np(
	    &act, first + (int)nfds > 3 ? first + (int)nfds : 3);
	if (rc == 0)
		rc = -(helper ? posix_spawn : posix_spawnp)(pid, argv[0], &act,
		    &attr, (char *const *)(uintptr_t)argv, environ);
	(void)posix_spawn_file_actions_destroy(&act);
	(void)posix_spawnattr_destroy(&attr);
	while (n > 0)
		(void)close(high[--n]);
	if (rc < 0)
		return rc;
	execs++;
	pidfd = (int)syscall(SYS_pidfd_open, *pid, 0u);
	if (pidfd < 0) {
		pidfd = -errno;
		(void)kill(*pid, SIGKILL);
		(void)waitpid(*pid, NULL, 0);
	}
	return pidfd;
}

int
helper_spawn(pid_t *pid, const char *const argv[], const int *fds, size_t nfds)
{
	return spawn(pid, argv, fds, nfds, HELPER_FD);
}

static void
tool_complete(struct tool *tool)
{
	struct wake *waiter = tool->waiter;
	int rc = 0;

	timer_disarm(&tool->deadline);
	tool->output[tool->got] = '\0';
	tool->waiter = NULL;
	if (tool->killed)
		rc = err_set(&tool->err, ERR_DEADLINE_EXCEEDED,
		    "%s: killed after %lld ms", tool->name,
		    (long long)tool->timeout_ms);
	wake_up(waiter, rc);
}

static void
on_output(struct io *io, int what)
{
	struct tool *tool = container_of(io, struct tool, out);
	char rest[512];
	size_t room = sizeof(tool->output) - 1 - tool->got;
	ssize_t n = read(io->fd, room > 0 ? tool->output + tool->got : rest,
	    room > 0 ? room : sizeof(rest));

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		tool->got += room > 0 ? (size_t)n : 0;
		return;
	}
	io_close(io);
	if (tool->reaped)
		tool_complete(tool);
}

static void
on_tool_exit(struct io *io, int what)
{
	struct tool *tool = container_of(io, struct tool, pidfd);
	int status;

	(void)what;
	if (waitpid(tool->pid, &status, WNOHANG) != tool->pid)
		return;
	io_close(io);
	tool->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status)
					   : WEXITSTATUS(status);
	tool->reaped = true;
	if (tool->out.ev == NULL)
		tool_complete(tool);
}

static void
on_tool_deadline(struct timer *timer)
{
	struct tool *tool = container_of(timer, struct tool, deadline);

	log_warn("tool.late", "pid=%d tool=%s timeout_ms=%lld", (int)tool->pid,
	    tool->name, (long long)tool->timeout_ms);
	tool->killed = true;
	(void)kill(tool->pid, SIGKILL);
	timer_arm(timer, 60 * 1000); /* still there then: say so again */
}

void
tool_start(struct tool *tool, const char *const argv[], int64_t timeout_ms,
    struct wake *waiter)
{
	int fd[2], out[2], rc;

	*tool = (struct tool){
		.name = argv[0], .waiter = waiter, .timeout_ms = timeout_ms
	};
	rc = pipe2(fd, O_CLOEXEC) < 0 ? -errno : 0;
	if (rc == 0) {
		out[0] = out[1] = fd[1];
		rc = spawn(&tool->pid, argv, out, 2, TOOL_FD);
		(void)close(fd[1]);
		if (rc < 0)
			(void)close(fd[0]);
	}
	if (rc < 0) {
		wake_up(
		    waiter, err_set_rc(&tool->err, rc, "start %s", argv[0]));
		return;
	}
	(void)fcntl(fd[0], F_SETFL, O_NONBLOCK);
	io_watch(&tool->out, fd[0], IO_READ, on_output);
	io_watch(&tool->pidfd, rc, IO_READ, on_tool_exit);
	tool->deadline.fire = on_tool_deadline;
	timer_arm(&tool->deadline, timeout_ms);
}

uint64_t
tool_execs(void)
{
	return execs;
}
