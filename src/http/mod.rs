//! HTTP, SSE and WebSocket: the only room that knows them.
//!
//! Handlers admit a request, hand it to a session, the warm-up or the cutout, and turn what comes back
//! into a response. What a channel shows comes from the session's log and from nowhere else.

mod address;
mod admission;
mod analytics;
mod assets;
mod body;
mod channel;
mod cors;
mod error;
mod extract;
mod form;
mod headers;
mod keys;
mod legacy;
mod one_shot;
mod ops;
mod rate;
mod results;
pub mod serve;
mod sessions;
mod sse;
mod uploads;
mod wait;
pub mod wake;
mod ws;
mod ws_recv;
mod ws_send;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{delete, get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::trace::TraceLayer;

use crate::cutout::{Intake, Jobs, Results};
use crate::protocol::Limits;
use crate::scale::Demands;
use crate::session::token::Secret;
use crate::session::{Logs, Sessions};
use crate::warmup::Pool;

pub use admission::Admission;
pub use keys::{Keys, KeysError, normal_origin};
pub use rate::Rate;
pub use wait::Waiters;

/// Everything that handlers stand on.
pub struct App {
    /// Run log and session logs.
    pub logs: Arc<dyn Logs>,
    /// Who is here.
    pub sessions: Arc<dyn Sessions>,
    /// Where the model is.
    pub pool: Arc<dyn Pool>,
    /// Photos on their way in.
    pub intake: Arc<Intake>,
    /// Photos that wait and run.
    pub jobs: Arc<dyn Jobs>,
    /// Cutouts.
    pub results: Arc<dyn Results>,
    /// How many machines are wanted; none in a process that is alone.
    pub demands: Option<Demands>,
    /// Checks signatures.
    pub secret: Secret,
    /// Who may.
    pub admission: Admission,
    /// For what only an operator may do.
    pub operator_token: Option<String>,
    /// What a session is told it may upload.
    pub limits: Limits,
    /// Without an event for so long, a channel says `ping`.
    pub ping_every: Duration,
    /// Proxies in front that append to `X-Forwarded-For`.
    pub proxies: usize,
    /// How often an address may tell of its shoppers.
    pub analytics_rate: Rate,
    /// Prometheus text.
    pub metrics: PrometheusHandle,
    /// Pages from a folder instead of the built-in ones.
    pub static_dir: Option<std::path::PathBuf>,
    /// Requests that wait for a job.
    pub waiters: Waiters,
    /// Tasks that outlive their request.
    pub tracker: TaskTracker,
    /// The server is going away: nothing new begins.
    pub draining: CancellationToken,
    /// It goes now: channels say what is left to say and close.
    pub closing: CancellationToken,
}

/// A handle to it.
pub type AppState = Arc<App>;

/// All routes.
pub fn router(app: AppState) -> Router {
    let v1 = Router::new()
        .route("/v1/events", get(sse::events))
        .route("/v1/socket", get(ws::socket))
        .route("/v1/sessions", post(sessions::open))
        .route("/v1/sessions/{session}", get(sessions::snapshot))
        .route("/v1/sessions/{session}/uploads", post(uploads::upload))
        .route("/v1/sessions/{session}/jobs/{job}", delete(sessions::cancel))
        .route("/v1/sessions/{session}/jobs/{job}/cutout", get(results::cutout))
        .route("/v1/sessions/{session}/jobs/{job}/preview", get(results::preview))
        .route("/v1/cutouts", post(one_shot::cutouts))
        .route("/v1/cutouts/{id}", get(results::lasting))
        .route("/v1/analytics", post(analytics::tell))
        .route("/v1/demand", get(ops::demand));
    let older = Router::new()
        .route("/health", get(legacy::health))
        .route("/warmup", post(legacy::warmup).get(legacy::warmup))
        .route("/warmup-async", post(legacy::warmup_async).get(legacy::warmup_async))
        .route("/warmup-status/{task_id}", get(legacy::warmup_status))
        .route("/model-status", get(legacy::model_status))
        .route("/memory-status", get(legacy::memory_status))
        .route("/model/unload", post(ops::unload));
    let operator = Router::new()
        .route("/livez", get(ops::livez))
        .route("/readyz", get(ops::readyz))
        .route("/metrics", get(ops::metrics));
    // Streams are never compressed: a compressor holds back what a browser waits for.
    let pages =
        Router::new().fallback(assets::serve).layer(CompressionLayer::new()).with_state(Arc::clone(&app));
    Router::new()
        .merge(v1)
        .merge(older)
        .merge(operator)
        .fallback_service(pages)
        .method_not_allowed_fallback(error::method_not_allowed)
        // Bodies are bounded by the handlers that read them, which answer with a problem.
        .layer(DefaultBodyLimit::disable())
        // Outside the routes, because a preflight asks with a method that they don't take.
        .layer(middleware::from_fn_with_state(Arc::clone(&app), cors::layer))
        .layer(middleware::from_fn(admission::name_host))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(TraceLayer::new_for_http().make_span_with(error::span).on_request(()).on_failure(()))
        .with_state(app)
}
