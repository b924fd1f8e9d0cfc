/*
 * ask.c - calls of the driver, with JSON in and out, whatever the method:
 * descriptors tell the rest. Ctrl-C cancels the call that runs.
 */
#include "base/json.h"
#include "core/loop.h"
#include "core/signal.h"
#include "csi/rpc.h"
#include "ctl/ctl.h"
#include "ctl/details.h"
#include "ctl/json_pb.h"
#include "grpc/health/v1/health.pb-c.h"
#include "rpc/client.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define TIMEOUT_MS (INT64_C(120) * 1000) /* of what is no stream */

/* ---- methods ------------------------------------------------------------- */

#define HEALTH "/grpc.health.v1."

static const struct ctl_method health[] = {
	{ HEALTH "Health/Check",
	    &grpc__health__v1__health_check_request__descriptor,
	    &grpc__health__v1__health_check_response__descriptor, false },
	{ HEALTH "Health/List",
	    &grpc__health__v1__health_list_request__descriptor,
	    &grpc__health__v1__health_list_response__descriptor, false },
	{ HEALTH "Health/Watch",
	    &grpc__health__v1__health_check_request__descriptor,
	    &grpc__health__v1__health_check_response__descriptor, true },
};

/* Whether `text` is `path`, its end behind the package, or the method's name. */
static bool
is_path(const char *text, const char *path)
{
	if (*text == '/')
		text++;
	return str_eq(text, path + 1) || str_eq(text, strrchr(path, '.') + 1) ||
	    str_eq(text, strrchr(path, '/') + 1);
}

bool
ctl_method_find(struct ctl_method *method, const char *text)
{
	const struct csi_definition *csi = csi_definitions;

	for (size_t i = 0; i < countof(health); i++) {
		if (is_path(text, health[i].path)) {
			*method = health[i];
			return true;
		}
	}
	for (size_t i = 0; i < CSI_CLIENT_COUNT; i++) {
		if (is_path(text, csi[i].path)) {
			*method = (struct ctl_method){
				.path = csi[i].path,
				.request = csi[i].request,
				.reply = csi[i].reply,
				.stream = csi[i].stream,
			};
			return true;
		}
	}
	return false;
}

void
ctl_call_methods(FILE *out)
{
	const struct csi_definition *csi = csi_definitions;

	(void)fputs("\nmethods:\n", out);
	for (size_t i = 0; i < CSI_CLIENT_COUNT; i++)
		(void)fprintf(out, "  %s/%s%s\n", csi[i].service, csi[i].name,
		    csi[i].stream ? " (stream)" : "");
	for (size_t i = 0; i < countof(health); i++)
		(void)fprintf(out, "  %s%s\n", health[i].path + strlen(HEALTH),
		    health[i].stream ? " (stream)" : "");
}

/* ---- requests ------------------------------------------------------------ */

/* `text` is JSON, "@FILE", "-" for standard input, or NULL for "{}". */
static json_t *
read_json(const char *text, struct err *err)
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
add_secrets(const struct ctl_method *method, const char *file, json_t *request,
    struct err *err)
{
	auto_json json_t *secrets = NULL;
	const char *name;
	json_t *own, *value;

	if (file == NULL ||
	    protobuf_c_message_descriptor_get_field_by_name(
		method->request, "secrets") == NULL)
		return 0;
	secrets = json_read_file(file, CSI_MESSAGE_MAX, false, err);
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
	json_object_foreach (secrets, name, value)
		if (json_object_get(own, name) == NULL)
			(void)json_object_set(own, name, value);
	return 0;
}

bool
ctl_request_read(const struct ctl_method *method, const char *text,
    const char *secrets, struct arena *arena, struct ctl_body *body,
    struct err *err)
{
	auto_json json_t *json = read_json(text, err);
	ProtobufCMessage *request = NULL;

	if (json != NULL && add_secrets(method, secrets, json, err) == 0)
		request = json_pb_read(method->request, json, arena, err);
	if (request == NULL)
		return false;
	body->bytes = csi_pack(request, arena, &body->len, err);
	return body->bytes != NULL;
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

static void
on_ctl_woken(struct wake *wake, int rc)
{
	struct ctl_wait *wait = container_of(wake, struct ctl_wait, wake);

	wait->done = true;
	wait->rc = rc;
}

struct wake *
ctl_wait_for(struct ctl_wait *wait)
{
	*wait = (struct ctl_wait){ .wake.fn = on_ctl_woken };
	return &wait->wake;
}

int
ctl_waited(struct ctl_wait *wait)
{
	while (!wait->done)
		loop_turn(true);
	return wait->rc;
}

static json_t *
reply_read(const struct client_call *rpc, const struct ctl_method *method,
    struct err *err)
{
	struct arena *arena = csi_arena_new();
	const void *message = csi_unpack(
	    method->reply, arena, rpc->reply.data, rpc->reply.len, err);
	json_t *json = message != NULL ? json_pb_write(message, err) : NULL;

