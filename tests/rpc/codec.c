/*
 * codec.c - the pure encodings: timeouts, percent-encoding, message framing,
 * content types, socket addresses, routes.
 */
#include "rpc/call.h"
#include "rpc/grpc.h"
#include "rpc/h2io.h"
#include "rpc/server_head.h"
#include "tests/tap.h"

#include <errno.h>

static void
timeouts_are_parsed(void)
{
	static const struct {
		const char *value;
		int rc;
		int64_t ms;
	} rows[] = {
		{ "1S", 0, 1000 },
		{ "10S", 0, 10000 },
		{ "0m", 0, 0 },
		{ "99999999m", 0, 99999999 },
		{ "2M", 0, 120000 },
		{ "1H", 0, 3600000 },
		{ "99999999H", 0, 359999996400000 },
		{ "1500u", 0, 1 },
		{ "999999n", 0, 0 },
		{ "1000000n", 0, 1 },
		{ "007m", 0, 7 },
		{ "", -EINVAL, 0 },
		{ "S", -EINVAL, 0 },
		{ "1", -EINVAL, 0 },
		{ "1s", -EINVAL, 0 },
		{ "-1S", -EINVAL, 0 },
		{ "+1S", -EINVAL, 0 },
		{ " 1S", -EINVAL, 0 },
		{ "1S ", -EINVAL, 0 },
		{ "1.5S", -EINVAL, 0 },
		{ "0x1S", -EINVAL, 0 },
		{ "100000000m", -EINVAL, 0 },
	};

	for (size_t i = 0; i < countof(rows); i++) {
		int64_t ms = 0;
		int rc = grpc_timeout_parse(
		    rows[i].value, strlen(rows[i].value), &ms);

		ok(rc == rows[i].rc && ms == rows[i].ms,
		    "grpc-timeout \"%s\" is %s", rows[i].value,
		    rows[i].rc == 0 ? "read" : "refused");
	}
}

static void
timeouts_are_written(void)
{
	static const struct {
		int64_t ms;
		const char *value;
	} rows[] = {
		{ -5, "0m" },
		{ 0, "0m" },
		{ 1, "1m" },
		{ 15000, "15000m" },
		{ 99999998, "99999998m" },
		{ 100000000, "100000S" },
		{ 100000001, "100001S" },
		{ 99999999000, "1666667M" },
		{ 6000000000000, "1666667H" },
		{ INT64_MAX, "99999999H" },
	};
	char out[GRPC_TIMEOUT_MAX];

	for (size_t i = 0; i < countof(rows); i++) {
		grpc_timeout_fmt(out, rows[i].ms);
		ok(str_eq(out, rows[i].value),
		    "%" PRId64 " ms is written as %s", rows[i].ms, out);
	}
}

static void
texts_are_percent_encoded(void)
{
	static const struct {
		const char *text, *encoded;
	} rows[] = {
		{ "", "" },
		{ "plain text, with ~ and \"", "plain text, with ~ and \"" },
		{ "100%", "100%25" },
		{ "a\nb\r\tc", "a%0Ab%0D%09c" },
		{ "v\xc3\xb6lume", "v%C3%B6lume" },
		{ "\x7f", "%7F" },
		{ " cut off ", "%20cut off%20" },
		{ " ", "%20" },
		{ "\t\ntest with whitespace\r\nand Unicode BMP \xe2\x98\xba "
		  "and non-BMP \xf0\x9f\x98\x88\t\n",
		    "%09%0Atest with whitespace%0D%0Aand Unicode BMP "
		    "%E2%98%BA and non-BMP %F0%9F%98%88%09%0A" },
	};
	static const struct {
		const char *encoded, *text;
	} odd[] = {
		{ "%", "%" },
		{ "%4", "%4" },
		{ "%zz", "%zz" },
		{ "a%c3%b6", "a\xc3\xb6" },
		{ "%%41", "%A" },
		{ "%41%", "A%" },
	};
	char out[512], back[512];

	for (size_t i = 0; i < countof(rows); i++) {
		size_t n = grpc_percent_encode(
		    out, rows[i].text, strlen(rows[i].text));

		ok(str_eq(out, rows[i].encoded), "text %zu is encoded", i);
		back[grpc_percent_decode(back, out, n)] = '\0';
		ok(str_eq(back, rows[i].text), "text %zu is decoded again", i);
	}
	for (size_t i = 0; i < countof(odd); i++) {
		size_t n = grpc_percent_decode(
		    out, odd[i].encoded, strlen(odd[i].encoded));

		out[n] = '\0';
		ok(str_eq(out, odd[i].text), "\"%s\" is decoded leniently",
		    odd[i].encoded);
	}
}

