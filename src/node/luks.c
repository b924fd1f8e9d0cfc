/*
 * luks.c - see luks.h. Runs in offload children.
 */
#include "node/luks.h"
#include "node/device.h"

#include <dlfcn.h>
#include <errno.h>
#include <libcryptsetup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libcryptsetup.so.12"

/* As ceph-csi has them: two headers and the key slots are 16 MiB together. */
#define METADATA_BYTES ((uint64_t)4 << 20)
#define KEYSLOTS_BYTES ((uint64_t)8 << 20)
#define PBKDF_KIB 32768
#define CIPHER "aes-xts-plain64"
#define KEY_BITS 512
#define WIPE_BYTES ((size_t)1 << 20) /* of one write */

/* The functions of the library, under their own names. */
static struct {
	void *library;
	__typeof__(&crypt_init) init;
	__typeof__(&crypt_init_by_name) init_by_name;
	__typeof__(&crypt_free) free;
	__typeof__(&crypt_load) load;
	__typeof__(&crypt_format) format;
	__typeof__(&crypt_resize) resize;
	__typeof__(&crypt_activate_by_passphrase) activate;
	__typeof__(&crypt_activate_by_volume_key) activate_new;
	__typeof__(&crypt_deactivate) deactivate;
	__typeof__(&crypt_wipe) wipe;
	__typeof__(&crypt_keyslot_add_by_volume_key) add_key;
	__typeof__(&crypt_set_metadata_size) set_metadata_size;
	__typeof__(&crypt_get_pbkdf_default) pbkdf_default;
	__typeof__(&crypt_set_pbkdf_type) set_pbkdf;
	__typeof__(&crypt_volume_key_keyring) use_keyring;
	__typeof__(&crypt_set_log_callback) set_log;
} lib;

static char said[120]; /* the library's last error */

static void
on_said(int level, const char *text, void *arg)
{
	(void)arg;
	if (level == CRYPT_LOG_ERROR)
		(void)snprintf(said, sizeof(said), ": %.*s",
		    (int)strcspn(text, "\n"), text);
}

static int
luks_load(struct err *err)
{
	const struct {
		const char *name;
		void *function;
	} need[] = {
		{ "crypt_init", &lib.init },
		{ "crypt_init_by_name", &lib.init_by_name },
		{ "crypt_free", &lib.free },
		{ "crypt_load", &lib.load },
		{ "crypt_format", &lib.format },
		{ "crypt_resize", &lib.resize },
		{ "crypt_activate_by_passphrase", &lib.activate },
		{ "crypt_activate_by_volume_key", &lib.activate_new },
		{ "crypt_deactivate", &lib.deactivate },
		{ "crypt_wipe", &lib.wipe },
		{ "crypt_keyslot_add_by_volume_key", &lib.add_key },
		{ "crypt_set_metadata_size", &lib.set_metadata_size },
		{ "crypt_get_pbkdf_default", &lib.pbkdf_default },
		{ "crypt_set_pbkdf_type", &lib.set_pbkdf },
		{ "crypt_volume_key_keyring", &lib.use_keyring },
		{ "crypt_set_log_callback", &lib.set_log },
	};
	void *symbol;

	if (lib.library != NULL)
		return 0;
	/* Nobody waits for udev, which may be in another IPC namespace. */
	(void)setenv("DM_DISABLE_UDEV", "1", 1);
	lib.library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	for (size_t i = 0; i < countof(need); i++) {
		symbol = lib.library != NULL ? dlsym(lib.library, need[i].name)
					     : NULL;
		if (symbol == NULL)
			return err_set(err, ERR_FAILED_PRECONDITION,
			    "encrypted volumes need " LIBRARY
			    " on the node: %s",
			    dlerror());
		memcpy(need[i].function, &symbol, sizeof(symbol));
	}
	lib.set_log(NULL, on_said, NULL);
	/* The kernel gets the key itself, as ceph-csi's --disable-keyring. */
	(void)lib.use_keyring(NULL, 0);
	return 0;
}

static int
luks_failed(struct err *err, int rc, const char *what, const char *device)
{
	return err_set_rc(err, rc, "%s %s%s", what, device, said);
}

/* A header must be there. */
static int
read_header(const char *device, struct crypt_device **cd, struct err *err)
{
	int rc = luks_load(err);

	*cd = NULL;
	if (rc < 0)
		return rc;
	said[0] = '\0';
	rc = lib.init(cd, device);
	if (rc < 0)
		return luks_failed(err, rc, "open", device);
	rc = lib.load(*cd, CRYPT_LUKS, NULL);
	if (rc == 0)
		return 0;
	lib.free(*cd);
	*cd = NULL;
	if (rc != -EINVAL)
		return luks_failed(err, rc, "read the LUKS header of", device);
	(void)err_set(
	    err, ERR_FAILED_PRECONDITION, "%s has no LUKS header", device);
	return -ENOENT;
}

