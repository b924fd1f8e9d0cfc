/*
 * dek.c - the key of an encrypted volume as ceph-csi keeps it. The texts were
 * made by Python's hashlib.scrypt and cryptography's AESGCM:
 *
 *	kek = scrypt(passphrase, salt=volume, n=32768, r=8, p=1, dklen=32)
 *	AESGCM(kek).encrypt(nonce, dek, None)
 *
 * with the bytes 0 to 11 as nonce.
 */
#include "controller/dek.h"
#include "tests/tap.h"

#include <string.h>

#define VOLUME                                                                 \
	"0001-0009-rook-ceph-0000000000000002-11111111-2222-3333-4444-555555555555"
#define OTHER                                                                  \
	"0001-0009-rook-ceph-0000000000000002-11111111-2222-3333-4444-555555555556"
#define KEY "AAECAwQFBgcICQoLDA0ODxAREhM="
#define WRAPPED "0zq3UZ3Xehwlp0s94G5i7I+4MnS8rJQBfCNY7WMt0dLOFYR8OBdTpJfl8jg="
#define NONCE "AAECAwQFBgcICQoL"
#define TEXT "{\"dek\":\"" WRAPPED "\",\"nonce\":\"" NONCE "\"}"

static struct secret passphrase, other;

static void
test_vector(void)
{
	struct secret key = SECRET_INIT;
	struct err err = ERR_INIT;

	is_int(dek_unwrap(&passphrase, VOLUME, TEXT, &key, &err), 0,
	    "a key that ceph-csi has encrypted is read");
	is_str(key.text, KEY, "and is the one that it was");
	secret_fini(&key);
}

static void
test_refused(void)
{
	static const struct {
		const char *volume, *text, *what;
		bool others;
	} t[] = {
		{ VOLUME, TEXT, "another passphrase", true },
		{ OTHER, TEXT, "another volume", false },
		{ VOLUME, "{\"dek\":\"1" WRAPPED "\",\"nonce\":\"" NONCE "\"}",
		    "base64 that is none", false },
		{ VOLUME,
		    "{\"dek\":\"0zq3UZ3Xehwlp0s94G5i7I+4MnS8rJQBfCNY7WMt0dLOFYR8OBdTpJfl8jk=\",\"nonce\":\"" NONCE
		    "\"}",
		    "a tag with another bit", false },
		{ VOLUME, "{\"dek\":\"AAAA\",\"nonce\":\"" NONCE "\"}",
		    "less than a tag", false },
		{ VOLUME, "{\"dek\":\"" WRAPPED "\"}", "no nonce", false },
		{ VOLUME, "{\"dek\":\"" WRAPPED "\",\"nonce\":\"\"}",
		    "an empty nonce", false },
		{ VOLUME, KEY, "the key itself", false },
		{ VOLUME, "", "nothing", false },
	};

	for (size_t i = 0; i < countof(t); i++) {
		struct secret key = SECRET_INIT;
		struct err err = ERR_INIT;
		int rc = dek_unwrap(t[i].others ? &other : &passphrase,
		    t[i].volume, t[i].text, &key, &err);

		ok(rc < 0 && err.code == ERR_FAILED_PRECONDITION &&
			secret_is_empty(&key),
		    "%s is refused", t[i].what);
		ok(strstr(err.text, passphrase.text) == NULL &&
			strstr(err.text, KEY) == NULL,
		    "and the error has no secret: %s", err.text);
	}
}

static void
test_round(void)
{
	struct secret key = SECRET_INIT, again = SECRET_INIT;
	struct err err = ERR_INIT;
	char *text[2];

	dek_generate(&key);
	is_int(key.len, 28, "a new key has 28 characters");
	ok(strspn(key.text,
	       "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") ==
		    27 &&
		key.text[27] == '=',
	    "of base64 for URLs");
	dek_generate(&again);
	ok(!secret_eq(&key, &again), "the next one is another");
	for (int i = 0; i < 2; i++) {
		text[i] = dek_wrap(&passphrase, VOLUME, &key, &err);
		ok(text[i] != NULL &&
			dek_unwrap(
			    &passphrase, VOLUME, text[i], &again, &err) == 0 &&
			secret_eq(&key, &again),
		    "what is wrapped can be unwrapped");
	}
	ok(strcmp(text[0], text[1]) != 0, "no nonce is used twice");
	ok(strncmp(text[0], "{\"dek\":\"", 8) == 0 &&
		strstr(text[0], "\",\"nonce\":\"") != NULL &&
		strchr(text[0], ' ') == NULL,
	    "as Go's encoding/json writes it: %s", text[0]);
	free(text[0]);
	free(text[1]);
	secret_fini(&key);
	secret_fini(&again);
}

int
main(void)
{
	secret_set(&passphrase, "test-passphrase", 15);
	secret_set(&other, "test-passphrasf", 15);
	test_vector();
	test_refused();
	test_round();
	secret_fini(&passphrase);
	secret_fini(&other);
	return tap_end();
}
