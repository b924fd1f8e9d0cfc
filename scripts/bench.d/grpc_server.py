"""The gRPC server of rbd-csid beside one of grpc-go. Needs no cluster.

Both answer NodeGetCapabilities with the same bytes. They take turns, round by round, so that what else the machine does
hits both; a figure is the median of the rounds, a ratio the median of the rounds' ratios.
"""
import csv
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from measure import TOP, bench_figures, cpu_ns, memory_mib, status, wait_for

NEEDS = {"rbd-csid", "rbd-csictl", "h2load", "go"}
METHOD = "csi.v1.Node/NodeGetCapabilities"
CONNECTIONS = 500
GROWTH_KIB = 64  # a few pages; a leak of one byte in ten calls is more
THIRD = 1 / 3


class Load(NamedTuple):
    name: str
    what: str
    calls: int
    options: list  # of rbd-csictl bench calls
    targets: dict  # figure -> bound of its ratio
    h2load: int = 0  # streams, to check with another generator


LOADS = [
    Load("one", "one call at a time on one connection", 20000, [], {"rate": ("least", 1.5)}, h2load=1),
    Load("streams", "100 calls at a time on one connection", 150000, ["--callers", "100"],
         {"rate": ("least", 1.5), "cpu_per_call": ("most", THIRD)}, h2load=100),
    Load("connect", "a connection for each call, one at a time", 5000, ["--connect-per-call"],
         {"rate": ("least", 3), "p99": ("most", THIRD)}),
    Load("connect16", "a connection for each call, 16 at a time", 15000, ["--connect-per-call", "--callers", "16"],
         {"rate": ("least", 3), "p99": ("most", THIRD)}),
]

UNITS = {"rate": "1/s", "p50": "us", "p99": "us", "cpu_per_call": "us", "cpu": "%", "client_cpu_per_call": "us",
         "client_cpu": "%"}


