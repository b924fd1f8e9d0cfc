#!/usr/bin/python3
"""Tables and figures of docs/ that the source, the manifests or the scripts have, too: they are the same. Speaks TAP.
docs/PARAMETERS.md is compared by tests/unit/csi_params, the options of docs/OPTIONS.md by tests/unit/options.

RBD_CSI_BUILD is where rbd-csid is built (the current directory)."""

import json
import os
import pathlib
import re
import subprocess
import tempfile

import yaml
from tap import done, ok

TOP = pathlib.Path(__file__).resolve().parents[2]
CSID = pathlib.Path(os.environ.get("RBD_CSI_BUILD", ".")).resolve() / "rbd-csid"
VALUES = yaml.safe_load((TOP / "deploy/helm/rbd-csi/values.yaml").read_text())


def page(name):
    return (TOP / "docs" / f"{name}.md").read_text()


def rows_of(text, header):
    """The cells of the table that begins with this line."""
    table = text.split(header + "\n", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[1:]]


def source(name):
    return (TOP / "src" / name).read_text()


def config_keys():
    """What config.c reads: "rbd.radosNamespace" and so on."""
    text = source("daemon/config.c")
    at = {"entry": ""}
    for var, of, key in re.findall(r'const json_t \*(\w+) = json_member\((\w+), "(\w+)"\)', text):
        at[var] = f"{at[of]}.{key}".strip(".")
    keys = {f"{at[of]}.{key}".strip(".") for of, key in re.findall(r'json_member\((\w+), "(\w+)"\)', text)}
    return {key for key in keys if not any(other.startswith(key + ".") for other in keys)}


def mapping_keys():
    text = source("daemon/mapping.c")
    names = dict(re.findall(r'^#define (\w+) "(\w+)"$', text, re.M))
    return {names[name] for name in re.findall(r"json_member\(entry, (\w+)\)", text)}


def kms_keys():
    return set(re.findall(r'json_(?:get_string|object_get)\(section, "(\w+)"\)', source("controller/kms.c")))


def check_keys():
    rows = rows_of(page("OPTIONS"), "| key | file | meaning | default | accepted | example |")
    wanted = {"config.json": config_keys(), "cluster-mapping.json": mapping_keys(), "--kms-config": kms_keys()}
    for file, keys in wanted.items():
        told = {row[0].strip("`") for row in rows if row[1].startswith(file)}
        ok(len(keys) > 1 and told == keys, f"docs/OPTIONS.md has the keys of {file}", sorted(told ^ keys))
    thin = [row for row in rows if len(row) != 6 or not all(row)]
    ok(not thin, "each with its meaning, default, accepted values and an example", thin)
    return {row[0].strip("`"): json.loads(row[5].strip("`")) for row in rows if row[1] == "config.json"}


def put(entry, key, value):
    *above, last = key.split(".")
    for word in above:
        entry = entry.setdefault(word, {})
    entry[last] = value


def said_of(entry):
    """What rbd-csid says of this config.json."""
    with tempfile.TemporaryDirectory() as work:
        config = pathlib.Path(work) / "config.json"
        config.write_text(json.dumps([entry]))
        run = subprocess.Popen(
            [CSID, "--type=rbd", "--controllerserver", "--nodeid=n", f"--endpoint=unix://{work}/csi.sock", f"--config={config}", f"--statedir={work}/state"],
            stderr=subprocess.PIPE,
            text=True,
        )
        said = []
        for line in run.stderr:
            said.append(line)
            if "config.loaded" in line or "config.broken" in line:
                run.terminate()
        run.wait()
        return "".join(said)


def check_examples(examples):
    entry = {}
    for key, value in examples.items():
        put(entry, key, value)
    said = said_of(entry)
    ok("clusters=1" in said and "config.entry" not in said, "rbd-csid takes the examples", said)
    for key in examples:
        wrong = json.loads(json.dumps(entry))
        put(wrong, key, 7)
        ok("config.entry" in said_of(wrong), f"and not a number for {key}")


def check_install():
    text = page("INSTALL")
    for name, file, at in (("csi-rbdplugin", "nodeplugin", 0), ("csi-rbdplugin-provisioner", "provisioner", 1)):
        row = rows_of(text, "| pod | containers | privileges |")[at]
        things = yaml.safe_load_all((TOP / f"deploy/kubernetes/{file}.yaml").read_text())
        pod = next(thing for thing in things if thing["metadata"]["name"] == name and "template" in thing["spec"])["spec"]["template"]["spec"]
        there = [c["name"].replace("csi-rbdplugin", "the driver") for c in pod["containers"]]
        told = [re.sub(r"^-|^external-", "csi-", word).replace("node-driver-registrar", "driver-registrar") for word in row[1].split(", ")]
        ok(row[0].startswith(f"`{name}`") and told == there, f"docs/INSTALL.md tells the containers of {name}", told, there)
    sidecars = VALUES["provisioner"]
    for name in ("provisioner", "attacher", "resizer", "snapshotter"):
        port = sidecars[name]["args"]["httpEndpointPort"]
        ok(f"{port} ({name})" in text, f"docs/INSTALL.md tells the port of {name}'s metrics", port)
    rows = {row[0]: row for row in rows_of(text, "| setting | here | theirs | why |")}
    for setting, value in (
        ("`--timeout`", sidecars["timeout"]),
        ("`--worker-threads`, `--workers`", str(sidecars["workerThreads"])),
        ("`--kube-api-qps`, `--kube-api-burst`", f"{sidecars['kubeApiQPS']}, {sidecars['kubeApiBurst']}"),
    ):
        ok(rows[setting][1] == value, f"docs/INSTALL.md tells the manifests' {setting}", rows[setting], value)


