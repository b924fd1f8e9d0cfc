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
#include "base/str.h"
#include "worker.pb-c.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CHANNEL 3

static char hello_text[512];
static bool all_slow, fickle;

static void
read_all(void *to, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = read(CHANNEL, (char *)to + at, len - at);

		if (n <= 0)
			_exit(0); /* the daemon let us go */
		at += (size_t)n;
	}
}

static Worker__Frame *
receive(void)
{
	unsigned char head[8], *bytes;
	Worker__Frame *frame;
	size_t len;

	read_all(head, sizeof(head));
	len = (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;
	bytes = mem_new(len + 1);
	read_all(bytes, len);
	frame = worker__frame__unpack(NULL, len, bytes);
	free(bytes);
	if (frame == NULL)
		_exit(9);
	return frame;
}

static void
transmit(const Worker__Frame *frame)
{
	size_t len = worker__frame__get_packed_size(frame);
	unsigned char *bytes = mem_new(len + 8);

	bytes[0] = (unsigned char)(len & 255);
	bytes[1] = (unsigned char)(len >> 8 & 255);
	bytes[2] = (unsigned char)(len >> 16 & 255);
	(void)worker__frame__pack(frame, bytes + 8);
	if (write(CHANNEL, bytes, len + 8) < 0)
		_exit(0);
	free(bytes);
}

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
send_failed(unsigned code, const char *step, const char *text)
{
	Worker__Frame frame = WORKER__FRAME__INIT;
	Worker__Failed failed = WORKER__FAILED__INIT;

	failed.code = code;
	failed.step = (char *)(uintptr_t)step;
	failed.text = (char *)(uintptr_t)text;
	frame.body_case = WORKER__FRAME__BODY_FAILED;
	frame.failed = &failed;
	transmit(&frame);
}

static void
fail(unsigned code, const char *step, const char *text)
{
	send_failed(code, step, text);
	_exit(1);
}

static void
greet(void)
{
	Worker__Frame *in = receive(), out = WORKER__FRAME__INIT;
	Worker__Ready ready = WORKER__READY__INIT;
	Worker__Cancel nonsense = WORKER__CANCEL__INIT;
	static char fsid[] = "11111111-2222-3333-4444-555555555555";
	static char address[] = "127.0.0.1:0/1";
	const Worker__Hello *hello = in->hello;
	auto_free char *key = NULL;
	bool later;

	if (in->body_case != WORKER__FRAME__BODY_HELLO)
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
		for (;;)
			worker__frame__free_unpacked(receive(), NULL);
	if (strcmp(hello->user, "babble") == 0) {
		out.body_case = WORKER__FRAME__BODY_CANCEL;
		out.cancel = &nonsense;
		transmit(&out);
		pause();
	}
	all_slow = strcmp(hello->user, "slow") == 0;
	later = unlink(hello->monitors) < 0;
	if (later && strcmp(hello->user, "revoked") == 0)
		fail(16, "authenticate as client.revoked", "wrong key");
	if (later && strcmp(hello->user, "moved") == 0)
		fsid[0] = '2';
	fickle = !later;
	worker__frame__free_unpacked(in, NULL);
	ready.fsid = fsid;
	ready.address = address;
	out.body_case = WORKER__FRAME__BODY_READY;
	out.ready = &ready;
	transmit(&out);
}

static void
reply(uint64_t id, unsigned code, const void *bytes, size_t len)
{
	Worker__Frame frame = WORKER__FRAME__INIT;
	Worker__Reply r = WORKER__REPLY__INIT;
	Worker__State read_state = WORKER__STATE__INIT, *states[1];
	static char name[] = "READ";

	read_state.name = name;
	read_state.us = 1500;
	states[0] = &read_state;
	r.id = id;
	r.code = code;
	if (code != 0) {
		r.text = (char *)(uintptr_t)bytes;
	} else {
		r.body.data = (uint8_t *)(uintptr_t)bytes;
		r.body.len = len;
	}
	r.states = states;
	r.n_states = 1;
	frame.body_case = WORKER__FRAME__BODY_REPLY;
	frame.reply = &r;
	transmit(&frame);
}

static void
progress(uint64_t id)
{
	Worker__Frame frame = WORKER__FRAME__INIT;
	Worker__Progress p = WORKER__PROGRESS__INIT;
	Worker__Running running = WORKER__RUNNING__INIT, *list[1];
	static char state[] = "CREATE_CLAIMED";

	running.id = id;
	running.state = state;
	running.state_ms = 2000;
	list[0] = &running;
	p.running = list;
	p.n_running = 1;
	frame.body_case = WORKER__FRAME__BODY_PROGRESS;
	frame.progress = &p;
	transmit(&frame);
}

static bool
serve_fickle(uint64_t id, const char *body, size_t len)
{
	if (len == 4 && memcmp(body, "lost", len) == 0) {
		send_failed(14, "use the session", "blocklisted");
		reply(id, 14, "the first answer", 0);
		return true;
	}
	if (len == 6 && memcmp(body, "denied", len) == 0) {
		reply(id, 7, "permission denied", 0);
		return true;
	}
	return len == 4 && memcmp(body, "hang", len) == 0;
}

static void
serve(const Worker__Request *request)
{
	const char *body = (const char *)request->body.data;
	size_t len = request->body.len;

	if (fickle && serve_fickle(request->id, body, len))
		return;
	if (all_slow)
		progress(request->id);
	else if (len == 6 && memcmp(body, "whoami", len) == 0)
		reply(request->id, 0, hello_text, strlen(hello_text));
	else if (len == 5 && memcmp(body, "error", len) == 0)
		reply(request->id, 5, "no such volume", 0);
	else if (len == 3 && memcmp(body, "die", len) == 0)
		_exit(7);
	else if (len == 4 && memcmp(body, "slow", len) == 0)
		progress(request->id);
	else if (len != 5 || memcmp(body, "stuck", len) != 0)
		reply(request->id, 0, body, len);
}

int
main(void)
{
	(void)fcntl(CHANNEL, F_SETFL, fcntl(CHANNEL, F_GETFL) & ~O_NONBLOCK);
	greet();
	for (;;) {
		Worker__Frame *frame = receive();

		if (frame->body_case == WORKER__FRAME__BODY_REQUEST)
			serve(frame->request);
		else if (frame->body_case == WORKER__FRAME__BODY_CANCEL)
			reply(frame->cancel->id, 1, "cancelled", 0);
		worker__frame__free_unpacked(frame, NULL);
	}
}
