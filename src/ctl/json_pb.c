/*
 * json_pb.c - see json_pb.h. The reader carries the path of the value that it
 * looks at, for the error text; the writer returns NULL where something below
 * could not be written, and json_pb_write() says so once, at the end.
 *
 * What no message of CSI or Admin has is not here (floating point, bytes);
 * a test walks all their types.
 */
#include "ctl/json_pb.h"

#include "csi/reflect.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#define PATH_ROOM 160
#define NAME_MAX_BYTES 64 /* the longest field name of CSI has 25 */

/* What is not written as an object. */
enum json_pb_kind {
	JSON_PB_OBJECT = 0, /* a message like any other */
	JSON_PB_TIMESTAMP,  /* google.protobuf.Timestamp: a string */
	JSON_PB_WRAPPER,    /* google.protobuf.Int64Value, ...: its value */
};

static enum json_pb_kind
kind_of(const ProtobufCMessageDescriptor *type)
{
	static const char package[] = "google.protobuf.";

	if (!str_starts(type->name, package))
		return JSON_PB_OBJECT;
	if (str_eq(type->name + strlen(package), "Timestamp"))
		return JSON_PB_TIMESTAMP;
	return str_ends(type->name, "Value") ? JSON_PB_WRAPPER : JSON_PB_OBJECT;
}

/* "volume_id" as "volumeId". */
static void
camel(char out[NAME_MAX_BYTES], const char *name)
{
	size_t used = 0;
	bool up = false;

	for (; *name != '\0' && used + 1 < NAME_MAX_BYTES; name++) {
		if (*name != '_')
			out[used++] = up ? (char)toupper((unsigned char)*name)
					 : *name;
		up = *name == '_';
	}
	out[used] = '\0';
}

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
reader_fail(struct reader *r, const char *what)
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

/* ---- reading ------------------------------------------------------------- */

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
			return reader_fail(r, "is no whole number");
		v = (long long)d;
	} else if (json_is_string(json)) {
		const char *s = json_string_value(json);

		errno = 0;
		v = strtoll(s, &end, 10);
		if (strchr("-0123456789", s[0]) == NULL || s[0] == '\0' ||
		    *end != '\0')
			return reader_fail(r, "is no whole number");
		if (errno == ERANGE)
			return reader_fail(r, "is out of range");
	} else {
		return reader_fail(r, "has to be a number");
	}
	if (v < min || v > max)
		return reader_fail(r, "is out of range");
	*value = v;
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

static int read_message(struct reader *r,
    const ProtobufCMessageDescriptor *type, const json_t *json,
    ProtobufCMessage **out);

static int
read_value(struct reader *r, const ProtobufCFieldDescriptor *field,
    const json_t *json, void *slot)
{
	int64_t n = 0;
	int rc;

	switch ((int)field->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		return read_message(r, reflect_type(field), json, slot);
	case PROTOBUF_C_TYPE_STRING:
		if (!json_is_string(json))
			return reader_fail(r, "has to be a string");
		*(char **)slot = room(r, json_string_length(json) + 1);
		if (*(char **)slot == NULL)
			return -ENOMEM;
		memcpy(*(char **)slot, json_string_value(json),
		    json_string_length(json) + 1);
		return 0;
	case PROTOBUF_C_TYPE_BOOL:
		if (!json_is_boolean(json))
			return reader_fail(r, "has to be true or false");
		*(protobuf_c_boolean *)slot = json_is_true(json);
		return 0;
	case PROTOBUF_C_TYPE_ENUM:
		return read_enum(r, field->descriptor, json, slot);
	case PROTOBUF_C_TYPE_INT32:
		if ((rc = read_signed(r, json, INT32_MIN, INT32_MAX, &n)) == 0)
			*(int32_t *)slot = (int32_t)n;
		return rc;
	case PROTOBUF_C_TYPE_UINT32:
		if ((rc = read_signed(r, json, 0, UINT32_MAX, &n)) == 0)
			*(uint32_t *)slot = (uint32_t)n;
		return rc;
	case PROTOBUF_C_TYPE_INT64:
		return read_signed(r, json, INT64_MIN, INT64_MAX, slot);
	default:
		return reader_fail(r, "has a type that is not supported");
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
		return reader_fail(r, "has to be an array");
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
		return reader_fail(r, "has to be an object");
	if (key->type != PROTOBUF_C_TYPE_STRING)
		return reader_fail(r, "maps with such keys are not supported");
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
	char name_of[NAME_MAX_BYTES];

	for (unsigned i = 0; i < type->n_fields; i++) {
		camel(name_of, type->fields[i].name);
		if (strcmp(name, name_of) == 0 ||
		    strcmp(name, type->fields[i].name) == 0)
			return &type->fields[i];
	}
	return NULL;
}

static int
read_field(struct reader *r, const ProtobufCFieldDescriptor *field,
    const json_t *json, ProtobufCMessage *message)
{
	uint32_t *set = slot_of(message, field->quantifier_offset);

	if (reflect_is_map(field))
		return read_map(r, field, json, message);
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return read_array(r, field, json, message);
	if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 && *set != 0)
		return err_set(r->err, ERR_INVALID_ARGUMENT,
		    "%s: only one of %s and %s may be set", r->path,
		    protobuf_c_message_descriptor_get_field(
			message->descriptor, *set)
			->name,
		    field->name);
	if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0)
		*set = field->id;
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
		return reader_fail(r, "has to be an object");
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
			return reader_fail(
			    r, "is given twice, under both names");
		seen[field - type->fields] = true;
		if (!json_is_null(member) &&
		    (rc = read_field(r, field, member, message)) < 0)
			return rc;
		path_leave(r, was);
	}
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

