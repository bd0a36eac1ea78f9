//! The sessions that there are, whose they are, and who makes room when there are too many.
//!
//! Without shares one address, or one shop, could take all places. A place that is wanted is first given
//! back by sessions that nobody misses: never an upload, no channel, and no request for a while.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Session;
use super::registry::OpenError;
use crate::protocol::SessionId;

/// A session is not missed before so long: a bare `EventSource` is back after two seconds, a poller after
/// five, and most tunnels are shorter.
pub(super) const MISSED: Duration = Duration::from_secs(60);
/// Who looked for room and found none doesn't look again for so long.
const SEARCH_EVERY: Duration = Duration::from_secs(1);
/// Room is made for this part of a bound at a time, so that a search pays for many openings.
const PART: usize = 64;

/// How many sessions there may be.
#[derive(Clone, Copy, Debug)]
pub struct SessionBounds {
    /// In all.
    pub all: usize,
    /// Of one address.
    pub per_address: usize,
    /// Of one shop.
    pub per_shop: usize,
}

/// Whose share a session is taken from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    Address(IpAddr),
    Shop(Arc<str>),
}

impl Owner {
    pub(super) fn of_address(address: IpAddr) -> Self {
        Self::Address(counted_as(address))
    }

    fn bound(&self, bounds: &SessionBounds) -> usize {
        match self {
            Self::Address(_) => bounds.per_address,
            Self::Shop(_) => bounds.per_shop,
        }
    }

    fn full(&self, limit: usize) -> OpenError {
        match self {
            Self::Address(_) => OpenError::AddressFull { limit },
            Self::Shop(_) => OpenError::ShopFull { limit },
        }
    }
}

/// What stands for an address where visitors are counted: an IPv6 visitor has a whole /64 to choose from,
/// so that is what is bounded.
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

pub(super) type NonceKey = [u8; 32];

struct Held {
    session: Arc<Session>,
    nonce: Option<NonceKey>,
    owners: Vec<Owner>,
}

#[derive(Default)]
struct Share {
    sessions: HashSet<SessionId>,
    /// When nobody was found in it to make room.
    searched: Option<Instant>,
}

/// All sessions.
#[derive(Default)]
pub(super) struct Table {
    sessions: HashMap<SessionId, Held>,
    nonces: HashMap<NonceKey, SessionId>,
    shares: HashMap<Owner, Share>,
    searched: Option<Instant>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.nonces.is_empty() && self.shares.is_empty()
    }

    pub(super) fn get(&self, id: &SessionId) -> Option<&Arc<Session>> {
        self.sessions.get(id).map(|held| &held.session)
    }

    pub(super) fn by_nonce(&self, nonce: &NonceKey) -> Option<&Arc<Session>> {
        self.get(self.nonces.get(nonce)?)
    }

    pub(super) fn insert(&mut self, session: Arc<Session>, nonce: Option<NonceKey>, owners: Vec<Owner>) {
        let id = session.id.clone();
        for owner in &owners {
            self.shares.entry(owner.clone()).or_default().sessions.insert(id.clone());
        }
        if let Some(nonce) = nonce {
            self.nonces.insert(nonce, id.clone());
        }
        self.sessions.insert(id, Held { session, nonce, owners });
    }

    fn remove(&mut self, id: &SessionId) -> Option<Arc<Session>> {
        let Held { session, nonce, owners } = self.sessions.remove(id)?;
        if let Some(nonce) = nonce {
            self.nonces.remove(&nonce);
        }
        for owner in owners {
            if let Some(share) = self.shares.get_mut(&owner) {
                share.sessions.remove(id);
                if share.sessions.is_empty() {
                    self.shares.remove(&owner);
                }
            }
        }
        Some(session)
    }

    /// Takes out what has expired.
    pub(super) fn take_expired(&mut self, now: Instant, ttl: Duration) -> Vec<Arc<Session>> {
        let expired = |session: &Session| session.idle_since().is_some_and(|since| since + ttl <= now);
        let held = self.sessions.values().map(|held| &held.session);
        let gone: Vec<_> =
            held.filter(|session| expired(session)).map(|session| session.id.clone()).collect();
        gone.iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Makes sure that these owners may have one more session, by taking out what nobody misses, or says
    /// whose bound is in the way. What was taken out is in `gone` in either case.
    pub(super) fn make_room(
        &mut self,
        owners: &[Owner],
        bounds: &SessionBounds,
        now: Instant,
        gone: &mut Vec<Arc<Session>>,
    ) -> Result<(), OpenError> {
        for owner in owners {
            let limit = owner.bound(bounds);
            let Some(share) = self.shares.get_mut(owner).filter(|share| share.sessions.len() >= limit) else {
                continue;
            };
            if !may_search(&mut share.searched, now) {
                return Err(owner.full(limit));
            }
            let ids: Vec<SessionId> = share.sessions.iter().cloned().collect();
            let unmissed = ids.iter().filter_map(|id| self.unmissed(id, now)).collect();
            if !self.take_out(unmissed, limit, gone) {
                return Err(owner.full(limit));
            }
            if let Some(share) = self.shares.get_mut(owner) {
                share.searched = None;
            }
        }
        let limit = bounds.all;
        if self.sessions.len() < limit {
            return Ok(());
        }
        if !may_search(&mut self.searched, now) {
            return Err(OpenError::Full { limit });
        }
        let unmissed = self.sessions.keys().filter_map(|id| self.unmissed(id, now)).collect();
        if !self.take_out(unmissed, limit, gone) {
            return Err(OpenError::Full { limit });
        }
        self.searched = None;
        Ok(())
    }

    fn unmissed(&self, id: &SessionId, now: Instant) -> Option<(Instant, SessionId)> {
        let session = self.get(id)?;
        let since = session.idle_since().filter(|since| *since + MISSED <= now && !session.has_uploaded())?;
        Some((since, id.clone()))
    }

    /// Takes out the oldest of these; false when there are none.
    fn take_out(
        &mut self,
        mut unmissed: Vec<(Instant, SessionId)>,
        limit: usize,
        gone: &mut Vec<Arc<Session>>,
    ) -> bool {
        unmissed.sort_unstable_by_key(|(since, _)| *since);
        unmissed.truncate(limit / PART + 1);
        gone.extend(unmissed.iter().filter_map(|(_, id)| self.remove(id)));
        !unmissed.is_empty()
    }
}

fn may_search(searched: &mut Option<Instant>, now: Instant) -> bool {
    if searched.is_some_and(|at| now.saturating_duration_since(at) < SEARCH_EVERY) {
        return false;
    }
    *searched = Some(now);
    true
}
