/*
 * device.h - mappers: how an image becomes a block device on this node.
 *
 * The rule that holds it together: whatever may block (map, unmap, verify)
 * is a plain C function that runs in an offload child and may be repeated at
 * any time; what needs the loop (open_start and close_start: talking to
 * rbd-attachd) runs in the daemon; find and note are the daemon's memory of
 * what is mapped and never block. Knows no call and no protobuf.
 *
 * Stage:	find, child: already staged?, open_start (if there is one),
 *		child: map, probe, mount, grow; note
 * Unstage:	find, child: unmount, unmap; close_start (if there is one); note
 */
#ifndef NODE_DEVICE_H
#define NODE_DEVICE_H

#include "base/err.h"
#include "base/secret.h"
#include "core/op.h"

#include <sys/types.h>

/*
 * Which image, and how to reach it. All strings are borrowed and live as long
 * as the operation; NULL or "" where unknown. A volume whose stash is lost is
 * known by volume_id only (image is NULL then): find, verify, unmap and
 * close_start must cope with that.
 */
struct device_spec {
	const char *volume_id;
	const char *cluster_id;    /* clusterID of config.json */
	const char *fsid;          /* of the Ceph cluster; may be unknown */
	const char *monitors;      /* "a:6789,b:6789", as in config.json */
	const char *net_namespace; /* file to enter for the map, or NULL */
	const char *user;          /* without "client." */
	const struct secret *key;  /* base64 text; attach only */
	const char *pool;
	int64_t pool_id;             /* of the handle; 0: unknown */
	const char *rados_namespace; /* "" is the default namespace */
	const char *image;           /* name */
	const char *image_id;        /* may be unknown */
	const char *map_options;     /* this mapper's part, "a,b=c" */
	const char *unmap_options;
	bool read_only;
};

#define DEVICE_FILE_MAX 160

/*
 * What a mapper knows about one attached image: filled by find or open_start
 * in the daemon, completed by map in the child, given to note afterwards.
 */
struct device_ref {
	int id; /* the mapper's number (rbd id, loop number), -1: none */
	char file[DEVICE_FILE_MAX]; /* what lies below a loop device, or "" */
};

#define DEVICE_REF_INIT                                                        \
	{                                                                      \
		.id = -1                                                       \
	}

#define DEVICE_PATH_MAX 64

/* A block device that is there. */
struct device {
	struct device_ref ref;
	char path[DEVICE_PATH_MAX]; /* "/dev/rbd0" */
	dev_t devno;
	uint64_t size_bytes;
	bool read_only;
};

/* One open_start or close_start; embedded in the op that waits. */
struct device_open {
	const struct device_spec *spec;
	struct device_ref ref; /* in: find's; out: for map in the child */
	struct err err;        /* valid after a wake with a negative rc */
	void *state;           /* the mapper's own while it runs */
};

struct mapper {
	const char *name; /* "krbd", "userspace": stash and log */

	/*
	 * Once, before the daemon serves: builds the index of what is mapped
	 * already. May block for a moment. state_dir exists.
	 */
	int (*init)(const char *state_dir, struct err *err);

	/* Can this node use it now? `why` tells why not. Cheap, each stage. */
	bool (*usable)(struct err *why);

	/*
	 * In the daemon, from memory only: ref is what is known about the
	 * image to be attached already (id -1, file "": nothing). What it
	 * says is a hint: map, unmap and verify check it against the kernel.
	 */
	void (*find)(const struct device_spec *spec, struct device_ref *ref);

	/*
	 * In the daemon, after a child: the image is mapped as `ref`, or
	 * (NULL) is not mapped any more.
	 */
	void (*note)(
	    const struct device_spec *spec, const struct device_ref *ref);

