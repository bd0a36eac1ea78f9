//! A worker's own endpoints: gateways wake it and hold it awake, platforms ask whether it lives.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;

use super::admission::bearer;
use super::error::{self, Answer, Refusal};
use super::{legacy, ops};
use crate::protocol::Code;
use crate::warmup::Pool;

/// A gateway that died is noticed by what it doesn't acknowledge, and proxies see that something comes.
const BREATH: Duration = Duration::from_secs(15);

/// What they stand on.
pub struct WakeApp {
    /// The model in this process.
    pub pool: Arc<dyn Pool>,
    /// Who may wake it; anybody who reaches it without one.
    pub token: Option<String>,
    /// How many hold it awake.
    pub held: watch::Sender<usize>,
    /// Prometheus text.
    pub metrics: PrometheusHandle,
    /// It goes, and nobody holds it any more.
    pub draining: CancellationToken,
}

/// All routes of a worker.
pub fn router(app: Arc<WakeApp>) -> Router {
    Router::new()
        .route("/wake", post(wake))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(TraceLayer::new_for_http().make_span_with(error::span).on_request(()).on_failure(()))
        .with_state(app)
}

/// Counted while a request is held.
struct Held(Arc<WakeApp>);

impl Held {
    fn new(app: Arc<WakeApp>) -> Self {
        app.held.send_modify(|held| *held += 1);
        Self(app)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.send_modify(|held| *held -= 1);
    }
}

/// `POST /wake`: answers at once that it lives, and ends when it goes.
async fn wake(State(app): State<Arc<WakeApp>>, headers: HeaderMap) -> Answer {
    let may = |token: &String| bearer(&headers).is_some_and(|given| ops::same(given, token));
    if !app.token.as_ref().is_none_or(may) {
        return Err(Refusal::new(Code::Unauthorized, "this needs the wake token: Authorization: Bearer …"));
    }
    if app.draining.is_cancelled() {
        return Err(Refusal::new(Code::Draining, "this worker is going away; wake another one"));
    }
    let held = Held::new(Arc::clone(&app));
    let breaths = async_stream::stream! {
        loop {
            yield Ok::<_, Infallible>(Bytes::from_static(b"awake\n"));
            tokio::select! {
                () = held.0.draining.cancelled() => return,
                () = tokio::time::sleep(BREATH) => {}
            }
        }
    };
    let headers = [(header::CONTENT_TYPE, "text/plain"), (header::CACHE_CONTROL, "no-store, no-transform")];
    Ok((headers, Body::from_stream(breaths)).into_response())
}

async fn livez(State(app): State<Arc<WakeApp>>) -> impl IntoResponse {
    ops::alive(&app.draining)
}

async fn readyz(State(app): State<Arc<WakeApp>>) -> impl IntoResponse {
    ops::readiness(&app.draining, &app.pool.follow().borrow(), None)
}

async fn metrics(State(app): State<Arc<WakeApp>>) -> impl IntoResponse {
    ops::exposition(&app.pool.follow().borrow(), &app.metrics)
}

async fn health(State(app): State<Arc<WakeApp>>) -> impl IntoResponse {
    legacy::health_of(&app.pool.follow().borrow())
}
