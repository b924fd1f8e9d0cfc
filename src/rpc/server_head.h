/*
 * server_head.h - header lists of the server: a request's is judged, an
 * answer's is made.
 *
 * nghttp2's own checks are off, because they refuse what clients in the field
 * send as :authority: a socket path, "unix:/path", nothing, or no :authority
 * at all. Here :authority may be anything; all else follows RFC 9113 8.2, 8.3.
 */
#ifndef RPC_SERVER_HEAD_H
#define RPC_SERVER_HEAD_H

#include "base/err.h"
#include "rpc/grpc.h"

/* ---- of a request ---- */

#define HEAD_PATH_MAX 128 /* with the NUL; no method's path is longer */

/* How a request must be refused. */
enum head_fault {
	HEAD_FINE = 0,
	HEAD_MALFORMED, /* RST_STREAM PROTOCOL_ERROR */
	HEAD_REFUSED,   /* answered: http_status, code, text */
};

/* HTTP/2's rules for requests, and the few fields that gRPC reads. */
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

/* ---- of an answer ---- */

/*
 * A text longer than this is cut: percent-encoded it grows to three times the
 * size, and peers take 8 KiB of headers.
 */
#define STATUS_TEXT_MAX 2000

/* Details longer than this are left out, for the same reason. */
#define STATUS_DETAILS_MAX 3000

/*
 * What a call ended with, kept until its trailers are sent. Zeroed: OK. Where
 * there is no memory for text or details, they are left out.
 */
struct status {
	enum err_code code;
	char *message; /* percent-encoded, or NULL; owned */
	char *details; /* grpc-status-details-bin, or NULL; owned */
};

/* `text` may be NULL. It is cut between characters of UTF-8, not inside. */
void status_set(struct status *status, enum err_code code, const char *text);

/*
 * Adds a google.rpc.Status with the same code and text, and with one detail:
 * a message of `type`, such as "google.rpc.ErrorInfo", serialized.
 */
void status_set_details(struct status *status, const char *text,
    const char *type, const void *bytes, size_t len);

void status_fini(struct status *status);

/* Room for both lists below, one behind the other. */
#define STATUS_NV_MAX (8 + 2 * METADATA_FIELDS_MAX)

/*
 * Fill nv[] and return how many; for nghttp2, which copies. Metadata may be
 * empty. An answer without messages has both in one list.
 */
size_t status_headers(
    int http_status, const struct metadata *headers, nghttp2_nv *nv);
size_t status_trailers(const struct status *status,
    const struct metadata *trailers, nghttp2_nv *nv);

#endif
