"""Volumes that come and go through rbd-attachd, and what of the processor's time of an attach is whose."""
import contextlib
import datetime
import pathlib
import subprocess
import threading
import time

from measure import TICKS, cpu_ns, wait_for


class Usage:
    """The processor's time of groups of processes, sampled while something runs; groups: functions that tell nanoseconds by name."""

    def __init__(self, groups):
        self.groups = groups
        self.samples = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def sample(self):
        while not self.ended.is_set():
            with contextlib.suppress(OSError):  # a process has just ended
                self.samples.append((time.monotonic(), {name: read() for name, read in self.groups.items()}))
            self.ended.wait(0.02)

    def at(self, when):
        """By group, between the two samples around that moment."""
        for (before, old), (after, new) in zip(self.samples, self.samples[1:]):
            if before <= when <= after:
                return {name: old[name] + (new[name] - old[name]) * (when - before) / (after - before) for name in old}
        return self.samples[0 if when < self.samples[0][0] else -1][1]

    def between(self, begin, end):
        """Milliseconds by group."""
        old, new = self.at(begin), self.at(end)
        return {name: (new[name] - old[name]) / 1e6 for name in new}


def ended_children_ns(pid):
    parts = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(parts[13]) + int(parts[14])) * 1_000_000_000 // TICKS


def usage_of(stand):
    daemon = stand.daemon.pid
    run = stand.dir / "ceph/run"

    def cluster(pattern):
        pids = [int(file.read_text()) for file in run.glob(pattern)]
        return lambda: sum(cpu_ns(pid) for pid in pids)

    def attachd():
        return sum(cpu_ns(pid) for pid in stand.children(daemon)
                   if pathlib.Path(f"/proc/{pid}/comm").read_text() == "rbd-attachd\n")

    return Usage({"rbd-csid": lambda: cpu_ns(daemon), "children": lambda: ended_children_ns(daemon), "rbd-attachd": attachd,
                  "osd": cluster("osd.*.pid"), "mon_mgr": cluster("m*.pid")})


def last_attaches(log, count):
    """When the last `count` stages and publishes in a log began and ended, in seconds of the monotonic clock."""
    offset = time.time() - time.monotonic()
    begins, ends = [], []
    for line in log.read_text().splitlines():
        if "/NodeStageVolume code=OK" in line or "/NodePublishVolume code=OK" in line:
            ended = datetime.datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp() - offset
            begins.append(ended - float(line.split(" ms=")[1].split()[0]) / 1000)
            ends.append(ended)
    return min(begins[-2 * count:]), max(ends[-2 * count:])


@contextlib.contextmanager
def floor_files(stand, count):
    """A directory for tests/bench/attach_floor: file systems in memory, and where to mount them."""
    place = stand.dir / "attach-floor"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        for i in range(count):
            (place / str(i)).mkdir()
            with open(place / f"{i}.img", "wb") as file:
                file.truncate(64 << 20)
            subprocess.run(["mkfs.ext4", "-q", "-m0", place / f"{i}.img"], check=True)
        yield place
    finally:
        subprocess.run(["umount", place], check=False)


def report_cpu(stand, name, used, count):
    for whose, ms in used.items():
        stand.report.figure(f"{name}.cpu.{whose}", ms / count, "ms")
    stand.report.figure(f"{name}.cpu", sum(used.values()) / count, "ms")


def attach_floor(stand, count):
    """Volumes a second, the median of 5 rounds; reports the processor's time of a volume in that round."""
    usage = usage_of(stand)
    with floor_files(stand, count) as place, usage:
        out = subprocess.run([stand.build / "tests/bench/attach_floor", place, str(count), "5"], env=stand.env, check=True,
                             capture_output=True, text=True).stdout
    rounds = sorted(([float(x) for x in line.split()] for line in out.splitlines()), key=lambda r: r[1] - r[0])
    begin, end, own = rounds[2]
    used = usage.between(begin, end)
    report_cpu(stand, f"node.{count}.floor", {"program": own * 1000, "osd": used["osd"], "mon_mgr": used["mon_mgr"]}, count)
    return count / (end - begin)


def bench_node(stand):
    """Volumes that come and go at once: attach with mkfs, detach, attach, detach; and a program that only does what none can do without."""
    for count in (1, 32, 256):
        # what was deleted is purged by the same OSD
        wait_for("the end of the purges", 600, lambda: not any(float(value) for name, value in stand.metrics().items()
                                                               if name.startswith("rbd_csi_purges{")))
        before = stand.metrics()
        with usage_of(stand) as usage:
            figures = stand.bench("attach", "--count", count, "--callers", count, "--run", f"n{count}", prefix=f"node.{count}")
        after = stand.metrics()
        if count == 32:
            report_cpu(stand, "node.32.attach", usage.between(*last_attaches(stand.dir / "csi.log", count)), count)
            floor = attach_floor(stand, count)
            stand.report.figure("node.32.floor.rate", floor, "1/s")
            stand.report.figure("node.32.attach.of_floor", figures["attach.rate"] / floor, "times")
        for name, metric in (("children", "rbd_csi_offload_forks_total"), ("programs", "rbd_csi_tool_execs_total")):
            stand.report.figure(f"node.{count}.{name}_per_volume", (float(after[metric]) - float(before[metric])) / count, name)
    stand.report_process("node.rbd-csid", stand.daemon.pid)
