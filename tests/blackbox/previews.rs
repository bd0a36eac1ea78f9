//! Previews: an early cutout by a small model while the large one sleeps, works or has failed.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use warmcut::config::Warm;

use crate::script::{Act, Gate, Script};
use crate::support::{PATIENCE, Session, TestApp, body, data, is, photo};

/// Of an event, what tells it from others.
fn kinds(events: &[Value]) -> Vec<String> {
    let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    events.iter().map(|event| format!("{} {}", text(event, "type"), text(event, "status"))).collect()
}

#[tokio::test]
async fn a_photo_that_comes_while_the_model_sleeps_is_answered_by_a_preview_and_then_by_the_cutout() {
    let gate = Gate::default();
    let small = Arc::default();
    let app = TestApp::spawn_with_previews(Script::loads([Act::Wait(gate.clone())]), &small, |_| ()).await;
    let session = app.open().await;
    let mut channel = app.resume(&session, None).await;
    assert_eq!(app.upload(&session, "upload=u1&bg_color=ff0000&format=webp", data("cat.jpg")).await.0, 202);
    let preview = channel.until(is("preview", "")).await.pop().unwrap();
    assert_eq!(preview["model"], "small");
    assert_eq!((&preview["mime"], &preview["delivery"]), (&"image/webp".into(), &"url".into()));
    let (width, height) = (preview["width"].as_u64().unwrap(), preview["height"].as_u64().unwrap());
    assert!((240_000..=250_000).contains(&(width * height)), "{width} by {height}");
    let url = app.url(preview["url"].as_str().unwrap());
    let response = app.http.get(&url).bearer_auth(&session.token).send().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (200.try_into().unwrap(), &"image/webp".parse().unwrap())
    );
    assert_eq!(response.bytes().await.unwrap().len() as u64, preview["bytes"].as_u64().unwrap());
    let snapshot = app.snapshot(&session).await;
    assert_eq!(snapshot["jobs"][0]["preview"]["url"], preview["url"]);
    gate.open();
    let events = channel.until(is("job", "succeeded")).await;
    let cutout = events.iter().find(|event| event["type"] == "cutout").unwrap();
    assert_eq!((&cutout["model"], &cutout["degraded"]), (&"scripted".into(), &false.into()));
    assert!(!kinds(&events).contains(&"preview ".to_owned()), "one is enough");
}

#[tokio::test]
async fn a_photo_whose_turn_is_at_once_gets_no_preview() {
    let small = Arc::default();
    let app = TestApp::spawn_with_previews(Arc::default(), &small, |_| ()).await;
    assert_eq!(app.post("/warmup", "").await.0, 200);
    let session = app.open().await;
    assert_eq!(app.upload(&session, "upload=u1&wait=true", photo(1)).await.0, 200);
    let events = app.resume(&session, None).await.until(is("job", "succeeded")).await;
    assert!(events.iter().all(|event| event["type"] != "preview"), "{events:#?}");
    let job = events.last().unwrap()["job"].as_str().unwrap();
    for (job, says) in [(job, "has no preview"), ("j_none", "has no job")] {
        let url = app.url(&format!("/v1/sessions/{}/jobs/{job}/preview", session.id));
        let (status, problem) =
            body(app.http.get(url).bearer_auth(&session.token).send().await.unwrap()).await;
        assert_eq!((status, &problem["code"]), (404, &"unknown_job".into()));
        assert!(problem["message"].as_str().unwrap().contains(says), "{problem}");
    }
    assert!(small.inferred() <= 1, "its own warm-up's at most");
}

#[tokio::test]
async fn a_photo_behind_others_gets_a_preview() {
    let gate = Gate::default();
    let script = Script::inferences([Act::Wait(gate.clone()), Act::Wait(gate.clone())]);
    let app = TestApp::spawn_with_previews(script, &Arc::default(), |_| ()).await;
    assert_eq!(app.post("/warmup", "").await.0, 200);
    let session = app.open().await;
    let mut channel = app.resume(&session, None).await;
    for n in 1..=2 {
        app.upload(&session, &format!("upload=u{n}"), photo(n)).await;
        channel.until(|event| event["status"] == "processing").await;
    }
    let (_, waiting) = app.upload(&session, "upload=u3", photo(3)).await;
    let preview = channel.until(is("preview", "")).await.pop().unwrap();
    assert_eq!(preview["job"], waiting["job"]);
    gate.open();
    channel.until(|event| event["job"] == waiting["job"] && event["status"] == "succeeded").await;
}

