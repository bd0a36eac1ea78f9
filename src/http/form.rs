//! A photo as a form: `multipart/form-data` with the photo in `image_file` or `file`, and options beside it.

use std::sync::Arc;

use axum::extract::multipart::{Field, Multipart};
use axum::extract::{FromRequest, Request};

use super::AppState;
use super::body::{BodyError, in_time};
use super::error::{Answer, Refusal};
use super::uploads::{Taken, incomplete, options_of};
use crate::cutout::{Begun, NewUpload, Writer};
use crate::protocol::options::Options;
use crate::protocol::{Code, JobId, UploadId};
use crate::session::Session;

/// A form has at most so many fields: the photo and every option, and some to spare.
const FIELDS: usize = 16;
/// A form's own words come on top of its photo; two kilobytes a field.
pub(super) const FORM_SLACK: u64 = FIELDS as u64 * 2048;
/// An option's value.
const FIELD_BYTES: usize = 256;

/// Receives a form into a session. `pairs` are the query's options; the form's come beside them.
pub(super) async fn receive(
    app: &AppState,
    session: &Arc<Session>,
    id: &UploadId,
    mut pairs: Vec<(String, String)>,
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
            Ok(Ok(None)) => return finish(photo, options_of(&pairs)?).await,
            Ok(Err(error)) => return Err(unfinished(photo, &BodyError::Gone, error.body_text()).await),
            Err(silent) => return Err(unfinished(photo, &silent, silent.to_string()).await),
        };
        let name = field.name().unwrap_or_default().to_owned();
        if matches!(name.as_str(), "image_file" | "file") {
            if photo.is_some() {
                return Err(unreadable("it has more than one photo".into()));
            }
            let new = NewUpload { id: id.clone(), bytes: None, options: options_of(&pairs)?, resume: false };
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
