/*
 * control.c - see control.h.
 */
#include "attach/control.h"

#include "base/log.h"
#include "config.h"
#include "core/channel.h"
#include "core/io.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CLIENTS_MAX 8

struct call;

struct client {
	struct channel *channel;
	LIST_HEAD(, call) calls;
	uint64_t drain_id; /* waits for the end; 0: does not */
	bool greeted;      /* has said HELLO */
	LIST_ENTRY(client)
	link;
};

enum call_state {
	CALL_START = 0,
	CALL_ENDED, /* the image is attached, or closed */
};

/* ATTACH and DETACH: what takes time. */
struct call {
	struct op op;
	enum call_state state;
	struct client *client; /* NULL: gone */
	struct wire_request request;
	struct image *image;
	struct err err;
	LIST_ENTRY(call)
	link;
};

static struct {
	struct control_settings set;
	struct io listener;
	LIST_HEAD(, client) clients;
	unsigned count;
	bool serving, draining;
	struct wire_answer fault; /* what those who come later are told, too */
} ct = { .clients = LIST_HEAD_INITIALIZER(ct.clients) };

/* ---- answers ----------------------------------------------------------- */

static void
send_answer(struct client *client, const struct wire_answer *answer,
    const int *fds, size_t nfds)
{
	char buf[WIRE_FRAME_MAX];
	int len = wire_answer_pack(answer, buf);

	if (len < 0 ||
	    channel_send_fds(client->channel, buf, (size_t)len, fds, nfds) < 0)
		log_warn("control.answer", "rc=%d", len);
}

static void
fill_attached(struct wire_answer *answer, const struct image *image)
{
	struct table_slot *slot = image->slot;

	answer->body = WIRE_ATTACHED;
	answer->attached.ino = slot->ino;
	answer->attached.size_bytes = atomic_load(&slot->size_bytes);
	answer->attached.read_only = (slot->flags & TABLE_SLOT_READ_ONLY) != 0;
	table_slot_name(ct.set.table, slot, answer->attached.file);
}

static void
send_ready(struct client *client, uint64_t id, bool descriptors)
{
	int fds[2] = { ct.set.fuse_fd, ct.set.table_fd };
	struct wire_answer answer = { .id = id, .body = WIRE_READY };

	answer.ready.pid = (uint32_t)getpid();
	answer.ready.generation = atomic_load(&ct.set.table->generation);
	answer.ready.starting = !ct.serving;
	(void)snprintf(answer.ready.version, sizeof(answer.ready.version), "%s",
	    PACKAGE_VERSION);
	send_answer(client, &answer, fds, descriptors ? 2 : 0);
}

static void
do_hello(struct client *client, const struct wire_request *request)
{
	client->greeted = true;
	send_ready(client, request->id, request->want_descriptors);
	if (ct.fault.body == WIRE_FAILED)
		send_answer(client, &ct.fault, NULL, 0);
}

static void
do_status(struct client *client, const struct wire_request *request)
{
	struct wire_answer answer = { .id = request->id,
		.body = WIRE_COUNTERS };
	struct image *image;

	answer.counters.generation = atomic_load(&ct.set.table->generation);
	answer.counters.requests = image_io_total();
	answer.counters.held_bytes = image_io_total_bytes();
	for (unsigned i = 0; (image = image_at(i)) != NULL; i++) {
		answer.counters.images += image->state != IMAGE_NONE;
		answer.counters.reads += image->io.count[IMAGE_READ];
		answer.counters.writes += image->io.count[IMAGE_WRITE];
		answer.counters.flushes += image->io.count[IMAGE_FLUSH];
		answer.counters.zeroes += image->io.count[IMAGE_ZERO];
	}
	send_answer(client, &answer, NULL, 0);
}

static void
do_abort(struct client *client, const struct wire_request *request)
{
	struct wire_answer answer = { .id = request->id };
	struct image *image = image_by_ino(request->ino);

	if (image == NULL)
		(void)err_set(&answer.err, ERR_NOT_FOUND,
		    "no image %llu is attached",
		    (unsigned long long)request->ino);
	else
		image_abort(image, TABLE_ABORTED_ON_REQUEST);
	send_answer(client, &answer, NULL, 0);
}

/* ---- attach and detach ------------------------------------------------- */

