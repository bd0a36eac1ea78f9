//! What a session sees of both logs, merged into one order; the same wherever the logs are kept.

use std::sync::Arc;

use super::ring::Ring;
use super::{Entry, EventKey, Read};

/// Both logs at one moment.
pub(crate) struct View<'a> {
    pub(crate) run: &'a Ring,
    /// Position of the run log's last event.
    pub(crate) run_last: u64,
    pub(crate) session: &'a Ring,
    /// The first event of the run log that the session sees.
    pub(crate) run_from: u64,
    /// The key of the session's own last entry.
    pub(crate) last: EventKey,
}

impl View<'_> {
    /// Everything after a key; [`EventKey::START`] gives the whole retained log.
    pub(crate) fn read(&self, after: EventKey) -> Read {
        if after == EventKey::START {
            let whole = self.run.from(EventKey::of_run(self.run_from)).chain(self.session.from(after));
            return Read::Events(self.merged(whole));
        }
        let known = if after.entry == 0 {
            after.run >= self.run_from && self.run.knows(after)
        } else {
            self.session.knows(after)
        };
        match (known, self.run.after(EventKey::of_run(after.run)), self.session.after(after)) {
            (true, Some(runs), Some(entries)) => {
                Read::Events(self.merged(runs.filter(|entry| entry.key.run >= self.run_from).chain(entries)))
            }
            _ => Read::Gone(self.present(), self.end()),
        }
    }

    /// What describes the present, in order.
    pub(crate) fn present(&self) -> Vec<Arc<Entry>> {
        let runs = self.run.present().filter(|entry| entry.key.run >= self.run_from);
        self.merged(runs.chain(self.session.present()))
    }

    /// The key of the last event that the session can see.
    pub(crate) fn end(&self) -> EventKey {
        let last_run = (self.run_last >= self.run_from).then_some(EventKey::of_run(self.run_last));
        let own = if self.last.run <= self.run_last {
            self.last
        } else {
            let seen = self.session.from(EventKey::START).filter(|entry| entry.key.run <= self.run_last);
            seen.last().map_or(EventKey::START, |entry| entry.key)
        };
        own.max(last_run.unwrap_or(EventKey::START))
    }

    fn merged<'a>(&self, parts: impl IntoIterator<Item = &'a Arc<Entry>>) -> Vec<Arc<Entry>> {
        // An entry that comes after an event of the run log must not be seen before it.
        let seen = |entry: &&Arc<Entry>| entry.key.run <= self.run_last;
        let mut entries: Vec<_> = parts.into_iter().filter(seen).cloned().collect();
        entries.sort_by_key(|entry| entry.key);
        entries
    }
}
