/*
 * offload.c - forked calls, tools and helpers, with real processes.
 */
#include "core/offload.h"
#include "base/clock.h"
#include "core/child.h"
#include "core/signal.h"
#include "tests/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

/* One op, one wait: what the test drives is in the struct. */
enum run_state { RUN_BEGIN = 0, RUN_ENDED };

struct run {
	struct op op;
	enum run_state state;
	struct offload off;
	struct tool tool;
	offload_fn fn;
	const char *const *argv;
	int timeout_ms;
	int arg;
	int result[2];
	int rc;
};

static enum op_verdict
run_step(struct op *op)
{
	struct run *r = (struct run *)op;

	switch (r->state) {
	case RUN_BEGIN:
		if (r->argv != NULL)
			tool_start(&r->tool, r->argv, r->timeout_ms, &op->wake);
		else
			offload_start(&r->off, "test", r->fn, &r->arg,
			    r->result, sizeof(r->result), r->timeout_ms,
			    &op->wake);
		return op_await(r, RUN_ENDED);
	case RUN_ENDED:
		r->rc = op->rc;
		return OP_DONE;
	}
	abort();
}

static const struct op_class run_class = { .name = "run", .step = run_step };

static void
start(struct run *r)
{
	r->timeout_ms = r->timeout_ms > 0 ? r->timeout_ms : 20000;
	op_start(&r->op, &run_class, NULL);
}

static void
finish_all(void)
{
	while (op_count() > 0)
		loop_turn(true);
}

static void
run(struct run *r)
{
	start(r);
	finish_all();
}

static int
fn_double(const void *args, void *result, struct err *err)
{
	(void)err;
	((int *)result)[0] = *(const int *)args * 2;
	((int *)result)[1] = (int)getpid();
	return 0;
}

static int
fn_fail(const void *args, void *result, struct err *err)
{
	(void)args;
	((int *)result)[0] = 5;
	return err_set(err, ERR_NOT_FOUND, "mount point /x");
}

static int
fn_die(const void *args, void *result, struct err *err)
{
	(void)args;
	(void)result;
	(void)err;
	(void)raise(SIGSEGV);
	return 0;
}

static int
fn_hang(const void *args, void *result, struct err *err)
{
	(void)args;
	(void)result;
	(void)err;
	for (;;)
		(void)pause();
	return 0;
}

static int
fn_open_fds(const void *args, void *result, struct err *err)
{
	int open_fds = 0;

	(void)args;
	(void)err;
	for (int fd = 0; fd < 256; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			open_fds++;
	((int *)result)[0] = open_fds;
	return 0;
}

/* As if somebody named all of rbd-csid's processes. */
static int
fn_signals(const void *args, void *result, struct err *err)
{
	static const int told[] = { SIGHUP, SIGUSR1, SIGUSR2, SIGTERM, SIGINT };

	(void)args;
	(void)err;
	for (size_t i = 0; i < countof(told); i++)
		(void)raise(told[i]);
	((int *)result)[0] = 7;
	return 0;
}

static int
fn_begin(const void *args, void *result, struct err *err)
{
	struct rlimit core;
	sigset_t set;

	(void)args;
	(void)err;
	signal_requests(&set);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGUSR1, SIG_DFL);
	process_begin();
	(void)raise(SIGUSR1);
	(void)raise(SIGPIPE);
	(void)sigprocmask(SIG_SETMASK, NULL, &set);
	((int *)result)[0] = getrlimit(RLIMIT_CORE, &core) == 0 &&
	    core.rlim_max == 0 && prctl(PR_GET_DUMPABLE) == 0;
	((int *)result)[1] = sigismember(&set, SIGUSR1);
	return 0;
}

static int watched;

static void
on_told(int signo)
{
	watched = signo;
}

