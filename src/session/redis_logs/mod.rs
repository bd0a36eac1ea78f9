//! The logs of a deployment, in Redis.
//!
//! A process keeps a copy of the run log, and of the log of each session that somebody follows in it, and asks
//! for what is new when it hears that there is something. So what a stage costs doesn't depend on how many
//! channels hear of it.
//!
//! Two logs are merged into one order, and they arrive apart. An entry must not be seen before an event of the
//! run log that precedes it, nor be missed because one that follows it was seen first. Wakes come in the order
//! in which they were said: events of the run log are shown up to the last one that was announced, and whatever
//! was appended to a session before it has been announced by then as well.

mod kept;
mod mirror;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::{Script, ScriptInvocation, Value};

use self::kept::{LogKeys, is_nothing};
use self::mirror::{RunMirror, SessionMirror};
use super::log::Follow;
use super::memory_log::{RUN_BOUNDS, SESSION_BOUNDS};
use super::ring::{Bounds, Subject};
use super::{Entry, EventKey, LogError, Logs, Read};
use crate::clock;
use crate::engine::{Engine, Unreachable, script};
use crate::protocol::{Event, SessionId};

impl From<Unreachable> for LogError {
    fn from(_: Unreachable) -> Self {
        Self::Unavailable
    }
}

struct Scripts {
    append: Script,
    append_run: Script,
    begin_run: Script,
    create: Script,
}

/// All logs of a deployment.
pub struct RedisLogs {
    engine: Arc<Engine>,
    scripts: Scripts,
    run: Arc<RunMirror>,
    sessions: Mutex<HashMap<SessionId, Weak<SessionMirror>>>,
    following: tokio::sync::Mutex<()>,
    ttl: Duration,
}

impl RedisLogs {
    /// The logs that an engine's deployment shares. A session's log lives so long after it was last used.
    pub async fn new(engine: Arc<Engine>, ttl: Duration) -> Arc<Self> {
        let with_log = |source| script(&[LOG, source]);
        let scripts = Scripts {
            append: with_log(include_str!("append.lua")),
            append_run: with_log(include_str!("append_run.lua")),
            begin_run: with_log(include_str!("begin_run.lua")),
            create: with_log(include_str!("create.lua")),
        };
        let keys = LogKeys::of_run(engine.keys());
        let run = RunMirror::follow(Arc::clone(&engine), keys).await;
        let logs = Arc::new(Self {
            engine,
            scripts,
            run,
            sessions: Mutex::default(),
            following: tokio::sync::Mutex::default(),
            ttl,
        });
        tokio::spawn(renew(Arc::downgrade(&logs), ttl / 3));
        logs
    }

    fn keys(&self, session: &SessionId) -> LogKeys {
        LogKeys::of(self.engine.keys(), session)
    }

    /// The copy that somebody in this process follows, if any does.
    fn followed(&self, session: &SessionId) -> Option<Arc<SessionMirror>> {
        self.sessions.lock().get(session).and_then(Weak::upgrade)
    }

    /// A copy to read once where nobody follows.
    fn copy(&self, session: &SessionId) -> Arc<SessionMirror> {
        let once = || SessionMirror::new(Arc::clone(&self.engine), self.keys(session));
        self.followed(session).unwrap_or_else(once)
    }
}

/// Keeps the logs that are followed from expiring.
async fn renew(logs: Weak<RedisLogs>, every: Duration) {
    let mut every = tokio::time::interval(every.max(Duration::from_millis(100)));
    loop {
        every.tick().await;
        let Some(logs) = logs.upgrade() else { return };
        let followed: Vec<SessionId> = {
            let mut sessions = logs.sessions.lock();
            sessions.retain(|_, mirror| mirror.strong_count() > 0);
            sessions.keys().cloned().collect()
        };
        for some in followed.chunks(256) {
            let mut pipe = redis::pipe();
            for keys in some.iter().map(|session| logs.keys(session)) {
                for key in [keys.meta, keys.log, keys.present] {
                    pipe.cmd("PEXPIRE").arg(key).arg(clock::millis(logs.ttl)).ignore();
                }
            }
            // The next time is soon enough.
            let _ = logs.engine.ask::<()>(&pipe).await;
        }
    }
}

