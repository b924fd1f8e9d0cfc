/*
 * bench_volume.h - a volume of a benchmark: what is known of it, the requests
 * of its steps, what their answers give the next ones, and its state as JSON,
 * by which another process can take away what this one has made.
 *
 * A step that was tried, whatever came of it, stays in `tried` until it was
 * undone: what is in there at the end, early or not, is cleaned up.
 */
#ifndef CTL_BENCH_VOLUME_H
#define CTL_BENCH_VOLUME_H

#include "base/arena.h"
#include "base/json.h"
#include "ctl/bench_steps.h"

#include <sys/queue.h>

struct bench_task;

struct bench_volume {
	size_t index;
	char *name;
	char *id[BENCH_OBJECTS];
	char *source;     /* the snapshot that it was restored from */
	unsigned tried;   /* 1 << enum bench_step */
	bool failed;      /* takes no part in the benchmark any more */
	int64_t spent_ns; /* in phases, from its creation on */
	json_t *context, *publish;
	char *staging, *target;  /* NULL: there is no directory */
	struct bench_task *task; /* works on it now */
	TAILQ_ENTRY(bench_volume) link;
};

TAILQ_HEAD(bench_volume_list, bench_volume);

/*
 * What the requests of all volumes of a run share, and what a later process
 * has to know to clean up: {"run", "endpoint", "controller", "dir", "node",
 * "fstype", "size", "parameters", "topology", "held"}. No secrets.
 */
struct bench_settings {
	json_t *json;
	json_t *secrets; /* borrowed; an object of strings, or NULL */
};

struct bench_volume *bench_volume_new(
    const struct bench_settings *settings, size_t index);

/* Makes the directories of its paths, as kubelet does before it stages. */
int bench_volume_make_paths(
    const struct bench_volume *volume, struct err *err) must_check;

/* Frees it; of what nothing is left, removes the directory. */
void bench_volume_free(
    struct bench_volume *volume, const struct bench_settings *settings);

/*
 * A step's request, serialized, in the arena: of all that requests have, what
 * this one's type has. NULL with `err`.
 */
const void *bench_volume_request(const struct bench_volume *volume,
    const struct bench_settings *settings, enum bench_step step,
    struct arena *arena, size_t *len, struct err *err);

/* Keeps what the next requests need. Returns 0, or a negative errno. */
int bench_volume_answer(struct bench_volume *volume, enum bench_step step,
    struct arena *arena, const void *bytes, size_t len,
    struct err *err) must_check;

/* What the request is about, as a driver's log has it. */
const char *bench_volume_subject(
    const struct bench_volume *volume, enum bench_step step);

/* The next step that undoes something; false: nothing is left. */
bool bench_volume_undo(
    const struct bench_volume *volume, enum bench_step *step);

/* {"v", "tried", "ids", ...}, and from that again. */
json_t *bench_volume_json(const struct bench_volume *volume);
void bench_volume_take(struct bench_volume *volume, const json_t *json);

#endif
