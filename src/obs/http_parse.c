/*
 * http_parse.c - request line and header fields. Lines may end with LF alone,
 * which RFC 9112 2.2 allows a server to take.
 */
#include "obs/http_parse.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

size_t
http_head_len(const char *bytes, size_t len)
{
	size_t line = 0; /* where it begins */

	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != '\n')
			continue;
		if (line > 0 &&
		    (i == line || (i == line + 1 && bytes[line] == '\r')))
			return i + 1;
		line = i + 1;
	}
	return 0;
}

/* Cuts the next line off *at, without its end; NULL if a NUL is in it. */
static char *
next_line(char **at)
{
	char *line = *at, *end = strchr(line, '\n');

	if (end == NULL)
		return NULL;
	*at = end + 1;
	if (end > line && end[-1] == '\r')
		end--;
	*end = '\0';
	return line;
}

static bool
is_token(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) &&
		    (text[i] == '\0' ||
			strchr("!#$%&'*+-.^_`|~", text[i]) == NULL))
			return false;
	return len > 0;
}

/* "HTTP/1.x"; *minor is x. */
static int
parse_version(const char *text, int *minor)
{
	if (!str_starts(text, "HTTP/") || !isdigit((unsigned char)text[5]) ||
	    text[6] != '.' || !isdigit((unsigned char)text[7]) ||
	    text[8] != '\0')
		return 400;
	*minor = text[7] - '0';
	return text[5] == '1' ? 200 : 505;
}

/* "/path?query", or a whole URL, as a proxy is sent it. */
static int
parse_target(char *target, struct http_head *head)
{
	if (str_starts(target, "http://")) {
		target = strchr(target + strlen("http://"), '/');
		if (target == NULL)
			return 400;
	}
	if (*target != '/')
		return 400;
	head->path = target;
	target[strcspn(target, "?#")] = '\0';
	return 200;
}

static int
parse_request_line(char *line, struct http_head *head, int *minor)
{
	char *target = strchr(line, ' ');
	char *version = target != NULL ? strchr(target + 1, ' ') : NULL;
	int status;

	if (version == NULL || !is_token(line, (size_t)(target - line)))
		return 400;
	*target++ = '\0';
	*version++ = '\0';
	status = parse_version(version, minor);
	if (status == 200)
		status = parse_target(target, head);
	if (status != 200)
		return status;
	head->is_head = str_eq(line, "HEAD");
	return head->is_head || str_eq(line, "GET") ? 200 : 405;
}

int
http_head_parse(char *bytes, size_t len, struct http_head *head)
{
	unsigned hosts = 0;
	int minor = 0, status;
	char *at = bytes, *line;

	*head = (struct http_head){ .path = NULL };
	bytes[len] = '\0';
	line = next_line(&at);
	if (line == NULL)
		return 400;
	status = parse_request_line(line, head, &minor);
	if (status == 400 || status == 505)
		return status;
	while ((line = next_line(&at)) != NULL && *line != '\0') {
		size_t name = strcspn(line, ":");

		if (line[name] != ':' || !is_token(line, name))
			return 400;
		hosts += name == 4 && strncasecmp(line, "host", 4) == 0;
	}
	if (line == NULL || at != bytes + len || hosts > 1 ||
	    (hosts == 0 && minor >= 1))
		return 400;
	return status;
}

const char *
http_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} known[] = { { 200, "OK" }, { 400, "Bad Request" },
		{ 404, "Not Found" }, { 405, "Method Not Allowed" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 503, "Service Unavailable" },
		{ 505, "HTTP Version Not Supported" } };

	for (size_t i = 0; i < countof(known); i++)
		if (known[i].status == status)
			return known[i].reason;
	return "Unknown";
}
