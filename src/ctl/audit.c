/*
 * audit.c - `rbd-csictl audit`: Admin/Audit, page after page, as a table or
 * as JSON.
 */
#include "base/json.h"
#include "core/loop.h"
#include "core/op.h"
#include "csi/rpc.h"
#include "ctl/ctl.h"
#include "ctl/json_pb.h"
#include "ctl/request.h"
#include "rpc/client.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#define TIMEOUT_MS (INT64_C(120) * 1000) /* of a page */

enum audit_ctl_state {
	AUDIT_CTL_START = 0, /* a page is to be asked for */
	AUDIT_CTL_ANSWERED,
	AUDIT_CTL_END,
};

struct audit_ctl {
	struct op op;
	enum audit_ctl_state state;
	const struct ctl_options *options;
	struct ctl_method method;
	struct client *client;
	struct client_call rpc;
	bool called; /* rpc is in use */
	const char *cluster, *pool;
	bool repair, json;
	json_t *findings;
	char *token;
};

static enum op_verdict
ask(struct audit_ctl *a)
{
	struct arena *arena = csi_arena_new();
	struct err err = ERR_INIT;
	const void *body = NULL;
	auto_free char *text = NULL;
	auto_json json_t *json = json_pack("{s:s, s:s, s:b, s:s}", "clusterId",
	    a->cluster, "pool", a->pool, "repair", a->repair, "token",
	    a->token);
	int64_t timeout_ms = a->options->timeout_ms;
	size_t len = 0;

	if (json != NULL)
		text = json_dumps(json, 0);
	if (text == NULL)
		(void)err_set(&err, ERR_INVALID_ARGUMENT,
		    "cluster and pool have to be UTF-8");
	else
		body = ctl_request_read(
		    &a->method, text, a->options->secrets, arena, &len, &err);
	client_call_init(&a->rpc, a->client);
	a->called = true;
	if (body == NULL || ctl_add_headers(a->options, &a->rpc, &err) < 0) {
		arena_free(arena);
		return op_fail_err(a, AUDIT_CTL_END, &err);
	}
	client_call_start(&a->rpc, a->method.path, body, len,
	    timeout_ms >= 0 ? timeout_ms : TIMEOUT_MS, &a->op.wake);
	arena_free(arena);
	return op_await(a, AUDIT_CTL_ANSWERED);
}

static enum op_verdict
take(struct audit_ctl *a)
{
	struct arena *arena = csi_arena_new();
	struct err err = ERR_INIT;
	auto_json json_t *json = NULL;
	const void *message = csi_unpack(
	    a->method.reply, arena, a->rpc.reply.data, a->rpc.reply.len, &err);

	if (message != NULL)
		json = json_pb_write(message, &err);
	arena_free(arena);
	if (json == NULL)
		return op_fail_err(a, AUDIT_CTL_END, &err);
	if (json_object_get(json, "findings") != NULL)
		(void)json_array_extend(
		    a->findings, json_object_get(json, "findings"));
	free(a->token);
	a->token = str_dup(json_get_string(json, "nextToken"));
	if (a->token == NULL)
		return op_goto(a, AUDIT_CTL_END);
	client_call_fini(&a->rpc);
	a->called = false;
	return op_goto(a, AUDIT_CTL_START);
}

static enum op_verdict
audit_ctl_step(struct op *op)
{
	struct audit_ctl *a = (struct audit_ctl *)op;

	switch (a->state) {
	case AUDIT_CTL_START:
		return ask(a);
	case AUDIT_CTL_ANSWERED:
		return op->rc < 0 ? op_goto(a, AUDIT_CTL_END) : take(a);
	case AUDIT_CTL_END:
		return OP_DONE;
	}
	abort();
}

static void
audit_ctl_end(struct op *op)
{
	(void)op;
	loop_stop();
}

static const struct op_class audit_ctl_class = {
	.name = "audit",
	.step = audit_ctl_step,
	.end = audit_ctl_end,
};

/* ---- telling it ---- */

