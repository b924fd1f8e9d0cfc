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
 * Two rules hold it together. This process is part of the node's path for
 * writing back dirty memory: it must not wait for memory that is freed only by
 * its own work, and never touches the files that it serves. And it may be the
 * last that holds /dev/fuse and the table: while an image is in the table it
 * does not give up, whatever fails; it tries again.
 */
#include "attach/address.h"
#include "attach/control.h"
#include "attach/fuse.h"
#include "attach/image.h"
#include "attach/memory.h"
#include "attach/takeover.h"
#include "base/clock.h"
#include "base/exit.h"
#include "base/log.h"
#include "ceph/connection.h"
#include "config.h"
#include "core/signal.h"
#include "core/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* Without an image and without a rbd-csid there is nothing to wait for. */
#define ALONE_MS 60000

/* How often an image without I/O is looked at. */
#define LOOK_MS 5000

/* Between two tries to start while images are attached. */
#define RETRY_MS 1000

/* A drain that takes longer ends uncleanly: the successor fences us. */
#define DRAIN_MAX_MS 5000

static struct {
	const char *directory; /* of the session */
	struct table *table;
	struct ceph_connection *conn;
	bool flusher; /* the kernel does not let us wait for ourselves */
	bool serving, draining, failed, lost;
	int64_t drain_until_ms;
	struct timer start_timer, drain_timer, alone_timer, look_timer;
	bool alone;   /* at the last look */
	bool settled; /* the start is over: there has been a look */
} ad;

/* ---- hardening --------------------------------------------------------- */

static bool
hardened(const char *what, bool good)
{
	if (!good)
		log_warn("start.hardening", "what=%s errno=%d", what, errno);
	return good;
}

/*
 * Before librados starts its threads, which inherit these. Without
 * CAP_SYS_RESOURCE some are refused: a warning, not a failure.
 */
static void
harden(void)
{
	static const char score[] = "-999";
	auto_close int fd = open(
	    "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	(void)hardened("oom_score_adj",
	    fd >= 0 && write(fd, score, sizeof(score) - 1) > 0);
	ad.flusher = hardened(
	    "io_flusher", prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) >= 0);
	(void)hardened(
	    "mlockall", mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) >= 0);
	/* Few arenas, and no mmap and munmap for each request. */
	(void)mallopt(M_ARENA_MAX, 2);
	(void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
	(void)mallopt(M_TRIM_THRESHOLD, 8 << 20);
	(void)signal(SIGINT, SIG_IGN);
}

/*
 * We die of ourselves, most likely of an assertion in librbd. A kill is not
 * the fault of any image and does not come here.
 */
static void
on_crash(int signo)
{
	static atomic_flag noted = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&noted))
		image_note_crash();
	(void)raise(signo); /* with its default by now */
}

/* ---- the end ----------------------------------------------------------- */

