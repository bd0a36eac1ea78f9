//! What the widget's beacons tell, and what they are answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, TestApp, body};

const GOOD: &str = r#"{"events":[{"event":"upload_started","was_warmed":true}]}"#;

/// A server with one shop. Tests of one process share their counters, so each has a shop of its own.
async fn with_shop(name: &str) -> (TestApp, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    let keys = format!(
        r#"{{"shops":[{{"name":"{name}","publishable":"pk_{name}","origins":["https://{name}.example"]}}]}}"#
    );
    std::fs::write(&file, keys).unwrap();
    (TestApp::spawn(Arc::default(), |config| config.keys = Some(file)).await, dir)
}

/// A beacon, as a browser sends it.
fn beacon(app: &TestApp, query: &str, origin: &str, body: &str) -> RequestBuilder {
    let request = app.http.post(app.url(&format!("/v1/analytics{query}")));
    request.header("origin", origin).header("content-type", "text/plain;charset=UTF-8").body(body.to_owned())
}

async fn sent(request: RequestBuilder) -> (u16, String, String) {
    let (status, problem) = body(request.send().await.unwrap()).await;
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("message"))
}

/// The lines of `/metrics` that have both of these.
async fn metrics(app: &TestApp, name: &str, labels: &str) -> Vec<String> {
    let text = app.http.get(app.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(labels));
    lines.map(str::to_owned).collect()
}

