package h2spec

import (
	"errors"
	"io"
)

// RFC 9113 6.2, 6.10 and 3.4.
const (
	typeHeaders      = 1
	typeContinuation = 9
	flagEndHeaders   = 0x4
	flagPadded       = 0x8
	flagPriority     = 0x20
	headBytes        = 9
	prefaceBytes     = 24
)

// HPACK, RFC 7541 appendix A: indexed fields, and a literal without indexing, which leaves the
// dynamic table alone.
const (
	methodGet   = 0x82
	methodPost  = 0x83
	contentType = "\x0f\x10\x10application/grpc"
)

// dress copies what an HTTP/2 client sends, but makes its requests calls: h2spec's are GET, or POST,
// without a content-type; a gRPC server answers those at once, so that most cases would be over
// before they begin. Frames that are no such requests pass as they are.
func dress(to io.Writer, from io.Reader) error {
	err := pass(to, from, prefaceBytes)
	request := false
	for err == nil {
		frame := make([]byte, headBytes)
		n, rerr := io.ReadFull(from, frame)
		if rerr == nil {
			body := make([]byte, int(frame[0])<<16|int(frame[1])<<8|int(frame[2]))
			n, rerr = io.ReadFull(from, body)
			frame = append(frame, body[:n]...)
			if rerr == nil {
				frame = dressFrame(frame, &request)
			}
		} else {
			frame = frame[:n]
		}
		if _, err = to.Write(frame); err == nil {
			err = rerr
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// dressFrame keeps in request whether a header list is one to which a content-type is to be added.
func dressFrame(frame []byte, request *bool) []byte {
	kind, flags, body := frame[3], frame[4], frame[headBytes:]
	start, padding := 0, 0
	if kind == typeHeaders {
		if flags&flagPadded != 0 && len(body) > 0 {
			start, padding = 1, int(body[0])
		}
		if flags&flagPriority != 0 {
			start += 5
		}
		*request = start+padding < len(body) &&
			(body[start] == methodGet || body[start] == methodPost)
		if *request {
			body[start] = methodPost
		}
	}
	if !*request || (kind != typeHeaders && kind != typeContinuation) || flags&flagEndHeaders == 0 {
		return frame
	}
	*request = false
	end := len(frame) - padding
	frame = append(frame[:end:end], contentType+string(frame[end:])...)
	size := len(frame) - headBytes
	frame[0], frame[1], frame[2] = byte(size>>16), byte(size>>8), byte(size)
	return frame
}

func pass(to io.Writer, from io.Reader, n int64) error {
	_, err := io.CopyN(to, from, n)
	return err
}
