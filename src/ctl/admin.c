/*
 * admin.c - rbd-csid's Admin service for people: `rbd-csictl audit`, page after
 * page, and what needs one call, as tables or as JSON.
 */
#include "base/json.h"
#include "core/loop.h"
#include "csi/rpc.h"
#include "ctl/ctl.h"
#include "rpc/client.h"

#include <getopt.h>
#include <string.h>
#include <time.h>

#define TIMEOUT_MS (INT64_C(120) * 1000)

static const char audit_usage[] =
    "usage: rbd-csictl [OPTION]... --secrets FILE audit --cluster ID\n"
    "           --pool POOL [--repair] [-o table|json]\n"
    "\n"
    "Compares a pool's journal with its images, its trash and its purge\n"
    "notes, as the instance and in the RADOS namespace that rbd-csid has\n"
    "for the cluster. What is being made or deleted at the moment shows,\n"
    "too.\n"
    "\n"
    "  --cluster ID   as in config.json\n"
    "  --pool POOL    its name\n"
    "  --repair       mend what is proven safe; no image is ever removed\n"
    "  -o FORMAT      table (the default) or json; --json is the latter\n"
    "  --help         this text\n"
    "\n"
    "exit status: 0 nothing is wrong, 1 something is, 2 wrong usage or\n"
    "it failed, 3 nobody listens at the endpoint\n";

static const char ops_usage[] =
    "usage: rbd-csictl [OPTION]... ops [-o table|json]\n"
    "\n"
    "Lists what rbd-csid does at this moment, the newest first: requests,\n"
    "and the operations that they consist of. STATE is where it is and for\n"
    "how long; of a request that a ceph-worker runs, the worker's state.\n"
    "\n"
    "  -o FORMAT      table (the default) or json; --json is the latter\n"
    "  --help         this text\n";

static const char abort_usage[] =
    "usage: rbd-csictl [OPTION]... abort VOLUME_ID [-o table|json]\n"
    "\n"
    "Ends all I/O of a volume on this node with an error, now and from now\n"
    "on, so that what is stuck in it can go on, an unmount for a start. WHAT\n"
    "IS NOT YET WRITTEN IS LOST. For volumes on the userspace mapper whose\n"
    "cluster does not answer; the volume can be staged again after it was\n"
    "unstaged.\n"
    "\n"
    "  -o FORMAT      table (the default) or json; --json is the latter\n"
    "  --help         this text\n";

static const char sessions_usage[] =
    "usage: rbd-csictl [OPTION]... sessions [-o table|json]\n"
    "\n"
    "Lists the sessions with Ceph clusters: as whom, in which state and for\n"
    "how long, the pid and the age of its ceph-worker, how many lanes that\n"
    "has, how many calls it works on and how many wait for it.\n"
    "\n"
    "  -o FORMAT      table (the default) or json; --json is the latter\n"
    "  --help         this text\n";

static const char trace_usage[] =
    "usage: rbd-csictl [OPTION]... trace [SUBJECT] [-o table|json]\n"
    "\n"
    "Shows the requests that have ended last, the newest first, each with\n"
    "the milliseconds that it spent in each of its states. SUBJECT is a\n"
    "volume ID, a name that was to be created, or a target path, as `ops`\n"
    "shows it. rbd-csid remembers 1024 requests.\n"
    "\n"
    "  -o FORMAT      table (the default) or json; --json is the latter\n"
    "  --help         this text\n";

static const char log_level_usage[] =
    "usage: rbd-csictl [OPTION]... log-level LEVEL [-o table|json]\n"
    "\n"
    "Sets how much rbd-csid and its helpers log, until it is restarted:\n"
    "error, warn, info or debug. Prints what it was before.\n"
    "\n"
    "  -o FORMAT      table (the default) or json; --json is the latter\n"
    "  --help         this text\n";

struct admin_args {
	const char *cluster, *pool, *subject;
	bool repair, json, help;
};

