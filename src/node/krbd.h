/*
 * krbd.h - what the kernel's rbd driver is told, for tests: the mapper itself
 * is mapper.h's `krbd_mapper`.
 */
#ifndef NODE_KRBD_H
#define NODE_KRBD_H

#include "node/device.h"

#define KRBD_LINE_MAX 4096 /* one page, with the closing NUL */

/*
 * "MONS name=USER,key=client.USER[,OPTIONS][,ro][,_pool_ns=NS] POOL IMAGE -".
 * The key itself is not in it: it has to be in the keyring as "client.USER".
 * Options for rbd's command line tool (noudev) are left out; a msgr2-only
 * cluster gets ms_mode=prefer-crc unless the options name another. Resolves
 * host names, so it may block. INVALID_ARGUMENT for what cannot be said in
 * such a line, FAILED_PRECONDITION when no monitor address suits ms_mode.
 */
int krbd_line_fmt(const struct device_spec *spec, char *out, size_t size,
    struct err *err) must_check;

/*
 * Whether two lists of monitors have an address in common: `a` as in
 * config.json, `b` as the kernel shows it. Compares text, resolves nothing.
 */
bool krbd_monitors_meet(const char *a, const char *b);

#endif
