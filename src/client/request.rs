//! What a session asks for beside its channel: sending a photo, fetching a picture, stopping a job.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap};
use reqwest::{Body, Method};
use serde::Deserialize;

use super::server::accepted;
use super::{ClientError, Pass, Photo, Picture, Server};
use crate::protocol::{CutoutEvent, JobId, UploadId};

/// As the photo goes out.
const PIECE: usize = 64 << 10;

/// The answer to an upload.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Received {
    /// The job that makes the cutout.
    pub job: JobId,
    /// The upload that it was born from.
    pub upload: UploadId,
}

/// A fetched picture.
#[derive(Clone, Debug)]
pub struct Download {
    /// Its bytes.
    pub bytes: Bytes,
    /// `Content-Type`.
    pub mime: Option<String>,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Cache-Control`.
    pub caching: Option<String>,
}

/// Sends a photo over HTTP; its result comes on the session's channel.
pub async fn upload(
    server: &Server,
    pass: &Pass,
    id: &UploadId,
    photo: &Photo,
) -> Result<Received, ClientError> {
    let request =
        server.request(Method::POST, &format!("/v1/sessions/{}/uploads?upload={id}", pass.session))?;
    let request = request.bearer_auth(&pass.token).header(CONTENT_TYPE, photo.mime());
    let response = request.header(CONTENT_LENGTH, photo.len()).body(body_of(photo)).send().await?;
    let answer = accepted("POST /v1/sessions/{session}/uploads", response).await?.bytes().await?;
    serde_json::from_slice(&answer).map_err(|error| ClientError::garbled("the answer to an upload", error))
}

/// Fetches a picture by the path that its event gave.
pub async fn download(server: &Server, pass: Option<&Pass>, path: &str) -> Result<Download, ClientError> {
    let mut request = server.request(Method::GET, path)?;
    if let Some(pass) = pass {
        request = request.bearer_auth(&pass.token);
    }
    let response = accepted("GET of a picture", request.send().await?).await?;
    let text = |headers: &HeaderMap, name| {
        headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let headers = response.headers();
    let (mime, etag, caching) =
        (text(headers, CONTENT_TYPE), text(headers, ETAG), text(headers, CACHE_CONTROL));
    Ok(Download { bytes: response.bytes().await?, mime, etag, caching })
}

/// Asks to stop a job.
pub async fn cancel(server: &Server, pass: &Pass, job: &JobId) -> Result<(), ClientError> {
    let request = server.request(Method::DELETE, &format!("/v1/sessions/{}/jobs/{job}", pass.session))?;
    let response = accepted("DELETE of a job", request.bearer_auth(&pass.token).send().await?).await?;
    match response.status().as_u16() {
        204 => Ok(()),
        status => Err(ClientError::garbled(
            "the answer to DELETE of a job",
            format!("the status is {status}, not 204"),
        )),
    }
}

/// A photo as a request's body, without a copy of it.
pub(super) fn body_of(photo: &Photo) -> Body {
    Body::wrap_stream(stream::iter(photo.pieces(0, PIECE).map(Ok::<_, Infallible>)))
}

/// Whether a cutout is the picture that its event promises, of the photo that was sent.
pub(super) fn check_cutout(
    event: &CutoutEvent,
    bytes: &[u8],
    sent: Option<Picture>,
) -> Result<(), ClientError> {
    let wrong = |why: String| Err(ClientError::WrongCutout(why));
    if bytes.len() as u64 != event.bytes {
        return wrong(format!("{} bytes came of {}", bytes.len(), event.bytes));
    }
    let Some(picture) = Picture::read(bytes) else {
        return wrong(format!("it has no picture's header but {:02x?}", &bytes[..bytes.len().min(8)]));
    };
    if picture.format.mime() != event.mime {
        return wrong(format!("it is {} and not {}", picture.format.mime(), event.mime));
    }
    if (picture.width, picture.height) != (event.width, event.height) {
        let (width, height) = (event.width, event.height);
        return wrong(format!("it is {}×{} and not {width}×{height}", picture.width, picture.height));
    }
    match sent {
        Some(sent) if !sent.has_size(picture.width, picture.height) => wrong(format!(
            "it is {}×{} and the photo was {}×{}",
            picture.width, picture.height, sent.width, sent.height
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::picture::tests as files;
    use crate::protocol::{CutoutId, Delivery, Timings};

    fn event(mime: &str, width: u32, bytes: usize) -> CutoutEvent {
        CutoutEvent {
            job: JobId::random(),
            id_cutout: CutoutId::random(),
            url: "/u".into(),
            lasting_url: "/l".into(),
            mime: mime.into(),
            width,
            height: 200,
            bytes: bytes as u64,
            model: "m".into(),
            cached: false,
            degraded: false,
            delivery: Delivery::Url,
            timings_ms: Timings::default(),
            notes: vec![],
        }
    }

    #[test]
    fn a_cutout_must_be_what_its_event_says() {
        let png = files::png();
        let sent = Picture::read(&files::jpeg());
        assert!(check_cutout(&event("image/png", 300, png.len()), &png, sent).is_ok());
        for wrong in [
            event("image/png", 300, 1),
            event("image/webp", 300, png.len()),
            event("image/png", 301, png.len()),
        ] {
            assert_eq!(check_cutout(&wrong, &png, sent).expect_err("wrong").code(), "wrong_cutout");
        }
        let small = Picture { format: super::super::Format::Jpeg, width: 30, height: 20 };
        assert!(check_cutout(&event("image/png", 300, png.len()), &png, Some(small)).is_err());
        assert!(check_cutout(&event("image/png", 300, 3), b"abc", sent).is_err());
    }
}
