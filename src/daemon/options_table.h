/*
 * options_table.h - one row for each option; private to options*.c.
 */
#ifndef DAEMON_OPTIONS_TABLE_H
#define DAEMON_OPTIONS_TABLE_H

#include "daemon/options.h"

enum option_kind {
	OPTION_STRING = 0, /* const char * */
	OPTION_BOOL,       /* bool */
	OPTION_INT,        /* int64_t */
	OPTION_DURATION,   /* int64_t milliseconds */
	OPTION_BYTES,      /* int64_t bytes */
	OPTION_ANY,        /* klog: a value that nobody looks at */
};

enum option_use {
	OPTION_USED = 0, /* does what its help says */
	OPTION_CHECKED,  /* accepted and checked, without effect */
	OPTION_IGNORED,  /* accepted, without effect */
	OPTION_HIDDEN,   /* used, and shown to nobody */
};

enum option_group {
	GROUP_DRIVER = 0,
	GROUP_DAEMON,
	GROUP_PROCESSES,
	GROUP_GRPC,
	GROUP_LIVENESS,
	GROUP_TELL,
	GROUP_CEPH_CSI,
	GROUP_KLOG,
	GROUP_COUNT,
};

struct option_def {
	const char *name;
	enum option_kind kind;
	enum option_use use;
	enum option_group group;
	size_t field;      /* offset in struct options; 0 is no field */
	const char *value; /* default, as one would type it */
	const char *shown; /* in docs/OPTIONS.md instead of value */
	int64_t min, max;  /* of numbers, durations and bytes */
	const char *help;
};

extern const struct option_def option_table[];
extern const size_t option_count;

/* The row of the option of this name, or NULL. */
const struct option_def *option_find(const char *name, size_t len);

/*
 * Takes the option at argv[*at] apart and moves *at to its last argument.
 * *text is the value as typed, or what it means to leave it out.
 */
int option_next(int argc, char *const argv[], int *at,
    const struct option_def **def, const char **text,
    struct err *err) must_check;

/* What Go's strconv.ParseBool takes. */
int option_parse_bool(const char *text, bool *value) must_check;

#endif
