/*
 * main.c - rbd-attachd: the process that serves the images of one Ceph
 * session as files, on which rbd-csid puts loop devices.
 *
 *	rbd-attachd DIRECTORY [LOG-LEVEL [LOG-FORMAT]]
 *
 * with descriptors 3 (rbd-csid), 4 (/dev/fuse) and 5 (image table). It may
 * block until the session is up and the images are being taken over; after
 * that one thread of ours never does.
 *
 * The rule that holds it together: this process is part of the node's path
 * for writing back dirty memory. It must not wait for memory that is freed
 * only by its own work, and never touches the files that it serves.
 */
#include "attach/address.h"
#include "attach/control.h"
#include "attach/fuse.h"
#include "attach/image.h"
#include "attach/takeover.h"
#include "base/clock.h"
#include "base/log.h"
#include "ceph/connection.h"
#include "config.h"
#include "core/signal.h"
#include "core/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

enum {
	FD_CHANNEL = 3,
	FD_FUSE,
	FD_TABLE,
};

/* Without an image and without a rbd-csid there is nothing to wait for. */
#define ALONE_MS 60000

/* A drain that takes longer ends uncleanly: the successor fences us. */
#define DRAIN_MAX_MS 5000

static struct {
	const char *directory; /* of the session */
	struct table *table;
	struct ceph_connection *conn;
	bool draining;
	int64_t drain_until_ms;
	struct timer drain_timer, alone_timer;
	bool alone; /* at the last look */
} ad;

/* ---- hardening --------------------------------------------------------- */

static void
try_(const char *what, int rc)
{
	if (rc < 0)
		log_warn("start.hardening", "what=%s errno=%d", what, errno);
}

static int
write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		(void)close(fd);
	return n < 0 ? -1 : 0;
}

/*
 * Before librados starts its threads, which inherit these. Without
 * CAP_SYS_RESOURCE some are refused: a warning, not a failure.
 */
static void
harden(void)
{
	const struct rlimit none = { 0, 0 };

	/* Its memory holds the session's key: no core dump, no ptrace. */
	try_("dumpable", prctl(PR_SET_DUMPABLE, 0));
	try_("core", setrlimit(RLIMIT_CORE, &none));
	try_("io_flusher", prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0));
	try_("oom_score_adj", write_text("/proc/self/oom_score_adj", "-999"));
	try_("mlockall", mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT));
	/* Few arenas, and no mmap and munmap for each large buffer. */
	(void)mallopt(M_ARENA_MAX, 4);
	(void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
	(void)mallopt(M_TRIM_THRESHOLD, 64 << 20);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
}

/* ---- the end ----------------------------------------------------------- */

static void
on_drain_timer(struct timer *timer)
{
	bool late = clock_now_ms() >= ad.drain_until_ms;

	if (image_io_total() == 0 && image_open_count() == 0) {
		/* Nothing of ours can reach the cluster any more. */
		table_clear_address(ad.table);
		address_remove(ad.directory);
		control_drained();
		log_info("stop", "clean=1");
		loop_stop();
	} else if (late) {
		log_warn("stop", "clean=0 requests=%u images=%u",
		    image_io_total(), image_open_count());
		loop_stop();
	} else {
		if (image_io_total() == 0)
			image_close_all();
		timer_start(timer, 1);
	}
}

static void
drain(void)
{
	if (ad.draining)
		return;
	ad.draining = true;
	ad.drain_until_ms = clock_now_ms() + DRAIN_MAX_MS;
	ad.drain_timer.fire = on_drain_timer;
	log_info("drain", "requests=%u images=%u", image_io_total(),
	    image_open_count());
	fuse_pause();
	timer_start(&ad.drain_timer, 0);
}

static void
on_terminate(int signo)
{
	(void)signo;
	drain();
}

/* The directory is unmounted and no loop device is left: all are closed. */
static void
on_unmounted(void)
{
	log_info("fuse.ended", "images=%u", image_open_count());
	drain();
}

static void
on_alone_timer(struct timer *timer)
{
	bool alone = control_clients() == 0 &&
	    table_slots_used(ad.table) == 0 && image_open_count() == 0;

	if (alone && ad.alone)
		drain();
	ad.alone = alone;
	timer_start(timer, ALONE_MS);
}

/* ---- the start --------------------------------------------------------- */

static int
enter_net_namespace(const char *file, struct err *err)
{
	int fd, rc = 0;

	if (*file == '\0')
		return 0;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		rc = err_set_rc(err, -errno, "network namespace %s", file);
	if (fd >= 0)
		(void)close(fd);
	return rc;
}

