/*
 * probe.h - what is on a block device. Owner of libblkid.
 *
 * The rule that holds it together: what is recognised here decides what to
 * mount. That nothing is recognised is no proof that nothing is there; whether
 * to format is asked elsewhere (node.h, node_format), and everything doubtful
 * is an error even before that.
 */
#ifndef NODE_PROBE_H
#define NODE_PROBE_H

#include "base/err.h"
#include "base/str.h"

#define PROBE_FSTYPE_MAX 32

struct probe {
	char fstype[PROBE_FSTYPE_MAX]; /* "" : none that is known */
	bool partitioned;              /* a partition table */
	bool unfinished; /* mkfs was interrupted: nothing in it yet */
	bool errors;     /* the superblock says that fsck is needed */
	bool young;      /* a file system that perhaps nobody has mounted yet */
};

/* Reads the device; may block. Runs in an offload child. */
int probe_device(
    const char *path, struct probe *probe, struct err *err) must_check;

/*
 * The flags of a superblock in the first bytes of a device, for tests and
 * probe_device(): sets `errors`, `unfinished` and `young` for probe->fstype.
 * `young` is true until the first mount for writing.
 */
void probe_superblock(
    const unsigned char *head, size_t len, struct probe *probe);

#define PROBE_HEAD_BYTES (68 << 10) /* what probe_superblock() looks at */

#endif
