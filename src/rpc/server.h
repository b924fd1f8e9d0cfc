/*
 * server.h - a gRPC server: a listening socket, its connections, their limits,
 * and an orderly end.
 *
 * The rule that holds it together: everything a peer can make us keep is
 * counted here against a limit, and everything we wait for has a time.
 */
#ifndef RPC_SERVER_H
#define RPC_SERVER_H

#include "core/unix_socket.h"
#include "core/wake.h"
#include "rpc/call.h"

#include <stdint.h>
#include <sys/types.h>

/* Zero means the default. docs/GRPC.md tells what happens beyond each. */
struct server_limits {
	unsigned connections;  /* 512 */
	unsigned streams;      /* 256 open at once on one connection */
	unsigned calls;        /* 4096 at once; a connection's first gets in */
	size_t request_bytes;  /* 4 MiB, one message */
	size_t reply_bytes;    /* 16 MiB, one message */
	size_t header_bytes;   /* 16 KiB, as HTTP/2 counts a header list */
	size_t buffered_bytes; /* 64 MiB of requests and answers held in all */

	int64_t handshake_ms;  /* 10 s: preface and SETTINGS */
	int64_t first_call_ms; /* 5 min: a connection without any call */
	int64_t idle_ms;       /* 0, for ever: one that has made calls */
	int64_t request_ms;    /* 30 s: the one message of a unary call */
	int64_t write_ms;      /* 60 s: the client takes its answer */
};

/* Why a connection was ended. */
enum server_fault {
	SERVER_FAULT_PROTOCOL = 0, /* HTTP/2 was broken */
	SERVER_FAULT_FLOOD,        /* too many frames that carry no work */
	SERVER_FAULT_HANDSHAKE,    /* no preface and SETTINGS in time */
	SERVER_FAULT_FIRST_CALL,   /* never made a call */
	SERVER_FAULT_IDLE,         /* made none for too long */
	SERVER_FAULT_STALLED,      /* stopped inside a header list */
	SERVER_FAULT_SLOW_READER,  /* does not take its answers */
	SERVER_FAULT_EVICTED,      /* had nothing to do, others needed room */
	SERVER_FAULT_MEMORY,       /* there was no memory for it */
	SERVER_FAULT_COUNT,
};

/* Why a request was refused before it reached a handler. */
enum server_refusal {
	SERVER_REFUSED_MALFORMED = 0, /* HTTP/2's rules for requests broken */
	SERVER_REFUSED_HEADERS,       /* header list too large */
	SERVER_REFUSED_CALLS,         /* too many calls run */
	SERVER_REFUSED_MEMORY,        /* too many bytes are held */
	SERVER_REFUSED_SLOW,          /* not whole in time */
	SERVER_REFUSED_OTHER,         /* no such method, wrong message, ... */
	SERVER_REFUSED_COUNT,
};

/* "flood" and so on, for metrics and the log. */
extern const char *const server_fault_name[SERVER_FAULT_COUNT];
extern const char *const server_refusal_name[SERVER_REFUSED_COUNT];

struct server_counters {
	/* Now: */
	size_t connections;    /* open ones */
	size_t calls;          /* open ones */
	size_t buffered_bytes; /* held */

	/* All of these only grow. */
	uint64_t connections_accepted;
	uint64_t calls_started;   /* reached a handler */
	uint64_t calls_ended;     /* of those */
	uint64_t streams_refused; /* REFUSED_STREAM: one too many */
	uint64_t bytes_in, bytes_out;
	uint64_t faults[SERVER_FAULT_COUNT];
	uint64_t refusals[SERVER_REFUSED_COUNT];
};

struct server;

/* `router` must live as long as the server; `limits` may be NULL. */
struct server *server_new(
    const struct router *router, const struct server_limits *limits);

/*
 * Listens on a unix socket: "unix:///run/csi.sock", "unix:/run/csi.sock" or a
 * plain path, with UNIX_SOCKET_FILE(0600) for example. A stale socket file is
 * replaced, a live one is refused. Errors:
 * ERR_INVALID_ARGUMENT (not a unix socket path), ERR_ALREADY_EXISTS (somebody
 * serves it, or a file that is no socket is in the way), or the errno's.
 */
int server_listen(struct server *server, const char *endpoint,
    const struct unix_socket_file *file, struct err *err);

/* Serves a connected, non-blocking stream socket, which the server closes. */
void server_serve(struct server *server, int fd);

/*
 * Takes no new connection, tells the clients to go (GOAWAY in two steps, so
 * that no call under way is lost), and wakes `waiter` with 0 when the last
 * connection has ended.
 */
void server_drain_start(struct server *server, struct wake *waiter);

/* Ends all connections at once; open calls get CALL_DISCONNECTED. */
void server_free(struct server *server);

/* As they are, with the defaults. */
const struct server_limits *server_limits(const struct server *server);

/* Valid until the next call of this function, and as of now. */
const struct server_counters *server_counters(struct server *server);

#endif
