/*
 * helper.h - the protocol of tests/fake/helper, version 2. Hello and calls are
 * a Setting each.
 */
#ifndef TESTS_FAKE_HELPER_H
#define TESTS_FAKE_HELPER_H

enum helper_call {
	HELPER_ECHO = 1, /* the Setting comes back */
	HELPER_STREAM,   /* 1001 empty replies */
	HELPER_OPEN,     /* the file `value` is opened and handed over */
	HELPER_WAIT,     /* no answer until it is cancelled */
	HELPER_DIE,      /* it exits */
	HELPER_HANG,     /* it never does anything again */
};

#endif
