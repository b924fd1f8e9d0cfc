/*
 * call.c - `rbd-csictl call`: one RPC, with JSON in and out, whatever the
 * method: descriptors tell the rest. Each message of a stream is printed as
 * it comes; Ctrl-C cancels.
 */
#include "base/json.h"
#include "core/op.h"
#include "core/signal.h"
#include "csi/rpc.h"
#include "ctl/ctl.h"
#include "ctl/details.h"
#include "ctl/json_pb.h"
#include "ctl/request.h"
#include "rpc/client.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define TIMEOUT_MS (INT64_C(120) * 1000) /* of what is no stream */

enum ctl_call_state {
	CTLCALL_START = 0, /* nothing sent yet */
	CTLCALL_ANSWERED,  /* the answer, or the failure, is there */
	CTLCALL_SENT,      /* a stream: it has the request */
	CTLCALL_READ,      /* a stream: a message, or its end */
};

struct call_op {
	struct op op;
	enum ctl_call_state state;
	struct client_call rpc;
	struct ctl_method method;
	const void *body;
	size_t len;
	int64_t timeout_ms;
};

static struct client_call *running; /* for Ctrl-C */

static int
print_message(const struct client_call *rpc, const struct ctl_method *method,
    struct err *err)
{
	struct arena *arena = csi_arena_new();
	auto_json json_t *json = NULL;
	const void *message = csi_unpack(
	    method->reply, arena, rpc->reply.data, rpc->reply.len, err);

	if (message != NULL)
		json = json_pb_write(message, err);
	arena_free(arena);
	if (json == NULL) {
		err_prefix(err, "reply");
		return -EINVAL;
	}
	if (json_dumpf(json, stdout, JSON_INDENT(2)) < 0 ||
	    putchar('\n') == EOF || fflush(stdout) != 0)
		return err_set(err, ERR_INTERNAL, "cannot write the reply");
	return 0;
}

static enum op_verdict
call_print(struct call_op *c)
{
	struct err err = ERR_INIT;

	if (print_message(&c->rpc, &c->method, &err) < 0)
		op_set_err(&c->op, &err);
	if (err_is_set(&err) || !c->method.stream)
		return OP_DONE;
	client_call_read_start(&c->rpc, &c->op.wake);
	return op_await(c, CTLCALL_READ);
}

static enum op_verdict
call_step(struct op *op)
{
	struct call_op *c = (struct call_op *)op;

	switch (c->state) {
	case CTLCALL_START:
		if (!c->method.stream) {
			client_call_start(&c->rpc, c->method.path, c->body,
			    c->len, c->timeout_ms, &op->wake);
			return op_await(c, CTLCALL_ANSWERED);
		}
		client_call_open(&c->rpc, c->method.path, c->timeout_ms);
		client_call_send_start(&c->rpc, c->body, c->len, &op->wake);
		return op_await(c, CTLCALL_SENT);

	case CTLCALL_SENT: /* if that went wrong, reading tells why */
		client_call_send_end(&c->rpc);
		client_call_read_start(&c->rpc, &op->wake);
		return op_await(c, CTLCALL_READ);

	case CTLCALL_ANSWERED:
	case CTLCALL_READ:
		if (op->rc < 0 || !c->rpc.has_message)
			return OP_DONE;
		return call_print(c);
	}
	abort();
}

static void
ctl_call_end(struct op *op)
{
	(void)op;
	loop_stop();
}

static const struct op_class call_class = {
	.name = "call",
	.step = call_step,
	.end = ctl_call_end,
};

static void
on_interrupt(int signo)
{
	(void)signo;
	client_call_cancel(running);
}

/* Straight from the call: its text may be long. */
void
ctl_print_failure(const struct client_call *rpc)
{
	(void)fprintf(stderr, "%s: %s\n", err_code_name(rpc->code), rpc->text);
	if (rpc->head.details != NULL)
		ctl_details_print(
		    stderr, rpc->head.details, rpc->head.details_len);
}

