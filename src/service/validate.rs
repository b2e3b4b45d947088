//! Validation of requests before anything is sent.
//!
//! It refuses only what Stytch is certain to refuse. Ids may be slugs or external ids, so it is for
//! Stytch to judge their shape.

use std::ops::RangeInclusive;

use prost_types::{Struct, Value, value::Kind};
use tonic::metadata::MetadataMap;

use crate::{
    idempotency::Key,
    proto::{StytchRequest, metadata::IDEMPOTENCY_KEY},
    status::{Failure, MAX_VIOLATIONS, Violation},
    stytch::Endpoint,
};

/// A request that can be validated.
pub trait Validate {
    /// Adds the violations of the request, apart from those of its ids.
    fn validate(&self, violations: &mut Violations) {
        let _ = violations;
    }
}

/// The violations of a request. Descriptions never contain a value of the request. The first
/// [`MAX_VIOLATIONS`] are kept, the others counted.
#[derive(Debug, Default)]
pub struct Violations {
    kept: Vec<Violation>,
    more: usize,
}

impl Violations {
    /// Validates `request`, which is meant for `endpoint`.
    pub fn of<Req, Res>(request: &Req, endpoint: &Endpoint<Req, Res>) -> Self
    where
        Req: Validate + StytchRequest,
    {
        let mut violations = Self::default();
        for (field, id) in
            [("organization_id", request.organization_id()), ("member_id", request.member_id())]
        {
            violations.required(field, id);
            // URLs cannot have these as segments: parsers resolve them, even percent-encoded.
            if endpoint.has_ids_in_path() && matches!(id, "." | "..") {
                violations.add(field, "must not be . or ..");
            }
        }
        request.validate(&mut violations);
        violations
    }

    /// Returns the idempotency key of the call, if it has one. A malformed key is a violation.
    pub(super) fn key(&mut self, metadata: &MetadataMap) -> Option<Key> {
        Key::of(metadata).unwrap_or_else(|what| {
            self.add(IDEMPOTENCY_KEY, what);
            None
        })
    }

    /// Checks required free text.
    pub fn required(&mut self, field: &str, value: &str) {
        if value.is_empty() {
            self.add(field, "is required");
        }
        self.text(field, value);
    }

    /// Checks a list of free texts, none of which may be empty.
    pub fn all_required(&mut self, field: &str, values: &[String]) {
        for (index, value) in values.iter().enumerate() {
            // The name is formatted only for a violation.
            if value.is_empty() || has_control(value) {
                self.required(&format!("{field}[{index}]"), value);
            }
        }
    }

    /// Checks optional free text.
    pub fn optional(&mut self, field: &str, value: Option<&str>) {
        self.text(field, value.unwrap_or_default());
    }

    /// Checks a required passcode. Sending a malformed one would cost the member an attempt.
    pub fn passcode(&mut self, field: &str, value: &str) {
        if value.len() != 6 || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            self.add(field, "must be six digits");
        }
    }

    /// Checks the three optional proofs of the end user's login.
    pub fn proofs(&mut self, proofs: [(&str, Option<&str>); 3]) {
        for (field, proof) in proofs {
            self.optional(field, proof);
        }
    }

    /// Checks the three proofs, at least one of which is required.
    pub fn one_proof(&mut self, proofs: [(&str, Option<&str>); 3]) {
        if proofs.iter().all(|(_, proof)| proof.is_none_or(str::is_empty)) {
            let [(first, _), (second, _), (third, _)] = proofs;
            self.add(first, &format!("one of {first}, {second} and {third} is required"));
        }
        self.proofs(proofs);
    }

    /// Checks the fields that shape the session in the response.
    pub fn session(
        &mut self,
        minutes: Option<i32>,
        claims: Option<&Struct>,
        telemetry_id: Option<&str>,
    ) {
        self.minutes("session_duration_minutes", minutes, 5..=527_040);
        self.object("session_custom_claims", claims);
        self.optional("telemetry_id", telemetry_id);
    }

    /// Checks an optional proof that is sent as a header. Stytch would ignore an empty one and make
    /// the call with the permissions of the project.
    pub fn header(&mut self, field: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.add(field, "must be visible ASCII characters, at least one");
        }
    }

    /// Checks an optional value that must be one of `options`.
    pub fn option(&mut self, field: &str, value: Option<&str>, options: &[&str]) {
        if value.is_some_and(|value| !options.contains(&value)) {
            self.add(field, &format!("must be one of: {}", options.join(", ")));
        }
    }

    /// Checks a free-form object. A value that JSON cannot express would be sent as null, which
    /// deletes the claim.
    pub fn object(&mut self, field: &str, value: Option<&Struct>) {
        fn expressible(value: &Value) -> bool {
            match &value.kind {
                None => false,
                Some(Kind::NumberValue(number)) => number.is_finite(),
                Some(Kind::ListValue(list)) => list.values.iter().all(expressible),
                Some(Kind::StructValue(object)) => object.fields.values().all(expressible),
                Some(Kind::NullValue(_) | Kind::BoolValue(_) | Kind::StringValue(_)) => true,
            }
        }
        if value.is_some_and(|object| !object.fields.values().all(expressible)) {
            self.add(field, "must have no NaN, no infinity and no value without a kind");
        }
    }

    /// Checks an optional number of minutes.
    pub fn minutes(&mut self, field: &str, value: Option<i32>, range: RangeInclusive<i32>) {
        if value.is_some_and(|value| !range.contains(&value)) {
            self.add(field, &format!("must be from {} to {} minutes", range.start(), range.end()));
        }
    }

    fn text(&mut self, field: &str, value: &str) {
        if has_control(value) {
            self.add(field, "must not contain control characters");
        }
    }

    fn add(&mut self, field: &str, description: &str) {
        if self.kept.len() < MAX_VIOLATIONS {
            self.kept.push(Violation::new(field, description));
        } else {
            self.more += 1;
        }
    }

    /// Returns the violations as one failure.
    ///
    /// # Errors
    ///
    /// Returns `INVALID_ARGUMENT` if there are any violations.
    pub fn into_result(self) -> Result<(), Failure> {
        let Self { kept, more } = self;
        if kept.is_empty() { Ok(()) } else { Err(Failure::invalid(kept, more)) }
    }
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}
