/*
 * krbd_line.c - see krbd_line.h. Addresses come as "a:6789", "host", "[::1]",
 * "v1:a:6789/0" or "[v2:a:3300/0,v1:a:6789/0]"; the kernel wants numeric ones
 * of one protocol.
 */
#include "node/krbd_line.h"

#include "base/rules.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define PORT_MSGR1 6789
#define PORT_MSGR2 3300
#define HOST_MAX 256

/* One address of a list. */
struct mon {
	bool msgr1, msgr2;   /* protocols that it may speak */
	char host[HOST_MAX]; /* without brackets */
	unsigned port;       /* 0: not given */
};

static bool
is_separator(char c)
{
	return c == ',' || c == ' ' || c == ';';
}

/* "host:port", "[v6]:port", "v6": splits in place of nothing. */
static int
split_host(const char *text, size_t len, struct mon *mon)
{
	const char *colon = memrchr(text, ':', len);
	const char *host = text;
	size_t hostlen = len;
	uint64_t port = 0;
	char digits[8];

	if (len > 0 && text[0] == '[') {
		const char *close = memchr(text, ']', len);

		if (close == NULL)
			return -EINVAL;
		host = text + 1;
		hostlen = (size_t)(close - host);
		colon = close + 1 < text + len ? close + 1 : NULL;
		if (colon != NULL && *colon != ':')
			return -EINVAL;
	} else if (colon != NULL && memchr(text, ':', len) == colon) {
		hostlen = (size_t)(colon - text);
	} else {
		colon = NULL; /* none, or a bare IPv6 address */
	}
	if (colon != NULL) {
		if (str_put(digits, sizeof(digits), "%.*s",
			(int)(text + len - colon - 1), colon + 1) < 0 ||
		    str_to_u64(digits, &port) < 0 || port > 65535)
			return -EINVAL;
	}
	mon->port = (unsigned)port;
	if (hostlen == 0)
		return -EINVAL;
	return str_put(
	    mon->host, sizeof(mon->host), "%.*s", (int)hostlen, host);
}

/*
 * Takes the next address from *list, moving it on. 1: got one, 0: the end,
 * -EINVAL: not an address.
 */
static int
next_mon(const char **list, struct mon *mon)
{
	const char *p = *list, *end, *slash;
	size_t len;
	int rc;

	while (is_separator(*p) ||
	    (*p == '[' && p[1] == 'v' && (p[2] == '1' || p[2] == '2') &&
		p[3] == ':'))
		p++;
	for (end = p; *end != '\0' && !is_separator(*end);)
		end++;
	*list = end;
	len = (size_t)(end - p);
	if (len == 0)
		return 0;
	memset(mon, 0, sizeof(*mon));
	mon->msgr1 = mon->msgr2 = true;
	if (len > 3 && p[0] == 'v' && (p[1] == '1' || p[1] == '2') &&
	    p[2] == ':') {
		mon->msgr1 = p[1] == '1';
		mon->msgr2 = p[1] == '2';
		p += 3;
		len -= 3;
	}
	/* The ']' that ends a group, and the nonce. */
	if (p[len - 1] == ']' &&
	    (p[0] != '[' || memchr(p, ']', len) != p + len - 1))
		len--;
	slash = memchr(p, '/', len);
	if (slash != NULL)
		len = (size_t)(slash - p);
	rc = split_host(p, len, mon);
	if (rc < 0)
		return -EINVAL;
	if (mon->msgr1 && mon->msgr2 && mon->port == PORT_MSGR1)
		mon->msgr2 = false;
	else if (mon->msgr1 && mon->msgr2 && mon->port == PORT_MSGR2)
		mon->msgr1 = false;
	return 1;
}

static int
append(char *out, size_t size, const char *text)
{
	size_t used = strlen(out);

	return str_put(out + used, size - used, "%s", text);
}

