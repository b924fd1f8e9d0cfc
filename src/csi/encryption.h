/*
 * encryption.h - how a volume is encrypted, as its volume_context has it from
 * the StorageClass, or from a hand-written PersistentVolume.
 */
#ifndef CSI_ENCRYPTION_H
#define CSI_ENCRYPTION_H

#include "csi/params.h"

struct csi_encryption {
	bool luks; /* false: not at all */
	const char *kms_id;
	/* for a device that is to be encrypted; NULL, 0: LUKS's own choice */
	const char *cipher, *integrity;
	uint64_t key_bits, sector_bytes;
};

/*
 * INVALID_ARGUMENT: a value that is not possible. UNIMPLEMENTED: encrypted
 * files (fscrypt), which this driver can neither create nor stage.
 */
int csi_encryption_get(const struct csi_map *context,
    struct csi_encryption *out, struct err *err) must_check;

#endif
