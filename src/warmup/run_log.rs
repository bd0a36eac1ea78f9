//! The seam of a pool's runs: where they begin, and where they are told.

use std::sync::Arc;

use async_trait::async_trait;

use super::PoolState;
use crate::protocol::Event;
use crate::session::Logs;

/// How a run begins in this process.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The state at its beginning.
    pub state: PoolState,
    /// The container stage began elsewhere, at this Unix millisecond: when this process was woken.
    pub woken_ms: Option<u64>,
}

/// Where a pool's runs are told.
#[async_trait]
pub trait RunLog: Send + Sync + 'static {
    /// A run begins in this process: as it is given, or as the part of one that began elsewhere.
    async fn begin(&self, new: PoolState) -> Begun;

    /// Tells what happened, and the state since then.
    async fn tell(&self, at_ms: u64, event: Event, state: &PoolState);

    /// The model is gone: who opens a session from here on is told nothing of the run.
    async fn forget(&self);
}

/// The runs of a process that is alone.
pub struct OwnRunLog(pub Arc<dyn Logs>);

#[async_trait]
impl RunLog for OwnRunLog {
    async fn begin(&self, new: PoolState) -> Begun {
        self.forget().await;
        Begun { state: new, woken_ms: None }
    }

    async fn tell(&self, at_ms: u64, event: Event, state: &PoolState) {
        if let Err(error) = self.0.append_run(at_ms, event).await {
            tracing::warn!(%error, run = ?state.run, "an event of the run was told to nobody");
        }
    }

    async fn forget(&self) {
        if let Err(error) = self.0.begin_run().await {
            tracing::warn!(%error, "sessions that open now see the last run as well");
        }
    }
}
