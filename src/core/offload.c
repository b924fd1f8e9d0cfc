/*
 * offload.c - forks, feeds nothing, reads one answer, reaps.
 */
#include "core/offload.h"

#include "base/log.h"
#include "core/signal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/*
 * What goes through the pipe before the result's bytes. Aligned, since the
 * result follows it in memory and may be any struct.
 */
struct reply_head {
	int rc;
	struct err err;
} __attribute__((aligned(16)));

/*
 * A child that has run for so long may wait for a cluster that does not
 * answer. It lends its place to others, so that however many volumes of one
 * cluster hang, those of another go on; but there are never more than so many
 * times the maximum.
 */
#define SLOW_MS INT64_C(10000)
#define SLOW_FACTOR 8

static struct {
	struct offload_stats stats;
	STAILQ_HEAD(, offload) queue;
} of = { .stats.max = 64, .queue = STAILQ_HEAD_INITIALIZER(of.queue) };

static void launch(struct offload *off);

/* Closes everything above standard error but `pipe_fd` and the kept ones. */
static void
close_others(const struct offload *off, int pipe_fd)
{
	int keep[countof(off->keep_fd) + 1], n = 0;
	unsigned from = 3;

	keep[n++] = pipe_fd;
	for (size_t i = 0; i < countof(off->keep_fd); i++)
		if (off->keep_fd[i] > 2)
			keep[n++] = off->keep_fd[i];
	for (;;) {
		unsigned next = ~0u;

		for (int i = 0; i < n; i++)
			if ((unsigned)keep[i] >= from &&
			    (unsigned)keep[i] < next)
				next = (unsigned)keep[i];
		if (next == ~0u) {
			(void)syscall(SYS_close_range, from, ~0u, 0u);
			return;
		}
		if (next > from)
			(void)syscall(SYS_close_range, from, next - 1, 0u);
		from = next + 1;
	}
}

static _Noreturn void
run_child(struct offload *off, int pipe_fd)
{
	struct reply_head head = { .err = ERR_INIT };
	unsigned char *out = mem_new(sizeof(head) + off->result_size);
	size_t len = sizeof(head) + off->result_size, sent = 0;

	close_others(off, pipe_fd);
	signal_forget();
	(void)prctl(PR_SET_NAME, "rbd-csi-offload");

	head.rc = off->fn(off->args, out + sizeof(head), &head.err);
	memcpy(out, &head, sizeof(head));
	while (sent < len) {
		ssize_t n = write(pipe_fd, out + sent, len - sent);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(1);
		sent += (size_t)n;
	}
	_exit(0);
}

static int
judge(struct offload *off)
{
	struct reply_head head;

	if (off->got == off->want) {
		memcpy(&head, off->reply, sizeof(head));
		if (off->result_size > 0)
			memcpy(off->result, off->reply + sizeof(head),
			    off->result_size);
		off->err = head.err;
		if (head.rc < 0 && !err_is_set(&off->err))
			(void)err_set_rc(&off->err, head.rc, "%s", off->what);
		return head.rc;
	}
	if (off->killed) {
		(void)err_set(&off->err, ERR_DEADLINE_EXCEEDED,
		    "%s: not done after %lld ms", off->what,
		    (long long)off->timeout_ms);
		return -ETIMEDOUT;
	}
	(void)err_set(&off->err, ERR_INTERNAL, "%s: child ended with %s %d",
	    off->what, WIFSIGNALED(off->status) ? "signal" : "status",
	    WIFSIGNALED(off->status) ? WTERMSIG(off->status)
				     : WEXITSTATUS(off->status));
	return -EIO;
}

static bool
has_place(void)
{
	return of.stats.running - of.stats.slow < of.stats.max &&
	    of.stats.running < of.stats.max * SLOW_FACTOR;
}

static void
launch_queued(void)
{
	struct offload *next;

	while ((next = STAILQ_FIRST(&of.queue)) != NULL && has_place()) {
		STAILQ_REMOVE_HEAD(&of.queue, link);
		launch(next);
	}
}

static void
complete(struct offload *off)
{
	struct wake *waiter = off->waiter;
	int rc = judge(off);

	timer_disarm(&off->deadline);
	free(off->reply);
	off->reply = NULL;
	off->waiter = NULL;
	of.stats.running--;
	if (off->slow)
		of.stats.slow--;
	if (off->late)
		of.stats.stuck--;
	wake_up(waiter, rc);
	launch_queued();
}

