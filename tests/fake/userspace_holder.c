/*
 * userspace_holder - the userspace mapper without the daemon: a stand-in for
 * rbd-csid in the tests of takeover, killed and restarted at will.
 *
 *	userspace_holder STATEDIR RBD-ATTACHD MONITORS USER KEYFILE POOL
 *
 * Commands on standard input, one a line; the answers end with a line that
 * begins with "ok" or "err":
 *	attach [ro|shared] IMAGE...	all at once; "IMAGE /dev/loopN SIZE MS" each
 *	detach IMAGE...		all at once
 *	abort IMAGE		and detach
 *	find IMAGE		what the index says
 *	pids			of the rbd-attachds
 *	restart			each of them, cleanly
 *	settle			wait until every session serves
 */
#include "base/clock.h"
#include "base/log.h"
#include "core/io.h"
#include "core/offload.h"
#include "node/mapper.h"
#include "node/userspace_index.h"
#include "node/userspace_session.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define IMAGES_MAX 512

enum job_kind {
	JOB_ATTACH = 0,
	JOB_DETACH,
	JOB_ABORT,
};

enum task_state {
	TASK_START = 0,
	TASK_OPENED,
	TASK_MAPPED,
	TASK_UNMAPPED,
	TASK_CLOSED,
	TASK_END,
};

struct task {
	struct op op;
	enum task_state state;
	enum job_kind kind;
	char image[128];
	struct device_spec spec;
	struct device_open open;
	struct device dev;
	struct offload off;
	int none;
};

static struct {
	const char *const *argv;
	struct secret key;
	struct io in;
	char line[65536];
	size_t len;
	unsigned running;
	bool failed;
	int64_t began_us;
} holder;

static void next_line(void);

static const struct mapper *const mapper = &userspace_mapper;

static int
map_child(const void *args, void *result, struct err *err)
{
	const struct task *t = args;

	return mapper->child->map(&t->spec, result, err);
}

static int
unmap_child(const void *args, void *result, struct err *err)
{
	const struct task *t = args;

	(void)result;
	return mapper->child->unmap(&t->spec, NULL, err);
}

static enum op_verdict
task_begin(struct task *t)
{
	t->open.spec = &t->spec;
	switch (t->kind) {
	case JOB_ATTACH:
		mapper->open_start(&t->open, &t->op.wake);
		return op_await(t, TASK_OPENED);
	case JOB_DETACH:
		offload_start(&t->off, "unmap", unmap_child, t, &t->none,
		    sizeof(t->none), 30000, &t->op.wake);
		return op_await(t, TASK_UNMAPPED);
	case JOB_ABORT:
		mapper->abort_start(&t->open, &t->op.wake);
		return op_await(t, TASK_CLOSED);
	}
	abort();
}

static enum op_verdict
task_step(struct op *op)
{
	struct task *t = (struct task *)op;

	switch (t->state) {
	case TASK_START:
		return task_begin(t);
	case TASK_OPENED:
		if (op->rc < 0)
			return op_fail_err(t, TASK_END, &t->open.err);
		offload_start(&t->off, "map", map_child, t, &t->dev,
		    sizeof(t->dev), 30000, &op->wake);
		return op_await(t, TASK_MAPPED);
	case TASK_MAPPED:
		if (op->rc < 0)
			return op_fail_err(t, TASK_END, &t->off.err);
		mapper->note(&t->spec, t->dev.id);
		return op_goto(t, TASK_END);
	case TASK_UNMAPPED:
		if (op->rc < 0)
			return op_fail_err(t, TASK_END, &t->off.err);
		mapper->note(&t->spec, -1);
		mapper->close_start(&t->open, &op->wake);
		return op_await(t, TASK_CLOSED);
	case TASK_CLOSED:
		if (op->rc < 0)
			return op_fail_err(t, TASK_END, &t->open.err);
		return op_goto(t, TASK_END);
	case TASK_END:
		return OP_DONE;
	}
	abort();
}

static void
finish(void)
{
	printf("%s %.1f\n", holder.failed ? "err" : "ok",
	    (double)(clock_now_us() - holder.began_us) / 1000);
	fflush(stdout);
	next_line();
}

static void
task_end(struct op *op)
{
	struct task *t = (struct task *)op;
	double ms = (double)(clock_now_us() - op->started_us) / 1000;

	if (op->err.rc < 0) {
		holder.failed = true;
		printf("%s %s %s %.1f\n", t->image, err_code_name(op->err.code),
		    op->err.text, ms);
	} else if (t->kind == JOB_ATTACH) {
		printf("%s %s %" PRIu64 " %.1f\n", t->image, t->dev.path,
		    t->dev.size_bytes, ms);
	}
	if (--holder.running == 0)
		finish();
	free(t);
}

