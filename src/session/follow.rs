//! What a channel does with the logs: replay, then live, from one cursor.
//!
//! The follower holds no queue of its own beyond what it has just read. A channel that can't keep up
//! therefore costs nothing but its cursor, until it is so far behind that it is better closed: the
//! client resumes with its last id.

use std::collections::VecDeque;
use std::sync::Arc;

use super::log::Follow;
use super::{Entry, EventKey, LogError, Logs, Read};
use crate::protocol::SessionId;

/// A live channel that is further behind than this is closed. Well under what a session's log keeps,
/// so that the replay after it is whole.
const CHANNEL_BYTES: usize = 128 << 10;

/// What comes next on a channel.
#[derive(Debug)]
pub enum Followed {
    /// An event.
    Entry(Arc<Entry>),
    /// The cursor was unknown or too old; what describes the present follows.
    Reset,
    /// The channel is too far behind; close it.
    TooSlow,
}

/// A cursor into both logs of one session.
pub struct Follower {
    logs: Arc<dyn Logs>,
    session: SessionId,
    follow: Follow,
    cursor: EventKey,
    pending: VecDeque<Arc<Entry>>,
    /// Set once everything there was has been read: from then on, being behind is the channel's fault.
    caught_up: bool,
    /// False for a reader within the server, which is never slow, only busy.
    bounded: bool,
}

impl Follower {
    /// Starts after a key; [`EventKey::START`] replays the whole retained log.
    pub async fn start(logs: Arc<dyn Logs>, session: SessionId, after: Start) -> Result<Self, LogError> {
        let follow = logs.follow(&session).await?;
        let cursor = match after {
            Start::After(key) => key,
            // No log has a place this high, so the first read is a reset.
            Start::Unknown => EventKey { run: u64::MAX, entry: u64::MAX },
        };
        Ok(Self { logs, session, follow, cursor, pending: VecDeque::new(), caught_up: false, bounded: true })
    }

    /// The same without a bound on how far it may be behind.
    #[must_use]
    pub fn unbounded(self) -> Self {
        Self { bounded: false, ..self }
    }

    /// The next event; waits for it.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken from the log until it is returned.
    pub async fn next(&mut self) -> Result<Followed, LogError> {
        loop {
            if let Some(entry) = self.pending.pop_front() {
                return Ok(Followed::Entry(entry));
            }
            self.follow.mark_seen();
            match self.logs.read(&self.session, self.cursor).await? {
                Read::Events(entries) if entries.is_empty() => {
                    self.caught_up = true;
                    self.pending = VecDeque::new();
                    self.follow.changed().await?;
                }
                Read::Events(entries) => {
                    if self.bounded
                        && self.caught_up
                        && entries.iter().map(|entry| entry.weight()).sum::<usize>() > CHANNEL_BYTES
                    {
                        return Ok(Followed::TooSlow);
                    }
                    self.advance(entries.last().map(|entry| entry.key), entries);
                }
                // It had everything, and what came next is dropped already.
                Read::Gone(..) if self.bounded && self.caught_up => return Ok(Followed::TooSlow),
                Read::Gone(present, end) => {
                    self.advance(Some(end), present);
                    return Ok(Followed::Reset);
                }
            }
        }
    }

    fn advance(&mut self, to: Option<EventKey>, entries: Vec<Arc<Entry>>) {
        if let Some(to) = to {
            self.cursor = to;
        }
        self.pending = entries.into();
    }
}

/// Where a channel begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this key.
    After(EventKey),
    /// After an id that isn't one of this session.
    Unknown,
}