static enum op_verdict
call_step(struct op *op)
{
	struct call *c = (struct call *)op;

	switch (c->state) {
	case CALL_START:
		if (c->request.kind == WIRE_ATTACH)
			image_attach_start(
			    &c->request.image, &c->image, &c->err, &op->wake);
		else
			image_detach_start(c->image, &c->err, &op->wake);
		return op_await(c, CALL_ENDED);
	case CALL_ENDED:
		if (op->rc < 0)
			op_set_err(op, &c->err);
		return OP_DONE;
	}
	abort();
}

static void
call_end(struct op *op)
{
	struct call *c = (struct call *)op;
	struct wire_answer answer = { .id = c->request.id, .err = op->err };
	bool attach = c->request.kind == WIRE_ATTACH;

	log_info(attach ? "image.attach" : "image.detach",
	    "image=%s code=%s ms=%lld%s%s%s", c->op.subject,
	    err_code_name(op->err.code), (long long)op_age_ms(op),
	    op->err.rc < 0 ? " text=\"" : "", op->err.text,
	    op->err.rc < 0 ? "\"" : "");
	if (c->client != NULL) {
		LIST_REMOVE(c, link);
		if (attach && op->err.rc == 0)
			fill_attached(&answer, c->image);
		send_answer(c->client, &answer, NULL, 0);
	}
	wire_request_fini(&c->request);
	free(c);
}

static const struct op_class call_class = {
	.name = "attach.call",
	.step = call_step,
	.end = call_end,
};

static void
call_begin(
    struct client *client, struct wire_request *request, struct image *image)
{
	struct call *c = mem_new(sizeof(*c));

	c->client = client;
	c->request = *request;
	request->unpacked = NULL;
	c->image = image;
	LIST_INSERT_HEAD(&client->calls, c, link);
	c->op.subject = image != NULL ? image->slot->image
				      : c->request.image.image;
	op_start(&c->op, &call_class, NULL);
}

static void
do_attach(struct client *client, struct wire_request *request)
{
	struct wire_answer answer = { .id = request->id };
	const struct table_image *spec = &request->image;
	struct image *image;

	if (str_is_empty(spec->pool) || str_is_empty(spec->image)) {
		(void)err_set(&answer.err, ERR_INVALID_ARGUMENT,
		    "pool and image must be named");
		send_answer(client, &answer, NULL, 0);
		return;
	}
	if (ct.draining) {
		(void)err_set(&answer.err, ERR_UNAVAILABLE,
		    "rbd-attachd is being replaced");
		send_answer(client, &answer, NULL, 0);
		return;
	}
	image = image_find(spec->pool, spec->rados_namespace, spec->image);
	if (image == NULL) {
		call_begin(client, request, NULL);
		return;
	}
	if (image->state == IMAGE_OPENING || image->state == IMAGE_CLOSING) {
		(void)err_set(&answer.err, ERR_ABORTED, "image %s is being %s",
		    spec->image,
		    image->state == IMAGE_OPENING ? "opened" : "closed");
	} else if (image->io.dead) {
		(void)err_set(&answer.err, ERR_FAILED_PRECONDITION,
		    "image %s must be detached first: it was %s", spec->image,
		    table_aborted_text((enum table_aborted)atomic_load(
			&image->slot->aborted)));
	} else {
		fill_attached(&answer, image);
		answer.attached.existed = true;
	}
	send_answer(client, &answer, NULL, 0);
}

static void
do_detach(struct client *client, struct wire_request *request)
{
	struct wire_answer answer = { .id = request->id };
	struct image *image = image_by_ino(request->ino);

	if (image != NULL)
		call_begin(client, request, image);
	else
		send_answer(client, &answer, NULL, 0);
}

static void
refuse(struct client *client, const struct wire_request *request)
{
	struct wire_answer answer = { .id = request->id };

	(void)err_set(&answer.err, ERR_UNAVAILABLE,
	    "rbd-attachd has no session with the cluster yet");
	send_answer(client, &answer, NULL, 0);
}

/* ---- clients ----------------------------------------------------------- */

