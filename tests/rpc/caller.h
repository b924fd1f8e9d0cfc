/*
 * caller.h - what tests of the client share: calls as operations, which is
 * how all users have them, and a socket to call.
 */
#ifndef TESTS_RPC_CALLER_H
#define TESTS_RPC_CALLER_H

#include "core/op.h"
#include "rpc/client.h"
#include "rpc/server.h"

/* The socket, in a directory of the test's own. */
extern char caller_path[64], caller_endpoint[80];

void caller_init(const char *test); /* log, loop, directory */
void caller_fini(void);

/* A server of these methods that listens there; limits may be NULL. */
struct server *caller_serve(
    const struct router *router, const struct server_limits *limits);

/* A socket that listens there, and nothing more. */
int caller_listen(int queue);

/* Open connections of a client. */
size_t caller_connections(const struct client *client);

void turn(int n);

/* ---- a call of one message each way ---- */

struct one {
	struct op op;
	enum { ONE_START = 0, ONE_ANSWERED } state;
	struct client_call call;
	const char *method;
	const char *body;
	int64_t timeout_ms;
	int rc;
	bool done;
};

extern unsigned one_running;

void one_init(struct one *o, struct client *client, const char *method,
    const char *body, int64_t timeout_ms);
void one_begin(struct one *o);

/* Both. */
void one_start(struct one *o, struct client *client, const char *method,
    const char *body, int64_t timeout_ms);

void finish_all(void); /* until none runs, with a bound */
bool reply_is(const struct client_call *call, const char *want);

/* ---- one wait of a call of many messages ---- */

enum act_kind {
	ACT_SEND = 0,
	ACT_READ,
	ACT_FINISH,
};

struct act {
	struct op op;
	enum { ACT_START = 0, ACT_WOKEN } state;
	enum act_kind kind;
	struct client_call *call;
	const void *bytes;
	size_t len;
	int rc;
	bool done;
};

/* Starts it; its step runs later, as any operation's. */
void act_start(struct act *act, enum act_kind kind, struct client_call *call,
    const void *bytes, size_t len);
bool act_wait(struct act *act); /* turns the loop; false: not woken */

/* Start and wait; give rc, or -ETIME if nobody was woken. */
int send_text(struct client_call *call, const char *text);
int read_one(struct client_call *call);
int read_answer(struct client_call *call);

#endif