static void
long_texts_are_cut_between_characters(void)
{
	struct status status = { .code = ERR_OK };
	char text[STATUS_TEXT_MAX + 10];

	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	memcpy(text + STATUS_TEXT_MAX - 1, "\xe2\x98\xba", 3);
	status_set(&status, ERR_INTERNAL, text);
	is_int(strlen(status.message), STATUS_TEXT_MAX - 1,
	    "a character at the limit of a status text is left out whole");
	status_set(&status, ERR_INTERNAL, "");
	ok(status.message == NULL, "an empty text gives no grpc-message");
	status_fini(&status);
}

/* Feeds `bytes` in two pieces; gives the messages' lengths as a string. */
static enum grpc_read
feed_split(const unsigned char *bytes, size_t len, size_t cut, size_t max,
    char *out, size_t out_size)
{
	struct grpc_reader reader;
	enum grpc_read verdict = GRPC_READ_MORE;
	const size_t lens[2] = { cut, len - cut };
	size_t used = 0;

	out[0] = '\0';
	grpc_reader_init(&reader, max);
	for (int i = 0; i < 2; i++) {
		const unsigned char *at = i == 0 ? bytes : bytes + cut;
		size_t left = lens[i];

		while (left > 0 || verdict == GRPC_READ_MESSAGE) {
			if (left == 0)
				break;
			verdict = grpc_reader_feed(&reader, &at, &left);
			if (verdict == GRPC_READ_MESSAGE) {
				used += (size_t)snprintf(out + used,
				    out_size - used, "%zu ",
				    reader.message.len);
				grpc_reader_next(&reader);
			} else if (verdict != GRPC_READ_MORE) {
				buf_fini(&reader.message);
				return verdict;
			}
		}
	}
	if (verdict == GRPC_READ_MESSAGE && reader.prefix_len > 0)
		verdict = GRPC_READ_MORE;
	buf_fini(&reader.message);
	return verdict;
}

static void
messages_are_put_together(void)
{
	static const unsigned char three[] = "\0\0\0\0\003abc" /* 3 bytes */
					     "\0\0\0\0\0"      /* empty */
					     "\0\0\0\0\002de"; /* 2 bytes */
	static const struct {
		const char *name;
		unsigned char bytes[6];
		size_t len;
		enum grpc_read verdict;
	} odd[] = {
		{ "a compressed one", "\1\0\0\0\1x", 6, GRPC_READ_COMPRESSED },
		{ "a flag of 2", "\2\0\0\0\1x", 6, GRPC_READ_BAD_FLAG },
		{ "one over the limit", "\0\0\0\0\013", 5,
		    GRPC_READ_TOO_LARGE },
		{ "4 GiB", "\0\xff\xff\xff\xff", 5, GRPC_READ_TOO_LARGE },
		{ "one at the limit", "\0\0\0\0\012x", 6, GRPC_READ_MORE },
	};
	bool all = true;
	char out[64];

	for (size_t cut = 0; cut < sizeof(three); cut++) {
		(void)feed_split(
		    three, sizeof(three) - 1, cut, 10, out, sizeof(out));
		if (strcmp(out, "3 0 2 ") != 0) {
			diag("cut at %zu: %s", cut, out);
			all = false;
		}
	}
	ok(all, "three messages cut at any byte are read");
	for (size_t i = 0; i < countof(odd); i++)
		ok(feed_split(odd[i].bytes, odd[i].len, 2, 10, out,
		       sizeof(out)) == odd[i].verdict,
		    "of messages, %s is told apart", odd[i].name);
}

