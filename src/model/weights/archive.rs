//! The files in a zip archive, which is what PyTorch saves: by name, stored as they are.
//!
//! Only the list at the archive's end is read. It is bounded, and nothing is unpacked: PyTorch compresses none
//! of it, and what others have compressed can't be read where it lies.

use std::collections::HashMap;

use super::Wrong;
use super::bytes::{Bytes, Cursor};

/// Bytes of the list of a checkpoint with a hundred thousand tensors.
const LONGEST_LIST: u64 = 16 << 20;
const LIST_END: [u8; 4] = *b"PK\x05\x06";
const LARGE_LIST_END: [u8; 4] = *b"PK\x06\x06";
const LARGE_LIST_POINTER: [u8; 4] = *b"PK\x06\x07";
const LISTED: [u8; 4] = *b"PK\x01\x02";
const FILE: [u8; 4] = *b"PK\x03\x04";
/// Says that the real number is among the extras, in eight bytes.
const LARGE: u32 = u32::MAX;
/// Names the extras that hold those.
const LARGE_EXTRA: u16 = 1;

/// A file in the archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Where its own header begins.
    header: u64,
    pub(super) len: u64,
    stored: bool,
}

impl Entry {
    /// Its first byte.
    pub(super) fn start(&self, bytes: &Bytes) -> Result<u64, Wrong> {
        const LEN: u64 = 30;
        if !self.stored {
            return Err(wrong("what is in it is compressed, which PyTorch never does"));
        }
        let mut header = Cursor::new(bytes, self.header, LEN)?;
        if header.array()? != FILE {
            return Err(wrong("its list of files leads nowhere"));
        }
        header.skip(22)?;
        let (name, extras) = (short(&mut header)?, short(&mut header)?);
        let start = self.header + LEN + u64::from(name) + u64::from(extras);
        // Whether all of it is there.
        Cursor::new(bytes, start, self.len)?;
        Ok(start)
    }
}

/// All files, by name.
pub(super) fn entries(bytes: &Bytes) -> Result<HashMap<String, Entry>, Wrong> {
    let (start, len) = list(bytes)?;
    if len > LONGEST_LIST {
        return Err(wrong(format!("the list of its files would have {len} bytes")));
    }
    let mut list = Cursor::new(bytes, start, len)?;
    let mut entries = HashMap::new();
    while list.left() > 0 {
        let (name, entry) = listed(&mut list)?;
        entries.insert(name, entry);
    }
    Ok(entries)
}

fn listed(list: &mut Cursor<'_>) -> Result<(String, Entry), Wrong> {
    if list.array()? != LISTED {
        return Err(wrong("the list of its files is damaged"));
    }
    list.skip(6)?;
    let stored = short(list)? == 0;
    list.skip(8)?;
    let (packed, len) = (long(list)?, long(list)?);
    let [name, extras, comment] = [short(list)?, short(list)?, short(list)?];
    list.skip(8)?;
    let header = long(list)?;
    let name = list.take(name.into())?;
    let extras = list.take(extras.into())?;
    list.skip(comment.into())?;
    // Those of the three that are too large stand among the extras, in this order.
    let mut large = large(&extras).into_iter();
    let mut real = |number: u32| match number {
        LARGE => large.next().ok_or_else(|| wrong("the list of its files is damaged")),
        number => Ok(number.into()),
    };
    let len = real(len)?;
    real(packed)?;
    Ok((String::from_utf8_lossy(&name).into_owned(), Entry { header: real(header)?, len, stored }))
}

/// The numbers of eight bytes among a file's extras.
fn large(mut extras: &[u8]) -> Vec<u64> {
    while let Some((&[a, b, c, d], rest)) = extras.split_first_chunk() {
        let (kind, len) = (u16::from_le_bytes([a, b]), usize::from(u16::from_le_bytes([c, d])));
        let Some((extra, rest)) = rest.split_at_checked(len) else { break };
        if kind == LARGE_EXTRA {
            return extra.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number)).collect();
        }
        extras = rest;
    }
    Vec::new()
}

/// Where the list is, and its length.
fn list(bytes: &Bytes) -> Result<(u64, u64), Wrong> {
    const END: u64 = 22;
    const POINTER: u64 = 20;
    const LONGEST_COMMENT: u64 = u16::MAX as u64;
    let last = bytes.len().min(END + LONGEST_COMMENT);
    let from = bytes.len() - last;
    let tail = Cursor::new(bytes, from, last)?.take(last)?;
    let at = tail.windows(LIST_END.len()).rposition(|window| window == LIST_END);
    let at = from
        + at.ok_or_else(|| wrong(format!("its list of files is missing, after {} bytes", bytes.len())))?
            as u64;
    let mut end = Cursor::new(bytes, at, END)?;
    end.skip(12)?;
    let (len, start) = (long(&mut end)?, long(&mut end)?);
    // PyTorch always writes the large form too.
    let pointer = at.checked_sub(POINTER).map(|at| Cursor::new(bytes, at, POINTER)).transpose()?;
    if let Some(mut pointer) = pointer
        && pointer.array()? == LARGE_LIST_POINTER
    {
        pointer.skip(4)?;
        let mut end = Cursor::new(bytes, u64::from_le_bytes(pointer.array()?), 56)?;
        if end.array()? != LARGE_LIST_END {
            return Err(wrong("its list of files is damaged"));
        }
        end.skip(36)?;
        let (len, start) = (u64::from_le_bytes(end.array()?), u64::from_le_bytes(end.array()?));
        return Ok((start, len));
    }
    Ok((start.into(), len.into()))
}

fn short(cursor: &mut Cursor<'_>) -> Result<u16, Wrong> {
    Ok(u16::from_le_bytes(cursor.array()?))
}

fn long(cursor: &mut Cursor<'_>) -> Result<u32, Wrong> {
    Ok(u32::from_le_bytes(cursor.array()?))
}

fn wrong(reason: impl Into<String>) -> Wrong {
    Wrong::Content(reason.into())
}
