/*
 * features.c - the one table of image features.
 */
#include "base/features.h"

#include <errno.h>
#include <string.h>

#define ASKED FEATURE_ASKED
#define ALL_CAN (FEATURE_NATIVE | FEATURE_KRBD)

static const struct feature {
	const char *name; /* NULL: nobody names it */
	uint64_t bit, needs;
	unsigned uses;
} features[] = {
	{ "layering", RBD_LAYERING, 0, ASKED | ALL_CAN },
	{ "striping", RBD_STRIPINGV2, 0, ALL_CAN },
	{ "exclusive-lock", RBD_EXCLUSIVE_LOCK, 0, ASKED | ALL_CAN },
	{ "object-map", RBD_OBJECT_MAP, RBD_EXCLUSIVE_LOCK, ASKED | ALL_CAN },
	{ "fast-diff", RBD_FAST_DIFF, RBD_OBJECT_MAP, ASKED | ALL_CAN },
	{ "deep-flatten", RBD_DEEP_FLATTEN, 0, ASKED | ALL_CAN },
	{ "journaling", RBD_JOURNALING, RBD_EXCLUSIVE_LOCK, ASKED },
	{ "data-pool", RBD_DATA_POOL, 0, ALL_CAN },
	{ NULL, RBD_OPERATIONS, 0, ALL_CAN },
	{ NULL, RBD_MIGRATING, 0, 0 },
	{ NULL, RBD_NON_PRIMARY, 0, 0 },
};

uint64_t
features_for(unsigned uses)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < countof(features); i++)
		if ((features[i].uses & uses) == uses)
			bits |= features[i].bit;
	return bits;
}

int
features_add(const char *name, size_t len, unsigned uses, uint64_t *bits)
{
	for (size_t i = 0; i < countof(features); i++) {
		const struct feature *f = &features[i];

		if (f->name == NULL || strlen(f->name) != len ||
		    memcmp(f->name, name, len) != 0)
			continue;
		if ((f->uses & uses) != uses)
			return -EINVAL;
		*bits |= f->bit;
		return 0;
	}
	return -ENOENT;
}

const char *
features_unmet(uint64_t bits, uint64_t *missing)
{
	for (size_t i = 0; i < countof(features); i++) {
		*missing = features[i].needs & ~bits;
		if ((bits & features[i].bit) != 0 && *missing != 0)
			return features[i].name;
	}
	return NULL;
}

bool
features_parse(const char *text, uint64_t *bits)
{
	uint64_t all = 0;

	if (str_to_u64(text, &all) == 0)
		text = "";
	while (*text != '\0') {
		size_t len;

		text += strspn(text, " ,");
		len = strcspn(text, " ,");
		if (len > 0 &&
		    features_add(text, len, FEATURE_ASKED, &all) == -ENOENT)
			return false;
		text += len;
	}
	*bits = all & features_for(FEATURE_ASKED);
	return *bits != 0;
}

void
features_fmt(uint64_t bits, char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < countof(features); i++)
		if ((bits & features[i].bit) != 0 && features[i].name != NULL &&
		    used < size &&
		    str_put(out + used, size - used, "%s%s",
			used > 0 ? "," : "", features[i].name) == 0)
			used += strlen(out + used);
}
