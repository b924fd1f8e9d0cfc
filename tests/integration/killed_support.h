/*
 * killed_support.h - sweeps over one kind of call: a ceph-worker is killed in
 * front of the call's first write to the cluster, of its second one, and so on
 * until it lives; where other writes are sent beside that one, then once more
 * with those. Each time another worker does the same call again, which has to
 * succeed; then an audit has to find nothing, and when all is deleted the pools
 * have to hold what they held before.
 */
#ifndef TESTS_KILLED_SUPPORT_H
#define TESTS_KILLED_SUPPORT_H

#include "base/json.h"
#include "tests/integration/ceph_support.h"
#include "tests/integration/worker_support.h"

#define KILLED_MIB (INT64_C(1) << 20)
#define KILLED_POOL "t-killed"
#define KILLED_OTHER "t-killed-other" /* has data of volumes in KILLED_POOL */

/* One call that is killed. */
struct act {
	unsigned n;
	bool beside;
	char *name; /* for what it makes */
	char *id;   /* of the volume or snapshot that it is about */
	char *of;   /* of what that was made of, if it is only for this call */
	bool flattens; /* it was to be flattened when the worker died */
};

struct sweep {
	const char *what, *method;
	unsigned writes; /* there are so many at least */
	unsigned soft;   /* depth of clones from which some are flattened */
	bool purges;     /* in the background, after its answer */
	/* Makes what the call is about, perhaps `id`. NULL: nothing. */
	bool (*prepare)(struct act *act);
	/* The request as JSON, without secrets; the caller frees. */
	char *(*request)(const struct act *act);
	/* Judges the answer, and sets `id` if that was made. NULL: any is fine. */
	bool (*check)(struct act *act, const json_t *reply);
	/* Would ceph-csi be able to go on from what was left? NULL: it would. */
	bool (*goes_on)(const struct act *act);
	/* Deletes all that is left of it. */
	bool (*clean)(struct act *act);
};

/* A pool of each test, and a user that may make users. */
extern const char *killed_fsid;
extern struct ceph_pool *killed_pool, *killed_other;

/* An argument of main() is the only sweep that is made. */
void killed_begin(char **argv);
void killed_sweep(const struct sweep *sweep);
int killed_end(void);

/* One more worker that lives, beside that which killed_call() asks. */
void killed_start(struct talk *other);
struct talk *killed_talk(void);
/*
 * One whose write `fail_at` fails, and the `again`-th after that (0: none), and
 * which dies in front of write `kill_at` (0: it does not). With `stop` it stops before it fails: killed_stopped()
 * waits for that, false: it has answered instead; killed_go_on() ends it.
 */
void killed_start_failing(struct talk *other, unsigned fail_at, unsigned again,
    unsigned kill_at, bool stop);
bool killed_stopped(struct talk *other, uint64_t id);
void killed_go_on(const struct talk *other);
/* Ends it; true: it was killed before. */
bool killed_died(struct talk *other);
/* Both halves of a call, of either; a NULL answer is a failure, which is told. */
uint64_t killed_send(
    struct talk *talk, const char *method, const char *request);
json_t *killed_answer(struct talk *talk, const char *method, uint64_t id);
/* Whether an audit of both pools finds nothing. */
bool killed_audit(void);

/* A test like ok() of tap.h, which counts for its own file only. */
bool killed_ok(bool good, const char *name);

/* A call of the worker that lives; NULL: it has failed, which is told. */
json_t *killed_call(const char *method, const char *request);
/* The same, if only success matters. Frees the request. */
bool killed_succeeds(const char *method, char *request);

/* CreateVolume's request; `more` are members of it, with a comma in front. */
char *killed_volume_request(const char *name, const char *more);
/* Makes one and writes to it; its ID, or NULL. */
char *killed_volume(const char *name, const char *more);
bool killed_delete_volume(const char *id);
char *killed_id(const json_t *reply, const char *of, const char *member);

/* Opens the image, writes, and looks at the object map's flags. */
bool killed_works(struct ceph_pool *pool, const char *volume);
/* Has it what killed_works() has written to its source? */
bool killed_has_data(struct ceph_pool *pool, const char *volume);

/* ceph-csi's eyes: see struct sweep. */
bool ceph_csi_can_create(const char *name);
bool ceph_csi_can_delete(const char *volume);

#endif
