//! What became of audit events and log lines.

use super::{
    page::{Kind, Labels, Metric, Samples},
    process::{Reading, readings},
};
use crate::telemetry::{Loss, counts};

#[allow(clippy::cast_precision_loss)] // they are far below 2^53
fn number(count: u64) -> Option<f64> {
    Some(count as f64)
}

readings! {
    /// The audit events that were written.
    AuditEvents: Counter = number(counts().events());
    /// The log lines that were left out.
    SuppressedLines: Counter = number(counts().suppressed());
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
