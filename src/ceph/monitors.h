/*
 * monitors.h - a list of monitors as configurations give it, and what a
 * monitor tells everybody, without a user or a key. Belongs to connection.c.
 */
#ifndef CEPH_MONITORS_H
#define CEPH_MONITORS_H

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
int monitors_resolve(
    const char *monitors, char **kept, struct err *err) must_check;

struct mon_answer {
	char name[64];  /* of the monitor that has answered */
	bool in_quorum; /* it can judge a user and a key */
	char *v2;       /* "v2:10.0.0.1:3300,v2:..." of all; NULL: none */
};

/*
 * Asks a monitor of `cluster`, a rados_t that is configured, and was used for
 * nothing else: for each ping librados makes its list of monitors, and aborts
 * at times if it has one. `name`: as librados gives it to an address, "a", "b"
 * ... -ENOENT: there is none of that name. The caller frees answer->v2.
 *
 * A monitor that speaks only the second version does not answer: it wants a
 * user first, whom it then refuses in words.
 */
int monitors_ask(void *cluster, const char *name, struct mon_answer *answer);

#endif
