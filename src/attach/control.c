/*
 * control.c - see control.h.
 */
#include "attach/control.h"

#include "attach.pb-c.h"
#include "base/clock.h"
#include "base/log.h"
#include "config.h"
#include "core/timer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CLIENTS_MAX 8
#define ATTACH_WAIT_MS 30000

/* ATTACH, DETACH or LOOK under way. */
struct order {
	struct wake wake;
	struct peer_from from;
	Attach__Call what;
	Attach__Target *target;
	struct image *image;
	char name[TABLE_NAME_MAX];
	struct err err;
	int64_t began_ms;
};

/* An ATTACH of an image that is just being opened or closed. */
struct waiting {
	struct waiting *next;
	struct timer late;
	struct peer_from from;
	Attach__Target *target;
};

static struct {
	const char *directory;
	struct table *table;
	void (*drain)(void);
	bool serving, draining;
	struct peer_frame fault; /* what those who come later are told, too */
	struct waiting *waiting; /* in no order */
	struct timer settle;
} ct;

/* ---- answers ----------------------------------------------------------- */

static void
send_attached(
    const struct peer_from *from, const struct image *image, bool existed)
{
	Attach__Attached attached = ATTACH__ATTACHED__INIT;
	struct table_slot *slot = image->slot;
	char file[TABLE_FILE_MAX];
	struct peer_frame frame = {
		.kind = from != NULL ? PEER_REPLY : PEER_EVENT,
		.what = from != NULL ? 0 : ATTACH__EVENT__RESIZED,
		.message = &attached.base,
	};

	table_slot_name(ct.table, slot, file);
	attached.file = file;
	attached.ino = slot->ino;
	attached.size_bytes = atomic_load(&slot->size_bytes);
	attached.existed = existed;
	attached.read_only = (slot->flags & TABLE_SLOT_READ_ONLY) != 0;
	attached.shared = (slot->flags & TABLE_SLOT_SHARED) != 0;
	peer_answer(from, &frame);
}

static void
send_ready(const struct peer_from *from)
{
	Attach__Ready ready = ATTACH__READY__INIT;

	ready.generation = atomic_load(&ct.table->generation);
	ready.version = (char *)(uintptr_t)PACKAGE_VERSION;
	peer_answer(from,
	    &(struct peer_frame){ .kind = PEER_READY, .message = &ready.base });
}

static void
on_hello(const struct peer_from *from, const struct peer_frame *frame)
{
	Attach__Hello *hello = peer_unpack(frame, &attach__hello__descriptor);
	int fds[] = { ATTACH_FD_FUSE, ATTACH_FD_TABLE };

	if (hello != NULL && hello->want_descriptors)
		peer_answer(from,
		    &(struct peer_frame){ .kind = PEER_EVENT,
			.what = ATTACH__EVENT__DESCRIPTORS,
			.fds = fds,
			.nfds = countof(fds) });
	attach__hello__free_unpacked(hello, NULL);
	if (ct.serving)
		send_ready(from);
	if (ct.fault.kind == PEER_FAILED)
		peer_answer(from, &ct.fault);
}

/* ---- commands ---------------------------------------------------------- */

static const char *const order_names[] = {
	[ATTACH__CALL__ATTACH] = "image.attach",
	[ATTACH__CALL__DETACH] = "image.detach",
	[ATTACH__CALL__LOOK] = "image.look",
};

static void
on_order_end(struct wake *wake, int rc)
{
	struct order *c = container_of(wake, struct order, wake);

	log_info(order_names[c->what], "image=%s code=%s ms=%lld%s%s%s",
	    c->name, err_code_name(c->err.code),
	    (long long)(clock_now_ms() - c->began_ms), rc < 0 ? " text=\"" : "",
	    c->err.text, rc < 0 ? "\"" : "");
	if (c->what == ATTACH__CALL__ATTACH && rc == 0)
		send_attached(&c->from, c->image, false);
	else
		peer_reply(&c->from, &c->err, NULL);
	attach__target__free_unpacked(c->target, NULL);
	free(c);
}

/* Opens an image (NULL), or closes or looks at it; takes over the target. */
static void
order_begin(const struct peer_from *from, Attach__Call what,
    Attach__Target *target, struct image *image)
{
	struct order *c = mem_new(sizeof(*c));

	*c = (struct order){ .wake.fn = on_order_end,
		.from = *from,
		.what = what,
		.target = target,
		.image = image,
		.began_ms = clock_now_ms() };
	(void)snprintf(c->name, sizeof(c->name), "%s",
	    image != NULL ? image->slot->image : target->image);
	if (what == ATTACH__CALL__ATTACH)
		image_attach_start(target, &c->image, &c->err, &c->wake);
	else if (what == ATTACH__CALL__DETACH)
		image_detach_start(image, &c->err, &c->wake);
	else
		image_look_start(image, &c->err, &c->wake);
}

/* Takes it out of the list; its target is the caller's. */
static Attach__Target *
waiting_end(struct waiting *w)
{
	Attach__Target *target = w->target;
	struct waiting **at = &ct.waiting;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	timer_disarm(&w->late);
	free(w);
	return target;
}

static void
on_waited(struct timer *timer)
{
	struct waiting *w = container_of(timer, struct waiting, late);
	struct peer_from from = w->from;
	Attach__Target *t = waiting_end(w);
	struct err err = ERR_INIT;

	(void)err_set_rc(&err, -ETIME,
	    "image %s/%s: another call has been opening or closing it for %d s",
	    t->pool, t->image, ATTACH_WAIT_MS / 1000);
	peer_reply(&from, &err, NULL);
	attach__target__free_unpacked(t, NULL);
}

