/*
 * cls_rbd.c - inputs and outputs of the object classes' methods.
 */
#include "ceph/cls_rbd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Ceph: src/include/rbd/object_map_types.h, src/cls/rbd/cls_rbd_types.h */
#define OBJECT_NONEXISTENT 0
#define OBJECT_EXISTS 1
#define OBJECT_EXISTS_CLEAN 3
#define DIRECTORY_READY 0
#define HEADER_UPDATE 3 /* Ceph: src/librbd/WatchNotifyTypes.h */
/* Above any image's; object size times stripe count stays within 64 bits. */
#define ORDER_MAX 31

struct cls_call
cls_call(const char *method)
{
	struct cls_call call = { .cls = "rbd", .method = method };

	enc_init(&call.in);
	return call;
}

struct cls_call
cls_call_str(const char *method, const char *s)
{
	struct cls_call call = cls_call(method);

	enc_str(&call.in, s);
	return call;
}

struct cls_call
cls_call_str2(const char *method, const char *a, const char *b)
{
	struct cls_call call = cls_call_str(method, a);

	enc_str(&call.in, b);
	return call;
}

struct cls_call
cls_call_u64(const char *method, uint64_t v)
{
	struct cls_call call = cls_call(method);

	enc_u64(&call.in, v);
	return call;
}

struct cls_call
cls_dir_state_assert_ready(void)
{
	struct cls_call call = cls_call("dir_state_assert");

	enc_u8(&call.in, DIRECTORY_READY);
	return call;
}

struct cls_call
cls_create(uint64_t size_bytes, uint8_t order, uint64_t features,
    const char *prefix, int64_t data_pool)
{
	struct cls_call call = cls_call_u64("create", size_bytes);

	enc_u8(&call.in, order);
	enc_u64(&call.in, features);
	enc_str(&call.in, prefix);
	enc_u64(&call.in, (uint64_t)data_pool);
	return call;
}

struct cls_call
cls_set_stripe_unit_count(uint64_t unit, uint64_t count)
{
	struct cls_call call = cls_call_u64("set_stripe_unit_count", unit);

	enc_u64(&call.in, count);
	return call;
}

struct cls_call
cls_get_features(void)
{
	struct cls_call call = cls_call_u64("get_features", RBD_NOSNAP);

	enc_u8(&call.in, 1); /* read only: of those incompatible with that */
	return call;
}

struct cls_call
cls_metadata_set(const struct cls_meta *meta, size_t n)
{
	struct cls_call call = cls_call("metadata_set");

	enc_u32(&call.in, n);
	for (size_t i = 0; i < n; i++) {
		enc_str(&call.in, meta[i].key);
		enc_bytes(&call.in, meta[i].value, meta[i].len);
	}
	return call;
}

struct cls_call
cls_metadata_list(const char *after, uint64_t max)
{
	struct cls_call call = cls_call_str("metadata_list", after);

	enc_u64(&call.in, max);
	return call;
}

struct cls_call
cls_object_map_resize(uint64_t objects)
{
	struct cls_call call = cls_call_u64("object_map_resize", objects);

	enc_u8(&call.in, OBJECT_NONEXISTENT);
	return call;
}

struct cls_call
cls_object_map_exist(uint64_t from, uint64_t to, bool clean)
{
	struct cls_call call = cls_call_u64("object_map_update", from);

	enc_u64(&call.in, to);
	enc_u8(&call.in, clean ? OBJECT_EXISTS_CLEAN : OBJECT_EXISTS);
	enc_u8(&call.in, 0); /* whatever it was */
	return call;
}

struct cls_call
cls_object_map_snap_remove(const struct dec *map)
{
	struct cls_call call = cls_call("object_map_snap_remove");

	enc_raw(&call.in, map->at, dec_left(map));
	return call;
}

struct cls_call
cls_snapshot_add(const char *name, uint64_t snap)
{
	struct cls_call call = cls_call_str("snapshot_add", name);
	size_t begin;

	enc_u64(&call.in, snap);
	begin = enc_begin(&call.in, 1, 1);
	enc_u32(&call.in, SNAP_USER);
	enc_end(&call.in, begin);
	return call;
}

