//! The way into a socket: messages, and the bytes of a photo behind an `upload`.

use std::sync::Arc;

use axum::extract::ws::{Message as Frame, WebSocket};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use tokio::sync::mpsc;

use super::AppState;
use super::sessions::cancel_job;
use super::ws::{Close, Inline, MAX_FRAME};
use crate::clock;
use crate::cutout::{Begun, NewUpload, Writer};
use crate::protocol::options::Options;
use crate::protocol::{Code, Deliver, Event, JobId, Message, Problem, UploadEvent, UploadId, UploadStatus};
use crate::session::Session;

/// A client that makes more mistakes than this on one socket is broken, and its problems only fill
/// its log.
const MISTAKES: u32 = 16;
/// Bytes of rejected uploads that are dropped in silence; a client that sends more is not listening.
const DISCARD: u64 = 8 << 20;
/// Results to be sent on one socket that have not been sent yet.
const INLINE: usize = 64;

/// The task that reads from a socket.
pub(super) struct RecvLoop {
    app: AppState,
    session: Arc<Session>,
    stream: SplitStream<WebSocket>,
    inline: Inline,
    close: mpsc::Sender<Close>,
    /// The upload under way.
    writer: Option<Writer>,
    /// Bytes of a rejected upload that are still on their way.
    discard: u64,
    mistakes: u32,
}

impl RecvLoop {
    pub(super) fn new(
        app: AppState,
        session: Arc<Session>,
        stream: SplitStream<WebSocket>,
        inline: Inline,
        close: mpsc::Sender<Close>,
    ) -> Self {
        Self { app, session, stream, inline, close, writer: None, discard: 0, mistakes: 0 }
    }

    /// Reads until the client is gone or has to go. An upload under way stays with the session.
    pub(super) async fn run(mut self) {
        while let Some(frame) = self.stream.next().await {
            let taken = match frame {
                Ok(Frame::Text(text)) => self.text(&text).await,
                Ok(Frame::Binary(bytes)) => self.binary(bytes).await,
                Ok(Frame::Ping(_) | Frame::Pong(_)) => Ok(()),
                Ok(Frame::Close(_)) => return,
                Err(error) => return self.broken(&error).await,
            };
            let Err(problem) = taken else { continue };
            self.problem(problem).await;
            self.mistakes += 1;
            if self.mistakes > MISTAKES {
                return self.close(Close::for_code(Code::BadRequest));
            }
        }
    }

    async fn text(&mut self, text: &str) -> Result<(), Problem> {
        let message: Message = serde_json::from_str(text).map_err(|error| {
            Problem::new(Code::BadRequest, format!("this message can't be read: {error}"))
        })?;
        match message {
            Message::Upload { upload, bytes, mime: _, name: _, options, deliver } => {
                self.upload(upload, bytes, options.as_ref(), deliver).await
            }
            Message::Cancel { job, upload } => self.cancel(job, upload).await,
        }
    }

    async fn upload(
        &mut self,
        id: UploadId,
        bytes: u64,
        options: Option<&serde_json::Value>,
        deliver: Deliver,
    ) -> Result<(), Problem> {
        if let Some(writer) = &self.writer {
            let left = format!("{} of its bytes are here", writer.received());
            let message = format!(
                "upload {} is under way on this socket ({left}); send the rest of it first",
                writer.upload()
            );
            // The first upload goes on; the bytes of this one must not come.
            return Err(Problem::new(Code::UploadInProgress, message).about_upload(&id));
        }
        let options = match options.map_or(Ok(Options::default()), Options::from_json) {
            Ok(options) => options,
            Err(error) => {
                self.discard = bytes.min(DISCARD);
                return Err(Problem::new(Code::BadRequest, error.to_string()).about_upload(&id));
            }
        };
        self.discard = 0;
        let job = JobId::of(&self.session.id, &id);
        if deliver == Deliver::Inline && self.inline.lock().len() < INLINE {
            self.inline.lock().insert(job.clone());
        }
        let new = NewUpload { id: id.clone(), bytes: Some(bytes), options, resume: true };
        match self.app.intake.begin(&self.session, new).await {
            Ok(Begun::Receiving(writer)) => {
                self.writer = Some(writer);
                self.finish_if_complete().await;
            }
            Ok(Begun::Exists(job)) => {
                self.discard = bytes.min(DISCARD);
                if self.app.jobs.is_live(&self.session.id, &job).await == Ok(false) {
                    // Its end is in the log already; the address is how to get it.
                    self.inline.lock().remove(&job);
                }
                let status = UploadStatus::Received;
                let counts = (bytes, Some(bytes));
                let event = UploadEvent {
                    upload: id,
                    job: Some(job),
                    status,
                    received_bytes: counts.0,
                    total_bytes: counts.1,
                };
                self.append(Event::Upload(event)).await;
            }
            Err(_) => {
                // The session has been told.
                self.discard = bytes.min(DISCARD);
                self.inline.lock().remove(&job);
            }
        }
        Ok(())
    }

