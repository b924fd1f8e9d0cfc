/*
 * wire.h - attach.proto as plain structs, for both sides. With wire.c the
 * only place in the userspace mapper that knows protobuf.
 */
#ifndef ATTACH_WIRE_H
#define ATTACH_WIRE_H

#include "attach/table.h"

/* Longest frame; a request holds four names at most. */
#define WIRE_FRAME_MAX (16 * 1024)
#define WIRE_QUEUE_MAX (1024 * 1024)

/* Descriptors of a rbd-attachd, as it is started and for as long as it lives. */
enum {
	WIRE_FD_CHANNEL = 3,
	WIRE_FD_FUSE,
	WIRE_FD_TABLE,
};

enum wire_kind {
	WIRE_HELLO = 0,
	WIRE_ATTACH,
	WIRE_DETACH,
	WIRE_ABORT,
	WIRE_STATUS,
	WIRE_DRAIN,
};

struct wire_request {
	uint64_t id;
	enum wire_kind kind;
	bool want_descriptors;
	struct table_image image; /* strings: borrowed when packed */
	uint64_t ino;
	void *unpacked; /* wire_request_fini() frees it */
};

enum wire_body {
	WIRE_NOTHING = 0,
	WIRE_READY,
	WIRE_ATTACHED,
	WIRE_COUNTERS,
	WIRE_FAILED,
};

enum wire_scope {
	WIRE_SCOPE_START = 0, /* no Ceph session (yet) */
	WIRE_SCOPE_RETIRED,   /* serves what it has, takes nothing new */
	WIRE_SCOPE_LOST,      /* nothing of it can be read or written again */
};

struct wire_answer {
	uint64_t id; /* 0: an event */
	struct err err;
	enum wire_body body;
	union {
		struct {
			uint32_t pid, generation;
			bool starting;
			char version[32];
		} ready;
		struct {
			uint64_t ino, size_bytes;
			char file[TABLE_FILE_MAX];
			bool existed, read_only;
		} attached;
		struct {
			uint32_t generation, images, requests;
			uint64_t held_bytes, reads, writes, flushes, zeroes;
		} counters;
		struct {
			char step[32];
			enum wire_scope scope;
		} failed;
	};
};

/* Packs into buf[WIRE_FRAME_MAX]. Returns the length or -EMSGSIZE. */
int wire_request_pack(const struct wire_request *request, void *buf);
int wire_answer_pack(const struct wire_answer *answer, void *buf);

/* 0 or -EBADMSG. After success wire_request_fini() is due. */
int wire_request_unpack(
    struct wire_request *request, const void *bytes, size_t len) must_check;
void wire_request_fini(struct wire_request *request);
int wire_answer_unpack(
    struct wire_answer *answer, const void *bytes, size_t len) must_check;

#endif
