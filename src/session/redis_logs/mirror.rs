//! Copies of logs that are kept in Redis, and when they are out of date.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::kept::{self, Kept, LogKeys, Whole};
use crate::engine::{Engine, Subscription, Unreachable, Wake};
use crate::session::memory_log::{RUN_BOUNDS, SESSION_BOUNDS};
use crate::session::ring::Ring;
use crate::session::view::View;
use crate::session::{EventKey, LogError};

/// Said when a session's log was dropped.
pub(super) const GONE: &str = "gone";

/// What was heard of a log. Nothing here is cleared by who asks: others would take the copy for fresh before the
/// answer is there, or for ever when who asked has gone.
struct News {
    heard: Mutex<Heard>,
    /// How much of what was heard the copy has.
    seen: AtomicU64,
    /// Wakes who follows; none once the log is gone.
    changed: Mutex<Option<watch::Sender<u64>>>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy)]
struct Heard {
    /// How often something was.
    times: u64,
    /// Which of them said last that something may be missing.
    missed: u64,
    /// Of the run log: the position that was announced last.
    announced: u64,
}

impl News {
    /// Of a copy that has everything to ask for.
    fn new() -> Arc<Self> {
        Arc::new(Self {
            heard: Mutex::new(Heard { times: 1, missed: 1, announced: 0 }),
            seen: AtomicU64::new(0),
            changed: Mutex::new(Some(watch::Sender::new(0))),
            asking: tokio::sync::Mutex::default(),
        })
    }

    fn hear(&self, wake: Wake<'_>) {
        {
            let mut heard = self.heard.lock();
            heard.times += 1;
            let position = match wake {
                Wake::Missed => Some(0),
                Wake::Said(said) => said.parse().ok(),
            };
            // Positions begin anew where Redis has lost its data.
            if wake == Wake::Missed || position.is_some_and(|position| position < heard.announced) {
                heard.missed = heard.times;
            }
            heard.announced = position.unwrap_or(heard.announced);
        }
        if wake == Wake::Said(GONE) {
            drop(self.changed.lock().take());
        }
        if let Some(changed) = self.changed.lock().as_ref() {
            changed.send_modify(|times| *times += 1);
        }
    }

    fn heard(&self) -> Heard {
        *self.heard.lock()
    }

    fn is_gone(&self) -> bool {
        self.changed.lock().is_none()
    }

    fn is_fresh(&self) -> bool {
        self.seen.load(Ordering::Acquire) == self.heard().times
    }

    /// Whether the copy may have gaps, or there is none yet.
    fn has_missed(&self, heard: Heard) -> bool {
        self.seen.load(Ordering::Acquire) < heard.missed
    }

    fn changes(&self) -> watch::Receiver<u64> {
        let gone = || watch::Sender::new(0).subscribe();
        self.changed.lock().as_ref().map_or_else(gone, watch::Sender::subscribe)
    }

    /// Who gets it asks for what is new, and others wait meanwhile; none where nothing is, or is no more.
    async fn outdated(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if self.is_fresh() {
            return None;
        }
        let asking = self.asking.lock().await;
        (!self.is_fresh()).then_some(asking)
    }

    /// The copy has what was heard by then.
    fn answered(&self, heard: Heard) {
        self.seen.fetch_max(heard.times, Ordering::AcqRel);
    }
}

struct RunState {
    ring: Ring,
    last: u64,
    start: u64,
    has_any: bool,
}

/// The copy of the run log.
pub(super) struct RunMirror {
    engine: Arc<Engine>,
    keys: LogKeys,
    news: Arc<News>,
    state: RwLock<RunState>,
    _subscription: Subscription,
}

