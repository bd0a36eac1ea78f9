//! SSE and polling: immediate first bytes, replay without gap or repeat, reset, pings, expiry.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::script::{Act, Gate, Script};
use crate::support::{PATIENCE, Session, TestApp, is, photo};

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["id"].as_str()).collect()
}

#[tokio::test]
async fn the_first_bytes_come_at_once_with_the_right_headers() {
    let gate = Gate::default();
    let app = TestApp::spawn(Script::loads([Act::Wait(gate.clone())]), |_| ()).await;
    let mut channel = app.sse("trigger=hover").await;
    assert_eq!(channel.headers["content-type"], "text/event-stream");
    assert_eq!(channel.headers["cache-control"], "no-store, no-transform");
    assert_eq!(channel.headers["x-accel-buffering"], "no");
    assert!(channel.headers.get("content-encoding").is_none());
    let first = channel.block().await.unwrap();
    assert!(first.starts_with(": warmcut\nretry: 2000\nevent: session\ndata: "), "{first}");
    let session: Value = serde_json::from_str(first.rsplit_once("data: ").unwrap().1).unwrap();
    assert_eq!((&session["type"], &session["resumed"]), (&"session".into(), &false.into()));
    assert!(session.get("id").is_none(), "it belongs to the channel");
    assert_eq!(session["limits"]["accepts"], serde_json::json!(["image/jpeg", "image/png", "image/webp"]));
    assert_eq!(session["models"], serde_json::json!(["scripted"]));
    gate.open();
}

#[tokio::test]
async fn resuming_after_any_event_gives_exactly_the_rest_also_during_a_run() {
    let gate = Gate::default();
    let app = TestApp::spawn(Script::loads([Act::Wait(gate.clone())]), |_| ()).await;
    let mut first = app.sse("trigger=hover").await;
    let early = first.until(is("stage", "progress")).await;
    let session = Session::of(&early[0]);
    let cut = early.last().unwrap()["id"].as_str().unwrap().to_owned();
    drop(first);
    // While nobody listens, the run goes on and a photo is cut out.
    assert_eq!(app.upload(&session, "upload=u1", photo(1)).await.0, 202);
    gate.open();
    let late = app.resume(&session, Some(&cut)).await.until(is("job", "succeeded")).await;
    assert_eq!(late[0]["resumed"], true);
    let whole = app.resume(&session, None).await.until(is("job", "succeeded")).await;
    let joined: Vec<&str> = ids(&early).into_iter().chain(ids(&late)).collect();
    assert_eq!(joined, ids(&whole), "early and late are the whole, each once");
    for (n, id) in ids(&whole).iter().enumerate().rev().skip(1) {
        let rest = app.resume(&session, Some(id)).await.until(is("job", "succeeded")).await;
        assert_eq!(ids(&rest), ids(&whole)[n + 1..]);
    }
}

#[tokio::test]
async fn a_made_up_id_gets_reset_and_the_present_with_its_own_ids() {
    let app = TestApp::ready().await;
    let session = app.open().await;
    app.upload(&session, "upload=u1&wait=true", photo(1)).await;
    let whole = app.resume(&session, None).await.until(is("job", "succeeded")).await;
    for made_up in ["made-up", "1.0.aaaaaaaa", "999999.0.aaaaaaaa", "-1", "18446744073709551615.0.x"] {
        let mut channel = app.resume(&session, Some(made_up)).await;
        let events = channel.until(is("job", "succeeded")).await;
        assert_eq!(events[1]["type"], "reset", "{made_up}");
        let present = ids(&events);
        assert!(present.iter().all(|id| ids(&whole).contains(id)), "their own ids");
        let order: Vec<usize> =
            present.iter().map(|id| ids(&whole).iter().position(|known| known == id).unwrap()).collect();
        assert!(order.is_sorted(), "in order");
        assert_eq!(
            events.iter().filter(|event| event["type"] == "stage").count(),
            3,
            "the last of each stage"
        );
        assert_eq!(events.iter().filter(|event| event["type"] == "job").count(), 1);
        // And it is live again.
        app.upload(&session, &format!("upload=after-{}", order.len()), photo(9)).await;
        let next = channel.next().await.unwrap();
        assert_eq!(next["type"], "upload");
    }
}

#[tokio::test]
async fn another_sessions_id_is_a_made_up_one() {
    let app = TestApp::ready().await;
    let (mine, other) = (app.open().await, app.open().await);
    let theirs = app.resume(&other, None).await.until(is("ready", "")).await;
    let id = theirs.last().unwrap()["id"].as_str().unwrap();
    let events = app.resume(&mine, Some(id)).await.until(is("ready", "")).await;
    assert_eq!(events[1]["type"], "reset");
}

