/*
 * testservice.c - the methods of gRPC's interoperability tests.
 */
#include "tests/interop/testservice.h"
#include "tests/rpc/pb_put.h"

#include "base/log.h"
#include "rpc/call.h"

#include <errno.h>
#include <string.h>

#define PAYLOAD_MAX ((size_t)4 << 20)
#define MESSAGE_MAX (PAYLOAD_MAX + 100)

/* Field numbers of grpc/testing/messages.proto. */
enum {
	PAYLOAD_BODY = 2,
	SIMPLE_REQUEST_SIZE = 2,
	SIMPLE_REQUEST_EXPECT_COMPRESSED = 8,
	SIMPLE_RESPONSE_PAYLOAD = 1,
	BOOL_VALUE = 1,
	ANY_REQUEST_STATUS = 7,
	STATUS_CODE = 1,
	STATUS_MESSAGE = 2,
	OUTPUT_REQUEST_PARAMETERS = 2,
	PARAMETERS_SIZE = 1,
	OUTPUT_RESPONSE_PAYLOAD = 1,
	INPUT_REQUEST_PAYLOAD = 1,
	INPUT_RESPONSE_SIZE = 1,
};

#define ECHO_MAX 1024 /* of the metadata that is echoed */

/* custom_metadata: sends back what came in two headers of the request. */
static void
echo_metadata(struct call *call)
{
	static const char initial[] = "x-grpc-test-echo-initial";
	static const char trailing[] = "x-grpc-test-echo-trailing-bin";
	const char *text = call_header(call, initial);
	char bytes[ECHO_MAX];
	long n = call_header_bytes(call, trailing, bytes, sizeof(bytes));

	if (text != NULL &&
	    call_add_header(call, initial, text, strlen(text)) < 0)
		log_error("interop.no_header", "text=\"%s\"", text);
	if (n >= 0 && call_add_trailer(call, trailing, bytes, (size_t)n) < 0)
		log_error("interop.no_trailer", "bytes=%ld", n);
}

/* A call's state. */
struct state {
	struct pb left;     /* of the request that is being answered */
	uint64_t aggregate; /* bytes that have come */
};

/* A response with a payload of zeros. */
static int
response_put(struct buf *out, unsigned number, uint64_t size)
{
	auto_free char *zeros = NULL;
	struct buf payload;
	int rc;

	if (size > PAYLOAD_MAX)
		return -EMSGSIZE;
	zeros = mem_new((size_t)size + 1);
	buf_init(&payload, MESSAGE_MAX);
	rc = pb_put(&payload, PAYLOAD_BODY, zeros, (size_t)size);
	if (rc == 0)
		rc = pb_put(out, number, payload.data, payload.len);
	buf_fini(&payload);
	return rc;
}

/* Fails the call if its request says so. */
static bool
fails(struct call *call, struct pb status)
{
	struct pb text = pb_get(status, STATUS_MESSAGE);
	uint64_t code = pb_get_varint(status, STATUS_CODE);

	if (code == 0)
		return false;
	call_fail(call, (enum err_code)code,
	    arena_fmt(call_arena(call), "%.*s", (int)text.len,
		(const char *)text.at));
	return true;
}

static void
empty_call(struct call *call)
{
	call_reply(call, "", 0);
}

static void
unary_call(struct call *call)
{
	const struct pb request = { call->request, call->request_len };
	struct buf out;

	echo_metadata(call);
	if (fails(call, pb_get(request, ANY_REQUEST_STATUS)))
		return;
	/* A compressed request does not come here. */
	if (pb_get_varint(pb_get(request, SIMPLE_REQUEST_EXPECT_COMPRESSED),
		BOOL_VALUE) != 0) {
		call_fail(
		    call, ERR_INVALID_ARGUMENT, "request is not compressed");
		return;
	}
	buf_init(&out, MESSAGE_MAX);
	if (response_put(&out, SIMPLE_RESPONSE_PAYLOAD,
		pb_get_varint(request, SIMPLE_REQUEST_SIZE)) == 0)
		call_reply(call, out.data, out.len);
	else
		call_fail(call, ERR_INVALID_ARGUMENT, "size is too large");
	buf_fini(&out);
}

static int
send_payload(struct call *call, struct pb parameters)
{
	struct buf out;
	int rc;

	buf_init(&out, MESSAGE_MAX);
	rc = response_put(&out, OUTPUT_RESPONSE_PAYLOAD,
	    pb_get_varint(parameters, PARAMETERS_SIZE));
	if (rc == 0)
		rc = stream_send(call, out.data, out.len);
	buf_fini(&out);
	return rc;
}

/* Goes on with a request: a payload for each of its parameters. */
static void
answer(struct call *call)
{
	struct state *state = call->data;
	struct pb_field field;
	struct pb at = state->left;
	int rc;

	while ((rc = pb_next(&at, &field)) > 0) {
		if (field.number == ANY_REQUEST_STATUS &&
		    fails(call, field.bytes))
			return;
		if (field.number == OUTPUT_REQUEST_PARAMETERS)
			rc = send_payload(call, field.bytes);
		if (rc == -EAGAIN)
			return; /* once more when it is writable */
		if (rc < 0)
			break;
		state->left = at;
	}
	if (rc < 0)
		call_fail(call, ERR_INVALID_ARGUMENT, "request is broken");
	else if (call->message != NULL)
		stream_read(call);
	else
		stream_end(call);
}

static void
streaming_output_call(struct call *call)
{
	struct state *state = arena_new_bytes(call_arena(call), sizeof(*state));

	state->left = (struct pb){ call->request, call->request_len };
	call->data = state;
	call->writable = answer;
	answer(call);
}

static void
full_duplex_message(struct call *call, const void *bytes, size_t len)
{
	struct state *state = call->data;

	if (bytes == NULL) {
		stream_end(call);
		return;
	}
	state->left = (struct pb){ bytes, len };
	answer(call);
}

static void
full_duplex_call(struct call *call)
{
	echo_metadata(call);
	call->data = arena_new_bytes(call_arena(call), sizeof(struct state));
	call->message = full_duplex_message;
	call->writable = answer;
	stream_read(call);
}

static void
input_message(struct call *call, const void *bytes, size_t len)
{
	struct state *state = call->data;
	const struct pb request = { bytes, len };
	struct buf out;

	if (bytes != NULL) {
		state->aggregate += pb_get(
		    pb_get(request, INPUT_REQUEST_PAYLOAD), PAYLOAD_BODY)
					.len;
		stream_read(call);
		return;
	}
	buf_init(&out, MESSAGE_MAX);
	if (pb_put_varint(&out, INPUT_RESPONSE_SIZE, state->aggregate) == 0)
		call_reply(call, out.data, out.len);
	else
		call_fail(call, ERR_INTERNAL, "answer is too long");
	buf_fini(&out);
}

static void
streaming_input_call(struct call *call)
{
	call->data = arena_new_bytes(call_arena(call), sizeof(struct state));
	call->message = input_message;
	stream_read(call);
}

static const struct rpc_method methods[] = {
	{ .name = "EmptyCall", .start = empty_call },
	{ .name = "UnaryCall", .start = unary_call },
	{ .name = "StreamingOutputCall", .start = streaming_output_call },
	{ .name = "StreamingInputCall",
	    .start = streaming_input_call,
	    .client_streams = true },
	{ .name = "FullDuplexCall",
	    .start = full_duplex_call,
	    .client_streams = true },
};

const struct rpc_service testservice = {
	.name = "grpc.testing.TestService",
	.methods = methods,
	.method_count = countof(methods),
};
