/*
 * call.h - one RPC as its handler sees it: the whole request, or many
 * messages; a deadline; and exactly one way out. And the tables of
 * handlers.
 *
 * The rule that holds it together: a call ends once, by call_reply(), by
 * call_fail(), by stream_end() or by its `gone` callback, and must not be
 * touched afterwards. `gone` comes only while the call is open and never
 * inside a function that the handler called, so a handler that has ended its
 * call needs no guard.
 */
#ifndef RPC_CALL_H
#define RPC_CALL_H

#include "base/arena.h"
#include "base/err.h"
#include "core/timer.h"

enum call_gone {
	CALL_DEADLINE = 0, /* time is up; may still be answered inside gone() */
	CALL_CANCELLED,    /* the client took it back, or sent nonsense */
	CALL_DISCONNECTED, /* the connection is lost, or the server ends */
};

struct call {
	const char *path;    /* "/csi.v1.Node/NodeStageVolume", as sent */
	const void *request; /* the whole message; gone when the call ends */
	size_t request_len;
	int64_t deadline_ms; /* on clock_now_ms(), margin taken off; 0: none */

	/*
	 * For the handler. `gone` tells that nobody waits any more: forget the
	 * call. On CALL_DEADLINE it may call call_fail() to say what the
	 * operation was busy with; if it does not, or if there is no `gone`,
	 * the client gets a plain DEADLINE_EXCEEDED.
	 */
	void (*gone)(struct call *call, enum call_gone why);
	void *data;

	/*
	 * For handlers of calls with many messages; NULL in all others. None
	 * comes inside a function that the handler called.
	 *
	 * message: what stream_read() asked for. `bytes` is NULL when the
	 * client has sent its last message; valid until the next stream_read().
	 * writable: stream_send() refused a message, and all before is sent.
	 * leaving: the server drains; end what would not end by itself.
	 */
	void (*message)(struct call *call, const void *bytes, size_t len);
	void (*writable)(struct call *call);
	void (*leaving)(struct call *call);
	const char *note; /* key=value pairs for the log line, or NULL */
	bool quiet;       /* asked often and about nothing: success is debug */
	const void *method; /* what `path` is to the handler, or NULL */

	/* Private to src/rpc. */
	struct arena *arena;
	struct timer timer;
	int64_t started_us;
	bool open; /* a handler owes the answer */
};

/*
 * Answers OK with a serialized message, which is copied, or with
 * RESOURCE_EXHAUSTED if it is larger than the server's limit.
 */
void call_reply(struct call *call, const void *bytes, size_t len);

/*
 * Answers with an error. `text` is UTF-8 for people, copied; it is cut where
 * a peer would refuse a header of that length. ERR_OK counts as UNKNOWN.
 */
void call_fail(struct call *call, enum err_code code, const char *text);
void call_fail_err(struct call *call, const struct err *err);

/*
 * The same with a message that programs understand, for instance a serialized
 * google.rpc.ErrorInfo; it is sent in grpc-status-details-bin. Copied; left
 * out if it is larger than peers would take.
 */
struct call_details {
	const char *type; /* "google.rpc.ErrorInfo" */
	const void *bytes;
	size_t len;
};
void call_fail_details(struct call *call, const struct err *err,
    const struct call_details *details);

/*
 * Custom metadata (grpc.h). call_header: the value of a header as sent, those
 * of several of that name joined by ','; NULL: there is none. It lives until
 * the call ends. call_header_bytes: the decoded value of a "-bin" name, the
 * first if there are several; how many bytes, -ENOENT, or -EINVAL for what is
 * no base64 or more than `max`.
 */
const char *call_header(struct call *call, const char *name);
long call_header_bytes(
    struct call *call, const char *name, void *out, size_t max);

/*
 * Send metadata before the first message, and behind the last. 0, -EINVAL or
 * -EMSGSIZE as metadata_add(), -EALREADY: a message has been sent.
 */
int call_add_header(
    struct call *call, const char *name, const void *bytes, size_t len);
int call_add_trailer(
    struct call *call, const char *name, const void *bytes, size_t len);

/* Memory that lives until the call ends; made on first use. */
struct arena *call_arena(struct call *call);

/* Gives a call that came without a deadline one, `ms` after its arrival. */
void call_default_timeout(struct call *call, int64_t ms);

/* ---- many messages, in one direction or both ---- */

/*
 * Nobody is faster than the other end. A message comes only after
 * stream_read() has asked for it, and until then the client's window stays
 * shut; stream_send() queues a little, then refuses until the client has taken
 * it.
 *
 * The table of methods says whether a client streams (rpc_method); a server
 * may send many messages on any call. call_reply() sends the last message and
 * OK, stream_end() OK alone, call_fail() an error behind what was sent.
 */

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

/* ---- from a path to its handler ---- */

/* Ends the call, at once or later. */
typedef void call_handler(struct call *call);

struct rpc_method {
	const char *name; /* "NodeStageVolume" */
	call_handler *start;
	/*
	 * The client sends any number of messages: the handler is called as
	 * soon as the headers are there, and reads them by stream_read(). If
	 * false, it is called with the one message in call->request.
	 */
	bool client_streams;
	bool server_streams; /* may go on for ever; only told */
};

struct rpc_service {
	const char *name; /* "csi.v1.Node" */
	const struct rpc_method *methods;
	size_t method_count;
};

struct router {
	const struct rpc_service *const *services;
	size_t service_count;
	/*
	 * Gets each well-formed "/service/method" whose service is not in the
	 * table, like any method; without `start`: UNIMPLEMENTED.
	 */
	struct rpc_method fallback;
	/*
	 * Told of each call that ends, also of those that reached no handler,
	 * with the path as sent, what its handler has made of that, and
	 * microseconds since it began. May be NULL.
	 */
	void (*ended)(const char *path, const void *method, enum err_code code,
	    int64_t us);
};

/*
 * The method for a path, or NULL: then `err` says UNIMPLEMENTED and why. A
 * path that does not begin with '/' matches nothing (CVE-2026-33186).
 */
const struct rpc_method *router_find(
    const struct router *router, const char *path, struct err *err);

#endif
