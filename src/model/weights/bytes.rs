//! A source's bytes, of which any part can be had.
//!
//! Parts are read where they lie, and the file is not mapped into memory, although a map would spare the copy:
//! a mapped file that somebody cuts short, or whose network drive goes away, ends the whole process by a
//! signal (SIGBUS) at the next look at it, with every session in it. A read is an error that the warm-up tells.
//! The copy costs nothing that a map would save: a tensor's bytes are read into the very memory in which
//! it is computed with, so that there is no second one, and each part that came can be told of.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::{Source, Wrong};
use crate::model::ModelError;

/// Small enough that a slow disk reports often, large enough to cost nothing.
pub(super) const CHUNK: usize = 1 << 20;

/// Bytes of which any part can be had.
pub(super) enum Bytes {
    Embedded(&'static [u8]),
    File { file: File, len: u64, path: PathBuf },
}

impl Bytes {
    pub(super) fn open(source: &Source) -> Result<Self, ModelError> {
        let path = match source {
            Source::Embedded(bytes) => return Ok(Self::Embedded(bytes)),
            Source::File(path) => path,
        };
        let open = || {
            // A pipe without a writer would never open.
            if !std::fs::metadata(path)?.is_file() {
                return Err(std::io::Error::other("it is not a file"));
            }
            let file = File::open(path)?;
            let len = file.metadata()?.len();
            Ok(Self::File { file, len, path: path.clone() })
        };
        open().map_err(|reason| ModelError::File { path: path.clone(), reason })
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Embedded(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// Reads all of `part` from `start`.
    pub(super) fn fill(&self, start: u64, part: &mut [u8]) -> Result<(), ModelError> {
        match self {
            Self::Embedded(bytes) => {
                let from = usize::try_from(start).ok().and_then(|start| bytes.get(start..));
                let from = from.and_then(|bytes| bytes.get(..part.len()));
                part.copy_from_slice(
                    from.ok_or_else(|| ModelError::Other("the built-in weights end".into()))?,
                );
                Ok(())
            }
            Self::File { file, path, .. } => file
                .read_exact_at(part, start)
                .map_err(|reason| ModelError::File { path: path.clone(), reason }),
        }
    }
}

/// Reads on from a place, and not beyond an end.
pub(super) struct Cursor<'a> {
    bytes: &'a Bytes,
    at: u64,
    end: u64,
    /// What was read ahead, and where it begins.
    ahead: Vec<u8>,
    ahead_at: u64,
}

impl<'a> Cursor<'a> {
    const AHEAD: u64 = 64 << 10;

    /// # Errors
    /// When the bytes end before it does.
    pub(super) fn new(bytes: &'a Bytes, at: u64, len: u64) -> Result<Self, Wrong> {
        let end = at.checked_add(len).filter(|end| *end <= bytes.len()).ok_or_else(|| ends(bytes))?;
        Ok(Self { bytes, at, end, ahead: Vec::new(), ahead_at: at })
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn left(&self) -> u64 {
        self.end - self.at
    }

    pub(super) fn skip(&mut self, len: u64) -> Result<(), Wrong> {
        if len > self.left() {
            return Err(ends(self.bytes));
        }
        self.at += len;
        Ok(())
    }

    pub(super) fn byte(&mut self) -> Result<u8, Wrong> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        let mut array = [0; N];
        if N as u64 > self.left() {
            return Err(ends(self.bytes));
        }
        for byte in &mut array {
            let mut offset = self.at.wrapping_sub(self.ahead_at);
            if offset >= self.ahead.len() as u64 {
                self.ahead.resize(self.left().min(Self::AHEAD) as usize, 0);
                self.bytes.fill(self.at, &mut self.ahead)?;
                (self.ahead_at, offset) = (self.at, 0);
            }
            *byte = self.ahead[offset as usize];
            self.at += 1;
        }
        Ok(array)
    }

    /// So many bytes, if there are that many: nothing is made ready for what a file merely claims.
    pub(super) fn take(&mut self, len: u64) -> Result<Vec<u8>, Wrong> {
        if len > self.left() {
            return Err(ends(self.bytes));
        }
        let mut part = vec![0; len as usize];
        self.bytes.fill(self.at, &mut part)?;
        self.at += len;
        Ok(part)
    }
}

fn ends(bytes: &Bytes) -> Wrong {
    Wrong::Content(format!("it ends too early, with {} bytes", bytes.len()))
}
