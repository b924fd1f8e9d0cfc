/*
 * command.c - reading a command line by the tables of options and commands.
 */
#include "ctl/command.h"

#include "base/units.h"

#include <config.h>
#include <getopt.h>
#include <string.h>

#define VERSION_LINE "rbd-csictl " BUILT_VERSION

/* What getopt gives for a long option, above all letters. */
#define LONG_BASE 256

/* One line on standard error; the command may be NULL. */
printf_like(3, 4) static const
    struct ctl_command *wrong(const struct ctl_command *command,
	enum ctl_status *status, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)fputs("rbd-csictl: ", stderr);
	(void)vfprintf(stderr, fmt, args);
	(void)fprintf(stderr, " (see rbd-csictl %s%s--help)\n",
	    command != NULL ? command->name : "", command != NULL ? " " : "");
	va_end(args);
	*status = CTL_USAGE;
	return NULL;
}

/* Is `word` in the list "a b c"? */
static bool
is_choice(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; len > 0 && (at = strstr(at, word)) != NULL;
	     at++)
		if ((at == list || at[-1] == ' ') &&
		    (at[len] == ' ' || at[len] == '\0'))
			return true;
	return false;
}

/* Takes the value of an option. NULL, or what it has to be. */
static const char *
take(struct ctl_args *args, enum ctl_flag flag, const char *text)
{
	const struct ctl_flag_def *def = &ctl_flags[flag];
	int64_t *number = &args->number[flag];
	uint64_t n = 0;

	args->text[flag] = text;
	switch (def->kind) {
	case CTL_NONE:
		return NULL;
	case CTL_TEXT:
		return def->choices == NULL || is_choice(def->choices, text)
		    ? NULL
		    : def->choices;
	case CTL_NUMBER:
		if (str_to_u64(text, &n) < 0 || n == 0 || n > INT32_MAX)
			return "a whole number above 0";
		*number = (int64_t)n;
		return NULL;
	case CTL_SECONDS:
		if (str_to_u64(text, &n) == 0 && n <= INT32_MAX)
			*number = (int64_t)n * 1000;
		else if (units_parse_duration(text, number) < 0)
			return "a duration such as 90s or 1m30s, or seconds";
		return NULL;
	case CTL_BYTES:
		return units_parse_bytes(text, number) < 0 || *number == 0
		    ? "a number of bytes above 0 such as 1073741824 or 1GiB"
		    : NULL;
	}
	abort();
}

/* An option that may be given many times. */
static bool
take_more(const char *list[CTL_REPEATED_MAX], size_t *count, const char *text)
{
	if (*count == CTL_REPEATED_MAX)
		return false;
	list[(*count)++] = text;
	return true;
}

/*
 * Reads options of argv from optind on: those of all commands, and those of
 * `command`, if it is not NULL. False: it has told what is wrong.
 */
static bool
read_flags(const struct ctl_command *command, int argc, char **argv,
    struct ctl_args *args, enum ctl_status *status)
{
	const uint64_t outputs = CTL_FLAG(OUTPUT) | CTL_FLAG(BENCH_OUTPUT);
	uint64_t taken = CTL_FLAGS_OF_ALL |
	    (command != NULL ? command->flags : 0);
	struct option options[CTL_FLAGS + 1] = { { NULL, 0, NULL, 0 } };
	size_t n = 0;
	int c;

	for (enum ctl_flag flag = 0; flag < CTL_FLAGS; flag++)
		if ((taken & UINT64_C(1) << flag) != 0)
			options[n++] = (struct option){ ctl_flags[flag].name,
				ctl_flags[flag].value_name != NULL
				    ? required_argument
				    : no_argument,
				NULL, LONG_BASE + (int)flag };
	opterr = 0;
	/* "+": what follows a command is the command's. */
	while ((c = getopt_long(argc, argv,
		    command == NULL              ? "+:h"
			: (taken & outputs) != 0 ? ":ho:"
						 : ":h",
		    options, NULL)) != -1) {
		enum ctl_flag flag = c == 'h' ? CTL_HELP
		    : c != 'o'                ? (enum ctl_flag)(c - LONG_BASE)
		    : (taken & CTL_FLAG(OUTPUT)) != 0 ? CTL_OUTPUT
						      : CTL_BENCH_OUTPUT;
		const char *want;

		if (c == ':' || c == '?') {
			(void)wrong(command, status,
			    c == ':' ? "%s needs a value"
				     : "there is no option %s",
			    argv[optind - 1]);
			return false;
		}
		args->given[flag] = true;
		want = take(args, flag, optarg);
		if (want != NULL) {
			(void)wrong(command, status, "--%s %s: has to be %s%s",
			    ctl_flags[flag].name, optarg,
			    ctl_flags[flag].choices != NULL ? "one of " : "",
			    want);
			return false;
		}
		if ((flag == CTL_HEADER &&
			!take_more(
			    args->headers, &args->header_count, optarg)) ||
		    (flag == CTL_LOG &&
			!take_more(args->logs, &args->log_count, optarg))) {
			(void)wrong(command, status, "more than %d --%s",
			    CTL_REPEATED_MAX, ctl_flags[flag].name);
			return false;
		}
	}
	return true;
}

