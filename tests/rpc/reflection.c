/*
 * reflection.c - server reflection, over the descriptors that rbd-csid has.
 */
#include "rpc/reflection.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "daemon/descriptors.h"
#include "rpc/grpc.h"
#include "tests/rpc/pb_put.h"
#include "tests/rpc/peer.h"
#include "tests/tap.h"

#define NOW_MS 1000000
#define ANSWER_MAX ((size_t)4 << 20)

enum {
	BY_FILENAME = 3,
	BY_SYMBOL = 4,
	BY_EXTENSION = 5,
	NUMBERS = 6,
	LIST = 7,
	ANSWER_FILES = 4,
	ANSWER_NUMBERS = 5,
	ANSWER_SERVICES = 6,
	ANSWER_ERROR = 7,
};

static struct server *server;
static struct h2peer peer;
static struct exchange *stream;
static size_t seen; /* of stream->reply */

static const char *const names[] = { "csi.v1.Identity", "a.B" };
static const struct rpc_service *const services[] = { &reflection_v1,
	&reflection_v1alpha };
static const struct router router = {
	.services = services,
	.service_count = countof(services),
};

static void
start(const char *version)
{
	auto_free char *path = str_fmt(
	    "/grpc.reflection.%s.ServerReflection/ServerReflectionInfo",
	    version);

	clock_fake(NOW_MS);
	if (reflection_init(descriptors_set, descriptors_set_bytes, names,
		countof(names)) < 0)
		abort();
	server = server_new(&router, NULL);
	peer_open(&peer, server);
	stream = peer_call(&peer, path, "\x3a\x00", 2, NULL); /* LIST "" */
	stream->stay_open = true;
	seen = 0;
	peer_run(&peer);
}

static void
end(void)
{
	peer_close(&peer);
	server_free(server);
}

/* The next answer; it stays until the stream ends. */
static struct pb
next_answer(void)
{
	struct pb answer = { NULL, 0 };
	const unsigned char *p;

	peer_run(&peer);
	if (stream->reply.len - seen < GRPC_PREFIX_BYTES)
		return answer;
	p = stream->reply.data + seen;
	answer.at = p + GRPC_PREFIX_BYTES;
	answer.len = (size_t)p[1] << 24 | (size_t)p[2] << 16 |
	    (size_t)p[3] << 8 | p[4];
	seen += GRPC_PREFIX_BYTES + answer.len;
	return answer;
}

static void
send_question(const struct buf *question)
{
	unsigned char prefix[GRPC_PREFIX_BYTES];

	grpc_prefix_put(prefix, (uint32_t)question->len);
	peer_more(&peer, stream, prefix, sizeof(prefix));
	peer_more(&peer, stream, question->data, question->len);
}

static struct pb
ask(unsigned what, const char *text)
{
	struct buf question;

	buf_init(&question, 1000);
	if (pb_put(&question, 1, "host", 4) < 0 ||
	    pb_put(&question, what, text, strlen(text)) < 0)
		abort();
	send_question(&question);
	buf_fini(&question);
	return next_answer();
}

/* The name of the first file of an answer, or "" for an error. */
static const char *
file_of(struct pb answer)
{
	static char name[100];
	struct pb files = pb_get(answer, ANSWER_FILES), found;
	struct pb_field field;

	name[0] = '\0';
	if (pb_next(&files, &field) <= 0)
		return name;
	found = pb_get(field.bytes, 1);
	(void)snprintf(
	    name, sizeof(name), "%.*s", (int)found.len, (const char *)found.at);
	return name;
}

static uint64_t
error_of(struct pb answer)
{
	return pb_get_varint(pb_get(answer, ANSWER_ERROR), 1);
}

