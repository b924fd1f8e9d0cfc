/*
 * systemd.h - tells systemd, where it has started this process, that it is
 * ready, that its loop turns, and that it is about to end (sd_notify(3)).
 * Without systemd none of it has an effect.
 */
#ifndef CORE_SYSTEMD_H
#define CORE_SYSTEMD_H

/*
 * First: takes systemd's socket and watchdog time out of the environment, so
 * that no child tells systemd anything in our name.
 */
void systemd_begin(void);

/*
 * What was to be started is served. From now on a timer on the loop tells that
 * it turns, twice in each WatchdogSec= of the unit: a process whose loop hangs
 * is killed and started again by systemd.
 */
void systemd_ready(void);

/* What runs is finished, then the process ends. */
void systemd_stopping(void);

#endif
