//! Pages and widget: compiled into the binary, or read from a folder while somebody works on them.

use std::path::{Component, Path, PathBuf};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use rust_embed::RustEmbed;

use super::AppState;
use super::error;
use super::headers::has_already;
use crate::session::token::digest_bytes;

#[derive(RustEmbed)]
#[folder = "static/"]
struct Built;

/// Our pages need nothing from elsewhere, whatever somebody gets into them. `'self'` is the origin that the
/// browser sees, behind a proxy too, and its WebSocket (CSP level 3); an older browser's widget goes on over
/// server-sent events. Photos and cutouts are shown from memory, as `blob:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'";
/// What the widget never asks for. A file input opens a camera without it.
const PERMISSIONS: &str = "camera=(), microphone=(), geolocation=(), payment=(), usb=()";
/// Pages are documents of their own, and what they load for themselves is nobody else's.
const OF_PAGES: [(&str, &str); 4] = [
    ("content-security-policy", POLICY),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("permissions-policy", PERMISSIONS),
    ("cross-origin-opener-policy", "same-origin"),
];
/// A service worker answers for our pages, so it reaches no further than they do.
const OF_WORKERS: [(&str, &str); 2] =
    [("content-security-policy", POLICY), ("cross-origin-resource-policy", "same-origin")];
/// The widget runs in pages of shops.
const OF_FILES: [(&str, &str); 2] =
    [("access-control-allow-origin", "*"), ("cross-origin-resource-policy", "cross-origin")];

/// Serves a file, or says that there is none.
pub(super) async fn serve(
    State(app): State<AppState>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    match load(&app, path).await {
        None => error::not_found(),
        Some(_) if method != Method::GET && method != Method::HEAD => error::only("GET,HEAD").await,
        Some((bytes, etag)) => send(path, bytes, &etag, &headers),
    }
}

async fn load(app: &AppState, path: &str) -> Option<(Vec<u8>, String)> {
    let (bytes, digest) = match &app.static_dir {
        Some(folder) => {
            let bytes = tokio::fs::read(inside(folder, path)?).await.ok()?;
            let digest = digest_bytes(&bytes);
            (bytes, digest)
        }
        None => {
            let file = Built::get(path)?;
            (file.data.into_owned(), file.metadata.sha256_hash())
        }
    };
    // Weak, because the same file also goes compressed.
    Some((bytes, format!("W/\"{}\"", HEXLOWER.encode(&digest[..10]))))
}

/// The widget's files without indentation and the lines that are only comments, which are for who reads the
/// source: shops would pay a third more for them. No text of theirs goes over several lines but HTML. Our own
/// pages' scripts go as they are.
fn lean(path: &str, bytes: Vec<u8>) -> Vec<u8> {
    let code = path.starts_with("widget") && (path.ends_with(".js") || path.ends_with(".css"));
    match std::str::from_utf8(&bytes) {
        Ok(text) if code => without_comments(text).into_bytes(),
        _ => bytes,
    }
}

/// Drops indentation, empty lines, and each comment that begins a line and is all that its lines hold.
fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut lines = text.split_inclusive('\n');
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        if start.is_empty() || start.starts_with("//") {
            continue;
        }
        if !start.starts_with("/*") {
            kept.push_str(start);
            continue;
        }
        let mut last = line;
        let behind = loop {
            match last.split_once("*/") {
                Some((_, behind)) => break behind,
                None => match lines.next() {
                    Some(next) => last = next,
                    None => break "",
                },
            }
        };
        kept.push_str(behind.trim_start());
    }
    kept
}

/// A path below a folder; none for one that would leave it.
fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    plain.then(|| folder.join(path))
}

fn send(path: &str, bytes: Vec<u8>, etag: &str, asked: &HeaderMap) -> Response {
    let mime = match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("jpg") => "image/jpeg",
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("md" | "txt" | "ts") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    let own: &[_] = match path.rsplit('/').next() {
        _ if mime.starts_with("text/html") => &OF_PAGES,
        Some("sw.js") => &OF_WORKERS,
        _ => &OF_FILES,
    };
    // Addresses carry no version, and modules of two versions must not meet: a browser asks each time,
    // and the answer is mostly 304. Pictures may be a day old.
    let caching = if mime.starts_with("image/") { "public, max-age=86400" } else { "no-cache" };
    let headers = [
        (header::ETAG, etag.to_owned()),
        (header::CACHE_CONTROL, caching.to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    let mut response = if has_already(asked, etag) {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, [(header::CONTENT_TYPE, mime)], Body::from(lean(path, bytes))).into_response()
    };
    let own = own.iter().map(|&(name, value)| {
        (header::HeaderName::from_static(name), header::HeaderValue::from_static(value))
    });
    response.headers_mut().extend(own);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leaves_the_folder() {
        let folder = Path::new("/srv");
        assert_eq!(inside(folder, "a/b.js"), Some(PathBuf::from("/srv/a/b.js")));
        for bad in ["../secret", "a/../../secret", "/etc/passwd", "./x"] {
            assert_eq!(inside(folder, bad), None, "{bad}");
        }
    }

    #[test]
    fn comments_that_fill_their_lines_are_left_out() {
        let source = "// One.\nlet a = 1; // beside\n\n/** Two\n * lines. */\n  let b = '/* text */';\n  /* x */ f();\n/* open";
        assert_eq!(without_comments(source), "let a = 1; // beside\nlet b = '/* text */';\nf();\n");
        for path in Built::iter().filter(|path| path.starts_with("widget") && path.ends_with(".js")) {
            let source = Built::get(&path).expect("listed");
            let lean = String::from_utf8(lean(&path, source.data.to_vec())).expect("text");
            let comment =
                lean.lines().map(str::trim).find(|line| line.starts_with("//") || line.starts_with("/**"));
            assert_eq!(comment, None, "{path}");
        }
    }

    #[test]
    fn the_contracts_files_are_built_in() {
        for path in ["index.html", "upload.html", "widget.js", "widget-ui.js", "widget.css"] {
            assert!(Built::get(path).is_some(), "{path}");
        }
    }
}
