// Package deploy holds what Go knows of Kubernetes' objects: deploy/ decoded strictly, as the API server does it, and
// the Helm chart compared with the kustomize overlays.
package deploy

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	snapshots "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

const (
	base     = "../../deploy/kubernetes"
	overlaid = "../../deploy/overlays"
	// a helm that is built by `go tool` takes itself for one of Kubernetes 1.20
	kubernetes = "--kube-version=1.35.0"
	chartAt    = "../../deploy/helm/rbd-csi"
)

var overlays = []string{"userspace", "high-density", "monitoring"}

// decoder refuses fields that a kind has not, and fields that are there twice.
func decoder(t *testing.T) runtime.Decoder {
	t.Helper()
	if err := snapshots.AddToScheme(scheme.Scheme); err != nil {
		t.Fatal(err)
	}
	if err := monitoring.AddToScheme(scheme.Scheme); err != nil {
		t.Fatal(err)
	}
	return serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
}

// documents splits YAML and returns what is not empty.
func documents(text []byte) [][]byte {
	var found [][]byte
	for _, part := range bytes.SplitAfter(append([]byte("\n"), text...), []byte("\n---\n")) {
		part = bytes.TrimSuffix(part, []byte("---\n"))
		var any map[string]interface{}
		if yaml.Unmarshal(part, &any) != nil || len(any) > 0 {
			found = append(found, part)
		}
	}
	return found
}

func run(t *testing.T, command ...string) []byte {
	t.Helper()
	var said bytes.Buffer
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(command, " "), err, out, said.Bytes())
	}
	return out
}

func tool(t *testing.T, arguments ...string) []byte {
	t.Helper()
	return run(t, append([]string{"go", "tool"}, arguments...)...)
}

// template renders the chart with the values of the base and of an overlay.
func template(t *testing.T, overlay string, more ...string) []byte {
	t.Helper()
	arguments := []string{"helm", "template", "rbd-csi", chartAt, kubernetes, "--namespace", "rbd-csi", "--no-hooks",
		"--values", filepath.Join(base, "values.yaml")}
	if overlay != "" {
		arguments = append(arguments, "--values", filepath.Join(overlaid, overlay, "values.yaml"))
	}
	return tool(t, append(arguments, more...)...)
}

func kustomize(t *testing.T, overlay string) []byte {
	t.Helper()
	dir := base
	if overlay != "" {
		dir = filepath.Join(overlaid, overlay)
	}
	return tool(t, "kustomize", "build", dir)
}

// objects returns each document in one form, by kind and name.
func objects(t *testing.T, text []byte) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, document := range documents(text) {
		var object struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
		}
		var all map[string]interface{}
		if err := yaml.UnmarshalStrict(document, &all); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(document, &object); err != nil {
			t.Fatal(err)
		}
		one, err := yaml.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		key := object.Kind + " " + object.Metadata.Namespace + "/" + object.Metadata.Name
		if _, twice := found[key]; twice {
			t.Fatalf("%s is there twice", key)
		}
		found[key] = string(one)
	}
	return found
}

func difference(a, b string) string {
	var text strings.Builder
	left, right := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := 0; i < len(left) || i < len(right); i++ {
		l, r := "", ""
		if i < len(left) {
			l = left[i]
		}
		if i < len(right) {
			r = right[i]
		}
		if l != r {
			fmt.Fprintf(&text, "line %d: helm %q, kustomize %q\n", i+1, l, r)
			break
		}
	}
	return text.String()
}

func TestHelmIsKustomize(t *testing.T) {
	for _, overlay := range append([]string{""}, overlays...) {
		t.Run("overlay "+overlay, func(t *testing.T) {
			helm, built := objects(t, template(t, overlay)), objects(t, kustomize(t, overlay))
			for key, object := range helm {
				if built[key] != object {
					t.Errorf("%s: %s", key, difference(object, built[key]))
				}
			}
			for key := range built {
				if _, there := helm[key]; !there {
					t.Errorf("helm makes no %s", key)
				}
			}
		})
	}
}

func TestLint(t *testing.T) {
	tool(t, "helm", "lint", "--strict", kubernetes, chartAt)
	tool(t, "helm", "lint", "--strict", kubernetes, chartAt, "--values", filepath.Join(base, "values.yaml"))
}

