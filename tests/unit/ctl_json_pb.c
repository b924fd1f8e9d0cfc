/*
 * ctl_json_pb.c - JSON to messages and back: what is accepted, what is
 * refused with which path, and that nothing is lost on the way.
 */
#include "csi.pb-c.h"
#include "csi/rpc.h"
#include "ctl/json_pb.h"
#include "tests/tap.h"

#define CREATE csi__v1__create_volume_request__descriptor
#define SNAPSHOT csi__v1__snapshot__descriptor
#define CAPACITY csi__v1__get_capacity_response__descriptor
#define PROBE csi__v1__probe_response__descriptor
#define LIST csi__v1__list_volumes_request__descriptor
#define BYTES google__protobuf__bytes_value__descriptor
#define DOUBLE google__protobuf__double_value__descriptor
#define UINT64 google__protobuf__uint64_value__descriptor

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
	{ &SNAPSHOT, "{\"creationTime\":\"2026-01-31T12:00:00Z\","
	  "\"readyToUse\":true}", NULL, "a timestamp and a bool" },
	{ &SNAPSHOT, "{\"creationTime\":\"2026-01-31T12:00:00.500Z\"}", NULL,
	  "milliseconds" },
	{ &SNAPSHOT, "{\"creationTime\":\"2026-01-31T12:00:00.000001Z\"}",
	  NULL, "microseconds" },
	{ &SNAPSHOT, "{\"creationTime\":\"2026-01-31T12:00:00.123456789Z\"}",
	  NULL, "nanoseconds" },
	{ &SNAPSHOT, "{\"creationTime\":\"2026-01-31T01:30:00+02:00\"}",
	  "{\"creationTime\":\"2026-01-30T23:30:00Z\"}", "an offset east" },
	{ &SNAPSHOT, "{\"creationTime\":\"2024-02-29T23:30:00.25-00:45\"}",
	  "{\"creationTime\":\"2024-03-01T00:15:00.250Z\"}",
	  "an offset west" },
	{ &SNAPSHOT, "{\"creationTime\":\"0001-01-01T00:00:00Z\"}", NULL,
	  "the first second" },
	{ &SNAPSHOT, "{\"creationTime\":\"9999-12-31T23:59:59Z\"}", NULL,
	  "the last second" },
	{ &SNAPSHOT, "{\"readyToUse\":false}", "{}", "false is left out" },
	{ &CAPACITY, "{\"maximumVolumeSize\":\"7\"}", NULL,
	  "a wrapped number" },
	{ &CAPACITY, "{\"maximumVolumeSize\":0}",
	  "{\"maximumVolumeSize\":\"0\"}", "a wrapped zero is kept" },
	{ &PROBE, "{\"ready\":false}", NULL, "a wrapped false is kept" },
	{ &LIST, "{\"maxEntries\":2147483647}", NULL, "the largest int32" },
	{ &LIST, "{\"maxEntries\":\"12\"}", "{\"maxEntries\":12}",
	  "an int32 as a string" },
	{ &BYTES, "\"+/+/AA==\"", NULL, "bytes" },
	{ &BYTES, "\"-_-_AA\"", "\"+/+/AA==\"", "bytes in base64url" },
	{ &DOUBLE, "1.5", NULL, "a double" },
	{ &DOUBLE, "\"-Infinity\"", NULL, "an infinite double" },
	{ &DOUBLE, "\"2.5\"", "2.5", "a double as a string" },
	{ &UINT64, "\"18446744073709551615\"", NULL, "the largest uint64" },
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
	{ &SNAPSHOT, "{\"creationTime\":5}",
	  "creationTime: is no time like 2026-01-31T12:00:00.5Z" },
	{ &SNAPSHOT, "{\"creationTime\":\"2026-02-30T12:00:00Z\"}",
	  "creationTime: is no time like 2026-01-31T12:00:00.5Z" },
	{ &SNAPSHOT, "{\"creationTime\":\"2026-01-31T12:00:00\"}",
	  "creationTime: is no time like 2026-01-31T12:00:00.5Z" },
	{ &SNAPSHOT, "{\"creationTime\":\"2026-01-31T12:00:00.Z\"}",
	  "creationTime: is no time like 2026-01-31T12:00:00.5Z" },
	{ &SNAPSHOT, "{\"creationTime\":\"2026-01-31T24:00:00Z\"}",
	  "creationTime: is no time like 2026-01-31T12:00:00.5Z" },
	{ &SNAPSHOT, "{\"creationTime\":\"0001-01-01T00:00:00+00:01\"}",
	  "creationTime: is no time like 2026-01-31T12:00:00.5Z" },
	{ &BYTES, "\"a$b\"", "request: is no base64" },
	{ &BYTES, "5", "request: has to be a string in base64" },
	{ &DOUBLE, "\"x\"", "request: is no number" },
	{ &DOUBLE, "[]", "request: has to be a number" },
	{ &UINT64, "-1", "request: is out of range" },
	{ &UINT64, "\"18446744073709551616\"", "request: is out of range" },
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
	return tap_end();
}
