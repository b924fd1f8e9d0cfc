/*
 * trial.c - the frame around a trial.
 */
#include "tests/rpc/trial.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "daemon/descriptors.h"
#include "rpc/health.h"
#include "rpc/reflection.h"

#include <malloc.h>
#include <string.h>

#define NOW_MS INT64_C(1000000)
#define TOLD_MAX 3

static const struct rpc_service *const services[] = { &ledger_service,
	&health_service, &reflection_v1 };
static const char *const names[] = { "s.S" };

static void on_ended(
    const char *path, const void *method, enum err_code code, int64_t us);

static const struct router router = {
	.services = services,
	.service_count = countof(services),
	.ended = on_ended,
};

struct server *trial_server;
struct wire trial_wire;

static int64_t now_ms;
static const char *wrong;
static size_t bytes_before;
static uint64_t told; /* ends of calls */

static void
on_ended(const char *path, const void *method, enum err_code code, int64_t us)
{
	(void)path;
	(void)method;
	(void)code;
	(void)us;
	told++;
}

/*
 * glibc counts what its threads' caches keep as in use, so the memory of a
 * trial can be measured without them only. (Set it for valgrind, which loses
 * the process otherwise.)
 */
static void
without_caches(char **argv)
{
	static const char name[] = "GLIBC_TUNABLES";

	if (getenv(name) != NULL)
		return;
	if (setenv(name, "glibc.malloc.tcache_count=0", 1) == 0)
		(void)execv("/proc/self/exe", argv);
	abort();
}

void
trial_init(char **argv)
{
	without_caches(argv);
	log_init("sweep", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (loop_init() < 0 ||
	    reflection_init(descriptors_set, descriptors_set_bytes, names,
		countof(names)) < 0)
		abort();
}

void
trial_begin(
    const struct talk *talk, enum ledger_mode mode, enum ledger_gone gone)
{
	struct server_limits limits = talk->limits;

	limits.idle_ms = TRIAL_IDLE_MS;
	bytes_before = mallinfo2().uordblks;
	wrong = NULL;
	now_ms = NOW_MS;
	clock_fake(now_ms);
	told = 0;
	health_init(names, countof(names));
	ledger_start(mode, gone);
	trial_server = server_new(&router, &limits);
	wire_open(&trial_wire, trial_server);
}

void
trial_pass(int64_t ms)
{
	now_ms += ms;
	clock_fake(now_ms);
	wire_settle(&trial_wire);
}

void
trial_expect(bool good, const char *what)
{
	if (!good && wrong == NULL)
		wrong = what;
}

void
trial_expect_counts(size_t calls, size_t connections)
{
	trial_expect(server_counters(trial_server)->calls == calls,
	    "the wrong number of calls is open");
	trial_expect(server_counters(trial_server)->connections == connections,
	    "the wrong number of connections");
}

void
trial_expect_order(bool cut, char *answers)
{
	const char *fault = wire_judge(&trial_wire, cut, answers);

	trial_expect(fault == NULL, fault);
}

/* Without clients nothing is held, and each call was counted at its end. */
static void
expect_nothing(void)
{
	const struct server_counters *counters = server_counters(trial_server);
	uint64_t refused = 0;

	for (int i = 0; i < SERVER_REFUSED_COUNT; i++)
		refused += counters->refusals[i];
	trial_expect(server_counters(trial_server)->buffered_bytes == 0,
	    "the server holds bytes of nobody");
	trial_expect(counters->calls_started == counters->calls_ended,
	    "a call is counted at its begin and not at its end");
	trial_expect(told == counters->calls_ended + refused,
	    "the end of a call is not told once");
}

void
trial_end_server(void)
{
	if (trial_server == NULL)
		return;
	if (server_counters(trial_server)->connections == 0)
		expect_nothing();
	server_free(trial_server);
	trial_server = NULL;
}

const char *
trial_end(void)
{
	const char *fault;

	wire_close(&trial_wire);
	loop_turn(false);
	trial_end_server();
	fault = ledger_close();
	trial_expect(fault == NULL, fault);
	wire_fini(&trial_wire);
	trial_expect(
	    mallinfo2().uordblks == bytes_before, "memory is not given back");
	return wrong;
}

const char *
trial_talk(const struct talk *talk, const struct script *script, size_t piece,
    char *answers)
{
	size_t len = script->bytes.len;

	trial_begin(talk, LEDGER_NOW, LEDGER_FORGETS);
	for (size_t at = 0; at < len; at += piece < len ? piece : len) {
		wire_put(&trial_wire, script->bytes.data + at,
		    len - at < piece ? len - at : piece);
		loop_turn(false);
		(void)wire_read(&trial_wire);
	}
	wire_settle(&trial_wire);
	trial_expect_order(false, answers);
	return trial_end();
}

void
trial_warm_up(void)
{
	static char answers[WIRE_ANSWERS_MAX];
	struct script script;

	for (size_t i = 0; i < talk_count; i++) {
		talk_script(&talks[i], &script);
		(void)trial_talk(&talks[i], &script, SIZE_MAX, answers);
		script_fini(&script);
	}
}

bool
tally_count(struct tally *tally, const char *fault)
{
	tally->trials++;
	return fault != NULL && tally->failed++ < TOLD_MAX;
}

bool
trial_near_border(const struct script *script, size_t at, size_t distance)
{
	for (size_t i = 0; i < script->frames; i++)
		if (at + distance >= script->frame[i].end &&
		    at <= script->frame[i].end + distance)
			return true;
	return false;
}