#[tokio::test]
async fn over_a_socket_the_bytes_of_preview_and_cutout_follow_their_events() {
    let gate = Gate::default();
    let script = Script::loads([Act::Wait(gate.clone())]);
    let app = TestApp::spawn_with_previews(script, &Arc::default(), |_| ()).await;
    let mut socket = app.socket("trigger=upload", "warmcut.v1").await;
    let cat = data("cat.jpg");
    socket.announce("u1", cat.len()).await;
    socket.until(is("upload", "accepted")).await;
    for piece in cat.chunks(1 << 20) {
        socket.bytes(piece).await;
    }
    for (kind, side) in [("preview", 433), ("cutout", 1086)] {
        let event = socket.until(is(kind, "")).await.pop().unwrap();
        assert_eq!((event["delivery"].as_str(), event["height"].as_u64()), (Some("inline"), Some(side)));
        let (mut bytes, whole) = (Vec::new(), event["bytes"].as_u64().unwrap() as usize);
        while bytes.len() < whole {
            let Message::Binary(piece) = socket.message().await else { panic!("something between") };
            bytes.extend_from_slice(&piece);
        }
        assert_eq!(bytes.len(), whole);
        assert_eq!(bytes[..4], *b"\x89PNG");
        gate.open();
    }
    assert_eq!(socket.next().await["status"], "succeeded");
}

#[tokio::test]
async fn the_small_model_can_be_asked_for_and_wakes_nothing() {
    let app = TestApp::spawn_with_previews(Arc::default(), &Arc::default(), |config| {
        config.warm = Warm::Intent;
    })
    .await;
    let cut = app.http.post(app.url("/v1/cutouts?model=preview")).body(photo(1)).send().await.unwrap();
    assert_eq!(cut.status(), 200);
    assert!(!cut.headers().contains_key("warmcut-degraded"));
    let by_name = app.http.post(app.url("/v1/cutouts?model=small")).body(photo(1)).send().await.unwrap();
    assert_eq!(by_name.headers()["warmcut-cached"], "true", "by the same model");
    let (status, problem) = app.post("/v1/cutouts?model=large", photo(1)).await;
    assert_eq!((status, &problem["code"]), (404, &"unknown_model".into()));
    assert!(problem["message"].as_str().unwrap().ends_with("scripted, small, preview"), "{problem}");
    assert_eq!(*app.script.loaded.lock().unwrap(), 0, "the large model sleeps");

    let (_, opened) = app.post("/v1/sessions", "").await;
    assert_eq!(opened["models"], json!(["scripted", "small", "preview"]));
    let session = Session::of(&opened);
    let mut channel = app.resume(&session, None).await;
    app.upload(&session, "upload=u1&model=preview", data("cat.jpg")).await;
    let events = channel.until(is("job", "succeeded")).await;
    let cutout = events.iter().find(|event| event["type"] == "cutout").unwrap();
    assert_eq!((&cutout["model"], &cutout["degraded"]), (&"small".into(), &false.into()));
    assert_eq!(cutout["height"], 1086, "in full size");
    let (status, exists) = app.upload(&session, "upload=u1&model=preview&wait=true", photo(9)).await;
    assert_eq!(status, 200, "the same upload is the same job: {exists}");
}

#[tokio::test]
async fn with_one_model_the_preview_model_is_that_one() {
    let app = TestApp::ready().await;
    let (_, opened) = app.post("/v1/sessions", "").await;
    assert_eq!(opened["models"], json!(["scripted"]));
    let ask = |query: &'static str| app.http.post(app.url(query)).body(photo(1)).send();
    assert_eq!(ask("/v1/cutouts?model=preview").await.unwrap().status(), 200);
    assert_eq!(ask("/v1/cutouts").await.unwrap().headers()["warmcut-cached"], "true", "by the same model");
}

#[tokio::test]
async fn a_job_of_the_small_model_can_be_canceled_and_waits_its_turn() {
    let gate = Gate::default();
    let small = Script::inferences([Act::Wait(gate.clone())]);
    let app = TestApp::spawn_with_previews(Arc::default(), &small, |_| ()).await;
    let session = app.open().await;
    let mut channel = app.resume(&session, None).await;
    app.upload(&session, "upload=u1&model=preview", photo(1)).await;
    channel.until(|event| event["step"] == "infer").await;
    let (_, second) = app.upload(&session, "upload=u2&model=preview", photo(2)).await;
    let queued = channel.until(is("job", "queued")).await.pop().unwrap();
    assert_eq!((&queued["job"], &queued["position"]), (&second["job"], &1.into()));
    let job = second["job"].as_str().unwrap();
    let url = app.url(&format!("/v1/sessions/{}/jobs/{job}", session.id));
    let canceled = app.http.delete(url).bearer_auth(&session.token).send().await.unwrap();
    assert_eq!(canceled.status(), 204);
    assert_eq!(channel.until(is("job", "canceled")).await.pop().unwrap()["job"], second["job"]);
    gate.open();
    channel.until(is("job", "succeeded")).await;
}

