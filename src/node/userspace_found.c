/*
 * userspace_found.c - see userspace_found.h.
 */
#include "node/userspace_found.h"

#include "attach/wire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

int
found_connect(const char *dir)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, rc;

	if (str_put(addr.sun_path, sizeof(addr.sun_path), "%s/sock", dir) < 0)
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	rc = -errno;
	(void)close(fd);
	return rc;
}

/* Whether the process was started as "PROGRAM DIR ...". */
static bool
serves(pid_t pid, const char *dir)
{
	char path[64], args[2 * PATH_MAX];
	auto_close int fd = -1;
	const char *second;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, args, sizeof(args) - 1);
	if (n <= 0)
		return false;
	args[n] = '\0';
	second = args + strlen(args) + 1;
	return second < args + n && str_eq(second, dir) &&
	    str_ends(args, "rbd-attachd");
}

static pid_t
pid_by_arguments(const char *dir)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	pid_t pid = -1;
	uint64_t n;

	while (proc != NULL && pid < 0 && (entry = readdir(proc)) != NULL)
		if (str_to_u64(entry->d_name, &n) == 0 && serves((pid_t)n, dir))
			pid = (pid_t)n;
	if (proc != NULL)
		(void)closedir(proc);
	return pid;
}

pid_t
found_pid(const char *dir, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (fd < 0)
		return pid_by_arguments(dir);
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0
	    ? -1
	    : peer.pid;
}

int
found_descriptors(int pidfd, int fds[2])
{
	static const int number[] = { WIRE_FD_FUSE, WIRE_FD_TABLE };
	int rc;

	for (size_t i = 0; i < countof(number); i++) {
		fds[i] = (int)syscall(SYS_pidfd_getfd, pidfd, number[i], 0u);
		if (fds[i] >= 0)
			continue;
		rc = -errno;
		while (i > 0)
			(void)close(fds[--i]);
		return rc;
	}
	return 0;
}
