//! Which build this is.

use super::page::{Kind, Labels, Metric, Samples};

/// A gauge that is always 1, with the version and the revision of the source as labels.
#[derive(Debug, Default)]
pub struct BuildInfo;

/// The commit that the program was built from, or why there is none; `build.rs` sets it.
const REVISION: &str = env!("TOTP_FACADE_REVISION");

impl Metric for BuildInfo {
    fn kind(&self) -> Kind {
        Kind::Gauge
    }

    fn labels(&self) -> Vec<&'static str> {
        vec!["version", "revision"]
    }

    fn write(&self, samples: &mut Samples<'_>) {
        let mut labels = Labels::default();
        labels.push("version", env!("CARGO_PKG_VERSION"));
        labels.push("revision", REVISION);
        samples.add(&labels, 1);
    }
}
