//! Why a call failed, and what is known of it.

use std::{fmt, time::Duration};

use tonic::Code;

use super::report::Report;
use crate::{status::CallKind, stytch::Upstream};

const UNKNOWN: &str = "whether the call took effect is not known";

/// Why a call failed.
#[derive(Clone, Debug)]
pub enum CallFailure {
    /// There is no connection to the façade.
    NotConnected {
        /// The URL of the façade.
        url: String,
        /// Why there is none.
        cause: String,
    },
    /// The deadline passed.
    DeadlinePassed {
        /// The time that the call had.
        deadline: Duration,
        /// What is known of the call, in words.
        known: String,
        /// Whether anything was sent to the façade.
        is_sent: bool,
        /// What the façade said, if it did.
        report: Option<Report>,
    },
    /// The façade answered with a failure.
    Refused {
        /// The status.
        report: Report,
        /// Whether the client presented nothing that says who calls, which may be why.
        is_anonymous: bool,
    },
    /// Something else answered.
    NotAFacade {
        /// The URL of the façade.
        url: String,
        /// The status.
        report: Report,
    },
    /// The connection broke, or what came was no gRPC.
    Broken {
        /// The URL of the façade.
        url: String,
        /// What the client's library says.
        report: Report,
        /// Whether the client presented a certificate, which may be why.
        has_certificate: bool,
    },
}

impl CallFailure {
    /// The deadline passed before anything was sent.
    pub(super) fn unsent(deadline: Duration, known: String) -> Self {
        Self::DeadlinePassed { deadline, known, is_sent: false, report: None }
    }

    /// The deadline passed, and the façade said nothing.
    pub(super) fn unanswered(deadline: Duration) -> Self {
        let known = format!("no response came; {UNKNOWN}");
        Self::DeadlinePassed { deadline, known, is_sent: true, report: None }
    }

    /// The deadline passed, and the façade or the library said so.
    pub(super) fn passed(deadline: Duration, report: Report) -> Self {
        let known = report.to_string();
        Self::DeadlinePassed { deadline, known, is_sent: true, report: Some(report) }
    }

    /// Returns the status, if there is one.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Self::NotConnected { .. } => None,
            Self::DeadlinePassed { report, .. } => report.as_ref(),
            Self::Refused { report, .. }
            | Self::NotAFacade { report, .. }
            | Self::Broken { report, .. } => Some(report),
        }
    }

    /// Returns what is known of the call.
    pub fn outcome(&self) -> Upstream {
        match self {
            Self::NotConnected { .. } | Self::DeadlinePassed { is_sent: false, .. } => {
                Upstream::NotSent
            }
            _ => {
                let upstream = self.report().and_then(|report| report.metadata.get("upstream"));
                upstream.and_then(|name| Upstream::from_name(name)).unwrap_or(Upstream::Unknown)
            }
        }
    }

    /// Says in one sentence whether and how to retry the call.
    pub fn advice(&self, kind: CallKind) -> String {
        let report = self.report();
        let delay = report.and_then(|report| report.retry_after);
        let of_table = report.and_then(|report| kind.advice_on(report.status()));
        if let Self::NotConnected { .. } = self {
            return "Start the façade or correct the address, then retry it: nothing was sent."
                .to_owned();
        }
        match (of_table, self.outcome(), kind) {
            (Some(advice), ..) => sentence(advice, delay),
            (None, Upstream::NotSent, _) => "Retry it: nothing was sent.".to_owned(),
            (None, _, CallKind::Read) => "Retry it: the call only reads.".to_owned(),
            (None, _, CallKind::WithKey) => {
                "Retry it with the same key: that gets the outcome of this call.".to_owned()
            }
            (None, _, CallKind::WithoutKey) => {
                "Do not retry it: it may have taken effect, and there is no key.".to_owned()
            }
        }
    }
}

/// Makes a sentence of a cell of `docs/retries.md`.
fn sentence(advice: &str, delay: Option<Duration>) -> String {
    let text = match (advice.strip_prefix("yes, after the delay"), delay) {
        (Some(_), Some(delay)) => {
            return format!("Retry it after {}.", humantime::format_duration(delay));
        }
        (Some(_), None) => return "Retry it later.".to_owned(),
        (None, _) => advice,
    };
    let (answer, why) = text.split_once([':', ';']).unwrap_or((text, ""));
    let answer = match answer {
        "yes" => "Retry it",
        "harmless" => "A retry is harmless",
        _ => "Do not retry it",
    };
    format!("{answer}:{why}.")
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected { url, cause } => write!(f, "cannot connect to {url}: {cause}"),
            Self::DeadlinePassed { deadline, known, .. } => {
                let deadline = humantime::format_duration(*deadline);
                write!(f, "your deadline of {deadline} ran out: {known}")
            }
            Self::Refused { report, is_anonymous } => {
                write!(f, "{report}")?;
                match report.status().code() {
                    Code::Unauthenticated if *is_anonymous => write!(
                        f,
                        "\n  set TOTP_FACADE_TOKEN, or, over TLS, give --cert-file FILE and --key-file FILE"
                    ),
                    _ => Ok(()),
                }
            }
            Self::NotAFacade { url, report } => write!(
                f,
                "no façade answered: {report}\n  either {url} is not the gRPC port of a façade, or a \
                 proxy answered; {UNKNOWN}"
            ),
            Self::Broken { url, report, has_certificate } => {
                write!(
                    f,
                    "no façade answered: {report}\n  either {url} is not the gRPC port of a façade, \
                     or the connection broke; {UNKNOWN}"
                )?;
                if *has_certificate {
                    write!(
                        f,
                        "\n  or the façade refused the client certificate: its log says why"
                    )?;
                }
                match url.strip_prefix("http://") {
                    Some(host) => {
                        write!(f, "\n  if the port is for TLS, try --addr https://{host}")
                    }
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Case;

    #[test]
    fn every_advice_of_the_table_becomes_a_sentence() {
        for case in Case::ALL.iter().copied() {
            for kind in [CallKind::Read, CallKind::WithoutKey, CallKind::WithKey] {
                let advice = kind.advice(case);
                if advice.is_empty() {
                    continue;
                }
                let sentence = sentence(advice, Some(Duration::from_millis(1500)));

                let starts = ["Retry it", "Do not retry it: ", "A retry is harmless: "];
                assert!(starts.iter().any(|it| sentence.starts_with(it)), "{advice}: {sentence}");
                assert!(sentence.ends_with('.') && !sentence.contains('`'), "{advice}: {sentence}");
            }
        }
        let waits = sentence("yes, after the delay in `RetryInfo`", Some(Duration::from_secs(2)));
        assert_eq!(waits, "Retry it after 2s.");
        assert_eq!(sentence("yes; nothing was done", None), "Retry it: nothing was done.");
        let twice = sentence("no: change the request first; nothing was done", None);
        assert_eq!(twice, "Do not retry it: change the request first; nothing was done.");
    }
}
