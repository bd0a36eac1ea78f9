//! Two gateways on one Redis: the same order, whole and once, whatever happens to it.

use std::time::Duration;

use super::*;
use crate::engine::testing::Server;
use crate::protocol::{Code, Problem, RunId, Stage, StageEvent, StageStatus, UploadId};
use crate::session::follow::Start;
use crate::session::{Followed, Follower};

const TTL: Duration = Duration::from_secs(60);

async fn gateway(server: &Server) -> Arc<RedisLogs> {
    RedisLogs::new(server.engine().await, TTL).await
}

fn event(text: &str) -> Event {
    Event::Problem(Problem::new(Code::BadRequest, text))
}

fn stage(run: &str, stage: Stage) -> Event {
    Event::Stage(StageEvent {
        run: RunId::try_from(run.to_owned()).expect("an id"),
        stage,
        status: StageStatus::Started,
        device: None,
        elapsed_ms: 0,
        progress: None,
        eta_ms: None,
        run_eta_ms: None,
        detail: None,
    })
}

async fn keys_after(logs: &RedisLogs, session: &SessionId, key: EventKey) -> Option<Vec<EventKey>> {
    match logs.read(session, key).await.expect("the session has a log") {
        Read::Events(entries) => Some(entries.iter().map(|entry| entry.key).collect()),
        Read::Gone(..) => None,
    }
}

async fn follower(logs: &Arc<RedisLogs>, session: &SessionId, start: Start) -> Follower {
    let logs = Arc::<RedisLogs>::clone(logs) as Arc<dyn Logs>;
    Follower::start(logs, session.clone(), start).await.expect("there").unbounded()
}

async fn next(follower: &mut Follower) -> Result<Followed, LogError> {
    tokio::time::timeout(Duration::from_secs(20), follower.next()).await.expect("in time")
}