static void
on_frame(struct channel *channel, const void *bytes, size_t len, const int *fds,
    size_t nfds, void *arg)
{
	struct client *client = arg;
	struct wire_request request;

	(void)channel;
	for (size_t i = 0; i < nfds; i++)
		(void)close(fds[i]);
	if (wire_request_unpack(&request, bytes, len) < 0) {
		log_error("control.frame", "bytes=%zu", len);
		return;
	}
	if (!ct.serving && request.kind != WIRE_HELLO &&
	    request.kind != WIRE_DRAIN) {
		refuse(client, &request);
		wire_request_fini(&request);
		return;
	}
	switch (request.kind) {
	case WIRE_HELLO:
		do_hello(client, &request);
		break;
	case WIRE_ATTACH:
		do_attach(client, &request);
		break;
	case WIRE_DETACH:
		do_detach(client, &request);
		break;
	case WIRE_ABORT:
		do_abort(client, &request);
		break;
	case WIRE_STATUS:
		do_status(client, &request);
		break;
	case WIRE_DRAIN:
		client->drain_id = request.id;
		ct.draining = true;
		ct.set.drain();
		break;
	default:
		log_error("control.kind", "kind=%d", (int)request.kind);
		break;
	}
	wire_request_fini(&request);
}

static void
on_closed(struct channel *channel, int rc, void *arg)
{
	struct client *client = arg;
	struct call *call;

	(void)channel;
	log_info("control.gone", "rc=%d", rc);
	while ((call = LIST_FIRST(&client->calls)) != NULL) {
		LIST_REMOVE(call, link);
		call->client = NULL;
	}
	LIST_REMOVE(client, link);
	ct.count--;
	channel_free(client->channel);
	free(client);
}

static const struct channel_ops channel_ops = {
	.frame = on_frame,
	.closed = on_closed,
};

static void
client_new(int fd)
{
	struct client *client;

	if (ct.count >= CLIENTS_MAX) {
		log_warn("control.full", "clients=%u", ct.count);
		(void)close(fd);
		return;
	}
	client = mem_new(sizeof(*client));
	LIST_INIT(&client->calls);
	client->channel = channel_new(
	    fd, WIRE_FRAME_MAX, WIRE_QUEUE_MAX, &channel_ops, client);
	LIST_INSERT_HEAD(&ct.clients, client, link);
	ct.count++;
}

static void
on_connect(struct io *io, int what)
{
	int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (fd >= 0)
		client_new(fd);
}

void
control_init(const struct control_settings *settings)
{
	ct.set = *settings;
	if (settings->channel_fd >= 0)
		client_new(settings->channel_fd);
}

int
control_listen(struct err *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	auto_free char *path = str_fmt("%s/sock", ct.set.directory);
	int fd;

	if (ct.listener.ev != NULL)
		return 0;
	if (str_put(addr.sun_path, sizeof(addr.sun_path), "%s", path) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "path of the socket is too long: %s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set_rc(err, -errno, "socket");
	/* The directory is ours and there is one server at a time. */
	(void)unlink(path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(fd, CLIENTS_MAX) < 0) {
		int rc = err_set_rc(err, -errno, "listen at %s", path);

		(void)close(fd);
		return rc;
	}
	io_watch(&ct.listener, fd, IO_READ, on_connect);
	return 0;
}

unsigned
control_clients(void)
{
	return ct.count;
}

void
control_serving(void)
{
	struct client *client;

	ct.serving = true;
	LIST_FOREACH (client, &ct.clients, link)
		if (client->greeted)
			send_ready(client, 0, false);
}

void
control_fail(const char *step, enum wire_scope scope, const struct err *err)
{
	struct wire_answer answer = { .err = *err, .body = WIRE_FAILED };
	struct client *client;

	answer.failed.scope = scope;
	(void)snprintf(
	    answer.failed.step, sizeof(answer.failed.step), "%s", step);
	if (ct.serving)
		ct.fault = answer;
	LIST_FOREACH (client, &ct.clients, link)
		send_answer(client, &answer, NULL, 0);
}

void
control_resized(const struct image *image)
{
	struct wire_answer answer = { .id = 0 };
	struct client *client;

	fill_attached(&answer, image);
	LIST_FOREACH (client, &ct.clients, link)
		send_answer(client, &answer, NULL, 0);
}

void
control_drained(void)
{
	struct client *client;

	LIST_FOREACH (client, &ct.clients, link) {
		struct wire_answer answer = { .id = client->drain_id };

		if (client->drain_id != 0)
			send_answer(client, &answer, NULL, 0);
	}
}
