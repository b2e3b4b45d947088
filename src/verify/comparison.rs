//! The differences between what a step has shown at Stytch and in the sandbox.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    form::form,
    observation::{Observation, shown},
};
use crate::proto::{self, MESSAGES, METHODS};

/// What a field holds that any project fills in its own way. Only its type is compared.
const FREE: [&str; 8] = [
    "allowed_oauth_tenants",
    "custom_claims",
    "details",
    "error_details",
    "member_device",
    "roles",
    "trusted_metadata",
    "untrusted_metadata",
];
/// The factors that the calls of the façade add. Others come from the member's login.
const FACTORS: [&str; 2] = ["totp", "recovery_codes"];
const ABSENT: &str = "absent";

/// What differs.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The HTTP status.
    HttpStatus,
    /// The type of an error.
    ErrorType,
    /// The status that the façade makes of the same response.
    GrpcStatus,
    /// A field that one side does not send.
    Presence,
    /// The value of a field, or its form.
    Value,
    /// The length of a list.
    Length,
}

/// A difference between Stytch and the sandbox.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub kind: Kind,
    /// The field, as a JSON pointer; empty for the whole response.
    pub field: String,
    /// What Stytch sends.
    pub stytch: String,
    /// What the sandbox sends.
    pub sandbox: String,
    /// Whether the contract has the field, if it is one of a response of the contract's.
    pub in_contract: Option<bool>,
    /// The steps that show it.
    pub steps: Vec<&'static str>,
}

/// Returns every difference, with all steps that show it.
pub(super) fn differences(stytch: &[Observation], sandbox: &[Observation]) -> Vec<Difference> {
    let mut all: Vec<Difference> = Vec::new();
    for one in stytch {
        let Some(other) = sandbox.iter().find(|it| it.step == one.step) else { continue };
        for difference in of_step(one, other) {
            let is_known = |known: &&mut Difference| {
                // Past the façade, nothing is known of the contract.
                let (steps, in_contract) = (known.steps.clone(), known.in_contract);
                **known == Difference { steps, in_contract, ..difference.clone() }
            };
            match all.iter_mut().find(is_known) {
                Some(known) => {
                    known.steps.push(one.step);
                    known.in_contract = known.in_contract.or(difference.in_contract);
                }
                None => all.push(difference),
            }
        }
    }
    all
}

/// Returns what differs in one step.
fn of_step(stytch: &Observation, sandbox: &Observation) -> Vec<Difference> {
    let mut found = Found { method: stytch.method, step: stytch.step, differences: Vec::new() };
    let (Ok(one), Ok(other)) = (&stytch.http, &sandbox.http) else {
        found.add(Kind::HttpStatus, "", stytch.outcome(), sandbox.outcome());
        return found.differences;
    };
    if one.status != other.status {
        found.add(Kind::HttpStatus, "", stytch.outcome(), sandbox.outcome());
    } else if stytch.error_type() != sandbox.error_type() {
        found.add(Kind::ErrorType, "", stytch.outcome(), sandbox.outcome());
    } else if stytch.grpc != sandbox.grpc {
        let name = |side: &Observation| {
            side.grpc.as_ref().map_or(ABSENT.to_owned(), |grpc| {
                format!("{} {}", grpc.code, grpc.reason.as_deref().unwrap_or_default())
            })
        };
        found.add(Kind::GrpcStatus, "", name(stytch), name(sandbox));
    }
    if (one.status == 200) == (other.status == 200) {
        found.compare("", &one.body, &other.body);
    }
    found.differences
}

/// What has been found in a step so far.
struct Found {
    method: Option<&'static str>,
    step: &'static str,
    differences: Vec<Difference>,
}