impl Start {
    /// From the id that a client sent back, if it sent one.
    pub fn from_last_id(id: Option<&str>, session: &SessionId) -> Self {
        match id {
            None | Some("") => Self::After(EventKey::START),
            Some(id) => EventKey::from_id(id, session).map_or(Self::Unknown, Self::After),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Code, Event, Problem, UploadId};
    use crate::session::MemoryLogs;

    async fn follower(logs: &Arc<MemoryLogs>, session: &SessionId, start: Start) -> Follower {
        Follower::start(Arc::<MemoryLogs>::clone(logs) as Arc<dyn Logs>, session.clone(), start)
            .await
            .expect("there")
    }

    fn event(text: &str) -> Event {
        Event::Problem(Problem::new(Code::BadRequest, text))
    }

    async fn text(follower: &mut Follower) -> String {
        match follower.next().await.expect("the session is there") {
            Followed::Entry(entry) => match &entry.event {
                Event::Problem(problem) => problem.message.clone(),
                other => panic!("{other:?}"),
            },
            other => format!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn replay_turns_into_live_without_gap_or_repeat() {
        let (logs, session) = (Arc::new(MemoryLogs::default()), SessionId::random());
        logs.create(&session).await.expect("a log");
        logs.append_run(0, event("a")).await.expect("appended");
        let mut follower = follower(&logs, &session, Start::After(EventKey::START)).await;
        assert_eq!(text(&mut follower).await, "a");
        let live = tokio::spawn(async move { (text(&mut follower).await, text(&mut follower).await) });
        tokio::task::yield_now().await;
        logs.append(&session, 0, event("b")).await.expect("there");
        logs.append_run(0, event("c")).await.expect("appended");
        assert_eq!(live.await.expect("no panic"), ("b".into(), "c".into()));
    }

    #[tokio::test]
    async fn an_unknown_id_gets_reset_and_the_present() {
        let (logs, session) = (Arc::new(MemoryLogs::default()), SessionId::random());
        logs.create(&session).await.expect("a log");
        for (n, upload) in ["x", "y", "x"].iter().enumerate() {
            let upload = UploadId::try_from((*upload).to_owned()).expect("an id");
            let problem = Problem::new(Code::BadRequest, n.to_string()).about_upload(&upload);
            logs.append(&session, 0, Event::Problem(problem)).await.expect("there");
        }
        let start = Start::from_last_id(Some("made-up"), &session);
        let mut follower = follower(&logs, &session, start).await;
        assert_eq!(
            [text(&mut follower).await, text(&mut follower).await, text(&mut follower).await],
            ["Reset", "1", "2"]
        );
        logs.append(&session, 0, event("live")).await.expect("there");
        assert_eq!(text(&mut follower).await, "live");
    }

    #[tokio::test]
    async fn a_channel_that_falls_behind_is_told_to_close() {
        let (logs, session) = (Arc::new(MemoryLogs::default()), SessionId::random());
        logs.create(&session).await.expect("a log");
        let mut slow = follower(&logs, &session, Start::After(EventKey::START)).await;
        assert!(tokio::time::timeout(std::time::Duration::ZERO, slow.next()).await.is_err(), "caught up");
        let one = Entry::new(EventKey::START, 0, event("")).weight();
        for _ in 0..=CHANNEL_BYTES / one {
            logs.append(&session, 0, event("")).await.expect("there");
        }
        assert_eq!(text(&mut slow).await, "TooSlow");
        let mut resumed = follower(&logs, &session, Start::After(EventKey::START)).await;
        assert_eq!(text(&mut resumed).await, "", "the replay is whole again");
    }

    #[tokio::test]
    async fn a_channel_that_falls_behind_the_whole_log_is_told_to_close_too() {
        let (logs, session) = (Arc::new(MemoryLogs::default()), SessionId::random());
        logs.create(&session).await.expect("a log");
        logs.append(&session, 0, event("first")).await.expect("there");
        let mut slow = follower(&logs, &session, Start::After(EventKey::START)).await;
        assert_eq!(text(&mut slow).await, "first");
        assert!(tokio::time::timeout(std::time::Duration::ZERO, slow.next()).await.is_err(), "caught up");
        for _ in 0..2000 {
            logs.append(&session, 0, event("")).await.expect("there");
        }
        assert_eq!(text(&mut slow).await, "TooSlow");
    }

    #[tokio::test]
    async fn the_end_of_a_session_ends_its_channels() {
        let (logs, session) = (Arc::new(MemoryLogs::default()), SessionId::random());
        logs.create(&session).await.expect("a log");
        let mut follower = follower(&logs, &session, Start::After(EventKey::START)).await;
        logs.remove(&session).await.expect("removed");
        assert_eq!(follower.next().await.expect_err("gone"), LogError::NoSession);
    }
}
