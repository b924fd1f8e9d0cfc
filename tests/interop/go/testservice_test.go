package interop

import (
	"context"
	"log"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/status"

	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// gRPC's own interoperability cases. What fails ends the whole program, with a line that says why.
func TestInteroperability(t *testing.T) {
	cases := []struct {
		name string
		run  func(context.Context, testpb.TestServiceClient, ...grpc.CallOption)
	}{
		{"empty_unary", interop.DoEmptyUnaryCall},
		{"large_unary", interop.DoLargeUnaryCall},
		{"client_streaming", interop.DoClientStreaming},
		{"server_streaming", interop.DoServerStreaming},
		{"ping_pong", interop.DoPingPong},
		{"empty_stream", interop.DoEmptyStream},
		{"timeout_on_sleeping_server", interop.DoTimeoutOnSleepingServer},
		{"cancel_after_begin", interop.DoCancelAfterBegin},
		{"cancel_after_first_response", interop.DoCancelAfterFirstResponse},
		{"status_code_and_message", interop.DoStatusCodeAndMessage},
		{"special_status_message", interop.DoSpecialStatusMessage},
		{"custom_metadata", interop.DoCustomMetadata},
		{"client_compressed_unary", clientCompressedUnary},
		{"concurrent_large_unary", concurrentLargeUnary},
		{"rpc_soak", func(ctx context.Context, _ testpb.TestServiceClient, _ ...grpc.CallOption) {
			conn := connect(t)
			soak(ctx, func() (*grpc.ClientConn, func()) { return conn, func() {} })
		}},
		{"channel_soak", func(ctx context.Context, _ testpb.TestServiceClient, _ ...grpc.CallOption) {
			soak(ctx, func() (*grpc.ClientConn, func()) {
				conn := connect(t)
				return conn, func() { conn.Close() }
			})
		}},
		{"unimplemented_method", func(ctx context.Context, _ testpb.TestServiceClient, _ ...grpc.CallOption) {
			interop.DoUnimplementedMethod(ctx, connect(t))
		}},
		{"unimplemented_service", func(ctx context.Context, _ testpb.TestServiceClient, _ ...grpc.CallOption) {
			interop.DoUnimplementedService(ctx, testpb.NewUnimplementedServiceClient(connect(t)))
		}},
	}
	client := testpb.NewTestServiceClient(connect(t))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			c.run(ctx, client)
		})
	}
}

// The probe is a request that says it is compressed, but is not; the server takes no compression.
func clientCompressedUnary(ctx context.Context, client testpb.TestServiceClient, _ ...grpc.CallOption) {
	request := &testpb.SimpleRequest{
		ExpectCompressed: &testpb.BoolValue{Value: true},
		ResponseSize:     314159,
		Payload:          &testpb.Payload{Body: make([]byte, 271828)},
	}
	if _, err := client.UnaryCall(ctx, request); status.Code(err) != codes.InvalidArgument {
		log.Fatalf("the probe: %v, want InvalidArgument", err)
	}
	_, err := client.UnaryCall(ctx, request, grpc.UseCompressor(gzip.Name))
	if status.Code(err) != codes.Unimplemented {
		log.Fatalf("compressed: %v, want Unimplemented", err)
	}
	request.ExpectCompressed.Value = false
	if _, err := client.UnaryCall(ctx, request); err != nil {
		log.Fatalf("not compressed: %v", err)
	}
}

func concurrentLargeUnary(ctx context.Context, client testpb.TestServiceClient, _ ...grpc.CallOption) {
	var group sync.WaitGroup
	for range 1000 {
		group.Go(func() { interop.DoLargeUnaryCall(ctx, client) })
	}
	group.Wait()
}

// soak makes large calls for a while; channel gives the connection for each.
func soak(ctx context.Context, channel func() (*grpc.ClientConn, func())) {
	interop.DoSoakTest(ctx, interop.SoakTestConfig{
		RequestSize:                      271828,
		ResponseSize:                     314159,
		PerIterationMaxAcceptableLatency: time.Minute,
		OverallTimeout:                   5 * time.Minute,
		NumWorkers:                       4,
		Iterations:                       400,
		ChannelForTest:                   channel,
	})
}
