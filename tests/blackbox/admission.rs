//! Keys, origins and CORS, as a shop's browser and server meet them.

use std::sync::Arc;

use crate::support::{TestApp, body, photo};

const KEYS: &str = r#"{"shops":[
    {"name":"a","publishable":"pk_a","secret":"sk_aaaaaaaaaa","origins":["https://a.example"]},
    {"name":"b","publishable":"pk_b","secret":"sk_bbbbbbbbbb","origins":["https://b.example"]}]}"#;

async fn with_keys() -> (TestApp, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    std::fs::write(&file, KEYS).unwrap();
    let app = TestApp::spawn(Arc::default(), |config| config.keys = Some(file)).await;
    let request = app.http.post(app.url("/warmup")).bearer_auth("sk_aaaaaaaaaa");
    assert_eq!(request.send().await.unwrap().status(), 200);
    (app, dir)
}

#[tokio::test]
async fn a_shop_opens_sessions_from_its_own_origins_only() {
    let (app, _dir) = with_keys().await;
    let open = |origin: Option<&'static str>, key: &'static str| {
        let mut request = app.http.post(app.url(&format!("/v1/sessions?key={key}&trigger=hover")));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        async {
            let response = request.send().await.unwrap();
            let allowed = response
                .headers()
                .get("access-control-allow-origin")
                .map(|value| value.to_str().unwrap().to_owned());
            let (status, problem) = body(response).await;
            (status, problem["code"].as_str().unwrap_or_default().to_owned(), allowed)
        }
    };
    let (status, _, allowed) = open(Some("https://a.example"), "pk_a").await;
    assert_eq!((status, allowed.as_deref()), (201, Some("https://a.example")));
    let (status, code, allowed) = open(Some("https://b.example"), "pk_a").await;
    assert_eq!(
        (status, code.as_str(), allowed.as_deref()),
        (403, "origin_not_allowed", Some("https://b.example"))
    );
    assert_eq!(open(Some("https://a.example"), "pk_x").await.0, 401);
    let (status, code, _) = open(Some("https://evil.example"), "pk_a").await;
    assert_eq!((status, code.as_str()), (403, "origin_not_allowed"));
    assert_eq!(open(Some("null"), "pk_a").await.0, 403);
    assert_eq!(open(None, "pk_a").await.0, 403);
}

#[tokio::test]
async fn our_own_page_needs_no_key_but_not_a_wrong_one() {
    let (app, _dir) = with_keys().await;
    let open = |query: &'static str| {
        let own = format!("http://{}", app.address);
        let request = app.http.post(app.url(&format!("/v1/sessions{query}"))).header("origin", own);
        async { body(request.send().await.unwrap()).await }
    };
    assert_eq!(open("").await.0, 201);
    assert_eq!(open("?key=pk_a").await.0, 201);
    let (status, problem) = open("?key=pk_nobody").await;
    assert_eq!((status, &problem["code"]), (401, &"unauthorized".into()), "{problem}");
}

#[tokio::test]
async fn options_of_a_program_says_what_a_path_takes() {
    let (app, _dir) = with_keys().await;
    for (path, allow) in
        [("/v1/events", "GET,HEAD"), ("/v1/cutouts", "POST"), ("/warmup", "POST,GET,HEAD"), ("/", "GET,HEAD")]
    {
        let answer = app.http.request(reqwest::Method::OPTIONS, app.url(path)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (204, allow));
    }
    let nothing = app.http.request(reqwest::Method::OPTIONS, app.url("/v1/nope")).send().await.unwrap();
    assert_eq!(nothing.status(), 404);
}

