/*
 * ctl.h - rbd-csictl: what its subcommands share.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "core/wake.h"

#include <protobuf-c/protobuf-c.h>
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

/* A method: one of CSI or Admin, or of gRPC's health service. */
struct ctl_method {
	const char *path; /* "/csi.v1.Node/NodeGetInfo" */
	const ProtobufCMessageDescriptor *request;
	const ProtobufCMessageDescriptor *reply;
	bool stream; /* the reply is any number of messages */
};

/*
 * By "Node/NodeGetInfo" or "Health/Watch", also with the package before it,
 * and a slash before that. False if there is none such.
 */
bool ctl_method_find(struct ctl_method *method, const char *text) must_check;

/*
 * A serialized request in the arena: `text` is JSON, "@FILE", "-" for
 * standard input, or NULL for "{}"; the secrets of the file `secrets` (may be
 * NULL) are added where the request has none of that name. NULL with `err`.
 */
const void *ctl_request_read(const struct ctl_method *method, const char *text,
    const char *secrets, struct arena *arena, size_t *len, struct err *err);

struct client_call;

/* Adds the options' headers to a call that is to be started. */
int ctl_add_headers(const struct ctl_options *options, struct client_call *rpc,
    struct err *err) must_check;

/* The message of an answer, which the caller owns, or NULL with `err`. */
json_t *ctl_reply(const struct client_call *rpc,
    const struct ctl_method *method, struct err *err);

/* How a call failed, on standard error. */
void ctl_print_failure(const struct client_call *rpc);

/* One wait, for which the loop turns: commands do one thing at a time. */
struct ctl_wait {
	struct wake wake;
	bool done;
	int rc;
};

struct wake *ctl_wait_for(struct ctl_wait *wait); /* for a _start function */
int ctl_waited(struct ctl_wait *wait);            /* its rc, when it has come */

enum ctl_status ctl_call(
    const struct ctl_options *options, int argc, char **argv);
enum ctl_status ctl_admin(
    const struct ctl_options *options, int argc, char **argv);
enum ctl_status ctl_bench(
    const struct ctl_options *options, int argc, char **argv);

#endif
