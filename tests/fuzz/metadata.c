/*
 * metadata.c - fuzz target: custom metadata. What is added is read again in
 * its order, bytes survive base64, and what a peer sent as base64 is decoded
 * or refused. Each field: a byte, the length of the name, that of the value.
 */
#include "rpc/grpc.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#define NAME_MAX_BYTES 40

static const char *const names[] = { "x-a", "x-a-bin", "grpc-x", "te", "X" };

/* The newest field has this name; gives its value. */
static const char *
newest(const struct metadata *md, const char *want)
{
	const char *name = NULL, *value = NULL;
	size_t at = 0, n = 0;

	while (metadata_next(md, &at, &name, &value))
		n++;
	fuzz_check(n == md->count && n > 0 && str_eq(name, want));
	return value;
}

static void
add(struct metadata *md, const char *name, struct fuzz_input value)
{
	unsigned char back[256];
	const char *text;
	int rc = metadata_add(md, name, value.at, value.len);

	fuzz_check(rc == 0 || rc == -EINVAL || rc == -EMSGSIZE);
	if (rc < 0)
		return;
	fuzz_check(name[0] != ':' && !str_starts(name, "grpc-"));
	text = newest(md, name);
	fuzz_check(strlen(text) <= 2 * value.len);
	if (!str_ends(name, "-bin"))
		memcpy(back, text, strlen(text));
	else
		fuzz_check(str_unbase64(back, sizeof(back), text,
			       strlen(text)) == (long)value.len);
	fuzz_check(value.len == 0 || memcmp(back, value.at, value.len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	struct metadata sent = { .count = 0 }, noted = { .count = 0 };

	while (in.len > 0) {
		unsigned kind = fuzz_byte(&in);
		char name[NAME_MAX_BYTES + 1] = { 0 };
		struct fuzz_input raw = { 0 }, value;
		const char *known = "";

		if (kind < NAME_MAX_BYTES)
			raw = fuzz_take(&in, kind);
		else
			known = names[kind % countof(names)];
		if (raw.len > 0)
			memcpy(name, raw.at, raw.len);
		else
			memcpy(name, known, strlen(known));
		value = fuzz_take(&in, fuzz_byte(&in));
		add(&sent, name, value);
		/* server_head.c has seen to it that there is no NUL in a value. */
		if (value.len > 0 && memchr(value.at, 0, value.len) != NULL)
			continue;
		fuzz_check(metadata_note(&noted, name, strlen(name),
			       (const char *)value.at, value.len) == 0);
	}
	metadata_fini(&sent);
	metadata_fini(&noted);
	return 0;
}
