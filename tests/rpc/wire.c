/*
 * wire.c - reads what a server sends without believing it.
 */
#include "tests/rpc/wire.h"

#include "core/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define IN_MAX ((size_t)64 << 20)
#define PREFIX_BYTES 5
#define IDLE_TURNS 3   /* turns of the loop without a byte: at rest */
#define TURNS_MAX 2000 /* in which no byte is taken: given up */

/* ---- the socket ---- */

void
wire_begin(struct wire *wire, int fd)
{
	*wire = (struct wire){ .fd = fd };
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	buf_init(&wire->in, IN_MAX);
}

void
wire_open(struct wire *wire, struct server *server)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		fds) < 0)
		abort();
	wire_begin(wire, fds[0]);
	server_serve(server, fds[1]);
}

void
wire_close(struct wire *wire)
{
	if (wire->fd >= 0)
		(void)close(wire->fd);
	wire->fd = -1;
}

void
wire_fini(struct wire *wire)
{
	wire_close(wire);
	buf_fini(&wire->in);
}

void
wire_put(struct wire *wire, const void *bytes, size_t len)
{
	const unsigned char *at = bytes;

	for (int turns = 0; len > 0 && turns < TURNS_MAX;) {
		ssize_t n = send(wire->fd, at, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return; /* the other end has closed */
		if (n < 0) {
			turns++;
			loop_turn(false);
			(void)wire_read(wire);
			continue;
		}
		turns = 0;
		at += n;
		len -= (size_t)n;
	}
}

bool
wire_read(struct wire *wire)
{
	unsigned char bytes[16384];
	bool moved = false;
	ssize_t n;

	if (wire->fd < 0)
		return false;
	while ((n = recv(wire->fd, bytes, sizeof(bytes), 0)) > 0) {
		moved = true;
		if (buf_append(&wire->in, bytes, (size_t)n) < 0)
			abort();
	}
	if (n == 0 || (n < 0 && errno != EAGAIN))
		wire->eof = true;
	return moved;
}

void
wire_settle(struct wire *wire)
{
	for (int idle = 0; idle < IDLE_TURNS; idle++) {
		loop_turn(false);
		if (wire_read(wire))
			idle = 0;
	}
}

/* ---- the judge ---- */

enum phase {
	PHASE_NONE = 0, /* nothing came yet */
	PHASE_OPEN,     /* response headers came */
	PHASE_ENDED,    /* END_STREAM came */
	PHASE_RESET,    /* RST_STREAM came */
};

struct answer {
	int32_t id;
	enum phase phase;
	bool reset; /* after the end, too */
	uint32_t error;
	char status[8], code[8], text[256];
	size_t bytes, messages, extra; /* fields that are not gRPC's */
	uint32_t hash;                 /* of messages and of those fields */
	unsigned char prefix[PREFIX_BYTES];
	size_t prefix_len, left; /* of the message that arrives */
};

struct judge {
	struct answer answer[WIRE_STREAMS_MAX];
	nghttp2_hd_inflater *inflater;
	struct buf list; /* header list that is not whole */
	int32_t list_id; /* whose it is, or 0 */
	bool list_ends;
	bool settings;
	int32_t last_id; /* of GOAWAY */
	bool dead;       /* GOAWAY with an error */
	const char *wrong;
};

static struct answer *
answer_of(struct judge *j, int32_t id)
{
	for (size_t i = 0; i < WIRE_STREAMS_MAX; i++) {
		struct answer *a = &j->answer[i];

		if (a->id == 0)
			a->id = id;
		if (a->id == id)
			return a;
	}
	abort();
}

static void
keep(char *to, size_t size, const nghttp2_nv *nv)
{
	(void)snprintf(
	    to, size, "%.*s", (int)nv->valuelen, (const char *)nv->value);
}

static bool
named(const nghttp2_nv *nv, const char *name)
{
	return nv->namelen == strlen(name) &&
	    memcmp(nv->name, name, nv->namelen) == 0;
}

static void
hash(struct answer *a, const unsigned char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		a->hash = a->hash * 31 + bytes[i];
}

static void
take_field(struct answer *a, const nghttp2_nv *nv)
{
	if (named(nv, ":status"))
		keep(a->status, sizeof(a->status), nv);
	else if (named(nv, "grpc-status"))
		keep(a->code, sizeof(a->code), nv);
	else if (named(nv, "grpc-message"))
		keep(a->text, sizeof(a->text), nv);
	else if (!named(nv, "content-type")) {
		a->extra++;
		hash(a, nv->name, nv->namelen);
		hash(a, nv->value, nv->valuelen);
	}
}

/* RFC 9113 8.2.1, and gRPC's own rule for what is no "-bin". */
static bool
is_clean(const nghttp2_nv *nv)
{
	const uint8_t *v = nv->value;

	for (size_t i = 0; i < nv->namelen; i++)
		if (nv->name[i] <= ' ' || nv->name[i] >= 0x7f ||
		    (nv->name[i] >= 'A' && nv->name[i] <= 'Z'))
			return false;
	for (size_t i = 0; i < nv->valuelen; i++)
		if (v[i] < ' ' || v[i] > '~')
			return false;
	return nv->valuelen == 0 || (v[0] != ' ' && v[nv->valuelen - 1] != ' ');
}

static const char *
inflate(struct judge *j, struct answer *a)
{
	unsigned char *at = j->list.data;
	size_t left = j->list.len;
	nghttp2_nv nv;

	for (;;) {
		int flags = 0;
		ssize_t n = nghttp2_hd_inflate_hd2(
		    j->inflater, &nv, &flags, at, left, 1);

		if (n < 0)
			return "a header list that cannot be read";
		at += n;
		left -= (size_t)n;
		if ((flags & NGHTTP2_HD_INFLATE_EMIT) && !is_clean(&nv))
			return "a header that is not clean";
		if (flags & NGHTTP2_HD_INFLATE_EMIT)
			take_field(a, &nv);
		if (flags & NGHTTP2_HD_INFLATE_FINAL)
			break;
	}
	(void)nghttp2_hd_inflate_end_headers(j->inflater);
	buf_clear(&j->list);
	return NULL;
}

static const char *
end_list(struct judge *j, struct answer *a)
{
	bool first = a->phase == PHASE_NONE;
	const char *wrong = inflate(j, a);

	j->list_id = 0;
	if (wrong != NULL)
		return wrong;
	if (a->status[0] == '\0')
		return "no :status";
	if (j->list_ends && a->code[0] == '\0')
		return "an end without grpc-status";
	if (!j->list_ends && (!first || a->code[0] != '\0'))
		return "trailers without END_STREAM";
	if (j->list_ends && str_eq(a->code, "0") && a->prefix_len > 0)
		return "OK inside a message";
	a->phase = j->list_ends ? PHASE_ENDED : PHASE_OPEN;
	return NULL;
}

static const char *
on_headers(struct judge *j, struct answer *a, const struct frame *frame)
{
	uint8_t type = frame->type, flags = frame->flags;

	if (type == NGHTTP2_HEADERS && a->phase >= PHASE_ENDED)
		return "HEADERS after the end";
	if (type == NGHTTP2_HEADERS)
		j->list_ends = (flags & NGHTTP2_FLAG_END_STREAM) != 0;
	if (flags & ~(NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS))
		return "HEADERS with strange flags";
	j->list_id = a->id;
	if (buf_append(&j->list, frame->payload, frame->len) < 0)
		return "a header list without end";
	return flags & NGHTTP2_FLAG_END_HEADERS ? end_list(j, a) : NULL;
}

static const char *
on_data(struct answer *a, uint8_t flags, const unsigned char *bytes, size_t len)
{
	if (a->phase != PHASE_OPEN)
		return a->phase == PHASE_NONE ? "DATA before HEADERS"
					      : "DATA after the end";
	if (flags != 0)
		return "DATA with flags: its end is in the trailers";
	a->bytes += len;
	hash(a, bytes, len);
	for (size_t i = 0; i < len; i++) {
		if (a->prefix_len < PREFIX_BYTES) {
			a->prefix[a->prefix_len++] = bytes[i];
			a->left = (size_t)a->prefix[1] << 24 |
			    (size_t)a->prefix[2] << 16 |
			    (size_t)a->prefix[3] << 8 | a->prefix[4];
		} else {
			a->left--;
		}
		if (a->prefix_len == PREFIX_BYTES && a->left == 0) {
			a->messages++;
			a->prefix_len = 0;
		}
	}
	return NULL;
}

static const char *
on_reset(struct answer *a, uint32_t error)
{
	if (a->reset)
		return "RST_STREAM twice";
	if (a->phase == PHASE_ENDED && error != NGHTTP2_NO_ERROR)
		return "RST_STREAM with an error after the end";
	a->reset = true;
	a->error = error;
	if (a->phase != PHASE_ENDED)
		a->phase = PHASE_RESET;
	return NULL;
}

/* Frames of a stream. */
static const char *
on_stream_frame(struct judge *j, const struct frame *frame)
{
	struct answer *a = answer_of(j, frame->id);

	if (frame->id % 2 == 0)
		return "a stream of the server's own";
	if (a->reset)
		return "a frame after RST_STREAM";
	switch (frame->type) {
	case NGHTTP2_HEADERS:
	case NGHTTP2_CONTINUATION:
		return on_headers(j, a, frame);
	case NGHTTP2_DATA:
		return on_data(a, frame->flags, frame->payload, frame->len);
	case NGHTTP2_RST_STREAM:
		return on_reset(a, frame_u32(frame->payload));
	case NGHTTP2_WINDOW_UPDATE:
		return NULL;
	default:
		return "a frame of a strange type on a stream";
	}
}

static const char *
on_goaway(struct judge *j, const unsigned char *bytes)
{
	int32_t id = (int32_t)frame_u32(bytes);

	if (id > j->last_id)
		return "GOAWAY raises the last stream";
	j->last_id = id;
	j->dead = frame_u32(bytes + 4) != NGHTTP2_NO_ERROR;
	return NULL;
}

static const char *
on_frame(struct judge *j, const struct frame *frame)
{
	uint8_t type = frame->type;

	if (frame->len > FRAME_MAX)
		return "a frame larger than we take";
	if (j->dead)
		return "a frame after GOAWAY with an error";
	if (!j->settings && (type != NGHTTP2_SETTINGS || frame->flags != 0))
		return "SETTINGS is not the first frame";
	j->settings = true;
	if ((j->list_id != 0) != (type == NGHTTP2_CONTINUATION) ||
	    (j->list_id != 0 && j->list_id != frame->id))
		return "a header list is interrupted";
	if (frame->id != 0)
		return on_stream_frame(j, frame);
	switch (type) {
	case NGHTTP2_GOAWAY:
		return on_goaway(j, frame->payload);
	case NGHTTP2_SETTINGS:
	case NGHTTP2_PING:
	case NGHTTP2_WINDOW_UPDATE:
		return NULL;
	default:
		return "a frame of a strange type on the connection";
	}
}

static void
put_answer(const struct answer *a, char *out)
{
	size_t at = strlen(out);

	if (str_put(out + at, WIRE_ANSWERS_MAX - at,
		"%d: http=%s messages=%zu bytes=%zu hash=%x extra=%zu "
		"code=%s text=%s end=%d error=%u\n",
		a->id, a->status, a->messages, a->bytes, a->hash, a->extra,
		a->code, a->text, (int)a->phase,
		a->phase == PHASE_RESET ? a->error : 0) < 0)
		abort();
}

/* By number, in whatever order they were answered. */
static void
put_answers(const struct judge *j, char *out)
{
	*out = '\0';
	for (int32_t id = 1; id < 2 * WIRE_STREAMS_MAX; id += 2)
		for (size_t i = 0; i < WIRE_STREAMS_MAX; i++)
			if (j->answer[i].id == id &&
			    j->answer[i].phase != PHASE_NONE)
				put_answer(&j->answer[i], out);
}

const char *
wire_judge(const struct wire *wire, bool cut, char *answers)
{
	struct judge j = { .last_id = INT32_MAX };
	struct frame frame;
	size_t at = 0;

	buf_init(&j.list, IN_MAX);
	if (nghttp2_hd_inflate_new(&j.inflater) < 0)
		abort();
	while (j.wrong == NULL && frame_next(&wire->in, &at, &frame))
		j.wrong = on_frame(&j, &frame);
	if (j.wrong == NULL && at != wire->in.len && !cut)
		j.wrong = "half a frame";
	if (answers != NULL)
		put_answers(&j, answers);
	nghttp2_hd_inflate_del(j.inflater);
	buf_fini(&j.list);
	return j.wrong;
}

bool
wire_has_frame(const struct wire *wire, size_t from, int32_t id)
{
	struct frame frame;
	size_t at = 0;

	while (frame_next(&wire->in, &at, &frame))
		if (at - FRAME_HEAD_BYTES - frame.len >= from && frame.id == id)
			return true;
	return false;
}
