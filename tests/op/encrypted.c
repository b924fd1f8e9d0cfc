/*
 * encrypted.c - encrypted volumes in the controller: which key a volume gets,
 * a copy and a snapshot of it, by both key services; that a retry replaces no
 * key; and what a node is told. The lanes' cryptography is a fake's: a wrapped
 * key is "KEY VOLUME PASSPHRASE".
 */
#include "controller/controller.h"
#include "controller/kms.h"
#include "tests/op/controller_run.h"

#include "base/log.h"
#include "csi/rpc.h"
#include "ctl/json_pb.h"
#include "tests/definition.h"
#include "tests/tap.h"
#include "worker.pb-c.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STEPS_MAX 40
#define STATE "rbd.csi.ceph.com/encrypted"
#define DEK "rbd.csi.ceph.com/dek"
#define HEADER "rbd.csi.ceph.com/luks2HeaderSize"
#define MARK ".rbd.csi.ceph.com/filesystem"

static char config_path[] = "/tmp/rbd-csi-kms-XXXXXX";
static const char *passphrase = "pass"; /* NULL: the secrets have none */
static const char *kms = "mine";        /* NULL: nothing is encrypted */
static char source[160];                /* the ID of what is copied */

static void
configure(const char *text)
{
	FILE *f = fopen(config_path, "w");

	if (f == NULL)
		abort();
	(void)fputs(text, f);
	(void)fclose(f);
	controller.kms_config = config_path;
}

#define BOTH "{\"mine\":{\"encryptionKMSType\":\"metadata\"}}"

static void
call(const char *method, const char *json)
{
	auto_json json_t *in = json_loads(json, 0, NULL);
	struct arena *arena = csi_arena_new();
	struct err err = ERR_INIT;
	const struct csi_definition *def = definition_of(method);
	const void *request = def == NULL
	    ? NULL
	    : json_pb_read(def->request, in, arena, &err);

	if (request == NULL) {
		diag("%s: %s", json, err.text);
		abort();
	}
	run(method, request);
	arena_free(arena);
}

static char *
secrets(void)
{
	return passphrase == NULL
	    ? str_dup("\"secrets\":{\"userID\":\"csi\",\"userKey\":\"k\"}")
	    : str_fmt(
		  "\"secrets\":{\"userID\":\"csi\",\"userKey\":\"k\",\"encryptionPassphrase\":\"%s\"}",
		  passphrase);
}

/* `of`: "snapshot", "volume", or NULL: of nothing. */
static void
create(const char *name, const char *of)
{
	auto_free char *keys = secrets();
	auto_free char *how = kms == NULL
	    ? str_dup("")
	    : str_fmt(
		  ",\"encrypted\":\"true\",\"encryptionKMSID\":\"%s\"", kms);
	auto_free char *from = of == NULL
	    ? str_dup("")
	    : str_fmt(",\"volumeContentSource\":{\"%s\":{\"%sId\":\"%s\"}}", of,
		  of, source);
	auto_free char *json = str_fmt(
	    "{\"name\":\"%s\",\"volumeCapabilities\":[{\"block\":{},"
	    "\"accessMode\":{\"mode\":\"SINGLE_NODE_WRITER\"}}],"
	    "\"capacityRange\":{\"requiredBytes\":1048576},"
	    "\"parameters\":{\"clusterID\":\"c\",\"pool\":\"rbd\"%s},%s%s}",
	    name, how, keys, from);

	call("CreateVolume", json);
}

static void
snapshot(const char *name)
{
	auto_free char *keys = secrets();
	auto_free char *json = str_fmt(
	    "{\"name\":\"%s\",\"sourceVolumeId\":\"%s\",%s}", name, source,
	    keys);

	call("CreateSnapshot", json);
}

/* Of what has been made last. */
static const char *
image_of(const char *kind)
{
	static char name[64];

	(void)snprintf(name, sizeof(name), "csi-%s-%s", kind,
	    strlen(out.volume_id) > 36
		? out.volume_id + strlen(out.volume_id) - 36
		: "");
	return name;
}

/* The key that is kept, if it is for `id`, in a buffer of its own. */
static const char *
key_for(const char *image, const char *id, char *key, size_t size)
{
	const char *text = fake_meta(image, DEK);
	auto_free char *tail = str_fmt(" %s %s", id, passphrase);

	*key = '\0';
	if (text != NULL && str_ends(text, tail))
		(void)snprintf(key, size, "%.*s",
		    (int)(strlen(text) - strlen(tail)), text);
	return key;
}

