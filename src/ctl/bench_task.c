/*
 * bench_task.c - one volume on its way: a step is one RPC, which is tried
 * again, as sidecars and kubelet do it, when it has failed and --retry-for
 * has not passed. A step's time is that from when it was meant to begin to its
 * success, with all tries and pauses.
 */
#include "core/op.h"
#include "csi/rpc.h"
#include "ctl/bench_live.h"
#include "ctl/bench_run.h"
#include "rpc/client.h"

#include <stdio.h>
#include <string.h>

#define CLEANING_NS INT64_C(10000000000) /* what is tried again so long */
#define MS_NS INT64_C(1000000)
#define TRACE_EVERY 200 /* steps; rbd-csid remembers 1,024 requests */

enum task_state { TASK_NEXT = 0, TASK_TRY, TASK_ANSWERED, TASK_PAUSED };

struct bench_task {
	struct op op;
	enum task_state state;
	struct bench_run *run;
	struct bench_volume *volume;
	struct load_turn turn;
	size_t part; /* that is next, or runs */
	enum bench_step step;
	int64_t phase_ns, step_ns; /* when they were meant to begin */
	int64_t pause_ms;
	struct client_call call;
	struct arena *arena;
	struct timer pause;
};

struct result *
bench_run_result(struct bench_run *run, size_t part)
{
	if (run->cleaning)
		return NULL;
	while (part > 0 &&
	    str_eq(run->parts[part]->phase, run->parts[part - 1]->phase))
		part--;
	return &run->results[part];
}

bool
bench_run_is_ended(const struct bench_run *run)
{
	return bench_interrupts.count > run->allow;
}

/* By these a driver says that it has made nothing. */
static bool
is_refusal(enum err_code code)
{
	return code == ERR_INVALID_ARGUMENT || code == ERR_NOT_FOUND ||
	    code == ERR_ALREADY_EXISTS || code == ERR_PERMISSION_DENIED ||
	    code == ERR_FAILED_PRECONDITION || code == ERR_OUT_OF_RANGE ||
	    code == ERR_UNIMPLEMENTED || code == ERR_UNAUTHENTICATED;
}

/* The next step, in t->step; false: there is none. */
static bool
choose_step(struct bench_task *t)
{
	const struct bench_volume *from = t->volume;

	if (t->run->cleaning)
		return bench_volume_undo(t->volume, &t->step);
	if (t->part == t->run->to)
		return false;
	t->step = t->run->parts[t->part]->step;
	if (t->step != BENCH_RESTORE || t->volume->source != NULL)
		return true;
	/* All restore from one snapshot, if the phases are apart. */
	if (!t->run->endless)
		TAILQ_FOREACH (from, &t->run->volumes, link)
			if (from->id[BENCH_SNAPSHOT] != NULL)
				break;
	if (from != NULL)
		t->volume->source = str_dup(from->id[BENCH_SNAPSHOT]);
	return true;
}

static void
note_state(struct bench_task *t)
{
	if (t->run->journal.fd >= 0)
		bench_journal_note(
		    &t->run->journal, bench_volume_json(t->volume));
}

/* Makes the request and sends it. False: it cannot be made. */
static bool
send_step(struct bench_task *t)
{
	const struct bench_step_def *def = &bench_steps[t->step];
	const struct bench_plan *plan = t->run->plan;
	struct err err = ERR_INIT;
	const void *body;
	size_t len;

	arena_free(t->arena);
	t->arena = csi_arena_new();
	body = bench_volume_request(
	    t->volume, &t->run->settings, t->step, t->arena, &len, &err);
	if (body == NULL ||
	    (def->on_node && bench_step_makes(t->step) &&
		bench_volume_make_paths(t->volume, &err) < 0)) {
		op_set_err(&t->op, &err);
		return false;
	}
	if (bench_step_makes(t->step) &&
	    (t->volume->tried & 1U << t->step) == 0) {
		t->volume->tried |= 1U << t->step;
		note_state(t); /* before anything is made */
	}
	client_call_init(
	    &t->call, def->on_node ? t->run->node : t->run->controller);
	client_call_start(&t->call, bench_rpc(t->step)->path, body, len,
	    plan->retry_ns > 0 && plan->timeout_ms < 0 ? def->timeout_ms
		: plan->timeout_ms < 0                 ? BENCH_TIMEOUT_MS
						       : plan->timeout_ms,
	    &t->op.wake);
	return true;
}

/* A step has succeeded. */
static void
pass_step(struct bench_task *t)
{
	struct bench_run *run = t->run;
	const struct bench_part *part = run->parts[t->part];
	struct result *result = bench_run_result(run, t->part);
	int64_t now_ns = load_now_ns();
	const char *name = bench_rpc(t->step)->name;
	size_t next = t->part + 1;

	if (t->turn.counted) {
		histogram_add(result_times_of(result, name),
		    (uint64_t)(now_ns - t->step_ns));
		result_note_slow(result, name,
		    bench_volume_subject(t->volume, t->step), t->step_ns,
		    now_ns - t->step_ns);
	}
	t->step_ns = now_ns;
	t->part = next;
	if (next < run->part_count &&
	    str_eq(run->parts[next]->phase, part->phase))
		return;
	/* The end of the phase. */
	t->volume->spent_ns += now_ns - t->phase_ns;
	if (t->turn.counted) {
		if (next > 1 &&
		    str_eq(run->parts[next - 2]->phase, part->phase))
			histogram_add(result_times_of(result, "volume"),
			    (uint64_t)(now_ns - t->phase_ns));
		if (part->usable)
			histogram_add(
			    result_times_of(result, "create to usable"),
			    (uint64_t)t->volume->spent_ns);
		result_pass(result, now_ns - t->phase_ns);
	}
	t->phase_ns = now_ns;
}

