/*
 * mon_ask.h - what a monitor tells everybody, without a user or a key: whether
 * it is there, and where it speaks the second version of the protocol.
 */
#ifndef CEPH_MON_ASK_H
#define CEPH_MON_ASK_H

#include "base/str.h"

struct mon_answer {
	char name[64];  /* of the monitor that has answered */
	bool in_quorum; /* it can judge a user and a key */
	char *v2;       /* "v2:10.0.0.1:3300,v2:..." of all; NULL: none */
};

/*
 * Asks the monitors of `cluster` (a rados_t that is configured, but not
 * connected) one after the other until one answers; each may take a second.
 * False: none does. The caller frees answer->v2.
 *
 * A monitor that speaks only the second version does not answer: it wants a
 * user first, whom it then refuses in words.
 */
bool mon_ask(void *cluster, struct mon_answer *answer);

#endif
