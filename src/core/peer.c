/*
 * peer.c - the envelope, the supervision of helper processes, and their side.
 *
 * Two events tell the end of a process: the end of its channel (all that it
 * has said is read then) and its exit. Which one counts is said by the kind.
 * A process that was let go has no peer any more and is watched to its end.
 */
#include "core/peer.h"

#include "base/clock.h"
#include "base/secret.h"
#include "core/child.h"
#include "core/unix_socket.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define CLOSED_MS 1000 /* from exit to the channel's end of file */
#define AGAIN_MS 60000 /* from SIGKILL to the next one */

/* ---- the envelope -------------------------------------------------------- */

/*
 * Before the text and the body; the body of FAILED is the step. Both processes
 * are on one machine. The format comes first in all versions.
 */
struct envelope {
	uint8_t format, kind, code, more;
	uint32_t what;
	int32_t rc;
	uint32_t text; /* its length */
	uint64_t id;
};
#define ENVELOPE_FORMAT 1

static int
frame_send(struct channel *c, const struct peer_frame *f)
{
	struct envelope e = { .format = ENVELOPE_FORMAT,
		.kind = (uint8_t)f->kind,
		.code = (uint8_t)f->err.code,
		.more = f->more,
		.what = f->what,
		.rc = f->err.rc,
		.text = (uint32_t)strlen(f->err.text),
		.id = f->id };
	size_t len = f->step != NULL ? strlen(f->step) : 0;
	unsigned char *p;
	int rc;

	if (f->message != NULL)
		len = protobuf_c_message_get_packed_size(f->message);
	rc = channel_begin(c, sizeof(e) + e.text + len, f->fds, f->nfds, &p);
	if (rc < 0)
		return rc;
	memcpy(p, &e, sizeof(e));
	memcpy(p + sizeof(e), f->err.text, e.text);
	if (f->message != NULL)
		(void)protobuf_c_message_pack(
		    f->message, p + sizeof(e) + e.text);
	else if (len > 0)
		memcpy(p + sizeof(e) + e.text, f->step, len);
	return channel_push(c);
}

/* `step` keeps the step of FAILED. 0 or -EPROTO. */
static int
frame_parse(struct peer_frame *f, char step[ERR_TEXT_MAX],
    const unsigned char *p, size_t len, int *fds, size_t nfds)
{
	struct envelope e = { .format = 0 };

	*f = (struct peer_frame){ .fds = fds, .nfds = nfds, .step = step };
	step[0] = '\0';
	if (len >= sizeof(e))
		memcpy(&e, p, sizeof(e));
	if (e.format != ENVELOPE_FORMAT || e.kind > PEER_LEVEL ||
	    e.code > ERR_UNAUTHENTICATED || e.text > len - sizeof(e))
		return -EPROTO;
	f->kind = (enum peer_frame_kind)e.kind;
	f->more = e.more != 0;
	f->what = e.what;
	f->id = e.id;
	f->body = p + sizeof(e) + e.text;
	f->len = len - sizeof(e) - e.text;
	if (e.code != ERR_OK) {
		(void)err_set(&f->err, (enum err_code)e.code, "%.*s",
		    (int)e.text, (const char *)p + sizeof(e));
		f->err.rc = e.rc;
	}
	if (f->kind == PEER_FAILED)
		(void)snprintf(step, ERR_TEXT_MAX, "%.*s", (int)f->len,
		    (const char *)f->body);
	if (f->kind == PEER_FAILED && !err_is_set(&f->err))
		(void)err_set(&f->err, ERR_UNAVAILABLE, "no reason given");
	return 0;
}

static void
close_fds(const struct peer_frame *f)
{
	for (size_t i = 0; i < f->nfds; i++)
		if (f->fds[i] >= 0)
			(void)close(f->fds[i]);
}

void *
peer_unpack(const struct peer_frame *f, const ProtobufCMessageDescriptor *type)
{
	return protobuf_c_message_unpack(type, NULL, f->len, f->body);
}

/* ---- processes ----------------------------------------------------------- */

struct process {
	const struct peer_kind *kind;
	struct peer *peer; /* NULL: let go */
	pid_t pid;
	struct io pidfd;   /* not watched: it has ended */
	struct timer late; /* SIGKILL; after its exit: no end of file came */
	LIST_ENTRY(process) link;
};

static LIST_HEAD(, process) processes = LIST_HEAD_INITIALIZER(processes);

