/*
 * http_parse.h - the head of an HTTP request, judged as RFC 9112 has it as far
 * as a GET needs. Pure functions.
 */
#ifndef OBS_HTTP_PARSE_H
#define OBS_HTTP_PARSE_H

#include "base/str.h"

struct http_head {
	bool is_head; /* HEAD: the answer has no body */
	char *path;   /* in the bytes, without query */
};

/* The length of a head with its empty line; 0: there is more to come. */
size_t http_head_len(const char *bytes, size_t len);

/*
 * Takes a whole head apart, in place: `bytes` has room for a NUL at its end.
 * Returns 200 or the status to answer: 400, 405 or 505.
 */
int http_head_parse(char *bytes, size_t len, struct http_head *head);

/* "Not Found" */
const char *http_reason(int status);

#endif
