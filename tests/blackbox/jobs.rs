//! The queue, results, the cache, and who stops a job.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use warmcut::app::{Model, known_to};
use warmcut::config::Config;
use warmcut::model::Registry;

use crate::script::{Act, Gate, Script};
use crate::support::{PATIENCE, TestApp, is, photo};

#[tokio::test]
async fn a_full_queue_says_so_and_the_rest_is_served() {
    let gate = Gate::default();
    let script = Script::inferences([Act::Wait(gate.clone())]);
    let app = TestApp::ready_with(script, |config| (config.queue, config.workers) = (3, 1)).await;
    let session = app.open().await;
    for n in 0..3 {
        assert_eq!(app.upload(&session, &format!("upload=u{n}"), photo(n)).await.0, 202);
    }
    let request = app.http.post(app.url(&format!("/v1/sessions/{}/uploads?upload=u9", session.id)));
    let refused = request.bearer_auth(&session.token).body(photo(9)).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(crate::support::body(refused).await.1["code"], "queue_full");
    assert_eq!(app.get("/readyz").await.0, 503, "a cutout would not run now");
    gate.open();
    let mut channel = app.resume(&session, None).await;
    for _ in 0..3 {
        channel.until(is("job", "succeeded")).await;
    }
}

#[tokio::test]
async fn those_who_wait_hear_of_their_place() {
    let gate = Gate::default();
    let script = Script::inferences([Act::Wait(gate.clone())]);
    let app = TestApp::ready_with(script, |config| config.workers = 1).await;
    let session = app.open().await;
    let mut channel = app.resume(&session, None).await;
    app.upload(&session, "upload=u0", photo(0)).await;
    channel.until(|event| event["step"] == "infer").await;
    for n in 1..=3 {
        app.upload(&session, &format!("upload=u{n}"), photo(n)).await;
        let events = channel.until(is("job", "queued")).await;
        assert_eq!(
            (&events.last().unwrap()["position"], &events.last().unwrap()["eta_ms"]),
            (&n.into(), &Value::Null)
        );
    }
    gate.open();
    let events = channel.until(|event| event["upload"] == "u3" && event["status"] == "succeeded").await;
    let positions: Vec<u64> = events
        .iter()
        .filter(|event| event["upload"] == "u3")
        .filter_map(|event| event["position"].as_u64())
        .collect();
    assert!(positions.is_sorted_by(|a, b| a > b), "it only comes nearer: {positions:?}");
    for upload in ["u0", "u1", "u2", "u3"] {
        let last = events.iter().rev().find(|event| event["upload"] == upload && event["type"] == "job");
        assert_eq!(last.unwrap()["status"], "succeeded");
    }
}

#[tokio::test]
async fn a_shopper_in_a_tunnel_gets_the_cutout() {
    let gate = Gate::default();
    let app = TestApp::ready_with(Script::inferences([Act::Wait(gate.clone())]), |_| ()).await;
    let session = app.open().await;
    let mut channel = app.resume(&session, None).await;
    app.upload(&session, "upload=u1", photo(1)).await;
    let before = channel.until(|event| event["step"] == "infer").await;
    drop(channel);
    gate.open();
    let last = before.last().unwrap()["id"].as_str().unwrap();
    let events = app.resume(&session, Some(last)).await.until(is("job", "succeeded")).await;
    let cutout = events.iter().find(|event| event["type"] == "cutout").unwrap();
    let request = app.http.get(app.url(cutout["url"].as_str().unwrap())).bearer_auth(&session.token);
    let bytes = request.send().await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes.len() as u64, cutout["bytes"].as_u64().unwrap());
}

#[tokio::test]
async fn a_waiting_request_that_closes_stops_its_job() {
    let gate = Gate::default();
    let script = Script::inferences([Act::Wait(gate.clone())]);
    let app = TestApp::ready_with(script, |config| config.workers = 1).await;
    let session = app.open().await;
    let mut channel = app.resume(&session, None).await;
    // One holds the network, one waits behind it, and the second one's request is closed.
    app.upload(&session, "upload=first", photo(1)).await;
    channel.until(|event| event["step"] == "infer").await;
    let waiting = app.upload(&session, "upload=second&wait=true", photo(2));
    tokio::select! {
        answer = waiting => panic!("{answer:?}"),
        _ = channel.until(|event| event["upload"] == "second" && event["status"] == "queued") => {}
    }
    channel.until(|event| event["upload"] == "second" && event["status"] == "canceled").await;
    gate.open();
    channel.until(|event| event["upload"] == "first" && event["status"] == "succeeded").await;
    assert_eq!(app.script.inferred(), 2, "the warm-up's and the first");
}