static void
test_signals(void)
{
	static const int told[] = { SIGHUP, SIGUSR1, SIGUSR2 };
	static const char *const tool[] = { "sh", "-c",
		"kill -HUP $$; kill -USR1 $$; kill -USR2 $$; echo alive",
		NULL };
	struct run r = { .fn = fn_signals };
	bool all = true;

	run(&r);
	ok(r.rc == 0 && r.result[0] == 7,
	    "a child ignores what is meant for its parent");
	for (size_t i = 0; i < countof(told); i++)
		signal_watch(told[i], on_told);
	for (int i = 0; i < 50; i++) { /* at its birth, too */
		r = (struct run){ .fn = fn_double, .arg = i };
		start(&r);
		while (offload_stats().running == 0)
			loop_turn(false);
		for (size_t k = 0; k < countof(told); k++)
			(void)kill(r.off.pid, told[k]);
		finish_all();
		all = all && r.rc == 0 && r.result[0] == 2 * i;
	}
	ok(all, "from its first moment on");
	is_int(watched, 0, "and its parent hears nothing of it");
	signal_fini();
	r = (struct run){ .argv = tool };
	run(&r);
	is_str(r.tool.output, "alive\n", "so does a program that is started");
	r = (struct run){ .fn = fn_begin };
	run(&r);
	is_int(
	    r.result[0], 1, "our programs leave no core and cannot be traced");
	is_int(r.result[1], 0,
	    "and hear signals again that they were born without");
}

static void
test_few_files(void)
{
	static const char *const argv[] = { "true", NULL };
	struct run r = { .argv = argv };
	struct rlimit before, few;

	(void)getrlimit(RLIMIT_NOFILE, &before);
	few = before;
	few.rlim_cur = 32;
	(void)setrlimit(RLIMIT_NOFILE, &few);
	run(&r);
	(void)setrlimit(RLIMIT_NOFILE, &before);
	is_int(r.rc, 0, "a program is started with 32 descriptors: %s",
	    r.tool.err.text);
}

static void
test_offload(void)
{
	struct run r = { .fn = fn_double, .arg = 21 };
	int fd;

	run(&r);
	ok(r.rc == 0 && r.result[0] == 42, "a child's result comes back");
	ok(r.result[1] != (int)getpid() && r.result[1] > 0,
	    "it ran in another process");
	r = (struct run){ .fn = fn_fail };
	run(&r);
	is_int(r.rc, -ENOENT, "a failure comes back");
	is_str(r.off.err.text, "mount point /x", "with its text");
	is_int(r.result[0], 5, "and what was in the result");
	r = (struct run){ .fn = fn_die };
	run(&r);
	is_int(r.rc, -EIO, "a child that dies is a failure");
	ok(strstr(r.off.err.text, "signal 11") != NULL, "that says how");
	r = (struct run){ .fn = fn_hang, .timeout_ms = 50 };
	run(&r);
	is_int(r.rc, -ETIMEDOUT, "a child that hangs is killed");
	is_int(
	    offload_stats().stuck, 0, "and is not counted as stuck afterwards");
	is_int(waitpid(-1, NULL, WNOHANG), -1, "no zombie is left");

	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	r = (struct run){ .fn = fn_open_fds };
	run(&r);
	is_int(r.result[0], 4, "a child keeps 0, 1, 2 and its pipe");
	r = (struct run){ .fn = fn_open_fds, .off.keep_fd = { fd } };
	run(&r);
	is_int(r.result[0], 5, "and the descriptor it was told to keep");
	(void)close(fd);
}

static void
test_queue(void)
{
	struct run r[8] = { 0 };
	uint64_t forks = offload_stats().forks;
	unsigned most = 0;
	bool all = true;

	offload_set_max(2);
	for (int i = 0; i < 8; i++) {
		r[i].fn = fn_double;
		r[i].arg = i;
		start(&r[i]);
	}
	while (op_count() > 0) {
		loop_turn(true);
		if (offload_stats().running > most)
			most = offload_stats().running;
	}
	for (int i = 0; i < 8; i++)
		all = all && r[i].rc == 0 && r[i].result[0] == 2 * i;
	ok(all, "calls over the limit wait their turn");
	is_int(most, 2, "and never more than the limit run");
	is_int(offload_stats().forks - forks, 8, "one fork a call");
	offload_set_max(64);
}

