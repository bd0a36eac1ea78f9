//! The thread that runs the network.
//!
//! One photo at a time: a network already uses every core, so two at once would only be slower and
//! hold twice the memory. The thread is fed by commands; one whose asker has gone is skipped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use crate::model::{ModelError, Segmenter};

/// Workers wait for their answers, so no more commands than workers are ever under way.
const COMMANDS: usize = 64;

/// A map, and when its time was spent.
#[derive(Debug)]
pub struct Inferred {
    /// `size × size` values of 0 to 1.
    pub map: Vec<f32>,
    /// Waiting for the thread.
    pub waited: Duration,
    /// The network itself.
    pub took: Duration,
}

/// Why there is no map.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// The model said no.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model panicked; the thread lives on.
    #[error("the network panicked: {0}")]
    Panic(String),
    /// The thread is gone: the server is going away.
    #[error("the inference thread has ended")]
    Ended,
}

struct Command {
    segmenter: Arc<dyn Segmenter>,
    rgb: Vec<u8>,
    asked: Instant,
    span: Span,
    reply: oneshot::Sender<Result<Inferred, InferError>>,
}

/// A handle to the thread, which ends with the last of them.
#[derive(Clone)]
pub struct Inference(mpsc::Sender<Command>);

impl Inference {
    /// Starts the thread; the network runs on every core.
    pub fn spawn() -> std::io::Result<Self> {
        Self::start("inference", None)
    }

    /// The same for a network that has threads of its own, and leaves the others alone.
    pub(super) fn spawn_in(threads: Arc<rayon::ThreadPool>) -> std::io::Result<Self> {
        Self::start("preview", Some(threads))
    }

    fn start(name: &str, threads: Option<Arc<rayon::ThreadPool>>) -> std::io::Result<Self> {
        let (commands, mut received) = mpsc::channel::<Command>(COMMANDS);
        std::thread::Builder::new().name(name.into()).spawn(move || {
            while let Some(command) = received.blocking_recv() {
                if command.reply.is_closed() {
                    continue;
                }
                let Command { segmenter, rgb, asked, span, reply } = command;
                let run = || span.in_scope(|| infer(segmenter.as_ref(), &rgb, asked));
                let answer = threads.as_ref().map_or_else(run, |threads| threads.install(run));
                drop(segmenter);
                // The asker may have gone meanwhile.
                let _ = reply.send(answer);
            }
        })?;
        Ok(Self(commands))
    }

    /// The map of an RGB8 photo of the network's size.
    ///
    /// # Cancel safety
    /// Safe: a command whose future is dropped is skipped, or its answer is thrown away.
    pub async fn run(&self, segmenter: Arc<dyn Segmenter>, rgb: Vec<u8>) -> Result<Inferred, InferError> {
        let (reply, answer) = oneshot::channel();
        let command = Command { segmenter, rgb, asked: Instant::now(), span: Span::current(), reply };
        self.0.send(command).await.map_err(|_| InferError::Ended)?;
        answer.await.map_err(|_| InferError::Ended)?
    }
}

fn infer(segmenter: &dyn Segmenter, rgb: &[u8], asked: Instant) -> Result<Inferred, InferError> {
    let begun = Instant::now();
    // What a segmenter keeps between photos is memory whose contents no run relies on; what a run that
    // panicked had of it is gone with it.
    match catch_unwind(AssertUnwindSafe(|| segmenter.segment(rgb))) {
        Ok(map) => Ok(Inferred { map: map?, waited: begun - asked, took: begun.elapsed() }),
        Err(panic) => Err(InferError::Panic(describe(panic.as_ref()))),
    }
}

/// What a panic said.
pub(super) fn describe(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
