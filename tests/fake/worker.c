/*
 * A ceph-worker without Ceph, for tests of rbd-csid. The user in the Hello
 * says what kind of session it is:
 *	wrong	Failed, as by a wrong key
 *	crash	ends without a word
 *	mute	never answers
 *	babble	sends what is not for a worker to say
 *	slow	Ready, and each request is as one with the body "slow"
 *	fickle	Ready; the first process (which removes the file that
 *		`monitors` names) serves "lost", "denied" and "hang" as below,
 *		those after it echo them
 *	moved	the same, but those after it are at another fsid
 *	revoked	the same, but those after it end as "wrong"
 *	else	Ready
 * and the body of a request what becomes of it:
 *	whoami	the Hello as text
 *	error	NOT_FOUND
 *	die	the process ends
 *	stuck	no answer, no progress, ever
 *	slow	one Progress, then no answer until it is cancelled
 *	lost	fickle: Failed and UNAVAILABLE, as when blocklisted
 *	denied	fickle: PERMISSION_DENIED
 *	hang	fickle: no answer until it is cancelled
 *	else	the body comes back
 * It refuses to work when it finds its key in its arguments or environment.
 */
#include "core/loop.h"
#include "core/peer.h"
#include "worker.pb-c.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char hello_text[512];
static bool all_slow, fickle;

/* Is `key` in a file of ours under /proc? */
static bool
is_in(const char *path, const char *key)
{
	char text[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text)) : -1;

	if (fd >= 0)
		(void)close(fd);
	return n > 0 && memmem(text, (size_t)n, key, strlen(key)) != NULL;
}

static void
send_failed(enum err_code code, const char *step, const char *text)
{
	struct peer_frame failed = { .kind = PEER_FAILED, .step = step };

	(void)err_set(&failed.err, code, "%s", text);
	peer_answer(NULL, &failed);
}

static void
fail(enum err_code code, const char *step, const char *text)
{
	send_failed(code, step, text);
	_exit(1);
}

static void
on_hello(const struct peer_from *from, const struct peer_frame *frame)
{
	Worker__Hello *hello = peer_unpack(frame, &worker__hello__descriptor);
	Worker__Ready ready = WORKER__READY__INIT;
	static char fsid[] = "11111111-2222-3333-4444-555555555555";
	static char address[] = "127.0.0.1:0/1";
	auto_free char *key = NULL;
	bool later;

	if (hello == NULL)
		_exit(9);
	key = mem_new(hello->key.len + 1);
	memcpy(key, hello->key.data, hello->key.len);
	if (is_in("/proc/self/cmdline", key) ||
	    is_in("/proc/self/environ", key))
		fail(13, "hide the key", "it is in argv or environment");
	(void)snprintf(hello_text, sizeof(hello_text),
	    "%s %s %s %s %s %s %s %s", hello->cluster_id, hello->monitors,
	    hello->user, key, hello->driver_name, hello->instance_id,
	    hello->cluster_name, hello->net_namespace);
	if (strcmp(hello->user, "crash") == 0)
		_exit(3);
	if (strcmp(hello->user, "wrong") == 0)
		fail(16, "authenticate as client.wrong", "wrong key");
	if (strcmp(hello->user, "mute") == 0)
		return;
	if (strcmp(hello->user, "babble") == 0) {
		peer_answer(from, &(struct peer_frame){ .kind = PEER_CANCEL });
		return;
	}
	all_slow = strcmp(hello->user, "slow") == 0;
	later = unlink(hello->monitors) < 0;
	if (later && strcmp(hello->user, "revoked") == 0)
		fail(16, "authenticate as client.revoked", "wrong key");
	if (later && strcmp(hello->user, "moved") == 0)
		fsid[0] = '2';
	fickle = !later;
	worker__hello__free_unpacked(hello, NULL);
	ready.fsid = fsid;
	ready.address = address;
	peer_answer(from,
	    &(struct peer_frame){ .kind = PEER_READY, .message = &ready.base });
}

static void
reply(
    const struct peer_from *from, unsigned code, const void *bytes, size_t len)
{
	Worker__Reply r = WORKER__REPLY__INIT;
	Worker__State read_state = WORKER__STATE__INIT, *states[1];
	static char name[] = "READ";
	struct err err = ERR_INIT;

	read_state.name = name;
	read_state.us = 1500;
	states[0] = &read_state;
	if (code != 0) {
		(void)err_set(
		    &err, (enum err_code)code, "%s", (const char *)bytes);
	} else {
		r.body.data = (uint8_t *)(uintptr_t)bytes;
		r.body.len = len;
	}
	r.states = states;
	r.n_states = 1;
	peer_reply(from, &err, &r.base);
}

static void
progress(uint64_t id)
{
	Worker__Progress p = WORKER__PROGRESS__INIT;
	Worker__Running running = WORKER__RUNNING__INIT, *list[1];
	static char state[] = "CREATE_CLAIMED";

	running.id = id;
	running.state = state;
	running.state_ms = 2000;
	list[0] = &running;
	p.running = list;
	p.n_running = 1;
	peer_answer(NULL,
	    &(struct peer_frame){ .kind = PEER_EVENT, .message = &p.base });
}

static bool
serve_fickle(const struct peer_from *from, const char *body, size_t len)
{
	if (len == 4 && memcmp(body, "lost", len) == 0) {
		send_failed(14, "use the session", "blocklisted");
		reply(from, 14, "the first answer", 0);
		return true;
	}
	if (len == 6 && memcmp(body, "denied", len) == 0) {
		reply(from, 7, "permission denied", 0);
		return true;
	}
	return len == 4 && memcmp(body, "hang", len) == 0;
}

static void
on_call(const struct peer_from *from, const struct peer_frame *frame)
{
	Worker__Request *request = peer_unpack(
	    frame, &worker__request__descriptor);
	const char *body = (const char *)request->body.data;
	size_t len = request->body.len;

	if (fickle && serve_fickle(from, body, len))
		return;
	if (all_slow)
		progress(from->id);
	else if (len == 6 && memcmp(body, "whoami", len) == 0)
		reply(from, 0, hello_text, strlen(hello_text));
	else if (len == 5 && memcmp(body, "error", len) == 0)
		reply(from, 5, "no such volume", 0);
	else if (len == 3 && memcmp(body, "die", len) == 0)
		_exit(7);
	else if (len == 4 && memcmp(body, "slow", len) == 0)
		progress(from->id);
	else if (len != 5 || memcmp(body, "stuck", len) != 0)
		reply(from, 0, body, len);
	worker__request__free_unpacked(request, NULL);
}

static void
on_cancel(const struct peer_from *from)
{
	reply(from, 1, "cancelled", 0);
}

static void
on_closed(int rc)
{
	(void)rc;
	_exit(0); /* the daemon let us go */
}

int
main(void)
{
	static const struct peer_service service = {
		.name = "ceph-worker",
		.version = WORKER__PROTOCOL__VERSION,
		.max_frame = 8 << 20,
		.max_queued = 16 << 20,
		.hello = on_hello,
		.call = on_call,
		.cancel = on_cancel,
		.closed = on_closed,
	};

	if (loop_init() < 0)
		return 1;
	peer_serve(3, &service);
	loop_run();
}
