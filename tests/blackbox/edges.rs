//! The edges of HTTP: whatever is refused is refused with a problem, and says nothing of our insides.

use std::sync::Arc;

use tokio_tungstenite::tungstenite::Message;
use warmcut::app::default_loader;
use warmcut::config::Warm;

use crate::support::{TestApp, is};

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
    let loader = Arc::new(default_loader(Some(&folder.path().to_owned())));
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
