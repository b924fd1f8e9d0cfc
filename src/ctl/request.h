/*
 * request.h - the request of `rbd-csictl call`: JSON from wherever it comes,
 * and secrets.
 */
#ifndef CTL_REQUEST_H
#define CTL_REQUEST_H

#include "base/arena.h"
#include "ctl/method.h"

struct err;

/*
 * A serialized request in the arena: `text` is JSON, "@FILE", "-" for
 * standard input, or NULL for "{}"; the secrets of the file `secrets` (may be
 * NULL) are added where the request has none of that name. NULL with `err`.
 */
const void *ctl_request_read(const struct ctl_method *method, const char *text,
    const char *secrets, struct arena *arena, size_t *len, struct err *err);

#endif
