/*
 * limits.c - see limits.h.
 */
#include "node/limits.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#define UID_CHARS "0123456789abcdef-"
#define UID_MIN 32 /* of a static pod: without the dashes */
#define UID_MAX 36
#define IO_MAX_BYTES 4096

/*
 * The pod of ".../pods/UID/volumes/..." or, for a block volume,
 * ".../volumeDevices/publish/PV/UID".
 */
static bool
pod_uid(const char *target, char uid[UID_MAX + 1])
{
	const char *at = strstr(target, "/pods/");
	size_t len;

	if (at != NULL)
		at += strlen("/pods/");
	else if (strstr(target, "/volumeDevices/publish/") != NULL)
		at = strrchr(target, '/') + 1;
	else
		return false;
	len = strspn(at, UID_CHARS);
	if (len < UID_MIN || len > UID_MAX || (at[len] != '/' && at[len] != 0))
		return false;
	memcpy(uid, at, len);
	uid[len] = '\0';
	return true;
}

/* As kubelet names a pod's cgroup, with either of its cgroup drivers. */
static bool
find_file(const char *uid, char file[PATH_MAX])
{
	static const struct {
		const char *before, *after;
		bool slice; /* systemd's names: no dashes in the uid */
	} names[] = {
		{ "kubepods.slice/kubepods-pod", ".slice", true },
		{ "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod",
		    ".slice", true },
		{ "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod",
		    ".slice", true },
		{ "kubepods/pod", "", false },
		{ "kubepods/burstable/pod", "", false },
		{ "kubepods/besteffort/pod", "", false },
	};
	char slice[UID_MAX + 1];

	(void)!str_put(slice, sizeof(slice), "%s", uid);
	for (char *p = slice; *p != '\0'; p++)
		if (*p == '-')
			*p = '_';
	for (size_t i = 0; i < countof(names); i++)
		if (str_put(file, PATH_MAX, "%s/fs/cgroup/%s%s%s/io.max",
			node_paths.sys, names[i].before,
			names[i].slice ? slice : uid, names[i].after) == 0 &&
		    access(file, F_OK) == 0)
			return true;
	file[0] = '\0';
	return false;
}

void
limits_look(const char *target, const struct attachment *at, struct limits *out)
{
	char uid[UID_MAX + 1], text[IO_MAX_BYTES], number[32], *line, *rest;
	auto_close int fd = -1;
	ssize_t n;

	out->file[0] = '\0';
	(void)!str_put(out->now, sizeof(out->now), LIMITS_NONE);
	if (at->mapper == NULL || at->mapper->obeys_limits ||
	    !pod_uid(target, uid) || !find_file(uid, out->file))
		return;
	out->devno = at->device.devno;
	fd = open(out->file, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = '\0';
	(void)snprintf(number, sizeof(number), "%u:%u ", major(out->devno),
	    minor(out->devno));
	for (line = strtok_r(text, "\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\n", &rest))
		if (str_starts(line, number))
			(void)!str_put(out->now, sizeof(out->now), "%s",
			    line + strlen(number));
}

int
limits_set(const struct limits *limits, const char *text, struct err *err)
{
	auto_free char *line = NULL;
	auto_close int fd = -1;

	if (limits->file[0] == '\0' || str_is_empty(text) ||
	    str_eq(text, limits->now))
		return 0;
	/* It has come from the cluster's metadata through an orchestrator. */
	if (text[strspn(text, "abimoprswx=0123456789 ")] != '\0')
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "publish_context.ioMax: \"%s\" are no limits", text);
	line = str_fmt(
	    "%u:%u %s", major(limits->devno), minor(limits->devno), text);
	fd = open(limits->file, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		return err_set_rc(
		    err, -errno, "write \"%s\" to %s", line, limits->file);
	log_info("volume.limits", "file=%s limits=\"%s\"", limits->file, line);
	return 0;
}
