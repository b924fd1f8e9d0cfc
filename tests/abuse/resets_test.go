package abuse

import (
	"fmt"
	"testing"

	"golang.org/x/net/http2"
)

// resets are MadeYouReset (CVE-2025-8671): the client lets the server reset a stream whose call
// runs, and starts another one.
var resets = []attack{
	madeYouReset("flood", "its window overflows", calm, func(w *wire, id uint32) {
		w.check(w.framer.WriteWindowUpdate(id, 1<<31-1))
	}),
	madeYouReset("protocol", "a window that opens by zero", protocol, func(w *wire, id uint32) {
		w.frame(http2.FrameWindowUpdate, 0, id, []byte{0, 0, 0, 0})
	}),
	madeYouReset("protocol", "DATA behind the end", code(http2.ErrCodeStreamClosed), func(w *wire, id uint32) {
		w.data(id, false, []byte{1})
	}),
	madeYouReset("protocol", "HEADERS behind the end", code(http2.ErrCodeStreamClosed), func(w *wire, id uint32) {
		w.frame(http2.FrameHeaders, endHeaders, id, w.encode(grpcFields(getInfo)))
	}),
	madeYouReset("protocol", "PRIORITY of a wrong length", code(http2.ErrCodeFrameSize), func(w *wire, id uint32) {
		w.frame(http2.FramePriority, 0, id, []byte{0, 0, 0, 0})
	}),
	madeYouReset("flood", "it says good-bye in its own way", calm, func(w *wire, id uint32) {
		w.reset(id, http2.ErrCodeCancel)
	}),
}

func madeYouReset(reason, how string, codes []http2.ErrCode, provoke func(w *wire, id uint32)) attack {
	return attack{name: "MadeYouReset: " + how, reason: reason, codes: codes, growsKiB: 8192,
		run: func(t testing.TB, d *daemon) []*wire {
			w := open(t, d.socket)
			w.repeat(200, func(i int) {
				ids := several(100, func(j int) uint32 {
					return w.call(createVolume, createRequest(fmt.Sprint(how, w.next)))
				})
				w.barrier() // all of them run
				for _, id := range ids {
					provoke(w, id)
				}
			})
			return []*wire{w}
		}}
}
