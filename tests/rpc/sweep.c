/*
 * sweep.c - conversations of every kind, cut at every byte: there the client
 * closes, goes silent, takes its calls back or talks nonsense, the server
 * drains or ends, the handlers answer. Whatever happens, each call that has
 * reached a handler ends once, nothing is sent on a stream after its end, and
 * nothing is left.
 *
 * The rule that holds it together: a trial is made anew from the first byte.
 */
#include "core/loop.h"
#include "rpc/health.h"
#include "tests/rpc/trial.h"
#include "tests/tap.h"

#include <sys/socket.h>

#define MINUTE_MS (60 * INT64_C(1000))
#define DRAIN_ANSWER_MS 1000 /* that server.c waits for a ping */

enum event {
	EVENT_CLOSE = 0,  /* the client is gone */
	EVENT_HALF_CLOSE, /* it sends no more */
	EVENT_TIME,       /* it falls silent */
	EVENT_RESET,      /* it takes back the calls that it has made */
	EVENT_NONSENSE,   /* it sends what is no HTTP/2 */
	EVENT_DRAIN,      /* the server drains, the client goes on */
	EVENT_DRAIN_LATE, /* the same, but the client is slow to go on */
	EVENT_DRAIN_ONLY, /* the same, but the client says nothing more */
	EVENT_FREE,       /* the server ends */
	EVENT_NONE,       /* the client goes on */
	EVENT_COUNT,
};

static const char *const event_name[EVENT_COUNT] = {
	"the client closes",
	"the client half-closes",
	"time passes",
	"the client cancels",
	"the client sends nonsense",
	"the server drains",
	"the server drains before the client goes on",
	"the server drains and the client says nothing",
	"the server ends",
	"nothing happens",
};

/* When all open calls are answered, if they are: no turn lies between. */
enum answer {
	ANSWER_NOT = 0,
	ANSWER_BEFORE, /* the event */
	ANSWER_AFTER,
	ANSWER_INSIDE, /* gone() of one of them */
	ANSWER_COUNT,
};

struct trial {
	const struct talk *talk;
	const struct script *script;
	const char *whole; /* the answers to all of it */
	size_t at;
	enum ledger_mode mode;
	enum event event;
	enum answer answer;
};

static bool drained;

/* ---- one trial ---- */

static void
drain(void)
{
	health_shutdown();
	drain_server(trial_server, &drained);
}

static void
put_rest(const struct trial *t)
{
	wire_put(&trial_wire, t->script->bytes.data + t->at,
	    t->script->bytes.len - t->at);
	wire_settle(&trial_wire);
}

/* Is `at` a place where a frame of another kind may stand? */
static bool
is_border(const struct script *s, size_t at)
{
	/* Not before SETTINGS. */
	for (size_t i = 1; i < s->frames; i++)
		if (s->frame[i].end == at)
			return !s->frame[i].splits;
	return false;
}

static void
put_resets(const struct trial *t)
{
	static const unsigned char head[9] = { 0, 0, 4, NGHTTP2_RST_STREAM };

	for (size_t i = 0; i < t->script->frames; i++) {
		unsigned char frame[13] = { 0 };

		if (t->script->frame[i].end > t->at ||
		    t->script->frame[i].opens == 0)
			continue;
		memcpy(frame, head, sizeof(head));
		frame[8] = (unsigned char)t->script->frame[i].opens;
		frame[12] = NGHTTP2_CANCEL;
		wire_put(&trial_wire, frame, sizeof(frame));
	}
}

static void
put_nonsense(void)
{
	unsigned char bytes[20000]; /* the frame that arrives is over then */

	memset(bytes, 0xff, sizeof(bytes));
	wire_put(&trial_wire, bytes, sizeof(bytes));
}

static void
happen(const struct trial *t)
{
	switch (t->event) {
	case EVENT_CLOSE:
		wire_close(&trial_wire);
		return;
	case EVENT_HALF_CLOSE:
		(void)shutdown(trial_wire.fd, SHUT_WR);
		return;
	case EVENT_RESET:
		put_resets(t);
		return;
	case EVENT_NONSENSE:
		put_nonsense();
		return;
	case EVENT_DRAIN:
	case EVENT_DRAIN_LATE:
	case EVENT_DRAIN_ONLY:
		drain();
		return;
	case EVENT_FREE:
		trial_end_server();
		return;
	case EVENT_TIME:
	case EVENT_NONE:
	case EVENT_COUNT:
		return;
	}
}

