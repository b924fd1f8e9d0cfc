/*
 * wire.c - see wire.h.
 */
#include "attach/wire.h"

#include "attach.pb-c.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* protobuf-c wants char *, and packs what it points to without writing. */
static char *
text(const char *s)
{
	return (char *)(uintptr_t)(s != NULL ? s : "");
}

static void
take(char *to, size_t size, const char *from)
{
	(void)snprintf(to, size, "%s", from != NULL ? from : "");
}

int
wire_request_pack(const struct wire_request *request, void *buf)
{
	Attach__Image image = ATTACH__IMAGE__INIT;
	Attach__Request pb = ATTACH__REQUEST__INIT;

	pb.id = request->id;
	pb.kind = (Attach__Request__Kind)request->kind;
	pb.want_descriptors = request->want_descriptors;
	pb.ino = request->ino;
	if (request->kind == WIRE_ATTACH) {
		image.pool = text(request->image.pool);
		image.rados_namespace = text(request->image.rados_namespace);
		image.image = text(request->image.image);
		image.image_id = text(request->image.image_id);
		image.read_only = request->image.read_only;
		pb.image = &image;
	}
	if (attach__request__get_packed_size(&pb) > WIRE_FRAME_MAX)
		return -EMSGSIZE;
	return (int)attach__request__pack(&pb, buf);
}

int
wire_request_unpack(struct wire_request *request, const void *bytes, size_t len)
{
	Attach__Request *pb = attach__request__unpack(NULL, len, bytes);

	memset(request, 0, sizeof(*request));
	if (pb == NULL)
		return -EBADMSG;
	request->unpacked = pb;
	request->id = pb->id;
	request->kind = (enum wire_kind)pb->kind;
	request->want_descriptors = pb->want_descriptors;
	request->ino = pb->ino;
	if (pb->image != NULL)
		request->image = (struct table_image){ .pool = pb->image->pool,
			.rados_namespace = pb->image->rados_namespace,
			.image = pb->image->image,
			.image_id = pb->image->image_id,
			.read_only = pb->image->read_only };
	return 0;
}

void
wire_request_fini(struct wire_request *request)
{
	if (request->unpacked != NULL)
		attach__request__free_unpacked(request->unpacked, NULL);
	request->unpacked = NULL;
}

/* One of each message, so that a pack needs no memory. */
struct bodies {
	Attach__Ready ready;
	Attach__Attached attached;
	Attach__Status status;
	Attach__Failed failed;
};

static void
body_to_pb(
    const struct wire_answer *answer, struct bodies *b, Attach__Answer *pb)
{
	switch (answer->body) {
	case WIRE_NOTHING:
		break;
	case WIRE_READY:
		attach__ready__init(&b->ready);
		b->ready.pid = answer->ready.pid;
		b->ready.generation = answer->ready.generation;
		b->ready.starting = answer->ready.starting;
		b->ready.version = text(answer->ready.version);
		pb->body_case = ATTACH__ANSWER__BODY_READY;
		pb->ready = &b->ready;
		break;
	case WIRE_ATTACHED:
		attach__attached__init(&b->attached);
		b->attached.ino = answer->attached.ino;
		b->attached.size_bytes = answer->attached.size_bytes;
		b->attached.file = text(answer->attached.file);
		b->attached.existed = answer->attached.existed;
		b->attached.read_only = answer->attached.read_only;
		pb->body_case = ATTACH__ANSWER__BODY_ATTACHED;
		pb->attached = &b->attached;
		break;
	case WIRE_COUNTERS:
		attach__status__init(&b->status);
		b->status.generation = answer->counters.generation;
		b->status.images = answer->counters.images;
		b->status.requests = answer->counters.requests;
		b->status.held_bytes = answer->counters.held_bytes;
		b->status.reads = answer->counters.reads;
		b->status.writes = answer->counters.writes;
		b->status.flushes = answer->counters.flushes;
		b->status.zeroes = answer->counters.zeroes;
		pb->body_case = ATTACH__ANSWER__BODY_STATUS;
		pb->status = &b->status;
		break;
	case WIRE_FAILED:
		attach__failed__init(&b->failed);
		b->failed.step = text(answer->failed.step);
		b->failed.scope = (Attach__Failed__Scope)answer->failed.scope;
		pb->body_case = ATTACH__ANSWER__BODY_FAILED;
		pb->failed = &b->failed;
		break;
	}
}

int
wire_answer_pack(const struct wire_answer *answer, void *buf)
{
	Attach__Answer pb = ATTACH__ANSWER__INIT;
	struct bodies bodies;

	pb.id = answer->id;
	pb.code = answer->err.code;
	pb.text = text(answer->err.text);
	body_to_pb(answer, &bodies, &pb);
	if (attach__answer__get_packed_size(&pb) > WIRE_FRAME_MAX)
		return -EMSGSIZE;
	return (int)attach__answer__pack(&pb, buf);
}

static void
body_from_pb(struct wire_answer *answer, const Attach__Answer *pb)
{
	switch (pb->body_case) {
	case ATTACH__ANSWER__BODY_READY:
		answer->body = WIRE_READY;
		answer->ready.pid = pb->ready->pid;
		answer->ready.generation = pb->ready->generation;
		answer->ready.starting = pb->ready->starting;
		take(answer->ready.version, sizeof(answer->ready.version),
		    pb->ready->version);
		break;
	case ATTACH__ANSWER__BODY_ATTACHED:
		answer->body = WIRE_ATTACHED;
		answer->attached.ino = pb->attached->ino;
		answer->attached.size_bytes = pb->attached->size_bytes;
		answer->attached.existed = pb->attached->existed;
		answer->attached.read_only = pb->attached->read_only;
		take(answer->attached.file, sizeof(answer->attached.file),
		    pb->attached->file);
		break;
	case ATTACH__ANSWER__BODY_STATUS:
		answer->body = WIRE_COUNTERS;
		answer->counters.generation = pb->status->generation;
		answer->counters.images = pb->status->images;
		answer->counters.requests = pb->status->requests;
		answer->counters.held_bytes = pb->status->held_bytes;
		answer->counters.reads = pb->status->reads;
		answer->counters.writes = pb->status->writes;
		answer->counters.flushes = pb->status->flushes;
		answer->counters.zeroes = pb->status->zeroes;
		break;
	case ATTACH__ANSWER__BODY_FAILED:
		answer->body = WIRE_FAILED;
		take(answer->failed.step, sizeof(answer->failed.step),
		    pb->failed->step);
		answer->failed.scope = (enum wire_scope)pb->failed->scope;
		break;
	case ATTACH__ANSWER__BODY__NOT_SET:
	case _ATTACH__ANSWER__BODY__CASE_IS_INT_SIZE:
		break;
	}
}

int
wire_answer_unpack(struct wire_answer *answer, const void *bytes, size_t len)
{
	Attach__Answer *pb = attach__answer__unpack(NULL, len, bytes);

	memset(answer, 0, sizeof(*answer));
	if (pb == NULL)
		return -EBADMSG;
	answer->id = pb->id;
	if (pb->code != ERR_OK)
		(void)err_set(
		    &answer->err, (enum err_code)pb->code, "%s", pb->text);
	body_from_pb(answer, pb);
	attach__answer__free_unpacked(pb, NULL);
	return 0;
}
