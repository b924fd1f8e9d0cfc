/*
 * client.h - asynchronous unary gRPC calls to a unix socket.
 *
 * The rule that holds it together: client_call_start() never calls back; it
 * wakes its waiter exactly once, when the result fields are set.
 */
#ifndef RPC_CLIENT_H
#define RPC_CLIENT_H

#include "core/op.h"
#include "core/timer.h"
#include "rpc/grpc.h"

struct client;
struct client_conn;

/*
 * `endpoint` as in server_listen(). Nothing is connected yet: the first call
 * does that, and so does the first one after a connection was lost. All calls
 * share it.
 */
struct client *client_new(const char *endpoint);

/* From now on each call has a connection of its own, as kubelet does it. */
void client_connect_per_call(struct client *client);

/* Closes the connections. No call may be running. */
void client_free(struct client *client);

/* Embed it. */
struct client_call {
	/* The result, valid once the waiter was woken. */
	enum err_code code; /* the status; UNAVAILABLE: no connection */
	char *text;         /* the message of a failure, or NULL */
	struct buf reply;   /* the message of a success, serialized */
	bool connected;     /* false: nobody listens at the endpoint */

	/* Private to client.c. */
	struct client *client;
	struct client_conn *conn; /* while a stream is open */
	struct op *waiter;        /* while the call runs */
	char *path;
	struct buf body; /* prefix and message */
	size_t body_at;
	int64_t timeout_ms;
	struct timer deadline;
	struct timer retry; /* of connect() */
	struct grpc_reader reader;
	enum grpc_read fault; /* what is wrong with the message */
	bool has_message, has_status, closed;
	unsigned refused; /* how often, without having been looked at */
	int32_t stream_id;
	uint32_t reset_code;
	STAILQ_ENTRY(client_call)
	closed_link;
	LIST_ENTRY(client_call)
	link;
};

void client_call_init(struct client_call *call, struct client *client);

/* Frees the result. The call must not be running. */
void client_call_fini(struct client_call *call);

/*
 * Calls `path` ("/csi.v1.Node/NodeGetInfo") with a serialized message, which
 * is copied. timeout_ms 0: no deadline. Wakes `waiter` with 0 when the status
 * is OK, else with the negative errno of `code`. To be used again, a call
 * goes through client_call_fini() and client_call_init().
 */
void client_call_start(struct client_call *call, const char *path,
    const void *body, size_t len, int64_t timeout_ms, struct op *waiter);

#endif
