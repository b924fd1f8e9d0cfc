/*
 * node_life.c - the Node RPCs with real file systems and real mounts, on loop
 * devices instead of rbd devices. Needs root.
 *
 * Each call runs in a process of its own, as if the daemon were restarted
 * between any two of them, and is killed at each of its states in the sweeps
 * at the end. All of it happens in a mount namespace of its own.
 */
#include "node/node.h"
#include "node/staging.h"
#include "tests/definition.h"
#include "tests/fake/loop_mapper.h"
#include "tests/tap.h"
#include "tests/waited.h"

#include "base/log.h"
#include "core/child.h"
#include "core/offload.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#define MODE(name) CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__##name
#define MIB (1024 * 1024LL)

#define PATH_SIZE 400
#define put(array, ...) ((void)!str_put(array, sizeof(array), __VA_ARGS__))

static char top[64]; /* everything is below it */

/* ---- one volume ----------------------------------------------------------- */

struct volume {
	char id[80], image[80];
	const char *fstype;     /* NULL: block */
	const char *flag;       /* a mount flag or NULL */
	const char *context[2]; /* a key of volume_context and its value */
	int mode;
	bool reader; /* as ControllerPublishVolume says */
	char staging[PATH_SIZE], target[PATH_SIZE], staged[PATH_SIZE];
	char file[PATH_SIZE];
};

static void
volume_init(struct volume *v, int n, const char *fstype, long long size)
{
	char path[PATH_SIZE];
	int fd;

	memset(v, 0, sizeof(*v));
	v->fstype = fstype;
	v->mode = MODE(SINGLE_NODE_WRITER);
	put(v->id,
	    "0001-0004-test-0000000000000001-"
	    "00000000-0000-4000-8000-%012d",
	    n);
	put(v->image, "csi-vol-00000000-0000-4000-8000-%012d", n);
	put(v->staging, "%s/staging-%d", top, n);
	put(v->target, "%s/pods/%d/mount", top, n);
	put(v->staged, "%s/%s", v->staging, v->id);
	put(v->file, "%s/file", v->target);
	if (mkdir(v->staging, 0750) < 0)
		diag("mkdir %s: %s", v->staging, strerror(errno));
	put(path, "%s/rbd/%s", top, v->image);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || ftruncate(fd, size) < 0)
		diag("make %s: %s", path, strerror(errno));
	close(fd);
}

static void
image_path(const struct volume *v, char *out)
{
	(void)!str_put(out, PATH_SIZE, "%s/rbd/%s", top, v->image);
}

/* ---- running a call ------------------------------------------------------- */

struct answer {
	int code; /* -1: killed before the end */
	char text[ERR_TEXT_MAX];
	unsigned forks, execs, states;
	int64_t bytes, inodes;
};

static int die_at; /* the state at which the process ends, 0: never */
static unsigned states;
static struct answer answer;

static void
on_state(struct op *op, const char *state)
{
	(void)op;
	(void)state;
	if (++states == (unsigned)die_at)
		_exit(0);
}

static void
take_result(const struct csi_rpc *rpc, bool stats)
{
	answer.code = (int)rpc->op.err.code;
	memcpy(answer.text, rpc->op.err.text, sizeof(answer.text));
	if (rpc->impl == &node_expand_impl && answer.code == 0)
		answer.bytes = ((Csi__V1__NodeExpandVolumeResponse *)rpc->reply)
				   ->capacity_bytes;
	if (stats && answer.code == 0) {
		const Csi__V1__NodeGetVolumeStatsResponse *r = rpc->reply;

		answer.bytes = r->usage[0]->total;
		answer.inodes = r->n_usage > 1 ? r->usage[1]->total : -1;
	}
}

/*
 * The cluster's part in formatting: the mark of an image is the file
 * IMAGE.mark, and its objects are the parts of the file that are no holes.
 */
static void
mark_path(const char *image, char *out)
{
	(void)!str_put(out, PATH_SIZE, "%s/rbd/%s.mark", top, image);
}

static const char *
mark_of(const char *image)
{
	static char mark[32];
	char path[PATH_SIZE];
	ssize_t n;
	int fd;

	mark_path(image, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, mark, sizeof(mark) - 1);
	mark[n < 0 ? 0 : n] = '\0';
	if (fd >= 0)
		close(fd);
	return mark;
}

static void
set_mark(const char *image, const char *mark)
{
	char path[PATH_SIZE];
	int fd;

	mark_path(image, path);
	(void)unlink(path);
	if (mark[0] == '\0')
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, mark, strlen(mark)) < 0)
		diag("mark %s: %s", path, strerror(errno));
	close(fd);
}

static bool
holds_data(const char *image)
{
	char path[PATH_SIZE];
	off_t at;
	int fd;

	put(path, "%s/rbd/%s", top, image);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	at = lseek(fd, 0, SEEK_DATA);
	close(fd);
	return at >= 0;
}

static bool shared; /* another client has the image open */

static void
format_start(struct node_format *ask, struct wake *waiter)
{
	const char *image = ask->spec->image, *mark = mark_of(image);

	ask->again = str_eq(mark, "unfinished");
	put(ask->image_id, "12");
	if (ask->step == NODE_FORMAT_ALONE && shared)
		(void)err_set(&ask->err, ERR_FAILED_PRECONDITION,
		    "image %s is open elsewhere", image);
	else if (ask->step == NODE_FORMAT_ALONE)
		;
	else if (ask->step == NODE_FORMAT_END)
		set_mark(image, ask->fstype);
	else if (!ask->again && (mark[0] != '\0' || holds_data(image)))
		(void)err_set(&ask->err, ERR_FAILED_PRECONDITION,
		    "image %s is not formatted", image);
	else
		set_mark(image, "unfinished");
	wake_up(waiter, ask->err.rc);
}

static int
find_cluster(const char *id, int64_t pool_id, struct arena *arena,
    struct node_cluster *cluster, struct err *err)
{
	(void)pool_id;
	(void)id;
	(void)arena;
	(void)err;
	*cluster = (struct node_cluster){ .monitors = "192.0.2.1:6789",
		.rados_namespace = "" };
	return 0;
}

static bool lends; /* a session's credentials */

static bool
credentials(const struct device_spec *spec, const char **user, const char **key)
{
	(void)spec;
	*user = "csi";
	*key = "AQAAAAAAAAAAAA==";
	return lends;
}

static void
serve(const struct csi_impl *impl, const struct csi_definition *def,
    const void *body, size_t len, int out)
{
	static const struct node_config config = { .state_dir = "/run",
		.find_cluster = find_cluster,
		.format_start = format_start,
		.credentials = credentials };
	static const struct mapper *const mappers[] = { &loop_mapper, NULL };
	const struct mapper_setup setup = { .state_dir = "/run" };
	struct waited done = WAITED_INIT;
	struct csi_request in;
	struct csi_rpc *rpc;
	struct err err = ERR_INIT;

	if (loop_init() < 0 || mapper_init(mappers, &setup, &err) < 0)
		_exit(1);
	node_config = &config;
	op_set_hook(on_state);
	if (csi_request_read(&in, def, body, len, &err) < 0) {
		answer.code = (int)err.code;
		memcpy(answer.text, err.text, sizeof(answer.text));
	} else {
		rpc = csi_rpc_new(impl, &in, NULL);
		csi_rpc_start(rpc, &done.wake);
		(void)waited_for(&done);
		take_result(rpc, impl == &node_stats_impl);
		csi_request_fini(&in);
	}
	answer.forks = (unsigned)offload_stats().forks;
	answer.execs = (unsigned)tool_execs();
	answer.states = states;
	if (write(out, &answer, sizeof(answer)) != sizeof(answer))
		_exit(1);
	_exit(0);
}

static struct answer
run(const struct csi_impl *impl, const void *request, int kill_at)
{
	struct answer got = { .code = -1 };
	size_t len = protobuf_c_message_get_packed_size(request);
	auto_free unsigned char *body = mem_new(len + 1);
	int fd[2], status;
	pid_t pid;

	(void)protobuf_c_message_pack(request, body);
	if (pipe2(fd, O_CLOEXEC) < 0)
		return got;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		die_at = kill_at;
		serve(impl, definition_taking(request), body, len, fd[1]);
	}
	close(fd[1]);
	if (read(fd[0], &got, sizeof(got)) != sizeof(got))
		got.code = -1;
	close(fd[0]);
	(void)waitpid(pid, &status, 0);
	return got;
}

static Csi__V1__NodeStageVolumeRequest__SecretsEntry secret[2];

