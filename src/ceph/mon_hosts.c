/*
 * mon_hosts.c - splitting the list of monitors and resolving names in it.
 */
#include "ceph/mon_hosts.h"

#include "base/buf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>

#define SEPARATORS ",; \t\n"
#define LIST_MAX 16384

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

/*
 * The name in "name", "name:port": false when the entry is an address, a
 * group, or has a protocol in front, which librados takes with addresses only.
 */
static bool
entry_name(const char *entry, size_t len, char *name, size_t size)
{
	const char *colon = memchr(entry, ':', len);
	size_t name_len = colon != NULL ? (size_t)(colon - entry) : len;
	struct in6_addr addr;

	if (entry[0] == '[' || name_len == 0 || name_len >= size ||
	    memchr(entry, '/', len) != NULL ||
	    (colon != NULL &&
		memchr(colon + 1, ':', (size_t)(entry + len - colon - 1)) !=
		    NULL))
		return false;
	memcpy(name, entry, name_len);
	name[name_len] = '\0';
	return inet_pton(AF_INET, name, &addr) != 1;
}

/* NULL, or why the entry cannot be resolved. */
static const char *
entry_fault(const char *entry, size_t len)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *found = NULL;
	char name[NI_MAXHOST];
	int rc;

	if (!entry_name(entry, len, name, sizeof(name)))
		return NULL;
	rc = getaddrinfo(name, NULL, &hints, &found);
	if (rc != 0)
		return gai_strerror(rc);
	freeaddrinfo(found);
	return NULL;
}

int
mon_hosts_resolve(const char *monitors, char **kept, struct err *err)
{
	const char *at = monitors, *fault, *last_fault = NULL;
	struct buf list;
	size_t len;
	int rc = 0;

	buf_init(&list, LIST_MAX);
	while (rc == 0 && *(at += strspn(at, SEPARATORS)) != '\0') {
		len = entry_len(at);
		if (len == 0) {
			rc = err_set(err, ERR_INVALID_ARGUMENT,
			    "monitors %s: a bracket is not closed", monitors);
			break;
		}
		fault = entry_fault(at, len);
		if (fault != NULL)
			last_fault = fault;
		else if (buf_printf(&list, "%s%.*s", list.len > 0 ? "," : "",
			     (int)len, at) < 0)
			rc = err_set(err, ERR_INVALID_ARGUMENT,
			    "monitors: the list is too long");
		at += len;
	}
	if (rc == 0 && list.len == 0)
		rc = last_fault != NULL
		    ? err_set(err, ERR_UNAVAILABLE, "resolve monitors %s: %s",
			  monitors, last_fault)
		    : err_set(
			  err, ERR_INVALID_ARGUMENT, "no monitors are given");
	if (rc == 0)
		*kept = str_fmt("%.*s", (int)list.len, (char *)list.data);
	buf_fini(&list);
	return rc;
}