    async fn binary(&mut self, bytes: Bytes) -> Result<(), Problem> {
        let len = bytes.len() as u64;
        let Some(writer) = &mut self.writer else {
            if self.discard == 0 {
                let message = format!("{len} bytes came without an upload; send an upload message first");
                return Err(Problem::new(Code::BadRequest, message));
            }
            self.discard = self.discard.saturating_sub(len);
            return Ok(());
        };
        let left = writer.left();
        if writer.write(&bytes).await.is_err() {
            // The session has been told, and what is still on its way is dropped in silence.
            self.discard = left.saturating_sub(len).min(DISCARD);
            self.writer = None;
            return Ok(());
        }
        self.finish_if_complete().await;
        Ok(())
    }

    async fn finish_if_complete(&mut self) {
        if let Some(writer) = self.writer.take_if(|writer| writer.is_complete()) {
            // A refusal has been told to the session.
            let _ = writer.finish().await;
        }
    }

    async fn cancel(&mut self, job: Option<JobId>, upload: Option<UploadId>) -> Result<(), Problem> {
        match (job, upload) {
            (Some(job), None) => {
                cancel_job(&self.app, &self.session.id, &job).await.map_err(|refusal| refusal.0)
            }
            (None, Some(upload)) => {
                if self.app.intake.cancel(&self.session.id, &upload).await {
                    if let Some(writer) = self.writer.take_if(|writer| *writer.upload() == upload) {
                        self.discard = writer.left().min(DISCARD);
                    }
                    return Ok(());
                }
                let job = JobId::of(&self.session.id, &upload);
                cancel_job(&self.app, &self.session.id, &job).await.map_err(|_| {
                    Problem::new(Code::UnknownJob, format!("this session has no upload {upload}"))
                        .about_upload(&upload)
                })
            }
            _ => Err(Problem::new(Code::BadRequest, "cancel takes a job or an upload, one of them")),
        }
    }

    /// The stream can't go on: a frame over the limit is told, anything else is a client that is gone.
    async fn broken(&mut self, error: &axum::Error) {
        use tokio_tungstenite::tungstenite::Error;
        let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Error>());
        match cause {
            Some(Error::Capacity(_)) => {
                let message = format!(
                    "a frame is above {MAX_FRAME} bytes, the most that one may have; send the photo in smaller ones"
                );
                self.problem(Problem::new(Code::UploadTooLarge, message)).await;
                self.close(Close::for_code(Code::UploadTooLarge));
            }
            // RFC 6455, 7.4.1: these end the socket and say nothing of the session.
            Some(Error::Protocol(_)) => self.close(Close::plain(1002, "protocol_error")),
            Some(Error::Utf8(_)) => self.close(Close::plain(1007, "text_is_not_utf8")),
            _ => {}
        }
    }

    /// Into the log, so that every channel of the session and every replay has it.
    async fn problem(&self, problem: Problem) {
        self.append(Event::Problem(problem)).await;
    }

    async fn append(&self, event: Event) {
        // An expired session has no log; the socket is about to be closed for it.
        let _ = self.app.logs.append(&self.session.id, clock::now_ms(), event).await;
    }

    fn close(&self, close: Close) {
        // Another reason came first.
        let _ = self.close.try_send(close);
    }
}
