/*
 * attach_floor.c - how fast volumes can be attached with nothing around it:
 * a thread for each does what the attach of a formatted ext4 cannot do without.
 *
 *	attach_floor DIR [VOLUMES [ROUNDS]]
 *
 * Per volume: librbd opens an image, reads what libblkid and a mount read, and
 * writes and flushes a superblock; then a file system is mounted that lies on a
 * loop device over a file of its own, DIR/N.img, mounted at DIR/N; both are the
 * caller's. There is no FUSE in it: a mount whose requests went to librbd would
 * be slower. The way back (umount, loop device, close) is not timed.
 *
 * Against the cluster that `scripts/dev-cluster env` describes, in the pool
 * rbd. Prints of each round when it began and ended, in seconds of the monotonic
 * clock, and the processor time of this process in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <pthread.h>
#include <rbd/librbd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#define VOLUMES_MAX 256
#define SIZE ((uint64_t)1 << 30)

/* What a mount of ext4 reads after libblkid; then it writes the first. */
static const uint64_t pages[] = { 0, 4096, 593920, 128ull << 22 };

static struct volume {
	pthread_t thread;
	char name[32], file[PATH_MAX], point[PATH_MAX];
	rbd_image_t image;
	int loop; /* a descriptor */
	const char *failed;
} volumes[VOLUMES_MAX];

static rados_ioctx_t io;

static const char *
use_image(struct volume *v)
{
	static const size_t edge = 512 << 10;
	char *data = malloc(edge);
	const char *failed = NULL;

	if (rbd_open(io, v->name, &v->image, NULL) < 0)
		failed = "open";
	else if (rbd_read(v->image, 0, edge, data) < 0 ||
	    rbd_read(v->image, SIZE - edge, edge, data) < 0)
		failed = "read";
	for (size_t i = 0; failed == NULL && i < 4; i++)
		if (rbd_read(v->image, pages[i], 4096, data) < 0)
			failed = "read";
	if (failed == NULL &&
	    (rbd_write(v->image, 0, 4096, data) < 0 || rbd_flush(v->image) < 0))
		failed = "write";
	free(data);
	return failed;
}

static const char *
use_file(struct volume *v)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int file = open(v->file, O_RDWR | O_CLOEXEC), id = -1, rc = -1;
	struct loop_config config = { .fd = (unsigned)file };
	char path[32];

	config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
	do {
		id = ioctl(control, LOOP_CTL_GET_FREE);
		(void)snprintf(path, sizeof(path), "/dev/loop%d", id);
		v->loop = id < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
		if (v->loop < 0)
			break;
		rc = ioctl(v->loop, LOOP_CONFIGURE, &config);
		if (rc < 0)
			(void)close(v->loop);
	} while (rc < 0 && errno == EBUSY);
	if (rc == 0)
		rc = mount(path, v->point, "ext4", 0, NULL);
	(void)close(file);
	(void)close(control);
	return rc < 0 ? "mount" : NULL;
}

static void *
attach(void *arg)
{
	struct volume *v = arg;

	v->failed = use_image(v);
	if (v->failed == NULL)
		v->failed = use_file(v);
	return NULL;
}

static void *
detach(void *arg)
{
	struct volume *v = arg;

	(void)umount(v->point);
	(void)close(v->loop);
	if (v->image != NULL)
		(void)rbd_close(v->image);
	v->image = NULL;
	return NULL;
}

/* Returns whether all of them succeeded. */
static bool
all(void *(*run)(void *), int n)
{
	bool good = true;

	for (int i = 0; i < n; i++)
		if (pthread_create(
			&volumes[i].thread, NULL, run, &volumes[i]) != 0)
			abort();
	for (int i = 0; i < n; i++) {
		(void)pthread_join(volumes[i].thread, NULL);
		if (volumes[i].failed != NULL) {
			(void)fprintf(stderr, "%s: %s failed\n",
			    volumes[i].name, volumes[i].failed);
			good = false;
		}
	}
	return good;
}

static double
seconds(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 32;
	int rounds = argc > 3 ? atoi(argv[3]) : 3, order = 22;
	const char *user = getenv("RBD_CSI_USER");
	bool good = true;
	rados_t cluster;

	if (argc < 2 || n < 1 || n > VOLUMES_MAX)
		return 2;
	if (rados_create(&cluster, user) < 0 ||
	    rados_conf_read_file(cluster, getenv("CEPH_CONF")) < 0 ||
	    rados_conf_set(cluster, "keyfile", getenv("RBD_CSI_KEYFILE")) < 0 ||
	    rados_conf_set(cluster, "rbd_cache", "false") < 0 ||
	    rados_connect(cluster) < 0 ||
	    rados_ioctx_create(cluster, "rbd", &io) < 0) {
		(void)fprintf(stderr, "no session with the cluster\n");
		return 1;
	}
	for (int i = 0; i < n; i++) {
		struct volume *v = &volumes[i];

		(void)snprintf(v->name, sizeof(v->name), "attach-floor-%d", i);
		(void)snprintf(
		    v->file, sizeof(v->file), "%s/%d.img", argv[1], i);
		(void)snprintf(v->point, sizeof(v->point), "%s/%d", argv[1], i);
		good &= rbd_create2(io, v->name, SIZE, 1, &order) == 0;
	}
	for (int i = 0; good && i < rounds; i++) {
		double begun = seconds(CLOCK_MONOTONIC);
		double used = seconds(CLOCK_PROCESS_CPUTIME_ID);

		good = all(attach, n);
		if (good)
			(void)printf("%.6f %.6f %.6f\n", begun,
			    seconds(CLOCK_MONOTONIC),
			    seconds(CLOCK_PROCESS_CPUTIME_ID) - used);
		(void)all(detach, n);
	}
	for (int i = 0; i < n; i++)
		(void)rbd_remove(io, volumes[i].name);
	rados_ioctx_destroy(io);
	rados_shutdown(cluster);
	return good ? 0 : 1;
}
