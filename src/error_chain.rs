//! Errors as text, with the causes that led to them.

use std::{error::Error, io, sync::Arc};

/// Returns the text of `error`, followed by each of its causes. A cause that the text already ends
/// with is not repeated.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.map(ToString::to_string).fold(error.to_string(), |text, cause| {
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Returns the first cause of `error` that is an `E`.
pub(crate) fn find_cause<'a, E: Error + 'static>(
    error: &'a (dyn Error + 'static),
) -> Option<&'a E> {
    let mut causes = std::iter::successors(cause_of(error), |error| cause_of(*error));
    causes.find_map(|cause| cause.downcast_ref())
}

/// Returns the cause of an error. An I/O error that wraps another one, and a shared error, take its
/// text, and leave it out of the chain.
fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(shared) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        return Some(&**shared);
    }
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.map(|it| it as _).or_else(|| error.source())
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

    #[test]
    fn a_cause_that_an_io_error_or_a_shared_one_wraps_is_found() {
        let inner = Step { text: "reset", source: None };
        let outer = io::Error::other(io::Error::other(inner));
        assert_eq!(find_cause::<Step>(&outer).map(|step| step.text), Some("reset"));
        #[derive(Debug, thiserror::Error)]
        #[error("cannot call")]
        struct Call(#[source] io::Error);

        let found = find_cause::<Step>(&Call(outer)).map(|step| step.text);

        assert_eq!(found, Some("reset"));
        #[derive(Debug, thiserror::Error)]
        #[error("cannot call")]
        struct Shared(#[source] Arc<dyn Error + Send + Sync>);

        let shared = Shared(Arc::new(io::Error::other(Step { text: "reset", source: None })));
        let found = find_cause::<Step>(&shared).map(|step| step.text);

        assert_eq!(found, Some("reset"));
        assert!(find_cause::<Step>(&Call(io::ErrorKind::TimedOut.into())).is_none());
    }
}
