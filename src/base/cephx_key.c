/*
 * cephx_key.c - base64 of u16 type, u32 + u32 time of creation, u16 length and
 * as many bytes, all little-endian (CryptoKey::encode() of Ceph).
 */
#include "base/cephx_key.h"

#define HEAD_BYTES 12

static unsigned
le16(const unsigned char *p)
{
	return p[0] | (unsigned)p[1] << 8;
}

int
cephx_key_type(const char *user, const struct secret *key, struct err *err)
{
	unsigned char raw[256] = { 0 };
	unsigned type, bytes;
	long len;

	if (key == NULL || secret_is_empty(key))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "key of client.%s: empty", user);
	len = str_unbase64(raw, sizeof(raw), key->text, key->len);
	if (len < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "key of client.%s: not base64", user);
	type = le16(raw);
	bytes = le16(raw + HEAD_BYTES - 2);
	secret_wipe(raw, sizeof(raw));
	if (len < HEAD_BYTES || bytes != (size_t)len - HEAD_BYTES ||
	    type == 0 || bytes == 0 || (type == CEPHX_KEY_AES && bytes != 16) ||
	    (type == CEPHX_KEY_AES256K && bytes != 32))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "key of client.%s: base64, but not of a Ceph key", user);
	return (int)type;
}

void
cephx_key_refuse(const char *user, int type, const char *who,
    const char *instead, struct err *err)
{
	const char *name = type == CEPHX_KEY_AES256K ? " (aes256k)" : "";

	(void)err_set(err, ERR_FAILED_PRECONDITION,
	    "key of client.%s: its type is %d%s, which %s cannot use: take %s, or give the user a key of type 1 (aes)",
	    user, type, name, who, instead);
}
