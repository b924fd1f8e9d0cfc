/*
 * server_frames.c - fuzz target: what clients may do to a server, one after
 * the other: requests, bodies, control frames, closing, not reading; and what
 * happens meanwhile: handlers answer, time passes, the server drains.
 */
#include "tests/fuzz/frames.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/service.h"

#define FRAMES_MAX ((size_t)1 << 20)

struct client {
	struct host_conn *conn;
	int32_t last_id;
};

/* One of the streams that were opened, the newest first; or one that was not. */
static uint32_t
pick(const struct client *c, unsigned which)
{
	int32_t back = 2 * (int32_t)(which % 8);

	return back < c->last_id ? (uint32_t)(c->last_id - back) : which;
}

/* A frame, or the whole connection anew. */
static void
client_send(
    struct host *host, struct client *c, unsigned op, struct fuzz_input *in)
{
	struct buf out;

	buf_init(&out, FRAMES_MAX);
	if (c->conn->fd < 0) {
		host_open(host, c->conn);
		c->last_id = -1;
		if (op != 15) /* else it waits, or begins with nonsense */
			frames_hello(&out);
	}
	if (op < 4) {
		unsigned path = fuzz_byte(in);

		c->last_id += 2;
		frames_request(&out, in, (uint32_t)c->last_id,
		    service_paths[path % service_path_count]);
	} else if (op < 9) {
		frames_data(&out, in, pick(c, op - 4));
	} else if (op < 11) {
		frames_trailers(&out, in, pick(c, fuzz_byte(in)));
	} else if (op < 15) {
		frames_control(&out, in, pick(c, fuzz_byte(in)));
	} else {
		frames_flood(&out, in, pick(c, fuzz_byte(in)));
	}
	host_send(host, c->conn, out.data, out.len);
	buf_fini(&out);
}

/* What is not a frame. */
static void
happens(struct host *host, struct client *c, unsigned op, struct fuzz_input *in)
{
	unsigned n = fuzz_byte(in);

	if (op < 20)
		service_poke(n % 4, n / 4, fuzz_short(in));
	else if (op < 22)
		host_wait(host, (int64_t)n * n * n);
	else if (op == 22)
		c->conn->deaf = !c->conn->deaf;
	else if (op == 23 && n < 128)
		host_close(c->conn);
	else if (op == 24 && n < 64)
		host_drain(host);
	else
		host_run(host);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	struct client clients[HOST_CONNS] = { 0 };
	bool hard = (fuzz_byte(&in) & 1) != 0;
	struct host host;

	host_start(&host);
	for (size_t i = 0; i < HOST_CONNS; i++)
		clients[i].conn = &host.conn[i];
	/* Three bits of each byte say who, in favour of the first. */
	while (in.len > 0) {
		unsigned op = fuzz_byte(&in);
		unsigned who = op >> 5 < 6 ? 0 : op / 32 % 2 + 1;

		op %= 32;
		if (op < 16)
			client_send(&host, &clients[who], op, &in);
		else
			happens(&host, &clients[who], op, &in);
	}
	host_end(&host, hard);
	return 0;
}
