/*
 * signal.h - Unix signals as loop events.
 */
#ifndef CORE_SIGNAL_H
#define CORE_SIGNAL_H

/*
 * Calls `caught` on the loop whenever `signo` arrives. One watcher a signal;
 * signal_fini() ends all of them.
 */
void signal_watch(int signo, void (*caught)(int signo));
void signal_fini(void);

#endif
