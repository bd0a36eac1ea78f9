//! Sessions without a channel: opening, polling, canceling.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;

use super::AppState;
use super::address::Visitor;
use super::admission::bearer;
use super::channel::{self, OpenQuery, session_event};
use super::error::{Answer, Refusal};
use super::extract::{Path, Query};
use crate::clock;
use crate::protocol::{Code, JobId, SessionId};
use crate::session::{Opened, snapshot};

/// `POST /v1/sessions`.
pub(super) async fn open(
    State(app): State<AppState>,
    visitor: Visitor,
    headers: HeaderMap,
    Query(query): Query<OpenQuery>,
) -> Answer {
    let opened = channel::open(&app, &headers, &query, None, visitor).await?;
    let place = format!("/v1/sessions/{}", opened.session.id);
    let headers = [(header::LOCATION, place), (header::CACHE_CONTROL, "no-store".to_owned())];
    Ok((StatusCode::CREATED, headers, Json(session_event(&app, &opened))).into_response())
}

/// The token of a request that can't send headers.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TokenQuery {
    token: Option<String>,
}

/// The session of a request's token, which must be the one in its path.
pub(super) async fn authorised(
    app: &AppState,
    headers: &HeaderMap,
    token: Option<&str>,
    session: &str,
) -> Answer<Opened> {
    let token = bearer(headers).or(token).ok_or_else(|| {
        Refusal::new(Code::Unauthorized, "this needs the session's token: Authorization: Bearer …")
    })?;
    let opened = app.sessions.find(token).await?;
    if opened.session.id.as_str() == session {
        return Ok(opened);
    }
    // Whether the other one exists is none of this client's business.
    Err(Refusal::new(Code::UnknownSession, "this token is for another session"))
}

/// `GET /v1/sessions/{session}`.
pub(super) async fn snapshot(
    State(app): State<AppState>,
    headers: HeaderMap,
    Path(session): Path<String>,
    Query(query): Query<TokenQuery>,
) -> Answer {
    let opened = authorised(&app, &headers, query.token.as_deref(), &session).await?;
    let (present, last) = app.logs.present(&opened.session.id).await?;
    let state = app.pool.follow().borrow().clone();
    let snapshot = snapshot::of(&opened.session, app.sessions.ttl(), &present, last, &state, clock::now_ms());
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(snapshot)).into_response())
}

/// `DELETE /v1/sessions/{session}/jobs/{job}`.
pub(super) async fn cancel(
    State(app): State<AppState>,
    headers: HeaderMap,
    Path((session, job)): Path<(String, String)>,
    Query(query): Query<TokenQuery>,
) -> Answer<StatusCode> {
    let opened = authorised(&app, &headers, query.token.as_deref(), &session).await?;
    let job = JobId::try_from(job).map_err(|error| Refusal::new(Code::UnknownJob, error.to_string()))?;
    cancel_job(&app, &opened.session.id, &job).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Cancels a job of a session; nothing happens to one that has ended.
pub(super) async fn cancel_job(app: &AppState, session: &SessionId, job: &JobId) -> Answer<()> {
    if !knows_job(app, session, job).await? {
        return Err(Refusal::new(Code::UnknownJob, format!("this session has no job {job}")));
    }
    app.jobs.cancel(job).await?;
    Ok(())
}

/// Whether a job belongs to a session.
pub(super) async fn knows_job(app: &AppState, session: &SessionId, job: &JobId) -> Answer<bool> {
    // The queue knows what lives for certain; the log knows the latest that have ended.
    if app.jobs.is_live(session, job).await? {
        return Ok(true);
    }
    let (present, _) = app.logs.present(session).await?;
    Ok(present.iter().any(|entry| snapshot::is_of_job(&entry.event, job)))
}

impl TokenQuery {
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }
}
