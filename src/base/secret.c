/*
 * secret.c - setting, comparing and wiping of secrets.
 */
#include "base/secret.h"

#include <string.h>

void
secret_wipe(void *p, size_t len)
{
	if (p != NULL && len > 0)
		explicit_bzero(p, len);
}

void
secret_fini(struct secret *secret)
{
	secret_wipe(secret->text, secret->len);
	free(secret->text);
	*secret = (struct secret)SECRET_INIT;
}

void
secret_set(struct secret *secret, const char *text, size_t len)
{
	char *copy = mem_new(len + 1);

	memcpy(copy, text, len);
	secret_fini(secret);
	secret->text = copy;
	secret->len = len;
}

void
secret_copy(struct secret *to, const struct secret *from)
{
	if (from->text == NULL)
		secret_fini(to);
	else
		secret_set(to, from->text, from->len);
}

bool
secret_eq(const struct secret *a, const struct secret *b)
{
	unsigned char diff = 0;

	if (a->text == NULL || b->text == NULL)
		return a->text == b->text;
	if (a->len != b->len)
		return false;
	for (size_t i = 0; i < a->len; i++)
		diff |= (unsigned char)(a->text[i] ^ b->text[i]);
	return diff == 0;
}

bool
secret_is_empty(const struct secret *secret)
{
	return secret->len == 0;
}