struct cls_call
cls_child(const char *method, uint64_t snap, const struct cls_child *child)
{
	struct cls_call call = cls_call_u64(method, snap);
	size_t begin = enc_begin(&call.in, 2, 1);

	enc_u64(&call.in, (uint64_t)child->pool);
	enc_str(&call.in, child->id);
	enc_str(&call.in, child->rados_namespace);
	enc_end(&call.in, begin);
	return call;
}

struct cls_call
cls_parent_attach(const struct cls_parent *parent, uint64_t overlap)
{
	struct cls_call call = cls_call("parent_attach");
	size_t begin = enc_begin(&call.in, 1, 1);

	enc_u64(&call.in, (uint64_t)parent->pool);
	enc_str(&call.in, parent->rados_namespace);
	enc_str(&call.in, parent->id);
	enc_u64(&call.in, parent->snap);
	enc_end(&call.in, begin);
	enc_u64(&call.in, overlap);
	enc_u8(&call.in, 0); /* not in place of another one */
	return call;
}

struct cls_call
cls_op_features_set(uint64_t value, uint64_t mask)
{
	struct cls_call call = cls_call_u64("op_features_set", value);

	enc_u64(&call.in, mask);
	return call;
}

struct cls_call
cls_sparse_copyup(const struct cls_extent *extents, size_t n, const char *bytes)
{
	struct cls_call call = cls_call("sparse_copyup");
	uint64_t total = 0;

	enc_u32(&call.in, n);
	for (size_t i = 0; i < n; i++) {
		enc_u64(&call.in, extents[i].offset);
		enc_u64(&call.in, extents[i].len);
		total += extents[i].len;
	}
	enc_u32(&call.in, total);
	for (size_t i = 0; i < n; i++)
		enc_raw(&call.in, bytes + extents[i].offset, extents[i].len);
	return call;
}

struct cls_call
cls_trash_add(const char *id, const struct cls_trash_entry *entry)
{
	struct cls_call call = cls_call_str("trash_add", id);
	size_t begin = enc_begin(&call.in, 2, 1);

	enc_u8(&call.in, entry->source);
	enc_str(&call.in, entry->name);
	enc_u32(&call.in, (uint64_t)entry->deleted.tv_sec);
	enc_u32(&call.in, (uint64_t)entry->deleted.tv_nsec);
	enc_u32(&call.in, (uint64_t)entry->deferred_until.tv_sec);
	enc_u32(&call.in, (uint64_t)entry->deferred_until.tv_nsec);
	enc_u8(&call.in, entry->state);
	enc_end(&call.in, begin);
	return call;
}

struct cls_call
cls_trash_state_set(const char *id, enum trash_state to, enum trash_state from)
{
	struct cls_call call = cls_call_str("trash_state_set", id);

	enc_u8(&call.in, to);
	enc_u8(&call.in, from);
	return call;
}

struct cls_call
cls_lock_get_info(void)
{
	struct cls_call call = cls_call("get_info");
	size_t begin = enc_begin(&call.in, 1, 1);

	call.cls = "lock";
	enc_str(&call.in, RBD_LOCK_NAME);
	enc_end(&call.in, begin);
	return call;
}

/* NotifyMessage, version 7 since Jewel; krbd accepts any from 2 on. */
void
cls_notify_header_update(struct enc *e)
{
	size_t begin = enc_begin(e, 7, 1);

	enc_u32(e, HEADER_UPDATE);
	enc_end(e, begin);
}

/* ---- outputs ---- */

int
cls_parse_str(struct dec d, char *buf, size_t size)
{
	dec_str(&d, buf, size);
	return dec_end(&d);
}

int
cls_parse_u64(struct dec d, uint64_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		v[i] = dec_u64(&d);
	return dec_end(&d);
}

int
cls_parse_size(struct dec d, uint8_t *order, uint64_t *size)
{
	*order = dec_u8(&d);
	*size = dec_u64(&d);
	if (*order > ORDER_MAX)
		d.failed = true;
	return dec_end(&d);
}

static struct timespec
dec_time(struct dec *d)
{
	struct timespec t = { .tv_sec = dec_u32(d) };

	t.tv_nsec = dec_u32(d);
	return t;
}

int
cls_parse_time(struct dec d, struct timespec *t)
{
	*t = dec_time(&d);
	return dec_end(&d);
}

