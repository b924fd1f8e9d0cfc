// registrar stands in for node-driver-registrar, which is no Go module that can be had: it tells kubelet of a CSI
// driver through kubelet's own plugin registration API. It takes those of its flags that manifests use. As the real one
// it ends when kubelet refuses the driver, and is started again.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

type server struct {
	registration.UnsafeRegistrationServer
	info *registration.PluginInfo
}

func (s *server) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return s.info, nil
}

func (s *server) NotifyRegistrationStatus(_ context.Context, status *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		log.Fatalf("kubelet refuses %s: %s", s.info.Name, status.Error)
	}
	log.Printf("kubelet has taken %s", s.info.Name)
	return &registration.RegistrationStatusResponse{}, nil
}

func main() {
	address := flag.String("csi-address", "/run/csi/socket", "the driver's socket, here")
	endpoint := flag.String("kubelet-registration-path", "", "the driver's socket, for kubelet")
	directory := flag.String("plugin-registration-path", "/registration", "where kubelet looks for plugins")
	flag.Int("v", 0, "verbosity, ignored")
	flag.Parse()

	connection, err := grpc.NewClient("unix:"+*address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	within, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	driver, err := csi.NewIdentityClient(connection).GetPluginInfo(within, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		log.Fatal(err)
	}

	socket := filepath.Join(*directory, driver.Name+"-reg.sock")
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	service := grpc.NewServer()
	registration.RegisterRegistrationServer(service, &server{info: &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              driver.Name,
		Endpoint:          *endpoint,
		SupportedVersions: []string{"1.0.0"},
	}})
	log.Fatal(service.Serve(listener))
}
