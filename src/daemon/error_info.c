/*
 * error_info.c - three fields: reason, domain, and a map of strings.
 */
#include "daemon/error_info.h"

#include "base/pb.h"

#include <string.h>

enum { INFO_REASON = 1, INFO_DOMAIN = 2, INFO_METADATA = 3 };
enum { ENTRY_KEY = 1, ENTRY_VALUE = 2 };

static int
put_text(struct buf *out, unsigned number, const char *text)
{
	return pb_put(out, number, text, strlen(text));
}

/* An entry of a map is a message of its own. */
static int
put_entry(struct buf *out, const struct error_info_field *field)
{
	struct buf entry;
	int rc;

	buf_init(&entry, out->max);
	rc = put_text(&entry, ENTRY_KEY, field->name);
	if (rc == 0)
		rc = put_text(&entry, ENTRY_VALUE, field->value);
	if (rc == 0)
		rc = pb_put(out, INFO_METADATA, entry.data, entry.len);
	buf_fini(&entry);
	return rc;
}

int
error_info_put(struct buf *out, const char *reason, const char *domain,
    const struct error_info_field *metadata, size_t count)
{
	int rc = put_text(out, INFO_REASON, reason);

	if (rc == 0)
		rc = put_text(out, INFO_DOMAIN, domain);
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = put_entry(out, &metadata[i]);
	return rc;
}
