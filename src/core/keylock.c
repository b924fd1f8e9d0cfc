/*
 * keylock.c - a queue of claims per key.
 *
 * The rule that holds it together: the owners are at the head of the queue,
 * the first claim, and behind a shared one all shared ones that follow.
 */
#include "core/keylock.h"

#include "base/clock.h"
#include "base/map.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

struct keylock {
	struct map queues; /* key -> struct keylock_queue */
};

struct keylock_queue {
	char *key;
	TAILQ_HEAD(, keylock_claim) claims;
};

struct keylock *
keylock_new(void)
{
	return mem_new(sizeof(struct keylock));
}

void
keylock_free(struct keylock *locks)
{
	assert(map_count(&locks->queues) == 0);
	map_fini(&locks->queues);
	free(locks);
}

/* Who is at the head now and does not own the key yet does from now on. */
static void
grant(struct keylock_queue *queue)
{
	struct keylock_claim *claim;
	struct wake *waiter;

	TAILQ_FOREACH (claim, &queue->claims, link) {
		if (claim != TAILQ_FIRST(&queue->claims) && !claim->shared)
			return;
		if ((waiter = claim->waiter) != NULL) {
			claim->waiter = NULL;
			claim->since_ms = clock_now_ms();
			wake_up(waiter, 0);
		}
		if (!claim->shared)
			return;
	}
}

void
keylock_take_start(struct keylock *locks, struct keylock_claim *claim,
    const char *key, struct wake *waiter)
{
	struct keylock_queue *queue = map_get(&locks->queues, key);

	assert(claim->queue == NULL);
	if (queue == NULL) {
		queue = mem_new(sizeof(*queue));
		queue->key = str_dup(key);
		TAILQ_INIT(&queue->claims);
		(void)map_set(&locks->queues, key, queue);
	}
	claim->queue = queue;
	claim->waiter = waiter;
	TAILQ_INSERT_TAIL(&queue->claims, claim, link);
	grant(queue);
}

static void
leave(struct keylock *locks, struct keylock_claim *claim)
{
	struct keylock_queue *queue = claim->queue;

	TAILQ_REMOVE(&queue->claims, claim, link);
	claim->queue = NULL;
	grant(queue);
	if (TAILQ_EMPTY(&queue->claims)) {
		(void)map_remove(&locks->queues, queue->key);
		free(queue->key);
		free(queue);
	}
}

void
keylock_cancel(struct keylock *locks, struct keylock_claim *claim)
{
	struct wake *waiter = claim->waiter;

	if (waiter == NULL)
		return;
	claim->waiter = NULL;
	leave(locks, claim);
	wake_up(waiter, -ECANCELED);
}

void
keylock_release(struct keylock *locks, struct keylock_claim *claim)
{
	assert(keylock_owns(claim));
	leave(locks, claim);
}

bool
keylock_owns(const struct keylock_claim *claim)
{
	return claim->queue != NULL && claim->waiter == NULL;
}

struct keylock_claim *
keylock_find(const struct keylock *locks, const char *key, const void *print,
    size_t print_len)
{
	struct keylock_queue *queue = map_get(&locks->queues, key);
	struct keylock_claim *claim;

	if (queue == NULL || print == NULL)
		return NULL;
	TAILQ_FOREACH (claim, &queue->claims, link)
		if (claim->print != NULL && claim->print_len == print_len &&
		    memcmp(claim->print, print, print_len) == 0)
			return claim;
	return NULL;
}

struct keylock_claim *
keylock_owner(const struct keylock *locks, const char *key)
{
	struct keylock_queue *queue = map_get(&locks->queues, key);

	return queue != NULL ? TAILQ_FIRST(&queue->claims) : NULL;
}

size_t
keylock_count(const struct keylock *locks)
{
	return map_count(&locks->queues);
}
