/*
 * utab.h - the record of mounts that need the network (option _netdev), which
 * systemd reads at shutdown: /run/mount/utab, in libmount's form and under its
 * lock. libmount itself parses and prints all lines for each mount: 2 ms of the
 * processor where there are 500 volumes.
 *
 * In offload children only. Nothing here fails: it is a record.
 */
#ifndef NODE_UTAB_H
#define NODE_UTAB_H

/* Says that `device` is mounted at `target`, with its root. */
void utab_add(const char *device, const char *target);

/* Takes away what is said of `target`. */
void utab_remove(const char *target);

#endif