static bool
has_ended(const struct process *proc)
{
	return proc->pidfd.ev == NULL;
}

static void
process_kill(const struct process *proc, int signo)
{
	if (!has_ended(proc))
		(void)syscall(
		    SYS_pidfd_send_signal, proc->pidfd.fd, signo, NULL, 0u);
}

/* One that has not ended lives on. */
static void
process_free(struct process *proc)
{
	if (!has_ended(proc))
		io_close(&proc->pidfd);
	timer_disarm(&proc->late);
	LIST_REMOVE(proc, link);
	free(proc);
}

static void
peer_enter(struct peer *p, enum peer_state state)
{
	p->state = state;
	p->since_ms = clock_now_ms();
	timer_disarm(&p->timer);
}

/* Its process goes on alone to its end, for which it has a bound. */
static void
let_go(struct peer *p)
{
	struct process *proc = take_ptr(&p->process);

	channel_free(take_ptr(&p->channel));
	timer_disarm(&p->timer);
	if (proc == NULL)
		return;
	proc->peer = NULL;
	if (has_ended(proc))
		process_free(proc);
	else
		timer_arm(&proc->late, proc->kind->end_ms);
}

void
peer_end(struct peer *p)
{
	int64_t ms = 0;

	let_go(p);
	if (++p->failures > 1)
		ms = p->kind->backoff_ms;
	for (unsigned i = 2; i < p->failures && ms < p->kind->backoff_max_ms;
	     i++)
		ms *= 2;
	peer_enter(p, PEER_BACKOFF);
	timer_arm(&p->timer,
	    ms < p->kind->backoff_max_ms ? ms : p->kind->backoff_max_ms);
}

static void
peer_gone(struct peer *p)
{
	let_go(p);
	p->kind->gone(p);
}

static void
channel_end(struct peer *p)
{
	if (!p->kind->exclusive || has_ended(p->process)) {
		peer_gone(p);
		return;
	}
	channel_free(take_ptr(&p->channel));
	if (p->kind->closed != NULL)
		p->kind->closed(p);
	else
		peer_kill(p, SIGKILL);
}

static void
on_process_late(struct timer *timer)
{
	struct process *proc = container_of(timer, struct process, late);

	if (has_ended(proc)) {
		peer_gone(proc->peer);
		return;
	}
	log_warn("peer.kill", "kind=%s pid=%d text=\"did not end in time\"",
	    proc->kind->name, (int)proc->pid);
	process_kill(proc, SIGKILL);
	timer_arm(timer, AGAIN_MS);
}

static void
on_process_exit(struct io *io, int what)
{
	struct process *proc = container_of(io, struct process, pidfd);
	int status = 0;
	bool killed;
	char event[48];

	(void)what;
	/* -ECHILD: somebody else's child, which is gone all the same. */
	if (waitpid(proc->pid, &status, WNOHANG) == 0)
		return;
	io_close(io);
	killed = WIFSIGNALED(status);
	(void)snprintf(event, sizeof(event), "%s.exit", proc->kind->name);
	log_line(status != 0 ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, event,
	    "pid=%d %s=%d", (int)proc->pid, killed ? "signal" : "status",
	    killed ? WTERMSIG(status) : WEXITSTATUS(status));
	if (proc->peer == NULL) {
		process_free(proc);
		return;
	}
	proc->peer->status = status;
	if (proc->peer->channel == NULL)
		peer_gone(proc->peer);
	else
		timer_arm(&proc->late, CLOSED_MS);
}

static void
on_peer_timer(struct timer *timer)
{
	struct peer *p = container_of(timer, struct peer, timer);
	struct peer_frame late = { .kind = PEER_FAILED, .step = "" };

	if (p->state == PEER_BACKOFF) {
		peer_enter(p, PEER_IDLE);
		p->kind->rested(p);
		return;
	}
	peer_kill(p, SIGKILL);
	(void)err_set(&late.err, ERR_UNAVAILABLE, "no answer from %s in %d s",
	    p->kind->name, (int)(p->kind->start_ms / 1000));
	p->kind->failed(p, &late);
}

/* ---- what the helper says ------------------------------------------------ */

static void
on_peer_ready(struct peer *p, struct peer_frame *f)
{
	if (p->state != PEER_STARTING)
		return;
	if (f->what == p->kind->version) {
		peer_enter(p, PEER_UP);
		p->kind->ready(p, f);
		return;
	}
	(void)err_set(&f->err, ERR_FAILED_PRECONDITION,
	    "%s speaks version %u of the protocol, not %u", p->kind->name,
	    f->what, p->kind->version);
	f->what = PEER_SCOPE_VERSION;
	p->kind->failed(p, f);
}

