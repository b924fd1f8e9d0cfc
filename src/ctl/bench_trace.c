/*
 * bench_trace.c - Admin's Trace, asked while a load runs.
 */
#include "ctl/bench_trace.h"

#include "csi/rpc.h"
#include "ctl/json_pb.h"
#include "rpc/client.h"

#define TIMEOUT_MS 10000

static bool
is_new(struct bench_trace *trace, const json_t *ended)
{
	const char *text = json_get_string(ended, "id");
	uint64_t id;

	if (text == NULL || str_to_u64(text, &id) < 0)
		return false;
	for (size_t i = 0; i < TRACE_SEEN && i < trace->seen_count; i++)
		if (trace->seen[i] == id)
			return false;
	trace->seen[trace->seen_count++ % TRACE_SEEN] = id;
	return true;
}

static void
on_trace_answered(struct wake *wake, int rc)
{
	struct bench_trace *trace = container_of(
	    wake, struct bench_trace, wake);
	struct arena *arena = csi_arena_new();
	struct client_call *call = trace->call;
	const void *message = rc == 0
	    ? csi_unpack(csi_definitions[CSI_ADMIN_TRACE].reply, arena,
		  call->reply.data, call->reply.len, NULL)
	    : NULL;
	auto_json json_t *reply = message != NULL ? json_pb_write(message, NULL)
						  : NULL;
	size_t i;
	json_t *ended;

	/* Who does not serve it will not do so later. */
	if (call->code == ERR_UNIMPLEMENTED)
		trace->client = NULL;
	json_array_foreach (json_object_get(reply, "requests"), i, ended)
		if (is_new(trace, ended))
			trace->each(trace->arg, ended);
	arena_free(arena);
	client_call_fini(call);
	free(take_ptr(&trace->call));
}

static void
ask_one(struct bench_trace *trace)
{
	trace->steps = 0;
	if (trace->client == NULL || trace->call != NULL)
		return;
	trace->call = mem_new(sizeof(*trace->call));
	trace->wake = (struct wake){ .fn = on_trace_answered };
	client_call_init(trace->call, trace->client);
	client_call_start(trace->call, csi_definitions[CSI_ADMIN_TRACE].path,
	    "", 0, TIMEOUT_MS, &trace->wake);
}

void
bench_trace_ask(struct bench_trace traces[2], size_t every)
{
	for (size_t i = 0; i < 2; i++)
		if (++traces[i].steps >= every)
			ask_one(&traces[i]);
}

void
bench_trace_finish(struct bench_trace traces[2])
{
	/* What runs may have been answered before the last requests ended. */
	for (int turn = 0; turn < 2; turn++) {
		while (traces[0].call != NULL || traces[1].call != NULL)
			loop_turn(true);
		for (size_t i = 0; i < 2 && turn == 0; i++)
			ask_one(&traces[i]);
	}
}
