//! The parameters in an ONNX file: its initialisers, and the convolutions that use them in the order in which
//! they run.
//!
//! An export renames most parameters, so that a name says nothing, but it keeps the order of execution.
//! Whoever knows a network asks for its convolutions one by one and finds out here whether each is as it should
//! be. Of the file only what that needs is read; the values stay where they are.

use std::collections::{HashMap, HashSet};

use super::bytes::Bytes;
use super::protobuf::{Fields, Part, Value, numbers, text};
use super::stored::{Kind, Norm, Stored, StoredConv};
use super::{Tensors, Wanted, Wrong};
use crate::model::ModelError;

/// More than any network has of anything.
const MOST: usize = 100_000;
/// Dimensions of a tensor, inputs of a node, its attributes, or the numbers of one.
const MOST_NUMBERS: usize = 64;
/// What ONNX says where a batch norm says nothing.
const EPSILON: f32 = 1e-5;

/// A convolution, and what stands behind it.
pub(super) struct Convolution {
    weight: String,
    bias: Option<String>,
    norm: Option<(Vec<String>, f32)>,
    relu: bool,
    settings: Settings,
}

/// How a node computes.
#[derive(Clone, Debug, Default)]
struct Settings {
    dilations: Option<Vec<u64>>,
    pads: Option<Vec<u64>>,
    strides: Option<Vec<u64>>,
    group: Option<u64>,
    epsilon: Option<f32>,
    /// Padding that is not said in numbers.
    auto_pad: Option<String>,
}

#[derive(Default)]
struct Node {
    kind: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    settings: Settings,
}

/// What the file holds.
pub(super) fn read(bytes: &Bytes) -> Result<(Tensors, Vec<Convolution>), Wrong> {
    let mut file = Fields::new(bytes, Part { start: 0, len: bytes.len() })?;
    let mut graph = None;
    while let Some(field) = file.next()? {
        if let (7, Value::Part(part)) = field {
            graph = Some(part);
        }
    }
    let graph = graph.ok_or_else(|| wrong("there is no graph in it"))?;
    let (mut tensors, mut nodes) = (Tensors::default(), Vec::new());
    let mut fields = Fields::new(bytes, graph)?;
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Part(part)) => nodes.extend(node(bytes, part)?),
            (5, Value::Part(part)) => tensors.extend(initialiser(bytes, part)?),
            _ => {}
        }
        if nodes.len() > MOST || tensors.len() > MOST {
            return Err(wrong(format!("it has more than {MOST} nodes or tensors")));
        }
    }
    Ok((tensors, convolutions(nodes)))
}

/// The convolutions among the nodes, each with what stands behind it.
fn convolutions(nodes: Vec<Node>) -> Vec<Convolution> {
    let into_relu: HashSet<String> = nodes
        .iter()
        .filter(|node| node.kind == "Relu")
        .flat_map(|node| node.inputs.first().cloned())
        .collect();
    let is_norm = |node: &&Node| node.kind == "BatchNormalization" && node.inputs.len() == 5;
    let norms: HashMap<String, (Vec<String>, f32, Option<String>)> = nodes
        .iter()
        .filter(is_norm)
        .map(|node| {
            let epsilon = node.settings.epsilon.unwrap_or(EPSILON);
            (node.inputs[0].clone(), (node.inputs[1..].to_vec(), epsilon, node.outputs.first().cloned()))
        })
        .collect();
    let convolution = |node: Node| {
        let Node { inputs, outputs, settings, .. } = node;
        let out = outputs.into_iter().next()?;
        let norm = norms.get(&out);
        let out = norm.and_then(|(_, _, out)| out.clone()).unwrap_or(out);
        let mut inputs = inputs.into_iter().skip(1);
        let (weight, bias) = (inputs.next()?, inputs.next().filter(|name| !name.is_empty()));
        let norm = norm.map(|(parameters, epsilon, _)| (parameters.clone(), *epsilon));
        Some(Convolution { weight, bias, norm, relu: into_relu.contains(&out), settings })
    };
    nodes.into_iter().filter(|node| node.kind == "Conv").filter_map(convolution).collect()
}

