/*
 * ctl.h - rbd-csictl: what its commands share.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "base/arena.h"
#include "base/json.h"
#include "core/wake.h"
#include "ctl/command.h"

#include <protobuf-c/protobuf-c.h>

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
 * and a slash before that, or without the service. False if there is none such.
 */
bool ctl_method_find(struct ctl_method *method, const char *text) must_check;

/* All methods, for the help of `call`. */
void ctl_call_methods(FILE *out);

/* A serialized request. */
struct ctl_body {
	const void *bytes;
	size_t len;
};

/*
 * Makes a request in the arena: `text` is JSON, "@FILE", "-" for standard
 * input, or NULL for "{}"; the secrets of the file `secrets` (may be NULL) are
 * added where the request has none of that name. False with `err`.
 */
bool ctl_request_read(const struct ctl_method *method, const char *text,
    const char *secrets, struct arena *arena, struct ctl_body *body,
    struct err *err) must_check;

/* What becomes of each message of an answer; false: no more of them. */
typedef bool ctl_each_fn(const json_t *message, void *arg, struct err *err);

/*
 * One call by args->client, with --header and --timeout. Not CTL_OK: `err`
 * tells why, or with `err` NULL standard error.
 */
enum ctl_status ctl_call_each(const struct ctl_args *args,
    const struct ctl_method *method, const struct ctl_body *body,
    ctl_each_fn *each, void *arg, struct err *err);

/*
 * The same of a method that is defined, with a request that it takes over and
 * --secrets. ctl_ask: of the first message, which the caller owns then.
 */
enum ctl_status ctl_ask_each(const struct ctl_args *args, const char *name,
    json_t *request, ctl_each_fn *each, void *arg, struct err *err);
enum ctl_status ctl_ask(const struct ctl_args *args, const char *name,
    json_t *request, json_t **reply, struct err *err);

/* One wait, for which the loop turns: commands do one thing at a time. */
struct ctl_wait {
	struct wake wake;
	bool done;
	int rc;
};

struct wake *ctl_wait_for(struct ctl_wait *wait); /* for a _start function */
int ctl_waited(struct ctl_wait *wait);            /* its rc, when it has come */

/* The first `max` bytes of a file; the caller frees. NULL with errno. */
char *ctl_read_text(const char *path, size_t max);

/* What `preflight` has found: arrays of check, state, text; owned by the caller. */
json_t *ctl_preflight_rows(const struct ctl_args *args, bool *failed);

/* A table: rows are arrays of texts; the last column may be as long as it is. */
void ctl_print_table(const char *const headings[], const json_t *rows);
void ctl_print_json(const json_t *json);

/* Appends to a text of the caller's, with the separator before all but the first. */
printf_like(3, 4) void ctl_text_add(
    char **text, const char *separator, const char *fmt, ...);

#endif