// TestSchemaRefuses wants each of these refused for its own name.
func TestSchemaRefuses(t *testing.T) {
	for _, wrong := range []string{
		"nosuch=1", "provisioner.replicaCount=0", "kubeletDir=relative", "provisioner.timeout=soon",
		"storageClass.clusterID=", "storageClass.pool=", "CSIDriver.fsGroupPolicy=Never", "nodeplugin.updateStrategy=Sometimes",
	} {
		name, _, _ := strings.Cut(wrong, "=")
		last := name[strings.LastIndex(name, ".")+1:]
		cmd := exec.Command("go", "tool", "helm", "template", "rbd-csi", chartAt, kubernetes,
			"--values", filepath.Join(base, "values.yaml"), "--set", wrong)
		said, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(said), last) {
			t.Errorf("%s: %v: %s", wrong, err, said)
		}
	}
}

// TestSettable wants what the chart can set where it belongs.
func TestSettable(t *testing.T) {
	for _, row := range []struct{ how, set, want string }{
		{"--set", "kubeletDir=/k", "path: /k/plugins/rbd.csi.ceph.com"},
		{"--set", "driverName=other.example", "--drivername=other.example"},
		{"--set", "imagePullSecrets[0].name=pull", "imagePullSecrets:"},
		{"--set", "nodeplugin.updateStrategy=OnDelete", "type: OnDelete"},
		{"--set", "nodeplugin.tolerations[0].key=special", "key: special"},
		{"--set", "provisioner.fencing=true", "--enable-fencing"},
		{"--set", "provisioner.credentials[0].clusterID=c,provisioner.credentials[0].secretName=s",
			"mountPath: /etc/rbd-csi-credentials/c"},
		{"--set", "topology.enabled=true,topology.domainLabels[0]=topology.kubernetes.io/zone",
			"--domainlabels=topology.kubernetes.io/zone"},
		{"--set", "readAffinity.enabled=true,readAffinity.crushLocationLabels[0]=a/host",
			"--crush-location-labels=a/host"},
		{"--set", "encryptionKMSConfig.k.encryptionKMSType=metadata", `"encryptionKMSType": "metadata"`},
		{"--set", "csiMapping[0].clusterIDMapping.a=b", "cluster-mapping.json"},
		{"--set", "provisioner.clustername=here", "--clustername=here"},
		{"--set", "storageClass.mounter=userspace", `mounter: "userspace"`},
		{"--set", "nodeplugin.imagePullSecrets[0].name=pull", "imagePullSecrets:"},
		{"--set", "provisioner.imagePullSecrets[0].name=pull", "imagePullSecrets:"},
		{"--set", "storageClass.nodeStageSecret=other", "node-stage-secret-name: other"},
		{"--set", "storageClass.controllerExpandSecretNamespace=other", "controller-expand-secret-namespace: other"},
		{"--set", "storageClass.stripeUnit=65536", `stripeUnit: "65536"`},
		{"--set", "storageClass.tryOtherMounters=true", `tryOtherMounters: "true"`},
		{"--set", "storageClass.pool=,storageClass.topologyConstrainedPools[0].poolName=a," +
			"storageClass.topologyConstrainedPools[0].domainSegments[0].domainLabel=zone," +
			"storageClass.topologyConstrainedPools[0].domainSegments[0].value=z",
			`topologyConstrainedPools: "[{\"domainSegments\":[{\"domainLabel\":\"zone\",\"value\":\"z\"}],\"poolName\":\"a\"}]"`},
		{"--set-string", "storageClass.topologyConstrainedPools=[]", `topologyConstrainedPools: "[]"`},
		{"--set", "volumeSnapshotClass.snapshotterSecret=other", "snapshotter-secret-name: other"},
		{"--set", "configMapKey=other.json", "key: other.json"},
		{"--set-string", "storageClass.parameters.encryptionType=block", `encryptionType: "block"`},
	} {
		text := template(t, "", row.how, row.set)
		if !strings.Contains(string(text), row.want) {
			t.Errorf("%s: no %q", row.set, row.want)
		}
		decode(t, row.set, text)
	}
}

func decode(t *testing.T, name string, text []byte) {
	t.Helper()
	strict := decoder(t)
	found := documents(text)
	if len(found) == 0 {
		t.Errorf("%s: nothing in it", name)
	}
	for _, document := range found {
		if _, _, err := strict.Decode(document, nil, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStrictly(t *testing.T) {
	for _, overlay := range append([]string{""}, overlays...) {
		decode(t, "overlay "+overlay, kustomize(t, overlay))
	}
	for _, pattern := range []string{"../../deploy/examples/*.yaml", "ceph-csi/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			decode(t, filepath.Base(file), text)
		}
	}
	if _, _, err := decoder(t).Decode([]byte("apiVersion: v1\nkind: Pod\nspec: {nosuch: 1}"), nil, nil); err == nil {
		t.Error("a field that is not there is taken")
	}
}

func TestManifestsAreMade(t *testing.T) {
	run(t, "../../scripts/manifests", "--check")
}
