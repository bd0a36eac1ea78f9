//! What the sessions saw, counted as it happens, so that Ctrl-C finds it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::report::{Counts, Failure};
use super::summary::ms;
use crate::client::{ClientError, Transport};
use crate::protocol::{CutoutEvent, Ready, RunId, StageEvent, StageStatus, Timings};

/// What "ready" stands under, beside the stages.
pub(super) const READY: &str = "ready";

/// The steps of a job, in order, and where the server says how long each took.
pub(super) type Step = (&'static str, fn(&Timings) -> u64);
pub(super) const STEPS: [Step; 7] = [
    ("upload", |timings| timings.upload),
    ("queue", |timings| timings.queue),
    ("decode", |timings| timings.decode),
    ("infer", |timings| timings.infer),
    ("compose", |timings| timings.compose),
    ("encode", |timings| timings.encode),
    ("total", |timings| timings.total),
];

/// The counters, shared by all sessions.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Book>);

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) counts: Counts,
    /// From asking for a channel to its first bytes.
    pub(super) first_byte: BTreeMap<Transport, Vec<f64>>,
    /// By stage: one time for each run, however many sessions were told of it.
    pub(super) took: HashMap<&'static str, HashMap<RunId, f64>>,
    /// By stage: from a session's opening to its being told.
    pub(super) seen: HashMap<&'static str, Vec<f64>>,
    /// Of each cutout that the server really made.
    pub(super) timings: Vec<Timings>,
    /// From sending the photo to having the cutout's last byte.
    pub(super) end_to_end: Vec<f64>,
    pub(super) failures: BTreeMap<String, Failure>,
}

impl Tally {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock()
    }

    pub(super) fn started(&self) {
        self.book().counts.started += 1;
    }

    pub(super) fn first_byte(&self, transport: Transport, after: Duration) {
        self.book().first_byte.entry(transport).or_default().push(ms(after));
    }

    pub(super) fn opened(&self) {
        self.book().counts.opened += 1;
    }

    pub(super) fn reconnected(&self) {
        self.book().counts.reconnected += 1;
    }

    pub(super) fn uploaded(&self) {
        self.book().counts.uploaded += 1;
    }

    /// A session was told of a stage; only its end has a duration.
    pub(super) fn stage(&self, event: &StageEvent, after: Duration) {
        if event.status == StageStatus::Done {
            let name = event.stage.as_str();
            self.measured(name, &event.run, event.elapsed_ms, after);
        }
    }

    pub(super) fn ready(&self, event: &Ready, after: Duration) {
        self.measured(READY, &event.run, event.total_ms, after);
    }

    fn measured(&self, name: &'static str, run: &RunId, took_ms: u64, after: Duration) {
        let mut book = self.book();
        book.took.entry(name).or_default().entry(run.clone()).or_insert(took_ms as f64);
        book.seen.entry(name).or_default().push(ms(after));
    }

    /// A session that only held its channel is done.
    pub(super) fn held(&self) {
        self.book().counts.succeeded += 1;
    }

    pub(super) fn succeeded(&self, cutout: &CutoutEvent, end_to_end: Duration) {
        let mut book = self.book();
        book.counts.succeeded += 1;
        book.end_to_end.push(ms(end_to_end));
        if cutout.cached {
            // Its timings are those of nothing: they would make the model look fast.
            book.counts.cached += 1;
        } else {
            book.timings.push(cutout.timings_ms);
        }
    }

    /// A session ended without cutout. `uploaded` when the server had taken its photo: then silence
    /// means that the job was dropped, which must not happen, and not that it was refused.
    pub(super) fn failed(&self, error: &ClientError, uploaded: bool) {
        self.count_failure(&error.code(), error);
        let mut book = self.book();
        if uploaded && error.is_silence() {
            book.counts.dropped += 1;
        } else {
            book.counts.failed += 1;
        }
    }

    /// A session ended by a mistake of ours.
    pub(super) fn broken(&self, panic: &dyn Display) {
        self.count_failure("broken", panic);
        self.book().counts.failed += 1;
    }

    fn count_failure(&self, code: &str, message: &dyn Display) {
        let mut book = self.book();
        let failure = book
            .failures
            .entry(code.to_owned())
            .or_insert_with(|| Failure { count: 0, example: message.to_string() });
        failure.count += 1;
    }
}
