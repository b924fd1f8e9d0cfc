/*
 * details.h - the details of a failure, as a person reads them.
 */
#ifndef CTL_DETAILS_H
#define CTL_DETAILS_H

#include <stddef.h>
#include <stdio.h>

/*
 * Prints what is in a serialized google.rpc.Status beside code and message:
 * google.rpc.ErrorInfo with its fields, anything else by name and size. What
 * is no such message is said to be none.
 */
void ctl_details_print(FILE *out, const void *bytes, size_t len);

#endif
