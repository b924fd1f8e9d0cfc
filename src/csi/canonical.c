/*
 * canonical.c - writes a message field by field. Each field is preceded by
 * its number and its count of values, each string by its length, so that two
 * different requests never give the same bytes.
 */
#include "csi/canonical.h"

#include "csi/params.h"
#include "csi/reflect.h"

#include <stdlib.h>
#include <string.h>

#define END_OF_MESSAGE UINT64_C(0) /* no field has this number */

static int
put_number(struct buf *out, uint64_t value)
{
	return buf_append(out, &value, sizeof(value));
}

static int
put_bytes(struct buf *out, const void *bytes, size_t len)
{
	int rc = put_number(out, len);

	return rc < 0 ? rc : buf_append(out, bytes, len);
}

static int
put_string(struct buf *out, const char *s)
{
	return put_bytes(out, s, strlen(s));
}

struct pair {
	const char *key, *value;
	size_t at;
};

static int
by_key(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	int rc = strcmp(x->key, y->key);

	return rc != 0 ? rc : (x->at > y->at) - (x->at < y->at);
}

static int
put_map(struct buf *out, const struct csi_map *map)
{
	auto_free struct pair *pair = mem_new(map->count * sizeof(*pair));
	size_t distinct = 0;
	int rc;

	for (size_t i = 0; i < map->count; i++)
		pair[i] = (struct pair){ .key = csi_map_key(map, i),
			.value = csi_map_value(map, i),
			.at = i };
	qsort(pair, map->count, sizeof(*pair), by_key);
	for (size_t i = 0; i < map->count; i++) {
		if (i + 1 < map->count &&
		    strcmp(pair[i].key, pair[i + 1].key) == 0)
			continue; /* a later one of this key counts */
		pair[distinct++] = pair[i];
	}
	if ((rc = put_number(out, distinct)) < 0)
		return rc;
	for (size_t i = 0; i < distinct; i++)
		if ((rc = put_string(out, pair[i].key)) < 0 ||
		    (rc = put_string(out, pair[i].value)) < 0)
			return rc;
	return 0;
}

static int put_message(struct buf *out, const ProtobufCMessage *message);

static int
put_value(struct buf *out, ProtobufCType type, const void *value)
{
	const ProtobufCBinaryData *data = value;

	switch ((int)type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		return put_message(out, *(ProtobufCMessage *const *)value);
	case PROTOBUF_C_TYPE_STRING:
		return put_string(out, *(char *const *)value);
	case PROTOBUF_C_TYPE_BYTES:
		return put_bytes(out, data->data, data->len);
	default:
		return buf_append(out, value, reflect_size(type));
	}
}

static int
put_message(struct buf *out, const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	int rc;

	for (unsigned f = 0; f < type->n_fields; f++) {
		const ProtobufCFieldDescriptor *field = &type->fields[f];
		size_t count = reflect_count(message, field);

		if (count == 0 || strcmp(field->name, CSI_SECRETS) == 0)
			continue;
		if ((rc = put_number(out, field->id)) < 0)
			return rc;
		if (reflect_is_map(field)) {
			struct csi_map map = csi_map_field(
			    message, field->name);

			if ((rc = put_map(out, &map)) < 0)
				return rc;
			continue;
		}
		if ((rc = put_number(out, count)) < 0)
			return rc;
		for (size_t i = 0; i < count; i++)
			if ((rc = put_value(out, field->type,
				 reflect_at(message, field, i))) < 0)
				return rc;
	}

	/* What a newer client sends and we do not know tells calls apart too. */
	for (unsigned i = 0; i < message->n_unknown_fields; i++) {
		const ProtobufCMessageUnknownField *u =
		    &message->unknown_fields[i];

		if ((rc = put_number(out, u->tag)) < 0 ||
		    (rc = put_bytes(out, u->data, u->len)) < 0)
			return rc;
	}
	return put_number(out, END_OF_MESSAGE);
}

int
csi_canonical(
    const struct csi_definition *def, const void *request, struct buf *out)
{
	int rc = put_string(out, def->path);

	return rc < 0 ? rc : put_message(out, request);
}
