/*
 * head.c - fuzz target: the rules for header lists. The input is a list of
 * fields, each a byte with the length of the name (its high bit: a name that
 * matters), the name, the length of the value and the value.
 */
#include "rpc/server_head.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define LIST_MAX 1000

static const char *const names[] = { ":method", ":scheme", ":path",
	":authority", "host", "content-length", "content-type", "grpc-timeout",
	"grpc-encoding", "te", "connection", "x-bin", ":status", "X" };

/* A fault may get worse, and never turns fine again. */
static void
check(const struct head *head, const struct head *before)
{
	fuzz_check(before->fault == HEAD_FINE || head->fault != HEAD_FINE);
	fuzz_check(
	    before->fault != HEAD_MALFORMED || head->fault == HEAD_MALFORMED);
	fuzz_check(head->fault == HEAD_FINE || head->text != NULL);
	fuzz_check(head->fault != HEAD_REFUSED || head->code != ERR_OK);
	fuzz_check(memchr(head->path, '\0', HEAD_PATH_MAX) != NULL);
	fuzz_check(head->path[0] == '\0' || head->path[0] == '/');
	fuzz_check(head->timeout_ms >= -1 && head->content_length >= -1);
	fuzz_check(head->list_bytes <= LIST_MAX || head->fault != HEAD_FINE);
}

static void
field(struct head *head, bool trailers, struct fuzz_input name,
    struct fuzz_input value)
{
	const char *n = (const char *)name.at, *v = (const char *)value.at;

	if (trailers)
		head_trailer_field(head, n, name.len, v, value.len, LIST_MAX);
	else if (head_field(head, n, name.len, v, value.len, LIST_MAX))
		fuzz_check(name.len > 0 && n[0] != ':');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	bool trailers = (fuzz_byte(&in) & 1) != 0;
	struct head head, before;

	head_init(&head);
	while (in.len > 0) {
		unsigned kind = fuzz_byte(&in);
		const char *known = names[kind % countof(names)];
		struct fuzz_input name = { (const uint8_t *)known,
			strlen(known) };
		struct fuzz_input value;

		if ((kind & 0x80) == 0)
			name = fuzz_take(&in, kind);
		value = fuzz_take(&in, fuzz_byte(&in));
		before = head;
		field(&head, trailers, name, value);
		check(&head, &before);
	}
	before = head;
	if (!trailers)
		head_end(&head);
	check(&head, &before);
	fuzz_check(trailers || head.fault != HEAD_FINE || head.path[0] == '/');
	return 0;
}
