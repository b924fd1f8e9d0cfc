/*
 * The command line: what is accepted, what it means, what is refused and how.
 */
#include "daemon/options.h"

#include "tests/tap.h"

#include <errno.h>
#include <stdlib.h>

#define ARGS_MAX 12

static struct options opt;

/* Parses "a b c" after the program's name and, if good, checks. */
static int
parse(const char *line, struct err *err)
{
	static char copy[512];
	static char program[] = "rbd-csid";
	char *argv[ARGS_MAX + 1] = { program }, *save = NULL, *word;
	int argc = 1, rc;

	*err = (struct err)ERR_INIT;
	(void)snprintf(copy, sizeof(copy), "%s", line);
	for (word = strtok_r(copy, " ", &save); word != NULL && argc < ARGS_MAX;
	     word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	rc = options_parse(&opt, argc, argv, err);
	return rc < 0 ? rc : options_check(&opt, err);
}

static void
test_accepted(void)
{
	static const char *const good[] = {
		"--type=rbd --nodeid=n",
		"-type=rbd -nodeid=n",
		"--type rbd --nodeid n",
		"--type=rbd --nodeid=n --nodeserver",
		"--type=rbd --nodeid=n --nodeserver=true --v=5",
		"--type=rbd --nodeid=n --controllerserver=t --pidlimit=-1",
		"--type=rbd --nodeid=n --rbdhardmaxclonedepth=8 "
		"--rbdsoftmaxclonedepth=4",
		"--type=rbd --nodeid=n --feature-gates=SlowGRPCRestart=false",
		"--type=rbd --nodeid=n --feature-gates=",
		"--type=rbd --nodeid=n --polltime=60s --timeout=3s",
		"--type=rbd --nodeid=n --endpoint=UNIX://tmp/a.sock",
		"--type=liveness --endpoint=unix:///csi/csi.sock "
		"--metricsport=8680 --metricspath=/metrics --polltime=60s "
		"--timeout=3s",
		"--type=controller --v=5 --drivername=rbd.csi.ceph.com "
		"--drivernamespace=default --setmetadata=true",
		"--type=rbd --nodeid=n --drivername=Rbd.csi.Ceph.com",
		"--type=rbd --nodeid=n --logtostderr --vmodule=a=1",
		"--type=rbd --nodeid=n --setmetadata=true --automaxprocs",
		"--type=rbd --nodeid=n --grpc-max-request-bytes=64KiB",
		"--type=rbd --nodeid=n --grpc-max-request-bytes=4194304",
		"--type=rbd --nodeid=n --socket-owner=root "
		"--socket-group=4294967294",
	};

	for (size_t i = 0; i < countof(good); i++) {
		struct err err;

		if (!ok(parse(good[i], &err) == 0, "accepted: %s", good[i]))
			diag("%s", err.text);
	}
}

static void
test_refused(void)
{
	static const struct {
		const char *line, *text;
	} bad[] = {
		{ "--nodeid=n", "--type must be given: rbd" },
		{ "--type=cephfs",
		    "--type=cephfs is one of ceph-csi's that rbd-csid does not "
		    "serve; it serves rbd, liveness and controller" },
		{ "--type=x",
		    "--type=x is unknown; rbd-csid serves rbd, liveness and "
		    "controller" },
		{ "--type=liveness --metricspath=metrics",
		    "--metricspath=metrics: must be an absolute path" },
		{ "--type=liveness --metricsport=65536",
		    "--metricsport=65536: must be from 0 to 65535" },
		{ "--type=liveness --timeout=0",
		    "--timeout=0: must be from 1ms to 3600000ms" },
		{ "--type=rbd", "--nodeid must not be empty" },
		{ "--type=rbd --nodeid=n --frob",
		    "unknown option \"--frob\" "
		    "(--help lists them)" },
		{ "--type=rbd --nodeid=n stray",
		    "unexpected argument "
		    "\"stray\": options start with a dash" },
		{ "--type=rbd --nodeid=n -",
		    "unexpected argument \"-\": "
		    "options start with a dash" },
		{ "--type=rbd --nodeid", "option \"--nodeid\" needs a value" },
		{ "--type=rbd --nodeid=n --nodeserver=yes",
		    "--nodeserver=yes: must be true or false" },
		{ "--type=rbd --nodeid=n --worker-lanes=0",
		    "--worker-lanes=0: must be from 1 to 64" },
		{ "--type=rbd --nodeid=n --worker-lanes=four",
		    "--worker-lanes=four: must be a whole number" },
		{ "--type=rbd --nodeid=n --v=high",
		    "--v=high: must be a whole number" },
		{ "--type=rbd --nodeid=n --session-idle=10",
		    "--session-idle=10: must be a duration such as 90s, 1m30s "
		    "or 500ms" },
		{ "--type=rbd --nodeid=n --session-idle=10ms",
		    "--session-idle=10ms: must be from 1000ms to 86400000ms" },
		{ "--type=rbd --nodeid=n --endpoint=tcp://1.2.3.4:5",
		    "--endpoint=tcp://1.2.3.4:5: must be unix:// and a path" },
		{ "--type=rbd --nodeid=n --endpoint=unix:///",
		    "--endpoint=unix:///: has no path" },
		{ "--type=rbd --nodeid=n --drivername=-x",
		    "--drivername=-x: must be a DNS name of at most 63 "
		    "characters" },
		{ "--type=rbd --nodeid=n --drivername=a..b",
		    "--drivername=a..b: must be a DNS name of at most 63 "
		    "characters" },
		{ "--type=rbd --nodeid=n --instanceid=",
		    "--instanceid must not be empty" },
		{ "--type=rbd --nodeid=n --socket-mode=9",
		    "--socket-mode=9: must be octal, 0600 for example" },
		{ "--type=rbd --nodeid=n --socket-owner=no-such-user",
		    "--socket-owner=no-such-user: there is no user of that "
		    "name, and it is no uid" },
		{ "--type=rbd --nodeid=n --socket-group=no-such-group",
		    "--socket-group=no-such-group: there is no group of that "
		    "name, and it is no gid" },
		{ "--type=rbd --nodeid=n --socket-owner=4294967295",
		    "--socket-owner=4294967295: there is no user of that name, "
		    "and it is no uid" },
		{ "--type=rbd --nodeid=n --max-requests=0",
		    "--max-requests=0: must be from 1 to 1000000" },
		{ "--type=rbd --nodeid=n --grpc-max-connections=60001",
		    "--grpc-max-connections=60001: must be from 1 to 60000" },
		{ "--type=rbd --nodeid=n --grpc-max-streams=0",
		    "--grpc-max-streams=0: must be from 1 to 65536" },
		{ "--type=rbd --nodeid=n --grpc-max-calls=-1",
		    "--grpc-max-calls=-1: must be from 1 to 1000000" },
		{ "--type=rbd --nodeid=n --grpc-max-header-bytes=1023",
		    "--grpc-max-header-bytes=1023: must be from 1024 to "
		    "1048576 bytes" },
		{ "--type=rbd --nodeid=n --grpc-max-request-bytes=5MiB",
		    "--grpc-max-request-bytes=5MiB: must be from 1024 to "
		    "4194304 bytes" },
		{ "--type=rbd --nodeid=n --grpc-max-reply-bytes=4MB",
		    "--grpc-max-reply-bytes=4MB: must be a number of bytes "
		    "such as 65536, 64KiB or 4MiB" },
		{ "--type=rbd --nodeid=n --grpc-max-buffered-bytes=1MiB",
		    "--grpc-max-buffered-bytes is below "
		    "--grpc-max-request-bytes" },
		{ "--type=rbd --nodeid=n --log-format=xml",
		    "--log-format=xml: must be one of text, json" },
		{ "--type=rbd --nodeid=n --mounter-fallback=nbd",
		    "--mounter-fallback=nbd: must be one of none, krbd, "
		    "userspace" },
		{ "--type=rbd --nodeid=n --statedir=run",
		    "--statedir=run: must be an absolute path" },
		{ "--type=rbd --nodeid=n --rbdhardmaxclonedepth=15",
		    "--rbdhardmaxclonedepth=15: must be from 1 to 14" },
		{ "--type=rbd --nodeid=n --rbdsoftmaxclonedepth=9",
		    "--rbdsoftmaxclonedepth is above --rbdhardmaxclonedepth" },
		{ "--type=rbd --nodeid=n --minsnapshotsonimage=451",
		    "--minsnapshotsonimage is above --maxsnapshotsonimage" },
		{ "--type=rbd --nodeid=n --feature-gates=Frob=true",
		    "--feature-gates: unknown gate \"Frob\"" },
		{ "--type=rbd --nodeid=n --feature-gates=SlowGRPCRestart",
		    "--feature-gates: \"SlowGRPCRestart\" is not NAME=BOOL" },
	};

	for (size_t i = 0; i < countof(bad); i++) {
		struct err err;

		ok(parse(bad[i].line, &err) == -EINVAL, "refused: %s",
		    bad[i].line);
		is_str(err.text, bad[i].text, "and the text says why");
	}
}

static void
test_meaning(void)
{
	struct err err;
	static const char *const manifest[] = { "rbd-csid", "--nodeid=worker-1",
		"--pluginpath=/var/lib/kubelet/plugins", "--type=rbd",
		"--nodeserver=true", "--v=5", "--endpoint=unix:///csi/csi.sock",
		"--csi-addons-endpoint=unix:///csi/csi-addons.sock",
		"--drivername=rbd.csi.ceph.com", "--enableprofiling=false",
		NULL };

	ok(options_parse(&opt, countof(manifest) - 1, (char *const *)manifest,
	       &err) == 0 &&
		options_check(&opt, &err) == 0,
	    "the arguments of ceph-csi's DaemonSet are accepted");
	is_str(opt.nodeid, "worker-1", "the node's name is read");
	is_str(opt.socket_path, "/csi/csi.sock", "the socket's path is read");
	is_str(opt.config, "/etc/ceph-csi-config/config.json",
	    "config.json is where ceph-csi has it");
	ok(opt.nodeserver && !opt.controllerserver,
	    "--nodeserver alone serves the Node service only");
	is_int(opt.socket_file.mode, 0600, "the socket is root's by default");
	ok(opt.socket_file.owner == UNIX_SOCKET_KEEP &&
		opt.socket_file.group == UNIX_SOCKET_KEEP,
	    "and of the owner and group that made it");
	is_int(opt.session_idle_ms, 600000, "durations are milliseconds");

	(void)parse("--type=rbd --nodeid=n", &err);
	ok(opt.nodeserver && opt.controllerserver,
	    "with neither flag both services are served");
	is_str(opt.socket_path, "/tmp/csi.sock", "the default endpoint");

	(void)setenv("CSI_ENDPOINT", "unix:///run/env.sock", 1);
	(void)parse("--type=rbd --nodeid=n", &err);
	is_str(opt.socket_path, "/run/env.sock",
	    "CSI_ENDPOINT counts when --endpoint is not given");
	(void)parse("--type=rbd --nodeid=n --endpoint=unix:///a.sock", &err);
	is_str(opt.socket_path, "/a.sock", "--endpoint wins over it");
	(void)unsetenv("CSI_ENDPOINT");

	(void)parse("--type=rbd --nodeid=n --socket-mode=660 "
		    "--socket-owner=12345 --socket-group=root",
	    &err);
	ok(opt.socket_file.mode == 0660 && opt.socket_file.owner == 12345 &&
		opt.socket_file.group == 0,
	    "owner and group of the socket are numbers or names");
	(void)parse("--type=rbd --nodeid=n --grpc-max-request-bytes=1MiB "
		    "--grpc-max-streams=7",
	    &err);
	ok(opt.grpc.request_bytes == 1 << 20 && opt.grpc.streams == 7 &&
		opt.grpc.calls == 4096 && opt.grpc.reply_bytes == 16 << 20,
	    "limits are numbers, bytes with a unit, or their defaults");

	(void)parse("--type=rbd --nodeid=a --nodeid=b", &err);
	is_str(opt.nodeid, "b", "of an option given twice the last one counts");
}

static char long_path[160];

static void
test_limits(void)
{
	struct err err;

	(void)snprintf(long_path, sizeof(long_path),
	    "--type=rbd --nodeid=n --endpoint=unix:///%0107d", 0);
	ok(parse(long_path, &err) < 0,
	    "a socket path that does not fit is refused");
	(void)snprintf(long_path, sizeof(long_path),
	    "--type=rbd --nodeid=n --endpoint=unix:///%0106d", 0);
	ok(parse(long_path, &err) == 0, "the longest one that fits is taken");
	(void)snprintf(long_path, sizeof(long_path),
	    "--type=rbd --nodeid=n --drivername=%063d", 0);
	ok(parse(long_path, &err) == 0, "a driver name of 63 bytes is taken");
	(void)snprintf(long_path, sizeof(long_path),
	    "--type=rbd --nodeid=n --drivername=%064d", 0);
	ok(parse(long_path, &err) < 0, "one of 64 is refused");
}

static char ignored[256];

static void
note_ignored(const char *name, const char *help)
{
	(void)help;
	(void)strncat(ignored, name, sizeof(ignored) - strlen(ignored) - 1);
	(void)strncat(ignored, " ", sizeof(ignored) - strlen(ignored) - 1);
}

static void
test_ignored(void)
{
	static const char *const argv[] = { "rbd-csid", "--type", "rbd",
		"--nodeid=n", "--v=5", "--setmetadata=false",
		"--automaxprocs=false", "--pidlimit=5", NULL };

	options_each_ignored(
	    countof(argv) - 1, (char *const *)argv, note_ignored);
	is_str(ignored, "setmetadata pidlimit ",
	    "options without effect are told, unless they are at their default "
	    "or klog's");
}

/* `make check` sets srcdir; by hand it is the directory one is in. */
static void
test_document(void)
{
	const char *srcdir = getenv("srcdir");
	auto_free char *path = str_fmt(
	    "%s/docs/OPTIONS.md", srcdir != NULL ? srcdir : ".");
	char *table = NULL, *text = NULL;
	size_t table_len = 0, text_len = 0, n;
	FILE *out = open_memstream(&table, &table_len);
	FILE *copy = open_memstream(&text, &text_len);
	FILE *in = fopen(path, "r");
	char part[4096];

	options_print_markdown(out);
	(void)fclose(out);
	while (in != NULL && (n = fread(part, 1, sizeof(part), in)) > 0)
		(void)fwrite(part, 1, n, copy);
	(void)fclose(copy);
	ok(in != NULL && strstr(text, table) != NULL,
	    "docs/OPTIONS.md holds the tables of rbd-csid --help-markdown");
	if (in != NULL)
		(void)fclose(in);
	free(table);
	free(text);
}

int
main(void)
{
	(void)unsetenv("CSI_ENDPOINT");
	test_accepted();
	test_refused();
	test_meaning();
	test_limits();
	test_ignored();
	ok(options_is_known("endpoint") && !options_is_known("end"),
	    "options are known by their whole name");
	test_document();
	return tap_end();
}