static const struct op_class task_class = {
	.name = "holder",
	.step = task_step,
	.end = task_end,
};

static void
fill_spec(struct device_spec *spec, const char *image, const char *how)
{
	*spec = (struct device_spec){ .cluster_id = "test",
		.monitors = holder.argv[3],
		.user = holder.argv[4],
		.key = &holder.key,
		.pool = holder.argv[6],
		.rados_namespace = "",
		.image = image,
		.read_only = strcmp(how, "ro") == 0,
		.shared = strcmp(how, "shared") == 0 };
}

static void
task_new(enum job_kind kind, const char *image, const char *how)
{
	struct task *t = mem_new(sizeof(*t));

	t->kind = kind;
	(void)snprintf(t->image, sizeof(t->image), "%s", image);
	fill_spec(&t->spec, t->image, how);
	holder.running++;
	op_start(&t->op, &task_class, NULL);
}

static void
find(const char *image)
{
	struct device_spec spec;
	const struct userspace_entry *entry;

	fill_spec(&spec, image, "");
	entry = userspace_index_find(&spec);
	printf("%d %s\n", entry != NULL ? entry->loop : LOOP_NONE,
	    entry != NULL ? entry->file : "");
}

static void
settle(struct wake *wake, int rc)
{
	struct attach_session *s = NULL;

	(void)rc;
	while ((s = attach_session_next(s)) != NULL)
		if (s->peer.state != PEER_UP) {
			attach_session_wait_start(wake);
			return;
		}
	finish();
}

static struct wake settled = { .fn = settle };

static void
pids(void)
{
	struct attach_session *s = NULL;

	while ((s = attach_session_next(s)) != NULL)
		printf("%d %s %s\n", (int)peer_pid(&s->peer),
		    attach_session_state(s), s->dir);
}

/* Returns false when the answer comes later. */
static bool
command(char *line)
{
	char *save, *word = strtok_r(line, " ", &save);
	const char *verb = word != NULL ? word : "", *how = "";

	if (strcmp(verb, "attach") == 0 || strcmp(verb, "detach") == 0 ||
	    strcmp(verb, "abort") == 0) {
		enum job_kind kind = verb[0] == 'd' ? JOB_DETACH
		    : verb[1] == 'b'                ? JOB_ABORT
						    : JOB_ATTACH;

		while ((word = strtok_r(NULL, " ", &save)) != NULL)
			if (strcmp(word, "ro") == 0 ||
			    strcmp(word, "shared") == 0)
				how = word;
			else
				task_new(kind, word, how);
		return holder.running == 0;
	}
	if (strcmp(verb, "settle") == 0) {
		wake_up(&settled, 0);
		return false;
	}
	if (strcmp(verb, "find") == 0)
		find(strtok_r(NULL, " ", &save));
	else if (strcmp(verb, "pids") == 0)
		pids();
	else if (strcmp(verb, "restart") == 0)
		mapper->restart();
	else
		holder.failed = true;
	return true;
}

static void
next_line(void)
{
	char *end;

	while ((end = memchr(holder.line, '\n', holder.len)) != NULL) {
		static char line[sizeof(holder.line)];
		size_t used = (size_t)(end - holder.line) + 1;

		*end = '\0';
		memcpy(line, holder.line, used);
		holder.len -= used;
		memmove(holder.line, holder.line + used, holder.len);
		holder.failed = false;
		holder.began_us = clock_now_us();
		if (!command(line))
			return;
		printf("%s\n", holder.failed ? "err" : "ok");
		fflush(stdout);
	}
}

static void
on_input(struct io *io, int what)
{
	ssize_t n = read(
	    io->fd, holder.line + holder.len, sizeof(holder.line) - holder.len);

	(void)what;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		loop_stop();
		return;
	}
	holder.len += (size_t)n;
	if (holder.running == 0)
		next_line();
}

int
main(int argc, char **argv)
{
	struct mapper_setup setup;
	struct err err = ERR_INIT;
	char key[256] = "";
	FILE *f;

	if (argc != 7)
		return 2;
	log_init("holder", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	if ((f = fopen(argv[5], "r")) == NULL ||
	    fgets(key, sizeof(key), f) == NULL)
		return 2;
	fclose(f);
	key[strcspn(key, "\n")] = '\0';
	secret_set(&holder.key, key, strlen(key));
	holder.argv = (const char *const *)argv;
	if (loop_init() < 0)
		return 1;
	setup.state_dir = argv[1];
	setup.attachd_path = argv[2];
	if (mapper->init(&setup, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	(void)fcntl(0, F_SETFL, O_NONBLOCK);
	io_watch(&holder.in, 0, IO_READ, on_input);
	printf("ready\n");
	fflush(stdout);
	loop_run();
	return 0;
}
