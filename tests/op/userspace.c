/*
 * Sessions of the userspace mapper against a scripted rbd-attachd
 * (tests/fake/attachd): start, death, successors, loss, drain, versions, and
 * what an earlier rbd-csid has left. The FUSE mount is faked here.
 */
#include "node/userspace_session.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/child.h"
#include "core/loop.h"
#include "tests/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int64_t now_ms = 1000000;
static char program[4096], state_dir[64];
static char last_log[1024];

/* ---- in place of userspace_mount.c ---------------------------------------- */

static bool fuse_has_ended, mount_fails, is_mounted = true;
static unsigned mounts, unmounts;

int
userspace_fuse_open(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

void
userspace_mount_start(struct userspace_mount *m, const char *dir, int fuse_fd,
    struct wake *waiter)
{
	(void)dir;
	(void)fuse_fd;
	mounts++;
	m->off.err = (struct err)ERR_INIT;
	wake_up(waiter,
	    mount_fails
		? err_set(&m->off.err, ERR_FAILED_PRECONDITION, "no FUSE here")
		: 0);
}

void
userspace_unmount_start(
    struct userspace_mount *m, const char *dir, struct wake *waiter)
{
	auto_free char *path = str_fmt("%s/sock", dir);

	unmounts++;
	m->off.err = (struct err)ERR_INIT;
	(void)unlink(path);
	(void)rmdir(dir);
	wake_up(waiter, 0);
}

bool
userspace_is_mounted(const char *dir)
{
	(void)dir;
	return is_mounted;
}

void
userspace_abort(const char *dir)
{
	(void)dir;
}

bool
userspace_fuse_has_ended(int fuse_fd)
{
	(void)fuse_fd;
	return fuse_has_ended;
}

/* ---- time and calls -------------------------------------------------------- */

static unsigned found, ready, gone, resized;

static void
on_found(struct attach_session *s)
{
	(void)s;
	found++;
}

static void
on_ready(struct attach_session *s)
{
	(void)s;
	ready++;
}

static void
on_resized(struct attach_session *s, uint64_t ino, uint64_t size_bytes)
{
	(void)s;
	(void)ino;
	resized += size_bytes == 4096;
}

static void
on_gone(struct attach_session *s)
{
	(void)s;
	gone++;
}

static const struct attach_session_ops ops = { .found = on_found,
	.ready = on_ready,
	.resized = on_resized,
	.gone = on_gone };

static void
on_tick(struct timer *timer)
{
	(void)timer;
}

/* Real processes: polls in steps of 5 ms of real time. */
static void
turn(void)
{
	struct timer tick = { .fire = on_tick };

	now_ms += 5;
	clock_fake(now_ms);
	timer_arm(&tick, 0);
	(void)usleep(5000);
	loop_turn(false);
	timer_disarm(&tick);
}

static void
pass(int64_t ms)
{
	now_ms += ms;
	clock_fake(now_ms);
	for (int i = 0; i < 4; i++)
		turn();
}

/* Someone who wants an image: gets a session, then attaches. */
struct asker {
	struct wake wake;
	struct table_identity who;
	struct attach_session *session;
	struct attach_call call;
	Attach__Call what;
	char image[32];
	uint64_t ino;
	struct err err;
	bool sent, ended;
};

static void
on_asker(struct wake *wake, int rc)
{
	struct asker *a = container_of(wake, struct asker, wake);

	if (a->sent || rc < 0) {
		a->ended = true;
		if (a->sent)
			a->err = a->call.err;
		return;
	}
	a->session = attach_session_get(&a->who, &a->wake, &a->err);
	if (a->session == NULL)
		return;
	a->sent = true;
	attach__target__init(&a->call.target);
	a->call.target.pool = (char[]){ "rbd" };
	a->call.target.image = a->image;
	a->call.target.ino = a->ino;
	attach_call_start(a->session, &a->call, a->what, &a->wake);
}

static struct asker *
ask_of(const char *user, Attach__Call what, const char *image, uint64_t ino)
{
	struct asker *a = mem_new(sizeof(*a));

	a->wake.fn = on_asker;
	a->who = (struct table_identity){ .cluster_id = "c",
		.net_namespace = "",
		.monitors = "m",
		.user = user,
		.key = "k3y" };
	a->what = what;
	a->ino = ino;
	(void)snprintf(a->image, sizeof(a->image), "%s", image);
	wake_up(&a->wake, 0);
	turn();
	return a;
}

static struct asker *
ask(const char *user, const char *image)
{
	return ask_of(user, ATTACH__CALL__ATTACH, image, 0);
}

static bool
ends(const struct asker *a)
{
	for (int i = 0; i < 1000 && !a->ended; i++)
		turn();
	return a->ended;
}

static void
forget(struct asker *a)
{
	if (!a->ended)
		abort();
	attach_call_fini(&a->call);
	free(a);
}

/* Attaches, or detaches. */
static bool
does(const char *user, const char *image)
{
	struct asker *a = ask(user, image);
	bool good = ends(a) && a->err.rc == 0 && a->call.attached != NULL;

	if (a->err.rc < 0)
		diag("%s: %s", image, a->err.text);
	forget(a);
	return good;
}

static size_t
sessions(void)
{
	struct attach_session *s = NULL;
	size_t n = 0;

	while ((s = attach_session_next(s)) != NULL)
		n++;
	return n;
}

static struct attach_session *
only_session(void)
{
	return sessions() == 1 ? attach_session_next(NULL) : NULL;
}

static bool
is_in(const char *state)
{
	const struct attach_session *s = only_session();

	return s != NULL && str_eq(attach_session_state(s), state);
}

static bool
gets_to(const char *state)
{
	for (int i = 0; i < 1000 && !is_in(state); i++)
		turn();
	return is_in(state);
}

/* Another process than this one serves. */
static bool
is_replaced(pid_t pid)
{
	for (int i = 0; i < 1000 &&
	     (!is_in("ready") || peer_pid(&only_session()->peer) == pid);
	     i++)
		turn();
	return is_in("ready") && peer_pid(&only_session()->peer) != pid;
}

static bool
all_end(void)
{
	for (int i = 0; i < 1000 && sessions() > 0; i++)
		turn();
	return sessions() == 0;
}

static void
mark(const char *dir, const char *name)
{
	auto_free char *path = str_fmt("%s/%s", dir, name);

	(void)close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

/* The images of the only session are closed, and it ends for that. */
static bool
detach_all(const char *user)
{
	struct attach_session *s = only_session();
	bool good = s != NULL;

	for (unsigned i = 0; good && table_slots_used(s->table) > 0; i++) {
		struct table_slot *slot = table_slot_at(s->table, i);
		struct asker *a;

		if (table_slot_state(slot) == TABLE_SLOT_FREE)
			continue;
		a = ask_of(user, ATTACH__CALL__DETACH, "", slot->ino);
		good = ends(a) && a->err.rc == 0;
		forget(a);
	}
	pass(61000);
	return good && all_end();
}

/* Until the process has taken the mark away. */
static void
mark_is_read(const char *dir, const char *name)
{
	auto_free char *path = str_fmt("%s/%s", dir, name);

	for (int i = 0; i < 12000 && access(path, F_OK) == 0; i++)
		turn();
}

/* ---- tests ------------------------------------------------------------------ */

static void
test_life(void)
{
	struct asker *a = ask("good", "one");

	is_int(mounts, 1, "a session begins with a mount");
	ok(ends(a) && a->err.rc == 0 && a->call.attached->size_bytes == 4096,
	    "then rbd-attachd is started, and attaches the image");
	ok(strstr(a->call.attached->file, "-one") != NULL,
	    "the file's name has that of the image");
	forget(a);
	a = ask("good", "refuse");
	ok(ends(a) && a->err.code == ERR_FAILED_PRECONDITION &&
		str_eq(a->err.text, "refused") && !a->call.lost,
	    "an answer may be a failure");
	forget(a);
	ok(does("good", "resize") && resized == 1,
	    "a new size is told without being asked for");
	ok(detach_all("good") && unmounts == 1,
	    "a session without an image ends");
}

static void
test_start_fails(void)
{
	struct asker *a = ask("wrong", "one");

	ok(ends(a) && str_eq(a->err.text, "wrong key"),
	    "no Ceph session: calls are told why");
	forget(a);
	ok(all_end(), "and the session ends");
	a = ask("alien", "one");
	ok(ends(a) && a->err.code == ERR_UNAVAILABLE &&
		strstr(a->err.text, "another build's") != NULL,
	    "the program is of another protocol: calls are told so");
	forget(a);
	ok(all_end(), "and the session ends");
	a = ask("good", "one");
	mark(only_session()->dir, "crash");
	ok(ends(a) && a->err.rc == 0 && only_session()->peer.failures == 1,
	    "one that dies at once has a successor, for a call waits");
	forget(a);
	ok(detach_all("good"), "which serves it");
	mount_fails = true;
	a = ask("good", "one");
	ok(ends(a) && str_eq(a->err.text, "no FUSE here"),
	    "so it does without FUSE");
	forget(a);
	mount_fails = false;
	ok(all_end(), "which leaves nothing");
}

static void
test_successors(void)
{
	struct attach_session *s;
	struct asker *a, *hang;
	uint32_t generation;
	pid_t pid;

	(void)does("good", "one");
	s = only_session();
	generation = atomic_load(&s->table->generation);
	pid = peer_pid(&s->peer);
	hang = ask("good", "hang");
	(void)kill(pid, SIGKILL);
	ok(gets_to("down") || gets_to("starting") || gets_to("ready"),
	    "a rbd-attachd that dies has a successor");
	ok(gets_to("ready") &&
		atomic_load(&s->table->generation) == generation + 1 &&
		peer_pid(&s->peer) != pid,
	    "with the same image table");
	ok(!hang->ended, "what was not answered is asked again");
	(void)kill(peer_pid(&s->peer), SIGKILL);
	ok(ends(hang) &&
		str_eq(hang->err.text, "rbd-attachd died 2 times over it"),
	    "but not for ever");
	forget(hang);
	a = ask("good", "die");
	ok(ends(a) && a->err.code == ERR_UNAVAILABLE,
	    "a command that kills each of them is given up");
	forget(a);
	ok(gets_to("down") || gets_to("starting") || gets_to("ready"),
	    "the session stays");
	pass(6000);
	ok(gets_to("ready"), "and serves after a pause");
	attach_session_replace(s, true);
	ok(is_in("draining"), "a planned successor comes after a drain");
	pass(1);
	ok(gets_to("ready"), "and serves");
	ok(detach_all("good"), "to the end");
}

/* Asked before, while and after its death is noticed. */
static void
test_asked_meanwhile(void)
{
	bool all = true;

	(void)does("good", "one");
	for (int turns = 0; turns < 6; turns++) {
		(void)kill(peer_pid(&only_session()->peer), SIGKILL);
		if (turns > 0)
			(void)usleep(20000);
		for (int i = 1; i < turns; i++)
			loop_turn(false);
		all &= does("good", "two");
		pass(6000);
		(void)gets_to("ready");
		pass(11000); /* proven */
	}
	ok(all, "a command at the time of its death is for the successor");
	ok(detach_all("good"), "which serves it");
}

static void
test_hangs(void)
{
	struct attach_session *s;
	struct asker *a;
	pid_t pid;

	(void)does("good", "one");
	s = only_session();
	mark(s->dir, "deaf");
	attach_session_replace(s, false);
	(void)gets_to("down");
	pass(6000);
	(void)gets_to("ready");
	pid = peer_pid(&s->peer);
	attach_session_replace(s, true);
	pass(9000);
	ok(is_in("draining") && peer_pid(&s->peer) == pid,
	    "a drain may take its time");
	pass(1500);
	ok(gets_to("ready") && peer_pid(&s->peer) != pid,
	    "one that takes too long ends by SIGKILL");
	ok(detach_all("good"), "and the next one serves");

	a = ask("good", "one");
	mark(only_session()->dir, "mute");
	(void)gets_to("starting");
	mark_is_read(only_session()->dir, "mute");
	pass(60000);
	ok(!a->ended && is_in("starting"),
	    "for a cluster that does not answer calls wait as long as they like");
	(void)kill(peer_pid(&only_session()->peer), SIGKILL);
	ok(ends(a) && a->err.rc == 0, "and are sent to the successor");
	forget(a);
	ok(detach_all("good"), "which serves");
}

static void
test_lost(void)
{
	struct asker *a;
	unsigned before;

	(void)does("good", "one");
	before = gone;
	a = ask("good", "lost");
	ok(ends(a) && a->call.lost && str_eq(a->err.text, "blocklisted"),
	    "a session that is blocklisted is lost");
	forget(a);
	ok(gone > before, "what it had attached is dead");
	a = ask("good", "two");
	ok(ends(a) && a->err.rc == 0, "the next image is in a new session");
	forget(a);
	ok(sessions() == 1, "the lost one has ended before");
	before = gone;
	fuse_has_ended = true;
	a = ask("good", "three");
	fuse_has_ended = false;
	ok(ends(a) && a->err.rc == 0 && gone > before,
	    "FUSE was aborted: lost, and a new one is made");
	forget(a);
	ok(does("good", "retire"), "a session that takes nothing new");
	a = ask("good", "four");
	ok(ends(a) && a->err.rc == 0 && sessions() == 2,
	    "has another one beside it");
	forget(a);
	fuse_has_ended = true;
	a = ask("good", "five");
	(void)ends(a);
	fuse_has_ended = false;
	forget(a);
	ok(sessions() == 1, "which both may be lost");
	ok(detach_all("good"), "and the last one ends in order");
}

/* ---- what an earlier rbd-csid has left ------------------------------------- */

static char *
session_dir(const char *user, unsigned n)
{
	char hash[TABLE_TAG_MAX];

	table_tag(hash, "c", "", "m", user);
	return str_fmt("%s/attach/%s-%u", state_dir, hash, n);
}

/* A rbd-attachd with one image, whose rbd-csid is gone. */
static void
leave(const char *user, const char *marked, bool dies)
{
	auto_free char *dir = session_dir(user, 0);
	auto_free char *path = str_fmt("%s/sock", dir);
	const char *const argv[] = { program, dir, NULL };
	const struct table_identity who = { .cluster_id = "c",
		.net_namespace = "",
		.monitors = "m",
		.user = user,
		.key = "k3y" };
	pid_t pid;
	Attach__Target image = ATTACH__TARGET__INIT;
	int pair[2], fds[3], pidfd;
	struct table *table;

	(void)mkdir(dir, 0700);
	if (marked != NULL)
		mark(dir, marked);
	if (channel_pair(pair) < 0)
		abort();
	fds[0] = pair[1];
	fds[1] = userspace_fuse_open();
	fds[2] = table_create(&who, NULL);
	table = table_map(fds[2], NULL);
	image.pool = (char[]){ "rbd" };
	image.image = (char[]){ "left" };
	if (table_slot_fill(table, 0, &image, NULL) < 0)
		abort();
	table_slot_set_state(table_slot_at(table, 0), TABLE_SLOT_SERVED);
	table_unmap(table);
	pidfd = helper_spawn(&pid, argv, fds, 3);
	if (pidfd < 0)
		abort();
	(void)close(pidfd);
	for (int i = 0; i < 12000 && access(path, F_OK) < 0; i++)
		(void)usleep(5000);
	for (int i = 0; i < 3; i++)
		(void)close(fds[i]);
	(void)close(pair[0]);
	if (dies) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
	}
}

static void
begin(void)
{
	struct err err = ERR_INIT;

	found = ready = gone = mounts = unmounts = 0;
	if (attach_session_init(state_dir, program, &ops, &err) < 0)
		diag("%s", err.text);
}

static void
test_join(void)
{
	auto_free char *dir = session_dir("good", 0);
	struct attach_session *s;
	pid_t pid;

	leave("good", NULL, false);
	begin();
	ok(sessions() == 1 && found == 1,
	    "a rbd-attachd that is found gives its table at once");
	s = only_session();
	pid = peer_pid(&s->peer);
	ok(gets_to("ready") && table_slots_used(s->table) == 1 && ready == 1 &&
		mounts == 0,
	    "and serves as before");
	ok(does("good", "more"), "it takes more images");
	(void)kill(pid, SIGKILL);
	ok(is_replaced(pid), "when it dies it has a successor, as all have");
	ok(detach_all("good") && access(dir, F_OK) < 0, "and ends as all do");

	leave("good", "older", false);
	begin();
	pid = peer_pid(&only_session()->peer);
	ok(is_replaced(pid) &&
		atomic_load(&only_session()->table->generation) == 2,
	    "one of another version of the program is replaced");
	ok(detach_all("good"), "and all is as before");

	leave("good", "old", false);
	last_log[0] = '\0';
	begin();
	pid = peer_pid(&only_session()->peer);
	ok(is_replaced(pid) &&
		atomic_load(&only_session()->table->generation) == 2,
	    "so is one of another protocol, with its images");
	ok(strstr(last_log, "speaks version 99 of the protocol") != NULL,
	    "and the log says so: %s", last_log);
	ok(detach_all("good"), "and all is as before");

	leave("good", NULL, true);
	begin();
	ok(all_end() && unmounts == 1 && gone >= 1,
	    "of one that has died with its rbd-csid nothing is left");
}

static void
keep_log(enum log_level level, const char *line)
{
	(void)level;
	if (strstr(line, "userspace.version") != NULL)
		(void)snprintf(last_log, sizeof(last_log), "%.1000s", line);
	if (getenv("USERSPACE_LOG") != NULL)
		diag("%s", line);
}

int
main(int argc, char *argv[])
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	auto_free char *root = NULL;
	char template[] = "/tmp/rbd-csi-userspace.XXXXXX";

	if (slash == NULL ||
	    str_put(program, sizeof(program), "%.*s/../fake/rbd-attachd",
		(int)(slash - argv[0]), argv[0]) < 0 ||
	    mkdtemp(template) == NULL || loop_init() < 0)
		return 99;
	(void)snprintf(state_dir, sizeof(state_dir), "%s", template);
	root = str_fmt("%s/attach", state_dir);
	log_set_sink(keep_log);
	clock_fake(now_ms);
	begin();
	test_life();
	test_start_fails();
	test_successors();
	test_asked_meanwhile();
	test_hangs();
	test_lost();
	test_join();
	peer_forget_all();
	loop_fini();
	(void)rmdir(root);
	(void)rmdir(state_dir);
	return tap_end();
}
