/*
 * pool_choice.c - see pool_choice.h.
 */
#include "controller/pool_choice.h"

#include "controller/controller.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A pool that the StorageClass names and that is not there. */
static int
open_named(struct pool_choice *c, const char *param, const char *name,
    struct ceph_pool **pool, struct err *err)
{
	struct err why = ERR_INIT;
	int rc = ceph_pool_open(
	    controller.conn, name, c->rpc->env->rados_namespace, pool, &why);

	if (rc == -ENOENT)
		return err_set(err, ERR_INVALID_ARGUMENT, "parameters.%s: %s",
		    param, why.text);
	if (rc < 0) {
		*err = why;
		err_prefix(err, "parameters.%s: open pool %s", param, name);
	}
	return rc;
}

/* Opens what was chosen. */
static int
open_pools(struct pool_choice *c, struct err *err)
{
	bool by_topology = c->topology != NULL;
	int rc = open_named(c,
	    by_topology ? "topologyConstrainedPools" : "pool", c->pool_name,
	    &c->pool, err);

	if (rc == 0 && c->data_pool_name != NULL)
		rc = open_named(c,
		    by_topology ? "topologyConstrainedPools" : "dataPool",
		    c->data_pool_name, &c->data_pool, err);
	return rc;
}

static void
choose(struct pool_choice *c, size_t i)
{
	const struct csi_topology_choice *chosen =
	    &c->rpc->in->topology.choice[i];

	c->pool_name = chosen->pool;
	c->data_pool_name = chosen->data_pool;
	c->topology = chosen->topology;
}

/* A copy of a snapshot: its pool has to be one of those that fit. */
static int
choose_of_snapshot(struct pool_choice *c, struct err *err)
{
	const struct csi_topology *t = &c->rpc->in->topology;
	struct ceph_pool *pool;
	int rc = ceph_pool_open_id(controller.conn, c->rpc->in->id.pool_id,
	    c->rpc->env->rados_namespace, &pool, err);

	if (rc < 0) {
		err_prefix(err, "snapshot %s", c->rpc->in->id_text);
		return rc;
	}
	for (size_t i = 0; i < t->n; i++)
		if (str_eq(t->choice[i].pool, ceph_pool_name(pool))) {
			choose(c, i);
			return 0;
		}
	return err_set(err, ERR_RESOURCE_EXHAUSTED,
	    "accessibility_requirements: %s, the pool of snapshot %s, is none of parameters.topologyConstrainedPools that fit",
	    ceph_pool_name(pool), c->rpc->in->id_text);
}

static enum op_verdict
pool_choice_step(struct op *op)
{
	struct pool_choice *c = (struct pool_choice *)op;
	const struct csi_request *in = c->rpc->in;
	const Csi__V1__CreateVolumeRequest *req = in->message;
	struct err err = ERR_INIT;
	struct ceph_pool *pool;
	int rc;

	switch (c->state) {
	case CHOICE_START:
		c->pool_name = in->class.pool;
		c->data_pool_name = in->class.data_pool;
		if (in->topology.n == 0)
			return op_goto(c, CHOICE_CHOSEN);
		if (req->volume_content_source != NULL &&
		    req->volume_content_source->snapshot != NULL &&
		    in->id_kind == CSI_ID_OURS)
			return choose_of_snapshot(c, &err) < 0
			    ? op_fail_err(c, CHOICE_END, &err)
			    : op_goto(c, CHOICE_CHOSEN);
		choose(c, 0);
		return op_goto(
		    c, in->topology.n > 1 ? CHOICE_NEXT : CHOICE_CHOSEN);

	case CHOICE_NEXT:
		if (c->at == in->topology.n)
			return op_goto(c, CHOICE_CHOSEN);
		rc = ceph_pool_open(controller.conn,
		    in->topology.choice[c->at].pool,
		    c->rpc->env->rados_namespace, &pool, &err);
		if (rc == -ENOENT) { /* then it has no volume, either */
			c->at++;
			return op_goto(c, CHOICE_NEXT);
		}
		if (rc < 0)
			return op_fail_err(c, CHOICE_END, &err);
		journal_find_start(&c->find,
		    &(struct journal){
			&journal_volumes, pool, c->rpc->env->instance_id },
		    req->name, c->rpc->arena, &op->wake);
		return op_await(c, CHOICE_LOOKED);

	case CHOICE_LOOKED:
		if (op->rc < 0)
			return op_fail_as(c, CHOICE_END, find.op);
		if (!c->find.found && !c->find.is_reserved) {
			c->at++;
			return op_goto(c, CHOICE_NEXT);
		}
		choose(c, c->at);
		return op_goto(c, CHOICE_CHOSEN);

	case CHOICE_CHOSEN:
		return open_pools(c, &err) < 0
		    ? op_fail_err(c, CHOICE_END, &err)
		    : op_goto(c, CHOICE_END);

	case CHOICE_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class pool_choice_class = {
	.name = "pool.choice",
	.step = pool_choice_step,
};

void
pool_choice_start(
    struct pool_choice *choice, struct csi_rpc *rpc, struct wake *waiter)
{
	memset(choice, 0, sizeof(*choice));
	choice->rpc = rpc;
	op_start(&choice->op, &pool_choice_class, waiter);
}
