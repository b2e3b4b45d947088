//! The calls of the soak: all RPCs, with and without keys, some impatient, some abandoned.
//!
//! The sandbox must not grow with the calls, so they go to a fixed number of members, whose TOTPs
//! are replaced and deleted; of sessions, it keeps a bounded number.

use std::time::Duration;

use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};

use crate::{
    Fallible,
    contract::{Contract, framed},
};

/// How many members have no TOTP at the start, and how many have one and recovery codes.
const MEMBERS: u32 = 200;

const TOTP: &str = "stytch.b2b.totp.v1";
const CODES: &str = "stytch.b2b.recovery_codes.v1";

/// What one call is.
pub struct Planned {
    /// The RPC, as in `TotpService/Create`.
    pub rpc: &'static str,
    /// The number of its member.
    pub member: u32,
    pub path: String,
    /// The name of its response.
    pub response: String,
    pub framed: bytes::Bytes,
    pub key: Option<String>,
    /// The caller's deadline.
    pub deadline: Option<Duration>,
    /// When the caller goes away without waiting for the response.
    pub gone_after: Option<Duration>,
}

/// The RPCs, with how many of 20 calls each gets.
const RPCS: [(&str, &str, &str, u32); 7] = [
    ("TotpService", "Create", TOTP, 5),
    ("TotpService", "Authenticate", TOTP, 4),
    ("TotpService", "Migrate", TOTP, 2),
    ("TotpService", "Delete", TOTP, 3),
    ("RecoveryCodesService", "Get", CODES, 3),
    ("RecoveryCodesService", "Rotate", CODES, 2),
    ("RecoveryCodesService", "Recover", CODES, 1),
];

/// The names of all RPCs.
pub fn rpcs() -> impl Iterator<Item = &'static str> {
    RPCS.iter().map(|(_, method, ..)| *method)
}

/// Plans calls at random, always the same ones.
pub struct Mix {
    random: fastrand::Rng,
    number: u64,
    /// The recovery codes of each enrolled member, as far as they are known: wrong ones would lock
    /// the member.
    recovery_codes: Vec<Vec<String>>,
}

impl Mix {
    pub fn new() -> Self {
        let recovery_codes = vec![Vec::new(); MEMBERS as usize];
        Self { random: fastrand::Rng::with_seed(1), number: 0, recovery_codes }
    }

    pub fn next(&mut self, contract: &Contract) -> Fallible<Planned> {
        self.number += 1;
        let member = self.random.u32(..MEMBERS);
        let (service, rpc, package) = self.rpc(member);
        let request = self.request(rpc, member);
        let name = format!("{package}.{rpc}Request");
        let message = contract.read_json(&name, request.to_string().as_bytes())?;
        Ok(Planned {
            rpc,
            member,
            path: format!("/{package}.{service}/{rpc}"),
            response: format!("{package}.{rpc}Response"),
            framed: framed(&message.encode_to_vec()),
            key: self.key(rpc),
            deadline: self.one_in(20).then(|| Duration::from_micros(self.random.u64(200..20_000))),
            gone_after: self.one_in(30).then(|| Duration::from_micros(self.random.u64(..3_000))),
        })
    }

    /// Chooses an RPC.
    fn rpc(&mut self, member: u32) -> (&'static str, &'static str, &'static str) {
        let all: u32 = RPCS.iter().map(|(.., weight)| weight).sum();
        let mut at = self.random.u32(..all);
        for (service, rpc, package, weight) in RPCS {
            if at < weight {
                let knows_codes = !self.recovery_codes[member as usize].is_empty();
                return match rpc {
                    "Recover" if !knows_codes => (service, "Get", package),
                    _ => (service, rpc, package),
                };
            }
            at -= weight;
        }
        unreachable!("a number below the sum of all weights")
    }

    /// Takes notice of the recovery codes that a call returned. A failed Recover may have used its
    /// code up.
    pub fn learn(&mut self, call: &Planned, response: Option<&DynamicMessage>) {
        let codes = response.and_then(|it| it.get_field_by_name("recovery_codes"));
        let codes = codes.as_deref().and_then(|codes| codes.as_list());
        let codes = codes.into_iter().flatten().filter_map(|code| code.as_str().map(str::to_owned));
        match call.rpc {
            "Get" => self.recovery_codes[call.member as usize] = codes.collect(),
            "Rotate" | "Recover" => self.recovery_codes[call.member as usize].clear(),
            _ => {}
        }
    }

