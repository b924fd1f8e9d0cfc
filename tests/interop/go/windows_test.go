package interop

import (
	"context"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"

	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// exchange sends large messages in both directions at once.
func exchange(t *testing.T, conn *grpc.ClientConn, messages, size int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stream, err := testpb.NewTestServiceClient(conn).FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range messages {
			err := stream.Send(&testpb.StreamingOutputCallRequest{
				ResponseParameters: []*testpb.ResponseParameters{{Size: int32(size)}},
				Payload:            &testpb.Payload{Body: make([]byte, size)},
			})
			if err != nil {
				return // Recv tells why
			}
		}
		stream.CloseSend()
	}()
	for i := range messages {
		reply, err := stream.Recv()
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if got := len(reply.GetPayload().GetBody()); got != size {
			t.Fatalf("message %d: got %d bytes, want %d", i, got, size)
		}
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Fatalf("the end: %v", err)
	}
}

func TestWindows(t *testing.T) {
	for _, c := range []struct {
		name             string
		stream, together int32
	}{
		{"the smallest", 65535, 65535},
		{"a small connection window", 1 << 20, 65535},
		{"a small stream window", 65535, 1 << 20},
		{"large ones", 16 << 20, 16 << 20},
		{"the largest", 1<<31 - 1, 1<<31 - 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w wire
			conn := connect(t, w.dialer(t), grpc.WithInitialWindowSize(c.stream),
				grpc.WithInitialConnWindowSize(c.together))
			exchange(t, conn, 4, 3<<20)
			if seen := w.seen(); seen.bdpPings != 0 {
				t.Errorf("windows are fixed, but there are %d pings", seen.bdpPings)
			}
		})
	}
}

// With no window set, grpc-go estimates the bandwidth: it sends pings behind DATA, and raises
// INITIAL_WINDOW_SIZE while streams are open. Neither is abuse.
func TestWindowsGrowMidStream(t *testing.T) {
	var w wire
	conn := connect(t, w.dialer(t))
	exchange(t, conn, 40, 3<<20)
	seen := w.seen()
	t.Logf("%d pings, windows %d", seen.bdpPings, seen.windows)
	if seen.bdpPings == 0 {
		t.Error("the client sent no ping to estimate the bandwidth")
	}
	if n := len(seen.windows); n == 0 || seen.windows[n-1] <= 65535 {
		t.Error("the client did not raise its window")
	}
	echo(t, conn, []byte("goes on"))
}
