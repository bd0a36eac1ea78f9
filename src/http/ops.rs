//! For platforms, operators and Prometheus.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::AppState;
use super::admission::bearer;
use super::error::{Answer, Refusal};
use crate::protocol::Code;
use crate::session::token::digest;
use crate::warmup::{Phase, PoolState, Unload, process};

/// `GET /livez`: 503 only while draining.
pub(super) async fn livez(State(app): State<AppState>) -> impl IntoResponse {
    alive(&app.draining)
}

pub(super) fn alive(draining: &CancellationToken) -> (StatusCode, &'static str) {
    if draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "alive\n")
    }
}

/// `GET /readyz`: whether a cutout would run now, and why not.
pub(super) async fn readyz(State(app): State<AppState>) -> impl IntoResponse {
    let state = app.pool.follow().borrow().clone();
    let full = match state.phase {
        Phase::Ready => app.jobs.room().await.err().map(|error| error.to_string()),
        _ => None,
    };
    readiness(&app.draining, &state, full)
}

pub(super) fn readiness(
    draining: &CancellationToken,
    state: &PoolState,
    full: Option<String>,
) -> impl IntoResponse + use<> {
    let reason = match state.phase {
        _ if draining.is_cancelled() => Some("draining".to_owned()),
        Phase::Ready => full,
        Phase::Cold => Some("the model is not loaded; the next intent or POST /warmup loads it".to_owned()),
        Phase::Warming => {
            let stage = state.stage.map_or("nothing yet", |stage| stage.as_str());
            Some(format!("the model is warming: {stage}"))
        }
        Phase::Failed => {
            let error = state.error.as_deref().unwrap_or_default();
            Some(format!("the last warm-up failed: {error}"))
        }
    };
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (
        status,
        [(header::CACHE_CONTROL, "no-store")],
        Json(json!({"ready": reason.is_none(), "reason": reason})),
    )
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<AppState>) -> impl IntoResponse {
    exposition(&app.pool.follow().borrow(), &app.metrics)
}

pub(super) fn exposition(state: &PoolState, metrics: &PrometheusHandle) -> impl IntoResponse + use<> {
    let memory = process::memory();
    metrics::gauge!("warmcut_resident_memory_bytes").set(memory.resident as f64);
    metrics::gauge!("warmcut_model_ready").set(f64::from(u8::from(state.phase == Phase::Ready)));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render())
}

/// `GET /v1/demand`.
pub(super) async fn demand(State(app): State<AppState>, headers: HeaderMap) -> Answer {
    operator(&app, &headers)?;
    let Some(demands) = &app.demands else {
        return Err(Refusal::new(
            Code::NotFound,
            "this server is alone and wakes no others; `warmcut gateway` knows how many are wanted",
        ));
    };
    let demand = demands.now().await.map_err(|error| Refusal::new(Code::Unavailable, error.to_string()))?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(demand)).into_response())
}

/// `POST /model/unload`.
pub(super) async fn unload(
    State(app): State<AppState>,
    headers: HeaderMap,
) -> Answer<Json<serde_json::Value>> {
    operator(&app, &headers)?;
    let unloaded = app.pool.unload(Unload::Request).await?;
    let rss = process::memory().resident;
    Ok(Json(json!({"unloaded": unloaded, "rss_mb": (rss as f64 / 1e5).round() / 10.0})))
}

fn operator(app: &AppState, headers: &HeaderMap) -> Answer<()> {
    let Some(token) = &app.operator_token else {
        return Err(Refusal::new(
            Code::Unauthorized,
            "this server has no operator token; start it with --operator-token",
        ));
    };
    match bearer(headers) {
        Some(given) if same(given, token) => Ok(()),
        _ => Err(Refusal::new(Code::Unauthorized, "this needs the operator token: Authorization: Bearer …")),
    }
}

/// Digests are compared, so the time taken tells nothing of how much of a guess was right.
pub(super) fn same(given: &str, token: &str) -> bool {
    digest(given) == digest(token)
}