struct peer_call *
peer_call_find(const struct peer *p, uint64_t id)
{
	struct peer_call *call;

	TAILQ_FOREACH (call, &p->calls, link)
		if (call->id == id)
			break;
	return call;
}

static void
on_peer_reply(struct peer *p, const struct peer_frame *f)
{
	struct peer_call *call = peer_call_find(p, f->id);

	if (call == NULL) { /* who waited was told something else */
		log_debug("peer.reply", "kind=%s pid=%d id=%llu is unknown",
		    p->kind->name, (int)peer_pid(p), (unsigned long long)f->id);
		return;
	}
	if (!f->more)
		peer_call_take(call);
	call->reply(call, f);
}

static void
on_peer_frame(struct channel *channel, const void *bytes, size_t len, int *fds,
    size_t nfds, void *arg)
{
	struct peer *p = arg;
	struct peer_frame f;
	char step[ERR_TEXT_MAX];

	(void)channel;
	p->heard_ms = clock_now_ms();
	if (frame_parse(&f, step, bytes, len, fds, nfds) < 0)
		peer_broken(p, "no frame");
	else if (f.kind == PEER_READY)
		on_peer_ready(p, &f);
	else if (f.kind == PEER_FAILED)
		p->kind->failed(p, &f);
	else if (f.kind == PEER_REPLY)
		on_peer_reply(p, &f);
	else if (f.kind == PEER_EVENT && p->kind->event != NULL)
		p->kind->event(p, &f);
	else
		peer_broken(p, "what is not for a helper to say");
	close_fds(&f);
}

static void
on_peer_closed(struct channel *channel, int rc, void *arg)
{
	struct peer *p = arg;

	(void)channel;
	if (rc < 0)
		log_warn("peer.channel", "kind=%s pid=%d text=\"%s\"",
		    p->kind->name, (int)peer_pid(p), strerror(-rc));
	channel_end(p);
}

static const struct channel_ops peer_channel_ops = {
	.frame = on_peer_frame,
	.closed = on_peer_closed,
};

void
peer_broken(struct peer *p, const char *text)
{
	log_error("peer.broken", "kind=%s pid=%d text=\"it has sent %s\"",
	    p->kind->name, (int)peer_pid(p), text);
	if (!p->kind->exclusive)
		peer_kill(p, SIGKILL);
	channel_end(p);
}

/* ---- what the helper is told --------------------------------------------- */

void
peer_init(struct peer *p, const struct peer_kind *kind)
{
	*p = (struct peer){ .kind = kind, .timer.fire = on_peer_timer };
	p->since_ms = clock_now_ms();
	TAILQ_INIT(&p->calls);
}

void
peer_fini(struct peer *p)
{
	let_go(p);
}

void
peer_forget(struct peer *p)
{
	struct process *proc = take_ptr(&p->process);

	let_go(p);
	if (proc != NULL)
		process_free(proc);
}

void
peer_greet(struct peer *p, int fd, const ProtobufCMessage *hello)
{
	p->channel = channel_new(
	    fd, p->kind->max_frame, p->kind->max_queued, &peer_channel_ops, p);
	(void)frame_send(p->channel,
	    &(struct peer_frame){ .kind = PEER_HELLO,
		.what = p->kind->version,
		.message = hello });
}

void
peer_adopt(struct peer *p, pid_t pid, int pidfd)
{
	struct process *proc = mem_new(sizeof(*proc));

	*proc = (struct process){ .kind = p->kind,
		.peer = p,
		.pid = pid,
		.late.fire = on_process_late };
	LIST_INSERT_HEAD(&processes, proc, link);
	io_watch(&proc->pidfd, pidfd, IO_READ, on_process_exit);
	p->process = proc;
	peer_enter(p, PEER_STARTING);
	p->started_ms = p->since_ms;
	if (p->kind->start_ms > 0)
		timer_arm(&p->timer, p->kind->start_ms);
}

