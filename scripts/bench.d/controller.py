"""The parts of scripts/bench about the controller: its RPCs in a closed loop, and the bare writes that they cannot do without."""
import json
import statistics
import subprocess
import time

from measure import bench_figures, cpu_ns, memory_mib, wait_for

CALLERS = (1, 16, 64)
IDLE = 20  # seconds that purges may take on a busy machine, and one more for each volume


def counts(callers):
    return 100 if callers == 1 else 400


FEW, MANY = 50, 5000  # volumes in the pool


class Load:
    """rbd-csictl bench, watched phase by phase: what it prints, and the CPU time of daemon and worker in each."""

    def __init__(self, stand, prefix, callers, count, kind="volumes"):
        self.stand = stand
        self.count = count
        self.prefix = prefix
        parameters = stand.dir / "class.json"
        parameters.write_text(json.dumps(stand.class_parameters()))
        self.argv = [stand.build / "rbd-csictl", "--endpoint", stand.endpoint, "--secrets", stand.env["RBD_CSI_SECRETS"],
                     "bench", kind, "-o", "csv", "--parameters", parameters, "--run", prefix, "--runs", stand.dir / "runs", "--callers", str(callers),
                     "--count", str(count)]
        self.figures = {}

    def cpu(self):
        return sum(cpu_ns(pid) for pid in self.pids)

    def run(self):
        self.pids = [self.stand.daemon.pid] + self.stand.own("ceph-worker")
        before = self.cpu()
        with subprocess.Popen(self.argv, env=self.stand.env, stdout=subprocess.PIPE, text=True) as bench:
            for item in bench_figures(bench.stdout):
                phase, what = item["name"].split(".", 1)
                self.figures[item["name"]] = item
                if what == "rate":  # the phase has just ended
                    now = self.cpu()
                    self.put(f"{phase}.cpu", (now - before) / self.count / 1e6, "ms")
                    before = now
        if bench.returncode != 0:
            raise RuntimeError(f"bench {self.prefix} failed\n{(self.stand.dir / 'csi.log').read_text()[-2000:]}")
        self.wait_for_purges()
        # all of a deletion: what its phase has cost, in which some are purged already, and the rest of the purges
        rest = (self.cpu() - before) / self.count / 1e6
        self.put("delete.cpu_and_rest_of_purge", self.figures["delete.cpu"]["value"] + rest, "ms")
        return self

    def put(self, name, value, unit):
        self.figures[name] = {"name": name, "value": value, "unit": unit}

    def wait_for_purges(self):
        time.sleep(1.5)  # the worker tells of them each second
        wait_for("the end of the purges", IDLE + self.count,
                 lambda: self.stand.metric('rbd_csi_purges{state="running"}') == 0)

    def value(self, name):
        """Of a figure whose name, in front of the RPC's, is this."""
        return next(item["value"] for key, item in self.figures.items() if key == name or key.startswith(f"{name}."))


def report_memory(stand, when):
    for name, pids in (("rbd-csid", [stand.daemon.pid]), ("ceph-worker", stand.own("ceph-worker"))):
        for pid in pids:
            stand.report.figure(f"controller.{name}.resident.{when}", memory_mib(pid)["Rss"], "MiB")