impl Found {
    fn add(&mut self, kind: Kind, field: &str, stytch: String, sandbox: String) {
        let in_contract = match kind {
            Kind::Presence if sandbox == ABSENT => {
                self.method.and_then(|method| in_contract(method, field))
            }
            _ => None,
        };
        let steps = vec![self.step];
        let field = field.to_owned();
        self.differences.push(Difference { kind, field, stytch, sandbox, in_contract, steps });
    }

    /// Compares two values at the same place.
    fn compare(&mut self, at: &str, stytch: &Value, sandbox: &Value) {
        let field = at.rsplit('/').next().unwrap_or_default();
        match (stytch, sandbox) {
            // `error_type` and status have been compared, and texts and their links are Stytch's.
            _ if matches!(at, "/status_code" | "/error_type" | "/error_message" | "/error_url") => {
            }
            (Value::Object(_), Value::Object(_)) if FREE.contains(&field) => {}
            (Value::Array(_), Value::Array(_)) if FREE.contains(&field) => {}
            (Value::Object(stytch), Value::Object(sandbox)) => self.objects(at, stytch, sandbox),
            (Value::Array(stytch), Value::Array(sandbox)) if field == "authentication_factors" => {
                self.factors(at, stytch, sandbox);
            }
            (Value::Array(stytch), Value::Array(sandbox)) => self.lists(at, stytch, sandbox),
            _ => {
                let (stytch, sandbox) = (form(field, stytch), form(field, sandbox));
                if stytch != sandbox {
                    self.add(Kind::Value, at, stytch, sandbox);
                }
            }
        }
    }

    fn objects(&mut self, at: &str, stytch: &Map<String, Value>, sandbox: &Map<String, Value>) {
        for (key, value) in stytch {
            let at = format!("{at}/{}", shown(key));
            match sandbox.get(key) {
                Some(other) => self.compare(&at, value, other),
                None => self.add(Kind::Presence, &at, form(key, value), ABSENT.to_owned()),
            }
        }
        for (key, value) in sandbox.iter().filter(|(key, _)| !stytch.contains_key(*key)) {
            let at = format!("{at}/{}", shown(key));
            self.add(Kind::Presence, &at, ABSENT.to_owned(), form(key, value));
        }
    }

    /// Compares lengths, and the first items: all items of a list have the same form.
    fn lists(&mut self, at: &str, stytch: &[Value], sandbox: &[Value]) {
        if stytch.len() != sandbox.len() {
            self.add(Kind::Length, at, stytch.len().to_string(), sandbox.len().to_string());
        }
        if let (Some(stytch), Some(sandbox)) = (stytch.first(), sandbox.first()) {
            self.compare(&format!("{at}/0"), stytch, sandbox);
        }
    }

    /// Compares the factors that the façade's calls have added, each with that of its type.
    fn factors(&mut self, at: &str, stytch: &[Value], sandbox: &[Value]) {
        for kind in FACTORS {
            let of_kind = |list: &[Value]| list.iter().rfind(|it| it["type"] == kind).cloned();
            let at = format!("{at}/{kind}");
            match (of_kind(stytch), of_kind(sandbox)) {
                (None, None) => {}
                (Some(stytch), Some(sandbox)) => self.compare(&at, &stytch, &sandbox),
                (stytch, sandbox) => {
                    let name = |factor: Option<Value>| {
                        factor.map_or(ABSENT.to_owned(), |factor| form("", &factor))
                    };
                    self.add(Kind::Presence, &at, name(stytch), name(sandbox));
                }
            }
        }
    }
}

