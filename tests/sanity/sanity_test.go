package sanity

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	csisanity "github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

// What the environment says about the driver under test.
//
//	CSI_ENDPOINT      its socket, unix:///...                          (required)
//	CSI_CONTROLLER_ENDPOINT
//	                  that of the Controller service                   (CSI_ENDPOINT)
//	RBD_CSI_SECRETS   JSON file with userID and userKey                (required)
//	RBD_CSI_CONFIG    config.json: its first cluster is used           (required)
//	RBD_CSI_POOL      pool of the volumes                              (rbd)
//	RBD_CSI_MOUNTER   the StorageClass parameter mounter               (userspace)
//
// The driver has to serve both Controller and Node, at one socket or at two.
type target struct {
	endpoint   string
	controller string
	secrets    map[string]string
	parameters map[string]string
}

func need(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: csi-sanity needs a running driver", name)
	}
	return value
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

func readJSON(t *testing.T, path string, to any) {
	t.Helper()
	bytes, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(bytes, to); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func targetFromEnvironment(t *testing.T) target {
	t.Helper()
	var clusters []struct {
		ClusterID string `json:"clusterID"`
	}
	var secrets map[string]string
	endpoint := need(t, "CSI_ENDPOINT")
	readJSON(t, need(t, "RBD_CSI_SECRETS"), &secrets)
	readJSON(t, need(t, "RBD_CSI_CONFIG"), &clusters)
	if len(clusters) == 0 {
		t.Fatal("RBD_CSI_CONFIG names no cluster")
	}
	return target{
		endpoint:   endpoint,
		controller: os.Getenv("CSI_CONTROLLER_ENDPOINT"),
		secrets:    secrets,
		parameters: map[string]string{
			"clusterID":     clusters[0].ClusterID,
			"pool":          or(os.Getenv("RBD_CSI_POOL"), "rbd"),
			"mounter":       or(os.Getenv("RBD_CSI_MOUNTER"), "userspace"),
			"imageFeatures": "layering",
		},
	}
}

// secretsFile writes the secrets as csi-sanity wants them: one map for each
// method that takes some.
func secretsFile(t *testing.T, dir string, secrets map[string]string) string {
	t.Helper()
	all := map[string]map[string]string{}
	for _, method := range []string{
		"CreateVolume", "DeleteVolume", "ControllerPublishVolume", "ControllerUnpublishVolume",
		"ControllerValidateVolumeCapabilities", "NodeStageVolume", "NodePublishVolume",
		"CreateSnapshot", "DeleteSnapshot", "ControllerExpandVolume", "ControllerModifyVolume",
		"ListSnapshots", "GetSnapshot",
	} {
		all[method+"Secret"] = secrets
	}
	bytes, err := json.Marshal(all) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "secrets.yaml")
	if err := os.WriteFile(path, bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mountsBelow returns the mount points below dir, the newest first.
func mountsBelow(dir string) ([]string, error) {
	bytes, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, line := range strings.Split(string(bytes), "\n") {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			found = append([]string{fields[4]}, found...)
		}
	}
	return found, nil
}

// cleanUp takes away what failed specs left mounted, and says so.
func cleanUp(t *testing.T, dir string) {
	mounts, err := mountsBelow(dir)
	if err != nil {
		t.Error(err)
	}
	for _, point := range mounts {
		t.Errorf("left mounted: %s", point)
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
			t.Errorf("%s: %v", point, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// config is csi-sanity's for one access type, with directories below dir.
func (target target) config(t *testing.T, dir, access string) *csisanity.TestConfig {
	t.Helper()
	config := csisanity.NewTestConfig()
	config.Address = target.endpoint
	config.ControllerAddress = target.controller
	config.SecretsFile = secretsFile(t, dir, target.secrets)
	config.TestVolumeParameters = target.parameters
	config.TestVolumeMutableParameters = map[string]string{"baseIops": "1000"}
	config.TestVolumeAccessType = access
	config.TestVolumeSize = 1 << 30
	config.TargetPath = filepath.Join(dir, access+"-target")
	config.StagingPath = filepath.Join(dir, access+"-staging")
	return &config
}

// count tells what the suite did, by access type.
func count(report types.Report) {
	type tally struct{ run, failed, skipped int }
	tallies := map[string]*tally{"mount": {}, "block": {}}
	for _, spec := range report.SpecReports {
		if spec.LeafNodeType != types.NodeTypeIt {
			continue
		}
		tally := tallies[spec.ContainerHierarchyTexts[0]]
		switch {
		case spec.State.Is(types.SpecStateSkipped | types.SpecStatePending):
			tally.skipped++
			fmt.Printf("\n%s: %s", spec.FullText(), spec.Failure.Message)
		case spec.State.Is(types.SpecStateFailureStates):
			tally.failed++
			tally.run++
		default:
			tally.run++
		}
	}
	for _, access := range []string{"mount", "block"} {
		fmt.Printf("\ncsi-sanity %s: %d specs run, %d failed, %d of capabilities not advertised",
			access, tallies[access].run, tallies[access].failed, tallies[access].skipped)
	}
	fmt.Println()
}

// TestSanity runs csi-sanity for file system and for block volumes.
func TestSanity(t *testing.T) {
	target := targetFromEnvironment(t)
	// Not t.TempDir(): its clean-up would follow a mount that is left.
	dir, err := os.MkdirTemp("", "rbd-csi-sanity.")
	if err != nil {
		t.Fatal(err)
	}
	defer cleanUp(t, dir)

	var contexts []*csisanity.TestContext
	for _, access := range []string{"mount", "block"} {
		config := target.config(t, dir, access)
		ginkgo.Describe(access, func() {
			contexts = append(contexts, csisanity.GinkgoTest(config))
		})
	}
	ginkgo.ReportAfterSuite("count", count)
	gomega.RegisterFailHandler(ginkgo.Fail)
	suite, reporter := ginkgo.GinkgoConfiguration()
	suite.Timeout = 30 * time.Minute
	reporter.NoColor = true
	ginkgo.RunSpecs(t, "csi-sanity", suite, reporter)
	for _, context := range contexts {
		context.Finalize()
	}
}
