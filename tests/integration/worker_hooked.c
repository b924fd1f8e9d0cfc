/*
 * worker_hooked.c - linked into a ceph-worker of its own: kills it at the n-th
 * state change of its operations. The program that users have knows nothing
 * of this.
 */
#include "core/op.h"

#include <signal.h>
#include <stdio.h>

static uint64_t left;

static void
on_state(struct op *op, const char *state)
{
	if (left == 0 || --left > 0)
		return;
	fprintf(stderr, "# killed at %s %s\n", op->cls->name, state);
	(void)kill(getpid(), SIGKILL);
}

__attribute__((constructor)) static void
install_hook(void)
{
	const char *at = getenv("RBD_CSI_TEST_KILL_AT");

	if (at != NULL && str_to_u64(at, &left) == 0)
		op_set_hook(on_state);
}
