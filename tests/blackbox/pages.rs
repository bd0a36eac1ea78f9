//! The headers of pages, of the service worker and of the widget's files: who may do what with them.

use std::sync::Arc;

use reqwest::header::HeaderMap;

use crate::support::TestApp;

/// None of these says anything of a file to whom it is not meant.
const OF_NOBODY: [&str; 2] = ["access-control-allow-credentials", "set-cookie"];

/// A file, whole or as 304 for who has it.
async fn headers(app: &TestApp, path: &str, etag: Option<&str>) -> (u16, HeaderMap) {
    let mut request = app.http.get(app.url(path)).header("accept-encoding", "gzip");
    if let Some(etag) = etag {
        request = request.header("if-none-match", etag);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.headers().clone())
}

fn pinned(path: &str, headers: &HeaderMap, expected: &[(&str, &str)], missing: &[&str]) {
    for (name, value) in expected {
        let came: Vec<_> = headers.get_all(*name).iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(came, [*value], "{name} of {path}");
    }
    for name in missing.iter().chain(&OF_NOBODY) {
        assert!(!headers.contains_key(*name), "{name} of {path}");
    }
}

#[tokio::test]
async fn pages_run_what_is_ours_and_reach_nobody_else() {
    let app = TestApp::ready().await;
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
        connect-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; \
        frame-ancestors 'self'";
    for path in ["/", "/index.html", "/upload.html"] {
        let (status, first) = headers(&app, path, None).await;
        let (again, second) = headers(&app, path, Some(first["etag"].to_str().unwrap())).await;
        assert_eq!((status, again), (200, 304), "{path}");
        for headers in [&first, &second] {
            let expected = [
                ("content-security-policy", policy),
                ("referrer-policy", "strict-origin-when-cross-origin"),
                ("permissions-policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
                ("cross-origin-opener-policy", "same-origin"),
                ("x-content-type-options", "nosniff"),
                ("cache-control", "no-cache"),
            ];
            pinned(
                path,
                headers,
                &expected,
                &["access-control-allow-origin", "cross-origin-resource-policy"],
            );
        }
        assert_eq!(first["content-type"], "text/html; charset=utf-8", "{path}");
    }
}

#[tokio::test]
async fn a_service_worker_is_asked_for_each_time_and_is_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("app")).unwrap();
    for path in ["sw.js", "app/sw.js", "not-sw.js"] {
        std::fs::write(dir.path().join(path), "// long enough to be worth compressing").unwrap();
    }
    std::fs::write(dir.path().join("app.webmanifest"), "{}").unwrap();
    let folder = dir.path().to_owned();
    let app = TestApp::spawn(Arc::default(), |config| config.static_dir = Some(folder)).await;
    for path in ["/sw.js", "/app/sw.js"] {
        let (status, first) = headers(&app, path, None).await;
        let (again, second) = headers(&app, path, Some(first["etag"].to_str().unwrap())).await;
        assert_eq!((status, again), (200, 304), "{path}");
        for headers in [&first, &second] {
            let expected = [
                ("cache-control", "no-cache"),
                ("x-content-type-options", "nosniff"),
                ("cross-origin-resource-policy", "same-origin"),
            ];
            pinned(path, headers, &expected, &["access-control-allow-origin", "service-worker-allowed"]);
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
        }
        let expected = [
            ("content-type", "text/javascript; charset=utf-8"),
            ("content-encoding", "gzip"),
            ("vary", "accept-encoding"),
        ];
        pinned(path, &first, &expected, &[]);
    }
    let (_, other) = headers(&app, "/not-sw.js", None).await;
    pinned("/not-sw.js", &other, &[("access-control-allow-origin", "*")], &["content-security-policy"]);
    let (_, manifest) = headers(&app, "/app.webmanifest", None).await;
    pinned("/app.webmanifest", &manifest, &[("content-type", "application/manifest+json")], &[]);
}

#[tokio::test]
async fn what_shops_embed_may_be_read_from_anywhere_and_brings_no_policy() {
    let app = TestApp::ready().await;
    for (path, mime, caching) in [
        ("/widget.js", "text/javascript; charset=utf-8", "no-cache"),
        ("/widget-ui.js", "text/javascript; charset=utf-8", "no-cache"),
        ("/widget.css", "text/css; charset=utf-8", "no-cache"),
        ("/samples/cat.jpg", "image/jpeg", "public, max-age=86400"),
    ] {
        let (status, headers) = headers(&app, path, None).await;
        assert_eq!(status, 200, "{path}");
        let expected = [
            ("content-type", mime),
            ("cache-control", caching),
            ("access-control-allow-origin", "*"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("x-content-type-options", "nosniff"),
        ];
        let missing = ["content-security-policy", "cross-origin-opener-policy", "permissions-policy"];
        pinned(path, &headers, &expected, &missing);
    }
}