static bool
is_busy(const struct image *image)
{
	return image != NULL &&
	    (image->state == IMAGE_OPENING || image->state == IMAGE_CLOSING);
}

/* Takes over the target. */
static void
attach(const struct peer_from *from, Attach__Target *t)
{
	struct image *image = image_find(t->pool, t->rados_namespace, t->image);
	struct err err = ERR_INIT;

	if (*t->pool == '\0' || *t->image == '\0') {
		(void)err_set(
		    &err, ERR_INVALID_ARGUMENT, "pool and image must be named");
	} else if (ct.draining) {
		(void)err_set(
		    &err, ERR_UNAVAILABLE, "rbd-attachd is being replaced");
	} else if (*t->cluster_fsid != '\0' &&
	    !str_eq(t->cluster_fsid, ct.table->fsid)) {
		(void)err_set(&err, ERR_NOT_FOUND,
		    "image %s is in cluster %.40s, and %s are the monitors of %s",
		    t->image, t->cluster_fsid, ct.table->monitors,
		    ct.table->fsid);
	} else if (image == NULL) {
		order_begin(from, ATTACH__CALL__ATTACH, t, NULL);
		return;
	} else if (is_busy(image)) {
		struct waiting *w = mem_new(sizeof(*w));

		*w = (struct waiting){ .next = ct.waiting,
			.late.fire = on_waited,
			.from = *from,
			.target = t };
		ct.waiting = w;
		timer_arm(&w->late, ATTACH_WAIT_MS);
		return;
	} else if (image->io.dead) {
		(void)err_set(&err, ERR_FAILED_PRECONDITION,
		    "image %s must be detached first: it was %s", t->image,
		    table_aborted_text((enum table_aborted)atomic_load(
			&image->slot->aborted)));
	}
	if (err_is_set(&err))
		peer_reply(from, &err, NULL);
	else
		send_attached(from, image, true);
	attach__target__free_unpacked(t, NULL);
}

static void
on_settled(struct timer *timer)
{
	struct waiting *w = ct.waiting, *next;
	struct peer_from from;
	struct image *image;

	(void)timer;
	for (; w != NULL; w = next) {
		next = w->next;
		from = w->from;
		image = image_find(w->target->pool, w->target->rados_namespace,
		    w->target->image);
		if (!is_busy(image))
			attach(&from, waiting_end(w));
	}
}

void
control_settled(void)
{
	if (ct.waiting != NULL)
		timer_arm(&ct.settle, 0);
}

static void
on_call(const struct peer_from *from, const struct peer_frame *frame)
{
	Attach__Target *t = peer_unpack(frame, &attach__target__descriptor);
	struct image *image = NULL;
	struct err err = ERR_INIT;

	if (t == NULL || frame->what < ATTACH__CALL__ATTACH ||
	    frame->what > ATTACH__CALL__LOOK) {
		(void)err_set(&err, ERR_UNIMPLEMENTED,
		    "rbd-attachd has no command %u", frame->what);
	} else if (!ct.serving) {
		(void)err_set(&err, ERR_UNAVAILABLE,
		    "rbd-attachd has no session with the cluster yet");
	} else if (frame->what == ATTACH__CALL__ATTACH) {
		attach(from, t);
		return;
	} else {
		image = image_by_ino(t->ino);
		if (frame->what == ATTACH__CALL__ABORT && image == NULL) {
			(void)err_set(&err, ERR_NOT_FOUND,
			    "no image %llu is attached",
			    (unsigned long long)t->ino);
		} else if (frame->what == ATTACH__CALL__ABORT) {
			image_abort(image, TABLE_ABORTED_ON_REQUEST);
		} else if (image != NULL &&
		    (frame->what == ATTACH__CALL__DETACH ||
			/* What is not served has no size to tell. */
			image->state == IMAGE_SERVED)) {
			order_begin(from, (Attach__Call)frame->what, t, image);
			return;
		}
	}
	peer_reply(from, &err, NULL);
	attach__target__free_unpacked(t, NULL);
}

static void
on_drain(void)
{
	ct.draining = true;
	ct.drain();
}

static void
on_client_gone(int rc)
{
	log_info("control.gone", "rc=%d", rc);
}

static const struct peer_service service = {
	.name = "rbd-attachd",
	.version = ATTACH__PROTOCOL__VERSION,
	.max_frame = ATTACH_FRAME_MAX,
	.max_queued = ATTACH_QUEUED_MAX,
	.hello = on_hello,
	.call = on_call,
	.drain = on_drain,
	.closed = on_client_gone,
};

void
control_init(const char *directory, struct table *table, void (*drain)(void))
{
	ct.directory = directory;
	ct.table = table;
	ct.drain = drain;
	ct.settle.fire = on_settled;
	peer_serve(ATTACH_FD_CHANNEL, &service);
}

int
control_listen(struct err *err)
{
	auto_free char *path = str_fmt("%s/sock", ct.directory);

	return peer_listen(path, CLIENTS_MAX, &service, err);
}

void
control_serving(void)
{
	ct.serving = true;
	send_ready(NULL);
}

void
control_fail(const char *step, enum peer_scope scope, const struct err *err)
{
	struct peer_frame fault = {
		.kind = PEER_FAILED, .what = scope, .step = step, .err = *err
	};

	if (ct.serving)
		ct.fault = fault;
	peer_answer(NULL, &fault);
}

void
control_resized(const struct image *image)
{
	send_attached(NULL, image, true);
}
