//! Going away: told to every channel, nothing left without an end.

use std::time::Duration;

use crate::script::{Act, Gate, Script};
use crate::support::{TestApp, is, photo};

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
