//! What a visitor came for: a photo out, a cutout back.

use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::visitor::{Owed, Visitor};
use crate::client::request::check_cutout;
use crate::client::{Arrival, Channel, ClientError, download, upload};
use crate::protocol::{CutoutEvent, Event, JobStatus, UploadEvent, UploadId, UploadStatus};

/// A server that refuses a photo while it is being sent says why within this time.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Sends one photo and waits for its cutout. The session has no other job, so every job is this one.
/// `uploaded` becomes true when the server has taken the photo.
pub(super) async fn have_cut_out(mut visitor: Visitor<'_>, uploaded: &mut bool) -> Result<(), ClientError> {
    let upload_id = UploadId::random();
    let photo = visitor.plan.photo_of(&upload_id);
    let clock = Instant::now();

    // Over a WebSocket the photo goes when it is accepted; over HTTP while the channel is listened to.
    let over_http = !matches!(visitor.channel, Channel::Socket(_));
    if !over_http {
        visitor.owed = Some(Owed { upload: upload_id.clone(), photo: photo.clone(), announced: false });
        visitor.announce().await?;
    }
    let (server, pass) = (visitor.plan.server.clone(), visitor.pass.clone());
    let mut sending = pin!(async { upload(&server, &pass, &upload_id, &photo).await });

    let mut sent = !over_http;
    let mut ended = false;
    let mut cutout = None;
    while !(sent && ended) {
        let Arrival { framed, body } = tokio::select! {
            biased;
            answer = &mut sending, if !sent => {
                answer?;
                sent = true;
                visitor.channel.hurry();
                count_upload(&visitor, uploaded);
                continue;
            }
            arrival = visitor.next(), if !ended => arrival?,
        };
        match framed.event {
            Event::Upload(UploadEvent { status, received_bytes, .. }) => match status {
                UploadStatus::Accepted => send(&mut visitor, received_bytes).await?,
                UploadStatus::Received => {
                    visitor.owed = None;
                    count_upload(&visitor, uploaded);
                }
                UploadStatus::Rejected => return Err(visitor.because("rejected")),
                UploadStatus::Progress => {}
            },
            Event::Cutout(event) => cutout = Some((event, body)),
            Event::Job(job) => match job.status {
                JobStatus::Succeeded => ended = true,
                JobStatus::Failed => return Err(visitor.because("failed")),
                JobStatus::Canceled => return Err(visitor.because("canceled")),
                JobStatus::Starting | JobStatus::Queued | JobStatus::Processing => {}
            },
            _ => {}
        }
    }
    let Some((event, body)) = cutout else {
        return Err(ClientError::garbled("the job", "it succeeded without a cutout"));
    };
    look_at(visitor, &event, body, clock).await
}

/// Sends what the socket has not received of the photo.
async fn send(visitor: &mut Visitor<'_>, received: u64) -> Result<(), ClientError> {
    let (Channel::Socket(socket), Some(owed)) = (&mut visitor.channel, &mut visitor.owed) else {
        return Ok(());
    };
    if !std::mem::replace(&mut owed.announced, false) {
        return Ok(());
    }
    let Err(error) = socket.send_photo(&owed.photo, received).await else { return Ok(()) };
    let last_words = async {
        while !visitor.has_problem() {
            match visitor.channel.next().await {
                Ok(arrival) => visitor.note(&arrival),
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
    if visitor.has_problem() { Err(visitor.because("rejected")) } else { visitor.resume(error).await }
}

fn count_upload(visitor: &Visitor<'_>, uploaded: &mut bool) {
    if !std::mem::replace(uploaded, true) {
        visitor.tally.uploaded();
    }
}

async fn look_at(
    visitor: Visitor<'_>,
    event: &CutoutEvent,
    body: Option<Bytes>,
    clock: Instant,
) -> Result<(), ClientError> {
    let bytes = match body {
        Some(bytes) => bytes,
        None => download(&visitor.plan.server, Some(&visitor.pass), &event.url).await?.bytes,
    };
    let end_to_end = clock.elapsed();
    check_cutout(event, &bytes, visitor.plan.picture)?;
    visitor.tally.succeeded(event, end_to_end);
    visitor.leave().await;
    Ok(())
}