/// A node, if it is of a kind that is looked at.
fn node(bytes: &Bytes, part: Part) -> Result<Option<Node>, Wrong> {
    let (mut node, mut settings) = (Node::default(), Vec::new());
    let mut fields = Fields::new(bytes, part)?;
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Part(part)) if node.inputs.len() < MOST_NUMBERS => {
                node.inputs.push(text(bytes, part)?)
            }
            (2, Value::Part(part)) if node.outputs.is_empty() => node.outputs.push(text(bytes, part)?),
            (4, Value::Part(part)) => node.kind = text(bytes, part)?,
            (5, Value::Part(part)) if settings.len() < MOST_NUMBERS => settings.push(part),
            _ => {}
        }
    }
    if !matches!(node.kind.as_str(), "Conv" | "BatchNormalization" | "Relu") {
        return Ok(None);
    }
    for part in settings {
        setting(bytes, part, &mut node.settings)?;
    }
    Ok(Some(node))
}

fn setting(bytes: &Bytes, part: Part, settings: &mut Settings) -> Result<(), Wrong> {
    let (mut name, mut single, mut number, mut list, mut word) =
        (String::new(), None, None, Vec::new(), None);
    let mut fields = Fields::new(bytes, part)?;
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Part(part)) => name = text(bytes, part)?,
            (2, Value::Single(bits)) => single = Some(f32::from_bits(bits)),
            (3, Value::Number(value)) => number = Some(value),
            (4, Value::Part(part)) => word = Some(text(bytes, part)?),
            (8, Value::Number(value)) if list.len() < MOST_NUMBERS => list.push(value),
            (8, Value::Part(part)) => list = numbers(bytes, part, MOST_NUMBERS)?,
            _ => {}
        }
    }
    match name.as_str() {
        "dilations" => settings.dilations = Some(list),
        "pads" => settings.pads = Some(list),
        "strides" => settings.strides = Some(list),
        "group" => settings.group = number,
        "epsilon" => settings.epsilon = single,
        "auto_pad" => settings.auto_pad = word.filter(|word| word != "NOTSET"),
        _ => {}
    }
    Ok(())
}

/// An initialiser by its name; none is one of a type that holds no weights.
fn initialiser(bytes: &Bytes, part: Part) -> Result<Option<(String, Stored)>, Wrong> {
    let (mut name, mut kind, mut shape, mut values, mut packed) = (String::new(), 0, Vec::new(), None, None);
    let mut fields = Fields::new(bytes, part)?;
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Number(size)) if shape.len() < MOST_NUMBERS => shape.push(size),
            (1, Value::Part(part)) => shape = numbers(bytes, part, MOST_NUMBERS)?,
            (2, Value::Number(number)) => kind = number,
            (8, Value::Part(part)) => name = text(bytes, part)?,
            // As they lie in memory, which a packed list of floats is too.
            (9 | 4, Value::Part(part)) if part.len > 0 => values = Some(part),
            (5, Value::Part(part)) => packed = Some(part),
            (13, Value::Part(_)) | (14, Value::Number(1)) => {
                return Err(wrong(
                    "its values are in a second file (external data), and only files that hold their own are read",
                ));
            }
            _ => {}
        }
    }
    let (kind, part) = match (kind, values, packed) {
        (1, Some(part), _) => (Kind::F32, part),
        (10, Some(part), _) => (Kind::F16, part),
        (10, None, Some(part)) => (Kind::PackedF16, part),
        (16, Some(part), _) => (Kind::BF16, part),
        (11, Some(part), _) => (Kind::F64, part),
        _ => return Ok(None),
    };
    let sizes = shape.iter().map(|size| usize::try_from(*size).ok());
    let shape: Option<Vec<usize>> = sizes.collect();
    let count =
        shape.as_ref().and_then(|shape| shape.iter().try_fold(1_u64, |n, size| n.checked_mul(*size as u64)));
    let expected = count.and_then(|count| match kind.size() {
        Some(size) => count.checked_mul(size as u64),
        // One byte each at least, three at most.
        None => (count..=count.saturating_mul(3)).contains(&part.len).then_some(part.len),
    });
    match shape {
        Some(shape) if expected == Some(part.len) => {
            Ok(Some((name, Stored::new(kind, shape, part.start, part.len))))
        }
        _ => Err(wrong(format!("tensor {name:?} has {} bytes, which its shape contradicts", part.len))),
    }
}

