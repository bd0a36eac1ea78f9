//! The seam of the logs: append, replay after a key, follow.

use std::io;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tokio::sync::watch;

use super::EventKey;
use crate::protocol::{Delivery, Event, Framed, SessionId};

/// One event in its place.
#[derive(Debug)]
pub struct Entry {
    /// Its place.
    pub key: EventKey,
    /// When it happened, Unix milliseconds.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
    json: OnceLock<String>,
    weight: usize,
}

impl Entry {
    /// A new one.
    pub fn new(key: EventKey, at_ms: u64, event: Event) -> Self {
        let weight = size_of::<Self>() + 2 * json_len(&event);
        Self { key, at_ms, event, json: OnceLock::new(), weight }
    }

    /// As a session that opened at `opened_at_ms` sees it: with its id, `ready.cold`, and how
    /// results are delivered on this channel.
    pub fn framed(&self, session: &SessionId, opened_at_ms: u64, delivery: Delivery) -> Framed {
        let mut event = self.event.clone();
        match &mut event {
            // Within one millisecond nobody can tell, and whoever opened then has not seen it yet.
            Event::Ready(ready) => ready.cold = opened_at_ms <= self.at_ms,
            Event::Cutout(cutout) => cutout.delivery = delivery,
            Event::Preview(preview) => preview.delivery = delivery,
            _ => {}
        }
        Framed { event, at_ms: self.at_ms, id: Some(self.key.to_id(session)) }
    }

    /// The same as JSON. A stage goes to thousands of sessions and differs only in its id, so its
    /// JSON is made once.
    pub fn json(&self, session: &SessionId, opened_at_ms: u64, delivery: Delivery) -> String {
        let differs = matches!(self.event, Event::Ready(_)) || delivery == Delivery::Inline;
        if differs {
            return self.framed(session, opened_at_ms, delivery).to_json();
        }
        let shared = self
            .json
            .get_or_init(|| Framed { event: self.event.clone(), at_ms: self.at_ms, id: None }.to_json());
        let open = shared.strip_suffix('}').unwrap_or(shared);
        format!(r#"{open},"id":"{}"}}"#, self.key.to_id(session))
    }

    /// How many bytes it takes, its JSON included, which is kept from the first time that it is sent; what
    /// the bounds count. Its texts stand in the JSON, so they are no longer than that.
    pub fn weight(&self) -> usize {
        self.weight
    }
}

/// Counts what is written and keeps nothing.
struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn json_len(event: &Event) -> usize {
    let mut count = Count(0);
    // The count can't fail, and what can't be written as JSON is never sent.
    let _ = serde_json::to_writer(&mut count, event);
    count.0
}

/// What stands in the logs after a key.
#[derive(Debug)]
pub enum Read {
    /// Everything after it, in order, without gap.
    Events(Vec<Arc<Entry>>),
    /// The key is older than what is kept, or was never given; what describes the present, in order,
    /// and the key to go on from.
    Gone(Vec<Arc<Entry>>, EventKey),
}

/// Wakes a channel when a log it reads has grown.
#[derive(Clone)]
pub struct Follow {
    pub(super) run: watch::Receiver<u64>,
    pub(super) session: watch::Receiver<u64>,
    /// What it needs to be told.
    #[expect(dead_code, reason = "held for its drop")]
    pub(super) hold: Option<Arc<dyn Send + Sync>>,
}

impl Follow {
    /// Forgets the growth so far; call it before reading, so that nothing is missed after.
    pub fn mark_seen(&mut self) {
        self.run.mark_unchanged();
        self.session.mark_unchanged();
    }

    /// Waits for growth; an error when the session is gone.
    ///
    /// # Cancel safety
    /// Safe: a change that was not returned is seen by the next call.
    pub async fn changed(&mut self) -> Result<(), LogError> {
        tokio::select! {
            change = self.session.changed() => change.map_err(|_| LogError::NoSession),
            change = self.run.changed() => change.map_err(|_| LogError::NoSession),
        }
    }
}

/// Why a log can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The session expired or never was.
    #[error("the session has no log: it expired or never was")]
    NoSession,
    /// What keeps the logs can't be reached.
    #[error("the logs can't be reached just now; try again in a few seconds")]
    Unavailable,
}

/// The run log, shared by all, and one log for each session.
#[async_trait]
pub trait Logs: Send + Sync + 'static {
    /// Begins a run: what came before leaves the present.
    async fn begin_run(&self) -> Result<(), LogError>;

    /// Appends to the run log, once for everybody.
    async fn append_run(&self, at_ms: u64, event: Event) -> Result<EventKey, LogError>;

    /// Gives a session a log. It sees the run log from the latest run's first event on.
    async fn create(&self, session: &SessionId) -> Result<(), LogError>;

    /// Drops a session's log; who follows it is told.
    async fn remove(&self, session: &SessionId) -> Result<(), LogError>;

    /// Appends to a session's log. The place of the run log's end and the append are one step.
    async fn append(&self, session: &SessionId, at_ms: u64, event: Event) -> Result<EventKey, LogError>;

    /// Everything after a key; [`EventKey::START`] gives the whole retained log.
    async fn read(&self, session: &SessionId, after: EventKey) -> Result<Read, LogError>;

    /// What describes the present: the last event of each stage, of the run and of each job, in order,
    /// and the key of the last event of all.
    async fn present(&self, session: &SessionId) -> Result<(Vec<Arc<Entry>>, EventKey), LogError>;

    /// A handle that wakes when there is something to read.
    async fn follow(&self, session: &SessionId) -> Result<Follow, LogError>;
}
