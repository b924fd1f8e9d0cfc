#!/usr/bin/python3
"""docs/MIGRATE.md, as far as no cluster is needed: its commands name the containers that ceph-csi's manifests
have, its table of values is true of the chart, and rbd-csi's own manifests take the places of ceph-csi's.
Speaks TAP. What happens to volumes is in compat.t and in tests/vm/krbd-handover.t."""

import pathlib
import re

import yaml
from tap import done, ok

TOP = pathlib.Path(__file__).resolve().parents[2]
GUIDE = (TOP / "docs/MIGRATE.md").read_text()
VALUES = yaml.safe_load((TOP / "deploy/helm/rbd-csi/values.yaml").read_text())
KINDS = {"deploy": "Deployment", "ds": "DaemonSet"}


def workloads(directory):
    """Deployments and DaemonSets of a directory: the pod's spec by (kind, name)."""
    found = {}
    for path in sorted(directory.glob("*.yaml")):
        if path.name in ("kustomization.yaml", "values.yaml"):
            continue
        for thing in yaml.safe_load_all(path.read_text()):
            if thing and thing["kind"] in KINDS.values():
                found[thing["kind"], thing["metadata"]["name"]] = thing["spec"]["template"]["spec"]
    return found


def driver(pod):
    """The flags of the container that serves the driver."""
    one = next(c for c in pod["containers"] if c["name"] == "csi-rbdplugin")
    env = {e["name"]: e.get("value", "") for e in one["env"]}
    args = [re.sub(r"\$\((\w+)\)", lambda m: env[m[1]], a) for a in one["args"]]
    return dict(a.lstrip("-").partition("=")[::2] for a in args)


def host_path_of(pod, path):
    """Where on the node a file of the driver's container is."""
    one = next(c for c in pod["containers"] if c["name"] == "csi-rbdplugin")
    mounts = {m["mountPath"].rstrip("/"): m["name"] for m in one["volumeMounts"]}
    parent = next(str(p) for p in pathlib.PurePath(path).parents if str(p) in mounts)
    volume = next(v for v in pod["volumes"] if v["name"] == mounts[parent])
    return str(pathlib.PurePath(volume["hostPath"]["path"]) / pathlib.PurePath(path).relative_to(parent))


def check_commands(theirs):
    """Each container of ceph-csi's image is named in `kubectl set image`, and no other."""
    commands = re.findall(r"^kubectl set image (\w+)/(\S+) ((?:\S+=\S+|\\\n|\s(?!kubectl))+)", GUIDE, re.M)
    told = {}
    for kind, name, words in commands:
        told[KINDS[kind], name] = dict(w.split("=") for w in words.replace("\\\n", " ").split())
    ok(told.keys() == theirs.keys(), "the guide's commands are about ceph-csi's Deployment and DaemonSet", told)
    for key, pod in theirs.items():
        # the fixtures have these images already: it is what is tested with them
        has = {c["name"]: c["image"] for c in pod["containers"] if c["image"].startswith("rbd-csi-")}
        ok(told.get(key) == has, f"{key[1]}: each container of ceph-csi's image gets the one that is tested", has, told.get(key))


def check_places(theirs, ours):
    ok(ours.keys() == theirs.keys(), "the chart's Deployment and DaemonSet have the names of ceph-csi's", ours.keys())
    for key in theirs.keys() & ours.keys():
        old, new = driver(theirs[key]), driver(ours[key])
        ok(new["drivername"] == old["drivername"], f"{key[1]}: the driver has the same name", old, new)
        if key[0] != "DaemonSet":
            continue
        sockets = [
            host_path_of(pods[key], flags["endpoint"].removeprefix("unix://"))
            for pods, flags in ((theirs, old), (ours, new))
        ]
        ok(sockets[0] == sockets[1], f"{key[1]}: its socket is at the same path of the node", sockets)
        mounted = [{v["hostPath"]["path"].rstrip("/") for v in pods[key]["volumes"] if "hostPath" in v} for pods in (theirs, ours)]
        kubelet = {path for path in mounted[0] if path.startswith("/var/lib/kubelet")}
        ok(
            all(any(path == p or path.startswith(f"{p}/") for p in mounted[1]) for path in kubelet),
            f"{key[1]}: and it sees what ceph-csi's saw of kubelet's directory",
            kubelet - mounted[1],
        )


def names_in(cell):
    """"`a.{b,c}.d`, `e`" as whole names."""
    for text in re.findall(r"`([^`]+)`", cell):
        names = [""]
        for part in re.findall(r"\{[^}]*\}|[^{]+", text):
            names = [n + p for n in names for p in (part[1:-1].split(",") if part[0] == "{" else [part])]
        yield from names


def has(name):
    here = VALUES
    for word in name.removesuffix(".*").split("."):
        if not isinstance(here, dict) or word not in here:
            return False
        here = here[word]
    return True


def check_values():
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", GUIDE.split("| value of ceph-csi-rbd | here |")[1].split("\n\n")[0], re.M)
    same = [name for left, right in rows if right.startswith("the same") for name in names_in(left)]
    gone = [name for left, right in rows if right.startswith("none") for name in names_in(left)]
    ok(len(same) >= 50, "the guide's table has the values that mean the same", same)
    for name in same:
        ok(has(name), f"the chart has {name}")
    for name in gone:
        ok(not has(name), f"the chart has no {name}")
    ok(has("logLevelName"), "the chart has logLevelName")
    told = {name for left, _ in rows for name in names_in(left)}
    names = [line for line in (TOP / "tests/deploy/ceph-csi/values.names").read_text().split("\n") if line and line[0] != "#"]
    silent = [name for name in names if not any(name == t or name.startswith(t + ".") for t in told)]
    ok(not silent, f"the table has each of the {len(names)} values of ceph-csi's chart", silent)
    # what stands as a whole has the names that are below it
    for name in names:
        whole = next((s for s in same if name == s or name.startswith(s + ".")), None)
        if whole:
            ok(has(name), f"the chart has {name}, as ceph-csi's")


def main():
    theirs = workloads(TOP / "tests/deploy/ceph-csi")
    check_commands(theirs)
    check_places(theirs, workloads(TOP / "deploy/kubernetes"))
    check_values()
    done()


main()