static int
append_address(char *out, size_t size, const char *host, unsigned port)
{
	size_t used = strlen(out);
	bool v6 = strchr(host, ':') != NULL;

	return str_put(out + used, size - used, "%s%s%s%s:%u",
	    used > 0 ? "," : "", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

/* All numeric addresses of one monitor. */
static int
append_mon(char *out, size_t size, const struct mon *mon, unsigned port,
    struct err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list, *ai;
	char host[INET6_ADDRSTRLEN];
	int rc = 0, gai;

	gai = getaddrinfo(mon->host, NULL, &hints, &list);
	if (gai != 0)
		return err_set(err, ERR_UNAVAILABLE, "resolve monitor %s: %s",
		    mon->host, gai_strerror(gai));
	for (ai = list; ai != NULL && rc == 0; ai = ai->ai_next)
		if (getnameinfo(ai->ai_addr, ai->ai_addrlen, host, sizeof(host),
			NULL, 0, NI_NUMERICHOST) == 0)
			rc = append_address(out, size, host, port);
	freeaddrinfo(list);
	if (rc < 0)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "too many monitor addresses");
	return 0;
}

static int
append_monitors(
    char *out, size_t size, const char *monitors, bool msgr2, struct err *err)
{
	struct mon mon;
	int rc;

	while ((rc = next_mon(&monitors, &mon)) == 1) {
		unsigned port = mon.port != 0 ? mon.port
		    : msgr2                   ? PORT_MSGR2
					      : PORT_MSGR1;

		if (!(msgr2 ? mon.msgr2 : mon.msgr1))
			continue;
		rc = append_mon(out, size, &mon, port, err);
		if (rc < 0)
			return rc;
	}
	if (rc < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "monitors: an entry is no address");
	return 0;
}

/* Appends each option but those that only the command line tool knows. */
static int
append_options(char *out, size_t size, const char *options)
{
	while (options != NULL && *options != '\0') {
		size_t n = strcspn(options, ","), used = strlen(out);
		bool tool = (n == 4 && strncmp(options, "udev", n) == 0) ||
		    (n == 6 && strncmp(options, "noudev", n) == 0);

		if (n > 0 && !tool &&
		    str_put(out + used, size - used, ",%.*s", (int)n, options) <
			0)
			return -ENAMETOOLONG;
		options += n + (options[n] == ',');
	}
	return 0;
}

static int
check_monitors(const char *monitors, struct err *err)
{
	if (str_is_empty(monitors))
		return err_set(err, ERR_INVALID_ARGUMENT, "monitors: missing");
	if (monitors[strcspn(monitors, "\f\n\r\t\v")] != '\0')
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "monitors: \"%s\" cannot be given to the kernel", monitors);
	return 0;
}

static int
check_spec(const struct device_spec *spec, struct err *err)
{
	int rc = rules_pool("pool", spec->pool, err);

	if (rc == 0)
		rc = rules_image("image", spec->image, err);
	if (rc == 0)
		rc = rules_user("userID", spec->user, err);
	if (rc == 0)
		rc = check_monitors(spec->monitors, err);
	if (rc == 0 && !str_is_empty(spec->rados_namespace))
		rc = rules_namespace(
		    "radosNamespace", spec->rados_namespace, err);
	if (rc == 0)
		rc = rules_krbd_options("mapOptions", spec->map_options, err);
	return rc;
}

int
krbd_line_fmt(
    const struct device_spec *spec, char *out, size_t size, struct err *err)
{
	const char *mode = "";
	bool chosen = rules_option_find(spec->map_options, "ms_mode", &mode);
	bool msgr2 = chosen && !str_starts(mode, "legacy");
	int rc = check_spec(spec, err);

	if (rc < 0)
		return rc;
	out[0] = '\0';
	rc = append_monitors(out, size, spec->monitors, msgr2, err);
	if (rc == 0 && out[0] == '\0' && !chosen) {
		msgr2 = true;
		rc = append_monitors(out, size, spec->monitors, msgr2, err);
	}
	if (rc < 0)
		return rc;
	if (out[0] == '\0')
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "none of the "
		    "monitors %s speaks the protocol of ms_mode",
		    spec->monitors);
	if (append(out, size, " name=") < 0 ||
	    append(out, size, spec->user) < 0 ||
	    append(out, size, ",key=client.") < 0 ||
	    append(out, size, spec->user) < 0 ||
	    (msgr2 && !chosen &&
		append(out, size, ",ms_mode=prefer-crc") < 0) ||
	    append_options(out, size, spec->map_options) < 0 ||
	    (spec->read_only && append(out, size, ",ro") < 0) ||
	    (!str_is_empty(spec->rados_namespace) &&
		(append(out, size, ",_pool_ns=") < 0 ||
		    append(out, size, spec->rados_namespace) < 0)) ||
	    append(out, size, " ") < 0 || append(out, size, spec->pool) < 0 ||
	    append(out, size, " ") < 0 || append(out, size, spec->image) < 0 ||
	    append(out, size, " -") < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "monitors and map options are too long for the kernel");
	return 0;
}

bool
krbd_monitors_meet(const char *a, const char *b)
{
	struct mon one, two;

	while (a != NULL && next_mon(&a, &one) == 1) {
		const char *rest = b;

		while (rest != NULL && next_mon(&rest, &two) == 1)
			if (strcmp(one.host, two.host) == 0 &&
			    (one.port == two.port || one.port == 0 ||
				two.port == 0))
				return true;
	}
	return false;
}
