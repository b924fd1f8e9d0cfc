/*
 * process_metrics.h - what Prometheus' clients tell of every process, by the
 * names that they use.
 */
#ifndef OBS_PROCESS_METRICS_H
#define OBS_PROCESS_METRICS_H

/* Adds them; the process counts as started now. */
void process_metrics_add(void);

#endif
