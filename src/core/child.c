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

static int
pidfd_of(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0u);
}

/*
 * Spawns with `fds` dup'ed to `first`, first + 1, …; descriptors after them
 * are closed. Descriptors are moved out of the way first, so that none is
 * overwritten before it was copied.
 */
static int
spawn(pid_t *pid, const char *const argv[], const int *fds, size_t nfds,
    int first)
{
	posix_spawn_file_actions_t act;
	posix_spawnattr_t attr;
	sigset_t blocked, all;
	short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
	int high[8] = { 0 }, rc = 0;
	size_t n = 0;

	if (nfds > countof(high))
		return -E2BIG;
	for (; n < nfds && rc == 0; n++) {
		high[n] = fcntl(
		    fds[n], F_DUPFD_CLOEXEC, first + (int)countof(high));
		if (high[n] < 0) {
			rc = -errno;
			break;
		}
	}
	if (rc == 0) {
		(void)posix_spawn_file_actions_init(&act);
		(void)posix_spawnattr_init(&attr);
		signal_requests(&blocked);
		(void)sigfillset(&all);
		(void)posix_spawnattr_setsigmask(&attr, &blocked);
		(void)posix_spawnattr_setsigdefault(&attr, &all);
		if (first == HELPER_FD)
			flags |= POSIX_SPAWN_SETSID;
		(void)posix_spawnattr_setflags(&attr, flags);
		(void)posix_spawn_file_actions_addopen(
		    &act, 0, "/dev/null", O_RDWR, 0);
		if (first > 1)
			(void)posix_spawn_file_actions_adddup2(&act, 0, 1);
		for (size_t i = 0; i < nfds; i++)
			(void)posix_spawn_file_actions_adddup2(
			    &act, high[i], first + (int)i);
		(void)posix_spawn_file_actions_addclosefrom_np(
		    &act, first + (int)nfds > 3 ? first + (int)nfds : 3);
		rc = -(first == HELPER_FD ? posix_spawn : posix_spawnp)(pid,
		    argv[0], &act, &attr, (char *const *)(uintptr_t)argv,
		    environ);
		(void)posix_spawn_file_actions_destroy(&act);
		(void)posix_spawnattr_destroy(&attr);
	}
	while (n > 0)
		(void)close(high[--n]);
	if (rc == 0)
		execs++;
	return rc;
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

static int
exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status)
				   : WEXITSTATUS(status);
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
	tool->status = exit_status(status);
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
	int fd[2], out[2], pidfd, rc;

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
	pidfd = pidfd_of(tool->pid);
	if (pidfd < 0) {
		rc = -errno;
		(void)kill(tool->pid, SIGKILL);
		(void)waitpid(tool->pid, NULL, 0);
		(void)close(fd[0]);
		wake_up(
		    waiter, err_set_rc(&tool->err, rc, "watch %s", argv[0]));
		return;
	}
	(void)fcntl(fd[0], F_SETFL, O_NONBLOCK);
	io_watch(&tool->out, fd[0], IO_READ, on_output);
	io_watch(&tool->pidfd, pidfd, IO_READ, on_tool_exit);
	tool->deadline.fire = on_tool_deadline;
	timer_arm(&tool->deadline, timeout_ms);
}

uint64_t
tool_execs(void)
{
	return execs;
}

static void
on_helper_exit(struct io *io, int what)
{
	struct helper *helper = container_of(io, struct helper, pidfd);
	int status = 0;

	(void)what;
	/* -ECHILD: somebody else's child, which is gone all the same. */
	if (waitpid(helper->pid, &status, WNOHANG) == 0)
		return;
	io_close(io);
	helper->pid = 0;
	helper->exited(helper, status);
}

void
helper_adopt(struct helper *helper, pid_t pid, int pidfd,
    void (*exited)(struct helper *helper, int status))
{
	helper->pid = pid;
	helper->exited = exited;
	io_watch(&helper->pidfd, pidfd, IO_READ, on_helper_exit);
}

int
helper_spawn(struct helper *helper, const char *const argv[], const int *fds,
    size_t nfds, void (*exited)(struct helper *helper, int status))
{
	pid_t pid = 0;
	int rc, pidfd;

	rc = spawn(&pid, argv, fds, nfds, HELPER_FD);
	if (rc < 0)
		return rc;
	pidfd = pidfd_of(pid);
	if (pidfd < 0) {
		rc = -errno;
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return rc;
	}
	helper_adopt(helper, pid, pidfd, exited);
	return 0;
}

void
helper_kill(struct helper *helper, int signo)
{
	if (helper->pid > 0)
		(void)syscall(
		    SYS_pidfd_send_signal, helper->pidfd.fd, signo, NULL, 0u);
}

void
helper_forget(struct helper *helper)
{
	if (helper->pidfd.ev != NULL)
		io_close(&helper->pidfd);
	helper->pid = 0;
}
