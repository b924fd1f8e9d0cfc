/*
 * h2host.h - what all connections of a server share: the limits, what is
 * counted against them, and who waits for what.
 */
#ifndef RPC_H2HOST_H
#define RPC_H2HOST_H

#include "core/loop.h"
#include "core/timeouts.h"
#include "rpc/server.h"

#include <nghttp2/nghttp2.h>

struct h2conn;
struct h2stream;

struct h2host {
	const struct router *router;
	struct server_limits limits; /* filled in */
	struct server_counters counters;
	LIST_HEAD(, h2conn) conns; /* the youngest first */
	size_t conn_count;
	size_t stream_count;
	size_t call_count;     /* open calls */
	size_t buffered_bytes; /* of messages held */
	size_t buffered_peak;  /* the most that were; for server.c */
	bool draining;         /* new connections are told to go, too */

	/* Connections that wait for their peer. */
	struct timeouts handshake;  /* for its preface and SETTINGS */
	struct timeouts first_call; /* for its first call */
	struct timeouts idle;       /* for its next call */
	struct timeouts stuck;      /* for it to read from the socket */
	/* Streams that do. */
	struct timeouts arriving; /* for the rest of a request */
	struct timeouts unread;   /* for it to take the answer */

	struct job relief; /* of who holds most bytes */
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
	void (*conn_left)(struct h2host *host); /* one ended, or became idle */
};

/* `limits` may be NULL or have zeroes: defaults. */
void h2host_init(struct h2host *host, const struct router *router,
    const struct server_limits *limits, void (*conn_left)(struct h2host *host));

/* Ends all connections at once; open calls get CALL_DISCONNECTED. */
void h2host_fini(struct h2host *host);

/*
 * The connection to end when a new one needs room: the oldest that never made
 * a call though it had time to; else the youngest that has nothing to do,
 * since the old ones are sidecars, which end themselves when their connection
 * is lost. NULL: none.
 */
struct h2conn *h2host_least_needed(const struct h2host *host);

/*
 * May a connection hold more bytes? If too many are held in all, the one that
 * holds most may not, and is ended soon if somebody else needs room.
 */
bool h2host_has_room(struct h2host *host, const struct h2conn *conn);

/*
 * The orderly end of all connections in two steps: h2host_drain() tells the
 * clients to start nothing new and pings them; whoever answers has its
 * connection closed when its last stream is done. h2host_drain_now() does not
 * wait for the answers any longer, and h2host_turn_away() not for requests
 * that are still not whole: REFUSED_STREAM.
 */
void h2host_drain(struct h2host *host);
void h2host_drain_now(struct h2host *host);
void h2host_turn_away(struct h2host *host);

#endif
