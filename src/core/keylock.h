/*
 * keylock.h - FIFO locks by name. One claim owns a key, or any number of
 * shared ones do; the others queue, and nobody overtakes: a shared claim
 * waits behind an exclusive one that waits.
 *
 * A claim may carry a fingerprint of its request: keylock_find() then lets an
 * identical request join the claim that is there (owner or queued) instead of
 * queueing behind it.
 */
#ifndef CORE_KEYLOCK_H
#define CORE_KEYLOCK_H

#include "core/op.h"

struct keylock; /* a set of locks */
struct keylock_queue;

/* Embed it; zeroed is a valid claim that holds nothing. */
struct keylock_claim {
	const char *what;  /* the operation's name, for people; borrowed */
	const void *print; /* fingerprint, or NULL: nobody joins; borrowed */
	size_t print_len;
	bool shared;                 /* owns the key beside other such */
	int64_t since_ms;            /* when it became an owner */
	struct keylock_queue *queue; /* the queue it stands in, or NULL */
	struct wake *waiter;         /* who waits to own, NULL once it does */
	TAILQ_ENTRY(keylock_claim) link;
};

struct keylock *keylock_new(void);
void keylock_free(struct keylock *locks); /* must be empty */

/*
 * Queues the claim for `key` (copied) and wakes `waiter` with 0 when it owns
 * it, or with -ECANCELED after keylock_cancel().
 */
void keylock_take_start(struct keylock *locks, struct keylock_claim *claim,
    const char *key, struct wake *waiter);

/* A claim that still waits leaves the queue; its waiter is woken. */
void keylock_cancel(struct keylock *locks, struct keylock_claim *claim);

/* An owner gives the key back; the next in the queue owns it. */
void keylock_release(struct keylock *locks, struct keylock_claim *claim);

bool keylock_owns(const struct keylock_claim *claim);

/* The claim on `key` with the same fingerprint, or NULL. */
struct keylock_claim *keylock_find(const struct keylock *locks, const char *key,
    const void *print, size_t print_len);

/* Who owns `key`, of several the first one, or NULL. */
struct keylock_claim *keylock_owner(
    const struct keylock *locks, const char *key);

size_t keylock_count(const struct keylock *locks); /* keys in use */

#endif
