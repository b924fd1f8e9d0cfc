// h2spec's cases against the test server, whose endpoint is in INTEROP_ENDPOINT.
//
// h2spec dials TCP. So each run listens on the loopback interface, and what comes in is relayed to
// the server's socket. On the way requests are made calls of gRPC, see dress_test.go.
package h2spec

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

const (
	sums = "/grpc.testing.TestService/StreamingInputCall" // a request without messages has an answer, too
	hold = "/interop.Test/Hold"                           // never answers
)

// Cases that are about a stream that is still open.
var holding = map[string]bool{
	"generic/2/4": true, "http2/5.1/5": true, "http2/5.1/6": true, "http2/5.1/7": true,
	"http2/5.1.2/1": true, "http2/6.1/2": true,
}

func TestH2spec(t *testing.T) {
	endpoint := os.Getenv("INTEROP_ENDPOINT")
	if endpoint == "" {
		t.Skip("INTEROP_ENDPOINT is not set: see run")
	}
	path := strings.TrimPrefix(endpoint, "unix://")
	// What hpack has is wrong before it is a request, and about its exact bytes.
	plain, dressed := listen(t, path, copyBytes), listen(t, path, dress)
	listed := map[string]bool{}
	for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec()} {
		runGroup(t, dressed, group, listed)
	}
	runGroup(t, plain, hpack.Spec(), listed)
	for id, e := range exceptions {
		if !listed[id] {
			t.Errorf("h2spec has no case %s %q", id, e.name)
		}
	}
}

func runGroup(t *testing.T, c config.Config, group *spec.TestGroup, listed map[string]bool) {
	for i, tc := range append(group.Tests, group.StrictTests...) {
		id := fmt.Sprintf("%s/%d", group.ID(), i+1)
		e, excepted := exceptions[id]
		if excepted && e.name == tc.Desc {
			listed[id] = true
		}
		t.Run(id+" "+tc.Desc, func(t *testing.T) {
			t.Parallel()
			err := runCase(c, id, tc)
			switch {
			case excepted && err == nil:
				t.Errorf("passes, but is listed as an exception: %s", e.reason)
			case !excepted && err != nil:
				t.Errorf("%s\n%v", tc.Requirement, err)
			}
		})
	}
	for _, g := range group.Groups {
		runGroup(t, c, g, listed)
	}
}

func runCase(c config.Config, id string, tc *spec.TestCase) error {
	c.Path = sums
	if holding[id] {
		c.Path = hold
	}
	conn, err := spec.Dial(&c)
	if err != nil {
		return err
	}
	defer conn.Close()
	return tc.Run(&c, conn)
}

// listen gives a port that leads to the socket at path; relay carries what the client sends.
func listen(t *testing.T, path string, relay func(to io.Writer, from io.Reader) error) config.Config {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go connect(client.(*net.TCPConn), path, relay)
		}
	}()
	return config.Config{
		Host:         "127.0.0.1",
		Port:         listener.Addr().(*net.TCPAddr).Port,
		Timeout:      20 * time.Second,
		MaxHeaderLen: 4000,
		Strict:       true,
	}
}

func connect(client *net.TCPConn, path string, relay func(to io.Writer, from io.Reader) error) {
	defer client.Close()
	server, err := net.Dial("unix", path)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		io.Copy(client, server)
		client.CloseWrite()
	}()
	// When the server is gone the client may still write: a reset would hide what it was sent.
	if relay(server, client) != nil {
		io.Copy(io.Discard, client)
	}
}

func copyBytes(to io.Writer, from io.Reader) error {
	_, err := io.Copy(to, from)
	return err
}
