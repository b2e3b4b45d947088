"""deploy/compose, without containers: compose.yaml is held to the Compose specification, and what each service would
run is run here, with the file's own command, settings and configuration. Names and ports become those of loopback.

Not run: the images, Grafana (its files are only read), and what is the engine's: networks, volumes, users, limits.
"""

import json
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml
from compose_spec import ComposeSpecification
from pydantic import ValidationError

from expect import PATIENCE, check, wait_until
from facade import PROGRAM, ROOT
from process import free_port, process
from proxies.client import Caller, new_key
from proxies.fronts import Front

COMPOSE = ROOT / "deploy/compose"
PORTS = ["50051", "50061", "50062", "8090", "9461", "9462", "6379", "9090"]
NAMES = ["redis", "pod", "prometheus"]


def objections(text):
    """What the Compose specification has against a file, strictly."""
    fields = {name: it for name, it in yaml.safe_load(text).items() if not name.startswith("x-")}
    try:
        ComposeSpecification.model_validate_json(json.dumps(fields), extra="forbid", strict=True)
        return []
    except ValidationError as error:
        return [".".join(map(str, it["loc"])) for it in error.errors()]


def is_valid():
    """The file is as the specification wants it, and one that is not would be found."""
    text = (COMPOSE / "compose.yaml").read_text()
    check("compose.yaml, wrong", objections(text), [])
    mistaken = text.replace("depends_on: [prometheus]", "depends: [prometheus]")
    check("compose.yaml with a mistake, wrong", objections(mistaken), ["services.grafana.depends"])


class Here:
    """This machine in the place of the containers: a port for each, and loopback for every name."""

    def __init__(self, folder):
        self.folder, self.ports = folder, {port: free_port() for port in PORTS}

    def text(self, text):
        for port, ours in self.ports.items():
            text = re.sub(rf"(?<=[: ]){port}\b", str(ours), text)
        for name in NAMES:
            text = re.sub(rf"(?<=[/ [,]){name}:(?=\d)", "127.0.0.1:", text)
        return text.replace("0.0.0.0", "127.0.0.1")

    def file(self, source):
        """A copy of a file that a service mounts."""
        copy = self.folder / source.name
        copy.write_text(self.text(source.read_text()))
        return copy


def mounted(here, service):
    """The files that a service mounts, by the path that it knows, with what stands there for them."""
    for volume in service.get("volumes", []):
        source, target, *_ = volume.split(":")
        if source.startswith("."):
            file = (COMPOSE / source).resolve()
            if not file.is_file():
                sys.exit(f"compose.yaml mounts {source}, which is not there")
            yield target, here.file(file)


def command(here, service, *more):
    """What a service runs, with its files where they are here."""
    text = [*map(str, service["command"]), *more]
    files = dict(mounted(here, service))
    for target, file in files.items():
        text = [part.replace(target, str(file)) for part in text]
    # A file may name another one.
    for file in files.values():
        content = file.read_text()
        for target, other in files.items():
            content = content.replace(target, str(other))
        file.write_text(content)
    return text


@contextmanager
def running(here, services):
    env = lambda name: os.environ | services[name].get("environment", {}) | {"RUST_LOG": "warn,audit=off"}
    ports = here.ports
    with ExitStack() as stack:
        def start(port, *arguments, **options):
            log = here.folder / f"{port}.log"
            stack.enter_context(process(ports[port], *arguments, log=log, **options))

        data = here.folder / "redis"
        data.mkdir()
        start("6379", *command(here, services["redis"], "--port", str(ports["6379"]), "--dir", str(data)))
        start("8090", PROGRAM, *command(here, services["sandbox"]))
        start("50061", PROGRAM, *command(here, services["facade-1"]), env=env("facade-1"))
        start("50062", PROGRAM, *command(here, services["facade-2"]), env=env("facade-2"))
        start("50051", *command(here, services["envoy"], "--use-dynamic-base-id", "--concurrency", "1"))
        listen = f"--web.listen-address=127.0.0.1:{ports['9090']}"
        prometheus = command(here, services["prometheus"], listen)
        prometheus = [part.replace("=/prometheus", f"={here.folder / 'tsdb'}") for part in prometheus]
        start("9090", "prometheus", *prometheus)
        yield


def ask(port, query):
    url = f"http://127.0.0.1:{port}/api/v1/{query}"
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return json.load(answer)["data"]


def calls_succeed(here, services):
    addr = f"127.0.0.1:{here.ports['50051']}"
    done = subprocess.run(["grpcurl", "-plaintext", addr, "list"], text=True, stdout=subprocess.PIPE, timeout=PATIENCE)
    check("compose: grpcurl lists", "stytch.b2b.totp.v1.TotpService" in done.stdout, True)
    caller, key = Caller(Front("compose", addr, "plain")), new_key()
    calls = [caller.rotate(key=key) for _ in range(6)]
    replays = [call.metadata.get("idempotent-replayed") for call in calls]
    check("compose: six calls with one key", [call.code for call in calls], ["OK"] * 6)
    check("  of which are replays", replays, [None] + ["true"] * 5)
    for name in ["facade-1", "facade-2"]:
        _, program, *arguments = services[name]["healthcheck"]["test"]
        check(f"compose: {name} runs", program, "/totp-facade")
        done = subprocess.run([PROGRAM, *arguments], text=True, stdout=subprocess.PIPE, timeout=PATIENCE)
        check(f"compose: the health check of {name}", done.stdout.strip(), "SERVING")


def metrics_arrive(here):
    port = here.ports["9090"]
    ready = "query?query=" + urllib.parse.quote('totp_facade_ready{job="totp-facade"} == 1')
    wait_until(lambda: len(ask(port, ready)["result"]) == 2, "Prometheus has scraped both replicas")
    # Envoy takes turns, so that the calls with one key went to both.
    rotations = 'sum by (instance) (grpc_server_handled_total{grpc_method="Rotate",grpc_code="OK"}) > 0'
    both = "query?query=" + urllib.parse.quote(rotations)
    wait_until(lambda: len(ask(port, both)["result"]) == 2, "both replicas have answered calls")
    groups = ask(port, "rules")["groups"]
    check("compose: rules and alerts", sum(len(group["rules"]) for group in groups) > 20, True)


def grafana_is_provisioned(here, services):
    """Its files name each other as they should; it is not run."""
    grafana = services["grafana"]
    files = dict(mounted(here, grafana))
    dashboard = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    check("compose: Grafana's home", files[dashboard].name, "totp-facade.json")
    (provider,) = yaml.safe_load((COMPOSE / "grafana/dashboards.yaml").read_text())["providers"]
    check("compose: Grafana's folder of dashboards", provider["options"]["path"], str(Path(dashboard).parent))
    (source,) = yaml.safe_load((COMPOSE / "grafana/datasources.yaml").read_text())["datasources"]
    variable = json.loads(files[dashboard].read_text())["templating"]["list"][0]
    check("compose: the dashboard's data source", (variable["type"], variable["query"]), ("datasource", source["type"]))


def run(folder):
    is_valid()
    here = Here(folder)
    services = yaml.safe_load(here.text((COMPOSE / "compose.yaml").read_text()))["services"]
    with running(here, services):
        calls_succeed(here, services)
        metrics_arrive(here)
    grafana_is_provisioned(here, services)
