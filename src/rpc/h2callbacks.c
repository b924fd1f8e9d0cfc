/*
 * h2callbacks.c - nghttp2's callbacks of the server side: they note, and do
 * nothing else.
 */
#include "rpc/h2conn.h"

#include <string.h>

static struct h2stream *
stream_get(nghttp2_session *session, const nghttp2_frame *frame)
{
	return nghttp2_session_get_stream_user_data(
	    session, frame->hd.stream_id);
}

static int
on_begin_headers(
    nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2conn *conn = arg;
	int32_t id = frame->hd.stream_id;
	struct h2stream *s;

	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		s = h2stream_new(conn, id);
		if (s == NULL) {
			conn->host->counters.streams_refused++;
			(void)nghttp2_submit_rst_stream(session,
			    NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
			return 0;
		}
		conn->called = true;
		timeout_disarm(&conn->wait);
		(void)nghttp2_session_set_stream_user_data(session, id, s);
		return 0;
	}
	s = stream_get(session, frame);
	if (s != NULL)
		s->in_trailers = true;
	return 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value,
    size_t value_len, uint8_t flags, void *arg)
{
	struct h2stream *s = stream_get(session, frame);

	(void)flags;
	(void)arg;
	if (s != NULL)
		h2stream_on_field(s, (const char *)name, name_len,
		    (const char *)value, value_len);
	return 0;
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2conn *conn = arg;
	bool is_ack = (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
	struct h2stream *s;

	if (frame->hd.type == NGHTTP2_PING && is_ack &&
	    memcmp(frame->ping.opaque_data, h2conn_drain_ping,
		sizeof(h2conn_drain_ping)) == 0)
		conn->go_known = true;
	if (frame->hd.type == NGHTTP2_SETTINGS &&
	    conn->wait.list == &conn->host->handshake)
		timeout_arm(&conn->wait, &conn->host->first_call);
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	s = stream_get(session, frame);
	if (s == NULL)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS)
		h2stream_on_headers(
		    s, (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0);
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		h2stream_on_input_end(s);
	return 0;
}

static int
on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id,
    const uint8_t *bytes, size_t len, void *arg)
{
	struct h2stream *s = nghttp2_session_get_stream_user_data(session, id);

	(void)flags;
	(void)arg;
	/* The connection's window stays open: streams wait on their own. */
	(void)nghttp2_session_consume_connection(session, len);
	if (s != NULL)
		h2stream_on_data(s, bytes, len);
	return 0;
}

static int
on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2conn *conn = arg;
	struct h2stream *s;

	switch (frame->hd.type) {
	case NGHTTP2_GOAWAY:
		if (!conn->peer_went &&
		    frame->goaway.error_code != NGHTTP2_NO_ERROR)
			h2guard_blame(conn, SERVER_FAULT_PROTOCOL,
			    frame->goaway.error_code);
		return 0;
	case NGHTTP2_RST_STREAM:
		if (frame->hd.stream_id > conn->reset_id)
			conn->reset_id = frame->hd.stream_id;
		if (frame->rst_stream.error_code != NGHTTP2_NO_ERROR)
			h2guard_spend(conn, 1);
		return 0;
	case NGHTTP2_HEADERS:
	case NGHTTP2_DATA:
		h2guard_earn(conn);
		break;
	default:
		return 0;
	}
	if (frame->hd.type == NGHTTP2_HEADERS &&
	    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
	    (s = stream_get(session, frame)) != NULL)
		h2stream_on_output_end(s);
	return 0;
}

/*
 * What nghttp2 itself refuses: a stream too many, or a mistake.
 *
 * grpc-go says good-bye with the number of its own last stream where that of
 * ours belongs. kubelet does so after each call: no reason for a warning.
 */
static int
on_invalid_frame(
    nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
	struct h2conn *conn = arg;

	(void)session;
	if (frame->hd.type == NGHTTP2_GOAWAY)
		conn->peer_went = true;
	/* It is reset from here on, whenever that is sent. */
	if (frame->hd.stream_id > conn->reset_id)
		conn->reset_id = frame->hd.stream_id;
	if (error == NGHTTP2_ERR_REFUSED_STREAM)
		conn->host->counters.streams_refused++;
	else
		h2guard_spend(conn, H2GUARD_MISTAKE);
	return 0;
}

static int
on_stream_close(
    nghttp2_session *session, int32_t id, uint32_t error_code, void *arg)
{
	struct h2stream *s = nghttp2_session_get_stream_user_data(session, id);

	(void)error_code;
	(void)arg;
	if (s != NULL) {
		(void)nghttp2_session_set_stream_user_data(session, id, NULL);
		h2stream_on_close(s);
	}
	return 0;
}

void
h2callbacks_fill(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_on_begin_headers_callback(
	    cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
	    cb, on_invalid_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
	    cb, on_data_chunk);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_stream_close_callback(
	    cb, on_stream_close);
}
