/*
 * admin.c - rbd-csid's Admin service for people: `rbd-csictl audit`, page after
 * page, and what needs one call, as tables or as JSON.
 */
#include "base/json.h"
#include "ctl/commands.h"
#include "ctl/ctl.h"

#include <string.h>
#include <time.h>

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

/* For a cell; the caller frees. */
static char *
admin_seconds(const json_t *object, const char *name)
{
	return str_fmt("%.1f s", admin_thousandths(object, name));
}

static char *
admin_number(const json_t *object, const char *name)
{
	return str_fmt("%lld",
	    (long long)json_integer_value(json_object_get(object, name)));
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
		ctl_print_json(findings);
	else
		(void)printf("%zu found, %zu repaired\n", all, all - left);
	return left;
}

enum ctl_status
ctl_audit(const struct ctl_args *args)
{
	auto_json json_t *findings = json_array();
	auto_free char *token = str_dup("");
	enum ctl_status status;

	do {
		auto_json json_t *reply = NULL;

		status = ctl_ask(args, "Admin/Audit",
		    json_pack("{s:s, s:s, s:b, s:s}", "clusterId",
			args->text[CTL_CLUSTER], "pool", args->text[CTL_POOL],
			"repair", args->given[CTL_REPAIR], "token", token),
		    &reply, NULL);
		if (status != CTL_OK)
			return status == CTL_FAILED ? CTL_USAGE : status;
		if (json_object_get(reply, "findings") != NULL)
			(void)json_array_extend(
			    findings, json_object_get(reply, "findings"));
		if (json_get_string(reply, "unseen") != NULL)
			(void)fprintf(stderr, "not looked at: %s\n",
			    json_get_string(reply, "unseen"));
		free(token);
		token = str_dup(json_get_string(reply, "nextToken"));
	} while (token != NULL);
	return print_findings(findings, args->json) == 0 ? CTL_OK : CTL_FAILED;
}

/* ---- what one call answers ----------------------------------------------- */

/*
 * The list that an answer has in `field`, for a table. NULL: it was printed
 * as JSON.
 */
static const json_t *
admin_list(const struct ctl_args *args, const json_t *reply, const char *field)
{
	const json_t *list = json_object_get(reply, field);

	if (args->json) {
		auto_json json_t *none = json_array();

		ctl_print_json(list != NULL ? list : none);
		return NULL;
	}
	return list;
}

static bool
print_ops(const json_t *reply, void *arg, struct err *err)
{
	static const char *const headings[] = { "ID", "AGE", "NAME", "STATE",
		"SUBJECT", NULL };
	const struct ctl_args *args = arg;
	const json_t *list = admin_list(args, reply, "operations");
	auto_json json_t *rows = json_array();
	size_t i;
	json_t *op;

	(void)err;
	json_array_foreach (list, i, op) {
		const char *worker = json_get_string(op, "workerState");
		auto_free char *age = admin_seconds(op, "ageMs");
		auto_free char *state_age = admin_seconds(op, "stateMs");

		(void)json_array_append_new(rows,
		    json_pack("[s, s, s, s++, s++]", admin_text(op, "id"), age,
			admin_text(op, "name"),
			worker != NULL ? worker : admin_text(op, "state"), " ",
			state_age, admin_text(op, "subject"),
			json_is_true(json_object_get(op, "detached"))
			    ? " (detached)"
			    : "",
			json_is_true(json_object_get(op, "failing"))
			    ? " (failing)"
			    : ""));
	}
	if (!args->json && args->given[CTL_WATCH] && isatty(STDOUT_FILENO))
		(void)fputs("\033[H\033[J", stdout);
	if (!args->json)
		ctl_print_table(headings, rows);
	return fflush(stdout) == 0;
}

enum ctl_status
ctl_ops(const struct ctl_args *args)
{
	bool watch = args->given[CTL_WATCH];
	struct err err = ERR_INIT;
	enum ctl_status status = ctl_ask_each(args, "Admin/ListOperations",
	    json_pack("{s:b}", "watch", watch), print_ops,
	    (void *)(uintptr_t)args, &err);

	if (watch && err.code == ERR_CANCELLED)
		return CTL_OK; /* Ctrl-C */
	if (err_is_set(&err))
		ctl_print_err(&err);
	return status;
}

