/*
 * options_print.c - the table for people: --help and docs/OPTIONS.md.
 */
#include "daemon/options_table.h"

static const char *const group_title[GROUP_COUNT] = {
	[GROUP_DRIVER] = "The driver",
	[GROUP_DAEMON] = "The daemon",
	[GROUP_PROCESSES] = "Processes and limits",
	[GROUP_GRPC] = "Limits of the gRPC server",
	[GROUP_LIVENESS] = "For --type=liveness",
	[GROUP_TELL] = "Tell and exit",
	[GROUP_CEPH_CSI] = "Accepted for ceph-csi's manifests, without effect",
	[GROUP_KLOG] = "Accepted for klog, without effect",
};

static const struct {
	const char *name, *help;
} environment[] = {
	{ "CSI_ENDPOINT",
	    "where to serve when `--endpoint` is not given, as "
	    "the CSI specification has it" },
	{ "POD_IP",
	    "where `--type=liveness` serves metrics; all addresses "
	    "if it is not set" },
};

/* Copies help to `out` without the backticks of Markdown. */
static void
print_plain(FILE *out, const char *text)
{
	for (; *text != '\0'; text++)
		if (*text != '`')
			(void)fputc(*text, out);
}

static const char *
kind_name(const struct option_def *def)
{
	switch (def->kind) {
	case OPTION_STRING:
	case OPTION_ANY:
		return "TEXT";
	case OPTION_BOOL:
		return "";
	case OPTION_INT:
		return "NUMBER";
	case OPTION_DURATION:
		return "DURATION";
	case OPTION_BYTES:
		return "BYTES";
	}
	return "";
}

void
options_print_help(FILE *out)
{
	(void)fputs("usage: rbd-csid --type=rbd --nodeid=NAME [OPTION]...\n"
		    "A CSI driver for Ceph RBD. -x and --x are the same; a "
		    "value follows after \"=\" or a blank.\n",
	    out);
	for (int group = 0; group < GROUP_COUNT; group++) {
		(void)fprintf(out, "\n%s:\n", group_title[group]);
		for (size_t i = 0; i < option_count; i++) {
			const struct option_def *def = &option_table[i];
			const char *kind = kind_name(def);

			if ((int)def->group != group ||
			    def->use == OPTION_HIDDEN)
				continue;
			(void)fprintf(out, "  --%s%s%s", def->name,
			    *kind != '\0' ? "=" : "", kind);
			if (*def->value != '\0' && !str_eq(def->value, "false"))
				(void)fprintf(out, " (%s)", def->value);
			if (def->help != NULL) {
				(void)fputs("\n      ", out);
				print_plain(out, def->help);
			}
			(void)fputc('\n', out);
		}
	}
	(void)fputs("\nEnvironment:\n", out);
	for (size_t i = 0; i < countof(environment); i++) {
		(void)fprintf(out, "  %s\n      ", environment[i].name);
		print_plain(out, environment[i].help);
		(void)fputc('\n', out);
	}
}

void
options_print_markdown(FILE *out)
{
	for (int group = 0; group < GROUP_COUNT; group++) {
		(void)fprintf(out,
		    "## %s\n\n| option | default | meaning |\n|---|---|---|\n",
		    group_title[group]);
		for (size_t i = 0; i < option_count; i++) {
			const struct option_def *def = &option_table[i];

			if ((int)def->group != group ||
			    def->use == OPTION_HIDDEN)
				continue;
			(void)fprintf(out, "| `--%s` | ", def->name);
			if (*def->value != '\0')
				(void)fprintf(out, "`%s` ",
				    def->shown != NULL ? def->shown
						       : def->value);
			(void)fprintf(out, "| %s |\n",
			    def->help != NULL ? def->help : "");
		}
		(void)fputc('\n', out);
	}
	(void)fputs(
	    "## Environment\n\n| variable | meaning |\n|---|---|\n", out);
	for (size_t i = 0; i < countof(environment); i++)
		(void)fprintf(out, "| `%s` | %s |\n", environment[i].name,
		    environment[i].help);
}
