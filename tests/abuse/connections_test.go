package abuse

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"golang.org/x/net/http2"
)

// Beyond --grpc-max-connections those that have nothing to do make room: who calls gets in.
func TestMoreConnectionsThanAllowed(t *testing.T) {
	const most = 100
	for _, kind := range []struct {
		name    string
		count   int
		connect func(d *daemon) *wire
	}{
		{"silent", 3 * most, func(d *daemon) *wire { return dial(t, d.socket) }},
		{"without a call", 3 * most, func(d *daemon) *wire { return openDeaf(t, d.socket) }},
		{"idle after a call", 3 * most, func(d *daemon) *wire {
			w := open(t, d.socket)
			id := w.call(getInfo, nil)
			w.waitFor(func() bool { return w.ended[id] })
			return w
		}},
		{"inside a header list", most + 20, func(d *daemon) *wire {
			w := openDeaf(t, d.socket)
			w.frame(http2.FrameHeaders, 0, 1, w.encode(grpcFields(getInfo)))
			w.flush()
			return w
		}},
		{"inside a request", most + 20, func(d *daemon) *wire {
			w := openDeaf(t, d.socket)
			w.data(w.headers(getInfo, false), false, []byte{0, 0})
			w.flush()
			return w
		}},
		{"before an answer", most + 20, func(d *daemon) *wire {
			w := openDeaf(t, d.socket, noWindow)
			w.call(getInfo, nil)
			w.flush()
			return w
		}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			d := startDaemon(t, "--grpc-max-connections=100", "--grpc-request-timeout=3s", "--grpc-write-timeout=3s")
			d.warm()
			before := d.state()
			d.resetPeak()
			// A new connection has a chance of 0.2 s before it is evicted: on a loaded machine the good client may
			// need a second one.
			good := startGoodClient(t, d.socket, patience...)
			var attackers []*wire
			for range kind.count {
				attackers = append(attackers, kind.connect(d))
			}
			target := good.calls() + 100
			for good.calls() < target {
				good.waitCall()
			}
			if n := d.metric("rbd_csi_grpc_connections"); n > most {
				t.Errorf("%v connections are open, %d are allowed", n, most)
			}
			calls, p99, failed := good.finish()
			for _, w := range attackers {
				w.close()
			}
			// A connection that stops inside a call has the time of a request, or of an answer. Others wait for that.
			if len(failed) > 0 || p99 > goodP99 {
				t.Errorf("the good client: %d of %d calls failed: %s; 99%% within %v", len(failed),
					calls, summarize(failed), p99)
			}
			faults := d.faults()
			if n := faults["evicted"] + faults["stalled"] + faults["slow_reader"]; n < float64(kind.count-most) {
				t.Errorf("%v connections were ended, at least %d have to: %v", n, kind.count-most, faults)
			}
			if peak := d.field("VmHWM") - before.rss; peak > 4096 {
				t.Errorf("memory grew by %d KiB", peak)
			}
			d.checkBack(t, before)
			t.Logf("good client: %d calls, p99 %v; faults %v", calls, p99, faults)
		})
	}
}

// TestCallsTakeAllPlaces: whoever has no call running gets one in, whatever others do.
func TestCallsTakeAllPlaces(t *testing.T) {
	const most = 300
	d := startDaemon(t, "--grpc-max-calls=300")
	hang, end := hangingDir(t, d.dir)
	var attackers []*wire
	for i := range 2 {
		w := open(t, d.socket)
		attackers = append(attackers, w)
		for j := range 200 {
			w.call(getStats, statsRequest(fmt.Sprintf("%s/%d-%d", hang, i, j), 0))
		}
		w.barrier()
	}
	d.waitCalls(most)
	if n := d.metric(`rbd_csi_grpc_refusals_total\{reason="calls"\}`); n != 2*200-most {
		t.Errorf("%v calls were refused, want %d", n, 2*200-most)
	}
	good := startGoodClient(t, d.socket)
	for good.calls() < 100 {
		good.waitCall()
	}
	if calls, p99, failed := good.finish(); len(failed) > 0 || p99 > goodP99 {
		t.Errorf("the good client: %d of %d calls failed: %s; 99%% within %v", len(failed), calls,
			summarize(failed), p99)
	}
	end()
	for _, w := range attackers {
		w.close()
	}
	d.waitCalls(0)
}

const getStats = "/csi.v1.Node/NodeGetVolumeStats"

// statsRequest is a NodeGetVolumeStats, padded by a field that nobody knows.
func statsRequest(path string, padding int) []byte {
	m := protowire.AppendTag(nil, 1, protowire.BytesType)
	m = protowire.AppendString(m, "0001-0007-nowhere-0000000000000001-00000000-0000-0000-0000-000000000001")
	m = protowire.AppendTag(m, 2, protowire.BytesType)
	m = protowire.AppendString(m, path)
	if padding > 0 {
		m = protowire.AppendTag(m, 2047, protowire.BytesType)
		m = protowire.AppendBytes(m, make([]byte, padding))
	}
	return m
}

// What a call has started goes on when its stream is reset: so executions are counted, not streams
// (MadeYouReset, CVE-2025-8671), and what they hold is bounded.
func TestExecutionsOutliveTheirStreams(t *testing.T) {
	const most = 500
	d := startDaemon(t, "--max-requests=500", "--offload-max=8")
	hang, end := hangingDir(t, d.dir)
	d.warm()
	before := d.state()
	d.resetPeak()
	good := startGoodClient(t, d.socket)
	var number atomic.Int64
	flood := func(padding int, calls int) {
		w := open(t, d.socket)
		defer w.close()
		for range calls {
			path := hang + "/" + time.Duration(number.Add(1)).String()
			id := w.call(getStats, statsRequest(path, padding))
			w.barrier() // it runs
			w.reset(id, http2.ErrCodeCancel)
		}
		w.barrier()
	}
	for range 20 {
		flood(3<<20, 10)
		flood(0, 50)
	}
	if n := d.metric("rbd_csi_requests_running"); n > most {
		t.Errorf("%v executions, %d are allowed", n, most)
	}
	if n := d.metric("rbd_csi_requests_refused_total"); n == 0 {
		t.Error("none was refused")
	}
	calls, p99, failed := good.finish()
	if len(failed) > 0 || p99 > goodP99 {
		t.Errorf("the good client: %d of %d calls failed: %s; 99%% within %v", len(failed), calls,
			summarize(failed), p99)
	}
	peak := d.field("VmHWM") - before.rss
	if peak > 96<<10 {
		t.Errorf("memory grew by %d KiB", peak)
	}
	t.Logf("peak %+d KiB; running %v, refused %v; good client: %d calls, p99 %v", peak,
		d.metric("rbd_csi_requests_running"), d.metric("rbd_csi_requests_refused_total"), calls, p99)
	ctx, cancel := context.WithTimeout(context.Background(), goodTimeout)
	defer cancel()
	conn := connect(t, d.socket)
	defer conn.Close()
	if _, err := invoke(ctx, conn, probe, nil); err != nil {
		t.Errorf("Probe: %v", err)
	}
	end() // what runs fails, and with it goes all that it held
	if !eventually(time.Minute, func() bool { return d.metric("rbd_csi_requests_running") == 0 }) {
		t.Errorf("%v executions do not end", d.metric("rbd_csi_requests_running"))
	}
	d.checkBack(t, before)
}
