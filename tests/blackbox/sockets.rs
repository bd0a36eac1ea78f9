//! WebSocket: the whole job, inline results, resuming uploads, refusals and mistakes.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::script::{Act, Gate, Script};
use crate::support::{Session, TestApp, is, photo};

async fn ready_socket(app: &TestApp) -> (super::support::Socket, Session) {
    let mut socket = app.socket("trigger=manual", "warmcut.v1").await;
    let events = socket.until(is("ready", "")).await;
    let session = Session::of(&events[0]);
    (socket, session)
}

#[tokio::test]
async fn the_whole_job_over_one_socket() {
    let app = TestApp::ready().await;
    let (mut socket, _) = ready_socket(&app).await;
    let photo = photo(1);
    socket.announce("u1", photo.len()).await;
    socket.until(is("upload", "accepted")).await;
    for piece in photo.chunks(100) {
        socket.bytes(piece).await;
    }
    let received = socket.until(is("upload", "received")).await;
    let job = received.last().unwrap()["job"].as_str().unwrap().to_owned();
    let events = socket.until(is("cutout", "")).await;
    let cutout = events.last().unwrap();
    assert_eq!(
        (&cutout["job"], &cutout["delivery"], &cutout["cached"]),
        (&job.into(), &"inline".into(), &false.into())
    );
    let mut bytes = Vec::new();
    while bytes.len() < cutout["bytes"].as_u64().unwrap() as usize {
        match socket.message().await {
            Message::Binary(frame) => {
                assert!(frame.len() <= 64 << 10);
                bytes.extend_from_slice(&frame);
            }
            other => panic!("nothing else comes between: {other:?}"),
        }
    }
    assert!(bytes.starts_with(b"\x89PNG"));
    assert_eq!(socket.next().await["status"], "succeeded");
    // After `received` the next upload may start, and the same photo is known.
    socket.announce("u2", photo.len()).await;
    socket.bytes(&photo).await;
    let events = socket.until(is("cutout", "")).await;
    assert_eq!(events.last().unwrap()["cached"], true);
}

#[tokio::test]
async fn a_client_that_vanishes_mid_upload_comes_back_and_goes_on() {
    let app = TestApp::ready().await;
    let (mut socket, session) = ready_socket(&app).await;
    let photo = photo(1);
    socket.announce("u1", photo.len()).await;
    socket.until(is("upload", "accepted")).await;
    socket.bytes(&photo[..200]).await;
    // Received and not only sent: the mistake behind it is answered.
    socket.say(json!({"type": "nonsense"})).await;
    socket.until(is("problem", "")).await;
    drop(socket);

    let mut socket = app.socket("", &format!("warmcut.v1, bearer.{}", session.token)).await;
    let hello = socket.next().await;
    assert_eq!((&hello["session"], &hello["resumed"]), (&session.id.into(), &true.into()));
    socket.announce("u1", photo.len()).await;
    let is_resumed = |event: &Value| event["status"] == "accepted" && event["received_bytes"] == 200;
    socket.until(is_resumed).await;
    socket.bytes(&photo[200..]).await;
    socket.until(is("cutout", "")).await;
}

#[tokio::test]
async fn a_repeated_upload_gets_the_job_that_exists() {
    let app = TestApp::ready().await;
    let (mut socket, session) = ready_socket(&app).await;
    let (_, accepted) = app.upload(&session, "upload=u1&wait=false", photo(1)).await;
    socket.until(is("job", "succeeded")).await;
    socket.announce("u1", photo(1).len()).await;
    let again = socket.next().await;
    assert_eq!((&again["status"], &again["job"]), (&"received".into(), &accepted["job"]));
    let (status, over_http) = app.upload(&session, "upload=u1", photo(1)).await;
    assert_eq!((status, &over_http["job"]), (202, &accepted["job"]));
}

#[tokio::test]
async fn mistakes_are_problems_and_leave_other_sessions_alone() {
    let app = TestApp::ready().await;
    let (mut socket, _) = ready_socket(&app).await;
    let (mut other, _) = ready_socket(&app).await;
    let bad = [
        "{",
        "[]",
        r#"{"type":"upload"}"#,
        r#"{"type":"upload","upload":"u","bytes":5,"mime":"image/png","extra":1}"#,
        r#"{"type":"upload","upload":"../u","bytes":5,"mime":"image/png"}"#,
        r#"{"type":"cancel"}"#,
        r#"{"type":"upload","upload":"u","bytes":5,"mime":"image/png","options":{"colour":"red"}}"#,
    ];
    for text in bad {
        use futures_util::SinkExt;
        socket.0.send(Message::Text(text.into())).await.unwrap();
        let problem = socket.next().await;
        assert_eq!(
            (&problem["type"], &problem["code"]),
            (&"problem".into(), &"bad_request".into()),
            "{text}"
        );
    }
    socket.say(json!({"type": "cancel", "job": "j_unknown"})).await;
    assert_eq!(socket.next().await["code"], "unknown_job");
    socket.say(json!({"type": "cancel", "upload": "u_unknown"})).await;
    assert_eq!(socket.next().await["code"], "unknown_job");
    other.announce("mine", photo(1).len()).await;
    other.bytes(&photo(1)).await;
    other.until(is("cutout", "")).await;
}

