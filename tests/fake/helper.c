/*
 * A helper process of a small kind, for tests/unit/peer.c. The name in its
 * hello says what becomes of it:
 *	wrong	it has failed, in the step "look"
 *	mute	it never says that it is ready
 *	old	it serves version 1 of the protocol
 *	else	it is ready
 */
#include "tests/fake/helper.h"
#include "core/loop.h"
#include "core/peer.h"
#include "core/signal.h"
#include "worker.pb-c.h"

#include <errno.h>
#include <fcntl.h>

static struct peer_from waiting;

static void
hello(const struct peer_from *from, const struct peer_frame *frame)
{
	Worker__Setting *m = peer_unpack(frame, &worker__setting__descriptor);
	struct peer_frame no = { .kind = PEER_FAILED, .step = "look" };

	(void)err_set(&no.err, ERR_NOT_FOUND, "nothing there");
	if (str_eq(m->name, "wrong"))
		peer_answer(from, &no);
	else if (!str_eq(m->name, "mute"))
		peer_answer(from, &(struct peer_frame){ .kind = PEER_READY });
	worker__setting__free_unpacked(m, NULL);
}

static void
call(const struct peer_from *from, const struct peer_frame *frame)
{
	Worker__Setting *m = peer_unpack(frame, &worker__setting__descriptor);
	struct peer_frame part = { .kind = PEER_REPLY, .more = true };
	auto_close int fd = -1;
	struct err err = ERR_INIT;

	switch (frame->what) {
	case HELPER_ECHO:
		peer_reply(from, NULL, &m->base);
		break;
	case HELPER_STREAM:
		for (int i = 0; i < 1000; i++)
			peer_answer(from, &part);
		peer_reply(from, NULL, NULL);
		break;
	case HELPER_OPEN:
		fd = open(m->value, O_RDONLY | O_CLOEXEC);
		peer_answer(from,
		    &(struct peer_frame){
			.kind = PEER_REPLY, .fds = &fd, .nfds = 1 });
		break;
	case HELPER_WAIT:
		waiting = *from;
		break;
	case HELPER_DIE:
		_exit(7);
	case HELPER_HANG:
		for (;;)
			pause();
	default:
		(void)err_set_rc(&err, -ENOTTY, "call %u", frame->what);
		peer_reply(from, &err, NULL);
	}
	worker__setting__free_unpacked(m, NULL);
}

static void
cancel(const struct peer_from *from)
{
	struct err err = ERR_INIT;

	(void)err_set(&err, ERR_CANCELLED, "as told");
	if (from->id == waiting.id)
		peer_reply(&waiting, &err, NULL);
}

static void
closed(int rc)
{
	(void)rc;
	loop_stop();
}

int
main(int argc, char *argv[])
{
	static struct peer_service service = {
		.name = "helper",
		.version = 2,
		.max_frame = 65536,
		.max_queued = 1 << 20,
		.hello = hello,
		.call = call,
		.cancel = cancel,
		.drain = loop_stop,
		.closed = closed,
	};
	struct err err = ERR_INIT;

	process_begin();
	if (argc > 1 && str_eq(argv[1], "old"))
		service.version = 1;
	if (loop_init() < 0 ||
	    (argc > 2 && peer_listen(argv[2], 2, &service, &err) < 0))
		return 1;
	peer_serve(3, &service);
	loop_run();
	peer_serve_end();
	loop_fini();
	return 0;
}
