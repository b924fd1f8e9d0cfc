/*
 * journal_fmt.c - names, keys and values of the journal.
 */
#include "ceph/journal_fmt.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define VALUE_MAX 4096 /* longest value that is believed */

const struct journal_kind journal_volumes = {
	.noun = "volume",
	.directory = "csi.volumes.",
	.key = "csi.volume.",
	.item = "csi.volume.",
	.image = "csi-vol-",
	.attr = {
		[JOURNAL_NAME] = "csi.volname",
		[JOURNAL_IMAGENAME] = "csi.imagename",
		[JOURNAL_IMAGEID] = "csi.imageid",
		[JOURNAL_SOURCE] = "csi.source",
		[JOURNAL_OWNER] = "csi.volume.owner",
		[JOURNAL_POOL] = "csi.journalpool",
		[JOURNAL_KMS] = "csi.volume.encryptKMS",
		[JOURNAL_ENCRYPTION] = "csi.volume.encryptionType",
		[JOURNAL_GROUP] = "csi.groupid",
		[JOURNAL_USERS] = "csi.users",
	},
};

const struct journal_kind journal_snapshots = {
	.noun = "snapshot",
	.directory = "csi.snaps.",
	.key = "csi.snap.",
	.item = "csi.snap.",
	.image = "csi-snap-",
	.attr = {
		[JOURNAL_NAME] = "csi.snapname",
		[JOURNAL_IMAGENAME] = "csi.imagename",
		[JOURNAL_IMAGEID] = "csi.imageid",
		[JOURNAL_SOURCE] = "csi.source",
		[JOURNAL_OWNER] = "csi.volume.owner",
		[JOURNAL_POOL] = "csi.journalpool",
		[JOURNAL_KMS] = "csi.volume.encryptKMS",
		[JOURNAL_ENCRYPTION] = "csi.volume.encryptionType",
		[JOURNAL_GROUP] = "csi.groupid",
	},
};

const struct journal_kind journal_groups = {
	.noun = "group",
	.directory = "csi.groups.",
	.key = "csi.volume.group.",
	.item = "csi.volume.group.",
	.image = "csi-vol-group-",
	.attr = {
		[JOURNAL_NAME] = "csi.volname",
		[JOURNAL_IMAGENAME] = "csi.groupname",
		[JOURNAL_CREATED] = "csi.creationtime",
	},
	.has_members = true,
};

/* A value as text, or NULL: a NUL byte inside, or absurdly long. */
static char *
value_text(struct arena *arena, const void *value, size_t len)
{
	char *text;

	if (len > VALUE_MAX || (len > 0 && memchr(value, '\0', len) != NULL))
		return NULL;
	text = arena_alloc(arena, len + 1);
	if (text != NULL && len > 0)
		memcpy(text, value, len);
	return text;
}

/* No image id is one of them. */
static const char *const stage_words[JOURNAL_STAGES] = {
	[JOURNAL_BEGUN] = "",
	[JOURNAL_SHARED] = "shared/",
	[JOURNAL_UNDONE] = "undone/",
};

int
journal_reservation_parse(struct journal_reservation *r, struct arena *arena,
    const void *value, size_t len)
{
	char *text = value_text(arena, value, len), *slash;
	const char *end;

	*r = (struct journal_reservation){ .stage = JOURNAL_BEGUN };
	for (unsigned i = JOURNAL_SHARED; text != NULL && i < JOURNAL_STAGES;
	     i++)
		if (str_starts(text, stage_words[i])) {
			r->stage = (enum journal_stage)i;
			text += strlen(stage_words[i]);
			break;
		}
	if (text == NULL)
		return -EBADMSG;
	slash = strchr(text, '/');
	if (slash != NULL) {
		*slash = '\0';
		r->source = text;
		text = slash + 1;
	}
	if (strlen(text) < JOURNAL_UUID_LEN)
		return -EBADMSG;
	end = text + strlen(text) - JOURNAL_UUID_LEN;
	for (size_t i = 0; i < JOURNAL_UUID_LEN; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? end[i] != '-' : !isxdigit((unsigned char)end[i]))
			return -EBADMSG;
	}
	memcpy(r->uuid, end, sizeof(r->uuid));
	r->image = text;
	return 0;
}