static void
capability_of(const struct volume *v, Csi__V1__VolumeCapability *cap,
    Csi__V1__VolumeCapability__MountVolume *mount,
    Csi__V1__VolumeCapability__BlockVolume *block,
    Csi__V1__VolumeCapability__AccessMode *mode, char **flags)
{
	csi__v1__volume_capability__init(cap);
	csi__v1__volume_capability__mount_volume__init(mount);
	csi__v1__volume_capability__block_volume__init(block);
	csi__v1__volume_capability__access_mode__init(mode);
	mode->mode = (Csi__V1__VolumeCapability__AccessMode__Mode)v->mode;
	cap->access_mode = mode;
	if (v->fstype == NULL) {
		cap->access_type_case =
		    CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK;
		cap->block = block;
		return;
	}
	cap->access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT;
	cap->mount = mount;
	mount->fs_type = (char *)(uintptr_t)v->fstype;
	if (v->flag != NULL) {
		flags[0] = (char *)(uintptr_t)v->flag;
		mount->mount_flags = flags;
		mount->n_mount_flags = 1;
	}
}

static char key_user[] = "userID", key_key[] = "userKey", value_user[] = "u";
static char value_key[] = "AQBhc2VjcmV0c2VjcmV0c2VjcmV0";
static char key_pool[] = "pool", value_pool[] = "rbd", key_image[] = "image";
static char key_reader[] = "readOnly", value_reader[] = "true";
static char key_mons[] = "monitors", value_mons[] = "192.0.2.1:6789";
static char key_id[] = "imageId", value_id[] = "12";

static struct answer
stage_at(const struct volume *v, int kill_at)
{
	Csi__V1__NodeStageVolumeRequest r;
	Csi__V1__VolumeCapability cap;
	Csi__V1__VolumeCapability__MountVolume mount;
	Csi__V1__VolumeCapability__BlockVolume block;
	Csi__V1__VolumeCapability__AccessMode mode;
	Csi__V1__NodeStageVolumeRequest__PublishContextEntry context[5], *c[5];
	Csi__V1__NodeStageVolumeRequest__VolumeContextEntry entry, *e[1];
	Csi__V1__NodeStageVolumeRequest__SecretsEntry *s[2];
	char *flags[1], image[80];

	csi__v1__node_stage_volume_request__init(&r);
	capability_of(v, &cap, &mount, &block, &mode, flags);
	r.volume_id = (char *)(uintptr_t)v->id;
	r.staging_target_path = (char *)(uintptr_t)v->staging;
	r.volume_capability = &cap;
	strcpy(image, v->image);
	for (int i = 0; i < 5; i++) {
		csi__v1__node_stage_volume_request__publish_context_entry__init(
		    &context[i]);
		c[i] = &context[i];
	}
	context[0].key = key_pool;
	context[0].value = value_pool;
	context[1].key = key_image;
	context[1].value = image;
	context[2].key = key_mons;
	context[2].value = value_mons;
	context[3].key = key_id;
	context[3].value = value_id;
	r.publish_context = c;
	context[4].key = key_reader;
	context[4].value = value_reader;
	r.n_publish_context = v->reader ? 5 : 4;
	csi__v1__node_stage_volume_request__volume_context_entry__init(&entry);
	entry.key = (char *)(uintptr_t)v->context[0];
	entry.value = (char *)(uintptr_t)v->context[1];
	e[0] = &entry;
	r.volume_context = e;
	r.n_volume_context = v->context[0] != NULL;
	for (int i = 0; i < 2; i++) {
		csi__v1__node_stage_volume_request__secrets_entry__init(
		    &secret[i]);
		s[i] = &secret[i];
	}
	secret[0].key = key_user;
	secret[0].value = value_user;
	secret[1].key = key_key;
	secret[1].value = value_key;
	r.secrets = s;
	r.n_secrets = 2;
	return run(&node_stage_impl, &r, kill_at);
}

static struct answer
unstage_at(const struct volume *v, int kill_at)
{
	Csi__V1__NodeUnstageVolumeRequest r;

	csi__v1__node_unstage_volume_request__init(&r);
	r.volume_id = (char *)(uintptr_t)v->id;
	r.staging_target_path = (char *)(uintptr_t)v->staging;
	return run(&node_unstage_impl, &r, kill_at);
}

static struct answer
publish_at(
    const struct volume *v, const char *target, bool read_only, int kill_at)
{
	Csi__V1__NodePublishVolumeRequest r;
	Csi__V1__VolumeCapability cap;
	Csi__V1__VolumeCapability__MountVolume mount;
	Csi__V1__VolumeCapability__BlockVolume block;
	Csi__V1__VolumeCapability__AccessMode mode;
	Csi__V1__NodePublishVolumeRequest__VolumeContextEntry entry, *e[1];
	char *flags[1];

	csi__v1__node_publish_volume_request__init(&r);
	csi__v1__node_publish_volume_request__volume_context_entry__init(
	    &entry);
	capability_of(v, &cap, &mount, &block, &mode, flags);
	r.volume_id = (char *)(uintptr_t)v->id;
	r.staging_target_path = (char *)(uintptr_t)v->staging;
	r.target_path = (char *)(uintptr_t)target;
	r.volume_capability = &cap;
	r.readonly = read_only;
	entry.key = key_pool;
	entry.value = value_pool;
	e[0] = &entry;
	r.volume_context = e;
	r.n_volume_context = 1;
	return run(&node_publish_impl, &r, kill_at);
}

static struct answer
unpublish_at(const struct volume *v, const char *target, int kill_at)
{
	Csi__V1__NodeUnpublishVolumeRequest r;

	csi__v1__node_unpublish_volume_request__init(&r);
	r.volume_id = (char *)(uintptr_t)v->id;
	r.target_path = (char *)(uintptr_t)target;
	return run(&node_unpublish_impl, &r, kill_at);
}

static struct answer
stats_of(const struct volume *v, const char *path)
{
	Csi__V1__NodeGetVolumeStatsRequest r;

	csi__v1__node_get_volume_stats_request__init(&r);
	r.volume_id = (char *)(uintptr_t)v->id;
	r.volume_path = (char *)(uintptr_t)path;
	return run(&node_stats_impl, &r, 0);
}

/* `target`: at the published path, or else at the staging path */
static struct answer
expand(const struct volume *v, bool target)
{
	Csi__V1__NodeExpandVolumeRequest r;

	csi__v1__node_expand_volume_request__init(&r);
	r.volume_id = (char *)(uintptr_t)v->id;
	r.volume_path = (char *)(uintptr_t)v->target;
	if (!target)
		r.staging_target_path = (char *)(uintptr_t)v->staging;
	return run(&node_expand_impl, &r, 0);
}

#define stage(v) stage_at(v, 0)
#define unstage(v) unstage_at(v, 0)
#define publish(v) publish_at(v, (v)->target, false, 0)
#define unpublish(v) unpublish_at(v, (v)->target, 0)

static bool
expect(struct answer got, enum err_code code, const char *name)
{
	bool good = got.code == (int)code;

	ok(good, "%s", name);
	if (!good)
		diag("got %s: %s",
		    got.code < 0 ? "killed"
				 : err_code_name((enum err_code)got.code),
		    got.text);
	return good;
}

/* ---- looking at the result ------------------------------------------------ */

static bool
exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static bool
has_stash(const struct volume *v)
{
	char path[PATH_SIZE];

	put(path, "%s/image-meta.json", v->staging);
	return exists(path);
}

static int
mounts_below(const char *dir)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[1024];
	int n = 0;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, dir) != NULL;
	if (f != NULL)
		fclose(f);
	return n;
}

static bool
nothing_left(const struct volume *v)
{
	return !exists(v->target) && !exists(v->staged) && !has_stash(v) &&
	    mounts_below(top) == 0 && loop_mapper_count() == 0;
}

static bool
write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	bool good = fd >= 0 &&
	    write(fd, text, strlen(text)) == (ssize_t)strlen(text) &&
	    fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return good;
}

static bool
has_text(const char *path, const char *text)
{
	char got[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, got, strlen(text));

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) && memcmp(got, text, (size_t)n) == 0;
}