static bool
entry_has(const char *kind, const char *id, const char *key, const char *value)
{
	auto_free char *object = str_fmt(
	    "csi.%s.%s", kind, id + strlen(id) - 36);

	return fake_has_key(object, key, value);
}

static void
prepare(void)
{
	fake_clear();
	fake_put_object("csi.purge.default");
	fake_put_object("csi.snaps.default");
	begin();
	configure(BOTH);
	passphrase = "pass";
	kms = "mine";
}

/* ---- what is made ---- */

static void
test_metadata(void)
{
	char key[64], copied[64], snap[160];
	const char *image;

	prepare();
	create("pvc", NULL);
	image = image_of("vol");
	ok(!err_is_set(&out.err), "a volume: %s", out.err.text);
	is_str(fake_meta(image, STATE), "encryptionPrepared", "it is prepared");
	is_str(fake_meta(image, HEADER), "16777216", "with a header of 16 MiB");
	is_int(strlen(key_for(image, out.volume_id, key, sizeof(key))), 28,
	    "and a key of its own: %s", fake_meta(image, DEK));
	ok(entry_has(
	       "volume", out.volume_id, "csi.volume.encryptKMS", "mine") &&
		entry_has("volume", out.volume_id, "csi.volume.encryptionType",
		    "block"),
	    "the journal has service and type");
	(void)snprintf(source, sizeof(source), "%s", out.volume_id);
	create("pvc", NULL);
	ok(!err_is_set(&out.err) && str_eq(out.volume_id, source),
	    "once more it is the same");
	is_str(key_for(image, source, copied, sizeof(copied)), key,
	    "with the same key");

	fake_set_meta(image, STATE, "encrypted");
	snapshot("snap");
	ok(!err_is_set(&out.err), "a snapshot: %s", out.err.text);
	image = image_of("snap");
	is_str(key_for(image, out.volume_id, copied, sizeof(copied)), key,
	    "has the volume's key, for itself");
	is_str(fake_meta(image, STATE), "encrypted", "and its state");
	is_str(fake_meta(image, HEADER), "16777216", "and size of the header");
	ok(entry_has("snap", out.volume_id, "csi.volume.encryptKMS", "mine"),
	    "so has the journal");
	(void)snprintf(snap, sizeof(snap), "%s", out.volume_id);

	create("clone", "volume");
	ok(!err_is_set(&out.err), "a clone: %s", out.err.text);
	is_str(key_for(image_of("vol"), out.volume_id, copied, sizeof(copied)),
	    key, "has it, too");
	is_str(
	    fake_meta(image_of("vol"), STATE), "encrypted", "and is encrypted");

	(void)snprintf(source, sizeof(source), "%s", snap);
	create("restored", "snapshot");
	ok(!err_is_set(&out.err), "what is restored: %s", out.err.text);
	is_str(key_for(image_of("vol"), out.volume_id, copied, sizeof(copied)),
	    key, "has it, too");
	passphrase = "other";
	create("not restored", "snapshot");
	is_int(
	    out.err.code, ERR_FAILED_PRECONDITION, "not by another passphrase");
	ok(strstr(fake_store(), "not restored") == NULL,
	    "and nothing is left of that");
	end("metadata", 0);
}

static void
test_default(void)
{
	const char *image;

	prepare();
	kms = "default";
	create("pvc", NULL);
	image = image_of("vol");
	is_str(fake_meta(image, STATE), "encryptionPrepared",
	    "a volume is prepared");
	ok(fake_meta(image, DEK) == NULL, "and no key is kept");
	ok(entry_has(
	       "volume", out.volume_id, "csi.volume.encryptKMS", "default"),
	    "the journal has the service");
	(void)snprintf(source, sizeof(source), "%s", out.volume_id);

	passphrase = NULL;
	snapshot("snap");
	ok(!err_is_set(&out.err) &&
		str_eq(
		    fake_meta(image_of("snap"), STATE), "encryptionPrepared"),
	    "a snapshot needs no passphrase: %s", out.err.text);
	passphrase = "pass";
	kms = "mine";
	create("clone", "volume");
	ok(!err_is_set(&out.err), "a clone with another service: %s",
	    out.err.text);
	is_str(fake_meta(image_of("vol"), DEK) != NULL &&
		    str_starts(fake_meta(image_of("vol"), DEK), "pass ")
		? "pass"
		: "",
	    "pass", "keeps the passphrase as its key");
	(void)snprintf(source, sizeof(source), "%s", out.volume_id);
	kms = "default";
	create("back", "volume");
	ok(!err_is_set(&out.err), "and back again: %s", out.err.text);
	end("default", 0);
}