int
cls_parse_snapcontext(struct dec d, struct cls_snapcontext *snapc)
{
	snapc->seq = dec_u64(&d);
	snapc->count = dec_count(&d, sizeof(uint64_t));
	snapc->ids = d;
	return dec_end(&d);
}

int
cls_parse_parent(struct dec d, struct cls_parent *parent)
{
	struct dec body = dec_struct(&d, 1, NULL);

	parent->pool = (int64_t)dec_u64(&body);
	dec_str(
	    &body, parent->rados_namespace, sizeof(parent->rados_namespace));
	dec_str(&body, parent->id, sizeof(parent->id));
	parent->snap = dec_u64(&body);
	dec_join(&d, &body);
	return dec_end(&d);
}

int
cls_parse_first_child(struct dec d, struct cls_parent *child)
{
	uint32_t n = dec_count(&d, 6);
	struct dec body = dec_struct(&d, 2, NULL);

	memset(child, 0, sizeof(*child));
	child->pool = (int64_t)dec_u64(&body);
	dec_str(&body, child->id, sizeof(child->id));
	dec_str(&body, child->rados_namespace, sizeof(child->rados_namespace));
	dec_join(&d, &body);
	return n == 0 ? -ENOENT : dec_end(&d);
}

int
cls_parse_snapshot(struct dec d, struct cls_snapshot *snap)
{
	struct dec body = dec_struct(&d, 1, NULL);
	struct dec ns;

	memset(snap, 0, sizeof(*snap));
	snap->id = dec_u64(&body);
	ns = dec_struct(&body, 1, NULL);
	snap->kind = (enum cls_snap_kind)dec_u32(&ns);
	if (snap->kind == SNAP_TRASH)
		dec_str(&ns, snap->original, sizeof(snap->original));
	dec_join(&body, &ns);
	dec_str(&body, snap->name, sizeof(snap->name));
	snap->size_bytes = dec_u64(&body);
	snap->created.tv_sec = dec_u32(&body);
	snap->created.tv_nsec = dec_u32(&body);
	snap->children = dec_u32(&body);
	dec_join(&d, &body);
	return dec_end(&d);
}

int
cls_parse_children(struct dec *d, uint32_t *count)
{
	*count = dec_count(d, 22); /* an envelope, a number, two lengths */
	return d->failed ? -EBADMSG : 0;
}

int
cls_parse_child(struct dec *d, struct cls_child_id *child)
{
	struct dec body = dec_struct(d, 2, NULL);

	child->pool = (int64_t)dec_u64(&body);
	dec_str(&body, child->id, sizeof(child->id));
	dec_str(&body, child->rados_namespace, sizeof(child->rados_namespace));
	dec_join(d, &body);
	return d->failed ? -EBADMSG : 0;
}

int
cls_parse_overlap(struct dec d, uint64_t *overlap)
{
	*overlap = dec_u8(&d) != 0 ? dec_u64(&d) : 0;
	return dec_end(&d);
}

int
cls_parse_group(struct dec d, struct cls_group *group)
{
	struct dec body = dec_struct(&d, 1, NULL);

	group->pool = (int64_t)dec_u64(&body);
	dec_str(&body, group->id, sizeof(group->id));
	dec_join(&d, &body);
	return dec_end(&d);
}

int
cls_parse_trash(struct dec d, struct cls_trash_entry *entry)
{
	uint8_t version;
	struct dec body = dec_struct(&d, 2, &version);

	entry->source = (enum trash_source)dec_u8(&body);
	dec_str(&body, entry->name, sizeof(entry->name));
	entry->deleted = dec_time(&body);
	entry->deferred_until = dec_time(&body);
	entry->state = version >= 2 ? (enum trash_state)dec_u8(&body)
				    : TRASH_NORMAL;
	dec_join(&d, &body);
	return dec_end(&d);
}

int
cls_parse_meta_page(struct dec *d, uint32_t *count)
{
	*count = dec_count(d, 2 * sizeof(uint32_t));
	return dec_end(d);
}

int
cls_parse_meta_next(
    struct dec *d, struct dec_bytes *key, struct dec_bytes *value)
{
	*key = dec_bytes(d);
	*value = dec_bytes(d);
	if (memchr(key->at, '\0', key->len) != NULL)
		d->failed = true;
	return dec_end(d);
}

/*
 * A bit vector: its head as bytes around a struct, two bits an object with
 * the first one in a byte's highest bits, then checksums that the OSD has
 * verified already.
 */
