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

	for (size_t i = 0; i < countof(t); i++) {
		uint64_t features = 0;
		bool good = features_parse(t[i].text, &features);

		ok(good == t[i].good && (!good || features == t[i].features),
		    "\"%s\" is %s", t[i].text,
		    good ? "understood" : "not understood");
	}
	return tap_end();
}