static void
on_drain_timer(struct timer *timer)
{
	bool late = clock_now_ms() >= ad.drain_until_ms;

	if (!ad.serving) {
		/* A predecessor's address stays: its successor is another. */
		log_info("stop", "clean=0 text=\"has not served\"");
		loop_stop();
	} else if (image_io_total() == 0 && image_open_count() == 0) {
		/* Nothing of ours can reach the cluster any more. */
		table_clear_address(ad.table);
		address_remove(ad.directory);
		log_info("stop", "clean=1");
		loop_stop();
	} else if (late) {
		log_warn("stop", "clean=0 requests=%u images=%u",
		    image_io_total(), image_open_count());
		loop_stop();
	} else {
		if (image_io_total() == 0)
			image_close_all();
		timer_arm(timer, 1);
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
	/* Of a session that is lost all is answered, with EIO, to the end. */
	if (!ad.lost)
		fuse_pause();
	timer_disarm(&ad.start_timer);
	timer_arm(&ad.drain_timer, 0);
}

static unsigned
attached(void)
{
	return ad.table != NULL ? table_slots_used(ad.table) : 0;
}

static void
on_terminate(int signo)
{
	(void)signo;
	if (attached() > 0 && peer_clients() == 0) {
		/* With us the last descriptor would go, and with it their I/O. */
		log_warn("terminate",
		    "images=%u text=\"ignored: images are attached and no rbd-csid would start a successor\"",
		    attached());
		return;
	}
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
	bool alone = peer_clients() == 0 && table_slots_used(ad.table) == 0 &&
	    image_open_count() == 0;

	if (alone && ad.alone)
		drain();
	ad.alone = alone;
	timer_arm(timer, ALONE_MS);
}

/* ---- when the cluster shuts us out ------------------------------------- */

/* Nothing of ours reaches the cluster again; rbd-csid ends the session. */
static void
lose(const char *step, const struct err *why)
{
	if (ad.lost)
		return;
	ad.lost = true;
	log_error("lost", "step=\"%s\" images=%u text=\"%s\"", step, attached(),
	    why->text);
	image_abort_all();
	control_fail(step, PEER_SCOPE_LOST, why);
}

static void
on_refused(struct image *image, int rc)
{
	struct err err = ERR_INIT;

	if (rc == -ESHUTDOWN) {
		(void)err_set(&err, ERR_UNAVAILABLE,
		    "the cluster has blocklisted client.%s at %s",
		    ad.conn->user, ad.conn->address);
		lose("blocklist", &err);
		return;
	}
	/* Of other pools the user's rights may be as they were. */
	(void)err_set_rc(&err, rc, "I/O of image %s/%s by client.%s",
	    image->slot->pool, image->slot->image, ad.conn->user);
	image_abort(image, TABLE_ABORTED_REFUSED);
	control_fail("permission", PEER_SCOPE_RETIRED, &err);
}

static int
check_fsid(const char *is, struct err *err)
{
	return str_eq(is, ad.table->fsid)
	    ? 0
	    : err_set(err, ERR_UNAVAILABLE,
		  "at monitors %.100s is cluster %s, where %s was",
		  ad.table->monitors, is, ad.table->fsid);
}

static void
on_look_timer(struct timer *timer)
{
	char fsid[CEPH_FSID_SIZE];
	struct err err = ERR_INIT;

	if (ad.lost)
		return;
	if (rados_cluster_fsid(ad.conn->cluster, fsid, sizeof(fsid)) > 0 &&
	    check_fsid(fsid, &err) < 0) {
		lose("cluster", &err);
		return;
	}
	image_look_again();
	fuse_trim();
	if (!ad.settled)
		memory_drop_unused();
	ad.settled = true;
	timer_arm(timer, LOOK_MS);
}

/* ---- the start --------------------------------------------------------- */

static int
connect_ceph(const char **step, struct err *err)
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
		{ "rbd_non_blocking_aio", "false" },
		{ "objecter_inflight_ops", "1048576" },
		{ "objecter_inflight_op_bytes", "1099511627776" },
	};
	struct secret key = SECRET_INIT;
	struct ceph_settings settings = {
		.monitors = ad.table->monitors,
		.user = ad.table->user,
		.key = &key,
		.options = options,
		.noptions = countof(options),
	};
	enum ceph_step ceph_step = CEPH_STEP_SETTINGS;
	int rc;

	*step = "network namespace";
	if ((rc = process_enter_netns(ad.table->net_namespace, err)) < 0)
		return rc;
	secret_set(&key, ad.table->key, strlen(ad.table->key));
	rc = ceph_connection_open(&settings, &ad.conn, &ceph_step, err);
	secret_fini(&key);
	*step = ceph_step_name(ceph_step);
	return rc;
}

/* Everything up to the first I/O. Blocks for as long as the cluster does. */
static int
begin(const char **step, char **fenced, struct err *err)
{
	struct memory_limit limit;
	int rc;

	*step = "image table";
	if (ad.table == NULL) {
		if ((ad.table = table_map(ATTACH_FD_TABLE, err)) == NULL)
			return err->rc;
		control_init(ad.directory, ad.table, drain);
	}
	/* Before the first image: those that are attached are served anyhow. */
	*step = "memory";
	memory_look("", &limit);
	if (attached() == 0 && memory_is_short(&limit))
		log_warn("start.memory",
		    "limit_bytes=%" PRIu64 " used_bytes=%" PRIu64
		    " text=\"the OOM killer may end us\"",
		    limit.bytes, limit.used);
	if (attached() == 0 && (rc = memory_check(&limit, ad.flusher, err)) < 0)
		return rc;
	*step = "socket";
	if ((rc = control_listen(err)) < 0 ||
	    (rc = connect_ceph(step, err)) < 0)
		return rc;
	*step = "cluster";
	if (attached() == 0)
		(void)snprintf(ad.table->fsid, sizeof(ad.table->fsid), "%s",
		    ad.conn->fsid);
	if ((rc = check_fsid(ad.conn->fsid, err)) < 0)
		return rc;
	*step = "fence";
	if ((rc = takeover_fence_dead(ad.directory, ad.conn, err)) < 0)
		return rc;
	return takeover_begin(ad.table, ad.directory, ad.conn, fenced, err);
}

