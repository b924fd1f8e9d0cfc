/*
 * mapper.h - mappers: how an image becomes a block device on this node.
 *
 * The rule that holds it together: a mapper has two halves of two types, so
 * that the compiler knows in which process a function runs. A `struct mapper`
 * works in the daemon: it has the loop and rbd-attachd, and may not block. A
 * `struct mapper_child` works in a forked child: it may block, may be repeated
 * at any time, and has the daemon's memory as it was at the fork. From the
 * first one comes the second, never the other way.
 *
 * Stage:	child: already staged?, open_start (if there is one),
 *		child: map, probe, mount, grow; note
 * Unstage:	child: unmount, unmap; close_start (if there is one); note
 */
#ifndef NODE_MAPPER_H
#define NODE_MAPPER_H

#include "core/wake.h"
#include "node/device.h"

/* ---- in a child ------------------------------------------------------------ */

struct mapper_child {
	const char *name;  /* "krbd", "userspace": stash and log */
	bool opens;        /* it maps what the daemon's open_start has opened */
	bool obeys_limits; /* those in the image's metadata, as they are now */

	/*
	 * Maps the image, or takes a mapping of it with the wanted read-only
	 * flag (another flag: unmaps and maps anew, -EBUSY when in use). Fills
	 * *dev. -ENXIO: this kernel or mapper lacks a feature that the image
	 * needs, another mapper may serve it.
	 */
	int (*map)(const struct device_spec *spec, struct device *dev,
	    struct err *err);

	/*
	 * Gives the block device back; `shown` (may be NULL) is one that is
	 * known to be the image's. Success when the image is not mapped,
	 * -EBUSY when it stays in use after the retries.
	 */
	int (*unmap)(const struct device_spec *spec, const struct device *shown,
	    struct err *err);

	/*
	 * Is block device `devno` a mapping of this image? 0 and *dev filled,
	 * -ENODEV (it is not; err says what it is), or -ESTALE (it was one and
	 * is dead: nothing can be read or written there).
	 */
	int (*verify)(const struct device_spec *spec, dev_t devno,
	    struct device *dev, struct err *err);

	/*
	 * The device, which has been verified, takes over the size that the
	 * image has now: *dev is filled anew.
	 */
	int (*grow)(const struct device_spec *spec, struct device *dev,
	    struct err *err);
};

/*
 * What is to be proven of a device: that it is this image, by this mapper or
 * (NULL) by any.
 */
struct device_claim {
	struct device_spec spec;
	const struct mapper_child *mapper;
};

/* ---- in the daemon --------------------------------------------------------- */

/* One open_start or close_start; embedded in the op that waits. */
struct device_open {
	const struct device_spec *spec;
	struct err err; /* valid after a wake with a negative rc */
	void *state;    /* the mapper's own while it runs */
};

struct mapper_setup {
	const char *state_dir;    /* exists */
	const char *attachd_path; /* path of rbd-attachd */
};

struct mapper {
	const char *name;
	const char *mounter; /* ceph-csi's word for it: whose mapOptions */
	const struct mapper_child *child;
	unsigned images_most; /* that this node can have; 0: no fixed limit */

	/*
	 * Once, before the daemon serves: builds the memory of what is mapped
	 * already. May block for a moment.
	 */
	int (*init)(const struct mapper_setup *setup, struct err *err);

	/* Can this node use it now? `why` tells why not. Cheap, each stage. */
	bool (*usable)(struct err *why);

	/*
	 * The rest may be NULL. After a child: the image is mapped as number
	 * `id`, or (-1) is not.
	 */
	void (*note)(const struct device_spec *spec, int id);

	/*
	 * Both or none: makes the image available to map / gives it up after
	 * unmap. Wakes `waiter` once with 0 or a negative errno and open->err.
	 * Opening what is open and closing what is not are success. -EBUSY
	 * from open_start: somebody else uses the image (text names them).
	 */
	void (*open_start)(struct device_open *open, struct wake *waiter);
	void (*close_start)(struct device_open *open, struct wake *waiter);

	/*
	 * Before a child's `grow`: the server of an open image reads how large
	 * that is now. One that is not open is success. Wakes as close_start.
	 */
	void (*look_start)(struct device_open *open, struct wake *waiter);

	/* Is the image open, by the daemon's memory? */
	bool (*knows)(const struct device_spec *spec);

	/*
	 * User and key of a session that serves images of this cluster now, the
	 * one that serves this image if it does, as spec->user if that is
	 * known; they live until the next turn. False: there is none.
	 */
	bool (*credentials)(const struct device_spec *spec, const char **user,
	    const char **key);

	/*
	 * For an image whose cluster does not answer: its requests, those to
	 * come as well, are answered with EIO, so that what hangs on its device
	 * ends and the device can be unmapped. Must be closed before it can be
	 * opened again; where its cluster does not let go of it within a bound,
	 * the server is replaced, which fences the late writes. Where `knows` is
	 * NULL, an image that is not mapped is NOT_FOUND. Wakes as close_start.
	 */
	void (*abort_start)(struct device_open *open, struct wake *waiter);

	/*
	 * Tells each reason why images of this mapper cannot be read and
	 * written now: a CamelCase word, and a text for people.
	 */
	void (*complain)(
	    void (*tell)(void *arg, const char *reason, const char *message),
	    void *arg);

	/*
	 * The address of the Ceph client that has the image open, where a child
	 * does not see it (struct device); it changes when a server is
	 * replaced. *shared: others may write to it at the same time. NULL: not
	 * known.
	 */
	const char *(*client)(const struct device_spec *spec, bool *shared);

	/* How many images are attached to this node. Cheap. */
	unsigned (*attached)(void);

	/* A clean restart of the servers, under load if need be. */
	void (*restart)(void);
};

extern const struct mapper krbd_mapper;
extern const struct mapper userspace_mapper;

#define MAPPER_DEFAULT "krbd" /* what ceph-csi uses if nothing else is said */
#define MAPPER_OTHER                                                           \
	"userspace" /* of `tryOtherMounters`: works on any kernel */

/* ---- the table ------------------------------------------------------------- */

/*
 * The mappers of this process: `table` is NULL-terminated and borrowed. A
 * mapper that the node cannot use stays in it, since that may change.
 */
int mapper_init(const struct mapper *const *table,
    const struct mapper_setup *setup, struct err *err) must_check;

const struct mapper *mapper_at(size_t i);              /* NULL: no more */
const struct mapper *mapper_by_name(const char *name); /* NULL: unknown */
const struct mapper_child *mapper_child_at(size_t i);
const struct mapper_child *mapper_child_by_name(const char *name);

/*
 * The mapper for a volume: `mounter` is the volume_context's value (NULL, ""
 * and what ceph-csi does not know: krbd), `fallback` the name of the one to
 * take where the node lacks it (NULL, "" or "none": no other). NULL on
 * failure, err says what is missing.
 */
const struct mapper *mapper_choose(
    const char *mounter, const char *fallback, struct err *err);

/* As `note`, where the mapper has one. */
void mapper_note(
    const struct mapper *mapper, const struct device_spec *spec, int id);

#endif
