//! One upload on its way, whoever carries it, and the right to accept it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::Intake;
use super::partial::Partial;
use crate::protocol::{SessionId, UploadId};
use crate::session::Session;

pub(super) type Key = (SessionId, UploadId);

/// An upload from its announcement to its end. It enters the map before anything is told of it, and leaves
/// it after its end was told, so one id never has two of them.
pub(super) struct Receiving {
    pub(super) session: Arc<Session>,
    pub(super) upload: UploadId,
    pub(super) begun: Instant,
    /// The bytes and what is known of them; none before it is accepted and after its end. The lock is held
    /// while anything is told of the upload, so that nothing is told after its end.
    pub(super) partial: Arc<tokio::sync::Mutex<Option<Partial>>>,
    /// Who writes: a later connection takes over from an earlier one.
    pub(super) turn: Mutex<Turn>,
}

impl Receiving {
    pub(super) fn key(&self) -> Key {
        (self.session.id.clone(), self.upload.clone())
    }
}

/// Its lock is never held across a wait, so that whoever looks for stalled uploads needn't wait either.
pub(super) struct Turn {
    pub(super) writer: u64,
    pub(super) attached: bool,
    pub(super) last_byte: Instant,
    pub(super) has_bytes: bool,
}

impl Turn {
    pub(super) fn next_writer(&mut self) -> u64 {
        (self.writer, self.attached, self.last_byte) = (self.writer + 1, true, Instant::now());
        self.writer
    }

    pub(super) fn byte_came(&mut self) {
        (self.last_byte, self.has_bytes) = (Instant::now(), true);
    }
}

/// The right to accept an upload. The place in the map goes with it, unless the upload was accepted.
pub(super) struct Claim {
    pub(super) intake: Arc<Intake>,
    pub(super) receiving: Arc<Receiving>,
    pub(super) held: OwnedMutexGuard<Option<Partial>>,
    pub(super) kept: bool,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            self.intake.remove(&self.receiving);
        }
    }
}
