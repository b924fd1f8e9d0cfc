/*
 * main.c - rbd-csictl, the client: options, then one subcommand.
 */
#include "ctl/ctl.h"

#include "base/str.h"
#include "config.h"

#include <getopt.h>
#include <string.h>

#define DEFAULT_ENDPOINT "unix:///tmp/csi.sock"

static const struct ctl_command commands[] = {
	{ "call", "SERVICE/METHOD [JSON|@FILE|-]",
	    "call any RPC of CSI or of gRPC's health service, with JSON in\n"
	    "      and out; Ctrl-C cancels it",
	    ctl_call },
	{ "audit", "--cluster ID --pool POOL [--repair] [-o json]",
	    "compare a pool's journal with its images; audit --help",
	    ctl_admin },
	{ "ops", "[-o json]", "list what the driver does now", ctl_admin },
	{ "sessions", "[-o json]", "list the sessions with Ceph clusters",
	    ctl_admin },
	{ "trace", "[SUBJECT] [-o json]",
	    "show requests that have ended, state by state", ctl_admin },
	{ "log-level", "LEVEL", "set how much is logged from now on",
	    ctl_admin },
	{ "abort", "VOLUME_ID [-o json]",
	    "end a stuck volume's I/O on this node; abort --help", ctl_admin },
	{ "bench", "KIND [BENCH OPTION]...",
	    "time many RPCs at once; without KIND: its options", ctl_bench },
};

void
ctl_print_err(const struct err *err)
{
	(void)fprintf(stderr, "%s: %s\n", err_code_name(err->code), err->text);
}

static void
usage(FILE *out)
{
	(void)fprintf(out,
	    "usage: rbd-csictl [OPTION]... COMMAND [ARGUMENT]...\n"
	    "\n"
	    "commands:\n");
	for (size_t i = 0; i < countof(commands); i++)
		(void)fprintf(out, "  %s %s\n      %s\n", commands[i].name,
		    commands[i].arguments, commands[i].what);
	(void)fprintf(out,
	    "\n"
	    "options:\n"
	    "  --endpoint URL   the driver's socket ($CSI_ENDPOINT, else\n"
	    "                   " DEFAULT_ENDPOINT ")\n"
	    "  --timeout S      seconds until the call is given up, 0: never\n"
	    "                   (120, a stream: never)\n"
	    "  --secrets FILE   a JSON object of strings, put into the\n"
	    "                   request's secrets where they are not given\n"
	    "  --header N:V     metadata sent with the call, may be given many\n"
	    "                   times; in base64 if the name ends in -bin\n"
	    "  --help           this text\n"
	    "  --version        the version\n"
	    "\n"
	    "exit status: 0 done, 1 the driver answered with an error,\n"
	    "2 wrong arguments or input, 3 nobody listens at the endpoint\n");
}

static const struct option long_options[] = {
	{ "endpoint", required_argument, NULL, 'e' },
	{ "timeout", required_argument, NULL, 't' },
	{ "secrets", required_argument, NULL, 's' },
	{ "header", required_argument, NULL, 'H' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

int
main(int argc, char **argv)
{
	struct ctl_options options = {
		.endpoint = getenv("CSI_ENDPOINT"),
		.timeout_ms = -1,
	};
	uint64_t seconds;
	int c;

	if (str_is_empty(options.endpoint))
		options.endpoint = DEFAULT_ENDPOINT;
	/* "+": what follows the command is the command's. */
	while ((c = getopt_long(argc, argv, "+", long_options, NULL)) != -1) {
		switch (c) {
		case 'e':
			options.endpoint = optarg;
			break;
		case 't':
			if (str_to_u64(optarg, &seconds) < 0 ||
			    seconds > INT32_MAX) {
				(void)fprintf(stderr,
				    "rbd-csictl: --timeout needs a whole number of seconds\n");
				return CTL_USAGE;
			}
			options.timeout_ms = (int64_t)seconds * 1000;
			break;
		case 's':
			options.secrets = optarg;
			break;
		case 'H':
			if (options.header_count == CTL_HEADERS_MAX) {
				(void)fprintf(stderr,
				    "rbd-csictl: more than %d --header\n",
				    CTL_HEADERS_MAX);
				return CTL_USAGE;
			}
			options.headers[options.header_count++] = optarg;
			break;
		case 'h':
			usage(stdout);
			return CTL_OK;
		case 'V':
			(void)puts("rbd-csictl " PACKAGE_VERSION);
			return CTL_OK;
		default:
			return CTL_USAGE;
		}
	}
	argc -= optind;
	argv += optind;
	for (size_t i = 0; argc > 0 && i < countof(commands); i++)
		if (strcmp(argv[0], commands[i].name) == 0)
			return (int)commands[i].run(&options, argc, argv);
	if (argc == 0)
		usage(stderr);
	else
		(void)fprintf(stderr,
		    "rbd-csictl: there is no command \"%s\", see --help\n",
		    argv[0]);
	return CTL_USAGE;
}
