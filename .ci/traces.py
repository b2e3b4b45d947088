"""From a panel to a trace: calls whose caller traces them, a receiver of their spans, and the exemplars of panels."""

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from expect import check, wait_until
from facade import ROOT
from observed import READ
from process import run
from prometheus import PANELS

RECORDED, NOT_RECORDED = "c0ffee" * 5 + "01", "c0ffee" * 5 + "02"
SHOWING = ["Latency", "p99 by method", "p99 by replica"]


class Receiver:
    """What a façade has sent by OTLP, as bytes: ids are in them as they are."""

    def __init__(self, port):
        self.requests = []
        # Only calls whose caller records them.
        self.settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        }

    def has(self, *ids):
        return any(all(bytes.fromhex(it) in request for it in ids) for request in self.requests)


@contextmanager
def receiver():
    """Takes all spans while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            taken.requests.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        taken = Receiver(server.server_port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield taken
        finally:
            server.shutdown()


def call_traced(replica):
    """Makes a call whose caller records it, and one whose caller does not."""
    for trace, flags in [(RECORDED, "01"), (NOT_RECORDED, "00")]:
        replica.call(replica.codes.Get, READ, "login", traceparent=f"00-{trace}-{'ca11' * 4}-{flags}")


def panels_lead_to_traces(server, taken, start, end, least):
    """The exemplars of the panels that show them are the recorded calls, which took at least so long."""
    marked = [title for title, panel in PANELS.items() if any(it.get("exemplar") for it in panel["targets"])]
    check("panels with exemplars", marked, SHOWING)
    for panel in SHOWING:
        found = [it for it in server.exemplars(panel, start, end) if float(it["value"]) >= least]
        traces = sorted({it["labels"]["trace_id"] for it in found})
        check(f"traces of calls above {least} s in {panel}", traces, [RECORDED])
    spans = {it["labels"]["span_id"] for it in found}
    wait_until(lambda: all(taken.has(RECORDED, span) for span in spans), "their spans arrive")
    print(f"ok: {len(spans)} spans of them have arrived", flush=True)
    page = (ROOT / "docs/traces.md").read_text()
    [block] = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    printed = run("bash", "-euo", "pipefail", "-c", block.replace("http://localhost:9090/api/v1/", server.url))
    check("what docs/traces.md asks has the trace", RECORDED in printed, True)
