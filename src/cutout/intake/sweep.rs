//! The end of uploads that don't get on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Intake;
use super::receiving::Receiving;
use crate::protocol::{Code, Problem};

/// An open connection that sends nothing for so long has stalled.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// What came over a connection that is gone is kept so long for another one.
pub(super) const ABANDONED: Duration = Duration::from_secs(120);
/// The same, when nothing had come yet.
pub(super) const ANNOUNCED: Duration = Duration::from_secs(5);
/// However slowly they come, all bytes of a photo come within this time: 25 MB at 350 kbit/s.
const WHOLE: Duration = Duration::from_secs(600);

impl Intake {
    /// Ends uploads that have stalled or were abandoned, for ever.
    pub async fn sweep(self: Arc<Self>) {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        loop {
            every.tick().await;
            for (receiving, problem) in self.stalled(Instant::now()) {
                self.reject(&receiving, problem).await;
            }
        }
    }

    fn stalled(&self, now: Instant) -> Vec<(Arc<Receiving>, Problem)> {
        let receiving = self.receiving.lock();
        let stalled = receiving.values().filter_map(|receiving| {
            let turn = receiving.turn.lock();
            let patience = match (turn.attached, turn.has_bytes) {
                (true, _) => SILENCE,
                (false, true) => ABANDONED,
                (false, false) => ANNOUNCED,
            };
            let silent = now.saturating_duration_since(turn.last_byte);
            let message = if silent >= patience {
                format!("the upload stopped: no byte came for {} s; send it again", silent.as_secs())
            } else if now.saturating_duration_since(receiving.begun) >= WHOLE {
                format!("the upload was not done within {} s; send a smaller photo", WHOLE.as_secs())
            } else if receiving.session.ended.is_cancelled() {
                "the session expired before the upload was done".to_owned()
            } else {
                return None;
            };
            Some((Arc::clone(receiving), Problem::new(Code::UploadIncomplete, message)))
        });
        stalled.collect()
    }
}
