/*
 * bench_cmd.c - the command line of `rbd-csictl bench`.
 */
#include "base/json.h"
#include "base/str.h"
#include "core/loop.h"
#include "core/op.h"
#include "core/signal.h"
#include "ctl/bench.h"
#include "ctl/ctl.h"
#include "rpc/client.h"

#include <getopt.h>
#include <signal.h>

#define FILE_MAX_BYTES 65536
#define TIMEOUT_MS (5 * 60 * 1000)

static const struct option long_options[] = {
	{ "count", required_argument, NULL, 'n' },
	{ "callers", required_argument, NULL, 'c' },
	{ "prefix", required_argument, NULL, 'p' },
	{ "dir", required_argument, NULL, 'd' },
	{ "fstype", required_argument, NULL, 'f' },
	{ "node", required_argument, NULL, 'i' },
	{ "size", required_argument, NULL, 's' },
	{ "parameters", required_argument, NULL, 'P' },
	{ "connect-per-call", no_argument, NULL, 'C' },
	{ "json", no_argument, NULL, 'j' },
	{ NULL, 0, NULL, 0 },
};

static enum ctl_status
bench_usage(void)
{
	(void)fprintf(stderr,
	    "usage: rbd-csictl [OPTION]... bench KIND [BENCH OPTION]...\n"
	    "\n"
	    "  calls        NodeGetCapabilities\n"
	    "  connections  a call on each, then holds them open until a line\n"
	    "               comes on standard input\n"
	    "  volumes      CreateVolume, the same again, DeleteVolume\n"
	    "  attach       stage and publish, there and back, twice\n"
	    "  hold         attach and leave attached\n"
	    "  release      detach and delete what `hold` left\n"
	    "\n"
	    "  --count N            volumes, calls or connections (16)\n"
	    "  --callers N          how many at once (1)\n"
	    "  --prefix TEXT        of the volumes' names (bench): TEXT-0 and\n"
	    "                       so on are made, and deleted in the end\n"
	    "  --dir DIR            for staging and target paths; `volumes`\n"
	    "                       does without\n"
	    "  --fstype TYPE        ext4 (the default), xfs, btrfs or block\n"
	    "  --node ID            node ID to publish to (bench)\n"
	    "  --size BYTES         of a volume (1 GiB)\n"
	    "  --parameters FILE    StorageClass parameters, a JSON object\n"
	    "  --connect-per-call   a connection a call, as kubelet does\n"
	    "  --json               one object a figure\n"
	    "\n"
	    "What fails is counted by its code and is in no rate; then, and\n"
	    "after Ctrl-C, what was made is taken away again. A second Ctrl-C\n"
	    "gives that up, and what is left is told.\n");
	return CTL_USAGE;
}

static bool
read_pairs(const char *path, json_t **pairs)
{
	struct err err = ERR_INIT;

	json_decref(*pairs);
	*pairs = json_read_file(path, FILE_MAX_BYTES, &err);
	if (*pairs == NULL)
		ctl_print_err(&err);
	return *pairs != NULL;
}

static bool
read_number(const char *text, uint64_t *number)
{
	if (str_to_u64(text, number) == 0 && *number > 0)
		return true;
	(void)fprintf(
	    stderr, "rbd-csictl: \"%s\" is no number above 0\n", text);
	return false;
}

static bool
parse(int argc, char **argv, struct bench_options *opt, bool *per_call)
{
	uint64_t count = opt->count, callers = opt->callers;
	bool good = true;
	int c;

	optind = 0; /* main() has used getopt before */
	while (good &&
	    (c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (c) {
		case 'n':
			good = read_number(optarg, &count);
			break;
		case 'c':
			good = read_number(optarg, &callers);
			break;
		case 'p':
			opt->prefix = optarg;
			break;
		case 'd':
			opt->dir = optarg;
			break;
		case 'f':
			opt->fstype = optarg;
			break;
		case 'i':
			opt->node_id = optarg;
			break;
		case 's':
			good = read_number(optarg, &opt->size_bytes);
			break;
		case 'P':
			good = read_pairs(optarg, &opt->parameters);
			break;
		case 'C':
			*per_call = true;
			break;
		case 'j':
			opt->json = true;
			break;
		default:
			good = false;
		}
	}
	opt->count = count;
	opt->callers = callers;
	opt->kind = optind < argc ? argv[optind] : NULL;
	return good && opt->kind != NULL && optind + 1 == argc;
}

struct bench_interrupts bench_interrupts;

static void
on_bench_interrupt(int signo)
{
	(void)signo;
	bench_interrupts.count++;
	if (bench_interrupts.told != NULL)
		bench_interrupts.told(bench_interrupts.arg);
}

enum ctl_status
ctl_bench(const struct ctl_options *options, int argc, char **argv)
{
	struct bench_options opt = {
		.count = 16,
		.callers = 1,
		.prefix = "bench",
		.fstype = "ext4",
		.node_id = "bench",
		.size_bytes = UINT64_C(1) << 30,
		.timeout_ms = options->timeout_ms >= 0 ? options->timeout_ms
						       : TIMEOUT_MS,
	};
	struct client *client;
	bool per_call = false;
	size_t failed;

	if (!parse(argc, argv, &opt, &per_call))
		return bench_usage();
	if (options->secrets != NULL &&
	    !read_pairs(options->secrets, &opt.secrets))
		return CTL_USAGE;
	if (loop_init() < 0)
		return CTL_FAILED;
	signal_watch(SIGINT, on_bench_interrupt);
	signal_watch(SIGTERM, on_bench_interrupt);
	if (str_eq(opt.kind, "connections")) {
		failed = bench_connections(&opt, options->endpoint);
	} else {
		client = client_new(options->endpoint);
		if (per_call)
			client_connect_per_call(client);
		failed = str_eq(opt.kind, "calls")
		    ? bench_calls(&opt, client)
		    : bench_volumes(&opt, client);
		client_free(client);
	}
	signal_fini();
	loop_fini();
	json_decref(opt.parameters);
	json_decref(opt.secrets);
	if (failed == SIZE_MAX)
		return bench_usage();
	return failed == 0 && bench_interrupts.count == 0 ? CTL_OK : CTL_FAILED;
}
