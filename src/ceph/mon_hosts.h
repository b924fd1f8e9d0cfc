/*
 * mon_hosts.h - a list of monitors as configurations give it.
 */
#ifndef CEPH_MON_HOSTS_H
#define CEPH_MON_HOSTS_H

#include "base/err.h"
#include "base/str.h"

/*
 * Splits "mon1:6789,10.0.0.1,[::1]:6789,[v2:10.0.0.2:3300,v1:10.0.0.2:6789]"
 * (commas, semicolons or blanks between entries) and copies the entries that
 * are addresses, or names that resolve, into *kept, with commas; the caller
 * frees it. One name that does not resolve would make librados refuse them
 * all. An entry with a port that is not well known gets the protocol in front
 * that the port is found to speak.
 *
 * Blocks: looks names up, and asks such ports for up to two seconds.
 *
 * INVALID_ARGUMENT: none given, or a bracket is missing. UNAVAILABLE: none
 * resolves; the text tells which and why.
 */
int mon_hosts_resolve(
    const char *monitors, char **kept, struct err *err) must_check;

#endif
