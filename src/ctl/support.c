/*
 * support.c - `rbd-csictl support`: one archive of what helps to find a fault.
 *
 * The rule that holds it together: what cannot be had is told in its file, and
 * nothing ends the collecting; secrets are not read, and of config.json members
 * with such names are left out.
 */
#include "base/json.h"
#include "core/child.h"
#include "ctl/commands.h"
#include "ctl/ctl.h"

#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#define FILE_MAX ((size_t)64 << 20)
#define TOOL_MS 60000

struct support {
	const struct ctl_args *args;
	char *dir; /* what will be in the archive */
};

/* A file of the archive, open for writing; NULL: it has told why not. */
static FILE *
file_open(const struct support *s, const char *name)
{
	auto_free char *path = str_fmt("%s/%s", s->dir, name);
	FILE *file = fopen(path, "we");

	if (file == NULL)
		(void)fprintf(
		    stderr, "rbd-csictl: %s: %s\n", path, strerror(errno));
	return file;
}

static void
put_text(const struct support *s, const char *name, const char *text)
{
	FILE *file = file_open(s, name);

	if (file == NULL)
		return;
	(void)fputs(text, file);
	(void)fclose(file);
}

static void
put_json(const struct support *s, const char *name, const json_t *json)
{
	auto_free char *text = json_dumps(json, JSON_INDENT(2));

	put_text(s, name, text != NULL ? text : "");
}

static void
put_copy(const struct support *s, const char *name, const char *path)
{
	auto_free char *text = ctl_read_text(path, FILE_MAX);
	auto_free char *failed = text == NULL
	    ? str_fmt("cannot read %s: %s\n", path, strerror(errno))
	    : NULL;

	put_text(s, name, text != NULL ? text : failed);
}

/* What the driver answers to a call, or why it does not. */
static void
put_answer(const struct support *s, const char *name, const char *method)
{
	auto_json json_t *reply = NULL;
	struct err err = ERR_INIT;

	if (ctl_ask(s->args, method, json_object(), &reply, &err) != CTL_OK)
		reply = json_pack("{s:s, s:s}", "code", err_code_name(err.code),
		    "text", err.text);
	put_json(s, name, reply);
}

/* The same of the metrics, as text. */
static void
put_metrics(const struct support *s)
{
	auto_json json_t *reply = NULL;
	struct err err = ERR_INIT;

	put_text(s, "metrics.txt",
	    ctl_ask(s->args, "Admin/Metrics", json_object(), &reply, &err) ==
		    CTL_OK
		? json_get_string(reply, "text")
		: err.text);
}

/* What a program prints. `script` has the file's path as $1. */
static void
put_output(const struct support *s, const char *name, const char *script)
{
	auto_free char *path = str_fmt("%s/%s", s->dir, name);
	const char *const argv[] = { "sh", "-c", script, "sh", path, NULL };
	struct tool *tool = mem_new(sizeof(*tool));
	struct ctl_wait wait;

	tool_start(tool, argv, TOOL_MS, ctl_wait_for(&wait));
	(void)ctl_waited(&wait);
	free(tool);
}

/* ---- configuration ----------------------------------------------------------- */

static bool
is_secret(const char *name)
{
	static const char *const words[] = { "key", "secret", "pass", "token" };

	for (size_t i = 0; i < countof(words); i++)
		if (strcasestr(name, words[i]) != NULL)
			return true;
	return false;
}

static void
leave_secrets_out(json_t *json)
{
	const char *name;
	json_t *value;
	size_t i;

	json_object_foreach (json, name, value)
		if (is_secret(name))
			(void)json_object_set_new(
			    json, name, json_string("(left out)"));
		else
			leave_secrets_out(value);
	json_array_foreach (json, i, value)
		leave_secrets_out(value);
}

static void
put_config(const struct support *s)
{
	struct err err = ERR_INIT;
	auto_json json_t *config = json_read_file(
	    s->args->text[CTL_CONFIG], FILE_MAX, true, &err);

	if (config == NULL) {
		put_text(s, "config.json", err.text);
		return;
	}
	leave_secrets_out(config);
	put_json(s, "config.json", config);
}

/* ---- logs and the machine ------------------------------------------------------ */

static void
put_logs(const struct support *s)
{
	put_output(s, "journal.txt",
	    "journalctl --no-pager -n 50000 -u 'rbd-csi*' >\"$1\" 2>&1");
	for (size_t i = 0; i < s->args->log_count; i++) {
		const char *base = strrchr(s->args->logs[i], '/');
		auto_free char *name = str_fmt("log-%zu-%s", i,
		    base != NULL ? base + 1 : s->args->logs[i]);

		put_copy(s, name, s->args->logs[i]);
	}
}

