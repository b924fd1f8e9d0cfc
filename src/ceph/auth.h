/*
 * auth.h - CephX users that may use one image: their names, what they may do,
 * and the monitors' commands for them. Pure: no I/O, no state.
 *
 * The rule that holds it together: a user's name follows from volume and node,
 * so who has to remove it needs no record; and it may touch the objects of
 * this image and, reading only, of the images below it, each by a name that is
 * as long as such names are.
 */
#ifndef CEPH_AUTH_H
#define CEPH_AUTH_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/secret.h"
#include "ceph/image_header.h"

/* What stands for a node ID in a user's name: 16 hex digits. */
#define AUTH_NODE_SIZE 17
void auth_node_fmt(char node[AUTH_NODE_SIZE], const char *node_id);

/* "rbd-csi.UUID.NODE", without "client."; for the volume of this UUID. */
#define AUTH_PREFIX "rbd-csi."
#define AUTH_USER_SIZE 64
#define AUTH_UUID_LEN 36
void auth_user_fmt(
    char user[AUTH_USER_SIZE], const char *uuid, const char *node);

/* The longest "osd" caps: an image and as many parents as librbd takes. */
#define AUTH_CAPS_MAX 32768
#define AUTH_PARENTS_MAX 16

/* An image, or with a NULL name a parent of one. */
struct auth_image {
	const char *name;
	const char *pool, *rados_namespace;
	int64_t pool_id;
	const char *data_pool; /* of its data objects, perhaps the same */
	const struct image_info *info;
};

/*
 * Adds to the "osd" caps what krbd and librbd need of an image: to read, write,
 * lock, watch and resize it, or to read it as a parent. INVALID_ARGUMENT: a
 * name that no cap can have; RESOURCE_EXHAUSTED: more than AUTH_CAPS_MAX.
 *
 * By experiment with librbd 16.2 and Linux 6.1: a name is looked up by rbd_id;
 * librbd reads the pool's settings in rbd_info, and a parent's name in
 * rbd_directory or rbd_trash; a clone's first write to an object is a class
 * method.
 */
int auth_caps_add(struct buf *osd, const struct auth_image *image,
    struct err *err) must_check;

/* The monitors' commands, as JSON; the caller frees them. */
enum auth_command {
	AUTH_GET_OR_CREATE = 0, /* -EINVAL: it is there, with other caps */
	AUTH_SET_CAPS,
	AUTH_REMOVE, /* one that is not there is success */
	AUTH_LIST,   /* all users of the cluster, with their keys */
};

/* `osd`: caps; NULL for AUTH_REMOVE. AUTH_LIST has no user either. */
char *auth_command_fmt(
    enum auth_command command, const char *user, const char *osd);

/*
 * The command that shuts a client ("10.0.0.1:0/123"), or with `range` all of a
 * range ("10.0.0.1/32", since Ceph 16.2.8), out of the cluster for that many
 * seconds.
 */
char *auth_fence_fmt(const char *address, bool range, double seconds);

/* A user of an image in the pool, as its name and its caps tell. */
struct auth_user {
	const char *entity; /* "client.rbd-csi.UUID.NODE" */
	const char *uuid, *image, *image_id;
};

/* False: it is none of ours, or one of an image elsewhere. */
bool auth_user_parse(struct auth_user *user, const char *pool,
    const char *rados_namespace, const char *entity, const char *osd,
    struct arena *arena);

/* The key in the answer to AUTH_GET_OR_CREATE. INTERNAL: there is none. */
int auth_key_parse(const char *answer, const char *user, struct secret *key,
    struct err *err) must_check;

#endif
