/*
 * flags.h - the table of rbd-csictl's options: command.c reads by it, help.c
 * tells about it.
 */
#ifndef CTL_FLAGS_H
#define CTL_FLAGS_H

#include "base/str.h"

enum ctl_flag {
	/* of all commands */
	CTL_ENDPOINT = 0,
	CTL_TIMEOUT,
	CTL_SECRETS,
	CTL_HEADER,
	CTL_HELP,
	CTL_VERSION,
	/* of some */
	CTL_BENCH_OUTPUT,
	CTL_OUTPUT,
	CTL_JSON,
	CTL_CLUSTER,
	CTL_POOL,
	CTL_REPAIR,
	CTL_WATCH,
	CTL_CONFIG,
	CTL_KUBELET,
	CTL_LOG,
	CTL_TRY,
	CTL_COUNT,
	CTL_CALLERS,
	CTL_RUN,
	CTL_RUNS,
	CTL_CONTROLLER,
	CTL_RETRY_FOR,
	CTL_HTML,
	CTL_DIR,
	CTL_FSTYPE,
	CTL_NODE,
	CTL_SIZE,
	CTL_PARAMETERS,
	CTL_CONNECT_PER_CALL,
	CTL_CONNECTIONS,
	CTL_RPC,
	CTL_RATE,
	CTL_DURATION,
	CTL_WARM_UP,
	CTL_RAMP,
	CTL_SWEEP,
	CTL_FLAGS,
};

#define CTL_DEFAULT_ENDPOINT "unix:///tmp/csi.sock"
#define CTL_FLAG(flag) (UINT64_C(1) << CTL_##flag)
enum ctl_flag_kind {
	CTL_NONE = 0, /* it takes no value */
	CTL_TEXT,
	CTL_NUMBER,  /* above 0 */
	CTL_SECONDS, /* a duration, or a number of seconds */
	CTL_BYTES,
};

struct ctl_flag_def {
	const char *name;
	const char *value_name; /* for the usage; NULL: it takes none */
	enum ctl_flag_kind kind;
	const char *what;
	const char *value;   /* default, as one would type it; NULL: none */
	const char *choices; /* "a b c"; NULL: anything */
	bool is_file;        /* a shell may complete it */
	char letter;         /* or 0 */
	/* Only of this group of commands; others have one of the same name. */
	const char *group;
};

extern const struct ctl_flag_def ctl_flags[CTL_FLAGS];

#define CTL_FLAGS_OF_ALL                                                       \
	(CTL_FLAG(ENDPOINT) | CTL_FLAG(TIMEOUT) | CTL_FLAG(SECRETS) |          \
	    CTL_FLAG(HEADER) | CTL_FLAG(HELP) | CTL_FLAG(VERSION))

#endif
