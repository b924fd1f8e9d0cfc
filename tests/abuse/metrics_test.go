package abuse

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

func (d *daemon) metricsSocket() string { return filepath.Join(d.dir, "metrics.sock") }

// metrics gets all of them, as text.
func (d *daemon) metrics() string {
	d.t.Helper()
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", d.metricsSocket())
		}}}
	reply, err := client.Get("http://localhost/metrics")
	if err != nil {
		d.t.Errorf("metrics: %v", err)
		return ""
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode != http.StatusOK {
		d.t.Errorf("metrics: %v, %v", reply.Status, err)
	}
	return string(text)
}

// metric gives the sum of all series of one, -1 if it is not there.
func (d *daemon) metric(name string) float64 {
	lines := regexp.MustCompile(`(?m)^`+name+`(?:\{.*\})? (\S+)$`).FindAllStringSubmatch(d.metrics(), -1)
	if lines == nil {
		return -1
	}
	sum := 0.0
	for _, line := range lines {
		value, _ := strconv.ParseFloat(line[1], 64)
		sum += value
	}
	return sum
}

// faults gives what peers were blamed for, by reason.
func (d *daemon) faults() map[string]float64 {
	all := map[string]float64{}
	line := regexp.MustCompile(`(?m)^rbd_csi_grpc_peer_faults_total\{reason="(\w+)"\} (\S+)$`)
	for _, m := range line.FindAllStringSubmatch(d.metrics(), -1) {
		all[m[1]], _ = strconv.ParseFloat(m[2], 64)
	}
	return all
}
