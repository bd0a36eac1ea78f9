//! Whether a photo becomes a cutout, by each way in and out.

use std::time::Instant;

use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::Patient;
use super::channels::OpenStream;
use super::check::{Fault, Outcome, ok, skip, warn};
use crate::client::channel::session_of;
use crate::client::request::{body_of, check_cutout};
use crate::client::{Arrival, ClientError, Pass, Photo, Picture, Socket, cancel, download, upload};
use crate::protocol::{
    CutoutEvent, Delivery, Event, JobId, JobStatus, Problem, UploadEvent, UploadId, UploadStatus,
};

/// A job that is over, and what later checks need of it.
pub(super) struct Made {
    pub(super) pass: Pass,
    pub(super) cutout: CutoutEvent,
    /// The id of the job's last event.
    pub(super) last_id: String,
}

/// Over a WebSocket, with the cutout's bytes on it.
pub(super) async fn over_socket(patient: &Patient) -> Outcome<Made> {
    let mut socket = Socket::open(&patient.server, None).await?;
    let pass = Pass::from(&session_of(&socket.next().await?.framed)?);
    let photo = patient.fresh_photo();
    let begun = Instant::now();
    socket.announce(&UploadId::random(), &photo, Delivery::Inline).await?;
    let end = until_end(&mut socket, &photo).await?;
    let Some((cutout, body)) = end.cutout else { return Err(end.fault()) };
    let Some(bytes) = body else {
        return Err(Fault::new(
            "the cutout did not follow on the socket",
            "is the server of another version?",
        ));
    };
    check_cutout(&cutout, &bytes, patient.picture)?;
    let Some(last_id) = end.last_id else {
        return Err(Fault::new("the job's end has no id", "is the server of another version?"));
    };
    socket.close().await;
    Ok(ok(format!("{} in {} ms", about(&cutout), begun.elapsed().as_millis())).with(Made {
        pass,
        cutout,
        last_id,
    }))
}

/// Over HTTP, for the session of an event stream; the bytes from their address. Gives the photo back.
pub(super) async fn over_http(patient: &Patient, open: &mut OpenStream) -> Outcome<Photo> {
    let photo = patient.fresh_photo();
    let begun = Instant::now();
    let cutout = send(patient, open, &photo).await?;
    let picture = download(&patient.server, Some(&open.pass), &cutout.url).await?;
    check_cutout(&cutout, &picture.bytes, patient.picture)?;
    if picture.mime.as_deref() != Some(cutout.mime.as_str()) {
        let why = format!("the cutout's Content-Type is {:?}, not {}", picture.mime, cutout.mime);
        return Err(Fault::new(why, "a proxy must not rewrite it"));
    }
    let text = format!("{} in {} ms", about(&cutout), begun.elapsed().as_millis());
    let private = picture
        .caching
        .as_deref()
        .is_some_and(|caching| caching.contains("private") || caching.contains("no-store"));
    if picture.etag.is_none() || !private {
        return Ok(warn(format!("{text}; but ETag or private caching is missing")).with(photo));
    }
    Ok(ok(text).with(photo))
}

pub(super) async fn cached(patient: &Patient, open: &mut OpenStream, photo: &Photo) -> Outcome {
    let begun = Instant::now();
    let cutout = send(patient, open, photo).await?;
    match cutout.cached {
        true => Ok(ok(format!("the same photo again in {} ms", begun.elapsed().as_millis()))),
        false => Err(Fault::new(
            "the same photo was cut out twice",
            "is the results' cache switched off, or too small?",
        )),
    }
}

/// The cutout's address for orders: no token, from anywhere.
pub(super) async fn lasting(patient: &Patient, made: &Made) -> Outcome {
    let picture = download(&patient.server, None, &made.cutout.lasting_url).await?;
    check_cutout(&made.cutout, &picture.bytes, patient.picture)?;
    Ok(ok("the signed address answers without a token"))
}