static void
serve(char *fenced)
{
	static const struct image_events events = {
		.resized = control_resized,
		.refused = on_refused,
		.settled = control_settled,
	};
	int rc;

	ad.serving = true;
	image_init(ad.table, ad.conn, fenced, &events);
	image_adopt_all();
	/*
	 * From here on the kernel's requests come, those of images that are
	 * not open yet wait. What a predecessor has not answered comes again.
	 */
	fuse_serve(ATTACH_FD_FUSE, ad.table, on_unmounted);
	rc = fuse_resend(ATTACH_FD_FUSE);
	if (rc < 0)
		log_error("takeover.resend",
		    "rc=%d text=\"this kernel (before 6.9) cannot: I/O that was in flight hangs\"",
		    rc);
	control_serving();
	ad.alone_timer.fire = on_alone_timer;
	timer_arm(&ad.alone_timer, ALONE_MS);
	ad.look_timer.fire = on_look_timer;
	timer_arm(&ad.look_timer, LOOK_MS);
}

/*
 * Tries until it serves. It does not end while images are attached: then it
 * may hold the last /dev/fuse, and a restarted rbd-csid is to find it here.
 */
static void
on_start_timer(struct timer *timer)
{
	int64_t began_ms = clock_now_ms();
	auto_free char *fenced = NULL;
	struct err err = ERR_INIT;
	const char *step;

	if (begin(&step, &fenced, &err) == 0) {
		serve(fenced);
		log_info("serving",
		    "generation=%" PRIu32 " images=%u fenced=%s ms=%" PRId64,
		    atomic_load(&ad.table->generation), attached(),
		    fenced != NULL ? fenced : "none",
		    clock_now_ms() - began_ms);
		return;
	}
	log_error("start", "step=\"%s\" images=%u text=\"%s\"", step,
	    attached(), err.text);
	ceph_connection_close(take_ptr(&ad.conn));
	if (ad.table != NULL)
		control_fail(step,
		    str_eq(step, "cluster") ? PEER_SCOPE_LOST
					    : PEER_SCOPE_START,
		    &err);
	if (ad.table != NULL && attached() == 0) {
		ad.failed = true;
		loop_stop();
	} else {
		timer_arm(timer, RETRY_MS);
	}
}

int
main(int argc, char **argv)
{
	static const int crashes[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE,
		SIGILL };
	struct sigaction on_crashes = { .sa_handler = on_crash,
		.sa_flags = (int)SA_RESETHAND };
	struct err err = ERR_INIT;
	uint64_t level = LOG_LEVEL_INFO;

	process_begin();
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		puts("rbd-attachd " BUILT_VERSION);
		return 0;
	}
	if (argc < 2 || argv[1][0] != '/') {
		fprintf(stderr, "rbd-attachd is started by rbd-csid\n");
		return EXIT_USAGE;
	}
	if (argc > 2 &&
	    (str_to_u64(argv[2], &level) < 0 || level > LOG_LEVEL_DEBUG))
		level = LOG_LEVEL_INFO;
	log_init("rbd-attachd", (enum log_level)level,
	    argc > 3 && strcmp(argv[3], "json") == 0 ? LOG_FORMAT_JSON
						     : LOG_FORMAT_TEXT);
	harden();
	for (size_t i = 0; i < countof(crashes); i++)
		(void)sigaction(crashes[i], &on_crashes, NULL);
	if (loop_init() < 0)
		return 1;
	signal_watch(SIGTERM, on_terminate);
	ad.directory = argv[1];
	for (int fd = ATTACH_FD_CHANNEL; fd <= ATTACH_FD_TABLE; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			(void)err_set_rc(&err, -errno, "descriptor %d", fd);
	if (fcntl(ATTACH_FD_FUSE, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		(void)err_set_rc(&err, -errno, "/dev/fuse");
	if (err_is_set(&err)) {
		log_error("start", "text=\"%s\"", err.text);
		return 1;
	}
	ad.start_timer.fire = on_start_timer;
	timer_arm(&ad.start_timer, 0);
	loop_run();
	/*
	 * Not through librados' shutdown: after an unclean end its threads
	 * still own buffers of ours.
	 */
	_exit(ad.failed ? 1 : 0);
}
