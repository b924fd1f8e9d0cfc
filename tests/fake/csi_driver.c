/*
 * csi_driver.c - a CSI driver without storage, for tests of rbd-csictl bench:
 * it serves what its second argument says, and nothing of rbd-csid's own.
 *
 * usage: csi_driver ENDPOINT WORD...
 *
 *	stage, attach, clone	serve NodeStageVolume, ControllerPublishVolume,
 *				volumes from volumes
 *	flaky			the first CreateVolume of a name is UNAVAILABLE
 *	third			each third volume is RESOURCE_EXHAUSTED
 *	slow			CreateVolume and NodePublishVolume take 200 ms
 *	steady=MS		Probe takes so long
 *	stalls			at its 25th Probe it stands still for 3 s
 *
 * ListVolumes tells which volumes there are. A call out of order, such as
 * DeleteVolume of a volume that is still published, is FAILED_PRECONDITION.
 */
#include "base/log.h"
#include "base/map.h"
#include "core/loop.h"
#include "core/signal.h"
#include "csi/rpc.h"
#include "ctl/json_pb.h"
#include "rpc/server.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SLOW_MS 200
#define STALL_AT 25
#define STALL_S 3

enum { MADE = 1, ATTACHED = 2, STAGED = 4, PUBLISHED = 8 };

static char **words;
static struct map volumes; /* ID to the address of its state */
static struct map seen;    /* names that were asked for once */
static unsigned created, probes;
static int64_t probe_ms; /* that a Probe takes */

static bool
has(const char *word)
{
	for (char **at = words; *at != NULL; at++)
		if (str_eq(*at, word))
			return true;
	return false;
}

/* ---- what it answers ----------------------------------------------------- */

static unsigned *
state_of(const json_t *request)
{
	const char *id = json_get_string(request, "volumeId");

	return id != NULL ? map_get(&volumes, id) : NULL;
}

static json_t *
capabilities(const char *one, const char *two, const char *three)
{
	json_t *list = json_array();
	const char *all[] = { one, two, three };

	for (size_t i = 0; i < countof(all); i++)
		if (all[i] != NULL)
			(void)json_array_append_new(list,
			    json_pack("{s:{s:s}}", "rpc", "type", all[i]));
	return json_pack("{s:o}", "capabilities", list);
}

static json_t *
create(const json_t *request, struct err *err)
{
	const char *name = json_get_string(request, "name");
	auto_free char *id = str_fmt("id-of-%s", name);

	if (has("flaky") && map_set(&seen, name, &seen) == NULL) {
		(void)err_set(err, ERR_UNAVAILABLE, "not yet");
		return NULL;
	}
	if (map_get(&volumes, id) == NULL) {
		unsigned *state;

		if (has("third") && ++created % 3 == 0) {
			(void)err_set(
			    err, ERR_RESOURCE_EXHAUSTED, "one of three");
			return NULL;
		}
		state = mem_new(sizeof(*state));
		*state = MADE;
		(void)map_set(&volumes, id, state);
	}
	return json_pack("{s:{s:s, s:{s:s}}}", "volume", "volume_id", id,
	    "volume_context", "made", "by fake");
}

static json_t *
list_volumes(void)
{
	json_t *entries = json_array();
	const char *id;
	void *state;
	size_t at = 0;

	while (map_next(&volumes, &at, &id, &state))
		(void)json_array_append_new(
		    entries, json_pack("{s:{s:s}}", "volume", "volume_id", id));
	return json_pack("{s:o}", "entries", entries);
}

/* From a state that must have `from` and nothing of `without`. */
static json_t *
change(const json_t *request, unsigned from, unsigned without, unsigned add,
    unsigned take, struct err *err)
{
	unsigned *state = state_of(request);

	if (state == NULL || (*state & from) != from || (*state & without)) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "volume is in state %u", state != NULL ? *state : 0);
		return NULL;
	}
	*state = (*state | add) & ~take;
	return json_object();
}

static json_t *
publish(const json_t *request, struct err *err)
{
	if ((json_get_string(request, "stagingTargetPath") != NULL) !=
		has("stage") ||
	    (has("attach") &&
		json_get_string(json_object_get(request, "publishContext"),
		    "device") == NULL) ||
	    json_object_get(request, "volumeContext") == NULL) {
		(void)err_set(err, ERR_INVALID_ARGUMENT,
		    "staging path or contexts are not as they should be");
		return NULL;
	}
	return change(request,
	    (has("stage") ? STAGED : 0) | (has("attach") ? ATTACHED : 0), 0,
	    PUBLISHED, 0, err);
}

