/*
 * status.h - the header lists that answer a call.
 */
#ifndef RPC_STATUS_H
#define RPC_STATUS_H

#include "base/err.h"
#include "base/str.h"

#include <nghttp2/nghttp2.h>

/*
 * A text longer than this is cut: percent-encoded it grows to three times the
 * size, and peers take 8 KiB of headers.
 */
#define STATUS_TEXT_MAX 2000

/* What a call ended with, kept until its trailers are sent. */
struct status {
	enum err_code code;
	char *message; /* percent-encoded, or NULL; owned */
};

/* `text` may be NULL. It is cut between characters of UTF-8, not inside. */
void status_set(struct status *status, enum err_code code, const char *text);
void status_fini(struct status *status);

#define STATUS_NV_MAX 5

/* Fill nv[STATUS_NV_MAX] and return how many; for nghttp2, which copies. */
size_t status_headers(nghttp2_nv *nv);
size_t status_trailers(const struct status *status, nghttp2_nv *nv);
size_t status_trailers_only(
    const struct status *status, int http_status, nghttp2_nv *nv);

#endif