	/*
	 * In the daemon, asynchronous, both may be NULL: makes the image
	 * available to map() / gives it up after unmap(). Wakes `waiter` once
	 * with 0 or a negative errno and open->err. Opening what is open and
	 * closing what is not are success. -EBUSY from open_start: somebody
	 * else uses the image (text names them).
	 */
	void (*open_start)(struct device_open *open, struct wake *waiter);
	void (*close_start)(struct device_open *open, struct wake *waiter);

	/*
	 * In the daemon, from memory; may be NULL. User and key of a session
	 * that serves images of this cluster now, as spec->user if that is
	 * known; they live until the next turn. False: there is none.
	 */
	bool (*credentials)(const struct device_spec *spec, const char **user,
	    const char **key);

	/*
	 * In a child: maps the image, or takes the mapping that `ref` names
	 * if it is this image's with the wanted read-only flag (another flag:
	 * unmaps and maps anew, -EBUSY when in use). Fills *dev, dev->ref
	 * included. -ENXIO: this kernel or mapper lacks a feature that the
	 * image needs, another mapper may serve it.
	 */
	int (*map)(const struct device_spec *spec, const struct device_ref *ref,
	    struct device *dev, struct err *err);

	/*
	 * In a child: gives the block device back; success when the image is
	 * not mapped, -EBUSY when it stays in use after the retries.
	 */
	int (*unmap)(const struct device_spec *spec,
	    const struct device_ref *ref, struct err *err);

	/*
	 * In a child: is block device `devno` a mapping of this image? 0 and
	 * *dev filled, -ENODEV (it is not; err says what it is), or -ESTALE
	 * (it was one and is dead: nothing can be read or written there).
	 */
	int (*verify)(const struct device_spec *spec, dev_t devno,
	    struct device *dev, struct err *err);
};

extern const struct mapper device_krbd;
extern const struct mapper device_userspace;

/*
 * Registers a mapper (at most 4) and calls its init; a mapper that the node
 * cannot use stays registered, since that may change.
 */
int device_register(const struct mapper *mapper, const char *state_dir,
    struct err *err) must_check;
const struct mapper *device_mapper(const char *name); /* NULL: unknown */
const struct mapper *device_mapper_at(size_t i);      /* NULL: no more */

/*
 * The mapper for a volume: `mounter` is the volume_context's value (NULL or
 * "" and ceph-csi's "rbd": krbd; "userspace"), `fallback` the name of the one
 * to take where the node lacks it (NULL, "" or "none": no other). NULL on failure, err
 * says what is missing.
 */
const struct mapper *device_choose(
    const char *mounter, const char *fallback, struct err *err);

/*
 * For the mapper's child functions: checks that `path` is block device
 * `devno`. The kernel has made the node before a map returns where /dev is a
 * devtmpfs; elsewhere (a container's own /dev) it is made here.
 */
int device_node_ensure(
    const char *path, dev_t devno, struct err *err) must_check;

/* Size in bytes and read-only flag of a block device, from sysfs: no open. */
int device_sysfs_size(
    dev_t devno, uint64_t *size_bytes, bool *read_only) must_check;

/* Blocks; a kernel without the module is told by what is tried next. */
void device_load_module(const char *name);

/*
 * The kernel has no such device any more, or a loop device over nothing: where
 * a mount shows it, nothing can be read or written.
 */
bool device_is_gone(dev_t devno);

/*
 * Whether an image's name is that of a volume: the same (a static volume), or
 * with the UUID at its end in the volume's ID (a dynamic one, and one that was
 * migrated from the in-tree driver).
 */
bool device_is_named(const char *volume_id, const char *image);

/*
 * In a child: as verify, by `mapper` or (NULL) by whichever knows the device;
 * *owner (may be NULL) is that one. Also for a read-only layer (loopdev.h)
 * or an encrypting one (crypt.h) upon the image's device: *dev is what is
 * below it. -ESTALE also when it
 * is gone (device_is_gone), whosever it was.
 */
int device_identify(const struct device_spec *spec, const struct mapper *mapper,
    dev_t devno, struct device *dev, const struct mapper **owner,
    struct err *err) must_check;

#endif
