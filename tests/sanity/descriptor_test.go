// Package sanity holds what the Go side of CSI can tell about this driver: the
// official descriptor to compare ours with, and csi-sanity.
package sanity

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

// ourDescriptor compiles proto/csi.proto.
func ourDescriptor(t *testing.T) *descriptorpb.FileDescriptorProto {
	t.Helper()
	out := filepath.Join(t.TempDir(), "csi.pb")
	protoc := os.Getenv("PROTOC")
	if protoc == "" {
		protoc = "protoc"
	}
	cmd := exec.Command(protoc, "-I../../proto", "--descriptor_set_out="+out, "csi.proto")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	bytes, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	// The extensions of the options (csi_secret, alpha_...) are known to
	// the registry because the official package has them.
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(bytes, set); err != nil {
		t.Fatal(err)
	}
	if len(set.File) != 1 {
		t.Fatalf("%d files in the descriptor set", len(set.File))
	}
	return set.File[0]
}

func officialDescriptor() *descriptorpb.FileDescriptorProto {
	return protodesc.ToFileDescriptorProto(
		csi.File_csi_proto)
}

// facts is a descriptor as one line for each thing that it declares, so that
// a difference can be read: "Volume.capacity_bytes" to the field's own text.
type facts map[string]string

// text is the same for options that are empty and for none at all.
func text(m proto.Message) string {
	if !m.ProtoReflect().IsValid() {
		return ""
	}
	return prototext.MarshalOptions{}.Format(m)
}

func (f facts) add(t *testing.T, path, what string) {
	t.Helper()
	if _, twice := f[path]; twice {
		t.Errorf("%s is declared twice", path)
	}
	f[path] = what
}

func (f facts) field(t *testing.T, path string, field *descriptorpb.FieldDescriptorProto, oneofs []*descriptorpb.OneofDescriptorProto) {
	field = proto.Clone(field).(*descriptorpb.FieldDescriptorProto)
	oneof := "none"
	if field.OneofIndex != nil {
		oneof = oneofs[*field.OneofIndex].GetName()
	}
	field.JsonName = nil // follows from the name
	field.OneofIndex = nil
	options := text(field.GetOptions())
	field.Options = nil
	f.add(t, path+"."+field.GetName(), fmt.Sprintf(
		"number %d, label %v, type %v %s, oneof %s, options {%s}, all {%s}",
		field.GetNumber(), field.GetLabel(), field.GetType(), field.GetTypeName(), oneof,
		options, text(field)))
}

func (f facts) enum(t *testing.T, path string, enum *descriptorpb.EnumDescriptorProto) {
	f.add(t, path, "enum, options {"+text(enum.GetOptions())+"}")
	for _, value := range enum.Value {
		f.add(t, path+"."+value.GetName(), fmt.Sprintf("value %d, options {%s}",
			value.GetNumber(), text(value.GetOptions())))
	}
	for _, r := range enum.ReservedRange {
		f.add(t, fmt.Sprintf("%s reserved %d-%d", path, r.GetStart(), r.GetEnd()), "reserved")
	}
	for _, name := range enum.ReservedName {
		f.add(t, path+" reserved "+name, "reserved")
	}
}

func (f facts) message(t *testing.T, path string, m *descriptorpb.DescriptorProto) {
	f.add(t, path, "message, options {"+text(m.GetOptions())+"}")
	for _, field := range m.Field {
		f.field(t, path, field, m.OneofDecl)
	}
	for _, field := range m.Extension {
		f.field(t, path+" extends "+field.GetExtendee(), field, nil)
	}
	for _, oneof := range m.OneofDecl {
		f.add(t, path+" oneof "+oneof.GetName(), text(oneof))
	}
	for _, r := range m.ReservedRange {
		f.add(t, fmt.Sprintf("%s reserved %d-%d", path, r.GetStart(), r.GetEnd()), "reserved")
	}
	for _, name := range m.ReservedName {
		f.add(t, path+" reserved "+name, "reserved")
	}
	for _, r := range m.ExtensionRange {
		f.add(t, path+" extension range", text(r))
	}
	for _, nested := range m.NestedType {
		f.message(t, path+"."+nested.GetName(), nested)
	}
	for _, enum := range m.EnumType {
		f.enum(t, path+"."+enum.GetName(), enum)
	}
}

