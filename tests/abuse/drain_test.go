package abuse

import (
	"context"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// load is what grpc-go clients that do not retry by themselves see of a server that ends.
type load struct {
	group   sync.WaitGroup
	ok      atomic.Int64
	refused atomic.Int64 // UNAVAILABLE
	mu      sync.Mutex
	wrong   []error // anything else
}

// call makes calls until one is refused, as the server is gone then.
func (l *load) call(conn func() (*grpc.ClientConn, func())) {
	defer l.group.Done()
	for {
		c, end := conn()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		_, err := invoke(ctx, c, getInfo, nil)
		cancel()
		end()
		switch status.Code(err) {
		case codes.OK:
			l.ok.Add(1)
			continue
		case codes.Unavailable:
			l.refused.Add(1)
		default:
			l.mu.Lock()
			l.wrong = append(l.wrong, err)
			l.mu.Unlock()
		}
		return
	}
}

// startLoad starts callers that share connections and some that make one for each call.
func startLoad(t *testing.T, socket string) *load {
	l := &load{}
	for range 3 {
		shared := connect(t, socket)
		t.Cleanup(func() { shared.Close() })
		for range 8 {
			l.group.Add(1)
			go l.call(func() (*grpc.ClientConn, func()) { return shared, func() {} })
		}
	}
	for range 4 {
		l.group.Add(1)
		go l.call(func() (*grpc.ClientConn, func()) {
			c := connect(t, socket)
			return c, func() { c.Close() }
		})
	}
	return l
}

func answered(log, method string) int {
	return strings.Count(log, "rpc.end method="+method+" code=OK")
}

// More than can be made before the end comes.
const benchCalls = 100_000

// TestDrainUnderLoad: SIGTERM while calls come from all sides.
func TestDrainUnderLoad(t *testing.T) {
	// Nothing but SIGTERM may end what is only half there.
	d := startDaemon(t, "--drain-timeout=1m", "--grpc-handshake-timeout=10m", "--grpc-first-call-timeout=10m",
		"--grpc-request-timeout=10m")
	load := startLoad(t, d.socket)

	bench := exec.Command(program(t, "rbd-csictl"), "--endpoint", "unix://"+d.socket, "bench", "calls",
		"--rpc", "Node/NodeGetCapabilities", "--count", strconv.Itoa(benchCalls), "--callers", "8")
	var benchSaid strings.Builder
	bench.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	bench.Stdout, bench.Stderr = &benchSaid, &benchSaid
	if err := bench.Start(); err != nil {
		t.Fatal(err)
	}
	benchEnded := make(chan struct{})
	go func() {
		bench.Wait() // it says itself what went wrong
		close(benchEnded)
	}()
	t.Cleanup(func() {
		bench.Process.Kill()
		<-benchEnded
	})

	silent := dial(t, d.socket)
	silent.read()
	half := open(t, d.socket)
	half.frame(http2.FrameHeaders, endHeaders, 1, make([]byte, 10), 100)
	half.flush()
	body := open(t, d.socket)
	body.data(body.headers(createVolume, false), false, []byte{0, 0})
	body.flush()
	// One whose handler has started: it runs until its deadline, and has its answer then.
	running := open(t, d.socket)
	call := running.call(createVolume, createRequest("running"),
		hpack.HeaderField{Name: "grpc-timeout", Value: "1500m"})
	if !body.barrier() || !running.barrier() {
		t.Fatal("no connection")
	}
	if !eventually(time.Minute, func() bool { return load.ok.Load() > 500 }) {
		t.Fatal("no load")
	}

	d.signal(syscall.SIGTERM)
	if status := d.wait(3 * time.Minute); status != 0 {
		t.Errorf("exit status %d", status)
	}
	load.group.Wait()
	if len(load.wrong) > 0 {
		t.Errorf("calls failed with what is no reason to retry: %s", summarize(load.wrong))
	}
	if load.refused.Load() == 0 {
		t.Error("no call met the end")
	}
	for name, w := range map[string]*wire{"silent": silent, "half": half, "body": body,
		"running": running} {
		if !w.isGone(time.Minute) {
			t.Errorf("connection %s is still there", name)
		}
	}
	// What they had read is all that there is.
	if code := body.resets[1]; code != http2.ErrCodeRefusedStream {
		t.Errorf("a request that was not whole was ended with %v", code)
	}
	if answer := running.trailers[call]; answer["grpc-status"] != "4" {
		t.Errorf("the call that ran has the answer %v", answer)
	}
	select {
	case <-benchEnded:
	case <-time.After(time.Minute):
		t.Error("rbd-csictl does not notice the end")
	}

	// Each answer that was given has arrived: none was lost on the way.
	log := d.log.since(0)
	if sent, arrived := answered(log, getInfo), int(load.ok.Load()); sent != arrived {
		t.Errorf("%d calls of grpc-go were answered, %d answers arrived", sent, arrived)
	}
	m := regexp.MustCompile(`(?m)^calls: ([0-9]+) in .* [0-9]+ failed:`).FindStringSubmatch(benchSaid.String())
	if m == nil {
		t.Fatalf("rbd-csictl met no end: %s", tail(benchSaid.String(), 10))
	}
	arrived, _ := strconv.Atoi(m[1])
	if sent := answered(log, getCapabilities); sent != arrived {
		t.Errorf("%d calls of rbd-csictl were answered, %d answers arrived", sent, arrived)
	}
	t.Logf("grpc-go: %d calls, %d refused; rbd-csictl: %d, %d refused", load.ok.Load(), load.refused.Load(),
		arrived, benchCalls-arrived)
	for _, want := range []string{"drain.end", "daemon.stop complete=1"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %s", want)
		}
	}
}

