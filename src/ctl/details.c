/*
 * details.c - google.rpc.Status and ErrorInfo, by the numbers of their fields;
 * source: googleapis google/rpc/status.proto and error_details.proto.
 */
#include "ctl/details.h"

#include "base/pb.h"

#include <string.h>

#define STATUS_DETAILS 3
#define ANY_TYPE_URL 1
#define ANY_VALUE 2
#define INFO_REASON 1
#define INFO_DOMAIN 2
#define INFO_METADATA 3
#define ENTRY_KEY 1
#define ENTRY_VALUE 2

/* A terminal takes no orders from a server. */
static void
print_text(FILE *out, struct pb text)
{
	for (size_t i = 0; i < text.len; i++)
		(void)fputc(
		    text.at[i] < ' ' || text.at[i] == 0x7f ? '?' : text.at[i],
		    out);
}

static void
print_info(FILE *out, struct pb info)
{
	struct pb_field field;
	int more;

	(void)fputs("reason ", out);
	print_text(out, pb_get(info, INFO_REASON));
	(void)fputs(", domain ", out);
	print_text(out, pb_get(info, INFO_DOMAIN));
	(void)fputc('\n', out);
	while ((more = pb_next(&info, &field)) > 0) {
		if (field.number != INFO_METADATA || !field.has_bytes)
			continue;
		(void)fputs("    ", out);
		print_text(out, pb_get(field.bytes, ENTRY_KEY));
		(void)fputs(": ", out);
		print_text(out, pb_get(field.bytes, ENTRY_VALUE));
		(void)fputc('\n', out);
	}
	if (more < 0)
		(void)fputs("    (garbled)\n", out);
}

/* What is behind the last slash, which is all that counts in a type URL. */
static struct pb
type_name(struct pb url)
{
	const unsigned char *slash = url.len > 0 ? memrchr(url.at, '/', url.len)
						 : NULL;

	if (slash != NULL) {
		url.len -= (size_t)(slash + 1 - url.at);
		url.at = slash + 1;
	}
	return url;
}

void
ctl_details_print(FILE *out, const void *bytes, size_t len)
{
	struct pb status = { .at = bytes, .len = len };
	struct pb_field field;
	struct pb name, value;
	int more;

	while ((more = pb_next(&status, &field)) > 0) {
		if (field.number != STATUS_DETAILS || !field.has_bytes)
			continue;
		name = type_name(pb_get(field.bytes, ANY_TYPE_URL));
		value = pb_get(field.bytes, ANY_VALUE);
		(void)fputs("  ", out);
		print_text(out, name);
		(void)fputs(": ", out);
		if (pb_is(name, "google.rpc.ErrorInfo"))
			print_info(out, value);
		else
			(void)fprintf(out, "%zu bytes\n", value.len);
	}
	if (more < 0)
		(void)fputs("  (details are garbled)\n", out);
}
