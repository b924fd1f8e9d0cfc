#!/usr/bin/python3
"""The manifests in deploy/kubernetes: they parse, name things that are there,
and give rbd-csid only flags that it takes. Speaks TAP.

RBD_CSI_BUILD is where rbd-csid is built (the current directory)."""

import os
import pathlib
import re
import subprocess

import yaml
from tap import done, ok

TOP = pathlib.Path(__file__).resolve().parents[2]
CSID = pathlib.Path(os.environ.get("RBD_CSI_BUILD", ".")).resolve() / "rbd-csid"
DIRECTORY = TOP / "deploy" / "kubernetes"

# What sidecars cannot do without.
NEEDS = {
    "csi-provisioner": {"secrets", "persistentvolumes", "persistentvolumeclaims", "volumesnapshots"},
    "csi-attacher": {"volumeattachments", "volumeattachments/status", "csinodes"},
    "csi-resizer": {"persistentvolumes", "persistentvolumeclaims/status", "volumeattributesclasses"},
    "csi-snapshotter": {
        "secrets",
        "volumesnapshotclasses",
        "volumesnapshotcontents",
        "volumesnapshotcontents/status",
    },
}


def load():
    """All objects by (kind, name)."""
    objects = {}
    for path in sorted(DIRECTORY.glob("*.yaml")):
        if path.name in ("kustomization.yaml", "values.yaml"):
            continue
        try:
            documents = [d for d in yaml.safe_load_all(path.read_text()) if d]
            ok(True, f"{path.name} is YAML")
        except yaml.YAMLError as error:
            ok(False, f"{path.name} is YAML", error)
            continue
        for document in documents:
            objects[document["kind"], document["metadata"]["name"]] = document
    return objects


def expand(container):
    """Its arguments with $(VAR) put in; what is no literal becomes "x"."""
    env = {e["name"]: e.get("value", "x") for e in container.get("env", [])}
    return [re.sub(r"\$\((\w+)\)", lambda m: env[m[1]], a) for a in container["args"]]


def check_container(pod, annotations, where, container):
    names = {v["name"] for v in pod["volumes"]}
    used = {m["name"] for m in container.get("volumeMounts", [])}
    ok(used <= names, f"{where}: its mounts are volumes of the pod", used - names)
    if not container["image"].startswith("rbd-csi-"):
        return
    args = expand(container)
    ok(container["securityContext"]["readOnlyRootFilesystem"], f"{where}: its root is read-only")
    run = subprocess.run([CSID, *args, "--version"], capture_output=True, text=True, check=False)
    ok(run.returncode == 0, f"{where}: rbd-csid takes its flags", run.stderr.strip())
    flags = dict(a.lstrip("-").split("=", 1) for a in args if "=" in a)
    socket = flags["endpoint"].removeprefix("unix://")
    for other in pod["containers"]:
        for arg in other["args"]:
            if arg.startswith("--csi-address="):
                ok(arg.split("=")[1] == socket, f"{where}: {other['name']} asks at its socket", arg)
    for probe in ("startupProbe", "livenessProbe"):
        command = container[probe]["exec"]["command"]
        ok(
            command[1:3] == ["--endpoint", f"unix://{socket}"] and command[-2] == "Identity/Probe",
            f"{where}: its {probe} asks at its socket",
            command,
        )
    metrics = int(flags["metrics-address"].rpartition(":")[2])
    ports = [p["containerPort"] for p in container["ports"] if p["name"] == "metrics"]
    ok(ports == [metrics], f"{where}: the port of its metrics is told", metrics, ports)
    scraped = annotations.get("prometheus.io/port")
    ok(scraped == str(metrics), f"{where}: and scraped", metrics, scraped)
    mounts = [m["mountPath"] for m in container["volumeMounts"]]
    ok("/etc/ceph-csi-encryption-kms-config" in mounts, f"{where}: key services can be configured", mounts)
    ok(str(pathlib.Path(socket).parent) in mounts, f"{where}: its socket is in a volume", socket)
    grace = pod["terminationGracePeriodSeconds"]
    drain = int(flags["drain-timeout"].removesuffix("s"))
    ok(grace > drain, f"{where}: the pod's grace is longer than the drain", grace, drain)


def main():
    objects = load()
    driver = next(name for kind, name in objects if kind == "CSIDriver")
    for (kind, name), thing in objects.items():
        if kind == "StorageClass":
            ok(thing["provisioner"] == driver, f"{name}: its provisioner is the driver")
            secret = ("Secret", thing["parameters"]["csi.storage.k8s.io/provisioner-secret-name"])
            ok(secret in objects, f"{name}: its Secret is there", secret)
            keys = objects[secret]["stringData"]
            ok(set(keys) == {"userID", "userKey"}, "the Secret has userID and userKey", keys)
        if kind == "VolumeSnapshotClass":
            ok(thing["driver"] == driver, f"{name}: its driver is the driver")
            secret = thing["parameters"]["csi.storage.k8s.io/snapshotter-secret-name"]
            ok(("Secret", secret) in objects, f"{name}: its Secret is there", secret)
        if kind not in ("DaemonSet", "Deployment"):
            continue
        pod = thing["spec"]["template"]["spec"]
        annotations = thing["spec"]["template"]["metadata"].get("annotations", {})
        ok(("ServiceAccount", pod["serviceAccountName"]) in objects, f"{name}: its account is there")
        for volume in pod["volumes"]:
            if "configMap" in volume and not volume["configMap"].get("optional"):
                ref = ("ConfigMap", volume["configMap"]["name"])
                ok(ref in objects, f"{name}: {ref[1]} is there")
        rules = objects.get(("ClusterRole", pod["serviceAccountName"]), {}).get("rules", [])
        granted = {r for rule in rules for r in rule["resources"]}
        for container in pod["containers"]:
            needs = NEEDS.get(container["name"], set())
            ok(needs <= granted, f"{name}/{container['name']}: its rights are there", needs - granted)
            check_container(pod, annotations, f"{name}/{container['name']}", container)
            for arg in container["args"]:
                if arg.startswith("--drivername="):
                    ok(arg.split("=")[1] == driver, f"{name}: serves the CSIDriver", arg)
    done()


main()
