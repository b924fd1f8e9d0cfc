/*
 * get_capacity.c - GetCapacity: what the monitors say that still fits into a
 * pool, replicas taken off, and no more than its quota leaves.
 *
 * The monitors' commands have no asynchronous form, and external-provisioner
 * asks for each StorageClass once a minute: a lane asks them, and their answer
 * is good for some seconds.
 */
#include "controller/controller.h"
#include "controller/lane.h"

#include "base/clock.h"
#include "base/json.h"
#include "ceph/pools.h"
#include "csi.pb-c.h"
#include "csi/caps.h"

#include <errno.h>
#include <stdlib.h>

#define GOOD_MS 5000
#define COMMAND                                                                \
	"{\"prefix\": \"df\", \"detail\": \"detail\", \"format\": \"json\"}"

enum get_capacity_state {
	CAPACITY_START = 0,
	CAPACITY_TOLD, /* the monitors have answered */
	CAPACITY_KNOWN,
	CAPACITY_END,
};

struct get_capacity {
	struct csi_rpc rpc;
	enum get_capacity_state state;
	bool any;          /* the request names no pool */
	const char **pool; /* else those that data may go to */
	size_t npools;
	const char *param; /* that names them */
	struct lane_job lane;
};

/* What the monitors have said last; this process knows one cluster. */
static struct {
	json_t *pools;
	int64_t at_ms;
} df;

void
get_capacity_forget(void)
{
	json_decref(df.pools);
	df.pools = NULL;
}

/* The pools that a new volume's data may be put into, of which one will be. */
static void
name_pools(struct get_capacity *g)
{
	const struct csi_topology *topology = &g->rpc.in->topology;
	struct csi_map map = csi_map_of(
	    (const Csi__V1__GetCapacityRequest *)g->rpc.request, parameters);
	static const char *const keys[] = { "dataPool", "pool" };

	g->any = topology->choice == NULL;
	g->param = "topologyConstrainedPools";
	g->pool = arena_new_bytes(
	    g->rpc.arena, (topology->n + 1) * sizeof(*g->pool));
	for (size_t i = 0; !g->any && i < topology->n; i++)
		g->pool[g->npools++] = topology->choice[i].data_pool != NULL
		    ? topology->choice[i].data_pool
		    : topology->choice[i].pool;
	for (size_t i = 0; i < countof(keys) && g->any; i++) {
		const char *name = csi_map_get(&map, keys[i]);

		if (str_is_empty(name))
			continue;
		g->any = false;
		g->param = keys[i];
		g->pool[g->npools++] = name;
	}
}

static int
take_answer(const struct secret *answer, struct err *err)
{
	json_t *root = json_loadb(
	    answer->text != NULL ? answer->text : "", answer->len, 0, NULL);
	json_t *pools = json_incref(json_object_get(root, "pools"));

	json_decref(root);
	if (!json_is_array(pools)) {
		json_decref(pools);
		return err_set(err, ERR_INTERNAL,
		    "the monitors' answer to df has no pools");
	}
	json_decref(df.pools);
	df.pools = pools;
	df.at_ms = clock_now_ms();
	return 0;
}

static int64_t
number(const json_t *object, const char *key)
{
	return (int64_t)json_number_value(json_object_get(object, key));
}

/* What they have said of the pool of this name, or of this id; or NULL. */
static const json_t *
entry_of(const char *name, int64_t id)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (df.pools, i, entry)
		if (name != NULL ? str_eq(json_get_string(entry, "name"), name)
				 : number(entry, "id") == id)
			return entry;
	return NULL;
}

/* Which of the pools that are named they know nothing of, or NULL. */
static const char *
missing(const struct get_capacity *g)
{
	for (size_t i = 0; i < g->npools; i++)
		if (entry_of(g->pool[i], 0) == NULL)
			return g->pool[i];
	return NULL;
}