static json_t *
answer(enum csi_id id, const json_t *request, struct err *err)
{
	json_t *reply;

	switch ((int)id) {
	case CSI_GET_PLUGIN_INFO:
		return json_pack("{s:s, s:s}", "name", "fake.csi.example",
		    "vendor_version", "7");
	case CSI_PROBE:
		if (has("stalls") && ++probes == STALL_AT)
			(void)sleep(STALL_S); /* nobody is answered */
		return json_object();
	case CSI_GET_PLUGIN_CAPABILITIES:
		return json_object();
	case CSI_CONTROLLER_GET_CAPABILITIES:
		return capabilities("CREATE_DELETE_VOLUME",
		    has("attach") ? "PUBLISH_UNPUBLISH_VOLUME" : NULL,
		    has("clone") ? "CLONE_VOLUME" : NULL);
	case CSI_NODE_GET_CAPABILITIES:
		return capabilities(
		    has("stage") ? "STAGE_UNSTAGE_VOLUME" : NULL, NULL, NULL);
	case CSI_NODE_GET_INFO:
		return json_pack("{s:s}", "node_id", "fake-node");
	case CSI_CREATE_VOLUME:
		return create(request, err);
	case CSI_DELETE_VOLUME:
		reply = change(
		    request, MADE, ATTACHED | STAGED | PUBLISHED, 0, 0, err);
		if (reply != NULL)
			free(map_remove(
			    &volumes, json_get_string(request, "volumeId")));
		return reply;
	case CSI_LIST_VOLUMES:
		return list_volumes();
	case CSI_CONTROLLER_PUBLISH_VOLUME:
		if (!str_eq(json_get_string(request, "nodeId"), "fake-node")) {
			(void)err_set(err, ERR_NOT_FOUND, "no such node");
			return NULL;
		}
		reply = change(request, MADE, 0, ATTACHED, 0, err);
		if (reply != NULL)
			(void)json_object_set_new(reply, "publish_context",
			    json_pack("{s:s}", "device", "none"));
		return reply;
	case CSI_CONTROLLER_UNPUBLISH_VOLUME:
		return change(
		    request, MADE, STAGED | PUBLISHED, 0, ATTACHED, err);
	case CSI_NODE_STAGE_VOLUME:
		return change(request, MADE, 0, STAGED, 0, err);
	case CSI_NODE_UNSTAGE_VOLUME:
		return change(request, MADE, PUBLISHED, 0, STAGED, err);
	case CSI_NODE_PUBLISH_VOLUME:
		return publish(request, err);
	case CSI_NODE_UNPUBLISH_VOLUME:
		return change(request, MADE, 0, 0, PUBLISHED, err);
	default:
		(void)err_set(err, ERR_UNIMPLEMENTED, "not served");
		return NULL;
	}
}

/* ---- calls --------------------------------------------------------------- */

static const struct csi_definition *
definition_of(const char *path)
{
	for (size_t i = 0; i < CSI_ADMIN_AUDIT; i++)
		if (str_eq(csi_definitions[i].path, path))
			return &csi_definitions[i];
	return NULL;
}

static void
reply_json(struct call *call, const struct csi_definition *def)
{
	struct arena *arena = call_arena(call);
	struct err err = ERR_INIT;
	const void *message = csi_unpack(
	    def->request, arena, call->request, call->request_len, &err);
	auto_json json_t *request = message != NULL
	    ? json_pb_write(message, &err)
	    : NULL;
	auto_json json_t *reply = request != NULL
	    ? answer((enum csi_id)(def - csi_definitions), request, &err)
	    : NULL;
	const void *out = reply != NULL
	    ? json_pb_read(def->reply, reply, arena, &err)
	    : NULL;
	const void *bytes = NULL;
	size_t len;

	if (out != NULL)
		bytes = csi_pack(out, arena, &len, &err);
	if (bytes != NULL)
		call_reply(call, bytes, len);
	else
		call_fail_err(call, &err);
}

/* A call that waits before it is answered; as long as its client waits. */
struct nap {
	struct timer timer;
	struct call *call;
};

static void
on_nap_over(struct timer *timer)
{
	struct nap *nap = container_of(timer, struct nap, timer);
	struct call *call = nap->call;

	free(nap);
	reply_json(call, definition_of(call->path));
}

static void
on_gone(struct call *call, enum call_gone why)
{
	struct nap *nap = call->data;

	(void)why;
	timer_disarm(&nap->timer);
	free(nap);
}

static void
serve(struct call *call)
{
	const struct csi_definition *def = definition_of(call->path);
	struct nap *nap;
	int64_t ms = 0;

	if (has("slow") &&
	    (def == &csi_definitions[CSI_CREATE_VOLUME] ||
		def == &csi_definitions[CSI_NODE_PUBLISH_VOLUME]))
		ms = SLOW_MS;
	if (def == &csi_definitions[CSI_PROBE])
		ms = probe_ms;
	if (def == NULL) {
		call_fail(call, ERR_UNIMPLEMENTED, "not served");
	} else if (ms > 0) {
		nap = mem_new(sizeof(*nap));
		nap->call = call;
		nap->timer.fire = on_nap_over;
		call->data = nap;
		call->gone = on_gone;
		timer_arm(&nap->timer, ms);
	} else {
		reply_json(call, def);
	}
}

static void
on_term(int signo)
{
	(void)signo;
	loop_stop();
}

int
main(int argc, char **argv)
{
	static const struct router router = {
		.fallback = { .start = serve },
	};
	struct err err = ERR_INIT;
	struct server *server;

	if (argc < 2) {
		(void)fprintf(stderr, "usage: csi_driver ENDPOINT WORD...\n");
		return 2;
	}
	words = argv + 2;
	for (char **word = words; *word != NULL; word++)
		if (strncmp(*word, "steady=", 7) == 0)
			probe_ms = strtol(*word + 7, NULL, 10);
	log_init("csi-driver", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	if (loop_init() < 0)
		return 1;
	server = server_new(&router, NULL);
	if (server_listen(server, argv[1], UNIX_SOCKET_FILE(0600), &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	signal_watch(SIGTERM, on_term);
	loop_run();
	server_free(server);
	signal_fini();
	loop_fini();
	return 0;
}
