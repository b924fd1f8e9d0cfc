/*
 * features.h - the features that an RBD image may have: their bits, which are
 * on disk and on the wire, and their names, which people write.
 */
#ifndef BASE_FEATURES_H
#define BASE_FEATURES_H

#include "base/str.h"

/* Ceph: src/include/rbd/features.h. */
#define RBD_LAYERING (1ull << 0)
#define RBD_STRIPINGV2 (1ull << 1)
#define RBD_EXCLUSIVE_LOCK (1ull << 2)
#define RBD_OBJECT_MAP (1ull << 3)
#define RBD_FAST_DIFF (1ull << 4)
#define RBD_DEEP_FLATTEN (1ull << 5)
#define RBD_JOURNALING (1ull << 6)
#define RBD_DATA_POOL (1ull << 7)
#define RBD_OPERATIONS (1ull << 8) /* kept by the OSD's class itself */
#define RBD_MIGRATING (1ull << 9)
#define RBD_NON_PRIMARY (1ull << 10)

/* What a feature is good for; a set of them. */
#define FEATURE_ASKED                                                          \
	1u                /* a creator may ask for it; others follow from
			     other parameters, or are set by Ceph */
#define FEATURE_NATIVE 2u /* we handle images with it, without librbd */
#define FEATURE_KRBD                                                           \
	4u /* the kernel maps images with it (its
			     drivers/block/rbd.c: RBD_FEATURES_ALL) */

/* All features that are good for each of `uses`. */
uint64_t features_for(unsigned uses);

/* What we can make an image with; librbd's default is the same. */
#define features_created() features_for(FEATURE_ASKED | FEATURE_NATIVE)

/*
 * Adds the bit of a feature by its name, which need not end with a NUL, to
 * *bits if it is good for all of `uses`. 0, -EINVAL if it is not, or -ENOENT:
 * no such name.
 */
int features_add(
    const char *name, size_t len, unsigned uses, uint64_t *bits) must_check;

/*
 * The name of the first feature of `bits` that needs others which they lack,
 * and these in *missing; NULL: there is none.
 */
const char *features_unmet(uint64_t bits, uint64_t *missing);

/*
 * Reads Ceph's option rbd_default_features: a number, or names with commas or
 * blanks between them. What a creator cannot ask for is left out. False: a
 * name that is unknown, or nothing is left.
 */
bool features_parse(const char *text, uint64_t *bits);

/* Names with commas, in the order of the bits; those without are left out. */
void features_fmt(uint64_t bits, char *out, size_t size);

#endif