/* ---- what has to be so afterwards ---- */

/* The calls that can end by themselves do, then the others are ended. */
static void
end_calls(const struct trial *t)
{
	trial_pass(MINUTE_MS);
	if (t->talk->lasts && t->event == EVENT_TIME)
		drain();
	if (t->talk->timed)
		trial_expect(
		    ledger_open() == 0, "a deadline is over, a call is not");
	ledger_release();
	wire_settle(&trial_wire);
	ledger_end_all();
	wire_settle(&trial_wire);
	trial_expect(
	    server_counters(trial_server)->calls == 0, "calls are open");
}

/* A new call, in header fields that need no state of HPACK. */
static void
put_probe(void)
{
	static const unsigned char head[] = "\0\0\0\1\4\0\0\0\x1d"
					    "\x83\x86\x04\x0a/s.S/Unary"
					    "\x0f\x10\x10"
					    "application/grpc";
	static const unsigned char data[] = "\0\0\7\0\1\0\0\0\x1d\0\0\0\0\2ok";
	unsigned char frame[sizeof(head) - 1];

	memcpy(frame, head, sizeof(frame));
	frame[2] = sizeof(frame) - 9;
	wire_put(&trial_wire, frame, sizeof(frame));
	wire_put(&trial_wire, data, sizeof(data) - 1);
}

/* After a cancel: silence about these calls, and the next one is served. */
static void
expect_reset(const struct trial *t, size_t from)
{
	for (size_t i = 0; i < t->script->frames; i++)
		if (t->script->frame[i].end <= t->at &&
		    t->script->frame[i].opens != 0 &&
		    t->answer != ANSWER_BEFORE)
			trial_expect(!wire_has_frame(&trial_wire, from,
					 t->script->frame[i].opens),
			    "a frame on a stream that was cancelled");
	if (trial_wire.eof) {
		trial_expect_counts(0, 0);
		return;
	}
	trial_expect_counts(0, 1);
	ledger_release();
	put_probe();
	wire_settle(&trial_wire);
	trial_expect(wire_has_frame(&trial_wire, from, 0x1d),
	    "the next call is not heard");
	trial_expect_counts(0, 1);
}

/* Is each call that begins before `end` answered as in the whole? */
static void
expect_begun(const struct trial *t, size_t end, const char *answers)
{
	for (size_t i = 0; i < t->script->frames; i++) {
		int32_t id = t->script->frame[i].opens;
		char mark[16];
		const char *want, *got;
		size_t len;

		if (id == 0 || t->script->frame[i].end > end)
			continue;
		(void)snprintf(mark, sizeof(mark), "%d: ", id);
		want = strstr(t->whole, mark);
		if (want == NULL)
			continue;
		got = strstr(answers, mark);
		len = strcspn(want, "\n");
		trial_expect(got != NULL && strncmp(got, want, len) == 0,
		    "a call that was accepted is lost");
	}
}

static void
expect_answers(const struct trial *t)
{
	char answers[WIRE_ANSWERS_MAX];

	trial_expect_order(false, answers);
	if (t->answer != ANSWER_NOT || t->talk->varies)
		return;
	if (t->event == EVENT_NONE ||
	    (t->event == EVENT_DRAIN && !t->talk->lasts)) {
		expect_begun(t, t->script->bytes.len, answers);
		trial_expect(t->talk->races || str_eq(answers, t->whole),
		    "the answers are others");
	}
	if (t->event == EVENT_DRAIN_LATE && !t->talk->lasts)
		expect_begun(t, t->at, answers);
}

static void
go_on(const struct trial *t, size_t from)
{
	switch (t->event) {
	case EVENT_CLOSE:
	case EVENT_HALF_CLOSE:
	case EVENT_NONSENSE:
		wire_settle(&trial_wire);
		trial_expect_counts(0, 0);
		return;
	case EVENT_TIME:
		end_calls(t);
		trial_pass(TRIAL_LONG_MS);
		trial_pass(TRIAL_LONG_MS);
		trial_expect_counts(0, 0);
		return;
	case EVENT_RESET:
		wire_settle(&trial_wire);
		expect_reset(t, from);
		return;
	case EVENT_DRAIN_LATE:
		trial_pass(2 * DRAIN_ANSWER_MS);
		put_rest(t);
		ledger_release();
		wire_settle(&trial_wire);
		trial_expect_counts(0, 0);
		trial_expect(drained, "the drain has no end");
		return;
	case EVENT_DRAIN_ONLY:
		end_calls(t);
		trial_pass(MINUTE_MS);
		trial_expect_counts(0, 0);
		trial_expect(drained, "the drain has no end");
		return;
	case EVENT_DRAIN:
		put_rest(t);
		ledger_release();
		wire_settle(&trial_wire);
		trial_pass(2 * DRAIN_ANSWER_MS);
		trial_expect_counts(0, 0);
		trial_expect(drained, "the drain has no end");
		return;
	case EVENT_NONE:
		put_rest(t);
		ledger_release();
		wire_settle(&trial_wire);
		trial_expect_counts(0, !trial_wire.eof);
		return;
	case EVENT_FREE:
	case EVENT_COUNT:
		return;
	}
}

