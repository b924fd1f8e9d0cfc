/*
 * secret.h - a key or passphrase: a type of its own, so that it cannot be
 * printed by accident, is neither swapped out nor in a core file, and is wiped
 * when it goes.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base/str.h"

struct secret {
	char *text; /* NUL terminated; NULL: none */
	size_t len;
};

#define SECRET_INIT                                                            \
	{                                                                      \
		.text = NULL                                                   \
	}

void secret_set(struct secret *secret, const char *text, size_t len);
void secret_copy(struct secret *to, const struct secret *from);
void secret_fini(struct secret *secret); /* wipes and frees */
bool secret_eq(const struct secret *a, const struct secret *b);
bool secret_is_empty(const struct secret *secret);

/* Overwrites memory in a way that no compiler removes. */
void secret_wipe(void *p, size_t len);

#endif