/* The command of these words, of which *words are its name; NULL: none. */
static const struct ctl_command *
command_find(int argc, char **argv, int *words)
{
	for (size_t i = 0; i < ctl_command_count; i++) {
		const char *name = ctl_commands[i].name;
		const char *blank = strchr(name, ' ');
		size_t len = blank != NULL ? (size_t)(blank - name)
					   : strlen(name);

		if (strlen(argv[0]) != len || memcmp(argv[0], name, len) != 0)
			continue;
		*words = blank != NULL ? 2 : 1;
		if (blank == NULL || (argc > 1 && str_eq(argv[1], blank + 1)))
			return &ctl_commands[i];
	}
	return NULL;
}

bool
ctl_is_group(const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i < ctl_command_count; i++)
		if (str_starts(ctl_commands[i].name, word) &&
		    ctl_commands[i].name[len] == ' ')
			return true;
	return false;
}

/* What no command was found for. */
static void
tell_unknown(
    int argc, char **argv, const struct ctl_args *args, enum ctl_status *status)
{
	bool group = argc > 0 && ctl_is_group(argv[0]);
	bool help = args->given[CTL_HELP] ||
	    (group && argc > 1 &&
		(str_eq(argv[1], "--help") || str_eq(argv[1], "-h")));

	*status = help ? CTL_OK : CTL_USAGE;
	if (args->given[CTL_VERSION]) {
		(void)puts(VERSION_LINE);
		*status = CTL_OK;
	} else if (argc == 0 || help) {
		ctl_print_commands(
		    help ? stdout : stderr, group ? argv[0] : NULL);
	} else if (group && argc == 1) {
		(void)wrong(NULL, status, "%s: of what?", argv[0]);
	} else {
		(void)wrong(NULL, status, "there is no command \"%s%s%s\"",
		    argv[0], group ? " " : "", group ? argv[1] : "");
	}
}

const struct ctl_command *
ctl_command_read(
    int argc, char **argv, struct ctl_args *args, enum ctl_status *status)
{
	const char *endpoint = getenv("CSI_ENDPOINT");
	const struct ctl_command *command;
	int words = 0, operands;

	*args = (struct ctl_args){ .json = false };
	for (enum ctl_flag flag = 0; flag < CTL_FLAGS; flag++)
		if (ctl_flags[flag].value != NULL &&
		    take(args, flag, ctl_flags[flag].value) != NULL)
			abort(); /* a default that its own check refuses */
	args->text[CTL_ENDPOINT] = str_is_empty(endpoint) ? CTL_DEFAULT_ENDPOINT
							  : endpoint;
	args->number[CTL_TIMEOUT] = -1;

	if (!read_flags(NULL, argc, argv, args, status))
		return NULL;
	argc -= optind;
	argv += optind;
	command = argc > 0 && !args->given[CTL_VERSION]
	    ? command_find(argc, argv, &words)
	    : NULL;
	if (command == NULL) {
		tell_unknown(argc, argv, args, status);
		return NULL;
	}
	argc -= words - 1; /* the last one stands for the program's name */
	argv += words - 1;
	optind = 0;
	if (!read_flags(command, argc, argv, args, status))
		return NULL;
	if (args->given[CTL_HELP] || args->given[CTL_VERSION]) {
		if (args->given[CTL_HELP])
			ctl_print_command(stdout, command);
		else
			(void)puts(VERSION_LINE);
		*status = CTL_OK;
		return NULL;
	}
	for (enum ctl_flag flag = 0; flag < CTL_FLAGS; flag++)
		if ((command->needs & UINT64_C(1) << flag) != 0 &&
		    !args->given[flag])
			return wrong(command, status, "--%s is missing",
			    ctl_flags[flag].name);
	operands = argc - optind;
	if (operands > (int)command->most)
		return wrong(command, status, "\"%s\" is too much",
		    argv[optind + (int)command->most]);
	if (operands < (int)command->least)
		return wrong(
		    command, status, "%s is missing", command->operands);
	for (int i = 0; i < operands; i++)
		args->operand[i] = argv[optind + i];
	args->json = args->given[CTL_JSON] ||
	    (args->text[CTL_OUTPUT] != NULL &&
		str_eq(args->text[CTL_OUTPUT], "json"));
	args->command = command;
	return command;
}
