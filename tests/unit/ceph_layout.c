/*
 * ceph_layout.c - parameters of images, and lists of monitors.
 */
#include "ceph/cls_rbd.h"
#include "ceph/image.h"
#include "ceph/image_header.h"
#include "ceph/monitors.h"
#include "tests/tap.h"

#include <stdlib.h>

#define MIB (1024ull * 1024)

/* What librbd 16.2.15 stored, or refused, for the same parameters. */
static const struct {
	uint8_t order;
	uint64_t unit, count, features, size;
	enum err_code code;
	uint64_t stored;
} checks[] = {
	{ 0, 0, 0, 1, MIB, ERR_OK, 1 },
	{ 22, 0, 0, 0, MIB, ERR_OK, 0 },
	{ 22, 0, 0, 5, MIB, ERR_OK, 5 },
	{ 22, 0, 0, 0xd, MIB, ERR_OK, 0x1d },
	{ 22, 0, 0, 0xc, MIB, ERR_OK, 0x1c },
	{ 22, 0, 0, 0x3d, MIB, ERR_OK, 0x3d },
	{ 22, 0, 0, 0x25, MIB, ERR_OK, 0x25 },
	{ 22, 4 * MIB, 1, 1, MIB, ERR_OK, 1 },
	{ 22, 4 * MIB, 2, 1, MIB, ERR_OK, 3 },
	{ 22, MIB, 1, 1, MIB, ERR_OK, 3 },
	{ 22, 512, 2, 1, MIB, ERR_OK, 3 },
	{ 12, 0, 0, 1, MIB, ERR_OK, 1 },
	{ 25, 0, 0, 1, MIB, ERR_OK, 1 },
	{ 22, 0, 0, 9, MIB, ERR_INVALID_ARGUMENT, 0 },
	{ 22, 0, 0, 0x15, MIB, ERR_INVALID_ARGUMENT, 0 },
	{ 22, 0, 0, 0x45, MIB, ERR_INVALID_ARGUMENT, 0 },
	{ 22, 0, 0, 0x81, MIB, ERR_INVALID_ARGUMENT, 0 },
	{ 22, 0, 0, 0x1001, MIB, ERR_INVALID_ARGUMENT, 0 },
	{ 22, MIB, 0, 1, MIB, ERR_INVALID_ARGUMENT, 0 },
	{ 22, 0, 4, 1, MIB, ERR_INVALID_ARGUMENT, 0 },
	{ 22, 3 * MIB, 2, 1, MIB, ERR_INVALID_ARGUMENT, 0 },
	{ 22, 256, 2, 1, MIB, ERR_INVALID_ARGUMENT, 0 },
	{ 22, 1000, 2, 1, MIB, ERR_INVALID_ARGUMENT, 0 },
	{ 22, 8 * MIB, 2, 1, MIB, ERR_INVALID_ARGUMENT, 0 },
	{ 22, 4 * MIB, 1ull << 42, 1, MIB, ERR_INVALID_ARGUMENT, 0 },
	{ 11, 0, 0, 1, MIB, ERR_INVALID_ARGUMENT, 0 },
	{ 26, 0, 0, 1, MIB, ERR_INVALID_ARGUMENT, 0 },
	{ 12, 0, 0, 0x3d, 256000000ull << 12, ERR_OK, 0x3d },
	{ 12, 0, 0, 0x3d, 256000001ull << 12, ERR_OUT_OF_RANGE, 0 },
	{ 22, 0, 0, 1, 1ull << 63, ERR_OUT_OF_RANGE, 0 },
};

static void
test_checks(void)
{
	for (size_t i = 0; i < countof(checks); i++) {
		struct layout layout = { checks[i].order, checks[i].unit,
			checks[i].count };
		uint64_t features = checks[i].features;
		struct err err = ERR_INIT;
		int rc = layout_check(&layout, checks[i].size, &features, &err);

		ok(err.code == checks[i].code &&
			(rc < 0 || features == checks[i].stored),
		    "order %u, striping %" PRIu64 " x %" PRIu64
		    ", features 0x%" PRIx64 ": %s",
		    checks[i].order, checks[i].unit, checks[i].count,
		    checks[i].features, rc < 0 ? err.text : "fine");
	}
}

/*
 * Counts by going through all units; the object of a unit is a fact of the
 * striping's definition.
 */
static uint64_t
count_objects(const struct layout *l, uint64_t size)
{
	uint64_t units_per_object = (1ull << l->order) / l->stripe_unit;
	uint64_t highest = 0;

	for (uint64_t at = 0; at < size; at += l->stripe_unit) {
		uint64_t unit = at / l->stripe_unit;
		uint64_t stripe = unit / l->stripe_count;
		uint64_t object = stripe / units_per_object * l->stripe_count +
		    unit % l->stripe_count;

		if (object + 1 > highest)
			highest = object + 1;
	}
	return highest;
}

