//! What the user reads: as text, and as JSON for programs.

use std::fmt;

use serde::Serialize;

use super::{
    comparison::{Difference, Kind, differences},
    observation::{Observation, shown},
    play::{Cleanup, Played},
    questions::{Part, QUESTIONS, Settled},
    state::State,
    steps,
};
use crate::stytch::MASK;

/// The longest text of an error to show, in characters.
const MAX_TEXT: usize = 200;

/// What a comparison has found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The API that the sandbox was compared with.
    pub base_url: String,
    /// Its project.
    pub project_id: String,
    /// Every step that was played.
    pub steps: Vec<StepReport>,
    /// The steps that need a token that the run did not have.
    pub skipped: Vec<Skipped>,
    /// Every difference.
    pub differences: Vec<Difference>,
    /// The questions of `docs/sandbox.md`.
    pub questions: Vec<Answered>,
    /// Why the run ended before its script did.
    pub failure: Option<String>,
    /// Why a TOTP that the run made may be left.
    pub left_behind: Option<String>,
}

/// A step and its outcome on both sides.
#[derive(Debug, Serialize)]
pub struct StepReport {
    /// The step.
    pub name: &'static str,
    /// Its outcome at Stytch.
    pub stytch: String,
    /// Its outcome in the sandbox.
    pub sandbox: Option<String>,
}

/// A step that was not played.
#[derive(Debug, Serialize)]
pub struct Skipped {
    /// The step.
    pub name: &'static str,
    /// The variable that it needs.
    pub needs: &'static str,
}

/// A question of `docs/sandbox.md`.
#[derive(Debug, Serialize)]
pub struct Answered {
    /// The question, in the words of the page.
    pub question: &'static str,
    /// Its answer, or why there is none.
    #[serde(flatten)]
    pub settled: Settled,
}

impl Report {
    pub(super) fn new(
        base_url: String,
        project_id: String,
        state: &State,
        played: Played,
        repeated: Option<(Vec<Observation>, State)>,
    ) -> Self {
        let Played { observations: stytch, failure, cleanup } = played;
        let (sandbox, sandbox_state) = repeated.unzip();
        let sandbox = &sandbox.unwrap_or_default()[..];
        let texts = texts(state, sandbox_state.as_ref());
        let outcome = |step: &str| Some(sandbox.iter().find(|it| it.step == step)?.outcome());
        let skipped = steps::all().filter(|step| {
            !stytch.iter().any(|it| it.step == step.name)
                && step.needs.is_some_and(|need| !need.is_met(state))
        });
        Self {
            base_url,
            project_id,
            differences: differences(&stytch, sandbox),
            skipped: skipped
                .filter_map(|step| Some(Skipped { name: step.name, needs: step.needs?.variable() }))
                .collect(),
            // A run that has played nothing has settled nothing.
            questions: QUESTIONS
                .iter()
                .filter(|_| !stytch.is_empty())
                .map(|question| Answered {
                    question: question.text,
                    settled: question.settle(&stytch, sandbox, &texts),
                })
                .collect(),
            steps: stytch
                .iter()
                .map(|it| StepReport {
                    name: it.step,
                    stytch: it.outcome(),
                    sandbox: outcome(it.step),
                })
                .collect(),
            failure,
            left_behind: match cleanup {
                Cleanup::Clean => None,
                Cleanup::Failed(why) => Some(why),
            },
        }
    }

    /// Whether the whole script was played, nothing differs, and nothing is left.
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty() && self.failure.is_none() && self.left_behind.is_none()
    }
}

/// Returns the texts of errors that both sides have shown.
fn texts(stytch: &State, sandbox: Option<&State>) -> Vec<Part> {
    let Some(sandbox) = sandbox else { return Vec::new() };
    let mut secrets: Vec<_> = stytch.secrets().chain(sandbox.secrets()).collect();
    // A short one may be a part of a longer one.
    secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    let common = stytch.texts.iter().filter_map(|(error, text)| {
        let (_, other) = sandbox.texts.iter().find(|(known, _)| known == error)?;
        Some((error, text, other))
    });
    common
        .map(|(error, text, other)| Part {
            step: shown(error).to_owned(),
            stytch: printable(text, &secrets),
            sandbox: printable(other, &secrets),
        })
        .collect()
}

