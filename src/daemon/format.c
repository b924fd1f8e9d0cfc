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

struct format_ask {
	struct wake answered;
	struct wake *waiter;
	struct node_format *ask;
	unsigned char *body;
	struct session_call call;
};

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
	[NODE_FORMAT_RECORD] = { WORKER__FORMAT_REQUEST__STEP__RECORD,
	    "to record by which address the volume is used" },
	[NODE_FORMAT_USAGE] = { WORKER__FORMAT_REQUEST__STEP__USAGE,
	    "how much of the volume is used" },
	[NODE_FORMAT_LIMITS] = { WORKER__FORMAT_REQUEST__STEP__LIMITS,
	    "what limits the volume has" },
	[NODE_FORMAT_KEY] = { WORKER__FORMAT_REQUEST__STEP__KEY,
	    "for the key of the volume" },
	[NODE_FORMAT_ENCRYPTED] = { WORKER__FORMAT_REQUEST__STEP__ENCRYPTED,
	    "to note that the volume is encrypted" },
	[NODE_FORMAT_ALONE] = { WORKER__FORMAT_REQUEST__STEP__ALONE,
	    "whether the volume is open elsewhere" },
};

/* protobuf-c's strings are not const, but nobody writes to them. */
static char *
format_text(const char *s)
{
	return (char *)(uintptr_t)(s != NULL ? s : "");
}

static int
read_reply(struct node_format *ask, const struct session_call *call)
{
	Worker__FormatReply *reply = worker__format_reply__unpack(
	    NULL, call->reply_len, call->reply);
	int rc = -EBADMSG;

	if (reply != NULL)
		rc = str_put(ask->image_id, sizeof(ask->image_id), "%s",
		    reply->image_id);
	if (rc == 0)
		rc = str_put(ask->pool, sizeof(ask->pool), "%s", reply->pool);
	if (rc == 0)
		rc = str_put(
		    ask->io_max, sizeof(ask->io_max), "%s", reply->io_max);
	if (rc < 0)
		(void)err_set(
		    &ask->err, ERR_INTERNAL, "ceph-worker's answer is none");
	if (reply != NULL) {
		ask->again = reply->again;
		ask->used_known = reply->used_known;
		ask->used_bytes = reply->used_bytes;
		ask->encrypted = reply->encrypted;
		if (*reply->key != '\0')
			secret_set(&ask->key, reply->key, strlen(reply->key));
		secret_wipe(reply->key, strlen(reply->key));
	}
	worker__format_reply__free_unpacked(reply, NULL);
	return rc;
}

static void
on_format_answered(struct wake *wake, int rc)
{
	struct format_ask *f = container_of(wake, struct format_ask, answered);
	struct node_format *ask = f->ask;

	(void)rc;
	ask->err = f->call.err;
	/* The cluster's own words, or why nobody could ask it. */
	if ((err_is_set(&ask->err) || read_reply(ask, &f->call) < 0) &&
	    ask->err.code != ERR_FAILED_PRECONDITION)
		err_prefix(
		    &ask->err, "ask the cluster %s", steps[ask->step].what);
	wake_up(f->waiter, ask->err.rc);
	secret_wipe(f->body, f->call.len);
	secret_wipe(f->call.reply, f->call.reply_len);
	free(f->body);
	free(f->call.reply);
	free(f);
}

void
format_start(struct node_format *ask, struct wake *waiter)
{
	const struct device_spec *spec = ask->spec;
	struct format_ask *f = mem_new(sizeof(*f));
	Worker__FormatRequest__SecretsEntry passphrase = {
		PROTOBUF_C_MESSAGE_INIT(
		    &worker__format_request__secrets_entry__descriptor),
		.key = format_text(CSI_PASSPHRASE),
		.value = format_text(ask->passphrase),
	};
	Worker__FormatRequest__SecretsEntry *secrets[] = { &passphrase };
	Worker__FormatRequest request = {
		PROTOBUF_C_MESSAGE_INIT(&worker__format_request__descriptor),
		.step = steps[ask->step].step,
		.pool_id = spec->pool_id,
		.volume_id = format_text(spec->volume_id),
		.pool = format_text(spec->pool),
		.rados_namespace = format_text(spec->rados_namespace),
		.image = format_text(spec->image),
		.image_id = format_text(spec->image_id),
		.fstype = format_text(ask->fstype),
		.node_id = format_text(ask->node_id),
		.address = format_text(ask->address),
		.lasting = ask->lasting,
		.shared = ask->shared,
		.address_only = ask->address_only,
		.luks = ask->luks,
		.kms_id = format_text(ask->kms_id),
		.n_secrets = ask->passphrase != NULL,
		.secrets = secrets,
	};
	const struct session_key key = {
		.cluster_id = format_text(spec->cluster_id),
		.monitors = format_text(spec->monitors),
		.user = format_text(spec->user),
		.netns = format_text(spec->net_namespace),
		.key = spec->key,
	};

	f->ask = ask;
	f->waiter = waiter;
	f->answered.fn = on_format_answered;
	f->call.method = csi_definitions[CSI_FORMAT].path;
	f->call.cluster_id = key.cluster_id;
	f->call.monitors = key.monitors;
	f->call.rados_namespace = request.rados_namespace;
	f->call.len = worker__format_request__get_packed_size(&request);
	f->call.body = f->body = mem_new(f->call.len + 1);
	(void)worker__format_request__pack(&request, f->body);
	ask->err = (struct err)ERR_INIT;
	ask->again = false;
	ask->image_id[0] = '\0';
	sessions_call_start(&f->call, &key, &f->answered);
}
