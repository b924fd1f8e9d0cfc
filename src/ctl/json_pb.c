/*
 * json_pb.c - what reading and writing share: names, and the well-known types
 * that are not written as objects.
 */
#include "ctl/json_pb_impl.h"

#include <ctype.h>
#include <string.h>

void
json_pb_camel(char *out, size_t size, const char *name)
{
	size_t used = 0;
	bool up = false;

	for (; *name != '\0' && used + 1 < size; name++) {
		if (*name == '_') {
			up = true;
			continue;
		}
		out[used++] = up ? (char)toupper((unsigned char)*name) : *name;
		up = false;
	}
	out[used] = '\0';
}

enum json_pb_kind
json_pb_kind_of(const ProtobufCMessageDescriptor *type)
{
	static const char package[] = "google.protobuf.";
	static const char *const wrappers[] = { "DoubleValue", "FloatValue",
		"Int64Value", "UInt64Value", "Int32Value", "UInt32Value",
		"BoolValue", "StringValue", "BytesValue" };
	const char *name;

	if (!str_starts(type->name, package))
		return JSON_PB_OBJECT;
	name = type->name + strlen(package);
	if (strcmp(name, "Timestamp") == 0)
		return JSON_PB_TIMESTAMP;
	for (size_t i = 0; i < countof(wrappers); i++)
		if (strcmp(name, wrappers[i]) == 0)
			return JSON_PB_WRAPPER;
	return JSON_PB_OBJECT;
}
