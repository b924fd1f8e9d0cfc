/*
 * request_session.c - whom a request asks: in which cluster its volume may be,
 * with whose credentials, and the session that this makes.
 */
#include "daemon/kube.h"
#include "daemon/request.h"

#include <errno.h>

/*
 * Chooses the credentials: the request's, else the cluster's own. 0: in
 * r->session; -ENOENT: there are none; or a failure to read the latter. What
 * goes to all clusters has those of each.
 */
static int
request_credentials(struct request *r, const char *cluster_id, struct err *err)
{
	static const struct csi_credentials none;
	const struct csi_credentials *given = r->in.everywhere
	    ? &none
	    : &r->in.credentials;
	int rc;

	r->session.user = given->user;
	r->session.key = &r->secret;
	r->secret.text = (char *)(uintptr_t)given->key;
	r->secret.len = given->key_len;
	if (given->user != NULL)
		return 0;
	if (r->kube != NULL && r->kube->credentials.user != NULL) {
		r->session.user = r->kube->credentials.user;
		r->session.key = &r->kube->credentials.key;
		return 0;
	}
	if (str_is_empty(r->setup->credentials_dir) || str_is_empty(cluster_id))
		return -ENOENT;
	credentials_fini(&r->own);
	rc = credentials_read(
	    r->setup->credentials_dir, cluster_id, &r->own, err);
	r->session.user = r->own.user;
	r->session.key = &r->own.key;
	return rc;
}

/*
 * The next cluster beyond the first *n that may have the volume or snapshot, by
 * cluster-mapping.json. False: there is no more.
 */
static bool
request_place(const struct request *r, size_t *n, struct config_cluster *found,
    int64_t *pool_id)
{
	const struct csi_request *in = &r->in;

	return in->id_kind != CSI_ID_NONE && in->id_kind != CSI_ID_UNKNOWN &&
	    in->def->session.by != CSI_SESSION_OF_PARAMETERS &&
	    !str_is_empty(in->cluster_id) &&
	    config_find_mapped(r->setup->config, in->cluster_id,
		in->id_kind == CSI_ID_OURS ? in->id.pool_id : 0, n, in->arena,
		found, pool_id);
}

bool
request_next_place(struct request *r)
{
	struct config_cluster found;

	if (!request_place(r, &r->places, &found, &r->pool_id))
		return false;
	r->cluster_id = found.cluster_id;
	if (r->pool_id == 0)
		r->pool_id = -1;
	if (r->kube != NULL) /* that secret is the other one's */
		credentials_fini(&r->kube->credentials);
	return true;
}

void
request_first_place(struct request *r)
{
	struct err why = ERR_INIT;

	r->cluster_id = r->in.cluster_id;
	if (!str_is_empty(r->cluster_id) &&
	    config_find(r->setup->config, r->cluster_id, r->in.arena,
		&r->cluster, &why) < 0)
		(void)request_next_place(r);
}

/*
 * What a new volume is to be a copy of has to be in its cluster, or is mapped
 * to it.
 */
static int
request_find_source(struct request *r, struct err *err)
{
	const struct csi_request *in = &r->in;
	struct config_cluster found;
	size_t n = 0;

	if (in->def->session.by != CSI_SESSION_OF_PARAMETERS ||
	    in->id_kind != CSI_ID_OURS ||
	    str_eq(in->id.cluster_id, r->cluster_id))
		return 0;
	while (config_find_mapped(r->setup->config, in->id.cluster_id,
	    in->id.pool_id, &n, in->arena, &found, &r->pool_id))
		if (str_eq(found.cluster_id, r->cluster_id))
			return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
	    "volume_content_source: %s is in cluster %s, the new volume in %s",
	    in->id_text, in->id.cluster_id, r->cluster_id);
}

bool
request_needs_secret(struct request *r)
{
	const struct csi_request *in = &r->in;
	struct err why = ERR_INIT;

	return (in->def->credentials == CSI_CREDENTIALS_OPTIONAL ||
		   in->def->credentials == CSI_CREDENTIALS_BORROWED) &&
	    in->id_kind != CSI_ID_UNKNOWN && !str_is_empty(r->cluster_id) &&
	    kube_is_there() &&
	    request_credentials(r, r->cluster_id, &why) == -ENOENT &&
	    config_find(r->setup->config, r->cluster_id, in->arena, &r->cluster,
		&why) == 0 &&
	    *r->cluster.secret != '\0' && *r->cluster.secret_namespace != '\0';
}

const char *
request_fences(const struct request *r)
{
	const Csi__V1__ControllerUnpublishVolumeRequest *unpublish =
	    r->in.message;

	if (!r->setup->fencing || !kube_is_there() ||
	    csi_definition_id(r->in.def) != CSI_CONTROLLER_UNPUBLISH_VOLUME ||
	    *unpublish->node_id == '\0')
		return NULL;
	return unpublish->node_id;
}

