/*
 * callers.c - callers that leave: at each turn of the loop in the life of a
 * request, in each way, alone or not, also while the daemon drains. Whatever
 * the moment, nobody who has left is answered, everybody who stays or asks
 * again is, the execution ends, and the lock is free.
 *
 * The rule that holds it together: a life is driven turn by turn, so that a
 * caller leaves at every state and between any two.
 */
#include "core/loop.h"
#include "tests/op/fake_rpc.h"
#include "tests/tap.h"

#include <stdlib.h>

#define CALL_MS (10 * SECOND_MS)
#define LONG_MS (3600 * SECOND_MS)
#define LINGER_MS (31 * SECOND_MS)

enum company {
	ALONE = 0,
	JOINED, /* another one has asked the same, and stays */
	RETRY,  /* the same is asked again at once */
	LATE,   /* ... when the execution was told to stop */
	COMPANY_COUNT,
};

static const char *const company_name[COMPANY_COUNT] = { "and nobody else",
	"and another stays", "and asks again", "and asks again late" };
static const char *const how_name[] = { "its time is up", "it cancels",
	"its connection is lost" };

/* One life: who leaves when. */
struct life {
	bool controller;
	bool drains;
	enum company company;
	enum call_gone how;
	unsigned leaves_at; /* this turn, 0-based */

	unsigned turns;
	bool over; /* it was answered before it could leave */
	struct fake_call *first, *second;
};

static const struct config *config;
static bool idle;
static const char *wrong;

static void
expect(bool good, const char *what)
{
	if (!good && wrong == NULL)
		wrong = what;
}

static void
on_idle(void)
{
	idle = true;
}

static struct fake_call *
ask(const struct life *life, int64_t timeout_ms)
{
	return life->controller ? fake_delete(FAKE_ID, true, timeout_ms)
				: fake_unstage("/s", timeout_ms);
}

/* What a worker or an operation says when it was told to stop, or not. */
static void
end_execution(void)
{
	if (fake_session_is_sent())
		fake_session_answer(
		    fake_session_is_cancelled() ? ERR_CANCELLED : ERR_OK, "");
	else if (fake_session_is_open())
		fake_session_send();
	else if (fake_running > 0)
		fake_wake(0);
}

static void
leave(struct life *life)
{
	if (life->drains)
		requests_when_idle(on_idle);
	if (life->first->ended) {
		life->over = true;
		return;
	}
	if (life->how == CALL_DEADLINE)
		fake_pass(CALL_MS);
	else
		fake_leave(life->first, life->how);
	if (life->how == CALL_DEADLINE)
		expect(life->first->ended &&
			(life->first->code == ERR_DEADLINE_EXCEEDED ||
			    life->first->code == ERR_ABORTED),
		    "its time is up and it was not told so");
	if (life->company == LATE)
		fake_pass(LINGER_MS);
	if (life->company >= RETRY)
		life->second = ask(life, LONG_MS);
}

static void
turns(struct life *life, unsigned n)
{
	while (n-- > 0) {
		if (life->turns++ == life->leaves_at)
			leave(life);
		loop_turn(false);
	}
}

/* Until all is at rest; with a bound. */
static void
let_end(void)
{
	for (int i = 0; i < 20 && requests_running() > 0; i++) {
		end_execution();
		fake_turn();
	}
	expect(requests_running() == 0, "a request has no end");
	expect(op_count() == 0, "an operation is left");
}

/* Nobody holds the lock: what comes next runs. */
static void
expect_free(const struct life *life)
{
	struct fake_call *next = life->controller
	    ? fake_unpublish(FAKE_ID, true, LONG_MS)
	    : fake_unstage("/next", LONG_MS);

	fake_turn();
	expect(fake_running == 1 || fake_session_is_open(),
	    "the lock is not free");
	let_end();
	expect(next->ended && next->code == ERR_OK, "the next one fails");
	fake_free(next);
}

/* While it drains nobody can ask again: what runs is told at once. */
static void
expect_told(const struct life *life)
{
	if (!life->drains || life->second != NULL)
		return;
	if (fake_running > 0)
		expect(fake_is_detached(), "an operation is not told");
	if (fake_session_is_open())
		expect(fake_session_is_cancelled(), "the worker is not told");
}

