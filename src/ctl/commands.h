/*
 * commands.h - what the commands of rbd-csictl run. Each has its row in
 * commands.c, and returns how the program ends.
 */
#ifndef CTL_COMMANDS_H
#define CTL_COMMANDS_H

#include "ctl/command.h"

enum ctl_status ctl_call(const struct ctl_args *args);
enum ctl_status ctl_ops(const struct ctl_args *args);
enum ctl_status ctl_volumes(const struct ctl_args *args);
enum ctl_status ctl_sessions(const struct ctl_args *args);
enum ctl_status ctl_trace(const struct ctl_args *args);
enum ctl_status ctl_metrics(const struct ctl_args *args);
enum ctl_status ctl_log_level(const struct ctl_args *args);
enum ctl_status ctl_abort(const struct ctl_args *args);
enum ctl_status ctl_audit(const struct ctl_args *args);
enum ctl_status ctl_preflight(const struct ctl_args *args);
enum ctl_status ctl_support(const struct ctl_args *args);
enum ctl_status ctl_completion(const struct ctl_args *args);
enum ctl_status ctl_help(const struct ctl_args *args);
enum ctl_status ctl_bench(const struct ctl_args *args); /* all of its kinds */
enum ctl_status ctl_bench_compare(const struct ctl_args *args);

#endif
