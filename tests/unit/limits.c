/*
 * limits.c - the cgroup of the pod that a target path is of, in a tree of the
 * test's own, and what is written there.
 */
#include "node/limits.h"
#include "tests/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define POD "0a1b2c3d-0000-4000-8000-00000000000f"
#define POD_ "0a1b2c3d_0000_4000_8000_00000000000f"
#define STATIC "0123456789abcdef0123456789abcdef"
#define TARGET                                                                 \
	"/var/lib/kubelet/pods/" POD "/volumes/kubernetes.io~csi/pv/mount"
#define BLOCK                                                                  \
	"/var/lib/kubelet/plugins/kubernetes.io/csi/volumeDevices/publish/pv/" POD
#define SET "rbps=max wbps=2097152 riops=100 wiops=max"

static char top[] = "/tmp/rbd-csi-limits.XXXXXX";
static const struct mapper_child krbd = { .name = "krbd" },
				 other = { .name = "userspace",
					 .obeys_limits = true };

static char *
file_of(const char *dir)
{
	static char file[PATH_MAX];

	(void)!str_put(file, sizeof(file), "%s/fs/cgroup/%s/io.max", top, dir);
	return file;
}

static void
make_pod(const char *dir, const char *text)
{
	auto_free char *command = str_fmt(
	    "mkdir -p '%s/fs/cgroup/%s' && printf '%s' >'%s'", top, dir, text,
	    file_of(dir));

	if (system(command) != 0)
		abort();
}

static void
drop_all(void)
{
	auto_free char *command = str_fmt("rm -rf '%s/fs'", top);

	if (system(command) != 0)
		abort();
}

static struct limits
look(const char *target, const struct mapper_child *mapper)
{
	struct attachment at = { .mapper = mapper,
		.device.devno = makedev(252, 16) };
	struct limits limits;

	limits_look(target, &at, &limits);
	return limits;
}

static void
test_places(void)
{
	static const struct {
		const char *dir, *target;
	} rows[] = {
		{ "kubepods.slice/kubepods-pod" POD_ ".slice", TARGET },
		{ "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" POD_
		  ".slice",
		    TARGET },
		{ "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" POD_
		  ".slice",
		    BLOCK },
		{ "kubepods/pod" POD, TARGET },
		{ "kubepods/burstable/pod" POD, BLOCK },
		{ "kubepods/besteffort/pod" STATIC,
		    "/data/pods/" STATIC "/volumes/x/mount" },
	};
	static const char *const none[] = { "/mnt/" POD "/mount",
		"/var/lib/kubelet/pods/" POD "0/volumes/x/mount",
		"/var/lib/kubelet/pods/../volumes/x/mount",
		"/var/lib/kubelet/pods/x/volumes/x/mount",
		"/csi/volumeDevices/publish/pv/" POD "/x" };
	struct limits limits;

	for (size_t i = 0; i < countof(rows); i++) {
		make_pod(rows[i].dir, "");
		limits = look(rows[i].target, &krbd);
		is_str(limits.file, file_of(rows[i].dir), "%s is found",
		    rows[i].dir);
		is_str(limits.now, LIMITS_NONE, "nothing holds there");
		limits = look(rows[i].target, &other);
		is_str(limits.file, "", "a mapper that obeys needs none");
		drop_all();
	}
	make_pod("kubepods/pod" POD, "");
	for (size_t i = 0; i < countof(none); i++)
		is_str(
		    look(none[i], &krbd).file, "", "%s is no pod's", none[i]);
	drop_all();
	limits = look(TARGET, &krbd);
	is_str(limits.file, "", "nor is there always a cgroup");
}

static void
test_set(void)
{
	static const char *const bad[] = { "riops=1\n8:0 riops=1", "8:0",
		"riops=1;", "RIOPS=1" };
	char text[128] = "";
	struct limits limits;
	struct err err = ERR_INIT;
	int fd;

	make_pod("kubepods/pod" POD,
	    "8:0 rbps=1 wbps=max riops=max wiops=max\n"
	    "252:16 " SET "\n");
	limits = look(TARGET, &krbd);
	is_str(limits.now, SET, "what holds for the device is read");
	is_int(limits_set(&limits, NULL, NULL), 0, "no word is no change");
	is_int(limits_set(&limits, "", NULL), 0, "nor an empty one");
	chmod(limits.file, 0);
	is_int(limits_set(&limits, SET, NULL), 0, "nor the same limits");
	chmod(limits.file, 0600);
	for (size_t i = 0; i < countof(bad); i++)
		is_int(limits_set(&limits, bad[i], NULL), -EINVAL,
		    "what are no limits is refused");
	limits = look(TARGET, &krbd);
	is_str(limits.now, SET, "and nothing was written");
	is_int(limits_set(&limits, LIMITS_NONE, &err), 0, "others are written");
	fd = open(limits.file, O_RDONLY);
	ok(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 &&
		str_starts(text, "252:16 " LIMITS_NONE),
	    "for this device: %s", text);
	close(fd);
	drop_all();
	ok(limits_set(&limits, LIMITS_NONE, &err) < 0 &&
		strstr(err.text, "io.max") != NULL,
	    "a pod that is gone is an error: %s", err.text);
}

int
main(void)
{
	if (mkdtemp(top) == NULL)
		abort();
	node_paths.sys = top;
	test_places();
	test_set();
	rmdir(top);
	return tap_end();
}
