//! What is refused before anything is sent.
//!
//! Only what Stytch would refuse for certain. Ids may be slugs and external ids, so their shape is
//! Stytch's to judge.

use std::ops::RangeInclusive;

use prost_types::{Struct, Value, value::Kind};
use tonic::metadata::MetadataMap;

use crate::{
    idempotency::Key,
    proto::{StytchRequest, metadata::IDEMPOTENCY_KEY},
    status::{Failure, MAX_VIOLATIONS, Violation},
    stytch::Endpoint,
};

/// A request that can be found invalid.
pub trait Validate {
    /// Reports what is wrong with the request, beside its ids.
    fn validate(&self, violations: &mut Violations) {
        let _ = violations;
    }
}

/// What is wrong with a request. The descriptions hold no value of the request. Of many, the first are kept and
/// the others counted.
#[derive(Debug, Default)]
pub struct Violations {
    kept: Vec<Violation>,
    more: usize,
}

impl Violations {
    /// Everything that is wrong with `request`, which goes to `endpoint`.
    pub fn of<Req, Res>(request: &Req, endpoint: &Endpoint<Req, Res>) -> Self
    where
        Req: Validate + StytchRequest,
    {
        let mut violations = Self::default();
        for (field, id) in
            [("organization_id", request.organization_id()), ("member_id", request.member_id())]
        {
            violations.required(field, id);
            // URLs have no way to spell these as the name of anything.
            if endpoint.has_ids_in_path() && matches!(id, "." | "..") {
                violations.add(field, "must not be . or ..");
            }
        }
        request.validate(&mut violations);
        violations
    }

    /// The idempotency key of the call, if it has one that is well-formed.
    pub(super) fn key(&mut self, metadata: &MetadataMap) -> Option<Key> {
        Key::of(metadata).unwrap_or_else(|what| {
            self.add(IDEMPOTENCY_KEY, what);
            None
        })
    }

    /// Free text that has to be there.
    pub fn required(&mut self, field: &str, value: &str) {
        if value.is_empty() {
            self.add(field, "is required");
        }
        self.text(field, value);
    }

    /// Texts that each have to be there.
    pub fn all_required(&mut self, field: &str, values: &[String]) {
        for (index, value) in values.iter().enumerate() {
            // Its name is put together only when something is wrong with it.
            if value.is_empty() || has_control(value) {
                self.required(&format!("{field}[{index}]"), value);
            }
        }
    }

    /// Free text that may be left out.
    pub fn optional(&mut self, field: &str, value: Option<&str>) {
        self.text(field, value.unwrap_or_default());
    }

    /// A required passcode. A malformed one is not worth one of the attempts that a member has.
    pub fn passcode(&mut self, field: &str, value: &str) {
        if value.len() != 6 || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            self.add(field, "must be six digits");
        }
    }

    /// The three ways to say whose login this is.
    pub fn proofs(&mut self, proofs: [(&str, Option<&str>); 3]) {
        for (field, proof) in proofs {
            self.optional(field, proof);
        }
    }

    /// The same, where one is needed.
    pub fn one_proof(&mut self, proofs: [(&str, Option<&str>); 3]) {
        if proofs.iter().all(|(_, proof)| proof.is_none_or(str::is_empty)) {
            let [(first, _), (second, _), (third, _)] = proofs;
            self.add(first, &format!("one of {first}, {second} and {third} is required"));
        }
        self.proofs(proofs);
    }

    /// What a call that answers with a session may ask of it.
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

    /// An optional proof that travels as a header. An empty one would count as none, and lend the call the
    /// permissions of the project.
    pub fn header(&mut self, field: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.add(field, "must be visible ASCII characters, at least one");
        }
    }

    /// One of `options`, or nothing.
    pub fn option(&mut self, field: &str, value: Option<&str>, options: &[&str]) {
        if value.is_some_and(|value| !options.contains(&value)) {
            self.add(field, &format!("must be one of: {}", options.join(", ")));
        }
    }

    /// A free-form object. What JSON cannot express would be sent as null, which deletes a claim.
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

    /// An optional number of minutes.
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

    /// One status for all of them.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` when there are any.
    pub fn into_result(self) -> Result<(), Failure> {
        let Self { kept, more } = self;
        if kept.is_empty() { Ok(()) } else { Err(Failure::invalid(kept, more)) }
    }
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}
