//! The logs of one process, in memory.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::log::Follow;
use super::ring::{Bounds, Ring};
use super::view::View;
use super::{Entry, EventKey, LogError, Logs, Read};
use crate::protocol::{Event, SessionId};

/// A run of two minutes with three stages at four progress events a second is 1,440 events.
pub(crate) const RUN_BOUNDS: Bounds =
    Bounds { entries: 2048, bytes: 2 << 20, age_ms: 24 * 3_600_000, subjects: 16 };
/// One job makes about 15 events of some 600 bytes; a session of many photos still replays its last
/// twenty-five.
pub(crate) const SESSION_BOUNDS: Bounds =
    Bounds { entries: 512, bytes: 256 << 10, age_ms: 24 * 3_600_000, subjects: 1024 };

struct RunLog {
    ring: Ring,
    last: u64,
    /// The first event of the latest run; one past the end when it has none yet.
    run_start: u64,
}

struct SessionLog {
    ring: Ring,
    last: EventKey,
    entries: u64,
    /// The first event of the run log that this session sees.
    run_from: u64,
}

struct Slot {
    log: Mutex<SessionLog>,
    changed: watch::Sender<u64>,
}

/// All logs of this process.
///
/// Locks are taken in one order: sessions, run, one session's log. An append to a session holds the
/// run log for reading, so that the run log's end can't move between being read and being used.
pub struct MemoryLogs {
    sessions: RwLock<HashMap<SessionId, Arc<Slot>>>,
    run: RwLock<RunLog>,
    run_changed: watch::Sender<u64>,
}

impl Default for MemoryLogs {
    fn default() -> Self {
        Self {
            sessions: RwLock::default(),
            run: RwLock::new(RunLog { ring: Ring::new(RUN_BOUNDS), last: 0, run_start: 1 }),
            run_changed: watch::Sender::new(0),
        }
    }
}

impl MemoryLogs {
    fn slot(&self, session: &SessionId) -> Result<Arc<Slot>, LogError> {
        self.sessions.read().get(session).cloned().ok_or(LogError::NoSession)
    }
}

impl RunLog {
    fn view<'a>(&'a self, log: &'a SessionLog) -> View<'a> {
        View {
            run: &self.ring,
            run_last: self.last,
            session: &log.ring,
            run_from: log.run_from,
            last: log.last,
        }
    }
}

#[async_trait]
impl Logs for MemoryLogs {
    async fn begin_run(&self) -> Result<(), LogError> {
        let mut run = self.run.write();
        run.run_start = run.last + 1;
        run.ring.forget_present();
        Ok(())
    }

    async fn append_run(&self, at_ms: u64, event: Event) -> Result<EventKey, LogError> {
        let mut run = self.run.write();
        run.last += 1;
        let key = EventKey::of_run(run.last);
        run.ring.push(Entry::new(key, at_ms, event));
        drop(run);
        self.run_changed.send_replace(key.run);
        Ok(key)
    }

    async fn create(&self, session: &SessionId) -> Result<(), LogError> {
        let mut sessions = self.sessions.write();
        let run_from = self.run.read().run_start;
        let log = SessionLog { ring: Ring::new(SESSION_BOUNDS), last: EventKey::START, entries: 0, run_from };
        sessions
            .entry(session.clone())
            .or_insert_with(|| Arc::new(Slot { log: Mutex::new(log), changed: watch::Sender::new(0) }));
        Ok(())
    }

    async fn remove(&self, session: &SessionId) -> Result<(), LogError> {
        self.sessions.write().remove(session);
        Ok(())
    }

    async fn append(&self, session: &SessionId, at_ms: u64, event: Event) -> Result<EventKey, LogError> {
        let slot = self.slot(session)?;
        let key = {
            let run = self.run.read();
            let mut log = slot.log.lock();
            log.entries += 1;
            let key = EventKey { run: run.last, entry: log.entries };
            log.last = key;
            log.ring.push(Entry::new(key, at_ms, event));
            key
        };
        slot.changed.send_replace(key.entry);
        Ok(key)
    }

    async fn read(&self, session: &SessionId, after: EventKey) -> Result<Read, LogError> {
        let slot = self.slot(session)?;
        let run = self.run.read();
        let log = slot.log.lock();
        Ok(run.view(&log).read(after))
    }

    async fn present(&self, session: &SessionId) -> Result<(Vec<Arc<Entry>>, EventKey), LogError> {
        let slot = self.slot(session)?;
        let run = self.run.read();
        let log = slot.log.lock();
        let view = run.view(&log);
        Ok((view.present(), view.end()))
    }

    async fn follow(&self, session: &SessionId) -> Result<Follow, LogError> {
        let slot = self.slot(session)?;
        Ok(Follow { run: self.run_changed.subscribe(), session: slot.changed.subscribe(), hold: None })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(text: &str) -> Event {
        Event::Reset { reason: text.to_owned() }
    }

    async fn keys_after(logs: &MemoryLogs, session: &SessionId, key: EventKey) -> Option<Vec<EventKey>> {
        match logs.read(session, key).await.expect("the session has a log") {
            Read::Events(entries) => Some(entries.iter().map(|entry| entry.key).collect()),
            Read::Gone(..) => None,
        }
    }

    proptest! {
        /// Whatever the interleaving, the replay after each event is exactly the rest, in order.
        #[test]
        fn the_replay_after_any_event_is_the_rest(steps in proptest::collection::vec(any::<bool>(), 1..60)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let (logs, session) = (MemoryLogs::default(), SessionId::random());
                logs.create(&session).await.expect("a log");
                let mut keys = Vec::new();
                for run in steps {
                    keys.push(if run {
                        logs.append_run(0, event("run")).await.expect("appended")
                    } else {
                        logs.append(&session, 0, event("session")).await.expect("there")
                    });
                }
                prop_assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "keys are in order");
                prop_assert_eq!(keys_after(&logs, &session, EventKey::START).await, Some(keys.clone()));
                for (n, key) in keys.iter().enumerate() {
                    prop_assert_eq!(keys_after(&logs, &session, *key).await, Some(keys[n + 1..].to_vec()));
                }
                Ok(())
            })?;
        }
    }

    #[tokio::test]
    async fn a_key_that_was_never_given_is_gone() {
        let (logs, session) = (MemoryLogs::default(), SessionId::random());
        logs.append_run(0, event("an earlier run")).await.expect("appended");
        logs.begin_run().await.expect("begun");
        logs.create(&session).await.expect("a log");
        logs.append_run(0, event("this run")).await.expect("appended");
        logs.append(&session, 0, event("mine")).await.expect("there");
        for never in [(1, 0), (2, 7), (3, 0), (9, 9), (0, 1)] {
            let key = EventKey { run: never.0, entry: never.1 };
            assert_eq!(keys_after(&logs, &session, key).await, None, "{key}");
        }
        assert_eq!(keys_after(&logs, &session, EventKey::of_run(2)).await.map(|keys| keys.len()), Some(1));
    }

    #[tokio::test]
    async fn a_session_sees_the_latest_run_from_its_start() {
        let (logs, session) = (MemoryLogs::default(), SessionId::random());
        logs.append_run(0, event("an earlier run")).await.expect("appended");
        logs.begin_run().await.expect("begun");
        logs.append_run(0, event("this run")).await.expect("appended");
        logs.create(&session).await.expect("a log");
        assert_eq!(keys_after(&logs, &session, EventKey::START).await, Some(vec![EventKey::of_run(2)]));
    }
}