/// Returns whether the response of a method has the field at this place; `None` in a free object.
fn in_contract(method: &str, pointer: &str) -> Option<bool> {
    let method = METHODS.iter().find(|it| it.name == method)?;
    let mut message = Some(method.response);
    for name in pointer.split('/').skip(1) {
        if name.parse::<usize>().is_ok() || FACTORS.contains(&name) {
            continue;
        }
        let fields = MESSAGES.iter().find(|it| Some(it.name) == message)?.fields;
        match fields.iter().find(|field| field.name == name).map(|field| field.kind) {
            None => return Some(false),
            Some(proto::Kind::Message(next)) => message = Some(next),
            Some(_) => message = None,
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::verify::{observation::Grpc, recorder::Answer, steps};

    fn observed(status: u16, body: Value) -> Observation {
        Observation {
            step: "a step",
            method: Some(steps::AUTHENTICATE),
            http: Ok(Answer { status, body }),
            grpc: Some(Grpc { code: "OK", reason: None }),
        }
    }

    /// The differences, a line each.
    fn lines(stytch: &Observation, sandbox: &Observation) -> Vec<String> {
        let all = differences(std::slice::from_ref(stytch), std::slice::from_ref(sandbox));
        let line = |it: &Difference| {
            let Difference { kind, field, stytch, sandbox, in_contract, .. } = it;
            format!("{kind:?} {field}: {stytch} / {sandbox} {in_contract:?}")
        };
        all.iter().map(line).collect()
    }

    #[test]
    fn each_kind_of_difference_is_found() {
        let refused = |status, error: &str| {
            observed(status, json!({"status_code": status, "error_type": error}))
        };
        let member = |member: Value| observed(200, json!({"member": member}));
        for (stytch, sandbox, expected) in [
            (refused(400, "a"), refused(404, "a"), "HttpStatus : 400 a / 404 a None"),
            (refused(400, "a"), refused(400, "b"), "ErrorType : 400 a / 400 b None"),
            (refused(400, "a"), member(json!({})), "HttpStatus : 400 a / 200 None"),
            (
                member(json!({"unheard_of": 1})),
                member(json!({})),
                "Presence /member/unheard_of: 1 / absent Some(false)",
            ),
            (
                member(json!({"name": null})),
                member(json!({})),
                "Presence /member/name: null / absent Some(true)",
            ),
            (
                member(json!({})),
                member(json!({"name": ""})),
                "Presence /member/name: absent / an empty text None",
            ),
            (
                member(json!({"mfa_enrolled": true})),
                member(json!({"mfa_enrolled": false})),
                "Value /member/mfa_enrolled: true / false None",
            ),
            (
                observed(200, json!({"recovery_codes": ["abcd-abcd-abcd"]})),
                observed(200, json!({"recovery_codes": []})),
                "Length /recovery_codes: 1 / 0 None",
            ),
        ] {
            assert_eq!(lines(&stytch, &sandbox), [expected]);
        }
        let other_status = Observation { grpc: None, ..member(json!({})) };
        assert_eq!(lines(&member(json!({})), &other_status), ["GrpcStatus : OK  / absent None"]);
        let silent = Observation { http: Err(String::new()), ..member(json!({})) };
        assert_eq!(lines(&silent, &member(json!({}))), ["HttpStatus : no response / 200 None"]);
    }

    #[test]
    fn what_must_differ_is_no_difference() {
        let session = |factor: Value, id: &str| {
            let factors = json!([factor, {"type": "totp", "factor_id": id}]);
            json!({"member_session": {"authentication_factors": factors,
                "custom_claims": {"of": id}}, "session_token": id,
                "request_id": format!("request-id-test-{id}")})
        };
        let one = session(json!({"type": "password"}), "32fc5024-9c09-4da3-bd2e-c9ce4da9375f");
        let other = session(json!({"type": "sso"}), "11111111-9c09-4da3-bd2e-c9ce4da9375f");

        assert_eq!(lines(&observed(200, one), &observed(200, other)), [""; 0]);
    }

    #[test]
    fn a_difference_that_many_steps_show_is_reported_once() {
        let one = |step| Observation { step, ..observed(200, json!({"new": 1})) };
        let other = |step| Observation { step, ..observed(200, json!({})) };

        let found = differences(&[one("a"), one("b")], &[other("a"), other("b")]);

        assert_eq!(found.len(), 1);
        assert_eq!(found[0].steps, ["a", "b"]);
    }
}