/// For a shop's server: one photo in, the cutout out.
pub(super) async fn one_shot(patient: &Patient) -> Outcome {
    let photo = patient.fresh_photo();
    let begun = Instant::now();
    let mut request = patient.server.request(Method::POST, "/v1/cutouts")?.header(CONTENT_TYPE, photo.mime());
    if let Some(secret) = &patient.secret {
        request = request.bearer_auth(secret);
    }
    let response = request.header(CONTENT_LENGTH, photo.len()).body(body_of(&photo)).send().await?;
    if matches!(response.status().as_u16(), 401 | 403) && patient.secret.is_none() {
        return Ok(skip("needs --secret"));
    }
    let bytes = crate::client::server::accepted("POST /v1/cutouts", response).await?.bytes().await?;
    let Some(picture) = Picture::read(&bytes) else {
        return Err(Fault::new("the answer is no picture", "is the server of another version?"));
    };
    let Picture { width, height, .. } = picture;
    Ok(ok(format!("{width}×{height} {} in {} ms", picture.format.mime(), begun.elapsed().as_millis())))
}

/// A job may be over before its cancellation comes; either way it must end once, and say so.
pub(super) async fn canceled(patient: &Patient, open: &mut OpenStream) -> Outcome {
    let received = upload(&patient.server, &open.pass, &UploadId::random(), &patient.fresh_photo()).await?;
    cancel(&patient.server, &open.pass, &received.job).await?;
    let status = end_of(open, &received.job).await?.status;
    match cancel(&patient.server, &open.pass, &JobId::random()).await {
        Err(ClientError::Refused(problem)) if problem.code.status() == 404 => {}
        Err(error) => return Err(error.into()),
        Ok(()) => {
            return Err(Fault::new(
                "a job that never was could be canceled",
                "is the server of another version?",
            ));
        }
    }
    Ok(ok(format!("204, and the job ended as {status:?}; 404 for an unknown job")))
}

async fn send(patient: &Patient, open: &mut OpenStream, photo: &Photo) -> Result<CutoutEvent, Fault> {
    let received = upload(&patient.server, &open.pass, &UploadId::random(), photo).await?;
    let end = end_of(open, &received.job).await?;
    match end.cutout {
        Some((cutout, _)) => Ok(cutout),
        None => Err(end.fault()),
    }
}

/// How a job ended.
struct End {
    status: JobStatus,
    cutout: Option<(CutoutEvent, Option<bytes::Bytes>)>,
    problem: Option<Problem>,
    last_id: Option<String>,
}

impl End {
    fn fault(self) -> Fault {
        match self.problem {
            Some(problem) => ClientError::Refused(Box::new(problem)).into(),
            None => ClientError::Unexplained(format!("{:?}", self.status)).into(),
        }
    }
}

async fn end_of(open: &mut OpenStream, job: &JobId) -> Result<End, ClientError> {
    let (mut cutout, mut problem) = (None, None);
    loop {
        let framed = open.stream.next().await?;
        match framed.event {
            Event::Cutout(event) if event.job == *job => cutout = Some((*event, None)),
            Event::Problem(event) if event.job.as_ref() == Some(job) => problem = Some(event),
            Event::Job(event) if event.job == *job && event.status.is_end() => {
                return Ok(End { status: event.status, cutout, problem, last_id: framed.id });
            }
            _ => {}
        }
    }
}

/// The same on a socket of its own, where every job is ours, sending the photo when it may come.
async fn until_end(socket: &mut Socket, photo: &Photo) -> Result<End, ClientError> {
    let (mut cutout, mut problem) = (None, None);
    loop {
        let Arrival { framed, body } = match socket.next().await {
            Ok(arrival) => arrival,
            // The problem says why the socket was closed.
            Err(error) => {
                return Err(problem.map_or(error, |problem| ClientError::Refused(Box::new(problem))));
            }
        };
        match framed.event {
            Event::Upload(UploadEvent { status: UploadStatus::Accepted, received_bytes, .. }) => {
                socket.send_photo(photo, received_bytes).await?;
            }
            Event::Upload(UploadEvent { status: UploadStatus::Rejected, .. }) => {
                return Ok(End { status: JobStatus::Failed, cutout, problem, last_id: framed.id });
            }
            Event::Cutout(event) => cutout = Some((*event, body)),
            Event::Problem(event) => problem = Some(event),
            Event::Job(event) if event.status.is_end() => {
                return Ok(End { status: event.status, cutout, problem, last_id: framed.id });
            }
            _ => {}
        }
    }
}

fn about(cutout: &CutoutEvent) -> String {
    let degraded = if cutout.degraded { ", degraded" } else { "" };
    format!("{}×{} {} by {}{degraded}", cutout.width, cutout.height, cutout.mime, cutout.model)
}