struct kube_ask *
request_kube(struct request *r)
{
	if (r->kube == NULL)
		r->kube = mem_new(sizeof(*r->kube));
	return r->kube;
}

/*
 * The cluster that is asked next, and its request; NULL: all that are wanted
 * have answered, and the reply is made of theirs.
 */
static int
request_next_cluster(struct request *r, const char **next, struct err *err)
{
	const struct csi_page *page = &r->in.page;
	const char *from = r->answered, *token = NULL;
	int rc;

	if (from == NULL)
		from = str_is_empty(page->token.cluster_id)
		    ? ""
		    : page->token.cluster_id;
	rc = config_next(r->setup->config, from, r->answered == NULL,
	    r->in.arena, next, err);
	if (rc < 0)
		return rc;
	if (*next != NULL && csi_join_has_room(&r->join, page->max)) {
		r->key = *next;
		if (r->answered == NULL && str_eq(*next, from))
			token = csi_token_fmt(
			    r->in.arena, page->of, &page->token);
		r->part = csi_request_for(&r->in, token != NULL ? token : "",
		    page->max - r->join.entries, &r->part_len, err);
		return r->part != NULL ? 0 : err->rc;
	}
	if (*next != NULL && !r->join.ended)
		token = csi_token_fmt(r->in.arena, page->of,
		    &(const struct csi_token){
			.cluster_id = *next, .name = "" });
	*next = NULL;
	r->reply = csi_join_end(&r->join, token, &r->reply_len);
	return 0;
}

bool
request_find_session(struct request *r)
{
	const struct csi_request *in = &r->in;
	const struct csi_definition *def = in->def;
	const char *cluster_id = r->cluster_id;
	struct err why = ERR_INIT;
	bool has;
	int rc;

	r->borrowed = false;
	r->reply = NULL; /* an empty message */
	r->reply_len = 0;
	r->part = r->body;
	r->part_len = r->len;
	if (in->id_kind == CSI_ID_UNKNOWN &&
	    def->session.by != CSI_SESSION_OF_PARAMETERS) {
		if (!def->removes && def->session.by != CSI_SESSION_OF_ALL)
			(void)err_set(&r->err, ERR_NOT_FOUND,
			    "%s %s does not exist: no identifier of this driver",
			    def->session.field, in->id_text);
		return false;
	}
	if (in->everywhere &&
	    (request_next_cluster(r, &cluster_id, &r->err) < 0 ||
		cluster_id == NULL))
		return false;
	if (request_find_source(r, &r->err) < 0)
		return false;
	rc = request_credentials(r, cluster_id, &why);
	has = rc == 0;
	if (rc < 0 &&
	    (rc != -ENOENT || def->credentials == CSI_CREDENTIALS_OF_CLUSTER)) {
		r->err = why;
		return false;
	}
	/* PVs of before controllerPublishSecretRef have none for ever. */
	if (!has &&
	    (def->credentials == CSI_CREDENTIALS_OPTIONAL ||
		str_is_empty(cluster_id))) {
		if (def->unasked != NULL)
			r->reply = csi_pack(
			    def->unasked(in->message, in->arena), in->arena,
			    &r->reply_len, &r->err);
		return false;
	}
	if (str_is_empty(cluster_id)) {
		(void)err_set(&r->err, ERR_INVALID_ARGUMENT,
		    "volume_context.clusterID: missing");
		return false;
	}
	rc = config_find(
	    r->setup->config, cluster_id, in->arena, &r->cluster, &why);
	if (rc < 0 && has && def->session.by == CSI_SESSION_OF_PARAMETERS)
		(void)err_set(
		    &r->err, ERR_INVALID_ARGUMENT, "parameters: %s", why.text);
	else if (rc < 0 && has)
		r->err = why;
	if (rc < 0)
		return false;
	r->session.cluster_id = r->cluster.cluster_id;
	r->session.monitors = r->cluster.monitors;
	r->session.netns = r->cluster.netns;
	if (has)
		return true;
	/*
	 * What publishing with a secret has recorded must go without one, too,
	 * or no other node gets the volume: a session that works does it.
	 */
	r->borrowed = sessions_credentials(
	    &r->session, &r->session.user, &r->session.key);
	return r->borrowed;
}

void
request_ask_start(struct request *r, struct wake *waiter)
{
	struct config_cluster other;
	size_t places = r->places;
	int64_t pool_id;

	free(r->call.reply);
	r->call = (struct session_call){
		.method = r->in.def->path,
		.cluster_id = r->cluster.cluster_id,
		.monitors = r->cluster.monitors,
		.rados_namespace = r->cluster.rados_namespace,
		.pool_id = r->pool_id,
		.elsewhere = request_place(r, &places, &other, &pool_id),
		.out_of_service = r->kube != NULL && r->kube->out_of_service,
		.body = r->part,
		.len = r->part_len,
		.deadline_ms = TAILQ_FIRST(&r->callers)->call->deadline_ms,
	};
	sessions_call_start(&r->call, &r->session, waiter);
}
