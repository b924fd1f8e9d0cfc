package abuse

import (
	"testing"

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
