"""The manifests for Istio and Linkerd. They are not run, which would take a cluster: their resources are held to the
published types, and what they share with the files for Envoy to those, which are run."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from expect import check
from facade import ROOT

HERE = Path(__file__).parent / "manifests"
DEPLOY = ROOT / "deploy"
POLICY = ["retry_on", "num_retries", "per_try_timeout"]
# Envoy's names, and Istio's.
DETECTION = {
    "consecutive_local_origin_failure": "consecutiveLocalOriginFailures",
    "interval": "interval",
    "base_ejection_time": "baseEjectionTime",
    "max_ejection_percent": "maxEjectionPercent",
}
# A mistake of each kind, and what has to be said of it.
MISTAKES = {
    "istio/traffic.yaml": ("retryOn: connect", "retriesOn: connect", '"retriesOn"'),
    "istio/security.yaml": ("mode: STRICT", "mode: STRICTLY", '"STRICTLY"'),
    "istio/egress.yaml": ("resolution: DNS", "resolution: [DNS]", "string[]"),
    "linkerd/policy.yaml": ("kind: ServiceAccount", "kind: Account", '"Account"'),
    "linkerd/routes.yaml": ("kind: Service", "sort: Service", '"sort"'),
}


def said(*files):
    command = ["node", "check.js", *map(str, files)]
    return subprocess.run(command, cwd=HERE, check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()


def types(folder):
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=HERE, check=True)
    lines = said(*sorted(DEPLOY.glob("istio/*.yaml")), *sorted(DEPLOY.glob("linkerd/*.yaml")))
    check("resources for meshes, not valid", [line for line in lines if not line.endswith(": valid")], [])
    check("resources for meshes", len(lines), 17)
    wrong = []
    for name, (right, mistake, _) in MISTAKES.items():
        text = (DEPLOY / name).read_text()
        if right not in text:
            sys.exit(f"{name} has no {right!r}")
        wrong.append(folder / name.replace("/", "-"))
        wrong[-1].write_text(text.replace(right, mistake, 1))
    lines = "\n".join(said(*wrong))
    for name, (_, mistake, word) in MISTAKES.items():
        check(f"{name} with {mistake!r} is refused", word in lines, True)


def documents(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def like_envoy():
    """Retries and outlier detection are those of envoy/caller.yaml, and the errors those of envoy/sidecar.yaml."""
    (caller,) = documents("envoy/caller.yaml")
    (sidecar,) = documents("envoy/sidecar.yaml")
    service, rule = (it["spec"] for it in documents("istio/traffic.yaml"))
    (errors,) = documents("istio/errors.yaml")
    manager = lambda it: it["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager(caller)["route_config"]["virtual_hosts"]
    (block,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/retries.md").read_text(), re.M | re.S)
    for mine, documented in zip([host["routes"][0], host["routes"][2]], yaml.safe_load(block), strict=True):
        found, expected = ([it["match"], *map(it["route"]["retry_policy"].get, POLICY)] for it in [mine, documented])
        check("a route of docs/retries.md", found, expected)
    for mine, envoys in zip(service["http"][:2], host["routes"][:2], strict=True):
        found = [mine["retries"][it] for it in ["retryOn", "attempts", "perTryTimeout"]]
        check(f"Istio's route {mine['name']}", found, [envoys["route"]["retry_policy"][it] for it in POLICY])
    (cluster,) = caller["static_resources"]["clusters"]
    detection = rule["trafficPolicy"]["outlierDetection"]
    found = [detection[it] for it in DETECTION.values()]
    check("Istio's outlier detection", found, [cluster["outlier_detection"][it] for it in DETECTION])
    (patch,) = errors["spec"]["configPatches"]
    found = patch["patch"]["value"]["typed_config"]["local_reply_config"]
    check("the errors of Istio's sidecar are those of Envoy's", found == manager(sidecar)["local_reply_config"], True)
