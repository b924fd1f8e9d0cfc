/*
 * labels.c - labels of a node: files as the downward API writes them, topology
 * segments and CRUSH locations made of them.
 */
#include "daemon/labels.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char told[256];

static void
tell(void *arg, const char *key, const char *value)
{
	char *end = strchr(told, '\0');

	(void)arg;
	(void)!str_put(
	    end, sizeof(told) - (size_t)(end - told), "%s=%s ", key, value);
}

int
main(void)
{
	static const char text[] = "kubernetes.io/hostname=\"node.a\"\n"
				   "topology.kubernetes.io/region=\"r1\"\n"
				   "topology.kubernetes.io/zone=z1\r\n"
				   "empty=\"\"\n"
				   "plain=p";
	static const struct {
		const char *names, *topology, *crush;
	} rows[] = {
		{ "", "", "" },
		{ "topology.kubernetes.io/region,topology.kubernetes.io/zone",
		    "topology.d/region=r1 topology.d/zone=z1 ",
		    "region:r1|zone:z1" },
		{ " plain , kubernetes.io/hostname,",
		    "topology.d/plain=p topology.d/hostname=node.a ",
		    "plain:p|host:node-a" },
		{ "plain,nothing", NULL, "plain:p" },
		{ "topology.kubernetes.io", NULL, "" },
		{ "empty", "topology.d/empty= ", "" },
	};
	char path[] = "/tmp/rbd-csi-labels.XXXXXX";
	struct arena *arena = arena_new(1 << 16);
	struct err err = ERR_INIT;
	struct labels *labels;
	int fd = mkstemp(path);

	ok(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text),
	    "a file of labels");
	(void)close(fd);
	labels = labels_read(path, &err);
	ok(labels != NULL, "is read");
	for (size_t i = 0; i < countof(rows); i++) {
		int rc;

		told[0] = '\0';
		err = (struct err)ERR_INIT;
		rc = labels_topology(
		    labels, rows[i].names, "d", arena, tell, NULL, &err);
		if (rows[i].topology != NULL)
			is_str(told, rows[i].topology, "topology by \"%s\"",
			    rows[i].names);
		else
			ok(rc < 0 && err.code == ERR_FAILED_PRECONDITION,
			    "refused: %s", err.text);
		is_str(labels_crush_location(labels, rows[i].names, arena),
		    rows[i].crush, "CRUSH location by it");
	}
	labels_free(labels);
	(void)unlink(path);

	labels = labels_read("", &err);
	ok(labels != NULL, "no file is no label");
	is_str(
	    labels_crush_location(labels, "plain", arena), "", "none is found");
	labels_free(labels);
	err = (struct err)ERR_INIT;
	ok(labels_read(path, &err) == NULL &&
		strstr(err.text, "No such file") != NULL,
	    "a file that is not there: %s", err.text);
	arena_free(arena);
	return tap_end();
}
