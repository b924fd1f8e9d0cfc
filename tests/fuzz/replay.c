/*
 * replay.c - main() of the fuzz targets where no fuzzer is: each file of the
 * corpus is a test. A target that does not take one dies of it.
 *
 *	tests/fuzz/TARGET [FILE...]	without: all of tests/fuzz/corpus/TARGET
 */
#include "tests/fuzz/fuzz.h"
#include "tests/tap.h"

#include <dirent.h>
#include <libgen.h>
#include <sys/stat.h>

#define INPUT_MAX ((size_t)1 << 20)

static void
replay(const char *path, const char *name)
{
	auto_free uint8_t *bytes = NULL;
	FILE *file = fopen(path, "rb");
	struct stat st;
	size_t n = 0;

	if (file == NULL || fstat(fileno(file), &st) < 0 ||
	    (size_t)st.st_size > INPUT_MAX) {
		ok(false, "%s can be read", path);
	} else {
		/* Exactly as large: a sanitizer sees what reads behind it. */
		bytes = mem_new((size_t)st.st_size);
		n = fread(bytes, 1, (size_t)st.st_size, file);
		ok(n == (size_t)st.st_size &&
			LLVMFuzzerTestOneInput(bytes, n) == 0,
		    "input %s is taken", name);
	}
	if (file != NULL)
		(void)fclose(file);
}

static int
is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void
replay_all(const char *target)
{
	const char *top = getenv("srcdir");
	auto_free char *dir = str_fmt(
	    "%s/tests/fuzz/corpus/%s", top != NULL ? top : ".", target);
	struct dirent **entry = NULL;
	int count = scandir(dir, &entry, is_visible, alphasort);

	ok(count > 0, "there is a corpus in %s", dir);
	for (int i = 0; i < count; i++) {
		auto_free char *path = str_fmt("%s/%s", dir, entry[i]->d_name);

		replay(path, entry[i]->d_name);
		free(entry[i]);
	}
	free(entry);
}

int
main(int argc, char **argv)
{
	ok(LLVMFuzzerTestOneInput((const uint8_t *)"", 0) == 0,
	    "an empty input is taken");
	for (int i = 1; i < argc; i++)
		replay(argv[i], argv[i]);
	if (argc == 1)
		replay_all(basename(argv[0]));
	return tap_end();
}
