/*
 * peer.h - the other end for tests of the server: a real nghttp2 client,
 * written without src/rpc/client, which can also misbehave. It lives in the
 * test's process and on its loop: peer_run() moves bytes and turns the loop
 * until nothing moves any more.
 */
#ifndef TESTS_RPC_PEER_H
#define TESTS_RPC_PEER_H

#include "base/buf.h"
#include "rpc/server.h"
#include "tests/rpc/wire.h"

#include <sys/queue.h>

/* One request and what came back. */
struct exchange {
	int32_t id;
	struct buf body; /* sent: DATA payload, prefixes included */
	size_t body_at;
	size_t piece;   /* largest DATA frame; 0: no matter */
	bool stay_open; /* END_STREAM is not sent */
	char status[8]; /* :status, "" if there was none */
	char content_type[64];
	char accept_encoding[64];
	int code;         /* grpc-status, -1: none came */
	char text[4096];  /* grpc-message as sent */
	struct buf reply; /* DATA payload received */
	bool closed;
	uint32_t reset; /* the error code it was closed with */
	LIST_ENTRY(exchange) link;
};

struct h2peer {
	nghttp2_session *session;
	struct wire wire;
	int goaway_count;
	int32_t goaway_last_id; /* of the newest GOAWAY */
	uint32_t goaway_code;
	uint32_t max_streams; /* what the server's SETTINGS say */
	LIST_HEAD(, exchange) exchanges;
};

struct field {
	const char *name, *value;
};

#define FIELDS_MAX 16

/* A socketpair, one end given to the server. */
void peer_open(struct h2peer *peer, struct server *server);
/* A connection to a listening socket; errno's negative on failure. */
int peer_connect(struct h2peer *peer, const char *path);
void peer_close(struct h2peer *peer); /* frees the exchanges, too */

/* Sends a request with these fields; `body` is the DATA payload as it is. */
struct exchange *peer_send(struct h2peer *peer, const struct field *fields,
    size_t count, const void *body, size_t len);

/* A well-formed unary call; `timeout` is the field's value or NULL. */
struct exchange *peer_call(struct h2peer *peer, const char *path,
    const void *message, size_t len, const char *timeout);

/* More of the body of an exchange that has stay_open; and its end. */
void peer_more(
    struct h2peer *peer, struct exchange *x, const void *body, size_t len);
void peer_finish(struct h2peer *peer, struct exchange *x);

void peer_cancel(struct h2peer *peer, struct exchange *x);

/* Lets the server send as much as it likes, whatever we read. */
void peer_open_windows(struct h2peer *peer);

/* A few turns in which we send but do not read. */
void peer_run_deaf(struct h2peer *peer);

/* Until nothing moves any more. */
void peer_run(struct h2peer *peer);

/*
 * Drains a server, one at a time: *drained turns true when its last connection
 * has ended.
 */
void drain_server(struct server *server, bool *drained);

/* The reply's one message: its length, or -1 if there is not exactly one. */
long exchange_message(const struct exchange *x, const unsigned char **bytes);

#endif
