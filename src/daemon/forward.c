/*
 * forward.c - what a request's session is made of.
 */
#include "daemon/forward.h"

#include "csi/definitions.h"

enum forward_verdict
forward_resolve(const struct config *config, const struct csi_request *in,
    struct forward *out, struct err *err)
{
	const struct csi_definition *def = in->def;
	bool given = in->credentials.user != NULL;
	struct err why = ERR_INIT;
	int rc;

	*out = (struct forward){ .key = SECRET_INIT };
	if (in->id_kind == CSI_ID_UNKNOWN) {
		if (def->removes)
			return FORWARD_ANSWER;
		(void)err_set(err, ERR_NOT_FOUND,
		    "%s %s does not exist: no identifier of this driver",
		    def->noun, def->lock[0].key(in->message));
		return FORWARD_FAIL;
	}
	/* PVs of before controllerPublishSecretRef have none for ever. */
	if (!given &&
	    (def->credentials == CSI_CREDENTIALS_OPTIONAL ||
		str_is_empty(in->cluster_id))) {
		if (def->unasked != NULL)
			out->reply = def->unasked(in->message, in->arena);
		return FORWARD_ANSWER;
	}
	if (str_is_empty(in->cluster_id)) {
		(void)err_set(err, ERR_INVALID_ARGUMENT,
		    "volume_context.clusterID: missing");
		return FORWARD_FAIL;
	}
	rc = config_find(
	    config, in->cluster_id, in->arena, &out->cluster, &why);
	if (rc < 0 && !given)
		return FORWARD_ANSWER;
	if (rc < 0) {
		if (def->session.by == CSI_SESSION_OF_PARAMETERS)
			(void)err_set(err, ERR_INVALID_ARGUMENT,
			    "parameters: %s", why.text);
		else
			*err = why;
		return FORWARD_FAIL;
	}
	out->session.cluster_id = out->cluster.cluster_id;
	out->session.monitors = out->cluster.monitors;
	out->session.netns = out->cluster.netns;
	if (given) {
		out->session.user = in->credentials.user;
		out->key.text = (char *)(uintptr_t)in->credentials.key;
		out->key.len = in->credentials.key_len;
		out->session.key = &out->key;
		return FORWARD_CALL;
	}
	/*
	 * What publishing with a secret has recorded must go without one, too,
	 * or no other node gets the volume: a session that works does it.
	 */
	out->borrowed = sessions_credentials(
	    &out->session, &out->session.user, &out->session.key);
	return out->borrowed ? FORWARD_CALL : FORWARD_ANSWER;
}
