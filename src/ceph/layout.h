/*
 * layout.h - how an image's bytes lie on objects, and which parameters an
 * image may have. Pure.
 */
#ifndef CEPH_LAYOUT_H
#define CEPH_LAYOUT_H

#include "base/err.h"
#include "base/str.h"

#define LAYOUT_ORDER_MIN 12     /* 4 KiB objects */
#define LAYOUT_ORDER_MAX 25     /* 32 MiB objects */
#define LAYOUT_ORDER_DEFAULT 22 /* 4 MiB objects */

struct layout {
	uint8_t order;         /* object size is 1 << order */
	uint64_t stripe_unit;  /* bytes; object size when not striped */
	uint64_t stripe_count; /* objects a stripe goes over; 1: not striped */
};

/*
 * Checks what a creator asks for and fills in defaults as librbd does: order
 * 0 is the default one; unit and count 0 (both) are not striped. Gives the
 * features to store: STRIPINGV2 is added exactly when the striping is not the
 * default one, and fast-diff comes with object-map. INVALID_ARGUMENT names
 * what is wrong; fast-diff alone, which librbd drops without a word, is.
 */
int layout_check(struct layout *layout, uint64_t size_bytes, uint64_t *features,
    struct err *err) must_check;

/*
 * The same for an image that exists: nothing is filled in. DATA_LOSS names
 * what cannot be.
 */
int layout_check_stored(const struct layout *layout, uint64_t size_bytes,
    uint64_t features, struct err *err) must_check;

bool layout_is_striped(const struct layout *layout);

/* Number of objects that an image of this size can have. */
uint64_t layout_objects(const struct layout *layout, uint64_t size_bytes);

#endif
