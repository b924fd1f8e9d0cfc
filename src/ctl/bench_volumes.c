/*
 * bench_volumes.c - runs of benchmarks with volumes.
 *
 * Without --rate and --duration a run is a list of phases, and all volumes end
 * one before the next one begins, so that each has a rate of its own. With one
 * of them volumes come and go: each lives its whole life by itself.
 *
 * What fails takes no further part; the others go on. In the end, early or
 * not, what was made and is still there is taken away.
 */
#include "ctl/bench_about.h"
#include "ctl/bench_live.h"
#include "ctl/bench_run.h"
#include "ctl/ctl.h"
#include "rpc/client.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* ---- a load ---------------------------------------------------------------- */

static void
begin_volume(struct load *load, const struct load_turn *turn)
{
	struct bench_run *run = load->arg;
	struct bench_volume *volume = run->next;

	if (run->endless && !run->cleaning) {
		volume = bench_volume_new(&run->settings, run->next_index++);
		TAILQ_INSERT_TAIL(&run->volumes, volume, link);
	} else {
		while (run->cleaning ? volume->tried == 0 : volume->failed)
			volume = TAILQ_NEXT(volume, link);
		run->next = TAILQ_NEXT(volume, link);
	}
	bench_task_begin(run, volume, turn);
}

/* The calls that run end, and so does the load, unless it goes on. */
static void
on_interrupted(void *arg)
{
	struct bench_run *run = arg;
	struct bench_volume *volume;

	if (!bench_run_is_ended(run))
		return;
	load_stop(&run->load);
	TAILQ_FOREACH (volume, &run->volumes, link)
		if (volume->task != NULL)
			bench_task_cancel(volume->task);
}

static void
run_load(struct bench_run *run, const struct load_plan *plan)
{
	run->load = (struct load){
		.plan = *plan,
		.begin = begin_volume,
		.arg = run,
	};
	run->next = TAILQ_FIRST(&run->volumes);
	bench_interrupts.told = on_interrupted;
	bench_interrupts.arg = run;
	load_run(&run->load);
	bench_interrupts.told = NULL;
}

/* Of those that take part in what follows. */
static size_t
count_volumes(const struct bench_run *run)
{
	const struct bench_volume *volume;
	size_t count = 0;

	TAILQ_FOREACH (volume, &run->volumes, link)
		count += run->cleaning ? volume->tried != 0 : !volume->failed;
	return count;
}

/* Takes away what is left of all volumes, and forgets those that are gone. */
static void
clean_up(struct bench_run *run, size_t callers)
{
	struct bench_volume *volume, *next;
	size_t count;

	run->cleaning = true;
	run->allow = bench_interrupts.count; /* one more gives it up */
	count = count_volumes(run);
	if (count > 0)
		run_load(run,
		    &(struct load_plan){
			.callers = callers > 0 ? callers : count,
			.count = count,
		    });
	run->cleaning = false;
	for (volume = TAILQ_FIRST(&run->volumes); volume != NULL;
	     volume = next) {
		next = TAILQ_NEXT(volume, link);
		if (volume->tried != 0)
			continue;
		TAILQ_REMOVE(&run->volumes, volume, link);
		bench_volume_free(volume, &run->settings);
	}
}

/* ---- phases ---------------------------------------------------------------- */

/* Where the phase of a part ends. */
static size_t
phase_end(const struct bench_run *run, size_t part)
{
	const char *phase = run->parts[part]->phase;

	while (part < run->part_count && str_eq(run->parts[part]->phase, phase))
		part++;
	return part;
}

/* Names and paths have the run in them; IDs are known. */
static bool
is_ours(const struct bench_run *run, const char *subject)
{
	auto_free char *mark = str_fmt(
	    "bench-%s-", json_get_string(run->settings.json, "run"));

	return strstr(subject, mark) != NULL ||
	    map_get(&run->subjects, subject) != NULL;
}

/*
 * States belong to the phase in which their RPC is called; to the first one, if
 * volumes come and go and it is called in two.
 */
