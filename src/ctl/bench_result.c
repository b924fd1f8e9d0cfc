/*
 * bench_result.c - counters, histograms, a time line whose pieces grow as it
 * gets longer, and the few slowest.
 */
#include "ctl/bench_result.h"

#include <string.h>
#include <time.h>

#define FIRST_SLOT_NS INT64_C(50000000)
#define MS 1e6

static int64_t
cpu_now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

void
result_init(struct result *result, const char *name, int64_t warm_up_ns)
{
	int64_t now_ns = load_now_ns();

	*result = (struct result){
		.name = name,
		.began_ns = now_ns,
		.start_ns = now_ns + warm_up_ns,
		.slot_ns = FIRST_SLOT_NS,
		.cpu_ns = -cpu_now_ns(),
	};
	STAILQ_INIT(&result->times);
}

void
result_fini(struct result *result)
{
	struct result_times *times;

	while ((times = STAILQ_FIRST(&result->times)) != NULL) {
		STAILQ_REMOVE_HEAD(&result->times, link);
		free(times->name);
		free(times);
	}
	for (size_t i = 0; i < result->slow_count; i++) {
		free(result->slowest[i].name);
		free(result->slowest[i].subject);
		json_decref(result->slowest[i].states);
	}
}

struct histogram *
result_times_of(struct result *result, const char *name)
{
	struct result_times *times;

	STAILQ_FOREACH (times, &result->times, link)
		if (str_eq(times->name, name))
			return &times->ns;
	times = mem_new(sizeof(*times));
	times->name = str_dup(name);
	STAILQ_INSERT_TAIL(&result->times, times, link);
	return &times->ns;
}

/* ---- the time line --------------------------------------------------------- */

/* Two pieces become one until there is one for this time. */
static struct result_slot *
slot_now(struct result *result)
{
	int64_t after_ns = load_now_ns() - result->start_ns;
	struct result_slot *slots = result->slots;

	if (after_ns < 0)
		after_ns = 0;
	while (after_ns / result->slot_ns >= RESULT_SLOTS) {
		for (size_t i = 0; i < RESULT_SLOTS / 2; i++) {
			const struct result_slot a = slots[2 * i];
			const struct result_slot b = slots[2 * i + 1];

			slots[i] = (struct result_slot){
				.passed = a.passed + b.passed,
				.failed = a.failed + b.failed,
				.slowest_ns = a.slowest_ns > b.slowest_ns
				    ? a.slowest_ns
				    : b.slowest_ns,
			};
		}
		memset(slots + RESULT_SLOTS / 2, 0,
		    RESULT_SLOTS / 2 * sizeof(*slots));
		result->slot_ns *= 2;
	}
	return &slots[after_ns / result->slot_ns];
}

void
result_pass(struct result *result, int64_t took_ns)
{
	struct result_slot *slot = slot_now(result);

	result->passed++;
	slot->passed++;
	if (took_ns > slot->slowest_ns)
		slot->slowest_ns = took_ns;
}

void
result_fail(struct result *result, enum err_code code)
{
	result->failed++;
	result->failed_by[code]++;
	slot_now(result)->failed++;
}

void
result_note_slow(struct result *result, const char *name, const char *subject,
    int64_t began_ns, int64_t took_ns)
{
	struct result_slow *slow = result->slowest;
	size_t at = result->slow_count;

	while (at > 0 && slow[at - 1].took_ns < took_ns)
		at--;
	if (at == RESULT_SLOWEST)
		return;
	if (result->slow_count == RESULT_SLOWEST) {
		result->slow_count--;
		free(slow[RESULT_SLOWEST - 1].name);
		free(slow[RESULT_SLOWEST - 1].subject);
		json_decref(slow[RESULT_SLOWEST - 1].states);
	}
	memmove(slow + at + 1, slow + at,
	    (result->slow_count - at) * sizeof(*slow));
	slow[at] = (struct result_slow){
		.name = str_dup(name),
		.subject = str_dup(subject),
		.began_ns = began_ns - result->start_ns,
		.took_ns = took_ns,
	};
	result->slow_count++;
}

void
result_note_states(struct result *result, const char *name, const char *subject,
    json_t *states)
{
	for (size_t i = 0; i < result->slow_count; i++) {
		struct result_slow *slow = &result->slowest[i];

		if (slow->states == NULL && str_eq(slow->name, name) &&
		    str_eq(slow->subject, subject))
			slow->states = json_incref(states);
	}
}