/* Bytes for people. */
static char *
admin_bytes(const json_t *object, const char *name)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB",
		"PiB", "EiB" };
	double bytes = admin_thousandths(object, name) * 1000;
	size_t unit = 0;

	for (; bytes >= 1024; unit++)
		bytes /= 1024;
	return str_fmt(unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

static void
print_volumes(const json_t *list)
{
	static const char *const headings[] = { "VOLUME", "IMAGE", "DEVICE",
		"SIZE", "AGE", "READ", "WRITTEN", "MOUNTS", NULL };
	auto_json json_t *rows = json_array();
	size_t i, j;
	json_t *v, *text;

	json_array_foreach (list, i, v) {
		auto_free char *size = admin_bytes(v, "sizeBytes");
		auto_free char *age = admin_seconds(v, "ageMs");
		auto_free char *in = admin_bytes(v, "readBytes");
		auto_free char *out = admin_bytes(v, "writtenBytes");
		auto_free char *device = str_fmt("%s (%s)",
		    admin_text(v, "device"), admin_text(v, "mapper"));
		auto_free char *mounts = str_dup("");

		json_array_foreach (json_object_get(v, "layers"), j, text)
			ctl_text_add(
			    &device, " < ", "%s", json_string_value(text));
		json_array_foreach (json_object_get(v, "mounts"), j, text)
			ctl_text_add(
			    &mounts, " ", "%s", json_string_value(text));
		(void)json_array_append_new(rows,
		    json_pack("[s, s, s, s, s, s, s, s]",
			admin_text(v, "volumeId"), admin_text(v, "image"),
			device, size, age, in, out, mounts));
	}
	ctl_print_table(headings, rows);
	json_array_foreach (list, i, v)
		if (json_get_string(v, "problem") != NULL)
			(void)printf("%s: %s\n", admin_text(v, "volumeId"),
			    admin_text(v, "problem"));
}

enum ctl_status
ctl_volumes(const struct ctl_args *args)
{
	auto_json json_t *reply = NULL;
	enum ctl_status status = ctl_ask(
	    args, "Admin/ListNodeVolumes", json_object(), &reply, NULL);
	const json_t *list = status == CTL_OK
	    ? admin_list(args, reply, "volumes")
	    : NULL;

	if (status == CTL_OK && !args->json)
		print_volumes(list);
	return status;
}

enum ctl_status
ctl_sessions(const struct ctl_args *args)
{
	static const char *const headings[] = { "CLUSTER", "USER", "STATE",
		"FOR", "WORKER", "AGE", "LANES", "RUNNING", "WAITING", NULL };
	auto_json json_t *reply = NULL;
	auto_json json_t *rows = json_array();
	enum ctl_status status = ctl_ask(
	    args, "Admin/ListSessions", json_object(), &reply, NULL);
	const json_t *list = NULL;
	size_t i;
	json_t *s;

	if (status == CTL_OK)
		list = admin_list(args, reply, "sessions");
	json_array_foreach (list, i, s) {
		auto_free char *state_age = admin_seconds(s, "stateMs");
		auto_free char *age = admin_seconds(s, "workerAgeMs");
		auto_free char *pid = admin_number(s, "workerPid");
		auto_free char *lanes = admin_number(s, "lanes");
		auto_free char *running = admin_number(s, "running");
		auto_free char *waiting = admin_number(s, "waiting");

		(void)json_array_append_new(rows,
		    json_pack("[s, s, s, s, s, s, s, s, s]",
			admin_text(s, "clusterId"), admin_text(s, "user"),
			admin_text(s, "state"), state_age, pid, age, lanes,
			running, waiting));
	}
	if (status == CTL_OK && !args->json)
		ctl_print_table(headings, rows);
	return status;
}

enum ctl_status
ctl_trace(const struct ctl_args *args)
{
	auto_json json_t *reply = NULL;
	enum ctl_status status = ctl_ask(args, "Admin/Trace",
	    json_pack("{s:s}", "subject",
		args->operand[0] != NULL ? args->operand[0] : ""),
	    &reply, NULL);
	const json_t *list = NULL;
	size_t i, j;
	json_t *r, *state;

	if (status == CTL_OK)
		list = admin_list(args, reply, "requests");
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

enum ctl_status
ctl_metrics(const struct ctl_args *args)
{
	auto_json json_t *reply = NULL;
	enum ctl_status status = ctl_ask(
	    args, "Admin/Metrics", json_object(), &reply, NULL);

	if (status == CTL_OK)
		(void)fputs(json_get_string(reply, "text"), stdout);
	return status;
}

enum ctl_status
ctl_log_level(const struct ctl_args *args)
{
	auto_json json_t *reply = NULL;
	enum ctl_status status = ctl_ask(args, "Admin/SetLogLevel",
	    json_pack("{s:s}", "level", args->operand[0]), &reply, NULL);

	if (status == CTL_OK && args->json)
		ctl_print_json(reply);
	else if (status == CTL_OK)
		(void)printf("it was %s\n", admin_text(reply, "previous"));
	return status;
}

enum ctl_status
ctl_abort(const struct ctl_args *args)
{
	auto_json json_t *reply = NULL;
	enum ctl_status status = ctl_ask(args, "Admin/Abort",
	    json_pack("{s:s}", "volumeId", args->operand[0]), &reply, NULL);

	if (status != CTL_OK)
		return status;
	if (args->json)
		ctl_print_json(reply);
	else if (json_is_true(json_object_get(reply, "released")))
		(void)printf("its I/O has ended, its device is given back\n");
	else
		(void)printf(
		    "its I/O has ended, its device is in use still: unstage the volume\n");
	return CTL_OK;
}
