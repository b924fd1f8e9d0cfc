/*
 * node_volumes.c - Admin/ListNodeVolumes: what is staged on this node, found
 * from the mounts and the stashes beside them, as after a restart. A child
 * looks; it hands the answer over packed, since it may be of any length.
 */
#include "node/attachment.h"
#include "node/crypt.h"
#include "node/loopdev.h"
#include "node/node.h"
#include "node/stash.h"

#include "admin.pb-c.h"
#include "base/clock.h"
#include "core/offload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define LOOK_MS INT64_C(30000)
#define SECTOR 512

typedef Rbdcsi__Admin__V1__NodeVolume volume_t;
typedef Rbdcsi__Admin__V1__ListNodeVolumesResponse volumes_t;

/* ---- the child --------------------------------------------------------------- */

/* A list that grows, of pointers in an arena. */
static void *
list_grown(struct arena *arena, const void *old, size_t count)
{
	void *grown;

	if ((count & (count + 1)) != 0)
		return (void *)(uintptr_t)old;
	grown = arena_new_bytes(arena, (count * 2 + 2) * sizeof(void *));
	if (count > 0)
		memcpy(grown, old, count * sizeof(void *));
	return grown;
}

static void
add_text(struct arena *arena, char ***list, size_t *count, const char *text)
{
	*list = list_grown(arena, *list, *count);
	(*list)[(*count)++] = arena_strdup(arena, text);
}

/* What /sys counts: <https://docs.kernel.org/block/stat.html>. */
static void
read_counters(volume_t *v, dev_t devno)
{
	unsigned long long reads, sectors_in, writes, sectors_out;
	char line[256];

	if (sysfs_read(line, sizeof(line), "dev/block/%u:%u/stat", major(devno),
		minor(devno)) < 0 ||
	    sscanf(line, "%llu %*u %llu %*u %llu %*u %llu", &reads, &sectors_in,
		&writes, &sectors_out) != 4)
		return;
	v->reads = reads;
	v->read_bytes = sectors_in * SECTOR;
	v->writes = writes;
	v->written_bytes = sectors_out * SECTOR;
}

static void
add_layer(volume_t *v, const char *kind, dev_t devno, struct arena *arena)
{
	char disk[DISK_NAME_MAX];
	auto_free char *text = NULL;

	if (devno == 0)
		return;
	sysfs_disk(devno, disk);
	text = str_fmt("%s %s", kind, disk);
	add_text(arena, &v->layers, &v->n_layers, text);
}

/* Fills one that is staged at `entry`, by its stash. Its device, or 0. */
static dev_t
describe(volume_t *v, const struct stash *stash, const char *dir,
    const char *id, const struct mount_entry *entry, struct arena *arena)
{
	const struct mount_point shown = { .source = mount_entry_source(
					       entry) };
	struct device_claim claim = { .spec.volume_id = id };
	auto_free char *file = str_fmt("%s/image-meta.json", dir);
	auto_free char *image = str_fmt("%s/%s%s%s", stash->pool,
	    stash->rados_namespace, *stash->rados_namespace != '\0' ? "/" : "",
	    stash->image);
	struct attachment at;
	struct err err = ERR_INIT;
	struct stat st;

	v->volume_id = arena_strdup(arena, id);
	v->image = arena_strdup(arena, image);
	v->mapper = arena_strdup(arena, stash_mapper(stash));
	add_text(arena, &v->mounts, &v->n_mounts, entry->point);
	if (stat(file, &st) == 0) {
		int64_t ms = clock_wall_ms() -
		    (int64_t)st.st_mtim.tv_sec * 1000 -
		    st.st_mtim.tv_nsec / 1000000;

		v->age_ms = ms > 0 ? (uint64_t)ms : 0; /* a clock set back */
	}
	if (stash_claim(stash, &claim, &err) < 0 ||
	    attachment_find(&claim, &shown, &at, &err) < 0) {
		v->problem = arena_strdup(arena, err.text);
		return 0;
	}
	v->device = arena_strdup(arena, at.device.path);
	v->size_bytes = at.device.size_bytes;
	add_layer(v, "read-only", at.layer[LAYER_READ_ONLY], arena);
	add_layer(v, "crypt", at.layer[LAYER_CRYPT], arena);
	read_counters(v, at.device.devno);
	return at.device.devno;
}

/* "<dir>/<volume ID>" with the stash of that volume in <dir>. */
static bool
read_stash_of(
    const char *point, struct stash *stash, char **dir, const char **id)
{
	const char *slash = strrchr(point, '/');

	if (slash == NULL || slash[1] == '\0')
		return false;
	*id = slash + 1;
	*dir = str_fmt("%.*s", (int)(slash - point), point);
	if (stash_read(*dir, stash, NULL) == 0 && stash_is_of(stash, *id))
		return true;
	free(*dir);
	*dir = NULL;
	return false;
}

