//! The way out of a socket: events of the log in order, results behind theirs.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use tokio::sync::mpsc;

use super::channel::{Channel, Next};
use super::ws::{Close, Inline, close_message};
use crate::protocol::{Code, Delivery, Event, Framed, Problem};
use crate::session::Entry;

/// A client that takes no byte for so long is gone, or too slow to be served.
const STALLED: Duration = Duration::from_secs(30);
/// A close is answered within this time, or not at all.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);
/// A log answers within this time, or has nothing more.
const REST: Duration = Duration::from_millis(50);
/// The contract's bound on a frame of a result.
const RESULT_FRAME: usize = 64 << 10;
/// Going away, to come back (RFC 6455 registry: service restart).
const SERVICE_RESTART: u16 = 1012;
/// Try again later.
const TRY_AGAIN_LATER: u16 = 1013;

/// The task that writes to a socket.
pub(super) struct SendLoop {
    sink: SplitSink<WebSocket, Message>,
    channel: Channel,
    inline: Inline,
    closed: mpsc::Receiver<Close>,
}

/// The socket takes nothing more.
struct Gone;

impl SendLoop {
    pub(super) fn new(
        sink: SplitSink<WebSocket, Message>,
        channel: Channel,
        inline: Inline,
        closed: mpsc::Receiver<Close>,
    ) -> Self {
        Self { sink, channel, inline, closed }
    }

    pub(super) async fn run(mut self) {
        let hello = self.channel.hello();
        if self.text(hello.to_json()).await.is_err() {
            return;
        }
        match self.events().await {
            Ok(close) => self.farewell(&close).await,
            // A client that said goodbye is answered (RFC 6455, 5.5.1): the answer waits in the socket.
            Err(Gone) => drop(tokio::time::timeout(FAREWELL, self.sink.close()).await),
        }
    }

    /// Sends events until there is a reason to close.
    async fn events(&mut self) -> Result<Close, Gone> {
        let mut told = false;
        loop {
            // Cancel safety: `Channel::next` and `recv` lose nothing.
            let next = tokio::select! {
                biased;
                close = self.closed.recv() => match close {
                    Some(close) => return self.rest(&mut told).await.map(|()| close),
                    None => return Err(Gone),
                },
                next = self.channel.next(&mut told) => next,
            };
            match next {
                Next::Entry(entry) => self.entry(&entry).await?,
                Next::Own(framed) => self.text(framed.to_json()).await?,
                Next::Expired => {
                    let problem = Problem::new(Code::SessionExpired, "the session expired; open a new one");
                    return Ok(Close::because(problem));
                }
                Next::TooSlow => return Ok(Close::plain(TRY_AGAIN_LATER, "too_slow")),
                Next::Closing => return Ok(Close::plain(SERVICE_RESTART, "draining")),
            }
        }
    }

    /// What is in the log goes before the farewell: it may say why.
    async fn rest(&mut self, told: &mut bool) -> Result<(), Gone> {
        while let Ok(Next::Entry(entry)) = tokio::time::timeout(REST, self.channel.next(told)).await {
            self.entry(&entry).await?;
        }
        Ok(())
    }

    /// One event, and behind a preview or a cutout its bytes, with nothing else between.
    async fn entry(&mut self, entry: &Entry) -> Result<(), Gone> {
        let bytes = self.inline_bytes(entry).await;
        let delivery = if bytes.is_some() { Delivery::Inline } else { Delivery::Url };
        let session = &self.channel.opened.session;
        let json = entry.json(&session.id, session.opened_at_ms, delivery);
        self.text(json).await?;
        let Some(mut bytes) = bytes else { return Ok(()) };
        while !bytes.is_empty() {
            let frame = bytes.split_to(RESULT_FRAME.min(bytes.len()));
            self.send(Message::Binary(frame)).await?;
        }
        Ok(())
    }

    /// The bytes of a result whose photo came over this socket and asked for them here.
    async fn inline_bytes(&self, entry: &Entry) -> Option<bytes::Bytes> {
        let (asked, id, len) = match &entry.event {
            // The cutout is still to come.
            Event::Preview(preview) => {
                (self.inline.lock().contains(&preview.job), &preview.id_cutout, preview.bytes)
            }
            Event::Cutout(cutout) => {
                (self.inline.lock().remove(&cutout.job), &cutout.id_cutout, cutout.bytes)
            }
            _ => return None,
        };
        if !asked {
            return None;
        }
        let kept = self.channel.app.results.get(id).await.ok().flatten()?;
        // Dropped meanwhile, or unreadable: the address says so to whoever asks for it.
        kept.bytes().await.ok().flatten().filter(|bytes| bytes.len() as u64 == len)
    }

    async fn farewell(&mut self, close: &Close) {
        let words = async {
            if let Some(problem) = &close.problem {
                let framed: Framed = self.channel.of_channel(Event::Problem(problem.clone()));
                // Nobody is left to be told when this fails.
                let _ = self.sink.send(Message::Text(framed.to_json().into())).await;
            }
            let _ = self.sink.send(close_message(close)).await;
        };
        let _ = tokio::time::timeout(FAREWELL, words).await;
    }

    async fn text(&mut self, json: String) -> Result<(), Gone> {
        self.send(Message::Text(json.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match tokio::time::timeout(STALLED, self.sink.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}
