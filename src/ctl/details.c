/*
 * details.c - google.rpc.Status and ErrorInfo, for people.
 */
#include "ctl/details.h"

#include "base/str.h"
#include "grpc/status.pb-c.h"

#include <string.h>

/* A terminal takes no orders from a server. */
static void
print_text(FILE *out, const char *text)
{
	for (; *text != '\0'; text++)
		(void)fputc(
		    (unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text,
		    out);
}

static void
print_info(FILE *out, const ProtobufCBinaryData *value)
{
	Google__Rpc__ErrorInfo *info = google__rpc__error_info__unpack(
	    NULL, value->len, value->data);

	if (info == NULL) {
		(void)fputs("(garbled)\n", out);
		return;
	}
	(void)fputs("reason ", out);
	print_text(out, info->reason);
	(void)fputs(", domain ", out);
	print_text(out, info->domain);
	(void)fputc('\n', out);
	for (size_t i = 0; i < info->n_metadata; i++) {
		(void)fputs("    ", out);
		print_text(out, info->metadata[i]->key);
		(void)fputs(": ", out);
		print_text(out, info->metadata[i]->value);
		(void)fputc('\n', out);
	}
	google__rpc__error_info__free_unpacked(info, NULL);
}

void
ctl_details_print(FILE *out, const void *bytes, size_t len)
{
	Google__Rpc__Status *status = google__rpc__status__unpack(
	    NULL, len, bytes);

	if (status == NULL) {
		(void)fputs("  (details are garbled)\n", out);
		return;
	}
	for (size_t i = 0; i < status->n_details; i++) {
		const Google__Protobuf__Any *detail = status->details[i];
		/* What is behind the last slash is all that counts. */
		const char *slash = strrchr(detail->type_url, '/');
		const char *name = slash != NULL ? slash + 1 : detail->type_url;

		(void)fputs("  ", out);
		print_text(out, name);
		(void)fputs(": ", out);
		if (str_eq(name, "google.rpc.ErrorInfo"))
			print_info(out, &detail->value);
		else
			(void)fprintf(out, "%zu bytes\n", detail->value.len);
	}
	google__rpc__status__free_unpacked(status, NULL);
}
