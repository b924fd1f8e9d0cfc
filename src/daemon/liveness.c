/*
 * liveness.c - one probe at a time; what the last one told is the metric
 * (ceph-csi: internal/liveness/liveness.go).
 */
#include "daemon/liveness.h"

#include "base/log.h"
#include "core/timer.h"
#include "csi.pb-c.h"
#include "csi/rpc.h"
#include "obs/http.h"
#include "obs/metrics.h"
#include "obs/process.h"
#include "rpc/client.h"

#include <string.h>

static struct {
	struct client *client;
	struct client_call call;
	struct wake answered; /* of the call */
	bool waits;
	int64_t timeout_ms, poll_ms;
	struct timer poll;
	bool asked, live; /* as of the last answer */
	struct http_route route;
	struct http *http;
} lv;

/* An absent `ready` means ready. */
static bool
is_ready(struct err *err)
{
	struct arena *arena = csi_arena_new();
	const Csi__V1__ProbeResponse *reply = csi_unpack(
	    &csi__v1__probe_response__descriptor, arena, lv.call.reply.data,
	    lv.call.reply.len, err);
	bool ready = reply != NULL &&
	    (reply->ready == NULL || reply->ready->value);

	if (reply != NULL && !ready)
		(void)err_set(err, ERR_UNAVAILABLE, "it says that it is not");
	arena_free(arena);
	return ready;
}

static void
on_probed(struct wake *wake, int rc)
{
	struct err err = ERR_INIT;
	bool live = false;

	(void)wake;
	lv.waits = false;
	if (rc < 0)
		(void)err_set(&err, lv.call.code, "%s",
		    lv.call.text != NULL ? lv.call.text : "");
	else
		live = is_ready(&err);
	if (live && !(lv.asked && lv.live))
		log_info("liveness.ready", "is=1");
	else if (!live && (!lv.asked || lv.live))
		log_warn("liveness.ready", "is=0 code=%s text=%s",
		    err_code_name(err.code), err.text);
	lv.asked = true;
	lv.live = live;
	client_call_fini(&lv.call);
	timer_arm(&lv.poll, lv.poll_ms);
}

static void
on_poll(struct timer *timer)
{
	(void)timer;
	client_call_init(&lv.call, lv.client);
	client_call_start(&lv.call, "/csi.v1.Identity/Probe", "", 0,
	    lv.timeout_ms, &lv.answered);
	lv.waits = true;
}

/* ---- what is served ------------------------------------------------------ */

static void
read_live(struct metric_reading *reading)
{
	metric_tell(reading, lv.live, NULL);
}

static struct metric live_metric = {
	.name = "csi_liveness",
	.help = "1 if the driver has answered the last probe, else 0.",
	.kind = METRIC_GAUGE,
	.read = read_live,
};

int
liveness_begin(const struct options *o, struct err *err)
{
	const char *host = getenv("POD_IP");
	auto_free char *address = NULL;

	metrics_add(&live_metric);
	process_metrics_add();
	host = host != NULL ? host : "";
	address = str_fmt(strchr(host, ':') != NULL ? "[%s]:%lld" : "%s:%lld",
	    host, (long long)o->metrics_port);
	lv.route = (struct http_route){ .path = o->metrics_path,
		.type = METRICS_TYPE,
		.get = metrics_get };
	lv.http = http_serve(
	    address, UNIX_SOCKET_FILE(0600), &lv.route, 1, err);
	if (lv.http == NULL) {
		err_prefix(err, "POD_IP and --metricsport");
		return err->rc;
	}
	if (!str_is_empty(o->metrics_tls_dir) &&
	    http_use_tls(lv.http, o->metrics_tls_dir, err) < 0) {
		err_prefix(err, "--metrics-tls-dir");
		return err->rc;
	}
	lv.client = client_new(o->socket_path);
	lv.timeout_ms = o->probe_timeout_ms;
	lv.poll_ms = o->probe_poll_ms;
	lv.poll.fire = on_poll;
	lv.answered.fn = on_probed;
	on_poll(&lv.poll);
	return 0;
}

void
liveness_stop(void)
{
	if (lv.waits)
		client_call_cancel(&lv.call);
	while (lv.waits)
		loop_turn(true);
	timer_disarm(&lv.poll);
	http_free(lv.http);
	client_free(lv.client);
	metrics_fini();
}
