/*
 * ctl_json_pb.c - JSON to messages and back: what is accepted, what is
 * refused with which path, that nothing is lost on the way, and that no type
 * of a method is missing.
 */
#include "csi.pb-c.h"
#include "csi/definitions.h"
#include "csi/rpc.h"
#include "ctl/json_pb.h"
#include "tests/tap.h"

#define CREATE csi__v1__create_volume_request__descriptor
#define SNAPSHOT csi__v1__snapshot__descriptor
#define LIST csi__v1__list_volumes_request__descriptor

/* clang-format off */
static const struct {
	const ProtobufCMessageDescriptor *type;
	const char *in;
	const char *out;	/* NULL: the same as `in` */
	const char *what;
} good[] = {
	{ &CREATE, "{}", NULL, "an empty object" },
	{ &CREATE, "{\"name\":\"v\",\"capacityRange\":{\"requiredBytes\":"
	  "\"1073741824\"}}", NULL, "64-bit numbers are strings" },
	{ &CREATE, "{\"capacity_range\":{\"required_bytes\":5}}",
	  "{\"capacityRange\":{\"requiredBytes\":\"5\"}}",
	  "original names and plain numbers" },
	{ &CREATE, "{\"capacityRange\":{\"requiredBytes\":1e3,"
	  "\"limitBytes\":\"-1\"}}",
	  "{\"capacityRange\":{\"requiredBytes\":\"1000\","
	  "\"limitBytes\":\"-1\"}}", "whole numbers with an exponent" },
	{ &CREATE, "{\"capacityRange\":{\"requiredBytes\":"
	  "\"9223372036854775807\",\"limitBytes\":"
	  "\"-9223372036854775808\"}}", NULL, "the ends of int64" },
	{ &CREATE, "{\"parameters\":{\"a\":\"1\",\"b\":\"\"},\"secrets\":"
	  "{\"userID\":\"u\"}}", NULL, "maps" },
	{ &CREATE, "{\"parameters\":{}}", "{}", "an empty map" },
	{ &CREATE, "{\"name\":null,\"parameters\":null,\"capacityRange\":"
	  "null,\"volumeCapabilities\":null}", "{}", "null is a default" },
	{ &CREATE, "{\"volumeCapabilities\":[{\"mount\":{\"fsType\":\"ext4\","
	  "\"mountFlags\":[\"noatime\",\"ro\"]},\"accessMode\":{\"mode\":"
	  "\"SINGLE_NODE_WRITER\"}},{\"block\":{},\"accessMode\":{\"mode\":"
	  "\"MULTI_NODE_MULTI_WRITER\"}}]}", NULL,
	  "oneofs, enums and repeated fields" },
	{ &CREATE, "{\"volumeCapabilities\":[{\"accessMode\":{\"mode\":5}}]}",
	  "{\"volumeCapabilities\":[{\"accessMode\":{\"mode\":"
	  "\"MULTI_NODE_MULTI_WRITER\"}}]}", "an enum by number" },
	{ &CREATE, "{\"volumeCapabilities\":[{\"accessMode\":{\"mode\":77}}]}",
	  NULL, "an enum's number without a name" },
	{ &CREATE, "{\"volumeCapabilities\":[{\"mount\":null,\"block\":{}}]}",
	  "{\"volumeCapabilities\":[{\"block\":{}}]}",
	  "null does not set a oneof" },
	{ &CREATE, "{\"name\":\"Gr\xc3\xbc\xc3\x9f""e\"}", NULL, "UTF-8" },
	{ &CREATE, "{\"name\":\"a\\u00e9\"}", "{\"name\":\"a\xc3\xa9\"}",
	  "escapes" },
	{ &SNAPSHOT, "{\"readyToUse\":false}", "{}", "false is left out" },
	{ &LIST, "{\"maxEntries\":2147483647}", NULL, "the largest int32" },
	{ &LIST, "{\"maxEntries\":\"12\"}", "{\"maxEntries\":12}",
	  "an int32 as a string" },
};
/* clang-format on */

