/*
 * canonical.h - what makes two calls the same call: all fields of a request
 * apart from its secrets, in one fixed order. Retries join a running
 * operation by these bytes.
 */
#ifndef CSI_CANONICAL_H
#define CSI_CANONICAL_H

#include "base/buf.h"
#include "csi/definitions.h"

/*
 * Appends the canonical bytes of an unpacked request of `def` to `out`.
 * The order of map entries does not matter; of equal keys the last one counts.
 * Returns 0 or -EMSGSIZE when `out` is full.
 */
int csi_canonical(const struct csi_definition *def, const void *request,
    struct buf *out) must_check;

#endif
