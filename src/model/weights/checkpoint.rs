//! PyTorch checkpoints: what `torch.save` writes of a network's `state_dict`, in a zip archive or, as before
//! version 1.6, as pickles with the values behind them.
//!
//! The tensors may lie at the top or under one of the names that trainers use, and share their storages.

use std::collections::HashMap;

use super::archive::{self, Entry};
use super::bytes::{Bytes, Cursor};
use super::pickle::{self, Id, Pickled, Storage, Value, View};
use super::stored::{Kind, Stored};
use super::{Tensors, Wrong};

/// Begins every checkpoint that is no archive: 0x1950a86a20f9469cfc6c.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Where trainers put the network's tensors beside other things.
const UNDER: [&str; 7] =
    ["state_dict", "model_state_dict", "model", "net", "network", "params_ema", "params"];

/// What an archive holds.
pub(super) fn of_archive(bytes: &Bytes) -> Result<Tensors, Wrong> {
    const PICKLE: &str = "data.pkl";
    let entries = archive::entries(bytes)?;
    let (name, pickle) = entries
        .iter()
        .find(|(name, _)| name.rsplit('/').next() == Some(PICKLE))
        .ok_or_else(|| wrong("there is no data.pkl in the archive, so it is none of PyTorch's"))?;
    let folder = &name[..name.len() - PICKLE.len()];
    let entry = |name: &str| entries.get(&format!("{folder}{name}"));
    if entry("constants.pkl").is_some() {
        return Err(wrong(
            "it is a program (TorchScript); what is needed is torch.save(model.state_dict(), PATH)",
        ));
    }
    if let Some(order) = entry("byteorder") {
        let order = Cursor::new(bytes, order.start(bytes)?, order.len)?.take(order.len.min(16))?;
        if order.trim_ascii() != b"little" {
            return Err(wrong("its bytes are in the order of another kind of processor"));
        }
    }
    let pickle = pickled(bytes, pickle)?;
    let mut starts = HashMap::new();
    for (key, storage) in pickle.storages()? {
        let entry = entry(&format!("data/{key}"));
        let entry =
            entry.ok_or_else(|| wrong(format!("the values of storage {key:?} are not in the archive")))?;
        if let Some(size) = storage.kind.and_then(|kind| kind.size())
            && storage.len.checked_mul(size as u64).is_none_or(|len| len > entry.len)
        {
            return Err(wrong(format!(
                "storage {key:?} should have {} values, but has {} bytes",
                storage.len, entry.len
            )));
        }
        starts.insert(key.to_owned(), entry.start(bytes)?);
    }
    tensors(&pickle, &starts)
}

fn pickled(bytes: &Bytes, entry: &Entry) -> Result<Pickled, Wrong> {
    if entry.len > pickle::LONGEST {
        return Err(wrong(format!(
            "its pickle has {} bytes, and at most {} are read",
            entry.len,
            pickle::LONGEST
        )));
    }
    pickle::read(&mut Cursor::new(bytes, entry.start(bytes)?, entry.len)?)
}

