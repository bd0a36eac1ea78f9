//! The small model: loaded in the background, proven, kept.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::model::{Loader, ModelError, Segmenter, Stop};
use crate::warmup::Known;

/// After a failed load the next one begins so much later.
const AGAIN: Duration = Duration::from_secs(60);
/// It is waited for no longer.
const LOADED: Duration = Duration::from_secs(30);

#[derive(Clone)]
enum State {
    Loading,
    Ready(Arc<dyn Segmenter>),
    Failed,
}

pub(super) struct SmallModel {
    loader: Arc<dyn Loader>,
    known: Arc<Known>,
    /// Where it is primed.
    threads: Arc<rayon::ThreadPool>,
    state: watch::Sender<State>,
}

impl SmallModel {
    pub(super) fn new(loader: Arc<dyn Loader>, known: Known, threads: Arc<rayon::ThreadPool>) -> Self {
        Self { loader, known: Arc::new(known), threads, state: watch::Sender::new(State::Loading) }
    }

    pub(super) fn name(&self) -> &str {
        self.loader.name()
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(*self.state.borrow(), State::Failed)
    }

    /// The model, if it is loaded by now.
    pub(super) fn loaded(&self) -> Option<Arc<dyn Segmenter>> {
        match &*self.state.borrow() {
            State::Ready(segmenter) => Some(Arc::clone(segmenter)),
            State::Loading | State::Failed => None,
        }
    }

    /// Loads until it succeeds.
    pub(super) async fn load(&self) {
        loop {
            let (loader, known) = (Arc::clone(&self.loader), Arc::clone(&self.known));
            let threads = Arc::clone(&self.threads);
            let load = move || threads.install(|| prove(loader.as_ref(), &known));
            let loading = tokio::task::spawn_blocking(load).await;
            let error = match loading {
                Ok(Ok(segmenter)) => {
                    tracing::info!(model = self.name(), "previews can be made");
                    self.state.send_replace(State::Ready(segmenter));
                    ready(true);
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(panic) => panic.to_string(),
            };
            tracing::warn!(model = self.name(), error, "no previews can be made");
            self.state.send_replace(State::Failed);
            ready(false);
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The model, once it is loaded; none when it can't be.
    pub(super) async fn get(&self) -> Option<Arc<dyn Segmenter>> {
        let mut state = self.state.subscribe();
        let loaded = state.wait_for(|state| !matches!(state, State::Loading));
        match tokio::time::timeout(LOADED, loaded).await.ok()?.ok()?.clone() {
            State::Ready(segmenter) => Some(segmenter),
            State::Loading | State::Failed => None,
        }
    }
}

fn ready(is: bool) {
    metrics::gauge!("warmcut_preview_model_ready").set(f64::from(u8::from(is)));
}

/// Nobody shows a preview of a model that is not what it should be.
fn prove(loader: &dyn Loader, known: &Known) -> Result<Arc<dyn Segmenter>, ModelError> {
    let stop = Stop::default();
    let loaded = loader.load(&mut |_| {}, &stop)?;
    let size = loaded.size() as usize;
    let (segmenter, map) = loaded.prime(&known.rgb, &mut |_| {}, &stop)?;
    known.validate(&map, size)?;
    Ok(segmenter)
}
