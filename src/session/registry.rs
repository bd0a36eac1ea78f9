//! Who is here: opening, finding and forgetting sessions.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Logs;
use super::token::{Secret, digest};
use crate::clock;
use crate::protocol::SessionId;

/// Browsers open one channel a tab; a few tabs and a reconnect that overlaps are plenty.
const CHANNELS_PER_SESSION: usize = 16;

/// A visit.
#[derive(Debug)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// When it opened, Unix milliseconds.
    pub opened_at_ms: u64,
    /// The shop it belongs to; none without keys.
    pub shop: Option<Arc<str>>,
    /// Cancelled when it expires: jobs that only it wants stop.
    pub ended: CancellationToken,
    channels: AtomicUsize,
    last_use: Mutex<Instant>,
}

impl Session {
    /// A session that no registry knows, for a request that needs no channel.
    pub fn detached(shop: Option<Arc<str>>) -> Self {
        Self {
            id: SessionId::random(),
            opened_at_ms: clock::now_ms(),
            shop,
            ended: CancellationToken::new(),
            channels: AtomicUsize::new(0),
            last_use: Mutex::new(Instant::now()),
        }
    }

    /// Counts a channel until the guard is dropped.
    pub fn channel(self: &Arc<Self>) -> Result<ChannelGuard, SessionError> {
        let taken = self.channels.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
            (open < CHANNELS_PER_SESSION).then_some(open + 1)
        });
        match taken {
            Ok(_) => {
                metrics::gauge!("warmcut_channels").increment(1);
                Ok(ChannelGuard(Arc::clone(self)))
            }
            Err(_) => Err(SessionError::TooManyChannels { limit: CHANNELS_PER_SESSION }),
        }
    }

    fn touch(&self) {
        *self.last_use.lock() = Instant::now();
    }

    /// When it expires; none while a channel is open.
    fn deadline(&self, ttl: Duration) -> Option<Instant> {
        (self.channels.load(Ordering::Acquire) == 0).then(|| *self.last_use.lock() + ttl)
    }
}

/// An open channel of a session.
pub struct ChannelGuard(Arc<Session>);

impl Drop for ChannelGuard {
    fn drop(&mut self) {
        // The time without a channel begins now.
        self.0.touch();
        self.0.channels.fetch_sub(1, Ordering::AcqRel);
        metrics::gauge!("warmcut_channels").decrement(1);
    }
}

/// Who wants a session.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// The browser's own random number: the same one, key and origin is the same session.
    pub nonce: Option<String>,
    /// The publishable key, where keys are configured.
    pub key: Option<String>,
    /// The page's origin.
    pub origin: Option<String>,
    /// The shop that the key belongs to.
    pub shop: Option<Arc<str>>,
}

/// A session and what its browser needs to come back.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The session.
    pub session: Arc<Session>,
    /// Authorises its further requests.
    pub token: String,
    /// False when it is new.
    pub resumed: bool,
}

/// Why a session can't be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// All places are taken.
    #[error("there are {limit} sessions already, the most that this server holds; try again in a minute")]
    Full {
        /// How many are held at most.
        limit: usize,
    },
    /// Too short to be unguessable, or not plain.
    #[error(
        "open must be a random number of 128 bits or more, as 22 to 128 characters of A-Z a-z 0-9 _ -, but has {length}"
    )]
    WeakNonce {
        /// Characters given.
        length: usize,
    },
}

/// Why a session can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Not a token of this server.
    #[error(
        "the token is not one of this server's; open a session with GET /v1/events, GET /v1/socket or POST /v1/sessions"
    )]
    Unauthorized,
    /// It was one.
    #[error("the session expired; open a new one")]
    Expired,
    /// Too many at once.
    #[error("the session has {limit} channels open already, the most that one may have; close one")]
    TooManyChannels {
        /// How many at most.
        limit: usize,
    },
}

/// Opens, finds and forgets sessions.
#[async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// A new session, or the one that the nonce opened before. Its log is created by the caller, once the
    /// run that it is to see has begun.
    async fn open(&self, opening: Opening) -> Result<Opened, OpenError>;

    /// The session of a token. It counts as a use.
    async fn find(&self, token: &str) -> Result<Opened, SessionError>;

    /// How long a session lives without channel or request.
    fn ttl(&self) -> Duration;

    /// How many there are.
    fn count(&self) -> usize;
}

type NonceKey = [u8; 32];

#[derive(Default)]
struct Table {
    sessions: HashMap<SessionId, (Arc<Session>, Option<NonceKey>)>,
    nonces: HashMap<NonceKey, SessionId>,
}

/// The sessions of one process.
pub struct MemorySessions {
    table: Mutex<Table>,
    logs: Arc<dyn Logs>,
    secret: Secret,
    ttl: Duration,
    limit: usize,
}

impl MemorySessions {
    /// An empty registry.
    pub fn new(logs: Arc<dyn Logs>, secret: Secret, ttl: Duration, limit: usize) -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), logs, secret, ttl, limit })
    }

    /// Forgets idle sessions, for ever. A session is forgotten at most a fifteenth of its time to live late.
    pub async fn evict(self: Arc<Self>) {
        let mut every = tokio::time::interval((self.ttl / 15).max(Duration::from_millis(10)));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            for session in self.take_expired(Instant::now()) {
                session.ended.cancel();
                self.logs.remove(&session.id).await;
                tracing::debug!(session = %session.id, "session expired");
            }
        }
    }

    fn take_expired(&self, now: Instant) -> Vec<Arc<Session>> {
        let mut table = self.table.lock();
        let gone: Vec<SessionId> = table
            .sessions
            .values()
            .filter(|(session, _)| session.deadline(self.ttl).is_some_and(|deadline| deadline <= now))
            .map(|(session, _)| session.id.clone())
            .collect();
        let mut expired = Vec::with_capacity(gone.len());
        for id in gone {
            if let Some((session, nonce)) = table.sessions.remove(&id) {
                if let Some(nonce) = nonce {
                    table.nonces.remove(&nonce);
                }
                expired.push(session);
            }
        }
        metrics::gauge!("warmcut_sessions").set(table.sessions.len() as f64);
        expired
    }

    fn opened(&self, session: &Arc<Session>, resumed: bool) -> Opened {
        session.touch();
        Opened { session: Arc::clone(session), token: self.secret.token(&session.id), resumed }
    }
}