func factsOf(t *testing.T, file *descriptorpb.FileDescriptorProto) facts {
	f := facts{}
	f.add(t, "package", file.GetPackage())
	f.add(t, "syntax", file.GetSyntax())
	f.add(t, "file options", text(file.GetOptions()))
	deps := append([]string{}, file.Dependency...)
	sort.Strings(deps)
	f.add(t, "imports", fmt.Sprint(deps))
	for _, m := range file.MessageType {
		f.message(t, m.GetName(), m)
	}
	for _, enum := range file.EnumType {
		f.enum(t, enum.GetName(), enum)
	}
	for _, field := range file.Extension {
		f.field(t, "extend "+field.GetExtendee(), field, nil)
	}
	for _, service := range file.Service {
		f.add(t, "service "+service.GetName(), "options {"+text(service.GetOptions())+"}")
		for _, method := range service.Method {
			f.add(t, service.GetName()+"/"+method.GetName(), fmt.Sprintf(
				"%s to %s, client streams %v, server streams %v, options {%s}",
				method.GetInputType(), method.GetOutputType(), method.GetClientStreaming(),
				method.GetServerStreaming(), text(method.GetOptions())))
		}
	}
	return f
}

// keep takes out what CSI 1.3 to 1.12 had: kubelets read it, so that it stays, under
// the numbers that 1.13 has reserved.
func keep(t *testing.T, ours, official facts) {
	for path, what := range map[string]string{
		"VolumeCondition":                                 "message",
		"VolumeCondition.abnormal":                        "number 1, label LABEL_OPTIONAL, type TYPE_BOOL ,",
		"VolumeCondition.message":                         "number 2, label LABEL_OPTIONAL, type TYPE_STRING ,",
		"NodeGetVolumeStatsResponse.volume_condition":     "number 2, label LABEL_OPTIONAL, type TYPE_MESSAGE .csi.v1.VolumeCondition,",
		"NodeServiceCapability.RPC.Type.VOLUME_CONDITION": "value 4,",
	} {
		if !strings.HasPrefix(ours[path], what) {
			t.Errorf("%s:\n  is        %s\n  should be %s", path, ours[path], what)
		}
		delete(ours, path)
	}
	for _, path := range []string{
		"NodeGetVolumeStatsResponse reserved 2-3",
		"NodeServiceCapability.RPC.Type reserved 4-4",
	} {
		if _, found := official[path]; !found {
			t.Errorf("%s is not in the official descriptor", path)
		}
		delete(official, path)
	}
}

// TestDescriptor: proto/csi.proto says the same as the official file about
// each name, number, type, label, oneof, reserved range, enum value, option,
// service and stream, but for what is kept of earlier versions.
func TestDescriptor(t *testing.T) {
	ours, official := factsOf(t, ourDescriptor(t)), factsOf(t, officialDescriptor())
	keep(t, ours, official)
	for path, want := range official {
		if got, found := ours[path]; !found {
			t.Errorf("%s is missing", path)
		} else if got != want {
			t.Errorf("%s:\n  is        %s\n  should be %s", path, got, want)
		}
	}
	for path := range ours {
		if _, found := official[path]; !found {
			t.Errorf("%s is not in the official descriptor", path)
		}
	}
	t.Logf("%d declarations compared", len(official))
	if len(official) < 500 {
		t.Errorf("only %d declarations: the comparison sees too little", len(official))
	}
}

// TestSecretsAreNamedSecrets: protobuf-c keeps no custom options, so the C
// side goes by the name of the field.
func TestSecretsAreNamedSecrets(t *testing.T) {
	count := 0
	for _, m := range ourDescriptor(t).MessageType {
		for _, field := range m.Field {
			secret := proto.GetExtension(field.GetOptions(), csi.E_CsiSecret).(bool)
			if secret != (field.GetName() == "secrets") {
				t.Errorf("%s.%s: csi_secret is %v", m.GetName(), field.GetName(), secret)
			}
			if secret {
				count++
			}
		}
	}
	if count == 0 {
		t.Error("no field is marked csi_secret")
	}
}
