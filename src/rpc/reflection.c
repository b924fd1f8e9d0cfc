/*
 * reflection.c - answers out of a serialized FileDescriptorSet.
 *
 * The rule that holds it together: descriptors are never unpacked. They are
 * walked where they lie, by field number, for each question; people ask
 * rarely, and the set is some ten kilobytes. v1 and v1alpha have the same
 * messages under two names: those of v1 serve both.
 */
#include "rpc/reflection.h"

#include "base/pb.h"
#include "grpc/reflection/v1/reflection.pb-c.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define FILES_MAX 32
#define SERVICES_MAX 16
#define NUMBERS_MAX 64 /* extensions of one type; more are not told */

/* Field numbers of google/protobuf/descriptor.proto. */
enum {
	SET_FILE = 1,
	ANY_NAME = 1, /* of files, messages, fields, enums, services ... */
	FILE_PACKAGE = 2,
	FILE_DEPENDENCY = 3,
	FIELD_EXTENDEE = 2,
	FIELD_NUMBER = 3,
};

static struct {
	struct pb files[FILES_MAX];
	size_t file_count;
	const char *const *services;
	size_t service_count;
} rf;

/* ---- what a file defines ---- */

enum kind {
	KIND_FILE = 0,
	KIND_MESSAGE,
	KIND_ENUM,
	KIND_SERVICE,
	KIND_LEAF,      /* field, oneof, enum value, method */
	KIND_EXTENSION, /* a field of another message */
};

/* Is the field a definition, and of which kind? */
static bool
child_kind(enum kind parent, const struct pb_field *field, enum kind *child)
{
	static const struct {
		enum kind parent;
		unsigned number;
		enum kind child;
	} children[] = {
		{ KIND_FILE, 4, KIND_MESSAGE },
		{ KIND_FILE, 5, KIND_ENUM },
		{ KIND_FILE, 6, KIND_SERVICE },
		{ KIND_FILE, 7, KIND_EXTENSION },
		{ KIND_MESSAGE, 2, KIND_LEAF },
		{ KIND_MESSAGE, 3, KIND_MESSAGE },
		{ KIND_MESSAGE, 4, KIND_ENUM },
		{ KIND_MESSAGE, 6, KIND_EXTENSION },
		{ KIND_MESSAGE, 8, KIND_LEAF },
		{ KIND_ENUM, 2, KIND_LEAF },
		{ KIND_SERVICE, 2, KIND_LEAF },
	};

	for (size_t i = 0; i < countof(children); i++) {
		if (children[i].parent != parent ||
		    children[i].number != field->number || !field->has_bytes)
			continue;
		*child = children[i].child;
		return true;
	}
	return false;
}

/* Takes `name` from the front; then a dot must follow, or nothing. */
static bool
strip(const char **symbol, struct pb name)
{
	const char *rest;

	if (name.len == 0 ||
	    strncmp(*symbol, (const char *)name.at, name.len) != 0)
		return false;
	rest = *symbol + name.len;
	if (rest[0] != '\0' && (rest[0] != '.' || rest[1] == '\0'))
		return false;
	*symbol = rest[0] == '.' ? rest + 1 : rest;
	return true;
}

/*
 * Does `parent` define `symbol`, which is relative to it? The depth of the
 * recursion is that of the definitions in our own files.
 */
static bool
defines(struct pb parent, enum kind kind, const char *symbol)
{
	struct pb_field field;
	enum kind child;

	while (pb_next(&parent, &field) > 0) {
		const char *rest = symbol;

		if (!child_kind(kind, &field, &child))
			continue;
		/* The values of an enum are named beside it, not within. */
		if (child == KIND_ENUM && defines(field.bytes, child, symbol))
			return true;
		if (!strip(&rest, pb_get(field.bytes, ANY_NAME)))
			continue;
		if (rest[0] == '\0')
			return true;
		if ((child == KIND_MESSAGE || child == KIND_SERVICE) &&
		    defines(field.bytes, child, rest))
			return true;
	}
	return false;
}

static bool
file_defines(struct pb file, const char *symbol)
{
	struct pb package = pb_get(file, FILE_PACKAGE);

	if (symbol[0] == '.')
		symbol++;
	if (package.len > 0 && (!strip(&symbol, package) || symbol[0] == '\0'))
		return false;
	return defines(file, KIND_FILE, symbol);
}

