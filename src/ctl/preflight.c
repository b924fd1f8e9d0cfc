/*
 * preflight.c - `rbd-csictl preflight`: is this machine ready, and are its
 * clusters? Nothing is changed without --try.
 *
 * The rule that holds it together: a check is one line, which is ok, or says
 * what to do. What only one of the mappers needs is a warning.
 */
#include "base/clock.h"
#include "base/json.h"
#include "ctl/commands.h"
#include "ctl/ctl.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#define CONFIG_MAX ((size_t)1 << 20)
#define MODULES_MAX ((size_t)4 << 20)
#define MOUNTS_MAX ((size_t)16 << 20)
#define CONNECT_MS 3000
#define FILES_WANTED 65536

struct preflight {
	const struct ctl_args *args;
	json_t *rows; /* of arrays: check, state, text */
	bool failed;
};

enum state { STATE_OK = 0, STATE_WARN, STATE_FAILED };

printf_like(4, 5) static void tell(struct preflight *p, const char *check,
    enum state state, const char *fmt, ...)
{
	static const char *const names[] = { "ok", "warning", "FAILED" };
	char text[512];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	p->failed |= state == STATE_FAILED;
	(void)json_array_append_new(
	    p->rows, json_pack("[s, s, s]", check, names[state], text));
}

/* ---- the machine ------------------------------------------------------------ */

/* Is the module there: loaded, built in, or to be loaded? */
static bool
has_module(const char *name, const char *release)
{
	static const char *const lists[] = { "dep", "builtin" };
	auto_free char *loaded = str_fmt("/sys/module/%s", name);
	auto_free char *file = str_fmt("/%s.ko", name);

	if (access(loaded, F_OK) == 0)
		return true;
	for (size_t i = 0; i < countof(lists); i++) {
		auto_free char *path = str_fmt(
		    "/lib/modules/%s/modules.%s", release, lists[i]);
		auto_free char *text = ctl_read_text(path, MODULES_MAX);

		if (text != NULL && strstr(text, file) != NULL)
			return true;
	}
	return false;
}

static void
check_kernel(struct preflight *p)
{
	struct utsname name;
	bool krbd, userspace;

	if (uname(&name) < 0)
		return;
	krbd = access("/sys/bus/rbd", F_OK) == 0 ||
	    has_module("rbd", name.release);
	userspace = access("/dev/fuse", R_OK | W_OK) == 0 &&
	    access("/dev/loop-control", R_OK | W_OK) == 0;
	if (krbd)
		tell(p, "mapper krbd", STATE_OK, "kernel %s has rbd",
		    name.release);
	else
		tell(p, "mapper krbd", userspace ? STATE_WARN : STATE_FAILED,
		    "kernel %s has no module rbd: install it, or use `mounter: userspace` or --mounter-fallback=userspace",
		    name.release);
	if (userspace)
		tell(p, "mapper userspace", STATE_OK,
		    "/dev/fuse and /dev/loop-control can be used");
	else
		tell(p, "mapper userspace", krbd ? STATE_WARN : STATE_FAILED,
		    "it needs /dev/fuse and /dev/loop-control: load the modules fuse and loop, and run as root");
	if (has_module("dm_crypt", name.release) ||
	    has_module("dm-crypt", name.release))
		tell(p, "encryption", STATE_OK, "the kernel has dm-crypt");
	else
		tell(p, "encryption", STATE_WARN,
		    "the kernel has no module dm-crypt, which encrypted volumes need");
}

static bool
is_in_path(const char *program)
{
	const char *path = getenv("PATH");
	auto_free char *copy = str_dup(path != NULL ? path : "");
	char *save = NULL;

	for (char *dir = strtok_r(copy, ":", &save); dir != NULL;
	     dir = strtok_r(NULL, ":", &save)) {
		auto_free char *file = str_fmt("%s/%s", dir, program);

		if (access(file, X_OK) == 0)
			return true;
	}
	return false;
}

static void
check_tools(struct preflight *p)
{
	static const struct {
		const char *program, *package;
	} tools[] = { { "mkfs.ext4", "e2fsprogs" }, { "mkfs.xfs", "xfsprogs" },
		{ "mkfs.btrfs", "btrfs-progs" } };

	for (size_t i = 0; i < countof(tools); i++) {
		if (is_in_path(tools[i].program))
			tell(p, tools[i].program, STATE_OK, "it is in PATH");
		else
			tell(p, tools[i].program, STATE_WARN,
			    "it is not in PATH: install %s for such volumes",
			    tools[i].package);
	}
}

static void
check_limits(struct preflight *p)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	tell(p, "descriptors",
	    files.rlim_max >= FILES_WANTED ? STATE_OK : STATE_WARN,
	    files.rlim_max >= FILES_WANTED
		? "the limit of this shell is %llu"
		: "the limit of this shell is %llu: give rbd-csid 65536 (LimitNOFILE=)",
	    (unsigned long long)files.rlim_max);
}

