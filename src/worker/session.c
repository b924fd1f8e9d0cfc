/*
 * session.c - taking over a Hello, connecting, greeting lanes.
 */
#include "worker/session.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>

void
worker_session_init(struct session *s, const Worker__Hello *hello)
{
	*s = (struct session){
		.cluster_id = str_dup(hello->cluster_id),
		.monitors = str_dup(hello->monitors),
		.user = str_dup(hello->user),
		.instance_id = str_dup(hello->instance_id),
		.cluster_name = str_dup(hello->cluster_name),
		.driver_name = str_dup(hello->driver_name),
		.node_id = str_dup(hello->node_id),
		.conf_file = str_dup(hello->conf_file),
		.net_namespace = str_dup(hello->net_namespace),
		.options = mem_new(
		    (hello->n_settings + 1) * sizeof(struct ceph_option)),
		.noptions = hello->n_settings,
		.connect_timeout_ms = hello->connect_timeout_ms,
		.max_lanes = hello->max_lanes,
		.lane_idle_ms = hello->lane_idle_ms,
		.log_level = hello->log_level,
		.log_json = hello->log_json,
	};
	for (size_t i = 0; i < s->noptions; i++) {
		s->options[i].name = str_dup(hello->settings[i]->name);
		s->options[i].value = str_dup(hello->settings[i]->value);
	}
	secret_set(&s->key, (const char *)hello->key.data, hello->key.len);
}

void
session_fini(struct session *s)
{
	for (size_t i = 0; i < s->noptions; i++) {
		free((char *)(uintptr_t)s->options[i].name);
		free((char *)(uintptr_t)s->options[i].value);
	}
	free(s->options);
	free(s->cluster_id);
	free(s->monitors);
	free(s->user);
	free(s->instance_id);
	free(s->cluster_name);
	free(s->driver_name);
	free(s->node_id);
	free(s->conf_file);
	free(s->net_namespace);
	secret_fini(&s->key);
	memset(s, 0, sizeof(*s));
}

/* Before librados starts its threads: they inherit it. */
static int
enter_net_namespace(const char *path, struct err *err)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		return err_set(err, ERR_FAILED_PRECONDITION, "%s: %s", path,
		    strerror(errno));
	return 0;
}

int
session_connect(const struct session *s, struct ceph_connection **conn,
    const char **step, struct err *err)
{
	struct ceph_settings settings = {
		.monitors = str_is_empty(s->monitors) ? NULL : s->monitors,
		.user = s->user,
		.key = &s->key,
		.conf_file = str_is_empty(s->conf_file) ? NULL : s->conf_file,
		.options = s->options,
		.noptions = s->noptions,
		.connect_timeout_s = (s->connect_timeout_ms + 999) / 1000,
		.op_timeout_s = CEPH_OP_TIMEOUT_S,
	};
	enum ceph_step at = CEPH_STEP_SETTINGS;
	int rc;

	*step = "enter the network namespace";
	if (!str_is_empty(s->net_namespace)) {
		rc = enter_net_namespace(s->net_namespace, err);
		if (rc < 0)
			return rc;
	}
	rc = ceph_connection_open(&settings, conn, &at, err);
	*step = ceph_step_name(at);
	return rc;
}

unsigned char *
session_lane_hello(const struct session *s, size_t *len)
{
	Worker__Frame frame = WORKER__FRAME__INIT;
	Worker__Hello hello = WORKER__HELLO__INIT;
	Worker__Setting *settings = mem_new(
	    (s->noptions + 1) * sizeof(*settings));
	Worker__Setting **list = mem_new((s->noptions + 1) * sizeof(void *));
	unsigned char *bytes;

	for (size_t i = 0; i < s->noptions; i++) {
		worker__setting__init(&settings[i]);
		settings[i].name = (char *)(uintptr_t)s->options[i].name;
		settings[i].value = (char *)(uintptr_t)s->options[i].value;
		list[i] = &settings[i];
	}
	hello.role = WORKER__HELLO__ROLE__LANE;
	hello.cluster_id = s->cluster_id;
	hello.monitors = s->monitors;
	hello.user = s->user;
	hello.key.data = (uint8_t *)s->key.text;
	hello.key.len = s->key.len;
	hello.instance_id = s->instance_id;
	hello.cluster_name = s->cluster_name;
	hello.driver_name = s->driver_name;
	hello.conf_file = s->conf_file;
	hello.settings = list;
	hello.n_settings = s->noptions;
	hello.connect_timeout_ms = s->connect_timeout_ms;
	hello.net_namespace = s->net_namespace;
	hello.log_level = s->log_level;
	hello.log_json = s->log_json;
	frame.body_case = WORKER__FRAME__BODY_HELLO;
	frame.hello = &hello;
	*len = worker__frame__get_packed_size(&frame);
	bytes = mem_new(*len + 1);
	(void)worker__frame__pack(&frame, bytes);
	free(list);
	free(settings);
	return bytes;
}