static void
test_refused(void)
{
	static const struct {
		const char *what, *kms, *passphrase, *config;
		enum err_code code;
		const char *text;
	} t[] = {
		{ "no passphrase", "mine", NULL, BOTH, ERR_INVALID_ARGUMENT,
		    "secrets.encryptionPassphrase" },
		{ "no passphrase for the default", "default", NULL, BOTH,
		    ERR_INVALID_ARGUMENT, "secrets.encryptionPassphrase" },
		{ "a service that is none", "other", "pass", BOTH,
		    ERR_FAILED_PRECONDITION, "no such section" },
	};
	char volume[160];

	for (size_t i = 0; i < countof(t); i++) {
		prepare();
		kms = t[i].kms;
		passphrase = t[i].passphrase;
		create("pvc", NULL);
		ok(out.err.code == t[i].code &&
			strstr(out.err.text, t[i].text) != NULL,
		    "%s: %s", t[i].what, out.err.text);
		ok(strstr(fake_store(), "pvc") == NULL &&
			strstr(fake_store(), "image:") == NULL,
		    "nothing is left of it");
		end("refused", 0);
	}

	prepare();
	create("pvc", NULL);
	(void)snprintf(volume, sizeof(volume), "%s", out.volume_id);
	(void)snprintf(source, sizeof(source), "%s", volume);
	kms = "default";
	create("pvc", NULL);
	is_int(out.err.code, ERR_ALREADY_EXISTS, "with another service: %s",
	    out.err.text);
	create("copy", "volume");
	ok(out.err.code == ERR_INVALID_ARGUMENT &&
		strstr(out.err.text, "encryptionKMSID") != NULL,
	    "a key of its own cannot become that of all: %s", out.err.text);
	kms = NULL;
	create("pvc", NULL);
	is_int(out.err.code, ERR_ALREADY_EXISTS, "not encrypted: %s",
	    out.err.text);
	create("copy", "volume");
	ok(out.err.code == ERR_INVALID_ARGUMENT &&
		strstr(out.err.text, "it is encrypted") != NULL,
	    "no plain copy: %s", out.err.text);
	create("plain", NULL);
	(void)snprintf(source, sizeof(source), "%s", out.volume_id);
	kms = "mine";
	create("plain", NULL);
	is_int(out.err.code, ERR_ALREADY_EXISTS, "exists without: %s",
	    out.err.text);
	create("copy", "volume");
	ok(out.err.code == ERR_INVALID_ARGUMENT &&
		strstr(out.err.text, "it is not encrypted") != NULL,
	    "no encrypted copy of a plain one: %s", out.err.text);
	end("refused", 0);
}

/* ---- failures and kills ---- */

static const char *made_of; /* of create_step() */

static void
create_step(const char *name)
{
	create(name, made_of);
}

/* What is there after the retry opens with one key, the source's if it has one. */
static void
retried(const char *what, unsigned n, const char *wanted)
{
	char key[64];

	create_step("copy");
	ok(!err_is_set(&out.err) &&
		*key_for(image_of("vol"), out.volume_id, key, sizeof(key)) !=
		    '\0' &&
		(wanted == NULL || str_eq(key, wanted)) &&
		fake_meta(image_of("vol"), STATE) != NULL,
	    "%s %u: the next call makes it: %s", what, n, out.err.text);
}

static void
make_source(char *key, size_t size)
{
	made_of = NULL;
	create_step("source");
	(void)snprintf(source, sizeof(source), "%s", out.volume_id);
	fake_set_meta(image_of("vol"), STATE, "encrypted");
	(void)key_for(image_of("vol"), source, key, size);
}

static void
test_sweep(const char *of)
{
	static const enum fake_fault faults[] = { FAKE_FAIL, FAKE_FAIL_DONE,
		FAKE_KILL, FAKE_KILL_DONE };
	char key[64] = "";

	for (size_t f = 0; f < countof(faults); f++) {
		bool met = true;
		unsigned n;

		for (n = 1; n < STEPS_MAX && met; n++) {
			prepare();
			if (of != NULL)
				make_source(key, sizeof(key));
			made_of = of;
			if (faults[f] >= FAKE_KILL) {
				end("sweep", n);
				met = in_child(
				    create_step, "copy", faults[f], n);
				begin();
				controller.kms_config = config_path;
			} else {
				fake_script(faults[f], n, -EIO);
				create_step("copy");
				met = fake_calls() >= n;
				fake_script(FAKE_NONE, 0, 0);
			}
			retried(of != NULL ? of : "new", n,
			    of != NULL ? key : NULL);
			end("sweep", n);
		}
		ok(n > 5 && n < STEPS_MAX, "%u steps", n - 1);
	}
}

