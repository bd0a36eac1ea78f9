//! Request bodies: read in pieces, refused early, and thrown away so that the client sees why.
//!
//! A server that answers 413 and closes while the client still sends makes the client's system throw
//! the answer away. So after a refusal the rest is read for a moment and dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::AppState;
use super::error::Refusal;
use super::headers::text;
use crate::protocol::Code;

/// After a refusal, read on for at most so long,
const LINGER: Duration = Duration::from_secs(2);
/// and at most so much.
const LINGER_BYTES: usize = 8 << 20;
/// The same while the server drains: long enough for an answer to be seen, short enough to be gone in
/// time.
const LAST_LINGER: Duration = Duration::from_millis(500);
/// A client that sends nothing for so long has stalled.
const SILENCE: Duration = Duration::from_secs(30);

/// A body that can be read by a parser and, when that gave up, still be thrown away.
#[derive(Clone)]
pub(super) struct SharedBody(Arc<Mutex<Bounded>>);

struct Bounded {
    stream: BodyDataStream,
    /// Bytes that may still come.
    left: u64,
    limit: u64,
    /// More came than may. A parser that searches for a boundary would keep all of it.
    exceeded: bool,
    /// Done when the server drains: from then on nobody waits for what has not come.
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    /// It was not waited for.
    cut_short: bool,
}

impl SharedBody {
    pub(super) fn new(body: Body, limit: u64, draining: &CancellationToken) -> Self {
        let bounded = Bounded {
            stream: body.into_data_stream(),
            left: limit,
            limit,
            exceeded: false,
            draining: Box::pin(draining.clone().cancelled_owned()),
            cut_short: false,
        };
        Self(Arc::new(Mutex::new(bounded)))
    }

    /// The refusal that a body above its limit gets, or one that was not waited for, whatever its parser
    /// made of it.
    pub(super) fn ended_here(&self) -> Option<Refusal> {
        let bounded = self.0.lock();
        if bounded.exceeded {
            let limit = bounded.limit;
            let message = format!("more than {limit} bytes came, the most that is taken; send less");
            return Some(Refusal::new(Code::UploadTooLarge, message));
        }
        let message = "the server is going away; send it again in a moment";
        bounded.cut_short.then(|| Refusal::new(Code::Draining, message))
    }

    /// Reads what still comes, in the background, and throws it away.
    fn throw_away(mut self, app: &AppState) {
        let linger = if app.draining.is_cancelled() { LAST_LINGER } else { LINGER };
        app.tracker.spawn(async move {
            let read = async {
                let mut left = LINGER_BYTES;
                while let Some(Ok(chunk)) = self.rest().await {
                    left = left.saturating_sub(chunk.len());
                    if left == 0 {
                        return;
                    }
                }
            };
            let _ = tokio::time::timeout(linger, read).await;
        });
    }

    /// What is thrown away comes also while the server drains.
    async fn rest(&mut self) -> Option<Result<Bytes, axum::Error>> {
        std::future::poll_fn(|context| self.0.lock().stream.poll_next_unpin(context)).await
    }

    /// The next piece; an error when the client went away or sends nothing more.
    pub(super) async fn piece(&mut self) -> Option<Result<Bytes, BodyError>> {
        match in_time(self.next()).await {
            Ok(piece) => piece.map(|piece| piece.map_err(|_| BodyError::Gone)),
            Err(silent) => Some(Err(silent)),
        }
    }
}

/// What comes next of a body or a form; an error when nothing does for too long.
pub(super) async fn in_time<T>(next: impl Future<Output = T>) -> Result<T, BodyError> {
    tokio::time::timeout(SILENCE, next).await.map_err(|_| BodyError::Silent)
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the connection ended before the body did")]
    Gone,
    #[error("no byte came for {} s", SILENCE.as_secs())]
    Silent,
}

impl Stream for SharedBody {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut bounded = self.0.lock();
        let next = bounded.stream.poll_next_unpin(context);
        if next.is_pending() && bounded.draining.as_mut().poll(context).is_ready() {
            bounded.cut_short = true;
            return Poll::Ready(Some(Err(axum::Error::new("the server is going away"))));
        }
        let Poll::Ready(Some(Ok(piece))) = &next else { return next };
        match bounded.left.checked_sub(piece.len() as u64) {
            Some(left) => {
                bounded.left = left;
                next
            }
            None => {
                bounded.exceeded = true;
                Poll::Ready(Some(Err(axum::Error::new("the body is above its limit"))))
            }
        }
    }
}

/// What a request says of its body before it is read.
pub(super) struct Announced {
    /// `Content-Length`.
    pub(super) bytes: Option<u64>,
    /// The client waits for a `100 Continue`, so nothing needs to be thrown away.
    expects_continue: bool,
}

impl Announced {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self {
            bytes: text(headers, header::CONTENT_LENGTH).and_then(|text| text.parse().ok()),
            expects_continue: text(headers, header::EXPECT)
                .is_some_and(|text| text.eq_ignore_ascii_case("100-continue")),
        }
    }
}

/// A refusal whose request has a body that was not read to its end.
pub(super) fn refuse(app: &AppState, refusal: Refusal, body: SharedBody, announced: &Announced) -> Response {
    let refusal = body.ended_here().unwrap_or(refusal);
    if !announced.expects_continue {
        body.throw_away(app);
    }
    let mut response = refusal.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
