/*
 * options_check.c - what the table's types and ranges cannot tell.
 */
#include "daemon/options_table.h"

#include "obs/http.h"

#include <ctype.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <strings.h>

/* A name as Kubernetes takes it for a driver. */
static bool
drivername_is_good(const char *name)
{
	size_t len = strlen(name);
	bool edge = true; /* at the start of a label */

	if (len == 0 || len > 63)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool last = i + 1 == len || name[i + 1] == '.';

		if (name[i] == '.') {
			if (edge)
				return false;
			edge = true;
			continue;
		}
		if (!isalnum((unsigned char)name[i]) &&
		    (name[i] != '-' || edge || last))
			return false;
		edge = false;
	}
	return !edge;
}

static int
check_type(struct options *o, struct err *err)
{
	static const char *const served[] = {
		[OPTIONS_RBD] = "rbd",
		[OPTIONS_LIVENESS] = "liveness",
		[OPTIONS_CONTROLLER] = "controller",
	};
	static const char *const others[] = { "cephfs", "nfs", "nvmeof" };

	if (*o->type_text == '\0')
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "--type must be given: rbd");
	for (size_t i = 0; i < countof(served); i++)
		if (str_eq(o->type_text, served[i])) {
			o->type = (enum options_type)i;
			return 0;
		}
	for (size_t i = 0; i < countof(others); i++)
		if (str_eq(o->type_text, others[i]))
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "--type=%s is one of ceph-csi's that rbd-csid does "
			    "not serve; it serves rbd, liveness and controller",
			    o->type_text);
	return err_set(err, ERR_INVALID_ARGUMENT,
	    "--type=%s is unknown; rbd-csid serves rbd, liveness and "
	    "controller",
	    o->type_text);
}

/* "unix:///a/b.sock" in any case; one slash in front of the path or more. */
static int
check_endpoint(struct options *o, struct err *err)
{
	const char *path;

	if (strncasecmp(o->endpoint, "unix://", 7) != 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--endpoint=%s: must be unix:// and a path", o->endpoint);
	path = o->endpoint + 7;
	while (path[0] == '/' && path[1] == '/')
		path++;
	if (*path == '\0' || str_eq(path, "/"))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--endpoint=%s: has no path", o->endpoint);
	if (str_put(o->socket_path, sizeof(o->socket_path), "%s%s",
		*path == '/' ? "" : "/", path) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--endpoint=%s: the path is longer than the %zu bytes of "
		    "a socket's name",
		    o->endpoint, sizeof(o->socket_path) - 1);
	return 0;
}

static int
check_metrics_address(const struct options *o, struct err *err)
{
	const char *address = o->metrics_address;
	int rc = *address != '\0' ? http_address_check(address, err) : 0;

	if (rc < 0)
		err_prefix(err, "--metrics-address");
	return rc;
}

static int
check_one_of(const char *name, const char *value, const char *const list[],
    struct err *err)
{
	char all[80] = "";

	for (size_t i = 0; list[i] != NULL; i++) {
		size_t len = strlen(all);

		if (str_eq(value, list[i]))
			return 0;
		if (str_put(all + len, sizeof(all) - len, "%s%s",
			i > 0 ? ", " : "", list[i]) < 0)
			break;
	}
	return err_set(err, ERR_INVALID_ARGUMENT, "--%s=%s: must be one of %s",
	    name, value, all);
}

static int
check_socket_mode(struct options *o, struct err *err)
{
	const char *s = o->socket_mode_text;
	unsigned mode = 0;

	for (; *s >= '0' && *s <= '7' && mode <= 0777; s++)
		mode = mode * 8 + (unsigned)(*s - '0');
	if (*s != '\0' || s == o->socket_mode_text || mode > 0777)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--socket-mode=%s: must be octal, 0600 for example",
		    o->socket_mode_text);
	o->socket_file.mode = mode;
	return 0;
}

/* A uid or gid as a number. */
static bool
parse_id(const char *text, unsigned *id)
{
	uint64_t n;

	if (str_to_u64(text, &n) < 0 || n >= UNIX_SOCKET_KEEP)
		return false;
	*id = (unsigned)n;
	return true;
}