#[tokio::test]
async fn bytes_without_an_upload_two_uploads_at_once_and_too_many_bytes() {
    let app = TestApp::ready().await;
    let (mut socket, _) = ready_socket(&app).await;
    socket.bytes(b"what is this").await;
    assert_eq!(socket.next().await["code"], "bad_request");

    let photo = photo(1);
    socket.announce("u1", photo.len()).await;
    socket.until(is("upload", "accepted")).await;
    socket.announce("u2", 50).await;
    let problem = socket.next().await;
    assert_eq!((&problem["code"], &problem["upload"]), (&"upload_in_progress".into(), &"u2".into()));
    // The first one goes on.
    socket.bytes(&photo).await;
    socket.until(is("cutout", "")).await;
    while !matches!(socket.message().await, Message::Text(_)) {}

    socket.announce("u3", photo.len()).await;
    socket.until(is("upload", "accepted")).await;
    let mut too_many = photo.clone();
    too_many.extend_from_slice(b"and more");
    socket.bytes(&too_many).await;
    let events = socket.until(is("upload", "rejected")).await;
    let problem = &events[events.len() - 2];
    assert_eq!((&problem["code"], &problem["upload"]), (&"bad_request".into(), &"u3".into()));
}

#[tokio::test]
async fn a_frame_above_the_limit_closes_with_its_reason() {
    let app = TestApp::ready().await;
    let (mut socket, _) = ready_socket(&app).await;
    socket.announce("u1", 3 << 20).await;
    socket.until(is("upload", "accepted")).await;
    // The server may close before all of it is sent.
    use futures_util::SinkExt;
    let _ = socket.0.send(Message::Binary(vec![0; (1 << 20) + 1].into())).await;
    let (code, events) = socket.closed().await;
    assert_eq!(code, 1009);
    assert_eq!(events.last().unwrap()["code"], "upload_too_large");
}

#[tokio::test]
async fn a_client_that_makes_only_mistakes_is_closed() {
    let app = TestApp::ready().await;
    let (mut socket, _) = ready_socket(&app).await;
    for _ in 0..17 {
        socket.say(json!({"type": "nonsense"})).await;
    }
    assert_eq!(socket.closed().await.0, 1008);
}

#[tokio::test]
async fn refusals_are_accepted_first_and_closed_with_their_code() {
    let app = TestApp::ready_with(std::sync::Arc::default(), |config| config.max_sessions = 1).await;
    let mut forged = app.socket("", "warmcut.v1, bearer.forged.token").await;
    let (code, events) = forged.closed().await;
    assert_eq!((code, &events[0]["code"]), (4401, &"unauthorized".into()));
    let _one = app.socket("trigger=manual", "warmcut.v1").await;
    let mut full = app.socket("trigger=manual", "warmcut.v1").await;
    let (code, events) = full.closed().await;
    assert_eq!((code, &events[0]["code"]), (4429, &"rate_limited".into()));
    let mut bad = app.socket("trigger=sneeze", "warmcut.v1").await;
    assert_eq!(bad.closed().await.0, 1008);
}

#[tokio::test]
async fn an_upload_and_a_running_job_can_be_canceled() {
    let gate = Gate::default();
    let app = TestApp::ready_with(Script::inferences([Act::Wait(gate.clone())]), |_| ()).await;
    let (mut socket, _) = ready_socket(&app).await;
    socket.announce("u1", 5000).await;
    socket.until(is("upload", "accepted")).await;
    socket.say(json!({"type": "cancel", "upload": "u1"})).await;
    let events = socket.until(is("upload", "rejected")).await;
    assert_eq!(events[0]["code"], "canceled");

    socket.announce("u2", photo(1).len()).await;
    socket.bytes(&photo(1)).await;
    let events = socket.until(|event| event["step"] == "infer").await;
    let job = events.last().unwrap()["job"].clone();
    socket.say(json!({"type": "cancel", "job": job})).await;
    socket.until(is("job", "canceled")).await;
    gate.open();
    // Nothing of it comes after its end: the next event is the next upload's.
    socket.announce("u3", photo(2).len()).await;
    assert_eq!(socket.next().await["upload"], "u3");
    socket.bytes(&photo(2)).await;
    socket.until(is("cutout", "")).await;
}

#[tokio::test]
async fn a_client_that_never_reads_costs_nothing_and_nobody_else() {
    let app = TestApp::ready().await;
    let (mut deaf, session) = ready_socket(&app).await;
    for n in 0..3 {
        deaf.announce(&format!("u{n}"), photo(n).len()).await;
        deaf.bytes(&photo(n)).await;
    }
    // It reads nothing; its session goes on for whoever reads.
    let mut other = app.resume(&session, None).await;
    for _ in 0..3 {
        other.until(is("job", "succeeded")).await;
    }
    let (mut hearing, _) = ready_socket(&app).await;
    hearing.announce("mine", photo(9).len()).await;
    hearing.bytes(&photo(9)).await;
    hearing.until(is("cutout", "")).await;
}