/// For scripts that write to logs.
pub(crate) const LOG: &str = include_str!("log.lua");

/// The bounds of a session's log, for a script that appends to one.
pub(crate) fn session_bounds() -> String {
    bounds(SESSION_BOUNDS)
}

/// The bounds of the run log, for a script that appends to it.
pub(crate) fn run_bounds() -> String {
    bounds(RUN_BOUNDS)
}

fn bounds(Bounds { entries, bytes, age_ms, subjects }: Bounds) -> String {
    // An entry in memory weighs twice its JSON and a little.
    format!("{entries} {} {age_ms} {subjects}", bytes / 2)
}

/// An event as a script appends it: when, what, what it is about.
pub(crate) fn tell(call: &mut ScriptInvocation<'_>, at_ms: u64, event: &Event) {
    let subject = Subject::of(event).map(|subject| subject.name()).unwrap_or_default();
    call.arg(at_ms).arg(serde_json::to_string(event).unwrap_or_default()).arg(subject);
}

#[async_trait]
impl Logs for RedisLogs {
    async fn begin_run(&self) -> Result<(), LogError> {
        Ok(self.engine.run(&self.engine.call(&self.scripts.begin_run)).await?)
    }

    async fn append_run(&self, at_ms: u64, event: Event) -> Result<EventKey, LogError> {
        let mut call = self.engine.call(&self.scripts.append_run);
        tell(call.arg(run_bounds()), at_ms, &event);
        Ok(EventKey::of_run(self.engine.run(&call).await?))
    }

    async fn create(&self, session: &SessionId) -> Result<(), LogError> {
        let mut call = self.engine.call(&self.scripts.create);
        call.arg(session.as_str()).arg(clock::millis(self.ttl));
        Ok(self.engine.run(&call).await?)
    }

    async fn remove(&self, session: &SessionId) -> Result<(), LogError> {
        let keys = self.keys(session);
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("DEL").arg(keys.meta).arg(keys.log).arg(keys.present).ignore();
        pipe.cmd("PUBLISH").arg(keys.channel).arg(mirror::GONE).ignore();
        Ok(self.engine.ask(&pipe).await?)
    }

    async fn append(&self, session: &SessionId, at_ms: u64, event: Event) -> Result<EventKey, LogError> {
        let mut call = self.engine.call(&self.scripts.append);
        tell(call.arg(session.as_str()).arg(session_bounds()), at_ms, &event);
        match self.engine.run::<Value>(&call).await? {
            nothing if is_nothing(&nothing) => Err(LogError::NoSession),
            id => {
                let id: String = redis::from_redis_value(id).map_err(|_| LogError::Unavailable)?;
                kept::key(&id).ok_or(LogError::Unavailable)
            }
        }
    }

    async fn read(&self, session: &SessionId, after: EventKey) -> Result<Read, LogError> {
        // The run log first: see above.
        let upto = self.run.refresh().await?;
        let copy = self.copy(session);
        copy.refresh().await?;
        Ok(copy.view(&self.run, upto, |view| view.read(after)))
    }

    async fn present(&self, session: &SessionId) -> Result<(Vec<Arc<Entry>>, EventKey), LogError> {
        let upto = self.run.refresh().await?;
        let copy = self.copy(session);
        copy.refresh().await?;
        Ok(copy.view(&self.run, upto, |view| (view.present(), view.end())))
    }

    async fn follow(&self, session: &SessionId) -> Result<Follow, LogError> {
        let mirror = {
            // One at a time, so that there is one copy of each.
            let _one = self.following.lock().await;
            match self.followed(session) {
                Some(mirror) => mirror,
                None => {
                    let mirror = SessionMirror::new(Arc::clone(&self.engine), self.keys(session));
                    mirror.listen().await;
                    self.sessions.lock().insert(session.clone(), Arc::downgrade(&mirror));
                    mirror
                }
            }
        };
        mirror.refresh().await?;
        let (run, session) = (self.run.changes(), mirror.changes());
        Ok(Follow { run, session, hold: Some(mirror) })
    }
}
