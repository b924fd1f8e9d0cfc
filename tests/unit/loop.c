/*
 * loop.c - jobs, timers and operations, with a clock that the test sets.
 */
#include "base/clock.h"
#include "core/io.h"
#include "core/op.h"
#include "core/signal.h"
#include "core/timer.h"
#include "tests/tap.h"
#include "tests/waited.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static char trace[256];

static void
note(const char *what)
{
	(void)strncat(trace, what, sizeof(trace) - strlen(trace) - 1);
}

static struct job job_a, job_b;

static void
run_b(struct job *job)
{
	(void)job;
	note("b");
}

static void
run_a(struct job *job)
{
	(void)job;
	note("a");
	job_b.run = run_b;
	loop_post(&job_b);
}

static void
test_jobs(void)
{
	job_a.run = run_a;
	loop_post(&job_a);
	is_str(trace, "", "a posted job does not run inside the post");
	loop_turn(false);
	is_str(trace, "a", "it runs in the next turn");
	loop_turn(false);
	is_str(trace, "ab", "what it posts runs a turn later");
	loop_post(&job_a);
	loop_unpost(&job_a);
	loop_turn(false);
	is_str(trace, "ab", "a job can be taken back");
}

static void
run_late(struct job *job)
{
	note("l");
	if (strcmp(trace, "al") == 0)
		loop_post_late(job);
}

static struct job job_late = { .run = run_late };

static void
run_a_and_late(struct job *job)
{
	(void)job;
	note("a");
	loop_post_late(&job_late);
	loop_post(&job_b);
}

static void
test_late_jobs(void)
{
	trace[0] = '\0';
	job_a.run = run_a_and_late;
	loop_post(&job_a);
	loop_turn(false);
	is_str(trace, "al", "a late job runs in the turn that posts it");
	loop_turn(true);
	is_str(trace, "albl", "what it posts late itself waits a turn");
	loop_post_late(&job_late);
	loop_unpost(&job_late);
	loop_turn(false);
	is_str(trace, "albl", "a late job can be taken back");
}

static void *
other_thread(void *arg)
{
	loop_post_remote(arg);
	return NULL;
}

static void
test_remote(void)
{
	pthread_t thread;

	trace[0] = '\0';
	job_b.run = run_b;
	(void)pthread_create(&thread, NULL, other_thread, &job_b);
	(void)pthread_join(thread, NULL);
	loop_turn(true);
	is_str(trace, "b", "another thread's job wakes the loop");
}

static void
on_timer(struct timer *timer)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d ", (int)(timer->due_ms - 1000));
	note(text);
}

static void
test_timers(void)
{
	static const int in_ms[] = { 50, 10, 40, 20, 30, 20 };
	struct timer timer[6] = { 0 };

	trace[0] = '\0';
	clock_fake(1000);
	for (size_t i = 0; i < countof(timer); i++) {
		timer[i].fire = on_timer;
		timer_arm(&timer[i], in_ms[i]);
	}
	loop_turn(false);
	is_str(trace, "", "nothing is due yet");
	timer_disarm(&timer[2]);
	timer_arm(&timer[0], 5);
	clock_fake(1020);
	loop_turn(false);
	is_str(trace, "5 10 20 20 ", "what is due fires, in order");
	clock_fake(2000);
	loop_turn(false);
	is_str(trace, "5 10 20 20 30 ", "a stopped timer never fires");
	ok(!timer_is_running(&timer[4]), "a fired timer has stopped");
	clock_fake(-1);
	trace[0] = '\0';
	timer_arm(&timer[0], 20);
	loop_turn(true);
	for (int i = 0; i < 10 && trace[0] == '\0'; i++)
		loop_turn(true);
	ok(trace[0] != '\0', "the real clock wakes the loop");
}

#define MANY_TIMERS 500
#define MANY_MS 1000

static struct {
	struct timer timer[MANY_TIMERS];
	int64_t due_ms[MANY_TIMERS]; /* 0: it does not run */
	int64_t last_ms;
	unsigned fired, early, late;
} many;

static void
on_one_of_many(struct timer *timer)
{
	size_t i = (size_t)(timer - many.timer);

	many.fired++;
	many.early += many.due_ms[i] == 0 || many.due_ms[i] < many.last_ms;
	many.late += many.due_ms[i] != timer->due_ms;
	many.last_ms = many.due_ms[i];
	many.due_ms[i] = 0;
}

/* Starts, moves and stops timers at random, and lets some time pass. */
static void
test_many_timers(void)
{
	int64_t now_ms = MANY_MS;
	unsigned started = 0;
	uint32_t x = 1;

	for (int step = 0; step < 100 * MANY_TIMERS; step++) {
		size_t i;

		x = x * 1664525 + 1013904223;
		i = x >> 16 & 511;
		many.last_ms = 0;
		if (i >= MANY_TIMERS) {
			clock_fake(now_ms += 7);
			loop_turn(false);
		} else if (x >> 26 < 12) {
			started -= many.due_ms[i] != 0;
			many.due_ms[i] = 0;
			timer_disarm(&many.timer[i]);
		} else {
			started += many.due_ms[i] == 0;
			many.due_ms[i] = now_ms + (x >> 8 & 255);
			many.timer[i].fire = on_one_of_many;
			timer_arm(&many.timer[i], x >> 8 & 255);
		}
	}
	many.last_ms = 0;
	clock_fake(now_ms + 256);
	loop_turn(false);
	is_int(many.fired, started, "each of many timers fires or is stopped");
	ok(many.early == 0 && many.late == 0, "they fire in order");
	clock_fake(-1);
}

