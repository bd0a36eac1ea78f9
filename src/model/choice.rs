//! How a model is named on the command line, and where its weights are: `NAME=PATH[@size][:dtype]`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::device::{Cpu, Wanted};
use super::{Precision, Registry};

/// The wire's word for whichever model makes previews.
const PREVIEW_MODEL: &str = "preview";

/// A model's name and the file of its weights: `NAME=PATH[@size][:dtype]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// A known network's, or any other.
    pub name: String,
    /// A safetensors, PyTorch or ONNX file.
    pub path: PathBuf,
    /// The side of the square that the network sees, if it isn't its own.
    pub size: Option<usize>,
    /// What it is computed with, if that isn't the device's own choice.
    pub precision: Option<Precision>,
}

impl FromStr for ModelFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = text.split_once('=').ok_or_else(|| {
            "it must be NAME=PATH[@size][:dtype], as in u2net=/models/u2net.safetensors; a comma begins another one, \
             so that no path can have one"
                .to_owned()
        })?;
        let (name, WeightsPath { path, size, precision }) = (model_name(name)?, file.parse()?);
        Ok(Self { name, path, size, precision })
    }
}

/// The file of a model's weights, and how it is to be used: `PATH[@size][:dtype]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightsPath {
    /// A safetensors, PyTorch or ONNX file.
    pub path: PathBuf,
    /// The side of the square that the network sees, if it isn't its own.
    pub size: Option<usize>,
    /// What it is computed with, if that isn't the device's own choice.
    pub precision: Option<Precision>,
}

impl FromStr for WeightsPath {
    type Err = String;

    /// Looks whether there is such a file where the text could be a slip.
    fn from_str(text: &str) -> Result<Self, String> {
        // From the end: what is no precision and no number is a part of the path.
        let with = text.rsplit_once(':').and_then(|(path, end)| Some((path, end.parse().ok()?)));
        let (path, precision) = with.map_or((text, None), |(path, precision)| (path, Some(precision)));
        let digits = |end: &str| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit());
        let (path, size) = match path.rsplit_once('@').filter(|(_, end)| digits(end)) {
            Some((path, end)) => (path, Some(side(end)?)),
            None => (path, None),
        };
        if path.is_empty() {
            return Err("it must be PATH[@size][:dtype], and there is no path".to_owned());
        }
        not_a_slip(path)?;
        Ok(Self { path: path.into(), size, precision })
    }
}

/// Whether what a path ends with is a part of it, and no dtype or size that is none: such as `:fp16`, `@384px`, or
/// both in the wrong order.
fn not_a_slip(path: &str) -> Result<(), String> {
    /// Longer than any name of a type of values.
    const LONGEST: usize = 12;
    let Some(at) = path.rfind([':', '@']) else { return Ok(()) };
    let end = &path[at + 1..];
    let is_word = end.len() <= LONGEST && end.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_word || Path::new(path).exists() {
        return Ok(());
    }
    Err(format!(
        "{:?} is no @size, a multiple of {STEP} from {SMALLEST} to {LARGEST}, and no :dtype, one of f32, f16 and bf16 \
         behind the size; and there is no file {path}",
        &path[at..]
    ))
}

const SMALLEST: usize = 64;
const LARGEST: usize = 2048;
const STEP: usize = 32;

/// A side that every network of ours halves down to its bottom without a rest.
fn side(text: &str) -> Result<usize, String> {
    let side = text.parse().ok().filter(|side| (SMALLEST..=LARGEST).contains(side) && side % STEP == 0);
    side.ok_or_else(|| {
        format!(
            "@{text} is no side of an input: it must be a multiple of {STEP} from {SMALLEST} to {LARGEST}"
        )
    })
}

/// Checks a model's name: what a URL takes as it is, and not `preview`, which stands for another one.
///
/// # Errors
/// What it must be.
pub fn model_name(name: &str) -> Result<String, String> {
    const LONGEST: usize = 64;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name == PREVIEW_MODEL {
        return Err(format!("{name:?} stands for whichever model makes previews; call it otherwise"));
    }
    if !name.is_empty() && name.len() <= LONGEST && name.chars().all(plain) {
        return Ok(name.to_owned());
    }
    Err(format!("the name {name:?} must be 1 to {LONGEST} characters of A-Z a-z 0-9 - _ ."))
}

/// A model of the registry, or with a file: `NAME` or `NAME=PATH[@size][:dtype]`.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Which.
    pub name: String,
    file: Option<ModelFile>,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('=') {
            let file: ModelFile = text.parse()?;
            return Ok(Self { name: file.name.clone(), file: Some(file) });
        }
        Ok(Self { name: model_name(text)?, file: None })
    }
}

impl Choice {
    /// A registry with its file, if it has one.
    pub fn registry(&self, folder: Option<&PathBuf>, cpu: Cpu, device: Wanted) -> Registry {
        let files = self.file.clone().into_iter().collect();
        Registry { files, folder: folder.cloned(), cpu, device, ..Registry::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_needs_a_name_and_a_path_and_may_say_more() {
        for (text, says) in [
            ("u2net", "NAME=PATH"),
            ("u2net=", "no path"),
            ("u2net=@320", "no path"),
            ("=/a", "characters"),
            ("my model=/a", "characters"),
            ("preview=/a", "previews"),
            ("u2net=/a@100", "multiple of 32"),
            ("u2net=/a@4096:f16", "to 2048"),
            ("a=/m.pth:bf17", "\":bf17\" is no @size"),
            ("a=/m.pth:fp16", "one of f32, f16 and bf16"),
            ("a=/m.pth@384:half", "\":half\""),
            ("a=/m.pth@384px", "\"@384px\" is no @size, a multiple of 32 from 64 to 2048"),
            ("a=/m.pth@384px:f16", "\"@384px\""),
            ("a=/m.pth:f16@384", "behind the size"),
            ("a=/m.pth:", "no file /m.pth:"),
            ("b.pth", "a comma begins another one"),
        ] {
            let error = text.parse::<ModelFile>().expect_err("wrong");
            assert!(error.contains(says), "{text}: {error}");
        }
        for (text, path, size, precision) in [
            ("a=/m@2.pth", "/m@2.pth", None, None),
            ("a=/m.pth@512", "/m.pth", Some(512), None),
            ("a=/m.pth:bf16", "/m.pth", None, Some(Precision::BF16)),
            ("a=/m:1/n.pth@64:f32", "/m:1/n.pth", Some(64), Some(Precision::F32)),
            ("a=/m:1/n@2/o.pth", "/m:1/n@2/o.pth", None, None),
            ("a=/m:v2.pth", "/m:v2.pth", None, None),
        ] {
            let file: ModelFile = text.parse().expect("right");
            assert_eq!((file.path, file.size, file.precision), (path.into(), size, precision), "{text}");
        }
    }

    #[test]
    fn a_file_that_is_there_may_be_called_anything() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["best:fp16", "best@home"] {
            let path = folder.path().join(name);
            let text = format!("{}:f32", path.display());
            assert!(text.parse::<WeightsPath>().is_err(), "{name}");
            std::fs::write(&path, "").expect("written");
            assert_eq!(text.parse::<WeightsPath>().map(|file| file.path), Ok(path), "{name}");
        }
    }
}
