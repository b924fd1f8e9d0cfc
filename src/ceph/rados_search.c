/*
 * rados_search.c - looking for data in many objects, with a bound on those in
 * flight. Each object is asked for its size first: most are not there.
 */
#include "ceph/rados_wait.h"

#include "ceph/rados_aio.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#define CHUNK_BYTES ((size_t)1 << 20)

struct searching;

/* One of the objects that are looked at. */
struct glance {
	struct rados_wait wait;
	struct searching *search;
	uint64_t object;
	char name[RBD_OBJECT_SIZE];
	uint64_t size, at; /* bytes it has, and how many are known as zeros */
	time_t mtime;
	bool reads;
	char *chunk; /* once there is something to read */
};

struct searching {
	struct rados_search *spec; /* the caller's */
	struct wake *waiter;
	struct job job;      /* the start */
	uint64_t next;       /* the first object that is not started */
	uint64_t read_bytes; /* asked for until now */
	unsigned busy;       /* slots in use */
	int rc;              /* first failure */
	struct glance slot[RADOS_SEARCH_IN_FLIGHT_MAX];
};

static bool
is_zero(const char *bytes, size_t len)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

static bool
is_over(const struct searching *s)
{
	return s->rc < 0 || s->spec->found;
}

static void
finish(struct searching *s)
{
	for (size_t i = 0; i < countof(s->slot); i++)
		free(s->slot[i].chunk);
	wake_up(s->waiter, s->rc);
	free(s);
}

/* Asks for the size of the next object; false when there is none. */
static bool
glance_stat(struct glance *slot)
{
	struct searching *s = slot->search;
	rados_completion_t completion;

	do {
		if (s->next == s->spec->count)
			return false;
		slot->object = s->next++;
	} while (!s->spec->name(
	    s->spec->arg, slot->object, slot->name, sizeof(slot->name)));
	slot->size = slot->at = 0;
	slot->reads = false;
	completion = rados_wait_arm(&slot->wait);
	rados_wait_submitted(&slot->wait, completion,
	    rados_aio_stat(ceph_pool_ioctx(s->spec->pool), slot->name,
		completion, &slot->size, &slot->mtime));
	return true;
}

static void
glance_read(struct glance *slot)
{
	struct searching *s = slot->search;
	rados_completion_t completion;

	if (slot->chunk == NULL)
		slot->chunk = mem_new(CHUNK_BYTES);
	slot->reads = true;
	s->read_bytes += CHUNK_BYTES;
	completion = rados_wait_arm(&slot->wait);
	rados_wait_submitted(&slot->wait, completion,
	    rados_aio_read(ceph_pool_ioctx(s->spec->pool), slot->name,
		completion, slot->chunk, CHUNK_BYTES, slot->at));
}

/* What the answer to a stat or a read says of its object. */
static void
glance_judge(struct glance *slot, int rc)
{
	struct searching *s = slot->search;
	bool has_data = rc > 0 && !is_zero(slot->chunk, (size_t)rc);

	if (rc == -ENOENT) /* not there, or removed meanwhile */
		slot->size = slot->at = 0;
	else if (rc < 0 && s->rc == 0)
		s->rc = rc;
	else if (rc > 0)
		slot->at += (uint64_t)rc;
	else if (slot->reads) /* it has become shorter */
		slot->size = slot->at;
	if (has_data ||
	    (slot->at < slot->size && s->read_bytes >= s->spec->read_max)) {
		s->spec->found = true;
		s->spec->unread = !has_data;
		s->spec->object = slot->object;
	}
}

static void
on_answer(struct rados_wait *wait)
{
	struct glance *slot = container_of(wait, struct glance, wait);
	struct searching *s = slot->search;

	if (!is_over(s))
		glance_judge(slot, wait->rc);
	if (!is_over(s) && slot->at < slot->size) {
		glance_read(slot);
		return;
	}
	if (!is_over(s) && glance_stat(slot))
		return;
	if (--s->busy == 0)
		finish(s);
}

static void
on_start(struct job *job)
{
	struct searching *s = container_of(job, struct searching, job);

	while (s->busy < s->spec->in_flight) {
		struct glance *slot = &s->slot[s->busy];

		slot->search = s;
		slot->wait.finish = on_answer;
		if (!glance_stat(slot))
			break;
		s->busy++;
	}
	if (s->busy == 0)
		finish(s);
}

void
rados_search_start(struct rados_search *spec, struct wake *waiter)
{
	struct searching *s = mem_new(sizeof(*s));

	assert(spec->in_flight >= 1 &&
	    spec->in_flight <= RADOS_SEARCH_IN_FLIGHT_MAX);
	spec->found = spec->unread = false;
	s->spec = spec;
	s->waiter = waiter;
	s->job.run = on_start;
	loop_post(&s->job);
}