#[tokio::test]
async fn preflights_are_answered_without_authorisation() {
    let (app, _dir) = with_keys().await;
    let preflight = |origin: &'static str, path: &'static str| {
        let request = app.http.request(reqwest::Method::OPTIONS, app.url(path)).header("origin", origin);
        async { request.header("access-control-request-method", "POST").send().await.unwrap() }
    };
    for path in
        ["/v1/events", "/v1/sessions/s_x/uploads?upload=u", "/v1/sessions/s_x/jobs/j_x", "/v1/cutouts"]
    {
        let answer = preflight("https://b.example", path).await;
        assert_eq!(answer.status(), 204, "{path}");
        let header = |name| answer.headers()[name].to_str().unwrap();
        assert_eq!(header("access-control-allow-origin"), "https://b.example");
        assert_eq!(header("access-control-allow-headers"), "authorization, content-type, last-event-id");
        assert_eq!(header("access-control-allow-methods"), "GET, POST, DELETE");
        assert_eq!(header("access-control-max-age"), "7200");
        assert_eq!(header("vary"), "Origin");
        assert!(answer.headers().get("access-control-allow-credentials").is_none());
    }
    let stranger = preflight("https://evil.example", "/v1/events").await;
    assert!(stranger.headers().get("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn errors_can_be_read_by_the_shops_page() {
    let (app, _dir) = with_keys().await;
    let request = app.http.get(app.url("/v1/sessions/s_x")).header("origin", "https://a.example");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://a.example");
    assert_eq!(answer.headers()["access-control-expose-headers"], "ETag, Retry-After");
}

#[tokio::test]
async fn work_without_a_session_needs_the_secret_key_and_stays_with_its_shop() {
    let (app, _dir) = with_keys().await;
    for path in ["/v1/cutouts", "/warmup", "/warmup-async"] {
        assert_eq!(app.post(path, photo(1)).await.0, 401, "{path}");
    }
    let cut = |secret: &'static str| {
        app.http.post(app.url("/v1/cutouts")).bearer_auth(secret).body(photo(1)).send()
    };
    let answer = cut("sk_aaaaaaaaaa").await.unwrap();
    assert_eq!(answer.status(), 200);
    let lasting = answer.headers()["warmcut-cutout"].to_str().unwrap().to_owned();
    let (path, _) = lasting.split_once('?').unwrap();
    let fetch = |secret: &'static str| app.http.get(app.url(path)).bearer_auth(secret).send();
    assert_eq!(fetch("sk_aaaaaaaaaa").await.unwrap().status(), 200);
    assert_eq!(fetch("sk_bbbbbbbbbb").await.unwrap().status(), 404, "another shop's");
    assert_eq!(cut("sk_bbbbbbbbbb").await.unwrap().headers()["warmcut-cached"], "false");
}

#[tokio::test]
async fn without_keys_other_origins_are_refused() {
    let app = TestApp::ready().await;
    for path in ["/v1/sessions", "/v1/cutouts", "/warmup"] {
        let request = app.http.post(app.url(path)).header("origin", "https://evil.example").body(photo(1));
        let (status, problem) = body(request.send().await.unwrap()).await;
        assert_eq!((status, &problem["code"]), (403, &"origin_not_allowed".into()), "{path}");
    }
    let own = format!("http://{}", app.address);
    let request = app.http.post(app.url("/v1/sessions")).header("origin", own);
    assert_eq!(request.send().await.unwrap().status(), 201);
    let hidden = app.http.get(app.url("/warmup")).header("sec-fetch-site", "cross-site");
    assert_eq!(hidden.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn a_socket_of_a_stranger_is_closed_with_4403() {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let (app, _dir) = with_keys().await;
    let mut request = format!("ws://{}/v1/socket?key=pk_a", app.address).into_client_request().unwrap();
    request.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let (code, events) = crate::support::Socket(socket).closed().await;
    assert_eq!((code, &events[0]["code"]), (4403, &"origin_not_allowed".into()));
}

#[tokio::test]
async fn one_address_can_not_take_all_sessions() {
    let app = TestApp::ready_with(Arc::default(), |config| {
        (config.proxies, config.max_sessions_per_address) = (1, 2);
    })
    .await;
    let open = |forwarded: &'static str| {
        let request = app.http.post(app.url("/v1/sessions?trigger=hover"));
        request.header("x-forwarded-for", forwarded).send()
    };
    for _ in 0..2 {
        assert_eq!(open("203.0.113.7").await.unwrap().status(), 201);
    }
    // What the visitor sent itself stands before what the proxy appended.
    for forwarded in ["203.0.113.7", "198.51.100.1, 203.0.113.7"] {
        let refused = open(forwarded).await.unwrap();
        assert_eq!(refused.headers()["retry-after"], "60");
        let (status, problem) = body(refused).await;
        assert_eq!((status, &problem["code"]), (429, &"rate_limited".into()));
        assert!(problem["message"].as_str().unwrap().contains("2 sessions"), "{problem}");
    }
    let events = app.http.get(app.url("/v1/events?trigger=hover")).header("x-forwarded-for", "203.0.113.7");
    assert_eq!(events.send().await.unwrap().status(), 429);
    assert_eq!(open("203.0.113.8").await.unwrap().status(), 201, "another visitor");
    // A program on this machine is no visitor.
    for _ in 0..3 {
        app.open().await;
    }
}

#[tokio::test]
async fn one_shop_leaves_room_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    std::fs::write(&file, KEYS).unwrap();
    let app = TestApp::spawn(Arc::default(), |config| {
        (config.keys, config.max_sessions) = (Some(file), 4);
    })
    .await;
    let open = |shop: &'static str| {
        let request = app.http.post(app.url(&format!("/v1/sessions?key=pk_{shop}&trigger=hover")));
        let request = request.header("origin", format!("https://{shop}.example")).send();
        async { request.await.unwrap().status().as_u16() }
    };
    assert_eq!([open("a").await, open("a").await, open("a").await], [201, 201, 429]);
    assert_eq!([open("b").await, open("b").await, open("b").await], [201, 201, 429]);
}
