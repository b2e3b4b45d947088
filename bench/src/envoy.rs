//! The configuration of Envoy as what it is compared with: the filter that turns gRPC calls into
//! JSON requests, with nothing else on.

use std::{net::SocketAddr, path::Path};

use serde_json::{Value, json};

const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";

/// Returns the bootstrap of an Envoy that listens on `listen`.
pub fn bootstrap(listen: SocketAddr, upstream: SocketAddr, descriptors: &Path) -> Value {
    let router = json!({"@type": format!("{FILTERS}.http.router.v3.Router")});
    let transcoder = json!({
        "@type": format!("{FILTERS}.http.grpc_json_reverse_transcoder.v3.GrpcJsonReverseTranscoder"),
        "descriptor_path": descriptors,
    });
    let manager = json!({
        "@type": format!("{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "grpc",
        "codec_type": "HTTP2",
        "http2_protocol_options": {"max_concurrent_streams": 1024},
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
            "request_headers_to_add": [{"header": {
                "key": "authorization",
                "value": "Basic cHJvamVjdC10ZXN0LTE6c2VjcmV0LXRlc3QtMQ==",
            }}],
        }]},
        "http_filters": [
            {"name": "transcoder", "typed_config": transcoder},
            {"name": "router", "typed_config": router},
        ],
    });
    json!({"static_resources": {
        "listeners": [{
            "address": address(listen),
            "filter_chains": [{"filters": [{"name": "grpc", "typed_config": manager}]}],
        }],
        "clusters": [{
            "name": "upstream",
            "type": "STATIC",
            "load_assignment": {"cluster_name": "upstream", "endpoints": [{
                "lb_endpoints": [{"endpoint": {"address": address(upstream)}}],
            }]},
        }],
    }})
}

fn address(addr: SocketAddr) -> Value {
    json!({"socket_address": {"address": addr.ip().to_string(), "port_value": addr.port()}})
}
