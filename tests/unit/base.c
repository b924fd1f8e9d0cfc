#include "tests/tap.h"
int
main(void)
{
	ok(true, "compiles");
	return tap_end();
}
