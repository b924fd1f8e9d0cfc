/*
 * ceph_images.c - how many images a second one thread makes, looks up and
 * deletes.
 *
 *	ceph_images [--json] [IMAGES [IN_FLIGHT [MIB [FEATURES]]]]
 *
 * Against the cluster that `scripts/dev-cluster env` describes. Lines for
 * people, or with --json one object a figure.
 */
#include "base/clock.h"
#include "tests/integration/ceph_support.h"

#include <stdlib.h>
#include <sys/resource.h>

#define POOL "t-bench"

enum phase { PHASE_CREATE = 0, PHASE_LOOKUP, PHASE_MOVE, PHASE_PURGE, PHASES };

static const char *const phase_names[] = { "image_create", "image_lookup",
	"trash_move", "trash_purge" };

struct image {
	struct wake wake;
	char name[32], id[RBD_ID_SIZE];
	struct image_spec spec;
	union {
		struct image_create create;
		struct image_lookup lookup;
		struct trash_move move;
		struct trash_purge purge;
	};
};

static struct ceph_pool *pool;
static struct image *images;
static unsigned total, next, running, failed;
static enum phase phase;

static void
begin(struct image *image)
{
	switch (phase) {
	case PHASE_CREATE:
		image_create_start(
		    &image->create, pool, &image->spec, &image->wake);
		return;
	case PHASE_LOOKUP:
		image_lookup_start(&image->lookup, pool, image->name, NULL,
		    false, &image->wake);
		return;
	case PHASE_MOVE:
		trash_move_start(&image->move, pool, image->name, image->id,
		    NULL, &image->wake);
		return;
	case PHASE_PURGE:
		image->purge = (struct trash_purge){
			.pool = pool,
			.id = image->id,
			.slice_ms = INT32_MAX,
		};
		trash_purge_start(&image->purge, &image->wake);
		return;
	case PHASES:
		break;
	}
	abort();
}

static void start_next(void);

static void
on_done(struct wake *wake, int rc)
{
	(void)wake;
	failed += rc < 0;
	running--;
	start_next();
}

static void
start_next(void)
{
	struct image *image;

	if (next == total)
		return;
	image = &images[next++];
	image->wake.fn = on_done;
	running++;
	begin(image);
}

static double
cpu_s(void)
{
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	    (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void
run_phase(unsigned in_flight, bool json)
{
	int64_t begun_us = clock_now_us();
	double cpu = cpu_s(), took;

	next = 0;
	failed = 0;
	for (unsigned i = 0; i < in_flight; i++)
		start_next();
	while (running > 0)
		loop_turn(true);
	took = (double)(clock_now_us() - begun_us) / 1e6;
	cpu = (cpu_s() - cpu) * 1000 / total;
	if (json)
		printf("{\"name\": \"%s_%u\", \"value\": %.1f, "
		       "\"unit\": \"1/s\"}\n",
		    phase_names[phase], in_flight, total / took);
	else
		printf("%-14s %u in flight: %8.1f/s, mean %6.2f ms, "
		       "CPU %.3f ms each, %u failed\n",
		    phase_names[phase], in_flight, total / took,
		    took * 1000 * in_flight / total, cpu, failed);
}

static uint64_t
argument(int argc, char **argv, int i, uint64_t otherwise)
{
	return i < argc ? strtoull(argv[i], NULL, 0) : otherwise;
}

int
main(int argc, char **argv)
{
	bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
	int first = json ? 2 : 1;
	unsigned in_flight = (unsigned)argument(argc, argv, first + 1, 16);
	uint64_t mib = argument(argc, argv, first + 2, 64);
	uint64_t features = argument(argc, argv, first + 3, 1);
	static const struct cls_meta meta[] = {
		{ "csi.storage.k8s.io/pvc/name", "data-db-0", 9 },
		{ "csi.storage.k8s.io/pv/name", "pvc-0", 5 },
	};
	struct ceph_connection *conn;

	total = (unsigned)argument(argc, argv, first, 400);
	support_make_pool(POOL);
	conn = support_connect();
	pool = support_pool(conn, POOL, NULL);
	images = mem_new(total * sizeof(*images));
	for (unsigned i = 0; i < total; i++) {
		struct image *image = &images[i];

		image_id_generate(conn, image->id);
		(void)snprintf(image->name, sizeof(image->name), "bench-%u", i);
		image->spec = (struct image_spec){
			.name = image->name,
			.id = image->id,
			.size_bytes = mib << 20,
			.features = features,
			.meta = meta,
			.nmeta = countof(meta),
		};
	}
	for (phase = PHASE_CREATE; phase < PHASES; phase++)
		run_phase(in_flight, json);
	free(images);
	ceph_connection_close(conn);
	loop_fini();
	return failed > 0;
}
