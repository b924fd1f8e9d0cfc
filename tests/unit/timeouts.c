/*
 * timeouts.c - lists of timeouts on a fake clock.
 */
#include "core/timeouts.h"

#include "base/clock.h"
#include "core/loop.h"
#include "tests/tap.h"

#define NOW_MS 1000000

static struct thing {
	struct timeout timeout;
	int id;
} things[4];

static struct timeouts list, other;
static char expired[64];

static void
on_expired(struct timeout *timeout)
{
	const struct thing *thing = container_of(
	    timeout, struct thing, timeout);
	size_t len = strlen(expired);

	(void)snprintf(expired + len, sizeof(expired) - len, "%d", thing->id);
}

static const char *
at(int64_t ms)
{
	expired[0] = '\0';
	clock_fake(NOW_MS + ms);
	loop_turn(false);
	return expired;
}

static void
start_all(int64_t step_ms)
{
	for (int i = 0; i < (int)countof(things); i++) {
		things[i].id = i;
		clock_fake(NOW_MS + i * step_ms);
		timeout_arm(&things[i].timeout, &list);
	}
}

static void
they_expire_in_order(void)
{
	start_all(10);
	is_str(at(99), "", "nothing expires before its time");
	is_str(at(100), "0", "the first is first");
	is_str(at(125), "12", "what is due together comes in order");
	ok(things[1].timeout.list == NULL, "... and is stopped");
	is_int(list.count, 1, "one is left");
	is_str(at(1000), "3", "... and comes late if nobody looked");
}

static void
they_start_anew(void)
{
	start_all(0);
	clock_fake(NOW_MS + 50);
	timeout_arm(&things[0].timeout, &list);
	timeout_disarm(&things[1].timeout);
	timeout_disarm(&things[1].timeout);
	ok(timeouts_oldest(&list) == &things[2].timeout,
	    "the oldest is the one that has waited longest");
	is_str(at(100), "23", "a stopped one never expires");
	is_str(at(150), "0", "one that was started anew waits again");
}

static void
they_move(void)
{
	start_all(0);
	timeout_arm(&things[2].timeout, &other);
	is_int(list.count, 3, "a timeout is in one list only");
	is_str(at(10), "2", "... and expires by that");
	is_str(at(100), "013", "... the others by theirs");
}

static void
never_is_a_time(void)
{
	struct timeouts never;

	timeouts_init(&never, 0, on_expired);
	clock_fake(NOW_MS);
	timeout_arm(&things[0].timeout, &never);
	is_str(at(INT64_C(1) << 40), "", "0 is never");
	ok(timeouts_oldest(&never) == &things[0].timeout,
	    "... but they have an order");
	timeout_disarm(&things[0].timeout);
	timeouts_fini(&never);
}

int
main(void)
{
	if (loop_init() < 0)
		return 1;
	timeouts_init(&list, 100, on_expired);
	timeouts_init(&other, 10, on_expired);
	they_expire_in_order();
	they_start_anew();
	they_move();
	never_is_a_time();
	timeouts_fini(&list);
	timeouts_fini(&other);
	loop_fini();
	return tap_end();
}
