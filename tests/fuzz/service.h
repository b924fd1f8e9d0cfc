/*
 * service.h - handlers for the fuzz targets: calls of all four kinds, which
 * answer by themselves or are held until the input says what to do. Each
 * checks the promises of call.h.
 *
 *	/f.S/Echo	one message in, the same out, at once, and so is metadata
 *	/f.S/Fail	the first byte of the request is the code, the rest the text
 *			and the details
 *	/f.S/Many	two bytes: how many messages are sent, how long they are
 *	/f.S/Sum	reads all messages, answers with their length
 *	/f.S/Chat	sends each message back
 *	/f.S/Hold	unary, held; /f.S/HoldStream: the client streams
 *
 * and grpc.health.v1 and reflection.
 */
#ifndef TESTS_FUZZ_SERVICE_H
#define TESTS_FUZZ_SERVICE_H

#include "rpc/call.h"

extern const struct rpc_service *const service_table[];
extern const size_t service_count;
extern const char *const service_paths[];
extern const size_t service_path_count;

void service_init(void);

size_t service_open(void); /* calls whose handlers owe an answer */

/* Does something with one of the calls that are held, if there is one. */
void service_poke(unsigned which, unsigned what, unsigned size);

#endif
