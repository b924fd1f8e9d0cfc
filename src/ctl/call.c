/*
 * call.c - `rbd-csictl call`: one RPC, with JSON in and out; each message of a
 * stream is printed as it comes.
 */
#include "csi/rpc.h"
#include "ctl/commands.h"
#include "ctl/ctl.h"

static bool
print_message(const json_t *message, void *arg, struct err *err)
{
	(void)arg;
	if (json_dumpf(message, stdout, JSON_INDENT(2)) < 0 ||
	    putchar('\n') == EOF || fflush(stdout) != 0)
		(void)err_set(err, ERR_INTERNAL, "cannot write the reply");
	return true;
}

enum ctl_status
ctl_call(const struct ctl_args *args)
{
	enum ctl_status status = CTL_USAGE;
	struct err err = ERR_INIT;
	struct ctl_method method;
	struct ctl_body body;
	struct arena *arena;

	if (!ctl_method_find(&method, args->operand[0])) {
		(void)fprintf(stderr,
		    "rbd-csictl: there is no method \"%s\" (`rbd-csictl call --help` lists them)\n",
		    args->operand[0]);
		return CTL_USAGE;
	}
	arena = csi_arena_new();
	if (ctl_request_read(&method, args->operand[1], args->text[CTL_SECRETS],
		arena, &body, &err))
		status = ctl_call_each(
		    args, &method, &body, print_message, NULL, NULL);
	else
		ctl_print_err(&err);
	arena_free(arena);
	return status;
}
