//! Jitter: random variation of a time, so that clients that started together do not stay in step.

use std::time::Duration;

/// Returns `time`, give or take a tenth, at most [`Duration::MAX`].
pub(crate) fn jittered(time: Duration) -> Duration {
    let time = time.as_secs_f64() * (0.9 + 0.2 * fastrand::f64());
    Duration::try_from_secs_f64(time).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_tenth_more_or_less_and_any_will_do() {
        let time = Duration::from_secs(100);
        let times: Vec<_> = (0..1000).map(|_| jittered(time)).collect();

        let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert!(*least >= time * 9 / 10 && *least < time * 92 / 100, "{least:?}");
        assert!(*most <= time * 11 / 10 && *most > time * 108 / 100, "{most:?}");
        assert!((0..1000).all(|_| jittered(Duration::MAX) >= Duration::MAX / 2));
        assert_eq!(jittered(Duration::ZERO), Duration::ZERO);
    }
}
