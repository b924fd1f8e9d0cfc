/*
 * json.h - the owner of jansson: everybody includes this file, and uses
 * jansson's own calls on json_t beside these helpers.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/err.h"
#include "base/str.h"

#include <jansson.h>

static inline void
json_auto_decref(json_t **json)
{
	json_decref(*json);
}

#define auto_json __attribute__((cleanup(json_auto_decref)))

/*
 * Reads a whole file of at most `max` bytes as JSON. NULL on failure, with
 * `err` naming the file and the line, never its content. The caller owns the
 * reference. `lenient`, for what people write: of members of one name the last
 * one counts, NULs in strings are let through (json_string_length() tells) and
 * so are integers of any size (as reals).
 */
json_t *json_read_file(
    const char *path, size_t max, bool lenient, struct err *err);

#define JSON_TMP ".tmp"

/*
 * Writes to `path` JSON_TMP with `mode` and renames over `path`: a reader sees the
 * old or the new content, also after a kill. Not synced to the disk: it is
 * for state that means nothing after a power failure. Returns 0 or a negative
 * errno.
 */
int json_write_file(const char *path, const json_t *json, unsigned mode,
    struct err *err) must_check;

/*
 * The member of this name as Go's encoding/json finds it, by which ceph-csi
 * reads what people write: letter case does not matter, of equal ones the last
 * one counts, and null is as good as nothing. NULL: there is none, or
 * `object` is no object.
 */
const json_t *json_member(const json_t *object, const char *name);

/* Members of an object: the string, or NULL when absent or no string. */
const char *json_get_string(const json_t *object, const char *key);

#endif
