/*
 * secret.c - setting, comparing and wiping of secrets.
 */
#include "base/secret.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void
secret_wipe(void *p, size_t len)
{
	if (p != NULL && len > 0)
		explicit_bzero(p, len);
}

/* With the closing NUL. */
static size_t
whole_pages(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (len + page) / page * page;
}

/*
 * Pages of its own, so that nothing else is locked or left out with them. A
 * limit on locked memory is no reason to do without the secret.
 */
static char *
secret_room(size_t len)
{
	size_t room = whole_pages(len);
	char *text = mmap(NULL, room, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (text == MAP_FAILED) {
		(void)fprintf(stderr, "out of memory\n");
		abort();
	}
	(void)mlock(text, room);
	(void)madvise(text, room, MADV_DONTDUMP);
	return text;
}

void
secret_fini(struct secret *secret)
{
	secret_wipe(secret->text, secret->len);
	if (secret->text != NULL)
		(void)munmap(secret->text, whole_pages(secret->len));
	*secret = (struct secret)SECRET_INIT;
}

void
secret_set(struct secret *secret, const char *text, size_t len)
{
	char *copy = secret_room(len);

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
