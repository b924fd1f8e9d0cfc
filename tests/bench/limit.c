/*
 * limit.c - how fast the writes are that CreateVolume and DeleteVolume cannot
 * do without: sent in a bare loop from one thread, with nothing around them.
 *
 *	limit [--json | --make] [VOLUMES [IN_FLIGHT [FEATURES]]]
 *
 * create: the reservation of the name; directory, rbd_id, header, entry (and
 * object map) side by side; the key. create_unreserved: the same without the
 * reservation, whose kill leaks an image. delete: trash entry and note;
 * rbd_id, directory and key side by side; the entry. The rest of a deletion is
 * the purge's, and is not timed.
 *
 * --make makes volumes and leaves them: so many that others are measured beside
 * them.
 *
 * Against the cluster that `scripts/dev-cluster env` describes, in the pool
 * rbd. Lines for people, or with --json one object a figure.
 */
#include "base/clock.h"
#include "ceph/journal.h"
#include "tests/integration/ceph_support.h"

#include <stdlib.h>
#include <sys/resource.h>

#define MIB (1024ull * 1024)

enum kind { CREATE = 0, CREATE_UNRESERVED, DELETE, CLEAN, KINDS };

static const char *const kind_names[KINDS] = { "create", "create_unreserved",
	"delete", "clean" };

struct volume {
	struct wake wake;
	struct wakes waits;
	unsigned step;
	int64_t begun_us, took_us;
	char name[64], image[64], uuid[JOURNAL_UUID_LEN + 1], id[RBD_ID_SIZE];
	char key[96], reserve_key[96], item[96], prefix[RBD_PREFIX_SIZE];
};

static struct ceph_pool *pool;
static struct volume *volumes;
static unsigned total, next, running, failed;
static uint64_t features;
static const char *dir = "csi.volumes.limit";
static enum kind kind;

static void
omap_start(struct wake *waiter, const char *object, bool create,
    const struct journal_change *change, size_t n)
{
	journal_change_start(pool, object, create, change, n, waiter);
}

static void
item_start(const struct volume *v, struct wake *waiter)
{
	struct rados_write *w = rados_write_new(RADOS_CREATE);
	const struct rados_omap_entry entry[] = {
		{ "csi.imageid", v->id, strlen(v->id) },
		{ "csi.imagename", v->image, strlen(v->image) },
		{ "csi.volname", v->name, strlen(v->name) },
	};

	rados_write_omap_set(w, entry, countof(entry));
	rados_write_start(w, pool, v->item, waiter);
}

static void
header_start(const struct volume *v, struct wake *waiter)
{
	static const struct cls_meta meta[] = { { "csi.ceph.com/mounter", "rbd",
	    3 } };
	struct rados_write *w = rados_write_new(RADOS_CREATE_NEW);
	char object[RBD_OBJECT_SIZE];

	image_object(object, RBD_HEADER_PREFIX, v->id);
	rados_write_call(
	    w, cls_create(1024 * MIB, 22, features, v->prefix, -1));
	rados_write_call(w, cls_metadata_set(meta, countof(meta)));
	rados_write_start(w, pool, object, waiter);
}

static void
parts_start(struct volume *v)
{
	char object[RBD_OBJECT_SIZE];

	wakes_init(&v->waits, &v->wake);
	rados_tell_start(pool, RBD_DIRECTORY, RADOS_ANY,
	    cls_call_str2("dir_add_image", v->image, v->id),
	    wakes_add(&v->waits));
	image_object(object, RBD_ID_PREFIX, v->image);
	rados_tell_start(pool, object, RADOS_CREATE_NEW,
	    cls_call_str("set_id", v->id), wakes_add(&v->waits));
	header_start(v, wakes_add(&v->waits));
	item_start(v, wakes_add(&v->waits));
	if (!(features & RBD_OBJECT_MAP))
		return;
	image_object(object, RBD_OBJECT_MAP_PREFIX, v->id);
	rados_tell_start(pool, object, RADOS_CREATE_NEW,
	    cls_object_map_resize(256), wakes_add(&v->waits));
}

static void
trash_start(const struct volume *v, struct wake *waiter)
{
	struct cls_trash_entry entry = { .state = TRASH_REMOVING };
	struct rados_write *w = rados_write_new(RADOS_CREATE);

	memcpy(entry.name, v->image, strlen(v->image) + 1);
	rados_write_call(w, cls_trash_add(v->id, &entry));
	journal_purge_note(
	    w, "limit", v->id, &(struct journal_purge){ .image = v->image });
	rados_write_start(w, pool, RBD_TRASH, waiter);
}