/*
 * A node has encrypted the image already when a call of somebody else comes to
 * its end, who has reserved the name, too.
 */
#define UUID "11111111-2222-4333-8444-555555555555"
#define VOLUME_ID "0001-0001-c-0000000000000001-" UUID

static void
test_overtaken(void)
{
	char key[64];

	prepare();
	fake_put_key(
	    "csi.volumes.default", "csi.reserve.copy", "csi-vol-" UUID);
	fake_put_image("csi-vol-" UUID);
	fake_set_meta("csi-vol-" UUID, STATE, "encrypted");
	fake_set_meta("csi-vol-" UUID, DEK, "first " VOLUME_ID " pass");
	create("copy", NULL);
	ok(!err_is_set(&out.err) && str_eq(out.volume_id, VOLUME_ID),
	    "the image is taken as it is: %s", out.err.text);
	is_str(key_for("csi-vol-" UUID, VOLUME_ID, key, sizeof(key)), "first",
	    "it keeps its key");
	is_str(fake_meta("csi-vol-" UUID, STATE), "encrypted", "and its state");
	end("overtaken", 0);
}

/* ---- what a node asks ---- */

static void
ask(Worker__FormatRequest__Step step, const char *image, bool luks,
    const char *fstype)
{
	Worker__FormatRequest__SecretsEntry entry = {
		PROTOBUF_C_MESSAGE_INIT(
		    &worker__format_request__secrets_entry__descriptor),
		.key = (char *)(uintptr_t) "encryptionPassphrase",
		.value = (char *)(uintptr_t)passphrase,
	};
	Worker__FormatRequest__SecretsEntry *list[] = { &entry };
	Worker__FormatRequest r = WORKER__FORMAT_REQUEST__INIT;

	r.step = step;
	r.volume_id = (char *)(uintptr_t)VOLUME_ID;
	r.pool = (char *)(uintptr_t) "rbd";
	r.image = (char *)(uintptr_t)image;
	r.kms_id = (char *)(uintptr_t)kms;
	r.luks = luks;
	r.fstype = (char *)(uintptr_t)fstype;
	r.secrets = list;
	r.n_secrets = passphrase != NULL;
	run("Format", &r);
}

#define IMAGE "csi-vol-" UUID
#define KEY WORKER__FORMAT_REQUEST__STEP__KEY
#define BEGIN WORKER__FORMAT_REQUEST__STEP__BEGIN
#define END WORKER__FORMAT_REQUEST__STEP__END
#define ENCRYPTED WORKER__FORMAT_REQUEST__STEP__ENCRYPTED