static bool
poke(const struct volume *v, off_t at, const void *bytes, size_t len)
{
	char path[PATH_SIZE];
	int fd;
	bool good;

	image_path(v, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	good = fd >= 0 && pwrite(fd, bytes, len, at) == (ssize_t)len;
	if (fd >= 0)
		close(fd);
	return good;
}

/* ---- lives ---------------------------------------------------------------- */

static void
life(int n, const char *fstype, long long size)
{
	const char *kind = fstype != NULL ? fstype : "block";
	struct volume v;
	struct answer a;
	char second[PATH_SIZE];

	volume_init(&v, n, fstype, size);
	put(second, "%s/pods/%d/second", top, n);
	a = stage(&v);
	expect(a, ERR_OK, "a fresh volume is staged");
	is_int(a.forks, fstype != NULL ? 2 : 1, "%s: children it took", kind);
	is_int(a.execs, fstype != NULL ? 1 : 0, "%s: programs: mkfs", kind);
	a = stage(&v);
	expect(a, ERR_OK, "staging it again is success");
	is_int(loop_mapper_count(), 1, "%s: and maps nothing twice", kind);
	a = publish(&v);
	expect(a, ERR_OK, "it is published");
	is_int(a.forks, 1, "%s: by one child", kind);
	expect(publish(&v), ERR_OK, "publishing it again is success");
	ok(write_text(fstype != NULL ? v.file : v.target, "precious data"),
	    "%s: it is written to", kind);
	expect(publish_at(&v, v.target, true, 0), ERR_ALREADY_EXISTS,
	    "read-only at the same target is refused");
	expect(publish_at(&v, second, true, 0), ERR_OK,
	    "read-only at an other target works");
	if (fstype != NULL) {
		struct statvfs fs;

		ok(statvfs(second, &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0 &&
			statvfs(v.target, &fs) == 0 &&
			(fs.f_flag & ST_RDONLY) == 0,
		    "%s: and that one is read-only, the first is not", kind);
	}
	a = stats_of(&v, v.target);
	expect(a, ERR_OK, "statistics are told");
	if (fstype == NULL)
		is_int(a.bytes, size, "block: the size of the device");
	else
		ok(a.bytes > size / 2 && a.bytes <= size && a.inodes >= 0,
		    "%s: bytes and inodes", kind);
	expect(unpublish_at(&v, second, 0), ERR_OK, "unpublished");
	expect(unpublish(&v), ERR_OK, "unpublished at the first target");
	expect(unpublish(&v), ERR_OK, "unpublishing again is success");
	ok(!exists(v.target), "%s: the target is gone", kind);
	expect(stats_of(&v, v.target), ERR_NOT_FOUND,
	    "statistics of it are NOT_FOUND");
	a = unstage(&v);
	expect(a, ERR_OK, "it is unstaged");
	is_int(a.forks, 1, "%s: by one child", kind);
	expect(unstage(&v), ERR_OK, "unstaging again is success");
	ok(nothing_left(&v), "%s: nothing is left", kind);
	a = stage(&v);
	expect(a, ERR_OK, "it is staged again");
	is_int(a.forks, 1, "%s: a formatted volume takes one child", kind);
	is_int(a.execs, 0, "%s: and no program", kind);
	expect(publish(&v), ERR_OK, "and published");
	ok(has_text(fstype != NULL ? v.file : v.target, "precious data"),
	    "%s: the data is there", kind);
	expect(unpublish(&v), ERR_OK, "unpublished");
	expect(unstage(&v), ERR_OK, "unstaged");
	ok(nothing_left(&v), "%s: nothing is left", kind);
}

/* ---- what must not happen ------------------------------------------------- */

static void
stale_staging(void)
{
	struct volume v;
	char file[PATH_SIZE];

	volume_init(&v, 20, "ext4", 64 * MIB);
	expect(publish(&v), ERR_FAILED_PRECONDITION,
	    "a volume that is not staged is not published");
	ok(!exists(v.target), "and no target appears");
	expect(stage(&v), ERR_OK, "staged");
	/* A reboot: the mount and the mapping go, directory and stash stay. */
	ok(umount2(v.staged, 0) == 0, "the mount goes, as in a reboot");
	expect(publish(&v), ERR_FAILED_PRECONDITION,
	    "the directory that is left is not published");
	ok(!exists(v.target), "and no target appears");
	lends = true;
	expect(publish(&v), ERR_OK,
	    "with a session's key it is staged anew and published");
	lends = false;
	ok(mounts_below(v.staged) == 1, "at its staging path, too");
	expect(stage(&v), ERR_OK, "staged already");
	expect(publish(&v), ERR_OK, "published already");
	expect(unpublish(&v), ERR_OK, "unpublished");
	expect(unstage(&v), ERR_OK, "unstaged");
	ok(mkdir(v.staged, 0750) == 0, "an empty directory is in the way");
	put(file, "%s/data", v.staged);
	ok(write_text(file, "x"), "with somebody's data in it");
	expect(unstage(&v), ERR_FAILED_PRECONDITION,
	    "unstage does not remove data");
	ok(exists(file), "it is there");
	(void)unlink(file);
	expect(unstage(&v), ERR_OK, "without it unstage succeeds");
	ok(nothing_left(&v), "nothing is left");
}

static void
foreign_mounts(void)
{
	struct volume v, other;

	volume_init(&v, 21, "ext4", 64 * MIB);
	volume_init(&other, 22, "ext4", 64 * MIB);
	expect(stage(&other), ERR_OK, "an other volume is staged");

	(void)mkdir(v.staged, 0750);
	ok(mount("none", v.staged, "tmpfs", 0, NULL) == 0, "a tmpfs is there");
	expect(stage(&v), ERR_FAILED_PRECONDITION, "stage refuses it");
	expect(publish(&v), ERR_FAILED_PRECONDITION, "publish refuses it");
	ok(umount2(v.staged, 0) == 0, "it goes");

	ok(mount("/", v.staged, NULL, MS_BIND, NULL) == 0,
	    "a bind mount of the root disk is there");
	expect(stage(&v), ERR_FAILED_PRECONDITION, "stage refuses it");
	expect(publish(&v), ERR_FAILED_PRECONDITION, "publish refuses it");
	ok(!exists(v.target), "and no target appears");
	ok(umount2(v.staged, MNT_DETACH) == 0, "it goes");

	ok(mount(other.staged, v.staged, NULL, MS_BIND, NULL) == 0,
	    "an other volume is mounted there");
	expect(stage(&v), ERR_FAILED_PRECONDITION, "stage refuses it");
	expect(publish(&v), ERR_FAILED_PRECONDITION, "publish refuses it");
	ok(umount2(v.staged, 0) == 0, "it goes");

	expect(stage(&v), ERR_OK, "then it is staged");
	char *slash = strrchr(v.target, '/');
	*slash = '\0';
	(void)mkdir(v.target, 0750);
	*slash = '/';
	(void)mkdir(v.target, 0750);
	ok(mount(other.staged, v.target, NULL, MS_BIND, NULL) == 0,
	    "an other volume is at the target");
	expect(publish(&v), ERR_FAILED_PRECONDITION, "publish refuses it");
	ok(umount2(v.target, 0) == 0, "it goes");
	expect(publish(&v), ERR_OK, "then it is published");
	expect(unpublish(&v), ERR_OK, "unpublished");
	expect(unstage(&v), ERR_OK, "unstaged");
	expect(unstage(&other), ERR_OK, "the other too");
	ok(nothing_left(&v), "nothing is left");
}

static void
refusals(void)
{
	struct volume v;
	unsigned char mbr[512] = { 0 };
	char cmd[PATH_SIZE + 80], path[PATH_SIZE];

	volume_init(&v, 23, "ext4", 64 * MIB);
	v.mode = MODE(MULTI_NODE_READER_ONLY);
	expect(stage(&v), ERR_FAILED_PRECONDITION,
	    "an unformatted image is not formatted read-only");
	ok(nothing_left(&v), "and nothing is left");
	v.mode = MODE(SINGLE_NODE_WRITER);
	v.flag = "no_such_option";
	expect(stage(&v), ERR_FAILED_PRECONDITION,
	    "a mount flag that the kernel refuses");
	ok(nothing_left(&v), "all is undone");
	v.flag = "bind";
	expect(stage(&v), ERR_INVALID_ARGUMENT, "a flag that is no flag");
	v.flag = NULL;
	v.fstype = "xfs";
	expect(stage(&v), ERR_FAILED_PRECONDITION,
	    "an image with an other file system (it was formatted before the "
	    "flag was refused)");
	ok(nothing_left(&v), "all is undone");
	v.fstype = "zfs";
	expect(stage(&v), ERR_INVALID_ARGUMENT, "an unknown file system");
	v.fstype = "ext4";
	expect(stage(&v), ERR_OK, "its own file system");
	v.fstype = NULL;
	expect(stage(&v), ERR_ALREADY_EXISTS, "as a block device: refused");
	v.fstype = "ext4";
	v.mode = MODE(MULTI_NODE_READER_ONLY);
	expect(stage(&v), ERR_ALREADY_EXISTS, "read-only: refused");
	v.mode = MODE(SINGLE_NODE_WRITER);
	expect(unstage(&v), ERR_OK, "unstaged");
	v.mode = MODE(MULTI_NODE_READER_ONLY);
	expect(stage(&v), ERR_OK, "read-only when it is not staged");
	expect(publish(&v), ERR_OK, "published");
	ok(!write_text(v.file, "x") && errno == EROFS, "and not writable");
	expect(unpublish(&v), ERR_OK, "unpublished");
	expect(unstage(&v), ERR_OK, "unstaged");

	volume_init(&v, 24, "ext4", 64 * MIB);
	mbr[510] = 0x55;
	mbr[511] = 0xaa;
	mbr[446 + 4] = 0x83;
	mbr[446 + 9] = 8;
	mbr[446 + 13] = 16;
	ok(poke(&v, 0, mbr, sizeof(mbr)), "an image with a partition table");
	expect(stage(&v), ERR_FAILED_PRECONDITION, "is not formatted");
	ok(nothing_left(&v), "and nothing is left");

	volume_init(&v, 25, "ext4", 64 * MIB);
	expect(stage(&v), ERR_OK, "staged");
	expect(unstage(&v), ERR_OK, "unstaged");
	image_path(&v, path);
	put(cmd, "debugfs -w -R 'set_super_value state 3' %s 2>/dev/null",
	    path);
	ok(system(cmd) == 0, "a file system with recorded errors");
	is_int(stage(&v).execs, 1, "is checked by fsck");
	expect(stage(&v), ERR_OK, "and staged");
	expect(unstage(&v), ERR_OK, "unstaged");
	is_int(stage(&v).execs, 0, "once repaired it is not checked again");
	expect(unstage(&v), ERR_OK, "unstaged");

	volume_init(&v, 26, "xfs", 320 * MIB);
	expect(stage(&v), ERR_OK, "staged");
	expect(unstage(&v), ERR_OK, "unstaged");
	ok(poke(&v, 126, "\1", 1), "an xfs whose mkfs was interrupted");
	set_mark(v.image, "");
	expect(stage(&v), ERR_FAILED_PRECONDITION,
	    "is not made again when nobody knows of the mkfs");
	set_mark(v.image, "unfinished");
	is_int(stage(&v).execs, 1, "and is with its mark");
	expect(stage(&v), ERR_OK, "and is staged");
	expect(unstage(&v), ERR_OK, "unstaged");
	ok(nothing_left(&v), "nothing is left");
}

/* ---- what is formatted ---------------------------------------------------- */

/* Bytes at a place that libblkid knows, or does not: formatted never. */
static void
signatures(void)
{
	static const struct {
		const char *name;
		off_t at;
		const char *bytes;
		size_t len;
	} row[] = {
		{ "LUKS", 0, "LUKS\xba\xbe\0\2", 8 },
		{ "LVM", 512, "LABELONE", 8 },
		{ "a backup of GPT", 64 * MIB - 512, "EFI PART", 8 },
		{ "zfs", 16384 + 131072, "\x0c\xb1\xba\0\0\0\0\0", 8 },
		{ "a byte in the middle", 32 * MIB + 77, "x", 1 },
	};

	for (size_t i = 0; i < countof(row); i++) {
		struct volume v;
		char got[8] = "", path[PATH_SIZE];
		int fd;

		volume_init(&v, 80 + (int)i, "ext4", 64 * MIB);
		ok(poke(&v, row[i].at, row[i].bytes, row[i].len), "%s",
		    row[i].name);
		expect(stage(&v), ERR_FAILED_PRECONDITION, "is not formatted");
		ok(nothing_left(&v), "nothing is left");
		image_path(&v, path);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		ok(pread(fd, got, row[i].len, row[i].at) ==
			    (ssize_t)row[i].len &&
			memcmp(got, row[i].bytes, row[i].len) == 0,
		    "and what was there is there");
		close(fd);
	}
}

static void
formatting(void)
{
	struct volume v;
	struct answer a;
	char path[PATH_SIZE], cmd[PATH_SIZE + 80];
	int fd;

	volume_init(&v, 90, "ext4", 256 * MIB);
	image_path(&v, path);
	expect(stage(&v), ERR_OK, "a fresh volume is staged");
	is_str(mark_of(v.image), "ext4", "its mark says that it is formatted");
	expect(unstage(&v), ERR_OK, "unstaged");
	fd = open(path, O_RDWR | O_CLOEXEC);
	ok(fallocate(
	       fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4 * MIB) == 0,
	    "its first object is lost");
	close(fd);
	expect(stage(&v), ERR_FAILED_PRECONDITION, "it is not formatted");
	set_mark(v.image, "");
	expect(stage(&v), ERR_FAILED_PRECONDITION,
	    "neither when it has no mark, as one of ceph-csi");
	put(cmd, "fsck.ext4 -fy -b 8193 -B 1024 %s >/dev/null", path);
	is_int(WEXITSTATUS(system(cmd)), 1, "its backups repair it");
	is_int(stage(&v).execs, 0, "and it is staged");
	expect(unstage(&v), ERR_OK, "unstaged");
	set_mark(v.image, "ext4");
	ok(truncate(path, 0) == 0 && truncate(path, 256 * MIB) == 0,
	    "all objects are lost");
	expect(stage(&v), ERR_FAILED_PRECONDITION, "it is not formatted");
	is_str(mark_of(v.image), "ext4", "and keeps its mark");

	volume_init(&v, 91, "ext4", 64 * MIB);
	v.context[0] = "staticVolume";
	v.context[1] = "true";
	expect(stage(&v), ERR_FAILED_PRECONDITION,
	    "a static volume is not formatted, also if it is empty");
	v.context[1] = "yes";
	expect(stage(&v), ERR_INVALID_ARGUMENT, "neither true nor false");
	is_str(mark_of(v.image), "", "it has no mark");
	v.context[0] = "mkfsOptions";
	v.context[1] = "-N what";
	a = stage(&v);
	expect(a, ERR_INTERNAL, "mkfs fails");
	ok(strstr(a.text, "bad num inodes - what") != NULL, "as it says: %s",
	    a.text);
	ok(nothing_left(&v), "all is undone");
	is_str(
	    mark_of(v.image), "unfinished", "but that it was begun is known");
	v.context[0] = NULL;
	ok(poke(&v, 0, "half of it", 10), "it has left something");
	a = stage(&v);
	expect(a, ERR_OK, "the next call formats again");
	is_int(a.execs, 1, "once");
	is_str(mark_of(v.image), "ext4", "and marks the volume");
	expect(unstage(&v), ERR_OK, "unstaged");
	/* As after a kill between mkfs and the mark. */
	for (size_t i = 0; i < 3; i++) {
		static const char *const fstype[] = { "ext4", "xfs", "btrfs" };

		volume_init(&v, 92 + (int)i, fstype[i], 320 * MIB);
		image_path(&v, path);
		put(cmd, "mkfs.%s -q %s >/dev/null", fstype[i], path);
		ok(system(cmd) == 0, "%s: made", fstype[i]);
		set_mark(v.image, "unfinished");
		a = stage(&v);
		expect(a, ERR_OK, "staged though the mark says unfinished");
		is_int(a.execs, 0, "%s: not formatted again", fstype[i]);
		is_str(
		    mark_of(v.image), fstype[i], "and the mark is put right");
		expect(unstage(&v), ERR_OK, "unstaged");
	}
}

/* ---- read-only ------------------------------------------------------------ */

static bool
is_writable(const struct volume *v)
{
	return write_text(v->file, "x") || errno != EROFS;
}

/* Whatever makes it read-only: staged and published again and again. */
static void
reads(struct volume *v, bool readonly, const char *what)
{
	expect(stage(v), ERR_OK, what);
	expect(stage(v), ERR_OK, "staging it again is success");
	expect(publish_at(v, v->target, readonly, 0), ERR_OK, "published");
	expect(publish_at(v, v->target, readonly, 0), ERR_OK, "again");
	ok(!is_writable(v), "%s: nothing can be written", what);
	expect(unpublish(v), ERR_OK, "unpublished");
	expect(unstage(v), ERR_OK, "unstaged");
	ok(nothing_left(v), "nothing is left");
}

static void
read_only(void)
{
	struct volume v;
	struct answer a;
	struct statvfs fs;
	char path[PATH_SIZE], second[PATH_SIZE], cmd[PATH_SIZE + 80];

	volume_init(&v, 60, "ext4", 64 * MIB);
	image_path(&v, path);
	v.flag = "ro";
	expect(stage(&v), ERR_FAILED_PRECONDITION,
	    "with `ro` nothing is formatted");
	is_str(mark_of(v.image), "", "and nothing marked");
	ok(nothing_left(&v), "nothing is left");
	v.flag = NULL;
	expect(stage(&v), ERR_OK, "it is formatted");
	expect(unstage(&v), ERR_OK, "unstaged");

	v.flag = "ro";
	reads(&v, false, "`ro` among the mount flags");
	v.flag = "rw,ro";
	reads(&v, true, "`rw,ro` and readonly");
	v.flag = "rw";
	reads(&v, true, "`rw` and readonly");
	v.flag = "ro,norecovery";
	reads(&v, false, "`ro,norecovery`");
	v.flag = "rw";
	v.mode = MODE(MULTI_NODE_READER_ONLY);
	reads(&v, false, "`rw` in a mode for readers");
	v.mode = MODE(SINGLE_NODE_READER_ONLY);
	v.flag = NULL;
	reads(&v, false, "another mode for readers");
	v.mode = MODE(SINGLE_NODE_WRITER);
	expect(stage(&v), ERR_OK, "staged writable");
	v.flag = "ro";
	expect(stage(&v), ERR_ALREADY_EXISTS, "it is not staged with `ro`");
	expect(
	    publish(&v), ERR_OK, "with `ro` in publish only it is published");
	expect(publish(&v), ERR_OK, "again");
	ok(!is_writable(&v), "nothing can be written");
	expect(unpublish(&v), ERR_OK, "unpublished");
	v.flag = "ro,rw";
	expect(stage(&v), ERR_OK, "`ro,rw` is writable");
	expect(publish(&v), ERR_OK, "published");
	ok(is_writable(&v), "something can be written");
	expect(unpublish(&v), ERR_OK, "unpublished");
	expect(unstage(&v), ERR_OK, "unstaged");

	v.flag = "ro";
	put(cmd, "debugfs -w -R 'set_super_value state 3' %s 2>/dev/null",
	    path);
	ok(system(cmd) == 0 && truncate(path, 128 * MIB) == 0,
	    "it has errors, and the image is made larger");
	a = stage(&v);
	expect(a, ERR_OK, "with `ro` it is staged");
	is_int(a.execs, 0, "without fsck");
	ok(statvfs(v.staged, &fs) == 0 &&
		(long long)(fs.f_blocks * fs.f_frsize) < 65 * MIB,
	    "and not grown");
	v.flag = NULL;
	expect(stage(&v), ERR_ALREADY_EXISTS, "it is not staged writable");
	a = publish(&v);
	expect(a, ERR_FAILED_PRECONDITION, "nor published");
	ok(strstr(a.text, "is staged read-only") != NULL, "as it says: %s",
	    a.text);
	expect(unstage(&v), ERR_OK, "unstaged");

	volume_init(&v, 61, "ext4", 64 * MIB);
	put(second, "%s/pods/61/second", top);
	expect(stage(&v), ERR_OK, "staged writable");
	expect(publish(&v), ERR_OK, "published");
	ok(mount("none", v.staged, NULL, MS_REMOUNT, "abort") == 0,
	    "an error makes the kernel turn it read-only");
	ok(!is_writable(&v), "nothing can be written");
	a = stage(&v);
	expect(a, ERR_FAILED_PRECONDITION, "staging it again is refused");
	ok(strstr(a.text, "the kernel has made") != NULL, "as it says: %s",
	    a.text);
	a = publish(&v);
	expect(a, ERR_FAILED_PRECONDITION, "publishing again is refused");
	ok(strstr(a.text, "the kernel has made") != NULL, "as it says: %s",
	    a.text);
	expect(publish_at(&v, second, true, 0), ERR_OK,
	    "read-only it can be published elsewhere");
	expect(unpublish_at(&v, second, 0), ERR_OK, "unpublished");
	expect(unpublish(&v), ERR_OK, "unpublished");
	expect(unstage(&v), ERR_OK, "unstaged");
	a = stage(&v);
	expect(a, ERR_OK, "staged anew");
	is_int(a.execs, 1, "after fsck");
	expect(publish(&v), ERR_OK, "published");
	ok(is_writable(&v), "something can be written");
	expect(unpublish(&v), ERR_OK, "unpublished");
	expect(unstage(&v), ERR_OK, "unstaged");

	volume_init(&v, 62, "xfs", 320 * MIB);
	expect(stage(&v), ERR_OK, "an xfs");
	expect(unstage(&v), ERR_OK, "unstaged");
	v.flag = "norecovery";
	expect(stage(&v), ERR_FAILED_PRECONDITION,
	    "norecovery without `ro`: the kernel refuses");
	ok(nothing_left(&v), "nothing is left");
	v.flag = "ro,norecovery";
	reads(&v, false, "xfs, `ro,norecovery`");
}

/* A volume for readers only, as it is restored from the file `snapshot`. */
static void
restore(struct volume *v, int n, const char *fstype, const char *snapshot)
{
	char path[PATH_SIZE], cmd[2 * PATH_SIZE + 40];

	volume_init(v, n, fstype, MIB);
	v->mode = MODE(MULTI_NODE_READER_ONLY);
	image_path(v, path);
	put(cmd, "cp --sparse=always %s %s", snapshot, path);
	ok(system(cmd) == 0, "%s: restored", fstype);
}

/* Can the device below a file of ext4 or xfs be written to? */
static bool
device_is_writable(const char *file)
{
	char path[PATH_SIZE], flag = '?';
	struct stat st;
	int fd;

	if (stat(file, &st) < 0)
		return true;
	put(path, "/sys/dev/block/%u:%u/ro", major(st.st_dev),
	    minor(st.st_dev));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, &flag, 1) != 1)
		diag("read %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return flag != '1';
}

static bool
is_replayed(struct volume *v)
{
	bool good;

	expect(publish(v), ERR_OK, "published");
	good = has_text(v->file, "precious") && !is_writable(v) &&
	    (str_eq(v->fstype, "btrfs") || !device_is_writable(v->file)) &&
	    loop_mapper_count() == 1;
	expect(unpublish(v), ERR_OK, "unpublished");
	expect(unstage(v), ERR_OK, "unstaged");
	return good && nothing_left(v);
}

/* A snapshot of a volume in use, for readers only. */
static void
replays(int n, const char *fstype, long long size)
{
	char snapshot[PATH_SIZE], path[PATH_SIZE], cmd[2 * PATH_SIZE + 40];
	struct volume v;
	struct answer a;
	int at;

	put(snapshot, "%s/snapshot", top);
	volume_init(&v, n, fstype, size);
	image_path(&v, path);
	expect(stage(&v), ERR_OK, fstype);
	expect(publish(&v), ERR_OK, "published");
	ok(write_text(v.file, "precious"), "and written to");
	put(cmd, "cp --sparse=always %s %s", path, snapshot);
	ok(system(cmd) == 0, "a snapshot is made");
	expect(unpublish(&v), ERR_OK, "unpublished");
	expect(unstage(&v), ERR_OK, "unstaged");

	restore(&v, n + 1, fstype, snapshot);
	shared = true;
	a = stage(&v);
	expect(a, ERR_FAILED_PRECONDITION,
	    "while another client has it open, its journal is left alone");
	ok(strstr(a.text, "cannot be replayed now") != NULL, "as it says: %s",
	    a.text);
	ok(nothing_left(&v), "nothing is left");
	shared = false;
	a = stage(&v);
	expect(a, ERR_OK, "its journal is replayed");
	is_int(a.execs, 0, "without a program");
	ok(is_replayed(&v), "what was written is there, and can only be read");
	shared = true;
	reads(&v, false, "once and for all: no other node has to do it");
	shared = false;

	for (at = 1;; at++) {
		restore(&v, n + 1 + at, fstype, snapshot);
		a = stage_at(&v, at);
		if (a.code != -1)
			break;
		expect(stage(&v), ERR_OK, "stage after a kill in stage");
		ok(is_replayed(&v), "%s, state %d: it can be read", fstype, at);
	}
	ok(at > 8, "%s: it was killed %d times", fstype, at - 1);
	ok(is_replayed(&v), "not killed any more");
}

static void
grows(int n, const char *fstype, long long from, long long to)
{
	struct volume v;
	struct statvfs fs;
	char path[PATH_SIZE];

	volume_init(&v, n, fstype, from);
	expect(stage(&v), ERR_OK, fstype);
	expect(unstage(&v), ERR_OK, "unstaged");
	image_path(&v, path);
	ok(truncate(path, to) == 0, "the image is made larger");
	expect(stage(&v), ERR_OK, "staged");
	ok(statvfs(v.staged, &fs) == 0 &&
		(long long)(fs.f_blocks * fs.f_frsize) > to * 8 / 10,
	    "%s: the file system has grown", fstype);
	expect(publish(&v), ERR_OK, "published");
	for (int i = 0; i < 2; i++) {
		struct answer a;

		to += to / 2;
		ok(truncate(path, to) == 0, "the image is made larger");
		a = expand(&v, i == 0);
		expect(a, ERR_OK, "expanded while it is in use");
		ok(a.bytes == to && a.execs == 0, "the size is told");
		ok(statvfs(v.target, &fs) == 0 &&
			(long long)(fs.f_blocks * fs.f_frsize) > to * 8 / 10,
		    "%s: the file system has grown, %s", fstype,
		    i == 0 ? "by its target" : "by its staging path");
		expect(
		    expand(&v, i == 0), ERR_OK, "expanding again is success");
	}
	expect(unpublish(&v), ERR_OK, "unpublished");
	expect(unstage(&v), ERR_OK, "unstaged");
	expect(expand(&v, false), ERR_NOT_FOUND, "it cannot be expanded then");
}

/* ext4 asks for CAP_SYS_RESOURCE, which some containers' root lacks. */
static bool
may_resize(void)
{
	return prctl(PR_CAPBSET_READ, 24 /* CAP_SYS_RESOURCE */) == 1;
}

static void
single_writer(void)
{
	struct volume v;
	char second[PATH_SIZE];

	volume_init(&v, 30, "ext4", 64 * MIB);
	v.mode = MODE(SINGLE_NODE_SINGLE_WRITER);
	put(second, "%s/pods/30/second", top);
	expect(stage(&v), ERR_OK, "a single writer's volume is staged");
	expect(publish(&v), ERR_OK, "published");
	expect(publish(&v), ERR_OK, "at the same target again");
	expect(publish_at(&v, second, false, 0), ERR_FAILED_PRECONDITION,
	    "at a second target it is refused");
	expect(unpublish(&v), ERR_OK, "unpublished");
	expect(publish_at(&v, second, false, 0), ERR_OK,
	    "then the second target works");
	expect(unpublish_at(&v, second, 0), ERR_OK, "unpublished");
	expect(unstage(&v), ERR_OK, "unstaged");
	ok(nothing_left(&v), "nothing is left");
}

static void
lost_stash(void)
{
	struct volume v;
	char path[PATH_SIZE];

	volume_init(&v, 31, "ext4", 64 * MIB);
	put(path, "%s/image-meta.json", v.staging);
	expect(stage(&v), ERR_OK, "staged");
	ok(unlink(path) == 0, "the stash is lost");
	expect(publish(&v), ERR_OK, "it is published all the same");
	expect(unpublish(&v), ERR_OK, "unpublished");
	expect(stage(&v), ERR_OK, "staging again writes the stash");
	ok(has_stash(&v), "it is there");
	ok(truncate(path, 7) == 0, "it is cut off");
	expect(unstage(&v), ERR_OK, "unstage finds all by the volume's ID");
	ok(nothing_left(&v), "nothing is left");

	expect(stage(&v), ERR_OK, "staged");
	ok(unlink(path) == 0 && umount2(v.staged, 0) == 0,
	    "stash and mount are lost, the mapping is there");
	expect(unstage(&v), ERR_OK, "unstage finds it by the volume's ID");
	ok(nothing_left(&v), "nothing is left");
}

static void
dying_children(void)
{
	struct volume v;

	for (int when = 1; when <= 2; when++) {
		volume_init(&v, 32 + when, "ext4", 64 * MIB);
		loop_mapper_die = when;
		expect(stage(&v), ERR_INTERNAL,
		    when == 1 ? "the child dies before it has mapped"
			      : "the child dies after it has mapped");
		loop_mapper_die = 0;
		expect(stage(&v), ERR_OK, "the next call stages");
		is_int(loop_mapper_count(), 1, "and maps nothing twice");
		expect(unstage(&v), ERR_OK, "unstaged");
		ok(nothing_left(&v), "nothing is left");
		loop_mapper_die = when;
		expect(stage(&v), ERR_INTERNAL, "the child dies again");
		loop_mapper_die = 0;
		expect(unstage(&v), ERR_OK, "unstage takes all away");
		ok(nothing_left(&v), "nothing is left");
	}
}

/* ---- where else it is shown ------------------------------------------------ */

static bool
says(struct answer a, const char *text)
{
	bool good = strstr(a.text, text) != NULL;

	if (!good)
		diag("\"%s\" does not name %s", a.text, text);
	return good;
}

/* Loop devices over device nodes: read-only layers of ours (or others'). */
static int
layers(void)
{
	FILE *p = popen(
	    "cat /sys/block/loop*/loop/backing_file 2>/dev/null", "re");
	char line[PATH_SIZE];
	int n = 0;

	while (p != NULL && fgets(line, sizeof(line), p) != NULL)
		n += str_starts(line, "/dev/loop");
	if (p != NULL)
		(void)pclose(p);
	return n;
}

static dev_t
node_at(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_rdev : 0;
}

static void
shown_elsewhere(int n, const char *fstype)
{
	const char *kind = fstype != NULL ? fstype : "block";
	struct volume v, other, nowhere;
	struct answer a;
	char second[PATH_SIZE];

	volume_init(&v, n, fstype, 64 * MIB);
	volume_init(&other, n + 1, fstype, 64 * MIB);
	put(second, "%s/pods/%d/second", top, n);
	nowhere = v;
	put(nowhere.staging, "%s/no-such-staging", top);
	expect(stage(&v), ERR_OK, "staged");
	expect(publish(&v), ERR_OK, "published");
	ok(write_text(fstype != NULL ? v.file : v.target, "precious data"),
	    "%s: written to", kind);
	a = unstage(&v);
	expect(a, ERR_FAILED_PRECONDITION, "a published volume stays staged");
	ok(says(a, v.target), "%s: the target is named", kind);
	ok(mounts_below(v.staged) == 1 && has_stash(&v),
	    "%s: and nothing was undone", kind);
	a = unstage(&nowhere);
	expect(a, ERR_FAILED_PRECONDITION,
	    "also when a path is named where it is not staged");
	ok(says(a, v.target), "%s: the target is named", kind);
	expect(stage(&other), ERR_OK, "another volume is staged");
	expect(publish(&other), ERR_OK, "and published");
	ok(has_text(fstype != NULL ? v.file : v.target, "precious data"),
	    "%s: the first target shows the first volume", kind);
	expect(unpublish(&other), ERR_OK, "unpublished");
	expect(unstage(&other), ERR_OK, "unstaged");

	expect(publish_at(&v, second, true, 0), ERR_OK, "published read-only");
	expect(unpublish(&v), ERR_OK, "unpublished at the first target");
	a = unstage(&v);
	expect(a, ERR_FAILED_PRECONDITION, "it is still used");
	ok(says(a, second), "%s: by the second", kind);
	expect(unpublish_at(&v, second, 0), ERR_OK, "unpublished");
	a = unstage(&nowhere);
	expect(a, ERR_FAILED_PRECONDITION,
	    "unstage where it is not staged does not take it away");
	ok(says(a, v.staged), "%s: and tells where it is", kind);
	expect(unstage(&v), ERR_OK, "unstaged");
	expect(unstage(&nowhere), ERR_OK, "once it is nowhere that is success");
	ok(nothing_left(&v), "%s: nothing is left", kind);
}

static void
two_stagings(int n, const char *fstype)
{
	struct volume v, second;

	volume_init(&v, n, fstype, 64 * MIB);
	second = v;
	put(second.staging, "%s/staging-%d-second", top, n);
	put(second.staged, "%s/%s", second.staging, v.id);
	(void)mkdir(second.staging, 0750);
	expect(stage(&v), ERR_OK, "staged");
	expect(stage(&second), ERR_OK, "staged at a second path");
	is_int(loop_mapper_count(), 1, "and mapped once");
	expect(publish(&second), ERR_OK, "published from there");
	expect(unstage(&v), ERR_OK, "unstaged at the first path");
	ok(!exists(v.staged) && !has_stash(&v), "which is empty then");
	is_int(loop_mapper_count(), 1, "it is still mapped");
	ok(write_text(fstype != NULL ? v.file : v.target, "x"),
	    "and can be written to");
	second.fstype = fstype != NULL ? NULL : "ext4";
	second.flag = "no_such_option";
	expect(stage(&second), ERR_ALREADY_EXISTS,
	    "a stage of the other kind at the second path is refused");
	second.fstype = "xfs";
	put(second.staging, "%s/staging-%d", top, n);
	ok(stage(&second).code != ERR_OK, "and one that fails at the first");
	is_int(loop_mapper_count(), 1, "takes nothing back that others use");
	put(second.staging, "%s/staging-%d-second", top, n);
	expect(unstage(&second), ERR_FAILED_PRECONDITION,
	    "the last one stays while it is published");
	expect(unpublish(&v), ERR_OK, "unpublished");
	expect(unstage(&second), ERR_OK, "unstaged");
	ok(nothing_left(&v) && !has_stash(&second), "nothing is left");
}

static void
other_stash(void)
{
	struct volume v, other;
	char cmd[3 * PATH_SIZE];

	volume_init(&v, 44, "ext4", 64 * MIB);
	volume_init(&other, 45, "ext4", 64 * MIB);
	expect(stage(&other), ERR_OK, "another volume is staged");
	put(v.staging, "%s", other.staging);
	expect(stage(&v), ERR_FAILED_PRECONDITION,
	    "a volume is not staged where another one is");
	expect(
	    publish(&v), ERR_FAILED_PRECONDITION, "nor published from there");
	expect(unstage(&v), ERR_FAILED_PRECONDITION, "nor unstaged there");
	ok(has_stash(&other) && mounts_below(other.staged) == 1 &&
		loop_mapper_count() == 1,
	    "which is as it was");
	put(v.staging, "%s/staging-44", top);
	put(cmd,
	    "jq -c 'del(.\"rbd-csi\".volumeId)' %s/image-meta.json >%s/image-meta.json",
	    other.staging, v.staging);
	ok(system(cmd) == 0, "its stash, as ceph-csi has it, in our path");
	expect(unstage(&v), ERR_FAILED_PRECONDITION, "is not believed");
	is_int(loop_mapper_count(), 1, "the other one is mapped");
	expect(stage(&v), ERR_OK, "a stage replaces what is left over");
	is_int(loop_mapper_count(), 2, "by its own image");
	expect(unstage(&v), ERR_OK, "unstaged");
	put(cmd,
	    "jq -c 'del(.\"rbd-csi\")' %s/image-meta.json >%s/new && mv %s/new %s/image-meta.json",
	    other.staging, other.staging, other.staging, other.staging);
	ok(system(cmd) == 0, "a stash of ceph-csi of the volume itself");
	expect(publish(&other), ERR_OK, "is believed by publish");
	expect(unpublish(&other), ERR_OK, "unpublished");
	expect(unstage(&other), ERR_OK, "and by unstage");
	ok(nothing_left(&v) && nothing_left(&other), "nothing is left");
}

/* ---- what a target may be -------------------------------------------------- */

static void
not_ours(void)
{
	struct volume v, other;
	struct answer a;
	char path[PATH_SIZE], link[PATH_SIZE];
	int fd, free_loop;

	volume_init(&v, 46, "ext4", 64 * MIB);
	volume_init(&other, 47, NULL, 16 * MIB);
	expect(stage(&v), ERR_OK, "staged");
	expect(publish(&v), ERR_OK, "published");
	expect(unpublish(&v), ERR_OK, "unpublished: its parents are there");

	ok(write_text(v.target, "precious data"), "a file with data is there");
	expect(publish(&v), ERR_FAILED_PRECONDITION, "publish refuses it");
	a = unpublish(&v);
	expect(a, ERR_FAILED_PRECONDITION, "unpublish does not remove it");
	ok(says(a, v.target) && has_text(v.target, "precious data"),
	    "it is named, and there");
	ok(truncate(v.target, 0) == 0, "empty as it is for a block device");
	expect(unpublish(&v), ERR_OK, "it is removed");
	ok(!exists(v.target), "it is gone");

	(void)mkdir(v.target, 0750);
	ok(mount("none", v.target, "tmpfs", 0, NULL) == 0, "a tmpfs is there");
	expect(unpublish(&v), ERR_FAILED_PRECONDITION, "it stays");
	is_int(mounts_below(v.target), 1, "it is mounted");
	ok(umount2(v.target, 0) == 0, "it goes");
	ok(mount("/", v.target, NULL, MS_BIND, NULL) == 0,
	    "a bind mount of the root disk is there");
	expect(unpublish(&v), ERR_FAILED_PRECONDITION, "it stays");
	is_int(mounts_below(v.target), 1, "it is mounted");
	ok(umount2(v.target, MNT_DETACH) == 0, "it goes");
	put(path, "%s/data", v.target);
	ok(write_text(path, "x"), "a directory with a file is there");
	expect(unpublish(&v), ERR_FAILED_PRECONDITION, "it stays");
	ok(unlink(path) == 0, "the file was there");
	expect(unpublish(&v), ERR_OK, "an empty directory is removed");

	expect(publish(&v), ERR_OK, "published");
	expect(stage(&other), ERR_OK, "another volume is staged");
	put(other.target, "%s/pods/46/block", top);
	expect(publish(&other), ERR_OK, "and published");
	put(path, "%s", other.target);
	expect(unpublish_at(&v, path, 0), ERR_FAILED_PRECONDITION,
	    "the first is not unpublished at the target of the second");
	expect(unpublish_at(&other, v.target, 0), ERR_FAILED_PRECONDITION,
	    "nor the second at that of the first");
	expect(publish_at(&other, v.target, false, 0), ERR_FAILED_PRECONDITION,
	    "nor published there");
	is_int(mounts_below("/pods/46/"), 2, "both are as they were");
	ok(mount("none", v.target, "tmpfs", 0, NULL) == 0,
	    "a tmpfs upon the first");
	expect(unpublish(&v), ERR_FAILED_PRECONDITION, "is not unmounted");
	ok(umount2(v.target, 0) == 0, "it goes");
	ok(mount(v.staged, v.target, NULL, MS_BIND, NULL) == 0,
	    "bound once more by somebody else");
	expect(unpublish(&v), ERR_OK, "both mounts of the volume go");

	put(link, "%s/pods/46/link", top);
	ok(symlink(other.target, link) == 0, "a symbolic link to a target");
	expect(unpublish_at(&other, link, 0), ERR_FAILED_PRECONDITION,
	    "is refused by unpublish");
	expect(publish_at(&other, link, false, 0), ERR_FAILED_PRECONDITION,
	    "and by publish");
	ok(exists(link) && unlink(link) == 0, "it is there");
	put(path, "%s/elsewhere", top);
	ok(mkdir(path, 0750) == 0 && symlink(path, link) == 0,
	    "a link to a directory");
	put(path, "%s/pods/46/link/mount", top);
	expect(publish_at(&other, path, false, 0), ERR_FAILED_PRECONDITION,
	    "publish below it is refused");
	ok(!exists(path), "nothing appears where it leads");
	expect(unpublish_at(&other, path, 0), ERR_FAILED_PRECONDITION,
	    "and so is unpublish");
	expect(stats_of(&other, path), ERR_NOT_FOUND, "nothing is told of it");
	(void)unlink(link);
	ok(symlink(v.staging, link) == 0, "a link to a staging path");
	put(path, "%s", v.staging);
	put(v.staging, "%s/x", link);
	expect(stage(&v), ERR_FAILED_PRECONDITION, "is not followed by stage");
	put(v.staging, "%s", link);
	expect(stage(&v), ERR_FAILED_PRECONDITION, "nor as the staging path");
	expect(unstage(&v), ERR_FAILED_PRECONDITION, "nor by unstage");
	put(v.staging, "%s", path);
	(void)unlink(link);
	put(path, "%s/elsewhere", top);
	(void)rmdir(path);

	expect(unpublish(&other), ERR_OK, "the second is unpublished");
	put(path, "%s/none/below", v.target);
	expect(unpublish_at(&v, path, 0), ERR_OK,
	    "without its parents there is no target");
	put(path, "%s/pods/46/file", top);
	ok(write_text(path, "x"), "a parent that is a file");
	put(path, "%s/pods/46/file/below", top);
	expect(unpublish_at(&v, path, 0), ERR_FAILED_PRECONDITION,
	    "is no proof of anything");
	expect(unstage(&v), ERR_OK, "unstaged");
	expect(unstage(&other), ERR_OK, "unstaged");

	/* A device that is no more: nobody can tell whose it was. */
	fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	free_loop = ioctl(fd, LOOP_CTL_ADD, -1);
	put(path, "/dev/loop%d", free_loop);
	ok(write_text(v.target, "") &&
		mount(path, v.target, NULL, MS_BIND, NULL) == 0,
	    "a loop device over nothing is at the target");
	expect(unpublish(&v), ERR_OK, "it is unmounted");
	(void)ioctl(fd, LOOP_CTL_REMOVE, free_loop);
	close(fd);
	ok(nothing_left(&v) && nothing_left(&other), "nothing is left");
}

static void
spellings(void)
{
	struct volume v, odd;
	char base[PATH_SIZE];

	volume_init(&v, 48, NULL, 16 * MIB);
	odd = v;
	put(base, "%s", top + strlen("/var/"));
	put(odd.staging, "/var//%s/./staging-48/", base);
	put(odd.target, "//var/%s/pods//48/./mount/", base);
	expect(stage(&odd), ERR_OK, "staged by an odd spelling");
	expect(stage(&v), ERR_OK, "is staged by the usual one");
	is_int(mounts_below(top), 1, "once");
	expect(publish(&odd), ERR_OK, "published by an odd spelling");
	expect(publish(&v), ERR_OK, "is published by the usual one");
	is_int(mounts_below(top), 2, "once");
	expect(stats_of(&odd, odd.target), ERR_OK, "it has statistics");
	expect(unpublish(&odd), ERR_OK, "with a slash at its end");
	ok(!exists(v.target), "it is unpublished");
	put(odd.target, "%s/pods/48/x/../mount", top);
	expect(publish(&odd), ERR_INVALID_ARGUMENT, ".. is refused");
	expect(unpublish(&odd), ERR_INVALID_ARGUMENT, "also by unpublish");
	expect(unstage(&odd), ERR_OK, "unstaged by an odd spelling");
	ok(nothing_left(&v), "nothing is left");
}

static void
odd_handles(void)
{
	static const char *const ids[] = { ".", "image-meta.json", "..",
		"a/b" };
	struct volume v;

	volume_init(&v, 49, "ext4", 64 * MIB);
	for (size_t i = 0; i < countof(ids); i++) {
		put(v.id, "%s", ids[i]);
		expect(stage(&v), ERR_INVALID_ARGUMENT, "no name for a mount");
		expect(publish(&v), ERR_INVALID_ARGUMENT, "nor to publish");
		expect(unpublish(&v), ERR_INVALID_ARGUMENT, "nor to unpublish");
		expect(unstage(&v), ERR_INVALID_ARGUMENT, "nor to unstage");
	}
	ok(nothing_left(&v), "nothing is left");
}

/* ---- read-only ------------------------------------------------------------- */

static bool
can_write(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), off = 0;
	bool done;

	/* What a privileged container may try first. */
	if (fd >= 0)
		(void)ioctl(fd, BLKROSET, &off);
	close(fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	done = fd >= 0 && pwrite(fd, "overwritten", 11, 0) == 11 &&
	    fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	return done;
}

static void
read_only_block(void)
{
	struct volume v;
	char ro[PATH_SIZE], shown[PATH_SIZE], node[PATH_SIZE];
	int before = layers(), fd, number;

	volume_init(&v, 50, NULL, 16 * MIB);
	put(ro, "%s/pods/50/ro", top);
	put(shown, "%s/shown", top);
	expect(stage(&v), ERR_OK, "staged");
	expect(publish(&v), ERR_OK, "published");
	ok(write_text(v.target, "precious data"), "and written to");

	/* The number that the kernel would give next is shown somewhere. */
	fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	number = ioctl(fd, LOOP_CTL_GET_FREE);
	close(fd);
	put(node, "/dev/loop%d", number);
	ok(write_text(shown, "") &&
		mount(node, shown, NULL, MS_BIND, NULL) == 0,
	    "a free loop device is shown by a mount");
	expect(publish_at(&v, ro, true, 0), ERR_OK, "published read-only");
	expect(publish_at(&v, ro, true, 0), ERR_OK, "is success again");
	is_int(layers(), before + 1, "by one layer");
	ok(node_at(ro) != node_at(shown) && node_at(ro) != node_at(v.target),
	    "with a number that no other mount shows");
	ok(umount2(shown, 0) == 0, "that one goes");
	ok(has_text(ro, "precious data"), "the data can be read");
	ok(!can_write(ro), "and not be written");
	ok(has_text(v.target, "precious data"), "it is as it was");
	ok(write_text(v.target, "Precious"), "at the other target it can");
	expect(stats_of(&v, ro), ERR_OK, "statistics are told");
	expect(publish_at(&v, ro, false, 0), ERR_ALREADY_EXISTS,
	    "writable at the same target is refused");
	expect(unpublish(&v), ERR_OK, "unpublished");
	expect(publish(&v), ERR_OK, "published again");
	expect(unpublish_at(&v, ro, 0), ERR_OK, "unpublished");
	is_int(layers(), before, "the layer is gone");
	expect(unpublish(&v), ERR_OK, "unpublished");
	expect(unstage(&v), ERR_OK, "unstaged");

	v.mode = MODE(MULTI_NODE_READER_ONLY);
	expect(stage(&v), ERR_OK, "staged read-only");
	expect(publish_at(&v, ro, true, 0), ERR_OK, "published");
	is_int(layers(), before, "without a layer");
	ok(!can_write(ro), "and not writable");
	expect(unpublish_at(&v, ro, 0), ERR_OK, "unpublished");
	v.mode = MODE(SINGLE_NODE_WRITER);
	expect(publish(&v), ERR_FAILED_PRECONDITION,
	    "writable from there is refused");
	expect(unstage(&v), ERR_OK, "unstaged");

	v.mode = MODE(MULTI_NODE_SINGLE_WRITER);
	v.reader = true;
	expect(stage(&v), ERR_OK, "staged where another node may write");
	expect(publish(&v), ERR_FAILED_PRECONDITION, "it is not writable");
	expect(publish_at(&v, ro, true, 0), ERR_OK, "but can be read");
	ok(!can_write(ro) && has_text(ro, "Precious"), "and only read");
	expect(unpublish_at(&v, ro, 0), ERR_OK, "unpublished");
	expect(unstage(&v), ERR_OK, "unstaged");
	v.reader = false;

	for (int at = 1; at < 4; at++) {
		expect(stage(&v), ERR_OK, "staged");
		(void)publish_at(&v, ro, true, at);
		expect(publish_at(&v, ro, true, 0), ERR_OK,
		    "publish after a kill in publish");
		(void)unpublish_at(&v, ro, at);
		expect(unpublish_at(&v, ro, 0), ERR_OK,
		    "unpublish after a kill in unpublish");
		expect(unstage(&v), ERR_OK, "unstaged");
		is_int(layers(), before, "no layer is left");
	}
	ok(nothing_left(&v), "nothing is left");
}

/* ---- killed at each state ------------------------------------------------- */

static void
sweep(const char *fstype)
{
	struct volume v;
	const char *kind = fstype != NULL ? fstype : "block";
	int n = fstype != NULL ? 100 : 200, killed = 0;

	for (int at = 1;; at++) {
		struct answer a;

		volume_init(&v, n + at, fstype, 64 * MIB);
		a = stage_at(&v, at);
		if (a.code != -1) {
			expect(a, ERR_OK, "stage, not killed any more");
			(void)unstage(&v);
			break;
		}
		killed++;
		expect(stage(&v), ERR_OK, "stage after a kill -9 in stage");
		is_int(loop_mapper_count(), 1, "%s, state %d: mapped once",
		    kind, at);
		is_int(mounts_below(top), 1, "%s, state %d: mounted once", kind,
		    at);
		expect(unstage(&v), ERR_OK, "unstage");
		ok(nothing_left(&v), "%s, state %d: nothing is left", kind, at);
		a = stage_at(&v, at);
		expect(unstage(&v), ERR_OK, "unstage after a kill in stage");
		ok(nothing_left(&v), "%s, state %d: nothing is left", kind, at);
	}
	ok(killed >= (fstype != NULL ? 3 : 1), "%s: stage was killed %d times",
	    kind, killed);
	for (int at = 1; at < 6; at++) {
		volume_init(&v, n + 50 + at, fstype, 64 * MIB);
		expect(stage(&v), ERR_OK, "staged");
		(void)publish_at(&v, v.target, false, at);
		expect(publish(&v), ERR_OK, "publish after a kill in publish");
		is_int(
		    mounts_below(top), 2, "%s, state %d: bound once", kind, at);
		(void)unpublish_at(&v, v.target, at);
		expect(unpublish(&v), ERR_OK, "unpublish after a kill");
		(void)unstage_at(&v, at);
		expect(unstage(&v), ERR_OK, "unstage after a kill");
		ok(nothing_left(&v), "%s, state %d: nothing is left", kind, at);
	}
}

int
main(void)
{
	char rbd[80];

	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	strcpy(top, "/var/tmp/rbd-csi-node.XXXXXX");
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mkdtemp(top) == NULL) {
		printf("Bail out! %s\n", strerror(errno));
		return 1;
	}
	put(rbd, "%s/rbd", top);
	(void)mkdir(rbd, 0700);
	/* Their records of mounts stay here too. */
	(void)mkdir("/run/mount", 0755);
	(void)mount("none", "/run/mount", "tmpfs", 0, NULL);
	loop_mapper_dir = top;
	log_init("node_life", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);

	life(1, "ext4", 64 * MIB);
	life(2, "xfs", 320 * MIB);
	life(3, "btrfs", 128 * MIB);
	life(4, NULL, 16 * MIB);
	stale_staging();
	foreign_mounts();
	refusals();
	signatures();
	formatting();
	read_only();
	replays(300, "ext4", 64 * MIB);
	replays(330, "xfs", 320 * MIB);
	replays(360, "btrfs", 128 * MIB);
	if (may_resize())
		grows(27, "ext4", 64 * MIB, 256 * MIB);
	grows(28, "xfs", 320 * MIB, 640 * MIB);
	grows(29, "btrfs", 128 * MIB, 320 * MIB);
	single_writer();
	lost_stash();
	dying_children();
	shown_elsewhere(35, "ext4");
	shown_elsewhere(37, NULL);
	two_stagings(40, "ext4");
	two_stagings(41, NULL);
	other_stash();
	not_ours();
	spellings();
	odd_handles();
	read_only_block();
	sweep("ext4");
	sweep(NULL);

	is_int(mounts_below(top), 0, "no mount is left");
	is_int(loop_mapper_count(), 0, "no loop device is left");
	if (tap_failed == 0) {
		char cmd[PATH_SIZE];

		put(cmd, "rm -rf --one-file-system %s", top);
		(void)!system(cmd);
	}
	return tap_end();
}
