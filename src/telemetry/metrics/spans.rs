//! Why spans are lost.

use super::label::labels;

labels! {
    /// Why a span was not sent.
    pub enum Dropped = "reason" {
        /// Too many others were waiting.
        QueueFull = "queue_full",
        /// The receiver cannot be reached, or did not answer in time.
        NotSent = "not_sent",
        /// The receiver refused it.
        Refused = "refused",
    }
}
