/*
 * journal_fmt.c - names, keys and values of the journal.
 */
#include "ceph/journal_fmt.h"

#include <errno.h>
#include <string.h>

#define VALUE_MAX 4096 /* longest value that is believed */

static const char *const attr_key[JOURNAL_ATTR_COUNT] = {
	[JOURNAL_VOLNAME] = "csi.volname",
	[JOURNAL_IMAGENAME] = "csi.imagename",
	[JOURNAL_IMAGEID] = "csi.imageid",
	[JOURNAL_OWNER] = "csi.volume.owner",
	[JOURNAL_POOL] = "csi.journalpool",
	[JOURNAL_KMS] = "csi.volume.encryptKMS",
	[JOURNAL_ENCRYPTION] = "csi.volume.encryptionType",
	[JOURNAL_GROUP] = "csi.groupid",
};

/* A value as text, or NULL: a NUL byte inside, or absurdly long. */
static char *
text_of(struct arena *arena, const void *value, size_t len)
{
	char *text;

	if (len > VALUE_MAX || (len > 0 && memchr(value, '\0', len) != NULL))
		return NULL;
	text = arena_alloc(arena, len + 1);
	if (text != NULL && len > 0)
		memcpy(text, value, len);
	return text;
}

char *
journal_directory_fmt(struct arena *arena, const char *instance_id)
{
	return arena_fmt(arena, "csi.volumes.%s", instance_id);
}

char *
journal_item_fmt(struct arena *arena, const char *uuid)
{
	return arena_fmt(arena, "csi.volume.%s", uuid);
}

char *
journal_purges_fmt(struct arena *arena, const char *instance_id)
{
	return arena_fmt(arena, "csi.purge.%s", instance_id);
}

char *
journal_key_fmt(struct arena *arena, const char *request_name)
{
	return arena_fmt(arena, "csi.volume.%s", request_name);
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

char *
journal_reserve_fmt(struct arena *arena, const char *request_name)
{
	return arena_fmt(arena, JOURNAL_RESERVE_PREFIX "%s", request_name);
}

const char *
journal_reserve_parse(struct arena *arena, const void *value, size_t len,
    char uuid[JOURNAL_UUID_LEN + 1])
{
	const char *image = text_of(arena, value, len);
	const char *end;

	if (image == NULL || len < JOURNAL_UUID_LEN)
		return NULL;
	end = image + len - JOURNAL_UUID_LEN;
	for (size_t i = 0; i < JOURNAL_UUID_LEN; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? end[i] != '-' : hex_digit(end[i]) < 0)
			return NULL;
	}
	memcpy(uuid, end, JOURNAL_UUID_LEN + 1);
	return image;
}

int
journal_ref_parse(const void *value, size_t len, struct journal_ref *ref)
{
	const char *text = value;
	uint64_t pool = 0;
	size_t i;

	memset(ref, 0, sizeof(*ref));
	if (memchr(text, '\0', len) != NULL)
		return -EBADMSG;
	if (len == 16 + 1 + JOURNAL_UUID_LEN && text[16] == '/') {
		for (i = 0; i < 16; i++) {
			int digit = hex_digit(text[i]);

			if (digit < 0)
				return -EBADMSG;
			pool = pool << 4 | (unsigned)digit;
		}
		ref->has_pool = true;
		ref->pool_id = (int64_t)pool;
		text += 17;
		len -= 17;
	}
	if (len != JOURNAL_UUID_LEN)
		return -EBADMSG;
	memcpy(ref->uuid, text, len);
	return 0;
}

void
journal_uuid_fmt(char out[JOURNAL_UUID_LEN + 1], const unsigned char random[16])
{
	static const char hex[] = "0123456789abcdef";
	size_t i, at = 0;

	for (i = 0; i < 16; i++) {
		unsigned char byte = random[i];

		if (i == 6)
			byte = (byte & 0x0f) | 0x40; /* version 4 */
		if (i == 8)
			byte = (byte & 0x3f) | 0x80; /* variant of RFC 4122 */
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[at++] = '-';
		out[at++] = hex[byte >> 4];
		out[at++] = hex[byte & 15];
	}
	out[at] = '\0';
}

const char *
journal_attr_key(enum journal_attr attr)
{
	return attr_key[attr];
}

void
journal_item_take(struct journal_item *item, struct arena *arena,
    const char *key, const void *value, size_t len)
{
	for (size_t i = 0; i < JOURNAL_ATTR_COUNT; i++) {
		if (strcmp(key, attr_key[i]) != 0)
			continue;
		item->attr[i] = text_of(arena, value, len);
		if (item->attr[i] == NULL)
			item->damaged |= JOURNAL_BIT(i);
	}
}

const char *
journal_item_damage(const struct journal_item *item, unsigned needs)
{
	for (size_t i = 0; i < JOURNAL_ATTR_COUNT; i++)
		if ((item->damaged & needs & JOURNAL_BIT(i)) != 0)
			return attr_key[i];
	return NULL;
}

bool
journal_item_is_complete(const struct journal_item *item)
{
	return !str_is_empty(item->attr[JOURNAL_VOLNAME]) &&
	    !str_is_empty(item->attr[JOURNAL_IMAGENAME]);
}

char *
journal_purge_fmt(struct arena *arena, const struct journal_purge *purge)
{
	if (purge->slices > 0)
		return arena_fmt(arena, "%s\t%llu/%u", purge->image,
		    (unsigned long long)purge->done, purge->slices);
	if (purge->done > 0)
		return arena_fmt(arena, "%s\t%llu", purge->image,
		    (unsigned long long)purge->done);
	return arena_strdup(arena, purge->image);
}

void
journal_purge_parse(struct journal_purge *purge, struct arena *arena,
    const void *value, size_t len)
{
	char *text = text_of(arena, value, len), *tab, *slash;
	uint64_t done, slices = 0;

	*purge = (struct journal_purge){ .image = text };
	tab = text != NULL ? strchr(text, '\t') : NULL;
	if (tab == NULL)
		return;
	*tab++ = '\0';
	slash = strchr(tab, '/');
	if (slash != NULL) {
		*slash++ = '\0';
		if (str_to_u64(slash, &slices) < 0 || slices == 0 ||
		    slices > UINT32_MAX)
			return;
	}
	if (str_to_u64(tab, &done) < 0 || (slices > 0 && done > slices))
		return;
	purge->done = done;
	purge->slices = (uint32_t)slices;
}