static void
content_types_are_told_apart(void)
{
	static const struct {
		const char *value;
		bool good;
	} rows[] = {
		{ "application/grpc", true },
		{ "application/grpc+proto", true },
		{ "application/grpc+json", true },
		{ "application/grpc; charset=utf-8", true },
		{ "Application/gRPC", true },
		{ "application/grpc-web", false },
		{ "application/grpcx", false },
		{ "application/json", false },
		{ "application/grp", false },
		{ "", false },
	};

	for (size_t i = 0; i < countof(rows); i++)
		ok(grpc_content_type_is(rows[i].value, strlen(rows[i].value)) ==
			rows[i].good,
		    "content-type \"%s\" is %s", rows[i].value,
		    rows[i].good ? "gRPC" : "not gRPC");
}

static void
endpoints_are_read(void)
{
	static const struct {
		const char *endpoint, *path;
	} rows[] = {
		{ "unix:///csi/csi.sock", "/csi/csi.sock" },
		{ "unix:/csi/csi.sock", "/csi/csi.sock" },
		{ "unix://csi.sock", "csi.sock" },
		{ "/csi/csi.sock", "/csi/csi.sock" },
		{ "tcp://127.0.0.1:10000", NULL },
		{ "unix://", NULL },
		{ "", NULL },
		{ "/a234567890123456789012345678901234567890123456789012345678"
		  "9012345678901234567890123456789012345678901234567890",
		    NULL },
	};

	for (size_t i = 0; i < countof(rows); i++) {
		struct sockaddr_un address;
		struct err err = ERR_INIT;
		int rc = endpoint_parse(rows[i].endpoint, &address, &err);

		if (rows[i].path != NULL)
			ok(rc == 0 && str_eq(address.sun_path, rows[i].path),
			    "endpoint %s is %s", rows[i].endpoint,
			    rows[i].path);
		else
			ok(rc < 0 && err.code == ERR_INVALID_ARGUMENT,
			    "endpoint \"%.20s\" is refused: %.60s",
			    rows[i].endpoint, err.text);
	}
}

static void
handler(struct call *call)
{
	(void)call;
}

static void
other(struct call *call)
{
	(void)call;
}

static call_handler *
start_of(const struct router *router, const char *path, struct err *err)
{
	const struct rpc_method *method = router_find(router, path, err);

	return method != NULL ? method->start : NULL;
}

static void
routes_are_found(void)
{
	static const struct rpc_method methods[] = {
		{ "Get", handler, false },
		{ "GetAll", other, false },
	};
	static const struct rpc_service service = { "a.B", methods, 2 };
	static const struct rpc_service *const services[] = { &service };
	struct router router = { .services = services, .service_count = 1 };
	static const struct {
		const char *path;
		call_handler *found;
	} rows[] = {
		{ "/a.B/Get", handler },
		{ "/a.B/GetAll", other },
		{ "a.B/Get", NULL },
		{ "/a.B/get", NULL },
		{ "/a.B/GetA", NULL },
		{ "/a.B/Get/", NULL },
		{ "/a.B//Get", NULL },
		{ "//a.B/Get", NULL },
		{ "/a.B/", NULL },
		{ "/a.B", NULL },
		{ "/a.BC/Get", NULL },
		{ "/a./Get", NULL },
		{ "/", NULL },
		{ "", NULL },
		{ "*", NULL },
	};

	for (size_t i = 0; i < countof(rows); i++) {
		struct err err = ERR_INIT;

		ok(start_of(&router, rows[i].path, &err) == rows[i].found &&
			(rows[i].found != NULL ||
			    err.code == ERR_UNIMPLEMENTED),
		    "path \"%s\" %s", rows[i].path,
		    rows[i].found != NULL ? "is routed" : "matches nothing");
	}
	router.fallback.start = other;
	ok(start_of(&router, "/c.D/Get", NULL) == other,
	    "an unknown service goes to the fallback");
	ok(router_find(&router, "/a.B/Put", NULL) == NULL,
	    "an unknown method of a known service does not");
	ok(router_find(&router, "c.D/Get", NULL) == NULL,
	    "a malformed path does not either");
}

int
main(void)
{
	timeouts_are_parsed();
	timeouts_are_written();
	texts_are_percent_encoded();
	long_texts_are_cut_between_characters();
	messages_are_put_together();
	content_types_are_told_apart();
	endpoints_are_read();
	routes_are_found();
	return tap_end();
}
