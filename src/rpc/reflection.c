/*
 * reflection.c - answers out of a serialized FileDescriptorSet.
 *
 * The rule that holds it together: descriptors are never unpacked. They are
 * walked where they lie, by field number, for each question; people ask
 * rarely, and the set is some ten kilobytes.
 */
#include "rpc/reflection.h"

#include "base/err.h"
#include "base/pb.h"
#include "rpc/call.h"

#include <errno.h>
#include <string.h>

#define FILES_MAX 32
#define REPLY_MAX ((size_t)4 << 20)

/* Field numbers of ServerReflectionRequest ... */
enum {
	REQUEST_HOST = 1,
	REQUEST_FILE_BY_FILENAME = 3,
	REQUEST_FILE_CONTAINING_SYMBOL = 4,
	REQUEST_FILE_CONTAINING_EXTENSION = 5,
	REQUEST_ALL_EXTENSION_NUMBERS = 6,
	REQUEST_LIST_SERVICES = 7,
	EXTENSION_TYPE = 1,
	EXTENSION_NUMBER = 2,
};

/* ... of ServerReflectionResponse ... */
enum {
	RESPONSE_HOST = 1,
	RESPONSE_REQUEST = 2,
	RESPONSE_FILES = 4,
	RESPONSE_EXTENSIONS = 5,
	RESPONSE_SERVICES = 6,
	RESPONSE_ERROR = 7,
	FILES_FILE = 1,
	EXTENSIONS_TYPE = 1,
	EXTENSIONS_NUMBER = 2,
	SERVICES_SERVICE = 1,
	SERVICE_NAME = 1,
	ERROR_CODE = 1,
	ERROR_TEXT = 2,
};

/* ... and of google/protobuf/descriptor.proto. */
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

