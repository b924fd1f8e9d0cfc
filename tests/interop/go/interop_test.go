// grpc-go against the test server; its endpoint is in INTEROP_ENDPOINT.
package interop

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const text = "\t\nvolume vöĺ: 100 % ☺ 😈\r\n"

// raw is a codec for messages that are plain bytes.
type raw struct{}

func (raw) Name() string                       { return "raw" }
func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }

var _ encoding.Codec = raw{}

func socket(t *testing.T) string {
	endpoint := os.Getenv("INTEROP_ENDPOINT")
	if endpoint == "" {
		t.Skip("INTEROP_ENDPOINT is not set: see run")
	}
	return strings.TrimPrefix(endpoint, "unix://")
}

// connect dials as csi-lib-utils does: an own dialer for the socket.
func connect(t *testing.T, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	path := socket(t)
	options = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}),
	}, options...)
	conn, err := grpc.NewClient("passthrough:///"+path, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func call(conn *grpc.ClientConn, timeout time.Duration, method string, request []byte,
	options ...grpc.CallOption) ([]byte, *status.Status) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return callIn(ctx, conn, method, request, options...)
}

func callIn(ctx context.Context, conn *grpc.ClientConn, method string, request []byte,
	options ...grpc.CallOption) ([]byte, *status.Status) {
	if !strings.HasPrefix(method, "/") {
		method = "/interop.Test/" + method
	}
	var reply []byte
	options = append([]grpc.CallOption{grpc.ForceCodec(raw{}),
		grpc.MaxCallRecvMsgSize(8 << 20)}, options...)
	err := conn.Invoke(ctx, method, &request, &reply, options...)
	return reply, status.Convert(err)
}

func expect(t *testing.T, got *status.Status, code codes.Code, message string) {
	t.Helper()
	if got.Code() != code || (message != "" && got.Message() != message) {
		t.Errorf("got %v %q, want %v %q", got.Code(), got.Message(), code, message)
	}
}

func echo(t *testing.T, conn *grpc.ClientConn, request []byte, options ...grpc.CallOption) {
	t.Helper()
	reply, st := call(conn, 2*time.Minute, "Echo", request, options...)
	expect(t, st, codes.OK, "")
	if !bytes.Equal(reply, request) {
		t.Errorf("%d bytes came back of %d", len(reply), len(request))
	}
}

func number(t *testing.T, conn *grpc.ClientConn, method string) (n int) {
	t.Helper()
	reply, st := call(conn, 2*time.Minute, method, nil)
	expect(t, st, codes.OK, "")
	fmt.Sscan(string(reply), &n)
	return n
}

// The first test: what ran before has lost its connections.
func TestNoCallIsLeft(t *testing.T) {
	conn := connect(t)
	for end := time.Now().Add(2 * time.Minute); number(t, conn, "Running") != 0; {
		if time.Now().After(end) {
			t.Fatal("the server still holds calls")
		}
	}
}

func TestUnary(t *testing.T) {
	conn := connect(t)
	echo(t, conn, []byte("hello"))
	echo(t, conn, nil)
}

func TestMetadataThatNobodyKnows(t *testing.T) {
	ctx := metadata.AppendToOutgoingContext(context.Background(), "x-one", "1",
		"x-two-bin", "\x00\x01")
	_, st := callIn(ctx, connect(t), "Echo", []byte("x"))
	expect(t, st, codes.OK, "")
}

// The bytes are of each length that base64 pads differently, and none.
func TestMetadata(t *testing.T) {
	const initial, trailing = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
	conn := connect(t)
	for _, value := range []string{"", "\x00", "\xab\xab", "\xff,\xfe", strings.Repeat("\x80", 1024)} {
		var header, trailer metadata.MD
		ctx := metadata.AppendToOutgoingContext(context.Background(), initial, "a b",
			initial, "c", trailing, value)
		_, st := callIn(ctx, conn, "/grpc.testing.TestService/UnaryCall", nil,
			grpc.Header(&header), grpc.Trailer(&trailer))
		expect(t, st, codes.OK, "")
		if got := header.Get(initial); !slices.Equal(got, []string{"a b,c"}) {
			t.Errorf("header: got %q", got)
		}
		if got := trailer.Get(trailing); !slices.Equal(got, []string{value}) {
			t.Errorf("trailer: got %q, want %q", got, value)
		}
	}
}

// gRPC suggests that 8 KiB are taken; beyond 16 the server has told that it takes no more.
func TestMuchMetadata(t *testing.T) {
	conn := connect(t)
	for size, code := range map[int]codes.Code{8 << 10: codes.OK, 17 << 10: codes.Internal} {
		ctx := metadata.AppendToOutgoingContext(context.Background(), "x-much", strings.Repeat("m", size))
		_, st := callIn(ctx, conn, "Echo", []byte("x"))
		expect(t, st, code, "")
	}
}

