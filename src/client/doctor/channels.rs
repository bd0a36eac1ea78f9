//! Whether channels open, at once and unaltered, over each transport.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Patient;
use super::check::{Fault, Finding, Outcome, ok, warn};
use super::edges::{has_word, must_be};
use crate::client::channel::session_of;
use crate::client::poll::RunStatus;
use crate::client::{Channel, ClientError, Pass, Resume, SseFrame, Stream, Transport, snapshot};
use crate::protocol::{Framed, SessionEvent};

/// The contract sends the first bytes at once; what takes longer was held back.
const AT_ONCE: Duration = Duration::from_secs(1);

/// When to stop waiting for a first byte that something holds back.
const HELD_BACK: Duration = Duration::from_secs(5);

/// Clocks that are further apart make times in logs hard to compare.
const SKEW_MS: u64 = 2_000;

/// An open stream and whose it is.
pub(super) struct OpenStream {
    pub(super) stream: Stream,
    pub(super) session: SessionEvent,
    pub(super) pass: Pass,
    /// When the session opened: by the server's clock and by ours.
    pub(super) at_ms: (u64, u64),
}

/// Opens the session that most other checks use.
pub(super) async fn stream(patient: &Patient) -> Outcome<OpenStream> {
    let begun = Instant::now();
    let mut stream = held_back("the stream's headers", Stream::request(&patient.server, None)).await?;
    let (headers_after, path) = (begun.elapsed(), "/v1/events");
    let headers = stream.headers().clone();
    must_be(path, &headers, "content-type", |value| value.starts_with("text/event-stream"))?;
    must_be(path, &headers, "cache-control", |value| {
        has_word(value, "no-store") && has_word(value, "no-transform")
    })?;
    if let Some(encoding) = headers.get("content-encoding") {
        let why = format!("the stream is compressed: {encoding:?}");
        return Err(Fault::new(why, "compression holds events back; switch it off for text/event-stream"));
    }
    let framed = held_back("the stream's first event", first_event(&mut stream)).await?;
    let (total, now_ms) = (begun.elapsed(), now_ms());
    let session = session_of(&framed)?;
    if total > AT_ONCE + patient.way() {
        let (headers_after, total) = (headers_after.as_millis(), total.as_millis());
        return Err(Fault::new(
            format!("headers came after {headers_after} ms and the first event after {total} ms"),
            "something on the way buffers; switch it off for this path (nginx: proxy_buffering off)",
        ));
    }
    let text = format!("first event after {} ms, and the stream is open", total.as_millis());
    // nginx obeys this header and takes it away, so its absence may be a good sign.
    let finding = match headers.get("x-accel-buffering") {
        Some(value) if value == "no" => ok(text),
        _ => warn(format!("{text}; X-Accel-Buffering: no is missing, which is right only behind nginx")),
    };
    let pass = Pass::from(&session);
    // The server's time lies in the middle of the way there and back.
    let ours = now_ms.saturating_sub(u64::try_from(patient.way().as_millis() / 2).unwrap_or(0));
    Ok(finding.with(OpenStream { stream, session, pass, at_ms: (framed.at_ms, ours) }))
}

/// The first event, and before it the comment and the delay that make proxies let go.
async fn first_event(stream: &mut Stream) -> Result<Framed, ClientError> {
    if let SseFrame::Event(event) = stream.next_frame().await? {
        return Err(ClientError::garbled(
            "the stream",
            format!("it begins with the event {}, not with a comment", event.event),
        ));
    }
    stream.next().await
}

pub(super) fn clock(at_ms: (u64, u64)) -> Finding {
    let (theirs, ours) = at_ms;
    match theirs.abs_diff(ours) {
        apart if apart > SKEW_MS => {
            warn(format!("the server's clock and ours are {apart} ms apart; let both follow NTP"))
        }
        apart => ok(format!("the server's and ours are {apart} ms apart at most")),
    }
}

/// The same session over a WebSocket: the handshake's subprotocol, and the token in it.
pub(super) async fn socket(patient: &Patient, pass: &Pass) -> Outcome {
    let begun = Instant::now();
    let resume = Resume { pass, last_id: None };
    let mut channel = Channel::open(&patient.server, Transport::Ws, Some(resume)).await?;
    let session = session_of(&channel.next().await?.framed)?;
    if session.session != pass.session || !session.resumed {
        let why =
            format!("the token of {} opened {}, resumed: {}", pass.session, session.session, session.resumed);
        return Err(Fault::new(why, "a proxy must pass Sec-WebSocket-Protocol on unaltered"));
    }
    if let Channel::Socket(socket) = channel {
        socket.close().await;
    }
    Ok(ok(format!("upgrade, subprotocol and token in {} ms", begun.elapsed().as_millis())))
}

pub(super) async fn polling(patient: &Patient) -> Outcome {
    let mut channel = Channel::open(&patient.server, Transport::Poll, None).await?;
    let session = session_of(&channel.next().await?.framed)?;
    let now = snapshot(&patient.server, &Pass::from(&session)).await?;
    match now.run {
        Some(run) if run.status == RunStatus::Ready => {
            Ok(ok(format!("the snapshot says ready, ask again in {} ms", now.poll_after_ms)))
        }
        Some(run) => Err(Fault::new(
            format!("the snapshot says {:?} after `ready`", run.status),
            "see the server's log",
        )),
        None => Err(Fault::new(
            "the snapshot has no run after `ready`",
            "does another instance answer? sessions need affinity",
        )),
    }
}

async fn held_back<T>(
    what: &'static str,
    coming: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(HELD_BACK, coming).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Fault::new(
            format!("{what} did not come within {} s", HELD_BACK.as_secs()),
            "something on the way buffers; switch it off for this path (nginx: proxy_buffering off)",
        )),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
