// Tests of rbd-csid against clients that mean it ill, and of its end and its restart under load.
// tests/abuse/run runs them; RBD_CSI_BUILD names the directory with the programs.
package abuse

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// daemon is an rbd-csid of this test. A cluster named "nowhere" has a monitor that takes
// connections and says nothing, so that a call to it stays running.
type daemon struct {
	t      *testing.T
	dir    string
	socket string
	args   []string
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
	status error         // valid after that
	log    logFile
}

// logFile is what the daemon writes, also over a restart.
type logFile struct{ path string }

func (l logFile) size() int { return len(l.since(0)) }

func (l logFile) since(at int) string {
	text, _ := os.ReadFile(l.path)
	return string(text[min(at, len(text)):])
}

func program(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("RBD_CSI_BUILD")
	if dir == "" {
		t.Fatal("RBD_CSI_BUILD is not set: see run")
	}
	return filepath.Join(dir, name)
}

// silentMonitor takes connections and never says a word.
func silentMonitor(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var held []net.Conn
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			held = append(held, c)
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range held {
			c.Close()
		}
	})
	return ln.Addr().String()
}

// newDaemon prepares a daemon; start starts it.
func newDaemon(t *testing.T, options ...string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "rbd-csi-abuse.")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := fmt.Sprintf(`[{"clusterID": "nowhere", "monitors": [%q]}]`, silentMonitor(t))
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, dir: dir, socket: filepath.Join(dir, "csi.sock"),
		log: logFile{filepath.Join(dir, "log")}}
	d.args = append([]string{"--type=rbd", "--nodeserver", "--controllerserver",
		"--nodeid=test-node", "--endpoint=unix://" + d.socket,
		"--config=" + filepath.Join(dir, "config.json"), "--statedir=" + filepath.Join(dir, "state"),
		"--worker-path=" + program(t, "ceph-worker"), "--attachd-path=" + program(t, "rbd-attachd"),
		"--mounter-fallback=none", "--logslowopinterval=0", "--log-level=debug", "--metrics-address=unix://" + d.metricsSocket()}, options...)
	return d
}

func startDaemon(t *testing.T, options ...string) *daemon {
	t.Helper()
	d := newDaemon(t, options...)
	d.start()
	return d
}

// launch starts the process and does not wait until it serves.
func (d *daemon) launch() {
	d.t.Helper()
	cmd := exec.Command(program(d.t, "rbd-csid"), d.args...)
	log, err := os.OpenFile(d.log.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	exited := make(chan struct{})
	d.cmd, d.exited = cmd, exited
	go func() {
		d.status = cmd.Wait()
		close(exited)
	}()
	d.t.Cleanup(func() {
		cmd.Process.Kill() // its own process only; an error says that it has ended
		<-exited
		if strings.Contains(d.log.since(0), "Sanitizer") || strings.Contains(d.log.since(0), "runtime error:") {
			d.t.Error("a sanitizer has something to say")
		}
		if d.t.Failed() {
			d.t.Logf("rbd-csid's last lines:\n%s", tail(d.log.since(0), 40))
		}
	})
}

func (d *daemon) start() {
	d.t.Helper()
	at := d.log.size()
	d.launch()
	if !eventually(time.Minute, func() bool {
		return strings.Contains(d.log.since(at), "daemon.start") || d.ended()
	}) || d.ended() {
		d.t.Fatalf("rbd-csid does not start:\n%s", d.log.since(at))
	}
}

func (d *daemon) ended() bool {
	select {
	case <-d.exited:
		return true
	default:
		return false
	}
}

func (d *daemon) signal(sig syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Fatal(err)
	}
}

// wait waits for the end of the process and gives its exit status, -1 for a signal.
func (d *daemon) wait(most time.Duration) int {
	d.t.Helper()
	select {
	case <-d.exited:
		return d.cmd.ProcessState.ExitCode()
	case <-time.After(most):
		d.t.Fatalf("rbd-csid has not ended after %v", most)
		return 0
	}
}

// ---- what /proc tells ----

func (d *daemon) proc(name string) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", d.cmd.Process.Pid, name))
	if err != nil {
		d.t.Error(err)
	}
	return string(text)
}

// field gives a number of /proc/PID/status; of memory in KiB.
func (d *daemon) field(name string) int {
	match := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+)`).FindStringSubmatch(d.proc("status"))
	if match == nil {
		return -1
	}
	n, _ := strconv.Atoi(match[1])
	return n
}

func (d *daemon) rss() int { return d.field("VmRSS") }

// resetPeak makes VmHWM count from now on.
func (d *daemon) resetPeak() {
	d.t.Helper()
	path := fmt.Sprintf("/proc/%d/clear_refs", d.cmd.Process.Pid)
	if err := os.WriteFile(path, []byte("5"), 0); err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) descriptors() int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid))
	if err != nil {
		d.t.Error(err)
	}
	return len(entries)
}

// cpu gives the time that the process has computed.
func (d *daemon) cpu() time.Duration {
	text := d.proc("stat")
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// ---- small things ----

// eventually waits for a condition.
func eventually(most time.Duration, condition func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(most)
	for !condition() {
		if time.Now().After(end) {
			return false
		}
		<-tick.C
	}
	return true
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}
