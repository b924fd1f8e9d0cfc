"""What every part of scripts/bench uses: the report, and what /proc tells of a process."""
import csv
import json
import os
import pathlib
import shutil
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


class Report:
    def __init__(self, as_json):
        self.as_json = as_json

    def figure(self, name, value, unit):
        if self.as_json:
            print(json.dumps({"name": name, "value": round(float(value), 3), "unit": unit}), flush=True)
        else:
            print(f"{name:<52} {value:>12.1f} {unit}", flush=True)

    def judged(self, name, value, unit, most=None, least=None):
        """A figure with a target, which is an upper or a lower bound."""
        met = value <= most if least is None else value >= least
        target = most if least is None else least
        if self.as_json:
            print(json.dumps({"name": name, "value": round(float(value), 3), "unit": unit, "target": round(target, 3),
                              "bound": "most" if least is None else "least", "met": bool(met)}), flush=True)
        else:
            bound = f"{'at most' if least is None else 'at least'} {target:.4g}"
            print(f"{name:<52} {value:>12.2f} {unit:<8} {bound}: {'met' if met else 'MISSED'}", flush=True)

    def note(self, text):
        if not self.as_json:
            print(f"-- {text}", flush=True)


def bench_figures(lines):
    """Of `rbd-csictl bench -o csv`, as the lines come: PHASE.rate and so on, and PHASE.NAME.p50 and so on."""
    phase = None
    for row in csv.DictReader(lines):
        name = row["phase"]
        if name != phase:
            for what, unit in (("rate", "1/s"), ("failed", "failures"), ("generator_cpu", "%")):
                if float(row[what]):
                    yield {"name": f"{name}.{what}", "value": float(row[what]), "unit": unit}
            phase = name
        if "/" in row["name"]:  # a state
            continue
        for what in ("min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"):
            if row[f"{what}_ms"]:
                yield {"name": f"{name}.{row['name']}.{what}", "value": float(row[f"{what}_ms"]), "unit": "ms"}


def missing(build, needs):
    """Those of the programs that are not there; rbd-csi's own come from the build."""
    own = {"rbd-csid", "rbd-csictl", "ceph-worker", "rbd-attachd", "tests/bench/limit", "tests/bench/fuse_floor",
           "tests/bench/attach_floor", "tests/fake/csi_driver"}
    return [name for name in sorted(needs)
            if not (os.access(build / name, os.X_OK) if name in own else shutil.which(name))]


def marked(mark):
    """Pids of the processes that have this variable (NAME=VALUE) in their environment, as scripts/processes.sh finds them."""
    pids = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes().split(b"\0"):
                pids.append(int(path.parent.name))
        except OSError:
            continue
    return pids


def status(pid):
    """Resident KiB, threads of a process."""
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]), int(fields["Threads"])


def memory_mib(pid):
    """Resident, private and proportional MiB of a process, by the kernel's names."""
    fields = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.strip().endswith("kB"):
            fields[name] = int(value.split()[0]) / 1024
    return fields


def cpu_seconds(pid):
    parts = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(parts[11]) + int(parts[12])) / TICKS


def cpu_ns(pid):
    """CPU time of all threads of a process, also of those that have ended; the clock of clock_getcpuclockid(3)."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def wait_for(what, seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not happen within {seconds} s")
        time.sleep(0.02)
