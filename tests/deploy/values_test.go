package deploy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

type object = map[string]interface{}

// worlds are values with which everything that the chart can make is made.
var worlds = []string{`
csiConfig: [{clusterID: c, monitors: [m]}]
csiMapping: [{clusterIDMapping: {a: b}}]
encryptionKMSConfig: {k: {encryptionKMSType: metadata}}
namespace: {create: true}
topology: {enabled: true, domainLabels: [zone]}
readAffinity: {enabled: true, crushLocationLabels: [host]}
podMonitor: {enabled: true}
prometheusRule: {enabled: true}
dashboard: {enabled: true}
storageClass: {create: true, clusterID: c, pool: p}
volumeSnapshotClass: {create: true, clusterID: c}
secret: {create: true, userID: u, userKey: k}
`, `
csiConfig: [{clusterID: c, monitors: [m]}]
nodeplugin: {userspaceMapper: {enabled: true}}
`}

// theirs has what a copy of ceph-csi's values.yaml has: names without a value, empty strings and lists.
const theirs = `
serviceAccounts: {nodeplugin: {create: true, name: null}, provisioner: {create: true, name: null}}
csiConfig: [{clusterID: c, monitors: [m], rbd: {netNamespaceFilePath: "/n"}, readAffinity: {enabled: true}}]
csiMapping: []
encryptionKMSConfig: {}
commonLabels: {}
nodeplugin:
  name: nodeplugin
  updateStrategy: RollingUpdate
  httpMetrics: {enabled: true, containerPort: 8080}
  imagePullSecrets: []
  registrar: {resources: {}}
  plugin: {resources: {}}
  nodeSelector: {}
  tolerations: []
  affinity: {}
  annotations: {}
  podAnnotations: {}
provisioner:
  name: provisioner
  strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 50%}}
  httpMetrics: {enabled: true, containerPort: 8080}
  imagePullSecrets: []
  provisioner: {resources: {}, args: null, extraArgs: []}
  attacher: {enabled: true, resources: {}, args: null, extraArgs: []}
  resizer: {enabled: true, resources: {}, args: null, extraArgs: []}
  snapshotter: {resources: {}, args: {httpEndpointPort: 9999}, extraArgs: []}
  annotations: {}
topology: {domainLabels: []}
storageClass:
  create: true
  clusterID: c
  pool: p
  dataPool: ""
  imageFeatures: layering
  mounter: ""
  cephLogDir: ""
  cephLogStrategy: ""
  volumeNamePrefix: ""
  encrypted: ""
  encryptionKMSID: ""
  topologyConstrainedPools: []
  mapOptions: ""
  unmapOptions: ""
  stripeUnit: ""
  stripeCount: ""
  objectSize: ""
  provisionerSecret: csi-rbd-secret
  provisionerSecretNamespace: ""
  controllerExpandSecret: csi-rbd-secret
  controllerExpandSecretNamespace: ""
  nodeStageSecret: csi-rbd-secret
  nodeStageSecretNamespace: ""
  mountOptions: []
secret: {create: true, userID: u, userKey: k, encryptionPassphrase: test_passphrase}
`

