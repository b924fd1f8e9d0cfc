/*
 * bench_calls.c - one RPC over and over: the gRPC server itself, or whatever
 * the request asks for; and connections that are held open.
 *
 * The rule that holds it together: between two calls there is nothing but the
 * client. What a call needs is made before the clock starts, what it gives is
 * a number in a histogram.
 */
#include "core/op.h"
#include "csi/rpc.h"
#include "ctl/bench_about.h"
#include "ctl/bench_live.h"
#include "ctl/ctl.h"
#include "rpc/client.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum caller_state { CALLER_NEXT = 0, CALLER_ANSWERED };

/* One call that runs. */
struct bench_caller {
	struct op op;
	enum caller_state state;
	struct calls *calls;
	struct load_turn turn;
	struct client_call call;
	LIST_ENTRY(bench_caller) link; /* in running or spare */
};

struct calls {
	const struct bench_plan *plan;
	const char *name; /* of the RPC */
	struct ctl_method method;
	struct ctl_body body;
	struct client **clients; /* calls take them in turn */
	size_t client_count;
	struct load load;
	struct result result;
	struct histogram *times;
	LIST_HEAD(, bench_caller) running, spare;
};

static enum op_verdict
caller_step(struct op *op)
{
	struct bench_caller *c = (struct bench_caller *)op;
	struct calls *calls = c->calls;
	int64_t took_ns;

	switch (c->state) {
	case CALLER_NEXT:
		client_call_init(&c->call,
		    calls->clients[c->turn.index % calls->client_count]);
		client_call_start(&c->call, calls->method.path,
		    calls->body.bytes, calls->body.len, calls->plan->timeout_ms,
		    &op->wake);
		return op_await(c, CALLER_ANSWERED);

	case CALLER_ANSWERED:
		took_ns = load_now_ns() - c->turn.meant_ns;
		if (!c->turn.counted) {
			/* of the warm-up */
		} else if (op->rc == 0) {
			histogram_add(calls->times, (uint64_t)took_ns);
			result_pass(&calls->result, took_ns);
			result_note_slow(&calls->result, calls->name, "",
			    c->turn.meant_ns, took_ns);
		} else {
			bench_live_clear();
			if (calls->result.failed < BENCH_TOLD_MAX)
				(void)fprintf(stderr, "%s: %s: %s\n",
				    err_code_name(c->call.code), calls->name,
				    c->call.text != NULL ? c->call.text : "");
			result_fail(&calls->result, c->call.code);
		}
		client_call_fini(&c->call);
		return OP_DONE;
	}
	abort();
}

static void
caller_end(struct op *op)
{
	struct bench_caller *c = (struct bench_caller *)op;

	LIST_REMOVE(c, link);
	LIST_INSERT_HEAD(&c->calls->spare, c, link);
	load_done(&c->calls->load);
}

static const struct op_class caller_class = {
	.name = "bench.call",
	.step = caller_step,
	.end = caller_end,
};

static void
begin_call(struct load *load, const struct load_turn *turn)
{
	struct calls *calls = load->arg;
	struct bench_caller *c = LIST_FIRST(&calls->spare);

	if (c != NULL)
		LIST_REMOVE(c, link);
	else
		c = mem_new(sizeof(*c));
	memset(c, 0, offsetof(struct bench_caller, call));
	c->calls = calls;
	c->turn = *turn;
	LIST_INSERT_HEAD(&calls->running, c, link);
	op_start(&c->op, &caller_class, NULL);
}

/* No call is begun any more, and those that run end. */
static void
on_interrupted(void *arg)
{
	struct calls *calls = arg;
	struct bench_caller *c;

	load_stop(&calls->load);
	LIST_FOREACH (c, &calls->running, link)
		if (c->state == CALLER_ANSWERED)
			client_call_cancel(&c->call);
}

/* One run, told as the phase `name`. Returns how many calls failed. */
static size_t
run_calls(struct calls *calls, const char *name, size_t callers, json_t *phases)
{
	struct bench_live live;
	struct bench_caller *c;
	json_t *phase;

	calls->load = (struct load){
		.plan = calls->plan->load,
		.begin = begin_call,
		.arg = calls,
	};
	calls->load.plan.callers = callers;
	result_init(&calls->result, name, calls->plan->load.warm_up_ns);
	calls->times = result_times_of(&calls->result, calls->name);
	bench_interrupts.told = on_interrupted;
	bench_interrupts.arg = calls;
	bench_live_begin(&live, name, &calls->load, &calls->result);
	load_run(&calls->load);
	bench_live_end(&live);
	bench_interrupts.told = NULL;
	while ((c = LIST_FIRST(&calls->spare)) != NULL) {
		LIST_REMOVE(c, link);
		free(c);
	}
	result_end(&calls->result, &calls->load);
	phase = result_json(&calls->result);
	(void)json_object_set_new(
	    phase, "callers", json_integer((json_int_t)callers));
	bench_print_phase(calls->plan->format, callers, phase);
	(void)json_array_append_new(phases, phase);
	result_fini(&calls->result);
	return calls->result.failed;
}

