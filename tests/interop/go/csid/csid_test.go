// grpc-go's health client and protoreflect's reflection client against rbd-csid, whose endpoint is
// in INTEROP_ENDPOINT.
package csid

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jhump/protoreflect/grpcreflect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	_ "google.golang.org/grpc/health" // lets connections watch the health of a service
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
)

var (
	served = []string{"", "csi.v1.Controller", "csi.v1.Identity", "csi.v1.Node"}
	listed = []string{"csi.v1.Controller", "csi.v1.Identity", "csi.v1.Node", "grpc.health.v1.Health",
		"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
		"rbdcsi.admin.v1.Admin"}
)

func connect(t *testing.T, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	endpoint := os.Getenv("INTEROP_ENDPOINT")
	if endpoint == "" {
		t.Skip("INTEROP_ENDPOINT is not set: see run")
	}
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient(endpoint, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func expectCode(t *testing.T, err error, code codes.Code) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("got %v, want %v", err, code)
	}
}

func TestHealthCheck(t *testing.T) {
	client := healthpb.NewHealthClient(connect(t))
	for _, service := range served {
		reply, err := client.Check(bounded(t), &healthpb.HealthCheckRequest{Service: service})
		if err != nil || reply.Status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%q: got %v, %v", service, reply, err)
		}
	}
	_, err := client.Check(bounded(t), &healthpb.HealthCheckRequest{Service: "csi.v1.Nope"})
	expectCode(t, err, codes.NotFound)
}

func TestHealthList(t *testing.T) {
	reply, err := healthpb.NewHealthClient(connect(t)).List(bounded(t), &healthpb.HealthListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range served {
		if reply.Statuses[service].GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%q: got %v", service, reply.Statuses[service])
		}
	}
	if len(reply.Statuses) != len(served) {
		t.Errorf("got %v", reply.Statuses)
	}
}

func TestHealthWatch(t *testing.T) {
	client := healthpb.NewHealthClient(connect(t))
	for service, want := range map[string]healthpb.HealthCheckResponse_ServingStatus{
		"":            healthpb.HealthCheckResponse_SERVING,
		"csi.v1.Node": healthpb.HealthCheckResponse_SERVING,
		"csi.v1.Nope": healthpb.HealthCheckResponse_SERVICE_UNKNOWN,
	} {
		ctx, cancel := context.WithCancel(bounded(t))
		watch, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		reply, err := watch.Recv()
		if err != nil || reply.Status != want {
			t.Errorf("%q: got %v, %v", service, reply, err)
		}
		cancel()
		_, err = watch.Recv() // it goes on until it is cancelled
		expectCode(t, err, codes.Canceled)
	}
}

// grpc-go watches the health of a service by itself where it is told to, and calls it only then.
func TestConnectionWatchesHealth(t *testing.T) {
	const config = `{"loadBalancingConfig": [{"round_robin": {}}],
		"healthCheckConfig": {"serviceName": %q}}`
	call := func(service string) error {
		conn := connect(t, grpc.WithDefaultServiceConfig(fmt.Sprintf(config, service)))
		return conn.Invoke(bounded(t), "/csi.v1.Identity/Probe", &emptypb.Empty{}, &emptypb.Empty{})
	}
	expectCode(t, call("csi.v1.Identity"), codes.OK)
	expectCode(t, call("csi.v1.Nope"), codes.Unavailable)
}

func TestReflection(t *testing.T) {
	conn := connect(t)
	for version, client := range map[string]*grpcreflect.Client{
		"v1":      grpcreflect.NewClientV1(bounded(t), reflectv1.NewServerReflectionClient(conn)),
		"v1alpha": grpcreflect.NewClientV1Alpha(bounded(t), reflectv1alpha.NewServerReflectionClient(conn)),
	} {
		t.Run(version, func(t *testing.T) {
			defer client.Reset()
			reflects(t, client)
		})
	}
}

func reflects(t *testing.T, client *grpcreflect.Client) {
	services, err := client.ListServices()
	slices.Sort(services)
	if err != nil || !slices.Equal(services, listed) {
		t.Errorf("got %v, %v", services, err)
	}
	methods := 0
	for _, name := range services {
		service, err := client.ResolveService(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, method := range service.GetMethods() {
			methods++
			for _, name := range []string{method.GetInputType().GetFullyQualifiedName(),
				method.GetOutputType().GetFullyQualifiedName()} {
				if _, err := client.ResolveMessage(name); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	if methods < 35 {
		t.Errorf("there are only %d methods", methods)
	}
	file, err := client.FileByFilename("csi.proto")
	if err != nil || file.FindService("csi.v1.Node") == nil {
		t.Errorf("csi.proto: got %v", err)
	}
	const options = "google.protobuf.FieldOptions"
	numbers, err := client.AllExtensionNumbersForType(options)
	if err != nil || !slices.Contains(numbers, 1059) {
		t.Errorf("extensions of %s: got %v, %v", options, numbers, err)
	}
	secret, err := client.ResolveExtension(options, 1059)
	if err != nil || secret.GetFullyQualifiedName() != "csi.v1.csi_secret" {
		t.Errorf("the extension that marks a secret: got %v, %v", secret, err)
	}
	for _, symbol := range []string{"csi.v1.Nope", "csi.v1", ""} {
		if _, err := client.FileContainingSymbol(symbol); !grpcreflect.IsElementNotFoundError(err) {
			t.Errorf("symbol %q: got %v", symbol, err)
		}
	}
	if _, err := client.FileByFilename("nope.proto"); !grpcreflect.IsElementNotFoundError(err) {
		t.Errorf("an unknown file: got %v", err)
	}
}