async fn value(app: &TestApp, name: &str, labels: &str) -> f64 {
    let lines = metrics(app, name, labels).await;
    lines.iter().map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

async fn rejected(app: &TestApp, code: &str) -> f64 {
    value(app, "warmcut_analytics_rejected_total", &format!("code=\"{code}\"")).await
}

#[tokio::test]
async fn what_shoppers_lived_through_is_in_the_metrics() {
    let (app, _dir) = with_shop("told").await;
    let events = r#"{"events":[
        {"event":"warming_started","trigger":"hover"},
        {"event":"warming_started","trigger":"hover"},
        {"event":"warming_started","trigger":"upload","holdout":true},
        {"event":"warming_completed","duration_ms":1500,"cold":true},
        {"event":"upload_started","was_warmed":true},
        {"event":"cutout_completed","duration_ms":300,"cached":false,"holdout":true},
        {"event":"warming_abandoned","trigger":"viewport","duration_ms":61000,"ready":true}]}"#;
    let answer = beacon(&app, "?key=pk_told", "https://told.example", events).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://told.example");
    assert_eq!(answer.headers()["vary"], "Origin");
    assert_eq!(answer.bytes().await.unwrap(), "");

    let all = metrics(&app, "warmcut_analytics_", r#"shop="told""#).await;
    for line in [
        r#"warming_started_total{shop="told",trigger="hover",holdout="false"} 2"#,
        r#"warming_started_total{shop="told",trigger="upload",holdout="true"} 1"#,
        r#"warming_completed_seconds_bucket{shop="told",cold="true",holdout="false",le="1"} 0"#,
        r#"warming_completed_seconds_bucket{shop="told",cold="true",holdout="false",le="2"} 1"#,
        r#"warming_completed_seconds_sum{shop="told",cold="true",holdout="false"} 1.5"#,
        r#"warming_completed_seconds_count{shop="told",cold="true",holdout="false"} 1"#,
        r#"upload_started_total{shop="told",was_warmed="true",holdout="false"} 1"#,
        r#"cutout_completed_seconds_bucket{shop="told",cached="false",holdout="true",le="0.25"} 0"#,
        r#"cutout_completed_seconds_bucket{shop="told",cached="false",holdout="true",le="0.5"} 1"#,
        r#"warming_abandoned_total{shop="told",trigger="viewport",ready="true",holdout="false"} 1"#,
        r#"warming_abandoned_seconds_bucket{shop="told",ready="true",holdout="false",le="60"} 0"#,
        r#"warming_abandoned_seconds_bucket{shop="told",ready="true",holdout="false",le="90"} 1"#,
    ] {
        assert!(all.contains(&format!("warmcut_analytics_{line}")), "{line}: {all:#?}");
    }
    let help = metrics(&app, "# HELP warmcut_analytics_", "").await;
    assert!(help.len() >= 6, "each is described: {help:#?}");

    let json = app.http.post(app.url("/v1/analytics?key=pk_told")).header("origin", "https://told.example");
    assert_eq!(sent(json.header("content-type", "application/json").body(GOOD)).await.0, 204);
    assert_eq!(value(&app, "warmcut_analytics_upload_started_total", r#"shop="told""#).await, 2.0);
}

#[tokio::test]
async fn who_may_open_a_session_may_tell_how_it_went_and_nobody_else() {
    let (app, _dir) = with_shop("may").await;
    let own = format!("http://{}", app.address);
    let before = rejected(&app, "origin_not_allowed").await;
    let unknown = rejected(&app, "unauthorized").await;
    for (origin, query, status, code) in [
        ("https://may.example", "?key=pk_may", 204, ""),
        ("https://may.example", "", 401, "unauthorized"),
        ("https://may.example", "?key=pk_nobody", 401, "unauthorized"),
        ("https://evil.example", "?key=pk_may", 403, "origin_not_allowed"),
        ("null", "?key=pk_may", 403, "origin_not_allowed"),
        (own.as_str(), "", 204, ""),
        (own.as_str(), "?key=pk_may", 204, ""),
        (own.as_str(), "?key=pk_nobody", 401, "unauthorized"),
        ("https://may.example", "?key=pk_may&key=pk_may", 400, "bad_request"),
    ] {
        let answer = beacon(&app, query, origin, GOOD).send().await.unwrap();
        let readable = answer.headers().get("access-control-allow-origin").cloned();
        if status != 204 {
            assert_eq!(answer.headers()["content-type"], "application/problem+json", "{origin}{query}");
        }
        if status != 403 {
            assert_eq!(readable.unwrap(), origin, "{query}: the page may read it");
        }
        let (came, problem) = body(answer).await;
        let came = (came, problem["code"].as_str().unwrap_or_default());
        assert_eq!(came, (status, code), "{origin}{query}");
    }
    for (site, status) in [("same-origin", 204), ("cross-site", 403), ("same-site", 403)] {
        let request = app.http.post(app.url("/v1/analytics")).header("sec-fetch-site", site);
        assert_eq!(sent(request.header("content-type", "text/plain").body(GOOD)).await.0, status, "{site}");
    }
    let program = app.http.post(app.url("/v1/analytics?key=pk_may")).header("content-type", "text/plain");
    assert_eq!(sent(program.body(GOOD)).await.0, 403);

    assert_eq!(value(&app, "warmcut_analytics_upload_started_total", r#"shop="may""#).await, 2.0);
    assert!(
        value(&app, "warmcut_analytics_upload_started_total", r#"shop="""#).await >= 2.0,
        "our own pages"
    );
    assert!(rejected(&app, "origin_not_allowed").await >= before + 5.0);
    assert!(rejected(&app, "unauthorized").await >= unknown + 3.0);
}

#[tokio::test]
async fn without_keys_our_own_pages_and_programs_tell() {
    let app = TestApp::ready().await;
    let own = format!("http://{}", app.address);
    for (origin, status) in [(own.as_str(), 204), ("https://evil.example", 403), ("null", 403)] {
        assert_eq!(sent(beacon(&app, "?key=pk_any", origin, GOOD)).await.0, status, "{origin}");
    }
    let program = app.http.post(app.url("/v1/analytics")).header("content-type", "text/plain");
    assert_eq!(sent(program.body(GOOD)).await.0, 204);
}

#[tokio::test]
async fn a_preflight_is_answered_and_other_methods_are_not() {
    let (app, _dir) = with_shop("asks").await;
    let preflight = |origin: &'static str| {
        let request = app.http.request(Method::OPTIONS, app.url("/v1/analytics")).header("origin", origin);
        let request = request.header("access-control-request-headers", "content-type");
        async { request.header("access-control-request-method", "POST").send().await.unwrap() }
    };
    let answer = preflight("https://asks.example").await;
    assert_eq!(answer.status(), 204);
    let header = |answer: &Response, name| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header(&answer, "access-control-allow-origin"), "https://asks.example");
    assert!(header(&answer, "access-control-allow-methods").contains("POST"));
    assert!(header(&answer, "access-control-allow-headers").contains("content-type"));
    assert!(preflight("https://evil.example").await.headers().get("access-control-allow-origin").is_none());

    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let answer = app.http.request(method.clone(), app.url("/v1/analytics")).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), header(&answer, "allow").as_str()), (405, "POST"), "{method}");
    }
}