const char *
journal_reservation_fmt(
    const struct journal_reservation *r, struct arena *arena)
{
	return arena_fmt(arena, "%s%s%s%s", stage_words[r->stage],
	    r->source != NULL ? r->source : "", r->source != NULL ? "/" : "",
	    r->image);
}

int
journal_ref_parse(const void *value, size_t len, struct journal_ref *ref)
{
	const char *text = value;

	memset(ref, 0, sizeof(*ref));
	if (memchr(text, '\0', len) != NULL)
		return -EBADMSG;
	if (len == 16 + 1 + JOURNAL_UUID_LEN && text[16] == '/') {
		char hex[17];

		memcpy(hex, text, 16);
		hex[16] = '\0';
		if (strspn(hex, "0123456789abcdefABCDEF") != 16)
			return -EBADMSG;
		ref->has_pool = true;
		ref->pool_id = (int64_t)strtoull(hex, NULL, 16);
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

bool
journal_item_take(const struct journal_kind *kind, struct journal_item *item,
    struct arena *arena, const char *key, const void *value, size_t len)
{
	for (size_t i = 0; i < JOURNAL_ATTR_COUNT; i++) {
		if (kind->attr[i] == NULL || strcmp(key, kind->attr[i]) != 0)
			continue;
		item->attr[i] = value_text(arena, value, len);
		if (item->attr[i] == NULL)
			item->damaged |= JOURNAL_BIT(i);
		return true;
	}
	return false;
}

const char *
journal_item_damage(const struct journal_kind *kind,
    const struct journal_item *item, unsigned needs)
{
	for (size_t i = 0; i < JOURNAL_ATTR_COUNT; i++)
		if ((item->damaged & needs & JOURNAL_BIT(i)) != 0)
			return kind->attr[i];
	return NULL;
}

bool
journal_item_is_complete(const struct journal_item *item)
{
	return !str_is_empty(item->attr[JOURNAL_NAME]) &&
	    !str_is_empty(item->attr[JOURNAL_IMAGENAME]);
}

char *
journal_purge_key(
    struct arena *arena, const char *instance_id, const char *image_id)
{
	return arena_fmt(arena, JOURNAL_PURGES "%s/%s", instance_id, image_id);
}

const char *
journal_purge_id(const char *instance_id, const char *key)
{
	size_t len = strlen(instance_id);

	if (!str_starts(key, JOURNAL_PURGES))
		return NULL;
	key += strlen(JOURNAL_PURGES);
	if (strncmp(key, instance_id, len) != 0 || key[len] != '/')
		return NULL;
	key += len + 1;
	return *key != '\0' && strchr(key, '/') == NULL ? key : NULL;
}

char *
journal_purge_fmt(struct arena *arena, const struct journal_purge *purge)
{
	char slices[16] = "", until[32] = "";

	if (purge->slices > 0)
		(void)snprintf(slices, sizeof(slices), "/%u", purge->slices);
	if (purge->until_s > 0)
		(void)snprintf(until, sizeof(until), "@%llu",
		    (unsigned long long)purge->until_s);
	if (purge->done == 0 && *slices == '\0' && *until == '\0')
		return arena_strdup(arena, purge->image);
	return arena_fmt(arena, "%s\t%llu%s%s", purge->image,
	    (unsigned long long)purge->done, slices, until);
}

/* Cuts the text off at `c` and reads the number behind it; 0 without one. */
static bool
cut_number(char *text, char c, uint64_t *v)
{
	char *at = strchr(text, c);

	*v = 0;
	if (at == NULL)
		return true;
	*at = '\0';
	return str_to_u64(at + 1, v) == 0 && *v > 0;
}

void
journal_purge_parse(struct journal_purge *purge, struct arena *arena,
    const void *value, size_t len)
{
	char *text = value_text(arena, value, len), *tab;
	uint64_t done, slices, until;

	*purge = (struct journal_purge){ .image = text };
	tab = text != NULL ? strchr(text, '\t') : NULL;
	if (tab == NULL)
		return;
	*tab++ = '\0';
	if (!cut_number(tab, '@', &until) || !cut_number(tab, '/', &slices) ||
	    slices > UINT32_MAX || str_to_u64(tab, &done) < 0 ||
	    (slices > 0 && done > slices))
		return;
	purge->done = done;
	purge->slices = (uint32_t)slices;
	purge->until_s = until;
}