static const char *
member(const json_t *finding, const char *name)
{
	const char *text = json_get_string(finding, name);

	return text != NULL ? text : "-";
}

/* Returns how many are not repaired. */
static size_t
print(const struct audit_ctl *a)
{
	size_t i, left = 0, all = json_array_size(a->findings);
	json_t *f;

	json_array_foreach (a->findings, i, f) {
		bool repaired = json_is_true(json_object_get(f, "repaired"));

		left += !repaired;
		if (a->json)
			continue;
		if (i == 0)
			(void)printf("%-20s %-9s %-40s %s\n", "KIND", "STATE",
			    "VOLUME", "IMAGE");
		(void)printf("%-20s %-9s %-40s %s\n    %s\n    %s\n",
		    member(f, "kind"), repaired ? "repaired" : "found",
		    member(f, "volume"), member(f, "image"),
		    member(f, "object"), member(f, "text"));
	}
	if (a->json) {
		(void)json_dumpf(a->findings, stdout, JSON_INDENT(2));
		(void)putchar('\n');
	} else {
		(void)printf("%zu found, %zu repaired\n", all, all - left);
	}
	return left;
}

static enum ctl_status
run_audit(struct audit_ctl *a)
{
	enum ctl_status status = CTL_USAGE;

	a->findings = json_array();
	a->token = str_dup("");
	a->client = client_new(a->options->endpoint);
	op_start(&a->op, &audit_ctl_class, NULL);
	loop_run();
	if (err_is_set(&a->op.err)) {
		ctl_print_err(&a->op.err);
	} else if (a->rpc.code != ERR_OK) {
		ctl_print_failure(&a->rpc);
		status = a->rpc.connected ? CTL_USAGE : CTL_NO_SERVER;
	} else {
		status = print(a) == 0 ? CTL_OK : CTL_FAILED;
		if (fflush(stdout) != 0)
			status = CTL_USAGE;
	}
	if (a->called)
		client_call_fini(&a->rpc);
	client_free(a->client);
	json_decref(a->findings);
	free(a->token);
	return status;
}

static void
usage(FILE *out)
{
	(void)fprintf(out,
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
	    "  -o FORMAT      table (the default) or json\n"
	    "  --help         this text\n"
	    "\n"
	    "exit status: 0 nothing is wrong, 1 something is, 2 wrong usage or\n"
	    "it failed, 3 nobody listens at the endpoint\n");
}

static bool
parse(int argc, char **argv, struct audit_ctl *a, bool *help)
{
	static const struct option long_options[] = {
		{ "cluster", required_argument, NULL, 'c' },
		{ "pool", required_argument, NULL, 'p' },
		{ "repair", no_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	optind = 0; /* main() has used getopt before */
	while ((c = getopt_long(argc, argv, "o:", long_options, NULL)) != -1) {
		switch (c) {
		case 'c':
			a->cluster = optarg;
			break;
		case 'p':
			a->pool = optarg;
			break;
		case 'r':
			a->repair = true;
			break;
		case 'h':
			*help = true;
			return true;
		case 'o':
			a->json = str_eq(optarg, "json");
			if (a->json || str_eq(optarg, "table"))
				break;
			return false;
		default:
			return false;
		}
	}
	return optind == argc && a->cluster != NULL && a->pool != NULL;
}

enum ctl_status
ctl_audit(const struct ctl_options *options, int argc, char **argv)
{
	struct audit_ctl a = { .options = options };
	enum ctl_status status;
	bool help = false;

	if (!parse(argc, argv, &a, &help)) {
		usage(stderr);
		return CTL_USAGE;
	}
	if (help) {
		usage(stdout);
		return CTL_OK;
	}
	if (!ctl_method_find(&a.method, "Admin/Audit"))
		abort(); /* it is in the table */
	if (loop_init() < 0) {
		(void)fprintf(stderr, "rbd-csictl: cannot make the loop\n");
		return CTL_USAGE;
	}
	status = run_audit(&a);
	loop_fini();
	return status;
}
