/*
 * format.c - the Node service's question as a call of a Ceph session.
 */
#include "daemon/format.h"

#include "csi/definitions.h"
#include "daemon/sessions.h"
#include "worker.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum format_state {
	FORMATASK_START = 0,
	FORMATASK_ANSWERED, /* the session has answered, or cannot */
	FORMATASK_END,
};

struct format_ask {
	struct op op;
	enum format_state state;
	struct node_format *ask;
	unsigned char *body;
	struct session_call call;
};

/* protobuf-c's strings are not const, but nobody writes to them. */
static char *
text(const char *s)
{
	return (char *)(uintptr_t)(s != NULL ? s : "");
}

static const struct {
	Worker__FormatRequest__Step step;
	const char *what;
} steps[] = {
	[NODE_FORMAT_BEGIN] = { WORKER__FORMAT_REQUEST__STEP__BEGIN,
	    "whether the volume may be formatted" },
	[NODE_FORMAT_END] = { WORKER__FORMAT_REQUEST__STEP__END,
	    "to note the volume's file system" },
	[NODE_FORMAT_POOL] = { WORKER__FORMAT_REQUEST__STEP__POOL,
	    "what the volume's pool is called" },
};

static void
pack(struct format_ask *f)
{
	const struct device_spec *spec = f->ask->spec;
	Worker__FormatRequest request = WORKER__FORMAT_REQUEST__INIT;

	request.step = steps[f->ask->step].step;
	request.pool_id = spec->pool_id;
	request.volume_id = text(spec->volume_id);
	request.pool = text(spec->pool);
	request.rados_namespace = text(spec->rados_namespace);
	request.image = text(spec->image);
	request.image_id = text(spec->image_id);
	request.fstype = text(f->ask->fstype);
	f->call.len = worker__format_request__get_packed_size(&request);
	f->body = mem_new(f->call.len + 1);
	(void)worker__format_request__pack(&request, f->body);
	f->call.body = f->body;
}

static enum op_verdict
start(struct format_ask *f)
{
	const struct device_spec *spec = f->ask->spec;
	const struct session_key key = {
		.cluster_id = text(spec->cluster_id),
		.monitors = text(spec->monitors),
		.user = text(spec->user),
		.netns = text(spec->net_namespace),
		.key = spec->key,
	};

	f->call.method = csi_definitions[CSI_FORMAT].path;
	f->call.cluster_id = key.cluster_id;
	f->call.monitors = key.monitors;
	f->call.rados_namespace = text(spec->rados_namespace);
	pack(f);
	sessions_call_start(&f->call, &key, &f->op.wake);
	return op_await(f, FORMATASK_ANSWERED);
}

static int
read_reply(struct format_ask *f, struct err *err)
{
	Worker__FormatReply *reply = worker__format_reply__unpack(
	    NULL, f->call.reply_len, f->call.reply);
	int rc = -EBADMSG;

	if (reply != NULL)
		rc = str_put(f->ask->image_id, sizeof(f->ask->image_id), "%s",
		    reply->image_id);
	if (rc == 0)
		rc = str_put(
		    f->ask->pool, sizeof(f->ask->pool), "%s", reply->pool);
	if (rc == 0)
		f->ask->again = reply->again;
	else
		(void)err_set(
		    err, ERR_INTERNAL, "ceph-worker's answer is none");
	if (reply != NULL)
		worker__format_reply__free_unpacked(reply, NULL);
	return rc < 0 ? rc : 0;
}

static enum op_verdict
answered(struct format_ask *f)
{
	struct err err = f->call.err;

	if (!err_is_set(&err) && read_reply(f, &err) == 0)
		return op_goto(f, FORMATASK_END);
	/* The cluster's own words, or why nobody could ask it. */
	if (err.code != ERR_FAILED_PRECONDITION)
		err_prefix(
		    &err, "ask the cluster %s", steps[f->ask->step].what);
	f->ask->err = err;
	return op_fail_err(f, FORMATASK_END, &err);
}

static enum op_verdict
format_step(struct op *op)
{
	struct format_ask *f = (struct format_ask *)op;

	switch (f->state) {
	case FORMATASK_START:
		return start(f);
	case FORMATASK_ANSWERED:
		return answered(f);
	case FORMATASK_END:
		return OP_DONE;
	}
	abort();
}

static void
format_free(struct op *op)
{
	struct format_ask *f = (struct format_ask *)op;

	free(f->body);
	free(f->call.reply);
	free(f);
}

static const struct op_class format_class = {
	.name = "format.ask",
	.step = format_step,
	.end = format_free,
};

void
format_start(struct node_format *ask, struct wake *waiter)
{
	struct format_ask *f = mem_new(sizeof(*f));

	f->ask = ask;
	f->op.subject = ask->spec->volume_id;
	ask->err = (struct err)ERR_INIT;
	ask->again = false;
	ask->image_id[0] = '\0';
	op_start(&f->op, &format_class, waiter);
}
