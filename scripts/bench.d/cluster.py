"""The parts of scripts/bench that need a Ceph cluster, and the stand that has one."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import controller
import insight
import node
import throughput
from measure import TOP, bench_figures, cpu_seconds, marked, status, wait_for


class Stand:
    """A cluster, a daemon, and what is needed to talk to them. Leaves nothing behind."""

    def __init__(self, build, report):
        self.build = build
        self.report = report
        # not on a tmpfs: loop devices with direct I/O may refuse one
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="rbd-csi-bench.", dir="/var/tmp"))
        self.daemons = []
        self.mark = f"RBD_CSI_BENCH={self.dir}"  # in the environment of rbd-csid and what it starts

    def start(self):
        cluster = self.dir / "ceph"
        subprocess.run([TOP / "scripts/dev-cluster", "up", "--dir", cluster], check=True, stdout=sys.stderr)
        exports = subprocess.run(["bash", "-c", f'eval "$("{TOP}/scripts/dev-cluster" env --dir "{cluster}")"; env -0'],
                                 check=True, capture_output=True).stdout
        self.env = dict(item.split("=", 1) for item in exports.decode().split("\0") if "=" in item)
        self.endpoint = f"unix://{self.dir}/csi.sock"
        (self.dir / "volumes").mkdir()
        for cluster_of in json.loads(pathlib.Path(self.env["RBD_CSI_CONFIG"]).read_text()):
            own = self.dir / "credentials" / cluster_of["clusterID"]
            own.mkdir(parents=True)
            for name, value in json.loads(pathlib.Path(self.env["RBD_CSI_SECRETS"]).read_text()).items():
                (own / name).write_text(value)
        self.daemon = self.start_daemon("csi", f"--metrics-address=unix://{self.dir}/metrics.sock", "--status-page")

    def start_daemon(self, name, *options):
        """Another rbd-csid, at NAME.sock, which stop() ends."""
        state = self.dir / f"{name}.state"
        state.mkdir()
        endpoint = f"unix://{self.dir}/{name}.sock"
        with open(self.dir / f"{name}.log", "w", encoding="utf-8") as log:
            daemon = subprocess.Popen(
                [self.build / "rbd-csid", "--type=rbd", "--nodeserver", "--controllerserver", "--nodeid=bench",
                 f"--endpoint={endpoint}", f"--config={self.env['RBD_CSI_CONFIG']}", f"--statedir={state}",
                 f"--credentials-dir={self.dir}/credentials",
                 "--drivername=rbd.csi.ceph.com", "--mounter-fallback=userspace",
                 f"--worker-path={self.build}/ceph-worker", f"--attachd-path={self.build}/rbd-attachd", *options],
                env=self.env | dict([self.mark.split("=", 1)]), stderr=log, stdout=log)
        self.daemons.append(daemon)
        wait_for(f"an answer of rbd-csid at {endpoint}", 60,
                 lambda: subprocess.run([self.build / "rbd-csictl", "--endpoint", endpoint, "call", "Identity/Probe"],
                                        capture_output=True, check=False).returncode == 0)
        return daemon

    def stop(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # who has said it once is heard
        try:
            for daemon in self.daemons:
                daemon.terminate()
            for daemon in self.daemons:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    daemon.wait(timeout=60)
            # What is still attached, should a load have been cut short: mounts, loop devices, what serves them.
            self.unmount(lambda point: not point.startswith(f"{self.dir}/csi.state/"))
            for path in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
                with contextlib.suppress(OSError):  # it has just gone
                    if path.read_text().startswith(f"{self.dir}/"):
                        subprocess.run(["losetup", "-d", f"/dev/{path.parts[3]}"], check=False)
        finally:
            self.kill_all()
            self.unmount(lambda point: True)
            subprocess.run([TOP / "scripts/dev-cluster", "down", "--dir", self.dir / "ceph"], check=False,
                           stdout=sys.stderr)
            shutil.rmtree(self.dir, ignore_errors=True)

    def kill_all(self):
        """Also what a process that is being killed has just started."""
        end = time.monotonic() + 60
        while (pids := marked(self.mark)) and time.monotonic() < end:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def unmount(self, chosen):
        for line in reversed(pathlib.Path("/proc/self/mountinfo").read_text().splitlines()):
            point = line.split()[4]
            if point.startswith(f"{self.dir}/") and chosen(point):
                subprocess.run(["umount", "-l", point], check=False)

    def own(self, program):
        """Pids of a program that this stand's daemon has started."""
        return [pid for pid in marked(self.mark) if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == program]

    def children(self, pid):
        """Of a daemon: its ceph-workers, and whatever else it has started."""
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def metrics(self):
        """Series without buckets, by name and labels."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"{self.dir}/metrics.sock")
            sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        return dict(line.split() for line in text.splitlines() if line.startswith("rbd_csi_") and len(line.split()) == 2)

    def metric(self, name):
        return float(self.metrics()[name])

    def processes_started(self):
        """Programs and forked children that rbd-csid has started since its start."""
        return int(self.metric("rbd_csi_offload_forks_total")) + int(self.metric("rbd_csi_tool_execs_total"))

    def call(self, method, request, check=True):
        return subprocess.run([self.build / "rbd-csictl", "--endpoint", self.endpoint, "--secrets",
                               self.env["RBD_CSI_SECRETS"], "call", method, json.dumps(request)],
                              env=self.env, check=check, capture_output=True, text=True)

    def class_parameters(self, **more):
        return {"clusterID": self.env["RBD_CSI_FSID"], "pool": "rbd", "imageFeatures": "layering",
                "mounter": "userspace", **more}

    def bench(self, kind, *options, prefix=None):
        """Runs rbd-csictl bench; its figures are reported and returned by name."""
        parameters = self.dir / "class.json"
        parameters.write_text(json.dumps(self.class_parameters()))
        where = [] if kind == "release" else ["--dir", self.dir / "volumes", "--parameters", parameters]
        argv = [self.build / "rbd-csictl", "--endpoint", self.endpoint, "--secrets", self.env["RBD_CSI_SECRETS"], "bench",
                kind, "-o", "csv", "--runs", self.dir / "runs", *where, *map(str, options)]
        run = subprocess.run(argv, env=self.env, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise RuntimeError(f"bench {kind}: {run.stderr.strip()}\n{(self.dir / 'csi.log').read_text()[-2000:]}")
        figures = list(bench_figures(run.stdout.splitlines()))
        for item in figures:
            self.report.figure(f"{prefix or kind}.{item['name']}", item["value"], item["unit"])
        return {item["name"]: item["value"] for item in figures}

    def osd_ops(self):
        socket = next((self.dir / "ceph").rglob("osd.0.asok"))
        dump = subprocess.run(["ceph", "--admin-daemon", socket, "perf", "dump", "osd"], env=self.env, check=True,
                              capture_output=True, text=True).stdout
        return json.loads(dump)["osd"]["op"]

    def report_process(self, name, pid):
        rss, threads = status(pid)
        self.report.figure(f"{name}.rss", rss / 1024, "MiB")
        self.report.figure(f"{name}.threads", threads, "threads")


def bench_volumes(stand):
    count = 400
    stand.bench("volumes", "--count", 16, "--callers", 16, "--run", "warm", prefix="volumes.warm-up")
    pids = [stand.daemon.pid] + stand.own("ceph-worker")
    before = [cpu_seconds(pid) for pid in pids]
    ops = stand.osd_ops()
    stand.bench("volumes", "--count", count, "--callers", 16, "--run", "load")
    stand.report.figure("volumes.rados_ops_per_volume", (stand.osd_ops() - ops) / count, "ops")
    for name, pid, was in zip(["rbd-csid", "ceph-worker"], pids, before):
        stand.report.figure(f"volumes.{name}.cpu_per_volume", (cpu_seconds(pid) - was) / count * 1000, "ms")
        stand.report_process(f"volumes.{name}", pid)


def bench_attach(stand):
    for count in (1, 32):
        before = stand.processes_started()
        stand.bench("attach", "--count", count, "--callers", count, "--run", f"a{count}", prefix=f"attach.{count}")
        stand.report.figure(f"attach.{count}.processes_per_volume", (stand.processes_started() - before) / count, "processes")


def write_everywhere(stand):
    """64 MiB to each file system, in requests of 1 MiB, 16 of them at once."""
    targets = sorted((stand.dir / "volumes").glob("bench-h64-*/target"))
    for i in range(0, len(targets), 16):
        writers = [subprocess.Popen(["dd", "if=/dev/zero", f"of={target}/large", "bs=1M", "count=64", "oflag=direct", "status=none"])
                   for target in targets[i:i + 16]]
        if any([writer.wait() for writer in writers]):
            raise RuntimeError("large writes failed")


def bench_images(stand):
    for count in (1, 64):
        stand.bench("hold", "--count", count, "--callers", min(count, 16), "--run", f"h{count}",
                    prefix=f"images.{count}")
        stand.report_process(f"images.{count}.rbd-csid", stand.daemon.pid)
        pids = stand.own("rbd-attachd")
        for pid in pids:
            stand.report_process(f"images.{count}.rbd-attachd", pid)
        if count > 1:
            write_everywhere(stand)
            time.sleep(12)  # it looks every 5 s at what has not been used since
            for pid in pids:
                stand.report.judged(f"images.{count}.rbd-attachd.rss_after_large_writes", status(pid)[0] / 1024, "MiB", most=48)
        stand.bench("release", "--callers", min(count, 16), "--run", f"h{count}",
                    prefix=f"images.{count}")


def bench_krbd(stand):
    """In a guest, with a cluster of its own: see tests/vm/bench-krbd."""
    run = subprocess.run([TOP / "tests/vm/run", TOP / "tests/vm/bench-krbd"], check=False, capture_output=True, text=True,
                         env=dict(os.environ, RBD_CSI_BUILD=str(stand.build)))
    figures = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    for item in figures:
        stand.report.figure(f"krbd.8.{item['name']}", item["value"], item["unit"])
    if run.returncode != 0:
        raise RuntimeError(f"bench krbd: {run.stdout[-3000:]}{run.stderr[-1000:]}")


CLUSTER = {"ceph-mon", "ceph-mgr", "ceph-osd", "ceph-authtool", "monmaptool", "ceph", "rbd"}
CSI = {"rbd-csid", "rbd-csictl", "ceph-worker", "rbd-attachd"}
LIMIT = CLUSTER | CSI | {"tests/bench/limit"}
NEEDS = {"insight": CLUSTER | CSI | {"go", "tests/fake/csi_driver", "chrt"}, "node": CLUSTER | CSI | {"mkfs.ext4", "tests/bench/attach_floor"}, "volumes": CLUSTER | CSI, "controller": CLUSTER | CSI, "limit": LIMIT, "many": LIMIT,
         "attach": CLUSTER | CSI | {"mkfs.ext4"}, "images": CLUSTER | CSI | {"mkfs.ext4"},
         "throughput": CLUSTER | CSI | {"tests/bench/fuse_floor", "fio", "qemu-storage-daemon", "losetup"},
         "krbd": CLUSTER | CSI | {"mkfs.ext4", "qemu-system-x86_64", "busybox", "modprobe", "depmod", "xz", "unshare", "setpriv",
                                  "ip", "jq"}}
PARTS = {"insight": insight.bench_insight, "node": node.bench_node, "volumes": bench_volumes, "controller": controller.bench_controller, "limit": controller.bench_limit,
         "many": controller.bench_many, "attach": bench_attach, "images": bench_images, "throughput": throughput.bench_throughput,
         "krbd": bench_krbd}