int
peer_spawn(struct peer *p, const char *const argv[], const int *fds,
    size_t nfds, const ProtobufCMessage *hello, struct err *err)
{
	int pair[2] = { -1, -1 }, all[1 + CHANNEL_FDS_MAX], rc;
	pid_t pid = 0;

	peer_enter(p, PEER_STARTING);
	rc = nfds > CHANNEL_FDS_MAX ? -E2BIG : channel_pair(pair);
	if (rc == 0) {
		all[0] = pair[1];
		if (nfds > 0)
			memcpy(all + 1, fds, nfds * sizeof(*fds));
		rc = helper_spawn(&pid, argv, all, nfds + 1);
		(void)close(pair[1]);
		if (rc < 0)
			(void)close(pair[0]);
	}
	if (rc < 0)
		return err_set(err, ERR_UNAVAILABLE, "start %s: %s", argv[0],
		    strerror(-rc));
	if (p->kind->starts != NULL)
		++*p->kind->starts;
	peer_adopt(p, pid, rc);
	peer_greet(p, pair[0], hello);
	return 0;
}

int
peer_socket(const char *path)
{
	struct sockaddr_un address;
	auto_close int fd = -1;

	if (unix_socket_address(&address, path, NULL) < 0)
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return take_fd(&fd);
}

int
peer_call_send(struct peer *p, struct peer_call *call, unsigned what,
    const ProtobufCMessage *message)
{
	struct peer_frame f = { .kind = PEER_CALL,
		.what = what,
		.id = ++p->last_id,
		.message = message };
	int rc = p->channel != NULL ? frame_send(p->channel, &f) : -EPIPE;

	if (rc < 0)
		return rc;
	call->peer = p;
	call->id = f.id;
	TAILQ_INSERT_TAIL(&p->calls, call, link);
	return 0;
}

void
peer_call_cancel(const struct peer_call *call)
{
	if (call->peer != NULL && call->peer->channel != NULL)
		(void)frame_send(call->peer->channel,
		    &(struct peer_frame){
			.kind = PEER_CANCEL, .id = call->id });
}

void
peer_call_take(struct peer_call *call)
{
	TAILQ_REMOVE(&call->peer->calls, call, link);
	call->peer = NULL;
}

void
peer_drain(struct peer *p)
{
	if (p->process == NULL || p->state == PEER_DRAINING)
		return;
	peer_enter(p, PEER_DRAINING);
	timer_arm(&p->process->late, p->kind->end_ms);
	if (p->channel != NULL)
		(void)frame_send(
		    p->channel, &(struct peer_frame){ .kind = PEER_DRAIN });
}

void
peer_kill(struct peer *p, int signo)
{
	if (p->process != NULL)
		process_kill(p->process, signo);
}

pid_t
peer_pid(const struct peer *p)
{
	return p->process != NULL ? p->process->pid : 0;
}

bool
peer_is_connected(const struct peer *p)
{
	return p->channel != NULL;
}

void
peer_each_process(
    void (*each)(const char *name, pid_t pid, void *arg), void *arg)
{
	const struct process *proc;

	LIST_FOREACH (proc, &processes, link)
		if (!has_ended(proc))
			each(proc->kind->name, proc->pid, arg);
}

void
peer_log_level(enum log_level level)
{
	const struct process *proc;

	log_set_level(level);
	LIST_FOREACH (proc, &processes, link)
		if (proc->peer != NULL && proc->peer->channel != NULL)
			(void)frame_send(proc->peer->channel,
			    &(struct peer_frame){
				.kind = PEER_LEVEL, .what = level });
}

void
peer_forget_all(void)
{
	struct process *proc;

	while ((proc = LIST_FIRST(&processes)) != NULL)
		process_free(proc);
}

/* ---- the helper's side ---------------------------------------------------- */

struct peer_client {
	struct channel *channel;
	const struct peer_service *service;
	unsigned number;
	bool greeted;
	LIST_ENTRY(peer_client) link;
};

static struct {
	LIST_HEAD(, peer_client) clients;
	unsigned count, max, last;
	struct io listener;
	const struct peer_service *service; /* of the listener */
} serving = { .clients = LIST_HEAD_INITIALIZER(serving.clients) };

static void
client_end(struct peer_client *client, int rc)
{
	const struct peer_service *service = client->service;

	LIST_REMOVE(client, link);
	serving.count--;
	channel_free(client->channel);
	free(client);
	service->closed(rc);
}

