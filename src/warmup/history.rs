//! Durations of past runs, and what they say of the next one.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::protocol::{Eta, Stage};

/// With fewer an estimate is a guess, and guesses are not shown.
const ENOUGH: usize = 5;
/// The last so many runs; older machines and models stop counting after as many.
pub(crate) const KEPT: usize = 50;

/// Half and nine tenths of measured durations, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half were shorter.
    pub p50: u64,
    /// Nine of ten were.
    pub p90: u64,
}

impl Percentiles {
    /// Of durations in milliseconds; none for too few.
    pub fn of<'a>(durations: impl IntoIterator<Item = &'a u64>) -> Option<Self> {
        let mut sorted: Vec<u64> = durations.into_iter().copied().collect();
        sorted.sort_unstable();
        // Nearest rank.
        let rank = |share: usize| sorted[(sorted.len() * share).div_ceil(100).max(1) - 1];
        (sorted.len() >= ENOUGH).then(|| Self { p50: rank(50), p90: rank(90) })
    }

    /// What is left after some time; withdrawn when that is past the p90.
    pub fn remaining(self, elapsed_ms: u64) -> Option<Eta> {
        (elapsed_ms <= self.p90)
            .then(|| Eta { p50: self.p50.saturating_sub(elapsed_ms), p90: self.p90 - elapsed_ms })
    }
}

/// What a stage or a run usually takes.
#[derive(Clone, Debug, Default)]
pub struct Estimates {
    /// By stage.
    pub stages: HashMap<Stage, Percentiles>,
    /// The whole run.
    pub run: Option<Percentiles>,
}

/// What past runs took.
#[async_trait]
pub trait History: Send + Sync + 'static {
    /// What a run of this model usually takes; `first` for one that begins with its process.
    async fn estimates(&self, model: &str, first: bool) -> Estimates;

    /// Adds a run that got ready.
    async fn record(&self, model: &str, first: bool, total_ms: u64, stages: &[(Stage, u64)]);
}

/// Durations of runs of one model.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Durations {
    /// Runs that began with the process, container stage and all.
    pub(crate) first: VecDeque<u64>,
    /// Runs of a process that was there already.
    pub(crate) again: VecDeque<u64>,
    pub(crate) stages: HashMap<Stage, VecDeque<u64>>,
}

impl Durations {
    pub(crate) fn estimates(&self, first: bool) -> Estimates {
        let stages = self.stages.iter();
        Estimates {
            stages: stages.filter_map(|(stage, past)| Some((*stage, Percentiles::of(past)?))).collect(),
            run: Percentiles::of(if first { &self.first } else { &self.again }),
        }
    }
}

/// Durations of past runs of this process and those before it, by model and device; in a file when there is a
/// place for it.
#[derive(Clone)]
pub struct OwnHistory(Arc<Inner>);

struct Inner {
    file: Option<PathBuf>,
    by_model: Mutex<HashMap<String, Durations>>,
}

impl OwnHistory {
    /// What the file says; empty without one, or when it can't be read.
    pub fn open(state_dir: Option<&Path>) -> Self {
        let file = state_dir.map(|dir| dir.join("warmups.json"));
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).ok()?;
            serde_json::from_str(&text)
                .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "history of warm-ups is unreadable; starting anew"))
                .ok()
        };
        let by_model = file.as_ref().and_then(read).unwrap_or_default();
        Self(Arc::new(Inner { file, by_model: Mutex::new(by_model) }))
    }
}

#[async_trait]
impl History for OwnHistory {
    async fn estimates(&self, model: &str, first: bool) -> Estimates {
        self.0.by_model.lock().get(model).map(|durations| durations.estimates(first)).unwrap_or_default()
    }

    async fn record(&self, model: &str, first: bool, total_ms: u64, stages: &[(Stage, u64)]) {
        let (inner, model, stages) = (Arc::clone(&self.0), model.to_owned(), stages.to_vec());
        let written =
            tokio::task::spawn_blocking(move || inner.record(model, first, total_ms, &stages)).await;
        if let Err(error) = written {
            tracing::warn!(%error, "history of warm-ups can't be kept");
        }
    }
}

impl Inner {
    /// Writes the file, so it blocks.
    fn record(&self, model: String, first: bool, total_ms: u64, stages: &[(Stage, u64)]) {
        let mut by_model = self.by_model.lock();
        let durations = by_model.entry(model).or_default();
        push(if first { &mut durations.first } else { &mut durations.again }, total_ms);
        for (stage, duration) in stages {
            push(durations.stages.entry(*stage).or_default(), *duration);
        }
        let Some(file) = &self.file else { return };
        if let Err(error) = write(file, &by_model) {
            tracing::warn!(path = %file.display(), %error, "history of warm-ups can't be written");
        }
    }
}

fn push(durations: &mut VecDeque<u64>, duration: u64) {
    durations.push_back(duration);
    while durations.len() > KEPT {
        durations.pop_front();
    }
}

/// Beside it and then in its place, so that a crash leaves the old file or the new one.
fn write(file: &Path, by_model: &HashMap<String, Durations>) -> std::io::Result<()> {
    let new = file.with_extension("json.new");
    std::fs::write(&new, serde_json::to_vec_pretty(by_model)?)?;
    std::fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_than_five_runs_estimate_nothing() {
        assert_eq!(Percentiles::of(&[1, 2, 3, 4]), None);
        assert_eq!(Percentiles::of(&[5, 4, 3, 2, 1]), Some(Percentiles { p50: 3, p90: 5 }));
    }

    #[test]
    fn an_estimate_is_withdrawn_past_its_p90() {
        let usual = Percentiles { p50: 100, p90: 200 };
        assert_eq!(usual.remaining(60), Some(Eta { p50: 40, p90: 140 }));
        assert_eq!(usual.remaining(150), Some(Eta { p50: 0, p90: 50 }));
        assert_eq!(usual.remaining(201), None);
    }

    #[tokio::test]
    async fn runs_are_remembered_across_a_restart() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let open = || OwnHistory::open(Some(dir.path()));
        for total in [10, 20, 30, 40, 50] {
            open().record("m", true, total, &[(Stage::ModelLoad, total / 10)]).await;
        }
        let estimates = open().estimates("m", true).await;
        assert_eq!(estimates.run, Some(Percentiles { p50: 30, p90: 50 }));
        assert_eq!(estimates.stages[&Stage::ModelLoad], Percentiles { p50: 3, p90: 5 });
        assert_eq!(open().estimates("m", false).await.run, None, "those began with the process");
    }

    #[tokio::test]
    async fn a_broken_file_is_an_empty_history() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("warmups.json"), "{").expect("written");
        assert!(OwnHistory::open(Some(dir.path())).estimates("m", true).await.run.is_none());
    }
}
