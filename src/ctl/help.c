/*
 * help.c - what is made from the tables of options and commands: --help, the
 * text that the man page is made of, and the completion of shells.
 */
#include "ctl/commands.h"

#include <string.h>

static void
print_flags(FILE *out, uint64_t flags)
{
	for (enum ctl_flag flag = 0; flag < CTL_FLAGS; flag++) {
		const struct ctl_flag_def *def = &ctl_flags[flag];
		char name[48], letter[8] = "";

		if ((flags & UINT64_C(1) << flag) == 0)
			continue;
		if (def->letter != 0)
			(void)snprintf(
			    letter, sizeof(letter), "-%c, ", def->letter);
		(void)snprintf(name, sizeof(name), "%s--%s%s%s", letter,
		    def->name, def->value_name != NULL ? " " : "",
		    def->value_name != NULL ? def->value_name : "");
		(void)fprintf(out, "  %-26s  %s", name, def->what);
		if (def->value != NULL)
			(void)fprintf(out, " (%s)", def->value);
		(void)fputc('\n', out);
	}
}

/* "--pool POOL", in brackets unless the command cannot do without. */
static void
print_synopsis(FILE *out, const struct ctl_command *command)
{
	(void)fprintf(out, "rbd-csictl [OPTION]... %s", command->name);
	for (enum ctl_flag flag = 0; flag < CTL_FLAGS; flag++)
		if ((command->needs & UINT64_C(1) << flag) != 0)
			(void)fprintf(out, " --%s %s", ctl_flags[flag].name,
			    ctl_flags[flag].value_name);
	if (command->operands != NULL)
		(void)fprintf(out, " %s", command->operands);
}

/* The words of a command that does something, before "rbd-csictl". */
static void
print_examples(FILE *out, const char *examples)
{
	while (*examples != '\0') {
		size_t len = strcspn(examples, "\n");

		(void)fprintf(out, "  rbd-csictl %.*s\n", (int)len, examples);
		examples += len + (examples[len] == '\n');
	}
}

void
ctl_print_command(FILE *out, const struct ctl_command *command)
{
	(void)fputs("usage: ", out);
	print_synopsis(out, command);
	(void)fprintf(out, "\n\n%s.\n", command->what);
	if (command->about != NULL)
		(void)fprintf(out, "\n%s\n", command->about);
	if (command->flags != 0) {
		(void)fputs("\noptions:\n", out);
		print_flags(out, command->flags);
	}
	(void)fputs("\noptions of all commands:\n", out);
	print_flags(out, CTL_FLAGS_OF_ALL);
	if (command->more != NULL)
		command->more(out);
	(void)fputs("\nexamples:\n", out);
	print_examples(out, command->examples);
}

void
ctl_print_commands(FILE *out, const char *group)
{
	(void)fprintf(out,
	    "usage: rbd-csictl [OPTION]... %s%sCOMMAND [ARGUMENT]...\n\ncommands:\n",
	    group != NULL ? group : "", group != NULL ? " " : "");
	for (size_t i = 0; i < ctl_command_count; i++)
		if (group == NULL || str_starts(ctl_commands[i].name, group))
			(void)fprintf(out, "  %-18s %s\n", ctl_commands[i].name,
			    ctl_commands[i].what);
	(void)fputs("\noptions of all commands:\n", out);
	print_flags(out, CTL_FLAGS_OF_ALL);
#define LINE(name, number, text) "  " #number "  " text "\n"
	(void)fputs(
	    "\nexit status:\n" EXIT_STATUSES(
		LINE) "\nexamples:\n"
		      "  rbd-csictl ops --help\n"
		      "  rbd-csictl --endpoint unix:///run/csi.sock call Identity/Probe\n",
	    out);
}

/* Without a command: all of them, one after the other. */
enum ctl_status
ctl_help(const struct ctl_args *args)
{
	bool found = false;

	if (args->operand[0] == NULL) {
		ctl_print_commands(stdout, NULL);
		for (size_t i = 0; i < ctl_command_count; i++) {
			(void)printf(
			    "\nrbd-csictl %s:\n\n", ctl_commands[i].name);
			ctl_print_command(stdout, &ctl_commands[i]);
		}
		return CTL_OK;
	}
	if (args->operand[1] == NULL && ctl_is_group(args->operand[0])) {
		ctl_print_commands(stdout, args->operand[0]);
		return CTL_OK;
	}
	for (size_t i = 0; i < ctl_command_count && !found; i++) {
		auto_free char *name = str_fmt("%s%s%s", args->operand[0],
		    args->operand[1] != NULL ? " " : "",
		    args->operand[1] != NULL ? args->operand[1] : "");

		found = str_eq(ctl_commands[i].name, name);
		if (found)
			ctl_print_command(stdout, &ctl_commands[i]);
	}
	if (!found)
		(void)fprintf(stderr,
		    "rbd-csictl: there is no command \"%s\" (see rbd-csictl --help)\n",
		    args->operand[0]);
	return found ? CTL_OK : CTL_USAGE;
}

/* ---- completion ------------------------------------------------------------- */

/* Both shells have run this: $prev is the word before, $cmd the command. */
static const char collect[] = "  local cmd= prev= word\n"
			      "  for word in \"${words_before[@]}\"; do\n"
			      "    case \"${cmd:+$cmd }$word\" in\n";