func TestStatusDetails(t *testing.T) {
	conn := connect(t)
	for _, info := range []*errdetails.ErrorInfo{
		{Reason: "POOL_FULL", Domain: "rbd.csi.ceph.com", Metadata: map[string]string{"pool": "vöĺ"}},
		{},
		{Reason: strings.Repeat("long ", 400)},
	} {
		request, err := proto.Marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		_, st := call(conn, 2*time.Minute, "Details", request)
		expect(t, st, codes.FailedPrecondition, "with details ☺")
		got := st.Details()
		if len(got) != 1 {
			t.Errorf("got %d details", len(got))
		} else if detail, ok := got[0].(*errdetails.ErrorInfo); !ok || !proto.Equal(detail, info) {
			t.Errorf("got %v, want %v", got[0], info)
		}
	}
}

func TestLargeMessages(t *testing.T) {
	conn := connect(t)
	for _, size := range []int{271828, 4 << 20} {
		echo(t, conn, bytes.Repeat([]byte{7}, size))
	}
	_, st := call(conn, 2*time.Minute, "Echo", make([]byte, 4<<20+1))
	expect(t, st, codes.ResourceExhausted, "")
	reply, st := call(conn, 2*time.Minute, "Size", []byte("5000000"))
	expect(t, st, codes.OK, "")
	if len(reply) != 5000000 {
		t.Errorf("got %d bytes", len(reply))
	}
}

func TestStatus(t *testing.T) {
	conn := connect(t)
	for code := codes.Code(1); code <= 16; code++ {
		_, st := call(conn, 2*time.Minute, "Status", []byte(fmt.Sprintf("%d text", code)))
		expect(t, st, code, "text")
	}
	_, st := call(conn, 2*time.Minute, "Status", []byte("5 "+text))
	expect(t, st, codes.NotFound, text)
}

func TestUnimplemented(t *testing.T) {
	conn := connect(t)
	_, st := call(conn, 2*time.Minute, "Nope", nil)
	expect(t, st, codes.Unimplemented, "")
	_, st = call(conn, 2*time.Minute, "/interop.Nope/Echo", nil)
	expect(t, st, codes.Unimplemented, "")
	_, st = call(conn, 2*time.Minute, "Echo", []byte("x"), grpc.UseCompressor(gzip.Name))
	expect(t, st, codes.Unimplemented, "")
}

func TestDeadline(t *testing.T) {
	conn := connect(t)
	// On a loaded machine the client's own text may come before the server's, whose margin is 100 ms.
	var st *status.Status
	for range 30 {
		start := time.Now()
		_, st = call(conn, 2*time.Second, "Sleep", []byte("600000"))
		if took := time.Since(start); took < time.Second {
			t.Errorf("took %v", took)
		}
		if st.Message() == "was asleep" {
			break
		}
	}
	expect(t, st, codes.DeadlineExceeded, "was asleep")
	reply, st := call(conn, 2*time.Minute, "Sleep", []byte("50"))
	expect(t, st, codes.OK, "")
	if string(reply) != "awake" {
		t.Errorf("got %q", reply)
	}
}

func TestCancel(t *testing.T) {
	conn := connect(t)
	before := number(t, conn, "Gone")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan *status.Status)
	go func() {
		_, st := callIn(ctx, conn, "Never", nil)
		done <- st
	}()
	for number(t, conn, "Running") == 0 {
	}
	cancel()
	expect(t, <-done, codes.Canceled, "")
	for end := time.Now().Add(2 * time.Minute); number(t, conn, "Gone") == before; {
		if time.Now().After(end) {
			t.Fatal("the server still holds the call")
		}
	}
}

func TestConcurrent(t *testing.T) {
	conn := connect(t)
	var group sync.WaitGroup
	for i := range 1000 {
		group.Go(func() { echo(t, conn, []byte(fmt.Sprint(i))) })
	}
	for range 32 {
		group.Go(func() { echo(t, conn, make([]byte, 300000)) })
	}
	group.Wait()
}

// kubelet's way: a new connection for every call.
func TestConnectionPerCall(t *testing.T) {
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := range 50 {
				conn := connect(t)
				echo(t, conn, []byte(fmt.Sprint(worker, i)))
				conn.Close()
			}
		})
	}
	group.Wait()
}

func TestAuthority(t *testing.T) {
	for _, authority := range []string{"localhost", "/var/lib/kubelet/plugins/x/csi.sock",
		"unix:/csi/csi.sock", "%2Fvar%2Flib%2Fcsi.sock", "a b"} {
		echo(t, connect(t, grpc.WithAuthority(authority)), []byte(authority))
	}
	// without one, grpc-go makes it from the target
	for _, target := range []string{"unix://" + socket(t), "unix:" + socket(t)} {
		conn, err := grpc.NewClient(target,
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		echo(t, conn, []byte(target))
		conn.Close()
	}
}

// Pings, also those that grpc-go sends to estimate the bandwidth, are no abuse.
func TestKeepalive(t *testing.T) {
	conn := connect(t, grpc.WithKeepaliveParams(keepalive.ClientParameters{
		Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}))
	for range 50 {
		echo(t, conn, make([]byte, 200000))
	}
}