static const char *
live(struct life life, unsigned *turns_in_all)
{
	struct fake_call *before;

	wrong = NULL;
	idle = false;
	fake_start(true, true, config);
	fake_session_waits = true;
	before = life.controller ? fake_unpublish(FAKE_ID, true, LONG_MS)
				 : fake_unstage("/before", LONG_MS);
	fake_turn();
	life.first = ask(&life, CALL_MS);
	if (life.company == JOINED)
		life.second = ask(&life, LONG_MS);
	turns(&life, 3); /* waits for the lock */
	if (life.controller) {
		fake_session_send();
		turns(&life, 1);
		fake_session_answer(ERR_OK, "");
	} else {
		fake_wake(0);
	}
	turns(&life, 4); /* gets it, and runs */
	for (int i = 0; i < 3; i++) {
		end_execution();
		turns(&life, 3);
	}
	expect(before->ended && before->code == ERR_OK,
	    "the one before is not answered");
	*turns_in_all = life.turns;
	fake_turn();
	if (!life.over)
		expect_told(&life);
	let_end();
	expect(!life.drains || idle, "the drain has no end");
	if (life.over)
		expect(life.first->code == ERR_OK, "it fails");
	if (life.second != NULL)
		expect(life.second->ended && life.second->code == ERR_OK,
		    "who stays is not answered");
	expect(
	    fake_started <= 3 && fake_session_calls <= 3, "it ran too often");
	expect_free(&life);
	expect(fake_stop(), "something runs still");
	fake_free(before);
	fake_free(life.first);
	if (life.second != NULL)
		fake_free(life.second);
	return wrong;
}

static void
sweep(struct life life)
{
	unsigned in_all = 1, failed = 0;

	for (; life.leaves_at < in_all; life.leaves_at++) {
		const char *fault = live(life, &in_all);

		if (fault != NULL && failed++ < 3)
			diag("at turn %u: %s", life.leaves_at, fault);
	}
	ok(failed == 0 && in_all > 10, "%s: %s, %s%s (%u turns)",
	    life.controller ? "Controller" : "Node", how_name[life.how],
	    company_name[life.company], life.drains ? ", in a drain" : "",
	    in_all);
}

/* What is asked in one turn is one execution, too. */
static void
test_same_turn(void)
{
	struct fake_call *a, *b, *c;

	fake_start(true, true, config);
	a = fake_unstage("/s", CALL_MS);
	b = fake_unstage("/s", LONG_MS);
	c = fake_unstage("/s", LONG_MS);
	fake_turn();
	is_int(fake_started, 1, "identical calls in one turn are one");
	is_int(requests_running(), 1, "... request");
	fake_leave(a, CALL_DISCONNECTED);
	fake_leave(b, CALL_CANCELLED);
	fake_wake(0);
	fake_turn();
	ok(c->ended && c->code == ERR_OK, "... and who stays is answered");
	is_int(fake_started, 1, "... by it");
	ok(strstr(c->note, "joined=2") != NULL, "... which says so: %s",
	    c->note);
	fake_free(a);
	fake_free(b);
	fake_free(c);
	ok(fake_stop(), "same turn: nothing runs any more");
}

/* Nobody waits any more when the drain begins. */
static void
test_drain_tells(void)
{
	struct fake_call *a;

	fake_start(true, true, config);
	a = fake_unstage("/s", CALL_MS);
	fake_turn();
	fake_leave(a, CALL_DISCONNECTED);
	fake_turn();
	ok(!fake_is_detached(), "an operation goes on unasked");
	idle = false;
	requests_when_idle(on_idle);
	fake_turn();
	ok(fake_is_detached(), "... until the daemon drains");
	ok(!idle, "... which waits for it");
	fake_wake(0);
	fake_turn();
	ok(idle, "... to end");
	fake_free(a);
	ok(fake_stop(), "drain: nothing runs any more");
}

/* Requests that are refused come and go while the daemon drains. */
static void
test_refused_in_drain(void)
{
	struct fake_call *a, *b, *c;

	fake_start(true, true, config);
	idle = false;
	requests_when_idle(on_idle);
	a = fake_ask("NodeUnstageVolume", NULL, 0);
	b = fake_ask("NodeUnstageVolume", NULL, 0);
	ok(a->ended && a->code == ERR_INVALID_ARGUMENT && b->ended,
	    "requests that are refused do not disturb a drain");
	fake_turn();
	ok(idle, "... that has nothing to wait for");
	idle = false;
	c = fake_unstage("/s", CALL_MS);
	fake_turn();
	fake_leave(c, CALL_DISCONNECTED);
	fake_turn();
	ok(fake_is_detached() && !idle, "one that comes later is told, too");
	fake_wake(0);
	fake_turn();
	ok(idle, "... and its end is");
	fake_free(a);
	fake_free(b);
	fake_free(c);
	ok(fake_stop(), "refused in a drain: nothing runs any more");
}

int
main(void)
{
	struct config *own;
	struct life life = { 0 };

	fake_init();
	own = fake_config();
	config = own;
	for (int controller = 0; controller < 2; controller++)
		for (int drains = 0; drains < 2; drains++)
			for (int company = 0; company < COMPANY_COUNT;
			     company++)
				for (int how = 0; how < 3; how++) {
					life.controller = controller;
					life.drains = drains;
					life.company = (enum company)company;
					life.how = (enum call_gone)how;
					sweep(life);
				}
	test_same_turn();
	test_drain_tells();
	test_refused_in_drain();
	fake_config_free(own);
	loop_fini();
	return tap_end();
}
