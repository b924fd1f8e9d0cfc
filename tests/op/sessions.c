/*
 * Sessions against tests/fake/worker: start, failure, death, silence,
 * backoff, rotation of keys, idle end.
 */
#include "daemon/sessions.h"

#include "base/clock.h"
#include "core/loop.h"
#include "tests/tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECOND_MS 1000

static int64_t now_ms = 1000000;
static char worker_path[200];

/* An op that waits for one call. */
enum asker_state { ASKER_NEW = 0, ASKER_ANSWERED };

struct asker {
	struct op op;
	enum asker_state state;
	struct session_call call;
	struct session_key key;
	struct secret secret;
	bool ended;
};

static size_t
sessions_count(void)
{
	struct sessions_stats stats;
	size_t n = 0;

	stats = sessions_stats();
	for (size_t i = 0; i < countof(stats.in_state); i++)
		n += stats.in_state[i];
	return n;
}

static enum op_verdict
asker_step(struct op *op)
{
	struct asker *a = (struct asker *)op;

	switch (a->state) {
	case ASKER_NEW:
		sessions_call_start(&a->call, &a->key, &op->wake);
		return op_await(a, ASKER_ANSWERED);
	case ASKER_ANSWERED:
		a->ended = true;
		return OP_DONE;
	}
	abort();
}

static const struct op_class asker_class = {
	.name = "asker",
	.step = asker_step,
};

static void
on_tick(struct timer *timer)
{
	(void)timer;
}

/* Real processes: polls in steps of 5 ms of real time. */
static void
turn(void)
{
	struct timer tick = { .fire = on_tick };

	timer_arm(&tick, 5);
	loop_turn(true);
	timer_disarm(&tick);
}

static bool
wait_for(const bool *flag)
{
	for (int i = 0; i < 12000 && !*flag; i++)
		turn();
	return *flag;
}

static void
pass(int64_t ms)
{
	now_ms += ms;
	clock_fake(now_ms);
	for (int i = 0; i < 4; i++)
		loop_turn(false);
}

/* Asks in the next turn. */
static struct asker *
begin_as(
    const char *user, const char *key, const char *monitors, const char *body)
{
	struct asker *a = mem_new(sizeof(*a));

	secret_set(&a->secret, key, strlen(key));
	a->key = (struct session_key){ .cluster_id = "c",
		.monitors = monitors,
		.user = user,
		.netns = "",
		.key = &a->secret };
	a->call.method = "/csi.v1.Controller/CreateVolume";
	a->call.cluster_id = a->key.cluster_id;
	a->call.monitors = monitors;
	a->call.rados_namespace = "";
	a->call.body = body;
	a->call.len = strlen(body);
	op_start(&a->op, &asker_class, NULL);
	return a;
}

static struct asker *
ask_as(
    const char *user, const char *key, const char *monitors, const char *body)
{
	struct asker *a = begin_as(user, key, monitors, body);

	loop_turn(false);
	return a;
}

static struct asker *
begin(const char *user, const char *body)
{
	return begin_as(user, "k3y-in-test", "m1,m2", body);
}

static struct asker *
ask(const char *user, const char *body)
{
	return ask_as(user, "k3y-in-test", "m1,m2", body);
}

static bool
answer_is(const struct asker *a, const char *text)
{
	return a->ended && a->call.err.code == ERR_OK &&
	    a->call.reply_len == strlen(text) &&
	    memcmp(a->call.reply, text, a->call.reply_len) == 0;
}

static void
forget(struct asker *a)
{
	if (!a->ended)
		abort();
	secret_fini(&a->secret);
	free(a->call.reply);
	free(a);
}

static void
start(void)
{
	const struct sessions_setup setup = {
		.worker_path = worker_path,
		.driver_name = "rbd.csi.ceph.com",
		.instance_id = "default",
		.cluster_name = "k8s",
		.ceph_conf = "/nonexistent",
		.idle_ms = 600 * SECOND_MS,
		.max_lanes = 4,
	};

	sessions_init(&setup);
}

static void
stop(void)
{
	sessions_fini();
	is_int(sessions_count(), 0, "no session is left");
}

