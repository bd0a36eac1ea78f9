//! The machine that a pickle is a program for.

use std::collections::HashMap;
use std::rc::Rc;

use super::super::Wrong;
use super::super::bytes::Cursor;
use super::{Id, Name, Storage, Value, View, known, wrong};

/// Values of a checkpoint with the states of its optimiser, many times over.
const MOST_VALUES: usize = 1 << 20;
/// Longer names are none of ours.
const LONGEST_NAME: usize = 256;

pub(super) struct Machine<'a, 'b> {
    cursor: &'a mut Cursor<'b>,
    pub(super) values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Pairs of lists that dictionaries were made of: only these does a short pickle get many of.
    copied: usize,
}

impl<'a, 'b> Machine<'a, 'b> {
    pub(super) fn new(cursor: &'a mut Cursor<'b>) -> Self {
        let (values, stack, marks, memo) = Default::default();
        Self { cursor, values, stack, marks, memo, copied: 0 }
    }

    pub(super) fn run(&mut self) -> Result<Id, Wrong> {
        loop {
            let code = self.cursor.byte()?;
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
        }
    }

    fn step(&mut self, code: u8) -> Result<(), Wrong> {
        match code {
            // The protocol; the length of what follows, which it ends by itself.
            0x80 => self.cursor.skip(1)?,
            0x95 => self.cursor.skip(8)?,
            b'N' => self.push(Value::Other)?,
            0x88 | 0x89 => self.push(Value::Bool(code == 0x88))?,
            b'K' => self.number::<1>()?,
            b'M' => self.number::<2>()?,
            b'J' => {
                let number = i32::from_le_bytes(self.cursor.array()?);
                self.push(Value::Int(number.into()))?;
            }
            0x8a => {
                let len = self.len::<1>()?;
                let bytes = self.cursor.take(len)?;
                self.push(integer(bytes))?;
            }
            b'G' => self.other(8)?,
            b'X' | b'T' => self.text::<4>()?,
            0x8c | b'U' => self.text::<1>()?,
            0x8d => self.text::<8>()?,
            b'C' => self.skipped::<1>()?,
            b'B' => self.skipped::<4>()?,
            0x8e | 0x96 => self.skipped::<8>()?,
            b')' => self.push(Value::Tuple(Vec::new()))?,
            b']' | 0x8f => self.push(Value::List(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'(' => self.mark()?,
            b't' | 0x91 => {
                let items = self.above_mark()?;
                self.push(Value::Tuple(items))?;
            }
            b'l' => {
                let items = self.above_mark()?;
                self.push(Value::List(items))?;
            }
            b'd' => {
                let pairs = pairs(&self.above_mark()?)?;
                self.push(Value::Dict(pairs))?;
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let from = self.stack.len().checked_sub(count).filter(|from| *from >= self.floor());
                let items = self.stack.split_off(from.ok_or_else(underflow)?);
                self.push(Value::Tuple(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.above_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.above_mark()?;
                self.set(&items)?;
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.above_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack_push(top)?;
            }
            b'q' => self.put::<1>()?,
            b'r' => self.put::<4>()?,
            0x94 => self.keep(self.memo.len() as u32)?,
            b'h' => self.get_kept::<1>()?,
            b'j' => self.get_kept::<4>()?,
            b'c' | b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let name = known(&module, &name)?;
                // An instance of old; none of ours is made so.
                if code == b'i' {
                    return Err(unknown(code));
                }
                self.push(Value::Name(name))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (self.get(module), self.get(name)) else {
                    return Err(wrong("it names something by what is no name"));
                };
                let name = known(module, name)?;
                self.push(Value::Name(name))?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(storage)?;
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let made = self.call(callable, arguments)?;
                self.stack_push(made)?;
            }
            // A state that is put into an object: of a dictionary of tensors it is their versions.
            b'b' => drop(self.pop()?),
            _ => return Err(unknown(code)),
        }
        Ok(())
    }

    fn get(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    fn add(&mut self, value: Value) -> Result<Id, Wrong> {
        if self.values.len() >= MOST_VALUES {
            return Err(wrong(format!("its pickle has more than {MOST_VALUES} values")));
        }
        self.values.push(value);
        Ok((self.values.len() - 1) as Id)
    }

    fn push(&mut self, value: Value) -> Result<(), Wrong> {
        let id = self.add(value)?;
        self.stack_push(id)
    }

    fn stack_push(&mut self, id: Id) -> Result<(), Wrong> {
        // Values may be pushed again without a new one.
        if self.stack.len() >= MOST_VALUES {
            return Err(wrong(format!("its pickle stacks more than {MOST_VALUES} values")));
        }
        self.stack.push(id);
        Ok(())
    }

    /// What lies below the last mark is not to be had.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id, Wrong> {
        if self.stack.len() <= self.floor() {
            return Err(underflow());
        }
        self.stack.pop().ok_or_else(underflow)
    }

    fn top(&self) -> Result<Id, Wrong> {
        self.stack.get(self.floor()..).and_then(|above| above.last()).copied().ok_or_else(underflow)
    }

    fn mark(&mut self) -> Result<(), Wrong> {
        if self.marks.len() >= MOST_VALUES {
            return Err(wrong("its pickle is nested too deep"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn above_mark(&mut self) -> Result<Vec<Id>, Wrong> {
        let mark = self.marks.pop().ok_or_else(underflow)?;
        Ok(self.stack.split_off(mark))
    }

    fn len<const N: usize>(&mut self) -> Result<u64, Wrong> {
        let bytes: [u8; N] = self.cursor.array()?;
        Ok(bytes.iter().rev().fold(0, |len, byte| len << 8 | u64::from(*byte)))
    }

    fn number<const N: usize>(&mut self) -> Result<(), Wrong> {
        let number = self.len::<N>()? as i64;
        self.push(Value::Int(number))
    }

    fn text<const N: usize>(&mut self) -> Result<(), Wrong> {
        let len = self.len::<N>()?;
        let bytes = self.cursor.take(len)?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("a name in it is not of UTF-8"))?;
        self.push(Value::Text(text))
    }

    fn skipped<const N: usize>(&mut self) -> Result<(), Wrong> {
        let len = self.len::<N>()?;
        self.other(len)
    }

    fn other(&mut self, len: u64) -> Result<(), Wrong> {
        self.cursor.skip(len)?;
        self.push(Value::Other)
    }

    fn line(&mut self) -> Result<String, Wrong> {
        let mut line = Vec::new();
        loop {
            match self.cursor.byte()? {
                b'\n' => break,
                byte if line.len() < LONGEST_NAME => line.push(byte),
                _ => return Err(wrong("a name in its pickle has no end")),
            }
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn put<const N: usize>(&mut self) -> Result<(), Wrong> {
        let place = self.len::<N>()? as u32;
        self.keep(place)
    }

    /// Keeps the uppermost value for later.
    fn keep(&mut self, place: u32) -> Result<(), Wrong> {
        if self.memo.len() >= MOST_VALUES {
            return Err(wrong(format!("its pickle keeps more than {MOST_VALUES} values")));
        }
        self.memo.insert(place, self.top()?);
        Ok(())
    }

    fn get_kept<const N: usize>(&mut self) -> Result<(), Wrong> {
        let place = self.len::<N>()? as u32;
        let id = self.memo.get(&place).copied();
        self.stack_push(id.ok_or_else(|| wrong("its pickle uses a value that isn't there"))?)
    }

    fn append(&mut self, more: &[Id]) -> Result<(), Wrong> {
        let list = self.top()?;
        match &mut self.values[list as usize] {
            Value::List(items) => items.extend(more),
            // What is added to something that is not looked at.
            Value::Other => {}
            _ => return Err(wrong("its pickle adds to what is no list")),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), Wrong> {
        let (dict, more) = (self.top()?, pairs(items)?);
        match &mut self.values[dict as usize] {
            Value::Dict(pairs) => pairs.extend(more),
            Value::Other => {}
            _ => return Err(wrong("its pickle adds to what is no dictionary")),
        }
        Ok(())
    }

    fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    fn int(&self, id: Id) -> Option<u64> {
        match self.get(id) {
            Value::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        /// More dimensions than any tensor has.
        const MOST: usize = 8;
        let items = self.tuple(id).filter(|items| items.len() <= MOST)?;
        items.iter().map(|item| usize::try_from(self.int(*item)?).ok()).collect()
    }

    /// `('storage', type, key, device, values)`
    fn storage(&self, id: Id) -> Result<Value, Wrong> {
        let storage = || {
            let [word, kind, key, _, len, view @ ..] = self.tuple(id)? else { return None };
            let (Value::Text(word), Value::Text(key)) = (self.get(*word), self.get(*key)) else {
                return None;
            };
            let Value::Name(Name::Storage(kind)) = self.get(*kind) else { return None };
            // Of old a storage could be a part of another one.
            let whole = view.iter().all(|view| matches!(self.get(*view), Value::Other));
            let storage = Storage { kind: *kind, key: key.clone(), len: self.int(*len)? };
            (word == "storage" && whole).then(|| Value::Storage(Rc::new(storage)))
        };
        storage().ok_or_else(|| wrong("a storage in it is not as PyTorch describes one"))
    }

    fn call(&mut self, callable: Id, arguments: Id) -> Result<Id, Wrong> {
        let Value::Name(name) = self.get(callable) else {
            return Err(wrong("its pickle calls what is no name"));
        };
        match name {
            Name::Dict => {
                // A list of pairs, or nothing.
                let list = self.tuple(arguments).and_then(|arguments| arguments.first());
                let items: &[Id] = match list.map(|list| self.get(*list)) {
                    Some(Value::List(items)) => items,
                    _ => &[],
                };
                // The same list may be called with again and again.
                let copied = self.copied + items.len();
                if copied > MOST_VALUES {
                    return Err(wrong(format!("its pickle copies more than {MOST_VALUES} values")));
                }
                let pair = |item: &Id| match self.tuple(*item) {
                    Some(&[key, value]) => Some((key, value)),
                    _ => None,
                };
                let pairs = items.iter().filter_map(pair).collect();
                self.copied = copied;
                self.add(Value::Dict(pairs))
            }
            Name::Tensor => {
                let tensor = || {
                    let [storage, offset, shape, strides, ..] = self.tuple(arguments)? else { return None };
                    let Value::Storage(storage) = self.get(*storage) else { return None };
                    let (offset, shape, strides) =
                        (self.int(*offset)?, self.sizes(*shape)?, self.sizes(*strides)?);
                    let view = View { storage: Rc::clone(storage), offset, shape, strides };
                    (view.shape.len() == view.strides.len()).then_some(view)
                };
                let tensor =
                    tensor().ok_or_else(|| wrong("a tensor in it is not as PyTorch describes one"))?;
                self.add(Value::Tensor(tensor))
            }
            Name::Parameter => {
                let tensor = self.tuple(arguments).and_then(|arguments| arguments.first()).copied();
                tensor.ok_or_else(|| wrong("a parameter in it is none"))
            }
            Name::Other => self.add(Value::Other),
            Name::Storage(_) => Err(wrong("its pickle makes a storage of its own")),
        }
    }
}

fn integer(bytes: Vec<u8>) -> Value {
    if bytes.len() > size_of::<i64>() {
        return Value::Large(bytes);
    }
    let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
    let mut all = if negative { [0xff; size_of::<i64>()] } else { [0; size_of::<i64>()] };
    all[..bytes.len()].copy_from_slice(&bytes);
    Value::Int(i64::from_le_bytes(all))
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, Wrong> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(wrong("a dictionary in it has a key without a value"));
    }
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}

fn underflow() -> Wrong {
    wrong("its pickle takes more than it has made")
}

fn unknown(code: u8) -> Wrong {
    wrong(format!("its pickle has an instruction that no checkpoint needs: {code:#04x}"))
}