func parsed(t *testing.T, text []byte) object {
	t.Helper()
	var found object
	if err := yaml.Unmarshal(text, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// rendered is all that the chart makes with values, without what it tells people; the schema has been asked.
func rendered(t *testing.T, of *chart.Chart, values object) string {
	t.Helper()
	release := chartutil.ReleaseOptions{Name: "r", Namespace: "rbd-csi", IsInstall: true}
	all, err := chartutil.ToRenderValues(of, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		t.Errorf("%v: %v", values, err)
		return ""
	}
	files, err := engine.Render(of, all)
	if err != nil {
		t.Errorf("%v: %v", values, err)
		return ""
	}
	var text strings.Builder
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if filepath.Base(name) != "NOTES.txt" {
			text.WriteString("---\n" + files[name] + "\n")
		}
	}
	return text.String()
}

// other is a value that the schema allows and that is not now.
func other(schema object, now interface{}) interface{} {
	if choices, any := schema["enum"].([]interface{}); any {
		for _, choice := range choices {
			if choice != now && choice != "" {
				return choice
			}
		}
	}
	switch was := now.(type) {
	case bool:
		return !was
	case float64:
		return was + 1
	case []interface{}:
		items, _ := schema["items"].(object)
		if items["type"] != "object" {
			return []interface{}{"other"}
		}
		one := object{"name": "other"}
		if required, any := items["required"].([]interface{}); any {
			one = object{}
			properties, _ := items["properties"].(object)
			for _, key := range required {
				below, _ := properties[key.(string)].(object)
				one[key.(string)] = other(below, map[bool]interface{}{true: []interface{}{}}[below["type"] == "array"])
			}
		}
		return []interface{}{one}
	case object:
		return object{"other": "other"}
	}
	switch pattern, _ := schema["pattern"].(string); {
	case strings.Contains(pattern, "ns|us|ms"):
		return "77s"
	case pattern == "^/":
		return "/other"
	case pattern == "^[0-9]*$" || pattern == "^[0-9]+%$":
		return "77%"[:len("77%")-strings.Count(pattern, "*")]
	}
	return "other"
}

// leaves calls with each value that has none below it.
func leaves(values, schema object, path []string, with func(path []string, schema object, now interface{})) {
	properties, _ := schema["properties"].(object)
	for key, now := range values {
		below, _ := properties[key].(object)
		at := append(append([]string{}, path...), key)
		if inner, is := now.(object); is && len(inner) > 0 {
			leaves(inner, below, at, with)
		} else {
			with(at, below, now)
		}
	}
}

func put(values object, path []string, value interface{}) {
	for _, key := range path[:len(path)-1] {
		if _, is := values[key].(object); !is {
			values[key] = object{}
		}
		values = values[key].(object)
	}
	values[path[len(path)-1]] = value
}

// at is what values have there, or otherwise.
func at(values object, path []string, otherwise interface{}) interface{} {
	for _, key := range path[:len(path)-1] {
		values, _ = values[key].(object)
	}
	if now, is := values[path[len(path)-1]]; is {
		return now
	}
	return otherwise
}

// TestEveryValue wants a difference from each value of values.yaml, and that the schema knows it.
func TestEveryValue(t *testing.T) {
	made, err := loader.Load(chartAt)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(chartAt, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var schema object
	if err := json.Unmarshal(made.Schema, &schema); err != nil {
		t.Fatal(err)
	}
	var before []string
	for _, world := range worlds {
		before = append(before, rendered(t, made, parsed(t, []byte(world))))
	}
	count := 0
	leaves(parsed(t, text), schema, nil, func(path []string, schema object, now interface{}) {
		name := strings.Join(path, ".")
		count++
		// strategy and resources are Kubernetes' own
		if schema == nil && !strings.Contains(name, ".strategy.") && !strings.Contains(name, "esources.") &&
			!strings.Contains(name, "abels.") {
			t.Errorf("%s: the schema does not know it", name)
		}
		for i, world := range worlds {
			values := parsed(t, []byte(world))
			put(values, path, other(schema, at(values, path, now)))
			if rendered(t, made, values) != before[i] {
				return
			}
		}
		t.Errorf("%s has no effect", name)
	})
	if count < 180 {
		t.Errorf("values.yaml has only %d values", count)
	}
}

// TestTheirValues wants a values file of ceph-csi's chart, without what docs/MIGRATE.md says is none, to do.
func TestTheirValues(t *testing.T) {
	made, err := loader.Load(chartAt)
	if err != nil {
		t.Fatal(err)
	}
	text := rendered(t, made, parsed(t, []byte(theirs)))
	decode(t, "ceph-csi's values", []byte(text))
	for _, want := range []string{"--http-endpoint=:8091", "--http-endpoint=:9999", "serviceAccountName: rbd-csi-nodeplugin",
		"--metrics-address=:8080"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
}
