//! Previews: an early cutout by a small model while the large one sleeps, works or has failed.

use std::sync::Arc;

use serde_json::Value;

use crate::script::{Act, Gate, Script};
use crate::support::{TestApp, data, is, photo};

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
    assert!(small.inferred() <= 1, "its own warm-up's at most");
}
