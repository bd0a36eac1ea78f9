//! How often an address may send what anybody can send.
//!
//! A bucket for each: so many at once, and one more each second. A bucket is the time at which it will be
//! full again, so one that is past says nothing and needs no place. Places are given back by forgetting
//! half of the table at a time: nobody has to sweep it, and it is never larger than twice its bound.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::session::counted_as;

/// Requests that may come at once: an office behind one address looks at a page.
const BURST: u32 = 60;
/// From then on one may come each
const EVERY: Duration = Duration::from_secs(1);
/// Addresses of each half. Who has more than two halves of them to send from is forgotten early, and
/// sends as often as that many may; it costs a megabyte and no more.
const ADDRESSES: usize = 10_000;

/// What each address has sent of late.
pub struct Rate(Mutex<Table>);

struct Table {
    recent: HashMap<IpAddr, Instant>,
    /// What was recent before: whoever hasn't sent anything since has a full bucket when it is forgotten,
    /// for a half is filled for at least the time that a bucket takes to fill.
    before: HashMap<IpAddr, Instant>,
    since: Instant,
}

/// An address has sent all that it may.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this address has sent more than {BURST} of these at once, or than one a second since; try again in {retry_after_s} s"
)]
pub(super) struct TooOften {
    pub(super) retry_after_s: u64,
}

impl Default for Rate {
    fn default() -> Self {
        let (recent, before) = (HashMap::new(), HashMap::new());
        Self(Mutex::new(Table { recent, before, since: Instant::now() }))
    }
}

impl Rate {
    /// Counts one request of an address, unless it has sent too many.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Result<(), TooOften> {
        self.0.lock().take(counted_as(address), now)
    }
}

impl Table {
    fn take(&mut self, address: IpAddr, now: Instant) -> Result<(), TooOften> {
        let old = now.saturating_duration_since(self.since) >= EVERY * BURST;
        if old || (self.recent.len() >= ADDRESSES && !self.recent.contains_key(&address)) {
            self.before = std::mem::take(&mut self.recent);
            self.since = now;
        }
        let known = self.recent.get(&address).or_else(|| self.before.get(&address));
        let full_at = known.map_or(now, |full_at| now.max(*full_at)) + EVERY;
        let wait = full_at.saturating_duration_since(now).saturating_sub(EVERY * BURST);
        if !wait.is_zero() {
            return Err(TooOften { retry_after_s: wait.as_millis().div_ceil(1000) as u64 });
        }
        self.recent.insert(address, full_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 8));

    fn after(begun: Instant, seconds: f64) -> Instant {
        begun + Duration::from_secs_f64(seconds)
    }

    /// How many of an address may come at once.
    fn burst(rate: &Rate, address: IpAddr, now: Instant) -> u32 {
        (0..).find(|_| rate.take(address, now).is_err()).expect("some time there are too many")
    }

    #[test]
    fn so_many_at_once_and_then_one_a_second() {
        let (rate, begun) = (Rate::default(), Instant::now());
        assert_eq!(burst(&rate, A, begun), BURST);
        assert_eq!(rate.take(A, begun), Err(TooOften { retry_after_s: 1 }));
        assert_eq!(rate.take(A, after(begun, 0.999)), Err(TooOften { retry_after_s: 1 }));
        assert_eq!(burst(&rate, B, begun), BURST, "another address has its own");
        assert_eq!(burst(&rate, A, after(begun, 1.0)), 1);
        assert_eq!(burst(&rate, A, after(begun, 11.5)), 10);
        assert_eq!(burst(&rate, A, after(begun, 12.0)), 1, "the half second was not lost");
    }

    #[test]
    fn a_bucket_is_never_more_than_full_and_is_not_forgotten_before() {
        let (rate, begun) = (Rate::default(), Instant::now());
        for at in [0.0, 59.0, 118.0, 177.0] {
            // Others come all the time, so that halves are forgotten whenever they may be.
            for second in 0..59 {
                rate.take(B, after(begun, at + f64::from(second))).expect("one a second");
            }
            assert_eq!(burst(&rate, A, after(begun, at)), if at == 0.0 { 60 } else { 59 }, "{at}");
        }
        assert_eq!(burst(&rate, A, after(begun, 10_000.0)), BURST);
    }

    #[test]
    fn an_ipv6_visitor_has_one_bucket_for_its_64() {
        let (rate, begun) = (Rate::default(), Instant::now());
        let v6 = |text: &str| IpAddr::V6(text.parse::<Ipv6Addr>().expect("an address"));
        assert_eq!(burst(&rate, v6("2001:db8::1"), begun), BURST);
        assert!(rate.take(v6("2001:db8::ffff:2"), begun).is_err());
        assert!(rate.take(v6("2001:db8:0:1::1"), begun).is_ok());
    }

    #[test]
    fn more_addresses_than_there_are_places_take_no_more_of_them() {
        let (rate, begun) = (Rate::default(), Instant::now());
        assert_eq!(burst(&rate, A, begun), BURST);
        for n in 0..ADDRESSES as u128 * 5 {
            let address = IpAddr::V6(Ipv6Addr::from_bits(n << 64));
            rate.take(address, begun).expect("each is new");
            let table = rate.0.lock();
            assert!(table.recent.len() <= ADDRESSES && table.before.len() <= ADDRESSES);
        }
        assert!(rate.take(A, begun).is_ok(), "forgotten, and served");
        // A half that is full of those who come again is not forgotten for them.
        let rate = Rate::default();
        for _ in 0..2 {
            for n in 0..ADDRESSES as u128 {
                rate.take(IpAddr::V6(Ipv6Addr::from_bits(n << 64)), begun).expect("the second at most");
            }
        }
        let table = rate.0.lock();
        assert_eq!((table.recent.len(), table.before.len()), (ADDRESSES, 0));
    }
}
