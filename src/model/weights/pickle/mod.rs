//! Reads what PyTorch pickles, and runs none of it.
//!
//! A pickle is a program for a small machine with a stack, which may call whatever Python can import. This
//! machine knows the handful of names that a checkpoint of tensors needs, and gives up at the first other one
//! with its name; nothing is ever called. candle has such a reader too, but copies whatever is used twice, so
//! that a few hundred bytes can ask for all memory, panics on some that are damaged, and knows the archives only.
//!
//! What it makes is a list of values that name each other by their places: used twice is not kept twice, a
//! value that holds itself is no loop, and nothing is dropped by recursion. The list, and the bytes that
//! are read for it, are bounded.

mod machine;

use std::collections::HashMap;
use std::rc::Rc;

use machine::Machine;

use super::Wrong;
use super::bytes::Cursor;
use super::stored::Kind;

/// A value by its place.
pub(super) type Id = u32;

/// Bytes of a pickle: a hundred times those of a checkpoint with a thousand tensors.
pub(super) const LONGEST: u64 = 8 << 20;

#[derive(Debug)]
pub(super) enum Value {
    /// None, a number with a fraction, bytes: nothing that matters here.
    Other,
    Bool(bool),
    Int(i64),
    /// An integer of more than eight bytes, the lowest first.
    Large(Vec<u8>),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(Name),
    Storage(Rc<Storage>),
    Tensor(View),
}

/// What may be called.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    Dict,
    Tensor,
    Parameter,
    /// Makes something that is not looked at.
    Other,
    /// Is never called, but names what a storage holds; none is a type of which there are no weights.
    Storage(Option<Kind>),
}

/// Values of one type, side by side.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub(super) kind: Option<Kind>,
    /// Its name in the file.
    pub(super) key: String,
    /// Values.
    pub(super) len: u64,
}

/// A tensor: some values of a storage.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) storage: Rc<Storage>,
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// What a pickle made.
pub(super) struct Pickled {
    values: Vec<Value>,
    pub(super) root: Id,
}

impl Pickled {
    pub(super) fn get(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    pub(super) fn root(&self) -> &Value {
        self.get(self.root)
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a dictionary under a name; the last one counts.
    pub(super) fn under(&self, dict: Id, name: &str) -> Option<Id> {
        let Value::Dict(pairs) = self.get(dict) else { return None };
        pairs.iter().rev().find(|(key, _)| self.text(*key) == Some(name)).map(|(_, value)| *value)
    }

    /// The storages, each by its name in the file and as long as the longest of those that say to be it.
    pub(super) fn storages(&self) -> Result<HashMap<&str, Storage>, Wrong> {
        let mut storages: HashMap<&str, Storage> = HashMap::new();
        for value in &self.values {
            let Value::Storage(storage) = value else { continue };
            let one = storages.entry(&storage.key).or_insert_with(|| Storage::clone(storage));
            if one.kind != storage.kind {
                return Err(wrong(format!("storage {:?} is of two types", storage.key)));
            }
            one.len = one.len.max(storage.len);
        }
        Ok(storages)
    }
}

/// Reads one pickle and leaves the cursor behind it.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Pickled, Wrong> {
    let mut machine = Machine::new(cursor);
    let root = machine.run()?;
    Ok(Pickled { values: machine.values, root })
}

/// What may be named.
fn known(module: &str, name: &str) -> Result<Name, Wrong> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Name::Dict,
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Name::Tensor,
        ("torch._utils", "_rebuild_parameter") => Name::Parameter,
        ("torch", "Size" | "device") => Name::Other,
        ("torch", name) if name.ends_with("Storage") => Name::Storage(match name {
            "FloatStorage" => Some(Kind::F32),
            "HalfStorage" => Some(Kind::F16),
            "BFloat16Storage" => Some(Kind::BF16),
            "DoubleStorage" => Some(Kind::F64),
            "LongStorage" => Some(Kind::I64),
            "IntStorage" => Some(Kind::I32),
            "ByteStorage" | "BoolStorage" => Some(Kind::U8),
            _ => None,
        }),
        _ => return Err(Wrong::Code(format!("{module}.{name}"))),
    })
}

fn wrong(reason: impl Into<String>) -> Wrong {
    Wrong::Content(reason.into())
}
