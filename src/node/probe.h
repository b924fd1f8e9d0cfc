/*
 * probe.h - what is on a block device. Owner of libblkid.
 *
 * The rule that holds it together: only a device that could be read and on
 * which nothing at all was recognised counts as unformatted; everything
 * doubtful is an error, since the next step would be mkfs.
 */
#ifndef NODE_PROBE_H
#define NODE_PROBE_H

#include "base/err.h"
#include "base/str.h"

#define PROBE_FSTYPE_MAX 32

struct probe {
	char fstype[PROBE_FSTYPE_MAX]; /* "" : no file system */
	bool partitioned;              /* a partition table */
	bool unfinished; /* mkfs was interrupted: nothing in it yet */
	bool errors;     /* the superblock says that fsck is needed */
};

/* Reads the device; may block. Runs in an offload child. */
int probe_device(
    const char *path, struct probe *probe, struct err *err) must_check;

/*
 * The flags of a superblock in the first bytes of a device, for tests and
 * probe_device(): sets `errors` and `unfinished` for probe->fstype.
 */
void probe_superblock(
    const unsigned char *head, size_t len, struct probe *probe);

#define PROBE_HEAD_BYTES 4096 /* what probe_superblock() looks at */

#endif
