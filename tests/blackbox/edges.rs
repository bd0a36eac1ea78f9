//! The edges of HTTP: whatever is refused is refused with a problem, and says nothing of our insides.

use std::sync::Arc;

use reqwest::Method;
use tokio_tungstenite::tungstenite::Message;
use warmcut::app::default_loader;
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
async fn a_model_file_that_is_missing_is_named_without_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let loader = Arc::new(default_loader(Some(&folder.path().to_owned()), Cpu::default()));
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
    for text in [&told[0], &told[2], &told[3], &told[4]] {
        assert!(text.contains("u2netp.safetensors"), "the reason is still told: {text}");
    }
}
