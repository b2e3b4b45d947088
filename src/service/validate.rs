//! What is refused before anything is sent.
//!
//! Only what Stytch would refuse for certain. Ids may be slugs and external ids, so their shape is
//! Stytch's to judge.

use std::ops::RangeInclusive;

use tonic::Status;

use crate::status::{self, Violation};

/// A request that can be found invalid.
pub trait Validate {
    /// Reports everything that is wrong with the request.
    fn validate(&self, violations: &mut Violations);
}

/// What is wrong with a request. The descriptions hold no value of the request.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Everything that is wrong with `request`.
    pub fn of(request: &impl Validate) -> Self {
        let mut violations = Self::default();
        request.validate(&mut violations);
        violations
    }

    /// A required identifier.
    pub fn id(&mut self, field: &str, value: &str) {
        if value.is_empty() {
            self.add(field, "is required");
        }
        self.text(field, value);
    }

    /// An optional proof.
    pub fn token(&mut self, field: &str, value: Option<&str>) {
        self.text(field, value.unwrap_or_default());
    }

    /// An optional number of minutes.
    pub fn minutes(&mut self, field: &str, value: Option<i32>, range: RangeInclusive<i32>) {
        if value.is_some_and(|value| !range.contains(&value)) {
            self.add(field, &format!("must be from {} to {} minutes", range.start(), range.end()));
        }
    }

    fn text(&mut self, field: &str, value: &str) {
        if value.chars().any(char::is_control) {
            self.add(field, "must not contain control characters");
        }
    }

    fn add(&mut self, field: &str, description: &str) {
        self.0.push(Violation::new(field, description));
    }

    /// One status for all of them.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` when there are any.
    pub fn into_result(self) -> Result<(), Status> {
        if self.0.is_empty() { Ok(()) } else { Err(status::invalid(self.0)) }
    }
}
