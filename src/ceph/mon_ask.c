/*
 * mon_ask.c - rados_ping_monitor() and the JSON that comes back.
 */
#include "ceph/mon_ask.h"

#include "base/buf.h"
#include "base/json.h"

#include <errno.h>
#include <rados/librados.h>

#define TRIES 3
#define LIST_MAX 4096

/* Adds the addresses of one monitor that are of version 2. */
static void
add_v2(const json_t *mon, struct buf *list)
{
	const json_t *addrs = json_object_get(
	    json_object_get(mon, "public_addrs"), "addrvec");
	const json_t *addr;
	size_t i;

	json_array_foreach (addrs, i, addr) {
		const char *at = json_get_string(addr, "addr");

		if (at != NULL && str_eq(json_get_string(addr, "type"), "v2"))
			(void)buf_printf(
			    list, "%sv2:%s", list->len > 0 ? "," : "", at);
	}
}

static void
read_answer(const json_t *json, struct mon_answer *answer)
{
	const json_t *status = json_object_get(json, "mon_status"), *mon;
	const char *state = json_get_string(status, "state");
	const char *name = json_get_string(status, "name");
	struct buf list;
	size_t i;

	buf_init(&list, LIST_MAX);
	json_array_foreach (
	    json_object_get(json_object_get(status, "monmap"), "mons"), i, mon)
		add_v2(mon, &list);
	*answer = (struct mon_answer){
		.in_quorum = str_eq(state, "leader") || str_eq(state, "peon"),
		.v2 = list.len > 0
		    ? str_fmt("%.*s", (int)list.len, (char *)list.data)
		    : NULL,
	};
	if (str_put(answer->name, sizeof(answer->name), "%s",
		name != NULL ? name : "?") < 0)
		answer->name[0] = '\0';
	buf_fini(&list);
}

bool
mon_ask(void *cluster, struct mon_answer *answer)
{
	char name[2] = "a", *text;
	json_t *json = NULL;
	size_t len;
	int rc;

	/* Names that librados gives to addresses: noname-a, noname-b ... */
	for (int i = 0; i < TRIES && json == NULL; i++, name[0]++) {
		text = NULL;
		rc = rados_ping_monitor(cluster, name, &text, &len);
		if (rc == -ENOENT)
			break;
		if (rc >= 0 && text != NULL)
			json = json_loadb(text, len, 0, NULL);
		rados_buffer_free(text);
	}
	if (json == NULL)
		return false;
	read_answer(json, answer);
	json_decref(json);
	return true;
}
