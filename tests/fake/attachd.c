/*
 * A rbd-attachd without Ceph and FUSE, for tests/op/userspace.c. The user in
 * the image table says what kind of session it is:
 *	wrong	FAILED: no Ceph session; it ends
 *	alien	it speaks another version of the protocol
 *	else	READY
 * a file in the session's directory what is so for one process, which removes
 * it:
 *	crash	it ends without a word
 *	mute	it never serves
 *	old	it speaks another version of the protocol
 *	older	it is another version of the program
 *	deaf	it does not end when it is told to drain
 * and the name of the image what becomes of an ATTACH:
 *	die	the process ends
 *	hang	no answer
 *	refuse	FAILED_PRECONDITION
 *	resize	... and its size has changed
 *	retire	... and FAILED: it takes nothing new
 *	lost	FAILED: nothing works any more
 *	else	the image is attached
 */
#include "attach/table.h"
#include "config.h"
#include "core/loop.h"
#include "core/peer.h"
#include "core/signal.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

static struct table *table;
static bool serving, older, deaf;

static void
tell_failed(enum peer_scope scope, const char *step, const char *text)
{
	struct peer_frame failed = {
		.kind = PEER_FAILED, .what = scope, .step = step
	};

	(void)err_set(&failed.err, ERR_UNAVAILABLE, "%s", text);
	peer_answer(NULL, &failed);
}

static void
on_hello(const struct peer_from *from, const struct peer_frame *frame)
{
	Attach__Ready ready = ATTACH__READY__INIT;

	(void)frame;
	if (!serving)
		return;
	ready.version = (char *)(uintptr_t)(older ? "0.0" : PACKAGE_VERSION);
	ready.generation = atomic_load(&table->generation);
	peer_answer(from,
	    &(struct peer_frame){ .kind = PEER_READY, .message = &ready.base });
}

static void
attach(const struct peer_from *from, const Attach__Target *target)
{
	Attach__Attached attached = ATTACH__ATTACHED__INIT;
	unsigned i = 0;
	struct table_slot *slot;
	char file[TABLE_FILE_MAX];

	while (table_slot_state(slot = table_slot_at(table, i)) !=
		TABLE_SLOT_FREE &&
	    !str_eq(slot->image, target->image))
		i++;
	attached.existed = table_slot_state(slot) != TABLE_SLOT_FREE;
	if (!attached.existed && table_slot_fill(table, i, target, NULL) == 0)
		table_slot_set_state(slot, TABLE_SLOT_SERVED);
	table_slot_name(table, slot, file);
	attached.ino = slot->ino;
	attached.size_bytes = 4096;
	attached.file = file;
	if (str_eq(target->image, "resize"))
		peer_answer(NULL,
		    &(struct peer_frame){ .kind = PEER_EVENT,
			.what = ATTACH__EVENT__RESIZED,
			.message = &attached.base });
	peer_reply(from, NULL, &attached.base);
}

static void
on_call(const struct peer_from *from, const struct peer_frame *frame)
{
	Attach__Target *t = peer_unpack(frame, &attach__target__descriptor);
	struct table_slot *slot;
	struct err err = ERR_INIT;

	if (frame->what == ATTACH__CALL__DETACH) {
		slot = table_slot_at(table, table_slot_index(t->ino));
		table_slot_set_state(slot, TABLE_SLOT_FREE);
		peer_reply(from, NULL, NULL);
	} else if (str_eq(t->image, "die")) {
		_exit(7);
	} else if (str_eq(t->image, "refuse")) {
		(void)err_set(&err, ERR_FAILED_PRECONDITION, "refused");
		peer_reply(from, &err, NULL);
	} else if (str_eq(t->image, "lost")) {
		tell_failed(PEER_SCOPE_LOST, "blocklist", "blocklisted");
	} else if (!str_eq(t->image, "hang")) {
		if (str_eq(t->image, "retire"))
			tell_failed(PEER_SCOPE_RETIRED, "permission", "no");
		attach(from, t);
	}
	attach__target__free_unpacked(t, NULL);
}

static void
on_drain(void)
{
	if (!deaf)
		loop_stop();
}

static void
on_terminate(int signo)
{
	(void)signo;
	on_drain();
}

static void
on_closed(int rc)
{
	(void)rc; /* the next rbd-csid comes */
}

static bool
is_marked(const char *dir, const char *name)
{
	auto_free char *path = str_fmt("%s/%s", dir, name);

	return unlink(path) == 0;
}

int
main(int argc, char *argv[])
{
	static struct peer_service service = {
		.name = "rbd-attachd",
		.version = ATTACH__PROTOCOL__VERSION,
		.max_frame = ATTACH_FRAME_MAX,
		.max_queued = ATTACH_QUEUED_MAX,
		.hello = on_hello,
		.call = on_call,
		.drain = on_drain,
		.closed = on_closed,
	};
	auto_free char *socket_path = NULL;
	struct err err = ERR_INIT;

	process_begin();
	/* Nothing is left of a test that has failed. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc < 2 || loop_init() < 0 ||
	    (table = table_map(ATTACH_FD_TABLE, &err)) == NULL)
		return 1;
	signal_watch(SIGTERM, on_terminate);
	atomic_fetch_add(&table->generation, 1);
	if (is_marked(argv[1], "old") || str_eq(table->user, "alien"))
		service.version = 99;
	older = is_marked(argv[1], "older");
	deaf = is_marked(argv[1], "deaf");
	if (is_marked(argv[1], "crash"))
		return 3;
	serving = !is_marked(argv[1], "mute");
	socket_path = str_fmt("%s/sock", argv[1]);
	peer_serve(ATTACH_FD_CHANNEL, &service);
	if (peer_listen(socket_path, 4, &service, &err) < 0)
		return 1;
	if (str_eq(table->user, "wrong")) {
		tell_failed(PEER_SCOPE_START, "authenticate", "wrong key");
		return 1;
	}
	loop_run();
	(void)unlink(socket_path);
	return 0;
}
