//! Numbers as short text.

use std::time::Duration;

use super::window::Quantile;

/// Returns a rate or a number with at most three digits of interest.
pub(super) fn rate(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        _ if value < 0.01 => "<0.01".to_owned(),
        _ if value < 10.0 => format!("{value:.2}"),
        _ if value < 100.0 => format!("{value:.1}"),
        _ => count(value),
    }
}

/// Returns a count, in thousands or millions once it is long.
pub(super) fn count(value: f64) -> String {
    // The sum of nothing is -0.
    match value + 0.0 {
        value if value < 100_000.0 => format!("{value:.0}"),
        _ if value < 10_000_000.0 => format!("{:.0}k", value / 1e3),
        _ if value < 10_000_000_000.0 => format!("{:.0}M", value / 1e6),
        _ => format!("{:.0}G", value / 1e9),
    }
}

/// Returns a share in per cent.
pub(super) fn share(value: f64) -> String {
    match value * 100.0 {
        0.0 => "0%".to_owned(),
        it if it < 0.1 => "<0.1%".to_owned(),
        it if it < 10.0 => format!("{it:.1}%"),
        it => format!("{it:.0}%"),
    }
}

/// Returns a quantile of a latency.
pub(super) fn latency(quantile: Quantile) -> String {
    match quantile {
        Quantile::About(seconds) if seconds < 0.001 => "<1ms".to_owned(),
        Quantile::About(seconds) if seconds < 0.9995 => format!("{:.0}ms", seconds * 1e3),
        Quantile::About(seconds) => format!("{seconds:.1}s"),
        Quantile::Above(seconds) => format!(">{seconds:.0}s"),
    }
}

/// Returns a number of bytes.
pub(super) fn bytes(value: f64) -> String {
    match value / 1024.0 {
        it if it < 10_000.0 => format!("{it:.0}KiB"),
        it if it < 10_240_000.0 => format!("{:.0}MiB", it / 1024.0),
        it => format!("{:.1}GiB", it / 1_048_576.0),
    }
}

/// Returns an age with its two largest units.
pub(super) fn age(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).map_or(0, |it| it.as_secs());
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short_at_every_size() {
        for (text, expected) in [
            (rate(0.0), "0"),
            (rate(0.004), "<0.01"),
            (rate(1.234), "1.23"),
            (rate(12.34), "12.3"),
            (rate(1234.0), "1234"),
            (count(-0.0), "0"),
            (count(99_999.0), "99999"),
            (count(1_234_567.0), "1235k"),
            (count(12_345_678.0), "12M"),
            (count(12_345_678_901.0), "12G"),
            (share(0.0), "0%"),
            (share(0.0005), "<0.1%"),
            (share(0.012), "1.2%"),
            (share(1.0), "100%"),
            (latency(Quantile::About(0.0002)), "<1ms"),
            (latency(Quantile::About(0.0456)), "46ms"),
            (latency(Quantile::About(0.9999)), "1.0s"),
            (latency(Quantile::Above(10.0)), ">10s"),
            (bytes(2048.0), "2KiB"),
            (bytes(45.0 * 1_048_576.0), "45MiB"),
            (bytes(20.0 * 1_073_741_824.0), "20.0GiB"),
            (age(7.0), "7s"),
            (age(125.0), "2m 5s"),
            (age(7260.0), "2h 1m"),
            (age(100_000.0), "1d 3h"),
        ] {
            assert_eq!(text, expected);
        }
    }
}
