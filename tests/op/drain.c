/*
 * The drain of rbd-csid: connections and executions end in any order, and a
 * call that comes late is waited for, too. A process drains once.
 */
#include "daemon/drain.h"

#include "core/loop.h"
#include "daemon/sessions.h"
#include "obs/dump.h"
#include "tests/op/fake_rpc.h"
#include "tests/tap.h"

/* ---- in place of rpc/server.c, obs/dump.c and daemon/sessions.c ----------- */

static unsigned workers = 2, ends; /* that live; how often they were let go */

void
sessions_end(void)
{
	ends++;
}

unsigned
sessions_ending(void)
{
	return workers;
}

static struct wake *connections_ended;

void
server_drain_start(struct server *server, struct wake *waiter)
{
	(void)server;
	connections_ended = waiter;
}

const struct server_counters *
server_counters(struct server *server)
{
	static const struct server_counters one = { .connections = 1 };

	(void)server;
	return &one;
}

void
dump_log(int signo)
{
	(void)signo;
}

int
main(void)
{
	struct fake_call *call;

	fake_init();
	fake_start(false, true, NULL);
	drain_begin(NULL, 60 * SECOND_MS);
	fake_turn();
	ok(connections_ended != NULL, "the server is told to drain");
	ok(!drain_is_complete(), "nothing runs, but there is a connection");
	call = fake_unstage("/s", 60 * SECOND_MS);
	fake_turn();
	is_int(requests_running(), 1, "on which a call comes");
	fake_leave(call, CALL_DISCONNECTED);
	fake_free(call);
	wake_up(connections_ended, 0);
	fake_turn();
	ok(!drain_is_complete(), "it is waited for when that is gone");
	ok(fake_is_detached(), "and told to stop");
	fake_wake(0);
	fake_turn();
	is_int(ends, 1, "then the workers are told to end");
	workers = 1;
	fake_pass(SECOND_MS);
	ok(!drain_is_complete() && ends == 1, "they are waited for");
	workers = 0;
	fake_pass(SECOND_MS);
	ok(drain_is_complete() && ends == 1, "then the drain is complete");
	ok(fake_stop(), "and nothing runs");
	loop_fini();
	return tap_end();
}
