/*
 * luks.h - LUKS devices: made, opened and grown by libcryptsetup, whose owner
 * this is.
 *
 * The rule that holds it together: the library is loaded by the forked child
 * that has something to do for it, and is gone with that child. So the daemon
 * is no larger for it, and what hangs or dies in it is one volume's child.
 * What is made is as ceph-csi makes it (internal/util/cryptsetup).
 */
#ifndef NODE_LUKS_H
#define NODE_LUKS_H

#include "base/err.h"
#include "base/secret.h"

/* For a device that is to be encrypted; NULL, 0: the library's own choice. */
struct luks_options {
	const char *cipher;    /* "aes-xts-plain64" */
	const char *integrity; /* "hmac-sha256", "hmac-sha512", "aead" */
	uint64_t key_bits, sector_bytes;
};

/*
 * Opens the device as /dev/mapper/NAME; name NULL: only tries the key. 0;
 * -ENOENT: there is no LUKS header, -EPERM: the key does not open it, which
 * err tells in words as FAILED_PRECONDITION; another negative errno.
 */
int luks_open(const char *device, const char *name, const struct secret *key,
    bool read_only, struct err *err) must_check;

/*
 * Makes a LUKS2 device of it, whatever it holds. When it is cut off there is
 * no header, or one that the key does not open; with integrity also one that
 * it opens, and sectors that cannot be read. For with integrity the whole
 * device is written once, through /dev/mapper/NAME, which is closed again.
 */
int luks_format(const char *device, const char *name, const struct secret *key,
    const struct luks_options *options, struct err *err) must_check;

/*
 * The open device takes over the size of the one below it. FAILED_PRECONDITION:
 * it has integrity, which LUKS cannot make larger.
 */
int luks_grow(const char *name, struct err *err) must_check;

#endif