/* ---- writing ------------------------------------------------------------- */

static json_t *write_message(const ProtobufCMessage *message);

static json_t *
write_value(const ProtobufCFieldDescriptor *field, const void *value)
{
	const ProtobufCEnumValue *v;

	switch ((int)field->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		return write_message(*(ProtobufCMessage *const *)value);
	case PROTOBUF_C_TYPE_STRING:
		return json_string(*(char *const *)value);
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)value);
	case PROTOBUF_C_TYPE_ENUM:
		v = protobuf_c_enum_descriptor_get_value(
		    field->descriptor, *(const int *)value);
		return v != NULL ? json_string(v->name)
				 : json_integer(*(const int *)value);
	case PROTOBUF_C_TYPE_INT32:
		return json_integer(*(const int32_t *)value);
	case PROTOBUF_C_TYPE_UINT32:
		return json_integer(*(const uint32_t *)value);
	/* 64 bits are a string: readers of JSON may have no such integers. */
	case PROTOBUF_C_TYPE_INT64:
		return json_sprintf("%" PRId64, *(const int64_t *)value);
	case PROTOBUF_C_TYPE_UINT64:
		return json_sprintf("%" PRIu64, *(const uint64_t *)value);
	default:
		return NULL;
	}
}

static json_t *
write_array(const ProtobufCMessage *message,
    const ProtobufCFieldDescriptor *field, size_t count)
{
	auto_json json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		if (json_array_append_new(array,
			write_value(field, reflect_at(message, field, i))) < 0)
			return NULL;
	return take_ptr(&array);
}

static json_t *
write_map(const ProtobufCMessage *message,
    const ProtobufCFieldDescriptor *field, size_t count)
{
	auto_json json_t *object = json_object();
	const ProtobufCMessageDescriptor *type = reflect_type(field);

	for (size_t i = 0; i < count; i++) {
		const ProtobufCMessage *entry = *(
		    ProtobufCMessage *const *)reflect_at(message, field, i);
		const char *key = *(char *const *)reflect_at(
		    entry, &type->fields[0], 0);

		if (json_object_set_new(object, key,
			write_value(&type->fields[1],
			    reflect_at(entry, &type->fields[1], 0))) < 0)
			return NULL;
	}
	return take_ptr(&object);
}

static json_t *
write_object(const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	auto_json json_t *object = json_object();

	for (unsigned f = 0; f < type->n_fields; f++) {
		const ProtobufCFieldDescriptor *field = &type->fields[f];
		size_t count = reflect_count(message, field);
		char name[NAME_MAX_BYTES];
		json_t *value;

		if (count == 0)
			continue;
		if (reflect_is_map(field))
			value = write_map(message, field, count);
		else if (field->label == PROTOBUF_C_LABEL_REPEATED)
			value = write_array(message, field, count);
		else
			value = write_value(
			    field, reflect_at(message, field, 0));
		camel(name, field->name);
		if (json_object_set_new(object, name, value) < 0)
			return NULL;
	}
	return take_ptr(&object);
}

/* With as many digits of the fraction as are needed: none, 3, 6 or 9. */
static json_t *
write_timestamp(const ProtobufCMessage *message)
{
	const ProtobufCFieldDescriptor *field = message->descriptor->fields;
	time_t t = *(const int64_t *)reflect_at(message, &field[0], 0);
	int32_t nanos = *(const int32_t *)reflect_at(message, &field[1], 0);
	int digits = nanos == 0    ? 0
	    : nanos % 1000000 == 0 ? 3
	    : nanos % 1000 == 0    ? 6
				   : 9;
	char text[48], fraction[16];
	struct tm tm;

	/* Years 1 to 9999, as protobuf says. */
	if (t < INT64_C(-62135596800) || t > INT64_C(253402300799) ||
	    nanos < 0 || nanos >= 1000000000 || gmtime_r(&t, &tm) == NULL)
		return NULL;
	(void)snprintf(fraction, sizeof(fraction), ".%09d", nanos);
	(void)snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d%.*sZ",
	    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
	    tm.tm_sec, digits + (digits > 0), fraction);
	return json_string(text);
}

static json_t *
write_message(const ProtobufCMessage *message)
{
	const ProtobufCFieldDescriptor *first = message->descriptor->fields;

	switch (kind_of(message->descriptor)) {
	case JSON_PB_TIMESTAMP:
		return write_timestamp(message);
	case JSON_PB_WRAPPER:
		return write_value(first, reflect_at(message, first, 0));
	case JSON_PB_OBJECT:
		break;
	}
	return write_object(message);
}

json_t *
json_pb_write(const ProtobufCMessage *message, struct err *err)
{
	json_t *json = write_message(message);

	if (json == NULL)
		(void)err_set(err, ERR_INTERNAL,
		    "%s: holds text that is not UTF-8 or a time out of range",
		    message->descriptor->short_name);
	return json;
}
