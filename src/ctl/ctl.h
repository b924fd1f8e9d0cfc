/*
 * ctl.h - rbd-csictl: what its subcommands share.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "base/err.h"
#include "base/str.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* How rbd-csictl ends. */
enum ctl_status {
	CTL_OK = 0,
	CTL_FAILED = 1,    /* the server answered with an error */
	CTL_USAGE = 2,     /* wrong arguments or input, nothing was sent */
	CTL_NO_SERVER = 3, /* nobody listens at the endpoint */
};

#define CTL_HEADERS_MAX 16

struct ctl_options {
	const char *endpoint;
	int64_t timeout_ms;                   /* 0: none, -1: not given */
	const char *secrets;                  /* file, or NULL */
	const char *headers[CTL_HEADERS_MAX]; /* "NAME:VALUE" */
	size_t header_count;
};

/* A subcommand; argv[0] is its name. */
struct ctl_command {
	const char *name;
	const char *arguments; /* for the usage text */
	const char *what;
	enum ctl_status (*run)(
	    const struct ctl_options *options, int argc, char **argv);
};

/* "CODE: text" on standard error. */
void ctl_print_err(const struct err *err);

struct client_call;

/* Adds the options' headers to a call that is to be started. */
int ctl_add_headers(const struct ctl_options *options, struct client_call *rpc,
    struct err *err) must_check;

/* How a call failed, on standard error. */
void ctl_print_failure(const struct client_call *rpc);

enum ctl_status ctl_call(
    const struct ctl_options *options, int argc, char **argv);
enum ctl_status ctl_audit(
    const struct ctl_options *options, int argc, char **argv);
enum ctl_status ctl_ops(
    const struct ctl_options *options, int argc, char **argv);
enum ctl_status ctl_abort(
    const struct ctl_options *options, int argc, char **argv);
enum ctl_status ctl_bench(
    const struct ctl_options *options, int argc, char **argv);

#endif
