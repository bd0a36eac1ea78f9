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
        self.copy(&mut array)?;
        Ok(array)
    }

    /// Out of what was read ahead, with more of that where it is used up. A pickle is ten thousands of parts of a few
    /// bytes, and a read for each of them would take longer than all else that is done with it.
    fn copy(&mut self, mut part: &mut [u8]) -> Result<(), Wrong> {
        while !part.is_empty() {
            let mut offset = self.at.wrapping_sub(self.ahead_at);
            if offset >= self.ahead.len() as u64 {
                self.ahead.resize(self.left().min(Self::AHEAD) as usize, 0);
                if let Err(error) = self.bytes.fill(self.at, &mut self.ahead) {
                    self.ahead.clear();
                    return Err(error.into());
                }
                (self.ahead_at, offset) = (self.at, 0);
            }
            let ready = &self.ahead[offset as usize..];
            let len = part.len().min(ready.len());
            let (now, later) = part.split_at_mut(len);
            now.copy_from_slice(&ready[..len]);
            self.at += len as u64;
            part = later;
        }
        Ok(())
    }

    /// So many bytes, if there are that many: nothing is made ready for what a file merely claims.
    pub(super) fn take(&mut self, len: u64) -> Result<Vec<u8>, Wrong> {
        if len > self.left() {
            return Err(ends(self.bytes));
        }
        let mut part = vec![0; len as usize];
        if len <= Self::AHEAD {
            self.copy(&mut part)?;
        } else {
            self.bytes.fill(self.at, &mut part)?;
            self.at += len;
        }
        Ok(part)
    }
}

fn ends(bytes: &Bytes) -> Wrong {
    Wrong::Content(format!("it ends too early, with {} bytes", bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_gives_the_bytes_that_lie_there_whatever_it_reads_ahead() {
        const LEN: usize = 3 * Cursor::AHEAD as usize + 7;
        let all: &'static [u8] = Vec::leak((0..LEN).map(|n| ((n * 31) >> 3) as u8).collect());
        let bytes = Bytes::Embedded(all);
        let mut cursor = Cursor::new(&bytes, 3, LEN as u64 - 5).ok().expect("all there");
        let mut at = 3;
        // Within what was read ahead, across its end, more than that at once, and on from there.
        for len in [1, 300, Cursor::AHEAD, 9, Cursor::AHEAD + 1, 2] {
            let part = cursor.take(len).ok().expect("there");
            assert_eq!(part, all[at..][..len as usize], "{len} bytes at {at}");
            at += len as usize;
            assert_eq!(cursor.byte().ok(), Some(all[at]));
            at += 1;
            assert_eq!(cursor.at(), at as u64);
        }
        let left = cursor.left();
        assert!(cursor.take(left + 1).is_err() && cursor.take(left).is_ok() && cursor.byte().is_err());
    }

    #[test]
    fn many_small_parts_are_few_reads() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("parts");
        std::fs::write(&path, vec![7; 5000]).expect("written");
        let bytes = Bytes::open(&Source::File(path.clone())).expect("a file");
        let mut cursor = Cursor::new(&bytes, 0, 5000).ok().expect("all there");
        assert_eq!(cursor.take(9).ok(), Some(vec![7; 9]));
        // What has been read ahead is not read again.
        std::fs::write(&path, []).expect("cut short");
        for _ in 0..100 {
            assert_eq!(cursor.take(40).ok(), Some(vec![7; 40]));
        }
    }
}
