/*
 * pace.c - the budget of the background, with a clock that the test sets.
 */
#include "core/pace.h"
#include "base/clock.h"
#include "core/loop.h"
#include "tests/tap.h"

#define TURNS 200

static struct pace_turn turns[TURNS];
static unsigned gone; /* of them, in the order of asking */
static int64_t now_ms = 1000;

static void
on_go(struct pace_turn *turn)
{
	if (turn != &turns[gone])
		ok(false, "turns come in the order of asking");
	gone++;
}

static void
ask(unsigned n)
{
	gone = 0;
	for (unsigned i = 0; i < n; i++) {
		turns[i] = (struct pace_turn){ .go = on_go };
		pace_ask(&turns[i]);
	}
}

static void
pass_ms(int64_t ms)
{
	now_ms += ms;
	clock_fake(now_ms);
	loop_turn(false);
	loop_turn(false);
}

/* Ends all that have begun, `ms` after they did. */
static void
end_all(unsigned *ended, int64_t ms)
{
	unsigned end = gone;

	now_ms += ms;
	clock_fake(now_ms);
	while (*ended < end)
		pace_done(&turns[(*ended)++], 1);
	loop_turn(false);
	loop_turn(false);
}

static void
test_alone(void)
{
	unsigned ended = 0, most = 0;

	ask(TURNS);
	is_int(gone, 0, "a turn does not come inside the asking");
	pass_ms(0);
	is_int(gone, 16, "it starts with sixteen");
	while (ended < TURNS) {
		if (gone - ended > most)
			most = gone - ended;
		end_all(&ended, 2);
	}
	ok(most > 16 && most <= PACE_MAX,
	    "more and more go at once while they are quick: %u", most);
	is_int(gone, TURNS, "all have had their turn");

	ended = 0;
	ask(TURNS);
	pass_ms(0);
	most = pace_limit();
	for (unsigned i = 0; i < 3 && ended < TURNS; i++)
		end_all(&ended, 50);
	ok(pace_limit() < most, "and fewer when they wait for each other: %u",
	    pace_limit());
	while (ended < TURNS)
		end_all(&ended, 2);
}

static void
test_beside_calls(void)
{
	unsigned ended = 0;

	pace_call_began();
	is_int(pace_limit(), 4, "beside a call few go at once");
	ask(10);
	pass_ms(0);
	is_int(gone, 4, "the first ones go");
	pass_ms(8);
	is_int(gone, 4, "and no other one beside them");
	pace_done(&turns[ended++], 1);
	pace_done(&turns[ended++], 1);
	pass_ms(1);
	is_int(gone, 4, "nor in the place of one that has ended");
	end_all(&ended, 1); /* they have taken 10 ms */
	is_int(gone, 4, "after them there is a rest");
	pass_ms(90);
	is_int(gone, 4, "of ten times what they took");
	pass_ms(40);
	is_int(gone, 8, "then the next ones go");
	end_all(&ended, 4);
	pace_call_ended();
	pass_ms(10);
	is_int(gone, 8, "a call that has just ended counts, too");
	pass_ms(20);
	is_int(gone, 10, "when nobody calls it goes on");
	pace_call_began();
	ask(1);
	pass_ms(100);
	is_int(gone, 0, "what is under way when a call begins ends first");
	pace_done(&turns[8], 1);
	pace_done(&turns[9], 1);
	pace_call_ended();
	pass_ms(200);
	is_int(gone, 1, "then it is the next one's turn");
	pace_done(&turns[0], 1);
}

static void
test_passed(void)
{
	ask(1);
	pass_ms(1);
	is_int(gone, 1, "a turn that comes");
	pace_pass(&turns[0]);
	ask(1);
	pass_ms(1);
	is_int(gone, 1, "may be passed on");
	pace_done(&turns[0], 1);
}

int
main(void)
{
	clock_fake(now_ms);
	if (loop_init() < 0)
		return 1;
	test_alone();
	test_beside_calls();
	test_passed();
	loop_fini();
	return tap_end();
}