void
bench_run_on_traced(void *arg, const json_t *ended)
{
	struct bench_run *run = arg;
	const char *method = json_get_string(ended, "method");
	const char *subject = json_get_string(ended, "subject");
	json_t *states = json_object_get(ended, "states"), *state;
	auto_json json_t *times = json_array();
	size_t part = run->from, i;

	if (method == NULL || subject == NULL)
		return;
	if (strrchr(method, '/') != NULL)
		method = strrchr(method, '/') + 1;
	while (part < run->to &&
	    !str_eq(bench_rpc(run->parts[part]->step)->name, method))
		part++;
	if (part == run->to || !is_ours(run, subject))
		return;
	json_array_foreach (states, i, state) {
		const char *us = json_get_string(state, "us");
		auto_free char *name = str_fmt(
		    "%s/%s", method, json_get_string(state, "name"));
		uint64_t took_us = 0;

		if (us != NULL && str_to_u64(us, &took_us) < 0)
			continue;
		histogram_add(
		    result_times_of(bench_run_result(run, part), name),
		    took_us * 1000);
		(void)json_array_append_new(times,
		    json_pack("[s, f]", json_get_string(state, "name"),
			(double)took_us / 1000));
	}
	result_note_states(bench_run_result(run, part), method, subject, times);
}

/* Runs the parts [from, to), and tells what their phases have measured. */
static size_t
run_parts(struct bench_run *run, size_t callers, size_t from, size_t to,
    const struct load_plan *plan, json_t *document)
{
	json_t *phases = json_object_get(document, "phases");
	struct bench_live live;
	size_t failed = 0;

	run->from = from;
	run->to = to;
	for (size_t i = from; i < to; i = phase_end(run, i))
		result_init(
		    &run->results[i], run->parts[i]->phase, plan->warm_up_ns);
	bench_live_begin(&live,
	    run->endless ? run->plan->args->command->name
			 : run->parts[from]->phase,
	    &run->load, bench_run_result(run, to - 1));
	run_load(run, plan);
	bench_live_end(&live);
	bench_trace_finish(run->traces);
	for (size_t i = from; i < to; i = phase_end(run, i)) {
		struct result *result = &run->results[i];
		json_t *phase;

		result_end(result, &run->load);
		phase = result_json(result);
		(void)json_object_set_new(
		    phase, "callers", json_integer((json_int_t)callers));
		(void)json_object_set_new(
		    phase, "quiet", json_boolean(run->parts[i]->quiet));
		bench_print_phase(run->plan->format, callers, phase);
		(void)json_array_append_new(phases, phase);
		failed += result->failed;
		result_fini(result);
	}
	return failed;
}

/* Volumes that come and go, or phase by phase. Returns how many failed. */
static size_t
run_life(struct bench_run *run, size_t callers, json_t *document)
{
	const struct bench_plan *plan = run->plan;
	struct load_plan load = plan->load;
	size_t failed = 0, count;

	load.callers = callers;
	if (run->endless)
		return run_parts(
		    run, callers, 0, run->part_count, &load, document);
	load.warm_up_ns = 0;
	for (size_t i = 0; i < run->part_count && !bench_run_is_ended(run);
	     i = phase_end(run, i)) {
		count = load.count = count_volumes(run);
		if (count > 0)
			failed += run_parts(run, callers, i, phase_end(run, i),
			    &load, document);
	}
	return failed;
}

/* The same, without a word, for so long. */
static void
warm_up(struct bench_run *run, size_t callers)
{
	struct load_plan load = {
		.callers = callers,
		.warm_up_ns = run->plan->load.warm_up_ns,
		.length_ns = 1,
	};

	run->endless = true;
	run->from = 0;
	run->to = run->part_count;
	run_load(run, &load);
	bench_trace_finish(run->traces);
	run->endless = false;
}

/* ---- a run ------------------------------------------------------------------- */

/* The parts of a life that the driver serves; tells those that it does not. */
static bool
choose_parts(
    struct bench_run *run, const struct bench_life *life, json_t *document)
{
	const struct bench_driver *driver = &run->plan->driver;
	json_t *left_out = json_array();

	for (size_t i = 0; i < life->count; i++) {
		const struct bench_part *part = &life->parts[i];
		const char *needs = bench_steps[part->step].needs;

		if (bench_driver_can(driver, needs))
			run->parts[run->part_count++] = part;
		else
			(void)json_array_append_new(left_out,
			    json_sprintf("%s: %s", part->phase,
				bench_rpc(part->step)->name));
		if (!bench_driver_can(driver, needs) &&
		    bench_steps[part->step].object == BENCH_VOLUME &&
		    (part->step == BENCH_CREATE ||
			part->step == BENCH_PUBLISH)) {
			(void)fprintf(stderr,
			    "rbd-csictl: the driver does not serve %s\n",
			    bench_rpc(part->step)->name);
			json_decref(left_out);
			return false;
		}
	}
	if (json_array_size(left_out) > 0 && run->plan->format == BENCH_TABLE) {
		size_t i;
		json_t *each;

		(void)printf("left out, for the driver does not serve it:");
		json_array_foreach (left_out, i, each)
			(void)printf(
			    "%s %s", i > 0 ? "," : "", json_string_value(each));
		(void)putchar('\n');
	}
	(void)json_object_set_new(document, "left_out", left_out);
	return true;
}