/* There is none, or it is so new that they have no figures of it. */
static void
explain_missing(const struct get_capacity *g, struct err *err)
{
	const char *name = missing(g);
	struct err why = ERR_INIT;
	struct ceph_pool *pool;

	if (ceph_pool_open(controller.conn, name, g->rpc.env->rados_namespace,
		&pool, &why) == 0)
		(void)err_set(err, ERR_UNAVAILABLE,
		    "pool %s: the monitors have no figures yet", name);
	else
		(void)err_set(err,
		    why.code == ERR_NOT_FOUND ? ERR_INVALID_ARGUMENT : why.code,
		    "parameters.%s: %s", g->param, why.text);
}

/* The larger one of this and what is free in the pool. */
static int64_t
more_of(int64_t bytes, const json_t *entry)
{
	const json_t *stats = json_object_get(entry, "stats");
	int64_t free = number(stats, "max_avail");
	int64_t quota = number(stats, "quota_bytes");

	if (quota > 0 && quota - number(stats, "stored") < free)
		free = quota - number(stats, "stored");
	return free > bytes ? free : bytes;
}

/*
 * Pools share their OSDs, so that the largest counts and not the sum. A pool
 * that is named goes by its name: what librados knows of it may be old.
 */
static int
available(const struct get_capacity *g, int64_t *bytes, struct err *err)
{
	struct ceph_pool *pool;
	int64_t id = -1;
	int rc = 0;

	*bytes = 0;
	for (size_t i = 0; i < g->npools; i++)
		*bytes = more_of(*bytes, entry_of(g->pool[i], 0));
	while (g->any &&
	    (rc = ceph_pools_next(controller.conn, id,
		 g->rpc.env->rados_namespace, &pool, err)) == 0 &&
	    pool != NULL) {
		id = pool->id;
		*bytes = more_of(*bytes, entry_of(NULL, id));
	}
	return rc;
}

static enum op_verdict
get_capacity_step(struct op *op)
{
	struct get_capacity *g = (struct get_capacity *)op;
	const Csi__V1__GetCapacityRequest *r = g->rpc.request;
	Csi__V1__GetCapacityResponse *reply;
	struct err err = ERR_INIT;
	int rc;

	switch (g->state) {
	case CAPACITY_START:
		name_pools(g);
		if (df.pools != NULL && clock_now_ms() - df.at_ms < GOOD_MS &&
		    missing(g) == NULL)
			return op_goto(g, CAPACITY_KNOWN);
		g->lane = (struct lane_job){
			.kind = LANE_MON_COMMAND,
			.command = COMMAND,
		};
		lane_job_start(&g->lane, &op->wake);
		return op_await(g, CAPACITY_TOLD);

	case CAPACITY_TOLD:
		if (op->rc < 0)
			return op_fail_as(g, CAPACITY_END, lane);
		rc = take_answer(&g->lane.reply, &err);
		secret_fini(&g->lane.reply);
		if (rc < 0)
			return op_fail_err(g, CAPACITY_END, &err);
		return op_goto(g, CAPACITY_KNOWN);

	case CAPACITY_KNOWN:
		if (missing(g) != NULL) {
			explain_missing(g, &err);
			return op_fail_err(g, CAPACITY_END, &err);
		}
		reply = csi_rpc_reply(&g->rpc);
		if (available(g, &reply->available_capacity, &err) < 0)
			return op_fail_err(g, CAPACITY_END, &err);
		/* Nothing is there for what cannot be made. */
		if (csi_capabilities_supported(r->volume_capabilities,
			r->n_volume_capabilities, NULL) < 0)
			reply->available_capacity = 0;
		return op_goto(g, CAPACITY_END);

	case CAPACITY_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class get_capacity_class = {
	.name = "GetCapacity",
	.step = get_capacity_step,
};

const struct csi_impl get_capacity_impl = {
	.cls = &get_capacity_class,
	.size = sizeof(struct get_capacity),
};
