//! Errors as text, with the causes that led to them.

use std::error::Error;

/// Returns the text of `error`, followed by each of its causes. A cause that the text already ends
/// with is not repeated.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.map(ToString::to_string).fold(error.to_string(), |text, cause| {
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Step {
        text: &'static str,
        source: Option<Box<Step>>,
    }

    #[test]
    fn each_cause_follows_unless_the_text_already_ends_with_it() {
        let chain = |texts: [&'static str; 3]| {
            let mut steps = texts.into_iter().rev();
            let last = Step { text: steps.next().unwrap(), source: None };
            steps.fold(last, |source, text| Step { text, source: Some(Box::new(source)) })
        };

        assert_eq!(
            with_causes(&chain(["cannot call", "no TLS", "reset"])),
            "cannot call: no TLS: reset"
        );
        assert_eq!(
            with_causes(&chain(["no TLS: reset", "no TLS: reset", "reset"])),
            "no TLS: reset"
        );
    }
}