static json_t *
make_settings(const struct bench_plan *plan, bool held)
{
	const struct ctl_args *args = plan->args;
	const char *node = plan->node_id != NULL
	    ? plan->node_id
	    : bench_driver_node(&plan->driver);
	const char *run = args->text[CTL_RUN];
	char own[9];
	uint32_t random = 0;

	if (run == NULL) {
		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			abort();
		(void)snprintf(own, sizeof(own), "%08x", random);
		run = own;
	}
	return json_pack(
	    "{s:s, s:s, s:s*, s:s*, s:s, s:s, s:I, s:O*, s:O*, s:b, s:b}",
	    "run", run, "endpoint", args->text[CTL_ENDPOINT], "controller",
	    args->text[CTL_CONTROLLER], "dir", plan->dir, "node", node,
	    "fstype", plan->fstype, "size", (json_int_t)plan->size_bytes,
	    "parameters", plan->parameters, "topology", plan->driver.topology,
	    "stages",
	    bench_driver_can(&plan->driver, "node.STAGE_UNSTAGE_VOLUME"),
	    "held", held);
}

static void
run_init(struct bench_run *run, const struct bench_plan *plan)
{
	*run = (struct bench_run){
		.plan = plan,
		.journal.fd = -1,
		.settings.secrets = plan->secrets,
	};
	TAILQ_INIT(&run->volumes);
}

/* Connects by the settings, or to what was typed. */
static void
run_connect(struct bench_run *run)
{
	const struct ctl_args *args = run->plan->args;
	const json_t *set = run->settings.json;
	const char *node = args->given[CTL_ENDPOINT]
	    ? args->text[CTL_ENDPOINT]
	    : json_get_string(set, "endpoint");
	const char *controller = args->given[CTL_CONTROLLER]
	    ? args->text[CTL_CONTROLLER]
	    : json_get_string(set, "controller");

	run->node = client_new(node);
	run->controller = client_new(controller != NULL ? controller : node);
	if (run->plan->connections == 0)
		client_connect_per_call(run->node);
	for (size_t i = 0; i < 2; i++)
		run->traces[i] = (struct bench_trace){
			.client = client_new(
			    i == 1 && controller != NULL ? controller : node),
			.each = bench_run_on_traced,
			.arg = run,
		};
	run->trace_clients[0] = run->traces[0].client;
	run->trace_clients[1] = run->traces[1].client;
	if (controller == NULL)
		run->traces[1].client = NULL; /* it is the same one */
}

/* Tells what is left behind, and frees the rest. */
static void
run_fini(struct bench_run *run, bool keep)
{
	const char *name = json_get_string(run->settings.json, "run");
	struct bench_volume *volume;
	size_t left = 0;

	while ((volume = TAILQ_FIRST(&run->volumes)) != NULL) {
		TAILQ_REMOVE(&run->volumes, volume, link);
		if (volume->tried != 0 && !keep && left++ < BENCH_TOLD_MAX)
			(void)fprintf(stderr, "left behind: volume %s, %s\n",
			    volume->name,
			    volume->id[BENCH_VOLUME] != NULL
				? volume->id[BENCH_VOLUME]
				: "no ID known");
		bench_volume_free(volume, &run->settings);
	}
	run->left = left;
	if (left > 0)
		(void)fprintf(stderr,
		    "left behind: %zu volumes in all; take them away by `rbd-csictl bench clean %s`\n",
		    left, name);
	bench_journal_close(&run->journal, left == 0 && !keep);
	if (run->node != NULL) {
		client_free(run->node);
		client_free(run->controller);
		client_free(run->trace_clients[0]);
		client_free(run->trace_clients[1]);
	}
	json_decref(run->settings.json);
	map_fini(&run->subjects);
}

/* Takes over what an older run has left, by its journal. */
static int
run_resume(
    struct bench_run *run, const char *dir, const char *name, struct err *err)
{
	json_t *volumes, *state;
	const char *key;
	int rc = bench_journal_open(
	    &run->journal, dir, name, &run->settings.json, &volumes, err);

	if (rc < 0)
		return rc;
	json_object_foreach (volumes, key, state) {
		size_t index = (size_t)json_integer_value(
		    json_object_get(state, "v"));
		struct bench_volume *volume = bench_volume_new(
		    &run->settings, index);

		bench_volume_take(volume, state);
		if (volume->tried != 0)
			TAILQ_INSERT_TAIL(&run->volumes, volume, link);
		else
			bench_volume_free(volume, &run->settings);
	}
	json_decref(volumes);
	return 0;
}

