package abuse

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// attack is a row of the table in docs/GRPC.md.
type attack struct {
	name string
	// run does it once, for a bounded time and count, and gives the connections whose end is
	// looked at. It is repeated, with new connections, until attackFor is over.
	run func(t testing.TB, d *daemon) []*wire
	// once: it takes long enough.
	once bool
	// reason and codes: why the server ends each of these connections, by its log and its metric,
	// and the code of the GOAWAY that it sends; without codes there may be none. Without a reason
	// the connections have to stay.
	reason string
	codes  []http2.ErrCode
	// maySurvive: the server may also refuse a part and let the connections go on.
	maySurvive bool
	// growsKiB is how much memory it may take meanwhile.
	growsKiB int
}

const (
	attackFor  = 250 * time.Millisecond
	roundsMost = 20
	sendFor    = time.Minute // one round, at most
	endWithin  = time.Minute // for the connections to be ended
	goodP99    = 10 * time.Second
	goodCalls  = 20 // so many have to be made meanwhile
	// So much more memory than before may be held when it is over, and also when all of them are:
	// streams and connections that are kept to be used again.
	backKiB = 2048
	// Descriptors of a ceph-worker, which calls of Controller methods may start at any time.
	workerFiles = 2
)

var (
	calm     = []http2.ErrCode{http2.ErrCodeEnhanceYourCalm}
	protocol = []http2.ErrCode{http2.ErrCodeProtocol}
)

// state is what has to be as before when an attack is over.
type state struct {
	rss, descriptors, log int
	faults                map[string]float64
}

func (d *daemon) state() state {
	return state{d.rss(), d.descriptors(), d.log.size(), d.faults()}
}

func (a *attack) perform(t *testing.T, d *daemon) {
	before := d.state()
	d.resetPeak()
	cpu := d.cpu()
	good := startGoodClient(t, d.socket)
	var wires []*wire
	rounds := 0
	for end := time.Now().Add(attackFor); rounds == 0 || !a.once && rounds < roundsMost &&
		time.Now().Before(end); rounds++ {
		wires = append(wires, a.run(t, d)...)
	}
	ended := a.checkEnds(t, wires)
	for good.calls() < goodCalls && !d.ended() {
		good.waitCall()
	}
	calls, p99, failed := good.finish()
	peak := d.field("VmHWM") - before.rss
	for _, w := range wires {
		w.close()
	}
	if len(failed) > 0 {
		t.Errorf("the good client: %d of %d calls failed: %s", len(failed), calls, summarize(failed))
	}
	if p99 > goodP99 {
		t.Errorf("the good client: %d calls, 99%% of them within %v", calls, p99)
	}
	if peak > a.growsKiB {
		t.Errorf("memory grew by %d KiB, at most %d are allowed", peak, a.growsKiB)
	}
	d.checkBack(t, before)
	a.checkTold(t, d, before, ended)
	t.Logf("%d rounds; peak %+d KiB, after %+d; CPU %v; good client: %d calls, p99 %v", rounds,
		peak, d.rss()-before.rss, d.cpu()-cpu, calls, p99.Round(10*time.Microsecond))
}

// checkEnds: were the connections ended, and with the right words?
func (a *attack) checkEnds(t *testing.T, wires []*wire) (ended int) {
	wrong := map[string]int{}
	end := time.Now().Add(endWithin)
	for _, w := range wires {
		if a.reason == "" || a.maySurvive {
			if !w.hasGone() {
				continue
			}
		} else if !w.isGone(time.Until(end)) {
			wrong["is still there"]++
			continue
		}
		ended++
		if a.reason == "" {
			wrong["was ended"]++
			continue
		}
		code, told := w.farewell()
		if told && !slices.Contains(a.codes, code) || !told && a.codes != nil {
			wrong[fmt.Sprintf("was ended with %v, told=%v", code, told)]++
		}
	}
	for what, n := range wrong {
		t.Errorf("%d of %d connections: %s", n, len(wires), what)
	}
	return ended
}

// checkTold: one line in the log and one in the metric for each connection, and none besides.
func (a *attack) checkTold(t *testing.T, d *daemon, before state, ended int) {
	want := map[string]int{}
	if a.reason != "" && ended > 0 {
		want[a.reason] = ended
	}
	line := regexp.MustCompile(`rpc\.peer_fault reason=(\w+) error=(\S+) `)
	logged := map[string]int{}
	counted := map[string]int{}
	if !eventually(time.Minute, func() bool {
		clear(logged)
		for _, m := range line.FindAllStringSubmatch(d.log.since(before.log), -1) {
			logged[m[1]]++
		}
		clear(counted)
		for reason, n := range d.faults() {
			if n -= before.faults[reason]; n > 0 {
				counted[reason] = int(n)
			}
		}
		return fmt.Sprint(logged) == fmt.Sprint(want) && fmt.Sprint(counted) == fmt.Sprint(want)
	}) {
		t.Errorf("the log says %v and the metric %v of peers' faults, want %v", logged, counted, want)
	}
}

// checkBack: descriptors, memory, threads and calls are what they were.
func (d *daemon) checkBack(t *testing.T, before state) {
	t.Helper()
	if !eventually(time.Minute, func() bool { return d.descriptors() <= before.descriptors+workerFiles }) {
		t.Errorf("%d descriptors, %d before", d.descriptors(), before.descriptors)
	}
	if !eventually(time.Minute, func() bool { return d.rss() <= before.rss+backKiB }) {
		t.Errorf("%d KiB of memory, %d before", d.rss(), before.rss)
	}
	if !eventually(time.Minute, func() bool { return d.metric("rbd_csi_grpc_calls_running") == 0 }) {
		t.Errorf("%v calls are still running", d.metric("rbd_csi_grpc_calls_running"))
	}
	if n := d.field("Threads"); n != 1 {
		t.Errorf("%d threads", n)
	}
}

// warm lets the daemon do once what it keeps: a worker, spare streams.
func (d *daemon) warm() {
	d.t.Helper()
	w := open(d.t, d.socket)
	w.waitFor(func() bool { return len(w.settings) > 0 })
	for range 256 {
		w.call(createVolume, createRequest("warm"))
	}
	w.barrier()
	w.close()
	good := startGoodClient(d.t, d.socket)
	for good.calls() < 200 {
		good.waitCall()
	}
	if _, _, failed := good.finish(); len(failed) > 0 {
		d.t.Fatal(failed[0])
	}
}

func TestAttacks(t *testing.T) {
	d := startDaemon(t, "--grpc-handshake-timeout=3s", "--grpc-first-call-timeout=3s",
		"--grpc-request-timeout=3s", "--grpc-write-timeout=3s", "--grpc-max-buffered-bytes=16MiB")
	d.warm()
	before := d.state()
	for _, list := range [][]attack{floods, malformedThings, headerBombs, buffering, resets, slow} {
		for _, a := range list {
			t.Run(strings.ReplaceAll(a.name, " ", "_"), func(t *testing.T) { a.perform(t, d) })
			if d.ended() {
				t.Fatal("rbd-csid has ended")
			}
		}
	}
	d.checkBack(t, before)
}
