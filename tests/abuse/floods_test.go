package abuse

import (
	"testing"

	"golang.org/x/net/http2"
)

const many = 100_000

// floods are frames that are right, or nearly so, and carry no work.
var floods = []attack{
	flood("rapid reset (CVE-2023-44487)", calm, func(w *wire, _ int) {
		w.reset(w.headers(getCapabilities, false), http2.ErrCodeCancel)
	}),
	flood("rapid reset of whole calls", calm, func(w *wire, _ int) {
		w.reset(w.call(getCapabilities, nil), http2.ErrCodeCancel)
	}),
	flood("PING flood (CVE-2019-9512)", calm, func(w *wire, _ int) { w.ping(false) }),
	deafFlood("PING flood, answers not read", func(w *wire, _ int) { w.ping(false) }),
	flood("PING answers that nobody asked for", calm, func(w *wire, _ int) { w.ping(true) }),
	flood("SETTINGS flood (CVE-2019-9515)", calm, func(w *wire, _ int) { w.set() }),
	deafFlood("SETTINGS flood, answers not read", func(w *wire, _ int) { w.set() }),
	{name: "SETTINGS that move the windows of many streams", reason: "flood", codes: calm, growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			w := open(t, d.socket)
			for range 200 {
				w.headers(createVolume, false)
			}
			w.repeat(many, func(i int) {
				w.set(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i % 2)})
			})
			return []*wire{w}
		}},
	flood("PRIORITY flood", calm, func(w *wire, i int) {
		w.check(w.framer.WritePriority(uint32(2*i+1), http2.PriorityParam{Weight: 3}))
	}),
	flood("WINDOW_UPDATE flood", calm, func(w *wire, _ int) { w.check(w.framer.WriteWindowUpdate(0, 1)) }),
	flood("flood of unknown frames", calm, func(w *wire, i int) {
		w.frame(http2.FrameType(0x20+i%64), 0, uint32(i%2), []byte("what"))
	}),
	{name: "GOAWAY flood while a call runs", reason: "flood", codes: calm, growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			w := open(t, d.socket)
			w.call(createVolume, createRequest("leaves"))
			w.repeat(many, func(int) { w.check(w.framer.WriteGoAway(0, 0, nil)) })
			return []*wire{w}
		}},
	streamFlood("empty DATA flood (CVE-2019-9518)", func(w *wire, id uint32) { w.data(id, false, nil) }),
	streamFlood("DATA of nothing but padding", func(w *wire, id uint32) {
		w.waitWindow(id, 1)
		w.frame(http2.FrameData, http2.FlagDataPadded, id, []byte{0})
	}),
	streamFlood("WINDOW_UPDATE flood on a stream", func(w *wire, id uint32) {
		w.check(w.framer.WriteWindowUpdate(id, 1))
	}),
	{name: "broken frames behind the end (CVE-2026-27135)", reason: "flood", codes: calm, growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			w := open(t, d.socket)
			for range 2000 { // beyond any budget
				w.ping(false)
			}
			w.repeat(1000, func(i int) {
				for kind := range 32 { // ALTSVC, ORIGIN and PRIORITY_UPDATE are among them
					w.frame(http2.FrameType(kind), http2.Flags(i), uint32(i%3), make([]byte, i%7))
				}
			})
			return []*wire{w}
		}},
	{name: "RST_STREAM of a stream that has ended", reason: "flood",
		codes: append(calm, http2.ErrCodeStreamClosed), growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			w := open(t, d.socket)
			id := w.call(getInfo, nil)
			w.waitFor(func() bool { return w.ended[id] })
			w.repeat(many, func(int) { w.reset(id, http2.ErrCodeCancel) })
			return []*wire{w}
		}},
	{name: "CONTINUATION flood (CVE-2024-28182)", reason: "flood", codes: calm, growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			w := open(t, d.socket)
			w.frame(http2.FrameHeaders, 0, 1, w.encode(grpcFields(getInfo)))
			w.repeat(many, func(int) {
				w.frame(http2.FrameContinuation, 0, 1, []byte{0x00, 0x01, 'x', 0x01, 'y'})
			})
			return []*wire{w}
		}},
	{name: "empty CONTINUATION flood", reason: "flood", codes: calm, growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			w := open(t, d.socket)
			w.frame(http2.FrameHeaders, 0, 1, w.encode(grpcFields(getInfo)))
			w.repeat(many, func(int) { w.frame(http2.FrameContinuation, 0, 1, nil) })
			return []*wire{w}
		}},
}

// flood sends the same again and again.
func flood(name string, codes []http2.ErrCode, send func(w *wire, i int)) attack {
	return attack{name: name, reason: "flood", codes: codes, growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			w := open(t, d.socket)
			w.repeat(many, func(i int) { send(w, i) })
			return []*wire{w}
		}}
}

// deafFlood does not read what it gets for it.
func deafFlood(name string, send func(w *wire, i int)) attack {
	return attack{name: name, reason: "flood", codes: calm, growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			w := openDeaf(t, d.socket)
			w.repeat(many, func(i int) { send(w, i) })
			return []*wire{w}
		}}
}

// streamFlood sends the same on a stream whose request does not end.
func streamFlood(name string, send func(w *wire, id uint32)) attack {
	return attack{name: name, reason: "flood", codes: calm, growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			w := open(t, d.socket)
			id := w.headers(getCapabilities, false)
			w.repeat(many, func(int) { send(w, id) })
			return []*wire{w}
		}}
}
