/*
 * stream.h - calls with many messages in one direction or both, on top of
 * call.h.
 *
 * The rule that holds it together: nobody is faster than the other end. A
 * message comes only after stream_read() has asked for it, and until then
 * the client's window stays shut; stream_send() queues a little, then refuses
 * until the client has taken it.
 *
 * The table of methods says whether a client streams (rpc_method); a server
 * may send many messages on any call. A call ends as in call.h: call_reply()
 * sends the last message and OK, stream_end() OK alone, call_fail() an error
 * behind what was sent.
 */
#ifndef RPC_STREAM_H
#define RPC_STREAM_H

#include "rpc/call.h"

/*
 * Asks for the next message, which comes by call->message() and never inside
 * this function. Gives the one before back. Nothing comes when the call ends.
 */
void stream_read(struct call *call);

/*
 * Sends one message of several; copies it. -EAGAIN: nothing is taken, since
 * the client does not read what is queued for it; call->writable(), which
 * must be set, tells when to try again. -EMSGSIZE: larger than the server's
 * limit; -ENOMEM: there is no memory for it, or the server holds too much for
 * this client already, which is no reason to wait: the call is to be failed.
 */
int stream_send(struct call *call, const void *bytes, size_t len) must_check;

/* Ends the call with OK and without another message. */
void stream_end(struct call *call);

#endif
