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
	struct ceph_pool *pool; /* where data go; NULL: any */
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

/* The pool that the parameters put data into. */
static int
find_pool(struct get_capacity *g, struct err *err)
{
	const Csi__V1__GetCapacityRequest *r = g->rpc.request;
	struct csi_map map = csi_map_of(r, parameters);
	static const char *const keys[] = { "dataPool", "pool" };

	for (size_t i = 0; i < countof(keys); i++) {
		const char *name = csi_map_get(&map, keys[i]);
		struct err why = ERR_INIT;

		if (str_is_empty(name))
			continue;
		if (ceph_pool_open(controller.conn, name,
			g->rpc.env->rados_namespace, &g->pool, &why) == 0)
			return 0;
		return err_set(err,
		    why.code == ERR_NOT_FOUND ? ERR_INVALID_ARGUMENT : why.code,
		    "parameters.%s: %s", keys[i], why.text);
	}
	return 0;
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

static int64_t
available_in(const struct ceph_pool *pool)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (df.pools, i, entry) {
		const json_t *stats = json_object_get(entry, "stats");
		int64_t bytes = number(stats, "max_avail");
		int64_t quota = number(stats, "quota_bytes");

		if (number(entry, "id") != pool->id)
			continue;
		if (quota > 0 && quota - number(stats, "stored") < bytes)
			bytes = quota - number(stats, "stored");
		return bytes > 0 ? bytes : 0;
	}
	return 0;
}

/* Pools share their OSDs, so that the largest counts and not the sum. */
static int
available(const struct get_capacity *g, int64_t *bytes, struct err *err)
{
	struct ceph_pool *pool;
	int64_t id = -1;
	int rc;

	*bytes = g->pool != NULL ? available_in(g->pool) : 0;
	if (g->pool != NULL)
		return 0;
	while ((rc = ceph_pools_next(controller.conn, id,
		    g->rpc.env->rados_namespace, &pool, err)) == 0 &&
	    pool != NULL) {
		id = pool->id;
		if (available_in(pool) > *bytes)
			*bytes = available_in(pool);
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
		if (find_pool(g, &err) < 0)
			return op_fail_err(g, CAPACITY_END, &err);
		if (df.pools != NULL && clock_now_ms() - df.at_ms < GOOD_MS)
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