static void
on_readable(struct io *io, int what)
{
	char c;

	(void)!read(io->fd, &c, 1);
	note(what & IO_READ ? "r" : "w");
	io_unwatch(io);
}

static void
test_io(void)
{
	struct io io = { 0 };
	int fd[2];

	trace[0] = '\0';
	(void)!pipe(fd);
	io_watch(&io, fd[0], 0, on_readable);
	(void)!write(fd[1], "x", 1);
	loop_turn(false);
	is_str(trace, "", "a watcher that wants nothing sleeps");
	io_want(&io, IO_READ);
	loop_turn(false);
	is_str(trace, "r", "readiness is reported");
	(void)!write(fd[1], "x", 1);
	loop_turn(false);
	is_str(trace, "r", "a stopped watcher is silent");
	(void)close(fd[0]);
	(void)close(fd[1]);
}

static int caught;

static void
on_usr2(int signo)
{
	caught = signo;
}

static void
test_signals(void)
{
	signal_watch(SIGUSR2, on_usr2);
	(void)raise(SIGUSR2);
	loop_turn(true);
	is_int(caught, SIGUSR2, "a signal arrives in the loop");
	signal_fini();
}

/* An op that waits twice, or once and for a child. */
enum walk_state { WALK_BEGIN = 0, WALK_FIRST, WALK_SECOND, WALK_END };

struct walk {
	struct op op;
	enum walk_state state;
	struct walk *child;
	int fail_at;
};

static const struct op_class walk_class;

static enum op_verdict
walk_step(struct op *op)
{
	struct walk *w = (struct walk *)op;

	switch (w->state) {
	case WALK_BEGIN:
		wake_up(&op->wake, w->fail_at == 1 ? -EIO : 0);
		return op_await(w, WALK_FIRST);
	case WALK_FIRST:
		if (op->rc < 0)
			return op_fail_rc(w, WALK_END, op->rc, "first %s", "x");
		if (w->child != NULL)
			op_start(&w->child->op, &walk_class, &op->wake);
		else
			wake_up(&op->wake, 0);
		return op_await(w, WALK_SECOND);
	case WALK_SECOND:
		if (w->child != NULL && op->rc < 0)
			return op_fail_err(w, WALK_END, &w->child->op.err);
		return op_goto(w, WALK_END);
	case WALK_END:
		op_set_error(
		    op, w->fail_at != 0 ? ERR_ABORTED : ERR_OK, "later");
		return OP_DONE;
	}
	abort();
}

static const struct op_class walk_class = { .name = "walk", .step = walk_step };

static void
on_state(struct op *op, const char *state)
{
	(void)op;
	note(strrchr(state, '_'));
}

static void
turn_until_idle(void)
{
	for (int i = 0; i < 20 && op_count() > 0; i++)
		loop_turn(false);
}

static void
test_ops(void)
{
	struct walk child = { .fail_at = 0 }, parent = { .child = &child };
	struct buf dump;
	struct waited done = WAITED_INIT;

	trace[0] = '\0';
	op_set_hook(on_state);
	op_start(&parent.op, &walk_class, &done.wake);
	is_str(parent.op.state_name, "START", "no step runs inside the start");
	is_int(op_count(), 1, "a started op is live");
	loop_turn(false);
	is_str(parent.op.state_name, "WALK_FIRST", "one wait a turn");
	loop_turn(false);
	is_int(op_count(), 2, "the child is live beside it");
	buf_init(&dump, 4096);
	op_dump(&dump);
	ok(strstr((char *)dump.data, "name=walk") != NULL &&
		strstr((char *)dump.data, "state=WALK_SECOND") != NULL,
	    "live ops can be listed with their states");
	buf_fini(&dump);
	turn_until_idle();
	is_int(waited_for(&done), 0, "the waiter is woken");
	is_str(trace, "_FIRST_SECOND_FIRST_SECOND_END_END",
	    "the hook sees every state");

	child = (struct walk){ .fail_at = 1 };
	parent = (struct walk){ .child = &child };
	done = WAITED_INIT;
	op_start(&parent.op, &walk_class, &done.wake);
	op_detach(&parent.op);
	turn_until_idle();
	is_int(parent.op.err.rc, -EIO, "a child's failure reaches the parent");
	is_str(parent.op.err.text, "first x: Input/output error",
	    "with the first failure's text");
	is_int(waited_for(&done), -EIO,
	    "the waiter of a detached op is woken, too, with its failure");
	op_set_hook(NULL);
}

static void
test_trail_text(void)
{
	char text[64], small[] = "AB:0.1";
	size_t at = op_trail_put(text, sizeof(text), 0, "A", 0);

	at = op_trail_put(text, sizeof(text), at, "B", 49);
	at = op_trail_put(text, sizeof(text), at, "C", 1050);
	at = op_trail_put(text, sizeof(text), at, "D", INT64_C(3600000000));
	is_str(text, "A:0.0,B:0.0,C:1.1,D:3600000.0",
	    "states are written with their milliseconds");
	is_int(at, strlen(text), "the length is that of the text");
	at = op_trail_put(text, 40, at, "TOO_LONG", 100);
	is_int(at, 40, "what does not fit is told");
	is_int(strlen(text), 29, "and cut off");
	is_int(op_trail_put(text, 40, at, "E", 0), 40, "as is what follows");
	is_int(
	    op_trail_put(small, 1, 0, "A", 0), 1, "nor is there a byte more");
	is_str(small, "", "than the end");
}

int
main(void)
{
	if (loop_init() < 0)
		return 99;
	test_jobs();
	test_late_jobs();
	test_remote();
	test_timers();
	test_many_timers();
	test_io();
	test_signals();
	test_ops();
	test_trail_text();
	loop_fini();
	return tap_end();
}
