package abuse

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

const reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

// askForDescriptor asks for 35 KiB of answer with 40 bytes.
func askForDescriptor(w *wire) uint32 {
	id := w.headers(reflection, false)
	w.data(id, true, message(append([]byte{0x22, 11}, "csi.v1.Node"...)))
	return id
}

var (
	noWindow  = http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}
	allWindow = http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}
)

// buffering makes the server keep what it was sent or what it wants to send.
var buffering = []attack{
	{name: "answers that are not read (CVE-2019-9517)", reason: "slow_reader", once: true, growsKiB: 20480,
		run: func(t testing.TB, d *daemon) []*wire {
			before := d.log.size()
			wires := several(3, func(int) *wire {
				w := openDeaf(t, d.socket, allWindow)
				w.check(w.framer.WriteWindowUpdate(0, 1<<30))
				for range 100 {
					askForDescriptor(w)
				}
				w.flush()
				return w
			})
			eventually(endWithin, func() bool { // and only then they read
				return strings.Count(d.log.since(before), "rpc.peer_fault") >= len(wires)
			})
			return wires
		}},
	{name: "answers for which no window is open", reason: "slow_reader", codes: calm, once: true, growsKiB: 20480,
		run: func(t testing.TB, d *daemon) []*wire {
			return several(3, func(int) *wire {
				w := open(t, d.socket, noWindow)
				for range 100 {
					askForDescriptor(w)
				}
				w.flush()
				return w
			})
		}},
	{name: "a window that opens by a byte (CVE-2019-9511)", reason: "flood", codes: calm, growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			w := open(t, d.socket, noWindow)
			ids := several(20, func(int) uint32 { return askForDescriptor(w) })
			w.repeat(many, func(i int) { w.check(w.framer.WriteWindowUpdate(ids[i%len(ids)], 1)) })
			return []*wire{w}
		}},
	{name: "answers that are taken byte by byte", reason: "slow_reader", codes: calm, once: true, growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			w := open(t, d.socket, noWindow)
			ids := several(20, func(int) uint32 { return askForDescriptor(w) })
			for i := 0; i < many && !w.hasGone(); i++ {
				w.check(w.framer.WriteWindowUpdate(ids[i%len(ids)], 1))
				w.waitFor(func() bool { return w.frames[http2.FrameData] > i })
			}
			return []*wire{w}
		}},
	{name: "a message byte by byte", reason: "flood", codes: calm, growsKiB: 4096,
		run: func(t testing.TB, d *daemon) []*wire {
			w := open(t, d.socket)
			id := w.headers(createVolume, false)
			w.data(id, false, []byte{0, 0, 16, 0, 0})
			w.repeat(many, func(int) { w.data(id, false, []byte{0}) })
			return []*wire{w}
		}},
	{name: "bodies that never end", reason: "memory", codes: calm, maySurvive: true, once: true,
		growsKiB: 40960,
		run: func(t testing.TB, d *daemon) []*wire {
			w := open(t, d.socket)
			part := make([]byte, 16384)
			for range 40 {
				id := w.headers(createVolume, false)
				w.data(id, false, []byte{0, 0, 48, 0, 0})
				for range 64 {
					w.data(id, false, part)
				}
			}
			w.flush()
			return []*wire{w}
		}},
	{name: "huge message lengths", growsKiB: 4096, run: func(t testing.TB, d *daemon) []*wire {
		return refused(t, d, func(w *wire) uint32 {
			id := w.headers(createVolume, false)
			w.data(id, false, []byte{0, 255, 255, 255, 255, 1})
			return id
		})
	}},
	{name: "compressed messages", growsKiB: 4096, run: func(t testing.TB, d *daemon) []*wire {
		return refused(t, d, func(w *wire) uint32 {
			id := w.headers(createVolume, false)
			w.data(id, true, []byte{1, 0, 0, 0, 1, 1})
			return id
		})
	}},
	{name: "calls of methods that are not there", growsKiB: 4096, run: func(t testing.TB, d *daemon) []*wire {
		return refused(t, d, func(w *wire) uint32 { return w.call("/no/Such", nil) })
	}},
	{name: "more streams than are allowed", growsKiB: 4096, once: true, run: func(t testing.TB, d *daemon) []*wire {
		w := open(t, d.socket)
		ids := several(400, func(int) uint32 {
			id := w.headers(createVolume, false)
			w.data(id, false, []byte{0, 0, 0, 1, 0})
			return id
		})
		refused := 0
		w.waitFor(func() bool {
			refused = 0
			for _, id := range ids {
				if w.resets[id] == http2.ErrCodeRefusedStream {
					refused++
				}
			}
			return refused >= 400-256
		})
		if refused != 400-256 {
			t.Errorf("%d of 400 streams were refused, want %d", refused, 400-256)
		}
		return []*wire{w}
	}},
}

// refused makes some calls that are answered with an error and do not harm the connection.
func refused(t testing.TB, d *daemon, call func(w *wire) uint32) []*wire {
	w := open(t, d.socket)
	for range 200 {
		ids := several(10, func(int) uint32 { return call(w) })
		if !w.waitFor(func() bool {
			for _, id := range ids {
				if !w.ended[id] {
					return false
				}
			}
			return true
		}) {
			t.Error("calls have no answer")
			break
		}
	}
	return []*wire{w}
}

func several[T any](n int, make func(i int) T) (all []T) {
	for i := range n {
		all = append(all, make(i))
	}
	return all
}
