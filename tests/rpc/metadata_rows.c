/*
 * metadata_rows.c - rows of fields: what is kept, what may be sent, bytes.
 */
#include "rpc/grpc.h"

#include "tests/tap.h"

#include <errno.h>

static void
note(struct metadata *md, const char *name, const char *value)
{
	if (metadata_note(md, name, strlen(name), value, strlen(value)) < 0)
		abort();
}

static void
only_custom_fields_are_kept(void)
{
	static const char *const not_kept[] = { ":path", "te", "host",
		"content-type", "user-agent", "grpc-timeout", "grpc-encoding",
		"grpc-accept-encoding", "content-length" };
	const char *name, *value;
	struct metadata md = { .count = 0 };
	size_t at = 0;

	for (size_t i = 0; i < countof(not_kept); i++)
		note(&md, not_kept[i], "x");
	is_int(md.count, 0, "fields of HTTP and gRPC are not kept");
	note(&md, "x-one", "1");
	note(&md, "x-empty", "");
	ok(metadata_next(&md, &at, &name, &value) && str_eq(name, "x-one") &&
		str_eq(value, "1"),
	    "others are");
	ok(metadata_next(&md, &at, &name, &value) && str_eq(name, "x-empty") &&
		str_eq(value, ""),
	    "... also empty ones");
	ok(!metadata_next(&md, &at, &name, &value), "... and no more");
	metadata_fini(&md);
}

static void
what_is_sent_is_checked(void)
{
	static const struct {
		const char *name, *value;
		int rc;
	} rows[] = {
		{ "x-good", "some text", 0 },
		{ "x_good.2", "", 0 },
		{ "X-Capital", "x", -EINVAL },
		{ "x y", "x", -EINVAL },
		{ "", "x", -EINVAL },
		{ ":status", "200", -EINVAL },
		{ "grpc-status", "0", -EINVAL },
		{ "content-type", "x", -EINVAL },
		{ "x-lines", "a\r\nb", -EINVAL },
		{ "x-umlaut", "\xc3\xa4", -EINVAL },
		{ "x-blank", " x", -EINVAL },
		{ "x-bytes-bin", "\xc3\xa4\r\n", 0 },
	};
	struct metadata md = { .count = 0 };

	for (size_t i = 0; i < countof(rows); i++)
		is_int(metadata_add(&md, rows[i].name, rows[i].value,
			   strlen(rows[i].value)),
		    rows[i].rc, "sending '%s' is %s", rows[i].name,
		    rows[i].rc == 0 ? "fine" : "refused");
	is_int(md.count, 3, "what is refused is not sent");
	while (metadata_add(&md, "x-more", "x", 1) == 0)
		;
	is_int(md.count, METADATA_FIELDS_MAX, "there is a limit");
	metadata_fini(&md);
}

static void
bytes_survive_base64(void)
{
	unsigned char bytes[64], back[64];
	const char *name, *value;
	bool all = true;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 37);
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		struct metadata md = { .count = 0 };
		size_t at = 0;

		all &= metadata_add(&md, "x-bin", bytes, len) == 0 &&
		    metadata_next(&md, &at, &name, &value) &&
		    strchr(value, '=') == NULL &&
		    str_unbase64(back, sizeof(back), value, strlen(value)) ==
			(long)len &&
		    memcmp(back, bytes, len) == 0;
		metadata_fini(&md);
	}
	ok(all, "bytes of any length go over the wire in base64");
	is_int(
	    str_unbase64(back, sizeof(back), "AAE=", 4), 2, "padding is taken");
	is_int(str_unbase64(back, sizeof(back), "AAE", 3), 2,
	    "... and not needed");
	is_int(str_unbase64(back, sizeof(back), "A*E=", 4), -EINVAL,
	    "what is no base64 is told");
	is_int(
	    str_unbase64(back, 1, "AAE=", 4), -EINVAL, "so is more than fits");
}

int
main(void)
{
	only_custom_fields_are_kept();
	what_is_sent_is_checked();
	bytes_survive_base64();
	return tap_end();
}