static const char *
run(const struct trial *t)
{
	static const enum ledger_gone gone[ANSWER_COUNT] = {
		[ANSWER_AFTER] = LEDGER_LAST_WORDS,
		[ANSWER_INSIDE] = LEDGER_HANDS_OVER,
	};
	size_t from;

	drained = false;
	trial_begin(t->talk, t->mode, gone[t->answer]);
	wire_put(&trial_wire, t->script->bytes.data, t->at);
	wire_settle(&trial_wire);
	from = trial_wire.in.len;
	if (t->answer == ANSWER_BEFORE)
		ledger_end_all();
	happen(t);
	if (t->answer == ANSWER_AFTER)
		ledger_end_all();
	go_on(t, from);
	(void)wire_read(&trial_wire);
	expect_answers(t);
	return trial_end();
}

/* ---- many of them ---- */

static void
run_counted(const struct trial *t, struct tally *tally)
{
	const char *wrong = run(t);

	if (tally_count(tally, wrong))
		diag("at %zu of %zu, mode %d, answer %d: %s", t->at,
		    t->script->bytes.len, (int)t->mode, (int)t->answer, wrong);
}

/* All that a handler may do meanwhile, at one place. */
static void
run_variants(struct trial t, struct tally *tally)
{
	for (t.mode = LEDGER_NOW; t.mode < LEDGER_HELD; t.mode++)
		run_counted(&t, tally);
	for (t.answer = ANSWER_BEFORE; t.answer < ANSWER_COUNT; t.answer++)
		run_counted(&t, tally);
}

static void
sweep_event(struct trial t)
{
	const struct script *s = t.script;
	bool large = s->bytes.len > 2000;
	struct tally tally = { 0 };

	for (t.at = 0; t.at <= s->bytes.len; t.at++) {
		if (t.event == EVENT_RESET && !is_border(s, t.at))
			continue;
		if (large && t.at % 499 != 0 && !trial_near_border(s, t.at, 10))
			continue;
		t.mode = LEDGER_HELD;
		t.answer = ANSWER_NOT;
		run_counted(&t, &tally);
		if (t.at % 3 == 0 || trial_near_border(s, t.at, 1))
			run_variants(t, &tally);
	}
	ok(tally.trials > 0 && tally.failed == 0, "%s: %s at any byte (%u)",
	    t.talk->name, event_name[t.event], tally.trials);
}

/*
 * nghttp2 before 1.70 counts the pieces in which a CONTINUATION comes, not
 * the frames: two bytes at a time are as few as it takes.
 */
static size_t
smallest_piece(const struct script *script)
{
	for (size_t i = 0; i < script->frames; i++)
		if (script->frame[i].splits)
			return 2;
	return 1;
}

static void
sweep(const struct talk *talk)
{
	char whole[WIRE_ANSWERS_MAX], pieces[WIRE_ANSWERS_MAX];
	const char *answers = pieces;
	struct script script;
	struct trial t = { .talk = talk, .script = &script, .whole = whole };

	talk_script(talk, &script);
	is_str(trial_talk(talk, &script, SIZE_MAX, whole), NULL, "%s is served",
	    talk->name);
	is_str(trial_talk(talk, &script, smallest_piece(&script), pieces), NULL,
	    "... byte by byte, too");
	if (talk->races)
		answers = strstr(pieces, whole);
	ok(talk->varies || str_eq(answers, whole), "... with the same answers");
	for (t.event = 0; t.event < EVENT_COUNT; t.event++)
		sweep_event(t);
	script_fini(&script);
}

/* What is allocated once and kept is allocated now. */
static void
warm_up(void)
{
	struct script script;
	struct trial t = { .talk = &talks[0], .script = &script, .whole = "" };

	talk_script(t.talk, &script);
	t.at = script.bytes.len;
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