/* Sends what comes next; false: there is nothing more. */
static bool
step_start(struct volume *v)
{
	char object[RBD_OBJECT_SIZE];
	unsigned step = v->step++;
	struct rados_write *w;

	if (kind == CREATE_UNRESERVED)
		step++;
	switch (kind == CREATE_UNRESERVED ? CREATE : kind) {
	case CREATE:
		if (step == 0)
			omap_start(&v->wake, dir, true,
			    (struct journal_change[]){ { v->key, NULL, NULL },
				{ v->reserve_key, NULL, v->image } },
			    2);
		else if (step == 1)
			parts_start(v);
		else if (step == 2)
			omap_start(&v->wake, dir, true,
			    (struct journal_change[]){
				{ v->key, NULL, v->uuid },
				{ v->reserve_key,
				    kind == CREATE ? v->image : NULL, NULL } },
			    kind == CREATE ? 2 : 1);
		return step <= 2;
	case DELETE:
		if (step == 0) {
			trash_start(v, &v->wake);
		} else if (step == 1) {
			wakes_init(&v->waits, &v->wake);
			image_id_remove_start(
			    pool, v->image, v->id, wakes_add(&v->waits));
			rados_tell_start(pool, RBD_DIRECTORY, RADOS_ANY,
			    cls_call_str2("dir_remove_image", v->image, v->id),
			    wakes_add(&v->waits));
			omap_start(wakes_add(&v->waits), dir, false,
			    &(struct journal_change){ v->key, v->uuid, NULL },
			    1);
		} else if (step == 2) {
			rados_remove_start(pool, v->item, &v->wake);
		}
		return step <= 2;
	case CLEAN:
		if (step > 0)
			return false;
		wakes_init(&v->waits, &v->wake);
		image_object(object, RBD_HEADER_PREFIX, v->id);
		rados_remove_start(pool, object, wakes_add(&v->waits));
		w = rados_write_new(RADOS_EXISTS);
		rados_write_call(w, cls_call_str("trash_remove", v->id));
		journal_purge_note(w, "limit", v->id, NULL);
		rados_write_start(w, pool, RBD_TRASH, wakes_add(&v->waits));
		if (!(features & RBD_OBJECT_MAP))
			return true;
		image_object(object, RBD_OBJECT_MAP_PREFIX, v->id);
		rados_remove_start(pool, object, wakes_add(&v->waits));
		return true;
	case CREATE_UNRESERVED:
	case KINDS:
		break;
	}
	abort();
}

static void
begin_next(void)
{
	struct volume *v;

	if (next == total)
		return;
	v = &volumes[next++];
	running++;
	v->step = 0;
	v->begun_us = clock_now_us();
	(void)step_start(v);
}

static void
on_step(struct wake *wake, int rc)
{
	struct volume *v = container_of(wake, struct volume, wake);

	failed += rc < 0;
	if (step_start(v))
		return;
	v->took_us = clock_now_us() - v->begun_us;
	running--;
	begin_next();
}

static void
prepare(unsigned i)
{
	struct volume *v = &volumes[i];
	static unsigned round;

	if (i == 0)
		round++;
	memset(v, 0, sizeof(*v));
	v->wake.fn = on_step;
	(void)snprintf(v->uuid, sizeof(v->uuid), "%08x-%04x-4000-8000-%012x", i,
	    round & 0xffff, (unsigned)getpid());
	(void)snprintf(v->id, sizeof(v->id), "%06x%04x%04x",
	    (unsigned)getpid() & 0xffffff, round & 0xffff, i & 0xffff);
	(void)snprintf(v->name, sizeof(v->name), "limit-%d-%u-%u",
	    (int)getpid(), round, i);
	(void)snprintf(v->image, sizeof(v->image), "csi-vol-%s", v->uuid);
	(void)snprintf(v->key, sizeof(v->key), "csi.volume.%s", v->name);
	(void)snprintf(
	    v->reserve_key, sizeof(v->reserve_key), "csi.reserve.%s", v->name);
	(void)snprintf(v->item, sizeof(v->item), "csi.volume.%s", v->uuid);
	(void)snprintf(
	    v->prefix, sizeof(v->prefix), RBD_DATA_PREFIX "%s", v->id);
}

static int
by_time(const void *a, const void *b)
{
	const struct volume *const *x = a, *const *y = b;

	return (*x)->took_us < (*y)->took_us ? -1
					     : (*x)->took_us > (*y)->took_us;
}

static double
cpu_ms(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
	    (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

static void
figure(bool json, const char *what, double value, const char *unit)
{
	printf(json
		? "{\"name\": \"%s.%s\", \"value\": %.3f, \"unit\": \"%s\"}\n"
		: "%s.%s: %.3f %s\n",
	    kind_names[kind], what, value, unit);
}

static void
run_kind(enum kind what, unsigned in_flight, bool json)
{
	auto_free struct volume **order = mem_new(total * sizeof(*order));
	int64_t begun_us = clock_now_us();
	double cpu = cpu_ms(), seconds;

	kind = what;
	next = 0;
	for (unsigned i = 0; i < in_flight; i++)
		begin_next();
	while (running > 0)
		loop_turn(true);
	seconds = (double)(clock_now_us() - begun_us) / 1e6;
	if (what == CLEAN)
		return;
	for (unsigned i = 0; i < total; i++)
		order[i] = &volumes[i];
	qsort(order, total, sizeof(struct volume *), by_time);
	figure(json, "rate", total / seconds, "1/s");
	figure(json, "p50", (double)order[total / 2]->took_us / 1e3, "ms");
	figure(json, "cpu", (cpu_ms() - cpu) / total, "ms");
}

int
main(int argc, char **argv)
{
	bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
	bool make = argc > 1 && strcmp(argv[1], "--make") == 0;
	int at = json || make ? 2 : 1;
	unsigned in_flight;
	struct ceph_connection *conn;

	total = at < argc ? (unsigned)atoi(argv[at]) : 400;
	in_flight = at + 1 < argc ? (unsigned)atoi(argv[at + 1]) : 16;
	features = at + 2 < argc ? strtoull(argv[at + 2], NULL, 0) : 1;
	conn = support_connect();
	pool = support_pool(conn, "rbd", NULL);
	volumes = mem_new(total * sizeof(*volumes));
	if (make)
		dir = "csi.volumes.default";
	for (enum kind how = CREATE; how <= CREATE_UNRESERVED; how++) {
		for (unsigned i = 0; i < total; i++)
			prepare(i);
		run_kind(how, in_flight, json);
		if (make)
			break;
		run_kind(DELETE, in_flight, json);
		run_kind(CLEAN, in_flight, json);
	}
	free(volumes);
	ceph_connection_close(conn);
	loop_fini();
	if (failed > 0)
		(void)fprintf(stderr, "limit: %u writes failed\n", failed);
	return failed > 0;
}