#[tokio::test]
async fn all_events_of_a_body_count_or_none() {
    let (app, _dir) = with_shop("all").await;
    let before = rejected(&app, "bad_request").await;
    for (events, says) in [
        (
            r#"{"event":"upload_started","was_warmed":true},{"event":"sneezed"}"#,
            "events[1]: unknown variant `sneezed`",
        ),
        (
            r#"{"event":"upload_started","was_warmed":true},{"event":"warming_started"}"#,
            "missing field `trigger`",
        ),
        (r#"{"event":"upload_started","was_warmed":true,"email":"x"}"#, "unknown field `email`"),
        (r#"{"event":"cutout_completed","cached":true,"duration_ms":3600001}"#, "3600001"),
        ("", "1 to 32 events"),
    ] {
        let request =
            beacon(&app, "?key=pk_all", "https://all.example", &format!(r#"{{"events":[{events}]}}"#));
        let (status, code, message) = sent(request).await;
        assert_eq!((status, code.as_str()), (400, "bad_request"), "{events}");
        assert!(message.contains(says) && message.starts_with("nothing of this was counted: "), "{message}");
    }
    for text in ["", "hello", "\u{fffd}", "[]"] {
        let answer = sent(beacon(&app, "?key=pk_all", "https://all.example", text)).await;
        assert_eq!((answer.0, answer.1.as_str()), (400, "bad_request"), "{text}");
    }
    let latin = beacon(&app, "?key=pk_all", "https://all.example", "").body(&b"{\"events\":[\"\xe9\"]}"[..]);
    assert_eq!(sent(latin).await.0, 400);
    assert_eq!(metrics(&app, "warmcut_analytics_", r#"shop="all""#).await, Vec::<String>::new());
    assert!(rejected(&app, "bad_request").await >= before + 10.0);
}

#[tokio::test]
async fn a_body_of_another_type_is_refused() {
    let app = TestApp::ready().await;
    for mime in
        [None, Some("text/html"), Some("application/x-www-form-urlencoded"), Some("multipart/form-data")]
    {
        let mut request = app.http.post(app.url("/v1/analytics")).body(GOOD);
        if let Some(mime) = mime {
            request = request.header("content-type", mime);
        }
        let (status, code, message) = sent(request).await;
        assert_eq!((status, code.as_str()), (415, "unsupported_media_type"), "{mime:?}");
        assert!(message.contains("text/plain"), "{message}");
    }
}

/// The answer to a head behind which no body comes.
async fn answer_to(app: &TestApp, head: &str) -> String {
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    let head =
        format!("POST /v1/analytics HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n{head}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = async {
        while !answer.ends_with(b"}") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed before the answer was whole");
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it doesn't wait for the body");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_it_comes() {
    let app = TestApp::ready().await;
    let answer = answer_to(&app, "content-length: 16385").await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("upload_too_large"), "{answer}");
    assert!(answer.contains("16385") && answer.contains("16384"), "the value and the limit: {answer}");
    assert!(answer.contains("connection: close"), "{answer}");

    let filled = |bytes: usize| format!("{}{}", GOOD, " ".repeat(bytes - GOOD.len()));
    let pieces = |text: String| {
        let pieces: Vec<_> =
            text.as_bytes().chunks(1000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
        app.http.post(app.url("/v1/analytics")).header("content-type", "text/plain").body(body)
    };
    assert_eq!(sent(pieces(filled(16384))).await.0, 204);
    let (status, code, _) = sent(pieces(filled(16385))).await;
    assert_eq!((status, code.as_str()), (413, "upload_too_large"));
}

#[tokio::test]
async fn an_address_that_tells_too_often_is_told_when_to_come_back() {
    let app = TestApp::spawn(Arc::default(), |config| config.proxies = 1).await;
    let tell = |forwarded: &str| {
        let request = app.http.post(app.url("/v1/analytics")).header("x-forwarded-for", forwarded);
        request.header("content-type", "text/plain").body(GOOD)
    };
    let (begun, mut counted) = (Instant::now(), 0);
    let refused = loop {
        let answer = tell("2001:db8::7").send().await.unwrap();
        if answer.status() != 204 {
            break answer;
        }
        counted += 1;
        assert!(counted <= 60 + begun.elapsed().as_secs(), "{counted} in {:?}", begun.elapsed());
    };
    assert!(counted >= 60, "{counted}");
    assert_eq!(refused.headers()["retry-after"], "1");
    let (status, problem) = body(refused).await;
    assert_eq!((status, &problem["code"]), (429, &"rate_limited".into()), "{problem}");
    assert!(rejected(&app, "rate_limited").await >= 1.0);

    // At once, although its body never comes; by the same /64, and with a word of its own before the proxy's.
    let head = "x-forwarded-for: 198.51.100.1, 2001:db8::8\r\ncontent-length: 50";
    let refused = async {
        loop {
            let answer = answer_to(&app, head);
            // A second may have passed, and the one that it brought is waited for.
            if let Ok(answer) = tokio::time::timeout(Duration::from_secs(2), answer).await {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, refused).await.expect("refused");
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 1"), "{answer}");
    assert_eq!(sent(tell("2001:db8:0:1::7")).await.0, 204, "another visitor");
}
