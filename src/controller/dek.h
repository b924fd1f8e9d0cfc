/*
 * dek.h - the key of an encrypted volume (DEK) as ceph-csi's KMS "metadata"
 * keeps it in the image's metadata: itself encrypted, by the passphrase of a
 * secret and for one volume (internal/kms/secretskms.go). Owner of libcrypto.
 *
 * The rule that holds it together: byte by byte what ceph-csi writes and
 * reads. Each call takes tens of milliseconds of CPU and 32 MiB, on purpose,
 * so that only lanes may make it.
 */
#ifndef CONTROLLER_DEK_H
#define CONTROLLER_DEK_H

#include "base/err.h"
#include "base/secret.h"

/* A new key: 20 random bytes as base64 for URLs, 28 characters. */
void dek_generate(struct secret *key);

/*
 * The text for the metadata of the volume with this CSI identifier, which the
 * caller frees; NULL with `err` set.
 */
char *dek_wrap(const struct secret *passphrase, const char *volume_id,
    const struct secret *key, struct err *err);

/*
 * The key again. FAILED_PRECONDITION: the text is of another passphrase or of
 * another volume, or no such text.
 */
int dek_unwrap(const struct secret *passphrase, const char *volume_id,
    const char *text, struct secret *key, struct err *err) must_check;

#endif
