//! `POST /v1/cutouts`: one photo in, the cutout out.
//!
//! The request gets a session of its own that nobody else knows, so it goes the same way as any other
//! photo; when the request closes, its session ends, and its job with it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::body::{Announced, SharedBody, refuse};
use super::error::Refusal;
use super::form::FORM_SLACK;
use super::uploads::{options_of, receive};
use super::{results, wait};
use crate::protocol::{SessionId, UploadId};
use crate::session::{Logs, Session};
use crate::warmup::Cause;

/// Ends the request's own session.
struct Ends {
    session: Arc<Session>,
    logs: Arc<dyn Logs>,
    app: AppState,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.session.ended.cancel();
        let (logs, id): (_, SessionId) = (Arc::clone(&self.logs), self.session.id.clone());
        self.app.tracker.spawn(async move {
            if let Err(error) = logs.remove(&id).await {
                tracing::warn!(%error, session = %id, "a log stays until it expires");
            }
        });
    }
}

/// Cuts a photo out and answers with the result.
pub(super) async fn cutouts(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let announced = Announced::of(&parts.headers);
    let body = SharedBody::new(body, app.intake.limits().max_bytes + FORM_SLACK, &app.draining);
    let take = async {
        let shop = app.admission.work(&parts.headers)?;
        let query = form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes());
        let pairs: Vec<(String, String)> = query.into_owned().collect();
        // Before anything is woken. `upload`, `wait` and `token` are a session's words and unknown here.
        let options = options_of(&pairs)?;
        app.intake.judge_model(&options)?;
        if app.intake.needs_pool(&options) {
            app.pool.ensure_warm(Cause::explicit("cutouts")).await?;
        }
        let session = Arc::new(Session::detached(shop));
        app.logs.create(&session.id).await?;
        let ends = Ends { session: Arc::clone(&session), logs: Arc::clone(&app.logs), app: Arc::clone(&app) };
        let request = Request::from_parts(parts.clone(), Body::from_stream(body.clone()));
        let id = UploadId::random();
        let job = receive(&app, &session, &id, pairs, request, body.clone(), &announced).await?;
        Ok::<_, Refusal>((ends, job))
    };
    let (ends, taken) = match take.await {
        Ok(taken) => taken,
        Err(refusal) => return refuse(&app, refusal, body, &announced),
    };
    let waited = wait::for_cutout(&app, &ends.session.id, &taken).await;
    match results::when_done(&app, waited).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}
