//! Two gateways on one Redis: a session of either is one of both.

use super::*;
use crate::engine::testing::Server;

const BOUNDS: SessionBounds = SessionBounds { all: 9, per_address: 2, per_shop: 3 };

async fn gateways(server: &Server, ttl: Duration, bounds: SessionBounds) -> [Arc<RedisSessions>; 2] {
    let secret = Secret::random();
    let gateway = async || RedisSessions::new(server.engine().await, secret.clone(), ttl, bounds);
    [gateway().await, gateway().await]
}

fn with_nonce(origin: &str) -> Opening {
    let nonce = Some("n".repeat(22));
    Opening { nonce, key: Some("pk_a".into()), origin: Some(origin.into()), ..Opening::default() }
}

fn from(address: &str) -> Opening {
    Opening { address: Some(address.parse().expect("an address")), ..Opening::default() }
}

#[tokio::test]
async fn a_nonce_or_a_token_finds_the_session_on_either_gateway() {
    let server = Server::start().await;
    let [one, two] = gateways(&server, Duration::from_secs(60), BOUNDS).await;
    let opening = Opening { shop: Some("a shop".into()), ..with_nonce("https://a") };
    let first = one.open(opening.clone()).await.expect("opens");
    assert!(!first.resumed);
    let again = two.open(opening).await.expect("opens");
    assert_eq!((again.resumed, &again.session.id, &again.token), (true, &first.session.id, &first.token));
    let found = two.find(&first.token).await.expect("found");
    assert_eq!(found.session.opened_at_ms, first.session.opened_at_ms);
    assert_eq!(found.session.shop.as_deref(), Some("a shop"));
    assert!(Arc::ptr_eq(&found.session, &again.session), "one object in one process");
    let other = two.open(with_nonce("https://b")).await.expect("opens");
    assert_ne!(other.session.id, first.session.id, "the origin belongs to it");
    assert_eq!(one.find("made.up").await.expect_err("forged"), SessionError::Unauthorized);
}

#[tokio::test]
async fn bounds_hold_over_both() {
    let server = Server::start().await;
    let [one, two] = gateways(&server, Duration::from_secs(60), BOUNDS).await;
    one.open(from("203.0.113.7")).await.expect("fits");
    two.open(from("203.0.113.7")).await.expect("fits");
    let full = OpenError::AddressFull { limit: 2 };
    assert_eq!(one.open(from("203.0.113.7")).await.expect_err("full"), full);
    let of_shop = || Opening { shop: Some("a".into()), ..Opening::default() };
    for _ in 0..3 {
        two.open(of_shop()).await.expect("fits");
    }
    assert_eq!(one.open(of_shop()).await.expect_err("full"), OpenError::ShopFull { limit: 3 });
    for _ in 0..4 {
        one.open(Opening::default()).await.expect("fits");
    }
    assert_eq!(two.open(Opening::default()).await.expect_err("full"), OpenError::Full { limit: 9 });
}

#[tokio::test]
async fn a_session_that_is_held_stays_and_ends_here_when_it_is_gone_elsewhere() {
    let server = Server::start().await;
    let [one, two] = gateways(&server, Duration::from_millis(900), BOUNDS).await;
    let held = one.open(Opening::default()).await.expect("opens");
    let token = one.open(Opening::default()).await.expect("opens").token;
    held.session.note_upload();
    let keys = one.engine.keys();
    let (record, uploaded) = (keys.of("session", &held.session.id), "uploaded");
    let mut pipe = redis::pipe();
    pipe.cmd("HGET").arg(&record).arg(uploaded);
    while two.find(&token).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(1000)).await;
    }
    let (said,): (Option<String>,) = one.engine.ask(&pipe).await.expect("answers");
    assert_eq!(said.as_deref(), Some("1"), "it is there, and has sent a photo");
    let mut pipe = redis::pipe();
    pipe.cmd("DEL").arg(record).ignore();
    one.engine.ask::<()>(&pipe).await.expect("answers");
    tokio::time::timeout(Duration::from_secs(10), held.session.ended.cancelled()).await.expect("ends");
}

