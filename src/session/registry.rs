//! Who is here: opening, finding and forgetting sessions.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Logs;
use super::table::{NonceKey, Owner, SessionBounds, Table};
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
    uploaded: AtomicBool,
}

impl Session {
    /// A session that no registry knows, for a request that needs no channel.
    pub fn detached(shop: Option<Arc<str>>) -> Self {
        Self::known(SessionId::random(), clock::now_ms(), shop)
    }

    /// One that was opened before, perhaps elsewhere.
    pub(super) fn known(id: SessionId, opened_at_ms: u64, shop: Option<Arc<str>>) -> Self {
        Self {
            id,
            opened_at_ms,
            shop,
            ended: CancellationToken::new(),
            channels: AtomicUsize::new(0),
            last_use: Mutex::new(Instant::now()),
            uploaded: AtomicBool::new(false),
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

    /// Since when there has been neither channel nor request; none while a channel is open.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.channels.load(Ordering::Acquire) == 0).then(|| *self.last_use.lock())
    }

    /// A photo of it was taken, so there may be something to come back for.
    pub fn note_upload(&self) {
        self.uploaded.store(true, Ordering::Release);
    }

    pub(super) fn has_uploaded(&self) -> bool {
        self.uploaded.load(Ordering::Acquire)
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
    /// The visitor's address, where it is known.
    pub address: Option<IpAddr>,
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
    /// All places of one address are taken.
    #[error("this address has {limit} sessions already, the most that one may have; try again in a minute")]
    AddressFull {
        /// How many it may have.
        limit: usize,
    },
    /// All places of one shop are taken.
    #[error("this shop has {limit} sessions already, the most that one may have; try again in a minute")]
    ShopFull {
        /// How many it may have.
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
    /// What keeps the sessions can't be reached.
    #[error("the sessions can't be reached just now; try again in a few seconds")]
    Unavailable,
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
    /// What keeps the sessions can't be reached.
    #[error("the sessions can't be reached just now; try again in a few seconds")]
    Unavailable,
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

/// The sessions of one process.
pub struct MemorySessions {
    table: Mutex<Table>,
    logs: Arc<dyn Logs>,
    secret: Secret,
    ttl: Duration,
    bounds: SessionBounds,
    /// The operator has been told of an address that has all that it may.
    told_of_address: AtomicBool,
}

impl MemorySessions {
    /// An empty registry.
    pub fn new(logs: Arc<dyn Logs>, secret: Secret, ttl: Duration, bounds: SessionBounds) -> Arc<Self> {
        let told_of_address = AtomicBool::new(false);
        Arc::new(Self { table: Mutex::default(), logs, secret, ttl, bounds, told_of_address })
    }

    /// Forgets idle sessions, for ever. A session is forgotten at most a fifteenth of its time to live late.
    pub async fn evict(self: Arc<Self>) {
        let mut every = tokio::time::interval((self.ttl / 15).max(Duration::from_millis(10)));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.end(self.take_expired(Instant::now())).await;
        }
    }

    async fn end(&self, sessions: Vec<Arc<Session>>) {
        for session in sessions {
            session.ended.cancel();
            if let Err(error) = self.logs.remove(&session.id).await {
                tracing::warn!(%error, session = %session.id, "a log stays until it expires");
            }
            tracing::debug!(session = %session.id, "session expired");
        }
    }

    fn take_expired(&self, now: Instant) -> Vec<Arc<Session>> {
        let mut table = self.table.lock();
        let expired = table.take_expired(now, self.ttl);
        metrics::gauge!("warmcut_sessions").set(table.len() as f64);
        expired
    }

    fn find_or_insert(
        &self,
        opening: Opening,
        nonce: Option<NonceKey>,
        gone: &mut Vec<Arc<Session>>,
    ) -> Result<Opened, OpenError> {
        let mut table = self.table.lock();
        if let Some(session) = nonce.and_then(|nonce| table.by_nonce(&nonce).cloned()) {
            // While the table is locked, so that nobody takes it for one that is idle.
            return Ok(self.opened(&session, true));
        }
        let address = opening.address.map(Owner::of_address);
        let owners: Vec<Owner> = address.into_iter().chain(opening.shop.clone().map(Owner::Shop)).collect();
        table.make_room(&owners, &self.bounds, Instant::now(), gone)?;
        let session = Arc::new(Session::detached(opening.shop));
        table.insert(Arc::clone(&session), nonce, owners);
        metrics::gauge!("warmcut_sessions").set(table.len() as f64);
        Ok(self.opened(&session, false))
    }

    fn opened(&self, session: &Arc<Session>, resumed: bool) -> Opened {
        session.touch();
        Opened { session: Arc::clone(session), token: self.secret.token(&session.id), resumed }
    }
}

pub(super) fn nonce_key(opening: &Opening) -> Result<Option<NonceKey>, OpenError> {
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
        let mut gone = Vec::new();
        let opened = self.find_or_insert(opening, nonce, &mut gone);
        if !gone.is_empty() {
            metrics::counter!("warmcut_sessions_evicted_total").increment(gone.len() as u64);
            self.end(gone).await;
        }
        if matches!(opened, Err(OpenError::AddressFull { .. }))
            && !self.told_of_address.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                limit = self.bounds.per_address,
                "an address has all sessions that it may have; if it is a proxy's, see --proxies"
            );
        }
        opened
    }

    async fn find(&self, token: &str) -> Result<Opened, SessionError> {
        let id = self.secret.session_of(token).ok_or(SessionError::Unauthorized)?;
        let table = self.table.lock();
        let session = table.get(&id).ok_or(SessionError::Expired)?;
        Ok(self.opened(session, true))
    }

    fn ttl(&self) -> Duration {
        self.ttl
    }

    fn count(&self) -> usize {
        self.table.lock().len()
    }
}
