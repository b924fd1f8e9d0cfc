/*
 * client_head.h - what a server sends beside messages: HTTP status, content
 * type, gRPC status, metadata; and what that means for the call. Pure
 * functions; sources: grpc/grpc doc/PROTOCOL-HTTP2.md, statuscodes.md and
 * http-grpc-status-mapping.md.
 */
#ifndef RPC_CLIENT_HEAD_H
#define RPC_CLIENT_HEAD_H

#include "base/err.h"
#include "rpc/grpc.h"

/*
 * Zeroed, nothing has come. For callers: `details` of a failure, and the
 * metadata before the messages and behind them, where metadata_find() looks.
 */
struct client_head {
	unsigned http_status; /* 0: none yet */
	bool is_grpc;         /* the content-type says so */
	bool answering;       /* the list before the messages is whole */
	bool has_status;      /* grpc-status came ... */
	bool bad_status;      /* ... and is no number that gRPC knows */
	enum err_code code;
	char *text;    /* grpc-message, decoded, or NULL */
	char type[40]; /* a content-type that is not gRPC's, cut */
	void *details; /* grpc-status-details-bin, decoded, or NULL */
	size_t details_len;
	size_t bytes; /* of all fields, counted as HTTP/2 does */
	struct metadata headers, trailers;
};

void client_head_fini(struct client_head *head); /* zeroed afterwards */

/* A field of the list that arrives; false: it is too long by now. */
bool client_head_field(struct client_head *head, const char *name,
    size_t name_len, const char *value, size_t value_len) must_check;

/* The list is whole; ends_stream: nothing follows. */
void client_head_end(struct client_head *head, bool ends_stream);

/* DATA is messages, and not somebody's error page. */
bool client_head_takes_data(const struct client_head *head);

#define CLIENT_TEXT_MAX 160

/*
 * How the call went, once the server has ended the stream. *why is the
 * server's text or one of ours, in text[], or NULL.
 */
enum err_code client_head_verdict(const struct client_head *head,
    char text[CLIENT_TEXT_MAX], const char **why);

/* What it means that a stream was reset; an error code of HTTP/2. */
enum err_code client_head_code_of_reset(uint32_t reset_code);

#endif