static void
test_ready(void)
{
	struct asker *a[4];

	start();
	for (int i = 0; i < 4; i++)
		a[i] = ask("ok", i == 0 ? "whoami" : "echo");
	is_int(sessions_count(), 1, "four calls of one user are one session");
	for (int i = 0; i < 4; i++)
		(void)wait_for(&a[i]->ended);
	ok(answer_is(a[0],
	       "c m1,m2 ok k3y-in-test rbd.csi.ceph.com default "
	       "k8s "),
	    "the worker is told all in the Hello");
	ok(answer_is(a[1], "echo") && answer_is(a[3], "echo"),
	    "what queued while it connected is answered");
	is_str(a[1]->call.states, "READ:1.5", "with the time in each state");
	for (int i = 0; i < 4; i++)
		forget(a[i]);
	a[0] = ask("ok", "error");
	(void)wait_for(&a[0]->ended);
	ok(a[0]->call.err.code == ERR_NOT_FOUND &&
		str_eq(a[0]->call.err.text, "no such volume"),
	    "an error has the worker's code and text");
	forget(a[0]);
	pass(599 * SECOND_MS);
	is_int(sessions_count(), 1, "a session lives while it may be needed");
	pass(2 * SECOND_MS);
	is_int(sessions_count(), 0, "and ends when it was idle for long");
	a[0] = ask("ok", "again");
	(void)wait_for(&a[0]->ended);
	ok(answer_is(a[0], "again"), "the next call starts a new one");
	forget(a[0]);
	stop();
}

static void
test_failed(void)
{
	struct asker *a, *b;

	/* In the same turn, before the worker can say anything. */
	start();
	a = begin("wrong", "x");
	b = ask("wrong", "y");
	(void)wait_for(&a->ended);
	(void)wait_for(&b->ended);
	is_int(
	    a->call.err.code, ERR_UNAUTHENTICATED, "a wrong key has its code");
	is_str(a->call.err.text,
	    "connect to cluster \"c\": authenticate as "
	    "client.wrong: wrong key",
	    "and the step that failed");
	is_str(b->call.err.text, a->call.err.text, "for all that waited");
	forget(a);
	forget(b);

	/* The second try is made at once, the third one after a pause. */
	pass(1);
	a = ask("wrong", "x");
	ok(wait_for(&a->ended), "the next call tries again");
	forget(a);
	a = ask("wrong", "x");
	for (int i = 0; i < 40; i++)
		turn();
	ok(!a->ended, "the one after it waits");
	pass(500);
	ok(wait_for(&a->ended), "until the backoff is over");
	forget(a);
	pass(1000);
	pass(61 * SECOND_MS);
	is_int(sessions_count(), 0, "a session that failed is forgotten");

	a = ask("crash", "x");
	(void)wait_for(&a->ended);
	is_str(a->call.err.text,
	    "ceph-worker of cluster \"c\" died while it connected",
	    "a worker that dies while it connects");
	is_int(a->call.err.code, ERR_UNAVAILABLE, "is UNAVAILABLE");
	forget(a);

	a = ask("babble", "x");
	ok(wait_for(&a->ended) && a->call.err.code == ERR_UNAVAILABLE,
	    "so is one that speaks nonsense");
	forget(a);
	stop();
}

static void
test_other_sessions(void)
{
	struct asker *mute, *a;
	char where[300];

	start();
	mute = ask("mute", "x");
	a = ask("ok", "hello");
	ok(wait_for(&a->ended) && answer_is(a, "hello"),
	    "a cluster that does not answer does not disturb others");
	forget(a);
	pass(3 * SECOND_MS);
	sessions_call_where(&mute->call, where, sizeof(where));
	is_str(where,
	    "waiting 3 s for the connection to cluster \"c\" at m1,m2 "
	    "as client.mute",
	    "its callers are told what they wait for");
	a = ask("mute", "y");
	sessions_call_cancel(&a->call);
	(void)wait_for(&a->ended);
	is_int(a->call.err.code, ERR_CANCELLED,
	    "one that gives up before it was sent is gone at once");
	forget(a);
	pass(45 * SECOND_MS);
	(void)wait_for(&mute->ended);
	ok(mute->call.err.code == ERR_UNAVAILABLE &&
		strstr(mute->call.err.text, "no answer from ceph-worker") !=
		    NULL,
	    "it is given up in the end: %s", mute->call.err.text);
	forget(mute);

	a = ask_as("ok", "old-key", "m1,m2", "whoami");
	mute = ask_as("ok", "new-key", "m1,m2", "whoami");
	(void)wait_for(&a->ended);
	(void)wait_for(&mute->ended);
	is_int(sessions_count(), 4, "a rotated key is a session of its own");
	ok(strstr((char *)a->call.reply, "old-key") != NULL &&
		strstr((char *)mute->call.reply, "new-key") != NULL,
	    "beside the old one");
	forget(a);
	forget(mute);
	a = ask_as("ok", "old-key", "m3", "whoami");
	(void)wait_for(&a->ended);
	is_int(sessions_count(), 5, "so are other monitors");
	forget(a);
	stop();
}