int
luks_open(const char *device, const char *name, const struct secret *key,
    bool read_only, struct err *err)
{
	struct crypt_device *cd;
	int rc = read_header(device, &cd, err);

	if (rc < 0)
		return rc;
	rc = lib.activate(cd, name, CRYPT_ANY_SLOT, key->text, key->len,
	    read_only ? CRYPT_ACTIVATE_READONLY : 0);
	lib.free(cd);
	if (rc >= 0 || (rc == -EEXIST && name != NULL))
		return 0;
	/* -ENOENT: it has no key slot, as one that was cut off. */
	if (rc != -EPERM && rc != -ENOENT)
		return luks_failed(err, rc, "open the LUKS device", device);
	(void)err_set(err, ERR_FAILED_PRECONDITION,
	    "%s has a LUKS header that the key of the volume does not open",
	    device);
	return -EPERM;
}

/* As cryptsetup's --integrity has them: the kernel's name, and its own key. */
static const struct luks_integrity {
	const char *name, *algorithm;
	size_t key_bytes;
} integrities[] = {
	{ "hmac-sha256", "hmac(sha256)", 32 },
	{ "hmac-sha512", "hmac(sha512)", 64 },
	{ "aead", "aead", 0 }, /* the cipher's */
};

/* No sector that was never written could be read: its tag is none. */
static int
write_all(struct crypt_device *cd, const char *name)
{
	auto_free char *path = str_fmt("%s/mapper/%s", node_paths.dev, name);
	int rc = lib.activate_new(cd, name, NULL, 0,
	    CRYPT_ACTIVATE_PRIVATE | CRYPT_ACTIVATE_NO_JOURNAL);
	int closed;

	if (rc < 0)
		return rc;
	rc = lib.wipe(
	    cd, path, CRYPT_WIPE_ZERO, 0, 0, WIPE_BYTES, 0, NULL, NULL);
	closed = lib.deactivate(cd, name);
	return rc < 0 ? rc : closed;
}

int
luks_format(const char *device, const char *name, const struct secret *key,
    const struct luks_options *options, struct err *err)
{
	uint64_t bits = options->key_bits != 0 ? options->key_bits : KEY_BITS;
	const struct luks_integrity *integrity = NULL;
	struct crypt_params_luks2 params = {
		.sector_size = (uint32_t)options->sector_bytes,
	};
	size_t key_bytes = bits / 8;
	struct crypt_pbkdf_type pbkdf;
	struct crypt_device *cd = NULL;
	const char *both = options->cipher != NULL ? options->cipher : CIPHER;
	const char *dash = strchr(both, '-'); /* CIPHER-MODE */
	char cipher[32];
	int rc = luks_load(err);

	if (rc < 0)
		return rc;
	if (dash == NULL ||
	    str_put(cipher, sizeof(cipher), "%.*s", (int)(dash - both), both) <
		0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "volume_context.encryptionCipher: \"%s\" is no cipher",
		    both);
	for (size_t i = 0; i < countof(integrities); i++)
		if (str_eq(options->integrity, integrities[i].name))
			integrity = &integrities[i];
	if (integrity != NULL) {
		params.integrity = integrity->algorithm;
		key_bytes += integrity->key_bytes;
	}
	said[0] = '\0';
	rc = lib.init(&cd, device);
	if (rc < 0)
		return luks_failed(err, rc, "open", device);
	pbkdf = *lib.pbkdf_default(CRYPT_LUKS2);
	pbkdf.hash = "sha256";
	pbkdf.max_memory_kb = PBKDF_KIB;
	rc = lib.set_metadata_size(cd, METADATA_BYTES, KEYSLOTS_BYTES);
	if (rc == 0)
		rc = lib.set_pbkdf(cd, &pbkdf);
	if (rc == 0)
		rc = lib.format(cd, CRYPT_LUKS2, cipher, dash + 1, NULL, NULL,
		    key_bytes, &params);
	if (rc == 0)
		rc = lib.add_key(
		    cd, CRYPT_ANY_SLOT, NULL, 0, key->text, key->len);
	if (rc >= 0 && integrity != NULL)
		rc = write_all(cd, name);
	lib.free(cd);
	return rc < 0 ? luks_failed(err, rc, "make a LUKS device of", device)
		      : 0;
}

int
luks_grow(const char *name, struct err *err)
{
	struct crypt_device *cd = NULL;
	int rc = luks_load(err);

	if (rc < 0)
		return rc;
	said[0] = '\0';
	rc = lib.init_by_name(&cd, name);
	if (rc == 0)
		rc = lib.resize(cd, name, 0);
	if (cd != NULL)
		lib.free(cd);
	if (rc == -ENOTSUP)
		return err_refuse(err,
		    "%s has integrityMode: a LUKS device with integrity cannot grow",
		    name);
	return rc < 0 ? luks_failed(err, rc, "grow the LUKS device", name) : 0;
}
