/*
 * request.c - JSON and secrets become a request.
 */
#include "ctl/request.h"

#include "base/json.h"
#include "csi/rpc.h"
#include "ctl/json_pb.h"

#include <errno.h>
#include <string.h>

/* `text` is JSON, "@FILE", "-" for standard input, or NULL for "{}". */
static json_t *
read_json(const char *text, struct err *err)
{
	const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
	json_error_t where;
	json_t *json;

	if (text == NULL)
		return json_object();
	if (strcmp(text, "-") == 0)
		json = json_loadf(stdin, flags, &where);
	else if (*text == '@')
		json = json_load_file(text + 1, flags, &where);
	else
		json = json_loads(text, flags, &where);
	if (json == NULL)
		(void)err_set(err, ERR_INVALID_ARGUMENT,
		    "%s: line %d, column %d: %s",
		    *text == '@' ? text + 1 : "request", where.line,
		    where.column, where.text);
	return json;
}

/* Adds the file's secrets; those that the request has itself stay. */
static int
add_secrets(const struct ctl_method *method, const char *file, json_t *request,
    struct err *err)
{
	auto_json json_t *secrets = NULL;
	const char *name;
	json_t *own, *value;

	if (file == NULL ||
	    protobuf_c_message_descriptor_get_field_by_name(
		method->request, "secrets") == NULL)
		return 0;
	secrets = json_read_file(file, CSI_MESSAGE_MAX, err);
	if (secrets == NULL)
		return -EINVAL;
	if (!json_is_object(secrets))
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "%s: is no JSON object", file);
	own = json_object_get(request, "secrets");
	if (!json_is_object(own)) {
		if (own != NULL && !json_is_null(own))
			return 0; /* reading the request refuses it */
		own = json_object();
		(void)json_object_set_new(request, "secrets", own);
	}
	json_object_foreach (secrets, name, value)
		if (json_object_get(own, name) == NULL)
			(void)json_object_set(own, name, value);
	return 0;
}

const void *
ctl_request_read(const struct ctl_method *method, const char *text,
    const char *secrets, struct arena *arena, size_t *len, struct err *err)
{
	auto_json json_t *json = read_json(text, err);
	ProtobufCMessage *request;

	if (json == NULL || add_secrets(method, secrets, json, err) < 0)
		return NULL;
	request = json_pb_read(method->request, json, arena, err);
	return request != NULL ? csi_pack(request, arena, len, err) : NULL;
}
