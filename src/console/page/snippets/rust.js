import { code, escapes, free, json, pascal } from "./text.js";

export function rust(call) {
  const { title, stub, tls, keyed, hasObject } = call;
  const insert = (name, value) => `request.metadata_mut().insert("${name}", ${value}.parse()?);`;
  return code`
// Calls ${call.name}. In a new package that has the contract's folder proto/:
//   cargo add prost prost-types tonic tonic-prost tonic-types tokio uuid --features tonic/tls-native-roots,tonic/tls-aws-lc,tokio/full,uuid/v4
//   cargo add --build protox tonic-prost-build
// build.rs:
//   fn main() {
//       let contract = protox::compile(["${call.proto}"], ["proto"]).unwrap();
//       tonic_prost_build::configure().include_file("contract.rs").compile_fds(contract).unwrap();
//   }

${hasObject && "use std::collections::BTreeMap;"}
use std::time::{Duration, Instant};

${hasObject && "use prost_types::{Struct, Value};"}
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::StatusExt as _;

include!(concat!(env!("OUT_DIR"), "/contract.rs"));
use ${call.pkg.replaceAll(".", "::")} as contract;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let channel = Channel::from_shared(${text(`http${tls ? "s" : ""}://${call.address}`)})?
        ${tls && ".tls_config(tonic::transport::ClientTlsConfig::new().with_enabled_roots())?"}
        .connect_lazy();
    let mut client = contract::${snake(stub)}_client::${stub}Client::new(channel);
    let message = contract::${call.input} {
        ${call.fields.map((it) => `${it.name}: ${valueOf(it)},`)}
        ..Default::default()
    };
    ${keyed && [`// ${call.aboutKey}`, "let key = uuid::Uuid::new_v4().to_string();"]}
    let deadline = Instant::now() + Duration::from_millis(${call.deadlineMs});
    for attempt in 0.. {
        let mut request = Request::new(message.clone());
        request.set_timeout(deadline - Instant::now());
        ${keyed && insert("idempotency-key", "key")}
        ${call.token && insert("authorization", 'format!("Bearer {}", std::env::var("TOTP_FACADE_TOKEN")?)')}
        match client.${snake(call.rpc)}(request).await {
            Ok(response) => {
                // ${call.aboutResult}
                println!("${title} succeeded: {}", response.get_ref().request_id);
                break;
            }
            Err(status) => match delay(&status, attempt) {
                Some(delay) if Instant::now() + delay < deadline => tokio::time::sleep(delay).await,
                _ => {
                    eprintln!("{}", describe(&status));
                    std::process::exit(1);
                }
            },
        }
    }
    Ok(())
}

/// How long to wait for the next attempt, if there is one.
fn delay(status: &Status, attempt: u32) -> Option<Duration> {
    // ${call.aboutRetries}
    use Code::*;
    if attempt == 3 || !matches!(status.code(), ${call.codes.map((it) => pascal(it.toLowerCase())).join(" | ")}) {
        return None;
    }
    match status.metadata().get("grpc-retry-pushback-ms") {
        // -1, which is no delay, where a retry is useless.
        Some(pushback) => pushback.to_str().ok()?.parse().ok().map(Duration::from_millis),
        None => Some(Duration::from_millis(100 << attempt)),
    }
}

fn describe(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info();
    let reason = info.map_or("none", |it| &it.reason);
    // ${call.aboutOutcome}
    let outcome = info.and_then(|it| it.metadata.get("upstream")).map_or("unknown", |it| it);
    let mut text = format!(
        "${title} failed: {:?}: {}\n  reason: {reason}\n  outcome: {outcome}",
        status.code(),
        status.message()
    );
    for it in details.bad_request().iter().flat_map(|it| &it.field_violations) {
        text += &format!("\n  field {}: {}", it.field, it.description);
    }
    text
}
`;
}

function valueOf({ env, repeated, required, type, value }) {
  const read = `std::env::var("${env}").expect("${env}")`;
  if (type === "object") return `Some(Struct { fields: ${free(value, WRITE).slice(12, -1)} })`;
  if (env && repeated) return `${read}.split(',').map(String::from).collect()`;
  if (repeated) return `vec![${value.map(scalar).join(", ")}]`;
  const one = env ? read : scalar(value);
  return required ? one : `Some(${one})`;
}

const scalar = (value) => (typeof value === "string" ? `${text(value)}.into()` : json(value));

/** A google.protobuf.Value. */
const WRITE = {
  null: "Value::from(prost_types::value::Kind::NullValue(0))",
  boolean: (it) => `Value::from(${it})`,
  number: (it) => `Value::from(${json(it)}f64)`,
  string: (it) => `Value::from(${text(it)})`,
  list: (it) => `Value::from(vec![${it}])`,
  member: (name, it) => `(${text(name)}.into(), ${it})`,
  object: (it) => `Value::from(BTreeMap::from([${it}]))`,
};

/** A literal. Rust has fewer escapes than JSON. */
const text = (value) =>
  escapes(json(value), (it) => `\\${{ b: "x08", f: "x0c" }[it] ?? it.replace(/^u(.+)/, "u{$1}")}`);

const snake = (name) => name.replace(/(?!^)[A-Z]/g, "_$&").toLowerCase();
