/*
 * userspace_watch.c - see userspace_watch.h.
 */
#include "node/userspace_watch.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/*
 * Whether a thread sleeps uninterruptibly while it reclaims memory; if so how
 * often it has slept so far. The kernel's functions that begin a reclaim are
 * try_to_free_pages() and try_to_free_mem_cgroup_pages() (mm/vmscan.c).
 */
static bool
reclaims(const char *root, pid_t pid, pid_t thread, uint64_t *switches)
{
	static const char key[] = "\nvoluntary_ctxt_switches:";
	auto_free char *status = str_fmt(
	    "%s/proc/%d/task/%d/status", root, (int)pid, (int)thread);
	auto_free char *stack = str_fmt(
	    "%s/proc/%d/task/%d/stack", root, (int)pid, (int)thread);
	char text[4096];
	const char *at;

	if (!str_of_file(status, text, sizeof(text)) ||
	    strstr(text, "\nState:\tD") == NULL ||
	    (at = strstr(text, key)) == NULL ||
	    sscanf(at + strlen(key), "%" SCNu64, switches) != 1)
		return false;
	return str_of_file(stack, text, sizeof(text)) &&
	    strstr(text, " try_to_free_") != NULL;
}

static pid_t
sleeper_of(const char *root, pid_t pid, uint64_t *switches)
{
	auto_free char *path = str_fmt("%s/proc/%d/task", root, (int)pid);
	DIR *tasks = opendir(path);
	struct dirent *entry;
	pid_t found = 0;
	uint64_t id;

	while (tasks != NULL && found == 0 && (entry = readdir(tasks)) != NULL)
		if (str_to_u64(entry->d_name, &id) == 0 &&
		    reclaims(root, pid, (pid_t)id, switches))
			found = (pid_t)id;
	if (tasks != NULL)
		(void)closedir(tasks);
	return found;
}

enum watch_advice
watch_look(struct watch *watch, const char *root, pid_t pid)
{
	uint64_t switches;

	if (watch->pid != pid)
		*watch = (struct watch){ .pid = pid };
	if (watch->thread == 0 ||
	    !reclaims(root, pid, watch->thread, &switches) ||
	    switches != watch->switches) {
		watch->thread = sleeper_of(root, pid, &watch->switches);
		watch->looks = 0;
		return WATCH_FINE;
	}
	if (++watch->looks * WATCH_LOOK_MS <
	    (watch->killed ? WATCH_ABORT_MS : WATCH_KILL_MS))
		return WATCH_FINE;
	watch->looks = 0;
	if (watch->killed)
		return WATCH_ABORT;
	watch->killed = true;
	return WATCH_KILL;
}