/* clang-format off */
static const struct {
	const ProtobufCMessageDescriptor *type;
	const char *in;
	const char *text;	/* of the error */
} bad[] = {
	{ &CREATE, "[]", "request: has to be an object" },
	{ &CREATE, "{\"title\":\"v\"}",
	  "title: CreateVolumeRequest has no such field" },
	{ &CREATE, "{\"volumeCapabilities\":[{\"block\":{}},{\"mount\":"
	  "{\"fsTyp\":\"ext4\"}}]}", "volumeCapabilities[1].mount.fsTyp: "
	  "MountVolume has no such field" },
	{ &CREATE, "{\"name\":5}", "name: has to be a string" },
	{ &CREATE, "{\"parameters\":[]}", "parameters: has to be an object" },
	{ &CREATE, "{\"parameters\":{\"a\":1}}",
	  "parameters.a: has to be a string" },
	{ &CREATE, "{\"parameters\":{\"a\":null}}",
	  "parameters.a: has to be a string" },
	{ &CREATE, "{\"volumeCapabilities\":{}}",
	  "volumeCapabilities: has to be an array" },
	{ &CREATE, "{\"volumeCapabilities\":[null]}",
	  "volumeCapabilities[0]: has to be an object" },
	{ &CREATE, "{\"volumeCapabilities\":[{\"block\":{},\"mount\":{}}]}",
	  "volumeCapabilities[0].mount: only one of block and mount may be "
	  "set" },
	{ &CREATE, "{\"volumeCapabilities\":[{\"accessMode\":{\"mode\":"
	  "\"SOMETIMES\"}}]}", "volumeCapabilities[0].accessMode.mode: "
	  "\"SOMETIMES\" is no value of Mode" },
	{ &CREATE, "{\"volumeCapabilities\":[{\"accessMode\":{\"mode\":"
	  "2147483648}}]}",
	  "volumeCapabilities[0].accessMode.mode: is out of range" },
	{ &CREATE, "{\"capacityRange\":{},\"capacity_range\":{}}",
	  "capacity_range: is given twice, under both names" },
	{ &CREATE, "{\"capacityRange\":{\"requiredBytes\":1.5}}",
	  "capacityRange.requiredBytes: is no whole number" },
	{ &CREATE, "{\"capacityRange\":{\"requiredBytes\":\"1Gi\"}}",
	  "capacityRange.requiredBytes: is no whole number" },
	{ &CREATE, "{\"capacityRange\":{\"requiredBytes\":\"\"}}",
	  "capacityRange.requiredBytes: is no whole number" },
	{ &CREATE, "{\"capacityRange\":{\"requiredBytes\":\" 1\"}}",
	  "capacityRange.requiredBytes: is no whole number" },
	{ &CREATE, "{\"capacityRange\":{\"requiredBytes\":"
	  "\"9223372036854775808\"}}",
	  "capacityRange.requiredBytes: is out of range" },
	{ &CREATE, "{\"capacityRange\":{\"requiredBytes\":1e300}}",
	  "capacityRange.requiredBytes: is no whole number" },
	{ &CREATE, "{\"capacityRange\":{\"requiredBytes\":true}}",
	  "capacityRange.requiredBytes: has to be a number" },
	{ &LIST, "{\"maxEntries\":2147483648}", "maxEntries: is out of range" },
	{ &SNAPSHOT, "{\"readyToUse\":1}",
	  "readyToUse: has to be true or false" },
};
/* clang-format on */

static json_t *
parse(const char *text)
{
	return json_loads(text, JSON_DECODE_ANY, NULL);
}

/* JSON -> message -> bytes -> message -> JSON. */
static void
test_good(size_t i)
{
	struct arena *arena = csi_arena_new();
	auto_json json_t *in = parse(good[i].in), *out = NULL;
	auto_json json_t *want = parse(
	    good[i].out != NULL ? good[i].out : good[i].in);
	struct err err = ERR_INIT;
	ProtobufCMessage *message;
	const void *bytes, *back = NULL;
	size_t len;

	message = json_pb_read(good[i].type, in, arena, &err);
	if (message != NULL &&
	    (bytes = csi_pack(message, arena, &len, &err)) != NULL)
		back = csi_unpack(good[i].type, arena, bytes, len, &err);
	if (back != NULL)
		out = json_pb_write(back, &err);
	if (!ok(want != NULL && json_equal(out, want), "%s", good[i].what)) {
		auto_free char *got = out != NULL
		    ? json_dumps(out, JSON_COMPACT | JSON_ENCODE_ANY)
		    : NULL;

		diag("got %s %s", got != NULL ? got : "nothing", err.text);
	}
	arena_free(arena);
}

static void
test_bad(size_t i)
{
	struct arena *arena = csi_arena_new();
	auto_json json_t *in = parse(bad[i].in);
	struct err err = ERR_INIT;

	ok(json_pb_read(bad[i].type, in, arena, &err) == NULL &&
		err.code == ERR_INVALID_ARGUMENT,
	    "refused: %s", bad[i].in);
	is_str(err.text, bad[i].text, "and says why");
	arena_free(arena);
}

/* ---- what is only written ---- */

static void
is_written(const void *message, const char *want, const char *what)
{
	struct err err = ERR_INIT;
	auto_json json_t *out = json_pb_write(message, &err);
	auto_free char *text = json_dumps(out, JSON_COMPACT);

	is_str(text, want, "%s", what);
}

