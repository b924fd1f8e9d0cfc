/*
 * volume_id.c - the text form of identifiers (ceph-csi: internal/util/volid.go).
 */
#include "csi/volume_id.h"

#include <errno.h>
#include <string.h>

#define VERSION 1
#define FIXED 64 /* everything but the cluster ID */
#define POOL_DIGITS 16

int
csi_cluster_id_check(const char *text, struct err *err)
{
	static const char word[] =
	    "0123456789_-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	if (*text == '\0')
		return csi_invalid(err, "missing");
	if (strlen(text) > CSI_CLUSTER_ID_MAX)
		return csi_invalid(
		    err, "longer than %d bytes", CSI_CLUSTER_ID_MAX);
	if (text[strspn(text, word)] != '\0')
		return csi_invalid(err,
		    "\"%s\" has other characters than letters, digits, - and _, which volume IDs cannot have",
		    text);
	return 0;
}

int
csi_volume_id_fmt(char out[CSI_VOLUME_ID_MAX + 1],
    const struct csi_volume_id *id, struct err *err)
{
	size_t len = strnlen(id->cluster_id, sizeof(id->cluster_id));
	int rc = csi_cluster_id_check(id->cluster_id, err);

	if (rc < 0)
		return rc;
	if (strnlen(id->uuid, sizeof(id->uuid)) != CSI_UUID_LEN)
		return csi_invalid(
		    err, "volume UUID: needs %d bytes", CSI_UUID_LEN);
	return str_put(out, CSI_VOLUME_ID_MAX + 1, "%04x-%04zx-%s-%016llx-%s",
	    VERSION, len, id->cluster_id, (unsigned long long)id->pool_id,
	    id->uuid);
}

static bool
read_hex(const char *text, int digits, uint64_t *value)
{
	uint64_t v = 0;

	for (int i = 0; i < digits; i++) {
		char c = text[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*value = v;
	return true;
}

int
csi_volume_id_parse(const char *text, struct csi_volume_id *id, struct err *err)
{
	size_t total = strlen(text);
	uint64_t version, len, pool;
	const char *p = text + 10;

	if (total < FIXED || total > CSI_VOLUME_ID_MAX)
		goto bad;
	if (!read_hex(text, 4, &version) || text[4] != '-' ||
	    !read_hex(text + 5, 4, &len) || text[9] != '-')
		goto bad;
	if (len == 0 || len != total - FIXED) /* leaves a UUID at the end */
		goto bad;
	if (p[len] != '-' || !read_hex(p + len + 1, POOL_DIGITS, &pool) ||
	    p[len + 1 + POOL_DIGITS] != '-')
		goto bad;
	if (version != VERSION) {
		(void)csi_invalid(err,
		    "volume_id: %s has version %.4s, of which this driver knows nothing; it knows %04x",
		    text, text, VERSION);
		return -EPROTONOSUPPORT;
	}
	memcpy(id->cluster_id, p, len);
	id->cluster_id[len] = '\0';
	id->pool_id = (int64_t)pool;
	memcpy(id->uuid, text + total - CSI_UUID_LEN, CSI_UUID_LEN + 1);
	return 0;

bad:
	return csi_invalid(
	    err, "\"%.128s\" is no identifier of this driver", text);
}

#define MIGRATED "mig_mons-"
#define MIGRATED_IMAGE "_image-"
#define MIGRATED_PREFIX "kubernetes-dynamic-pvc-"

bool
csi_migrated_id_is(const char *text)
{
	return strstr(text, "mig") != NULL && strstr(text, "image-") != NULL &&
	    strstr(text, "mons-") != NULL;
}

/* Pairs of hex digits to text; false: others, none, or a NUL among them. */
static bool
read_hex_text(const char *hex, char *out, size_t size)
{
	size_t len = strlen(hex);
	uint64_t byte;

	if (len == 0 || len % 2 != 0 || len / 2 >= size)
		return false;
	for (size_t i = 0; i < len / 2; i++) {
		if (!read_hex(hex + 2 * i, 2, &byte) || byte == 0)
			return false;
		out[i] = (char)byte;
	}
	out[len / 2] = '\0';
	return true;
}

int
csi_migrated_id_parse(
    const char *text, struct csi_migrated_id *id, struct err *err)
{
	const char *mons, *image, *pool;

	if (!str_starts(text, MIGRATED))
		goto bad;
	mons = text + strlen(MIGRATED);
	image = strstr(mons, MIGRATED_IMAGE);
	pool = strrchr(mons, '_');
	if (image == NULL || image == mons || pool == image ||
	    memchr(mons, '_', (size_t)(image - mons)) != NULL ||
	    str_put(id->cluster_id, sizeof(id->cluster_id), "%.*s",
		(int)(image - mons), mons) < 0)
		goto bad;
	image += strlen(MIGRATED_IMAGE);
	if (image >= pool ||
	    memchr(image, '_', (size_t)(pool - image)) != NULL ||
	    str_put(id->image, sizeof(id->image), MIGRATED_PREFIX "%.*s",
		(int)(pool - image), image) < 0 ||
	    !read_hex_text(pool + 1, id->pool, sizeof(id->pool)))
		goto bad;
	return 0;

bad:
	return csi_invalid(err,
	    "volume_id: \"%.128s\" is not mig_mons-CLUSTERID_image-NAME_POOL with the pool's name in hex",
	    text);
}