/* The length of a group's name that no command before `i` has; 0: it is none. */
static int
new_group(size_t i)
{
	const char *name = ctl_commands[i].name;
	size_t len = strcspn(name, " ") + 1;

	if (name[len - 1] != ' ' ||
	    (i > 0 && strncmp(name, ctl_commands[i - 1].name, len) == 0))
		return 0;
	return (int)len - 1;
}

/* How one word of the command line becomes the command's next one. */
static void
print_commands_cases(void)
{
	for (size_t i = 0; i < ctl_command_count; i++) {
		const char *name = ctl_commands[i].name;
		int len = new_group(i);

		if (len > 0)
			(void)printf("      \"%.*s\") cmd=\"%.*s\" ;;\n", len,
			    name, len, name);
		(void)printf("      \"%s\") cmd=\"%s\" ;;\n", name, name);
	}
	(void)puts("    esac\n    prev=$word\n  done");
}

/* What follows an option; what has a group comes before its namesake. */
static void
print_values(const char *files, const char *list, const char *list_end)
{
	(void)puts("  case \"$cmd $prev\" in");
	for (enum ctl_flag flag = 0; flag < CTL_FLAGS; flag++) {
		const struct ctl_flag_def *def = &ctl_flags[flag];
		const char *group = def->group != NULL ? def->group : "";

		if (def->choices != NULL) {
			(void)printf("    \"%s\"*\" --%s\"", group, def->name);
			if (def->letter != 0)
				(void)printf(
				    " | \"%s\"*\" -%c\"", group, def->letter);
			(void)printf(") %s%s%s; return ;;\n", list,
			    def->choices, list_end);
		} else if (def->is_file) {
			(void)printf("    *\" --%s\") %s; return ;;\n",
			    def->name, files);
		} else if (def->value_name != NULL) {
			(void)printf("    *\" --%s\") return ;;\n", def->name);
		}
	}
	(void)puts("  esac");
}

static void
print_flag_names(uint64_t flags)
{
	for (enum ctl_flag flag = 0; flag < CTL_FLAGS; flag++)
		if ((flags & UINT64_C(1) << flag) != 0)
			(void)printf(" --%s", ctl_flags[flag].name);
}

/* Into $list: what may come next, by $cmd. */
static void
print_next(void)
{
	(void)printf("  local list=\"");
	print_flag_names(CTL_FLAGS_OF_ALL);
	(void)puts("\"\n  case $cmd in");
	(void)printf("    \"\") list+=\"");
	for (size_t i = 0; i < ctl_command_count; i++) {
		const char *name = ctl_commands[i].name;

		if (strchr(name, ' ') == NULL || new_group(i) > 0)
			(void)printf(" %.*s", (int)strcspn(name, " "), name);
	}
	(void)puts("\" ;;");
	for (size_t i = 0; i < ctl_command_count; i++) {
		const char *name = ctl_commands[i].name;
		int len = new_group(i);

		if (len > 0)
			(void)printf("    \"%.*s\") list+=\"", len, name);
		for (size_t j = i; len > 0 && j < ctl_command_count &&
		     strncmp(name, ctl_commands[j].name, (size_t)len + 1) == 0;
		     j++)
			(void)printf(" %s", ctl_commands[j].name + len + 1);
		if (len > 0)
			(void)puts("\" ;;");
		(void)printf("    \"%s\") list+=\"", name);
		print_flag_names(ctl_commands[i].flags);
		(void)puts("\" ;;");
	}
	(void)puts("  esac");
}

enum ctl_status
ctl_completion(const struct ctl_args *args)
{
	bool bash = str_eq(args->operand[0], "bash");

	if (!bash && !str_eq(args->operand[0], "zsh")) {
		(void)fprintf(stderr,
		    "rbd-csictl: completion %s: there is one for bash and one for zsh\n",
		    args->operand[0]);
		return CTL_USAGE;
	}
	(void)puts(bash
		? "# bash completion of rbd-csictl, made by `rbd-csictl completion bash`\n"
		  "_rbd_csictl() {\n"
		  "  local cur=${COMP_WORDS[COMP_CWORD]}\n"
		  "  local -a words_before=(\"${COMP_WORDS[@]:1:COMP_CWORD-1}\")"
		: "#compdef rbd-csictl\n"
		  "# made by `rbd-csictl completion zsh`\n"
		  "_rbd_csictl() {\n"
		  "  local -a words_before=(\"${(@)words[2,CURRENT-1]}\")");
	(void)fputs(collect, stdout);
	print_commands_cases();
	print_values(bash ? "COMPREPLY=($(compgen -f -- \"$cur\"))" : "_files",
	    bash ? "COMPREPLY=($(compgen -W \"" : "compadd -- ",
	    bash ? "\" -- \"$cur\"))" : "");
	print_next();
	(void)puts(bash ? "  COMPREPLY=($(compgen -W \"$list\" -- \"$cur\"))\n"
			  "}\n"
			  "complete -o filenames -F _rbd_csictl rbd-csictl"
			: "  compadd -- ${=list}\n"
			  "}\n"
			  "_rbd_csictl \"$@\"");
	return CTL_OK;
}
