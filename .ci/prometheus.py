"""A Prometheus that scrapes façades with our rules, and what the panels of our dashboard show on it."""

import json
import math
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager

from expect import PATIENCE, wait_until
from facade import ROOT
from process import free_port, process, run

RULES = ROOT / "deploy/prometheus"
DASHBOARD = json.loads((ROOT / "deploy/grafana/totp-facade.json").read_text())
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
SCRAPE = 0.5  # seconds
WINDOW = 2  # seconds, in place of Grafana's $__rate_interval
VARIABLES = {"$job": ".+", "$instance": ".+", "$__rate_interval": f"{WINDOW}s", "$__range": "2m"}


def tool(*command, **options):
    """Runs a command that must succeed; with all that it says."""
    said = run(*command, stderr=subprocess.STDOUT, **options)
    print(f"ok: {' '.join(map(str, command[:3]))}", flush=True)
    return said


def get(url):
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        return response.read().decode()


def answers(url):
    try:
        return bool(get(url))
    except urllib.error.HTTPError:
        return False


def expressions(panel):
    """Yields the queries of a panel as Grafana sends them, with their legends."""
    for target in panel["targets"]:
        query = target["expr"]
        for name, value in VARIABLES.items():
            query = query.replace(name, value)
        yield query, target["legendFormat"]


def named(legend, labels):
    """What Grafana calls a series."""
    return re.sub(r"\{\{(\w+)\}\}", lambda it: labels.get(it[1], ""), legend)


class Prometheus:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/api/v1/"

    def ask(self, kind, **parameters):
        data = json.loads(get(f"{self.url}{kind}?{urllib.parse.urlencode(parameters)}"))["data"]
        return data["result"] if isinstance(data, dict) else data

    def series(self, query):
        return self.ask("query", query=query)

    def points(self, query, start, end):
        """Yields the labels of each series within a time, and its values with their times."""
        for series in self.ask("query_range", query=query, start=start, end=end, step=SCRAPE):
            points = [(time, float(value)) for time, value in series["values"]]
            yield series["metric"], [(time, value) for time, value in points if not math.isnan(value)]

    def within(self, query, start, end):
        """Yields the labels of each series within a time, and its values."""
        for labels, points in self.points(query, start, end):
            yield labels, [value for _, value in points]

    def exemplars(self, panel, start, end):
        """Yields the exemplars that a panel shows, as Grafana asks for them: of its queries that are marked."""
        for target, (query, _) in zip(PANELS[panel]["targets"], expressions(PANELS[panel])):
            if target.get("exemplar"):
                for series in self.ask("query_exemplars", query=query, start=start, end=end):
                    yield from series["exemplars"]

    def highest(self, panel, line, start, end):
        """The highest that a panel shows within a time, of its lines whose legend matches; 0 without any."""
        highest = 0.0
        for query, legend in expressions(PANELS[panel]):
            for labels, values in self.within(query, start, end):
                if re.fullmatch(line, named(legend, labels)):
                    highest = max([highest, *values])
        return highest


@contextmanager
def prometheus(folder, admins):
    """A Prometheus that scrapes these addresses twice a second and evaluates the rules as often."""
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({
        "global": {
            "scrape_interval": f"{SCRAPE * 1000:.0f}ms", "scrape_timeout": f"{SCRAPE * 1000:.0f}ms",
            "evaluation_interval": f"{SCRAPE * 1000:.0f}ms",
        },
        "rule_files": [str(RULES / "rules.yml"), str(RULES / "alerts.yml")],
        "scrape_configs": [{"job_name": "totp-facade", "static_configs": [{"targets": admins}]}],
    }))
    tool("promtool", "check", "config", config)
    port = free_port()
    flags = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=error"]
    flags += [f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage"]
    with process(port, "prometheus", *flags):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"), "Prometheus is ready")
        yield Prometheus(port)
