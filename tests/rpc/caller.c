/*
 * caller.c - calls as operations, for tests.
 */
#include "tests/rpc/caller.h"

#include "base/log.h"
#include "rpc/client_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define TURNS 100000 /* enough for everything that comes at all */

char caller_path[64], caller_endpoint[80];
unsigned one_running;

static char dir[] = "/tmp/rpc-client-XXXXXX";

void
caller_init(const char *test)
{
	log_init(test, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (loop_init() < 0 || mkdtemp(dir) == NULL)
		abort();
	(void)snprintf(caller_path, sizeof(caller_path), "%s/csi.sock", dir);
	(void)snprintf(
	    caller_endpoint, sizeof(caller_endpoint), "unix://%s", caller_path);
}

void
caller_fini(void)
{
	(void)unlink(caller_path);
	(void)rmdir(dir);
	loop_fini();
}

struct server *
caller_serve(const struct router *router, const struct server_limits *limits)
{
	struct server *server = server_new(router, limits);
	struct err err = ERR_INIT;

	if (server_listen(
		server, caller_endpoint, UNIX_SOCKET_FILE(0600), &err) < 0)
		abort();
	return server;
}

int
caller_listen(int queue)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)unlink(caller_path);
	if (str_put(address.sun_path, sizeof(address.sun_path), "%s",
		caller_path) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, queue) < 0)
		abort();
	return fd;
}

size_t
caller_connections(const struct client *client)
{
	const struct client_conn *conn;
	size_t n = 0;

	LIST_FOREACH (conn, &client->conns, link)
		n++;
	return n;
}

void
turn(int n)
{
	while (n-- > 0)
		loop_turn(false);
}

static enum op_verdict
one_step(struct op *op)
{
	struct one *o = (struct one *)op;

	switch (o->state) {
	case ONE_START:
		client_call_start(&o->call, o->method, o->body, strlen(o->body),
		    o->timeout_ms, &op->wake);
		return op_await(o, ONE_ANSWERED);
	case ONE_ANSWERED:
		o->rc = op->rc;
		o->done = true;
		one_running--;
		return OP_DONE;
	}
	abort();
}

static const struct op_class one_class = { .name = "one", .step = one_step };

void
one_init(struct one *o, struct client *client, const char *method,
    const char *body, int64_t timeout_ms)
{
	*o = (struct one){
		.method = method,
		.body = body,
		.timeout_ms = timeout_ms,
	};
	client_call_init(&o->call, client);
}

void
one_begin(struct one *o)
{
	one_running++;
	op_start(&o->op, &one_class, NULL);
}

void
one_start(struct one *o, struct client *client, const char *method,
    const char *body, int64_t timeout_ms)
{
	one_init(o, client, method, body, timeout_ms);
	one_begin(o);
}

void
finish_all(void)
{
	for (int i = 0; i < TURNS && one_running > 0; i++)
		loop_turn(false);
}

bool
reply_is(const struct client_call *call, const char *want)
{
	return call->has_message && call->reply.len == strlen(want) &&
	    (call->reply.len == 0 ||
		memcmp(call->reply.data, want, strlen(want)) == 0);
}

static enum op_verdict
act_step(struct op *op)
{
	struct act *act = (struct act *)op;

	switch (act->state) {
	case ACT_START:
		if (act->kind == ACT_SEND)
			client_call_send_start(
			    act->call, act->bytes, act->len, &op->wake);
		else if (act->kind == ACT_READ)
			client_call_read_start(act->call, &op->wake);
		else
			client_call_finish_start(act->call, &op->wake);
		return op_await(act, ACT_WOKEN);
	case ACT_WOKEN:
		act->rc = op->rc;
		act->done = true;
		return OP_DONE;
	}
	abort();
}

static const struct op_class act_class = { .name = "act", .step = act_step };

void
act_start(struct act *act, enum act_kind kind, struct client_call *call,
    const void *bytes, size_t len)
{
	*act = (struct act){
		.kind = kind,
		.call = call,
		.bytes = bytes,
		.len = len,
	};
	op_start(&act->op, &act_class, NULL);
}

bool
act_wait(struct act *act)
{
	for (int i = 0; i < TURNS && !act->done; i++)
		loop_turn(false);
	return act->done;
}

/* The act must not outlive its frame: a call that wakes nobody is ended. */
static int
act_run(enum act_kind kind, struct client_call *call, const char *text)
{
	struct act act;

	act_start(&act, kind, call, text, text != NULL ? strlen(text) : 0);
	if (act_wait(&act))
		return act.rc;
	client_call_cancel(call);
	(void)act_wait(&act);
	return -ETIME;
}

int
send_text(struct client_call *call, const char *text)
{
	return act_run(ACT_SEND, call, text);
}

int
read_one(struct client_call *call)
{
	return act_run(ACT_READ, call, NULL);
}

int
read_answer(struct client_call *call)
{
	return act_run(ACT_FINISH, call, NULL);
}