#[tokio::test]
async fn a_panic_in_one_job_ends_that_job() {
    let app = TestApp::ready_with(Script::inferences([Act::Panic, Act::Fail("cosmic ray")]), |_| ()).await;
    for n in 0..2 {
        let (status, problem) = app.post("/v1/cutouts", photo(n)).await;
        assert_eq!((status, &problem["code"]), (500, &"job_failed".into()));
        let message = problem["message"].as_str().unwrap();
        assert!(
            !message.contains("script") && !message.contains("cosmic"),
            "nothing of our insides: {message}"
        );
    }
    assert_eq!(app.post("/v1/cutouts", photo(3)).await.0, 200);
}

#[tokio::test]
async fn a_job_that_takes_too_long_fails() {
    let gate = Gate::default();
    let script = Script::inferences([Act::Wait(gate.clone())]);
    let app = TestApp::ready_with(script, |config| config.job_timeout = Duration::from_millis(100)).await;
    let (status, problem) = app.post("/v1/cutouts", photo(1)).await;
    assert_eq!((status, &problem["code"]), (500, &"job_failed".into()));
    gate.open();
    assert_eq!(app.post("/v1/cutouts", photo(2)).await.0, 200);
}

#[tokio::test]
async fn the_same_photo_with_the_same_options_is_cut_out_once() {
    let app = TestApp::ready().await;
    let ask = |query: &'static str| {
        let request = app.http.post(app.url(&format!("/v1/cutouts?{query}"))).body(photo(1));
        async { request.send().await.unwrap().headers()["warmcut-cached"].to_str().unwrap().to_owned() }
    };
    assert_eq!(ask("format=png").await, "false");
    assert_eq!(ask("").await, "true", "png is the default");
    assert_eq!(ask("format=png&quality=50").await, "true", "png has no quality");
    assert_eq!(ask("format=webp").await, "false");
    assert_eq!(app.script.inferred(), 3);
}

#[tokio::test]
async fn new_weights_under_an_old_name_make_new_cutouts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.safetensors");
    let mut weights =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/models/u2netp.safetensors")).unwrap();
    std::fs::write(&path, &weights).unwrap();
    let files = vec![format!("mine={}", path.display()).parse().unwrap()];
    let entry = Registry { files, ..Registry::default() }.entry("mine").unwrap();
    let model = Model { loader: entry.loader(), known: known_to(&entry).unwrap() };
    let app = TestApp::spawn_model(model, None, Arc::default(), |config: &mut Config| {
        config.operator_token = Some("op".into());
        config.unload_after = Some(Duration::from_millis(500));
    })
    .await;
    let cached = async || {
        let made = app.http.post(app.url("/v1/cutouts")).body(photo(1)).send().await.unwrap();
        made.headers()["warmcut-cached"].to_str().unwrap().to_owned()
    };
    let unload = async || {
        app.http.post(app.url("/model/unload")).bearer_auth("op").send().await.unwrap().status().as_u16()
    };
    assert_eq!(cached().await, "false");
    assert_eq!(cached().await, "true");
    assert_eq!(unload().await, 200);
    assert_eq!(cached().await, "true", "loaded once more, the weights are the same");
    // The least that one value can change.
    let lowest = weights.len() - 4;
    for idle in [false, true] {
        if idle {
            let unloaded = async {
                while app.get("/health").await.1["model_loaded"] == true {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(PATIENCE, unloaded).await.expect("unloaded when idle");
        }
        weights[lowest] ^= if idle { 2 } else { 1 };
        std::fs::write(&path, &weights).unwrap();
        assert_eq!(unload().await, 200);
        assert_eq!(cached().await, "false", "idle: {idle}");
        assert_eq!(cached().await, "true", "idle: {idle}");
    }
}

#[tokio::test]
async fn results_have_etags_and_a_lasting_address() {
    let app = TestApp::ready().await;
    let response = app.http.post(app.url("/v1/cutouts")).body(photo(1)).send().await.unwrap();
    let lasting = response.headers()["warmcut-cutout"].to_str().unwrap().to_owned();
    let etag = response.headers()["etag"].clone();
    let bytes = response.bytes().await.unwrap();
    let again = app.http.get(app.url(&lasting)).send().await.unwrap();
    assert!(again.headers()["cache-control"].to_str().unwrap().starts_with("private"));
    assert_eq!(again.bytes().await.unwrap(), bytes);
    let unchanged = app.http.get(app.url(&lasting)).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(unchanged.status(), 304);
    let (path, _) = lasting.split_once('?').unwrap();
    assert_eq!(app.get(path).await.0, 401, "an id alone opens nothing");
    assert_eq!(app.get(&lasting.replace("expires=", "expires=9")).await.0, 401, "nor does another time");
}

#[tokio::test]
async fn options_shape_the_result() {
    let app = TestApp::ready().await;
    let cut = |query: &'static str| {
        let request = app.http.post(app.url(&format!("/v1/cutouts?{query}"))).body(photo(1));
        async move {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 200, "{query}");
            let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
            (kind, response.bytes().await.unwrap())
        }
    };
    let png = |bytes: &[u8]| {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.width, info.height, info.color_type, pixels)
    };
    let (kind, whole) = cut("").await;
    let (width, height, color, pixels) = png(&whole);
    assert_eq!((kind.as_str(), width, height, color), ("image/png", 40, 40, png::ColorType::Rgba));
    assert_eq!((pixels[3], pixels[(20 * 40 + 20) * 4 + 3]), (0, 255), "corner and middle");
    let (_, cropped) = cut("crop=true").await;
    assert!(png(&cropped).0 < 30);
    let (_, mask) = cut("channels=alpha").await;
    assert_eq!(png(&mask).2, png::ColorType::Grayscale);
    let (_, red) = cut("bg_color=ff0000").await;
    assert_eq!(png(&red).3[..3], [255, 0, 0]);
    assert_eq!(cut("format=jpg").await.0, "image/jpeg");
    assert_eq!(cut("format=webp&quality=80").await.0, "image/webp");
    assert_eq!(cut("format=auto").await.0, "image/png");
}