/* The only place is taken by a child that hangs in a system call. */
static void
test_slow(void)
{
	struct run hangs = { .fn = fn_hang },
		   other = { .fn = fn_double, .arg = 4 };
	int64_t now = clock_now_ms();

	offload_set_max(1);
	clock_fake(now);
	start(&hangs);
	start(&other);
	while (offload_stats().running == 0)
		loop_turn(false);
	is_int(offload_stats().running, 1, "one that hangs has the one place");
	clock_fake(now + 10000);
	while (op_count() > 1)
		loop_turn(false);
	ok(other.rc == 0 && other.result[0] == 8,
	    "another one runs after 10 s all the same");
	is_int(offload_stats().slow, 1, "the first one still does");
	clock_fake(now + 20000);
	while (op_count() > 0)
		loop_turn(false);
	is_int(hangs.rc, -ETIMEDOUT, "until its time is over");
	ok(offload_stats().running == 0 && offload_stats().slow == 0,
	    "then none is left");
	clock_fake(-1);
	offload_set_max(64);
}

static void
test_tool(void)
{
	static const char *const hello[] = { "sh", "-c",
		"echo out; echo err >&2; cat; exit 3", NULL };
	static const char *const fds[] = { "sh", "-c",
		"ls /proc/self/fd | wc -l", NULL };
	static const char *const flood[] = { "sh", "-c",
		"i=0; while [ $i -lt 2000 ]; do echo 0123456789; "
		"i=$((i+1)); done",
		NULL };
	static const char *const hang[] = { "sleep", "1000", NULL };
	static const char *const none[] = { "no-such-program-here", NULL };
	struct run r = { .argv = hello };

	run(&r);
	ok(r.rc == 0 && r.tool.status == 3, "a tool's exit status");
	is_str(r.tool.output, "out\nerr\n", "and its output, both streams");
	r = (struct run){ .argv = fds };
	run(&r);
	is_str(r.tool.output, "4\n", "it inherits no descriptor of ours");
	r = (struct run){ .argv = flood };
	run(&r);
	ok(r.rc == 0 && r.tool.status == 0 &&
		strlen(r.tool.output) == TOOL_OUTPUT_MAX - 1,
	    "output over the limit is dropped, not waited for");
	r = (struct run){ .argv = hang, .timeout_ms = 50 };
	run(&r);
	is_int(r.rc, -ETIMEDOUT, "a tool that hangs is killed");
	is_str(r.tool.err.text, "sleep: killed after 50 ms", "and it says so");
	r = (struct run){ .argv = none };
	run(&r);
	is_int(r.rc, -ENOENT, "a missing tool is an error");
	is_str(r.tool.err.text,
	    "start no-such-program-here: No such file or directory",
	    "that names it");
}

static void
test_helper(void)
{
	const char *const cat[] = { "/bin/sh", "-c", "read x <&3; exit \"$x\"",
		NULL };
	const char *const none[] = { "/no/such/helper", NULL };
	int fd[2], pidfd, status = 0;
	pid_t pid = 0;

	(void)!pipe2(fd, O_CLOEXEC);
	pidfd = helper_spawn(&pid, cat, &fd[0], 1);
	ok(pidfd >= 0,
	    "a helper starts with a descriptor of ours as its third");
	is_int(getsid(pid), pid, "in a session of its own");
	(void)!write(fd[1], "7\n", 2);
	(void)waitpid(pid, &status, 0);
	is_int(WEXITSTATUS(status), 7, "it reads from there");
	is_int(helper_spawn(&pid, none, NULL, 0), -ENOENT,
	    "a missing program is an error");
	(void)close(pidfd);
	(void)close(fd[0]);
	(void)close(fd[1]);
}

int
main(void)
{
	if (loop_init() < 0)
		return 99;
	test_offload();
	test_signals();
	test_few_files();
	test_queue();
	test_slow();
	test_tool();
	test_helper();
	loop_fini();
	return tap_end();
}
