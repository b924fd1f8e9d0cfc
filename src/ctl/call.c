/*
 * call.c - `rbd-csictl call`: one RPC, with JSON in and out, whatever the
 * method: the descriptors of the method table tell the rest.
 */
#include "ctl/ctl.h"

#include "base/clock.h"
#include "csi/rpc.h"
#include "ctl/json_pb.h"
#include "rpc/client.h"

#include <errno.h>
#include <string.h>

enum call_state {
	CALL_START = 0, /* nothing sent yet */
	CALL_ANSWERED,  /* the answer, or the failure, is there */
};

struct call_op {
	struct op op;
	enum call_state state;
	struct client_call rpc;
	const struct csi_method *method;
	const void *body;
	size_t len;
	int64_t timeout_ms;
};

static enum op_verdict
call_step(struct op *op)
{
	struct call_op *c = (struct call_op *)op;

	switch (c->state) {
	case CALL_START:
		client_call_start(&c->rpc, c->method->path, c->body, c->len,
		    c->timeout_ms, op);
		return op_await(c, CALL_ANSWERED);

	case CALL_ANSWERED:
		return OP_DONE;
	}
	abort();
}

static const struct op_class call_class = {
	.name = "call",
	.step = call_step,
};

static void
on_done(struct op *op, void *arg)
{
	(void)op;
	(void)arg;
	loop_stop();
}

static void
print_methods(void)
{
	size_t count;
	const struct csi_method *methods = csi_methods(&count);

	(void)fprintf(stderr,
	    "usage: rbd-csictl [OPTION]... call "
	    "SERVICE/METHOD [JSON|@FILE|-]\n\nmethods:\n");
	for (size_t i = 0; i < count; i++)
		(void)fprintf(stderr, "  %s/%s%s\n", methods[i].service,
		    methods[i].name, methods[i].stream ? " (stream)" : "");
}

/* "Node/NodeGetInfo", also with "csi.v1." and a slash before it. */
static const struct csi_method *
find_method(const char *text)
{
	static const char package[] = "csi.v1.";
	auto_free char *path = NULL;

	if (*text == '/')
		text++;
	if (str_starts(text, package))
		text += strlen(package);
	path = str_fmt("/%s%s", package, text);
	return csi_method_find(path);
}

/* `text` is JSON, "@FILE", "-" for standard input, or NULL for "{}". */
static json_t *
read_request(const char *text, struct err *err)
{
	const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
	json_error_t where;
	json_t *json;

	if (text == NULL)
		return json_object();
	if (strcmp(text, "-") == 0)
		json = json_loadf(stdin, flags, &where);
	else if (*text == '@')
		json = json_load_file(text + 1, flags, &where);
	else
		json = json_loads(text, flags, &where);
	if (json == NULL)
		(void)err_set(err, ERR_INVALID_ARGUMENT,
		    "%s: line %d, column %d: %s",
		    *text == '@' ? text + 1 : "request", where.line,
		    where.column, where.text);
	return json;
}

/* Adds the file's secrets; those that the request has itself stay. */
static int
add_secrets(const struct csi_method *method, const char *file, json_t *request,
    struct err *err)
{
	auto_json json_t *secrets = NULL;
	const char *name;
	json_t *own, *value;

	if (file == NULL ||
	    protobuf_c_message_descriptor_get_field_by_name(
		method->request, "secrets") == NULL)
		return 0;
	secrets = json_read_file(file, CSI_MESSAGE_MAX, err);
	if (secrets == NULL)
		return -EINVAL;
	if (!json_is_object(secrets))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "%s: is no JSON object", file);
	own = json_object_get(request, "secrets");
	if (!json_is_object(own)) {
		if (own != NULL && !json_is_null(own))
			return 0; /* reading the request refuses it */
		own = json_object();
		(void)json_object_set_new(request, "secrets", own);
	}
	json_object_foreach(
	    secrets, name, value) if (json_object_get(own, name) == NULL)(void)
	    json_object_set(own, name, value);
	return 0;
}

static int
print_reply(const struct client_call *rpc, const struct csi_method *method,
    struct arena *arena, struct err *err)
{
	auto_json json_t *json = NULL;
	const void *reply = csi_unpack(
	    method->reply, arena, rpc->reply.data, rpc->reply.len, err);

	if (reply == NULL || (json = json_pb_write(reply, err)) == NULL) {
		err_prefix(err, "reply");
		return -EINVAL;
	}
	if (json_dumpf(json, stdout, JSON_INDENT(2)) < 0 ||
	    putchar('\n') == EOF || fflush(stdout) != 0)
		return err_set(err, ERR_INTERNAL, "cannot write the reply");
	return 0;
}

/* Runs the loop until the call has ended, then tells how. */
static enum ctl_status
run_call(
    const struct ctl_options *options, struct call_op *c, struct arena *arena)
{
	struct client *client = client_new(options->endpoint);
	enum ctl_status status = CTL_OK;
	struct err err = ERR_INIT;

	client_call_init(&c->rpc, client);
	op_start(&c->op, &call_class, on_done, NULL);
	loop_run();

	if (c->rpc.code != ERR_OK) {
		/* Straight from the call: its text may be long. */
		(void)fprintf(stderr, "%s: %s\n", err_code_name(c->rpc.code),
		    c->rpc.text != NULL ? c->rpc.text : "");
		status = c->rpc.connected ? CTL_FAILED : CTL_NO_SERVER;
	} else if (print_reply(&c->rpc, c->method, arena, &err) < 0) {
		ctl_print_err(&err);
		status = CTL_FAILED;
	}
	client_call_fini(&c->rpc);
	client_free(client);
	return status;
}

enum ctl_status
ctl_call(const struct ctl_options *options, int argc, char **argv)
{
	struct call_op c = { .timeout_ms = options->timeout_ms };
	auto_json json_t *json = NULL;
	ProtobufCMessage *request;
	struct err err = ERR_INIT;
	struct arena *arena;
	enum ctl_status status = CTL_USAGE;

	if (argc < 2 || argc > 3) {
		print_methods();
		return CTL_USAGE;
	}
	if ((c.method = find_method(argv[1])) == NULL) {
		(void)fprintf(stderr,
		    "rbd-csictl: CSI has no method \"%s\", "
		    "`rbd-csictl call` lists them\n",
		    argv[1]);
		return CTL_USAGE;
	}
	if (c.method->stream) {
		(void)fprintf(stderr,
		    "rbd-csictl: %s answers with a stream, "
		    "which call cannot read\n",
		    c.method->name);
		return CTL_USAGE;
	}

	arena = csi_arena_new();
	if ((json = read_request(argc == 3 ? argv[2] : NULL, &err)) == NULL ||
	    add_secrets(c.method, options->secrets, json, &err) < 0 ||
	    (request = json_pb_read(c.method->request, json, arena, &err)) ==
		NULL ||
	    (c.body = csi_pack(request, arena, &c.len, &err)) == NULL) {
		ctl_print_err(&err);
	} else if (loop_init() < 0) {
		(void)fprintf(stderr, "rbd-csictl: cannot make the loop\n");
		status = CTL_FAILED;
	} else {
		status = run_call(options, &c, arena);
		loop_fini();
	}
	arena_free(arena);
	return status;
}