#[tokio::test]
async fn uploads_beyond_memory_wait_on_disk_and_are_cut_out_all_the_same() {
    let gate = Gate::default();
    let dir = tempfile::tempdir().unwrap();
    let script = Script::inferences([Act::Wait(gate.clone())]);
    let app = TestApp::ready_with(script, |config| {
        (config.upload_memory, config.cache_memory, config.workers) = (1, 1, 1);
        config.state_dir = Some(dir.path().to_owned());
    })
    .await;
    let session = app.open().await;
    for n in 0..4 {
        app.upload(&session, &format!("upload=u{n}"), photo(n)).await;
    }
    let files = || {
        let spool =
            std::fs::read_dir(dir.path()).unwrap().flatten().find(|entry| entry.path().is_dir()).unwrap();
        std::fs::read_dir(spool.path().join("uploads")).unwrap().count()
    };
    assert!(files() >= 3, "they wait on disk");
    gate.open();
    let mut channel = app.resume(&session, None).await;
    for _ in 0..4 {
        channel.until(is("job", "succeeded")).await;
    }
    let gone = async {
        while files() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("what was cut out is deleted");
}

#[tokio::test]
async fn a_retry_keeps_the_job_that_the_first_request_left() {
    let gate = Gate::default();
    let app = TestApp::ready_with(Script::inferences([Act::Wait(gate.clone())]), |_| ()).await;
    let session = app.open().await;
    let mut channel = app.resume(&session, None).await;
    let ask = || {
        let url = app.url(&format!("/v1/sessions/{}/uploads?upload=u1&wait=true", session.id));
        tokio::spawn(app.http.post(url).bearer_auth(&session.token).body(photo(1)).send())
    };
    let first = ask();
    channel.until(|event| event["step"] == "infer").await;
    let retry = ask();
    // Nothing tells when the retry has begun to wait; long before this it has.
    tokio::time::sleep(Duration::from_millis(300)).await;
    first.abort();
    assert!(first.await.is_err());
    // Nor when the server has noticed that the first has gone.
    tokio::time::sleep(Duration::from_millis(200)).await;
    gate.open();
    let answer = tokio::time::timeout(PATIENCE, retry).await.expect("an answer").unwrap().unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_long_mistake_does_not_hang_those_who_wait() {
    let gate = Gate::default();
    let app = TestApp::ready_with(Script::inferences([Act::Wait(gate.clone())]), |_| ()).await;
    let session = app.open().await;
    let mut channel = app.resume(&session, None).await;
    let waiting = app.upload(&session, "upload=u1&wait=true", photo(1));
    let mistake = async {
        channel.until(|event| event["step"] == "infer").await;
        let mut socket = app.socket("", &format!("warmcut.v1, bearer.{}", session.token)).await;
        socket.say(serde_json::json!({"type": "A".repeat(180_000)})).await;
        let problem = channel.until(is("problem", "")).await.pop().unwrap();
        assert!(problem["message"].as_str().unwrap().len() < 1000);
        gate.open();
    };
    let (answer, ()) = tokio::join!(waiting, mistake);
    assert_eq!(answer.0, 200);
}

#[tokio::test]
async fn who_waits_for_a_job_whose_end_has_left_the_log_gets_its_cutout() {
    let app = TestApp::ready().await;
    let session = app.open().await;
    assert_eq!(app.upload(&session, "upload=u1&wait=true", photo(1)).await.0, 200);
    // Each refusal is two events, and a log keeps 512.
    for _ in 0..300 {
        assert_eq!(app.upload(&session, "upload=bad&model=none", photo(1)).await.0, 404);
    }
    let again = app.upload(&session, "upload=u1&wait=true", photo(1));
    let (status, _) = tokio::time::timeout(PATIENCE, again).await.expect("an answer");
    assert_eq!(status, 200);
    assert_eq!(app.script.inferred(), 2, "the warm-up's and the photo's");
}