static void
test_objects(void)
{
	static const struct layout layouts[] = {
		{ 12, 4096, 1 },
		{ 12, 512, 1 },
		{ 12, 1024, 3 },
		{ 12, 4096, 5 },
		{ 13, 2048, 7 },
	};
	unsigned wrong = 0;

	for (size_t i = 0; i < countof(layouts); i++)
		for (uint64_t size = 0; size < 200000; size += 511)
			wrong += layout_objects(&layouts[i], size) !=
			    count_objects(&layouts[i], size);
	is_int(wrong, 0, "objects are counted as the striping lays them out");
}

static void
test_monitors(void)
{
	static const struct {
		const char *list, *kept;
	} cases[] = {
		{ "10.0.0.1", "10.0.0.1" },
		{ "10.0.0.1:6789, 10.0.0.2:3300;10.0.0.3",
		    "10.0.0.1:6789,10.0.0.2:3300,10.0.0.3" },
		{ "[::1]:6789,[fe80::1]", "[::1]:6789,[fe80::1]" },
		{ "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0],10.0.0.2",
		    "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0],10.0.0.2" },
		{ "[v2:[::1]:3300/0,v1:[::1]:6789/0]",
		    "[v2:[::1]:3300/0,v1:[::1]:6789/0]" },
		{ "v2:10.0.0.1:3300", "v2:10.0.0.1:3300" },
		{ "localhost:6789", "localhost:6789" },
		{ "mon.invalid:6789,10.0.0.1", "10.0.0.1" },
	};
	struct err err;
	char *kept;

	for (size_t i = 0; i < countof(cases); i++) {
		kept = NULL;
		if (monitors_resolve(cases[i].list, &kept, NULL) < 0)
			diag("refused");
		is_str(kept, cases[i].kept, "monitors %s", cases[i].list);
		free(kept);
	}
	err = (struct err)ERR_INIT;
	ok(monitors_resolve(" ,", &kept, &err) < 0 &&
		err.code == ERR_INVALID_ARGUMENT,
	    "no monitors are refused");
	err = (struct err)ERR_INIT;
	ok(monitors_resolve("[v2:10.0.0.1:3300", &kept, &err) < 0 &&
		err.code == ERR_INVALID_ARGUMENT,
	    "an open bracket is refused");
	err = (struct err)ERR_INIT;
	ok(monitors_resolve("mon.invalid", &kept, &err) < 0 &&
		err.code == ERR_UNAVAILABLE &&
		str_starts(err.text, "resolve monitors mon.invalid: "),
	    "a name that does not resolve is told: %s", err.text);
}

static void
test_headers(void)
{
	static const struct {
		const char *prefix;
		struct layout layout;
		uint64_t size, features;
		const char *error; /* NULL: fit */
	} cases[] = {
		{ "rbd_data.10ab", { 22, 1 << 22, 1 }, 1ull << 40, 0x3d, NULL },
		{ "rbd_data.3.10ab", { 12, 512, 16 }, 0, 0x3d, NULL },
		{ "rbd_data.10ab", { 25, 1 << 25, 1 }, INT64_MAX, 1, NULL },
		{ "", { 22, 1 << 22, 1 }, 1, 1, "object prefix" },
		{ "data.10ab", { 22, 1 << 22, 1 }, 1, 1, "object prefix" },
		{ "rbd_data.%s", { 22, 1 << 22, 1 }, 1, 1, "object prefix" },
		{ "rbd_data.123456789012345678901234567890123456789012345678901"
		  "2345678901234567890",
		    { 22, 1 << 22, 1 }, 1, 1, "object prefix of 79 bytes" },
		{ "rbd_data.10ab", { 0, 1, 1 }, 1, 1, "2^0" },
		{ "rbd_data.10ab", { 26, 1 << 26, 1 }, 1, 1, "2^26" },
		{ "rbd_data.10ab", { 22, 0, 1 }, 1, 1, "stripe unit 0" },
		{ "rbd_data.10ab", { 22, 1 << 23, 1 }, 1, 1, "stripe unit" },
		{ "rbd_data.10ab", { 22, 3000, 1 }, 1, 1, "stripe unit 3000" },
		{ "rbd_data.10ab", { 22, 4096, 0 }, 1, 1, "stripe count 0" },
		{ "rbd_data.10ab", { 22, 4096, 1ull << 32 }, 1, 1,
		    "stripe count" },
		{ "rbd_data.10ab", { 22, 1 << 22, 1 }, 1ull << 63, 1,
		    "image size" },
		{ "rbd_data.10ab", { 12, 4096, 1 }, 1ull << 50, 0x3d,
		    "object map" },
	};

	for (size_t i = 0; i < countof(cases); i++) {
		struct image_info info = { .id = "10ab",
			.size_bytes = cases[i].size,
			.features = cases[i].features,
			.layout = cases[i].layout };
		struct err err = ERR_INIT;

		(void)snprintf(
		    info.prefix, sizeof(info.prefix), "%s", cases[i].prefix);
		if (cases[i].error == NULL)
			ok(image_header_check(&info, &err) == 0, "a header: %s",
			    err.text);
		else
			ok(image_header_check(&info, &err) < 0 &&
				err.code == ERR_DATA_LOSS &&
				strstr(err.text, cases[i].error) != NULL,
			    "a header: %s", err.text);
	}
}

int
main(void)
{
	test_headers();
	test_checks();
	test_objects();
	test_monitors();
	return tap_end();
}
