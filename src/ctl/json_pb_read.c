/*
 * json_pb_read.c - from JSON to a message. The reader carries the path of the
 * value it looks at, for the error text.
 */
#include "csi/reflect.h"
#include "ctl/json_pb_impl.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#define PATH_ROOM 160

struct reader {
	struct arena *arena;
	struct err *err;
	char path[PATH_ROOM];
	size_t len;
};

/* A step down the path; path_leave() takes what path_enter() returned. */
static size_t
path_enter(struct reader *r, const char *name)
{
	size_t was = r->len;

	if (str_put(r->path + r->len, sizeof(r->path) - r->len, "%s%s",
		r->len > 0 ? "." : "", name) == 0)
		r->len += strlen(r->path + r->len);
	return was;
}

static size_t
path_index(struct reader *r, size_t i)
{
	size_t was = r->len;

	if (str_put(r->path + r->len, sizeof(r->path) - r->len, "[%zu]", i) ==
	    0)
		r->len += strlen(r->path + r->len);
	return was;
}

static void
path_leave(struct reader *r, size_t was)
{
	r->len = was;
	r->path[was] = '\0';
}

static int
fail(struct reader *r, const char *what)
{
	return err_set(r->err, ERR_INVALID_ARGUMENT, "%s: %s",
	    r->len > 0 ? r->path : "request", what);
}

static void *
room(struct reader *r, size_t size)
{
	void *p = arena_alloc(r->arena, size);

	if (p == NULL)
		(void)err_set(
		    r->err, ERR_RESOURCE_EXHAUSTED, "the request is too large");
	return p;
}

/* --- numbers --- */

/* The largest doubles below which every whole number is exact. */
#define EXACT 9007199254740992.0

static int
read_signed(struct reader *r, const json_t *json, int64_t min, int64_t max,
    int64_t *value)
{
	long long v = 0;
	char *end;

	if (json_is_integer(json)) {
		v = json_integer_value(json);
	} else if (json_is_real(json)) {
		double d = json_real_value(json);

		if (!(fabs(d) <= EXACT) || floor(d) != d)
			return fail(r, "is no whole number");
		v = (long long)d;
	} else if (json_is_string(json)) {
		const char *s = json_string_value(json);

		errno = 0;
		v = strtoll(s, &end, 10);
		if (strchr("-0123456789", s[0]) == NULL || s[0] == '\0' ||
		    *end != '\0')
			return fail(r, "is no whole number");
		if (errno == ERANGE)
			return fail(r, "is out of range");
	} else {
		return fail(r, "has to be a number");
	}
	if (v < min || v > max)
		return fail(r, "is out of range");
	*value = v;
	return 0;
}

static int
read_unsigned64(struct reader *r, const json_t *json, uint64_t *value)
{
	int64_t v = 0;
	int rc;

	/* Above INT64_MAX only as a string: jansson has no larger integers. */
	if (json_is_string(json)) {
		rc = str_to_u64(json_string_value(json), value);
		return rc == -ERANGE ? fail(r, "is out of range")
		    : rc < 0         ? fail(r, "is no whole number")
				     : 0;
	}
	if ((rc = read_signed(r, json, 0, INT64_MAX, &v)) == 0)
		*value = (uint64_t)v;
	return rc;
}

static int
read_double(struct reader *r, const json_t *json, double *value)
{
	const char *s = json_string_value(json);
	char *end;

	if (json_is_number(json)) {
		*value = json_number_value(json);
		return 0;
	}
	if (s == NULL)
		return fail(r, "has to be a number");
	if (strcmp(s, "NaN") == 0) {
		*value = NAN;
	} else if (strcmp(s, "Infinity") == 0) {
		*value = INFINITY;
	} else if (strcmp(s, "-Infinity") == 0) {
		*value = -INFINITY;
	} else {
		*value = strtod(s, &end);
		if (strchr("-0123456789", s[0]) == NULL || s[0] == '\0' ||
		    *end != '\0')
			return fail(r, "is no number");
	}
	return 0;
}

