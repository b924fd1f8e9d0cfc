/*
 * client_impl.h - what client_conn.c and client_call.c share: connections,
 * which one a call goes to, how many streams the server allows, and what
 * happens when the server leaves.
 *
 * The rule that holds it together: nghttp2's callbacks only tell the calls
 * what came (client_call_on_x) and put them on `touched`; the connection's
 * settle() then lets each of them act.
 */
#ifndef RPC_CLIENT_IMPL_H
#define RPC_CLIENT_IMPL_H

#include "rpc/client.h"
#include "rpc/h2io.h"

#include <sys/un.h>

struct client {
	struct sockaddr_un address;
	int endpoint_rc;         /* of parsing the address ... */
	struct err endpoint_err; /* ... told by each call */
	bool connect_per_call;
	size_t reply_bytes; /* the largest message that new calls take */
	struct client_conn *shared; /* where new calls go, or NULL */
	LIST_HEAD(, client_conn) conns;
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
};

TAILQ_HEAD(client_call_list, client_call);

struct client_conn {
	struct h2io h2;
	struct client *client;
	bool greeted;     /* the server has sent its SETTINGS */
	bool going;       /* a GOAWAY has come just now */
	bool retired;     /* takes no new calls, ends with its last one */
	uint32_t goaway;  /* the error code of the server's last GOAWAY */
	uint32_t fault;   /* ... and of ours */
	unsigned streams; /* open ones */
	struct client_call_list calls;   /* have a stream */
	struct client_call_list waiting; /* for one */
	STAILQ_HEAD(, client_call) touched;
	LIST_ENTRY(client_conn) link;
};

/* A connection for a new call, or a negative errno; -EAGAIN: try later. */
int client_conn_get(
    struct client *client, struct client_conn **conn) must_check;

/* Gives the call a stream of the connection, or a place in its queue. */
void client_conn_join(struct client_conn *conn, struct client_call *call);

/* Takes the call off; if its stream is open, resets it with that code. */
void client_conn_leave(struct client_call *call, uint32_t reset_code);

/* The call has something to act on. */
void client_conn_touch(struct client_call *call);

/* `out` has more, or no_more was set. */
void client_conn_resume(struct client_call *call);

/* So many bytes of DATA are read: the stream's window may open again. */
void client_conn_consume(struct client_call *call, size_t len);

/* ---- calls, for nghttp2's callbacks: they note what came ---- */

void client_call_on_data(
    struct client_call *call, const uint8_t *bytes, size_t len);

/* Gives the next bytes to send: how many, or NGHTTP2_ERR_DEFERRED. */
ssize_t client_call_on_read(
    struct client_call *call, uint8_t *out, size_t room, uint32_t *flags);

/* ---- calls, outside of nghttp2 ---- */

/* Acts on what came; may end the call. */
void client_call_settle(struct client_call *call);

/*
 * The connection is lost, or takes no more calls: if it never got a stream, it
 * goes elsewhere.
 */
void client_call_lost(
    struct client_call *call, enum err_code code, const char *text);

#endif
