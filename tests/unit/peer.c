/*
 * peer.c - a helper process (tests/fake/helper) from start to end: hello,
 * calls, streams, descriptors, cancel, death, backoff, drain, hang and kill.
 */
#include "core/peer.h"

#include "base/clock.h"
#include "core/loop.h"
#include "tests/fake/helper.h"
#include "tests/tap.h"
#include "worker.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>

static char program[4096], socket_path[64];

/* The owner of the one peer. */
static struct {
	struct peer peer;
	unsigned ready, failed, gone, rested;
	enum peer_state was;
	unsigned scope;
	char step[64];
	struct err err;
} o;

static void
on_ready(struct peer *peer, const struct peer_frame *frame)
{
	(void)peer;
	(void)frame;
	o.ready++;
}

static void
on_failed(struct peer *peer, const struct peer_frame *frame)
{
	(void)peer;
	o.failed++;
	o.scope = frame->what;
	o.err = frame->err;
	(void)snprintf(o.step, sizeof(o.step), "%s", frame->step);
}

static void
on_gone(struct peer *peer)
{
	o.gone++;
	o.was = peer->state;
	peer_end(peer);
}

static void
on_rested(struct peer *peer)
{
	(void)peer;
	o.rested++;
}

static struct peer_kind kind = {
	.name = "helper",
	.version = 2,
	.max_frame = 65536,
	.max_queued = 1 << 20,
	.start_ms = 30000,
	.end_ms = 100,
	.backoff_ms = 20,
	.backoff_max_ms = 60,
	.ready = on_ready,
	.failed = on_failed,
	.gone = on_gone,
	.rested = on_rested,
};

static void
on_tick(struct timer *timer)
{
	(void)timer;
}

/* Turns the loop until the counter is there, for 60 s at most. */
static bool
reaches(const unsigned *counter, unsigned value)
{
	struct timer tick = { .fire = on_tick };

	for (int i = 0; i < 12000 && *counter < value; i++) {
		timer_arm(&tick, 5);
		loop_turn(true);
	}
	timer_disarm(&tick);
	return *counter == value;
}

static void
turns(unsigned n)
{
	unsigned never = 0;

	while (n-- > 0)
		(void)(reaches(&never, 0), loop_turn(false));
}

static void
spawn(const char *mode)
{
	const char *const argv[] = { program, mode, NULL };
	Worker__Setting hello = WORKER__SETTING__INIT;
	struct err err = ERR_INIT;

	o.ready = o.failed = o.gone = o.rested = 0;
	hello.name = (char *)(uintptr_t)mode;
	if (peer_spawn(&o.peer, argv, NULL, 0, &hello.base, &err) < 0)
		diag("%s", err.text);
}

/* One call and its last reply. */
struct asked {
	struct peer_call call;
	unsigned replies, ended;
	struct err err;
	char value[64];
	int fd;
};

static void
on_reply(struct peer_call *call, const struct peer_frame *frame)
{
	struct asked *a = (struct asked *)call;
	Worker__Setting *m = peer_unpack(frame, &worker__setting__descriptor);

	a->replies++;
	a->ended += !frame->more;
	a->err = frame->err;
	a->fd = frame->nfds == 1 ? take_fd(&frame->fds[0]) : -1;
	(void)snprintf(a->value, sizeof(a->value), "%s", m->value);
	worker__setting__free_unpacked(m, NULL);
}

static void
ask(struct asked *a, enum helper_call what, const char *value)
{
	Worker__Setting m = WORKER__SETTING__INIT;

	*a = (struct asked){ .call.reply = on_reply, .fd = -1 };
	m.value = (char *)(uintptr_t)value;
	if (peer_call_send(&o.peer, &a->call, what, &m.base) < 0)
		diag("call %d is not sent", (int)what);
}

static bool
has_process(pid_t pid)
{
	return kill(pid, 0) == 0;
}

static void
test_calls(void)
{
	struct asked echo, stream, file, wait, none;
	char c = 'x';

	peer_init(&o.peer, &kind);
	spawn("ok");
	ok(o.peer.state == PEER_STARTING && reaches(&o.ready, 1) &&
		o.peer.state == PEER_UP,
	    "a helper is spawned, told hello, and ready");
	ask(&wait, HELPER_WAIT, "");
	ask(&stream, HELPER_STREAM, "");
	ask(&file, HELPER_OPEN, "/dev/zero");
	ask(&none, 99, "");
	ask(&echo, HELPER_ECHO, "a text");
	ok(reaches(&echo.ended, 1) && str_eq(echo.value, "a text"),
	    "a call is answered");
	ok(stream.ended == 1 && stream.replies == 1001,
	    "another one by a stream of replies");
	ok(file.fd >= 0 && read(file.fd, &c, 1) == 1 && c == 0,
	    "another one with a descriptor");
	ok(none.err.rc == -ENOTTY && strstr(none.err.text, "call 99") != NULL,
	    "an error comes whole: %s", none.err.text);
	(void)close(file.fd);
	ok(wait.ended == 0 && TAILQ_FIRST(&o.peer.calls) == &wait.call,
	    "one that takes longer is in nobody's way");
	peer_call_cancel(&wait.call);
	ok(reaches(&wait.ended, 1) && wait.err.code == ERR_CANCELLED,
	    "and may be cancelled");
}