static int
read_enum(struct reader *r, const ProtobufCEnumDescriptor *type,
    const json_t *json, int *value)
{
	const ProtobufCEnumValue *v;
	int64_t number = 0;
	int rc;

	if (!json_is_string(json)) {
		if ((rc = read_signed(
			 r, json, INT32_MIN, INT32_MAX, &number)) == 0)
			*value = (int)number;
		return rc;
	}
	v = protobuf_c_enum_descriptor_get_value_by_name(
	    type, json_string_value(json));
	if (v == NULL)
		return err_set(r->err, ERR_INVALID_ARGUMENT,
		    "%s: \"%.48s\" is no value of %s", r->path,
		    json_string_value(json), type->short_name);
	*value = v->value;
	return 0;
}

/* --- bytes and timestamps --- */

static int
read_bytes(struct reader *r, const json_t *json, ProtobufCBinaryData *value)
{
	size_t len = json_string_length(json);
	auto_free char *text = NULL;
	long got;

	if (!json_is_string(json))
		return fail(r, "has to be a string in base64");
	text = str_dup(json_string_value(json));
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '-') /* base64url is allowed too */
			text[i] = '+';
		else if (text[i] == '_')
			text[i] = '/';
	}
	if ((value->data = room(r, len + 1)) == NULL)
		return -ENOMEM;
	if ((got = str_unbase64(value->data, len, text, len)) < 0)
		return fail(r, "is no base64");
	value->len = (size_t)got;
	return 0;
}

static bool
read_digits(const char **p, int count, int *value)
{
	*value = 0;
	for (int i = 0; i < count; i++, (*p)++) {
		if (**p < '0' || **p > '9')
			return false;
		*value = *value * 10 + (**p - '0');
	}
	return true;
}

