/*
 * node_publish.c - NodePublishVolume: bind the staged volume at a pod's
 * target path, after proof that it is the image. One child.
 *
 * A volume that was staged and is no more (both processes of the userspace
 * mapper died, or the node has booted) is staged anew: kubelet does not do
 * that, it goes on asking for this call. It runs NodeStageVolume with what
 * this request has, under the lock that stage and unstage take.
 */
#include "node/node.h"
#include "node/publishing.h"

#include "base/log.h"
#include "core/offload.h"

#include <stdlib.h>
#include <string.h>

enum publish_state {
	PUBLISH_START = 0, /* nothing is done */
	PUBLISH_BOUND,     /* the child has ended */
	PUBLISH_RESTAGED,  /* the volume is staged anew */
	PUBLISH_END,
};

struct publish {
	struct csi_rpc rpc;
	enum publish_state state;
	const Csi__V1__NodePublishVolumeRequest *request;
	struct publishing_args args;
	struct publishing_result result;
	struct offload offload;
	bool restaged;
	struct csi_request restage_request; /* a NodeStageVolume */
	struct csi_rpc *restage;
};

static int
read_request(struct publish *p, struct err *err)
{
	const Csi__V1__NodePublishVolumeRequest *r = p->request;
	struct csi_map publish = csi_map_of(r, publish_context);
	struct csi_map context = csi_map_of(r, volume_context);
	const struct csi_access *access = &p->rpc.in->access;
	int rc;

	if ((rc = node_spec_fill(&p->args.spec, r->volume_id, &publish,
		 &context, false, p->rpc.arena, err)) < 0 ||
	    (rc = node_mount_flags(r->volume_capability, p->rpc.arena,
		 &p->args.options, err)) < 0)
		return rc;
	p->args.spec.user = csi_map_get(&publish, "userID");
	p->args.staging = r->staging_target_path;
	p->args.target = r->target_path;
	p->args.block = access->block;
	p->args.read_only = node_is_read_only(
	    access, p->args.options, r->readonly);
	p->args.single_writer = access->mode ==
	    CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_SINGLE_WRITER;
	return 0;
}

static enum op_verdict
publish_bind(struct publish *p)
{
	p->result.lost = false;
	offload_start(&p->offload, p->request->target_path, publishing_publish,
	    &p->args, &p->result, sizeof(p->result), NODE_CHILD_MS,
	    &p->rpc.op.wake);
	return op_await(p, PUBLISH_BOUND);
}

static enum op_verdict
publish_start(struct publish *p)
{
	struct err err = ERR_INIT;

	p->request = p->rpc.request;
	p->rpc.op.subject = p->request->target_path;
	if (p->rpc.op.detached)
		return op_fail(p, PUBLISH_END, ERR_CANCELLED,
		    "publish at %s: the caller is gone",
		    p->request->target_path);
	if (read_request(p, &err) < 0)
		return op_fail_err(p, PUBLISH_END, &err);
	return publish_bind(p);
}

/* ---- staging anew --------------------------------------------------------- */

static bool
find_credentials(const struct publish *p, const char **user, const char **key)
{
	const struct device_spec *spec = &p->args.spec;
	const struct mapper *mapper;

	for (size_t i = 0; (mapper = device_mapper_at(i)) != NULL; i++)
		if (mapper->credentials != NULL &&
		    mapper->credentials(spec, user, key))
			return true;
	return node_config()->credentials(spec, user, key);
}

/* Entries of the two messages' maps are alike on the wire. */
static int
restage_read(
    struct publish *p, const char *user, const char *key, struct err *err)
{
	const Csi__V1__NodePublishVolumeRequest *r = p->request;
	Csi__V1__NodeStageVolumeRequest stage =
	    CSI__V1__NODE_STAGE_VOLUME_REQUEST__INIT;
	Csi__V1__NodeStageVolumeRequest__SecretsEntry entry
	    [2] = { CSI__V1__NODE_STAGE_VOLUME_REQUEST__SECRETS_ENTRY__INIT,
		    CSI__V1__NODE_STAGE_VOLUME_REQUEST__SECRETS_ENTRY__INIT },
       *secrets[2] = { &entry[0], &entry[1] };
	auto_free unsigned char *bytes = NULL;
	size_t len;
	int rc;

	stage.volume_id = r->volume_id;
	stage.staging_target_path = r->staging_target_path;
	stage.volume_capability = r->volume_capability;
	stage.publish_context = (void *)r->publish_context;
	stage.n_publish_context = r->n_publish_context;
	stage.volume_context = (void *)r->volume_context;
	stage.n_volume_context = r->n_volume_context;
	if (user != NULL) {
		entry[0].key = (char *)(uintptr_t) "userID";
		entry[0].value = (char *)(uintptr_t)user;
		entry[1].key = (char *)(uintptr_t) "userKey";
		entry[1].value = (char *)(uintptr_t)key;
		stage.secrets = secrets;
		stage.n_secrets = 2;
	} else {
		stage.secrets = (void *)r->secrets;
		stage.n_secrets = r->n_secrets;
	}
	len = csi__v1__node_stage_volume_request__get_packed_size(&stage);
	bytes = mem_new(len + 1);
	(void)csi__v1__node_stage_volume_request__pack(&stage, bytes);
	rc = csi_request_read(&p->restage_request,
	    &csi_definitions[CSI_NODE_STAGE_VOLUME], bytes, len, err);
	secret_wipe(bytes, len);
	return rc;
}

static enum op_verdict
publish_restage(struct publish *p)
{
	const char *user = NULL, *key = NULL;
	struct err err = ERR_INIT;

	if (p->request->n_secrets == 0 && !find_credentials(p, &user, &key))
		return op_fail(p, PUBLISH_END, ERR_FAILED_PRECONDITION,
		    "no key to stage it again (StorageClass: "
		    "csi.storage.k8s.io/node-publish-secret-name): %s",
		    p->offload.err.text);
	if (restage_read(p, user, key, &err) < 0) {
		err_prefix(&err, "stage it again");
		return op_fail_err(p, PUBLISH_END, &err);
	}
	log_warn("publish.restage", "volume=%s key=%s", p->request->volume_id,
	    user != NULL ? "of a session" : "of the request");
	p->restaged = true;
	p->restage = csi_rpc_new(&node_stage_impl, &p->restage_request, NULL);
	csi_rpc_start(p->restage, &p->rpc.op.wake);
	return op_await(p, PUBLISH_RESTAGED);
}

static enum op_verdict
publish_step(struct op *op)
{
	struct publish *p = (struct publish *)op;
	struct err err;

	switch (p->state) {
	case PUBLISH_START:
		return publish_start(p);

	case PUBLISH_BOUND:
		if (op->rc < 0 && p->result.lost && !p->restaged)
			return publish_restage(p);
		if (op->rc < 0)
			return op_fail_err(p, PUBLISH_END, &p->offload.err);
		(void)csi_rpc_reply(&p->rpc);
		return op_goto(p, PUBLISH_END);

	case PUBLISH_RESTAGED:
		err = p->restage->op.err;
		csi_request_fini(&p->restage_request);
		if (op->rc < 0) {
			err_prefix(&err, "stage volume %s again",
			    p->request->volume_id);
			return op_fail_err(p, PUBLISH_END, &err);
		}
		return publish_bind(p);

	case PUBLISH_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class publish_class = {
	.name = "NodePublishVolume",
	.step = publish_step,
};

const struct csi_impl node_publish_impl = {
	.cls = &publish_class,
	.size = sizeof(struct publish),
};