static int
connect_ceph(struct table *table, const char **step, struct err *err)
{
	/*
	 * No cache: what we have acknowledged must be on the cluster when we
	 * are killed. No throttles of the client: one stuck image would use
	 * them up for all; image_io has limits for each. Our buffers stay
	 * untouched until a write is done, so librbd need not copy them.
	 */
	static const struct ceph_option options[] = {
		{ "rbd_cache", "false" },
		{ "rbd_disable_zero_copy_writes", "false" },
		{ "objecter_inflight_ops", "1048576" },
		{ "objecter_inflight_op_bytes", "1099511627776" },
	};
	struct secret key = SECRET_INIT;
	struct ceph_settings settings = {
		.monitors = table->monitors,
		.user = table->user,
		.key = &key,
		.options = options,
		.noptions = countof(options),
	};
	enum ceph_step ceph_step = CEPH_STEP_SETTINGS;
	int rc;

	*step = "network namespace";
	if ((rc = enter_net_namespace(table->net_namespace, err)) < 0)
		return rc;
	secret_set(&key, table->key, strlen(table->key));
	rc = ceph_connection_open(&settings, &ad.conn, &ceph_step, err);
	secret_fini(&key);
	*step = ceph_step_name(ceph_step);
	return rc;
}

static int
serve(struct err *err)
{
	char *fenced = NULL;
	int64_t begin = clock_now_ms();
	int rc = takeover_begin(ad.table, ad.directory, ad.conn, &fenced, err);

	if (rc < 0)
		return rc;
	image_init(ad.table, ad.conn, fenced, control_resized);
	image_adopt_all();
	/*
	 * From here on the kernel's requests come, those of images that are
	 * not open yet wait. What a predecessor has not answered comes again.
	 */
	fuse_serve(FD_FUSE, ad.table, on_unmounted);
	rc = fuse_resend(FD_FUSE);
	if (rc < 0)
		log_error("takeover.resend",
		    "rc=%d text=\"this kernel (before "
		    "6.9) cannot: I/O that was in flight hangs\"",
		    rc);
	log_info("serving",
	    "generation=%" PRIu32 " images=%u fenced=%s "
	    "ms=%" PRId64,
	    atomic_load(&ad.table->generation), table_slots_used(ad.table),
	    fenced != NULL ? fenced : "none", clock_now_ms() - begin);
	free(fenced);
	ad.alone_timer.fire = on_alone_timer;
	timer_start(&ad.alone_timer, ALONE_MS);
	return 0;
}

static int
start(struct err *err)
{
	struct control_settings control = { .channel_fd = FD_CHANNEL,
		.fuse_fd = FD_FUSE,
		.table_fd = FD_TABLE,
		.drain = drain };
	auto_free char *path = str_fmt("%s/sock", ad.directory);
	const char *step;
	int rc;

	for (int fd = FD_CHANNEL; fd <= FD_TABLE; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return err_set_rc(err, -errno, "descriptor %d", fd);
	if (fcntl(FD_FUSE, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return err_set_rc(err, -errno, "/dev/fuse");
	ad.table = table_map(FD_TABLE, err);
	if (ad.table == NULL)
		return err->rc;
	control.path = path;
	control.table = ad.table;
	if ((rc = control_init(&control, err)) < 0)
		return rc;
	rc = connect_ceph(ad.table, &step, err);
	if (rc == 0) {
		step = "fence";
		rc = takeover_fence_dead(ad.directory, ad.conn, err);
	}
	if (rc < 0) {
		control_fail(step, err);
		return rc;
	}
	return serve(err);
}

static enum log_level
level_of(const char *name)
{
	uint64_t level;

	return name != NULL && str_to_u64(name, &level) == 0 &&
		level <= LOG_LEVEL_DEBUG
	    ? (enum log_level)level
	    : LOG_LEVEL_INFO;
}

int
main(int argc, char **argv)
{
	struct err err = ERR_INIT;

	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		printf("rbd-attachd %s\n", PACKAGE_VERSION);
		return 0;
	}
	if (argc < 2 || argv[1][0] != '/') {
		fprintf(stderr, "rbd-attachd is started by rbd-csid\n");
		return 2;
	}
	log_init("rbd-attachd", level_of(argc > 2 ? argv[2] : NULL),
	    argc > 3 && strcmp(argv[3], "json") == 0 ? LOG_FORMAT_JSON
						     : LOG_FORMAT_TEXT);
	harden();
	if (loop_init() < 0)
		return 1;
	signal_watch(SIGTERM, on_terminate);
	ad.directory = argv[1];
	if (start(&err) < 0) {
		log_error("start", "text=\"%s\"", err.text);
		return 1;
	}
	loop_run();
	/*
	 * Not through librados' shutdown: after an unclean end its threads
	 * still own buffers of ours.
	 */
	_exit(0);
}