/* Is the field a definition, and of which kind? */
static bool
child_kind(enum kind parent, const struct pb_field *field, enum kind *child)
{
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
strip(struct pb *symbol, struct pb name)
{
	if (name.len == 0 || name.len > symbol->len ||
	    memcmp(symbol->at, name.at, name.len) != 0)
		return false;
	if (name.len < symbol->len && symbol->at[name.len] != '.')
		return false;
	symbol->at += name.len;
	symbol->len -= name.len;
	if (symbol->len > 0) {
		symbol->at++;
		symbol->len--;
		return symbol->len > 0;
	}
	return true;
}

static bool
same(struct pb a, struct pb b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/*
 * Does `parent` define `symbol`, which is relative to it? The depth of the
 * recursion is that of the definitions in our own files.
 */
static bool
defines(struct pb parent, enum kind kind, struct pb symbol)
{
	struct pb_field field;
	enum kind child;

	while (pb_next(&parent, &field) > 0) {
		struct pb rest = symbol;

		if (!child_kind(kind, &field, &child))
			continue;
		/* The values of an enum are named beside it, not within. */
		if (child == KIND_ENUM && defines(field.bytes, child, symbol))
			return true;
		if (!strip(&rest, pb_get(field.bytes, ANY_NAME)))
			continue;
		if (rest.len == 0)
			return true;
		if ((child == KIND_MESSAGE || child == KIND_SERVICE) &&
		    defines(field.bytes, child, rest))
			return true;
	}
	return false;
}

static bool
file_defines(struct pb file, struct pb symbol)
{
	struct pb package = pb_get(file, FILE_PACKAGE);

	if (symbol.len > 0 && symbol.at[0] == '.') {
		symbol.at++;
		symbol.len--;
	}
	if (package.len > 0 && (!strip(&symbol, package) || symbol.len == 0))
		return false;
	return defines(file, KIND_FILE, symbol);
}

/*
 * Extensions of a type below `parent`: puts their numbers into `out`, if that
 * is given; returns whether there is one with `number`, or any if 0.
 */
static bool
extensions(struct pb parent, enum kind kind, struct pb type, uint64_t number,
    struct buf *out)
{
	struct pb_field field;
	enum kind child;
	bool found = false;

	while (pb_next(&parent, &field) > 0) {
		struct pb extendee;
		uint64_t n;

		if (!child_kind(kind, &field, &child))
			continue;
		if (child == KIND_MESSAGE)
			found |= extensions(
			    field.bytes, child, type, number, out);
		if (child != KIND_EXTENSION)
			continue;
		extendee = pb_get(field.bytes, FIELD_EXTENDEE);
		if (extendee.len == 0 ||
		    !same(
			(struct pb){ extendee.at + 1, extendee.len - 1 }, type))
			continue;
		n = pb_get_varint(field.bytes, FIELD_NUMBER);
		found |= number == 0 || number == n;
		if (out != NULL && pb_put_varint(out, EXTENSIONS_NUMBER, n) < 0)
			return false;
	}
	return found;
}

/* ---- answers ---- */

static int
error_put(struct buf *out, enum err_code code, const char *text)
{
	struct buf error;
	int rc;

	buf_init(&error, REPLY_MAX);
	rc = pb_put_varint(&error, ERROR_CODE, code);
	if (rc == 0)
		rc = pb_put(&error, ERROR_TEXT, text, strlen(text));
	if (rc == 0)
		rc = pb_put(out, RESPONSE_ERROR, error.data, error.len);
	buf_fini(&error);
	return rc;
}

static size_t
file_find(struct pb name)
{
	size_t i = 0;

	while (i < rf.file_count && !same(pb_get(rf.files[i], ANY_NAME), name))
		i++;
	return i;
}

/* A file, then what it imports, each once. */
static int
closure_put(struct buf *files, size_t i, bool *done)
{
	struct pb file = rf.files[i];
	struct pb_field field;
	int rc;

	done[i] = true;
	rc = pb_put(files, FILES_FILE, file.at, file.len);
	while (rc == 0 && pb_next(&file, &field) > 0) {
		size_t other;

		if (field.number != FILE_DEPENDENCY || !field.has_bytes)
			continue;
		other = file_find(field.bytes);
		if (other < rf.file_count && !done[other])
			rc = closure_put(files, other, done);
	}
	return rc;
}

/* The answer to each question about a file; beyond the last: there is none. */
static int
file_put(struct buf *out, size_t i, const char *missing)
{
	bool done[FILES_MAX] = { false };
	struct buf files;
	int rc;

	if (i >= rf.file_count)
		return error_put(out, ERR_NOT_FOUND, missing);
	buf_init(&files, REPLY_MAX);
	rc = closure_put(&files, i, done);
	if (rc == 0)
		rc = pb_put(out, RESPONSE_FILES, files.data, files.len);
	buf_fini(&files);
	return rc;
}

static int
symbol_put(struct buf *out, struct pb symbol)
{
	size_t i = 0;

	while (i < rf.file_count && !file_defines(rf.files[i], symbol))
		i++;
	return file_put(out, i, "symbol not found");
}

static int
extension_put(struct buf *out, struct pb question)
{
	struct pb type = pb_get(question, EXTENSION_TYPE);
	uint64_t number = pb_get_varint(question, EXTENSION_NUMBER);
	size_t i = 0;

	while (i < rf.file_count &&
	    (number == 0 ||
		!extensions(rf.files[i], KIND_FILE, type, number, NULL)))
		i++;
	return file_put(out, i, "extension not found");
}

static int
numbers_put(struct buf *out, struct pb type)
{
	struct buf numbers;
	bool known = false;
	int rc;

	buf_init(&numbers, REPLY_MAX);
	rc = pb_put(&numbers, EXTENSIONS_TYPE, type.at, type.len);
	for (size_t i = 0; i < rf.file_count; i++) {
		known |= file_defines(rf.files[i], type);
		(void)extensions(rf.files[i], KIND_FILE, type, 0, &numbers);
	}
	if (!known)
		rc = error_put(out, ERR_NOT_FOUND, "type not found");
	else if (rc == 0)
		rc = pb_put(
		    out, RESPONSE_EXTENSIONS, numbers.data, numbers.len);
	buf_fini(&numbers);
	return rc;
}

static int
services_put(struct buf *out)
{
	struct buf service, all;
	int rc = 0;

	buf_init(&service, REPLY_MAX);
	buf_init(&all, REPLY_MAX);
	for (size_t i = 0; i < rf.service_count && rc == 0; i++) {
		buf_clear(&service);
		rc = pb_put(&service, SERVICE_NAME, rf.services[i],
		    strlen(rf.services[i]));
		if (rc == 0)
			rc = pb_put(
			    &all, SERVICES_SERVICE, service.data, service.len);
	}
	if (rc == 0)
		rc = pb_put(out, RESPONSE_SERVICES, all.data, all.len);
	buf_fini(&service);
	buf_fini(&all);
	return rc;
}

/* The last of the questions counts, as in any oneof. */
static int
question_find(struct pb request, struct pb_field *question)
{
	struct pb_field field;
	int rc;

	*question = (struct pb_field){ 0 };
	while ((rc = pb_next(&request, &field)) > 0)
		if (field.number >= REQUEST_FILE_BY_FILENAME &&
		    field.number <= REQUEST_LIST_SERVICES && field.has_bytes)
			*question = field;
	return rc;
}

/* -EBADMSG: the request is none; -EMSGSIZE: the answer is too long. */
static int
answer_put(struct buf *out, struct pb request)
{
	struct pb host = pb_get(request, REQUEST_HOST);
	struct pb_field question;
	int rc = question_find(request, &question);

	if (rc == 0)
		rc = pb_put(out, RESPONSE_HOST, host.at, host.len);
	if (rc == 0)
		rc = pb_put(out, RESPONSE_REQUEST, request.at, request.len);
	if (rc < 0)
		return rc;
	switch (question.number) {
	case REQUEST_FILE_BY_FILENAME:
		return file_put(
		    out, file_find(question.bytes), "file not found");
	case REQUEST_FILE_CONTAINING_SYMBOL:
		return symbol_put(out, question.bytes);
	case REQUEST_FILE_CONTAINING_EXTENSION:
		return extension_put(out, question.bytes);
	case REQUEST_ALL_EXTENSION_NUMBERS:
		return numbers_put(out, question.bytes);
	case REQUEST_LIST_SERVICES:
		return services_put(out);
	default:
		return error_put(
		    out, ERR_INVALID_ARGUMENT, "request asks nothing");
	}
}

/* ---- the calls ---- */

/* The question is call->request, until the next is read. */
static void
answer(struct call *call)
{
	const struct pb question = { call->request, call->request_len };
	struct buf out;
	int rc;

	buf_init(&out, REPLY_MAX);
	rc = answer_put(&out, question);
	if (rc == 0)
		rc = stream_send(call, out.data, out.len);
	buf_fini(&out);
	if (rc == 0)
		stream_read(call);
	else if (rc == -EBADMSG)
		call_fail(call, ERR_INVALID_ARGUMENT,
		    "request is no ServerReflectionRequest");
	else if (rc == -ENOMEM)
		call_fail(call, ERR_UNAVAILABLE,
		    "too many answers wait for their clients to read them");
	else if (rc != -EAGAIN) /* else on_writable() comes */
		call_fail(call, ERR_RESOURCE_EXHAUSTED, "answer is too long");
}

static void
on_message(struct call *call, const void *bytes, size_t len)
{
	if (bytes == NULL) {
		stream_end(call);
		return;
	}
	call->request = bytes;
	call->request_len = len;
	answer(call);
}

static void
on_leaving(struct call *call)
{
	call_fail(call, ERR_UNAVAILABLE, "server is shutting down");
}

static void
info(struct call *call)
{
	call->message = on_message;
	call->writable = answer;
	call->leaving = on_leaving;
	stream_read(call);
}

static const struct rpc_method methods[] = {
	{ .name = "ServerReflectionInfo",
	    .start = info,
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
