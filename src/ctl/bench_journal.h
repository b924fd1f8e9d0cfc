/*
 * bench_journal.h - a file in which a run notes what it is about to make, so
 * that `bench clean` can take it away when the run was killed, and `bench
 * release` when it was to stay.
 *
 * A line is JSON: first the settings of the run, then the state of a volume
 * each time that it changes; the last one counts. Whoever works with a run has
 * its file locked, until its process ends in whatever way. Nothing is synced:
 * the file need not outlive the machine, whose mounts are gone then, too.
 */
#ifndef CTL_BENCH_JOURNAL_H
#define CTL_BENCH_JOURNAL_H

#include "base/json.h"

struct bench_journal {
	int fd; /* -1: there is none */
	char *path;
};

/* `dir`, or if that is NULL this user's own; the caller frees. NULL with err */
char *bench_journal_dir(const char *dir, struct err *err);

/*
 * Makes that of a new run, which nobody else has, and writes its settings.
 * Returns 0, or a negative errno.
 */
int bench_journal_new(struct bench_journal *journal, const char *dir,
    const char *run, const json_t *settings, struct err *err) must_check;

/*
 * Opens that of an older run: its settings, which the caller owns, and the
 * last state of each volume, by its index in *volumes. -EBUSY: a process works
 * with it.
 */
int bench_journal_open(struct bench_journal *journal, const char *dir,
    const char *run, json_t **settings, json_t **volumes,
    struct err *err) must_check;

/* The names of all runs that there are, into an array. */
void bench_journal_list(const char *dir, json_t *names);

/* Adds a line; takes over the reference. */
void bench_journal_note(struct bench_journal *journal, json_t *line);

/* Closes it; `done`: and removes it, for nothing is left. */
void bench_journal_close(struct bench_journal *journal, bool done);

#endif
