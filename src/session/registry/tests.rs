//! Opening, coming back, making room and expiring; on a paused clock.

use super::*;
use crate::session::{LogError, MemoryLogs};

const TTL: Duration = Duration::from_secs(1800);
const NONCE: &str = "0123456789abcdef0123456789abcdef";

fn registry(all: usize) -> (Arc<MemorySessions>, Arc<MemoryLogs>) {
    bounded(SessionBounds { all, per_address: all, per_shop: all })
}

fn bounded(bounds: SessionBounds) -> (Arc<MemorySessions>, Arc<MemoryLogs>) {
    let logs = Arc::new(MemoryLogs::default());
    (MemorySessions::new(Arc::<MemoryLogs>::clone(&logs), Secret::random(), TTL, bounds), logs)
}

fn from(address: &str) -> Opening {
    Opening { address: Some(address.parse().expect("an address")), ..Opening::default() }
}

fn of_shop(name: &str) -> Opening {
    Opening { shop: Some(name.into()), ..Opening::default() }
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
    assert!(sessions.find(&open.token).await.is_ok(), "its channel keeps it");
    drop(channel);
    tokio::time::sleep(TTL + TTL / 10).await;
    assert!(sessions.table.lock().is_empty());
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

#[tokio::test]
async fn one_address_and_one_shop_leave_room_for_others() {
    let (sessions, _) = bounded(SessionBounds { all: 9, per_address: 2, per_shop: 3 });
    let full = OpenError::AddressFull { limit: 2 };
    for _ in 0..2 {
        sessions.open(from("203.0.113.7")).await.expect("fits");
    }
    assert_eq!(sessions.open(from("203.0.113.7")).await.expect_err("full"), full);
    sessions.open(from("203.0.113.8")).await.expect("another address");
    for host in ["2001:db8::1", "2001:db8::2"] {
        sessions.open(from(host)).await.expect("fits");
    }
    assert_eq!(sessions.open(from("2001:db8::3")).await.expect_err("the same /64"), full);
    for _ in 0..3 {
        sessions.open(of_shop("a")).await.expect("fits");
    }
    assert_eq!(sessions.open(of_shop("a")).await.expect_err("full"), OpenError::ShopFull { limit: 3 });
    sessions.open(of_shop("b")).await.expect("another shop");
    assert_eq!(sessions.open(of_shop("b")).await.expect_err("full"), OpenError::Full { limit: 9 });
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_is_never_refused_and_expired_sessions_give_their_places_back() {
    let (sessions, _) = bounded(SessionBounds { all: 9, per_address: 1, per_shop: 1 });
    tokio::spawn(Arc::clone(&sessions).evict());
    let opening = Opening { shop: Some("a".into()), ..with_nonce("https://a") };
    let opening = Opening { address: from("203.0.113.7").address, ..opening };
    let first = sessions.open(opening.clone()).await.expect("opens");
    assert!(sessions.open(opening.clone()).await.expect("comes back").resumed);
    assert!(sessions.find(&first.token).await.is_ok());
    first.session.note_upload();
    assert!(sessions.open(from("203.0.113.7")).await.is_err());
    assert!(sessions.open(of_shop("a")).await.is_err());
    tokio::time::sleep(TTL + TTL / 10).await;
    assert!(sessions.table.lock().is_empty());
    assert!(!sessions.open(opening).await.expect("opens").resumed);
}

#[tokio::test(start_paused = true)]
async fn at_a_bound_the_longest_idle_that_never_uploaded_makes_room() {
    let second = Duration::from_secs(1);
    let (sessions, logs) = bounded(SessionBounds { all: 99, per_address: 4, per_shop: 99 });
    let open = || async { sessions.open(from("203.0.113.7")).await };
    let uploaded = open().await.expect("opens");
    uploaded.session.note_upload();
    let watched = open().await.expect("opens");
    let channel = watched.session.channel().expect("the first");
    tokio::time::sleep(second).await;
    let oldest = open().await.expect("opens");
    tokio::time::sleep(second).await;
    let newer = open().await.expect("opens");
    assert!(open().await.is_err(), "who has just gone may come back");
    let away = sessions.open(from("203.0.113.8")).await.expect("another address");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let latest = open().await.expect("room was made");
    assert!(oldest.session.ended.is_cancelled());
    assert_eq!(sessions.find(&oldest.token).await.expect_err("gone"), SessionError::Expired);
    assert!(logs.follow(&oldest.session.id).await.is_err());
    for kept in [&uploaded, &watched, &newer, &away, &latest] {
        assert!(sessions.find(&kept.token).await.is_ok());
    }
    assert!(open().await.is_err(), "the others are used, or were just now");
    drop(channel);
}
