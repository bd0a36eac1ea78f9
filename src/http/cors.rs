//! Shops are other origins: what their pages may ask and read.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::error::Refusal;
use crate::protocol::Code;

/// Two hours, the most that browsers take.
const MAX_AGE: &str = "7200";

/// Answers `OPTIONS`, and lets pages of shops read every answer, errors too.
pub(super) async fn layer(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let asked = request.headers().get(header::ORIGIN).cloned();
    let for_shops = request.uri().path().starts_with("/v1/");
    let preflight = request.method() == Method::OPTIONS && for_shops && asked.is_some();
    if request.method() == Method::OPTIONS && !preflight {
        return methods(next.run(request).await);
    }
    if !for_shops {
        return next.run(request).await;
    }
    let origin = app.admission.may_read(request.headers());
    let mut response = match (&origin, preflight) {
        (Some(_), true) => StatusCode::NO_CONTENT.into_response(),
        (None, true) => {
            Refusal::new(Code::OriginNotAllowed, "this origin is on no key's list").into_response()
        }
        (_, false) => next.run(request).await,
    };
    let refused = response.status() == StatusCode::FORBIDDEN;
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin.and_then(|origin| HeaderValue::from_str(&origin).ok()) {
        allow(headers, origin, preflight);
    } else if let (true, false, Some(asked)) = (refused, preflight, asked) {
        // A stranger's page may read that it is refused and why, and nothing else.
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, asked);
    }
    response
}

/// `OPTIONS` of somebody who is no page asks what a path takes. A route that refuses the method is there;
/// its `Allow` is here already or is added by the router, which stands around this layer.
fn methods(refused: Response) -> Response {
    if refused.status() != StatusCode::METHOD_NOT_ALLOWED {
        return refused;
    }
    let mut answer = StatusCode::NO_CONTENT.into_response();
    if let Some(allow) = refused.headers().get(header::ALLOW) {
        answer.headers_mut().insert(header::ALLOW, allow.clone());
    }
    answer
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue, preflight: bool) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let expose = HeaderValue::from_static("ETag, Retry-After");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose);
    if preflight {
        let methods = HeaderValue::from_static("GET, POST, DELETE");
        let allowed = HeaderValue::from_static("authorization, content-type, last-event-id");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    }
}
