/*
 * crypt.h - the dm-crypt mappings of encrypted volumes, ceph-csi's and ours:
 * telling and closing them, which takes no key; luks.h opens them.
 *
 * The rule that holds it together: a mapping is a volume's by its name,
 * luks-rbd-<volume ID>, and by the device that it lies on. Blocking, for
 * offload children only.
 */
#ifndef NODE_CRYPT_H
#define NODE_CRYPT_H

#include "base/err.h"
#include "base/str.h"

#include <sys/types.h>

#define CRYPT_PREFIX "luks-rbd-"

/*
 * Whether `devno` is a dm-crypt mapping (or a dm-integrity one, which may lie
 * below it) upon one other device: true and *below, the device at the bottom.
 */
bool crypt_below(dev_t devno, dev_t *below);

/* While all of a device with dm-integrity is written for the first time. */
#define CRYPT_WIPE "_wipe"

/*
 * The mapping of this volume, 0: there is none. `suffix`: "", or CRYPT_WIPE.
 */
dev_t crypt_find(const char *volume_id, const char *suffix);

/* Is this block device, "dm-0", a mapping of this volume? */
bool crypt_is_of(const char *disk, const char *volume_id);

/*
 * Closes the mapping of this volume with this suffix, and dm-integrity's below
 * it. None there is success; -EBUSY when it stays in use for some seconds.
 */
int crypt_close(
    const char *volume_id, const char *suffix, struct err *err) must_check;

#endif
