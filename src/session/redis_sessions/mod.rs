//! The sessions of a deployment, in Redis: any process finds any of them.
//!
//! A process holds what its open channels and requests need of a session for as long as they last, and nothing
//! of the others.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use parking_lot::Mutex;
use redis::Script;

use super::redis_logs::LOG;
use super::registry::{Opened, Opening, Session, SessionError, Sessions, nonce_key};
use super::table::{MISSED, Owner, SessionBounds};
use super::token::Secret;
use super::{LogError, OpenError};
use crate::clock;
use crate::engine::{Engine, Unreachable, script};
use crate::protocol::SessionId;

/// A session with a channel counts as used this often; well within the time after which it may be missed.
const USED_EVERY: Duration = Duration::from_secs(25);
/// So many are told of in one step, which nobody else's waits for longer than a millisecond or two.
const AT_ONCE: usize = 100;

/// Id, when it opened, its shop.
type Found = (String, u64, String);

/// All sessions of a deployment.
pub struct RedisSessions {
    engine: Arc<Engine>,
    open: Script,
    find: Script,
    stay: Script,
    here: Mutex<HashMap<SessionId, Weak<Session>>>,
    secret: Secret,
    ttl: Duration,
    bounds: SessionBounds,
}

impl RedisSessions {
    /// The sessions that an engine's deployment shares. All its processes need the same secret.
    pub fn new(engine: Arc<Engine>, secret: Secret, ttl: Duration, bounds: SessionBounds) -> Arc<Self> {
        let with_shared = |source| script(&[LOG, include_str!("shared.lua"), source]);
        let sessions = Arc::new(Self {
            engine,
            open: with_shared(include_str!("open.lua")),
            find: with_shared(include_str!("find.lua")),
            stay: with_shared(include_str!("stay.lua")),
            here: Mutex::default(),
            secret,
            ttl,
            bounds,
        });
        tokio::spawn(stay(Arc::downgrade(&sessions), USED_EVERY.min(ttl / 3)));
        sessions
    }

    /// What this process holds of a session, which is one object however many channels it has here.
    fn here(&self, (id, opened_at_ms, shop): Found) -> Option<Arc<Session>> {
        let id = SessionId::try_from(id).ok()?;
        let mut here = self.here.lock();
        if let Some(session) = here.get(&id).and_then(Weak::upgrade) {
            return Some(session);
        }
        let shop = Some(shop).filter(|shop| !shop.is_empty()).map(Into::into);
        let session = Arc::new(Session::known(id.clone(), opened_at_ms, shop));
        here.insert(id, Arc::downgrade(&session));
        Some(session)
    }

    fn opened(&self, found: Found, resumed: bool) -> Option<Opened> {
        let session = self.here(found)?;
        let token = self.secret.token(&session.id);
        Some(Opened { session, token, resumed })
    }

    /// Counts as a use; none when it has expired.
    async fn touch(&self, id: &SessionId, uploaded: bool) -> Result<Option<Found>, LogError> {
        let mut call = self.engine.call(&self.find);
        call.arg(id.as_str()).arg(clock::millis(self.ttl));
        call.arg(u8::from(uploaded));
        Ok(self.engine.run(&call).await?)
    }

    /// These count as used; those that are gone.
    async fn stay(&self, sessions: &[Arc<Session>]) -> Result<Vec<String>, Unreachable> {
        let mut call = self.engine.call(&self.stay);
        call.arg(clock::millis(self.ttl));
        for session in sessions {
            call.arg(session.id.as_str()).arg(u8::from(session.has_uploaded()));
        }
        self.engine.run(&call).await
    }

    fn all_here(&self) -> Vec<Arc<Session>> {
        let mut here = self.here.lock();
        here.retain(|_, session| session.strong_count() > 0);
        here.values().filter_map(Weak::upgrade).collect()
    }
}

/// Sessions with a channel in this process count as used; those that are gone end here too.
async fn stay(sessions: Weak<RedisSessions>, every: Duration) {
    let mut every = tokio::time::interval(every.max(Duration::from_millis(100)));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let Some(sessions) = sessions.upgrade() else { return };
        for some in sessions.all_here().chunks(AT_ONCE) {
            match sessions.stay(some).await {
                Ok(gone) => some
                    .iter()
                    .filter(|session| gone.iter().any(|id| id == session.id.as_str()))
                    .for_each(|session| session.ended.cancel()),
                Err(_) => break, // the next time is soon enough
            }
        }
    }
}

#[async_trait]
impl Sessions for RedisSessions {
    async fn open(&self, opening: Opening) -> Result<Opened, OpenError> {
        let keys = self.engine.keys();
        let nonce = nonce_key(&opening)?.map(|nonce| keys.of("nonce", HEXLOWER.encode(&nonce)));
        let mut call = self.engine.call(&self.open);
        call.arg(SessionId::random().as_str()).arg(clock::now_ms());
        call.arg(opening.shop.as_deref().unwrap_or_default()).arg(nonce.unwrap_or_default());
        call.arg(clock::millis(self.ttl)).arg(clock::millis(MISSED));
        if let Some(address) = opening.address {
            let Owner::Address(counted) = Owner::of_address(address) else { unreachable!("an address") };
            call.arg(keys.of("sessions:address", counted)).arg(self.bounds.per_address).arg("address");
        }
        if let Some(shop) = &opening.shop {
            call.arg(keys.of("sessions:shop", shop)).arg(self.bounds.per_shop).arg("shop");
        }
        call.arg(keys.the("sessions")).arg(self.bounds.all).arg("all");
        let answer: Vec<String> = self.engine.run(&call).await.map_err(|_| OpenError::Unavailable)?;
        match <[String; 4]>::try_from(answer) {
            Ok([id, opened, shop, how]) => {
                let found = (id, opened.parse().unwrap_or_default(), shop);
                self.opened(found, how == "resumed").ok_or(OpenError::Unavailable)
            }
            Err(full) => Err(match full.last().map(String::as_str) {
                Some("address") => OpenError::AddressFull { limit: self.bounds.per_address },
                Some("shop") => OpenError::ShopFull { limit: self.bounds.per_shop },
                _ => OpenError::Full { limit: self.bounds.all },
            }),
        }
    }

    async fn find(&self, token: &str) -> Result<Opened, SessionError> {
        let id = self.secret.session_of(token).ok_or(SessionError::Unauthorized)?;
        let uploaded =
            self.here.lock().get(&id).and_then(Weak::upgrade).is_some_and(|here| here.has_uploaded());
        let found = self.touch(&id, uploaded).await.map_err(|_| SessionError::Unavailable)?;
        found.and_then(|found| self.opened(found, true)).ok_or(SessionError::Expired)
    }

    fn ttl(&self) -> Duration {
        self.ttl
    }

    fn count(&self) -> usize {
        self.all_here().len()
    }
}