void
cls_object_map_none(struct enc *e, uint64_t objects)
{
	enc_u32(e, 14); /* bytes of the header that follows */
	enc_u8(e, 1);
	enc_u8(e, 1);
	enc_u32(e, 8);
	enc_u64(e, objects);
	for (uint64_t i = 0; i < objects; i += 4)
		enc_u8(e, 0);
}

int
cls_parse_object_map(struct dec d, struct cls_object_map *map)
{
	struct dec_bytes head = dec_bytes(&d);
	struct dec outer = { .at = NULL }, body;

	dec_init(&outer, head.at, head.len);
	body = dec_struct(&outer, 1, NULL);
	map->objects = dec_u64(&body);
	map->states = d.at;
	dec_join(&d, &body);
	if (map->objects / 4 + (map->objects % 4 != 0) > dec_left(&d))
		d.failed = true;
	return dec_end(&d);
}

bool
cls_object_map_has(const struct cls_object_map *map, uint64_t i)
{
	return i < map->objects &&
	    (map->states[i / 4] >> (6 - 2 * (i % 4)) & 3) != OBJECT_NONEXISTENT;
}

uint64_t
cls_object_map_next(const struct cls_object_map *map, uint64_t i)
{
	while (i < map->objects && !cls_object_map_has(map, i))
		i += i % 4 == 0 && map->states[i / 4] == 0 ? 4 : 1;
	return i < map->objects ? i : map->objects;
}

/*
 * entity_addr_t: marker 1, then (1,1){u32 type, u32 nonce, u32 length, a
 * sockaddr whose family is little endian}. Marker 0 is the form of before
 * Luminous, which no supported cluster sends.
 */
static void
dec_address(struct dec *d, char *buf, size_t size)
{
	char ip[INET6_ADDRSTRLEN] = "";
	struct dec body, sockaddr = { .at = NULL };
	uint32_t nonce;
	uint16_t family, port;
	struct dec_bytes raw;

	buf[0] = '\0';
	if (dec_u8(d) != 1) {
		d->failed = true;
		return;
	}
	body = dec_struct(d, 1, NULL);
	(void)dec_u32(&body);
	nonce = dec_u32(&body);
	raw = dec_bytes(&body);
	dec_join(d, &body);
	if (d->failed || raw.len == 0)
		return;
	dec_init(&sockaddr, raw.at, raw.len);
	family = dec_u16(&sockaddr);
	port = ntohs(htole16(dec_u16(&sockaddr)));
	if (family == AF_INET && dec_left(&sockaddr) >= 4)
		(void)inet_ntop(AF_INET, sockaddr.at, ip, sizeof(ip));
	else if (family == AF_INET6 && dec_left(&sockaddr) >= 4 + 16)
		(void)inet_ntop(AF_INET6, sockaddr.at + 4, ip, sizeof(ip));
	dec_join(d, &sockaddr);
	if (ip[0] != '\0')
		(void)snprintf(buf, size,
		    family == AF_INET ? "%s:%u/%u" : "[%s]:%u/%u", ip, port,
		    nonce);
}

static void
dec_locker(struct dec *d, struct cls_lock_info *info)
{
	struct dec id = dec_struct(d, 1, NULL), held;

	(void)dec_u8(&id); /* entity type: client */
	info->client = dec_u64(&id);
	dec_str(&id, info->cookie, sizeof(info->cookie));
	dec_join(d, &id);
	held = dec_struct(d, 1, NULL);
	(void)dec_u64(&held); /* when it expires: never */
	dec_address(&held, info->address, sizeof(info->address));
	dec_join(d, &held);
}

int
cls_parse_lock_info(struct dec d, struct cls_lock_info *info)
{
	struct dec body = dec_struct(&d, 1, NULL);
	struct cls_lock_info other;

	memset(info, 0, sizeof(*info));
	/* two versioned structs a locker, 6 bytes of head each */
	info->lockers = dec_count(&body, 12);
	for (uint32_t i = 0; i < info->lockers && !body.failed; i++)
		dec_locker(&body, i == 0 ? info : &other);
	info->exclusive = dec_u8(&body) == 1;
	dec_str(&body, info->tag, sizeof(info->tag));
	dec_join(&d, &body);
	return dec_end(&d);
}
