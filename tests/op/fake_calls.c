/*
 * fake_calls.c - calls in place of src/rpc, and what they ask.
 */
#include "tests/definition.h"
#include "tests/op/fake_rpc.h"

#include "base/clock.h"
#include "csi.pb-c.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- calls, in place of src/rpc ------------------------------------------ */

static void
end(struct call *call, enum err_code code, const char *text)
{
	struct fake_call *fake = (struct fake_call *)call;

	if (fake->ended || fake->left)
		abort();
	fake->ended = true;
	fake->code = code;
	(void)snprintf(fake->text, sizeof(fake->text), "%s", text);
	(void)snprintf(fake->note, sizeof(fake->note), "%s",
	    call->note != NULL ? call->note : "");
	timer_disarm(&call->timer);
	arena_free(call->arena);
	call->arena = NULL;
}

void
call_reply(struct call *call, const void *bytes, size_t len)
{
	struct fake_call *fake = (struct fake_call *)call;

	if (len > sizeof(fake->reply))
		abort();
	if (len > 0)
		memcpy(fake->reply, bytes, len);
	fake->reply_len = len;
	end(call, ERR_OK, "");
}

/* What was sent last is the reply; a client that does not read is busy. */
int
stream_send(struct call *call, const void *bytes, size_t len)
{
	struct fake_call *fake = (struct fake_call *)call;

	if (fake->ended || fake->left || len > sizeof(fake->reply))
		abort();
	if (fake->busy)
		return -EAGAIN;
	if (len > 0)
		memcpy(fake->reply, bytes, len);
	fake->reply_len = len;
	fake->sent++;
	return 0;
}

void
call_fail(struct call *call, enum err_code code, const char *text)
{
	end(call, code, text);
}

void
call_fail_err(struct call *call, const struct err *err)
{
	end(call, err->code, err->text);
}

void
call_fail_details(struct call *call, const struct err *err,
    const struct call_details *details)
{
	struct fake_call *fake = (struct fake_call *)call;

	if (details->len > sizeof(fake->details))
		abort();
	memcpy(fake->details, details->bytes, details->len);
	fake->details_len = details->len;
	fake->details_type = details->type;
	end(call, err->code, err->text);
}

struct arena *
call_arena(struct call *call)
{
	if (call->arena == NULL)
		call->arena = arena_new(1 << 20);
	return call->arena;
}

static void
on_deadline(struct timer *timer)
{
	struct call *call = container_of(timer, struct call, timer);

	call->gone(call, CALL_DEADLINE);
}

void
call_default_timeout(struct call *call, int64_t ms)
{
	if (call->deadline_ms == 0)
		call->deadline_ms = clock_now_ms() + ms;
	call->timer.fire = on_deadline;
	timer_arm(&call->timer, call->deadline_ms - clock_now_ms());
}

/* `bytes` are not used after this. */
static void
ask(struct fake_call *fake, const char *method, const void *bytes, size_t len,
    int64_t timeout_ms)
{
	const struct csi_definition *m = definition_of(method);

	fake->call.path = m != NULL ? m->path : method;
	fake->call.request = bytes;
	fake->call.request_len = len;
	if (timeout_ms > 0)
		fake->call.deadline_ms = clock_now_ms() + timeout_ms;
	dispatch_call(&fake->call);
}

struct fake_call *
fake_ask(const char *method, const void *message, int64_t timeout_ms)
{
	struct fake_call *fake = mem_new(sizeof(*fake));
	size_t len = 0;

	if (message != NULL)
		len = protobuf_c_message_pack(message, fake->body);
	ask(fake, method, fake->body, len, timeout_ms);
	return fake;
}

struct fake_call *
fake_ask_bytes(
    const char *method, const void *bytes, size_t len, int64_t timeout_ms)
{
	struct fake_call *fake = mem_new(sizeof(*fake));

	ask(fake, method, bytes, len, timeout_ms);
	return fake;
}

void
fake_leave(struct fake_call *fake, enum call_gone why)
{
	fake->call.gone(&fake->call, why);
	fake->left = true;
	timer_disarm(&fake->call.timer);
	arena_free(fake->call.arena);
	fake->call.arena = NULL;
}

void
fake_free(struct fake_call *fake)
{
	if (!fake->ended && !fake->left)
		abort();
	free(fake);
}

/* ---- requests ------------------------------------------------------------ */

struct fake_call *
fake_unstage(const char *path, int64_t timeout_ms)
{
	Csi__V1__NodeUnstageVolumeRequest m =
	    CSI__V1__NODE_UNSTAGE_VOLUME_REQUEST__INIT;
	static char id[] = FAKE_ID;

	m.volume_id = id;
	m.staging_target_path = (char *)(uintptr_t)path;
	return fake_ask("NodeUnstageVolume", &m, timeout_ms);
}

static char user_key[] = "userID", user[] = "u", key_key[] = "userKey",
	    key[] = "k";

struct fake_call *
fake_delete(const char *id, bool secrets, int64_t timeout_ms)
{
	Csi__V1__DeleteVolumeRequest m = CSI__V1__DELETE_VOLUME_REQUEST__INIT;
	Csi__V1__DeleteVolumeRequest__SecretsEntry
	    e[2] = { CSI__V1__DELETE_VOLUME_REQUEST__SECRETS_ENTRY__INIT,
		    CSI__V1__DELETE_VOLUME_REQUEST__SECRETS_ENTRY__INIT },
	    *list[2] = { &e[0], &e[1] };

	e[0].key = user_key;
	e[0].value = user;
	e[1].key = key_key;
	e[1].value = key;
	m.volume_id = (char *)(uintptr_t)id;
	m.secrets = list;
	m.n_secrets = secrets ? 2 : 1;
	return fake_ask("DeleteVolume", &m, timeout_ms);
}

struct fake_call *
fake_unpublish(const char *id, bool secrets, int64_t timeout_ms)
{
	Csi__V1__ControllerUnpublishVolumeRequest m =
	    CSI__V1__CONTROLLER_UNPUBLISH_VOLUME_REQUEST__INIT;
	Csi__V1__ControllerUnpublishVolumeRequest__SecretsEntry e
	    [2] = { CSI__V1__CONTROLLER_UNPUBLISH_VOLUME_REQUEST__SECRETS_ENTRY__INIT,
		    CSI__V1__CONTROLLER_UNPUBLISH_VOLUME_REQUEST__SECRETS_ENTRY__INIT },
	   *list[2] = { &e[0], &e[1] };
	static char node[] = "node-2";

	e[0].key = user_key;
	e[0].value = user;
	e[1].key = key_key;
	e[1].value = key;
	m.volume_id = (char *)(uintptr_t)id;
	m.node_id = node;
	m.secrets = list;
	m.n_secrets = secrets ? 2 : 0;
	return fake_ask("ControllerUnpublishVolume", &m, timeout_ms);
}
