/*
 * h2conn.h - clients' connections, and what they share.
 *
 * The rule that holds it together: nghttp2's callbacks note what has happened
 * to a stream; conn_settle() acts on it afterwards, stream by stream, and is
 * the one place where streams are freed while a connection lives.
 */
#ifndef RPC_H2CONN_H
#define RPC_H2CONN_H

#include "rpc/h2io.h"
#include "rpc/h2stream.h"
#include "rpc/server.h"

struct h2conn {
	struct h2io h2;
	struct h2host *host;
	LIST_HEAD(, h2stream) streams;
	STAILQ_HEAD(, h2stream) touched;
	LIST_ENTRY(h2conn)
	link;
	bool told_to_go; /* GOAWAY, step one */
	bool go_known;   /* the peer has answered the ping behind it */
	bool closing;    /* GOAWAY, step two */
	bool peer_went;  /* its GOAWAY is no valid one, but a good-bye */
	uint32_t fault;  /* error code of a GOAWAY that nghttp2 sent */
};

/* What all connections of a server share. */
struct h2host {
	const struct router *router;
	struct server_limits limits; /* filled in, no zeroes */
	LIST_HEAD(, h2conn) conns;
	size_t conn_count;
	size_t call_count;             /* open calls */
	size_t buffered_bytes;         /* of messages held */
	bool draining;                 /* new connections are told to go, too */
	STAILQ_HEAD(, h2stream) spare; /* streams for reuse */
	size_t spare_count;
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
	void (*conn_ended)(struct h2host *host); /* there is one less */
};

/* `limits` may be NULL or have zeroes: defaults. */
void h2host_init(struct h2host *host, const struct router *router,
    const struct server_limits *limits,
    void (*conn_ended)(struct h2host *host));

/* Ends all connections at once; open calls get CALL_DISCONNECTED. */
void h2host_fini(struct h2host *host);

/* Serves a connected, non-blocking socket, which it takes over. */
void h2conn_start(struct h2host *host, int fd);

/*
 * The orderly end of all connections in two steps: h2host_drain() tells the
 * clients to start nothing new and pings them; whoever answers has its
 * connection closed when its last stream is done. h2host_drain_now() does not
 * wait for the answers any longer.
 */
void h2host_drain(struct h2host *host);
void h2host_drain_now(struct h2host *host);

#endif
