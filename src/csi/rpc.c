/*
 * rpc.c - from packed bytes to a request, to an operation, and its end.
 */
#include "csi/rpc.h"

#include "base/log.h"
#include "base/pb.h"
#include "base/secret.h"
#include "csi/params.h"
#include "csi/reflect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * A message of 4 MiB made of empty strings unpacks to many times its size:
 * unpacking may take a quarter of the arena, the rest is for the reply.
 */
#define ARENA_MAX ((size_t)64 << 20)
#define UNPACK_MAX (ARENA_MAX / 4)

struct unpacking {
	struct arena *arena;
	bool full; /* stopped for want of room */
};

static void *
unpack_alloc(void *data, size_t size)
{
	struct unpacking *u = data;
	void *p = NULL;

	if (size <= UNPACK_MAX && arena_used(u->arena) <= UNPACK_MAX - size)
		p = arena_alloc(u->arena, size);
	u->full = p == NULL;
	return p;
}

static void
unpack_free(void *data, void *p)
{
	(void)data; /* the arena goes as a whole */
	(void)p;
}

/*
 * Proto3 strings are UTF-8. The specification of CSI bans most control
 * characters from names; here no string has them, so that nothing that is
 * named by a request has one in its name. Secrets may, but not a NUL, which
 * would cut them.
 */
static int
check_string(struct pb text, bool secret, struct err *err)
{
	const char *p = (const char *)text.at;
	uint32_t point;

	for (size_t i = 0, n; i < text.len; i += n) {
		n = str_utf8(p + i, text.len - i, &point);
		if (n == 0)
			return csi_invalid(err, "is not UTF-8");
		if (secret ? point == 0
			   : str_is_control(point) && point != '\t' &&
			    point != '\n' && point != '\r')
			return csi_invalid(err,
			    "has the control character U+%04X in it", point);
	}
	return 0;
}

/*
 * Checks every string of a packed message. Only the wire tells how long a
 * string is: protobuf-c's ends at its first NUL.
 */
static int
check_text(const ProtobufCMessageDescriptor *type, struct pb wire, bool secret,
    struct err *err)
{
	struct pb_field value;
	int rc;

	while ((rc = pb_next(&wire, &value)) > 0) {
		const ProtobufCFieldDescriptor *field =
		    protobuf_c_message_descriptor_get_field(type, value.number);

		if (field == NULL || !value.has_bytes)
			continue;
		if (field->type == PROTOBUF_C_TYPE_MESSAGE)
			rc = check_text(reflect_type(field), value.bytes,
			    secret || str_eq(field->name, CSI_SECRETS), err);
		else if (field->type == PROTOBUF_C_TYPE_STRING)
			rc = check_string(value.bytes, secret, err);
		if (rc < 0) {
			err_prefix(err, "%s", field->name);
			return rc;
		}
	}
	if (rc < 0)
		return csi_invalid(err, "is no %s", type->short_name);
	return 0;
}

struct arena *
csi_arena_new(void)
{
	return arena_new(ARENA_MAX);
}

const void *
csi_unpack(const ProtobufCMessageDescriptor *type, struct arena *arena,
    const void *body, size_t len, struct err *err)
{
	struct unpacking u = { .arena = arena };
	ProtobufCAllocator allocator = {
		.alloc = unpack_alloc, .free = unpack_free, .allocator_data = &u
	};
	ProtobufCMessage *message;

	message = protobuf_c_message_unpack(type, &allocator, len, body);
	if (message == NULL) {
		(void)err_set(err,
		    u.full ? ERR_RESOURCE_EXHAUSTED : ERR_INVALID_ARGUMENT,
		    u.full ? "%s: unpacks to too much" : "the body is no %s",
		    type->short_name);
		return NULL;
	}
	if (check_text(type, (struct pb){ body, len }, false, err) < 0)
		return NULL;
	return message;
}

void *
csi_new(const ProtobufCMessageDescriptor *type, struct arena *arena)
{
	ProtobufCMessage *message = arena_new_bytes(
	    arena, type->sizeof_message);

	protobuf_c_message_init(type, message);
	return message;
}