#[tokio::test]
async fn the_same_nonce_resumes_and_the_header_wins_over_the_query() {
    let app = TestApp::ready().await;
    let query = "trigger=hover&open=0123456789abcdef0123456789abcdef";
    let first = app.sse(query).await.until(is("ready", "")).await;
    let last = first.last().unwrap()["id"].as_str().unwrap();
    let before = first[first.len() - 2]["id"].as_str().unwrap();
    let url = app.url(&format!("/v1/events?{query}&last_event_id={last}"));
    let response = app.http.get(url).header("last-event-id", before).send().await.unwrap();
    let text = {
        use futures_util::StreamExt;
        let mut text = String::new();
        let mut stream = response.bytes_stream();
        while !text.contains("event: ready") {
            let piece =
                tokio::time::timeout(PATIENCE, stream.next()).await.expect("it comes").unwrap().unwrap();
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        text
    };
    assert!(text.contains("\"resumed\":true") && !text.contains("event: stage"), "{text}");
}

#[tokio::test]
async fn two_channels_of_one_session_both_see_every_event() {
    let app = TestApp::ready().await;
    let session = app.open().await;
    let (mut one, mut two) = (app.resume(&session, None).await, app.resume(&session, None).await);
    app.upload(&session, "upload=u1", photo(1)).await;
    let one = one.until(is("job", "succeeded")).await;
    let two = two.until(is("job", "succeeded")).await;
    assert_eq!(ids(&one), ids(&two));
}

#[tokio::test]
async fn a_quiet_channel_pings() {
    let app =
        TestApp::ready_with(Arc::default(), |config| config.ping_every = Duration::from_millis(50)).await;
    let events = app.sse("trigger=hover").await.until(is("ping", "")).await;
    let ping = events.last().unwrap();
    assert!(ping.get("id").is_none() && ping["at_ms"].is_u64());
}

#[tokio::test]
async fn an_idle_session_expires_and_its_token_says_so() {
    let app =
        TestApp::ready_with(Arc::default(), |config| config.session_ttl = Duration::from_millis(150)).await;
    let session = app.open().await;
    let url = app.url(&format!("/v1/sessions/{}", session.id));
    let expired = async {
        // Asking would keep it alive, so ask seldom.
        loop {
            tokio::time::sleep(Duration::from_millis(400)).await;
            let (status, problem) =
                crate::support::body(app.http.get(&url).bearer_auth(&session.token).send().await.unwrap())
                    .await;
            if status == 401 {
                return problem;
            }
        }
    };
    let problem = tokio::time::timeout(PATIENCE, expired).await.expect("it expires");
    assert_eq!(problem["code"], "session_expired");
}

#[tokio::test]
async fn polling_sees_what_channels_see() {
    let app = TestApp::ready().await;
    let session = app.open().await;
    let before = app.snapshot(&session).await;
    assert_eq!((&before["run"]["status"], &before["run"]["progress"]), (&"ready".into(), &1.0.into()));
    assert_eq!(before["run"]["stages"].as_array().unwrap().len(), 3);
    app.upload(&session, "upload=u1&wait=true", photo(1)).await;
    let after = app.snapshot(&session).await;
    let job = &after["jobs"][0];
    assert_eq!((&job["upload"], &job["status"]), (&"u1".into(), &"succeeded".into()));
    let whole = app.resume(&session, None).await.until(is("job", "succeeded")).await;
    assert_eq!(after["last_event_id"], whole.last().unwrap()["id"]);
    let cutout = whole.iter().find(|event| event["type"] == "cutout").unwrap();
    assert_eq!(&job["cutout"], cutout);
    // Resuming a channel from the snapshot's id repeats nothing.
    let id = after["last_event_id"].as_str().unwrap();
    let mut channel = app.resume(&session, Some(id)).await;
    channel.next().await.unwrap();
    app.upload(&session, "upload=u2", photo(2)).await;
    assert_eq!(channel.next().await.unwrap()["upload"], "u2");
}

#[tokio::test]
async fn a_session_has_a_bound_on_channels() {
    let app = TestApp::ready().await;
    let session = app.open().await;
    let mut open = Vec::new();
    let refused = loop {
        let channel = app.resume(&session, None).await;
        if channel.status != 200 {
            break channel.status;
        }
        open.push(channel);
    };
    assert_eq!((refused, open.len()), (429, 16));
}
