/*
 * error_info.h - google.rpc.ErrorInfo, by which programs tell one failure from
 * another without reading texts. Source: googleapis, google/rpc/error_details.
 */
#ifndef DAEMON_ERROR_INFO_H
#define DAEMON_ERROR_INFO_H

#include "base/buf.h"

#define ERROR_INFO_TYPE "google.rpc.ErrorInfo"

struct error_info_field {
	const char *name;
	const char *value;
};

/*
 * Appends the message: `reason` is UPPER_SNAKE_CASE and unique in `domain`.
 * 0, or -EMSGSIZE when `out` has no room for it.
 */
int error_info_put(struct buf *out, const char *reason, const char *domain,
    const struct error_info_field *metadata, size_t count) must_check;

#endif
