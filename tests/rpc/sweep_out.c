/*
 * sweep_out.c - the other direction: the client takes what the server sends
 * up to any byte, and not the next one. Then it goes on, or it is gone, takes
 * its calls back or says nothing for ever, or the server drains or ends.
 *
 * The rule that holds it together: the server's send() goes through here, and
 * takes no more than the client does; no buffer of the kernel lies between.
 */
#include "core/loop.h"
#include "rpc/health.h"
#include "tests/rpc/trial.h"
#include "tests/tap.h"

#include <errno.h>
#include <sys/socket.h>

#define DRAIN_ANSWER_MS 1000 /* that server.c waits for a ping */

enum event {
	EVENT_GO_ON = 0,  /* the client takes all the rest */
	EVENT_DRIP,       /* a byte or a few a turn */
	EVENT_CLOSE,      /* it is gone */
	EVENT_HALF_CLOSE, /* it sends no more, and takes the rest */
	EVENT_RESET,      /* it takes back its calls, and takes the rest */
	EVENT_ANSWER,     /* the handlers answer, and it takes the rest */
	EVENT_TIME,       /* it takes nothing any more */
	EVENT_DRAIN,      /* the server drains, and the client goes on */
	EVENT_FREE,       /* the server ends */
	EVENT_COUNT,
};

static const char *const event_name[EVENT_COUNT] = {
	"then the rest",
	"then drop by drop",
	"then it is gone",
	"then it half-closes",
	"then it cancels",
	"then all is answered",
	"then never again",
	"then the server drains",
	"then the server ends",
};

struct trial {
	const struct talk *talk;
	const struct script *script;
	const char *whole; /* the answers to all of it */
	size_t at;
	enum ledger_mode mode;
	enum ledger_gone gone;
	enum event event;
};

static size_t taken; /* by the client; the server has sent as much */
static size_t limit;
static bool drained;

ssize_t __real_send(int fd, const void *bytes, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags);

ssize_t
__wrap_send(int fd, const void *bytes, size_t len, int flags)
{
	size_t room = limit - taken;
	ssize_t n;

	/* Who is gone is noticed, whatever was taken. */
	if (fd == trial_wire.fd || trial_wire.fd < 0)
		return __real_send(fd, bytes, len, flags);
	if (room == 0) {
		errno = EAGAIN;
		return -1;
	}
	n = __real_send(fd, bytes, len < room ? len : room, flags);
	if (n > 0)
		taken += (size_t)n;
	return n;
}

static void
put_resets(const struct script *script)
{
	for (size_t i = 0; i < script->frames; i++) {
		unsigned char frame[13] = { 0, 0, 4, NGHTTP2_RST_STREAM };

		if (script->frame[i].opens == 0)
			continue;
		frame[8] = (unsigned char)script->frame[i].opens;
		frame[12] = NGHTTP2_CANCEL;
		wire_put(&trial_wire, frame, sizeof(frame));
	}
}

static void
take_rest(void)
{
	limit = SIZE_MAX;
	wire_settle(&trial_wire);
}

static void
drip(size_t bytes)
{
	size_t before;

	do {
		before = taken;
		limit = taken + bytes;
		loop_turn(false);
		loop_turn(false);
		(void)wire_read(&trial_wire);
	} while (taken > before);
	take_rest();
}

static void
happen(const struct trial *t)
{
	switch (t->event) {
	case EVENT_GO_ON:
		take_rest();
		return;
	case EVENT_DRIP:
		drip(t->mode == LEDGER_NOW ? 1 : 50);
		return;
	case EVENT_CLOSE:
		wire_close(&trial_wire);
		wire_settle(&trial_wire);
		return;
	case EVENT_HALF_CLOSE:
		(void)shutdown(trial_wire.fd, SHUT_WR);
		wire_settle(&trial_wire);
		take_rest();
		return;
	case EVENT_RESET:
		put_resets(t->script);
		wire_settle(&trial_wire);
		take_rest();
		return;
	case EVENT_ANSWER:
		ledger_end_all();
		wire_settle(&trial_wire);
		take_rest();
		return;
	case EVENT_TIME:
		trial_pass(TRIAL_LONG_MS);
		trial_pass(TRIAL_LONG_MS);
		return;
	case EVENT_DRAIN:
		health_shutdown();
		drain_server(trial_server, &drained);
		wire_settle(&trial_wire);
		take_rest();
		trial_pass(2 * DRAIN_ANSWER_MS);
		return;
	case EVENT_FREE:
		trial_end_server();
		return;
	case EVENT_COUNT:
		return;
	}
}