/// Returns a text of the other side's as it may be printed: on one line, and without secrets.
fn printable(text: &str, secrets: &[&str]) -> String {
    let masked = secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASK));
    let line = masked.chars().map(|char| if char.is_control() { ' ' } else { char });
    format!("{:?}", line.take(MAX_TEXT).collect::<String>())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({}) compared with the sandbox", self.base_url, self.project_id)?;
        if self.steps.is_empty() {
            let why = self.failure.as_deref().unwrap_or("no step was played");
            return writeln!(f, "\nNothing was compared, and nothing was changed: {why}");
        }
        self.write_steps(f)?;
        self.write_differences(f)?;
        self.write_questions(f)?;
        if let Some(failure) = &self.failure {
            writeln!(f, "\nNot played to the end: {failure}")?;
        }
        match &self.left_behind {
            None => writeln!(f, "\nNothing is left of the TOTPs that the run made."),
            Some(why) => writeln!(
                f,
                "\nA TOTP THAT THE RUN MADE MAY BE LEFT: {why}. Delete it with \
                 `totp-facade delete`."
            ),
        }
    }
}

impl Report {
    fn write_steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nSteps: {} played, {} skipped", self.steps.len(), self.skipped.len())?;
        for StepReport { name, stytch, sandbox } in &self.steps {
            match sandbox {
                Some(sandbox) if sandbox != stytch => {
                    writeln!(f, "  {name}: {stytch}, in the sandbox {sandbox}")?;
                }
                _ => writeln!(f, "  {name}: {stytch}")?,
            }
        }
        for Skipped { name, needs } in &self.skipped {
            writeln!(f, "  {name}: skipped, needs {needs}")?;
        }
        Ok(())
    }

    fn write_differences(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.differences.is_empty() {
            return writeln!(f, "\nDifferences: none");
        }
        writeln!(f, "\nDifferences: {}", self.differences.len())?;
        for difference in &self.differences {
            writeln!(f, "  {difference}")?;
        }
        Ok(())
    }

    fn write_questions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_open = |it: &&Answered| matches!(it.settled, Settled::No { .. });
        let open = self.questions.iter().filter(is_open).count();
        let settled = self.questions.len() - open;
        writeln!(f, "\nQuestions of docs/sandbox.md: {settled} settled, {open} not")?;
        for Answered { question, settled } in &self.questions {
            writeln!(f, "  {question}")?;
            match settled {
                Settled::No { not_settled } => writeln!(f, "    not settled: {not_settled}")?,
                Settled::Yes { answers } => {
                    for Part { step, stytch, sandbox } in answers {
                        let same = if stytch == sandbox { "the same" } else { sandbox };
                        writeln!(f, "    {step}: {stytch}; the sandbox: {same}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, field, stytch, sandbox, in_contract, steps } = self;
        let what = match kind {
            Kind::HttpStatus => "HTTP status",
            Kind::ErrorType => "error type",
            Kind::GrpcStatus => "status of the façade",
            Kind::Presence | Kind::Value => field,
            Kind::Length => &format!("length of {field}"),
        };
        write!(f, "{what}: {stytch}, in the sandbox {sandbox}")?;
        match in_contract {
            Some(true) => write!(f, "; the contract has it")?,
            Some(false) => write!(f, "; the contract lacks it")?,
            None => {}
        }
        match steps.split_first() {
            Some((first, [])) => write!(f, "  [{first}]"),
            Some((first, others)) => write!(f, "  [{first}, and {} more]", others.len()),
            None => Ok(()),
        }
    }
}