	if (json == NULL)
		err_prefix(err, "reply");
	arena_free(arena);
	return json;
}

/* ---- a call ---------------------------------------------------------------- */

static struct client_call *running; /* for Ctrl-C */

static void
on_interrupt(int signo)
{
	(void)signo;
	client_call_cancel(running);
}

/* Hands over each message that comes, until there is none or one is refused. */
static void
call_run(struct client_call *rpc, const struct ctl_method *method,
    const struct ctl_body *body, int64_t timeout_ms, ctl_each_fn *each,
    void *arg, struct err *err)
{
	struct ctl_wait wait;
	bool more = true;

	if (method->stream) {
		client_call_open(rpc, method->path, timeout_ms);
		client_call_send_start(
		    rpc, body->bytes, body->len, ctl_wait_for(&wait));
		(void)ctl_waited(&wait); /* reading tells what went wrong */
		client_call_send_end(rpc);
		client_call_read_start(rpc, ctl_wait_for(&wait));
	} else {
		client_call_start(rpc, method->path, body->bytes, body->len,
		    timeout_ms, ctl_wait_for(&wait));
	}
	while (ctl_waited(&wait) == 0 && rpc->has_message && more) {
		auto_json json_t *json = reply_read(rpc, method, err);

		more = json != NULL && each(json, arg, err) &&
		    !err_is_set(err) && method->stream;
		if (more)
			client_call_read_start(rpc, ctl_wait_for(&wait));
	}
}

enum ctl_status
ctl_call_each(const struct ctl_args *args, const struct ctl_method *method,
    const struct ctl_body *body, ctl_each_fn *each, void *arg, struct err *err)
{
	int64_t timeout_ms = args->number[CTL_TIMEOUT];
	enum ctl_status status = CTL_USAGE;
	struct err own = ERR_INIT;
	struct client_call rpc;
	int rc = 0;

	if (timeout_ms < 0)
		timeout_ms = method->stream ? 0 : TIMEOUT_MS;
	client_call_init(&rpc, args->client);
	for (size_t i = 0; i < args->header_count && rc == 0; i++)
		rc = add_header(&rpc, args->headers[i], &own);
	if (rc == 0) {
		running = &rpc;
		signal_watch(SIGINT, on_interrupt);
		signal_watch(SIGTERM, on_interrupt);
		call_run(&rpc, method, body, timeout_ms, each, arg, &own);
		signal_fini();
		status = err_is_set(&own) ? CTL_FAILED : CTL_OK;
		if (rpc.code != ERR_OK) {
			status = rpc.connected ? CTL_FAILED : CTL_NO_SERVER;
			own = (struct err)ERR_INIT;
			if (err != NULL)
				(void)err_set(err, rpc.code, "%s", rpc.text);
			else /* straight from the call: it may be long */
				(void)fprintf(stderr, "%s: %s\n",
				    err_code_name(rpc.code), rpc.text);
			if (err == NULL && rpc.head.details != NULL)
				ctl_details_print(stderr, rpc.head.details,
				    rpc.head.details_len);
		}
	}
	if (err_is_set(&own) && err == NULL)
		ctl_print_err(&own);
	else if (err_is_set(&own))
		*err = own;
	client_call_fini(&rpc);
	return status;
}

enum ctl_status
ctl_ask_each(const struct ctl_args *args, const char *name, json_t *request,
    ctl_each_fn *each, void *arg, struct err *err)
{
	struct arena *arena = csi_arena_new();
	enum ctl_status status = CTL_USAGE;
	auto_json json_t *json = request;
	auto_free char *text = NULL;
	struct ctl_method method;
	struct err own = ERR_INIT;
	struct ctl_body body;

	if (!ctl_method_find(&method, name))
		abort(); /* it is defined */
	if (json == NULL || (text = json_dumps(json, 0)) == NULL)
		(void)err_set(&own, ERR_INVALID_ARGUMENT,
		    "what is given has to be UTF-8");
	else if (ctl_request_read(&method, text, args->text[CTL_SECRETS], arena,
		     &body, &own))
		status = ctl_call_each(args, &method, &body, each, arg, err);
	if (err_is_set(&own) && err == NULL)
		ctl_print_err(&own);
	else if (err_is_set(&own))
		*err = own;
	arena_free(arena);
	return status;
}

static bool
keep_reply(const json_t *message, void *arg, struct err *err)
{
	(void)err;
	*(json_t **)arg = json_incref((json_t *)(uintptr_t)message);
	return false;
}

enum ctl_status
ctl_ask(const struct ctl_args *args, const char *name, json_t *request,
    json_t **reply, struct err *err)
{
	*reply = NULL;
	return ctl_ask_each(args, name, request, keep_reply, reply, err);
}