/* The line of the mount that `dir` lies on; NULL: there is none. */
static const char *
mount_of(char *mounts, const char *dir)
{
	const char *best = NULL;
	size_t best_len = 0;
	char *save = NULL;

	for (char *line = strtok_r(mounts, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		char point[4096];
		size_t len;

		if (sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1)
			continue;
		len = str_eq(point, "/") ? 0 : strlen(point);
		if (strncmp(dir, point, len) == 0 &&
		    (dir[len] == '/' || dir[len] == '\0') && len >= best_len) {
			best = line;
			best_len = len;
		}
	}
	return best;
}

static void
check_propagation(struct preflight *p)
{
	const char *dir = p->args->text[CTL_KUBELET], *line, *dash, *shared;
	auto_free char *mounts = ctl_read_text(
	    "/proc/self/mountinfo", MOUNTS_MAX);
	auto_free char *real = realpath(dir, NULL);

	if (real == NULL) {
		tell(p, "mount propagation", STATE_WARN,
		    "%s: %s; is kubelet's directory another one (--kubelet-dir)?",
		    dir, strerror(errno));
		return;
	}
	line = mounts != NULL ? mount_of(mounts, real) : NULL;
	dash = line != NULL ? strstr(line, " - ") : NULL;
	shared = line != NULL ? strstr(line, " shared:") : NULL;
	if (shared != NULL && dash != NULL && shared < dash)
		tell(p, "mount propagation", STATE_OK,
		    "what is mounted below %s is seen by all", real);
	else
		tell(p, "mount propagation", STATE_FAILED,
		    "the mount that %s lies on is not shared: `mount --make-rshared /`, and mountPropagation: Bidirectional for the pod",
		    real);
}

/* ---- the driver and its clusters -------------------------------------------- */

static bool
check_driver(struct preflight *p)
{
	auto_json json_t *reply = NULL;
	struct err err = ERR_INIT;

	if (ctl_ask(p->args, "Identity/GetPluginInfo", json_object(), &reply,
		&err) != CTL_OK) {
		tell(p, "driver", STATE_FAILED,
		    "%s at %s: start rbd-csid, or name its socket (--endpoint)",
		    err.text, p->args->text[CTL_ENDPOINT]);
		return false;
	}
	tell(p, "driver", STATE_OK, "%s %s serves %s",
	    json_get_string(reply, "name"),
	    json_get_string(reply, "vendorVersion"),
	    p->args->text[CTL_ENDPOINT]);
	return true;
}

/* Does somebody take a TCP connection there? 0 or an errno. */
static int
try_address(const struct addrinfo *address)
{
	auto_close int fd = socket(
	    address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct pollfd wait = { .fd = fd, .events = POLLOUT };
	int error = 0;
	socklen_t len = sizeof(error);

	if (fd < 0)
		return errno;
	if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	if (poll(&wait, 1, CONNECT_MS) <= 0)
		return ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? errno
								      : error;
}

/* "HOST", "HOST:PORT" or "[V6]:PORT", with "v1:" or "v2:" in front. */
static void
check_monitor(struct preflight *p, const char *check, const char *entry)
{
	const char *at = str_starts(entry, "v1:") || str_starts(entry, "v2:")
	    ? entry + 3
	    : entry;
	const char *port = str_starts(entry, "v2:") ? "3300" : "6789";
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	auto_free char *host = NULL;
	auto_free char *number = NULL;
	struct addrinfo *list = NULL;
	const char *colon;
	size_t len;
	int rc;

	if (*at == '[') {
		len = strcspn(++at, "]");
		colon = at[len] == ']' && at[len + 1] == ':' ? at + len + 1
							     : NULL;
	} else {
		len = strcspn(at, ":");
		colon = at[len] == ':' ? at + len : NULL;
	}
	host = str_fmt("%.*s", (int)len, at);
	if (colon != NULL)
		port = colon + 1;
	number = str_fmt("%.*s", (int)strcspn(port, "/"), port); /* "/NONCE" */
	rc = getaddrinfo(host, number, &hints, &list);
	if (rc != 0) {
		tell(p, check, STATE_FAILED, "monitor %s: %s", entry,
		    gai_strerror(rc));
		return;
	}
	rc = try_address(list);
	freeaddrinfo(list);
	if (rc == 0)
		tell(p, check, STATE_OK, "monitor %s takes connections", entry);
	else
		tell(p, check, STATE_FAILED,
		    "monitor %s: %s: is the address right, and does the network let us through?",
		    entry, strerror(rc));
}

/* "mon1,mon2", also with brackets around what is one monitor's. */
static void
check_monitors(struct preflight *p, const char *check, const char *list)
{
	auto_free char *copy = str_dup(list);
	char *save = NULL;

	for (char *entry = strtok_r(copy, ",; ", &save); entry != NULL;
	     entry = strtok_r(NULL, ",; ", &save)) {
		/* "[v2:a:3300,v1:a:6789]", but "[::1]:6789" stays. */
		size_t len = strlen(entry);

		if (str_starts(entry, "[v"))
			entry++, len--;
		if (len > 0 && entry[len - 1] == ']' &&
		    strchr(entry, '[') == NULL)
			entry[len - 1] = '\0';
		check_monitor(p, check, entry);
	}
}

static void
check_clusters(struct preflight *p)
{
	const char *path = p->args->text[CTL_CONFIG];
	struct err err = ERR_INIT;
	auto_json json_t *config = json_read_file(path, CONFIG_MAX, true, &err);
	size_t i, j;
	json_t *cluster, *monitor;

	if (!json_is_array(config)) {
		tell(p, "clusters", STATE_FAILED, "%s (--config)",
		    err_is_set(&err) ? err.text
				     : "config.json is no JSON list");
		return;
	}
	json_array_foreach (config, i, cluster) {
		const char *id = json_get_string(cluster, "clusterID");
		const json_t *monitors = json_object_get(cluster, "monitors");
		auto_free char *check = str_fmt(
		    "cluster %s", id != NULL ? id : "without clusterID");

		if (json_array_size(monitors) == 0)
			tell(p, check, STATE_FAILED, "it has no monitors in %s",
			    path);
		json_array_foreach (monitors, j, monitor)
			if (json_is_string(monitor))
				check_monitors(
				    p, check, json_string_value(monitor));
	}
}

/* Makes a volume and deletes it. */
static void
try_pool(struct preflight *p, const char *check)
{
	const struct ctl_args *args = p->args;
	auto_free char *name = str_fmt(
	    "preflight-%d-%lld", (int)getpid(), (long long)clock_wall_ms());
	auto_json json_t *made = NULL;
	auto_json json_t *deleted = NULL;
	struct err err = ERR_INIT;
	const char *id;

	if (ctl_ask(args, "Controller/CreateVolume",
		json_pack("{s:s, s:{s:s}, s:[{s:{}, s:{s:s}}], s:{s:s, s:s}}",
		    "name", name, "capacityRange", "requiredBytes", "1048576",
		    "volumeCapabilities", "block", "accessMode", "mode",
		    "SINGLE_NODE_WRITER", "parameters", "clusterID",
		    args->text[CTL_CLUSTER], "pool", args->text[CTL_POOL]),
		&made, &err) != CTL_OK) {
		tell(p, check, STATE_FAILED,
		    "create %s: %s: %s; the user needs the caps of docs/ACCESS.md",
		    name, err_code_name(err.code), err.text);
		return;
	}
	id = json_get_string(json_object_get(made, "volume"), "volumeId");
	if (ctl_ask(args, "Controller/DeleteVolume",
		json_pack("{s:s}", "volumeId", id), &deleted, &err) == CTL_OK)
		tell(p, check, STATE_OK,
		    "the user of --secrets can make and delete volumes");
	else
		tell(p, check, STATE_FAILED,
		    "delete %s: %s: %s; delete it when that is mended", id,
		    err_code_name(err.code), err.text);
}

/* The first page of an audit: the user gets in, and reads the pool. */
static void
check_pool(struct preflight *p)
{
	const struct ctl_args *args = p->args;
	const char *cluster = args->text[CTL_CLUSTER];
	const char *pool = args->text[CTL_POOL];
	auto_json json_t *reply = NULL;
	struct err err = ERR_INIT;
	auto_free char *check = NULL;

	if (cluster == NULL || pool == NULL)
		return;
	check = str_fmt("pool %s", pool);
	if (args->given[CTL_TRY]) {
		try_pool(p, check);
		return;
	}
	if (ctl_ask(args, "Admin/Audit",
		json_pack("{s:s, s:s}", "clusterId", cluster, "pool", pool),
		&reply, &err) == CTL_OK)
		tell(p, check, STATE_OK,
		    "the user of --secrets can list its volumes");
	else
		tell(p, check, STATE_FAILED, "%s: %s", err_code_name(err.code),
		    err.text);
}

json_t *
ctl_preflight_rows(const struct ctl_args *args, bool *failed)
{
	struct preflight p = { .args = args, .rows = json_array() };

	check_kernel(&p);
	check_tools(&p);
	check_limits(&p);
	check_propagation(&p);
	check_clusters(&p);
	if (check_driver(&p))
		check_pool(&p);
	*failed = p.failed;
	return p.rows;
}

enum ctl_status
ctl_preflight(const struct ctl_args *args)
{
	static const char *const headings[] = { "CHECK", "STATE", "WHAT",
		NULL };
	bool failed;
	auto_json json_t *rows = ctl_preflight_rows(args, &failed);
	auto_json json_t *list = json_array();
	size_t i;
	json_t *row;

	json_array_foreach (rows, i, row)
		(void)json_array_append_new(list,
		    json_pack("{s:O, s:O, s:O}", "check",
			json_array_get(row, 0), "state", json_array_get(row, 1),
			"text", json_array_get(row, 2)));
	if (args->json)
		ctl_print_json(list);
	else
		ctl_print_table(headings, rows);
	return failed ? CTL_FAILED : CTL_OK;
}
