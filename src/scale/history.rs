//! What past runs took, on whatever machine.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;

use crate::engine::{Engine, Unreachable};
use crate::protocol::Stage;
use crate::warmup::{Durations, Estimates, History, KEPT};

/// The history of a deployment, in Redis.
pub struct SharedHistory(Arc<Engine>);

impl SharedHistory {
    /// That which an engine's deployment shares.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self(engine)
    }

    fn key(&self, model: &str, what: &str) -> String {
        self.0.keys().of("history", format_args!("{model}:{what}"))
    }

    fn of_run(first: bool) -> &'static str {
        if first { "first" } else { "again" }
    }

    async fn read(&self, model: &str, first: bool) -> Result<Estimates, Unreachable> {
        let mut pipe = redis::pipe();
        for what in [Self::of_run(first)].into_iter().chain(Stage::ALL.map(Stage::as_str)) {
            pipe.cmd("LRANGE").arg(self.key(model, what)).arg(0).arg(-1);
        }
        let lists: Vec<Vec<u64>> = self.0.ask(&pipe).await?;
        let mut lists = lists.into_iter().map(VecDeque::from);
        let run = lists.next().unwrap_or_default();
        let stages = Stage::ALL.into_iter().zip(lists).collect();
        let durations = if first {
            Durations { first: run, stages, ..Durations::default() }
        } else {
            Durations { again: run, stages, ..Durations::default() }
        };
        Ok(durations.estimates(first))
    }
}

#[async_trait]
impl History for SharedHistory {
    /// Nothing where it can't be asked for.
    async fn estimates(&self, model: &str, first: bool) -> Estimates {
        self.read(model, first).await.unwrap_or_default()
    }

    async fn record(&self, model: &str, first: bool, total_ms: u64, stages: &[(Stage, u64)]) {
        let mut pipe = redis::pipe();
        let run = (Self::of_run(first), total_ms);
        for (what, took) in
            [run].into_iter().chain(stages.iter().map(|(stage, took)| (stage.as_str(), *took)))
        {
            let key = self.key(model, what);
            pipe.cmd("RPUSH").arg(&key).arg(took).ignore();
            pipe.cmd("LTRIM").arg(&key).arg(-(KEPT as i64)).arg(-1).ignore();
        }
        if self.0.ask::<()>(&pipe).await.is_err() {
            tracing::warn!(model, total_ms, "this run counts for no estimate");
        }
    }
}
