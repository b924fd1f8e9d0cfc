package abuse

import (
	"context"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// As a careful client sets it: what was not taken is tried again.
const retries = `{"methodConfig": [{"name": [{}], "waitForReady": true, "retryPolicy": {
	"maxAttempts": 5, "initialBackoff": "0.02s", "maxBackoff": "0.2s", "backoffMultiplier": 2,
	"retryableStatusCodes": ["UNAVAILABLE"]}}]}`

var patience = []grpc.DialOption{grpc.WithDefaultServiceConfig(retries), grpc.WithConnectParams(
	grpc.ConnectParams{MinConnectTimeout: goodTimeout, Backoff: backoff.Config{
		BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 100 * time.Millisecond}})}

// TestRestartUnderLoad: rbd-csid ends and comes again, once by SIGKILL; every call of clients that
// try again ends well.
func TestRestartUnderLoad(t *testing.T) {
	d := startDaemon(t)
	stop := make(chan struct{})
	var group sync.WaitGroup
	var mu sync.Mutex
	var failed []error
	var calls atomic.Int64
	loop := func(conn func() (*grpc.ClientConn, func())) {
		defer group.Done()
		for {
			select {
			case <-stop:
				return
			default:
			}
			c, end := conn()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			_, err := invoke(ctx, c, getCapabilities, nil)
			cancel()
			end()
			calls.Add(1)
			if err != nil {
				mu.Lock()
				failed = append(failed, err)
				mu.Unlock()
			}
		}
	}
	for range 2 {
		shared := connect(t, d.socket, patience...)
		defer shared.Close()
		for range 8 {
			group.Add(1)
			go loop(func() (*grpc.ClientConn, func()) { return shared, func() {} })
		}
	}
	for range 2 {
		group.Add(1)
		go loop(func() (*grpc.ClientConn, func()) {
			c := connect(t, d.socket, patience...)
			return c, func() { c.Close() }
		})
	}
	more := func(n int64) {
		t.Helper()
		target := calls.Load() + n
		if !eventually(time.Minute, func() bool { return calls.Load() >= target }) {
			t.Fatal("calls do not end")
		}
	}
	for i, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM} {
		more(200)
		d.signal(sig)
		status := d.wait(time.Minute)
		if sig == syscall.SIGTERM && status != 0 {
			t.Errorf("round %d: exit status %d", i, status)
		}
		if _, err := os.Lstat(d.socket); (err == nil) != (sig == syscall.SIGKILL) {
			t.Errorf("round %d: the socket file: %v", i, err)
		}
		d.start()
	}
	more(200)
	close(stop)
	group.Wait()
	if len(failed) > 0 {
		t.Errorf("%d of %d calls failed: %s", len(failed), calls.Load(), summarize(failed))
	}
	if n := strings.Count(d.log.since(0), "socket.stale path="+d.socket); n != 1 {
		t.Errorf("%d stale sockets were replaced, want 1", n)
	}
	t.Logf("%d calls", calls.Load())
}

// TestSecondDaemon: it leaves the socket of the first one alone and says why it ends.
func TestSecondDaemon(t *testing.T) {
	d := startDaemon(t)
	good := startGoodClient(t, d.socket)
	before, err := os.Lstat(d.socket)
	if err != nil {
		t.Fatal(err)
	}
	second := newDaemon(t)
	for i, arg := range second.args {
		if strings.HasPrefix(arg, "--endpoint=") {
			second.args[i] = "--endpoint=unix://" + d.socket
		}
	}
	second.launch()
	if status := second.wait(time.Minute); status != 1 {
		t.Errorf("exit status %d", status)
	}
	if !strings.Contains(second.log.since(0), "socket "+d.socket+" is served by another process") {
		t.Errorf("it says: %s", second.log.since(0))
	}
	after, err := os.Lstat(d.socket)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the socket file is not the same: %v", err)
	}
	target := good.calls() + 50
	for good.calls() < target {
		good.waitCall()
	}
	if calls, _, failed := good.finish(); len(failed) > 0 {
		t.Errorf("%d of %d calls failed: %s", len(failed), calls, summarize(failed))
	}
}

// TestStaleSocket: one that nobody listens on is replaced.
func TestStaleSocket(t *testing.T) {
	d := newDaemon(t)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.socket})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	d.start()
	if !strings.Contains(d.log.since(0), "socket.stale path="+d.socket) {
		t.Error("the log does not tell")
	}
	good := startGoodClient(t, d.socket)
	for good.calls() < 20 {
		good.waitCall()
	}
	if calls, _, failed := good.finish(); len(failed) > 0 {
		t.Errorf("%d of %d calls failed: %s", len(failed), calls, summarize(failed))
	}
	d.signal(syscall.SIGTERM)
	if status := d.wait(time.Minute); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if _, err := os.Lstat(d.socket); !os.IsNotExist(err) {
		t.Errorf("the socket file is still there: %v", err)
	}
}

// TestSomethingElseAtTheSocket: nothing but a socket is replaced.
func TestSomethingElseAtTheSocket(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a file":                     func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"a directory":                func(path string) error { return os.Mkdir(path, 0o700) },
		"a symbolic link":            func(path string) error { return os.Symlink("/dev/null", path) },
		"a symbolic link to nothing": func(path string) error { return os.Symlink("nowhere", path) },
		"a pipe":                     func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			d := newDaemon(t)
			if err := make(d.socket); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(d.socket)
			d.launch()
			if status := d.wait(time.Minute); status != 1 {
				t.Errorf("exit status %d", status)
			}
			if !strings.Contains(d.log.since(0), d.socket+" is in the way and is not a socket") {
				t.Errorf("it says: %s", d.log.since(0))
			}
			after, err := os.Lstat(d.socket)
			if err != nil || !os.SameFile(before, after) || after.Size() != before.Size() {
				t.Errorf("it is not what it was: %v", err)
			}
		})
	}
}
