//! What many machines share: one Redis, behind the same seams as the memory of one process.
//!
//! Streams and hashes hold the truth; pub/sub only says that there is news. Every change is one script, so
//! that it happens whole or not at all, and all keys share a prefix and one hash tag, so that a script may
//! touch any of them. That bounds a deployment to what one primary carries.
//!
//! The room knows Redis and nothing of what is kept there: each seam's implementation stands beside the one
//! in memory.

#[cfg(test)]
pub(crate) mod testing;
mod wakes;

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{FromRedisValue, IntoConnectionInfo, Pipeline, RedisError, Script, ScriptInvocation};

use crate::clock;

pub use wakes::{Subscription, Wake, Wakes};

/// An answer takes a millisecond; without one for so long, there is none.
const ANSWER: Duration = Duration::from_secs(2);
/// A machine that vanishes says nothing, and the system would believe in its connection for a quarter of an hour.
const GONE: Duration = Duration::from_secs(10);

/// Redis can't be reached, or doesn't do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis can't be reached just now, or refuses")]
pub struct Unreachable;

/// A connection to what is shared.
pub struct Engine {
    connection: ConnectionManager,
    keys: Keys,
    wakes: Wakes,
}

impl Engine {
    /// Connects; fails when Redis isn't there now. Later it may go and come back.
    pub async fn connect(url: &str, prefix: &str) -> Result<Arc<Self>, RedisError> {
        let keepalive = TcpKeepalive::new().with_time(GONE / 2).with_interval(GONE / 4).with_retries(2);
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(GONE);
        let client = redis::Client::open(url.into_connection_info()?.set_tcp_settings(tcp))?;
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(ANSWER))
            .set_connection_timeout(Some(ANSWER))
            .set_number_of_retries(2)
            .set_max_delay(Duration::from_millis(500));
        let mut connection = client.get_connection_manager_with_config(config).await?;
        // One clock for all processes: theirs may be half a minute apart.
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await?;
        clock::set(Duration::from_secs(seconds) + Duration::from_micros(micros));
        let wakes = Wakes::listen(client);
        Ok(Arc::new(Self { connection, keys: Keys::new(prefix), wakes }))
    }

    /// Names of what is kept.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What tells of news.
    pub fn wakes(&self) -> &Wakes {
        &self.wakes
    }

    /// A script's call, to add arguments to.
    pub fn call<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.key(self.keys.tag());
        call
    }

    /// Runs a script.
    pub async fn run<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, Unreachable> {
        let answer = call.invoke_async(&mut self.connection.clone()).await;
        answer.map_err(|error| failed(&error))
    }

    /// Asks several things at once.
    pub async fn ask<T: FromRedisValue>(&self, questions: &Pipeline) -> Result<T, Unreachable> {
        let answer = questions.query_async(&mut self.connection.clone()).await;
        answer.map_err(|error| failed(&error))
    }
}

fn failed(error: &RedisError) -> Unreachable {
    /// One line in so long, however many ask.
    const QUIET: Duration = Duration::from_secs(5);
    static TOLD: Mutex<Option<(Instant, u64)>> = Mutex::new(None);
    metrics::counter!("warmcut_redis_errors_total").increment(1);
    let mut told = TOLD.lock();
    match &mut *told {
        Some((last, more)) if last.elapsed() < QUIET => *more += 1,
        _ => {
            let since = told.replace((Instant::now(), 0)).map_or(0, |(_, more)| more);
            tracing::warn!(%error, since, "Redis did not do what it was asked");
        }
    }
    Unreachable
}

/// A script out of parts, each of which may use what those before it define, and all of them what every script
/// shares.
pub fn script(parts: &[&str]) -> Script {
    Script::new(&[&[include_str!("shared.lua")], parts].concat().join("\n"))
}

/// Names of keys and channels of one deployment.
#[derive(Clone, Debug)]
pub struct Keys {
    tag: String,
}

impl Keys {
    fn new(prefix: &str) -> Self {
        // The part in braces alone decides on which node of a cluster a key lives.
        Self { tag: format!("{{{prefix}}}") }
    }

    /// What all of them begin with.
    fn tag(&self) -> &str {
        &self.tag
    }

    /// One of a kind.
    pub fn the(&self, name: &str) -> String {
        format!("{}:{name}", self.tag)
    }

    /// What belongs to one of many.
    pub fn of(&self, kind: &str, id: impl Display) -> String {
        format!("{}:{kind}:{id}", self.tag)
    }
}