static void
services_are_listed(const char *version)
{
	struct pb answer, list;
	struct pb_field field;
	bool all = true;
	size_t n = 0;

	start(version);
	answer = next_answer();
	list = pb_get(answer, ANSWER_SERVICES);
	while (pb_next(&list, &field) > 0) {
		all &= n < countof(names) &&
		    pb_is(pb_get(field.bytes, 1), names[n]);
		n++;
	}
	ok(all && n == countof(names), "%s lists the services", version);
	list = pb_get(answer, 2);
	ok(list.len == 2 && list.at[0] == 0x3a, "... and repeats the question");
	answer = ask(LIST, "*");
	ok(pb_is(pb_get(answer, 1), "host"), "... and the host");
	peer_finish(&peer, stream);
	peer_run(&peer);
	ok(stream->closed && stream->code == 0, "... and ends with the client");
	end();
}

static void
symbols_are_found(void)
{
	static const char csi[] = "csi.proto";
	static const char health[] = "grpc/health/v1/health.proto";
	static const struct {
		const char *symbol, *file;
	} rows[] = {
		{ "csi.v1.Identity", csi },
		{ "csi.v1.Identity.Probe", csi },
		{ ".csi.v1.Identity", csi },
		{ "csi.v1.CreateVolumeRequest", csi },
		{ "csi.v1.CreateVolumeRequest.name", csi },
		{ "csi.v1.PluginCapability.Service.Type", csi },
		{ "csi.v1.PluginCapability.Service.CONTROLLER_SERVICE", csi },
		{ "csi.v1.PluginCapability.type", csi },
		{ "csi.v1.csi_secret", csi },
		{ "grpc.health.v1.Health.Watch", health },
		{ "grpc.health.v1.HealthCheckResponse.SERVING", health },
		{ "grpc.reflection.v1alpha.ServerReflection",
		    "grpc/reflection/v1alpha/reflection.proto" },
		{ "google.protobuf.Timestamp",
		    "google/protobuf/timestamp.proto" },
		{ "", "" },
		{ ".", "" },
		{ "csi", "" },
		{ "csi.v1", "" },
		{ "csi.v1.", "" },
		{ "csi.v1.Identit", "" },
		{ "csi.v1.Identity.", "" },
		{ "csi.v1.Identity.Prob", "" },
		{ "csi.v1.Identity.Probe.x", "" },
		{ "csi.v1.PluginCapability.Service.Type.CONTROLLER_SERVICE",
		    "" },
		{ "csi.v2.Identity", "" },
		{ "Identity", "" },
	};

	start("v1");
	(void)next_answer();
	for (size_t i = 0; i < countof(rows); i++) {
		struct pb answer = ask(BY_SYMBOL, rows[i].symbol);

		ok(str_eq(file_of(answer), rows[i].file) &&
			error_of(answer) ==
			    (rows[i].file[0] == '\0' ? ERR_NOT_FOUND : 0),
		    "symbol \"%s\" is %s", rows[i].symbol,
		    rows[i].file[0] == '\0' ? "not found" : "found");
	}
	end();
}

static void
files_are_found(void)
{
	struct pb answer, files;
	struct pb_field field;
	unsigned n = 0;

	start("v1");
	(void)next_answer();
	answer = ask(BY_FILENAME, "csi.proto");
	is_str(file_of(answer), "csi.proto", "a file is found by its name");
	files = pb_get(answer, ANSWER_FILES);
	while (pb_next(&files, &field) > 0)
		n++;
	is_int(n, 4, "... and all that it imports comes with it, once");
	is_int(error_of(ask(BY_FILENAME, "si.proto")), ERR_NOT_FOUND,
	    "an unknown file is not");
	is_int(error_of(ask(BY_FILENAME, "")), ERR_NOT_FOUND,
	    "... nor one without a name");
	end();
}

