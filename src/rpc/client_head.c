/*
 * client_head.c - the header lists of an answer.
 */
#include "rpc/client_head.h"

#include <stdio.h>
#include <string.h>

#define LISTS_MAX ((size_t)64 << 10) /* nghttp2 takes as much of one list */
#define TEXT_MAX ((size_t)8 << 10)
#define FIELD_OVERHEAD 32 /* RFC 9113 6.5.2 */

void
client_head_fini(struct client_head *head)
{
	free(head->text);
	free(head->details);
	metadata_fini(&head->headers);
	metadata_fini(&head->trailers);
	*head = (struct client_head){ .http_status = 0 };
}

/* "Error parsing returned status" is UNKNOWN, and so are unknown numbers. */
static void
note_status(struct client_head *head, const char *value, size_t len)
{
	unsigned n = 0;

	head->bad_status = head->has_status || len == 0 || len > 2 ||
	    (len == 2 && value[0] == '0');
	head->has_status = true;
	for (size_t i = 0; i < len && !head->bad_status; i++) {
		if (value[i] < '0' || value[i] > '9')
			head->bad_status = true;
		n = n * 10 + (unsigned)(value[i] - '0');
	}
	if (n > ERR_UNAUTHENTICATED)
		head->bad_status = true;
	head->code = head->bad_status ? ERR_UNKNOWN : (enum err_code)n;
}

static bool
name_is(const char *name, size_t len, const char *word)
{
	return len == strlen(word) && memcmp(name, word, len) == 0;
}

bool
client_head_field(struct client_head *head, const char *name, size_t name_len,
    const char *value, size_t value_len)
{
	size_t len = value_len;
	uint64_t number;
	long n;

	head->bytes += name_len + len + FIELD_OVERHEAD;
	if (head->bytes > LISTS_MAX)
		return false;
	if (name_is(name, name_len, ":status")) {
		char digits[4] = "";

		if (len == 3)
			memcpy(digits, value, len);
		head->http_status = str_to_u64(digits, &number) == 0
		    ? (unsigned)number
		    : 0;
	} else if (name_is(name, name_len, "grpc-status")) {
		note_status(head, value, len);
	} else if (name_is(name, name_len, "content-type")) {
		head->is_grpc = grpc_content_type_is(value, len);
		if (len >= sizeof(head->type))
			len = sizeof(head->type) - 1;
		memcpy(head->type, value, len);
		head->type[len] = '\0';
	} else if (name_is(name, name_len, "grpc-message")) {
		if (len > TEXT_MAX)
			len = TEXT_MAX;
		free(head->text);
		head->text = mem_new(len + 1);
		(void)grpc_percent_decode(head->text, value, len);
	} else if (name_is(name, name_len, "grpc-status-details-bin")) {
		free(head->details);
		head->details = mem_new(len + 1);
		n = str_unbase64(head->details, len, value, len);
		head->details_len = n > 0 ? (size_t)n : 0;
		if (n < 0)
			free(take_ptr(&head->details));
	} else {
		return metadata_note(
			   head->answering ? &head->trailers : &head->headers,
			   name, name_len, value, len) == 0;
	}
	return true;
}

void
client_head_end(struct client_head *head, bool ends_stream)
{
	if (head->http_status >= 100 && head->http_status < 200) {
		client_head_fini(head); /* "100 Continue" and the like */
		return;
	}
	if (ends_stream && !head->answering) { /* Trailers-Only */
		head->trailers = head->headers;
		head->headers = (struct metadata){ .count = 0 };
	}
	head->answering = true;
}

bool
client_head_takes_data(const struct client_head *head)
{
	return head->is_grpc && head->http_status == 200;
}

enum err_code
client_head_verdict(const struct client_head *head, char text[CLIENT_TEXT_MAX],
    const char **why)
{
	*why = text;
	if (head->bad_status) {
		(void)snprintf(text, CLIENT_TEXT_MAX,
		    "answer has a malformed grpc-status%s%s",
		    head->text != NULL ? ": " : "",
		    head->text != NULL ? head->text : "");
		return ERR_UNKNOWN;
	}
	/* The code that came counts, unless it says that all is well where
	 * no message can be. */
	if (head->has_status &&
	    (head->code != ERR_OK || client_head_takes_data(head))) {
		*why = head->text;
		return head->code;
	}
	(void)snprintf(text, CLIENT_TEXT_MAX,
	    "answer has HTTP status %u, content type \"%s\" and %s",
	    head->http_status, head->type,
	    head->has_status ? "grpc-status 0" : "no grpc-status");
	switch (head->http_status) {
	case 400:
	case 431:
		return ERR_INTERNAL;
	case 401:
		return ERR_UNAUTHENTICATED;
	case 403:
		return ERR_PERMISSION_DENIED;
	case 404:
		return ERR_UNIMPLEMENTED;
	case 429:
	case 502:
	case 503:
	case 504:
		return ERR_UNAVAILABLE;
	default:
		return ERR_UNKNOWN;
	}
}

enum err_code
client_head_code_of_reset(uint32_t reset_code)
{
	switch (reset_code) {
	case NGHTTP2_REFUSED_STREAM:
		return ERR_UNAVAILABLE;
	case NGHTTP2_CANCEL:
		return ERR_CANCELLED;
	case NGHTTP2_ENHANCE_YOUR_CALM:
		return ERR_RESOURCE_EXHAUSTED;
	case NGHTTP2_INADEQUATE_SECURITY:
		return ERR_PERMISSION_DENIED;
	default:
		return ERR_INTERNAL;
	}
}
