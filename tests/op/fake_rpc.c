/*
 * fake_rpc.c - scripted Node operations and sessions.
 */
#include "tests/op/fake_rpc.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "csi.pb-c.h"
#include "daemon/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNNING_MAX 8

static int64_t now_ms = 1000000;

static void
no_log(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

void
fake_init(void)
{
	log_set_sink(no_log);
	clock_fake(now_ms);
	if (loop_init() < 0)
		abort();
}

void
fake_turn(void)
{
	for (int i = 0; i < 6; i++)
		loop_turn(false);
}

void
fake_pass(int64_t ms)
{
	now_ms += ms;
	clock_fake(now_ms);
	fake_turn();
}

/* ---- Node operations ----------------------------------------------------- */

enum fake_state { FAKE_NEW = 0, FAKE_WOKEN };

struct fake_op {
	struct csi_rpc rpc;
	enum fake_state state;
};

unsigned fake_started, fake_running;

static struct fake_op *running[RUNNING_MAX]; /* in the order of their start */

static enum op_verdict
fake_step(struct op *op)
{
	struct fake_op *f = (struct fake_op *)op;

	switch (f->state) {
	case FAKE_NEW:
		fake_started++;
		if (fake_running == RUNNING_MAX)
			abort();
		running[fake_running++] = f;
		return op_await(f, FAKE_WOKEN);
	case FAKE_WOKEN:
		if (op->detached)
			op_set_error(op, ERR_CANCELLED, "stopped early");
		else if (op->rc < 0)
			op_set_error_rc(op, op->rc, "unmap");
		else
			(void)csi_rpc_reply(&f->rpc);
		return OP_DONE;
	}
	abort();
}

static const struct op_class fake_class = {
	.name = "fake",
	.step = fake_step,
};

static const struct csi_impl impl = { &fake_class, sizeof(struct fake_op) };

static const struct csi_impl *const impls[CSI_COUNT] = {
	[CSI_NODE_STAGE_VOLUME] = &impl,
	[CSI_NODE_UNSTAGE_VOLUME] = &impl,
	[CSI_NODE_PUBLISH_VOLUME] = &impl,
	[CSI_NODE_UNPUBLISH_VOLUME] = &impl,
	[CSI_NODE_GET_VOLUME_STATS] = &impl,
	[CSI_NODE_EXPAND_VOLUME] = &impl,
	[CSI_NODE_GET_VOLUME_HEALTH] = &impl,
	[CSI_NODE_GET_STORAGE_HEALTH] = &impl,
	[CSI_ADMIN_LIST_NODE_VOLUMES] = &impl,
	[CSI_ADMIN_ABORT] = &impl,
	[CSI_ADMIN_LIST_SESSIONS] = &list_sessions_impl,
	[CSI_ADMIN_TRACE] = &trace_impl,
	[CSI_ADMIN_METRICS] = &metrics_impl,
	[CSI_ADMIN_SET_LOG_LEVEL] = &set_log_level_impl,
};

bool
fake_is_detached(void)
{
	return running[0]->rpc.op.detached;
}

void
fake_wake(int rc)
{
	struct fake_op *f = running[0];

	memmove(running, running + 1, --fake_running * sizeof(running[0]));
	wake_up(&f->rpc.op.wake, rc);
}

/* ---- sessions ------------------------------------------------------------ */

char fake_session_cluster[16];
unsigned fake_session_calls, fake_session_cancels;
bool fake_session_waits, fake_session_lends, fake_session_flattens;

static struct session_call *open_call;

void
sessions_each_background(
    void (*each)(const struct session_background *background, void *arg),
    void *arg)
{
	struct session_background flatten = { .id = 7,
		.name = "flatten",
		.subject = "csi-snap-1",
		.state = "FLATTENING_DONE",
		.age_ms = 2 * SECOND_MS,
		.told_ms = clock_now_ms() - SECOND_MS };

	if (fake_session_flattens)
		each(&flatten, arg);
}

void
sessions_call_start(struct session_call *call, const struct session_key *key,
    struct wake *waiter)
{
	fake_session_calls++;
	(void)snprintf(fake_session_cluster, sizeof(fake_session_cluster), "%s",
	    key->cluster_id);
	if (!str_eq(key->monitors, "m:1") || !str_eq(key->user, "u") ||
	    !str_eq(key->key->text, "k") || open_call != NULL)
		abort();
	call->session = (struct ceph_session *)1;
	call->waiter = waiter;
	call->waits = fake_session_waits;
	open_call = call;
}

bool
sessions_credentials(const struct session_key *key, const char **user,
    const struct secret **secret)
{
	static struct secret k = { .text = (char *)(uintptr_t) "k", .len = 1 };

	if (!fake_session_lends || !str_eq(key->monitors, "m:1"))
		return false;
	*user = "u";
	*secret = &k;
	return true;
}

static void
session_end(void)
{
	struct session_call *call = open_call;

	call->session = NULL;
	open_call = NULL;
	wake_up(call->waiter, call->err.rc);
}

void
sessions_call_cancel(struct session_call *call)
{
	if (call != open_call)
		abort();
	fake_session_cancels++;
	call->cancelled = true;
	if (!call->waits)
		return;
	(void)err_set(&call->err, ERR_CANCELLED, "the caller went away");
	session_end();
}

const char *
sessions_call_state(const struct session_call *call)
{
	(void)call;
	return "FAR_AWAY";
}

void
sessions_call_where(const struct session_call *call, char *buf, size_t size)
{
	(void)call;
	(void)snprintf(buf, size, "in state FAR_AWAY for 3 s");
}

const void *
fake_session_body(size_t *len)
{
	*len = open_call->len;
	return open_call->body;
}

bool
sessions_at(size_t i, struct session_info *info)
{
	*info = (struct session_info){ .cluster_id = "c",
		.monitors = "m:1",
		.user = "u",
		.state = "up",
		.worker = 7,
		.lanes = 2 };
	return i == 0;
}

bool
fake_session_is_open(void)
{
	return open_call != NULL;
}

bool
fake_session_is_sent(void)
{
	return open_call != NULL && !open_call->waits;
}

bool
fake_session_is_cancelled(void)
{
	return open_call != NULL && open_call->cancelled;
}

void
fake_session_send(void)
{
	open_call->waits = false;
}

void
fake_session_answer(enum err_code code, const char *reply)
{
	struct session_call *call = open_call;

	if (code != ERR_OK) {
		(void)err_set(&call->err, code, "%s", reply);
	} else {
		call->reply = (unsigned char *)str_dup(reply);
		call->reply_len = strlen(reply);
	}
	session_end();
}

/* ---- the daemon ---------------------------------------------------------- */

const char *fake_credentials_dir;

void
fake_start(bool controller, bool node, const struct config *config)
{
	const struct dispatch_setup setup = {
		.driver_name = "rbd.csi.ceph.com",
		.node_id = "node-1",
		.controller = controller,
		.node = node,
		.requests = { .config = config,
		    .credentials_dir = fake_credentials_dir,
		    .impls = impls,
		    .slow_ms = 20 * SECOND_MS,
		    .max = FAKE_REQUESTS_MAX },
	};

	dispatch_init(&setup);
	fake_running = fake_started = 0;
	fake_session_calls = fake_session_cancels = 0;
	fake_session_waits = false;
}

bool
fake_stop(void)
{
	fake_turn();
	if (requests_running() > 0)
		return false;
	dispatch_fini();
	return true;
}

static char config_path[] = "/tmp/rbd-csi-fake.XXXXXX";

struct config *
fake_config(void)
{
	int fd = mkstemp(config_path);

	if (dprintf(fd,
		"[{\"clusterID\":\"c\",\"monitors\":[\"m:1\"]},"
		"{\"clusterID\":\"a\",\"monitors\":[\"m:1\"]}]") < 0)
		abort();
	(void)close(fd);
	return config_new(config_path);
}

void
fake_config_free(struct config *config)
{
	config_free(config);
	(void)unlink(config_path);
}
