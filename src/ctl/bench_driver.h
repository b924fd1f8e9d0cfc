/*
 * bench_driver.h - what a driver is and can, as it says itself: a benchmark
 * works with any, and leaves out what that one does not serve.
 */
#ifndef CTL_BENCH_DRIVER_H
#define CTL_BENCH_DRIVER_H

#include "base/json.h"
#include "ctl/command.h"

struct bench_driver {
	/* {"name", "version", "manifest", "node_id", "can": ["node", ...]} */
	json_t *told;
	json_t *topology; /* of the node, to be asked for; NULL: none */
};

/*
 * Asks it: identity, and if `whole` controller (at --controller-endpoint, if given) and
 * node. Returns 0, or with `err` a negative errno: it does not answer. `driver`
 * is to be given to bench_driver_fini() then, too.
 */
int bench_driver_ask(struct bench_driver *driver, const struct ctl_args *args,
    bool whole, struct err *err) must_check;
void bench_driver_fini(struct bench_driver *driver);

/* The node's name; "" if the driver serves no node. */
const char *bench_driver_node(const struct bench_driver *driver);

/*
 * Can it do that: "node", "controller", or one of those and a capability, as
 * in "node.STAGE_UNSTAGE_VOLUME"? NULL is what every driver can.
 */
bool bench_driver_can(const struct bench_driver *driver, const char *what);

#endif