impl RunMirror {
    pub(super) async fn follow(engine: Arc<Engine>, keys: LogKeys) -> Arc<Self> {
        let news = News::new();
        let heard = Arc::clone(&news);
        let subscription = engine.wakes().subscribe(keys.channel.clone(), move |wake| heard.hear(wake)).await;
        let state = RunState { ring: Ring::new(RUN_BOUNDS), last: 0, start: 1, has_any: false };
        Arc::new(Self { engine, keys, news, state: RwLock::new(state), _subscription: subscription })
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.news.changes()
    }

    /// Asks for what was announced, and gives the position up to which all of it is here.
    pub(super) async fn refresh(&self) -> Result<u64, LogError> {
        if let Some(_asking) = self.news.outdated().await {
            self.ask().await?;
        }
        Ok(self.state.read().last)
    }

    async fn ask(&self) -> Result<(), LogError> {
        let heard = self.news.heard();
        let all = self.news.has_missed(heard);
        match if all { self.load().await } else { self.more(heard.announced).await } {
            Ok(()) => self.news.answered(heard),
            // What was known before still holds.
            Err(Unreachable) if self.state.read().has_any => {}
            Err(Unreachable) => return Err(LogError::Unavailable),
        }
        Ok(())
    }

    async fn load(&self) -> Result<(), Unreachable> {
        let whole = kept::whole(&self.keys, &["position", "start", "dropped"]);
        let (known, entries, present): Whole = self.engine.ask(&whole).await?;
        let ring = kept::ring(RUN_BOUNDS, known[2].as_deref(), entries, &present);
        let last = number(&known[0]).unwrap_or(0);
        let start = number(&known[1]).unwrap_or(1);
        *self.state.write() = RunState { ring, last, start, has_any: true };
        Ok(())
    }

    async fn more(&self, upto: u64) -> Result<(), Unreachable> {
        let after = EventKey::of_run(self.state.read().last);
        let since = kept::since(&self.keys, &["start"], after, &kept::id(EventKey::of_run(upto)));
        let (known, entries): (Vec<Option<String>>, Vec<Kept>) = self.engine.ask(&since).await?;
        let entries = kept::entries(entries);
        if entries.first().is_some_and(|first| first.key.run != after.run + 1) {
            return self.load().await; // some are gone already
        }
        let start = number(&known[0]).unwrap_or(1);
        let mut state = self.state.write();
        // What came before a run leaves the present; what belongs to it stays.
        let begun = state.start < start;
        let (before, within): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| begun && entry.key.run < start);
        before.into_iter().for_each(|entry| state.ring.push(entry));
        if begun {
            state.ring.forget_present();
            state.start = start;
        }
        within.into_iter().for_each(|entry| state.ring.push(entry));
        state.last = state.last.max(upto);
        Ok(())
    }
}

fn number(text: &Option<String>) -> Option<u64> {
    text.as_deref()?.parse().ok()
}

struct SessionState {
    ring: Ring,
    run_from: u64,
    last: EventKey,
    has_any: bool,
}

/// The copy of one session's log.
pub(super) struct SessionMirror {
    engine: Arc<Engine>,
    keys: LogKeys,
    news: Arc<News>,
    state: RwLock<SessionState>,
    subscription: Mutex<Option<Subscription>>,
}

impl SessionMirror {
    /// An empty copy, which the first refresh fills.
    pub(super) fn new(engine: Arc<Engine>, keys: LogKeys) -> Arc<Self> {
        let ring = Ring::new(SESSION_BOUNDS);
        let state = SessionState { ring, run_from: 1, last: EventKey::START, has_any: false };
        Arc::new(Self {
            engine,
            keys,
            news: News::new(),
            state: RwLock::new(state),
            subscription: Mutex::new(None),
        })
    }

    /// From now on it knows when it is out of date.
    pub(super) async fn listen(&self) {
        let heard = Arc::clone(&self.news);
        let wakes = self.engine.wakes();
        let subscription = wakes.subscribe(self.keys.channel.clone(), move |wake| heard.hear(wake)).await;
        *self.subscription.lock() = Some(subscription);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.news.changes()
    }

