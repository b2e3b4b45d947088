//! What became of audit events and log lines.

use super::{
    label::labels,
    page::{Kind, Labels, Metric, Samples},
    process::{Reading, readings},
};
use crate::telemetry::{Loss, backlog, counts};

#[allow(clippy::cast_precision_loss)] // they are far below 2^53
fn number(count: u64) -> Option<f64> {
    Some(count as f64)
}

readings! {
    /// The audit events that were written.
    AuditEvents: Counter = number(counts().events());
    /// The log lines that were left out.
    SuppressedLines: Counter = number(counts().suppressed());
    /// Whether standard error takes nothing.
    Blocked: Gauge = number(backlog().is_blocked.into());
    /// The calls that wait for standard error.
    CallsWaiting: Gauge = number(backlog().calls as u64);
    /// What waits for standard error.
    PendingBytes: Gauge = number(backlog().bytes as u64);
}

labels! {
    /// What is known of a call that was sent to Stytch once it has really ended.
    pub enum AuditOutcome = "outcome" {
        /// Stytch did what was asked.
        Done = "done",
        /// Stytch, or a proxy in front of it, refused and did nothing.
        Rejected = "rejected",
        /// The call may have taken effect.
        Unknown = "unknown",
    }
}

/// The audit events that were lost, by reason.
#[derive(Debug, Default)]
pub struct LostEvents;

impl Metric for LostEvents {
    fn kind(&self) -> Kind {
        Kind::Counter
    }

    fn labels(&self) -> Vec<&'static str> {
        vec!["reason"]
    }

    fn write(&self, samples: &mut Samples<'_>) {
        for loss in Loss::ALL {
            let mut labels = Labels::default();
            labels.push("reason", loss.as_str());
            if let Some(lost) = number(counts().lost(loss)) {
                samples.add(&labels, lost);
            }
        }
    }
}
