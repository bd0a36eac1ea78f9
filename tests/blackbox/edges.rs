//! The edges of HTTP: whatever is refused is refused with a problem, and says nothing of our insides.

use std::sync::Arc;

use reqwest::Method;
use tokio_tungstenite::tungstenite::Message;
use warmcut::app::{Model, default_loader, known};
use warmcut::config::Warm;
use warmcut::model::device::Cpu;

use crate::support::{TestApp, body, is};

#[tokio::test]
async fn every_refusal_is_a_problem_with_the_status_that_it_came_with() {
    let app = TestApp::ready().await;
    for (method, path, status, code, says) in [
        ("GET", "/v1/events?trigger=hover&trigger=focus", 400, "bad_request", "duplicate field `trigger`"),
        ("POST", "/v1/sessions?key=a&key=b", 400, "bad_request", "duplicate field `key`"),
        ("POST", "/v1/sessions/s_x/uploads?upload=a&upload=b", 400, "bad_request", "more than once"),
        ("GET", "/v1/cutouts/c_x?expires=soon", 400, "bad_request", "expires"),
        ("GET", "/v1/sessions/%ff", 400, "bad_request", "UTF-8"),
        ("DELETE", "/v1/sessions/s_x/jobs/%ff", 400, "bad_request", "UTF-8"),
        ("GET", "/warmup-status/%ff", 400, "bad_request", "UTF-8"),
        ("GET", "/v1/nope", 404, "not_found", "nothing"),
        ("POST", "/v1/nope", 404, "not_found", "nothing"),
        ("GET", "/v1", 404, "not_found", "nothing"),
        ("GET", "/warmup-status", 404, "not_found", "nothing"),
        ("PUT", "/v1/events", 405, "bad_request", "method"),
        ("GET", "/v1/cutouts", 405, "bad_request", "method"),
        ("POST", "/widget.js", 405, "bad_request", "method"),
        ("GET", "/v1/socket", 426, "bad_request", "WebSocket"),
    ] {
        let request = app.http.request(Method::from_bytes(method.as_bytes()).unwrap(), app.url(path));
        let answer = request.send().await.unwrap();
        let headers = answer.headers().clone();
        assert_eq!(headers["content-type"], "application/problem+json", "{method} {path}");
        let (came, problem) = body(answer).await;
        assert_eq!((came, &problem["status"]), (status, &status.into()), "{method} {path}: {problem}");
        assert_eq!(problem["code"], code, "{method} {path}: {problem}");
        let message = problem["message"].as_str().unwrap();
        assert!(message.contains(says), "{method} {path}: {message}");
        assert_eq!(headers.contains_key("allow"), status == 405, "{method} {path}");
        assert_eq!(headers.contains_key("upgrade"), status == 426, "{method} {path}");
    }
    let head = app.http.head(app.url("/v1/events")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["allow"]), (405, &"GET".parse().unwrap()));
}

#[tokio::test]
async fn a_socket_with_a_bad_query_is_accepted_and_told() {
    let app = TestApp::ready().await;
    let mut socket = app.socket("trigger=hover&trigger=focus", "warmcut.v1").await;
    let problem = socket.next().await;
    assert_eq!((&problem["type"], &problem["code"]), (&"problem".into(), &"bad_request".into()));
    let Message::Close(Some(close)) = socket.message().await else { panic!("no close") };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1008, "bad_request"));
}

#[tokio::test]
async fn a_socket_that_a_restart_ends_is_told_why() {
    let mut app = TestApp::ready().await;
    let mut socket = app.socket("trigger=manual", "warmcut.v1").await;
    socket.until(is("ready", "")).await;
    app.begin_stop();
    let close = loop {
        if let Message::Close(close) = socket.message().await {
            break close.unwrap();
        }
    };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1012, "draining"));
}

#[tokio::test]
async fn a_model_file_that_is_missing_is_named_without_its_folder_and_not_to_shoppers() {
    let folder = tempfile::tempdir().unwrap();
    let loader = default_loader(Some(&folder.path().to_owned()), Cpu::default());
    let app = TestApp::spawn_loader(loader, Arc::default(), |config| config.warm = Warm::Intent).await;
    let mut channel = app.sse("trigger=hover").await;
    let events = channel.until(is("problem", "")).await;
    let session = crate::support::Session::of(&events[0]);
    let mut told = vec![serde_json::to_string(&events).unwrap(), app.snapshot(&session).await.to_string()];
    for path in ["/readyz", "/health", "/model-status"] {
        told.push(app.get(path).await.1.to_string());
    }
    for text in &told {
        assert!(!text.contains(folder.path().to_str().unwrap()), "{text}");
    }
    let (shoppers, operators) = told.split_at(2);
    assert!(shoppers.iter().all(|text| !text.contains("safetensors")), "{shoppers:?}");
    for text in operators {
        assert!(text.contains("u2netp.safetensors"), "the reason is still told: {text}");
    }
}

/// The server was started with a good file, which is checked then; later another one stands in its place.
#[tokio::test]
async fn a_model_file_that_goes_bad_fails_the_warm_up_with_the_reason_and_the_server_stays() {
    let folder = tempfile::tempdir().unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let good = std::fs::read(root.join("models/u2netp.safetensors")).unwrap();
    let made = |name: &str| std::fs::read(root.join("tests/models/files").join(name)).unwrap();
    let file = folder.path().join("u2netp.safetensors");
    std::fs::write(&file, &good).unwrap();
    let loader = default_loader(Some(&folder.path().to_owned()), Cpu::default());
    let model = Model { loader, known: known().unwrap() };
    let app = TestApp::spawn_model(model, None, Arc::default(), |config| config.warm = Warm::Intent).await;
    for (bytes, says) in [
        (good[..good.len() / 2].to_vec(), "u2netp.safetensors can't be read as safetensors: it has"),
        (b"<html>404</html>".to_vec(), "it is a page (HTML or XML)"),
        (made("calls.pth"), "nothing of it was run: it asks for posix.system to be called"),
        (made("archive.pth"), "has no tensor stage1.rebnconvin.conv_s1.weight"),
        (made("raw.onnx"), "tensor stage1.rebnconvin.conv_s1.weight has shape [2, 1, 3, 3]"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let (status, told) = app.post("/warmup", "").await;
        assert!(status == 503 && told.to_string().contains(says), "{says}: {told}");
        assert_eq!(app.get("/livez").await.0, 200, "{says}");
        let (_, ready) = app.get("/readyz").await;
        assert!(ready.to_string().contains(says), "{ready}");
    }
    std::fs::write(&file, &good).unwrap();
    let (status, told) = app.post("/warmup", "").await;
    assert_eq!(status, 200, "{told}");
}