/// What pickles with values behind them hold.
pub(super) fn of_pickles(bytes: &Bytes) -> Result<Tensors, Wrong> {
    let mut cursor = Cursor::new(bytes, 0, bytes.len().min(pickle::LONGEST))?;
    let magic = pickle::read(&mut cursor)?;
    if !matches!(magic.root(), Value::Large(bytes) if bytes[..] == MAGIC) {
        return Err(wrong("it is a pickle, but none that torch.save wrote"));
    }
    let _version = pickle::read(&mut cursor)?;
    let system = pickle::read(&mut cursor)?;
    let little = system.under(system.root, "little_endian").map(|little| system.get(little));
    if matches!(little, Some(Value::Bool(false))) {
        return Err(wrong("its bytes are in the order of another kind of processor"));
    }
    let pickle = pickle::read(&mut cursor)?;
    let keys = pickle::read(&mut cursor)?;
    let Value::List(listed) = keys.root() else { return Err(wrong("the list of its storages is none")) };
    let (storages, mut at) = (pickle.storages()?, cursor.at());
    let mut starts = HashMap::new();
    for key in listed {
        let key = keys.text(*key).ok_or_else(|| wrong("the list of its storages is none"))?;
        let storage = storages.get(key).ok_or_else(|| wrong(format!("nothing uses its storage {key:?}")))?;
        let len = u64::from_le_bytes(Cursor::new(bytes, at, 8)?.array()?);
        if len < storage.len {
            return Err(wrong(format!("storage {key:?} should have {} values, but has {len}", storage.len)));
        }
        at += 8;
        let size = element(storage)?;
        starts.insert(key.to_owned(), at);
        let whole = len.checked_mul(size).and_then(|len| at.checked_add(len));
        at = whole
            .filter(|end| *end <= bytes.len())
            .ok_or_else(|| wrong(format!("it ends within storage {key:?}, after {} bytes", bytes.len())))?;
    }
    tensors(&pickle, &starts)
}

/// Bytes of one value.
fn element(storage: &Storage) -> Result<u64, Wrong> {
    let size = storage.kind.and_then(|kind| kind.size());
    size.map(|size| size as u64)
        .ok_or_else(|| wrong(format!("storage {:?} is of a type that holds no weights", storage.key)))
}

fn tensors(pickle: &Pickled, starts: &HashMap<String, u64>) -> Result<Tensors, Wrong> {
    let named = |dict: Id| {
        let Value::Dict(pairs) = pickle.get(dict) else { return Vec::new() };
        let views = pairs.iter().filter_map(|(key, value)| match (pickle.text(*key), pickle.get(*value)) {
            (Some(name), Value::Tensor(view)) => Some((name, view)),
            _ => None,
        });
        views.collect()
    };
    let places = [Some(pickle.root)].into_iter().chain(UNDER.map(|name| pickle.under(pickle.root, name)));
    let found = places.flatten().map(named).find(|named| !named.is_empty());
    let Some(named) = found else {
        return Err(wrong(format!(
            "it has no tensors by name, neither at its top nor under {}",
            UNDER.join(", ")
        )));
    };
    let mut tensors = Tensors::default();
    for (name, view) in named {
        // Of types that no network computes with.
        let Some(kind) = view.storage.kind else { continue };
        let start = starts.get(&view.storage.key);
        let start = start.ok_or_else(|| wrong(format!("the values of tensor {name} are missing")))?;
        let stored = stored(view, *start, kind);
        tensors.insert(
            name.to_owned(),
            stored.ok_or_else(|| {
                wrong(format!("tensor {name} reaches beyond the values that it is made of"))
            })?,
        );
    }
    Ok(tensors)
}

/// A tensor's place, if all of it lies in its storage.
fn stored(view: &View, start: u64, kind: Kind) -> Option<Stored> {
    let size = kind.size()? as u64;
    let count = view.shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size))?;
    // From the first value to the last, both of them counted.
    let reach = view.shape.iter().zip(&view.strides).try_fold(1_u64, |reach, (size, stride)| {
        reach.checked_add((*size as u64).saturating_sub(1).checked_mul(*stride as u64)?)
    })?;
    let reach = if count == 0 { 0 } else { reach };
    if view.offset.checked_add(reach)? > view.storage.len {
        return None;
    }
    let mut next = 1_usize;
    let in_order = view.shape.iter().zip(&view.strides).rev().all(|(size, stride)| {
        let expected = next;
        next = next.saturating_mul(*size);
        *size == 1 || *stride == expected
    });
    let strides = (!in_order && count > 0).then(|| view.strides.clone());
    let (start, len) = (start + view.offset * size, reach * size);
    Some(Stored { kind, shape: view.shape.clone(), start, len, strides })
}

fn wrong(reason: impl Into<String>) -> Wrong {
    Wrong::Content(reason.into())
}
