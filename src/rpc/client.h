/*
 * client.h - asynchronous gRPC calls to a unix socket: of one message each
 * way, or of many in either direction.
 *
 * The rule that holds it together: nothing here calls back. A function whose
 * name ends in _start wakes its waiter exactly once, later. A call has one
 * waiter who reads and may have another one who sends, and nobody is faster
 * than the other end: what is not asked for stays in the server's window, and
 * who sends is woken when it is time for more.
 */
#ifndef RPC_CLIENT_H
#define RPC_CLIENT_H

#include "core/timer.h"
#include "core/wake.h"
#include "rpc/client_head.h"

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

/* What the reader has asked for. */
enum client_want {
	CLIENT_WANT_NOTHING = 0,
	CLIENT_WANT_MESSAGE, /* the next one */
	CLIENT_WANT_ANSWER,  /* the only one, and the status */
};

/* What is wrong with what came, apart from the status. */
enum client_fault {
	CLIENT_FAULT_NONE = 0,
	CLIENT_FAULT_TOO_LARGE, /* a message over the limit */
	CLIENT_FAULT_GARBLED,   /* a compressed message, or none at all */
	CLIENT_FAULT_SECOND,    /* two messages where one was asked for */
	CLIENT_FAULT_HEADERS,   /* too much metadata */
};

enum client_call_state {
	CLIENT_CALL_IDLE = 0,   /* not begun */
	CLIENT_CALL_CONNECTING, /* waits for a connection */
	CLIENT_CALL_QUEUED,     /* waits for a stream of its connection */
	CLIENT_CALL_OPEN,       /* has a stream */
	CLIENT_CALL_ANSWERED,   /* all is here, but not read */
	CLIENT_CALL_ENDED,      /* code and text are set */
};

/* Embed it. */
struct client_call {
	/* The result, valid when a waiter was woken. */
	enum err_code code; /* the status; UNAVAILABLE: no connection */
	char *text;         /* the message of a failure, or NULL */
	bool has_message;   /* reply holds one */
	struct buf reply;   /* a message, serialized */
	bool connected;     /* false: nobody listens at the endpoint */

	/* Metadata to be sent, by metadata_add() before the call begins; and
	 * what the server has sent beside messages. */
	struct metadata headers;
	struct client_head head;

	/* Private to src/rpc. */
	enum client_call_state state;
	struct client *client;
	struct client_conn *conn; /* QUEUED and OPEN */
	struct wake *reader;      /* while it waits */
	struct wake *sender;      /* while it waits */
	const char *path;
	struct buf out;   /* messages with their prefixes */
	size_t out_at;    /* so far nghttp2 has them */
	struct buf inbox; /* DATA that nobody has asked for */
	size_t inbox_at;
	struct grpc_reader input;
	enum client_want want;
	int64_t timeout_ms;
	struct timer deadline;
	struct timer retry; /* of connect() */
	int32_t stream_id;
	bool sent;      /* the header list is on its way */
	bool deferred;  /* nghttp2 waits for more of `out` */
	bool no_more;   /* ... and none will come */
	bool committed; /* `out` has lost its beginning: no second try */
	bool over;      /* the server has ended its half of the stream */
	bool closed;    /* the stream is gone ... */
	bool broken;    /* ... because the server broke a rule of HTTP/2 */
	bool touched;   /* on conn->touched */
	uint32_t reset_code;
	enum client_fault fault; /* what is wrong with the messages */
	unsigned refused;        /* how often, without having been looked at */
	STAILQ_ENTRY(client_call) touch_link;
	TAILQ_ENTRY(client_call) link; /* in conn->waiting or conn->calls */
};

void client_call_init(struct client_call *call, struct client *client);

/*
 * Frees the result. A call that runs is cancelled; nobody may be waiting for
 * it. To be used again, a call goes through client_call_init().
 */
void client_call_fini(struct client_call *call);

/*
 * Calls `path` ("/csi.v1.Node/NodeGetInfo"), which must stay as it is until
 * the call has ended, with a serialized message, which is copied. timeout_ms
 * 0: no deadline. Wakes `waiter` with 0 when the status is OK, and `reply` is
 * the answer; else with the negative errno of `code`.
 */
void client_call_start(struct client_call *call, const char *path,
    const void *body, size_t len, int64_t timeout_ms, struct wake *waiter);

/* ---- calls of many messages ---- */

/* Begins a call; the functions below go on with it. Nobody is woken. */
void client_call_open(
    struct client_call *call, const char *path, int64_t timeout_ms);

/*
 * Sends a message, which is copied; one at a time. Wakes `waiter` with 0 when
 * the server has taken so much that there is room for another one, or with
 * -EPIPE when the call takes no more: reading tells why.
 */
void client_call_send_start(struct client_call *call, const void *bytes,
    size_t len, struct wake *waiter);

/* That was the last message. */
void client_call_send_end(struct client_call *call);

/*
 * Waits for the next message. Wakes `waiter` with 0 when `reply` is it, which
 * holds until the next read (has_message), or when the call has ended with OK
 * (has_message is false); else with the negative errno of `code`.
 */
void client_call_read_start(struct client_call *call, struct wake *waiter);

/*
 * Waits for the only message of a server that does not stream, and for the
 * status; as client_call_start() does.
 */
void client_call_finish_start(struct client_call *call, struct wake *waiter);

/*
 * Takes the call back: it ends with CANCELLED, and who waits is woken so. No
 * effect if it has ended.
 */
void client_call_cancel(struct client_call *call);

#endif
