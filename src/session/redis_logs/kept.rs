//! How entries and logs stand in Redis, and back.

use std::collections::HashMap;

use redis::{Pipeline, Value};

use crate::engine::Keys;
use crate::protocol::{Event, SessionId};
use crate::session::ring::{Bounds, Ring};
use crate::session::{Entry, EventKey};

/// Names of one log's parts, as log.lua has them: what is known of it, its entries, the last entry of each subject,
/// and the channel that says that there is news.
#[derive(Clone, Debug)]
pub(super) struct LogKeys {
    pub(super) meta: String,
    pub(super) log: String,
    pub(super) present: String,
    pub(super) channel: String,
}

impl LogKeys {
    /// Those of the run log.
    pub(super) fn of_run(keys: &Keys) -> Self {
        let the = |name| keys.the(name);
        Self { meta: the("run"), log: the("run:log"), present: the("run:present"), channel: the("run:news") }
    }

    /// Those of a session's log.
    pub(super) fn of(keys: &Keys, session: &SessionId) -> Self {
        let of = |kind| keys.of(kind, session);
        Self { meta: of("log"), log: of("log:entries"), present: of("log:present"), channel: of("log:news") }
    }
}

/// An entry's id, fields and values as `XRANGE` gives them.
pub(super) type Kept = (String, (String, u64, String, String));

/// As a stream's entry id. Both count the same way.
pub(super) fn id(key: EventKey) -> String {
    format!("{}-{}", key.run, key.entry)
}

pub(super) fn key(id: &str) -> Option<EventKey> {
    let (run, entry) = id.split_once('-')?;
    Some(EventKey { run: run.parse().ok()?, entry: entry.parse().ok()? })
}

/// None for what a later version wrote and this one doesn't know.
pub(super) fn entry(id: &str, at_ms: u64, json: &str) -> Option<Entry> {
    let event: Event = serde_json::from_str(json)
        .inspect_err(|error| tracing::warn!(%error, id, "an event of another version is skipped"))
        .ok()?;
    Some(Entry::new(key(id)?, at_ms, event))
}

pub(super) fn entries(kept: Vec<Kept>) -> Vec<Entry> {
    kept.iter().filter_map(|(id, (_, at_ms, _, json))| entry(id, *at_ms, json)).collect()
}

/// A whole log as [`whole`] asked for it: what is known of it, its entries, its present.
pub(super) type Whole = (Vec<Option<String>>, Vec<Kept>, HashMap<String, String>);

/// Asks for a whole log, and some of what is known of it, at one moment.
pub(super) fn whole(keys: &LogKeys, known: &[&str]) -> Pipeline {
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("HMGET").arg(&keys.meta).arg(known);
    pipe.cmd("XRANGE").arg(&keys.log).arg("-").arg("+");
    pipe.cmd("HGETALL").arg(&keys.present);
    pipe
}

/// What came after a key, up to another, and some of what is known of the log then.
pub(super) fn since(keys: &LogKeys, known: &[&str], after: EventKey, upto: &str) -> Pipeline {
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("HMGET").arg(&keys.meta).arg(known);
    pipe.cmd("XRANGE").arg(&keys.log).arg(format!("({}", id(after))).arg(upto);
    pipe
}

pub(super) fn ring(
    bounds: Bounds,
    dropped: Option<&str>,
    kept: Vec<Kept>,
    present: &HashMap<String, String>,
) -> Ring {
    let present = present.values().filter_map(|value| {
        let (id, rest) = value.split_once(' ')?;
        let (at_ms, json) = rest.split_once(' ')?;
        entry(id, at_ms.parse().ok()?, json)
    });
    let dropped = dropped.and_then(key).unwrap_or(EventKey::START);
    Ring::restored(bounds, dropped, present.collect(), entries(kept))
}

/// What a script answers that found no session.
pub(super) fn is_nothing(answer: &Value) -> bool {
    matches!(answer, Value::Nil | Value::Boolean(false))
}
