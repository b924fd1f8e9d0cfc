/*
 * kube.c - rbd-csi-kube is run, and its answer read.
 */
#include "daemon/kube.h"

#include "base/exit.h"
#include "base/log.h"
#include "kube/kube.h"

#include <errno.h>
#include <string.h>

#define KUBE_MS INT64_C(15000) /* it gives up after 10 s by itself */

static const char *kube_program, *kube_dir;

void
kube_init(const char *program, const char *dir)
{
	kube_program = program;
	kube_dir = dir;
}

bool
kube_is_there(void)
{
	return !str_is_empty(getenv("KUBERNETES_SERVICE_HOST"));
}

static int
take_credentials(struct kube_ask *ask)
{
	char *user = ask->tool.output, *key = strchr(user, '\n'), *end;

	if (key == NULL || (end = strchr(key + 1, '\n')) == NULL)
		return err_set(&ask->err, ERR_INTERNAL,
		    "secret %s/%s: an answer of rbd-csi-kube that is none",
		    ask->name_space, ask->name);
	*key++ = '\0';
	credentials_fini(&ask->credentials);
	ask->credentials.user = str_dup(user);
	secret_set(&ask->credentials.key, key, (size_t)(end - key));
	return 0;
}

/* Why there is no answer, in one line. */
static int
explain(struct kube_ask *ask, int rc)
{
	char *text = ask->tool.output;
	enum err_code code = ERR_UNAVAILABLE;

	text[strcspn(text, "\n")] = '\0';
	if (rc == 0 && ask->tool.status == EXIT_NO_OBJECT) {
		code = ERR_NOT_FOUND;
		(void)!str_put(text, TOOL_OUTPUT_MAX, "there is none");
	}
	return err_set(&ask->err, code, "ask Kubernetes for %s %s%s%s: %.400s",
	    ask->of_node ? "node" : "secret",
	    ask->of_node ? "" : ask->name_space, ask->of_node ? "" : "/",
	    ask->name, rc < 0 ? ask->tool.err.text : text);
}

static void
on_ended(struct wake *wake, int rc)
{
	struct kube_ask *ask = container_of(wake, struct kube_ask, ended);
	bool done = rc == 0 && ask->tool.status == 0;

	ask->err = (struct err)ERR_INIT;
	ask->out_of_service = done && ask->of_node &&
	    str_starts(ask->tool.output, KUBE_OUT_OF_SERVICE);
	if (done && !ask->of_node)
		(void)!take_credentials(ask);
	else if (rc == 0 && ask->of_node && ask->tool.status == EXIT_NO_OBJECT)
		log_warn("fencing.no_node",
		    "node=%s text=\"Kubernetes does not know it (any more), so nobody can say that it is out of service: it is not fenced\"",
		    ask->name);
	else if (!done)
		(void)!explain(ask, rc);
	secret_wipe(ask->tool.output, sizeof(ask->tool.output));
	wake_up(ask->waiter, ask->err.rc);
}

void
kube_ask_start(struct kube_ask *ask, const char *name_space, const char *name,
    struct wake *waiter)
{
	const char *const node[] = { kube_program, kube_dir, "node", name,
		NULL };
	const char *const secret[] = { kube_program, kube_dir, "secret",
		name_space, name, NULL };

	ask->of_node = name_space == NULL;
	ask->name_space = name_space;
	ask->name = name;
	ask->waiter = waiter;
	ask->ended.fn = on_ended;
	tool_start(
	    &ask->tool, ask->of_node ? node : secret, KUBE_MS, &ask->ended);
}
