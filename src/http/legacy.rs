//! The older service's endpoints, with its names, and with the truth.

use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Value, json};

use super::AppState;
use super::error::{Answer, Refusal};
use super::extract::Path;
use crate::clock;
use crate::protocol::{Code, RunId};
use crate::warmup::{Cause, Phase, PoolState, process};

/// `/health`'s words on the model.
#[derive(Serialize)]
struct ModelFields {
    model_loaded: bool,
    model_loading: bool,
    model_error: Option<String>,
}

impl ModelFields {
    fn of(state: &PoolState) -> Self {
        Self {
            model_loaded: state.phase == Phase::Ready,
            model_loading: state.phase == Phase::Warming,
            model_error: state.error.clone(),
        }
    }
}

/// `GET /health`: alive, at once, and never more than is true. It touches nothing.
pub(super) async fn health(State(app): State<AppState>) -> impl IntoResponse {
    health_of(&app.pool.follow().borrow())
}

pub(super) fn health_of(state: &PoolState) -> impl IntoResponse + use<> {
    let model = ModelFields::of(state);
    let body = json!({
        "status": "alive",
        "model_loaded": model.model_loaded,
        "model_loading": model.model_loading,
        "model_error": model.model_error,
        "timestamp": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
    });
    ([(header::CACHE_CONTROL, "no-store")], Json(body))
}

/// `POST /warmup`: blocks until ready or failed, then says what happened.
pub(super) async fn warmup(State(app): State<AppState>, headers: HeaderMap) -> Answer {
    app.admission.work(&headers)?;
    let run = app.pool.ensure_warm(Cause::explicit("warmup")).await?;
    let mut changes = app.pool.follow();
    // The sender lives as long as the pool, which this request holds.
    let _ = changes.wait_for(|state| state.run.as_ref() != Some(&run) || state.phase != Phase::Warming).await;
    let state = changes.borrow().clone();
    let status = if state.phase == Phase::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = status_of(&run, &state);
    body["message"] = match state.phase {
        Phase::Ready => {
            format!("the model is ready; its warm-up took {} ms", state.elapsed_ms(clock::now_ms()))
        }
        _ => format!("the model is not ready: {}", state.error.clone().unwrap_or_default()),
    }
    .into();
    if state.phase == Phase::Ready {
        return Ok((status, Json(body)).into_response());
    }
    Ok((status, [(header::RETRY_AFTER, "5")], Json(body)).into_response())
}

/// `POST /warmup-async`.
pub(super) async fn warmup_async(State(app): State<AppState>, headers: HeaderMap) -> Answer {
    app.admission.work(&headers)?;
    let run = app.pool.ensure_warm(Cause::explicit("warmup-async")).await?;
    let state = app.pool.follow().borrow().clone();
    let body = json!({"task_id": run, "status": status_text(state.phase)});
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// `GET /warmup-status/{task_id}`.
pub(super) async fn warmup_status(
    State(app): State<AppState>,
    Path(task): Path<String>,
) -> Answer<Json<Value>> {
    let state = app.pool.follow().borrow().clone();
    match state.run.clone().filter(|run| run.as_str() == task && state.phase != Phase::Cold) {
        Some(run) => Ok(Json(status_of(&run, &state))),
        None => Err(Refusal::new(
            Code::UnknownJob,
            "this is not the latest warm-up, or its model was unloaded; start one with POST /warmup-async",
        )),
    }
}

/// `GET /model-status`.
pub(super) async fn model_status(State(app): State<AppState>) -> Json<Value> {
    let state = app.pool.follow().borrow().clone();
    let model = ModelFields::of(&state);
    Json(json!({
        "model_loaded": model.model_loaded,
        "model_loading": model.model_loading,
        "model_error": model.model_error,
        "load_time": state.load_ms.map(|ms| ms as f64 / 1000.0),
        "model": state.model,
        "device": state.device,
        "dtype": state.dtype,
        "last_run": state.run,
        "last_error": state.error,
    }))
}

/// `GET /memory-status`.
pub(super) async fn memory_status(State(app): State<AppState>) -> Json<Value> {
    let state = app.pool.follow().borrow().clone();
    let memory = process::memory();
    let mb = |bytes: u64| (bytes as f64 / 1e5).round() / 10.0;
    let used = memory.total.saturating_sub(memory.available);
    let percent =
        if memory.total == 0 { 0.0 } else { (used as f64 / memory.total as f64 * 1000.0).round() / 10.0 };
    let (cache_memory, _) = app.results.used();
    Json(json!({
        "system_memory": {
            "total_mb": mb(memory.total),
            "available_mb": mb(memory.available),
            "used_mb": mb(used),
            "percent_used": percent,
            "limit_mb": memory.limit.map(mb),
        },
        "process": {
            "rss_mb": mb(memory.resident),
            "peak_mb": mb(memory.peak),
            "model_mb": mb(state.model_bytes),
            "cache_mb": mb(cache_memory),
            "model_loaded": state.phase == Phase::Ready,
        },
    }))
}

fn status_of(run: &RunId, state: &PoolState) -> Value {
    let now_ms = clock::now_ms();
    json!({
        "task_id": run,
        "status": status_text(state.phase),
        // 100 only when ready: the last per cent is the known answer.
        "progress": if state.phase == Phase::Ready { 100 } else { ((state.progress * 100.0) as u32).min(99) },
        "stage": state.stage,
        "elapsed_ms": state.elapsed_ms(now_ms),
        "eta_ms": state.eta(now_ms),
        "error": state.error,
    })
}

fn status_text(phase: Phase) -> &'static str {
    match phase {
        Phase::Ready => "ready",
        Phase::Warming => "warming",
        Phase::Failed | Phase::Cold => "failed",
    }
}
