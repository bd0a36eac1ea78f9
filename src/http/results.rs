//! Results as bytes: of a job, by a lasting address, or as the answer to the request that waited.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::AppState;
use super::error::{Answer, Refusal};
use super::extract::{Path, Query};
use super::headers::has_already;
use super::sessions::{TokenQuery, authorised, knows_job};
use crate::clock;
use crate::cutout::Cutout;
use crate::protocol::{Code, CutoutEvent, CutoutId, Event, JobId, Problem, Timings};

/// `GET /v1/sessions/{session}/jobs/{job}/cutout`.
pub(super) async fn cutout(
    State(app): State<AppState>,
    headers: HeaderMap,
    Path((session, job)): Path<(String, String)>,
    Query(query): Query<TokenQuery>,
) -> Answer {
    let opened = authorised(&app, &headers, query.token(), &session).await?;
    let job = job_id(job)?;
    let (present, _) = app.logs.present(&opened.session.id).await?;
    let id = present.iter().find_map(|entry| match &entry.event {
        Event::Cutout(cutout) if cutout.job == job => Some(cutout.id_cutout.clone()),
        _ => None,
    });
    let id =
        id.ok_or_else(|| Refusal::new(Code::UnknownJob, format!("this session has no finished job {job}")))?;
    send(&headers, kept(&app, &id).await?.as_ref()).await
}

/// `GET /v1/sessions/{session}/jobs/{job}/preview`.
pub(super) async fn preview(
    State(app): State<AppState>,
    headers: HeaderMap,
    Path((session, job)): Path<(String, String)>,
    Query(query): Query<TokenQuery>,
) -> Answer {
    let opened = authorised(&app, &headers, query.token(), &session).await?;
    let job = job_id(job)?;
    let (present, _) = app.logs.present(&opened.session.id).await?;
    let id = present.iter().find_map(|entry| match &entry.event {
        Event::Preview(preview) if preview.job == job => Some(preview.id_cutout.clone()),
        _ => None,
    });
    if let Some(id) = id {
        return send(&headers, kept(&app, &id).await?.as_ref()).await;
    }
    let message = if knows_job(&app, &opened.session.id, &job).await? {
        format!("job {job} has no preview; one is made while the model isn't ready or photos wait for it")
    } else {
        format!("this session has no job {job}")
    };
    Err(Refusal::new(Code::UnknownJob, message))
}

/// What makes a lasting address valid.
#[derive(Debug, Deserialize)]
pub(super) struct Signed {
    expires: Option<u64>,
    signature: Option<String>,
}

/// `GET /v1/cutouts/{id}`.
pub(super) async fn lasting(
    State(app): State<AppState>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(signed): Query<Signed>,
) -> Answer {
    let id = CutoutId::try_from(id).map_err(|error| Refusal::new(Code::UnknownJob, error.to_string()))?;
    let by_signature = match (signed.expires, &signed.signature) {
        (Some(expires), Some(signature)) => {
            app.secret.verify_cutout(&id, expires, signature) && clock::now_ms() < expires
        }
        _ => false,
    };
    let shop = app.admission.secret(&headers);
    if !by_signature && shop.is_none() {
        let message = "this needs the shop's secret key, or the whole address that came with the cutout, before it expires";
        return Err(Refusal::new(Code::Unauthorized, message));
    }
    let cutout = kept(&app, &id).await?;
    if !by_signature && cutout.shop != shop {
        return Err(gone(&id));
    }
    send(&headers, &cutout).await
}

fn job_id(text: String) -> Answer<JobId> {
    JobId::try_from(text).map_err(|error| Refusal::new(Code::UnknownJob, error.to_string()))
}

async fn kept(app: &AppState, id: &CutoutId) -> Answer<Arc<Cutout>> {
    app.results.get(id).await?.ok_or_else(|| gone(id))
}

fn gone(id: &CutoutId) -> Refusal {
    Refusal::new(
        Code::UnknownJob,
        format!("there is no cutout {id} here, or it is no longer kept; send the photo again"),
    )
}

/// The answer to a request that waited for its job.
pub(super) async fn when_done(app: &AppState, ended: Result<CutoutEvent, Problem>) -> Answer {
    let event = ended?;
    let mut response = send(&HeaderMap::new(), kept(app, &event.id_cutout).await?.as_ref()).await?;
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    set("server-timing", server_timing(&event.timings_ms));
    set("warmcut-cached", event.cached.to_string());
    set("warmcut-cutout", event.lasting_url);
    if event.degraded {
        set("warmcut-degraded", "true".to_owned());
    }
    if !event.notes.is_empty() {
        set("warmcut-notes", event.notes.join(","));
    }
    Ok(response)
}

/// Browsers show it in their network panel (W3C Server Timing).
fn server_timing(timings: &Timings) -> String {
    let Timings { upload, queue, decode, infer, compose, encode, total } = timings;
    format!(
        "upload;dur={upload}, queue;dur={queue}, decode;dur={decode}, infer;dur={infer}, compose;dur={compose}, encode;dur={encode}, total;dur={total}"
    )
}

async fn send(asked: &HeaderMap, cutout: &Cutout) -> Answer {
    let etag = format!("\"{}\"", cutout.id);
    let unchanged = has_already(asked, &etag);
    let left_s = cutout.expires_ms.saturating_sub(clock::now_ms()) / 1000;
    let headers = [
        (header::ETAG, etag),
        (header::CACHE_CONTROL, format!("private, max-age={left_s}, immutable")),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    if unchanged {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let pieces = cutout.stream().await?.ok_or_else(|| gone(&cutout.id))?;
    let extension = cutout.mime.strip_prefix("image/").unwrap_or("bin").replace("jpeg", "jpg");
    let content = [
        (header::CONTENT_TYPE, cutout.mime.to_owned()),
        (header::CONTENT_LENGTH, cutout.len().to_string()),
        (header::CONTENT_DISPOSITION, format!("inline; filename=\"cutout.{extension}\"")),
    ];
    Ok::<Response, Refusal>((headers, content, Body::from_stream(pieces)).into_response())
}