/* Staging paths first, which tell the devices, then who else shows these. */
static int
find_volumes(volumes_t *out, struct arena *arena, struct err *err)
{
	const struct mount_entry *entry;
	struct mount_list list;
	dev_t *devices = NULL;
	int rc = mount_list_open(&list, err);

	if (rc < 0)
		return rc;
	while ((entry = mount_list_next(&list)) != NULL) {
		auto_free char *dir = NULL;
		struct stash stash;
		const char *id;
		volume_t *v;

		if (!read_stash_of(entry->point, &stash, &dir, &id))
			continue;
		v = csi_new(&rbdcsi__admin__v1__node_volume__descriptor, arena);
		devices = mem_grow(
		    devices, (out->n_volumes + 1) * sizeof(*devices));
		devices[out->n_volumes] = describe(
		    v, &stash, dir, id, entry, arena);
		out->volumes = list_grown(arena, out->volumes, out->n_volumes);
		out->volumes[out->n_volumes++] = v;
	}
	mount_list_close(&list);
	rc = mount_list_open(&list, err);
	while (rc == 0 && (entry = mount_list_next(&list)) != NULL) {
		dev_t below, devno = mount_entry_source(entry);

		if (devno == 0 || devices == NULL)
			continue;
		while (
		    loopdev_below(devno, &below) || crypt_below(devno, &below))
			devno = below;
		for (size_t i = 0; i < out->n_volumes; i++)
			if (devices[i] == devno &&
			    !str_eq(out->volumes[i]->mounts[0], entry->point))
				add_text(arena, &out->volumes[i]->mounts,
				    &out->volumes[i]->n_mounts, entry->point);
	}
	if (rc == 0)
		mount_list_close(&list);
	free(devices);
	return rc;
}

struct volumes_result {
	size_t len; /* of the packed answer in the file */
};

/* `args` is the descriptor of a file for the answer. */
static int
volumes_child(const void *args, void *result, struct err *err)
{
	struct volumes_result *out = result;
	int fd = *(const int *)args;
	struct arena *arena = csi_arena_new();
	volumes_t *reply = csi_new(
	    &rbdcsi__admin__v1__list_node_volumes_response__descriptor, arena);
	const void *bytes = NULL;
	int rc = find_volumes(reply, arena, err);

	if (rc == 0 && (bytes = csi_pack(reply, arena, &out->len, err)) == NULL)
		rc = -ENOMEM;
	if (rc == 0 && write(fd, bytes, out->len) != (ssize_t)out->len)
		rc = err_set_rc(err, -EIO, "write the list");
	arena_free(arena);
	return rc;
}

/* ---- the operation ------------------------------------------------------------ */

enum volumes_state {
	VOLUMES_START = 0, /* nothing is asked */
	VOLUMES_FOUND,     /* the child has ended */
	VOLUMES_END,
};

struct node_volumes {
	struct csi_rpc rpc;
	enum volumes_state state;
	int fd;
	struct offload off;
	struct volumes_result result;
};

/* The child's answer is the reply. */
static int
take_answer(struct node_volumes *v, struct err *err)
{
	void *bytes = arena_new_bytes(v->rpc.arena, v->result.len + 1);
	const volumes_t *found;
	volumes_t *reply = csi_rpc_reply(&v->rpc);

	if (pread(v->fd, bytes, v->result.len, 0) != (ssize_t)v->result.len)
		return err_set_rc(err, -EIO, "read the list");
	found = csi_unpack(
	    &rbdcsi__admin__v1__list_node_volumes_response__descriptor,
	    v->rpc.arena, bytes, v->result.len, err);
	if (found == NULL)
		return -EIO;
	reply->volumes = found->volumes;
	reply->n_volumes = found->n_volumes;
	return 0;
}

static enum op_verdict
node_volumes_step(struct op *op)
{
	struct node_volumes *v = (struct node_volumes *)op;
	struct err err = ERR_INIT;

	switch (v->state) {
	case VOLUMES_START:
		v->fd = memfd_create("volumes", MFD_CLOEXEC);
		if (v->fd < 0)
			return op_fail(v, VOLUMES_END, ERR_UNAVAILABLE,
			    "memfd_create: %s", strerror(errno));
		v->off.keep_fd[0] = v->fd;
		offload_start(&v->off, "list volumes", volumes_child, &v->fd,
		    &v->result, sizeof(v->result), LOOK_MS, &op->wake);
		return op_await(v, VOLUMES_FOUND);

	case VOLUMES_FOUND:
		if (op->rc < 0)
			err = v->off.err;
		else
			(void)!take_answer(v, &err);
		(void)close(v->fd);
		if (err_is_set(&err))
			return op_fail_err(v, VOLUMES_END, &err);
		return op_goto(v, VOLUMES_END);

	case VOLUMES_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class node_volumes_class = {
	.name = "ListNodeVolumes",
	.step = node_volumes_step,
};

const struct csi_impl node_volumes_impl = {
	.cls = &node_volumes_class,
	.size = sizeof(struct node_volumes),
};