static void
expect_end(const struct trial *t)
{
	/* A client that is gone, or has said so, has no connection. */
	bool open = !trial_wire.eof;

	switch (t->event) {
	case EVENT_GO_ON:
	case EVENT_DRIP:
	case EVENT_RESET:
	case EVENT_ANSWER:
		trial_expect_counts(0, open);
		return;
	case EVENT_DRAIN:
		trial_expect(drained, "the drain has no end");
		trial_expect_counts(0, 0);
		return;
	case EVENT_CLOSE:
	case EVENT_HALF_CLOSE:
	case EVENT_TIME:
		trial_expect_counts(0, 0);
		return;
	case EVENT_FREE:
	case EVENT_COUNT:
		return;
	}
}

static const char *
run(const struct trial *t)
{
	char answers[WIRE_ANSWERS_MAX];
	bool same = t->event == EVENT_GO_ON || t->event == EVENT_DRIP ||
	    t->event == EVENT_DRAIN;

	drained = false;
	taken = 0;
	limit = t->at;
	trial_begin(t->talk, t->mode, t->gone);
	wire_put(&trial_wire, t->script->bytes.data, t->script->bytes.len);
	wire_settle(&trial_wire);
	trial_expect(trial_wire.in.len <= t->at, "more than was to be taken");
	if (same || t->event == EVENT_TIME)
		ledger_release();
	happen(t);
	(void)wire_read(&trial_wire);
	trial_expect_order(!same, answers);
	trial_expect(!same || t->talk->races || t->talk->varies ||
		str_eq(answers, t->whole),
	    "the answers are others");
	expect_end(t);
	limit = SIZE_MAX;
	return trial_end();
}

static void
run_counted(const struct trial *t, struct tally *tally)
{
	const char *wrong = run(t);

	if (tally_count(tally, wrong))
		diag("at %zu, mode %d: %s", t->at, (int)t->mode, wrong);
}

/* Up to the first place where the client has taken all there is. */
static void
sweep_event(struct trial t, size_t total)
{
	struct tally tally = { 0 };
	size_t step = total < 10000 ? 1 : 997;

	/* Drops are the same wherever they begin. */
	if (t.event == EVENT_DRIP)
		step = total;
	for (t.at = 0; t.at <= total; t.at += step) {
		t.gone = LEDGER_FORGETS;
		for (t.mode = LEDGER_NOW; t.mode < LEDGER_HELD; t.mode++)
			run_counted(&t, &tally);
		for (; t.gone <= LEDGER_HANDS_OVER; t.gone++)
			run_counted(&t, &tally);
	}
	ok(tally.trials > 0 && tally.failed == 0,
	    "%s: the client takes any number of bytes, %s (%u)", t.talk->name,
	    event_name[t.event], tally.trials);
}

static void
sweep(const struct talk *talk)
{
	char whole[WIRE_ANSWERS_MAX];
	struct script script;
	struct trial t = { .talk = talk, .script = &script, .whole = whole };
	size_t total;

	talk_script(talk, &script);
	limit = SIZE_MAX;
	taken = 0;
	is_str(trial_talk(talk, &script, SIZE_MAX, whole), NULL, "%s is served",
	    talk->name);
	total = taken;
	for (t.event = 0; t.event < EVENT_COUNT; t.event++)
		sweep_event(t, total);
	script_fini(&script);
}

/* What is allocated once and kept is allocated now. */
static void
warm_up(void)
{
	struct script script;
	struct trial t = { .talk = &talks[0], .script = &script, .whole = "" };

	talk_script(t.talk, &script);
	for (t.event = 0; t.event < EVENT_COUNT; t.event++)
		(void)run(&t);
	script_fini(&script);
	trial_warm_up();
}

int
main(int argc, char **argv)
{
	(void)argc;
	trial_init(argv);
	warm_up();
	for (size_t i = 0; i < talk_count; i++)
		sweep(&talks[i]);
	loop_fini();
	return tap_end();
}