impl Convolution {
    /// Its parameters, if it is the one that is wanted.
    pub(super) fn parameters(
        &self,
        wanted: &Wanted<'_>,
        tensors: &Tensors,
        origin: &str,
    ) -> Result<StoredConv, ModelError> {
        let differs = |what: &str, found: String, expected: String| ModelError::Convolution {
            origin: origin.to_owned(),
            name: wanted.name.to_owned(),
            differs: format!("{what} {found}, but the network needs {expected}"),
        };
        let find = |name: &str| {
            tensors
                .get(name)
                .ok_or_else(|| differs("the parameter", name.to_owned(), "a value in the file".into()))
        };
        let weight = find(&self.weight)?;
        if weight.shape != wanted.weight_shape() {
            return Err(ModelError::Shape {
                origin: origin.to_owned(),
                name: format!("{}.weight", wanted.name),
                expected: wanted.weight_shape().to_vec(),
                found: weight.shape.clone(),
            });
        }
        self.settings.agree(wanted, &differs)?;
        if self.relu != wanted.relu {
            return Err(differs("a ReLU behind it", self.relu.to_string(), wanted.relu.to_string()));
        }
        // The few names that an export has kept are a second witness for the order.
        if let Some(name) = self.weight.strip_suffix(".weight")
            && !name.ends_with(wanted.name)
        {
            return Err(differs("the name", name.to_owned(), wanted.name.to_owned()));
        }
        let outputs = |name: &String| {
            let stored = find(name)?;
            if stored.shape == [wanted.output] {
                return Ok(stored.clone());
            }
            Err(differs(
                "a parameter of shape",
                format!("{:?}", stored.shape),
                format!("{:?}", [wanted.output]),
            ))
        };
        let norm = self.norm.as_ref().map(|(names, epsilon)| {
            let [scale, shift, mean, variance] = names.as_slice() else {
                return Err(differs("batch norm parameters", names.len().to_string(), "4".to_owned()));
            };
            let (scale, shift) = (outputs(scale)?, outputs(shift)?);
            let (mean, variance) = (outputs(mean)?, outputs(variance)?);
            Ok(Norm { scale, shift, mean, variance, epsilon: f64::from(*epsilon) })
        });
        let bias = self.bias.as_ref().map(outputs).transpose()?;
        Ok(StoredConv { weight: weight.clone(), bias, norm: norm.transpose()? })
    }
}

impl Settings {
    fn agree(
        &self,
        wanted: &Wanted<'_>,
        differs: &dyn Fn(&str, String, String) -> ModelError,
    ) -> Result<(), ModelError> {
        let [dilation, padding, stride] =
            [wanted.dilation, wanted.dilation * (wanted.side / 2), wanted.stride].map(|number| number as u64);
        let lists = [
            ("dilations", &self.dilations, [1; 2].to_vec(), [dilation; 2].to_vec()),
            ("pads", &self.pads, [0; 4].to_vec(), [padding; 4].to_vec()),
            ("strides", &self.strides, [1; 2].to_vec(), [stride; 2].to_vec()),
        ];
        for (what, found, usual, expected) in lists {
            let found = found.as_ref().unwrap_or(&usual);
            if *found != expected {
                return Err(differs(what, format!("{found:?}"), format!("{expected:?}")));
            }
        }
        if let Some(group) = self.group.filter(|group| *group != 1) {
            return Err(differs("groups", group.to_string(), "1".to_owned()));
        }
        if let Some(pad) = &self.auto_pad {
            return Err(differs("auto_pad", pad.clone(), "NOTSET".to_owned()));
        }
        Ok(())
    }
}

fn wrong(reason: impl Into<String>) -> Wrong {
    Wrong::Content(reason.into())
}