static void
test_death(void)
{
	struct asker *a, *b, *c;

	start();
	a = ask("ok", "hello");
	(void)wait_for(&a->ended);
	forget(a);
	a = ask("ok", "slow");
	b = ask("ok", "stuck");
	c = ask("ok", "die");
	(void)wait_for(&a->ended);
	(void)wait_for(&b->ended);
	(void)wait_for(&c->ended);
	ok(a->call.err.code == ERR_UNAVAILABLE &&
		b->call.err.code == ERR_UNAVAILABLE &&
		c->call.err.code == ERR_UNAVAILABLE,
	    "all requests of a worker that dies are UNAVAILABLE");
	is_str(a->call.err.text, "ceph-worker of cluster \"c\" died; try again",
	    "and say why");
	forget(a);
	forget(b);
	forget(c);
	a = ask("ok", "hello");
	pass(1);
	ok(wait_for(&a->ended) && answer_is(a, "hello"),
	    "the next call starts a new worker, without a pause");
	forget(a);
	stop();
}

static void
test_stuck(void)
{
	struct asker *a, *b;
	char where[300];

	start();
	a = ask("ok", "hello");
	(void)wait_for(&a->ended);
	forget(a);
	a = ask("ok", "slow");
	for (int i = 0; i < 400 && *a->call.state == '\0'; i++)
		turn();
	pass(4 * SECOND_MS);
	sessions_call_where(&a->call, where, sizeof(where));
	is_str(where, "in state CREATE_CLAIMED for 6 s",
	    "progress tells where a request is");
	sessions_call_cancel(&a->call);
	sessions_call_cancel(&a->call);
	(void)wait_for(&a->ended);
	is_int(a->call.err.code, ERR_CANCELLED,
	    "a cancelled one ends when the worker says so");
	forget(a);

	a = ask("ok", "stuck");
	b = ask("ok", "hello");
	ok(wait_for(&b->ended) && answer_is(b, "hello"),
	    "a request that is stuck does not hold up others");
	forget(b);
	pass(60 * SECOND_MS);
	ok(!a->ended, "a worker may be silent for a while");
	pass(31 * SECOND_MS);
	(void)wait_for(&a->ended);
	is_str(a->call.err.text,
	    "ceph-worker of cluster \"c\" was stuck for "
	    "91 s and was ended",
	    "but not for ever");
	forget(a);
	a = ask("ok", "hello");
	pass(1);
	ok(wait_for(&a->ended) && answer_is(a, "hello"), "and life goes on");
	forget(a);
	stop();
}

/* Given up after some turns: before, while and after it is sent. */
static bool
give_up_after(int turns, const char *user, const char *body)
{
	struct asker *a = ask(user, body);
	enum err_code code;

	for (int i = 0; i < turns && !a->ended; i++)
		turn();
	if (!a->ended)
		sessions_call_cancel(&a->call);
	if (!wait_for(&a->ended))
		return false;
	code = a->call.err.code;
	forget(a);
	return code == ERR_CANCELLED || turns > 0;
}

static void
test_give_up(void)
{
	static const struct {
		const char *user, *body;
	} rows[] = { { "ok", "echo" }, { "ok", "slow" }, { "wrong", "x" },
		{ "crash", "x" }, { "babble", "x" }, { "ok", "die" } };
	struct asker *a;

	for (size_t i = 0; i < countof(rows); i++) {
		bool all = true;

		for (int turns = 0; turns < 8; turns++) {
			start();
			all &= give_up_after(turns, rows[i].user, rows[i].body);
			a = ask("ok", "hello");
			pass(1);
			all &= wait_for(&a->ended) && answer_is(a, "hello");
			forget(a);
			sessions_fini();
			all &= op_count() == 0 && sessions_count() == 0;
		}
		ok(all,
		    "%s/%s: given up at any time, and the next one is served",
		    rows[i].user, rows[i].body);
	}
}

