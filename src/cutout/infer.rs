//! The thread that runs the network.
//!
//! On a CPU one photo at a time: a network already uses every core, so two at once would only be slower and
//! hold twice the memory. On a GPU as many at once as the model says are worth it. The thread is fed by commands;
//! one whose asker has gone is skipped.

mod gather;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use self::gather::Gather;
use crate::model::{ModelError, Segmenter};

/// Workers wait for their answers, so no more commands than workers are ever under way.
const COMMANDS: usize = 64;

/// A map, and when its time was spent.
#[derive(Debug)]
pub struct Inferred {
    /// `size × size` values of 0 to 1.
    pub map: Vec<f32>,
    /// Waiting for the thread, and for the others of its run.
    pub waited: Duration,
    /// The network itself; of a run with several photos, all of it.
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
pub struct Inference {
    commands: mpsc::Sender<Command>,
    /// Photos that are decoded just now.
    coming: Arc<AtomicUsize>,
}

/// A photo that is on its way to the network.
pub(super) struct Coming(Arc<AtomicUsize>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

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
        let (commands, received) = mpsc::channel::<Command>(COMMANDS);
        let coming = Arc::new(AtomicUsize::new(0));
        let mut gather = Gather::new(received, Arc::clone(&coming));
        // For the wait for others, which has an end.
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name(name.into()).spawn(move || {
            while let Some(commands) = clock.block_on(gather.next()) {
                match &threads {
                    Some(threads) => threads.install(|| answer(commands)),
                    None => answer(commands),
                }
            }
        })?;
        Ok(Self { commands, coming })
    }

    /// Tells that a photo will be there in a moment, so that others may wait for it.
    pub(super) fn expect(&self) -> Coming {
        self.coming.fetch_add(1, Ordering::Relaxed);
        Coming(Arc::clone(&self.coming))
    }

    /// The map of an RGB8 photo of the network's size.
    ///
    /// # Cancel safety
    /// Safe: a command whose future is dropped is skipped, or its answer is thrown away.
    pub async fn run(&self, segmenter: Arc<dyn Segmenter>, rgb: Vec<u8>) -> Result<Inferred, InferError> {
        let (reply, answer) = oneshot::channel();
        let command = Command { segmenter, rgb, asked: Instant::now(), span: Span::current(), reply };
        self.commands.send(command).await.map_err(|_| InferError::Ended)?;
        answer.await.map_err(|_| InferError::Ended)?
    }
}

/// Answers all of them, which have the same model. What fails in company is tried again in less of it, and at last
/// alone, so that one photo's fault is nobody else's.
fn answer(mut commands: Vec<Command>) {
    commands.retain(|command| !command.reply.is_closed());
    if commands.len() < 2 {
        commands.into_iter().for_each(answer_alone);
        return;
    }
    let (again, is_full) = answer_together(commands);
    if is_full {
        // Half of them may fit.
        let mut first = again;
        let second = first.split_off(first.len() / 2);
        answer(first);
        answer(second);
    } else {
        again.into_iter().filter(|command| !command.reply.is_closed()).for_each(answer_alone);
    }
}

fn answer_alone(command: Command) {
    let Command { segmenter, rgb, asked, span, reply } = command;
    let begun = Instant::now();
    let map = span.in_scope(|| caught(|| segmenter.segment(&rgb)));
    let waited = begun - asked;
    let answer = match map {
        Ok(map) => map.map(|map| Inferred { map, waited, took: begun.elapsed() }).map_err(InferError::Model),
        Err(panic) => Err(InferError::Panic(panic)),
    };
    drop(segmenter);
    // The asker may have gone meanwhile.
    let _ = reply.send(answer);
}

/// Answers those that can be answered by one run. Gives those that should be tried again, and whether because memory
/// was full.
fn answer_together(commands: Vec<Command>) -> (Vec<Command>, bool) {
    let begun = Instant::now();
    let segmenter = Arc::clone(&commands[0].segmenter);
    let photos: Vec<&[u8]> = commands.iter().map(|command| &command.rgb[..]).collect();
    let maps = match caught(|| segmenter.segment_batch(&photos)) {
        Ok(maps) if maps.len() == commands.len() => maps,
        Ok(maps) => {
            tracing::error!(photos = photos.len(), maps = maps.len(), "a run gave another number of maps");
            return (commands, false);
        }
        Err(panic) => {
            tracing::warn!(photos = photos.len(), panic, "a run of several photos panicked");
            return (commands, false);
        }
    };
    let took = begun.elapsed();
    tracing::debug!(photos = photos.len(), ?took, "several photos in one run");
    let (mut again, mut is_full) = (Vec::new(), false);
    for (command, map) in commands.into_iter().zip(maps) {
        let answer = match map {
            Ok(map) => Ok(Inferred { map, waited: begun - command.asked, took }),
            // Nothing runs on it any more.
            Err(error @ ModelError::DeviceLost { .. }) => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "a photo failed in a run of several");
                is_full |= matches!(error, ModelError::OutOfMemory { .. });
                again.push(command);
                continue;
            }
        };
        let _ = command.reply.send(answer);
    }
    (again, is_full)
}

/// What a segmenter keeps between photos is memory whose contents no run relies on; what a run that panicked had of it
/// is gone with it.
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| describe(panic.as_ref()))
}

/// What a panic said.
pub(super) fn describe(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