static void
test_written(void)
{
	static const struct {
		int64_t seconds;
		int32_t nanos;
		const char *text;
	} times[] = {
		{ 1769860800, 0, "2026-01-31T12:00:00Z" },
		{ 1769860800, 500000000, "2026-01-31T12:00:00.500Z" },
		{ 1769860800, 1000, "2026-01-31T12:00:00.000001Z" },
		{ 1769860800, 123456789, "2026-01-31T12:00:00.123456789Z" },
		{ -62135596800, 0, "0001-01-01T00:00:00Z" },
		{ 253402300799, 0, "9999-12-31T23:59:59Z" },
	};
	Csi__V1__Snapshot snapshot = CSI__V1__SNAPSHOT__INIT;
	Google__Protobuf__Timestamp when = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	Google__Protobuf__Int64Value number =
	    GOOGLE__PROTOBUF__INT64_VALUE__INIT;
	Google__Protobuf__BoolValue no = GOOGLE__PROTOBUF__BOOL_VALUE__INIT;
	Csi__V1__GetCapacityResponse capacity =
	    CSI__V1__GET_CAPACITY_RESPONSE__INIT;
	Csi__V1__ProbeResponse probe = CSI__V1__PROBE_RESPONSE__INIT;

	snapshot.creation_time = &when;
	for (size_t i = 0; i < countof(times); i++) {
		auto_free char *want = str_fmt(
		    "{\"creationTime\":\"%s\"}", times[i].text);

		when.seconds = times[i].seconds;
		when.nanos = times[i].nanos;
		is_written(&snapshot, want, times[i].text);
	}
	capacity.maximum_volume_size = &number;
	is_written(&capacity, "{\"maximumVolumeSize\":\"0\"}",
	    "a wrapped zero is kept");
	probe.ready = &no;
	is_written(&probe, "{\"ready\":false}", "a wrapped false is kept");
}

/* ---- every type that a method has can be told ---- */

static bool
is_told(const ProtobufCFieldDescriptor *field, bool read)
{
	switch ((int)field->type) {
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BOOL:
	case PROTOBUF_C_TYPE_ENUM:
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_INT64:
		return true;
	case PROTOBUF_C_TYPE_UINT64:
		return !read;
	default:
		return false;
	}
}

/* The first field below a type that cannot, or NULL. */
static const char *
untold(const ProtobufCMessageDescriptor *type, bool read, int depth)
{
	const char *name;

	if (read && str_starts(type->name, "google.protobuf."))
		return type->name;
	for (unsigned i = 0; i < type->n_fields && depth < 8; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];

		if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
			if (!is_told(field, read))
				return field->name;
		} else if ((name = untold(
				field->descriptor, read, depth + 1)) != NULL) {
			return name;
		}
	}
	return NULL;
}

static void
test_types(void)
{
	for (size_t i = 0; i < CSI_COUNT; i++) {
		const struct csi_definition *def = &csi_definitions[i];

		is_str(untold(def->request, true, 0), NULL,
		    "%s: requests can be read", def->name);
		is_str(untold(def->reply, false, 0), NULL,
		    "%s: replies can be written", def->name);
	}
}

static void
test_limits(void)
{
	auto_json json_t *deep = parse("{\"parameters\":{\"k\":\"v\"}}");
	auto_json json_t *out = NULL;
	struct arena *arena = arena_new(64);
	Csi__V1__Snapshot snapshot = CSI__V1__SNAPSHOT__INIT;
	Google__Protobuf__Timestamp when = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	char long_name[400];
	struct err err = ERR_INIT;

	ok(json_pb_read(&CREATE, deep, arena, &err) == NULL &&
		err.code == ERR_RESOURCE_EXHAUSTED,
	    "a full arena is an error");
	arena_free(arena);

	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	arena = csi_arena_new();
	{
		auto_json json_t *in = json_pack(
		    "{s:{s:i}}", "parameters", long_name, 1);

		ok(json_pb_read(&CREATE, in, arena, &err) == NULL,
		    "a path that is too long is cut");
	}
	arena_free(arena);

	err = (struct err)ERR_INIT;
	snapshot.creation_time = &when;
	when.nanos = -1;
	out = json_pb_write(&snapshot.base, &err);
	ok(out == NULL && err.code == ERR_INTERNAL,
	    "a time that is none is not written");
	err = (struct err)ERR_INIT;
	when.nanos = 0;
	snapshot.snapshot_id = (char *)(uintptr_t) "\xff";
	json_decref(out);
	out = json_pb_write(&snapshot.base, &err);
	ok(out == NULL && err.code == ERR_INTERNAL,
	    "nor is text that is not UTF-8");
}

int
main(void)
{
	for (size_t i = 0; i < countof(good); i++)
		test_good(i);
	for (size_t i = 0; i < countof(bad); i++)
		test_bad(i);
	test_limits();
	test_written();
	test_types();
	return tap_end();
}
