"""What the way to a volume's data costs: rbd-attachd beside other ways, with the processor's time and the switches of each."""
import contextlib
import json
import os
import pathlib
import subprocess

from measure import cpu_ns, wait_for

FIO_JOBS = {
    "write_1M_qd8": ["--rw=write", "--bs=1M", "--iodepth=8"],
    "read_1M_qd8": ["--rw=read", "--bs=1M", "--iodepth=8"],
    "randwrite_4k_qd1": ["--rw=randwrite", "--bs=4k", "--iodepth=1"],
    "randread_4k_qd1": ["--rw=randread", "--bs=4k", "--iodepth=1"],
    "randwrite_4k_qd16": ["--rw=randwrite", "--bs=4k", "--iodepth=16"],
    "randread_4k_qd16": ["--rw=randread", "--bs=4k", "--iodepth=16"],
}
RUNTIME_S = 2
ROUNDS = 5
LIBAIO = ["--ioengine=libaio", "--direct=1"]


def switches(pid):
    """How often threads of a process have gone off a processor, of those that are still there."""
    return sum(int(line.split()[1]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
               for line in (task / "status").read_text().splitlines() if "ctxt_switches" in line)


def fio(env, target, job, servers, requests=0):
    """A run of that time or of so many requests: MB/s or IOPS, requests; microseconds of the processor, switches of fio and `servers`."""
    until = [f"--number_ios={requests}"] if requests else ["--time_based", f"--runtime={RUNTIME_S}"]
    argv = ["fio", "--name=x", "--output-format=json", "--size=512M", "--randrepeat=0", *until, *FIO_JOBS[job], *target]
    before = [(cpu_ns(pid), switches(pid)) for pid in servers]
    run = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True)
    out = run.stdout.read()
    _, status, used = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {run.returncode}")
    us, gone = (used.ru_utime + used.ru_stime) * 1e6, used.ru_nvcsw + used.ru_nivcsw
    for pid, (ns_before, gone_before) in zip(servers, before):
        us += (cpu_ns(pid) - ns_before) / 1000
        gone += switches(pid) - gone_before
    side = json.loads(out[out.index("{"):])["jobs"][0]["read" if "read" in job else "write"]
    return {"rate": side["bw_bytes"] / 1e6 if "1M" in job else side["iops"], "requests": side["total_ios"], "cpu": us,
            "switches": gone}


def for_each(run, start, what):
    """Of one request, without what fio needs to start."""
    return max(run[what] - start[what], 0) / max(run["requests"] - start["requests"], 1)


@contextlib.contextmanager
def loop_device(file):
    """A loop device with direct I/O."""
    loop = subprocess.run(["losetup", "--find", "--show", "--direct-io=on", file], check=True, capture_output=True,
                          text=True).stdout.strip()
    try:
        yield loop
    finally:
        subprocess.run(["losetup", "-d", loop], check=False)


@contextlib.contextmanager
def fuse_floor(stand):
    """A loop device over a FUSE file that is answered at once, from memory: what no server of such a file can be faster than."""
    mount = stand.dir / "floor"
    mount.mkdir()
    server = subprocess.Popen([stand.build / "tests/bench/fuse_floor", mount, str(1 << 30)])
    try:
        wait_for("the mount of fuse_floor", 20, (mount / "image").exists)
        with loop_device(mount / "image") as loop:
            yield loop, server.pid
    finally:
        server.terminate()
        server.wait(timeout=30)
        subprocess.run(["umount", "-l", mount], check=False)


@contextlib.contextmanager
def qemu_export(stand, env):
    """A loop device over the FUSE export of qemu-storage-daemon."""
    export = stand.dir / "qsd.img"
    export.touch()
    qsd = subprocess.Popen(
        ["qemu-storage-daemon", "--blockdev",
         f"rbd,node-name=d,pool=rbd,image=bench-qsd,conf={env['CEPH_CONF']},user=admin,cache.direct=on,discard=unmap",
         "--export", f"fuse,id=e,node-name=d,mountpoint={export},writable=on"], env=env)
    try:
        wait_for("the export of qemu-storage-daemon", 60, lambda: export.stat().st_size > 0)
        with loop_device(export) as loop:
            yield loop, qsd.pid
    finally:
        qsd.terminate()
        qsd.wait(timeout=30)


def report_job(stand, job, rounds, starts):
    def median(values):
        return sorted(values)[len(rounds) // 2]

    rate = {name: median(r[name]["rate"] for r in rounds) for name in starts}
    for name, start in starts.items():
        stand.report.figure(f"throughput.{job}.{name}", rate[name], "MB/s" if "1M" in job else "IOPS")
        for what, unit in (("cpu", "us"), ("switches", "times")):
            stand.report.figure(f"throughput.{job}.{name}.{what}", median(for_each(r[name], start, what) for r in rounds), unit)
    ratio = median(r["rbd-attachd"]["rate"] / r["fio-rbd"]["rate"] for r in rounds)
    stand.report.judged(f"throughput.{job}.of_fio-rbd", ratio, "times", least=0.9 if job == "write_1M_qd8" else 0.95)
    # What is left of fio's engine if each request takes its time, and then that of FUSE and the loop device. It is the best possible
    # for one request after the other; among many, one may use the time of another.
    in_series = median(1 / (1 + r["fio-rbd"]["rate"] / r["floor"]["rate"]) for r in rounds)
    stand.report.figure(f"throughput.{job}.in_series", 100 * in_series, "%")
    if job.endswith("_qd1"):
        stand.report.judged(f"throughput.{job}.of_in_series", ratio / in_series, "times", least=0.95)
    else:
        stand.report.figure(f"throughput.{job}.of_in_series", 100 * ratio / in_series, "%")


def bench_throughput(stand):
    """Three data paths to three images of the same kind, and one to nothing, in turn; medians, also of the rounds' ratios."""
    # Without librbd's cache everywhere: it acknowledges writes before they are durable.
    conf = stand.dir / "no-cache.conf"
    conf.write_text(pathlib.Path(stand.env["CEPH_CONF"]).read_text() + "\n[client]\nrbd cache = false\n")
    env = dict(stand.env, CEPH_CONF=str(conf))
    env.pop("CEPH_ARGS", None)
    for name in ("qsd", "engine"):
        subprocess.run(["rbd", "--pool", "rbd", "create", f"bench-{name}", "--size", "1G", "--image-feature", "layering"], env=env,
                       check=True)
    stand.bench("hold", "--count", 1, "--callers", 1, "--run", "t", "--fstype", "block", prefix="throughput")
    device = next((stand.dir / "volumes" / "bench-t-0").glob("target"))
    with qemu_export(stand, env) as qsd, fuse_floor(stand) as floor:
        paths = {
            "rbd-attachd": ([f"--filename={device}", *LIBAIO], stand.own("rbd-attachd")),
            "qemu-storage-daemon": ([f"--filename={qsd[0]}", *LIBAIO], [qsd[1]]),
            "fio-rbd": (["--ioengine=rbd", "--clientname=admin", "--pool=rbd", "--rbdname=bench-engine"], []),
            "floor": ([f"--filename={floor[0]}", *LIBAIO], [floor[1]]),
        }
        for job in FIO_JOBS:
            starts = {name: fio(env, target, job, servers, 1) for name, (target, servers) in paths.items()}
            report_job(stand, job, [{name: fio(env, target, job, servers) for name, (target, servers) in paths.items()}
                                    for _ in range(ROUNDS)], starts)
    stand.bench("release", "--run", "t", prefix="throughput")
