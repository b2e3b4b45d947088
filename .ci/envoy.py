"""Starts Envoy, for the scripts beside this one."""

import json
import tempfile
from contextlib import contextmanager
from pathlib import Path

from process import free_port, process

# Envoys of one machine would share memory.
ENVOY = ["envoy", "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warn"]
FILTERS = "type.googleapis.com/envoy.extensions.filters"


def socket_address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(upstream):
    """The façade at `upstream`, IP:PORT or unix:PATH, by plain HTTP/2."""
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    kind, place = upstream.split(":")
    address = {"pipe": {"path": place}} if kind == "unix" else socket_address(int(place))
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
    listen = free_port()
    bootstrap = {
        "static_resources": {
            "listeners": [{"address": socket_address(listen), "filter_chains": [chain]}],
            "clusters": [cluster(upstream)],
        }
    }
    with tempfile.TemporaryDirectory() as folder:
        config, log = Path(folder, "envoy.json"), Path(folder, "envoy.log")
        config.write_text(json.dumps(bootstrap))
        with process(listen, *ENVOY, "-c", config, log=log):
            yield f"127.0.0.1:{listen}"