fn nonce_key(opening: &Opening) -> Result<Option<NonceKey>, OpenError> {
    let Some(nonce) = &opening.nonce else { return Ok(None) };
    let plain = nonce.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !plain || !(22..=128).contains(&nonce.len()) {
        return Err(OpenError::WeakNonce { length: nonce.chars().count() });
    }
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    Ok(Some(digest(&format!("{nonce}\n{}\n{}", part(&opening.key), part(&opening.origin)))))
}

#[async_trait]
impl Sessions for MemorySessions {
    async fn open(&self, opening: Opening) -> Result<Opened, OpenError> {
        let nonce = nonce_key(&opening)?;
        let (session, resumed) = {
            let mut table = self.table.lock();
            let known =
                nonce.and_then(|nonce| table.nonces.get(&nonce)).and_then(|id| table.sessions.get(id));
            if let Some((session, _)) = known {
                (Arc::clone(session), true)
            } else if table.sessions.len() >= self.limit {
                return Err(OpenError::Full { limit: self.limit });
            } else {
                let session = Arc::new(Session::detached(opening.shop));
                table.sessions.insert(session.id.clone(), (Arc::clone(&session), nonce));
                if let Some(nonce) = nonce {
                    table.nonces.insert(nonce, session.id.clone());
                }
                metrics::gauge!("warmcut_sessions").set(table.sessions.len() as f64);
                (session, false)
            }
        };
        Ok(self.opened(&session, resumed))
    }

    async fn find(&self, token: &str) -> Result<Opened, SessionError> {
        let id = self.secret.session_of(token).ok_or(SessionError::Unauthorized)?;
        let table = self.table.lock();
        let (session, _) = table.sessions.get(&id).ok_or(SessionError::Expired)?;
        Ok(self.opened(session, true))
    }

    fn ttl(&self) -> Duration {
        self.ttl
    }

    fn count(&self) -> usize {
        self.table.lock().sessions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{LogError, MemoryLogs};

    const TTL: Duration = Duration::from_secs(1800);
    const NONCE: &str = "0123456789abcdef0123456789abcdef";

    fn registry(limit: usize) -> (Arc<MemorySessions>, Arc<MemoryLogs>) {
        let logs = Arc::new(MemoryLogs::default());
        (MemorySessions::new(Arc::<MemoryLogs>::clone(&logs), Secret::random(), TTL, limit), logs)
    }

    fn with_nonce(origin: &str) -> Opening {
        Opening { nonce: Some(NONCE.into()), origin: Some(origin.into()), ..Opening::default() }
    }

    #[tokio::test]
    async fn the_same_nonce_and_origin_is_the_same_session() {
        let (sessions, _) = registry(9);
        let first = sessions.open(with_nonce("https://a")).await.expect("opens");
        let again = sessions.open(with_nonce("https://a")).await.expect("opens");
        let other = sessions.open(with_nonce("https://b")).await.expect("opens");
        assert_eq!((first.resumed, again.resumed, other.resumed), (false, true, false));
        assert_eq!((&first.session.id, &first.token), (&again.session.id, &again.token));
        assert_ne!(first.session.id, other.session.id);
    }

    #[tokio::test]
    async fn a_guessable_nonce_and_a_full_registry_are_refused() {
        let (sessions, _) = registry(1);
        let weak = Opening { nonce: Some("1234".into()), ..Opening::default() };
        assert_eq!(sessions.open(weak).await.expect_err("weak"), OpenError::WeakNonce { length: 4 });
        sessions.open(Opening::default()).await.expect("one fits");
        assert_eq!(sessions.open(Opening::default()).await.expect_err("full"), OpenError::Full { limit: 1 });
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_session_expires_and_frees_everything_and_a_channel_keeps_it() {
        let (sessions, logs) = registry(9);
        tokio::spawn(Arc::clone(&sessions).evict());
        let idle = sessions.open(with_nonce("https://a")).await.expect("opens");
        let open = sessions.open(Opening::default()).await.expect("opens");
        let channel = open.session.channel().expect("the first");
        tokio::time::sleep(TTL + TTL / 10).await;
        assert!(idle.session.ended.is_cancelled());
        assert_eq!(sessions.find(&idle.token).await.expect_err("gone"), SessionError::Expired);
        assert_eq!(
            logs.read(&idle.session.id, super::super::EventKey::START).await.expect_err("gone"),
            LogError::NoSession
        );
        assert!(sessions.table.lock().nonces.is_empty());
        assert!(sessions.find(&open.token).await.is_ok(), "its channel keeps it");
        drop(channel);
        tokio::time::sleep(TTL + TTL / 10).await;
        assert_eq!(sessions.count(), 0);
    }

    #[tokio::test]
    async fn channels_are_counted_and_given_back() {
        let (sessions, _) = registry(9);
        let session = sessions.open(Opening::default()).await.expect("opens").session;
        let guards: Vec<_> = (0..CHANNELS_PER_SESSION).map(|_| session.channel().expect("fits")).collect();
        assert!(session.channel().is_err());
        drop(guards);
        assert!(session.channel().is_ok());
    }
}
