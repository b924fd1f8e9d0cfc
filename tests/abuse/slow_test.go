package abuse

import (
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// slow are clients that let the server wait (slow loris).
var slow = []attack{
	idle("silent connections", "handshake", func(t testing.TB, d *daemon, _ int) *wire {
		return dial(t, d.socket)
	}),
	idle("half a preface", "handshake", func(t testing.TB, d *daemon, i int) *wire {
		w := dial(t, d.socket)
		w.raw([]byte(http2.ClientPreface[:i]))
		return w
	}),
	idle("half a SETTINGS", "handshake", func(t testing.TB, d *daemon, i int) *wire {
		w := dial(t, d.socket)
		w.raw([]byte(http2.ClientPreface))
		w.frame(http2.FrameSettings, 0, 0, make([]byte, i), 24)
		return w
	}),
	idle("connections that never call", "first_call", func(t testing.TB, d *daemon, i int) *wire {
		return open(t, d.socket)
	}),
	idle("half a HEADERS frame", "stalled", func(t testing.TB, d *daemon, i int) *wire {
		w := open(t, d.socket)
		w.frame(http2.FrameHeaders, endHeaders, 1, make([]byte, i), 100)
		return w
	}),
	idle("half a header list", "stalled", func(t testing.TB, d *daemon, i int) *wire {
		w := open(t, d.socket)
		w.frame(http2.FrameHeaders, 0, 1, w.encode(grpcFields(getInfo)))
		return w
	}),
	drip("a preface byte by byte", "handshake", func(t testing.TB, d *daemon) (*wire, func(i int)) {
		w := dial(t, d.socket)
		w.read()
		return w, func(i int) { w.raw([]byte{http2.ClientPreface[i%len(http2.ClientPreface)]}) }
	}),
	drip("pings, but never a call", "first_call", func(t testing.TB, d *daemon) (*wire, func(i int)) {
		w := open(t, d.socket)
		return w, func(int) { w.ping(false) }
	}),
	drip("a header list byte by byte", "stalled", func(t testing.TB, d *daemon) (*wire, func(i int)) {
		w := open(t, d.socket)
		w.frame(http2.FrameHeaders, endHeaders, 1, nil, 10000)
		return w, func(int) { w.raw([]byte{0x82}) }
	}),
	{name: "bodies that do not arrive", once: true, growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			wires := several(20, func(i int) *wire {
				w := open(t, d.socket)
				w.data(w.headers(createVolume, false), false, append([]byte{0, 0, 0, 1, 0}, make([]byte, i)...))
				w.flush()
				return w
			})
			for _, w := range wires {
				if !w.waitFor(func() bool { return w.trailers[1]["grpc-status"] == "4" }) {
					t.Error("a request that does not arrive is not DEADLINE_EXCEEDED")
				}
			}
			return wires
		}},
}

func idle(name, reason string, connect func(t testing.TB, d *daemon, i int) *wire) attack {
	return attack{name: name, reason: reason, once: true, growsKiB: 4096,
		codes: []http2.ErrCode{http2.ErrCodeNo, http2.ErrCodeSettingsTimeout, http2.ErrCodeEnhanceYourCalm},
		run: func(t testing.TB, d *daemon) []*wire {
			return several(20, func(i int) *wire {
				w := connect(t, d, i)
				w.flush()
				w.read()
				return w
			})
		}}
}

// drip sends a little of something all the time, which gives it no more of it.
func drip(name, reason string, connect func(t testing.TB, d *daemon) (*wire, func(i int))) attack {
	a := idle(name, reason, nil)
	a.run = func(t testing.TB, d *daemon) []*wire {
		w, send := connect(t, d)
		pace := time.NewTicker(200 * time.Millisecond) // a whole preface takes longer than it may
		defer pace.Stop()
		for i, end := 0, time.Now().Add(endWithin); !w.hasGone() && time.Now().Before(end); i++ {
			send(i)
			w.flush()
			<-pace.C
		}
		return []*wire{w}
	}
	return a
}