// TestDrainTwoSteps: GOAWAY with the highest number and a PING; what is sent before the PING is
// answered is taken; the second GOAWAY names that as the last one.
func TestDrainTwoSteps(t *testing.T) {
	d := startDaemon(t)
	w := open(t, d.socket)
	if !w.barrier() {
		t.Fatal("no connection")
	}
	d.signal(syscall.SIGTERM)
	if !w.waitFor(func() bool { return len(w.goaways) == 1 && len(w.pinged) == 1 }) {
		t.Errorf("no GOAWAY and PING: %v, %v", w.goaways, w.pinged)
		return
	}
	late := w.call(getInfo, nil)
	w.check(w.framer.WritePing(true, w.pinged[0]))
	w.flush()
	if !w.waitFor(func() bool { return len(w.goaways) == 2 && w.ended[late] }) {
		t.Errorf("no second GOAWAY, or no answer: %v", w.goaways)
		return
	}
	want := []goaway{{1<<31 - 1, http2.ErrCodeNo}, {late, http2.ErrCodeNo}}
	for i, g := range w.goaways {
		if g != want[i] {
			t.Errorf("GOAWAY %d is %v, want %v", i+1, g, want[i])
		}
	}
	if got := w.trailers[late]["grpc-status"]; got != "0" {
		t.Errorf("the call on its way was answered with %q", got)
	}
}

// TestDrainTimeout: a call that lasts longer does not hold up the end; its caller may try again.
func TestDrainTimeout(t *testing.T) {
	d := startDaemon(t, "--drain-timeout=500ms")
	conn := connect(t, d.socket)
	defer conn.Close()
	failed := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := invoke(ctx, conn, createVolume, createRequest("long"))
		failed <- err
	}()
	d.waitCalls(1)
	start := time.Now()
	d.signal(syscall.SIGTERM)
	if status := d.wait(time.Minute); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if took := time.Since(start); took < 500*time.Millisecond {
		t.Errorf("the end took %v", took)
	}
	if err := <-failed; status.Code(err) != codes.Unavailable {
		t.Errorf("the call ended with %v", err)
	}
	if !strings.Contains(d.log.since(0), "drain.timeout running=1") {
		t.Error("the log does not tell")
	}
}

// TestSecondSignal: a second SIGTERM waits for nobody.
func TestSecondSignal(t *testing.T) {
	d := startDaemon(t, "--drain-timeout=1h")
	w := open(t, d.socket)
	w.call(createVolume, createRequest("long"))
	w.flush()
	d.waitCalls(1)
	d.signal(syscall.SIGTERM)
	if !eventually(time.Minute, func() bool { return strings.Contains(d.log.since(0), "drain.start running=1") }) {
		t.Fatal("no drain")
	}
	if d.ended() {
		t.Error("the first SIGTERM does not wait")
	}
	d.signal(syscall.SIGTERM)
	if status := d.wait(time.Minute); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if !strings.Contains(d.log.since(0), "drain.hurry running=1") {
		t.Error("the log does not tell")
	}
}

// waitCalls waits until so many calls run.
func (d *daemon) waitCalls(n float64) {
	d.t.Helper()
	if !eventually(time.Minute, func() bool { return d.metric("rbd_csi_grpc_calls_running") == n }) {
		d.t.Fatalf("%v calls run, want %v", d.metric("rbd_csi_grpc_calls_running"), n)
	}
}
