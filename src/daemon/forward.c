/*
 * forward.c - looks into a request for what its session is made of.
 */
#include "daemon/forward.h"

#include "csi/caps.h"
#include "csi/params.h"
#include "csi/rpc.h"
#include "csi/volume_id.h"

#include <errno.h>
#include <string.h>

/* The string field of this name, or NULL if the message has none such. */
static const char *
string_field(const void *request, const char *name)
{
	const ProtobufCMessage *message = request;
	const ProtobufCFieldDescriptor *field =
	    protobuf_c_message_descriptor_get_field_by_name(
		message->descriptor, name);

	if (field == NULL || field->type != PROTOBUF_C_TYPE_STRING)
		return NULL;
	return *(const char *const *)((const char *)request + field->offset);
}

/* Does the method only take something away that may be gone already? */
static bool
removes(const struct csi_method *method)
{
	return str_eq(method->name, "DeleteVolume") ||
	    str_eq(method->name, "ControllerUnpublishVolume");
}

/*
 * The clusterID, copied to the arena: by a field of its own, of a
 * static volume by its context, of others by their ID, of a new one by
 * parameter.
 */
static enum forward_verdict
find_cluster_id(const struct csi_method *method, const void *request,
    struct arena *arena, const char **cluster_id, struct err *err)
{
	const char *volume_id = string_field(request, "volume_id");
	struct csi_map parameters = csi_map_field(request, "parameters");
	struct csi_map context = csi_map_field(request, "volume_context");
	const char *given = string_field(request, "cluster_id");
	struct csi_volume_id id;
	int rc;

	if (given != NULL) {
		*cluster_id = given;
		return FORWARD_CALL;
	}
	if (volume_id == NULL || csi_is_static(&context)) {
		*cluster_id = csi_map_get(
		    volume_id == NULL ? &parameters : &context, "clusterID");
		return FORWARD_CALL;
	}
	rc = csi_volume_id_parse(volume_id, &id, err);
	if (rc == 0) {
		*cluster_id = arena_strdup(arena, id.cluster_id);
		return FORWARD_CALL;
	}
	if (rc == -EPROTONOSUPPORT)
		return FORWARD_FAIL;
	*err = (struct err)ERR_INIT;
	if (str_eq(method->name, "DeleteVolume") &&
	    csi_migrated_id_is(volume_id)) {
		struct csi_migrated_id migrated;

		if (csi_migrated_id_parse(volume_id, &migrated, err) < 0)
			return FORWARD_FAIL;
		*cluster_id = arena_strdup(arena, migrated.cluster_id);
		return FORWARD_CALL;
	}
	if (removes(method))
		return FORWARD_ANSWER;
	(void)err_set(err, ERR_NOT_FOUND,
	    "volume %s does not exist: no identifier of this driver",
	    volume_id);
	return FORWARD_FAIL;
}

/*
 * What is answered without credentials, as CSI allows it: publishing is done
 * by the node alone, as with ceph-csi; nothing is validated.
 */
static const void *
answer_unasked(
    const struct csi_method *method, const void *request, struct arena *arena)
{
	const Csi__V1__ValidateVolumeCapabilitiesRequest *r = request;
	Csi__V1__ValidateVolumeCapabilitiesResponse *reply;
	struct err err = ERR_INIT;

	if (!str_eq(method->name, "ValidateVolumeCapabilities"))
		return NULL;
	reply = csi_new(method->reply, arena);
	if (csi_capabilities_supported(
		r->volume_capabilities, r->n_volume_capabilities, &err) < 0)
		reply->message = arena_strdup(arena, err.text);
	else
		reply->message = arena_fmt(arena,
		    "volume %s was not looked at: the request has no secrets",
		    r->volume_id);
	return reply;
}

static enum forward_verdict
find_credentials(const struct csi_method *method, const void *request,
    struct arena *arena, struct forward *out, struct err *err)
{
	struct csi_map secrets = csi_map_field(request, CSI_SECRETS);
	struct csi_credentials found;

	/* PVs of before controllerPublishSecretRef have none for ever. */
	if (secrets.count == 0 && method->secrets == CSI_SECRETS_OPTIONAL) {
		out->reply = answer_unasked(method, request, arena);
		return FORWARD_ANSWER;
	}
	if (csi_credentials_get(&secrets, &found, err) < 0)
		return FORWARD_FAIL;
	out->session.user = found.user;
	out->key.text = (char *)(uintptr_t)found.key;
	out->key.len = found.key_len;
	out->session.key = &out->key;
	return FORWARD_CALL;
}

/*
 * What publishing with a secret has recorded must go without one, too, or no
 * other node gets the volume: a session that works does it.
 */
static bool
borrow_credentials(struct forward *out)
{
	const struct session_key like = {
		.monitors = out->cluster.monitors,
		.netns = out->cluster.netns,
	};

	out->borrowed = sessions_credentials(
	    &like, &out->session.user, &out->session.key);
	return out->borrowed;
}

enum forward_verdict
forward_resolve(const struct config *config, const struct csi_method *method,
    const void *request, struct arena *arena, struct forward *out,
    struct err *err)
{
	struct err why = ERR_INIT;
	enum forward_verdict verdict;
	const char *cluster_id;
	int rc;

	*out = (struct forward){ .key = SECRET_INIT };
	verdict = find_cluster_id(method, request, arena, &cluster_id, err);
	if (verdict != FORWARD_CALL)
		return verdict;
	verdict = find_credentials(method, request, arena, out, err);
	if (verdict == FORWARD_FAIL ||
	    (verdict == FORWARD_ANSWER &&
		(!removes(method) || str_is_empty(cluster_id))))
		return verdict;
	if (str_is_empty(cluster_id)) {
		(void)err_set(err, ERR_INVALID_ARGUMENT,
		    "volume_context.clusterID: missing");
		return FORWARD_FAIL;
	}
	rc = config_find(config, cluster_id, arena, &out->cluster, &why);
	if (verdict == FORWARD_ANSWER && (rc < 0 || !borrow_credentials(out)))
		return FORWARD_ANSWER;
	if (rc < 0) {
		if (str_eq(method->name, "CreateVolume"))
			(void)err_set(err, ERR_INVALID_ARGUMENT,
			    "parameters: %s", why.text);
		else
			*err = why;
		return FORWARD_FAIL;
	}
	out->session.cluster_id = out->cluster.cluster_id;
	out->session.monitors = out->cluster.monitors;
	out->session.netns = out->cluster.netns;
	return FORWARD_CALL;
}
