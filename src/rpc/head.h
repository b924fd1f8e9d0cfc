/*
 * head.h - a request's header list: HTTP/2's rules, checked by ourselves, and
 * the few fields that gRPC reads.
 *
 * nghttp2's own checks are off, because they refuse what clients in the field
 * send as :authority: a socket path, "unix:/path", nothing, or no :authority
 * at all. Here :authority may be anything; all else follows RFC 9113 8.2, 8.3.
 */
#ifndef RPC_HEAD_H
#define RPC_HEAD_H

#include "base/err.h"
#include "base/str.h"

#define HEAD_PATH_MAX 128 /* with the NUL; no method's path is longer */

/* How a request must be refused. */
enum head_fault {
	HEAD_FINE = 0,
	HEAD_MALFORMED, /* RST_STREAM PROTOCOL_ERROR */
	HEAD_REFUSED,   /* answered: http_status, code, text */
};

struct head {
	char path[HEAD_PATH_MAX];
	int64_t timeout_ms;     /* -1: no grpc-timeout */
	int64_t content_length; /* -1: none */
	size_t list_bytes;      /* as SETTINGS_MAX_HEADER_LIST_SIZE counts */
	unsigned seen;          /* one bit for each field that is told apart */
	bool regular;           /* a regular field has come: no more pseudo */
	enum head_fault fault;  /* the first one found */
	int http_status;
	enum err_code code;
	const char *text; /* constant */
};

void head_init(struct head *head);

/*
 * One field, in the order of arrival; `max` bounds the whole list. True: it is
 * none that is told apart here, and nothing is wrong with it.
 */
bool head_field(struct head *head, const char *name, size_t name_len,
    const char *value, size_t value_len, size_t max);

/* The list is complete: is anything missing? */
void head_end(struct head *head);

/* A field of the trailers that a client may send after the body. */
void head_trailer_field(struct head *head, const char *name, size_t name_len,
    const char *value, size_t value_len, size_t max);

/*
 * Note a fault, also one that is found elsewhere. `text` is a constant. The
 * first one stays, but malformed beats refused.
 */
void head_malformed(struct head *head, const char *text);
void head_refuse(
    struct head *head, int http_status, enum err_code code, const char *text);

#endif
