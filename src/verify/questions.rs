//! The open questions of `docs/sandbox.md`, and the steps that answer them.

use serde::Serialize;

use super::{
    form::form,
    observation::Observation,
    steps::{self, Step},
};

/// A question of `docs/sandbox.md`, in its words.
#[derive(Debug)]
pub struct Question {
    /// The question.
    pub text: &'static str,
    /// What answers it, in any run that has the tokens.
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    /// What these steps show.
    Shown(&'static [Shown]),
    /// The texts of all errors.
    Texts,
    /// No step: why.
    Nowhere(&'static str),
}

/// A part of an answer.
#[derive(Debug)]
enum Shown {
    /// The outcome of a step.
    Outcome(&'static str),
    /// A field of its response, by JSON pointer.
    Field(&'static str, &'static str),
}
use Shown::{Field, Outcome};

/// The answer to a question, or why there is none.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Settled {
    /// What both have shown.
    Yes {
        /// A part for each step.
        answers: Vec<Part>,
    },
    /// Why this run could not answer it.
    No {
        /// The reason.
        not_settled: String,
    },
}

/// What a step has shown on both sides.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Part {
    /// The step, with the field that was looked at.
    pub step: String,
    /// What Stytch has shown.
    pub stytch: String,
    /// What the sandbox has shown.
    pub sandbox: String,
}

const fn shown(text: &'static str, parts: &'static [Shown]) -> Question {
    Question { text, answer: Answer::Shown(parts) }
}

const fn nowhere(text: &'static str, why: &'static str) -> Question {
    Question { text, answer: Answer::Nowhere(why) }
}

/// Every question, in the order of the page.
pub static QUESTIONS: &[Question] = &[
    shown(
        "Does a Create replace a pending TOTP, or fail with `pending_totp_exists`?",
        &[Outcome("create, while the first is pending")],
    ),
    shown(
        "HTTP status of `session_enforced_factor_matching_session_required`, and whether a missing proof is that error",
        &[Outcome("create, without a proof")],
    ),
    shown(
        "HTTP status of `organization_not_found` and `member_not_found`",
        &[Outcome("get, for an unknown organization"), Outcome("get, for an unknown member")],
    ),
    shown(
        "HTTP status of `intermediate_session_not_found`",
        &[
            Outcome("authenticate, with an unknown intermediate session token"),
            Outcome("authenticate, with the used intermediate session token"),
        ],
    ),
    shown(
        "HTTP status of `member_session_member_id_mismatch`, and whether another member's proof is that error",
        &[Outcome("authenticate, with another member's session")],
    ),
    shown(
        "HTTP status of `too_many_session_arguments`, and whether these calls refuse two proofs",
        &[Outcome("authenticate, with two proofs")],
    ),
    shown(
        "Error of no proof at all on authenticate and recover",
        &[Outcome("authenticate, without a proof")],
    ),
    shown(
        "Error of a malformed `session_jwt`; of an unknown, expired or forged one",
        &[
            Outcome("authenticate, with a malformed session JWT"),
            Outcome("authenticate, with a forged session JWT"),
        ],
    ),
    shown(
        "Error of a wrong TOTP code, of a wrong or spent recovery code",
        &[
            Outcome("authenticate, with a wrong code"),
            Outcome("recover, with a wrong code"),
            Outcome("recover, with the same code again"),
        ],
    ),
    shown(
        "Error of a code that is not six digits",
        &[
            Outcome("authenticate, with five digits"),
            Outcome("authenticate, with a recovery code"),
            Outcome("recover, with six digits"),
        ],
    ),
    shown(
        "HTTP status of `totp_code_already_authenticated` and of `expired_totp`",
        // The second one would take a wait of five minutes.
        &[Outcome("authenticate, with the same code again")],
    ),
    shown(
        "Does an accepted code spend its time step only, or all earlier steps too?",
        &[Outcome("authenticate, with the code before")],
    ),
    shown(
        "Error of an authenticate or a delete without a TOTP",
        &[Outcome("authenticate, without a TOTP"), Outcome("delete, without a TOTP")],
    ),
    shown(
        "Error without an active TOTP: of Get; of Rotate and Recover",
        &[
            Outcome("get, without a TOTP"),
            Outcome("get, while the TOTP is pending"),
            Outcome("rotate, without a TOTP"),
            Outcome("recover, without a TOTP"),
        ],
    ),
    nowhere(
        "How many failures lock a member, and which count",
        "the answer would lock the member, for up to a week",
    ),
    shown(
        "Does a Create spend an intermediate session token?",
        &[Outcome("authenticate, with the first code")],
    ),
    shown(
        "Does a Migrate without recovery codes create some?",
        &[Field("migrate, without recovery codes", "/recovery_codes")],
    ),
    shown(
        "Error of a Migrate with a secret that is not base32",
        &[Outcome("migrate, with a secret that is not base32")],
    ),
    shown(
        "Does a Delete change `mfa_enrolled`?",
        &[
            Field("delete, with the member's session", "/member/mfa_enrolled"),
            Field("delete, with the member's session", "/member/default_mfa_method"),
        ],
    ),
    nowhere(
        "HTTP status of `operation_restricted_by_organization_mfa_methods`",
        "needs an organization that forbids TOTPs",
    ),
    shown(
        "Who may delete with a session",
        &[
            Outcome("delete, with the member's session"),
            Outcome("delete, with another member's session"),
        ],
    ),
    shown(
        "Are custom claims respected without `session_duration_minutes`?",
        &[Field(
            "authenticate, with the JWT and claims without a duration",
            "/member_session/custom_claims/verify_late",
        )],
    ),
    shown("Error of claims above 4 KiB", &[Outcome("authenticate, with claims above 4 KiB")]),
    shown("Error of `expiration_minutes` out of range", &[Outcome("create, for too few minutes")]),
    shown(
        "Error of a missing or mistyped field, of bad JSON, and of a content type with a charset",
        &[
            Outcome("create, with a field missing"),
            Outcome("create, with a field of another type"),
            Outcome("create, with bad JSON"),
            Outcome("create, with a charset in the content type"),
        ],
    ),
    shown(
        "Is an empty token a token?",
        &[Outcome("authenticate, with a session and an empty token")],
    ),
    shown("Error of a call without credentials", &[Outcome("create, without credentials")]),
    nowhere("Order of checks", "no single call shows it; the outcomes of the steps bound it"),
    Question { text: "Text of errors whose wording is not published", answer: Answer::Texts },
    shown(
        "Does a wrong HTTP method give `route_not_found`?",
        &[Outcome("create, with a wrong HTTP method")],
    ),
];

impl Question {
    /// Answers the question from what a run has shown. The texts of errors are Stytch's, then the
    /// sandbox's.
    pub(super) fn settle(
        &self,
        stytch: &[Observation],
        sandbox: &[Observation],
        texts: &[Part],
    ) -> Settled {
        let parts: Vec<_> = match &self.answer {
            Answer::Nowhere(why) => return Settled::No { not_settled: (*why).to_owned() },
            Answer::Texts => texts.to_vec(),
            Answer::Shown(parts) => {
                parts.iter().filter_map(|part| part.read(stytch, sandbox)).collect()
            }
        };
        if parts.is_empty() {
            Settled::No { not_settled: self.why() }
        } else {
            Settled::Yes { answers: parts }
        }
    }

