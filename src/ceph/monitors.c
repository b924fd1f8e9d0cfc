/*
 * monitors.c - splitting the list of monitors, resolving names in it, asking
 * ports of which one cannot tell what they speak, and rados_ping_monitor().
 */
#include "ceph/monitors.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <rados/librados.h>
#include <string.h>
#include <sys/socket.h>

#define SEPARATORS ",; \t\n"
#define LIST_MAX 16384
#define PROBE_MS 2000 /* for all ports together */

/* One entry of the list, taken apart unless it is for librados alone. */
struct monitor {
	const char *text;
	size_t len;
	bool plain; /* host and perhaps port, without protocol or group */
	char host[NI_MAXHOST];
	char port[NI_MAXSERV]; /* "": none */
};

/*
 * Length of the entry at `s`: up to a separator that is not within brackets,
 * for a group of addresses has commas inside. 0: a bracket is not closed.
 */
static size_t
entry_len(const char *s)
{
	size_t len = 0;
	int depth = 0;

	for (; s[len] != '\0'; len++) {
		if (s[len] == '[')
			depth++;
		else if (s[len] == ']')
			depth--;
		else if (depth == 0 && strchr(SEPARATORS, s[len]) != NULL)
			break;
	}
	return depth == 0 ? len : 0;
}

/* "host", "host:port", "[ip6]", "[ip6]:port"; all else is not plain. */
static void
entry_split(struct monitor *e)
{
	auto_free char *text = str_fmt("%.*s", (int)e->len, e->text);
	char *host = text, *rest = strchr(text, ':');

	e->plain = false;
	if (text[0] == '[') {
		host = text + 1;
		rest = strchr(host, ']');
		if (rest == NULL || str_starts(host, "v1:") ||
		    str_starts(host, "v2:") || str_starts(host, "any:"))
			return;
		*rest++ = '\0';
		if (*rest == '\0')
			rest = NULL;
	}
	if (rest != NULL) {
		if (*rest != ':' || strpbrk(rest + 1, ":/") != NULL)
			return;
		*rest++ = '\0';
	}
	e->plain = str_put(e->host, sizeof(e->host), "%s", host) == 0 &&
	    str_put(e->port, sizeof(e->port), "%s", rest != NULL ? rest : "") ==
		0;
}

/*
 * What a monitor at this address speaks, by the words that both versions of
 * the protocol begin with: "v1:", "v2:", or "" when it does not say in time.
 */
static const char *
probe(const struct addrinfo *addr, int64_t until_ms)
{
	auto_close int fd = socket(
	    addr->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	int64_t left_ms = until_ms - clock_now_ms();
	char banner[8] = "";

	if (fd < 0 || left_ms <= 0 ||
	    (connect(fd, addr->ai_addr, addr->ai_addrlen) < 0 &&
		errno != EINPROGRESS) ||
	    poll(&wait, 1, (int)left_ms) != 1 ||
	    recv(fd, banner, sizeof(banner), 0) != sizeof(banner))
		return "";
	if (memcmp(banner, "ceph v0", 7) == 0)
		return "v1:";
	return memcmp(banner, "ceph v2", 7) == 0 ? "v2:" : "";
}

/*
 * Adds the entry to the list, or says why it cannot be resolved. A port that
 * is none of the well known ones is asked for its protocol: librados would
 * try both, and what one of them has to say against a key would be lost in
 * the time-out of the other.
 */
static const char *
entry_add(struct buf *list, struct monitor *e, int64_t until_ms)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	const char *comma = list->len > 0 ? "," : "", *protocol = "";
	struct addrinfo *found = NULL;
	char host[NI_MAXHOST], port[NI_MAXSERV];
	int rc;

	entry_split(e);
	if (e->plain) {
		rc = getaddrinfo(e->host, e->port[0] != '\0' ? e->port : NULL,
		    &hints, &found);
		if (rc != 0)
			return gai_strerror(rc);
		if (e->port[0] != '\0' && !str_eq(e->port, "3300") &&
		    !str_eq(e->port, "6789") &&
		    getnameinfo(found->ai_addr, found->ai_addrlen, host,
			sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) == 0)
			protocol = probe(found, until_ms);
	}
	if (protocol[0] == '\0')
		rc = buf_printf(list, "%s%.*s", comma, (int)e->len, e->text);
	else if (found->ai_family == AF_INET6)
		rc = buf_printf(
		    list, "%s%s[%s]:%s", comma, protocol, host, port);
	else
		rc = buf_printf(list, "%s%s%s:%s", comma, protocol, host, port);
	if (found != NULL)
		freeaddrinfo(found);
	return rc < 0 ? "the list is too long" : NULL;
}

int
monitors_resolve(const char *monitors, char **kept, struct err *err)
{
	int64_t until_ms = clock_now_ms() + PROBE_MS;
	const char *at = monitors, *fault = NULL;
	struct monitor entry;
	struct buf list;
	int rc = 0;

	buf_init(&list, LIST_MAX);
	while (*(at += strspn(at, SEPARATORS)) != '\0') {
		entry.text = at;
		entry.len = entry_len(at);
		if (entry.len == 0) {
			rc = err_set(err, ERR_INVALID_ARGUMENT,
			    "monitors %s: a bracket is not closed", monitors);
			break;
		}
		fault = entry_add(&list, &entry, until_ms);
		at += entry.len;
	}
	if (rc == 0 && list.len == 0)
		rc = fault != NULL
		    ? err_set(err, ERR_UNAVAILABLE, "resolve monitors %s: %s",
			  monitors, fault)
		    : err_set(
			  err, ERR_INVALID_ARGUMENT, "no monitors are given");
	if (rc == 0)
		*kept = str_fmt("%.*s", (int)list.len, (char *)list.data);
	buf_fini(&list);
	return rc;
}

/* ---- asking a monitor ---- */

static void
read_answer(const json_t *json, struct mon_answer *answer)
{
	const json_t *status = json_object_get(json, "mon_status");
	const json_t *mons = json_object_get(
	    json_object_get(status, "monmap"), "mons");
	const char *state = json_get_string(status, "state");
	const char *name = json_get_string(status, "name");
	const json_t *mon, *addrs, *addr;
	struct buf list;
	size_t i, j;

	buf_init(&list, LIST_MAX);
	json_array_foreach (mons, i, mon) {
		addrs = json_object_get(
		    json_object_get(mon, "public_addrs"), "addrvec");
		json_array_foreach (addrs, j, addr) {
			const char *at = json_get_string(addr, "addr");

			if (at != NULL &&
			    str_eq(json_get_string(addr, "type"), "v2"))
				(void)buf_printf(&list, "%sv2:%s",
				    list.len > 0 ? "," : "", at);
		}
	}
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

int
monitors_ask(void *cluster, const char *name, struct mon_answer *answer)
{
	json_t *json = NULL;
	char *text = NULL;
	size_t len;
	int rc = rados_ping_monitor(cluster, name, &text, &len);

	if (rc >= 0 && text != NULL)
		json = json_loadb(text, len, 0, NULL);
	rados_buffer_free(text);
	if (json == NULL)
		return rc < 0 ? rc : -EBADMSG;
	read_answer(json, answer);
	json_decref(json);
	return 0;
}