const void *
csi_pack(const void *message, struct arena *arena, size_t *len, struct err *err)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	void *bytes;

	if (size > CSI_MESSAGE_MAX ||
	    (bytes = arena_alloc(arena, size + 1)) == NULL) {
		(void)err_set(err, ERR_RESOURCE_EXHAUSTED,
		    "the answer has %zu bytes, more than fits", size);
		return NULL;
	}
	*len = protobuf_c_message_pack(message, bytes);
	return bytes;
}

/* "/a//b/./c/" -> "/a/b/c", in place. */
static void
clean_path(char *path)
{
	char *to = path;
	const char *from = path;

	while (*from == '/') {
		size_t len;

		from += strspn(from, "/");
		len = strcspn(from, "/");
		if (len > 0 && !(len == 1 && *from == '.')) {
			*to++ = '/';
			memmove(to, from, len);
			to += len;
		}
		from += len;
	}
	if (to == path && *path == '/')
		to++;
	*to = '\0';
}

/*
 * One spelling for each path, before it becomes the key of a lock or part of
 * a fingerprint: what Node requests name "..._path". One that does not begin
 * with a slash is left for validation.
 */
static void
clean_paths(const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;

	for (unsigned f = 0; f < type->n_fields; f++) {
		const ProtobufCFieldDescriptor *field = &type->fields[f];

		/* Our own copies. */
		if (field->type == PROTOBUF_C_TYPE_STRING &&
		    str_ends(field->name, "_path") &&
		    reflect_count(message, field) == 1) {
			char *path = *(char *const *)reflect_at(
			    message, field, 0);

			if (*path == '/')
				clean_path(path);
		}
	}
}

/*
 * The specification's limit, apart from what kubelet adds for itself (tokens
 * of service accounts) and from the pools by topology, of which a StorageClass
 * may well have more: neither is carried on to other calls.
 */
static int
check_map(const struct csi_map *map, const char *field, struct err *err)
{
	size_t bytes = 0;

	for (size_t i = 0; i < map->count; i++) {
		const char *key = csi_map_key(map, i);

		if (csi_param_travels(key))
			bytes += strlen(key) + strlen(csi_map_value(map, i));
	}
	if (bytes > CSI_MAP_MAX_BYTES)
		return csi_invalid(
		    err, "%s: more than %d bytes", field, CSI_MAP_MAX_BYTES);
	return 0;
}

/* Maps and credentials, which are alike in all requests. */
static int
check_common(struct csi_request *in, struct err *err)
{
	const ProtobufCMessage *message = in->message;
	const ProtobufCMessageDescriptor *type = message->descriptor;
	struct csi_map secrets = csi_map_field(message, CSI_SECRETS);
	struct csi_map publish = csi_map_field(message, CSI_PUBLISH_CONTEXT);
	int rc = 0;

	for (unsigned f = 0; f < type->n_fields && rc == 0; f++) {
		struct csi_map map = csi_map_field(
		    message, type->fields[f].name);

		if (!str_eq(type->fields[f].name, CSI_SECRETS))
			rc = check_map(&map, type->fields[f].name, err);
	}
	/* With cephxPerVolume the node has a user for this volume only. */
	if (csi_map_get(&publish, CSI_USER_KEY) != NULL)
		secrets = publish;
	if (rc == 0 &&
	    (in->def->credentials == CSI_CREDENTIALS_REQUEST ||
		(in->def->credentials != CSI_CREDENTIALS_UNUSED &&
		    secrets.count > 0)))
		rc = csi_credentials_get(&secrets, &in->credentials, err);
	return rc;
}

/* The string field of this name. */
static const char *
string_field(const ProtobufCMessage *message, const char *name)
{
	return *(char *const *)reflect_at(message,
	    protobuf_c_message_descriptor_get_field_by_name(
		message->descriptor, name),
	    0);
}

/*
 * Which cluster the request is about: of a static volume it stands in the
 * context, of others in their identifier. One of another version may be a
 * volume, but not one that we can judge.
 */
