/*
 * bench_calls.c - the benchmarks of the gRPC server itself: NodeGetCapabilities
 * over and over, and connections that are held open.
 *
 * The rule that holds it together: between two calls there is nothing but the
 * client. What a call needs is made before the clock starts, what it gives is
 * a number in a histogram.
 */
#include "ctl/bench.h"

#include "core/io.h"
#include "core/op.h"
#include "ctl/histogram.h"
#include "rpc/client.h"

#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#define METHOD "NodeGetCapabilities"
#define PATH "/csi.v1.Node/" METHOD

/* Who calls: one call at a time, as long as there are some left. */
enum caller_state { CALLER_NEXT = 0, CALLER_ANSWERED };

struct bench_caller {
	struct op op;
	enum caller_state state;
	struct load *load;
	uint64_t began_ns;
	struct client_call call;
};

/* A number of callers that work a number of calls off. */
struct load {
	const struct bench_options *opt;
	struct bench_caller *callers;
	size_t left, running, failed;
	size_t failed_by[ERR_UNAUTHENTICATED + 1]; /* enum err_code */
	struct client *client;                     /* of all calls ... */
	struct client **clients; /* ... or one for each; else NULL */
	struct histogram ns;     /* of the calls that succeeded */
};

static uint64_t
clock_ns(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) +
	    (uint64_t)ts.tv_nsec;
}

static enum op_verdict
caller_step(struct op *op)
{
	struct bench_caller *c = (struct bench_caller *)op;
	struct load *load = c->load;

	switch (c->state) {
	case CALLER_NEXT:
		if (load->left == 0)
			return OP_DONE;
		load->left--;
		client_call_init(&c->call,
		    load->clients != NULL ? load->clients[load->left]
					  : load->client);
		c->began_ns = clock_ns(CLOCK_MONOTONIC);
		client_call_start(
		    &c->call, PATH, "", 0, load->opt->timeout_ms, &op->wake);
		return op_await(c, CALLER_ANSWERED);

	case CALLER_ANSWERED:
		if (op->rc == 0) {
			histogram_add(
			    &load->ns, clock_ns(CLOCK_MONOTONIC) - c->began_ns);
		} else {
			load->failed_by[c->call.code]++;
			if (load->failed++ < BENCH_TOLD_MAX)
				(void)fprintf(stderr, "%s: " METHOD ": %s\n",
				    err_code_name(c->call.code),
				    c->call.text != NULL ? c->call.text : "");
		}
		client_call_fini(&c->call);
		return op_goto(c, CALLER_NEXT);
	}
	abort();
}

static void
caller_end(struct op *op)
{
	((struct bench_caller *)op)->load->running--;
}

static const struct op_class caller_class = {
	.name = "bench.calls",
	.step = caller_step,
	.end = caller_end,
};

/* No call is begun any more, and those that run end. */
static void
on_interrupted(void *arg)
{
	struct load *load = arg;

	load->left = 0;
	for (size_t i = 0; i < load->opt->callers; i++)
		if (load->callers[i].state == CALLER_ANSWERED)
			client_call_cancel(&load->callers[i].call);
}

static void
report_times(
    const struct load *load, const char *phase, uint64_t ns, uint64_t cpu_ns)
{
	const struct bench_options *opt = load->opt;
	double calls = (double)load->ns.count;

	bench_figure(opt, phase, "rate", calls / ((double)ns / 1e9), "1/s");
	bench_times(opt, phase, METHOD, &load->ns, 1e3, "us");
	/* By these one sees whether the client or the server is the limit. */
	bench_figure(opt, phase, "client_cpu_per_call",
	    (double)cpu_ns / (calls + (double)load->failed) / 1e3, "us");
	bench_figure(
	    opt, phase, "client_cpu", (double)cpu_ns / (double)ns * 100, "%");
}

/* Starts the callers and turns the loop until they are done. */
static void
run(struct load *load, const char *phase)
{
	size_t count = load->opt->callers;
	struct bench_caller *callers = mem_new(count * sizeof(*callers));
	uint64_t ns = clock_ns(CLOCK_MONOTONIC);
	uint64_t cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);

	load->callers = callers;
	bench_interrupts.told = on_interrupted;
	bench_interrupts.arg = load;
	for (size_t i = 0; i < count; i++) {
		callers[i].load = load;
		load->running++;
		op_start(&callers[i].op, &caller_class, NULL);
	}
	while (load->running > 0)
		loop_turn(true);
	ns = clock_ns(CLOCK_MONOTONIC) - ns;
	cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns;
	bench_interrupts.told = NULL;
	free(callers);
	if (load->ns.count > 0)
		report_times(load, phase, ns, cpu_ns);
	bench_failed_figures(
	    load->opt, phase, load->failed, load->failed_by, "calls");
}

size_t
bench_calls(const struct bench_options *opt, struct client *client)
{
	struct load load = { .opt = opt, .left = opt->count, .client = client };

	run(&load, "calls");
	return load.failed;
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

	(void)fflush(stdout);
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

size_t
bench_connections(const struct bench_options *opt)
{
	struct load load = { .opt = opt, .left = opt->count };
	struct rlimit files;

	/* A connection is a descriptor, and there may be many. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	load.clients = mem_new(opt->count * sizeof(struct client *));
	for (size_t i = 0; i < opt->count; i++)
		load.clients[i] = client_new(opt->endpoint);
	run(&load, "connections");
	bench_figure(
	    opt, "connections", "open", (double)load.ns.count, "connections");
	if (bench_interrupts.count == 0)
		hold_until_told();
	for (size_t i = 0; i < opt->count; i++)
		client_free(load.clients[i]);
	free(load.clients);
	return load.failed;
}