def check_versions():
    """One version of each sidecar: in the chart, in what the pipeline builds, and in what is told of the rights."""
    built = dict(re.findall(r'^\t"external-(\w+) \S+ v(\S+) ', (TOP / "scripts/kubernetes").read_text(), re.M))
    rights = re.search(r"external-provisioner (\S+) with its\nlibrary \S+, -attacher (\S+), -resizer (\S+), -snapshotter (\S+),", page("INSTALL"))
    told = dict(zip(("provisioner", "attacher", "resizer", "snapshotter"), rights.groups()))
    for name, version in told.items():
        tag = VALUES["provisioner"][name]["image"]["tag"]
        ok(tag == f"v{version}" == f"v{built[name]}", f"{name} is of one version in the chart, scripts/kubernetes and docs/INSTALL.md", tag, version, built[name])


def check_alerts():
    rules = yaml.safe_load((TOP / "deploy/monitoring/rules.yaml").read_text())
    there = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    told = {name for row in rows_of(page("MONITORING"), "| alert | what to do |") for name in row[0].split(", ")}
    ok(told == there, "docs/MONITORING.md tells what to do about each alert", sorted(told ^ there))


def check_exposure():
    """docs/PACKAGES.md tells what `systemd-analyze security` gives the units; tests/debian/inside wants no more."""
    text = (TOP / "tests/debian/inside").read_text()
    limits = {unit: int(n) / 10 for n, unit in re.findall(r"--threshold=(\d+) rbd-csi-(\w+)", text)}
    told = dict(zip(("controller", "node"), map(float, re.findall(r'(\d\.\d) \("', page("PACKAGES")))))
    ok(told == limits and len(limits) == 2, "docs/PACKAGES.md tells how exposed the units are, as the test has it", told, limits)


def check_parameters():
    """The examples and the chart's classes have only parameters that docs/PARAMETERS.md has."""
    known = {}
    for row in rows_of(page("PARAMETERS"), "| key | where | meaning | default | accepted | example |"):
        for kind in row[1].split(", "):
            known.setdefault(kind, set()).add(row[0].strip("`"))
    files = [*(TOP / "deploy/examples").glob("*.yaml"), *(TOP / "deploy/kubernetes").glob("*class.yaml")]
    things = [thing for file in files for thing in yaml.safe_load_all(file.read_text()) if thing]
    used = [(thing["kind"], key) for thing in things for key in thing.get("parameters") or {}]
    secrets = [("secret", key) for thing in things if thing["kind"] == "Secret" for key in thing["stringData"]]
    static = [("static", key) for thing in things if thing["kind"] == "PersistentVolume" for key in thing["spec"]["csi"]["volumeAttributes"]]
    sidecars = re.compile(r"csi\.storage\.k8s\.io/(fstype|[a-z-]+-secret-name(space)?)$")
    other = [(kind, key) for kind, key in used + secrets + static if key not in known[kind] and not sidecars.match(key)]
    ok({kind for kind, _ in used} == {"StorageClass", "VolumeSnapshotClass", "VolumeAttributesClass"} and secrets and static, "the examples have classes of each kind, Secrets and a static volume", used)
    ok(not other, "with parameters that docs/PARAMETERS.md has", other)


def check_release():
    version = re.search(r"^AC_INIT\(\[rbd-csi\], \[(.*)\]\)$", (TOP / "configure.ac").read_text(), re.M)[1]
    chart = yaml.safe_load((TOP / "deploy/helm/rbd-csi/Chart.yaml").read_text())
    ok(chart["version"] == chart["appVersion"] == version, "the chart is of configure.ac's version", chart, version)
    ok(re.search(r"^## (\S+)", (TOP / "NEWS.md").read_text(), re.M)[1] == version, "NEWS.md begins with it")
    files = [f for at in ("deploy", "docs", "tests/deploy") for f in (TOP / at).rglob("*") if f.suffix in (".yaml", ".md", ".hcl")]
    named = {(str(f.relative_to(TOP)), tag) for f in files for tag in re.findall(r"rbd-csi-(?:node|controller|node-userspace):([\w.]+)", f.read_text())}
    other = [pair for pair in named if pair[1].rstrip(".") != version]
    ok(len(named) >= 6 and not other, "and images are named by it", other)
    stages = set(re.findall(r"^stage_(\w+)\(\)", (TOP / "scripts/check").read_text(), re.M)) - {"install", "build"}
    told = {name.strip("` ") for row in rows_of(page("RELEASE"), "| stage | what | Ceph | system |") for name in row[0].split(",")}
    ok(told == stages, "docs/RELEASE.md tells what each stage of scripts/check runs on", sorted(told ^ stages))


def main():
    check_examples(check_keys())
    check_install()
    check_versions()
    check_alerts()
    check_exposure()
    check_parameters()
    check_release()
    done()


main()
