package abuse

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/encoding/protowire"
)

// raw is a codec for messages that are plain bytes.
type raw struct{}

func (raw) Name() string                       { return "raw" }
func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = slices.Clone(data); return nil }

var _ encoding.Codec = raw{}

const (
	getCapabilities = "/csi.v1.Node/NodeGetCapabilities"
	getInfo         = "/csi.v1.Node/NodeGetInfo"
	probe           = "/csi.v1.Identity/Probe"
	createVolume    = "/csi.v1.Controller/CreateVolume"
)

// connect dials as csi-lib-utils does: an own dialer for the socket.
func connect(t testing.TB, socket string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	options = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}),
	}, options...)
	conn, err := grpc.NewClient("passthrough:///"+socket, options...)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func invoke(ctx context.Context, conn *grpc.ClientConn, method string, request []byte,
	options ...grpc.CallOption) ([]byte, error) {
	var reply []byte
	options = append([]grpc.CallOption{grpc.ForceCodec(raw{})}, options...)
	err := conn.Invoke(ctx, method, &request, &reply, options...)
	return reply, err
}

// createRequest is a CreateVolume of a cluster that does not answer: a call that stays running.
func createRequest(name string) []byte {
	pair := func(key, value string) []byte {
		m := protowire.AppendTag(nil, 1, protowire.BytesType)
		m = protowire.AppendString(m, key)
		m = protowire.AppendTag(m, 2, protowire.BytesType)
		return protowire.AppendString(m, value)
	}
	bytes := func(m []byte, field protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(m, field, protowire.BytesType), value)
	}
	mode := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
	capability := bytes(bytes(nil, 2, nil), 3, mode) // mount, SINGLE_NODE_WRITER
	m := bytes(nil, 1, []byte(name))
	m = bytes(m, 3, capability)
	m = bytes(m, 4, pair("clusterID", "nowhere"))
	m = bytes(m, 4, pair("pool", "rbd"))
	m = bytes(m, 5, pair("userID", "nobody"))
	return bytes(m, 5, pair("userKey", "AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA=="))
}

// goodClient makes calls all the time, on one connection and, as kubelet does, with a connection
// for each, and notes how long each took.
type goodClient struct {
	stop  chan struct{}
	group sync.WaitGroup

	mu     sync.Mutex
	made   *sync.Cond // one more
	took   []time.Duration
	failed []error
}

// Each call has to be answered within this, whatever others do.
const goodTimeout = 30 * time.Second

func startGoodClient(t testing.TB, socket string, options ...grpc.DialOption) *goodClient {
	g := &goodClient{stop: make(chan struct{})}
	g.made = sync.NewCond(&g.mu)
	held := connect(t, socket, options...)
	g.loop(func(ctx context.Context) error {
		_, err := invoke(ctx, held, getCapabilities, nil)
		return err
	}, func() { held.Close() })
	g.loop(func(ctx context.Context) error {
		conn := connect(t, socket, options...)
		defer conn.Close()
		_, err := invoke(ctx, conn, getInfo, nil)
		return err
	}, func() {})
	return g
}

func (g *goodClient) loop(call func(ctx context.Context) error, end func()) {
	g.group.Add(1)
	go func() {
		defer g.group.Done()
		defer end()
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-g.stop:
				return
			case <-pace.C:
			}
			ctx, cancel := context.WithTimeout(context.Background(), goodTimeout)
			start := time.Now()
			err := call(ctx)
			took := time.Since(start)
			cancel()
			g.mu.Lock()
			g.took = append(g.took, took)
			g.made.Broadcast()
			if err != nil {
				g.failed = append(g.failed, err)
			}
			g.mu.Unlock()
		}
	}()
}

func (g *goodClient) calls() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.took)
}

// waitCall waits for the end of a call; none lasts longer than goodTimeout.
func (g *goodClient) waitCall() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.made.Wait()
}

// finish ends it and tells the number of calls, the 99th percentile, and what failed.
func (g *goodClient) finish() (calls int, p99 time.Duration, failed []error) {
	close(g.stop)
	g.group.Wait()
	slices.Sort(g.took)
	if len(g.took) > 0 {
		p99 = g.took[len(g.took)*99/100]
	}
	return len(g.took), p99, g.failed
}

func summarize(failed []error) string {
	count := map[string]int{}
	for _, err := range failed {
		count[err.Error()]++
	}
	text := ""
	for what, n := range count {
		text += fmt.Sprintf("%d times %s; ", n, what)
	}
	return text
}