    /// Says why no step has answered the question.
    fn why(&self) -> String {
        let Answer::Shown(parts) = &self.answer else { return "no step has shown it".to_owned() };
        let is_one = |step: &&Step| parts.iter().any(|part| part.step() == step.name);
        match steps::all().filter(is_one).find_map(|step| step.needs) {
            Some(need) => format!("needs {}", need.variable()),
            None => "its steps were not played, or failed".to_owned(),
        }
    }
}

impl Shown {
    fn step(&self) -> &'static str {
        match self {
            Outcome(step) | Field(step, _) => step,
        }
    }

    /// Reads the part from both sides, if both have shown it.
    fn read(&self, stytch: &[Observation], sandbox: &[Observation]) -> Option<Part> {
        let find = |side: &[Observation]| side.iter().find(|it| it.step == self.step()).cloned();
        let (stytch, sandbox) = (find(stytch)?, find(sandbox)?);
        let step = self.step().to_owned();
        match self {
            Outcome(_) => Some(Part { step, stytch: stytch.outcome(), sandbox: sandbox.outcome() }),
            Field(_, pointer) => {
                let read = |side: &Observation| Some(value_at(side.success()?, pointer));
                let (stytch, sandbox) = (read(&stytch)?, read(&sandbox)?);
                Some(Part { step: format!("{step}: {pointer}"), stytch, sandbox })
            }
        }
    }
}

/// Describes a field; of a list, its length.
fn value_at(body: &serde_json::Value, pointer: &str) -> String {
    let field = pointer.rsplit('/').next().unwrap_or_default();
    match body.pointer(pointer) {
        None => "absent".to_owned(),
        Some(serde_json::Value::Array(list)) => format!("{} of them", list.len()),
        Some(value) => form(field, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_of_a_step_of_the_script() {
        let mut parts = 0;
        for question in QUESTIONS {
            let Answer::Shown(shown) = &question.answer else { continue };
            assert!(!shown.is_empty(), "{}", question.text);
            for part in *shown {
                parts += 1;
                assert!(steps::all().any(|it| it.name == part.step()), "{}", part.step());
            }
        }
        assert!(parts > 30, "{parts}");
    }
}
