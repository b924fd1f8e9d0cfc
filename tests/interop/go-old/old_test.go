// An old grpc-go, of the time of Kubernetes 1.18, against the test server; its endpoint is in
// INTEROP_ENDPOINT. It sends its target as :authority, whatever that is.
package old

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/status"

	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// raw is a codec for messages that are plain bytes.
type raw struct{}

func (raw) Name() string                               { return "raw" }
func (raw) Marshal(v interface{}) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v interface{}) error { *v.(*[]byte) = bytes.Clone(data); return nil }

// recorder keeps what is sent.
type recorder struct {
	net.Conn
	mu   sync.Mutex
	sent bytes.Buffer
}

func (r *recorder) Write(bytes []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent.Write(bytes)
	return r.Conn.Write(bytes)
}

// authority gives the :authority of the first request.
func (r *recorder) authority(t *testing.T) (authority string, present bool) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	from := bytes.NewReader(bytes.Clone(r.sent.Bytes()))
	from.Seek(int64(len(http2.ClientPreface)), io.SeekStart)
	framer := http2.NewFramer(nil, from)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("no request was sent: %v", err)
		}
		if headers, ok := frame.(*http2.MetaHeadersFrame); ok {
			for _, field := range headers.PseudoFields() {
				if field.Name == ":authority" {
					return field.Value, true
				}
			}
			return "", false
		}
	}
}

// dial connects as an old kubelet did: the target is the socket, or what is made of it, and a dialer
// of its own opens it.
func dial(t *testing.T, target string, options ...grpc.DialOption) (*grpc.ClientConn, *recorder) {
	t.Helper()
	endpoint := os.Getenv("INTEROP_ENDPOINT")
	if endpoint == "" {
		t.Skip("INTEROP_ENDPOINT is not set: see run")
	}
	recorder := &recorder{}
	options = append(options, grpc.WithInsecure(), grpc.WithBlock(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var err error
			recorder.Conn, err = (&net.Dialer{}).DialContext(ctx, "unix",
				strings.TrimPrefix(endpoint, "unix://"))
			return recorder, err
		}))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	conn, err := grpc.DialContext(ctx, target, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, recorder
}

func call(conn *grpc.ClientConn, method string, request []byte, timeout time.Duration) ([]byte, *status.Status) {
	var reply []byte
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := conn.Invoke(ctx, "/interop.Test/"+method, &request, &reply, grpc.ForceCodec(raw{}))
	return reply, status.Convert(err)
}

func TestAuthority(t *testing.T) {
	const path = "/var/lib/kubelet/plugins/x/csi.sock"
	for _, c := range []struct {
		name, target, authority string
		options                 []grpc.DialOption
	}{
		{"a socket path", path, path, nil},
		{"unix:/path", "unix:" + path, "unix:" + path, nil},
		{"unix:///path", "unix://" + path, "unix://" + path, nil},
		{"percent-encoded", "%2Fvar%2Flib%2Fcsi.sock", "%2Fvar%2Flib%2Fcsi.sock", nil},
		{"empty", "", "", nil},
		{"localhost", path, "localhost", []grpc.DialOption{grpc.WithAuthority("localhost")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, recorder := dial(t, c.target, c.options...)
			reply, st := call(conn, "Echo", []byte("x"), 2*time.Minute)
			if st.Code() != codes.OK || string(reply) != "x" {
				t.Errorf("got %v %q", st, reply)
			}
			if authority, _ := recorder.authority(t); authority != c.authority {
				t.Errorf("sent %q, want %q", authority, c.authority)
			}
		})
	}
}

func TestCalls(t *testing.T) {
	conn, _ := dial(t, "")
	for _, size := range []int{0, 100, 1 << 20, 4 << 20} {
		request := bytes.Repeat([]byte{7}, size)
		reply, st := call(conn, "Echo", request, 2*time.Minute)
		if st.Code() != codes.OK || !bytes.Equal(reply, request) {
			t.Errorf("%d bytes: got %v and %d", size, st, len(reply))
		}
	}
	if _, st := call(conn, "Sleep", []byte("60000"), time.Second); st.Code() != codes.DeadlineExceeded {
		t.Errorf("got %v", st)
	}
	if _, st := call(conn, "Nope", nil, 2*time.Minute); st.Code() != codes.Unimplemented {
		t.Errorf("got %v", st)
	}
}

// Old kubelets, too, make a connection for each call.
func TestConnectionPerCall(t *testing.T) {
	for range 100 {
		conn, _ := dial(t, "")
		if _, st := call(conn, "Echo", []byte("x"), 2*time.Minute); st.Code() != codes.OK {
			t.Fatal(st)
		}
		conn.Close()
	}
}

// gRPC's own cases, as they were then. What fails ends the program.
func TestInteroperability(t *testing.T) {
	conn, _ := dial(t, "")
	client := testpb.NewTestServiceClient(conn)
	for name, run := range map[string]func(testpb.TestServiceClient, ...grpc.CallOption){
		"empty_unary":                 interop.DoEmptyUnaryCall,
		"large_unary":                 interop.DoLargeUnaryCall,
		"client_streaming":            interop.DoClientStreaming,
		"server_streaming":            interop.DoServerStreaming,
		"ping_pong":                   interop.DoPingPong,
		"empty_stream":                interop.DoEmptyStream,
		"timeout_on_sleeping_server":  interop.DoTimeoutOnSleepingServer,
		"cancel_after_begin":          interop.DoCancelAfterBegin,
		"cancel_after_first_response": interop.DoCancelAfterFirstResponse,
		"custom_metadata":             interop.DoCustomMetadata,
		"status_code_and_message":     interop.DoStatusCodeAndMessage,
		"special_status_message":      interop.DoSpecialStatusMessage,
	} {
		t.Run(name, func(t *testing.T) { run(client) })
	}
}
