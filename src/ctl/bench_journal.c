/*
 * bench_journal.c - the files of runs.
 */
#include "ctl/bench_journal.h"

#include "ctl/ctl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define JOURNAL_MAX_BYTES ((size_t)1 << 30)

char *
bench_journal_dir(const char *dir, struct err *err)
{
	auto_free char *path = dir != NULL
	    ? str_dup(dir)
	    : str_fmt("/var/tmp/rbd-csictl-bench.%u", (unsigned)geteuid());
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST) {
		(void)err_set_rc(err, -errno, "make %s", path);
		return NULL;
	}
	/* Whoever can write there would tell us what to delete. */
	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) ||
	    st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "%s: has to be a directory that only this user can write",
		    path);
		return NULL;
	}
	return take_ptr(&path);
}

static int
journal_lock(struct bench_journal *journal, const char *run, struct err *err)
{
	if (flock(journal->fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return err_set(
	    err, ERR_ABORTED, "run %s: a process works with it", run);
}

int
bench_journal_new(struct bench_journal *journal, const char *dir,
    const char *run, const json_t *settings, struct err *err)
{
	int rc;

	journal->path = str_fmt("%s/%s", dir, run);
	journal->fd = open(journal->path,
	    O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
	    0600);
	if (journal->fd < 0 && errno == EEXIST)
		rc = err_set(err, ERR_ALREADY_EXISTS,
		    "run %s: there is one (`rbd-csictl bench clean %s` takes it away)",
		    run, run);
	else if (journal->fd < 0)
		rc = err_set_rc(err, -errno, "make %s", journal->path);
	else
		rc = journal_lock(journal, run, err);
	if (rc == 0)
		bench_journal_note(journal, json_deep_copy(settings));
	else
		bench_journal_close(journal, false);
	return rc;
}

/* A line that was cut off by a kill is none. */
static void
take_line(const char *line, size_t len, json_t **settings, json_t *volumes)
{
	json_t *json = json_loadb(line, len, 0, NULL);
	char key[24];

	if (json == NULL)
		return;
	if (*settings == NULL) {
		*settings = json;
		return;
	}
	(void)snprintf(key, sizeof(key), "%lld",
	    (long long)json_integer_value(json_object_get(json, "v")));
	(void)json_object_set_new(volumes, key, json);
}

int
bench_journal_open(struct bench_journal *journal, const char *dir,
    const char *run, json_t **settings, json_t **volumes, struct err *err)
{
	auto_free char *text = NULL;
	int rc;

	*settings = NULL;
	*volumes = NULL;
	journal->path = str_fmt("%s/%s", dir, run);
	journal->fd = open(
	    journal->path, O_RDWR | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
	if (journal->fd < 0)
		rc = err_set_rc(err, -errno, "open %s", journal->path);
	else
		rc = journal_lock(journal, run, err);
	if (rc == 0)
		text = ctl_read_text(journal->path, JOURNAL_MAX_BYTES);
	if (text != NULL) {
		*volumes = json_object();
		for (const char *line = text; *line != '\0';) {
			size_t len = strcspn(line, "\n");

			take_line(line, len, settings, *volumes);
			line += len + (line[len] == '\n');
		}
	}
	if (rc == 0 && !str_eq(json_get_string(*settings, "run"), run))
		rc = err_set(err, ERR_DATA_LOSS,
		    "%s: does not begin as a run does", journal->path);
	if (rc < 0) {
		bench_journal_close(journal, false);
		json_decref(*settings);
		json_decref(*volumes);
		*settings = *volumes = NULL;
	}
	return rc;
}

void
bench_journal_list(const char *dir, json_t *names)
{
	DIR *d = opendir(dir);
	const struct dirent *entry;

	while (d != NULL && (entry = readdir(d)) != NULL)
		if (entry->d_name[0] != '.')
			(void)json_array_append_new(
			    names, json_string(entry->d_name));
	if (d != NULL)
		(void)closedir(d);
}

void
bench_journal_note(struct bench_journal *journal, json_t *line)
{
	auto_free char *text = json_dumps(line, JSON_COMPACT);
	auto_free char *whole = str_fmt("%s\n", text);
	size_t len = strlen(whole);

	json_decref(line);
	if (write(journal->fd, whole, len) != (ssize_t)len)
		(void)fprintf(stderr,
		    "rbd-csictl: cannot write %s: should this process be killed, `bench clean` will not know all: %s\n",
		    journal->path, strerror(errno));
}

void
bench_journal_close(struct bench_journal *journal, bool done)
{
	if (journal->fd >= 0 && done)
		(void)unlink(journal->path);
	if (journal->fd >= 0)
		(void)close(journal->fd);
	free(journal->path);
	*journal = (struct bench_journal){ .fd = -1 };
}
