/*
 * command.h - the command line of rbd-csictl: one table of options, one of
 * commands. Reading it, every --help, the completion of shells and the man
 * page are made from them.
 *
 * To add a command: its row in commands.c; an option of its own: a row in
 * flags.c.
 */
#ifndef CTL_COMMAND_H
#define CTL_COMMAND_H

#include "base/err.h"
#include "base/exit.h"
#include "ctl/flags.h"

#include <stdio.h>

struct client;
struct ctl_command;

/* How rbd-csictl ends. */
enum ctl_status {
	CTL_OK = EXIT_DONE,
	CTL_FAILED = EXIT_FAILED,
	CTL_USAGE = EXIT_USAGE,
	CTL_NO_SERVER = EXIT_NO_SERVER,
};

#define CTL_REPEATED_MAX 16 /* of an option that may be given many times */
#define CTL_OPERANDS_MAX 2
#define CTL_SWEEP_MAX 16 /* runs with different numbers of callers */

/* What was typed, read. */
struct ctl_args {
	const char *text[CTL_FLAGS]; /* or the default; NULL: neither */
	bool given[CTL_FLAGS];
	/* A number as it is, a duration in ms, a size in bytes. */
	int64_t number[CTL_FLAGS];
	const char *headers[CTL_REPEATED_MAX];
	size_t header_count;
	const char *logs[CTL_REPEATED_MAX];
	size_t log_count;
	const char *operand[CTL_OPERANDS_MAX];
	bool json;
	const struct ctl_command *command;
	struct client *client; /* of the endpoint; connects when it is used */
};

struct ctl_command {
	const char *name;     /* two words for one of a group: "bench attach" */
	const char *operands; /* for the usage: "[SUBJECT]"; NULL: none */
	unsigned least, most; /* operands */
	uint64_t flags;       /* of CTL_FLAG(), beside those of all */
	uint64_t needs;       /* of those it cannot do without */
	const char *what;     /* in one line, without a full stop */
	const char *about;    /* paragraphs in lines; NULL */
	void (*more)(FILE *out); /* what only the program knows; NULL */
	const char *examples;    /* a command a line, without "rbd-csictl" */
	enum ctl_status (*run)(const struct ctl_args *args);
};

extern const struct ctl_command ctl_commands[];
extern const size_t ctl_command_count;

/*
 * Reads a command line. The command and *args, which borrows argv; NULL with
 * *status when there is nothing more to run: help was printed, or one line on
 * standard error tells what is wrong.
 */
const struct ctl_command *ctl_command_read(
    int argc, char **argv, struct ctl_args *args, enum ctl_status *status);

/* Is it the first word of commands of two? */
bool ctl_is_group(const char *word);

/* All commands, or those of a group. */
void ctl_print_commands(FILE *out, const char *group);
void ctl_print_command(FILE *out, const struct ctl_command *command);

#endif
