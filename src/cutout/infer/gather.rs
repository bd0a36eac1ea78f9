//! Which photos run at once: those that wait already, and those that come within a moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Command;

/// A photo waits so long for others. A GPU takes some ten milliseconds for one, so this is less than what running
/// them one after the other would cost the last of them.
const DELAY: Duration = Duration::from_millis(5);

pub(super) struct Gather {
    received: mpsc::Receiver<Command>,
    /// Photos that are decoded just now.
    coming: Arc<AtomicUsize>,
    /// The first of the next run: it came while one with another model was gathered.
    held: Option<Command>,
}

impl Gather {
    pub(super) fn new(received: mpsc::Receiver<Command>, coming: Arc<AtomicUsize>) -> Self {
        Self { received, coming, held: None }
    }

    /// What runs next: at least one, all of the same model, and no more than that model's bound. None when nobody can
    /// ask any more.
    pub(super) async fn next(&mut self) -> Option<Vec<Command>> {
        let first = loop {
            let command = match self.held.take() {
                Some(held) => held,
                None => self.received.recv().await?,
            };
            if !command.reply.is_closed() {
                break command;
            }
        };
        let bound = first.segmenter.batch();
        let until = Instant::now() + DELAY;
        let mut commands = vec![first];
        while commands.len() < bound {
            let Some(command) = self.another(until).await else { break };
            if command.reply.is_closed() {
                continue;
            }
            if !Arc::ptr_eq(&command.segmenter, &commands[0].segmenter) {
                self.held = Some(command);
                break;
            }
            commands.push(command);
        }
        Some(commands)
    }

    /// One that waits; or one that comes in time, where any is on its way.
    async fn another(&mut self, until: Instant) -> Option<Command> {
        if let Ok(command) = self.received.try_recv() {
            return Some(command);
        }
        if self.coming.load(Ordering::Relaxed) == 0 {
            return None;
        }
        timeout_at(until, self.received.recv()).await.ok().flatten()
    }
}