/* Monitors that the fake worker takes for a file: its first process has it. */
static char marker[] = "/tmp/rbd-csi-sessions.XXXXXX";

static struct asker *
ask_fickle(const char *user, const char *body)
{
	return ask_as(user, "k3y-in-test", marker, body);
}

/* A session of the first process, which has been ready for `ms`. */
static void
start_fickle(const char *user, int64_t ms)
{
	FILE *file = fopen(marker, "w");
	struct asker *a;

	if (file == NULL || fclose(file) != 0)
		abort();
	start();
	a = ask_fickle(user, "hello");
	(void)wait_for(&a->ended);
	forget(a);
	pass(ms);
}

static bool
only_session_is_ready(void)
{
	struct sessions_stats stats;

	stats = sessions_stats();
	return sessions_count() == 1 && stats.in_state[PEER_UP] == 1;
}

static void
test_retired(void)
{
	struct asker *a, *b;

	start_fickle("fickle", 0);
	a = ask_fickle("fickle", "hang");
	b = ask_fickle("fickle", "lost");
	(void)wait_for(&b->ended);
	ok(answer_is(b, "lost"),
	    "a client that is blocklisted: its call is asked in a new session");
	ok(!a->ended && sessions_count() == 2,
	    "the old one is there for what runs in it");
	sessions_call_cancel(&a->call);
	(void)wait_for(&a->ended);
	ok(a->call.err.code == ERR_CANCELLED && only_session_is_ready(),
	    "and no longer");
	forget(a);
	forget(b);
	stop();

	start_fickle("fickle", 9 * SECOND_MS);
	a = ask_fickle("fickle", "denied");
	(void)wait_for(&a->ended);
	ok(a->call.err.code == ERR_PERMISSION_DENIED &&
		str_eq(a->call.err.text, "permission denied"),
	    "what a fresh session is denied is denied");
	forget(a);
	pass(2 * SECOND_MS);
	a = ask_fickle("fickle", "denied");
	(void)wait_for(&a->ended);
	ok(answer_is(a, "denied") && only_session_is_ready(),
	    "an old one may be of a key that was revoked: a new one is asked");
	forget(a);
	stop();
}

static uint64_t
worker_starts(void)
{
	struct sessions_stats stats;

	stats = sessions_stats();
	return stats.worker_starts;
}

static void
test_probe(void)
{
	uint64_t starts;
	struct asker *a;

	start_fickle("fickle", 0);
	a = ask_fickle("fickle", "hang");
	starts = worker_starts();
	pass(16 * SECOND_MS);
	is_int(worker_starts(), starts + 1,
	    "what does not answer is probed by a new connection");
	for (int i = 0; i < 12000 && sessions_count() > 1; i++)
		turn();
	ok(!a->ended && only_session_is_ready(),
	    "which ends when all is well: then it is only slow");
	pass(16 * SECOND_MS);
	is_int(
	    worker_starts(), starts + 1, "for a while it is not probed again");
	sessions_call_cancel(&a->call);
	(void)wait_for(&a->ended);
	forget(a);
	stop();

	start_fickle("moved", 0);
	a = ask_fickle("moved", "hang");
	pass(16 * SECOND_MS);
	(void)wait_for(&a->ended);
	ok(answer_is(a, "hang") && only_session_is_ready(),
	    "another fsid at the monitors: the call is asked there");
	forget(a);
	stop();

	start_fickle("revoked", 0);
	a = ask_fickle("revoked", "hang");
	pass(16 * SECOND_MS);
	(void)wait_for(&a->ended);
	ok(a->call.err.code == ERR_UNAUTHENTICATED &&
		strstr(a->call.err.text,
		    "connect to cluster \"c\": authenticate") != NULL,
	    "a key that is refused now: %s", a->call.err.text);
	is_int(sessions_count(), 0, "and the session is gone");
	forget(a);
	stop();
}

static size_t
connecting(void)
{
	struct sessions_stats stats;

	stats = sessions_stats();
	return stats.in_state[PEER_STARTING];
}

#define FLOOD 300

