//! What bad input gets: its code from the contract, over HTTP, and nobody else notices.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, TestApp, data, is, photo};

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn photos_that_are_none() {
    let app = TestApp::ready().await;
    let session = app.open().await;
    let cases = [
        (data("empty"), 400, "bad_request"),
        (data("text.jpg"), 415, "unsupported_media_type"),
        (data("gif.gif"), 415, "unsupported_media_type"),
        (data("bomb.png"), 413, "image_too_large"),
    ];
    for (n, (bytes, status, expected)) in cases.into_iter().enumerate() {
        let over_session = app.upload(&session, &format!("upload=bad-{n}"), bytes.clone()).await;
        assert_eq!(code(&over_session), (status, expected), "{over_session:?}");
        let one_shot = app.post("/v1/cutouts", bytes).await;
        assert_eq!(code(&one_shot), (status, expected), "{one_shot:?}");
        let message = one_shot.1["message"].as_str().unwrap();
        assert!(message.contains("send"), "it says what to do: {message}");
    }
    assert_eq!(app.upload(&session, "upload=good", photo(1)).await.0, 202, "the session goes on");
}

#[tokio::test]
async fn photos_that_end_early_fail_their_job() {
    let app = TestApp::ready().await;
    let session = app.open().await;
    for (n, name) in ["truncated.jpg", "truncated.png", "truncated.webp"].into_iter().enumerate() {
        let answer = app.upload(&session, &format!("upload=t{n}&wait=true"), data(name)).await;
        assert_eq!(code(&answer), (422, "corrupt_image"), "{name}: {answer:?}");
        let snapshot = app.snapshot(&session).await;
        let job = snapshot["jobs"].as_array().unwrap().last().unwrap();
        assert_eq!((&job["status"], &job["problem"]["code"]), (&"failed".into(), &"corrupt_image".into()));
    }
}

#[tokio::test]
async fn unusual_photos_are_cut_out() {
    let app = TestApp::ready().await;
    for name in [
        "1x1.png",
        "1x5000.png",
        "grey.jpg",
        "grey16.png",
        "palette.png",
        "rgb16.png",
        "rgba.png",
        "cmyk.jpg",
        "p3.jpg",
        "cat.webp",
        "lossless_alpha.webp",
        "orient_6.jpg",
    ] {
        let response = app.http.post(app.url("/v1/cutouts")).body(data(name)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{name}: {}", response.text().await.unwrap());
        assert_eq!(response.headers()["content-type"], "image/png");
    }
    let response = app.http.post(app.url("/v1/cutouts")).body(data("animated.webp")).send().await.unwrap();
    assert_eq!(response.headers()["warmcut-notes"], "animated_first_frame");
}

#[tokio::test]
async fn unknown_options_and_values_are_named() {
    let app = TestApp::ready().await;
    for (query, says) in [
        ("colour=red", "colour"),
        ("format=gif", "format"),
        ("bg_color=reddish", "bg_color"),
        ("crop=perhaps", "crop"),
        ("quality=101", "quality"),
        ("size=huge", "size"),
        ("format=png&format=jpg", "format"),
    ] {
        let answer = app.post(&format!("/v1/cutouts?{query}"), photo(1)).await;
        assert_eq!(code(&answer), (400, "bad_request"), "{query}");
        assert!(answer.1["message"].as_str().unwrap().contains(says), "{answer:?}");
    }
    for name in ["upload", "wait", "token"] {
        // A session's words: one request has no session to come back to.
        let answer = app.post(&format!("/v1/cutouts?{name}=true"), photo(1)).await;
        assert_eq!(code(&answer), (400, "bad_request"), "{name}");
        assert!(answer.1["message"].as_str().unwrap().starts_with("unknown option"), "{answer:?}");
    }
    let answer = app.post("/v1/cutouts?model=enormous", photo(1)).await;
    assert_eq!(code(&answer), (404, "unknown_model"));
}

#[tokio::test]
async fn forms_with_wrong_or_missing_fields() {
    use reqwest::multipart::{Form, Part};
    let app = TestApp::ready().await;
    let send = |form: Form| async {
        crate::support::body(app.http.post(app.url("/v1/cutouts")).multipart(form).send().await.unwrap())
            .await
    };
    let part = || Part::bytes(photo(1)).file_name("a.png");
    assert_eq!(code(&send(Form::new().text("crop", "true")).await), (400, "bad_request"));
    assert_eq!(code(&send(Form::new().part("picture", part())).await), (400, "bad_request"));
    assert_eq!(
        code(&send(Form::new().part("file", part()).text("colour", "red")).await),
        (400, "bad_request")
    );
    assert_eq!(
        code(&send(Form::new().part("file", part()).part("image_file", part())).await),
        (400, "bad_request")
    );
    for name in ["file", "image_file"] {
        let form = Form::new().text("format", "jpg").part(name, part()).text("bg_color", "00ff00");
        let response = app.http.post(app.url("/v1/cutouts")).multipart(form).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"image/jpeg".parse().unwrap())
        );
    }
}

/// Sends a head that announces more than may come, and then goes on sending.
#[tokio::test]
async fn a_body_above_the_limit_is_refused_early_and_the_client_sees_it() {
    let app =
        TestApp::ready_with(std::sync::Arc::default(), |config| config.max_upload_bytes = 100_000).await;
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    let head = "POST /v1/cutouts HTTP/1.1\r\nhost: x\r\ncontent-length: 50000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.split();
    let sending = async {
        for _ in 0..40 {
            if write.write_all(&[0; 100_000]).await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while !answer.ends_with(b"}") {
            let read = read.read(&mut piece).await.expect("the answer arrives before any reset");
            assert!(read > 0, "closed before the answer was whole");
            answer.extend_from_slice(&piece[..read]);
        }
        String::from_utf8(answer).unwrap()
    };
    let answer = tokio::select! {
        answer = tokio::time::timeout(PATIENCE, reading) => answer.expect("an answer"),
        () = sending => unreachable!("it waits for the answer"),
    };
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("connection: close") && answer.contains("upload_too_large"), "{answer}");
    assert!(answer.contains("50000000") && answer.contains("100000"), "the value and the limit: {answer}");
}