static void
extensions_are_found(void)
{
	static const char type[] = "google.protobuf.FieldOptions";
	struct buf question, extension;
	struct pb numbers;
	struct pb_field field;
	bool secret = false;

	start("v1");
	(void)next_answer();
	numbers = pb_get(ask(NUMBERS, type), ANSWER_NUMBERS);
	ok(pb_is(pb_get(numbers, 1), type), "a type's extensions are told");
	/* Packed, as proto3 has it: 1059 is a3 08. */
	while (pb_next(&numbers, &field) > 0)
		secret |= field.number == 2 &&
		    memmem(field.bytes.at, field.bytes.len, "\xa3\x08", 2) !=
			NULL;
	ok(secret, "... csi_secret among them");
	is_int(error_of(ask(NUMBERS, "csi.v1.Nothing")), ERR_NOT_FOUND,
	    "... an unknown type's are not");

	for (uint64_t n = 1058; n <= 1059; n++) {
		buf_init(&question, 1000);
		buf_init(&extension, 1000);
		/* 1058 is one of another type */
		if (pb_put(&extension, 1, type, strlen(type)) < 0 ||
		    pb_put_varint(&extension, 2, n == 1059 ? n : 1) < 0 ||
		    pb_put(&question, BY_EXTENSION, extension.data,
			extension.len) < 0)
			abort();
		send_question(&question);
		is_str(file_of(next_answer()), n == 1059 ? "csi.proto" : "",
		    "the file of %s", n == 1059 ? "an extension" : "none");
		buf_fini(&question);
		buf_fini(&extension);
	}
	end();
}

static bool drained;

static void
odd_clients_are_answered(void)
{
	struct pb answer;
	struct buf many;

	start("v1");
	(void)next_answer();
	is_int(error_of(ask(1, "host only")), ERR_INVALID_ARGUMENT,
	    "a question without a question is told so");
	buf_init(&many, ANSWER_MAX);
	for (int i = 0; i < 500; i++)
		if (buf_append(&many,
			"\0\0\0\0\013\x22\x09"
			"csi.v1.Id",
			16) < 0)
			abort();
	peer_more(&peer, stream, many.data, many.len);
	peer_run_deaf(&peer);
	ok(server_counters(server)->calls == 1,
	    "500 questions in a row wait ...");
	for (int i = 0; i < 500; i++)
		answer = next_answer();
	is_int(error_of(answer), ERR_NOT_FOUND, "... and are all answered");
	buf_clear(&many);
	for (int i = 0; i < 100; i++)
		if (buf_append(&many,
			"\0\0\0\0\x11\x22\x0f"
			"csi.v1.Identity",
			22) < 0)
			abort();
	peer_more(&peer, stream, many.data, many.len);
	peer_run_deaf(&peer);
	answer = (struct pb){ NULL, 0 };
	for (int i = 0; i < 100; i++)
		answer = next_answer();
	is_str(file_of(answer), "csi.proto",
	    "a slow reader gets 100 files, one after the other");
	buf_fini(&many);

	drained = false;
	drain_server(server, &drained);
	peer_run(&peer);
	ok(stream->closed && stream->code == ERR_UNAVAILABLE && drained,
	    "a client that asks nothing more does not hold up a drain");
	end();

	start("v1alpha");
	peer_more(&peer, stream, "\0\0\0\0\2\x22\x09", 7);
	peer_run(&peer);
	ok(stream->closed && stream->code == ERR_INVALID_ARGUMENT,
	    "what is no request ends the stream");
	end();
}

static void
broken_sets_are_refused(void)
{
	unsigned refused = 0;

	for (size_t len = 1; len < 2000; len++)
		refused += reflection_init(descriptors_set, len, names, 2) < 0;
	ok(refused > 1900, "a set that is cut short is refused");
}

int
main(void)
{
	log_init("reflection", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (loop_init() < 0)
		return 1;
	services_are_listed("v1");
	services_are_listed("v1alpha");
	symbols_are_found();
	files_are_found();
	extensions_are_found();
	odd_clients_are_answered();
	broken_sets_are_refused();
	loop_fini();
	return tap_end();
}
