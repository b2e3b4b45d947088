"""Starts Envoy, for the scripts beside this one."""

import json
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from expect import wait_until

FILTERS = "type.googleapis.com/envoy.extensions.filters"


def socket_address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(upstream):
    """The façade at `upstream`, by plain HTTP/2."""
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    address = socket_address(int(upstream.split(":")[1]))
    return {
        "name": "totp-facade",
        "type": "STATIC",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
        },
        "load_assignment": {
            "cluster_name": "totp-facade",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


@contextmanager
def envoy(upstream, routes, connection=None, tls=None):
    """An Envoy with these routes in front of `upstream`; with its address. `connection` goes into its connection
    manager, `tls` is the TLS context of its listener."""
    manager = {
        "@type": f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "grpc",
        "codec_type": "HTTP2",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{FILTERS}.http.router.v3.Router"}}
        ],
    } | (connection or {})
    chain = {"filters": [{"name": "grpc", "typed_config": manager}]}
    if tls:
        kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
        chain["transport_socket"] = {"name": "tls", "typed_config": {"@type": kind} | tls}
    free = socket.create_server(("127.0.0.1", 0))
    listen = free.getsockname()[1]
    free.close()
    bootstrap = {
        "static_resources": {
            "listeners": [{"address": socket_address(listen), "filter_chains": [chain]}],
            "clusters": [cluster(upstream)],
        }
    }
    with tempfile.TemporaryDirectory() as folder:
        config, log = Path(folder, "envoy.json"), Path(folder, "envoy.log")
        config.write_text(json.dumps(bootstrap))
        command = ["envoy", "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1"]
        with open(log, "w") as stderr:
            process = subprocess.Popen([*command, "--log-level", "warn"], stderr=stderr)
        try:

            def listens():
                if process.poll() is not None:
                    sys.exit(f"Envoy does not start:\n{log.read_text()}")
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", listen)) == 0

            wait_until(listens, "Envoy listens")
            yield f"127.0.0.1:{listen}"
        finally:
            process.terminate()
            process.wait(timeout=60)