static void
test_death(void)
{
	struct asked die, wait;

	ask(&wait, HELPER_WAIT, "");
	ask(&die, HELPER_DIE, "");
	ok(reaches(&o.gone, 1) && o.was == PEER_UP &&
		o.peer.state == PEER_BACKOFF,
	    "its death is told");
	ok(TAILQ_FIRST(&o.peer.calls) == &wait.call,
	    "with the calls that it has not answered");
	peer_call_take(&wait.call);
	peer_call_take(&die.call);
	ok(reaches(&o.rested, 1) && o.peer.state == PEER_IDLE,
	    "the first successor is due at once");
	for (unsigned i = 1; i < 6; i++) {
		int64_t before_ms, ms;

		spawn("wrong");
		(void)reaches(&o.failed, 1);
		peer_end(&o.peer);
		before_ms = clock_now_ms();
		(void)reaches(&o.rested, 1);
		ms = clock_now_ms() - before_ms;
		if (i == 1)
			ok(o.scope == PEER_SCOPE_START &&
				o.err.code == ERR_NOT_FOUND &&
				str_eq(o.err.text, "nothing there") &&
				str_eq(o.step, "look"),
			    "a failed start has its step and reason");
		if (i == 2 || i == 5)
			ok(ms >= (i == 2 ? 39 : 59),
			    "end %u in a row: a pause of %d ms", i + 1,
			    (int)ms);
	}
	is_int(o.gone, 0, "what its owner has ended is not told as gone");
}

static void
test_end(void)
{
	struct asked hang;
	pid_t pid;

	spawn("ok");
	(void)reaches(&o.ready, 1);
	peer_drain(&o.peer);
	ok(reaches(&o.gone, 1) && o.was == PEER_DRAINING,
	    "one that is drained ends by itself");
	(void)reaches(&o.rested, 1);

	spawn("ok");
	(void)reaches(&o.ready, 1);
	ask(&hang, HELPER_HANG, "");
	peer_drain(&o.peer);
	ok(reaches(&o.gone, 1) && o.was == PEER_DRAINING,
	    "one that hangs in its drain is killed");
	peer_call_take(&hang.call);
	(void)reaches(&o.rested, 1);

	spawn("ok");
	(void)reaches(&o.ready, 1);
	pid = peer_pid(&o.peer);
	ask(&hang, HELPER_HANG, "");
	peer_call_take(&hang.call);
	turns(10);
	peer_fini(&o.peer);
	ok(has_process(pid), "one that is let go may take its time");
	for (int i = 0; i < 12000 && has_process(pid); i++) {
		struct timer tick = { .fire = on_tick };

		timer_arm(&tick, 5);
		loop_turn(true);
		timer_disarm(&tick);
	}
	ok(!has_process(pid), "and is killed when that was too long");
	is_int(o.gone, 0, "nobody is told");
}

static void
test_start(void)
{
	const char *const none[] = { "/no/such/helper", NULL };
	struct err err = ERR_INIT;

	peer_init(&o.peer, &kind);
	is_int(peer_spawn(&o.peer, none, NULL, 0, NULL, &err),
	    err_rc_of(ERR_UNAVAILABLE), "a program that is not there");
	is_str(err.text, "start /no/such/helper: No such file or directory",
	    "is named");
	peer_end(&o.peer);

	spawn("old");
	ok(reaches(&o.failed, 1) && o.scope == PEER_SCOPE_VERSION,
	    "another version of the protocol is a failure");
	is_str(o.err.text, "helper speaks version 1 of the protocol, not 2",
	    "that says so");
	peer_end(&o.peer);

	kind.start_ms = 50;
	spawn("mute");
	ok(reaches(&o.failed, 1) && *o.step == '\0' &&
		strstr(o.err.text, "no answer from helper") != NULL,
	    "one that does not answer is given up: %s", o.err.text);
	peer_end(&o.peer);
	kind.start_ms = 30000;
	peer_fini(&o.peer);
}

static void
test_adopt(void)
{
	const char *const argv[] = { program, "ok", socket_path, NULL };
	static struct peer first;
	struct err err = ERR_INIT;
	Worker__Setting hello = WORKER__SETTING__INIT;
	struct asked echo;
	pid_t pid;
	int fd;

	(void)snprintf(
	    socket_path, sizeof(socket_path), "/tmp/peer-%d", (int)getpid());
	peer_init(&first, &kind);
	o.ready = o.gone = 0;
	if (peer_spawn(&first, argv, NULL, 0, &hello.base, &err) < 0)
		diag("%s", err.text);
	(void)reaches(&o.ready, 1);
	pid = peer_pid(&first);

	/* As one that has not started it. */
	kind.exclusive = true;
	peer_init(&o.peer, &kind);
	peer_adopt(&o.peer, pid, (int)syscall(SYS_pidfd_open, pid, 0u));
	fd = peer_socket(socket_path);
	ok(fd >= 0, "a helper that listens is found");
	peer_greet(&o.peer, fd, &hello.base);
	ok(reaches(&o.ready, 2), "it is told hello");
	ask(&echo, HELPER_ECHO, "again");
	ok(reaches(&echo.ended, 1) && str_eq(echo.value, "again"),
	    "and serves");
	peer_kill(&o.peer, SIGKILL);
	ok(reaches(&o.gone, 2), "its end is told to both");
	kind.exclusive = false;
	peer_fini(&first);
	peer_fini(&o.peer);
	peer_forget_all();
	(void)unlink(socket_path);
}

int
main(int argc, char *argv[])
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;

	if (slash == NULL ||
	    str_put(program, sizeof(program), "%.*s/../fake/helper",
		(int)(slash - argv[0]), argv[0]) < 0 ||
	    loop_init() < 0)
		return 99;
	test_calls();
	test_death();
	test_end();
	test_start();
	test_adopt();
	loop_fini();
	return tap_end();
}
