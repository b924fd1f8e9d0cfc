/*
 * script.c - conversations of a client as bytes.
 */
#include "tests/rpc/script.h"

#include "rpc/grpc.h"

#include <string.h>

#define BYTES_MAX ((size_t)1 << 20)
#define LIST_MAX 4096
#define TABLE_BYTES 4096

static struct script_frame *
border(struct script *script)
{
	struct script_frame *frame = &script->frame[script->frames++];

	if (script->frames > SCRIPT_FRAMES_MAX)
		abort();
	*frame = (struct script_frame){ .end = script->bytes.len };
	return frame;
}

void
script_frame(struct script *script, uint8_t type, uint8_t flags, int32_t id,
    const void *payload, size_t len)
{
	frame_put(&script->bytes, type, flags, id, payload, len);
	(void)border(script);
}

void
script_init(
    struct script *script, const char *name, uint16_t id, uint32_t value)
{
	unsigned char entry[6] = { (unsigned char)(id >> 8),
		(unsigned char)id };

	*script = (struct script){ .name = name };
	buf_init(&script->bytes, BYTES_MAX);
	if (nghttp2_hd_deflate_new(&script->deflater, TABLE_BYTES) < 0)
		abort();
	if (buf_append(&script->bytes, NGHTTP2_CLIENT_MAGIC,
		NGHTTP2_CLIENT_MAGIC_LEN) < 0)
		abort();
	(void)border(script);
	frame_put_u32(entry + 2, value);
	script_frame(script, NGHTTP2_SETTINGS, 0, 0, entry, id != 0 ? 6 : 0);
	script_frame(script, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, "", 0);
}

void
script_fini(struct script *script)
{
	nghttp2_hd_deflate_del(script->deflater);
	buf_fini(&script->bytes);
}

/* Notes that the header list of `id` is whole; trailers open nothing. */
static void
opened(struct script *script, int32_t id)
{
	for (size_t i = 0; i < SCRIPT_STREAMS_MAX; i++) {
		if (script->headed[i] == id)
			return;
		if (script->headed[i] != 0)
			continue;
		script->headed[i] = id;
		script->frame[script->frames - 1].opens = id;
		return;
	}
	abort();
}

void
script_headers(struct script *script, int32_t id, const struct field *fields,
    size_t count, bool ends, bool cut)
{
	unsigned char list[LIST_MAX];
	nghttp2_nv nv[FIELDS_MAX];
	uint8_t flags = ends ? NGHTTP2_FLAG_END_STREAM : 0;
	ssize_t len;
	size_t half;

	for (size_t i = 0; i < count; i++)
		nv[i] = (nghttp2_nv){
			.name = (uint8_t *)(uintptr_t)fields[i].name,
			.namelen = strlen(fields[i].name),
			.value = (uint8_t *)(uintptr_t)fields[i].value,
			.valuelen = strlen(fields[i].value),
		};
	len = nghttp2_hd_deflate_hd(
	    script->deflater, list, sizeof(list), nv, count);
	if (len < 0)
		abort();
	half = cut ? (size_t)len / 2 : (size_t)len;
	script_frame(script, NGHTTP2_HEADERS,
	    flags | (cut ? 0 : NGHTTP2_FLAG_END_HEADERS), id, list, half);
	if (cut) {
		script->frame[script->frames - 1].splits = true;
		script_frame(script, NGHTTP2_CONTINUATION,
		    NGHTTP2_FLAG_END_HEADERS, id, list + half,
		    (size_t)len - half);
	}
	opened(script, id);
}

void
script_post(struct script *script, int32_t id, const char *path,
    const struct field *others, size_t count)
{
	struct field fields[FIELDS_MAX] = {
		{ ":method", "POST" },
		{ ":scheme", "http" },
		{ ":path", path },
		{ ":authority", "localhost" },
		{ "content-type", "application/grpc" },
		{ "te", "trailers" },
	};

	for (size_t i = 0; i < count; i++)
		fields[6 + i] = others[i];
	script_headers(script, id, fields, 6 + count, false, false);
}

void
script_data(
    struct script *script, int32_t id, const void *bytes, size_t len, bool ends)
{
	script_frame(script, NGHTTP2_DATA, ends ? NGHTTP2_FLAG_END_STREAM : 0,
	    id, bytes, len);
}

void
script_message(struct script *script, int32_t id, const char *text, bool ends)
{
	size_t len = strlen(text);
	auto_free unsigned char *body = mem_new(GRPC_PREFIX_BYTES + len);

	grpc_prefix_put(body, (uint32_t)len);
	memcpy(body + GRPC_PREFIX_BYTES, text, len);
	script_data(script, id, body, GRPC_PREFIX_BYTES + len, ends);
}

void
script_word(struct script *script, uint8_t type, int32_t id, uint32_t value)
{
	unsigned char word[4];

	frame_put_u32(word, value);
	script_frame(script, type, 0, id, word, sizeof(word));
}