static void
on_pipe(struct io *io, int what)
{
	struct offload *off = container_of(io, struct offload, pipe);
	unsigned char rest;
	bool full = off->got == off->want;
	ssize_t n = read(io->fd, full ? &rest : off->reply + off->got,
	    full ? 1 : off->want - off->got);

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0 && !full) {
		off->got += (size_t)n;
		return;
	}
	io_close(io);
	if (off->reaped)
		complete(off);
}

static void
on_exit_of_child(struct io *io, int what)
{
	struct offload *off = container_of(io, struct offload, pidfd);

	(void)what;
	if (waitpid(off->pid, &off->status, WNOHANG) != off->pid)
		return;
	io_close(io);
	off->reaped = true;
	if (off->pipe.ev == NULL)
		complete(off);
}

static void
on_deadline(struct timer *timer)
{
	struct offload *off = container_of(timer, struct offload, deadline);
	char quoted[160];

	if (!off->slow) {
		off->slow = true;
		of.stats.slow++;
		launch_queued();
		if (off->timeout_ms > SLOW_MS) {
			timer_arm(timer, off->timeout_ms - SLOW_MS);
			return;
		}
	}
	if (!off->late) {
		off->late = true;
		of.stats.stuck++;
	}
	log_warn("offload.late",
	    "pid=%d what=%s timeout_ms=%lld killed_before=%d", (int)off->pid,
	    log_quote(quoted, sizeof(quoted), off->what),
	    (long long)off->timeout_ms, off->killed);
	off->killed = true;
	(void)kill(off->pid, SIGKILL);
	timer_arm(timer, 60 * 1000); /* still there then: say so again */
}

/* The child could not be made: the waiter learns it from the loop. */
static void
fail(struct offload *off, int rc)
{
	struct wake *waiter = off->waiter;

	free(off->reply);
	off->reply = NULL;
	off->waiter = NULL;
	of.stats.running--;
	wake_up(waiter, err_set_rc(&off->err, rc, "fork for %s", off->what));
}

static void
launch(struct offload *off)
{
	int fd[2], pidfd, rc;
	sigset_t before;

	of.stats.running++;
	off->want = sizeof(struct reply_head) + off->result_size;
	off->reply = mem_new(off->want);
	if (pipe2(fd, O_CLOEXEC) < 0) {
		fail(off, -errno);
		return;
	}
	signal_hold(&before);
	off->pid = fork();
	if (off->pid == 0)
		run_child(off, fd[1]);
	rc = off->pid < 0 ? -errno : 0;
	signal_release(&before);
	(void)close(fd[1]);
	if (rc < 0) {
		(void)close(fd[0]);
		fail(off, rc);
		return;
	}
	of.stats.forks++;
	pidfd = (int)syscall(SYS_pidfd_open, off->pid, 0u);
	if (pidfd < 0) { /* out of descriptors: the child must not run on */
		rc = -errno;
		(void)kill(off->pid, SIGKILL);
		(void)waitpid(off->pid, &off->status, 0);
		(void)close(fd[0]);
		fail(off, rc);
		return;
	}
	(void)fcntl(fd[0], F_SETFL, O_NONBLOCK);
	io_watch(&off->pipe, fd[0], IO_READ, on_pipe);
	io_watch(&off->pidfd, pidfd, IO_READ, on_exit_of_child);
	off->deadline.fire = on_deadline;
	timer_arm(&off->deadline,
	    off->timeout_ms < SLOW_MS ? off->timeout_ms : SLOW_MS);
}

void
offload_start(struct offload *off, const char *what, offload_fn fn,
    const void *args, void *result, size_t result_size, int64_t timeout_ms,
    struct wake *waiter)
{
	off->err = (struct err)ERR_INIT;
	off->what = what;
	off->fn = fn;
	off->args = args;
	off->result = result;
	off->result_size = result_size;
	off->timeout_ms = timeout_ms;
	off->waiter = waiter;
	off->got = 0;
	off->status = 0;
	off->reaped = off->killed = off->slow = off->late = false;
	if (has_place())
		launch(off);
	else
		STAILQ_INSERT_TAIL(&of.queue, off, link);
}

void
offload_set_max(unsigned max)
{
	of.stats.max = max > 0 ? max : 1;
}

struct offload_stats
offload_stats(void)
{
	return of.stats;
}