/* False: wrong usage. */
static bool
admin_parse(int argc, char **argv, struct admin_args *args)
{
	static const struct option long_options[] = {
		{ "cluster", required_argument, NULL, 'c' },
		{ "pool", required_argument, NULL, 'p' },
		{ "repair", no_argument, NULL, 'r' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	optind = 0; /* main() has used getopt before */
	while ((c = getopt_long(argc, argv, "o:", long_options, NULL)) != -1) {
		switch (c) {
		case 'c':
			args->cluster = optarg;
			break;
		case 'p':
			args->pool = optarg;
			break;
		case 'r':
			args->repair = true;
			break;
		case 'j':
			args->json = true;
			break;
		case 'h':
			args->help = true;
			break;
		case 'o':
			args->json = str_eq(optarg, "json");
			if (args->json || str_eq(optarg, "table"))
				break;
			return false;
		default:
			return false;
		}
	}
	if (optind < argc)
		args->subject = argv[optind++];
	return optind == argc;
}

/*
 * One call of Admin, which takes over `request`. CTL_OK and the reply, which
 * the caller owns; else it has told why not.
 */
static enum ctl_status
admin_ask(const struct ctl_options *options, struct client *client,
    const char *name, json_t *request, json_t **reply)
{
	struct arena *arena = csi_arena_new();
	enum ctl_status status = CTL_USAGE;
	auto_json json_t *json = request;
	auto_free char *text = NULL;
	struct err err = ERR_INIT;
	struct ctl_method method;
	struct client_call rpc;
	struct ctl_wait wait;
	const void *bytes = NULL;
	size_t len = 0;

	if (!ctl_method_find(&method, name))
		abort(); /* it is defined */
	client_call_init(&rpc, client);
	if (json == NULL || (text = json_dumps(json, 0)) == NULL)
		(void)err_set(&err, ERR_INVALID_ARGUMENT,
		    "what is given has to be UTF-8");
	else
		bytes = ctl_request_read(
		    &method, text, options->secrets, arena, &len, &err);
	if (bytes != NULL && ctl_add_headers(options, &rpc, &err) == 0) {
		client_call_start(&rpc, method.path, bytes, len,
		    options->timeout_ms >= 0 ? options->timeout_ms : TIMEOUT_MS,
		    ctl_wait_for(&wait));
		if (ctl_waited(&wait) == 0) {
			*reply = ctl_reply(&rpc, &method, &err);
			status = *reply != NULL ? CTL_OK : CTL_FAILED;
		} else {
			ctl_print_failure(&rpc);
			status = rpc.connected ? CTL_FAILED : CTL_NO_SERVER;
		}
	}
	if (err_is_set(&err))
		ctl_print_err(&err);
	client_call_fini(&rpc);
	arena_free(arena);
	return status;
}

static void
admin_print_json(const json_t *json)
{
	(void)json_dumpf(json, stdout, JSON_INDENT(2));
	(void)putchar('\n');
}

static const char *
admin_text(const json_t *object, const char *name)
{
	const char *text = json_get_string(object, name);

	return str_is_empty(text) ? "-" : text;
}

/* Seconds from ms, ms from us. 64-bit numbers are strings, and absent when 0. */
static double
admin_thousandths(const json_t *object, const char *name)
{
	const char *text = json_get_string(object, name);
	uint64_t ms;

	return text != NULL && str_to_u64(text, &ms) == 0 ? (double)ms / 1000
							  : 0;
}

static long long
admin_number(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

/* ---- audit --------------------------------------------------------------- */

/* Returns how many are not repaired. */
static size_t
print_findings(const json_t *findings, bool as_json)
{
	size_t i, left = 0, all = json_array_size(findings);
	json_t *f;

	json_array_foreach (findings, i, f) {
		bool repaired = json_is_true(json_object_get(f, "repaired"));

		left += !repaired;
		if (as_json)
			continue;
		if (i == 0)
			(void)printf("%-20s %-9s %-40s %s\n", "KIND", "STATE",
			    "VOLUME", "IMAGE");
		(void)printf("%-20s %-9s %-40s %s\n    %s\n    %s\n",
		    admin_text(f, "kind"), repaired ? "repaired" : "found",
		    admin_text(f, "volume"), admin_text(f, "image"),
		    admin_text(f, "object"), admin_text(f, "text"));
	}
	if (as_json)
		admin_print_json(findings);
	else
		(void)printf("%zu found, %zu repaired\n", all, all - left);
	return left;
}

static enum ctl_status
run_audit(const struct ctl_options *options, struct client *client,
    const struct admin_args *args)
{
	auto_json json_t *findings = json_array();
	auto_free char *token = str_dup("");
	enum ctl_status status;

	do {
		auto_json json_t *reply = NULL;

		status = admin_ask(options, client, "Admin/Audit",
		    json_pack("{s:s, s:s, s:b, s:s}", "clusterId",
			args->cluster, "pool", args->pool, "repair",
			args->repair, "token", token),
		    &reply);
		if (status != CTL_OK)
			return status == CTL_FAILED ? CTL_USAGE : status;
		if (json_object_get(reply, "findings") != NULL)
			(void)json_array_extend(
			    findings, json_object_get(reply, "findings"));
		free(token);
		token = str_dup(json_get_string(reply, "nextToken"));
	} while (token != NULL);
	return print_findings(findings, args->json) == 0 ? CTL_OK : CTL_FAILED;
}

/* ---- what one call answers ----------------------------------------------- */

/*
 * Asks for a list. CTL_OK and the list, which is part of *reply, for a table;
 * NULL: there is nothing (more) to print.
 */
static enum ctl_status
admin_list(const struct ctl_options *options, struct client *client,
    const struct admin_args *args, const char *name, json_t *request,
    const char *field, json_t **reply, const json_t **list)
{
	enum ctl_status status = admin_ask(
	    options, client, name, request, reply);

	*list = json_object_get(*reply, field);
	if (status == CTL_OK && args->json) {
		auto_json json_t *none = json_array();

		admin_print_json(*list != NULL ? *list : none);
		*list = NULL;
	}
	return status;
}

static enum ctl_status
run_ops(const struct ctl_options *options, struct client *client,
    const struct admin_args *args)
{
	auto_json json_t *reply = NULL;
	const json_t *list;
	enum ctl_status status = admin_list(options, client, args,
	    "Admin/ListOperations", json_object(), "operations", &reply, &list);
	size_t i;
	json_t *op;

	if (status == CTL_OK && !args->json)
		(void)printf("%8s %10s %-26s %-36s %s\n", "ID", "AGE", "NAME",
		    "STATE", "SUBJECT");
	json_array_foreach (list, i, op) {
		const char *worker = json_get_string(op, "workerState");
		auto_free char *state = str_fmt("%s %.1f s",
		    worker != NULL ? worker : admin_text(op, "state"),
		    admin_thousandths(op, "stateMs"));

		(void)printf("%8s %8.1f s %-26s %-36s %s%s%s\n",
		    admin_text(op, "id"), admin_thousandths(op, "ageMs"),
		    admin_text(op, "name"), state, admin_text(op, "subject"),
		    json_is_true(json_object_get(op, "detached"))
			? " (detached)"
			: "",
		    json_is_true(json_object_get(op, "failing")) ? " (failing)"
								 : "");
	}
	return status;
}

static enum ctl_status
run_sessions(const struct ctl_options *options, struct client *client,
    const struct admin_args *args)
{
	auto_json json_t *reply = NULL;
	const json_t *list;
	enum ctl_status status = admin_list(options, client, args,
	    "Admin/ListSessions", json_object(), "sessions", &reply, &list);
	size_t i;
	json_t *s;

	if (status == CTL_OK && !args->json)
		(void)printf("%-37s %-20s %-12s %10s %8s %12s %5s %7s %s\n",
		    "CLUSTER", "USER", "STATE", "FOR", "WORKER", "AGE", "LANES",
		    "RUNNING", "WAITING");
	json_array_foreach (list, i, s) {
		(void)printf(
		    "%-37s %-20s %-12s %8.1f s %8lld %10.1f s %5lld %7lld %lld\n",
		    admin_text(s, "clusterId"), admin_text(s, "user"),
		    admin_text(s, "state"), admin_thousandths(s, "stateMs"),
		    admin_number(s, "workerPid"),
		    admin_thousandths(s, "workerAgeMs"),
		    admin_number(s, "lanes"), admin_number(s, "running"),
		    admin_number(s, "waiting"));
	}
	return status;
}

static enum ctl_status
run_trace(const struct ctl_options *options, struct client *client,
    const struct admin_args *args)
{
	auto_json json_t *reply = NULL;
	const json_t *list;
	enum ctl_status status = admin_list(options, client, args,
	    "Admin/Trace",
	    json_pack(
		"{s:s}", "subject", args->subject != NULL ? args->subject : ""),
	    "requests", &reply, &list);
	size_t i, j;
	json_t *r, *state;

	json_array_foreach (list, i, r) {
		time_t ended = (time_t)admin_thousandths(r, "endedMs");
		char when[32];

		(void)strftime(when, sizeof(when), "%FT%TZ", gmtime(&ended));
		(void)printf("%s %s %s: %s after %.3f s (op %s)\n", when,
		    admin_text(r, "method"), admin_text(r, "subject"),
		    admin_text(r, "code"), admin_thousandths(r, "durationMs"),
		    admin_text(r, "id"));
		if (json_get_string(r, "text") != NULL)
			(void)printf("    %s\n", json_get_string(r, "text"));
		json_array_foreach (json_object_get(r, "states"), j, state)
			(void)printf("    %10.1f ms  %s\n",
			    admin_thousandths(state, "us"),
			    admin_text(state, "name"));
	}
	return status;
}

static enum ctl_status
run_log_level(const struct ctl_options *options, struct client *client,
    const struct admin_args *args)
{
	auto_json json_t *reply = NULL;
	enum ctl_status status = admin_ask(options, client, "Admin/SetLogLevel",
	    json_pack("{s:s}", "level", args->subject), &reply);

	if (status == CTL_OK && args->json)
		admin_print_json(reply);
	else if (status == CTL_OK)
		(void)printf("it was %s\n", admin_text(reply, "previous"));
	return status;
}

static enum ctl_status
run_abort(const struct ctl_options *options, struct client *client,
    const struct admin_args *args)
{
	auto_json json_t *reply = NULL;
	enum ctl_status status = admin_ask(options, client, "Admin/Abort",
	    json_pack("{s:s}", "volumeId", args->subject), &reply);

	if (status != CTL_OK)
		return status;
	if (args->json)
		admin_print_json(reply);
	else if (json_is_true(json_object_get(reply, "released")))
		(void)printf("its I/O has ended, its device is given back\n");
	else
		(void)printf(
		    "its I/O has ended, its device is in use still: unstage the volume\n");
	return CTL_OK;
}

/* ---- all of them --------------------------------------------------------- */

static const struct admin_command {
	const char *name, *usage;
	bool on_pool;         /* wants --cluster and --pool */
	unsigned least, most; /* arguments */
	enum ctl_status (*run)(const struct ctl_options *options,
	    struct client *client, const struct admin_args *args);
} admin_commands[] = {
	{ "audit", audit_usage, true, 0, 0, run_audit },
	{ "ops", ops_usage, false, 0, 0, run_ops },
	{ "sessions", sessions_usage, false, 0, 0, run_sessions },
	{ "trace", trace_usage, false, 0, 1, run_trace },
	{ "log-level", log_level_usage, false, 1, 1, run_log_level },
	{ "abort", abort_usage, false, 1, 1, run_abort },
};

enum ctl_status
ctl_admin(const struct ctl_options *options, int argc, char **argv)
{
	const struct admin_command *command = admin_commands;
	struct admin_args args = { .cluster = NULL };
	enum ctl_status status;
	struct client *client;
	bool good;

	while (!str_eq(command->name, argv[0]))
		command++;
	good = admin_parse(argc, argv, &args) &&
	    (args.cluster != NULL) == command->on_pool &&
	    (args.pool != NULL) == command->on_pool &&
	    (args.subject != NULL ? command->most : !command->least) &&
	    (!args.repair || command->on_pool);
	if (!good || args.help) {
		(void)fputs(command->usage, args.help ? stdout : stderr);
		return args.help ? CTL_OK : CTL_USAGE;
	}
	if (loop_init() < 0) {
		(void)fprintf(stderr, "rbd-csictl: cannot make the loop\n");
		return CTL_USAGE;
	}
	client = client_new(options->endpoint);
	status = command->run(options, client, &args);
	client_free(client);
	loop_fini();
	return fflush(stdout) == 0 ? status : CTL_USAGE;
}
