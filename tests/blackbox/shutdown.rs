//! Going away: told to every channel, nothing left without an end.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::script::{Act, Gate, Script};
use crate::support::{PATIENCE, TestApp, body, is, photo};

#[tokio::test]
async fn every_channel_hears_drain_and_a_running_job_finishes_first() {
    let gate = Gate::default();
    let mut app = TestApp::ready_with(Script::inferences([Act::Wait(gate.clone())]), |_| ()).await;
    let session = app.open().await;
    let mut sse = app.resume(&session, None).await;
    let mut socket = app.socket("", &format!("warmcut.v1, bearer.{}", session.token)).await;
    app.upload(&session, "upload=u1", photo(1)).await;
    sse.until(|event| event["step"] == "infer").await;
    app.begin_stop();
    let drain = sse.until(is("drain", "")).await;
    assert!(drain.last().unwrap()["reconnect_in_ms"].is_u64());
    socket.until(is("drain", "")).await;
    assert_eq!(app.get("/livez").await.0, 503);
    assert_eq!(app.get("/readyz").await.0, 503);
    assert_eq!(app.post("/v1/sessions", "").await.0, 503, "nothing new begins");
    gate.open();
    sse.until(is("job", "succeeded")).await;
    assert!(sse.next().await.is_none(), "then the stream ends");
    let (code, events) = socket.closed().await;
    assert_eq!(code, 1012);
    assert!(events.iter().any(|event| event["status"] == "succeeded"));
    assert!(app.stop().await < Duration::from_secs(8));
}

#[tokio::test]
async fn a_job_that_does_not_finish_in_time_ends_with_a_problem() {
    let gate = Gate::default();
    let mut app =
        TestApp::ready_with(Script::inferences([Act::Wait(gate.clone())]), |config| config.workers = 1).await;
    let session = app.open().await;
    let mut sse = app.resume(&session, None).await;
    app.upload(&session, "upload=runs", photo(1)).await;
    sse.until(|event| event["step"] == "infer").await;
    app.upload(&session, "upload=waits", photo(2)).await;
    app.begin_stop();
    let mut ends = Vec::new();
    while let Some(event) = sse.next().await {
        if event["status"] == "failed" {
            ends.push(event["upload"].as_str().unwrap().to_owned());
        }
    }
    ends.sort();
    assert_eq!(ends, ["runs", "waits"]);
    assert!(app.stop().await < Duration::from_secs(8));
    gate.open();
}

/// A server whose model loads until the gate opens.
async fn warming() -> (TestApp, Gate) {
    let gate = Gate::default();
    (TestApp::spawn(Script::loads([Act::Wait(gate.clone())]), |_| ()).await, gate)
}

fn problems(events: &[Value]) -> Vec<&str> {
    let problems = events.iter().filter(|event| event["type"] == "problem");
    problems.filter_map(|event| event["code"].as_str()).collect()
}

#[tokio::test]
async fn a_warm_up_ends_quietly_and_every_channel_hears_drain() {
    let (mut app, gate) = warming().await;
    let mut sse = app.sse("trigger=hover").await;
    sse.until(is("stage", "progress")).await;
    let mut socket = app.socket("trigger=hover", "warmcut.v1").await;
    socket.until(is("stage", "progress")).await;
    app.begin_stop();
    let mut events = Vec::new();
    while let Some(event) = sse.next().await {
        events.push(event);
    }
    assert_eq!(events.iter().filter(|event| event["type"] == "drain").count(), 1, "{events:#?}");
    let (code, heard) = socket.closed().await;
    assert_eq!((code, heard.iter().filter(|event| event["type"] == "drain").count()), (1012, 1));
    events.extend(heard);
    assert_eq!(problems(&events), [""; 0], "nothing failed");
    assert!(events.iter().all(|event| event["status"] != "failed"), "{events:#?}");
    assert!(app.stop().await < Duration::from_secs(8));
    gate.open();
}

#[tokio::test]
async fn jobs_that_wait_for_the_model_end_with_draining() {
    let (mut app, gate) = warming().await;
    let session = app.open().await;
    let mut sse = app.resume(&session, None).await;
    assert_eq!(app.upload(&session, "upload=u1", photo(1)).await.0, 202);
    sse.until(is("job", "starting")).await;
    let url = app.url(&format!("/v1/sessions/{}/uploads?upload=u2&wait=true", session.id));
    let waits = tokio::spawn(app.http.post(url).bearer_auth(&session.token).body(photo(2)).send());
    sse.until(|event| event["upload"] == "u2" && event["status"] == "starting").await;
    app.begin_stop();
    let mut events = Vec::new();
    while let Some(event) = sse.next().await {
        events.push(event);
    }
    assert_eq!(problems(&events), ["draining"; 2]);
    assert_eq!(events.iter().filter(|event| event["status"] == "failed").count(), 2);
    let (status, problem) = body(waits.await.unwrap().unwrap()).await;
    assert_eq!((status, &problem["code"]), (503, &"draining".into()));
    assert!(app.stop().await < Duration::from_secs(8));
    gate.open();
}

#[tokio::test]
async fn an_upload_that_is_half_here_is_rejected() {
    let gate = Gate::default();
    let mut app = TestApp::ready_with(Script::inferences([Act::Wait(gate.clone())]), |_| ()).await;
    let mut socket = app.socket("trigger=manual", "warmcut.v1").await;
    socket.until(is("ready", "")).await;
    socket.announce("u1", photo(1).len()).await;
    socket.bytes(&photo(1)[..200]).await;
    // Received and not only sent: the mistake behind it is answered.
    socket.say(json!({"type": "nonsense"})).await;
    socket.until(is("problem", "")).await;

    let session = app.open().await;
    let mut sse = app.resume(&session, None).await;
    // A job that runs holds the end back until everybody has been answered.
    app.upload(&session, "upload=runs", photo(3)).await;
    sse.until(|event| event["step"] == "infer").await;
    let half = || {
        let first = Bytes::copy_from_slice(&photo(2)[..200]);
        let bytes = stream::iter([Ok::<_, std::io::Error>(first)]).chain(stream::pending());
        reqwest::Body::wrap_stream(bytes)
    };
    let upload = |path: &str| {
        let request = app.http.post(app.url(path)).bearer_auth(&session.token);
        tokio::spawn(request.body(half()).send())
    };
    let in_session = upload(&format!("/v1/sessions/{}/uploads?upload=u2", session.id));
    sse.until(is("upload", "accepted")).await;
    let one_shot = upload("/v1/cutouts");
    app.begin_stop();
    for answer in [in_session, one_shot] {
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap().unwrap();
        let (status, problem) = body(answer).await;
        assert_eq!((status, &problem["code"]), (503, &"draining".into()));
    }
    gate.open();

    let mut events = Vec::new();
    while let Some(event) = sse.next().await {
        events.push(event);
    }
    assert_eq!(problems(&events), ["draining"]);
    let rejected = events.iter().find(|event| event["status"] == "rejected").expect("its end");
    assert_eq!(rejected["upload"], "u2");
    let (code, heard) = socket.closed().await;
    assert_eq!((code, problems(&heard)), (1012, vec!["draining"]));
    assert!(heard.iter().any(|event| event["status"] == "rejected" && event["upload"] == "u1"));
    assert!(app.stop().await < Duration::from_secs(8));
}