/* Names are looked up once, here; numbers need no entry. */
static int
check_socket_owner(struct options *o, struct err *err)
{
	const char *owner = o->socket_owner_text, *group = o->socket_group_text;
	const struct passwd *pw;
	const struct group *gr;

	o->socket_file.owner = o->socket_file.group = UNIX_SOCKET_KEEP;
	if (*owner != '\0' && !parse_id(owner, &o->socket_file.owner)) {
		pw = getpwnam(owner);
		if (pw == NULL)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "--socket-owner=%s: there is no user of that name, "
			    "and it is no uid",
			    owner);
		o->socket_file.owner = pw->pw_uid;
	}
	if (*group != '\0' && !parse_id(group, &o->socket_file.group)) {
		gr = getgrnam(group);
		if (gr == NULL)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "--socket-group=%s: there is no group of that "
			    "name, and it is no gid",
			    group);
		o->socket_file.group = gr->gr_gid;
	}
	return 0;
}

/* "Name=bool,Name=bool": the one gate that ceph-csi knows is accepted. */
static int
check_feature_gates(const struct options *o, struct err *err)
{
	auto_free char *copy = str_dup(o->feature_gates);
	char *save = NULL, *gate;

	for (gate = strtok_r(copy, ",", &save); gate != NULL;
	     gate = strtok_r(NULL, ",", &save)) {
		char *equals = strchr(gate, '=');
		bool value;

		if (equals == NULL || option_parse_bool(equals + 1, &value) < 0)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "--feature-gates: \"%s\" is not NAME=BOOL", gate);
		*equals = '\0';
		if (!str_eq(gate, "SlowGRPCRestart"))
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "--feature-gates: unknown gate \"%s\"", gate);
	}
	return 0;
}

static int
check_pairs(const struct options *o, struct err *err)
{
	if (o->clone_depth_soft > o->clone_depth_hard)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--rbdsoftmaxclonedepth is above --rbdhardmaxclonedepth");
	if (o->snapshots_min > o->snapshots_max)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--minsnapshotsonimage is above --maxsnapshotsonimage");
	if (o->grpc_buffered_bytes < o->grpc_request_bytes)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--grpc-max-buffered-bytes is below "
		    "--grpc-max-request-bytes");
	return 0;
}

static int
check_not_empty(const char *name, const char *value, struct err *err)
{
	if (*value != '\0')
		return 0;
	return err_set(
	    err, ERR_INVALID_ARGUMENT, "--%s must not be empty", name);
}

static int
check_absolute(const char *name, const char *value, struct err *err)
{
	if (*value == '/')
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
	    "--%s=%s: must be an absolute path", name, value);
}

/* What a driver needs, and its helpers do without. */
static int
check_driver(struct options *o, struct err *err)
{
	static const char *const fallbacks[] = { "none", "krbd", "userspace",
		NULL };
	int rc;

	if ((rc = check_not_empty("nodeid", o->nodeid, err)) < 0 ||
	    (rc = check_not_empty("instanceid", o->instanceid, err)) < 0 ||
	    (rc = check_not_empty("config", o->config, err)) < 0 ||
	    (rc = check_absolute("statedir", o->statedir, err)) < 0 ||
	    (rc = check_socket_mode(o, err)) < 0 ||
	    (rc = check_socket_owner(o, err)) < 0 ||
	    (rc = check_metrics_address(o, err)) < 0 ||
	    (rc = check_one_of(
		 "mounter-fallback", o->mounter_fallback, fallbacks, err)) < 0)
		return rc;
	if (!o->controllerserver && !o->nodeserver)
		o->controllerserver = o->nodeserver = true;
	return 0;
}

int
options_check(struct options *o, struct err *err)
{
	static const char *const formats[] = { "text", "json", NULL };
	static const char *const levels[] = { "error", "warn", "info", "debug",
		NULL };
	int rc;

	if ((rc = check_type(o, err)) < 0 ||
	    (rc = check_endpoint(o, err)) < 0 ||
	    (rc = check_one_of("log-format", o->log_format, formats, err)) <
		0 ||
	    (rc = check_one_of("log-level", o->log_level, levels, err)) < 0 ||
	    (rc = check_feature_gates(o, err)) < 0 ||
	    (rc = check_pairs(o, err)) < 0)
		return rc;
	if (!drivername_is_good(o->drivername))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--drivername=%s: must be a DNS name of at most 63 "
		    "characters",
		    o->drivername);
	if (o->type == OPTIONS_LIVENESS)
		return check_absolute("metricspath", o->metrics_path, err);
	return o->type == OPTIONS_RBD ? check_driver(o, err) : 0;
}
