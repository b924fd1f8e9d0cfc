/*
 * counters.h - what a server has seen, for metrics; and the names of what
 * peers do wrong, for metrics and the log.
 */
#ifndef RPC_COUNTERS_H
#define RPC_COUNTERS_H

#include <stdint.h>

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

/* All of them only grow. */
struct server_counters {
	uint64_t connections_accepted;
	uint64_t calls_started;   /* reached a handler */
	uint64_t calls_ended;     /* of those */
	uint64_t streams_refused; /* REFUSED_STREAM: one too many */
	uint64_t bytes_in, bytes_out;
	uint64_t faults[SERVER_FAULT_COUNT];
	uint64_t refusals[SERVER_REFUSED_COUNT];
};

/* "flood" and so on. */
const char *server_fault_name(enum server_fault fault);
const char *server_refusal_name(enum server_refusal refusal);

#endif
