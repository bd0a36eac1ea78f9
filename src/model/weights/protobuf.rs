//! Just enough of protobuf's wire format to walk through a message in a file.

use super::Wrong;
use super::bytes::{Bytes, Cursor};

/// A message, or what else has a length, by its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) len: u64,
}

/// A field's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Number(u64),
    /// Four bytes.
    Single(u32),
    Part(Part),
    /// Eight bytes, which nothing here needs.
    Double,
}

/// The fields of a message, one after the other.
pub(super) struct Fields<'a>(Cursor<'a>);

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a Bytes, part: Part) -> Result<Self, Wrong> {
        Ok(Self(Cursor::new(bytes, part.start, part.len)?))
    }

    /// The next field's number and value; none behind the last.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value)>, Wrong> {
        let Self(cursor) = self;
        if cursor.left() == 0 {
            return Ok(None);
        }
        let tag = number(cursor)?;
        let value = match tag & 7 {
            0 => Value::Number(number(cursor)?),
            1 => {
                cursor.skip(8)?;
                Value::Double
            }
            2 => {
                let len = number(cursor)?;
                let part = Part { start: cursor.at(), len };
                cursor.skip(len)?;
                Value::Part(part)
            }
            5 => Value::Single(u32::from_le_bytes(cursor.array()?)),
            kind => return Err(Wrong::Content(format!("a field in it is of the unknown kind {kind}"))),
        };
        Ok(Some((tag >> 3, value)))
    }
}

/// The numbers of a field that holds them packed.
pub(super) fn numbers(bytes: &Bytes, part: Part, most: usize) -> Result<Vec<u64>, Wrong> {
    let mut cursor = Cursor::new(bytes, part.start, part.len)?;
    let mut numbers = Vec::new();
    while cursor.left() > 0 {
        if numbers.len() >= most {
            return Err(Wrong::Content(format!("a list in it has more than {most} numbers")));
        }
        numbers.push(number(&mut cursor)?);
    }
    Ok(numbers)
}

fn number(cursor: &mut Cursor<'_>) -> Result<u64, Wrong> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = cursor.byte()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Wrong::Content("a number in it has no end".to_owned()))
}

/// A text, if it is no longer than a name.
pub(super) fn text(bytes: &Bytes, part: Part) -> Result<String, Wrong> {
    const LONGEST: u64 = 1024;
    if part.len > LONGEST {
        return Err(Wrong::Content(format!("a name in it has {} bytes", part.len)));
    }
    let text = Cursor::new(bytes, part.start, part.len)?.take(part.len)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