static int
find_cluster(struct csi_request *in, struct err *err)
{
	struct csi_map context = csi_map_field(in->message, "volume_context");
	struct err why = ERR_INIT;
	const char *id;
	int rc;

	switch (in->def->session.by) {
	case CSI_SESSION_NONE:
		return 0;
	case CSI_SESSION_OF_PARAMETERS:
		in->cluster_id = in->class.cluster_id;
		return 0;
	case CSI_SESSION_OF_FIELD:
		in->cluster_id = string_field(
		    in->message, in->def->session.field);
		return 0;
	case CSI_SESSION_OF_ALL:
		in->everywhere = in->cluster_id == NULL &&
		    in->id_kind == CSI_ID_NONE;
		return 0;
	case CSI_SESSION_OF_ID:
		break;
	}
	in->id_text = id = string_field(in->message, in->def->session.field);
	if (csi_is_static(&context)) {
		in->id_kind = CSI_ID_STATIC;
		in->cluster_id = csi_map_get(&context, "clusterID");
		return 0;
	}
	rc = csi_volume_id_parse(id, &in->id, &why);
	if (rc == -EPROTONOSUPPORT) {
		*err = why;
		return rc;
	}
	if (rc == 0) {
		in->id_kind = CSI_ID_OURS;
		in->cluster_id = in->id.cluster_id;
		return 0;
	}
	in->id_kind = CSI_ID_UNKNOWN;
	if (!in->def->migrated || !csi_migrated_id_is(id))
		return 0;
	in->id_kind = CSI_ID_MIGRATED;
	in->cluster_id = in->migrated.cluster_id;
	return csi_migrated_id_parse(id, &in->migrated, err);
}

int
csi_request_read(struct csi_request *in, const struct csi_definition *def,
    const void *body, size_t len, struct err *err)
{
	*in = (struct csi_request){ .def = def, .arena = csi_arena_new() };
	in->message = csi_unpack(def->request, in->arena, body, len, err);
	if (in->message != NULL) {
		clean_paths(in->message);
		if ((def->check == NULL || def->check(in, err) == 0) &&
		    check_common(in, err) == 0 && find_cluster(in, err) == 0)
			return 0;
	}
	csi_request_fini(in);
	return err->rc;
}

void
csi_request_fini(struct csi_request *in)
{
	static const char *const fields[] = { CSI_SECRETS,
		CSI_PUBLISH_CONTEXT };

	for (size_t f = 0; f < countof(fields) && in->message != NULL; f++) {
		struct csi_map map = csi_map_field(in->message, fields[f]);

		/* Our own copy, made by csi_unpack in writable memory. */
		for (size_t i = 0; i < map.count; i++)
			if (f == 0 ||
			    str_eq(csi_map_key(&map, i), CSI_USER_KEY))
				secret_wipe(
				    (void *)(uintptr_t)csi_map_value(&map, i),
				    strlen(csi_map_value(&map, i)));
	}
	arena_free(in->arena);
	*in = (struct csi_request){ .def = NULL };
}

/* ---- what makes two requests the same ------------------------------------- */

struct map_pair {
	ProtobufCMessage *entry;
	const char *key;
	size_t at;
};

static int
by_key(const void *a, const void *b)
{
	const struct map_pair *x = a, *y = b;
	int rc = strcmp(x->key, y->key);

	return rc != 0 ? rc : (x->at > y->at) - (x->at < y->at);
}

/* In the order of keys; of equal ones the last one counts. */
static void
sort_map(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	struct csi_map map = csi_map_field(message, field->name);
	auto_free struct map_pair *pair = mem_new(map.count * sizeof(*pair));
	ProtobufCMessage **out = (ProtobufCMessage **)(uintptr_t)map.entry;
	size_t n = 0;

	for (size_t i = 0; i < map.count; i++)
		pair[i] = (struct map_pair){ map.entry[i], csi_map_key(&map, i),
			i };
	qsort(pair, map.count, sizeof(*pair), by_key);
	for (size_t i = 0; i < map.count; i++)
		if (i + 1 == map.count ||
		    strcmp(pair[i].key, pair[i + 1].key) != 0)
			out[n++] = pair[i].entry;
	*reflect_counter(message, field) = n;
}