#[tokio::test]
async fn when_the_model_fails_the_small_one_stands_in_and_says_so() {
    let fail = || Act::Fail("no such weights");
    let script = Script::loads([fail(), fail(), fail()]);
    let app = TestApp::spawn_with_previews(script, &Arc::default(), |config| {
        config.warmup_cooldown = PATIENCE;
    })
    .await;
    let session = app.open().await;
    let mut channel = app.resume(&session, None).await;
    // It waits for the model from before its failure, the next one comes after.
    for upload in ["u1", "u2"] {
        assert_eq!(app.upload(&session, &format!("upload={upload}"), data("cat.jpg")).await.0, 202);
        let events = channel.until(is("job", "succeeded")).await;
        let cutout = events.iter().find(|event| event["type"] == "cutout").unwrap();
        assert_eq!((&cutout["model"], &cutout["degraded"]), (&"small".into(), &true.into()), "{cutout}");
        assert_eq!((&cutout["height"], &cutout["notes"]), (&1086.into(), &json!(["preview_model_stood_in"])));
    }
    let waited = app.http.post(app.url(&format!("/v1/sessions/{}/uploads?wait=true", session.id)));
    let waited = waited.bearer_auth(&session.token).body(photo(1)).send().await.unwrap();
    assert_eq!(
        (waited.status().as_u16(), &waited.headers()["warmcut-degraded"]),
        (200, &"true".parse().unwrap())
    );

    assert_eq!(app.post("/warmup", "").await.0, 200, "the script has no more failures");
    let (_, third) = app.upload(&session, "upload=u3", data("cat.jpg")).await;
    let mut events =
        channel.until(|event| event["job"] == third["job"] && event["status"] == "succeeded").await;
    events.retain(|event| event["job"] == third["job"]);
    let cutout = events.iter().find(|event| event["type"] == "cutout").unwrap();
    let facts = (&cutout["model"], &cutout["degraded"], &cutout["cached"]);
    assert_eq!(facts, (&"scripted".into(), &false.into(), &false.into()), "nothing is poisoned");
}

#[tokio::test]
async fn when_both_fail_the_job_does() {
    let fail = || Act::Fail("no such weights");
    let app = TestApp::spawn_with_previews(
        Script::loads([fail(), fail(), fail()]),
        &Script::inferences([fail(), fail(), fail()]),
        |config| config.warmup_cooldown = PATIENCE,
    )
    .await;
    let session = app.open().await;
    let mut channel = app.resume(&session, None).await;
    assert_eq!(app.upload(&session, "upload=u1", photo(1)).await.0, 202);
    let events = channel.until(is("job", "failed")).await;
    assert_eq!(events[events.len() - 2]["code"], "warmup_failed", "{events:#?}");
}

#[tokio::test]
async fn a_small_model_that_cannot_be_loaded_shows_in_the_metrics() {
    let small = Script::loads([Act::Fail("no such weights")]);
    let app = TestApp::spawn_with_previews(Arc::default(), &small, |_| ()).await;
    until(&app, |metrics| metrics.lines().any(|line| line == "warmcut_preview_model_ready 0")).await;
}

#[tokio::test]
async fn a_broken_photo_has_one_problem_and_no_preview() {
    let gate = Gate::default();
    let script = Script::loads([Act::Wait(gate.clone())]);
    let app = TestApp::spawn_with_previews(script, &Arc::default(), |_| ()).await;
    let session = app.open().await;
    let mut channel = app.resume(&session, None).await;
    app.upload(&session, "upload=u1", data("truncated.jpg")).await;
    until(&app, |metrics| metrics.lines().any(|line| line == "warmcut_preview_model_ready 1")).await;
    let counted = r#"warmcut_previews_total{outcome="skipped"}"#;
    until(&app, |metrics| metrics.lines().any(|line| line.starts_with(counted) && !line.ends_with(" 0")))
        .await;
    gate.open();
    let events = channel.until(is("job", "failed")).await;
    let codes: Vec<_> = events.iter().filter_map(|event| event["code"].as_str()).collect();
    assert_eq!(codes, ["corrupt_image"]);
    assert!(events.iter().all(|event| event["type"] != "preview"));
}

async fn until(app: &TestApp, is: impl Fn(&str) -> bool) {
    let look = async {
        loop {
            let metrics = app.http.get(app.url("/metrics")).send().await.unwrap().text().await.unwrap();
            if is(&metrics) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("it is counted");
}

#[tokio::test]
async fn a_server_that_goes_does_not_wait_for_previews() {
    let (large, gate) = (Gate::default(), Gate::default());
    let script = Script::loads([Act::Wait(large.clone())]);
    let small = Script::inferences([Act::Wait(gate.clone())]);
    let mut app = TestApp::spawn_with_previews(script, &small, |_| ()).await;
    let session = app.open().await;
    let mut channel = app.resume(&session, None).await;
    app.upload(&session, "upload=u1", photo(1)).await;
    channel.until(is("job", "starting")).await;
    app.begin_stop();
    let events = channel.until(is("job", "failed")).await;
    assert_eq!(events[events.len() - 2]["code"], "draining");
    gate.open();
    large.open();
    assert!(app.stop().await < PATIENCE / 4);
    while let Some(event) = channel.next().await {
        assert_ne!(event["type"], "preview");
    }
}