void
result_end(struct result *result, const struct load *load)
{
	result->cpu_ns += cpu_now_ns();
	result->cpu_percent = (double)result->cpu_ns /
	    (double)(load->end_ns - result->began_ns) * 100;
	result->seconds = (double)(load->end_ns - load->start_ns) / 1e9;
	result->open_loop = load->plan.rate > 0;
	result->lag_ns = load->lag_ns;
	result->missed = load->missed;
}

/* ---- as JSON ----------------------------------------------------------------- */

static json_t *
ms_json(double ns)
{
	return json_real(ns / MS);
}

static json_t *
times_json(const char *name, const struct histogram *h)
{
	static const struct {
		const char *name;
		double percent;
	} percentiles[] = { { "p50", 50 }, { "p90", 90 }, { "p95", 95 },
		{ "p99", 99 }, { "p99.9", 99.9 } };
	json_t *json = json_pack("{s:s, s:I, s:o, s:o}", "name", name, "count",
	    (json_int_t)h->count, "min", ms_json((double)h->least), "mean",
	    ms_json(histogram_mean(h)));
	json_t *buckets = json_array();

	for (size_t i = 0; i < countof(percentiles); i++)
		(void)json_object_set_new(json, percentiles[i].name,
		    ms_json((double)histogram_percentile(
			h, percentiles[i].percent)));
	(void)json_object_set_new(json, "max", ms_json((double)h->greatest));
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		if (h->buckets[i] > 0)
			(void)json_array_append_new(buckets,
			    json_pack("[o, I]",
				ms_json((double)histogram_middle(i)),
				(json_int_t)h->buckets[i]));
	(void)json_object_set_new(json, "buckets", buckets);
	return json;
}

static json_t *
slots_json(const struct result *result)
{
	int64_t length_ns = (int64_t)(result->seconds * 1e9);
	json_t *passed = json_array(), *failed = json_array();
	json_t *slowest = json_array();

	for (int64_t i = 0; i < RESULT_SLOTS && i * result->slot_ns < length_ns;
	     i++) {
		const struct result_slot *slot = &result->slots[i];

		(void)json_array_append_new(passed, json_integer(slot->passed));
		(void)json_array_append_new(failed, json_integer(slot->failed));
		(void)json_array_append_new(
		    slowest, ms_json((double)slot->slowest_ns));
	}
	return json_pack("{s:f, s:o, s:o, s:o}", "seconds",
	    (double)result->slot_ns / 1e9, "passed", passed, "failed", failed,
	    "slowest", slowest);
}

static json_t *
slowest_json(const struct result *result)
{
	json_t *list = json_array();

	for (size_t i = 0; i < result->slow_count; i++) {
		const struct result_slow *slow = &result->slowest[i];

		(void)json_array_append_new(list,
		    json_pack("{s:s, s:s, s:o, s:o, s:O*}", "name", slow->name,
			"subject", slow->subject, "began",
			ms_json((double)slow->began_ns), "took",
			ms_json((double)slow->took_ns), "states",
			slow->states));
	}
	return list;
}

json_t *
result_json(const struct result *result)
{
	json_t *codes = json_object(), *times = json_array();
	const struct result_times *each;

	for (int code = ERR_OK + 1; code < RESULT_CODES; code++)
		if (result->failed_by[code] > 0)
			(void)json_object_set_new(codes, err_code_name(code),
			    json_integer((json_int_t)result->failed_by[code]));
	STAILQ_FOREACH (each, &result->times, link)
		if (each->ns.count > 0)
			(void)json_array_append_new(
			    times, times_json(each->name, &each->ns));
	return json_pack(
	    "{s:s, s:f, s:I, s:I, s:o, s:I, s:I, s:f, s:f, s:o*, s:o, s:o, s:o}",
	    "name", result->name, "seconds", result->seconds, "passed",
	    (json_int_t)result->passed, "failed", (json_int_t)result->failed,
	    "codes", codes, "retried", (json_int_t)result->retried, "missed",
	    (json_int_t)result->missed, "rate",
	    result->seconds > 0 ? (double)result->passed / result->seconds : 0,
	    "generator_cpu", result->cpu_percent, "lag",
	    result->open_loop ? times_json("lag", &result->lag_ns) : NULL,
	    "times", times, "slots", slots_json(result), "slowest",
	    slowest_json(result));
}