static void
on_client_hello(struct peer_client *client, const struct peer_frame *f)
{
	struct peer_from from = { .client = client->number };
	struct peer_frame no = {
		.kind = PEER_FAILED, .what = PEER_SCOPE_VERSION, .step = "hello"
	};

	if (f->what == client->service->version) {
		client->greeted = true;
		client->service->hello(&from, f);
		return;
	}
	(void)err_set(&no.err, ERR_FAILED_PRECONDITION,
	    "%s speaks version %u of the protocol, not %u",
	    client->service->name, client->service->version, f->what);
	log_error("peer.version", "text=\"%s\"", no.err.text);
	peer_answer(&from, &no);
}

static void
on_client_frame(struct channel *channel, const void *bytes, size_t len,
    int *fds, size_t nfds, void *arg)
{
	struct peer_client *client = arg;
	const struct peer_service *service = client->service;
	struct peer_from from = { .client = client->number };
	struct peer_frame f;
	char step[ERR_TEXT_MAX];
	int rc = frame_parse(&f, step, bytes, len, fds, nfds);

	(void)channel;
	from.id = f.id;
	if (rc == 0 && f.kind == PEER_HELLO && !client->greeted) {
		on_client_hello(client, &f);
	} else if (rc == 0 && f.kind == PEER_CALL && client->greeted) {
		service->call(&from, &f);
	} else if (rc == 0 && f.kind == PEER_CANCEL && service->cancel) {
		service->cancel(&from);
	} else if (rc == 0 && f.kind == PEER_LEVEL &&
	    f.what <= LOG_LEVEL_DEBUG) {
		peer_log_level((enum log_level)f.what);
	} else if (rc == 0 && f.kind == PEER_DRAIN && service->drain) {
		service->drain();
	} else {
		log_error("peer.frame",
		    "kind=%d bytes=%zu text=\"not for %s just now\"",
		    rc == 0 ? (int)f.kind : -1, len, service->name);
		client_end(client, -EPROTO);
	}
	close_fds(&f);
}

static void
on_client_closed(struct channel *channel, int rc, void *arg)
{
	(void)channel;
	client_end(arg, rc);
}

static const struct channel_ops client_channel_ops = {
	.frame = on_client_frame,
	.closed = on_client_closed,
};

void
peer_serve(int fd, const struct peer_service *service)
{
	struct peer_client *client = mem_new(sizeof(*client));

	client->service = service;
	client->number = ++serving.last;
	client->channel = channel_new(fd, service->max_frame,
	    service->max_queued, &client_channel_ops, client);
	LIST_INSERT_HEAD(&serving.clients, client, link);
	serving.count++;
}

static void
on_client_connect(struct io *io, int what)
{
	auto_close int fd = accept4(
	    io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (fd >= 0 && serving.count < serving.max)
		peer_serve(take_fd(&fd), serving.service);
	else if (fd >= 0)
		log_warn("peer.full", "clients=%u", serving.count);
}

int
peer_listen(const char *path, unsigned max, const struct peer_service *service,
    struct err *err)
{
	struct unix_socket us;
	int rc;

	if (serving.listener.ev != NULL)
		return 0;
	rc = unix_socket_address(&us.address, path, err);
	if (rc == 0)
		rc = unix_socket_listen(
		    &us, UNIX_SOCKET_FILE(0600), (int)max, err);
	if (rc < 0)
		return rc;
	serving.max = max;
	serving.service = service;
	io_watch(&serving.listener, rc, IO_READ, on_client_connect);
	return 0;
}

unsigned
peer_clients(void)
{
	return serving.count;
}

void
peer_answer(const struct peer_from *to, const struct peer_frame *frame)
{
	struct peer_frame f = *frame;
	struct peer_client *client;

	if (to != NULL)
		f.id = to->id;
	LIST_FOREACH (client, &serving.clients, link) {
		if (to != NULL ? client->number != to->client
			       : f.kind == PEER_READY && !client->greeted)
			continue;
		if (f.kind == PEER_READY)
			f.what = client->service->version;
		/* When it fails the client has gone, or will have soon. */
		(void)frame_send(client->channel, &f);
	}
}

void
peer_reply(const struct peer_from *to, const struct err *err,
    const ProtobufCMessage *message)
{
	struct peer_frame f = { .kind = PEER_REPLY, .message = message };

	if (err != NULL)
		f.err = *err;
	peer_answer(to, &f);
}

void
peer_serve_end(void)
{
	struct peer_client *client;

	if (serving.listener.ev != NULL)
		io_close(&serving.listener);
	while ((client = LIST_FIRST(&serving.clients)) != NULL) {
		LIST_REMOVE(client, link);
		channel_free(client->channel);
		free(client);
	}
	serving.count = 0;
}
