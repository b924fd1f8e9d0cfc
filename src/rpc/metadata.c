/*
 * metadata.c - rows of fields.
 */
#include "rpc/metadata.h"

#include <errno.h>
#include <string.h>

/* PROTOCOL-HTTP2 suggests that peers take 8 KiB of metadata. */
#define SENT_MAX ((size_t)8 << 10)
#define NOTED_MAX ((size_t)1 << 20) /* bounded before, by the header list */

static bool
is_bin(const char *name)
{
	return str_ends(name, "-bin");
}

static bool
is_reserved(const char *name, size_t len)
{
	static const char *const reserved[] = { "te", "host", "user-agent",
		"content-type", "content-length", "connection", "trailer" };

	if (len == 0 || name[0] == ':' ||
	    (len >= 5 && memcmp(name, "grpc-", 5) == 0))
		return true;
	for (size_t i = 0; i < countof(reserved); i++)
		if (strlen(reserved[i]) == len &&
		    memcmp(reserved[i], name, len) == 0)
			return true;
	return false;
}

void
metadata_fini(struct metadata *md)
{
	buf_fini(&md->bytes);
	md->count = 0;
}

static int
append(struct metadata *md, const char *name, size_t name_len,
    const char *value, size_t value_len)
{
	char *to = buf_reserve(&md->bytes, name_len + value_len + 2);

	if (to == NULL)
		return -EMSGSIZE;
	memcpy(to, name, name_len);
	to[name_len] = '\0';
	to += name_len + 1;
	if (value_len > 0)
		memcpy(to, value, value_len);
	to[value_len] = '\0';
	md->bytes.len += name_len + value_len + 2;
	md->count++;
	return 0;
}

int
metadata_note(struct metadata *md, const char *name, size_t name_len,
    const char *value, size_t value_len)
{
	if (is_reserved(name, name_len))
		return 0;
	md->bytes.max = NOTED_MAX;
	return append(md, name, name_len, value, value_len);
}

static bool
name_is_good(const char *name)
{
	for (const char *c = name; *c != '\0'; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') ||
			*c == '-' || *c == '_' || *c == '.'))
			return false;
	return !is_reserved(name, strlen(name));
}

static bool
text_is_good(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	return len == 0 || (text[0] != ' ' && text[len - 1] != ' ');
}

/* Without padding, as the specification wants it sent. */
static int
append_base64(
    struct metadata *md, const char *name, const void *bytes, size_t len)
{
	auto_free char *text = len <= SENT_MAX ? malloc(str_base64_len(len))
					       : NULL;
	size_t n;

	if (text == NULL)
		return -EMSGSIZE;
	str_base64(text, bytes, len);
	n = strlen(text);
	while (n > 0 && text[n - 1] == '=')
		n--;
	return append(md, name, strlen(name), text, n);
}

int
metadata_add(
    struct metadata *md, const char *name, const void *bytes, size_t len)
{
	if (!name_is_good(name) || (!is_bin(name) && !text_is_good(bytes, len)))
		return -EINVAL;
	if (md->count >= METADATA_FIELDS_MAX)
		return -EMSGSIZE;
	md->bytes.max = SENT_MAX;
	return is_bin(name) ? append_base64(md, name, bytes, len)
			    : append(md, name, strlen(name), bytes, len);
}

bool
metadata_next(const struct metadata *md, size_t *at, const char **name,
    const char **value)
{
	if (*at >= md->bytes.len)
		return false;
	*name = (const char *)md->bytes.data + *at;
	*value = *name + strlen(*name) + 1;
	*at += strlen(*name) + strlen(*value) + 2;
	return true;
}

long
metadata_decode(void *out, size_t max, const char *value, size_t len)
{
	return str_unbase64(out, max, value, len);
}
