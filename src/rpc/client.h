/*
 * client.h - asynchronous unary gRPC calls to a unix socket.
 *
 * The rule that holds it together: client_call_start() never calls back; it
 * wakes its waiter exactly once, when the result fields are set.
 */
#ifndef RPC_CLIENT_H
#define RPC_CLIENT_H

#include "base/buf.h"
#include "core/op.h"

struct client;
struct client_conn;

/*
 * `endpoint` as in server_listen(). Nothing is connected yet: the first call
 * does that, and so does each one after a lost connection.
 */
struct client *client_new(const char *endpoint);

/* From now on each call has a connection of its own, as kubelet does it. */
void client_connect_per_call(struct client *client);

/* No call may be running. */
void client_free(struct client *client);

/* Embed it; zeroed before client_call_init(). */
struct client_call {
	/* The result, valid after the waiter was woken. */
	enum err_code code;	/* the status; UNAVAILABLE: no connection */
	char *text;		/* the message of a failure, or NULL */
	bool connected;		/* false: nobody listens at the endpoint */
	struct buf reply;	/* the message of a success, serialized */

	/* Private to client.c. */
	struct client *client;
	struct client_conn *conn;
	struct op *waiter;
	char *path;
	struct buf body;
	size_t body_at;
	int64_t deadline_ms;
	int32_t stream_id;
	struct client_state *state;
};

void client_call_init(struct client_call *call, struct client *client);
void client_call_fini(struct client_call *call);

/*
 * Calls `path` ("/csi.v1.Node/NodeGetInfo") with a serialized message, which
 * is copied. timeout_ms 0: no deadline. Wakes `waiter` with 0 when the status
 * is OK, else with the negative errno of `code`. May be started again after
 * client_call_fini() and client_call_init().
 */
void client_call_start(struct client_call *call, const char *path,
    const void *body, size_t len, int64_t timeout_ms, struct op *waiter);

#endif
