/*
 * exit.h - what the exit status of a program says: one list for all of ours.
 */
#ifndef BASE_EXIT_H
#define BASE_EXIT_H

#define EXIT_STATUSES(X)                                                                             \
	X(EXIT_DONE, 0, "done; nothing is wrong")                                                    \
	X(EXIT_FAILED, 1,                                                                            \
	    "it failed; of `rbd-csictl`, a call has, or `audit` or `preflight` has found something") \
	X(EXIT_USAGE, 2,                                                                             \
	    "wrong arguments or input, or it cannot be done here")                                   \
	X(EXIT_NO_SERVER, 3,                                                                         \
	    "of `rbd-csictl`: nobody listens at the endpoint")                                       \
	X(EXIT_NO_OBJECT, 4, "of `rbd-csi-kube`: Kubernetes has no such object")

#define EXIT_STATUS(name, number, text) name = (number),
enum exit_status { EXIT_STATUSES(EXIT_STATUS) };
#undef EXIT_STATUS

#endif