static struct calls
make_calls(const struct bench_plan *plan, size_t connections)
{
	const char *endpoint = plan->args->text[CTL_ENDPOINT];
	struct calls calls = { .plan = plan };

	LIST_INIT(&calls.running);
	LIST_INIT(&calls.spare);
	calls.client_count = connections > 0 ? connections : 1;
	calls.clients = mem_new(calls.client_count * sizeof(struct client *));
	for (size_t i = 0; i < calls.client_count; i++)
		calls.clients[i] = client_new(endpoint);
	if (connections == 0)
		client_connect_per_call(calls.clients[0]);
	return calls;
}

static void
free_clients(struct calls *calls)
{
	for (size_t i = 0; i < calls->client_count; i++)
		client_free(calls->clients[i]);
	free(calls->clients);
}

/* The request, in the arena. False: it has told what is wrong with it. */
static bool
read_call(struct calls *calls, struct arena *arena)
{
	const struct ctl_args *args = calls->plan->args;
	const char *rpc = args->text[CTL_RPC];
	struct err err = ERR_INIT;

	if (!ctl_method_find(&calls->method, rpc) || calls->method.stream) {
		(void)fprintf(stderr,
		    "rbd-csictl: --rpc %s: %s (`rbd-csictl call --help` lists them)\n",
		    rpc,
		    calls->method.stream ? "is a stream"
					 : "there is no such method");
		return false;
	}
	calls->name = strrchr(calls->method.path, '/') + 1;
	if (ctl_request_read(&calls->method, args->operand[0],
		args->text[CTL_SECRETS], arena, &calls->body, &err))
		return true;
	ctl_print_err(&err);
	return false;
}

enum ctl_status
bench_calls(const struct bench_plan *plan)
{
	auto_json json_t *document = bench_document(plan, NULL);
	struct calls calls = make_calls(plan, plan->connections);
	struct arena *arena = csi_arena_new();
	enum ctl_status status = CTL_USAGE;
	json_t *phases = json_object_get(document, "phases");

	if (read_call(&calls, arena)) {
		status = CTL_OK;
		bench_print_head(plan->format);
		for (size_t i = 0;
		     i < plan->runs && bench_interrupts.count == 0; i++)
			if (run_calls(
				&calls, "calls", plan->callers[i], phases) > 0)
				status = CTL_FAILED;
		if (!bench_document_end(plan, document))
			status = CTL_USAGE;
	}
	free_clients(&calls);
	arena_free(arena);
	return status;
}

/* ---- connections that are held ------------------------------------------- */

static void
on_stdin(struct io *io, int what)
{
	(void)what;
	io_unwatch(io);
}

static void
on_told(void *arg)
{
	io_unwatch(arg);
}

/*
 * Serves the connections until there is a line on standard input, or its end
 * (a file, or /dev/null, has either at once), or an interrupt.
 */
static void
hold_until_told(void)
{
	struct io in = { .fd = -1 };
	struct stat st;

	if (fstat(STDIN_FILENO, &st) < 0 ||
	    !(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) ||
		isatty(STDIN_FILENO)))
		return;
	io_watch(&in, STDIN_FILENO, IO_READ, on_stdin);
	bench_interrupts.told = on_told;
	bench_interrupts.arg = &in;
	while (in.ev != NULL)
		loop_turn(true);
	bench_interrupts.told = NULL;
	bench_interrupts.arg = NULL;
}

enum ctl_status
bench_connections(const struct bench_plan *plan)
{
	auto_json json_t *document = bench_document(plan, NULL);
	struct arena *arena = csi_arena_new();
	json_t *phases = json_object_get(document, "phases");
	struct rlimit files;
	enum ctl_status status = CTL_USAGE;
	struct calls calls;

	/* A connection is a descriptor, and there may be many. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	calls = make_calls(plan, plan->count);
	if (read_call(&calls, arena)) {
		bench_print_head(plan->format);
		status = run_calls(&calls, "connections", plan->callers[0],
			     phases) > 0
		    ? CTL_FAILED
		    : CTL_OK;
		if (!bench_document_end(plan, document))
			status = CTL_USAGE;
		(void)fflush(stdout);
		if (bench_interrupts.count == 0)
			hold_until_told();
	}
	free_clients(&calls);
	arena_free(arena);
	return status;
}
