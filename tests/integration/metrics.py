#!/usr/bin/python3
"""For metrics.t: asks rbd-csid by HTTP, and judges what it tells.

    metrics.py get ADDRESS PATH     the body; exit status 0 for 200, else the status on stderr and 1
    metrics.py check <TEXT          fails if Prometheus' own parser or the rules below object
    metrics.py names <TEXT          "NAME TYPE" of each metric, sorted

ADDRESS is HOST:PORT, unix:///PATH, or https://HOST:PORT, whose certificate must be one of $METRICS_CA."""

import http.client
import os
import re
import socket
import ssl
import sys

SAMPLE = re.compile(r'([a-zA-Z_]\w*)(\{(?:[a-z]\w*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)')


class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.host)


def get(address, path):
    if address.startswith("unix://"):
        connection = Unix("localhost", timeout=60)
        connection.host = address.removeprefix("unix://")
        headers = {"Host": "localhost"}
    elif address.startswith("https://"):
        trusted = ssl.create_default_context(cafile=os.environ["METRICS_CA"])
        connection = http.client.HTTPSConnection(address.removeprefix("https://"), timeout=60, context=trusted)
        headers = {}
    else:
        connection = http.client.HTTPConnection(address, timeout=60)
        headers = {}
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    if path == "/metrics":
        kind = response.getheader("Content-Type")
        assert kind == "text/plain; version=0.0.4; charset=utf-8", kind
    sys.stdout.write(response.read().decode())
    if response.status != 200:
        print(response.status, file=sys.stderr)
        raise SystemExit(1)


def check_histogram(family):
    """Buckets of each series grow, end with +Inf, and agree with the count."""
    series = {}
    for sample in family.samples:
        labels = {k: v for k, v in sample.labels.items() if k != "le"}
        at = series.setdefault(tuple(sorted(labels.items())), {"buckets": []})
        if sample.name.endswith("_bucket"):
            at["buckets"].append((float(sample.labels["le"]), sample.value))
        else:
            at[sample.name.removeprefix(family.name)] = sample.value
    for labels, at in series.items():
        bounds = [b for b, _ in at["buckets"]]
        counts = [c for _, c in at["buckets"]]
        assert bounds == sorted(set(bounds)) and bounds[-1] == float("inf"), (family.name, labels)
        assert counts == sorted(counts) and counts[-1] == at["_count"], (family.name, labels)
        assert at["_sum"] >= 0, (family.name, labels)


def check(text):
    from prometheus_client.parser import text_string_to_metric_families

    assert text.endswith("\n"), "the last line has no end"
    seen = set()
    for line in text.splitlines():
        if line.startswith("# "):
            assert re.fullmatch(r"# (HELP \w+ .*|TYPE \w+ (counter|gauge|histogram|summary))", line), line
            continue
        assert SAMPLE.fullmatch(line), line
        name = line.rsplit(" ", 1)[0]
        assert name not in seen, f"twice: {name}"
        seen.add(name)
    families = list(text_string_to_metric_families(text))
    names = [f.name for f in families]
    assert len(names) == len(set(names)), "a metric is told in two places"
    for family in families:
        assert family.type != "unknown" and family.documentation, family.name
        if family.type == "histogram":
            check_histogram(family)
        if family.type == "counter":
            assert all(s.name == family.name + "_total" for s in family.samples), family.name
            assert all(s.value >= 0 for s in family.samples), family.name


def names(text):
    for name, kind in sorted(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M)):
        print(name, kind)


def main():
    if sys.argv[1] == "get":
        get(sys.argv[2], sys.argv[3])
    elif sys.argv[1] == "check":
        check(sys.stdin.read())
    elif sys.argv[1] == "names":
        names(sys.stdin.read())


main()