def bench_controller(stand):
    Load(stand, "warm", 16, 32).run()
    report_memory(stand, "before")
    for callers in CALLERS:
        load = Load(stand, f"c{callers}", callers, counts(callers) // 2, "controller").run()
        for name, item in load.figures.items():
            stand.report.figure(f"controller.{callers}.{name}", item["value"], item["unit"])
    report_memory(stand, "after")
    bench_purge_gives_way(stand)


def bench_purge_gives_way(stand):
    """p50 at one caller, without and with a purge of 200 images of 1 GiB without object map; in turn, the medians."""
    quiet = {"create": [], "exists": []}
    beside = {"create": [], "exists": []}
    for turn in range(3):
        load = Load(stand, f"quiet{turn}", 1, 30).run()
        subprocess.run(Load(stand, f"gone{turn}", 16, 200).argv, env=stand.env, check=True, stdout=subprocess.DEVNULL)
        busy = Load(stand, f"beside{turn}", 1, 30)
        busy.wait_for_purges, wait = (lambda: None), busy.wait_for_purges
        busy.run()
        left = stand.metric('rbd_csi_purges{state="running"}')
        stand.report.figure(f"purge.{turn}.left", left, "images")
        began = time.monotonic()
        wait()
        if left > 0:
            stand.report.figure(f"purge.{turn}.alone", left * 256 / max(time.monotonic() - began, 0.001), "objects/s")
        for phase in quiet:
            quiet[phase].append(load.value(f"{phase}.CreateVolume.p50"))
            beside[phase].append(busy.value(f"{phase}.CreateVolume.p50"))
    for phase in quiet:
        stand.report.figure(f"purge.{phase}.p50.quiet", statistics.median(quiet[phase]), "ms")
        stand.report.judged(f"purge.{phase}.p50.beside", statistics.median(beside[phase]) / statistics.median(quiet[phase]),
                            "times", most=1.25)


def make_volumes(stand, count):
    subprocess.run([stand.build / "tests/bench/limit", "--make", str(count), "32"], env=stand.env, check=True,
                   stdout=subprocess.DEVNULL)


def list_all(stand):
    """How many volumes all pages of ListVolumes have, and ms a page, as the daemon has measured it."""
    series = 'rbd_csi_grpc_call_duration_seconds_%s{method="/csi.v1.Controller/ListVolumes"}'
    before = stand.metrics()
    found, token = 0, ""
    while True:
        page = json.loads(stand.call("Controller/ListVolumes", {"startingToken": token}).stdout)
        found += len(page.get("entries", []))
        token = page.get("nextToken", "")
        if not token:
            break
    after = stand.metrics()
    seconds, pages = (float(after[series % what]) - float(before.get(series % what, 0)) for what in ("sum", "count"))
    return found, seconds * 1000 / pages


def bench_many(stand):
    """Creation and deletion in a pool with few and with many volumes; the pages of a list."""
    Load(stand, "warm-many", 16, 32).run()
    figures = {}
    for there, more in ((FEW, FEW), (MANY, MANY - FEW)):
        make_volumes(stand, more)
        for callers in (1, 16):
            load = Load(stand, f"many{there}-{callers}", callers, counts(callers)).run()
            for phase, rpc in (("create", "CreateVolume"), ("delete", "DeleteVolume")):
                figures[there, callers, phase] = p50 = load.value(f"{phase}.{rpc}.p50")
                stand.report.figure(f"many.{there}.{callers}.{phase}.p50", p50, "ms")
        found, page_ms = list_all(stand)
        stand.report.figure(f"many.{there}.list.found", found, "volumes")
        stand.report.judged(f"many.{there}.list.page", page_ms, "ms", most=100)
    for callers in (1, 16):
        for phase in ("create", "delete"):
            stand.report.judged(f"many.{callers}.{phase}.p50.of_few",
                                figures[MANY, callers, phase] / figures[FEW, callers, phase], "times", most=1.25)


def bare_loop(stand, callers):
    run = subprocess.run([stand.build / "tests/bench/limit", "--json", str(counts(callers)), str(callers)], env=stand.env,
                         check=True, capture_output=True, text=True)
    figures = {}
    for line in run.stdout.splitlines():
        item = json.loads(line)
        figures.setdefault(item["name"], item["value"])
    return figures


def bench_limit(stand):
    """The bare loop and the RPCs in turn; a ratio is the median of the rounds'."""
    Load(stand, "warm-limit", 16, 32).run()
    for callers in (1, 16):
        ratios = {"create": [], "delete": []}
        for turn in range(3):
            bare = bare_loop(stand, callers)
            load = Load(stand, f"limit{callers}-{turn}", callers, counts(callers)).run()
            if turn == 0:
                for name, value in bare.items():
                    stand.report.figure(f"limit.{callers}.{name}", value, {"rate": "1/s"}.get(name.split(".")[1], "ms"))
            for phase, rpc in (("create", "CreateVolume"), ("delete", "DeleteVolume")):
                ours = load.value(f"{phase}.{rpc}.p50") if callers == 1 else load.value(f"{phase}.rate")
                ratios[phase].append(ours / bare[f"{phase}.{'p50' if callers == 1 else 'rate'}"])
        for phase, values in ratios.items():
            bound = {"most": 1.3} if callers == 1 else {"least": 0.8}
            what = "p50" if callers == 1 else "rate"
            stand.report.judged(f"limit.{callers}.{phase}.{what}.of_the_bare_loop", statistics.median(values), "times", **bound)