/* Begins a new run, or takes over the one that is to be released. */
static int
run_begin(struct bench_run *run, const struct bench_life *life)
{
	const struct bench_plan *plan = run->plan;
	struct err err = ERR_INIT;
	auto_free char *dir = bench_journal_dir(
	    plan->args->text[CTL_RUNS], &err);
	int rc = -1;

	if (dir != NULL && str_eq(life->kind, "release")) {
		rc = run_resume(run, dir, plan->args->text[CTL_RUN], &err);
	} else if (dir != NULL) {
		run->settings.json = make_settings(plan, life->keep);
		rc = bench_journal_new(&run->journal, dir,
		    json_get_string(run->settings.json, "run"),
		    run->settings.json, &err);
	}
	if (rc < 0)
		ctl_print_err(&err);
	else
		run_connect(run);
	return rc;
}

enum ctl_status
bench_volumes(const struct bench_plan *plan)
{
	const char *kind = plan->args->command->name + strlen("bench ");
	const struct bench_life *life = bench_life_of(kind);
	bool release = str_eq(kind, "release"), keep = false;
	auto_json json_t *document = NULL;
	struct bench_run *run = mem_new(sizeof(*run));
	enum ctl_status status = CTL_USAGE;
	size_t failed = 0;

	run_init(run, plan);
	if (life != NULL && run_begin(run, life) == 0) {
		document = bench_document(
		    plan, json_get_string(run->settings.json, "run"));
		if (choose_parts(run, life, document)) {
			bench_print_head(plan->format);
			status = CTL_OK;
		}
	}
	run->endless = plan->load.rate > 0 || plan->load.length_ns > 0;
	for (size_t i = 0;
	     status == CTL_OK && i < plan->runs && !bench_run_is_ended(run);
	     i++) {
		size_t callers = plan->callers[i];

		if (!run->endless && plan->load.warm_up_ns > 0)
			warm_up(run, callers);
		for (size_t n = 0; n < plan->count && !run->endless && !release;
		     n++) {
			struct bench_volume *volume = bench_volume_new(
			    &run->settings, run->next_index++);

			TAILQ_INSERT_TAIL(&run->volumes, volume, link);
		}
		failed += run_life(run, callers, document);
		keep = life->keep && failed == 0 && !bench_run_is_ended(run);
		if (!keep)
			clean_up(run, callers);
	}
	if (status == CTL_OK && !bench_document_end(plan, document))
		status = CTL_USAGE;
	run_fini(run, keep);
	if (status == CTL_OK && (failed > 0 || run->left > 0))
		status = CTL_FAILED;
	free(run);
	return status;
}

/* ---- bench clean ------------------------------------------------------------- */

/* Returns how many volumes are left. */
static size_t
clean_run(const struct bench_plan *plan, const char *dir, const char *name,
    bool named, struct err *err)
{
	struct bench_run *run = mem_new(sizeof(*run));
	size_t count = 0, left;
	bool skip = true, resumed;

	run_init(run, plan);
	resumed = run_resume(run, dir, name, err) == 0;
	if (resumed) {
		count = count_volumes(run);
		skip = !named &&
		    json_is_true(json_object_get(run->settings.json, "held"));
		run_connect(run);
		if (!skip)
			clean_up(run, plan->callers[0]);
	}
	run_fini(run, skip);
	left = run->left;
	if (resumed && skip)
		(void)printf("run %s: %zu volumes are held\n", name, count);
	else if (resumed)
		(void)printf("run %s: %zu volumes taken away, %zu left\n", name,
		    count - left, left);
	free(run);
	return left;
}

enum ctl_status
bench_clean(const struct bench_plan *plan)
{
	const char *named = plan->args->operand[0];
	struct err err = ERR_INIT;
	auto_free char *dir = bench_journal_dir(
	    plan->args->text[CTL_RUNS], &err);
	auto_json json_t *names = json_array();
	size_t left = 0, i;
	json_t *each;

	if (dir != NULL && named != NULL)
		(void)json_array_append_new(names, json_string(named));
	else if (dir != NULL)
		bench_journal_list(dir, names);
	json_array_foreach (names, i, each) {
		struct err own = ERR_INIT;

		left += clean_run(
		    plan, dir, json_string_value(each), named != NULL, &own);
		/* Without a name: those that run are none of ours. */
		if (err_is_set(&own) &&
		    (named != NULL || own.code != ERR_ABORTED))
			err = own;
	}
	if (err_is_set(&err))
		ctl_print_err(&err);
	return err_is_set(&err) ? CTL_USAGE : left > 0 ? CTL_FAILED : CTL_OK;
}