/* Adds the numbers of the extensions of a type below `parent`. */
static void
find_extensions(struct pb parent, enum kind kind, const char *type,
    Grpc__Reflection__V1__ExtensionNumberResponse *found)
{
	struct pb_field field;
	struct pb extendee;
	enum kind child;

	while (pb_next(&parent, &field) > 0) {
		if (!child_kind(kind, &field, &child))
			continue;
		if (child == KIND_MESSAGE)
			find_extensions(field.bytes, child, type, found);
		extendee = pb_get(field.bytes, FIELD_EXTENDEE);
		if (child != KIND_EXTENSION || extendee.len == 0 ||
		    found->n_extension_number == NUMBERS_MAX)
			continue;
		extendee.at++; /* a dot */
		extendee.len--;
		if (pb_is(extendee, type))
			found->extension_number[found->n_extension_number++] =
			    (int32_t)pb_get_varint(field.bytes, FIELD_NUMBER);
	}
}

static bool
has_extension(struct pb file, const char *type, int32_t number)
{
	int32_t numbers[NUMBERS_MAX];
	Grpc__Reflection__V1__ExtensionNumberResponse found = {
		.extension_number = numbers,
	};

	find_extensions(file, KIND_FILE, type, &found);
	for (size_t i = 0; i < found.n_extension_number; i++)
		if (numbers[i] == number)
			return true;
	return false;
}

/* ---- answers ---- */

static size_t
file_find(struct pb name)
{
	size_t i;

	for (i = 0; i < rf.file_count; i++) {
		struct pb other = pb_get(rf.files[i], ANY_NAME);

		if (other.len == name.len &&
		    memcmp(other.at, name.at, name.len) == 0)
			break;
	}
	return i;
}

/* What an answer is made of. */
struct reflected {
	Grpc__Reflection__V1__ServerReflectionResponse response;
	Grpc__Reflection__V1__FileDescriptorResponse files;
	ProtobufCBinaryData file[FILES_MAX];
	bool has_file[FILES_MAX];
	Grpc__Reflection__V1__ExtensionNumberResponse numbers;
	int32_t number[NUMBERS_MAX];
	Grpc__Reflection__V1__ListServiceResponse list;
	Grpc__Reflection__V1__ServiceResponse service[SERVICES_MAX];
	Grpc__Reflection__V1__ServiceResponse *services[SERVICES_MAX];
	Grpc__Reflection__V1__ErrorResponse error;
};

#define QUESTION(name)                                                         \
	GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define ANSWER(name)                                                           \
	GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name

static void
answer_error(struct reflected *a, enum err_code code, const char *text)
{
	grpc__reflection__v1__error_response__init(&a->error);
	a->error.error_code = (int32_t)code;
	a->error.error_message = (char *)(uintptr_t)text;
	a->response.message_response_case = ANSWER(ERROR_RESPONSE);
	a->response.error_response = &a->error;
}

/* Adds a file, then what it imports, each once. */
static void
add_file(struct reflected *a, size_t i)
{
	struct pb file = rf.files[i];
	struct pb_field field;
	size_t other;

	a->has_file[i] = true;
	a->file[a->files.n_file_descriptor_proto++] = (ProtobufCBinaryData){
		.len = file.len,
		.data = (uint8_t *)(uintptr_t)file.at,
	};
	while (pb_next(&file, &field) > 0) {
		if (field.number != FILE_DEPENDENCY || !field.has_bytes)
			continue;
		other = file_find(field.bytes);
		if (other < rf.file_count && !a->has_file[other])
			add_file(a, other);
	}
}

/* The answer to each question about a file; beyond the last: there is none. */
static void
answer_file(struct reflected *a, size_t i, const char *missing)
{
	if (i >= rf.file_count) {
		answer_error(a, ERR_NOT_FOUND, missing);
		return;
	}
	grpc__reflection__v1__file_descriptor_response__init(&a->files);
	a->files.file_descriptor_proto = a->file;
	a->response.message_response_case = ANSWER(FILE_DESCRIPTOR_RESPONSE);
	a->response.file_descriptor_response = &a->files;
	add_file(a, i);
}

/* The numbers of all extensions of a type. */
static void
answer_numbers(struct reflected *a, char *type)
{
	bool known = false;

	grpc__reflection__v1__extension_number_response__init(&a->numbers);
	a->numbers.base_type_name = type;
	a->numbers.extension_number = a->number;
	a->response.message_response_case = ANSWER(
	    ALL_EXTENSION_NUMBERS_RESPONSE);
	a->response.all_extension_numbers_response = &a->numbers;
	for (size_t i = 0; i < rf.file_count; i++) {
		known |= file_defines(rf.files[i], type);
		find_extensions(rf.files[i], KIND_FILE, type, &a->numbers);
	}
	if (!known)
		answer_error(a, ERR_NOT_FOUND, "type not found");
}

/* Finds the answer; it points into the question and the set. */
static void
answer_find(
    struct reflected *a, Grpc__Reflection__V1__ServerReflectionRequest *q)
{
	const Grpc__Reflection__V1__ExtensionRequest *extension;
	struct pb name;
	size_t i = 0;