/* Every map of a message, wherever it is. */
static void
sort_maps(ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;

	for (unsigned f = 0; f < type->n_fields; f++) {
		const ProtobufCFieldDescriptor *field = &type->fields[f];
		size_t count = reflect_count(message, field);

		if (count == 0 || field->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		if (reflect_is_map(field)) {
			sort_map(message, field);
			continue;
		}
		for (size_t i = 0; i < count; i++)
			sort_maps(*(ProtobufCMessage *const *)reflect_at(
			    message, field, i));
	}
}

/* The counter of the secrets, which stay what they are; NULL: it has none. */
static size_t *
secrets_count(ProtobufCMessage *message)
{
	const ProtobufCFieldDescriptor *secrets =
	    protobuf_c_message_descriptor_get_field_by_name(
		message->descriptor, CSI_SECRETS);

	return secrets != NULL ? reflect_counter(message, secrets) : NULL;
}

const void *
csi_request_print(const struct csi_request *in, size_t *len)
{
	/* Our own copy, made by csi_unpack in writable memory. */
	ProtobufCMessage *message = (ProtobufCMessage *)(uintptr_t)in->message;
	size_t *secrets = secrets_count(message), count = 0;
	size_t path_len = strlen(in->def->path);
	uint8_t *bytes;

	if (secrets != NULL) {
		count = *secrets;
		*secrets = 0;
	}
	sort_maps(message);
	*len = path_len + protobuf_c_message_get_packed_size(message);
	bytes = arena_new_bytes(in->arena, *len);
	memcpy(bytes, in->def->path, path_len);
	(void)protobuf_c_message_pack(message, bytes + path_len);
	if (secrets != NULL)
		*secrets = count;
	return bytes;
}

const void *
csi_request_for(const struct csi_request *in, const char *token, unsigned max,
    size_t *len, struct err *err)
{
	ProtobufCMessage *message = (ProtobufCMessage *)(uintptr_t)in->message;
	const ProtobufCFieldDescriptor *field;
	size_t *secrets = secrets_count(message), count = 0;
	const void *bytes;

	field = protobuf_c_message_descriptor_get_field_by_name(
	    message->descriptor, "max_entries");
	if (field != NULL)
		*(int32_t *)((char *)message + field->offset) = (int32_t)max;
	field = protobuf_c_message_descriptor_get_field_by_name(
	    message->descriptor, "starting_token");
	if (field != NULL)
		*(char **)((char *)message + field->offset) = arena_strdup(
		    in->arena, token);
	if (secrets != NULL) {
		count = *secrets;
		*secrets = 0;
	}
	bytes = csi_pack(message, in->arena, len, err);
	if (secrets != NULL)
		*secrets = count;
	return bytes;
}

/* ---- operations ----------------------------------------------------------- */

void
csi_impls_check(const struct csi_impl *const impls[CSI_COUNT],
    enum csi_place place, const struct csi_serving *with)
{
	for (size_t i = 0; i < CSI_COUNT; i++)
		if (csi_definitions[i].place == place && impls[i] == NULL &&
		    csi_is_served_with(&csi_definitions[i], with)) {
			log_error("csi.table",
			    "method=%s has no implementation",
			    csi_definitions[i].name);
			abort();
		}
}

struct csi_rpc *
csi_rpc_new(const struct csi_impl *impl, const struct csi_request *in,
    const struct csi_env *env)
{
	struct csi_rpc *rpc = arena_new_bytes(in->arena, impl->size);

	rpc->op.trail = &rpc->trail;
	rpc->op.state_name = "START";
	rpc->op.subject = csi_definition_key(in->def, in->message);
	rpc->impl = impl;
	rpc->in = in;
	rpc->request = in->message;
	rpc->arena = in->arena;
	rpc->env = env;
	return rpc;
}

void
csi_rpc_start(struct csi_rpc *rpc, struct wake *waiter)
{
	op_start(&rpc->op, rpc->impl->cls, waiter);
}

void *
csi_rpc_reply(struct csi_rpc *rpc)
{
	rpc->reply = csi_new(rpc->in->def->reply, rpc->arena);
	return rpc->reply;
}