/* How long until the next try, in ms; -1: there is none. */
static int64_t
next_pause(struct bench_task *t)
{
	const struct bench_step_def *def = &bench_steps[t->step];
	int64_t retry_ns = t->run->cleaning &&
		t->run->plan->retry_ns < CLEANING_NS
	    ? CLEANING_NS
	    : t->run->plan->retry_ns;

	/* What is wrong with the request will be so again. */
	if (t->call.code == ERR_INVALID_ARGUMENT)
		t->pause_ms = def->retry_most_ms;
	else if (t->pause_ms == 0)
		t->pause_ms = def->retry_ms;
	else
		t->pause_ms *= 2;
	if (t->pause_ms > def->retry_most_ms)
		t->pause_ms = def->retry_most_ms;
	return bench_run_is_ended(t->run) ||
		load_now_ns() + t->pause_ms * MS_NS > t->step_ns + retry_ns
	    ? -1
	    : t->pause_ms;
}

static void
on_pause_over(struct timer *timer)
{
	struct bench_task *t = container_of(timer, struct bench_task, pause);

	wake_up(&t->op.wake, 0);
}

/* True: it is tried again, after a pause. */
static bool
tries_again(struct bench_task *t)
{
	struct bench_volume *v = t->volume;
	int64_t pause_ms = next_pause(t);
	struct result *result = bench_run_result(t->run, t->part);

	if (bench_step_makes(t->step) &&
	    v->id[bench_steps[t->step].object] == NULL &&
	    (!t->call.connected || is_refusal(t->call.code)))
		v->tried &= ~(1U << t->step);
	if (pause_ms < 0) {
		op_set_error(&t->op, t->call.code, "%s of %s: %s",
		    bench_rpc(t->step)->name, v->name,
		    t->call.text != NULL ? t->call.text : "");
		client_call_fini(&t->call);
		return false;
	}
	if (result != NULL && t->turn.counted)
		result->retried++;
	client_call_fini(&t->call);
	t->pause.fire = on_pause_over;
	timer_arm(&t->pause, pause_ms);
	return true;
}

static enum op_verdict
task_step(struct op *op)
{
	struct bench_task *t = (struct bench_task *)op;
	struct err err = ERR_INIT;
	const char *id;

	switch (t->state) {
	case TASK_NEXT:
		t->pause_ms = 0;
		if (!choose_step(t))
			return OP_DONE;
		if (bench_run_is_ended(t->run)) {
			op_set_error(op, ERR_CANCELLED, "%s: interrupted",
			    t->volume->name);
			return OP_DONE;
		}
		return op_goto(t, TASK_TRY);

	case TASK_TRY:
		return send_step(t) ? op_await(t, TASK_ANSWERED) : OP_DONE;

	case TASK_ANSWERED:
		if (op->rc < 0)
			return tries_again(t) ? op_await(t, TASK_PAUSED)
					      : OP_DONE;
		if (bench_volume_answer(t->volume, t->step, t->arena,
			t->call.reply.data, t->call.reply.len, &err) < 0)
			op_set_err(op, &err);
		client_call_fini(&t->call);
		/* By which the driver's trace may name it. */
		id = t->volume->id[bench_steps[t->step].object];
		if (id != NULL)
			(void)map_set(&t->run->subjects, id, t->run);
		note_state(t);
		if (err_is_set(&err))
			return OP_DONE;
		if (!t->run->cleaning) {
			pass_step(t);
			bench_trace_ask(t->run->traces, TRACE_EVERY);
		}
		t->step_ns = load_now_ns();
		return op_goto(t, TASK_NEXT);

	case TASK_PAUSED:
		return op_goto(
		    t, bench_run_is_ended(t->run) ? TASK_NEXT : TASK_TRY);
	}
	abort();
}

static void
task_end(struct op *op)
{
	struct bench_task *t = (struct bench_task *)op;
	struct bench_run *run = t->run;
	struct bench_volume *volume = t->volume;

	volume->task = NULL;
	if (err_is_set(&op->err)) {
		struct result *result = bench_run_result(run, t->part);

		volume->failed = true;
		bench_live_clear();
		if (result == NULL || result->failed < BENCH_TOLD_MAX)
			(void)fprintf(stderr, "%s: %s\n",
			    err_code_name(op->err.code), op->err.text);
		if (result != NULL && t->turn.counted)
			result_fail(result, op->err.code);
	}
	if (volume->tried == 0 && run->endless) {
		TAILQ_REMOVE(&run->volumes, volume, link);
		bench_volume_free(volume, &run->settings);
	}
	arena_free(t->arena);
	free(t);
	load_done(&run->load);
}

static const struct op_class task_class = {
	.name = "bench",
	.step = task_step,
	.end = task_end,
};

void
bench_task_begin(struct bench_run *run, struct bench_volume *volume,
    const struct load_turn *turn)
{
	struct bench_task *t = mem_new(sizeof(*t));

	t->run = run;
	t->volume = volume;
	t->turn = *turn;
	t->part = run->from;
	t->phase_ns = t->step_ns = turn->meant_ns;
	volume->task = t;
	op_start(&t->op, &task_class, NULL);
}

void
bench_task_cancel(struct bench_task *task)
{
	if (task->state == TASK_ANSWERED)
		client_call_cancel(&task->call);
	else if (task->state == TASK_PAUSED)
		timer_arm(&task->pause, 0);
}
