/*
 * encryption.c - the parameters of encryption, read once more where they are
 * used: a hand-written PersistentVolume was never checked.
 */
#include "csi/encryption.h"

#include "csi/volume_id.h"

/* The value of a key, or what counts without one; NULL: nothing does. */
static int
encryption_value(const struct csi_map *context, const char *key,
    const char **value, struct err *err)
{
	const struct csi_param *param = csi_params;
	union {
		const char *text;
		uint64_t number;
	} unused;

	while (!str_eq(param->key, key))
		param++;
	*value = csi_map_get(context, key);
	if (str_is_empty(*value)) {
		*value = param->standard;
		return 0;
	}
	return param->read(param, *value, &unused, NULL) < 0
	    ? csi_invalid(err,
		  "volume_context.%s: \"%.40s\" is not possible; accepted: %s",
		  key, *value, param->accepts)
	    : 0;
}

int
csi_encryption_get(
    const struct csi_map *context, struct csi_encryption *out, struct err *err)
{
	const char *type, *cipher, *integrity, *key_bits, *sector_bytes;
	int rc = csi_map_bool(
	    context, "volume_context", "encrypted", &out->luks, err);

	if (rc < 0 || !out->luks)
		return rc;
	if ((rc = encryption_value(context, "encryptionType", &type, err)) <
		0 ||
	    (rc = encryption_value(
		 context, "encryptionKMSID", &out->kms_id, err)) < 0 ||
	    (rc = encryption_value(context, "encryptionCipher", &cipher, err)) <
		0 ||
	    (rc = encryption_value(context, "integrityMode", &integrity, err)) <
		0 ||
	    (rc = encryption_value(
		 context, "encryptionKeySize", &key_bits, err)) < 0 ||
	    (rc = encryption_value(
		 context, "encryptionSectorSize", &sector_bytes, err)) < 0)
		return rc;
	if (!str_eq(type, CSI_ENCRYPTION_BLOCK))
		return err_set(err, ERR_UNIMPLEMENTED,
		    "volume_context.encryptionType: %s is not served, only " CSI_ENCRYPTION_BLOCK,
		    type);
	/* As with ceph-csi, the others do not count without a cipher. */
	if (cipher == NULL)
		return 0;
	out->cipher = cipher;
	out->integrity = integrity;
	if (key_bits != NULL)
		(void)!str_to_u64(key_bits, &out->key_bits);
	if (sector_bytes != NULL)
		(void)!str_to_u64(sector_bytes, &out->sector_bytes);
	return 0;
}