    fn one_in(&mut self, number: u32) -> bool {
        self.random.u32(..number) == 0
    }

    /// Half of the calls that change something have a key of their own.
    fn key(&mut self, rpc: &str) -> Option<String> {
        (rpc != "Get" && self.one_in(2)).then(|| format!("soak-{}", self.number))
    }

    fn request(&mut self, rpc: &str, number: u32) -> Value {
        let (new, enrolled) = (format!("new-{number}"), format!("enrolled-{number}"));
        let session = format!("sandbox-session.{enrolled}.{}", self.number % 5_000);
        let member = |id: &str| json!({"organization_id": "soak", "member_id": id});
        let with = |mut request: Value, fields: Value| {
            let (Value::Object(request_fields), Value::Object(fields)) = (&mut request, fields)
            else {
                return request;
            };
            request_fields.extend(fields);
            request
        };
        match rpc {
            "Create" | "Delete" => member(&new),
            "Migrate" => {
                with(member(&new), json!({"secret": SECRET, "recovery_codes": ["soak-0000-0001"]}))
            }
            "Authenticate" => {
                with(member(&enrolled), json!({"code": code(), "session_token": session}))
            }
            "Recover" => with(
                member(&enrolled),
                json!({"recovery_code": self.recovery_codes[number as usize].pop(), "session_token": session}),
            ),
            _ => member(&enrolled),
        }
    }
}

const SECRET: &str = "SANDBOXENROLLEDSANDBOXENROLLED23";

/// Returns the current code of the enrolled members.
fn code() -> String {
    let secret = data_encoding::BASE32_NOPAD.decode(SECRET.as_bytes()).expect("base32");
    let totp = totp_rs::Builder::new().with_secret(secret.as_slice()).build_noncompliant();
    totp.generate_current().to_string()
}

/// Returns the sandbox's seed: an organization and the members of the mix.
pub fn seed(project_id: &str, secret: &str) -> Value {
    let organization = "organization-test-00000000-0000-4000-8000-00000000000a";
    let member = |name: &str, index: u32, group: u32| {
        json!({
            "organization_id": organization,
            "member_id": format!("member-test-00000000-0000-4000-8000-{group:04}{index:08}"),
            "external_id": format!("{name}-{index}"),
            "email_address": format!("{name}-{index}@example.com"),
            "name": "Member of the soak",
        })
    };
    let new = (0..MEMBERS).map(|index| member("new", index, 1));
    let enrolled = (0..MEMBERS).map(|index| {
        let mut member = member("enrolled", index, 2);
        member["mfa_enrolled"] = json!(true);
        member["default_mfa_method"] = json!("totp");
        member["totp_registration_id"] =
            json!(format!("member-totp-test-00000000-0000-4000-8000-0002{index:08}"));
        member["sandbox"] =
            json!({"secret": SECRET, "recovery_codes": ["soak-0000-0001", "soak-0000-0002"]});
        member
    });
    json!({
        "project": {"project_id": project_id, "secret": secret, "name": "Soak"},
        "organizations": [{
            "organization_id": organization,
            "organization_name": "Soak",
            "organization_slug": "soak",
        }],
        "members": new.chain(enrolled).collect::<Vec<_>>(),
    })
}

/// The faults that the sandbox injects, each into a share of all calls.
pub fn faults() -> Vec<Value> {
    let rule = |share: f64, fault: Value| json!({"share": share, "fault": fault});
    vec![
        rule(0.01, json!({"status": 503})),
        rule(0.01, json!({"status": 502, "takes_effect": true})),
        rule(0.01, json!({"error_type": "internal_server_error"})),
        rule(0.01, json!({"error_type": "too_many_requests", "retry_after": 1})),
        rule(0.005, json!({"latency": "250ms"})),
        rule(0.01, json!({"cut": "before_answer"})),
        rule(0.01, json!({"cut": "within_answer"})),
    ]
}