async fn key(follower: &mut Follower) -> EventKey {
    match next(follower).await.expect("there") {
        Followed::Entry(entry) => entry.key,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_channels_of_a_gateway_all_hear_of_each_event_without_another_one_after_it() {
    const CHANNELS: usize = 60;
    let server = Server::start().await;
    let logs = gateway(&server).await;
    let (told, heard) = (tokio::sync::mpsc::channel(CHANNELS), Arc::new(tokio::sync::Semaphore::new(0)));
    let (sender, mut keys) = told;
    for _ in 0..CHANNELS {
        let session = SessionId::random();
        logs.create(&session).await.expect("a log");
        let mut follower = follower(&logs, &session, Start::After(EventKey::START)).await;
        let (sender, open) = (sender.clone(), Arc::clone(&heard));
        tokio::spawn(async move {
            open.add_permits(1);
            while let Ok(Followed::Entry(entry)) = follower.next().await {
                let _ = sender.send(entry.key).await;
            }
        });
    }
    drop(heard.acquire_many(CHANNELS as u32).await.expect("open"));
    for n in 0..20 {
        let key = logs.append_run(0, event(&n.to_string())).await.expect("appended");
        let all = async {
            for _ in 0..CHANNELS {
                assert_eq!(keys.recv().await, Some(key));
            }
        };
        tokio::time::timeout(Duration::from_secs(5), all).await.expect("a lone event reaches all of them");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replay_after_any_event_is_the_rest_on_either_gateway() {
    let server = Server::start().await;
    let (one, two) = (gateway(&server).await, gateway(&server).await);
    let session = SessionId::random();
    one.create(&session).await.expect("a log");
    let _followed = two.follow(&session).await.expect("there");
    let mut keys = Vec::new();
    for step in 0..40_u32 {
        // Both write, both logs, in an order of no period.
        let logs = if step * step % 7 < 3 { &one } else { &two };
        keys.push(if step * 5 % 11 < 5 {
            logs.append_run(0, event("run")).await.expect("appended")
        } else {
            logs.append(&session, 0, event("session")).await.expect("appended")
        });
    }
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "keys are in order");
    let mut live = follower(&two, &session, Start::After(EventKey::START)).await;
    for expected in &keys {
        assert_eq!(key(&mut live).await, *expected);
    }
    for (n, after) in keys.iter().enumerate() {
        assert_eq!(keys_after(&two, &session, *after).await, Some(keys[n + 1..].to_vec()), "after {after}");
    }
    let never = EventKey { run: 3, entry: 999 };
    assert_eq!(keys_after(&two, &session, never).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_on_both_gateways_see_the_same_while_many_write() {
    const EACH: usize = 300;
    let server = Server::start().await;
    let gateways = [gateway(&server).await, gateway(&server).await];
    let session = SessionId::random();
    gateways[0].create(&session).await.expect("a log");
    let mut readers = Vec::new();
    for logs in &gateways {
        let mut live = follower(logs, &session, Start::After(EventKey::START)).await;
        readers.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            while seen.len() < 2 * EACH {
                seen.push(key(&mut live).await);
            }
            seen
        }));
    }
    let run = Arc::clone(&gateways[0]);
    let (own, id) = (Arc::clone(&gateways[1]), session.clone());
    let writers = [
        tokio::spawn(async move {
            for _ in 0..EACH {
                run.append_run(0, event("run")).await.expect("appended");
            }
        }),
        tokio::spawn(async move {
            for _ in 0..EACH {
                own.append(&id, 0, event("session")).await.expect("appended");
            }
        }),
    ];
    for writer in writers {
        writer.await.expect("no panic");
    }
    let mut seen = Vec::new();
    for reader in readers {
        seen.push(reader.await.expect("no panic"));
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].windows(2).all(|pair| pair[0] < pair[1]), "in order, and each once");
    assert_eq!(
        Some(seen[0].clone()),
        keys_after(&gateways[0], &session, EventKey::START).await,
        "all of them"
    );
}

#[tokio::test]
async fn a_session_sees_the_latest_run_from_its_start_and_its_present() {
    let server = Server::start().await;
    let (one, two) = (gateway(&server).await, gateway(&server).await);
    one.append_run(0, stage("r_1", Stage::Container)).await.expect("appended");
    one.append_run(0, stage("r_1", Stage::ModelLoad)).await.expect("appended");
    two.begin_run().await.expect("begun");
    two.append_run(0, stage("r_2", Stage::Container)).await.expect("appended");
    let session = SessionId::random();
    two.create(&session).await.expect("a log");
    for logs in [&one, &two] {
        assert_eq!(keys_after(logs, &session, EventKey::START).await, Some(vec![EventKey::of_run(3)]));
        let (present, end) = logs.present(&session).await.expect("there");
        assert_eq!(present.iter().map(|entry| entry.key.run).collect::<Vec<_>>(), [3]);
        assert_eq!(end, EventKey::of_run(3));
    }
}

#[tokio::test]
async fn what_is_too_old_is_gone_and_the_present_stays() {
    let server = Server::start().await;
    let (one, two) = (gateway(&server).await, gateway(&server).await);
    let session = SessionId::random();
    one.create(&session).await.expect("a log");
    let upload = UploadId::try_from("first".to_owned()).expect("an id");
    let about = Event::Problem(Problem::new(Code::BadRequest, "kept").about_upload(&upload));
    let first = one.append(&session, 0, about).await.expect("appended");
    let second = one.append(&session, 0, event("dropped")).await.expect("appended");
    for _ in 0..SESSION_BOUNDS.entries {
        one.append(&session, 0, event("later")).await.expect("appended");
    }
    assert_eq!(keys_after(&two, &session, first).await, None, "what came after it is dropped");
    assert!(keys_after(&two, &session, second).await.is_some());
    let mut late = follower(&two, &session, Start::After(first)).await;
    assert!(matches!(next(&mut late).await, Ok(Followed::Reset)));
    assert_eq!(key(&mut late).await, first, "the last that is known of its upload");
}

#[tokio::test]
async fn the_end_of_a_session_ends_its_channels_everywhere() {
    let server = Server::start().await;
    let (one, two) = (gateway(&server).await, gateway(&server).await);
    let session = SessionId::random();
    one.create(&session).await.expect("a log");
    let mut live = follower(&two, &session, Start::After(EventKey::START)).await;
    let ended = tokio::spawn(async move { next(&mut live).await });
    one.remove(&session).await.expect("removed");
    assert_eq!(ended.await.expect("no panic").expect_err("gone"), LogError::NoSession);
    assert_eq!(two.append(&session, 0, event("late")).await, Err(LogError::NoSession));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_outlive_a_redis_that_goes_and_comes_back_with_its_data() {
    let mut server = Server::start().await;
    let (one, two) = (gateway(&server).await, gateway(&server).await);
    let session = SessionId::random();
    one.create(&session).await.expect("a log");
    let mut live = follower(&two, &session, Start::After(EventKey::START)).await;
    let before = one.append(&session, 0, event("before")).await.expect("appended");
    assert_eq!(key(&mut live).await, before);

    server.kill();
    assert_eq!(one.append(&session, 0, event("lost")).await, Err(LogError::Unavailable));
    assert_eq!(keys_after(&two, &session, EventKey::START).await, Some(vec![before]), "what was known is");
    assert_eq!(one.present(&session).await.expect_err("nobody follows it there"), LogError::Unavailable);

    server.start_again().await;
    let after = loop {
        match one.append(&session, 0, event("after")).await {
            Ok(key) => break key,
            Err(error) => assert_eq!(error, LogError::Unavailable),
        }
    };
    assert_eq!(key(&mut live).await, after, "and nothing is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_end_when_redis_comes_back_without_its_data() {
    let mut server = Server::start().await;
    let logs = gateway(&server).await;
    let session = SessionId::random();
    logs.create(&session).await.expect("a log");
    logs.append_run(0, event("before")).await.expect("appended");
    let mut live = follower(&logs, &session, Start::After(EventKey::START)).await;
    key(&mut live).await;
    server.kill();
    server.lose_data();
    server.start_again().await;
    assert_eq!(next(&mut live).await.expect_err("its history is gone"), LogError::NoSession);

    let again = SessionId::random();
    while logs.create(&again).await.is_err() {}
    logs.append_run(0, event("a first event again")).await.expect("appended");
    let old = Start::from_last_id(Some(&EventKey { run: 1, entry: 4 }.to_id(&again)), &again);
    let mut resumed = follower(&logs, &again, old).await;
    assert!(matches!(next(&mut resumed).await, Ok(Followed::Reset)));
}
