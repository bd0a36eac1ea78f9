//! `POST /v1/sessions/{session}/uploads`: a photo over HTTP, raw or as a [`form`].

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::body::{Announced, BodyError, SharedBody, refuse};
use super::error::{Answer, Refusal};
use super::extract::Path;
use super::form::{self, FORM_SLACK};
use super::headers::text;
use super::sessions::authorised;
use super::{results, wait};
use crate::cutout::{Begun, NewUpload, Writer};
use crate::protocol::options::{OptionError, Options};
use crate::protocol::{Code, JobId, Problem, UploadId};
use crate::session::Session;

/// Takes a photo into a session.
pub(super) async fn upload(
    State(app): State<AppState>,
    Path(session): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let announced = Announced::of(&parts.headers);
    let body = SharedBody::new(body, app.intake.limits().max_bytes + FORM_SLACK, &app.draining);
    let take = async {
        let asked = Asked::from_query(query.as_deref().unwrap_or_default())?;
        let opened = authorised(&app, &parts.headers, asked.token.as_deref(), &session).await?;
        let id = asked.upload.clone().unwrap_or_else(UploadId::random);
        let request = Request::from_parts(parts.clone(), Body::from_stream(body.clone()));
        let job =
            receive(&app, &opened.session, &id, asked.options, request, body.clone(), &announced).await?;
        Ok::<_, Refusal>((opened.session, id, job, asked.wait))
    };
    let (session, id, taken, waits) = match take.await {
        Ok(taken) => taken,
        Err(refusal) => return refuse(&app, refusal, body, &announced),
    };
    if !waits {
        let accepted = axum::Json(serde_json::json!({"job": taken.job, "upload": id}));
        return (StatusCode::ACCEPTED, accepted).into_response();
    }
    match results::when_done(&app, wait::for_cutout(&app, &session.id, &taken).await).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

/// What the query asks for.
struct Asked {
    upload: Option<UploadId>,
    wait: bool,
    token: Option<String>,
    options: Vec<(String, String)>,
}

impl Asked {
    fn from_query(query: &str) -> Answer<Self> {
        let mut asked = Self { upload: None, wait: false, token: None, options: Vec::new() };
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "upload" => {
                    once(&mut seen, "upload")?;
                    let id = UploadId::try_from(value.into_owned());
                    asked.upload =
                        Some(id.map_err(|error| Refusal::new(Code::BadRequest, error.to_string()))?);
                }
                "wait" => {
                    once(&mut seen, "wait")?;
                    asked.wait = match value.as_ref() {
                        "true" => true,
                        "false" => false,
                        other => {
                            let message = format!("wait={other:.20} is neither true nor false");
                            return Err(Refusal::new(Code::BadRequest, message));
                        }
                    }
                }
                "token" => {
                    once(&mut seen, "token")?;
                    asked.token = Some(value.into_owned());
                }
                _ => asked.options.push((name.into_owned(), value.into_owned())),
            }
        }
        Ok(asked)
    }
}

fn once(seen: &mut Vec<&'static str>, name: &'static str) -> Result<(), OptionError> {
    if seen.contains(&name) {
        return Err(OptionError::Repeated { name });
    }
    seen.push(name);
    Ok(())
}

/// A photo that was taken, now or before.
pub(super) struct Taken {
    pub(super) job: JobId,
    /// False when the same upload came before.
    pub(super) made_here: bool,
}

/// Receives the photo of a request into a session, and gives its job.
pub(super) async fn receive(
    app: &AppState,
    session: &Arc<Session>,
    id: &UploadId,
    pairs: Vec<(String, String)>,
    request: Request,
    mut body: SharedBody,
    announced: &Announced,
) -> Answer<Taken> {
    let is_form = text(request.headers(), header::CONTENT_TYPE)
        .is_some_and(|text| text.trim_start().to_ascii_lowercase().starts_with("multipart/"));
    let limit = app.intake.limits().max_bytes;
    if is_form {
        if let Some(bytes) = announced.bytes.filter(|bytes| *bytes > limit + FORM_SLACK) {
            let message = format!(
                "the form has {bytes} bytes and the limit for a photo is {limit}; send a smaller one"
            );
            return Err(Refusal(Problem::new(Code::UploadTooLarge, message).about_upload(id)));
        }
        return form::receive(app, session, id, pairs, request).await;
    }
    let options = options_of(&pairs)?;
    let new = NewUpload { id: id.clone(), bytes: announced.bytes, options, resume: false };
    let mut writer = match app.intake.begin(session, new).await? {
        Begun::Receiving(writer) => writer,
        Begun::Exists(job) => return Ok(Taken { job, made_here: false }),
    };
    while let Some(piece) = body.piece().await {
        match piece {
            Ok(piece) => writer.write(&piece).await?,
            Err(error) => return Err(incomplete(writer, &error).await),
        }
    }
    Ok(Taken { job: writer.finish().await?, made_here: true })
}

pub(super) async fn incomplete(writer: Writer, error: &BodyError) -> Refusal {
    let message = format!("{error}: {} bytes came; send the photo again", writer.received());
    let problem = Problem::new(Code::UploadIncomplete, message).about_upload(writer.upload());
    writer.reject(problem.clone()).await;
    Refusal(problem)
}

/// Options from query or form fields.
pub(super) fn options_of(pairs: &[(String, String)]) -> Answer<Options> {
    Ok(Options::from_pairs(pairs.iter().map(|(name, value)| (name, value)))?)
}