static void
test_flood(void)
{
	static struct asker *wrong[FLOOD];
	static char key[FLOOD][16];
	struct asker *good;
	size_t most = 0, unauthenticated = 0;

	start();
	for (int i = 0; i < FLOOD; i++) {
		(void)snprintf(key[i], sizeof(key[i]), "key-%d", i);
		wrong[i] = begin_as("wrong", key[i], "m1,m2", "x");
	}
	good = ask("ok", "hello");
	for (int i = 0; i < FLOOD; i++)
		while (!wrong[i]->ended) {
			most = connecting() > most ? connecting() : most;
			turn();
		}
	for (int i = 0; i < FLOOD; i++) {
		if (wrong[i]->call.err.code == ERR_UNAUTHENTICATED)
			unauthenticated++;
		forget(wrong[i]);
	}
	is_int(unauthenticated, FLOOD, "a flood of wrong keys is answered");
	ok(most > 0 && most <= 16, "%zu at a time", most);
	(void)wait_for(&good->ended);
	ok(answer_is(good, "hello"), "so is a good one behind them");
	forget(good);
	good = ask_as("ok", "new-key", "m1,m2", "hello");
	(void)wait_for(&good->ended);
	ok(answer_is(good, "hello"), "and one that comes afterwards");
	forget(good);
	ok(sessions_count() <= 2 + 256, "what failed is remembered up to %zu",
	    sessions_count());
	stop();
}

static void
test_shared(void)
{
	static char id[20][8];
	struct asker *a[20];
	bool good = true;

	start();
	for (int i = 0; i < 20; i++) {
		(void)snprintf(id[i], sizeof(id[i]), "cid%d", i);
		a[i] = begin_as("wrong", "k3y", i % 2 ? "m1,m2" : "m2,m1", "x");
		a[i]->key.cluster_id = a[i]->call.cluster_id = id[i];
	}
	loop_turn(false);
	is_int(sessions_count(), 1,
	    "one session for twenty clusterIDs with the same monitors");
	for (int i = 0; i < 20; i++) {
		auto_free char *text = str_fmt(
		    "connect to cluster \"%s\": ", id[i]);

		(void)wait_for(&a[i]->ended);
		good &= str_starts(a[i]->call.err.text, text);
		forget(a[i]);
	}
	ok(good, "an error names the one that was asked for");
	stop();

	/* Monitors that do not answer are in nobody else's way. */
	start();
	for (int i = 0; i < 20; i++)
		a[i] = begin_as("mute", id[i], "m1", "x");
	loop_turn(false);
	is_int(connecting(), 16, "a cluster has so many that connect at once");
	{
		struct asker *other = ask_as(
		    "ok", "k3y-in-test", "m2", "hello");

		ok(wait_for(&other->ended) && answer_is(other, "hello"),
		    "another one is not concerned: %s", other->call.err.text);
		forget(other);
	}
	for (int i = 0; i < 20; i++)
		sessions_call_cancel(&a[i]->call);
	for (int i = 0; i < 20; i++) {
		(void)wait_for(&a[i]->ended);
		forget(a[i]);
	}
	pass(46 * SECOND_MS);
	pass(61 * SECOND_MS);
	is_int(sessions_count(), 1, "and those that gave up leave nothing");
	stop();
}

static void
test_no_program(void)
{
	struct asker *a;

	start();
	(void)sessions_count();
	a = ask("ok", "x");
	(void)wait_for(&a->ended);
	ok(a->call.err.code == ERR_UNAVAILABLE &&
		strstr(a->call.err.text, "/nonexistent/worker") != NULL,
	    "a program that is not there is named: %s", a->call.err.text);
	forget(a);
	stop();
}

static void
no_log(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

int
main(int argc, char *argv[])
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;

	if (slash == NULL)
		return 1;
	if (str_put(worker_path, sizeof(worker_path), "%.*s/../fake/worker",
		(int)(slash - argv[0]), argv[0]) < 0)
		return 1;
	log_set_sink(no_log);
	clock_fake(now_ms);
	if (loop_init() < 0)
		return 1;
	test_ready();
	test_failed();
	test_other_sessions();
	test_death();
	test_stuck();
	test_give_up();
	if (mkstemp(marker) < 0)
		return 1;
	test_retired();
	test_probe();
	(void)unlink(marker);
	test_flood();
	test_shared();
	(void)strcpy(worker_path, "/nonexistent/worker");
	test_no_program();
	loop_fini();
	return tap_end();
}