    pub(super) fn view<T>(&self, run: &RunMirror, upto: u64, see: impl FnOnce(View<'_>) -> T) -> T {
        let run = run.state.read();
        let own = self.state.read();
        see(View {
            run: &run.ring,
            run_last: upto,
            session: &own.ring,
            run_from: own.run_from,
            last: own.last,
        })
    }

    /// Asks for what was appended.
    pub(super) async fn refresh(&self) -> Result<(), LogError> {
        if let Some(_asking) = self.news.outdated().await {
            self.ask().await?;
        }
        if self.news.is_gone() { Err(LogError::NoSession) } else { Ok(()) }
    }

    async fn ask(&self) -> Result<(), LogError> {
        let heard = self.news.heard();
        let all = self.news.has_missed(heard);
        match if all { self.load().await } else { self.more().await } {
            Ok(true) => {
                self.news.answered(heard);
                Ok(())
            }
            Ok(false) => {
                drop(self.news.changed.lock().take());
                Err(LogError::NoSession)
            }
            // What was known before still holds.
            Err(Unreachable) if self.state.read().has_any => Ok(()),
            Err(Unreachable) => Err(LogError::Unavailable),
        }
    }

    /// False when there is no such log.
    async fn load(&self) -> Result<bool, Unreachable> {
        let whole = kept::whole(&self.keys, &["run_from", "last", "dropped"]);
        let (known, entries, present): Whole = self.engine.ask(&whole).await?;
        let Some(run_from) = number(&known[0]) else { return Ok(false) };
        let ring = kept::ring(SESSION_BOUNDS, known[2].as_deref(), entries, &present);
        let last = known[1].as_deref().and_then(kept::key).unwrap_or(EventKey::START);
        *self.state.write() = SessionState { ring, run_from, last, has_any: true };
        Ok(true)
    }

    async fn more(&self) -> Result<bool, Unreachable> {
        let after = self.state.read().last;
        let since = kept::since(&self.keys, &["run_from"], after, "+");
        let (known, entries): (Vec<Option<String>>, Vec<Kept>) = self.engine.ask(&since).await?;
        if known[0].is_none() {
            return Ok(false);
        }
        let entries = kept::entries(entries);
        if entries.first().is_some_and(|first| first.key.entry != after.entry + 1) {
            return self.load().await; // some are gone already
        }
        let mut state = self.state.write();
        for entry in entries {
            state.last = entry.key;
            state.ring.push(entry);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_while_somebody_asks_is_asked_for_next() {
        let news = News::new();
        let asked = news.heard();
        assert!(news.has_missed(asked), "there is no copy yet");
        news.hear(Wake::Said("6"));
        news.answered(asked);
        assert!(!news.is_fresh());
        let asked = news.heard();
        assert_eq!((asked.announced, news.has_missed(asked)), (6, false));
        news.answered(asked);
        assert!(news.is_fresh());
    }

    #[test]
    fn who_asks_for_what_was_missed_and_goes_leaves_it_to_the_next() {
        let news = News::new();
        news.answered(news.heard());
        news.hear(Wake::Missed);
        let gone = news.heard();
        assert!(news.has_missed(gone));
        news.hear(Wake::Said("7"));
        assert!(news.has_missed(news.heard()));
        news.answered(news.heard());
        assert!(!news.has_missed(news.heard()));
    }

    #[test]
    fn positions_that_begin_anew_are_followed() {
        let news = News::new();
        news.hear(Wake::Said("100"));
        news.answered(news.heard());
        for said in ["1", "100-7", "begun"] {
            news.hear(Wake::Said(said));
            let heard = news.heard();
            assert_eq!((heard.announced, news.has_missed(heard)), (1, true), "{said}");
        }
        news.answered(news.heard());
        news.hear(Wake::Said("2"));
        assert!(!news.has_missed(news.heard()));
    }
}
