/*
 * main.c - rbd-csictl, the client: one command, read and run.
 */
#include "core/loop.h"
#include "ctl/ctl.h"
#include "rpc/client.h"

void
ctl_print_err(const struct err *err)
{
	(void)fprintf(stderr, "%s: %s\n", err_code_name(err->code), err->text);
}

int
main(int argc, char **argv)
{
	const struct ctl_command *command;
	struct ctl_args args;
	enum ctl_status status = CTL_USAGE;

	command = ctl_command_read(argc, argv, &args, &status);
	if (command == NULL)
		return (int)status;
	if (loop_init() < 0) {
		(void)fprintf(stderr, "rbd-csictl: cannot make the loop\n");
		return CTL_USAGE;
	}
	args.client = client_new(args.text[CTL_ENDPOINT]);
	status = command->run(&args);
	client_free(args.client);
	loop_fini();
	if (fflush(stdout) != 0) {
		(void)fprintf(stderr, "rbd-csictl: cannot write the answer\n");
		return CTL_USAGE;
	}
	return (int)status;
}