static void
test_node_asks(void)
{
	prepare();
	fake_put_image(IMAGE);
	ask(KEY, IMAGE, false, "");
	ok(out.err.code == ERR_FAILED_PRECONDITION &&
		strstr(out.err.text, STATE " is missing") != NULL,
	    "an image without a state: %s", out.err.text);
	ask(BEGIN, IMAGE, true, "");
	ok(out.err.code == ERR_FAILED_PRECONDITION &&
		strstr(out.err.text, "it is not encrypted") != NULL,
	    "is not to be encrypted: %s", out.err.text);
	fake_set_meta(IMAGE, STATE, "confused");
	ask(KEY, IMAGE, false, "");
	is_int(out.err.code, ERR_FAILED_PRECONDITION,
	    "one of another state: %s", out.err.text);

	fake_set_meta(IMAGE, STATE, "encryptionPrepared");
	ask(KEY, IMAGE, false, "");
	ok(out.err.code == ERR_FAILED_PRECONDITION &&
		strstr(out.err.text, "no key") != NULL,
	    "one without a key: %s", out.err.text);
	fake_set_meta(IMAGE, DEK, "key " VOLUME_ID " pass");
	ask(KEY, IMAGE, false, "");
	ok(!err_is_set(&out.err) && str_eq(out.key, "key") && !out.encrypted,
	    "the key of what is to be encrypted: %s", out.err.text);
	passphrase = "wrong";
	ask(KEY, IMAGE, false, "");
	ok(err_is_set(&out.err) && *out.key == '\0',
	    "not with another passphrase: %s", out.err.text);
	passphrase = "pass";

	ask(BEGIN, IMAGE, false, "");
	ok(out.err.code == ERR_FAILED_PRECONDITION &&
		strstr(out.err.text, "it is encrypted") != NULL,
	    "it gets no file system without LUKS: %s", out.err.text);
	fake_fill(IMAGE, "object 0 has data");
	ask(BEGIN, IMAGE, true, "");
	is_int(out.err.code, ERR_FAILED_PRECONDITION,
	    "and no LUKS over data: %s", out.err.text);
	fake_fill(IMAGE, "");
	ask(BEGIN, IMAGE, true, "");
	ok(!err_is_set(&out.err) && !out.again,
	    "an empty one may be encrypted");
	ok(str_starts(fake_meta(IMAGE, MARK), "unfinished "), "and is marked");
	fake_fill(IMAGE, "object 0 has data");
	ask(BEGIN, IMAGE, true, "");
	ok(!err_is_set(&out.err) && out.again, "so it may be once more");

	ask(ENCRYPTED, IMAGE, true, "");
	is_str(fake_meta(IMAGE, STATE), "encrypted", "then it is encrypted");
	ok(str_starts(fake_meta(IMAGE, MARK), "unfinished "),
	    "and may get a file system");
	ask(KEY, IMAGE, false, "");
	ok(!err_is_set(&out.err) && out.encrypted, "which the node is told");
	ask(BEGIN, IMAGE, true, "");
	ok(!err_is_set(&out.err) && out.again, "mkfs may begin");
	ask(END, IMAGE, true, "ext4");
	ask(BEGIN, IMAGE, true, "");
	is_int(out.err.code, ERR_FAILED_PRECONDITION, "and never again: %s",
	    out.err.text);
	fake_set_meta(IMAGE, MARK, "unfinished");
	ask(ENCRYPTED, IMAGE, true, "block");
	is_str(fake_meta(IMAGE, MARK), "block",
	    "a block volume is whole when it is encrypted");

	fake_set_meta(IMAGE, STATE, NULL);
	fake_set_meta(IMAGE, DEK, NULL);
	fake_set_meta(IMAGE, "." STATE, "encrypted");
	fake_set_meta(IMAGE, "." DEK, "key " VOLUME_ID " pass");
	ask(KEY, IMAGE, false, "");
	ok(!err_is_set(&out.err) && str_eq(out.key, "key") && out.encrypted,
	    "older names of the metadata are read: %s", out.err.text);
	end("asks", 0);
}

/* ---- services ---- */

static void
test_services(void)
{
	static const struct {
		const char *config, *kms, *why;
	} t[] = {
		{ NULL, "default", NULL },
		{ NULL, "", NULL },
		{ NULL, "mine", "mine" },
		{ "{\"mine\":{\"encryptionKMSType\":\"metadata\"}}", "mine",
		    NULL },
		{ "{\"mine\":{\"KMS_PROVIDER\":\"metadata\"}}", "mine", NULL },
		{ "{\"mine\":{\"encryptionKMSType\":\"default\"}}", "mine",
		    NULL },
		{ "{\"mine\":{\"encryptionKMSType\":\"metadata\"}}", "other",
		    "no such section" },
		{ "{\"mine\":{\"encryptionKMSType\":\"vault\"}}", "mine",
		    "type vault is not served" },
		{ "{\"mine\":{\"encryptionKMSType\":\"metadata\",\"secretName\":\"s\"}}",
		    "mine", "secretName is not served" },
		{ "{\"mine\":{}}", "mine", "no encryptionKMSType" },
		{ "{\"mine\":\"metadata\"}", "mine", "no such section" },
		{ "{\"mine\":", "mine", "KMS mine: " },
	};

	controller.kms_config = config_path;
	for (size_t i = 0; i < countof(t); i++) {
		struct err err = ERR_INIT;
		int rc;

		if (t[i].config != NULL)
			configure(t[i].config);
		else
			(void)unlink(config_path);
		rc = kms_check(t[i].kms, &err);
		ok(t[i].why == NULL
			? rc == 0
			: rc < 0 && err.code == ERR_FAILED_PRECONDITION &&
			    strstr(err.text, t[i].why) != NULL,
		    "%s of %s: %s", t[i].kms,
		    t[i].config != NULL ? t[i].config : "no file",
		    rc < 0 ? err.text : "served");
	}
}

int
main(void)
{
	static const char *const of[] = { NULL, "volume" };
	int fd = mkstemp(config_path);

	fake_init();
	if (fd < 0 || loop_init() < 0)
		return 1;
	(void)close(fd);
	log_init("test", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	test_services();
	test_metadata();
	test_default();
	test_refused();
	for (size_t i = 0; i < countof(of); i++)
		test_sweep(of[i]);
	test_overtaken();
	test_node_asks();
	(void)unlink(config_path);
	loop_fini();
	return tap_end();
}
