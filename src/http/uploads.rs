//! `POST /v1/sessions/{session}/uploads`: a photo over HTTP, raw or as a form.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::multipart::{Field, Multipart};
use axum::extract::{FromRequest, Path, RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::body::{Announced, BodyError, SharedBody, in_time, refuse};
use super::error::{Answer, Refusal};
use super::sessions::authorised;
use super::{results, wait};
use crate::cutout::{Begun, NewUpload, Writer};
use crate::protocol::options::Options;
use crate::protocol::{Code, JobId, Problem, UploadId};
use crate::session::Session;

/// A form has at most so many fields: the photo and every option, and some to spare.
const FIELDS: usize = 16;
/// A form's own words come on top of its photo; two kilobytes a field.
pub(super) const FORM_SLACK: u64 = FIELDS as u64 * 2048;
/// An option's value.
const FIELD_BYTES: usize = 256;

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
pub(super) struct Asked {
    upload: Option<UploadId>,
    wait: bool,
    token: Option<String>,
    pub(super) options: Vec<(String, String)>,
}

impl Asked {
    pub(super) fn from_query(query: &str) -> Answer<Self> {
        let mut asked = Self { upload: None, wait: false, token: None, options: Vec::new() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "upload" => {
                    let id = UploadId::try_from(value.into_owned());
                    asked.upload =
                        Some(id.map_err(|error| Refusal::new(Code::BadRequest, error.to_string()))?);
                }
                "wait" => {
                    asked.wait = match value.as_ref() {
                        "true" => true,
                        "false" => false,
                        other => {
                            let message = format!("wait={other:.20} is neither true nor false");
                            return Err(Refusal::new(Code::BadRequest, message));
                        }
                    }
                }
                "token" => asked.token = Some(value.into_owned()),
                _ => asked.options.push((name.into_owned(), value.into_owned())),
            }
        }
        Ok(asked)
    }
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
    mut pairs: Vec<(String, String)>,
    request: Request,
    mut body: SharedBody,
    announced: &Announced,
) -> Answer<Taken> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_form =
        content_type.is_some_and(|text| text.trim_start().to_ascii_lowercase().starts_with("multipart/"));
    let limit = app.intake.limits().max_bytes;
    if is_form {
        if let Some(bytes) = announced.bytes.filter(|bytes| *bytes > limit + FORM_SLACK) {
            let message = format!(
                "the form has {bytes} bytes and the limit for a photo is {limit}; send a smaller one"
            );
            return Err(Refusal(Problem::new(Code::UploadTooLarge, message).about_upload(id)));
        }
        return form(app, session, id, &mut pairs, request).await;
    }
    let options = Options::from_pairs(pairs)?;
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

async fn incomplete(writer: Writer, error: &BodyError) -> Refusal {
    let message = format!("{error}: {} bytes came; send the photo again", writer.received());
    let problem = Problem::new(Code::UploadIncomplete, message).about_upload(writer.upload());
    writer.reject(problem.clone()).await;
    Refusal(problem)
}

async fn form(
    app: &AppState,
    session: &Arc<Session>,
    id: &UploadId,
    pairs: &mut Vec<(String, String)>,
    request: Request,
) -> Answer<Taken> {
    let unreadable =
        |reason: String| Refusal::new(Code::BadRequest, format!("the form can't be read: {reason}"));
    let mut form =
        Multipart::from_request(request, &()).await.map_err(|error| unreadable(error.body_text()))?;
    let mut photo = None;
    for _ in 0..FIELDS {
        let field = match in_time(form.next_field()).await {
            Ok(Ok(Some(field))) => field,
            Ok(Ok(None)) => return finish(photo, options_of(pairs)?).await,
            Ok(Err(error)) => return Err(unfinished(photo, &BodyError::Gone, error.body_text()).await),
            Err(silent) => return Err(unfinished(photo, &silent, silent.to_string()).await),
        };
        let name = field.name().unwrap_or_default().to_owned();
        if matches!(name.as_str(), "image_file" | "file") {
            if photo.is_some() {
                return Err(unreadable("it has more than one photo".into()));
            }
            let new = NewUpload { id: id.clone(), bytes: None, options: options_of(pairs)?, resume: false };
            photo = Some(match app.intake.begin(session, new).await? {
                Begun::Receiving(writer) => Photo::Here(photo_of(writer, field).await?),
                Begun::Exists(job) => Photo::Known(job),
            });
        } else {
            pairs.push((name, value_of(field).await?));
        }
    }
    Err(unreadable(format!("it has more than {FIELDS} fields")))
}

/// The photo of a form.
enum Photo {
    Here(Writer),
    /// It came before.
    Known(JobId),
}

async fn photo_of(mut writer: Writer, mut field: Field<'_>) -> Answer<Writer> {
    loop {
        match in_time(field.chunk()).await {
            Ok(Ok(Some(piece))) => writer.write(&piece).await?,
            Ok(Ok(None)) => return Ok(writer),
            Ok(Err(_)) => return Err(incomplete(writer, &BodyError::Gone).await),
            Err(silent) => return Err(incomplete(writer, &silent).await),
        }
    }
}

async fn value_of(mut field: Field<'_>) -> Answer<String> {
    let name: String = field.name().unwrap_or_default().chars().take(40).collect();
    let mut value = Vec::new();
    let stalled = |silent: BodyError| Refusal::new(Code::UploadIncomplete, silent.to_string());
    while let Some(piece) = in_time(field.chunk())
        .await
        .map_err(stalled)?
        .map_err(|error| Refusal::new(Code::BadRequest, error.body_text()))?
    {
        value.extend_from_slice(&piece);
        if value.len() > FIELD_BYTES {
            let message =
                format!("field {name:?} is longer than {FIELD_BYTES} bytes; the photo goes into image_file");
            return Err(Refusal::new(Code::BadRequest, message));
        }
    }
    String::from_utf8(value)
        .map_err(|_| Refusal::new(Code::BadRequest, format!("field {name:?} is not text")))
}

async fn finish(photo: Option<Photo>, options: Options) -> Answer<Taken> {
    match photo {
        Some(Photo::Here(writer)) => {
            writer.set_options(options).await?;
            Ok(Taken { job: writer.finish().await?, made_here: true })
        }
        Some(Photo::Known(job)) => Ok(Taken { job, made_here: false }),
        None => {
            Err(Refusal::new(Code::BadRequest, "the form has no photo; it goes into the field image_file"))
        }
    }
}

/// A form that ended before its end; a photo that came before is given up with it.
async fn unfinished(photo: Option<Photo>, error: &BodyError, reason: String) -> Refusal {
    match photo {
        Some(Photo::Here(writer)) => incomplete(writer, error).await,
        _ => Refusal::new(Code::BadRequest, format!("the form can't be read: {reason}")),
    }
}

fn options_of(pairs: &[(String, String)]) -> Answer<Options> {
    Ok(Options::from_pairs(pairs.iter().map(|(name, value)| (name, value)))?)
}