/* How our processes are, also where they hang in the kernel. */
static void
put_processes(const struct support *s)
{
	put_output(s, "processes.txt",
	    "for comm in /proc/[0-9]*/comm; do\n"
	    "	case $(cat \"$comm\" 2>/dev/null) in\n"
	    "	rbd-csid | ceph-worker | rbd-attachd)\n"
	    "		dir=${comm%/comm}\n"
	    "		echo \"== $dir: $(tr '\\0' ' ' <\"$dir/cmdline\")\"\n"
	    "		cat \"$dir/status\" \"$dir/limits\" \"$dir/wchan\"\n"
	    "		echo; cat \"$dir/stack\"; ls -l \"$dir/fd\" ;;\n"
	    "	esac\n"
	    "done >\"$1\" 2>&1");
}

static void
put_machine(const struct support *s)
{
	put_copy(s, "mountinfo.txt", "/proc/self/mountinfo");
	put_copy(s, "modules.txt", "/proc/modules");
	put_copy(s, "meminfo.txt", "/proc/meminfo");
	put_copy(s, "os-release.txt", "/etc/os-release");
	/* One process, however many devices there are. */
	put_output(s, "devices.txt",
	    "exec >\"$1\" 2>&1\n"
	    "ls -l /sys/block\n"
	    "grep -sH . /sys/block/*/size /sys/block/*/stat \\\n"
	    "	/sys/block/loop*/loop/backing_file \\\n"
	    "	/sys/bus/rbd/devices/*/name /sys/bus/rbd/devices/*/pool\n");
	put_output(s, "kernel-log.txt", "dmesg | tail -n 5000 >\"$1\" 2>&1");
}

static void
put_versions(const struct support *s)
{
	FILE *file = file_open(s, "versions.txt");
	struct utsname name;

	if (file == NULL)
		return;
	(void)fputs("rbd-csictl " BUILT_VERSION "\n", file);
	if (uname(&name) == 0)
		(void)fprintf(file, "%s %s %s %s\n", name.sysname, name.release,
		    name.version, name.machine);
	(void)fclose(file);
	put_answer(s, "driver.json", "Identity/GetPluginInfo");
}

static void
collect(const struct support *s)
{
	bool failed;
	auto_json json_t *checks = ctl_preflight_rows(s->args, &failed);

	put_versions(s);
	put_json(s, "preflight.json", checks);
	put_answer(s, "operations.json", "Admin/ListOperations");
	put_answer(s, "volumes.json", "Admin/ListNodeVolumes");
	put_answer(s, "sessions.json", "Admin/ListSessions");
	put_answer(s, "trace.json", "Admin/Trace");
	put_config(s);
	put_metrics(s);
	put_logs(s);
	put_processes(s);
	put_machine(s);
}

/* The files of a directory without subdirectories, and the directory. */
static void
remove_all(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir != NULL)
		(void)closedir(dir);
	(void)rmdir(path);
}

enum ctl_status
ctl_support(const struct ctl_args *args)
{
	const char *base = strrchr(args->operand[0], '/');
	auto_free char *archive = str_fmt("%s.tar.gz", args->operand[0]);
	auto_free char *top = str_fmt("%s.XXXXXX", args->operand[0]);
	struct support s = { .args = args };
	struct tool *tool = mem_new(sizeof(*tool));
	struct ctl_wait wait;
	bool good = false;

	base = base != NULL ? base + 1 : args->operand[0];
	if (*base != '\0' && mkdtemp(top) != NULL) {
		const char *const argv[] = { "tar", "-C", top, "-czf", archive,
			"--", base, NULL };

		s.dir = str_fmt("%s/%s", top, base);
		if (mkdir(s.dir, 0700) == 0) {
			collect(&s);
			/* What is in there may be known to this user only. */
			(void)umask(0077);
			tool_start(tool, argv, TOOL_MS, ctl_wait_for(&wait));
			good = ctl_waited(&wait) == 0 && tool->status == 0;
			if (!good)
				(void)fprintf(stderr, "rbd-csictl: tar: %s%s\n",
				    tool->output, tool->err.text);
		}
		remove_all(s.dir);
		(void)rmdir(top);
	} else {
		(void)fprintf(stderr, "rbd-csictl: %s: %s\n", args->operand[0],
		    strerror(*base != '\0' ? errno : EISDIR));
	}
	if (good)
		(void)printf("%s\n", archive);
	free(s.dir);
	free(tool);
	return good ? CTL_OK : CTL_USAGE;
}
