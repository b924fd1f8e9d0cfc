"""What it costs to look inside, and whether rbd-csictl bench tells the truth.

Two daemons on one cluster take turns, round by round: one as it is by default, with metrics and status page; one that logs
errors only, serves no metrics and watches for no slow operation. What cannot be switched off (the trail of an operation, the
ring of those that have ended) is in both. A cost is the median of the rounds' ratios; low and high are what that median is between
with 95 % confidence. The one without has two turns a round: what they differ by is noise, and has its low and high, too.
"""
import json
import math
import pathlib
import resource
import socket
import statistics
import subprocess
import sys
import time

from measure import TOP, bench_figures, cpu_ns, status, wait_for

ROUNDS = 9
COST_ROUNDS = 24
SCRAPES = 50
VOLUMES = 500
PROBES = 20000  # a turn
EXISTS = 100  # by one caller: the same requests of several would be one
CALLERS = 16
STEADY = ((100, 80, 4), (20, 100, 1))  # ms, calls, callers
FIRST = ("chrt", "--fifo", "10")  # nobody waits for a processor that something else has
FIGURES = (("rate", "1/s"), ("mean", "ms"), ("p50", "ms"), ("p95", "ms"))


class Call:
    """An RPC and its request."""

    def __init__(self, rpc, request, count, callers):
        self.rpc, self.count, self.callers = rpc, count, callers
        self.request = json.dumps(request)

    def by_ours(self, stand, endpoint, *pin):
        run = subprocess.run([*pin, stand.build / "rbd-csictl", "--endpoint", endpoint, "bench", "calls", "-o", "csv", "--rpc",
                              self.rpc, "--count", str(self.count), "--callers", str(self.callers), self.request],
                             check=True, capture_output=True, text=True)
        return {item["name"].split(".")[-1]: item["value"] for item in bench_figures(run.stdout.splitlines())}

    def by_ghz(self, ghz, stand, endpoint, *pin):
        run = subprocess.run([*pin, ghz, "--insecure", "--protoset", stand.build / "proto/descriptors.pb", "--call",
                              f"csi.v1.{self.rpc}", "-n", str(self.count), "-c", str(self.callers), "--connections", "1", "-d", self.request, "-O", "json", endpoint],
                             check=True, capture_output=True, text=True)
        told = json.loads(run.stdout)
        if told.get("errorDistribution"):
            raise RuntimeError(f"ghz: {told['errorDistribution']}")
        at = {item["percentage"]: item["latency"] / 1e6 for item in told["latencyDistribution"]}
        return {"rate": told["rps"], "mean": told["average"] / 1e6, "p50": at[50], "p95": at[95]}


def in_turn(rounds, measures):
    """Each of the measures once a round; lists of figures by name. Each is as often first, in the middle and last as the others."""
    results = {name: [] for name in measures}
    names = list(measures)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            results[name].append(measures[name]())
        if number % 2 == 1:
            names.append(names.pop(0))
    return results


def ratio(results, one, other, figure):
    return statistics.median(a[figure] / b[figure] for a, b in zip(results[one], results[other]))


def interval(values):
    """Between which two of them their median is with 95 % confidence: as often below it as a fair coin shows heads."""
    values, n = sorted(values), len(values)
    skip, beyond = 0, 0.5 ** n
    while beyond <= 0.025:
        skip += 1
        beyond += math.comb(n, skip) * 0.5 ** n
    return values[max(skip - 1, 0)], values[min(n - skip, n - 1)]


def bench_cost(stand, name, call, with_it, without):
    """A call against the daemon with all of it and the one without: rates, and CPU time, which a busy machine shifts less."""
    def measure(daemon, endpoint):
        children = stand.children(daemon.pid)
        before, elsewhere = cpu_ns(daemon.pid), sum(map(cpu_ns, children))
        figures = call.by_ours(stand, endpoint)
        figures["cpu"] = (cpu_ns(daemon.pid) - before) / call.count / 1000
        figures["cpu_in_all"] = figures["cpu"] + (sum(map(cpu_ns, children)) - elsewhere) / call.count / 1000
        return figures

    measures = {"with": lambda: measure(*with_it), "without": lambda: measure(*without), "again": lambda: measure(*without)}
    in_turn(1, measures)  # sessions, memory
    results = in_turn(COST_ROUNDS, measures)
    for which in results:
        for figure, unit in (("rate", "1/s"), ("cpu", "us"), ("cpu_in_all", "us")):
            stand.report.figure(f"insight.{name}.{figure}.{which}", statistics.median(r[figure] for r in results[which]), unit)
    stand.report.judged(f"insight.{name}.rate.cost", (1 - ratio(results, "with", "without", "rate")) * 100, "%", most=2)
    for what, one in (("cost", "with"), ("noise", "again")):
        low, high = interval([(1 - a["rate"] / b["rate"]) * 100 for a, b in zip(results[one], results["without"])])
        stand.report.figure(f"insight.{name}.rate.{what}.low", low, "%")
        stand.report.figure(f"insight.{name}.rate.{what}.high", high, "%")
    whole = statistics.median(r["cpu_in_all"] for r in results["without"])
    more = {one: [(a["cpu"] - b["cpu"]) / whole * 100 for a, b in zip(results[one], results["without"])] for one in ("with", "again")}
    stand.report.judged(f"insight.{name}.cpu.cost", statistics.median(more["with"]), "%", most=2)
    for what, one in (("cost", "with"), ("noise", "again")):
        low, high = interval(more[one])
        stand.report.figure(f"insight.{name}.cpu.{what}.low", low, "%")
        stand.report.figure(f"insight.{name}.cpu.{what}.high", high, "%")


