/*
 * features.c - how the option rbd_default_features is read.
 */
#include "base/features.h"
#include "tests/tap.h"

int
main(void)
{
	static const struct {
		const char *text;
		bool good;
		uint64_t features;
	} t[] = {
		{ "61", true, 61 },
		{ "1", true, 1 },
		{ "layering,exclusive-lock,object-map,fast-diff,deep-flatten",
		    true, 61 },
		{ "layering, journaling", true, 65 },
		{ "layering striping data-pool", true, 1 },
		{ "255", true, 125 }, /* what cannot be asked is left out */
		{ "0", false, 0 },
		{ "", false, 0 },
		{ "layering,teleport", false, 0 },
	};

	uint64_t missing;

	for (size_t i = 0; i < countof(t); i++) {
		uint64_t features = 0;
		bool good = features_parse(t[i].text, &features);

		ok(good == t[i].good && (!good || features == t[i].features),
		    "\"%s\" is %s", t[i].text,
		    good ? "understood" : "not understood");
	}
	is_int(features_created(), 0x3d,
	    "images are created with librbd's own default");
	is_int(features_for(FEATURE_KRBD), 0x1bf,
	    "krbd maps what its RBD_FEATURES_ALL has");
	is_int(features_for(FEATURE_NATIVE) &
		(RBD_JOURNALING | RBD_MIGRATING | RBD_NON_PRIMARY),
	    0, "librbd handles journals, migrations and mirrors");
	is_str(features_unmet(RBD_OBJECT_MAP, &missing), "object-map",
	    "a feature that lacks another one is named");
	is_int(missing, RBD_EXCLUSIVE_LOCK, "and so is what it lacks");
	ok(features_unmet(features_created(), &missing) == NULL,
	    "those of a new image lack nothing");
	return tap_end();
}