#[tokio::test]
async fn a_body_without_a_length_is_refused_when_it_is_too_long() {
    let app = TestApp::ready_with(std::sync::Arc::default(), |config| config.max_upload_bytes = 10_000).await;
    let mut bytes = photo(1);
    bytes.resize(50_000, 0);
    let pieces = futures_util::stream::iter(
        bytes.chunks(1000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect::<Vec<_>>(),
    );
    let answer = app.post("/v1/cutouts", reqwest::Body::wrap_stream(pieces)).await;
    assert_eq!(code(&answer), (413, "upload_too_large"));
}

#[tokio::test]
async fn too_few_bytes_and_then_nothing() {
    let app = TestApp::ready().await;
    let session = app.open().await;
    let mut channel = app.resume(&session, None).await;
    channel.until(is("ready", "")).await;
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    let head = format!(
        "POST /v1/sessions/{}/uploads?upload=u1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 1000\r\n\r\n",
        session.id, session.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&photo(1)[..100]).await.unwrap();
    channel.until(is("upload", "accepted")).await;
    drop(stream);
    let events = channel.until(is("upload", "rejected")).await;
    assert_eq!(events[events.len() - 2]["code"], "upload_incomplete");
    assert_eq!(app.upload(&session, "upload=u1", photo(1)).await.0, 202, "the same upload may come again");
}

#[tokio::test]
async fn tokens_that_are_unknown_forged_or_another_sessions() {
    let app = TestApp::ready().await;
    let (mine, other) = (app.open().await, app.open().await);
    let path = format!("/v1/sessions/{}", mine.id);
    let ask = |token: String| {
        let request = app.http.get(app.url(&path)).bearer_auth(token);
        async { crate::support::body(request.send().await.unwrap()).await }
    };
    assert_eq!(code(&app.get(&path).await), (401, "unauthorized"));
    assert_eq!(code(&ask("nonsense".into()).await), (401, "unauthorized"));
    let mac = other.token.rsplit_once('.').unwrap().1;
    assert_eq!(code(&ask(format!("{}.{mac}", mine.id)).await), (401, "unauthorized"));
    assert_eq!(code(&ask(other.token.clone()).await), (404, "unknown_session"));
    assert_eq!(ask(mine.token.clone()).await.0, 200);
    assert_eq!(app.get(&format!("{path}?token={}", mine.token)).await.0, 200);

    let (_, accepted) = app.upload(&mine, "upload=u1&wait=false", photo(1)).await;
    app.resume(&mine, None).await.until(is("job", "succeeded")).await;
    let job = accepted["job"].as_str().unwrap();
    for path in [format!("/jobs/{job}"), "/jobs/j_unknown".to_owned()] {
        let url = app.url(&format!("/v1/sessions/{}{path}", other.id));
        let answer = app.http.delete(url).bearer_auth(&other.token).send().await.unwrap();
        assert_eq!(code(&crate::support::body(answer).await), (404, "unknown_job"));
    }
    let url = app.url(&format!("/v1/sessions/{}/jobs/{job}", mine.id));
    let answer = app.http.delete(url).bearer_auth(&mine.token).send().await.unwrap();
    assert_eq!(answer.status(), 204, "a job of this session, in any state");
    let url = app.url(&format!("/v1/sessions/{}/jobs/{job}/cutout", other.id));
    let answer = app.http.get(url).bearer_auth(&other.token).send().await.unwrap();
    assert_eq!(code(&crate::support::body(answer).await), (404, "unknown_job"));
}

#[tokio::test]
async fn words_that_are_not_the_contracts() {
    let app = TestApp::ready().await;
    assert_eq!(code(&app.get("/v1/events?trigger=sneeze").await), (400, "bad_request"));
    assert_eq!(code(&app.get("/v1/events?open=1234").await), (400, "bad_request"));
    let session = app.open().await;
    assert_eq!(code(&app.upload(&session, "upload=../etc", photo(1)).await), (400, "bad_request"));
    assert_eq!(code(&app.upload(&session, "upload=u&wait=perhaps", photo(1)).await), (400, "bad_request"));
    assert_eq!(app.get("/nowhere").await.0, 404);
    assert_eq!(app.http.put(app.url("/v1/events")).send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_let_go() {
    let app = TestApp::ready().await;
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost:").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(40), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the server ends it");
}

#[tokio::test]
async fn a_form_without_an_end_is_refused_at_the_limit() {
    let app = TestApp::ready_with(std::sync::Arc::default(), |config| config.max_upload_bytes = 10_000).await;
    let pieces = futures_util::stream::iter((0..200).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1000])));
    let request =
        app.http.post(app.url("/v1/cutouts")).header("content-type", "multipart/form-data; boundary=b");
    let answer = request.body(reqwest::Body::wrap_stream(pieces)).send().await.unwrap();
    assert_eq!(code(&crate::support::body(answer).await), (413, "upload_too_large"));
}

#[tokio::test]
async fn asking_for_the_headers_of_a_channel_opens_no_session() {
    let app = TestApp::ready().await;
    assert_eq!(app.http.head(app.url("/v1/events")).send().await.unwrap().status(), 405);
}
