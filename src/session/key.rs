//! The order of a session's events, and the opaque id that carries it.
//!
//! An event of the run log has the key `(position, 0)`. An entry of the session's log has the key
//! `(position of the run log's last event when it was appended, number of the entry)`. Keys order
//! both logs into one sequence that is the same for every channel and every replay, and one key is
//! a cursor into both.

use std::fmt;

use super::token::session_tag;
use crate::protocol::SessionId;

/// A place in the merged order of the run log and a session's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey {
    /// Position in the run log; the first event has 1.
    pub run: u64,
    /// Number of the session's entry, from 1 on; 0 for an event of the run log.
    pub entry: u64,
}

impl EventKey {
    /// Before everything.
    pub const START: Self = Self { run: 0, entry: 0 };

    /// The key of an event of the run log.
    pub fn of_run(position: u64) -> Self {
        Self { run: position, entry: 0 }
    }

    /// The id as a client sees it. The session's tag keeps an id from another session, or from
    /// before a restart, from being mistaken for one of this session.
    pub fn to_id(self, session: &SessionId) -> String {
        format!("{}.{}.{}", self.run, self.entry, session_tag(session))
    }

    /// Reads an id that a client sent back; none when it isn't one of this session.
    pub fn from_id(id: &str, session: &SessionId) -> Option<Self> {
        let (place, tag) = id.rsplit_once('.')?;
        let (run, entry) = place.split_once('.')?;
        let key = Self { run: run.parse().ok()?, entry: entry.parse().ok()? };
        // The exact text again: "+1.0" or "01.0" were never sent.
        (tag == session_tag(session) && key.to_id(session) == id).then_some(key)
    }
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.run, self.entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_comes_back_as_its_key(run: u64, entry: u64) {
            let (session, other) = (SessionId::random(), SessionId::random());
            let key = EventKey { run, entry };
            prop_assert_eq!(EventKey::from_id(&key.to_id(&session), &session), Some(key));
            prop_assert_eq!(EventKey::from_id(&key.to_id(&session), &other), None);
        }

        #[test]
        fn nothing_else_is_an_id(text in ".{0,40}") {
            prop_assert_eq!(EventKey::from_id(&text, &SessionId::random()), None);
        }
    }
}
