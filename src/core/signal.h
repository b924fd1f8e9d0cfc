/*
 * signal.h - Unix signals as loop events, and what a process of ours does
 * about signals, cores and its network before it does anything else.
 *
 * SIGHUP, SIGUSR1 and SIGUSR2 are requests of people ("kill -USR1 $(pidof
 * rbd-csid)"), who name more processes than they mean. So they end nobody:
 * every process of ours is born with them blocked or ignored, and one that
 * has an answer to them watches them.
 */
#ifndef CORE_SIGNAL_H
#define CORE_SIGNAL_H

#include "base/err.h"
#include "base/str.h"

#include <signal.h>

/*
 * First in main(): ignores these signals and SIGPIPE, and lets nobody see our
 * memory, which has keys in it: no core file, and no ptrace without
 * CAP_SYS_PTRACE.
 */
void process_begin(void);

/*
 * For the whole process, before it has threads: enters the network namespace
 * `path`, unless that is empty.
 */
int process_enter_netns(const char *path, struct err *err) must_check;

/* For a new process that is to be started: the signals that it has blocked. */
void signal_requests(sigset_t *set);

/*
 * Around fork(): between it and signal_forget() the child must not run our
 * handlers, which write to pipes that it shares with us.
 */
void signal_hold(sigset_t *before);
void signal_release(const sigset_t *before);

/*
 * In a forked child: nothing is watched any more. What is meant for the
 * daemon, be it a request or its end, is ignored: the child is one step of an
 * operation that the daemon lets finish, and has a time of its own.
 */
void signal_forget(void);

/*
 * Calls `caught` on the loop whenever `signo` arrives. One watcher a signal;
 * signal_fini() ends all of them.
 */
void signal_watch(int signo, void (*caught)(int signo));
void signal_fini(void);

#endif
