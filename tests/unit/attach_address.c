/*
 * The address of a rbd-attachd that died together with rbd-csid: who finds it.
 */
#include "attach/address.h"
#include "tests/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/attach_address.XXXXXX";

static char *
session(const char *name)
{
	char *dir = str_fmt("%s/%s", root, name);

	(void)mkdir(dir, 0700);
	return dir;
}

/* What the next session of `dir`'s kind finds; taken away. */
static void
expect(const char *dir, const char *want, const char *what)
{
	char address[ADDRESS_MAX] = "";
	char *path = address_dug_up(dir, address);

	ok((path == NULL) == (want == NULL) &&
		(want == NULL || strcmp(address, want) == 0),
	    "%s", what);
	if (path != NULL)
		(void)unlink(path);
	free(path);
}

int
main(void)
{
	char *a0, *a1, *b0, *torn;
	struct stat st;

	if (mkdtemp(root) == NULL)
		return 1;
	a0 = session("aa-0");
	a1 = session("aa-1");
	b0 = session("aab-0");

	is_int(address_write(a0, "10.0.0.1:0/77"), 0, "it is written");
	expect(a1, NULL, "nobody finds that of a living one");
	is_int(address_write(a0, "10.0.0.1:0/78"), 0, "a successor's follows");
	address_bury(a0);
	expect(
	    b0, NULL, "another cluster's or user's session does not find it");
	expect(a1, "10.0.0.1:0/78", "one of the same does: the last one");
	expect(a1, NULL, "once");
	address_bury(a0);
	expect(a1, NULL, "nothing written, nothing found");

	is_int(address_write(a0, "10.0.0.1:0/79"), 0, "it is written");
	address_remove(a0);
	address_bury(a0);
	expect(a0, NULL, "after a clean end there is none");

	torn = str_fmt("%s/.dead-aa-0", root);
	close(open(torn, O_WRONLY | O_CREAT, 0600));
	expect(a1, "", "one that is empty, after a power failure, is found");

	ok(rmdir(a0) == 0 && rmdir(a1) == 0 && rmdir(b0) == 0 &&
		rmdir(root) == 0 && stat(root, &st) < 0,
	    "no other file is left");
	is_int(address_write(a0, "x"), -ENOENT, "no directory, no address");
	free(a0);
	free(a1);
	free(b0);
	free(torn);
	return tap_end();
}
