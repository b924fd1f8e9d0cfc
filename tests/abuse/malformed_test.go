package abuse

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const endHeaders, endStream = http2.FlagHeadersEndHeaders, http2.FlagHeadersEndStream

func code(c http2.ErrCode) []http2.ErrCode { return []http2.ErrCode{c} }

// malformedThings break HTTP/2, once or all the time.
var malformedThings = []attack{
	once("no HTTP/2 at all", http2.ErrCodeProtocol, func(w *wire) {
		w.raw([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	}),
	once("no SETTINGS behind the preface", http2.ErrCodeProtocol, func(w *wire) {
		w.raw([]byte(http2.ClientPreface))
		w.headers(getInfo, true)
	}),
	broken("a frame that is too large", http2.ErrCodeFrameSize, func(w *wire) {
		w.headers(getInfo, false)
		w.frame(http2.FrameData, 0, 1, make([]byte, 100), 1<<24-1)
	}),
	broken("SETTINGS of an odd length", http2.ErrCodeFrameSize, func(w *wire) {
		w.frame(http2.FrameSettings, 0, 0, make([]byte, 5))
	}),
	broken("SETTINGS answers that nobody asked for", http2.ErrCodeProtocol, func(w *wire) {
		w.check(w.framer.WriteSettingsAck())
		w.check(w.framer.WriteSettingsAck())
	}),
	broken("PING of a wrong length", http2.ErrCodeFrameSize, func(w *wire) {
		w.frame(http2.FramePing, 0, 0, make([]byte, 7))
	}),
	broken("large SETTINGS (CVE-2020-11080)", http2.ErrCodeEnhanceYourCalm, func(w *wire) {
		w.set(make([]http2.Setting, 2700)...)
	}),
	broken("a window that is too large", http2.ErrCodeFlowControl, func(w *wire) {
		w.set(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
	}),
	broken("the connection's window overflows", http2.ErrCodeFlowControl, func(w *wire) {
		w.check(w.framer.WriteWindowUpdate(0, 1<<31-1))
	}),
	broken("DATA on a stream that was never opened", http2.ErrCodeProtocol, func(w *wire) {
		w.check(w.framer.WriteData(7, true, []byte{1}))
	}),
	broken("DATA on stream 0", http2.ErrCodeProtocol, func(w *wire) {
		w.frame(http2.FrameData, 0, 0, []byte{1})
	}),
	broken("HEADERS with the number of a server's stream", http2.ErrCodeProtocol, func(w *wire) {
		w.frame(http2.FrameHeaders, endHeaders, 2, w.encode(grpcFields(getInfo)))
	}),
	broken("CONTINUATION without HEADERS", http2.ErrCodeProtocol, func(w *wire) {
		w.frame(http2.FrameContinuation, endHeaders, 1, w.encode(grpcFields(getInfo)))
	}),
	broken("another frame inside a header list", http2.ErrCodeProtocol, func(w *wire) {
		w.frame(http2.FrameHeaders, 0, 1, w.encode(grpcFields(getInfo)))
		w.ping(false)
	}),
	broken("PUSH_PROMISE from a client", http2.ErrCodeProtocol, func(w *wire) {
		w.frame(http2.FramePushPromise, endHeaders, 1, append([]byte{0, 0, 0, 2}, w.encode(grpcFields(getInfo))...))
	}),
	broken("padding longer than its frame", http2.ErrCodeProtocol, func(w *wire) {
		w.headers(getInfo, false)
		w.frame(http2.FrameData, http2.FlagDataPadded, 1, []byte{200, 0, 0})
	}),
	broken("more DATA than the window", http2.ErrCodeFlowControl, func(w *wire) {
		for range 300 { // more than can be taken and acknowledged meanwhile
			w.check(w.framer.WriteData(w.headers(getInfo, false), false, make([]byte, 16384)))
		}
	}),
	broken("broken HPACK", http2.ErrCodeCompression, func(w *wire) {
		w.frame(http2.FrameHeaders, endHeaders, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	}),
	broken("an index that no table has", http2.ErrCodeCompression, func(w *wire) {
		w.frame(http2.FrameHeaders, endHeaders, 1, []byte{0x80 | 100})
	}),
	broken("HPACK: a larger table than was offered", http2.ErrCodeCompression, func(w *wire) {
		w.frame(http2.FrameHeaders, endHeaders, 1, []byte{0x3f, 0xe1, 0xff, 0x03, 0x82})
	}),
	flood("header lists without a field", calm, func(w *wire, i int) {
		w.frame(http2.FrameHeaders, endHeaders|endStream, w.id(), nil)
	}),
	flood("fields without a name (CVE-2019-9516)", calm, func(w *wire, i int) {
		block := w.encode(grpcFields(getInfo))
		for range 100 {
			block = append(block, 0x00, 0x00, 0x00)
		}
		w.frame(http2.FrameHeaders, endHeaders|endStream, w.id(), block)
	}),
	flood("malformed header lists", calm, func(w *wire, _ int) {
		w.headers(getInfo, true, hpack.HeaderField{Name: "connection", Value: "close"})
	}),
	flood("more than content-length", calm, func(w *wire, _ int) {
		w.data(w.headers(createVolume, false, hpack.HeaderField{Name: "content-length", Value: "1"}),
			false, []byte{0, 0})
	}),
}

// headerBombs are lists that take more to hold or to read than to send.
var headerBombs = []attack{
	flood("lists of 60 KiB", calm, func(w *wire, _ int) {
		big := hpack.HeaderField{Name: "x-big", Value: strings.Repeat("\x00", 15000), Sensitive: true}
		block := w.encode(append(grpcFields(getInfo), big, big, big, big))
		id := w.id()
		w.frame(http2.FrameHeaders, endStream, id, block[:16000])
		for block = block[16000:]; len(block) > 16000; block = block[16000:] {
			w.frame(http2.FrameContinuation, 0, id, block[:16000])
		}
		w.frame(http2.FrameContinuation, endHeaders, id, block)
	}),
	flood("lists of many small fields", calm, func(w *wire, _ int) {
		block := w.encode(grpcFields(getInfo))
		for len(block) < 16000 {
			block = append(block, 0x00, 0x01, 'x', 0x00)
		}
		w.frame(http2.FrameHeaders, endHeaders|endStream, w.id(), block)
	}),
	{name: "HPACK bomb: a large entry, named again and again", reason: "flood", codes: calm, growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			w := open(t, d.socket)
			block := w.encode(append(grpcFields(getInfo),
				hpack.HeaderField{Name: "x-bomb", Value: strings.Repeat("b", 3900)}))
			for len(block) < 16000 {
				block = append(block, 0x80|62)
			}
			w.repeat(many, func(int) { w.frame(http2.FrameHeaders, endHeaders|endStream, w.id(), block) })
			return []*wire{w}
		}},
}

// once does something with a connection that has said nothing yet.
func once(name string, c http2.ErrCode, do func(w *wire)) attack {
	return attack{name: name, reason: "protocol", codes: code(c), growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			w := dial(t, d.socket)
			w.read()
			do(w)
			w.flush()
			return []*wire{w}
		}}
}

// broken does something that no HTTP/2 connection survives.
func broken(name string, c http2.ErrCode, do func(w *wire)) attack {
	return once(name, c, func(w *wire) {
		w.hello()
		do(w)
	})
}