class Server:
    """A process that serves a socket in `directory`."""

    def __init__(self, name, directory, build, argv):
        self.name = name
        self.build = build
        self.socket = directory / f"{name}.sock"
        self.log = open(directory / f"{name}.log", "w", encoding="utf-8")
        argv = [str(arg).replace("SOCKET", str(self.socket)) for arg in argv]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.pid = self.process.pid

    def wait_until_ready(self):
        wait_for(f"an answer of {self.name} (see {self.log.name})", 20,
                 lambda: self.ctl("call", "Identity/Probe", check=False).returncode == 0)

    def argv(self, *args):
        return [self.build / "rbd-csictl", "--endpoint", f"unix://{self.socket}", *map(str, args)]

    def ctl(self, *args, check=True):
        return subprocess.run(self.argv(*args), check=check, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def figures_of(lines):
    """Of rbd-csictl bench, without the names of kind and method; times in us."""
    figures = {item["name"].split(".")[-1]: item["value"] * (1000 if item["unit"] == "ms" else 1)
               for item in bench_figures(lines)}
    figures["client_cpu"] = figures["generator_cpu"]
    figures["client_cpu_per_call"] = figures["client_cpu"] * 10000 / figures["rate"]
    return figures


def put_load(server, load):
    """One round of a load on one server; figures by name."""
    before = cpu_ns(server.pid)
    run = server.ctl("bench", "calls", "--rpc", METHOD, "-o", "csv", "--count", load.calls, *load.options, check=False)
    used = cpu_ns(server.pid) - before
    if run.returncode != 0:
        raise RuntimeError(f"{load.name} on {server.name}: {run.stderr.strip()}")
    figures = figures_of(run.stdout.splitlines())
    figures["cpu_per_call"] = used / load.calls / 1000
    figures["cpu"] = figures["cpu_per_call"] * figures["rate"] / 10000
    return figures


def put_h2load(server, load, body):
    """The same from a generator that is not ours."""
    before = cpu_ns(server.pid)
    run = subprocess.run(
        ["h2load", "-c1", f"-m{load.h2load}", f"-n{load.calls}", "-d", body, "-H", "te: trailers", "-H",
         "content-type: application/grpc", f"--base-uri=unix:{server.socket}", f"http://localhost/{METHOD}"],
        check=True, capture_output=True, text=True).stdout
    used = cpu_ns(server.pid) - before
    if f" {load.calls} succeeded" not in run:
        raise RuntimeError(f"h2load on {server.name}: {run}")
    return {"rate": float(re.search(r"([0-9.]+) req/s", run)[1]), "cpu_per_call": used / load.calls / 1000}


def rounds_of(servers, rounds, measure):
    """servers x rounds, each round in another order."""
    results = {server.name: [] for server in servers}
    for number in range(rounds):
        for server in servers if number % 2 == 0 else reversed(servers):
            results[server.name].append(measure(server))
    return results


def median(results, name, figure):
    return statistics.median(one[figure] for one in results[name])


def compare(report, prefix, results, ours, theirs, figures, targets):
    """Reports each figure of both, and the ratio ours : theirs where it has a target."""
    for figure in figures:
        for server in (ours, theirs):
            report.figure(f"{prefix}.{figure}.{server.name}", median(results, server.name, figure), UNITS[figure])
        if figure in targets:
            bound, value = targets[figure]
            ratio = statistics.median(a[figure] / b[figure]
                                      for a, b in zip(results[ours.name], results[theirs.name]))
            report.judged(f"{prefix}.{figure}.ratio", ratio, "x", **{bound: value})


def tell_limit(report, results, servers):
    """Whether the figures are the server's or the generator's."""
    for server in servers:
        client, own = (median(results, server.name, figure) for figure in ("client_cpu", "cpu"))
        if client > own and client > 85:
            report.note(f"{server.name}: the generator is the limit, it used {client:.0f} % of a core and the server"
                        f" {own:.0f} %")


def bench_loads(report, ours, theirs, rounds, body):
    for load in LOADS:
        report.note(f"grpc.{load.name}: {load.what}")
        results = rounds_of([ours, theirs], rounds, lambda server, load=load: put_load(server, load))
        compare(report, f"grpc.{load.name}", results, ours, theirs, ["rate", "p50", "p99", "cpu_per_call"], load.targets)
        compare(report, f"grpc.{load.name}", results, ours, theirs, ["client_cpu_per_call", "cpu", "client_cpu"], {})
        tell_limit(report, results, [ours, theirs])
        if load.h2load:
            results = rounds_of([ours, theirs], min(rounds, 3),
                                lambda server, load=load: put_h2load(server, load, body))
            compare(report, f"grpc.{load.name}.h2load", results, ours, theirs, ["rate", "cpu_per_call"], load.targets)


def bench_log(report, quiet, logging, rounds):
    """What the line that each call leaves in the log costs."""
    load = next(load for load in LOADS if load.name == "streams")
    results = rounds_of([quiet, logging], min(rounds, 3), lambda server: put_load(server, load))
    report.figure("grpc.log.cpu_per_line", median(results, logging.name, "cpu_per_call") -
                  median(results, quiet.name, "cpu_per_call"), "us")


def settled_mib(pid):
    """Resident MiB once it has stood still for 3 s, or after 20 s."""
    end = time.monotonic() + 20
    last, since = status(pid)[0], time.monotonic()
    while time.monotonic() < end and time.monotonic() < since + 3:
        time.sleep(0.1)
        now = status(pid)[0]
        if abs(now - last) > 64:
            last, since = now, time.monotonic()
    return status(pid)[0] / 1024


def hold_connections(server):
    """Opens connections, makes a call on each; the process that holds them."""
    holder = subprocess.Popen(server.argv("bench", "connections", "-o", "csv", "--count", CONNECTIONS, "--callers", 16),
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for row in csv.DictReader(holder.stdout):
        if int(row["passed"]) != CONNECTIONS:
            break
        return holder
    holder.kill()
    holder.wait()
    raise RuntimeError(f"{server.name} did not take {CONNECTIONS} connections")


def bench_connections(report, server, judged):
    """Memory before, with, and after the connections."""
    prefix = f"grpc.connections.{server.name}"
    server.ctl("bench", "calls", "--count", 1000, "--connect-per-call")
    before = settled_mib(server.pid)
    pathlib.Path(f"/proc/{server.pid}/clear_refs").write_text("5\n", encoding="ascii")  # the peak starts anew
    holder = hold_connections(server)
    try:
        opened = settled_mib(server.pid)
        parts = memory_mib(server.pid)
        report.figure(f"{prefix}.before", before, "MiB")
        if judged:
            report.judged(f"{prefix}.open", opened, "MiB", most=20)
        else:
            report.figure(f"{prefix}.open", opened, "MiB")
        report.figure(f"{prefix}.open_private", parts["Private_Clean"] + parts["Private_Dirty"], "MiB")
        report.figure(f"{prefix}.peak", peak_mib(server.pid), "MiB")
        holder.stdin.write("\n")
        holder.stdin.close()
        holder.wait(timeout=60)
    finally:
        if holder.poll() is None:
            holder.kill()
            holder.wait()
    grown = settled_mib(server.pid) - before
    if judged:
        report.judged(f"{prefix}.left_after_close", grown, "MiB", most=1)
    else:
        report.figure(f"{prefix}.left_after_close", grown, "MiB")


def peak_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM")


def bench_growth(report, ours):
    """1,000,000 calls, every tenth with a connection of its own, after as many kinds of them to warm up."""
    def calls(count):
        ours.ctl("bench", "calls", "--count", count * 9 // 10, "--callers", 100)
        ours.ctl("bench", "calls", "--count", count // 10, "--callers", 16, "--connect-per-call")

    calls(100000)
    before = memory_mib(ours.pid)["Anonymous"]
    calls(1000000)
    report.judged("grpc.growth.1000000_calls", (memory_mib(ours.pid)["Anonymous"] - before) * 1024, "KiB",
                  most=GROWTH_KIB)


def csid(build, directory, name, log_level):
    state = directory / f"{name}.state"
    state.mkdir()
    config = directory / "config.json"
    config.write_text("[]\n", encoding="ascii")
    return Server(name, directory, build, [
        build / "rbd-csid", "--type=rbd", "--nodeserver", "--nodeid=bench", "--endpoint=unix://SOCKET",
        f"--config={config}", f"--statedir={state}", "--drivername=rbd.csi.ceph.com", "--mounter-fallback=none",
        f"--log-level={log_level}", f"--grpc-max-connections={CONNECTIONS + 100}"])


def build_grpc_go(build):
    program = build / "tests/bench/grpc-go"
    program.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([TOP / "scripts/go", "build", "-buildvcs=false", "-o", program, "."], check=True,
                   cwd=TOP / "tests/bench/grpc-go", stdout=sys.stderr)
    return program


def check_same(ours, theirs):
    answers = [json.loads(server.ctl("call", "Node/NodeGetCapabilities").stdout) for server in (ours, theirs)]
    if answers[0] != answers[1]:
        raise RuntimeError(f"the servers answer differently: {answers}")


def run(build, report, rounds):
    program = build_grpc_go(build)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="rbd-csi-bench."))
    body = directory / "body"
    body.write_bytes(bytes(5))  # an empty message
    servers = []

    def start(server):
        servers.append(server)
        server.wait_until_ready()
        return server

    try:
        ours = start(csid(build, directory, "rbd-csid", "warn"))
        theirs = start(Server("grpc-go", directory, build, [program, "SOCKET"]))
        check_same(ours, theirs)
        report.note("grpc.connections: 500 open connections that have made a call")
        bench_connections(report, ours, True)
        bench_connections(report, theirs, False)
        bench_loads(report, ours, theirs, rounds, body)
        bench_log(report, ours, start(csid(build, directory, "rbd-csid-info", "info")), rounds)
        report.note("grpc.growth: memory over 1,000,000 calls, a tenth of them with a connection each; threads")
        bench_growth(report, ours)
        for server in (ours, theirs):
            report.figure(f"grpc.threads.{server.name}", status(server.pid)[1], "threads")
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(directory, ignore_errors=True)
