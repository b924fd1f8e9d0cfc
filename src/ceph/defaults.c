/*
 * defaults.c - librbd's defaults of this cluster.
 */
#include "ceph/defaults.h"

#include "base/log.h"
#include "ceph/cls_rbd.h"
#include "ceph/layout.h"

#include <rados/librados.h>

#include <string.h>

/* Data pool and striping follow from other options, they cannot be asked. */
static const struct {
	const char *name;
	uint64_t bit;
} feature[] = {
	{ "layering", RBD_LAYERING },
	{ "striping", 0 },
	{ "exclusive-lock", RBD_EXCLUSIVE_LOCK },
	{ "object-map", RBD_OBJECT_MAP },
	{ "fast-diff", RBD_FAST_DIFF },
	{ "deep-flatten", RBD_DEEP_FLATTEN },
	{ "journaling", RBD_JOURNALING },
	{ "data-pool", 0 },
};

#define ASKABLE (LAYOUT_CREATE_FEATURES | RBD_JOURNALING)

static bool
add_feature(const char *name, size_t len, uint64_t *features)
{
	for (size_t i = 0; i < countof(feature); i++)
		if (strlen(feature[i].name) == len &&
		    memcmp(feature[i].name, name, len) == 0) {
			*features |= feature[i].bit;
			return true;
		}
	return false;
}

bool
defaults_features_parse(const char *text, uint64_t *features)
{
	uint64_t bits = 0;

	if (str_to_u64(text, &bits) == 0) {
		*features = bits & ASKABLE;
		return *features != 0;
	}
	while (*text != '\0') {
		size_t len;

		text += strspn(text, " ,");
		len = strcspn(text, " ,");
		if (len > 0 && !add_feature(text, len, &bits))
			return false;
		text += len;
	}
	*features = bits;
	return bits != 0;
}

uint64_t
defaults_image_features(const struct ceph_connection *conn)
{
	uint64_t features = 0;
	char text[256], quoted[300];

	if (rados_conf_get(ceph_connection_handle(conn), "rbd_default_features",
		text, sizeof(text)) < 0)
		return LAYOUT_CREATE_FEATURES;
	if (!defaults_features_parse(text, &features)) {
		log_warn("ceph.defaults", "rbd_default_features=%s used=%llu",
		    log_quote(quoted, sizeof(quoted), text),
		    (unsigned long long)LAYOUT_CREATE_FEATURES);
		return LAYOUT_CREATE_FEATURES;
	}
	return features;
}