/* "NAME:VALUE"; bytes, for a name in "-bin", are in base64. */
static int
add_header(struct client_call *rpc, const char *text, struct err *err)
{
	const char *colon = strchr(text, ':');
	const char *value = colon != NULL ? colon + 1 : "";
	size_t len = strlen(value);
	auto_free char *name = NULL;
	auto_free char *bytes = NULL;
	long n = (long)len;
	int rc;

	if (colon == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--header %s: has no colon", text);
	name = str_fmt("%.*s", (int)(colon - text), text);
	bytes = mem_new(len + 1);
	if (str_ends(name, "-bin"))
		n = str_unbase64(bytes, len, value, len);
	else
		memcpy(bytes, value, len);
	rc = n < 0 ? (int)n
		   : metadata_add(&rpc->headers, name, bytes, (size_t)n);
	return rc < 0 ? err_set_rc(err, rc, "--header %s", text) : 0;
}

int
ctl_add_headers(
    const struct ctl_options *options, struct client_call *rpc, struct err *err)
{
	for (size_t i = 0; i < options->header_count; i++)
		if (add_header(rpc, options->headers[i], err) < 0)
			return -EINVAL;
	return 0;
}

/* Runs the loop until the call has ended, then tells how. */
static enum ctl_status
run_call(struct call_op *c)
{
	running = &c->rpc;
	signal_watch(SIGINT, on_interrupt);
	signal_watch(SIGTERM, on_interrupt);
	op_start(&c->op, &call_class, NULL);
	loop_run();
	signal_fini();

	if (c->rpc.code != ERR_OK) {
		ctl_print_failure(&c->rpc);
		return c->rpc.connected ? CTL_FAILED : CTL_NO_SERVER;
	}
	if (err_is_set(&c->op.err)) {
		ctl_print_err(&c->op.err);
		return CTL_FAILED;
	}
	return CTL_OK;
}

static enum ctl_status
call(const struct ctl_options *options, struct call_op *c)
{
	struct client *client = client_new(options->endpoint);
	enum ctl_status status = CTL_USAGE;
	struct err err = ERR_INIT;

	client_call_init(&c->rpc, client);
	if (ctl_add_headers(options, &c->rpc, &err) < 0)
		ctl_print_err(&err);
	else
		status = run_call(c);
	client_call_fini(&c->rpc);
	client_free(client);
	return status;
}

static enum ctl_status
call_usage(void)
{
	(void)fprintf(stderr,
	    "usage: rbd-csictl [OPTION]... call SERVICE/METHOD [JSON|@FILE|-]\n\nmethods:\n");
	ctl_method_list(stderr);
	return CTL_USAGE;
}

enum ctl_status
ctl_call(const struct ctl_options *options, int argc, char **argv)
{
	struct call_op c = { .timeout_ms = options->timeout_ms };
	enum ctl_status status = CTL_USAGE;
	struct err err = ERR_INIT;
	struct arena *arena;

	if (argc < 2 || argc > 3)
		return call_usage();
	if (!ctl_method_find(&c.method, argv[1])) {
		(void)fprintf(stderr,
		    "rbd-csictl: there is no method \"%s\", `rbd-csictl call` lists them\n",
		    argv[1]);
		return CTL_USAGE;
	}
	if (c.timeout_ms < 0)
		c.timeout_ms = c.method.stream ? 0 : TIMEOUT_MS;

	arena = csi_arena_new();
	c.body = ctl_request_read(&c.method, argc == 3 ? argv[2] : NULL,
	    options->secrets, arena, &c.len, &err);
	if (c.body == NULL) {
		ctl_print_err(&err);
	} else if (loop_init() < 0) {
		(void)fprintf(stderr, "rbd-csictl: cannot make the loop\n");
		status = CTL_FAILED;
	} else {
		status = call(options, &c);
		loop_fini();
	}
	arena_free(arena);
	return status;
}
