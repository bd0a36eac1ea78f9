//! Problems as responses: the one place where a code becomes a status.

use std::any::Any;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::cutout::{BlobError, JobsError};
use crate::protocol::options::OptionError;
use crate::protocol::{Code, Problem};
use crate::session::{LogError, OpenError, SessionError};
use crate::warmup::PoolError;

/// A problem on its way to a client.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) Problem);

/// Every handler's result.
pub(super) type Answer<T = Response> = Result<T, Refusal>;

impl Refusal {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Problem::new(code, message))
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Full { .. } | OpenError::AddressFull { .. } | OpenError::ShopFull { .. } => {
                // Room is made within a minute where it can be.
                Self(Problem::new(Code::RateLimited, error.to_string()).retry_after(60))
            }
            OpenError::WeakNonce { .. } => Self::new(Code::BadRequest, error.to_string()),
            OpenError::Unavailable => Self::new(Code::Unavailable, error.to_string()),
        }
    }
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        let code = match error {
            SessionError::Unauthorized => Code::Unauthorized,
            SessionError::Expired => Code::SessionExpired,
            SessionError::TooManyChannels { .. } => Code::RateLimited,
            SessionError::Unavailable => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        match error {
            LogError::NoSession => SessionError::Expired.into(),
            LogError::Unavailable => Self::new(Code::Unavailable, error.to_string()),
        }
    }
}

impl From<PoolError> for Refusal {
    fn from(error: PoolError) -> Self {
        Self(error.problem())
    }
}

impl From<OptionError> for Refusal {
    fn from(error: OptionError) -> Self {
        Self::new(Code::BadRequest, error.to_string())
    }
}

impl From<JobsError> for Refusal {
    fn from(error: JobsError) -> Self {
        Self(error.problem())
    }
}

impl From<BlobError> for Refusal {
    fn from(error: BlobError) -> Self {
        if matches!(error, BlobError::Unreachable) {
            return Self::new(Code::Unavailable, error.to_string());
        }
        metrics::counter!("warmcut_store_errors_total").increment(1);
        tracing::error!(%error, "a cutout can't be read back");
        Self::new(Code::Internal, "the cutout could not be read back; ask for it again")
    }
}

/// RFC 9457, with the contract's fields beside its own.
#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    problem: &'a Problem,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        answer(status, &self.0)
    }
}

/// A problem with a status of its own, where HTTP has one for what no code of the contract is about.
fn answer(status: StatusCode, problem: &Problem) -> Response {
    let body = ProblemBody {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: &problem.message,
        problem,
    };
    metrics::counter!("warmcut_problems_total", "code" => problem.code.as_str()).increment(1);
    let mut response = (status, axum::Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = problem.retry_after_s.filter(|_| matches!(status.as_u16(), 429 | 503)) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// No route has this path.
pub(super) fn not_found() -> Response {
    Refusal::new(Code::NotFound, "there is nothing at this address; check its path").into_response()
}

/// A route has this path, but not with this method; the router says in `Allow` which it takes.
pub(super) async fn method_not_allowed() -> Response {
    let problem = Problem::new(Code::BadRequest, "this path does not take this method; see the header Allow");
    answer(StatusCode::METHOD_NOT_ALLOWED, &problem)
}

/// The same, where the router can't know the methods.
pub(super) async fn only(methods: &'static str) -> Response {
    ([(header::ALLOW, methods)], method_not_allowed().await).into_response()
}

/// A socket's address was asked without a WebSocket's handshake (RFC 9110, 15.5.22; RFC 6455, 4.4).
pub(super) fn upgrade_required(why: &str) -> Response {
    let message = format!(
        "this address is a WebSocket's ({why}); connect with a WebSocket and the subprotocol warmcut.v1, or use GET /v1/events"
    );
    let wanted = [
        (header::UPGRADE, "websocket"),
        (header::CONNECTION, "upgrade"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
    ];
    let problem = Problem::new(Code::BadRequest, message);
    (wanted, answer(StatusCode::UPGRADE_REQUIRED, &problem)).into_response()
}

/// A panic in a handler is a 500 for one client and a line in the log.
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> axum::http::Response<Body> {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("no message"), "a handler panicked");
    Refusal::new(Code::Internal, "something went wrong here; try again").into_response()
}

/// The span of a request: the route, not the address, so that no query string, token or session id
/// reaches the log.
pub(super) fn span(request: &Request) -> tracing::Span {
    let route = request.extensions().get::<MatchedPath>().map_or("static", MatchedPath::as_str);
    tracing::debug_span!("request", method = %request.method(), route)
}
