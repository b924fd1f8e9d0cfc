/*
 * dek.c - {"dek":D,"nonce":N}, both in base64: D is the key with its tag, by
 * AES-256-GCM with nonce N and the scrypt of passphrase and volume.
 */
#include "controller/dek.h"

#include "base/json.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <errno.h>
#include <string.h>

#define RANDOM_BYTES 20
#define SCRYPT_N 32768
#define SCRYPT_R 8
#define SCRYPT_P 1
#define SCRYPT_MEMORY ((uint64_t)64 << 20) /* it takes 32 MiB */
#define KEK_BYTES 32
#define TAG_BYTES 16
#define NONCE_BYTES 12
#define KEY_MAX 512 /* cryptsetup takes no longer passphrase */

static void
random_bytes(void *to, size_t len)
{
	if (RAND_bytes(to, (int)len) != 1)
		abort(); /* never a key that somebody may guess */
}

void
dek_generate(struct secret *key)
{
	unsigned char bytes[RANDOM_BYTES];
	char text[(RANDOM_BYTES + 2) / 3 * 4 + 1];

	random_bytes(bytes, sizeof(bytes));
	str_base64(text, bytes, sizeof(bytes));
	for (char *p = text; *p != '\0'; p++)
		*p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
	secret_set(key, text, strlen(text));
	secret_wipe(bytes, sizeof(bytes));
	secret_wipe(text, sizeof(text));
}

static int
internal(struct err *err, const char *what)
{
	return err_set(err, ERR_INTERNAL, "key of the volume: %s", what);
}

/* With one key for each volume: its identifier is the salt. */
static int
derive(const struct secret *passphrase, const char *volume_id,
    unsigned char kek[KEK_BYTES], struct err *err)
{
	return EVP_PBE_scrypt(passphrase->text, passphrase->len,
		   (const unsigned char *)volume_id, strlen(volume_id),
		   SCRYPT_N, SCRYPT_R, SCRYPT_P, SCRYPT_MEMORY, kek,
		   KEK_BYTES) == 1
	    ? 0
	    : internal(err, "scrypt failed");
}

/*
 * AES-256-GCM of `len` bytes; the tag is written, or (to open) read and
 * checked. False: a wrong key or other bytes.
 */
static bool
crypt_gcm(bool seal, const unsigned char kek[KEK_BYTES],
    const unsigned char *nonce, size_t nonce_len, const void *in, size_t len,
    void *out, unsigned char tag[TAG_BYTES])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	unsigned char none[TAG_BYTES];
	int n = 0;
	bool done = ctx != NULL &&
	    EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, NULL, NULL, seal) ==
		1 &&
	    EVP_CIPHER_CTX_ctrl(
		ctx, EVP_CTRL_GCM_SET_IVLEN, (int)nonce_len, NULL) == 1 &&
	    EVP_CipherInit_ex(ctx, NULL, NULL, kek, nonce, seal) == 1 &&
	    (seal ||
		EVP_CIPHER_CTX_ctrl(
		    ctx, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) == 1) &&
	    EVP_CipherUpdate(ctx, out, &n, in, (int)len) == 1 &&
	    EVP_CipherFinal_ex(ctx, none, &n) == 1 &&
	    (!seal ||
		EVP_CIPHER_CTX_ctrl(
		    ctx, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, tag) == 1);

	EVP_CIPHER_CTX_free(ctx);
	return done;
}

char *
dek_wrap(const struct secret *passphrase, const char *volume_id,
    const struct secret *key, struct err *err)
{
	unsigned char kek[KEK_BYTES], nonce[NONCE_BYTES];
	unsigned char sealed[KEY_MAX + TAG_BYTES];
	char dek_text[(sizeof(sealed) + 2) / 3 * 4 + 1];
	char nonce_text[(NONCE_BYTES + 2) / 3 * 4 + 1];
	bool done;

	if (key->len > KEY_MAX) {
		(void)internal(err, "is too long");
		return NULL;
	}
	if (derive(passphrase, volume_id, kek, err) < 0)
		return NULL;
	random_bytes(nonce, sizeof(nonce));
	done = crypt_gcm(true, kek, nonce, sizeof(nonce), key->text, key->len,
	    sealed, sealed + key->len);
	secret_wipe(kek, sizeof(kek));
	if (!done) {
		(void)internal(err, "AES-GCM failed");
		return NULL;
	}
	str_base64(dek_text, sealed, key->len + TAG_BYTES);
	str_base64(nonce_text, nonce, sizeof(nonce));
	return str_fmt(
	    "{\"dek\":\"%s\",\"nonce\":\"%s\"}", dek_text, nonce_text);
}

/* A member of the text, from base64; its length, or negative. */
static long
read_bytes(const json_t *json, const char *name, void *out, size_t max)
{
	const char *text = json_string_value(json_member(json, name));

	return text != NULL ? str_unbase64(out, max, text, strlen(text))
			    : -EINVAL;
}

int
dek_unwrap(const struct secret *passphrase, const char *volume_id,
    const char *text, struct secret *key, struct err *err)
{
	auto_json json_t *json = json_loads(text, 0, NULL);
	unsigned char kek[KEK_BYTES], nonce[64], sealed[KEY_MAX + TAG_BYTES];
	unsigned char plain[KEY_MAX];
	long len = read_bytes(json, "dek", sealed, sizeof(sealed));
	long nonce_len = read_bytes(json, "nonce", nonce, sizeof(nonce));
	size_t n;
	int rc;

	if (len < TAG_BYTES || nonce_len <= 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "key of the volume: what the image's metadata have of it is no JSON of dek and nonce");
	rc = derive(passphrase, volume_id, kek, err);
	if (rc < 0)
		return rc;
	n = (size_t)len - TAG_BYTES;
	if (crypt_gcm(false, kek, nonce, (size_t)nonce_len, sealed, n, plain,
		sealed + n))
		secret_set(key, (const char *)plain, n);
	else
		rc = err_set(err, ERR_FAILED_PRECONDITION,
		    "key of the volume: the encryptionPassphrase is not the one that it was encrypted with, or it is another volume's");
	secret_wipe(kek, sizeof(kek));
	secret_wipe(plain, sizeof(plain));
	return rc;
}
