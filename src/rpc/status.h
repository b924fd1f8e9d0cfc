/*
 * status.h - the header lists that answer a call.
 */
#ifndef RPC_STATUS_H
#define RPC_STATUS_H

#include "base/err.h"
#include "rpc/metadata.h"

#include <nghttp2/nghttp2.h>

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

/* Room for all of the lists below. */
#define STATUS_NV_MAX (8 + 2 * METADATA_FIELDS_MAX)

/*
 * Fill nv[STATUS_NV_MAX] and return how many; for nghttp2, which copies.
 * Metadata may be empty.
 */
size_t status_headers(const struct metadata *headers, nghttp2_nv *nv);
size_t status_trailers(const struct status *status,
    const struct metadata *trailers, nghttp2_nv *nv);
size_t status_trailers_only(const struct status *status, int http_status,
    const struct metadata *headers, const struct metadata *trailers,
    nghttp2_nv *nv);

#endif
