//! Copies of logs that are kept in Redis, and when they are out of date.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

/// What was heard of a log.
struct News {
    /// The copy may have gaps, or there is none yet.
    stale: AtomicBool,
    /// How often something was heard, and how much of that the copy has. Not flags that who asks would clear: others
    /// would take the copy for fresh before the answer is there, and wait for a wake that has been.
    heard: AtomicU64,
    seen: AtomicU64,
    /// Of the run log: the position that was announced last.
    announced: AtomicU64,
    /// Wakes who follows; none once the log is gone.
    changed: Mutex<Option<watch::Sender<u64>>>,
    asking: tokio::sync::Mutex<()>,
}

impl News {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            stale: AtomicBool::new(true),
            heard: AtomicU64::new(1),
            seen: AtomicU64::new(0),
            announced: AtomicU64::new(0),
            changed: Mutex::new(Some(watch::Sender::new(0))),
            asking: tokio::sync::Mutex::default(),
        })
    }

    fn hear(&self, wake: Wake<'_>) {
        match wake {
            Wake::Missed => self.stale.store(true, Ordering::Release),
            Wake::Said(GONE) => drop(self.changed.lock().take()),
            Wake::Said(said) => {
                if let Ok(position) = said.parse() {
                    self.announced.fetch_max(position, Ordering::AcqRel);
                }
            }
        }
        self.heard.fetch_add(1, Ordering::AcqRel);
        if let Some(changed) = self.changed.lock().as_ref() {
            changed.send_modify(|times| *times += 1);
        }
    }

    fn is_gone(&self) -> bool {
        self.changed.lock().is_none()
    }

    fn is_fresh(&self) -> bool {
        self.seen.load(Ordering::Acquire) == self.heard.load(Ordering::Acquire)
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

    /// What was heard so far is about to be asked for: whether all of it has to be, and what [`Self::answered`] takes.
    fn take(&self) -> (bool, u64) {
        let heard = self.heard.load(Ordering::Acquire);
        (self.stale.swap(false, Ordering::AcqRel), heard)
    }

    /// The copy has it.
    fn answered(&self, heard: u64) {
        self.seen.fetch_max(heard, Ordering::AcqRel);
    }

    /// It wasn't answered.
    fn give_back(&self) {
        self.stale.store(true, Ordering::Release);
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
        let (all, heard) = self.news.take();
        match if all { self.load().await } else { self.more().await } {
            Ok(()) => self.news.answered(heard),
            Err(Unreachable) => {
                self.news.give_back();
                // What was known before still holds.
                if !self.state.read().has_any {
                    return Err(LogError::Unavailable);
                }
            }
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
        // Positions begin anew where Redis has lost its data.
        self.news.announced.store(last, Ordering::Release);
        Ok(())
    }

    async fn more(&self) -> Result<(), Unreachable> {
        let upto = self.news.announced.load(Ordering::Acquire);
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
        let (all, heard) = self.news.take();
        match if all { self.load().await } else { self.more().await } {
            Ok(true) => {
                self.news.answered(heard);
                Ok(())
            }
            Ok(false) => {
                drop(self.news.changed.lock().take());
                Err(LogError::NoSession)
            }
            Err(Unreachable) => {
                self.news.give_back();
                // What was known before still holds.
                if self.state.read().has_any { Ok(()) } else { Err(LogError::Unavailable) }
            }
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