static bool
read_char(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

/* ".25" as 250000000; at most nine digits, none at all is no fraction. */
static bool
read_fraction(const char **p, int32_t *nanos)
{
	int32_t unit = JSON_PB_NANOS / 10;
	const char *from;

	*nanos = 0;
	if (!read_char(p, '.'))
		return true;
	for (from = *p; **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
		*nanos += (**p - '0') * unit;
	return *p > from && *p - from <= 9;
}

/* "Z", "+02:00" or "-07:30": minutes east of UTC. */
static bool
read_offset(const char **p, int *minutes)
{
	int sign = **p == '-' ? -1 : 1, h, m;

	*minutes = 0;
	if (read_char(p, 'Z'))
		return true;
	if (!read_char(p, '+') && !read_char(p, '-'))
		return false;
	if (!read_digits(p, 2, &h) || !read_char(p, ':') ||
	    !read_digits(p, 2, &m) || h > 23 || m > 59)
		return false;
	*minutes = sign * (h * 60 + m);
	return true;
}

static bool
parse_timestamp(const char *p, int64_t *seconds, int32_t *nanos)
{
	struct tm tm = { .tm_isdst = 0 }, back;
	int offset;
	time_t t;

	if (!read_digits(&p, 4, &tm.tm_year) || !read_char(&p, '-') ||
	    !read_digits(&p, 2, &tm.tm_mon) || !read_char(&p, '-') ||
	    !read_digits(&p, 2, &tm.tm_mday) || !read_char(&p, 'T') ||
	    !read_digits(&p, 2, &tm.tm_hour) || !read_char(&p, ':') ||
	    !read_digits(&p, 2, &tm.tm_min) || !read_char(&p, ':') ||
	    !read_digits(&p, 2, &tm.tm_sec) || !read_fraction(&p, nanos) ||
	    !read_offset(&p, &offset) || *p != '\0')
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	back = tm;
	t = timegm(&tm);
	/* timegm() puts the 30th of February right: such a date is none. */
	if (back.tm_mon != tm.tm_mon || back.tm_mday != tm.tm_mday ||
	    back.tm_hour != tm.tm_hour || back.tm_min != tm.tm_min ||
	    back.tm_sec != tm.tm_sec)
		return false;
	*seconds = (int64_t)t - offset * INT64_C(60);
	return *seconds >= JSON_PB_SECONDS_MIN &&
	    *seconds <= JSON_PB_SECONDS_MAX;
}

/* --- values and messages --- */

static int read_message(struct reader *r,
    const ProtobufCMessageDescriptor *type, const json_t *json,
    ProtobufCMessage **out);

static int
read_value(struct reader *r, const ProtobufCFieldDescriptor *field,
    const json_t *json, void *slot)
{
	int64_t n = 0;
	double d = 0;
	int rc = 0;

	switch ((int)field->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		return read_message(r, reflect_type(field), json, slot);
	case PROTOBUF_C_TYPE_STRING:
		if (!json_is_string(json))
			return fail(r, "has to be a string");
		*(char **)slot = room(r, json_string_length(json) + 1);
		if (*(char **)slot == NULL)
			return -ENOMEM;
		memcpy(*(char **)slot, json_string_value(json),
		    json_string_length(json) + 1);
		return 0;
	case PROTOBUF_C_TYPE_BYTES:
		return read_bytes(r, json, slot);
	case PROTOBUF_C_TYPE_BOOL:
		if (!json_is_boolean(json))
			return fail(r, "has to be true or false");
		*(protobuf_c_boolean *)slot = json_is_true(json);
		return 0;
	case PROTOBUF_C_TYPE_ENUM:
		return read_enum(r, field->descriptor, json, slot);
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		if ((rc = read_signed(r, json, INT32_MIN, INT32_MAX, &n)) == 0)
			*(int32_t *)slot = (int32_t)n;
		return rc;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		if ((rc = read_signed(r, json, 0, UINT32_MAX, &n)) == 0)
			*(uint32_t *)slot = (uint32_t)n;
		return rc;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return read_signed(r, json, INT64_MIN, INT64_MAX, slot);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return read_unsigned64(r, json, slot);
	case PROTOBUF_C_TYPE_FLOAT:
		if ((rc = read_double(r, json, &d)) == 0)
			*(float *)slot = (float)d;
		return rc;
	case PROTOBUF_C_TYPE_DOUBLE:
		return read_double(r, json, slot);
	default:
		return fail(r, "has a type that is not known");
	}
}

static void *
slot_of(ProtobufCMessage *message, unsigned offset)
{
	return (char *)message + offset;
}

static int
read_array(struct reader *r, const ProtobufCFieldDescriptor *field,
    const json_t *json, ProtobufCMessage *message)
{
	size_t count = json_array_size(json), size = reflect_size(field->type);
	char *values;

	if (!json_is_array(json))
		return fail(r, "has to be an array");
	if (count == 0)
		return 0;
	if ((values = room(r, count * size)) == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		size_t was = path_index(r, i);
		int rc = read_value(
		    r, field, json_array_get(json, i), values + i * size);

		if (rc < 0)
			return rc;
		path_leave(r, was);
	}
	*(size_t *)slot_of(message, field->quantifier_offset) = count;
	*(void **)slot_of(message, field->offset) = values;
	return 0;
}

static int
read_map(struct reader *r, const ProtobufCFieldDescriptor *field,
    const json_t *json, ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = reflect_type(field);
	const ProtobufCFieldDescriptor *key = &type->fields[0];
	const ProtobufCFieldDescriptor *value = &type->fields[1];
	ProtobufCMessage **entries;
	size_t count = 0;
	json_t *member;
	const char *name;

	if (!json_is_object(json))
		return fail(r, "has to be an object");
	if (key->type != PROTOBUF_C_TYPE_STRING)
		return fail(r, "maps with such keys are not supported");
	if (json_object_size(json) == 0)
		return 0;
	entries = room(r, json_object_size(json) * reflect_size(field->type));
	if (entries == NULL)
		return -ENOMEM;
	json_object_foreach ((json_t *)(uintptr_t)json, name, member) {
		size_t was = path_enter(r, name);
		ProtobufCMessage *entry = room(r, type->sizeof_message);
		int rc;

		if (entry == NULL)
			return -ENOMEM;
		protobuf_c_message_init(type, entry);
		*(char **)slot_of(entry, key->offset) = arena_strdup(
		    r->arena, name);
		if ((rc = read_value(
			 r, value, member, slot_of(entry, value->offset))) < 0)
			return rc;
		entries[count++] = entry;
		path_leave(r, was);
	}
	*(size_t *)slot_of(message, field->quantifier_offset) = count;
	*(void **)slot_of(message, field->offset) = entries;
	return 0;
}

static const ProtobufCFieldDescriptor *
field_by_name(const ProtobufCMessageDescriptor *type, const char *name)
{
	char camel[JSON_PB_NAME_MAX];

	for (unsigned i = 0; i < type->n_fields; i++) {
		json_pb_camel(camel, sizeof(camel), type->fields[i].name);
		if (strcmp(name, camel) == 0 ||
		    strcmp(name, type->fields[i].name) == 0)
			return &type->fields[i];
	}
	return NULL;
}

/* The number of the oneof member that is set, 0 for none. */
static int
claim_oneof(struct reader *r, const ProtobufCFieldDescriptor *field,
    ProtobufCMessage *message)
{
	uint32_t *set = slot_of(message, field->quantifier_offset);
	const ProtobufCFieldDescriptor *other;

	if (*set != 0) {
		other = protobuf_c_message_descriptor_get_field(
		    message->descriptor, *set);
		return err_set(r->err, ERR_INVALID_ARGUMENT,
		    "%s: only one of %s and %s may be set", r->path,
		    other->name, field->name);
	}
	*set = field->id;
	return 0;
}

static int
read_field(struct reader *r, const ProtobufCFieldDescriptor *field,
    const json_t *json, ProtobufCMessage *message)
{
	int rc;

	if (reflect_is_map(field))
		return read_map(r, field, json, message);
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return read_array(r, field, json, message);
	if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
	    (rc = claim_oneof(r, field, message)) < 0)
		return rc;
	return read_value(r, field, json, slot_of(message, field->offset));
}

static int
read_object(struct reader *r, const json_t *json, ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	auto_free bool *seen = mem_new(type->n_fields + 1);
	const char *name;
	json_t *member;

	if (!json_is_object(json))
		return fail(r, "has to be an object");
	json_object_foreach ((json_t *)(uintptr_t)json, name, member) {
		const ProtobufCFieldDescriptor *field = field_by_name(
		    type, name);
		size_t was = path_enter(r, name);
		int rc;

		if (field == NULL)
			return err_set(r->err, ERR_INVALID_ARGUMENT,
			    "%s: %s has no such field", r->path,
			    type->short_name);
		if (seen[field - type->fields])
			return fail(r, "is given twice, under both names");
		seen[field - type->fields] = true;
		if (!json_is_null(member) &&
		    (rc = read_field(r, field, member, message)) < 0)
			return rc;
		path_leave(r, was);
	}
	return 0;
}

static int
read_timestamp(struct reader *r, const json_t *json, ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	int64_t *seconds = slot_of(message, type->fields[0].offset);
	int32_t *nanos = slot_of(message, type->fields[1].offset);

	if (!json_is_string(json) ||
	    !parse_timestamp(json_string_value(json), seconds, nanos))
		return fail(r, "is no time like 2026-01-31T12:00:00.5Z");
	return 0;
}

static int
read_message(struct reader *r, const ProtobufCMessageDescriptor *type,
    const json_t *json, ProtobufCMessage **out)
{
	ProtobufCMessage *message = room(r, type->sizeof_message);

	if (message == NULL)
		return -ENOMEM;
	protobuf_c_message_init(type, message);
	*out = message;
	switch (json_pb_kind_of(type)) {
	case JSON_PB_TIMESTAMP:
		return read_timestamp(r, json, message);
	case JSON_PB_WRAPPER:
		return read_value(r, &type->fields[0], json,
		    slot_of(message, type->fields[0].offset));
	case JSON_PB_OBJECT:
		break;
	}
	return read_object(r, json, message);
}

ProtobufCMessage *
json_pb_read(const ProtobufCMessageDescriptor *type, const json_t *json,
    struct arena *arena, struct err *err)
{
	struct reader r = { .arena = arena, .err = err };
	ProtobufCMessage *message = NULL;

	return read_message(&r, type, json, &message) < 0 ? NULL : message;
}
