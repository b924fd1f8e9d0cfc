/*
 * forward.c - looks into a request for what its session is made of.
 */
#include "daemon/forward.h"

#include "csi/params.h"
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

/* The clusterID, copied to the arena; by volume ID or by parameter. */
static enum forward_verdict
find_cluster_id(const struct csi_method *method, const void *request,
    struct arena *arena, const char **cluster_id, struct err *err)
{
	const char *volume_id = string_field(request, "volume_id");
	struct csi_map parameters = csi_map_field(request, "parameters");
	const char *given = csi_map_get(&parameters, "clusterID");
	struct csi_volume_id id;

	if (volume_id == NULL) {
		*cluster_id = given != NULL ? given : "";
		return FORWARD_CALL;
	}
	if (csi_volume_id_parse(volume_id, &id, NULL) == 0) {
		*cluster_id = arena_strdup(arena, id.cluster_id);
		return FORWARD_CALL;
	}
	if (str_eq(method->name, "DeleteVolume") &&
	    csi_migrated_id_is(volume_id)) {
		struct csi_migrated_id migrated;

		if (csi_migrated_id_parse(volume_id, &migrated, err) < 0)
			return FORWARD_FAIL;
		*cluster_id = arena_strdup(arena, migrated.cluster_id);
		return FORWARD_CALL;
	}
	if (removes(method))
		return FORWARD_EMPTY;
	(void)err_set(err, ERR_NOT_FOUND,
	    "volume %s does not exist: no identifier of this driver",
	    volume_id);
	return FORWARD_FAIL;
}

static enum forward_verdict
find_credentials(const struct csi_method *method, const void *request,
    struct forward *out, struct err *err)
{
	struct csi_map secrets = csi_map_field(request, "secrets");
	struct csi_credentials found;

	/* PVs of before controllerPublishSecretRef have none for ever. */
	if (secrets.count == 0 && method->secrets == CSI_SECRETS_OPTIONAL)
		return FORWARD_EMPTY;
	if (csi_credentials_get(&secrets, &found, err) < 0)
		return FORWARD_FAIL;
	out->session.user = found.user;
	out->key.text = (char *)(uintptr_t)found.key;
	out->key.len = found.key_len;
	out->session.key = &out->key;
	return FORWARD_CALL;
}

enum forward_verdict
forward_resolve(const struct config *config, const struct csi_method *method,
    const void *request, struct arena *arena, struct forward *out,
    struct err *err)
{
	struct err why = ERR_INIT;
	enum forward_verdict verdict;
	const char *cluster_id;

	*out = (struct forward){ .key = SECRET_INIT };
	verdict = find_cluster_id(method, request, arena, &cluster_id, err);
	if (verdict == FORWARD_CALL)
		verdict = find_credentials(method, request, out, err);
	if (verdict != FORWARD_CALL)
		return verdict;
	if (config_find(config, cluster_id, arena, &out->cluster, &why) < 0) {
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
