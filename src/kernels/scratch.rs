//! Working memory of the kernels, kept for the next convolution and gone with its owner.

use std::sync::{Mutex, PoisonError};

use crate::memory::Buffer;

/// Buffers that are not in use. As many exist as threads ever worked at once.
#[derive(Debug, Default)]
pub struct Scratch(Mutex<Vec<Buffer>>);

impl Scratch {
    /// Lends a buffer of at least `len`, whatever is in it.
    pub(crate) fn lend(&self, len: usize) -> Lent<'_> {
        // A panic while the list was locked can't have left half a buffer in it.
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = kept.unwrap_or_default();
        if buffer.len() < len {
            buffer = Buffer::zeroed(len);
        }
        Lent { scratch: self, buffer }
    }
}

/// A buffer that goes back when it is dropped.
pub(crate) struct Lent<'a> {
    scratch: &'a Scratch,
    pub(crate) buffer: Buffer,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.scratch.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}
