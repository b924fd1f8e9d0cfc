/*
 * session_mem.c - the memory of sessions: what a parked session costs, that it
 * is the same when it is woken, and what does not fit into a region.
 */
#include "rpc/session_mem.h"

#include "base/buf.h"
#include "tests/tap.h"

#include <sys/mman.h>
#include <unistd.h>

#define PARKED_MAX 3000 /* bytes; a session has 25,000 */

static nghttp2_session_callbacks *callbacks;
static nghttp2_session *server, *client;
static struct session_mem mem;
static unsigned answered;

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	const nghttp2_nv nv[] = {
		{ (uint8_t *)":status", (uint8_t *)"200", 7, 3, 0 },
		{ (uint8_t *)"x-number", (uint8_t *)"12345", 8, 5, 0 },
	};

	(void)arg;
	if (frame->hd.type == NGHTTP2_HEADERS &&
	    nghttp2_session_check_server_session(session) &&
	    nghttp2_submit_response(
		session, frame->hd.stream_id, nv, countof(nv), NULL) < 0)
		abort();
	return 0;
}

static int
on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
	(void)id;
	(void)arg;
	if (!nghttp2_session_check_server_session(session) && error == 0)
		answered++;
	return 0;
}

static bool
move(nghttp2_session *from, nghttp2_session *to)
{
	const uint8_t *bytes;
	bool moved = false;
	ssize_t n;

	while ((n = nghttp2_session_mem_send(from, &bytes)) > 0) {
		moved = true;
		if (nghttp2_session_mem_recv(to, bytes, (size_t)n) != n)
			abort();
	}
	return moved;
}

static void
talk(void)
{
	bool moved;

	do {
		moved = move(client, server);
		moved |= move(server, client);
	} while (moved);
}

/* So many requests at once, each with fields that HPACK remembers. */
static void
ask(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char text[32];
		int len = snprintf(text, sizeof(text), "value-%u", i % 100);
		const nghttp2_nv nv[] = {
			{ (uint8_t *)":method", (uint8_t *)"POST", 7, 4, 0 },
			{ (uint8_t *)":path", (uint8_t *)"/csi.v1.Node/X", 5,
			    14, 0 },
			{ (uint8_t *)"x-some", (uint8_t *)text, 6, (size_t)len,
			    0 },
		};

		if (nghttp2_submit_request(
			client, NULL, nv, countof(nv), NULL, NULL) < 0)
			abort();
	}
	talk();
}

static void
open_both(void)
{
	const nghttp2_settings_entry many = {
		NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000
	};
	nghttp2_option *option;

	if (nghttp2_option_new(&option) < 0)
		abort();
	nghttp2_option_set_no_http_messaging(option, 1);
	nghttp2_option_set_no_closed_streams(option, 1);
	if (session_mem_new(&mem, &server, nghttp2_session_server_new3,
		callbacks, NULL, option) < 0 ||
	    nghttp2_session_client_new2(&client, callbacks, NULL, option) < 0 ||
	    nghttp2_submit_settings(server, 0, &many, 1) < 0 ||
	    nghttp2_submit_settings(client, 0, NULL, 0) < 0)
		abort();
	nghttp2_option_del(option);
	talk();
	answered = 0;
}

static void
close_both(void)
{
	session_mem_fini(&mem);
	nghttp2_session_del(client);
}

/* How many pages of a session's region are in memory. */
static unsigned
resident_pages(const void *region)
{
	unsigned char pages[8];
	unsigned n = 0;

	if (sysconf(_SC_PAGESIZE) != 4096 ||
	    mincore((void *)(uintptr_t)region, sizeof(pages) * 4096, pages) < 0)
		abort();
	for (size_t i = 0; i < sizeof(pages); i++)
		n += pages[i] & 1;
	return n;
}

static void
parked_sessions_are_small(void)
{
	open_both();
	ask(1);
	ok(resident_pages(mem.region) > 0, "a session has pages");
	ok(session_mem_park(&mem), "it can be parked");
	is_int(resident_pages(mem.region), 0, "... and has none then");
	ok(mem.parked_len > 0 && mem.parked_len < PARKED_MAX,
	    "... but some %zu bytes", mem.parked_len);
	close_both();
	ok(mem.region == NULL && mem.parked == NULL,
	    "a parked session can go without being woken");
}

static void
woken_sessions_go_on(void)
{
	unsigned wanted = 0;

	open_both();
	for (unsigned round = 1; round <= 50; round++) {
		ask(round);
		wanted += round;
		if (!session_mem_park(&mem))
			abort();
		session_mem_wake(&mem);
		session_mem_wake(&mem);
	}
	is_int(
	    answered, wanted, "%u requests, parked 50 times meanwhile", wanted);
	close_both();
}

static void
parking_between_bytes_changes_nothing(void)
{
	const uint8_t *bytes;
	ssize_t n;

	open_both();
	for (int i = 0; i < 20; i++) {
		const nghttp2_nv nv = { (uint8_t *)":path", (uint8_t *)"/x", 5,
			2, 0 };

		if (nghttp2_submit_request(client, NULL, &nv, 1, NULL, NULL) <
		    0)
			abort();
	}
	while ((n = nghttp2_session_mem_send(client, &bytes)) > 0)
		for (ssize_t i = 0; i < n; i++) {
			if (!session_mem_park(&mem))
				abort();
			session_mem_wake(&mem);
			if (nghttp2_session_mem_recv(server, bytes + i, 1) != 1)
				abort();
		}
	talk();
	is_int(answered, 20, "a session may be parked inside a frame");
	close_both();
}

static void
more_than_a_region_is_had(void)
{
	open_both();
	ask(900);
	is_int(answered, 900, "900 streams at once do not fit, but work");
	ask(900);
	is_int(answered, 1800, "... and again");
	if (!session_mem_park(&mem))
		abort();
	session_mem_wake(&mem);
	ask(900);
	is_int(
	    answered, 2700, "... and when it was parked with blocks outside");
	close_both();
}

static void
regions_are_used_again(void)
{
	enum { MANY = 200 };
	static struct session_mem many[MANY];
	nghttp2_session *session;
	const void *last;

	for (int i = 0; i < MANY; i++)
		if (session_mem_new(&many[i], &session,
			nghttp2_session_server_new3, callbacks, NULL, NULL) < 0)
			abort();
	last = many[MANY - 1].region;
	for (int i = 0; i < MANY; i++)
		session_mem_fini(&many[i]);
	is_int(resident_pages(last), 0,
	    "what %d sessions had has gone back to the kernel", MANY);
	open_both();
	session_mem_fini(&mem);
	last = NULL;
	nghttp2_session_del(client);
	open_both();
	ask(1);
	is_int(answered, 1, "a region that was used is as good as a new one");
	close_both();
}

int
main(void)
{
	if (nghttp2_session_callbacks_new(&callbacks) < 0)
		return 1;
	nghttp2_session_callbacks_set_on_frame_recv_callback(
	    callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_stream_close_callback(
	    callbacks, on_stream_close);
	parked_sessions_are_small();
	woken_sessions_go_on();
	parking_between_bytes_changes_nothing();
	more_than_a_region_is_had();
	regions_are_used_again();
	nghttp2_session_callbacks_del(callbacks);
	return tap_end();
}