#[tokio::test]
async fn a_session_that_nobody_uses_expires_and_gives_its_place_back() {
    let server = Server::start().await;
    let bounds = SessionBounds { all: 1, ..BOUNDS };
    let [one, two] = gateways(&server, Duration::from_millis(50), bounds).await;
    let first = one.open(with_nonce("https://a")).await.expect("opens");
    while two.open(Opening::default()).await.is_err() {}
    assert_eq!(one.find(&first.token).await.expect_err("gone"), SessionError::Expired);
    let mut again = one.open(with_nonce("https://a")).await;
    while again.is_err() {
        again = one.open(with_nonce("https://a")).await;
    }
    assert!(!again.expect("opens").resumed, "its nonce went with it");
}

#[tokio::test]
async fn who_is_not_missed_makes_room_and_who_sent_a_photo_stays() {
    let server = Server::start().await;
    let bounds = SessionBounds { all: 2, ..BOUNDS };
    let [one, two] = gateways(&server, MISSED * 10, bounds).await;
    let sent = one.open(Opening::default()).await.expect("opens");
    sent.session.note_upload();
    one.find(&sent.token).await.expect("found");
    let idle = two.open(Opening::default()).await.expect("opens");
    assert!(two.open(Opening::default()).await.is_err(), "both were here just now");
    // A minute and more ago.
    let engine = server.engine().await;
    let shares = engine.keys().the("sessions");
    let used_ms = clock::millis(MISSED * 9 - Duration::from_secs(1));
    let mut pipe = redis::pipe();
    for opened in [&sent, &idle] {
        let then = opened.session.opened_at_ms + used_ms;
        pipe.cmd("ZADD").arg(&shares).arg(then).arg(opened.session.id.as_str()).ignore();
    }
    engine.ask::<()>(&pipe).await.expect("set");
    two.open(Opening::default()).await.expect("room is made");
    assert_eq!(one.find(&idle.token).await.expect_err("gone"), SessionError::Expired);
    one.find(&sent.token).await.expect("stays");
}

#[tokio::test]
async fn a_redis_that_is_away_is_told_as_such() {
    let mut server = Server::start().await;
    let [one, _] = gateways(&server, Duration::from_secs(60), BOUNDS).await;
    let opened = one.open(Opening::default()).await.expect("opens");
    server.kill();
    assert_eq!(one.open(Opening::default()).await.expect_err("away"), OpenError::Unavailable);
    assert_eq!(one.find(&opened.token).await.expect_err("away"), SessionError::Unavailable);
    server.start_again().await;
    while one.find(&opened.token).await.is_err() {}
}

#[tokio::test]
async fn room_is_found_behind_many_who_sent_a_photo() {
    let server = Server::start().await;
    let bounds = SessionBounds { all: 150, ..BOUNDS };
    let [one, two] = gateways(&server, MISSED * 10, bounds).await;
    let engine = server.engine().await;
    let shares = engine.keys().the("sessions");
    let mut pipe = redis::pipe();
    for n in 0..150 {
        let opened = one.open(Opening::default()).await.expect("opens");
        // The one who sent nothing is the last who was here, a minute and more ago.
        let then = opened.session.opened_at_ms + clock::millis(MISSED * 8) + n;
        pipe.cmd("ZADD").arg(&shares).arg(then).arg(opened.session.id.as_str()).ignore();
        if n < 149 {
            let record = engine.keys().of("session", &opened.session.id);
            pipe.cmd("HSET").arg(record).arg("uploaded").arg("1").ignore();
        }
    }
    engine.ask::<()>(&pipe).await.expect("set");
    two.open(Opening::default()).await.expect("room is made");
}

#[tokio::test]
async fn an_address_is_forgotten_with_its_last_session() {
    let server = Server::start().await;
    let [one, _] = gateways(&server, Duration::from_millis(200), BOUNDS).await;
    one.open(from("203.0.113.7")).await.expect("opens");
    let engine = server.engine().await;
    let mut pipe = redis::pipe();
    pipe.cmd("PTTL").arg(engine.keys().of("sessions:address", "203.0.113.7"));
    let (left,): (i64,) = engine.ask(&pipe).await.expect("answers");
    assert!((1..=1200).contains(&left), "{left}");
}
