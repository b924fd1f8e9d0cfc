/*
 * h2conn.h - a client's connection.
 *
 * The rule that holds it together: nghttp2's callbacks note what has happened
 * to a stream; conn_settle() acts on it afterwards, stream by stream, and is
 * the one place where streams are freed while a connection lives.
 */
#ifndef RPC_H2CONN_H
#define RPC_H2CONN_H

#include "rpc/h2guard.h"
#include "rpc/h2host.h"
#include "rpc/h2io.h"
#include "rpc/h2stream.h"

struct h2conn {
	struct h2io h2;
	struct h2host *host;
	LIST_HEAD(, h2stream) streams;
	STAILQ_HEAD(, h2stream) touched;
	LIST_ENTRY(h2conn)
	link;
	struct timeout wait;   /* for the handshake, the first call, the next */
	struct timeout stuck;  /* something is not read by the peer ... */
	uint64_t stuck_bytes;  /* ... since so many were sent */
	size_t buffered_bytes; /* its part of host->buffered_bytes */
	size_t call_count;     /* ... and of host->call_count */
	int budget;            /* frames that the peer may still waste */
	int64_t budget_ms;     /* when it was filled up last */
	int32_t opened_id;     /* the highest stream that the peer has opened */
	int32_t reset_id;      /* ... that we have reset */
	uint32_t violation;    /* what h2guard_frame() saw */
	bool called;           /* has made a call */
	bool to_go;            /* the server drains */
	bool told;             /* GOAWAY, step one, and a ping behind it */
	bool go_known;         /* the peer has answered that, or had time to */
	bool closing;          /* GOAWAY, step two */
	bool peer_went;        /* its GOAWAY is no valid one, but a good-bye */
	bool blamed;           /* a fault is counted and logged */
};

/* Serves a connected, non-blocking socket, which it takes over. */
void h2conn_accept(struct h2host *host, int fd);

/*
 * Counts and logs a fault, sends GOAWAY with `error` if the socket takes it,
 * and ends the connection. Not inside nghttp2 or h2io_ops.
 */
void h2conn_end(struct h2conn *conn, enum server_fault fault, uint32_t error);

/* The two steps of an orderly end. */
void h2conn_tell_to_go(struct h2conn *conn);
void h2conn_close(struct h2conn *conn);

/* It waits for a call, and no bytes are on the way. */
bool h2conn_is_idle(const struct h2conn *conn);

/* For streams: the last one has gone. */
void h2conn_has_no_stream(struct h2conn *conn);

/* The ping behind GOAWAY, step one. */
extern const uint8_t h2conn_drain_ping[8];

/* h2callbacks.c */
void h2callbacks_fill(nghttp2_session_callbacks *callbacks);

#endif
