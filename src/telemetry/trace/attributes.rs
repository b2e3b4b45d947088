//! The attributes and events of spans, by OpenTelemetry's semantic conventions (1.45) where those
//! have a name. The table in `docs/traces.md` follows from this file.

use std::fmt::Write as _;

/// Declares names: the constant, the name, the spans that have it, and what it says.
macro_rules! attributes {
    ($($constant:ident = $name:literal on $spans:literal: $meaning:literal;)+) => {
        $(#[doc = concat!("`", $name, "`: ", $meaning)] pub const $constant: &str = $name;)+

        const ALL: &[[&str; 3]] = &[$([$name, $spans, $meaning]),+];
    };
}

attributes! {
    RPC_SYSTEM_NAME = "rpc.system.name" on "call": "`grpc`";
    RPC_METHOD = "rpc.method" on "call": "the method, such as `stytch.b2b.totp.v1.TotpService/Create`, or `_OTHER` if it is not served";
    RPC_STATUS_CODE = "rpc.status_code" on "call": "the gRPC status, such as `OK`; `CANCELLED` if the caller went away";
    PEER_ADDRESS = "network.peer.address" on "call, attempt": "the IP address of the other end of the connection; left out on a Unix domain socket";
    PEER_PORT = "network.peer.port" on "call, attempt": "its port";
    CALLER = "totp_facade.caller" on "call": "the name of the caller, once it is known";
    UPSTREAM = "totp_facade.upstream" on "call": "what is known to have happened at Stytch: `done`, `not_sent`, `rejected` or `unknown`";
    REASON = "totp_facade.reason" on "call": "the reason of a failure, as in `ErrorInfo`";
    IDEMPOTENCY = "totp_facade.idempotency" on "call": "`none` without a key; else `executed`, `replayed`, `waited`, `lost`, `key_reused` or `store_failed`, as in `totp_facade_idempotency_calls_total`";
    ORGANIZATION_ID = "stytch.organization_id" on "call": "only with `TOTP_FACADE_TRACE_IDS`";
    MEMBER_ID = "stytch.member_id" on "call": "only with `TOTP_FACADE_TRACE_IDS`";
    TOTP_REGISTRATION_ID = "stytch.totp_registration_id" on "call": "only with `TOTP_FACADE_TRACE_IDS`, and if Stytch returned it";
    HTTP_METHOD = "http.request.method" on "attempt": "such as `POST`";
    URL_TEMPLATE = "url.template" on "attempt": "the path, with placeholders for ids";
    URL_FULL = "url.full" on "attempt": "the URL, with `REDACTED` for ids unless `TOTP_FACADE_TRACE_IDS` is set";
    SERVER_ADDRESS = "server.address" on "attempt": "the host of the URL";
    SERVER_PORT = "server.port" on "attempt": "its port";
    HTTP_STATUS_CODE = "http.response.status_code" on "attempt": "the HTTP status, if there was a response";
    PROTOCOL_VERSION = "network.protocol.version" on "attempt": "`1.1` or `2`, if there was a response";
    RESEND_COUNT = "http.request.resend_count" on "attempt": "how many requests of the call came before; left out on the first";
    STYTCH_REQUEST_ID = "stytch.request_id" on "attempt": "Stytch's id of the request";
    STYTCH_ERROR_TYPE = "stytch.error_type" on "attempt": "Stytch's type of the error";
    STORE = "totp_facade.store" on "store": "`memory` or `redis`";
    STORE_OPERATION = "totp_facade.store.operation" on "store": "`claim`, `record` or `release`";
    STORE_RESULT = "totp_facade.store.result" on "store": "of a claim: `granted`, `ended`, `pending`, `reused` or `unreadable`";
    DB_SYSTEM_NAME = "db.system.name" on "store": "`redis`; left out in memory";
    ERROR_TYPE = "error.type" on "all, if they failed": "call: the gRPC status; attempt: the HTTP status, or `unreachable`, `disconnected`, `timeout`, `cancelled`, `unreadable`, `unexpected_status`; store: `unavailable`";
    CONNECTING = "connecting" on "event of attempt": "no connection was free, and one is opened";
    CONNECTED = "connected" on "event of attempt": "that connection is open, TLS included";
    FIRST_BYTE = "first_byte" on "event of attempt": "the head of the response has arrived";
    RETRY = "retry" on "event of call": "an attempt failed and is retried after `backoff_ms`, because of `error.type`";
    NOT_ATTEMPTED = "circuit_open" on "event of call": "the circuit breaker let no attempt pass";
    CALLER_GONE = "caller_gone" on "event of call": "the caller went away; a call that was sent goes on";
    DEADLINE_PASSED = "deadline_passed" on "event of call": "the caller's deadline passed; a call that was sent goes on";
}

/// The wait before a retry, in milliseconds.
pub const BACKOFF_MS: &str = "backoff_ms";

/// Returns the table for `docs/traces.md`.
pub fn table() -> String {
    let mut table = String::from("| name | on | meaning |\n|---|---|---|\n");
    for [name, spans, meaning] in ALL {
        let _ = writeln!(table, "| `{name}` | {spans} | {meaning} |");
    }
    table
}