	grpc__reflection__v1__server_reflection_response__init(&a->response);
	a->response.valid_host = q->host;
	a->response.original_request = q;
	switch ((unsigned)q->message_request_case) {
	case QUESTION(FILE_BY_FILENAME):
		name.at = (const unsigned char *)q->file_by_filename;
		name.len = strlen(q->file_by_filename);
		answer_file(a, file_find(name), "file not found");
		return;
	case QUESTION(FILE_CONTAINING_SYMBOL):
		while (i < rf.file_count &&
		    !file_defines(rf.files[i], q->file_containing_symbol))
			i++;
		answer_file(a, i, "symbol not found");
		return;
	case QUESTION(FILE_CONTAINING_EXTENSION):
		extension = q->file_containing_extension;
		while (i < rf.file_count &&
		    !has_extension(rf.files[i], extension->containing_type,
			extension->extension_number))
			i++;
		answer_file(a, i, "extension not found");
		return;
	case QUESTION(ALL_EXTENSION_NUMBERS_OF_TYPE):
		answer_numbers(a, q->all_extension_numbers_of_type);
		return;
	case QUESTION(LIST_SERVICES):
		grpc__reflection__v1__list_service_response__init(&a->list);
		a->list.service = a->services;
		a->response.message_response_case = ANSWER(
		    LIST_SERVICES_RESPONSE);
		a->response.list_services_response = &a->list;
		for (; i < rf.service_count; i++) {
			grpc__reflection__v1__service_response__init(
			    &a->service[i]);
			a->service[i].name = (char *)(uintptr_t)rf.services[i];
			a->services[a->list.n_service++] = &a->service[i];
		}
		return;
	default:
		answer_error(a, ERR_INVALID_ARGUMENT, "request asks nothing");
		return;
	}
}

/* The question is call->request, until the next is read. */
static void
answer_question(struct call *call)
{
	Grpc__Reflection__V1__ServerReflectionRequest *question =
	    grpc__reflection__v1__server_reflection_request__unpack(
		NULL, call->request_len, call->request);
	struct reflected a = { .has_file = { false } };
	int rc = -ENOMEM;
	uint8_t *out;
	size_t len;

	if (question == NULL) {
		call_fail(call, ERR_INVALID_ARGUMENT,
		    "request is no ServerReflectionRequest");
		return;
	}
	answer_find(&a, question);
	len = protobuf_c_message_get_packed_size(&a.response.base);
	out = malloc(len);
	if (out != NULL) {
		(void)protobuf_c_message_pack(&a.response.base, out);
		rc = stream_send(call, out, len);
	}
	free(out);
	grpc__reflection__v1__server_reflection_request__free_unpacked(
	    question, NULL);
	if (rc == 0)
		stream_read(call);
	else if (rc == -ENOMEM)
		call_fail(call, ERR_UNAVAILABLE,
		    "too many answers wait for their clients to read them");
	else if (rc != -EAGAIN) /* else it is writable() some time */
		call_fail(call, ERR_RESOURCE_EXHAUSTED, "answer is too long");
}

/* ---- the calls ---- */

static void
take_question(struct call *call, const void *bytes, size_t len)
{
	if (bytes == NULL) {
		stream_end(call);
		return;
	}
	call->request = bytes;
	call->request_len = len;
	answer_question(call);
}

static void
leave(struct call *call)
{
	call_fail(call, ERR_UNAVAILABLE, "server is shutting down");
}

static void
reflection_info(struct call *call)
{
	call->quiet = true;
	call->message = take_question;
	call->writable = answer_question;
	call->leaving = leave;
	stream_read(call);
}

static const struct rpc_method methods[] = {
	{ .name = "ServerReflectionInfo",
	    .start = reflection_info,
	    .client_streams = true },
};

const struct rpc_service reflection_v1 = {
	.name = "grpc.reflection.v1.ServerReflection",
	.methods = methods,
	.method_count = countof(methods),
};

const struct rpc_service reflection_v1alpha = {
	.name = "grpc.reflection.v1alpha.ServerReflection",
	.methods = methods,
	.method_count = countof(methods),
};

int
reflection_init(
    const void *set, size_t set_len, const char *const *services, size_t count)
{
	struct pb left = { set, set_len };
	struct pb_field field;
	int rc;

	assert(count <= SERVICES_MAX);
	rf.file_count = 0;
	rf.services = services;
	rf.service_count = count;
	while ((rc = pb_next(&left, &field)) > 0) {
		if (field.number != SET_FILE || !field.has_bytes)
			continue;
		if (rf.file_count == FILES_MAX)
			return -EBADMSG;
		rf.files[rf.file_count++] = field.bytes;
	}
	return rc;
}