def scrape(stand):
    """ms, bytes of one scrape."""
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"{stand.dir}/metrics.sock")
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        size = sum(map(len, iter(lambda: sock.recv(1 << 20), b"")))
    return (time.monotonic() - began) * 1000, size


def bench_scrape(stand):
    few = scrape(stand)[1]
    stand.bench("hold", "--count", VOLUMES, "--callers", 16, "--run", "insight", "--fstype", "block", "--size", 16 << 20,
                prefix="insight")
    try:
        before = cpu_ns(stand.daemon.pid)
        times, sizes = zip(*(scrape(stand) for _ in range(SCRAPES)))
        used = (cpu_ns(stand.daemon.pid) - before) / SCRAPES / 1e6
        stand.report.judged(f"insight.scrape.{VOLUMES}_volumes", statistics.median(times), "ms", most=10)
        stand.report.figure("insight.scrape.cpu", used, "ms")
        stand.report.figure("insight.scrape.bytes", sizes[-1] / 1024, "KiB")
        stand.report.figure("insight.scrape.bytes_without_volumes", few / 1024, "KiB")
    finally:
        stand.bench("release", "--callers", 16, "--run", "insight", prefix="insight")


def bench_generator(stand, endpoint):
    """rbd-csictl alone on one core."""
    probe = Call("Identity/Probe", {}, 3 * PROBES, CALLERS)
    runs = [probe.by_ours(stand, endpoint, "taskset", "-c", "0") for _ in range(3)]
    stand.report.judged("insight.generator.probes", statistics.median(r["rate"] for r in runs), "1/s", least=10000)
    stand.report.judged("insight.generator.probes_a_core",
                        statistics.median(r["rate"] / r["generator_cpu"] * 100 for r in runs), "1/s", least=10000)


def with_cpu(figures_of):
    """Its figures, and the CPU time that the generator has taken, in us."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = figures_of()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures["cpu"] = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e6
    return figures


def build_ghz(build):
    program = build / "tests/bench/ghz"
    program.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([TOP / "scripts/go", "build", "-buildvcs=false", "-o", program, "github.com/bojand/ghz/cmd/ghz"],
                   check=True, cwd=TOP / "tests/bench/ghz", stdout=sys.stderr)
    return program


def compare_generators(stand, ghz, name, call, endpoint, *pin):
    """The same call by rbd-csictl and by ghz, in turn: how far apart their figures are, in %."""
    results = in_turn(ROUNDS, {"ours": lambda: with_cpu(lambda: call.by_ours(stand, endpoint, *pin)),
                               "ghz": lambda: with_cpu(lambda: call.by_ghz(ghz, stand, endpoint, *pin))})
    for who in results:
        for figure, unit in FIGURES:
            stand.report.figure(f"insight.{name}.{who}.{figure}", statistics.median(r[figure] for r in results[who]), unit)
        stand.report.figure(f"insight.{name}.{who}.cpu", statistics.median(r["cpu"] for r in results[who]) / call.count, "us")
    return {figure: abs(ratio(results, "ours", "ghz", figure) - 1) * 100 for figure, _ in FIGURES}


def bench_agreement(stand, exists):
    """
    The target is judged by calls whose time is the driver's: a fake one answers Probe by a timer, and all three are at real-time
    priority. A call of rbd-csid is work for the same processors that the generators need for theirs, so its time is not the same
    beside each of them.
    """
    ghz = build_ghz(stand.build)
    for ms, count, callers in STEADY:
        socket_file = stand.dir / f"steady-{ms}.sock"
        driver = subprocess.Popen([*FIRST, stand.build / "tests/fake/csi_driver", socket_file, f"steady={ms}"])
        try:
            wait_for("a socket of the fake driver", 60, socket_file.exists)
            call = Call("Identity/Probe", {}, count, callers)
            for figure, percent in compare_generators(stand, ghz, f"steady_{ms}", call, f"unix://{socket_file}", *FIRST).items():
                stand.report.judged(f"insight.steady_{ms}.apart.{figure}", percent, "%", most=5)
        finally:
            driver.terminate()
            driver.wait(timeout=60)
    for figure, percent in compare_generators(stand, ghz, "exists", exists, stand.endpoint).items():
        stand.report.figure(f"insight.exists.apart.{figure}", percent, "%")


def bench_insight(stand):
    secrets = json.loads(pathlib.Path(stand.env["RBD_CSI_SECRETS"]).read_text())
    exists = Call("Controller/CreateVolume", {
        "name": "insight", "capacity_range": {"required_bytes": 1 << 24},
        "volume_capabilities": [{"block": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}],
        "parameters": stand.class_parameters(), "secrets": secrets}, EXISTS, 1)
    without = (stand.start_daemon("without", "--log-level=error", "--logslowopinterval=0"), f"unix://{stand.dir}/without.sock")
    with_it = (stand.daemon, stand.endpoint)
    bench_cost(stand, "probe", Call("Identity/Probe", {}, PROBES, CALLERS), with_it, without)
    bench_cost(stand, "create_volume_exists", exists, with_it, without)
    scrape(stand)
    grown = [status(daemon.pid)[0] / 1024 for daemon, _ in (with_it, without)]
    stand.report.judged("insight.memory.cost", grown[0] - grown[1], "MiB", most=2)
    bench_generator(stand, without[1])
    bench_agreement(stand, exists)
    bench_scrape(stand)
