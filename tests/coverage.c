/*
 * coverage.c - for --enable-coverage only: forked children and daemons end by
 * _exit(), which does not save what gcc has counted.
 */
#include <stdnoreturn.h>

void __gcov_dump(void);
noreturn void __real__exit(int status);
noreturn void __wrap__exit(int status);

void
__wrap__exit(int status)
{
	__gcov_dump();
	__real__exit(status);
}
