/*
 * h2guard.h - how a peer behaves: what wastes our time, what no client may
 * do, and who is to blame when a connection has to end.
 */
#ifndef RPC_H2GUARD_H
#define RPC_H2GUARD_H

#include "rpc/counters.h"

#include <nghttp2/nghttp2.h>
#include <stdbool.h>

struct h2conn;

/* The budget of a new connection. */
void h2guard_arm(struct h2conn *conn);

/* The peer has wasted our time to the worth of `frames`. */
void h2guard_spend(struct h2conn *conn, int frames);
/* What a request costs that has to be refused or reset, in frames. */
#define H2GUARD_MISTAKE 10

/* A frame of an answer is sent: honest work. */
void h2guard_earn(struct h2conn *conn);

/* It has wasted more than it may: the connection has to end. */
bool h2guard_is_broke(struct h2conn *conn);

/* A frame begins; 0, or an error of nghttp2: no more of it. */
int h2guard_frame(struct h2conn *conn, const nghttp2_frame_hd *hd);

/* Blames the peer for that error, or for one of nghttp2's own; GOAWAY. */
void h2guard_refused(struct h2conn *conn, int error);

/*
 * Counts and logs why a connection has to end, and who is at its other end;
 * the first reason only.
 */
void h2guard_blame(
    struct h2conn *conn, enum server_fault fault, uint32_t error);

#endif
